//! The ways between the steps of a flow: their order, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::{Definition, Failures, Kind, Otherwise};

/// One way into a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    pub from: String,
    pub by: By,
}

/// When a way is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    After,
    Then,
    Else,
    TimeOut,
    /// An `all` waits for it, whatever becomes of it.
    Join,
}

/// The ways into each step, only between steps that exist.
pub type Ways = BTreeMap<String, Vec<Way>>;

/// All names of steps that a definition mentions: where, who, and how.
pub fn mentions(definition: &Definition) -> Vec<(&str, By, &str)> {
    let mut found = Vec::new();
    for (name, step) in &definition.steps {
        found.extend(step.after.iter().map(|from| (name.as_str(), By::After, from.as_str())));
        match &step.kind {
            Kind::Branch { then, otherwise, .. } => {
                found.extend(then.iter().map(|to| (name.as_str(), By::Then, to.as_str())));
                found.extend(otherwise.iter().map(|to| (name.as_str(), By::Else, to.as_str())));
            }
            Kind::All { of, .. } => found.extend(of.iter().map(|from| (name.as_str(), By::Join, from.as_str()))),
            kind => {
                if let Some(Otherwise::Steps(steps)) = kind.otherwise() {
                    found.extend(steps.iter().map(|to| (name.as_str(), By::TimeOut, to.as_str())));
                }
            }
        }
    }
    found
}

/// The ways into every step.
pub fn ways(definition: &Definition) -> Ways {
    let mut sets: BTreeMap<&str, BTreeSet<Way>> =
        definition.steps.keys().map(|name| (name.as_str(), BTreeSet::new())).collect();
    for (at, by, named) in mentions(definition) {
        let (from, to) = if matches!(by, By::After | By::Join) { (named, at) } else { (at, named) };
        if definition.steps.contains_key(from)
            && let Some(set) = sets.get_mut(to)
        {
            set.insert(Way { from: from.to_owned(), by });
        }
    }
    sets.into_iter().map(|(to, set)| (to.to_owned(), decided_by_targets(set))).collect()
}

/// The steps so that each comes behind all with a way into it, or a cycle by name.
pub fn order(ways: &Ways) -> Result<Vec<String>, Vec<String>> {
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut behind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (to, ways) in ways {
        open.insert(to, ways.len());
        ways.iter().for_each(|way| behind.entry(&way.from).or_default().push(to));
    }
    let mut ready: BTreeSet<&str> = open.iter().filter(|(_, count)| **count == 0).map(|(step, _)| *step).collect();
    let mut order = Vec::with_capacity(ways.len());
    while let Some(step) = ready.pop_first() {
        order.push(step.to_owned());
        for to in behind.get(step).into_iter().flatten() {
            let count = open.get_mut(to).expect("a way leads to a step");
            *count -= 1;
            if *count == 0 {
                ready.insert(to);
            }
        }
    }
    if order.len() == ways.len() { Ok(order) } else { Err(cycle(ways, &order)) }
}

/// Everything from which a way leads to each step, at any distance. `order` is that of [`order`].
pub fn ancestors<'a>(ways: &'a Ways, order: &'a [String]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for step in order {
        let mut above = BTreeSet::new();
        for way in &ways[step] {
            above.insert(way.from.as_str());
            above.extend(&found[way.from.as_str()]);
        }
        found.insert(step, above);
    }
    found
}

/// Of several ways from one step the target decides, and a join before an `after`.
fn decided_by_targets(set: BTreeSet<Way>) -> Vec<Way> {
    let from = |wanted: fn(By) -> bool| -> BTreeSet<String> {
        set.iter().filter(|way| wanted(way.by)).map(|way| way.from.clone()).collect()
    };
    let targets = from(|by| matches!(by, By::Then | By::Else | By::TimeOut));
    let joined = from(|by| by == By::Join);
    let counts = |way: &Way| match way.by {
        By::After => !targets.contains(&way.from) && !joined.contains(&way.from),
        By::Join => !targets.contains(&way.from),
        By::Then | By::Else | By::TimeOut => true,
    };
    set.into_iter().filter(counts).collect()
}

/// The steps whose failure an `all` takes in that collects failures: all paths from them go into such a join.
pub fn contained(definition: &Definition, ways: &Ways, order: &[String]) -> BTreeSet<String> {
    let collects = |name: &str| matches!(&definition.steps[name].kind, Kind::All { failures: Failures::Collect, .. });
    let mut behind: BTreeMap<&str, Vec<(&str, By)>> = BTreeMap::new();
    for (to, ways) in ways {
        ways.iter().for_each(|way| behind.entry(&way.from).or_default().push((to, way.by)));
    }
    let mut found: BTreeSet<String> = BTreeSet::new();
    for step in order.iter().rev() {
        let Some(ways) = behind.get(step.as_str()) else { continue };
        if ways.iter().all(|(to, by)| (*by == By::Join && collects(to)) || found.contains(*to)) {
            found.insert(step.clone());
        }
    }
    found
}

/// Goes back from a step that never got ready until one comes up again.
fn cycle(ways: &Ways, order: &[String]) -> Vec<String> {
    let settled: BTreeSet<&String> = order.iter().collect();
    let stuck = |step: &&String| !settled.contains(step);
    let mut path: Vec<String> = Vec::new();
    let mut at = ways.keys().find(stuck).expect("some step is not in the order");
    loop {
        if let Some(start) = path.iter().position(|step| step == at) {
            let mut cycle = path.split_off(start);
            cycle.reverse();
            let first = cycle.iter().enumerate().min_by_key(|(_, step)| step.as_str()).map_or(0, |(at, _)| at);
            cycle.rotate_left(first);
            return cycle;
        }
        path.push(at.clone());
        at = ways[at].iter().map(|way| &way.from).find(stuck).expect("a step is stuck because one before it is");
    }
}
