//! An answer that is at hand, or will come: what is known at once takes no room on the heap and wakes nobody.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// A future that may be over before it is polled.
#[must_use = "an answer is asked for to be looked at"]
pub enum Soon<T> {
    Now(T),
    Later(BoxFuture<'static, T>),
    /// It was polled to its end.
    Taken,
}

impl<T> Soon<T> {
    /// One that has to be waited for.
    pub fn later(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(answer.boxed())
    }
}

impl<T: Send + 'static> Soon<T> {
    /// What follows from the answer: at once, if that is at hand.
    pub fn then<U: Send + 'static>(self, next: impl FnOnce(T) -> Soon<U> + Send + 'static) -> Soon<U> {
        match self {
            Self::Now(answer) => next(answer),
            Self::Later(answer) => Soon::later(async move { next(answer.await).await }),
            Self::Taken => Soon::Taken,
        }
    }
}

/// What is kept is never pinned: it is handed out whole.
impl<T> Unpin for Soon<T> {}

impl<T> Future for Soon<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let polled = match std::mem::replace(&mut *self, Self::Taken) {
            Self::Now(answer) => return Poll::Ready(answer),
            Self::Later(mut answer) => match answer.poll_unpin(task) {
                Poll::Ready(answer) => return Poll::Ready(answer),
                Poll::Pending => Self::Later(answer),
            },
            Self::Taken => panic!("an answer is taken once"),
        };
        *self = polled;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_is_at_hand_is_followed_at_once() {
        let twice = Soon::Now(2).then(|two| Soon::Now(two * 2));
        assert!(matches!(twice, Soon::Now(4)));
        assert_eq!(twice.now_or_never(), Some(4));
    }

    #[test]
    fn what_comes_later_is_followed_then() {
        let (answer, answered) = oneshot::channel();
        let mut twice = Soon::later(answered.map(Result::unwrap)).then(|two: i32| Soon::Now(two * 2));
        assert_eq!((&mut twice).now_or_never(), None);
        answer.send(2).unwrap();
        assert_eq!(twice.now_or_never(), Some(4));
    }
}
