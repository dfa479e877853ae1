//! Functions that look for one text in another: what they look through is counted, and looked through once.
//!
//! Those of the interpreter compare the whole part anew at each letter, which takes the product of both lengths.

use cel::{ExecutionError, Value as Cel};

use super::grow::{Made, Room, misfit};

/// The functions by the names that sources use, with those that they have here.
pub(super) const OURS: [(&str, &str, Made); 2] =
    [("indexOf", "@indexOf", index_of), ("lastIndexOf", "@lastIndexOf", last_index_of)];

/// `text.indexOf(part)`, and at or behind which letter; -1 where it is not.
fn index_of(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    seek("indexOf", arguments, room, |text, part, from| {
        let from = from.unwrap_or(0);
        text[from..].find(part).map(|at| from + at)
    })
}

/// `text.lastIndexOf(part)`, and at or before which letter; -1 where it is not.
fn last_index_of(arguments: &[Cel], room: Room<'_>) -> Result<Cel, ExecutionError> {
    seek("lastIndexOf", arguments, room, |text, part, from| {
        let end = from.map_or(text.len(), |from| text.floor_char_boundary(from.saturating_add(part.len())));
        text[..end].rfind(part)
    })
}

/// Counts in letters around a search that counts in bytes.
fn seek(
    function: &str,
    arguments: &[Cel],
    room: Room<'_>,
    find: impl Fn(&str, &str, Option<usize>) -> Option<usize>,
) -> Result<Cel, ExecutionError> {
    let (text, part, letter) = match arguments {
        [Cel::String(text), Cel::String(part)] => (text.as_str(), part.as_str(), None),
        [Cel::String(text), Cel::String(part), Cel::Int(letter)] => (text.as_str(), part.as_str(), Some(*letter)),
        other => return Err(misfit(function, other)),
    };
    room(text.len().saturating_add(part.len()))?;
    let from = match letter {
        None => None,
        Some(letter) => {
            let beyond = || ExecutionError::function_error(function, format!("index out of range: {letter}"));
            let letters = usize::try_from(letter).map_err(|_| beyond())?;
            match text.char_indices().nth(letters) {
                Some((at, _)) => Some(at),
                // Nothing is found everywhere, also behind the end.
                None if part.is_empty() => Some(text.len()),
                None => return Err(beyond()),
            }
        }
    };
    let letters = find(text, part, from).map(|at| text[..at].chars().count());
    Ok(Cel::Int(letters.and_then(|letters| i64::try_from(letters).ok()).unwrap_or(-1)))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    /// What a function gives, and how many bytes it asked for.
    fn sought(function: Made, text: &str, part: &str, from: Option<i64>) -> (Result<i64, String>, usize) {
        let asked = Cell::new(0);
        let room = |bytes: usize| {
            asked.set(asked.get() + bytes);
            Ok(())
        };
        let texts = [text, part].map(|text| Cel::String(text.to_owned().into()));
        let arguments: Vec<Cel> = texts.into_iter().chain(from.map(Cel::Int)).collect();
        let found = match function(&arguments, &room) {
            Ok(Cel::Int(at)) => Ok(at),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        (found, asked.get())
    }

    /// As the interpreter does it: letter by letter.
    fn slowly(text: &str, part: &str, from: Option<i64>, last: bool) -> Option<i64> {
        let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
        let end = i64::try_from(text.len()).unwrap();
        let from = match from {
            Some(from) if from < 0 || from >= end && !part.is_empty() => return None,
            Some(from) => from.min(end),
            None => {
                if last {
                    end
                } else {
                    0
                }
            }
        };
        let is_there = |at: &i64| text[usize::try_from(*at).unwrap()..].starts_with(&part);
        Some(if last { (0..=from).rev().find(is_there) } else { (from..=end).find(is_there) }.unwrap_or(-1))
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_the_interpreter_finds(text in "[aä😀]{0,9}", part in "[aä😀]{0,3}", from in -1_i64..11) {
            for (function, last) in [(index_of as Made, false), (last_index_of as Made, true)] {
                for from in [None, Some(from)] {
                    let (found, asked) = sought(function, &text, &part, from);
                    prop_assert_eq!(found.ok(), slowly(&text, &part, from, last));
                    prop_assert_eq!(asked, text.len() + part.len());
                }
            }
        }
    }

    /// Letter by letter this would be a comparison of half a million letters, half a million times.
    #[test]
    fn a_long_part_in_a_long_text_is_looked_for_once() {
        let (many, half) = ("a".repeat(1 << 20), "a".repeat(1 << 19));
        for (part, from) in
            [(format!("{half}b"), None), (format!("b{half}"), None), (format!("{half}b"), Some(1 << 18))]
        {
            for function in [index_of, last_index_of] {
                assert_eq!(sought(function, &many, &part, from), (Ok(-1), many.len() + part.len()));
            }
        }
    }
}
