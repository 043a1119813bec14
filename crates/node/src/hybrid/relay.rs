//! Relays the stream of a backend to the client as it arrives, and reads its usage on the way.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use conversation::answer::StreamFault;
use dialects::AnswerStream;
use domain::limits::IDLE_TIME_MAX;
use domain::{Fault, FaultClass, TraceId, Usage};
use egress::InBody;
use http_body::Body;
use tokio::time::{Instant, Sleep, sleep};

use crate::books::{RequestGuard, RequestOutcome};
use crate::cut::NodeCut;

/// The body of an answer that a backend streams. Dropping it cancels the request there.
pub(crate) struct RelayedBody {
    backend: String,
    body: InBody,
    stream: AnswerStream,
    /// Read, and not taken by the client yet.
    ready: VecDeque<Bytes>,
    /// `None` until the answer has begun.
    entry: Option<RequestGuard>,
    idle: Pin<Box<Sleep>>,
    prompt_bytes: u64,
    trace: TraceId,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Clean,
    Broken,
}

impl RelayedBody {
    /// Use it inside a runtime with timers.
    pub(crate) fn new(
        backend: String,
        body: InBody,
        stream: AnswerStream,
        prompt_bytes: u64,
        trace: TraceId,
    ) -> Self {
        let idle = Box::pin(sleep(IDLE_TIME_MAX));
        let (ready, entry, end) = (VecDeque::new(), None, End::Open);
        Self { backend, body, stream, ready, entry, idle, prompt_bytes, trace, end }
    }

    /// Waits until there is something for the client, so that a stream that breaks before is not one.
    ///
    /// # Errors
    /// The stream broke off before its first byte.
    pub(crate) async fn open(&mut self) -> Result<(), String> {
        while self.ready.is_empty() && self.end == End::Open {
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
        if self.ready.is_empty() { Err("it ended without an answer".to_owned()) } else { Ok(()) }
    }

    /// The journal entry that records the end of the stream.
    pub(crate) fn record(&mut self, entry: RequestGuard) {
        self.entry = Some(entry);
        self.note(if self.end == End::Clean {
            RequestOutcome::Completed
        } else {
            RequestOutcome::Disconnected
        });
    }

    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, NodeCut>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match self.end {
                End::Clean => return Poll::Ready(None),
                End::Broken => return Poll::Ready(Some(Err(NodeCut))),
                End::Open => {}
            }
            if let Err(why) = ready!(self.poll_more(cx)) {
                self.break_off(&why);
            }
        }
    }

    /// Reads the next chunk. An error is of a stream that broke off.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut out = Vec::new();
        let read = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                Err(format!("it sent nothing for {} s", IDLE_TIME_MAX.as_secs()))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.idle.as_mut().reset(Instant::now() + IDLE_TIME_MAX);
                match frame.into_data() {
                    Ok(bytes) => self.stream.push(bytes, &mut out).map_err(|fault| broken_words(&fault)),
                    // Nothing is read from trailers.
                    Err(_trailers) => Ok(()),
                }
            }
            Poll::Ready(Some(Err(error))) => Err(error.message),
            Poll::Ready(None) => {
                let ended = self.stream.finish(&mut out).map_err(|fault| broken_words(&fault));
                if ended.is_ok() {
                    self.end = End::Clean;
                }
                ended
            }
        };
        self.ready.extend(out.into_iter().filter(|bytes| !bytes.is_empty()));
        let is_over = self.end == End::Clean;
        self.note(if is_over { RequestOutcome::Completed } else { RequestOutcome::Disconnected });
        Poll::Ready(read)
    }

    fn usage(&self) -> Usage {
        let facts = self.stream.facts();
        facts.usage.unwrap_or_else(|| chat::estimate(self.prompt_bytes, facts.content_bytes))
    }

    fn note(&mut self, ended: RequestOutcome) {
        let usage = self.usage();
        if let Some(entry) = &mut self.entry {
            entry.note(ended, usage);
        }
    }

    /// Ends the answer with an error event in the client's dialect.
    fn break_off(&mut self, why: &str) {
        let message = format!("The backend {} broke off its answer: {why}.", self.backend);
        let fault = Fault::new(FaultClass::StreamBroken, "backends_failed", message).should_retry(false);
        let event = self.stream.error_event(&fault, self.trace);
        self.end =
            if self.stream.ends_with_its_error() && !event.is_empty() { End::Clean } else { End::Broken };
        self.ready.push_back(event);
        self.note(RequestOutcome::Failed);
    }
}

/// What is wrong with an answer.
pub(crate) fn broken_words(fault: &StreamFault) -> String {
    match fault.clone().report() {
        Ok((report, _)) => {
            let message = report.message.as_deref().unwrap_or("it does not say why");
            format!("it reports an error: {message}")
        }
        Err(word) => format!("its answer can't be read ({word})"),
    }
}
