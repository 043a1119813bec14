//! Response headers: the `Agent-*` headers that say what served the request, and the request id.

use bytes::BytesMut;
use domain::{AliasPick, CredentialId, NodeId, Principal, Profile, SubscriptionId, TraceId};
use execute::Served;
use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};

const TRACE: HeaderName = HeaderName::from_static("agent-trace-id");
const PROFILE: HeaderName = HeaderName::from_static("agent-execution-profile");
const CREDENTIAL: HeaderName = HeaderName::from_static("agent-byok-credential-id");
const SUBSCRIPTION: HeaderName = HeaderName::from_static("agent-subscription-id");
const DISCOUNT: HeaderName = HeaderName::from_static("agent-subscription-discount-pct");
const PROVIDER: HeaderName = HeaderName::from_static("agent-resolved-provider");
const MODEL: HeaderName = HeaderName::from_static("agent-resolved-model");
const NODE: HeaderName = HeaderName::from_static("agent-node-id");
const REGION: HeaderName = HeaderName::from_static("agent-region");
const MODE: HeaderName = HeaderName::from_static("agent-execution-mode");
const OVERFLOW: HeaderName = HeaderName::from_static("agent-overflow-reason");
const FALLBACK: HeaderName = HeaderName::from_static("agent-fallback-used");
const FALLBACK_REASON: HeaderName = HeaderName::from_static("agent-fallback-reason");
const ALIAS_RELEASE: HeaderName = HeaderName::from_static("agent-alias-release");
pub(crate) const ATTEMPTS: HeaderName = HeaderName::from_static("agent-attempts");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Capacity for all values of one head, so that they share one buffer.
const VALUES_BYTES: usize = 256;

/// The `Agent-*` headers and the request id; without `served`, only the id.
pub fn served_headers(trace: TraceId, served: Option<&Served>) -> HeaderMap {
    fill(HeaderMap::with_capacity(16), trace, served)
}

/// The same, in an existing map.
pub fn fill(mut headers: HeaderMap, trace: TraceId, served: Option<&Served>) -> HeaderMap {
    let mut values = Values { buffer: BytesMut::with_capacity(VALUES_BYTES) };
    if let Some(id) = values.id(TraceId::PREFIX, trace.as_bytes()) {
        headers.insert(TRACE, id.clone());
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Some(served) = served else { return headers };
    headers.insert(PROFILE, HeaderValue::from_static(served.profile.as_str()));
    headers.insert(
        MODE,
        HeaderValue::from_static(if served.is_emergency { "openrouter_fallback" } else { "live" }),
    );
    headers.insert(FALLBACK, HeaderValue::from_static(if served.fallback_used { "true" } else { "false" }));
    if let Some(reason) = served.fallback_reason {
        headers.insert(FALLBACK_REASON, HeaderValue::from_static(reason.as_str()));
    }
    if let Some(reason) = served.overflow {
        headers.insert(OVERFLOW, HeaderValue::from_static(reason.as_str()));
    }
    // Other numbers allocate, and it is almost always this one.
    let attempts = match served.attempts {
        1 => HeaderValue::from_static("1"),
        count => HeaderValue::from(count),
    };
    headers.insert(ATTEMPTS, attempts);
    let mut put = |name: HeaderName, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    match served.principal {
        Principal::Credential(id) if served.profile == Profile::Byok => {
            put(CREDENTIAL, values.id(CredentialId::PREFIX, id.as_bytes()));
        }
        Principal::Subscription(id) => {
            put(SUBSCRIPTION, values.id(SubscriptionId::PREFIX, id.as_bytes()));
            put(DISCOUNT, served.discount_pct.map(|pct| HeaderValue::from(u16::from(pct))));
        }
        Principal::Node(id) => put(NODE, values.id(NodeId::PREFIX, id.as_bytes())),
        // Which of the operator's accounts served is not disclosed.
        Principal::Credential(_) | Principal::Account(_) => {}
    }
    put(PROVIDER, values.text(&served.provider));
    put(MODEL, values.text(&served.resolved_model));
    if let Some(region) = &served.region {
        put(REGION, values.text(region));
    }
    headers
}

/// The release of the alias that the client named.
pub(crate) fn alias_release(pick: &AliasPick<'_>) -> Option<(HeaderName, HeaderValue)> {
    Some((ALIAS_RELEASE, HeaderValue::from_str(&pick.release.text()).ok()?))
}

/// Header values cut from one buffer.
struct Values {
    buffer: BytesMut,
}

impl Values {
    /// `None` where the text is not a valid header value, for example a node's model name with a line break.
    fn text(&mut self, value: &str) -> Option<HeaderValue> {
        self.buffer.extend_from_slice(value.as_bytes());
        self.cut()
    }

    /// An id in its usual form, written without the cost of `fmt`.
    fn id(&mut self, prefix: &str, bytes: &[u8; 16]) -> Option<HeaderValue> {
        self.buffer.extend_from_slice(prefix.as_bytes());
        self.buffer.extend_from_slice(b"_");
        let mut hex = [0; 32];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        self.buffer.extend_from_slice(&hex);
        self.cut()
    }

    fn cut(&mut self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.buffer.split().freeze()).ok()
    }
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AccountId;

    fn check(principal: Principal, expected: &[(&str, &str)], absent: &[&str]) {
        let served = Served {
            profile: principal.profile(),
            principal,
            provider: "a-seller".into(),
            resolved_model: "publisher/model".into(),
            upstream_model: "model".into(),
            region: Some("eu-north".into()),
            attempts: 2,
            fallback_used: false,
            is_emergency: false,
            fallback_reason: None,
            overflow: None,
            discount_pct: matches!(principal, Principal::Subscription(_)).then_some(90),
        };
        let headers = served_headers(TraceId::new(1, [1; 10]), Some(&served));
        for (name, value) in expected {
            assert_eq!(headers.get(*name).and_then(|found| found.to_str().ok()), Some(*value), "{name}");
        }
        for name in absent {
            assert!(!headers.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn each_profile_says_what_is_its_own() {
        let id = [7; 10];
        let credential = CredentialId::new(1, id);
        check(
            Principal::Credential(credential),
            &[
                ("agent-execution-profile", "byok"),
                ("agent-byok-credential-id", &credential.to_string()),
                ("agent-resolved-provider", "a-seller"),
                ("agent-resolved-model", "publisher/model"),
                ("agent-region", "eu-north"),
                ("agent-attempts", "2"),
            ],
            &["agent-node-id"],
        );
        let node = NodeId::new(1, id);
        let expected = [("agent-execution-profile", "byoc"), ("agent-node-id", &*node.to_string())];
        check(Principal::Node(node), &expected, &["agent-byok-credential-id"]);
        let subscription = SubscriptionId::new(1, id);
        let expected = [
            ("agent-execution-profile", "subscription"),
            ("agent-subscription-id", &*subscription.to_string()),
            ("agent-subscription-discount-pct", "90"),
        ];
        check(Principal::Subscription(subscription), &expected, &["agent-byok-credential-id"]);
        let account = Principal::Account(AccountId::new(1, id));
        let absent = ["agent-byok-credential-id", "agent-node-id"];
        check(account, &[("agent-execution-profile", "managed_provider")], &absent);
    }

    #[test]
    fn a_name_that_no_header_can_hold_is_left_out() {
        let mut values = Values { buffer: BytesMut::new() };
        assert!(values.text("two\nlines").is_none());
        assert_eq!(values.text("one line").unwrap(), "one line");
    }
}
