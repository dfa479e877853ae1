//! Behaviours: the lines of a type that say which flow runs on which verb, and for whom.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::verb as activity;
use crate::config::Report;
use crate::config::mistake::Place;
use crate::config::nearest::nearest;
use crate::config::reader::Section;
use crate::config::tree::{Node, Shape};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Create,
    Update,
    Delete,
    /// Only others do this to us.
    Allocate,
}

/// The flow that runs, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    pub run: String,
    /// Who may fire it; of no meaning for our own writes.
    pub from: From,
    /// Where the configuration says so.
    pub place: Place,
}

/// Whose activities fire a behaviour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum From {
    /// Those of the actors that we follow.
    #[default]
    Following,
    /// Those of our followers.
    Followers,
    /// Those of these authorities or actor URLs.
    Only(Vec<String>),
    Anyone,
}

/// The behaviours of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behaviours {
    pub on: BTreeMap<Verb, Behaviour>,
    pub remote: BTreeMap<Verb, Behaviour>,
}

/// What is known of a sender when a behaviour is asked whether it may fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    pub actor: &'a str,
    pub authority: &'a str,
    /// We follow it, and it accepted.
    pub followed: bool,
    /// It follows us.
    pub follower: bool,
}

impl From {
    pub fn admits(&self, sender: &Sender<'_>) -> bool {
        match self {
            From::Following => sender.followed,
            From::Followers => sender.follower,
            From::Only(list) => list.iter().any(|it| it == sender.actor || it == sender.authority),
            From::Anyone => true,
        }
    }
}

/// Who may fire it, in words.
impl fmt::Display for From {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Following => out.write_str("somebody whom this node follows"),
            From::Followers => out.write_str("a follower of this node"),
            From::Only(list) => write!(out, "one of {}", list.join(", ")),
            From::Anyone => out.write_str("anyone"),
        }
    }
}

impl Verb {
    /// What an activity does to an object, if it is one of these.
    pub fn of(verb: &activity::Verb) -> Option<Self> {
        match verb {
            activity::Verb::Create => Some(Self::Create),
            activity::Verb::Update => Some(Self::Update),
            activity::Verb::Delete => Some(Self::Delete),
            activity::Verb::Allocate => Some(Self::Allocate),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Delete => "delete",
            Verb::Allocate => "allocate",
        }
    }
}

const LOCAL: &[Verb] = &[Verb::Create, Verb::Update, Verb::Delete];
const REMOTE: &[Verb] = &[Verb::Create, Verb::Update, Verb::Delete, Verb::Allocate];

/// Reads `on` and `remote` of a type.
pub(super) fn read(section: &mut Section<'_>, report: &mut Report) -> Behaviours {
    let on = section.section("on", report);
    let remote = section.section("remote", report);
    Behaviours { on: verbs(on, LOCAL, false, report), remote: verbs(remote, REMOTE, true, report) }
}

fn verbs(mut section: Section<'_>, verbs: &[Verb], remote: bool, report: &mut Report) -> BTreeMap<Verb, Behaviour> {
    let mut found = BTreeMap::new();
    for verb in verbs {
        if let Some(node) = section.node(verb.word())
            && let Some(behaviour) = one(node, &section.path(verb.word()), remote, report)
        {
            found.insert(*verb, behaviour);
        }
    }
    section.finish(report);
    found
}

fn one(node: &Node, path: &str, remote: bool, report: &mut Report) -> Option<Behaviour> {
    if let Shape::Text(run) = &node.shape {
        return Some(Behaviour { run: run.clone(), from: From::default(), place: node.place.clone() });
    }
    let mut section = Section::of(node, path, report);
    let run = section.required("run", "\"FLOW\"", report);
    let from = if remote { section.node("from").and_then(|it| from(it, &section, report)) } else { None };
    let place = section.place_of("run").clone();
    section.finish(report);
    Some(Behaviour { run: run?, from: from.unwrap_or_default(), place })
}

fn from(node: &Node, section: &Section<'_>, report: &mut Report) -> Option<From> {
    match (&node.shape, node.as_text()) {
        (Shape::List(list), _) if list.iter().all(|it| it.as_text().is_some()) => {
            Some(From::Only(list.iter().filter_map(|it| it.as_text().map(str::to_owned)).collect()))
        }
        (_, Some("following")) => Some(From::Following),
        (_, Some("followers")) => Some(From::Followers),
        (_, Some("anyone")) => Some(From::Anyone),
        (_, Some(other)) => {
            let words = ["following", "followers", "anyone"];
            let remedy = match nearest(other, words) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write \"following\", \"followers\", \"anyone\" or a list, as [\"events.example\"]".into(),
            };
            section.wrong("from", format!("`from` is `{other}`"), remedy, report);
            None
        }
        _ => {
            let what = format!("`from` has to be text or a list of texts, not {}", node.described());
            section.wrong(
                "from",
                what,
                "write \"following\", \"followers\", \"anyone\" or [\"events.example\"]",
                report,
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_from_admits_its_own() {
        let stranger =
            Sender { actor: "https://a.example/actor", authority: "a.example", followed: false, follower: false };
        let followed = Sender { followed: true, ..stranger };
        let follower = Sender { follower: true, ..stranger };
        let only = |it: &str| From::Only(vec![it.into()]);
        for (from, sender, admitted) in [
            (From::Following, followed, true),
            (From::Following, follower, false),
            (From::Followers, follower, true),
            (From::Followers, followed, false),
            (From::Anyone, stranger, true),
            (only("a.example"), stranger, true),
            (only("https://a.example/actor"), stranger, true),
            (only("b.example"), followed, false),
        ] {
            assert_eq!(from.admits(&sender), admitted, "{from:?} {sender:?}");
        }
    }
}
