//! The sections that say with whom a node has to do: whom it may reach, whom it follows, who may follow it.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::mistake::Report;
use super::reader::Section;
use super::sections::{Peer, is_authority};
use crate::domains::blocks::Domain;

/// `[fetch]`
#[derive(Debug, Clone, Default)]
pub struct Fetch {
    /// Authorities, exactly, that may have any address and speak http.
    pub allow: Vec<String>,
}

/// `[follow]`
#[derive(Debug, Clone)]
pub struct Follow {
    pub accept: Accept,
    /// Names in `[peers]`, authorities or actor URLs.
    pub at_start: Vec<String>,
}

/// Whose Follow is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    All,
    /// Nobody's until somebody says so.
    Ask,
    /// Those of these authorities or actors; others are asked about.
    Only(Vec<String>),
}

/// `[federation]`
#[derive(Debug, Clone, Default)]
pub struct Federation {
    /// The only domains, with all below them, that this node has to do with; all that are not blocked when not given.
    pub allow_only: Option<BTreeSet<Domain>>,
    /// The collections of followers and followed say how many there are, and not who.
    pub hide_network: bool,
    /// Whether whoever wants activities, objects and collections as JSON has to sign.
    pub authorized_fetch: bool,
}

/// `[delivery]`
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// Public activities go out with a proof that holds wherever they are passed on.
    pub proofs: bool,
    /// How a peer is signed for of which nothing is known yet, as one of [`SIGN_WITH`]; by what its document shows when not
    /// given.
    pub sign_with: Option<&'static str>,
}

/// RFC 9421 with either key, and draft-cavage with RSA.
pub const SIGN_WITH: [&str; 3] = ["ed25519", "rsa", "draft"];

impl Fetch {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let allow = section.texts("allow", report).unwrap_or_default();
        for authority in &allow {
            if !is_authority(authority) {
                let what = format!(
                    "`{authority}` is no authority: a host in lower case, and a port when it is not the default"
                );
                section.wrong("allow", what, "write \"127.0.0.1:8002\" or \"events.example\"", report);
            }
        }
        section.finish(report);
        Self { allow }
    }
}

impl Follow {
    pub(super) fn read(mut section: Section<'_>, peers: &BTreeMap<String, Peer>, report: &mut Report) -> Self {
        let is_list = section.node("accept").is_some_and(|node| node.as_text().is_none());
        let accept = if is_list {
            section.texts("accept", report).map(Accept::Only)
        } else {
            section.word("accept", &[("all", true), ("ask", false)], report).map(|all| match all {
                true => Accept::All,
                false => Accept::Ask,
            })
        };
        let at_start = section.texts("at_start", report).unwrap_or_default();
        for peer in &at_start {
            let is_url = Url::parse(peer).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            let is_host = peer.contains(['.', ':']) && is_authority(peer);
            if !(peers.contains_key(peer) || is_url || is_host) {
                let what = format!("`{peer}` is no name in [peers], no authority and no URL");
                let remedy = super::reader::suggest(peer, peers.keys().map(String::as_str));
                section.wrong("at_start", what, remedy, report);
            }
        }
        section.finish(report);
        Self { accept: accept.unwrap_or(Accept::All), at_start }
    }
}

impl Federation {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let texts = section.texts("allow_only", report);
        let domain = |text: &String| {
            let domain = Domain::parse(text);
            if domain.is_err() {
                let what = format!("`{text}` is no domain");
                section.wrong(
                    "allow_only",
                    what,
                    "write a host without scheme, port and path: \"events.example\"",
                    report,
                );
            }
            domain.ok()
        };
        let allow_only = texts.map(|texts| texts.iter().filter_map(domain).collect());
        let authorized_fetch = section.flag("authorized_fetch", report).unwrap_or(false);
        let hide_network = section.flag("hide_network", report).unwrap_or(false);
        section.finish(report);
        Self { allow_only, hide_network, authorized_fetch }
    }
}

impl Delivery {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let proofs = section.flag("proofs", report).unwrap_or(false);
        let sign_with = section.word("sign_with", &SIGN_WITH.map(|word| (word, word)), report);
        section.finish(report);
        Self { proofs, sign_with }
    }
}
