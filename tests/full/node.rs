//! A node on a full disk: writers learn what to do, readers notice nothing, and room is all that it needs to go on.

use std::path::Path;

use serde_json::json;

use crate::harness::{Node, Plan, eventually};
use crate::http::{Answer, Call};
use crate::tmpfs::{Ballast, on_small_disk};

fn publish(node: &Node, number: u64) -> Answer {
    let body = json!({ "title": format!("article {number}"), "content": "x".repeat(60_000) });
    node.send(&Call::post("/api/objects/article").token(&node.token).key(&format!("k-{number}")).json(&body))
}

#[test]
fn a_node_on_a_full_disk_says_so_serves_reads_and_goes_on_by_itself_once_there_is_room() {
    on_small_disk(
        "node::a_node_on_a_full_disk_says_so_serves_reads_and_goes_on_by_itself_once_there_is_room",
        "64m",
        |disk| {
            let node = Node::start(Plan::blog());
            let mut published = Vec::new();
            let mut number = 0;
            for _ in 0..2 {
                fill(&node, disk, &mut number, &mut published);
            }
            node.kill();
            node.restart();
            all_there(&node, &published);
        },
    );
}

fn fill(node: &Node, disk: &Path, number: &mut u64, published: &mut Vec<String>) {
    published.push(path(&publish(node, *number).expect(201)));
    let ballast = Ballast::fill(disk);
    let refused = loop {
        *number += 1;
        let answer = publish(node, *number);
        if answer.status != 201 {
            break answer;
        }
        published.push(path(&answer));
        assert!(*number < 5_000, "the disk never became full");
    };
    assert!([503, 507].contains(&refused.status), "{refused}");
    refused.refused(refused.status);
    assert!(refused.header("retry-after").is_some(), "{refused}");
    // What the failed write gave back may be enough for a small one.
    let ready = eventually("there is no room for anything", || {
        Ballast::fill(disk);
        *number += 1;
        let later = publish(node, *number);
        if later.status == 201 {
            published.push(path(&later));
            return None;
        }
        assert!([503, 507].contains(&later.status), "{later}");
        let ready = node.send(&Call::get("/ready"));
        (ready.status != 200).then_some(ready)
    });
    ready.refused_with(503, "free some space");
    node.send(&Call::get("/health")).expect(200);
    node.get("/").expect(200);
    all_there(node, &published[published.len().saturating_sub(20)..]);
    ballast.remove();
    eventually("the node goes on by itself", || (node.send(&Call::get("/ready")).status == 200).then_some(()));
    // The same request again, with the same key: it lands now, once.
    let again = publish(node, *number);
    assert!([200, 201].contains(&again.status), "{again}");
    published.push(path(&again));
    all_there(node, published);
    *number += 1;
}

fn path(answer: &Answer) -> String {
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    format!("/{}", id.rsplit('/').next().unwrap())
}

#[track_caller]
fn all_there(node: &Node, published: &[String]) {
    for path in published {
        node.get(path).expect(200);
    }
}

#[test]
fn a_stopped_node_on_a_full_disk_is_looked_at_and_backed_up_to_another() {
    on_small_disk("node::a_stopped_node_on_a_full_disk_is_looked_at_and_backed_up_to_another", "64m", |disk| {
        let node = Node::start(Plan::blog());
        let published: Vec<String> = (0..30).map(|number| path(&publish(&node, number).expect(201))).collect();
        node.kill();
        let ballast = Ballast::fill(disk);
        let said = node.run(&["journal", "verify"]).done();
        assert!(said.out.contains("nothing is damaged"), "{said:?}");
        let stats = node.run(&["journal", "stats", "--json"]).done().json();
        assert!(!stats["areas"].as_array().unwrap().is_empty(), "{stats}");
        assert_eq!(node.run(&["journal", "dump", "--limit", "3"]).done().out.lines().count(), 3);
        let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = elsewhere.path().join("all.qbk");
        node.run(&["backup", file.to_str().unwrap()]).done();
        ballast.remove();
        node.restart();
        all_there(&node, &published);
    });
}
