//! Connections that stay open for the next request, of which there are only so many: an activity for everybody goes to
//! thousands of places, and each of these would keep a connection and its memory for nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;

/// Both ends of a connection.
pub(super) type Ends = (SocketAddr, SocketAddr);

pub(super) struct Kept {
    most: usize,
    /// How long the client keeps one that nobody uses.
    idle: Duration,
    used: Mutex<BTreeMap<Ends, Duration>>,
}

impl Kept {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self { most, idle, used: Mutex::default() }
    }

    /// Whether the connection of one more request may stay open behind it. Those under way are not counted yet, so that
    /// there may be as many more as there are requests at once.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        let mut used = self.used.lock();
        if used.len() < self.most {
            return true;
        }
        used.retain(|_, at| now.saturating_sub(*at) < self.idle);
        used.len() < self.most
    }

    /// Notes the connection of a request that is done.
    pub(super) fn note(&self, ends: Ends, stays: bool, now: Duration) {
        let mut used = self.used.lock();
        match stays {
            true => drop(used.insert(ends, now)),
            false => drop(used.remove(&ends)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(port: u16) -> Ends {
        (SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 2], 443)))
    }

    #[test]
    fn so_many_stay_and_no_more_until_one_is_closed_or_idle_for_long() {
        let kept = Kept::new(2, Duration::from_secs(30));
        let at = Duration::from_secs;
        for port in [1, 2] {
            assert!(kept.has_room(at(0)));
            kept.note(ends(port), true, at(0));
        }
        assert!(!kept.has_room(at(10)));
        kept.note(ends(1), false, at(10));
        assert!(kept.has_room(at(10)));
        kept.note(ends(3), true, at(20));
        assert!(!kept.has_room(at(29)), "2 was used at 0 and 3 at 20");
        assert!(kept.has_room(at(30)), "2 is closed by now");
        kept.note(ends(4), true, at(30));
        kept.note(ends(3), true, at(45));
        assert!(!kept.has_room(at(50)), "what is used stays");
    }
}
