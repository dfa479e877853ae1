//! What an instance is told that another node runs: kept until its consequences are known, sent in order.

use std::time::Duration;

use serde_json::{Value, json};

use super::away;
use super::errands::{Errand, Report};
use super::flow::Command;
use super::hand::{Hand, Order, TIMER};
use super::line::{self, Said};
use super::rows::Rows;
use crate::clock::Time;

/// What an instance is to be told, as rows.
pub(super) const WORDS: &str = "word";
/// The timer of looking after a runner that says nothing.
pub(super) const LOOK: &str = "look";
/// After which a silent runner is looked after, doubled each time that it has nothing to say.
const LOOK_AFTER: Duration = Duration::from_secs(60);
const LOOK_AFTER_MAX: Duration = Duration::from_secs(3_600);

impl Hand<'_> {
    pub(super) fn word(&mut self, command: Command) {
        let number = self.away.line.made + 1;
        self.moves.change(|decision| decision.put(line::row(WORDS, number), &(number, command.clone())));
        self.note(away::Event::Line(line::Event::Made { count: 1 }));
        self.words.push((number, command));
    }

    /// Sends the words of this turn, unless others wait before them.
    pub(super) fn send_words(&mut self) {
        let words = std::mem::take(&mut self.words);
        let Some((first, _)) = words.first() else { return };
        let quiet = self.away.line.is_quiet() && self.away.line.heard + 1 == *first;
        if quiet && self.away.instance().is_some() {
            self.send(words);
        }
    }

    pub(super) fn send(&mut self, words: Vec<(u64, Command)>) {
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

    pub(super) fn said(&mut self, hold: u32, upto: u64, report: Report, rows: &Rows) {
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

    pub(super) fn unheard(&mut self, why: String) {
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
    pub(super) fn speak(&mut self, rows: &Rows) {
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

    pub(super) fn forget_words(&mut self, after: u64, upto: u64) {
        for number in after + 1..=upto {
            self.moves.change(|decision| decision.delete(line::row(WORDS, number)));
        }
    }
}
