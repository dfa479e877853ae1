//! What another node says that an instance of ours did: taken over where it can be so, and carried out here.

use super::away::{self, Stage};
use super::flow::{Command, Done, Failed};
use super::hand::{Hand, Order, TIMER, Told};
use super::lent::Lasted;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::mirror::{self, Doer};
use crate::domains::flow::step::{self, Cure};
use crate::domains::flow::turn::planned;

impl Hand<'_> {
    /// Takes over what its runner says; false when that counts for nothing.
    pub(super) fn told(&mut self, told: Told) -> bool {
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
        let line = &self.away.line;
        if self.moves.progress.end.is_some() {
            self.over();
        } else if line.failures > 0 && !line.flying {
            // It is there again.
            self.timer(TIMER, self.moves.turn.now, Order::Speak { after: self.away.line.heard });
        } else if line.is_quiet() {
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
            let (step, item, lost) = (spot.step, spot.item, cure == Cure::Lost);
            Some(Command::Failed(Failed { step, item, attempt, reason, again, person, key, trouble, lost }))
        }
        _ => None,
    }
}
