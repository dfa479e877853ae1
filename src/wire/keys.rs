//! The keys of others: fetched once, kept a day, asked for again when they seem to have changed.
//!
//! Anybody can name a key, so each limit here bounds what a stranger can make this node do.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, Semaphore};

use super::document::{ActorDocument, DocumentError};
pub use super::found::{Found, Key, KeyError};
use super::key::PairSecret;
use super::known::{Entry, Known, Refresh};
use super::published::Reader;
use super::signers::Signers;
use super::transport::{Limits, Response, Transport};
use crate::actors::blocking::Blocklist;
use crate::actors::errands::Mailbox;
use crate::clock::{SharedClock, Time};
use crate::domains::identity::{Authority, Iri};

/// The fragment of key ids that name a shared secret.
pub const PAIR_FRAGMENT: &str = "hmac";

/// How many documents are kept, for how long, and what a fetch may take.
#[derive(Debug, Clone, Copy)]
pub struct KeySettings {
    pub documents_max: usize,
    pub life: Duration,
    /// At most one new fetch of a document that is already here in this time (CONTRACT, Wire 4).
    pub refresh_min: Duration,
    /// A document that could not be had is not asked for again for so long, twice as long each time.
    pub failure_min: Duration,
    /// The same at first of one that was only not to be had just now: its server may be starting.
    pub passing_min: Duration,
    pub failure_max: Duration,
    /// Fetches under way at once, whatever the number of names that strangers think of.
    pub fetches_max: usize,
    pub limits: Limits,
}

/// A peer that shares a secret with us (`[peers.NAME]`).
#[derive(Debug, Clone)]
pub struct Pair {
    pub secret: PairSecret,
    pub inbox: Option<Iri>,
}

/// The cache, its transport and its limits.
pub struct KeyCache {
    reader: Reader,
    clock: SharedClock,
    own: Authority,
    pairs: BTreeMap<Iri, Pair>,
    settings: KeySettings,
    /// Nothing is asked of those who are blocked, and no key of theirs counts.
    blocks: Arc<Blocklist>,
    known: Mutex<Known>,
    /// One fetch per document at a time; who waits finds the answer in `known`.
    turns: Mutex<BTreeMap<Iri, Weak<Turn<()>>>>,
    fetches: Semaphore,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            documents_max: 10_000,
            life: Duration::from_secs(24 * 60 * 60),
            refresh_min: Duration::from_secs(5 * 60),
            failure_min: Duration::from_secs(60),
            passing_min: Duration::from_secs(5),
            failure_max: Duration::from_secs(60 * 60),
            fetches_max: 256,
            limits: Limits { bytes_max: 64 * 1024, deadline: Duration::from_secs(5) },
        }
    }
}

impl KeyCache {
    /// `own` is never fetched; `pairs` are the actors that share a secret with us.
    pub fn new(
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        own: Authority,
        pairs: BTreeMap<Iri, Pair>,
        settings: KeySettings,
    ) -> Self {
        let known = Mutex::new(Known::new(settings.documents_max));
        let turns = Mutex::new(BTreeMap::new());
        let fetches = Semaphore::new(settings.fetches_max);
        let blocks = Arc::default();
        let reader = Reader { transport, clock: clock.clone(), signers: None, limits: settings.limits };
        Self { reader, clock, own, pairs, settings, blocks, known, turns, fetches }
    }

    /// The same for a node that blocks some.
    pub fn blocking(self, blocks: Arc<Blocklist>) -> Self {
        Self { blocks, ..self }
    }

    /// The same for a node that says who it is where strangers are shown nothing.
    pub fn signing(self, signers: Signers) -> Self {
        Self { reader: Reader { signers: Some(signers), ..self.reader }, ..self }
    }

    /// The key of that id, from memory or from its owner. The caller has made all cheap checks before.
    pub async fn key(&self, key_id: &Iri) -> Result<Arc<Found>, KeyError> {
        self.blocks.judge(&key_id.authority())?;
        let document = key_id.without_fragment();
        if key_id.fragment() == Some(PAIR_FRAGMENT) {
            return self.pair(key_id, document);
        }
        match self.key_in(&document, key_id).await {
            // One step and no more: what is found there has to be its owner.
            Err(KeyError::Document(DocumentError::OnlyKey { owner, .. })) => self.key_in(&owner, key_id).await,
            found => found,
        }
    }

    /// Fetches the document of a key that did not fit once more. None when that was done within the last minutes (or
    /// just now), so that `stale` is what its owner publishes.
    pub async fn refresh(&self, stale: &Found) -> Result<Option<Arc<Found>>, KeyError> {
        if matches!(stale.key, Key::Pair(_)) {
            return Ok(None);
        }
        // Its owner is where it was found, wherever its id leads.
        match self.fetch_again(&stale.actor, stale.fetched_at).await? {
            Some(newer) => newer.find(&stale.key_id).map(Some).ok_or_else(|| newer.why_not(&stale.key_id)),
            None => Ok(None),
        }
    }

    /// The document of an actor, from memory or fetched.
    pub async fn actor(&self, id: &Iri) -> Result<Arc<ActorDocument>, KeyError> {
        self.blocks.judge(&id.authority())?;
        Ok(self.entry(id, id).await?.document.clone())
    }

    /// The document of an actor that this node has something for. Whoever delivers has a back-off of its own: a failure
    /// before does not stand in its way, and its own in nobody's.
    pub async fn recipient(&self, id: &Iri) -> Result<Arc<ActorDocument>, KeyError> {
        self.blocks.judge(&id.authority())?;
        if id.authority() == self.own {
            return Err(KeyError::Ourselves { key_id: id.clone() });
        }
        if let Some(Ok(known)) = self.recall(id) {
            return Ok(self.undoubted(id, known).await?.document.clone());
        }
        let turn = self.turn(id);
        let _mine = turn.lock().await;
        if let Some(Ok(known)) = self.recall(id) {
            return Ok(known.document.clone());
        }
        Ok(self.load(id).await?.document.clone())
    }

    /// An actor has said that its document is another one now: whoever needs it next asks for it anew, as often as that
    /// may be done. Nothing is fetched here.
    pub(super) fn doubt(&self, actor: &Iri) {
        if let Some(entry) = self.known.lock().documents.get(actor) {
            entry.doubt();
        }
    }

    /// Where an actor takes mail, as its document has it since it was doubted; None while it may not be asked for again.
    pub(super) async fn mailbox(&self, id: &Iri) -> Result<Option<Mailbox>, KeyError> {
        self.blocks.judge(&id.authority())?;
        if let Some(inbox) = self.pairs.get(id).and_then(|pair| pair.inbox.clone()) {
            return Ok(Some(Mailbox { inbox, shared_inbox: None }));
        }
        let entry = self.entry(id, id).await?;
        let ActorDocument { inbox, shared_inbox, .. } = &*entry.document;
        let mailbox = || Mailbox { inbox: inbox.clone(), shared_inbox: shared_inbox.clone() };
        Ok((!entry.is_doubted()).then(mailbox))
    }

    /// Whether a document from there showed an ed25519 key under the id that nodes like this one give theirs, so that
    /// signatures with ours are likely to be checked.
    pub fn takes_ed25519(&self, authority: &Authority) -> bool {
        self.known.lock().alike.get(authority).is_some()
    }

    /// How long a document that could not be had is not asked for again, for `Retry-After`.
    pub fn retry_after(&self, key_id: &Iri) -> Duration {
        let until = self.known.lock().until(key_id, &self.settings);
        until.map_or(Duration::ZERO, |until| until.since(self.clock.now())).max(Duration::from_secs(1))
    }

    /// Whatever stands at an address of a peer, asked for as its actor is: anew, and signed where strangers are shown
    /// nothing.
    pub(super) async fn look(&self, document: &Iri) -> Result<Response, KeyError> {
        self.blocks.judge(&document.authority())?;
        self.reader.get(document).await
    }

    /// The document of an actor as it is just now.
    pub(super) async fn anew(&self, id: &Iri) -> Result<Arc<ActorDocument>, KeyError> {
        self.blocks.judge(&id.authority())?;
        if id.authority() == self.own {
            return Err(KeyError::Ourselves { key_id: id.clone() });
        }
        Ok(self.load(id).await?.document.clone())
    }

    async fn key_in(&self, document: &Iri, key_id: &Iri) -> Result<Arc<Found>, KeyError> {
        let entry = self.entry(key_id, document).await?;
        if let Some(found) = entry.find(key_id) {
            return Ok(found);
        }
        // Taken before: what came at this very moment is as new as it can be, also when the clock goes on meanwhile.
        let now = self.clock.now();
        // A key that is not in a document of yesterday may be in that of today.
        match self.fetch_again(document, entry.fetched_at).await? {
            Some(newer) => newer.find(key_id).ok_or_else(|| newer.why_not(key_id)),
            None => Err(why_not_now(document, &entry, key_id, now)),
        }
    }

    fn pair(&self, key_id: &Iri, actor: Iri) -> Result<Arc<Found>, KeyError> {
        let Some(pair) = self.pairs.get(&actor) else { return Err(KeyError::NoPair { actor }) };
        let (key, inbox) = (Key::Pair(pair.secret.clone()), pair.inbox.clone());
        let (key_id, fetched_at) = (key_id.clone(), self.clock.now());
        Ok(Arc::new(Found { key_id, actor, key, asserts: false, inbox, shared_inbox: None, fetched_at }))
    }

    async fn entry(&self, id: &Iri, document: &Iri) -> Result<Arc<Entry>, KeyError> {
        if id.authority() == self.own {
            return Err(KeyError::Ourselves { key_id: id.clone() });
        }
        match self.recall(document) {
            Some(Ok(known)) => return self.undoubted(document, known).await,
            Some(failed) => return failed,
            None => {}
        }
        let turn = self.turn(document);
        let _mine = turn.lock().await;
        match self.recall(document) {
            Some(known) => known,
            None => self.fetch(document).await,
        }
    }

    /// A document that its owner says has changed is asked for once more; what is here stays while that cannot be.
    async fn undoubted(&self, document: &Iri, known: Arc<Entry>) -> Result<Arc<Entry>, KeyError> {
        if !known.is_doubted() {
            return Ok(known);
        }
        match self.fetch_again(document, known.fetched_at).await {
            Ok(newer) => Ok(newer.unwrap_or(known)),
            Err(error) if error.is_passing() => Ok(known),
            Err(error) => Err(error),
        }
    }

    /// Another look at a document that is already here, fetched at `seen_at`. Who comes second gets what the first got.
    async fn fetch_again(&self, document: &Iri, seen_at: Time) -> Result<Option<Arc<Entry>>, KeyError> {
        let turn = self.turn(document);
        let _mine = turn.lock().await;
        let now = self.clock.now();
        {
            let mut known = self.known.lock();
            if let Some(entry) = known.documents.get(document).filter(|entry| entry.fetched_at > seen_at) {
                return Ok(Some(entry.clone()));
            }
            if now <= seen_at {
                return Ok(None);
            }
            if let Some(last) = known.refreshes.get(document).and_then(|last| last.stands(now, &self.settings)) {
                return last;
            }
            // Noted before the fetch, so that a caller who goes away half way has used it up.
            known.refreshes.insert(document.clone(), Refresh { at: now, failed: None });
        }
        let fetched = self.fetch(document).await;
        if let Err(error) = &fetched
            && error.is_passing()
        {
            self.known.lock().refreshes.insert(document.clone(), Refresh { at: now, failed: Some(error.clone()) });
        }
        fetched.map(Some)
    }

    fn recall(&self, document: &Iri) -> Option<Result<Arc<Entry>, KeyError>> {
        self.known.lock().recall(document, self.clock.now(), self.settings.life)
    }

    /// As [`Self::load`]; that it could not be had is remembered.
    async fn fetch(&self, document: &Iri) -> Result<Arc<Entry>, KeyError> {
        let loaded = self.load(document).await;
        // A fetch that was not even tried says nothing of the document.
        if let Err(error) = loaded.as_ref()
            && !matches!(error, KeyError::Busy { .. })
        {
            self.known.lock().fail(document, error, self.clock.now(), &self.settings);
        }
        loaded
    }

    async fn load(&self, document: &Iri) -> Result<Arc<Entry>, KeyError> {
        let Ok(_place) = self.fetches.try_acquire() else {
            return Err(KeyError::Busy { document: document.clone() });
        };
        let entry = Arc::new(Entry::new(self.reader.read(document).await?, self.clock.now()));
        self.known.lock().keep(document, entry.clone());
        Ok(entry)
    }

    fn turn(&self, document: &Iri) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock();
        if let Some(turn) = turns.get(document).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= self.settings.fetches_max {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Turn::new(()));
        turns.insert(document.clone(), Arc::downgrade(&turn));
        turn
    }
}

/// A document that is as new as it can be does not have a key. Keys may have been rotated since, also twice in a row, and
/// anybody could have used up the fetch that would show it: who signs with a new one is to come again.
fn why_not_now(document: &Iri, entry: &Entry, key_id: &Iri, now: Time) -> KeyError {
    match entry.why_not(key_id) {
        KeyError::NotPublished { key_id, .. } if entry.fetched_at < now => {
            KeyError::NotYet { key_id, document: document.clone() }
        }
        why => why,
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
