//! What others see of an object beside its fields: its text as clean HTML, what is attached, when and where it is.
//!
//! The words are those of ActivityStreams, as Mastodon, Mobilizon and their like read them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::types::{Field, Kind};
use crate::config::Report;
use crate::config::reader::{Section, suggest};

/// Elements in one another. To clean more takes the square of their number, and nobody writes them: such a text is shown
/// as it was written.
const NESTED_MAX: usize = 200;

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

/// How the content of a type is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Markdown,
    Plain,
    Html,
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

impl Format {
    /// As HTML in which nothing runs, whoever wrote it.
    fn html(self, text: &str) -> String {
        match self {
            Self::Markdown => {
                let html = comrak::markdown_to_html(text, &markdown());
                if is_too_nested(&html) { Self::Plain.html(text) } else { ammonia::clean(&html) }
            }
            Self::Html if is_too_nested(text) => Self::Plain.html(text),
            Self::Html => ammonia::clean(text),
            Self::Plain => {
                let text = text.replace("\r\n", "\n").replace('\r', "\n");
                let paragraphs = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
                paragraphs.map(|it| format!("<p>{}</p>", escaped(it).replace('\n', "<br>"))).collect()
            }
        }
    }

    /// What it was made of, where that is not the HTML itself.
    fn source(self) -> Option<&'static str> {
        match self {
            Self::Markdown => Some("text/markdown"),
            Self::Plain => Some("text/plain"),
            Self::Html => None,
        }
    }
}

fn markdown() -> comrak::Options<'static> {
    let mut options = comrak::Options::default();
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.table = true;
    // What is HTML in it is kept, and cleaned with the rest.
    options.render.r#unsafe = true;
    options
}

/// Whether elements stand too deep in one another, counted without reading them as a browser does: rather too deep than
/// not deep enough. Only the end of the innermost one ends it.
fn is_too_nested(html: &str) -> bool {
    /// What has no content; and a paragraph, which ends where the next one begins.
    const FLAT: [&str; 5] = ["p", "br", "hr", "img", "wbr"];
    let mut open: Vec<&str> = Vec::new();
    html.split('<').skip(1).any(|tag| {
        let (ends, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name = &tag[..tag.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(tag.len())];
        match (ends, FLAT.iter().any(|flat| flat.eq_ignore_ascii_case(name))) {
            (true, _) if open.last().is_some_and(|last| last.eq_ignore_ascii_case(name)) => drop(open.pop()),
            (false, false) if !name.is_empty() => open.push(name),
            _ => {}
        }
        open.len() > NESTED_MAX
    })
}

/// Text as HTML in which nothing is more than text, without letters that HTML does not have.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t'), "");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\u{a0}', "&nbsp;")
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

    fn shown(format: Format, content: &str) -> String {
        let shows = Shows { content: Some("body".into()), format, ..Shows::default() };
        let fields = Map::from_iter([("body".to_owned(), content.into())]);
        shows.words(&fields)["content"].as_str().unwrap().to_owned()
    }

    #[test]
    fn markdown_becomes_html_in_which_nothing_runs() {
        for (markdown, html) in [
            ("Gig *tonight*", "<p>Gig <em>tonight</em></p>\n"),
            ("a\n\nb", "<p>a</p>\n<p>b</p>\n"),
            ("x <script>alert(1)</script>", "<p>x </p>\n"),
            ("<img src=x onerror=alert(1)>", "<img src=\"x\">\n"),
            ("[x](javascript:alert(1))", "<p><a rel=\"noopener noreferrer\">x</a></p>\n"),
            ("[x](https://a.example)", "<p><a href=\"https://a.example\" rel=\"noopener noreferrer\">x</a></p>\n"),
            ("~~no~~", "<p><del>no</del></p>\n"),
        ] {
            assert_eq!(shown(Format::Markdown, markdown), html, "{markdown}");
        }
    }

    #[test]
    fn plain_text_has_no_letter_that_html_does_not_have() {
        assert_eq!(shown(Format::Plain, "a\0b\u{a0}c\rd\u{1b}"), "<p>ab&nbsp;c<br>d</p>");
    }

    /// Reading 30,000 quotes in one another takes seconds, and a body may have a million.
    #[test]
    fn a_text_that_is_nested_out_of_all_proportion_is_shown_as_it_was_written() {
        let quotes = |levels: usize| format!("{}a", ">".repeat(levels));
        assert!(shown(Format::Markdown, &quotes(200)).starts_with("<blockquote>"));
        assert_eq!(shown(Format::Markdown, &quotes(201)), format!("<p>{}a</p>", "&gt;".repeat(201)));
        for piece in ["<div>", "<dd><li>", "<b></i>", "<DIV></x>", "<ul><li>"] {
            let (few, many) = (piece.repeat(100), piece.repeat(201));
            assert!(!shown(Format::Html, &few).contains("&lt;"), "{piece}");
            assert!(shown(Format::Html, &many).starts_with("<p>&lt;"), "{piece}");
        }
        for piece in ["<p>a", "<p>a</p><br>", "<li>a</li>", "<div><b>a</b></div>", "a < b > c <3 "] {
            assert!(!shown(Format::Html, &piece.repeat(2_000)).starts_with("<p>&lt;"), "{piece}");
        }
    }

    #[test]
    fn html_is_cleaned_and_plain_text_is_shown_as_it_stands() {
        assert_eq!(shown(Format::Html, "<b onclick=x>a</b><style>p{}</style><iframe></iframe>"), "<b>a</b>");
        assert_eq!(
            shown(Format::Plain, "1 < 2 & *a*\nb\n\n\n<b>c</b>"),
            "<p>1 &lt; 2 &amp; *a*<br>b</p><p>&lt;b&gt;c&lt;/b&gt;</p>"
        );
    }

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
