//! Traces: what one request sets going carries its trace id, through flows, over the wire, and after kill -9.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};
use crate::proof::Got;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn given() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

fn start(node: &Node, flow: &str, key: &str, headers: &[(&str, &str)], input: &Value) -> Value {
    let call = Call::post(&format!("/flow/start/{flow}")).token(&node.token).key(key).header("prefer", "wait=30");
    let call = headers.iter().fold(call, |call, (name, value)| call.header(name, value));
    node.send(&call.json(input)).expect(200).json()
}

fn shown(node: &Node, id: &str) -> Value {
    node.get(&format!("/flow/{id}")).expect(200).json()
}

fn ends(node: &Node, id: &str) -> Value {
    eventually("the flow ends", || Some(shown(node, id)).filter(|flow| flow["phase"] == "done"))
}

fn header<'a>(got: &'a Got, name: &str) -> Vec<&'a str> {
    let named = got.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

/// Version, trace, span and flags of a request.
fn parts(got: &Got) -> [String; 4] {
    let parent = header(got, "traceparent");
    assert_eq!(parent.len(), 1, "{got:?}");
    let parts: Vec<String> = parent[0].split('-').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

/// The spans of what a flow did, by what happened.
fn spans(flow: &Value, fact: &str, step: &str) -> Vec<String> {
    let all = flow["timeline"].as_array().unwrap().iter();
    let fits = all.filter(|one| one["fact"] == fact && one["step"] == step);
    fits.map(|one| one["span"].as_str().unwrap().to_owned()).collect()
}

fn calling(service: &Peer) -> Node {
    let flow = format!(
        r#"
[log]
format = "json"
[http]
allow = ["{0}"]
[flow.calling]
steps.go = {{ suspend = "go" }}
steps.call = {{ http = "POST", url = "'{1}/x'", after = "go", retry = {{ attempts = 2, delay = "1s" }} }}
steps.hook = {{ effect = "webhook", with = {{ url = "'{1}/hook'" }}, after = "call" }}
"#,
        service.authority(),
        service.base()
    );
    Node::start(Plan::blog().allow(service.authority()).more(&flow))
}

#[test]
fn requests_of_steps_belong_to_the_trace_in_which_the_flow_began_also_after_kill_9() {
    let service = Peer::start();
    let node = calling(&service);
    let trace = [("traceparent", &*given()), ("tracestate", "vendor=a , other=b")];
    let flow = start(&node, "calling", "a", &trace, &json!({}));
    let id = flow["id"].as_str().unwrap();
    assert_eq!((&flow["trace"]["id"], &flow["trace"]["sampled"]), (&json!(TRACE), &json!(true)));
    assert_ne!(flow["trace"]["parent"], SPAN, "the request has a span of its own between the two");
    node.kill();
    node.restart();
    let tries = std::sync::atomic::AtomicU32::new(0);
    service.answers(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Reply::status(503),
        _ => Reply::status(200),
    });
    // Whoever lets it go on does so in a trace of their own, which is not that of the flow.
    let other = format!("00-{}-{}-00", "1".repeat(32), "2".repeat(16));
    let resume = Call::post(&format!("/flow/resume/{id}")).token(&node.token).key("r").header("traceparent", &other);
    node.send(&resume.json(&json!({}))).expect(202);
    let done = ends(&node, id);
    assert_eq!(done["trace"], flow["trace"]);
    let got = service.got();
    let sent: Vec<[String; 4]> = got.iter().map(parts).collect();
    for [version, trace, span, flags] in &sent {
        assert_eq!((&**version, &**trace, &**flags), ("00", TRACE, "01"));
        assert!(*span != SPAN && *span != flow["trace"]["span"].as_str().unwrap(), "{span}");
    }
    assert!(got.iter().all(|got| header(got, "tracestate") == ["vendor=a,other=b"]), "{got:?}");
    // Each try has a span of its own, which the timeline names at its beginning and at its end.
    let tried = spans(&done, "step_started", "call");
    assert_eq!(tried, [&*sent[0][2], &*sent[1][2]]);
    assert_ne!(tried[0], tried[1]);
    assert_eq!(spans(&done, "step_failed", "call"), tried[..1]);
    assert_eq!(spans(&done, "step_done", "call"), tried[1..]);
    assert_eq!(spans(&done, "step_done", "hook"), [&*sent[2][2]]);
    let page = node.send(&Call::get(&format!("/flows/{id}")).token(&node.token).accept("text/html")).expect(200);
    assert!(page.text().contains(TRACE), "the page names the trace");
}

#[test]
fn lines_of_the_log_are_joined_by_the_ids_of_their_spans() {
    let service = Peer::start();
    let node = calling(&service);
    let id = start(&node, "calling", "a", &[("traceparent", &given())], &json!({}))["id"].as_str().unwrap().to_owned();
    node.send(&Call::post(&format!("/flow/resume/{id}")).token(&node.token).key("r").json(&json!({}))).expect(202);
    let done = ends(&node, &id);
    let span = spans(&done, "step_started", "call").remove(0);
    let log = std::fs::read_to_string(node.folder().join("node.log")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let said = |what: &str| {
        let of_step = |it: &&Value| it["fields"]["span_id"] == span.as_str() && it["fields"]["trace_id"] == TRACE;
        lines.iter().filter(of_step).any(|it| it["fields"]["message"] == what)
    };
    assert!(said("a step began") && said("a step is done"), "{log}");
    let errand = lines.iter().find(|it| it["span"]["name"] == "errand" && it["span"]["span_id"] == span.as_str());
    assert_eq!(errand.unwrap()["span"]["trace_id"], TRACE);
}

#[test]
fn a_trace_that_is_malformed_is_as_good_as_none() {
    let service = Peer::start();
    let node = calling(&service);
    let zero = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let mut traces = Vec::new();
    let long = format!("01-{TRACE}-{SPAN}-01{}", "x".repeat(2_000));
    for (nth, wrong) in ["", "nonsense", &given().to_uppercase(), &zero, &long].into_iter().enumerate() {
        let flow = start(&node, "calling", &nth.to_string(), &[("traceparent", wrong)], &json!({}));
        traces.push(flow["trace"]["id"].as_str().unwrap().to_owned());
    }
    let twice = [("traceparent", &*given()), ("traceparent", &*given())];
    traces.push(start(&node, "calling", "twice", &twice, &json!({}))["trace"]["id"].as_str().unwrap().to_owned());
    assert!(traces.iter().all(|trace| trace.len() == 32 && trace != TRACE && !trace.contains('x')), "{traces:?}");
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 6, "each began a trace of its own");
}

#[test]
fn a_trace_goes_to_another_domain_and_back() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let events = events.follow(blog.spot.authority());
    let flow = "[flow.offering]\nsteps.go = { suspend = \"go\" }\n\
                steps.offer = { ask = \"allocate\", object = \"input.object\", target = \"input.target\", \
                to = \"input.to\", after = \"go\" }\n";
    let blog = Node::start(blog.allow(events.spot.authority()).more(flow));
    let events = Node::start(events);
    let fits = |it: &Value| it["verb"] == "Accept" && it["way"] == "received" && it["actor"] == blog.actor();
    events.activity("an Accept of its Follow", fits);
    let object = blog.publish("Gig Night")["id"].clone();
    let target = format!("{}/calendars/main", events.base());
    let input = json!({ "object": object, "target": target, "to": events.actor() });
    let flow = start(&blog, "offering", "a", &[("traceparent", &given())], &input);
    let id = flow["id"].as_str().unwrap();
    events.settle();
    for node in [&blog, &events] {
        node.kill();
        node.restart();
    }
    blog.send(&Call::post(&format!("/flow/resume/{id}")).token(&blog.token).key("r").json(&json!({}))).expect(202);
    let done = ends(&blog, id);
    assert_eq!(done["trace"], flow["trace"], "the answer came back to the same trace");
    let linking = events.all("/flows?name=allocate-link");
    assert_eq!(linking.len(), 1);
    let theirs = shown(&events, linking[0]["id"].as_str().unwrap());
    assert_eq!((&theirs["trace"]["id"], &theirs["trace"]["sampled"]), (&json!(TRACE), &json!(true)));
    let ours: Vec<&Value> = [&done["trace"]["span"], &done["trace"]["parent"]].into();
    assert!(!ours.contains(&&theirs["trace"]["parent"]) && !ours.contains(&&theirs["trace"]["span"]), "{theirs}");
    // What the publishing set going on both nodes is a trace of its own.
    let announced = events.all("/flows?name=announce");
    let announced = shown(&events, announced[0]["id"].as_str().unwrap());
    let published = blog.all("/flows?name=publish");
    let published = shown(&blog, published[0]["id"].as_str().unwrap());
    assert_eq!(announced["trace"]["id"], published["trace"]["id"]);
    assert_ne!(announced["trace"]["id"], TRACE);
}

#[test]
fn every_delivery_carries_a_trace_also_one_that_nobody_asked_for() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().follow(peer.authority()));
    peer.awaits("Follow", None);
    let got = peer.got();
    let follow = got.iter().find(|got| got.method == "POST").unwrap();
    let [version, trace, span, flags] = parts(follow);
    assert_eq!((&*version, &*flags, trace.len(), span.len()), ("00", "02", 32, 16), "drawn here, and not sampled");
    peer.all_signed_by(&node);
}
