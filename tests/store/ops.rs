//! What programs do with the store, over every engine, against a plain model; and what only many at once can show.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use proptest::prelude::*;
use quickbeam::clock::{Clock, SystemClock};
use quickbeam::programs::streams::Ask;
use quickbeam::programs::{Answer, Current, Done, JsonText, Name, Once, OpError, Programs, SoleOwner, blobs, layout};
use quickbeam::store::blob::{BlobHash, MemoryBlobs};
use quickbeam::store::kv;
use quickbeam::store::streams::Expected;
use quickbeam::store::{
    Batch, Change, Direction, Engine, Failure, Key, MemoryEngine, Outcome, Position, ReadError, Row, Soon, Span,
    Versioned,
};

use crate::subject::{Subject, block_on};

fn programs(engine: Arc<dyn Engine>, blobs: &MemoryBlobs) -> Programs {
    Programs::new(engine, Arc::new(blobs.clone()), Arc::new(SoleOwner), SystemClock::shared())
}

fn no_blobs() -> MemoryBlobs {
    MemoryBlobs::new(1 << 20, SystemClock::shared())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn text(value: &str) -> JsonText {
    JsonText::parse(value.as_bytes(), 64).unwrap()
}

/// One thing that a program asks for. Names and keys are few, so that they meet.
#[derive(Debug, Clone)]
enum Op {
    Append { stream: u8, expected: Relies, values: Vec<u8>, key: Option<u8> },
    Truncate { stream: u8, before: u64, key: Option<u8> },
    Read { stream: u8, from: u64, to: u64, limit: usize, backward: bool },
    Put { name: u8, expected: Relies, value: u8, key: Option<u8> },
    Delete { name: u8, expected: Relies, key: Option<u8> },
    Get { name: u8 },
    NameBlob { name: u8, expected: Relies, content: u8, key: Option<u8> },
    UnnameBlob { name: u8, expected: Relies, key: Option<u8> },
    Lists,
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Relies {
    Nothing,
    Absent,
    /// What the model has: mostly right.
    Seen,
    Other(u64),
}

fn relies() -> impl Strategy<Value = Relies> {
    prop_oneof![
        3 => Just(Relies::Nothing),
        1 => Just(Relies::Absent),
        3 => Just(Relies::Seen),
        1 => (1..30u64).prop_map(Relies::Other),
    ]
}

fn keys() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![2 => Just(None), 1 => (0..3u8).prop_map(Some)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let few = 0..3u8;
    let values = || prop::collection::vec(0..4u8, 1..4);
    let op = prop_oneof![
        5 => (few.clone(), relies(), values(), keys()).prop_map(|(stream, expected, values, key)| Op::Append { stream, expected, values, key }),
        2 => (few.clone(), 0..12u64, keys()).prop_map(|(stream, before, key)| Op::Truncate { stream, before, key }),
        4 => (few.clone(), 0..9u64, 0..14u64, 1..5usize, any::<bool>()).prop_map(|(stream, from, to, limit, backward)| Op::Read { stream, from, to, limit, backward }),
        4 => (few.clone(), relies(), 0..4u8, keys()).prop_map(|(name, expected, value, key)| Op::Put { name, expected, value, key }),
        2 => (few.clone(), relies(), keys()).prop_map(|(name, expected, key)| Op::Delete { name, expected, key }),
        3 => few.clone().prop_map(|name| Op::Get { name }),
        3 => (few.clone(), relies(), 0..3u8, keys()).prop_map(|(name, expected, content, key)| Op::NameBlob { name, expected, content, key }),
        2 => (few, relies(), keys()).prop_map(|(name, expected, key)| Op::UnnameBlob { name, expected, key }),
        2 => Just(Op::Lists),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..40)
}

/// What a program may rely on, without any store: plain maps.
#[derive(Default)]
struct Model {
    streams: BTreeMap<u8, (u64, Vec<u8>)>,
    values: BTreeMap<u8, (Position, u8)>,
    blobs: BTreeMap<u8, u8>,
    answers: BTreeMap<String, (String, Answer)>,
}

/// What came of an operation, without the parts that no model can know.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Done(Done, bool),
    Conflict(Current),
    OtherRequest,
}

fn seen(result: Result<Answer, OpError>) -> (Seen, Option<Answer>) {
    match result {
        Ok(answer) => (Seen::Done(answer.done.clone(), answer.repeated), Some(answer)),
        Err(OpError::Conflict(current)) => (Seen::Conflict(current), None),
        Err(OpError::OtherRequest) => (Seen::OtherRequest, None),
        Err(other) => panic!("{other}"),
    }
}

fn stream(number: u8) -> Name {
    name(["a", "a/b", "a-b"][usize::from(number)])
}

fn content(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) * 3]
}

impl Model {
    fn ends(&self, stream: u8) -> (u64, u64) {
        self.streams.get(&stream).map_or((1, 0), |(first, all)| (*first, all.len() as u64))
    }

    /// The answer of an earlier request with the key, or what the rule says now.
    fn once(
        &mut self,
        key: Option<&String>,
        request: &str,
        rule: impl FnOnce(&mut Self) -> Result<Done, Current>,
    ) -> Seen {
        if let Some((asked, answer)) = key.and_then(|key| self.answers.get(key)) {
            return if asked == request { Seen::Done(answer.done.clone(), true) } else { Seen::OtherRequest };
        }
        match rule(self) {
            Ok(done) => Seen::Done(done, false),
            Err(current) => Seen::Conflict(current),
        }
    }
}

struct Run {
    subject: Subject,
    blobs: MemoryBlobs,
    model: Model,
}

impl Run {
    fn programs(&mut self) -> Programs {
        programs(self.subject.engine(), &self.blobs)
    }

    /// What the program and the model say of a write have to agree.
    fn agree(
        &mut self,
        key: Option<u8>,
        route: &str,
        op: &Op,
        write: impl AsyncFnOnce(Programs, Option<Once>) -> Result<Answer, OpError>,
        rule: impl FnOnce(&mut Model) -> Result<Done, Current>,
    ) -> Result<Option<Answer>, TestCaseError> {
        let request = format!("{op:?}");
        let key = key.map(|key| format!("{route} {key}"));
        let once = key.as_ref().map(|key| Once::new("token", route, key, request.as_bytes()));
        let programs = self.programs();
        let (seen, answer) = seen(block_on(write(programs, once)));
        prop_assert_eq!(&seen, &self.model.once(key.as_ref(), &request, rule), "{}", request);
        if let (Some(key), Some(answer)) = (key, &answer) {
            let first = self.model.answers.entry(key).or_insert((request, answer.clone()));
            prop_assert_eq!(first.1.version, answer.version, "a repeat gives the same version");
        }
        Ok(answer.filter(|answer| !answer.repeated))
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op.clone() {
            Op::Append { stream, expected, values, key } => self.append(stream, expected, values, key),
            Op::Truncate { stream, before, key } => self.truncate(stream, before, key, op),
            Op::Read { stream, from, to, limit, backward } => self.read(stream, from, to, limit, backward),
            Op::Put { name, expected, value, key } => self.put(name, expected, value, key),
            Op::Delete { name, expected, key } => self.delete(name, expected, key),
            Op::Get { name } => self.get(name),
            Op::NameBlob { name, expected, content, key } => self.blob(name, expected, Some(content), key),
            Op::UnnameBlob { name, expected, key } => self.blob(name, expected, None, key),
            Op::Lists => self.lists(),
            Op::Reopen => {
                self.subject.reopen();
                Ok(())
            }
        }
    }

    fn append(&mut self, at: u8, expected: Relies, values: Vec<u8>, key: Option<u8>) -> Result<(), TestCaseError> {
        let last = self.model.ends(at).1;
        let relies = match expected {
            Relies::Nothing => Expected::Any,
            Relies::Absent => Expected::None,
            Relies::Seen => Expected::Exactly(last),
            Relies::Other(other) => Expected::Exactly(other),
        };
        let texts: Vec<JsonText> = values.iter().map(|value| text(&value.to_string())).collect();
        let route = format!("append {at}");
        let op = Op::Append { stream: at, expected: fixed(expected, last), values: values.clone(), key };
        self.agree(
            key,
            &route,
            &op,
            async |programs, once| programs.append(&stream(at), relies, texts, once).await,
            |model| {
                let (first, last) = model.ends(at);
                let wanted = match relies {
                    Expected::Any => last,
                    Expected::None => 0,
                    Expected::Exactly(wanted) => wanted,
                };
                if wanted != last {
                    return Err(Current::Stream { first, last });
                }
                let all = &mut model.streams.entry(at).or_insert((1, Vec::new())).1;
                all.extend(&values);
                Ok(Done::Appended { first: last + 1, last: all.len() as u64 })
            },
        )?;
        Ok(())
    }

    fn truncate(&mut self, at: u8, before: u64, key: Option<u8>, op: &Op) -> Result<(), TestCaseError> {
        let route = format!("truncate {at}");
        self.agree(
            key,
            &route,
            op,
            async |programs, once| programs.truncate(&stream(at), before, once).await,
            |model| {
                let (first, last) = model.ends(at);
                let first = first.max(before.min(last + 1));
                if let Some(standing) = model.streams.get_mut(&at) {
                    standing.0 = first;
                }
                Ok(Done::Truncated { first, last })
            },
        )?;
        Ok(())
    }

    fn put(&mut self, at: u8, expected: Relies, value: u8, key: Option<u8>) -> Result<(), TestCaseError> {
        let version = self.model.values.get(&at).map(|it| it.0);
        let relies = version_of(expected, version);
        let op = Op::Put { name: at, expected: fixed(expected, version.unwrap_or_default().0), value, key };
        let done = self.agree(
            key,
            &format!("put {at}"),
            &op,
            async |programs, once| programs.put(&stream(at), relies, text(&value.to_string()), once.as_ref()).await,
            |_| as_expected(relies, version).map(|()| Done::Put),
        )?;
        if let Some(answer) = done {
            self.model.values.insert(at, (answer.version, value));
        }
        Ok(())
    }

    fn delete(&mut self, at: u8, expected: Relies, key: Option<u8>) -> Result<(), TestCaseError> {
        let version = self.model.values.get(&at).map(|it| it.0);
        let relies = version_of(expected, version);
        let op = Op::Delete { name: at, expected: fixed(expected, version.unwrap_or_default().0), key };
        let done = self.agree(
            key,
            &format!("delete {at}"),
            &op,
            async |programs, once| programs.delete(&stream(at), relies, once.as_ref()).await,
            |_| as_expected(relies, version).map(|()| Done::Deleted),
        )?;
        if done.is_some() {
            self.model.values.remove(&at);
        }
        Ok(())
    }

    fn get(&mut self, at: u8) -> Result<(), TestCaseError> {
        let row = block_on(self.programs().value(&stream(at))).unwrap();
        let row = row.map(|row| (row.version, String::from_utf8(row.value.to_vec()).unwrap()));
        let expected = self.model.values.get(&at).map(|(version, value)| (*version, value.to_string()));
        prop_assert_eq!(row, expected);
        Ok(())
    }

    fn read(&mut self, at: u8, from: u64, to: u64, limit: usize, backward: bool) -> Result<(), TestCaseError> {
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let page = block_on(self.programs().read(&stream(at), &Ask { numbers: from..=to, limit, direction })).unwrap();
        let (first, last) = self.model.ends(at);
        let all = self.model.streams.get(&at).map(|(_, all)| all.clone()).unwrap_or_default();
        let mut expected: Vec<(u64, String)> = (1..).zip(all.iter().map(u8::to_string)).collect();
        expected.retain(|(number, _)| *number >= first.max(from) && *number <= to);
        if backward {
            expected.reverse();
        }
        let more = expected.len() > limit;
        expected.truncate(limit);
        let records: Vec<(u64, String)> =
            page.records.iter().map(|it| (it.sequence, String::from_utf8(it.value.to_vec()).unwrap())).collect();
        prop_assert_eq!(records, expected);
        prop_assert_eq!((page.ends.first, page.ends.last, page.more), (first, last, more));
        Ok(())
    }

    fn blob(&mut self, at: u8, expected: Relies, to: Option<u8>, key: Option<u8>) -> Result<(), TestCaseError> {
        let current = self.model.blobs.get(&at).copied();
        let hash = current.map(|number| BlobHash::of(&content(number)));
        let relies = match expected {
            Relies::Nothing => blobs::Expected::Any,
            Relies::Absent => blobs::Expected::Absent,
            Relies::Seen => hash.map_or(blobs::Expected::Absent, blobs::Expected::Hash),
            Relies::Other(_) => blobs::Expected::Hash(BlobHash::of(b"other")),
        };
        let request = Op::NameBlob {
            name: at,
            expected: fixed(expected, hash.map_or(99, |hash| hash.0[0].into())),
            content: to.unwrap_or(9),
            key,
        };
        let route = format!("blob {} {at}", to.is_some());
        let fits = match relies {
            blobs::Expected::Any => true,
            blobs::Expected::Absent => hash.is_none(),
            blobs::Expected::Hash(wanted) => hash == Some(wanted),
        };
        let done = match to {
            Some(to) => Done::Named { hash: BlobHash::of(&content(to)).to_string(), bytes: content(to).len() as u64 },
            None => Done::Deleted,
        };
        let answer = self.agree(
            key,
            &route,
            &request,
            async |programs, once| match to {
                None => programs.unname_blob(&stream(at), relies, once.as_ref()).await,
                Some(to) => {
                    let mut writer = programs.begin_blob().await?;
                    writer.write(content(to).into()).await?;
                    let stored = writer.finish().await?;
                    programs.name_blob(&stream(at), relies, stored, "text/plain", once.as_ref()).await
                }
            },
            |_| if fits { Ok(done) } else { Err(Current::Blob(hash)) },
        )?;
        match (answer, to) {
            (Some(_), Some(to)) => drop(self.model.blobs.insert(at, to)),
            (Some(_), None) => drop(self.model.blobs.remove(&at)),
            (None, _) => {}
        }
        Ok(())
    }

    fn lists(&mut self) -> Result<(), TestCaseError> {
        let programs = self.programs();
        for prefix in ["", "a", "a-b", "b"] {
            let prefix = prefix.parse().unwrap();
            let covered = |number: &u8| quickbeam::programs::Prefix::covers(&prefix, &stream(*number));
            let sorted = |numbers: Vec<u8>| {
                let mut names: Vec<String> =
                    numbers.into_iter().filter(covered).map(|number| stream(number).to_string()).collect();
                names.sort();
                names
            };
            let streams: Vec<String> =
                block_on(programs.list_streams(&prefix, None, 9)).unwrap().0.into_iter().map(|it| it.0).collect();
            prop_assert_eq!(streams, sorted(self.model.streams.keys().copied().collect()));
            let (values, more) = block_on(programs.list_values(&prefix, None, 9)).unwrap();
            prop_assert!(!more);
            prop_assert_eq!(
                values.into_iter().map(|it| it.name).collect::<Vec<_>>(),
                sorted(self.model.values.keys().copied().collect())
            );
            let blobs: Vec<String> =
                block_on(programs.list_blobs(&prefix, None, 9)).unwrap().0.into_iter().map(|it| it.0).collect();
            prop_assert_eq!(blobs, sorted(self.model.blobs.keys().copied().collect()));
        }
        Ok(())
    }
}

/// The request as it is sent: `Seen` says a number there.
fn fixed(expected: Relies, seen: u64) -> Relies {
    if matches!(expected, Relies::Seen) { Relies::Other(1_000 + seen) } else { expected }
}

fn version_of(expected: Relies, current: Option<Position>) -> kv::Expected {
    match (expected, current) {
        (Relies::Nothing, _) => kv::Expected::Any,
        (Relies::Absent, _) | (Relies::Seen, None) => kv::Expected::Absent,
        (Relies::Seen, Some(version)) => kv::Expected::Version(version),
        (Relies::Other(other), _) => kv::Expected::Version(Position(other)),
    }
}

fn as_expected(expected: kv::Expected, current: Option<Position>) -> Result<(), Current> {
    let fits = match expected {
        kv::Expected::Any => true,
        kv::Expected::Absent => current.is_none(),
        kv::Expected::Version(version) => current == Some(version),
    };
    if fits { Ok(()) } else { Err(Current::Value(current)) }
}

fn agree(subject: Subject, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut run = Run { subject, blobs: no_blobs(), model: Model::default() };
    for op in ops {
        run.step(op)?;
    }
    run.subject.reopen();
    run.lists()?;
    for stream in 0..3 {
        run.read(stream, 0, u64::MAX, 200, false)?;
    }
    only_ours(&*run.subject.engine(), run.model.answers.len())
}

/// Nothing was written outside of the programs' own area, and each answer stands there by key and by time.
fn only_ours(engine: &dyn Engine, answers: usize) -> Result<(), TestCaseError> {
    let rows = block_on(engine.range(Span::prefix(&Key::default(), usize::MAX))).unwrap();
    prop_assert!(rows.iter().all(|row| row.key.starts_with(&layout::everything())));
    let by_time = block_on(engine.range(Span::prefix(&layout::answers_by_time(), usize::MAX))).unwrap();
    prop_assert_eq!(by_time.len(), answers);
    for row in by_time {
        let (_, answer) = layout::answer_of(&row.key).unwrap();
        prop_assert!(block_on(engine.get(&answer)).unwrap().is_some());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_keeps_the_contract(ops in ops()) {
        agree(Subject::memory(), &ops)?;
    }

    #[test]
    fn redb_keeps_the_contract(ops in ops()) {
        agree(Subject::redb(quickbeam::store::redb::Options::default()), &ops)?;
    }

    #[test]
    fn redb_with_a_tiny_overlay_keeps_the_contract(ops in ops()) {
        agree(Subject::cramped(), &ops)?;
    }
}

#[test]
fn appends_that_come_together_all_get_through_in_the_order_in_which_they_came() {
    for mut subject in Subject::all() {
        let programs = programs(subject.engine(), &no_blobs());
        let (stream, programs) = (&name("crowd"), &programs);
        let appends =
            (0..2_000u32).map(|number| programs.append(stream, Expected::Any, vec![text(&number.to_string())], None));
        let answers = block_on(join_all(appends));
        for (number, answer) in (1..).zip(answers) {
            assert_eq!(answer.unwrap().done, Done::Appended { first: number, last: number });
        }
        let ask = Ask { numbers: 1..=u64::MAX, limit: 10_000, direction: Direction::Forward };
        let page = block_on(programs.read(stream, &ask)).unwrap();
        assert!(page.records.iter().all(|record| *record.value == *(record.sequence - 1).to_string().as_bytes()));
        assert_eq!((page.records.len(), page.more), (2_000, false));
    }
}

/// As when another process writes to the same store: the queue of one knows nothing of the other's.
#[test]
fn two_queues_over_one_store_lose_nothing_and_number_nothing_twice() {
    for mut subject in Subject::all() {
        let engine = subject.engine();
        let (one, other) = (&programs(engine.clone(), &no_blobs()), &programs(engine, &no_blobs()));
        let stream = &name("s");
        let keyed = |number: u32| Once::new("token", "append", &(number / 2).to_string(), b"");
        let appends = (0..200u32).map(|number| {
            let programs = if number % 2 == 0 { one } else { other };
            programs.append(stream, Expected::Any, vec![text("1")], Some(keyed(number)))
        });
        let answers: Vec<Answer> = block_on(join_all(appends)).into_iter().map(Result::unwrap).collect();
        assert!(answers.chunks(2).all(|pair| pair[0].done == pair[1].done), "one key, one answer");
        let both = [one, other];
        let appends = (0..200).map(|number| both[number % 2].append(stream, Expected::Any, vec![text("2")], None));
        let last = |answer: Result<Answer, OpError>| match answer.unwrap().done {
            Done::Appended { last, .. } => last,
            done => panic!("{done:?}"),
        };
        let mut lasts: Vec<u64> = block_on(join_all(appends)).into_iter().map(last).collect();
        lasts.sort_unstable();
        assert_eq!(lasts, (101..=300).collect::<Vec<_>>());
    }
}

#[test]
fn of_many_who_expect_the_same_number_one_gets_it() {
    for mut subject in Subject::all() {
        let programs = programs(subject.engine(), &no_blobs());
        let (stream, programs) = (&name("race"), &programs);
        for round in 0..5 {
            let appends = (0..20).map(|_| programs.append(stream, Expected::Exactly(round), vec![text("1")], None));
            let answers = block_on(join_all(appends));
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
            let lost = answers.into_iter().filter_map(Result::err);
            for error in lost {
                assert!(
                    matches!(error, OpError::Conflict(Current::Stream { last, .. }) if last == round + 1),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn the_same_key_at_the_same_instant_is_done_once() {
    for mut subject in Subject::all() {
        let programs = &programs(subject.engine(), &no_blobs());
        let at = &name("n");
        let once = |route: &str, body: &str| Once::new("token", route, "key", body.as_bytes());
        let appends = (0..20).map(|_| programs.append(at, Expected::Any, vec![text("1")], Some(once("a", "1"))));
        for answer in block_on(join_all(appends)) {
            assert_eq!(answer.unwrap().done, Done::Appended { first: 1, last: 1 });
        }
        let other = block_on(programs.append(at, Expected::Any, vec![text("2")], Some(once("a", "2"))));
        assert!(matches!(other, Err(OpError::OtherRequest)), "{other:?}");
        let put = once("p", "1");
        let puts = (0..20).map(|_| programs.put(at, kv::Expected::Absent, text("1"), Some(&put)));
        let versions: Vec<Position> =
            block_on(join_all(puts)).into_iter().map(|answer| answer.unwrap().version).collect();
        assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
        // Another token has keys of its own.
        let theirs = Once::new("other", "a", "key", b"2");
        let answer = block_on(programs.append(at, Expected::Any, vec![text("2")], Some(theirs))).unwrap();
        assert_eq!((answer.done, answer.repeated), (Done::Appended { first: 2, last: 2 }, false));
    }
}

#[test]
fn a_page_ends_by_bytes_and_goes_on_behind_them() {
    let programs = programs(Arc::new(MemoryEngine::default()), &no_blobs());
    let large = format!("\"{}\"", "x".repeat(300_000));
    for number in 0..10 {
        block_on(programs.append(&name("s"), Expected::Any, vec![text(&large)], None)).unwrap();
        block_on(programs.put(&name(&format!("v/{number}")), kv::Expected::Any, text(&large), None)).unwrap();
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let page = block_on(programs.read(&name("s"), &Ask { numbers: 0..=99, limit: 200, direction })).unwrap();
        assert_eq!((page.records.len(), page.more), (4, true));
    }
    let (mut after, mut names) = (None::<String>, Vec::new());
    loop {
        let (values, more) = block_on(programs.list_values(&"v".parse().unwrap(), after.as_deref(), 200)).unwrap();
        assert_eq!(values.len(), 4.min(10 - names.len()));
        names.extend(values.into_iter().map(|named| named.name));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names.len(), 10);
}

#[test]
fn content_lives_as_long_as_a_name_and_a_day_longer() {
    struct Late(std::time::Duration);
    impl Clock for Late {
        fn now(&self) -> quickbeam::clock::Time {
            SystemClock::default().now().plus(self.0)
        }
        fn monotonic(&self) -> std::time::Duration {
            self.0
        }
        fn sleep(&self, _: std::time::Duration) -> futures_util::future::BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
        fn random(&self) -> [u8; 16] {
            [0; 16]
        }
    }
    let (engine, blobs) = (Arc::new(MemoryEngine::default()), no_blobs());
    let now = programs(engine.clone(), &blobs);
    let later = Late(std::time::Duration::from_secs(25 * 3_600));
    let later = Programs::new(engine, Arc::new(blobs.clone()), Arc::new(SoleOwner), Arc::new(later));
    let put = async |at: &str, body: &'static [u8]| {
        let mut writer = now.begin_blob().await.unwrap();
        writer.write(body.into()).await.unwrap();
        let stored = writer.finish().await.unwrap();
        now.name_blob(&name(at), blobs::Expected::Any, stored, "a/b", None).await.unwrap();
    };
    block_on(async {
        put("one", b"shared").await;
        put("two", b"shared").await;
        put("three", b"replaced").await;
        put("three", b"kept").await;
        assert_eq!(now.collect_blobs().await.unwrap(), 0, "nothing is a day old");
        assert_eq!(later.collect_blobs().await.unwrap(), 1, "what was replaced");
        now.unname_blob(&name("one"), blobs::Expected::Any, None).await.unwrap();
        assert_eq!(later.collect_blobs().await.unwrap(), 0, "another name stands for it");
        let entry = now.blob(&name("two")).await.unwrap().unwrap();
        assert_eq!(now.content(&entry).await.unwrap().whole().await.unwrap(), "shared");
        now.unname_blob(&name("two"), blobs::Expected::Hash(entry.hash), None).await.unwrap();
        assert_eq!(later.collect_blobs().await.unwrap(), 1);
        assert!(now.content(&entry).await.is_err());
    });
}

/// An engine that does what it is told to do wrong, once.
struct Broken {
    inner: MemoryEngine,
    next: parking_lot::Mutex<Option<Fault>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing is written, and the disk is full.
    Full,
    /// Written, and yet nobody can say so.
    Lost,
    /// Not written, and nobody can say so.
    Gone,
}

impl Engine for Broken {
    fn get(&self, key: &Key) -> Soon<Result<Option<Versioned>, ReadError>> {
        self.inner.get(key)
    }

    fn range(&self, span: Span) -> Soon<Result<Vec<Row>, ReadError>> {
        self.inner.range(span)
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Outcome> {
        let failure = || Arc::new(Failure::Full(std::io::ErrorKind::StorageFull.into()));
        match self.next.lock().take() {
            None => self.inner.commit(batch),
            Some(Fault::Full) => Box::pin(std::future::ready(Outcome::Failed(failure()))),
            Some(Fault::Gone) => Box::pin(std::future::ready(Outcome::Unknown(failure()))),
            Some(Fault::Lost) => {
                drop(self.inner.commit(batch));
                Box::pin(std::future::ready(Outcome::Unknown(failure())))
            }
        }
    }

    fn changes(&self, prefix: &Key) -> tokio::sync::mpsc::Receiver<Change> {
        self.inner.changes(prefix)
    }
}

#[test]
fn after_a_failure_a_repeat_with_the_same_key_does_it_once() {
    for fault in [Fault::Full, Fault::Lost, Fault::Gone] {
        let engine = Arc::new(Broken { inner: MemoryEngine::default(), next: parking_lot::Mutex::new(None) });
        let programs = programs(engine.clone(), &no_blobs());
        let at = &name("n");
        let once = |route: &str| Once::new("token", route, "key", b"");
        let append = || programs.append(at, Expected::Any, vec![text("1")], Some(once("append")));
        let failed = |result: Result<Answer, OpError>| match result {
            Err(OpError::Failed(_)) => assert!(fault == Fault::Full),
            Err(OpError::Unknown(_)) => assert!(fault != Fault::Full),
            other => panic!("{other:?}"),
        };
        *engine.next.lock() = Some(fault);
        // All of one round share its outcome, and none is told a success.
        let crowd = block_on(join_all([programs.append(at, Expected::Any, vec![text("0")], Some(once("crowd")))]));
        crowd.into_iter().for_each(failed);
        *engine.next.lock() = Some(fault);
        failed(block_on(append()));
        let first = block_on(append()).unwrap();
        assert_eq!(first.repeated, fault == Fault::Lost);
        assert_eq!(block_on(append()).unwrap().done, first.done);
        let written = if fault == Fault::Lost { 2 } else { 1 };
        assert_eq!(block_on(programs.ends(at)).unwrap().last, written);
        *engine.next.lock() = Some(fault);
        let key = once("put");
        let put = || programs.put(at, kv::Expected::Absent, text("1"), Some(&key));
        failed(block_on(put()));
        assert_eq!(block_on(put()).unwrap().repeated, fault == Fault::Lost);
    }
}

#[test]
fn answers_are_forgotten_when_they_are_old_and_what_was_done_stays() {
    block_on(async {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::default());
        let programs = programs(engine.clone(), &no_blobs());
        for number in 0..600 {
            let once = Once::new("token", "route", &format!("{number}"), b"");
            programs.put(&name(&format!("v/{number}")), kv::Expected::Any, text("1"), Some(&once)).await.unwrap();
        }
        let clock = SystemClock::shared();
        let before = clock.now().plus(std::time::Duration::from_millis(1));
        while clock.now() < before {
            tokio::task::yield_now().await;
        }
        let last = Once::new("token", "route", "last", b"");
        let at = name("v/last");
        let put = || programs.put(&at, kv::Expected::Absent, text("1"), Some(&last));
        put().await.unwrap();
        assert_eq!(programs.forget_answers(before).await.unwrap(), 600);
        assert_eq!(programs.forget_answers(before).await.unwrap(), 0);
        assert!(put().await.unwrap().repeated, "the young answer is kept");
        let left = engine.range(Span::prefix(&layout::everything(), 10_000)).await.unwrap();
        assert_eq!(left.len(), 601 + 2, "values, and both rows of one answer");
    });
}
