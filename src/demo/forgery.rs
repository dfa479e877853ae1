//! Requests that must be refused: one signed with a key that is not the sender's, one not signed at all.

use std::time::Duration;

use serde_json::{Value, json};

use super::domain::Domain;
use crate::cli::client::{Ask, Door};
use crate::clock::Time;
use crate::domains::identity::Iri;
use crate::wire::key::NodeKey;
use crate::wire::sign::{Signer, SignerKey};
use crate::wire::transport::{Limits, Request};

const CONTENT_TYPE: &str = "application/activity+json";
/// Of no meaning here: the request is only signed.
const LIMITS: Limits = Limits { bytes_max: 1, deadline: Duration::from_secs(1) };

/// An article of the blog's that the blog never wrote.
pub(super) fn activity(blog: &Domain, ulid: &str) -> Value {
    let base = &blog.base;
    json!({
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": format!("{base}/activities/{ulid}"),
        "type": "Create",
        "actor": format!("{base}/actor"),
        "to": ["https://www.w3.org/ns/activitystreams#Public"],
        "object": {
            "id": format!("{base}/forged"), "type": "Article", "name": "Forged",
            "attributedTo": format!("{base}/actor"),
        },
    })
}

/// The activity as somebody sends it who says that he is the blog.
pub(super) fn forged(blog: &Domain, events: &Domain, activity: &Value, seed: [u8; 32], now: Time) -> Ask {
    let iri = |text: String| Iri::parse(&text).expect("the demo's own addresses are in normal form");
    let signer = Signer {
        key_id: iri(format!("{}/actor#ed25519", blog.base)),
        secret: SignerKey::Ed25519(NodeKey::from_seed(seed)),
    };
    let inbox = iri(format!("{}/inbox", events.base));
    let request = Request::post(inbox, CONTENT_TYPE, activity.to_string(), LIMITS);
    let signed = signer.sign(request, now).expect("our own headers can be signed");
    let ask = signed.headers.iter().fold(post(), |ask, (name, value)| ask.header(name, value));
    Ask { body: signed.body.to_vec(), ..ask }
}

/// The activity without any signature.
pub(super) fn unsigned(activity: &Value) -> Ask {
    Ask { body: activity.to_string().into_bytes(), ..post().header("content-type", CONTENT_TYPE) }
}

fn post() -> Ask {
    Ask { method: "POST", ..Ask::get(Door::Public, "/inbox").without_token() }
}
