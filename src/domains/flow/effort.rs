//! How long a turn of a flow may take to decide: what the macros of its expressions may walk, were every list as long as
//! there is room for in what they are given.

use super::expr::Expression;

/// Elements that all macros of a turn walk while others wait: each takes up to some microseconds.
const SHORT_ELEMENTS: u64 = 20_000;
/// What an element takes at least, as JSON.
const ELEMENT_BYTES: u64 = 2;

/// The macros of a definition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effort {
    /// With no other around them.
    outer: u64,
    /// Within another.
    inner: u64,
    /// Bytes of the longest expression that has any.
    source: u64,
}

impl Effort {
    /// Of expressions, each with how often one turn may evaluate it.
    pub fn of<'a>(expressions: impl Iterator<Item = (&'a Expression, u64)>) -> Self {
        expressions.fold(Self::default(), |effort, (expression, times)| match expression.uses().macros.map(u64::from) {
            [0, _] => effort,
            [outer, inner] => Self {
                outer: effort.outer + outer * times,
                inner: effort.inner + inner * times,
                source: effort.source.max(expression.source().len() as u64),
            },
        })
    }

    /// Whether they may walk so much that nobody should wait for it; `given` counts the bytes of what they are given.
    pub fn is_long(&self, given: impl FnOnce() -> u64) -> bool {
        if self.outer == 0 {
            return false;
        }
        let elements = (self.source + given()) / ELEMENT_BYTES;
        let nested = self.inner.saturating_mul(elements).saturating_mul(elements);
        self.outer.saturating_mul(elements).saturating_add(nested) > SHORT_ELEMENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::flow::names::Names;

    fn effort(sources: &[&str]) -> Effort {
        let names = Names { variables: vec!["input"], ..Names::default() };
        let all: Vec<_> = sources.iter().map(|source| Expression::compile(source, &names).unwrap()).collect();
        Effort::of(all.iter().map(|it| (it, 1)))
    }

    #[test]
    fn what_walks_nothing_is_short_whatever_it_is_given() {
        let plain = effort(&["input.a == 1", "'a' + string(input.b)"]);
        assert!(!plain.is_long(|| panic!("nobody need count")));
    }

    #[test]
    fn walking_is_long_from_some_size_on_and_sooner_the_more_macros_there_are() {
        let [one, three] = [1, 3].map(|count| effort(&vec!["input.list.exists(x, x == 1)"; count]));
        assert!(!one.is_long(|| 30_000) && one.is_long(|| 50_000));
        assert!(!three.is_long(|| 10_000) && three.is_long(|| 15_000));
    }

    #[test]
    fn walking_within_walking_is_long_much_sooner() {
        let nested = effort(&["input.a.exists(x, input.b.exists(y, y == x))"]);
        assert!(!nested.is_long(|| 200) && nested.is_long(|| 300));
    }
}
