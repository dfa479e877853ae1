//! What a node shows: pages to people, JSON to programs, lists by the page, and nothing to those whom it does not concern.

use std::time::Duration;

use quickbeam::clock::{Clock, SystemClock};
use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};

fn get(node: &Node, target: &str, accept: &str) -> Answer {
    node.send(&Call::get(target).accept(accept))
}

#[test]
fn the_same_address_is_a_page_for_people_and_json_for_programs() {
    let node = Node::start(Plan::blog());
    node.post("/api/objects/article", &json!({ "title": "<b>Gig</b> & Night", "slug": "gig" })).expect(201);
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for target in ["/", "/gig", "/activities"] {
        for accept in [browser, "*/*", "text/html"] {
            let page = get(&node, target, accept).expect(200);
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{target}");
            assert_eq!(page.header("vary"), Some("Accept"), "{target}");
            assert!(page.header("content-security-policy").is_some(), "{target}");
            assert!(!page.text().contains("<b>Gig"), "{target} shows what somebody wrote as if it were ours");
        }
        let json = get(&node, target, "application/json").expect(200);
        assert_eq!((json.header("content-type"), json.header("vary")), (Some("application/json"), Some("Accept")));
        json.json();
    }
    assert!(get(&node, "/gig", browser).text().contains("&lt;b&gt;Gig&lt;/b&gt; &amp; Night"));
    let profile = "application/ld+json; profile=\"https://www.w3.org/ns/activitystreams\"";
    for accept in ["application/activity+json", profile, "text/html;q=0.5, application/activity+json"] {
        let object = get(&node, "/gig", accept).expect(200);
        assert_eq!(object.header("content-type"), Some("application/activity+json"), "{accept}");
        assert_eq!(object.json()["id"], format!("{}/gig", node.base()));
        assert_eq!(object.json()["type"], "Article");
    }
}

#[test]
fn a_refusal_is_a_page_for_whoever_looks_and_a_problem_for_all_others() {
    let node = Node::start(Plan::blog());
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let looks = |call: Call, status: u16, word: &str| {
        let page = node.send(&call.accept(browser)).expect(status);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").is_some() && page.header("vary") == Some("Accept"));
        let id = page.header("x-request-id").unwrap();
        assert!(page.text().contains(word) && page.text().contains(id), "{}", page.text());
        page
    };
    looks(Call::get("/none"), 404, "/none");
    let asked = looks(Call::get("/flows"), 401, "token");
    assert!(asked.header("www-authenticate").is_some_and(|how| how.starts_with("Basic")), "the browser asks for one");
    let form = Call::post("/flows/start").header("content-type", "application/x-www-form-urlencoded");
    looks(form.clone().body("name=digest&token=qb_none"), 401, "token");
    looks(form.body(format!("name=%3Cb%3Enone&token={}", node.token)), 404, "&lt;b&gt;none");
    let other = looks(Call::get("/inbox"), 405, "POST");
    assert_eq!(other.header("allow"), Some("POST"));
    for accept in ["*/*", "application/json", "application/activity+json", "text/html;q=0.5, application/json"] {
        let refused = get(&node, "/none", accept);
        refused.refused(404);
        assert_eq!(refused.header("vary"), Some("Accept"), "no cache takes one for the other");
    }
}

#[test]
fn every_id_leads_to_the_thing_itself() {
    let node = Node::start(Plan::events());
    let actor = get(&node, "/actor", "application/activity+json").expect(200).json();
    assert_eq!(actor["id"], node.actor());
    let path = |id: &str| id.strip_prefix(&node.base()).unwrap().to_owned();
    for field in ["inbox", "outbox", "followers", "following"] {
        assert!(actor[field].as_str().is_some_and(|id| id.starts_with(&node.base())), "{actor}");
    }
    for list in ["outbox", "followers", "following"] {
        let id = actor[list].as_str().unwrap();
        let collection = get(&node, &path(id), "application/activity+json").expect(200).json();
        assert_eq!((&collection["id"], &collection["type"]), (&json!(id), &json!("OrderedCollection")));
    }
    let outbox = get(&node, "/outbox", "application/activity+json").json();
    assert_eq!((&outbox["totalItems"], &outbox["first"]["orderedItems"][0]["type"]), (&json!(1), &json!("Create")));
    let activity = outbox["first"]["orderedItems"][0].clone();
    let shown = get(&node, &path(activity["id"].as_str().unwrap()), "application/activity+json").expect(200);
    assert_eq!((shown.header("content-type"), shown.json()), (Some("application/activity+json"), activity));
    let calendar = get(&node, "/calendars/main", "application/activity+json").expect(200).json();
    assert_eq!(calendar["id"], format!("{}/calendars/main", node.base()));

    let account = format!("acct:events@{}", node.authority());
    let found = node.get(&format!("/.well-known/webfinger?resource={account}")).expect(200);
    assert_eq!(found.header("content-type"), Some("application/jrd+json"));
    assert_eq!((&found.json()["subject"], &found.json()["links"][0]["href"]), (&json!(account), &json!(node.actor())));
    let links = node.get("/.well-known/nodeinfo").expect(200).json();
    let info = node.get(&path(links["links"][0]["href"].as_str().unwrap())).expect(200).json();
    assert_eq!((&info["version"], &info["software"]["name"]), (&json!("2.1"), &json!("quickbeam")));
}

#[test]
fn lists_go_on_where_the_page_before_ended() {
    let node = Node::start(Plan::blog());
    let titles: Vec<String> = (0..7).map(|n| format!("article {n}")).collect();
    titles.iter().for_each(|title| drop(node.publish(title)));
    node.settle();
    for list in ["/", "/activities", "/flows"] {
        let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = node.get(&format!("{list}?limit=3{after}")).expect(200).json();
            let items = page["items"].as_array().unwrap().clone();
            assert!((1..=3).contains(&items.len()), "{list}: {page}");
            seen.extend(items);
            pages += 1;
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!((seen.len(), pages), (7, 3), "{list}");
        seen.dedup();
        assert_eq!(seen.len(), 7, "{list} repeats itself");
    }
    // A page that ends with the list has no next one; a limit past the most is the most.
    assert!(node.get("/?limit=7").json()["next"].is_null());
    node.get("/?limit=100000").expect(200);
    // Several within a millisecond are in any order, the last of all comes first.
    let next = SystemClock::default().now().plus(Duration::from_millis(2));
    eventually("the clock goes on", || (SystemClock::default().now() > next).then_some(()));
    node.publish("Last");
    let newest = node.get("/activities?limit=1").json()["items"][0]["object"].clone();
    assert_eq!(newest, format!("{}/last", node.base()));
}

#[test]
fn what_is_not_public_is_there_for_tokens_only() {
    let node = Node::start(Plan::blog());
    for (title, visibility) in [("open", "public"), ("friends", "followers"), ("letter", "direct")] {
        node.post("/api/objects/article", &json!({ "title": title, "visibility": visibility })).expect(201);
    }
    node.settle();
    let json = "application/activity+json";
    get(&node, "/open", json).expect(200);
    for hidden in ["/friends", "/letter"] {
        get(&node, hidden, json).refused(404);
        get(&node, hidden, "text/html").expect(404);
        node.get(hidden).expect(200);
    }
    for list in ["/", "/activities", "/outbox"] {
        let open = get(&node, list, "application/json").expect(200).text();
        assert!(open.contains("open") && !open.contains("friends") && !open.contains("letter"), "{list}: {open}");
        let page = get(&node, list, "text/html").expect(200).text();
        assert!(!page.contains("friends") && !page.contains("letter"), "{list}");
    }
    assert_eq!(get(&node, "/outbox", json).json()["totalItems"], 1);
    for activity in node.all("/activities") {
        let path = format!("/activities/{}", activity["ulid"].as_str().unwrap());
        let public = activity["object"].as_str().unwrap().ends_with("/open");
        let status = if public { 200 } else { 404 };
        assert_eq!(get(&node, &path, json).status, status, "{activity}");
        node.get(&path).expect(200);
    }
}
