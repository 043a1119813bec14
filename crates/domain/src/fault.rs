//! Errors as values: who is at fault, whether and when a retry may help, and what the client may read.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BudgetId, PolicyId, RouteId};
use crate::policy::PolicyRule;

/// Who is at fault. This decides who is notified of what, and what is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Blame {
    Client,
    Credential,
    Policy,
    Budget,
    Upstream,
    Us,
}

/// The class decides status, retry and failover; the tables are in `dialects` (status) and `execute` (retry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultClass {
    /// The request is wrong as sent: 400.
    BadRequest,
    /// The target can't do what was requested: 400.
    Unsupported,
    /// The body is over the limit: 413.
    TooLarge,
    /// The prompt is longer than the model's context: 400.
    ContextLength,
    /// No Tidegate key, or one that is unknown, revoked or expired: 401.
    Unauthenticated,
    /// The key may not do this: 403.
    Forbidden,
    /// No such object or path: 404.
    NotFound,
    /// A known path with another method: 405.
    MethodNotAllowed,
    /// The body's media type is not one that the path accepts: 415.
    MediaType,
    /// The client sent too slowly: 408.
    ClientTimeout,
    /// Another write came first, or the object's state forbids this: 409.
    Conflict,
    /// `If-Match` names another version: 412.
    Precondition,
    /// The provider rejects the credential: 502 to the client, an authentication failure to failover.
    UpstreamAuth,
    /// The provider denies this credential the model, region or country: 403.
    UpstreamPermission,
    /// The provider does not know the model or deployment: 404.
    UpstreamNotFound,
    /// The provider's account is out of money or quota: 402.
    UpstreamQuota,
    /// The provider's rate limit: 429.
    RateLimit,
    /// The provider sheds load: 503.
    Overloaded,
    /// The provider was too slow, or the connection to it failed in time: 504.
    Timeout,
    /// The provider failed: 502.
    Upstream,
    /// The provider's stream ended without its terminal event, or could not be parsed: 502, or an error in
    /// the stream.
    StreamBroken,
    /// The provider refuses the content: 400.
    ContentPolicy,
    /// The request's own hard deadline passed: 504.
    Deadline,
    /// The client disconnected: nobody reads the answer.
    Cancelled,
    /// Tidegate has no capacity for it now: 503 with `Retry-After`.
    Unavailable,
    /// A bug in Tidegate: 500.
    Internal,
    /// A rate limit set in Tidegate: 429.
    Limited,
    /// A budget set in Tidegate is used up: 429.
    BudgetReached,
    /// The workspace's credit is used up: 402.
    CreditsRequired,
    /// The response has no form that the client accepts: 406. Records store the class's number: append new
    /// ones at the end.
    NotAcceptable,
    /// The object was there, and its time is over: 410.
    Gone,
}

impl FaultClass {
    pub const ALL: [Self; 31] = [
        Self::BadRequest,
        Self::Unsupported,
        Self::TooLarge,
        Self::ContextLength,
        Self::ContentPolicy,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::Gone,
        Self::MediaType,
        Self::ClientTimeout,
        Self::Conflict,
        Self::Precondition,
        Self::Cancelled,
        Self::UpstreamAuth,
        Self::UpstreamPermission,
        Self::UpstreamNotFound,
        Self::UpstreamQuota,
        Self::RateLimit,
        Self::Overloaded,
        Self::Timeout,
        Self::Upstream,
        Self::StreamBroken,
        Self::Limited,
        Self::BudgetReached,
        Self::CreditsRequired,
        Self::Deadline,
        Self::Unavailable,
        Self::Internal,
    ];

    pub const fn blame(self) -> Blame {
        match self {
            Self::BadRequest
            | Self::Unsupported
            | Self::TooLarge
            | Self::ContextLength
            | Self::Unauthenticated
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::MediaType
            | Self::NotAcceptable
            | Self::Gone
            | Self::ClientTimeout
            | Self::Conflict
            | Self::Precondition
            | Self::ContentPolicy
            | Self::Cancelled => Blame::Client,
            Self::UpstreamAuth | Self::UpstreamPermission | Self::UpstreamQuota => Blame::Credential,
            Self::Forbidden => Blame::Policy,
            Self::UpstreamNotFound
            | Self::RateLimit
            | Self::Overloaded
            | Self::Timeout
            | Self::Upstream
            | Self::StreamBroken => Blame::Upstream,
            Self::Limited | Self::BudgetReached | Self::CreditsRequired => Blame::Budget,
            Self::Deadline | Self::Unavailable | Self::Internal => Blame::Us,
        }
    }

    /// The name in records, logs and `/v2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too_large",
            Self::ContextLength => "context_length",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MediaType => "media_type",
            Self::NotAcceptable => "not_acceptable",
            Self::Gone => "gone",
            Self::ClientTimeout => "client_timeout",
            Self::Conflict => "conflict",
            Self::Precondition => "precondition",
            Self::UpstreamAuth => "upstream_auth",
            Self::UpstreamPermission => "upstream_permission",
            Self::UpstreamNotFound => "upstream_not_found",
            Self::UpstreamQuota => "upstream_quota",
            Self::RateLimit => "rate_limit",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Upstream => "upstream",
            Self::StreamBroken => "stream_broken",
            Self::ContentPolicy => "content_policy",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Limited => "limited",
            Self::BudgetReached => "budget_reached",
            Self::CreditsRequired => "credits_required",
        }
    }
}

/// What an upstream reported about its own failure; never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamReport {
    pub status: Option<u16>,
    pub provider: String,
    /// The provider's own request id, for its support.
    pub request_id: Option<String>,
    pub kind: Option<String>,
    pub code: Option<String>,
    /// The error has an explicit `"code": null`.
    pub has_null_code: bool,
    pub param: Option<String>,
    /// The provider's message, truncated.
    pub message: Option<String>,
}

/// The part of a workspace's own configuration that refused a request. Records store the variant's number:
/// append new ones at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refuser {
    Budget(BudgetId),
    /// The budget that is the workspace's prepaid credit.
    Credit(BudgetId),
    /// As earlier versions recorded it, without its rule.
    Policy(PolicyId),
    Route(RouteId),
    PolicyRule(PolicyId, PolicyRule),
}

impl Refuser {
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Budget(_) => "budget",
            Self::Credit(_) => "credit",
            Self::Policy(_) | Self::PolicyRule(..) => "policy",
            Self::Route(_) => "route",
        }
    }

    /// The rule of the policy.
    pub const fn policy_rule(self) -> Option<PolicyRule> {
        match self {
            Self::PolicyRule(_, rule) => Some(rule),
            _ => None,
        }
    }

    pub fn id(self) -> String {
        match self {
            Self::Budget(id) | Self::Credit(id) => id.to_string(),
            Self::Policy(id) | Self::PolicyRule(id, _) => id.to_string(),
            Self::Route(id) => id.to_string(),
        }
    }
}

/// One failure, described so that a person can fix it. Boxed where it travels, since it is rare and large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub class: FaultClass,
    /// A stable code for programs to match on, such as `model_not_served`.
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: Cow<'static, str>,
    /// What to do about it, in one imperative sentence.
    pub fix: Option<Cow<'static, str>>,
    /// The offending field, as the dialect names it. Boxed, so that every `Result` with a fault stays small.
    pub param: Option<Box<str>>,
    pub retry_after_ms: Option<u64>,
    /// The value of `x-should-retry`; `None` leaves the decision to the client's own rule.
    pub should_retry: Option<bool>,
    pub upstream: Option<Box<UpstreamReport>>,
    /// The setting that the workspace would have to change for the request to pass, if it is a single one.
    pub refused_by: Option<Box<Refuser>>,
}

impl Fault {
    /// The rule of the policy that refused the request, if one did.
    pub fn policy_rule(&self) -> Option<PolicyRule> {
        self.refused_by.as_deref()?.policy_rule()
    }

    pub fn new(class: FaultClass, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            class,
            code,
            message: message.into(),
            fix: None,
            param: None,
            retry_after_ms: None,
            should_retry: None,
            upstream: None,
            refused_by: None,
        }
    }

    pub fn fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into().into());
        self
    }

    pub fn retry_after_ms(mut self, wait: u64) -> Self {
        self.retry_after_ms = Some(wait);
        self
    }

    pub fn should_retry(mut self, retry: bool) -> Self {
        self.should_retry = Some(retry);
        self
    }

    pub fn upstream(mut self, report: UpstreamReport) -> Self {
        self.upstream = Some(Box::new(report));
        self
    }

    pub fn refused_by(mut self, refuser: Refuser) -> Self {
        self.refused_by = Some(Box::new(refuser));
        self
    }

    /// The message in a form that may be stored: a provider's message about a malformed request may quote the
    /// request, so it is left out.
    pub fn message_without_content(&self) -> Cow<'_, str> {
        let quoting = self.upstream.as_deref().filter(|_| self.class.blame() == Blame::Client);
        let Some((report, message)) =
            quoting.and_then(|report| Some((report, report.message.as_deref()?.trim())))
        else {
            return Cow::Borrowed(&self.message);
        };
        match self.message.split_once(message) {
            Some((before, _)) if !message.is_empty() => {
                let word = report.code.as_deref().or(report.kind.as_deref()).unwrap_or("it says why");
                Cow::Owned(format!(
                    "{before}{word} (its words are not kept, since they may quote the request)."
                ))
            }
            _ => Cow::Borrowed(&self.message),
        }
    }

    /// A bug in Tidegate. The client learns that it was ours and gets the request id; the cause is in the
    /// log.
    pub fn internal() -> Self {
        Self::new(FaultClass::Internal, "internal_error", "Tidegate failed to handle this request.")
            .fix("Send it again; if it fails again, report the request id to whoever runs this gateway.")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.fix {
            Some(fix) => write!(f, " {fix}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}
