//! The body of a streamed answer: pieces as they arrive, keep-alive comments during silence, and an error
//! event if it breaks.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use domain::limits::{CHECKPOINT_BYTES, CHECKPOINT_EVERY, ERROR_EVENT_LINGER, PING_EVERY};
use domain::{Fault, FaultClass, Outcome, Usage};
use execute::{AttemptFailure, AttemptStream, Exchange, Flow, LateRetry, retry_late};
use ledger::Tab;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::client_response::{Ending, Piece, note_checks};

type Retry = Pin<Box<dyn Future<Output = (Tab, LateRetry)>>>;

enum State {
    Flowing(Box<AttemptStream>),
    /// The attempt is repeated at the same seat; the retry owns the tab until its answer starts.
    Retrying(Retry),
    /// The error event was sent; after a pause that lets it leave, the connection is aborted.
    Breaking(Pin<Box<Sleep>>),
    Over,
}

pub(crate) struct Stream {
    exchange: Rc<Exchange>,
    state: State,
    tab: Option<Tab>,
    pinger: Pinger,
    bytes_out: u64,
    checkpoint_bytes: u64,
    checkpoint_us: u64,
    ending: Option<Ending>,
}

impl Stream {
    pub(crate) fn new(exchange: Rc<Exchange>, tab: Tab, stream: Box<AttemptStream>) -> Self {
        Self {
            checkpoint_us: exchange.now_us(),
            exchange,
            state: State::Flowing(stream),
            tab: Some(tab),
            pinger: Pinger::new(PING_EVERY),
            bytes_out: 0,
            checkpoint_bytes: 0,
            ending: None,
        }
    }

    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            match &mut self.state {
                State::Flowing(stream) => match stream.poll_flow(cx) {
                    Poll::Ready(Ok(Flow::Data(bytes))) => return Poll::Ready(self.data(bytes)),
                    Poll::Ready(Ok(Flow::End)) => return Poll::Ready(self.complete()),
                    Poll::Ready(Err(failure)) => {
                        if let Some(piece) = self.failed(failure) {
                            return Poll::Ready(piece);
                        }
                    }
                    Poll::Pending => return self.silent(cx),
                },
                State::Retrying(retry) => match retry.as_mut().poll(cx) {
                    Poll::Ready((tab, next)) => {
                        self.tab = Some(tab);
                        match next {
                            LateRetry::Resumed(stream) => self.state = State::Flowing(stream),
                            LateRetry::Exhausted(stream, failure) => {
                                return Poll::Ready(self.break_off(stream, failure));
                            }
                        }
                    }
                    Poll::Pending => return self.silent(cx),
                },
                State::Breaking(linger) => {
                    std::task::ready!(linger.as_mut().poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(Piece::Abort);
                }
                State::Over => return Poll::Ready(Piece::End),
            }
        }
    }

    pub(crate) fn ended_usage(&self) -> Option<Usage> {
        self.ending.as_ref().map(|ending| ending.usage)
    }

    /// Ends the exchange and returns the tab. A stream that did not end by itself counts as cancelled by the
    /// client. `None` while a retry holds the tab: dropped with it, the tab closes itself as cancelled.
    pub(crate) fn conclude(&mut self) -> Option<(Tab, Ending, u64)> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let ending = self.ending.take();
        let mut tab = self.tab.take()?;
        note_checks(&self.exchange, &mut tab);
        let ending = ending.unwrap_or_else(|| {
            let usage = match state {
                State::Flowing(mut stream) => stream.close(&mut tab),
                State::Retrying(_) | State::Breaking(_) | State::Over => Usage::default(),
            };
            Ending { outcome: Outcome::ClientCancelled, fault: Some(left()), usage }
        });
        Some((tab, ending, self.bytes_out))
    }

    fn data(&mut self, bytes: Bytes) -> Piece {
        self.bytes_out = self.bytes_out.saturating_add(bytes.len() as u64);
        self.pinger.restart();
        let now_us = self.exchange.now_us();
        let is_due = self.bytes_out - self.checkpoint_bytes >= CHECKPOINT_BYTES
            || u128::from(now_us.saturating_sub(self.checkpoint_us)) >= CHECKPOINT_EVERY.as_micros();
        let (State::Flowing(stream), Some(tab)) = (&mut self.state, &mut self.tab) else {
            return Piece::Data(bytes);
        };
        let is_last = stream.is_over();
        if tab.timeline_mut().first_byte_us == 0 && stream.facts().content_started {
            tab.timeline_mut().first_byte_us = now_us.saturating_sub(self.exchange.call.received_us());
            stream.forget_body();
        }
        if is_last {
            self.complete();
            return Piece::Last(bytes);
        }
        if tab.has_budgets() && stream.can_be_cut() {
            let used = stream.usage_upper_bound();
            if let Some(fault) = tab.cut_at(&stream.usage(), &used) {
                return self.cut(bytes, used, fault);
            }
        }
        if is_due {
            tab.checkpoint(stream.usage(), self.bytes_out);
            self.checkpoint_bytes = self.bytes_out;
            self.checkpoint_us = now_us;
        }
        Piece::Data(bytes)
    }

    /// The credit or budget is used up: the client gets a clean end with the finish reason "length", and the
    /// upstream is cut off.
    fn cut(&mut self, bytes: Bytes, used: Usage, fault: Box<Fault>) -> Piece {
        let State::Flowing(stream) = &mut self.state else { return Piece::Data(bytes) };
        let stop = stream.length_stop(&bytes, used);
        self.bytes_out = self.bytes_out.saturating_add(stop.len() as u64);
        self.complete();
        if let Some(ending) = &mut self.ending {
            (ending.outcome, ending.usage, ending.fault) = (Outcome::Cut, used, Some(fault));
        }
        Piece::Last(Bytes::from([bytes, stop].concat()))
    }

    fn complete(&mut self) -> Piece {
        if let (State::Flowing(mut stream), Some(tab)) =
            (std::mem::replace(&mut self.state, State::Over), &mut self.tab)
        {
            let usage = stream.close(tab);
            self.ending = Some(Ending { outcome: Outcome::Completed, fault: None, usage });
        }
        Piece::End
    }

    /// `None` where the attempt is repeated.
    fn failed(&mut self, failure: AttemptFailure) -> Option<Piece> {
        let State::Flowing(stream) = std::mem::replace(&mut self.state, State::Over) else {
            return Some(Piece::Abort);
        };
        if stream.facts().content_started {
            return Some(self.break_off(stream, failure));
        }
        match self.tab.take() {
            Some(tab) => {
                self.state = State::Retrying(Box::pin(retry_late(stream, tab, failure)));
                None
            }
            None => Some(Piece::Abort),
        }
    }

    /// Sends an error event in the client's dialect; the usage so far is booked.
    fn break_off(&mut self, mut stream: Box<AttemptStream>, failure: AttemptFailure) -> Piece {
        let mut usage = Usage::default();
        if let Some(tab) = &mut self.tab {
            usage = stream.end_as_failed(tab, &failure);
        }
        let outcome =
            if failure.class() == FaultClass::Deadline { Outcome::Deadline } else { Outcome::Failed };
        // The client has seen the content so far; an SDK that retried would pay twice.
        let fault = failure.fault.should_retry(false);
        let event = stream.error_event(&fault);
        let is_end = stream.ends_with_its_error() && !event.is_empty();
        drop(stream);
        self.bytes_out = self.bytes_out.saturating_add(event.len() as u64);
        self.ending = Some(Ending { outcome, fault: Some(Box::new(fault)), usage });
        if is_end {
            return Piece::Failed(event);
        }
        if event.is_empty() {
            self.state = State::Over;
            return Piece::Abort;
        }
        self.state = State::Breaking(Box::pin(sleep(ERROR_EVENT_LINGER)));
        Piece::Data(event)
    }

    /// Nothing to forward: sends a comment now and then to keep the connection open.
    fn silent(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let ping = match &self.state {
            State::Flowing(stream) => stream.ping(),
            _ => Bytes::from_static(dialects::ping(self.exchange.dialect().grammar())),
        };
        // Some stream formats have no comments.
        if ping.is_empty() {
            return Poll::Pending;
        }
        std::task::ready!(self.pinger.poll(cx));
        self.bytes_out = self.bytes_out.saturating_add(ping.len() as u64);
        Poll::Ready(Piece::Data(ping))
    }
}

fn left() -> Box<Fault> {
    Box::new(Fault::new(FaultClass::Cancelled, "client_cancelled", "The client went away before the end."))
}

/// A timer for silence: armed when something is awaited, and rescheduled only when it fires.
struct Pinger {
    every: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Pinger {
    const fn new(every: Duration) -> Self {
        Self { every, sleep: None, since: None }
    }

    fn restart(&mut self) {
        self.since = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + self.every;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                self.restart();
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn it_rings_after_each_silence_and_not_while_something_goes_out() {
        let every = Duration::from_millis(20);
        let mut pinger = Pinger::new(every);
        let began = Instant::now();
        poll_fn(|cx| pinger.poll(cx)).await;
        poll_fn(|cx| pinger.poll(cx)).await;
        assert!(began.elapsed() >= every * 2);
        // Something was sent after the timer was armed: the silence counts from there.
        let armed = poll_fn(|cx| Poll::Ready(pinger.poll(cx).is_ready())).await;
        assert!(!armed);
        pinger.restart();
        let restarted = Instant::now();
        poll_fn(|cx| pinger.poll(cx)).await;
        assert!(restarted.elapsed() >= every);
    }
}
