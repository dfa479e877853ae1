//! The picture of an instance: its steps and the ways between them as SVG, with where each stands.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use crate::domains::flow::check::Compiled;
use crate::domains::flow::fact::Skip;
use crate::domains::flow::graph::{By, Way};
use crate::domains::flow::ledger::Side;
use crate::domains::flow::progress::{ItemState, Progress, StepState};

mod layout;

use layout::{Graph, HEIGHT, WIDTH, lay_out};

const STYLE: &str = include_str!("picture/style.css");
/// Letters of a name that fit into a box.
const NAME_MAX: usize = 22;
const STATE_MAX: usize = 28;
/// Letters of what is said when somebody points at a box.
const TOLD_MAX: usize = 400;

/// Where a step stands, for the eye: the class that colours it, the words in its box, and what is told of it.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    class: &'static str,
    words: String,
    told: String,
}

/// The picture of an instance; it stands in a page, and by itself.
pub fn draw(compiled: &Compiled, progress: &Progress) -> Markup {
    let place: BTreeMap<&str, usize> =
        compiled.order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut ways: Vec<(&Way, usize, usize)> = Vec::new();
    for (at, name) in compiled.order.iter().enumerate() {
        let into = compiled.steps.get(name).map(|step| step.ways.as_slice()).unwrap_or_default();
        ways.extend(into.iter().filter_map(|way| Some((way, *place.get(way.from.as_str())?, at))));
    }
    let graph = Graph { boxes: compiled.order.len(), ways: ways.iter().map(|(_, from, to)| (*from, *to)).collect() };
    let layout = lay_out(&graph);
    let (width, height) = (layout.width, layout.height);
    html! {
        svg.picture xmlns="http://www.w3.org/2000/svg" role="img" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) {
            title { "The steps of " (compiled.definition.name) }
            style { (PreEscaped(STYLE)) }
            @for ((way, ..), points) in ways.iter().zip(&layout.ways) {
                (drawn_way(way, points, progress))
            }
            @for (name, (x, y)) in compiled.order.iter().zip(&layout.boxes) {
                (drawn_box(compiled, progress, name, *x, *y))
            }
        }
    }
}

fn drawn_way(way: &Way, points: &[(f64, f64)], progress: &Progress) -> Markup {
    let class = match openness(way, progress) {
        None => "ahead-way",
        Some(true) => "taken",
        Some(false) => "shut",
    };
    let word = match way.by {
        By::Then => "then",
        By::Else => "else",
        By::TimeOut => "too late",
        By::After | By::Join => "",
    };
    let (label_x, label_y) = middle(points);
    let Some((tip_x, tip_y)) = points.last().copied() else { return html! {} };
    html! {
        path class={ "way " (class) } d=(curve(points)) {}
        path class={ "head " (class) } d={ "M" (tip_x) " " (tip_y) "l-4.5 -8h9z" } {}
        @if !word.is_empty() { text.by x=(label_x) y=(label_y) text-anchor="middle" { (word) } }
    }
}

/// Falls out of a box, swings over between layers, and falls through the lanes of those that it passes.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (nth, (x, y)) in points.iter().enumerate() {
        match nth {
            0 => path += &format!("M{x} {y}"),
            _ if nth % 2 == 1 => {
                let (from_x, from_y) = points[nth - 1];
                let bend = (y - from_y) / 2.0;
                path += &format!("C{from_x} {} {x} {} {x} {y}", from_y + bend, y - bend);
            }
            _ => path += &format!("L{x} {y}"),
        }
    }
    path
}

/// Where the word of a way stands: half way of its first swing.
fn middle(points: &[(f64, f64)]) -> (f64, f64) {
    match points {
        [(x, y), (to_x, to_y), ..] => (f64::midpoint(*x, *to_x), f64::midpoint(*y, *to_y) + 2.0),
        _ => (0.0, 0.0),
    }
}

/// Whether the way was taken; `None` while that is not known.
fn openness(way: &Way, progress: &Progress) -> Option<bool> {
    let from = progress.steps.get(&way.from).filter(|state| state.settled())?;
    let taken = |wanted: bool| matches!(from, StepState::Branched { taken } if taken.as_bool() == Some(wanted));
    Some(match way.by {
        By::Then => taken(true),
        By::Else => taken(false),
        By::TimeOut => matches!(from, StepState::TimedOut),
        By::Join => true,
        By::After => !matches!(
            from,
            StepState::TimedOut
                | StepState::Failed { .. }
                | StepState::Skipped { why: Skip::NotReached | Skip::Failed }
        ),
    })
}

fn drawn_box(compiled: &Compiled, progress: &Progress, name: &str, x: f64, y: f64) -> Markup {
    let kind = compiled.definition.steps.get(name).map_or("", |step| step.kind.word());
    let Look { class, words, told } = look(name, progress);
    html! {
        g class=(class) transform={ "translate(" (x) " " (y) ")" } {
            title { (plain(name, TOLD_MAX)) " (" (kind) "): " (words) @if !told.is_empty() { ". " (plain(&told, TOLD_MAX)) } }
            rect.box width=(WIDTH) height=(HEIGHT) rx="7" {}
            rect.mark width="6" height=(HEIGHT - 14.0) x="7" y="7" rx="3" {}
            text.name x="22" y="23" { (plain(name, NAME_MAX)) }
            text.state x="22" y="41" { (plain(&format!("{kind} · {words}"), STATE_MAX)) }
        }
    }
}

fn look(name: &str, progress: &Progress) -> Look {
    let entries = || progress.ledger.iter().filter(|entry| entry.step == name && entry.undo != Side::Pending);
    let told = entries().find_map(|entry| match &entry.undo {
        Side::Stuck { reason, .. } => Some(("stuck", "undo stuck", reason.as_str())),
        _ => None,
    });
    let under_way = || entries().any(|entry| entry.undo.under_way()).then_some(("undoing", "being undone", ""));
    let run = progress.run_of(name);
    let undone = || {
        let done = |entry: &&crate::domains::flow::ledger::Entry| entry.run == run && entry.undo.over();
        entries().any(|entry| done(&entry)).then_some(("undone", "undone", ""))
    };
    if let Some((class, words, told)) = told.or_else(under_way).or_else(undone) {
        return Look { class, words: words.to_owned(), told: told.to_owned() };
    }
    let Some(state) = progress.steps.get(name) else {
        return Look { class: "ahead", words: "not begun".into(), told: String::new() };
    };
    let (class, words, told) = match state {
        StepState::Skipped { why: Skip::Condition } => ("skipped", "passed over".to_owned(), String::new()),
        StepState::Skipped { .. } => ("skipped", "not reached".to_owned(), String::new()),
        StepState::Running { asked: true, .. } => ("running", "for an answer".to_owned(), String::new()),
        StepState::Running { attempt: 1, .. } => ("running", "running".to_owned(), String::new()),
        StepState::Running { attempt, .. } => ("running", format!("running, try {attempt}"), String::new()),
        StepState::Retrying { attempt, reason, at } => {
            ("retrying", format!("retrying after {attempt}"), format!("again at {at}: {reason}"))
        }
        StepState::Paused { attempt, reason } => ("paused", format!("paused after {attempt}"), reason.clone()),
        StepState::Failed { reason } => ("failed", "failed".to_owned(), reason.clone()),
        StepState::Waiting { signal, until, .. } => {
            ("waiting", format!("for {signal}"), until.map(|until| format!("until {until}")).unwrap_or_default())
        }
        StepState::Sleeping { until } => ("waiting", "sleeping".to_owned(), format!("until {until}")),
        StepState::Awaiting { .. } => ("waiting", "for a callback".to_owned(), String::new()),
        StepState::TimedOut => ("failed", "too late".to_owned(), String::new()),
        StepState::Branched { taken } => {
            ("done", if taken.as_bool() == Some(true) { "then" } else { "else" }.to_owned(), String::new())
        }
        StepState::Each { items, states } => each(items.len(), states),
        StepState::Done { .. } => ("done", "done".to_owned(), String::new()),
    };
    Look { class, words, told }
}

fn each(all: usize, states: &[ItemState]) -> (&'static str, String, String) {
    let count = |is: fn(&ItemState) -> bool| states.iter().filter(|state| is(state)).count();
    let done = count(|state| matches!(state, ItemState::Done { .. }));
    let paused = count(|state| matches!(state, ItemState::Paused { .. }));
    let retrying = count(|state| matches!(state, ItemState::Retrying { .. }));
    let failed = count(|state| matches!(state, ItemState::Failed { .. }));
    let told = format!("{done} done, {failed} failed, {retrying} retrying, {paused} paused of {all}");
    let class = match (paused, retrying) {
        (1.., _) => "paused",
        (0, 1..) => "retrying",
        (0, 0) => "running",
    };
    (class, format!("{done} of {all} done"), told)
}

/// One line without letters that a picture cannot have, and not longer than there is room.
fn plain(text: &str, most: usize) -> String {
    let letters = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    match text.chars().count() > most {
        true => letters.take(most - 1).chain(['…']).collect(),
        false => letters.collect(),
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
