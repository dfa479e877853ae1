//! Retention: what nobody needs any more is removed in small steps, and never anything that a state counts on.
//!
//! A finished flow forgets itself, by a turn of its own. The rest are rows that only answer repeats or tell history: each
//! goes by a batch of its own that lands only if the row is still the one that was looked at.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tracing::{info, warn};

use super::deliveries::Delivery;
use super::entity::{ActorId, Kind};
use super::flow::{self, Flow};
use super::inbox;
use super::log::{Entry, Way};
use super::record::{self, Answer};
use super::rows::Index;
use super::runtime::Runtime;
use super::stream;
use super::{finding, layout, rows};
use crate::clock::{Time, ulid};
use crate::domains::flow::progress::{Phase, flow_of};
use crate::store::{Batch, Condition, Key, Outcome, ReadError, Row, Span};

const DAY: Duration = Duration::from_secs(86_400);
/// Rows looked at between two pauses: few enough that nobody waits behind them for long.
const PAGE: usize = 256;
/// Between two pages, so that removing takes no more than a part of the machine: 25,000 rows a second at most.
const PAUSE: Duration = Duration::from_millis(10);
/// The first pass comes soon, so that a node that is started often still removes, but not while the start is being
/// digested: this part of the time between two.
const FIRST_PART: u32 = 60;

/// How long what is kept for repeats and for people stays. `None`: for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Flows that ended.
    pub flows: Option<Duration>,
    /// Activities that came. Those made here stay: their ids are for ever.
    pub received: Option<Duration>,
    /// What became of deliveries that are over.
    pub deliveries: Option<Duration>,
    /// Answers to requests with an Idempotency-Key.
    pub answers: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self { flows: Some(DAY * 30), received: Some(DAY * 90), deliveries: Some(DAY * 30), answers: DAY * 2 }
    }
}

/// What a pass removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub flows: u64,
    /// Activities that came, in the log.
    pub received: u64,
    /// What became of deliveries.
    pub deliveries: u64,
    /// Kept answers to requests with an Idempotency-Key.
    pub answers: u64,
    /// Ids of activities that came longer ago than repeats are told apart.
    pub ids: u64,
    /// Keys of effects of flows that are gone.
    pub effects: u64,
}

/// What was done since the node started.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Report {
    pub passes: u64,
    /// When the last pass ended.
    pub last: Option<Time>,
    pub removed: Removed,
}

/// Removes for the life of the node.
pub(super) async fn run(runtime: Arc<Runtime>, keep: Keep, every: Duration) {
    runtime.clock.sleep(every / FIRST_PART).await;
    loop {
        if runtime.is_stopping() {
            return;
        }
        match pass(&runtime, &keep).await {
            Ok(removed) if removed == Removed::default() => {}
            Ok(removed) => info!(?removed, "what was kept long enough was removed"),
            Err(failure) => warn!(%failure, "retention stopped half way and goes on at its next time"),
        }
        runtime.clock.sleep(every).await;
    }
}

/// Removes whatever is due now, a page at a time.
///
/// # Errors
/// What the store says; what was removed until then stays removed.
pub async fn pass(runtime: &Runtime, keep: &Keep) -> Result<Removed, ReadError> {
    let removed = Pass { runtime, keep, now: runtime.clock.now(), dry: false }.all().await?;
    let mut report = runtime.retention.lock();
    report.passes += 1;
    report.last = Some(runtime.clock.now());
    let total = &mut report.removed;
    total.flows += removed.flows;
    total.received += removed.received;
    total.deliveries += removed.deliveries;
    total.answers += removed.answers;
    total.ids += removed.ids;
    total.effects += removed.effects;
    Ok(removed)
}

/// What [`pass`] would remove now. What becomes due only by that, such as effects of flows that it forgets, is not in it.
///
/// # Errors
/// What the store says.
pub async fn dry(runtime: &Runtime, keep: &Keep) -> Result<Removed, ReadError> {
    Pass { runtime, keep, now: runtime.clock.now(), dry: true }.all().await
}

struct Pass<'a> {
    runtime: &'a Runtime,
    keep: &'a Keep,
    now: Time,
    dry: bool,
}

impl Pass<'_> {
    async fn all(&self) -> Result<Removed, ReadError> {
        // Flows first: what only they needed can go with the same pass.
        Ok(Removed {
            flows: self.flows().await?,
            received: self.received().await?,
            deliveries: self.deliveries().await?,
            answers: self.answers().await?,
            ids: self.ids().await?,
            effects: self.effects().await?,
        })
    }

    async fn flows(&self) -> Result<u64, ReadError> {
        let Some(kept) = self.keep.flows else { return Ok(0) };
        let ended_before = self.now.minus(kept);
        let mut gone = 0;
        for phase in Phase::ALL.into_iter().filter(|phase| phase.is_end()) {
            let list = layout::index_prefix(Index::Flows, &flow::list_prefix(Some(phase)));
            // Entries stand in the order of the start: who began later has not ended before.
            let to = Key::build().raw(list.as_bytes()).number(ended_before.0).done();
            let mut pages = Pages::of(Span { to, ..Span::prefix(&list, PAGE) });
            while let Some(page) = pages.next(self.runtime).await? {
                let mut due: Vec<ActorId> = Vec::new();
                for row in &page {
                    let listed = finding::listed(self.runtime.engine.as_ref(), &list, row).await?;
                    due.extend(listed.filter(|(_, listed)| listed.updated < ended_before).map(|(id, _)| id));
                }
                gone += due.len() as u64;
                if !self.dry {
                    let forget = due.iter().map(|id| {
                        let command = flow::Command::Forget { ended_before };
                        self.runtime.registry().ask::<Flow>(&id.key, command, None)
                    });
                    // One that is busy or falling is still in the list at the next pass.
                    gone -= join_all(forget).await.iter().filter(|asked| asked.is_err()).count() as u64;
                }
            }
        }
        Ok(gone)
    }

    async fn received(&self) -> Result<u64, ReadError> {
        let Some(kept) = self.keep.received else { return Ok(0) };
        let came = |row: &Row| record::decode::<Entry>(&row.value).is_ok_and(|entry| entry.way == Way::Received);
        self.rows(self.before(Index::Activities, kept), async |row| Ok(came(row))).await
    }

    async fn deliveries(&self) -> Result<u64, ReadError> {
        let Some(kept) = self.keep.deliveries else { return Ok(0) };
        let over = |row: &Row| record::decode::<Delivery>(&row.value).is_ok_and(|delivery| delivery.state.is_over());
        self.rows(self.before(Index::Deliveries, kept), async |row| Ok(over(row))).await
    }

    /// What of a list by ulids is older than that.
    fn before(&self, index: Index, kept: Duration) -> Span {
        let all = layout::index_prefix(index, &Key::default());
        let newest = rows::parts([&ulid(self.now.minus(kept), [0; 16])]);
        Span { to: layout::index_prefix(index, &newest), ..Span::prefix(&all, PAGE) }
    }

    async fn answers(&self) -> Result<u64, ReadError> {
        let before = self.now.minus(self.keep.answers);
        let due = async |row: &Row| match record::decode::<Answer>(&row.value) {
            Ok(Answer { at, .. }) if at >= before => Ok(false),
            // Who begins it again has to find it, however long it waits.
            Ok(Answer { flow: Some(flow), .. }) => Ok(!self.exists(&flow).await?),
            read => Ok(read.is_ok()),
        };
        self.rows(Span::prefix(&layout::answers(), PAGE), due).await
    }

    async fn ids(&self) -> Result<u64, ReadError> {
        let before = self.now.minus(self.runtime.world.dedupe);
        let all = Span::prefix(&layout::own_rows(Kind::Inbox), PAGE);
        self.rows(all, async |row| match inbox::outlived(&row.key, &row.value, before) {
            None => Ok(false),
            // Its sender can still take back what set a flow going that waits.
            Some(Some(flow)) => Ok(!self.exists(&flow).await?),
            Some(None) => Ok(true),
        })
        .await
    }

    async fn effects(&self) -> Result<u64, ReadError> {
        let mut gone = 0;
        let mut streams = Pages::of(Span::prefix(&layout::heads(Some(Kind::Stream)), PAGE));
        while let Some(page) = streams.next(self.runtime).await? {
            for id in page.iter().filter_map(|row| layout::head_actor(&row.key)) {
                let done = layout::row_prefix(&id, &rows::RowKey::Own(stream::done_keys()));
                let of = |row: &Row| flow_of(&row.key.parts_after(&done).text()?).map(str::to_owned);
                let without_flow = async |row: &Row| match of(row) {
                    Some(flow) => Ok(!self.exists(&flow).await?),
                    None => Ok(false),
                };
                gone += self.rows(Span::prefix(&done, PAGE), without_flow).await?;
            }
        }
        Ok(gone)
    }

    async fn exists(&self, flow: &str) -> Result<bool, ReadError> {
        Ok(self.runtime.engine.get(&layout::head(&ActorId::of::<Flow>(flow))).await?.is_some())
    }

    /// Removes the rows of a span that are due, and gives how many.
    async fn rows(&self, span: Span, due: impl AsyncFn(&Row) -> Result<bool, ReadError>) -> Result<u64, ReadError> {
        let mut gone = 0;
        let mut pages = Pages::of(span);
        while let Some(page) = pages.next(self.runtime).await? {
            let mut old = Vec::new();
            for row in page {
                if due(&row).await? {
                    old.push(row);
                }
            }
            gone += if self.dry { old.len() as u64 } else { self.remove(old).await? };
        }
        Ok(gone)
    }

    async fn remove(&self, old: Vec<Row>) -> Result<u64, ReadError> {
        let fence = self.runtime.fence();
        let removals = old.into_iter().map(|Row { key, version, .. }| {
            let conditions = vec![Condition::Version(key.clone(), version)];
            self.runtime.engine.commit(Batch { fence, conditions, deletes: vec![key], ..Batch::default() })
        });
        let mut gone = 0;
        for outcome in join_all(removals).await {
            match outcome {
                Outcome::Committed(_) => gone += 1,
                // Written anew in the meantime, or gone already.
                Outcome::Refused(_) => {}
                Outcome::Failed(failure) | Outcome::Unknown(failure) => {
                    self.runtime.store_failed(fence, &failure);
                    return Err(failure);
                }
            }
        }
        Ok(gone)
    }
}

/// A walk over a span, with a pause before each page but the first.
struct Pages {
    whole: Span,
    rest: Option<Span>,
    begun: bool,
}

impl Pages {
    fn of(whole: Span) -> Self {
        Self { rest: Some(whole.clone()), whole, begun: false }
    }

    async fn next(&mut self, runtime: &Runtime) -> Result<Option<Vec<Row>>, ReadError> {
        let Some(span) = self.rest.take() else { return Ok(None) };
        if std::mem::replace(&mut self.begun, true) {
            runtime.clock.sleep(PAUSE).await;
        }
        let page = runtime.engine.range(span).await?;
        if page.len() == PAGE {
            self.rest = page.last().map(|last| self.whole.clone().after(&last.key));
        }
        Ok(if page.is_empty() { None } else { Some(page) })
    }
}
