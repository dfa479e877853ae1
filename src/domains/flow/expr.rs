//! Expressions: CEL, checked before it runs and bounded while it does.
//!
//! An expression is parsed once, its names and functions are looked up once ([`super::names`]), and its macros are
//! rewritten so that every list they walk goes through one function of ours. That function counts what is walked, and
//! turns a map into its keys in order, since the order of a CEL map is a hash table's and a decision must not depend on it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{CallExpr, Expr, IdedExpr, SourceInfo, operators};
use cel::extractors::Arguments;
use cel::{Context, Env, ExecutionError, Value as Cel};
use serde_json::Value;

use super::grow;
pub use super::input::Input;
use super::json;
use super::names::{self, Names};
pub use super::scope::Scope;
use super::seek;

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
/// Bytes of all texts and lists that functions make in one evaluation.
const MADE_MAX: u64 = 16 << 20;
/// Bytes that functions look through for others in one evaluation.
const SOUGHT_MAX: u64 = 16 << 20;
/// What the parser gets to go down by recursion: in a debug build a bracket takes 100 KiB of it.
const PARSER_STACK: usize = 16 << 20;

/// The function that lists go through on their way into a macro. `@` keeps it out of reach of sources.
const WALK: &str = "@walk";
/// Ends the loops of `exists` and `all` once the bound is passed: they would swallow the error and go on.
const GOING: &str = "@going";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the standard functions leave its names free");
    Arc::new(env)
});

/// A checked expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    root: IdedExpr,
    uses: names::Uses,
    /// Functions of ours that it calls.
    ours: BTreeSet<&'static str>,
    /// Its value, where that is written out: most parameters of effects are.
    literal: Option<Value>,
    /// The name and the fields that it is made of, where it is nothing else: `results.paid.body.id`.
    path: Option<(String, Vec<String>)>,
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
        let (root, positions) = parse(source)?;
        let uses = names::check(&root, &positions, names).map_err(|refused| in_letters(source, refused))?;
        let mut ours = BTreeSet::new();
        let root = rewrite(root, &mut ours);
        let literal =
            matches!(root.expr, Expr::Literal(_)).then(|| Cel::resolve(&root, &Context::with_env(ENV.clone())));
        let literal = literal.and_then(|value| json::from_cel(&value.ok()?).ok());
        let path = path(&root);
        Ok(Self { source: source.to_owned(), root, uses, ours, literal, path })
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
        self.literal.as_ref()?.as_bool()
    }

    /// Its value as JSON.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        if let Some(value) = &self.literal {
            return Ok(value.clone());
        }
        // What has parts may be too deep or too long, and what is missing has to be told: CEL says so.
        let found = self.path.as_ref().and_then(|(name, fields)| scope.find(name, fields));
        if let Some(value) = found.filter(|value| !value.is_array() && !value.is_object()) {
            return Ok(value.clone());
        }
        let spent = Arc::new(Spent::default());
        let mut context = Context::with_env(Arc::clone(&ENV));
        self.ours.iter().for_each(|name| spent.count(name, &mut context));
        scope.bind(&self.uses, &mut context);
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

    fn failed(&self, what: impl Into<String>) -> EvaluationError {
        EvaluationError { source_text: self.source.clone(), what: what.into() }
    }
}

/// What one evaluation has walked and made.
#[derive(Debug, Default)]
struct Spent {
    walked: AtomicU64,
    weight: AtomicU64,
    longest: AtomicU64,
    made: AtomicU64,
    sought: AtomicU64,
}

/// Takes room for so many bytes more.
type Spend = fn(&Spent, usize) -> Result<(), ExecutionError>;

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
        if self.weight.load(Ordering::Relaxed) > WEIGHT_MAX {
            return Some(format!("its macros walk more than {WEIGHT_MAX} bytes"));
        }
        if self.made.load(Ordering::Relaxed) > MADE_MAX {
            return Some(format!("its functions make more than {MADE_MAX} bytes of text"));
        }
        (self.sought.load(Ordering::Relaxed) > SOUGHT_MAX)
            .then(|| format!("its functions look through more than {SOUGHT_MAX} bytes of text"))
    }

    /// Makes a function of ours known under its name.
    fn count(self: &Arc<Self>, name: &str, context: &mut Context<'_, '_>) {
        let counter = Arc::clone(self);
        let of = |all: &[(&str, &str, grow::Made)]| all.iter().find(|(_, ours, _)| *ours == name).map(|it| it.2);
        let (made, sought) = (of(&grow::OURS).map(|it| (it, Self::make as Spend)), of(&seek::OURS));
        let added = match (name, made.or_else(|| sought.map(|it| (it, Self::seek as Spend)))) {
            (WALK, _) => context.add_function(WALK, move |range: Cel| walk(range, &counter)),
            (GOING, _) => context.add_function(GOING, move |more: bool| more && counter.over().is_none()),
            (_, Some((function, spend))) => {
                let counted =
                    move |Arguments(arguments): Arguments| function(&arguments, &|bytes| spend(&counter, bytes));
                context.add_function(name, counted)
            }
            (_, None) => return,
        };
        added.expect("no standard function has a name that begins with @");
    }

    fn make(&self, bytes: usize) -> Result<(), ExecutionError> {
        self.spend(&self.made, bytes)
    }

    fn seek(&self, bytes: usize) -> Result<(), ExecutionError> {
        self.spend(&self.sought, bytes)
    }

    fn spend(&self, what: &AtomicU64, bytes: usize) -> Result<(), ExecutionError> {
        what.fetch_add(bytes as u64, Ordering::Relaxed);
        self.over().map_or(Ok(()), |over| Err(ExecutionError::function_error(WALK, over)))
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

/// Puts [`WALK`] around what each macro walks, and [`GOING`] around the condition of those that stop early; calls ours
/// ([`grow`]) for the functions that could take too much. Notes the names of what is called so.
fn rewrite(mut expression: IdedExpr, all: &mut BTreeSet<&'static str>) -> IdedExpr {
    names::for_each_child(&mut expression, &mut |child| *child = rewrite(std::mem::take(child), all));
    if let Expr::Comprehension(comprehension) = &mut expression.expr {
        all.insert(WALK);
        comprehension.iter_range = called(WALK, std::mem::take(&mut comprehension.iter_range));
        if !matches!(comprehension.loop_cond.expr, Expr::Literal(_)) {
            all.insert(GOING);
            comprehension.loop_cond = called(GOING, std::mem::take(&mut comprehension.loop_cond));
        }
    }
    if let Expr::Call(call) = &mut expression.expr
        && let Some(ours) = grow::instead_of(call)
    {
        all.insert(ours);
        call.func_name = ours.to_owned();
        call.args.splice(0..0, call.target.take().map(|target| *target));
    }
    expression
}

/// The name and the fields of an expression that has nothing else.
fn path(expression: &IdedExpr) -> Option<(String, Vec<String>)> {
    match &expression.expr {
        Expr::Ident(name) => Some((name.clone(), Vec::new())),
        Expr::Select(select) if !select.test => {
            let (name, mut fields) = path(&select.operand)?;
            fields.push(select.field.clone());
            Some((name, fields))
        }
        _ => None,
    }
}

fn called(function: &str, argument: IdedExpr) -> IdedExpr {
    let id = argument.id;
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: function.into(), target: None, args: vec![argument] }) }
}

/// On a thread of its own, since callers may have little stack left and a stack overflow would end the process.
fn parse(source: &str) -> Result<(IdedExpr, SourceInfo), Vec<Refused>> {
    let run = || ENV.parser().parse_with_source_info(source).map_err(|found| syntax(source, &found));
    let broken = |what: &str| Refused { offset: 0, what: what.to_owned(), remedy: "write it in another way".into() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(PARSER_STACK).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| vec![broken(&format!("no thread to parse it on: {error}"))])?;
        thread.join().unwrap_or_else(|_| Err(vec![broken("the parser broke on it")]))
    })
}

/// The parser counts bytes where it says where a name stands.
fn in_letters(source: &str, refused: Vec<Refused>) -> Vec<Refused> {
    let letters = |bytes: usize| source.char_indices().take_while(|(at, _)| *at < bytes).count();
    refused.into_iter().map(|one| Refused { offset: letters(one.offset), ..one }).collect()
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
        ExecutionError::UnsupportedBinaryOperator(name, left, right) => {
            let sign = [("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"), ("rem", "%")];
            let sign = sign.iter().find(|(word, _)| word == name).map_or(*name, |(_, sign)| sign);
            format!("`{sign}` does not go with {} and {}", left.type_of(), right.type_of())
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", left.type_of(), right.type_of())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domains::flow::Progress;

    fn compile(source: &str) -> Result<Expression, Vec<Refused>> {
        let variables = names::variables(&["item", "index", "payload"]);
        let names = Names { variables, results: BTreeSet::from(["a", "b"]), later: BTreeSet::new() };
        Expression::compile(source, &names)
    }

    fn evaluate_on(source: &str, object: Value) -> Result<Value, String> {
        let mut progress = Progress::new("flow");
        progress.apply(&super::super::Fact::StepDone { step: "a".into(), item: None, result: json!({ "x": 1 }) });
        let input = Input { object, actor: json!("https://a.example/actor"), ..Input::default() };
        let element = json!("it");
        let scope = Scope { item: Some((&element, 3)), ..Scope::of(&input, &progress) };
        compile(source).map_err(|it| it[0].to_string())?.evaluate(&scope).map_err(|it| it.what)
    }

    fn evaluate(source: &str) -> Result<Value, String> {
        evaluate_on(source, json!({ "title": "Gig", "n": 5, "f": 2.5, "list": [3, 1, 2], "none": null }))
    }

    #[test]
    fn what_is_written_out_is_its_own_value_and_others_are_given_what_they_call() {
        for (source, value) in [("'a step'", json!("a step")), ("true", json!(true)), ("2.5", json!(2.5))] {
            let compiled = compile(source).unwrap();
            assert_eq!((compiled.literal.as_ref(), evaluate(source)), (Some(&value), Ok(value.clone())));
        }
        for (source, value) in [("results.a.x", json!(1)), ("object.f", json!(2.5)), ("object.none", json!(null))] {
            assert!(compile(source).unwrap().path.is_some());
            assert_eq!(evaluate(source), Ok(value));
        }
        assert_eq!(evaluate("object.list"), Ok(json!([3, 1, 2])));
        assert!(evaluate("object.list.first").is_err() && evaluate("object.nothing").is_err());
        assert_eq!(compile("has(object.title)").unwrap().path, None);
        let called = |source: &str| compile(source).unwrap().ours.into_iter().collect::<Vec<_>>();
        assert_eq!(called("object.n"), [""; 0]);
        assert_eq!(called("object.list.map(it, 'a' + it)"), ["@add", WALK]);
        assert_eq!(called("object.list.exists(it, it == 'a'.replace('b', 'c'))"), [GOING, "@replace", WALK]);
    }

    #[test]
    fn names_have_their_values() {
        for (source, expected) in [
            ("object.title + ' ' + string(object.n)", json!("Gig 5")),
            ("results.a.x + 1", json!(2)),
            ("results['a'].x", json!(1)),
            ("has(results.a) && !has(results.b)", json!(true)),
            ("item + string(index)", json!("it3")),
            ("payload == null && object.none == null", json!(true)),
            ("actor.startsWith('https://')", json!(true)),
            ("object.f * 2.0", json!(5.0)),
            ("object.n > 4.5", json!(true)),
            ("object.list.filter(x, x > 1).map(x, x * 10)", json!([30, 20])),
            ("object.list.exists(x, x == 2) && object.list.all(x, x < 4)", json!(true)),
            ("{'a': [1, {'b': null}]}", json!({ "a": [1, { "b": null }] })),
            ("'a,b'.split(',').join('-').upperAscii()", json!("A-B")),
            ("size(object.title) == 3 ? 'three' : 'other'", json!("three")),
            ("type(object.title) == string", json!(true)),
        ] {
            assert_eq!(evaluate(source), Ok(expected), "{source}");
        }
    }

    #[test]
    fn failures_are_told_in_plain_words() {
        for (source, expected) in [
            ("object.titel", "there is no `titel`; `has(….titel)` asks whether there is"),
            ("object.title + 1", "`+` does not go with string and int"),
            ("1 / (object.n - 5)", "division by zero"),
            ("object.list[7]", "an index is beyond the end of the list"),
            ("9223372036854775807 + object.n", "a number is too large"),
            ("b'ab'", "it gave a bytes, which JSON cannot say"),
        ] {
            assert_eq!(evaluate(source), Err(expected.to_owned()), "{source}");
        }
    }

    #[test]
    fn the_order_of_a_table_is_that_of_its_keys_in_every_run() {
        let object: serde_json::Map<_, _> = (0..50).map(|n| (format!("k{n:02}"), json!(n))).collect();
        let sorted: Vec<_> = object.keys().cloned().collect();
        for _ in 0..5 {
            assert_eq!(evaluate_on("object.map(key, key)", Value::Object(object.clone())), Ok(json!(sorted)));
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_even_where_errors_are_swallowed() {
        let object = |length: usize| json!({ "list": vec![0; length] });
        assert_eq!(evaluate_on("object.list.exists(x, x == 1)", object(LIST_MAX)), Ok(json!(false)));
        let refused = Err("a list of 10001 is too long, at most 10000 are allowed".to_owned());
        assert_eq!(evaluate_on("object.list.map(x, x)", object(LIST_MAX + 1)), refused);
        assert_eq!(
            evaluate_on("[1, 2].exists(y, y == 2 || object.list.all(x, x == 1))", object(LIST_MAX + 1)),
            refused
        );
    }

    #[test]
    fn macros_that_would_walk_for_ever_are_stopped() {
        let object = json!({ "list": vec![0; 10_000], "text": "x".repeat(1_000) });
        let all_pairs = "object.list.map(x, object.list.map(y, x + y))";
        assert!(evaluate_on(all_pairs, object.clone()).unwrap_err().contains("walk more than"));
        let pairs = "object.list.exists(x, object.list.exists(y, x + y == 1))";
        assert!(evaluate_on(pairs, object.clone()).unwrap_err().contains("walk more than"));
        let doubling = format!("[object.text]{}", ".map(x, x + x + x + x + x + x)".repeat(10));
        assert!(evaluate_on(&doubling, object).unwrap_err().contains("more than"));
    }

    #[test]
    fn texts_are_replaced_split_and_joined() {
        for (source, expected) in [
            ("'hello'.replace('l', 'LL')", json!("heLLLLo")),
            ("'hello'.replace('l', '', 1)", json!("helo")),
            ("'hello'.replace('l', 'x', -1) + 'a'.replace('', '_') + 'a'.replace('a', 'b', 0)", json!("hexxo_a_a")),
            ("'a,b,c'.split(',')", json!(["a", "b", "c"])),
            ("'a,b,c'.split(',', 2) + 'a'.split(',', 0) + ''.split(',')", json!(["a", "b,c", ""])),
            (
                "'äbc'.split('') + 'äbc'.split('', 2) + ''.split('') + 'ä'.split('', 1)",
                json!(["ä", "b", "c", "ä", "bc", "ä"]),
            ),
            ("['a', 'b'].join() + ['a', 'b'].join('-') + [].join('-')", json!("aba-b")),
        ] {
            assert_eq!(evaluate(source), Ok(expected), "{source}");
        }
        for (source, expected) in [
            ("'a'.replace('a', object.n)", "`replace` does not go with string and string and int"),
            ("object.n.split(',')", "`split` does not go with int and string"),
            ("object.list.join('-')", "`join` does not go with list and string"),
        ] {
            assert_eq!(evaluate(source), Err(expected.to_owned()), "{source}");
        }
    }

    #[test]
    fn a_value_does_not_grow_deeper_than_what_can_be_read_again() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "in": inner }));
        assert_eq!(evaluate_on("[object]", nested(119)), Ok(json!([nested(119)])));
        let refused = "it gave lists and tables in more than 120 levels, which JSON cannot say".to_owned();
        assert_eq!(evaluate_on("[object]", nested(120)), Err(refused.clone()));
        assert_eq!(evaluate_on("{'a': object}", nested(120)), Err(refused));
    }

    /// Ten times as long a dozen times over: no machine has that many bytes, and asking for them ends the process.
    #[test]
    fn texts_that_would_grow_without_end_are_stopped() {
        for source in [
            format!("'a'{}", ".replace('a', 'aaaaaaaaaa')".repeat(14)),
            format!("size('a'{}) > 0 || true", ".replace('', 'aaaaaaaaaa')".repeat(14)),
            format!("'ab'{}", ".split('').join('aaaaaaaaaa')".repeat(12)),
        ] {
            assert!(evaluate(&source).unwrap_err().contains("functions make more than"), "{source}");
        }
        let object = || json!({ "list": vec![0; 10_000], "text": "x".repeat(10_000) });
        let made = evaluate_on("object.list.map(x, object.text + 'x')", object());
        assert!(made.unwrap_err().contains("functions make more than"));
        let made = evaluate_on("object.list.map(x, object.list + [x])", object());
        assert!(made.unwrap_err().contains("functions make more than"));
        // One text in memory, and ten thousand in JSON.
        let given = evaluate_on("object.list.map(x, object.text)", object());
        assert_eq!(given, Err("it gave more than 16777216 bytes, which JSON cannot say".to_owned()));
    }

    #[test]
    fn texts_are_looked_for_in_others_by_letters() {
        for (source, expected) in [
            ("['hello mellow'.indexOf('ello'), 'hello mellow'.lastIndexOf('ello')]", json!([1, 7])),
            ("['ta©o©αT'.indexOf('©', 3), 'ta©o©αT'.lastIndexOf('©', 3), 'a'.indexOf('b')]", json!([4, 2, -1])),
            ("['abc'.indexOf(''), 'abc'.lastIndexOf(''), 'abc'.indexOf('', 20)]", json!([0, 3, 3])),
        ] {
            assert_eq!(evaluate(source), Ok(expected), "{source}");
        }
        for (source, expected) in [
            ("'hello'.indexOf('l', 5)", "indexOf: index out of range: 5"),
            ("'hello'.lastIndexOf('', -1)", "lastIndexOf: index out of range: -1"),
            ("object.n.indexOf('l')", "`indexOf` does not go with int and string"),
        ] {
            assert_eq!(evaluate(source), Err(expected.to_owned()), "{source}");
        }
    }

    /// As many bytes as there may be are looked through, and not one text more.
    #[test]
    fn functions_that_would_look_through_too_much_are_stopped() {
        let most = usize::try_from(SOUGHT_MAX).unwrap() / LIST_MAX - 1;
        let object = |bytes: usize| json!({ "list": vec![0; LIST_MAX], "text": "x".repeat(bytes) });
        for function in ["indexOf", "lastIndexOf"] {
            let all = format!("object.list.all(x, object.text.{function}('b') < 0)");
            assert_eq!(evaluate_on(&all, object(most)), Ok(json!(true)), "{function}");
            let refused = evaluate_on(&all, object(most + 1)).unwrap_err();
            assert!(refused.contains("look through more than 16777216 bytes"), "{refused}");
        }
    }

    /// On the stack that threads get, the deepest that is allowed works and everything deeper is refused in time.
    #[test]
    fn a_deep_expression_is_refused_and_does_not_end_the_process() {
        let child = std::thread::Builder::new().stack_size(2 << 20);
        let checked = child.spawn(|| {
            let sum = |terms: usize| vec!["1"; terms].join("+");
            let around =
                |open: &str, depth: usize, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for right in [
                sum(32),
                around("(", 24, ")"),
                around("[", 24, "]"),
                around("string(", 24, ")"),
                format!("[1]{}", ".map(x, x)".repeat(14)),
            ] {
                evaluate(&right).unwrap();
            }
            for wrong in [
                sum(33),
                sum(2_000),
                around("(", 25, ")"),
                around("[", 2_000, "]"),
                "-".repeat(4_000),
                format!("object{}", ".x".repeat(2_000)),
                format!("[1]{}", ".map(x, x)".repeat(16)),
            ] {
                compile(&wrong).unwrap_err();
            }
        });
        checked.unwrap().join().unwrap();
    }

    #[test]
    fn a_mistake_stands_where_its_letter_does() {
        for (source, offset) in [("'x' + nobody", 6), ("'bücher' + nobody", 11), ("'😀'\n + nobody", 7)] {
            assert_eq!(compile(source).unwrap_err()[0].offset, offset, "{source}");
        }
    }

    #[test]
    fn constants_are_known() {
        assert_eq!(compile("true").unwrap().constant(), Some(true));
        assert_eq!(compile("1 == 1").unwrap().constant(), None);
    }

    proptest! {
        #[test]
        fn no_source_panics(source in "[a-z0-9 .,+*/()\\[\\]{}?:!&|<>='\"\\\\-]{0,60}") {
            let _ = evaluate(&source);
        }

        #[test]
        fn sources_of_real_words_do_not_panic(words in prop::collection::vec(prop::sample::select(vec![
            "object", ".", "list", "results", "a", "item", "index", "map", "filter", "has", "(", ")", "x", ",", "+", "-",
            "==", "&&", "?", ":", "[", "]", "{", "}", "1", "2.5", "'t'", "size", "string", "null", "true", "in", "!",
        ]), 0..14)) {
            let _ = evaluate(&words.join(""));
        }
    }
}
