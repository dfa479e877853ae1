//! What a rehearsal says: the flow, what it starts with, what its steps are answered, what people do, how it must end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::expect::Expect;
use crate::clock::Time;
use crate::config::mistake::{Mistake, Place, Report};
use crate::config::reader::{Section, suggest};
use crate::config::tree::{Node, Shape};
use crate::domains::catalog::Catalog;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::expr::Input;

/// The longest span that a story lets pass at once: ten years.
const SPAN_MAX: Duration = Duration::from_secs(3_660 * 86_400);
/// When a rehearsal begins that does not say when: 2026-01-01 in UTC.
const BEGIN: Time = Time(1_767_225_600_000);

/// One rehearsal, as its file says it.
#[derive(Debug, Clone)]
pub struct Script {
    /// Counted from the folder of the file.
    pub config: Option<PathBuf>,
    pub flow: String,
    /// Where that stands.
    pub place: Place,
    pub at: Time,
    /// The clock stops so long after the begin; without it, when nothing is due any more.
    pub lasts: Option<Duration>,
    pub input: Input,
    /// By step, or by step and element as `send/2`.
    pub answers: BTreeMap<String, Answers>,
    pub undos: BTreeMap<String, Answers>,
    pub story: Vec<Act>,
    pub expect: Expect,
}

/// What the tries of a step are answered, one after the other; the last one goes for all later ones.
#[derive(Debug, Clone)]
pub struct Answers {
    pub place: Place,
    pub list: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub takes: Duration,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Result(Value),
    /// Trying again may help.
    Fails {
        reason: String,
        trouble: Option<String>,
    },
    Refused {
        reason: String,
    },
    Silence,
}

/// What somebody does, so long after what was done before.
#[derive(Debug, Clone)]
pub struct Act {
    pub after: Duration,
    pub by: Option<String>,
    pub deed: Deed,
    /// A part of the reason for which it has to be refused.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    Signal {
        signal: String,
        payload: Value,
    },
    Callback {
        step: String,
        payload: Value,
    },
    Cancel {
        reason: String,
    },
    Kill {
        reason: String,
    },
    Retry {
        step: Option<String>,
    },
    Skip {
        step: String,
        result: Value,
    },
    Restart {
        step: String,
        input: Option<Value>,
    },
    Pause,
    Continue,
    /// Time passes.
    Nothing,
}

impl Script {
    /// Reads a file.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn read(text: &str, file: &str) -> Result<Self, Vec<Mistake>> {
        let mut report = Report::new(file);
        let root = Node::parse(text, &mut report);
        if !report.is_empty() {
            return Err(report.into_mistakes());
        }
        let script = Self::of(&root, &mut report);
        if report.is_empty() { Ok(script) } else { Err(report.into_mistakes()) }
    }

    /// The mistake of a flow that the configuration does not have.
    pub fn unknown_flow(&self, catalog: &Catalog, file: &str) -> Vec<Mistake> {
        let mut report = Report::new(file);
        let names: Vec<&str> = catalog.flows().map(|flow| flow.definition.name.as_str()).collect();
        let remedy = suggest(&self.flow, names.into_iter());
        report.add(&self.place, "flow", format!("the configuration has no flow `{}`", self.flow), remedy);
        report.into_mistakes()
    }

    /// Names the steps in it that the flow does not have.
    ///
    /// # Errors
    /// One mistake for each.
    pub fn fits(&self, compiled: &Compiled, file: &str) -> Result<(), Vec<Mistake>> {
        let mut report = Report::new(file);
        let known = || compiled.definition.steps.keys().map(String::as_str);
        let named = self.answers.iter().map(|it| ("answers", it)).chain(self.undos.iter().map(|it| ("undos", it)));
        let named = named.map(|(section, (name, answers))| (format!("{section}.{name}"), name, &answers.place));
        let expected = self.expect.steps.iter();
        let expected = expected.map(|(name, (place, _))| (format!("expect.steps.{name}"), name, place));
        for (path, name, place) in named.chain(expected) {
            let step = name.split('/').next().unwrap_or_default();
            if !compiled.definition.steps.contains_key(step) {
                let what = format!("the flow `{}` has no step `{step}`", self.flow);
                report.add(place, &path, what, suggest(step, known()));
            }
        }
        if report.is_empty() { Ok(()) } else { Err(report.into_mistakes()) }
    }

    fn of(root: &Node, report: &mut Report) -> Self {
        let mut top = Section::of(root, "", report);
        let config = top.text("config", report).map(PathBuf::from);
        let flow = top.required("flow", "\"publish\"", report).unwrap_or_default();
        let place = top.place_of("flow").clone();
        let at = time(&mut top, report);
        let lasts = top.span("lasts", Duration::ZERO..=SPAN_MAX, report);
        let mut value = |key: &str| top.node(key).map(Node::to_json);
        let (input, activity, object, actor) = (value("input"), value("activity"), value("object"), value("actor"));
        let input = input.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        // As it is for a flow that somebody starts by hand.
        let object = object.or_else(|| input.get("object").cloned()).unwrap_or_default();
        let (activity, actor) = (activity.unwrap_or_default(), actor.unwrap_or_default());
        let answers = all_answers(top.section("answers", report), report);
        let undos = all_answers(top.section("undos", report), report);
        let story = story(&mut top, report);
        let expect = Expect::read(top.section("expect", report), report);
        top.finish(report);
        let input = Input { input, activity, object, actor };
        Self { config, flow, place, at, lasts, input, answers, undos, story, expect }
    }
}

fn time(top: &mut Section<'_>, report: &mut Report) -> Time {
    let Some(text) = top.text("at", report) else { return BEGIN };
    let stamp = text.parse::<jiff::Timestamp>().ok();
    match stamp.and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok()) {
        Some(millis) => Time(millis),
        None => {
            top.wrong("at", format!("`at` is `{text}`"), "write it like \"2026-03-01T09:00:00Z\"", report);
            BEGIN
        }
    }
}

fn all_answers(mut section: Section<'_>, report: &mut Report) -> BTreeMap<String, Answers> {
    let mut all = BTreeMap::new();
    for (name, entry) in section.entries() {
        let path = section.path(name);
        let nodes: Vec<&Node> = match &entry.value.shape {
            Shape::List(list) => list.iter().collect(),
            _ => vec![&entry.value],
        };
        if nodes.is_empty() {
            report.add(&entry.key, &path, format!("`{path}` has no answer"), "write { result = … }, or take it away");
        }
        let list = nodes.into_iter().filter_map(|node| answer(node, &path, report)).collect();
        all.insert(name.to_owned(), Answers { place: entry.key.clone(), list });
    }
    all
}

fn answer(node: &Node, path: &str, report: &mut Report) -> Option<Answer> {
    let mut section = Section::of(node, path, report);
    let takes = section.span("takes", Duration::ZERO..=SPAN_MAX, report).unwrap_or_default();
    let result = section.node("result").map(Node::to_json);
    let fails = section.text("fails", report);
    let trouble = section.text("trouble", report);
    let refused = section.text("refused", report);
    let silent = section.flag("silent", report).unwrap_or(false);
    let said: Vec<Said> = [
        result.map(Said::Result),
        fails.map(|reason| Said::Fails { reason, trouble }),
        refused.map(|reason| Said::Refused { reason }),
        silent.then_some(Said::Silence),
    ]
    .into_iter()
    .flatten()
    .collect();
    if said.len() != 1 {
        let what = format!("`{path}` has to say one of result, fails, refused and silent");
        report.add(section.place(), path, what, "write { result = … } or { fails = \"…\" }");
    }
    section.finish(report);
    said.into_iter().next().map(|said| Answer { takes, said })
}

fn story(top: &mut Section<'_>, report: &mut Report) -> Vec<Act> {
    let Some(node) = top.node("story") else { return Vec::new() };
    let Shape::List(list) = &node.shape else {
        top.wrong("story", format!("`story` has to be a list, not {}", node.described()), "write [[story]]", report);
        return Vec::new();
    };
    list.iter().filter_map(|node| act(node, report)).collect()
}

fn act(node: &Node, report: &mut Report) -> Option<Act> {
    let mut section = Section::of(node, "story", report);
    let after = section.span("after", Duration::ZERO..=SPAN_MAX, report).unwrap_or_default();
    let (by, refused) = (section.text("by", report), section.text("refused", report));
    let mut text = |key: &str| section.text(key, report);
    let (signal, callback, skip) = (text("signal"), text("callback"), text("skip"));
    let (cancel, kill, restart) = (text("cancel"), text("kill"), text("restart"));
    let mut value = |key: &str| section.node(key).map(Node::to_json);
    let (payload, result, input) = (value("payload").unwrap_or_default(), value("result"), value("input"));
    let retry = match value("retry") {
        Some(Value::Bool(true)) => Some(None),
        Some(Value::String(step)) => Some(Some(step)),
        Some(_) => {
            section.wrong("retry", "`retry` has to be a step or true", "write retry = true", report);
            None
        }
        None => None,
    };
    let mut flag = |key: &str| section.flag(key, report).unwrap_or(false);
    let (pause, go_on) = (flag("pause"), flag("continue"));
    let mut deeds: Vec<Deed> = [
        signal.map(|signal| Deed::Signal { signal, payload: payload.clone() }),
        callback.map(|step| Deed::Callback { step, payload: payload.clone() }),
        skip.map(|step| Deed::Skip { step, result: result.unwrap_or_default() }),
        cancel.map(|reason| Deed::Cancel { reason }),
        kill.map(|reason| Deed::Kill { reason }),
        restart.map(|step| Deed::Restart { step, input }),
        retry.map(|step| Deed::Retry { step }),
        pause.then_some(Deed::Pause),
        go_on.then_some(Deed::Continue),
    ]
    .into_iter()
    .flatten()
    .collect();
    if deeds.len() > 1 {
        let what = "one part of a story has to be one thing that somebody does";
        report.add(section.place(), "story", what, "write a [[story]] for each");
    }
    section.finish(report);
    Some(Act { after, by, deed: deeds.pop().unwrap_or(Deed::Nothing), refused })
}
