//! What a node counts of its own work, and how much of it one request costs.

use super::node::Node;

/// Names for people, and where they stand in the status.
const COUNTED: [(&str, &str); 9] = [
    ("turns", "/counters/turns"),
    ("activations", "/counters/activations"),
    ("batches", "/store/committed"),
    ("commits", "/store/groups"),
    ("syncs of the log", "/store/log/syncs"),
    ("syncs of the table", "/store/table/syncs"),
    ("bytes to the log", "/store/log/bytes_written"),
    ("bytes to the table", "/store/table/bytes_written"),
    ("far reads", "/store/reads_far"),
];

/// All counts at one moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts([u64; COUNTED.len()]);

impl Counts {
    pub(crate) fn read(node: &Node) -> Self {
        let status = node.status();
        Self(COUNTED.map(|(_, at)| status.pointer(at).unwrap().as_u64().unwrap()))
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] - before.0[at]))
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    }

    /// Shared out over so many.
    pub(crate) fn each(&self, count: u64) -> Vec<(&'static str, f64)> {
        COUNTED.iter().zip(self.0).map(|((name, _), sum)| (*name, sum as f64 / count as f64)).collect()
    }

    pub(crate) fn shown(&self, count: u64) -> String {
        let each = self.each(count).into_iter().map(|(name, each)| format!("{each:.3} {name}"));
        each.collect::<Vec<_>>().join(", ")
    }
}
