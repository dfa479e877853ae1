//! Flows by chance, with every kind of step, and what they do according to nothing but the words of their definition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quickbeam::domains::flow::definition::{
    Call, Concurrency, Deadline, Definition, Failures, Http, Kind, Otherwise, Rate, Step, Until,
};

use super::dice;

/// What comes of a question or a call to another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Given,
    /// It comes when nobody waits any more.
    Late,
    /// None ever comes.
    Silent,
}

/// What a step of a random flow does. Targets point at later steps only, so that there are no cycles.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Effect,
    Branch {
        choice: bool,
        then: Vec<usize>,
        otherwise: Vec<usize>,
    },
    Each {
        items: u32,
        parallel: u32,
        collect: bool,
    },
    Suspend {
        resumed: bool,
        otherwise: Vec<usize>,
    },
    Wait,
    All {
        of: Vec<usize>,
        collect: bool,
    },
    Call {
        answer: Answer,
        otherwise: Vec<usize>,
    },
    Ask {
        answer: Answer,
        otherwise: Vec<usize>,
    },
    Http,
    /// A request whose answer comes by a callback, or never.
    Callback {
        called: bool,
        otherwise: Vec<usize>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) after: Vec<usize>,
    pub(super) passed_over: bool,
}

impl Plan {
    /// Where it goes when its time is over, and whether that happens.
    pub(super) fn time_out(&self) -> Option<(bool, &[usize])> {
        match self {
            Self::Suspend { resumed: in_time, otherwise } | Self::Callback { called: in_time, otherwise } => {
                Some((!in_time, otherwise))
            }
            Self::Call { answer, otherwise } | Self::Ask { answer, otherwise } => {
                Some((*answer != Answer::Given, otherwise))
            }
            _ => None,
        }
    }

    /// Of a question or a call.
    pub(super) fn answer(&self) -> Option<Answer> {
        match self {
            Self::Call { answer, .. } | Self::Ask { answer, .. } => Some(*answer),
            _ => None,
        }
    }
}

/// So many flows by chance. The seed is printed, and `QUICKBEAM_TESTS_SEED` repeats it; what fails is made smaller.
pub(super) fn runner(of: &str, short: u32, long: u32) -> TestRunner {
    let seed = dice::seed(of);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let cases = if dice::is_long() { long } else { short };
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

pub(super) fn plans() -> impl Strategy<Value = Vec<Planned>> {
    (1_usize..10).prop_flat_map(|count| (0..count).map(|at| planned(at, count)).collect::<Vec<_>>())
}

fn planned(at: usize, count: usize) -> impl Strategy<Value = Planned> {
    let later = move || {
        let all: Vec<usize> = (at + 1..count).collect();
        let most = all.len().min(2);
        prop::sample::subsequence(all, 0..=most)
    };
    let earlier = move || {
        let all: Vec<usize> = (0..at).collect();
        let most = all.len().min(3);
        prop::sample::subsequence(all, 0..=most)
    };
    let answers = || prop_oneof![2 => Just(Answer::Given), 1 => Just(Answer::Late), 1 => Just(Answer::Silent)];
    let plan = prop_oneof![
        3 => Just(Plan::Effect),
        3 => (any::<bool>(), later(), later()).prop_map(|(choice, then, otherwise)| Plan::Branch { choice, then, otherwise }),
        1 => (0_u32..4, 1_u32..3, any::<bool>()).prop_map(|(items, parallel, collect)| Plan::Each { items, parallel, collect }),
        2 => (any::<bool>(), later()).prop_map(|(resumed, otherwise)| Plan::Suspend { resumed, otherwise }),
        1 => Just(Plan::Wait),
        // One that waits for nobody is none.
        3 => (earlier(), any::<bool>()).prop_map(|(of, collect)| match of.is_empty() {
            true => Plan::Effect,
            false => Plan::All { of, collect },
        }),
        2 => (answers(), later()).prop_map(|(answer, otherwise)| Plan::Call { answer, otherwise }),
        3 => (answers(), later()).prop_map(|(answer, otherwise)| Plan::Ask { answer, otherwise }),
        2 => Just(Plan::Http),
        1 => (any::<bool>(), later()).prop_map(|(called, otherwise)| Plan::Callback { called, otherwise }),
    ];
    (plan, earlier(), prop::bool::weighted(0.15)).prop_map(|(plan, after, passed_over)| Planned {
        plan,
        after,
        passed_over,
    })
}

/// A bound on how many run at once, and one on how many begin.
pub(super) fn limits() -> impl Strategy<Value = (bool, bool)> {
    (any::<bool>(), any::<bool>())
}

pub(super) fn limited(mut definition: Definition, (concurrency, rate): (bool, bool)) -> Definition {
    definition.concurrency = concurrency.then(|| Concurrency { key: Some("object".into()), max: 1 });
    definition.rate = rate.then_some(Rate { key: None, max: 1, per: 1_000 });
    definition
}

pub(super) fn name(at: usize) -> String {
    format!("s{at}")
}

/// The place of a step by its name.
pub(super) fn place(step: &str) -> usize {
    step[1..].parse().unwrap()
}

fn names(steps: &[usize]) -> Vec<String> {
    steps.iter().map(|at| name(*at)).collect()
}

pub(super) fn definition(plans: &[Planned]) -> Definition {
    let steps = plans.iter().enumerate().map(|(at, planned)| {
        let condition = planned.passed_over.then(|| "object == 2".to_owned());
        (name(at), Step { after: names(&planned.after), condition, ..Step::of(kind(at, &planned.plan)) })
    });
    Definition::of("random", steps.collect())
}

fn kind(at: usize, plan: &Plan) -> Kind {
    let call = || Call { effect: "e".into(), with: BTreeMap::new() };
    let failures = |collect: &bool| if *collect { Failures::Collect } else { Failures::Stop };
    let deadline =
        |otherwise: &[usize]| Deadline { timeout: Some(1_000), otherwise: Otherwise::Steps(names(otherwise)) };
    match plan {
        Plan::Effect => Kind::Effect(call()),
        Plan::Branch { choice, then, otherwise } => Kind::Branch {
            // Not a constant, which the check would see through.
            on: format!("object == {}", if *choice { 1 } else { 2 }),
            then: names(then),
            otherwise: names(otherwise),
        },
        Plan::Each { items, parallel, collect } => Kind::Each {
            list: format!("{:?}", (0..*items).collect::<Vec<_>>()),
            call: call(),
            parallel: *parallel,
            failures: failures(collect),
        },
        Plan::Suspend { otherwise, .. } => Kind::Suspend {
            signal: name(at),
            timeout: Some(1_000),
            otherwise: Otherwise::Steps(names(otherwise)),
            shape: None,
            assignee: None,
            notify: None,
        },
        Plan::Wait => Kind::Wait(Until::Span(5)),
        Plan::All { of, collect } => Kind::All { of: names(of), failures: failures(collect) },
        Plan::Call { otherwise, .. } => {
            Kind::Call { flow: "other".into(), with: BTreeMap::new(), deadline: deadline(otherwise) }
        }
        Plan::Ask { otherwise, .. } => {
            let [verb, object, target, to] = ["allocate", "'o'", "'t'", "'p'"].map(str::to_owned);
            Kind::Ask { verb, object, target, to, deadline: deadline(otherwise), undo_timeout: None }
        }
        Plan::Http => Kind::Http(Box::new(request(None))),
        Plan::Callback { otherwise, .. } => Kind::Http(Box::new(request(Some(deadline(otherwise))))),
    }
}

pub(super) fn request(callback: Option<Deadline>) -> Http {
    let (method, url) = ("POST".to_owned(), "'https://a.example/'".to_owned());
    Http { method, url, headers: BTreeMap::new(), body: None, ok: Vec::new(), callback }
}

/// Which steps do something, by recursion over the definition's own words and nothing else.
pub(super) fn reference(plans: &[Planned]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    for (at, planned) in plans.iter().enumerate() {
        let mut ways: BTreeMap<usize, bool> = BTreeMap::new();
        let joins = |from: &usize| matches!(&planned.plan, Plan::All { of, .. } if of.contains(from));
        for (from, other) in plans.iter().enumerate() {
            let active = reached.contains(&from) && !other.passed_over;
            let time_out = other.plan.time_out();
            let (mut named, mut open) = (false, false);
            if let Plan::Branch { choice, then, otherwise } = &other.plan {
                named = then.contains(&at) || otherwise.contains(&at);
                open = active && if *choice { then.contains(&at) } else { otherwise.contains(&at) };
            }
            if let Some((over, otherwise)) = time_out {
                named = otherwise.contains(&at);
                open = active && named && over;
            }
            if !named && (planned.after.contains(&from) || joins(&from)) {
                named = true;
                let timed_out = !other.passed_over && time_out.is_some_and(|(over, _)| over);
                open = reached.contains(&from) && !timed_out;
            }
            if named {
                ways.insert(from, open);
            }
        }
        if ways.is_empty() || ways.values().any(|open| *open) {
            reached.insert(at);
        }
    }
    reached
}
