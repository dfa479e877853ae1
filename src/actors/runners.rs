//! Who runs an instance: its runners are asked in their order, until one takes it or it is run at home.

use serde_json::json;

use super::away::{self, Declined, Stage};
use super::entity::{Decision, Turn};
use super::errands::{Errand, Report};
use super::flow::{Command, Flow, Rejection};
use super::hand::{Hand, Order, TIMER};
use super::line::{self, Outcome, PAGE, Said};
use super::orders::event_of;
use super::rows::Rows;
use super::words::WORDS;
use crate::domains::flow::definition::Definition;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::handover::alarms_of;
use crate::domains::flow::kinds::{PROTOCOL, Remote, Runner, needed, secrets};
use crate::domains::flow::progress::Progress;
use crate::domains::flow::step;

/// Tries to tell a runner that it need not go on: some days. One that comes back later finds out by itself.
const RELEASES_MAX: u32 = 2_000;

impl Hand<'_> {
    /// Asks the next one that has not said no in this round.
    pub(super) fn offer(&mut self) {
        let (world, compiled) = (self.moves.turn.world, self.compiled());
        for runner in &world.runners.0 {
            match runner {
                Runner::Here(kinds) if needed(&compiled.definition).is_subset(kinds) => return self.come_home(),
                Runner::Here(_) => {}
                Runner::At(remote) if self.away.declined.iter().any(|it| it.by == remote.base) => {}
                Runner::At(remote) => match secrets(&compiled.definition).first() {
                    Some(secret) => {
                        let why = format!("its requests are sent with the secret `{secret}`, which stays at home");
                        self.note(away::Event::Declined(Declined { by: remote.base.clone(), why, for_good: true }));
                    }
                    None => return self.offer_to(remote, &compiled.definition),
                },
            }
        }
        self.nobody_takes_it();
    }

    fn offer_to(&mut self, remote: &Remote, definition: &Definition) {
        let (hold, at) = (self.away.hold + 1, self.moves.turn.now);
        self.note(away::Event::Offered { to: remote.base.clone(), hold, at });
        let (start, key) = (&self.moves.start, &self.moves.turn.me.key);
        // Limits and what it is found by are matters of this node.
        let lean = Definition { concurrency: None, rate: None, search: [].into(), ..definition.clone() };
        let progress = Progress { gates: [].into(), held: None, ..self.moves.progress.clone() };
        let body = json!({
            "protocol": PROTOCOL,
            "instance": key,
            "hold": hold,
            "heard": self.away.covered,
            "definition": lean,
            "input": start.input,
            "progress": progress,
        });
        let needs = needed(definition).into_iter().map(str::to_owned).collect();
        let (url, key) = (format!("{}/flow/start", remote.base), format!("{key}/{hold}/start"));
        self.request(url, key, body, Said::Offer { at: remote.base.clone(), hold }, needs);
    }

    /// All have said no: tried again when that can help, and else somebody has to change something.
    fn nobody_takes_it(&mut self) {
        let now = self.moves.turn.now;
        if self.away.declined.iter().all(|declined| declined.for_good) {
            self.note(away::Event::Nobody);
            if self.moves.progress.held.is_none() {
                let needs: Vec<&str> = needed(&self.compiled().definition).into_iter().collect();
                let by = format!("no runner that can do {}", needs.join(", "));
                self.moves.happened(Fact::Paused { by: Some(by) });
            }
            return;
        }
        let until = now.plus(line::delay(self.away.rounds + 1, self.moves.turn.random[15]));
        self.note(away::Event::Waits { until });
        self.timer(TIMER, until, Order::Offer);
    }

    /// What came of an offer. One that was given up may have been taken all the same: it is released.
    pub(super) fn offered(&mut self, at: &str, hold: u32, report: Report) {
        if hold == self.away.hold && self.away.instance().is_some() {
            return;
        }
        let current = hold == self.away.hold && self.away.stage == Stage::Offered;
        let (why, for_good) = match line::outcome(report) {
            Outcome::Taken(body) if !current => {
                let instance = body["id"].as_str().map(str::to_owned);
                let turn = self.moves.turn;
                if let Some(instance) = instance {
                    self.moves.change(|decision| let_go(turn, decision, at.to_owned(), instance, hold, 0));
                }
                return;
            }
            _ if !current => return,
            Outcome::Taken(body) => match body["id"].as_str() {
                Some(instance) => return self.taken(instance.to_owned()),
                None => ("it took it and did not say as what".to_owned(), true),
            },
            // Whom it lets in is soon changed, and keys are fetched anew.
            Outcome::Refused { status: status @ (401 | 403), why, .. } => {
                (format!("it answered {status}: {why}"), false)
            }
            Outcome::Refused { status, why, .. } => (format!("it answered {status}: {why}"), true),
            Outcome::Away(why) => (why, false),
            Outcome::Never(why) => (why, true),
        };
        self.note(away::Event::Declined(Declined { by: self.away.at.clone(), why, for_good }));
        self.offer();
    }

    pub(super) fn taken(&mut self, instance: String) {
        self.note(away::Event::Taken { instance, at: self.moves.turn.now });
        let after = self.away.line.heard;
        if self.away.line.made > after {
            self.timer(TIMER, self.moves.turn.now, Order::Speak { after });
        } else {
            self.look_later();
        }
    }

    /// Its runner says what cannot be: it is taken from it, and a person looks.
    pub(super) fn lied(&mut self, why: &str) {
        let at = self.away.at.clone();
        self.release();
        self.note(away::Event::Lost { why: format!("{at} says what cannot be: {why}") });
        self.note(away::Event::Declined(Declined {
            by: at,
            why: format!("it says what cannot be: {why}"),
            for_good: true,
        }));
        self.offer();
    }

    /// Whoever has it, or may have it, is told to let it go.
    pub(super) fn release(&mut self) {
        let Some(instance) = self.away.instance().map(str::to_owned) else { return };
        let (at, hold) = (self.away.at.clone(), self.away.hold);
        let turn = self.moves.turn;
        self.moves.change(|decision| let_go(turn, decision, at, instance, hold, 0));
    }

    /// This node runs it from here on.
    pub(super) fn come_home(&mut self) {
        self.note(away::Event::ComesHome);
        self.timer(TIMER, self.moves.turn.now, Order::ComeHome);
    }

    /// Reads what it was told while nobody ran it, in order; then it goes on as if it had never been away.
    pub(super) fn read_words(&mut self, rows: &Rows) -> Result<(), Rejection> {
        let words: Vec<(u64, Command)> = line::found(rows, WORDS);
        for alarm in alarms_of(&self.compiled(), &self.moves.progress) {
            self.moves.set_alarm(alarm);
        }
        for (number, word) in &words {
            self.moves.change(|decision| decision.delete(line::row(WORDS, *number)));
            let Ok(event) = event_of(self.moves.turn.me, &self.moves.progress, word.clone()) else { continue };
            // What cannot be done any more changes nothing.
            if self.moves.would(&event) {
                self.moves.run(event)?;
            }
        }
        if words.len() >= PAGE {
            self.timer(TIMER, self.moves.turn.now, Order::ComeHome);
            return Ok(());
        }
        self.note(away::Event::Home);
        self.moves.run(step::Event::Handed)?;
        Ok(())
    }
}

/// Tells a runner that an instance is not wanted there any more.
pub(super) fn let_go(
    turn: &Turn<'_>,
    decision: Decision<Flow>,
    at: String,
    instance: String,
    hold: u32,
    tries: u32,
) -> Decision<Flow> {
    decision.errand(Errand::Signed {
        url: format!("{at}/flow/release/{instance}"),
        key: format!("{}/{hold}/release/{instance}", turn.me.key),
        body: json!({}),
        needs: Vec::new(),
        said: Said::Release { at, instance, hold, tries },
    })
}

/// One that cannot be reached is told again later, for as long as it could matter.
pub(super) fn told_to_let_go(turn: &Turn<'_>, said: Said, report: Report) -> Decision<Flow> {
    let Said::Release { at, instance, hold, tries } = said else { return Decision::default() };
    match line::outcome(report) {
        Outcome::Away(_) if tries < RELEASES_MAX => {
            let due = turn.now.plus(line::delay(tries, turn.random[15]));
            let order = Order::Release { at, instance, hold, tries: tries + 1 };
            Decision::default().timer(&format!("release/{hold}"), due, &Command::Runner(order))
        }
        _ => Decision::default(),
    }
}

/// An offer that was taken when nobody wanted it any more.
pub(super) fn too_late(turn: &Turn<'_>, at: String, hold: u32, report: Report) -> Decision<Flow> {
    match line::outcome(report) {
        Outcome::Taken(body) => match body["id"].as_str() {
            Some(instance) => let_go(turn, Decision::default(), at, instance.to_owned(), hold, 0),
            None => Decision::default(),
        },
        _ => Decision::default(),
    }
}
