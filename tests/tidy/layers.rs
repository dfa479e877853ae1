//! Who may know whom: imports run one way, and each library and each right stands behind one door.

use crate::finding::Finding;
use crate::source::{Named, Source, named, tokens};

/// What the code of a layer must not name inside this crate. `web, wire → actors → domains`, `actors → store`,
/// `web → programs → store`, `web → care → actors`.
const ABOVE: [(&str, &[&str]); 8] = [
    ("clock", &["store", "programs", "domains", "actors", "care", "wire", "web", "node", "cli", "demo"]),
    ("store", &["programs", "domains", "actors", "care", "wire", "web", "node", "cli", "demo"]),
    ("programs", &["domains", "actors", "care", "wire", "web", "node", "cli", "demo"]),
    ("domains", &["store", "programs", "actors", "care", "wire", "web", "node", "cli", "demo"]),
    ("actors", &["programs", "care", "wire", "web", "node", "cli", "demo"]),
    ("care", &["wire", "web", "node", "cli", "demo"]),
    ("wire", &["cli", "demo"]),
    ("web", &["cli", "demo"]),
];

/// What does IO, waits or starts threads; `domains` decides and leaves the doing to errands.
const IO: [&[&str]; 13] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "io"],
    &["std", "os"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["tokio"],
    &["reqwest"],
    &["redb"],
    &["actix"],
    &["actix_rt"],
    &["actix_web"],
];

/// Names of the modules above that are data, or write only to what they are handed.
const PURE: [(&str, &[&str]); 2] = [
    ("net", &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6", "AddrParseError"]),
    ("io", &["Read", "BufRead", "Write", "Cursor", "Error", "ErrorKind", "Result"]),
];

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];

/// A library, the files that may name it, and why nobody else needs to.
const DOORS: [(&str, &[&str], &str); 2] = [
    ("redb", &["src/store/redb.rs", "src/store/redb/"], "go through the `Engine` trait of src/store/mod.rs"),
    // The command line asks the operator's own node, which the transport of wire refuses as its own listener.
    (
        "reqwest",
        &["src/wire/", "src/cli/client.rs", "src/cli/client/"],
        "go through the `Transport` port, which checks the address actually connected to",
    ),
];

/// The files of `actors/` that run actors and hold no state of theirs.
const MACHINERY: [&str; 5] = ["host", "registry", "root", "timers", "errands"];

/// A file that may name hash maps although it decides, because a library asks for them.
const HASHED: [&str; 1] = ["src/domains/flow/json.rs"]; // A CEL map is one; read back, its keys are sorted.

/// A file that may start a thread although it is pure: the CEL parser is recursive, and a stack of its own, joined
/// before the call returns, keeps it from ending the process.
const DEEP: &str = "src/domains/flow/expr.rs";

/// Names that read a clock or draw a random number when a path ends in them.
const CLOCK_READS: [&[&str]; 12] = [
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["Utc", "now"],
    &["Local", "now"],
    &["OffsetDateTime", "now_utc"],
    &["time", "sleep"],
    &["time", "interval"],
    &["thread", "sleep"],
    &["rand", "rng"],
    &["rand", "random"],
];

/// Crates and types that are randomness wherever they stand in a path.
const RANDOMNESS: [&str; 7] = ["getrandom", "rand", "fastrand", "thread_rng", "OsRng", "SysRng", "ThreadRng"];

/// A layer names nothing above it.
pub(crate) fn direction(source: &Source) -> Vec<Finding> {
    let layer = source.layer().unwrap_or_default();
    let Some((_, above)) = ABOVE.iter().find(|(name, _)| *name == layer) else { return Vec::new() };
    let mut findings = Vec::new();
    for named in named(&source.code) {
        let reached = source.resolve(&named).and_then(|path| path.into_iter().next());
        if let Some(reached) = reached.filter(|reached| above.contains(&reached.as_str())) {
            findings.push(Finding {
                file: source.path.clone(),
                line: named.line,
                rule: "direction",
                what: format!(
                    "`{layer}` names `{reached}`, but imports run web, wire → actors → domains and actors → store"
                ),
                remedy: "move what both need down, or let node.rs hand it in as a port",
            });
        }
    }
    findings
}

/// `domains` does no IO.
pub(crate) fn purity(source: &Source) -> Vec<Finding> {
    if source.layer().as_deref() != Some("domains") {
        return Vec::new();
    }
    let does_io = |named: &Named| {
        let macros = named.behind == "!" && PRINTING.contains(&named.segments[0].as_str());
        let path = named.imported || named.segments.len() > 1;
        let deep = source.path == DEEP && named.segments.starts_with(&["std".to_owned(), "thread".to_owned()]);
        macros || (path && !deep && !is_pure(named) && IO.iter().any(|io| starts_with(named, io)))
    };
    let io = named(&source.code).into_iter().filter(does_io).map(|named| (named.line, named.segments.join("::")));
    let waits = tokens(&source.code).into_iter().filter(|token| matches!(token.text, "async" | "await"));
    let waits = waits.map(|token| (token.line, token.text.to_string()));
    let finding = |(line, what): (usize, String)| Finding {
        file: source.path.clone(),
        line,
        rule: "purity",
        what: format!("`{what}` in a domain"),
        remedy: "return a message or an errand as data; actors and wire do it",
    };
    io.chain(waits).map(finding).collect()
}

fn is_pure(named: &Named) -> bool {
    let [first, module, name, ..] = &named.segments[..] else { return false };
    first == "std" && PURE.iter().any(|(pure, names)| pure == module && names.contains(&name.as_str()))
}

/// Only the files of its door name a library.
pub(crate) fn doors(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (library, files, remedy) in DOORS {
        let own_module = declares_module(source, library);
        if own_module
            || files.iter().any(|file| source.path == *file || (file.ends_with('/') && source.path.starts_with(file)))
        {
            continue;
        }
        let uses = named(&source.code).into_iter().filter(|named| {
            named.segments[0] == library && (named.imported || named.segments.len() > 1) && named.before != "mod"
        });
        findings.extend(uses.map(|named| Finding {
            file: source.path.clone(),
            line: named.line,
            rule: "doors",
            what: format!("`{library}` is named outside {}", files.join(" and ")),
            remedy,
        }));
    }
    findings
}

/// `mod redb;` makes `redb::` the file's own child, not the library.
fn declares_module(source: &Source, name: &str) -> bool {
    tokens(&source.code).windows(2).any(|pair| pair[0].text == "mod" && pair[1].text == name)
}

/// Only `clock.rs` reads time or randomness.
pub(crate) fn clock(source: &Source) -> Vec<Finding> {
    if source.path == "src/clock.rs" {
        return Vec::new();
    }
    let reads = named(&source.code).into_iter().filter(|named| {
        let path = named.imported || named.segments.len() > 1;
        let random = path && named.segments.iter().any(|segment| RANDOMNESS.contains(&segment.as_str()));
        random || CLOCK_READS.iter().any(|read| ends_with(named, read))
    });
    let finding = |named: Named| Finding {
        file: source.path.clone(),
        line: named.line,
        rule: "clock",
        what: format!("`{}` reads time or randomness", named.segments.join("::")),
        remedy: "take it from the `Clock` that node.rs hands in, or let it arrive in the command",
    };
    reads.map(finding).collect()
}

/// No hash map or set where states and decisions are: its order differs from run to run.
pub(crate) fn order(source: &Source) -> Vec<Finding> {
    let decides = match source.module().as_slice() {
        [layer, ..] if layer == "domains" => !HASHED.contains(&source.path.as_str()),
        [layer, file, ..] if layer == "actors" => !MACHINERY.contains(&file.as_str()),
        _ => false,
    };
    let hashed = tokens(&source.code).into_iter().filter(|token| matches!(token.text, "HashMap" | "HashSet"));
    let finding = |line| Finding {
        file: source.path.clone(),
        line,
        rule: "order",
        what: "a hash map or set where states and decisions are".into(),
        remedy: "use BTreeMap or BTreeSet, so that replay and a second machine see one order",
    };
    hashed.filter(|_| decides).map(|token| finding(token.line)).collect()
}

/// `fn verify`, the one that gives `Verified`, is called from exactly one place outside its file and tests.
pub(crate) fn one_verification(sources: &[Source]) -> Vec<Finding> {
    let finding = |file: &str, line: usize, what: String| Finding {
        file: file.into(),
        line,
        rule: "one verification",
        what,
        remedy: "let the inbox route alone call `verify`, and demand a `Verified<Activity>` everywhere else",
    };
    let homes: Vec<(&Source, usize)> =
        sources.iter().filter_map(|source| Some((source, makes_verified(source)?))).collect();
    let (home, line) = match homes[..] {
        [] if sources.iter().all(|source| source.layer().as_deref() != Some("wire")) => return Vec::new(),
        [] => return vec![finding("src/wire", 1, "no `fn verify` gives `Verified`".into())],
        [one] => one,
        [_, (second, line), ..] => {
            return vec![finding(&second.path, line, "a second `fn verify` gives `Verified`".into())];
        }
    };
    let module = home.module();
    let others = sources.iter().filter(|source| source.path != home.path);
    let calls: Vec<(&str, usize)> = others.flat_map(|source| calls_of_verify(source, &module)).collect();
    match calls[..] {
        [_] => Vec::new(),
        [] => vec![finding(&home.path, line, "nobody calls `verify`".into())],
        [_, ref more @ ..] => {
            more.iter().map(|(file, line)| finding(file, *line, "one more call of `verify`".into())).collect()
        }
    }
}

/// The line of a `fn verify` whose signature names `Verified`.
fn makes_verified(source: &Source) -> Option<usize> {
    let tokens = tokens(&source.code);
    let starts = tokens.windows(2).enumerate().filter(|(_, pair)| pair[0].text == "fn" && pair[1].text == "verify");
    let mut signatures = starts.map(|(at, _)| &tokens[at..]);
    let made = signatures.find(|rest| {
        rest.iter().take_while(|token| !matches!(token.text, "{" | ";")).any(|token| token.text == "Verified")
    });
    made.map(|rest| rest[0].line)
}

/// Where a file calls `verify` by its bare name, through its `module` or one that passes it on, or hands it on as a
/// value. A method `.verify(` belongs to a key of some library and does not count, nor does a function of the file's own.
fn calls_of_verify<'a>(source: &'a Source, module: &[String]) -> Vec<(&'a str, usize)> {
    let own = tokens(&source.code).windows(2).any(|pair| pair[0].text == "fn" && pair[1].text == "verify");
    let uses = named(&source.code).into_iter().filter(|named| {
        let (last, rest) = named.segments.split_last().expect("a path has a segment");
        let ours = match rest.last() {
            None => named.behind == "(" && !own,
            Some(parent) => module.contains(parent) || matches!(parent.as_str(), "super" | "self" | "crate"),
        };
        last == "verify" && ours && !named.imported && !matches!(named.before.as_str(), "." | "fn" | "mod")
    });
    uses.map(|named| (source.path.as_str(), named.line)).collect()
}

fn starts_with(named: &Named, start: &[&str]) -> bool {
    named.segments.len() >= start.len() && named.segments.iter().zip(start).all(|(segment, part)| segment == part)
}

fn ends_with(named: &Named, end: &[&str]) -> bool {
    let skip = named.segments.len().checked_sub(end.len());
    skip.is_some_and(|skip| named.segments[skip..].iter().zip(end).all(|(segment, part)| segment == part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn found(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        lines(&rule(&Source::new(path, text)))
    }

    #[test]
    fn an_import_against_the_direction_is_found() {
        assert_eq!(found(direction, "src/store/mod.rs", "use crate::actors::Entity;\n"), [1]);
        assert_eq!(
            found(direction, "src/domains/blog.rs", "use std::fmt;\nuse crate::{clock::Time, store::Key};\n"),
            [2]
        );
        assert_eq!(found(direction, "src/domains/flow/step.rs", "fn a() { super::super::super::web::page(); }\n"), [1]);
        assert_eq!(found(direction, "src/actors/host.rs", "let a = quickbeam::wire::key::Key;\n"), [1]);
        assert_eq!(found(direction, "src/wire/inbox.rs", "use crate::cli;\n"), [1]);
    }

    #[test]
    fn an_import_along_the_direction_is_fine() {
        assert_eq!(found(direction, "src/wire/inbox.rs", "use crate::{actors, store, domains};\n"), [0; 0]);
        assert_eq!(found(direction, "src/actors/host.rs", "use crate::{store, domains}; use super::root;\n"), [0; 0]);
        assert_eq!(
            found(direction, "src/domains/blog.rs", "#[cfg(test)]\nmod tests { use crate::store::Key; }\n"),
            [0; 0]
        );
        assert_eq!(found(direction, "src/domains/blog.rs", "// crate::store\nlet a = \"crate::store\";\n"), [0; 0]);
        assert_eq!(found(direction, "src/main.rs", "use quickbeam::{cli, web};\n"), [0; 0]);
    }

    #[test]
    fn io_in_a_domain_is_found() {
        let bad =
            "use std::{fmt, fs};\nuse tokio;\nfn a() { std::net::lookup(); }\nasync fn b() {}\nprintln!(\"x\");\n";
        let mut found_lines = found(purity, "src/domains/blog.rs", bad);
        found_lines.sort_unstable();
        assert_eq!(found_lines, [1, 2, 3, 4, 5]);
        assert_eq!(
            found(
                purity,
                "src/domains/blog.rs",
                "use std::net::{IpAddr, TcpStream};\nstd::io::stdin();\nuse std::io;\n"
            ),
            [1, 2, 3]
        );
        assert_eq!(found(purity, "src/actors/host.rs", bad), [0; 0]);
    }

    #[test]
    fn a_pure_domain_is_fine() {
        let good = "use std::collections::BTreeMap;\nlet io = 1; let tokio = io;\nuse std::net::{IpAddr, Ipv4Addr}; fn a(b: std::io::Error) {}\nformat!(\"std::fs\");\n";
        assert_eq!(found(purity, "src/domains/blog.rs", good), [0; 0]);
    }

    #[test]
    fn a_library_outside_its_door_is_found() {
        assert_eq!(found(doors, "src/store/memory.rs", "use redb::Database;\n"), [1]);
        assert_eq!(found(doors, "src/store/redbird.rs", "fn a() -> redb::Error {}\n"), [1]);
        assert_eq!(found(doors, "src/actors/errands.rs", "use reqwest;\n"), [1]);
        assert_eq!(found(doors, "src/store/redb.rs", "use redb::Database;\n"), [0; 0]);
        assert_eq!(found(doors, "src/store/redb/log.rs", "use redb::Database;\n"), [0; 0]);
        assert_eq!(found(doors, "src/wire/fetch.rs", "use reqwest::Client;\n"), [0; 0]);
        assert_eq!(found(doors, "src/store/mod.rs", "pub mod redb;\npub use redb::Redb;\n"), [0; 0]);
        assert_eq!(found(doors, "src/node.rs", "use crate::store::redb::Redb; let redb = 1;\n"), [0; 0]);
    }

    #[test]
    fn a_reading_of_time_or_randomness_is_found() {
        let bad = "use std::time::Instant;\nlet a = Instant::now();\ngetrandom::fill(&mut b);\nuse rand_core::OsRng;\ntokio::time::sleep(c);\n";
        assert_eq!(found(clock, "src/actors/timers.rs", bad), [2, 3, 4, 5]);
        assert_eq!(found(clock, "src/clock.rs", bad), [0; 0]);
        assert_eq!(
            found(clock, "src/actors/timers.rs", "self.clock.now(); clock.sleep(a); // Instant::now()\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_map_without_order_is_found() {
        let bad = "use std::collections::{BTreeMap, HashMap};\nfn a() -> HashSet<u8> {}\n";
        assert_eq!(found(order, "src/domains/flow/step.rs", bad), [1, 2]);
        assert_eq!(found(order, "src/actors/follower.rs", bad), [1, 2]);
        assert_eq!(found(order, "src/actors/registry.rs", bad), [0; 0]);
        assert_eq!(found(order, "src/wire/fetch.rs", bad), [0; 0]);
    }

    const HOME: &str = "//! x\npub fn verify(a: Raw) -> Result<Verified<Activity>, E> { b.verify(c) }\n";
    const CALLER: &str = "use super::signature::verify;\nfn a() { verify(b); key.verify(c); }\n";

    fn verification(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        one_verification(&sources).into_iter().map(|finding| (finding.file, finding.line)).collect()
    }

    #[test]
    fn a_second_call_of_verify_is_found() {
        let (home, caller) = (("src/wire/signature.rs", HOME), ("src/wire/inbox.rs", CALLER));
        assert_eq!(verification(&[home, caller]), []);
        let twice = ("src/web/mod.rs", "\nfn a() { crate::wire::signature::verify(b); }\n");
        assert_eq!(verification(&[home, caller, twice]), [("src/web/mod.rs".into(), 2)]);
        let value = ("src/web/mod.rs", "a.map(signature::verify)\n");
        assert_eq!(verification(&[home, caller, value]), [("src/web/mod.rs".into(), 1)]);
        let passed_on = ("src/web/mod.rs", "use crate::wire;\nfn a() { wire::verify(b); }\n");
        assert_eq!(verification(&[home, caller, passed_on]), [("src/web/mod.rs".into(), 2)]);
        let other = ("src/web/mod.rs", "fn verify() {}\nfn a() { verify(); digest::verify(b); }\n");
        assert_eq!(verification(&[home, caller, other]), []);
        let test = ("src/web/mod.rs", "#[cfg(test)]\nmod tests { fn a() { signature::verify(b); } }\n");
        assert_eq!(verification(&[home, caller, test]), []);
    }

    #[test]
    fn a_missing_or_second_verify_is_found() {
        let home = ("src/wire/signature.rs", HOME);
        assert_eq!(verification(&[home]), [("src/wire/signature.rs".into(), 2)], "nobody calls it");
        assert_eq!(verification(&[("src/wire/inbox.rs", "fn a() {}")]), [("src/wire".into(), 1)]);
        assert_eq!(verification(&[home, ("src/wire/other.rs", HOME)]), [("src/wire/other.rs".into(), 2)]);
    }
}
