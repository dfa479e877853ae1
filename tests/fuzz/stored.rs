//! What this node wrote itself, as a damaged disk or another version gives it back: records, keys, the files of a store.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::LazyLock;

use futures_util::future::join_all;
use quickbeam::actors::record::{self, Answer, DeadLetter, Head, TurnRecord, Waiting};
use quickbeam::actors::{flow, follower, inbox, outbox, stream};
use quickbeam::store::redb::{OpenError, Options};
use quickbeam::store::{Batch, Engine, Epoch, Failure, Fence, Key, Outcome, RedbEngine, Shard, Span};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run::{Target, block_on};
use crate::dice::Dice;
use crate::disk::{Contents, SimulatedDisk};

/// Whether bytes are such a record; what is read is written and reads as the same.
fn reads<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
    let Ok(read) = record::decode::<T>(bytes) else { return false };
    let written = record::encode(&read);
    let again: T = record::decode(&written).unwrap();
    assert_eq!(record::encode(&again), written);
    true
}

/// The golden forms of records, as MessagePack.
fn records() -> Vec<Vec<u8>> {
    let files = [
        "heads",
        "turns",
        "waiting",
        "dead-letters",
        "answers",
        "follower.events",
        "flow.events",
        "stream.events",
        "outbox.events",
        "inbox.events",
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/actors");
    let text = files.map(|file| std::fs::read_to_string(folder.join(file)).unwrap()).join("\n");
    let forms = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once('\t')?.1).ok());
    let forms: Vec<Vec<u8>> = forms.map(|form| record::encode(&form).to_vec()).collect();
    assert!(forms.len() > 40, "{}", forms.len());
    forms
}

#[test]
fn stored_record() {
    let tokens = [
        "\u{1}",
        "\0",
        "\u{7f}",
        "turn",
        "at",
        "state",
        "events",
        "cause",
        "message",
        "errand",
        "timers",
        "trimmed",
        "body",
        "trace",
        "birth",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    let mut made = records();
    // Lengths that nothing has, and a depth that no stack has.
    for (byte, times) in [(0xdd, 5), (0xdf, 5), (0xc6, 5), (0xdb, 5), (0xff, 5), (0x91, 60_000), (0x81, 60_000)] {
        let mut bytes = vec![0xff; times];
        bytes.fill(if times > 5 { byte } else { 0xff });
        bytes[0] = byte;
        made.extend([
            bytes.clone(),
            [&[0x81, 0xa5], b"state".as_slice(), &bytes].concat(),
            [&[0x81, 0xa6], b"events".as_slice(), &bytes].concat(),
        ]);
    }
    Target { name: "stored_record", also: &[], made: &made, tokens: &tokens }.run(|input| {
        let read = [
            reads::<Head>(input),
            reads::<Waiting>(input),
            reads::<DeadLetter>(input),
            reads::<Answer>(input),
            reads::<TurnRecord<String>>(input),
            reads::<TurnRecord<flow::Event>>(input),
            reads::<flow::Event>(input),
            reads::<follower::Event>(input),
            reads::<stream::Event>(input),
            reads::<outbox::Event>(input),
            reads::<inbox::Event>(input),
            reads::<Value>(input),
        ];
        format!("{read:?}")
    });
}

#[test]
fn key_parts() {
    let made =
        [Key::build().tag(3).text("a\0b\u{1}").number(u64::MAX).bytes(&[0, 1, 2, 255]).done().as_bytes().to_vec()];
    Target {
        name: "key_parts",
        also: &[],
        made: &made,
        tokens: &["\0", "\u{1}", "\u{1}\u{1}", "\u{1}\u{2}", "\u{1}\0", "\u{2}"],
    }
    .run(|input| {
        let key = Key::from_bytes(input.to_vec());
        assert_eq!(key.as_bytes(), input);
        assert!(key < key.successor() && key.successor().starts_with(&key));
        let (mut parts, mut whole, mut count) = (key.parts(), 0, 0);
        while let Some(part) = parts.bytes() {
            // One that is written again is read as the same, whatever stood there.
            assert_eq!(Key::build().bytes(&part).done().parts().bytes(), Some(part.clone()));
            whole += part.len();
            count += 1;
        }
        assert!(whole + count <= input.len() - parts.rest().len());
        assert!(key.parts().number().is_none_or(|number| Key::build().number(number).done().as_bytes() == &input[..8]));
        format!("{} {}", count.min(4), parts.rest().len().min(2))
    });
}

/// So many rows, of which each says of itself what it is.
const ROWS: u64 = 300;

fn key(number: u64) -> Key {
    Key::build().text(["east", "north", "west"][usize::try_from(number % 3).unwrap()]).number(number).done()
}

fn value(number: u64, stamp: u64) -> Vec<u8> {
    [stamp.to_le_bytes(), number.to_le_bytes()].concat().repeat(1 + usize::try_from((number + stamp) % 40).unwrap())
}

fn options() -> Options {
    Options {
        readers: 1,
        cache_bytes: 1 << 16,
        block_bytes_max: 600,
        checkpoint_rows_max: 50,
        filter_bytes_max: 1 << 16,
        ..Options::default()
    }
}

/// The files of a store that was killed with one half of its rows in the table and the other in the log.
static KILLED: LazyLock<Contents> = LazyLock::new(|| {
    let disk = SimulatedDisk::seeded(1);
    let engine = RedbEngine::open_on(disk.shared(), options()).unwrap();
    for stamp in 0..2 {
        let batches = (0..10).map(|first| {
            let puts = (first..ROWS).step_by(10).skip(usize::try_from(stamp).unwrap() * 12);
            let puts = puts.map(|number| (key(number), value(number, stamp).into())).collect();
            engine.commit(Batch {
                puts,
                fence: Fence { shard: Shard(0), epoch: Epoch(1) },
                conditions: Vec::new(),
                deletes: Vec::new(),
            })
        });
        let outcomes = block_on(join_all(batches.collect::<Vec<_>>()));
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Committed(_))));
        if stamp == 0 {
            block_on(engine.checkpoint()).unwrap();
        }
    }
    disk.after_kill().files().into_iter().collect()
});

/// Does to the files what an input says: eight bytes for each damage.
fn damaged(input: &[u8]) -> Contents {
    let mut files = KILLED.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    for damage in input.chunks_exact(8).take(64) {
        let content: &mut Vec<u8> = files.get_mut(&names[usize::from(damage[0]) % names.len()]).unwrap();
        if content.is_empty() {
            continue;
        }
        let whole = content.len();
        let place = |bytes: [u8; 2]| usize::from(u16::from_le_bytes(bytes)) * whole / 0x1_0000;
        let (at, from) = (place([damage[2], damage[3]]), place([damage[4], damage[5]]));
        let length = (1 << (damage[6] % 14)).min(whole - at).min(whole - from);
        match damage[1] % 7 {
            0 => content[at..at + length].fill(damage[7]),
            1 => content[at] ^= damage[7],
            2 => content[at..at + length].iter_mut().for_each(|byte| *byte = byte.wrapping_add(damage[7])),
            3 => content.copy_within(from..from + length, at),
            // A sector, or a page, stands where another should.
            4 => content.copy_within(
                from / 512 * 512..(from / 512 * 512 + 512).min(whole),
                (at / 512 * 512).min(whole.saturating_sub(512)),
            ),
            5 if damage[7] < 16 => content.truncate(at),
            6 => content.extend(std::iter::repeat_n(damage[7], length)),
            _ => {}
        }
    }
    files
}

/// A row that is served was written as it is, under its key; what is damaged is said to be.
fn judge(found: &BTreeMap<Key, Vec<u8>>) {
    for (key, content) in found {
        let number = key.parts().text().and_then(|area| key.parts_after(&Key::build().text(&area).done()).number());
        let number = number.unwrap_or_else(|| panic!("{key:?} was never written"));
        assert!((0..2).any(|stamp| value(number, stamp) == *content), "{key:?} has a value that was never written");
    }
}

/// The input says what is damaged in the files of a store.
#[test]
fn store_on_a_damaged_disk() {
    let made: Vec<Vec<u8>> = (0..7).map(|kind| vec![0, kind, 0, 64, 0, 8, 9, 3, 1, kind, 0, 1, 0, 8, 5, 255]).collect();
    Target {
        name: "store_on_a_damaged_disk",
        also: &[],
        made: &made,
        tokens: &["\0\u{1}", "\u{1}\u{4}", "\u{1}\u{3}", "\u{2}"],
    }
    .run(|input| {
        let disk = SimulatedDisk::holding(damaged(input), Dice::of(1));
        let engine = match RedbEngine::open_on(disk.shared(), options()) {
            Ok(engine) => engine,
            Err(OpenError::Newer { .. }) => return "newer".to_owned(),
            Err(OpenError::Failed { source: Failure::Damaged { .. }, .. }) => return "would not open".to_owned(),
            Err(error) => panic!("{error:?}"),
        };
        let mut met = String::new();
        let mut found = BTreeMap::new();
        for area in ["east", "north", "west"] {
            match block_on(engine.range(Span::prefix(&Key::build().text(area).done(), usize::MAX))) {
                Ok(rows) => {
                    met += "rows ";
                    found.extend(rows.into_iter().map(|row| (row.key, row.value.to_vec())));
                }
                Err(error) => {
                    assert!(matches!(&*error, Failure::Damaged { .. }), "{error:?}");
                    met += "damaged ";
                }
            }
        }
        for number in (0..ROWS).step_by(29) {
            match block_on(engine.get(&key(number))) {
                Ok(row) => drop(row.map(|row| found.insert(key(number), row.value.to_vec()))),
                Err(error) => assert!(matches!(&*error, Failure::Damaged { .. }), "{error:?}"),
            }
        }
        judge(&found);
        met + if found.len() as u64 == ROWS { "all" } else { "some" }
    });
}
