//! The two bodies: segments of known length on the way out, a stream that cancels when dropped on the way in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::{EgressError, EgressErrorKind, from_hyper};
use crate::pool::Lease;

/// A request body: a few segments that are not copied together.
#[derive(Debug, Clone, Default)]
pub struct OutBody {
    segments: VecDeque<Bytes>,
    left: u64,
}

impl OutBody {
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }
}

impl From<Vec<Bytes>> for OutBody {
    fn from(segments: Vec<Bytes>) -> Self {
        let left = segments.iter().map(|segment| segment.len() as u64).sum();
        Self { segments: segments.into(), left }
    }
}

impl From<Bytes> for OutBody {
    fn from(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, segments: VecDeque::from([bytes]) }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while let Some(segment) = self.segments.pop_front() {
            if !segment.is_empty() {
                self.left = self.left.saturating_sub(segment.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(segment))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// An answer's body. Dropped before its end, it cancels the exchange: the connection is closed (HTTP/1.1) or the
/// stream reset (HTTP/2) within the same turn of the loop.
pub struct InBody {
    incoming: Incoming,
    /// Held until the last byte; giving it back makes the connection free for the next request.
    lease: Option<Lease>,
}

impl InBody {
    pub(crate) fn new(incoming: Incoming, mut lease: Lease) -> Self {
        // A body that knows its length is never polled to its end, so the end is looked for, not waited for.
        let lease = if incoming.is_end_stream() {
            lease.give_back();
            None
        } else {
            Some(lease)
        };
        Self { incoming, lease }
    }

    /// Reads to the end, at most `bytes_max`.
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
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => None,
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => {
                let error = from_hyper(&error, true, &self.host());
                // What broke is not given back: the lease's drop closes it.
                self.lease = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(mut lease) = self.lease.take()
        {
            lease.give_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for InBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InBody")
    }
}
