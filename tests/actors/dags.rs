//! Flows by chance in the real shell, with streams, child flows, services and peers that remember: the node is cut after
//! a batch, before and after what its errands did by then, services fail, and each ends as if nothing had happened.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use proptest::strategy::{Strategy, ValueTree};
use quickbeam::actors::errands::{Errand, Outside, Report};
use quickbeam::actors::flow::{self, Command, Flow, Origin, Start};
use quickbeam::actors::inbox::{self, Inbox, Received};
use quickbeam::actors::inspect;
use quickbeam::actors::kinds::Kinds;
use quickbeam::actors::log::Entry;
use quickbeam::actors::once::Once;
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Stream};
use quickbeam::actors::{layout, record};
use quickbeam::domains::activity::{Activity, Verb};
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::identity::Iri;
use quickbeam::domains::object::Object;
use quickbeam::store::{Batch, Engine, Key, Span};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::backwards;
use super::dice::{self, Dice};
use super::engine::SteeredEngine;
use super::flow_random::{Answer, Plan, Planned, limits, name, plans, runner};
use super::node::{self, BEGIN, JumpingClock, Node, on_system, settle};

const THEM: &str = "https://there.example";
/// Steps of the flow that are answered within it; whatever takes longer is timed out.
const TIME_OUT: &str = "30s";

const BESIDE: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[flow.other]
steps.made = { effect = "object.create", with = { type = "'note'", fields = { title = "'child ' + input.n" } }, undo = true }
result = "1"

[flow.late]
steps.night = { wait = "45s" }
steps.made = { effect = "object.create", after = "night", with = { type = "'note'", fields = { title = "'late'" } }, undo = true }

[flow.silent]
steps.never = { suspend = "never" }
"#;

/// A story to be told: the flow, and how it ends.
#[derive(Debug, Clone)]
struct Story {
    plans: Vec<Planned>,
    limits: (bool, bool),
    /// The service at this step refuses, or the peer.
    refused: Option<usize>,
    declares: &'static str,
}

fn declared(plans: &[Planned], limits: (bool, bool)) -> &'static str {
    let list = |steps: &[usize]| format!("{:?}", steps.iter().map(|at| name(*at)).collect::<Vec<_>>());
    let targets = |steps: &[usize]| if steps.is_empty() { "\"end\"".to_owned() } else { list(steps) };
    let mut text = format!("{BESIDE}\n[flow.random]\n");
    if limits.0 {
        text += "concurrency = { key = \"input.one\", max = 1 }\n";
    }
    if limits.1 {
        text += "rate = { max = 1, per = \"1m\" }\n";
    }
    for (at, planned) in plans.iter().enumerate() {
        let note = |title: &str| {
            format!(
                "effect = \"object.create\", with = {{ type = \"'note'\", fields = {{ title = \"{title}\" }} }}, undo = true"
            )
        };
        let post = format!(
            "http = \"POST\", url = \"'{THEM}/{at}'\", undo = {{ http = \"POST\", url = \"'{THEM}/{at}/back'\" }}, retry = {{ attempts = 100, delay = \"1s\" }}"
        );
        let timed = |otherwise: &[usize]| format!("timeout = \"{TIME_OUT}\", otherwise = {}", targets(otherwise));
        let words = match &planned.plan {
            Plan::Effect => note(&format!("'step {at}'")),
            Plan::Branch { choice, then, otherwise } => {
                let (then, otherwise) = (targets(then), targets(otherwise));
                format!("branch = \"input.one == {}\", then = {then}, else = {otherwise}", if *choice { 1 } else { 2 })
            }
            Plan::Each { items, parallel, .. } => {
                let items = (0..*items).collect::<Vec<_>>();
                format!(
                    "each = \"{items:?}\", parallel = {parallel}, {}",
                    note(&format!("'part {at}-' + string(item)"))
                )
            }
            Plan::Suspend { otherwise, .. } => format!("suspend = \"{}\", {}", name(at), timed(otherwise)),
            Plan::Wait => "wait = \"5s\"".to_owned(),
            Plan::All { of, collect } => {
                format!("all = {}, failures = \"{}\"", list(of), if *collect { "collect" } else { "stop" })
            }
            Plan::Call { answer, otherwise } => {
                let child = match answer {
                    Answer::Given => "other",
                    Answer::Late => "late",
                    Answer::Silent => "silent",
                };
                format!("call = \"{child}\", with = {{ n = \"'{at}'\" }}, {}", timed(otherwise))
            }
            Plan::Ask { otherwise, .. } => format!(
                "ask = \"allocate\", object = \"'thing'\", target = \"'{THEM}/calendars/{at}'\", to = \"'{THEM}/actor'\", {}",
                timed(otherwise)
            ),
            Plan::Http => post,
            Plan::Callback { otherwise, .. } => {
                format!(
                    "{post}, body = {{ back = \"callback_url\" }}, callback = \"{TIME_OUT}\", otherwise = {}",
                    targets(otherwise)
                )
            }
        };
        let condition = if planned.passed_over { ", if = \"input.one == 2\"" } else { "" };
        let after =
            if planned.after.is_empty() { String::new() } else { format!(", after = {}", list(&planned.after)) };
        text += &format!("steps.{} = {{ {words}{after}{condition} }}\n", name(at));
    }
    Box::leak(text.into_boxed_str())
}

/// Something that came to a service or a peer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// With the instance and the token of its callback.
    Request {
        at: usize,
        key: String,
        back: Option<(String, String)>,
    },
    Allocate {
        id: String,
        at: usize,
    },
    Undo {
        id: String,
        of: String,
    },
}

/// Those who do what errands ask, each thing once, and remember it whatever becomes of the node.
#[derive(Default)]
struct Outsiders {
    story: OnceLock<Story>,
    engine: OnceLock<Arc<SteeredEngine>>,
    /// In order, with how many batches had landed before.
    heard: Mutex<Vec<(usize, Heard)>>,
    /// How many batches had landed when the clock said so many seconds.
    times: Mutex<Vec<(usize, Duration)>>,
    /// Which answer fails, counted over all.
    fails: Mutex<Option<(usize, bool)>>,
    count: Mutex<usize>,
    /// Pairs of things that were taken back in their order.
    pairs: Mutex<usize>,
}

impl Outsiders {
    fn of(story: &Story, engine: &Arc<SteeredEngine>, heard: Vec<(usize, Heard)>) -> Arc<Self> {
        let outsiders = Self { heard: Mutex::new(heard), ..Self::default() };
        outsiders.story.set(story.clone()).unwrap();
        drop(outsiders.engine.set(engine.clone()));
        Arc::new(outsiders)
    }

    fn hear(&self, what: Heard) {
        let landed = self.engine.get().unwrap().landed().len();
        self.heard.lock().push((landed, what));
    }

    fn all(&self) -> Vec<Heard> {
        self.heard.lock().iter().map(|(_, heard)| heard.clone()).collect()
    }

    /// What stands in the end: what was done, and not taken back before or after.
    fn standing(&self) -> BTreeSet<String> {
        let all = self.all();
        let taken_back = |what: &str| {
            all.iter().any(|heard| match heard {
                Heard::Request { key, .. } => {
                    key.strip_suffix("/undo").is_some_and(|stem| format!("{stem}/do") == what)
                }
                Heard::Undo { of, .. } => of == what,
                Heard::Allocate { .. } => false,
            })
        };
        let done = all.iter().filter_map(|heard| match heard {
            Heard::Request { key, .. } if key.ends_with("/do") => Some((key.as_str(), key.clone())),
            Heard::Allocate { id, at } if !self.refuses(*at) => Some((id.as_str(), format!("allocated {at}"))),
            _ => None,
        });
        done.filter(|(what, _)| !taken_back(what)).map(|(_, shown)| shown).collect()
    }

    fn refuses(&self, at: usize) -> bool {
        self.story.get().unwrap().refused == Some(at)
    }

    /// What the peer says to each Allocate, when it does, and to each Undo.
    fn answers(&self) -> Vec<(String, bool)> {
        let all = self.all();
        let story = self.story.get().unwrap();
        let answer = |heard: &Heard| {
            let (id, at) = match heard {
                Heard::Allocate { id, at } => (id, at),
                Heard::Undo { id, .. } => return Some((id.clone(), true)),
                Heard::Request { .. } => return None,
            };
            let undone = all.iter().any(|heard| matches!(heard, Heard::Undo { of, .. } if of == id));
            match story.plans[*at].plan.answer()? {
                Answer::Silent => None,
                Answer::Late if !undone => None,
                Answer::Given | Answer::Late => Some((id.clone(), !self.refuses(*at))),
            }
        };
        all.iter().filter_map(answer).collect()
    }

    async fn delivered(&self, ulid: &str) -> Report {
        let prefix = layout::index_prefix(Index::Activities, &quickbeam::actors::rows::parts([ulid]));
        let rows = self.engine.get().unwrap().range(Span::prefix(&prefix, 1)).await.unwrap();
        let entry: Entry = record::decode(&rows[0].value).unwrap();
        let heard = match entry.verb {
            Verb::Allocate => {
                let target = entry.target.unwrap();
                Heard::Allocate {
                    id: entry.id.to_string(),
                    at: target.as_str().rsplit('/').next().unwrap().parse().unwrap(),
                }
            }
            Verb::Undo => Heard::Undo { id: entry.id.to_string(), of: entry.object.to_string() },
            other => panic!("{other:?} is not sent here"),
        };
        self.hear(heard);
        node::answered(202)
    }
}

/// Lends itself to the node, which takes what it can keep.
struct Lent(Arc<Outsiders>);

impl Outside for Lent {
    fn perform(&self, errand: Errand) -> BoxFuture<'static, Report> {
        let them = self.0.clone();
        Box::pin(async move {
            let nth = {
                let mut count = them.count.lock();
                *count += 1;
                *count - 1
            };
            let fails = *them.fails.lock();
            let unreachable = || Report::Unreachable { reason: "nobody is there".into() };
            match fails {
                Some((at, false)) if at == nth => return unreachable(),
                _ => {}
            }
            let report = match errand {
                Errand::Http { request, place } => {
                    let at: usize = request.url.split('/').nth(3).unwrap().parse().unwrap();
                    let back = request.body.as_ref().and_then(|body| body["back"].as_str()).map(str::to_owned);
                    let back = back.map(|back| {
                        let mut parts = back.rsplit('/').map(str::to_owned);
                        let token = parts.next().unwrap();
                        (parts.next().unwrap(), token)
                    });
                    if them.refuses(at) && place.key.ends_with("/do") {
                        return Report::Replied { status: 400, body: json!("no") };
                    }
                    them.hear(Heard::Request { at, key: place.key, back });
                    Report::Replied { status: 200, body: json!("yes") }
                }
                Errand::Deliver { activity, .. } => them.delivered(&activity).await,
                Errand::Webhook { .. }
                | Errand::Lent { .. }
                | Errand::Signed { .. }
                | Errand::Vouch { .. }
                | Errand::Look { .. } => {
                    panic!("nobody is asked to do this")
                }
            };
            // It was done, and nobody hears of it.
            if matches!(fails, Some((at, true)) if at == nth) { unreachable() } else { report }
        })
    }
}

/// Plays everybody outside until the flow has come to its end and nothing is under way.
async fn told(engine: &Arc<SteeredEngine>, them: &Arc<Outsiders>, ahead: Duration) -> Node {
    let story = them.story.get().unwrap().clone();
    let plan = node::Plan {
        declares: story.declares,
        kinds: Kinds::default(),
        outside: Arc::new(Lent(them.clone())),
        clock: JumpingClock::ahead(ahead),
        ..node::Plan::default()
    };
    let node = Node::start(engine.clone(), plan).await;
    begin(&node).await;
    let (mut answered, mut quiet) = (BTreeSet::new(), 0);
    while quiet < 3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        settle().await;
        them.times.lock().push((engine.landed().len(), node.runtime.clock.now().since(BEGIN)));
        for (id, accepted) in them.answers() {
            if answered.insert(id.clone()) {
                answer(&node, &id, accepted).await;
                quiet = 0;
            }
        }
        let flow = inspect::state::<Flow>(&node.runtime, "random").await.unwrap().unwrap();
        let progress = flow.progress.unwrap();
        for (step, signal, _) in progress.waiting() {
            if matches!(story.plans[super::flow_random::place(step)].plan, Plan::Suspend { resumed: true, .. }) {
                let command = Command::Resume { signal: Some(signal.to_owned()), payload: json!(1), by: None };
                let once = Some(Once::new("test", signal, b""));
                drop(node.runtime.registry().ask::<Flow>("random", command, once).await);
            }
        }
        for heard in them.all() {
            let Heard::Request { at, back: Some((id, token)), .. } = heard else { continue };
            if matches!(story.plans[at].plan, Plan::Callback { called: true, .. }) {
                let once = Some(Once::new("callback", &token, b""));
                let command = Command::Callback { token, payload: json!("called") };
                drop(node.runtime.registry().ask::<Flow>(&id, command, once).await);
            }
        }
        let waits = !engine.area(b'm').is_empty() || !engine.area(b'x').is_empty() || !progress.phase().is_end();
        quiet = if waits { 0 } else { quiet + 1 };
    }
    node
}

/// What a person does, as often as they have to: the second time changes nothing.
async fn begin(node: &Node) {
    let registry = node.runtime.registry();
    let create = stream::Create {
        kind: "note".into(),
        fields: json!({ "title": "thing" }),
        to: Vec::new(),
        visibility: None,
        attributed_to: None,
        into: None,
    };
    let once = Some(Once::new("test", "thing", b"thing"));
    let thing = stream::object_stream("thing");
    registry.ask::<Stream>(&thing, stream::Command::Create(create), once).await.unwrap();
    let definition = node.runtime.world.catalog.current("random").unwrap().hash.0.clone();
    let input = Input { input: json!({ "one": 1 }), ..Input::default() };
    let start = Start { name: "random".into(), definition, input, origin: Origin::Api { by: "test".into() } };
    let once = Some(Once::new("test", "start", b"start"));
    registry.ask::<Flow>("random", Command::Start(Box::new(start)), once).await.unwrap();
}

pub(super) async fn answer(node: &Node, allocate: &str, accepted: bool) {
    let ulid = allocate.rsplit('/').next().unwrap();
    let kind = if accepted { "Accept" } else { "Reject" };
    let raw = json!({ "id": format!("{THEM}/activities/{ulid}"), "type": kind, "actor": format!("{THEM}/actor"), "object": allocate });
    let body = serde_json::to_vec(&raw).unwrap().into();
    let inbox = Iri::parse(&format!("{THEM}/inbox")).unwrap();
    let about = Some(format!("activities/{ulid}"));
    let activity = Activity::from_value(raw).unwrap();
    let received =
        Received { activity, body, inbox, shared_inbox: None, signed: None, about, target: None, reply_to: None };
    let command = inbox::Command::Receive(Box::new(received));
    node.runtime.registry().ask::<Inbox>("there.example", command, None).await.unwrap();
}

/// What can be seen of how it ended.
#[derive(Debug, PartialEq)]
struct End {
    /// The flow, and when it is done the child flows that it called.
    flows: Vec<(String, Phase)>,
    objects: Vec<String>,
    outside: BTreeSet<String>,
}

async fn listed<T: DeserializeOwned>(engine: &Arc<SteeredEngine>, index: Index, under: &Key) -> Vec<T> {
    let prefix = layout::index_prefix(index, under);
    let rows = engine.range(Span::prefix(&prefix, 1_000)).await.unwrap();
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

async fn end(engine: &Arc<SteeredEngine>, them: &Outsiders) -> End {
    let flows = listed::<flow::Listed>(engine, Index::Flows, &flow::list_prefix(None)).await.into_iter();
    let mut flows: Vec<_> = flows.map(|it| (it.name, it.phase)).collect();
    flows.sort();
    let ended = |phase: Phase| phase.is_end() && phase != Phase::Killed;
    assert!(flows.iter().all(|(_, phase)| ended(*phase)), "somebody is left behind: {flows:?}");
    // Which calls had begun when another step failed is chance: an answer a second later lets one more begin.
    if flows.iter().any(|(name, phase)| name == "random" && *phase != Phase::Done) {
        flows.retain(|(name, _)| name == "random");
    }
    let objects =
        listed::<Object>(engine, Index::Objects, &Key::default()).await.into_iter().filter(|it| it.deleted.is_none());
    let mut objects: Vec<String> = objects.map(|it| it.title.unwrap_or_default()).collect();
    objects.sort();
    End { flows, objects, outside: them.standing() }
}

/// Tells a story on what is there, with services and peers that have heard this, and one errand that fails.
fn tell(
    story: &Story,
    before: Vec<Batch>,
    heard: Vec<(usize, Heard)>,
    ahead: Duration,
    fails: Option<(usize, bool)>,
) -> (Vec<Batch>, Arc<Outsiders>, End) {
    let result = Arc::new(Mutex::new(None));
    let (told_to, story) = (result.clone(), story.clone());
    on_system(async move {
        let engine = SteeredEngine::with(&before);
        let them = Outsiders::of(&story, &engine, heard);
        *them.fails.lock() = fails;
        let node = told(&engine, &them, ahead).await;
        let end = end(&engine, &them).await;
        let (landed, heard) = (engine.landed(), them.heard.lock().clone());
        *them.pairs.lock() = backwards::check(&node, "random", &landed, &heard, story.declares).await;
        *told_to.lock() = Some((engine.landed(), them, end));
    });
    result.lock().take().unwrap()
}

fn right(story: &Story, end: &End) {
    let phase = end.flows.iter().find(|(name, _)| name == "random").unwrap().1;
    let titles: BTreeSet<&String> = end.objects.iter().collect();
    assert_eq!(titles.len(), end.objects.len(), "something was done twice: {end:?}\n{}", story.declares);
    if phase == Phase::Done {
        return;
    }
    assert!(end.objects == ["thing"] && end.outside.is_empty(), "something is left: {end:?}\n{}", story.declares);
}

fn drawn(of: &str, stories: u32) -> Vec<Story> {
    let mut runner = runner(of, 1, 1);
    let all = (plans(), limits(), 0_usize..30);
    let one = |_| {
        let (plans, limits, refused) = all.new_tree(&mut runner).unwrap().current();
        let asked = |at: &usize| {
            matches!(
                plans.get(*at).map(|it| &it.plan),
                Some(Plan::Ask { answer: Answer::Given, .. } | Plan::Http | Plan::Callback { .. })
            )
        };
        let refused = Some(refused % 10).filter(asked);
        let declares = declared(&plans, limits);
        Story { plans, limits, refused, declares }
    };
    (0..stories).map(one).collect()
}

/// Tells a story to its end, and again from every place at which it may be cut, `cuts` of them at most.
fn cut(story: &Story, cuts: usize, dice: &mut Dice, look: impl Fn(&Outsiders)) {
    let (landed, them, whole) = tell(story, Vec::new(), Vec::new(), Duration::ZERO, None);
    right(story, &whole);
    look(&them);
    let (heard, times) = (them.heard.lock().clone(), them.times.lock().clone());
    let mut places: Vec<usize> = (0..=landed.len()).collect();
    while places.len() > cuts {
        places.swap_remove(usize::try_from(dice.below(places.len() as u64)).unwrap());
    }
    for cut in places {
        let ahead = times.iter().take_while(|(landed, _)| *landed <= cut).last().map_or(Duration::ZERO, |it| it.1);
        // What was done by then, without and with what an errand did whose report never landed.
        for after in [false, true] {
            let known = |landed: usize| if after { landed <= cut } else { landed < cut };
            let heard: Vec<_> = heard.iter().filter(|(landed, _)| known(*landed)).cloned().collect();
            let (_, them, now) = tell(story, landed[..cut].to_vec(), heard, ahead, None);
            let place =
                format!("cut after {cut} of {}, errands {}", landed.len(), if after { "done" } else { "not done" });
            assert_eq!(now, whole, "{place}, limits {:?}\n{}", story.limits, story.declares);
            look(&them);
        }
    }
}

#[test]
fn a_random_flow_ends_the_same_wherever_its_node_is_cut() {
    let (stories, cuts) = if dice::is_long() { (150, usize::MAX) } else { (6, 12) };
    let mut dice = Dice::of(dice::seed("cuts"));
    for story in drawn("flows that are cut", stories) {
        cut(&story, cuts, &mut dice, |_| {});
    }
}

#[test]
fn a_random_flow_ends_the_same_whichever_errand_fails_or_is_done_and_not_heard_of() {
    let stories = if dice::is_long() { 300 } else { 12 };
    for story in drawn("flows whose errands fail", stories) {
        let (_, them, whole) = tell(&story, Vec::new(), Vec::new(), Duration::ZERO, None);
        right(&story, &whole);
        let errands = *them.count.lock();
        for fails in (0..errands).flat_map(|nth| [(nth, false), (nth, true)]) {
            let (_, _, now) = tell(&story, Vec::new(), Vec::new(), Duration::ZERO, Some(fails));
            assert_eq!(now, whole, "errand {fails:?} of {errands}\n{}", story.declares);
        }
    }
}

/// One step behind the other, of each kind that can be taken back; then one that is refused.
fn chain() -> Story {
    let given = |ask: bool| {
        let (answer, otherwise) = (Answer::Given, Vec::new());
        if ask { Plan::Ask { answer, otherwise } } else { Plan::Call { answer, otherwise } }
    };
    let each = Plan::Each { items: 2, parallel: 2, collect: false };
    let callback = Plan::Callback { called: true, otherwise: Vec::new() };
    let steps = [Plan::Effect, each, Plan::Http, given(false), given(true), callback, Plan::Http];
    let (refused, limits) = (Some(steps.len() - 1), (false, false));
    let planned = |(at, plan)| Planned { plan, after: (0..at).rev().take(1).collect(), passed_over: false };
    let plans: Vec<Planned> = steps.into_iter().enumerate().map(planned).collect();
    let declares = declared(&plans, limits);
    Story { plans, limits, refused, declares }
}

#[test]
fn what_steps_of_each_kind_did_is_taken_back_the_last_first_wherever_their_node_is_cut() {
    let cuts = if dice::is_long() { usize::MAX } else { 40 };
    // Of seven things each two have an order, but for the two elements that began together.
    cut(&chain(), cuts, &mut Dice::of(dice::seed("chain")), |them| assert_eq!(*them.pairs.lock(), 20));
}
