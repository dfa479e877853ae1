//! The shape of a file: its opening sentence, its length, its name, and what must not be left in it.

use crate::finding::Finding;
use crate::source::{Source, named, tokens};

/// More than this, tests aside, and a newcomer no longer reads the file in one sitting.
const LINES_MAX: usize = 400;

/// Fewer words than this are a title, not a sentence.
const OPENING_WORDS_MIN: usize = 3;

const VAGUE_NAMES: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "misc", "shared", "stuff"];

const MARKERS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

/// Each file opens with a `//!` sentence.
pub(crate) fn opening(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().next().unwrap_or_default();
    let sentence = first.strip_prefix("//! ").unwrap_or_default();
    if sentence.split_whitespace().count() >= OPENING_WORDS_MIN {
        return Vec::new();
    }
    vec![Finding {
        file: source.path.clone(),
        line: 1,
        rule: "opening",
        what: "the file does not open with a `//!` sentence".into(),
        remedy: "say on the first line, after `//! `, what a reader finds here",
    }]
}

/// A file has at most 400 lines, test items aside.
pub(crate) fn length(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count() - source.test_lines;
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![Finding {
        file: source.path.clone(),
        line: LINES_MAX + 1,
        rule: "length",
        what: format!("{lines} lines before tests, {LINES_MAX} is the most"),
        remedy: "move one idea into a file named after it",
    }]
}

/// A file or folder is named after an idea, never after a heap.
pub(crate) fn name(source: &Source) -> Vec<Finding> {
    let parts = source.path.trim_end_matches(".rs").split('/');
    let vague = parts.filter(|part| VAGUE_NAMES.contains(part));
    let finding = |part: &str| Finding {
        file: source.path.clone(),
        line: 1,
        rule: "name",
        what: format!("`{part}` names a heap"),
        remedy: "name the file after the one idea in it, as in `retry.rs`, and move the rest to its users",
    };
    vague.map(finding).collect()
}

/// No marker for later work in comments or code, and no `todo!`.
pub(crate) fn leftovers(source: &Source) -> Vec<Finding> {
    let mut marks = Vec::new();
    for (number, line) in source.comments.lines().enumerate() {
        let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        marks.extend(words.find(|word| MARKERS.contains(word)).map(|word| (number + 1, word.to_string())));
    }
    for pair in tokens(&source.code_and_tests).windows(2) {
        if matches!(pair[0].text, "todo" | "unimplemented") && pair[1].text == "!" {
            marks.push((pair[0].line, format!("{}!", pair[0].text)));
        }
    }
    let finding = |(line, mark): (usize, String)| Finding {
        file: source.path.clone(),
        line,
        rule: "leftovers",
        what: format!("`{mark}` leaves work behind"),
        remedy: "do it now, or open an issue and say here what holds today",
    };
    marks.into_iter().map(finding).collect()
}

/// Tests are compiled for tests only; the other rules look away from nothing else.
pub(crate) fn test_modules(source: &Source) -> Vec<Finding> {
    let tokens = tokens(&source.code);
    let stray = tokens
        .windows(2)
        .filter(|pair| pair[0].text == "mod" && (pair[1].text == "tests" || pair[1].text.ends_with("_tests")));
    let finding = |line| Finding {
        file: source.path.clone(),
        line,
        rule: "test modules",
        what: "a module of tests outside `#[cfg(test)]`".into(),
        remedy: "put `#[cfg(test)]` above it",
    };
    stray.map(|pair| finding(pair[0].line)).collect()
}

/// `unwrap` stands in tests only.
pub(crate) fn unwraps(source: &Source) -> Vec<Finding> {
    let named = named(&source.code);
    let unwraps = named.iter().filter(|named| {
        let last = named.segments.last().map_or("", String::as_str);
        let called = named.before == "." && named.behind == "(";
        matches!(last, "unwrap" | "unwrap_err") && (called || named.segments.len() > 1)
    });
    let finding = |line| Finding {
        file: source.path.clone(),
        line,
        rule: "unwrap",
        what: "unwrap outside tests".into(),
        remedy: "return an error, or use expect(\"why it cannot happen\")",
    };
    unwraps.map(|named| finding(named.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn found(rule: fn(&Source) -> Vec<Finding>, text: &str) -> Vec<usize> {
        lines(&rule(&Source::new("src/actors/sample.rs", text)))
    }

    #[test]
    fn a_file_without_an_opening_sentence_is_found() {
        assert_eq!(found(opening, "use std::fmt;\n"), [1]);
        assert_eq!(found(opening, "// A comment that is no documentation.\n"), [1]);
        assert_eq!(found(opening, "//! Outbox.\n"), [1], "a title is not a sentence");
        assert_eq!(found(opening, "\n//! A sentence that comes too late.\n"), [1]);
        assert_eq!(found(opening, "//! One outbox for each peer.\n"), [0; 0]);
    }

    #[test]
    fn a_long_file_is_found_and_tests_do_not_count() {
        let code = "let a = 1;\n".repeat(LINES_MAX);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert_eq!(found(length, &code), [0; 0]);
        assert_eq!(found(length, &format!("{code}{tests}")), [0; 0]);
        assert_eq!(found(length, &format!("{code}let b = 2;\n")), [LINES_MAX + 1]);
        assert_eq!(found(length, &format!("{tests}{code}let b = 2;\n")), [LINES_MAX + 1], "code behind tests counts");
    }

    #[test]
    fn a_vague_name_is_found() {
        let names = |path: &str| name(&Source::new(path, "")).len();
        assert_eq!((names("src/store/utils.rs"), names("src/common/key.rs"), names("src/helpers.rs")), (1, 1, 1));
        assert_eq!(names("src/wire/commonplace.rs"), 0);
    }

    #[test]
    fn leftovers_are_found_in_comments_and_code() {
        assert_eq!(found(leftovers, "fn a() {\n    // TODO: later\n    todo!()\n}\n"), [2, 3]);
        assert_eq!(found(leftovers, "/* FIXME */\n#[cfg(test)]\nmod tests {\n    // XXX\n}\n"), [1, 4]);
        assert_eq!(found(leftovers, "let a = \"TODO\"; // a TODOLIST is a word\nlet todo = 1;\n"), [0; 0]);
    }

    #[test]
    fn tests_in_the_product_are_found() {
        assert_eq!(found(test_modules, "mod tests {}\n#[path = \"x.rs\"]\npub mod a_tests;\n"), [1, 3]);
        assert_eq!(found(test_modules, "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\n"), [0; 0]);
    }

    #[test]
    fn unwrap_is_found_outside_tests_only() {
        assert_eq!(found(unwraps, "fn a() {\n    b().unwrap();\n    c\n        .unwrap_err();\n}\n"), [2, 4]);
        assert_eq!(found(unwraps, "let a = b.map(Option::unwrap);\n"), [1]);
        assert_eq!(found(unwraps, "a.unwrap_or(1); a.unwrap_or_default(); // a.unwrap()\n\"x.unwrap()\";\n"), [0; 0]);
        assert_eq!(found(unwraps, "#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}\n"), [0; 0]);
    }
}
