//! The seat of an actor: one stay in memory, with what is counted of it and the way in.

use std::any::Any;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::entity::{ActorId, Entity};
use super::host::{Door, Host, Tell};
use crate::clock::Time;

/// One stay of an actor in memory.
pub(super) struct Seat {
    pub(super) id: ActorId,
    pub(super) life: u64,
    /// Messages handed in and not yet processed.
    pub(super) depth: AtomicUsize,
    /// Turns that are not on disk yet.
    pub(super) flying: AtomicUsize,
    /// Message rows wait that were not handed in, because the mailbox was full.
    pub(super) more: AtomicBool,
    /// When it last had something to do, in milliseconds since 1970.
    pub(super) busy_at: std::sync::atomic::AtomicU64,
    /// The life before this one ended with turns in flight.
    pub(super) after_failure: bool,
    /// How long to wait before rows are tried again.
    pub(super) hold: Duration,
    pub(super) door: OnceLock<Box<dyn Door>>,
}

impl Seat {
    /// Counts one more message if there is room.
    pub(super) fn count(&self, limit: usize) -> bool {
        let taken =
            self.depth.fetch_update(Ordering::AcqRel, Ordering::Acquire, |depth| (depth < limit).then_some(depth + 1));
        taken.is_ok()
    }

    pub(super) fn tell<E: Entity>(&self, tell: Tell<E>) {
        let door: &dyn Any = self.door().as_any();
        let address = door.downcast_ref::<actix::Addr<Host<E>>>().expect("an id of this kind opens this kind of door");
        address.do_send(tell);
    }

    pub(super) fn ask_to_retire(&self) {
        self.door().retire();
    }

    pub(super) fn door(&self) -> &dyn Door {
        self.door.get().expect("a seat is in the book only with its door").as_ref()
    }

    /// These rows were handed in and will be read with the backlog instead.
    pub(super) fn put_back(&self, messages: usize) {
        self.more.store(true, Ordering::Release);
        self.depth.fetch_sub(messages, Ordering::AcqRel);
    }

    /// These rows were found waiting and are in the mailbox now.
    pub(super) fn found(&self, messages: usize) {
        self.depth.fetch_add(messages, Ordering::AcqRel);
    }

    pub(super) fn has_more(&self) -> bool {
        self.more.load(Ordering::Acquire)
    }

    /// True once after rows were left waiting.
    pub(super) fn take_more(&self) -> bool {
        self.more.swap(false, Ordering::AcqRel)
    }

    /// One message has been processed.
    pub(super) fn processed(&self, now: Time) {
        self.depth.fetch_sub(1, Ordering::AcqRel);
        self.busy_at.store(now.0, Ordering::Relaxed);
    }
}
