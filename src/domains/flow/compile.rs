//! Prepares the steps of a definition: every expression parsed, and checked for what it may name where it stands.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{CompiledStep, CompiledUndo, Fault, Request};
use super::definition::{Argument, Definition, Header, Http, Kind, Notify, Otherwise, Step, Undo, Until};
use super::expr::{Expression, Refused};
use super::graph::Way;
use super::names::{Names, start_variables, undo_variables, variables};
use super::with::Template;

/// Parses the expressions of a definition, and gathers what is wrong with them.
pub(super) struct Compiler<'a> {
    pub(super) definition: &'a Definition,
    pub(super) faults: &'a mut Vec<Fault>,
}

/// What is computed when an instance begins.
pub(super) struct Beginnings {
    pub(super) search: BTreeMap<String, Expression>,
    pub(super) concurrency: Option<Expression>,
    pub(super) rate: Option<Expression>,
}

/// What an expression at some place may name.
#[derive(Clone, Copy)]
struct Sight<'a> {
    variables: &'a [&'a str],
    above: &'a BTreeSet<&'a str>,
}

impl Compiler<'_> {
    pub(super) fn step(
        &mut self,
        name: &str,
        step: &Step,
        ways: Vec<Way>,
        above: &BTreeSet<&str>,
        ancestors: &BTreeMap<&str, BTreeSet<&str>>,
    ) -> CompiledStep {
        let payload = nearest_suspend(self.definition, above, ancestors);
        let path = |key: &str| format!("steps.{name}.{key}");
        let plain = variables(if payload.is_some() { &["payload"] } else { &[] });
        let sight = Sight { variables: &plain, above };
        let condition = step.condition.as_ref().and_then(|it| self.expression(&path("if"), it, sight));
        let mut ready = CompiledStep {
            ways,
            condition,
            subject: None,
            with: BTreeMap::new(),
            request: None,
            assignee: None,
            notify: BTreeMap::new(),
            undo: None,
            contained: false,
            payload,
        };
        self.kind(name, &step.kind, sight, &mut ready);
        ready.undo = self.undo(&path("undo"), step.undo.as_ref());
        ready
    }

    fn kind(&mut self, name: &str, kind: &Kind, sight: Sight<'_>, ready: &mut CompiledStep) {
        let path = |key: &str| format!("steps.{name}.{key}");
        match kind {
            Kind::Effect(call) => ready.with = self.with(&path("with"), &call.with, sight),
            Kind::Call { with, .. } => ready.with = self.with(&path("with"), with, sight),
            Kind::Branch { on, .. } => ready.subject = self.expression(&path("branch"), on, sight),
            Kind::Each { list, call, .. } => {
                ready.subject = self.expression(&path("each"), list, sight);
                let inside: Vec<&str> = sight.variables.iter().copied().chain(["item", "index"]).collect();
                ready.with = self.with(&path("with"), &call.with, Sight { variables: &inside, ..sight });
            }
            Kind::Suspend { assignee, notify, .. } => {
                ready.assignee = assignee.as_ref().and_then(|it| self.expression(&path("assignee"), it, sight));
                if let Some(Notify::Effect(call)) = notify {
                    ready.notify = self.with(&path("notify.with"), &call.with, sight);
                }
            }
            Kind::Wait(Until::At { cel, .. }) => ready.subject = self.expression(&path("wait"), cel, sight),
            Kind::Wait(Until::Span(_)) | Kind::All { .. } => {}
            Kind::Http(http) => {
                let extra = http.callback.as_ref().map(|_| "callback_url");
                let inside: Vec<&str> = sight.variables.iter().copied().chain(extra).collect();
                ready.request =
                    Some(self.request(&format!("steps.{name}"), http, Sight { variables: &inside, ..sight }));
            }
            Kind::Ask { object, target, to, .. } => {
                let parts = [("object", object), ("target", target), ("to", to)];
                let part = |(key, source): (&str, &String)| {
                    Some((key.to_owned(), Template::cel(self.expression(&path(key), source, sight)?)))
                };
                ready.request = Some(parts.into_iter().filter_map(part).collect());
            }
        }
        self.otherwise_needs_a_time(name, kind);
    }

    fn otherwise_needs_a_time(&mut self, name: &str, kind: &Kind) {
        let timeout = match kind {
            Kind::Suspend { timeout, .. } => timeout,
            Kind::Call { deadline, .. } | Kind::Ask { deadline, .. } => &deadline.timeout,
            Kind::Http(http) => match &http.callback {
                Some(deadline) => &deadline.timeout,
                None => return,
            },
            _ => return,
        };
        if timeout.is_none() && kind.otherwise().is_some_and(|otherwise| *otherwise != Otherwise::Fail) {
            let word = if matches!(kind, Kind::Http(_)) { "callback" } else { "timeout" };
            let what = format!("`{name}` has an `otherwise` and no `timeout`, so it would never come to it");
            self.faults.push(Fault::new(format!("steps.{name}.otherwise"), what, format!("add {word} = \"7d\"")));
        }
    }

    /// The parts of a request under the names that its input has.
    fn request(&mut self, path: &str, http: &Http, sight: Sight<'_>) -> Request {
        let mut parts = Request::new();
        if let Some(url) = self.expression(&format!("{path}.url"), &http.url, sight) {
            parts.insert("url".into(), Template::cel(url));
        }
        let mut headers = BTreeMap::new();
        for (name, header) in &http.headers {
            let header = match header {
                Header::Cel(source) => {
                    self.expression(&format!("{path}.headers.{name}"), source, sight).map(Template::cel)
                }
                Header::Secret { secret, prefix } => {
                    Some(Template::Value(serde_json::json!({ "secret": secret, "prefix": prefix })))
                }
            };
            headers.extend(header.map(|header| (name.clone(), header)));
        }
        parts.insert("headers".into(), Template::Table(headers));
        if let Some(body) = http.body.as_ref().and_then(|it| self.template(&format!("{path}.body"), it, sight)) {
            parts.insert("body".into(), body);
        }
        parts.insert("method".into(), Template::Value(http.method.as_str().into()));
        parts
    }

    fn undo(&mut self, path: &str, undo: Option<&Undo>) -> Option<CompiledUndo> {
        let (variables, above) = (undo_variables(), BTreeSet::new());
        let sight = Sight { variables: &variables, above: &above };
        match undo? {
            Undo::Own => None,
            Undo::Effect(call) => Some(CompiledUndo::Effect(self.with(&format!("{path}.with"), &call.with, sight))),
            Undo::Http(http) => Some(CompiledUndo::Http(self.request(path, http, sight))),
        }
    }

    pub(super) fn beginnings(&mut self) -> Beginnings {
        let (variables, above) = (start_variables(), BTreeSet::new());
        let sight = Sight { variables: &variables, above: &above };
        let definition = self.definition;
        let search = definition.search.iter();
        let search = search.filter_map(|(name, source)| {
            Some((name.clone(), self.expression(&format!("search.{name}"), source, sight)?))
        });
        let search = search.collect();
        let key = |bound: Option<&Option<String>>| bound.and_then(Option::as_ref).cloned();
        let concurrency = key(definition.concurrency.as_ref().map(|it| &it.key));
        let rate = key(definition.rate.as_ref().map(|it| &it.key));
        Beginnings {
            search,
            concurrency: concurrency.and_then(|it| self.expression("concurrency.key", &it, sight)),
            rate: rate.and_then(|it| self.expression("rate.key", &it, sight)),
        }
    }

    pub(super) fn result(&mut self, source: &str) -> Option<Expression> {
        let all = self.definition.steps.keys().map(String::as_str).collect();
        self.expression("result", source, Sight { variables: &variables(&[]), above: &all })
    }

    fn with(&mut self, path: &str, with: &BTreeMap<String, Argument>, sight: Sight<'_>) -> BTreeMap<String, Template> {
        let template = |(name, argument): (&String, &Argument)| {
            Some((name.clone(), self.template(&format!("{path}.{name}"), argument, sight)?))
        };
        with.iter().filter_map(template).collect()
    }

    fn template(&mut self, path: &str, argument: &Argument, sight: Sight<'_>) -> Option<Template> {
        Some(match argument {
            Argument::Cel(source) => Template::cel(self.expression(path, source, sight)?),
            Argument::Value(value) => Template::Value(value.clone()),
            Argument::Table(table) => Template::Table(self.with(path, table, sight)),
            Argument::List(list) => {
                let each = |(index, it)| self.template(&format!("{path}.{index}"), it, sight);
                Template::List(list.iter().enumerate().filter_map(each).collect())
            }
        })
    }

    fn expression(&mut self, path: &str, source: &str, sight: Sight<'_>) -> Option<Expression> {
        let steps = self.definition.steps.keys().map(String::as_str);
        let later = steps.filter(|step| !sight.above.contains(step)).collect();
        let names = Names { variables: sight.variables.to_vec(), results: sight.above.clone(), later };
        let fault = |refused: Refused| Fault {
            path: path.to_owned(),
            what: refused.what,
            remedy: refused.remedy,
            offset: Some(refused.offset),
        };
        match Expression::compile(source, &names) {
            Ok(expression) => Some(expression),
            Err(refused) => {
                self.faults.extend(refused.into_iter().map(fault));
                None
            }
        }
    }
}

/// The suspends before a step that are before no other suspend before it, if there is exactly one.
fn nearest_suspend(
    definition: &Definition,
    above: &BTreeSet<&str>,
    ancestors: &BTreeMap<&str, BTreeSet<&str>>,
) -> Option<String> {
    let is_suspend = |step: &&&str| matches!(definition.steps[**step].kind, Kind::Suspend { .. });
    let suspends: Vec<&&str> = above.iter().filter(is_suspend).collect();
    let is_nearest = |step: &&&&str| {
        !suspends.iter().any(|other| ancestors.get(**other).is_some_and(|before| before.contains(**step)))
    };
    let nearest: Vec<_> = suspends.iter().filter(is_nearest).collect();
    match nearest.as_slice() {
        [one] => Some((**one).to_string()),
        _ => None,
    }
}
