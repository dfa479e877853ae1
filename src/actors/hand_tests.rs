//! The rules of an instance that another node runs: who is asked, whose words count, and what is done here.

use serde_json::{Value, json};

use super::{Command, Flow, Order, Progress, Rejection, Said, Start, TIMER, Told};
use crate::actors::away::Away;
use crate::actors::away::Stage as Standing;
use crate::actors::errands::{Errand, Report};
use crate::actors::flow::{Done, Event, Origin};
use crate::actors::lent::{Lasted, Lent};
use crate::actors::stage::{Stage, Taken, iri};
use crate::domains::flow::Input;
use crate::domains::flow::fact::Fact;
use crate::domains::flow::kinds::{KINDS, Remote, Runner, Runners};
use crate::domains::flow::progress::Phase;

const DECLARED: &str = r#"
[flow.tell]
steps.say = { effect = "notify", with = { text = "'said'" } }
steps.asked = { suspend = "go", after = "say" }
[flow.secret]
steps.get = { http = "GET", url = "'https://x.example/'", headers = { x = { secret = "crm" } } }
[flow.limited]
concurrency = { max = 1 }
steps.say = { effect = "notify", with = { text = "'said'" } }
[secrets.crm]
env = "CRM"
"#;

const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example";

fn at(base: &str) -> Runner {
    Runner::At(Remote { base: base.into(), actor: iri(&format!("{base}/actor")) })
}

fn stage(runners: Vec<Runner>) -> Stage<Flow> {
    let mut stage = Stage::new("f1", DECLARED);
    stage.world.runners = Runners(runners);
    stage
}

fn answer(status: u16, body: Value) -> Report {
    Report::Replied { status, body }
}

impl Stage<Flow> {
    fn begin(&mut self, name: &str) -> Taken<Flow> {
        let definition = self.world.catalog.current(name).unwrap().hash.0.clone();
        // One that comes once, so that its keys say nothing of when it began.
        let activity = iri("https://here.example/activities/01A");
        let origin = Origin::Local { activity, object: iri("https://here.example/x") };
        let input = Input::default();
        self.take(Command::Start(Box::new(Start { name: name.into(), definition, input, origin }))).unwrap()
    }

    fn offer_answered(&mut self, base: &str, hold: u32, report: Report) -> Taken<Flow> {
        self.take(Command::Heard { said: Said::Offer { at: base.into(), hold }, report }).unwrap()
    }

    fn told(&mut self, base: &str, hold: u32, from: u64, facts: Vec<Fact>) -> Result<Taken<Flow>, Rejection> {
        let turns = vec![Lasted { heard: 0, facts }];
        let by = iri(&format!("{base}/actor"));
        self.take(Command::Told(Box::new(Told { by, instance: "theirs".into(), hold, from, turns })))
    }

    fn away(&self) -> &Away {
        self.state.away.as_deref().expect("it is away")
    }

    fn stands(&self) -> Phase {
        self.state.progress.as_ref().unwrap().phase()
    }
}

fn offers(taken: &Taken<Flow>) -> Vec<String> {
    let url = |errand: &Errand| match errand {
        Errand::Signed { url, .. } => Some(url.clone()),
        _ => None,
    };
    taken.errands.iter().filter_map(url).collect()
}

fn started(step: &str, effect: &str) -> Fact {
    let (key, input) = (format!("f1/1/{step}/-/do"), json!({ "text": "said" }));
    let (step, effect, item, attempt) = (step.to_owned(), effect.to_owned(), None, 1);
    Fact::StepStarted { step, item, attempt, key, effect, input, undo: false, until: None, callback: None }
}

#[test]
fn runners_are_asked_in_their_order_and_the_last_to_be_asked_is_this_node() {
    let mut stage = stage(vec![at(ONE), at(TWO), Runner::Here(KINDS.into())]);
    assert_eq!(offers(&stage.begin("tell")), [format!("{ONE}/flow/start")]);
    let next = stage.offer_answered(ONE, 1, answer(422, json!({ "detail": "no" })));
    assert_eq!(offers(&next), [format!("{TWO}/flow/start")]);
    let home = stage.offer_answered(TWO, 2, Report::Unreachable { reason: "down".into() });
    assert!(offers(&home).is_empty() && stage.away().stage == Standing::ComingHome);
    stage.take(Command::Runner(Order::ComeHome)).unwrap();
    assert!(stage.state.away.is_none() && stage.state.here);
    assert!(stage.state.progress.as_ref().unwrap().steps.contains_key("say"), "it runs here");
}

#[test]
fn whoever_is_away_is_asked_again_and_who_said_no_is_a_reason_to_pause() {
    let mut stage = stage(vec![at(ONE)]);
    stage.begin("tell");
    let waits = stage.offer_answered(ONE, 1, Report::Unreachable { reason: "down".into() });
    assert!(waits.timers.contains_key(TIMER) && matches!(stage.away().stage, Standing::Waiting { .. }));
    let again = stage.take(Command::Runner(Order::Offer)).unwrap();
    assert_eq!(offers(&again), [format!("{ONE}/flow/start")]);
    stage.offer_answered(ONE, 2, answer(422, json!({ "detail": "no" })));
    assert_eq!((stage.stands(), &stage.away().stage), (Phase::Paused, &Standing::Nobody));
    let again = stage.take(Command::Continue { by: None }).unwrap();
    assert_eq!(offers(&again), [format!("{ONE}/flow/start")]);
    assert_eq!(stage.stands(), Phase::Running);
}

#[test]
fn a_flow_with_secrets_leaves_this_node_never() {
    let mut alone = stage(vec![at(ONE)]);
    assert!(offers(&alone.begin("secret")).is_empty());
    assert!(alone.stands() == Phase::Paused && alone.away().declined[0].why.contains("`crm`"));
}

#[test]
fn limits_are_passed_at_home_before_anybody_is_asked() {
    let mut stage = stage(vec![at(ONE)]);
    assert!(offers(&stage.begin("limited")).is_empty());
    assert_eq!(stage.stands(), Phase::Queued);
    let limit = crate::domains::flow::limits::Limit::Concurrency;
    let entered = stage.take(Command::Enter { limit, ticket: 0 }).unwrap();
    assert_eq!(offers(&entered), [format!("{ONE}/flow/start")]);
}

#[test]
fn what_the_holder_says_is_done_here_once_and_what_comes_of_it_goes_back() {
    let mut stage = stage(vec![at(ONE), at(TWO)]);
    stage.begin("tell");
    let strangers = [(TWO, 1), (ONE, 2)];
    for (base, hold) in strangers {
        let refused = stage.told(base, hold, 1, vec![started("say", "notify")]);
        assert!(matches!(refused.err(), Some(Rejection::NotHeld(_))));
    }
    // It may be heard before the answer to the offer is.
    let begun = stage.told(ONE, 1, 1, vec![started("say", "notify")]).unwrap();
    assert_eq!(begun.told::<crate::actors::stream::Stream>().len(), 1);
    assert_eq!(stage.away().instance(), Some("theirs"));
    let again = stage.told(ONE, 1, 1, vec![started("say", "notify")]).unwrap();
    assert!(again.told::<crate::actors::stream::Stream>().is_empty(), "a repeat does nothing");
    let key = "f1/1/say/-/do".to_owned();
    let done = Done { step: "say".into(), item: None, result: json!({ "seq": 1 }), key };
    let word = stage.take(Command::Done(done)).unwrap();
    assert_eq!(offers(&word), [format!("{ONE}/flow/words/theirs")]);
    assert_eq!(stage.stands(), Phase::Running, "its runner says what follows");
}

#[test]
fn whoever_says_what_cannot_be_loses_it_and_the_next_one_gets_what_is_known() {
    let mut stage = stage(vec![at(ONE), at(TWO)]);
    stage.begin("tell");
    stage.offer_answered(ONE, 1, answer(202, json!({ "id": "theirs" })));
    stage.told(ONE, 1, 1, vec![started("say", "notify")]).unwrap();
    let lie = stage.told(ONE, 1, 2, vec![started("asked", "object.create")]).unwrap();
    assert_eq!(offers(&lie), [format!("{ONE}/flow/release/theirs"), format!("{TWO}/flow/start")]);
    let refused = stage.told(ONE, 1, 2, vec![]);
    assert!(matches!(refused.err(), Some(Rejection::NotHeld(_))));
    let late = stage.offer_answered(ONE, 1, answer(202, json!({ "id": "twice" })));
    assert_eq!(offers(&late), [format!("{ONE}/flow/release/twice")]);
    let offered = lie.errands.iter().find_map(|errand| match errand {
        Errand::Signed { body, said: Said::Offer { .. }, .. } => Some(body.clone()),
        _ => None,
    });
    assert_eq!(offered.unwrap()["progress"]["steps"]["say"]["state"], "running");
}

#[test]
fn a_runner_that_forgot_it_is_asked_again_and_hears_everything_again() {
    let mut stage = stage(vec![at(ONE)]);
    stage.begin("tell");
    stage.offer_answered(ONE, 1, answer(202, json!({ "id": "theirs" })));
    let waiting = Fact::Suspended { step: "asked".into(), signal: "go".into(), until: None, assignee: None };
    let skipped = Fact::StepDone { step: "say".into(), item: None, result: Value::Null };
    stage.told(ONE, 1, 1, vec![started("say", "notify"), skipped, waiting]).unwrap();
    assert_eq!(stage.stands(), Phase::Suspended);
    let wrong = stage.take(Command::Resume { signal: Some("stop".into()), payload: Value::Null, by: None });
    assert!(wrong.is_err(), "what cannot be is refused at home");
    stage.take(Command::Resume { signal: Some("go".into()), payload: Value::Null, by: None }).unwrap();
    let said = Said::Words { hold: 1, upto: 1 };
    let lost = stage.take(Command::Heard { said, report: answer(404, json!({ "detail": "no flow" })) }).unwrap();
    assert_eq!(offers(&lost), [format!("{ONE}/flow/start")]);
    assert_eq!((stage.away().hold, stage.away().line.heard, stage.away().line.made), (2, 0, 1));
    stage.offer_answered(ONE, 2, answer(202, json!({ "id": "anew" })));
    let spoken = stage.take(Command::Runner(Order::Speak { after: 0 })).unwrap();
    assert_eq!(offers(&spoken), [format!("{ONE}/flow/words/anew")]);
}

#[test]
fn an_end_is_taken_over_with_all_that_follows_and_a_kill_releases() {
    let mut stage = stage(vec![at(ONE)]);
    stage.begin("tell");
    stage.offer_answered(ONE, 1, answer(202, json!({ "id": "theirs" })));
    let ended = stage.told(ONE, 1, 1, vec![Fact::FlowDone { result: json!(1) }]).unwrap();
    assert!(offers(&ended).is_empty() && stage.state.away.is_none() && stage.stands() == Phase::Done);
    assert!(ended.events.iter().any(|event| matches!(event, Event::Away { .. })));

    let mut other = self::stage(vec![at(ONE)]);
    other.begin("tell");
    other.offer_answered(ONE, 1, answer(202, json!({ "id": "theirs" })));
    let killed = other.take(Command::Kill { by: None, reason: "enough".into() }).unwrap();
    assert_eq!(offers(&killed), [format!("{ONE}/flow/release/theirs")]);
    let away = other.take(Command::Heard {
        said: Said::Release { at: ONE.into(), instance: "theirs".into(), hold: 1, tries: 0 },
        report: Report::Unreachable { reason: "down".into() },
    });
    assert!(away.unwrap().timers.contains_key("release/1"), "it is told again later");
}

// The other side

fn lent(definition: &str) -> Stage<Flow> {
    let mut stage = stage(vec![Runner::Here(KINDS.into())]);
    let compiled = stage.world.catalog.current(definition).unwrap();
    let lent = Lent {
        home: iri("https://home.example/actor"),
        instance: "f1".into(),
        hold: 1,
        heard: 0,
        line: Default::default(),
        gone: false,
    };
    let (name, definition) = (definition.to_owned(), compiled.hash.0.clone());
    let (input, progress) = (Input::default(), Progress::new("f1"));
    let lend = crate::actors::lent::Lend { name, definition, input, lent, progress };
    stage.take(Command::Lend(Box::new(lend))).unwrap();
    stage
}

fn acknowledged(upto: u64) -> Command {
    Command::Heard { said: Said::Turns { upto }, report: answer(200, json!({})) }
}

#[test]
fn nothing_leaves_a_runner_before_its_home_knows_that_it_was_begun() {
    let mut stage = lent("secret");
    assert!(matches!(stage.state.progress.as_ref().unwrap().phase(), Phase::Running));
    let done = stage.take(acknowledged(1)).unwrap();
    assert!(matches!(&done.errands[..], [Errand::Lent { place, .. }] if place.key == "f1/1/get/-/do"));
    let again = stage.take(acknowledged(1)).unwrap();
    assert!(again.errands.is_empty(), "the answer of a repeat does nothing twice");
}

#[test]
fn what_is_the_homes_to_do_is_only_said_and_only_the_home_is_heard() {
    let mut stage = lent("tell");
    let acked = stage.take(acknowledged(1)).unwrap();
    assert!(acked.errands.is_empty() && acked.told::<crate::actors::stream::Stream>().is_empty());
    let key = "f1/1/say/-/do".to_owned();
    let word = || Command::Done(Done { step: "say".into(), item: None, result: json!(1), key: key.clone() });
    let words = |by: &str, from| Command::Words { by: iri(by), hold: 1, from, words: vec![word()] };
    assert!(matches!(stage.take(words("https://other.example/actor", 1)).err(), Some(Rejection::Unknown(_))));
    assert!(matches!(stage.take(words("https://home.example/actor", 2)).err(), Some(Rejection::Missing { from: 1 })));
    let heard = stage.take(words("https://home.example/actor", 1)).unwrap();
    assert_eq!(offers(&heard), ["https://home.example/flow/effects/f1"]);
    assert_eq!(stage.stands(), Phase::Suspended);
    let again = stage.take(words("https://home.example/actor", 1)).unwrap();
    assert!(again.events.is_empty(), "a repeat changes nothing");
}

#[test]
fn a_runner_that_holds_nothing_any_more_ends_its_copy_and_one_that_is_not_heard_says_it_again() {
    let mut stage = lent("tell");
    let report = Report::Unreachable { reason: "down".into() };
    let unheard = stage.take(Command::Heard { said: Said::Turns { upto: 1 }, report }).unwrap();
    assert!(unheard.timers.contains_key(TIMER) && unheard.errands.is_empty());
    let spoken = stage.take(Command::Runner(Order::Speak { after: 0 })).unwrap();
    assert_eq!(offers(&spoken), ["https://home.example/flow/effects/f1"]);
    let report = answer(403, json!({ "type": "urn:quickbeam:problem:not-held", "detail": "no" }));
    let gone = stage.take(Command::Heard { said: Said::Turns { upto: 1 }, report }).unwrap();
    assert!(gone.errands.is_empty() && stage.stands() == Phase::Killed);
    assert!(stage.state.lent.as_ref().unwrap().gone);
}
