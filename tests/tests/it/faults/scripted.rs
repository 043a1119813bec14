//! Provider failures, in each provider's own wire format.

use std::time::Duration;

use domain::{FaultClass, Grammar};
use harness::emulator::CannedBody::{self, Detail, Empty, Html, Message, Openai, Text};
use harness::{At, Behaviour};

use FaultClass::{
    BadRequest, Conflict, ContentPolicy, ContextLength, Overloaded, RateLimit, StreamBroken, Timeout,
    Unsupported, Upstream, UpstreamAuth, UpstreamNotFound, UpstreamPermission, UpstreamQuota,
};
use Grammar::{Anthropic, Chat, Converse, Gemini, Responses};

/// One kind of failure.
pub struct Scripted {
    pub name: &'static str,
    pub class: FaultClass,
    pub stream: bool,
    /// Content was sent before the failure: only the stream itself can still report it.
    pub is_late: bool,
    /// `None` where the provider has no such failure.
    pub behaviour: fn(Grammar) -> Option<Behaviour>,
    /// Why the gateway reports the failure as its class, if the SDK would have seen something else.
    pub why: Option<&'static str>,
    /// The SDK's timeout for one answer.
    pub timeout_s: u64,
    /// Not a failure: the SDKs accept it as a complete answer.
    pub is_whole: bool,
}

const NOT_YOURS: &str = "The client's key is valid. The provider refused the gateway's credential, which only its owner can replace.";
const NO_CREDIT: &str =
    "No retry helps an account without credit. SDKs would retry a 429, and don't retry a 402.";
const NO_WIRE: &str =
    "The connection to the gateway is intact, so the gateway reports the broken one as an error.";
const NO_ANSWER: &str =
    "The SDK accepts this as an answer, or fails on it later. The gateway reports an error.";
const SAID_BY_CLASS: &str = "The gateway has one status for every failure of this class.";
const ASLEEP: &str = "The SDK would sleep for an hour. The gateway reports the error at once, and names the wait in the message.";
const CONVERTED: &str =
    "The SDK reads nothing of it. The gateway sends the answer in the form that was requested.";

fn fault(name: &'static str, class: FaultClass, behaviour: fn(Grammar) -> Option<Behaviour>) -> Scripted {
    let (stream, is_late, is_whole) = (false, false, false);
    Scripted { name, class, stream, is_late, behaviour, why: None, timeout_s: 30, is_whole }
}

impl Scripted {
    /// Whether the provider reports the failure in a form that an SDK reads.
    pub fn is_readable(&self) -> bool {
        self.why.is_none_or(|why| ![NO_WIRE, NO_ANSWER, CONVERTED, ASLEEP].contains(&why))
    }

    fn streamed(mut self) -> Self {
        self.stream = true;
        self
    }

    fn late(mut self) -> Self {
        self.is_late = true;
        self.streamed()
    }

    fn why(mut self, why: &'static str) -> Self {
        self.why = Some(why);
        self
    }

    fn within_s(mut self, seconds: u64) -> Self {
        self.timeout_s = seconds;
        self
    }

    fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }
}

fn status(code: u16) -> Option<Behaviour> {
    Some(Behaviour::status(code))
}

fn overloaded(vendor: Grammar) -> Option<Behaviour> {
    status(if vendor == Anthropic { 529 } else { 503 })
}

fn body(code: u16, body: CannedBody) -> Option<Behaviour> {
    Some(Behaviour::status(code).with_body(body))
}

fn canned(body: CannedBody) -> Option<Behaviour> {
    Some(Behaviour::canned(body))
}

/// A refusal that only OpenAI has.
fn of_openai(vendor: Grammar, status: u16, code: &str) -> Option<Behaviour> {
    is_openai(vendor).then(|| Behaviour::status(status).code(code))
}

const fn is_openai(vendor: Grammar) -> bool {
    matches!(vendor, Chat | Responses)
}

/// The provider's own error event, at this point of the stream.
fn stream_error(vendor: Grammar, at: impl Into<At>, code: &str) -> Option<Behaviour> {
    let good = ok().code(code);
    Some(if vendor == Responses { good.failed(at) } else { good.error_event(at) })
}

fn internal(vendor: Grammar) -> &'static str {
    if vendor == Anthropic { "api_error" } else { "INTERNAL" }
}

fn ok() -> Behaviour {
    Behaviour::ok()
}

/// All failures. For each class, the one that `stands_for` names is the reference.
pub fn all() -> Vec<Scripted> {
    [refusals(), limits(), failures(), strange_bodies(), broken_streams(), errors_in_streams()]
        .into_iter()
        .flatten()
        .collect()
}

fn refusals() -> Vec<Scripted> {
    vec![
        fault("bad request", BadRequest, |_| status(400)),
        fault("bad request, streamed", BadRequest, |_| status(400)).streamed(),
        fault("wrong value", BadRequest, |vendor| {
            let code = if is_openai(vendor) { "invalid_value" } else { "INVALID_ARGUMENT" };
            Some(Behaviour::status(400).code(code).message("Invalid value: 'x'."))
        }),
        fault("unsupported parameter", Unsupported, |vendor| match vendor {
            Chat | Responses => Some(Behaviour::status(400).code("unsupported_parameter")),
            Anthropic => Some(Behaviour::status(400).message("temperature: Extra inputs are not permitted")),
            Gemini | Converse => None,
        }),
        fault("context length", ContextLength, |vendor| {
            let refused = Behaviour::status(400);
            Some(match vendor {
                Chat | Responses => refused.code("context_length_exceeded"),
                Anthropic => refused.message("prompt is too long: 200001 tokens > 200000 maximum"),
                Converse => refused.message("Input is too long for requested model."),
                Gemini => refused
                    .message("The input token count (9) exceeds the maximum number of tokens allowed (5)."),
            })
        }),
        fault("content filter", ContentPolicy, |vendor| match vendor {
            Chat | Responses => Some(Behaviour::status(400).code("content_filter")),
            Anthropic => Some(Behaviour::status(400).message("Output blocked by content filtering policy")),
            Gemini | Converse => None,
        }),
        fault("moderation", ContentPolicy, |vendor| of_openai(vendor, 400, "moderation_blocked")),
        fault("prompt blocked", ContentPolicy, |vendor| (vendor == Gemini).then(|| ok().refusal())).whole(),
        fault("key refused", UpstreamAuth, |vendor| match vendor {
            Gemini => Some(Behaviour::status(400).code("API_KEY_INVALID")),
            _ => status(401),
        })
        .why(NOT_YOURS),
        fault("key refused, streamed", UpstreamAuth, |_| status(401)).streamed().why(NOT_YOURS),
        fault("permission", UpstreamPermission, |_| status(403)),
        fault("country", UpstreamPermission, |vendor| match vendor {
            Chat | Responses => Some(Behaviour::status(403).code("unsupported_country_region_territory")),
            Anthropic | Converse => None,
            Gemini => Some(
                Behaviour::status(400)
                    .code("FAILED_PRECONDITION")
                    .message("User location is not supported for the API use."),
            ),
        }),
        fault("no such model", UpstreamNotFound, |_| status(404)),
        fault("no such model, streamed", UpstreamNotFound, |_| status(404)).streamed(),
        fault("request timeout", Timeout, |vendor| (vendor != Gemini).then(|| Behaviour::status(408)))
            .why(SAID_BY_CLASS),
        fault("conflict", Conflict, |_| status(409)),
        fault("gone", BadRequest, |_| status(410)),
        fault("precondition", BadRequest, |_| status(412)),
        fault("too large", BadRequest, |_| status(413)),
        fault("media type", BadRequest, |_| status(415)),
        fault("unprocessable", BadRequest, |_| status(422)),
        fault("locked", BadRequest, |_| status(423)),
        fault("head too large", BadRequest, |_| status(431)),
    ]
}

fn limits() -> Vec<Scripted> {
    let quota = |vendor: Grammar| match vendor {
        Chat | Responses | Gemini | Converse => Some(Behaviour::out_of_quota()),
        Anthropic => {
            Some(Behaviour::status(400).message("Your credit balance is too low to access the API."))
        }
    };
    vec![
        fault("no credit", UpstreamQuota, |vendor| match vendor {
            Chat | Responses | Anthropic => status(402),
            Gemini | Converse => Some(Behaviour::out_of_quota()),
        }),
        fault("quota", UpstreamQuota, quota).why(NO_CREDIT),
        fault("quota, streamed", UpstreamQuota, quota).streamed().why(NO_CREDIT),
        fault("credit exhausted", UpstreamQuota, |vendor| of_openai(vendor, 429, "credit_balance_exhausted"))
            .why(NO_CREDIT),
        fault("hard limit", UpstreamQuota, |vendor| of_openai(vendor, 429, "billing_hard_limit_reached"))
            .why(NO_CREDIT),
        fault("spend limit", UpstreamQuota, |vendor| {
            (vendor == Anthropic).then(|| Behaviour::status(429).code("workspace_spend_limit"))
        })
        .why(NO_CREDIT),
        fault("rate limit", RateLimit, |_| status(429)),
        fault("rate limit, streamed", RateLimit, |_| status(429)).streamed(),
        fault("retry-after", RateLimit, |_| Some(Behaviour::rate_limited(1))),
        fault("retry-after-ms", RateLimit, |_| Some(Behaviour::status(429).retry_after_ms(300))),
        fault("retry-after as a date", RateLimit, |_| Some(Behaviour::status(429).retry_after_date(2))),
        fault("retry-after of an hour", RateLimit, |_| Some(Behaviour::rate_limited(3_600))).why(ASLEEP),
        fault("slow down", RateLimit, |vendor| of_openai(vendor, 429, "slow_down")),
        fault("x-should-retry: false", RateLimit, |vendor| {
            (vendor != Gemini).then(|| Behaviour::status(429).header("x-should-retry", "false"))
        }),
    ]
}

fn failures() -> Vec<Scripted> {
    vec![
        fault("bad gateway", Upstream, |_| status(502)),
        fault("server error", Upstream, |_| status(500)),
        fault("server error, streamed", Upstream, |_| status(500)).streamed(),
        fault("overloaded", Overloaded, overloaded),
        fault("overloaded, streamed", Overloaded, overloaded).streamed(),
        fault("overloaded by code", Overloaded, |vendor| of_openai(vendor, 503, "server_is_overloaded")),
        fault("unavailable", Overloaded, |_| status(503)).why(SAID_BY_CLASS),
        fault("gateway timeout", Timeout, |_| status(504)),
        fault("gateway timeout, streamed", Timeout, |_| status(504)).streamed(),
        fault("unknown failure", Upstream, |_| status(520)),
        fault("origin timeout", Timeout, |vendor| (vendor != Gemini).then(|| Behaviour::status(524)))
            .why(SAID_BY_CLASS),
        fault("foreign overload", Overloaded, |_| status(529)),
    ]
}

fn strange_bodies() -> Vec<Scripted> {
    vec![
        fault("page of HTML", Upstream, |_| body(502, Html)),
        fault("page of HTML, streamed", Upstream, |_| body(502, Html)).streamed(),
        fault("no body", Upstream, |_| body(500, Empty)),
        fault("error as text", Upstream, |_| body(500, Text)),
        fault("error as details", BadRequest, |_| body(422, Detail)),
        fault("error as message", BadRequest, |_| body(400, Message)),
        fault("redirect", StreamBroken, |_| Some(ok().redirect("http://127.0.0.1:9/v1/elsewhere")))
            .why(NO_WIRE),
        fault("error under 200", Upstream, |_| canned(Openai)).why(NO_ANSWER),
        fault("error under 200, streamed", Upstream, |_| canned(Openai)).streamed().why(NO_ANSWER),
        fault("HTML under 200", StreamBroken, |_| canned(Html)).why(NO_ANSWER),
        fault("nothing under 200", StreamBroken, |_| canned(Empty)).why(NO_ANSWER),
        fault("nothing under 200, streamed", StreamBroken, |_| canned(Empty)).streamed().why(NO_ANSWER),
        fault("half a body", StreamBroken, |_| Some(ok().cut(1))).why(NO_WIRE),
        fault("reset", Upstream, |_| Some(Behaviour::reset())).why(NO_WIRE),
        fault("reset, streamed", Upstream, |_| Some(Behaviour::reset())).streamed().why(NO_WIRE),
        fault("silence", Timeout, |_| Some(ok().latency(Duration::from_secs(60)))).within_s(2),
        fault("answer whole, stream asked", Upstream, |_| Some(ok().wrong_form()))
            .streamed()
            .why(CONVERTED)
            .whole(),
    ]
}

fn broken_streams() -> Vec<Scripted> {
    vec![
        fault("cut before content", StreamBroken, |_| Some(ok().cut(0))).streamed().why(NO_WIRE),
        fault("ends before content", StreamBroken, |_| Some(ok().eof(0))).streamed().why(NO_ANSWER),
        fault("cut after content", StreamBroken, |_| Some(ok().cut(At::Finish))).late().why(NO_WIRE),
        fault("closed after content", StreamBroken, |_| Some(ok().close(At::Finish))).late().why(NO_WIRE),
        fault("cut inside an event", StreamBroken, |_| Some(ok().cut_inside(At::Finish))).late().why(NO_WIRE),
        fault("ends after content", StreamBroken, |_| Some(ok().eof(At::Finish))).late().why(NO_ANSWER),
        fault("broken JSON after content", StreamBroken, |_| Some(ok().malformed(At::Finish)))
            .late()
            .why(NO_WIRE),
        fault("silence after content", Timeout, |_| Some(ok().stall(At::Finish))).late().within_s(2),
        fault("two ends", Upstream, |vendor| (vendor != Gemini).then(|| ok().doubled_done()))
            .streamed()
            .whole(),
    ]
}

fn errors_in_streams() -> Vec<Scripted> {
    vec![
        fault("error event before content", Upstream, |vendor| {
            stream_error(vendor, 0, internal(vendor))
        })
        .streamed()
        .why("No content was sent yet, so the gateway retries, and then reports the failure by its status."),
        fault("error event after content", Upstream, |vendor| {
            stream_error(vendor, At::Finish, internal(vendor))
        })
        .late(),
        fault("overloaded after content", Overloaded, |vendor| {
            let code = match vendor {
                Chat | Responses => "server_is_overloaded",
                Anthropic => "overloaded_error",
                Gemini => "UNAVAILABLE",
                Converse => "serviceUnavailableException",
            };
            stream_error(vendor, At::Finish, code)
        })
        .late(),
        fault("rate limit after content", RateLimit, |vendor| {
            let code = match vendor {
                Chat | Responses => "rate_limit_exceeded",
                Anthropic => "rate_limit_error",
                Gemini => "RESOURCE_EXHAUSTED",
                Converse => "throttlingException",
            };
            stream_error(vendor, At::Finish, code)
        })
        .late(),
    ]
}
