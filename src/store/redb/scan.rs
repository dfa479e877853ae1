//! The rows of a span out of their blocks, in either direction, with what is missing between them.

use std::collections::VecDeque;

use bytes::Bytes;
use redb::{Range, ReadableTable};

use super::block::{Block, Content, is_before};
use super::blocks::{Bytewise, Found, Trouble, entry, floor, lost, next_separator};
use crate::store::overlay::Entry;
use crate::store::{Direction, Key, Span};

/// The rows of a span in its order, block by block as they are asked for.
pub(super) struct Scan<'t, T: ReadableTable<Bytewise, Bytewise>> {
    blocks: &'t T,
    span: &'t Span,
    range: Option<Range<'t, Bytewise, Bytewise>>,
    /// Forward where the next block has to begin, backward where it has to end.
    edge: Vec<u8>,
    begun: bool,
    ended: bool,
    waiting: VecDeque<Result<(Key, Entry), Trouble>>,
}

impl<'t, T: ReadableTable<Bytewise, Bytewise>> Scan<'t, T> {
    pub(super) fn new(blocks: &'t T, span: &'t Span) -> Self {
        let waiting = VecDeque::new();
        Self { blocks, span, range: None, edge: Vec::new(), begun: false, ended: span.from >= span.to, waiting }
    }

    fn forward(&mut self) -> Result<(), Trouble> {
        if !self.begun {
            self.begun = true;
            return match floor(self.blocks, self.span.from.as_bytes())? {
                Some(found) => self.take_forward(&found),
                None => Ok(()),
            };
        }
        if self.range.is_none() {
            self.range = Some(self.blocks.range::<&[u8]>(self.edge.as_slice()..)?);
        }
        match self.range.as_mut().and_then(Range::next).transpose()? {
            Some(found) => self.take_forward(&found),
            None => {
                self.lose(&self.edge.clone(), &[]);
                self.ended = true;
                Ok(())
            }
        }
    }

    fn take_forward(&mut self, (separator, stored): &Found<'_>) -> Result<(), Trouble> {
        let separator = separator.value();
        if separator > self.edge.as_slice() && self.range.is_some() {
            self.lose(&self.edge.clone(), separator);
        }
        let block = Block::read(separator, stored.value());
        self.edge = match block.next() {
            Some(next) => next,
            None => next_separator(self.blocks, separator)?,
        };
        let lines = block.lines(&self.edge);
        for (key, content) in lines.iter() {
            self.take(key, content);
        }
        self.ended = self.edge.is_empty() || self.edge.as_slice() >= self.span.to.as_bytes();
        Ok(())
    }

    fn backward(&mut self) -> Result<(), Trouble> {
        if !self.begun {
            self.begun = true;
            self.edge = self.span.to.as_bytes().to_vec();
            self.range = Some(self.blocks.range::<&[u8]>(..self.span.to.as_bytes())?);
        }
        match self.range.as_mut().and_then(Range::next_back).transpose()? {
            Some(found) => self.take_backward(&found),
            None => {
                self.lose(&[], &self.edge.clone());
                self.ended = true;
                Ok(())
            }
        }
    }

    fn take_backward(&mut self, (separator, stored): &Found<'_>) -> Result<(), Trouble> {
        let separator = separator.value();
        let block = Block::read(separator, stored.value());
        let next = match block.next() {
            Some(next) => next,
            None => next_separator(self.blocks, separator)?,
        };
        if is_before(&next, &self.edge) && !next.is_empty() {
            self.lose(&next, &self.edge.clone());
        }
        let lines = block.lines(&next);
        for (key, content) in lines.iter().rev() {
            self.take(key, content);
        }
        separator.clone_into(&mut self.edge);
        self.ended = self.edge.as_slice() <= self.span.from.as_bytes();
        Ok(())
    }

    fn take(&mut self, key: &[u8], content: Content<'_>) {
        match content {
            Content::Row(row) => {
                if key >= self.span.from.as_bytes() && key < self.span.to.as_bytes() {
                    self.waiting.push_back(Ok((Key::from_bytes(Bytes::copy_from_slice(key)), entry(row))));
                }
            }
            Content::Lost { to } => self.lose(key, to),
        }
    }

    /// Nothing is known of these keys, of which some may be in the span.
    fn lose(&mut self, from: &[u8], to: &[u8]) {
        let (from, end) = (from.max(self.span.from.as_bytes()), self.span.to.as_bytes());
        let to = if is_before(end, to) { end } else { to };
        if from < to {
            self.waiting.push_back(Err(Trouble::Rows(lost(from, to))));
        }
    }
}

impl<T: ReadableTable<Bytewise, Bytewise>> Iterator for Scan<'_, T> {
    type Item = Result<(Key, Entry), Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.waiting.pop_front() {
                return Some(row);
            }
            if self.ended {
                return None;
            }
            let read = match self.span.direction {
                Direction::Forward => self.forward(),
                Direction::Backward => self.backward(),
            };
            if let Err(trouble) = read {
                self.ended = true;
                return Some(Err(trouble));
            }
        }
    }
}
