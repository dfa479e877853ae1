//! JSON for programs and peers, HTML for people: by `Accept`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use maud::Markup;
use serde::Serialize;

/// Pages have no scripts, and nobody else's page holds them.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a request wants to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Html,
    Json,
    /// ActivityStreams.
    Activity,
}

/// What the request accepts best; `*/*` and nothing mean a page.
pub fn wanted(request: &HttpRequest) -> Wanted {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut best = (Wanted::Html, -1.0);
    for part in accept.split(',') {
        let mut pieces = part.split(';').map(str::trim);
        let wanted = match pieces.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/activity+json" | "application/ld+json" => Wanted::Activity,
            "application/json" | "application/problem+json" => Wanted::Json,
            "text/html" | "application/xhtml+xml" | "*/*" | "text/*" => Wanted::Html,
            _ => continue,
        };
        let quality = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        if quality > best.1 {
            best = (wanted, quality);
        }
    }
    best.0
}

/// A JSON answer of the kind that was wanted.
pub fn json(wanted: Wanted, value: &impl Serialize) -> HttpResponse {
    let kind = if wanted == Wanted::Activity { "application/activity+json" } else { "application/json" };
    let body = serde_json::to_vec(value).unwrap_or_default();
    HttpResponse::Ok().content_type(kind).insert_header((header::VARY, "Accept")).body(body)
}

/// ActivityStreams JSON, whoever asks.
pub fn activity_json(value: &impl Serialize) -> HttpResponse {
    json(Wanted::Activity, value)
}

/// Whether people look at the answer: only browsers ask for HTML by name.
pub fn is_looked_at(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.to_ascii_lowercase().contains("text/html") && wanted(request) == Wanted::Html
}

pub fn html(page: Markup) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(page.into_string());
    page_headers(response.headers_mut());
    response
}

/// What stands over every page.
pub fn page_headers(headers: &mut header::HeaderMap) {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::VARY, "Accept"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
}
