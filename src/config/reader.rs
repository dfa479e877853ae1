//! Reads a table key by key: what is missing, of the wrong kind, out of range or unknown goes into the report.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use super::mistake::{Place, Report};
use super::nearest::nearest;
use super::tree::{Entry, Node, Shape};

/// One table being read. A key that nobody asked for by the time of [`Section::finish`] is a mistake.
#[derive(Debug)]
pub struct Section<'a> {
    table: &'a BTreeMap<String, Entry>,
    place: Place,
    path: String,
    asked: BTreeSet<String>,
}

static EMPTY: BTreeMap<String, Entry> = BTreeMap::new();

impl<'a> Section<'a> {
    /// The table at `node`; an empty one, reported, when it is none.
    pub fn of(node: &'a Node, path: &str, report: &mut Report) -> Self {
        let table = node.as_table().unwrap_or_else(|| {
            report.add(&node.place, path, format!("{} has to be a table, not {}", quoted(path), node.described()), "");
            &EMPTY
        });
        Self { table, place: node.place.clone(), path: path.to_owned(), asked: BTreeSet::new() }
    }

    /// The path of a key.
    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where the value of a key stands, or the table.
    pub fn place_of(&self, key: &str) -> &Place {
        self.table.get(key).map_or(&self.place, |entry| &entry.value.place)
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key as it stands.
    pub fn node(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.insert(key.to_owned());
        self.table.get(key).map(|entry| &entry.value)
    }

    /// All keys and values, each known.
    pub fn entries(&mut self) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        self.asked.extend(self.table.keys().cloned());
        self.table.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The table under a key; an empty one when it is left out.
    pub fn section(&mut self, key: &str, report: &mut Report) -> Section<'a> {
        let path = self.path(key);
        match self.node(key) {
            Some(node) => Section::of(node, &path, report),
            None => Section { table: &EMPTY, place: self.place.clone(), path, asked: BTreeSet::new() },
        }
    }

    pub fn text(&mut self, key: &str, report: &mut Report) -> Option<String> {
        let node = self.node(key)?;
        let text = node.as_text().map(str::to_owned);
        if text.is_none() {
            self.wrong(key, format!("{} has to be text, not {}", quoted(key), node.described()), "", report);
        }
        text
    }

    /// A text that has to be there.
    pub fn required(&mut self, key: &str, example: &str, report: &mut Report) -> Option<String> {
        if !self.has(key) {
            let what = format!("{} is missing in {}", quoted(key), self.named());
            report.add(&self.place, &self.path(key), what, format!("add {key} = {example}"));
        }
        self.text(key, report)
    }

    pub fn flag(&mut self, key: &str, report: &mut Report) -> Option<bool> {
        let node = self.node(key)?;
        if let Shape::Bool(flag) = node.shape {
            return Some(flag);
        }
        self.wrong(key, format!("{} has to be true or false, not {}", quoted(key), node.described()), "", report);
        None
    }

    pub fn integer(&mut self, key: &str, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
        let node = self.node(key)?;
        let Shape::Integer(number) = node.shape else {
            self.wrong(key, format!("{} has to be a whole number, not {}", quoted(key), node.described()), "", report);
            return None;
        };
        let inside = u64::try_from(number).ok().filter(|number| range.contains(number));
        if inside.is_none() {
            let what = format!("{} is {number}, it has to be {} to {}", quoted(key), range.start(), range.end());
            self.wrong(key, what, "", report);
        }
        inside
    }

    /// A number, whole or not.
    pub fn number(&mut self, key: &str, report: &mut Report) -> Option<f64> {
        let node = self.node(key)?;
        match node.shape {
            Shape::Integer(number) => Some(number as f64),
            Shape::Float(number) => Some(number),
            _ => {
                self.wrong(key, format!("{} has to be a number, not {}", quoted(key), node.described()), "", report);
                None
            }
        }
    }

    /// A text such as `500ms`, `15s`, `10m`, `1h` or `7d`.
    pub fn span(&mut self, key: &str, range: RangeInclusive<Duration>, report: &mut Report) -> Option<Duration> {
        let node = self.node(key)?;
        let Some(span) = node.as_text().and_then(parse_span) else {
            let what = format!("{} has to be a duration, not {}", quoted(key), shown(node));
            self.wrong(key, what, "write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"", report);
            return None;
        };
        if range.contains(&span) {
            return Some(span);
        }
        let (least, most) = (show_span(*range.start()), show_span(*range.end()));
        self.wrong(key, format!("{} is {}, it has to be {least} to {most}", quoted(key), show_span(span)), "", report);
        None
    }

    /// A duration, or `never`: the inner `None`.
    #[allow(clippy::option_option, reason = "the outer one is whether it is set, the inner one is for ever")]
    pub fn span_or_never(
        &mut self,
        key: &str,
        range: RangeInclusive<Duration>,
        report: &mut Report,
    ) -> Option<Option<Duration>> {
        if self.node(key)?.as_text() == Some("never") {
            return Some(None);
        }
        self.span(key, range, report).map(Some)
    }

    /// A number of bytes, or a text such as `64 KiB`.
    pub fn bytes(&mut self, key: &str, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
        let node = self.node(key)?;
        let bytes = match &node.shape {
            Shape::Integer(number) => u64::try_from(*number).ok(),
            _ => node.as_text().and_then(parse_bytes),
        };
        let Some(bytes) = bytes else {
            let what = format!("{} has to be a number of bytes, not {}", quoted(key), shown(node));
            self.wrong(key, what, "write 65536, \"64 KiB\", \"1 MiB\" or \"2 GiB\"", report);
            return None;
        };
        if range.contains(&bytes) {
            return Some(bytes);
        }
        let (least, most) = (show_bytes(*range.start()), show_bytes(*range.end()));
        self.wrong(
            key,
            format!("{} is {}, it has to be {least} to {most}", quoted(key), show_bytes(bytes)),
            "",
            report,
        );
        None
    }

    pub fn texts(&mut self, key: &str, report: &mut Report) -> Option<Vec<String>> {
        let node = self.node(key)?;
        let Shape::List(list) = &node.shape else {
            self.wrong(key, format!("{} has to be a list, not {}", quoted(key), node.described()), "", report);
            return None;
        };
        let path = self.path(key);
        let text = |node: &Node| {
            let text = node.as_text().map(str::to_owned);
            if text.is_none() {
                let what = format!("{} has to be a list of texts, and {} stands in it", quoted(key), node.described());
                report.add(&node.place, &path, what, "");
            }
            text
        };
        Some(list.iter().filter_map(text).collect())
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)], report: &mut Report) -> Option<T> {
        let text = self.text(key, report)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word);
            let remedy = suggest(&text, known);
            self.wrong(key, format!("{} is `{text}`", quoted(key)), remedy, report);
        }
        found
    }

    /// An absolute http or https URL.
    pub fn url(&mut self, key: &str, report: &mut Report) -> Option<Url> {
        let text = self.text(key, report)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                let what = format!("{} is `{text}`, not an http or https URL", quoted(key));
                self.wrong(key, what, "write it like \"https://blog.example\"", report);
                None
            }
        }
    }

    /// Reports something about the value of a key.
    pub fn wrong(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>, report: &mut Report) {
        report.add(self.place_of(key), &self.path(key), what, remedy);
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, report: &mut Report) {
        for (key, entry) in self.table {
            if self.asked.contains(key) {
                continue;
            }
            let remedy = suggest(key, self.asked.iter().map(String::as_str));
            report.add(&entry.key, &self.path(key), format!("unknown key `{key}` in {}", self.named()), remedy);
        }
    }

    /// The table as its header says it.
    pub fn named(&self) -> String {
        if self.path.is_empty() { "the file".into() } else { format!("[{}]", self.path) }
    }
}

/// The nearest known word, or all of them.
pub fn suggest<'w>(word: &str, known: impl Iterator<Item = &'w str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match known.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "take it away".into(),
            all => format!("known are {all}"),
        },
    }
}

/// `500ms`, `15s`, `10m`, `1h`, `7d`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

/// A duration as a configuration would say it.
pub fn show_span(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{millis}ms"), |(unit, name)| format!("{}{name}", millis / unit))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A number of bytes as a configuration would say it.
pub fn show_bytes(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn quoted(key: &str) -> String {
    format!("`{key}`")
}

fn shown(node: &Node) -> String {
    node.as_text().map_or_else(|| node.described().to_owned(), |text| format!("`{text}`"))
}
