//! Schedules of a real node: its ticks through `kill -9` and a new configuration, and what programs, people and the
//! command line see and move.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};

const DECLARED: &str = r#"
[flow.tell]
search.city = "input.city"
steps.tell = { effect = "notify", with = { text = "input.city + ' ' + input.schedule.due" } }
[flow.asking]
steps.ask = { suspend = "go" }

[schedule.often]
flow = "tell"
every = "1s"
overlap = "allow"
input = { city = "Bern" }
[schedule.by-hand]
flow = "asking"
cron = "0 9 * * 1-5"
zone = "Europe/Berlin"
paused = true
"#;

fn node() -> Node {
    Node::start(Plan::blog().more(DECLARED))
}

fn schedule(node: &Node, name: &str) -> Value {
    node.get(&format!("/flows/schedules/{name}")).expect(200).json()
}

fn tell(node: &Node, name: &str, verb: &str, body: &Value) -> Answer {
    node.post(&format!("/flows/schedules/{name}/{verb}"), body)
}

/// The times that `often` told, in order.
fn told(node: &Node) -> Vec<String> {
    let mut told: Vec<String> = node.notices().into_iter().filter(|text| text.starts_with("Bern ")).collect();
    told.sort();
    told
}

#[test]
fn ticks_come_through_a_kill_once_each_and_behave_like_every_start() {
    let node = node();
    eventually("three ticks have come", || (told(&node).len() >= 3).then_some(()));
    node.kill();
    node.restart();
    let before = told(&node).len();
    eventually("more ticks have come", || (told(&node).len() >= before + 3).then_some(()));
    tell(&node, "often", "pause", &json!({ "reason": "enough" })).expect(200);
    node.settle();
    node.settle_flows();
    let (told, shown) = (told(&node), schedule(&node, "often"));
    let mut once = told.clone();
    once.dedup();
    assert_eq!(once, told, "a tick came twice");
    assert_eq!(shown["begun"], told.len(), "a tick was lost: {shown}");
    let (begun, missed) = (shown["begun"].as_u64().unwrap(), shown["missed"].as_u64().unwrap());
    let all = (seconds(told.last().unwrap()) - seconds(&told[0])) / 1_000 + 1;
    assert!((all..=all + 2).contains(&(begun + missed)), "{begun} begun and {missed} missed in {all} seconds");
    // They are found by what their flow declares, and each says whose it is.
    let found = node.all("/flows?name=tell&city=Bern");
    assert_eq!(found.len(), told.len());
    let run = &shown["items"][0];
    assert_eq!((&run["phase"], &run["by"]), (&json!("done"), &Value::Null), "{run}");
    let flow = node.get(&format!("/flow/{}", run["flow"].as_str().unwrap())).expect(200).json();
    assert_eq!(flow["input"]["input"]["schedule"]["due"], run["due"], "{flow}");
    assert_eq!(flow["timeline"][0]["by"], "schedule often", "{flow}");
}

fn seconds(told: &str) -> u64 {
    let at = told.trim_start_matches("Bern ");
    let (time, day) = (at[11..19].split(':'), at[8..10].parse::<u64>().unwrap());
    1_000 * time.fold(day, |seconds, part| seconds * 60 + part.parse::<u64>().unwrap())
}

#[test]
fn programs_hold_it_let_it_go_on_and_fire_it() {
    let node = node();
    tell(&node, "often", "pause", &json!({})).expect(200);
    let shown = schedule(&node, "by-hand");
    assert_eq!((&shown["when"], &shown["overlap"]), (&json!("0 9 * * 1-5 Europe/Berlin"), &json!("skip")));
    assert_eq!((&shown["due"], &shown["times"]), (&Value::Null, &json!([])));
    assert!(shown["paused"]["by"].is_null() && shown["paused"]["at"].is_string(), "{shown}");
    let fired = tell(&node, "by-hand", "fire", &json!({})).expect(202);
    let first = fired.json()["fired"]["flow"].as_str().unwrap().to_owned();
    assert!(fired.header("location").is_some_and(|to| to.ends_with(&format!("/flow/{first}"))), "{fired}");
    eventually("it waits", || (node.get(&format!("/flow/{first}")).json()["phase"] == "suspended").then_some(()));
    node.settle();
    node.unchanged(|| {
        tell(&node, "by-hand", "fire", &json!({})).refused_with(409, &first);
        tell(&node, "by-hand", "fire", &json!({ "overlap": "perhaps" })).refused_with(400, "queue");
        tell(&node, "by-hand", "juggle", &json!({})).refused_with(404, "pause");
        tell(&node, "by-hand", "continue", &json!({ "reason": "x" })).refused(400);
        tell(&node, "nothing", "fire", &json!({})).refused_with(404, "nothing");
        node.get("/flows/schedules/nothing").refused_with(404, "GET /flows/schedules");
    });
    let waits =
        Call::post("/flows/schedules/by-hand/fire").token(&node.token).key("k").json(&json!({ "overlap": "queue" }));
    let second = node.send(&waits).expect(202).json()["fired"].clone();
    assert_eq!(second["waits"], true);
    assert_eq!(node.send(&waits).expect(202).json()["fired"], second, "a repeat under the same key is the same");
    let resume = Call::post(&format!("/flow/resume/{first}")).token(&node.token).key("r").json(&json!({}));
    node.send(&resume).expect(202);
    let begun = eventually("the second begins", || {
        let shown = schedule(&node, "by-hand");
        (shown["begun"] == 2).then_some(shown)
    });
    assert_eq!((&begun["items"][0]["flow"], &begun["items"][0]["by"]), (&second["flow"], &json!("test")), "{begun}");
    assert_eq!((&begun["items"][1]["phase"], &begun["running"]), (&json!("done"), &json!(1)), "{begun}");
    let gone_on = tell(&node, "by-hand", "continue", &json!({})).expect(200).json();
    assert!(
        gone_on["paused"].is_null() && gone_on["times"].as_array().is_some_and(|times| times.len() == 5),
        "{gone_on}"
    );
    let names = node.all("/flows/schedules").iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names, ["by-hand", "often"]);
    let page = node.get("/flows/schedules?limit=1").expect(200).json();
    let rest = node.get(&format!("/flows/schedules?after={}", page["next"].as_str().unwrap())).expect(200).json();
    assert_eq!((&rest["items"][0]["name"], &rest["next"]), (&json!("often"), &Value::Null));
}

#[test]
fn only_those_who_may_see_flows_see_schedules_and_only_those_who_may_move_them_do() {
    let node = node();
    let (reader, publisher) = (node.new_token("reader", &["flows:read"]), node.new_token("writer", &["publish"]));
    let see = |token: &str| node.send(&Call::get("/flows/schedules/by-hand").token(token).accept("application/json"));
    see(&reader).expect(200);
    see(&publisher).refused(403);
    node.send(&Call::get("/flows/schedules").accept("application/json")).refused(401);
    let fire = Call::post("/flows/schedules/by-hand/fire").json(&json!({}));
    node.send(&fire.clone().token(&reader)).refused(403);
    node.send(&fire).refused(401);
    assert_eq!(schedule(&node, "by-hand")["begun"], 0);
}

#[test]
fn people_see_pages_and_move_schedules_by_a_form() {
    let node = node();
    let page = |target: &str| node.send(&Call::get(target).token(&node.token).accept("text/html")).expect(200).text();
    let listed = page("/flows/schedules");
    for shown in ["often", "by-hand", "every 1s", "0 9 * * 1-5 Europe/Berlin", "paused"] {
        assert!(listed.contains(shown), "{shown} is not on the page: {listed}");
    }
    let send = |body: String| {
        let call = Call::post("/flows/schedules/by-hand").header("content-type", "application/x-www-form-urlencoded");
        node.send(&call.body(body.into_bytes()))
    };
    send("verb=fire&token=wrong".into()).refused(401);
    send(format!("verb=juggle&token={}", node.token)).refused(404);
    let moved = send(format!("verb=fire&overlap=&reason=ignored&token={}", node.token));
    assert_eq!((moved.status, moved.header("location")), (303, Some("/flows/schedules/by-hand")));
    let flow = schedule(&node, "by-hand")["items"][0]["flow"].as_str().unwrap().to_owned();
    let one = page("/flows/schedules/by-hand");
    assert!(one.contains(&flow) && one.contains("Paused by the configuration"), "{one}");
    send(format!("verb=continue&overlap=skip&token={}", node.token)).expect(303);
    assert!(schedule(&node, "by-hand")["paused"].is_null());
}

#[test]
fn the_command_line_shows_and_moves_them() {
    let node = node();
    let listed = node.run(&["schedules", "--json"]).done().json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
    let text = node.run(&["schedules"]).done().out;
    assert!(text.contains("SCHEDULE") && text.contains("every 1s") && text.contains("paused"), "{text}");
    node.run(&["schedules", "pause", "often", "--reason", "holidays"]).done();
    let shown = node.run(&["schedules", "show", "often"]).done().out;
    assert!(shown.contains("by admin") && shown.contains(": holidays"), "{shown}");
    let fired = node.run(&["schedules", "fire", "by-hand", "--json"]).done().json();
    node.run(&["schedules", "fire", "by-hand"]).refused(&["not now", fired["fired"]["flow"].as_str().unwrap()]);
    let beside = node.run(&["schedules", "fire", "by-hand", "--overlap", "allow"]).done().out;
    assert!(beside.contains("has begun"), "{beside}");
    node.run(&["schedules", "continue", "often"]).done();
    assert_eq!(node.run(&["schedules", "fire", "by-hand", "--overlap", "perhaps"]).code, Some(2));
    node.run(&["schedules", "show", "nothing"]).refused(&["no schedule"]);
    let checked = node.run(&["check"]).done().out;
    assert!(checked.contains("2 schedules"), "{checked}");
    let checked = node.run(&["check", "--json"]).done().json();
    assert_eq!(checked["schedules"], json!(["by-hand: asking 0 9 * * 1-5 Europe/Berlin", "often: tell every 1s"]));
}

#[test]
fn a_new_configuration_takes_effect_at_the_next_start_and_a_wrong_one_is_refused() {
    let mut node = node();
    eventually("a tick has come", || (!told(&node).is_empty()).then_some(()));
    node.kill();
    let wrong = DECLARED.replace("every = \"1s\"", "every = \"1ms\"");
    node.plan.more = wrong;
    node.plan.write(node.folder());
    let refused = node.run(&["check"]);
    assert!(refused.code == Some(1) && refused.err.contains("`every` is 1ms, it has to be 1s"), "{refused:?}");
    let changed = DECLARED.replace("[schedule.often]", "[schedule.other]").replace("\"1s\"", "\"1h\"");
    node.plan.more = changed;
    node.plan.write(node.folder());
    node.restart();
    eventually("the old one has ended", || {
        let actors = node.all("/admin/actors?kind=schedule");
        let keys: Vec<&str> = actors.iter().filter_map(|actor| actor["key"].as_str()).collect();
        (keys == ["by-hand", "other"]).then_some(())
    });
    node.settle();
    let before = told(&node);
    let shown = schedule(&node, "other");
    assert!(shown["due"].as_str().is_some_and(|due| due.ends_with(":00:00.000Z")), "{shown}");
    node.get("/flows/schedules/often").refused(404);
    let timers = node.admin("GET", "/admin/held?list=timers");
    assert!(!timers.text().contains("often"), "{timers}");
    assert_eq!(told(&node), before);
}
