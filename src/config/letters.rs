//! Where each letter of a text stands in the file: behind its quote, over several lines, behind escapes.

/// How many lines further down a letter stands than its text begins, and how many characters into that line; on the
/// first line, how many behind the beginning of the text.
type Stand = (usize, usize);

/// Where the letter stands that is the `nth` of what a string of TOML says, with its quotes. `None` where it has no
/// such letter.
pub(super) fn stand(raw: &str, nth: usize) -> Option<Stand> {
    stands(raw).get(nth).copied()
}

/// Whether a string of TOML says what stands between its quotes, letter for letter on one line.
pub(super) fn is_plain(raw: &str, text: &str) -> bool {
    let inside = raw.strip_prefix(['"', '\'']).and_then(|raw| raw.strip_suffix(['"', '\'']));
    inside == Some(text) && !text.contains('\n')
}

fn stands(raw: &str) -> Vec<Stand> {
    let is_basic = raw.starts_with('"');
    let is_long = raw.starts_with("\"\"\"") || raw.starts_with("'''");
    let quotes = if is_long { 3 } else { 1 };
    let letters = placed(raw);
    let mut letters = letters.get(quotes..letters.len().saturating_sub(quotes)).unwrap_or_default();
    if is_long {
        // A line break right behind the quotes says nothing.
        letters = match letters {
            [('\n', _), rest @ ..] | [('\r', _), ('\n', _), rest @ ..] => rest,
            all => all,
        };
    }
    let mut found = Vec::new();
    while let [(letter, at), rest @ ..] = letters {
        let escape = rest.first().map(|(letter, _)| *letter).filter(|_| is_basic && *letter == '\\');
        letters = match escape {
            Some(next) if next.is_whitespace() => {
                &rest[rest.iter().take_while(|(letter, _)| letter.is_whitespace()).count()..]
            }
            Some(next) => {
                found.push(*at);
                let digits = match next {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                rest.get(1 + digits..).unwrap_or_default()
            }
            None => {
                found.push(*at);
                rest
            }
        };
    }
    found
}

fn placed(raw: &str) -> Vec<(char, Stand)> {
    let mut at = (0, 0);
    let place = |letter| {
        let here = at;
        at = if letter == '\n' { (at.0 + 1, 0) } else { (at.0, at.1 + 1) };
        (letter, here)
    };
    raw.chars().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml_edit::Document;

    fn said(raw: &str) -> String {
        let source = format!("a = {raw}");
        let document = Document::parse(source.as_str()).unwrap();
        document["a"].as_str().unwrap().to_owned()
    }

    #[test]
    fn each_letter_stands_where_it_was_written() {
        for raw in [
            "\"plain\"",
            "'it is \\ plain'",
            "\"with \\\"quotes\\\" and \\u00e9 and \\U0001F600 and \\t é\"",
            "'''\none\n  two'''",
            "\"\"\"\none \\\n     two\n'three' \\\\ \"\"\"",
            "\"\"\"on the line of its quotes\nand below\"\"\"",
            "\"\"",
        ] {
            let (text, stands) = (said(raw), stands(raw));
            assert_eq!(stands.len(), text.chars().count(), "{raw}");
            for (letter, (down, across)) in text.chars().zip(&stands) {
                let there = raw.split('\n').nth(*down).unwrap().chars().chain(['\n']).nth(*across).unwrap();
                assert!(there == letter || there == '\\', "{letter:?} of {raw} is {there:?}");
            }
        }
        assert_eq!(stand("'''\none\n  two'''", 6), Some((2, 2)));
        assert_eq!(stand("\"a\\\"b\"", 2), Some((0, 4)));
        assert_eq!(stand("'a'", 1), None);
    }

    #[test]
    fn what_stands_between_the_quotes_letter_for_letter_is_plain() {
        assert!(is_plain("\"a b\"", "a b") && is_plain("'a\\b'", "a\\b"));
        for raw in ["\"a\\\"b\"", "'''a'''", "\"\"\"\na\"\"\"", "'''a\nb'''"] {
            assert!(!is_plain(raw, &said(raw)), "{raw}");
        }
    }
}
