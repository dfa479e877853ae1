//! A row that the disk has changed: its actor has failed and is named, and everybody else goes on.

use quickbeam::store::disk::{Disk, Folder};
use quickbeam::store::redb::{Options, Pages};
use quickbeam::store::{Engine, Key, RedbEngine, Span};
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, Spot, eventually};
use crate::http::Call;
use crate::peer::Peer;

const BLOCKS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("blocks");
/// In the keys of stored rows: what heads and turns of an actor begin with, and the numbers of kinds.
const AREAS: [u8; 2] = *b"he";
const OUTBOX: u8 = 4;
const STREAM: u8 = 6;
/// The number of the list of followers by actor.
const FOLLOWERS: u8 = 8;

/// Flips a bit at the end of every row from which this actor is rebuilt, while the node is down.
fn damage(node: &Node, kind: u8, key: &str) {
    flip(node, &AREAS.map(|area| Key::build().tag(area).tag(kind).text(key).done()));
}

/// Flips a bit at the end of every row below these keys, while the node is down; of rows that end alike the last one in
/// its block.
fn flip(node: &Node, prefixes: &[Key]) {
    let store = node.data().join("store");
    let engine = RedbEngine::open(&store, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.checkpoint()).unwrap();
    let rows =
        prefixes.iter().flat_map(|prefix| runtime.block_on(engine.range(Span::prefix(prefix, usize::MAX))).unwrap());
    // As they stand in a block: what the key before does not have, at least the last byte, then the value.
    let ends = rows.map(|row| [&row.key.as_bytes()[row.key.as_bytes().len() - 1..], &row.value].concat());
    let ends: Vec<Vec<u8>> = ends.collect();
    engine.close();
    let table = Folder::new(&store).unwrap().open("table.redb").unwrap();
    let database = Database::builder().create_with_backend(Pages::open(table).unwrap()).unwrap();
    let mut transaction = database.begin_write().unwrap();
    transaction.set_quick_repair(true);
    let mut blocks = transaction.open_table(BLOCKS).unwrap();
    let found = blocks.iter().unwrap().map(|block| block.unwrap());
    let found: Vec<_> = found.map(|(separator, block)| (separator.value().to_vec(), block.value().to_vec())).collect();
    let mut flipped = 0;
    for (separator, mut block) in found {
        let places = ends.iter().filter_map(|end| Some((block.windows(end.len()).rposition(|part| part == end)?, end)));
        for at in places.map(|(at, end)| at + end.len() - 1).collect::<Vec<_>>() {
            block[at] ^= 1;
            flipped += 1;
        }
        blocks.insert(separator.as_slice(), block.as_slice()).unwrap();
    }
    drop(blocks);
    transaction.commit().unwrap();
    assert_eq!(flipped, ends.len(), "the rows below {prefixes:?}");
    assert!(flipped > 0, "nothing is stored below {prefixes:?}");
}

#[test]
fn a_damaged_row_fails_its_actor_by_name_and_no_other() {
    let node = Node::start(Plan::blog());
    let publish = |title: &str| node.post("/api/objects/article", &json!({ "title": title })).expect(201);
    publish("sound");
    node.settle();
    let before: Vec<String> = streams(&node);
    publish("damaged");
    let fresh: Vec<String> = streams(&node).into_iter().filter(|id| !before.contains(id)).collect();
    let [id] = &fresh[..] else { panic!("the new actor among {fresh:?}") };
    node.terminate();
    damage(&node, STREAM, id.split_once('/').unwrap().1);
    node.restart();
    let change = |slug: &str| {
        let call = Call::new("PATCH", &format!("/api/objects/article/{slug}")).token(&node.token);
        node.send(&call.json(&json!({ "title": "changed" })))
    };
    let refused = eventually("the actor has failed", || {
        let answer = change("damaged");
        (answer.status == 500).then_some(answer)
    });
    refused.refused_with(500, "damaged");
    change("sound").expect(200);
    publish("another");
    let failed = node.all("/admin/actors?state=failed");
    assert_eq!(failed.iter().map(|actor| actor["id"].as_str().unwrap()).collect::<Vec<_>>(), [id]);
    let log = node.log();
    assert!(log.contains("cannot be rebuilt") && log.contains(id.as_str()), "{log}");
    node.send(&Call::get("/ready")).expect(200);
}

#[test]
fn lists_name_what_is_damaged_and_show_all_others() {
    let there = Spot::free();
    let node = Node::start(Plan::blog().allow(there.authority()));
    for title in ["first", "second", "third"] {
        node.publish(title);
    }
    node.run(&["follow", &there.authority()]).done();
    node.settle();
    node.terminate();
    damage(&node, STREAM, "object/second");
    damage(&node, OUTBOX, &there.authority());
    node.restart();
    let actors = node.all("/admin/actors");
    let of = |id: &str| actors.iter().find(|actor| actor["id"] == id).unwrap_or_else(|| panic!("{id} in {actors:#?}"));
    assert!(["first", "third"].iter().all(|name| of(&format!("stream/object/{name}"))["state"] == "passive"));
    let damaged = [of("stream/object/second"), of(&format!("outbox/{}", there.authority()))];
    for actor in damaged {
        assert_eq!(actor["state"], "failed");
        assert!(actor["failed"].as_str().unwrap().contains("does not match its checksum"), "{actor}");
    }
    let first = node.admin("GET", "/admin/actors?state=failed&limit=1").expect(200).json();
    let next = first["next"].as_str().unwrap();
    let second = node.admin("GET", &format!("/admin/actors?state=failed&limit=1&after={next}")).expect(200).json();
    let failed = [&first, &second].map(|page| page["items"][0]["id"].as_str().unwrap().to_owned());
    assert_eq!(failed, [format!("outbox/{}", there.authority()), "stream/object/second".to_owned()]);
    assert_eq!(second["next"], Value::Null);
    let peers = node.run(&["peers"]).done();
    assert!(peers.out.contains("failed") && peers.out.contains("a row"), "{peers:?}");
    let listed = node.run(&["actors"]).done();
    assert!(listed.out.contains("a row"), "{listed:?}");
    let inspected = node.run(&["inspect", "stream/object/second"]).done();
    assert!(inspected.out.contains("failed") && inspected.out.contains("checksum"), "{inspected:?}");
    node.run(&["status"]).done();
}

/// The key of an entry of a shared list that holds this text.
fn listed(node: &Node, list: u8, holds: &str) -> Key {
    let engine = RedbEngine::open(&node.data().join("store"), Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let prefix = Key::build().tag(b'i').tag(list).done();
    let rows = runtime.block_on(engine.range(Span::prefix(&prefix, usize::MAX))).unwrap();
    engine.close();
    let fits = |key: &Key| String::from_utf8_lossy(key.as_bytes()).contains(holds);
    rows.into_iter().map(|row| row.key).find(fits).unwrap_or_else(|| panic!("nothing of {holds} in list {list}"))
}

#[test]
fn a_list_shows_the_rest_and_says_what_it_leaves_out() {
    let peers = [Peer::start(), Peer::start(), Peer::start()];
    let node = Node::start(peers.iter().fold(Plan::blog(), |plan, peer| plan.allow(peer.authority())));
    peers.iter().for_each(|peer| drop(peer.follows(&node)));
    let followers = |query: &str| node.admin("GET", &format!("/admin/followers{query}")).expect(200).json();
    let actors = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["actor"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = actors(&followers(""));
    assert_eq!(all.len(), 3);
    node.terminate();
    flip(&node, &[listed(&node, FOLLOWERS, &all[1])]);
    node.restart();
    let page = followers("");
    assert_eq!(actors(&page), [all[0].clone(), all[2].clone()]);
    assert_eq!(page["left_out"][0]["what"], format!("follower/{}", all[1]));
    assert!(page["left_out"][0]["reason"].as_str().unwrap().contains("checksum"), "{page}");
    // Page by page, each stands in one of them.
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = followers(&format!("?limit=1{after}"));
        seen.extend(actors(&page));
        seen.extend(page["left_out"].as_array().into_iter().flatten().map(|lost| lost["what"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, [all[0].clone(), format!("\"follower/{}\"", all[1]), all[2].clone()]);
    let told = node.run(&["followers"]).done();
    assert!(told.out.contains("left out: follower/") && told.out.contains(&all[2]), "{told:?}");
}

fn streams(node: &Node) -> Vec<String> {
    let actors = node.all("/admin/actors?kind=stream");
    actors.iter().map(|actor| actor["id"].as_str().unwrap().to_owned()).collect()
}

/// A row of programs: its area, its name, and the number of a record.
fn of_programs(areas: &[u8], name: &str, number: Option<u64>) -> Key {
    let key = areas.iter().fold(Key::build().tag(b'p'), |key, area| key.tag(*area)).text(name);
    number.into_iter().fold(key, |key, number| key.number(number)).done()
}

/// A refusal for damage, in words that hold no key of the store.
fn told(node: &Node, token: &str, target: &str) -> String {
    let told = node.send(&Call::get(target).token(token)).refused(500);
    assert!(!told.contains("\\x") && !told.contains("psr") && told.contains("damaged"), "{told}");
    told
}

#[test]
fn a_damaged_record_or_value_is_named_and_everything_around_it_is_read() {
    let (node, token) = crate::store::node();
    for number in 1..=9 {
        node.send(&crate::store::append("news/today", &format!("\"the record {number}\"")).token(&token)).expect(201);
    }
    for name in ["a/one", "a/two", "b/three"] {
        node.send(&crate::store::put(name, &format!("\"the value {name}\"")).token(&token)).expect(200);
    }
    node.terminate();
    let records = [5, 9].map(|number| of_programs(b"sr", "news/today", Some(number)));
    flip(&node, &[&records[..], &[of_programs(b"k", "a/two", None)]].concat());
    node.restart();
    let page = |query: &str| {
        let page = node.send(&Call::get(&format!("/store/streams/news/today{query}")).token(&token)).expect(200).json();
        let numbers = page["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64().unwrap());
        (numbers.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page(""), (vec![1, 2, 3, 4], Some("4".to_owned())));
    let damaged = told(&node, &token, "/store/streams/news/today?after=4");
    assert!(damaged.contains("record 5 of the stream news/today") && damaged.contains("from=6"), "{damaged}");
    assert_eq!(page("?from=6"), (vec![6, 7, 8], Some("8".to_owned())));
    assert!(told(&node, &token, "/store/streams/news/today?from=9").contains("record 9"));
    assert_eq!(page("?direction=backward&to=8"), (vec![8, 7, 6], Some("6".to_owned())));
    assert!(told(&node, &token, "/store/streams/news/today?direction=backward&after=6").contains("to=4"));
    assert_eq!(page("?direction=backward&to=4").0, [4, 3, 2, 1]);
    let words = ["store", "streams", "read", "news/today"];
    let read = node.run(&words);
    assert!(read.out.contains("the record 4") && read.err.contains("record 5 of the stream"), "{read:?}");
    assert!(told(&node, &token, "/store/kv/a/two").contains("the value a/two is damaged"));
    let names = |query: &str| {
        let page = node.send(&Call::get(&format!("/store/kv{query}")).token(&token)).expect(200).json();
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["a/one"]);
    let first = node.send(&Call::get("/store/kv").token(&token)).json();
    let damaged = told(&node, &token, &format!("/store/kv?after={}", first["next"].as_str().unwrap()));
    let (_, after) = damaged.rsplit_once("after=").unwrap();
    assert!(damaged.contains("the value a/two"), "{damaged}");
    assert_eq!(names(&format!("?after={after}")), ["b/three"]);
    // What is written anew is whole again.
    node.send(&crate::store::put("a/two", "2").token(&token)).expect(200);
    assert_eq!(node.send(&Call::get("/store/kv/a/two").token(&token)).expect(200).text(), "2");
    assert_eq!(names(""), ["a/one", "a/two", "b/three"]);
    node.send(&crate::store::append("news/today", "10").token(&token)).expect(201);
    assert_eq!(page("?from=10").0, [10]);
}
