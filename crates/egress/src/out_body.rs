//! Request bodies: segments of known length, and what a client is still uploading.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use domain::upload::{Upload, UploadAborted};
use http_body::{Body, Frame, SizeHint};

/// A request body: a few segments that are not concatenated, and what a client
/// is still uploading behind them.
#[derive(Debug, Clone, Default)]
pub struct OutBody {
    segments: VecDeque<Bytes>,
    left: u64,
    /// All clones share it: it can be sent once.
    rest: Option<Upload>,
}

impl OutBody {
    pub const fn empty() -> Self {
        Self { segments: VecDeque::new(), left: 0, rest: None }
    }

    /// Appends an upload, which is sent behind the segments as it arrives.
    pub fn followed_by(mut self, rest: Option<Upload>) -> Self {
        self.rest = rest;
        self
    }

    /// The segments and their total length.
    pub(crate) const fn parts(&self) -> (&VecDeque<Bytes>, u64) {
        (&self.segments, self.left)
    }

    /// The upload that follows the segments.
    pub(crate) const fn rest(&self) -> Option<&Upload> {
        self.rest.as_ref()
    }

    /// The total length; `None` if it is not known yet.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.rest {
            Some(rest) => rest.left().map(|left| self.left.saturating_add(left)),
            None => Some(self.left),
        }
    }
}

impl From<Vec<Bytes>> for OutBody {
    fn from(segments: Vec<Bytes>) -> Self {
        let left = segments.iter().map(|segment| segment.len() as u64).sum();
        Self { segments: segments.into(), left, rest: None }
    }
}

impl From<Bytes> for OutBody {
    fn from(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, segments: VecDeque::from([bytes]), rest: None }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = UploadAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while let Some(segment) = self.segments.pop_front() {
            if !segment.is_empty() {
                self.left = self.left.saturating_sub(segment.len() as u64);
                return Poll::Ready(Some(Ok(Frame::data(segment))));
            }
        }
        let Some(rest) = &self.rest else { return Poll::Ready(None) };
        let piece = ready!(rest.poll_piece(cx));
        if piece.is_none() {
            self.rest = None;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length() {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::default(),
        }
    }
}
