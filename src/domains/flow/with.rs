//! The parameters of an effect: literals, and expressions filled in when it starts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::expr::{EvaluationError, Expression, Scope};

/// A parameter with its expressions parsed.
#[derive(Debug)]
pub enum Template {
    Cel(Expression),
    Value(Value),
    List(Vec<Template>),
    Table(BTreeMap<String, Template>),
}

/// What is given to the effect.
pub fn fill(with: &BTreeMap<String, Template>, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
    let filled = with.iter().map(|(name, template)| Ok((name.clone(), template.fill(scope)?)));
    Ok(Value::Object(filled.collect::<Result<Map<_, _>, _>>()?))
}

impl Template {
    fn fill(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        match self {
            Template::Cel(expression) => expression.evaluate(scope),
            Template::Value(value) => Ok(value.clone()),
            Template::List(list) => list.iter().map(|it| it.fill(scope)).collect::<Result<_, _>>().map(Value::Array),
            Template::Table(table) => fill(table, scope),
        }
    }
}
