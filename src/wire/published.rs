//! Getting what a peer publishes at an address: an actor, or the page of one key, which says whose it is.

use std::sync::Arc;

use serde_json::Value;

use super::document::{ActorDocument, DocumentError, many};
use super::found::KeyError;
use super::signers::Signers;
use super::transport::{Limits, Request, Response, Transport};
use crate::actors::scheme::Scheme;
use crate::clock::SharedClock;
use crate::domains::identity::Iri;
use crate::domains::json::{JSON_DEPTH_MAX, parse_json};

const ACCEPT: &str =
    "application/activity+json, application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"";

/// Goes out for documents.
pub(super) struct Reader {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: SharedClock,
    /// Signs where nothing is shown to strangers.
    pub(super) signers: Option<Signers>,
    pub(super) limits: Limits,
}

impl Reader {
    /// The actor at an address. A page that shows only a key is an error which names its owner.
    pub(super) async fn read(&self, document: &Iri) -> Result<ActorDocument, KeyError> {
        let response = self.get(document).await?;
        if response.status != 200 {
            return Err(KeyError::Status { document: document.clone(), status: response.status });
        }
        let given = response.header("content-type").unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Plain JSON may be a file that a stranger uploaded there; these two are served by programs that mean it.
        if essence != "application/activity+json" && essence != "application/ld+json" {
            return Err(KeyError::MediaType { document: document.clone(), given: given.chars().take(200).collect() });
        }
        let value = parse_json(&response.body, JSON_DEPTH_MAX)
            .map_err(|source| KeyError::Json { document: document.clone(), source: Arc::new(source) })?;
        Ok(parse(&value, document)?)
    }

    /// Asks without a signature first: whoever checks one asks for our actor before it answers.
    pub(super) async fn get(&self, document: &Iri) -> Result<Response, KeyError> {
        let request = Request::get(document.clone(), ACCEPT, self.limits);
        let answer = self.transport.send(request.clone()).await;
        // What Mastodon in its secure mode and GoToSocial answer to strangers.
        let refused = answer.as_ref().is_ok_and(|response| response.status == 401);
        let signed = match &self.signers {
            // By the draft, which is what such servers check.
            Some(signers) if refused => signers.pen().sign(Scheme::Draft, request, self.clock.now()).await.ok(),
            _ => None,
        };
        let answer = match signed {
            Some(signed) => self.transport.send(signed).await,
            None => answer,
        };
        answer.map_err(|source| KeyError::Transport { document: document.clone(), source: Arc::new(source) })
    }
}

/// A page of a key is believed no further than to ask its owner, who has to publish that key.
fn parse(value: &Value, asked: &Iri) -> Result<ActorDocument, DocumentError> {
    ActorDocument::parse(value, asked).map_err(|error| match owner_of_key(value, asked) {
        Some(owner) if owner == *asked => error,
        Some(owner) if owner.same_authority(asked) => DocumentError::OnlyKey { asked: asked.clone(), owner },
        Some(owner) => DocumentError::ForeignOwner { asked: asked.clone(), owner },
        None => error,
    })
}

/// The owner of the key with the id of the page, which is the page itself or stands in it. GoToSocial shows the part of
/// an actor that has the key, under the id of the actor.
fn owner_of_key(page: &Value, key_id: &Iri) -> Option<Iri> {
    let is_it = |value: &&Value| value.get("id").and_then(Value::as_str) == Some(key_id.as_str());
    let owner = match Some(page).filter(is_it) {
        Some(key) => key.get("owner"),
        None => many(page.get("publicKey")).find(is_it)?.get("owner").or_else(|| page.get("id")),
    };
    let owner = Iri::parse(owner?.as_str()?).ok()?;
    owner.fragment().is_none().then_some(owner)
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
