//! One round of a stream: everything that came meanwhile, decided in order on one standing, committed as one batch.

use futures_util::future::join_all;

use super::once::{Answer, Done};
use super::queue::{Pending, Reply, Work};
use super::{Current, OpError, Shared, TRIES_MAX, layout, streams};
use crate::store::streams::{Expected, Standing, Streams};
use crate::store::{Batch, Position};

/// Answers everybody of a round once it is on disk. Gives where the stream stands then, if that is known.
pub(super) async fn run(
    shared: &Shared,
    stream: &str,
    mut round: Vec<Pending>,
    mut known: Option<Standing>,
) -> Option<Standing> {
    for _ in 0..TRIES_MAX {
        round = without_repeats(shared, round).await;
        let standing = match known.take() {
            Some(standing) => standing,
            None => match shared.streams().standing(shared.engine(), stream).await {
                Ok(standing) => standing,
                Err(error) => return fail(round, &streams::of_library(error, stream)),
            },
        };
        let decided = decide(shared, stream, &round, standing);
        if decided.batch.puts.is_empty() {
            tell(round, decided.results, Position::default());
            return Some(standing);
        }
        match shared.commit(decided.batch).await {
            Ok(Ok(version)) => {
                tell(round, decided.results, version);
                return Some(decided.after.at(version));
            }
            // Somebody outside of this queue was quicker: look again.
            Ok(Err(_)) => {}
            Err(error) => return fail(round, &error),
        }
    }
    fail(round, &OpError::Busy(format!("the stream {stream}")))
}

/// Answers those whose key has an answer, and gives the others. Between this and the commit nobody else decides for
/// the stream, and a batch that another process outran comes by here again.
async fn without_repeats(shared: &Shared, round: Vec<Pending>) -> Vec<Pending> {
    let answers = join_all(round.iter().map(|pending| shared.earlier(pending.once.as_ref()))).await;
    let mut left = Vec::with_capacity(round.len());
    for (pending, answer) in round.into_iter().zip(answers) {
        match answer {
            Ok(None) => left.push(pending),
            Ok(Some(answer)) => reply(pending.reply, Ok(answer)),
            Err(error) => reply(pending.reply, Err(error)),
        }
    }
    left
}

/// What a round comes to.
struct Decided {
    batch: Batch,
    after: Standing,
    results: Vec<Result<Done, Current>>,
}

fn decide(shared: &Shared, stream: &str, round: &[Pending], standing: Standing) -> Decided {
    let streams = shared.streams();
    let mut after = standing;
    let mut batch = Batch { fence: shared.owner.fence(), ..Batch::default() };
    let mut results = Vec::with_capacity(round.len());
    for pending in round {
        let result = apply(&streams, stream, &mut after, &mut batch, &pending.work);
        if let (Some(once), Ok(done)) = (&pending.once, &result) {
            once.record(&mut batch, shared.clock.now(), done);
        }
        results.push(result);
    }
    if after != standing {
        let counter = streams.counter_batch(stream, standing, after);
        batch.conditions.extend(counter.conditions);
        batch.puts.extend(counter.puts);
    }
    Decided { batch, after, results }
}

/// Does one request on the standing that those before it left.
fn apply(
    streams: &Streams,
    stream: &str,
    standing: &mut Standing,
    batch: &mut Batch,
    work: &Work,
) -> Result<Done, Current> {
    match work {
        Work::Append { expected, values } => {
            let wanted = match expected {
                Expected::Any => standing.last,
                Expected::None => 0,
                Expected::Exactly(last) => *last,
            };
            if wanted != standing.last {
                return Err(Current::Stream { first: standing.first, last: standing.last });
            }
            let first = standing.last + 1;
            let numbered = (first..).zip(values);
            batch.puts.extend(numbered.map(|(number, value)| (streams.record_key(stream, number), value.clone())));
            standing.last += values.len() as u64;
            Ok(Done::Appended { first, last: standing.last })
        }
        Work::Truncate { before } => {
            standing.first = standing.first.max((*before).min(standing.last + 1));
            Ok(Done::Truncated { first: standing.first, last: standing.last })
        }
    }
}

fn tell(round: Vec<Pending>, results: Vec<Result<Done, Current>>, version: Position) {
    for (pending, result) in round.into_iter().zip(results) {
        let answer = result.map(|done| Answer { done, version, repeated: false });
        reply(pending.reply, answer.map_err(OpError::Conflict));
    }
}

fn fail(round: Vec<Pending>, error: &OpError) -> Option<Standing> {
    round.into_iter().for_each(|pending| reply(pending.reply, Err(error.clone())));
    None
}

/// Whoever asked may have left; what was done stays done.
fn reply(to: Reply, answer: Result<Answer, OpError>) {
    drop(to.send(answer));
}

impl Shared {
    pub(super) fn streams(&self) -> Streams {
        Streams::under(layout::streams(), self.owner.fence())
    }
}
