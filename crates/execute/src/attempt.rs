//! One attempt: get the board's permission, journal the intent, open the
//! credential, sign, send, judge the answer.

use std::rc::Rc;
use std::sync::Arc;

use board::{Availability, Ticket, Verdict};
use bytes::Bytes;
use conversation::constraints::AnswerConstraints;
use conversation::prompt_text::UsageEstimator;
use dialects::{AnswerForm, AnswerPath, BufferedAnswer, VendorAnswer};
use domain::limits::{REFUSAL_BYTES_MAX, UPSTREAM_REQUEST_ID_BYTES_MAX};
use domain::{Fault, FaultClass, Grammar, Operation, PriceTerms, Rates, Secret, Tier, Usage};
use egress::{Answer, Destination, Headers, InBody, OutBody, Request, TargetKind};
use http::header::{HeaderName, HeaderValue};
use ledger::{AttemptEnd, Intent, StartedAttempt, Tab};
use operations::ContentType;
use plan::{Attempt, Seat};
use providers::{Outgoing, Provider, Signer};

use crate::answer::Exchange;
use crate::ceiling::ceiling;
use crate::estimate::AttemptUsageEstimator;
use crate::failure::{AttemptFailure, refusal};
use crate::usage::Known;
use crate::{Deps, lead, outgoing, queue, read, recording, shared, stored, terms};

const REQUEST_ID: &str = "x-request-id";
const DROPPED: &str = "agent-dropped-params";
/// The client's parameter for one tool call at a time, which even an upstream of
/// its own dialect may not be sent.
const ONE_CALL: &str = "parallel_tool_calls";
/// Some clients reject responses whose headers are too long.
const DROPPED_BYTES_MAX: usize = 4 * 1024;
/// A node sends this header when its token counts are estimates.
const USAGE_HEADER: &str = "x-tidegate-usage";
/// No answer reaches this many units.
const UNITS_MAX: f64 = 1e9;

/// An attempt in progress: journaled, and counted on the board.
#[derive(Debug)]
pub struct OpenAttempt {
    number: u32,
    ticket: Ticket,
    /// When the exchange was received, and when this attempt started.
    received_us: u64,
    sent_us: u64,
    content_type: ContentType,
    head: ReportedHead,
    /// The requested price terms as far as they were sent.
    terms: PriceTerms,
    /// The wire format of the request; `None` in a format of the vendor's own.
    grammar: Option<Grammar>,
    /// What reads the answer, where that is in a format of the vendor's own.
    answer: Option<Arc<dyn VendorAnswer>>,
    dropped: Box<[String]>,
    /// The planned attempt, which holds the prices.
    attempt: Rc<Attempt>,
    /// The token that signed it, if that was cached from an earlier request.
    token: Option<Arc<Secret>>,
}

/// What an upstream's response head reports.
#[derive(Debug, Default)]
struct ReportedHead {
    first_byte_us: Option<u64>,
    status: Option<u16>,
    upstream_request_id: Option<Arc<str>>,
    /// The upstream's content type, where the client should see it.
    media_type: Option<Box<HeaderValue>>,
    /// The billed units, in millionths.
    billed: Option<u64>,
    tier: Option<Tier>,
    is_usage_estimated: bool,
}

impl OpenAttempt {
    pub(crate) fn new(
        exchange: &Exchange,
        attempt: &Rc<Attempt>,
        ticket: Ticket,
        begun: StartedAttempt,
    ) -> Self {
        Self {
            number: begun.number,
            ticket,
            received_us: exchange.call.received_us(),
            sent_us: begun.at_us,
            content_type: exchange.call.spec().facts().content_type,
            head: ReportedHead::default(),
            terms: PriceTerms::default(),
            grammar: Some(exchange.dialect().grammar()),
            answer: None,
            dropped: Box::default(),
            attempt: Rc::clone(attempt),
            token: None,
        }
    }

    /// The upstream accepted a session, or started a response in one.
    pub(crate) fn record_start(&mut self, status: u16, now_us: u64) {
        self.head.status = Some(status);
        if self.head.first_byte_us.is_none() {
            let first_byte_us = now_us.saturating_sub(self.sent_us);
            self.head.first_byte_us = Some(first_byte_us);
            // Callers that wait for a health verdict should not wait for the end of a session.
            self.ticket.report(Verdict::Healthy { first_byte_us }, now_us);
        }
    }

    pub(crate) const fn sent_us(&self) -> u64 {
        self.sent_us
    }

    /// The upstream's response head arrived.
    pub(crate) fn record_head(&mut self, opened: &UpstreamResponse, now_us: u64) {
        self.head.status = Some(opened.status);
        self.head.first_byte_us = Some(now_us.saturating_sub(self.sent_us));
        let provider = providers::provider(self.attempt.provider());
        // Where an answer led to a file, that answer has the ids and units; the
        // file's own host knows neither.
        let reported_headers = opened.led_by.as_deref().unwrap_or(&opened.headers);
        self.head.upstream_request_id =
            request_id(reported_headers).or_else(|| id_of(reported_headers, provider.facts().id_header?));
        self.head.billed = billed(provider, reported_headers);
        let tier = provider.facts().tier_header.and_then(|name| reported_headers.text(name));
        self.head.tier = tier.and_then(Tier::from_word);
        if self.content_type != ContentType::Implied {
            let content_type = opened.headers.get("content-type").filter(|value| !value.is_empty());
            self.head.media_type = content_type.and_then(|value| opened.headers.share(value)).map(Box::new);
        }
        let is_node = matches!(self.attempt.seat(), Seat::Byoc(_));
        let reports_estimate = || opened.headers.get(USAGE_HEADER) == Some(b"estimated");
        self.head.is_usage_estimated = is_node && reports_estimate();
    }

    /// What is known of this attempt's usage beside its outcome.
    pub(crate) fn known(&self, exchange: &Exchange) -> Known {
        Known {
            is_upstream_estimate: self.head.is_usage_estimated,
            head_units: self.head.billed,
            is_sold_by_units: self.attempt.rates_for(0).is_some_and(|rates| rates.units.billed.is_some()),
            head_tier: self.head.tier,
            terms: self.terms,
            grammar: self.grammar.unwrap_or(Grammar::Chat),
            ..exchange.known()
        }
    }

    /// The answer's format, where its content type says so.
    pub(crate) fn form(&self) -> AnswerForm {
        AnswerForm::of(self.head.media_type.as_ref().and_then(|value| value.to_str().ok()))
    }

    /// The content type for the client: `None` where the client's dialect implies it.
    #[must_use]
    pub fn media_type(&self) -> Option<HeaderValue> {
        let own = self.answer.as_ref().and_then(|answer| answer.content_type());
        match self.form() {
            _ if own.is_some() => own.map(HeaderValue::from_static),
            _ if self.content_type != ContentType::Recognised => self.head.media_type.as_deref().cloned(),
            AnswerForm::Json => Some(HeaderValue::from_static("application/json")),
            AnswerForm::Events => Some(HeaderValue::from_static("text/event-stream; charset=utf-8")),
            AnswerForm::Text => self.head.media_type.as_deref().cloned(),
        }
    }

    /// How its answer is translated for the client.
    pub(crate) fn answer_path(&self, exchange: &Rc<Exchange>) -> AnswerPath {
        let (call, client) = (&exchange.call, exchange.dialect().grammar());
        let request = call.request();
        let make_estimator =
            || AttemptUsageEstimator { exchange: Rc::clone(exchange), attempt: Rc::clone(&self.attempt) };
        // Only a translated answer has to be given the model's name.
        let is_translated = self.grammar != Some(client);
        AnswerPath {
            operation: call.operation(),
            client,
            upstream: self.grammar.unwrap_or(client),
            needs_normalising: providers::provider(self.attempt.provider()).facts().needs_normalising,
            usage: request.include_usage,
            as_array: request.as_array,
            model: if is_translated { request.model.clone() } else { String::new() },
            trace: call.trace(),
            created_unix_s: call.received_unix_ms() / 1_000,
            constraints: self.constraints(exchange, is_translated),
            vectors: request.vectors(),
            prompt_bytes: request.prompt_bytes,
            keeps_text: self.keeps_text(exchange),
            form: self.form(),
            head_units: self.head.billed,
            vendor: self.answer.clone(),
            estimator: is_translated.then(|| Rc::new(make_estimator()) as Rc<dyn UsageEstimator>),
        }
    }

    /// What the request requires of the form of its answer.
    fn constraints(&self, exchange: &Exchange, is_translated: bool) -> AnswerConstraints {
        match exchange.prompt.get() {
            Some(prompt) if is_translated => AnswerConstraints::of(prompt),
            // This parameter is dropped only where it asks for one call: several at once
            // are what servers do by default.
            _ if self.dropped.iter().any(|name| name == ONE_CALL) => AnswerConstraints::one_call(),
            _ => AnswerConstraints::default(),
        }
    }

    /// Whether a stream's text is held, to be counted if the stream is cut before
    /// its provider reports the tokens.
    fn keeps_text(&self, exchange: &Exchange) -> bool {
        if !exchange.call.request().stream {
            return false;
        }
        let vocabulary = exchange.vocabulary(&self.attempt);
        vocabulary.into_iter().for_each(estimates::warm);
        exchange.keeps_body.set(vocabulary.is_some());
        vocabulary.is_some()
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The header that lists the dropped parameters, if there are any.
    pub(crate) fn dropped_params_header(&self) -> Option<(HeaderName, HeaderValue)> {
        if self.dropped.is_empty() { None } else { dropped_header(&self.dropped) }
    }

    /// It answered to the end, or as far as the client read. Closing the tab ends it in the books.
    pub fn close(mut self, tab: &mut Tab, usage: &Usage, now_us: u64) {
        self.price(tab, usage);
        if let Some(first_byte_us) = self.head.first_byte_us {
            self.ticket.report(Verdict::Healthy { first_byte_us }, now_us);
            let head_us = self.sent_us.saturating_add(first_byte_us);
            tab.timeline_mut().upstream_head_us = head_us.saturating_sub(self.received_us);
        }
        if let Some(id) = self.head.upstream_request_id.take() {
            tab.upstream_request_id(id);
        }
    }

    /// Reports the price to the tab where the prompt's length, the tier or a tool changed it, and marks the
    /// attempt as unpriced where the units that it is sold by were not reported.
    fn price(&self, tab: &mut Tab, usage: &Usage) {
        if self.has_unreported_units(usage) {
            return tab.unpriced(self.number);
        }
        let is_plain = self.terms.is_none() && usage.tier.is_none() && !usage.units.has_hosted_calls();
        if is_plain && !self.attempt.asks_more_for_long_prompts() {
            return;
        }
        match self.attempt.rates_of(usage) {
            Some(rates) => tab.price(self.number, rates),
            None => tab.unpriced(self.number),
        }
    }

    /// The model is sold by units alone, and output was produced without its units being
    /// reported: unknown is not zero.
    fn has_unreported_units(&self, usage: &Usage) -> bool {
        let is_sold_so = |rates: Rates| rates.units.billed.is_some() && !rates.are_of_tokens();
        usage.units.billed == 0
            && usage.units.has_counts()
            && self.attempt.rates_for(0).is_some_and(is_sold_so)
    }

    /// Redacts a failure for its seat, and forgets a cached token that was refused.
    pub(crate) fn process_failure(&self, deps: &Deps, failure: AttemptFailure) -> AttemptFailure {
        let failure = failure.redacted(self.attempt.seat());
        let is_refused = failure.class() == FaultClass::UpstreamAuth && failure.status.is_some();
        match self.token.as_ref().filter(|_| is_refused) {
            Some(token) => {
                deps.tokens.forget(self.attempt.principal(), token);
                AttemptFailure { token_refused: true, ..failure }
            }
            None => failure,
        }
    }

    /// Ends it as failed. Its memo stays in the books next to the attempt that follows.
    pub fn end_as_failed(mut self, tab: &mut Tab, failure: &AttemptFailure, usage: Usage, now_us: u64) {
        self.price(tab, &usage);
        if let Some(verdict) = failure.verdict(now_us) {
            self.ticket.report(verdict, now_us);
        }
        let upstream_request_id =
            self.head.upstream_request_id.or_else(|| failure.request_id().map(Arc::from));
        let status = self.head.status.or(failure.status);
        tab.end_attempt(
            self.number,
            AttemptEnd { status, fault: Some(failure.class()), upstream_request_id, usage },
        );
    }
}

/// Asks the board for permission to call a seat.
pub(crate) fn claim(
    deps: &Deps,
    attempt: &Attempt,
    is_last: bool,
    now_us: u64,
) -> Result<Ticket, Availability> {
    let secret_version = match attempt.seat() {
        Seat::Byok(credential) => credential.sealed.version,
        Seat::Managed(account) => account.sealed.version,
        Seat::Byoc(node) => node.sealed.as_ref().map_or(0, |sealed| sealed.version),
    };
    deps.board.claim(attempt.principal(), attempt.upstream_model(), secret_version, is_last, now_us)
}

/// How an attempt starts.
pub(crate) enum Start {
    Ready(OpenAttempt, Request),
    /// It is journaled, and failed before a byte was sent.
    Failed(OpenAttempt, AttemptFailure),
    /// It can't be tried at all, on this seat or another.
    Refused(Box<Fault>),
}

/// Writes the intent, opens the credential and signs the request. The plaintext is gone when this returns.
pub(crate) async fn begin(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    tab: &mut Tab,
    ticket: Ticket,
) -> Start {
    let deps = &exchange.deps;
    let request = exchange.call.request();
    let provider = providers::provider(attempt.provider());
    let spoken = provider.grammars(exchange.call.operation(), attempt.upstream_model());
    if exchange.call.operation() == Operation::Realtime && spoken.is_empty() {
        return Start::Refused(providers::unsupported_operation(Operation::Realtime));
    }
    let is_spoken = spoken.contains(&exchange.dialect().grammar());
    exchange.is_native.set(is_spoken);
    let previous = if is_spoken { stored::check_previous(exchange) } else { Ok(()) };
    if let Err(fault) = previous.and_then(|()| shared::check(exchange, attempt, is_spoken)) {
        return Start::Refused(fault);
    }
    let is_gathered = exchange.call.spec().facts().has_recording
        && provider.has_own_format(exchange.call.operation(), attempt.upstream_model());
    // Boxed: few requests need it, and every future is as large as what is awaited inline.
    if is_gathered && let Err(fault) = Box::pin(recording::gather(exchange)).await {
        return Start::Refused(fault);
    }
    // Boxed: few requests are translated, and every future is as large as what is awaited inline.
    let prompt = if is_spoken { Ok(None) } else { Box::pin(outgoing::prompt_for(exchange, attempt)).await };
    let outgoing = prompt.and_then(|prompt| outgoing::write(exchange, attempt, provider, prompt.as_deref()));
    let (mut outgoing, caching) = match outgoing {
        Ok(outgoing) => outgoing,
        Err(fault) => return Start::Refused(fault),
    };
    tab.caching(caching);
    let ceiling = tab.has_budgets().then(|| ceiling(exchange));
    let terms = terms::sent(request.terms, is_spoken, &outgoing.dropped);
    let begun = match tab.start_attempt(intent(attempt, request.prompt_bytes, terms, ceiling)).await {
        Ok(begun) => begun,
        Err(fault) => return Start::Refused(fault),
    };
    let mut open = OpenAttempt::new(exchange, attempt, ticket, begun);
    open.terms = terms;
    open.grammar = outgoing.grammar;
    open.answer = outgoing.answer.take();
    open.dropped = dropped_params(exchange, &mut outgoing);
    match sign(deps, attempt.seat(), provider, attempt.provider(), attempt.base_url(), &mut outgoing).await {
        Ok(token) => open.token = token,
        Err(failure) => return Start::Failed(open, failure),
    }
    outgoing.headers.extend(id_for(exchange, attempt));
    match request_of(&deps.egress, outgoing) {
        Ok(mut request) => {
            let rest = exchange.call.upload().filter(|_| !is_gathered);
            request.body = request.body.followed_by(rest.cloned());
            Start::Ready(open, request)
        }
        Err(fault) => Start::Failed(open, AttemptFailure::of_us(fault)),
    }
}

/// The client's parameters that are not sent, or that nothing heeds.
fn dropped_params(exchange: &Exchange, outgoing: &mut Outgoing) -> Box<[String]> {
    let unheeded = exchange.call.unheeded().iter().map(|name| (*name).to_owned());
    std::mem::take(&mut outgoing.dropped).into_iter().chain(unheeded).collect()
}

/// The request id that a node receives, which separates its counts of our requests
/// from those of its other clients.
fn id_for(exchange: &Exchange, attempt: &Attempt) -> Option<(HeaderName, HeaderValue)> {
    let is_node = matches!(attempt.seat(), Seat::Byoc(_));
    let id = is_node.then(|| HeaderValue::try_from(&*exchange.call.trace().text()))?.ok()?;
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
    }
}

/// Opens the seat's sealed secret and writes the header that it is for. A node without a secret gets no
/// header. Returns the token that signed the request if it is older than the request.
pub(crate) async fn sign(
    deps: &Deps,
    seat: &Seat,
    provider: &dyn Provider,
    slug: &str,
    base_url: &str,
    outgoing: &mut Outgoing,
) -> Result<Option<Arc<Secret>>, AttemptFailure> {
    let hosting = seat.hosting();
    let mut authorise = |secret: &Secret| {
        let unix_s = deps.world.clock.unix_ms() / 1_000;
        provider.authorise(outgoing, &Signer { secret, hosting, unix_s }).map_err(AttemptFailure::of_us)
    };
    if hosting.auth.is_exchanged() {
        // Boxed: few seats need it, and every future is as large as what is awaited inline.
        let token = Box::pin(deps.tokens.of(deps, seat, slug, base_url)).await?;
        authorise(&token.secret)?;
        return Ok(Some(token.secret).filter(|_| token.was_cached));
    }
    match open_secret(deps, seat).map_err(AttemptFailure::of_us)? {
        Some(secret) => authorise(&secret).map(|()| None),
        None => Ok(None),
    }
}

pub(crate) fn open_secret(deps: &Deps, seat: &Seat) -> Result<Option<Secret>, Box<Fault>> {
    let (workspace, object, sealed) = match seat {
        Seat::Byok(credential) => (credential.workspace, credential.id.text(), &credential.sealed),
        // Operator accounts belong to no workspace: they are sealed under the nil one.
        Seat::Managed(account) => (vault::OPERATOR, account.id.text(), &account.sealed),
        Seat::Byoc(node) => match &node.sealed {
            Some(sealed) => (node.workspace, node.id.text(), sealed),
            None => return Ok(None),
        },
    };
    deps.opener.open(workspace, &object, sealed).map(Some).map_err(|error| {
        tracing::error!(%object, %error, "a sealed secret could not be opened");
        let message = format!("The secret of {object} could not be opened.");
        Box::new(
            Fault::new(FaultClass::UpstreamAuth, "credential_unreadable", message)
                .fix("Rotate it with a new secret; the audit log says why the old one was refused."),
        )
    })
}

pub(crate) fn request_of(client: &egress::Client, outgoing: Outgoing) -> Result<Request, Box<Fault>> {
    let Outgoing { method, url, headers, body, .. } = outgoing;
    let url = client.read_url(url).map_err(|_| {
        let message = "The base URL of what was to be asked is not a URL.";
        Box::new(
            Fault::new(FaultClass::Upstream, "upstream_unreachable", message).fix("Correct its base URL."),
        )
    })?;
    Ok(Request { method, url, headers, body: OutBody::from(body) })
}

pub(crate) fn destination(seat: &Seat) -> Destination {
    match seat {
        Seat::Byok(credential) => Destination {
            kind: TargetKind::Provider,
            owner: credential.base_url.as_ref().map(|_| credential.workspace),
        },
        Seat::Managed(_) => Destination::from(TargetKind::Provider),
        Seat::Byoc(node) => Destination { kind: TargetKind::Node, owner: Some(node.workspace) },
    }
}

/// A successful response head, and the body behind it.
#[derive(Debug)]
pub(crate) struct UpstreamResponse {
    pub status: u16,
    pub headers: Headers,
    /// The head of the answer that named this file, if the body is a file.
    pub led_by: Option<Box<Headers>>,
    pub body: InBody,
}

/// Sends an exchange's request, separates an answer from a refusal, and follows queues and leads.
pub(crate) async fn send_and_follow(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    request: &Request,
) -> Result<UpstreamResponse, AttemptFailure> {
    let (slug, seat) = (attempt.provider(), attempt.seat());
    let opened = send(&exchange.deps, slug, seat, request, |headers| {
        record_limits(exchange, attempt, headers);
        exchange.refusal_headers.replace(forwarded_headers(headers, seat, exchange.dialect().grammar()));
    })
    .await?;
    record_limits(exchange, attempt, &opened.headers);
    let provider = providers::provider(slug);
    let stored = exchange.call.request().stored.as_deref();
    if queue_of(exchange, attempt).is_none() && !lead::is_needed(provider, exchange.call.operation(), stored)
    {
        return Ok(opened);
    }
    // Boxed: few answers lead on, and every future is as large as what is awaited inline.
    Box::pin(go_on(exchange, attempt, request, opened)).await
}

/// The provider's queue. `None` for stored objects: those are polled by their names,
/// and no request waits for them.
fn queue_of<'a>(exchange: &Exchange, attempt: &'a Attempt) -> Option<providers::Queue<'a>> {
    let queue = providers::provider(attempt.provider()).queue(attempt.seat().hosting());
    queue.filter(|_| !exchange.call.is_about_object())
}

/// Follows an interim answer to the one that was requested.
async fn go_on(
    exchange: &Exchange,
    attempt: &Rc<Attempt>,
    request: &Request,
    opened: UpstreamResponse,
) -> Result<UpstreamResponse, AttemptFailure> {
    let opened = match queue_of(exchange, attempt) {
        Some(queue) => queue::wait(exchange, attempt, queue, request, opened).await?,
        None => opened,
    };
    let (slug, seat, base_url) = (attempt.provider(), attempt.seat(), attempt.base_url());
    let (operation, stored) = (exchange.call.operation(), exchange.call.request().stored.as_deref());
    if !lead::is_needed(providers::provider(slug), operation, stored) {
        return Ok(opened);
    }
    let road = lead::FollowTarget { slug, seat, base_url, operation, stored, sent: request };
    lead::follow(&exchange.deps, road, opened).await
}

/// Records the rate limits that a provider reported for its account.
pub(crate) fn record_limits(exchange: &Exchange, attempt: &Attempt, headers: &Headers) {
    let deps = &exchange.deps;
    let standings = providers::read_rate_limits(headers.iter(), || deps.world.clock.unix_ms());
    if standings == domain::RateLimitStates::default() {
        return;
    }
    let (now_us, now_unix_ms) = (deps.now_us(), deps.world.clock.unix_ms());
    let (principal, model) = (attempt.principal(), attempt.upstream_model());
    deps.board.record_limits(principal, model, standings, now_us, now_unix_ms);
}

/// Sends, and separates an answer from a refusal, whose headers are passed to `refused_with`.
pub(crate) async fn send(
    deps: &Deps,
    slug: &str,
    seat: &Seat,
    request: &Request,
    refused_with: impl FnOnce(&Headers),
) -> Result<UpstreamResponse, AttemptFailure> {
    let answer = deps.egress.send(request, destination(seat)).await;
    let answer = answer.map_err(|error| AttemptFailure::egress(&error, slug))?;
    check_status(deps, slug, seat, answer, refused_with).await
}

/// Separates an answer from a refusal.
pub(crate) async fn check_status(
    deps: &Deps,
    slug: &str,
    seat: &Seat,
    answer: Answer,
    refused_with: impl FnOnce(&Headers),
) -> Result<UpstreamResponse, AttemptFailure> {
    let status = answer.status.as_u16();
    if answer.status.is_redirection() {
        // Following it would send the credential to an address that was never checked.
        let what = format!("it redirects (status {status}), which is never followed");
        return Err(AttemptFailure {
            status: Some(status),
            ..AttemptFailure::broken(slug, &what).not_retryable()
        });
    }
    if !answer.status.is_success() {
        refused_with(&answer.headers);
        return Err(Box::pin(refused(deps, slug, answer)).await.with_seat_fix(seat));
    }
    Ok(UpstreamResponse { status, headers: answer.headers, led_by: None, body: answer.body })
}

async fn refused(deps: &Deps, slug: &str, answer: Answer) -> AttemptFailure {
    let Answer { status, headers, body } = answer;
    let bytes = read::prefix(body, REFUSAL_BYTES_MAX).await;
    let bytes = read::decoded(&headers, bytes).await.unwrap_or_default();
    let (status, map) = (status.as_u16(), headers.to_map());
    let mut classified = providers::provider(slug).classify(status, &map, &bytes, slug);
    classified.is_of_account = providers::is_of_account(classified.class, &map, &bytes);
    if classified.retry_after_ms.is_none() {
        // A date can only be turned into a wait with the current time.
        let now = Some(deps.world.clock.unix_ms());
        classified.retry_after_ms = providers::retry_after_ms(&map, now);
    }
    if classified.report.request_id.is_none() {
        classified.report.request_id = request_id(&headers).as_deref().map(str::to_owned);
    }
    AttemptFailure::classified(classified, status)
}

/// A fault that the stream scanner found, as a failed attempt.
pub(crate) fn stream_failure(fault: conversation::answer::StreamFault, provider: &str) -> AttemptFailure {
    match fault {
        conversation::answer::StreamFault::Broken(what) => AttemptFailure::broken(provider, what),
        conversation::answer::StreamFault::Upstream(mut report, class) => {
            provider.clone_into(&mut report.provider);
            AttemptFailure::new(refusal(class, &report).upstream(report))
        }
    }
}

/// The billed units that the head of an answer reports, in millionths.
pub(crate) fn billed(provider: &dyn Provider, headers: &Headers) -> Option<u64> {
    read_units(headers.text(provider.facts().units_header?)?)
}

fn request_id(headers: &Headers) -> Option<Arc<str>> {
    id_of(headers, REQUEST_ID).or_else(|| id_of(headers, "request-id"))
}

fn id_of(headers: &Headers, name: &str) -> Option<Arc<str>> {
    // Header text is ASCII here, so it can be cut anywhere.
    let text = headers.text(name)?;
    text.get(..text.len().min(UPSTREAM_REQUEST_ID_BYTES_MAX)).map(Arc::from)
}

/// Reads a decimal number of units as millionths, rounded to the nearest.
fn read_units(text: &str) -> Option<u64> {
    let units: f64 = text.trim().parse().ok()?;
    let is_some_count = units.is_finite() && (0.0..UNITS_MAX).contains(&units);
    let digits = is_some_count.then(|| format!("{units:.6}").replace('.', ""))?;
    digits.parse().ok()
}

/// The upstream headers that a client may see: the processing time and, if the account is the customer's own,
/// what is left of its rate limits, as far as the client's dialect has these headers. Those of pooled
/// accounts would reveal what other workspaces use.
pub(crate) fn forwarded_headers(
    headers: &Headers,
    seat: &Seat,
    client: Grammar,
) -> Vec<(HeaderName, HeaderValue)> {
    let is_own = matches!(seat, Seat::Byok(_));
    let has = |part: Option<&[u8]>, word: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
    let is_allowed = |name: &[u8]| {
        has(name.last_chunk::<14>().map(<[u8; 14]>::as_slice), b"-processing-ms")
            || (is_own && dialects::is_rate_limit_header(client, name))
    };
    let mut passed: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_allowed(name)) {
        let Ok(name) = HeaderName::from_bytes(name) else { continue };
        // Of a header that is sent twice, only the first value is passed on.
        let is_first = passed.iter().all(|(known, _)| *known != name);
        if let Some(value) = headers.share(value).filter(|_| is_first) {
            passed.push((name, value));
        }
    }
    passed
}

/// Reads a buffered answer and renders it for the client; one that came as a stream is assembled first.
pub(crate) fn judge_whole(
    answer_path: &AnswerPath,
    bytes: Bytes,
    provider: &str,
) -> Result<BufferedAnswer, AttemptFailure> {
    operations::buffered_answer(answer_path, bytes).map_err(|fault| stream_failure(fault, provider))
}

/// Lists the fields that were dropped from the request, for the client.
fn dropped_header(dropped: &[String]) -> Option<(HeaderName, HeaderValue)> {
    // The names come from the client: those that a header can't hold are left out.
    let printable = dropped.iter().filter(|name| HeaderValue::from_str(name).is_ok());
    let mut names = String::new();
    let mut more = 0;
    for name in printable {
        if names.len() + name.len() > DROPPED_BYTES_MAX {
            more += 1;
            continue;
        }
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(name);
    }
    if more > 0 {
        names.push_str(&format!(", and {more} more"));
    }
    let value = HeaderValue::try_from(names).ok().filter(|value| !value.is_empty())?;
    Some((HeaderName::from_static(DROPPED), value))
}
