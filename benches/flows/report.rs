//! What was found: lines for people as they come, or one JSON document at the end.

use serde_json::{Map, Value, json};

use crate::rig::disk::Speed;

pub(crate) struct Report {
    json: bool,
    part: String,
    found: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, part: String::new(), found: Map::new() }
    }

    /// What follows belongs to this part.
    pub(crate) fn part(&mut self, name: &str) {
        name.clone_into(&mut self.part);
        self.found.insert(name.to_owned(), json!([]));
        self.say(&format!("\n{name}"));
    }

    pub(crate) fn disk(&mut self, when: &str, speed: Speed) {
        self.found.insert(when.to_owned(), json!(speed));
        self.say(&speed.to_string());
    }

    /// A line for people. Where a program reads the output it goes beside it, so that a long run shows progress.
    pub(crate) fn say(&self, line: &str) {
        if self.json { eprintln!("{line}") } else { println!("{line}") }
    }

    pub(crate) fn note(&mut self, found: Value) {
        self.found[&self.part].as_array_mut().unwrap().push(found);
    }

    pub(crate) fn end(self) {
        if self.json {
            println!("{}", Value::Object(self.found));
        }
    }
}
