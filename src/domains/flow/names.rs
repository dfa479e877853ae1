//! What an expression may name: our variables, our whitelist of functions, and steps that come before it.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::expr::{NESTING_MAX, Refused};
use crate::config::nearest::nearest;

/// What a place in a flow may name.
#[derive(Debug, Clone, Default)]
pub struct Names<'a> {
    pub variables: Vec<&'a str>,
    /// The steps whose `results` are there when the expression runs.
    pub results: BTreeSet<&'a str>,
    /// The other steps, which the text of a mistake tells apart from unknown ones.
    pub later: BTreeSet<&'a str>,
}

/// What an expression does name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    pub variables: BTreeSet<String>,
    pub results: BTreeSet<String>,
    /// Macros by how many stand around them.
    pub macros: [u32; NESTING_MAX],
}

/// Operators in one source. Each makes the tree one deeper at most, and parser and interpreter recurse.
const OPERATORS_MAX: usize = 200;
/// How deep brackets may stand in one another: each costs the parser a dozen calls.
const BRACKETS_MAX: usize = 24;

/// How deep the tree may be, the interpreter goes down by recursion: 30 KiB of stack a level in a debug build, where
/// threads have 2 MiB. A macro counts for more. Sums grow by a level with each `+`; `&&` and `||` hardly do.
const TREE_MAX: usize = 32;
const MACRO_LEVELS: usize = 2;

/// Functions by name: how many arguments as `f(x)`, how many as `x.f(y)`.
const FUNCTIONS: &[(&str, &[usize], &[usize])] = &[
    ("size", &[1], &[0]),
    ("string", &[1], &[]),
    ("int", &[1], &[]),
    ("uint", &[1], &[]),
    ("double", &[1], &[]),
    ("bool", &[1], &[]),
    ("type", &[1], &[]),
    ("contains", &[], &[1]),
    ("startsWith", &[], &[1]),
    ("endsWith", &[], &[1]),
    ("lowerAscii", &[], &[0]),
    ("upperAscii", &[], &[0]),
    ("trim", &[], &[0]),
    ("replace", &[], &[2, 3]),
    ("split", &[], &[1, 2]),
    ("join", &[], &[0, 1]),
    ("substring", &[], &[1, 2]),
    ("indexOf", &[], &[1, 2]),
    ("lastIndexOf", &[], &[1, 2]),
    ("charAt", &[], &[1]),
    ("reverse", &[], &[0]),
];

/// The macros, for the nearest known name; a right call of one is no longer a call when it comes here.
const MACROS: &[(&str, &str)] = &[
    ("has", "has(object.field)"),
    ("all", "list.all(x, condition)"),
    ("exists", "list.exists(x, condition)"),
    ("exists_one", "list.exists_one(x, condition)"),
    ("map", "list.map(x, value)"),
    ("filter", "list.filter(x, condition)"),
];

/// Names of CEL's own types, for `type(x) == string`.
const TYPES: &[&str] = &["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type"];

/// Refuses a source whose tree could be too deep for the stack, without parsing it.
pub(super) fn shallow(source: &str) -> Result<(), Vec<Refused>> {
    let (mut quote, mut escaped) = (None, false);
    let (mut operators, mut depth, mut deepest) = (0, 0_usize, 0);
    for letter in source.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None => {
                operators += usize::from("+-*/%<>=!&|?:.([{".contains(letter));
                match letter {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                deepest = deepest.max(depth);
            }
        }
    }
    let what = if operators > OPERATORS_MAX {
        format!("the expression has {operators} operators, at most {OPERATORS_MAX} are allowed")
    } else if deepest > BRACKETS_MAX {
        format!("the expression has brackets {deepest} deep, at most {BRACKETS_MAX} are allowed")
    } else {
        return Ok(());
    };
    Err(vec![Refused { offset: 0, what, remedy: "split it into several steps".into() }])
}

/// Looks up every name and function, and measures how macros nest.
pub(super) fn check(root: &IdedExpr, positions: &SourceInfo, names: &Names<'_>) -> Result<Uses, Vec<Refused>> {
    let mut check = Check { names, positions, uses: Uses::default(), refused: Vec::new(), bound: Vec::new() };
    if depth(root) > TREE_MAX {
        check.refuse(
            root,
            format!("the expression is more than {TREE_MAX} operations deep"),
            "split it into several steps",
        );
        return Err(check.refused);
    }
    check.visit(root, 0);
    if check.refused.is_empty() { Ok(check.uses) } else { Err(check.refused) }
}

/// Calls `each` with every expression directly below.
pub(super) fn for_each_child(expression: &mut IdedExpr, each: &mut dyn FnMut(&mut IdedExpr)) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => call.target.iter_mut().map(|target| &mut **target).chain(&mut call.args).for_each(each),
        Expr::Comprehension(it) => {
            [&mut it.iter_range, &mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result]
                .into_iter()
                .for_each(each);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(each),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| entry_children(&mut entry.expr, each)),
        Expr::Select(select) => each(&mut select.operand),
        Expr::Struct(it) => it.entries.iter_mut().for_each(|entry| entry_children(&mut entry.expr, each)),
    }
}

fn depth(expression: &IdedExpr) -> usize {
    let deepest = |parts: &mut dyn Iterator<Item = &IdedExpr>| parts.map(depth).max().unwrap_or(0);
    let (own, below) = match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => (1, 0),
        Expr::Select(select) => (1, depth(&select.operand)),
        Expr::Call(call) => (1, deepest(&mut call.target.iter().map(|it| &**it).chain(&call.args))),
        Expr::List(list) => (1, deepest(&mut list.elements.iter())),
        Expr::Map(map) => (1, map.entries.iter().map(|it| entry_depth(&it.expr)).max().unwrap_or(0)),
        Expr::Struct(it) => (1, it.entries.iter().map(|it| entry_depth(&it.expr)).max().unwrap_or(0)),
        Expr::Comprehension(it) => {
            let parts = [&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result];
            (MACRO_LEVELS, deepest(&mut parts.into_iter()))
        }
    };
    own + below
}

fn entry_depth(entry: &EntryExpr) -> usize {
    match entry {
        EntryExpr::StructField(field) => depth(&field.value),
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
    }
}

fn entry_children(entry: &mut EntryExpr, each: &mut dyn FnMut(&mut IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => each(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            each(&mut entry.key);
            each(&mut entry.value);
        }
    }
}

struct Check<'a> {
    names: &'a Names<'a>,
    positions: &'a SourceInfo,
    uses: Uses,
    refused: Vec<Refused>,
    /// The variables of the macros around.
    bound: Vec<&'a str>,
}

impl<'a> Check<'a> {
    fn visit(&mut self, at: &'a IdedExpr, nesting: usize) {
        match &at.expr {
            Expr::Literal(_) | Expr::Unspecified => {}
            Expr::Ident(name) => self.ident(at, name),
            Expr::Select(select) => {
                if is_results(&select.operand) {
                    self.result(at, &select.field);
                } else {
                    self.visit(&select.operand, nesting);
                }
            }
            Expr::Call(call) => {
                if call.func_name == operators::INDEX && call.args.first().is_some_and(is_results) {
                    return self.result_by_index(at, &call.args[1]);
                }
                self.function(at, &call.func_name, call.target.is_some(), call.args.len());
                call.target.iter().map(|target| &**target).chain(&call.args).for_each(|it| self.visit(it, nesting));
            }
            Expr::List(list) => list.elements.iter().for_each(|it| self.visit(it, nesting)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key, nesting);
                        self.visit(&entry.value, nesting);
                    }
                }
            }
            Expr::Struct(it) => {
                let what = format!("`{} {{…}}` makes a value of a type, and there are none", it.type_name);
                self.refuse(at, what, "write a table as {'key': value}");
            }
            Expr::Comprehension(it) => {
                if nesting == NESTING_MAX {
                    let what = format!("macros stand in one another more than {NESTING_MAX} deep");
                    self.refuse(at, what, "do a part of it in a step before");
                    return;
                }
                self.uses.macros[nesting] += 1;
                self.visit(&it.iter_range, nesting);
                self.bound.push(&it.iter_var);
                [&it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
                    .into_iter()
                    .for_each(|part| self.visit(part, nesting + 1));
                self.bound.pop();
            }
        }
    }

    fn ident(&mut self, at: &IdedExpr, name: &str) {
        if name.starts_with('@') || self.bound.contains(&name) || TYPES.contains(&name) {
            return;
        }
        if name == "results" && self.names.variables.contains(&name) {
            return self.refuse(at, "`results` alone is everything there is", "name one: results.STEP");
        }
        if self.names.variables.contains(&name) {
            self.uses.variables.insert(name.to_owned());
            return;
        }
        let remedy = match name {
            "item" | "index" => "`item` and `index` exist in the `with` of an `each` only".to_owned(),
            "with" | "result" => {
                "`with` and `result` exist in an `undo` only; name a step's as results.STEP".to_owned()
            }
            "callback_url" => "`callback_url` exists in an `http` step with callback = true only".to_owned(),
            "payload" => {
                "`payload` exists after exactly one nearest `suspend`; name another one's as results.STEP".to_owned()
            }
            _ => {
                let known = self.names.variables.join(", ");
                let quoted = format!("known are {known}; text stands in 'single quotes'");
                nearest(name, self.names.variables.iter().copied())
                    .map_or(quoted, |near| format!("did you mean `{near}`?"))
            }
        };
        self.refuse(at, format!("unknown name `{name}`"), remedy);
    }

    fn result(&mut self, at: &IdedExpr, step: &str) {
        if self.names.results.contains(step) {
            self.uses.variables.insert("results".into());
            self.uses.results.insert(step.to_owned());
        } else if !self.names.variables.contains(&"results") {
            let known = format!("known are {}", self.names.variables.join(", "));
            self.refuse(at, "`results` are not known here", known);
        } else if self.names.later.contains(step) {
            let what = format!("`results.{step}` is not known yet: no path leads from `{step}` to here");
            self.refuse(at, what, format!("add after = \"{step}\""));
        } else {
            let remedy = nearest(step, self.names.results.iter().copied()).map_or_else(
                || "name a step of this flow".to_owned(),
                |near| format!("did you mean `results.{near}`?"),
            );
            self.refuse(at, format!("`results.{step}`: there is no step `{step}`"), remedy);
        }
    }

    fn result_by_index(&mut self, at: &IdedExpr, index: &IdedExpr) {
        match &index.expr {
            Expr::Literal(LiteralValue::String(step)) => self.result(at, step.inner()),
            _ => self.refuse(at, "`results[…]` with a computed name", "name the step: results.STEP"),
        }
    }

    fn function(&mut self, at: &IdedExpr, name: &str, method: bool, arguments: usize) {
        let is_operator = name.starts_with(['_', '!', '@', '-']);
        if is_operator && !matches!(name, operators::OPT_INDEX | operators::OPT_SELECT) {
            return;
        }
        let Some((_, plain, methods)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
            return self.unknown_function(at, name);
        };
        let (counts, form) = if method { (methods, "x.") } else { (plain, "") };
        if counts.contains(&arguments) {
            return;
        }
        let shape = |form: &str, count: &usize| format!("{form}{name}({})", vec!["…"; *count].join(", "));
        let known: Vec<String> =
            plain.iter().map(|count| shape("", count)).chain(methods.iter().map(|count| shape("x.", count))).collect();
        let what = format!("`{}` is no form of `{name}`", shape(form, &arguments));
        self.refuse(at, what, format!("write {}", known.join(" or ")));
    }

    fn unknown_function(&mut self, at: &IdedExpr, name: &str) {
        if let Some((_, form)) = MACROS.iter().find(|(known, _)| *known == name) {
            return self.refuse(at, format!("`{name}` is not called like this"), format!("write {form}"));
        }
        let known = FUNCTIONS.iter().map(|(known, ..)| *known).chain(MACROS.iter().map(|(known, _)| *known));
        let remedy = nearest(name, known.clone()).map_or_else(
            || format!("known are {}", known.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.refuse(at, format!("unknown function `{name}`"), remedy);
    }

    fn refuse(&mut self, at: &IdedExpr, what: impl Into<String>, remedy: impl Into<String>) {
        let offset = self.positions.offset_for(at.id).map_or(0, |(start, _)| start as usize);
        self.refused.push(Refused { offset, what: what.into(), remedy: remedy.into() });
    }
}

fn is_results(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "results")
}

/// What an undo may name: what its step was given and gave, since other steps may have begun again meanwhile.
pub fn undo_variables() -> Vec<&'static str> {
    vec!["input", "activity", "object", "actor", "with", "result"]
}

/// What an instance may be found and counted by: what is known when it begins.
pub fn start_variables() -> Vec<&'static str> {
    vec!["input", "activity", "object", "actor"]
}

/// How the steps before may be named from here, by the variables that a place has.
pub fn variables<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    ["input", "activity", "object", "actor", "results"].into_iter().chain(extra.iter().copied()).collect()
}
