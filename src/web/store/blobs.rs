//! `/store/blobs`: large content under names, streamed in and out.

use actix_web::body::SizedStream;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Payload, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::super::http::as_it_is;
use super::super::list::{Page, place};
use super::conditions::{Wanted, wanted};
use super::{BLOBS, LISTED, Listing, Shared, Wants, access, answering, holds, list_problem, once, range};
use crate::programs::blobs::{Entry, Expected, check_hash};
use crate::programs::{Name, OpError};
use crate::store::blob::{BlobError, BlobHash, Stored};
use crate::web::site::Site;
use crate::wire::digest;
use crate::wire::error::Problem;

/// A media type is a header again when the blob is served; a longer one is none.
const MEDIA_MAX: usize = 200;
const MEDIA: &str = "application/octet-stream";

/// `PUT /store/blobs/{name}`
pub(super) async fn put(request: HttpRequest, payload: Payload, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::writing(BLOBS))?;
    as_it_is(&request)?;
    let expected = expected(&request)?;
    let promised = promised(&request)?;
    let media = media_of(&request)?;
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > site.limits.blob_bytes) {
        let bytes_max = site.limits.blob_bytes;
        return Err(OpError::from(BlobError::TooLarge { bytes_max }).into());
    }
    let stored = receive(&site, payload).await?;
    check_hash(promised, &stored)?;
    let once = once(&request, &access, &stored.hash.0)?;
    let answer = site.programs.name_blob(&access.name, expected, stored, &media, once.as_ref()).await?;
    let hash = stored.hash.to_string();
    let mut response = HttpResponse::Ok();
    answering(&mut response, &answer).insert_header((header::ETAG, tag(stored.hash)));
    Ok(response.json(json!({ "name": access.name.as_str(), "hash": hash, "bytes": stored.bytes })))
}

/// Writes the body to disk as it comes; a sender that falls silent is given up, one that is merely slow is not.
async fn receive(site: &Site, mut payload: Payload) -> Result<Stored, Problem> {
    let mut writer = site.programs.begin_blob().await?;
    loop {
        let chunk = match select(payload.next(), site.clock.sleep(site.limits.body_time)).await {
            Either::Left((chunk, _)) => chunk,
            Either::Right(_) => {
                let detail = format!("nothing came for {:?}; send the blob again", site.limits.body_time);
                return Err(Problem::new(408, "too slow", detail));
            }
        };
        match chunk {
            None => return Ok(writer.finish().await.map_err(OpError::from)?),
            Some(Ok(chunk)) => writer.write(chunk).await.map_err(OpError::from)?,
            Some(Err(error)) => {
                return Err(Problem::bad_request(format!("the body broke off: {error}; send it again")));
            }
        }
    }
}

/// `HEAD /store/blobs/{name}`: whether it is there, without reading it.
pub(super) async fn has(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let name = access(&site, &request, &Wants::reading(BLOBS))?.name;
    let entry = site.programs.blob(&name).await?.ok_or_else(|| missing(&name))?;
    let mut response = HttpResponse::Ok();
    described(&mut response, &name, &entry);
    let nothing = stream::empty::<Result<bytes::Bytes, actix_web::Error>>();
    Ok(response.body(SizedStream::new(entry.bytes, nothing)))
}

/// `GET /store/blobs/{name}`: its content, checked against its hash before the first byte goes out.
pub(super) async fn get(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let name = access(&site, &request, &Wants::reading(BLOBS))?.name;
    let entry = site.programs.blob(&name).await?.ok_or_else(|| missing(&name))?;
    if holds(&request, &tag(entry.hash)) {
        return Ok(HttpResponse::NotModified().insert_header((header::ETAG, tag(entry.hash))).finish());
    }
    let part = range::wanted(&request, &tag(entry.hash), entry.bytes)?;
    // All of it is checked, whatever part is wanted.
    let blob = site.programs.content(&entry).await?;
    let mut response = HttpResponse::Ok();
    described(&mut response, &name, &entry);
    let chunks = blob.chunks.map_err(|error| actix_web::error::ErrorInternalServerError(error.to_string()));
    let Some(part) = part else { return Ok(response.body(SizedStream::new(blob.bytes, chunks))) };
    response.status(StatusCode::PARTIAL_CONTENT).insert_header((header::CONTENT_RANGE, part.shown(blob.bytes)));
    Ok(response.body(SizedStream::new(part.bytes(), part.of(chunks))))
}

/// Content of strangers: never a page of this node, whatever it says it is.
fn described(response: &mut HttpResponseBuilder, name: &Name, entry: &Entry) {
    // Letters of a name need no quoting.
    let file = format!("attachment; filename=\"{}\"", name.last_segment());
    response
        .content_type(entry.media.as_str())
        .insert_header((header::ETAG, tag(entry.hash)))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header(("repr-digest", digest::content_digest_of(&entry.hash.0)))
        .insert_header((header::CONTENT_DISPOSITION, file))
        .insert_header((header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"))
        .insert_header(("cross-origin-resource-policy", "same-origin"))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
}

/// `DELETE /store/blobs/{name}`
pub(super) async fn delete(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let access = access(&site, &request, &Wants::writing(BLOBS))?;
    let expected = expected(&request)?;
    let once = once(&request, &access, b"")?;
    let answer = site.programs.unname_blob(&access.name, expected, once.as_ref()).await?;
    Ok(answering(&mut HttpResponse::NoContent(), &answer).finish())
}

/// `GET /store/blobs?prefix=&after=&limit=`
pub(super) async fn list(request: HttpRequest, query: Query<Listing>, site: Shared) -> Result<HttpResponse, Problem> {
    let listed = query.admit(&site, &request, &LISTED)?;
    let found = site.programs.list_blobs(&listed.prefix, listed.after.as_deref(), listed.limit).await;
    let (found, more) = found.map_err(list_problem)?;
    let next = found.last().filter(|_| more).map(|(name, _)| place(name));
    let item = |(name, entry): (String, Entry)| json!({ "name": name, "hash": entry.hash.to_string(), "bytes": entry.bytes, "media": entry.media });
    Ok(HttpResponse::Ok().json(Page::whole(found.into_iter().map(item).collect(), next)))
}

fn expected(request: &HttpRequest) -> Result<Expected, Problem> {
    Ok(match wanted(request)? {
        Wanted::Any => Expected::Any,
        Wanted::Absent => Expected::Absent,
        Wanted::Tag(tag) => Expected::Hash(tag.parse().map_err(|error| {
            Problem::bad_request(format!("If-Match is {tag:?}: {error}; send the ETag of the blob"))
        })?),
    })
}

/// The hash that the sender says the content has.
fn promised(request: &HttpRequest) -> Result<Option<BlobHash>, Problem> {
    let Some(value) = request.headers().get("content-digest") else { return Ok(None) };
    let hash = digest::promised(value.to_str().unwrap_or_default());
    hash.map(|hash| Some(BlobHash(hash))).map_err(|error| Problem::bad_request(error.to_string()))
}

fn media_of(request: &HttpRequest) -> Result<String, Problem> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return Ok(MEDIA.to_owned()) };
    let text = value.to_str().ok().filter(|text| text.len() <= MEDIA_MAX && text.contains('/'));
    text.map(str::to_owned).ok_or_else(|| {
        Problem::bad_request(format!(
            "Content-Type has to be a media type of at most {MEDIA_MAX} characters, or missing"
        ))
    })
}

fn tag(hash: BlobHash) -> String {
    format!("\"{hash}\"")
}

fn missing(name: &Name) -> Problem {
    Problem::not_found(format!("there is no blob {name}; GET /store/blobs lists those that are"))
}
