//! One exchange: the facts that all of its attempts share.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use conversation::turns::TurnSignatures;
use decode::Call;
use domain::limits::COUNTED_BODY_BYTES_MAX;
use domain::ports::StoredTurn;
use domain::{Dialect, Prompt, TraceId, Upload};
use http::header::{HeaderName, HeaderValue};
use plan::{Attempt, Timeouts};

use crate::failure::AttemptFailure;
use crate::{Deps, schedule};

/// Appended to an error message to explain why there was no failover.
const GONE: &str = " A part of the body had gone on by then, so nobody else could be asked.";

/// The state shared by all attempts of one exchange.
pub struct Exchange {
    pub call: Call,
    pub caller: Caller,
    pub resolved_model: Arc<str>,
    pub timeouts: Timeouts,
    /// On the monotonic clock.
    pub deadline_us: u64,
    pub(crate) deps: Deps,
    /// The prompt's prefixes are already recorded in the workspace's prefix table.
    pub(crate) are_prefixes_recorded: Cell<bool>,
    /// The request body, while an attempt may still send it.
    pub(crate) body: RefCell<Bytes>,
    /// The request in the dialect-neutral form, once an attempt needed a translation.
    pub(crate) prompt: OnceCell<Rc<Prompt>>,
    /// The upstream was called in the client's own dialect.
    pub(crate) is_native: Cell<bool>,
    /// The headers of the last refusal that a client may see.
    pub(crate) refusal_headers: RefCell<Vec<(HeaderName, HeaderValue)>>,
    /// Its tokens may have to be counted, with the model's own tokenizer, when the answer is over.
    pub(crate) keeps_body: Cell<bool>,
    /// This exchange books the usage of an answer whose end other requests may see too.
    pub(crate) may_book: Cell<bool>,
}

impl Exchange {
    /// Drops the request body, since content went out and there will be no further attempt. A short body is
    /// held if its tokens may have to be counted.
    pub fn forget_body(&self) {
        let keeps = self.keeps_body.get() && self.body.borrow().len() <= COUNTED_BODY_BYTES_MAX;
        if !keeps {
            self.body.take();
        }
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
            return AttemptFailure::of_boxed(fault).not_retryable();
        }
        if !self.is_body_consumed() || schedule::remedy(failure.class()) == schedule::Remedy::None {
            return failure;
        }
        let mut failure = failure;
        failure.fault.message.to_mut().push_str(GONE);
        failure
    }

    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left_at(self.deps.now_us())
    }

    pub(crate) const fn time_left_at(&self, now_us: u64) -> Duration {
        Duration::from_micros(self.deadline_us.saturating_sub(now_us))
    }

    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.deps.now_us()
    }

    #[must_use]
    pub fn trace(&self) -> TraceId {
        self.call.trace()
    }

    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.call.dialect()
    }
}
