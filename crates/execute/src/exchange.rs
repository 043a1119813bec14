//! One exchange: the facts that all of its attempts share.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use conversation::turns::TurnSignatures;
use decode::Call;
use domain::limits::COUNTED_BODY_BYTES_MAX;
use domain::limits::TURN_KEPT;
use domain::ports::StoredTurn;
use domain::{Dialect, IdHasher, Prompt, SideCallPurpose, TraceId, Upload};
use plan::{Attempt, Timeouts};

use crate::failure::AttemptFailure;
use crate::{Deps, schedule};

/// Appended to an error message to explain why there was no failover.
const GONE: &str = " A part of the body had already been sent, so the request couldn't be sent elsewhere.";

/// What all attempts of one exchange share. It never changes: what does is passed from attempt to attempt.
pub struct Exchange {
    pub call: Call,
    pub caller: Caller,
    pub resolved_model: Arc<str>,
    pub timeouts: Timeouts,
    /// The board is told which seat is sent which prompt prefixes: its route asks where they are cached.
    pub tracks_prefixes: bool,
    /// On the monotonic clock.
    pub deadline_us: u64,
    pub(crate) deps: Deps,
}

/// What attempts are written from. The retry loop owns it and passes it from attempt to attempt; a stream owns it from its
/// first byte on, since it may be repeated behind a head that has gone out.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldRequest {
    /// The request body, while an attempt may still send it.
    pub body: Bytes,
    /// The request in the dialect-neutral form, once an attempt needed a translation.
    pub prompt: Option<Rc<Prompt>>,
    /// The prompt's prefixes are already recorded in the workspace's prefix table.
    pub are_prefixes_recorded: bool,
    /// A cache by name was refused: the request is sent whole.
    pub is_plain: bool,
}

impl HeldRequest {
    /// What is left for an estimate once the body is gone.
    pub(crate) fn translated(&self) -> Self {
        Self { prompt: self.prompt.clone(), ..Self::default() }
    }

    /// Frees the body, since there will be no further attempt. A short one is held if its tokens may have to be counted.
    pub(crate) fn forget_body(&mut self, is_counted: bool) {
        if !is_counted || self.body.len() > COUNTED_BODY_BYTES_MAX {
            self.body = Bytes::new();
        }
    }
}

impl Exchange {
    /// Whose its prefixes are at an attempt's seat: a hash of the project, the principal and the model.
    pub(crate) fn prefix_owner(&self, attempt: &Attempt) -> u64 {
        let owner = (self.caller.project().id, attempt.principal(), attempt.upstream_model());
        BuildHasherDefault::<IdHasher>::default().hash_one(owner)
    }

    /// Whether it repeats a prefix, so that its provider keeps that.
    pub(crate) fn is_refresh(&self) -> bool {
        self.caller.side_call().is_some_and(|call| call.purpose == SideCallPurpose::CacheKeepAlive)
    }

    /// Stores the turn state that the provider must see again and that the client's dialect can't carry.
    pub(crate) fn store_turn(&self, mut state: TurnSignatures, attempt: &Attempt) {
        attempt.provider().clone_into(&mut state.provider);
        attempt.upstream_model().clone_into(&mut state.model);
        let turn = StoredTurn {
            workspace: self.caller.workspace().id,
            project: self.caller.project().id,
            request: self.trace(),
            calls: state.calls().map(str::to_owned).collect(),
            content: state.encode(),
            kept_for: TURN_KEPT,
            is_awaited: false,
        };
        // Lookups in this process find it from now on; no request waits for the store.
        drop(self.deps.turns.keep(turn));
    }

    /// A part of the body was sent and is gone, so that no other attempt can be made.
    pub(crate) fn is_body_consumed(&self) -> bool {
        self.call.upload().is_some_and(|upload| upload.taken() > 0 || upload.fault().is_some())
    }

    /// Assigns the blame for a failure while the body was still arriving: the client's own fault, or one that
    /// can no longer be retried.
    pub(crate) fn assign_blame(&self, failure: AttemptFailure) -> AttemptFailure {
        if let Some(fault) = self.call.upload().and_then(Upload::fault) {
            let upstream_headers = failure.upstream_headers;
            return AttemptFailure { upstream_headers, ..AttemptFailure::of_boxed(fault).not_retryable() };
        }
        if !self.is_body_consumed() || schedule::remedy(failure.class()) == schedule::Remedy::None {
            return failure;
        }
        let mut failure = failure;
        failure.fault.message.to_mut().push_str(GONE);
        failure
    }

    pub fn time_left(&self) -> Duration {
        self.time_left_at(self.deps.now_us())
    }

    pub(crate) const fn time_left_at(&self, now_us: u64) -> Duration {
        Duration::from_micros(self.deadline_us.saturating_sub(now_us))
    }

    pub fn now_us(&self) -> u64 {
        self.deps.now_us()
    }

    pub fn trace(&self) -> TraceId {
        self.call.trace()
    }

    pub fn dialect(&self) -> Dialect {
        self.call.dialect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_held_while_its_tokens_may_have_to_be_counted_and_it_is_short() {
        let left = |length: usize, is_counted: bool| {
            let mut held = HeldRequest { body: vec![0; length].into(), ..HeldRequest::default() };
            held.forget_body(is_counted);
            held.body.len()
        };
        let most = COUNTED_BODY_BYTES_MAX;
        assert_eq!((left(most, true), left(most + 1, true)), (most, 0));
        assert_eq!((left(1, false), left(0, true)), (0, 0));
    }

    #[test]
    fn an_estimate_keeps_the_translated_request_and_not_the_body() {
        let prompt = Rc::new(Prompt::default());
        let held = HeldRequest {
            body: Bytes::from_static(b"{}"),
            prompt: Some(prompt),
            are_prefixes_recorded: true,
            is_plain: false,
        };
        let kept = held.translated();
        assert!(kept.body.is_empty());
        let same =
            kept.prompt.as_ref().zip(held.prompt.as_ref()).is_some_and(|(kept, held)| Rc::ptr_eq(kept, held));
        assert!(same, "it is shared, not copied");
    }
}
