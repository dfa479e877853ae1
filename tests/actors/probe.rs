//! A kind of actor for tests, with one command for each thing that a shell does.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use quickbeam::actors::entity::{ActorId, Decision, Entity, Kind, Label, Turn};
use quickbeam::actors::errands::{Errand, Recipient, Report};
use quickbeam::actors::rows::{Index, Reads, RowKey, Rows, part, parts};
use quickbeam::actors::world::World;
use quickbeam::clock::Time;
use serde::{Deserialize, Serialize};

/// How often each text still panics; what stands under no key does not.
static PANICS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// Makes the next `times` turns with this text panic. Texts of different tests must differ.
pub(crate) fn panic_on(text: &str, times: u32) {
    PANICS.lock().insert(text.to_owned(), times);
}

/// How far the decisions are that are held, by their texts.
static HELD: Mutex<BTreeMap<String, Held>> = Mutex::new(BTreeMap::new());
static MOVED: Condvar = Condvar::new();
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Asked,
    Begun,
    Over,
}

/// Has the decision about this text keep its thread until it is over. Texts of different tests must differ.
pub(crate) fn hold(text: &str, held: Held) {
    HELD.lock().insert(text.to_owned(), held);
    MOVED.notify_all();
}

pub(crate) fn has_begun(text: &str) -> bool {
    HELD.lock().get(text) == Some(&Held::Begun)
}

fn ponder(text: &str) {
    let mut held = HELD.lock();
    if held.get(text) == Some(&Held::Asked) {
        held.insert(text.to_owned(), Held::Begun);
    }
    while held.get(text) == Some(&Held::Begun) {
        assert!(!MOVED.wait_for(&mut held, PATIENCE).timed_out(), "whoever is to end it does not get to it");
    }
}

fn may_panic(text: &str) {
    let mut panics = PANICS.lock();
    let Some(left) = panics.get_mut(text).filter(|left| **left > 0) else { return };
    *left -= 1;
    drop(panics);
    panic!("as the test wants");
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) total: u64,
    /// What came, in order.
    pub(crate) heard: Vec<String>,
    pub(crate) label: Label,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    Add(u64),
    /// A text from somebody.
    Hear(String),
    /// Tells these texts to another, in one turn.
    Tell {
        to: String,
        texts: Vec<String>,
    },
    Refuse,
    PanicInDecide(String),
    PanicInApply(String),
    PanicInReads(String),
    PutRow {
        name: String,
        value: u64,
    },
    DeleteRow(String),
    PutEntry(String),
    DeleteEntry(String),
    /// Up to so many of its own rows, after one.
    ReadRows {
        after: Option<String>,
        limit: usize,
    },
    ReadRow(String),
    ReadEntries {
        limit: usize,
    },
    Set {
        timer: String,
        due: Time,
        text: String,
    },
    Cancel(String),
    Go(String),
    Back {
        text: String,
        status: u16,
    },
    Become(Label),
    Undelivered(String),
    /// Answers with a new id.
    MakeId,
    /// Leaves nothing of itself.
    End,
    /// Takes long to decide.
    Ponder(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    Added(u64),
    Heard(String),
    Panicked(String),
    Became(Label),
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) total: u64,
    pub(crate) rows: Vec<(String, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused")]
pub(crate) struct Refused;

const LIST: Index = Index::Linked;

fn row(name: &str) -> RowKey {
    RowKey::Own(parts(["row", name]))
}

impl Entity for Probe {
    const KIND: Kind = Kind::Stream;
    type Command = Command;
    type Event = Event;
    type Reply = Seen;
    type Rejection = Refused;

    fn reads(_me: &ActorId, command: &Command) -> Reads {
        match command {
            Command::ReadRows { after, limit } => {
                let after = after.as_ref().map(|after| parts([after]));
                Reads::none().own_page("rows", parts(["row"]), after, *limit)
            }
            Command::ReadRow(name) => Reads::none().own("rows", parts(["row", name])),
            Command::ReadEntries { limit } => Reads::none().list("rows", LIST, parts(["list"]), None, *limit),
            Command::PanicInReads(text) => {
                may_panic(text);
                Reads::none()
            }
            _ => Reads::none(),
        }
    }

    fn decide(&self, turn: &Turn<'_>, rows: &Rows, command: Command) -> Result<Decision<Self>, Refused> {
        let seen = Seen { total: self.total, rows: Vec::new() };
        let decision = Decision::reply(seen.clone());
        Ok(match command {
            Command::Add(number) => {
                Decision::reply(Seen { total: self.total + number, ..seen }).event(Event::Added(number))
            }
            Command::MakeId => {
                let made = Seen { rows: vec![(turn.ulid(0), 0)], ..seen };
                Decision::reply(made).event(Event::Added(1))
            }
            Command::Hear(text) => decision.event(Event::Heard(text)),
            Command::Tell { to, texts } => {
                texts.into_iter().fold(decision, |it, text| it.tell::<Self>(to.as_str(), &command_of(text)))
            }
            Command::Refuse => return Err(Refused),
            Command::PanicInDecide(text) => {
                may_panic(&text);
                decision.event(Event::Heard(text))
            }
            Command::PanicInApply(text) => decision.event(Event::Panicked(text)),
            Command::PanicInReads(text) => decision.event(Event::Heard(text)),
            Command::PutRow { name, value } => decision.put(row(&name), &value),
            Command::DeleteRow(name) => decision.delete(row(&name)),
            Command::PutEntry(name) => {
                decision.put(RowKey::Index(LIST, part().text("list").text(&name).done()), &1_u64)
            }
            Command::DeleteEntry(name) => decision.delete(RowKey::Index(LIST, part().text("list").text(&name).done())),
            Command::ReadRows { .. } | Command::ReadEntries { .. } => {
                let named = |found: &quickbeam::actors::rows::Found| {
                    (found.key.parts().text().unwrap_or_default(), found.read().unwrap_or_default())
                };
                Decision::reply(Seen { rows: rows.page("rows").iter().map(named).collect(), ..seen })
            }
            Command::ReadRow(name) => {
                let value: Option<u64> = rows.one("rows");
                Decision::reply(Seen { rows: value.map(|value| (name, value)).into_iter().collect(), ..seen })
            }
            Command::Set { timer, due, text } => decision.timer(&timer, due, &command_of(text)),
            Command::Cancel(timer) => decision.cancel(&timer),
            Command::Go(text) => {
                let to = Recipient::Inbox(turn.me.to_string());
                decision.errand(Errand::Deliver { activity: text, to, entry: 0, attempt: 0, scheme: None, refusals: 0 })
            }
            Command::Back { text, status } => decision.event(Event::Heard(format!("{text} {status}"))),
            Command::Become(label) => decision.event(Event::Became(label)),
            Command::Undelivered(text) => decision.event(Event::Heard(text)),
            Command::End => decision.end(),
            Command::Ponder(text) => {
                ponder(&text);
                may_panic(&text);
                decision.event(Event::Heard(text))
            }
        })
    }

    fn is_long(&self, _world: &World, command: &Command) -> bool {
        matches!(command, Command::Ponder(_))
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Added(number) => self.total += number,
            Event::Heard(text) => self.heard.push(text.clone()),
            Event::Panicked(text) => {
                self.total += 1_000_000;
                may_panic(text);
                self.heard.push(text.clone());
            }
            Event::Became(label) => self.label = *label,
        }
    }

    fn reported(errand: Errand, report: Report) -> Option<Command> {
        let Errand::Deliver { activity, .. } = errand else { return None };
        let status = match report {
            Report::Answered { status, .. } | Report::Replied { status, .. } => status,
            Report::Unreachable { .. }
            | Report::TimedOut { .. }
            | Report::Impossible { .. }
            | Report::Unusable { .. } => 0,
        };
        Some(match activity.strip_prefix("poison:") {
            Some(text) => Command::PanicInDecide(text.to_owned()),
            None => Command::Back { text: activity, status },
        })
    }

    fn undeliverable(to: &ActorId, _body: &[u8], reason: &str) -> Option<Command> {
        Some(Command::Undelivered(format!("undelivered to {to}: {reason}")))
    }

    fn label(&self) -> Label {
        self.label
    }
}

/// What a text does to the one who gets it: most are heard, some panic.
fn command_of(text: String) -> Command {
    match text.split_once(':') {
        Some(("decide", _)) => Command::PanicInDecide(text),
        Some(("apply", _)) => Command::PanicInApply(text),
        Some(("reads", _)) => Command::PanicInReads(text),
        Some(("ponder", _)) => Command::Ponder(text),
        Some(("tell", to)) => Command::Tell { to: to.to_owned(), texts: vec!["echo".into()] },
        _ => Command::Hear(text),
    }
}
