//! A schedule: begins instances of a flow, each at a tick, as the configuration declares.
//!
//! ```text
//! none ──declared──▶ waits ──tick──▶ waits          begins an instance, or leaves the tick out, or keeps it for later
//!                    │   ▲
//!              pause ▼   │ continue
//!                   paused                          whatever it is: ──no longer declared──▶ none
//! ```
//! The next tick is a timer. Its turn begins the instance and sets the next one, so that a crash loses none and repeats
//! none; ticks that passed meanwhile are one, which says how many. Who runs, and what was begun lately, are rows.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use super::flow::{self, Origin};
use super::record;
use super::rows::{Reads, RowKey, Rows, part, parts};
use super::ticking::Ticking;
use crate::clock::Time;
use crate::domains::flow::progress::Phase;
use crate::domains::schedule::Overlap;
use crate::hex::hex;
use crate::store::Key;

/// Beginnings that are kept for people to see.
pub const RUNS_KEPT: u64 = 100;
/// Rows looked at in one turn; what is beyond them gets a turn of its own.
pub(super) const PAGE: usize = 64;

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What it goes by; `None` before it was declared.
    #[serde(default)]
    pub plan: Option<Plan>,
    /// The next tick; none while it is paused.
    #[serde(default)]
    pub next: Option<Time>,
    #[serde(default)]
    pub paused: Option<Paused>,
    /// A tick that begins its instance when all earlier ones have ended.
    #[serde(default)]
    pub waiting: Option<Tick>,
    /// Instances that have not ended.
    pub running: u64,
    /// Instances begun so far, and how many of them are kept as rows.
    pub begun: u64,
    pub kept: u64,
    /// Ticks that passed while nobody could answer them; at least so many with `missed_more`.
    pub missed: u64,
    #[serde(default)]
    pub missed_more: bool,
    /// Ticks left out because an earlier instance had not ended.
    pub skipped: u64,
    /// When it last began one.
    #[serde(default)]
    pub last: Option<Time>,
}

/// What the configuration said when the next tick was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub when: String,
    pub overlap: Overlap,
    pub paused: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub at: Time,
    /// `None`: the configuration says so.
    #[serde(default)]
    pub by: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
}

/// A moment at which an instance begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub due: Time,
    /// The instance that it begins.
    pub flow: String,
    /// Ticks after it that passed before it could be answered: it stands for them too.
    #[serde(default)]
    pub missed: u64,
    /// They were more than were counted.
    #[serde(default)]
    pub more: bool,
    /// Who asked for it, if it is none of the schedule's own.
    #[serde(default)]
    pub by: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Be as the configuration says: at every start, and now and then.
    Ensure,
    /// The time of a tick has come.
    Due {
        at: Time,
    },
    /// Begin an instance now.
    Fire {
        by: String,
        /// Unless it is to be as declared.
        #[serde(default)]
        overlap: Option<Overlap>,
    },
    Pause {
        by: String,
        #[serde(default)]
        reason: Option<String>,
    },
    Continue {
        by: String,
    },
    /// An instance has ended; without a phase there never was one.
    Ended {
        flow: String,
        due: Time,
        #[serde(default)]
        phase: Option<Phase>,
    },
    /// Cancels those that run, a page at a time.
    CancelRunning {
        #[serde(default)]
        after: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Bound {
        plan: Plan,
    },
    /// When the next tick is.
    Planned {
        next: Option<Time>,
    },
    Begun {
        tick: Tick,
        at: Time,
    },
    /// A tick was left out: an earlier instance had not ended.
    Skipped {
        tick: Tick,
    },
    /// A tick waits until the earlier instances have ended.
    Waits {
        tick: Tick,
    },
    /// The tick that waited does so no more, and began nothing.
    Dropped {
        tick: Tick,
    },
    Ended {
        flow: String,
    },
    Paused(Paused),
    Continued {
        by: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no schedule {0}; `quickbeam schedules` lists them")]
    Unknown(String),
    #[error(
        "schedule {name} begins nothing now: {flows} has not ended, and the overlap is skip; cancel it, or say overlap = allow, queue or cancel"
    )]
    StillRuns { name: String, flows: String },
    #[error("schedule {0} has a tick already that waits until the instances before it have ended")]
    Waits(String),
}

/// What came of telling it something.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The instance that begins now.
    #[serde(default)]
    pub begun: Option<String>,
    /// The instance that begins when those before it have ended.
    #[serde(default)]
    pub waits: Option<String>,
}

/// The row of one that was begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub tick: Tick,
    pub at: Time,
    #[serde(default)]
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub at: Time,
    /// How; `None` when it never was.
    #[serde(default)]
    pub phase: Option<Phase>,
}

/// The instance of a tick: the same whenever that is answered. `tick` is its time, or new for one that somebody asks for.
pub(super) fn instance(schedule: &str, tick: &str) -> String {
    let digest = Sha256::digest(format!("schedule\n{schedule}\n{tick}").as_bytes());
    hex(&digest[..16])
}

/// What was begun lately, by the time of its tick.
pub fn run_rows() -> RowKey {
    RowKey::Own(runs())
}

/// Those that have not ended.
pub fn running_rows() -> RowKey {
    RowKey::Own(running())
}

fn runs() -> Key {
    parts(["run"])
}

fn running() -> Key {
    parts(["running"])
}

pub(super) fn run_key(due: Time, flow: &str) -> Key {
    part().text("run").number(due.0).text(flow).done()
}

pub(super) fn running_key(flow: &str) -> Key {
    parts(["running", flow])
}

impl Entity for Schedule {
    const KIND: Kind = Kind::Schedule;
    type Command = Command;
    type Event = Event;
    type Reply = Standing;
    type Rejection = Rejection;

    fn reads(me: &ActorId, command: &Command) -> Reads {
        let reads = Reads::none().own_page("oldest", runs(), None, 1);
        match command {
            Command::Ensure => {
                Reads::none().own_page("runs", runs(), None, PAGE).own_page("running", running(), None, PAGE)
            }
            Command::Due { at } => {
                let again = run_key(*at, &instance(&me.key, &at.0.to_string()));
                reads.own("again", again).own_page("running", running(), None, PAGE)
            }
            Command::Fire { .. } => reads.own_page("running", running(), None, PAGE),
            Command::Ended { flow, due, .. } => {
                reads.own("run", run_key(*due, flow)).own("runs still", running_key(flow))
            }
            Command::CancelRunning { after } => {
                let after = after.as_ref().map(|flow| parts([flow.as_str()]));
                Reads::none().own_page("running", running(), after, PAGE)
            }
            Command::Pause { .. } | Command::Continue { .. } => Reads::none(),
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Rejection> {
        let Some(declared) = turn.world.catalog.schedule(&turn.me.key) else { return self.gone(turn, rows, &command) };
        let mut ticking = Ticking::of(self, turn, rows, declared);
        match command {
            Command::Ensure => ticking.check_clock(),
            Command::Due { at } => ticking.due(at),
            Command::Fire { by, overlap } => ticking.fire(by, overlap)?,
            Command::Pause { by, reason } => ticking.pause(Paused { at: turn.now, by: Some(by), reason }),
            Command::Continue { by } => ticking.go_on(Some(by)),
            Command::Ended { flow, due, phase } => ticking.ended(&flow, due, phase),
            Command::CancelRunning { .. } => ticking.cancel_running(),
        }
        Ok(ticking.finish())
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Bound { plan } => self.plan = Some(plan.clone()),
            Event::Planned { next } => self.next = *next,
            Event::Begun { tick, at } => {
                if self.waiting.as_ref().is_some_and(|waiting| waiting.flow == tick.flow) {
                    self.waiting = None;
                } else {
                    self.miss(tick);
                }
                self.running += 1;
                self.begun += 1;
                self.kept = (self.kept + 1).min(RUNS_KEPT);
                self.last = Some(*at);
            }
            Event::Skipped { tick } => {
                self.miss(tick);
                self.skipped += 1;
            }
            Event::Waits { tick } => {
                self.miss(tick);
                self.waiting = Some(tick.clone());
            }
            Event::Dropped { .. } => {
                self.waiting = None;
                self.skipped += 1;
            }
            Event::Ended { .. } => self.running = self.running.saturating_sub(1),
            Event::Paused(paused) => {
                self.paused = Some(paused.clone());
                self.next = None;
            }
            Event::Continued { .. } => self.paused = None,
        }
    }

    /// An instance that could not be told to begin does not run.
    fn undeliverable(to: &ActorId, body: &[u8], _reason: &str) -> Option<Command> {
        let command = (to.kind == Kind::Flow).then(|| record::decode::<flow::Command>(body).ok())??;
        let flow = to.key.to_string();
        match command {
            flow::Command::Start(start) => match start.origin {
                Origin::Schedule { due, .. } => Some(Command::Ended { flow, due, phase: None }),
                _ => None,
            },
            flow::Command::StillRuns { due } => Some(Command::Ended { flow, due, phase: None }),
            _ => None,
        }
    }

    fn label(&self) -> Label {
        if self.paused.is_some() { Label::Suspended } else { Label::Idle }
    }
}

impl Schedule {
    fn miss(&mut self, tick: &Tick) {
        self.missed += tick.missed;
        self.missed_more |= tick.more;
    }

    /// It is not declared any more: nothing of it stays. What it began goes on.
    fn gone(&self, turn: &Turn<'_>, rows: &Rows, command: &Command) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Fire { .. } | Command::Pause { .. } | Command::Continue { .. } => {
                return Err(Rejection::Unknown(turn.me.key.to_string()));
            }
            Command::Ensure => {}
            Command::Due { .. } | Command::Ended { .. } | Command::CancelRunning { .. } => {
                return Ok(Decision::default().tell::<Self>(turn.me.key.clone(), &Command::Ensure));
            }
        }
        let under = |prefix: Key, key: &Key| RowKey::Own(part().raw(prefix.as_bytes()).raw(key.as_bytes()).done());
        let (begun, running_now) = (rows.page("runs"), rows.page("running"));
        let keys = begun.iter().map(|row| under(runs(), &row.key));
        let keys = keys.chain(running_now.iter().map(|row| under(running(), &row.key)));
        let decision = keys.fold(Decision::default().cancel("due"), Decision::delete);
        if begun.len() == PAGE || running_now.len() == PAGE {
            return Ok(decision.tell::<Self>(turn.me.key.clone(), &Command::Ensure));
        }
        Ok(decision.end())
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
