//! Messages that make an actor panic: tried again a few times, then set aside where a person sees them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::entity::ActorId;
use super::kinds::Kinds;
use super::layout;
use super::life::Source;
use super::record::{self, DeadLetter, Waiting};
use crate::clock::{Time, ulid};
use crate::store::{Batch, Condition, Fence};

/// A message that panicked so often is set aside.
const ATTEMPTS_MAX: u32 = 3;

/// The batch after a panic: counts the try on the row, or gives the row up.
pub(super) fn tried(kinds: &Kinds, me: &ActorId, source: &Source, now: Time, fence: Fence) -> Batch {
    let attempts = source.waiting.attempts + 1;
    if attempts >= ATTEMPTS_MAX {
        let source = Source { waiting: Waiting { attempts, ..source.waiting.clone() }, ..source.clone() };
        return give_up(
            kinds,
            me,
            &source,
            &format!("the actor panicked on it {attempts} times; the log names the cause"),
            now,
            fence,
        );
    }
    let waiting = Waiting { attempts, ..source.waiting.clone() };
    Batch {
        fence,
        conditions: vec![Condition::Version(source.key.clone(), source.version)],
        puts: vec![(source.key.clone(), record::encode(&waiting))],
        deletes: Vec::new(),
    }
}

/// The batch that makes a row a dead letter, and tells the sender if it waits.
pub(super) fn give_up(kinds: &Kinds, me: &ActorId, source: &Source, reason: &str, now: Time, fence: Fence) -> Batch {
    let from = layout::message_ends(&source.key).map(|(_, from)| from);
    // Named after the row, so that giving it up twice makes one letter.
    let name = name_of(source);
    let letter = DeadLetter {
        at: now,
        to: me.clone(),
        from: from.clone(),
        reason: reason.to_owned(),
        key: source.key.as_bytes().to_vec().into(),
        waiting: Waiting { attempts: 0, ..source.waiting.clone() },
    };
    let mut puts = vec![(layout::dead_letter(&ulid(now, name)), record::encode(&letter))];
    if let Some(from) = from
        && let Ok(Some(notice)) =
            catch_unwind(AssertUnwindSafe(|| kinds.undeliverable(from.kind, me, &source.waiting.body, reason)))
    {
        let nth = u64::from_be_bytes([name[0], name[1], name[2], name[3], name[4], name[5], name[6], name[7]]);
        puts.push((layout::message(&from, me, now.0, nth), record::encode(&Waiting::new(notice))));
    }
    Batch {
        fence,
        conditions: vec![Condition::Version(source.key.clone(), source.version)],
        puts,
        deletes: vec![source.key.clone()],
    }
}

fn name_of(source: &Source) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(source.key.as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    name
}
