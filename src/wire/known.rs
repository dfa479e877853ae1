//! What is known of the documents of others: those that are here, and those that could not be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::document::{ActorDocument, DocumentError, is_like_ours};
use super::found::{Found, Key, KeyError};
use super::keys::KeySettings;
use super::recent::Recent;
use super::signature::Algorithm;
use crate::clock::Time;
use crate::domains::identity::{Authority, Iri};

/// Failures are kept apart, so that names of nothing cannot push out keys that are in use.
pub(super) struct Known {
    pub(super) documents: Recent<Iri, Arc<Entry>>,
    failures: Recent<Iri, Failure>,
    /// Pages that show only a key.
    pages: Recent<Iri, Page>,
    pub(super) refreshes: Recent<Iri, Refresh>,
    /// Authorities of nodes like this one, by their documents.
    pub(super) alike: Recent<Authority, ()>,
}

pub(super) struct Entry {
    pub(super) document: Arc<ActorDocument>,
    keys: Vec<Arc<Found>>,
    pub(super) fetched_at: Time,
    /// Its owner has said since that it is another one now.
    doubted: AtomicBool,
}

/// Whose key a page shows.
struct Page {
    owner: Iri,
    fetched_at: Time,
}

/// When a document that was here was last asked for again, and whether that failed in passing.
pub(super) struct Refresh {
    pub(super) at: Time,
    pub(super) failed: Option<KeyError>,
}

struct Failure {
    error: KeyError,
    until: Time,
    wait: Duration,
}

impl Known {
    /// Each list holds so many at most.
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            documents: Recent::new(entries_max),
            failures: Recent::new(entries_max),
            pages: Recent::new(entries_max),
            refreshes: Recent::new(entries_max),
            alike: Recent::new(entries_max),
        }
    }

    /// What is still good: a document, or that it could not be had.
    pub(super) fn recall(&mut self, document: &Iri, now: Time, life: Duration) -> Option<Result<Arc<Entry>, KeyError>> {
        if let Some(entry) = self.documents.get(document).filter(|entry| now.since(entry.fetched_at) < life) {
            return Some(Ok(entry.clone()));
        }
        if let Some(page) = self.pages.get(document).filter(|page| now.since(page.fetched_at) < life) {
            let (asked, owner) = (document.clone(), page.owner.clone());
            return Some(Err(DocumentError::OnlyKey { asked, owner }.into()));
        }
        self.failures.get(document).filter(|failure| now < failure.until).map(|failure| Err(failure.error.clone()))
    }

    pub(super) fn keep(&mut self, document: &Iri, entry: Arc<Entry>) {
        let mut keys = entry.keys.iter().filter(|found| found.key.algorithm() == Some(Algorithm::Ed25519));
        match keys.any(|found| is_like_ours(&found.key_id, document)) {
            true => self.alike.insert(document.authority(), ()),
            false => drop(self.alike.remove(&document.authority())),
        }
        self.failures.remove(document);
        self.pages.remove(document);
        self.documents.insert(document.clone(), entry);
    }

    /// Until when nothing is asked for a key that could not be had.
    pub(super) fn until(&mut self, key_id: &Iri, settings: &KeySettings) -> Option<Time> {
        let document = key_id.without_fragment();
        let document = self.pages.get(&document).map_or(document, |page| page.owner.clone());
        let failure = self.failures.get(&document).map(|failure| failure.until);
        failure.or(self.refreshes.get(&document).map(|last| last.at.plus(last.wait(settings))))
    }

    /// A document that is here outlives a fetch that fails in passing, not one that shows that it is gone.
    pub(super) fn fail(&mut self, document: &Iri, error: &KeyError, now: Time, settings: &KeySettings) {
        if error.is_passing()
            && self.documents.get(document).is_some_and(|old| now.since(old.fetched_at) < settings.life)
        {
            return;
        }
        self.documents.remove(document);
        if let KeyError::Document(DocumentError::OnlyKey { owner, .. }) = error {
            self.failures.remove(document);
            self.pages.insert(document.clone(), Page { owner: owner.clone(), fetched_at: now });
            return;
        }
        let wait = match self.failures.get(document) {
            Some(before) => (before.wait * 2).min(settings.failure_max),
            None if error.is_passing() => settings.passing_min,
            None => settings.failure_min,
        };
        self.failures.insert(document.clone(), Failure { error: error.clone(), until: now.plus(wait), wait });
    }
}

impl Refresh {
    /// The answer while it is too soon for another: that there is nothing newer, or that the last try failed.
    pub(super) fn stands<T>(&self, now: Time, settings: &KeySettings) -> Option<Result<Option<T>, KeyError>> {
        let answer = self.failed.clone().map_or(Ok(None), Err);
        (now.since(self.at) < self.wait(settings)).then_some(answer)
    }

    fn wait(&self, settings: &KeySettings) -> Duration {
        if self.failed.is_some() { settings.failure_min } else { settings.refresh_min }
    }
}

impl Entry {
    pub(super) fn new(document: ActorDocument, fetched_at: Time) -> Self {
        let found = document.keys.iter().map(|published| {
            Arc::new(Found {
                key_id: published.id.clone(),
                actor: published.owner.clone(),
                key: Key::Public(published.key.clone()),
                asserts: published.asserts,
                inbox: Some(document.inbox.clone()),
                shared_inbox: document.shared_inbox.clone(),
                fetched_at,
            })
        });
        let doubted = AtomicBool::new(false);
        Self { keys: found.collect(), document: Arc::new(document), fetched_at, doubted }
    }

    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    pub(super) fn find(&self, key_id: &Iri) -> Option<Arc<Found>> {
        self.keys.iter().find(|found| found.key_id == *key_id).cloned()
    }

    pub(super) fn why_not(&self, key_id: &Iri) -> KeyError {
        let key_id = key_id.clone();
        match self.document.refused.get(&key_id) {
            Some(why) => KeyError::NotUsable { key_id, source: why.clone() },
            None => KeyError::NotPublished { key_id, document: self.document.id.clone() },
        }
    }
}
