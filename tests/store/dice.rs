//! Chance that repeats: the same numbers from the same seed, and where the seed of a run comes from.

use quickbeam::clock::{Clock, SystemClock};

/// SplitMix64: small, and the same from the same seed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Small numbers as often as large ones: each power of two up to `end` has the same chance.
    pub(crate) fn scale(&mut self, end: u64) -> u64 {
        let powers = u64::from(end.max(2).ilog2()) + 1;
        let power = self.below(powers);
        (1 << power) + self.below(1 << power)
    }
}

/// The long form is for nights and for those who touch the store.
pub(crate) fn is_long() -> bool {
    std::env::var("QUICKBEAM_TESTS_LONG").is_ok_and(|set| set != "0" && !set.is_empty())
}

/// A number that the environment gives.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// `short` in CI, `long` for nights, and whatever `variable` says before both.
pub(crate) fn count(variable: &str, short: u64, long: u64) -> u64 {
    number(variable).unwrap_or(if is_long() { long } else { short })
}

/// A fresh seed, unless `QUICKBEAM_TESTS_SEED` repeats an earlier one; printed, so that it can be.
pub(crate) fn seed(of: &str) -> u64 {
    let drawn = SystemClock::default().random();
    let seed = number("QUICKBEAM_TESTS_SEED").unwrap_or(u64::from_le_bytes(drawn[..8].try_into().unwrap()));
    println!("{of}: QUICKBEAM_TESTS_SEED={seed}");
    seed
}
