//! Routes that know their methods, so that another one is answered by 405 and `Allow`, and not as if nothing were there.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use actix_web::dev::{Handler, ResourceDef};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, Route, guard};

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

/// The routes of a listener in the making: addresses, with what takes each of their methods.
pub struct Routes<'a> {
    config: &'a mut ServiceConfig,
    addresses: Vec<(&'static str, Vec<Taking>)>,
}

impl<'a> Routes<'a> {
    pub fn of(config: &'a mut ServiceConfig) -> Self {
        Self { config, addresses: Vec::new() }
    }

    /// Routes of one address that follow each other share its pattern, which each worker compiles for itself.
    pub fn route(&mut self, path: &'static str, taking: Taking) -> &mut Self {
        match self.addresses.last_mut() {
            Some((last, routes)) if *last == path => routes.push(taking),
            _ => self.addresses.push((path, vec![taking])),
        }
        self
    }

    /// Whatever else is asked for is not there, or takes other methods.
    /// What is known is the same for all workers.
    pub fn end(&mut self, known: &'static OnceLock<Known>) {
        let addresses = std::mem::take(&mut self.addresses);
        let known = known.get_or_init(|| Known::of(&addresses));
        for (path, routes) in addresses {
            let methods: Vec<_> = routes.iter().map(|it| it.method).collect();
            // What it does not take may be meant for a later address that fits as well.
            let takes = guard::fn_guard(move |context| methods.contains(&context.head().method.as_str()));
            let resource = web::resource(path).guard(takes);
            self.config.service(routes.into_iter().fold(resource, |resource, it| resource.route(it.route)));
        }
        self.config.app_data(known).default_service(web::to(nothing));
    }
}

/// Every address of a listener and its methods.
pub struct Known {
    methods: Vec<(&'static str, Vec<&'static str>)>,
    /// Compiled when first something is asked for that is not there.
    patterns: OnceLock<Vec<ResourceDef>>,
}

impl Known {
    fn of(addresses: &[(&'static str, Vec<Taking>)]) -> Self {
        let methods = |routes: &[Taking]| routes.iter().map(|it| it.method).collect();
        let methods = addresses.iter().map(|(path, routes)| (*path, methods(routes))).collect();
        Self { methods, patterns: OnceLock::new() }
    }

    /// The methods that an address takes. One that the node has for itself is no object's.
    fn methods(&self, path: &str, reserved: bool) -> BTreeSet<&'static str> {
        let compiled = || self.methods.iter().map(|(path, _)| ResourceDef::new(*path)).collect();
        let patterns = self.patterns.get_or_init(compiled);
        let fits = |own: &str, pattern: &ResourceDef| (!own.starts_with("/{") || !reserved) && pattern.is_match(path);
        let fitting = self.methods.iter().zip(patterns).filter(|((own, _), pattern)| fits(own, pattern));
        fitting.flat_map(|((_, methods), _)| methods).copied().collect()
    }
}

/// The answer to a request that no route takes.
///
/// # Errors
/// 405 where other methods are taken, else 404.
pub async fn nothing(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let (method, path) = (request.method(), request.path());
    let reserved = request.app_data::<Data<Site>>().is_some_and(|site| site.is_reserved(path.trim_start_matches('/')));
    let known = request.app_data::<&'static Known>();
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
        let addresses = [("/inbox", vec![post()]), ("/flows/{id}", vec![get(), post()]), ("/{slug}", vec![get()])];
        let known = Known::of(&addresses);
        let methods = |path, reserved| known.methods(path, reserved).into_iter().collect::<Vec<_>>();
        assert_eq!(methods("/flows/a", true), ["GET", "POST"]);
        assert_eq!(methods("/inbox", true), ["POST"], "which is no object's");
        assert_eq!(methods("/gig", false), ["GET"]);
        assert_eq!(methods("/flows/a/b", true), [""; 0]);
    }
}
