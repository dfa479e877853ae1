//! A walk over the table as it is stored: rows, what is lost between them, and blocks that are not what was written.

use super::block::{self, Block, Content};
use super::blocks;
use super::table::{Bytewise, View, look};
use crate::store::Failure;

/// What a walk over the table does next.
pub(super) type Step = std::ops::ControlFlow<()>;

/// What a walk passes.
pub(super) enum Passed<'a> {
    Row(&'a [u8], block::Row<'a>),
    /// Nothing is known of the keys from one up to another; to the end of all when that is empty.
    Lost(&'a [u8], &'a [u8]),
    /// The block under this separator is not what was written, although all of its rows are.
    Unsealed(&'a [u8]),
}

impl View {
    /// Shows everything as it is stored, in order.
    pub(super) fn walk(&self, each: impl FnMut(Passed<'_>) -> Step) -> Result<(), Failure> {
        self.walk_from(&[], each)
    }

    /// The same from a key on.
    pub(super) fn walk_from(&self, from: &[u8], mut each: impl FnMut(Passed<'_>) -> Step) -> Result<(), Failure> {
        look("walking through the table", || {
            let first = blocks::floor(&self.blocks, from)?.map(|(separator, _)| separator.value().to_vec());
            let mut edge = first.clone().unwrap_or_default();
            for found in self.blocks.range::<&[u8]>(edge.clone().as_slice()..)? {
                let (separator, stored) = found?;
                if pass(from, separator.value(), stored.value(), &mut edge, &self.blocks, &mut each)?.is_break() {
                    return Ok(());
                }
            }
            if first.is_none() || !edge.is_empty() {
                // Only a walk that is at its end goes on behind it.
                let _: Step = each(Passed::Lost(edge.as_slice().max(from), &[]));
            }
            Ok(())
        })
    }
}

/// Shows one block of a walk, and before it what is missing between it and the one before.
fn pass(
    from: &[u8],
    separator: &[u8],
    stored: &[u8],
    edge: &mut Vec<u8>,
    all: &Bytewise,
    each: &mut impl FnMut(Passed<'_>) -> Step,
) -> Result<Step, redb::Error> {
    if separator > edge.as_slice() && each(Passed::Lost(edge.as_slice().max(from), separator)).is_break() {
        return Ok(Step::Break(()));
    }
    let block = Block::read(separator, stored);
    *edge = match block.next() {
        Some(next) => next,
        None => blocks::next_separator(all, separator)?,
    };
    let lines = block.lines(edge);
    let mut told = block.is_sound();
    for (key, content) in lines.iter() {
        let step = match content {
            Content::Row(row) if key >= from => each(Passed::Row(key, row)),
            Content::Lost { to } if block::is_before(from, to) => each(Passed::Lost(key.max(from), to)),
            _ => continue,
        };
        told |= matches!(content, Content::Lost { .. });
        if step.is_break() {
            return Ok(step);
        }
    }
    Ok(if told { Step::Continue(()) } else { each(Passed::Unsealed(separator)) })
}
