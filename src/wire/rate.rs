//! How much one peer may ask for: a bucket of tokens for each, and a bound on how many buckets there are.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::recent::Recent;
use crate::clock::SharedClock;
use crate::domains::identity::Authority;

/// Peers remembered; the one that was quiet for longest is forgotten first, which only refills its bucket.
const PEERS_MAX: usize = 10_000;
/// How long a peer waits that has too many requests under way.
const BUSY: Duration = Duration::from_secs(1);

/// Buckets by authority, or by whatever else somebody is told apart by.
pub struct Rates<K = Authority> {
    clock: SharedClock,
    per_second: f64,
    burst: f64,
    in_flight_max: usize,
    buckets: Mutex<Recent<K, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Duration,
    /// Requests under way; its clones are their places.
    in_flight: Arc<()>,
}

/// A request under way; the place is free again when this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "it counts by being there")] Arc<()>);

impl<K: Ord + Clone> Rates<K> {
    /// `per_second` on average and in a burst, `in_flight_max` of them at the same time.
    pub fn new(clock: SharedClock, per_second: u32, in_flight_max: usize) -> Self {
        let rate = f64::from(per_second);
        Self { clock, per_second: rate, burst: rate, in_flight_max, buckets: Mutex::new(Recent::new(PEERS_MAX)) }
    }

    /// Lets one request in.
    ///
    /// # Errors
    /// How long to wait before the next one.
    pub fn take(&self, peer: &K) -> Result<Place, Duration> {
        let now = self.clock.monotonic();
        let mut buckets = self.buckets.lock();
        if buckets.get(peer).is_none() {
            buckets.insert(peer.clone(), Bucket { tokens: self.burst, at: now, in_flight: Arc::default() });
        }
        let Some(bucket) = buckets.get(peer) else { return Err(BUSY) };
        let grown = now.saturating_sub(bucket.at).as_secs_f64() * self.per_second;
        (bucket.tokens, bucket.at) = ((bucket.tokens + grown).min(self.burst), now);
        if Arc::strong_count(&bucket.in_flight) > self.in_flight_max {
            return Err(BUSY);
        }
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second));
        }
        bucket.tokens -= 1.0;
        Ok(Place(bucket.in_flight.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::for_tests::StepClock;

    #[test]
    fn a_peer_gets_its_burst_then_its_rate_and_others_are_not_touched() {
        let clock = StepClock::start();
        let rates = Rates::new(clock.clone(), 10, 100);
        let (one, other) = (Authority::parse("a.example").unwrap(), Authority::parse("b.example").unwrap());
        assert!((0..10).all(|_| rates.take(&one).is_ok()));
        assert!(rates.take(&one).unwrap_err() <= Duration::from_millis(100));
        assert!(rates.take(&other).is_ok());
        clock.step(Duration::from_millis(250));
        assert!(rates.take(&one).is_ok() && rates.take(&one).is_ok());
        assert!(rates.take(&one).is_err());
    }

    #[test]
    fn a_peer_has_only_so_many_requests_under_way() {
        let rates = Rates::new(StepClock::start(), 1_000, 2);
        let peer = Authority::parse("a.example").unwrap();
        let first = rates.take(&peer).unwrap();
        let _second = rates.take(&peer).unwrap();
        assert_eq!(rates.take(&peer).err(), Some(BUSY));
        drop(first);
        assert!(rates.take(&peer).is_ok());
    }
}
