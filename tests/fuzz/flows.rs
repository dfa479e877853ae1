//! What operators write, and what other nodes have run here: expressions, flows, whole configurations.

use std::collections::BTreeSet;

use quickbeam::config::Report;
use quickbeam::config::reader::{parse_span, show_span};
use quickbeam::config::tree::Node;
use quickbeam::domains::all_effects;
use quickbeam::domains::catalog::load;
use quickbeam::domains::flow::check::{Bounds, compile};
use quickbeam::domains::flow::definition::{Definition, DefinitionHash};
use quickbeam::domains::flow::expr::{Expression, Scope};
use quickbeam::domains::flow::names::{Names, variables};
use quickbeam::domains::flow::{Input, Progress};
use serde_json::json;

use super::json::JSON;
use super::run::{Target, named, text};

const CEL: [&str; 72] = [
    "object",
    "object.title",
    "object.list",
    "object.table",
    "object.big",
    "input",
    "activity",
    "actor",
    "results",
    "results.a",
    "results['a']",
    "item",
    "index",
    "payload",
    ".map(x, ",
    ".filter(x, ",
    ".exists(x, ",
    ".all(x, ",
    ".exists_one(x, ",
    "has(",
    "size(",
    "string(",
    "int(",
    "double(",
    "bool(",
    "type(",
    ".contains(",
    ".startsWith(",
    ".trim()",
    ".replace('a', 'aaaaaaaaaa')",
    ".replace('', object.big)",
    ".split('')",
    ".split(',', 2)",
    ".join(object.big)",
    ".join()",
    ".substring(1)",
    ".substring(0, 2)",
    ".indexOf('a')",
    ".lastIndexOf(object.big)",
    ".charAt(0)",
    ".reverse()",
    ".upperAscii()",
    "x",
    "y",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ": ",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " == ",
    " in ",
    " && ",
    " || ",
    " ? ",
    "!",
    "-",
    "'a'",
    "\"\\u00e9\"",
    "b'\\xff'",
    "1u",
    "2.5",
    "9223372036854775807",
    "r'\\'",
    "// c\n",
];

#[test]
fn expression() {
    let names = Names {
        variables: variables(&["item", "index", "payload"]),
        results: BTreeSet::from(["a", "b"]),
        later: BTreeSet::new(),
    };
    let object = json!({ "title": "Gig", "n": 5, "f": 2.5, "list": [3, 1, 2], "none": null, "table": { "a": 1, "b": "c" }, "big": "a".repeat(10_000) });
    let input = Input { object, actor: json!("https://a.example/actor"), ..Input::default() };
    let (progress, element) = (Progress::new("flow"), json!("it"));
    let scope = Scope { item: Some((&element, 3)), ..Scope::of(&input, &progress) };
    Target { name: "expression", also: &[], made: &[], tokens: &CEL }.run(|source| {
        let source = text(source);
        let expression = match Expression::compile(&source, &names) {
            Ok(expression) => expression,
            Err(refused) => {
                assert!(!refused.is_empty());
                assert!(
                    refused.iter().all(|one| one.offset <= source.chars().count() && !one.what.contains("broke")),
                    "{refused:?}"
                );
                return refused[0]
                    .what
                    .split('`')
                    .next_back()
                    .unwrap_or_default()
                    .chars()
                    .filter(|letter| !letter.is_ascii_digit())
                    .take(30)
                    .collect();
            }
        };
        assert_eq!(expression.source(), source);
        let value = expression.evaluate(&scope);
        assert_eq!(value, expression.evaluate(&scope), "it gives another value each time");
        match value {
            Ok(value) => {
                assert!(value.to_string().len() < 64 << 20, "a short expression gives a long value");
                named(&value)
            }
            Err(failed) => failed.what.chars().filter(|letter| !letter.is_ascii_digit()).take(24).collect(),
        }
    });
}

const TOML: [&str; 60] = [
    "\n",
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "#",
    ".",
    ",",
    "true",
    "1",
    "-1",
    "1e5",
    "0x10",
    "1979-05-27",
    "\n[node]\n",
    "\n[public]\n",
    "\n[limits]\n",
    "\n[peers.x]\n",
    "\n[type.x]\n",
    "\n[type.x.fields]\n",
    "\n[flow.x.steps.y]\n",
    "\n[flow.x]\n",
    "\n[schedule.x]\n",
    "\n[seed.x.y]\n",
    "name = ",
    "base = ",
    "listen = ",
    "actor = ",
    "effect = ",
    "branch = ",
    "each = ",
    "suspend = ",
    "wait = ",
    "all = ",
    "call = ",
    "http = ",
    "ask = ",
    "after = ",
    "if = ",
    "retry = ",
    "timeout = ",
    "undo = ",
    "with = ",
    "otherwise = ",
    "result = ",
    "on.Follow = ",
    "\"10m\"",
    "\"never\"",
    "\"64 KiB\"",
    "\"https://blog.example\"",
    "[\"y\"]",
    "{ text = \"'x'\" }",
    "\"notify\"",
    "\u{feff}",
];

#[test]
fn configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let also = ["../config/blog.toml", "../config/events.toml", "../config/empty.toml"];
    Target { name: "configuration", also: &also, made: &[], tokens: &TOML }.run(|input| {
        let toml = text(input);
        std::fs::write(&path, toml.as_bytes()).unwrap();
        let (_, catalog) = match load(&path, std::iter::empty(), &all_effects()) {
            Ok(loaded) => loaded,
            Err(mistakes) => {
                assert!(!mistakes.is_empty());
                let lines = toml.split('\n').count();
                assert!(
                    mistakes.iter().all(|mistake| mistake.line <= lines && !mistake.what.is_empty()),
                    "{mistakes:?}"
                );
                return mistakes[0].what.chars().filter(|letter| letter.is_ascii_lowercase()).take(16).collect();
            }
        };
        for flow in catalog.flows() {
            let bytes = flow.definition.to_bytes();
            assert_eq!(Definition::from_bytes(&bytes).unwrap(), flow.definition);
            assert_eq!(catalog.add_stored(&bytes).unwrap().hash, flow.hash);
        }
        format!("{} flows {} types", catalog.flows().count(), catalog.types().count())
    });
}

/// A stored flow, or one that another node has run here.
#[test]
fn definition() {
    let mut made = Vec::new();
    for config in ["blog", "events"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{config}.toml"));
        let (_, catalog) = load(&path, std::iter::empty(), &all_effects()).unwrap();
        made.extend(catalog.flows().map(|flow| flow.definition.to_bytes()));
    }
    let words = [
        "\"steps\":",
        "\"after\":",
        "\"kind\":",
        "\"effect\":",
        "\"branch\":",
        "\"each\":",
        "\"with\":",
        "\"undo\":",
        "\"retry\":",
        "\"if\":",
        "\"wait\":",
    ];
    let tokens: Vec<&str> = words.into_iter().chain(JSON).collect();
    Target { name: "definition", also: &["golden/flow_definition.json"], made: &made, tokens: &tokens }.run(|input| {
        let definition = match Definition::from_bytes(input) {
            Ok(definition) => definition,
            Err(refused) => return refused.to_string().chars().take(20).collect(),
        };
        let bytes = definition.to_bytes();
        assert_eq!(Definition::from_bytes(&bytes).unwrap(), definition);
        assert_eq!(definition.hash(), DefinitionHash::of(&bytes));
        match compile(definition.clone(), Bounds::default()) {
            Ok(compiled) => {
                assert_eq!(compiled.definition, definition);
                assert_eq!(compiled.order.len(), definition.steps.len());
                format!("{} steps", definition.steps.len())
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                faults[0].what.chars().filter(|letter| letter.is_ascii_lowercase()).take(16).collect()
            }
        }
    });
}

/// The tree that a configuration is read from, and the durations in it.
#[test]
fn toml() {
    Target { name: "toml", also: &["../config/empty.toml"], made: &[], tokens: &TOML }.run(|input| {
        let given = text(input);
        if let Some(span) = parse_span(&given) {
            assert_eq!(parse_span(&show_span(span)), Some(span));
            return "a span".to_owned();
        }
        let mut report = Report::new("file");
        let tree = Node::parse(&given, &mut report);
        if report.is_empty() {
            return named(&tree.to_json());
        }
        let mistakes = report.into_mistakes();
        assert_eq!(mistakes.len(), 1);
        mistakes[0].what.chars().filter(|letter| letter.is_ascii_lowercase()).take(24).collect()
    });
}
