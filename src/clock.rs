//! Time and randomness: the only file that reads either. Everything else is handed a [`Clock`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since 1970, as HTTP signatures count.
    pub fn seconds(self) -> i64 {
        i64::try_from(self.0 / 1000).unwrap_or(i64::MAX)
    }
}

/// RFC 3339 in UTC with milliseconds, as in `published`.
impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(stamp) => write!(out, "{stamp:.3}"),
            Err(_) => write!(out, "{}ms", self.0),
        }
    }
}

/// A source of time and random bytes. Sleeping goes through it too, so that a stepped clock moves everything.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Time;

    /// A reading that only goes forward, for measuring how long something took.
    fn monotonic(&self) -> Duration;

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()>;

    /// Bytes that nobody can guess.
    fn random(&self) -> [u8; 16];
}

/// The clock handed to everything in a node.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock and randomness.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    pub fn shared() -> SharedClock {
        Arc::new(Self::default())
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where time and randomness come from")]
impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where time and randomness come from")]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, span: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(span))
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}

/// A ULID: 48 bits of time and 80 of the given randomness in 26 letters of Crockford's base 32, sorted by time.
pub fn ulid(at: Time, random: [u8; 16]) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut low = [0; 16];
    low[6..].copy_from_slice(&random[..10]);
    let bits = (u128::from(at.0 & 0xffff_ffff_ffff) << 80) | u128::from_be_bytes(low);
    (0..26).rev().map(|place| char::from(LETTERS[((bits >> (place * 5)) & 31) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulids_sort_by_time_and_have_26_letters() {
        let early = ulid(Time(1_000), [255; 16]);
        let late = ulid(Time(1_001), [0; 16]);
        assert!(early < late);
        assert_eq!(early.len(), 26);
        assert_eq!(ulid(Time(1_469_918_176_385), [0; 16]), "01ARYZ6S410000000000000000");
    }

    #[test]
    fn time_prints_as_rfc_3339() {
        assert_eq!(Time(1_618_884_473_042).to_string(), "2021-04-20T02:07:53.042Z");
    }
}
