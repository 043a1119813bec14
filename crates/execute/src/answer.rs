//! What execute hands on: an answer with its open tab, or a failure with it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use decode::Call;
use dialects::{ErrorAnswer, TurnState};
use domain::limits::COUNTED_BODY_BYTES_MAX;
use domain::ports::KeptTurn;
use domain::{Dialect, Fault, Principal, Profile, Prompt, TraceId, Upload, Usage};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;
use plan::{Attempt, Timeouts};

use crate::attempt::OpenAttempt;
use crate::feed::Feed;
use crate::miss::Miss;
use crate::{Hands, schedule};

/// Why nobody else was asked.
const GONE: &str = " A part of the body had gone on by then, so nobody else could be asked.";

/// Who served, or who was tried last: what the `Agent-*` headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub profile: Profile,
    pub principal: Principal,
    /// The slug, or `byoc` for a node.
    pub provider: Arc<str>,
    pub resolved_model: Arc<str>,
    pub upstream_model: Arc<str>,
    pub region: Option<Arc<str>>,
    /// Tries so far, this one among them.
    pub attempts: u32,
    pub fallback_used: bool,
    /// By an account that is kept for when all others of the pool have failed.
    pub is_emergency: bool,
}

/// What stays the same over all tries of one exchange.
pub struct Exchange {
    pub call: Call,
    pub caller: Caller,
    pub resolved_model: Arc<str>,
    pub timeouts: Timeouts,
    /// Of the monotonic clock.
    pub deadline_us: u64,
    pub(crate) hands: Hands,
    /// The prefixes of its prompt are in the workspace's memory.
    pub(crate) is_remembered: Cell<bool>,
    /// The request's, as long as a try may still send it.
    pub(crate) body: RefCell<Bytes>,
    /// The request in the form between grammars, once a try needed it.
    pub(crate) prompt: OnceCell<Rc<Prompt>>,
    /// The upstream was asked in the client's own grammar.
    pub(crate) is_as_said: Cell<bool>,
    /// What the last refusal was told with that a client may see.
    pub(crate) refused_with: RefCell<Vec<(HeaderName, HeaderValue)>>,
    /// Its tokens may have to be counted, with the model's own tokenizer, when the answer is over.
    pub(crate) keeps_body: Cell<bool>,
    /// What an answer used that others may see the end of is this exchange's to book.
    pub(crate) has_right: Cell<bool>,
}

impl Exchange {
    /// Content went out, so nobody is asked again: the request's body is not kept for the length of the answer, unless it
    /// is short and somebody may have to count it.
    pub fn forget_body(&self) {
        let keeps = self.keeps_body.get() && self.body.borrow().len() <= COUNTED_BODY_BYTES_MAX;
        if !keeps {
            self.body.take();
        }
    }

    /// Keeps what the provider must be shown again, for the client has no words for it.
    pub(crate) fn keep_turn(&self, mut state: TurnState, attempt: &Attempt) {
        attempt.provider().clone_into(&mut state.provider);
        attempt.upstream_model().clone_into(&mut state.model);
        let turn = KeptTurn {
            workspace: self.caller.workspace().id,
            project: self.caller.project().id,
            request: self.trace(),
            calls: state.calls().map(str::to_owned).collect(),
            content: state.encode(),
        };
        // It is found here from now on; how long the store takes is nobody's wait.
        tokio::spawn(self.hands.turns.keep(turn));
    }

    /// A part of the body is gone that nobody has any more: no other try can be made.
    pub(crate) fn is_sent_for_good(&self) -> bool {
        self.call.upload().is_some_and(|upload| upload.taken() > 0 || upload.fault().is_some())
    }

    /// What a failure is where the body was still coming: the client's own, or one that nobody can make good any more.
    pub(crate) fn blamed(&self, miss: Miss) -> Miss {
        if let Some(fault) = self.call.upload().and_then(Upload::fault) {
            return Miss::of_boxed(fault).not_again();
        }
        if !self.is_sent_for_good() || schedule::remedy(miss.class()) == schedule::Remedy::None {
            return miss;
        }
        let mut miss = miss;
        miss.fault.message.to_mut().push_str(GONE);
        miss
    }

    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.time_left_at(self.hands.now_us())
    }

    pub(crate) const fn time_left_at(&self, now_us: u64) -> Duration {
        Duration::from_micros(self.deadline_us.saturating_sub(now_us))
    }

    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.hands.now_us()
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

/// An upstream answered, or is about to, once the head's wait is over. Only execute makes one.
pub struct Answer {
    pub(crate) parts: AnswerParts,
}

impl Answer {
    #[must_use]
    pub fn into_parts(self) -> AnswerParts {
        self.parts
    }
}

pub struct AnswerParts {
    pub exchange: Rc<Exchange>,
    pub tab: Tab,
    pub served: Served,
    /// Of the upstream's headers those that a client may see.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty, with room for the answer's headers.
    pub room: HeaderMap,
    pub body: AnswerBody,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are whole, and are not put on the heap for the others"
)]
pub enum AnswerBody {
    Whole {
        bytes: Bytes,
        usage: Usage,
        open: OpenAttempt,
    },
    Stream(Box<Feed>),
    /// Nobody had to be asked.
    Own(Bytes),
}

/// No attempt answered. The tab is still open.
pub struct Failed {
    pub fault: Box<Fault>,
    /// What the client reads in the place of an error, where its grammar has an answer for it.
    pub blocked: Option<ErrorAnswer>,
    /// Of the headers that its upstream sent beside it those that a client may see.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    pub tab: Tab,
    /// The last that was tried; `None` where nobody could be.
    pub served: Option<Served>,
    pub trace: TraceId,
    pub dialect: Dialect,
}
