//! One turn of a gate in the making: who leaves, who comes, and who of those that wait is let in.

use std::collections::VecDeque;

use super::entity::{Decision, Entity, Turn};
use super::flow::{self, Flow};
use super::gate::{
    AUDIT, About, Command, Event, Gate, Listed, PAGE, Place, Stand, begun_row, idle_for, inside_row, list_row,
    place_row, wait_row,
};
use super::rows::Rows;
use crate::clock::Time;
use crate::domains::catalog::Catalog;
use crate::domains::flow::limits::Limit;

/// One turn of a gate in the making.
pub(super) struct Round<'a> {
    turn: &'a Turn<'a>,
    before: &'a Gate,
    /// The state with the events so far.
    gate: Gate,
    about: About,
    /// The first that wait, with their numbers.
    waiting: VecDeque<(u64, Place)>,
    /// Came in this turn, and has no rows yet.
    new: Option<Place>,
    /// The oldest beginnings that are kept.
    begun: VecDeque<(u64, Time)>,
    /// There are no others.
    all_begun: bool,
    decision: Decision<Gate>,
}

/// Whether one more may be let in.
enum Room {
    Yes,
    /// Not before somebody leaves.
    No,
    Not(Time),
    /// The rows that were read do not say.
    LookOn,
}

impl<'a> Round<'a> {
    pub(super) fn of(gate: &'a Gate, turn: &'a Turn<'a>, rows: &Rows, about: About) -> Self {
        let about = newest(about, &turn.world.catalog);
        let waiting = rows.page("wait").iter().filter_map(|row| Some((row.key.parts().number()?, row.read()?)));
        let begun = rows.page("begun").iter().filter_map(|row| Some((row.key.parts().number()?, row.read()?)));
        let (waiting, begun) = (waiting.collect(), begun.collect());
        let (all_begun, decision) = (rows.page("begun").len() < PAGE, Decision::default());
        let (before, gate) = (gate, gate.clone());
        let mut round = Self { turn, before, gate, about, waiting, new: None, begun, all_begun, decision };
        if round.gate.about.as_ref() != Some(&round.about) {
            round.record(Event::Bound(round.about.clone()));
        }
        round
    }

    /// Somebody asks who is neither in nor waits.
    pub(super) fn came(&mut self, who: Place) {
        self.new = Some(who);
    }

    pub(super) fn left(&mut self, flow: &str) {
        self.record(Event::Left { flow: flow.to_owned() });
        self.change(|decision| decision.delete(inside_row(flow)));
    }

    pub(super) fn released(&mut self, flow: String, by: Option<String>) {
        let row = inside_row(&flow);
        self.record(Event::Released { flow, by });
        self.change(|decision| decision.delete(row));
    }

    pub(super) fn withdrew(&mut self, flow: &str, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
        self.record(Event::Withdrawn { flow: flow.to_owned() });
        self.change(|decision| decision.delete(place_row(flow)).delete(wait_row(number)));
    }

    /// Lets in whom there is room for, and sees to what comes next.
    pub(super) fn finish(mut self) -> Decision<Gate> {
        let until = self.let_in();
        if let Some(who) = self.new.take() {
            let number = self.gate.next;
            self.record(Event::Waited { flow: who.flow.clone() });
            let stand = Stand { number, ticket: who.ticket };
            self.change(|decision| decision.put(wait_row(number), &who).put(place_row(&who.flow), &stand));
        }
        match until {
            Some(at) => self.change(|decision| decision.timer("advance", at, &Command::Advance)),
            None => self.change(|decision| decision.cancel("advance")),
        }
        let (idle, now) = (self.gate.inside == 0 && self.gate.waiting == 0, self.turn.now);
        let audited = self.before.inside > 0;
        let row = list_row(&self.about);
        let listed = Listed { about: self.about.clone(), inside: self.gate.inside, waiting: self.gate.waiting };
        let forget = now.plus(idle_for(&self.about));
        self.decision
            .when(self.gate.inside > 0 && !audited, |decision| {
                decision.timer("audit", now.plus(AUDIT), &Command::Audit { after: None })
            })
            .when(idle, |decision| decision.delete(row.clone()).timer("forget", forget, &Command::Forget))
            .when(!idle, |decision| decision.put(row.clone(), &listed).cancel("forget"))
    }

    /// The time at which there is room again, if time alone gives it.
    fn let_in(&mut self) -> Option<Time> {
        loop {
            if self.waiting.is_empty() && self.gate.waiting > 0 {
                self.look_on();
                return None;
            }
            if self.waiting.is_empty() && self.new.is_none() {
                return None;
            }
            match self.room() {
                Room::Yes => self.enter(),
                Room::No => return None,
                Room::Not(until) => return Some(until),
                Room::LookOn => {
                    self.look_on();
                    return None;
                }
            }
        }
    }

    fn look_on(&mut self) {
        let me = self.turn.me.key.clone();
        self.change(|decision| decision.tell::<Gate>(me, &Command::Advance));
    }

    fn room(&mut self) -> Room {
        let max = u64::from(self.about.max);
        let Some(per) = self.about.per else {
            return if self.gate.inside < max { Room::Yes } else { Room::No };
        };
        let (now, mut expired) = (self.turn.now, 0);
        let room = loop {
            if self.gate.kept.saturating_sub(expired) < max {
                break Room::Yes;
            }
            match self.begun.front().copied() {
                // One that lies ahead is of a clock that was set back since.
                Some((number, at)) if at.0.saturating_add(per) <= now.0 || at > now => {
                    self.begun.pop_front();
                    self.change(|decision| decision.delete(begun_row(number)));
                    expired += 1;
                }
                Some((_, at)) => break Room::Not(Time(at.0.saturating_add(per))),
                None if self.all_begun => break Room::Yes,
                None => break Room::LookOn,
            }
        };
        if expired > 0 {
            self.record(Event::Expired { beginnings: expired });
        }
        room
    }

    /// The first that waits, or who comes just now.
    fn enter(&mut self) {
        let (who, waited) = match self.waiting.pop_front() {
            Some((number, who)) => {
                self.change(|decision| decision.delete(wait_row(number)).delete(place_row(&who.flow)));
                (who, true)
            }
            None => match self.new.take() {
                Some(who) => (who, false),
                None => return,
            },
        };
        let number = self.gate.begun;
        let (limit, now) = (self.about.limit, self.turn.now);
        self.record(Event::Entered { flow: who.flow.clone(), waited });
        let enter = flow::Command::Enter { limit, ticket: who.ticket };
        self.change(|decision| decision.tell::<Flow>(who.flow.clone(), &enter));
        let inside = Place { since: now, ..who };
        self.change(|decision| match limit {
            Limit::Concurrency => decision.put(inside_row(&inside.flow), &inside),
            Limit::Rate => decision.put(begun_row(number), &now),
        });
        if limit == Limit::Rate && self.all_begun {
            self.begun.push_back((number, now));
        }
    }

    fn record(&mut self, event: Event) {
        self.gate.apply(&event);
        self.change(|decision| decision.event(event));
    }

    fn change(&mut self, change: impl FnOnce(Decision<Gate>) -> Decision<Gate>) {
        self.decision = change(std::mem::take(&mut self.decision));
    }
}

/// The bound that the newest definition says, whichever one the instance that asks began with.
fn newest(mut about: About, catalog: &Catalog) -> About {
    let Some(compiled) = catalog.current(&about.flow) else { return about };
    match (about.limit, &compiled.definition.concurrency, &compiled.definition.rate) {
        (Limit::Concurrency, Some(bound), _) => about.max = bound.max,
        (Limit::Rate, _, Some(rate)) => (about.max, about.per) = (rate.max, Some(rate.per)),
        _ => {}
    }
    about
}
