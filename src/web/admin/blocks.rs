//! The domains that are blocked: listed, added, taken away, imported and exported.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use super::admin;
use crate::actors::blocking::ChangeError;
use crate::domains::blocks::{Block, Blocks, Domain, Listing, NoDomain, REASON_MAX, Skipped, export};
use crate::web::http::{json_of, read_body};
use crate::web::list::{Page, Paging, place, placed};
use crate::web::site::Site;
use crate::wire::error::Problem;

/// Lines of a list that are shown which blocked nothing.
const SKIPPED_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBlock {
    domain: String,
    reason: Option<String>,
}

/// `?dry_run=`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    #[serde(default)]
    dry_run: bool,
}

fn shown(domain: &Domain, block: &Block) -> Value {
    json!({ "domain": domain, "at": block.at.to_string(), "reason": block.reason })
}

/// `GET /admin/blocks`
pub async fn list(request: HttpRequest, paging: Query<Paging>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let after = paging.after.as_deref().map(placed).transpose()?;
    let page = site.blocks.read(|blocks| page(blocks, after.as_deref(), paging.limit()));
    let allow_only = site.blocks.read(|blocks| blocks.allow_only.clone());
    Ok(HttpResponse::Ok().json(json!({ "items": page.items, "next": page.next, "allow_only": allow_only })))
}

fn page(blocks: &Blocks, after: Option<&str>, limit: usize) -> Page<Value> {
    let mut behind = blocks.listed.iter().skip_while(|(domain, _)| after.is_some_and(|after| domain.as_str() <= after));
    let items: Vec<_> = behind.by_ref().take(limit).collect();
    let next = behind.next().and(items.last()).map(|(domain, _)| place(domain.as_str()));
    Page::whole(items.into_iter().map(|(domain, block)| shown(domain, block)).collect(), next)
}

/// `GET /admin/blocks/export`: as Mastodon reads it.
pub async fn exported(request: HttpRequest, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let text = site.blocks.read(|blocks| export(&blocks.listed));
    let name = "attachment; filename=\"domain_blocks.csv\"";
    let answer =
        HttpResponse::Ok().insert_header((header::CONTENT_DISPOSITION, name)).content_type("text/csv").body(text);
    Ok(answer)
}

/// `POST /admin/blocks`: `{"domain": …, "reason": …}`
pub async fn add(request: HttpRequest, payload: Payload, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let body = read_body(&site, payload).await?;
    let new: NewBlock = serde_json::from_value(json_of(&site, &body)?).map_err(|error| {
        Problem::bad_request(format!("send {{\"domain\": \"bad.example\", \"reason\": …}}: {error}"))
    })?;
    let domain = named(&site, &new.domain)?;
    if let Some(reason) = new.reason.as_ref().filter(|reason| reason.chars().count() > REASON_MAX) {
        let what = format!("`reason` has {} characters, more than {REASON_MAX}", reason.chars().count());
        return Err(Problem::unprocessable(what));
    }
    let block = Block { at: site.clock.now(), reason: new.reason.filter(|reason| !reason.is_empty()) };
    let answer = shown(&domain, &block);
    change(&site, &BTreeMap::from([(domain, block)]), &[]).await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// `DELETE /admin/blocks/{domain}`
pub async fn remove(request: HttpRequest, domain: Path<String>, site: Data<Site>) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let domain = Domain::parse(&domain).map_err(no_domain)?;
    if !site.blocks.read(|blocks| blocks.listed.contains_key(&domain)) {
        return Err(Problem::not_found(format!("{domain} is not blocked; `quickbeam blocks` lists what is")));
    }
    change(&site, &BTreeMap::new(), &[domain]).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `POST /admin/blocks/import?dry_run=`: a CSV of Mastodon, or a domain a line. What is blocked already stays as it is.
pub async fn import(
    request: HttpRequest,
    payload: Payload,
    wanted: Query<Import>,
    site: Data<Site>,
) -> Result<HttpResponse, Problem> {
    admin(&site, &request)?;
    let body = read_body(&site, payload).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_request("the list has to be text in UTF-8"))?;
    let listing = Listing::parse(text).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let (now, mut known, mut skipped) = (site.clock.now(), 0_u64, listing.skipped);
    let mut blocks = BTreeMap::new();
    for (domain, reason) in listing.blocks {
        if domain.covers(&site.runtime.world.authority) {
            let (line, why) = (0, "it is this node itself".to_owned());
            skipped.push(Skipped { line, domain: domain.as_str().to_owned(), why });
        } else if site.blocks.read(|blocks| blocks.listed.contains_key(&domain)) {
            known += 1;
        } else {
            blocks.insert(domain, Block { at: now, reason });
        }
    }
    if !wanted.dry_run {
        change(&site, &blocks, &[]).await?;
    }
    let left = skipped.len();
    skipped.truncate(SKIPPED_MAX);
    Ok(HttpResponse::Ok().json(json!({
        "dry_run": wanted.dry_run, "added": blocks.len(), "known": known, "skipped": left, "listed": skipped,
    })))
}

fn no_domain(error: NoDomain) -> Problem {
    Problem::unprocessable(error.to_string())
}

fn named(site: &Site, text: &str) -> Result<Domain, Problem> {
    let domain = Domain::parse(text).map_err(no_domain)?;
    if domain.covers(&site.runtime.world.authority) {
        return Err(Problem::unprocessable(format!("{domain} is this node itself: name another domain")));
    }
    Ok(domain)
}

/// Changes the list, and parts with who is blocked now; that goes on when the answer is out.
async fn change(site: &Data<Site>, block: &BTreeMap<Domain, Block>, unblock: &[Domain]) -> Result<(), Problem> {
    site.blocks.change(&site.runtime, block, unblock).await.map_err(|error| match error {
        ChangeError::Store(failure) | ChangeError::Unknown(failure) => Problem::from(failure),
        ChangeError::Fenced => Problem::unavailable(ChangeError::Fenced.to_string()),
    })?;
    if !block.is_empty() {
        let site = site.clone();
        actix_web::rt::spawn(async move {
            if let Err(failure) = site.blocks.sever(&site.runtime).await {
                warn!(%failure, "not everybody who is blocked could be parted with; the next start tries again");
            }
        });
    }
    Ok(())
}
