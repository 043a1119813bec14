//! Fuzzes the parsers of headers from clients and providers.

use bolero::check;
use http::{HeaderMap, HeaderValue};

use crate::material::seeded;

const WAITS: &[&str] =
    &["20", "0.5", "1e9", "Fri, 20 Nov 2026 09:18:47 GMT", "Thu, 29 Feb 2024 23:59:59 GMT", "6m0s", "-1"];
const HINTS: &[&str] = &[
    "eyJ0YWciOiJuaWdodGx5In0",
    "eyJ0YWciOiJhYiIsIngiOlsxXX0=",
    "e30",
    "",
    // A quality of service, and where the request may go.
    "eyJxb3MiOnsiY2xhc3MiOiJiYXRjaCIsImRlYWRsaW5lX21zIjo1LCJwcmlvcml0eSI6N319",
    "eyJyb3V0aW5nIjp7ImV4ZWN1dGlvbl9wcm9maWxlcyI6WyJieW9rIl0sInJlZ2lvbl9wb2xpY3kiOiJldV9vbmx5In19",
];

#[test]
fn fuzz_retry_after() {
    seeded(WAITS, check!(), |input, now: &Option<u64>| {
        let Ok(value) = HeaderValue::from_bytes(input) else { return };
        for name in ["retry-after", "retry-after-ms"] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.clone());
            headers.insert("date", value.clone());
            headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_static("0"));
            headers.insert("x-ratelimit-reset-tokens", value.clone());
            let _ = providers::provider("").classify(429, &headers, &bytes::Bytes::new(), "x");
            let wait = providers::retry_after_ms(&headers, *now);
            assert!(wait.is_none_or(|wait| wait <= 30 * 24 * 3600 * 1000), "{wait:?}");
        }
    });
}

#[test]
fn fuzz_agent_hints() {
    seeded(HINTS, check!(), |input, ()| {
        let Some(read) = decode::read_hints(input) else { return };
        assert!(read.hints.tag.is_none_or(|tag| !tag.is_empty() && tag.len() <= 128));
        assert!(read.hints.qos.deadline_ms.is_none_or(|deadline| deadline > 0));
        let is_plain = |path: &str| HeaderValue::from_str(path).is_ok() && !path.contains(',');
        assert!(read.passed_over.iter().all(|one| is_plain(&one.path)));
    });
}

#[test]
fn fuzz_model_list() {
    const LISTS: &[&str] = &[r#"{"object":"list","data":[{"id":"a"},{"id":"b"}]}"#, r#"[{"id":"a"}]"#];
    seeded(LISTS, check!(), |input, ()| {
        let _ = providers::provider("").read_models(&input.to_vec().into());
    });
}
