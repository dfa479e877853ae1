//! Requests under an idempotency key: one at a time for each key, whichever actors they are for.
//!
//! The answer kept under a key is a row, and two requests that both look for it before either has written it would both
//! take effect. Whoever comes second waits here until the first is told what became of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

/// Makes a request safe to repeat: the same key and request get the first answer again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    pub(super) key: String,
    pub(super) fingerprint: [u8; 32],
    /// The instance of a flow that the request begins.
    pub(super) flow: Option<String>,
}

impl Once {
    /// `key` as the client gave it, within `scope` (whose key it is, and for what route); `request` is all that makes
    /// the request what it is.
    pub fn new(scope: &str, key: &str, request: &[u8]) -> Self {
        Self { key: format!("{scope}\u{1f}{key}"), fingerprint: Sha256::digest(request).into(), flow: None }
    }
}

/// The keys under which a request is under way, each with those who wait for its end.
#[derive(Debug, Default, Clone)]
pub(super) struct UnderWay(Arc<Mutex<BTreeMap<String, Vec<oneshot::Sender<()>>>>>);

/// One request's hold on its key; whoever waits goes on when it is dropped.
#[derive(Debug)]
pub struct Claim {
    key: String,
    under_way: UnderWay,
}

impl UnderWay {
    /// Waits until no other request is under way under this key.
    pub(super) async fn claim(&self, key: &str) -> Claim {
        while let Some(ended) = self.wait(key) {
            // Dropped or sent: either way the key was free a moment ago.
            let _ = ended.await;
        }
        Claim { key: key.to_owned(), under_way: self.clone() }
    }

    fn wait(&self, key: &str) -> Option<oneshot::Receiver<()>> {
        let mut under_way = self.0.lock();
        let Some(waiting) = under_way.get_mut(key) else {
            under_way.insert(key.to_owned(), Vec::new());
            return None;
        };
        let (end, ended) = oneshot::channel();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(end);
        Some(ended)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Dropping the senders wakes all who wait; the first of them to look has the key.
        drop(self.under_way.0.lock().remove(&self.key));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_second_request_waits_for_the_first_and_a_third_for_both() {
        let under_way = UnderWay::default();
        let first = under_way.claim("k").now_or_never().unwrap();
        let (mut second, mut third) = (Box::pin(under_way.claim("k")), Box::pin(under_way.claim("k")));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert!(under_way.claim("other").now_or_never().is_some(), "keys do not wait for one another");
        drop(first);
        let second = second.now_or_never().unwrap();
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().is_some());
        assert!(under_way.0.lock().is_empty(), "nothing is kept of keys that nobody holds");
    }
}
