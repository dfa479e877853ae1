//! Functions that make long texts, or lists, of short ones: what they make is counted before it is made.
//!
//! A dozen `replace` in a row would otherwise come to more bytes than any machine has.

use cel::common::ast::{CallExpr, Expr, operators};
use cel::{ExecutionError, Value as Cel};

use super::seek;

/// What an element of a list takes beside its text.
const ELEMENT_BYTES: usize = 40;

/// The functions by the names that sources use, with those that they have here. `@` keeps ours out of reach of sources.
pub(super) const OURS: [(&str, &str, Made); 4] = [
    (operators::ADD, "@add", add),
    ("replace", "@replace", replace),
    ("split", "@split", split),
    ("join", "@join", join),
];

/// Whether there is room for so many bytes more.
pub(super) type Room<'a> = &'a dyn Fn(usize) -> Result<(), ExecutionError>;
/// What a function gives, the receiver being its first argument.
pub(super) type Made = fn(&[Cel], Room<'_>) -> Result<Cel, ExecutionError>;

/// What is called instead.
pub(super) fn instead_of(call: &CallExpr) -> Option<&'static str> {
    // A macro adds each element to its result, which is a name that no source can write.
    let gathers =
        matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
    OURS.iter().chain(&seek::OURS).find(|(name, ..)| *name == call.func_name && !gathers).map(|(_, ours, _)| *ours)
}

/// `one + other`
fn add(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    match arguments {
        [Cel::String(one), Cel::String(other)] => {
            room(one.len() + other.len())?;
            Ok(Cel::String([one.as_str(), other.as_str()].concat().into()))
        }
        [Cel::Bytes(one), Cel::Bytes(other)] => {
            room(one.len() + other.len())?;
            Ok(Cel::Bytes([one.as_slice(), other.as_slice()].concat().into()))
        }
        [Cel::List(one), Cel::List(other)] => {
            room((one.len() + other.len()).saturating_mul(ELEMENT_BYTES))?;
            Ok(Cel::List([one.as_slice(), other.as_slice()].concat().into()))
        }
        [one, other] => one.clone() + other.clone(),
        other => Err(misfit("+", other)),
    }
}

/// `text.replace(from, to)`, and with how many at most.
fn replace(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    let (text, from, to, most) = match arguments {
        [Cel::String(text), Cel::String(from), Cel::String(to)] => (text, from, to, usize::MAX),
        [Cel::String(text), Cel::String(from), Cel::String(to), Cel::Int(most)] => (text, from, to, bound(*most)),
        other => return Err(misfit("replace", other)),
    };
    let found = text.matches(from.as_str()).take(most).count();
    room(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(Cel::String(text.replacen(from.as_str(), to, most).into()))
}

/// `text.split(separator)`, and into how many parts at most; the last one is the rest.
fn split(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    let (text, separator, most) = match arguments {
        [Cel::String(text), Cel::String(separator)] => (text, separator, usize::MAX),
        [Cel::String(text), Cel::String(separator), Cel::Int(most)] => (text, separator, bound(*most)),
        other => return Err(misfit("split", other)),
    };
    let parts = match separator.is_empty() {
        true => text.chars().count(),
        false => text.matches(separator.as_str()).count() + 1,
    };
    room(text.len().saturating_add(parts.min(most).saturating_mul(ELEMENT_BYTES)))?;
    let part = |part: &str| Cel::String(part.to_owned().into());
    let parts: Vec<Cel> = match (most.checked_sub(1), separator.is_empty()) {
        (None, _) => Vec::new(),
        (Some(_), false) => text.splitn(most, separator.as_str()).map(part).collect(),
        (Some(single), true) => {
            let end = text.char_indices().nth(single).map_or(text.len(), |(at, _)| at);
            let (head, rest) = text.split_at(end);
            let letters = head.chars().map(|letter| Cel::String(letter.to_string().into()));
            letters.chain((!rest.is_empty()).then(|| part(rest))).collect()
        }
    };
    Ok(Cel::List(parts.into()))
}

/// `list.join()`, or with what stands between.
fn join(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    let (list, between) = match arguments {
        [Cel::List(list)] => (list, ""),
        [Cel::List(list), Cel::String(between)] => (list, between.as_str()),
        other => return Err(misfit("join", other)),
    };
    let text = |item: &Cel| match item {
        Cel::String(text) => Ok(text.clone()),
        _ => Err(misfit("join", arguments)),
    };
    let texts = list.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = texts.iter().map(|text| text.len() + between.len()).sum();
    room(bytes)?;
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    Ok(Cel::String(texts.join(between).into()))
}

/// A number below zero is no bound.
fn bound(most: i64) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}

pub(super) fn misfit(function: &str, arguments: &[Cel]) -> ExecutionError {
    let types = arguments.iter().map(|argument| argument.type_of().to_string()).collect();
    ExecutionError::no_such_member_overload(function, types)
}
