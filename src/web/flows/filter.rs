//! Which instances are meant: the words of a filter, the shortest list that holds them, and a bounded walk over it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::actors::finding::{self, By, cut, found_prefix};
use crate::actors::flow::{Brief, HASH_SHOWN, Listed, list_prefix};
use crate::actors::rows::Index;
use crate::actors::{layout, record};
use crate::clock::Time;
use crate::config::reader::{parse_span, suggest};
use crate::domains::flow::progress::Phase;
use crate::store::{Key, ReadError, Row, Span, around};
use crate::web::list::{self, LeftOut, Page};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Entries that one request looks at: whoever asks for what is rare gets an empty page with a `next`, and nobody waits
/// behind them.
const LOOKED_MAX: usize = 4_096;
/// Entries read at once, when not all of them fit.
const READ: usize = 256;
/// Instances looked up at the same time: one after the other each would wait for the thread that reads.
const LOOKUPS: usize = 32;
/// The words that are no fields.
const WORDS: [&str; 9] = ["name", "state", "type", "key", "object", "definition", "since", "until", "older_than"];
/// What makes a field's name of one that is also a word.
const FIELD: &str = "field.";

/// What an entry of a list says itself.
#[derive(Clone, Copy)]
enum Says {
    All,
    Brief,
    Nothing,
}

/// Which instances are meant.
#[derive(Debug, Default)]
pub struct Filter {
    name: Option<String>,
    state: Option<Phase>,
    kind: Option<String>,
    key: Option<String>,
    object: Option<String>,
    definition: Option<String>,
    /// Begun then or later.
    since: Option<Time>,
    /// Begun before then.
    until: Option<Time>,
    fields: BTreeMap<String, String>,
}

/// An instance as the lists have it.
#[derive(Debug, Clone)]
pub struct Found {
    pub id: String,
    pub listed: Listed,
}

impl Filter {
    /// Reads the words of a query or of a body.
    ///
    /// # Errors
    /// 400 for words that are none, and for values that they cannot have.
    pub fn read(site: &Site, words: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problem> {
        let now = site.clock.now();
        let mut filter = Self::default();
        for (word, value) in words {
            // A field of a form that nobody filled in.
            if value.is_empty() {
                continue;
            }
            match word.as_str() {
                "name" => filter.name = Some(value),
                "state" if value == "all" => {}
                "state" => filter.state = Some(phase(&value)?),
                "type" => filter.kind = Some(value.to_lowercase()),
                "key" => filter.key = Some(cut(&value)),
                "object" => filter.object = Some(value),
                "definition" => filter.definition = Some(value.chars().take(HASH_SHOWN).collect()),
                "since" => filter.since = Some(moment(&word, &value, now)?),
                "until" => filter.until = Some(moment(&word, &value, now)?),
                "older_than" => filter.until = Some(ago(&word, &value, now)?),
                field => {
                    let field = field.strip_prefix(FIELD).unwrap_or(field);
                    known_field(site, field)?;
                    filter.fields.insert(field.to_owned(), cut(&value));
                }
            }
        }
        Ok(filter)
    }

    /// It means every instance there is.
    pub fn is_empty(&self) -> bool {
        let Self { name, state, kind, key, object, definition, since, until, fields } = self;
        let texts = [name, kind, key, object, definition];
        texts.iter().all(|text| text.is_none())
            && state.is_none()
            && since.is_none()
            && until.is_none()
            && fields.is_empty()
    }

    fn fits(&self, listed: &Listed) -> bool {
        let is = |wanted: &Option<String>, value: Option<&String>| wanted.is_none() || wanted.as_ref() == value;
        let traits = &listed.traits;
        is(&self.name, Some(&listed.name))
            && self.state.is_none_or(|state| state == listed.phase)
            && is(&self.kind, traits.kind.as_ref())
            && is(&self.key, traits.key.as_ref())
            && is(&self.object, listed.object.as_ref())
            && self.definition.as_ref().is_none_or(|hash| listed.definition.starts_with(hash.as_str()))
            && self.fields.iter().all(|(field, value)| traits.fields.get(field) == Some(value))
    }

    /// The entries among which all of them are, as few as possible; and what each of these says itself.
    fn entries(&self) -> (Key, Says) {
        let by = |by, value: &str| (layout::index_prefix(Index::FlowsBy, &found_prefix(by, value)), Says::Nothing);
        let in_state = |state: Option<Phase>| {
            let says = if state.is_some() { Says::Brief } else { Says::All };
            (layout::index_prefix(Index::Flows, &list_prefix(state)), says)
        };
        match (self.fields.iter().next(), &self.key, self.state, &self.name, &self.kind) {
            (Some((field, value)), ..) => by(By::Field(field), value),
            (None, Some(key), ..) => by(By::Key, key),
            (None, None, Some(state), ..) => in_state(Some(state)),
            (None, None, None, Some(name), _) => by(By::Name, name),
            (None, None, None, None, Some(kind)) => by(By::Type, kind),
            (None, None, None, None, None) => in_state(None),
        }
    }

    /// The entries of the times that are meant, the newest first, from behind `after`.
    fn span(&self, prefix: &Key, after: Option<&str>) -> Result<Span, Problem> {
        let at = |time: Time| Key::build().raw(prefix.as_bytes()).number(time.0).done();
        let mut span = Span::prefix(prefix, READ).backward();
        span.from = self.since.map_or(span.from, at);
        span.to = self.until.map_or(span.to, at);
        Ok(match after {
            Some(after) => span.before(&list::row_placed(prefix, after)?),
            None => span,
        })
    }

    /// A page of them, the newest first. One that has nothing may still have a `next`.
    ///
    /// # Errors
    /// What the store says, or 400 for a wrong `after`.
    pub async fn walk(&self, site: &Site, after: Option<&str>, limit: usize) -> Result<Page<Found>, Problem> {
        let (prefix, says) = self.entries();
        let mut span = self.span(&prefix, after)?;
        // All entries are of the page, when nothing but times and the list itself are asked for.
        span.limit = if self.is_plain() { limit + 1 } else { READ };
        let (mut page, mut looked) = (Page::whole(Vec::new(), None), 0);
        while span.from < span.to {
            let read = around::range(site.runtime.engine.as_ref(), span.clone()).await?;
            let (count, behind) = (read.rows.len(), read.behind(&span));
            let whole = count + read.unread.len() < span.limit;
            let mut unread = read.unread.iter().peekable();
            let found = read.rows.iter().map(|row| self.found(site, &prefix, says, row));
            let mut found = pin!(stream::iter(found).buffered(LOOKUPS));
            for (nth, row) in read.rows.iter().enumerate() {
                while let Some(lost) = unread.next_if(|lost| lost.key > row.key) {
                    page.left_out.push(LeftOut::of(lost));
                }
                match found.next().await {
                    Some(Ok(found)) => page.items.extend(found.filter(|found| self.fits(&found.listed))),
                    Some(Err(failure)) => page.left_out.push(list::damaged(&row.key, failure)?),
                    None => {}
                }
                let last = whole && nth + 1 == count && unread.peek().is_none();
                if (page.items.len() == limit || looked + nth + 1 >= LOOKED_MAX) && !last {
                    return Ok(Page { next: Some(list::row_place(&prefix, &row.key)), ..page });
                }
            }
            page.left_out.extend(unread.map(LeftOut::of));
            looked += count;
            let Some(behind) = behind.filter(|_| !whole) else { break };
            span = behind;
        }
        Ok(page)
    }

    /// Others need not be looked up.
    fn may_fit(&self, row: &Row) -> bool {
        let brief = record::decode::<Brief>(&row.value).ok();
        brief.is_some_and(|brief| {
            self.name.as_ref().is_none_or(|name| *name == brief.name)
                && self.definition.as_ref().is_none_or(|hash| brief.definition.starts_with(hash.as_str()))
        })
    }

    fn is_plain(&self) -> bool {
        let Self { name, state: _, kind, key, object, definition, since: _, until: _, fields } = self;
        [name, kind, key, object, definition].iter().all(|text| text.is_none()) && fields.is_empty()
    }

    async fn found(&self, site: &Site, prefix: &Key, says: Says, row: &Row) -> Result<Option<Found>, ReadError> {
        let found = match says {
            Says::All => layout::index_owner(&row.key).zip(record::decode(&row.value).ok()),
            Says::Brief if !self.may_fit(row) => None,
            Says::Brief | Says::Nothing => finding::listed(site.runtime.engine.as_ref(), prefix, row).await?,
        };
        Ok(found.map(|(id, listed)| Found { id: id.key.to_string(), listed }))
    }
}

impl Found {
    pub fn json(&self) -> Value {
        let Self { id, listed } = self;
        let mut value = json!({
            "id": id, "name": listed.name, "phase": listed.phase, "started": listed.started.to_string(),
            "updated": listed.updated.to_string(), "waits_for": listed.waits_for, "object": listed.object,
            "definition": listed.definition,
        });
        if let Some(kind) = &listed.traits.kind {
            value["type"] = kind.as_str().into();
        }
        if let Some(key) = &listed.traits.key {
            value["key"] = key.as_str().into();
        }
        if !listed.traits.fields.is_empty() {
            value["fields"] = json!(listed.traits.fields);
        }
        value
    }
}

fn phase(word: &str) -> Result<Phase, Problem> {
    Phase::parse(word).ok_or_else(|| {
        let known: Vec<&str> = Phase::ALL.into_iter().map(Phase::word).collect();
        Problem::bad_request(format!("there is no state {word:?}; there are {}", known.join(", ")))
    })
}

/// A time, or how long ago that is.
fn moment(word: &str, value: &str, now: Time) -> Result<Time, Problem> {
    match value.parse::<jiff::Timestamp>() {
        Ok(stamp) => Ok(Time(u64::try_from(stamp.as_millisecond()).unwrap_or(0))),
        Err(_) => ago(word, value, now),
    }
}

fn ago(word: &str, value: &str, now: Time) -> Result<Time, Problem> {
    parse_span(value).map(|span| now.minus(span)).ok_or_else(|| {
        let times = if word == "older_than" { "" } else { "a time such as 2026-03-01T08:00:00Z, or " };
        Problem::bad_request(format!("{word} is {value:?}; give {times}a span such as 30m, 12h or 7d"))
    })
}

/// Fields of flows that are not declared any more were declared once: what an instance still has is found.
fn known_field(site: &Site, field: &str) -> Result<(), Problem> {
    let catalog = &site.runtime.world.catalog;
    let declared: BTreeSet<String> =
        catalog.known().iter().flat_map(|flow| flow.search.keys().cloned().collect::<Vec<_>>()).collect();
    if declared.contains(field) {
        return Ok(());
    }
    let known = WORDS.into_iter().chain(declared.iter().map(String::as_str));
    let remedy = suggest(field, known);
    Err(Problem::bad_request(format!("no flow has the field {field:?} under `search`; {remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_how_long_ago() {
        let now = Time(1_772_323_200_000);
        assert_eq!(moment("since", "2026-02-28T23:00:00Z", now).unwrap(), Time(now.0 - 3_600_000));
        assert_eq!(moment("since", "1h", now).unwrap(), Time(now.0 - 3_600_000));
        assert!(moment("since", "yesterday", now).unwrap_err().detail.contains("yesterday"));
        assert!(ago("older_than", "2026-02-28T23:00:00Z", now).is_err());
    }

    #[test]
    fn a_filter_with_any_word_is_not_empty() {
        assert!(Filter::default().is_empty());
        assert!(!Filter { until: Some(Time(1)), ..Filter::default() }.is_empty());
        assert!(!Filter { fields: BTreeMap::from([("a".into(), "b".into())]), ..Filter::default() }.is_empty());
    }
}
