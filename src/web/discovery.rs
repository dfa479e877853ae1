//! How others find out who is here: WebFinger, host-meta and NodeInfo.

use actix_web::http::header;
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::site::Site;
use crate::actors::layout;
use crate::actors::rows::Index;
use crate::store::Key;
use crate::wire::error::Problem;
use crate::wire::webfinger::{self, Account};

/// Versions of NodeInfo that are served.
const NODEINFO: &str = "http://nodeinfo.diaspora.software/ns/schema/2.1";

#[derive(Debug, Deserialize)]
pub struct Resource {
    resource: Option<String>,
}

/// `GET /.well-known/webfinger?resource=`
pub async fn account(query: Query<Resource>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    let world = &site.runtime.world;
    let us = Account { name: world.name.clone(), host: world.authority.clone() };
    let account = format!("acct:{us}");
    let asked = query
        .resource
        .as_deref()
        .ok_or_else(|| Problem::bad_request("resource is missing: ask for ?resource=acct:NAME@HOST"))?;
    if !webfinger::means(asked, &us, [world.actor.as_str(), &world.base]) {
        return Err(Problem::not_found(format!("{asked} is not here; the one account is {account}")));
    }
    let body = json!({
        "subject": account,
        "aliases": [world.actor.as_str()],
        "links": [
            { "rel": "self", "type": "application/activity+json", "href": world.actor.as_str() },
            { "rel": "http://webfinger.net/rel/profile-page", "type": "text/html", "href": format!("{}/", world.base) },
        ],
    });
    Ok(open("application/jrd+json", body.to_string()))
}

/// `GET /.well-known/host-meta`, `GET /.well-known/host-meta.json` (RFC 6415): where WebFinger is.
pub async fn host_meta(request: HttpRequest, site: Data<Site>) -> HttpResponse {
    let template = format!("{}/.well-known/webfinger?resource={{uri}}", site.runtime.world.base);
    if request.path().ends_with(".json") {
        let link = json!({ "rel": "lrdd", "type": "application/jrd+json", "template": template });
        return open("application/jrd+json", json!({ "links": [link] }).to_string());
    }
    // The base is a URL, in which nothing has to be escaped for XML but an ampersand, which it cannot have.
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<XRD xmlns=\"http://docs.oasis-open.org/ns/xri/xrd-1.0\">\n  \
         <Link rel=\"lrdd\" type=\"application/jrd+json\" template=\"{template}\"/>\n</XRD>\n"
    );
    open("application/xrd+xml; charset=utf-8", body)
}

/// `GET /.well-known/nodeinfo`
pub async fn nodeinfo_links(site: Data<Site>) -> HttpResponse {
    let href = format!("{}/nodeinfo/2.1", site.runtime.world.base);
    open("application/json", json!({ "links": [{ "rel": NODEINFO, "href": href }] }).to_string())
}

/// `GET /nodeinfo/2.1`
pub async fn nodeinfo(site: Data<Site>) -> Result<HttpResponse, Problem> {
    let objects = layout::index_prefix(Index::Objects, &Key::default());
    let posts = site.sizes.of(&site, "objects", &objects, |_| true).await?;
    let body = json!({
        "version": "2.1",
        "software": { "name": "quickbeam", "version": env!("CARGO_PKG_VERSION") },
        "protocols": ["activitypub"],
        "services": { "inbound": [], "outbound": [] },
        "openRegistrations": false,
        "usage": { "users": { "total": 1, "activeHalfyear": 1, "activeMonth": 1 }, "localPosts": posts },
        "metadata": { "nodeName": site.runtime.world.name },
    });
    Ok(open(&format!("application/json; profile=\"{NODEINFO}#\""), body.to_string()))
}

/// For programs of any origin: nothing in it is for one only.
fn open(kind: &str, body: String) -> HttpResponse {
    HttpResponse::Ok().content_type(kind).insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")).body(body)
}
