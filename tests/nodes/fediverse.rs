//! What other servers of the fediverse look for in a node, and what they send to it besides what nodes send.

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Node, Plan, eventually, within};
use crate::http::Call;
use crate::peer::{Peer, Reply};

const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

fn blog_and_peer() -> (Node, Peer) {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()));
    (node, peer)
}

/// As strangers see it.
fn seen(node: &Node, path: &str) -> Value {
    node.send(&Call::get(path).accept("application/activity+json")).expect(200).json()
}

fn counts(node: &Node, path: &str) -> Value {
    let object = seen(node, path);
    json!(["likes", "shares", "replies"].map(|word| object[word]["totalItems"].clone()))
}

fn encoded(id: &str) -> String {
    id.replace(':', "%3A").replace('/', "%2F")
}

#[test]
fn likes_shares_and_replies_are_counted_and_taken_back() {
    let (node, peer) = blog_and_peer();
    let made = node.publish("Gig Night");
    let gig = made["id"].as_str().unwrap();
    assert_eq!(counts(&node, "/gig-night"), json!([0, 0, 0]));
    let (like, share) = (peer.activity("Like", gig.into()), peer.activity("Announce", gig.into()));
    let note = json!({
        "id": peer.new_id("notes"), "type": "Note", "attributedTo": peer.actor(), "inReplyTo": gig,
        "content": "<p>I come.</p>",
    });
    let mut reply = peer.activity("Create", note.clone());
    reply["to"] = json!([PUBLIC]);
    for activity in [&like, &share, &reply] {
        peer.sends(&node, activity, "taken");
        peer.sends(&node, activity, "repeated");
    }
    eventually("all are counted", || (counts(&node, "/gig-night") == json!([1, 1, 1])).then_some(()));
    let replies = seen(&node, "/replies/gig-night");
    assert_eq!((&replies["totalItems"], &replies["first"]["orderedItems"]), (&json!(1), &json!([note["id"]])));
    let likes = seen(&node, "/likes/gig-night");
    assert_eq!(
        (&likes["totalItems"], &likes["first"], &likes["type"]),
        (&json!(1), &Value::Null, &json!("OrderedCollection"))
    );
    let page = node.send(&Call::get("/gig-night").accept("text/html")).expect(200).text();
    assert!(page.contains("1 likes") && page.contains("1 replies"), "{page}");

    for activity in [&like, &share] {
        peer.sends(&node, &peer.activity("Undo", activity.clone()), "taken");
    }
    let gone = json!({ "id": note["id"], "type": "Tombstone" });
    peer.sends(&node, &peer.activity("Delete", gone), "taken");
    eventually("none is left", || (counts(&node, "/gig-night") == json!([0, 0, 0])).then_some(()));

    // Of what is not here, and of what is not for them, there is nothing to like.
    peer.sends(&node, &peer.activity("Like", format!("{}/none", node.base()).into()), "ignored");
    let hidden = node.post("/api/objects/article", &json!({ "title": "Friends", "visibility": "followers" })).json();
    peer.sends(&node, &peer.activity("Like", hidden["id"].clone()), "ignored");
    node.send(&Call::get("/likes/friends")).refused(404);
    node.send(&Call::get("/likes/none")).refused(404);
}

#[test]
fn what_is_counted_survives_a_kill() {
    let (node, peer) = blog_and_peer();
    let made = node.publish("Gig Night");
    peer.sends(&node, &peer.activity("Like", made["id"].clone()), "taken");
    node.kill();
    node.spawn();
    node.wait_ready();
    eventually("it is counted", || (counts(&node, "/gig-night") == json!([1, 0, 0])).then_some(()));
}

#[test]
fn an_account_that_moves_is_followed_where_it_is_when_both_say_so() {
    let (old, new, thief) = (Peer::start(), Peer::start(), Peer::start());
    let plan = [&old, &new, &thief].into_iter().fold(Plan::events(), |plan, peer| plan.allow(peer.authority()));
    let node = Node::start(plan);
    old.is_followed_by(&node);
    let mut moves = old.activity("Move", old.actor().into());
    moves["target"] = thief.actor().into();
    old.sends(&node, &moves, "taken");
    eventually("it is not believed", || {
        let following = node.admin("GET", &format!("/admin/actors/following/{}", encoded(&old.actor()))).json();
        following["value"]["last_error"].as_str().is_some_and(|error| error.contains("alsoKnownAs")).then_some(())
    });
    assert_eq!(seen(&node, "/following")["first"]["orderedItems"], json!([old.actor()]));

    let mut document = new.document();
    document["alsoKnownAs"] = json!([old.actor()]);
    new.documents(move |_| Reply::json(&document));
    let mut moves = old.activity("Move", old.actor().into());
    moves["target"] = new.actor().into();
    old.sends(&node, &moves, "taken");
    // It has one account asked a minute.
    let undone = || old.activities().into_iter().find(|activity| activity["type"] == "Undo");
    assert!(within(2 * DEADLINE, undone).is_some(), "no Undo arrives");
    new.accepts_follow(&node);
    assert_eq!(seen(&node, "/following")["first"]["orderedItems"], json!([new.actor()]));
    assert_eq!(thief.activities(), [Value::Null; 0]);
}

#[test]
fn an_account_that_is_deleted_is_gone_from_both_lists() {
    let (node, peer) = blog_and_peer();
    peer.is_followed_by(&node);
    peer.follows(&node);
    peer.sends(&node, &peer.activity("Delete", peer.actor().into()), "taken");
    for list in ["/followers", "/following"] {
        eventually("it is gone", || (seen(&node, list)["first"]["orderedItems"] == json!([])).then_some(()));
    }
    peer.sends(&node, &peer.activity("Delete", peer.actor().into()), "ignored");
}

#[test]
fn who_undoes_a_follow_as_lemmy_does_follows_no_more_and_may_follow_again() {
    let (node, peer) = blog_and_peer();
    let undo = || {
        let follow = peer.activity("Follow", node.actor().into());
        peer.sends(&node, &peer.activity("Undo", follow), "taken");
    };
    undo();
    node.settle();
    for _ in 0..2 {
        peer.follows(&node);
        assert_eq!(seen(&node, "/followers")["first"]["orderedItems"], json!([peer.actor()]));
        undo();
        eventually("it is gone", || (seen(&node, "/followers")["first"]["orderedItems"] == json!([])).then_some(()));
    }
}

#[test]
fn whom_a_peer_refuses_to_have_as_a_follower_hears_nothing_more_of_it_and_may_ask_again() {
    let (node, peer) = blog_and_peer();
    let ask = || node.post("/api/follow", &json!({ "peer": peer.authority() })).expect(202).json();
    ask();
    let follow = peer.awaits("Follow", None);
    // Only its own word on the very Follow counts.
    peer.send(&node, &peer.activity("Reject", json!(format!("{}/activities/none", node.base())))).refused(403);
    peer.sends(&node, &peer.activity("Reject", follow["id"].clone()), "taken");
    eventually("it is refused", || {
        let state = node.run(&["inspect", "following", &peer.actor(), "--json"]).done().out;
        state.contains("\"rejected\"").then_some(())
    });
    assert_eq!(seen(&node, "/following")["first"]["orderedItems"], json!([]));
    peer.sends(&node, &peer.create("Gig Night"), "ignored");
    // The first answer counts.
    peer.sends(&node, &peer.activity("Accept", follow["id"].clone()), "taken");
    node.settle();
    assert_eq!(seen(&node, "/following")["first"]["orderedItems"], json!([]));
    assert_eq!(ask()["status"], "asked", "somebody asks again");
    let again = eventually("another Follow", || {
        let mut follows = peer.activities().into_iter().filter(|activity| activity["type"] == "Follow");
        follows.next_back().filter(|last| last["id"] != follow["id"])
    });
    peer.sends(&node, &peer.activity("Accept", again["id"].clone()), "taken");
    eventually("it follows", || {
        (seen(&node, "/following")["first"]["orderedItems"] == json!([peer.actor()])).then_some(())
    });
}

#[test]
fn what_is_for_followers_goes_to_them_and_says_so() {
    let (follower, named, other) = (Peer::start(), Peer::start(), Peer::start());
    let node = Node::start(
        [&follower, &named, &other].into_iter().fold(Plan::blog(), |plan, peer| plan.allow(peer.authority())),
    );
    follower.follows(&node);
    let body = json!({ "title": "friends", "visibility": "followers", "to": [named.actor()] });
    let made = node.post("/api/objects/article", &body).expect(201).json();
    let followers = format!("{}/followers", node.base());
    for peer in [&follower, &named] {
        let create = peer.awaits("Create", made["id"].as_str());
        for addressed in [&create, &create["object"]] {
            let all = [&addressed["to"], &addressed["cc"]].map(|list| list.as_array().cloned().unwrap_or_default());
            let all = all.concat();
            assert!(all.contains(&json!(followers)) && all.contains(&json!(named.actor())), "{addressed}");
            assert!(!all.contains(&json!(PUBLIC)), "{addressed}");
        }
    }
    node.settle();
    assert_eq!(other.activities(), Vec::<Value>::new());
    node.send(&Call::new("DELETE", "/api/objects/article/friends").token(&node.token).key("d")).expect(200);
    for peer in [&follower, &named] {
        peer.awaits("Delete", made["id"].as_str());
    }
}

/// The paths at which posts about something came in, first to last.
fn posted_to(peer: &Peer, about: &str) -> Vec<String> {
    let is_about = |got: &crate::proof::Got| String::from_utf8_lossy(&got.body).contains(about);
    peer.got().into_iter().filter(|got| got.method == "POST" && is_about(got)).map(|got| got.target).collect()
}

#[test]
fn who_changes_its_inbox_gets_its_mail_there_as_its_own_document_says() {
    let (node, peer) = blog_and_peer();
    peer.is_followed_by(&node);
    peer.follows(&node);
    let mut document = peer.document();
    document["inbox"] = format!("{}/moved", peer.base()).into();
    document["endpoints"]["sharedInbox"] = format!("{}/shared", peer.base()).into();
    peer.documents(move |_| Reply::json(&document));
    peer.sends(&node, &peer.activity("Update", peer.actor().into()), "taken");
    node.settle();
    let made = node.publish("Gig Night");
    peer.awaits("Create", made["id"].as_str());
    assert_eq!(posted_to(&peer, "/gig-night"), ["/shared"]);
    let accepts = peer.activities().into_iter().filter(|activity| activity["type"] == "Accept").count();
    assert_eq!(accepts, 1, "it is not accepted again");
    // Whom the node follows is told where its document says as well.
    node.run(&["unfollow", &peer.actor()]).done();
    peer.awaits("Undo", None);
    assert_eq!(posted_to(&peer, "\"Undo\""), ["/moved"]);
}

#[test]
fn an_inbox_that_stands_in_an_update_only_is_nobodys() {
    let (victim, stranger) = (Peer::start(), Peer::start());
    let peer = Peer::start();
    let plan = [&peer, &victim, &stranger].into_iter().fold(Plan::blog(), |plan, peer| plan.allow(peer.authority()));
    let node = Node::start(plan);
    peer.follows(&node);
    let mut false_document = victim.document();
    false_document["id"] = peer.actor().into();
    let before = peer.got().len();
    for _ in 0..20 {
        peer.sends(&node, &peer.activity("Update", false_document.clone()), "taken");
    }
    // Nobody has another one looked at, and of whom nobody here has to do with nothing is.
    peer.send(&node, &peer.activity("Update", victim.document())).refused(403);
    stranger.sends(&node, &stranger.activity("Update", stranger.actor().into()), "ignored");
    let looked = stranger.got().len();
    stranger.sends(&node, &stranger.activity("Update", stranger.actor().into()), "ignored");
    assert!(stranger.got().len() <= looked + 1);
    eventually("its document is looked at", || (peer.got().len() > before).then_some(()));
    let made = node.publish("Gig Night");
    peer.awaits("Create", made["id"].as_str());
    assert_eq!(posted_to(&peer, "/gig-night"), ["/inbox"]);
    let asked = peer.got().iter().filter(|got| got.method == "GET").count();
    assert!(asked <= 2, "{asked} fetches");
    assert_eq!(victim.connections(), 0);
}

#[test]
fn an_article_is_shown_as_others_read_it() {
    let (node, peer) = blog_and_peer();
    peer.follows(&node);
    let body = json!({
        "title": "Gig Night", "content": "Three *bands*. <script>alert(1)</script>",
        "summary": "Bring <friends>", "image": "https://cdn.example/poster.png", "start": "2026-12-01T20:00:00Z",
    });
    node.post("/api/objects/article", &body).expect(201);
    let sent = peer.awaits("Create", Some(&format!("{}/gig-night", node.base())))["object"].clone();
    assert_eq!(sent["content"], "<p>Three <em>bands</em>. </p>\n");
    assert_eq!(sent["source"], json!({ "content": body["content"], "mediaType": "text/markdown" }));
    assert_eq!((&sent["name"], &sent["summary"]), (&json!("Gig Night"), &json!("Bring &lt;friends&gt;")));
    let image = json!([{ "type": "Image", "url": "https://cdn.example/poster.png", "mediaType": "image/png" }]);
    assert_eq!((&sent["attachment"], &sent["startTime"]), (&image, &body["start"]));
    let followers = format!("{}/followers", node.base());
    assert_eq!((&sent["to"], &sent["cc"]), (&json!([PUBLIC]), &json!([followers])));
    let shown = seen(&node, "/gig-night");
    for word in ["content", "attachment", "to", "cc", "url", "published", "attributedTo"] {
        assert_eq!(shown[word], sent[word], "{word}");
    }
    let page = node.send(&Call::get("/gig-night").accept("text/html")).expect(200).text();
    assert!(page.contains("<em>bands</em>") && !page.contains("<script>"), "{page}");
}

#[test]
fn who_was_named_hears_of_changes_and_of_the_end_as_well() {
    let (node, peer) = blog_and_peer();
    let body = json!({ "title": "Letter", "visibility": "direct", "to": [peer.authority()] });
    let made = node.post("/api/objects/article", &body).expect(201).json();
    let id = made["id"].as_str();
    peer.awaits("Create", id);
    node.send(
        &Call::new("PATCH", "/api/objects/article/letter").token(&node.token).key("1").json(&json!({ "title": "New" })),
    )
    .expect(200);
    assert_eq!(peer.awaits("Update", id)["object"]["name"], "New");
    node.send(&Call::new("DELETE", "/api/objects/article/letter").token(&node.token).key("2")).expect(200);
    assert_eq!(peer.awaits("Delete", id)["object"]["type"], "Tombstone");
}

#[test]
fn an_allocate_says_to_others_that_it_is_an_offer() {
    let (node, peer) = blog_and_peer();
    node.publish("Gig Night");
    let target = format!("/gig-night/allocate?calendar=main&to={}", peer.authority());
    node.send(&Call::post(&target).token(&node.token).key("1")).expect(202);
    let allocate = peer.awaits("Allocate", None);
    assert_eq!(allocate["type"], json!(["Allocate", "Offer"]));
    assert_eq!(allocate["@context"][1]["Allocate"], "urn:quickbeam:ns#Allocate");
}

#[test]
fn lists_come_in_pages_that_say_of_what_they_are_a_part() {
    let (node, peer) = blog_and_peer();
    for title in ["One", "Two", "Three"] {
        node.publish(title);
    }
    peer.follows(&node);
    let whole = seen(&node, "/outbox?limit=2");
    assert_eq!((&whole["id"], &whole["totalItems"]), (&json!(format!("{}/outbox", node.base())), &Value::Null));
    let (mut page, mut found) = (whole["first"].clone(), Vec::new());
    loop {
        assert_eq!((&page["type"], &page["partOf"]), (&json!("OrderedCollectionPage"), &whole["id"]));
        let items = page["orderedItems"].as_array().unwrap();
        assert!(items.len() <= 2);
        found.extend(items.iter().map(|item| item["object"]["name"].clone()).filter(|name| !name.is_null()));
        let Some(next) = page["next"].as_str() else { break };
        let next = next.strip_prefix(&node.base()).unwrap().to_owned();
        page = seen(&node, &next);
        assert_eq!(page["id"], format!("{}{next}", node.base()));
    }
    assert_eq!(found, ["Three", "Two", "One"]);
    let followers = seen(&node, "/followers");
    assert_eq!((&followers["totalItems"], &followers["first"]["orderedItems"]), (&json!(1), &json!([peer.actor()])));
}

#[test]
fn a_node_may_keep_to_itself_whom_it_deals_with() {
    let peer = Peer::start();
    let node = Node::start(Plan::blog().allow(peer.authority()).more("[federation]\nhide_network = true\n"));
    peer.follows(&node);
    let followers = seen(&node, "/followers");
    assert_eq!((&followers["totalItems"], &followers["first"]), (&json!(1), &Value::Null));
    node.send(&Call::get("/followers?after=abc")).refused_with(404, "totalItems");
}

#[test]
fn a_node_says_what_it_is_and_how_it_looks() {
    let plain = Node::start(Plan::blog());
    let actor = seen(&plain, "/actor");
    assert_eq!((&actor["type"], &actor["summary"], &actor["icon"]), (&json!("Service"), &Value::Null, &Value::Null));
    let person = Plan::blog().edit(
        "[node]\n",
        "[node]\nactor = \"Person\"\nsummary = \"Bands & <barns>\"\nicon = \"https://cdn.example/face.png\"\n",
    );
    let actor = seen(&Node::start(person), "/actor");
    assert_eq!((&actor["type"], &actor["icon"]["url"]), (&json!("Person"), &json!("https://cdn.example/face.png")));
    assert!(actor["summary"].as_str().is_some_and(|it| it.contains("&amp;") && !it.contains('<')), "{actor}");
}

#[test]
fn a_node_is_found_by_those_who_ask_where_to_ask() {
    let (node, _) = blog_and_peer();
    let xml = node.get("/.well-known/host-meta").expect(200);
    assert_eq!(xml.header("content-type"), Some("application/xrd+xml; charset=utf-8"));
    let template = format!("{}/.well-known/webfinger?resource={{uri}}", node.base());
    assert!(xml.text().contains(&template), "{xml}");
    let json = node.get("/.well-known/host-meta.json").expect(200);
    assert_eq!(json.json()["links"][0]["template"], template);
    let asked = template.replace("{uri}", &format!("acct:blog@{}", node.authority()));
    let found = node.get(asked.strip_prefix(&node.base()).unwrap()).expect(200).json();
    assert_eq!(found["links"][0]["href"], node.actor());
    let info = node.get("/nodeinfo/2.1").expect(200);
    assert_eq!(
        info.header("content-type"),
        Some("application/json; profile=\"http://nodeinfo.diaspora.software/ns/schema/2.1#\"")
    );
    assert_eq!(info.json()["usage"]["users"]["total"], 1);
}
