//! The pages of what flows run on: their definitions, with how many instances are on each, and the nodes that run them.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};
use serde_json::Value;

use super::flows::signed_in;
use super::{layout_of, text};
use crate::tokens::Scope;
use crate::web::flows::versions;
use crate::web::negotiate::{self, Wanted, wanted};
use crate::web::runners;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `GET /flows/versions`
pub async fn versions(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let all = versions::versions(&site).await?;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &all));
    }
    Ok(negotiate::html(layout_of(&site, "Versions", listed(&all))))
}

fn items(all: &Value) -> &[Value] {
    all["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Those in each state lead to the list of them.
fn listed(all: &Value) -> Markup {
    html! {
        @if items(all).is_empty() { p.empty { "No flow is declared." } }
        table {
            thead { tr { th { "Flow" } th { "Definition" } th { "Is" } th { "Instances" } th { "States" } } }
            tbody {
                @for item in items(all) {
                    @let query = format!("/flows?name={}&definition={}", text(&item["name"]), text(&item["definition"]));
                    tr {
                        td { a href={ "/flows?name=" (text(&item["name"])) } { (text(&item["name"])) } }
                        td { a href=(query) { code { (text(&item["definition"])) } } }
                        td { @if item["current"] == true { "current" } @else { "old" } }
                        td { (text(&item["instances"])) }
                        td {
                            @for (phase, count) in item["states"].as_object().into_iter().flatten() {
                                a href={ (query) "&state=" (phase) } { (count) " " (phase) } " "
                            }
                        }
                    }
                }
            }
        }
        p.empty { "Instances that have ended are not counted." }
        @if all["complete"] == false { p.notice { "There are more than were counted." } }
    }
}

/// `GET /flows/runners`
pub async fn runners(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    signed_in(&site, &request, Scope::FlowsRead)?;
    let all = runners::list(&site).await;
    if wanted(&request) != Wanted::Html {
        return Ok(negotiate::json(Wanted::Json, &all));
    }
    Ok(negotiate::html(layout_of(&site, "Runners", run_by(&all))))
}

fn run_by(all: &Value) -> Markup {
    let texts = |list: &Value| list.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let allowed = texts(&all["kernel"]["allow"]);
    html! {
        p.meta { "An instance goes to the first that can do all kinds of its steps, and stays there." }
        table {
            thead { tr { th { "Runner" } th { "State" } th { "Does" } th { "Wrong" } } }
            tbody {
                @for item in items(all) {
                    @let url = text(&item["url"]);
                    tr {
                        td { @if url == "here" { "this node" } @else { a href=(url) { (url) } } }
                        td { (text(&item["state"])) }
                        td { (texts(&item["kinds"])) }
                        td { (item["error"].as_str().unwrap_or_default()) }
                    }
                }
            }
        }
        @if !allowed.is_empty() { p { "Other nodes that may start flows here: " (allowed) "." } }
    }
}
