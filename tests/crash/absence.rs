//! A follower that is away for days: what was said meanwhile arrives when it is back, once and in order for each object; and
//! what was given up before that is a dead letter, which arrives when somebody says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quickbeam::actors::following::{self, Following};
use quickbeam::actors::log::{Entry, Way};
use quickbeam::actors::outbox::{self, Outbox};
use quickbeam::actors::rows::Index;
use quickbeam::actors::stream::{self, Create, Stream, object_stream};
use quickbeam::actors::world::Delivery;
use quickbeam::actors::{layout, letters, record};
use quickbeam::domains::activity::Verb;
use quickbeam::store::Key;
use serde_json::{Value, json};

use super::dice::{Dice, count, seed};
use super::federation::{Domain, Federation, Plan, Weather, catalog};
use super::node::on_system;

const DAY: Duration = Duration::from_secs(86_400);
const ARTICLES: usize = 12;

const DECLARED: &str = r#"
[type.article]
as = "Article"
title = "title"
fields.title = { kind = "text", required = true }
"#;

async fn begin(seed: u64, weather: Weather, away: Duration) -> Arc<Federation> {
    let plan = |name: &'static str, down| Plan {
        name,
        catalog: catalog(name, DECLARED),
        cuts: Vec::new(),
        down,
        delivery: Delivery::default(),
    };
    let plans = vec![plan("blog", Duration::from_secs(60)), plan("events", away)];
    let federation = Federation::start(seed, weather, plans).await;
    let (blog, events) = (federation.domain("blog"), federation.domain("events"));
    events.ask::<Following>(blog.actor().as_str(), "follow", || following::Command::Follow).await;
    let listed = || !entries::<Value>(blog, Index::Followers).is_empty();
    while !listed() {
        federation.clock.sleep(Duration::from_secs(5)).await;
    }
    federation
}

fn entries<T: serde::de::DeserializeOwned>(domain: &Domain, index: Index) -> Vec<T> {
    let rows = domain.disk.range(&layout::index_prefix(index, &Key::default()));
    rows.iter().map(|row| record::decode(&row.value).unwrap()).collect()
}

/// What is done with each article, one thing after the other, some hours apart: made, changed three times, and every
/// third one deleted.
async fn publish(federation: &Federation, over: Duration, dice: &mut Dice) -> BTreeMap<String, Vec<String>> {
    let blog = federation.domain("blog");
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut open: Vec<(usize, usize)> = (0..ARTICLES).map(|article| (article, 0)).collect();
    let things = (0..ARTICLES).map(|article| if article % 3 == 0 { 5 } else { 4 }).sum::<usize>();
    let pause = u64::try_from(over.as_millis()).unwrap() / things as u64;
    while !open.is_empty() {
        let at = usize::try_from(dice.below(open.len() as u64)).unwrap();
        let (article, step) = open[at];
        let fields = json!({ "title": format!("article {article}, version {step}") });
        let command = || match step {
            0 => stream::Command::Create(Create {
                kind: "article".into(),
                fields: fields.clone(),
                to: Vec::new(),
                visibility: None,
                attributed_to: None,
                into: None,
            }),
            1..=3 => stream::Command::Update { changes: fields.clone() },
            _ => stream::Command::Delete,
        };
        let slug = format!("article-{article}");
        let once = format!("{slug}/{step}");
        blog.ask::<Stream>(&object_stream(&slug), &once, command).await.expect("it is written");
        let words = if step == 4 { "deleted".to_owned() } else { fields["title"].as_str().unwrap().to_owned() };
        said.entry(format!("https://blog.example/{slug}")).or_default().push(words);
        match step + 1 {
            next if next < if article % 3 == 0 { 5 } else { 4 } => open[at].1 = next,
            _ => drop(open.remove(at)),
        }
        federation.clock.sleep(Duration::from_millis(dice.below(2 * pause))).await;
        // The publisher is not spared either.
        if dice.percent(10) {
            blog.disk.kill();
        }
    }
    said
}

/// What the other one has heard of each object, in its order. Of what came in one millisecond the log keeps none.
fn heard(domain: &Domain) -> BTreeMap<String, Vec<String>> {
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut log: Vec<Entry> = entries(domain, Index::Activities);
    log.sort_by_key(|entry| (entry.at, entry.json()["published"].to_string()));
    for entry in log {
        let words = match entry.verb {
            Verb::Create | Verb::Update => entry.json()["object"]["name"].as_str().unwrap().to_owned(),
            Verb::Delete => "deleted".to_owned(),
            _ => continue,
        };
        if entry.way == Way::Received {
            heard.entry(entry.object.as_str().to_owned()).or_default().push(words);
        }
    }
    heard
}

fn waits(domain: &Domain) -> bool {
    !domain.disk.area(b'm').is_empty() || !domain.disk.area(b'x').is_empty() || domain.runtime().is_none()
}

async fn rest(federation: &Federation) {
    let mut quiet = 0;
    while quiet < 3 {
        federation.clock.sleep(Duration::from_secs(3_600)).await;
        let busy = federation.domains().iter().any(|domain| waits(domain));
        let peers = !entries::<Value>(federation.domain("blog"), Index::Outboxes).is_empty();
        quiet = if busy || peers { 0 } else { quiet + 1 };
    }
}

#[test]
fn after_six_days_of_absence_all_arrives_once_and_in_order() {
    let seed = seed("absence");
    for number in 0..count("QUICKBEAM_TESTS_ABSENCES", 4, 200) {
        let weather = if number % 2 == 0 { Weather::CALM } else { Weather::STORM };
        let seed = seed.wrapping_add(number);
        on_system(async move {
            let federation = begin(seed, weather, 6 * DAY + DAY / 2).await;
            federation.domain("events").disk.kill();
            let said = publish(&federation, 4 * DAY, &mut Dice::of(seed)).await;
            assert!(heard(federation.domain("events")).is_empty(), "nobody was there");
            rest(&federation).await;
            assert!(federation.clock.monotonic() < 9 * DAY, "seed {seed}: it takes hours once it is back, not days");
            assert_eq!(heard(federation.domain("events")), said, "seed {seed}");
            assert!(entries::<Value>(federation.domain("blog"), Index::Undelivered).is_empty(), "seed {seed}");
            federation.end();
        });
    }
}

#[test]
fn what_is_given_up_after_seven_days_is_a_dead_letter_that_arrives_when_somebody_says_so() {
    let seed = seed("absence");
    on_system(async move {
        let federation = begin(seed, Weather::CALM, 30 * DAY).await;
        let (blog, events) = (federation.domain("blog"), federation.domain("events"));
        events.disk.kill();
        let said = publish(&federation, DAY, &mut Dice::of(seed)).await;
        let things = said.values().map(Vec::len).sum::<usize>();
        while entries::<Value>(blog, Index::Undelivered).len() < things {
            federation.clock.sleep(DAY / 4).await;
            assert!(federation.clock.monotonic() < 12 * DAY, "seed {seed}: they are given up after seven days");
        }
        assert!(federation.clock.monotonic() > 7 * DAY, "seed {seed}: and not before");
        while events.runtime().is_none() {
            federation.clock.sleep(DAY).await;
        }
        assert!(heard(events).is_empty());
        let letters = letters::list(&blog.runtime().unwrap(), None, 1_000).await.unwrap().items;
        let number = |letter: &letters::Shown| letter.id.split('@').next().unwrap().parse::<u64>().unwrap();
        let mut numbers: Vec<u64> = letters.iter().map(number).collect();
        numbers.sort_unstable();
        for number in numbers {
            let once = format!("revive {number}");
            let revive = || outbox::Command::Revive { undelivered: number };
            blog.ask::<Outbox>("events.example", &once, revive).await;
        }
        rest(&federation).await;
        assert_eq!(heard(events), said, "seed {seed}");
        assert!(entries::<Value>(blog, Index::Undelivered).is_empty(), "seed {seed}");
        federation.end();
    });
}
