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

#[test]
fn whoever_is_killed_and_whenever_each_effect_is_done_once() {
    const FLOWS: usize = 6;
    let service = Peer::start();
    service.answers(|_| Reply::json(&json!({ "paid": true })));
    let (flows, reach) = story(&service);
    let Pair { home, kernel } = pair(&flows, &reach);
    let names: Vec<String> = (0..FLOWS).map(|number| format!("k{number}")).collect();
    let ids: Vec<String> = names.iter().map(|name| start(&home, "story", name, &json!({ "n": name }))).collect();
    let kill = |node: &Node, millis: u64| {
        std::thread::sleep(std::time::Duration::from_millis(millis));
        node.kill();
        node.restart();
    };
    for (node, millis) in [(&kernel, 5), (&home, 20), (&kernel, 60), (&home, 120)] {
        kill(node, millis);
    }
    ids.iter().for_each(|id| drop(reaches(&home, id, "suspended")));
    ids.iter().zip(&names).for_each(|(id, name)| resume(&home, id, "go", name));
    for (node, millis) in [(&home, 5), (&kernel, 30), (&home, 90), (&kernel, 150)] {
        kill(node, millis);
    }
    for (id, name) in ids.iter().zip(&names) {
        assert_eq!(reaches(&home, id, "done")["result"], json!(name));
        each_once(&home, name);
    }
    let mut keys: Vec<String> =
        service.got().iter().filter_map(|got| got.header("idempotency-key").map(str::to_owned)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), FLOWS, "a request that is sent again has its key");
}

#[test]
fn what_is_cancelled_is_taken_back_at_home_by_whoever_runs_it() {
    let flows = r#"
[type.note]
as = "Note"
fields.text = { kind = "text" }
[flow.trip]
steps.seat = { effect = "notify", with = { text = "'seat'" }, undo = true }
steps.asked = { suspend = "go", after = "seat" }
"#;
    let Pair { home, kernel } = pair(flows, "");
    let id = start(&home, "trip", "one", &json!({}));
    reaches(&home, &id, "suspended");
    assert_eq!(home.notices(), ["seat"]);
    home.post(&format!("/flows/{id}/cancel"), &json!({ "reason": "enough" })).expect(200);
    let ended = reaches(&home, &id, "cancelled");
    assert_eq!(ended["reason"], "enough");
    assert_eq!(home.notices(), [""; 0]);
    eventually("the kernel knows", || (kernel.all("/flows")[0]["phase"] == "cancelled").then_some(()));
    // Begun again from its first step it goes there again, under another name.
    home.post(&format!("/flows/{id}/restart"), &json!({ "step": "seat" })).expect(200);
    reaches(&home, &id, "suspended");
    eventually("the kernel runs it again", || (kernel.all("/flows").len() == 2).then_some(()));
    home.post(&format!("/flows/{id}/kill"), &json!({})).expect(200);
    assert_eq!(reaches(&home, &id, "killed")["phase"], "killed");
    eventually("the kernel lets it go", || {
        kernel.all("/flows").iter().all(|it| it["phase"] != "suspended").then_some(())
    });
}

#[test]
fn a_runner_that_is_away_is_seen_and_its_flow_comes_home_when_it_is_cancelled_or_told_to() {
    let flows = r#"
[flow.trip]
steps.seat = { effect = "notify", with = { text = "'seat'" }, undo = true }
steps.asked = { suspend = "go", after = "seat" }
steps.after = { effect = "notify", with = { text = "'gone'" }, after = "asked" }
"#;
    let (at, kernel) = (Spot::free(), Spot::free());
    let runner = Node::start(kernel_at(kernel, &at, ""));
    let home = Node::start(home_at(at, &[kernel.base(), "here".to_owned()], flows));
    let (one, two) = (start(&home, "trip", "one", &json!({})), start(&home, "trip", "two", &json!({})));
    [&one, &two].iter().for_each(|id| drop(reaches(&home, id, "suspended")));
    runner.kill();
    [&one, &two].iter().for_each(|id| resume(&home, id, "go", "r"));
    for id in [&one, &two] {
        let away = eventually("it is seen", || Some(flow(&home, id)).filter(|it| !it["runner"]["trouble"].is_null()));
        assert!(away["why"].to_string().contains("is away since"), "{away:#}");
        assert_eq!((&away["runner"]["unheard"], &away["phase"]), (&json!(1), &json!("suspended")));
    }
    home.post(&format!("/flows/{one}/retry"), &json!({})).expect(200);
    assert!(reaches(&home, &one, "done")["runner"].is_null(), "it went on here with what it was told");
    home.post(&format!("/flows/{two}/cancel"), &json!({})).expect(200);
    // What it was told before comes first.
    assert_eq!(reaches(&home, &two, "cancelled")["steps"]["asked"]["state"], "done");
    let three = start(&home, "trip", "three", &json!({}));
    reaches(&home, &three, "suspended");
    assert_eq!(home.notices().iter().filter(|it| *it == "seat").count(), 2, "one was taken back");
    let listed = home.get("/flows/runners").expect(200).json();
    assert_eq!((&listed["items"][0]["state"], &listed["items"][1]["url"]), (&json!("away"), &json!("here")));
    let told = home.run(&["flows", "runners"]).done();
    assert!(told.out.contains(&kernel.base()) && told.out.contains("away"), "{}", told.out);
    // What comes back late finds that it holds nothing any more, and does nothing.
    runner.restart();
    eventually("it lets them go", || runner.all("/flows").iter().all(|it| it["phase"] == "killed").then_some(()));
    assert_eq!(home.notices().iter().filter(|it| *it == "gone").count(), 2);
}

/// A fake runner that takes what it is offered, and says what it can do.
fn taking(peer: &Peer, kinds: &[&str], answer: impl Fn() -> Reply + Send + 'static) {
    let document = peer.document();
    let able = json!({ "protocol": "quickbeam-runner/1", "kinds": kinds });
    peer.documents(move |got| Reply::json(if got.target == "/flow/runner" { &able } else { &document }));
    peer.answers(move |got| if got.target == "/flow/start" { answer() } else { Reply::json(&json!({})) });
}

const ALL: [&str; 9] = ["effect", "branch", "each", "suspend", "wait", "all", "call", "http", "ask"];
const TELL: &str = "[flow.tell]\nsteps.say = { effect = \"notify\", with = { text = \"'said'\" } }\n";

#[test]
fn the_first_that_can_do_all_kinds_gets_it_and_one_that_lies_about_them_does_not_keep_it() {
    let (few, liar) = (Peer::start(), Peer::start());
    taking(&few, &["wait"], || Reply::status(500));
    taking(&liar, &ALL, || Reply { status: 422, ..Reply::json(&json!({ "detail": "I never heard of `effect`" })) });
    let runners = [few.base(), liar.base(), "here".to_owned()];
    let home = Node::start(home_at(Spot::free(), &runners, TELL));
    let id = start(&home, "tell", "one", &json!({}));
    let done = reaches(&home, &id, "done").to_string();
    assert!(done.contains("it does not do effect") && done.contains("never heard"), "{done}");
    assert_eq!(home.notices(), ["said"]);
    assert!(few.got().iter().all(|got| got.target != "/flow/start"), "it was not bothered");
}

#[test]
fn an_instance_that_nobody_can_run_is_paused_with_the_reason_and_goes_on_when_somebody_can() {
    let peer = Peer::start();
    taking(&peer, &ALL, || Reply::status(422));
    let home = Node::start(home_at(Spot::free(), &[peer.base()], TELL));
    let id = start(&home, "tell", "one", &json!({}));
    let paused = reaches(&home, &id, "paused");
    assert!(paused["why"].to_string().contains("does not run it"), "{paused:#}");
    assert!(paused["possible"].as_array().unwrap().contains(&json!("continue")), "{paused:#}");
    taking(&peer, &ALL, || Reply { status: 202, ..Reply::json(&json!({ "id": "theirs" })) });
    home.post(&format!("/flows/{id}/continue"), &json!({})).expect(200);
    eventually("it is taken", || (flow(&home, &id)["runner"]["instance"] == "theirs").then_some(()));
    home.post(&format!("/flows/{id}/kill"), &json!({})).expect(200);
    eventually("it is released", || peer.got().iter().any(|got| got.target == "/flow/release/theirs").then_some(()));
}

/// What a runner says that it did.
fn says(peer: &Peer, home: &Node, id: &str, key: &str, body: &Value) -> crate::peer::Signed {
    peer.sign_call(home, Call::post(&format!("/flow/effects/{id}")).key(key), &body.to_string())
}

#[test]
fn only_whoever_holds_an_instance_is_heard_and_only_while_it_says_what_can_be() {
    let (holder, other) = (Peer::start(), Peer::start());
    taking(&holder, &ALL, || Reply { status: 202, ..Reply::json(&json!({ "id": "theirs" })) });
    let runners = [holder.base(), other.base()];
    let home = Node::start(home_at(Spot::free(), &runners, TELL));
    let id = start(&home, "tell", "one", &json!({}));
    eventually("it is taken", || (flow(&home, &id)["runner"]["instance"] == "theirs").then_some(()));
    let begun = |effect: &str| {
        let key = format!("{id}/1/say/-/do");
        json!({ "fact": "step_started", "step": "say", "attempt": 1, "key": key, "effect": effect, "input": { "text": "said" } })
    };
    let turn = |hold: u32, facts: &[Value]| json!({ "instance": "theirs", "hold": hold, "from": 1, "turns": [{ "heard": 0, "facts": facts }] });
    let good = turn(1, &[begun("notify")]);
    home.settle();
    home.unchanged(|| {
        says(&other, &home, &id, "k", &good).send(&home).refused_with(403, "not with whoever");
        says(&holder, &home, &id, "k", &turn(2, &[begun("notify")])).send(&home).refused_with(403, "not with whoever");
        says(&holder, &home, "nothing", "k", &good).send(&home).refused(404);
        says(&holder, &home, &id, "k", &good).without("idempotency-key").send(&home).refused(401);
        let call = Call::post(&format!("/flow/effects/{id}"));
        holder.sign_call(&home, call, &good.to_string()).send(&home).refused_with(400, "Idempotency-Key");
        says(&holder, &home, &id, "k", &json!({ "turns": 1 })).send(&home).refused(422);
        let taken = Call::post("/flow/start").key("k");
        holder.sign_call(&home, taken, "{}").send(&home).refused_with(403, "[kernel] allow");
    });
    says(&holder, &home, &id, "k", &good).send(&home).expect(200);
    says(&holder, &home, &id, "k", &turn(1, &[begun("webhook")])).send(&home).refused_with(422, "key");
    eventually("it is done", || (home.notices() == ["said"]).then_some(()));
    says(&holder, &home, &id, "k", &good).send(&home).expect(200);
    says(&holder, &home, &id, "again", &good).send(&home).expect(200);
    eventually("its runner hears what came of it", || {
        let words = holder.got().into_iter().filter(|got| got.target == "/flow/words/theirs");
        words.into_iter().find(|got| String::from_utf8_lossy(&got.body).contains("\"done\""))
    });
    home.settle();
    assert_eq!(home.notices(), ["said"], "a repeat does nothing");
    // From here on it lies: it is taken from it, and offered to the next, who is away.
    let mut lie = turn(
        1,
        &[json!({ "fact": "step_started", "step": "rob", "attempt": 1, "key": "k", "effect": "notify", "input": {} })],
    );
    lie["from"] = json!(2);
    says(&holder, &home, &id, "lie", &lie).send(&home).expect(200);
    let waits =
        eventually("it is taken from it", || Some(flow(&home, &id)).filter(|it| it["runner"]["at"] != holder.base()));
    assert!(waits["why"].to_string().contains("says what cannot be"), "{waits:#}");
    lie["from"] = json!(3);
    says(&holder, &home, &id, "late", &lie).send(&home).refused_with(403, "not with whoever");
}

/// An offer of a peer that has a flow of its own.
fn offer(peer: &Peer, kernel: &Node, key: &str, change: impl FnOnce(&mut Value)) -> crate::peer::Signed {
    let step = json!({ "kind": { "suspend": { "signal": "go", "otherwise": "fail" } } });
    let mut body = json!({
        "protocol": "quickbeam-runner/1", "instance": "abc", "hold": 1, "heard": 0,
        "definition": { "name": "theirs", "steps": { "asked": step } },
        "input": { "input": {} },
        "progress": { "flow": "abc", "run": 1, "steps": {}, "started": 0, "kept": 0 },
    });
    change(&mut body);
    peer.sign_call(kernel, Call::post("/flow/start").key(key), &body.to_string())
}

fn request(url: &str, header: Option<Value>) -> Value {
    let headers = header.map_or(json!({}), |header| json!({ "x": header }));
    json!({ "kind": { "http": { "method": "GET", "url": format!("'{url}'"), "headers": headers } } })
}

#[test]
fn a_kernel_bounds_what_strangers_give_it() {
    let (peer, other, stranger) = (Peer::start(), Peer::start(), Peer::start());
    let list = [&peer, &other].map(|peer| format!("{:?}", peer.authority())).join(", ");
    let more = format!(
        "[kernel]\nallow = [{list}]\n[[runner]]\nurl = \"here\"\nkinds = [\"suspend\", \"http\", \"wait\"]\n[flow.own]\nsteps.w = {{ wait = \"1h\" }}\n"
    );
    let plan = Plan::new(Template::Empty).more(&more);
    let kernel = Node::start([&peer, &other, &stranger].iter().fold(plan, |plan, it| plan.allow(it.authority())));
    let told = kernel.send(&Call::get("/flow/runner")).expect(200).json();
    assert_eq!(told["kinds"], json!(["http", "suspend", "wait"]));
    let effect = json!({ "kind": { "effect": { "effect": "notify" } } });
    kernel.settle();
    kernel.unchanged(|| {
        offer(&stranger, &kernel, "k", |_| {}).send(&kernel).refused_with(403, "[kernel] allow");
        offer(&peer, &kernel, "k", |it| it["protocol"] = json!("other/9")).send(&kernel).refused_with(422, "speaks");
        offer(&peer, &kernel, "k", |it| it["instance"] = json!("../x")).send(&kernel).refused_with(422, "name");
        offer(&peer, &kernel, "k", |it| it["progress"]["flow"] = json!("other")).send(&kernel).refused(422);
        offer(&peer, &kernel, "k", |it| it["progress"]["kept"] = json!(9_999_999))
            .send(&kernel)
            .refused_with(422, "bytes");
        offer(&peer, &kernel, "k", |it| it["definition"]["steps"]["e"] = effect)
            .send(&kernel)
            .refused_with(422, "effect");
        offer(&peer, &kernel, "k", |it| it["definition"]["steps"]["asked"]["after"] = json!(["asked"]))
            .send(&kernel)
            .refused_with(422, "cycle");
        offer(&peer, &kernel, "k", |it| it["definition"]["steps"]["asked"]["if"] = json!("1 +"))
            .send(&kernel)
            .refused(422);
        let secret = request("https://x.example/", Some(json!({ "secret": { "secret": "crm" } })));
        offer(&peer, &kernel, "k", |it| it["definition"]["steps"]["s"] = secret).send(&kernel).refused_with(422, "crm");
        offer(&peer, &kernel, "k", |it| it["definition"]["steps"]["asked"]["kind"] = json!("juggle"))
            .send(&kernel)
            .refused(422);
        let own = Call::post("/flow/start/own").key("k");
        peer.sign_call(&kernel, own, "{}").send(&kernel).refused_with(404, "no flow");
    });
    let taken = offer(&peer, &kernel, "k", |_| {}).send(&kernel).expect(202);
    let id = taken.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(taken.header("location"), Some(format!("{}/flow/{id}", kernel.base()).as_str()));
    let word = json!({ "hold": 1, "from": 1, "words": [{ "resume": { "signal": "go", "payload": {} } }] }).to_string();
    let say =
        |peer: &Peer| peer.sign_call(&kernel, Call::post(&format!("/flow/words/{id}")).key("w"), &word).send(&kernel);
    say(&other).refused(404);
    other.sign_call(&kernel, Call::post(&format!("/flow/release/{id}")).key("w"), "{}").send(&kernel).refused(404);
    say(&peer).expect(200);
    eventually("it goes on", || (flow(&kernel, &id)["phase"] == "done").then_some(()));
    eventually("its home hears of it", || {
        let told = peer.got().into_iter().filter(|got| got.target == "/flow/effects/abc");
        told.into_iter().find(|got| String::from_utf8_lossy(&got.body).contains("flow_done"))
    });
}

#[test]
fn requests_of_others_reach_nothing_that_is_not_theirs_to_reach() {
    let (peer, service) = (Peer::start(), Peer::start());
    let more = format!(
        "[http]\nallow = [{:?}]\n[kernel]\nallow = [{:?}]\n[secrets.crm]\nenv = \"PATH\"\n",
        service.authority(),
        peer.authority()
    );
    let more = more.replace("[secrets.crm]\nenv = \"PATH\"\n", "");
    let kernel = Node::start(Plan::new(Template::Empty).allow(peer.authority()).more(&more));
    let url = format!("{}/inside", service.base());
    peer.answers(|_| Reply::json(&json!({})));
    let taken = offer(&peer, &kernel, "k", |it| it["definition"]["steps"] = json!({ "get": request(&url, None) }))
        .send(&kernel);
    let id = taken.expect(202).json()["id"].as_str().unwrap().to_owned();
    let failed = eventually("it ends", || Some(flow(&kernel, &id)).filter(|it| it["phase"] == "failed"));
    assert!(failed["reason"].to_string().contains("not"), "{failed:#}");
    assert_eq!(service.connections(), 0);
}
