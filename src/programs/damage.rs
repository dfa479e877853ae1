//! What is damaged, in the words of programs, and pages that end before it.

use std::sync::Arc;

use super::OpError;
use super::layout::{self, Place};
use crate::store::streams;
use crate::store::{Engine, Failure, Key, Row, Span, Stretch, around};

/// What can be done behind what is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behind {
    /// There is nothing else to read here.
    Nothing,
    /// It can be written anew.
    Anew,
    /// This record and those behind it can be read.
    From(u64),
    /// This record and those before it can be read, backward.
    To(u64),
    /// The names of a list that come after this text, which need not be one of them.
    After(String),
}

/// Bounds of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) limit: usize,
    /// Items fetched at once: a page is made of such bites, so that large ones are not all read first.
    pub(super) bite: usize,
    /// Bytes after which it ends, with at least one item on it.
    pub(super) bytes_max: usize,
}

/// Some items in order, and what is damaged behind them.
#[derive(Debug)]
pub(super) struct Bite<T> {
    pub(super) items: Vec<T>,
    pub(super) damage: Option<OpError>,
}

/// A page, read bite by bite behind its last item, and whether there is more. It ends before what is damaged, so that
/// whoever reads gets all that is sound; damage at its beginning is the error.
pub(super) async fn page<T>(
    bounds: Bounds,
    weigh: impl Fn(&T) -> usize,
    read: impl AsyncFn(Option<&T>, usize) -> Result<Bite<T>, OpError>,
) -> Result<(Vec<T>, bool), OpError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        let asked = bounds.bite.min(bounds.limit + 1 - found.len());
        let Bite { items, damage } = read(found.last(), asked).await?;
        let full = items.len() == asked;
        for item in items {
            if found.len() == bounds.limit || bytes >= bounds.bytes_max {
                return Ok((found, true));
            }
            bytes += weigh(&item);
            found.push(item);
        }
        match damage {
            Some(damage) if found.is_empty() => return Err(damage),
            Some(_) if !full => return Ok((found, true)),
            None if !full => return Ok((found, false)),
            _ if bytes >= bounds.bytes_max => return Ok((found, true)),
            _ => {}
        }
    }
}

/// A bite of a list, of which the names stand in `area`.
pub(super) async fn bite<T>(
    engine: &dyn Engine,
    span: Span,
    area: &Key,
    read: impl Fn(Row) -> Result<T, OpError>,
) -> Result<Bite<T>, OpError> {
    let found = around::range(engine, span).await.map_err(|failure| unread_list(failure, area))?;
    let damaged = found.unread.first();
    let sound = |row: &Row| damaged.is_none_or(|damaged| row.key < damaged.key);
    let damage = damaged.map(|damaged| unread_list(damaged.failure.clone(), area));
    let items = found.rows.into_iter().filter(sound).map(read).collect::<Result<_, _>>()?;
    Ok(Bite { items, damage })
}

/// The failure of a read of one row.
pub(super) fn unread(failure: Arc<Failure>) -> OpError {
    let Some(rows) = rows(&failure) else { return OpError::Unread(failure) };
    let behind = match layout::place_of(&rows.from) {
        Some(Place::Value(_)) => Behind::Anew,
        _ => Behind::Nothing,
    };
    OpError::Damaged { what: words(rows), behind }
}

/// The failure of a read of a list, of which the names stand in `area`.
pub(super) fn unread_list(failure: Arc<Failure>, area: &Key) -> OpError {
    let Some(rows) = rows(&failure) else { return OpError::Unread(failure) };
    let mut parts = rows.to.parts_after(area);
    let behind = match parts.text() {
        Some(name) if parts.rest().is_empty() => Behind::After(just_before(&name)),
        // Keys behind the name itself are above it.
        Some(name) => Behind::After(name),
        None => Behind::Nothing,
    };
    OpError::Damaged { what: words(rows), behind }
}

/// The rows that cannot be read, where that is known.
fn rows(failure: &Failure) -> Option<&Stretch> {
    match failure {
        Failure::Damaged { rows, .. } => rows.as_ref(),
        _ => None,
    }
}

/// What damaged rows held, as far as their keys say it.
pub fn words(rows: &Stretch) -> String {
    match layout::place_of(&rows.from).filter(|_| rows.is_one()) {
        Some(Place::Stream(streams::Place::Counter(stream))) => format!("where the stream {stream} begins and ends"),
        Some(Place::Stream(streams::Place::Record(stream, number))) => {
            format!("record {number} of the stream {stream}")
        }
        Some(Place::Value(name)) => format!("the value {name}"),
        Some(Place::Blob(name) | Place::NameOf(_, name)) => format!("what the blob {name} stands for"),
        Some(Place::Answer | Place::AnswerAt) => "the answer kept under an idempotency key".to_owned(),
        None => "a part of what programs keep".to_owned(),
    }
}

/// A text below a name and above all names before it, of which no letter is as great as the last one of this.
fn just_before(name: &str) -> String {
    let mut letters = name.chars();
    let last = letters.next_back().and_then(|last| char::from_u32(u32::from(last).saturating_sub(1)));
    format!("{}{}\u{7f}", letters.as_str(), last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const BOUNDS: Bounds = Bounds { limit: 20, bite: 8, bytes_max: usize::MAX };

    /// Numbers from one to `last`, of which one cannot be read.
    fn paged(bounds: Bounds, from: u64, damaged: u64, last: u64) -> Result<(Vec<u64>, bool), OpError> {
        let read = async |behind: Option<&u64>, limit: usize| {
            let next = behind.map_or(from, |behind| behind + 1);
            let damage = |_: &u64| OpError::Damaged { what: damaged.to_string(), behind: Behind::From(damaged + 1) };
            let damage = (next..=last).find(|number| *number == damaged).as_ref().map(damage);
            Ok(Bite { items: (next..=last.min(damaged - 1)).take(limit).collect(), damage })
        };
        page(bounds, |_| 1, read).now_or_never().unwrap()
    }

    #[test]
    fn a_page_has_all_that_stands_before_damage_and_the_next_one_is_the_error() {
        for damaged in 1..=30 {
            let (numbers, more) = match paged(BOUNDS, 1, damaged, 30) {
                Ok(page) => page,
                Err(error) => {
                    assert_eq!((damaged, error.to_string().contains('1')), (1, true));
                    continue;
                }
            };
            assert_eq!(numbers, (1..damaged.min(21)).collect::<Vec<_>>());
            assert!(more);
            if damaged <= 20 {
                assert!(paged(BOUNDS, damaged, damaged, 30).is_err());
            }
        }
    }

    #[test]
    fn a_page_ends_with_the_last_item_or_at_its_bounds() {
        for last in 0..50 {
            let (numbers, more) = paged(BOUNDS, 1, 99, last).unwrap();
            assert_eq!((numbers.len() as u64, more), (last.min(20), last > 20));
        }
        assert_eq!(paged(Bounds { bytes_max: 3, ..BOUNDS }, 1, 99, 30).unwrap(), (vec![1, 2, 3], true));
    }

    #[test]
    fn a_list_goes_on_behind_what_is_damaged_at_the_next_name() {
        let area = Key::build().tag(b'p').tag(b'k').done();
        let key = |name: &str| Key::build().raw(area.as_bytes()).text(name).done();
        let behind = |from: Key, to: Key| {
            let rows = Some(Stretch { from, to });
            match unread_list(Arc::new(Failure::Damaged { what: String::new(), rows }), &area) {
                OpError::Damaged { behind, .. } => behind,
                other => panic!("{other}"),
            }
        };
        assert_eq!(behind(key("a/b"), key("a/b").successor()), Behind::After("a/b".into()));
        let Behind::After(text) = behind(key("a/b"), key("a/d")) else { panic!("the list ends") };
        assert!(key(&text) < key("a/d") && key(&text) > key("a/c~~~/zz"), "{text}");
        assert_eq!(behind(key("a/b"), area.after_prefix()), Behind::Nothing);
    }
}
