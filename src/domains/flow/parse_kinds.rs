//! Reads what each kind of step says: the words of one kind, and nothing of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::definition::{
    Argument, Call, Deadline, Failures, Header, Http, Kind, Notify, Otherwise, Retry, Undo, Until,
};
use super::parse::{is_signal, millis, names, targets};
use super::request::METHODS;
use super::retry::is_trouble;
use super::until;
use crate::config::mistake::Report;
use crate::config::reader::{Section, parse_span, show_span};
use crate::config::tree::{Entry, Node, Shape};
use crate::domains::declare;

/// Elements of an `each` under way at the same time, when nothing is said and at most.
const PARALLEL: u64 = 4;
const PARALLEL_MAX: u64 = 64;
const ATTEMPTS_MAX: u64 = 1_000;
pub(super) const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// The longest wait for anything: what waits longer is a mistake.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(3_660 * 86_400);
/// The activities that can be asked for.
const VERBS: [&str; 1] = ["allocate"];
/// Headers that no step sets: the key of the effect, and what describes the connection and the body.
const OURS: [&str; 6] =
    ["idempotency-key", "host", "content-length", "connection", "transfer-encoding", "content-digest"];

pub(super) fn call(section: &mut Section<'_>, report: &mut Report) -> Call {
    let effect = section.text("effect", report).unwrap_or_default();
    Call { effect, with: arguments(section, report) }
}

fn arguments(section: &mut Section<'_>, report: &mut Report) -> BTreeMap<String, Argument> {
    let mut with = section.section("with", report);
    with.entries().map(|(name, entry)| (name.to_owned(), argument(&entry.value))).collect()
}

/// Texts are CEL; everything else stands for itself.
fn argument(node: &Node) -> Argument {
    match &node.shape {
        Shape::Text(source) => Argument::Cel(source.clone()),
        Shape::List(list) => Argument::List(list.iter().map(argument).collect()),
        Shape::Table(table) => {
            Argument::Table(table.iter().map(|(key, entry)| (key.clone(), argument(&entry.value))).collect())
        }
        Shape::Integer(_) | Shape::Float(_) | Shape::Bool(_) => Argument::Value(node.to_json()),
    }
}

pub(super) fn branch(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let on = section.text("branch", report).unwrap_or_default();
    if !section.has("then") && !section.has("else") {
        let what = format!("{} goes nowhere", section.named());
        section.wrong("branch", what, "add then = \"STEP\" and else = \"STEP\" or \"end\"", report);
    }
    let then = targets(section, "then", report);
    let otherwise = targets(section, "else", report);
    Kind::Branch { on, then, otherwise }
}

pub(super) fn each(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let list = section.text("each", report).unwrap_or_default();
    let call = call(section, report);
    let parallel = section.integer("parallel", 1..=PARALLEL_MAX, report).unwrap_or(PARALLEL);
    let failures = failures(section, report);
    Kind::Each { list, call, parallel: u32::try_from(parallel).unwrap_or(1), failures }
}

pub(super) fn suspend(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let signal = section.text("suspend", report).unwrap_or_default();
    if section.has("suspend") && !is_signal(&signal) {
        let what = format!("`{signal}` is no name of a signal");
        section.wrong("suspend", what, "use a-z, 0-9, - and _, a letter first", report);
    }
    let Deadline { timeout, otherwise } = deadline(section, report);
    let shape = section.has("shape").then(|| declare::fields(section.section("shape", report), report));
    let assignee = section.text("assignee", report);
    let notify = notify(section, report);
    Kind::Suspend { signal, timeout, otherwise, shape, assignee, notify }
}

/// A URL that is posted what waits, or an effect.
fn notify(section: &mut Section<'_>, report: &mut Report) -> Option<Notify> {
    let node = section.node("notify")?;
    if node.as_text().is_some() {
        return section.url("notify", report).map(|url| Notify::Webhook(url.to_string()));
    }
    let mut inner = section.section("notify", report);
    inner.required("effect", "\"notify\"", report);
    let call = call(&mut inner, report);
    inner.finish(report);
    Some(Notify::Effect(call))
}

/// `timeout` and `otherwise` of a step that waits for others.
fn deadline(section: &mut Section<'_>, report: &mut Report) -> Deadline {
    let timeout = section.span("timeout", Duration::from_millis(1)..=WAIT_MAX, report).map(millis);
    Deadline { timeout, otherwise: otherwise(section, report) }
}

fn otherwise(section: &mut Section<'_>, report: &mut Report) -> Otherwise {
    let fails = section.node("otherwise").is_none_or(|node| node.as_text() == Some("fail"));
    if fails { Otherwise::Fail } else { Otherwise::Steps(targets(section, "otherwise", report)) }
}

/// A duration, or CEL that gives one or a time.
pub(super) fn wait(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let text = section.text("wait", report).unwrap_or_default();
    let zone = section.text("zone", report);
    if let Some(zone) = &zone
        && until::zone(zone).is_none()
    {
        let what = format!("`{zone}` is no time zone");
        section.wrong("zone", what, "write its name in the IANA data base, such as \"Europe/Berlin\"", report);
    }
    let Some(span) = parse_span(text.trim()) else { return Kind::Wait(Until::At { cel: text, zone }) };
    if zone.is_some() {
        section.wrong("zone", "a duration has no time zone", "take it away", report);
    }
    if span > WAIT_MAX {
        let what = format!("`wait` is {}, at most {} are allowed", text.trim(), show_span(WAIT_MAX));
        section.wrong("wait", what, "", report);
    }
    Kind::Wait(Until::Span(millis(span)))
}

pub(super) fn all(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let of = names(section, "all", report).unwrap_or_default();
    if of.is_empty() {
        section.wrong(
            "all",
            format!("{} waits for nothing", section.named()),
            "write all = [\"left\", \"right\"]",
            report,
        );
    }
    Kind::All { of, failures: failures(section, report) }
}

fn failures(section: &mut Section<'_>, report: &mut Report) -> Failures {
    let words = [("stop", Failures::Stop), ("collect", Failures::Collect)];
    section.word("failures", &words, report).unwrap_or_default()
}

pub(super) fn call_flow(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let flow = section.text("call", report).unwrap_or_default();
    let with = arguments(section, report);
    Kind::Call { flow, with, deadline: deadline(section, report) }
}

pub(super) fn ask(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let verb = section.text("ask", report).unwrap_or_default();
    if !VERBS.contains(&verb.as_str()) {
        section.wrong("ask", format!("`{verb}` cannot be asked"), format!("known are {}", VERBS.join(", ")), report);
    }
    let object = section.required("object", "\"object.id\"", report).unwrap_or_else(missing);
    let target =
        section.required("target", "\"'https://events.example/calendars/main'\"", report).unwrap_or_else(missing);
    let to = section.required("to", "\"'https://events.example/actor'\"", report).unwrap_or_else(missing);
    let undo_timeout = section.span("undo_timeout", Duration::from_millis(1)..=YEAR, report).map(millis);
    Kind::Ask { verb, object, target, to, deadline: deadline(section, report), undo_timeout }
}

pub(super) fn http(section: &mut Section<'_>, report: &mut Report) -> Kind {
    Kind::Http(Box::new(request(section, report)))
}

fn request(section: &mut Section<'_>, report: &mut Report) -> Http {
    let methods = METHODS.map(|method| (method, method));
    let method = section.word("http", &methods, report).unwrap_or("POST").to_owned();
    let url = section.required("url", "\"'https://api.example/orders'\"", report).unwrap_or_else(missing);
    let mut named = section.section("headers", report);
    let headers =
        named.entries().map(|(name, entry)| (name.to_ascii_lowercase(), header(name, entry, report))).collect();
    let body = section.node("body").map(argument);
    Http { method, url, headers, body, ok: statuses(section, report), callback: callback(section, report) }
}

/// Stands in for an expression that has been missed, so that it is missed once.
fn missing() -> String {
    "null".into()
}

/// CEL, or a secret by its name.
fn header(name: &str, entry: &Entry, report: &mut Report) -> Header {
    let path = format!("headers.{name}");
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if name.is_empty() || !name.chars().all(fits) {
        report.add(&entry.key, &path, format!("`{name}` is no name of a header"), "use letters, digits and -");
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        report.add(&entry.key, &path, format!("the header `{name}` is set by the node itself"), "take it away");
    }
    if let Some(source) = entry.value.as_text() {
        return Header::Cel(source.to_owned());
    }
    let mut section = Section::of(&entry.value, &path, report);
    let secret = section.required("secret", "\"NAME\"", report).unwrap_or_default();
    let prefix = section.text("prefix", report).unwrap_or_default();
    section.finish(report);
    Header::Secret { secret, prefix }
}

/// A list of statuses; `2xx`, which is what no list means.
fn statuses(section: &mut Section<'_>, report: &mut Report) -> Vec<u16> {
    let Some(node) = section.node("ok") else { return Vec::new() };
    let status = |node: &Node| match node.shape {
        Shape::Integer(number) => u16::try_from(number).ok().filter(|status| (200..600).contains(status)),
        _ => None,
    };
    let read = match &node.shape {
        Shape::Text(text) if text == "2xx" => Some(Vec::new()),
        Shape::List(list) => list.iter().map(status).collect(),
        _ => status(node).map(|one| vec![one]),
    };
    if read.is_none() {
        section.wrong("ok", "`ok` has to be \"2xx\" or a list of statuses", "write ok = [200, 201]", report);
    }
    read.unwrap_or_default()
}

/// `true` waits for ever, a duration so long.
fn callback(section: &mut Section<'_>, report: &mut Report) -> Option<Deadline> {
    let timeout = match section.node("callback").map(|node| &node.shape) {
        Some(Shape::Bool(true)) => None,
        Some(Shape::Bool(false)) | None => return None,
        Some(_) => Some(section.span("callback", Duration::from_millis(1)..=WAIT_MAX, report).map_or(0, millis)),
    };
    Some(Deadline { timeout, otherwise: otherwise(section, report) })
}

/// `true`, an effect by name, an effect with parameters, or a request.
pub(super) fn undo(section: &mut Section<'_>, report: &mut Report) -> Option<Undo> {
    let node = section.node("undo")?;
    match &node.shape {
        Shape::Bool(true) => Some(Undo::Own),
        Shape::Bool(false) => None,
        Shape::Text(effect) => Some(Undo::Effect(Call { effect: effect.clone(), with: BTreeMap::new() })),
        _ => {
            let mut inner = section.section("undo", report);
            let undo = match inner.has("http") {
                true => Undo::Http(Box::new(request(&mut inner, report))),
                false => {
                    inner.required("effect", "\"EFFECT\"", report);
                    Undo::Effect(call(&mut inner, report))
                }
            };
            if matches!(&undo, Undo::Http(http) if http.callback.is_some()) {
                inner.wrong("callback", "an undo waits for no callback", "take it away", report);
            }
            inner.finish(report);
            Some(undo)
        }
    }
}

/// Whether its tries leave the flow, so that they can fail, take too long and be taken back.
pub(super) fn goes_out(kind: &Kind) -> bool {
    matches!(kind, Kind::Effect(_) | Kind::Each { .. } | Kind::Http(_))
}

/// Whether something beside its own doing is tried again: telling that it waits, or taking it back.
pub(super) fn notifies(kind: &Kind) -> bool {
    matches!(kind, Kind::Suspend { notify: Some(_), .. } | Kind::Call { .. } | Kind::Ask { .. })
}

pub(super) fn retry(mut section: Section<'_>, report: &mut Report) -> Retry {
    let usual = Retry::default();
    let range = Duration::ZERO..=YEAR;
    let attempts = section.integer("attempts", 1..=ATTEMPTS_MAX, report).and_then(|it| u32::try_from(it).ok());
    let delay = section.span("delay", range.clone(), report).map(millis);
    let max = section.span("max", range, report).map(millis);
    let factor = section.number("factor", report).unwrap_or(usual.factor);
    if !(1.0..=100.0).contains(&factor) {
        section.wrong("factor", format!("`factor` is {factor}, it has to be 1 to 100"), "", report);
    }
    let jitter = section.number("jitter", report).unwrap_or(usual.jitter);
    if !(0.0..=1.0).contains(&jitter) {
        section.wrong("jitter", format!("`jitter` is {jitter}, it has to be 0 to 1"), "", report);
    }
    let on = names(&mut section, "on", report).unwrap_or_default();
    if let Some(strange) = on.iter().find(|word| !is_trouble(word)) {
        let remedy = "known are timeout, unreachable, 4xx, 5xx and statuses such as 429";
        section.wrong("on", format!("`{strange}` is no failure"), remedy, report);
    }
    section.finish(report);
    Retry {
        attempts: attempts.unwrap_or(usual.attempts),
        delay: delay.unwrap_or(usual.delay),
        factor,
        max: max.unwrap_or(usual.max),
        jitter,
        on,
    }
}
