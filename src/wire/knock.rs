//! Signing a delivery as its receiver takes it: what is thought best first, and once more another way when it says no.

use super::challenge;
use super::deliver::{Deliverer, report};
use super::signers::Pen;
use super::transport::{Request, Response};
use crate::actors::errands::Report;
use crate::actors::scheme::Scheme;

/// Why a request was not sent: a header of ours cannot be signed.
fn unsignable(error: &super::base::BaseError) -> Report {
    Report::Impossible { reason: format!("the request cannot be signed: {error}") }
}

impl Deliverer {
    /// Sends a request to a peer that is `known` to take a scheme, or not known at all, and has refused it `refusals`
    /// times. The report says which scheme turned out to be right, when that is worth remembering.
    pub(super) async fn knock(&self, request: Request, known: Option<Scheme>, refusals: u32) -> Report {
        self.knock_with(&self.signers.pen(), request, known, refusals).await
    }

    /// The same with keys that need not be the newest.
    pub(super) async fn knock_with(&self, pen: &Pen, request: Request, known: Option<Scheme>, refusals: u32) -> Report {
        let peer = request.url.authority();
        let now = self.clock.now();
        if let Some(pair) = self.signers.pair(&peer) {
            return match pair.sign(request, now) {
                Ok(signed) => report(&self.transport.send(signed).await),
                Err(error) => unsignable(&error),
            };
        }
        let alike = || if self.keys.takes_ed25519(&peer) { Scheme::Ed25519 } else { Scheme::Rsa };
        let [first, second] = known.or(self.sign_with).unwrap_or_else(alike).to_try(refusals);
        let signed = match pen.sign(first, request.clone(), now).await {
            Ok(signed) => signed,
            Err(error) => return unsignable(&error),
        };
        let answer = self.transport.send(signed).await;
        let Some(refusal) = answer.as_ref().ok().filter(|answer| is_no(answer, known)) else {
            // That the usual way works says nothing of better ones, which a document may promise later.
            let settled = known != Some(first) && (first != Scheme::Rsa || known.is_some());
            return with(report(&answer), settled.then_some(first));
        };
        let asked = challenge::answer(refusal, pen, &request, now);
        let (scheme, signed) = match asked {
            Some(asked) => asked,
            None => match pen.sign(second, request, now).await {
                Ok(signed) => (second, signed),
                Err(error) => return unsignable(&error),
            },
        };
        match self.transport.send(signed).await {
            // The first is what the peer is thought to take, so that its reason is the better one.
            Ok(again) if is_no(&again, known) => report(&answer),
            again => with(report(&again), Some(scheme)),
        }
    }
}

/// Whether an answer may mean the signature. Lemmy says 400 to one that it cannot read, so that this counts until it is
/// known what the peer takes.
fn is_no(answer: &Response, known: Option<Scheme>) -> bool {
    matches!(answer.status, 401 | 403) || (answer.status == 400 && known.is_none())
}

/// The report of a delivery that arrived, with what it shows about the peer.
fn with(report: Report, learned: Option<Scheme>) -> Report {
    match report {
        Report::Answered { status: status @ 200..=299, detail, retry_after, .. } => {
            Report::Answered { status, detail, retry_after, scheme: learned }
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "knock_tests.rs"]
mod tests;
