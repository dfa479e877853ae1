//! What decisions know of the node that they are made in: who it is, what it declares, whom it lets in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::stream;
use crate::domains::catalog::Catalog;
use crate::domains::effects::{Effects, StreamOp};
use crate::domains::flow::kinds::Runners;
use crate::domains::identity::{Authority, Iri};
use crate::domains::slug;

/// Facts that stay the same while the node runs.
pub struct World {
    pub name: String,
    /// The address of the node, without a slash at the end.
    pub base: String,
    pub authority: Authority,
    pub actor: Iri,
    pub catalog: Arc<Catalog>,
    pub effects: Effects,
    pub accept: Accept,
    pub delivery: Delivery,
    /// How long an activity is known by its id, and how old a new one may be.
    pub dedupe: Duration,
    /// Which life of its data this is: ids made anew contain it, so that a restored node and its original never make
    /// the same.
    pub incarnation: u64,
    /// Slugs that are pages of the node itself.
    pub reserved: &'static [&'static str],
    /// Who runs its flows.
    pub runners: Runners,
}

/// Which Follows are accepted without a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    All,
    /// None: somebody decides about each.
    Ask,
    /// Those of these authorities and actors; somebody decides about the others.
    Listed(BTreeSet<String>),
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

    /// The address below the base of an object of ours, named by its id, as TYPE/SLUG, or by the address itself.
    pub fn object_path(&self, name: &str) -> String {
        if let Ok(iri) = Iri::parse(name) {
            return self.local(&iri).unwrap_or(name).to_owned();
        }
        match name.split_once('/').and_then(|(kind, slug)| Some((self.catalog.object_type(kind)?, slug))) {
            Some((declared, slug)) => declared.address(slug),
            None => name.to_owned(),
        }
    }

    /// The stream that does what an effect asks for. `fresh` names a new object that has no title.
    pub(super) fn stream(&self, name: &str, op: &StreamOp, fresh: impl FnOnce() -> String) -> String {
        match op {
            StreamOp::Append { .. } => stream::local_stream(name),
            StreamOp::UpdateObject { .. } | StreamOp::Link { .. } => stream::object_stream(&self.object_path(name)),
            StreamOp::CreateObject { object_type, slug_hint, fields, .. } => {
                let declared = self.catalog.object_type(object_type);
                let title = slug_hint.as_deref().or_else(|| declared?.title_of(fields));
                let slug = title
                    .and_then(|title| slug::from_title(title, self.reserved))
                    .unwrap_or_else(|| fresh().to_lowercase());
                stream::object_stream(&declared.map_or(slug.clone(), |declared| declared.address(&slug)))
            }
        }
    }

    /// The path below the base, if the id is one of ours.
    pub fn local<'a>(&self, iri: &'a Iri) -> Option<&'a str> {
        iri.as_str().strip_prefix(self.base.as_str())?.strip_prefix('/')
    }
}

impl Accept {
    pub fn takes(&self, actor: &Iri) -> bool {
        match self {
            Self::All => true,
            Self::Ask => false,
            Self::Listed(listed) => listed.contains(actor.as_str()) || listed.contains(actor.authority().as_str()),
        }
    }
}
