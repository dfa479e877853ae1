//! How a rehearsal must end, and in what it did not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::play::Played;
use crate::config::mistake::{Place, Report};
use crate::config::reader::Section;
use crate::domains::flow::progress::{End, Phase, Progress};

/// What has to come of a rehearsal. What is left out may be anything.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    pub phase: Option<Phase>,
    pub result: Option<Value>,
    /// A part of the reason that it failed or was cancelled for.
    pub reason: Option<String>,
    /// Every line, in order.
    pub path: Option<Vec<String>>,
    /// The states of some steps, and where that is said.
    pub steps: BTreeMap<String, (Place, String)>,
}

impl Expect {
    pub(super) fn read(mut section: Section<'_>, report: &mut Report) -> Self {
        let words: Vec<_> = Phase::ALL.into_iter().map(|phase| (phase.word(), phase)).collect();
        let phase = section.word("phase", &words, report);
        let result = section.node("result").map(crate::config::tree::Node::to_json);
        let (reason, path) = (section.text("reason", report), section.texts("path", report));
        let mut named = section.section("steps", report);
        let mut steps = BTreeMap::new();
        for (name, entry) in named.entries() {
            if let Some(state) = named.text(name, report) {
                steps.insert(name.to_owned(), (entry.key.clone(), state));
            }
        }
        section.finish(report);
        Self { phase, result, reason, path, steps }
    }

    /// What came otherwise, one text each.
    pub fn surprises(&self, played: &Played) -> Vec<String> {
        let progress = &played.progress;
        let mut found = Vec::new();
        if let Some(phase) = self.phase.filter(|phase| *phase != progress.phase()) {
            found.push(format!("it should be {}, and is {}", phase.word(), progress.phase().word()));
        }
        if let Some(result) = self.result.as_ref().filter(|result| played.result() != Some(result)) {
            let came = played.result().map_or_else(|| "no result".to_owned(), Value::to_string);
            found.push(format!("its result should be {result}, and is {came}"));
        }
        if let Some(reason) = &self.reason {
            let came = reason_of(progress).unwrap_or("nothing");
            if !came.contains(reason.as_str()) {
                found.push(format!("its reason should say `{reason}`, and says `{came}`"));
            }
        }
        found.extend(self.steps.iter().filter_map(|(step, (_, state))| {
            let came = progress.steps.get(step).map_or("not begun", |state| state.word());
            (came != state).then(|| format!("the step {step} should be {state}, and is {came}"))
        }));
        found.extend(self.path.as_ref().and_then(|path| other_way(path, &played.facts())));
        found
    }
}

/// Why it ended as it did.
pub fn reason_of(progress: &Progress) -> Option<&str> {
    match progress.end.as_ref()? {
        End::Done { .. } => None,
        End::Failed { reason, .. } | End::Cancelled { reason, .. } | End::Killed { reason, .. } => Some(reason),
    }
}

/// The first line that is another one.
fn other_way(expected: &[String], came: &[&str]) -> Option<String> {
    let longest = expected.len().max(came.len());
    let line = (0..longest).find(|line| expected.get(*line).map(String::as_str) != came.get(*line).copied())?;
    let shown = |line: Option<&str>| line.map_or_else(|| "nothing more".to_owned(), |line| format!("`{line}`"));
    let (should, is) = (shown(expected.get(line).map(String::as_str)), shown(came.get(line).copied()));
    Some(format!("line {} of the path should be {should}, and is {is}", line + 1))
}
