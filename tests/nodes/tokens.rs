//! Who may do what: tokens that are missing, wrong, over or too narrow, and pages that try to use somebody's browser.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::tokens::{Book, Scope, Wanted};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, private};
use crate::http::Call;

/// Every route of the public listener that needs a token, and the scope that it needs.
fn guarded() -> Vec<(Call, &'static str)> {
    let flow = "0123456789abcdef0123456789abcdef";
    let json = |call: Call| call.key("k").json(&json!({}));
    vec![
        (json(Call::post("/api/objects/article")), "publish"),
        (json(Call::new("PATCH", "/api/objects/article/none")), "publish"),
        (json(Call::new("DELETE", "/api/objects/article/none")), "publish"),
        (json(Call::post("/none/allocate?calendar=main&to=b.example")), "publish"),
        (json(Call::post("/api/follow")), "follow"),
        (json(Call::new("DELETE", "/api/follow?peer=b.example")), "follow"),
        (json(Call::post("/flow/start/none")), "flows:write"),
        (json(Call::post(&format!("/flow/resume/{flow}"))), "flows:write"),
        (json(Call::post(&format!("/flows/{flow}/resume"))), "flows:write"),
        (json(Call::post(&format!("/flows/{flow}/cancel"))), "flows:write"),
        (json(Call::post(&format!("/flows/{flow}/retry"))), "flows:write"),
        (Call::get(&format!("/flow/{flow}")), "flows:read"),
        (Call::get(&format!("/flows/{flow}")), "flows:read"),
        (Call::get("/flows"), "flows:read"),
        (Call::get("/api/streams/notices"), "flows:read"),
        (Call::get("/store/streams"), "store:read"),
        (Call::get("/store/streams/a"), "store:read"),
        (Call::get("/store/kv"), "store:read"),
        (Call::get("/store/kv/a"), "store:read"),
        (Call::get("/store/blobs"), "store:read"),
        (Call::get("/store/blobs/a"), "store:read"),
        (json(Call::post("/store/streams/a")), "store:write"),
        (json(Call::new("DELETE", "/store/streams/a?before=1")), "store:write"),
        (json(Call::new("PUT", "/store/kv/a")), "store:write"),
        (json(Call::new("DELETE", "/store/kv/a")), "store:write"),
        (json(Call::new("PUT", "/store/blobs/a")), "store:write"),
        (json(Call::new("DELETE", "/store/blobs/a")), "store:write"),
    ]
}

/// Every route of the administration.
fn administration() -> Vec<Call> {
    let get = ["/metrics", "/admin/status", "/admin/actors", "/admin/actors/stream/x", "/admin/peers"];
    let more = ["/admin/dead-letters", "/admin/followers", "/admin/tokens"];
    let post = [
        "/admin/actors/stream/x/retry",
        "/admin/peers/b.example/pause",
        "/admin/dead-letters/x/retry",
        "/admin/tick",
        "/admin/followers/accept?actor=b.example",
        "/admin/tokens",
    ];
    let got = get.iter().chain(&more).map(|target| Call::get(target));
    let posted = post.iter().map(|target| Call::post(target).json(&json!({ "name": "x", "scopes": ["publish"] })));
    got.chain(posted).chain([Call::new("DELETE", "/admin/tokens/test")]).collect()
}

#[test]
fn without_a_good_token_nothing_is_done() {
    let node = Node::start(Plan::blog());
    node.publish("Gig");
    node.settle();
    let unknown = format!("qb_{}", "a".repeat(43));
    node.unchanged(|| {
        for (call, scope) in guarded() {
            let answer = node.send(&call);
            answer.refused_with(401, scope);
            assert!(answer.header("www-authenticate").is_some(), "{answer}");
            node.send(&call.clone().token(&unknown)).refused_with(401, "not valid");
            node.send(&call.clone().token("")).refused(401);
            node.send(&call.clone().header("authorization", "Digest x")).refused(401);
        }
        // A wrong token is never taken for none, also where none is needed.
        for open in ["/", "/gig", "/activities"] {
            node.send(&Call::get(open).token(&unknown)).refused(401);
        }
    });
}

#[test]
fn a_token_does_what_its_scopes_say_and_no_more() {
    let node = Node::start(Plan::blog());
    node.publish("Gig");
    let scopes = ["publish", "follow", "flows:read", "flows:write", "store:read", "store:write"];
    let tokens: Vec<(&str, String)> =
        scopes.iter().map(|scope| (*scope, node.new_token(&scope.replace(':', "-"), &[scope]))).collect();
    node.settle();
    node.unchanged(|| {
        for (call, wanted) in guarded() {
            for (scope, token) in &tokens {
                let answer = node.send(&call.clone().token(token));
                if *scope == wanted {
                    assert!(![401, 403].contains(&answer.status), "{} {}: {answer}", call.method, call.target);
                    continue;
                }
                answer.refused_with(403, wanted);
            }
        }
    });
    for call in administration() {
        let before = node.everything();
        for (_, token) in &tokens {
            node.send_admin(&call.clone().token(token)).refused_with(403, "admin");
        }
        node.send_admin(&call).refused(401);
        assert_eq!(node.everything(), before);
    }
}

fn wanted<'a>(name: &'a str, expires: Option<&'a str>) -> Wanted<'a> {
    Wanted { name, scopes: &[Scope::Publish], prefix: None, expires }
}

#[test]
fn a_token_that_was_revoked_or_is_over_is_none() {
    let node = Node::start(Plan::blog());
    let token = node.new_token("short", &["publish"]);
    let create = |token: &str| node.send(&Call::post("/api/objects/article").token(token).json(&json!({"title": "a"})));
    create(&token).expect(201);
    node.admin("DELETE", "/admin/tokens/short").expect(200);
    node.settle();
    node.unchanged(|| {
        create(&token).refused(401);
        node.admin("DELETE", "/admin/tokens/short").refused_with(404, "short");
        let add = |body: Value| node.send_admin(&Call::post("/admin/tokens").token(&node.admin_token).json(&body));
        add(json!({ "name": "test", "scopes": ["publish"] })).refused_with(422, "already");
        add(json!({ "name": "none", "scopes": [] })).refused_with(422, "scope");
        add(json!({ "name": "admin", "scopes": ["admin"] })).refused(422);
        add(json!({ "name": "a b", "scopes": ["publish"] })).refused(422);
        add(json!({ "name": "x", "scopes": ["publsh"] })).refused_with(400, "publsh");
        add(json!({ "name": "x", "scopes": ["publish"], "expires": "soon" })).refused_with(422, "30d");
        add(json!({ "nam": "x", "scopes": ["publish"] })).refused_with(400, "nam");
    });
    // One whose time is over, as if it had been made long ago.
    let clock = SystemClock::default();
    let long_ago = clock.now().minus(Duration::from_secs(7_200));
    let mut book: Book = serde_json::from_slice(&std::fs::read(node.data().join("tokens.json")).unwrap()).unwrap();
    let over = book.add(&wanted("over", Some("1h")), long_ago, &[7; 32]).unwrap();
    let valid = book.add(&wanted("valid", Some("3h")), long_ago, &[8; 32]).unwrap();
    node.kill();
    private(&node.data().join("tokens.json"), &serde_json::to_vec(&book).unwrap());
    node.restart();
    create(&over).refused_with(401, "expired");
    create(&valid).expect(201);
}

#[test]
fn basic_lets_a_browser_look_and_change_nothing() {
    let node = Node::start(Plan::blog());
    let basic = format!("Basic {}", STANDARD.encode(format!("anybody:{}", node.token)));
    let page = node.send(&Call::get("/flows").header("authorization", &basic).accept("text/html")).expect(200);
    assert!(page.text().contains("<h1"), "{page}");
    let challenge = node.send(&Call::get("/flows").accept("text/html"));
    assert!(challenge.header("www-authenticate").is_some_and(|it| it.starts_with("Basic")), "{challenge}");
    node.settle();
    node.unchanged(|| {
        for (call, _) in guarded().into_iter().filter(|(call, _)| call.method != "GET") {
            node.send(&call.header("authorization", &basic)).refused(401);
        }
        let admin = format!("Basic {}", STANDARD.encode(format!("admin:{}", node.admin_token)));
        for call in administration().into_iter().filter(|call| call.method != "GET") {
            node.send_admin(&call.header("authorization", &admin)).refused(401);
        }
    });
}

#[test]
fn the_administration_takes_nothing_from_other_pages_or_under_other_names() {
    let node = Node::start(Plan::blog());
    let call = || Call::post("/admin/tick").token(&node.admin_token);
    let own = format!("http://{}", node.plan.spot.admin);
    node.unchanged(|| {
        for origin in ["http://evil.example", "null", &node.base(), "https://127.0.0.1"] {
            node.send_admin(&call().header("origin", origin)).refused_with(403, "other pages");
        }
        for site in ["cross-site", "same-site"] {
            node.send_admin(&call().header("sec-fetch-site", site)).refused_with(403, "other pages");
        }
        for host in ["evil.example", &node.authority(), "", "localhost"] {
            node.send_admin(&call().header("host", host)).refused_with(421, "[admin] hosts");
        }
    });
    node.send_admin(&call().header("origin", &own).header("sec-fetch-site", "same-origin")).expect(200);
    let localhost = format!("localhost:{}", node.plan.spot.admin.port());
    node.send_admin(&call().header("host", &localhost)).expect(200);
}
