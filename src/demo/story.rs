//! The story: a blog and an events site follow, publish and allocate, and refuse what is not so.

use serde_json::{Value, json};

use super::domain::Role;
use super::forgery;
use super::stage::{Stage, Unproven, list, ok};
use super::trouble;
use crate::cli::client::{Ask, Door};

/// What a step that was played leaves for the next.
pub(super) type Played<T = ()> = Result<T, Unproven>;

/// Every step in order; the first that is not proven ends it.
pub(super) fn play(stage: &mut Stage) -> Played {
    follow(stage)?;
    calendar(stage)?;
    publish(stage)?;
    allocate(stage)?;
    refuse(stage)?;
    trouble::fall_over(stage)?;
    trouble::wait(stage)
}

fn follow(stage: &mut Stage) -> Played {
    stage.transcript.step("Follow: events follows the blog from its start, and the blog accepts");
    let (blog, events) = (format!("{}/actor", stage.blog.base), format!("{}/actor", stage.events.base));
    for (role, path, member) in [(Role::Blog, "/followers", &events), (Role::Events, "/following", &blog)] {
        let wanted = format!("orderedItems with {member}");
        let holds = |body: &Value| list(&body["first"], "orderedItems").contains(&json!(member)).then_some(());
        stage.until(role, &get(path), &wanted, ok(holds))?;
        stage.transcript.proven(format!("{path} of {} has {member}", role.name()));
    }
    try_get(stage, Role::Blog, "/followers");
    Ok(())
}

fn calendar(stage: &mut Stage) -> Played {
    stage.transcript.step("Calendar: events has one, and it is empty");
    let found = |body: &Value| (body["type"] == "OrderedCollection" && list(body, "items").is_empty()).then_some(());
    stage.until(Role::Events, &get("/calendars/main"), "an OrderedCollection without items", ok(found))?;
    stage.transcript.proven(format!("{}/calendars/main is an empty OrderedCollection", stage.events.base));
    stage.transcript.open(format!("{}/calendars/main", stage.events.base));
    Ok(())
}

fn publish(stage: &mut Stage) -> Played {
    stage.transcript.step("Publish: the blog writes an article, which reaches events and fires its behaviour");
    let article =
        json!({ "title": "Gig night", "content": "Three bands, one barn.", "category": "note", "tags": ["music"] });
    let made = write_article(stage, &article)?;
    let (id, slug) = (text(&made, "id"), text(&made, "slug"));
    stage.measured(slug == "gig-night", "the slug gig-night", slug)?;
    stage.ask(Role::Blog, &get("/gig-night"), "the article", ok(|body| (body["name"] == "Gig night").then_some(())))?;
    stage.transcript.proven(format!("published {id}"));
    arrived(stage, &text(&made, "activity"))?;
    stage.transcript.proven(format!("delivered to events, verified, and in its log: {}", text(&made, "activity")));
    announced_once(stage, "Gig night")?;
    stage.transcript.proven("the behaviour article.remote.create fired on events, once");
    stage.transcript.open(id);
    stage.transcript.open(format!("{}/activities", stage.events.base));
    let line = format!(
        "curl -s {}/api/objects/article -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \
         -H 'Idempotency-Key: try-1' -d '{{\"title\": \"Another night\"}}'",
        stage.blog.base, stage.blog.token
    );
    stage.transcript.curl(line);
    Ok(())
}

fn allocate(stage: &mut Stage) -> Played {
    stage.transcript.step("Allocate: the blog asks for a place in the calendar, and events answers with an event");
    let path = "/gig-night/allocate";
    let ask = Ask::change(Door::Public, "POST", path, stage.key()).query("calendar", "main").query("to", "events");
    stage.ask(Role::Blog, &ask, "202", |answer| (answer.status == 202).then_some(()))?;
    let linked = |body: &Value| (notices(body, "linked gig-night") == 1).then_some(());
    stage.until(Role::Events, &get_all("/api/streams/notices"), "one notice: linked gig-night", ok(linked))?;
    stage.transcript.proven("linked gig-night");
    let result = answered(stage)?;
    stage.transcript.proven(format!("the answer came back: gig-night is accepted as {result}"));
    let event = result.strip_prefix(&stage.events.base).unwrap_or("/not-at-events").to_owned();
    let is_event = |body: &Value| (body["type"] == "Event" && body["id"] == json!(result)).then_some(());
    stage.ask(Role::Events, &get(&event), "an Event of this id", ok(is_event))?;
    stage.transcript.proven(format!("{result} is there, an Event"));
    let holds = |body: &Value| list(body, "items").iter().any(|item| item["what"] == json!(result)).then_some(());
    stage.ask(Role::Events, &get("/calendars/main"), "the event in the calendar", ok(holds))?;
    stage.transcript.proven("the calendar main has it");
    stage.transcript.open(format!("{}/calendars/main", stage.events.base));
    try_get(stage, Role::Blog, "/gig-night");
    Ok(())
}

/// The result with which events accepted the article, once the blog knows it.
fn answered(stage: &Stage) -> Played<String> {
    let at_events = format!("{}/", stage.events.base);
    let accepted = |body: &Value| {
        let [one] = list(body, "allocations") else { return None };
        let result = one["result"].as_str().filter(|result| result.starts_with(&at_events))?;
        (one["accepted"] == true).then(|| result.to_owned())
    };
    let wanted = "one allocation, accepted, with a result at events";
    stage.until(Role::Blog, &get("/gig-night"), wanted, ok(accepted))
}

fn refuse(stage: &mut Stage) -> Played {
    stage.transcript.step("Refuse: a forged activity and an unsigned one change nothing");
    let ulid = stage.key();
    let activity = forgery::activity(&stage.blog, &ulid);
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&stage.clock.random());
    let forged = forgery::forged(&stage.blog, &stage.events, &activity, seed, stage.clock.now());
    for (what, ask, status) in [("forged", forged, 403), ("unsigned", forgery::unsigned(&activity), 401)] {
        let refused =
            |answer: &crate::cli::client::Answer| (answer.status == status).then(|| text(&answer.body, "detail"));
        let wanted = format!("{status} with the reason");
        let detail = stage.ask(Role::Events, &ask, &wanted, refused)?;
        stage.transcript.proven(format!("{what}: {status}, {detail}"));
    }
    let unknown = |body: &Value| (!body.to_string().contains(&ulid)).then_some(());
    stage.ask(Role::Events, &get_all("/activities"), "a log without the forged activity", ok(unknown))?;
    let silent = |body: &Value| (notices_ending(body, "Forged") == 0).then_some(());
    stage.ask(Role::Events, &get_all("/api/streams/notices"), "no notice of it", ok(silent))?;
    stage.transcript.proven("events neither logged it nor fired a behaviour for it");
    stage
        .transcript
        .curl(format!("curl -si {}/inbox -H 'Content-Type: application/activity+json' -d '{{}}'", stage.events.base));
    Ok(())
}

/// Writes an article on the blog, and gives the answer.
pub(super) fn write_article(stage: &Stage, article: &Value) -> Played<Value> {
    let ask = Ask::change(Door::Public, "POST", "/api/objects/article", stage.key()).json(article);
    stage.ask(Role::Blog, &ask, "201 with id, activity and slug", |answer| {
        (answer.status == 201).then(|| answer.body.clone())
    })
}

/// Waits until events has received an activity, exactly once.
pub(super) fn arrived(stage: &Stage, activity: &str) -> Played {
    let received = |body: &Value| {
        let ours = |item: &&Value| item["way"] == "received" && item["id"] == json!(activity);
        (list(body, "items").iter().filter(ours).count() == 1).then_some(())
    };
    let wanted = format!("{activity} as received, once");
    stage.until(Role::Events, &get_all("/activities"), &wanted, ok(received))
}

/// Waits until events has announced a title, and makes sure that it did so once.
pub(super) fn announced_once(stage: &Stage, title: &str) -> Played {
    let announced = |body: &Value| (notices_ending(body, title) >= 1).then_some(());
    let all = get_all("/api/streams/notices");
    stage.until(Role::Events, &all, &format!("a notice of {title}"), ok(announced))?;
    let once = |body: &Value| (notices_ending(body, title) == 1).then_some(());
    stage.ask(Role::Events, &all, &format!("one notice of {title} and no second"), ok(once))
}

pub(super) fn get(path: &str) -> Ask {
    Ask::get(Door::Public, path)
}

/// The longest page that a list gives, which holds all of a demo.
pub(super) fn get_all(path: &str) -> Ask {
    get(path).query("limit", "200")
}

pub(super) fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

/// Something to look at by hand, as a page and for programs.
pub(super) fn try_get(stage: &mut Stage, role: Role, path: &str) {
    let domain = stage.domain(role);
    let (url, token) = (format!("{}{path}", domain.base), domain.token.clone());
    stage.transcript.open(url.clone());
    stage.transcript.curl(format!("curl -s {url} -H 'Accept: application/json' -H 'Authorization: Bearer {token}'"));
}

fn notices(body: &Value, said: &str) -> usize {
    list(body, "items").iter().filter(|item| item["value"]["text"] == said).count()
}

fn notices_ending(body: &Value, title: &str) -> usize {
    let end = format!(": {title}");
    let said = |item: &&Value| item["value"]["text"].as_str().is_some_and(|text| text.ends_with(&end));
    list(body, "items").iter().filter(said).count()
}
