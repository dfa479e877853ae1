//! Columns for people: aligned, without lines, headed in capitals.

/// A cell that fills a screen helps nobody; the whole text is in `--json`.
const CELL_MAX: usize = 80;

/// Rows under their heads; `empty` when there are none.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    with_whole(0, heads, rows, empty)
}

/// The same with the first column whole: a name is there to be used, and a part of one names nothing.
pub(super) fn named(heads: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    with_whole(1, heads, rows, empty)
}

fn with_whole(whole: usize, heads: &[&str], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let heads: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
    let fitted = |(column, cell): (usize, &String)| shown(cell, if column < whole { usize::MAX } else { CELL_MAX });
    let rows = rows.iter().map(|row| row.iter().enumerate().map(fitted).collect());
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Names and what they are, one on each line.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let known = pairs.iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| format!("{name:<width$}  {value}")).collect::<Vec<_>>().join("\n")
}

/// One line, without anything that would move the cursor, since some of it was written by strangers.
fn shown(cell: &str, most: usize) -> String {
    let plain = cell.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    if cell.chars().count() <= most {
        return plain.collect();
    }
    plain.take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_letters_and_lines_have_no_end_space() {
        let rows = vec![vec!["ä".into(), "1".into()], vec!["long".into(), String::new()]];
        assert_eq!(table(&["name", "n"], &rows, "none"), "NAME  N\nä     1\nlong");
        assert_eq!(table(&["name"], &[], "none yet"), "none yet");
    }

    #[test]
    fn text_of_strangers_stays_on_its_line_and_bounded() {
        let rows = vec![vec![format!("a\n\u{1b}[2J{}", "x".repeat(200))]];
        let text = table(&["a"], &rows, "");
        let line = text.lines().nth(1).unwrap();
        assert_eq!((text.lines().count(), line.chars().count()), (2, CELL_MAX));
        assert!(line.ends_with('…') && !line.contains('\u{1b}'));
    }

    #[test]
    fn a_name_is_shown_whole_and_what_stands_beside_it_is_not() {
        let rows = vec![vec!["n".repeat(200), "x".repeat(200)]];
        let text = named(&["name", "x"], &rows, "");
        assert!(text.contains(&"n".repeat(200)) && text.ends_with('…'), "{text}");
    }

    #[test]
    fn pairs_leave_out_what_is_not_known() {
        assert_eq!(pairs(&[("a", "1".into()), ("long", "2".into()), ("b", String::new())]), "a     1\nlong  2");
    }
}
