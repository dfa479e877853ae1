//! A refusal as people see it who look at pages.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use maud::html;

use super::layout_of;
use crate::web::negotiate::page_headers;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// The refusal with a page in the place of its JSON; its other headers stay.
pub fn page(site: &Site, problem: &Problem, id: &str, refused: HttpResponse) -> HttpResponse {
    let title: String = problem
        .title
        .char_indices()
        .map(|(at, letter)| if at == 0 { letter.to_ascii_uppercase() } else { letter })
        .collect();
    let body = html! {
        p { (problem.detail) }
        p.meta { (problem.status) " · request " code { (id) } }
    };
    let page = layout_of(site, &title, body).into_string();
    let mut response = refused.set_body(BoxBody::new(page));
    page_headers(response.headers_mut());
    response
}
