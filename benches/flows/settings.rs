//! The node that is measured: its flows, and requests to it.

use std::net::SocketAddr;
use std::path::Path;

use quickbeam::config::template::Template;

use crate::rig::caller::Call;
use crate::rig::node::{Node, Recipe};

/// The flows and types of every part. `EFFECT` is what a step of `three` does, `HANDLER` where those of `calls` go.
const FLOWS: &str = r#"
[http]
allow = ["HANDLER"]

[type.counter]
as = "Note"
title = "title"
fields.title = { kind = "text", required = true }
fields.count = { kind = "integer" }

[flow.three]
steps.one = { effect = "EFFECT", with = WITH }
steps.two = { effect = "EFFECT", after = "one", with = WITH }
steps.three = { effect = "EFFECT", after = "two", with = WITH }

[flow.calls]
steps.one = { http = "POST", url = "'http://HANDLER/step'", body = { n = "input.n" } }
steps.two = { http = "POST", url = "'http://HANDLER/step'", after = "one", body = { n = "results.one.body.n" } }
steps.three = { http = "POST", url = "'http://HANDLER/step'", after = "two", body = { n = "results.two.body.n" } }
result = "results.three.body.n"

[flow.count]
steps.add = { effect = "notify", with = { text = "'one more'" } }
result = "results.add.seq"

[flow.gate]
steps.gate = { suspend = "go" }
steps.then = { effect = "notify", after = "gate", with = { text = "string(input.n)" } }

[flow.nap]
steps.nap = { wait = "input.until" }

[flow.room]
search.city = "input.city"
steps.gate = { suspend = "go" }
"#;

/// Writes the folder of a node that has them all.
pub(crate) fn recipe(folder: &Path, effect: &str, handler: SocketAddr) -> Recipe {
    let with = match effect {
        "notify" => "{ text = \"'a step'\" }",
        "object.validate" => "{ type = \"'counter'\", object = { title = \"'a step'\" } }",
        other => panic!("--effect is notify or object.validate, not {other}"),
    };
    let settings = FLOWS.replace("EFFECT", effect).replace("WITH", with).replace("HANDLER", &handler.to_string());
    Recipe::write(folder, Template::Empty, Vec::new(), &settings)
}

/// A request of somebody with a token, under a key of its own.
pub(crate) fn post(node: &Node, path: &str, body: &str) -> Call {
    get(node, path).with_body(body).header("idempotency-key", "{n}")
}

pub(crate) fn get(node: &Node, path: &str) -> Call {
    Call::get(node.public.address, path).header("authorization", &format!("Bearer {}", node.public.token))
}

/// Starts an instance and waits for its end.
pub(crate) fn start_and_wait(node: &Node, flow: &str) -> Call {
    let call = post(node, &format!("/flow/start/{flow}"), r#"{"n": {n}}"#);
    call.header("prefer", "wait=30").expecting("\"phase\":\"done\"")
}
