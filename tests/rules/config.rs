//! Every mistake that a configuration can hold is named, with its line, its column and what to do.

use std::path::Path;

use quickbeam::config::template::{Answers, PeerAnswer, Template, render};
use quickbeam::config::{Accept, Config, Limits, Mistake, Network};
use quickbeam::domains::behaviours::{From, Verb};
use quickbeam::domains::catalog::{Catalog, load};
use quickbeam::domains::effects::Effects;
use quickbeam::domains::{blog, events};

/// Stands behind what a test is about, so that lines count from the test's own text.
const NODE: &str = "\n[node]\nname = \"blog\"\nbase = \"https://blog.example\"\n";

fn effects() -> Effects {
    events::register(blog::register(Effects::generic()))
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<(Config, Catalog), Vec<Mistake>> {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), text, environment)
}

fn load_in(folder: &Path, text: &str, environment: &[(&str, &str)]) -> Result<(Config, Catalog), Vec<Mistake>> {
    let path = folder.join("blog.toml");
    std::fs::write(&path, text).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&path, environment, &effects())
}

fn named(mistakes: &[Mistake]) -> Vec<String> {
    let line = |it: &Mistake| {
        let shown = it.to_string();
        shown.rsplit_once("blog.toml:").map_or(shown.clone(), |(_, rest)| rest.to_owned())
    };
    mistakes.iter().map(line).collect()
}

/// The mistakes of a text, each as `line:column: what; remedy`.
#[track_caller]
fn assert_all(differences: &[String]) {
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[track_caller]
fn assert_mistakes(text: &str, expected: &[&str]) {
    let mistakes = load_text(&format!("{text}{NODE}"), &[]).expect_err("the text has a mistake");
    assert_eq!(named(&mistakes), expected, "in:\n{text}");
}

fn good(text: &str) -> (Config, Catalog) {
    load_text(&format!("{text}{NODE}"), &[]).unwrap_or_else(|mistakes| panic!("{:#?}", named(&mistakes)))
}

const NOTIFY: &str = "effect = \"notify\", with = { text = \"'x'\" }";

#[test]
fn the_templates_are_right_as_they_are() {
    for template in Template::ALL {
        load_text(template.source(), &[]).unwrap_or_else(|mistakes| panic!("{:#?}", named(&mistakes)));
    }
}

#[test]
fn a_rendered_template_has_the_answers_and_its_comments() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pair.secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let answers = Answers {
        name: "rowan".into(),
        base: "http://127.0.0.1:8101".into(),
        data: Some("elsewhere".into()),
        listen: Some("127.0.0.1:8101".into()),
        admin_listen: Some("127.0.0.1:9101".into()),
        fetch_allow: vec!["127.0.0.1:8102".into()],
        follow_at_start: vec!["events".into()],
        peers: vec![PeerAnswer {
            name: "events".into(),
            actor: "http://127.0.0.1:8102/actor".into(),
            secret_file: Some("pair.secret".into()),
        }],
    };
    for template in Template::ALL {
        let text = render(template, &answers);
        assert!(text.contains("# What every id begins with"), "{text}");
        let (config, _) = load_in(folder.path(), &text, &[]).unwrap_or_else(|it| panic!("{:#?}\n{text}", named(&it)));
        assert_eq!(config.node.name, "rowan");
        assert_eq!(config.node.base, "http://127.0.0.1:8101");
        assert_eq!(config.node.data, folder.path().join("elsewhere"));
        assert_eq!(config.public.listen.to_string(), "127.0.0.1:8101");
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9101");
        assert_eq!(config.fetch.allow, ["127.0.0.1:8102"]);
        assert_eq!(config.follow.at_start, ["events"]);
        let secret = config.peers["events"].secret.as_ref().unwrap();
        assert_eq!(secret.expose(), b"0123456789abcdef0123456789abcdef");
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let (config, catalog) = good("");
    assert_eq!(config.public.listen.to_string(), "127.0.0.1:8001");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9001");
    assert_eq!(config.follow.accept, Accept::All);
    assert_eq!(config.tick.every.as_secs(), 15);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.limits.body, 1 << 20);
    assert_eq!(config.limits.dedupe.as_secs(), 90 * 86_400);
    assert_eq!(catalog.types().count(), 0);
    assert!(Limits::list().iter().any(|(name, what, default)| {
        (*name, what.as_str(), default.as_str()) == ("body", "Bytes of a request's body.", "1 MiB")
    }));
}

#[test]
fn the_environment_comes_first_and_its_mistakes_are_named() {
    let text = format!("[tick]\nevery = \"1s\"\n{NODE}");
    let (config, _) = load_text(
        &text,
        &[
            ("QUICKBEAM_TICK__EVERY", "2s"),
            ("QUICKBEAM_LIMITS__MAILBOX", "64"),
            ("QUICKBEAM_NODE__NAME", "42"),
            ("QUICKBEAM_CONFIG", "elsewhere"),
        ],
    )
    .unwrap();
    assert_eq!((config.tick.every.as_secs(), config.limits.mailbox, config.node.name.as_str()), (2, 64, "42"));
    let mistakes =
        load_text(&text, &[("QUICKBEAM_TICK__EVRY", "2s"), ("QUICKBEAM_LIMITS__MAILBOX", "many")]).unwrap_err();
    assert_eq!(
        named(&mistakes),
        [
            "environment QUICKBEAM_TICK__EVRY: unknown key `evry` in [tick]; did you mean `every`?",
            "environment QUICKBEAM_LIMITS__MAILBOX: `mailbox` has to be a whole number, not text",
        ]
    );
}

#[test]
fn all_mistakes_come_in_one_go_in_the_order_of_the_file() {
    let text = "[tick]\nevry = \"1s\"\n[type.article]\nfeilds.title = { kind = \"text\" }\non.create = \"nothing\"\n";
    assert_mistakes(
        text,
        &[
            "2:1: unknown key `evry` in [tick]; did you mean `every`?",
            "4:1: unknown key `feilds` in [type.article]; did you mean `fields`?",
            "5:13: unknown flow `nothing`; take it away",
        ],
    );
}

#[test]
fn a_mistake_knows_its_path() {
    let mistakes = load_text(&format!("[type.article]\nfields.title = {{ kind = \"txt\" }}\n{NODE}"), &[]).unwrap_err();
    assert_eq!(mistakes[0].path, "type.article.fields.title.kind");
    assert_eq!((mistakes[0].line, mistakes[0].column), (2, 25));
}

#[test]
fn what_is_not_toml_is_one_mistake() {
    let mistakes = load_text("[node]\nname = \n", &[]).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(named(&mistakes)[0].starts_with("2:8: not TOML: "), "{}", mistakes[0]);
    let twice = load_text(&format!("[flow.a]\n[flow.a]\n{NODE}"), &[]).unwrap_err();
    assert_eq!(named(&twice), ["2:7: not TOML: duplicate key"]);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mistakes = load(Path::new("/nowhere/blog.toml"), std::iter::empty(), &effects()).unwrap_err();
    assert!(mistakes[0].to_string().starts_with("/nowhere/blog.toml: cannot be read: "), "{}", mistakes[0]);
    assert_eq!(mistakes.len(), 1);
}

#[test]
fn what_is_missing_is_named() {
    let mistakes = load_text("[public]\n", &[]).unwrap_err();
    assert_eq!(named(&mistakes), ["1:1: the section [node] is missing; add [node] with name, base and data"]);
    let mistakes = load_text("[node]\n", &[]).unwrap_err();
    assert_eq!(
        named(&mistakes),
        [
            "1:1: `name` is missing in [node]; add name = \"blog\"",
            "1:1: `base` is missing in [node]; add base = \"https://blog.example\"",
        ]
    );
}

#[test]
fn wrong_settings_of_the_node_are_named() {
    for (text, expected) in [
        (
            "sevral = 1",
            "1:1: unknown key `sevral` in the file; known are admin, delivery, federation, fetch, flow, follow, http, kernel, limits, log, node, peers, public, retention, runner, runtime, schedule, secrets, seed, store, tick, type",
        ),
        (
            "[public]\nlisten = \"8001\"",
            "2:10: `listen` is `8001`, not an address and a port; write \"127.0.0.1:8001\" or \"[::]:8001\"",
        ),
        ("[public]\nlisten = 8001", "2:10: `listen` has to be text, not a whole number"),
        (
            "[admin]\nlisten = \"127.0.0.1:8001\"",
            "2:10: [public] and [admin] both listen on 127.0.0.1:8001; give one of them another port",
        ),
        (
            "[public]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            "2:19: `10.0.0.0/33` is no address or network; write \"127.0.0.1\" or \"10.0.0.0/8\"",
        ),
        (
            "[fetch]\nallow = [\"http://a.example\"]",
            "2:9: `http://a.example` is no authority: a host in lower case, and a port when it is not the default; write \"127.0.0.1:8002\" or \"events.example\"",
        ),
        ("[follow]\naccept = \"al\"", "2:10: `accept` is `al`; did you mean `all`?"),
        (
            "[follow]\nat_start = [\"evnts\"]\n[peers.events]\nactor = \"https://e.example/actor\"",
            "2:12: `evnts` is no name in [peers], no authority and no URL; did you mean `events`?",
        ),
        ("[peers.events]", "1:1: `actor` is missing in [peers.events]; add actor = \"https://events.example/actor\""),
        (
            "[peers.events]\nactor = \"e.example\"",
            "2:9: `actor` is `e.example`, not an http or https URL; write it like \"https://blog.example\"",
        ),
        (
            "[tick]\nevery = \"15\"",
            "2:9: `every` has to be a duration, not `15`; write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"",
        ),
        (
            "[tick]\nevery = \"7w\"",
            "2:9: `every` has to be a duration, not `7w`; write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"",
        ),
        (
            "[federation]\nallow_only = [\"https://a.example/\"]",
            "2:14: `https://a.example/` is no domain; write a host without scheme, port and path: \"events.example\"",
        ),
        ("[federation]\nauthorized_fetch = \"yes\"", "2:20: `authorized_fetch` has to be true or false, not text"),
        ("[tick]\nevery = \"2d\"", "2:9: `every` is 2d, it has to be 50ms to 1d"),
        ("[retention]\nanswers = \"1h\"", "2:11: `answers` is 1h, it has to be 1d to 365d"),
        (
            "[retention]\nflows = \"ever\"",
            "2:9: `flows` has to be a duration, not `ever`; write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"",
        ),
        ("[limits]\nmailbox = 1", "2:11: `mailbox` is 1, it has to be 8 to 65536"),
        ("[limits]\nmailbox = -1", "2:11: `mailbox` is -1, it has to be 8 to 65536"),
        (
            "[limits]\nbody = \"1 MB\"",
            "2:8: `body` has to be a number of bytes, not `1 MB`; write 65536, \"64 KiB\", \"1 MiB\" or \"2 GiB\"",
        ),
        ("[limits]\nbody = \"1 GiB\"", "2:8: `body` is 1 GiB, it has to be 1 KiB to 64 MiB"),
        ("[limits]\nbdy = 1", "2:1: unknown key `bdy` in [limits]; did you mean `body`?"),
        ("[log]\nformat = \"xml\"", "2:10: `format` is `xml`; known are text, json"),
        ("[runtime]\narbiters = 1000", "2:12: `arbiters` is 1000, it has to be 0 to 256"),
        ("tick = 3", "1:8: `tick` has to be a table, not a whole number"),
    ] {
        assert_mistakes(&format!("{text}\n"), &[expected]);
    }
}

#[test]
fn wrong_names_and_bases_are_named() {
    for (name, base, expected) in [
        ("Blog", "https://blog.example", "2:8: the name `Blog` has to be 1 to 63 of the letters a-z, 0-9 and -"),
        (
            "blog",
            "blog.example",
            "3:8: `base` is `blog.example`, not an http or https URL; write it like \"https://blog.example\"",
        ),
        (
            "blog",
            "ftp://blog.example",
            "3:8: `base` is `ftp://blog.example`, not an http or https URL; write it like \"https://blog.example\"",
        ),
        ("blog", "https://blog.example/x", "3:8: `base` has a path; give the node a host of its own"),
        ("blog", "https://blog.example/?x", "3:8: `base` has a query or a fragment; take it away"),
        ("blog", "https://a:b@blog.example", "3:8: `base` has a user or a password; take it away"),
    ] {
        let mistakes = load_text(&format!("[node]\nname = \"{name}\"\nbase = \"{base}\"\n"), &[]).unwrap_err();
        assert_eq!(named(&mistakes), [expected]);
    }
}

#[test]
fn a_base_loses_its_slash_and_its_usual_port() {
    let (config, _) = load_text("[node]\nname = \"b\"\nbase = \"https://Blog.example:443/\"\n", &[]).unwrap();
    assert_eq!(config.node.base, "https://blog.example");
}

#[test]
fn secrets_come_from_a_file_or_the_environment_and_have_a_length() {
    let peer = |line: &str| format!("[peers.events]\nactor = \"https://e.example/actor\"\n{line}\n{NODE}");
    let long = "0123456789abcdef0123456789abcdef";
    let (config, _) = load_text(&peer("secret_env = \"PAIR\""), &[("PAIR", long)]).unwrap();
    assert_eq!(config.peers["events"].secret.as_ref().unwrap().expose(), long.as_bytes());
    let short = load_text(&peer("secret_env = \"PAIR\""), &[("PAIR", "short")]).unwrap_err();
    assert_eq!(
        named(&short),
        ["3:14: the secret has 5 bytes, at least 32 are needed; make one with `openssl rand -hex 32`"]
    );
    assert!(named(&load_text(&peer("secret_env = \"PAIR\""), &[]).unwrap_err())[0].contains("no variable `PAIR`"));
    assert!(named(&load_text(&peer("secret_file = \"none\""), &[]).unwrap_err())[0].contains("cannot be read"));
    let both = load_text(&peer("secret_file = \"a\"\nsecret_env = \"PAIR\""), &[("PAIR", long)]).unwrap_err();
    assert_eq!(named(&both), ["4:14: [peers.events] has `secret_file` and `secret_env`; keep one of them"]);
}

#[test]
fn networks_contain_their_addresses() {
    let contains = |network: &str, address: &str| Network::parse(network).unwrap().contains(address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.255.0.1"));
    assert!(!contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("0.0.0.0/0", "11.0.0.1"));
    assert!(contains("127.0.0.1", "::ffff:127.0.0.1"));
    assert!(contains("fd00::/8", "fd12::1"));
    assert!(!contains("fd00::/8", "fe80::1"));
}

#[test]
fn wrong_types_are_named() {
    let mut differences = Vec::new();
    for (line, expected) in [
        ("fields.title = { kind = \"txt\" }", "2:25: `txt` is no kind of field; did you mean `text`?"),
        ("fields.title = { max = 3 }", "2:16: `kind` is missing in [type.article.fields.title]; add kind = \"text\""),
        (
            "fields.title = { kind = \"choice\" }",
            "2:16: a choice needs `of`, a list of at least one text; add of = [\"one\", \"other\"]",
        ),
        (
            "fields.title = { kind = \"text\", of = \"text\" }",
            "2:38: a field of kind text has no such `of`; only choice and list have it",
        ),
        (
            "fields.title = { kind = \"text\", requird = true }",
            "2:33: unknown key `requird` in [type.article.fields.title]; did you mean `required`?",
        ),
        (
            "fields.title = { kind = \"text\", required = 1 }",
            "2:44: `required` has to be true or false, not a whole number",
        ),
        ("fields.title = { kind = \"bool\", max = 1 }", "2:39: a field of kind bool has no `max`; take it away"),
        ("fields.title = { kind = \"text\", min = 3, max = 1 }", "2:39: `min` is 3 and `max` is 1; exchange them"),
        ("fields.title = { kind = \"integer\", default = \"x\" }", "2:46: `default` is text, not a whole number"),
        (
            "fields.title = { kind = \"text\", required = true, default = \"x\" }",
            "2:60: a required field has no use for a default; take one away",
        ),
        (
            "title = \"titel\"\nfields.title = { kind = \"text\" }",
            "2:9: `title` is `titel`, which is no field of kind text; did you mean `title`?",
        ),
        ("path = \"a/b\"", "2:8: `path` is `a/b`; use 1 to 80 of a-z, 0-9 and -"),
        ("visibility = \"privat\"", "2:14: `visibility` is `privat`; known are public, followers, direct"),
        ("on.craete = \"f\"", "2:4: unknown key `craete` in [type.article.on]; did you mean `create`?"),
        ("on.allocate = \"f\"", "2:4: unknown key `allocate` in [type.article.on]; known are create, delete, update"),
        (
            "remote.create = { run = \"f\", from = \"folowing\" }",
            "2:37: `from` is `folowing`; did you mean `following`?",
        ),
        (
            "remote.create = { from = \"anyone\" }",
            "2:17: `run` is missing in [type.article.remote.create]; add run = \"FLOW\"",
        ),
        (
            "on.create = { run = \"f\", from = \"anyone\" }",
            "2:26: unknown key `from` in [type.article.on.create]; known are run",
        ),
        ("on.create = \"g\"", "2:13: unknown flow `g`; did you mean `f`?"),
    ] {
        let text = format!("[type.article]\n{line}\n[flow.f]\nsteps.a = {{ {NOTIFY} }}\n{NODE}");
        let shown = named(&load_text(&text, &[]).unwrap_err());
        if shown != [expected] {
            differences.push(format!("{line}\n is {shown:#?}\n not {expected}"));
        }
    }
    assert_all(&differences);
    assert_mistakes(
        "[type.Article]\n",
        &["1:7: the type `Article` has a name that no path can have; use a-z, 0-9 and -, a letter first"],
    );
    assert_mistakes(
        "[type.article]\nfields.id.kind = \"text\"\n",
        &["2:8: a field cannot be called `id`: every object has that already; give it another name"],
    );
}

#[test]
fn wrong_seeds_are_named() {
    let calendar = "[type.calendar]\nfields.title = { kind = \"text\", required = true }\n";
    for (seed, expected) in [
        ("[seed.calender.main]\ntitle = \"x\"", "3:7: seed of the unknown type `calender`; did you mean `calendar`?"),
        ("[seed.calendar.main]\ntitel = \"x\"", "4:1: `titel` is not a field; did you mean `title`?"),
        ("[seed.calendar.main]", "3:16: `title` is missing"),
        ("[seed.calendar.Main]\ntitle = \"x\"", "3:16: `Main` is no slug; use 1 to 80 of a-z, 0-9 and -"),
        (
            "[seed]\ncalendar.main = 1",
            "4:10: `main` is a whole number, a seed has to be a table; write [seed.calendar.SLUG]",
        ),
    ] {
        let mistakes = load_text(&format!("{calendar}{seed}\n{NODE}"), &[]).unwrap_err();
        assert!(named(&mistakes).contains(&expected.to_owned()), "{:#?}", named(&mistakes));
    }
    let (_, catalog) = good(&format!("{calendar}[seed.calendar.main]\ntitle = \"x\"\n"));
    assert_eq!(catalog.seeds()[0].slug, "main");
    assert_eq!(catalog.seeds()[0].fields["title"], "x");
}

#[test]
fn wrong_kinds_and_ways_of_steps_are_named() {
    assert_steps(&[
        (
            "steps.a = { after = \"b\" }\nsteps.b = { N }",
            "2:7: [flow.f.steps.a] does nothing that is known; it does one of effect, branch, each, suspend, wait, all, call, http, ask",
        ),
        (
            "steps.a = { wiat = \"1d\" }",
            "2:7: [flow.f.steps.a] does nothing that is known; `wiat` is none; did you mean `wait`?",
        ),
        ("steps.a = { N, undoo = \"b\" }", "2:57: unknown key `undoo` in [flow.f.steps.a]; did you mean `undo`?"),
        (
            "steps.a = { suspend = \"go\", branch = \"true\" }",
            "2:7: [flow.f.steps.a] is branch and suspend at once; make two steps of it",
        ),
        ("steps.a = { each = \"[1]\" }", "2:11: `effect` is missing in [flow.f.steps.a]; add effect = \"notify\""),
        (
            "steps.a = { branch = \"object.x\" }",
            "2:22: [flow.f.steps.a] goes nowhere; add then = \"STEP\" and else = \"STEP\" or \"end\"",
        ),
        (
            "steps.a = { branch = \"object.x\", then = \"b\" }",
            "2:41: `a` names the step `b`, which does not exist; did you mean `a`?",
        ),
        (
            "steps.a = { N, after = \"nothing\" }",
            "2:65: `a` names the step `nothing`, which does not exist; steps are a",
        ),
        (
            "steps.a = { N, after = \"b\" }\nsteps.b = { N, after = \"c\" }\nsteps.c = { N, after = \"a\" }",
            "2:7: the steps go round in a cycle: `a` → `c` → `b` → `a`; a flow only goes forward; take one of these ways away",
        ),
        (
            "steps.a = { N, after = \"a\" }",
            "2:7: the steps go round in a cycle: `a` → `a`; a flow only goes forward; take one of these ways away",
        ),
        (
            "steps.a = { branch = \"true\", then = \"end\", else = \"b\" }\nsteps.b = { N }",
            "3:7: the step `b` can never be reached: `a` never goes there; change the condition, or take the step away",
        ),
    ]);
}

#[test]
fn wrong_settings_of_steps_are_named() {
    assert_steps(&[
        (
            "steps.a = { suspend = \"go\", otherwise = \"b\" }\nsteps.b = { N }",
            "2:41: `a` has an `otherwise` and no `timeout`, so it would never come to it; add timeout = \"7d\"",
        ),
        (
            "steps.a = { suspend = \"go\", timeout = \"soon\" }",
            "2:39: `timeout` has to be a duration, not `soon`; write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"",
        ),
        (
            "steps.a = { suspend = \"Go!\" }",
            "2:23: `Go!` is no name of a signal; use a-z, 0-9, - and _, a letter first",
        ),
        (
            "steps.a-b = { N }",
            "2:7: the step `a-b` has a name that results.a-b could not say; use a-z, 0-9 and _, a letter first",
        ),
        ("steps.end = { N }", "2:7: no step can be called `end`: targets use the word; rename it"),
        ("steps.a = { N, retry = { attempts = 0 } }", "2:78: `attempts` is 0, it has to be 1 to 1000"),
        ("steps.a = { N, retry = { factor = 0.5 } }", "2:76: `factor` is 0.5, it has to be 1 to 100"),
        ("steps.a = { N, each = \"[1]\", parallel = 65 }", "2:82: `parallel` is 65, it has to be 1 to 64"),
        ("result = \"1\"", "1:7: the flow has no steps; add steps.NAME = { effect = \"…\" }"),
        ("steps.a = { N }\nsearch = [\"x\"]", "3:10: `flow.f.search` has to be a table, not a list"),
    ]);
}

#[test]
fn wrong_settings_of_waits_calls_and_requests_are_named() {
    assert_steps(&[
        ("steps.a = { wait = \"36600d\" }", "2:20: `wait` is 36600d, at most 3660d are allowed"),
        (
            "steps.a = { wait = \"'2026-12-24T18:00:00'\", zone = \"Europe/Berlim\" }",
            "2:52: `Europe/Berlim` is no time zone; write its name in the IANA data base, such as \"Europe/Berlin\"",
        ),
        ("steps.a = { wait = \"2h\", zone = \"UTC\" }", "2:33: a duration has no time zone; take it away"),
        (
            "steps.a = { wait = \"tomorrow\" }",
            "2:21: unknown name `tomorrow`; known are input, activity, object, actor, results; text stands in 'single quotes'",
        ),
        ("steps.a = { all = [] }", "2:19: [flow.f.steps.a] waits for nothing; write all = [\"left\", \"right\"]"),
        ("steps.a = { all = [\"b\"] }", "2:19: `a` names the step `b`, which does not exist; did you mean `a`?"),
        ("steps.a = { call = \"g\" }", "2:20: unknown flow `g`; did you mean `f`?"),
        (
            "steps.a = { http = \"GTE\", url = \"'https://a.example/'\" }",
            "2:20: `http` is `GTE`; known are GET, POST, PUT, PATCH, DELETE",
        ),
        (
            "steps.a = { http = \"GET\" }",
            "2:11: `url` is missing in [flow.f.steps.a]; add url = \"'https://api.example/orders'\"",
        ),
        (
            "steps.a = { http = \"GET\", url = \"callback_url\" }",
            "2:34: unknown name `callback_url`; `callback_url` exists in an `http` step with callback = true only",
        ),
        (
            "steps.a = { http = \"GET\", url = \"input\", ok = [99] }",
            "2:47: `ok` has to be \"2xx\" or a list of statuses; write ok = [200, 201]",
        ),
        (
            "steps.a = { http = \"GET\", url = \"input\", headers = { host = \"'x'\" } }",
            "2:54: the header `host` is set by the node itself; take it away",
        ),
        (
            "steps.a = { N, undo = \"calender.unlink\" }",
            "2:64: unknown effect `calender.unlink`; did you mean `calendar.link`?",
        ),
        (
            "steps.a = { effect = \"webhook\", with = { url = \"'https://a.example/'\" }, undo = true }",
            "2:81: `webhook` has no undo of its own; name one: undo = { effect = \"…\" } or undo = { http = \"POST\" }",
        ),
        (
            "steps.a = { N, undo = { effect = \"notify\", with = { text = \"results.a.id\" } } }",
            "2:109: `results` are not known here; known are input, activity, object, actor, with, result",
        ),
        (
            "steps.a = { N, retry = { on = [\"6xx\"] } }",
            "2:72: `6xx` is no failure; known are timeout, unreachable, 4xx, 5xx and statuses such as 429",
        ),
        ("steps.a = { N, retry = { jitter = 2 } }", "2:76: `jitter` is 2, it has to be 0 to 1"),
        (
            "steps.a = { branch = \"true\", then = \"end\", retry = { attempts = 2 } }",
            "2:52: [flow.f.steps.a] is a `branch`, which is never tried again; take it away",
        ),
        (
            "steps.a = { ask = \"allocat\", object = \"object.id\", target = \"input\", to = \"input\" }",
            "2:19: `allocat` cannot be asked; known are allocate",
        ),
        ("steps.a = { N }\nrate = { max = 3 }", "3:8: `per` is missing in [flow.f.rate]; add per = \"1m\""),
        (
            "steps.a = { N }\nconcurrency = { key = \"results.a\", max = 1 }",
            "3:31: `results` are not known here; known are input, activity, object, actor",
        ),
    ]);
}

#[test]
fn a_secret_that_nobody_declares_is_named_where_a_step_names_it() {
    let http = |secret: &str| {
        format!(
            "[flow.f]\nsteps.a = {{ http = \"POST\", url = \"'https://a.example/'\", \
             headers = {{ authorization = {{ secret = \"{secret}\" }} }}, undo = {{ http = \"POST\", \
             url = \"'https://a.example/'\", headers = {{ x = {{ secret = \"OTHER\" }} }} }} }}\n"
        )
    };
    let declared = "[secrets.orders]\nenv = \"API\"\n[secrets.OTHER]\nenv = \"OTHER\"\n";
    let environment = [("API", "a token"), ("OTHER", "another")];
    load_text(&format!("{}{declared}{NODE}", http("orders")), &environment).unwrap();
    let wrong = |text: String| named(&load_text(&text, &environment).unwrap_err());
    assert_eq!(
        wrong(format!("{}{declared}{NODE}", http("order"))),
        ["2:97: there is no secret `order` (in flow `f`); did you mean `orders`?"]
    );
    let none = wrong(format!("{}[secrets.orders]\nenv = \"API\"\n{NODE}", http("orders")));
    assert_eq!(none.len(), 1, "{none:?}");
    assert!(none[0].contains("there is no secret `OTHER`") && none[0].contains("add [secrets.OTHER]"), "{none:?}");
    let unread = named(&load_text(&format!("{}{declared}{NODE}", http("orders")), &environment[..1]).unwrap_err());
    assert!(unread.len() == 1 && unread[0].contains("no variable `OTHER`"), "missed once: {unread:?}");
}

/// The mistake of a flow of these lines, in which `N` stands for an effect.
#[track_caller]
fn assert_steps(cases: &[(&str, &str)]) {
    let mut differences = Vec::new();
    for (steps, expected) in cases {
        let text = format!("[flow.f]\n{}\n", steps.replace('N', NOTIFY));
        let mistakes = load_text(&format!("{text}{NODE}"), &[]).unwrap_err();
        let shown: Vec<_> = named(&mistakes).iter().map(|it| it.replace(" (in flow `f`)", "")).collect();
        if shown != [*expected] {
            differences.push(format!("{steps}\n is {shown:#?}\n not {expected}"));
        }
    }
    assert_all(&differences);
}

#[test]
fn wrong_effects_are_named() {
    let mut differences = Vec::new();
    for (step, expected) in [
        ("{ effect = \"notfy\" }", "2:22: unknown effect `notfy`; did you mean `notify`?"),
        ("{ effect = \"notify\" }", "2:7: `notify` needs the parameter `text`; add with.text: what it says"),
        (
            "{ effect = \"notify\", with = { text = \"'x'\", abuot = \"'y'\" } }",
            "2:63: unknown parameter `abuot` of `notify`; did you mean `about`?",
        ),
        ("{ effect = \"notify\", with = { text = 3 } }", "2:48: `text` is a number, not text; text: what it says"),
        (
            "{ effect = \"object.create\", with = { type = \"'artcle'\", fields = {} } }",
            "2:55: unknown type `artcle`; did you mean `article`?",
        ),
    ] {
        let text = format!("[flow.f]\nsteps.a = {step}\n[type.article]\n{NODE}");
        let mistakes = load_text(&text, &[]).unwrap_err();
        let shown: Vec<_> = named(&mistakes).iter().map(|it| it.replace(" (in flow `f`)", "")).collect();
        if shown != [expected] {
            differences.push(format!("{step}\n is {shown:#?}\n not {expected}"));
        }
    }
    assert_all(&differences);
}

#[test]
fn wrong_expressions_are_named_to_the_letter() {
    let mut differences = Vec::new();
    let deep = "[1].map(a, [1].map(b, [1].map(c, c)))";
    let long = format!("'{}'", "x".repeat(4096));
    for (expression, expected) in [
        ("object.x ==", "2:"),
        ("objct.x", "2:23: unknown name `objct`; did you mean `object`?"),
        (
            "1 == 1 && colour",
            "2:33: unknown name `colour`; known are input, activity, object, actor, results; text stands in 'single quotes'",
        ),
        ("sise(object.x) > 1", "unknown function `sise`; did you mean `size`?"),
        ("object.x.matches('a')", "unknown function `matches`; known are "),
        ("size() > 1", "`size()` is no form of `size`; write size(…) or x.size()"),
        ("item == 1", "2:23: unknown name `item`; `item` and `index` exist in the `with` of an `each` only"),
        ("payload.x", "2:23: unknown name `payload`; `payload` exists after exactly one nearest `suspend`"),
        ("results.b == 1", "`results.b` is not known yet: no path leads from `b` to here; add after = \"b\""),
        ("results.c == 1", "`results.c`: there is no step `c`"),
        ("size(results) == 1", "`results` alone is everything there is; name one: results.STEP"),
        (deep, "macros stand in one another more than 2 deep; do a part of it in a step before"),
        (long.as_str(), "2:23: the expression has 4098 bytes, at most 4096 are allowed; split it into several steps"),
        (&"!".repeat(300), "the expression has 300 operators, at most 200 are allowed"),
        ("[1].map(x)", "`map` is not called like this; write list.map(x, value)"),
        ("int{a: 1} == 1", "makes a value of a type, and there are none"),
    ] {
        let text = format!(
            "[flow.f]\nsteps.a = {{ branch = \"{expression}\", then = \"end\" }}\nsteps.b = {{ {NOTIFY} }}\n{NODE}"
        );
        let mistakes = named(&load_text(&text, &[]).unwrap_err());
        if !mistakes[0].replace(" (in flow `f`)", "").contains(expected) {
            differences.push(format!("{expression}: {mistakes:#?}"));
        }
    }
    assert_all(&differences);
}

#[test]
fn expressions_are_tried_on_made_up_objects() {
    let flow = |on: &str| {
        format!(
            "[type.article]\nfields.title = {{ kind = \"text\" }}\nfields.count = {{ kind = \"integer\" }}\n\
             fields.kind = {{ kind = \"choice\", of = [\"a\", \"b\"] }}\nfields.more = {{ kind = \"json\" }}\non.create = \"f\"\n\
             [flow.f]\nsteps.a = {{ branch = \"{on}\", then = \"end\" }}\n"
        )
    };
    for right in ["object.kind == 'b'", "object.kind == 'b' || object.count > 3", "object.more.x == 1", "has(object.x)"]
    {
        good(&flow(right));
    }
    for (wrong, expected) in [
        ("object.titel == 'x'", "there is no `titel`"),
        ("object.title > 3", "`>` does not go with string and int"),
        ("object.title", "it gave text, it must give true or false"),
    ] {
        let mistakes = named(&load_text(&format!("{}{NODE}", flow(wrong)), &[]).unwrap_err());
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with("8:") && mistakes[0].contains(expected),
            "{mistakes:#?}"
        );
    }
}

#[test]
fn an_expression_is_tried_wherever_it_stands() {
    let declares = "[type.article]\nfields.title = { kind = \"text\" }\non.create = \"f\"\n[flow.f]\n";
    let told = "steps.a = { effect = \"notify\", with = { text = \"'x'\" }";
    for (line, more) in [
        ("search.of = \"object.title\"\n", ""),
        ("concurrency = { key = \"object.title\", max = 1 }\n", ""),
        ("rate = { key = \"object.title\", max = 1, per = \"1m\" }\n", ""),
        ("result = \"object.title\"\n", ""),
        ("", ", undo = { effect = \"notify\", with = { text = \"object.title\" } }"),
        ("", ", undo = { http = \"POST\", url = \"'https://a.example/' + object.title\" }"),
        ("steps.w = { suspend = \"go\", notify = { effect = \"notify\", with = { text = \"object.title\" } } }\n", ""),
    ] {
        let text = format!("{declares}{line}{told}{more} }}\n");
        good(&text);
        let wrong = format!("{}{NODE}", text.replace("object.title", "object.titel"));
        let mistakes = named(&load_text(&wrong, &[]).unwrap_err());
        assert!(
            mistakes.len() == 1 && mistakes[0].starts_with("5:") && mistakes[0].contains("there is no `titel`"),
            "{text}: {mistakes:#?}"
        );
    }
}

#[test]
fn a_slip_in_an_expression_is_named_where_it_stands_also_on_a_later_line_and_behind_escapes() {
    for (expression, place) in [
        ("'''\ntrue &&\n  nobody'''", "4:3: "),
        ("\"\"\"true &&\n nobody\"\"\"", "3:2: "),
        ("\"\"\"\ntrue && \\\n   nobody\"\"\"", "4:4: "),
        ("\"\\\"a\\\" == nobody\"", "2:32: "),
        ("\"'bücher' == nobody\"", "2:35: "),
    ] {
        let text = format!(
            "[flow.f]\nsteps.a = {{ branch = {expression}, then = \"end\" }}\nsteps.b = {{ {NOTIFY} }}\n{NODE}"
        );
        let mistakes = named(&load_text(&text, &[]).unwrap_err());
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(place), "{place} {text}: {mistakes:#?}");
    }
}

#[test]
fn behaviours_say_what_runs_and_for_whom() {
    let text = format!(
        "[type.article]\non.create = \"f\"\non.update = {{ run = \"f\" }}\nremote.create = \"f\"\n\
         remote.update = {{ run = \"f\", from = \"followers\" }}\nremote.delete = {{ run = \"f\", from = \"anyone\" }}\n\
         remote.allocate = {{ run = \"f\", from = [\"a.example\"] }}\n[flow.f]\nsteps.a = {{ {NOTIFY} }}\n"
    );
    let (_, catalog) = good(&text);
    assert_eq!(catalog.on("article", Verb::Create).unwrap().run, "f");
    assert_eq!(catalog.on("article", Verb::Update).unwrap().run, "f");
    assert!(catalog.on("article", Verb::Delete).is_none());
    let from = |verb| catalog.remote("article", verb).unwrap().from.clone();
    assert_eq!(from(Verb::Create), From::Following);
    assert_eq!(from(Verb::Update), From::Followers);
    assert_eq!(from(Verb::Delete), From::Anyone);
    assert_eq!(from(Verb::Allocate), From::Only(vec!["a.example".into()]));
    assert!(catalog.remote("calendar", Verb::Allocate).is_none());
}

#[test]
fn a_stored_definition_is_found_by_its_hash_and_runs_after_it_left_the_configuration() {
    let (_, old) = good(&format!("[flow.f]\nsteps.a = {{ {NOTIFY} }}\n"));
    let (_, new) = good(&format!("[flow.f]\nsteps.b = {{ {NOTIFY} }}\n"));
    let stored = old.current("f").unwrap();
    assert!(new.definition(&stored.hash.0).is_none());
    let added = new.add_stored(&stored.definition.to_bytes()).unwrap();
    assert_eq!((added.hash.clone(), added.order.clone()), (stored.hash.clone(), vec!["a".to_owned()]));
    assert!(new.definition(&stored.hash.0).is_some());
    assert_ne!(new.current("f").unwrap().hash, stored.hash);
    assert!(new.add_stored(b"not a definition").is_err());
}

mod story {
    //! The flows of the templates do what their comments say.

    use quickbeam::clock::Time;
    use quickbeam::domains::flow::progress::{End, Phase};
    use quickbeam::domains::flow::spot::Spot;
    use quickbeam::domains::flow::step::Event;
    use quickbeam::domains::flow::turn::turn;
    use quickbeam::domains::flow::{Input, Progress};
    use serde_json::{Value, json};

    use super::*;

    struct Story {
        catalog: Catalog,
        flow: &'static str,
        input: Input,
        progress: Progress,
        /// The effects that went out, with their inputs.
        went: Vec<(String, Value)>,
    }

    impl Story {
        fn of(template: Template, flow: &'static str, input: Input) -> Self {
            let (_, catalog) = load_text(template.source(), &[]).unwrap();
            let mut story = Self { catalog, flow, input, progress: Progress::new("f"), went: Vec::new() };
            story.send(Event::Start);
            story
        }

        /// Sends an event and does every effect that it leads to.
        fn send(&mut self, event: Event) {
            let mut open = vec![event];
            while let Some(event) = open.pop() {
                let compiled = self.catalog.current(self.flow).unwrap();
                let turn = turn(&compiled, &effects(), &self.progress, &self.input, event, Time(0)).unwrap();
                turn.facts.iter().for_each(|fact| self.progress.apply(fact));
                for call in turn.calls {
                    self.went.push((call.step.clone(), serde_json::to_value(&call.plan).unwrap()));
                    let result = json!({ "id": "https://events.example/gig-night", "slug": "gig-night" });
                    open.push(Event::Done { spot: Spot::of(call.step, call.item), result });
                }
            }
        }

        fn steps(&self) -> Vec<&str> {
            self.went.iter().map(|(step, _)| step.as_str()).collect()
        }
    }

    fn article(category: &str) -> Input {
        let object = json!({ "id": "https://blog.example/gig-night", "title": "Gig night", "category": category });
        Input { object, actor: json!("https://blog.example/actor"), ..Input::default() }
    }

    #[test]
    fn a_new_article_is_validated_and_told_of_at_once() {
        let story = Story::of(Template::Blog, "publish", article("note"));
        assert_eq!(story.steps(), ["validate", "notify"]);
        assert_eq!(story.progress.end, Some(End::Done { result: json!("https://blog.example/gig-night") }));
    }

    #[test]
    fn an_urgent_change_goes_out_at_once_and_a_note_never() {
        let story = Story::of(Template::Blog, "digest", article("urgent"));
        assert_eq!(story.steps(), ["send"]);
        assert_eq!(story.went[0].1["op"]["record"]["note"], Value::Null);
        assert_eq!(story.progress.phase(), Phase::Done);
        let story = Story::of(Template::Blog, "digest", article("note"));
        assert_eq!((story.steps().len(), story.progress.phase()), (0, Phase::Done));
    }

    #[test]
    fn a_newsletter_waits_for_its_approval_and_is_dropped_without() {
        let approve = |payload| Event::Resume { signal: "approve".into(), payload, by: None };
        for (payload, note) in [(Value::Null, Value::Null), (json!({ "note": "fine" }), json!("fine"))] {
            let mut story = Story::of(Template::Blog, "digest", article("newsletter"));
            assert_eq!(story.progress.phase(), Phase::Suspended);
            story.send(approve(payload));
            assert_eq!(story.steps(), ["send"]);
            assert_eq!(story.went[0].1["op"]["record"]["note"], note);
            assert_eq!(story.progress.phase(), Phase::Done);
        }
        let mut story = Story::of(Template::Blog, "digest", article("newsletter"));
        story.send(Event::TimedOut { step: "approval".into() });
        assert_eq!((story.steps(), story.progress.phase()), (vec!["dropped"], Phase::Done));
    }

    #[test]
    fn an_article_of_theirs_is_told_of_and_an_allocated_one_is_linked() {
        let object = json!({ "id": "https://blog.example/gig-night", "type": "Article", "name": "Gig night" });
        let activity = json!({ "target": "https://events.example/calendars/main" });
        for object in [object, json!("https://blog.example/gig-night")] {
            let actor = json!("https://blog.example/actor");
            let input = Input { object, activity: activity.clone(), actor, ..Input::default() };
            let story = Story::of(Template::Events, "allocate-link", input);
            assert_eq!(story.steps(), ["link", "notice"]);
            assert_eq!(story.went[0].1["op"]["fields"]["about"], "https://blog.example/gig-night");
            assert_eq!(story.went[1].1["op"]["record"]["text"], "linked gig-night");
            assert_eq!(story.progress.end, Some(End::Done { result: json!("https://events.example/gig-night") }));
        }
        let object = json!({ "id": "https://blog.example/gig-night", "name": "Gig night" });
        let input = Input { object, actor: json!("https://blog.example/actor"), ..Input::default() };
        let story = Story::of(Template::Events, "announce", input);
        assert_eq!(story.went[0].1["op"]["record"]["text"], "new from https://blog.example/actor: Gig night");
    }
}

/// The table in the manual is the list in the source.
#[test]
fn the_manual_names_every_limit_with_its_default() {
    let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let limits = quickbeam::config::Limits::list();
    let missing: Vec<String> = limits
        .iter()
        .map(|(name, what, default)| format!("| `{name}` | {what} | {default} |"))
        .filter(|row| !manual.contains(row.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks:\n{}", missing.join("\n"));
    let (_, manual) = manual.split_once("\n## Limits").expect("the manual has a section of limits");
    assert_eq!(
        manual.matches("\n| `").count() - manual.matches("\n| `[").count(),
        limits.len(),
        "a row that is no limit"
    );
}

/// What the README shows works as it stands there.
#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let shown = readme.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let text = format!("[node]\nname = \"readme\"\nbase = \"https://readme.example\"\n{shown}");
    let mistakes = load_text(&text, &[]).err().unwrap_or_default();
    assert!(mistakes.is_empty(), "{:?}", named(&mistakes));
}
