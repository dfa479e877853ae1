//! What decisions know of the node that they are made in: who it is, what it declares, whom it lets in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::domains::catalog::Catalog;
use crate::domains::identity::{Authority, Iri};

/// Facts that stay the same while the node runs.
pub struct World {
    pub name: String,
    /// The address of the node, without a slash at the end.
    pub base: String,
    pub authority: Authority,
    pub actor: Iri,
    pub catalog: Arc<Catalog>,
    pub accept: Accept,
    pub delivery: Delivery,
    /// How long an activity is known by its id, and how old a new one may be.
    pub dedupe: Duration,
}

/// Which Follows are accepted without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    All,
    /// None: somebody decides about each.
    Ask,
    /// Those of these authorities; somebody decides about the others.
    Listed(BTreeSet<Authority>),
}

/// How activities are sent to one peer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Requests under way at once.
    pub in_flight_max: usize,
    pub retry_delay: Duration,
    pub retry_delay_max: Duration,
    /// After this an activity that could not be delivered is a dead letter.
    pub give_up: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            in_flight_max: 32,
            retry_delay: Duration::from_secs(1),
            retry_delay_max: Duration::from_secs(3_600),
            give_up: Duration::from_secs(7 * 24 * 3_600),
        }
    }
}

impl World {
    /// The id of something of ours. `path` has no slash in front.
    pub fn iri(&self, path: &str) -> Iri {
        Iri::parse(&format!("{}/{path}", self.base)).expect("a checked base and a path of url letters make an id")
    }

    pub fn activity(&self, ulid: &str) -> Iri {
        self.iri(&format!("activities/{ulid}"))
    }

    /// The path below the base, if the id is one of ours.
    pub fn local<'a>(&self, iri: &'a Iri) -> Option<&'a str> {
        iri.as_str().strip_prefix(self.base.as_str())?.strip_prefix('/')
    }
}

impl Accept {
    pub fn takes(&self, authority: &Authority) -> bool {
        match self {
            Self::All => true,
            Self::Ask => false,
            Self::Listed(listed) => listed.contains(authority),
        }
    }
}
