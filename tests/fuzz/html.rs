//! What others may see of a text: nothing in it runs, whoever wrote it and in whatever format.

use std::sync::LazyLock;

use quickbeam::domains::markup::Format;
use quickbeam::domains::shown::Shows;
use serde_json::{Map, Value};

use super::run::{Target, text};

const HTML: [&str; 57] = [
    "<div>",
    "<dd><li>",
    "<b><i>",
    "</x>",
    "</div>",
    "<script>",
    "</script>",
    "<img src=x onerror=alert(1)>",
    " onclick=",
    " onload = '",
    "<svg>",
    "</svg>",
    "<math>",
    "<mtext>",
    "<style>",
    "</style>",
    "<title>",
    "<noscript>",
    "<template>",
    "<iframe src=",
    "<a href=\"",
    "<a href='javascript:alert(1)'>",
    "</a>",
    "javascript:",
    "JaVaScRiPt:",
    "java&#115;cript:",
    "java\tscript:",
    "&#x6a;avascript:",
    "vbscript:",
    "data:text/html,",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<p>",
    "</p>",
    "<table>",
    "<td>",
    "<b",
    ">",
    "\"",
    "'",
    "`",
    "&lt;",
    "&amp;",
    "&#0;",
    "&",
    "\0",
    "[a](",
    ")",
    "![](",
    "<http://a.example>",
    "\n\n",
    "```\n",
    "| a |\n|---|\n",
    "<plaintext>",
    "<details open ontoggle=x>",
];

static FORMATS: LazyLock<[Shows; 3]> = LazyLock::new(|| {
    [Format::Markdown, Format::Html, Format::Plain].map(|format| Shows {
        content: Some("content".to_owned()),
        summary: Some("summary".to_owned()),
        format,
        ..Shows::default()
    })
});

fn shown(shows: &Shows, content: &str) -> (String, String) {
    let fields: Map<String, Value> = [("content", content), ("summary", content)]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect();
    let words = shows.words(&fields);
    let text = |name: &str| words[name].as_str().unwrap().to_owned();
    (text("content"), text("summary"))
}

/// Fails where something of it could run. Reads tags as they stand: `<`, a name, then attributes with quoted values.
fn check(html: &str) {
    const RUN: [&str; 12] =
        ["script", "style", "iframe", "object", "embed", "svg", "math", "base", "form", "meta", "link", "template"];
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
        assert!(!name.is_empty() || rest.starts_with('/'), "a bare < in {html:?}");
        assert!(!RUN.contains(&name.to_ascii_lowercase().as_str()), "<{name} in {html:?}");
        rest = attributes(&rest[name.len()..], html);
    }
}

/// Checks the attributes of a tag, and gives what is behind it.
fn attributes<'h>(mut rest: &'h str, html: &str) -> &'h str {
    loop {
        rest = rest.trim_start_matches([' ', '\n', '/']);
        if let Some(behind) = rest.strip_prefix('>') {
            return behind;
        }
        let end = rest.find(['=', '>', ' ']).unwrap_or(rest.len());
        let (name, behind) = (rest[..end].to_ascii_lowercase(), &rest[end..]);
        assert!(!name.starts_with("on"), "{name} in {html:?}");
        let Some(value) = behind.strip_prefix("=\"") else {
            assert!(
                !behind.is_empty() && !behind.starts_with('='),
                "a tag that does not end, or a value without quotes in {html:?}"
            );
            rest = behind;
            continue;
        };
        let (value, behind) = value.split_once('"').unwrap_or_else(|| panic!("a value that does not end in {html:?}"));
        let address: String = value.chars().filter(|letter| !letter.is_whitespace() && !letter.is_control()).collect();
        let scheme =
            address.split([':', '/', '?', '#']).next().filter(|scheme| address[scheme.len()..].starts_with(':'));
        let runs = scheme
            .is_some_and(|scheme| matches!(scheme.to_ascii_lowercase().as_str(), "javascript" | "vbscript" | "data"));
        assert!(!(runs && ["href", "src", "cite", "action"].contains(&name.as_str())), "{name}={value} in {html:?}");
        // Entities could hide the colon, or a letter of the scheme.
        assert!(!(name == "href" && value.contains("&#")), "{value} in {html:?}");
        rest = behind;
    }
}

#[test]
fn html() {
    Target { name: "html", also: &[], made: &[], tokens: &HTML }.run(|input| {
        let given = text(input);
        let mut met = String::new();
        for shows in FORMATS.iter() {
            let (content, summary) = shown(shows, &given);
            check(&content);
            assert!(!summary.contains(['<', '>']), "{summary:?}");
            let (again, _) = shown(&FORMATS[1], &content);
            check(&again);
            // Browsers move what must not stand in a table, and end a link in a link, but not from just anywhere: what
            // comes of it can be read once more in another way.
            let moved = content.contains("<table") || content.matches("<a ").count() > 1;
            let settled = shows.format != Format::Html || again == content || moved;
            assert!(settled, "cleaned again it is another: {content:?} and {again:?}");
            let mut tags: Vec<&str> =
                content.split('<').skip(1).map(|tag| tag.split([' ', '>']).next().unwrap_or_default()).collect();
            tags.sort_unstable();
            tags.dedup();
            met += &tags.iter().filter(|tag| !tag.starts_with('/')).take(4).copied().collect::<Vec<_>>().join(" ");
            met.push('|');
        }
        met
    });
}
