//! The response body that hyper polls: either complete bytes, or a client response that is settled when it ends or
//! is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use domain::Usage;
use http_body::{Body, Frame, SizeHint};
use ledger::PendingWrite;
use relay::{ClientResponse, Piece};

/// The answer broke off after its head. Hyper then closes the connection without a clean end, which would
/// make the answer look complete. The client has already got an error in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyError;

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for ReplyError {}

/// The body of a response.
#[derive(Debug)]
pub struct ReplyBody {
    kind: Kind,
    usage: Option<Usage>,
    /// The record that the last byte waits for.
    pending_record: Option<PendingWrite>,
    /// It ends cleanly, but with an error event.
    is_failed: bool,
}

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Relayed(Box<ClientResponse>),
    Over,
}

impl ReplyBody {
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(bytes), usage: None, pending_record: None, is_failed: false }
    }

    pub(crate) fn from_relay(response: ClientResponse) -> Self {
        Self { kind: Kind::Relayed(Box::new(response)), usage: None, pending_record: None, is_failed: false }
    }

    /// The usage as booked; known once the answer is settled.
    #[must_use]
    pub const fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Whether the answer ends with an error event after a successful status; then it must not be stored for
    /// replay.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// Whether the rest is ready and only waits for the end of the event loop's turn, when its record is
    /// written. A writer that still has bytes buffered, such as the head, can then send all at once.
    #[must_use]
    pub const fn waits_for_record(&self) -> bool {
        self.pending_record.is_some()
    }

    /// The last byte waits for the record, so that after a kill no answered exchange looks interrupted.
    fn poll_booked(&mut self, cx: &Context<'_>) -> Poll<()> {
        if let Some(booked) = &self.pending_record {
            std::task::ready!(booked.poll(cx));
            self.pending_record = None;
        }
        Poll::Ready(())
    }

    pub(crate) fn settle(&mut self, response: &mut ClientResponse) {
        if let Some((usage, booked)) = crate::close(response) {
            self.usage = Some(usage);
            self.pending_record = Some(booked);
        }
    }

    /// Settles if that is not done yet, and drops the upstream connection.
    fn end(&mut self) {
        if let Kind::Relayed(mut response) = std::mem::replace(&mut self.kind, Kind::Over) {
            self.settle(&mut response);
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
        if let Kind::Relayed(response) = &mut this.kind {
            match std::task::ready!(response.poll_piece(cx)) {
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
            Kind::Over => self.pending_record.is_none(),
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
    /// Hyper drops the body when the client disconnects.
    fn drop(&mut self) {
        self.end();
    }
}
