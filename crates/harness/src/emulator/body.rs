//! A response body that plays a list of steps and reports to the journal what was sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::state::Guard;
use super::wire::Control;

/// How often it is looked whether the client has read everything, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS_MAX: u32 = 2_500;

/// One step of a response body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Passes bytes to the connection; `tokens` count as generated from then on.
    Write {
        bytes: Bytes,
        tokens: u64,
    },
    /// Lets the connection flush before the next step.
    Flush,
    Wait(Duration),
    /// Waits until the client has read what was written, or long enough for one that reads no more.
    UntilRead,
    /// Waits until the client disconnects.
    Stall,
    /// Aborts the TCP connection.
    Reset,
    /// Ends the transfer without its terminator.
    Break,
}

/// The error that makes hyper end the transfer early.
#[derive(Debug)]
pub(crate) struct Broken;

pub(crate) struct Steps {
    steps: std::vec::IntoIter<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// How often more it is looked whether the client has read everything.
    looks_left: u32,
    /// Set once nothing more will be sent although the response has not ended.
    silent: bool,
    guard: Guard,
    control: Arc<Control>,
}

impl Steps {
    pub(crate) fn new(steps: Vec<Step>, guard: Guard, control: Arc<Control>) -> Self {
        if steps.is_empty() {
            guard.finish();
        }
        Self { steps: steps.into_iter(), sleep: None, looks_left: 0, silent: false, guard, control }
    }

    fn write(&mut self, bytes: Bytes, tokens: u64) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.guard.wrote(bytes.len(), tokens);
        // The connection may know from the content length that this was the end, and never poll again.
        if self.steps.len() == 0 {
            self.guard.finish();
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        loop {
            if this.silent {
                return Poll::Pending;
            }
            if let Some(sleep) = this.sleep.as_mut() {
                std::task::ready!(sleep.as_mut().poll(cx));
                this.sleep = None;
            }
            if this.looks_left > 0 {
                this.looks_left = if this.control.is_read() { 0 } else { this.looks_left - 1 };
                if this.looks_left > 0 {
                    this.sleep = Some(Box::pin(tokio::time::sleep(LOOK_EVERY)));
                    continue;
                }
            }
            match this.steps.next() {
                Some(Step::Write { bytes, tokens }) => return this.write(bytes, tokens),
                Some(Step::Flush) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Wait(pause)) => this.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                // The connection flushes while this waits.
                Some(Step::UntilRead) => {
                    this.looks_left = LOOKS_MAX;
                    this.sleep = Some(Box::pin(tokio::time::sleep(LOOK_EVERY)));
                }
                Some(Step::Stall) => this.silent = true,
                Some(Step::Reset) => {
                    this.guard.cut();
                    this.control.abort();
                    this.silent = true;
                }
                Some(Step::Break) => {
                    this.guard.cut();
                    return Poll::Ready(Some(Err(Broken)));
                }
                None => {
                    this.guard.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.len() == 0 && self.sleep.is_none() && !self.silent
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the script breaks the answer off here")
    }
}

impl std::error::Error for Broken {}
