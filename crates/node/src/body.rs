//! A node's answer: bytes, or a generation written as the events of a stream.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialects::chat::{Completion, DONE, error_event};
use domain::TraceId;
use domain::runtime::{Generation, RuntimeEvent};
use http_body::{Body, Frame, SizeHint};

/// A stream that broke off: its end is not a clean one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCut;

pub struct NodeBody(Kind);

enum Kind {
    Whole(Bytes),
    Stream(Box<Stream>),
    Over,
}

struct Stream {
    generation: Pin<Box<dyn Generation + Send>>,
    completion: Completion,
    trace: TraceId,
    include_usage: bool,
    ready: VecDeque<Bytes>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Clean,
    Broken,
}

impl NodeBody {
    #[must_use]
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }

    /// Dropped, it drops the generation, which cancels it.
    pub(crate) fn stream(
        generation: Pin<Box<dyn Generation + Send>>,
        completion: Completion,
        trace: TraceId,
        include_usage: bool,
    ) -> Self {
        let ready = VecDeque::from([completion.first_chunk(include_usage)]);
        Self(Kind::Stream(Box::new(Stream {
            generation,
            completion,
            trace,
            include_usage,
            ready,
            end: End::Open,
        })))
    }
}

impl Stream {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, NodeCut>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            match self.end {
                End::Clean => return Poll::Ready(None),
                End::Broken => return Poll::Ready(Some(Err(NodeCut))),
                End::Open => {}
            }
            match ready!(self.generation.as_mut().poll_next(cx)) {
                Some(Ok(RuntimeEvent::Text(text))) => {
                    self.ready.push_back(self.completion.text_chunk(&text, self.include_usage));
                }
                Some(Ok(RuntimeEvent::Finish { reason, usage })) => {
                    self.ready.push_back(self.completion.finish_chunk(reason, self.include_usage));
                    if self.include_usage {
                        self.ready.push_back(self.completion.usage_chunk(&usage));
                    }
                    self.ready.push_back(Bytes::from_static(DONE));
                    self.end = End::Clean;
                }
                Some(Err(fault)) => {
                    self.ready.push_back(error_event(&fault, self.trace));
                    self.end = End::Broken;
                }
                // A generation that ends without saying why is broken: it must not look whole.
                None => self.end = End::Broken,
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
            Kind::Stream(stream) => ready!(stream.poll_event(cx)),
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
            Kind::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Over => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Display for NodeCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the generation broke off")
    }
}

impl std::error::Error for NodeCut {}
