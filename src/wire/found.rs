//! What asking for a key gives: the key with whose it is, or why there is none.

use std::sync::Arc;

use super::document::{DocumentError, KeyRefused};
use super::key::{PairSecret, PublicKey};
use super::signature::Algorithm;
use super::transport::TransportError;
use crate::clock::Time;
use crate::domains::blocks::Blocked;
use crate::domains::identity::Iri;
use crate::domains::json::JsonError;

/// A key that can check signatures.
#[derive(Debug, Clone)]
pub enum Key {
    Public(PublicKey),
    Pair(PairSecret),
}

/// A key with whose it is and where its owner takes mail.
#[derive(Debug, Clone)]
pub struct Found {
    pub key_id: Iri,
    pub actor: Iri,
    pub key: Key,
    /// Its owner listed it under `assertionMethod`.
    pub asserts: bool,
    /// None for a pair whose configuration names none.
    pub inbox: Option<Iri>,
    pub shared_inbox: Option<Iri>,
    pub fetched_at: Time,
}

/// Why there is no key.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    #[error("no secret is shared with {actor}: list it under [peers], or sign with a published key")]
    NoPair { actor: Iri },
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error("the key {key_id} is on this node's own authority, which sends itself nothing")]
    Ourselves { key_id: Iri },
    #[error("the actor at {document} does not publish the key {key_id}")]
    NotPublished { key_id: Iri, document: Iri },
    #[error("the key {key_id} is not in {document}, which was asked for a moment ago: it is asked for again soon")]
    NotYet { key_id: Iri, document: Iri },
    #[error("the key {key_id} is published but not usable: {source}")]
    NotUsable {
        key_id: Iri,
        #[source]
        source: KeyRefused,
    },
    #[error("{document} answers {status}")]
    Status { document: Iri, status: u16 },
    #[error("{document} is {given:?}, not application/activity+json")]
    MediaType { document: Iri, given: String },
    #[error("{document} cannot be read: {source}")]
    Json {
        document: Iri,
        #[source]
        source: Arc<JsonError>,
    },
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error("{document} could not be fetched: {source}")]
    Transport {
        document: Iri,
        #[source]
        source: Arc<TransportError>,
    },
    #[error("{document} was not fetched: too many other keys are being fetched")]
    Busy { document: Iri },
}

impl Key {
    /// What the key checks; none for a kind that this node cannot check.
    pub fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Public(PublicKey::Ed25519(_)) => Some(Algorithm::Ed25519),
            Self::Public(PublicKey::Rsa(_)) => Some(Algorithm::RsaV15Sha256),
            Self::Public(PublicKey::Unsupported(_)) => None,
            Self::Pair(_) => Some(Algorithm::HmacSha256),
        }
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Public(key) => key.verifies(message, signature),
            Self::Pair(secret) => secret.verifies(message, signature),
        }
    }
}

impl KeyError {
    /// Whether the same request may fare better later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            Self::Transport { source, .. } => source.is_passing(),
            Self::Busy { .. } | Self::NotYet { .. } => true,
            _ => false,
        }
    }

    /// The document that could not be had, of one that may be had later.
    pub fn document(&self) -> Option<&Iri> {
        match self {
            Self::Status { document, .. }
            | Self::Transport { document, .. }
            | Self::Busy { document }
            | Self::NotYet { document, .. } => Some(document),
            _ => None,
        }
    }
}
