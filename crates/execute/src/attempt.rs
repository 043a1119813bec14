//! One attempt: get the board's permission, write the request, journal the intent, sign.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use board::{Availability, AvailabilityView, Ticket};
use decode::Call;
use domain::{Fault, FaultClass, Operation, PriceTerms, Usage};
use egress::Request;
use http::header::{HeaderName, HeaderValue};
use ledger::{CommitmentDraw, Intent, Tab};
use plan::{Attempt, Seat};
use providers::Outgoing;

use crate::ceiling::{batch_rates, ceiling, expected_input};
use crate::exchange::{Exchange, HeldRequest};
use crate::failure::AttemptFailure;
use crate::limits::PROMPT_BYTES_PER_TOKEN;
use crate::open_attempt::{OpenAttempt, SentRequest};
use crate::outgoing::Written;
use crate::upstream::{REQUEST_ID, request_of, sign};
use crate::{batch_file, caching, outgoing, recording, requests_file, shared, stored, terms};

/// How an attempt starts.
pub(crate) enum Start {
    Ready(OpenAttempt, Request),
    /// It is journaled, and failed before a byte was sent.
    Failed(OpenAttempt, AttemptFailure),
    /// It can't be tried at all, on this seat or another.
    Refused(Box<Fault>),
    /// The commitment of its credential is used up, and an overflow follows.
    Spilled,
}

/// Asks the board for permission to call a seat.
pub(crate) fn claim(
    exchange: &Exchange,
    attempt: &Attempt,
    is_last: bool,
    now_us: u64,
) -> Result<Ticket, Availability> {
    // What it will use is not known before it is answered: the prompt alone is.
    let tokens = exchange.call.request().prompt_bytes / PROMPT_BYTES_PER_TOKEN;
    exchange.deps.board.claim(&attempt.seat_key(), tokens, is_last, now_us)
}

/// Writes the intent, opens the credential and signs the request. The plaintext is gone when this returns.
pub(crate) fn begin(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Rc<Attempt>,
    tab: &mut Tab,
    ticket: Ticket,
    can_spill: bool,
) -> impl Future<Output = Start> {
    start(exchange, held, attempt, tab, ticket, StartMode { can_spill, is_beside: false })
}

/// The same beside an attempt that runs: what is reserved covers both.
pub(crate) fn begin_beside(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Rc<Attempt>,
    tab: &mut Tab,
    ticket: Ticket,
) -> impl Future<Output = Start> {
    start(exchange, held, attempt, tab, ticket, StartMode { can_spill: false, is_beside: true })
}

/// How an attempt starts.
struct StartMode {
    /// Whether it may be left to an overflow where its commitment is used up.
    can_spill: bool,
    /// It runs beside another, and what is reserved covers both.
    is_beside: bool,
}

async fn start(
    exchange: &Exchange,
    held: &mut HeldRequest,
    attempt: &Rc<Attempt>,
    tab: &mut Tab,
    ticket: Ticket,
    StartMode { can_spill, is_beside }: StartMode,
) -> Start {
    let deps = &exchange.deps;
    let provider = providers::provider(attempt.provider());
    let is_spoken = match check(&exchange.call, attempt, &held.body) {
        Ok(is_spoken) => is_spoken,
        Err(fault) => return Start::Refused(fault),
    };
    let is_renamed = requests_file::is_renamed(exchange);
    let gathered = if is_renamed { Some(requests_file::MOST) } else { most_of_recording(exchange, attempt) };
    // Boxed: few requests need it, and every future is as large as what is awaited inline.
    if let Some(most) = gathered
        && let Err(fault) = Box::pin(recording::gather(exchange, &mut held.body, most)).await
    {
        return Start::Refused(fault);
    }
    // Boxed: few requests are translated, and every future is as large as what is awaited inline.
    let prompt =
        if is_spoken { Ok(None) } else { Box::pin(outgoing::prompt_for(exchange, held, attempt)).await };
    let outgoing =
        prompt.and_then(|prompt| outgoing::write(exchange, held, attempt, provider, prompt.as_deref()));
    let Written { mut outgoing, caching, context, keep_alive } = match outgoing {
        Ok(written) => written,
        Err(fault) => return Start::Refused(fault),
    };
    if is_renamed || exchange.call.may_be_pooled() {
        let written = std::mem::take(&mut outgoing.body);
        outgoing.body = Box::pin(requests_file::rewrite(exchange, attempt, provider, written)).await;
    }
    if exchange.tracks_prefixes {
        caching::note_at_seat(exchange, attempt, provider, &held.body, caching.as_ref());
    }
    let is_marked = caching.as_ref().is_some_and(|caching| caching.marks > 0);
    tab.caching(caching);
    let terms = terms::sent(exchange.call.request().terms, is_spoken, &outgoing.dropped);
    // Boxed: few credentials have a commitment, and every future is as large as what is awaited inline.
    let how = Draws { can_spill: can_spill || is_beside, may_wait: !is_beside };
    if attempt.commitment().is_some() && !Box::pin(draw(exchange, attempt, tab, terms, how)).await {
        return Start::Spilled;
    }
    let intent = bounded_intent(exchange, held, attempt, tab, &outgoing, (terms, is_beside, is_marked)).await;
    let started = match tab.start_attempt(intent).await {
        Ok(started) => started,
        Err(fault) => return Start::Refused(fault),
    };
    let sent = SentRequest {
        is_native: is_spoken,
        terms,
        grammar: outgoing.grammar,
        vendor: outgoing.answer.take(),
        dropped: dropped_params(exchange, &mut outgoing),
    };
    let mut open = OpenAttempt::new(exchange, attempt, ticket, started, sent);
    open.set_caches(context, keep_alive);
    if exchange.makes_what_is_booked_later() || exchange.makes_background_answer(is_spoken) {
        open.set_handover(tab.hand_over());
    }
    match sign(deps, attempt.seat(), provider, attempt.provider(), attempt.base_url(), &mut outgoing).await {
        Ok(token) => open.set_token(token),
        Err(failure) => return Start::Failed(open, failure),
    }
    outgoing.headers.extend(id_for(exchange, attempt));
    match request_of(&deps.egress, outgoing) {
        Ok(mut request) => {
            let rest = exchange.call.upload().filter(|_| gathered.is_none());
            request.body = request.body.followed_by(rest.cloned());
            Start::Ready(open, request)
        }
        Err(fault) => Start::Failed(open, AttemptFailure::of_us(fault)),
    }
}

/// The intent with what bounds its cost, if budgets apply: the most that it can use, and near the end of one what its prompt is
/// expected to have. Marks for a cache make what is written dearer, by how much the price alone says.
async fn bounded_intent(
    exchange: &Exchange,
    held: &HeldRequest,
    attempt: &Attempt,
    tab: &Tab,
    outgoing: &Outgoing,
    (terms, is_beside, is_marked): (PriceTerms, bool, bool),
) -> Intent {
    let makes_batch = exchange.call.operation() == Operation::Batch && exchange.makes_what_is_booked_later();
    // Boxed: few requests make a batch, and every future is as large as what is awaited inline.
    let of_file = if tab.has_budgets() && makes_batch {
        Box::pin(batch_file::most_used(exchange, attempt, &outgoing.body)).await
    } else {
        None
    };
    let in_call = || ceiling(exchange, attempt, &held.body);
    let most = tab.has_budgets().then(|| of_file.map_or_else(in_call, |(most, _)| most));
    let most = most.map(|most| if is_beside { most.plus(most) } else { most });
    let mut intent = intent(attempt, exchange.call.request().prompt_bytes, terms, most);
    if let Some(batch) = exchange.call.request().batch().filter(|_| most.is_some()) {
        intent.rates = batch_rates(exchange, attempt, batch).or(intent.rates);
    }
    intent.rates = of_file.and_then(|(_, rates)| rates).or(intent.rates);
    if tab.is_near_an_end(&intent) {
        intent.patience = exchange.time_left();
        if !is_marked && !is_beside {
            let text = (&held.body, held.prompt.as_deref());
            let Exchange { call, caller, deps, .. } = exchange;
            intent.expected_input = expected_input(call, caller, attempt, deps, text);
        }
    }
    intent
}

/// `None` where the recording is sent as it comes, or there is none.
fn most_of_recording(exchange: &Exchange, attempt: &Attempt) -> Option<recording::Most> {
    let (spec, provider) = (exchange.call.spec(), providers::provider(attempt.provider()));
    let has_own = || provider.has_own_format(exchange.call.operation(), attempt.upstream_model());
    (spec.facts().has_recording && has_own()).then_some(recording::MOST)
}

/// Whether the seat's provider speaks the dialect of a call.
///
/// # Errors
/// The seat may not be sent what the call names, or serves no sessions.
pub(crate) fn check(call: &Call, attempt: &Attempt, body: &[u8]) -> Result<bool, Box<Fault>> {
    let spoken = providers::provider(attempt.provider()).grammars(call.operation(), attempt.upstream_model());
    if call.spec().facts().is_session && spoken.is_empty() {
        return Err(call.spec().unsupported());
    }
    let is_spoken = spoken.contains(&call.dialect().grammar());
    // Also of a translated call: its provider knows no response.
    stored::check_previous(call)?;
    shared::check(call, attempt, body, is_spoken)?;
    if !is_spoken {
        check_files(call)?;
    }
    Ok(is_spoken)
}

/// Refuses a file that a provider keeps for one of its own clients.
fn check_files(call: &Call) -> Result<(), Box<Fault>> {
    let Some(path) = dialects::vendors_file(call.dialect().grammar(), call.request()) else { return Ok(()) };
    let message = format!("{path} names a file that its provider keeps, which no other provider can read.");
    let fix = "Send its content, or use a model that your credential at that provider serves.";
    Err(Box::new(
        Fault::new(FaultClass::Unsupported, "file_kept_elsewhere", message).fix(fix).param(path.to_owned()),
    ))
}

/// How an attempt draws on a commitment. One beside another neither waits nor goes beyond it: the answer that it is to hasten
/// would wait, too.
pub(crate) struct Draws {
    /// Whether it is given up where nothing is left.
    pub can_spill: bool,
    pub may_wait: bool,
}

/// Draws an attempt on its credential's commitment; `false` if that is used up and the attempt can spill.
pub(crate) async fn draw(
    exchange: &Exchange,
    attempt: &Attempt,
    tab: &mut Tab,
    terms: PriceTerms,
    Draws { can_spill, may_wait }: Draws,
) -> bool {
    let (Seat::Byok(credential), Some(commitment)) = (attempt.seat(), attempt.commitment()) else {
        return true;
    };
    let (deps, principal) = (&exchange.deps, attempt.principal());
    let mark = commitment.mark(exchange.call.received_unix_ms());
    let prompt_bytes = exchange.call.request().prompt_bytes;
    let rates = attempt.rates_on(terms, 0);
    // Who found it used up a moment ago waited for what others may return.
    let waits = may_wait && !deps.board.is_commitment_spent(principal, mark, deps.now_us());
    let draw = tab.draw_on_commitment(credential.id, rates, prompt_bytes, (can_spill, waits)).await;
    if draw == CommitmentDraw::Within {
        return true;
    }
    if may_wait {
        deps.board.note_spent_commitment(principal, mark, deps.now_us());
    }
    draw == CommitmentDraw::Beyond
}

/// The client's parameters that are not sent, or that nothing heeds.
fn dropped_params(exchange: &Exchange, outgoing: &mut Outgoing) -> Box<[String]> {
    let unheeded = exchange.call.unheeded().iter().cloned();
    std::mem::take(&mut outgoing.dropped).into_iter().chain(unheeded).collect()
}

/// The request id that a node receives, which separates its counts of our requests
/// from those of its other clients.
fn id_for(exchange: &Exchange, attempt: &Attempt) -> Option<(HeaderName, HeaderValue)> {
    let id = attempt.is_node().then(|| HeaderValue::try_from(&*exchange.call.trace().text()))?.ok()?;
    Some((HeaderName::from_static(REQUEST_ID), id))
}

pub(crate) fn intent(
    attempt: &Attempt,
    estimate_prompt_bytes: u64,
    terms: PriceTerms,
    ceiling: Option<Usage>,
) -> Intent {
    Intent {
        principal: attempt.seat().principal(),
        provider: Arc::clone(attempt.provider_shared()),
        upstream_model: Arc::clone(attempt.upstream_model_shared()),
        region: attempt.region_shared().cloned(),
        // A prompt that may be long is reserved as a long one, and at the requested tier: no
        // provider serves at a dearer one.
        rates: attempt.rates_on(terms, ceiling.map_or(0, |ceiling| ceiling.input)),
        markup_bps: attempt.markup_bps(),
        estimate_prompt_bytes,
        ceiling,
        expected_input: None,
        patience: Duration::ZERO,
    }
}
