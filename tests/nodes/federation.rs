//! Nodes among themselves: what is published reaches each follower once, in order, however often anybody is down.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;
use crate::peer::{Peer, Reply};

/// A blog, and events that follows it.
fn blog_and_events() -> (Node, Node) {
    let (blog, events) = (Plan::blog(), Plan::events());
    let events = events.follow(blog.spot.authority());
    let (blog, events) = (Node::start(blog.allow(events.spot.authority())), Node::start(events));
    followed(&events, &blog);
    (blog, events)
}

#[track_caller]
fn followed(follower: &Node, node: &Node) {
    let fits = |it: &Value| it["verb"] == "Accept" && it["way"] == "received" && it["actor"] == node.actor();
    follower.activity("an Accept of its Follow", fits);
}

fn received(node: &Node, verb: &str) -> Vec<String> {
    let all = node.all("/activities").into_iter().rev();
    let fits = |it: &Value| it["way"] == "received" && it["verb"] == verb;
    all.filter(fits).map(|it| it["object"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_node_follows_at_its_start_and_hears_what_is_published() {
    let (blog, events) = blog_and_events();
    assert_eq!(blog.get("/followers").json()["first"]["orderedItems"], json!([events.actor()]));
    let made = blog.publish("Gig Night");
    let expected = format!("new from {}: Gig Night", blog.actor());
    eventually("the behaviour fires", || (events.notices() == [expected.clone()]).then_some(()));
    assert_eq!(received(&events, "Create"), [made["id"].as_str().unwrap()]);
    assert_eq!(blog.notices(), ["published: Gig Night"]);
    // The bytes are those that the blog shows.
    let activity = made["activity"].as_str().unwrap();
    let kept = events.activity("the Create", |it| it["id"] == activity);
    let path = activity.strip_prefix(&blog.base()).unwrap();
    assert_eq!(kept["activity"], blog.send(&Call::get(path)).expect(200).json());
}

#[test]
fn who_is_not_there_yet_is_followed_once_it_is() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let events = events.follow(blog.spot.authority());
    let blog = blog.allow(events.spot.authority());
    let events = Node::start(events);
    eventually("nobody answers the Follow", || {
        (events.peer(&blog.spot.authority())["failures"].as_u64() > Some(0)).then_some(())
    });
    let blog = Node::start(blog);
    followed(&events, &blog);
    let follows = blog.all("/activities").iter().filter(|it| it["verb"] == "Follow").count();
    assert_eq!(follows, 1, "the Follow that waited is the one that arrives");
}

#[test]
fn an_allocate_comes_back_with_what_was_made_of_it() {
    let (blog, events) = blog_and_events();
    blog.publish("Gig Night");
    let allocate = |calendar: &str| {
        let target = format!("/gig-night/allocate?calendar={calendar}&to={}", events.authority());
        blog.send(&Call::post(&target).token(&blog.token).key(calendar)).expect(202).json()
    };
    let first = allocate("main");
    assert_eq!(allocate("main"), first);
    allocate("none");
    let allocations =
        || blog.get("/gig-night").expect(200).json()["allocations"].as_array().cloned().unwrap_or_default();
    let answered = || allocations().iter().all(|one| !one["accepted"].is_null());
    eventually("both are answered", || answered().then_some(()));
    let mut told = allocations();
    told.sort_by_key(|one| one["target"].to_string());
    assert_eq!(
        (&told[0]["accepted"], &told[0]["result"]),
        (&json!(true), &json!(format!("{}/gig-night", events.base())))
    );
    assert_eq!((&told[1]["accepted"], &told[1]["result"]), (&json!(false), &Value::Null));
    assert_eq!((told.len(), told[0]["activity"] == first["activity"]), (2, true));
    let event = events.get("/gig-night").expect(200).json();
    assert_eq!((&event["type"], &event["about"]), (&json!("Event"), &json!(format!("{}/gig-night", blog.base()))));
    // Without a token nobody sees with whom the blog deals.
    let open = blog.send(&Call::get("/gig-night").accept("application/json")).expect(200).json();
    assert!(open["allocations"].is_null(), "{open}");
}

#[test]
fn two_followers_behind_one_shared_inbox_get_one_delivery() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    let actors = ["one", "two", "three"].map(|name| format!("{}/{name}", peer.base()));
    let (base, shared) = (peer.document(), format!("{}/inbox", peer.base()));
    peer.documents(move |got| {
        let mut document = base.clone();
        let id = document["id"].as_str().unwrap().replace("/actor", &got.target);
        let text = document.to_string().replace(document["id"].as_str().unwrap(), &id);
        document = serde_json::from_str(&text).unwrap();
        document["inbox"] = format!("{id}/inbox").into();
        document["endpoints"]["sharedInbox"] = shared.clone().into();
        Reply::json(&document)
    });
    for actor in &actors {
        let mut follow = peer.activity("Follow", node.actor().into());
        follow["actor"] = actor.as_str().into();
        let signed = peer.sign(&node, &follow).change(|it| it.key_id = format!("{actor}#ed25519"));
        signed.send(&node).expect(202);
        let accept = peer.awaits("Accept", follow["id"].as_str());
        assert_eq!(accept["to"], json!([actor]));
    }
    let made = node.publish("Gig");
    // One of the three is named besides, which is no second delivery either.
    let named = json!({ "title": "Named", "to": [actors[1]] });
    let named = node.post("/api/objects/article", &named).expect(201).json();
    for made in [&made, &named] {
        peer.awaits("Create", made["id"].as_str());
    }
    node.settle();
    let creates: Vec<_> = peer.got().into_iter().filter(|got| got.target == "/inbox").collect();
    assert_eq!(creates.len(), 2, "{:?}", peer.activities());
    peer.all_signed_by(&node);
}

#[test]
fn who_is_named_gets_it_without_following_and_only_they_when_it_is_direct() {
    let (follower, named) = (Peer::start(), Peer::start());
    let node = Node::start(Plan::blog().allow(follower.authority()).allow(named.authority()));
    follower.follows(&node);
    let publish = |title: &str, more: Value| {
        let mut body = json!({ "title": title, "to": [named.authority()] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node.post("/api/objects/article", &body).expect(201).json()
    };
    let open = publish("open", json!({}));
    let direct = publish("direct", json!({ "visibility": "direct" }));
    for made in [&open, &direct] {
        named.awaits("Create", made["id"].as_str());
    }
    follower.awaits("Create", open["id"].as_str());
    node.settle();
    let about_direct = |it: &Value| it["object"]["id"] == direct["id"];
    assert!(!follower.activities().iter().any(about_direct));
    let letter = named.activities().into_iter().find(about_direct).unwrap();
    assert!(!letter.to_string().contains("#Public"), "{letter}");
}

#[test]
fn what_was_received_is_never_sent_on() {
    let (blog, middle, last) = (Plan::blog(), Plan::events(), Plan::events());
    let (at_blog, at_middle, at_last) = (blog.spot.authority(), middle.spot.authority(), last.spot.authority());
    let blog = Node::start(blog.allow(&at_middle).allow(&at_last));
    let middle = Node::start(middle.follow(&at_blog).allow(&at_last));
    let last = Node::start(last.follow(&at_middle).allow(&at_blog));
    followed(&middle, &blog);
    followed(&last, &middle);
    let made = blog.publish("Gig");
    eventually("the middle has it", || (middle.notices().len() == 1).then_some(()));
    // Something of its own arrives after, so that there was time for what must not come.
    blog.send(&Call::post(&format!("/gig/allocate?calendar=main&to={at_middle}")).token(&blog.token)).expect(202);
    let event = format!("{}/gig", middle.base());
    last.activity("the event of the middle", |it| it["way"] == "received" && it["object"] == event.as_str());
    assert!(!last.all("/activities").iter().any(|it| it["object"] == made["id"] || it["actor"] == blog.actor()));
    assert_eq!(last.notices(), [""; 0]);
    let outbox = middle.send(&Call::get("/outbox")).expect(200).json();
    assert!(!outbox.to_string().contains(made["activity"].as_str().unwrap()), "{outbox}");
}

#[test]
fn a_peer_that_is_down_costs_the_publisher_nothing_and_misses_nothing() {
    let (blog, events) = blog_and_events();
    events.kill();
    let titles: Vec<String> = (0..5).map(|n| format!("article {n}")).collect();
    for title in &titles {
        let made = blog.publish(title);
        let slug = made["slug"].as_str().unwrap();
        for n in 1..=3 {
            let patch = Call::new("PATCH", &format!("/api/objects/article/{slug}")).token(&blog.token);
            blog.send(&patch.json(&json!({ "content": format!("version {n}") }))).expect(200);
        }
    }
    eventually("the backlog waits", || (blog.peer(&events.authority())["queued"] == 20).then_some(()));
    // The blog is killed as well: what it owes is on disk.
    blog.kill();
    blog.restart();
    events.restart();
    eventually("the backlog arrives by itself", || (received(&events, "Update").len() == 15).then_some(()));
    eventually("nothing waits", || (blog.peer(&events.authority())["queued"] == 0).then_some(()));
    let log: Vec<Value> = events.all("/activities").into_iter().rev().filter(|it| it["way"] == "received").collect();
    for title in &titles {
        let id = format!("{}/{}", blog.base(), title.replace(' ', "-"));
        let about: Vec<&Value> = log.iter().filter(|it| it["object"] == id.as_str()).collect();
        let verbs: Vec<&str> = about.iter().map(|it| it["verb"].as_str().unwrap()).collect();
        assert_eq!(verbs, ["Create", "Update", "Update", "Update"], "{id}");
        let versions = about[1..].iter().map(|it| it["activity"]["object"]["source"]["content"].as_str().unwrap());
        assert_eq!(versions.collect::<Vec<_>>(), ["version 1", "version 2", "version 3"], "{id}");
    }
    events.settle();
    let mut notices = events.notices();
    notices.sort();
    let expected: Vec<String> = titles.iter().map(|title| format!("new from {}: {title}", blog.actor())).collect();
    assert_eq!(notices, expected, "each behaviour fires once");
}

#[test]
fn nothing_about_an_object_overtakes_what_was_before() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    peer.follows(&node);
    // The first three posts of each object fail in different ways.
    let tries = parking_lot::Mutex::new(std::collections::BTreeMap::<String, u32>::new());
    peer.answers(move |got| {
        let id = serde_json::from_slice::<Value>(&got.body).unwrap()["id"].to_string();
        let mut tries = tries.lock();
        let tried = tries.entry(id).or_insert(0);
        *tried += 1;
        Reply::status([503, 500, 429][usize::try_from(*tried).unwrap() % 3].min(if *tried > 2 { 202 } else { 600 }))
    });
    for title in ["a", "b", "c"] {
        let slug = node.publish(title)["slug"].as_str().unwrap().to_owned();
        let target = format!("/api/objects/article/{slug}");
        node.send(&Call::new("PATCH", &target).token(&node.token).json(&json!({ "content": "x" }))).expect(200);
        node.send(&Call::new("DELETE", &target).token(&node.token)).expect(200);
    }
    eventually("all arrives", || (node.peer(&peer.authority())["queued"] == 0).then_some(()));
    for slug in ["a", "b", "c"] {
        let id = format!("{}/{slug}", node.base());
        let mut verbs: Vec<String> = Vec::new();
        for activity in peer.activities().iter().filter(|it| it["object"]["id"] == id.as_str()) {
            verbs.push(activity["type"].as_str().unwrap().to_owned());
        }
        verbs.dedup();
        assert_eq!(verbs, ["Create", "Update", "Delete"], "{id}");
    }
}

#[test]
fn who_is_not_followed_any_more_sends_nothing() {
    let (blog, events) = blog_and_events();
    let unfollow = Call::new("DELETE", &format!("/api/follow?peer={}", blog.authority())).token(&events.token);
    events.send(&unfollow).expect(202);
    eventually("the follower is gone", || {
        (blog.get("/followers").json()["first"]["orderedItems"] == json!([])).then_some(())
    });
    blog.publish("Gig");
    blog.settle();
    assert_eq!(
        (received(&events, "Create").len(), events.get("/following").json()["first"]["orderedItems"].clone()),
        (0, json!([]))
    );
    // And again, and it hears again.
    events.post("/api/follow", &json!({ "peer": blog.authority() })).expect(202);
    eventually("it follows again", || {
        (blog.get("/followers").json()["first"]["orderedItems"] == json!([events.actor()])).then_some(())
    });
    blog.publish("Second");
    eventually("it hears again", || (received(&events, "Create").len() == 1).then_some(()));
}

#[test]
fn a_node_that_asks_before_it_accepts_waits_for_a_person() {
    let (one, two) = (Peer::start(), Peer::start());
    let plan = Plan::blog().edit("accept = \"all\"", "accept = \"ask\"");
    let node = Node::start(plan.allow(one.authority()).allow(two.authority()));
    for peer in [&one, &two] {
        peer.sends(&node, &peer.activity("Follow", node.actor().into()), "taken");
    }
    let asked = || node.all("/admin/followers?status=asked");
    eventually("both are listed", || (asked().len() == 2).then_some(()));
    assert_eq!(node.get("/followers").json()["first"]["orderedItems"], json!([]));
    assert_eq!(node.get("/followers").json()["totalItems"], 0, "who only asked is nobody's business");
    node.publish("Before");
    node.admin("POST", &format!("/admin/followers/accept?actor={}", one.actor())).expect(200);
    node.admin("POST", &format!("/admin/followers/reject?actor={}", two.actor())).expect(200);
    one.awaits("Accept", None);
    two.awaits("Reject", None);
    let made = node.publish("After");
    one.awaits("Create", made["id"].as_str());
    node.settle();
    assert_eq!(asked().len(), 0);
    let creates = |peer: &Peer| peer.activities().iter().filter(|it| it["type"] == "Create").count();
    assert_eq!((creates(&one), creates(&two)), (1, 0));
    node.unchanged(|| {
        node.admin("POST", "/admin/followers/accept?actor=b.example").refused_with(404, "not asked");
        node.admin("POST", "/admin/followers/juggle?actor=b.example").refused(404);
        node.admin("POST", "/admin/followers/accept").refused_with(400, "actor");
    });
}

#[test]
fn an_account_is_followed_by_its_name_and_one_that_nobody_has_is_not() {
    let (blog, events) = (Plan::blog(), Plan::events());
    let (there, here) = (blog.spot.authority(), events.spot.authority());
    let (blog, events) = (Node::start(blog.allow(here)), Node::start(events.allow(&there)));
    events.unchanged(|| {
        events.run(&["follow", &format!("@nobody@{there}")]).refused(&["answers 404", "nobody@"]);
        events.run(&["follow", "@blog@"]).refused(&["write @name@host"]);
        events.run(&["follow", "@blog@127.0.0.9:1"]).refused(&["could not be asked", "[fetch] allow"]);
    });
    events.run(&["follow", &format!("@blog@{there}")]).done();
    followed(&events, &blog);
    events.run(&["unfollow", &format!("@blog@{there}")]).done();
    eventually("it follows no more", || {
        (blog.get("/followers").json()["first"]["orderedItems"] == json!([])).then_some(())
    });
}

#[test]
fn the_way_to_a_peer_is_walked_with_a_verdict_for_each_step() {
    let (peer, silent) = (Peer::start(), Peer::start());
    let plan = Plan::blog().allow(peer.authority()).allow(silent.authority()).allow("127.0.0.9:1");
    let (other, blog) = (Plan::events(), plan);
    let there = other.spot.authority();
    let (other, blog) = (other.allow(blog.spot.authority()), blog.allow(&there));
    let (other, blog) = (Node::start(other), Node::start(blog));
    let whole = blog.run(&["peers", "check", &format!("@events@{there}"), "--json"]).done().json();
    assert_eq!(whole["verdict"], "good", "{whole}");
    let steps: Vec<_> = whole["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(json!(steps), json!(["actor", "keys", "webfinger", "clock", "delivery"]));
    other.settle();
    assert!(other.all("/activities").iter().all(|it| it["way"] == "made"), "a check leaves nothing there");
    // Its inbox says no: the reason is handed on, with what to do.
    peer.answers(|_| Reply::status(403));
    let refused = blog.run(&["peer", "check", &peer.authority()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.contains("answers 403") && refused.out.contains("can be read from there"), "{refused:?}");
    silent.documents(|_| Reply::status(410));
    assert!(blog.run(&["peers", "check", &silent.authority()]).out.contains("answers 410"));
    assert!(blog.run(&["peers", "check", "127.0.0.9:1"]).out.contains("no connection"));
    blog.run(&["peers", "check", "no peer"]).refused(&["is no peer"]);
    blog.run(&["blocks", "add", &peer.address.ip().to_string()]).done();
    assert!(blog.run(&["peers", "check", &peer.authority()]).out.contains("is blocked here"));
}

#[test]
fn one_activity_is_shown_with_its_signature_what_it_set_off_and_who_has_it() {
    let (blog, events) = blog_and_events();
    let made = blog.publish("Gig Night");
    let activity = made["activity"].as_str().unwrap();
    eventually("the behaviour fires", || (!events.notices().is_empty()).then_some(()));
    let here = eventually("it is delivered", || {
        let shown = blog.run(&["activity", "show", activity, "--json"]).done().json();
        (shown["deliveries"]["delivered"] == 1).then_some(shown)
    });
    assert_eq!((&here["way"], &here["signed"]), (&json!("made"), &json!(null)));
    let there = events.run(&["activities", "show", activity, "--json"]).done().json();
    assert_eq!(there["signed"]["form"], "RFC 9421", "{there}");
    assert!(there["signed"]["key_id"].as_str().unwrap().starts_with(&blog.actor()), "{there}");
    let flow = there["flow"].as_str().unwrap();
    events.run(&["flows", "show", flow]).done();
    let shown = events.run(&["activities", "show", there["ulid"].as_str().unwrap()]).done().out;
    assert!(shown.contains("RFC 9421 with") && shown.contains(flow), "{shown}");
    events.run(&["activities", "show", "https://b.example/none"]).refused(&["no activity"]);
}
