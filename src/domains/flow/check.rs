//! Makes a definition ready to run, and names everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::{Beginnings, Compiler};
use super::definition::{Definition, DefinitionHash, Kind};
use super::effort::Effort;
use super::expr::Expression;
use super::graph::{self, By, Way, Ways};
use super::with::Template;
use crate::config::nearest::nearest;

/// A definition with its order worked out and its expressions parsed.
#[derive(Debug)]
pub struct Compiled {
    pub definition: Definition,
    pub hash: DefinitionHash,
    pub bounds: Bounds,
    /// Each step behind all that have a way into it.
    pub order: Vec<String>,
    pub steps: BTreeMap<String, CompiledStep>,
    pub result: Option<Expression>,
    pub search: BTreeMap<String, Expression>,
    /// The keys of the bounds on instances.
    pub concurrency: Option<Expression>,
    pub rate: Option<Expression>,
    pub effort: Effort,
}

/// How much one instance may do and keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Steps, elements and tries.
    pub steps: u64,
    /// Bytes of JSON in all results together.
    pub results: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { steps: 10_000, results: 1 << 20 }
    }
}

/// A step with its expressions parsed.
#[derive(Debug)]
pub struct CompiledStep {
    pub ways: Vec<Way>,
    pub condition: Option<Expression>,
    /// What a branch asks, or the list of an `each`.
    pub subject: Option<Expression>,
    pub with: BTreeMap<String, Template>,
    /// What goes out of an `http`, or is asked by an `ask`.
    pub request: Option<Request>,
    pub assignee: Option<Expression>,
    /// The parameters of the effect that tells people.
    pub notify: BTreeMap<String, Template>,
    pub undo: Option<CompiledUndo>,
    /// An `all` takes its failure in.
    pub contained: bool,
    /// The one nearest `suspend` before it, whose payload is `payload` here.
    pub payload: Option<String>,
}

/// The parts of a request or an activity, by the names that its input has.
pub type Request = BTreeMap<String, Template>;

/// How a step is taken back, where that is no matter of the receiver alone.
#[derive(Debug)]
pub enum CompiledUndo {
    /// With these parameters; with the step's own without any.
    Effect(BTreeMap<String, Template>),
    Http(Request),
}

/// Something wrong with a definition, at a path like `steps.send.after`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}; {remedy}")]
pub struct Fault {
    pub path: String,
    pub what: String,
    pub remedy: String,
    /// Characters into the expression that stands there.
    pub offset: Option<usize>,
}

/// Checks and prepares a definition. Which effects exist is not asked: a stored one may outlive them.
pub fn compile(definition: Definition, bounds: Bounds) -> Result<Compiled, Vec<Fault>> {
    let mut faults = Vec::new();
    if definition.steps.is_empty() {
        faults.push(Fault::new("steps", "the flow has no steps", "add steps.NAME = { effect = \"…\" }"));
    }
    mentioned_steps_exist(&definition, &mut faults);
    let ways = graph::ways(&definition);
    let order = graph::order(&ways).unwrap_or_else(|cycle| {
        faults.push(going_round(&cycle));
        Vec::new()
    });
    let mut steps = BTreeMap::new();
    let ancestors = graph::ancestors(&ways, &order);
    for (name, step) in &definition.steps {
        // In a cycle nothing comes before anything, so every result may be named: one mistake is enough.
        let all = || definition.steps.keys().map(String::as_str).collect();
        let above = ancestors.get(name.as_str()).cloned().unwrap_or_else(all);
        let mut compiler = Compiler { definition: &definition, faults: &mut faults };
        steps.insert(name.clone(), compiler.step(name, step, ways[name].clone(), &above, &ancestors));
    }
    let mut compiler = Compiler { definition: &definition, faults: &mut faults };
    let result = definition.result.as_ref().and_then(|source| compiler.result(source));
    let begin = compiler.beginnings();
    if faults.is_empty() {
        unreachable_steps(&definition, &steps, &order, &ways, &mut faults);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for name in graph::contained(&definition, &ways, &order) {
        steps.entry(name).and_modify(|step: &mut CompiledStep| step.contained = true);
    }
    let Beginnings { search, concurrency, rate } = begin;
    let hash = definition.hash();
    let effort = Effort::default();
    let compiled = Compiled { hash, definition, bounds, order, steps, result, search, concurrency, rate, effort };
    let effort = compiled.effort();
    Ok(Compiled { effort, ..compiled })
}

/// What an expression has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    Bool,
    List,
    Any,
}

impl Compiled {
    /// Each expression once in a turn, and those of elements as often as there are elements that begin together.
    fn effort(&self) -> Effort {
        let once = self.expressions().into_iter().map(|(_, it, _)| (it, 1));
        let elements = self.definition.steps.iter().filter_map(|(name, step)| match step.kind {
            Kind::Each { parallel, .. } => Some((&self.steps.get(name)?.with, u64::from(parallel.saturating_sub(1)))),
            _ => None,
        });
        let filled = elements.flat_map(|(with, times)| with.values().map(move |it| (it.expressions(""), times)));
        Effort::of(once.chain(filled.flat_map(|(all, times)| all.into_iter().map(move |(_, it)| (it, times)))))
    }

    /// Every expression, where it stands, and what it has to give.
    pub fn expressions(&self) -> Vec<(String, &Expression, Gives)> {
        let search = self.search.iter().map(|(name, it)| (format!("search.{name}"), it));
        let keys = [("concurrency.key", &self.concurrency), ("rate.key", &self.rate), ("result", &self.result)];
        let keys = keys.into_iter().filter_map(|(path, it)| Some((path.to_owned(), it.as_ref()?)));
        let mut found: Vec<_> = search.chain(keys).map(|(path, it)| (path, it, Gives::Any)).collect();
        for (name, step) in &self.steps {
            let path = |key: &str| format!("steps.{name}.{key}");
            found.extend(step.condition.iter().map(|it| (path("if"), it, Gives::Bool)));
            let kind = self.definition.steps.get(name).map(|step| &step.kind);
            let (key, gives) = match kind {
                Some(Kind::Each { .. }) => ("each", Gives::List),
                Some(Kind::Wait(_)) => ("wait", Gives::Any),
                _ => ("branch", Gives::Bool),
            };
            found.extend(step.subject.iter().map(|it| (path(key), it, gives)));
            let undo = match &step.undo {
                Some(CompiledUndo::Effect(with)) => Some(("undo.with.", with)),
                Some(CompiledUndo::Http(request)) => Some(("undo.", request)),
                None => None,
            };
            let filled = [("with.", &step.with), ("notify.with.", &step.notify)].into_iter();
            let filled = filled.chain(step.request.as_ref().map(|request| ("", request))).chain(undo);
            for (before, templates) in filled {
                let each = templates.iter().flat_map(|(name, it)| it.expressions(&path(&format!("{before}{name}"))));
                found.extend(each.map(|(path, it)| (path, it, Gives::Any)));
            }
            found.extend(step.assignee.iter().map(|it| (path("assignee"), it, Gives::Any)));
        }
        found
    }
}

impl Fault {
    pub fn new(path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), remedy: remedy.into(), offset: None }
    }
}

fn mentioned_steps_exist(definition: &Definition, faults: &mut Vec<Fault>) {
    for (at, by, named) in graph::mentions(definition) {
        if definition.steps.contains_key(named) {
            continue;
        }
        let key = match by {
            By::After => "after",
            By::Then => "then",
            By::Else => "else",
            By::TimeOut => "otherwise",
            By::Join => "all",
        };
        let known = definition.steps.keys().map(String::as_str);
        let remedy = nearest(named, known.clone()).map_or_else(
            || format!("steps are {}", known.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        let what = format!("`{at}` names the step `{named}`, which does not exist");
        faults.push(Fault::new(format!("steps.{at}.{key}"), what, remedy));
    }
}

fn going_round(cycle: &[String]) -> Fault {
    let round = cycle.iter().chain(cycle.first()).map(|step| format!("`{step}`")).collect::<Vec<_>>().join(" → ");
    Fault::new(
        format!("steps.{}", cycle[0]),
        format!("the steps go round in a cycle: {round}"),
        "a flow only goes forward; take one of these ways away",
    )
}

/// Steps that only ways lead to which a constant keeps shut.
fn unreachable_steps(
    definition: &Definition,
    steps: &BTreeMap<String, CompiledStep>,
    order: &[String],
    ways: &Ways,
    faults: &mut Vec<Fault>,
) {
    let constant = |expression: &Option<Expression>| expression.as_ref().and_then(Expression::constant);
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for name in order {
        let open = |way: &Way| {
            let from = &steps[&way.from];
            let passed_over = constant(&from.condition) == Some(false);
            reached.contains(way.from.as_str())
                && match way.by {
                    By::After | By::Join => true,
                    By::Then => !passed_over && constant(&from.subject) != Some(false),
                    By::Else => !passed_over && constant(&from.subject) != Some(true),
                    By::TimeOut => !passed_over,
                }
        };
        if ways[name].is_empty() || ways[name].iter().any(open) {
            reached.insert(name);
        } else if definition.steps.contains_key(name) {
            let from: Vec<_> = ways[name].iter().map(|way| format!("`{}`", way.from)).collect();
            let what = format!("the step `{name}` can never be reached: {} never goes there", from.join(", "));
            faults.push(Fault::new(format!("steps.{name}"), what, "change the condition, or take the step away"));
        }
    }
}
