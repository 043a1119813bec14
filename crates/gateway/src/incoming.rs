//! A request's body as it comes from a client, whatever protocol that speaks.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming as Http2Body;

/// Up to this size a piece is copied out of the buffer that it was read into: it would hold that whole buffer while an
/// upstream thinks.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// A body's framing is malformed, or it broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// What a client sends behind a request's head.
pub enum Incoming {
    /// It came together with its head.
    Whole(Bytes),
    /// Its connection goes on reading it.
    Piped(Pipe),
    Http2(Http2Body),
}

/// A body that is being read: the connection puts pieces in, one at a time, and whoever answers the request takes them
/// out, on this thread or another. Dropped by either side, it tells the other.
pub struct Pipe {
    shared: Arc<Mutex<Shared>>,
    /// How many bytes it will hold at least.
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
    /// Somebody asked for the body.
    wanted: bool,
    /// Nobody will ask for the rest of it.
    left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The next piece is welcome.
    Free,
    /// The last piece was not taken yet, or none was asked for.
    Full,
    /// The rest is of no interest.
    Left,
}

pub(crate) fn pipe(announced: u64) -> (PipeIn, Pipe) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (PipeIn { shared: Arc::clone(&shared) }, Pipe { shared, announced })
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PipeIn {
    /// Looks for room; where there is none, the task is woken when that changes.
    pub(crate) fn room(&self, cx: &mut Context<'_>) -> Room {
        let mut shared = lock(&self.shared);
        let room = match (shared.left, shared.wanted && shared.piece.is_none()) {
            (true, _) => return Room::Left,
            (false, true) => return Room::Free,
            (false, false) => Room::Full,
        };
        shared.writer = Some(cx.waker().clone());
        room
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
        shared.left = true;
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
    if piece.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&piece) } else { piece }
}
