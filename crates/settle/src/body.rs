//! The body that hyper pulls: bytes that are there, or a delivery that is settled when it ends or is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::Usage;
use http_body::{Body, Frame, SizeHint};
use relay::{Delivery, Piece};

/// The answer broke off after its head: hyper closes the connection without the clean end that would make it look
/// whole. The client was told in band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyError;

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for ReplyError {}

/// What the client is sent.
#[derive(Debug)]
pub struct ReplyBody {
    kind: Kind,
    usage: Option<Usage>,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Relayed(Box<Delivery>),
    Over,
}

impl ReplyBody {
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes), usage: None }
    }

    pub(crate) fn relayed(delivery: Delivery) -> Self {
        Self { kind: Kind::Relayed(Box::new(delivery)), usage: None }
    }

    /// What the exchange used, as it was booked. Known of answers that were settled whole.
    #[must_use]
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    pub(crate) const fn used(mut self, usage: Option<Usage>) -> Self {
        self.usage = usage;
        self
    }

    /// Settles where that is still to be done, and lets go of the upstream.
    fn end(&mut self) {
        if let Kind::Relayed(mut delivery) = std::mem::replace(&mut self.kind, Kind::Over) {
            self.usage = crate::close(&mut delivery);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = ReplyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Over => Poll::Ready(None),
            Kind::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Over;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Relayed(delivery) => match std::task::ready!(delivery.poll_piece(cx)) {
                Piece::Data(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Piece::End => {
                    this.end();
                    Poll::Ready(None)
                }
                Piece::Abort => {
                    this.end();
                    Poll::Ready(Some(Err(ReplyError)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Over => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Relayed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Over => SizeHint::with_exact(0),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Relayed(_) => SizeHint::default(),
        }
    }
}

impl Drop for ReplyBody {
    /// Hyper drops the body of a client that went away.
    fn drop(&mut self) {
        self.end();
    }
}
