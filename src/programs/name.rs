//! What programs call their streams, values and blobs, and the prefix that a token is limited to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Long enough for any path of ids, short enough that a key and its row stay small.
pub const NAME_MAX: usize = 512;
pub const SEGMENT_MAX: usize = 128;

/// Segments joined by `/`: `shop/orders/2026`. None is empty, `.` or `..`, so that a name means one thing to every
/// proxy on its way here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// All names below some segments, written `shop/`; the empty one is of all names. It counts by whole segments:
/// `shop/` has nothing to do with `shopping`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty: write segments joined by /, as in shop/orders")]
    Empty,
    #[error("the name has {bytes} characters, {NAME_MAX} is the most")]
    Long { bytes: usize },
    #[error("the name has an empty segment: write single slashes, none at the beginning and none at the end")]
    EmptySegment,
    #[error("the segment {segment} means another place in an address: take another word")]
    Dots { segment: String },
    #[error("a segment of the name has {bytes} characters, {SEGMENT_MAX} is the most")]
    LongSegment { bytes: usize },
    #[error(
        "{letter:?} cannot stand in a name: take a-z, A-Z, 0-9, -, _, . and ~, with / between segments (in an address \
         also %2F), and no other %-escapes"
    )]
    Letter { letter: char },
}

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the last slash.
    pub fn last_segment(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl Prefix {
    /// As it stands at the beginning of every name that it covers.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn covers(&self, name: &Name) -> bool {
        name.0.starts_with(&self.0)
    }

    /// True when every name under `other` is also under this one.
    pub fn holds(&self, other: &Prefix) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_MAX {
            return Err(NameError::Long { bytes: text.len() });
        }
        text.split('/').try_for_each(check_segment)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Prefix {
    type Err = NameError;

    /// The slash at the end may be left out.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let name: Name = text.strip_suffix('/').unwrap_or(text).parse()?;
        Ok(Self(name.0 + "/"))
    }
}

fn check_segment(segment: &str) -> Result<(), NameError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '~');
    if let Some(letter) = segment.chars().find(|letter| !fits(*letter)) {
        return Err(NameError::Letter { letter });
    }
    match segment {
        "" => Err(NameError::EmptySegment),
        "." | ".." => Err(NameError::Dots { segment: segment.to_owned() }),
        long if long.len() > SEGMENT_MAX => Err(NameError::LongSegment { bytes: long.len() }),
        _ => Ok(()),
    }
}

impl TryFrom<String> for Prefix {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_segments_and_nothing_that_means_another_place() {
        for good in ["a", "shop/orders", "A-b_c.d~e/...", ".well-known", &"a".repeat(128), &["ab"; 170].join("/")] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        let long = format!("{}/{}", vec!["a".repeat(127); 4].join("/"), "b");
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "a%2fb", "a\0", "ä", "a\\b", &long]
        {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!(matches!("a".repeat(129).parse::<Name>(), Err(NameError::LongSegment { bytes: 129 })));
    }

    #[test]
    fn a_prefix_counts_by_whole_segments() {
        let shop = prefix("shop");
        assert_eq!(shop, prefix("shop/"));
        for (name, covered) in [("shop/a", true), ("shop/a/b", true), ("shop", false), ("shopping/a", false)] {
            assert_eq!(shop.covers(&name.parse().unwrap()), covered, "{name}");
        }
        assert!(prefix("").covers(&"shop".parse().unwrap()));
        assert!(prefix("").holds(&shop) && shop.holds(&shop) && shop.holds(&prefix("shop/a")));
        assert!(!shop.holds(&prefix("")) && !shop.holds(&prefix("shopping")));
        assert!(
            "a/..".parse::<Prefix>().is_err() && "/".parse::<Prefix>().is_err() && "a//".parse::<Prefix>().is_err()
        );
    }
}
