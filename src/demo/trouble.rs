//! The second half of the story: nodes that are killed, a backlog that arrives by itself, and a flow that waits.

use std::time::Duration;

use serde_json::{Value, json};

use super::domain::Role;
use super::stage::{Stage, list, ok};
use super::story::{Played, announced_once, arrived, get, get_all, text, try_get, write_article};
use crate::cli::client::{Ask, Door};

/// What publishing may take while the peer is down, on a machine with much to do.
const AT_ONCE: Duration = Duration::from_millis(1_500);
const BACKLOG: [&str; 3] = ["Rain date", "Second barn", "Last call"];

pub(super) fn fall_over(stage: &mut Stage) -> Played {
    stage.transcript.step("Fall over: events is killed while the blog publishes, and gets everything when it is back");
    stage.kill(Role::Events);
    stage.transcript.proven("events is killed with SIGKILL");
    let mut activities = Vec::new();
    for title in BACKLOG {
        let before = stage.clock.monotonic();
        let made = write_article(stage, &json!({ "title": title, "category": "note" }))?;
        let took = stage.clock.monotonic().saturating_sub(before);
        stage.measured(took < AT_ONCE, "an answer at once", format!("an answer after {} ms", took.as_millis()))?;
        stage.transcript.proven(format!("published {} in {} ms", text(&made, "id"), took.as_millis()));
        activities.push(text(&made, "activity"));
    }
    let authority = stage.events.authority().to_owned();
    let waits = |body: &Value| queued(body, &authority).filter(|queued| *queued >= BACKLOG.len() as u64);
    let waiting = stage.until(Role::Blog, &peers(), "3 deliveries that wait for events", ok(waits))?;
    stage.transcript.proven(format!("{waiting} deliveries wait for {authority}"));
    stage.restart(Role::Events)?;
    for (title, activity) in BACKLOG.iter().zip(&activities) {
        arrived(stage, activity)?;
        announced_once(stage, title)?;
    }
    // Only when nothing is under way any more can nothing come a second time.
    let empty = |body: &Value| queued(body, &authority).filter(|queued| *queued == 0);
    stage.until(Role::Blog, &peers(), "nothing that waits for events", ok(empty))?;
    for (title, activity) in BACKLOG.iter().zip(&activities) {
        arrived(stage, activity)?;
        announced_once(stage, title)?;
        stage.transcript.proven(format!("{title} arrived by the tick alone, and fired its behaviour once"));
    }
    try_get(stage, Role::Events, "/activities");
    Ok(())
}

pub(super) fn wait(stage: &mut Stage) -> Played {
    stage.transcript.step("Wait: a newsletter waits for somebody, through a kill of the blog, and is sent once");
    let id = suspended(stage)?;
    stage.transcript.proven(format!("the flow {id} is suspended, and waits for: approve"));
    stage.kill(Role::Blog);
    stage.restart(Role::Blog)?;
    let waits = |body: &Value| (body["phase"] == "suspended" && body["waits_for"] == json!(["approve"])).then_some(());
    let show = get(&format!("/flow/{id}"));
    stage.ask(Role::Blog, &show, "a flow that is suspended and waits for approve", ok(waits))?;
    sent(stage, 0)?;
    stage.transcript.proven("the blog is killed with SIGKILL and started again: still suspended, nothing sent");
    let key = stage.key();
    resume(stage, &id, &key, 200..201)?;
    let done = |body: &Value| (body["phase"] == "done").then_some(());
    stage.until(Role::Blog, &show, "a flow that is done", ok(done))?;
    sent(stage, 1)?;
    stage.transcript.proven("resumed with a token: done, and the digest has one record");
    resume(stage, &id, &key, 200..300)?;
    let another = stage.key();
    resume(stage, &id, &another, 400..500)?;
    sent(stage, 1)?;
    stage
        .transcript
        .proven("resumed again with the same key, and refused with another: the digest still has one record");
    try_get(stage, Role::Blog, &format!("/flows/{id}"));
    Ok(())
}

/// A newsletter is written, and changed; the flow that this starts comes to rest.
fn suspended(stage: &Stage) -> Played<String> {
    let made = write_article(stage, &json!({ "title": "Autumn letter", "category": "newsletter" }))?;
    let (slug, object) = (text(&made, "slug"), text(&made, "id"));
    let change = json!({ "content": "What is on, and where." });
    let ask = Ask::change(Door::Public, "PATCH", format!("/api/objects/article/{slug}"), stage.key()).json(&change);
    stage.ask(Role::Blog, &ask, "200", |answer| (answer.status == 200).then_some(()))?;
    let found = |body: &Value| {
        let ours = |item: &&Value| item["name"] == "digest" && item["object"] == json!(object);
        list(body, "items").iter().find(ours).map(|item| text(item, "id"))
    };
    let ask = get_all("/flows").query("state", "suspended");
    stage.until(Role::Blog, &ask, "the flow digest, suspended, about the newsletter", ok(found))
}

fn resume(stage: &Stage, id: &str, key: &str, statuses: std::ops::Range<u16>) -> Played {
    let body = json!({ "signal": "approve", "payload": { "note": "go" } });
    let ask = Ask::change(Door::Public, "POST", format!("/flow/resume/{id}"), key).json(&body);
    let wanted = format!("a status from {} to {}", statuses.start, statuses.end - 1);
    let ask = ask.header("prefer", "wait=20");
    stage.ask(Role::Blog, &ask, &wanted, |answer| statuses.contains(&answer.status).then_some(()))
}

/// Makes sure that the digest has so many records.
fn sent(stage: &Stage, records: usize) -> Played {
    let holds = |body: &Value| (list(body, "items").len() == records).then_some(());
    let wanted = format!("{records} records in the digest");
    stage.ask(Role::Blog, &get_all("/api/streams/digest"), &wanted, ok(holds))
}

fn peers() -> Ask {
    Ask::get(Door::Admin, "/admin/peers")
}

/// What waits for a peer, in flight included.
fn queued(body: &Value, authority: &str) -> Option<u64> {
    list(body, "items").iter().find(|item| item["authority"] == authority)?["queued"].as_u64()
}
