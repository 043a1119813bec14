//! A realtime session's upstream, and its responses: each is an exchange of its own, with its own intent and tab.

use std::rc::Rc;
use std::sync::Arc;

use board::Ticket;
use dialects::{RealtimeAct, RealtimeEvent};
use domain::limits::{CHECKPOINT_BYTES, REALTIME_SOUND_BYTES_PER_TOKEN};
use domain::{Fault, FaultClass, PriceTerms, Principal, Units, Usage, UsageSource};
use egress::{Headers, Request, Socket};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;
use plan::Attempt;

use crate::answer::Served;
use crate::attempt::{Draws, draw, intent};
use crate::ceiling::ceiling;
use crate::exchange::Exchange;
use crate::failure::AttemptFailure;
use crate::open_attempt::{OpenAttempt, SentRequest};
use crate::send::record_limits;
use crate::shared::check_shared_event;
use crate::upstream::{check_status, destination, forwarded_headers};

/// A session that an upstream accepted.
pub struct OpenSession {
    pub socket: Socket,
    /// The first response, which was admitted with the session.
    pub first: RealtimeResponse,
    /// Empty, with capacity for the response headers.
    pub header_map: HeaderMap,
    /// The upstream headers that a client may see.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
}

/// The seat that a session is bound to: its responses come from nowhere else.
#[derive(Debug, Clone)]
pub struct SessionSeat {
    principal: Principal,
    provider: Arc<str>,
    upstream_model: Arc<str>,
    base_url: Arc<str>,
}

impl SessionSeat {
    /// Checks whether a client's event may go to an account that several workspaces share: it must be
    /// readable in full, and may not name objects that are stored there.
    ///
    /// # Errors
    /// The fault says what may not.
    pub fn check_event(&self, event: &[u8]) -> Result<(), Box<Fault>> {
        match self.principal {
            Principal::Account(_) => check_shared_event(&self.provider, &self.base_url, event),
            Principal::Credential(_) | Principal::Subscription(_) | Principal::Node(_) => Ok(()),
        }
    }

    pub(crate) fn is_of(&self, attempt: &Attempt) -> bool {
        attempt.principal() == self.principal
            && *attempt.upstream_model() == *self.upstream_model
            && *attempt.base_url() == *self.base_url
    }
}

/// A response in progress. If dropped before `end`, its tab closes itself as left by the client.
pub struct RealtimeResponse {
    exchange: Rc<Exchange>,
    attempt: Rc<Attempt>,
    open: OpenAttempt,
    tab: Tab,
    served: Served,
    /// The bytes of input that the model has had so far.
    prompt_bytes: u64,
    text_bytes: u64,
    sound_bytes: u64,
    bytes_out: u64,
    checkpoint_bytes: u64,
    has_started: bool,
}

/// What remains of a response that ended, for closing its tab.
pub struct RealtimeResponseEnd {
    pub tab: Tab,
    pub usage: Usage,
    pub bytes_out: u64,
    pub fallback_used: bool,
}

impl RealtimeResponse {
    pub(crate) fn new(
        exchange: Rc<Exchange>,
        attempt: Rc<Attempt>,
        open: OpenAttempt,
        tab: Tab,
        served: Served,
    ) -> Self {
        Self {
            prompt_bytes: exchange.call.request().prompt_bytes,
            exchange,
            attempt,
            open,
            tab,
            served,
            text_bytes: 0,
            sound_bytes: 0,
            bytes_out: 0,
            checkpoint_bytes: 0,
            has_started: false,
        }
    }

    pub fn seat(&self) -> SessionSeat {
        SessionSeat {
            principal: self.attempt.principal(),
            provider: Arc::clone(self.attempt.provider_shared()),
            upstream_model: Arc::clone(self.attempt.upstream_model_shared()),
            base_url: self.attempt.base_url().into(),
        }
    }

    pub const fn served(&self) -> &Served {
        &self.served
    }

    pub const fn tab(&self) -> &Tab {
        &self.tab
    }

    /// Whether the upstream has reported that the response started.
    pub const fn has_started(&self) -> bool {
        self.has_started
    }

    /// Sets how much input the model has had when the response starts.
    pub const fn set_prompt_bytes(&mut self, prompt_bytes: u64) {
        self.prompt_bytes = prompt_bytes;
    }

    /// An event of the response passes, which has this many bytes.
    pub fn record_event(&mut self, event: &RealtimeEvent, bytes: u64) {
        let now_us = self.exchange.now_us();
        self.bytes_out = self.bytes_out.saturating_add(bytes);
        match event.act() {
            RealtimeAct::Created => {
                self.has_started = true;
                self.open.record_start(200, now_us);
            }
            RealtimeAct::TextDelta => self.text_bytes = self.text_bytes.saturating_add(event.delta_bytes),
            RealtimeAct::SoundDelta => self.sound_bytes = self.sound_bytes.saturating_add(event.delta_bytes),
            _ => return,
        }
        let timeline = self.tab.timeline_mut();
        if event.act() != RealtimeAct::Created && timeline.first_byte_us == 0 {
            timeline.first_byte_us = now_us.saturating_sub(self.exchange.call.received_us());
        }
        if self.bytes_out - self.checkpoint_bytes >= CHECKPOINT_BYTES {
            self.checkpoint_bytes = self.bytes_out;
            self.tab.checkpoint(self.estimate(), self.bytes_out);
        }
    }

    /// It ended well, or as far as the client wanted it. `reported` is what the upstream counted.
    pub fn end(mut self, reported: Option<Usage>) -> RealtimeResponseEnd {
        let usage = self.usage(reported);
        self.open.close(&mut self.tab, &usage, self.exchange.now_us());
        Self::ended(self.tab, usage, self.bytes_out, &self.served)
    }

    /// It failed.
    pub fn fail(mut self, reported: Option<Usage>, fault: Fault) -> RealtimeResponseEnd {
        let usage = self.usage(reported);
        self.open.end_as_failed(&mut self.tab, &AttemptFailure::new(fault), usage, self.exchange.now_us());
        Self::ended(self.tab, usage, self.bytes_out, &self.served)
    }

    const fn ended(tab: Tab, usage: Usage, bytes_out: u64, served: &Served) -> RealtimeResponseEnd {
        RealtimeResponseEnd { tab, usage, bytes_out, fallback_used: served.fallback_used }
    }

    /// Usage that was not reported is estimated if the response had started; else nothing was used.
    fn usage(&self, reported: Option<Usage>) -> Usage {
        match reported.filter(|usage| !usage.is_nothing()) {
            Some(usage) => usage,
            None if self.has_started => self.estimate(),
            None => Usage::default(),
        }
    }

    fn estimate(&self) -> Usage {
        let audio_out = self.sound_bytes / REALTIME_SOUND_BYTES_PER_TOKEN;
        let units = Units { audio_out, ..Units::default() };
        let ratios = self.exchange.deps.estimates.ratios();
        let ratio = ratios.of(self.attempt.provider(), self.attempt.upstream_model());
        Usage {
            input: ratio.prompt_tokens(self.prompt_bytes),
            output: ratio.answer_tokens(self.text_bytes),
            units,
            source: UsageSource::Estimate,
            ..Usage::default()
        }
    }
}

/// Requests a session, and separates it from a refusal.
pub(crate) async fn handshake(
    exchange: &Exchange,
    attempt: &Attempt,
    request: &Request,
) -> Result<(Headers, Socket), AttemptFailure> {
    let (slug, seat, deps) = (attempt.provider(), attempt.seat(), &exchange.deps);
    let key = {
        let [left, right] = [deps.world.random.next_u64(), deps.world.random.next_u64()];
        framing::websocket::key(((u128::from(left) << 64) | u128::from(right)).to_be_bytes())
    };
    let upgraded = deps.egress.open_socket(request, destination(seat), &key).await;
    match upgraded.map_err(|error| AttemptFailure::egress(&error, slug))? {
        egress::Upgrade::Open(headers, socket) => {
            record_limits(exchange, attempt, &headers);
            Ok((headers, socket))
        }
        egress::Upgrade::Answered(answer) => {
            let judged = check_status(deps, slug, seat, answer, |headers| {
                record_limits(exchange, attempt, headers);
                forwarded_headers(headers, seat, exchange.dialect().grammar()).into()
            });
            match judged.await {
                Ok(_) => Err(AttemptFailure::broken(slug, "it didn't open the requested realtime session")
                    .not_retryable()),
                Err(failure) => Err(exchange.rewrite_not_found(failure)),
            }
        }
    }
}

/// Writes the intent of a further response. Nothing is sent: the client's own event requests it.
pub(crate) async fn begin(
    exchange: &Exchange,
    body: &[u8],
    attempt: &Rc<Attempt>,
    tab: &mut Tab,
    ticket: Ticket,
) -> Result<OpenAttempt, Box<Fault>> {
    let ceiling = tab.has_budgets().then(|| ceiling(exchange, attempt, body));
    let prompt_bytes = exchange.call.request().prompt_bytes;
    // Boxed: few credentials have a commitment, and every future is as large as what is awaited inline.
    if attempt.commitment().is_some() {
        let how = Draws { can_spill: false, may_wait: true };
        Box::pin(draw(exchange, attempt, tab, PriceTerms::default(), how)).await;
    }
    let started = tab.start_attempt(intent(attempt, prompt_bytes, PriceTerms::default(), ceiling)).await?;
    let sent = SentRequest {
        is_native: false,
        terms: PriceTerms::default(),
        grammar: Some(exchange.dialect().grammar()),
        vendor: None,
        dropped: Box::default(),
    };
    Ok(OpenAttempt::new(exchange, attempt, ticket, started, sent))
}

/// The fault for a session whose seat may no longer be used.
pub(crate) fn seat_gone() -> Fault {
    let message = "The credential or account of this session may no longer be used.";
    Fault::new(FaultClass::Conflict, "realtime_seat_gone", message).fix("Open the session again.")
}
