//! How often, and how late, a failed effect is tried again: a pure function of the try and the effect's key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How often, and how late, a failed effect is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// All tries, the first one included.
    pub attempts: u32,
    /// Milliseconds before the second try.
    pub delay: u64,
    /// Each delay is the one before times this.
    pub factor: f64,
    /// Milliseconds that no delay exceeds.
    pub max: u64,
    /// The part of a delay, 0 to 1, that is drawn, so that many that failed together do not come again together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter: f64,
    /// Which failures: those of [`TROUBLES`], or statuses such as `429` and `5xx`. All that may pass without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
}

/// The failures that have no status.
pub const TROUBLES: [&str; 2] = ["timeout", "unreachable"];

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, delay: 1_000, factor: 2.0, max: 3_600_000, jitter: 0.0, on: Vec::new() }
    }
}

impl Retry {
    /// How many milliseconds to wait after this many tries; `None` when they are used up. The key draws the jitter, so
    /// that deciding again gives the same.
    pub fn delay_after(&self, attempt: u32, key: &str) -> Option<u64> {
        if attempt >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = (self.delay as f64 * self.factor.powi(exponent)).min(self.max as f64);
        let kept = if self.jitter > 0.0 { 1.0 - self.jitter * drawn(attempt, key) } else { 1.0 };
        Some((delay * kept) as u64)
    }

    /// Whether this failure is one to try again after; `passing` is what its receiver says about it.
    pub fn is_for(&self, trouble: Option<&str>, passing: bool) -> bool {
        match trouble {
            _ if self.on.is_empty() => passing,
            Some(trouble) => self.on.iter().any(|word| matches(word, trouble)),
            None => passing,
        }
    }
}

/// Whether a word of `on` can ever match.
pub(super) fn is_trouble(word: &str) -> bool {
    let class = matches!(word, "4xx" | "5xx");
    let status = word.len() == 3 && word.parse::<u16>().is_ok_and(|status| (300..600).contains(&status));
    TROUBLES.contains(&word) || class || status
}

fn matches(word: &str, trouble: &str) -> bool {
    match word.strip_suffix("xx") {
        Some(class) => trouble.len() == 3 && trouble.starts_with(class),
        None => word == trouble,
    }
}

/// From 0 up to 1.
fn drawn(attempt: u32, key: &str) -> f64 {
    let digest = Sha256::new().chain_update(key).chain_update(attempt.to_be_bytes()).finalize();
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_a_delay_by_its_part_at_most_and_the_same_way_each_time() {
        let retry = Retry { attempts: 100, jitter: 0.5, factor: 1.0, ..Retry::default() };
        let delays: Vec<u64> = (1..99).map(|attempt| retry.delay_after(attempt, "k").unwrap()).collect();
        assert!(delays.iter().all(|delay| (500..=1_000).contains(delay)), "{delays:?}");
        assert!(delays.iter().collect::<std::collections::BTreeSet<_>>().len() > 50);
        assert_eq!(retry.delay_after(7, "k"), retry.delay_after(7, "k"));
        assert_ne!(retry.delay_after(7, "k"), retry.delay_after(7, "l"));
    }

    #[test]
    fn on_says_which_failures_are_tried_again() {
        let on = |words: &[&str]| Retry { on: words.iter().map(|it| (*it).to_owned()).collect(), ..Retry::default() };
        assert!(on(&[]).is_for(Some("503"), true) && !on(&[]).is_for(Some("404"), false));
        assert!(on(&["5xx", "timeout"]).is_for(Some("503"), true) && on(&["timeout"]).is_for(Some("timeout"), true));
        assert!(!on(&["5xx"]).is_for(Some("429"), true) && !on(&["429"]).is_for(Some("unreachable"), true));
        assert!(on(&["404"]).is_for(Some("404"), false), "also one that its receiver calls final");
    }
}
