//! Blobs that are forgotten when dropped: the model of the others.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;

use super::{Blob, BlobError, BlobHash, BlobWriter, Blobs, Hold, Stored};
use crate::clock::{SharedClock, Time};

/// Blobs in a map, with the time at which each was last put.
#[derive(Clone)]
pub struct MemoryBlobs {
    kept: Arc<Mutex<Kept>>,
    bytes_max: u64,
    clock: SharedClock,
}

#[derive(Default)]
struct Kept {
    blobs: BTreeMap<BlobHash, (Time, Bytes)>,
    holds: usize,
}

impl MemoryBlobs {
    pub fn new(bytes_max: u64, clock: SharedClock) -> Self {
        Self { kept: Arc::default(), bytes_max, clock }
    }
}

struct Writer {
    to: MemoryBlobs,
    content: Vec<u8>,
}

impl BlobWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<(), BlobError>> {
        let bytes_max = self.to.bytes_max;
        if (self.content.len() + chunk.len()) as u64 > bytes_max {
            return ready(Err(BlobError::TooLarge { bytes_max })).boxed();
        }
        self.content.extend_from_slice(&chunk);
        ready(Ok(())).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Stored, BlobError>> {
        let hash = BlobHash::of(&self.content);
        let bytes = self.content.len() as u64;
        self.to.kept.lock().blobs.insert(hash, (self.to.clock.now(), self.content.into()));
        ready(Ok(Stored { hash, bytes })).boxed()
    }
}

impl Blobs for MemoryBlobs {
    fn begin(&self) -> BoxFuture<'static, Result<Box<dyn BlobWriter>, BlobError>> {
        let writer: Box<dyn BlobWriter> = Box::new(Writer { to: self.clone(), content: Vec::new() });
        ready(Ok(writer)).boxed()
    }

    fn get(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<Blob>, BlobError>> {
        let blob = self.kept.lock().blobs.get(&hash).map(|(_, content)| {
            let bytes = content.len() as u64;
            Blob { bytes, chunks: stream::iter([Ok(content.clone())]).boxed() }
        });
        ready(Ok(blob)).boxed()
    }

    fn has(&self, hash: BlobHash) -> BoxFuture<'static, Result<Option<u64>, BlobError>> {
        ready(Ok(self.kept.lock().blobs.get(&hash).map(|(_, content)| content.len() as u64))).boxed()
    }

    fn put_before(
        &self,
        time: Time,
        after: Option<BlobHash>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<BlobHash>, BlobError>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let kept = self.kept.lock();
        let old = kept.blobs.range((from, Bound::Unbounded)).filter(|(_, (put, _))| *put < time);
        ready(Ok(old.map(|(&hash, _)| hash).take(limit).collect())).boxed()
    }

    fn remove(&self, hash: BlobHash, put_before: Time) -> BoxFuture<'static, Result<bool, BlobError>> {
        let mut kept = self.kept.lock();
        let old = kept.holds == 0 && kept.blobs.get(&hash).is_some_and(|(put, _)| *put < put_before);
        if old {
            kept.blobs.remove(&hash);
        }
        ready(Ok(old)).boxed()
    }

    fn hold(&self) -> Hold {
        self.kept.lock().holds += 1;
        let kept = self.kept.clone();
        Hold(Some(Box::new(move || kept.lock().holds -= 1)))
    }
}
