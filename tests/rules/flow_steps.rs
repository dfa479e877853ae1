//! Stepping as sentences: given a flow, when this happens, then these are the facts.

use quickbeam::clock::Time;
use quickbeam::config::mistake::Report;
use quickbeam::config::tree;
use quickbeam::domains::flow::check::{Bounds, Compiled, compile};
use quickbeam::domains::flow::definition::Retry;
use quickbeam::domains::flow::fact::{Fact, Skip};
use quickbeam::domains::flow::progress::{Phase, Progress};
use quickbeam::domains::flow::spot::Spot;
use quickbeam::domains::flow::step::{Cure, Event, Rejection, decide};
use quickbeam::domains::flow::{Input, parse};
use serde_json::{Value, json};

const E: &str = "effect = \"e\"";

pub(super) struct Run {
    compiled: Compiled,
    pub(super) progress: Progress,
    input: Input,
    pub(super) now: Time,
    pub(super) facts: Vec<Fact>,
}

/// A flow from its lines of TOML, in which `E` stands for an effect.
pub(super) fn given(lines: &str) -> Run {
    given_bounded(lines, Bounds::default())
}

fn given_bounded(lines: &str, bounds: Bounds) -> Run {
    let mut report = Report::new("test.toml");
    let root = tree::Node::parse(
        &format!("[f]\n{}\n", lines.replace("E,", &format!("{E},")).replace("E }", &format!("{E} }}"))),
        &mut report,
    );
    let (definition, _) = parse::read("f", &root.as_table().unwrap()["f"], &mut report);
    assert!(report.is_empty(), "{:#?}", report.into_mistakes());
    let compiled = compile(definition, bounds).unwrap();
    let object = json!({ "title": "Gig night", "list": ["a", "b", "c"], "urgent": false });
    let input = Input { object, ..Input::default() };
    Run { compiled, progress: Progress::new("flow-1"), input, now: Time(1_000), facts: Vec::new() }
}

impl Run {
    pub(super) fn try_when(&mut self, event: Event) -> Result<&mut Self, Rejection> {
        self.facts = decide(&self.compiled, &self.progress, &self.input, event, self.now)?;
        for fact in &self.facts {
            self.progress.apply(fact);
        }
        let stored = serde_json::to_string(&self.progress).unwrap();
        assert_eq!(serde_json::from_str::<Progress>(&stored).unwrap(), self.progress);
        Ok(self)
    }

    #[track_caller]
    pub(super) fn when(&mut self, event: Event) -> &mut Self {
        self.try_when(event).unwrap()
    }

    pub(super) fn started(lines: &str) -> Self {
        let mut run = given(lines);
        run.when(Event::Start);
        run
    }

    #[track_caller]
    pub(super) fn then(&mut self, expected: &[&str]) -> &mut Self {
        let told: Vec<String> = self.facts.iter().map(tell).collect();
        assert_eq!(told, expected);
        self
    }
}

pub(super) fn tell(fact: &Fact) -> String {
    let at = |step: &str, item: &Option<u32>| item.map_or(step.to_owned(), |item| format!("{step}[{item}]"));
    match fact {
        Fact::StepSkipped { step, why: Skip::Condition } => format!("pass over {step}"),
        Fact::StepSkipped { step, why: Skip::NotReached } => format!("skip {step}"),
        Fact::StepSkipped { step, why: Skip::Failed } => format!("skip {step} after a failure"),
        Fact::StepStarted { step, item, attempt: 1, .. } => format!("start {}", at(step, item)),
        Fact::StepStarted { step, item, attempt, .. } => format!("start {} again ({attempt})", at(step, item)),
        Fact::StepDone { step, item, result } => format!("done {} {result}", at(step, item)),
        Fact::StepFailed { step, item, reason, next, .. } => format!("failed {}: {reason} → {next:?}", at(step, item)),
        Fact::BranchTaken { step, taken } => format!("branch {step} {taken}"),
        Fact::EachStarted { step, items } => format!("each {step} {}", items.len()),
        Fact::EachDone { step } => format!("each {step} done"),
        Fact::Suspended { step, signal, until: None, .. } => format!("suspend {step} for {signal}"),
        Fact::Suspended { step, signal, until: Some(until), .. } => {
            format!("suspend {step} for {signal} until {}", until.0)
        }
        Fact::Resumed { step, payload, .. } => format!("resumed {step} {payload}"),
        Fact::TimedOut { step } => format!("time out {step}"),
        Fact::Retried { step, .. } => format!("retried {step}"),
        Fact::FlowDone { result } => format!("flow done {result}"),
        Fact::FlowFailed { reason, .. } => format!("flow failed: {reason}"),
        Fact::FlowCancelled { reason, .. } => format!("flow cancelled: {reason}"),
        Fact::FlowKilled { reason, left, .. } => format!("flow killed: {reason}, {left} left"),
        Fact::Queued { limit, key } => format!("queue {} {key}", limit.word()),
        Fact::Admitted { limit } => format!("admitted {}", limit.word()),
        Fact::Sleeping { step, until } => format!("sleep {step} until {}", until.0),
        Fact::Woken { step } => format!("woken {step}"),
        Fact::Joined { step, result } => format!("joined {step} {result}"),
        Fact::AwaitsCallback { step, until } => format!("await {step} until {:?}", until.map(|until| until.0)),
        Fact::CalledBack { step, payload } => format!("called back {step} {payload}"),
        Fact::NotifyStarted { step, attempt, .. } => format!("notify {step} ({attempt})"),
        Fact::Notified { step } => format!("notified {step}"),
        Fact::NotifyFailed { step, next, .. } => format!("notify {step} failed → {next:?}"),
        Fact::Undoing { why } => format!("undoing {why:?}"),
        Fact::UndoStarted { step, item, run, attempt, .. } => {
            format!("undo {} of run {run} ({attempt})", at(step, item))
        }
        Fact::UndoDone { step, item, .. } => format!("undone {}", at(step, item)),
        Fact::UndoFailed { step, item, reason, next, .. } => {
            format!("undo {} failed: {reason} → {next:?}", at(step, item))
        }
        Fact::UndoSkipped { step, item, .. } => format!("undo {} skipped", at(step, item)),
        Fact::Paused { .. } => "paused".into(),
        Fact::Continued { .. } => "continued".into(),
        Fact::Passed { step, item, result, .. } => format!("passed {} {result}", at(step, item)),
        Fact::Edited { step, item, undo, .. } => format!("edited {} {undo:?}", at(step, item)),
        Fact::Restarted { step, run, cleared, .. } => format!("restarted {step} as run {run}, cleared {cleared:?}"),
    }
}

pub(super) fn done(step: &str) -> Event {
    Event::Done { spot: Spot::of(step, None), result: json!(step) }
}

fn item_done(step: &str, item: u32) -> Event {
    Event::Done { spot: Spot::of(step, Some(item)), result: json!(item) }
}

pub(super) fn failed(step: &str, item: Option<u32>, attempt: u32, cure: Cure) -> Event {
    Event::Failed { spot: Spot::of(step, item), attempt, reason: "no answer".into(), cure, trouble: None }
}

pub(super) fn retry_due(step: &str, item: Option<u32>, attempt: u32) -> Event {
    Event::RetryDue { spot: Spot::of(step, item), attempt }
}

pub(super) fn resume(signal: &str, payload: Value) -> Event {
    Event::Resume { signal: signal.into(), payload, by: None }
}

#[test]
fn steps_run_one_after_the_other() {
    let mut run = Run::started("steps.a = { E }\nsteps.b = { E, after = \"a\" }\nresult = \"results.b\"");
    run.then(&["start a"]);
    run.when(done("a")).then(&["done a \"a\"", "start b"]);
    run.when(done("b")).then(&["done b \"b\"", "flow done \"b\""]);
    assert_eq!(run.progress.phase(), Phase::Done);
}

#[test]
fn steps_without_a_way_into_them_run_at_once_and_a_join_waits_for_all() {
    let mut run = Run::started("steps.a = { E }\nsteps.b = { E }\nsteps.c = { E, after = [\"a\", \"b\"] }");
    run.then(&["start a", "start b"]);
    run.when(done("b")).then(&["done b \"b\""]);
    run.when(done("a")).then(&["done a \"a\"", "start c"]);
}

#[test]
fn a_second_start_changes_nothing() {
    Run::started("steps.a = { E }").when(Event::Start).then(&[]);
}

#[test]
fn a_branch_skips_what_it_did_not_choose() {
    let flow = "steps.q = { branch = \"object.urgent\", then = \"a\", else = \"b\" }\nsteps.a = { E }\nsteps.b = { E }\n\
                steps.after_a = { E, after = \"a\" }\nsteps.joined = { E, after = [\"a\", \"b\"] }";
    let mut run = Run::started(flow);
    run.then(&["branch q false", "skip a", "skip after_a", "start b"]);
    run.when(done("b")).then(&["done b \"b\"", "start joined"]);
    run.when(done("joined")).then(&["done joined \"joined\"", "flow done null"]);
}

#[test]
fn a_branch_to_the_end_ends_its_path_and_after_a_branch_goes_on_either_way() {
    let flow = "steps.q = { branch = \"object.urgent\", then = \"a\", else = \"end\" }\nsteps.a = { E }\nsteps.z = { E, after = \"q\" }";
    Run::started(flow).then(&["branch q false", "skip a", "start z"]);
}

#[test]
fn an_after_of_a_branch_that_names_the_step_adds_nothing() {
    let flow = "steps.q = { branch = \"object.urgent\", then = \"a\" }\nsteps.a = { E, after = \"q\" }";
    Run::started(flow).then(&["branch q false", "skip a", "flow done null"]);
}

#[test]
fn a_step_whose_if_is_false_is_passed_over_and_the_path_goes_on() {
    let flow = "steps.a = { E, if = \"object.urgent\" }\nsteps.b = { E, after = \"a\", if = \"!has(object.nothing)\" }";
    Run::started(flow).then(&["pass over a", "start b"]);
}

#[test]
fn parameters_are_filled_in_and_the_key_is_the_same_for_each_try() {
    let flow = "steps.a = { E }\nsteps.b = { E, after = \"a\", with = { text = \"object.title + '!'\", n = 1, deep = { list = [\"results.a\", true] } }, retry = { delay = \"2s\" } }";
    let mut run = Run::started(flow);
    run.when(done("a"));
    let started = |attempt| Fact::StepStarted {
        step: "b".into(),
        item: None,
        attempt,
        key: "flow-1/1/b/-/do".into(),
        effect: "e".into(),
        input: json!({ "text": "Gig night!", "n": 1, "deep": { "list": ["a", true] } }),
        undo: false,
        until: None,
        callback: None,
    };
    assert_eq!(run.facts[1], started(1));
    run.when(failed("b", None, 1, Cure::Time));
    assert_eq!(run.when(retry_due("b", None, 1)).facts, [started(2)]);
}

#[test]
fn a_failure_is_tried_again_later_and_later_and_then_pauses_until_somebody_retries() {
    let mut run = Run::started("steps.a = { E, retry = { attempts = 3, delay = \"1s\", factor = 3 } }");
    run.when(failed("a", None, 1, Cure::Time)).then(&["failed a: no answer → RetryAt(Time(2000))"]);
    assert_eq!(run.progress.phase(), Phase::Running);
    run.when(retry_due("a", None, 1)).then(&["start a again (2)"]);
    run.when(failed("a", None, 2, Cure::Time)).then(&["failed a: no answer → RetryAt(Time(4000))"]);
    run.when(retry_due("a", None, 2)).then(&["start a again (3)"]);
    run.when(failed("a", None, 3, Cure::Time)).then(&["failed a: no answer → Pause"]);
    assert_eq!(run.progress.phase(), Phase::Paused);
    run.when(Event::Retry { step: None, by: None }).then(&["retried a", "start a"]);
    run.when(done("a")).then(&["done a \"a\"", "flow done null"]);
}

#[test]
fn delays_stop_growing_at_their_maximum() {
    let retry = Retry { attempts: 100, delay: 1_000, factor: 2.0, max: 5_000, ..Retry::default() };
    let delays: Vec<_> = [1, 2, 3, 4, 99, 100].into_iter().map(|attempt| retry.delay_after(attempt, "k")).collect();
    assert_eq!(delays, [Some(1_000), Some(2_000), Some(4_000), Some(5_000), Some(5_000), None]);
}

#[test]
fn a_refusal_fails_the_flow_and_what_comes_later_changes_nothing() {
    let mut run = Run::started("steps.a = { E }\nsteps.b = { E }");
    run.when(failed("a", None, 1, Cure::Nothing))
        .then(&["failed a: no answer → Fail", "flow failed: step `a` was refused: no answer"]);
    run.when(done("b")).then(&[]);
    run.when(retry_due("a", None, 1)).then(&[]);
    let rejection = run.try_when(Event::Cancel { by: None, reason: "late".into() }).err();
    assert_eq!(rejection, Some(Rejection::Finished(Phase::Failed)));
}

#[test]
fn a_missing_effect_pauses_for_a_person_at_once_and_other_paths_go_on() {
    let mut run = Run::started("steps.a = { E }\nsteps.b = { E }\nsteps.c = { E, after = \"b\" }");
    run.when(failed("a", None, 1, Cure::Person)).then(&["failed a: no answer → Pause"]);
    run.when(done("b")).then(&["done b \"b\"", "start c"]);
    run.when(done("c")).then(&["done c \"c\""]);
    assert_eq!(run.progress.phase(), Phase::Paused);
}

#[test]
fn answers_that_come_late_or_twice_change_nothing() {
    let mut run = Run::started("steps.a = { E }\nsteps.b = { E, after = \"a\" }");
    run.when(done("b")).then(&[]);
    run.when(failed("a", None, 7, Cure::Time)).then(&[]);
    run.when(retry_due("a", None, 1)).then(&[]);
    run.when(done("a"));
    run.when(done("a")).then(&[]);
    run.when(done("nothing")).then(&[]);
    run.when(Event::TimedOut { step: "a".into() }).then(&[]);
}

#[test]
fn an_answer_counts_although_the_next_try_is_already_due() {
    let mut run = Run::started("steps.a = { E }");
    run.when(failed("a", None, 1, Cure::Time));
    run.when(done("a")).then(&["done a \"a\"", "flow done null"]);
    run.when(retry_due("a", None, 1)).then(&[]);
}

#[test]
fn a_suspended_flow_waits_and_the_payload_is_its_result() {
    let flow = "steps.w = { suspend = \"go\", timeout = \"5s\" }\nsteps.a = { E, after = \"w\", with = { by = \"payload.name\", same = \"results.w.name\" } }";
    let mut run = Run::started(flow);
    run.then(&["suspend w for go until 6000"]);
    assert_eq!(run.progress.phase(), Phase::Suspended);
    run.when(resume("go", json!({ "name": "Ada" }))).then(&["resumed w {\"name\":\"Ada\"}", "start a"]);
    let Fact::StepStarted { input, .. } = &run.facts[1] else { panic!() };
    assert_eq!(*input, json!({ "by": "Ada", "same": "Ada" }));
}

#[test]
fn a_signal_that_nobody_waits_for_is_rejected_by_name() {
    let mut run = Run::started("steps.w = { suspend = \"go\" }");
    let rejection = run.try_when(resume("stop", Value::Null)).err().unwrap();
    assert_eq!(rejection.to_string(), "nobody waits for the signal `stop`: the flow waits for go");
    run.when(resume("go", Value::Null)).then(&["resumed w null", "flow done null"]);
    let rejection = run.try_when(resume("go", Value::Null)).err().unwrap();
    assert_eq!(rejection.to_string(), "the flow is done: it can only be restarted");
}

#[test]
fn a_payload_without_the_declared_shape_is_rejected_and_one_with_it_gets_defaults() {
    let flow = "steps.w = { suspend = \"go\", shape = { ok = { kind = \"bool\", required = true }, note = { kind = \"text\", default = \"-\" } } }";
    let mut run = Run::started(flow);
    let rejection = run.try_when(resume("go", json!({ "okk": true }))).err().unwrap();
    assert_eq!(
        rejection.to_string(),
        "the payload of `go` does not have the declared shape: `okk` is not a field; did you mean `ok`?; `ok` is missing"
    );
    run.when(resume("go", json!({ "ok": true }))).then(&["resumed w {\"note\":\"-\",\"ok\":true}", "flow done null"]);
}

#[test]
fn one_resume_moves_one_of_two_that_wait_for_the_same_signal() {
    let mut run = Run::started("steps.v = { suspend = \"go\" }\nsteps.w = { suspend = \"go\" }");
    run.when(resume("go", json!(1))).then(&["resumed v 1"]);
    run.when(resume("go", json!(2))).then(&["resumed w 2", "flow done null"]);
}

#[test]
fn a_time_out_goes_its_own_way_or_ends_or_fails() {
    let flow = |otherwise: &str| {
        format!(
            "steps.w = {{ suspend = \"go\", timeout = \"5s\"{otherwise} }}\nsteps.a = {{ E, after = \"w\" }}\nsteps.b = {{ E, after = \"w\" }}"
        )
    };
    let timed_out = || Event::TimedOut { step: "w".into() };
    Run::started(&flow(", otherwise = \"b\"")).when(timed_out()).then(&["time out w", "skip a", "start b"]);
    Run::started(&flow(", otherwise = \"end\"")).when(timed_out()).then(&[
        "time out w",
        "skip a",
        "skip b",
        "flow done null",
    ]);
    Run::started(&flow(""))
        .when(timed_out())
        .then(&["time out w", "flow failed: nobody sent the signal `go` until 1970-01-01T00:00:06.000Z"]);
    let mut resumed = Run::started(&flow(", otherwise = \"b\""));
    resumed.when(resume("go", Value::Null)).then(&["resumed w null", "start a", "skip b"]);
    resumed.when(timed_out()).then(&[]);
}

#[test]
fn a_cancelled_flow_takes_nothing_any_more() {
    let mut run = Run::started("steps.a = { E }\nsteps.w = { suspend = \"go\" }");
    run.when(Event::Cancel { by: None, reason: "wrong one".into() }).then(&["flow cancelled: wrong one"]);
    assert_eq!(run.progress.phase(), Phase::Cancelled);
    run.when(done("a")).then(&[]);
    assert!(run.try_when(resume("go", Value::Null)).is_err());
}

#[test]
fn each_keeps_its_bound_and_gathers_results_in_order() {
    let flow = "steps.l = { each = \"object.list\", E, parallel = 2, with = { text = \"item + string(index)\" } }\nresult = \"results.l\"";
    let mut run = Run::started(flow);
    run.then(&["each l 3", "start l[0]", "start l[1]"]);
    let Fact::StepStarted { input, key, .. } = &run.facts[2] else { panic!() };
    assert_eq!((input, key.as_str()), (&json!({ "text": "b1" }), "flow-1/1/l/1/do"));
    run.when(item_done("l", 1)).then(&["done l[1] 1", "start l[2]"]);
    run.when(item_done("l", 0)).then(&["done l[0] 0"]);
    run.when(item_done("l", 2)).then(&["done l[2] 2", "each l done", "flow done [0,1,2]"]);
}

#[test]
fn each_over_nothing_is_done_at_once() {
    Run::started("steps.l = { each = \"[]\", E }").then(&["each l 0", "each l done", "flow done null"]);
}

#[test]
fn each_stops_starting_when_one_pauses_and_goes_on_when_it_is_retried() {
    let mut run = Run::started("steps.l = { each = \"object.list\", E, parallel = 1, retry = { attempts = 1 } }");
    run.when(failed("l", Some(0), 1, Cure::Time)).then(&["failed l[0]: no answer → Pause"]);
    assert_eq!(run.progress.phase(), Phase::Paused);
    run.when(Event::Retry { step: Some("l".into()), by: None }).then(&["retried l", "start l[0]"]);
    run.when(item_done("l", 0)).then(&["done l[0] 0", "start l[1]"]);
    assert_eq!(run.try_when(Event::Retry { step: None, by: None }).err(), Some(Rejection::NothingToRetry));
}

#[test]
fn each_that_collects_goes_on_and_tells_the_failures() {
    let flow = "steps.l = { each = \"object.list\", E, parallel = 1, failures = \"collect\", retry = { attempts = 1 } }\nresult = \"results.l\"";
    let mut run = Run::started(flow);
    run.when(failed("l", Some(0), 1, Cure::Time)).then(&["failed l[0]: no answer → Collect", "start l[1]"]);
    run.when(failed("l", Some(1), 1, Cure::Nothing));
    run.when(item_done("l", 2)).then(&[
        "done l[2] 2",
        "each l done",
        "flow done [{\"failed\":\"no answer\"},{\"failed\":\"no answer\"},2]",
    ]);
}

#[test]
fn each_that_collects_goes_on_when_no_parameters_can_be_computed() {
    let flow = "steps.l = { each = \"object.list\", E, parallel = 2, failures = \"collect\", with = { x = \"item.nothing\" } }";
    let mut run = Run::started(flow);
    assert_eq!(run.progress.phase(), Phase::Done);
    assert_eq!(run.facts.len(), 6);
    run.when(Event::Start).then(&[]);
}

#[test]
fn an_expression_that_fails_fails_its_step_with_its_text() {
    Run::started("steps.q = { branch = \"object.nothing\", then = \"end\" }").then(&[
        "failed q: `object.nothing` failed: there is no `nothing`; `has(….nothing)` asks whether there is → Fail",
        "flow failed: step `q`: `object.nothing` failed: there is no `nothing`; `has(….nothing)` asks whether there is",
    ]);
    Run::started("steps.q = { branch = \"object.title\", then = \"end\" }");
    let mut run = Run::started("steps.a = { E }\nresult = \"results.a.x\"");
    run.when(done("a"));
    assert_eq!(run.progress.phase(), Phase::Failed);
}

#[test]
fn a_skipped_step_has_no_result() {
    let flow = "steps.q = { branch = \"object.urgent\", then = \"a\" }\nsteps.a = { E }\nresult = \"has(results.a) ? 'yes' : 'no'\"";
    Run::started(flow).then(&["branch q false", "skip a", "flow done \"no\""]);
}

#[test]
fn a_flow_starts_no_more_than_its_bound() {
    let mut run =
        given_bounded("steps.l = { each = \"[1, 2, 3]\", E, parallel = 1 }", Bounds { steps: 2, results: 1_000 });
    run.when(Event::Start);
    run.when(item_done("l", 0));
    run.when(item_done("l", 1));
    let reason = "the flow has started 2 steps, elements and tries, the most that one instance may";
    let (step, flow) = (format!("failed l[2]: {reason} → Fail"), format!("flow failed: step `l`: {reason}"));
    run.then(&["done l[1] 1", &step, &flow]);
}

#[test]
fn a_flow_keeps_no_more_than_its_bound() {
    let bounds = Bounds { steps: 100, results: 20 };
    let large = || json!("x".repeat(30));
    let mut run = given_bounded("steps.a = { E }", bounds);
    run.when(Event::Start).when(Event::Done { spot: Spot::of("a", None), result: large() });
    assert_eq!(run.progress.phase(), Phase::Failed);
    assert!(tell(&run.facts[0]).contains("32 bytes more would be above the 20"), "{}", tell(&run.facts[0]));
    let mut run = given_bounded("steps.l = { each = \"object.list.map(it, it + '0123456789')\", E }", bounds);
    run.when(Event::Start);
    assert_eq!(run.progress.phase(), Phase::Failed);
    let mut run = given_bounded("steps.w = { suspend = \"go\" }", bounds);
    run.when(Event::Start);
    assert!(matches!(run.try_when(resume("go", large())), Err(Rejection::TooLarge { size: 32, left: 20, .. })));
    assert_eq!(run.progress.phase(), Phase::Suspended);
    let mut run = given_bounded("steps.w = { suspend = \"go\" }\nresult = \"'0123456789' + '0123456789'\"", bounds);
    run.when(Event::Start).when(resume("go", Value::Null));
    assert_eq!(run.progress.phase(), Phase::Failed);
}
