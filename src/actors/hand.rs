//! One turn of an instance that another node runs, at its home: what it is told goes there, what it did comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::away::{self, Away, Stage};
use super::entity::{Decision, Turn};
use super::errands::{Errand, Report};
use super::flow::{Command, Done, Event, Failed, Flow, Rejection, Start, UndoFor};
use super::lent::Lasted;
use super::line::{self, Said};
use super::moves::Moves;
use super::orders::event_of;
use super::rows::Rows;
use crate::clock::Time;
use crate::domains::flow::check::Compiled;
use crate::domains::flow::definition::DefinitionHash;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::mirror::{self, Doer};
use crate::domains::flow::progress::Progress;
use crate::domains::flow::step::{self, Cure};
use crate::domains::flow::turn::planned;
use crate::domains::identity::Iri;

/// What an instance is to be told, as rows.
pub(super) const WORDS: &str = "word";
/// The timer of everything that is tried again.
pub(super) const TIMER: &str = "runner";
/// The timer of looking after a runner that says nothing.
const LOOK: &str = "look";
/// After which a silent runner is looked after, doubled each time that it has nothing to say.
const LOOK_AFTER: Duration = Duration::from_secs(60);
const LOOK_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// What an instance does by itself about whoever runs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Asks whoever may run it.
    Offer,
    /// Says what waits behind this row.
    Speak { after: u64 },
    /// Looks after a runner that says nothing.
    Look,
    /// Reads what it was told, to go on here.
    ComeHome,
    /// Tells a runner that it is not wanted there any more.
    Release { at: String, instance: String, hold: u32, tries: u32 },
}

/// What a runner says that an instance did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub by: Iri,
    /// Its own name for the instance.
    pub instance: String,
    pub hold: u32,
    /// The number of the first turn.
    pub from: u64,
    pub turns: Vec<Lasted>,
}

/// A turn in the making.
pub(super) struct Hand<'a> {
    pub(super) moves: Moves<'a>,
    pub(super) away: Away,
    /// It was away before this turn, or begins to be.
    pub(super) is_away: bool,
    changed: bool,
    /// Words of this turn, with their numbers.
    words: Vec<(u64, Command)>,
}

impl Flow {
    /// Whether somebody else runs it, or shall: decided when it begins, and then kept to.
    pub(super) fn goes_away(&self, turn: &Turn<'_>, command: &Command) -> bool {
        if self.away.is_some() {
            return true;
        }
        let start = match (command, &self.start) {
            (Command::Start(start), None) => start,
            (_, Some(start)) => start,
            (_, None) => return false,
        };
        let rests = self.progress.as_ref().is_none_or(|progress| progress.end.is_some());
        let definition = turn.world.catalog.definition(&DefinitionHash(start.definition.clone()));
        rests && !self.here && definition.is_some_and(|it| !turn.world.runners.is_for_here(&it.definition))
    }

    /// A turn of an instance that is away.
    pub(super) fn decide_away(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        command: Command,
    ) -> Result<Decision<Self>, Rejection> {
        let mut hand = match &command {
            Command::Start(start) => Hand::of(self, turn, Start::clone(start), None)?,
            Command::Undo(undo) => Hand::of(self, turn, self.known(turn)?, Some(undo.clone()))?,
            _ => Hand::of(self, turn, self.known(turn)?, None)?,
        };
        match command {
            Command::Runner(order) => hand.ordered(order, rows)?,
            Command::Heard { said: Said::Offer { at, hold }, report } => hand.offered(&at, hold, report),
            Command::Heard { said: Said::Words { hold, upto }, report } => hand.said(hold, upto, report, rows),
            Command::Told(told) => {
                if !hand.told(*told) {
                    return Err(Rejection::NotHeld(turn.me.key.to_string()));
                }
            }
            Command::RetryDue { .. }
            | Command::TimedOut { .. }
            | Command::TryTimedOut { .. }
            | Command::WaitOver { .. }
            | Command::Heard { .. } => {}
            Command::Start(_) => {
                hand.moves.begin();
                hand.changed = true;
                hand.at_gates(step::Event::Start)?;
            }
            other => hand.tell(other)?,
        }
        Ok(hand.close())
    }

    fn known(&self, turn: &Turn<'_>) -> Result<Start, Rejection> {
        self.start.clone().ok_or_else(|| Rejection::Unknown(turn.me.key.to_string()))
    }
}

impl<'a> Hand<'a> {
    fn of(flow: &Flow, turn: &'a Turn<'a>, start: Start, undo: Option<Box<UndoFor>>) -> Result<Self, Rejection> {
        let progress = flow.progress.clone().unwrap_or_else(|| Progress::new(turn.me.key.as_ref()));
        let began = flow.progress.as_ref().map(|_| flow.at);
        let moves = Moves::of(turn, start, progress, began)?;
        let moves = moves.found_by(&flow.traits).taken_back_for(flow.undo.clone(), undo);
        let away = flow.away.as_deref().cloned();
        let (is_away, away) = (away.is_some(), away.unwrap_or_else(|| Away { hold: flow.holds, ..Away::default() }));
        Ok(Self { moves, away, is_away, changed: false, words: Vec::new() })
    }

    pub(super) fn note(&mut self, event: away::Event) {
        self.is_away = self.away.apply(&event);
        self.moves.record(Event::Away { what: event });
    }

    pub(super) fn compiled(&self) -> std::sync::Arc<Compiled> {
        self.moves.compiled.clone()
    }

    fn facts(&self, event: step::Event) -> Result<Vec<Fact>, step::Rejection> {
        let moment = self.moves.moment();
        step::decide(&self.moves.compiled, &self.moves.progress, &self.moves.start.input, event, moment)
    }

    fn happened(&mut self, fact: Fact) {
        self.changed |= matches!(fact, Fact::Restarted { input: Some(_), .. });
        self.moves.happened(fact);
    }

    /// What is decided at home before anybody runs it: its limits, and that it begins or is taken back at all. The
    /// steps are the runner's.
    fn at_gates(&mut self, event: step::Event) -> Result<(), Rejection> {
        let facts = self.facts(event)?;
        let moved = !facts.is_empty();
        let own = facts.into_iter().take_while(is_for_home);
        own.for_each(|fact| self.happened(fact));
        let progress = &self.moves.progress;
        let rests = progress.end.is_some() || progress.held.is_some() || progress.queued().is_some();
        match (rests, self.is_away) {
            _ if progress.end.is_some() => self.over(),
            (true, false) if moved => self.note(away::Event::Begun),
            (false, _) if moved => self.offer(),
            _ => {}
        }
        Ok(())
    }

    /// Somebody tells it something, or an effect of it was done here.
    fn tell(&mut self, command: Command) -> Result<(), Rejection> {
        let before = !self.is_away || self.away.stage == Stage::Gates;
        let untouched = self.moves.progress.steps.is_empty() && self.moves.progress.ledger.is_empty();
        let unheld = matches!(self.away.stage, Stage::Offered | Stage::Waiting { .. } | Stage::Nobody);
        let event = event_of(self.moves.turn.me, &self.moves.progress, command.clone())?;
        match &command {
            _ if before => return self.at_gates(event),
            Command::Kill { .. } => {
                let facts = self.facts(event)?;
                facts.into_iter().for_each(|fact| self.happened(fact));
                self.over();
                return Ok(());
            }
            Command::Cancel { .. } if unheld && untouched => return self.at_gates(event),
            Command::Continue { by } if self.away.stage == Stage::Nobody => {
                self.ask_again(by.clone());
                return Ok(());
            }
            Command::Retry { by, .. } if self.away.is_in_trouble() => {
                self.ask_again(by.clone());
                return Ok(());
            }
            Command::Done(_) | Command::Failed(_) => {}
            _ => drop(self.facts(event)?),
        }
        let cancels = matches!(command, Command::Cancel { .. });
        self.word(command);
        if cancels && self.away.is_in_trouble() && self.moves.turn.world.runners.can_here(&self.compiled().definition) {
            self.release();
            self.note(away::Event::Lost { why: "it was cancelled while its runner was away".into() });
            self.come_home();
        }
        Ok(())
    }

    /// All runners are asked anew, without waiting any longer.
    fn ask_again(&mut self, by: Option<String>) {
        self.release();
        if self.away.stage == Stage::Nobody && self.moves.progress.held.is_some() {
            self.moves.happened(Fact::Continued { by });
        }
        self.note(away::Event::Lost { why: "somebody has it offered again".into() });
        self.offer();
    }

    // What it is told

    pub(super) fn word(&mut self, command: Command) {
        let number = self.away.line.made + 1;
        self.moves.change(|decision| decision.put(line::row(WORDS, number), &(number, command.clone())));
        self.note(away::Event::Line(line::Event::Made { count: 1 }));
        self.words.push((number, command));
    }

    /// Sends the words of this turn, unless others wait before them.
    fn send_words(&mut self) {
        let words = std::mem::take(&mut self.words);
        let Some((first, _)) = words.first() else { return };
        let quiet = self.away.line.is_quiet() && self.away.line.heard + 1 == *first;
        if quiet && self.away.instance().is_some() {
            self.send(words);
        }
    }

    fn send(&mut self, words: Vec<(u64, Command)>) {
        let Some(instance) = self.away.instance().map(str::to_owned) else { return };
        let from = words.first().map_or(self.away.line.heard + 1, |(number, _)| *number);
        let upto = words.last().map_or(self.away.line.heard, |(number, _)| *number);
        let hold = self.away.hold;
        let words: Vec<Command> = words.into_iter().map(|(_, word)| word).collect();
        self.note(away::Event::Line(line::Event::Sent));
        self.request(
            format!("{}/flow/words/{instance}", self.away.at),
            format!("{}/{hold}/words/{from}-{upto}/{}", self.moves.turn.me.key, self.away.looks),
            json!({ "hold": hold, "from": from, "words": words }),
            Said::Words { hold, upto },
            Vec::new(),
        );
    }

    pub(super) fn request(&mut self, url: String, key: String, body: Value, said: Said, needs: Vec<String>) {
        self.moves.change(|decision| decision.errand(Errand::Signed { url, key, body, needs, said }));
    }

    fn said(&mut self, hold: u32, upto: u64, report: Report, rows: &Rows) {
        if hold != self.away.hold || self.away.instance().is_none() {
            return;
        }
        match line::outcome(report) {
            line::Outcome::Taken(_) => {
                self.note(away::Event::Line(line::Event::Heard { upto }));
                self.speak(rows);
            }
            line::Outcome::Refused { status: 404 | 410, why, .. } => {
                self.note(away::Event::Lost { why: format!("{} does not have it any more: {why}", self.away.at) });
                self.offer();
            }
            line::Outcome::Refused { status, why, .. } => self.unheard(format!("it answered {status}: {why}")),
            line::Outcome::Away(why) | line::Outcome::Never(why) => self.unheard(why),
        }
    }

    fn unheard(&mut self, why: String) {
        let (now, random) = (self.moves.turn.now, self.moves.turn.random[15]);
        let event = self.away.line.unheard(why, now, random);
        self.note(away::Event::Line(event));
        let after = self.away.line.heard;
        let until = self.away.line.trouble.as_ref().map_or(now, |trouble| trouble.until);
        self.timer(TIMER, until, Order::Speak { after });
    }

    pub(super) fn timer(&mut self, name: &str, at: Time, order: Order) {
        self.moves.change(|decision| decision.timer(name, at, &Command::Runner(order)));
    }

    /// Says what waits, a request at a time; looks after the runner later when there is nothing.
    fn speak(&mut self, rows: &Rows) {
        let heard = self.away.line.heard;
        let words: Vec<(u64, Command)> = line::found(rows, WORDS);
        let words = line::fitting(words.into_iter().filter(|(number, _)| *number > heard));
        if words.is_empty() { self.look_later() } else { self.send(words) }
    }

    pub(super) fn look_later(&mut self) {
        let wait = LOOK_AFTER.saturating_mul(1 << self.away.looks.min(10)).min(LOOK_AFTER_MAX);
        let at = self.moves.turn.now.plus(wait);
        self.timer(LOOK, at, Order::Look);
    }

    fn ordered(&mut self, order: Order, rows: &Rows) -> Result<(), Rejection> {
        match order {
            Order::Offer if matches!(self.away.stage, Stage::Waiting { .. }) => {
                self.note(away::Event::Lost { why: "everybody is asked again".into() });
                self.offer();
            }
            Order::Speak { .. } if self.away.instance().is_some() && !self.away.line.flying => {
                let pressed = self.away.line.failures > 0;
                let words: Vec<(u64, Command)> = line::found(rows, WORDS);
                if words.is_empty() && pressed { self.send(Vec::new()) } else { self.speak(rows) }
            }
            Order::Look if self.away.instance().is_some() && self.away.line.is_quiet() => {
                self.note(away::Event::Looked);
                self.send(Vec::new());
            }
            Order::ComeHome if self.away.stage == Stage::ComingHome => self.read_words(rows)?,
            _ => {}
        }
        Ok(())
    }

    // What it did

    /// Takes over what its runner says; false when that counts for nothing.
    fn told(&mut self, told: Told) -> bool {
        let holds = matches!(self.away.stage, Stage::Offered | Stage::Held { .. })
            && told.hold == self.away.hold
            && self.moves.turn.world.runners.remotes().any(|it| it.base == self.away.at && it.actor == told.by);
        if !holds {
            return false;
        }
        if self.away.stage == Stage::Offered {
            self.taken(told.instance.clone());
        }
        if told.from > self.away.said + 1 {
            self.release();
            self.note(away::Event::Lost { why: format!("turns before {} of its runner are missing here", told.from) });
            self.offer();
            return true;
        }
        let new: Vec<Lasted> = (told.from..)
            .zip(told.turns)
            .filter(|(number, _)| *number > self.away.said)
            .map(|(_, turn)| turn)
            .collect();
        if let Err(why) = self.can_be(&new) {
            self.lied(&why);
            return true;
        }
        self.take_over(new);
        true
    }

    /// All of it, before any of it counts.
    fn can_be(&self, turns: &[Lasted]) -> Result<(), String> {
        let (compiled, mut progress) = (&self.moves.compiled, self.moves.progress.clone());
        let mut heard = self.away.covered;
        for turn in turns {
            if turn.heard < heard || turn.heard > self.away.line.made {
                return Err("it heard what nobody said".to_owned());
            }
            heard = turn.heard;
            for fact in &turn.facts {
                mirror::check(compiled, &progress, fact)?;
                progress.apply(fact);
            }
        }
        mirror::within_bounds(compiled, &progress)
    }

    fn take_over(&mut self, turns: Vec<Lasted>) {
        let Some(last) = turns.last() else { return };
        let (upto, heard, covered) = (self.away.said + turns.len() as u64, last.heard, self.away.covered);
        let started: Vec<Fact> =
            turns.iter().flat_map(|turn| turn.facts.iter()).filter(|it| starts(it)).cloned().collect();
        turns.into_iter().flat_map(|turn| turn.facts).for_each(|fact| self.happened(fact));
        self.forget_words(covered, heard);
        self.note(away::Event::Said { upto, heard });
        for fact in started {
            self.carry_out(&fact);
        }
        if self.moves.progress.end.is_some() {
            self.over();
        } else if self.away.line.is_quiet() {
            self.look_later();
        }
    }

    /// Does here what a step asks of this node.
    fn carry_out(&mut self, fact: &Fact) {
        let compiled = self.compiled();
        let ours = mirror::doer(&compiled.definition, fact) == Some(Doer::Home);
        if !ours || !mirror::is_open(&self.moves.progress, fact) {
            return;
        }
        let (world, progress) = (self.moves.turn.world, &self.moves.progress);
        let Some(call) = planned(&compiled, &world.effects, progress, &self.moves.start.input, fact) else { return };
        let key = key_of(fact).to_owned();
        let outcome = match call {
            Ok(call) => self.moves.set_out(call),
            Err(failed) => Some(failed),
        };
        if let Some(word) = outcome.and_then(|event| word_of(event, key)) {
            self.word(word);
        }
    }

    fn forget_words(&mut self, after: u64, upto: u64) {
        for number in after + 1..=upto {
            self.moves.change(|decision| decision.delete(line::row(WORDS, number)));
        }
    }

    /// It has ended: nobody else has a word in it any more.
    pub(super) fn over(&mut self) {
        if !self.is_away {
            return;
        }
        // Whoever ran it to its end knows.
        if !matches!(self.away.stage, Stage::Held { .. }) || self.moves.is_killed() {
            self.release();
        }
        self.forget_words(self.away.covered, self.away.line.made);
        self.words.clear();
        self.note(away::Event::Over);
        self.moves.change(|decision| decision.cancel(TIMER).cancel(LOOK));
    }

    fn close(mut self) -> Decision<Flow> {
        self.send_words();
        self.moves.close(self.changed)
    }
}

/// What is decided at home, whoever runs the steps.
fn is_for_home(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Queued { .. }
            | Fact::Admitted { .. }
            | Fact::Restarted { .. }
            | Fact::Paused { .. }
            | Fact::Continued { .. }
            | Fact::Undoing { .. }
            | Fact::FlowFailed { .. }
            | Fact::FlowCancelled { .. }
            | Fact::FlowKilled { .. }
    )
}

fn starts(fact: &Fact) -> bool {
    matches!(fact, Fact::StepStarted { .. } | Fact::UndoStarted { .. } | Fact::NotifyStarted { .. })
}

fn key_of(fact: &Fact) -> &str {
    match fact {
        Fact::StepStarted { key, .. } | Fact::UndoStarted { key, .. } | Fact::NotifyStarted { key, .. } => key,
        _ => "",
    }
}

/// What came of an effect at once, as its runner is told.
fn word_of(event: step::Event, key: String) -> Option<Command> {
    match event {
        step::Event::Done { spot, result } => {
            Some(Command::Done(Done { step: spot.step, item: spot.item, result, key }))
        }
        step::Event::Failed { spot, attempt, reason, cure, trouble } => {
            let (again, person) = (cure == Cure::Time, matches!(cure, Cure::Person | Cure::Missing));
            let (step, item) = (spot.step, spot.item);
            Some(Command::Failed(Failed { step, item, attempt, reason, again, person, key, trouble }))
        }
        _ => None,
    }
}
