//! One try: leave from the board, intent in the journal, credential opened, request signed and sent, answer judged.

use std::sync::Arc;

use board::{Standing, Ticket, Verdict};
use bytes::Bytes;
use domain::limits::{OUTPUT_TOKENS_UNKNOWN, REFUSAL_BYTES_MAX, UPSTREAM_REQUEST_ID_BYTES_MAX};
use domain::{Fault, FaultClass, Secret, Usage};
use egress::{Answer, Headers, InBody, OutBody, Reach, Request};
use http::header::{HeaderName, HeaderValue};
use ledger::{AttemptEnd, Intent, Tab};
use plan::{Attempt, Seat};
use providers::{Outgoing, Provider, Target};

use crate::answer::Exchange;
use crate::miss::{Miss, refusal};
use crate::{Hands, read};

/// A node says with this header that its counts are estimates.
const USAGE_HEADER: &str = "x-tidegate-usage";

/// A try that is under way: in the journal, counted on the board.
#[derive(Debug)]
pub struct OpenAttempt {
    number: u32,
    ticket: Ticket,
    /// When the exchange began, and when this try did.
    received_us: u64,
    sent_us: u64,
    first_byte_us: Option<u64>,
    status: Option<u16>,
    upstream_request_id: Option<Arc<str>>,
    is_node: bool,
    is_usage_estimated: bool,
}

impl OpenAttempt {
    pub(crate) const fn sent_us(&self) -> u64 {
        self.sent_us
    }

    /// The upstream's head came.
    pub(crate) fn answered(&mut self, opened: &Opened, now_us: u64) {
        self.status = Some(opened.status);
        self.first_byte_us = Some(now_us.saturating_sub(self.sent_us));
        self.upstream_request_id = request_id(&opened.headers);
        let says_so = || opened.headers.get(USAGE_HEADER) == Some(b"estimated");
        self.is_usage_estimated = self.is_node && says_so();
    }

    /// Whether the upstream itself calls its counts estimates.
    #[must_use]
    pub const fn is_usage_estimated(&self) -> bool {
        self.is_usage_estimated
    }

    /// It answered to the end, or so far as the client wanted to know. The tab's closing ends it in the books.
    pub fn closes(mut self, tab: &mut Tab, now_us: u64) {
        if let Some(first_byte_us) = self.first_byte_us {
            self.ticket.tell(Verdict::Well { first_byte_us }, now_us);
            let head_us = self.sent_us.saturating_add(first_byte_us);
            tab.timeline_mut().upstream_head_us = head_us.saturating_sub(self.received_us);
        }
        if let Some(id) = self.upstream_request_id.take() {
            tab.upstream_request_id(id);
        }
    }

    /// It failed: its memo stays in the books beside the try that follows.
    pub fn missed(mut self, tab: &mut Tab, miss: &Miss, usage: Usage, now_us: u64) {
        if let Some(verdict) = miss.verdict(now_us) {
            self.ticket.tell(verdict, now_us);
        }
        let upstream_request_id = self.upstream_request_id.or_else(|| miss.request_id().map(Arc::from));
        let status = self.status.or(miss.status);
        tab.attempt_ended(
            self.number,
            AttemptEnd { status, fault: Some(miss.class()), upstream_request_id, usage },
        );
    }
}

/// Leave from the board to ask a seat.
pub(crate) fn claim(
    hands: &Hands,
    attempt: &Attempt,
    is_last: bool,
    now_us: u64,
) -> Result<Ticket, Standing> {
    let secret_version = match attempt.seat() {
        Seat::Byok(credential) => credential.sealed.version,
        Seat::Managed(account) => account.sealed.version,
        Seat::Byoc(node) => node.sealed.as_ref().map_or(0, |sealed| sealed.version),
    };
    hands.board.claim(attempt.principal(), attempt.upstream_model(), secret_version, is_last, now_us)
}

/// How a try begins.
pub(crate) enum Start {
    Going(OpenAttempt, Request),
    /// It is in the journal and failed before a byte was sent.
    Missed(OpenAttempt, Miss),
    /// It can't even be tried, here or elsewhere.
    Refused(Box<Fault>),
}

/// Writes the intent, opens the credential and signs the request. The plaintext is gone when this returns.
pub(crate) async fn begin(exchange: &Exchange, attempt: &Attempt, tab: &mut Tab, ticket: Ticket) -> Start {
    let hands = &exchange.hands;
    let chat = exchange.call.chat();
    let provider = providers::provider(attempt.provider());
    let target = Target { base_url: attempt.base_url(), upstream_model: attempt.upstream_model() };
    let mut outgoing = match provider.chat(&target, chat, &exchange.body.borrow()) {
        Ok(outgoing) => outgoing,
        Err(fault) => return Start::Refused(fault),
    };
    let ceiling = tab.draws_on_money().then(|| ceiling(exchange));
    let begun = match tab.attempt(intent(attempt, chat.prompt_bytes, ceiling)).await {
        Ok(begun) => begun,
        Err(fault) => return Start::Refused(fault),
    };
    let open = OpenAttempt {
        number: begun.number,
        ticket,
        received_us: exchange.call.received_us(),
        sent_us: begun.at_us,
        first_byte_us: None,
        status: None,
        upstream_request_id: None,
        is_node: matches!(attempt.seat(), Seat::Byoc(_)),
        is_usage_estimated: false,
    };
    if let Err(fault) = sign(hands, attempt.seat(), provider, &mut outgoing) {
        return Start::Missed(open, Miss::new(*fault).unsent().not_again());
    }
    match request_of(&hands.egress, outgoing) {
        Ok(request) => Start::Going(open, request),
        Err(fault) => Start::Missed(open, Miss::new(*fault).unsent().not_again()),
    }
}

/// The most that an answer can use: no token is shorter than a byte, no prompt longer than the model's context, and no
/// answer longer than was asked for or than the model writes.
fn ceiling(exchange: &Exchange) -> Usage {
    let chat = exchange.call.chat();
    let model = exchange.caller.snapshot().catalogue().model(&exchange.resolved_model);
    let body_bytes = exchange.body.borrow().len() as u64;
    let context = model.and_then(|model| model.context_tokens);
    let input = body_bytes.max(chat.prompt_bytes).min(context.unwrap_or(u64::MAX));
    let own = model.and_then(|model| model.output_tokens_max.or(model.context_tokens));
    let own = own.unwrap_or(OUTPUT_TOKENS_UNKNOWN);
    let each =
        chat.max_output_tokens.map_or(own, |asked| if model.is_some() { asked.min(own) } else { asked });
    Usage { input, output: each.saturating_mul(u64::from(chat.choices.max(1))), ..Usage::default() }
}

fn intent(attempt: &Attempt, estimate_prompt_bytes: u64, ceiling: Option<Usage>) -> Intent {
    Intent {
        principal: attempt.seat().principal(),
        provider: Arc::clone(attempt.provider_shared()),
        upstream_model: Arc::clone(attempt.upstream_model_shared()),
        region: attempt.region_shared().cloned(),
        rates: attempt.rates(),
        markup_bps: attempt.markup_bps(),
        estimate_prompt_bytes,
        ceiling,
    }
}

/// Opens what the seat has sealed and writes the header that it is for. A node without a secret gets no header.
pub(crate) fn sign(
    hands: &Hands,
    seat: &Seat,
    provider: &dyn Provider,
    outgoing: &mut Outgoing,
) -> Result<(), Box<Fault>> {
    match open_secret(hands, seat)? {
        Some(secret) => provider.authorise(outgoing, &secret),
        None => Ok(()),
    }
}

fn open_secret(hands: &Hands, seat: &Seat) -> Result<Option<Secret>, Box<Fault>> {
    let (workspace, object, sealed) = match seat {
        Seat::Byok(credential) => (credential.workspace, credential.id.text(), &credential.sealed),
        // Operator accounts belong to no workspace: they are sealed under the nil one.
        Seat::Managed(account) => (vault::OPERATOR, account.id.text(), &account.sealed),
        Seat::Byoc(node) => match &node.sealed {
            Some(sealed) => (node.workspace, node.id.text(), sealed),
            None => return Ok(None),
        },
    };
    hands.opener.open(workspace, &object, sealed).map(Some).map_err(|error| {
        tracing::error!(%object, %error, "a sealed secret could not be opened");
        let message = format!("The secret of {object} could not be opened.");
        Box::new(
            Fault::new(FaultClass::UpstreamAuth, "credential_unreadable", message)
                .fix("Rotate it with a new secret; the audit log says why the old one was refused."),
        )
    })
}

pub(crate) fn request_of(client: &egress::Client, outgoing: Outgoing) -> Result<Request, Box<Fault>> {
    let Outgoing { method, url, headers, body } = outgoing;
    let url = client.read_url(url).map_err(|_| {
        let message = "The base URL of what was to be asked is not a URL.";
        Box::new(
            Fault::new(FaultClass::Upstream, "upstream_unreachable", message).fix("Correct its base URL."),
        )
    })?;
    Ok(Request { method, url, headers, body: OutBody::from(body) })
}

const fn reach(seat: &Seat) -> Reach {
    match seat {
        Seat::Byok(_) | Seat::Managed(_) => Reach::Provider,
        Seat::Byoc(_) => Reach::Node,
    }
}

/// The head of an answer that is worth reading.
#[derive(Debug)]
pub(crate) struct Opened {
    pub status: u16,
    pub headers: Headers,
    pub body: InBody,
}

/// Sends, and tells an answer from a refusal.
pub(crate) async fn ask(hands: &Hands, slug: &str, seat: &Seat, request: &Request) -> Result<Opened, Miss> {
    let answer = hands.egress.send(request, reach(seat)).await;
    let answer = answer.map_err(|error| Miss::egress(&error, slug))?;
    let status = answer.status.as_u16();
    if answer.status.is_redirection() {
        // Followed, it would carry the credential to an address that nobody checked.
        let what = format!("it redirects (status {status}), which is never followed");
        return Err(Miss { status: Some(status), ..Miss::broken(slug, &what).not_again() });
    }
    if !answer.status.is_success() {
        return Err(Box::pin(refused(hands, slug, answer)).await.of(seat));
    }
    Ok(Opened { status, headers: answer.headers, body: answer.body })
}

async fn refused(hands: &Hands, slug: &str, answer: Answer) -> Miss {
    let Answer { status, headers, body } = answer;
    let bytes = read::prefix(body, REFUSAL_BYTES_MAX).await;
    let bytes = read::decoded(&headers, bytes).unwrap_or_default();
    let (status, map) = (status.as_u16(), headers.to_map());
    let mut classified = providers::provider(slug).classify(status, &map, &bytes, slug);
    if classified.retry_after_ms.is_none() {
        // A date can only be read by who knows the time.
        let now = Some(hands.world.clock.unix_ms());
        classified.retry_after_ms = providers::retry_after_ms(&map, now);
    }
    if classified.report.request_id.is_none() {
        classified.report.request_id = request_id(&headers).as_deref().map(str::to_owned);
    }
    Miss::classified(classified, status)
}

/// What the scanner found, as a miss.
pub(crate) fn stream_miss(fault: dialects::chat::StreamFault, provider: &str) -> Miss {
    match fault {
        dialects::chat::StreamFault::Broken(what) => Miss::broken(provider, what),
        dialects::chat::StreamFault::Upstream(mut report, class) => {
            provider.clone_into(&mut report.provider);
            Miss::new(refusal(class, &report).upstream(report))
        }
    }
}

fn request_id(headers: &Headers) -> Option<Arc<str>> {
    // What is text here is ASCII: it can be cut anywhere.
    let text = headers.text("x-request-id").or_else(|| headers.text("request-id"))?;
    text.get(..text.len().min(UPSTREAM_REQUEST_ID_BYTES_MAX)).map(Arc::from)
}

/// Of an upstream's headers those that a client may see: how long it took, and, where the account is the
/// customer's own, what is left of its limits.
pub(crate) fn passed_on(headers: &Headers, seat: &Seat) -> Vec<(HeaderName, HeaderValue)> {
    let is_own = matches!(seat, Seat::Byok(_));
    let has = |part: Option<&[u8]>, word: &[u8]| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
    let is_allowed = |name: &[u8]| {
        has(name.last_chunk::<14>().map(<[u8; 14]>::as_slice), b"-processing-ms")
            || (is_own && has(name.get(..12), b"x-ratelimit-"))
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

/// Reads a whole answer; one that came as a stream is put together first.
pub(crate) fn judge_whole(
    bytes: Bytes,
    provider: &str,
) -> Result<(Bytes, dialects::chat::AnswerFacts), Miss> {
    dialects::chat::whole_answer(bytes).map_err(|fault| stream_miss(fault, provider))
}
