//! Answers that providers store: records who made each, and books the usage of one that was made in the
//! background with the request that first sees its end.

use std::task::{Context, Poll, ready};

use conversation::request::StoredAct;
use decode::Call;
use dialects::{AnswerStream, BufferedAnswer, ProviderResponse};
use domain::ports::{FoundResponse, PortFuture, ResponseName, StoredResponse};
use domain::{Drawn, Fault, FaultClass, Nanos, PriceTerms, Usage};
use ledger::ReservationHandover;
use operations::{AnsweredCall, Booking, Subject};
use plan::Attempt;

use crate::exchange::{Exchange, HeldRequest};
use crate::failure::AttemptFailure;
use crate::usage::{Known, Outcome, usage};

impl Exchange {
    pub(crate) fn booking(&self, is_stored_by_provider: bool, is_granted: bool) -> Booking {
        self.call.spec().booking(&AnsweredCall {
            request: self.call.request(),
            found: self.call.found_response(),
            is_stored_by_provider,
            is_granted,
        })
    }

    /// Whether the provider stores the answer. A translated one is not stored.
    pub(crate) fn is_stored_by_provider(&self, is_native: bool) -> bool {
        self.call.request().stores_answer && is_native && self.call.spec().facts().stores_answers
    }

    /// Whether it makes an answer that may end after it: the budgets that apply count it then.
    pub(crate) fn makes_background_answer(&self, is_native: bool) -> bool {
        self.call.request().is_background && self.is_stored_by_provider(is_native)
    }

    /// What is known of the usage of its attempts, whichever seat was asked.
    pub(crate) fn known(&self, booking: Booking) -> Known {
        Known {
            booking,
            subject: self.call.spec().facts().subject,
            is_upstream_estimate: false,
            characters: self.call.request().units.characters,
            head_units: None,
            is_sold_by_units: false,
            head_tier: None,
            terms: PriceTerms::default(),
            grammar: self.dialect().grammar(),
        }
    }

    /// The usage of an attempt that brought no content.
    pub(crate) fn usage_without_answer(
        &self,
        held: &HeldRequest,
        attempt: &Attempt,
        failure: &AttemptFailure,
    ) -> Usage {
        let gave_up =
            matches!(failure.class(), FaultClass::Timeout | FaultClass::Deadline | FaultClass::Cancelled);
        let may_bill = failure.request_sent && gave_up;
        // Who books an answer makes no difference where there is none.
        let (booking, outcome) = match failure.used.as_deref() {
            Some(used) => (Booking::Own, Outcome::Answered { reported: Some(*used), content_bytes: 0 }),
            None => (Booking::Never, Outcome::Silent { billed: failure.billed, may_bill }),
        };
        usage(&self.known(booking), outcome, || self.estimate(held, attempt, "", 0))
    }

    /// Records who made an answer.
    pub(crate) fn keep_response(
        &self,
        id: &str,
        attempt: &Attempt,
        is_booked: bool,
        holds: Vec<Drawn>,
    ) -> PortFuture<'static, bool> {
        let response = StoredResponse {
            request: self.trace(),
            created_by: attempt.principal(),
            model: (**self.model_of(attempt)).to_owned(),
            upstream_model: attempt.upstream_model().to_owned(),
            is_booked,
        };
        self.deps.responses.keep_with_holds(self.name(id), response, holds)
    }

    /// Requests the right to book an answer's usage.
    pub(crate) fn claim_booking(&self, id: &str) -> PortFuture<'static, bool> {
        self.deps.responses.book(self.name(id), self.trace())
    }

    /// Gives back a right that comes too late, since the client has left. It is queued behind the request for
    /// it, so that the next request to read the answer finds it available.
    pub(crate) fn release_booking(&self, id: &str, claim: PortFuture<'static, bool>) {
        drop(claim);
        self.deps.responses.unbook(self.name(id), self.trace());
    }

    fn name(&self, id: &str) -> ResponseName {
        let (workspace, project) = (self.caller.workspace().id, self.caller.project().id);
        ResponseName { workspace, project, id: id.to_owned() }
    }

    /// The id of the stored answer that this exchange is about, if it is about one.
    pub(crate) fn stored_id(&self) -> Option<&str> {
        let stored = self.call.request().stored.as_deref()?;
        (self.call.spec().facts().subject == Subject::StoredAnswer).then_some(stored.id.as_str())
    }

    /// Rewrites a provider's not-found for a stored answer, which would read as if a model were missing.
    pub(crate) fn rewrite_not_found(&self, failure: AttemptFailure) -> AttemptFailure {
        let Some(id) = self.stored_id().filter(|_| failure.class() == FaultClass::UpstreamNotFound) else {
            return self.rewrite_object_not_found(self.rewrite_cache_not_found(failure));
        };
        let message = format!("Response with id '{id}' not found.");
        let gone = Fault::new(FaultClass::NotFound, "response_not_found", message)
            .fix("The provider no longer has it: it was deleted or has expired.");
        let gone = match &failure.fault.upstream {
            Some(report) => gone.upstream((**report).clone()),
            None => gone,
        };
        AttemptFailure { fault: Box::new(gone), ..failure }
    }
}

/// Does the bookkeeping for stored answers before the client is sent a buffered one, and returns who books it.
pub(crate) async fn record_answer(
    exchange: &Exchange,
    attempt: &Attempt,
    (is_stored_by_provider, handover): (bool, Option<&ReservationHandover>),
    whole: BufferedAnswer,
) -> (BufferedAnswer, Booking) {
    let booking = match exchange.stored_id() {
        Some(id) => record_read(exchange, id, whole.facts.usage.is_some()).await,
        None => {
            let made = whole.provider_response.as_deref();
            // Only this request knows the id so far, so no other has seen its end.
            let is_granted = made.is_none_or(|made| made.is_over);
            let booking = exchange.booking(is_stored_by_provider, is_granted);
            if let Some(made) = made {
                note_made(exchange, attempt, (made, handover), booking).await;
            }
            booking
        }
    };
    (whole, booking)
}

async fn record_read(exchange: &Exchange, id: &str, reports_usage: bool) -> Booking {
    let booking = match exchange.booking(false, false) {
        Booking::Once { .. } if reports_usage => {
            Booking::Once { is_granted: exchange.claim_booking(id).await }
        }
        booking => booking,
    };
    let stored = exchange.call.request().stored.as_ref();
    if stored.is_some_and(|stored| stored.act == StoredAct::Delete) {
        exchange.deps.responses.forget(exchange.name(id));
    }
    booking
}

async fn note_made(
    exchange: &Exchange,
    attempt: &Attempt,
    (made, handover): (&ProviderResponse, Option<&ReservationHandover>),
    booking: Booking,
) {
    let is_booked = made.is_over || booking == Booking::Own;
    // What is reserved of budgets stays so until whoever sees its end books it.
    let handover = handover.filter(|_| !is_booked);
    let holds = handover.map(|handover| handover.parts.clone()).unwrap_or_default();
    let kept = exchange.keep_response(&made.id, attempt, is_booked, holds);
    if !exchange.call.request().is_background {
        drop(kept);
        return;
    }
    // Its client polls at once, and perhaps at another replica.
    if let (true, Some(handover)) = (kept.await, handover) {
        handover.take();
    }
}

/// Refuses a previous answer that is not on record here: in a shared account it may be another workspace's.
pub(crate) fn check_previous(call: &Call) -> Result<(), Box<Fault>> {
    let unknown = call.request().stored.as_ref().filter(|stored| {
        stored.act == StoredAct::Continue && !matches!(call.found_response(), Some(FoundResponse::Known(_)))
    });
    let Some(stored) = unknown else { return Ok(()) };
    let printable: String = stored.id.chars().filter(|letter| !letter.is_control()).take(128).collect();
    let message = format!("Previous response with id '{printable}' not found.");
    let fault = Fault::new(FaultClass::BadRequest, "previous_response_not_found", message);
    let fix = "Use the ID of a stored response that this project created here, or send the whole conversation in \"input\".";
    Err(Box::new(fault.param("previous_response_id").fix(fix)))
}

/// The bookkeeping for a stored answer while it is streamed.
pub(crate) struct StoredAnswerTracker {
    is_stored_by_provider: bool,
    is_kept: bool,
    /// The request for the right to book it; until it is decided, the client is not sent the end.
    claim: Option<PortFuture<'static, bool>>,
    is_claimed: bool,
    /// This exchange books the usage of an answer whose end other requests may see too.
    is_granted: bool,
}

impl StoredAnswerTracker {
    pub(crate) const fn new(is_stored_by_provider: bool) -> Self {
        Self { is_stored_by_provider, is_kept: false, claim: None, is_claimed: false, is_granted: false }
    }

    /// Whether there is anything to note.
    pub(crate) fn is_needed(&self, exchange: &Exchange) -> bool {
        self.is_stored_by_provider || exchange.stored_id().is_some()
    }

    pub(crate) fn booking(&self, exchange: &Exchange) -> Booking {
        exchange.booking(self.is_stored_by_provider, self.is_granted)
    }

    /// More of the stream was read. Of the budgets that apply, an answer in the background holds a part of nothing: whoever sees
    /// its end first books it in them.
    pub(crate) fn note(
        &mut self,
        exchange: &Exchange,
        attempt: &Attempt,
        (stream, handover): (&AnswerStream, Option<&ReservationHandover>),
    ) {
        let is_once = matches!(self.booking(exchange), Booking::Once { .. });
        if !self.is_kept
            && let Some(id) = stream.id().filter(|_| self.is_stored_by_provider)
        {
            self.is_kept = true;
            let parts = handover.filter(|_| is_once).into_iter().flat_map(|handover| &handover.parts);
            let holds = parts.map(|part| Drawn { amount: Nanos::ZERO, ..*part }).collect();
            drop(exchange.keep_response(id, attempt, !is_once, holds));
        }
        if self.is_claimed || !is_once || stream.facts().usage.is_none() {
            return;
        }
        if let Some(id) = exchange.stored_id().or_else(|| stream.id()) {
            (self.is_claimed, self.claim) = (true, Some(exchange.claim_booking(id)));
        }
    }

    pub(crate) fn poll_booking_claim(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(claim) = &mut self.claim {
            self.is_granted = ready!(claim.as_mut().poll(cx));
            self.claim = None;
        }
        Poll::Ready(())
    }

    /// The client wants no more: a right that is granted now is given back. What is reserved for an answer that goes on without its
    /// client stays so until it is booked.
    pub(crate) fn end(
        &mut self,
        exchange: &Exchange,
        stream: &AnswerStream,
        handover: Option<&ReservationHandover>,
    ) {
        let Some(id) = exchange.stored_id().or_else(|| stream.id()) else { return };
        if let Some(claim) = self.claim.take() {
            exchange.release_booking(id, claim);
        }
        let goes_on = self.is_kept && self.booking(exchange) == Booking::Once { is_granted: false };
        if let Some(handover) = handover.filter(|_| goes_on)
            && exchange.deps.responses.hold(exchange.name(id), handover.parts.clone())
        {
            handover.take();
        }
    }
}
