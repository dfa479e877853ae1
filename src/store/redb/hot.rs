//! Small spans of the table that were read lately, so that what actors look up again and again is answered at once.
//!
//! Only the table's side is kept, for one view of it; whoever asks lays the overlay over. A checkpoint that writes within
//! a span forgets it, all others go over to the next view.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::table::View;
use crate::store::overlay::Entry;
use crate::store::{Direction, Key, Row, Span};

/// Spans with more rows are pages of a walk, which nobody reads twice.
pub(super) const ROWS_MAX: usize = 4;
/// A row with a longer value costs more to keep than to read again.
const BYTES_MAX: usize = 4 << 10;
/// Forgotten all at once when there are more.
const SPANS_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Hot(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Of which view; of none at the start.
    view: Weak<View>,
    /// All rows from a key up to another.
    spans: BTreeMap<(Key, Key), Vec<Row>>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kept").field("spans", &self.spans.len()).finish_non_exhaustive()
    }
}

impl Hot {
    /// All rows that this view of the table has in the span, if they are known.
    pub(super) fn rows(&self, view: &Arc<View>, span: &Span) -> Option<Vec<Row>> {
        let kept = self.0.lock();
        if !kept.is_of(view) || span.direction != Direction::Forward {
            return None;
        }
        kept.spans.get(&(span.from.clone(), span.to.clone())).cloned()
    }

    /// Keeps what a view has in a span, if that is all of it and little.
    pub(super) fn keep(&self, view: &Arc<View>, span: &Span, rows: &[Row]) {
        let bytes: usize = rows.iter().map(|row| row.value.len()).sum();
        let whole = rows.len() < span.limit && span.direction == Direction::Forward;
        if !whole || rows.len() > ROWS_MAX || bytes > BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock();
        if !kept.is_of(view) || kept.spans.len() >= SPANS_MAX {
            *kept = Kept { view: Arc::downgrade(view), spans: BTreeMap::new() };
        }
        kept.spans.insert((span.from.clone(), span.to.clone()), rows.to_vec());
    }

    /// Goes from one view to the next, which differs from it by these rows, in their order.
    pub(super) fn follow(&self, from: &Arc<View>, to: &Arc<View>, written: &[(&Key, &Entry)]) {
        let mut kept = self.0.lock();
        if kept.is_of(from) {
            kept.spans.retain(|(first, end), _| {
                let at = written.partition_point(|(key, _)| *key < first);
                written.get(at).is_none_or(|(key, _)| *key >= end)
            });
        } else {
            kept.spans.clear();
        }
        kept.view = Arc::downgrade(to);
    }
}

impl Kept {
    fn is_of(&self, view: &Arc<View>) -> bool {
        std::ptr::eq(self.view.as_ptr(), Arc::as_ptr(view))
    }
}
