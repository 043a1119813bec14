//! Who may ask a node: the machine it runs on needs no key, everyone else does.

use std::net::IpAddr;

use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use proof::Digest;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Checks a request before its body is read. Of keys their digests are known.
///
/// # Errors
/// 401 without a key that is needed, 403 for a page of the web that was pointed at this machine.
pub(crate) fn admit(keys: &[Digest], head: &Parts, peer: IpAddr) -> Result<(), Box<Fault>> {
    if let Some(presented) = presented(&head.headers)
        && keys.contains(&Digest::of(&[presented]))
    {
        return Ok(());
    }
    if !peer.is_loopback() {
        return Err(Box::new(
            Fault::new(FaultClass::Unauthenticated, "invalid_api_key", "This node needs a key of its own.")
                .fix("Send a key from `tidegate node key` as Authorization: Bearer."),
        ));
    }
    // A browser here can be made to send requests by any page; what it can't choose is the name in Host.
    if names_loopback(head) {
        return Ok(());
    }
    Err(Box::new(
        Fault::new(
            FaultClass::Forbidden,
            "host_not_local",
            "Without a key this node answers to local names only.",
        )
        .fix("Ask it at localhost or 127.0.0.1, or send a key from `tidegate node key`."),
    ))
}

fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

fn names_loopback(head: &Parts) -> bool {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(peer: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
        let keys = [Digest::of(&[b"right"])];
        let mut request = http::Request::get("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        admit(&keys, &head, peer.parse().unwrap()).map_err(|fault| fault.code)
    }

    #[test]
    fn the_loopback_needs_no_key_and_others_do() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], Result<(), &'static str>);
        let cases: &[Case] = &[
            ("127.0.0.1", &[("host", "127.0.0.1:8080")], Ok(())),
            ("::1", &[("host", "[::1]:8080")], Ok(())),
            ("127.0.0.1", &[("host", "localhost")], Ok(())),
            ("127.0.0.1", &[("host", "evil.example:8080")], Err("host_not_local")),
            ("127.0.0.1", &[("host", "evil.example"), ("authorization", "Bearer right")], Ok(())),
            ("10.0.0.9", &[("host", "localhost")], Err("invalid_api_key")),
            ("10.0.0.9", &[("host", "node"), ("authorization", "bearer right")], Ok(())),
            ("10.0.0.9", &[("host", "node"), ("x-api-key", "right")], Ok(())),
            ("10.0.0.9", &[("host", "node"), ("authorization", "Bearer wrong")], Err("invalid_api_key")),
            ("10.0.0.9", &[("host", "node"), ("authorization", "Bearer righ")], Err("invalid_api_key")),
            ("10.0.0.9", &[("host", "node"), ("authorization", "Basic right")], Err("invalid_api_key")),
        ];
        for (peer, headers, expected) in cases {
            assert_eq!(ask(peer, headers), *expected, "{peer} {headers:?}");
        }
    }
}
