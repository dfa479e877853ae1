//! How deliveries to a peer are signed: with which key and by which standard, and what is tried when it says no.

use serde::{Deserialize, Serialize};

/// A key and a standard. Which of them a peer takes, only trying tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// RFC 9421 with ed25519: quick, and what nodes like this one check.
    Ed25519,
    /// RFC 9421 with RSA: what newer servers check.
    Rsa,
    /// draft-cavage-http-signatures-12 with RSA: what all others check.
    Draft,
}

impl Scheme {
    /// By its word in a configuration.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "ed25519" => Some(Self::Ed25519),
            "rsa" => Some(Self::Rsa),
            "draft" => Some(Self::Draft),
            _ => None,
        }
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ed25519 => "RFC 9421 with ed25519",
            Self::Rsa => "RFC 9421 with RSA",
            Self::Draft => "draft-cavage with RSA",
        }
    }

    /// The two that an attempt may use, one after the other: the first is what is thought best, the second is for a peer
    /// that refuses it. An attempt after a refusal begins with the one that was left out, so that two attempts have
    /// tried all.
    pub fn to_try(self, refusals: u32) -> [Self; 2] {
        let [second, third] = match self {
            Self::Ed25519 => [Self::Rsa, Self::Draft],
            Self::Rsa => [Self::Draft, Self::Ed25519],
            Self::Draft => [Self::Rsa, Self::Ed25519],
        };
        if refusals.is_multiple_of(2) { [self, second] } else { [third, self] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_attempts_try_all_and_begin_with_what_is_thought_best() {
        for first in [Scheme::Ed25519, Scheme::Rsa, Scheme::Draft] {
            let (one, two) = (first.to_try(0), first.to_try(1));
            assert_eq!((one[0], two[1], first.to_try(2)), (first, first, one));
            assert!(one[1] != one[0] && !one.contains(&two[0]), "{first:?}");
        }
        assert_eq!(Scheme::Rsa.to_try(0), [Scheme::Rsa, Scheme::Draft]);
    }
}
