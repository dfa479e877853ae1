//! Whether what programs keep fits together: records are numbered without a gap, and names and contents of blobs agree.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::IgnoredAny;

use super::verify::Wrong;
use crate::actors::record;
use crate::programs::layout::{self, Place};
use crate::programs::{JsonText, blobs};
use crate::store::blob::BlobHash;
use crate::store::streams;
use crate::store::{Key, Row};

/// No limit of ours lets JSON be deeper.
const DEPTH_MAX: usize = 120;

/// What was seen of a stream: what its counter says, and which record has to come next.
#[derive(Debug)]
struct Seen {
    key: Key,
    first: u64,
    last: u64,
    next: u64,
}

/// Names of one content, counted in both places where they stand.
#[derive(Debug, Default)]
struct Names {
    by_name: u64,
    by_hash: u64,
    /// One of them, to say whose content is gone.
    named: String,
}

/// Looks at the rows of programs in the order of their keys, in which counters come before records.
#[derive(Debug, Default)]
pub struct Kept {
    streams: BTreeMap<String, Seen>,
    blobs: BTreeMap<BlobHash, Names>,
}

impl Kept {
    /// # Errors
    /// What is wrong with the row.
    pub(super) fn see(&mut self, row: &Row) -> Result<(), String> {
        match layout::place_of(&row.key).ok_or("its key is none that a program can have made")? {
            Place::Stream(streams::Place::Counter(name)) => {
                let standing = streams::standing_of(row).ok_or("the counter of the stream cannot be read")?;
                let (first, last) = (standing.first, standing.last);
                self.streams.insert(name, Seen { key: row.key.clone(), first, last, next: first });
                Ok(())
            }
            Place::Stream(streams::Place::Record(name, number)) => self.record(name, number).and(json(row)),
            Place::Value(_) => json(row),
            Place::Blob(name) => {
                let entry = blobs::read(&name, &row.value).map_err(|_| "what the name stands for cannot be read")?;
                let names = self.blobs.entry(entry.hash).or_default();
                names.by_name += 1;
                names.named = name;
                Ok(())
            }
            Place::NameOf(hash, _) => {
                self.blobs.entry(hash).or_default().by_hash += 1;
                Ok(())
            }
            Place::Answer => {
                let read = record::decode::<IgnoredAny>(&row.value);
                read.map(drop).map_err(|error| format!("the answer cannot be read: {error}"))
            }
            Place::AnswerAt => Ok(()),
        }
    }

    fn record(&mut self, name: String, number: u64) -> Result<(), String> {
        let Entry::Occupied(mut seen) = self.streams.entry(name) else {
            return Err("it is a record of a stream that has no counter".to_owned());
        };
        let seen = seen.get_mut();
        // What a truncation that was cut short has left behind is nobody's, and is swept later.
        if number < seen.first {
            return Ok(());
        }
        let missing = seen.next..number;
        seen.next = number + 1;
        match number {
            _ if number > seen.last => Err(format!("record {number} lies behind the last one, {}", seen.last)),
            _ if missing.is_empty() => Ok(()),
            _ => Err(format!("records {} to {} before it are missing", missing.start, missing.end - 1)),
        }
    }

    /// What is wrong that only shows at the end; and the contents that names stand for, each with one of its names.
    pub fn finish(self) -> (Vec<Wrong>, BTreeMap<BlobHash, String>) {
        let ends = self.streams.into_values().filter(|seen| seen.next <= seen.last).map(|seen| {
            let what = format!("records {} to {} are missing at its end", seen.next, seen.last);
            Wrong { key: seen.key, what }
        });
        let mut wrong: Vec<Wrong> = ends.collect();
        for (hash, names) in &self.blobs {
            if names.by_name != names.by_hash {
                let what = format!("{} names stand for it, its list has {}", names.by_name, names.by_hash);
                wrong.push(Wrong { key: layout::names_of(*hash), what });
            }
        }
        let named = self.blobs.into_iter().filter(|(_, names)| names.by_name > 0);
        (wrong, named.map(|(hash, names)| (hash, names.named)).collect())
    }
}

fn json(row: &Row) -> Result<(), String> {
    let read = JsonText::parse(&row.value, DEPTH_MAX);
    read.map(drop).map_err(|error| format!("its value is no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::store::streams::{Expected, Streams};
    use crate::store::{Batch, Engine, Fence, MemoryEngine, Span};

    fn written() -> MemoryEngine {
        let engine = MemoryEngine::default();
        let streams = Streams::under(Key::build().tag(b'p').tag(b's').done(), Fence::default());
        for stream in ["a", "b"] {
            let values = (0..5).map(|n| Bytes::from(format!("{{\"n\":{n}}}"))).collect();
            streams.append(&engine, stream, Expected::Any, values).now_or_never().unwrap().unwrap();
        }
        streams.truncate(&engine, "b", 3).now_or_never().unwrap().unwrap();
        engine
    }

    fn without(engine: &MemoryEngine, stream: &str, number: u64) {
        let streams = Streams::under(Key::build().tag(b'p').tag(b's').done(), Fence::default());
        let deletes = vec![streams.record_key(stream, number)];
        drop(engine.commit(Batch { deletes, ..Batch::default() }).now_or_never());
    }

    fn wrong(engine: &MemoryEngine) -> Vec<String> {
        let (mut kept, all) = (Kept::default(), Span::prefix(&layout::everything(), usize::MAX));
        let rows = engine.range(all).now_or_never().unwrap().unwrap();
        let mut said: Vec<String> = rows.iter().filter_map(|row| kept.see(row).err()).collect();
        said.extend(kept.finish().0.into_iter().map(|wrong| wrong.what));
        said
    }

    #[test]
    fn whole_streams_truncated_or_not_are_right() {
        assert_eq!(wrong(&written()), Vec::<String>::new());
    }

    #[test]
    fn a_record_that_vanished_is_missed_wherever_it_stood() {
        for (stream, number) in [("a", 1), ("a", 3), ("a", 5), ("b", 3), ("b", 4), ("b", 5)] {
            let engine = written();
            without(&engine, stream, number);
            let said = wrong(&engine);
            assert!(
                said.len() == 1 && said[0].contains(&format!("{number} to {number}")),
                "{stream} {number}: {said:?}"
            );
        }
    }

    #[test]
    fn what_no_program_wrote_is_named() {
        let engine = written();
        let stray = Key::build().tag(b'p').tag(b's').tag(b'r').text("c").number(1).done();
        let nonsense = Key::build().tag(b'p').tag(b'z').text("c").done();
        let value = Key::build().tag(b'p').tag(b'k').text("v").done();
        let puts = vec![(stray, "1".into()), (nonsense, "1".into()), (value, "{".into())];
        drop(engine.commit(Batch { puts, ..Batch::default() }).now_or_never());
        let said = wrong(&engine);
        assert!(said.len() == 3 && said.iter().any(|said| said.contains("no counter")), "{said:?}");
    }
}
