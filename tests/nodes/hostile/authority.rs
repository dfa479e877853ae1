//! What is truly signed, by somebody whose affair it is not: a stranger, and a neighbour on the very host.

use quickbeam::wire::key::NodeKey;
use serde_json::{Value, json};

use super::{Case, Class, Stage, case};
use crate::http::Call;
use crate::peer::{Reply, With};

/// Who acts.
#[derive(Clone, Copy)]
enum By {
    /// The known peer itself.
    Peer,
    /// Another actor on the peer's host, with a key of its own.
    Flatmate,
    /// Somebody on another host.
    Neighbour,
}

/// What is done, as an activity of its actor.
type Act = fn(&Stage, &str) -> Value;

const ACTS: [(&str, By, &str, Act); 34] = [
    ("a stranger takes back a Follow", By::Neighbour, "not yours", |stage, by| act(stage, by, "Undo", follow(stage))),
    ("a stranger takes back a Follow that it shows", By::Neighbour, "", |stage, by| {
        act(stage, by, "Undo", shown(stage, by))
    }),
    ("a flatmate takes back a Follow", By::Flatmate, "not yours", |stage, by| act(stage, by, "Undo", follow(stage))),
    ("a flatmate takes back a Follow that it shows", By::Flatmate, "", |stage, by| {
        act(stage, by, "Undo", shown(stage, by))
    }),
    ("a stranger changes an article", By::Neighbour, "", |stage, by| act(stage, by, "Update", article(stage, by))),
    ("a flatmate changes an article", By::Flatmate, "", |stage, by| act(stage, by, "Update", article(stage, by))),
    ("a stranger changes an article in the name of its author", By::Neighbour, "", |stage, by| {
        act(stage, by, "Update", article(stage, &stage.peer.actor()))
    }),
    ("a flatmate changes an article in the name of its author", By::Flatmate, "", |stage, by| {
        act(stage, by, "Update", article(stage, &stage.peer.actor()))
    }),
    ("a stranger deletes an article", By::Neighbour, "", |stage, by| {
        act(stage, by, "Delete", article(stage, by)["id"].clone())
    }),
    ("a flatmate deletes an article", By::Flatmate, "", |stage, by| {
        act(stage, by, "Delete", article(stage, by)["id"].clone())
    }),
    ("a stranger deletes an article that it shows", By::Neighbour, "", |stage, by| {
        act(stage, by, "Delete", article(stage, by))
    }),
    ("a flatmate deletes an article that it shows", By::Flatmate, "", |stage, by| {
        act(stage, by, "Delete", article(stage, by))
    }),
    ("a peer changes an object of the node", By::Peer, "", |stage, by| act(stage, by, "Update", calendar(stage))),
    ("a peer deletes an object of the node", By::Peer, "", |stage, by| act(stage, by, "Delete", calendar(stage))),
    ("a peer changes the actor of the node", By::Peer, "", |stage, by| {
        act(stage, by, "Update", json!({ "id": stage.node.actor(), "type": "Service", "name": "taken over" }))
    }),
    ("a peer deletes the actor of the node", By::Peer, "", |stage, by| {
        act(stage, by, "Delete", stage.node.actor().into())
    }),
    ("a peer makes something on another host", By::Peer, "", |stage, by| {
        let id = format!("{}/articles/1", stage.neighbour.base());
        act(stage, by, "Create", json!({ "id": id, "type": "Article", "attributedTo": by }))
    }),
    ("a peer makes something on this node", By::Peer, "", |stage, by| {
        let id = format!("{}/article", stage.node.base());
        act(stage, by, "Create", json!({ "id": id, "type": "Article", "attributedTo": by }))
    }),
    ("a peer makes something of its flatmate", By::Peer, "", |stage, by| {
        act(stage, by, "Create", article(stage, &flatmate(stage)))
    }),
    ("a peer makes something of a stranger", By::Peer, "", |stage, by| {
        act(stage, by, "Create", article(stage, &stage.neighbour.actor()))
    }),
    ("a peer makes something of the node", By::Peer, "", |stage, by| {
        act(stage, by, "Create", article(stage, &stage.node.actor()))
    }),
    ("a stranger accepts what another was asked", By::Neighbour, "somebody else", |stage, by| {
        act(stage, by, "Accept", asked(stage))
    }),
    ("a stranger rejects what another was asked", By::Neighbour, "somebody else", |stage, by| {
        act(stage, by, "Reject", asked(stage))
    }),
    ("a flatmate accepts what another was asked", By::Flatmate, "somebody else", |stage, by| {
        act(stage, by, "Accept", asked(stage))
    }),
    ("a flatmate rejects what another was asked", By::Flatmate, "somebody else", |stage, by| {
        act(stage, by, "Reject", asked(stage))
    }),
    ("a peer accepts what nobody asked", By::Peer, "", |stage, by| {
        act(stage, by, "Accept", format!("{}/activities/01ARZ3NDEKTSV4RRFFQ69G5FAV", stage.node.base()).into())
    }),
    ("a peer makes something of others, in a list", By::Peer, "flatmate", |stage, by| {
        let mut article = article(stage, by);
        article["attributedTo"] = json!([flatmate(stage), stage.neighbour.actor()]);
        act(stage, by, "Create", article)
    }),
    ("a peer changes whose its article is", By::Peer, "flatmate", |stage, by| {
        act(stage, by, "Update", article(stage, &flatmate(stage)))
    }),
    ("a stranger allocates", By::Neighbour, "follows", |stage, by| {
        let mut allocate = stage.neighbour.allocate("gig", calendar(stage)["id"].as_str().unwrap());
        allocate["actor"] = by.into();
        allocate
    }),
    ("a flatmate allocates", By::Flatmate, "follows", |stage, by| {
        let mut allocate = stage.peer.allocate("gig", calendar(stage)["id"].as_str().unwrap());
        allocate["actor"] = by.into();
        allocate
    }),
    ("a peer speaks for its flatmate", By::Peer, "belongs to", |stage, _| {
        act(stage, &flatmate(stage), "Undo", follow(stage))
    }),
    ("a flatmate speaks for the peer", By::Flatmate, "belongs to", |stage, _| {
        act(stage, &stage.peer.actor(), "Undo", follow(stage))
    }),
    ("a peer gives an id of another host", By::Peer, "authority", |stage, by| {
        with_id(act(stage, by, "Undo", follow(stage)), &stage.neighbour.base())
    }),
    ("a peer gives an id of this node", By::Peer, "authority", |stage, by| {
        with_id(act(stage, by, "Undo", follow(stage)), &stage.node.base())
    }),
];

/// Other addresses of the same document are other actors.
const ALMOST: [(&str, &str); 5] =
    [("a fragment", "#x"), ("a query", "?x"), ("an empty query", "?"), ("a slash", "/"), ("another case", "s")];

pub(super) fn cases() -> Vec<Case> {
    let acts = ACTS.into_iter().map(|(name, by, word, act)| {
        case(name, 403, word, move |stage| signed(stage, by, &act(stage, &by.actor(stage))))
    });
    let almost = ALMOST.into_iter().map(|(name, end)| {
        case(format!("a peer speaks for its own address with {name}"), 403, "belongs to", move |stage| {
            let actor = format!("{}{end}", stage.peer.actor());
            signed(stage, By::Peer, &act(stage, &actor, "Undo", follow(stage)))
        })
    });
    let as_node = case("a peer speaks for the node", 403, "authority", |stage| {
        let actor = stage.node.actor();
        signed(stage, By::Peer, &act(stage, &actor, "Undo", follow(stage)))
    });
    acts.chain(almost).chain([as_node]).collect()
}

#[test]
fn nobody_acts_for_another() {
    Class { prepare, ..Class::of(cases()) }.run();
}

/// The node follows the peer and has an article of it, and knows the keys of all three.
fn prepare(stage: &Stage) {
    let (base, document) = (stage.peer.base(), stage.peer.document());
    let other = document.to_string().replace(&format!("{base}/actor"), &format!("{base}/flatmate"));
    let mut other: Value = serde_json::from_str(&other).unwrap();
    other["assertionMethod"][0]["publicKeyMultibase"] = key().public_multikey().into();
    stage.peer.documents(move |got| Reply::json(if got.target == "/flatmate" { &other } else { &document }));
    stage.peer.is_followed_by(&stage.node);
    let created = act(stage, &stage.peer.actor(), "Create", article(stage, &stage.peer.actor()));
    stage.peer.sends(&stage.node, &created, "taken");
    for by in [By::Flatmate, By::Neighbour] {
        let like = act(stage, &by.actor(stage), "Like", created["object"]["id"].clone());
        stage.node.send(&signed(stage, by, &like)).expect(202);
    }
}

impl By {
    fn actor(self, stage: &Stage) -> String {
        match self {
            Self::Peer => stage.peer.actor(),
            Self::Flatmate => flatmate(stage),
            Self::Neighbour => stage.neighbour.actor(),
        }
    }
}

fn flatmate(stage: &Stage) -> String {
    format!("{}/flatmate", stage.peer.base())
}

fn key() -> NodeKey {
    NodeKey::from_seed([5; 32])
}

fn signed(stage: &Stage, by: By, activity: &Value) -> Call {
    let key_id = format!("{}#ed25519", by.actor(stage));
    match by {
        By::Peer => stage.peer.sign(&stage.node, activity).call(),
        By::Neighbour => stage.neighbour.sign(&stage.node, activity).call(),
        By::Flatmate => {
            let signed = stage.peer.sign(&stage.node, activity);
            signed.change(|it| (it.key_id, it.with) = (key_id, With::Key(key()))).call()
        }
    }
}

/// With a new id on the host of who acts.
fn act(stage: &Stage, by: &str, verb: &str, object: Value) -> Value {
    let host = if by.starts_with(&stage.neighbour.base()) { &stage.neighbour } else { &stage.peer };
    let mut activity = host.activity(verb, object);
    activity["actor"] = by.into();
    match by.starts_with(&stage.node.base()) {
        true => with_id(activity, &stage.node.base()),
        false => activity,
    }
}

fn with_id(mut activity: Value, base: &str) -> Value {
    activity["id"] = format!("{base}/activities/1").into();
    activity
}

/// The Follow by which the peer follows the node.
fn follow(stage: &Stage) -> Value {
    let object = stage.peer.awaits("Accept", None)["object"].clone();
    if object.is_string() { object } else { object["id"].clone() }
}

/// The same, as if it were whose it is not.
fn shown(stage: &Stage, by: &str) -> Value {
    json!({ "id": follow(stage), "type": "Follow", "actor": by, "object": stage.node.actor() })
}

/// The Follow by which the node follows the peer.
fn asked(stage: &Stage) -> Value {
    stage.peer.awaits("Follow", None)["id"].clone()
}

fn article(stage: &Stage, by: &str) -> Value {
    json!({ "id": format!("{}/articles/one", stage.peer.base()), "type": "Article", "name": "one", "attributedTo": by })
}

fn calendar(stage: &Stage) -> Value {
    json!({ "id": format!("{}/calendars/main", stage.node.base()), "type": "OrderedCollection", "title": "taken over" })
}
