//! What a rule found: where, which rule, what is wrong, and what to do about it.

use std::fmt;

/// Prints as `file:line: rule: what is wrong; what to do`, so that editors and terminals jump to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) file: String,
    /// Counts from 1; 1 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}; {}", self.file, self.line, self.rule, self.what, self.remedy)
    }
}

/// The lines that were found, for the tests of rules.
pub(crate) fn lines(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

#[test]
fn a_finding_says_file_line_rule_and_remedy() {
    let finding = Finding {
        file: "src/a.rs".into(),
        line: 7,
        rule: "unwrap",
        what: "unwrap() outside tests".into(),
        remedy: "return an error",
    };
    assert_eq!(finding.to_string(), "src/a.rs:7: unwrap: unwrap() outside tests; return an error");
}
