//! Which rules each kind of actor has: the one place where kinds meet their types.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_rt::ArbiterHandle;
use bytes::Bytes;

use super::entity::{ActorId, Entity, Kind};
use super::flow::Flow;
use super::follower::Follower;
use super::following::Following;
use super::gate::Gate;
use super::host::{Door, Host};
use super::inbox::Inbox;
use super::inspect::{self, Replayed};
use super::outbox::Outbox;
use super::record::{self, TurnRecord};
use super::runtime::Runtime;
use super::schedule::Schedule;
use super::seat::Seat;
use super::stream::Stream;
use crate::store::Engine;
use futures_util::future::BoxFuture;

/// Starts the shell of an actor, and gives the way to it.
type Open = fn(Arc<Runtime>, &ArbiterHandle, Arc<Seat>) -> Box<dyn Door>;
/// The stored state of an actor, if there is one of this name.
type Replay = BoxFuture<'static, Result<Option<Replayed>, String>>;

/// Whether stored bytes are what they should be.
type Readable = Result<(), rmp_serde::decode::Error>;

/// What has to be done knowing the type of a kind.
#[derive(Clone, Copy)]
struct Rules {
    open: Open,
    undeliverable: fn(&ActorId, &[u8], &str) -> Option<Bytes>,
    replay: fn(Arc<dyn Engine>, ActorId) -> Replay,
    reads_state: fn(&[u8]) -> Readable,
    reads_turn: fn(&[u8]) -> Readable,
}

/// The kinds of actor of a node.
#[derive(Clone)]
pub struct Kinds(BTreeMap<Kind, Rules>);

impl Default for Kinds {
    fn default() -> Self {
        Self(BTreeMap::new())
            .with::<Inbox>()
            .with::<Follower>()
            .with::<Following>()
            .with::<Outbox>()
            .with::<Flow>()
            .with::<Stream>()
            .with::<Gate>()
            .with::<Schedule>()
    }
}

impl Kinds {
    /// The same with other rules for one kind: tests and benchmarks run rules of their own in the real shell.
    pub fn with<E: Entity>(mut self) -> Self {
        let rules = Rules {
            open: Host::<E>::open,
            undeliverable: |to, body, reason| {
                E::undeliverable(to, body, reason).map(|command| record::encode(&command))
            },
            replay: |engine, id| Box::pin(inspect::replay::<E>(engine, id)),
            reads_state: |state| record::state::<E>(state).map(drop),
            reads_turn: |turn| record::decode::<TurnRecord<E::Event>>(turn).map(drop),
        };
        self.0.insert(E::KIND, rules);
        self
    }

    pub(super) fn open(&self, runtime: Arc<Runtime>, arbiter: &ArbiterHandle, seat: Arc<Seat>) -> Box<dyn Door> {
        (self.rules(seat.id.kind).open)(runtime, arbiter, seat)
    }

    /// What tells a sender that its message was given up, encoded; `None` if it does not wait for any.
    pub(super) fn undeliverable(&self, sender: Kind, to: &ActorId, body: &[u8], reason: &str) -> Option<Bytes> {
        (self.rules(sender).undeliverable)(to, body, reason)
    }

    /// The stored state of an actor, rebuilt for looking at.
    pub(super) fn replay(&self, engine: Arc<dyn Engine>, id: ActorId) -> Replay {
        (self.rules(id.kind).replay)(engine, id)
    }

    /// Whether this is a state of that kind.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn reads_state(&self, kind: Kind, state: &[u8]) -> Readable {
        (self.rules(kind).reads_state)(state)
    }

    /// Whether this is a turn of that kind, with all its events.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn reads_turn(&self, kind: Kind, turn: &[u8]) -> Readable {
        (self.rules(kind).reads_turn)(turn)
    }

    fn rules(&self, kind: Kind) -> Rules {
        *self.0.get(&kind).expect("every kind has its rules")
    }
}
