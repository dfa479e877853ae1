//! The bare handler that the inbox is held against: verify, digest, parse, encode, and append to one log of redb.
//!
//! It knows its senders beforehand, takes one form of signature only, keeps nothing apart and answers nobody's question.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use redb::{Database, Durability, TableDefinition};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
const WORKERS: usize = 2;
const GROUP_MAX: usize = 2_000;
/// Values above about 65,400 bytes double the disk space.
const ROW_BYTES_MAX: usize = 65_000;

struct Job {
    record: Vec<u8>,
    done: oneshot::Sender<()>,
}

struct Floor {
    queue: mpsc::Sender<Job>,
    keys: BTreeMap<String, VerifyingKey>,
    base: String,
}

/// Serves until the process ends. `keys` has a line for each sender: key id, and the key in base64.
pub(crate) fn run(address: &str, log: &Path, keys: &Path) {
    let (queue, jobs) = mpsc::channel();
    let log = log.to_owned();
    std::thread::spawn(move || commit(&log, &jobs));
    let keys = std::fs::read_to_string(keys).unwrap();
    let keys = keys.lines().map(|line| {
        let (id, key) = line.split_once(' ').unwrap();
        let bytes: [u8; 32] = STANDARD.decode(key).unwrap().try_into().unwrap();
        (id.to_owned(), VerifyingKey::from_bytes(&bytes).unwrap())
    });
    let floor = Data::from(Arc::new(Floor { queue, keys: keys.collect(), base: format!("http://{address}") }));
    actix_rt::System::new()
        .block_on(async {
            let app = move || App::new().app_data(floor.clone()).route("/inbox", web::post().to(receive));
            HttpServer::new(app).workers(WORKERS).disable_signals().bind(address)?.run().await
        })
        .unwrap();
}

async fn receive(floor: Data<Floor>, request: HttpRequest, body: Bytes) -> HttpResponse {
    if verify(&floor, &request, &body).is_none() {
        return HttpResponse::Unauthorized().finish();
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let record = rmp_serde::to_vec_named(&value).unwrap();
    let (done, on_disk) = oneshot::channel();
    floor.queue.send(Job { record, done }).unwrap();
    on_disk.await.unwrap();
    HttpResponse::Accepted().finish()
}

fn verify(floor: &Floor, request: &HttpRequest, body: &[u8]) -> Option<()> {
    let header = |name| request.headers().get(name)?.to_str().ok();
    let digest = header("content-digest")?;
    let given = STANDARD.decode(digest.strip_prefix("sha-256=:")?.strip_suffix(':')?).ok()?;
    if given != Sha256::digest(body)[..] {
        return None;
    }
    let params = header("signature-input")?.strip_prefix("sig=")?;
    let key = params.split_once("keyid=\"")?.1.split_once('"')?.0;
    let (target, kind) = (request.uri(), header("content-type")?);
    let base = format!(
        "\"@method\": POST\n\"@target-uri\": {}{target}\n\"content-digest\": {digest}\n\"content-type\": {kind}\n\
         \"@signature-params\": {params}",
        floor.base
    );
    let signature = header("signature")?.strip_prefix("sig=:")?.strip_suffix(':')?;
    let signature = Signature::from_slice(&STANDARD.decode(signature).ok()?).ok()?;
    floor.keys.get(key)?.verify_strict(base.as_bytes(), &signature).ok()
}

/// One commit for all that is queued, no timer.
fn commit(path: &Path, jobs: &mpsc::Receiver<Job>) {
    let database = Database::builder().set_cache_size(256 << 20).create(path).unwrap();
    let mut number = 0_u64;
    while let Ok(first) = jobs.recv() {
        let group: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX)).collect();
        let mut frame = Vec::new();
        for job in &group {
            frame.extend_from_slice(&u32::try_from(job.record.len()).unwrap().to_le_bytes());
            frame.extend_from_slice(&job.record);
        }
        let mut transaction = database.begin_write().unwrap();
        transaction.set_durability(Durability::Immediate).unwrap();
        transaction.set_quick_repair(true);
        let mut log = transaction.open_table(LOG).unwrap();
        for piece in frame.chunks(ROW_BYTES_MAX) {
            log.insert(number, piece).unwrap();
            number += 1;
        }
        drop(log);
        transaction.commit().unwrap();
        // A client that has gone needs no answer.
        group.into_iter().for_each(|job| job.done.send(()).unwrap_or_default());
    }
}
