//! Taking back, and the verbs that move an instance: as sentences, in the words of `flow_steps.rs`.

use quickbeam::clock::Time;
use quickbeam::domains::flow::progress::{End, Phase};
use quickbeam::domains::flow::spot::{Role, Spot};
use quickbeam::domains::flow::step::{Cure, Event, Rejection, Verb};
use quickbeam::domains::flow::verbs::possible;
use serde_json::{Value, json};

use super::flow_steps::{Run, done, failed, resume, retry_due};

/// Three steps in a row, each with an undo.
const CHAIN: &str = "steps.a = { E, undo = { effect = \"un\", with = { of = \"result\", was = \"with.n\" } }, with = { n = 1 } }\n\
                     steps.b = { E, undo = \"un\", after = \"a\", with = { n = 2 } }\n\
                     steps.c = { E, undo = \"un\", after = \"b\", retry = { attempts = 2, delay = \"1s\" } }";

fn undone(step: &str) -> Event {
    Event::Done { spot: Spot::new(step, None, 1, Role::Undo), result: Value::Null }
}

fn undo_failed(step: &str, attempt: u32, cure: Cure) -> Event {
    let spot = Spot::new(step, None, 1, Role::Undo);
    Event::Failed { spot, attempt, reason: "no".into(), cure, trouble: None }
}

pub(super) fn cancel() -> Event {
    Event::Cancel { by: Some("ada".into()), reason: "enough".into() }
}

#[test]
fn what_was_done_is_taken_back_in_reverse_one_after_the_other() {
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(done("b"));
    run.when(failed("c", None, 1, Cure::Nothing)).then(&[
        "failed c: no answer → Fail",
        "undoing Failed { step: Some(\"c\"), reason: \"step `c` was refused: no answer\" }",
        "undo b of run 1 (1)",
    ]);
    assert_eq!(run.progress.phase(), Phase::Undoing);
    run.when(undone("b")).then(&["undone b", "undo a of run 1 (1)"]);
    run.when(undone("b")).then(&[]);
    run.when(undone("a")).then(&["undone a", "flow failed: step `c` was refused: no answer"]);
    assert_eq!(run.progress.phase(), Phase::Failed);
}

#[test]
fn an_undo_is_given_what_its_step_was_given_and_gave() {
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(done("b"));
    run.when(failed("c", None, 1, Cure::Nothing));
    let input = |run: &Run| run.facts.iter().find_map(undo_input);
    assert_eq!(input(&run), Some(("flow-1/1/b/-/undo".into(), json!({ "n": 2 }))));
    run.when(undone("b"));
    assert_eq!(input(&run), Some(("flow-1/1/a/-/undo".into(), json!({ "of": "a", "was": 1 }))));
}

fn undo_input(fact: &quickbeam::domains::flow::Fact) -> Option<(String, Value)> {
    match fact {
        quickbeam::domains::flow::Fact::UndoStarted { key, input, .. } => Some((key.clone(), input.clone())),
        _ => None,
    }
}

#[test]
fn a_try_whose_outcome_nobody_knows_is_taken_back_too_and_a_refused_one_is_not() {
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(done("b"));
    run.when(failed("c", None, 1, Cure::Time)).when(retry_due("c", None, 1));
    run.when(failed("c", None, 2, Cure::Nothing));
    assert_eq!(run.facts.len(), 3);
    assert!(tells(&run, "undo c of run 1 (1)"), "the first try may have been done");
}

#[test]
fn an_answer_that_cannot_be_taken_fails_the_flow_and_takes_back_what_may_have_been_done() {
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(done("b"));
    run.when(failed("c", None, 1, Cure::Lost)).then(&[
        "failed c: no answer → Fail",
        "undo c of run 1 (1)",
        "undoing Failed { step: Some(\"c\"), reason: \"step `c` failed: no answer\" }",
    ]);
    run.when(undone("c")).when(undone("b")).when(undone("a"));
    assert_eq!(run.progress.phase(), Phase::Failed);
}

#[test]
fn an_answer_that_cannot_be_taken_is_asked_for_again_where_the_step_says_so() {
    let mut run =
        Run::started("steps.a = { E, undo = \"un\", retry = { attempts = 2, delay = \"1s\", on = [\"307\"] } }");
    let answered = |attempt| {
        let (spot, trouble) = (Spot::new("a", None, 1, Role::Do), Some("307".into()));
        Event::Failed { spot, attempt, reason: "moved".into(), cure: Cure::Lost, trouble }
    };
    run.when(answered(1)).then(&["failed a: moved → RetryAt(Time(2000))"]);
    run.when(retry_due("a", None, 1));
    run.when(answered(2)).then(&["failed a: moved → Pause"]);
    run.when(cancel());
    assert!(tells(&run, "undo a of run 1 (1)"));
}

fn tells(run: &Run, line: &str) -> bool {
    run.facts.iter().any(|fact| super::flow_steps::tell(fact) == line)
}

#[test]
fn a_try_under_way_is_waited_for_before_anything_is_taken_back() {
    let mut run = Run::started(CHAIN);
    run.when(done("a"));
    run.when(cancel()).then(&["undoing Cancelled { by: Some(\"ada\"), reason: \"enough\" }"]);
    run.when(done("b")).then(&["done b \"b\"", "undo b of run 1 (1)"]);
    run.when(undone("b")).when(undone("a"));
    assert_eq!(run.progress.phase(), Phase::Cancelled);
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(cancel());
    run.when(failed("b", None, 1, Cure::Nothing)).then(&["failed b: no answer → Fail", "undo a of run 1 (1)"]);
}

#[test]
fn an_undo_is_tried_again_and_then_stuck_until_somebody_retries_or_skips_it() {
    let mut run = Run::started(
        "steps.a = { E, undo = \"un\", retry = { attempts = 2, delay = \"1s\" } }\nsteps.w = { suspend = \"go\", after = \"a\" }",
    );
    run.when(done("a")).when(cancel());
    run.when(undo_failed("a", 1, Cure::Time)).then(&["undo a failed: no → RetryAt(Time(2000))"]);
    let due = Event::RetryDue { spot: Spot::new("a", None, 1, Role::Undo), attempt: 1 };
    run.when(due).then(&["undo a of run 1 (2)"]);
    run.when(undo_failed("a", 2, Cure::Time)).then(&["undo a failed: no → Pause"]);
    assert_eq!(run.progress.phase(), Phase::Stuck);
    assert_eq!(possible(&run.progress), [Verb::Retry, Verb::Skip, Verb::Edit, Verb::Pause, Verb::Kill]);
    run.when(Event::Retry { step: None, by: None }).then(&["retried a", "undo a of run 1 (1)"]);
    run.when(undo_failed("a", 1, Cure::Nothing)).then(&["undo a failed: no → Pause"]);
    let skip = Event::Skip { step: "a".into(), item: None, result: Value::Null, by: Some("ada".into()) };
    run.when(skip).then(&["undo a skipped", "flow cancelled: enough"]);
}

#[test]
fn a_stuck_undo_is_given_something_else() {
    let mut run = Run::started("steps.a = { E, undo = \"un\" }\nsteps.w = { suspend = \"go\", after = \"a\" }");
    run.when(done("a")).when(cancel()).when(undo_failed("a", 1, Cure::Nothing));
    let edit = Event::Edit { step: "a".into(), item: None, input: json!({ "n": 7 }), by: None };
    run.when(edit).then(&["edited a Some(1)"]);
    run.when(Event::Retry { step: None, by: None });
    assert_eq!(run.facts.iter().find_map(undo_input).unwrap().1, json!({ "n": 7 }));
}

#[test]
fn killing_takes_nothing_back_and_says_so() {
    let mut run = Run::started(CHAIN);
    run.when(done("a"));
    run.when(Event::Kill { by: None, reason: "now".into() }).then(&["flow killed: now, 2 left"]);
    assert!(matches!(run.progress.end, Some(End::Killed { left: 2, .. })));
    run.when(done("b")).then(&[]);
}

#[test]
fn a_done_flow_can_be_taken_back_by_those_who_asked_for_it() {
    let mut run = Run::started("steps.a = { E, undo = \"un\" }");
    run.when(done("a"));
    assert_eq!(run.progress.phase(), Phase::Done);
    let undo = || Event::Undo { by: None, reason: "taken back".into() };
    run.when(undo());
    assert_eq!(run.progress.phase(), Phase::Undoing);
    run.when(undo()).then(&[]);
    run.when(undone("a")).then(&["undone a", "flow cancelled: taken back"]);
    run.when(undo()).then(&[]);
}

#[test]
fn a_held_flow_records_and_begins_nothing() {
    let mut run = Run::started(CHAIN);
    run.when(Event::Pause { by: None }).then(&["paused"]);
    run.when(done("a")).then(&["done a \"a\""]);
    assert_eq!(run.progress.phase(), Phase::Paused);
    run.when(Event::Continue { by: None }).then(&["continued", "start b"]);
    run.when(failed("b", None, 1, Cure::Time)).when(Event::Pause { by: None });
    run.when(retry_due("b", None, 1)).then(&[]);
    run.now = Time(5_000);
    run.when(Event::Continue { by: None }).then(&["continued", "start b again (2)"]);
}

#[test]
fn a_restart_begins_again_from_a_step_and_what_was_taken_back_is_done_again() {
    let mut run = Run::started(CHAIN);
    run.when(done("a")).when(done("b")).when(failed("c", None, 1, Cure::Nothing));
    run.when(undone("b")).when(undone("a"));
    let restart = |step: &str| Event::Restart { step: step.into(), input: None, by: None };
    run.when(restart("c"));
    run.then(&["restarted c as run 2, cleared [\"a\", \"b\", \"c\"]", "start a"]);
    let late = Event::Done { spot: Spot::new("a", None, 1, Role::Do), result: json!("late") };
    run.when(late).then(&[]);
    let now = |step: &str| Event::Done { spot: Spot::new(step, None, 2, Role::Do), result: json!(step) };
    run.when(now("a")).when(now("b")).when(now("c"));
    assert_eq!(run.progress.phase(), Phase::Done);
    run.when(restart("b")).then(&["restarted b as run 3, cleared [\"b\", \"c\"]", "start b"]);
    assert_eq!(run.progress.key("b", None), "flow-1/3/b/-/do");
    let ledger: Vec<_> = run.progress.ledger.iter().map(|it| (it.step.as_str(), it.run)).collect();
    assert_eq!(ledger, [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 2), ("b", 3)]);
}

#[test]
fn what_earlier_runs_did_is_taken_back_after_what_later_ones_did() {
    let mut run = Run::started("steps.a = { E, undo = \"un\" }\nsteps.w = { suspend = \"go\", after = \"a\" }");
    run.when(done("a"));
    run.when(Event::Restart { step: "a".into(), input: Some(json!(9)), by: None });
    let again = Event::Done { spot: Spot::new("a", None, 2, Role::Do), result: json!("again") };
    run.when(again).when(cancel());
    assert!(tells(&run, "undo a of run 2 (1)"));
    run.when(Event::Done { spot: Spot::new("a", None, 2, Role::Undo), result: Value::Null });
    run.then(&["undone a", "undo a of run 1 (1)"]);
}

#[test]
fn a_restart_is_refused_where_answers_would_be_lost() {
    let mut run = Run::started(CHAIN);
    let restart = |step: &str| Event::Restart { step: step.into(), input: None, by: None };
    assert_eq!(run.try_when(restart("a")).err(), Some(Rejection::UnderWay(vec!["`a` is".into()])));
    assert!(matches!(run.try_when(restart("z")).err(), Some(Rejection::NoStep { .. })));
}

#[test]
fn a_wait_goes_on_when_its_time_comes_and_at_once_when_it_has_passed() {
    let mut run = Run::started("steps.w = { wait = \"2h\" }\nsteps.a = { E, after = \"w\" }");
    run.then(&["sleep w until 7201000"]);
    assert_eq!(run.progress.phase(), Phase::Suspended);
    run.when(Event::WaitOver { step: "w".into() }).then(&["woken w", "start a"]);
    run.when(Event::WaitOver { step: "w".into() }).then(&[]);
    Run::started("steps.w = { wait = \"'1960-01-01'\" }").then(&["woken w", "flow done null"]);
    let run = Run::started("steps.w = { wait = \"'2126-01-01'\" }");
    assert_eq!(run.progress.phase(), Phase::Failed);
}

#[test]
fn a_join_gathers_results_by_name() {
    let flow =
        "steps.l = { E }\nsteps.r = { E }\nsteps.j = { all = [\"l\", \"r\"] }\nresult = \"results.j.l + results.j.r\"";
    let mut run = Run::started(flow);
    run.when(done("l"));
    run.when(done("r")).then(&["done r \"r\"", "joined j {\"l\":\"l\",\"r\":\"r\"}", "flow done \"lr\""]);
}

#[test]
fn a_join_that_collects_takes_failures_in_also_of_steps_before() {
    let flow = "steps.l = { E }\nsteps.l2 = { E, after = \"l\" }\nsteps.r = { E }\n\
                steps.j = { all = [\"l2\", \"r\"], failures = \"collect\" }\nresult = \"results.j\"";
    let mut run = Run::started(flow);
    run.when(failed("l", None, 1, Cure::Nothing)).then(&["failed l: no answer → Collect", "skip l2 after a failure"]);
    run.when(done("r"));
    run.then(&[
        "done r \"r\"",
        "joined j {\"l2\":{\"failed\":\"no answer\"},\"r\":\"r\"}",
        "flow done {\"l2\":{\"failed\":\"no answer\"},\"r\":\"r\"}",
    ]);
    let stops = flow.replace(", failures = \"collect\"", "");
    let mut run = Run::started(&stops);
    run.when(failed("l", None, 1, Cure::Nothing));
    assert_eq!(run.progress.phase(), Phase::Failed);
}

#[test]
fn a_request_with_a_callback_waits_for_it_whichever_comes_first() {
    let flow = "steps.h = { http = \"POST\", url = \"'https://a.example/'\", body = { back = \"callback_url\" }, callback = \"1h\", otherwise = \"end\" }";
    let token = |run: &Run| run.progress.callbacks["h"].clone();
    let mut run = Run::started(flow);
    let callback = |run: &Run, payload: i64| Event::Callback { token: token(run), payload: json!(payload) };
    run.when(done("h")).then(&["await h until Some(3601000)"]);
    let call = callback(&run, 3);
    run.when(call.clone()).then(&["called back h 3", "flow done null"]);
    assert!(matches!(run.try_when(call).err(), Some(Rejection::CallbackOver { .. })));
    let strange = Event::Callback { token: "strange".into(), payload: json!(1) };
    assert_eq!(run.try_when(strange).err(), Some(Rejection::NoCallback));
    let mut run = Run::started(flow);
    let call = callback(&run, 4);
    run.when(call).then(&["called back h 4", "flow done null"]);
    let mut run = Run::started(flow);
    run.when(done("h")).when(Event::TimedOut { step: "h".into() }).then(&["time out h", "flow done null"]);
}

#[test]
fn a_question_that_takes_too_long_is_taken_back_and_the_flow_goes_its_other_way() {
    let flow = "steps.q = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\", timeout = \"5s\", otherwise = \"b\" }\n\
                steps.a = { E, after = \"q\" }\nsteps.b = { E }";
    let mut run = Run::started(flow);
    run.when(Event::TimedOut { step: "q".into() });
    run.then(&["time out q", "undo q of run 1 (1)", "skip a", "start b"]);
    run.when(done("q")).then(&[]);
    run.when(done("b")).then(&["done b \"b\""]);
    run.when(undone("q")).then(&["undone q", "flow done null"]);
}

#[test]
fn a_question_under_way_is_taken_back_without_waiting_for_its_answer() {
    let flow = "steps.q = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\" }";
    let mut run = Run::started(flow);
    run.when(cancel());
    assert!(tells(&run, "undo q of run 1 (1)"));
    run.when(done("q")).then(&[]);
    run.when(undone("q")).then(&["undone q", "flow cancelled: enough"]);
}

#[test]
fn people_are_told_that_a_flow_waits_and_the_wait_goes_on_when_that_fails() {
    let flow = "steps.w = { suspend = \"go\", assignee = \"object.title\", notify = \"https://a.example/\", retry = { attempts = 1 } }";
    let mut run = Run::started(flow);
    run.then(&["suspend w for go", "notify w (1)"]);
    let spot = Spot::new("w", None, 1, Role::Notify);
    run.when(Event::Failed { spot, attempt: 1, reason: "no".into(), cure: Cure::Time, trouble: None });
    run.then(&["notify w failed → Pause"]);
    assert_eq!(run.progress.phase(), Phase::Suspended);
    run.when(Event::Retry { step: None, by: None }).then(&["retried w", "notify w (1)"]);
    run.when(resume("go", Value::Null));
    assert_eq!(run.progress.phase(), Phase::Done);
}

#[test]
fn a_paused_step_is_given_another_input_or_a_result() {
    let mut run = Run::started("steps.a = { E, with = { n = 1 }, retry = { attempts = 1 } }");
    run.when(failed("a", None, 1, Cure::Time));
    let edit = Event::Edit { step: "a".into(), item: None, input: json!({ "n": 2 }), by: None };
    run.when(edit).then(&["edited a None"]);
    run.when(Event::Retry { step: None, by: None });
    assert!(format!("{:?}", run.facts[1]).contains("Object {\"n\": Number(2)}"));
    run.when(failed("a", None, 1, Cure::Time));
    let skip = Event::Skip { step: "a".into(), item: None, result: json!("mine"), by: None };
    run.when(skip).then(&["passed a \"mine\"", "flow done null"]);
}

#[test]
fn a_question_that_nobody_answers_can_be_skipped_and_is_taken_back_when_the_flow_fails_later() {
    let mut run = Run::started(
        "steps.q = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\" }\n\
         steps.b = { E, after = \"q\", with = { given = \"results.q\" } }",
    );
    assert_eq!(run.progress.phase(), Phase::Running);
    assert!(possible(&run.progress).contains(&Verb::Skip));
    let skip = Event::Skip { step: "q".into(), item: None, result: json!("by telephone"), by: Some("ada".into()) };
    run.when(skip);
    assert!(tells(&run, "start b"), "{:?}", run.facts);
    run.when(done("q")).then(&[]);
    run.when(failed("b", None, 1, Cure::Nothing));
    assert!(tells(&run, "undo q of run 1 (1)"), "whoever was asked may have said yes: {:?}", run.facts);
}

const QUESTION: &str = "steps.q = { ask = \"allocate\", object = \"'o'\", target = \"'t'\", to = \"'p'\", undo_timeout = \"10s\", \
                        retry = { attempts = 2, delay = \"1s\" } }";

#[test]
fn an_undo_that_nobody_confirms_is_sent_again_and_then_stuck_and_a_late_word_still_counts() {
    let mut run = Run::started(QUESTION);
    run.when(cancel());
    let spot = || Spot::new("q", None, 1, Role::Undo);
    let silence = |attempt| Event::UndoTimedOut { spot: spot(), attempt };
    run.when(silence(1)).then(&["undo q failed: nobody confirmed it within 10s → RetryAt(Time(2000))"]);
    run.when(Event::RetryDue { spot: spot(), attempt: 1 }).then(&["undo q of run 1 (2)"]);
    run.when(silence(1)).then(&[]);
    run.when(silence(2)).then(&["undo q failed: nobody confirmed it within 10s → Pause"]);
    assert_eq!(run.progress.phase(), Phase::Stuck);
    assert_eq!(possible(&run.progress), [Verb::Retry, Verb::Skip, Verb::Edit, Verb::Pause, Verb::Kill]);
    run.when(undone("q")).then(&["undone q", "flow cancelled: enough"]);
    run.when(silence(2)).then(&[]);
}

#[test]
fn a_question_that_was_lost_fails_the_flow_and_is_taken_back_since_it_may_have_arrived() {
    let mut run = Run::started(QUESTION);
    run.when(failed("q", None, 1, Cure::Lost)).then(&[
        "failed q: no answer → Fail",
        "undo q of run 1 (1)",
        "undoing Failed { step: Some(\"q\"), reason: \"step `q` failed: no answer\" }",
    ]);
    run.when(undone("q")).then(&["undone q", "flow failed: step `q` failed: no answer"]);
}

#[test]
fn a_question_that_was_lost_within_a_join_that_collects_is_taken_back_before_the_end() {
    let flow = format!("{QUESTION}\nsteps.j = {{ all = [\"q\"], failures = \"collect\" }}\nresult = \"results.j\"");
    let mut run = Run::started(&flow);
    run.when(failed("q", None, 1, Cure::Lost));
    assert!(tells(&run, "undo q of run 1 (1)"));
    assert_eq!(run.progress.phase(), Phase::Running);
    run.when(undone("q")).then(&["undone q", "flow done {\"q\":{\"failed\":\"no answer\"}}"]);
}
