//! A row that the disk has changed: its actor has failed and is named, and everybody else goes on.

use quickbeam::store::disk::{Disk, Folder};
use quickbeam::store::redb::{Options, Pages};
use quickbeam::store::{Engine, Key, RedbEngine, Span};
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::harness::{Node, Plan, Spot, eventually};
use crate::http::Call;

const BLOCKS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("blocks");
/// In the keys of stored rows: what heads and turns of an actor begin with, and the numbers of kinds.
const AREAS: [u8; 2] = *b"he";
const OUTBOX: u8 = 4;
const STREAM: u8 = 6;

/// Flips a bit at the end of every row from which this actor is rebuilt, while the node is down.
fn damage(node: &Node, kind: u8, key: &str) {
    let store = node.data().join("store");
    let engine = RedbEngine::open(&store, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.checkpoint()).unwrap();
    let rows = AREAS.iter().flat_map(|&area| {
        let prefix = Key::build().tag(area).tag(kind).text(key).done();
        runtime.block_on(engine.range(Span::prefix(&prefix, usize::MAX))).unwrap()
    });
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
        let places = ends.iter().filter_map(|end| Some((block.windows(end.len()).position(|part| part == end)?, end)));
        for at in places.map(|(at, end)| at + end.len() - 1).collect::<Vec<_>>() {
            block[at] ^= 1;
            flipped += 1;
        }
        blocks.insert(separator.as_slice(), block.as_slice()).unwrap();
    }
    drop(blocks);
    transaction.commit().unwrap();
    assert_eq!(flipped, ends.len(), "the rows of {key}");
    assert!(flipped > 0, "nothing is stored of {key}");
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
    assert!(peers.out.contains("failed") && peers.out.contains("the row"), "{peers:?}");
    let listed = node.run(&["actors"]).done();
    assert!(listed.out.contains("the row"), "{listed:?}");
    let inspected = node.run(&["inspect", "stream/object/second"]).done();
    assert!(inspected.out.contains("failed") && inspected.out.contains("checksum"), "{inspected:?}");
    node.run(&["status"]).done();
}

fn streams(node: &Node) -> Vec<String> {
    let actors = node.all("/admin/actors?kind=stream");
    actors.iter().map(|actor| actor["id"].as_str().unwrap().to_owned()).collect()
}
