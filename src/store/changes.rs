//! Who watches which prefix, and how a slow watcher learns that it has missed something.

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Change, Key};

/// Hints that wait for one watcher; a slower one reads the range again instead, so more would only hold memory.
const HINTS_MAX: usize = 64;

/// The watchers of one engine.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<Vec<Watcher>>);

#[derive(Debug)]
struct Watcher {
    prefix: Key,
    hints: mpsc::Sender<Change>,
}

impl Watchers {
    pub(crate) fn watch(&self, prefix: &Key) -> mpsc::Receiver<Change> {
        let (hints, receiver) = mpsc::channel(HINTS_MAX);
        self.0.lock().push(Watcher { prefix: prefix.clone(), hints });
        receiver
    }

    /// What is watched: of other keys nobody has to be told.
    pub(crate) fn prefixes(&self) -> Vec<Key> {
        self.0.lock().iter().map(|watcher| watcher.prefix.clone()).collect()
    }

    /// Tells each watcher which of these keys, just made visible, are its own.
    pub(crate) fn tell(&self, put: &[Key]) {
        self.0.lock().retain(|watcher| watcher.tell(put));
    }

    /// Tells everybody to read again, after the engine itself lost track of what has landed.
    pub(crate) fn all_missed(&self) {
        self.0.lock().retain(|watcher| watcher.send(Change::Missed));
    }
}

impl Watcher {
    fn tell(&self, put: &[Key]) -> bool {
        let own: Vec<Key> = put.iter().filter(|key| key.starts_with(&self.prefix)).cloned().collect();
        if own.is_empty() { !self.hints.is_closed() } else { self.send(Change::Put(own)) }
    }

    /// False once nobody listens any more. The last place is kept for `Missed`: while it waits there unread it also
    /// stands for everything that comes after it, so that nothing needs to be remembered for when there is room.
    fn send(&self, change: Change) -> bool {
        let sent = match self.hints.capacity() {
            0 => return !self.hints.is_closed(),
            1 => self.hints.try_send(Change::Missed),
            _ => self.hints.try_send(change),
        };
        sent.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key::build().text("a").number(number).done()
    }

    #[test]
    fn a_watcher_hears_only_of_its_own_prefix_in_order() {
        let watchers = Watchers::default();
        let mut hints = watchers.watch(&Key::build().text("a").done());
        watchers.tell(&[key(2), Key::build().text("b").done(), key(1)]);
        watchers.tell(&[Key::build().text("b").done()]);
        assert_eq!(hints.try_recv().unwrap(), Change::Put(vec![key(2), key(1)]));
        assert!(hints.try_recv().is_err());
    }

    #[test]
    fn a_slow_watcher_learns_that_it_missed_something_and_then_hears_again() {
        let watchers = Watchers::default();
        let mut hints = watchers.watch(&Key::default());
        (0..200).for_each(|number| watchers.tell(&[key(number)]));
        let mut heard = Vec::new();
        while let Ok(change) = hints.try_recv() {
            heard.push(change);
        }
        assert_eq!(heard.len(), HINTS_MAX);
        assert_eq!(heard.last(), Some(&Change::Missed));
        watchers.tell(&[key(7)]);
        assert_eq!(hints.try_recv().unwrap(), Change::Put(vec![key(7)]));
    }

    #[test]
    fn a_watcher_that_left_is_forgotten() {
        let watchers = Watchers::default();
        drop(watchers.watch(&Key::default()));
        watchers.tell(&[]);
        assert!(watchers.prefixes().is_empty());
    }
}
