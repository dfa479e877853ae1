//! Reads a flow from the configuration: the definition as data, and where each of its parts stands.

use std::collections::BTreeMap;
use std::time::Duration;

use super::definition::{Argument, Call, Definition, Failures, Kind, Otherwise, Retry, Step};
use crate::config::mistake::{Place, Report};
use crate::config::reader::{Section, suggest};
use crate::config::tree::{Entry, Node, Shape};
use crate::domains::declare;

/// Where the parts of a definition stand, by paths like `steps.send.after`.
pub type Places = BTreeMap<String, Place>;

/// The words that say what a step does.
const KINDS: [&str; 4] = ["effect", "branch", "each", "suspend"];
/// Words that targets use, so that no step may be called so.
const RESERVED: [&str; 2] = ["end", "fail"];
/// Elements of an `each` under way at the same time, when nothing is said and at most.
const PARALLEL: u64 = 4;
const PARALLEL_MAX: u64 = 64;
const ATTEMPTS_MAX: u64 = 1_000;
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// The definition as far as it can be read; with a mistake in the report it is not for use.
pub fn read(name: &str, entry: &Entry, report: &mut Report) -> (Definition, Places) {
    let path = format!("flow.{name}");
    if !declare::is_name(name) {
        let what = format!("the flow `{name}` has a name that no path can have");
        report.add(&entry.key, &path, what, "use a-z, 0-9 and -, a letter first");
    }
    let mut section = Section::of(&entry.value, &path, report);
    let mut steps = BTreeMap::new();
    for (step, entry) in section.section("steps", report).entries() {
        steps.insert(step.to_owned(), one_step(step, entry, &format!("{path}.steps.{step}"), report));
    }
    let result = section.text("result", report);
    let expose = section.flag("expose", report).unwrap_or(false);
    section.finish(report);
    let mut places = Places::from([(String::new(), entry.key.clone())]);
    note_places("", &entry.value, &mut places);
    (Definition { name: name.to_owned(), steps, result, expose }, places)
}

/// The place of a path, or of the nearest part around it.
pub fn place_of<'a>(places: &'a Places, path: &str) -> &'a Place {
    let mut path = path;
    loop {
        if let Some(place) = places.get(path) {
            return place;
        }
        path = path.rsplit_once('.').map_or("", |(around, _)| around);
    }
}

fn note_places(prefix: &str, node: &Node, places: &mut Places) {
    let Some(table) = node.as_table() else { return };
    for (key, entry) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let is_table = entry.value.as_table().is_some();
        let place = if is_table { &entry.key } else { &entry.value.place };
        note_places(&path, &entry.value, places);
        if let Shape::List(list) = &entry.value.shape {
            let each = list.iter().enumerate();
            places.extend(each.map(|(index, node)| (format!("{path}.{index}"), node.place.clone())));
        }
        places.insert(path, place.clone());
    }
}

fn one_step(name: &str, entry: &Entry, path: &str, report: &mut Report) -> Step {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.chars().all(fits) || name.len() > 64 {
        let what = format!("the step `{name}` has a name that results.{name} could not say");
        report.add(&entry.key, path, what, "use a-z, 0-9 and _, a letter first");
    }
    if RESERVED.contains(&name) {
        report.add(&entry.key, path, format!("no step can be called `{name}`: targets use the word"), "rename it");
    }
    let mut section = Section::of(&entry.value, path, report);
    let after = names(&mut section, "after", report).unwrap_or_default();
    let condition = section.text("if", report);
    let kind = kind(&mut section, entry, report);
    let retry = if matches!(kind, Some(Kind::Effect(_) | Kind::Each { .. })) {
        section.node("retry").map(|_| retry(section.section("retry", report), report))
    } else {
        None
    };
    if kind.is_some() {
        section.finish(report);
    }
    // A step that does nothing stands in for one that could not be read, so that others may name it.
    let nothing = || Kind::Branch { on: "true".into(), then: Vec::new(), otherwise: Vec::new() };
    Step { kind: kind.unwrap_or_else(nothing), after, condition, retry }
}

/// An `each` has an `effect` too, so the order of the words matters.
fn kind(section: &mut Section<'_>, entry: &Entry, report: &mut Report) -> Option<Kind> {
    let said: Vec<&str> = ["each", "branch", "suspend", "effect"].into_iter().filter(|it| section.has(it)).collect();
    match said.as_slice() {
        ["each"] => {
            section.required("effect", "\"notify\"", report);
            None
        }
        ["each", "effect"] => Some(each(section, report)),
        ["branch"] => Some(branch(section, report)),
        ["suspend"] => Some(suspend(section, report)),
        ["effect"] => Some(Kind::Effect(call(section, report))),
        [] => {
            let strange =
                section.entries().map(|(key, _)| key).find(|key| !["after", "if", "retry", "with"].contains(key));
            let remedy = match strange {
                Some(word) => format!("`{word}` is none; {}", suggest(word, KINDS.into_iter())),
                None => format!("it does one of {}", KINDS.join(", ")),
            };
            report.add(
                &entry.key,
                &section.path(""),
                format!("{} does nothing that is known", section.named()),
                remedy,
            );
            None
        }
        several => {
            let what = format!("{} is {} at once", section.named(), several.join(" and "));
            report.add(&entry.key, &section.path(several[1]), what, "make two steps of it");
            None
        }
    }
}

fn call(section: &mut Section<'_>, report: &mut Report) -> Call {
    let effect = section.text("effect", report).unwrap_or_default();
    let mut with = section.section("with", report);
    let with = with.entries().map(|(name, entry)| (name.to_owned(), argument(&entry.value))).collect();
    Call { effect, with }
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

fn branch(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let on = section.text("branch", report).unwrap_or_default();
    if !section.has("then") && !section.has("else") {
        let what = format!("{} goes nowhere", section.named());
        section.wrong("branch", what, "add then = \"STEP\" and else = \"STEP\" or \"end\"", report);
    }
    let then = targets(section, "then", report);
    let otherwise = targets(section, "else", report);
    Kind::Branch { on, then, otherwise }
}

fn each(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let list = section.text("each", report).unwrap_or_default();
    let call = call(section, report);
    let parallel = section.integer("parallel", 1..=PARALLEL_MAX, report).unwrap_or(PARALLEL);
    let words = [("stop", Failures::Stop), ("collect", Failures::Collect)];
    let failures = section.word("failures", &words, report).unwrap_or_default();
    Kind::Each { list, call, parallel: u32::try_from(parallel).unwrap_or(1), failures }
}

fn suspend(section: &mut Section<'_>, report: &mut Report) -> Kind {
    let signal = section.text("suspend", report).unwrap_or_default();
    if section.has("suspend") && !is_signal(&signal) {
        let what = format!("`{signal}` is no name of a signal");
        section.wrong("suspend", what, "use a-z, 0-9, - and _, a letter first", report);
    }
    let timeout = section.span("timeout", Duration::from_millis(1)..=YEAR * 10, report).map(millis);
    let fails = section.node("otherwise").is_none_or(|node| node.as_text() == Some("fail"));
    let otherwise = if fails { Otherwise::Fail } else { Otherwise::Steps(targets(section, "otherwise", report)) };
    let shape = section.has("shape").then(|| declare::fields(section.section("shape", report), report));
    Kind::Suspend { signal, timeout, otherwise, shape }
}

fn retry(mut section: Section<'_>, report: &mut Report) -> Retry {
    let usual = Retry::default();
    let range = Duration::ZERO..=YEAR;
    let attempts = section.integer("attempts", 1..=ATTEMPTS_MAX, report).and_then(|it| u32::try_from(it).ok());
    let delay = section.span("delay", range.clone(), report).map(millis);
    let max = section.span("max", range, report).map(millis);
    let factor = section.number("factor", report).unwrap_or(usual.factor);
    if !(1.0..=100.0).contains(&factor) {
        section.wrong("factor", format!("`factor` is {factor}, it has to be 1 to 100"), "", report);
    }
    section.finish(report);
    Retry {
        attempts: attempts.unwrap_or(usual.attempts),
        delay: delay.unwrap_or(usual.delay),
        factor,
        max: max.unwrap_or(usual.max),
    }
}

/// A step, several, or `end`, which is none.
fn targets(section: &mut Section<'_>, key: &str, report: &mut Report) -> Vec<String> {
    names(section, key, report).unwrap_or_default().into_iter().filter(|target| target != "end").collect()
}

fn names(section: &mut Section<'_>, key: &str, report: &mut Report) -> Option<Vec<String>> {
    let node = section.node(key)?;
    let mut names = match node.as_text() {
        Some(name) => vec![name.to_owned()],
        None => section.texts(key, report)?,
    };
    names.sort();
    names.dedup();
    Some(names)
}

fn is_signal(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(fits) && name.len() <= 64
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
