//! Lists: a page of a range of rows, and where it goes on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::actors::layout;
use crate::store::around::{self, Unread};
use crate::store::{Direction, Engine, Failure, Key, ReadError, Row, Span};
use crate::wire::error::Problem;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// `?after=&limit=` of every list.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Paging {
    pub after: Option<String>,
    pub limit: Option<usize>,
}

/// One page of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What would stand among the items, and cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// Something damaged that hides nothing else of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub what: String,
    pub reason: String,
}

impl<T> Page<T> {
    /// A page that lacks nothing.
    pub fn whole(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, left_out: Vec::new() }
    }
}

impl LeftOut {
    pub fn of(unread: &Unread) -> Self {
        let one = unread.to == unread.key.successor();
        let letter =
            || unread.key.parts_after(&layout::dead_letters()).text().map(|ulid| format!("dead letter {ulid}"));
        let actor = || layout::owner(&unread.key).map(|actor| actor.to_string());
        let what = if one { actor().or_else(letter) } else { None };
        let what = what.unwrap_or_else(|| "some, of which nothing is known".to_owned());
        Self { what, reason: unread.failure.to_string() }
    }
}

impl Paging {
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX)
    }

    /// The rows under `prefix` of this page, and one more if there are more.
    ///
    /// # Errors
    /// 400 for an `after` that is none of ours.
    fn span(&self, prefix: &Key, direction: Direction) -> Result<Span, Problem> {
        let span = Span { direction, ..Span::prefix(prefix, self.limit() + 1) };
        let Some(after) = &self.after else { return Ok(span) };
        let place = row_placed(prefix, after)?;
        Ok(match direction {
            Direction::Forward => span.after(&place),
            Direction::Backward => span.before(&place),
        })
    }
}

fn unknown_place() -> Problem {
    Problem::bad_request("`after` has to be the `next` of the page before")
}

/// A row below `prefix` as an opaque place.
pub fn row_place(prefix: &Key, key: &Key) -> String {
    URL_SAFE_NO_PAD.encode(&key.as_bytes()[prefix.as_bytes().len()..])
}

/// The row below `prefix` that an opaque place names.
///
/// # Errors
/// 400 for one that is none of ours.
pub fn row_placed(prefix: &Key, after: &str) -> Result<Key, Problem> {
    let place = URL_SAFE_NO_PAD.decode(after).map_err(|_| unknown_place())?;
    Ok(Key::build().raw(prefix.as_bytes()).raw(&place).done())
}

/// Text as an opaque place, for lists that are not rows.
pub fn place(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The text of an opaque place.
///
/// # Errors
/// 400 for one that is none of ours.
pub fn placed(after: &str) -> Result<String, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(after).map_err(|_| unknown_place())?;
    String::from_utf8(bytes).map_err(|_| unknown_place())
}

/// A page of the rows under `prefix`, each as `read` makes it; what it makes nothing of is left out.
///
/// # Errors
/// What the store says, or 400 for a wrong `after`.
pub async fn page<T>(
    engine: &dyn Engine,
    prefix: &Key,
    direction: Direction,
    paging: &Paging,
    read: impl Fn(&Row) -> Option<T>,
) -> Result<Page<T>, Problem> {
    let mut rows = engine.range(paging.span(prefix, direction)?).await?;
    let more = rows.len() > paging.limit();
    rows.truncate(paging.limit());
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| row_place(prefix, &row.key));
    Ok(Page::whole(rows.iter().filter_map(read).collect(), next))
}

/// The same for whoever looks after the node: what is damaged hides nothing else, and is named.
///
/// # Errors
/// What the store says of more than single rows, or 400 for a wrong `after`.
pub async fn page_around<T>(
    engine: &dyn Engine,
    prefix: &Key,
    direction: Direction,
    paging: &Paging,
    read: impl Fn(&Row) -> Option<T>,
) -> Result<Page<T>, Problem> {
    let span = paging.span(prefix, direction)?;
    let mut found = around::range(engine, span.clone()).await?;
    let more = found.rows.len() + found.unread.len() > paging.limit();
    if more {
        found.pop(direction);
    }
    let rest = found.behind(&span).filter(|_| more);
    let next = rest.map(|rest| match direction {
        Direction::Forward => row_place(prefix, &just_before(&rest.from)),
        Direction::Backward => row_place(prefix, &rest.to),
    });
    let left_out = found.unread.iter().map(LeftOut::of).collect();
    Ok(Page { items: found.rows.iter().filter_map(read).collect(), next, left_out })
}

/// What is left out because of this failure behind the row of a list.
///
/// # Errors
/// The failure, if it is none of single rows.
pub fn damaged(row: &Key, failure: ReadError) -> Result<LeftOut, Problem> {
    match &*failure {
        Failure::Damaged { rows: Some(_), .. } => {
            Ok(LeftOut::of(&Unread { key: row.clone(), to: row.successor(), failure }))
        }
        _ => Err(failure.into()),
    }
}

/// A key below this one and above all that is stored before it.
fn just_before(key: &Key) -> Key {
    let bytes = key.as_bytes();
    match bytes.split_last() {
        Some((last @ 1.., rest)) => Key::from_bytes([rest, &[last - 1], &[0xff; 64]].concat()),
        Some((_, rest)) => Key::from_bytes(rest.to_vec()),
        None => Key::default(),
    }
}

/// How many rows there are under a prefix, up to `most`; those that are damaged too.
///
/// # Errors
/// What the store says.
pub async fn count(engine: &dyn Engine, prefix: &Key, most: usize) -> Result<usize, ReadError> {
    let found = around::range(engine, Span::prefix(prefix, most)).await?;
    Ok(found.rows.len() + found.unread.len())
}

/// A page of the keys under `prefix`, those of damaged rows too: for lists that must show what failed.
///
/// # Errors
/// What the store says of more than single rows, or 400 for a wrong `after`.
pub async fn keys(engine: &dyn Engine, prefix: &Key, paging: &Paging) -> Result<Page<Key>, Problem> {
    let found = around::range(engine, paging.span(prefix, Direction::Forward)?).await?;
    let unread = found.unread.into_iter().map(|unread| unread.key);
    let mut items: Vec<Key> = found.rows.into_iter().map(|row| row.key).chain(unread).collect();
    items.sort();
    let more = items.len() > paging.limit();
    items.truncate(paging.limit());
    let last = items.last().filter(|_| more);
    let next = last.map(|key| URL_SAFE_NO_PAD.encode(&key.as_bytes()[prefix.as_bytes().len()..]));
    Ok(Page::whole(items, next))
}
