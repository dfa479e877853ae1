//! Random histories against a plain map: every engine has to agree with it, whatever is checkpointed or reopened between.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use proptest::prelude::*;
use quickbeam::store::{
    Batch, Condition, Direction, Engine, Epoch, Fence, Key, Outcome, Position, Refusal, Row, Shard, Span, Versioned,
};

use crate::subject::{Subject, block_on, cramped};

/// What a program does; keys are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    /// Queued together, so that they share a group.
    Commit(Vec<Plan>),
    Get(u8),
    Range(u8, u8, usize, bool),
    Checkpoint,
    Reopen,
}

#[derive(Debug, Clone)]
struct Plan {
    shard: u32,
    epoch: u64,
    conditions: Vec<(u8, Expect)>,
    puts: BTreeMap<u8, u8>,
    deletes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Absent,
    /// The version at which the model has the key when the batch is queued: mostly right.
    Seen,
    Version(u64),
}

fn key(number: u8) -> Key {
    // Some share a prefix, some are that prefix, one is empty.
    match number % 12 {
        0 => Key::default(),
        number => Key::build().text(&format!("{}", number % 3)).bytes(&vec![0; usize::from(number / 3)]).done(),
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let expect = prop_oneof![
        2 => Just(Expect::Absent),
        4 => Just(Expect::Seen),
        1 => (0..40u64).prop_map(Expect::Version),
    ];
    (
        prop_oneof![9 => Just(0u32), 1 => Just(1)],
        prop_oneof![9 => Just(1u64), 1 => 0..3u64],
        prop::collection::vec((0..12u8, expect), 0..3),
        prop::collection::btree_map(0..12u8, any::<u8>(), 0..4),
        prop::collection::vec(0..12u8, 0..4),
    )
        .prop_map(|(shard, epoch, conditions, puts, mut deletes)| {
            deletes.retain(|key| !puts.contains_key(key));
            Plan { shard, epoch, conditions, puts, deletes }
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop::collection::vec(plans(), 1..5).prop_map(Step::Commit),
        3 => (0..12u8).prop_map(Step::Get),
        4 => (0..13u8, 0..13u8, 0..8usize, any::<bool>()).prop_map(|(a, b, limit, back)| Step::Range(a, b, limit, back)),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..30)
}

#[derive(Default)]
struct Model {
    rows: BTreeMap<Key, (Position, u8)>,
    epochs: BTreeMap<u32, u64>,
    last: Position,
}

impl Model {
    fn version(&self, number: u8) -> Option<Position> {
        self.rows.get(&key(number)).map(|(version, _)| *version)
    }

    fn batch(&self, plan: &Plan) -> Batch {
        let condition = |&(number, expect): &(u8, Expect)| match (expect, self.version(number)) {
            (Expect::Version(version), _) => Condition::Version(key(number), Position(version)),
            (Expect::Seen, Some(version)) => Condition::Version(key(number), version),
            (Expect::Absent, _) | (Expect::Seen, None) => Condition::Absent(key(number)),
        };
        Batch {
            fence: Fence { shard: Shard(plan.shard), epoch: Epoch(plan.epoch) },
            conditions: plan.conditions.iter().map(condition).collect(),
            puts: plan.puts.iter().map(|(&number, &value)| (key(number), vec![value; 40].into())).collect(),
            deletes: plan.deletes.iter().map(|&number| key(number)).collect(),
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Position, Refusal> {
        let epoch = self.epochs.get(&batch.fence.shard.0).copied().unwrap_or(0);
        if batch.fence.epoch.0 < epoch {
            return Err(Refusal::Fenced { current: Epoch(epoch) });
        }
        let holds = |condition: &Condition| match condition {
            Condition::Absent(key) => !self.rows.contains_key(key),
            Condition::Version(key, version) => self.rows.get(key).is_some_and(|row| row.0 == *version),
        };
        if let Some(index) = batch.conditions.iter().position(|condition| !holds(condition)) {
            return Err(Refusal::Condition(index));
        }
        self.last.0 += 1;
        self.epochs.insert(batch.fence.shard.0, batch.fence.epoch.0);
        self.rows.extend(batch.puts.iter().map(|(key, value)| (key.clone(), (self.last, value[0]))));
        self.rows.retain(|key, _| !batch.deletes.contains(key));
        Ok(self.last)
    }

    fn range(&self, span: &Span) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.rows.iter().filter(|(key, _)| span.from <= **key && **key < span.to).map(row).collect();
        if span.direction == Direction::Backward {
            rows.reverse();
        }
        rows.truncate(span.limit);
        rows
    }
}

fn row((key, (version, value)): (&Key, &(Position, u8))) -> Row {
    Row { key: key.clone(), version: *version, value: vec![*value; 40].into() }
}

fn span(from: u8, to: u8, limit: usize, backward: bool) -> Span {
    let to = if to == 12 { Key::default().after_prefix() } else { key(to) };
    let direction = if backward { Direction::Backward } else { Direction::Forward };
    Span { from: key(from), to, limit, direction }
}

fn agree(mut subject: Subject, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for step in steps {
        let engine = subject.engine();
        match step {
            Step::Commit(plans) => {
                let batches: Vec<Batch> = plans.iter().map(|plan| model.batch(plan)).collect();
                let outcomes = block_on(join_all(batches.iter().map(|batch| engine.commit(batch.clone()))));
                for (batch, outcome) in batches.iter().zip(outcomes) {
                    match (outcome, model.commit(batch)) {
                        (Outcome::Committed(position), expected) => prop_assert_eq!(Ok(position), expected),
                        (Outcome::Refused(refusal), expected) => prop_assert_eq!(Err(refusal), expected),
                        (other, expected) => prop_assert!(false, "{:?} instead of {:?}", other, expected),
                    }
                }
            }
            Step::Get(number) => {
                let expected = model.rows.get(&key(*number));
                let expected = expected.map(|&(version, value)| Versioned { version, value: vec![value; 40].into() });
                prop_assert_eq!(block_on(engine.get(&key(*number))).unwrap(), expected);
            }
            &Step::Range(from, to, limit, backward) => {
                let span = span(from, to, limit, backward);
                prop_assert_eq!(block_on(engine.range(span.clone())).unwrap(), model.range(&span));
            }
            Step::Checkpoint => checkpoint(&subject),
            Step::Reopen => {
                drop(engine);
                subject.reopen();
            }
        }
    }
    everything_agrees(&*subject.engine(), &model)?;
    subject.reopen();
    everything_agrees(&*subject.engine(), &model)?;
    checkpoint(&subject);
    everything_agrees(&*subject.engine(), &model)?;
    undamaged(&subject)
}

fn everything_agrees(engine: &dyn Engine, model: &Model) -> Result<(), TestCaseError> {
    let all = span(0, 12, usize::MAX, false);
    prop_assert_eq!(block_on(engine.range(all.clone())).unwrap(), model.range(&all));
    Ok(())
}

fn checkpoint(subject: &Subject) {
    if matches!(subject, Subject::Redb { .. }) {
        block_on(subject.on_disk().checkpoint()).unwrap();
    }
}

fn undamaged(subject: &Subject) -> Result<(), TestCaseError> {
    if matches!(subject, Subject::Redb { .. }) {
        let scrub = block_on(subject.on_disk().scrub()).unwrap();
        prop_assert_eq!(scrub.listed, Vec::<String>::new());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_the_model(steps in steps()) {
        agree(Subject::memory(), &steps)?;
    }

    #[test]
    fn redb_agrees_with_the_model(steps in steps()) {
        agree(Subject::redb(quickbeam::store::redb::Options::default()), &steps)?;
    }

    #[test]
    fn redb_with_a_tiny_overlay_agrees_with_the_model(steps in steps()) {
        agree(Subject::redb(cramped()), &steps)?;
    }
}
