//! Anthropic: the Messages API. Every request names the API version.

pub mod exports;

use bytes::Bytes;
use conversation::request::StoredAct;
use domain::{Fault, FaultClass, Grammar, Hosting, Operation};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde::Deserialize;

use crate::retry_after::until_ms;
use crate::{
    CacheHelp, Classified, ModelRequest, Outgoing, Provider, Signer, Target, auth, classify, compatible,
};

const NATIVE: &[Grammar] = &[Grammar::Anthropic];
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The version sent with translated requests; it accepts the sampling parameters of other formats.
/// Anthropic's own clients send their own version.
const USUAL_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The prefix of OAuth access tokens, which are sent as bearer tokens and not as API keys.
const TOKEN_PREFIX: &[u8] = b"sk-ant-oat";
const BATCHES: &str = "v1/messages/batches";
const RESULTS: &str = "/results";
const FILES: &str = "v1/files";
const CONTENT: &str = "/content";
const MODELS: &str = "v1/models?limit=1000";

pub(crate) struct Anthropic;

impl Provider for Anthropic {
    fn grammars(&self, operation: Operation, _upstream_model: &str) -> &'static [Grammar] {
        match operation {
            Operation::Chat
            | Operation::Run
            | Operation::Verify
            | Operation::Count
            | Operation::Batch
            | Operation::File => NATIVE,
            _ => &[],
        }
    }

    fn cache_help(&self, _grammar: Grammar) -> Option<CacheHelp> {
        Some(CacheHelp::Marks)
    }

    fn generate(&self, target: &Target<'_>, ask: &ModelRequest<'_>) -> Result<Outgoing, Box<Fault>> {
        let at = |path: &str| compatible::join(target.base_url, path);
        // A thread is continued by a new message.
        let stored = ask.request.stored.as_deref().filter(|stored| stored.act != StoredAct::Continue);
        let mut outgoing = match stored {
            Some(stored) => {
                let is_file = ask.operation == Operation::File;
                let (place, content) = if is_file { (FILES, CONTENT) } else { (BATCHES, RESULTS) };
                compatible::stored_request_at(ask, stored, place, content, Grammar::Anthropic, at)
            }
            None => {
                let encoded = compatible::encode_body(
                    target,
                    ask,
                    self.grammars(ask.operation, target.upstream_model),
                )?;
                let path = match ask.operation {
                    Operation::Count => "v1/messages/count_tokens",
                    Operation::Batch => BATCHES,
                    Operation::File => FILES,
                    _ => "v1/messages",
                };
                encoded.to(at(path), ask)
            }
        };
        if outgoing.headers.iter().all(|(name, _)| *name != VERSION) {
            outgoing.headers.push((VERSION, USUAL_VERSION));
        }
        Ok(outgoing)
    }

    fn authorise(&self, outgoing: &mut Outgoing, signer: &Signer<'_>) -> Result<(), Box<Fault>> {
        if signer.secret.expose().trim_ascii().starts_with(TOKEN_PREFIX) {
            return auth::bearer::sign(outgoing, signer.secret);
        }
        auth::key::sign(outgoing, KEY, signer.secret)
    }

    fn list_models(&self, base_url: &str, _hosting: &Hosting) -> Outgoing {
        let mut outgoing = compatible::list_models(base_url);
        outgoing.method = Method::GET;
        outgoing.url = compatible::join(base_url, MODELS);
        outgoing.headers.push((VERSION, USUAL_VERSION));
        outgoing
    }

    fn classify(&self, status: u16, headers: &HeaderMap, body: &Bytes, provider: &str) -> Classified {
        let mut classified = classify::classify(status, headers, body, provider);
        if status < 500 && is_spend_limit(body) {
            classified.class = FaultClass::UpstreamQuota;
        }
        if classified.class == FaultClass::RateLimit && classified.retry_after_ms.is_none() {
            classified.retry_after_ms = reset_ms(headers);
        }
        classified
    }
}

#[derive(Deserialize)]
struct Envelope {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    error_code: Option<String>,
}

/// Whether the account has reached its spend limit: that error looks like a temporary rate limit, but it does
/// not pass.
fn is_spend_limit(body: &[u8]) -> bool {
    let code = serde_json::from_slice(body).ok().and_then(|Envelope { error }| error.details?.error_code);
    code.is_some_and(|code| code.contains("spend_limit"))
}

/// The time until the exhausted limits reset: the longest of those with nothing remaining.
fn reset_ms(headers: &HeaderMap) -> Option<u64> {
    ["requests", "tokens", "input-tokens", "output-tokens"]
        .iter()
        .filter(|what| {
            let remaining = headers.get(format!("anthropic-ratelimit-{what}-remaining"));
            remaining.is_some_and(|value| value.as_bytes() == b"0")
        })
        .filter_map(|what| until_ms(headers, &format!("anthropic-ratelimit-{what}-reset")))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_at_which_tokens_are_there_again_is_a_wait() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("date", "Fri, 20 Nov 2026 09:18:47 GMT"),
            ("anthropic-ratelimit-requests-remaining", "3"),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T10:18:47Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-20T09:19:17Z"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let body =
            Bytes::from_static(br#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#);
        assert_eq!(Anthropic.classify(429, &headers, &body, "x").retry_after_ms, Some(30_000));
        let spent = br#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"workspace_spend_limit"}}}"#;
        let class = |status, body| Anthropic.classify(status, &headers, &Bytes::from_static(body), "x").class;
        assert_eq!(class(429, spent), FaultClass::UpstreamQuota);
        assert_eq!(class(500, spent), FaultClass::Upstream);
        let body =
            Bytes::from_static(br#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#);
        assert_eq!(Anthropic.classify(529, &headers, &body, "x").class, FaultClass::Overloaded);
    }
}
