//! Configurations that change while flows wait: each instance runs to its end on the definition that it began with.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;

const BEFORE: &str = r#"
[flow.changed]
steps.first = { effect = "notify", with = { text = "'first ' + input.n" }, undo = true }
steps.ask = { suspend = "go", after = "first" }
steps.last = { effect = "notify", after = "ask", with = { text = "'last ' + input.n" } }
result = "'old ' + input.n"

[flow.removed]
steps.ask = { suspend = "go" }
steps.last = { effect = "notify", after = "ask", with = { text = "'removed ' + input.n" } }
result = "'removed ' + input.n"

[flow.parent]
steps.ask = { suspend = "go" }
steps.changed = { call = "changed", after = "ask", with = { n = "input.n" } }
steps.removed = { call = "removed", after = "changed", with = { n = "input.n" } }
"#;

/// The same name with other steps, another signal and another end; one flow is gone.
const AFTER: &str = r#"
[flow.changed]
steps.asked = { suspend = "on" }
steps.other = { effect = "notify", after = "asked", with = { text = "'other ' + input.n" } }
result = "'new ' + input.n"
"#;

fn start(node: &Node, flow: &str, n: &str) -> String {
    let call = Call::post(&format!("/flow/start/{flow}")).token(&node.token).key(n).header("prefer", "wait=30");
    let answer = node.send(&call.json(&json!({ "n": n }))).expect(200).json();
    assert_eq!(answer["phase"], "suspended", "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn resume(node: &Node, id: &str, signal: &str) -> Value {
    let key = format!("{id} {signal}");
    let call = Call::post(&format!("/flow/resume/{id}")).token(&node.token).key(&key).header("prefer", "wait=30");
    node.send(&call.json(&json!({ "signal": signal, "payload": {} }))).expect(200).json()
}

fn in_phase(node: &Node, id: &str, phase: &str) -> Value {
    eventually(&format!("{id} is {phase}"), || {
        let flow = node.get(&format!("/flow/{id}")).expect(200).json();
        (flow["phase"] == phase).then_some(flow)
    })
}

/// What stands in the list of versions: name, whether new ones begin with it, and how many have not ended.
fn versions(node: &Node) -> Vec<(String, bool, u64)> {
    let listed = node.get("/flows/versions").expect(200).json();
    assert_eq!(listed["complete"], true, "{listed}");
    let mut all: Vec<(String, bool, u64)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let said =
                (it["name"].as_str().unwrap(), it["current"].as_bool().unwrap(), it["instances"].as_u64().unwrap());
            (said.0.to_owned(), said.1, said.2)
        })
        .filter(|(name, ..)| ["changed", "removed", "parent"].contains(&name.as_str()))
        .collect();
    all.sort();
    all
}

fn version(name: &str, current: bool, instances: u64) -> (String, bool, u64) {
    (name.to_owned(), current, instances)
}

fn restart_with(node: &mut Node, flows: &str) {
    node.kill();
    node.plan.more = flows.to_owned();
    node.plan.write(node.folder());
    node.restart();
}

#[test]
fn an_instance_runs_to_its_end_on_the_definition_it_began_with_and_new_ones_take_the_new() {
    let mut node = Node::start(Plan::blog().more(BEFORE));
    let (old, undone, removed) =
        (start(&node, "changed", "a"), start(&node, "changed", "b"), start(&node, "removed", "c"));
    assert_eq!(versions(&node), [version("changed", true, 2), version("parent", true, 0), version("removed", true, 1)]);
    restart_with(&mut node, AFTER);
    // Once more, so that what is gone comes from the store alone.
    node.kill();
    node.restart();
    let new = start(&node, "changed", "d");
    assert_eq!(
        versions(&node),
        [version("changed", false, 2), version("changed", true, 1), version("removed", false, 1)]
    );
    let told = node.run(&["flows", "versions"]).done().out;
    assert_eq!(told.lines().filter(|line| line.contains("changed")).count(), 2, "{told}");
    let call = Call::post("/flow/start/removed").token(&node.token).key("e").json(&json!({}));
    node.send(&call).refused_with(404, "removed");
    // By the old steps: what is waited for, what comes then, what is taken back, and the result.
    let ended = resume(&node, &old, "go");
    assert_eq!((&ended["phase"], &ended["result"]), (&json!("done"), &json!("old a")), "{ended}");
    assert_eq!(ended["steps"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ask", "first", "last"]);
    assert_eq!(resume(&node, &removed, "go")["result"], "removed c");
    node.post(&format!("/flows/{undone}/cancel"), &json!({})).expect(200);
    in_phase(&node, &undone, "cancelled");
    let ended = resume(&node, &new, "on");
    assert_eq!(ended["result"], "new d", "{ended}");
    assert_eq!(ended["steps"].as_object().unwrap().keys().collect::<Vec<_>>(), ["asked", "other"]);
    assert_eq!(node.notices(), ["first a", "last a", "removed c", "other d"], "and `first b` was taken back");
    assert_eq!(versions(&node), [version("changed", true, 0)], "nothing runs on what is gone any more");
    // Also whoever begins an old one again from a step.
    node.post(&format!("/flows/{old}/restart"), &json!({ "step": "last" })).expect(200);
    node.settle();
    assert_eq!(in_phase(&node, &old, "done")["result"], "old a");
    assert_eq!(node.notices().iter().filter(|text| *text == "last a").count(), 2);
}

#[test]
fn a_child_takes_the_definition_of_the_moment_and_one_that_is_gone_holds_its_step_until_it_is_back() {
    let mut node = Node::start(Plan::blog().more(BEFORE));
    let parent = start(&node, "parent", "a");
    restart_with(&mut node, AFTER);
    let call = Call::post(&format!("/flow/resume/{parent}")).token(&node.token).key("go");
    node.send(&call.json(&json!({ "signal": "go", "payload": {} })));
    let child = eventually("the child waits", || {
        node.all("/flows?state=suspended").into_iter().find(|it| it["name"] == "changed")
    });
    assert_eq!(resume(&node, child["id"].as_str().unwrap(), "on")["result"], "new a");
    let held = in_phase(&node, &parent, "paused");
    let reason = held["steps"]["removed"].to_string();
    assert!(reason.contains("there is no flow `removed` any more: declare it, then retry the step"), "{held}");
    restart_with(&mut node, BEFORE);
    node.post(&format!("/flows/{parent}/retry"), &json!({})).expect(200);
    let child = eventually("the child waits", || {
        node.all("/flows?state=suspended").into_iter().find(|it| it["name"] == "removed")
    });
    resume(&node, child["id"].as_str().unwrap(), "go");
    in_phase(&node, &parent, "done");
    assert_eq!(node.notices(), ["other a", "removed a"]);
}
