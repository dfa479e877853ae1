//! The rules of a gate, turn by turn.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::actors::stage::Stage;

const DECLARED: &str = r#"
[flow.job]
concurrency = { key = "input.k", max = 2 }
rate = { key = "input.k", max = 2, per = "1m" }
steps.a = { effect = "notify", with = { text = "'x'" } }
"#;

fn about(limit: Limit) -> About {
    let per = (limit == Limit::Rate).then_some(60_000);
    About { flow: "job".into(), limit, key: json!("k"), max: 7, per }
}

fn gate() -> Stage<Gate> {
    Stage::new("job.concurrency.k", DECLARED)
}

/// Who is told that they are in.
fn take(stage: &mut Stage<Gate>, command: Command) -> Vec<String> {
    let taken = stage.take(command).unwrap();
    let mut entered = told(&taken);
    let mut again = taken.told::<Gate>();
    // What it says to itself comes in turns of its own.
    while let Some((_, command)) = again.pop() {
        let taken = stage.take(command).unwrap();
        entered.extend(told(&taken));
        again.extend(taken.told::<Gate>());
    }
    entered
}

fn told(taken: &crate::actors::stage::Taken<Gate>) -> Vec<String> {
    let told = taken.told::<Flow>().into_iter();
    told.filter_map(|(flow, command)| matches!(command, flow::Command::Enter { .. }).then_some(flow)).collect()
}

fn ask(stage: &mut Stage<Gate>, flow: &str, limit: Limit) -> Vec<String> {
    take(stage, Command::Ask { flow: flow.into(), ticket: 0, about: about(limit) })
}

fn leave(stage: &mut Stage<Gate>, flow: &str) -> Vec<String> {
    take(stage, Command::Leave { flow: flow.into(), ticket: 0 })
}

#[test]
fn so_many_are_in_and_the_others_follow_in_their_order() {
    let mut stage = gate();
    let asked: Vec<_> =
        ["d", "c", "b", "a"].iter().flat_map(|flow| ask(&mut stage, flow, Limit::Concurrency)).collect();
    assert_eq!(asked, ["d", "c"], "two, as the newest definition says, and not seven");
    assert_eq!((stage.state.inside, stage.state.waiting), (2, 2));
    let listed = stage.entries::<Listed>(Index::Gates);
    assert_eq!((listed.len(), listed[0].inside, listed[0].waiting), (1, 2, 2));
    assert_eq!(leave(&mut stage, "c"), ["b"]);
    assert_eq!(leave(&mut stage, "d"), ["a"]);
    assert_eq!([leave(&mut stage, "a"), leave(&mut stage, "b")], [[""; 0]; 2]);
    assert!(stage.rows.is_empty(), "nothing is left in lists: {:?}", stage.rows.keys());
}

#[test]
fn who_asks_or_leaves_twice_counts_once() {
    let mut stage = gate();
    assert_eq!(ask(&mut stage, "a", Limit::Concurrency), ["a"]);
    assert_eq!(ask(&mut stage, "a", Limit::Concurrency), ["a"], "it hears it again");
    ask(&mut stage, "b", Limit::Concurrency);
    ask(&mut stage, "c", Limit::Concurrency);
    ask(&mut stage, "c", Limit::Concurrency);
    assert_eq!((stage.state.inside, stage.state.waiting), (2, 1));
    assert_eq!(take(&mut stage, Command::Leave { flow: "a".into(), ticket: 9 }), [""; 0], "another life");
    assert_eq!(leave(&mut stage, "nobody"), [""; 0]);
    assert_eq!(leave(&mut stage, "a"), ["c"]);
    assert_eq!(leave(&mut stage, "a"), [""; 0]);
    assert_eq!((stage.state.inside, stage.state.waiting), (2, 0));
}

#[test]
fn who_ends_while_it_waits_is_passed_over() {
    let mut stage = gate();
    for flow in ["a", "b", "c", "d"] {
        ask(&mut stage, flow, Limit::Concurrency);
    }
    assert_eq!(leave(&mut stage, "c"), [""; 0]);
    assert_eq!(leave(&mut stage, "a"), ["d"]);
}

#[test]
fn a_rate_lets_so_many_begin_in_any_span_and_the_clock_may_jump() {
    let mut stage = gate();
    assert_eq!(ask(&mut stage, "a", Limit::Rate), ["a"]);
    stage.wait(Duration::from_secs(50));
    assert_eq!(ask(&mut stage, "b", Limit::Rate), ["b"]);
    let due = stage.now.plus(Duration::from_secs(10));
    let taken = stage.take(Command::Ask { flow: "c".into(), ticket: 0, about: about(Limit::Rate) }).unwrap();
    assert_eq!((told(&taken).len(), taken.timers["advance"]), (0, Some(due)));
    assert_eq!(take(&mut stage, Command::Advance), [""; 0], "too early");
    stage.wait(Duration::from_secs(10));
    assert_eq!(take(&mut stage, Command::Advance), ["c"]);
    assert_eq!(ask(&mut stage, "d", Limit::Rate), [""; 0], "b and c began within a minute");
    stage.wait(Duration::from_secs(366 * 86_400));
    assert_eq!(take(&mut stage, Command::Advance), ["d"]);
    stage.now = stage.now.minus(Duration::from_secs(367 * 86_400));
    assert_eq!([ask(&mut stage, "e", Limit::Rate), ask(&mut stage, "f", Limit::Rate)], [["e"], ["f"]]);
    assert_eq!(stage.state.kept, 2);
}

#[test]
fn a_queue_longer_than_a_page_moves_on_in_turns_of_its_own() {
    let mut stage = gate();
    let names: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    for name in &names {
        ask(&mut stage, name, Limit::Concurrency);
    }
    let mut declared = DECLARED.to_owned();
    declared = declared.replace("\"input.k\", max = 2 }\nrate", "\"input.k\", max = 300 }\nrate");
    stage.world = crate::actors::stage::world(&declared);
    assert_eq!(take(&mut stage, Command::Audit { after: None }), names[2..], "a raised limit lets all in, in order");
    assert_eq!((stage.state.inside, stage.state.waiting), (200, 0));
    let mut asked = 0;
    let mut commands = vec![Command::Audit { after: None }];
    while let Some(command) = commands.pop() {
        let taken = stage.take(command).unwrap();
        asked += taken.told::<Flow>().len();
        commands.extend(taken.told::<Gate>().into_iter().map(|(_, command)| command));
    }
    assert_eq!(asked, 200, "each is asked whether it is still in");
}

#[test]
fn a_gate_that_nobody_uses_is_forgotten_with_all_its_rows() {
    let mut stage = gate();
    for flow in 0..2 {
        ask(&mut stage, &flow.to_string(), Limit::Rate);
    }
    let taken = stage.take(Command::Leave { flow: "0".into(), ticket: 0 }).unwrap();
    assert!(taken.events.is_empty(), "a rate does not hold anybody");
    stage.wait(Duration::from_secs(90_000));
    stage.take(Command::Forget).unwrap();
    assert!(stage.rows.is_empty() && stage.state == Gate::default(), "{:?}", stage.rows.keys());
}

#[test]
fn an_instance_that_cannot_be_told_anything_is_not_in() {
    let flow = ActorId::of::<Flow>("a");
    let enter = record::encode(&flow::Command::Enter { limit: Limit::Rate, ticket: 3 });
    assert!(matches!(Gate::undeliverable(&flow, &enter, "x"), Some(Command::Leave { ticket: 3, .. })));
}

#[test]
fn who_is_released_counts_no_more_and_the_next_is_let_in() {
    let mut stage = gate();
    for flow in ["a", "b", "c", "d"] {
        ask(&mut stage, flow, Limit::Concurrency);
    }
    let release = |flow: &str| Command::Release { flow: flow.into(), by: Some("ann".into()) };
    assert_eq!(take(&mut stage, release("a")), ["c"]);
    assert_eq!((stage.state.inside, stage.state.waiting), (2, 1));
    for nobody in ["a", "d", "x"] {
        let refused = stage.take(release(nobody)).err();
        assert_eq!(refused, Some(Rejection::NotIn(nobody.into())), "gone, still waiting, or never there");
    }
    assert_eq!(leave(&mut stage, "a"), [""; 0], "its end changes nothing any more");
    assert_eq!((stage.state.inside, stage.state.waiting), (2, 1));
    assert_eq!(leave(&mut stage, "b"), ["d"]);
}
