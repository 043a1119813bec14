//! Uploads: the rest of a request's body, which is streamed to an upstream as it arrives.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use crate::Fault;

/// The source of an upload.
pub trait Pieces: Send {
    /// The next piece, which is not empty; `None` at the end.
    ///
    /// # Errors
    /// The error for the client; nothing follows it.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>>;
}

/// The rest of a body. Nothing is buffered: a piece that was taken can't be taken again. Clones share the
/// same upload.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<State>>);

struct State {
    /// `None` once it ended.
    pieces: Option<Box<dyn Pieces>>,
    left: Option<u64>,
    taken: u64,
    fault: Option<Box<Fault>>,
    /// The task that waits for the end.
    waiting: Option<Waker>,
}

/// The upload broke off; `Upload::fault` says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's body broke off")]
pub struct UploadAborted;

impl Upload {
    /// `left` is the length, if the client declared it.
    pub fn new(pieces: Box<dyn Pieces>, left: Option<u64>) -> Self {
        let state = State { pieces: Some(pieces), left, taken: 0, fault: None, waiting: None };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece; `None` at the end. Nothing is read from the client before this is called.
    ///
    /// # Errors
    /// It broke off.
    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadAborted>>> {
        let mut state = self.state();
        let Some(pieces) = &mut state.pieces else {
            return Poll::Ready(state.fault.is_some().then_some(Err(UploadAborted)));
        };
        let polled = match ready!(pieces.poll_piece(cx)) {
            Some(Ok(piece)) => {
                let length = piece.len() as u64;
                state.taken = state.taken.saturating_add(length);
                state.left = state.left.map(|left| left.saturating_sub(length));
                return Poll::Ready(Some(Ok(piece)));
            }
            Some(Err(fault)) => {
                state.fault = Some(fault);
                Some(Err(UploadAborted))
            }
            None => None,
        };
        state.pieces = None;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
        Poll::Ready(polled)
    }

    /// The bytes still to come, if the length was declared.
    pub fn left(&self) -> Option<u64> {
        self.state().left
    }

    /// The bytes taken so far, which can't be sent again.
    pub fn taken(&self) -> u64 {
        self.state().taken
    }

    /// Why it broke off, if it did.
    pub fn fault(&self) -> Option<Box<Fault>> {
        self.state().fault.clone()
    }

    /// Ready when all of it was taken or it broke off.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.pieces.is_none() {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Upload")
            .field("left", &state.left)
            .field("taken", &state.taken)
            .finish_non_exhaustive()
    }
}
