//! The response stream of one attempt, pulled: the upstream is read only when the next piece is requested.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use conversation::answer::StreamFacts;
use dialects::AnswerStream;
use domain::limits::STREAM_PIECE_BYTES;
use domain::{Fault, Upload, Usage};
use egress::{InBody, Request};
use http::header::{HeaderName, HeaderValue};
use http_body::Body;
use ledger::Tab;
use plan::Attempt;
use tokio::time::{Instant, timeout_at};

use crate::context_order::ContextOrder;
use crate::exchange::{Exchange, HeldRequest};
use crate::failure::AttemptFailure;
use crate::keep_alive::KeepAlive;
use crate::open_attempt::OpenAttempt;
use crate::send::send_and_follow;
use crate::stored::StoredAnswerTracker;
use crate::timer::{Alarm, Timer};
use crate::upstream::{UpstreamResponse, forwarded_headers, stream_failure};
use crate::usage::{Outcome, usage};

/// What a poll of a stream yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Bytes for the client. After the last piece that is ready, they end with a whole event.
    Data(Bytes),
    End,
}

type Opening = Pin<Box<dyn Future<Output = Result<UpstreamResponse, AttemptFailure>>>>;

enum Source {
    /// The upstream has not sent its head yet.
    Opening(Opening),
    Live(InBody),
    Over,
}

/// The stream of one attempt. Dropping it cancels the upstream request.
pub struct AttemptStream {
    pub(crate) exchange: Rc<Exchange>,
    pub(crate) attempt: Rc<Attempt>,
    pub(crate) held: HeldRequest,
    /// The body is held until the answer is over, since its tokens may have to be counted.
    counts_body: bool,
    source: Source,
    stream: AnswerStream,
    /// Read from the upstream and not yet taken.
    pieces: Vec<Bytes>,
    /// How it ended; returned once the pieces are taken.
    ended: Option<Result<(), AttemptFailure>>,
    open: Option<OpenAttempt>,
    pub(crate) upstream_headers: Vec<(HeaderName, HeaderValue)>,
    watch: StoredAnswerTracker,
    timer: Timer,
    deadline: Instant,
    /// How much of a request body that is still arriving had been sent at the last poll.
    uploaded: u64,
    /// Attempts on this seat, and of the exchange; for the schedule.
    pub(crate) tries_on_seat: u32,
    pub(crate) tries: u32,
}

impl AttemptStream {
    pub(crate) fn new(
        exchange: &Rc<Exchange>,
        attempt: &Rc<Attempt>,
        open: OpenAttempt,
        request: Request,
        held: HeldRequest,
    ) -> Self {
        let (own_exchange, own_attempt) = (Rc::clone(exchange), Rc::clone(attempt));
        let opening = async move {
            let answered = send_and_follow(&own_exchange, &own_attempt, &request).await;
            answered.map_err(|failure| own_exchange.rewrite_not_found(failure))
        };
        let path = open.answer_path(exchange, &held);
        Self {
            source: Source::Opening(Box::pin(opening)),
            counts_body: path.keeps_text,
            stream: operations::answer_stream(path),
            held,
            pieces: Vec::new(),
            ended: None,
            upstream_headers: open.dropped_params_header().into_iter().collect(),
            watch: StoredAnswerTracker::new(exchange.is_stored_by_provider(open.is_native())),
            open: Some(open),
            timer: Timer::new(&exchange.deps.timers),
            deadline: Instant::now() + exchange.time_left(),
            uploaded: 0,
            tries_on_seat: 0,
            tries: 0,
            exchange: Rc::clone(exchange),
            attempt: Rc::clone(attempt),
        }
    }

    pub fn facts(&self) -> &StreamFacts {
        self.stream.facts()
    }

    /// The usage so far: the upstream's own count, else an estimate from the bytes that arrived.
    pub fn usage(&self) -> Usage {
        self.usage_or(|content_bytes| self.exchange.quick_estimate(&self.held, &self.attempt, content_bytes))
    }

    /// The best known usage, for the books: what the upstream did not count is
    /// counted here, where that is possible.
    fn settled_usage(&self) -> Usage {
        self.usage_or(|bytes| self.exchange.estimate(&self.held, &self.attempt, self.stream.text(), bytes))
    }

    fn usage_or(&self, estimate: impl FnOnce(u64) -> Usage) -> Usage {
        let facts = self.stream.facts();
        let booking = self.watch.booking(&self.exchange);
        let known = match &self.open {
            Some(open) => open.known(&self.exchange, booking),
            None => self.exchange.known(booking),
        };
        let outcome = Outcome::Answered { reported: facts.usage, content_bytes: facts.content_bytes };
        usage(&known, outcome, || estimate(facts.content_bytes))
    }

    /// The usage so far, too high rather than too low: an event holds at least one token.
    pub fn usage_upper_bound(&self) -> Usage {
        let (usage, events) = (self.usage(), self.stream.facts().events);
        if usage.is_estimated() && self.can_be_cut() {
            Usage { output: usage.output.max(events), ..usage }
        } else {
            usage
        }
    }

    /// Whether its dialect has an end that says that it was cut. What can't be cut was reserved in full.
    pub fn can_be_cut(&self) -> bool {
        self.exchange.call.spec().facts().counts_tokens
    }

    /// The last events of an answer that is cut here, with the finish reason for that.
    pub fn length_stop(&mut self, last: &[u8], used: Usage) -> Bytes {
        self.stream.length_stop(last, used)
    }

    /// The error as the stream's last event.
    pub fn error_event(&mut self, fault: &Fault) -> Bytes {
        self.stream.error_event(fault, self.exchange.trace())
    }

    /// Whether that event is an end that the client's dialect has.
    pub fn ends_with_its_error(&self) -> bool {
        self.stream.ends_with_its_error()
    }

    /// The bytes that keep a silent stream open.
    pub fn ping(&self) -> Bytes {
        self.stream.ping()
    }

    /// The next piece for the client, or the end. An error comes after all pieces that were whole before it.
    ///
    /// All that has arrived goes out as one piece: each piece is a write to the client's socket, which costs
    /// more than everything else that is done to it.
    pub fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<Result<Flow, AttemptFailure>> {
        while self.ended.is_none() && self.wants_more() {
            if self.poll_fill(cx).is_pending() {
                if self.pieces.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
        }
        std::task::ready!(self.watch.poll_booking_claim(cx));
        if let Some(piece) = self.take_piece() {
            return Poll::Ready(Ok(Flow::Data(piece)));
        }
        match self.ended.take() {
            Some(Ok(())) | None => Poll::Ready(Ok(Flow::End)),
            Some(Err(failure)) => Poll::Ready(Err(failure)),
        }
    }

    /// Frees the request's body, since content went out and there will be no further attempt. A short body is
    /// held if its tokens may have to be counted.
    pub fn forget_body(&mut self) {
        self.held.forget_body(self.counts_body);
    }

    /// Whether the stream came to its end and its last piece was taken.
    pub fn is_over(&self) -> bool {
        self.pieces.is_empty() && matches!(self.ended, Some(Ok(())))
    }

    fn wants_more(&self) -> bool {
        self.pieces.iter().map(Bytes::len).sum::<usize>() < STREAM_PIECE_BYTES
    }

    /// Takes what is ready, small pieces joined.
    fn take_piece(&mut self) -> Option<Bytes> {
        let mut length = 0;
        let fits = |piece: &&Bytes| {
            length += piece.len();
            length <= STREAM_PIECE_BYTES
        };
        match self.pieces.iter().take_while(fits).count() {
            0 | 1 => (!self.pieces.is_empty()).then(|| self.pieces.remove(0)),
            count => {
                let mut whole = BytesMut::with_capacity(length.min(STREAM_PIECE_BYTES));
                self.pieces.drain(..count).for_each(|piece| whole.extend_from_slice(&piece));
                Some(whole.freeze())
            }
        }
    }

    /// Waits for the first event, until `until` at most: then the head goes out and
    /// the attempt continues behind it.
    ///
    /// # Errors
    /// The attempt failed before any content.
    pub(crate) async fn wait_first(&mut self, until: Instant) -> Result<(), AttemptFailure> {
        let fill = std::future::poll_fn(|cx| {
            while !self.has_started() || self.is_uploading(cx) {
                std::task::ready!(self.poll_fill(cx));
            }
            Poll::Ready(())
        });
        let in_time = timeout_at(until, fill).await.is_ok();
        match self.ended.take() {
            Some(Err(failure)) if in_time && !self.facts().content_started => Err(failure),
            ended => {
                self.ended = ended;
                Ok(())
            }
        }
    }

    /// Cuts the upstream off at once: the answer is complete, or the client wants no more of it. Returns the
    /// known usage, for closing the tab.
    pub fn close(&mut self, tab: &mut Tab) -> Usage {
        let handover = self.open.as_ref().and_then(OpenAttempt::handover);
        self.watch.end(&self.exchange, &self.stream, handover);
        // The upstream is cut off before anything is counted.
        self.source = Source::Over;
        let usage = self.settled_usage();
        let facts = self.stream.facts();
        if facts.finished {
            self.exchange.learn(&self.attempt, &usage, facts.content_bytes);
        }
        if let Some(turn) = self.stream.signatures() {
            self.exchange.store_turn(turn, &self.attempt);
        }
        if let Some(open) = self.open.take() {
            open.close(tab, &usage, self.exchange.deps.now_us());
        }
        usage
    }

    /// Redacts a failure for its seat, and forgets a cached token that was refused.
    pub(crate) fn process_failure(&self, failure: AttemptFailure) -> AttemptFailure {
        match &self.open {
            Some(open) => open.process_failure(&self.exchange.deps, failure),
            None => failure,
        }
    }

    pub(crate) fn take_context_order(&mut self) -> Option<Box<ContextOrder>> {
        self.open.as_mut()?.take_context_order()
    }

    pub(crate) fn take_keep_alive(&mut self) -> Option<Box<KeepAlive>> {
        self.open.as_mut()?.take_keep_alive()
    }

    /// The same for one that fails behind its head, of which the client was told nothing yet.
    pub(crate) fn process_context(&mut self, failure: AttemptFailure) -> AttemptFailure {
        let is_refused = self.open.as_ref().is_some_and(|open| open.is_context_refused(&failure));
        self.held.is_plain |= is_refused;
        AttemptFailure { context_refused: is_refused, ..failure }
    }

    /// Ends the attempt as failed; returns what it used.
    pub fn end_as_failed(&mut self, tab: &mut Tab, failure: &AttemptFailure) -> Usage {
        // The reservation is kept for the next attempt.
        self.watch.end(&self.exchange, &self.stream, None);
        let usage = self.usage_of_failure(failure);
        self.source = Source::Over;
        if let Some(open) = self.open.take() {
            open.end_as_failed(tab, failure, usage, self.exchange.deps.now_us());
        }
        usage
    }

    fn usage_of_failure(&self, failure: &AttemptFailure) -> Usage {
        let facts = self.stream.facts();
        // Media was started all the same, and its provider bills the request.
        let has_started = facts.content_started && !self.can_be_cut();
        let is_silent = facts.usage.is_none() && facts.content_bytes == 0 && !has_started;
        if is_silent {
            self.exchange.usage_without_answer(&self.held, &self.attempt, failure)
        } else {
            self.settled_usage()
        }
    }

    /// An answer that starts before its request has ended waits here for that: once the head
    /// is out, the client is not read.
    fn is_uploading(&self, cx: &mut Context<'_>) -> bool {
        self.ended.is_none()
            && self.exchange.call.upload().is_some_and(|upload| upload.poll_over(cx).is_pending())
    }

    /// The content type for the client; `None` if its dialect implies it, and until it is known.
    pub fn media_type(&self) -> Option<HeaderValue> {
        if let Some(own) = self.stream.media_type() {
            return Some(HeaderValue::from_static(own));
        }
        let is_answered = !matches!(self.source, Source::Opening(_));
        self.open.as_ref().filter(|_| is_answered).and_then(OpenAttempt::media_type)
    }

    fn has_started(&self) -> bool {
        let facts = self.stream.facts();
        // The first event may be a role without content, and an error right behind it can still fail over. A
        // second one is enough whatever it holds, so that an unknown dialect is not held back.
        self.ended.is_some() || facts.content_started || facts.finished || facts.events >= 2
    }

    /// Reads once from the upstream. Ready means progress: bytes, the end or a failure.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (arrival, limit) = match &mut self.source {
            Source::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(opened)) => (self.head(opened), Duration::ZERO),
                Poll::Ready(Err(failure)) => (self.fail(failure), Duration::ZERO),
                Poll::Pending => (Poll::Pending, self.exchange.timeouts.first_byte),
            },
            Source::Live(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => (self.arrived(frame), Duration::ZERO),
                Poll::Pending => (Poll::Pending, self.idle_limit()),
            },
            Source::Over => (
                self.fail(AttemptFailure::broken(self.attempt.provider(), "the response has already ended")),
                Duration::ZERO,
            ),
        };
        let uploaded = self.exchange.call.upload().map_or(0, Upload::taken);
        if arrival.is_ready() || uploaded > self.uploaded {
            self.uploaded = uploaded;
            self.timer.restart();
        }
        if arrival.is_ready() {
            return arrival;
        }
        match self.timer.poll(cx, limit, self.deadline) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Alarm::Deadline) => self.fail(AttemptFailure::deadline()),
            Poll::Ready(Alarm::Silence) => self.fail(self.silence(limit)),
        }
    }

    fn idle_limit(&self) -> Duration {
        // Until the first event the upstream may take as long as for its first byte.
        match self.stream.facts().events {
            0 => self.exchange.timeouts.first_byte,
            _ => self.exchange.timeouts.idle,
        }
    }

    fn silence(&self, limit: Duration) -> AttemptFailure {
        let what = match self.stream.facts().events {
            0 => "sent no event of its answer",
            _ => "sent no further event of its answer",
        };
        AttemptFailure::timeout(self.attempt.provider(), what, limit.as_secs())
    }

    fn head(&mut self, opened: UpstreamResponse) -> Poll<()> {
        if let Some(open) = &mut self.open {
            open.record_head(&opened, self.exchange.deps.now_us());
        }
        let is_encoded = opened.headers.get("content-encoding").is_some_and(|value| value != b"identity");
        if is_encoded {
            let failure = AttemptFailure::broken(
                self.attempt.provider(),
                "its stream is compressed, which wasn't requested",
            );
            return self.fail(failure.not_retryable());
        }
        let client = self.exchange.dialect().grammar();
        self.upstream_headers.extend(forwarded_headers(&opened.headers, self.attempt.seat(), client));
        let media_type = opened.headers.get("content-type").unwrap_or_default();
        if let Err(fault) = self.stream.opened(media_type) {
            return self.fail(stream_failure(fault, self.attempt.provider()));
        }
        self.source = Source::Live(opened.body);
        Poll::Ready(())
    }

    fn arrived(&mut self, frame: Option<Result<http_body::Frame<Bytes>, egress::EgressError>>) -> Poll<()> {
        let scanned = match frame {
            None => self.stream.finish(&mut self.pieces).map(|()| self.ended = Some(Ok(()))),
            Some(Err(error)) => {
                // Pieces that were read before still go out. No `finish`: that the
                // stream broke is known already.
                let failure =
                    AttemptFailure::broken(self.attempt.provider(), error.message.trim_end_matches('.'));
                return self.fail(failure);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => self.stream.push(chunk, &mut self.pieces),
                Err(_trailers) => Ok(()),
            },
        };
        self.pieces.retain(|piece| !piece.is_empty());
        if self.watch.is_needed(&self.exchange) {
            let handover = self.open.as_ref().and_then(OpenAttempt::handover);
            self.watch.note(&self.exchange, &self.attempt, (&self.stream, handover));
        }
        match scanned {
            Ok(()) => {
                if self.ended.is_some() {
                    self.source = Source::Over;
                }
                Poll::Ready(())
            }
            Err(fault) => self.fail(stream_failure(fault, self.attempt.provider())),
        }
    }

    fn fail(&mut self, failure: AttemptFailure) -> Poll<()> {
        self.source = Source::Over;
        self.ended = Some(Err(failure.redacted(self.attempt.seat())));
        Poll::Ready(())
    }
}
