//! Reads declared types, their fields and the seeds of a configuration.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::behaviours::{self, Behaviours};
use super::shown::Shows;
use super::types::{Field, KINDS, Kind, Type, Visibility};
use crate::config::Report;
use crate::config::reader::{Section, suggest};
use crate::config::tree::{Entry, Node, Shape};

/// An object that is made at the first start, if nothing has its slug.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    pub object_type: String,
    pub slug: String,
    /// Checked, with defaults.
    pub fields: Map<String, Value>,
}

/// Reads `[type.*]`.
pub fn types(node: Option<&Node>, report: &mut Report) -> BTreeMap<String, (Type, Behaviours)> {
    let mut types = BTreeMap::new();
    for (name, entry) in tables(node, "type", report) {
        if !is_name(name) {
            let what = format!("the type `{name}` has a name that no path can have");
            report.add(&entry.key, &format!("type.{name}"), what, "use a-z, 0-9 and -, a letter first");
        }
        let mut section = Section::of(&entry.value, &format!("type.{name}"), report);
        let declared = one_type(name, &mut section, report);
        let behaviours = behaviours::read(&mut section, report);
        section.finish(report);
        types.insert(name.to_owned(), (declared, behaviours));
    }
    types
}

/// Reads fields: those of a type, or the shape of a payload.
pub fn fields(mut section: Section<'_>, report: &mut Report) -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    for (name, entry) in section.entries() {
        let path = section.path(name);
        let mut one = Section::of(&entry.value, &path, report);
        if let Some(field) = one_field(name, &mut one, report) {
            fields.insert(name.to_owned(), field);
        }
        one.finish(report);
    }
    fields
}

/// Reads `[seed.TYPE.SLUG]`.
pub fn seeds(node: Option<&Node>, types: &BTreeMap<String, Type>, report: &mut Report) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (kind, entry) in tables(node, "seed", report) {
        let Some(declared) = types.get(kind) else {
            let remedy = suggest(kind, types.keys().map(String::as_str));
            report.add(&entry.key, &format!("seed.{kind}"), format!("seed of the unknown type `{kind}`"), remedy);
            continue;
        };
        let path = format!("seed.{kind}");
        for (slug, seed) in Section::of(&entry.value, &path, report).entries() {
            seeds.extend(one_seed(declared, slug, seed, report));
        }
    }
    seeds
}

fn one_seed(declared: &Type, slug: &str, seed: &Entry, report: &mut Report) -> Option<Seed> {
    let path = format!("seed.{}.{slug}", declared.name);
    if super::slug::explicit(slug).is_err() {
        report.add(&seed.key, &path, format!("`{slug}` is no slug"), "use 1 to 80 of a-z, 0-9 and -");
    }
    // A seed that is no table has been named by the configuration itself.
    let table = seed.value.as_table()?;
    match declared.check(&seed.value.to_json()) {
        Ok(fields) => Some(Seed { object_type: declared.name.clone(), slug: slug.to_owned(), fields }),
        Err(mistakes) => {
            for mistake in mistakes {
                let key = table.get(&mistake.field).map_or(&seed.key, |entry| &entry.key);
                let what = format!("`{}` {}", mistake.field, mistake.what);
                report.add(key, &format!("{path}.{}", mistake.field), what, "");
            }
            None
        }
    }
}

fn one_type(name: &str, section: &mut Section<'_>, report: &mut Report) -> Type {
    let fields = fields(section.section("fields", report), report);
    let activity_streams = section.text("as", report).unwrap_or_else(|| capitalised(name));
    let path = section.text("path", report);
    if let Some(path) = path.as_deref().filter(|path| super::slug::explicit(path).is_err()) {
        section.wrong("path", format!("`path` is `{path}`"), "use 1 to 80 of a-z, 0-9 and -", report);
    }
    let default_title = fields.get("title").filter(|field| field.kind == Kind::Text).map(|_| "title".to_owned());
    let title = section.text("title", report);
    if let Some(title) = &title
        && fields.get(title).is_none_or(|field| field.kind != Kind::Text)
    {
        let remedy = suggest(title, fields.keys().map(String::as_str));
        section.wrong("title", format!("`title` is `{title}`, which is no field of kind text"), remedy, report);
    }
    let words = [("public", Visibility::Public), ("followers", Visibility::Followers), ("direct", Visibility::Direct)];
    let visibility = section.word("visibility", &words, report).unwrap_or_default();
    let shows = Shows::read(&fields, section, report);
    Type { name: name.to_owned(), fields, activity_streams, path, title: title.or(default_title), visibility, shows }
}

fn one_field(name: &str, section: &mut Section<'_>, report: &mut Report) -> Option<Field> {
    if ["id", "type", "slug"].contains(&name) {
        let what = format!("a field cannot be called `{name}`: every object has that already");
        report.add(section.place(), &section.path(""), what, "give it another name");
    }
    let kind = kind(section, report);
    let required = section.flag("required", report).unwrap_or(false);
    let (max, min) = (section.number("max", report), section.number("min", report));
    if let (Some(max), Some(min)) = (max, min)
        && min > max
    {
        section.wrong("min", format!("`min` is {min} and `max` is {max}"), "exchange them", report);
    }
    let default = section.node("default").map(Node::to_json);
    let field = Field { kind: kind?, required, max, min, default: None };
    if let Some(default) = &default {
        if let Err(what) = field.check(default) {
            section.wrong("default", format!("`default` {what}"), "", report);
        }
        if required {
            section.wrong("default", "a required field has no use for a default", "take one away", report);
        }
    }
    let bounded = matches!(field.kind, Kind::Text | Kind::Number | Kind::Integer | Kind::List(_));
    for key in ["max", "min"] {
        if section.has(key) && !bounded {
            section.wrong(key, format!("a field of kind {} has no `{key}`", field.kind.word()), "take it away", report);
        }
    }
    Some(Field { default, ..field })
}

fn kind(section: &mut Section<'_>, report: &mut Report) -> Option<Kind> {
    let word = section.required("kind", "\"text\"", report);
    let of = section.node("of");
    let word = word?;
    let found = match (word.as_str(), of.map(|node| &node.shape)) {
        ("choice", Some(Shape::List(choices))) if !choices.is_empty() => {
            Kind::Choice(section.texts("of", report).unwrap_or_default())
        }
        ("choice", _) => {
            let what = "a choice needs `of`, a list of at least one text";
            report.add(section.place_of("of"), &section.path("of"), what, "add of = [\"one\", \"other\"]");
            return None;
        }
        ("list", None) => Kind::List(None),
        ("list", Some(Shape::Text(element))) => Kind::List(Some(Box::new(plain_kind(element, "of", section, report)?))),
        (plain, None) => plain_kind(plain, "kind", section, report)?,
        (_, Some(_)) => {
            section.wrong(
                "of",
                format!("a field of kind {word} has no such `of`"),
                "only choice and list have it",
                report,
            );
            return None;
        }
    };
    Some(found)
}

fn plain_kind(word: &str, key: &str, section: &Section<'_>, report: &mut Report) -> Option<Kind> {
    Some(match word {
        "text" => Kind::Text,
        "number" => Kind::Number,
        "integer" => Kind::Integer,
        "bool" => Kind::Bool,
        "time" => Kind::Time,
        "iri" => Kind::Iri,
        "table" => Kind::Table,
        "json" => Kind::Json,
        _ => {
            section.wrong(key, format!("`{word}` is no kind of field"), suggest(word, KINDS.iter().copied()), report);
            return None;
        }
    })
}

/// The tables of a table.
pub(super) fn tables<'a>(
    node: Option<&'a Node>,
    path: &str,
    report: &mut Report,
) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
    node.map(|node| Section::of(node, path, report).entries()).into_iter().flatten()
}

/// What paths, streams and CEL can all say.
pub(super) fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
        && name.len() <= 64
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
