//! The values that names have in one evaluation.

use cel::{Context, Value as Cel};
use serde_json::Value;

use super::expr::Input;
use super::json;
use super::names::Uses;
use super::progress::Progress;

/// The values that names have in one evaluation.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub input: &'a Input,
    /// Holds the `results`.
    pub progress: &'a Progress,
    pub item: Option<(&'a Value, u32)>,
    pub payload: Option<&'a Value>,
    /// What an undo takes back: what was given, and what came of it where that is known.
    pub done: Option<(&'a Value, Option<&'a Value>)>,
    /// Where a service answers.
    pub callback_url: Option<&'a str>,
}

impl<'a> Scope<'a> {
    /// What every expression sees.
    pub fn of(input: &'a Input, progress: &'a Progress) -> Self {
        Self { input, progress, item: None, payload: None, done: None, callback_url: None }
    }

    /// What names stand for that are JSON as it is; null for those that are not given.
    fn plain(&self) -> [(&'static str, Option<&'a Value>); 8] {
        let input = self.input;
        [
            ("input", Some(self.progress.input.as_deref().unwrap_or(&input.input))),
            ("activity", Some(&input.activity)),
            ("object", Some(&input.object)),
            ("actor", Some(&input.actor)),
            ("item", self.item.map(|(item, _)| item)),
            ("payload", self.payload),
            ("with", self.done.map(|(with, _)| with)),
            ("result", self.done.and_then(|(_, result)| result)),
        ]
    }

    /// What a name and fields of it lead to; `None` where CEL has to say what that is.
    pub(super) fn find(&self, name: &str, fields: &[String]) -> Option<&'a Value> {
        let (start, fields) = match (name, fields) {
            ("results", [step, fields @ ..]) => (self.progress.result(step)?, fields),
            _ => (self.plain().into_iter().find(|(known, _)| *known == name)?.1?, fields),
        };
        fields.iter().try_fold(start, |value, field| value.as_object()?.get(field))
    }

    /// Only what the expression names is converted: an instance may hold a megabyte.
    pub(super) fn bind(&self, uses: &Uses, context: &mut Context<'_, '_>) {
        for (name, value) in self.plain() {
            if uses.variables.contains(name) {
                context.add_variable_from_value(name, value.map_or(Cel::Null, json::to_cel));
            }
        }
        if uses.variables.contains("index") {
            let index = self.item.map_or(Cel::Null, |(_, index)| Cel::Int(i64::from(index)));
            context.add_variable_from_value("index", index);
        }
        if uses.variables.contains("callback_url") {
            let url = self.callback_url.map_or(Cel::Null, |url| Cel::String(url.to_owned().into()));
            context.add_variable_from_value("callback_url", url);
        }
        if uses.variables.contains("results") {
            let results = uses.results.iter();
            let known = results.filter_map(|step| Some((step.clone(), json::to_cel(self.progress.result(step)?))));
            context.add_variable_from_value("results", json::table(known));
        }
    }
}
