//! A stage for tests of rules: one actor of a kind, its rows, and turns taken one by one, without shell or store.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;

use super::entity::{ActorId, Decision, Entity, Outgoing, Turn};
use super::errands::Errand;
use super::flight::Flying;
use super::prepare::fetch;
use super::rows::{Index, RowKey, Rows};
use super::world::{Accept, Delivery, World};
use super::{layout, record};
use crate::clock::Time;
use crate::domains::catalog;
use crate::domains::effects::Effects;
use crate::domains::flow::kinds::Runners;
use crate::domains::identity::{Authority, Iri};
use crate::domains::trace::Context;
use crate::domains::{blog, events};
use crate::store::{Batch, Engine, Key, MemoryEngine};

/// A world of tests at `https://here.example` that declares this.
pub(super) fn world(declares: &str) -> World {
    let effects = events::register(blog::register(Effects::generic()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("here.toml");
    std::fs::write(&file, format!("{declares}\n[node]\nname = \"here\"\nbase = \"https://here.example\"\n")).unwrap();
    let loaded = catalog::load(&file, std::iter::once(("CRM".to_owned(), "secret".to_owned())), &effects);
    let (_, catalog) = loaded.unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    });
    World {
        name: "here".into(),
        base: "https://here.example".into(),
        authority: Authority::parse("here.example").unwrap(),
        actor: iri("https://here.example/actor"),
        catalog: std::sync::Arc::new(catalog),
        effects,
        accept: Accept::All,
        delivery: Delivery::default(),
        dedupe: std::time::Duration::from_secs(90 * 86_400),
        incarnation: 1,
        reserved: &[],
        runners: Runners::default(),
    }
}

pub(super) fn iri(text: &str) -> Iri {
    Iri::parse(text).unwrap()
}

pub(super) struct Stage<E: Entity> {
    pub(super) state: E,
    pub(super) me: ActorId,
    pub(super) world: World,
    pub(super) now: Time,
    /// Whose message the next turns answer to.
    pub(super) from: Option<ActorId>,
    /// What they are a part of.
    pub(super) trace: Option<Context>,
    pub(super) rows: BTreeMap<Key, Bytes>,
    turns: u8,
}

/// What a turn did.
pub(super) struct Taken<E: Entity> {
    pub(super) reply: E::Reply,
    pub(super) events: Vec<E::Event>,
    messages: Vec<Outgoing>,
    pub(super) timers: BTreeMap<String, Option<Time>>,
    pub(super) errands: Vec<Errand>,
    pub(super) errand_traces: Vec<Option<Context>>,
}

impl<E: Entity> Stage<E> {
    pub(super) fn new(key: &str, declares: &str) -> Self {
        let (me, world) = (ActorId::of::<E>(key), world(declares));
        let now = Time(1_800_000_000_000);
        Self { state: E::default(), me, world, now, from: None, trace: None, rows: BTreeMap::new(), turns: 0 }
    }

    pub(super) fn wait(&mut self, span: std::time::Duration) {
        self.now = self.now.plus(span);
    }

    /// An entry of a shared list that another actor wrote.
    pub(super) fn entry(&mut self, owner: &ActorId, index: Index, key: Key, value: &impl Serialize) {
        let key = layout::row(owner, &RowKey::Index(index, key));
        self.rows.insert(key, record::encode(value));
    }

    /// The entries of a shared list.
    pub(super) fn entries<T: serde::de::DeserializeOwned>(&self, index: Index) -> Vec<T> {
        let prefix = layout::index_prefix(index, &Key::default());
        let rows = self.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
        rows.map(|(_, value)| record::decode(value).unwrap()).collect()
    }

    /// Takes a turn as the shell does, with the command and what is stored written and read back.
    pub(super) fn take(&mut self, command: E::Command) -> Result<Taken<E>, E::Rejection> {
        let command: E::Command = record::decode(&record::encode(&command)).unwrap();
        let rows = self.read(&command);
        self.turns += 1;
        let mut random = [0; 16];
        random[8] = self.turns;
        let (me, from, world, trace) = (&self.me, self.from.as_ref(), &self.world, self.trace.as_ref());
        let turn = Turn { me, from, now: self.now, random, world, trace, noted: true, timed: true };
        let decision = self.state.decide(&turn, &rows, command)?;
        let Decision { reply, events, rows, messages, timers, errands, ends, .. } = decision;
        let (errands, errand_traces) = errands.into_iter().unzip();
        let events: Vec<E::Event> = events.iter().map(|it| record::decode(&record::encode(it)).unwrap()).collect();
        events.iter().for_each(|event| self.state.apply(event));
        self.state = record::decode(&record::encode(&self.state)).unwrap();
        for (key, value) in rows {
            let key = layout::row(&self.me, &key);
            match value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
        if ends {
            self.state = E::default();
        }
        let timers = timers.into_iter().map(|(name, set)| (name, set.map(|(due, _)| due))).collect();
        Ok(Taken { reply, events, messages, timers, errands, errand_traces })
    }

    fn read(&self, command: &E::Command) -> Rows {
        let stored = MemoryEngine::default();
        let puts = self.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        drop(stored.commit(Batch { puts, ..Batch::default() }));
        let stored: Arc<dyn Engine> = Arc::new(stored);
        let fetched = fetch(&stored, &self.me, E::reads(&self.me, command), 0).now_or_never();
        fetched.expect("memory answers at once").unwrap().over(&Flying::default())
    }
}

impl<E: Entity> Taken<E> {
    /// The messages to actors of one kind, with the key of each.
    pub(super) fn told<To: Entity>(&self) -> Vec<(String, To::Command)> {
        let to = self.messages.iter().filter(|message| message.to.kind == To::KIND);
        to.map(|message| (message.to.key.to_string(), record::decode(&message.body).unwrap())).collect()
    }

    /// The traces that the messages to actors of one kind belong to.
    pub(super) fn traces<To: Entity>(&self) -> Vec<Option<Context>> {
        let to = self.messages.iter().filter(|message| message.to.kind == To::KIND);
        to.map(|message| message.trace.clone()).collect()
    }

    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }
}
