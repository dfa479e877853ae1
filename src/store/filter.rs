//! A Bloom filter over the keys of the table and their first prefixes: most questions about what is not there are
//! answered without touching the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::{Key, Span};

/// How many of a key's prefixes are kept: those that end behind the first byte of its first runs of zero bytes, where text
/// parts end. Numbers begin with more of them.
const PREFIXES_MAX: usize = 4;
/// One cache line: all bits of a key stand in one, so that a question costs one miss.
const BLOCK_WORDS: usize = 8;
const BITS_PER_HASH: u64 = 12;
/// What a key adds before anything is known of the keys: itself, and its share of prefixes.
const HASHES_PER_KEY: f64 = 2.5;
/// So many keys say how many hashes a key adds.
const KEYS_TELLING_MIN: u64 = 1_000;
const PROBES: u32 = 6;
const WORDS_MIN: usize = 8 * 1024;

/// The filter in use, and the one that is being filled to replace it.
#[derive(Debug)]
pub(crate) struct Filters {
    current: RwLock<Arc<Filter>>,
    next: RwLock<Option<Arc<Filter>>>,
    bytes_max: usize,
}

impl Filters {
    /// A filter that knows nothing yet, unless the table is empty, which it then knows.
    pub(crate) fn new(table_is_empty: bool, bytes_max: usize) -> Self {
        let filter = Filter::sized_for(0.0, bytes_max);
        filter.complete.store(table_is_empty, Ordering::Release);
        Self { current: RwLock::new(Arc::new(filter)), next: RwLock::default(), bytes_max }
    }

    /// False only when the table certainly does not hold the key.
    pub(crate) fn may_hold(&self, key: &Key) -> bool {
        self.current.read().may_hold(key.as_bytes())
    }

    /// False only when the table certainly holds nothing within the span.
    pub(crate) fn may_hold_within(&self, span: &Span) -> bool {
        self.current.read().may_hold_prefix(&common_prefix(span))
    }

    /// Must come before the keys get into the table.
    pub(crate) fn add<'a>(&self, keys: impl Iterator<Item = &'a Key> + Clone) {
        // Held over both, since `finish` makes the one into the other: a key added to the old one in between would be
        // missing in the new one, and its row never be found again.
        let next = self.next.read();
        let current = self.current.read();
        for filter in [Some(&*current), next.as_ref()].into_iter().flatten() {
            let mut seen = Seen::default();
            keys.clone().for_each(|key| filter.add(key.as_bytes(), &mut seen));
        }
    }

    /// True when the filter should be built anew from the table: it never was, or it would have filled up with so many
    /// rows more.
    pub(crate) fn is_due(&self, more: u64) -> bool {
        // In the order of `finish`, so that the two never wait for each other.
        let next = self.next.read();
        let current = self.current.read();
        next.is_none() && (!current.complete.load(Ordering::Acquire) || current.is_full_with(more))
    }

    /// Starts a filter for about this many rows. Every key that gets into the table from here on is added to it, so the
    /// caller takes the view that it fills it from afterwards, and before anything more is written.
    pub(crate) fn begin(&self, rows: u64) -> Arc<Filter> {
        let hashes = rows as f64 * self.current.read().hashes_per_key();
        let filter = Arc::new(Filter::sized_for(hashes, self.bytes_max));
        *self.next.write() = Some(filter.clone());
        filter
    }

    /// Ends what `begin` started, with a filter that holds the whole table, or with none.
    pub(crate) fn finish(&self, whole: bool) {
        if let Some(next) = self.next.write().take()
            && whole
        {
            next.complete.store(true, Ordering::Release);
            *self.current.write() = next;
        }
    }
}

/// The prefixes of the key before, which need not be looked for again.
#[derive(Debug, Default)]
pub(crate) struct Seen([Option<u64>; PREFIXES_MAX]);

/// The bits.
#[derive(Debug)]
pub(crate) struct Filter {
    words: Box<[AtomicU64]>,
    /// Keys and prefixes that were not there before, and the keys that brought them.
    hashes: AtomicU64,
    keys: AtomicU64,
    /// In hashes.
    capacity: u64,
    complete: AtomicBool,
}

impl Filter {
    /// Room for four times the hashes, within the bound.
    fn sized_for(hashes: f64, bytes_max: usize) -> Self {
        let hashes = hashes as u64;
        let wanted = usize::try_from(hashes.saturating_mul(4 * BITS_PER_HASH) / 64).unwrap_or(usize::MAX);
        let most = (bytes_max / 8).max(WORDS_MIN);
        let words = wanted.clamp(WORDS_MIN, most) / BLOCK_WORDS * BLOCK_WORDS;
        let capacity = (words as u64 * 64 / BITS_PER_HASH).max(2 * hashes);
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        let [hashes, keys] = [0, 0].map(AtomicU64::new);
        Self { words, hashes, keys, capacity, complete: AtomicBool::new(false) }
    }

    pub(crate) fn add(&self, key: &[u8], seen: &mut Seen) {
        let (prefixes, whole) = hashes(key);
        let is_new = !self.holds(whole);
        // Neighbours share most prefixes, and looking is cheaper than writing to memory that others read.
        let unseen = prefixes.into_iter().zip(seen.0).filter(|(hash, before)| hash != before);
        let new = unseen.filter_map(|(hash, _)| hash).chain([whole]).filter(|&hash| !self.holds(hash));
        let count = new.map(|hash| self.set(hash)).count();
        seen.0 = prefixes;
        self.hashes.fetch_add(count as u64, Ordering::Relaxed);
        self.keys.fetch_add(u64::from(is_new), Ordering::Relaxed);
    }

    fn hashes_per_key(&self) -> f64 {
        let [hashes, keys] = [&self.hashes, &self.keys].map(|count| count.load(Ordering::Relaxed));
        if keys < KEYS_TELLING_MIN { HASHES_PER_KEY } else { hashes as f64 / keys as f64 }
    }

    fn may_hold(&self, key: &[u8]) -> bool {
        !self.complete.load(Ordering::Acquire) || self.holds(hashes(key).1)
    }

    fn may_hold_prefix(&self, prefix: &[u8]) -> bool {
        let longest = hashes(prefix).0.into_iter().flatten().last();
        !self.complete.load(Ordering::Acquire) || longest.is_none_or(|hash| self.holds(hash))
    }

    fn is_full_with(&self, more: u64) -> bool {
        let more = more as f64 * self.hashes_per_key();
        self.hashes.load(Ordering::Relaxed) + more as u64 > self.capacity
    }

    fn holds(&self, hash: u64) -> bool {
        probes(hash, self.words.len()).all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn set(&self, hash: u64) {
        for (word, bit) in probes(hash, self.words.len()) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }
}

/// What every key of the span begins with.
fn common_prefix(span: &Span) -> Vec<u8> {
    let (from, to) = (span.from.as_bytes(), span.to.as_bytes());
    if let Some((&last, head)) = to.split_last()
        && last > 0
    {
        let below = [head, &[last - 1]].concat();
        if from.starts_with(&below) {
            return below;
        }
    }
    from.iter().zip(to).take_while(|(a, b)| a == b).map(|(&byte, _)| byte).collect()
}

/// The hashes of the first prefixes that end where zero bytes begin, and of the whole key, told apart from those.
fn hashes(key: &[u8]) -> ([Option<u64>; PREFIXES_MAX], u64) {
    let mut prefixes = [None; PREFIXES_MAX];
    let (mut ends, mut before) = (0, 0);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in key {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let ends_a_part = byte == 0 && before != 0;
        before = byte;
        if ends_a_part && ends < PREFIXES_MAX {
            prefixes[ends] = Some(mix(hash));
            ends += 1;
        }
    }
    (prefixes, mix(hash ^ 0x9e37_79b9_7f4a_7c15))
}

/// The finalizer of SplitMix64: spreads a hash over all of its bits.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Which bits of which words stand for a hash: the high half chooses the block, the low half the bits in it.
fn probes(hash: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let blocks = (words / BLOCK_WORDS) as u64;
    let block = usize::try_from(((hash >> 32) * blocks) >> 32).expect("less than the number of blocks");
    let bits = mix(hash);
    (0..PROBES).map(move |probe| {
        let place = (bits >> (probe * 9)) & 511;
        (block * BLOCK_WORDS + usize::try_from(place >> 6).expect("less than 8"), 1 << (place & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(text: &str, number: u64) -> Key {
        Key::build().text("flow").text(text).number(number).done()
    }

    #[test]
    fn most_absent_keys_and_prefixes_are_known_to_be_absent() {
        let filters = Filters::new(true, 1 << 20);
        (0..1_000).for_each(|number| filters.add([key(&format!("here{number}"), number)].iter()));
        let wrong = (0..10_000).filter(|&number| filters.may_hold(&key(&format!("gone{number}"), number))).count();
        assert!(wrong < 100, "{wrong} of 10,000");
        let gone = Key::build().text("flow").text("gone").done();
        let here = Key::build().text("flow").text("here1").done();
        assert!(!filters.may_hold_within(&Span::prefix(&gone, 1)));
        assert!(filters.may_hold_within(&Span::prefix(&here, 1)));
        assert!(!filters.may_hold_within(&Span::prefix(&gone, 1).after(&key("gone", 3))));
        assert!(filters.may_hold_within(&Span::prefix(&here, 1).before(&key("here1", 3))));
    }

    #[test]
    fn a_filter_that_was_not_filled_answers_perhaps() {
        let filters = Filters::new(false, 1 << 20);
        assert!(filters.may_hold(&key("any", 1)));
        assert!(filters.is_due(0));
        filters.begin(10).add(key("old", 1).as_bytes(), &mut Seen::default());
        assert!(!filters.is_due(0), "already under way");
        filters.add([key("new", 1)].iter());
        assert!(filters.may_hold(&key("any", 1)));
        filters.finish(true);
        assert!(!filters.may_hold(&key("any", 1)));
        assert!(filters.may_hold(&key("old", 1)) && filters.may_hold(&key("new", 1)));
    }

    #[test]
    fn a_filter_is_sized_by_what_its_keys_really_add() {
        let filters = Filters::new(true, 1 << 30);
        (0..2_000).for_each(|number| filters.add([key(&format!("alone{number}"), number)].iter()));
        let per_key = filters.current.read().hashes_per_key();
        assert!(
            (1.9..2.1).contains(&per_key),
            "the key and its name, whatever zero bytes its number begins with: {per_key}"
        );
        let before = filters.current.read().hashes.load(Ordering::Relaxed);
        (0..2_000).for_each(|number| filters.add([key(&format!("alone{number}"), number)].iter()));
        assert_eq!(filters.current.read().hashes.load(Ordering::Relaxed), before, "written again, nothing new");
        let next = filters.begin(1 << 20);
        assert!(next.capacity >= 7 << 20, "room for the hashes of so many keys, four times: {}", next.capacity);
        assert!(!filters.current.read().is_full_with(0));
    }

    #[test]
    fn asking_whether_a_filter_is_due_and_finishing_one_never_wait_for_each_other() {
        const LONG: std::time::Duration = std::time::Duration::from_secs(60);
        let filters = Arc::new(Filters::new(false, 0));
        let (done, ended) = std::sync::mpsc::channel();
        for asks in [true, false] {
            let (filters, done) = (filters.clone(), done.clone());
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    if asks {
                        filters.is_due(0);
                    } else {
                        filters.begin(1);
                        filters.finish(true);
                    }
                }
                done.send(()).unwrap();
            });
        }
        assert!((0..2).all(|_| ended.recv_timeout(LONG).is_ok()), "they wait for each other");
    }

    #[test]
    fn a_full_filter_is_built_anew_and_larger() {
        let filters = Filters::new(true, 1 << 30);
        (0..46_000).for_each(|number| filters.add([key("a", number)].iter()));
        assert!(filters.is_due(0));
        filters.begin(46_000);
        filters.finish(true);
        assert!(!filters.is_due(0));
    }

    #[test]
    fn a_filter_is_due_before_the_rows_come_that_would_fill_it() {
        let filters = Filters::new(true, 1 << 30);
        assert!(!filters.is_due(10_000));
        assert!(filters.is_due(100_000));
        filters.begin(100_000);
        filters.finish(true);
        assert!(!filters.is_due(100_000));
    }

    proptest! {
        #[test]
        fn what_was_added_is_never_denied(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..12),
            from in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..12),
            to in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255), any::<u8>()], 0..12),
            cut in 0..12usize,
        ) {
            let filters = Filters::new(true, 0);
            let key = Key::from_bytes(bytes.clone());
            filters.add([&key].into_iter());
            prop_assert!(filters.may_hold(&key));
            let prefix = Key::from_bytes(bytes[..cut.min(bytes.len())].to_vec());
            prop_assert!(filters.may_hold_within(&Span::prefix(&prefix, 1)));
            let span = Span { from: Key::from_bytes(from), to: Key::from_bytes(to), ..Span::prefix(&prefix, 1) };
            if span.from <= key && key < span.to {
                prop_assert!(filters.may_hold_within(&span));
            }
        }
    }

    #[test]
    fn a_key_added_while_a_filter_replaces_another_is_in_both() {
        let filters = Filters::new(true, 1 << 20);
        let idle = AtomicBool::new(true);
        let (fill, filling) = std::sync::mpsc::channel();
        let key = |number: u64| Key::build().number(number).done();
        let (filters, idle) = (&filters, &idle);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (filter, stored) in filling {
                    let filter: Arc<Filter> = filter;
                    (0..stored).for_each(|number| filter.add(key(number).as_bytes(), &mut Seen::default()));
                    filters.finish(true);
                    idle.store(true, Ordering::Release);
                }
            });
            let lost = (0..20_000).find(|&number| {
                // Begun between two keys, as between two checkpoints: everything before this one is stored.
                if idle.swap(false, Ordering::AcqRel) {
                    fill.send((filters.begin(1_000), number)).unwrap();
                }
                filters.add([key(number)].iter());
                !filters.may_hold(&key(number))
            });
            drop(fill);
            assert_eq!(lost, None);
        });
    }
}
