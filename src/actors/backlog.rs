//! The message rows that wait for an actor and were not handed in: how they are read, and when they have been.

use actix::fut::ActorFutureExt as _;
use actix::{Context, WrapFuture as _};

use super::ask::AskError;
use super::entity::Entity;
use super::host::Host;
use super::layout;
use super::life::Life;
use super::prepare::Work;
use crate::store::{Key, ReadError, Row, Soon, Span, Versioned};

/// Message rows read in one go when some wait that were not handed in: at first, and at most where they are short. Each
/// page waits for a turn of its own among all actors of the thread.
const PAGE: usize = 64;
const PAGE_MAX: usize = 1_024;
/// What a page should come to in bytes.
const PAGE_BYTES: usize = 256 << 10;

/// How far the message rows that were not handed in have been read.
pub(super) enum Backlog {
    /// Not to be looked at yet: the life before ended badly a moment ago.
    Held,
    Reading {
        after: Option<Key>,
        /// At most, in the next page.
        rows: usize,
    },
    Clear,
}

impl Backlog {
    /// From its beginning.
    fn begin() -> Self {
        Self::Reading { after: None, rows: PAGE }
    }

    /// What follows a page.
    fn behind(page: &[Row]) -> Self {
        let Some(last) = page.last() else { return Self::Clear };
        let bytes: usize = page.iter().map(|row| row.key.as_bytes().len() + row.value.len()).sum();
        let rows = PAGE_BYTES * page.len() / bytes.max(1);
        Self::Reading { after: Some(last.key.clone()), rows: rows.clamp(PAGE, PAGE_MAX) }
    }
}

impl<E: Entity> Host<E> {
    pub(super) fn look_for_rows(&mut self, ctx: &mut Context<Self>) {
        self.backlog = Backlog::begin();
        self.pump(ctx);
    }

    pub(super) fn backlog_is_clear(&self) -> bool {
        matches!(self.backlog, Backlog::Clear)
    }

    pub(super) fn rows_wait(&self) -> bool {
        match self.backlog {
            Backlog::Held => false,
            Backlog::Reading { .. } => true,
            Backlog::Clear => self.seat.has_more(),
        }
    }

    pub(super) fn queue_rows(&mut self, rows: impl Iterator<Item = (Key, Option<Versioned>)>) {
        let before = self.queue.len();
        self.queue.extend(rows.map(|(key, row)| Work::Message(key, row)));
        self.rows_queued += self.queue.len() - before;
    }

    /// Looks for rows that wait, where that is to be done; true when it is known what came of it.
    pub(super) fn read_backlog(&mut self, ctx: &mut Context<Self>) -> bool {
        match &mut self.backlog {
            Backlog::Held => false,
            Backlog::Clear if self.seat.take_more() => {
                self.backlog = Backlog::begin();
                true
            }
            Backlog::Clear => {
                if self.life.as_ref().is_some_and(Life::at_rest) {
                    self.retire(ctx);
                }
                false
            }
            Backlog::Reading { after, rows } => {
                let all = Span::prefix(&layout::messages_to(&self.seat.id), *rows);
                let page = self.runtime.engine.range(match after {
                    Some(after) => all.after(after),
                    None => all,
                });
                match page {
                    Soon::Now(page) => {
                        self.page_read(page);
                        self.leave_when_settled(ctx);
                        return true;
                    }
                    later => self.read_first(
                        later.into_actor(self).map(|page, host, ctx| {
                            host.page_read(page);
                            host.read_done(ctx);
                        }),
                        ctx,
                    ),
                }
                false
            }
        }
    }

    fn page_read(&mut self, page: Result<Vec<Row>, ReadError>) {
        match page {
            Ok(page) => {
                self.backlog = Backlog::behind(&page);
                let flying = self.life.as_ref().map(|life| &life.flying);
                // What a turn in flight answers to is still there, and must not be answered to twice.
                let waits = |row: &Row| !flying.is_some_and(|flying| flying.deletes(&row.key));
                let page: Vec<Row> = page.into_iter().filter(waits).collect();
                self.seat.found(page.len());
                let row = |Row { key, version, value }| (key, Some(Versioned { version, value }));
                self.queue_rows(page.into_iter().map(row));
            }
            Err(error) => self.fall(AskError::Store(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Position;

    fn page(rows: usize, bytes: usize) -> Vec<Row> {
        let row = |number: usize| {
            let (key, version) = (Key::build().number(number as u64).done(), Position(1));
            Row { key, version, value: vec![0; bytes].into() }
        };
        (0..rows).map(row).collect()
    }

    #[test]
    fn pages_grow_where_rows_are_short_and_never_beyond_what_memory_should_hold() {
        let next = |page: &[Row]| match Backlog::behind(page) {
            Backlog::Reading { after, rows } => {
                assert_eq!(after.as_ref(), page.last().map(|row| &row.key));
                rows
            }
            Backlog::Held | Backlog::Clear => 0,
        };
        assert_eq!(next(&page(64, 10)), PAGE_MAX);
        assert_eq!(next(&page(64, 1_016)), PAGE_BYTES / 1_024);
        assert_eq!(next(&page(3, 1 << 20)), PAGE, "as many as at first");
        assert_eq!(next(&[]), 0, "nothing waits any more");
    }
}
