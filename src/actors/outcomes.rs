//! What becomes of the commits of an actor, told to it in their order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{self, Poll, Waker, ready};

use actix::{ActorFuture, Context};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::entity::Entity;
use super::host::Host;
use crate::store::Outcome;

/// Outcomes taken before others on the arbiter get their time.
const OUTCOMES_AT_ONCE: usize = 64;

/// The commits of an actor that have no outcome yet, answered in their order whatever the order they are known in.
#[derive(Default)]
pub(super) struct Outcomes {
    waiting: VecDeque<BoxFuture<'static, Outcome>>,
    /// Who polled when there was none, so that the next commit is looked at too.
    poller: Option<Waker>,
}

impl Outcomes {
    pub(super) fn push(&mut self, outcome: BoxFuture<'static, Outcome>) {
        self.waiting.push_back(outcome);
        if let Some(poller) = self.poller.take() {
            poller.wake();
        }
    }

    fn poll(&mut self, task: &mut task::Context<'_>) -> Poll<Outcome> {
        let Some(first) = self.waiting.front_mut() else {
            self.poller = Some(task.waker().clone());
            return Poll::Pending;
        };
        let outcome = ready!(first.poll_unpin(task));
        self.waiting.pop_front();
        Poll::Ready(outcome)
    }
}

/// Takes outcomes as they become known, for the whole of a life. A future for each of them in actix's own list would be
/// polled in any order, and one turn would be told what became of another.
pub(super) struct Settling;

impl<E: Entity> ActorFuture<Host<E>> for Settling {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        host: &mut Host<E>,
        ctx: &mut Context<Host<E>>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        for _ in 0..OUTCOMES_AT_ONCE {
            match host.outcomes.poll(task) {
                Poll::Ready(outcome) => host.settled(outcome, ctx),
                Poll::Pending => return Poll::Pending,
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}
