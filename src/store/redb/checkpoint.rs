//! The thread that moves what the log has gathered into the table, and has the filter over it filled.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::backend::io_failure;
use super::state::Shared;
use super::table::{Held, Plan, Table, View};
use super::walk::Passed;
use super::{Options, block};
use crate::store::filter::{Filter, Filters, Seen};
use crate::store::overlay::{Entry, Generation};
use crate::store::{Failure, Key};

/// By so much a small step is smaller than a large one.
const SMALLER: usize = 4;

/// What the thread is told to do.
pub(super) enum Order {
    /// Write a frozen generation, after which the table goes as far as `held`.
    Write { frozen: Arc<Generation>, held: Held, table: Arc<Table> },
    /// See whether the filter has to be filled.
    Filter,
}

pub(super) type Chunk<'a> = Vec<(&'a Key, &'a Entry)>;

/// The life of the thread; it ends when nobody can send orders any more.
pub(super) fn run(shared: &Shared, orders: &mpsc::Receiver<Order>, options: &Options) {
    let stopped = Arc::new(AtomicBool::new(false));
    let mut filling = None;
    let mut fill = |more: usize| {
        if let Some(next) = fill_if_due(shared, more as u64, &stopped) {
            filling.replace(next).map(JoinHandle::join);
        }
    };
    while let Ok(order) = orders.recv() {
        if let Order::Write { frozen, held, table } = order {
            // A filter that is too full answers "perhaps" for as long as its successor is filled.
            fill(frozen.rows.len());
            shared.queue.checkpointed(write(shared, &frozen, &held, &table, options));
        }
        fill(0);
    }
    stopped.store(true, Ordering::Relaxed);
    filling.map(JoinHandle::join);
}

/// One step of a checkpoint, found out and not done yet.
struct Planned<'a> {
    rows: Chunk<'a>,
    plan: Plan<'a>,
    last: bool,
}

/// Writes in steps short enough not to hold up the log for long. While one is written, which is mostly waiting for the
/// disk, it is found out what the next has to do.
fn write(shared: &Shared, frozen: &Generation, held: &Held, table: &Table, options: &Options) -> Result<(), Failure> {
    // Without room: the step after the next is begun when the one before it can be seen.
    let (steps, planned) = mpsc::sync_channel(0);
    let (step_done, done) = mpsc::channel();
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new().name("store-table".to_owned());
        let writer = writer.spawn_scoped(scope, move || write_planned(shared, &planned, &step_done, held, table));
        let writer = writer.map_err(|error| io_failure("starting the thread that writes the table", error))?;
        let planned = plan(shared, frozen, table, options, &Steps { steps, done });
        let written = writer.join().expect("panics of redb are caught where they arise");
        written.and(planned)
    })?;
    shared.counters.checkpoints.add(1);
    Ok(())
}

/// Where steps go, and word that one can be seen.
struct Steps<'a> {
    steps: mpsc::SyncSender<Planned<'a>>,
    done: mpsc::Receiver<()>,
}

/// Finds out what each step has to do. It ends where a block does, so that the next has nothing to do with what is being
/// written; only if that is too far it ends in between, and the next waits until it can be seen.
fn plan<'a>(
    shared: &Shared,
    frozen: &'a Generation,
    table: &Table,
    options: &Options,
    Steps { steps, done }: &Steps<'a>,
) -> Result<(), Failure> {
    let filters = shared.pair.read().filters.clone();
    let (mut rows, mut left) = (frozen.rows.iter().peekable(), frozen.rows.len());
    let mut under_way = 0;
    loop {
        let view = shared.pair.read().view.clone();
        let step = Step::within(shared, options, 1.0 - left as f64 / frozen.rows.len().max(1) as f64);
        let mut chunk = chunk(&mut rows, &step);
        let mut is_cut = false;
        if let (Some((key, _)), Some(_)) = (chunk.last(), rows.peek()) {
            let end = view.end(key)?;
            let mut inside = std::iter::from_fn(|| rows.next_if(|(key, _)| block::is_before(key.as_bytes(), &end)));
            chunk.extend(self::chunk(&mut inside, &step));
            is_cut = rows.peek().is_some_and(|(key, _)| block::is_before(key.as_bytes(), &end));
        }
        left -= chunk.len();
        filters.add(chunk.iter().filter(|(_, entry)| entry.value.is_some()).map(|(key, _)| *key));
        let (plan, last) = (table.plan(&view, &chunk)?, rows.peek().is_none());
        // Only the newest view is kept, so that pages which were freed can be used again.
        drop(view);
        if steps.send(Planned { rows: chunk, plan, last }).is_err() || last {
            // Whoever writes has failed, and says so itself.
            return Ok(());
        }
        under_way += 1;
        while is_cut && under_way > 0 && done.recv().is_ok() {
            under_way -= 1;
        }
        under_way -= done.try_iter().count();
    }
}

/// Writes one step after the other. After each the view is taken anew, so that the pages it has freed can be used again:
/// the frozen generation hides whatever has changed underneath.
fn write_planned(
    shared: &Shared,
    planned: &mpsc::Receiver<Planned<'_>>,
    done: &mpsc::Sender<()>,
    held: &Held,
    table: &Table,
) -> Result<(), Failure> {
    for Planned { rows, plan, last } in planned {
        table.apply(plan, last.then_some(held))?;
        show(shared, table.view()?, &rows, last);
        shared.queue.checkpoint_goes_on(rows.len());
        // Whoever plans may have come to the end.
        let _ = done.send(());
    }
    Ok(())
}

/// What one commit writes at most.
pub(super) struct Step {
    rows: usize,
    bytes: usize,
}

impl Step {
    /// As large as may be, which is what takes the least for each row.
    pub(super) fn large(options: &Options) -> Self {
        Self { rows: options.checkpoint_rows_max, bytes: options.checkpoint_bytes_max }
    }

    /// The log is synced in between sooner the less a step writes. So it is small while commits leave time for that:
    /// they have filled less than half of their half of the overlay when the other is written, at this pace.
    fn within(shared: &Shared, options: &Options, written: f64) -> Self {
        let filled = shared.pair.read().overlay.active.weight() as f64 / (options.overlay_bytes_max / 2) as f64;
        let Self { rows, bytes } = Self::large(options);
        if filled > written / 2.0 {
            Self { rows, bytes }
        } else {
            Self { rows: rows / SMALLER, bytes: bytes / SMALLER }
        }
    }
}

/// The next rows that fit into one commit.
pub(super) fn chunk<'a>(rows: &mut impl Iterator<Item = (&'a Key, &'a Entry)>, step: &Step) -> Chunk<'a> {
    let mut chunk = Chunk::new();
    let mut bytes = 0;
    while (chunk.is_empty() || (chunk.len() < step.rows && bytes < step.bytes))
        && let Some((key, entry)) = rows.next()
    {
        bytes += key.as_bytes().len() + entry.value.as_ref().map_or(0, bytes::Bytes::len);
        chunk.push((key, entry));
    }
    chunk
}

/// Lets readers see the table as it is now; with the last step it needs the frozen generation no more.
fn show(shared: &Shared, view: View, written: &[(&Key, &Entry)], last: bool) {
    let view = Arc::new(view);
    let before = shared.pair.read().view.clone();
    shared.hot.follow(&before, &view, written);
    drop(before);
    let mut pair = shared.pair.write();
    let old = std::mem::replace(&mut pair.view, view);
    let frozen = if last { pair.overlay.frozen.take() } else { None };
    drop(pair);
    // Freed without the lock, since a generation is large.
    drop((old, frozen));
}

/// The filter is begun here, between two checkpoints, so that the view holds all that was not added to it since.
fn fill_if_due(shared: &Shared, more: u64, stopped: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let (filters, view) = {
        let pair = shared.pair.read();
        (pair.filters.clone(), pair.view.clone())
    };
    if !filters.is_due(more) {
        return None;
    }
    let filter = filters.begin(view.count() + more);
    let stopped = stopped.clone();
    let thread = std::thread::Builder::new().name("store-filter".to_owned());
    // Without the thread the old filter stays, which is only slower.
    thread.spawn(move || fill(&filters, &filter, &view, &stopped)).ok()
}

fn fill(filters: &Filters, filter: &Filter, view: &View, stopped: &AtomicBool) {
    let (mut lost, mut seen) = (false, Seen::default());
    let filled = view.walk(|passed| {
        match passed {
            Passed::Row(key, _) => filter.add(key, &mut seen),
            Passed::Lost(..) => lost = true,
            Passed::Unsealed(_) => {}
        }
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if lost {
        // Of keys of which nothing is known none may be said to be absent: reading them is what names the damage. So
        // there is no filter, and as long as this one is not finished none is begun again.
        return;
    }
    filters.finish(filled.is_ok() && !stopped.load(Ordering::Relaxed));
}
