//! Keys: tuples of text, bytes and numbers, encoded so that byte order is tuple order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

/// A key of the store: any bytes, compared byte by byte.
#[derive(Clone)]
pub struct Key(Held);

/// Keys by their bytes, where no order is asked for. The hash is quick, and seeded anew in each process.
pub(crate) type KeyMap<T> = HashMap<Key, T, RandomState>;
pub(crate) type KeySet<'a> = HashSet<&'a Key, RandomState>;

/// Short keys lie where they are used: a tree that follows a pointer for each comparison waits for memory at each.
#[derive(Clone)]
enum Held {
    Short(u8, [u8; SHORT_BYTES]),
    Long(Bytes),
}

/// Room for an area, a kind, an id of 32 letters and a number. With the two bytes before them they fill six words.
const SHORT_BYTES: usize = 46;

/// Room for most keys while they are put together: the longest that are common name two actors.
const BUILT_BYTES: usize = 128;

/// Ends a text or bytes part. Inside one, the bytes 0 and 1 are written as `ESCAPE 1` and `ESCAPE 2`, so that no part
/// holds an `END` and the order of parts stays that of their bytes, whatever comes behind them.
const END: u8 = 0x00;
const ESCAPE: u8 = 0x01;

impl Key {
    /// The key of these very bytes.
    pub fn from_bytes(bytes: impl Into<Bytes> + AsRef<[u8]>) -> Self {
        Self::short(bytes.as_ref()).unwrap_or_else(|| Self(Held::Long(bytes.into())))
    }

    /// The key of these bytes if there is room for them in it.
    pub(crate) fn short(bytes: &[u8]) -> Option<Self> {
        let mut short = [0; SHORT_BYTES];
        short.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(Held::Short(u8::try_from(bytes.len()).ok()?, short)))
    }

    /// Starts a tuple.
    pub fn build() -> Builder {
        Builder(SmallVec::new())
    }

    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Short(length, bytes) => &bytes[..usize::from(*length)],
            Held::Long(bytes) => bytes,
        }
    }

    /// What of it comes behind a prefix, which it has to begin with.
    pub(crate) fn below(&self, prefix: &Key) -> Self {
        Self::of(&self.as_bytes()[prefix.as_bytes().len()..])
    }

    fn of(bytes: &[u8]) -> Self {
        Self::short(bytes).unwrap_or_else(|| Self(Held::Long(Bytes::copy_from_slice(bytes))))
    }

    pub fn starts_with(&self, prefix: &Key) -> bool {
        self.as_bytes().starts_with(prefix.as_bytes())
    }

    /// The smallest key above this one.
    pub fn successor(&self) -> Self {
        Self::build().raw(self.as_bytes()).tag(0).done()
    }

    /// The smallest key above all that begin with this one. The empty prefix has none but a key of `0xff` bytes longer
    /// than any that is stored.
    pub fn after_prefix(&self) -> Self {
        let bytes = self.as_bytes();
        match bytes.iter().rposition(|byte| *byte < 0xff) {
            Some(last) => Self::build().raw(&bytes[..last]).tag(bytes[last] + 1).done(),
            None => Self::of(&[0xff; 64]),
        }
    }

    /// Reads the parts of a tuple after `prefix`.
    pub fn parts_after(&self, prefix: &Key) -> Parts<'_> {
        Parts(self.as_bytes().strip_prefix(prefix.as_bytes()).unwrap_or(&[]))
    }

    /// Reads all parts of a tuple.
    pub fn parts(&self) -> Parts<'_> {
        Parts(self.as_bytes())
    }
}

impl Default for Key {
    fn default() -> Self {
        Self(Held::Short(0, [0; SHORT_BYTES]))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.as_bytes().escape_ascii())
    }
}

/// Writes a tuple part by part.
#[derive(Debug, Clone)]
pub struct Builder(SmallVec<[u8; BUILT_BYTES]>);

impl Builder {
    pub fn text(self, part: &str) -> Self {
        self.bytes(part.as_bytes())
    }

    pub fn bytes(mut self, part: &[u8]) -> Self {
        let plain = memchr::memchr2(END, ESCAPE, part).unwrap_or(part.len());
        self.0.extend_from_slice(&part[..plain]);
        for &byte in &part[plain..] {
            match byte {
                END | ESCAPE => self.0.extend_from_slice(&[ESCAPE, byte + 1]),
                _ => self.0.push(byte),
            }
        }
        self.0.push(END);
        self
    }

    pub fn number(mut self, part: u64) -> Self {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// One byte as it is, to tell areas apart.
    pub fn tag(mut self, part: u8) -> Self {
        self.0.push(part);
        self
    }

    /// Parts that are already encoded.
    pub fn raw(mut self, parts: &[u8]) -> Self {
        self.0.extend_from_slice(parts);
        self
    }

    pub fn done(self) -> Key {
        if self.0.spilled() { Key::from_bytes(self.0.into_vec()) } else { Key::of(&self.0) }
    }
}

/// Reads a tuple part by part, in the order in which it was written. `None` when the bytes are not such a part.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// The bytes of a part, in their place where nothing in it had to be escaped.
    fn part(&mut self) -> Option<Cow<'a, [u8]>> {
        let end = memchr::memchr(END, self.0)?;
        let (written, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        let Some(plain) = memchr::memchr(ESCAPE, written) else { return Some(Cow::Borrowed(written)) };
        let mut part = Vec::with_capacity(written.len());
        part.extend_from_slice(&written[..plain]);
        let mut bytes = written[plain..].iter();
        while let Some(&byte) = bytes.next() {
            part.push(if byte == ESCAPE { bytes.next()?.checked_sub(1)? } else { byte });
        }
        Some(Cow::Owned(part))
    }

    pub fn bytes(&mut self) -> Option<Vec<u8>> {
        self.part().map(Cow::into_owned)
    }

    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?).ok()
    }

    /// Text that many will hold.
    pub fn shared_text(&mut self) -> Option<Arc<str>> {
        str::from_utf8(&self.part()?).ok().map(Arc::from)
    }

    pub fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    pub fn tag(&mut self) -> Option<u8> {
        let (&tag, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(tag)
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Tuple(String, Vec<u8>, u64);

    impl Tuple {
        fn key(&self) -> Key {
            Key::build().text(&self.0).bytes(&self.1).number(self.2).done()
        }
    }

    fn tuples() -> impl Strategy<Value = Tuple> {
        (
            "[a\\x00\\x01b]{0,3}",
            prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..4),
            any::<u64>(),
        )
            .prop_map(|(text, bytes, number)| Tuple(text, bytes, number))
    }

    proptest! {
        #[test]
        fn short_and_long_keys_are_their_bytes(one in prop::collection::vec(any::<u8>(), 0..100), other in prop::collection::vec(any::<u8>(), 0..100)) {
            let keys = [&one, &other].map(|bytes| Key::from_bytes(bytes.clone()));
            prop_assert_eq!(keys[0].as_bytes(), one.as_slice());
            prop_assert_eq!(keys[0].cmp(&keys[1]), one.cmp(&other));
            prop_assert_eq!(keys[0] == keys[1], one == other);
            let successor = keys[0].successor();
            prop_assert!(successor > keys[0] && successor.starts_with(&keys[0]));
            prop_assert_eq!(successor.as_bytes().len(), one.len() + 1);
        }

        #[test]
        fn byte_order_is_tuple_order(left in tuples(), right in tuples()) {
            prop_assert_eq!(left.key().cmp(&right.key()), left.cmp(&right));
        }

        #[test]
        fn parts_read_back(tuple in tuples()) {
            let key = tuple.key();
            let mut parts = key.parts();
            let shared = key.parts().shared_text().unwrap();
            prop_assert_eq!(&*shared, tuple.0.as_str());
            prop_assert_eq!(parts.text().unwrap(), tuple.0);
            prop_assert_eq!(parts.bytes().unwrap(), tuple.1);
            prop_assert_eq!(parts.number().unwrap(), tuple.2);
            prop_assert!(parts.rest().is_empty());
        }

        #[test]
        fn a_prefix_span_holds_what_begins_with_it(prefix in prop::collection::vec(any::<u8>(), 1..4), tail in prop::collection::vec(any::<u8>(), 0..4), other in prop::collection::vec(any::<u8>(), 0..6)) {
            let from = Key::from_bytes(prefix.clone());
            let to = from.after_prefix();
            let inside = Key::from_bytes([prefix.clone(), tail].concat());
            prop_assert!(from <= inside && inside < to);
            let other = Key::from_bytes(other);
            prop_assert_eq!(from <= other && other < to, other.starts_with(&from));
        }
    }
}
