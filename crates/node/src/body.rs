//! The body of a node's answer: bytes, a generation written as a stream of events, or the stream of a backend.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use domain::runtime::BoxedGeneration;
use domain::{Event, Fault, FaultClass, Usage};
use http_body::{Body, Frame, SizeHint};
use runtime::AnswerWriter;

use crate::books::{RequestGuard, RequestOutcome};
use crate::cut::NodeCut;
use crate::hybrid::RelayedBody;
use crate::peers::PeerAnswerBody;
use crate::train::Following;

pub struct NodeBody(Kind);

enum Kind {
    Whole(Bytes),
    Stream(Box<Stream>),
    Follow(Box<Following>),
    Relayed(Box<RelayedBody>),
    OfPeer(PeerAnswerBody),
    Over,
}

/// A running generation with its journal entry. Dropping it cancels the generation if it has not finished.
pub(crate) struct Running {
    generation: BoxedGeneration,
    /// The first events, which were awaited before the response began.
    first: VecDeque<Event>,
    /// `None` once a backend answers.
    entry: Option<RequestGuard>,
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
        Self { generation, first: VecDeque::new(), entry: Some(entry), ended: RequestOutcome::Disconnected }
    }

    /// Waits for the first event, so that a refused request gets an error response and not a stream. It comes
    /// when the request has left the runtime's queue.
    pub(crate) async fn begin(&mut self) -> Result<(), Fault> {
        let event = poll_fn(|cx| self.poll_next(cx)).await?;
        self.first.push_back(event);
        if let Some(entry) = &mut self.entry {
            entry.scheduled();
        }
        Ok(())
    }

    /// Waits for the first event of the answer's content.
    pub(crate) async fn begin_content(&mut self) -> Result<(), Fault> {
        while matches!(self.first.back(), Some(Event::Usage(_) | Event::Start { .. })) {
            let event = poll_fn(|cx| self.poll_next(cx)).await?;
            self.first.push_back(event);
        }
        Ok(())
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        self.generation.as_ref().usage()
    }

    /// The journal entry, which a backend's answer ends instead.
    pub(crate) const fn take_entry(&mut self) -> Option<RequestGuard> {
        self.entry.take()
    }

    /// Takes the entry back.
    pub(crate) fn keep(&mut self, entry: Option<RequestGuard>) {
        self.entry = entry;
    }

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Fault>> {
        match self.first.pop_front() {
            Some(first) => Poll::Ready(Ok(first)),
            None => self.poll_next(cx),
        }
    }

    /// The next event of the generation. One that ends without `Done` is an error: it must not look complete.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Fault>> {
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
        if let Some(entry) = self.entry.take() {
            entry.end(self.ended, &self.usage());
        }
    }
}

fn broken() -> Fault {
    Fault::new(FaultClass::StreamBroken, "generation_broken", "The runtime broke off its answer.")
}

impl NodeBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    pub(crate) fn follow(following: Following) -> Self {
        Self(Kind::Follow(Box::new(following)))
    }

    pub(crate) fn relayed(body: Box<RelayedBody>) -> Self {
        Self(Kind::Relayed(body))
    }

    pub(crate) fn of_peer(body: PeerAnswerBody) -> Self {
        Self(Kind::OfPeer(body))
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
            Kind::Relayed(relayed) => ready!(relayed.poll_bytes(cx)),
            Kind::OfPeer(body) => return body.as_mut().poll_frame(cx),
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
            Kind::Stream(_) | Kind::Follow(_) | Kind::Relayed(_) | Kind::OfPeer(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Over => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) | Kind::Follow(_) | Kind::Relayed(_) | Kind::OfPeer(_) => SizeHint::default(),
        }
    }
}
