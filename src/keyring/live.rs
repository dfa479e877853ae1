//! The keys of a running node: rotated without a stop, told of to followers, and taken out when their time is over.
//!
//! The folder counts. What it says is taken over in memory at once; the Update that tells of it is owed from then on, and
//! goes into the log before or after a crash.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use parking_lot::RwLock;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::folder::{self, FolderError};
use super::{Generation, NotNow, Old, Request, Ring, Rotation};
use crate::actors::announce::{self, News};
use crate::actors::runtime::Runtime;
use crate::actors::stream::{Command, Stream};
use crate::clock::ulid;
use crate::domains::identity::Iri;
use crate::wire::document::{OurActor, Profile};
use crate::wire::key::{KeyFormatError, NodeKey, NodeKeys};
use crate::wire::rsa::RsaKey;
use crate::wire::signers::Signers;

/// How soon it is tried again what a store or disk that is ill could not do.
const RETRY: Duration = Duration::from_secs(5);
/// How late it may be noticed that somebody has put the clock on.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// What a node signs with and what it publishes of that, changed together.
pub struct Keyring {
    data: PathBuf,
    base: Iri,
    profile: Profile,
    incarnation: u64,
    runtime: Arc<Runtime>,
    signers: Signers,
    ring: RwLock<(Ring, Bytes)>,
    /// Something of the ring is not written, or something that it does not have is not taken away: as an earlier life
    /// may have left it.
    is_behind: AtomicBool,
    /// One change at a time.
    turn: Turn<()>,
    changed: Notify,
}

/// A rotation that was asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub old: Old,
    pub request: Option<Request>,
}

/// Why keys were not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error(transparent)]
    NotNow(#[from] NotNow),
    #[error("no keys could be made: {0}")]
    Making(#[from] KeyFormatError),
    #[error("the new keys could not be kept, and the old ones sign on: {0}")]
    Keeping(#[from] FolderError),
    #[error("the node is stopping")]
    Stopping,
}

impl Keyring {
    /// For the keys that this folder has; `signers` sign with them.
    pub fn new(
        data: PathBuf,
        ring: Ring,
        runtime: &Arc<Runtime>,
        (base, profile): (&Iri, Profile),
        incarnation: u64,
        signers: Signers,
    ) -> Self {
        let document = document(base, &profile, &runtime.world.name, &ring);
        Self {
            data,
            base: base.clone(),
            profile,
            incarnation,
            runtime: runtime.clone(),
            signers,
            ring: RwLock::new((ring, document)),
            is_behind: AtomicBool::new(true),
            turn: Turn::default(),
            changed: Notify::new(),
        }
    }

    pub fn ring(&self) -> Ring {
        self.ring.read().0.clone()
    }

    /// Our actor, as it is served.
    pub fn document(&self) -> Bytes {
        self.ring.read().1.clone()
    }

    /// Signs with new keys from here on, and tells followers. True for a repeat of the last request, which changes
    /// nothing. Run it to its end: who asked may go away.
    ///
    /// # Errors
    /// When it is not the time, or the new keys cannot be kept; then all stays as it was.
    pub async fn rotate(&self, wanted: Wanted) -> Result<(Ring, bool), RotateError> {
        let _mine = self.turn.lock().await;
        let before = self.ring();
        if before.is_repeat(wanted.request.as_ref())? {
            return Ok((before, true));
        }
        before.admit(wanted.old)?;
        let (clock, data, name) = (self.runtime.clock.clone(), self.data.clone(), before.next_name(self.incarnation));
        let made = spawn_blocking(move || {
            let mut seed = [0; 32];
            seed[..16].copy_from_slice(&clock.random());
            seed[16..].copy_from_slice(&clock.random());
            let keys = NodeKeys { ed25519: NodeKey::from_seed(seed), rsa: RsaKey::generate()? };
            let (new, now) = (Generation { name, since: None, until: None, keys }, clock.now());
            let activity = ulid(now, clock.random());
            let rotation = Rotation { activity, logged: false, request: wanted.request };
            let ring = before.rotated(new, wanted.old, rotation, now);
            folder::write(&ring, &data)?;
            Ok::<_, RotateError>(ring)
        });
        let ring = made.await.map_err(|_| RotateError::Stopping)??;
        info!(keys = ring.newest().name, until = ring.next_end().map(|at| at.to_string()), "the keys were rotated");
        self.take_over(ring);
        self.keep().await;
        if !self.tell().await {
            warn!("followers are not told of the new keys yet; it is tried again");
        }
        self.changed.notify_one();
        Ok((self.ring(), false))
    }

    /// Tells what is still owed, and takes out what has ended, for the life of the node.
    pub async fn keep_up(self: Arc<Self>) {
        while !self.runtime.is_stopping() {
            let done = {
                let _mine = self.turn.lock().await;
                let told = self.runtime.is_held() || self.tell().await;
                self.take_out_ended().await;
                if self.is_behind.load(Ordering::Acquire) {
                    self.keep().await;
                }
                told && !self.is_behind.load(Ordering::Acquire)
            };
            let held = self.runtime.is_held() && self.ring.read().0.owed().is_some();
            let ends = self.ring.read().0.next_end().map(|at| at.since(self.runtime.clock.now()));
            let wait = if done && !held { ends.unwrap_or(LOOK).min(LOOK) } else { RETRY };
            let (changed, sleep) = (Box::pin(self.changed.notified()), self.runtime.clock.sleep(wait));
            if let Either::Left(_) = select(changed, sleep).await {}
        }
    }

    fn take_over(&self, ring: Ring) {
        let document = document(&self.base, &self.profile, &self.runtime.world.name, &ring);
        // What is published comes first: whoever gets something signed anew may look at once.
        *self.ring.write() = (ring.clone(), document);
        self.signers.change(&ring);
    }

    /// Puts the Update that is owed into the log; false when that has to be tried again.
    async fn tell(&self) -> bool {
        let ring = self.ring();
        let Some(owed) = ring.owed() else { return true };
        let document = serde_json::from_slice(&self.document()).unwrap_or_default();
        let news = News { activity: owed.activity.clone(), document };
        let told = self.runtime.registry().ask::<Stream>(&announce::teller(), Command::Announce(news), None).await;
        if let Err(error) = told {
            warn!(%error, "the Update that tells of the new keys could not be logged");
            return false;
        }
        self.ring.write().0 = ring.logged();
        self.keep().await;
        true
    }

    /// Stops publishing what has ended.
    async fn take_out_ended(&self) {
        let (ring, now) = (self.ring(), self.runtime.clock.now());
        if ring.next_end().is_some_and(|until| until <= now) {
            self.take_over(ring.without_ended(now));
            info!("the old keys are no longer published");
            self.keep().await;
        }
    }

    /// Brings the folder up to what counts in memory. What it lacks, the next start does as well.
    async fn keep(&self) {
        let (ring, data) = (self.ring(), self.data.clone());
        let kept = spawn_blocking(move || folder::keep(&ring, &data)).await;
        if let Ok(Err(error)) = &kept {
            warn!(%error, "the folder of keys is not up to date; it is tried again");
        }
        self.is_behind.store(!matches!(kept, Ok(Ok(()))), Ordering::Release);
    }
}

fn document(base: &Iri, profile: &Profile, name: &str, ring: &Ring) -> Bytes {
    OurActor { base, name, username: name, profile: profile.clone(), keys: ring }.to_json().to_string().into()
}
