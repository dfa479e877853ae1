//! Which domains this node has nothing to do with: a row for each, a list in memory that everybody asks, and the end of
//! what there was between it and one that is blocked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;
use tracing::{info, warn};

use super::entity::Kind;
use super::follower::{self, Follower};
use super::following::{self, Following};
use super::outbox::{self, Outbox};
use super::rows::Index;
use super::runtime::Runtime;
use super::{layout, record};
use crate::domains::blocks::{Block, Blocked, Blocks, Domain};
use crate::domains::identity::{Authority, Iri};
use crate::store::{Batch, Engine, Failure, Key, Outcome, ReadError, Row, Span, pages};

/// Rows read in one go, and changed in one batch.
const PAGE: usize = 256;

/// The list as it is now, for all who let somebody in or go out.
#[derive(Debug, Default)]
pub struct Blocklist(RwLock<Blocks>);

/// Why a change of the list did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("the store could not take the write, and the list stays as it was: {0}")]
    Store(Arc<Failure>),
    #[error("the outcome is unknown, send the same again: {0}")]
    Unknown(Arc<Failure>),
    #[error("another process has taken over this node's data")]
    Fenced,
}

/// What ended with those that are blocked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Severed {
    pub followers: u64,
    pub following: u64,
}

impl Blocklist {
    /// Reads the rows of a node; `allow_only` are the only domains it has to do with, if there are such.
    ///
    /// # Errors
    /// What the store says. A list that cannot be read in full would let in who is not to come in.
    pub async fn load(engine: &dyn Engine, allow_only: Option<BTreeSet<Domain>>) -> Result<Self, ReadError> {
        let (mut listed, mut unread) = (BTreeMap::new(), None);
        let see = |page: &[Row]| {
            for row in page {
                let domain = layout::blocked(&row.key).and_then(|text| Domain::parse(&text).ok());
                match domain.zip(record::decode(&row.value).ok()) {
                    Some((domain, block)) => drop(listed.insert(domain, block)),
                    None => unread = Some(row.key.clone()),
                }
            }
        };
        pages(engine, Span::prefix(&layout::blocks(), PAGE), see).await?;
        if let Some(key) = unread {
            return Err(Arc::new(Failure::damaged(format!("the block {key:?} cannot be read"))));
        }
        Ok(Self(RwLock::new(Blocks { listed, allow_only })))
    }

    /// # Errors
    /// That this node has nothing to do with that authority.
    pub fn judge(&self, authority: &Authority) -> Result<(), Blocked> {
        self.0.read().judge(authority)
    }

    /// Shows the list; not for work that waits.
    pub fn read<T>(&self, look: impl FnOnce(&Blocks) -> T) -> T {
        look(&self.0.read())
    }

    /// Blocks and unblocks: on disk first, then for everybody.
    ///
    /// # Errors
    /// When the store does not take it; what is on disk by then counts.
    pub async fn change(
        &self,
        runtime: &Runtime,
        block: &BTreeMap<Domain, Block>,
        unblock: &[Domain],
    ) -> Result<(), ChangeError> {
        let puts: Vec<_> = block.iter().collect();
        for puts in puts.chunks(PAGE) {
            let rows = puts.iter().map(|(domain, block)| (layout::block(domain.as_str()), record::encode(*block)));
            commit(runtime, Batch { puts: rows.collect(), ..Batch::default() }).await?;
            let added = puts.iter().map(|(domain, block)| ((*domain).clone(), (*block).clone()));
            self.0.write().listed.extend(added);
        }
        for domains in unblock.chunks(PAGE) {
            let deletes = domains.iter().map(|domain| layout::block(domain.as_str())).collect();
            commit(runtime, Batch { deletes, ..Batch::default() }).await?;
            let mut blocks = self.0.write();
            domains.iter().for_each(|domain| drop(blocks.listed.remove(domain)));
        }
        Ok(())
    }

    /// Ends what there is between this node and those that are blocked: they follow no more and are followed no more,
    /// nobody is told, and what waits for them becomes dead letters. Doing it again does no harm.
    ///
    /// # Errors
    /// What the store says.
    pub async fn sever(&self, runtime: &Runtime) -> Result<Severed, ReadError> {
        let mut severed = Severed::default();
        if self.read(|blocks| blocks.listed.is_empty() && blocks.allow_only.is_none()) {
            return Ok(severed);
        }
        for they in self.blocked_in(runtime, Index::FollowersByActor).await? {
            let gone = follower::Command::Gone { reason: "its domain is blocked".to_owned() };
            severed.followers += done(&they, runtime.registry().ask::<Follower>(they.as_str(), gone, None).await);
        }
        for they in self.blocked_in(runtime, Index::Following).await? {
            let sever = following::Command::Sever { reason: "its domain is blocked".to_owned() };
            severed.following += done(&they, runtime.registry().ask::<Following>(they.as_str(), sever, None).await);
        }
        for peer in self.blocked_peers(runtime).await? {
            let forgotten = runtime.registry().ask::<Outbox>(peer.as_str(), outbox::Command::Forget, None).await;
            done(&peer, forgotten);
        }
        if severed != Severed::default() {
            info!(severed.followers, severed.following, "ended what there was with blocked domains");
        }
        Ok(severed)
    }

    /// The actors of a list whose domains are blocked.
    async fn blocked_in(&self, runtime: &Runtime, index: Index) -> Result<Vec<Iri>, ReadError> {
        let prefix = layout::index_prefix(index, &Key::default());
        let named = |key: &Key| Iri::parse(&key.parts_after(&prefix).text()?).ok();
        let all = walk(runtime, &prefix, named).await?;
        Ok(all.into_iter().filter(|they| self.judge(&they.authority()).is_err()).collect())
    }

    async fn blocked_peers(&self, runtime: &Runtime) -> Result<Vec<Authority>, ReadError> {
        let named = |key: &Key| Authority::parse(&layout::head_actor(key)?.key).ok();
        let all = walk(runtime, &layout::heads(Some(Kind::Outbox)), named).await?;
        Ok(all.into_iter().filter(|peer| self.judge(peer).is_err()).collect())
    }
}

/// What the rows under a prefix name.
async fn walk<T>(runtime: &Runtime, prefix: &Key, named: impl Fn(&Key) -> Option<T>) -> Result<Vec<T>, ReadError> {
    let mut found = Vec::new();
    let see = |page: &[Row]| found.extend(page.iter().filter_map(|row| named(&row.key)));
    pages(runtime.engine.as_ref(), Span::prefix(prefix, PAGE), see).await?;
    Ok(found)
}

fn done<T, E: std::fmt::Display>(whom: &impl std::fmt::Display, told: Result<T, E>) -> u64 {
    if let Err(error) = &told {
        warn!(peer = %whom, %error, "a blocked peer could not be parted with; the next start tries again");
    }
    u64::from(told.is_ok())
}

async fn commit(runtime: &Runtime, batch: Batch) -> Result<(), ChangeError> {
    let fence = runtime.fence();
    match runtime.engine.commit(Batch { fence, ..batch }).await {
        Outcome::Committed(_) => Ok(()),
        Outcome::Refused(_) => Err(ChangeError::Fenced),
        Outcome::Failed(failure) => {
            runtime.store_failed(fence, &failure);
            Err(ChangeError::Store(failure))
        }
        Outcome::Unknown(failure) => {
            runtime.store_failed(fence, &failure);
            Err(ChangeError::Unknown(failure))
        }
    }
}
