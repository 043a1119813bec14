//! What `execute` returns: an answer with its open tab, or a failure with it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use dialects::ErrorAnswer;
use domain::{Dialect, FallbackClass, Fault, OverflowReason, Principal, Profile, TraceId, Usage};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use ledger::Tab;
use plan::Attempt;

use crate::attempt_stream::AttemptStream;
use crate::context_order::ContextOrder;
use crate::exchange::Exchange;
use crate::keep_alive::KeepAlive;
use crate::open_attempt::OpenAttempt;

/// Who served the request, or was tried last; the source of the `Agent-*` headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub profile: Profile,
    pub principal: Principal,
    /// The provider's slug, or `byoc` for a node.
    pub provider: Arc<str>,
    pub resolved_model: Arc<str>,
    pub upstream_model: Arc<str>,
    pub region: Option<Arc<str>>,
    /// Attempts so far, including this one.
    pub attempts: u32,
    pub fallback_used: bool,
    /// Why the request left what it would be served by first, where another profile served it as a fallback.
    pub fallback_reason: Option<FallbackClass>,
    /// Why it went beyond the customer's own capacity, if it did.
    pub overflow: Option<OverflowReason>,
    /// Served by an account reserved for when all others of the pool have failed.
    pub is_emergency: bool,
    /// What the subscription that served saves beside the list, in per cent.
    pub discount_pct: Option<u8>,
}

impl Served {
    /// Whose seat would have served, where nothing was sent to it: its credential may be parked, or at its limit.
    pub fn uncalled(attempt: &Attempt, resolved_model: Arc<str>) -> Self {
        Self {
            profile: attempt.profile(),
            principal: attempt.principal(),
            provider: Arc::clone(attempt.provider_shared()),
            resolved_model,
            upstream_model: Arc::clone(attempt.upstream_model_shared()),
            region: attempt.region_shared().cloned(),
            attempts: 0,
            fallback_used: false,
            fallback_reason: None,
            overflow: None,
            is_emergency: attempt.is_emergency(),
            discount_pct: attempt.subscription().map(|(_, stated)| stated.discount_pct),
        }
    }
}

/// An upstream answered, or the wait for its head ended before it did. Only `execute` constructs one.
pub struct Answer {
    pub(crate) parts: AnswerParts,
}

impl Answer {
    /// Who serves it.
    pub const fn served(&self) -> &Served {
        &self.parts.served
    }

    /// The exchange that it answers.
    pub const fn exchange(&self) -> &Rc<Exchange> {
        &self.parts.exchange
    }

    /// The body with its usage; `None` of a stream.
    pub fn whole(&self) -> Option<(&Bytes, Usage)> {
        match &self.parts.body {
            AnswerBody::Whole { bytes, usage, .. } => Some((bytes, *usage)),
            AnswerBody::Own(bytes) => Some((bytes, Usage::default())),
            AnswerBody::Stream(_) => None,
        }
    }

    /// The cache that is to be created for prompts that begin as this one's, if one pays.
    pub fn take_context_order(&mut self) -> Option<Box<ContextOrder>> {
        match &mut self.parts.body {
            AnswerBody::Whole { open, .. } => open.take_context_order(),
            AnswerBody::Stream(stream) => stream.take_context_order(),
            AnswerBody::Own(_) => None,
        }
    }

    /// What is to look after the prefix that this request marked, if something is.
    pub fn take_keep_alive(&mut self) -> Option<Box<KeepAlive>> {
        match &mut self.parts.body {
            AnswerBody::Whole { open, .. } => open.take_keep_alive(),
            AnswerBody::Stream(stream) => stream.take_keep_alive(),
            AnswerBody::Own(_) => None,
        }
    }

    pub fn into_parts(self) -> AnswerParts {
        self.parts
    }
}

pub struct AnswerParts {
    pub exchange: Rc<Exchange>,
    pub tab: Tab,
    pub served: Served,
    /// The upstream headers that a client may see.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty, with capacity for the response headers.
    pub header_map: HeaderMap,
    pub body: AnswerBody,
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is made once for an exchange, inside a reply that is boxed: another box would be one more for each"
)]
pub enum AnswerBody {
    Whole {
        bytes: Bytes,
        usage: Usage,
        open: OpenAttempt,
    },
    Stream(Box<AttemptStream>),
    /// Produced here, not read from an upstream.
    Own(Bytes),
}

/// No attempt answered. The tab is still open.
pub struct Failed {
    pub fault: Box<Fault>,
    /// What the client reads instead of an error, where its dialect has an answer for blocked content.
    pub blocked: Option<ErrorAnswer>,
    /// The headers of that refusal that a client may see.
    pub upstream_headers: Vec<(HeaderName, HeaderValue)>,
    pub tab: Tab,
    /// The last seat that was tried; `None` if none could be.
    pub served: Option<Served>,
    pub trace: TraceId,
    pub dialect: Dialect,
    /// The request states a time within which its answer should start.
    pub has_target: bool,
}
