//! Every reason for which a request of a peer is not believed, in the words that the peer gets to read.

use super::digest::DigestError;
use super::document::KeyRefused;
use super::key::Kind;
use super::keys::KeyError;
use super::proof::ProofError;
use super::signature::SignatureError;
use crate::domains::activity::ActivityError;
use crate::domains::identity::Iri;
use crate::domains::json::JsonError;

/// What kind of answer a refusal gets (CONTRACT, Wire 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 413
    TooLarge,
    /// 415
    MediaType,
    /// 503 with Retry-After
    Unavailable,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the body has {bytes} bytes, more than {bytes_max}: send less")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("the content type is {given:?}: send application/activity+json")]
    MediaType { given: String },
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Activity(#[from] ActivityError),
    #[error(
        "the activity {id} is not on the authority of its actor {actor}: an actor speaks for its own authority only"
    )]
    ForeignId { id: Iri, actor: Iri },
    #[error("the key {key_id} is not on the authority of the actor {actor}: sign with the actor's own key")]
    ForeignKey { key_id: Iri, actor: Iri },
    #[error("the key {key_id} is of the kind {kind}, which this node cannot check: sign with ed25519 or RSA")]
    UnsupportedKey { key_id: Iri, kind: Kind },
    #[error("no usable key: {0}")]
    Key(#[source] KeyError),
    #[error("the key could not be fetched: {0}")]
    KeyUnavailable(#[source] KeyError),
    #[error("the key {key_id} belongs to {owner}, not to {actor}: an actor signs with its own key")]
    NotTheOwner { key_id: Iri, owner: Iri, actor: Iri },
    #[error("the signature is false: it was not made with {key_id} over this request")]
    False { key_id: Iri },
    #[error("the proof is false: it was not made with {key_id} over this activity")]
    FalseProof { key_id: Iri },
}

impl Refusal {
    pub fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } => Class::TooLarge,
            Self::MediaType { .. } => Class::MediaType,
            Self::Digest(DigestError::Missing | DigestError::MissingDraft | DigestError::Unsupported) => {
                Class::Unauthorized
            }
            Self::Digest(_) | Self::Json(_) | Self::Activity(_) => Class::BadRequest,
            Self::Key(KeyError::NotUsable { source: KeyRefused::Owner | KeyRefused::Authority, .. }) => {
                Class::Forbidden
            }
            Self::Key(KeyError::Blocked(_)) => Class::Forbidden,
            Self::Signature(_) | Self::Proof(_) | Self::UnsupportedKey { .. } | Self::Key(_) => Class::Unauthorized,
            Self::ForeignId { .. }
            | Self::ForeignKey { .. }
            | Self::NotTheOwner { .. }
            | Self::False { .. }
            | Self::FalseProof { .. } => Class::Forbidden,
            Self::KeyUnavailable(_) => Class::Unavailable,
        }
    }
}

impl Refusal {
    /// Whether the request counts for its address. One in the name of a domain that is blocked does not: it is refused
    /// before it costs anything, and such domains go on knocking for months beside their neighbours.
    pub fn is_of_nobody(&self) -> bool {
        !matches!(self, Self::Key(KeyError::Blocked(_)))
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        if error.is_passing() { Self::KeyUnavailable(error) } else { Self::Key(error) }
    }
}
