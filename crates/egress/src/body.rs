//! Response bodies, each a stream that cancels its exchange when dropped, and what holds one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::{EgressError, EgressErrorKind, from_broke, from_hyper};
use crate::http1::Framing;
use crate::message::Headers;
use crate::pool::Lease;
use crate::socket::Socket;

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: InBody,
}

/// The outcome of a handshake for another protocol.
#[derive(Debug)]
pub enum Upgrade {
    Open(Headers, Socket),
    /// The peer responded without upgrading.
    Answered(Answer),
}

/// A response body. Dropped before its end, it cancels the exchange: the connection is closed (HTTP/1.1) or
/// the stream reset (HTTP/2) within the same turn of the event loop.
pub struct InBody {
    source: Source,
    /// Held until the last byte; giving it back frees the connection for the next request.
    lease: Option<Lease>,
}

/// What of an answer is still to come through a node's tunnel.
pub(crate) trait TunnelledBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>>;
    fn is_over(&self) -> bool;
    fn size_hint(&self) -> SizeHint;
}

enum Source {
    /// Read from the lease's own connection, which is reused only if the peer `keeps` it alive.
    Own { framing: Framing, keeps: bool },
    /// A stream of a shared connection.
    Shared(Incoming),
    /// Boxed: every answer is as large as the others.
    Tunnel(Box<dyn TunnelledBody>),
    /// Bytes that were read before; no connection is held for them.
    Read(Bytes),
}

impl InBody {
    pub(crate) fn own(framing: Framing, keeps: bool, lease: Lease) -> Self {
        Self::new(Source::Own { framing, keeps }, lease)
    }

    pub(crate) fn shared(incoming: Incoming, lease: Lease) -> Self {
        Self::new(Source::Shared(incoming), lease)
    }

    pub(crate) fn tunnelled(body: impl TunnelledBody + 'static) -> Self {
        Self { source: Source::Tunnel(Box::new(body)), lease: None }
    }

    /// A body that was read before.
    pub const fn read(bytes: Bytes) -> Self {
        Self { source: Source::Read(bytes), lease: None }
    }

    fn new(source: Source, lease: Lease) -> Self {
        let mut body = Self { source, lease: Some(lease) };
        body.look_for_end();
        body
    }

    /// A body of known length is never polled to its end, so the end has to be checked for.
    fn look_for_end(&mut self) {
        if self.is_over()
            && let Some(mut lease) = self.lease.take()
        {
            lease.give_back(!matches!(self.source, Source::Own { keeps: false, .. }));
        }
    }

    fn is_over(&self) -> bool {
        match &self.source {
            Source::Own { framing, .. } => framing.is_over(),
            Source::Shared(incoming) => incoming.is_end_stream(),
            Source::Tunnel(body) => body.is_over(),
            Source::Read(bytes) => bytes.is_empty(),
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let frame = match &mut self.source {
            Source::Own { framing, .. } => {
                let Some(connection) = self.lease.as_mut().and_then(Lease::connection) else {
                    return Poll::Ready(None);
                };
                let bytes = ready!(connection.poll_body(cx, framing));
                bytes.map(|bytes| {
                    bytes.map(Frame::data).map_err(|broke| from_broke(broke, &self.host()).sent())
                })
            }
            Source::Shared(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                frame.map(|frame| frame.map_err(|error| from_hyper(&error, true, &self.host())))
            }
            Source::Tunnel(body) => ready!(body.poll_frame(cx)),
            Source::Read(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
        };
        Poll::Ready(frame)
    }

    /// Reads to the end, up to `bytes_max` bytes.
    ///
    /// # Errors
    /// The stream broke, or it holds more than `bytes_max`.
    pub async fn read_to_end(mut self, bytes_max: usize) -> Result<Bytes, EgressError> {
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(bytes) = frame?.into_data() else { continue };
            let total = first.as_ref().map_or(0, Bytes::len) + all.len() + bytes.len();
            if total > bytes_max {
                let text = format!("The answer is longer than the {bytes_max} bytes that are read.");
                return Err(EgressError::new(EgressErrorKind::Protocol, text).sent());
            }
            match first.take() {
                None if all.is_empty() => first = Some(bytes),
                Some(start) => {
                    all.extend_from_slice(&start);
                    all.extend_from_slice(&bytes);
                }
                None => all.extend_from_slice(&bytes),
            }
        }
        Ok(first.unwrap_or_else(|| all.freeze()))
    }

    fn host(&self) -> String {
        self.lease.as_ref().map_or_else(|| "The upstream".to_owned(), |lease| lease.host_name().to_owned())
    }
}

impl Body for InBody {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let frame = ready!(self.poll_source(cx));
        match &frame {
            // A broken connection is not given back: dropping the lease closes it.
            Some(Err(_)) => self.lease = None,
            Some(Ok(_)) => self.look_for_end(),
            None => {
                if let Some(mut lease) = self.lease.take() {
                    lease.give_back(
                        self.is_over() && !matches!(self.source, Source::Own { keeps: false, .. }),
                    );
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own { framing: Framing::Length(left), .. } => SizeHint::with_exact(*left),
            Source::Own { framing, .. } if framing.is_over() => SizeHint::with_exact(0),
            Source::Own { .. } => SizeHint::default(),
            Source::Shared(incoming) => incoming.size_hint(),
            Source::Tunnel(body) => body.size_hint(),
            Source::Read(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

domain::brief_debug!(InBody as "InBody");
