//! Streams and named values over every engine.

use futures_util::FutureExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use quickbeam::store::kv::{self, Current, Kv, KvError};
use quickbeam::store::streams::{Expected, StreamError, Streams};
use quickbeam::store::{Change, Direction, Engine, Epoch, Fence, Key, MemoryEngine};

use crate::subject::{Subject, Words, batch, block_on, committed};

fn streams() -> Streams {
    Streams::under(Key::build().text("data").done(), Fence::default())
}

fn values(words: &[&str]) -> Vec<bytes::Bytes> {
    words.iter().map(|word| word.to_string().into()).collect()
}

fn append(engine: &dyn Engine, stream: &str, expected: Expected, words: &[&str]) -> Result<u64, StreamError> {
    block_on(streams().append(engine, stream, expected, values(words)))
}

fn read(engine: &dyn Engine, stream: &str, from: u64, to: u64, direction: Direction) -> Vec<(u64, String)> {
    let records = block_on(streams().read(engine, stream, from..=to, 100, direction)).unwrap();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    records.iter().map(|record| (record.sequence, text(&record.value))).collect()
}

fn numbered(from: u64, words: &[&str]) -> Vec<(u64, String)> {
    (from..).zip(words.iter().map(ToString::to_string)).collect()
}

#[test]
fn records_are_numbered_from_one_and_read_in_both_directions() {
    for mut subject in Subject::all() {
        assert_eq!(append(&*subject.engine(), "s", Expected::None, &["a", "b"]).unwrap(), 2);
        assert_eq!(append(&*subject.engine(), "s", Expected::Exactly(2), &["c"]).unwrap(), 3);
        assert_eq!(append(&*subject.engine(), "s", Expected::Any, &["d"]).unwrap(), 4);
        let engine = subject.engine();
        assert_eq!(read(&*engine, "s", 0, u64::MAX, Direction::Forward), numbered(1, &["a", "b", "c", "d"]));
        assert_eq!(read(&*engine, "s", 2, 3, Direction::Forward), numbered(2, &["b", "c"]));
        let mut backward = numbered(2, &["b", "c", "d"]);
        backward.reverse();
        assert_eq!(read(&*engine, "s", 2, 9, Direction::Backward), backward);
        assert!(read(&*engine, "s", 5, 9, Direction::Forward).is_empty());
        assert!(read(&*engine, "t", 0, 9, Direction::Forward).is_empty());
        let limited = block_on(streams().read(&*engine, "s", 2..=9, 1, Direction::Backward)).unwrap();
        assert_eq!(limited.len(), 1);
        assert_eq!(limited[0].sequence, 4);
    }
}

#[test]
fn an_append_that_expects_something_else_is_told_where_the_stream_stands() {
    for mut subject in Subject::all() {
        append(&*subject.engine(), "s", Expected::Any, &["a", "b"]).unwrap();
        for wrong in [Expected::None, Expected::Exactly(1), Expected::Exactly(3)] {
            match append(&*subject.engine(), "s", wrong, &["x"]) {
                Err(StreamError::Conflict(standing)) => assert_eq!(standing.last, 2),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(append(&*subject.engine(), "s", Expected::Exactly(2), &[]).unwrap(), 2);
        assert_eq!(read(&*subject.engine(), "s", 0, 9, Direction::Forward), numbered(1, &["a", "b"]));
    }
}

#[test]
fn the_last_number_survives_truncation_and_the_numbers_go_on() {
    for mut subject in Subject::all() {
        append(&*subject.engine(), "s", Expected::Any, &["a", "b", "c"]).unwrap();
        for (first, left) in [(0, 3), (3, 1), (2, 1), (9, 0)] {
            let standing = block_on(streams().truncate(&*subject.engine(), "s", first)).unwrap();
            assert_eq!(standing.last, 3);
            assert_eq!(read(&*subject.engine(), "s", 0, 9, Direction::Forward).len(), left, "before {first}");
        }
        assert_eq!(block_on(streams().standing(&*subject.engine(), "s")).unwrap().last, 3);
        assert!(matches!(append(&*subject.engine(), "s", Expected::None, &["x"]), Err(StreamError::Conflict(_))));
        assert_eq!(append(&*subject.engine(), "s", Expected::Exactly(3), &["d"]).unwrap(), 4);
        assert_eq!(read(&*subject.engine(), "s", 0, 9, Direction::Forward), numbered(4, &["d"]));
        block_on(streams().truncate(&*subject.engine(), "never", 5)).unwrap();
        assert_eq!(append(&*subject.engine(), "never", Expected::None, &["a"]).unwrap(), 1);
    }
}

#[test]
fn a_long_stream_is_truncated_in_steps() {
    let engine = MemoryEngine::default();
    for _ in 0..25 {
        append(&engine, "s", Expected::Any, &["x"; 100]).unwrap();
    }
    block_on(streams().truncate(&engine, "s", 2_400)).unwrap();
    let rows = block_on(engine.range(quickbeam::store::Span::prefix(&Key::default(), usize::MAX))).unwrap();
    assert_eq!(rows.len(), 102, "the counter and the last 101");
}

#[test]
fn a_missing_record_is_damage_and_never_skipped() {
    for mut subject in Subject::all() {
        append(&*subject.engine(), "s", Expected::Any, &["a", "b", "c"]).unwrap();
        let mut batch = batch();
        batch.deletes.push(streams().record_key("s", 2));
        committed(&*subject.engine(), batch);
        for direction in [Direction::Forward, Direction::Backward] {
            let damaged = block_on(streams().read(&*subject.engine(), "s", 1..=9, 100, direction));
            assert!(matches!(damaged, Err(StreamError::Failed(_))), "{damaged:?}");
        }
        assert_eq!(read(&*subject.engine(), "s", 3, 9, Direction::Forward), numbered(3, &["c"]));
    }
}

#[test]
fn writers_who_expect_nothing_in_particular_all_get_through() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        let streams = streams();
        let appends = (0..8).map(|_| streams.append(&*engine, "s", Expected::Any, values(&["x"])));
        let mut lasts: Vec<u64> = block_on(join_all(appends)).into_iter().map(Result::unwrap).collect();
        lasts.sort_unstable();
        assert_eq!(lasts, (1..=8).collect::<Vec<_>>());
    }
}

#[test]
fn streams_are_listed_by_name_and_do_not_see_their_neighbours() {
    for mut subject in Subject::all() {
        for name in ["b", "a", "ab", "c"] {
            append(&*subject.engine(), name, Expected::None, &[name]).unwrap();
        }
        let list = |beginning: &str, after: Option<&str>, limit| {
            let engine = subject.engine();
            let listed = block_on(streams().list(&*engine, beginning, after, limit)).unwrap();
            listed.into_iter().map(|(name, standing)| (name, standing.last)).collect::<Vec<_>>()
        };
        let mut list = list;
        assert_eq!(list("", None, 3), [("a".to_owned(), 1), ("ab".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(list("", Some("b"), 3), [("c".to_owned(), 1)]);
        assert_eq!(list("a", None, 3), [("a".to_owned(), 1), ("ab".to_owned(), 1)]);
        assert_eq!(list("ab", Some("a"), 3), [("ab".to_owned(), 1)]);
    }
}

#[test]
fn a_follower_wakes_by_the_counter() {
    let engine = MemoryEngine::default();
    let mut hints = engine.changes(&streams().counter_key("s"));
    append(&engine, "other", Expected::Any, &["x"]).unwrap();
    assert!(hints.recv().now_or_never().is_none());
    append(&engine, "s", Expected::Any, &["x"]).unwrap();
    assert_eq!(hints.recv().now_or_never(), Some(Some(Change::Put(vec![streams().counter_key("s")]))));
}

#[test]
fn a_writer_that_was_succeeded_is_told_so() {
    let engine = MemoryEngine::default();
    committed(&engine, batch().epoch(2));
    let fenced = append(&engine, "s", Expected::Any, &["x"]);
    assert!(matches!(fenced, Err(StreamError::Fenced(Epoch(2)))), "{fenced:?}");
}

fn kv() -> Kv {
    Kv::under(Key::build().text("data").text("kv").done(), Fence::default())
}

#[test]
fn values_have_versions_to_compare_and_set() {
    for mut subject in Subject::all() {
        let kv = kv();
        let put = |engine: &dyn Engine, expected, value: &'static str| {
            block_on(kv.put(engine, "name", expected, value.into()))
        };
        let first = put(&*subject.engine(), kv::Expected::Absent, "1").unwrap();
        let conflict = put(&*subject.engine(), kv::Expected::Absent, "2");
        assert!(matches!(conflict, Err(KvError::Conflict(Current(Some(at)))) if at == first), "{conflict:?}");
        let second = put(&*subject.engine(), kv::Expected::Version(first), "2").unwrap();
        assert!(put(&*subject.engine(), kv::Expected::Version(first), "3").is_err());
        let row = block_on(kv.get(&*subject.engine(), "name")).unwrap().unwrap();
        assert_eq!((row.version, &row.value[..]), (second, &b"2"[..]));
        assert!(block_on(kv.delete(&*subject.engine(), "name", kv::Expected::Version(first))).is_err());
        block_on(kv.delete(&*subject.engine(), "name", kv::Expected::Version(second))).unwrap();
        let gone = block_on(kv.delete(&*subject.engine(), "name", kv::Expected::Version(second)));
        assert!(matches!(gone, Err(KvError::Conflict(Current(None)))), "{gone:?}");
        block_on(kv.delete(&*subject.engine(), "name", kv::Expected::Any)).unwrap();
        assert_eq!(block_on(kv.get(&*subject.engine(), "name")).unwrap(), None);
    }
}

#[test]
fn values_are_listed_by_the_beginning_of_their_names() {
    for mut subject in Subject::all() {
        for name in ["b/1", "a", "b/2", "b", "b/3", "c", "b\u{0}", "bü"] {
            block_on(kv().put(&*subject.engine(), name, kv::Expected::Any, name.to_owned().into())).unwrap();
        }
        let mut list = |prefix: &str, after: Option<&str>, limit| {
            let listed = block_on(kv().list(&*subject.engine(), prefix, after, limit)).unwrap();
            listed.into_iter().map(|named| named.name).collect::<Vec<_>>()
        };
        assert_eq!(list("b/", None, 9), ["b/1", "b/2", "b/3"]);
        assert_eq!(list("b/", Some("b/1"), 1), ["b/2"]);
        assert_eq!(list("b/", Some("a"), 1), ["b/1"]);
        assert_eq!(list("b", None, 9), ["b", "b\u{0}", "b/1", "b/2", "b/3", "bü"]);
        assert_eq!(list("", None, 9).len(), 8);
        assert!(list("b/", Some("c"), 9).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_and_names_come_back_as_they_were(names in prop::collection::btree_map(".{0,6}", prop::collection::vec(any::<u8>(), 0..6), 0..8)) {
        let engine = MemoryEngine::default();
        for (name, value) in &names {
            block_on(kv().put(&engine, name, kv::Expected::Any, value.clone().into())).unwrap();
        }
        let listed = block_on(kv().list(&engine, "", None, 99)).unwrap();
        let listed: Vec<_> = listed.into_iter().map(|named| (named.name, named.value.to_vec())).collect();
        prop_assert_eq!(listed, names.into_iter().collect::<Vec<_>>());
    }
}
