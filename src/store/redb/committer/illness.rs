//! The committer on a disk that fails: nothing lands, the files are opened anew, and reads go on meanwhile.

use std::sync::Arc;

use super::Committer;
use crate::store::redb::OpenError;
use crate::store::redb::checkpoint::Order;
use crate::store::redb::files::{self, Opened};
use crate::store::redb::table::{self, Table};
use crate::store::{Failure, Fence};

impl Committer {
    /// Lets nothing land that was decided before the failure: whoever waits for it has to learn of it first, and shows
    /// that it has by a higher epoch.
    pub(super) fn poison(&mut self, fence: Fence) {
        for Fence { shard, epoch } in self.last.fences.iter().chain([fence]) {
            let poisoned = self.poisoned.entry(shard).or_default();
            *poisoned = epoch.max(*poisoned);
        }
    }

    pub(super) fn fall_ill(&mut self, failure: Arc<Failure>) {
        self.poison(Fence::default());
        self.shared.illness.write().get_or_insert(failure);
        self.table.gate().forbid_writes();
        if let Some(log) = self.log.take() {
            log.abandon();
        }
    }

    pub(super) fn ensure_open(&mut self) -> Result<(), Arc<Failure>> {
        if self.log.is_some() {
            return Ok(());
        }
        if self.writing.is_some() {
            let ended = self.shared.queue.wait_checkpointed();
            // The files are opened anew in any case.
            self.checkpointed(ended).unwrap_or_default();
        }
        let reopened = self.reopen().map_err(|error| Arc::new(Failure::from(error)));
        let opened = reopened.and_then(|()| self.catch_up());
        self.shared.illness.write().clone_from(&opened.as_ref().err().cloned());
        opened
    }

    /// What a checkpoint that failed has left is brought into the table before more is taken: the overlay would grow
    /// beyond its bound, and the next checkpoint fail again with a few batches more.
    fn catch_up(&mut self) -> Result<(), Arc<Failure>> {
        if !self.stalled || self.weight() < self.half() {
            return Ok(());
        }
        self.begin_checkpoint();
        let ended = self.shared.queue.wait_checkpointed();
        self.checkpointed(ended)
    }

    /// Nothing that was written is in doubt, so that nobody has to raise a fence, unless opening fails too. A store that
    /// is ill stays so: only whoever writes, and knows of it, has it opened for that.
    pub(super) fn reopen_for_reads(&mut self) {
        if self.writing.is_some() {
            let ended = self.shared.queue.wait_checkpointed();
            self.checkpointed(ended).unwrap_or_default();
        }
        let Some(log) = self.log.take() else {
            return self.open_aside();
        };
        self.table.gate().forbid_writes();
        log.abandon();
        if let Err(error) = self.reopen() {
            self.fall_ill(Arc::new(error.into()));
            self.open_aside();
        }
    }

    /// Lets the table be read although the disk cannot be written. Nothing new is shown: whatever a checkpoint that
    /// failed has brought into the table stands in the overlay too.
    fn open_aside(&mut self) {
        let opened = Table::open_aside(self.disk.clone(), &self.options, &self.shared.counters);
        let viewed = opened.and_then(|table| match table.view() {
            Ok(view) => Ok((table, view)),
            Err(source) => Err(OpenError::Failed { file: table::NAME, source }),
        });
        match viewed {
            Ok((table, view)) => {
                let old = std::mem::replace(&mut self.shared.pair.write().view, Arc::new(view));
                self.table.gate().forbid_all();
                drop(old);
                self.table = Arc::new(table);
            }
            Err(error) => tracing::warn!(%error, "the table cannot be opened for those who read either"),
        }
    }

    /// Opens both files anew and puts what they hold in the place of what was shown. Reads went on over the old handle
    /// until then; those under way fail over to the new one.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let Opened { pair, ready } = files::open(&self.disk, &self.options, &self.shared.counters)?;
        let old = std::mem::replace(&mut *self.shared.pair.write(), pair);
        self.table.gate().forbid_all();
        drop(old);
        self.table = ready.table;
        self.log = Some(ready.log);
        self.shown = ready.last.clone();
        self.last = ready.last;
        self.held_row = ready.held_row;
        self.shared.counters.reopened.add(1);
        self.shared.watchers.all_missed();
        self.order(Order::Filter);
        Ok(())
    }
}
