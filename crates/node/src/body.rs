//! The body of a node's answer: bytes, or a generation written as a stream of events.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use domain::runtime::BoxedGeneration;
use domain::{Event, Fault, FaultClass};
use http_body::{Body, Frame, SizeHint};
use runtime::AnswerWriter;

use crate::books::{RequestGuard, RequestOutcome};
use crate::train::Following;

/// The stream broke off: it must not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCut;

pub struct NodeBody(Kind);

enum Kind {
    Whole(Bytes),
    Stream(Box<Stream>),
    Follow(Box<Following>),
    Over,
}

/// A running generation with its journal entry. Dropping it cancels the generation if it has not finished.
pub(crate) struct Running {
    generation: BoxedGeneration,
    /// The first event, which was awaited before the response began.
    first: Option<Event>,
    entry: RequestGuard,
    ended: RequestOutcome,
}

struct Stream {
    running: Running,
    writer: AnswerWriter,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Clean,
    Broken,
}

impl Running {
    pub(crate) fn new(generation: BoxedGeneration, entry: RequestGuard) -> Self {
        Self { generation, first: None, entry, ended: RequestOutcome::Disconnected }
    }

    /// Waits for the first event, so that a refused request gets an error response and not a stream.
    pub(crate) async fn begin(&mut self) -> Result<(), Fault> {
        self.first = Some(poll_fn(|cx| self.poll_event(cx)).await?);
        Ok(())
    }

    /// The next event. A generation that ends without `Done` is an error: it must not look complete.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Fault>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(first));
        }
        let event = ready!(self.generation.as_mut().poll_next(cx)).unwrap_or_else(|| Err(broken()));
        match &event {
            Ok(Event::Done) => self.ended = RequestOutcome::Completed,
            Ok(_) => {}
            Err(_) => self.ended = RequestOutcome::Failed,
        }
        Poll::Ready(event)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let used = self.generation.as_ref().usage();
        self.entry.end(self.ended, &used);
    }
}

fn broken() -> Fault {
    Fault::new(FaultClass::StreamBroken, "generation_broken", "The runtime broke off its answer.")
}

impl NodeBody {
    #[must_use]
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(crate) fn follow(following: Following) -> Self {
        Self(Kind::Follow(Box::new(following)))
    }

    pub(crate) fn stream(running: Running, writer: AnswerWriter) -> Self {
        Self(Kind::Stream(Box::new(Stream { running, writer, end: End::Open })))
    }
}

impl Stream {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, NodeCut>>> {
        loop {
            match self.end {
                End::Clean => return Poll::Ready(None),
                End::Broken => return Poll::Ready(Some(Err(NodeCut))),
                End::Open => {}
            }
            let bytes = match ready!(self.running.poll_event(cx)) {
                Ok(event) => {
                    if event == Event::Done {
                        self.end = End::Clean;
                    }
                    self.writer.event(event)
                }
                Err(fault) => {
                    self.end = End::Broken;
                    self.writer.error(&fault)
                }
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}

impl Body for NodeBody {
    type Data = Bytes;
    type Error = NodeCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NodeCut>>> {
        let polled = match &mut self.0 {
            Kind::Over => None,
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Over;
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Kind::Stream(stream) => ready!(stream.poll_bytes(cx)),
            Kind::Follow(following) => ready!(following.poll_bytes(cx)).map(Ok),
        };
        if matches!(polled, None | Some(Err(_))) {
            self.0 = Kind::Over;
        }
        Poll::Ready(polled.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Over => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Stream(_) | Kind::Follow(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Over => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) | Kind::Follow(_) => SizeHint::default(),
        }
    }
}

impl fmt::Display for NodeCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the generation broke off")
    }
}

impl std::error::Error for NodeCut {}
