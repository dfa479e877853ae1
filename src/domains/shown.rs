//! What others see of an object beside its fields: its text, what is attached, when and where it is.
//!
//! The words are those of ActivityStreams, as Mastodon, Mobilizon and their like read them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::markup::{Format, escaped};
use super::types::{Field, Kind};
use crate::config::Report;
use crate::config::reader::{Section, suggest};

/// Which fields of a type say what ActivityStreams has a word for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shows {
    /// Text, in this format.
    pub content: Option<String>,
    pub format: Format,
    /// Plain text: a teaser, or what is to be known before the content is looked at.
    pub summary: Option<String>,
    /// URLs of pictures and other files, or tables with `url`, `name` and `mediaType`.
    pub attachment: Option<String>,
    pub start: Option<String>,
    pub end: Option<String>,
    /// The name of a place, or a table with `name`, `address` and whatever else a Place has.
    pub location: Option<String>,
}

/// A part of an object that has a word of its own: its key in the configuration, the fields that are meant without one,
/// and what such a field may hold.
struct Part {
    key: &'static str,
    usual: &'static [&'static str],
    fits: fn(&Kind) -> bool,
    wanted: &'static str,
}

const CONTENT: Part = Part { key: "content", usual: &["content"], fits: is_text, wanted: "text" };
const SUMMARY: Part = Part { key: "summary", usual: &["summary"], fits: is_text, wanted: "text" };
const ATTACHMENT: Part = Part {
    key: "attachment",
    usual: &["attachment", "attachments", "image", "images"],
    fits: is_attachment,
    wanted: "iri or table, or a list of these",
};
const START: Part = Part { key: "start", usual: &["start", "startTime"], fits: is_time, wanted: "time" };
const END: Part = Part { key: "end", usual: &["end", "endTime"], fits: is_time, wanted: "time" };
const LOCATION: Part = Part { key: "location", usual: &["location"], fits: is_place, wanted: "text or table" };

fn is_text(kind: &Kind) -> bool {
    *kind == Kind::Text
}

fn is_time(kind: &Kind) -> bool {
    *kind == Kind::Time
}

fn is_place(kind: &Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Table)
}

fn is_attachment(kind: &Kind) -> bool {
    match kind {
        Kind::List(Some(of)) => is_attachment(of),
        other => matches!(other, Kind::Iri | Kind::Table),
    }
}

impl Shows {
    /// Reads which fields of a type are meant; those with the usual names without a word.
    pub(super) fn read(fields: &BTreeMap<String, Field>, section: &mut Section<'_>, report: &mut Report) -> Self {
        let mut field = |part: &Part| meant(part, fields, section, report);
        let (content, summary, attachment) = (field(&CONTENT), field(&SUMMARY), field(&ATTACHMENT));
        let (start, end, location) = (field(&START), field(&END), field(&LOCATION));
        let words = [("markdown", Format::Markdown), ("plain", Format::Plain), ("html", Format::Html)];
        let format = section.word("format", &words, report);
        if format.is_some() && content.is_none() {
            let what = "`format` is given, and no field is the content";
            section.wrong("format", what, "add content = \"FIELD\"", report);
        }
        Self { content, format: format.unwrap_or_default(), summary, attachment, start, end, location }
    }

    /// The words for an object with these fields.
    pub fn words(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let field = |name: &Option<String>| name.as_deref().and_then(|name| fields.get(name));
        let text = |name: &Option<String>| field(name).and_then(Value::as_str);
        let mut words = Map::new();
        if let Some(content) = text(&self.content) {
            words.insert("content".into(), self.format.html(content).into());
            if let Some(media_type) = self.format.source() {
                words.insert("source".into(), json!({ "content": content, "mediaType": media_type }));
            }
        }
        words.extend(text(&self.summary).map(|summary| ("summary".into(), escaped(summary).into())));
        words.extend(field(&self.attachment).map(attached).map(|list| ("attachment".into(), list)));
        words.extend(field(&self.start).map(|at| ("startTime".into(), at.clone())));
        words.extend(field(&self.end).map(|at| ("endTime".into(), at.clone())));
        words.extend(field(&self.location).and_then(place).map(|place| ("location".into(), place)));
        words
    }
}

/// The field for a part: the one that is named, or one with a usual name that fits.
fn meant(
    part: &Part,
    fields: &BTreeMap<String, Field>,
    section: &mut Section<'_>,
    report: &mut Report,
) -> Option<String> {
    let fits = |name: &str| fields.get(name).is_some_and(|field| (part.fits)(&field.kind));
    let Some(named) = section.text(part.key, report) else {
        return part.usual.iter().find(|name| fits(name)).map(|name| (*name).to_owned());
    };
    if !fits(&named) {
        let what = format!("`{}` is `{named}`, which is no field of kind {}", part.key, part.wanted);
        section.wrong(part.key, what, suggest(&named, fields.keys().map(String::as_str)), report);
    }
    Some(named)
}

fn attached(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().filter_map(attachment).collect(),
        one => attachment(one).into_iter().collect(),
    }
}

/// One attachment, as `Image`, `Video`, `Audio` or `Document`.
fn attachment(value: &Value) -> Option<Value> {
    let url = value.as_str().or_else(|| value.get("url")?.as_str())?;
    let given = value.get("mediaType").and_then(Value::as_str).map(str::to_owned);
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let media_type = given.or_else(|| mime_guess::from_path(path).first().map(|guess| guess.to_string()));
    let kind = match media_type.as_deref().and_then(|it| it.split('/').next()) {
        Some("image") => "Image",
        Some("video") => "Video",
        Some("audio") => "Audio",
        _ => "Document",
    };
    let mut attachment = json!({ "type": kind, "url": url });
    if let Some(media_type) = media_type {
        attachment["mediaType"] = media_type.into();
    }
    if let Some(name) = value.get("name").and_then(Value::as_str) {
        attachment["name"] = name.into();
    }
    Some(attachment)
}

fn place(value: &Value) -> Option<Value> {
    match value {
        Value::String(name) => Some(json!({ "type": "Place", "name": name })),
        Value::Object(place) => {
            let mut place = place.clone();
            place.insert("type".into(), "Place".into());
            Some(Value::Object(place))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_was_made_of_goes_along() {
        let shows = Shows { content: Some("body".into()), ..Shows::default() };
        let fields = Map::from_iter([("body".to_owned(), "*a*".into())]);
        assert_eq!(shows.words(&fields)["source"], json!({ "content": "*a*", "mediaType": "text/markdown" }));
        let html = Shows { format: Format::Html, ..shows };
        assert_eq!(html.words(&fields).get("source"), None);
    }

    #[test]
    fn a_summary_is_text_and_an_event_has_its_times_and_its_place() {
        let shows = Shows {
            summary: Some("teaser".into()),
            start: Some("from".into()),
            end: Some("till".into()),
            location: Some("where".into()),
            ..Shows::default()
        };
        let fields =
            json!({ "teaser": "<b>", "from": "2026-11-21T20:00:00Z", "till": "2026-11-21T23:00:00Z", "where": "Hall" });
        let words = shows.words(fields.as_object().unwrap());
        assert_eq!(words["summary"], "&lt;b&gt;");
        assert_eq!(escaped("a\0\u{85}\tb\n\"c\" & d"), "a\tb\n\"c\" &amp; d");
        assert_eq!((&words["startTime"], &words["endTime"]), (&fields["from"], &fields["till"]));
        assert_eq!(words["location"], json!({ "type": "Place", "name": "Hall" }));
        let table = json!({ "where": { "name": "Hall", "type": "Fake", "address": "Street 1" } });
        let words = shows.words(table.as_object().unwrap());
        assert_eq!(words["location"], json!({ "type": "Place", "name": "Hall", "address": "Street 1" }));
        assert_eq!(words.len(), 1);
    }

    #[test]
    fn attachments_say_what_they_are() {
        let shows = Shows { attachment: Some("files".into()), ..Shows::default() };
        let given = json!({ "files": [
            "https://a.example/x.png?size=2", "https://a.example/x.mp4", "https://a.example/x",
            { "url": "https://a.example/y", "mediaType": "audio/ogg", "name": "a song" }, { "name": "nothing" },
        ] });
        let words = shows.words(given.as_object().unwrap());
        let expected = json!([
            { "type": "Image", "url": "https://a.example/x.png?size=2", "mediaType": "image/png" },
            { "type": "Video", "url": "https://a.example/x.mp4", "mediaType": "video/mp4" },
            { "type": "Document", "url": "https://a.example/x" },
            { "type": "Audio", "url": "https://a.example/y", "mediaType": "audio/ogg", "name": "a song" },
        ]);
        assert_eq!(words["attachment"], expected);
        let one = json!({ "files": "https://a.example/x.jpg" });
        assert_eq!(shows.words(one.as_object().unwrap())["attachment"][0]["mediaType"], "image/jpeg");
    }
}
