//! The thread that brings large groups to disk, so that the committer answers one while the next is being synced.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::log::{AppendError, Log};

/// A frame to write, and the log to write it to.
pub(super) struct Order {
    pub(super) log: Log,
    pub(super) frame: Bytes,
    /// Up to this frame the log is in the table.
    pub(super) held: u64,
}

/// The way to the thread, and back.
pub(super) struct Way {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) slot: Arc<Slot>,
}

/// The log back, and the number of the frame.
pub(super) type Landed = (Log, Result<u64, AppendError>);

/// Where the thread puts what it has done.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    landed: Option<Landed>,
    ended: bool,
}

impl Slot {
    /// Waits for the order that is under way; `None` if the thread has died over it.
    pub(super) fn wait(&self) -> Option<Landed> {
        let mut state = self.state.lock();
        loop {
            if let Some(landed) = state.landed.take() {
                return Some(landed);
            }
            if state.ended {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }
}

/// However the thread ends, nobody waits for it in vain.
struct Ending<'a>(&'a Slot);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.wake.notify_one();
    }
}

/// The life of the thread; it ends when nobody can send orders any more.
pub(super) fn run(orders: &mpsc::Receiver<Order>, slot: &Slot) {
    let _ending = Ending(slot);
    while let Ok(Order { mut log, frame, held }) = orders.recv() {
        let written = log.append(&frame, held);
        slot.state.lock().landed = Some((log, written));
        slot.wake.notify_one();
    }
}
