//! Faults around a commit, for tests of what callers do when a write fails or its answer is lost.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is written and the caller is told so.
    Refused,
    /// Everything is written and the caller is told that this is not known.
    AnswerLost,
}

/// Faults of the commits to come, in their order; no more faults than were scripted.
#[derive(Debug, Default)]
pub struct CommitFaults(Mutex<Vec<CommitFault>>);

impl CommitFaults {
    pub fn script(&self, faults: impl IntoIterator<Item = CommitFault>) {
        let mut waiting: Vec<_> = faults.into_iter().collect();
        waiting.reverse();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = waiting;
    }

    pub(crate) fn before(&self) -> Result<(), StoreError> {
        if self.take(CommitFault::Refused) {
            return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        Ok(())
    }

    pub(crate) fn after(&self) -> Result<(), StoreError> {
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
