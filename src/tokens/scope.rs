//! Scopes: what a token lets its bearer do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TokenError;
use crate::config::nearest::nearest;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "publish")]
    Publish,
    #[serde(rename = "follow")]
    Follow,
    #[serde(rename = "flows:read")]
    FlowsRead,
    #[serde(rename = "flows:write")]
    FlowsWrite,
    #[serde(rename = "store:read")]
    StoreRead,
    #[serde(rename = "store:write")]
    StoreWrite,
    /// All of the others, and the administration.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    pub const ALL: [Self; 7] = [
        Self::Publish,
        Self::Follow,
        Self::FlowsRead,
        Self::FlowsWrite,
        Self::StoreRead,
        Self::StoreWrite,
        Self::Admin,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Follow => "follow",
            Self::FlowsRead => "flows:read",
            Self::FlowsWrite => "flows:write",
            Self::StoreRead => "store:read",
            Self::StoreWrite => "store:write",
            Self::Admin => "admin",
        }
    }

    pub(super) fn words() -> String {
        Self::ALL.map(Self::word).join(", ")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = TokenError;

    fn from_str(word: &str) -> Result<Self, TokenError> {
        Self::ALL.into_iter().find(|scope| scope.word() == word).ok_or_else(|| TokenError::Scope {
            given: word.to_owned(),
            near: nearest(word, Self::ALL.map(Self::word)).map(str::to_owned),
        })
    }
}
