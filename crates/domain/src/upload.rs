//! The rest of a request's body, which goes on to an upstream while it comes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use crate::Fault;

/// Where an upload comes from.
pub trait Pieces: Send {
    /// The next piece, which is not empty; `None` at the end.
    ///
    /// # Errors
    /// What the client is told; nothing follows.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<Fault>>>>;
}

/// The rest of a body. Nothing of it is kept: what was taken can't be taken again. Clones are the same upload.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<State>>);

struct State {
    /// `None` once it ended.
    pieces: Option<Box<dyn Pieces>>,
    left: Option<u64>,
    taken: u64,
    fault: Option<Box<Fault>>,
    /// Who waits for the end.
    waiting: Option<Waker>,
}

/// It broke off; `Upload::fault` says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broke;

impl Upload {
    /// `left` is its length, where that was announced.
    #[must_use]
    pub fn new(pieces: Box<dyn Pieces>, left: Option<u64>) -> Self {
        let state = State { pieces: Some(pieces), left, taken: 0, fault: None, waiting: None };
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece; `None` at the end. The client is asked for it only now.
    ///
    /// # Errors
    /// It broke off.
    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broke>>> {
        let mut state = self.state();
        let Some(pieces) = &mut state.pieces else {
            return Poll::Ready(state.fault.is_some().then_some(Err(Broke)));
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
                Some(Err(Broke))
            }
            None => None,
        };
        state.pieces = None;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
        Poll::Ready(polled)
    }

    /// What is still to come, where that was announced.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.state().left
    }

    /// Bytes that were taken: they are gone.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.state().taken
    }

    /// Why it broke off, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<Box<Fault>> {
        self.state().fault.clone()
    }

    /// Ready once all of it was taken, or it broke off.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.pieces.is_none() {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl fmt::Display for Broke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client's body broke off")
    }
}

impl std::error::Error for Broke {}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Upload")
            .field("left", &state.left)
            .field("taken", &state.taken)
            .finish_non_exhaustive()
    }
}
