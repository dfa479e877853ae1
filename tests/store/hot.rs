//! Spans that are read again and again: answered from memory, and never with what has changed since.

use quickbeam::store::redb::Options;
use quickbeam::store::{Engine, RedbEngine, Span};

use crate::subject::{Words, batch, block_on, committed, key};

fn read(engine: &RedbEngine) -> Vec<String> {
    let span = Span { from: key("a"), to: key("b"), ..Span::prefix(&key("a"), 9) };
    let rows = block_on(engine.range(span.clone())).unwrap();
    let first = block_on(engine.range(Span { limit: 1, ..span })).unwrap();
    assert_eq!(first, rows[..rows.len().min(1)]);
    rows.into_iter().map(|row| String::from_utf8_lossy(&row.value).into_owned()).collect()
}

/// Brings everything into the table, and reads until nothing but memory is asked.
fn settle(engine: &RedbEngine) {
    block_on(engine.checkpoint()).unwrap();
    read(engine);
    let before = engine.stats();
    read(engine);
    let after = engine.stats();
    assert_eq!((after.reads_far, after.reads_near), (before.reads_far, before.reads_near + 2));
}

#[test]
fn a_span_that_is_read_again_is_answered_at_once_and_with_what_is_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    committed(&engine, batch().put("a1", "1").put("b", "0"));
    settle(&engine);
    committed(&engine, batch().put("a2", "2"));
    assert_eq!(read(&engine), ["1", "2"], "what came since lies over what is kept");
    settle(&engine);
    assert_eq!(read(&engine), ["1", "2"]);
    committed(&engine, batch().put("a1", "3").delete("a2"));
    assert_eq!(read(&engine), ["3"]);
    settle(&engine);
    assert_eq!(read(&engine), ["3"]);
    engine.close();
}

#[test]
fn a_checkpoint_of_other_rows_leaves_a_kept_span_alone() {
    let folder = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(folder.path(), Options::default()).unwrap();
    committed(&engine, batch().put("a1", "1"));
    settle(&engine);
    committed(&engine, batch().put("b", "1"));
    block_on(engine.checkpoint()).unwrap();
    let before = engine.stats().reads_far;
    assert_eq!(read(&engine), ["1"]);
    assert_eq!(engine.stats().reads_far, before);
    committed(&engine, batch().delete("a1"));
    block_on(engine.checkpoint()).unwrap();
    assert_eq!(read(&engine), Vec::<String>::new());
    engine.close();
}
