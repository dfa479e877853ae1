//! One turn of an instance that this node runs for another one: it steps here, and says what it did before it does it.
//!
//! What its steps ask of its home is carried out there; requests to services leave here, and only when the home has
//! taken over that they were begun. So its home always knows at least as much as anybody outside.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entity::{Decision, Turn};
use super::errands::{Errand, Report};
use super::flow::{Command, Event, Flow, Origin, Rejection, Standing, Start};
use super::hand::{Order, TIMER};
use super::line::{self, Line, Outcome, Said};
use super::moves::Moves;
use super::orders::event_of;
use super::rows::Rows;
use crate::clock::Time;
use crate::domains::effects::Plan;
use crate::domains::flow::expr::Input;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::handover::alarms_of;
use crate::domains::flow::mirror::{self, Doer};
use crate::domains::flow::progress::Progress;
use crate::domains::flow::step;
use crate::domains::flow::turn::planned;
use crate::domains::identity::Iri;
use crate::hex::hex;

/// What it did, as rows: one for each turn.
pub(super) const TURNS: &str = "turn";

/// Whose instance this is, and how far its home is with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lent {
    /// The actor of the node whose instance it is.
    pub home: Iri,
    /// What it is called there.
    pub instance: String,
    /// The number of the offer that was taken.
    pub hold: u32,
    /// Words that it has heard.
    pub heard: u64,
    #[serde(default)]
    pub line: Line,
    /// Its home does not want it any more.
    #[serde(default)]
    pub gone: bool,
}

/// What a node wants run here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lend {
    pub name: String,
    pub definition: String,
    pub input: Input,
    pub lent: Lent,
    pub progress: Progress,
}

/// One turn of an instance, as its home hears of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lasted {
    /// Words that it had heard by then.
    pub heard: u64,
    pub facts: Vec<Fact>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Begun { lent: Box<Lent>, progress: Box<Progress> },
    Heard { words: u64 },
    Line(line::Event),
    Gone,
}

impl Lent {
    pub fn apply(&mut self, what: &What) {
        match what {
            What::Begun { lent, .. } => *self = Self::clone(lent),
            What::Heard { words } => self.heard = *words,
            What::Line(event) => self.line.apply(event),
            What::Gone => self.gone = true,
        }
    }

    /// The base of its home. Ids begin with it, so that the actor's has it too.
    pub(super) fn base(&self) -> String {
        let scheme = if self.home.is_https() { "https" } else { "http" };
        format!("{scheme}://{}", self.home.authority())
    }
}

/// The id under which a node's instance is run here: of another offer it is another.
pub fn id(home: &Iri, instance: &str, hold: u32) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("lent\n{home}\n{instance}\n{hold}").as_bytes());
    hex(&digest[..16])
}

/// A turn in the making.
struct Loan<'a> {
    moves: Moves<'a>,
    lent: Lent,
    base: String,
    before: u64,
    facts: Vec<Fact>,
}

impl Flow {
    /// Takes an instance of another node.
    pub(super) fn lend(&self, turn: &Turn<'_>, lend: Lend) -> Result<Decision<Self>, Rejection> {
        if let Some(progress) = &self.progress {
            return Ok(Decision::reply(Standing { phase: Some(progress.phase()), existed: true }));
        }
        let Lend { name, definition, input, lent, progress } = lend;
        let origin = Origin::Home { actor: lent.home.clone(), instance: lent.instance.clone() };
        let start = Start { name, definition, input, origin };
        let mut moves = Moves::of(turn, Arc::new(start), progress.clone(), None, turn.trace)?;
        moves.begin();
        let what = What::Begun { lent: Box::new(lent.clone()), progress: Box::new(progress) };
        moves.record(Event::Lent { what });
        let mut loan = Loan::of(moves, lent);
        for alarm in alarms_of(&loan.moves.compiled.clone(), &loan.moves.progress) {
            loan.moves.set_alarm(alarm);
        }
        loan.run(step::Event::Handed)?;
        Ok(loan.close(true))
    }

    pub(super) fn decide_lent(
        &self,
        turn: &Turn<'_>,
        rows: &Rows,
        lent: &Lent,
        command: Command,
    ) -> Result<Decision<Self>, Rejection> {
        let unknown = || Rejection::Unknown(turn.me.key.to_string());
        let (start, progress) = self.start.clone().zip(self.progress.clone()).ok_or_else(unknown)?;
        let moves = Moves::of(turn, start, progress, Some(self.at), self.trace.as_ref())?.found_by(&self.traits);
        let mut loan = Loan::of(moves, lent.clone());
        match command {
            Command::Words { by, hold, from, words } => {
                if by != lent.home || hold != lent.hold || lent.gone {
                    return Err(unknown());
                }
                loan.hear(from, words)?;
            }
            Command::Released { by } => {
                if by != lent.home {
                    return Err(unknown());
                }
                loan.gone("its home does not want it any more")?;
            }
            Command::Heard { said: Said::Turns { upto }, report } => loan.answered(upto, report, rows)?,
            Command::Runner(Order::Speak { .. }) if !loan.lent.line.flying => loan.speak(rows),
            Command::Runner(_) | Command::Heard { .. } | Command::Enter { .. } => {}
            other => {
                let event = event_of(turn.me, &loan.moves.progress, other)?;
                loan.run(event)?;
            }
        }
        Ok(loan.close(false))
    }
}

impl<'a> Loan<'a> {
    fn of(moves: Moves<'a>, lent: Lent) -> Self {
        let (base, before) = (lent.base(), lent.heard);
        Self { moves, lent, base, before, facts: Vec::new() }
    }

    fn note(&mut self, what: What) {
        self.lent.apply(&what);
        self.moves.record(Event::Lent { what });
    }

    fn run(&mut self, event: step::Event) -> Result<(), step::Rejection> {
        let (now, random) = (self.moves.turn.now, self.moves.turn.random);
        // Services answer to the home, which is there for as long as the instance is.
        let moment = step::Moment { now, random, base: &self.base };
        let facts = step::decide(&self.moves.compiled, &self.moves.progress, &self.moves.start.input, event, moment)?;
        for fact in facts {
            self.moves.happened(fact.clone());
            self.moves.set_timers(&fact);
            self.facts.push(fact);
        }
        Ok(())
    }

    /// What its home tells it. What cannot be done any more changes nothing.
    fn hear(&mut self, from: u64, words: Vec<Command>) -> Result<(), Rejection> {
        if from > self.lent.heard + 1 {
            return Err(Rejection::Missing { from: self.lent.heard + 1 });
        }
        let new = (from..).zip(words).filter(|(number, _)| *number > self.lent.heard).collect::<Vec<_>>();
        for (number, word) in new {
            if is_for_lent(&word)
                && let Ok(event) = event_of(self.moves.turn.me, &self.moves.progress, word)
            {
                drop(self.run(event));
            }
            self.note(What::Heard { words: number });
        }
        // It is there again.
        if self.lent.line.failures > 0 && !self.lent.line.flying {
            self.speak_at(self.moves.turn.now);
        }
        Ok(())
    }

    /// It ends here, and does nothing more.
    fn gone(&mut self, reason: &str) -> Result<(), Rejection> {
        if self.lent.gone {
            return Ok(());
        }
        if self.moves.progress.end.is_none() {
            let (by, reason) = (Some(self.lent.home.to_string()), reason.to_owned());
            self.run(step::Event::Kill { by, reason })?;
        }
        for number in self.lent.line.heard + 1..=self.lent.line.made {
            self.moves.change(|decision| decision.delete(line::row(TURNS, number)));
        }
        self.note(What::Gone);
        self.moves.change(|decision| decision.cancel(TIMER));
        Ok(())
    }

    fn answered(&mut self, upto: u64, report: Report, rows: &Rows) -> Result<(), Rejection> {
        if self.lent.gone {
            return Ok(());
        }
        match line::outcome(report) {
            Outcome::Taken(_) => {
                let turns: Vec<(u64, Lasted)> = line::found(rows, TURNS);
                self.note(What::Line(line::Event::Heard { upto }));
                for (number, turn) in turns.into_iter().filter(|(number, _)| *number <= upto) {
                    self.moves.change(|decision| decision.delete(line::row(TURNS, number)));
                    turn.facts.iter().try_for_each(|fact| self.do_it(fact))?;
                }
                self.speak(rows);
            }
            Outcome::Refused { kind, why, .. } if kind == "not-held" || kind == "not-found" => self.gone(&why)?,
            Outcome::Refused { status, why, .. } => self.unheard(format!("it answered {status}: {why}")),
            Outcome::Away(why) | Outcome::Never(why) => self.unheard(why),
        }
        Ok(())
    }

    /// Its home knows that this was begun: it leaves.
    fn do_it(&mut self, fact: &Fact) -> Result<(), step::Rejection> {
        let compiled = self.moves.compiled.clone();
        let ours = mirror::doer(&compiled.definition, fact) == Some(Doer::Runner);
        if !ours || !mirror::is_open(&self.moves.progress, fact) {
            return Ok(());
        }
        let effects = &self.moves.turn.world.effects;
        match planned(&compiled, effects, &self.moves.progress, &self.moves.start.input, fact) {
            Some(Ok(call)) => {
                let Plan::Http(request) = call.plan else { return Ok(()) };
                let place =
                    super::flow::Place { step: call.step, item: call.item, attempt: call.attempt, key: call.key };
                self.moves.change(|decision| decision.errand(Errand::Lent { request, place }));
                Ok(())
            }
            Some(Err(failed)) => self.run(failed),
            None => Ok(()),
        }
    }

    fn unheard(&mut self, why: String) {
        let (now, random) = (self.moves.turn.now, self.moves.turn.random[15]);
        let event = self.lent.line.unheard(why, now, random);
        self.note(What::Line(event));
        let until = self.lent.line.trouble.as_ref().map_or(now, |trouble| trouble.until);
        self.speak_at(until);
    }

    fn speak_at(&mut self, at: Time) {
        let speak = Command::Runner(Order::Speak { after: 0 });
        self.moves.change(|decision| decision.timer(TIMER, at, &speak));
    }

    /// Says what waits, a request at a time.
    fn speak(&mut self, rows: &Rows) {
        let heard = self.lent.line.heard;
        let turns: Vec<(u64, Lasted)> = line::found(rows, TURNS);
        let turns = line::fitting(turns.into_iter().filter(|(number, _)| *number > heard));
        if !turns.is_empty() {
            self.send(turns);
        }
    }

    fn send(&mut self, turns: Vec<(u64, Lasted)>) {
        let (Some((from, _)), Some((upto, _))) = (turns.first(), turns.last()) else { return };
        let (from, upto, me) = (*from, *upto, self.moves.turn.me.key.clone());
        let turns: Vec<Lasted> = turns.into_iter().map(|(_, turn)| turn).collect();
        self.note(What::Line(line::Event::Sent));
        let errand = Errand::Signed {
            url: format!("{}/flow/effects/{}", self.base, self.lent.instance),
            key: format!("{me}/{from}-{upto}"),
            body: json!({ "instance": me, "hold": self.lent.hold, "from": from, "turns": turns }),
            needs: Vec::new(),
            said: Said::Turns { upto },
        };
        self.moves.change(|decision| decision.errand(errand));
    }

    /// Writes down what happened in this turn, and says it if nothing waits before it.
    fn close(mut self, changed: bool) -> Decision<Flow> {
        let facts = std::mem::take(&mut self.facts);
        let news = !facts.is_empty() || self.lent.heard > self.before;
        if news && !self.lent.gone {
            let number = self.lent.line.made + 1;
            let turn = Lasted { heard: self.lent.heard, facts };
            self.moves.change(|decision| decision.put(line::row(TURNS, number), &(number, &turn)));
            let first = self.lent.line.is_quiet() && self.lent.line.heard == self.lent.line.made;
            self.note(What::Line(line::Event::Made { count: 1 }));
            if first {
                self.send(vec![(number, turn)]);
            }
        }
        self.moves.close(changed)
    }
}

/// What a home may tell: what people may, and what came of effects.
fn is_for_lent(word: &Command) -> bool {
    matches!(
        word,
        Command::Done(_)
            | Command::Failed(_)
            | Command::Callback { .. }
            | Command::Resume { .. }
            | Command::Retry { .. }
            | Command::Cancel { .. }
            | Command::Pause { .. }
            | Command::Continue { .. }
            | Command::Restart { .. }
            | Command::Edit { .. }
            | Command::Skip { .. }
            | Command::TakeBack { .. }
            | Command::Undo(_)
    )
}
