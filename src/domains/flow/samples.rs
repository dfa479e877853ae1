//! Tries expressions on made-up objects when the node starts, so that a slip shows before an article meets it.
//!
//! Only those that look at nothing but the object: what steps give and what others send has no declared shape. One that
//! fails on every sample is a mistake; one that works on any is given the benefit of the doubt.

use serde_json::{Map, Value, json};

use super::check::{Compiled, Fault, Gives};
use super::expr::{EvaluationError, Expression, Input, Scope};
use super::progress::Progress;
use crate::domains::types::{Kind, Type};

/// What every object of ours has besides its declared fields.
const STANDARD: [&str; 8] = ["id", "type", "slug", "name", "url", "attributedTo", "published", "updated"];

/// The expressions that fail on all samples of the types whose objects the flow is about.
pub fn check(compiled: &Compiled, types: &[&Type]) -> Vec<Fault> {
    let samples: Vec<Input> = types.iter().flat_map(|it| samples(it)).collect();
    if samples.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (path, expression, gives) in compiled.expressions() {
        let only_object = expression.uses().variables.iter().all(|name| name == "object" || name == "actor");
        let mut failures = samples.iter().map(|sample| attempt(expression, gives, sample).err());
        if let Some(Some(first)) = failures.next()
            && only_object
            && !opaque(types).any(|field| expression.source().contains(field))
            && failures.all(|failure| failure.is_some())
        {
            let names: Vec<_> = types.iter().map(|it| it.name.as_str()).collect();
            let remedy = format!("it was tried on made-up objects of {}", names.join(", "));
            faults.push(Fault::new(path, first.to_string(), remedy));
        }
    }
    faults
}

/// Fields that may hold anything, so that no sample of them proves a thing.
fn opaque<'a>(types: &'a [&Type]) -> impl Iterator<Item = &'a str> {
    let is_opaque = |kind: &Kind| matches!(kind, Kind::Table | Kind::Json | Kind::List(None));
    let fields = types.iter().flat_map(|it| it.fields.iter());
    fields.filter(move |(_, field)| is_opaque(&field.kind)).map(|(name, _)| name.as_str())
}

fn attempt(expression: &Expression, gives: Gives, input: &Input) -> Result<(), EvaluationError> {
    let progress = Progress::new("sample");
    let scope = Scope::of(input, &progress);
    match gives {
        Gives::Bool => expression.evaluate_bool(&scope).map(drop),
        Gives::List => expression.evaluate_list(&scope).map(drop),
        Gives::Any => expression.evaluate(&scope).map(drop),
    }
}

/// One object with everything, and one for each further choice of each field.
fn samples(declared: &Type) -> Vec<Input> {
    let mut whole: Map<String, Value> =
        STANDARD.iter().map(|name| ((*name).to_owned(), Value::from("https://sample.example/sample"))).collect();
    for (name, field) in &declared.fields {
        whole.insert(name.clone(), sample(&field.kind));
    }
    let mut objects = vec![whole.clone()];
    for (name, field) in &declared.fields {
        if let Kind::Choice(of) = &field.kind {
            objects.extend(of.iter().skip(1).map(|choice| {
                let mut other = whole.clone();
                other.insert(name.clone(), Value::from(choice.as_str()));
                other
            }));
        }
    }
    let actor = Value::from("https://sample.example/actor");
    let input = |object| Input { object: Value::Object(object), actor: actor.clone(), ..Input::default() };
    objects.into_iter().map(input).collect()
}

fn sample(kind: &Kind) -> Value {
    match kind {
        Kind::Text => json!("sample"),
        Kind::Choice(of) => json!(of.first()),
        Kind::Number => json!(1.5),
        Kind::Integer => json!(1),
        Kind::Bool => json!(true),
        Kind::Time => json!("2026-01-01T00:00:00Z"),
        Kind::Iri => json!("https://sample.example/sample"),
        Kind::List(of) => json!([of.as_ref().map_or(Value::Null, |it| sample(it))]),
        Kind::Table | Kind::Json => json!({}),
    }
}
