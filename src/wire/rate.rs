//! How much one peer may ask for: a bucket of tokens for each, and a bound on how many buckets there are.

use std::time::Duration;

use parking_lot::Mutex;

use super::recent::Recent;
use crate::clock::SharedClock;
use crate::domains::identity::Authority;

/// Peers remembered; the one that was quiet for longest is forgotten first, which only refills its bucket.
const PEERS_MAX: usize = 10_000;

/// Buckets by authority.
pub struct Rates {
    clock: SharedClock,
    per_second: f64,
    burst: f64,
    buckets: Mutex<Recent<Authority, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Rates {
    /// `per_second` on average, and as many at once.
    pub fn new(clock: SharedClock, per_second: u32) -> Self {
        let rate = f64::from(per_second);
        Self { clock, per_second: rate, burst: rate, buckets: Mutex::new(Recent::new(PEERS_MAX)) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub fn take(&self, peer: &Authority) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let mut buckets = self.buckets.lock();
        let tokens = match buckets.get(peer) {
            Some(bucket) => {
                let grown = now.saturating_sub(bucket.at).as_secs_f64() * self.per_second;
                (bucket.tokens + grown).min(self.burst)
            }
            None => self.burst,
        };
        let allowed = tokens >= 1.0;
        let left = if allowed { tokens - 1.0 } else { tokens };
        match buckets.get(peer) {
            Some(bucket) => *bucket = Bucket { tokens: left, at: now },
            None => buckets.insert(peer.clone(), Bucket { tokens: left, at: now }),
        }
        if allowed { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - tokens) / self.per_second)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::StepClock;

    #[test]
    fn a_peer_gets_its_burst_then_its_rate_and_others_are_not_touched() {
        let clock = StepClock::start();
        let rates = Rates::new(clock.clone(), 10);
        let (one, other) = (Authority::parse("a.example").unwrap(), Authority::parse("b.example").unwrap());
        assert!((0..10).all(|_| rates.take(&one).is_ok()));
        assert!(rates.take(&one).unwrap_err() <= Duration::from_millis(100));
        assert!(rates.take(&other).is_ok());
        clock.step(Duration::from_millis(250));
        assert!(rates.take(&one).is_ok() && rates.take(&one).is_ok());
        assert!(rates.take(&one).is_err());
    }
}
