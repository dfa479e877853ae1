//! The parameters of an effect: literals, and expressions filled in when it starts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::expr::{EvaluationError, Expression, Scope};

/// A parameter with its expressions parsed.
#[derive(Debug)]
pub enum Template {
    Cel(Box<Expression>),
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
    pub(super) fn cel(expression: Expression) -> Self {
        Self::Cel(Box::new(expression))
    }

    /// The expressions in it, and where they stand.
    pub(super) fn expressions(&self, path: &str) -> Vec<(String, &Expression)> {
        match self {
            Template::Cel(expression) => vec![(path.to_owned(), expression)],
            Template::Value(_) => Vec::new(),
            Template::List(list) => {
                let each = list.iter().enumerate();
                each.flat_map(|(index, it)| it.expressions(&format!("{path}.{index}"))).collect()
            }
            Template::Table(table) => {
                table.iter().flat_map(|(name, it)| it.expressions(&format!("{path}.{name}"))).collect()
            }
        }
    }

    fn fill(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        match self {
            Template::Cel(expression) => expression.evaluate(scope),
            Template::Value(value) => Ok(value.clone()),
            Template::List(list) => list.iter().map(|it| it.fill(scope)).collect::<Result<_, _>>().map(Value::Array),
            Template::Table(table) => fill(table, scope),
        }
    }
}
