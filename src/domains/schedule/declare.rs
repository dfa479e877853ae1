//! Reads `[schedule.*]` of a configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::times::{EVERY_MAX, EVERY_MIN, Wall, WallError, When};
use super::{GIVEN, Overlap, Schedule};
use crate::config::Report;
use crate::config::reader::{Section, suggest};
use crate::config::tree::{Entry, Node};
use crate::domains::declare::{is_name, tables};

const ZONE: &str = "UTC";

/// Reads all schedules; those with a mistake, which is in the report, are left out.
pub fn schedules(node: Option<&Node>, flows: &BTreeSet<&str>, report: &mut Report) -> BTreeMap<String, Schedule> {
    let mut schedules = BTreeMap::new();
    for (name, entry) in tables(node, "schedule", report) {
        if !is_name(name) {
            let what = format!("the schedule `{name}` has a name that no path can have");
            report.add(&entry.key, &format!("schedule.{name}"), what, "use a-z, 0-9 and -, a letter first");
        }
        if let Some(schedule) = one(name, entry, flows, report) {
            schedules.insert(name.to_owned(), schedule);
        }
    }
    schedules
}

fn one(name: &str, entry: &Entry, flows: &BTreeSet<&str>, report: &mut Report) -> Option<Schedule> {
    let mut section = Section::of(&entry.value, &format!("schedule.{name}"), report);
    let flow = flow(&mut section, flows, report);
    let when = when(&mut section, report);
    let input = input(&mut section, report);
    let words = Overlap::ALL.map(|overlap| (overlap.word(), overlap));
    let overlap = section.word("overlap", &words, report).unwrap_or_default();
    let paused = section.flag("paused", report).unwrap_or(false);
    section.finish(report);
    Some(Schedule { name: name.to_owned(), flow: flow?, when: when?, input: input?, overlap, paused })
}

fn flow(section: &mut Section<'_>, flows: &BTreeSet<&str>, report: &mut Report) -> Option<String> {
    let flow = section.required("flow", "\"FLOW\"", report)?;
    if !flows.contains(flow.as_str()) {
        section.wrong("flow", format!("unknown flow `{flow}`"), suggest(&flow, flows.iter().copied()), report);
    }
    Some(flow)
}

fn when(section: &mut Section<'_>, report: &mut Report) -> Option<When> {
    // Both are known words, whichever is meant.
    let said = ["every", "cron"].map(|word| section.node(word).is_some());
    let zone = section.node("zone").is_some().then(|| section.text("zone", report));
    match said {
        [true, true] => {
            let what = format!("{} has both `every` and `cron`", section.named());
            section.wrong("cron", what, "keep one of them", report);
            None
        }
        [false, false] => {
            let what = format!("{} says neither `every` nor `cron`", section.named());
            report.add(section.place(), &section.path(""), what, "add every = \"15m\" or cron = \"0 9 * * 1-5\"");
            None
        }
        [true, false] => {
            if zone.is_some() {
                let what = "`zone` is the zone of a cron pattern, and `every` has none";
                section.wrong("zone", what, "take it away, or write cron", report);
            }
            section.span("every", EVERY_MIN..=EVERY_MAX, report).map(When::Every)
        }
        [false, true] => {
            let pattern = section.text("cron", report)?;
            let zone = zone.unwrap_or_else(|| Some(ZONE.to_owned()))?;
            wall(&pattern, &zone, section, report)
        }
    }
}

fn wall(pattern: &str, zone: &str, section: &Section<'_>, report: &mut Report) -> Option<When> {
    let wrong = match Wall::parse(pattern, zone) {
        Ok(wall) => return Some(When::Wall(Box::new(wall))),
        Err(wrong) => wrong,
    };
    let (key, remedy) = match &wrong {
        WallError::Zone(_) => ("zone", "write a name of the IANA data base, like \"Europe/Berlin\""),
        WallError::Pattern { .. } => ("cron", "write it like \"0 9 * * 1-5\": 09:00 from Monday to Friday"),
        WallError::Never(_) => ("cron", "name a day that there is"),
    };
    section.wrong(key, wrong.to_string(), remedy, report);
    None
}

fn input(section: &mut Section<'_>, report: &mut Report) -> Option<Map<String, Value>> {
    let Some(node) = section.node("input") else { return Some(Map::new()) };
    let Value::Object(input) = node.to_json() else {
        let what = format!("`input` has to be a table, not {}", node.described());
        section.wrong("input", what, "write it like { city = \"Bern\" }", report);
        return None;
    };
    if input.contains_key(GIVEN) {
        let what = format!("`input.{GIVEN}` is given by the node: name, due and missed");
        section.wrong("input", what, "give yours another name", report);
    }
    Some(input)
}
