//! The body that hyper pulls: bytes that are there, or a delivery that is settled when it ends or is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::Usage;
use http_body::{Body, Frame, SizeHint};
use ledger::Booked;
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
    /// What the last byte waits for.
    booked: Option<Booked>,
    /// It ends cleanly, and says itself that it failed.
    is_failed: bool,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Relayed(Box<Delivery>),
    Over,
}

impl ReplyBody {
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes), usage: None, booked: None, is_failed: false }
    }

    pub(crate) fn relayed(delivery: Delivery) -> Self {
        Self { kind: Kind::Relayed(Box::new(delivery)), usage: None, booked: None, is_failed: false }
    }

    /// What the exchange used, as it was booked. Known of answers that were settled whole.
    #[must_use]
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Whether the last bytes of it say that it failed: behind a head that said otherwise it is no answer to keep.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// Whether the rest is there and waits for the end of the event loop's turn, when its record is written: whoever has
    /// not sent what was before it, such as the head, sends all of it at once then.
    #[must_use]
    pub const fn waits_for_books(&self) -> bool {
        self.booked.is_some()
    }

    /// So no kill takes an answered exchange for an interrupted one.
    fn poll_booked(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(booked) = &self.booked {
            std::task::ready!(booked.poll(cx));
            self.booked = None;
        }
        Poll::Ready(())
    }

    pub(crate) fn settle(&mut self, delivery: &mut Delivery) {
        if let Some((usage, booked)) = crate::close(delivery) {
            self.usage = Some(usage);
            self.booked = Some(booked);
        }
    }

    /// Settles where that is still to be done, and lets go of the upstream.
    fn end(&mut self) {
        if let Kind::Relayed(mut delivery) = std::mem::replace(&mut self.kind, Kind::Over) {
            self.settle(&mut delivery);
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
        if let Kind::Relayed(delivery) = &mut this.kind {
            match std::task::ready!(delivery.poll_piece(cx)) {
                Piece::Data(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Piece::Last(bytes) => {
                    this.end();
                    this.kind = Kind::Whole(bytes);
                }
                Piece::Failed(bytes) => {
                    this.end();
                    this.is_failed = true;
                    this.kind = Kind::Whole(bytes);
                }
                Piece::End => this.end(),
                Piece::Abort => {
                    this.end();
                    return Poll::Ready(Some(Err(ReplyError)));
                }
            }
        }
        std::task::ready!(this.poll_booked(cx));
        let rest = match std::mem::replace(&mut this.kind, Kind::Over) {
            Kind::Whole(bytes) => Some(bytes).filter(|bytes| !bytes.is_empty()),
            Kind::Relayed(_) | Kind::Over => None,
        };
        Poll::Ready(rest.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Over => self.booked.is_none(),
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
