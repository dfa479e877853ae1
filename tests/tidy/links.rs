//! Links in documents: each that leads to a file of the repository finds it, and each that names a heading finds that.

use crate::finding::Finding;

/// Findings for the links of one page that lead nowhere. `read` gives the text of a file by its path from the root, or
/// nothing when there is no such file or folder.
pub(crate) fn dangling(page: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in targets(text) {
        if let Some(what) = trouble(page, text, &target, read) {
            findings.push(Finding {
                file: page.into(),
                line,
                rule: "links",
                what,
                remedy: "correct the path (it counts from the page's folder), or add what it names",
            });
        }
    }
    findings
}

fn trouble(page: &str, text: &str, target: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let linked = if file.is_empty() {
        text.to_string()
    } else {
        let Some(path) = join(page, file) else { return Some(format!("`{target}` leads out of the repository")) };
        let Some(linked) = read(&path) else { return Some(format!("`{target}` leads to {path}, which is not there")) };
        linked
    };
    let heading = heading.filter(|_| file.is_empty() || file.ends_with(".md"))?;
    let found = prose(&linked).any(|(_, line)| line.starts_with('#') && anchor(line) == heading);
    (!found).then(|| format!("`{target}` names a heading that is not there"))
}

/// The path from the root of `file` as seen from `page`.
fn join(page: &str, file: &str) -> Option<String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The lines outside code fences, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((number + 1, line))
    })
}

/// What links, pictures, reference definitions and HTML attributes lead to, with the line.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        let line: String = line.split('`').step_by(2).collect();
        for (open, close) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"'), ("href=\"", '"')] {
            for behind in line.split(open).skip(1) {
                let target = behind.split(close).next().unwrap_or_default();
                targets.extend(target.split_whitespace().next().map(|target| (number, target.to_string())));
            }
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            targets.extend(target.split_whitespace().next().map(|target| (number, target.to_string())));
        }
    }
    targets
}

/// A heading's anchor: lower case, spaces to hyphens, punctuation dropped.
fn anchor(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    title.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn found(text: &str) -> Vec<usize> {
        let read = |path: &str| match path {
            "docs/wire.md" => Some("# Wire, in short\n```sh\n# not a heading\n```\n".to_string()),
            "README.md" | "docs" => Some(String::new()),
            _ => None,
        };
        lines(&dangling("docs/store.md", text, &read))
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        assert_eq!(found("[a](wire.md)\n[b](gone.md)\n"), [2]);
        assert_eq!(found("![a](pic.svg \"title\")\n<img src=\"pic.svg\">\n\n[ref]: gone.md\n"), [1, 2, 4]);
        assert_eq!(found("[a](../../etc/passwd)\n"), [1]);
        assert_eq!(found("[a](wire.md) and [b](gone.md) on one line\n"), [1]);
    }

    #[test]
    fn a_heading_that_is_not_there_is_found() {
        assert_eq!(found("[a](wire.md#wire-in-short)\n[b](wire.md#not-a-heading)\n[c](#own)\n\n# Own\n"), [2]);
        assert_eq!(found("[c](#other)\n# Own\n"), [1]);
    }

    #[test]
    fn code_and_the_world_outside_are_left_alone() {
        assert_eq!(found("```\n[a](gone.md)\n```\n`[a](gone.md)` [b](https://example.org/gone.md)\n"), [0; 0]);
        assert_eq!(found("[a](../README.md) [b](./wire.md) [c](../docs/)\n"), [0; 0]);
    }
}
