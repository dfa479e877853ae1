//! `[kernel]` and `[[runner]]`: whose flows run here, and who runs ours.

use std::collections::BTreeSet;

use url::Url;

use super::mistake::Report;
use super::reader::{Section, suggest};
use super::sections::is_authority;
use super::tree::{Node, Shape};
use crate::domains::flow::kinds::KINDS;

/// `[kernel]`: what this node does for other nodes.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Authorities that may start exposed flows, and have flows of their own run here.
    pub allow: Vec<String>,
    /// Authorities that the requests of their flows may reach at any address, and by http.
    pub reach: Vec<String>,
}

/// One `[[runner]]`.
#[derive(Debug, Clone)]
pub enum Runner {
    /// This node, with the kinds of step that it does.
    Here(BTreeSet<&'static str>),
    /// Another node, by the origin that its ids begin with.
    At(String),
}

impl Kernel {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let mut authorities = |key: &str| {
            let listed = section.texts(key, report).unwrap_or_default();
            for authority in listed.iter().filter(|authority| !is_authority(authority)) {
                let what = format!(
                    "`{authority}` is no authority: a host in lower case, and a port when it is not the default"
                );
                section.wrong(key, what, "write \"127.0.0.1:8002\" or \"blog.example\"", report);
            }
            listed
        };
        let (allow, reach) = (authorities("allow"), authorities("reach"));
        section.finish(report);
        Self { allow, reach }
    }
}

impl Runner {
    /// All of them, in their order; this node alone when there is none.
    pub(super) fn read_all(node: Option<&Node>, report: &mut Report) -> Vec<Self> {
        let Some(node) = node else { return vec![Self::Here(KINDS.into())] };
        let Shape::List(list) = &node.shape else {
            let what = format!("`runner` has to be a list of tables, not {}", node.described());
            report.add(&node.place, "runner", what, "write [[runner]], once for each");
            return Vec::new();
        };
        if list.is_empty() {
            report.add(&node.place, "runner", "nobody runs flows", "add [[runner]] with url = \"here\"");
        }
        let (mut runners, mut urls) = (Vec::new(), BTreeSet::new());
        for node in list {
            let mut section = Section::of(node, "runner", report);
            let url = section.required("url", "\"here\" or \"https://kernel.example\"", report);
            if url.clone().is_some_and(|url| !urls.insert(url)) {
                section.wrong("url", "this runner stands there twice", "take one of them away", report);
            }
            runners.extend(url.and_then(|url| Self::read(&url, &mut section, report)));
            section.finish(report);
        }
        runners
    }

    fn read(url: &str, section: &mut Section<'_>, report: &mut Report) -> Option<Self> {
        if url == "here" {
            return Some(Self::Here(kinds(section, report)));
        }
        if section.has("kinds") {
            let remedy = "take it away; GET /flow/runner there says what it does";
            section.wrong("kinds", "another node says itself which kinds it does", remedy, report);
            section.node("kinds");
        }
        let origin = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let origin = origin.filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none());
        if origin.is_none() {
            let what = format!("`{url}` is neither \"here\" nor the base of a node");
            section.wrong("url", what, "write \"https://kernel.example\"", report);
        }
        origin.map(|url| Self::At(url.origin().ascii_serialization()))
    }
}

fn kinds(section: &mut Section<'_>, report: &mut Report) -> BTreeSet<&'static str> {
    let Some(named) = section.texts("kinds", report) else { return KINDS.into() };
    let mut kinds = BTreeSet::new();
    for name in &named {
        match KINDS.into_iter().find(|kind| kind == name) {
            Some(kind) => drop(kinds.insert(kind)),
            None => {
                section.wrong("kinds", format!("`{name}` is no kind of step"), suggest(name, KINDS.into_iter()), report)
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Runner>, Vec<String>) {
        let mut report = Report::default();
        let root = Node::parse(text, &mut report);
        let runners = Runner::read_all(root.as_table().and_then(|it| Some(&it.get("runner")?.value)), &mut report);
        (runners, report.into_mistakes().into_iter().map(|mistake| mistake.what).collect())
    }

    #[test]
    fn runners_keep_their_order_and_a_node_without_any_runs_its_flows_itself() {
        let (runners, mistakes) =
            read("[[runner]]\nurl = \"https://k.example/\"\n[[runner]]\nurl = \"here\"\nkinds = [\"wait\"]");
        assert_eq!(mistakes, [""; 0]);
        assert!(
            matches!(&runners[..], [Runner::At(at), Runner::Here(kinds)] if at == "https://k.example" && kinds.len() == 1)
        );
        let (alone, mistakes) = read("");
        assert!(mistakes.is_empty() && matches!(&alone[..], [Runner::Here(kinds)] if kinds.len() == KINDS.len()));
    }

    #[test]
    fn what_is_no_runner_is_named() {
        for (text, word) in [
            ("runner = \"here\"", "list"),
            ("runner = []", "nobody"),
            ("[[runner]]\nkinds = []", "missing"),
            ("[[runner]]\nurl = \"here\"\nkinds = [\"juggle\"]", "juggle"),
            ("[[runner]]\nurl = \"https://k.example/flow\"", "neither"),
            ("[[runner]]\nurl = \"https://k.example\"\nkinds = [\"wait\"]", "itself"),
            ("[[runner]]\nurl = \"here\"\n[[runner]]\nurl = \"here\"", "twice"),
        ] {
            let (_, mistakes) = read(text);
            assert!(mistakes.iter().any(|what| what.contains(word)), "{text}: {mistakes:?}");
        }
    }
}
