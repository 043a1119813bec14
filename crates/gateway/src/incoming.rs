//! A request body as it arrives from a client, whatever the protocol.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming as Http2Body;

/// Up to this size a piece is copied out of its read buffer: otherwise it would hold that whole
/// buffer during the upstream call.
const COPY_UP_TO_BYTES: usize = 4 * 1024;

/// A body's framing is malformed, or it broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// What a client sends behind a request's head.
pub enum Incoming {
    /// It arrived together with its head.
    Whole(Bytes),
    /// Its connection goes on reading it.
    Piped(Pipe),
    Http2(Http2Body),
}

/// A body that is being read: the connection puts pieces in, one at a time, and the request's handler takes
/// them out, on this thread or another. Dropping either side notifies the other.
pub struct Pipe {
    shared: Arc<Mutex<Shared>>,
    /// How many bytes it has at least.
    announced: u64,
}

/// The connection's end of a pipe.
pub(crate) struct PipeIn {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    piece: Option<Bytes>,
    /// How it ended, once it did.
    ended: Option<Result<(), Broken>>,
    /// The body was requested.
    wanted: bool,
    /// The rest of it will not be requested.
    is_abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PipeState {
    /// It may put the next piece.
    Free,
    /// The last piece was not taken yet, or the body was not requested.
    Full,
    /// The rest is not wanted.
    Closed,
}

pub(crate) fn pipe(announced: u64) -> (PipeIn, Pipe) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (PipeIn { shared: Arc::clone(&shared) }, Pipe { shared, announced })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PipeIn {
    /// Checks for room; if there is none, the task is woken when that changes.
    pub(crate) fn pipe_state(&self, cx: &mut Context<'_>) -> PipeState {
        let mut shared = lock(&self.shared);
        let pipe_state = match (shared.is_abandoned, shared.wanted && shared.piece.is_none()) {
            (true, _) => return PipeState::Closed,
            (false, true) => return PipeState::Free,
            (false, false) => PipeState::Full,
        };
        shared.writer = Some(cx.waker().clone());
        pipe_state
    }

    pub(crate) fn put(&self, piece: Bytes) {
        let mut shared = lock(&self.shared);
        shared.piece = Some(piece);
        wake(&mut shared.reader);
    }

    pub(crate) fn end(&self, how: Result<(), Broken>) {
        let mut shared = lock(&self.shared);
        shared.ended = Some(how);
        wake(&mut shared.reader);
    }
}

impl Drop for PipeIn {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.ended.get_or_insert(Err(Broken));
        wake(&mut shared.reader);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Pipe {
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut shared = lock(&self.shared);
        shared.wanted = true;
        if let Some(piece) = shared.piece.take() {
            wake(&mut shared.writer);
            return Poll::Ready(Some(Ok(piece)));
        }
        match shared.ended {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken))),
            None => {
                shared.reader = Some(cx.waker().clone());
                wake(&mut shared.writer);
                Poll::Pending
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.is_abandoned = true;
        wake(&mut shared.writer);
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Piped(pipe) => pipe.poll_piece(cx).map(|piece| Some(piece?.map(Frame::data))),
            Self::Http2(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| Some(frame?.map_err(|_| Broken).map(|frame| frame.map_data(copied)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Piped(_) => false,
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Piped(pipe) => {
                let mut hint = SizeHint::new();
                hint.set_lower(pipe.announced);
                hint
            }
            Self::Http2(body) => body.size_hint(),
        }
    }
}

fn copied(piece: Bytes) -> Bytes {
    if piece.len() <= COPY_UP_TO_BYTES { Bytes::copy_from_slice(&piece) } else { piece }
}
