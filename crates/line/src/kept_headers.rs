//! The headers that a request leaves to what is made of it later: the items of a batch, or a task.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

/// What the headers of the gateway's own begin with.
const OWN_HEADERS: &str = "agent-";
const OF_ONE_REQUEST: [&str; 3] = ["agent-idempotency-key", "agent-trace-mode", "agent-cache"];

/// The gateway's own headers of a request, but for those that are about this one alone.
pub fn own_to_keep(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let own = headers.iter().filter(|(name, _)| {
        name.as_str().starts_with(OWN_HEADERS) && !OF_ONE_REQUEST.contains(&name.as_str())
    });
    own.filter_map(|(name, value)| header_text(name, value))
}

pub(crate) fn header_text(name: &HeaderName, value: &HeaderValue) -> Option<(String, String)> {
    Some((name.to_string(), value.to_str().ok()?.to_owned()))
}

/// The headers of a request made later, whose body is JSON.
pub fn of_kept(kept: Vec<(String, String)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in kept {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_headers_are_kept_but_for_those_of_one_request() {
        let headers = [
            ("agent-session-ref", "s"),
            ("agent-idempotency-key", "k"),
            ("authorization", "Bearer x"),
            ("agent-cache", "bypass"),
        ];
        let headers: HeaderMap = headers
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        let kept: Vec<_> = own_to_keep(&headers).collect();
        assert_eq!(kept, [("agent-session-ref".to_owned(), "s".to_owned())]);
    }
}
