//! The keys of this node by generations: which of them sign, which are still published, and what a rotation changes.
//!
//! ```text
//! new ──signs──▶ (a rotation) ──published, until the overlap ends──▶ gone, with its files
//! ```
//! Each generation has ids of its own. Peers keep keys by their ids, and would take a new key under an old id for the
//! old one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::wire::key::NodeKeys;

pub mod folder;
pub mod live;

/// How long old keys stay published when nobody says so: twice as long as nodes like this one believe a document.
pub const OVERLAP: Duration = Duration::from_secs(48 * 60 * 60);
/// An old key is a key that somebody may find: a longer overlap is a slip of the pen.
pub const OVERLAP_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What the first generation is called. Its ids and files are those of nodes that know of no others.
pub const FIRST: &str = "1";

/// All keys of a node, the newest first.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Never empty. The first signs, the others are published until they end.
    generations: Vec<Generation>,
    pub rotation: Option<Rotation>,
}

/// Keys that were made together.
#[derive(Debug, Clone)]
pub struct Generation {
    pub name: String,
    /// None for keys that are as old as the node.
    pub since: Option<Time>,
    /// When they stop being published; none for those that sign.
    pub until: Option<Time>,
    pub keys: NodeKeys,
}

/// What is kept of the last rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// The local ulid of the Update that tells followers.
    pub activity: String,
    /// Whether that Update is in the log, from where it finds its own way.
    #[serde(default)]
    pub logged: bool,
    /// Whose request it was, for a repeat of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// A request under an idempotency key, as hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Of the key and whose it is.
    pub key: String,
    pub content: String,
}

/// What a rotation is to do with the keys that signed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    StayFor(Duration),
    /// They may be in wrong hands.
    GoNow,
}

/// Why keys are not rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    #[error(
        "the keys were rotated already, and the old ones are published until {until}: wait until then, or take all old ones out at once with `quickbeam key rotate --now`"
    )]
    Overlap { until: Time },
    #[error("the Idempotency-Key was used for another rotation: send a new one")]
    KeyReused,
}

impl Ring {
    /// The keys of a node that has rotated none.
    pub fn first(keys: NodeKeys) -> Self {
        let first = Generation { name: FIRST.to_owned(), since: None, until: None, keys };
        Self { generations: vec![first], rotation: None }
    }

    /// The newest first; there is one at least.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Those that sign.
    pub fn newest(&self) -> &Generation {
        &self.generations[0]
    }

    /// When the next of the old ones ends.
    pub fn next_end(&self) -> Option<Time> {
        self.generations.iter().filter_map(|one| one.until).min()
    }

    /// Without those that have ended by now. The newest never ends.
    pub fn without_ended(&self, now: Time) -> Self {
        let stays = |one: &&Generation| one.until.is_none_or(|until| until > now);
        Self { generations: self.generations.iter().filter(stays).cloned().collect(), ..self.clone() }
    }

    /// Whether a request did the last rotation, and is here again.
    ///
    /// # Errors
    /// When its key was used for another one.
    pub fn is_repeat(&self, request: Option<&Request>) -> Result<bool, NotNow> {
        let last = self.rotation.as_ref().and_then(|rotation| rotation.request.as_ref());
        match last.zip(request) {
            Some((last, now)) if last.key == now.key && last.content != now.content => Err(NotNow::KeyReused),
            Some((last, now)) => Ok(last == now),
            None => Ok(false),
        }
    }

    /// Whether keys may be rotated now.
    ///
    /// # Errors
    /// While old ones are still published, unless these are to go.
    pub fn admit(&self, old: Old) -> Result<(), NotNow> {
        match (old, self.next_end()) {
            (Old::StayFor(_), Some(until)) => Err(NotNow::Overlap { until }),
            _ => Ok(()),
        }
    }

    /// The name of the next generation. A restored node may have forgotten some that its earlier life made, so that
    /// later lives count apart.
    pub fn next_name(&self, incarnation: u64) -> String {
        let number = |one: &Generation| one.name.split('-').next().and_then(|number| number.parse::<u64>().ok());
        let next = self.generations.iter().filter_map(number).max().unwrap_or(1) + 1;
        if incarnation <= 1 { next.to_string() } else { format!("{next}-{incarnation}") }
    }

    /// The ring behind a rotation.
    pub fn rotated(&self, new: Generation, old: Old, rotation: Rotation, now: Time) -> Self {
        let mut generations = vec![Generation { since: Some(now), until: None, ..new }];
        if let Old::StayFor(overlap) = old {
            let until = |one: &Generation| one.until.unwrap_or(now.plus(overlap));
            generations
                .extend(self.generations.iter().map(|one| Generation { until: Some(until(one)), ..one.clone() }));
        }
        Self { generations, rotation: Some(rotation) }
    }

    /// With the Update in the log.
    pub fn logged(&self) -> Self {
        let rotation = self.rotation.clone().map(|rotation| Rotation { logged: true, ..rotation });
        Self { rotation, ..self.clone() }
    }

    /// The Update that is promised and not in the log yet.
    pub fn owed(&self) -> Option<&Rotation> {
        self.rotation.as_ref().filter(|rotation| !rotation.logged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::for_tests::keys;

    const NOW: Time = Time(1_700_000_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn rotation(activity: &str) -> Rotation {
        Rotation { activity: activity.to_owned(), logged: false, request: None }
    }

    fn rotate(ring: &Ring, old: Old, now: Time) -> Ring {
        let new = Generation { name: ring.next_name(1), since: None, until: None, keys: keys(2) };
        ring.rotated(new, old, rotation("01A"), now)
    }

    fn names(ring: &Ring) -> Vec<&str> {
        ring.generations().iter().map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn the_old_keys_stay_for_the_overlap_and_the_new_ones_sign() {
        let ring = rotate(&Ring::first(keys(1)), Old::StayFor(HOUR), NOW);
        assert_eq!((names(&ring), ring.next_end()), (vec!["2", "1"], Some(NOW.plus(HOUR))));
        assert_eq!((ring.newest().since, ring.newest().until), (Some(NOW), None));
        let almost = NOW.plus(HOUR - Duration::from_millis(1));
        assert_eq!(names(&ring.without_ended(almost)), ["2", "1"]);
        let ended = ring.without_ended(NOW.plus(HOUR));
        assert_eq!((names(&ended), ended.next_end()), (vec!["2"], None));
        // What follows is numbered on, although nothing is left of the first.
        assert_eq!(names(&rotate(&ended, Old::StayFor(HOUR), NOW)), ["3", "2"]);
    }

    #[test]
    fn stolen_keys_go_at_once_and_take_those_before_with_them() {
        let ring = rotate(&Ring::first(keys(1)), Old::StayFor(HOUR), NOW);
        assert_eq!(names(&rotate(&ring, Old::GoNow, NOW)), ["3"]);
        assert_eq!(names(&rotate(&Ring::first(keys(1)), Old::GoNow, NOW)), ["2"]);
    }

    #[test]
    fn a_second_rotation_waits_for_the_end_of_the_overlap() {
        let ring = rotate(&Ring::first(keys(1)), Old::StayFor(HOUR), NOW);
        let refused = ring.admit(Old::StayFor(HOUR)).unwrap_err();
        assert!(refused.to_string().contains(&NOW.plus(HOUR).to_string()), "{refused}");
        assert_eq!(ring.admit(Old::GoNow), Ok(()));
        assert_eq!(ring.without_ended(NOW.plus(HOUR)).admit(Old::StayFor(HOUR)), Ok(()));
    }

    #[test]
    fn a_later_life_of_the_data_makes_no_name_of_an_earlier_one_again() {
        let ring = Ring::first(keys(1));
        assert_eq!((ring.next_name(1), ring.next_name(2)), ("2".into(), "2-2".into()));
        let new = Generation { name: "7-3".into(), since: None, until: None, keys: keys(2) };
        let ring = ring.rotated(new, Old::GoNow, rotation("01A"), NOW);
        assert_eq!((ring.next_name(3), ring.next_name(4)), ("8-3".into(), "8-4".into()));
    }

    #[test]
    fn a_request_is_known_by_its_key_and_its_content() {
        let request = |key: &str, content: &str| Request { key: key.into(), content: content.into() };
        let new = Generation { name: "2".into(), since: None, until: None, keys: keys(2) };
        let rotation = Rotation { request: Some(request("k", "c")), ..rotation("01A") };
        let ring = Ring::first(keys(1)).rotated(new, Old::GoNow, rotation, NOW);
        assert_eq!(ring.is_repeat(Some(&request("k", "c"))), Ok(true));
        assert_eq!(ring.is_repeat(Some(&request("other", "c"))), Ok(false));
        assert_eq!(ring.is_repeat(Some(&request("k", "other"))), Err(NotNow::KeyReused));
        assert_eq!(ring.is_repeat(None), Ok(false));
        assert_eq!(Ring::first(keys(1)).is_repeat(Some(&request("k", "c"))), Ok(false));
    }

    #[test]
    fn an_update_is_owed_until_it_is_in_the_log() {
        assert!(Ring::first(keys(1)).owed().is_none() && Ring::first(keys(1)).logged().owed().is_none());
        let ring = rotate(&Ring::first(keys(1)), Old::GoNow, NOW);
        assert_eq!(ring.owed(), Some(&rotation("01A")));
        assert!(ring.logged().owed().is_none());
    }
}
