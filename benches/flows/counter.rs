//! A counter: one more with each request, and the new number in the answer.
//!
//! The direct command is an append to a stream of the store: the node itself gives each record the next number, so that
//! none is counted twice or left out whoever writes at the same time. `PATCH` of an object could only set a number that
//! its caller has made up, and publishes an activity besides; it is measured as what a write of an object costs.

use serde_json::{Value, json};

use crate::contest::{Bench, Contest};
use crate::peer::Peer;
use crate::rig;
use crate::rig::node::free_port;
use crate::settings;

const KEYS: u64 = 1_000;

pub(crate) fn run(bench: &mut Bench) {
    let folder = rig::folder();
    let node = settings::recipe(folder.path(), "notify", free_port()).start();
    let (one, many) = (bench.peer.as_ref().map(Peer::counter), bench.peer.as_ref().map(Peer::keys));

    let ours = settings::post(&node, "/store/streams/counter", "1").expecting("\"last\":");
    let counted = bench.compare(&Contest { title: "one counter, directly", node: &node, ours, theirs: one.clone() });
    let page = node.public.must("GET", "/store/streams/counter?limit=1", &Value::Null);
    assert_eq!(page["last"], counted, "nothing is counted twice or left out");

    let mut ours = settings::post(&node, "/store/streams/counter/{key}", "1").expecting("\"last\":");
    ours.keys = KEYS;
    let theirs = many.map(|mut call| {
        call.keys = KEYS;
        call
    });
    bench.compare(&Contest { title: "1,000 counters, directly", node: &node, ours, theirs });

    let ours = settings::start_and_wait(&node, "count");
    bench.compare(&Contest { title: "one counter, through a flow", node: &node, ours, theirs: one });

    node.public.must("POST", "/api/objects/counter", &json!({ "title": "hot", "count": 0 }));
    let mut ours = settings::post(&node, "/api/objects/counter/hot", "{\"count\": {n}}");
    ours.method = "PATCH".into();
    bench.compare(&Contest { title: "one object, changed and published", node: &node, ours, theirs: None });
}
