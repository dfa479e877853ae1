//! The trace that a task works for: set around a request or an errand, and handed on by whatever it asks and sends.

use futures_util::future::Either;

use crate::domains::trace::Context;

tokio::task_local! {
    static TRACE: Context;
}

/// The trace that this task works for, if it is known.
pub fn trace() -> Option<Context> {
    TRACE.try_with(Clone::clone).ok()
}

/// Does some work for a trace.
pub fn within<F: Future>(trace: Option<Context>, work: F) -> impl Future<Output = F::Output> {
    match trace {
        Some(trace) => Either::Left(TRACE.scope(trace, work)),
        None => Either::Right(work),
    }
}
