//! Which signature somebody would take (`Accept-Signature`, RFC 9421 section 5.1): what we ask for, and what we make of
//! what others ask for.

use std::time::Duration;

use sfv::{BareItem, Dictionary, InnerList, Integer, ListEntry};

use super::sign::{key, text};
use super::signature::{Demand, SignatureInput, dictionary};
use super::signers::Pen;
use super::transport::{Request, Response};
use crate::actors::scheme::Scheme;
use crate::clock::Time;

/// Characters of what others ask for; honest ones take two lines.
const TEXT_MAX: usize = 4_096;
/// How long a signature stays good that is to have an end.
const EXPIRES_AFTER: Duration = Duration::from_secs(300);

/// What this node demands of a request, as it says beside a refusal.
pub fn wanted(with_body: bool, with_key: bool) -> String {
    let body = if with_body { " \"content-digest\" \"content-type\"" } else { "" };
    let key = if with_key { " \"idempotency-key\"" } else { "" };
    format!("sig=(\"@method\" \"@target-uri\"{body}{key});created")
}

/// The request signed as its receiver asked for it, with the key that this takes; none when nothing was asked for, or
/// nothing that this node can make and would believe itself.
pub fn answer(refusal: &Response, pen: &Pen, request: &Request, now: Time) -> Option<(Scheme, Request)> {
    let asked = refusal.header("accept-signature").filter(|asked| asked.len() <= TEXT_MAX)?;
    let asked: Dictionary = dictionary("accept-signature", asked).ok()?;
    let request = request.clone().digested();
    asked.into_iter().find_map(|(label, entry)| {
        let ListEntry::InnerList(list) = entry else { return None };
        let (scheme, params) = params(&list, pen, now)?;
        let input = SignatureInput::new(InnerList::with_params(list.items, params)).ok()?;
        let demand = Demand { body: !request.body.is_empty(), fields: &[], window: EXPIRES_AFTER };
        input.check(demand, now).ok()?;
        let signed = pen.own(scheme).sign_input(label.as_str(), &input, request.clone()).ok()?;
        Some((scheme, signed))
    })
}

/// The parameters of a signature as it is asked for, and the key that makes it; none for one that is not ours to make.
fn params(list: &InnerList, pen: &Pen, now: Time) -> Option<(Scheme, sfv::Parameters)> {
    let seconds = |time: Time| Integer::try_from(time.seconds()).map(BareItem::Integer).ok();
    let (mut scheme, mut algorithm) = (None, None);
    let mut params = sfv::Parameters::new();
    params.insert(key("created"), seconds(now)?);
    for (name, value) in &list.params {
        match (name.as_str(), value) {
            ("created", BareItem::Boolean(true)) => {}
            ("expires", BareItem::Boolean(true)) => {
                drop(params.insert(key("expires"), seconds(now.plus(EXPIRES_AFTER))?))
            }
            ("keyid", BareItem::String(id)) => scheme = Some(pen.scheme_of(id.as_str())?),
            ("alg", BareItem::String(name)) => algorithm = Some(scheme_for(name.as_str())?),
            ("nonce" | "tag", value @ BareItem::String(_)) => drop(params.insert(name.clone(), value.clone())),
            _ => return None,
        }
    }
    // Everybody who speaks of signatures at all checks RSA.
    let wanted = scheme.or(algorithm).unwrap_or(Scheme::Rsa);
    if algorithm.is_some_and(|algorithm| algorithm != wanted) {
        return None;
    }
    params.insert(key("keyid"), text(pen.own(wanted).key_id.as_str()));
    Some((wanted, params))
}

fn scheme_for(algorithm: &str) -> Option<Scheme> {
    match algorithm {
        "ed25519" => Some(Scheme::Ed25519),
        "rsa-v1_5-sha256" => Some(Scheme::Rsa),
        _ => None,
    }
}
