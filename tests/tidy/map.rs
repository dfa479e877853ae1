//! The code map of `ARCHITECTURE.md`: a tree, one file a line, that names every source file and nothing that is gone;
//! and the paths that documents name in passing.

use crate::finding::Finding;

/// The heading under which the map stands, in a fenced block.
const HEADING: &str = "## Code map";

const FOLDERS: [&str; 5] = ["src/", "tests/", "benches/", "docs/", "config/"];

/// Findings for sources that the map does not name, and for lines of the map that name nothing.
pub(crate) fn untrue(page: &str, text: &str, sources: &[String], exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let finding = |line, what, remedy| Finding { file: page.into(), line, rule: "code map", what, remedy };
    let (start, entries) = entries(text);
    if entries.is_empty() {
        let what = format!("no tree in a fenced block under `{HEADING}`");
        return vec![finding(start, what, "write one line for each file: its name, then what it is for")];
    }
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.ends_with("tests.rs")) {
        if !entries.iter().any(|(_, path)| path == source) {
            let what = format!("{source} is not in the map");
            findings.push(finding(start, what, "add a line for it under its folder: its name, then what it is for"));
        }
    }
    for (line, path) in &entries {
        if !exists(path) {
            findings.push(finding(
                *line,
                format!("{path} is in the map and nowhere else"),
                "take the line out or correct it",
            ));
        }
    }
    findings
}

/// Findings for paths in backticks, such as `src/node.rs`, that are not there. What does not begin with one of our
/// folders is not meant as a path.
pub(crate) fn gone(page: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("```")) {
        let named = line.split('`').skip(1).step_by(2);
        let paths =
            named.filter(|name| !name.contains([' ', '*', '{', '<']) && FOLDERS.iter().any(|at| name.starts_with(at)));
        findings.extend(paths.filter(|path| !exists(path.trim_end_matches('/'))).map(|path| Finding {
            file: page.into(),
            line: number + 1,
            rule: "paths",
            what: format!("`{path}` is not there"),
            remedy: "name the file that has taken its place",
        }));
    }
    findings
}

/// The line of the map's heading, and the paths of the tree below it with their lines. Two spaces of indentation are
/// one level; a name that ends in `/` is a folder.
fn entries(text: &str) -> (usize, Vec<(usize, String)>) {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| *line != HEADING);
    let start = lines.next().map_or(1, |(number, _)| number + 1);
    let block = lines.skip_while(|(_, line)| !line.starts_with("```")).skip(1);
    let mut folders: Vec<&str> = Vec::new();
    let mut entries = Vec::new();
    for (number, line) in block.take_while(|(_, line)| !line.starts_with("```")) {
        let Some(name) = line.split_whitespace().next() else { continue };
        folders.truncate((line.len() - line.trim_start().len()) / 2);
        entries.push((number + 1, format!("{}{}", folders.concat(), name.trim_end_matches('/'))));
        if name.ends_with('/') {
            folders.push(name);
        }
    }
    (start, entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    const PAGE: &str = "# A\n\n## Code map\n\n```text\nsrc/\n  lib.rs   the map\n  store/   bytes\n    key.rs   keys\n  node.rs  the whole\n```\n";

    fn found(sources: &[&str], present: &[&str]) -> Vec<usize> {
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        lines(&untrue("ARCHITECTURE.md", PAGE, &sources, &|path| present.contains(&path)))
    }

    const ALL: [&str; 5] = ["src", "src/lib.rs", "src/store", "src/store/key.rs", "src/node.rs"];

    #[test]
    fn a_true_map_is_fine() {
        assert_eq!(found(&["src/lib.rs", "src/store/key.rs", "src/node.rs"], &ALL), [0; 0]);
        assert_eq!(found(&["src/store/key_tests.rs"], &ALL), [0; 0], "tests stand beside what they test");
    }

    #[test]
    fn a_file_that_the_map_does_not_name_is_found() {
        assert_eq!(found(&["src/store/redb.rs"], &ALL), [3]);
        assert_eq!(found(&["src/key.rs"], &ALL), [3], "the name alone is not the place");
    }

    #[test]
    fn a_line_that_names_nothing_is_found() {
        assert_eq!(found(&["src/lib.rs"], &ALL[..4]), [10]);
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        let page = "See `src/node.rs`.\nNot `src/gone.rs` and `docs/gone/`.\n`./test`, `src/*.rs`, src/gone.rs\n";
        let exists = |path: &str| path == "src/node.rs";
        assert_eq!(lines(&gone("README.md", page, &exists)), [2, 2]);
    }

    #[test]
    fn a_page_without_a_map_is_found() {
        assert_eq!(lines(&untrue("ARCHITECTURE.md", "# A\n", &[], &|_| true)), [1]);
    }
}
