//! A map that forgets what was used longest ago, so that strangers cannot fill memory.

use std::collections::BTreeMap;

/// At most `entries_max` entries by key.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    entries_max: usize,
    /// Counts uses; what was used longest ago has the lowest mark.
    mark: u64,
    entries: BTreeMap<K, (u64, V)>,
    by_mark: BTreeMap<u64, K>,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries_max: entries_max.max(1), mark: 0, entries: BTreeMap::new(), by_mark: BTreeMap::new() }
    }

    /// The entry, which counts as used now.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        let (mark, value) = self.entries.get_mut(key)?;
        let owned = self.by_mark.remove(mark).expect("each entry has its mark");
        self.mark += 1;
        *mark = self.mark;
        self.by_mark.insert(self.mark, owned);
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.entries.len() == self.entries_max {
            let (_, oldest) = self.by_mark.pop_first().expect("a full map is not empty");
            self.entries.remove(&oldest);
        }
        self.mark += 1;
        self.by_mark.insert(self.mark, key.clone());
        self.entries.insert(key, (self.mark, value));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (mark, value) = self.entries.remove(key)?;
        self.by_mark.remove(&mark);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        assert_eq!(recent.get(&"a"), Some(&mut 1));
        recent.insert("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!(recent.get(&"a"), Some(&mut 1));
        assert_eq!(recent.get(&"c"), Some(&mut 3));
        recent.insert("c", 4);
        assert_eq!((recent.remove(&"c"), recent.remove(&"c")), (Some(4), None));
        assert_eq!((recent.entries.len(), recent.by_mark.len()), (1, 1));
    }
}
