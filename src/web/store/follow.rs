//! Following a stream: server-sent events, read from the store at the pace of whoever follows.
//!
//! Nothing is kept for a follower: a hint that something was appended only makes it read on from where it is. One that
//! is slow reads later, one that was gone says with `Last-Event-ID` where to go on.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::Shared;
use super::records::Reading;
use crate::programs::Name;
use crate::programs::streams::{Ask, Page};
use crate::store::{Change, Direction};
use crate::wire::error::Problem;

/// Records read at once for one follower; the page is bounded in bytes as well.
const RECORDS: usize = 200;
/// A comment is sent after this much silence, so that proxies and dead connections show themselves.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it comes again, as the first event tells it.
const RECONNECT: &[u8] = b"retry: 1000\n\n";

pub(super) fn wants_events(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Answers with the records from where the request says, and then with those to come.
pub(super) async fn follow(
    request: &HttpRequest,
    asked: &Reading,
    site: Shared,
    name: Name,
) -> Result<HttpResponse, Problem> {
    let (next, again) = next(request, asked)?;
    let permit = site.followers.clone().try_acquire_owned().map_err(|_| {
        Problem::unavailable("as many streams are followed as this node allows; come again, or raise limits.followers")
    })?;
    // Before the first look, so that nothing can come between the two.
    let (hints, closing) = (site.programs.watch(&name), site.closing.subscribe());
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let mut follower = Follower { site, name, next, again, hints, closing, token, begun: false, _permit: permit };
    // What cannot be read is said with a status, as long as there is still one to give.
    let first = follower.page().await?;
    let follower = stream::unfold((follower, Some(first)), |(mut follower, page)| async move {
        let chunk = follower.chunk(page).await?;
        Some((Ok::<_, actix_web::Error>(chunk), (follower, None)))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(follower))
}

/// The number of the first record, and whether the client was here before: `Last-Event-ID` says so, and counts more than
/// the address it began with.
fn next(request: &HttpRequest, asked: &Reading) -> Result<(u64, bool), Problem> {
    let Some(id) = request.headers().get("last-event-id") else {
        let after = asked.after.map(|after| after.saturating_add(1));
        return Ok((after.or(asked.from).unwrap_or(1).max(1), false));
    };
    let id = id.to_str().unwrap_or_default();
    let last: u64 = id.parse().map_err(|_| {
        Problem::bad_request(format!("Last-Event-ID is {id:?}; send the `id` of the last event that arrived"))
    })?;
    Ok((last.saturating_add(1), true))
}

struct Follower {
    site: Shared,
    name: Name,
    /// The number of the next record to send.
    next: u64,
    /// It comes again, and nothing was sent yet.
    again: bool,
    hints: mpsc::Receiver<Change>,
    closing: watch::Receiver<bool>,
    token: Option<header::HeaderValue>,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// What to send next; nothing when it is over. The store is read again only once this was taken.
    async fn chunk(&mut self, page: Option<Page>) -> Option<Bytes> {
        let mut page = page;
        loop {
            if *self.closing.borrow() || !self.is_welcome() {
                return None;
            }
            let found = match page.take() {
                Some(page) => page,
                // The client comes again and is told by a status what is wrong.
                None => self.page().await.ok()?,
            };
            let text = self.written(&found);
            if !text.is_empty() {
                return Some(text);
            }
            tokio::select! {
                hint = self.hints.recv() => if hint.is_none() {
                    self.hints = self.site.programs.watch(&self.name);
                },
                () = self.site.clock.sleep(KEEP_ALIVE) => return Some(Bytes::from_static(b": still here\n\n")),
                _ = self.closing.changed() => return None,
            }
        }
    }

    async fn page(&mut self) -> Result<Page, Problem> {
        let ask = Ask { numbers: self.next..=u64::MAX, limit: RECORDS, direction: Direction::Forward };
        Ok(self.site.programs.read(&self.name, &ask).await?)
    }

    /// A token that was revoked or has come to its end ends what it began.
    fn is_welcome(&self) -> bool {
        let token = self.token.as_ref().and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
        let Some((scheme, token)) = token else { return false };
        // Basic was good for beginning; what it holds is looked at anew with the next request.
        !scheme.eq_ignore_ascii_case("bearer") || self.site.tokens.verify(token.trim(), self.site.clock.now()).is_some()
    }

    fn written(&mut self, page: &Page) -> Bytes {
        let mut text = BytesMut::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.put_slice(RECONNECT);
        }
        let last = page.ends.last;
        if std::mem::take(&mut self.again) && self.next > last.saturating_add(1) {
            // The stream is shorter than what it has seen, as after a restore: new records have the numbers of old ones.
            text.put_slice(format!("event: rewound\ndata: {{\"last\":{last}}}\n\n").as_bytes());
            self.next = last.saturating_add(1);
        }
        if self.next < page.ends.first {
            // Whoever counts on every record has to learn that some are gone.
            let first = page.ends.first;
            text.put_slice(format!("event: truncated\ndata: {{\"first\":{first}}}\n\n").as_bytes());
            self.next = first;
        }
        for record in &page.records {
            text.put_slice(format!("id: {}\ndata: ", record.sequence).as_bytes());
            // Stored JSON has no line breaks.
            text.put_slice(&record.value);
            text.put_slice(b"\n\n");
            self.next = record.sequence + 1;
        }
        text.freeze()
    }
}
