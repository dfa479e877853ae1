//! The thread that moves what the log has gathered into the table, and has the filter over it filled.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::Options;
use super::state::Shared;
use super::table::{Held, Passed, Table, View};
use crate::store::filter::{Filter, Filters, Seen};
use crate::store::overlay::{Entry, Generation};
use crate::store::{Failure, Key};

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
    while let Ok(order) = orders.recv() {
        if let Order::Write { frozen, held, table } = order {
            shared.queue.checkpointed(write(shared, &frozen, &held, &table, options));
        }
        if let Some(next) = fill_if_due(shared, &stopped) {
            filling.replace(next).map(JoinHandle::join);
        }
    }
    stopped.store(true, Ordering::Relaxed);
    filling.map(JoinHandle::join);
}

/// Writes in steps short enough not to hold up the log for long. After each the view is taken anew, so that the pages
/// it has freed can be used again: the frozen generation hides whatever has changed underneath.
fn write(shared: &Shared, frozen: &Generation, held: &Held, table: &Table, options: &Options) -> Result<(), Failure> {
    let filters = shared.pair.read().filters.clone();
    let mut rows = frozen.rows.iter().peekable();
    loop {
        let chunk = chunk(&mut rows, options);
        let last = rows.peek().is_none();
        filters.add(chunk.iter().filter(|(_, entry)| entry.value.is_some()).map(|(key, _)| *key));
        table.write(&chunk, last.then_some(held))?;
        show(shared, table.view()?, &chunk, last);
        shared.queue.checkpoint_goes_on(chunk.len());
        if last {
            shared.counters.checkpoints.add(1);
            return Ok(());
        }
    }
}

/// The next rows that fit into one commit.
pub(super) fn chunk<'a>(rows: &mut impl Iterator<Item = (&'a Key, &'a Entry)>, options: &Options) -> Chunk<'a> {
    let mut chunk = Chunk::new();
    let mut bytes = 0;
    while (chunk.is_empty() || (chunk.len() < options.checkpoint_rows_max && bytes < options.checkpoint_bytes_max))
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
fn fill_if_due(shared: &Shared, stopped: &Arc<AtomicBool>) -> Option<JoinHandle<()>> {
    let (filters, view) = {
        let pair = shared.pair.read();
        (pair.filters.clone(), pair.view.clone())
    };
    if !filters.is_due() {
        return None;
    }
    let filter = filters.begin(view.count());
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
