//! For tests: faults injected around a commit, to see what callers do when a write fails or its reply is lost.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is written, and the caller gets an error.
    Refused,
    /// Everything is written, but the caller gets `Uncertain`.
    AnswerLost,
}

/// Faults for the next commits, in order; after the scripted ones, commits succeed.
#[derive(Debug, Default)]
pub struct CommitFaults(Mutex<Vec<CommitFault>>);

impl CommitFaults {
    pub fn script(&self, faults: impl IntoIterator<Item = CommitFault>) {
        let mut waiting: Vec<_> = faults.into_iter().collect();
        waiting.reverse();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    pub fn before(&self) -> Result<(), StoreError> {
        if self.take(CommitFault::Refused) {
            return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        Ok(())
    }

    pub fn after(&self) -> Result<(), StoreError> {
        if self.take(CommitFault::AnswerLost) { Err(StoreError::Uncertain) } else { Ok(()) }
    }

    fn take(&self, fault: CommitFault) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = waiting.last() == Some(&fault);
        if is_next {
            waiting.pop();
        }
        is_next
    }
}
