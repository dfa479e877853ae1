//! The administration of the data: backup, scrub, and what the store takes.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

use super::admin;
use crate::care::backup::{self, BackupError};
use crate::care::format::Manifest;
use crate::care::notes;
use crate::clock::Time;
use crate::web::site::Site;
use crate::wire::error::Problem;

/// What is handed over at once, so that the time for it says how slow a client may be.
const GIVEN_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    allow_damage: bool,
}

/// `GET /admin/backup?allow_damage=`: a whole backup, as a stream that ends with what went wrong if something did.
pub async fn backup(request: HttpRequest, wanted: Query<Wanted>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let failed = |error: backup::BackupError| Problem::new(500, "failed", error.to_string());
    let source = site.keeper.source(wanted.allow_damage).await.map_err(failed)?;
    let at = site.clock.now();
    let name = backup::default_name(&source.head.base, at);
    let (sender, receiver) = mpsc::channel(1);
    actix_web::rt::spawn(give(site.into_inner(), source, at, sender));
    let body = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    Ok(HttpResponse::Ok()
        .content_type("application/x-tar")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}\"")))
        .insert_header(("cache-control", "no-store"))
        .streaming(body.map(Ok::<_, io::Error>)))
}

type Outcome = Result<Manifest, BackupError>;

/// Makes a backup at the pace of whoever takes it, and lets go of the snapshot when nobody does. Apart from the response,
/// which nobody asks for more while the connection is stuck.
async fn give(site: Arc<Site>, source: backup::Source, at: Time, sender: mpsc::Sender<Bytes>) {
    let outcome: Arc<Mutex<Option<Outcome>>> = Arc::default();
    let told = outcome.clone();
    let pieces = backup::stream(source, move |outcome| *told.lock() = Some(outcome));
    let given = hand_over(&site, pieces, &sender).await;
    let made = outcome.lock().take();
    let outcome = match (given, made) {
        (Ok(()), Some(made)) => made,
        (Ok(()), None) => Err(BackupError::Stopped),
        (Err(error), _) => Err(error),
    };
    if let Err(error) = &outcome {
        warn!(%error, "a backup was not made");
    }
    let last = site.keeper.backed_up(at, &outcome);
    notes::remember(&site.runtime, notes::LAST_BACKUP, &last).await;
}

async fn hand_over(
    site: &Site,
    pieces: impl Stream<Item = Bytes>,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), BackupError> {
    let stall = site.keeper.config.limits.backup_stall;
    let mut pieces = pin!(pieces);
    while let Some(mut piece) = pieces.next().await {
        while !piece.is_empty() {
            let next = piece.split_to(piece.len().min(GIVEN_BYTES));
            tokio::select! {
                sent = sender.send(next) => sent.map_err(|_| BackupError::Left)?,
                () = site.clock.sleep(stall) => return Err(BackupError::Stalled(format!("{stall:?}"))),
            }
        }
    }
    Ok(())
}

/// `POST /admin/store/scrub`: looks at every row now, in the background.
pub async fn scrub(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let started = site.scrubber.start();
    Ok(HttpResponse::Accepted().json(json!({ "started": started, "running": true })))
}

/// `GET /admin/store`
pub async fn store(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let keeper = site.keeper.clone();
    let figures = actix_web::web::block(move || keeper.figures()).await;
    let mut figures = figures.map_err(|error| Problem::new(500, "failed", error.to_string()))?;
    figures["scrub"] = serde_json::to_value(site.scrubber.state()).unwrap_or_default();
    Ok(HttpResponse::Ok().json(figures))
}
