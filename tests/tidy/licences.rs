//! Licences of every package in the lock file: each must allow what ours do, and ask for nothing but its notice.

use std::path::Path;
use std::process::Command;

use crate::finding::Finding;

/// Permissive licences that a binary under MIT or Apache-2.0 may link.
const ACCEPTABLE: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "OpenSSL",
];

/// A package that may be linked although its licence is none of the above: name, licence, reason. Only `MPL-2.0` can
/// stand here, since its duties end at its own files; what nobody needs is taken out again.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception { package: "cssparser", licence: "MPL-2.0", reason: UNDER_AMMONIA },
    Exception { package: "dtoa-short", licence: "MPL-2.0", reason: UNDER_AMMONIA },
];

/// The one library that cleans HTML by an allow list and is kept up.
const UNDER_AMMONIA: &str = "linked unchanged below ammonia, which reads style attributes with it";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Exception {
    pub(crate) package: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) reason: &'static str,
}

/// A package with the licence expression that it declares.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) licence: Option<String>,
}

/// Every package that a build on this platform can link, from `cargo metadata`; nothing is fetched.
pub(crate) fn linked(manifest: &Path) -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host()]);
    let output = command.arg("--manifest-path").arg(manifest).output().expect("cargo runs, it runs this test");
    assert!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let package = |package: &serde_json::Value| Package {
        name: package["name"].as_str().unwrap_or_default().into(),
        licence: package["license"].as_str().map(String::from),
    };
    packages.iter().map(package).collect()
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().expect("rustc runs, it compiled this test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc -vV names the host").to_string()
}

/// Findings for packages that may not be linked, and for exceptions that nobody needs.
pub(crate) fn unacceptable(packages: &[Package], exceptions: &[Exception]) -> Vec<Finding> {
    let finding = |what, remedy| Finding { file: "Cargo.lock".into(), line: 1, rule: "licences", what, remedy };
    let mut findings = Vec::new();
    for package in packages {
        let excused = |licence: &str| {
            licence == "MPL-2.0"
                && exceptions
                    .iter()
                    .any(|one| one.package == package.name && one.licence == licence && !one.reason.is_empty())
        };
        let declared = package.licence.as_deref().unwrap_or("no licence");
        if !allows(declared, &|licence| ACCEPTABLE.contains(&licence) || excused(licence)) {
            let what = format!("{} is under {declared}", package.name);
            findings.push(finding(what, "replace the package; MPL-2.0 alone can be excused by name and reason"));
        }
    }
    for exception in exceptions {
        let needed = |package: &Package| {
            package.name == exception.package
                && package.licence.as_deref().is_some_and(|all| all.contains(exception.licence))
        };
        if !packages.iter().any(needed) {
            findings.push(finding(format!("nobody needs the exception for {}", exception.package), "take it out"));
        }
    }
    findings
}

/// Whether an SPDX expression holds when `acceptable` says which licences do. `OR` leaves us the choice, `AND` does not,
/// and binds tighter. The `/` of older packages is an `OR`.
fn allows(expression: &str, acceptable: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let holds = any(&words, &mut at, acceptable);
    holds && at == words.len()
}

fn any(words: &[&str], at: &mut usize, acceptable: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = all(words, at, acceptable);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        holds |= all(words, at, acceptable);
    }
    holds
}

fn all(words: &[&str], at: &mut usize, acceptable: &dyn Fn(&str) -> bool) -> bool {
    let mut holds = one(words, at, acceptable);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        holds &= one(words, at, acceptable);
    }
    holds
}

fn one(words: &[&str], at: &mut usize, acceptable: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let holds = any(words, at, acceptable);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return holds && closed;
    }
    if words.get(*at) == Some(&"WITH") {
        let with = format!("{word} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
        return acceptable(&with);
    }
    acceptable(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(licence: Option<&str>, exceptions: &[Exception]) -> usize {
        let package = Package { name: "sample".into(), licence: licence.map(String::from) };
        unacceptable(&[package], exceptions).len()
    }

    #[test]
    fn a_choice_is_enough_and_a_sum_is_not() {
        for good in
            ["MIT", "MIT/Apache-2.0", "Apache-2.0 / MIT", "LGPL-2.1-or-later OR MIT", "(MIT OR GPL-3.0) AND ISC"]
        {
            assert_eq!(found(Some(good), &[]), 0, "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-2.0", "MIT AND", "(MIT", "AGPL-3.0 OR SSPL-1.0", ""] {
            assert_eq!(found(Some(bad), &[]), 1, "{bad}");
        }
        assert_eq!(found(Some("GPL-2.0 AND MIT OR ISC"), &[]), 0, "AND binds tighter than OR");
    }

    #[test]
    fn an_exception_to_a_licence_counts_only_where_it_is_known() {
        assert_eq!(found(Some("Apache-2.0 WITH LLVM-exception"), &[]), 0);
        assert_eq!(found(Some("GPL-2.0 WITH Classpath-exception-2.0"), &[]), 1);
    }

    #[test]
    fn a_package_without_a_licence_is_found() {
        assert_eq!(found(None, &[]), 1);
    }

    #[test]
    fn mpl_needs_a_name_and_a_reason() {
        let mpl = |package, reason| Exception { package, licence: "MPL-2.0", reason };
        assert_eq!(found(Some("MPL-2.0"), &[]), 1);
        assert_eq!(found(Some("MPL-2.0"), &[mpl("sample", "used unchanged")]), 0);
        assert_eq!(found(Some("MPL-2.0"), &[mpl("sample", "")]), 1, "no reason");
        assert_eq!(found(Some("MPL-2.0"), &[mpl("other", "used unchanged")]), 2, "another name, and nobody needs it");
        let gpl = Exception { package: "sample", licence: "GPL-3.0", reason: "we like it" };
        assert_eq!(found(Some("GPL-3.0"), &[gpl]), 1, "never");
    }
}
