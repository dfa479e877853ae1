//! What the demo tells while it plays: steps, each with its proofs and with what to try by hand.

use std::io::Write as _;

use serde::Serialize;
use serde_json::json;

/// One step as programs get it.
#[derive(Debug, Default, Serialize)]
struct Step {
    title: String,
    proofs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    curl: Vec<String>,
}

/// Told line by line for people, at the end for programs.
#[derive(Debug)]
pub(super) struct Transcript {
    json: bool,
    steps: Vec<Step>,
}

impl Transcript {
    pub(super) fn new(json: bool) -> Self {
        Self { json, steps: Vec::new() }
    }

    pub(super) fn step(&mut self, title: &str) {
        self.steps.push(Step { title: title.to_owned(), ..Step::default() });
        self.say(&format!("\n{}. {title}", self.steps.len()));
    }

    /// The step that is being played.
    pub(super) fn title(&self) -> String {
        self.steps.last().map(|step| format!("{}. {}", self.steps.len(), step.title)).unwrap_or_default()
    }

    pub(super) fn proven(&mut self, proof: impl Into<String>) {
        let proof = proof.into();
        self.say(&format!("   ✓ {proof}"));
        self.last().proofs.push(proof);
    }

    pub(super) fn open(&mut self, page: impl Into<String>) {
        let page = page.into();
        self.say(&format!("   open  {page}"));
        self.last().open.push(page);
    }

    pub(super) fn curl(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.say(&format!("   try   {line}"));
        self.last().curl.push(line);
    }

    /// A line for people only.
    pub(super) fn say(&self, line: &str) {
        if !self.json {
            // Nobody has to read along.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    pub(super) fn end(&self, proven: bool) {
        if self.json {
            let told = json!({ "proven": proven, "steps": self.steps });
            let _ = writeln!(std::io::stdout(), "{told:#}");
        } else if proven && !self.steps.is_empty() {
            let proofs: usize = self.steps.iter().map(|step| step.proofs.len()).sum();
            self.say(&format!("\nAll {} steps are proven, by {proofs} proofs.", self.steps.len()));
        }
    }

    fn last(&mut self) -> &mut Step {
        if self.steps.is_empty() {
            self.steps.push(Step::default());
        }
        let at = self.steps.len() - 1;
        &mut self.steps[at]
    }
}
