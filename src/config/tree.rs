//! A configuration as a tree in which everything knows where it stands, made of TOML and of the environment.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use toml_edit::{Document, Item, TableLike};

use super::letters;
use super::mistake::{Place, Report};

/// What a variable of the environment begins with. `QUICKBEAM_A__B` is `a.b`; one without `__` is no setting.
const PREFIX: &str = "QUICKBEAM_";

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    pub shape: Shape,
    /// How it was written, when it came from the environment: `8001` may mean text.
    written: Option<String>,
    /// How a text stands in the file, where that is not letter for letter behind a quote.
    raw: Option<Box<str>>,
}

/// The values of TOML. Its times are text here.
#[derive(Debug, Clone)]
pub enum Shape {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// A value under a key.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Place,
    pub value: Node,
}

impl Node {
    /// Reads TOML. What is not TOML is one mistake and an empty tree.
    pub fn parse(text: &str, report: &mut Report) -> Self {
        let lines = Lines::of(text);
        match Document::parse(text) {
            Ok(document) => Self::of_table(document.as_table(), lines.place(0), &lines),
            Err(error) => {
                let place = lines.place(error.span().map_or(0, |span| span.start));
                let what = error.message().trim().replace('\n', ", ");
                report.add(&place, "", format!("not TOML: {what}"), "");
                Self { place, shape: Shape::Table(BTreeMap::new()), written: None, raw: None }
            }
        }
    }

    /// Sets what the environment says, over what is there.
    pub fn override_with(&mut self, environment: impl Iterator<Item = (String, String)>, report: &mut Report) {
        let mut settings: Vec<_> = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        settings.sort();
        for (name, written) in settings {
            let path = name[PREFIX.len()..].to_lowercase();
            let parts: Vec<&str> = path.split("__").collect();
            if parts.len() > 1 && !self.set(&parts, Self::of_variable(&name, &written)) {
                let remedy = "name a section and a setting, as in QUICKBEAM_PUBLIC__LISTEN";
                report.add(&Place::Environment(name), &parts.join("."), "names no setting", remedy);
            }
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Text(text) => Some(text),
            _ => self.written.as_deref(),
        }
    }

    pub fn as_table(&self) -> Option<&BTreeMap<String, Entry>> {
        match &self.shape {
            Shape::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Where the `nth` letter of a text stands, or the text where that is not known.
    pub fn letter(&self, nth: usize) -> Place {
        let (Place::File { line, column }, Shape::Text(_)) = (&self.place, &self.shape) else {
            return self.place.clone();
        };
        let stand = self.raw.as_ref().map_or(Some((0, 1 + nth)), |raw| letters::stand(raw, nth));
        match stand {
            Some((0, across)) => Place::File { line: *line, column: column + across },
            Some((down, across)) => Place::File { line: line + down, column: 1 + across },
            None => self.place.clone(),
        }
    }

    /// What it is, to stand in a sentence.
    pub fn described(&self) -> &'static str {
        match self.shape {
            Shape::Text(_) => "text",
            Shape::Integer(_) => "a whole number",
            Shape::Float(_) => "a number",
            Shape::Bool(_) => "true or false",
            Shape::List(_) => "a list",
            Shape::Table(_) => "a table",
        }
    }

    pub fn to_json(&self) -> Value {
        match &self.shape {
            Shape::Text(text) => Value::from(text.as_str()),
            Shape::Integer(number) => Value::from(*number),
            Shape::Float(number) => Value::from(*number),
            Shape::Bool(flag) => Value::from(*flag),
            Shape::List(list) => list.iter().map(Node::to_json).collect(),
            Shape::Table(table) => {
                Value::Object(table.iter().map(|(key, entry)| (key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    fn set(&mut self, path: &[&str], value: Node) -> bool {
        let (Shape::Table(table), [part, rest @ ..]) = (&mut self.shape, path) else { return false };
        if part.is_empty() {
            return false;
        }
        let key = value.place.clone();
        if rest.is_empty() {
            table.insert((*part).to_owned(), Entry { key, value });
            return true;
        }
        let empty = || Node { place: key.clone(), shape: Shape::Table(BTreeMap::new()), written: None, raw: None };
        let entry = table.entry((*part).to_owned()).or_insert_with(|| Entry { key: key.clone(), value: empty() });
        entry.value.set(rest, value)
    }

    /// `15s` is no TOML value and means the text; `8001` and `["a"]` are.
    fn of_variable(name: &str, written: &str) -> Self {
        let place = Place::Environment(name.to_owned());
        let source = format!("value = {written}");
        let mut node = match Document::parse(source.as_str()) {
            Ok(document) if document.len() == 1 => match document.get("value") {
                Some(item) => Self::of_item(item, &Lines::of("")),
                None => Self::text(written),
            },
            _ => Self::text(written),
        };
        node.written = Some(written.to_owned());
        node.stand_at(&place);
        node
    }

    fn text(text: &str) -> Self {
        Self {
            place: Place::File { line: 0, column: 0 },
            shape: Shape::Text(text.to_owned()),
            written: None,
            raw: None,
        }
    }

    fn stand_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.shape {
            Shape::List(list) => list.iter_mut().for_each(|node| node.stand_at(place)),
            Shape::Table(table) => table.values_mut().for_each(|entry| {
                entry.key = place.clone();
                entry.value.stand_at(place);
            }),
            _ => {}
        }
    }

    fn of_table(table: &dyn TableLike, place: Place, lines: &Lines) -> Self {
        let entries = table.iter().map(|(name, item)| {
            let value = Self::of_item(item, lines);
            let span = table.key(name).and_then(toml_edit::Key::span);
            let key = span.map_or_else(|| value.place.clone(), |span| lines.place(span.start));
            (name.to_owned(), Entry { key, value })
        });
        Self { place, shape: Shape::Table(entries.collect()), written: None, raw: None }
    }

    fn of_item(item: &Item, lines: &Lines) -> Self {
        let place = lines.place(item.span().unwrap_or(Range { start: 0, end: 0 }).start);
        match item {
            Item::None => Self { place, shape: Shape::Table(BTreeMap::new()), written: None, raw: None },
            Item::Value(value) => Self::of_value(value, lines),
            Item::Table(table) => Self::of_table(table, place, lines),
            Item::ArrayOfTables(tables) => {
                let each = |table: &toml_edit::Table| {
                    let place = lines.place(table.span().map_or(0, |span| span.start));
                    Self::of_table(table, place, lines)
                };
                Self { place, shape: Shape::List(tables.iter().map(each).collect()), written: None, raw: None }
            }
        }
    }

    fn of_value(value: &toml_edit::Value, lines: &Lines) -> Self {
        let place = lines.place(value.span().map_or(0, |span| span.start));
        let shape = match value {
            toml_edit::Value::String(text) => Shape::Text(text.value().clone()),
            toml_edit::Value::Integer(number) => Shape::Integer(*number.value()),
            toml_edit::Value::Float(number) => Shape::Float(*number.value()),
            toml_edit::Value::Boolean(flag) => Shape::Bool(*flag.value()),
            toml_edit::Value::Datetime(time) => Shape::Text(time.value().to_string()),
            toml_edit::Value::Array(list) => {
                Shape::List(list.iter().map(|value| Self::of_value(value, lines)).collect())
            }
            toml_edit::Value::InlineTable(table) => return Self::of_table(table, place, lines),
        };
        let raw = match &shape {
            Shape::Text(text) => lines.raw(value).filter(|raw| !letters::is_plain(raw, text)),
            _ => None,
        };
        Self { place, shape, written: None, raw: raw.map(Into::into) }
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn raw(&self, value: &toml_edit::Value) -> Option<&'a str> {
        self.text.get(value.span()?)
    }

    fn place(&self, byte: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= byte).max(1);
        let before = self.text.get(self.starts[line - 1]..byte).unwrap_or_default();
        Place::File { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Node {
        let mut report = Report::new("test.toml");
        let node = Node::parse(text, &mut report);
        assert!(report.is_empty());
        node
    }

    fn at<'a>(node: &'a Node, path: &str) -> &'a Entry {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let entry = &node.as_table().unwrap()[first];
        if rest.is_empty() { entry } else { at(&entry.value, rest) }
    }

    #[test]
    fn keys_and_values_know_where_they_stand() {
        let node = parse("# ü\n[type.article]\nfields.title = { kind = \"text\" }\n\"ö\" = 1\n[flow.a]\n");
        assert_eq!(at(&node, "type.article.fields.title").key, Place::File { line: 3, column: 8 });
        assert_eq!(at(&node, "type.article.fields.title.kind").key, Place::File { line: 3, column: 18 });
        assert_eq!(at(&node, "type.article.fields.title.kind").value.place, Place::File { line: 3, column: 25 });
        assert_eq!(at(&node, "flow.a").key, Place::File { line: 5, column: 7 });
    }

    #[test]
    fn the_environment_sets_values_tables_and_text() {
        let mut node = parse("[node]\nname = \"blog\"\n");
        let variables = [
            ("QUICKBEAM_NODE__NAME", "123"),
            ("QUICKBEAM_PUBLIC__LISTEN", "127.0.0.1:1"),
            ("QUICKBEAM_FETCH__ALLOW", "[\"a\"]"),
            ("QUICKBEAM_CONFIG", "x"),
            ("PATH", "y"),
        ];
        let mut report = Report::new("test.toml");
        node.override_with(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())), &mut report);
        assert!(report.is_empty());
        assert_eq!(at(&node, "node.name").value.as_text(), Some("123"));
        assert_eq!(at(&node, "public.listen").value.as_text(), Some("127.0.0.1:1"));
        assert_eq!(at(&node, "fetch.allow").value.to_json(), serde_json::json!(["a"]));
        assert_eq!(at(&node, "fetch.allow").key, Place::Environment("QUICKBEAM_FETCH__ALLOW".into()));
    }
}
