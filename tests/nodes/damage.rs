//! A row that the disk has changed: its actor has failed and is named, and everybody else goes on.

use quickbeam::store::redb::Options;
use quickbeam::store::{Key, RedbEngine};
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::Call;

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// In the keys of stored rows: what heads and turns of an actor begin with, and the number of streams.
const AREAS: [u8; 2] = *b"he";
const STREAM: u8 = 6;

/// Flips a bit at the end of every row from which this actor is rebuilt, while the node is down.
fn damage(node: &Node, key: &str) {
    let store = node.data().join("store");
    let engine = RedbEngine::open(&store, Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.checkpoint()).unwrap();
    engine.close();
    let database = Database::open(store.join("table.redb")).unwrap();
    let mut transaction = database.begin_write().unwrap();
    transaction.set_quick_repair(true);
    let mut rows = transaction.open_table(ROWS).unwrap();
    let mut flipped = 0;
    for area in AREAS {
        let prefix = Key::build().tag(area).tag(STREAM).text(key).done();
        let end = prefix.after_prefix();
        let found = rows.range(prefix.as_bytes()..end.as_bytes()).unwrap();
        let found: Vec<_> =
            found.map(|row| row.unwrap()).map(|(key, row)| (key.value().to_vec(), row.value().to_vec())).collect();
        for (key, mut row) in found {
            *row.last_mut().unwrap() ^= 1;
            rows.insert(key.as_slice(), row.as_slice()).unwrap();
            flipped += 1;
        }
    }
    drop(rows);
    transaction.commit().unwrap();
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
    damage(&node, id.split_once('/').unwrap().1);
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

fn streams(node: &Node) -> Vec<String> {
    let actors = node.all("/admin/actors?kind=stream");
    actors.iter().map(|actor| actor["id"].as_str().unwrap().to_owned()).collect()
}
