//! Whether a batch may land: its fence first, then each of its conditions.

use std::collections::BTreeMap;

use super::{Condition, Epoch, Fence, Key, Position, Refusal, Shard};

/// The highest epoch that was committed in each shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fences(BTreeMap<Shard, Epoch>);

impl Fences {
    /// Refuses whoever has been succeeded.
    pub(crate) fn check(&self, fence: Fence) -> Result<(), Refusal> {
        let current = self.of(fence.shard);
        if fence.epoch < current { Err(Refusal::Fenced { current }) } else { Ok(()) }
    }

    /// Remembers that a batch of this fence was committed.
    pub(crate) fn raise(&mut self, fence: Fence) {
        let current = self.0.entry(fence.shard).or_default();
        *current = fence.epoch.max(*current);
    }

    pub(crate) fn of(&self, shard: Shard) -> Epoch {
        self.0.get(&shard).copied().unwrap_or_default()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Fence> + '_ {
        self.0.iter().map(|(&shard, &epoch)| Fence { shard, epoch })
    }
}

/// Tries the conditions in order; `version_of` says at which position a key stands at this point of the queue.
pub(crate) fn conditions<E>(
    conditions: &[Condition],
    mut version_of: impl FnMut(&Key) -> Result<Option<Position>, E>,
) -> Result<Result<(), Refusal>, E> {
    for (index, condition) in conditions.iter().enumerate() {
        let holds = match condition {
            Condition::Absent(key) => version_of(key)?.is_none(),
            Condition::Version(key, version) => version_of(key)? == Some(*version),
        };
        if !holds {
            return Ok(Err(Refusal::Condition(index)));
        }
    }
    Ok(Ok(()))
}
