//! The blog: what its flows can do that other nodes cannot.

use serde_json::json;

use super::effects::{EffectInput, EffectSpec, Effects, Plan, StreamOp, optional};
use super::types::Kind;

/// Registers the blog's effects.
pub fn register(effects: Effects) -> Effects {
    effects.with(EffectSpec {
        name: "digest.send",
        summary: "puts an article into the digest: a record of the local stream `digest`",
        parameters: vec![
            optional("article", Kind::Iri, "which; the flow's object without it"),
            optional("title", Kind::Text, "what it is called there; its own title without it"),
            optional("note", Kind::Text, "a line of the editor's"),
        ],
        undo: true,
        plan: send,
    })
}

fn send(input: &EffectInput<'_>) -> Plan {
    let own = |field: &str| input.cause.object.get(field).and_then(|it| it.as_str()).map(str::to_owned);
    let record = json!({
        "article": input.text("article").or_else(|| input.about()),
        "title": input.text("title").or_else(|| own("title")).or_else(|| own("name")),
        "note": input.text("note"),
    });
    Plan::Stream { stream: "digest".into(), op: StreamOp::Append { record } }
}
