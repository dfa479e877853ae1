//! Rehearsals of flows: answers, time, people, and what surprises.

use std::path::Path;

use quickbeam::config::Mistake;
use quickbeam::domains::catalog::{self, Catalog};
use quickbeam::domains::rehearsal::{Played, Script, play};

const DECLARED: &str = r#"
[node]
name = "here"
base = "https://here.example"
[type.note]
fields.title = { kind = "text", required = true }
[flow.one]
concurrency = { key = "input.k", max = 1 }
rate = { max = 1, per = "1h" }
steps.go = { suspend = "go" }
[flow.trip]
steps.check = { effect = "object.validate", with = { type = "'note'" } }
steps.seat = { http = "POST", url = "'https://seat.example/'", after = "check", undo = { http = "DELETE", url = "'https://seat.example/'" } }
steps.pay = { http = "POST", url = "'https://pay.example/'", after = "seat", retry = { attempts = 2, delay = "1s", jitter = 0 } }
steps.go = { suspend = "go", after = "pay" }
steps.tell = { each = "input.who", effect = "notify", with = { text = "item" }, after = "go" }
"#;

fn catalog() -> Catalog {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quickbeam.toml");
    std::fs::write(&file, DECLARED).unwrap();
    catalog::load(&file, std::iter::empty(), &quickbeam::domains::all_effects()).unwrap().1
}

fn read(text: &str) -> Result<Script, Vec<Mistake>> {
    Script::read(&format!("flow = \"trip\"\nobject = {{ title = \"t\" }}\n{text}"), "trip.toml")
}

/// What came of it, and everything that surprised.
fn played(text: &str) -> (Played, Vec<String>) {
    let (script, catalog) = (read(text).unwrap(), catalog());
    let compiled = catalog.current(&script.flow).unwrap();
    script.fits(&compiled, "trip.toml").unwrap();
    let played = play(&script, &compiled, &catalog, &quickbeam::domains::all_effects());
    let surprises = [played.surprises.clone(), script.expect.surprises(&played)].concat();
    (played, surprises)
}

#[test]
fn answers_come_try_by_try_and_people_move_it_on() {
    let (played, surprises) = played(
        "input = { who = [\"a\", \"b\"] }\n\
         answers.seat = { result = 1, takes = \"5s\" }\n\
         answers.pay = [{ fails = \"busy\" }, { result = 2 }]\n\
         answers.tell = { result = \"told\" }\n\
         answers.\"tell/1\" = { result = \"told b\" }\n\
         [[story]]\nafter = \"2s\"\nsignal = \"go\"\nrefused = \"nobody waits\"\n\
         [[story]]\nafter = \"1h\"\nsignal = \"go\"\n\
         [expect]\nphase = \"done\"\nsteps = { tell = \"done\" }\n",
    );
    assert_eq!(surprises, [""; 0]);
    assert!(played.facts().contains(&"done tell[1] = \"told b\""), "{:?}", played.facts());
    assert_eq!(played.path.last().unwrap().after, std::time::Duration::from_secs(3_602));
}

#[test]
fn what_was_done_is_taken_back_when_a_later_step_is_refused() {
    let (played, surprises) = played(
        "answers.seat = { result = 1 }\nanswers.pay = { refused = \"no money\" }\n\
         undos.seat = [{ fails = \"closed\" }, { result = 0 }]\n\
         [expect]\nphase = \"failed\"\nreason = \"no money\"\n",
    );
    assert_eq!(surprises, [""; 0]);
    let facts = played.facts();
    let end = ["undone seat", "flow failed: step `pay` was refused: no money"];
    assert!(facts.ends_with(&end), "{facts:?}");
}

#[test]
fn a_clock_that_stops_shows_a_flow_that_waits() {
    let answers = "answers.seat = { result = 1 }\nanswers.pay = { result = 1 }\n";
    let (_, surprises) = played(&format!("lasts = \"90d\"\n{answers}[expect]\nphase = \"suspended\"\n"));
    assert_eq!(surprises, [""; 0]);
}

#[test]
fn every_difference_is_a_surprise() {
    let (_, surprises) = played(
        "answers.pay = { result = 1 }\nanswers.seat = { result = 1 }\n\
         [[story]]\nsignal = \"stop\"\n[[story]]\npause = true\nrefused = \"never\"\n\
         [expect]\nphase = \"done\"\nresult = 7\nreason = \"x\"\nsteps = { go = \"done\" }\npath = [\"start seat\"]\n",
    );
    let surprises = surprises.join("\n");
    for part in [
        "`signal stop` after 0s was refused: nobody waits for the signal `stop`: the flow waits for go",
        "`pause` after 0s should be refused, and was done",
        "it should be done, and is paused",
        "its result should be 7, and is no result",
        "its reason should say `x`, and says `nothing`",
        "the step go should be done, and is waiting",
        "line 1 of the path should be `start seat`, and is `start check`",
    ] {
        assert!(surprises.contains(part), "{part}\n{surprises}");
    }
    let (_, surprises) = played("");
    assert_eq!(surprises, ["seat began, and nothing says what it is answered: add answers.seat = { result = … }"]);
    let (_, surprises) = self::played("[expect]\nphase = \"failed\"\nreason = \"`title`\"\n");
    assert!(surprises.iter().any(|it| it.starts_with("it should be failed")), "{surprises:?}");
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let wrong =
        |text: &str| read(text).unwrap_err().into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join("\n");
    let text = wrong(
        "at = \"soon\"\nanswers.seat = {}\nanswers.pay = { result = 1, fails = \"x\" }\nanswer = 1\n\
         [[story]]\nsignal = \"a\"\ncancel = \"b\"\n[expect]\nphase = \"ok\"\nresults = 1\n",
    );
    for part in [
        "trip.toml:3:6: `at` is `soon`",
        "`answers.seat` has to say one of result, fails, refused and silent",
        "`answers.pay` has to say one of",
        "unknown key `answer`",
        "one part of a story has to be one thing",
        "`phase` is `ok`",
        "unknown key `results`",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let script = read("answers.set = { result = 1 }\n[expect]\nsteps = { pai = \"done\" }\n").unwrap();
    let mistakes = script.fits(&catalog().current("trip").unwrap(), "trip.toml").unwrap_err();
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("no step `set`; did you mean `seat`?") && told[1].contains("`pai`"), "{told:?}");
}

#[test]
fn a_flow_with_limits_asks_at_one_gate_after_the_other_and_fails_without_a_key() {
    let (catalog, effects) = (catalog(), quickbeam::domains::all_effects());
    let compiled = catalog.current("one").unwrap();
    let play_with = |input: &str| {
        let text = format!("flow = \"one\"\n{input}\n[[story]]\nsignal = \"go\"\n[[story]]\nrestart = \"go\"\n");
        play(&Script::read(&text, "one.toml").unwrap(), &compiled, &catalog, &effects)
    };
    let played = play_with("input = { k = \"x\" }");
    assert_eq!(played.surprises, [""; 0]);
    let let_in =
        ["queue for its concurrency = \"x\"", "let in by its concurrency", "queue for its rate", "let in by its rate"];
    let facts = played.facts();
    assert_eq!(facts[..4], let_in);
    assert_eq!(facts.iter().filter(|fact| fact.starts_with("let in")).count(), 4, "a restart asks again: {facts:?}");
    let played = play_with("");
    assert!(played.facts()[0].starts_with("flow failed: the key of its concurrency cannot be computed"));
}

#[test]
fn the_examples_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let effects = quickbeam::domains::all_effects();
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("config/tests")).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 2);
    for file in files {
        let script = Script::read(&std::fs::read_to_string(&file).unwrap(), "example").unwrap();
        let config = root.join("config/tests").join(script.config.as_ref().unwrap());
        let (_, catalog) = catalog::load(&config, std::iter::empty(), &effects).unwrap();
        let played = play(&script, &catalog.current(&script.flow).unwrap(), &catalog, &effects);
        assert_eq!(played.surprises, [""; 0], "{file:?}");
        assert_eq!(script.expect.surprises(&played), [""; 0], "{file:?}");
    }
}
