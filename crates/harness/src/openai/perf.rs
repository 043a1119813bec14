//! Fireworks' performance metrics: in response headers, and in the body on request.

use serde_json::{Value, json};

use super::answer::Reply;
use super::flavour::Flavour;
use crate::members::put;

/// A fixed time: nothing here is measured, so tests can compare.
const SECONDS: &str = "0.002";

/// The headers of a buffered response; a stream has none of them.
pub(crate) fn headers(reply: &Reply) -> Vec<(String, String)> {
    if reply.flavour != Flavour::Fireworks {
        return Vec::new();
    }
    [
        ("fireworks-prompt-tokens", reply.prompt_tokens.to_string()),
        ("fireworks-cached-prompt-tokens", reply.cached_tokens.to_string()),
        ("fireworks-server-time-to-first-token", SECONDS.to_owned()),
        ("fireworks-server-processing-time", SECONDS.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Adds `perf_metrics` to a body or to the chunk with the finish reason.
pub(crate) fn write(body: &mut Value, reply: &Reply) {
    let metrics = json!({
        "prompt-tokens": reply.prompt_tokens.to_string(),
        "cached-prompt-tokens": reply.cached_tokens.to_string(),
        "server-time-to-first-token": SECONDS, "server-processing-time": SECONDS,
    });
    put(body, "perf_metrics", metrics);
}
