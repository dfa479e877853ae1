//! What every place for blobs has to do, and what files promise beyond that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use quickbeam::clock::{Clock, Time};
use quickbeam::store::blob::{BlobError, BlobHash, Blobs, FileBlobs, MemoryBlobs, Stored, collect};
use tempfile::TempDir;

use crate::subject::block_on;

const BYTES_MAX: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A clock that is put forward by hand.
struct Stepped(Mutex<Time>);

impl Stepped {
    fn shared() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Time(1_700_000_000_000))))
    }

    fn step(&self, span: Duration) {
        let mut now = self.0.lock();
        *now = now.plus(span);
    }
}

impl Clock for Stepped {
    fn now(&self) -> Time {
        *self.0.lock()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.lock().0)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

type Place = (Option<TempDir>, Arc<dyn Blobs>, Arc<Stepped>);

fn places() -> Vec<Place> {
    let clock = Stepped::shared();
    let folder = tempfile::tempdir().unwrap();
    let files = FileBlobs::open(folder.path(), BYTES_MAX, clock.clone()).unwrap();
    let memory = MemoryBlobs::new(BYTES_MAX, clock.clone());
    vec![(Some(folder), Arc::new(files), clock.clone()), (None, Arc::new(memory), clock)]
}

async fn put(blobs: &dyn Blobs, content: &[u8]) -> Result<Stored, BlobError> {
    let mut writer = blobs.begin().await?;
    for chunk in content.chunks(1_000) {
        writer.write(chunk.to_vec().into()).await?;
    }
    writer.finish().await
}

async fn get(blobs: &dyn Blobs, hash: BlobHash) -> Result<Option<Vec<u8>>, BlobError> {
    match blobs.get(hash).await? {
        Some(blob) => Ok(Some(blob.whole().await?.to_vec())),
        None => Ok(None),
    }
}

/// Collects everything but `referenced`, and says what is left of `of`.
async fn left(blobs: &dyn Blobs, now: Time, referenced: &[BlobHash], of: &[BlobHash]) -> Vec<bool> {
    collect::<BlobError>(blobs, now, async |hash| Ok(referenced.contains(&hash))).await.unwrap();
    let mut left = Vec::new();
    for &hash in of {
        left.push(blobs.has(hash).await.unwrap().is_some());
    }
    left
}

#[test]
fn a_blob_is_read_back_under_the_hash_of_its_content() {
    for (_folder, blobs, _) in places() {
        block_on(async {
            for size in [0, 1, 999_999, 1_000_000] {
                let content: Vec<u8> = (0..size).map(|number: usize| number.to_le_bytes()[0]).collect();
                let stored = put(&*blobs, &content).await.unwrap();
                assert_eq!(stored, Stored { hash: BlobHash::of(&content), bytes: content.len() as u64 });
                assert_eq!(blobs.has(stored.hash).await.unwrap(), Some(stored.bytes));
                assert_eq!(get(&*blobs, stored.hash).await.unwrap(), Some(content));
            }
            assert_eq!(get(&*blobs, BlobHash::of(b"never")).await.unwrap(), None);
        });
    }
}

#[test]
fn a_blob_that_is_too_large_is_refused_and_leaves_nothing() {
    for (folder, blobs, _) in places() {
        block_on(async {
            let content = vec![1; 1_000_001];
            let refused = put(&*blobs, &content).await;
            assert!(matches!(refused, Err(BlobError::TooLarge { bytes_max: BYTES_MAX })));
            assert_eq!(blobs.has(BlobHash::of(&content)).await.unwrap(), None);
            nothing_unfinished(folder.as_ref()).await;
        });
    }
}

#[test]
fn a_blob_that_is_not_finished_leaves_nothing() {
    for (folder, blobs, _) in places() {
        block_on(async {
            let mut writer = blobs.begin().await.unwrap();
            writer.write("half".into()).await.unwrap();
            drop(writer);
            assert_eq!(blobs.has(BlobHash::of(b"half")).await.unwrap(), None);
            nothing_unfinished(folder.as_ref()).await;
        });
    }
}

/// Returns once the file is gone, which happens on another thread.
async fn nothing_unfinished(folder: Option<&TempDir>) {
    let Some(folder) = folder else { return };
    while std::fs::read_dir(folder.path().join("unfinished")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn only_old_blobs_that_nothing_refers_to_are_collected() {
    for (_folder, blobs, clock) in places() {
        block_on(async {
            let old = put(&*blobs, b"old").await.unwrap().hash;
            let referenced = put(&*blobs, b"referenced").await.unwrap().hash;
            clock.step(DAY);
            let young = put(&*blobs, b"young").await.unwrap().hash;
            let all = [old, referenced, young];
            assert_eq!(left(&*blobs, clock.now(), &[referenced], &all).await, [true; 3], "just a day old");
            clock.step(Duration::from_secs(1));
            assert_eq!(left(&*blobs, clock.now(), &[referenced], &all).await, [false, true, true]);
        });
    }
}

#[test]
fn putting_a_blob_again_renews_its_age_even_while_it_is_being_collected() {
    for (_folder, blobs, clock) in places() {
        block_on(async {
            let [renewed, late] = [put(&*blobs, b"renewed").await.unwrap(), put(&*blobs, b"late").await.unwrap()];
            clock.step(2 * DAY);
            put(&*blobs, b"renewed").await.unwrap();
            let now = clock.now();
            let removed = collect::<BlobError>(&*blobs, now, async |hash| {
                assert_eq!(hash, late.hash, "the renewed one is not even asked for");
                put(&*blobs, b"late").await?;
                Ok(false)
            });
            assert_eq!(removed.await.unwrap(), 0);
            assert!(blobs.has(renewed.hash).await.unwrap().is_some());
        });
    }
}

#[test]
fn nothing_is_collected_while_a_backup_holds_the_blobs() {
    for (_folder, blobs, clock) in places() {
        block_on(async {
            let hash = put(&*blobs, b"old").await.unwrap().hash;
            clock.step(2 * DAY);
            let hold = blobs.hold();
            assert_eq!(left(&*blobs, clock.now(), &[], &[hash]).await, [true]);
            drop(hold);
            assert_eq!(left(&*blobs, clock.now(), &[], &[hash]).await, [false]);
        });
    }
}

#[test]
fn many_blobs_are_collected_page_by_page() {
    for (_folder, blobs, clock) in places() {
        block_on(async {
            for number in 0..600_u32 {
                put(&*blobs, &number.to_le_bytes()).await.unwrap();
            }
            clock.step(2 * DAY);
            let kept = BlobHash::of(&7_u32.to_le_bytes());
            let removed = collect::<BlobError>(&*blobs, clock.now(), async |hash| Ok(hash == kept)).await.unwrap();
            assert_eq!(removed, 599);
            assert!(blobs.has(kept).await.unwrap().is_some());
        });
    }
}

#[test]
fn a_damaged_blob_is_named_and_never_served_until_it_is_put_again() {
    let (folder, blobs, _) = places().swap_remove(0);
    let hash = block_on(put(&*blobs, b"whole")).unwrap().hash;
    let path = folder.unwrap().keep().join(&hash.to_string()[..2]).join(hash.to_string());
    std::fs::write(&path, b"whale").unwrap();
    assert!(matches!(block_on(get(&*blobs, hash)), Err(BlobError::Damaged(named)) if named == hash));
    block_on(put(&*blobs, b"whole")).unwrap();
    assert_eq!(block_on(get(&*blobs, hash)).unwrap().unwrap(), b"whole");
}
