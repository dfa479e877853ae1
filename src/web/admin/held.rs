//! A node that was restored and is held: what would go, and the word that lets it go.

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin;
use crate::actors::held::{self, ReleaseError, Waits};
use crate::actors::layout;
use crate::clock::Time;
use crate::store::{Direction, Row};
use crate::web::list::{Paging, page_around};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// `?list=&after=&limit=`
#[derive(Debug, Deserialize)]
pub struct Asked {
    list: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/held`: whether the node is held, and what would go; with `list` one page of it.
pub async fn held(request: HttpRequest, asked: Query<Asked>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let engine = &site.runtime.engine;
    if let Some(word) = asked.list.as_deref() {
        let waits = Waits::parse(word).ok_or_else(|| {
            Problem::bad_request(format!("there is no list {word:?}; there are messages, timers, errands, flows"))
        })?;
        let paging = Paging { after: asked.after.clone(), limit: asked.limit };
        let now = site.clock.now();
        let found =
            page_around(engine.as_ref(), &waits.prefix(), Direction::Forward, &paging, |row| shown(waits, row, now))
                .await?;
        return Ok(HttpResponse::Ok().json(found));
    }
    let (mark, now) = (held::mark(engine).await?, site.clock.now());
    let pending = held::pending(engine.as_ref(), now).await?;
    Ok(HttpResponse::Ok().json(json!({
        "held": site.runtime.is_held(), "incarnation": site.incarnation,
        "since": mark.as_ref().map(|mark| mark.since.to_string()),
        "backup": mark.as_ref().map(|mark| mark.backup.as_str()),
        "backup_made": mark.as_ref().map(|mark| mark.backup_made.to_string()),
        "pending": pending,
    })))
}

fn shown(waits: Waits, row: &Row, now: Time) -> Option<Value> {
    Some(match waits {
        Waits::Messages => {
            let (to, from) = layout::message_ends(&row.key)?;
            json!({ "to": to.to_string(), "from": from.to_string() })
        }
        Waits::Timers => {
            let (due, actor) = layout::timer_parts(&row.key)?;
            let name = layout::timer_name(&row.key);
            json!({ "actor": actor.to_string(), "name": name, "due": due.to_string(), "now": due <= now })
        }
        Waits::Errands => {
            let (due, actor) = layout::errand_parts(&row.key)?;
            json!({ "actor": actor.to_string(), "due": due.to_string() })
        }
        Waits::Flows => json!({ "actor": layout::index_owner(&row.key)?.to_string() }),
    })
}

/// `POST /admin/continue`: lets a held node go, for good.
pub async fn continue_now(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    match held::release(&site.runtime).await {
        Ok(()) => {
            tracing::info!("the node is no longer held");
            Ok(HttpResponse::Ok().json(json!({ "held": false })))
        }
        Err(error @ ReleaseError::NotHeld) => Err(Problem::new(409, "not held", error.to_string())),
        Err(error) => Err(Problem::unavailable(error.to_string())),
    }
}
