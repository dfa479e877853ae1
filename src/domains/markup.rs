//! Text as HTML in which nothing runs, whoever wrote it.

/// Elements in one another. To clean more takes the square of their number, and nobody writes them: such a text is shown
/// as it was written.
const NESTED_MAX: usize = 200;

/// How a text is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Markdown,
    Plain,
    Html,
}

impl Format {
    /// As HTML in which nothing runs, whoever wrote it.
    pub fn html(self, text: &str) -> String {
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
    pub(super) fn source(self) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Format::Markdown.html(markdown), html, "{markdown}");
        }
    }

    #[test]
    fn plain_text_has_no_letter_that_html_does_not_have() {
        assert_eq!(Format::Plain.html("a\0b\u{a0}c\rd\u{1b}"), "<p>ab&nbsp;c<br>d</p>");
    }

    /// Reading 30,000 quotes in one another takes seconds, and a body may have a million.
    #[test]
    fn a_text_that_is_nested_out_of_all_proportion_is_shown_as_it_was_written() {
        let quotes = |levels: usize| format!("{}a", ">".repeat(levels));
        assert!(Format::Markdown.html(&quotes(200)).starts_with("<blockquote>"));
        assert_eq!(Format::Markdown.html(&quotes(201)), format!("<p>{}a</p>", "&gt;".repeat(201)));
        for piece in ["<div>", "<dd><li>", "<b></i>", "<DIV></x>", "<ul><li>"] {
            let (few, many) = (piece.repeat(100), piece.repeat(201));
            assert!(!Format::Html.html(&few).contains("&lt;"), "{piece}");
            assert!(Format::Html.html(&many).starts_with("<p>&lt;"), "{piece}");
        }
        for piece in ["<p>a", "<p>a</p><br>", "<li>a</li>", "<div><b>a</b></div>", "a < b > c <3 "] {
            assert!(!Format::Html.html(&piece.repeat(2_000)).starts_with("<p>&lt;"), "{piece}");
        }
    }

    #[test]
    fn html_is_cleaned_and_plain_text_is_shown_as_it_stands() {
        assert_eq!(Format::Html.html("<b onclick=x>a</b><style>p{}</style><iframe></iframe>"), "<b>a</b>");
        assert_eq!(
            Format::Plain.html("1 < 2 & *a*\nb\n\n\n<b>c</b>"),
            "<p>1 &lt; 2 &amp; *a*<br>b</p><p>&lt;b&gt;c&lt;/b&gt;</p>"
        );
    }
}
