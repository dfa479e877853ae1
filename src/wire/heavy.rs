//! Arithmetic that takes a thread for most of a millisecond, done beside the threads on which everything else waits.

use std::future::pending;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// As many at once as there are cores: more would only take turns, each with a thread of its own.
static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// What `work` gives. A panic in it goes on in whoever waits for it.
pub(super) async fn heavy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let _place = PLACES.acquire().await;
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and with it whoever waits.
            Err(_) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn everybody_is_served_and_not_more_at_once_than_there_are_cores() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |number: usize| {
            let (now, most) = (now.clone(), most.clone());
            heavy(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
        };
        assert_eq!(join_all((0..100).map(work)).await, (0..100).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= available_parallelism().unwrap().get());
    }

    #[tokio::test]
    async fn who_waits_does_not_keep_the_thread_and_a_panic_is_theirs() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waits = heavy(move || receiver.recv().unwrap());
        let sends = async { sender.send(7).unwrap() };
        assert_eq!(futures_util::future::join(waits, sends).await.0, 7);
        let panicked = std::panic::AssertUnwindSafe(heavy(|| -> () { panic!("as the test wants") }));
        assert!(panicked.catch_unwind().await.is_err());
        assert_eq!(heavy(|| 8).await, 8);
    }
}
