//! A Rust file as the rules see it: code without words, comments without code, and the paths that the code names.
//!
//! This is a scanner, not a parser: it knows comments, literals, attributes and braces, which is all that the rules need.

use std::ops::Range;

/// One file. In `code` and `comments` everything else is blanked, so that lines and columns stay those of the file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Code outside tests: comments, literals and test items are blank.
    pub(crate) code: String,
    /// The same with the test items.
    pub(crate) code_and_tests: String,
    pub(crate) comments: String,
    /// Lines that belong to test items.
    pub(crate) test_lines: usize,
}

/// An identifier, a number, `::`, or any other single character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// A path as code or a `use` names it, groups spelled out: `use std::{fs, net}` gives two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) imported: bool,
    /// The token before the path, and the one behind it: `.` and `(` for a method call.
    pub(crate) before: String,
    pub(crate) behind: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code_and_tests, comments) = layers(text);
        let mut code = code_and_tests.clone().into_bytes();
        let tests = if is_test_file(path, &code_and_tests) {
            std::iter::once(0..code.len()).collect()
        } else {
            test_items(&code_and_tests)
        };
        let mut test_lines = 0;
        for span in tests {
            test_lines += text[span.clone()].lines().count();
            blank(&mut code, span);
        }
        let code = String::from_utf8(code).expect("blanking whole items keeps UTF-8");
        Self { path: path.into(), text: text.into(), code, code_and_tests, comments, test_lines }
    }

    /// The module that the file is, from the crate's root: `["actors", "host"]`; empty for `lib.rs` and `main.rs`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        let parts = inner.split('/').map(String::from);
        parts.filter(|part| !matches!(part.as_str(), "lib" | "main" | "mod")).collect()
    }

    /// The folder or file directly under `src/` that this file belongs to; none for `lib.rs` and `main.rs`.
    pub(crate) fn layer(&self) -> Option<String> {
        self.module().into_iter().next()
    }

    /// What a path means from the crate's root, when it leads into this crate.
    pub(crate) fn resolve(&self, named: &Named) -> Option<Vec<String>> {
        let segments = &named.segments;
        let ups = segments.iter().take_while(|segment| *segment == "super").count();
        let mut from = match segments.first()?.as_str() {
            "crate" | "quickbeam" => Vec::new(),
            "self" | "super" => self.module(),
            _ => return None,
        };
        from.truncate(from.len().saturating_sub(ups));
        from.extend_from_slice(&segments[ups.max(1)..]);
        Some(from)
    }
}

/// A file that holds nothing but tests, because of its name or its first attribute.
fn is_test_file(path: &str, code: &str) -> bool {
    !path.starts_with("src/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/tests/")
        || code.contains("#![cfg(test)]")
}

/// Splits a file into code and comments, each with the rest blanked.
fn layers(text: &str) -> (String, String) {
    let (mut code, mut comments) = (text.as_bytes().to_vec(), text.as_bytes().to_vec());
    let mut at = 0;
    while at < text.len() {
        let end = at + literal_or_comment(&text[at..], text[..at].chars().next_back());
        if end == at {
            let next = at + text[at..].chars().next().map_or(1, char::len_utf8);
            blank(&mut comments, at..next);
            at = next;
            continue;
        }
        let comment = text[at..].starts_with("//") || text[at..].starts_with("/*");
        blank(&mut code, at..end);
        if !comment {
            blank(&mut comments, at..end);
        }
        at = end;
    }
    let whole = |bytes| String::from_utf8(bytes).expect("blanking whole characters keeps UTF-8");
    (whole(code), whole(comments))
}

fn blank(bytes: &mut [u8], span: Range<usize>) {
    bytes[span].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// How many bytes of a comment or literal `rest` begins with; 0 when with neither.
fn literal_or_comment(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    if in_word { 0 } else { raw_string(rest) }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let step = match () {
            () if rest[at..].starts_with("/*") => 1,
            () if rest[at..].starts_with("*/") => -1,
            () => 0,
        };
        depth += step;
        at += if step == 0 { rest[at..].chars().next().map_or(1, char::len_utf8) } else { 2 };
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if !escaped && letter == mark {
            return at + letter.len_utf8();
        }
        escaped = !escaped && letter == '\\';
    }
    rest.len()
}

/// A character literal, or nothing when the quote begins a lifetime.
fn character(rest: &str) -> usize {
    let mut letters = rest.chars().skip(1);
    match (letters.next(), letters.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#` and the same after `b` or `c`.
fn raw_string(rest: &str) -> usize {
    let Some(behind) = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br")).or_else(|| rest.strip_prefix("cr"))
    else {
        return 0;
    };
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if !behind[hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let open = rest.len() - behind.len() + hashes + 1;
    rest[open..].find(&close).map_or(rest.len(), |found| open + found + close.len())
}

/// Where the items under `#[cfg(test)]` (or `cfg(all(test, …))`) stand, attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(") {
        let start = from + found;
        let condition = code[start + "#[cfg(".len()..].trim_start();
        from = start + "#[cfg(".len();
        if condition.starts_with("test)") || condition.starts_with("all(test") {
            from = item_end(code, start);
            spans.push(start..from);
        }
    }
    spans
}

/// The end of the item whose attributes begin at `start`: its closing brace, or its semicolon when that comes first.
fn item_end(code: &str, start: usize) -> usize {
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (at, letter) in code[start..].char_indices() {
        match letter {
            '(' | '[' => round += 1,
            ')' | ']' => round -= 1,
            '{' => curly += 1,
            '}' => curly -= 1,
            _ => {}
        }
        if (round == 0 && curly == 0 && matches!(letter, ';' | '}')) || curly < 0 {
            return start + at + 1;
        }
    }
    code.len()
}

/// The tokens of blanked code.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            tokens.push(Token { text: &rest[..length], line: number + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Every path that the code names, of one segment or many.
pub(crate) fn named(code: &str) -> Vec<Named> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |index| tokens[index].text);
        if !is_word(tokens[at].text) || tokens[at].text == "use" {
            at += 1;
            continue;
        }
        let absolute = before == "::" && at.checked_sub(2).is_none_or(|index| tokens[index].text == "use");
        let imported = before == "use" || absolute;
        let seen = found.len();
        at = tree(&tokens, at, &[], &mut found);
        for one in &mut found[seen..] {
            one.imported = imported;
            one.before = before.into();
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Reads one path, or a group of them, behind `prefix`; gives the index behind it.
fn tree(tokens: &[Token<'_>], mut at: usize, prefix: &[String], found: &mut Vec<Named>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let line = tokens[at].line;
    let mut segments = prefix.to_vec();
    while is_word(text(at)) || text(at) == "*" {
        segments.push(text(at).into());
        at += 1;
        if text(at) != "::" || !(is_word(text(at + 1)) || matches!(text(at + 1), "*" | "{")) {
            break;
        }
        at += 1;
    }
    if text(at) != "{" || segments.len() == prefix.len() || text(at - 1) != "::" {
        found.push(Named { segments, line, imported: false, before: String::new(), behind: text(at).into() });
        return at;
    }
    at += 1;
    while at < tokens.len() && text(at) != "}" {
        at = if is_word(text(at)) || text(at) == "*" { tree(tokens, at, &segments, found) } else { at + 1 };
        if text(at) == "as" {
            at += 2;
        }
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        named(code).iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn words_and_comments_are_not_code() {
        let source =
            Source::new("src/a.rs", "let a = \"std::fs\"; // std::net\nlet b = 'x'; /* a /* b */ c */ fn f<'a>() {}");
        assert_eq!(source.code.split_whitespace().collect::<Vec<_>>().join(" "), "let a = ; let b = ; fn f<'a>() {}");
        assert_eq!(source.comments.split_whitespace().collect::<Vec<_>>().join(" "), "// std::net /* a /* b */ c */");
    }

    #[test]
    fn raw_strings_and_escapes_end_where_they_end() {
        let code = Source::new("src/a.rs", r###"a(r#"x" // "#, b"\"y", '\'', "ü", r"\"); z()"###).code;
        assert_eq!(code.replace(' ', ""), "a(,b,,,);z()");
    }

    #[test]
    fn test_items_are_not_code_but_what_follows_is() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() { let c = [0; 3]; }\n}\nfn d() {}\n";
        let source = Source::new("src/a.rs", text);
        assert!(source.code.contains("fn a") && source.code.contains("fn d") && !source.code.contains("fn b"));
        assert_eq!(source.test_lines, 5);
    }

    #[test]
    fn groups_are_spelled_out() {
        let code =
            "use crate::{actors::{self, host::Host as H}, store::*};\nlet x = std::fs::read(y.z()); ::std::net::f();";
        let expected =
            ["crate::actors::self", "crate::actors::host::Host", "crate::store::*", "std::fs::read", "std::net::f"];
        let paths = paths(code);
        for path in expected {
            assert!(paths.iter().any(|found| found == path), "{path} is missing in {paths:?}");
        }
    }

    #[test]
    fn a_block_behind_a_word_is_not_a_group() {
        assert!(paths("match x { y => z }").contains(&"y".to_string()));
    }

    #[test]
    fn relative_paths_are_resolved() {
        let source = Source::new("src/actors/host.rs", "use super::super::wire::key; use self::x; use super::root;");
        let inner: Vec<String> =
            named(&source.code).iter().filter_map(|named| Some(source.resolve(named)?.join("::"))).collect();
        assert_eq!(inner, ["wire::key", "actors::host::x", "actors::root"]);
    }
}
