//! Which trace a piece of work belongs to (W3C Trace Context): read strictly, bounded, and believed in nothing.
//!
//! What a header says names log lines and requests, so that they can be joined across services. No decision rests on it:
//! anybody can send any trace id, also one that is somebody else's.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

pub const PARENT: &str = "traceparent";
pub const STATE: &str = "tracestate";

/// Letters of a `traceparent` of version 00, and all that is looked at of later ones.
const PARENT_LENGTH: usize = 55;
/// Letters of a `tracestate` that are handed on: what the standard asks for, and no more, since a stranger wrote them.
const STATE_MAX: usize = 512;
/// Members of a `tracestate`.
const MEMBERS_MAX: usize = 32;
/// Letters of a key of a `tracestate`, and of a value.
const PART_MAX: usize = 256;

const SAMPLED: u8 = 1;
/// The trace id was drawn by chance, so that others may sample by it.
const RANDOM: u8 = 2;

/// All the work that one cause has set going, on whatever nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// One piece of that work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// A trace, and the span of it that the next work is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    pub trace: TraceId,
    pub span: SpanId,
    flags: u8,
    /// What vendors hand on, in its own form; empty for none.
    state: String,
}

impl Context {
    /// What the headers of a request say: exactly one `traceparent`, and what of `tracestate` can be read.
    pub fn incoming<'a>(
        parents: impl IntoIterator<Item = &'a str>,
        states: impl IntoIterator<Item = &'a str>,
    ) -> Option<Self> {
        let mut parents = parents.into_iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        let mut context = Self::parse(parent)?;
        let all: Vec<&str> = states.into_iter().collect();
        context.state = members(&all.join(",")).unwrap_or_default();
        Some(context)
    }

    /// A `traceparent`; `None` for what is malformed.
    pub fn parse(parent: &str) -> Option<Self> {
        let bytes = parent.as_bytes();
        let [version] = hex(bytes.get(..2)?)?;
        let whole = match version {
            0 => bytes.len() == PARENT_LENGTH,
            // A later version may say more behind another dash.
            1..=254 => bytes.len() == PARENT_LENGTH || bytes.get(PARENT_LENGTH) == Some(&b'-'),
            255 => false,
        };
        let dashes = [2, 35, 52].iter().all(|place| bytes.get(*place) == Some(&b'-'));
        if !whole || !dashes {
            return None;
        }
        let (trace, span) = (hex(bytes.get(3..35)?)?, hex(bytes.get(36..52)?)?);
        let [flags] = hex(bytes.get(53..PARENT_LENGTH)?)?;
        let context =
            Self { trace: TraceId(trace), span: SpanId(span), flags: flags & (SAMPLED | RANDOM), state: String::new() };
        (trace != [0; 16] && span != [0; 8]).then_some(context)
    }

    /// A trace that begins here.
    pub fn begin(random: [u8; 16]) -> Self {
        let trace = if random == [0; 16] { [1; 16] } else { random };
        let root = Self { trace: TraceId(trace), span: SpanId([1; 8]), flags: RANDOM, state: String::new() };
        root.child("root")
    }

    /// The span of an instance of a flow: a part of the trace in which it began. One that began in none has a trace of
    /// its own, whose id is that of the instance.
    pub fn of_flow(began_in: Option<&Self>, flow: &str) -> Self {
        match began_in {
            Some(context) => context.child(flow),
            None => {
                let named = hex(flow.as_bytes()).filter(|trace| *trace != [0; 16]);
                let trace = named.unwrap_or_else(|| {
                    let digest = Sha256::digest(flow.as_bytes());
                    std::array::from_fn(|place| digest[place])
                });
                let root = Self { trace: TraceId(trace), span: SpanId([1; 8]), flags: 0, state: String::new() };
                root.child(flow)
            }
        }
    }

    /// The span of a try of something that a flow does, by the key of the effect.
    pub fn of_try(&self, key: &str, attempt: u32) -> Self {
        self.child(&format!("{key}/{attempt}"))
    }

    /// A span below this one. The same name gives the same span again: what is done after a crash is what was begun
    /// before it.
    pub fn child(&self, name: &str) -> Self {
        let digest = Sha256::new().chain_update(self.trace.0).chain_update(self.span.0).chain_update(name).finalize();
        let span: [u8; 8] = std::array::from_fn(|place| digest[place]);
        let span = SpanId(if span == [0; 8] { [1; 8] } else { span });
        Self { span, ..self.clone() }
    }

    /// Whether whoever began the trace records it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `traceparent` of a request that this span sends.
    pub fn parent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }

    /// The `tracestate` that goes with it.
    pub fn state(&self) -> Option<&str> {
        (!self.state.is_empty()).then_some(self.state.as_str())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::hex::hex(&self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::hex::hex(&self.0))
    }
}

/// The headers, in one line: `traceparent`, and behind a space `tracestate`.
impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.parent())?;
        self.state().map_or(Ok(()), |state| write!(out, " {state}"))
    }
}

/// 25 bytes and what vendors say where it is stored, since each instance of a flow has one; a line where people read it.
impl Serialize for Context {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() {
            return out.collect_str(self);
        }
        out.serialize_bytes(&[&self.trace.0[..], &self.span.0, &[self.flags], self.state.as_bytes()].concat())
    }
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Context;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the context of a trace")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Context, E> {
                let (parent, state) = text.split_once(' ').unwrap_or((text, ""));
                Context::incoming([parent], [state]).ok_or_else(|| E::custom("no traceparent"))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Context, E> {
                let short = || E::custom("too short for the context of a trace");
                let (trace, rest) = bytes.split_first_chunk().ok_or_else(short)?;
                let (span, rest) = rest.split_first_chunk().ok_or_else(short)?;
                let (flags, state) = rest.split_first().ok_or_else(short)?;
                let state = String::from_utf8(state.to_vec()).map_err(E::custom)?;
                Ok(Context { trace: TraceId(*trace), span: SpanId(*span), flags: *flags, state })
            }
        }
        from.deserialize_any(Either)
    }
}

/// Lower-case hex of exactly so many bytes.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

/// The members of a `tracestate` that are handed on, the newest first; `None` when it breaks a rule, since it then says
/// nothing that can be relied on.
fn members(given: &str) -> Option<String> {
    let mut kept = String::new();
    let mut keys: Vec<&str> = Vec::new();
    for member in given.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MEMBERS_MAX {
            return None;
        }
        keys.push(key);
        // Whole members are left out, the oldest before the others.
        let room = kept.len() + usize::from(!kept.is_empty()) + member.len() <= STATE_MAX;
        if room {
            if !kept.is_empty() {
                kept.push(',');
            }
            kept.push_str(member);
        }
    }
    Some(kept)
}

fn is_key(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let rest = key.bytes().all(|letter| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, b'_' | b'-' | b'*' | b'/' | b'@')
    });
    first && rest && key.len() <= PART_MAX
}

/// Visible letters and spaces between them, no comma and no equals sign.
fn is_value(value: &str) -> bool {
    let visible = value.bytes().all(|letter| matches!(letter, b' '..=b'~') && letter != b',' && letter != b'=');
    visible && !value.is_empty() && !value.ends_with(' ') && value.len() <= PART_MAX
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
