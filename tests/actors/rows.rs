//! Rows: what a turn reads is what is stored with the actor's own turns in flight laid over it.

use super::engine::SteeredEngine;
use super::node::{Node, on_system, settle};
use super::probe::Command;

fn put(name: &str, value: u64) -> Command {
    Command::PutRow { name: name.into(), value }
}

fn page(after: Option<&str>, limit: usize) -> Command {
    Command::ReadRows { after: after.map(str::to_owned), limit }
}

fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn the_next_turn_sees_the_rows_of_turns_in_flight() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
            node.ask("p", put(name, value)).await.unwrap();
        }
        engine.hold();
        let writes = [put("b", 20), put("d", 4), Command::DeleteRow("a".into()), put("0", 0)];
        let writes: Vec<_> = writes.into_iter().map(|write| node.asking("p", write)).collect();
        let whole = node.asking("p", page(None, 10));
        let one = node.asking("p", Command::ReadRow("b".into()));
        let gone = node.asking("p", Command::ReadRow("a".into()));
        let first_two = node.asking("p", page(None, 2));
        let after = node.asking("p", page(Some("b"), 2));
        settle().await;
        engine.release_all();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        assert_eq!(whole.await.unwrap().unwrap().rows, named(&[("0", 0), ("b", 20), ("c", 3), ("d", 4)]));
        assert_eq!(one.await.unwrap().unwrap().rows, named(&[("b", 20)]));
        assert_eq!(gone.await.unwrap().unwrap().rows, named(&[]));
        assert_eq!(first_two.await.unwrap().unwrap().rows, named(&[("0", 0), ("b", 20)]));
        assert_eq!(after.await.unwrap().unwrap().rows, named(&[("c", 3), ("d", 4)]));
    });
}

#[test]
fn a_page_is_full_even_when_turns_in_flight_delete_what_was_read_for_it() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        for number in 0..20_u64 {
            node.ask("p", put(&format!("{number:02}"), number)).await.unwrap();
        }
        engine.hold();
        let deletes: Vec<_> =
            (0..5).map(|number| node.asking("p", Command::DeleteRow(format!("{number:02}")))).collect();
        let read = node.asking("p", page(None, 4));
        settle().await;
        engine.release_all();
        for delete in deletes {
            delete.await.unwrap().unwrap();
        }
        assert_eq!(read.await.unwrap().unwrap().rows, named(&[("05", 5), ("06", 6), ("07", 7), ("08", 8)]));
    });
}

/// The read began before the writes had settled, and ends after: it may show neither too little nor what is gone.
#[test]
fn a_slow_read_sees_writes_that_settled_while_it_was_under_way() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        node.ask("p", put("old", 1)).await.unwrap();
        engine.hold();
        let (write, delete) = (node.asking("p", put("new", 2)), node.asking("p", Command::DeleteRow("old".into())));
        settle().await;
        engine.hold_reads(true);
        let read = node.asking("p", page(None, 10));
        settle().await;
        engine.release_all();
        write.await.unwrap().unwrap();
        delete.await.unwrap().unwrap();
        engine.hold_reads(false);
        assert_eq!(read.await.unwrap().unwrap().rows, named(&[("new", 2)]));
    });
}

#[test]
fn a_shared_list_holds_the_entries_of_all_and_those_of_its_reader_in_flight() {
    on_system(async {
        let engine = SteeredEngine::shared();
        let node = Node::on(engine.clone()).await;
        // Two actors may stand at the same place.
        node.ask("p", Command::PutEntry("same".into())).await.unwrap();
        node.ask("q", Command::PutEntry("same".into())).await.unwrap();
        node.ask("q", Command::PutEntry("zoo".into())).await.unwrap();
        engine.hold();
        let write = node.asking("p", Command::PutEntry("ant".into()));
        let delete = node.asking("p", Command::DeleteEntry("same".into()));
        let read = node.asking("p", Command::ReadEntries { limit: 10 });
        settle().await;
        engine.release_all();
        write.await.unwrap().unwrap();
        delete.await.unwrap().unwrap();
        assert_eq!(read.await.unwrap().unwrap().rows, named(&[("ant", 1), ("same", 1), ("zoo", 1)]));
    });
}
