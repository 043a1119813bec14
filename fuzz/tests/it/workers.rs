//! Fuzzes the callbacks of workers' services, and the orders of callers.

use bolero::check;
use domain::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use workers::WorkersConfig;
use workers::fixtures::{is_order, read_callback};

use crate::material::fuzz;

/// Headers and a body, as in a request.
fn split(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let at = bytes.windows(2).position(|two| two == b"\n\n").unwrap_or(bytes.len());
    let (head, body) = bytes.split_at(at);
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    (head.split(|byte| *byte == b'\n').filter_map(header).collect(), body.get(2..).unwrap_or_default())
}

#[test]
fn fuzz_worker_callback() {
    let secret = Secret::new(vec![7; 32]);
    fuzz("worker_callback", check!(), |bytes| {
        let (headers, body) = split(bytes);
        let (is_read, is_signed) = read_callback(&headers, body, &secret, 1_700_000_000);
        assert!(!is_signed, "nobody signed it");
        is_read
    });
}

#[test]
fn fuzz_worker_order() {
    let config: WorkersConfig = serde_json::from_value(json!({
        "exec": {"commands": {"node": {"program": "/bin/node", "takes_arguments": true, "environment": ["A"]}}},
        "kubernetes": {"namespace": "n", "images": ["registry/node"], "environment": []},
    }))
    .expect("a configuration");
    fuzz("worker_order", check!(), |bytes| {
        ["exec", "ssh", "kubernetes", "webhook"].iter().any(|provider| is_order(&config, provider, bytes))
    });
}
