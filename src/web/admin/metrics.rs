//! `/metrics`: what is counted, for whoever draws curves of it.

use std::sync::atomic::Ordering;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::admin;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `GET /metrics`: what is counted, in the text form of Prometheus.
pub async fn metrics(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let counters = &site.runtime.counters;
    let mut text = String::new();
    let counted = [
        ("turns_total", "Turns taken", &counters.turns),
        ("rejections_total", "Messages that an actor refused", &counters.rejections),
        ("panics_total", "Turns that panicked", &counters.panics),
        ("activations_total", "Actors brought into memory", &counters.activations),
        ("ignored_total", "Verified activities that nothing here wanted", &site.ignored),
        ("unproved_total", "Requests of peers that were not believed", site.strangers.failed()),
        (
            "turned_away_total",
            "Requests not listened to, for what else came from their address",
            site.strangers.refused(),
        ),
    ];
    for (name, help, counter) in counted {
        let value = counter.load(Ordering::Relaxed);
        text += &format!("# HELP quickbeam_{name} {help}\n# TYPE quickbeam_{name} counter\nquickbeam_{name} {value}\n");
    }
    let active = site.runtime.registry().active();
    text += &format!(
        "# HELP quickbeam_actors Actors in memory\n# TYPE quickbeam_actors gauge\nquickbeam_actors {active}\n"
    );
    for (name, value) in (site.store_stats)().as_object().into_iter().flatten() {
        if let Some(number) = value.as_u64() {
            text += &format!("# TYPE quickbeam_store_{name} untyped\nquickbeam_store_{name} {number}\n");
        }
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
}
