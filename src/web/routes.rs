//! Which request goes where, on each of the two listeners.

use std::sync::OnceLock;

use actix_web::HttpRequest;
use actix_web::web::{PathConfig, QueryConfig, ServiceConfig};

use super::methods::{self as web, Known, Routes};
use super::{
    admin, callback, collections, discovery, flows, follow, objects, pages, public, queues, retention, runners,
    schedules, store,
};
use crate::wire::error::Problem;
use crate::wire::inbox;

/// First parts of addresses that the node has for itself; objects get others.
pub const RESERVED: &[&str] = &[
    ".well-known",
    "activities",
    "actor",
    "admin",
    "api",
    "assets",
    "feed",
    "flow",
    "flows",
    "followers",
    "following",
    "health",
    "inbox",
    "likes",
    "metrics",
    "nodeinfo",
    "outbox",
    "ready",
    "replies",
    "shares",
    "store",
    "tags",
];

/// Words in an address that cannot be read are refused like everything else.
fn readable(config: &mut ServiceConfig) -> &mut ServiceConfig {
    let query = |error: actix_web::error::QueryPayloadError, request: &HttpRequest| {
        let actix_web::error::QueryPayloadError::Deserialize(error) = &error else {
            return Problem::bad_request("the query cannot be read: send NAME=VALUE, joined by &").into();
        };
        Problem::bad_request(format!("the query {:?} cannot be read: {error}", request.query_string())).into()
    };
    let path = |error: actix_web::error::PathError, _: &HttpRequest| {
        Problem::not_found(format!("the address cannot be read: {error}")).into()
    };
    config.app_data(QueryConfig::default().error_handler(query)).app_data(PathConfig::default().error_handler(path))
}

/// The routes for peers, programs and people.
pub fn public_routes(config: &mut ServiceConfig) {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    store::routes(&mut Routes::of(readable(config)))
        .route("/health", web::get().to(public::health))
        .route("/ready", web::get().to(public::ready))
        .route("/inbox", web::post().to(inbox::receive))
        // They are tried one by one: what is asked most often stands before those that are matched letter by letter.
        .route("/flow/start/{name}", web::post().to(flows::start))
        .route("/actor", web::get().to(public::actor))
        .route("/outbox", web::get().to(collections::outbox))
        .route("/followers", web::get().to(collections::people))
        .route("/following", web::get().to(collections::people))
        .route("/likes/{path:.*}", web::get().to(collections::reactions))
        .route("/shares/{path:.*}", web::get().to(collections::reactions))
        .route("/replies/{path:.*}", web::get().to(collections::reactions))
        .route("/.well-known/webfinger", web::get().to(discovery::account))
        .route("/.well-known/host-meta", web::get().to(discovery::host_meta))
        .route("/.well-known/host-meta.json", web::get().to(discovery::host_meta))
        .route("/.well-known/nodeinfo", web::get().to(discovery::nodeinfo_links))
        .route("/nodeinfo/2.1", web::get().to(discovery::nodeinfo))
        .route("/activities", web::get().to(pages::activities))
        .route("/activities/{ulid}/deliveries", web::get().to(pages::deliveries::deliveries))
        .route("/activities/{ulid}", web::get().to(public::activity))
        .route("/api/objects/{type}", web::post().to(objects::create))
        .route("/api/objects/{type}/{slug}", web::patch().to(objects::update))
        .route("/api/objects/{type}/{slug}", web::delete().to(objects::delete))
        .route("/api/streams/{name}", web::get().to(public::records))
        .route("/api/follow", web::post().to(follow::follow))
        .route("/api/follow", web::delete().to(follow::unfollow))
        .route("/flow/start", web::post().to(runners::take))
        .route("/flow/words/{id}", web::post().to(runners::words))
        .route("/flow/effects/{id}", web::post().to(runners::effects))
        .route("/flow/release/{id}", web::post().to(runners::release))
        .route("/flow/resume/{id}", web::post().to(flows::verbs::resume))
        .route("/flow/callback/{id}/{token}", web::post().to(callback::called))
        .route("/flow/runner", web::get().to(runners::here))
        .route("/flow/{id}", web::get().to(flows::show))
        .route("/flows", web::get().to(pages::flows::flows))
        .route("/flows", web::post().to(pages::moving::told))
        .route("/flows/start", web::post().to(pages::starting::told))
        .route("/flows/bulk", web::post().to(flows::bulk::bulk))
        .route("/flows/runners", web::get().to(pages::versions::runners))
        .route("/flows/versions", web::get().to(pages::versions::versions))
        .route("/flows/queues", web::get().to(pages::queues::queues))
        .route("/flows/queues/{gate}", web::get().to(pages::queues::queue))
        .route("/flows/queues/{gate}", web::post().to(pages::queues::told))
        .route("/flows/queues/{gate}/release", web::post().to(queues::release))
        .route("/flows/schedules", web::get().to(pages::schedules::schedules))
        .route("/flows/schedules/{name}", web::get().to(pages::schedules::schedule))
        .route("/flows/schedules/{name}", web::post().to(pages::schedules::told))
        .route("/flows/schedules/{name}/{verb}", web::post().to(schedules::tell))
        .route("/flows/{id}/queue", web::get().to(queues::place))
        .route("/flows/{id}/export", web::get().to(flows::export::export))
        .route("/flows/{id}.svg", web::get().to(flows::svg))
        .route("/flows/{id}", web::get().to(pages::flows::flow))
        .route("/flows/{id}", web::post().to(pages::flows::told))
        .route("/flows/{id}/{verb}", web::post().to(flows::verbs::tell))
        .route("/", web::get().to(pages::home))
        .route("/{slug}/allocate", web::post().to(objects::allocate))
        .route("/{slug}", web::get().to(pages::object))
        .route("/{collection}/{slug}", web::get().to(pages::object))
        .end(&KNOWN);
}

/// The routes of the administration.
pub fn admin_routes(config: &mut ServiceConfig) {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    Routes::of(readable(config))
        .route("/health", web::get().to(public::health))
        .route("/ready", web::get().to(public::ready))
        .route("/metrics", web::get().to(admin::metrics))
        .route("/admin/status", web::get().to(admin::status))
        .route("/admin/actors", web::get().to(admin::actors))
        .route("/admin/actors/{kind}/{key}", web::get().to(admin::actor))
        .route("/admin/actors/{kind}/{key}/retry", web::post().to(admin::retry_actor))
        .route("/admin/peers", web::get().to(admin::peers))
        .route("/admin/peers/{authority}/{verb}", web::post().to(admin::move_peer))
        .route("/admin/activity", web::get().to(admin::activities::activity))
        .route("/admin/check", web::post().to(admin::checkup::check))
        .route("/admin/blocks", web::get().to(admin::blocks::list))
        .route("/admin/blocks", web::post().to(admin::blocks::add))
        .route("/admin/blocks/export", web::get().to(admin::blocks::exported))
        .route("/admin/blocks/import", web::post().to(admin::blocks::import))
        .route("/admin/blocks/{domain}", web::delete().to(admin::blocks::remove))
        .route("/admin/dead-letters", web::get().to(admin::dead_letters))
        .route("/admin/dead-letters/{id}/{verb}", web::post().to(admin::move_letter))
        .route("/admin/tick", web::post().to(admin::tick_now))
        .route("/admin/retention", web::get().to(retention::show))
        .route("/admin/retention", web::post().to(retention::pass))
        .route("/admin/followers", web::get().to(admin::followers))
        .route("/admin/followers/{verb}", web::post().to(admin::move_follower))
        .route("/admin/store", web::get().to(admin::care::store))
        .route("/admin/store/scrub", web::post().to(admin::care::scrub))
        .route("/admin/backup", web::get().to(admin::care::backup))
        .route("/admin/held", web::get().to(admin::held::held))
        .route("/admin/continue", web::post().to(admin::held::continue_now))
        .route("/admin/keys", web::get().to(admin::keys::list))
        .route("/admin/keys/rotate", web::post().to(admin::keys::rotate))
        .route("/admin/tokens", web::get().to(admin::tokens))
        .route("/admin/tokens", web::post().to(admin::add_token))
        .route("/admin/tokens/{name}", web::delete().to(admin::revoke_token))
        .end(&KNOWN);
}

/// What a held node does all the same: it changes nothing that others could see.
pub fn is_care(path: &str) -> bool {
    matches!(path, "/admin/continue" | "/admin/store/scrub") || path.starts_with("/admin/tokens")
}
