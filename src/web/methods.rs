//! Routes that know their methods, so that another one is answered by 405 and `Allow`, and not as if nothing were there.

use std::collections::BTreeSet;

use actix_web::dev::{Handler, ResourceDef};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, Route};

use super::site::Site;
use crate::wire::error::Problem;

/// A route in the making, and the method that it takes.
pub struct Taking {
    method: &'static str,
    route: Route,
}

pub fn get() -> Taking {
    Taking { method: "GET", route: web::get() }
}

pub fn head() -> Taking {
    Taking { method: "HEAD", route: web::head() }
}

pub fn post() -> Taking {
    Taking { method: "POST", route: web::post() }
}

pub fn put() -> Taking {
    Taking { method: "PUT", route: web::put() }
}

pub fn patch() -> Taking {
    Taking { method: "PATCH", route: web::patch() }
}

pub fn delete() -> Taking {
    Taking { method: "DELETE", route: web::delete() }
}

impl Taking {
    pub fn to<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { route: self.route.to(handler), ..self }
    }
}

/// The routes of a listener in the making.
pub struct Routes<'a> {
    config: &'a mut ServiceConfig,
    known: Vec<(ResourceDef, &'static str)>,
}

impl<'a> Routes<'a> {
    pub fn of(config: &'a mut ServiceConfig) -> Self {
        Self { config, known: Vec::new() }
    }

    pub fn route(&mut self, path: &'static str, taking: Taking) -> &mut Self {
        self.known.push((ResourceDef::new(path), taking.method));
        self.config.route(path, taking.route);
        self
    }

    /// Whatever else is asked for is not there, or takes other methods.
    pub fn end(&mut self) {
        let known = Known(std::mem::take(&mut self.known));
        self.config.app_data(Data::new(known)).default_service(web::to(nothing));
    }
}

/// Every route of a listener, and its method.
struct Known(Vec<(ResourceDef, &'static str)>);

impl Known {
    /// The methods that an address takes. One that the node has for itself is no object's.
    fn methods(&self, path: &str, reserved: bool) -> BTreeSet<&'static str> {
        let own = |pattern: &ResourceDef| pattern.pattern().is_some_and(|pattern| !pattern.starts_with("/{"));
        let fits = |pattern: &ResourceDef| pattern.is_match(path) && (own(pattern) || !reserved);
        self.0.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, method)| *method).collect()
    }
}

/// The answer to a request that no route takes.
///
/// # Errors
/// 405 where other methods are taken, else 404.
pub async fn nothing(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (method, path) = (request.method(), request.path());
    let reserved = request.app_data::<Data<Site>>().is_some_and(|site| site.is_reserved(path.trim_start_matches('/')));
    let known = request.app_data::<Data<Known>>();
    let methods = known.map(|known| known.methods(path, reserved)).unwrap_or_default();
    if !methods.is_empty() && !methods.contains(method.as_str()) {
        let allow = methods.into_iter().collect::<Vec<_>>().join(", ");
        let detail = format!("{path} takes no {method}, only {allow}; docs/api.md says what each does");
        return Err(Problem { allow: Some(allow), ..Problem::new(405, "method not allowed", detail) });
    }
    Err(Problem::not_found(format!(
        "there is no {method} {path} here; docs/api.md lists what there is, GET /store/openapi.json the store for programs",
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_methods_of_all_routes_that_lead_to_it() {
        let routes = [("/inbox", "POST"), ("/flows/{id}", "GET"), ("/flows/{id}", "POST"), ("/{slug}", "GET")];
        let known = Known(routes.map(|(path, method)| (ResourceDef::new(path), method)).to_vec());
        let methods = |path, reserved| known.methods(path, reserved).into_iter().collect::<Vec<_>>();
        assert_eq!(methods("/flows/a", true), ["GET", "POST"]);
        assert_eq!(methods("/inbox", true), ["POST"], "which is no object's");
        assert_eq!(methods("/gig", false), ["GET"]);
        assert_eq!(methods("/flows/a/b", true), [""; 0]);
    }
}
