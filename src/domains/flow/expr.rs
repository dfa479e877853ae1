//! Expressions: CEL, checked before it runs and bounded while it does.
//!
//! An expression is parsed once, its names and functions are looked up once ([`super::names`]), and its macros are
//! rewritten so that every list they walk goes through one function of ours. That function counts what is walked, and
//! turns a map into its keys in order, since the order of a CEL map is a hash table's and a decision must not depend on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr, operators};
use cel::{Context, Env, ExecutionError, Value as Cel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json;
use super::names::{self, Names};
use super::progress::Progress;

/// Longest source, in bytes.
pub const SOURCE_MAX: usize = 4096;
/// How deep macros may stand in one another: two are quadratic, three are a mistake.
pub const NESTING_MAX: usize = 2;
/// Longest list that a macro walks.
pub const LIST_MAX: usize = 10_000;
/// Elements that all macros of one evaluation walk together.
const WALKED_MAX: u64 = 200_000;
/// Bytes that all macros of one evaluation walk together: chained macros could double a text each time.
const WEIGHT_MAX: u64 = 16 << 20;
/// How deep an expression may be: parser and interpreter go down by recursion.
const DEPTH_MAX: u16 = 48;

/// The function that lists go through on their way into a macro. `@` keeps it out of reach of sources.
const WALK: &str = "@walk";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the standard functions leave its names free");
    Arc::new(env)
});

/// What the instance was started with: the values of `input`, `activity`, `object` and `actor`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Input {
    #[serde(default)]
    pub input: Value,
    #[serde(default)]
    pub activity: Value,
    #[serde(default)]
    pub object: Value,
    /// The IRI of who caused it.
    #[serde(default)]
    pub actor: Value,
}

/// The values that names have in one evaluation.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub input: &'a Input,
    /// Holds the `results`.
    pub progress: &'a Progress,
    pub item: Option<(&'a Value, u32)>,
    pub payload: Option<&'a Value>,
}

/// A checked expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    root: IdedExpr,
    uses: names::Uses,
}

/// Why a source is not an expression that may run here. `offset` counts characters from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refused {
    pub offset: usize,
    pub what: String,
    pub remedy: String,
}

/// Why an evaluation gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{source_text}` failed: {what}")]
pub struct EvaluationError {
    pub source_text: String,
    pub what: String,
}

impl Expression {
    /// Parses and checks; every mistake found is in the answer.
    pub fn compile(source: &str, names: &Names<'_>) -> Result<Self, Vec<Refused>> {
        if source.len() > SOURCE_MAX {
            return Err(vec![Refused {
                offset: 0,
                what: format!("the expression has {} bytes, at most {SOURCE_MAX} are allowed", source.len()),
                remedy: "split it into several steps".into(),
            }]);
        }
        names::shallow(source)?;
        let parser = ENV.parser().max_recursion_depth(DEPTH_MAX);
        let (root, positions) = parser.parse_with_source_info(source).map_err(|found| syntax(source, &found))?;
        let uses = names::check(&root, &positions, names)?;
        let root = rewrite(root);
        Ok(Self { source: source.to_owned(), root, uses })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it names.
    pub fn uses(&self) -> &names::Uses {
        &self.uses
    }

    /// Its value, if it is the literal `true` or `false`.
    pub fn constant(&self) -> Option<bool> {
        match &self.root.expr {
            Expr::Literal(cel::common::ast::LiteralValue::Boolean(flag)) => Some(*flag.inner()),
            _ => None,
        }
    }

    /// Its value as JSON.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        let spent = Arc::new(Spent::default());
        let mut context = Context::with_env(Arc::clone(&ENV));
        let counter = Arc::clone(&spent);
        context
            .add_function(WALK, move |range: Cel| walk(range, &counter))
            .expect("no standard function has a name that begins with @");
        self.bind(&mut context, scope);
        let value = Cel::resolve(&self.root, &context).map_err(|error| self.failed(plain(&error)))?;
        if let Some(over) = spent.over() {
            return Err(self.failed(over));
        }
        json::from_cel(&value).map_err(|error| self.failed(format!("it gave {error}, which JSON cannot say")))
    }

    /// Its value, which has to be a bool.
    pub fn evaluate_bool(&self, scope: &Scope<'_>) -> Result<bool, EvaluationError> {
        match self.evaluate(scope)? {
            Value::Bool(flag) => Ok(flag),
            other => Err(self.failed(format!("it gave {}, it must give true or false", kind(&other)))),
        }
    }

    /// Its value, which has to be a list of at most [`LIST_MAX`].
    pub fn evaluate_list(&self, scope: &Scope<'_>) -> Result<Vec<Value>, EvaluationError> {
        match self.evaluate(scope)? {
            Value::Array(list) if list.len() <= LIST_MAX => Ok(list),
            Value::Array(list) => {
                Err(self.failed(format!("it gave a list of {}, at most {LIST_MAX} are allowed", list.len())))
            }
            other => Err(self.failed(format!("it gave {}, it must give a list", kind(&other)))),
        }
    }

    /// Only what the expression names is converted: an instance may hold a megabyte.
    fn bind(&self, context: &mut Context<'_, '_>, scope: &Scope<'_>) {
        let input = scope.input;
        let plain = [
            ("input", Some(&input.input)),
            ("activity", Some(&input.activity)),
            ("object", Some(&input.object)),
            ("actor", Some(&input.actor)),
            ("item", scope.item.map(|(item, _)| item)),
            ("payload", scope.payload),
        ];
        for (name, value) in plain {
            if self.uses.variables.contains(name) {
                context.add_variable_from_value(name, value.map_or(Cel::Null, json::to_cel));
            }
        }
        if self.uses.variables.contains("index") {
            let index = scope.item.map_or(Cel::Null, |(_, index)| Cel::Int(i64::from(index)));
            context.add_variable_from_value("index", index);
        }
        if self.uses.variables.contains("results") {
            let results = self.uses.results.iter();
            let known = results.filter_map(|step| Some((step.clone(), json::to_cel(scope.progress.result(step)?))));
            context.add_variable_from_value("results", json::table(known));
        }
    }

    fn failed(&self, what: impl Into<String>) -> EvaluationError {
        EvaluationError { source_text: self.source.clone(), what: what.into() }
    }
}

/// What one evaluation has walked.
#[derive(Debug, Default)]
struct Spent {
    walked: AtomicU64,
    weight: AtomicU64,
    longest: AtomicU64,
}

impl Spent {
    /// Asked after every walk and once at the end, since `exists` and `all` may swallow the error of a walk.
    fn over(&self) -> Option<String> {
        let longest = self.longest.load(Ordering::Relaxed);
        if longest > LIST_MAX as u64 {
            return Some(format!("a list of {longest} is too long, at most {LIST_MAX} are allowed"));
        }
        if self.walked.load(Ordering::Relaxed) > WALKED_MAX {
            return Some(format!("its macros walk more than {WALKED_MAX} elements"));
        }
        (self.weight.load(Ordering::Relaxed) > WEIGHT_MAX)
            .then(|| format!("its macros walk more than {WEIGHT_MAX} bytes"))
    }
}

fn walk(range: Cel, spent: &Spent) -> Result<Cel, ExecutionError> {
    let (range, length) = match range {
        Cel::Map(map) => {
            let mut keys: Vec<_> = map.map.keys().cloned().collect();
            keys.sort();
            let length = keys.len();
            (Cel::List(Arc::new(keys.into_iter().map(Cel::from).collect())), length)
        }
        Cel::List(list) => {
            let length = list.len();
            (Cel::List(list), length)
        }
        other => return Ok(other),
    };
    spent.longest.fetch_max(length as u64, Ordering::Relaxed);
    spent.walked.fetch_add(length as u64, Ordering::Relaxed);
    spent.weight.fetch_add(json::weight(&range), Ordering::Relaxed);
    match spent.over() {
        Some(over) => Err(ExecutionError::function_error(WALK, over)),
        None => Ok(range),
    }
}

/// Puts [`WALK`] around what each macro walks.
fn rewrite(mut expression: IdedExpr) -> IdedExpr {
    names::for_each_child(&mut expression, &mut |child| *child = rewrite(std::mem::take(child)));
    if let Expr::Comprehension(comprehension) = &mut expression.expr {
        let range = std::mem::take(&mut comprehension.iter_range);
        let id = range.id;
        let call = cel::common::ast::CallExpr { func_name: WALK.into(), target: None, args: vec![range] };
        comprehension.iter_range = IdedExpr { id, expr: Expr::Call(call) };
    }
    expression
}

fn syntax(source: &str, found: &cel::ParseErrors) -> Vec<Refused> {
    let refused = found.errors.iter().map(|error| {
        let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
        let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
        let before: usize = source.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
        Refused {
            offset: before + column - 1,
            what: format!("`{}` is not a CEL expression: {}", short(source), error.msg.trim().replace('\n', " ")),
            remedy: "text stands in 'single quotes', names outside of them".into(),
        }
    });
    refused.take(1).collect()
}

/// The interpreter's error in words for people who never saw its types.
fn plain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}`; `has(….{key})` asks whether there is"),
        ExecutionError::NoSuchOverload(overload) => {
            let name = operator(overload.function());
            format!("`{name}` does not go with {}", overload.argument_types().join(" and "))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".into(),
        ExecutionError::Overflow(..) => "a number is too large".into(),
        ExecutionError::IndexOutOfBounds(_) => "an index is beyond the end of the list".into(),
        ExecutionError::FunctionError { function, message } if function == WALK => message.clone(),
        ExecutionError::FunctionError { function, message } => format!("{function}: {message}"),
        other => short(&other.to_string()),
    }
}

fn operator(name: &str) -> &str {
    match name {
        operators::ADD => "+",
        operators::SUBSTRACT => "-",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::CONDITIONAL => "? :",
        other => other.trim_matches('_'),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
