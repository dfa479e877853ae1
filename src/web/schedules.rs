//! `/flows/schedules`: what begins by itself, when it did and will, and the verbs that hold it, let it go on or fire it now.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::{once, require};
use super::flows::json_body;
use super::http::read_body;
use super::list::{LeftOut, Page, Paging, page_around, place, placed};
use super::site::Site;
use crate::actors::entity::ActorId;
use crate::actors::flow::Flow;
use crate::actors::schedule::{self, Command, Run, Schedule, Standing, Tick};
use crate::actors::{inspect, layout, record};
use crate::clock::Time;
use crate::domains::flow::progress::Progress;
use crate::domains::schedule::times::When;
use crate::domains::schedule::{self as declared, Overlap};
use crate::store::{Direction, Row};
use crate::tokens::Scope;
use crate::wire::error::Problem;

/// Ticks to come that are shown of one schedule.
const SHOWN: usize = 5;

/// What a schedule can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Pause,
    Continue,
    Fire,
}

/// What a verb can be given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    reason: Option<String>,
    overlap: Option<String>,
}

impl Verb {
    pub const ALL: [Self; 3] = [Self::Pause, Self::Continue, Self::Fire];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Fire => "fire",
        }
    }

    /// The verb of this name.
    ///
    /// # Errors
    /// 404 for a word that is none.
    pub fn parse(word: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|verb| verb.word() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join(", ");
            Problem::not_found(format!("a schedule cannot be told to {word:?}; it can be told to {known}"))
        })
    }

    /// What the schedule is told.
    ///
    /// # Errors
    /// 400 for words that the verb does not take.
    pub fn command(self, given: &Value, by: &str) -> Result<Command, Problem> {
        let wrong = |what: String| Problem::bad_request(format!("{what}; {}", self.form()));
        let given: Given = serde_json::from_value(given.clone()).map_err(|error| wrong(error.to_string()))?;
        let by = by.to_owned();
        match (self, given) {
            (Self::Pause, Given { reason, overlap: None }) => Ok(Command::Pause { by, reason }),
            (Self::Continue, Given { reason: None, overlap: None }) => Ok(Command::Continue { by }),
            (Self::Fire, Given { reason: None, overlap }) => {
                let known = |word: String| Overlap::parse(&word).ok_or_else(|| wrong(format!("overlap is {word:?}")));
                Ok(Command::Fire { by, overlap: overlap.map(known).transpose()? })
            }
            _ => Err(wrong(format!("{} does not take that", self.word()))),
        }
    }

    fn form(self) -> String {
        match self {
            Self::Pause => "send {\"reason\"?: …} or nothing".to_owned(),
            Self::Continue => "send nothing".to_owned(),
            Self::Fire => {
                format!(
                    "send {{\"overlap\"?: …}} with one of {}, or nothing",
                    Overlap::ALL.map(Overlap::word).join(", ")
                )
            }
        }
    }
}

/// A page of the declared schedules, by name.
///
/// # Errors
/// What the store says, or 400 for a wrong `after`.
pub async fn list(site: &Site, paging: &Paging) -> Result<Page<Value>, Problem> {
    let after = paging.after.as_deref().map(placed).transpose()?;
    let all = site.runtime.world.catalog.schedules();
    let mut rest = all.filter(|one| after.as_ref().is_none_or(|after| one.name > *after));
    let shown: Vec<&declared::Schedule> = rest.by_ref().take(paging.limit()).collect();
    let next = rest.next().and(shown.last()).map(|last| place(&last.name));
    let (mut items, mut left_out) = (Vec::new(), Vec::new());
    for one in shown {
        match inspect::state::<Schedule>(&site.runtime, &one.name).await {
            Ok(state) => items.push(summary(one, &state.unwrap_or_default())),
            Err(reason) => left_out.push(LeftOut { what: format!("schedule/{}", one.name), reason }),
        }
    }
    Ok(Page { items, next, left_out })
}

/// One schedule, with its next ticks and a page of what it began, the newest first.
///
/// # Errors
/// 404 when none is declared under this name.
pub async fn find(site: &Site, name: &str, paging: &Paging) -> Result<Value, Problem> {
    let unknown = || Problem::not_found(format!("there is no schedule {name:?}; GET /flows/schedules lists them"));
    let declared = site.runtime.world.catalog.schedule(name).ok_or_else(unknown)?;
    let state = state(site, name).await?;
    let id = ActorId::of::<Schedule>(name);
    let prefix = layout::row_prefix(&id, &schedule::run_rows());
    let engine = site.runtime.engine.as_ref();
    let runs =
        page_around(engine, &prefix, Direction::Backward, paging, |row| record::decode::<Run>(&row.value).ok()).await?;
    let prefix = layout::row_prefix(&id, &schedule::running_rows());
    let flow = |row: &Row| row.key.parts_after(&prefix).text();
    let running = page_around(engine, &prefix, Direction::Forward, &Paging::default(), flow).await?;
    let mut items = Vec::new();
    for run in &runs.items {
        items.push(run_shown(site, run).await?);
    }
    let mut shown = summary(declared, &state);
    shown["input"] = Value::Object(declared.input.clone());
    shown["times"] = times(&declared.when, state.next).into_iter().map(|time| time.to_string()).collect();
    shown["holders"] = running.items.into();
    shown["items"] = items.into();
    if let Some(next) = runs.next {
        shown["next"] = next.into();
    }
    let left_out = [runs.left_out, running.left_out].concat();
    if !left_out.is_empty() {
        shown["left_out"] = json!(left_out);
    }
    Ok(shown)
}

/// The schedule as it is on disk; one that has not had its first turn is as new.
async fn state(site: &Site, name: &str) -> Result<Schedule, Problem> {
    let state = inspect::state::<Schedule>(&site.runtime, name).await;
    Ok(state.map_err(|reason| Problem::new(500, "damaged", reason))?.unwrap_or_default())
}

fn summary(declared: &declared::Schedule, state: &Schedule) -> Value {
    let text = |time: Option<Time>| time.map(|time| time.to_string());
    let paused = state
        .paused
        .as_ref()
        .map(|paused| json!({ "at": paused.at.to_string(), "by": paused.by, "reason": paused.reason }));
    json!({
        "name": declared.name, "flow": declared.flow, "when": declared.told(), "overlap": declared.overlap.word(),
        "paused": paused, "due": text(state.next), "waiting": state.waiting.as_ref().map(tick), "running": state.running,
        "begun": state.begun, "missed": state.missed, "missed_more": state.missed_more, "skipped": state.skipped,
        "last": text(state.last),
    })
}

fn tick(tick: &Tick) -> Value {
    json!({
        "flow": tick.flow, "due": tick.due.to_string(), "missed": tick.missed, "missed_more": tick.more, "by": tick.by,
    })
}

/// How it stands is what the schedule was told, or where the instance is now.
async fn run_shown(site: &Site, run: &Run) -> Result<Value, Problem> {
    let mut shown = tick(&run.tick);
    shown["at"] = run.at.to_string().into();
    shown["ended"] = run.ended.as_ref().map(|ended| ended.at.to_string()).into();
    let phase = match &run.ended {
        Some(ended) => ended.phase,
        None => {
            let flow = inspect::state::<Flow>(&site.runtime, &run.tick.flow).await;
            let flow = flow.map_err(|reason| Problem::new(500, "damaged", reason))?;
            flow.and_then(|flow| flow.progress).as_ref().map(Progress::phase)
        }
    };
    shown["phase"] = json!(phase);
    Ok(shown)
}

fn times(when: &When, next: Option<Time>) -> Vec<Time> {
    std::iter::successors(next, |last| when.after(*last)).take(SHOWN).collect()
}

/// `POST /flows/schedules/{name}/{verb}`
pub async fn tell(
    request: HttpRequest,
    path: Path<(String, String)>,
    payload: Payload,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    let caller = require(&site, &request, Scope::FlowsWrite)?;
    let body = read_body(&site, payload).await?;
    let (name, word) = path.into_inner();
    let verb = Verb::parse(&word)?;
    let command = verb.command(&json_body(&site, &body)?, &caller.grant.name)?;
    let once = once(&request, &caller, &body)?;
    let standing = site.runtime.registry().ask::<Schedule>(&name, command, once).await?;
    answer(&site, &name, verb, standing).await
}

/// The schedule; of one that fired also the instance, which begins at once or waits.
async fn answer(site: &Site, name: &str, verb: Verb, standing: Standing) -> Result<HttpResponse, Problem> {
    let mut shown = find(site, name, &Paging::default()).await?;
    if verb != Verb::Fire {
        return Ok(HttpResponse::Ok().json(shown));
    }
    let flow = standing.begun.as_ref().or(standing.waits.as_ref()).cloned().unwrap_or_default();
    let location = format!("{}/flow/{flow}", site.runtime.world.base);
    shown["fired"] = json!({ "flow": flow, "waits": standing.waits.is_some() });
    Ok(HttpResponse::Accepted().insert_header(("location", location)).json(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_takes_its_own_words_and_no_others() {
        let all = json!({ "reason": "x", "overlap": "allow" });
        for (verb, word) in [(Verb::Pause, Some("reason")), (Verb::Continue, None), (Verb::Fire, Some("overlap"))] {
            assert_eq!(Verb::parse(verb.word()).unwrap(), verb);
            verb.command(&json!({}), "ann").unwrap();
            for name in ["reason", "overlap"] {
                let told = verb.command(&json!({ name: all[name] }), "ann");
                assert_eq!(told.is_ok(), word == Some(name), "{verb:?} {name}");
            }
            assert_eq!(verb.command(&all, "ann").unwrap_err().status, 400);
            assert_eq!(verb.command(&json!({ "strange": 1 }), "ann").unwrap_err().status, 400);
        }
        let refused = Verb::Fire.command(&json!({ "overlap": "perhaps" }), "ann").unwrap_err();
        assert!(refused.detail.contains("skip, allow, queue, cancel"), "{refused}");
        assert_eq!(Verb::parse("juggle").unwrap_err().status, 404);
    }
}
