//! The form that begins an instance of a flow by hand.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::flows::filled_in;
use crate::actors::answers::Beginning;
use crate::actors::flow::Command;
use crate::actors::once::Once;
use crate::clock::ulid;
use crate::domains::json::parse_json;
use crate::hex::hex;
use crate::tokens::Scope;
use crate::web::auth::granted;
use crate::web::flows::beginning;
use crate::web::neighbour::User;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// The form, with a key of its own, so that a form that is sent twice begins one instance.
pub(super) fn form(site: &Site, words: &BTreeMap<String, String>) -> Markup {
    let wanted = words.get("name");
    let names = site.runtime.world.catalog.flows().map(|flow| flow.definition.name.clone());
    let names: Vec<String> = names.collect();
    html! {
        @if !names.is_empty() {
            h2 { "Start one" }
            form.filter method="post" action="/flows/start" {
                input type="hidden" name="once" value=(key(site));
                label { "Flow " select name="name" { @for name in &names { option selected[Some(name) == wanted] { (name) } } } }
                label { "Input " textarea name="input" rows="3" cols="40" placeholder="JSON, {} without it" {} }
                label { "Token " input name="token" type="password" autocomplete="current-password" required size="14"; }
                button { "Start" }
            }
        }
    }
}

/// `POST /flows/start`: the form of the page. Leads to the instance.
pub async fn told(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let mut fields = filled_in(&site, &request, payload, "POST /flow/start/NAME").await?;
    let user = User::Program(granted(&site, &fields.remove("token").unwrap_or_default(), Scope::FlowsWrite)?);
    let name = fields.get("name").map_or("", |name| name.trim());
    let text = fields.get("input").map_or("", |text| text.trim());
    let input = input(&site, text)?;
    let start = beginning(&site, name, input, &user)?;
    let key = fields.get("once").filter(|key| !key.is_empty()).cloned().unwrap_or_else(|| key(&site));
    // Somebody who goes back and changes what the form says means another one.
    let said = Sha256::digest(format!("{key}\n{name}\n{text}"));
    let once = Once::new(&format!("{}\u{1f}/flows/start", user.name()), &hex(&said[..16]), &said);
    let beginning = Beginning::of(&site.runtime, once).await?;
    let location = format!("/flows/{}", beginning.flow());
    beginning.ask(&site.runtime, Command::Start(Box::new(start))).await?;
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, location)).finish())
}

fn input(site: &Site, text: &str) -> Result<Value, Problem> {
    if text.is_empty() {
        return Ok(json!({}));
    }
    parse_json(text.as_bytes(), site.limits.json_depth)
        .map_err(|error| Problem::bad_request(format!("the input cannot be read: {error}; {{}} stands for none")))
}

fn key(site: &Site) -> String {
    ulid(site.clock.now(), site.clock.random())
}
