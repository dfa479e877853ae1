//! Who may run a flow: the kinds of step that it needs, and the runners that a node has, in their order.

use std::collections::BTreeSet;

use super::definition::{Definition, Header, Http, Kind, Step, Undo};
use crate::domains::identity::Iri;

/// Every kind of step, by the word that declares it.
pub const KINDS: [&str; 9] = ["effect", "branch", "each", "suspend", "wait", "all", "call", "http", "ask"];

/// What nodes that run flows for each other speak.
pub const PROTOCOL: &str = "quickbeam-runner/1";

/// Whoever can run flows, the first that can do all of a flow's steps gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runners(pub Vec<Runner>);

/// One that can run flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// This node itself, with the kinds that it does.
    Here(BTreeSet<&'static str>),
    /// Another node, which says itself what it can do.
    At(Remote),
}

/// A node that runs flows of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its address, without a slash at the end.
    pub base: String,
    /// Who signs what comes from there.
    pub actor: Iri,
}

impl Default for Runners {
    fn default() -> Self {
        Self(vec![Runner::Here(KINDS.into())])
    }
}

impl Runners {
    /// The kinds that this node does.
    pub fn here(&self) -> BTreeSet<&'static str> {
        let here = self.0.iter().filter_map(|runner| match runner {
            Runner::Here(kinds) => Some(kinds.iter().copied()),
            Runner::At(_) => None,
        });
        here.flatten().collect()
    }

    /// Whether this node can do all of a flow's steps.
    pub fn can_here(&self, definition: &Definition) -> bool {
        let here = self.here();
        needed(definition).iter().all(|kind| here.contains(kind))
    }

    /// Whether this node runs a flow without having asked anybody else.
    pub fn is_for_here(&self, definition: &Definition) -> bool {
        match self.0.first() {
            Some(Runner::Here(kinds)) => needed(definition).is_subset(kinds),
            _ => false,
        }
    }

    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.0.iter().filter_map(|runner| match runner {
            Runner::At(remote) => Some(remote),
            Runner::Here(_) => None,
        })
    }
}

/// The kinds of step in a flow, undos included: whoever runs it has to be able to do all of them.
pub fn needed(definition: &Definition) -> BTreeSet<&'static str> {
    let steps = definition.steps.values();
    let undos = steps.clone().filter_map(|step| match step.undo() {
        Some(Undo::Effect(_)) => Some("effect"),
        Some(Undo::Http(_)) => Some("http"),
        Some(Undo::Own) | None => None,
    });
    steps.clone().map(|step| step.kind.word()).chain(undos).collect()
}

/// The names of secrets that its requests are sent with. They are a node's own, so that such a flow stays there.
pub fn secrets(definition: &Definition) -> BTreeSet<&str> {
    let headers = definition.steps.values().flat_map(requests).flat_map(|http| http.headers.values());
    headers.filter_map(secret_of).collect()
}

fn secret_of(header: &Header) -> Option<&str> {
    match header {
        Header::Secret { secret, .. } => Some(secret),
        Header::Cel(_) => None,
    }
}

fn requests(step: &Step) -> impl Iterator<Item = &Http> {
    let own = match &step.kind {
        Kind::Http(http) => Some(&**http),
        _ => None,
    };
    let undo = match &step.undo {
        Some(Undo::Http(http)) => Some(&**http),
        _ => None,
    };
    own.into_iter().chain(undo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::definition::{Call, Until};

    fn definition(kinds: &[Kind]) -> Definition {
        let steps = kinds.iter().enumerate().map(|(nth, kind)| (format!("s{nth}"), Step::of(kind.clone())));
        Definition::of("f", steps.collect())
    }

    fn http(secret: Option<&str>) -> Kind {
        let header =
            secret.map(|secret| ("x".to_owned(), Header::Secret { secret: secret.into(), prefix: String::new() }));
        Kind::Http(Box::new(Http {
            method: "GET".into(),
            url: "'https://x.example/'".into(),
            headers: header.into_iter().collect(),
            body: None,
            ok: Vec::new(),
            callback: None,
        }))
    }

    #[test]
    fn a_flow_needs_the_kinds_of_its_steps_and_of_their_undos() {
        let mut flow = definition(&[Kind::Wait(Until::Span(1))]);
        assert_eq!(needed(&flow), ["wait"].into());
        let Kind::Http(undo) = http(Some("crm")) else { unreachable!() };
        flow.steps.get_mut("s0").unwrap().undo = Some(Undo::Http(undo));
        assert_eq!(needed(&flow), ["http", "wait"].into());
        assert_eq!(secrets(&flow), ["crm"].into());
    }

    #[test]
    fn this_node_is_asked_first_only_when_it_stands_first_and_can_do_it() {
        let effect = definition(&[Kind::Effect(Call { effect: "notify".into(), with: [].into() })]);
        let request = definition(&[http(None)]);
        assert!(Runners::default().is_for_here(&request));
        let here = Runner::Here(["effect"].into());
        let actor = Iri::parse("https://k.example/actor").unwrap();
        let there = Runner::At(Remote { base: "https://k.example".into(), actor });
        let runners = Runners(vec![here.clone(), there.clone()]);
        assert!(runners.is_for_here(&effect) && !runners.is_for_here(&request));
        assert!(!Runners(vec![there, here]).is_for_here(&effect));
    }
}
