//! Sagas across three domains: the blog asks events, events asks the shop, and in the end all three hold what was
//! allocated or none of them does, whoever refuses, is silent, answers late, is cancelled or is cut at any batch.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quickbeam::actors::flow::{self, Command, Flow, Origin, Start};
use quickbeam::actors::log::{Entry, Way};
use quickbeam::actors::outbox::Outbox;
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Record, Stream};
use quickbeam::actors::world::Delivery;
use quickbeam::actors::{inspect, layout, record};
use quickbeam::domains::activity::Verb;
use quickbeam::domains::catalog::Catalog;
use quickbeam::domains::flow::expr::Input;
use quickbeam::domains::flow::progress::Phase;
use quickbeam::domains::object::Object;
use quickbeam::store::Key;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::dice::{Dice, count, is_long, number, seed};
use super::federation::{Cut, Domain, Federation, Plan, Weather, catalog};
use super::node::on_system;

const NAMES: [&str; 3] = ["blog", "events", "shop"];
/// What each allocates, by the title of the object that stands for it.
const TITLES: [&str; 3] = ["seat", "hold", "stock"];
/// How long events waits for the shop.
const WAITS: Duration = Duration::from_secs(60);
/// Far more than any story takes, also when everything is told three times.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

const TYPES: &str = r#"
[type.note]
as = "Note"
title = "title"
fields.title = { kind = "text" }

[type.strict]
as = "Note"
fields.title = { kind = "text", required = true }
"#;

const BLOG: &str = r#"
[flow.book]
steps.seat = { effect = "object.create", with = { type = "'note'", fields = { title = "'seat'" } }, undo = true }
steps.said = { effect = "notify", after = "seat", with = { text = "'seat'" }, undo = true }
steps.ask = { ask = "allocate", after = "said", object = "results.seat.id", target = "'https://events.example/main'", to = "'https://events.example/actor'", timeout = "3m", undo_timeout = "40s", retry = { attempts = 100, delay = "10s", max = "1m" } }
"#;

const EVENTS: &str = r#"
[type.desk]
as = "OrderedCollection"
title = "title"
fields.title = { kind = "text" }
remote.allocate = { run = "relay", from = "anyone" }

[flow.relay]
steps.hold = { effect = "object.create", with = { type = "'note'", fields = { title = "'hold'" } }, undo = true }
steps.said = { effect = "notify", after = "hold", with = { text = "'hold'" }, undo = true }
steps.ask = { ask = "allocate", after = "said", object = "results.hold.id", target = "'https://shop.example/main'", to = "'https://shop.example/actor'", timeout = "1m", undo_timeout = "20s", retry = { attempts = 100, delay = "10s", max = "1m" } }
result = "results.hold.id"
"#;

const SHOP: &str = r#"
[type.desk]
as = "OrderedCollection"
title = "title"
fields.title = { kind = "text" }
remote.allocate = { run = "sell", from = "anyone" }

[flow.sell]
steps.stock = { effect = "object.create", with = { type = "'note'", fields = { title = "'stock'" } }, undo = true }
steps.said = { effect = "notify", after = "stock", with = { text = "'stock'" }, undo = true }
result = "results.stock.id"
"#;

/// A step that is refused, behind another.
fn refused(after: &str) -> String {
    format!(
        "steps.no = {{ effect = \"object.validate\", after = \"{after}\", with = {{ type = \"'strict'\", object = \"{{}}\" }} }}\n"
    )
}

/// How the story goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tale {
    /// Everybody accepts.
    Accepted,
    /// The shop refuses, after it has allocated.
    Refused,
    /// The shop never comes to an answer.
    Silent,
    /// The shop accepts a moment before events gives up.
    Late,
    /// The shop accepts while the Undo of events is on its way.
    Crossing,
    /// Everybody has accepted when the blog's flow fails.
    FailsAfterwards,
    /// Somebody cancels the blog's flow while it waits.
    Cancelled,
}

const TALES: [Tale; 7] =
    [Tale::Accepted, Tale::Refused, Tale::Silent, Tale::Late, Tale::Crossing, Tale::FailsAfterwards, Tale::Cancelled];

impl Tale {
    fn catalogs(self) -> [Arc<Catalog>; 3] {
        let with = |base: &str, more: &str| format!("{TYPES}{base}{more}");
        let (mut blog, mut shop) = (String::new(), String::new());
        match self {
            Self::Accepted => {}
            Self::Refused => shop = refused("said"),
            Self::Silent | Self::Cancelled => shop = "steps.wait = { suspend = \"go\", after = \"said\" }\n".into(),
            // Events waits a minute, counted from before its Allocate is on its way.
            Self::Late => shop = "steps.wait = { wait = \"56s\", after = \"said\" }\n".into(),
            Self::Crossing => shop = "steps.wait = { wait = \"60s\", after = \"said\" }\n".into(),
            Self::FailsAfterwards => blog = refused("ask"),
        }
        // What stands behind a flow's steps comes before its `result`.
        let shop = SHOP.replace("result =", &format!("{shop}result ="));
        [catalog("blog", &with(BLOG, &blog)), catalog("events", &with(EVENTS, "")), catalog("shop", &with(&shop, ""))]
    }
}

/// One run of a tale.
#[derive(Clone)]
struct Run {
    tale: Tale,
    catalogs: [Arc<Catalog>; 3],
    seed: u64,
    weather: Weather,
    /// Whose life ends where.
    cuts: [Vec<Cut>; 3],
    down: Duration,
}

/// How a run ended, as far as its seed decides.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    phase: Phase,
    batches: [usize; 3],
    trace: Vec<String>,
}

impl Run {
    fn of(tale: Tale, catalogs: &[Arc<Catalog>; 3]) -> Self {
        let (catalogs, cuts) = (catalogs.clone(), Default::default());
        Self { tale, catalogs, seed: 1, weather: Weather::CALM, cuts, down: Duration::from_secs(20) }
    }

    fn told(&self) -> String {
        let Self { tale, seed, weather, cuts, down, .. } = self;
        format!("{tale:?}, seed {seed}, {} % lost, cuts of blog, events and shop {cuts:?}, down {down:?}", weather.lost)
    }

    fn play(&self) -> Outcome {
        let (run, told) = (self.clone(), Arc::new(Mutex::new(None)));
        let tell = told.clone();
        on_system(async move {
            let federation = run.begin().await;
            run.act(&federation).await;
            rest(&federation, &run).await;
            let phase = check(&federation, &run).await;
            let batches = NAMES.map(|name| federation.domain(name).disk.batches());
            let trace = federation.trace.lock().clone();
            *tell.lock() = Some(Outcome { phase, batches, trace });
            federation.end();
        });
        told.lock().take().expect("the story was told")
    }

    async fn begin(&self) -> Arc<Federation> {
        let plan = |at: usize| Plan {
            name: NAMES[at],
            catalog: self.catalogs[at].clone(),
            cuts: self.cuts[at].clone(),
            down: self.down,
            delivery: Delivery { retry_delay_max: Duration::from_secs(20), ..Delivery::default() },
        };
        Federation::start(self.seed, self.weather, (0..3).map(plan).collect()).await
    }

    async fn act(&self, federation: &Federation) {
        for name in ["events", "shop"] {
            let desk = || stream::Command::Create(desk());
            federation.domain(name).ask::<Stream>("object/main", "desk", desk).await;
        }
        let blog = federation.domain("blog");
        blog.ask::<Flow>("book-1", "start", || start(&self.catalogs[0])).await;
        if self.tale == Tale::Cancelled {
            let after = Dice::of(self.seed).below(if self.weather.lost > 0 { 200_000 } else { 2_000 });
            federation.clock.sleep(Duration::from_millis(after)).await;
            let cancel = || Command::Cancel { by: None, reason: "enough".into() };
            blog.ask::<Flow>("book-1", "cancel", cancel).await;
        }
    }
}

fn desk() -> stream::Create {
    let fields = serde_json::json!({ "title": "main" });
    stream::Create { kind: "desk".into(), fields, to: Vec::new(), visibility: None, attributed_to: None, into: None }
}

fn start(catalog: &Catalog) -> Command {
    let definition = catalog.current("book").unwrap().hash.0.clone();
    let origin = Origin::Api { by: "test".into() };
    Command::Start(Box::new(Start { name: "book".into(), definition, input: Input::default(), origin }))
}

fn listed<T: DeserializeOwned>(domain: &Domain, index: Index) -> Vec<T> {
    let rows = domain.disk.range(&layout::index_prefix(index, &Key::default()));
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

/// The flows of a domain by phase, each once.
fn phases(domain: &Domain) -> Vec<(String, Phase)> {
    let prefix = layout::index_prefix(Index::Flows, &flow::list_prefix(None));
    let rows = domain.disk.range(&prefix);
    let listed = rows.iter().map(|row| record::decode::<flow::Listed>(&row.value).unwrap());
    listed.map(|flow| (flow.name, flow.phase)).collect()
}

/// Waits until nothing is on its way and every flow has ended.
async fn rest(federation: &Federation, run: &Run) {
    let mut quiet = 0;
    // Longer than what the network repeats takes to come.
    while quiet < 6 {
        federation.clock.sleep(Duration::from_secs(10)).await;
        let calm = federation.domains().iter().all(|domain| {
            let ended = phases(domain).iter().all(|(_, phase)| phase.is_end());
            let waits = !domain.disk.area(b'm').is_empty() || !domain.disk.area(b'x').is_empty();
            domain.runtime().is_some() && ended && !waits
        });
        let peers = federation.domains().iter().any(|domain| !listed::<Value>(domain, Index::Outboxes).is_empty());
        quiet = if calm && !peers { quiet + 1 } else { 0 };
        if federation.clock.monotonic() > LONGEST {
            panic!("{} comes to no end:\n{}", run.told(), picture(federation).await);
        }
    }
}

async fn picture(federation: &Federation) -> String {
    let mut told = String::new();
    for domain in federation.domains() {
        told += &format!("{}: {:?}, {} batches", domain.name, phases(domain), domain.disk.batches());
        told += &format!(", {} messages, {} errands\n", domain.disk.area(b'm').len(), domain.disk.area(b'x').len());
        for entry in listed::<Entry>(domain, Index::Activities) {
            told += &format!("  {} {:?} {} {}\n", entry.at, entry.way, entry.verb.as_str(), entry.object);
        }
        if let Some(runtime) = domain.runtime() {
            for peer in NAMES {
                let outbox = inspect::state::<Outbox>(&runtime, &format!("{peer}.example")).await.unwrap();
                told += &format!("  to {peer}: {outbox:?}\n");
            }
        }
    }
    told
}

/// All of them hold what was allocated, or none; each thing was done once, and each request answered once.
async fn check(federation: &Federation, run: &Run) -> Phase {
    let story = || run.told();
    let phase = phases(federation.domain("blog"))[0].1;
    let kept = u64::from(phase == Phase::Done);
    for (name, title) in NAMES.into_iter().zip(TITLES) {
        let domain = federation.domain(name);
        let objects = listed::<Object>(domain, Index::Objects).into_iter().filter(|it| it.kind == "note");
        let (made, gone): (Vec<_>, Vec<_>) = objects.partition(|object| object.deleted.is_none());
        let seen = format!("{}: {name} has {} of {title}, {} released", story(), made.len(), gone.len());
        assert_eq!(made.len() as u64, kept, "{seen}:\n{}", picture(federation).await);
        assert!(made.len() + gone.len() <= 1, "{seen}: it was made once");
        assert!(made.iter().chain(&gone).all(|object| object.path == title), "{seen}");
        notices(domain, kept, &seen).await;
        answers(domain, &seen);
        let flows = phases(domain);
        assert!(flows.len() <= 1, "{seen}: {flows:?}");
        assert_eq!(flows.iter().filter(|(_, phase)| *phase == Phase::Done).count() as u64, kept, "{seen}: {flows:?}");
        let failed = inspect::list(&domain.runtime().unwrap(), None, Some(inspect::State::Failed), None, 10).await;
        assert!(failed.unwrap().0.is_empty() && domain.disk.area(b'd').is_empty(), "{seen}");
        assert!(listed::<Value>(domain, Index::Undelivered).is_empty(), "{seen}: a letter was given up");
    }
    in_order(federation, &story());
    match run.tale {
        // Nobody is away for longer than the others wait.
        Tale::Accepted if run.weather.lost == 0 && run.down < WAITS => assert_eq!(phase, Phase::Done, "{}", story()),
        Tale::Late if run.weather.lost == 0 && run.cuts.iter().all(Vec::is_empty) => {
            assert_eq!(phase, Phase::Done, "{}", story());
        }
        Tale::Refused | Tale::Silent | Tale::Crossing | Tale::FailsAfterwards => {
            assert_eq!(phase, Phase::Failed, "{}", story())
        }
        _ => {}
    }
    phase
}

/// Nobody says that it is over before those that were asked have released what they held.
fn in_order(federation: &Federation, story: &str) {
    let released = |name: &str| {
        let objects = listed::<Object>(federation.domain(name), Index::Objects).into_iter();
        objects.filter(|it| it.kind == "note").filter_map(|it| it.deleted).max()
    };
    for (asker, asked) in [("blog", "events"), ("events", "shop")] {
        let prefix = layout::index_prefix(Index::Flows, &flow::list_prefix(None));
        let rows = federation.domain(asker).disk.range(&prefix);
        let ended = rows.iter().map(|row| record::decode::<flow::Listed>(&row.value).unwrap().updated).max();
        assert!(
            ended >= released(asked),
            "{story}: {asker} ended at {ended:?}, {asked} released {:?}",
            released(asked)
        );
    }
}

/// The notice that goes with what is held was written once, and is there as long as that is.
async fn notices(domain: &Domain, kept: u64, seen: &str) {
    let rows = domain.disk.area(b'r');
    let records = rows.iter().filter(|row| record::decode::<Record>(&row.value).is_ok_and(|record| record.seq > 0));
    assert_eq!(records.count() as u64, kept, "{seen}: notices");
    let stream = inspect::state::<Stream>(&domain.runtime().unwrap(), &stream::local_stream("notices")).await.unwrap();
    assert!(stream.is_none_or(|stream| stream.last <= 1), "{seen}: it was said once");
}

/// Every Allocate and every Undo that was taken has one answer.
fn answers(domain: &Domain, seen: &str) {
    let all = listed::<Entry>(domain, Index::Activities);
    let taken = all.iter().filter(|it| it.way == Way::Received && matches!(it.verb, Verb::Allocate | Verb::Undo));
    for request in taken {
        let mine = |it: &&Entry| it.way == Way::Made && it.object == request.id;
        let answers: Vec<&str> = all.iter().filter(mine).map(|it| it.verb.as_str()).collect();
        let superseded = request.verb == Verb::Undo && answers.is_empty() && undos(&all, request) > 1;
        assert!(
            answers.len() == 1 || superseded,
            "{seen}: {} {} was answered {answers:?}",
            request.verb.as_str(),
            request.id
        );
    }
}

/// How many Undos came of the same thing: who tells again before it is done hears once, of the last.
fn undos(all: &[Entry], request: &Entry) -> usize {
    all.iter().filter(|it| it.way == Way::Received && it.verb == Verb::Undo && it.object == request.object).count()
}

#[test]
fn each_tale_ends_as_it_should_when_nothing_goes_wrong() {
    for tale in TALES {
        let outcome = Run::of(tale, &tale.catalogs()).play();
        println!("{tale:?}: {:?} after {:?} batches", outcome.phase, outcome.batches);
    }
}

#[test]
fn the_same_seed_tells_the_same_tale() {
    let catalogs = Tale::Late.catalogs();
    let run = Run { weather: Weather::STORM, seed: 7, ..Run::of(Tale::Late, &catalogs) };
    assert_eq!(run.play(), run.play());
}

/// One of the three is cut after each of its batches, or in each of them so that it does not land.
#[test]
fn nothing_stays_allocated_wherever_one_of_the_three_is_cut() {
    let step = if is_long() { 1 } else { 13 };
    let mut runs = 0;
    for (nth, tale) in TALES.into_iter().enumerate() {
        let catalogs = tale.catalogs();
        let whole = Run::of(tale, &catalogs).play();
        for at in 0..3 {
            for batch in (1 + (nth + at) % step..=whole.batches[at]).step_by(step) {
                for lands in [true, false] {
                    let mut run = Run::of(tale, &catalogs);
                    run.cuts[at].push(Cut { batch, lands });
                    run.down = Duration::from_secs([1, 20, 70, 300][(batch + at) % 4]);
                    run.play();
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} cuts");
}

/// All three are cut again and again, and the network loses, delays, repeats and reorders.
#[test]
fn nothing_stays_allocated_whatever_the_network_and_the_disks_do() {
    let runs = count("QUICKBEAM_TESTS_SAGAS", 24, 5_000);
    let first = seed("sagas across domains");
    let repeated = number("QUICKBEAM_TESTS_SEED").is_some() && number("QUICKBEAM_TESTS_SAGAS").is_none();
    let catalogs = TALES.map(Tale::catalogs);
    for seed in (first..).take(if repeated { 1 } else { usize::try_from(runs).unwrap() }) {
        let mut dice = Dice::of(seed);
        let nth = usize::try_from(dice.below(TALES.len() as u64)).unwrap();
        let mut run = Run { seed, weather: Weather::STORM, ..Run::of(TALES[nth], &catalogs[nth]) };
        run.down = Duration::from_secs(dice.scale(300));
        for cuts in &mut run.cuts {
            for _ in 0..dice.below(4) {
                let (batch, lands) = (usize::try_from(1 + dice.below(60)).unwrap(), dice.one_in(2));
                cuts.push(Cut { batch, lands });
            }
        }
        run.play();
    }
}
