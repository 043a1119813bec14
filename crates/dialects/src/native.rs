//! Request headers that are part of a wire format, and are forwarded to an upstream that speaks it.

use domain::Grammar;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const CONVERSATION: HeaderName = HeaderName::from_static("x-grok-conv-id");
const AFFINITY: HeaderName = HeaderName::from_static("x-session-affinity");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");

/// By format. A header that names a conversation keeps it on the server where its prefix is cached.
static OF_OPENAI: [HeaderName; 2] = [CONVERSATION, AFFINITY];
static OF_ANTHROPIC: [HeaderName; 3] = [VERSION, BETA, AFFINITY];

const fn names(grammar: Grammar) -> &'static [HeaderName] {
    match grammar {
        Grammar::Chat | Grammar::Responses => &OF_OPENAI,
        Grammar::Anthropic => &OF_ANTHROPIC,
        Grammar::Gemini | Grammar::Converse | Grammar::Hosted => &[],
    }
}

/// The client's headers of this format, with every value. None of them carries a credential.
#[must_use]
pub fn native_headers(grammar: Grammar, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut native = Vec::new();
    for name in names(grammar) {
        let values = headers.get_all(name).iter().cloned();
        native.extend(values.map(|value| (name.clone(), value)));
    }
    native
}
