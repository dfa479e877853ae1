//! Histories of batches by chance, and every state that the answers so far allow a store to be in.

use std::collections::BTreeMap;

use quickbeam::store::{Batch, Condition, Engine, Epoch, Fence, Key, Outcome, Position, Refusal, Row, Shard, Span};

use crate::dice::Dice;
use crate::subject::block_on;

/// Few, so that they meet.
const KEYS: u64 = 18;
/// States that may be held possible at once. Each failure at most doubles them for each batch of its group, and the
/// next reading leaves one.
const WORLDS_MAX: usize = 4_096;
const EVENTS_SHOWN: usize = 40;

/// What one batch asks for.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    stamp: u64,
    shard: u32,
    epoch: u64,
    conditions: Vec<(u64, Option<u64>)>,
    puts: Vec<u64>,
    deletes: Vec<u64>,
}

impl Plan {
    /// Writes nothing, and raises the fences.
    pub(crate) fn raising(shard: u32, epoch: u64) -> Self {
        Self { stamp: 0, shard, epoch, conditions: Vec::new(), puts: Vec::new(), deletes: Vec::new() }
    }

    pub(crate) fn batch(&self) -> Batch {
        let condition = |&(number, version): &(u64, Option<u64>)| match version {
            Some(version) => Condition::Version(key(number), Position(version)),
            None => Condition::Absent(key(number)),
        };
        Batch {
            fence: Fence { shard: Shard(self.shard), epoch: Epoch(self.epoch) },
            conditions: self.conditions.iter().map(condition).collect(),
            puts: self.puts.iter().map(|&number| (key(number), content(self.stamp, number).into())).collect(),
            deletes: self.deletes.iter().map(|&number| key(number)).collect(),
        }
    }
}

/// A row as it ought to be: which batch wrote it, and where, once that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    stamp: u64,
    version: Option<u64>,
}

/// One state that the store may be in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct World {
    rows: BTreeMap<u64, Cell>,
    epochs: BTreeMap<u32, u64>,
    /// A batch queued together with the next ones did not land here though it might have, so that none of those did.
    is_cut: bool,
}

impl World {
    /// Whether a batch can have got this answer here. The version of what an unknown batch wrote is not known until it
    /// was read, and a condition that names it by chance may hold or not.
    fn allows(&self, plan: &Plan, answer: &Result<(), Refusal>) -> bool {
        let current = self.epochs.get(&plan.shard).copied().unwrap_or_default();
        if plan.epoch < current {
            return *answer == Err(Refusal::Fenced { current: Epoch(current) });
        }
        let can_hold = |(key, version): &(u64, Option<u64>)| match (self.rows.get(key), version) {
            (None, None) => true,
            (Some(cell), Some(version)) => cell.version.is_none_or(|known| known == *version),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let can_fail = |(key, version): &(u64, Option<u64>)| match (self.rows.get(key), version) {
            (None, None) => false,
            (Some(cell), Some(version)) => cell.version != Some(*version),
            (None, Some(_)) | (Some(_), None) => true,
        };
        match answer {
            Ok(()) => plan.conditions.iter().all(can_hold),
            Err(Refusal::Condition(at)) => {
                plan.conditions[..*at].iter().all(can_hold) && plan.conditions.get(*at).is_some_and(can_fail)
            }
            Err(Refusal::Fenced { .. }) => false,
        }
    }

    fn apply(&mut self, plan: &Plan, version: Option<u64>) {
        self.epochs.insert(plan.shard, plan.epoch);
        self.rows.extend(plan.puts.iter().map(|&key| (key, Cell { stamp: plan.stamp, version })));
        self.rows.retain(|key, _| !plan.deletes.contains(key));
    }

    fn is(&self, rows: &[(u64, u64, Row)]) -> bool {
        rows.len() == self.rows.len()
            && self.rows.iter().zip(rows).all(|((key, cell), (number, stamp, row))| {
                (key, cell.stamp) == (number, *stamp) && cell.version.is_none_or(|version| version == row.version.0)
            })
    }
}

/// What is known of a store from what it has answered.
#[derive(Debug)]
pub(crate) struct History {
    worlds: Vec<World>,
    /// The highest position acknowledged.
    position: u64,
    stamp: u64,
    /// What whoever writes goes by.
    pub(crate) epoch: u64,
    events: Vec<String>,
    name: String,
}

impl History {
    pub(crate) fn new(name: String) -> Self {
        let worlds = vec![World::default()];
        Self { worlds, position: 0, stamp: 0, epoch: 1, events: Vec::new(), name }
    }

    /// How many were drawn.
    pub(crate) fn batches(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn note(&mut self, event: impl Into<String>) {
        self.events.push(event.into());
        if self.events.len() > 2 * EVENTS_SHOWN {
            self.events.drain(..EVENTS_SHOWN);
        }
    }

    /// A batch by chance: mostly one that lands.
    pub(crate) fn plan(&mut self, dice: &mut Dice) -> Plan {
        self.stamp += 1;
        let epoch = if dice.one_in(25) { self.epoch.saturating_sub(dice.below(3)) } else { self.epoch };
        let mut plan = Plan { stamp: self.stamp, ..Plan::raising(u32::from(dice.one_in(10)), epoch) };
        for number in 0..KEYS {
            match dice.below(18) {
                0..=2 => plan.puts.push(number),
                3 => plan.deletes.push(number),
                _ => {}
            }
        }
        for _ in 0..dice.below(9) / 4 {
            let number = dice.below(KEYS);
            let known = self.worlds[0].rows.get(&number).map(|cell| cell.version.unwrap_or(1));
            let wrong = dice.one_in(6).then(|| Some(dice.below(self.position + 1)));
            plan.conditions.push((number, wrong.unwrap_or(known)));
        }
        plan
    }

    /// What is answered from now on was queued later.
    pub(crate) fn queue(&mut self) {
        self.worlds.iter_mut().for_each(|world| world.is_cut = false);
        self.worlds.dedup();
    }

    /// Takes what became of a batch; those queued together in their order.
    pub(crate) fn answered(&mut self, plan: &Plan, outcome: &Outcome) {
        self.note(format!("{plan:?} → {outcome:?}"));
        let allowed = |answer: Result<(), Refusal>| move |world: &World| world.allows(plan, &answer);
        let mut worlds = std::mem::take(&mut self.worlds);
        match outcome {
            Outcome::Committed(position) => {
                worlds.retain(allowed(Ok(())));
                self.check(position.0 > self.position, "a position that is not above all before it");
                self.position = position.0;
                for world in &mut worlds {
                    world.apply(plan, Some(position.0));
                }
            }
            Outcome::Refused(refusal) => worlds.retain(allowed(Err(refusal.clone()))),
            Outcome::Failed(_) => {}
            Outcome::Unknown(_) => {
                let lands = |world: &&World| !world.is_cut && world.allows(plan, &Ok(()));
                let mut landed: Vec<World> = worlds.iter().filter(lands).cloned().collect();
                landed.iter_mut().for_each(|world| world.apply(plan, None));
                worlds.iter_mut().for_each(|world| world.is_cut = true);
                worlds.append(&mut landed);
            }
        }
        self.check(!worlds.is_empty(), "an answer that no possible state allows");
        self.check(worlds.len() <= WORLDS_MAX, "too many states are possible");
        self.worlds = worlds;
    }

    /// Reads everything; it has to be one of the possible states, and once the store is `settled` it is the only one.
    pub(crate) fn observe(&mut self, rows: Vec<Row>, settled: bool) {
        let read: Vec<(u64, u64, Row)> = rows.into_iter().map(|row| self.recognised(row)).collect();
        if !self.worlds.iter().any(|world| world.is(&read)) {
            let shown: Vec<_> = read.iter().map(|(key, stamp, row)| (key, stamp, row.version.0)).collect();
            let expected: Vec<_> = self.worlds.iter().take(4).collect();
            self.fail(&format!("rows (key, stamp, version) {shown:?} in none of {expected:#?}"));
        }
        if !settled {
            return;
        }
        self.worlds.retain(|world| world.is(&read));
        for world in &mut self.worlds {
            for (key, _, row) in &read {
                world.rows.get_mut(key).expect("they are the same").version = Some(row.version.0);
            }
        }
        self.worlds.dedup();
    }

    /// Each key on its own has to be as in one of the possible states.
    pub(crate) fn observe_one(&mut self, number: u64, engine: &dyn Engine) -> Result<(), quickbeam::store::ReadError> {
        let row = block_on(engine.get(&key(number)))?;
        let row = row.map(|row| Row { key: key(number), version: row.version, value: row.value });
        let found = row.map(|row| self.recognised(row)).map(|(_, stamp, row)| (stamp, row.version.0));
        let allows = |world: &World| match (world.rows.get(&number), found) {
            (None, None) => true,
            (Some(cell), Some((stamp, version))) => {
                cell.stamp == stamp && cell.version.is_none_or(|known| known == version)
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        self.check(self.worlds.iter().any(allows), &format!("key {number} is {found:?}"));
        Ok(())
    }

    /// The row's number and stamp; its content has to be what that batch wrote there, to the last byte.
    fn recognised(&self, row: Row) -> (u64, u64, Row) {
        let number = number_of(&row.key).unwrap_or_else(|| self.fail(&format!("a row {:?} nobody wrote", row.key)));
        let stamp = row.value.first_chunk::<8>().map(|stamp| u64::from_le_bytes(*stamp));
        match stamp {
            Some(stamp) if row.value == content(stamp, number) => (number, stamp, row),
            _ => self.fail(&format!("key {number} has a value that nobody wrote: {:?}", row.value)),
        }
    }

    pub(crate) fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        let events = self.events.join("\n");
        panic!("{}\n{events}\n{what}", self.name);
    }
}

/// Every row of the store.
pub(crate) fn all() -> Span {
    Span::prefix(&Key::default(), usize::MAX)
}

/// Some areas, so that there are several tallies; in the order of the numbers.
pub(crate) fn key(number: u64) -> Key {
    Key::build().text(["east", "north", "west"][usize::try_from(number / 6).unwrap()]).number(number).done()
}

pub(crate) fn keys() -> impl Iterator<Item = Key> {
    (0..KEYS).map(key)
}

fn number_of(key: &Key) -> Option<u64> {
    let mut parts = key.parts();
    parts.text()?;
    parts.number()
}

/// A value that tells which batch wrote it and for which key. Some fill a page and more.
fn content(stamp: u64, number: u64) -> Vec<u8> {
    let mut dice = Dice::of(stamp * KEYS + number);
    let length = match dice.below(40) {
        0 => 9_000,
        1..=4 => 900,
        _ => dice.below(200),
    };
    let mut content = stamp.to_le_bytes().to_vec();
    content.extend((0..length).map(|index| (number + index * (stamp + 1)).to_le_bytes()[0]));
    content
}
