//! One turn of a schedule in the making: what a tick begins, leaves out or keeps, and when the next one is.

use super::entity::{Decision, Entity, Turn};
use super::flow::{self, Flow, Origin, Start};
use super::rows::{Found, RowKey, Rows, part};
use super::schedule::{
    Command, Ended, Event, PAGE, Paused, Plan, RUNS_KEPT, Rejection, Run, Schedule, Tick, instance, run_key,
    running_key,
};
use crate::clock::Time;
use crate::domains::flow::expr::Input;
use crate::domains::flow::progress::Phase;
use crate::domains::schedule::{self, Overlap};

/// The timer of the next tick.
const DUE: &str = "due";
/// Instances that a refusal names.
const NAMED_MAX: usize = 3;

/// One turn of a schedule in the making.
pub(super) struct Ticking<'a> {
    turn: &'a Turn<'a>,
    rows: &'a Rows,
    declared: &'a schedule::Schedule,
    before: &'a Schedule,
    /// The state with the events so far.
    state: Schedule,
    decision: Decision<Schedule>,
}

impl<'a> Ticking<'a> {
    /// It goes by what is declared from the first turn on that finds it declared.
    pub(super) fn of(
        before: &'a Schedule,
        turn: &'a Turn<'a>,
        rows: &'a Rows,
        declared: &'a schedule::Schedule,
    ) -> Self {
        let (state, decision) = (before.clone(), Decision::default());
        let mut ticking = Self { turn, rows, declared, before, state, decision };
        let plan = Plan { when: declared.told(), overlap: declared.overlap, paused: declared.paused };
        if before.plan.as_ref() != Some(&plan) {
            ticking.bind(plan);
        }
        ticking
    }

    fn bind(&mut self, plan: Plan) {
        let old = self.state.plan.clone();
        let is_paused = plan.paused;
        let other_times = old.as_ref().is_none_or(|old| old.when != plan.when);
        // Who paused it by hand, or let it go on, is overruled only by a word that is new.
        let said = old.as_ref().map_or(is_paused, |old| old.paused != is_paused);
        let keeps = matches!(plan.overlap, Overlap::Queue | Overlap::Cancel);
        self.record(Event::Bound { plan });
        match (said, is_paused) {
            (true, true) => self.pause(Paused { at: self.turn.now, by: None, reason: None }),
            (true, false) => self.go_on(None),
            (false, _) => {}
        }
        if !keeps {
            self.drop_waiting();
        }
        if other_times && self.state.paused.is_none() {
            self.plan(self.turn.now);
        }
    }

    /// A clock that was set back would leave the next tick far ahead.
    pub(super) fn check_clock(&mut self) {
        let soonest = self.declared.when.after(self.turn.now);
        let lost = match (self.state.next, soonest) {
            (Some(next), Some(soonest)) => next > soonest,
            (None, soonest) => soonest.is_some(),
            (Some(_), None) => false,
        };
        if lost && self.state.paused.is_none() {
            self.plan(self.turn.now);
        }
    }

    pub(super) fn due(&mut self, at: Time) {
        if self.state.next != Some(at) {
            return;
        }
        let now = self.turn.now.max(at);
        let passed = self.declared.when.between(at, now);
        self.plan(now);
        // After a clock was set back a tick may come that has come before.
        if self.rows.first("again").is_some() {
            return;
        }
        let flow = instance(&self.declared.name, &at.0.to_string());
        let tick = Tick { due: at, flow, missed: passed.ticks, more: passed.more, by: None };
        if self.state.running == 0 || self.declared.overlap == Overlap::Allow {
            return self.begin(tick);
        }
        self.ask_running();
        match self.declared.overlap {
            Overlap::Queue | Overlap::Cancel if self.state.waiting.is_none() => self.keep(tick, self.declared.overlap),
            _ => self.record(Event::Skipped { tick }),
        }
    }

    /// Somebody wants one now, also while it is paused.
    pub(super) fn fire(&mut self, by: String, overlap: Option<Overlap>) -> Result<(), Rejection> {
        let name = &self.declared.name;
        let overlap = overlap.unwrap_or(self.declared.overlap);
        let flow = instance(name, &self.turn.ulid(0));
        let tick = Tick { due: self.turn.now, flow: flow.clone(), missed: 0, more: false, by: Some(by) };
        if self.state.running == 0 || overlap == Overlap::Allow {
            self.begin(tick);
            self.decision.reply.begun = Some(flow);
            return Ok(());
        }
        match overlap {
            Overlap::Queue | Overlap::Cancel if self.state.waiting.is_none() => {
                self.keep(tick, overlap);
                self.decision.reply.waits = Some(flow);
                Ok(())
            }
            Overlap::Skip => Err(Rejection::StillRuns { name: name.clone(), flows: self.named() }),
            _ => Err(Rejection::Waits(name.clone())),
        }
    }

    pub(super) fn pause(&mut self, paused: Paused) {
        if self.state.paused.is_none() {
            self.drop_waiting();
            self.record(Event::Paused(paused));
        }
    }

    /// Ticks of the time in which it was paused are not made up for.
    pub(super) fn go_on(&mut self, by: Option<String>) {
        if self.state.paused.is_some() {
            self.record(Event::Continued { by });
            self.plan(self.turn.now);
        }
    }

    pub(super) fn ended(&mut self, flow: &str, due: Time, phase: Option<Phase>) {
        if let Some(run) = self.rows.one::<Run>("run").filter(|run| phase.is_some() || run.ended.is_none()) {
            let run = Run { ended: Some(Ended { at: self.turn.now, phase }), ..run };
            self.change(|decision| decision.put(RowKey::Own(run_key(due, flow)), &run));
        }
        if self.rows.first("runs still").is_none() {
            return;
        }
        self.record(Event::Ended { flow: flow.to_owned() });
        self.change(|decision| decision.delete(RowKey::Own(running_key(flow))));
        if let Some(tick) = self.state.waiting.clone().filter(|_| self.state.running == 0) {
            self.begin(tick);
        }
    }

    pub(super) fn cancel_running(&mut self) {
        let running = self.running();
        let cancel = flow::Command::Cancel {
            by: Some(format!("schedule {}", self.declared.name)),
            reason: "its schedule begins the next one".to_owned(),
        };
        for (flow, _) in &running {
            self.change(|decision| decision.tell::<Flow>(flow.clone(), &cancel));
        }
        if let Some((last, _)) = running.last().filter(|_| running.len() == PAGE) {
            let rest = Command::CancelRunning { after: Some(last.clone()) };
            self.tell_myself(&rest);
        }
    }

    pub(super) fn finish(self) -> Decision<Schedule> {
        let next = self.state.next;
        if next == self.before.next {
            return self.decision;
        }
        match next {
            Some(at) => self.decision.timer(DUE, at, &Command::Due { at }),
            None => self.decision.cancel(DUE),
        }
    }

    fn plan(&mut self, after: Time) {
        let next = self.declared.when.after(after);
        if next != self.state.next {
            self.record(Event::Planned { next });
        }
    }

    fn begin(&mut self, tick: Tick) {
        let Some(compiled) = self.turn.world.catalog.current(&self.declared.flow) else {
            return self.record(Event::Skipped { tick });
        };
        let input = self.declared.input_at(tick.due, tick.missed);
        let start = Start {
            name: self.declared.flow.clone(),
            definition: compiled.hash.0.clone(),
            input: Input { object: input.get("object").cloned().unwrap_or_default(), input, ..Input::default() },
            origin: Origin::Schedule { schedule: self.declared.name.clone(), due: tick.due },
        };
        let run = Run { tick: tick.clone(), at: self.turn.now, ended: None };
        let oldest = self.rows.first("oldest").filter(|_| self.state.kept >= RUNS_KEPT);
        if let Some(oldest) = oldest.map(|row| part().text("run").raw(row.key.as_bytes()).done()) {
            self.change(|decision| decision.delete(RowKey::Own(oldest)));
        }
        self.change(|decision| {
            decision
                .tell::<Flow>(tick.flow.clone(), &flow::Command::Start(Box::new(start)))
                .put(RowKey::Own(running_key(&tick.flow)), &tick.due)
                .put(RowKey::Own(run_key(tick.due, &tick.flow)), &run)
        });
        self.record(Event::Begun { tick, at: self.turn.now });
    }

    fn keep(&mut self, tick: Tick, overlap: Overlap) {
        self.record(Event::Waits { tick });
        if overlap == Overlap::Cancel {
            self.tell_myself(&Command::CancelRunning { after: None });
        }
    }

    fn drop_waiting(&mut self) {
        if let Some(tick) = self.state.waiting.clone() {
            self.record(Event::Dropped { tick });
        }
    }

    /// One that was lost would hold up all others for ever.
    fn ask_running(&mut self) {
        for (flow, due) in self.running() {
            self.change(|decision| decision.tell::<Flow>(flow, &flow::Command::StillRuns { due }));
        }
    }

    /// The page of those that have not ended, with their ticks.
    fn running(&self) -> Vec<(String, Time)> {
        let one = |row: &Found| Some((row.key.parts().text()?, row.read()?));
        self.rows.page("running").iter().filter_map(one).collect()
    }

    fn named(&self) -> String {
        let running = self.running();
        let names: Vec<&str> = running.iter().take(NAMED_MAX).map(|(flow, _)| flow.as_str()).collect();
        match self.state.running.saturating_sub(names.len() as u64) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    fn tell_myself(&mut self, command: &Command) {
        let me = self.turn.me.key.clone();
        self.change(|decision| decision.tell::<Schedule>(me, command));
    }

    fn record(&mut self, event: Event) {
        self.state.apply(&event);
        self.change(|decision| decision.event(event));
    }

    fn change(&mut self, change: impl FnOnce(Decision<Schedule>) -> Decision<Schedule>) {
        self.decision = change(std::mem::take(&mut self.decision));
    }
}
