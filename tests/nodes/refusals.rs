//! Requests of programs that a node refuses: what is wrong is said with its status, and nothing is changed by it.

use serde_json::{Value, json};

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};

fn blog() -> Node {
    Node::start(Plan::blog())
}

fn create(body: &Value) -> Call {
    Call::post("/api/objects/article").json(body)
}

#[test]
fn bodies_that_cannot_be_read_are_refused() {
    let node = Node::start(Plan::blog().limit("body = \"2 KiB\""));
    let send = |call: Call| node.send(&call.token(&node.token));
    let post = || Call::post("/api/objects/article").header("content-type", "application/json");
    node.unchanged(|| {
        send(post().body("this is not JSON")).refused_with(400, "cannot be read");
        send(post()).refused(400);
        send(post().body("[]")).refused_with(400, "object");
        send(post().body(r#"{"title": "a", "title": "b"}"#)).refused_with(400, "title");
        send(post().body(format!("{{\"title\": {}{}}}", "[".repeat(70), "]".repeat(70)))).refused(400);
        send(create(&json!({ "title": "x".repeat(3_000) }))).refused_with(413, "2048");
        let start = Call::post("/flow/start/publish").key("a").body("{\"a\":1,\"a\":2}");
        send(start).refused_with(400, "cannot be read");
        send(Call::post("/api/follow").body("{\"peer\": 7}")).refused(400);
        send(Call::post("/api/follow").body("{\"peer\": \"b.example\", \"pear\": 1}")).refused_with(400, "pear");
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let node = Node::start(Plan::blog().limit("body_timeout = \"300ms\""));
    let peer = crate::peer::Peer::start();
    for target in ["/api/objects/article", "/inbox"] {
        let call = Call::post(target).token(&node.token).header("content-length", "100").body("{\"title\":");
        node.unchanged(|| node.send(&call).refused_with(408, "did not come"));
    }
    drop(peer);
}

#[test]
fn a_host_that_is_not_this_node_is_refused() {
    let node = blog();
    for host in ["evil.example", "localhost", "", "127.0.0.1"] {
        node.send(&Call::get("/actor").header("host", host)).refused_with(421, &node.authority());
    }
    node.send(&Call::get("/actor").header("host", &node.authority())).expect(200);
}

#[test]
fn words_in_an_address_that_are_no_values_are_refused() {
    let node = blog();
    let get = |target: &str| node.get(target);
    get("/activities?limit=many").refused_with(400, "query");
    get("/activities?after=%21").refused_with(400, "after");
    get("/?limit=-1").refused(400);
    get("/flows?state=asleep").refused_with(400, "suspended");
    node.admin("GET", "/admin/actors?kind=robot").refused_with(400, "follower");
    node.admin("GET", "/admin/actors?state=asleep").refused_with(400, "suspended");
    node.admin("GET", "/admin/actors?limit=x").refused(400);
    node.send(&Call::new("DELETE", "/api/follow").token(&node.token)).refused_with(400, "peer");
    get("/.well-known/webfinger").refused_with(400, "resource");
    get("/.well-known/webfinger?resource=acct:nobody@b.example").refused(404);
}

#[test]
fn an_address_that_leads_nowhere_or_a_method_that_does_not_fit_is_refused() {
    let node = blog();
    for target in ["/nothing", "/a/b/c", "/activities/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/calendars/none", "/%00", "/%ff"] {
        node.get(target).refused(404);
    }
    for (method, target) in [("DELETE", "/inbox"), ("PUT", "/"), ("POST", "/activities"), ("PATCH", "/api/follow")] {
        let answer = node.send(&Call::new(method, target).token(&node.token));
        assert!([404, 405].contains(&answer.status), "{method} {target}: {answer}");
        answer.refused(answer.status);
    }
    for target in ["/admin/status", "/admin/tokens", "/metrics", "/admin/peers"] {
        let answer = node.send(&Call::get(target).token(&node.admin_token));
        answer.refused(404);
    }
}

#[test]
fn fields_that_do_not_fit_their_type_are_named_one_by_one() {
    let node = blog();
    let send = |body: Value| node.send(&create(&body).token(&node.token));
    let fields = |answer: &Answer| {
        answer.refused(422);
        answer.json()["errors"].as_array().cloned().unwrap_or_default()
    };
    node.unchanged(|| {
        let answer = send(json!({ "titel": "a", "category": "secret", "tags": "one" }));
        let errors = fields(&answer);
        let named: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
        for field in ["titel", "title", "category", "tags"] {
            assert!(named.contains(&field), "{field} is not named in {answer}");
        }
        assert!(answer.text().contains("did you mean `title`?"), "{answer}");
        fields(&send(json!({ "title": "x".repeat(201) })));
        fields(&send(json!({ "title": "" })));
        send(json!({ "title": "a", "visibility": "secret" })).refused_with(400, "visibility");
        send(json!({ "title": "a", "to": ["not a peer"] })).refused_with(400, "not a peer");
        send(json!({ "title": "a", "to": 7 })).refused_with(400, "`to`");
        let unknown = Call::post("/api/objects/artikel").token(&node.token).json(&json!({ "title": "a" }));
        node.send(&unknown).refused_with(404, "article");
    });
}

#[test]
fn a_slug_is_somebody_s_for_ever() {
    let node = blog();
    let send = |body: Value| node.send(&create(&body).token(&node.token));
    let first = send(json!({ "title": "Gig", "slug": "gig" })).expect(201).json();
    assert_eq!(first["id"], format!("{}/gig", node.base()));
    node.settle();
    node.unchanged(|| {
        send(json!({ "title": "Other", "slug": "gig" })).refused_with(409, "taken");
        for reserved in ["actor", "inbox", "flows", "admin", "api", "metrics", "activities"] {
            send(json!({ "title": "Other", "slug": reserved })).refused_with(409, reserved);
        }
        for wrong in ["Gig", "a b", "", "gig/2", "ä", &"x".repeat(81)] {
            send(json!({ "title": "Other", "slug": wrong })).refused_with(422, "slug");
        }
    });
    assert_eq!(send(json!({ "title": "Gig!" })).expect(201).json()["slug"], "gig-2");
    assert_eq!(send(json!({ "title": "Übermäßig schön" })).expect(201).json()["slug"], "ubermassig-schon");
    // A title that would be a page of the node's own gives another address.
    let id = send(json!({ "title": "Inbox" })).expect(201).json()["slug"].clone();
    assert_eq!(id, "inbox-2");
    let none = send(json!({ "title": "!!!" })).expect(201).json()["slug"].as_str().unwrap().to_owned();
    assert_eq!(none.len(), 26, "{none} is no ULID");

    let object = "/api/objects/article/gig";
    let delete = || node.send(&Call::new("DELETE", object).token(&node.token));
    delete().expect(200);
    node.settle();
    let gone = node.send(&Call::get("/gig").accept("application/activity+json")).expect(410).json();
    assert_eq!((&gone["type"], &gone["id"]), (&json!("Tombstone"), &first["id"]));
    node.unchanged(|| {
        delete().refused(410);
        let patch = Call::new("PATCH", object).token(&node.token).json(&json!({ "title": "Back" }));
        node.send(&patch).refused(410);
        send(json!({ "title": "Gig", "slug": "gig" })).refused_with(410, "deleted");
    });
    assert_eq!(send(json!({ "title": "Gig" })).expect(201).json()["slug"], "gig-3");
    let none = Call::new("PATCH", "/api/objects/article/none").token(&node.token).json(&json!({}));
    node.send(&none).refused(404);
}

#[test]
fn a_change_that_does_not_fit_changes_nothing() {
    let node = blog();
    node.publish("Gig");
    node.settle();
    let patch = |body: Value| node.send(&Call::new("PATCH", "/api/objects/article/gig").token(&node.token).json(&body));
    node.unchanged(|| {
        patch(json!({ "title": null })).refused(422);
        patch(json!({ "catgory": "note" })).refused_with(422, "category");
        patch(json!([])).refused(400);
    });
    patch(json!({ "content": "more" })).expect(200);
    let shown = node.get("/gig").expect(200).json();
    assert_eq!(shown["source"]["content"], "more", "{shown}");
}

#[test]
fn an_idempotency_key_stands_for_one_request() {
    let node = blog();
    let keyed = |key: &str, body: Value| node.send(&create(&body).token(&node.token).key(key));
    let first = keyed("k1", json!({ "title": "Gig" })).expect(201).json();
    node.settle();
    node.unchanged(|| {
        assert_eq!(keyed("k1", json!({ "title": "Gig" })).expect(201).json(), first);
        keyed("k1", json!({ "title": "Gig", "content": "x" })).refused_with(422, "key");
        keyed("k1", json!({ "title": "Something else" })).refused_with(422, "key");
        keyed("", json!({ "title": "Gig" })).refused_with(400, "Idempotency-Key");
        keyed(&"k".repeat(300), json!({ "title": "Gig" })).refused_with(400, "Idempotency-Key");
    });
    // A slug that is derived is the same for a repeat, whatever has happened to the first choice.
    let second = keyed("k2", json!({ "title": "Gig" })).expect(201).json();
    assert_eq!(second["slug"], "gig-2");
    let nameless = keyed("k3", json!({ "title": "?" })).expect(201).json();
    node.settle();
    node.unchanged(|| {
        assert_eq!(keyed("k2", json!({ "title": "Gig" })).expect(201).json(), second);
        assert_eq!(keyed("k3", json!({ "title": "?" })).expect(201).json(), nameless);
    });
    // Another token's key is another key.
    let other = node.new_token("other", &["publish"]);
    let made = node.send(&create(&json!({ "title": "Gig" })).token(&other).key("k1")).expect(201).json();
    assert_eq!(made["slug"], "gig-3");
    let patch = |title: &str| {
        let call = Call::new("PATCH", "/api/objects/article/gig").token(&node.token).key("p");
        node.send(&call.json(&json!({ "content": title })))
    };
    let patched = patch("a").expect(200).json();
    assert_eq!(patch("a").expect(200).json(), patched);
    patch("b").refused(422);
    let delete = || node.send(&Call::new("DELETE", "/api/objects/article/gig").token(&node.token).key("d"));
    let deleted = delete().expect(200).json();
    assert_eq!(delete().expect(200).json(), deleted);
}

#[test]
fn the_keys_of_follow_and_flows_stand_for_one_request_too() {
    let peer = crate::peer::Peer::start();
    let other = crate::peer::Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()).allow(other.authority()));
    let follow = |key: &str, peer: &str| {
        node.send(&Call::post("/api/follow").token(&node.token).key(key).json(&json!({ "peer": peer })))
    };
    let first = follow("f", &peer.authority()).expect(202).json();
    assert_eq!(follow("f", &peer.authority()).expect(202).json()["activity"], first["activity"]);
    follow("f", &other.authority()).refused_with(422, "key");
    peer.awaits("Follow", None);
    assert_eq!(other.connections(), 0);
    let start = |key: &str, text: &str| {
        let object = json!({ "object": { "id": "x", "title": text } });
        node.send(&Call::post("/flow/start/publish").token(&node.token).key(key).json(&object))
    };
    let begun = start("s", "a").expect(202).json();
    assert_eq!(start("s", "a").expect(202).json(), begun);
    start("s", "b").refused_with(422, "key");
    assert_eq!(node.all("/flows").len(), 1);
}

#[test]
fn the_same_key_at_once_has_one_effect() {
    let node = blog();
    let body = json!({ "title": "At once" });
    let call = create(&body).token(&node.token).key("once");
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let sent: Vec<_> = (0..8).map(|_| scope.spawn(|| node.send(&call))).collect();
        sent.into_iter().map(|sent| sent.join().unwrap()).collect()
    });
    // Who comes between gets the one answer, or is told to ask again.
    let made: Vec<Value> = answers.iter().filter(|it| it.status == 201).map(Answer::json).collect();
    assert!(!made.is_empty() && made.iter().all(|one| *one == made[0]), "{made:?}");
    assert!(answers.iter().all(|it| [201, 503].contains(&it.status)), "{answers:?}");
    eventually("it is noticed", || (!node.notices().is_empty()).then_some(()));
    node.settle();
    assert_eq!((node.all("/").len(), node.notices().len()), (1, 1));
}
