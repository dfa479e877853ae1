//! Where everything of an actor lies in the store: the only file that knows the shape of keys.
//!
//! ```text
//! h kind key                         head: the last snapshot, and proof that the actor exists
//! e kind key turn                    what one turn established
//! r kind key 0 …                     rows of its own
//! r 0 idempotency-key                answers kept for repeats, whoever gave them
//! i index … kind key length          entries of shared lists
//! m kind key | kind key turn nth     a message: receiver, then sender, sender's turn and place in it, over all its lives
//! t due kind key name                a timer
//! x due kind key turn nth            an errand
//! d ulid                             a dead letter
//! f hash                             a flow definition
//! n name                             a fact about the node
//! ```

use super::entity::{ActorId, Kind};
use super::rows::{Index, RowKey};
use crate::clock::Time;
use crate::store::Key;
use crate::store::key::{Builder, Parts};

const OWN: u8 = 0;
/// In the place of a kind: an idempotency key stands for one request, whichever actor it was for.
const ANSWER: u8 = 0;

fn area(letter: u8) -> Builder {
    Key::build().tag(letter)
}

fn actor(key: Builder, id: &ActorId) -> Builder {
    key.tag(kind_number(id.kind)).text(&id.key)
}

/// Stored for ever; the order of [`Kind`] is the order of these.
fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Inbox => 1,
        Kind::Follower => 2,
        Kind::Following => 3,
        Kind::Outbox => 4,
        Kind::Flow => 5,
        Kind::Stream => 6,
        Kind::Gate => 7,
        Kind::Schedule => 8,
    }
}

fn read_actor(parts: &mut Parts<'_>) -> Option<ActorId> {
    let number = parts.tag()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind_number(*kind) == number)?;
    Some(ActorId::new(kind, parts.shared_text()?))
}

pub(crate) fn head(id: &ActorId) -> Key {
    actor(area(b'h'), id).done()
}

/// The heads of all actors, or of those of one kind.
pub fn heads(kind: Option<Kind>) -> Key {
    match kind {
        Some(kind) => area(b'h').tag(kind_number(kind)).done(),
        None => area(b'h').done(),
    }
}

pub fn head_actor(key: &Key) -> Option<ActorId> {
    read_actor(&mut key.parts_after(&area(b'h').done()))
}

pub(crate) fn event(id: &ActorId, turn: u64) -> Key {
    actor(area(b'e'), id).number(turn).done()
}

pub(crate) fn events(id: &ActorId) -> Key {
    actor(area(b'e'), id).done()
}

pub(crate) fn row(id: &ActorId, key: &RowKey) -> Key {
    match key {
        RowKey::Own(_) => row_prefix(id, key),
        RowKey::Index(..) => {
            let owner = actor(Key::build(), id).done();
            let length = u16::try_from(owner.as_bytes().len()).unwrap_or(u16::MAX);
            let entry = Key::build().raw(row_prefix(id, key).as_bytes()).raw(owner.as_bytes());
            entry.raw(&length.to_be_bytes()).done()
        }
    }
}

/// The key as given, without the actor's name behind it: the prefix of a page.
pub(crate) fn row_prefix(id: &ActorId, key: &RowKey) -> Key {
    match key {
        RowKey::Own(key) => actor(area(b'r'), id).tag(OWN).raw(key.as_bytes()).done(),
        RowKey::Index(index, key) => index_prefix(*index, key),
    }
}

/// Entries of a shared list whose place begins with `key`.
pub fn index_prefix(index: Index, key: &Key) -> Key {
    area(b'i').tag(index.number()).raw(key.as_bytes()).done()
}

/// True for rows that turns read: an actor's own, and entries of shared lists.
pub(crate) fn is_readable(key: &Key) -> bool {
    matches!(key.as_bytes().first(), Some(b'r' | b'i'))
}

pub(crate) fn is_index(key: &Key) -> bool {
    key.as_bytes().first() == Some(&b'i')
}

pub(crate) fn is_timer(key: &Key) -> bool {
    key.as_bytes().first() == Some(&b't')
}

/// The name of a timer.
pub(crate) fn timer_name(key: &Key) -> Option<String> {
    let mut parts = key.parts_after(&timers());
    parts.number()?;
    read_actor(&mut parts)?;
    parts.text()
}

/// Turn and place of an errand.
pub(crate) fn errand_place(key: &Key) -> Option<(u64, u64)> {
    let mut parts = key.parts_after(&errands());
    parts.number()?;
    read_actor(&mut parts)?;
    Some((parts.number()?, parts.number()?))
}

/// Who wrote an entry: its name stands at the end of the key, with its length behind it.
pub fn index_owner(key: &Key) -> Option<ActorId> {
    let (rest, length) = key.as_bytes().split_last_chunk::<2>()?;
    let start = rest.len().checked_sub(usize::from(u16::from_be_bytes(*length)))?;
    read_actor(&mut Key::from_bytes(rest[start..].to_vec()).parts())
}

/// Whose own row this is, and what the actor calls it.
pub(crate) fn own_row(key: &Key) -> Option<(ActorId, Key)> {
    let mut parts = key.parts_after(&area(b'r').done());
    let id = read_actor(&mut parts).filter(|_| key.as_bytes().first() == Some(&b'r'))?;
    (parts.tag()? == OWN).then(|| (id, Key::from_bytes(parts.rest().to_vec())))
}

/// Whose event row this is, and of which turn.
pub fn event_turn(key: &Key) -> Option<(ActorId, u64)> {
    let mut parts = key.parts_after(&area(b'e').done());
    Some((read_actor(&mut parts)?, parts.number()?))
}

/// The own rows of all actors of a kind.
pub(crate) fn own_rows(kind: Kind) -> Key {
    area(b'r').tag(kind_number(kind)).done()
}

/// The actor that a row belongs to, whatever its area; `None` for what belongs to the node.
pub fn owner(key: &Key) -> Option<ActorId> {
    match key.as_bytes().first()? {
        b'h' | b'e' | b'm' | b'r' => {
            let mut parts = key.parts();
            parts.tag()?;
            read_actor(&mut parts)
        }
        b't' => Some(timer_parts(key)?.1),
        b'x' => Some(errand_parts(key)?.1),
        b'i' => index_owner(key),
        _ => None,
    }
}

pub(crate) fn answer(idempotency_key: &str) -> Key {
    area(b'r').tag(ANSWER).text(idempotency_key).done()
}

/// All answers kept for repeats.
pub(crate) fn answers() -> Key {
    area(b'r').tag(ANSWER).done()
}

pub(crate) fn message(to: &ActorId, from: &ActorId, turn: u64, nth: u64) -> Key {
    actor(actor(area(b'm'), to), from).number(turn).number(nth).done()
}

/// All messages that wait for an actor.
pub(crate) fn messages_to(to: &ActorId) -> Key {
    actor(area(b'm'), to).done()
}

pub(crate) fn messages() -> Key {
    area(b'm').done()
}

/// Receiver and sender of a message row.
pub(crate) fn message_ends(key: &Key) -> Option<(ActorId, ActorId)> {
    let mut parts = key.parts();
    parts.tag().filter(|area| *area == b'm')?;
    Some((read_actor(&mut parts)?, read_actor(&mut parts)?))
}

pub(crate) fn timer(id: &ActorId, due: Time, name: &str) -> Key {
    actor(area(b't').number(due.0), id).text(name).done()
}

pub(crate) fn timers() -> Key {
    area(b't').done()
}

/// When a timer is due, and whose it is.
pub(crate) fn timer_parts(key: &Key) -> Option<(Time, ActorId)> {
    due_and_actor(key, &timers())
}

pub(crate) fn errand(id: &ActorId, due: Time, turn: u64, nth: u64) -> Key {
    actor(area(b'x').number(due.0), id).number(turn).number(nth).done()
}

pub(crate) fn errands() -> Key {
    area(b'x').done()
}

pub(crate) fn errand_parts(key: &Key) -> Option<(Time, ActorId)> {
    due_and_actor(key, &errands())
}

fn due_and_actor(key: &Key, area: &Key) -> Option<(Time, ActorId)> {
    let mut parts = key.parts_after(area);
    Some((Time(parts.number()?), read_actor(&mut parts)?))
}

pub(crate) fn dead_letter(ulid: &str) -> Key {
    area(b'd').text(ulid).done()
}

pub fn dead_letters() -> Key {
    area(b'd').done()
}

pub fn definition(hash: &str) -> Key {
    area(b'f').text(hash).done()
}

pub fn definitions() -> Key {
    area(b'f').done()
}

pub fn node_fact(name: &str) -> Key {
    area(b'n').text(name).done()
}

/// What of a blocked domain is kept.
pub(crate) fn block(domain: &str) -> Key {
    area(b'n').text("block").text(domain).done()
}

pub(crate) fn blocks() -> Key {
    area(b'n').text("block").done()
}

/// The domain of such a row.
pub(crate) fn blocked(key: &Key) -> Option<String> {
    key.parts_after(&blocks()).text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::rows::parts;

    fn actors() -> Vec<ActorId> {
        let keys = ["", "a", "a\0b", "\u{1}", "https://there.example/actor", "ü"];
        Kind::ALL.iter().flat_map(|kind| keys.map(|key| ActorId::new(*kind, key))).collect()
    }

    #[test]
    fn keys_read_back_whose_they_are() {
        for id in actors() {
            assert_eq!(head_actor(&head(&id)), Some(id.clone()));
            let other = ActorId::new(Kind::Stream, "x");
            assert_eq!(message_ends(&message(&id, &other, 7, 1)), Some((id.clone(), other)));
            let timer = timer(&id, Time(9), "na\0me");
            assert_eq!((timer_parts(&timer), timer_name(&timer)), (Some((Time(9), id.clone())), Some("na\0me".into())));
            let errand = errand(&id, Time(9), 7, 1);
            assert_eq!((errand_parts(&errand), errand_place(&errand)), (Some((Time(9), id.clone())), Some((7, 1))));
            let entry = row(&id, &RowKey::Index(Index::Linked, parts(["place"])));
            assert_eq!(index_owner(&entry), Some(id.clone()));
        }
    }

    #[test]
    fn nothing_of_one_actor_stands_among_what_is_anothers() {
        for (mine, theirs) in actors().iter().flat_map(|a| actors().into_iter().map(move |b| (a.clone(), b))) {
            if mine == theirs {
                continue;
            }
            let own = RowKey::Own(parts(["row"]));
            assert!(!event(&theirs, 1).starts_with(&events(&mine)));
            assert!(!message(&theirs, &mine, 1, 0).starts_with(&messages_to(&mine)));
            assert!(!row(&theirs, &own).starts_with(&row_prefix(&mine, &own)));
            let place = RowKey::Index(Index::Linked, parts(["place"]));
            assert_ne!(row(&theirs, &place), row(&mine, &place), "two may stand at one place");
        }
    }

    #[test]
    fn what_waits_sorts_by_the_time_when_it_is_due_and_messages_by_their_turn() {
        let (first, second) = (ActorId::new(Kind::Inbox, "a"), ActorId::new(Kind::Stream, "z"));
        assert!(timer(&second, Time(1), "z") < timer(&first, Time(256), "a"));
        assert!(errand(&second, Time(1), 9, 9) < errand(&first, Time(256), 1, 1));
        assert!(message(&first, &second, 255, 9) < message(&first, &second, 256, 0));
        let follower = ActorId::new(Kind::Follower, "z");
        assert!(message(&first, &follower, 9, 0) < message(&first, &second, 1, 0), "its Accept comes first");
    }
}
