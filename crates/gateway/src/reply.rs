//! What a connection sends: a response body, together with what must end with it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialects::InvokedStream;
use domain::TraceId;
use http::header::HeaderName;
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use line::RecordedBody;
use node::NodeBody;
use settle::ReplyBody;
use tokio::net::TcpStream;

use crate::in_flight::Permit;
use crate::write_stall::StallTimer;

/// The response broke off: the connection (or HTTP/2 stream) is not ended cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct Cut;

/// The timeout of a stream whose client was given a frame and has no room for the next yet.
pub type Clock = Rc<RefCell<StallTimer>>;

pub struct Reply {
    kind: Kind,
    clock: Option<Clock>,
    /// Of the last frame.
    handed_bytes: usize,
    /// Of a request that counts as in flight until its response has ended.
    permit: Option<Permit>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all replies are the large one, and a box is one more allocation of each"
)]
enum Kind {
    Line(ReplyBody),
    /// Boxed: few responses are under an idempotency key, and each connection is as large as the others.
    Once(Box<RecordedBody>),
    Node(NodeBody),
    Whole(Bytes),
    /// Boxed, as few are.
    Framed(Box<Framed>),
    /// No body: the connection is handed over behind the head.
    Handover(Box<Handover>),
    Over,
}

/// A stream of events that its client gets in frames.
struct Framed {
    reply: Reply,
    frames: InvokedStream,
    /// Since the request arrived.
    elapsed_ms: Box<dyn Fn() -> u64>,
}

/// Takes a connection over.
pub type Handover = dyn FnOnce(HandedOver) -> Pin<Box<dyn Future<Output = ()>>>;

/// A connection that HTTP is done with.
pub struct HandedOver {
    pub socket: TcpStream,
    /// What was read from it behind the request.
    pub early: Vec<u8>,
    /// Nothing new may be started any more.
    pub closing: Rc<Cell<bool>>,
}

impl Reply {
    pub fn whole(bytes: Bytes) -> Self {
        Self::of(Kind::Whole(bytes))
    }

    pub fn handover<F: Future<Output = ()> + 'static>(take: impl FnOnce(HandedOver) -> F + 'static) -> Self {
        Self::of(Kind::Handover(Box::new(move |handed| Box::pin(take(handed)))))
    }

    /// The handler that takes the connection over behind this response's head.
    pub fn take_handover(&mut self) -> Option<Box<Handover>> {
        if !matches!(self.kind, Kind::Handover(_)) {
            return None;
        }
        match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Handover(take) => Some(match self.permit.take() {
                Some(permit) => Box::new(|handed| {
                    let taken = take(handed);
                    Box::pin(async move {
                        taken.await;
                        drop(permit);
                    })
                }),
                None => take,
            }),
            _ => None,
        }
    }

    /// Puts its events into frames.
    pub fn framed(self, frames: InvokedStream, elapsed_ms: impl Fn() -> u64 + 'static) -> Self {
        Self::of(Kind::Framed(Box::new(Framed { reply: self, frames, elapsed_ms: Box::new(elapsed_ms) })))
    }

    /// Counts its request as in flight until it has ended.
    pub fn with_permit(mut self, permit: Option<Permit>) -> Self {
        self.permit = permit;
        self
    }

    fn of(kind: Kind) -> Self {
        Self { kind, clock: None, handed_bytes: 0, permit: None }
    }

    /// Lets an HTTP/2 stream's timeout know what its client was given.
    pub fn clocked(mut self, clock: Clock) -> Self {
        // Without a window for even the first byte, hyper does not poll for the first frame.
        clock.borrow_mut().wait();
        self.clock = Some(clock);
        self
    }

    /// Whether the rest of it is held until the exchange's record is written.
    pub fn waits_for_record(&self) -> bool {
        match &self.kind {
            Kind::Line(body) => body.waits_for_record(),
            Kind::Once(body) => body.waits_for_record(),
            Kind::Framed(framed) => framed.reply.waits_for_record(),
            Kind::Node(_) | Kind::Whole(_) | Kind::Handover(_) | Kind::Over => false,
        }
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.kind {
            Kind::Line(body) => Pin::new(body).poll_frame(cx).map_err(|_| Cut),
            Kind::Once(body) => Pin::new(&mut **body).poll_frame(cx).map_err(|_| Cut),
            Kind::Node(body) => Pin::new(body).poll_frame(cx).map_err(|_| Cut),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Over;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Framed(framed) => framed.poll(cx),
            Kind::Handover(_) | Kind::Over => Poll::Ready(None),
        }
    }
}

impl Framed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            match ready!(Pin::new(&mut self.reply).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    let frames = self.frames.push(&piece, (self.elapsed_ms)());
                    if !frames.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(frames))));
                    }
                }
                ended => return Poll::Ready(ended),
            }
        }
    }
}

impl From<ReplyBody> for Reply {
    fn from(body: ReplyBody) -> Self {
        Self::of(Kind::Line(body))
    }
}

impl From<RecordedBody> for Reply {
    fn from(body: RecordedBody) -> Self {
        Self::of(Kind::Once(Box::new(body)))
    }
}

impl From<NodeBody> for Reply {
    fn from(body: NodeBody) -> Self {
        Self::of(Kind::Node(body))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(clock) = &self.clock {
            clock.borrow_mut().took(self.handed_bytes);
        }
        // A panic while a response is streamed ends that response, not the core's other connections; what it
        // held is dropped here, which settles it.
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_kind(cx))).unwrap_or_else(|_| {
            tracing::error!("a panic ended an answer after its head");
            Poll::Ready(Some(Err(Cut)))
        });
        if let (Some(clock), Poll::Ready(Some(Ok(frame)))) = (&self.clock, &polled) {
            clock.borrow_mut().wait();
            self.handed_bytes = frame.data_ref().map_or(0, Bytes::len);
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.kind = Kind::Over;
            self.permit = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Line(body) => body.is_end_stream(),
            Kind::Once(body) => body.is_end_stream(),
            Kind::Node(body) => body.is_end_stream(),
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Framed(framed) => framed.reply.is_end_stream(),
            Kind::Handover(_) | Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Line(body) => body.size_hint(),
            Kind::Once(body) => body.size_hint(),
            Kind::Node(body) => body.size_hint(),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Framed(_) => SizeHint::default(),
            Kind::Handover(_) | Kind::Over => SizeHint::with_exact(0),
        }
    }
}

/// Adds the request id to an answer.
pub(crate) fn with_request_id(mut answer: Response<Reply>, trace: TraceId) -> Response<Reply> {
    if let Ok(id) = HeaderValue::try_from(trace.to_string()) {
        for name in ["x-request-id", "agent-trace-id"] {
            answer.headers_mut().entry(HeaderName::from_static(name)).or_insert_with(|| id.clone());
        }
    }
    answer
}
