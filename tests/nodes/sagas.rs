//! A saga across three real nodes, each killed with -9 at every step that can be seen from outside: in the end all three
//! hold what was allocated, or none of them does. The same story in one thread, cut at every batch, is in `tests/crash/`.

use std::time::Duration;

use quickbeam::config::template::Template;
use serde_json::{Value, json};

use crate::harness::{Node, Plan, Spot, eventually, within};
use crate::http::Call;

/// What each of blog, events and shop allocates: an object of this slug.
const HELD: [&str; 3] = ["seat", "hold", "stock"];

/// Longer than a node remembers that a key could not be fetched, since its owner had just been killed.
const PATIENCE: Duration = Duration::from_secs(180);

const TYPES: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }
"#;

const DESK: &str = r#"
[type.desk]
as = "OrderedCollection"
title = "title"
fields.title = { kind = "text" }
remote.allocate = { run = "hold", from = "anyone" }
"#;

/// How the story goes on once all three have allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tale {
    /// The shop accepts.
    Accepted,
    /// Somebody at the shop cancels.
    Refused,
    /// Nobody at the shop answers, and events waits two seconds.
    Silent,
    /// Somebody at the blog cancels.
    Cancelled,
}

const TALES: [Tale; 4] = [Tale::Accepted, Tale::Refused, Tale::Silent, Tale::Cancelled];

/// When somebody is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The start was acknowledged.
    Started,
    /// All three hold something, and the shop waits for a person.
    Held,
    /// Somebody has decided how it goes on, and that was acknowledged.
    Decided,
    /// The shop's flow has ended.
    Answered,
    /// The flow of events has ended.
    Relayed,
}

const MOMENTS: [Moment; 5] = [Moment::Started, Moment::Held, Moment::Decided, Moment::Answered, Moment::Relayed];

/// Creates the object that stands for what is held.
fn holds(title: &str) -> String {
    format!(
        "steps.take = {{ effect = \"object.create\", with = {{ type = \"'note'\", fields = {{ title = \"'{title}'\" }} }}, undo = true }}"
    )
}

/// Asks at the desk of another node for what was taken.
fn asks(at: Spot, more: &str) -> String {
    let (base, actor) = (at.base(), at.actor());
    format!(
        "steps.ask = {{ ask = \"allocate\", after = \"take\", object = \"results.take.id\", target = \"'{base}/main'\", \
         to = \"'{actor}'\", undo_timeout = \"20s\", retry = {{ attempts = 9 }}{more} }}"
    )
}

fn three(tale: Tale) -> [Node; 3] {
    let [blog, events, shop] = [(); 3].map(|()| Plan::new(Template::Empty).more(TYPES));
    let spots = [blog.spot, events.spot, shop.spot];
    let open = |plan: Plan| spots.iter().fold(plan, |plan, spot| plan.allow(spot.authority()));
    let waits = if tale == Tale::Silent { ", timeout = \"2s\"" } else { "" };
    let book = format!("[flow.book]\n{}\n{}", holds("seat"), asks(spots[1], ""));
    let relay =
        format!("{DESK}[flow.hold]\n{}\n{}\nresult = \"results.take.id\"", holds("hold"), asks(spots[2], waits));
    let sell = format!(
        "{DESK}[flow.hold]\n{}\nsteps.wait = {{ suspend = \"go\", after = \"take\" }}\nresult = \"results.take.id\"",
        holds("stock")
    );
    let plans = [blog.more(&book), events.more(&relay), shop.more(&sell)];
    let nodes = plans.map(|plan| Node::start(open(plan)));
    for node in &nodes[1..] {
        node.post("/api/objects/desk", &json!({ "title": "main" })).expect(201);
    }
    nodes
}

/// The one flow of a node, if it has begun: its id and its phase.
fn flow(node: &Node) -> Option<(String, String)> {
    let flows = node.all("/flows");
    assert!(flows.len() <= 1, "it begins once: {flows:?}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    flows.first().map(|flow| (text(&flow["id"]), text(&flow["phase"])))
}

fn has_ended(node: &Node) -> bool {
    flow(node).is_some_and(|(_, phase)| ["done", "failed", "cancelled"].contains(&phase.as_str()))
}

#[track_caller]
fn ends(node: &Node) {
    let ended = within(PATIENCE, || has_ended(node).then_some(()));
    assert!(ended.is_some(), "{} comes to no end: {:?}\n{}", node.base(), flow(node), node.log());
}

/// Sends until it is answered: whoever is killed may not have heard it.
fn decide(node: &Node, call: &Call) {
    let answer = eventually("it is answered", || node.try_send(call));
    assert!([200, 202, 409].contains(&answer.status), "{answer}");
}

/// Tells the story; whoever is named for a moment is killed then, and begins again at once.
fn tell(tale: Tale, killed: impl Fn(Moment) -> Vec<usize>) {
    let nodes = three(tale);
    let [blog, events, shop] = &nodes;
    let at = |moment| {
        for node in killed(moment) {
            nodes[node].kill();
            nodes[node].restart();
        }
    };
    let start = Call::post("/flow/start/book").token(&blog.token).key("book").json(&json!({}));
    blog.send(&start).expect(202);
    at(Moment::Started);
    let (theirs, _) = eventually("the shop waits for somebody", || flow(shop).filter(|(_, it)| it == "suspended"));
    at(Moment::Held);
    let mine = flow(blog).unwrap().0;
    match tale {
        Tale::Accepted => {
            let target = format!("/flow/resume/{theirs}");
            decide(shop, &Call::post(&target).token(&shop.token).key("go").json(&json!({ "signal": "go" })));
        }
        Tale::Refused => {
            decide(shop, &Call::post(&format!("/flows/{theirs}/cancel")).token(&shop.token).key("no").json(&json!({})));
        }
        Tale::Cancelled => {
            decide(blog, &Call::post(&format!("/flows/{mine}/cancel")).token(&blog.token).key("no").json(&json!({})));
        }
        Tale::Silent => {}
    }
    at(Moment::Decided);
    ends(shop);
    at(Moment::Answered);
    ends(events);
    at(Moment::Relayed);
    ends(blog);
    check(tale, &nodes);
}

fn check(tale: Tale, nodes: &[Node; 3]) {
    let ends = match tale {
        Tale::Accepted => ["done", "done", "done"],
        Tale::Refused => ["failed", "failed", "cancelled"],
        Tale::Silent => ["failed", "failed", "cancelled"],
        Tale::Cancelled => ["cancelled", "cancelled", "cancelled"],
    };
    for ((node, end), slug) in nodes.iter().zip(ends).zip(HELD) {
        node.settle();
        assert_eq!(flow(node).unwrap().1, end, "{tale:?}: {slug}\n{}", node.log());
        let status = |slug: &str| node.get(&format!("/{slug}")).status;
        assert_eq!(status(slug), if tale == Tale::Accepted { 200 } else { 410 }, "{tale:?}: {slug}");
        assert_eq!(status(&format!("{slug}-2")), 404, "{tale:?}: {slug} was made once");
        assert_eq!(node.all("/admin/dead-letters"), [json!(null); 0], "{tale:?}: {slug}");
    }
}

/// In each tale another of the three, at every moment.
#[test]
fn nothing_stays_allocated_when_one_of_three_is_killed_at_each_step() {
    for (nth, tale) in TALES.into_iter().enumerate() {
        tell(tale, |_| vec![nth % 3]);
    }
}

#[test]
fn nothing_stays_allocated_whoever_is_killed_and_whenever() {
    if std::env::var_os("QUICKBEAM_TESTS_LONG").is_none_or(|set| set == "0") {
        return;
    }
    for tale in TALES {
        tell(tale, |_| vec![0, 1, 2]);
        for moment in MOMENTS {
            for node in 0..3 {
                tell(tale, |now| if now == moment { vec![node] } else { Vec::new() });
            }
        }
    }
}
