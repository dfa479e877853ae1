//! Reads a flow from the configuration: the definition as data, and where each of its parts stands.

use std::collections::BTreeMap;
use std::time::Duration;

use super::definition::{Concurrency, Definition, Kind, Rate, Step};
use super::parse_kinds::{self, YEAR};
use crate::config::mistake::{Place, Report};
use crate::config::reader::{Section, suggest};
use crate::config::tree::{Entry, Node, Shape};
use crate::domains::declare;

/// Where the parts of a definition stand, by paths like `steps.send.after`.
pub type Places<'a> = BTreeMap<String, (&'a Place, &'a Node)>;

/// The words that say what a step does.
const KINDS: [&str; 9] = ["effect", "branch", "each", "suspend", "wait", "all", "call", "http", "ask"];
/// Words that every step may have.
const WORDS: [&str; 7] = ["after", "if", "retry", "timeout", "undo", "with", "otherwise"];
/// Words that targets use, so that no step may be called so.
const RESERVED: [&str; 2] = ["end", "fail"];
/// The most that a bound on instances can say.
const AT_ONCE_MAX: u64 = 1_000_000;

/// The definition as far as it can be read; with a mistake in the report it is not for use.
pub fn read<'a>(name: &str, entry: &'a Entry, report: &mut Report) -> (Definition, Places<'a>) {
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
    let search = section.section("search", report).entries();
    let search = search.filter_map(|(field, entry)| Some((field.to_owned(), text_of(field, entry, report)?))).collect();
    let concurrency = section.has("concurrency").then(|| concurrency(section.section("concurrency", report), report));
    let rate = section.has("rate").then(|| rate(section.section("rate", report), report));
    section.finish(report);
    let mut places = Places::from([(String::new(), (&entry.key, &entry.value))]);
    note_places("", &entry.value, &mut places);
    (Definition { name: name.to_owned(), steps, result, expose, search, concurrency, rate }, places)
}

fn text_of(field: &str, entry: &Entry, report: &mut Report) -> Option<String> {
    let text = entry.value.as_text().map(str::to_owned);
    if text.is_none() {
        let what = format!("`search.{field}` has to be an expression, not {}", entry.value.described());
        report.add(&entry.value.place, field, what, "write it like \"object.id\"");
    }
    text
}

fn concurrency(mut section: Section<'_>, report: &mut Report) -> Concurrency {
    let (key, max) = (section.text("key", report), at_most(&mut section, report));
    section.finish(report);
    Concurrency { key, max }
}

fn rate(mut section: Section<'_>, report: &mut Report) -> Rate {
    let (key, max) = (section.text("key", report), at_most(&mut section, report));
    if !section.has("per") {
        section.required("per", "\"1m\"", report);
    }
    let per = section.span("per", Duration::from_millis(1)..=YEAR, report).map_or(1, millis);
    section.finish(report);
    Rate { key, max, per }
}

fn at_most(section: &mut Section<'_>, report: &mut Report) -> u32 {
    if !section.has("max") {
        section.required("max", "1", report);
    }
    let max = section.integer("max", 1..=AT_ONCE_MAX, report);
    max.and_then(|max| u32::try_from(max).ok()).unwrap_or(1)
}

/// The place of a path, or of the nearest part around it.
pub fn place_of<'a>(places: &Places<'a>, path: &str) -> &'a Place {
    let mut path = path;
    loop {
        if let Some((place, _)) = places.get(path) {
            return place;
        }
        path = path.rsplit_once('.').map_or("", |(around, _)| around);
    }
}

/// The place of a letter of the text at a path.
pub fn letter_of(places: &Places<'_>, path: &str, nth: usize) -> Place {
    places.get(path).map_or_else(|| place_of(places, path).clone(), |(_, node)| node.letter(nth))
}

fn note_places<'a>(prefix: &str, node: &'a Node, places: &mut Places<'a>) {
    let Some(table) = node.as_table() else { return };
    for (key, entry) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let is_table = entry.value.as_table().is_some();
        let place = if is_table { &entry.key } else { &entry.value.place };
        note_places(&path, &entry.value, places);
        if let Shape::List(list) = &entry.value.shape {
            let each = list.iter().enumerate();
            places.extend(each.map(|(index, node)| (format!("{path}.{index}"), (&node.place, node))));
        }
        places.insert(path, (place, &entry.value));
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
    let retries = kind.as_ref().is_some_and(|kind| parse_kinds::goes_out(kind) || parse_kinds::notifies(kind));
    let retry = section.has("retry").then(|| parse_kinds::retry(section.section("retry", report), report));
    let goes_out = kind.as_ref().is_some_and(parse_kinds::goes_out);
    let timeout = match goes_out {
        true => section.span("timeout", Duration::from_millis(1)..=YEAR, report).map(millis),
        false => None,
    };
    let undo = if goes_out { parse_kinds::undo(&mut section, report) } else { None };
    if let (Some(kind), false, true) = (&kind, retries, retry.is_some()) {
        let what = format!("{} is a `{}`, which is never tried again", section.named(), kind.word());
        section.wrong("retry", what, "take it away", report);
    }
    if kind.is_some() {
        section.finish(report);
    }
    // A step that does nothing stands in for one that could not be read, so that others may name it.
    let nothing = || Kind::Branch { on: "true".into(), then: Vec::new(), otherwise: Vec::new() };
    Step { kind: kind.unwrap_or_else(nothing), after, condition, retry, timeout, undo }
}

/// An `each` has an `effect` too, so the order of the words matters.
fn kind(section: &mut Section<'_>, entry: &Entry, report: &mut Report) -> Option<Kind> {
    let said: Vec<&str> = KINDS.into_iter().filter(|it| section.has(it)).collect();
    match said.as_slice() {
        ["each"] => {
            section.required("effect", "\"notify\"", report);
            None
        }
        ["effect", "each"] => Some(parse_kinds::each(section, report)),
        [one] => Some(match *one {
            "branch" => parse_kinds::branch(section, report),
            "suspend" => parse_kinds::suspend(section, report),
            "wait" => parse_kinds::wait(section, report),
            "all" => parse_kinds::all(section, report),
            "call" => parse_kinds::call_flow(section, report),
            "http" => parse_kinds::http(section, report),
            "ask" => parse_kinds::ask(section, report),
            _ => Kind::Effect(parse_kinds::call(section, report)),
        }),
        [] => {
            let strange = section.entries().map(|(key, _)| key).find(|key| !WORDS.contains(key));
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
            let each = several.contains(&"each");
            let remedy = if each { "`each` does an `effect` for each element" } else { "make two steps of it" };
            report.add(&entry.key, &section.path(several[1]), what, remedy);
            None
        }
    }
}

/// A step, several, or `end`, which is none.
pub(super) fn targets(section: &mut Section<'_>, key: &str, report: &mut Report) -> Vec<String> {
    names(section, key, report).unwrap_or_default().into_iter().filter(|target| target != "end").collect()
}

pub(super) fn names(section: &mut Section<'_>, key: &str, report: &mut Report) -> Option<Vec<String>> {
    let node = section.node(key)?;
    let mut names = match node.as_text() {
        Some(name) => vec![name.to_owned()],
        None => section.texts(key, report)?,
    };
    names.sort();
    names.dedup();
    Some(names)
}

pub(super) fn is_signal(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(fits) && name.len() <= 64
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
