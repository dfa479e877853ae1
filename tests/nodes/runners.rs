//! A home whose flows another node runs: effects are done at home, each once, whoever is killed and whenever.

use quickbeam::config::template::Template;
use serde_json::{Value, json};

use crate::harness::{Node, Plan, Spot, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};

/// A home and the kernel that runs its flows; `first` stands before the kernel in the list of runners.
struct Pair {
    home: Node,
    kernel: Node,
}

fn kernel_at(spot: Spot, home: &Spot, more: &str) -> Plan {
    let mut plan = Plan::new(Template::Empty).allow(home.authority());
    plan.spot = spot;
    plan.more(&format!("[kernel]\nallow = [{:?}]\n{more}", home.authority()))
}

fn home_at(spot: Spot, runners: &[String], flows: &str) -> Plan {
    let mut plan = Plan::blog();
    plan.spot = spot;
    let list = |runner: &String| format!("[[runner]]\nurl = {runner:?}\n");
    let plan = runners.iter().filter_map(|it| it.strip_prefix("http://")).fold(plan, Plan::allow);
    plan.more(&format!("{flows}\n{}", runners.iter().map(list).collect::<String>()))
}

fn pair(flows: &str, of_kernel: &str) -> Pair {
    let (home, kernel) = (Spot::free(), Spot::free());
    let plan = home_at(home, &[kernel.base()], flows);
    Pair { kernel: Node::start(kernel_at(kernel, &home, of_kernel)), home: Node::start(plan) }
}

fn start(node: &Node, flow: &str, key: &str, input: &Value) -> String {
    let call = Call::post(&format!("/flow/start/{flow}")).token(&node.token).key(key);
    let answer = node.send(&call.json(input));
    assert!(matches!(answer.status, 200 | 202), "{answer}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn flow(node: &Node, id: &str) -> Value {
    node.get(&format!("/flow/{id}")).expect(200).json()
}

fn reaches(node: &Node, id: &str, phase: &str) -> Value {
    let mut last = Value::Null;
    let mut look = || {
        last = flow(node, id);
        (last["phase"] == phase).then(|| last.clone())
    };
    let found = crate::harness::within(std::time::Duration::from_secs(30), &mut look);
    found.unwrap_or_else(|| panic!("{id} is not {phase}: {last:#}"))
}

fn resume(node: &Node, id: &str, signal: &str, key: &str) {
    let call = Call::post(&format!("/flow/resume/{id}")).token(&node.token).key(key);
    let answer = node.send(&call.json(&json!({ "signal": signal, "payload": { "by": key } })));
    assert!(matches!(answer.status, 200 | 202), "{answer}");
}

fn story(service: &Peer) -> (String, String) {
    let flows = format!(
        r#"
[flow.story]
steps.first = {{ effect = "notify", with = {{ text = "'first ' + input.n" }} }}
steps.pay = {{ http = "POST", url = "'{0}/pay'", body = {{ n = "input.n" }}, after = "first" }}
steps.asked = {{ suspend = "go", after = "pay" }}
steps.nap = {{ wait = "50ms", after = "asked" }}
steps.many = {{ each = "['a', 'b']", effect = "notify", with = {{ text = "item + ' ' + input.n" }}, parallel = 2, after = "nap" }}
steps.child = {{ call = "child", with = {{ n = "input.n" }}, after = "many" }}
result = "results.child"
[flow.child]
steps.said = {{ effect = "notify", with = {{ text = "'child ' + input.n" }} }}
result = "input.n"
"#,
        service.base()
    );
    (flows, format!("reach = [{:?}]", service.authority()))
}

const EACH_ONCE: [&str; 4] = ["first", "a", "b", "child"];

fn each_once(home: &Node, n: &str) {
    let mut notices: Vec<String> = home.notices().into_iter().filter(|it| it.ends_with(&format!(" {n}"))).collect();
    notices.sort();
    let mut wanted: Vec<String> = EACH_ONCE.iter().map(|word| format!("{word} {n}")).collect();
    wanted.sort();
    assert_eq!(notices, wanted);
}

#[test]
fn a_flow_runs_elsewhere_and_its_effects_are_done_at_home() {
    let service = Peer::start();
    service.answers(|_| Reply::json(&json!({ "paid": true })));
    let (flows, reach) = story(&service);
    let Pair { home, kernel } = pair(&flows, &reach);
    let id = start(&home, "story", "one", &json!({ "n": "1" }));
    let waits = reaches(&home, &id, "suspended");
    assert_eq!(waits["runner"]["at"], kernel.base());
    assert_eq!(waits["steps"]["pay"]["result"]["body"], json!({ "paid": true }));
    let there = kernel.all("/flows");
    assert!(there.iter().any(|it| it["name"] == "story" && it["phase"] == "suspended"), "{there:?}");
    // What cannot be is refused at home, at once.
    let wrong = Call::post(&format!("/flow/resume/{id}")).token(&home.token).key("w");
    home.send(&wrong.json(&json!({ "signal": "stop" }))).refused_with(409, "go");
    resume(&home, &id, "go", "two");
    let done = reaches(&home, &id, "done");
    assert_eq!(done["result"], "1");
    each_once(&home, "1");
    assert_eq!(service.got().len(), 1);
    assert_eq!(kernel.notices(), [""; 0], "nothing is done at the kernel that is the home's");
    let facts: Vec<&str> = done["timeline"].as_array().unwrap().iter().filter_map(|it| it["fact"].as_str()).collect();
    assert!(facts.contains(&"taken") && facts.contains(&"resumed"), "{facts:?}");
    assert!(eventually("the kernel ends it too", || kernel
        .all("/flows")
        .iter()
        .all(|it| it["phase"] == "done")
        .then_some(true)));
}
