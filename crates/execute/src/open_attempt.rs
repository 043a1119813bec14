//! An attempt in progress: what was sent, what the response head reports, and how it ends in the books.

use std::rc::Rc;
use std::sync::Arc;

use board::{Ticket, Verdict};
use conversation::answer::AnswerOptions;
use conversation::constraints::AnswerConstraints;
use conversation::prompt_text::UsageEstimator;
use dialects::{AnswerForm, AnswerPath, VendorAnswer};
use domain::adapters::is_plain_name;
use domain::{FaultClass, Grammar, PriceTerms, Rates, Secret, Tier, Usage, WindowUse};
use http::header::{HeaderName, HeaderValue};
use ledger::{AttemptEnd, ReservationHandover, StartedAttempt, Tab};
use operations::{Booking, ContentType};
use plan::Attempt;

use crate::Deps;
use crate::context_cache::ContextCare;
use crate::context_order::ContextOrder;
use crate::estimate::AttemptUsageEstimator;
use crate::exchange::{Exchange, HeldRequest};
use crate::failure::AttemptFailure;
use crate::keep_alive::{KeepAlive, KeepAliveCare};
use crate::limits::DROPPED_FIELDS_BYTES_MAX;
use crate::upstream::{UpstreamResponse, billed, id_of, request_id};
use crate::usage::Known;

const DROPPED: &str = "agent-dropped-params";
const DROPPED_ANSWER: &str = "agent-dropped-answer";
/// The client's parameter for one tool call at a time, which even an upstream of
/// its own dialect may not be sent.
const ONE_CALL: &str = "parallel_tool_calls";
/// A node sends this header when its token counts are estimates.
const USAGE_HEADER: &str = "x-tidegate-usage";
/// A node names the adapter here with which it answers, or `none`.
const ADAPTER_HEADER: &str = "x-hybrie-adapter-id";

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
    sent: SentRequest,
    /// The planned attempt, which holds the prices.
    attempt: Rc<Attempt>,
    /// The token that signed it, if that was cached from an earlier request.
    token: Option<Arc<Secret>>,
    /// On a subscription, what counts its use.
    counted: Option<Box<CountedUse>>,
    /// What it reserved of budgets for an object that costs once it is made.
    handover: Option<Rc<ReservationHandover>>,
    /// What it has to do with caches by name. Boxed: few attempts have anything.
    context: Option<Box<ContextCare>>,
    /// What it has to do with the prefix that it marked.
    keep_alive: Option<Box<KeepAliveCare>>,
}

/// What counts the use of a subscription: in the span of its windows in which the attempt started.
#[derive(Debug)]
struct CountedUse {
    board: Arc<board::Shared>,
    started_unix_ms: u64,
}

/// What was sent, as far as the answer and its price depend on it.
#[derive(Debug)]
pub(crate) struct SentRequest {
    /// The upstream was called in the client's own dialect.
    pub is_native: bool,
    /// The requested price terms as far as they were sent.
    pub terms: PriceTerms,
    /// The wire format of the request; `None` in a format of the vendor's own.
    pub grammar: Option<Grammar>,
    /// What reads the answer, where that is in a format of the vendor's own.
    pub vendor: Option<Arc<dyn VendorAnswer>>,
    pub dropped: Box<[String]>,
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
    /// The adapter with which a node answers.
    adapter: Option<String>,
}

impl OpenAttempt {
    pub(crate) fn new(
        exchange: &Exchange,
        attempt: &Rc<Attempt>,
        ticket: Ticket,
        started: StartedAttempt,
        sent: SentRequest,
    ) -> Self {
        let deps = &exchange.deps;
        let counted = attempt.subscription().map(|_| {
            let started_unix_ms = deps.world.clock.unix_ms();
            Box::new(CountedUse { board: Arc::clone(deps.board.shared()), started_unix_ms })
        });
        let open = Self {
            number: started.number,
            ticket,
            received_us: exchange.call.received_us(),
            sent_us: started.at_us,
            content_type: exchange.call.spec().facts().content_type,
            head: ReportedHead::default(),
            sent,
            attempt: Rc::clone(attempt),
            token: None,
            counted,
            handover: None,
            context: None,
            keep_alive: None,
        };
        open.count_use(WindowUse { requests: 1, tokens: 0 });
        open
    }

    /// Counts the use of its subscription, if it is on one.
    fn count_use(&self, more: WindowUse) {
        if let (Some(counted), Some((id, stated))) = (&self.counted, self.attempt.subscription()) {
            counted.board.count_use(id, &stated.windows, more, counted.started_unix_ms);
        }
    }

    fn count_tokens(&self, usage: &Usage) {
        let tokens = usage.prompt_total().saturating_add(usage.completion_total());
        self.count_use(WindowUse { requests: 0, tokens });
    }

    /// The token that signed it, if that was cached from an earlier request.
    pub(crate) fn set_token(&mut self, token: Option<Arc<Secret>>) {
        self.token = token;
    }

    pub(crate) fn set_handover(&mut self, handover: Option<Rc<ReservationHandover>>) {
        self.handover = handover;
    }

    pub(crate) fn handover(&self) -> Option<&ReservationHandover> {
        self.handover.as_deref()
    }

    pub(crate) fn set_caches(
        &mut self,
        context: Option<Box<ContextCare>>,
        keep_alive: Option<Box<KeepAliveCare>>,
    ) {
        self.context = context;
        self.keep_alive = keep_alive;
    }

    /// What is to look after its prefix, now that it has answered.
    pub(crate) fn take_keep_alive(&mut self) -> Option<Box<KeepAlive>> {
        self.keep_alive.as_mut()?.take()
    }

    /// The cache that is to be created, now that it has answered.
    pub(crate) fn take_context_order(&mut self) -> Option<Box<ContextOrder>> {
        self.context.as_mut()?.take_order()
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

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    pub(crate) const fn is_native(&self) -> bool {
        self.sent.is_native
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
        let reports_estimate = || opened.headers.get(USAGE_HEADER) == Some(b"estimated");
        self.head.is_usage_estimated = self.attempt.is_node() && reports_estimate();
        let named = self.attempt.is_node().then(|| opened.headers.text(ADAPTER_HEADER)).flatten();
        self.head.adapter = named.filter(|name| *name != "none" && is_plain_name(name)).map(str::to_owned);
    }

    /// The whole answer arrived at once.
    pub(crate) fn record_whole(&self, now_us: u64) {
        self.ticket.took(now_us.saturating_sub(self.sent_us), now_us);
    }

    /// What is known of this attempt's usage beside its outcome.
    pub(crate) fn known(&self, exchange: &Exchange, booking: Booking) -> Known {
        Known {
            is_upstream_estimate: self.head.is_usage_estimated,
            head_units: self.head.billed,
            is_sold_by_units: self.attempt.rates_for(0).is_some_and(|rates| rates.units.billed.is_some()),
            head_tier: self.head.tier,
            terms: self.sent.terms,
            grammar: self.sent.grammar.unwrap_or(Grammar::Chat),
            ..exchange.known(booking)
        }
    }

    /// The answer's format, where its content type says so.
    pub(crate) fn form(&self) -> AnswerForm {
        AnswerForm::of(self.head.media_type.as_ref().and_then(|value| value.to_str().ok()))
    }

    /// The content type for the client: `None` where the client's dialect implies it.
    pub fn media_type(&self) -> Option<HeaderValue> {
        let own = self.sent.vendor.as_ref().and_then(|answer| answer.content_type());
        match self.form() {
            _ if own.is_some() => own.map(HeaderValue::from_static),
            _ if self.content_type != ContentType::Recognised => self.head.media_type.as_deref().cloned(),
            AnswerForm::Json => Some(HeaderValue::from_static("application/json")),
            AnswerForm::Events => Some(HeaderValue::from_static("text/event-stream; charset=utf-8")),
            AnswerForm::Text => self.head.media_type.as_deref().cloned(),
        }
    }

    /// How its answer is translated for the client.
    pub(crate) fn answer_path(&self, exchange: &Rc<Exchange>, held: &HeldRequest) -> AnswerPath {
        let (call, client) = (&exchange.call, exchange.dialect().grammar());
        let request = call.request();
        let make_estimator = || AttemptUsageEstimator {
            exchange: Rc::clone(exchange),
            attempt: Rc::clone(&self.attempt),
            held: held.translated(),
        };
        // Only a translated answer has to be given the model's name.
        let is_translated = self.sent.grammar != Some(client);
        AnswerPath {
            operation: call.operation(),
            client,
            upstream: self.sent.grammar.unwrap_or(client),
            needs_normalising: providers::provider(self.attempt.provider()).facts().needs_normalising,
            as_array: request.as_array,
            vectors: request.vectors(),
            prompt_bytes: request.prompt_bytes,
            keeps_text: self.keeps_text(exchange),
            form: self.form(),
            head_units: self.head.billed,
            vendor: self.sent.vendor.clone(),
            options: AnswerOptions {
                usage: request.include_usage,
                model: if is_translated { request.model.clone() } else { String::new() },
                trace: Some(call.trace()),
                is_named_by_trace: is_translated && request.stores_answer,
                created_unix_s: call.received_unix_ms() / 1_000,
                constraints: self.constraints(held, is_translated),
                guard: call.screening().and_then(|screening| screening.guard.clone()),
                estimator: is_translated.then(|| Rc::new(make_estimator()) as Rc<dyn UsageEstimator>),
                ..AnswerOptions::default()
            },
        }
    }

    /// What the request requires of the form of its answer.
    fn constraints(&self, held: &HeldRequest, is_translated: bool) -> AnswerConstraints {
        match &held.prompt {
            Some(prompt) if is_translated => AnswerConstraints::of(prompt),
            // This parameter is dropped only where it asks for one call: several at once
            // are what servers do by default.
            _ if self.sent.dropped.iter().any(|name| name == ONE_CALL) => AnswerConstraints::one_call(),
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
        vocabulary.is_some()
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// The header that lists the dropped parameters, if there are any.
    pub(crate) fn dropped_params_header(&self) -> Option<(HeaderName, HeaderValue)> {
        if self.sent.dropped.is_empty() { None } else { dropped_header(&self.sent.dropped) }
    }

    /// It answered to the end, or as far as the client read. Closing the tab ends it in the books.
    pub fn close(mut self, tab: &mut Tab, usage: &Usage, now_us: u64) {
        self.price(tab, usage);
        self.count_tokens(usage);
        if let Some(context) = &self.context {
            context.learn(usage, now_us);
        }
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.learn(usage);
        }
        self.ticket.used(usage.prompt_total().saturating_add(usage.output), now_us);
        if let Some(first_byte_us) = self.head.first_byte_us {
            self.ticket.report(Verdict::Healthy { first_byte_us }, now_us);
            let head_us = self.sent_us.saturating_add(first_byte_us);
            tab.timeline_mut().upstream_head_us = head_us.saturating_sub(self.received_us);
        }
        if let Some(id) = self.head.upstream_request_id.take() {
            tab.upstream_request_id(id);
        }
        if let Some(adapter) = &self.head.adapter {
            tab.record_adapter(adapter);
        }
    }

    /// Reports the price to the tab where the prompt's length, the tier or a tool changed it, and marks the
    /// attempt as unpriced where the units that it is sold by were not reported.
    fn price(&self, tab: &mut Tab, usage: &Usage) {
        if self.has_unreported_units(usage) {
            return tab.mark_unpriced(self.number);
        }
        let is_plain = self.sent.terms.is_none() && usage.tier.is_none() && !usage.units.has_hosted_calls();
        if is_plain && !self.attempt.asks_more_for_long_prompts() {
            return;
        }
        match self.attempt.rates_of(usage) {
            Some(rates) => tab.price(self.number, rates),
            None => tab.mark_unpriced(self.number),
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

    /// Whether it failed for a cache by name of ours, as far as that can be told.
    pub(crate) fn is_context_refused(&self, failure: &AttemptFailure) -> bool {
        self.context.as_ref().is_some_and(|context| context.is_refused(failure))
    }

    /// Redacts a failure for its seat, and forgets a cached token or prompt that was refused.
    pub(crate) fn process_failure(&self, deps: &Deps, failure: AttemptFailure) -> AttemptFailure {
        let failure = failure.redacted(self.attempt.seat());
        if self.is_context_refused(&failure) {
            return AttemptFailure { context_refused: true, ..failure };
        }
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
        self.count_tokens(&usage);
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

/// Lists the fields that were dropped from the request, for the client.
pub(crate) fn dropped_header(dropped: &[String]) -> Option<(HeaderName, HeaderValue)> {
    listed(DROPPED, dropped)
}

/// Lists what the client's dialect can't express of an answer.
pub(crate) fn dropped_answer_header(dropped: &[String]) -> Option<(HeaderName, HeaderValue)> {
    listed(DROPPED_ANSWER, dropped)
}

fn listed(header: &'static str, dropped: &[String]) -> Option<(HeaderName, HeaderValue)> {
    // The names come from the client or the provider: those that a header can't hold are left out.
    let printable = dropped.iter().filter(|name| HeaderValue::from_str(name).is_ok());
    let mut names = String::new();
    let mut more = 0;
    for name in printable {
        if names.len() + name.len() > DROPPED_FIELDS_BYTES_MAX {
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
    Some((HeaderName::from_static(header), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(dropped: &[&str]) -> Option<String> {
        let dropped: Vec<String> = dropped.iter().map(|name| (*name).to_owned()).collect();
        dropped_header(&dropped).map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn dropped_fields_are_listed_as_far_as_a_header_holds_them() {
        for (dropped, expected) in [
            (&[][..], None),
            (&["top_k"][..], Some("top_k")),
            (&["top_k", "seed"][..], Some("top_k, seed")),
            (&["a\nb", "seed"][..], Some("seed")),
            (&["\u{1}"][..], None),
        ] {
            assert_eq!(header(dropped).as_deref(), expected, "{dropped:?}");
        }
        let (long, other) = ("x".repeat(DROPPED_FIELDS_BYTES_MAX), "y".repeat(DROPPED_FIELDS_BYTES_MAX));
        assert_eq!(header(&[&long, "seed", &other]), Some(format!("{long}, and 2 more")));
    }
}
