//! The order in which what a flow did is taken back, as those who did it see it: what began after something else had
//! ended is taken back before that.

use std::collections::{BTreeMap, BTreeSet};

use quickbeam::actors::flow::{Event, Flow};
use quickbeam::actors::rows::Index;
use quickbeam::actors::{inspect, layout, record};
use quickbeam::domains::flow::fact::{AfterFailure, Fact};
use quickbeam::domains::object::Object;
use quickbeam::store::{Batch, Key};

use super::dags::Heard;
use super::flow_random::name;
use super::node::Node;

/// A step, or one element of it.
type Part = (String, Option<u32>);

/// When steps began and ended, by the timeline of their flow, and which were taken back at its end.
#[derive(Default)]
struct Timeline {
    began: BTreeMap<Part, usize>,
    ended: BTreeMap<Part, usize>,
    unwound: BTreeSet<Part>,
}

impl Timeline {
    /// Nothing of it may have been trimmed.
    async fn of(node: &Node, id: &str) -> Option<Self> {
        let past = inspect::past::<Flow>(&node.runtime, id, 1_000).await.unwrap();
        past.first().filter(|first| first.turn == 1)?;
        let (mut timeline, mut ends) = (Self::default(), false);
        for (nth, event) in past.into_iter().flat_map(|turn| turn.events).enumerate() {
            let Event::Happened { fact, .. } = event else { continue };
            ends |= matches!(fact, Fact::Undoing { .. });
            match fact {
                Fact::StepStarted { step, item, .. } => drop(timeline.began.entry((step, item)).or_insert(nth)),
                Fact::StepFailed { next: AfterFailure::RetryAt(_), .. } => {}
                Fact::StepDone { step, item, .. } | Fact::StepFailed { step, item, .. } => {
                    timeline.ended.entry((step, item)).or_insert(nth);
                }
                Fact::CalledBack { step, .. } | Fact::TimedOut { step } => {
                    timeline.ended.entry((step, None)).or_insert(nth);
                }
                Fact::UndoStarted { step, item, .. } if ends => drop(timeline.unwound.insert((step, item))),
                _ => {}
            }
        }
        Some(timeline)
    }

    fn is_before(&self, one: &Part, other: &Part) -> bool {
        let (ended, began) = (self.ended.get(one), self.began.get(other));
        ended.zip(began).is_some_and(|(ended, began)| ended < began)
    }
}

/// The step that an object was made for, by its title.
fn part_of(title: &str) -> Option<Part> {
    let (what, of) = title.split_once(' ')?;
    let number = |text: &str| text.parse().ok().map(name);
    match what {
        "step" | "child" => Some((number(of)?, None)),
        "part" => {
            let (step, item) = of.split_once('-')?;
            Some((number(step)?, Some(item.parse().ok()?)))
        }
        _ => None,
    }
}

/// What was deleted, each with how many batches had landed then.
fn deleted(landed: &[Batch]) -> Vec<(usize, Part)> {
    let prefix = layout::index_prefix(Index::Objects, &Key::default());
    let (mut made, mut deleted) = (BTreeMap::new(), Vec::new());
    for (nth, batch) in landed.iter().enumerate() {
        for (_, value) in batch.puts.iter().filter(|(key, _)| key.as_bytes().starts_with(prefix.as_bytes())) {
            let object: Object = record::decode(value).unwrap();
            match object.deleted {
                None => drop(made.insert(object.path, object.title.unwrap_or_default())),
                Some(_) => deleted.extend(part_of(&made[&object.path]).map(|part| (nth + 1, part))),
            }
        }
    }
    deleted
}

/// What services and peers were asked to take back, in the same way.
fn asked(heard: &[(usize, Heard)]) -> Vec<(usize, Part)> {
    let allocated = |of: &str| {
        heard.iter().find_map(|(_, heard)| match heard {
            Heard::Allocate { id, at } if id == of => Some(*at),
            _ => None,
        })
    };
    let part = |heard: &Heard| match heard {
        Heard::Request { at, key, .. } => key.ends_with("/undo").then(|| (name(*at), None)),
        Heard::Undo { of, .. } => allocated(of).map(|at| (name(at), None)),
        Heard::Allocate { .. } => None,
    };
    heard.iter().filter_map(|(landed, heard)| Some((*landed, part(heard)?))).collect()
}

/// Checks the order, and gives how many pairs there were to check.
pub(super) async fn check(node: &Node, id: &str, landed: &[Batch], heard: &[(usize, Heard)], declares: &str) -> usize {
    let Some(timeline) = Timeline::of(node, id).await else { return 0 };
    let mut moments: BTreeMap<Part, usize> = BTreeMap::new();
    for (landed, part) in deleted(landed).into_iter().chain(asked(heard)) {
        let first = moments.entry(part).or_insert(landed);
        *first = landed.min(*first);
    }
    moments.retain(|part, _| timeline.unwound.contains(part));
    let mut pairs = 0;
    for (one, moment) in &moments {
        for (other, later) in moments.iter().filter(|(other, _)| timeline.is_before(one, other)) {
            assert!(later < moment, "{one:?} was taken back before {other:?}, which began after it\n{declares}");
            pairs += 1;
        }
    }
    pairs
}
