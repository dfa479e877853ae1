//! What a configuration may say of schedules, and every mistake in it: by line, with what to do.

use std::time::Duration;

use quickbeam::clock::Time;
use quickbeam::domains::all_effects;
use quickbeam::domains::catalog::{Catalog, load};
use quickbeam::domains::schedule::Overlap;
use quickbeam::domains::schedule::times::When;
use serde_json::json;

/// Stands behind what a test is about, so that lines count from the test's own text.
const MORE: &str = "\n[flow.digest]\nsteps.a = { effect = \"notify\", with = { text = \"'x'\" } }\n\
    [node]\nname = \"blog\"\nbase = \"https://blog.example\"\n";

fn read(text: &str) -> Result<Catalog, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blog.toml");
    std::fs::write(&path, format!("{text}{MORE}")).unwrap();
    let told = |mistake: &quickbeam::config::Mistake| {
        let shown = mistake.to_string();
        shown.rsplit_once("blog.toml:").map_or(shown.clone(), |(_, rest)| rest.to_owned())
    };
    load(&path, std::iter::empty(), &all_effects())
        .map(|(_, catalog)| catalog)
        .map_err(|mistakes| mistakes.iter().map(told).collect())
}

#[track_caller]
fn assert_mistakes(text: &str, expected: &[&str]) {
    assert_eq!(read(text).err().unwrap_or_default(), expected, "in:\n{text}");
}

#[test]
fn a_schedule_says_which_flow_and_when() {
    let catalog = read(
        "[schedule.morning]\nflow = \"digest\"\ncron = \"0 9 * * 1-5\"\nzone = \"Europe/Berlin\"\noverlap = \"queue\"\n\
         paused = true\ninput = { city = \"Bern\", sizes = [1, 2.5], deep = { yes = true } }\n\
         [schedule.often]\nflow = \"digest\"\nevery = \"15m\"\n",
    )
    .unwrap();
    let often = catalog.schedule("often").unwrap();
    assert_eq!(often.when, When::Every(Duration::from_secs(900)));
    assert_eq!((often.overlap, often.paused, often.told().as_str()), (Overlap::Skip, false, "every 15m"));
    let morning = catalog.schedule("morning").unwrap();
    assert_eq!((morning.overlap, morning.paused), (Overlap::Queue, true));
    assert_eq!(morning.told(), "0 9 * * 1-5 Europe/Berlin");
    let at = Time(1_800_000_000_000);
    assert_eq!(morning.when.after(at).unwrap().to_string(), "2027-01-18T08:00:00.000Z");
    let given = json!({ "name": "morning", "due": "2027-01-15T08:00:00.000Z", "missed": 4 });
    let input = json!({ "city": "Bern", "sizes": [1, 2.5], "deep": { "yes": true }, "schedule": given });
    assert_eq!(morning.input_at(at, 4), input);
    assert_eq!(catalog.schedules().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["morning", "often"]);
}

#[test]
fn a_pattern_without_a_zone_is_meant_in_utc() {
    let catalog = read("[schedule.daily]\nflow = \"digest\"\ncron = \"@daily\"\n").unwrap();
    assert_eq!(catalog.schedule("daily").unwrap().told(), "@daily UTC");
}

#[test]
fn a_schedule_needs_a_flow_that_there_is() {
    assert_mistakes(
        "[schedule.a]\nflow = \"digst\"\nevery = \"1m\"\n",
        &["2:8: unknown flow `digst`; did you mean `digest`?"],
    );
    assert_mistakes("[schedule.a]\nevery = \"1m\"\n", &["1:1: `flow` is missing in [schedule.a]; add flow = \"FLOW\""]);
    assert_mistakes(
        "[schedule.A]\nflow = \"digest\"\nevery = \"1m\"\n",
        &["1:11: the schedule `A` has a name that no path can have; use a-z, 0-9 and -, a letter first"],
    );
}

#[test]
fn a_schedule_says_either_every_or_cron() {
    assert_mistakes(
        "[schedule.a]\nflow = \"digest\"\n",
        &["1:1: [schedule.a] says neither `every` nor `cron`; add every = \"15m\" or cron = \"0 9 * * 1-5\""],
    );
    assert_mistakes(
        "[schedule.a]\nflow = \"digest\"\nevery = \"1m\"\ncron = \"@daily\"\n",
        &["4:8: [schedule.a] has both `every` and `cron`; keep one of them"],
    );
    assert_mistakes(
        "[schedule.a]\nflow = \"digest\"\nevery = \"1m\"\nzone = \"Europe/Berlin\"\n",
        &["4:8: `zone` is the zone of a cron pattern, and `every` has none; take it away, or write cron"],
    );
}

#[test]
fn a_span_is_neither_too_short_nor_too_long() {
    for (every, what) in [
        ("500ms", "3:9: `every` is 500ms, it has to be 1s to 366d"),
        ("0s", "3:9: `every` is 0ms, it has to be 1s to 366d"),
        ("400d", "3:9: `every` is 400d, it has to be 1s to 366d"),
        (
            "often",
            "3:9: `every` has to be a duration, not `often`; write \"500ms\", \"15s\", \"10m\", \"1h\" or \"7d\"",
        ),
    ] {
        assert_mistakes(&format!("[schedule.a]\nflow = \"digest\"\nevery = \"{every}\"\n"), &[what]);
    }
}

#[test]
fn a_pattern_and_a_zone_are_checked_when_the_node_starts() {
    let like = "write it like \"0 9 * * 1-5\": 09:00 from Monday to Friday";
    let zone = "write a name of the IANA data base, like \"Europe/Berlin\"";
    for (cron, in_zone, what) in [
        ("61 * * * *", "UTC", format!("3:8: `61 * * * *` is no cron pattern: number out of bounds; {like}")),
        (
            "tomorrow",
            "UTC",
            format!(
                "3:8: `tomorrow` is no cron pattern: it has 1 field and not five: minute, hour, day of the month, month, day of the week; {like}"
            ),
        ),
        (
            "0 0 31 2 *",
            "UTC",
            "3:8: `0 0 31 2 *` never comes: there is no such day; name a day that there is".to_owned(),
        ),
        ("@daily", "Europe/Berln", format!("4:8: `Europe/Berln` is no time zone; {zone}")),
        ("@daily", "", format!("4:8: `` is no time zone; {zone}")),
    ] {
        let text = format!("[schedule.a]\nflow = \"digest\"\ncron = \"{cron}\"\nzone = \"{in_zone}\"\n");
        assert_mistakes(&text, &[&what]);
    }
}

#[test]
fn what_else_is_wrong_is_named_all_at_once() {
    assert_mistakes(
        "[schedule.a]\nflow = \"digest\"\nevery = \"1m\"\noverlap = \"skp\"\ninput = \"Bern\"\npaused = \"no\"\nevry = 1\n",
        &[
            "4:11: `overlap` is `skp`; did you mean `skip`?",
            "5:9: `input` has to be a table, not text; write it like { city = \"Bern\" }",
            "6:10: `paused` has to be true or false, not text",
            "7:1: unknown key `evry` in [schedule.a]; did you mean `every`?",
        ],
    );
    assert_mistakes(
        "[schedule.a]\nflow = \"digest\"\nevery = \"1m\"\ninput = { schedule = 1 }\n",
        &["4:9: `input.schedule` is given by the node: name, due and missed; give yours another name"],
    );
}

#[test]
fn the_example_in_the_blog_template_is_right() {
    let text = include_str!("../../config/blog.toml");
    let (before, example) = text.split_once("# [schedule.morning]").expect("the template has an example");
    let lines = example.lines().map(|line| line.trim_start_matches("# ").trim_start_matches('#'));
    let example: String = lines.map(|line| format!("{line}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blog.toml");
    std::fs::write(&path, format!("{before}[schedule.morning]{example}")).unwrap();
    let (_, catalog) = load(&path, std::iter::empty(), &all_effects()).unwrap();
    assert_eq!(catalog.schedule("morning").unwrap().flow, "reminder");
}
