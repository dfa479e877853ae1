//! Where everything of programs lies in the store: below one letter that nothing else uses, so that no name reaches more.
//!
//! ```text
//! p s c name 0 · p s r name 0 number   streams: counter and records, as src/store/streams.rs has them
//! p k name 0                           a value; its version is that of the row
//! p b name 0                           a blob's name: hash, size, media type
//! p h hash name 0                      the same by hash, so that a blob knows whether anything names it
//! p a token 0 route 0 key 0            the answer given under an idempotency key, with its time
//! p o time token 0 route 0 key 0       the same by time, the oldest first; the value is empty
//! ```
//!
//! Both rows of an answer are written by the batch of the request itself and are removed together: whoever forgets old
//! answers ranges over [`answers_by_time`] and deletes each row with the one that [`answer_of`] names.

use super::once::Once;
use crate::clock::Time;
use crate::store::Key;
use crate::store::blob::BlobHash;
use crate::store::key::Builder;
use crate::store::streams;

fn area(letter: u8) -> Builder {
    Key::build().tag(b'p').tag(letter)
}

/// Everything that programs wrote.
pub fn everything() -> Key {
    Key::build().tag(b'p').done()
}

pub(super) fn streams() -> Key {
    area(b's').done()
}

pub(super) fn values() -> Key {
    area(b'k').done()
}

pub(super) fn blob(name: &str) -> Key {
    area(b'b').text(name).done()
}

/// The names of blobs that begin like this.
pub(super) fn blobs(beginning: &str) -> Key {
    area(b'b').raw(beginning.as_bytes()).done()
}

pub(super) fn blob_name(key: &Key) -> Option<String> {
    key.parts_after(&area(b'b').done()).text()
}

pub(crate) fn names_of(hash: BlobHash) -> Key {
    area(b'h').raw(&hash.0).done()
}

pub(super) fn name_of(hash: BlobHash, name: &str) -> Key {
    area(b'h').raw(&hash.0).text(name).done()
}

pub(super) fn answer(once: &Once) -> Key {
    once.placed(area(b'a')).done()
}

pub(super) fn answer_at(at: Time, once: &Once) -> Key {
    once.placed(area(b'o').number(at.0)).done()
}

/// All answers, the oldest first.
pub fn answers_by_time() -> Key {
    area(b'o').done()
}

/// What a row of programs is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Stream(streams::Place),
    Value(String),
    Blob(String),
    NameOf(BlobHash, String),
    Answer,
    AnswerAt,
}

/// What this key stands for; `None` for one that no program can have made.
pub fn place_of(key: &Key) -> Option<Place> {
    let rest = key.as_bytes().strip_prefix(everything().as_bytes())?;
    let named = |letter: u8| {
        let mut parts = key.parts_after(&area(letter).done());
        parts.text().filter(|_| parts.rest().is_empty())
    };
    match rest.first()? {
        b's' => streams::place_of(&self::streams(), key).map(Place::Stream),
        b'k' => named(b'k').map(Place::Value),
        b'b' => named(b'b').map(Place::Blob),
        b'h' => {
            let (hash, _) = rest[1..].split_first_chunk::<32>()?;
            let name = key.parts_after(&names_of(BlobHash(*hash))).text()?;
            Some(Place::NameOf(BlobHash(*hash), name))
        }
        b'a' => Some(Place::Answer),
        b'o' => answer_of(key).map(|_| Place::AnswerAt),
        _ => None,
    }
}

/// When the answer of a row under [`answers_by_time`] was given, and the key of the answer itself.
pub fn answer_of(key: &Key) -> Option<(Time, Key)> {
    let mut parts = key.parts_after(&answers_by_time());
    let at = Time(parts.number()?);
    Some((at, area(b'a').raw(parts.rest()).done()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_by_time_leads_to_the_answer() {
        let once = Once::new("token", "POST /store/streams/a", "key", b"");
        assert_eq!(answer_of(&answer_at(Time(7), &once)), Some((Time(7), answer(&once))));
        assert!(answer_at(Time(7), &once) < answer_at(Time(8), &Once::new("a", "a", "a", b"")));
    }

    #[test]
    fn everything_lies_below_one_letter() {
        let once = Once::new("token", "route", "key", b"");
        let hash = BlobHash::of(b"");
        let keys = [streams(), values(), blob("a"), name_of(hash, "a"), answer(&once), answer_at(Time(0), &once)];
        assert!(keys.iter().all(|key| key.starts_with(&everything())));
        assert!(keys[2..].iter().all(|key| place_of(key).is_some()));
        assert_eq!(place_of(&name_of(hash, "a")), Some(Place::NameOf(hash, "a".to_owned())));
        assert_eq!(place_of(&Key::build().tag(b'p').tag(b'z').done()), None);
        assert_eq!(blob_name(&blob("a/b")), Some("a/b".to_owned()));
    }
}
