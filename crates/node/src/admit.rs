//! Access to a node: requests from the same machine need no key, all others do.

use std::net::IpAddr;

use domain::{Fault, FaultClass};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;
use proof::Digest;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Checks a request before its body is read. Only digests of the keys are stored.
///
/// # Errors
/// 401 if a key is needed and missing, 403 for a web page in a local browser: a cross-origin request, or DNS
/// rebinding.
pub(crate) fn admit(keys: &[Digest], head: &Parts, peer: IpAddr) -> Result<(), Box<Fault>> {
    if let Some(presented) = presented_key(&head.headers)
        && keys.contains(&Digest::of(&[presented]))
    {
        return Ok(());
    }
    if !peer.is_loopback() {
        return Err(Box::new(
            Fault::new(FaultClass::Unauthenticated, "invalid_api_key", "This node needs its own key.")
                .fix("Send a key from `tidegate node key` as Authorization: Bearer."),
        ));
    }
    // Any web page can make a browser on this machine send requests. What a page can't choose is the `Host`
    // header, and the origin that the browser reports.
    if !names_loopback(head) {
        return Err(Box::new(
            Fault::new(
                FaultClass::Forbidden,
                "host_not_local",
                "Without a key, this node answers only to local names.",
            )
            .fix("Ask it at localhost or 127.0.0.1, or send a key from `tidegate node key`."),
        ));
    }
    if is_foreign_page(head) {
        return Err(Box::new(
            Fault::new(
                FaultClass::Forbidden,
                "cross_origin",
                "Without a key this node answers no web page of another address.",
            )
            .fix("Send a key from `tidegate node key`, or ask from a program instead of a page."),
        ));
    }
    Ok(())
}

/// Whether the browser reports a page that this node did not serve.
fn is_foreign_page(head: &Parts) -> bool {
    let site = head.headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let Some(origin) = head.headers.get(ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    match (authority, requested_host(head)) {
        (Some(authority), Some(host)) => !authority.eq_ignore_ascii_case(host),
        _ => true,
    }
}

fn presented_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
    });
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

/// The host and port that the request was addressed to.
fn requested_host(head: &Parts) -> Option<&str> {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str))
}

fn names_loopback(head: &Parts) -> bool {
    let Some(host) = requested_host(head) else { return false };
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

    #[test]
    fn a_page_of_another_address_needs_a_key() {
        let host = ("host", "127.0.0.1:8080");
        let refused = Err("cross_origin");
        for (more, expected) in [
            (vec![], Ok(())),
            (vec![("origin", "http://127.0.0.1:8080")], Ok(())),
            (vec![("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")], Ok(())),
            (vec![("sec-fetch-site", "none")], Ok(())),
            (vec![("sec-fetch-site", "cross-site")], refused),
            (vec![("sec-fetch-site", "same-site")], refused),
            (vec![("origin", "https://evil.example")], refused),
            (vec![("origin", "https://127.0.0.1:8080")], refused),
            (vec![("origin", "http://127.0.0.1:3000")], refused),
            (vec![("origin", "http://localhost:8080")], refused),
            (vec![("origin", "null")], refused),
            (vec![("origin", "https://evil.example"), ("authorization", "Bearer right")], Ok(())),
            (vec![("origin", "https://evil.example"), ("authorization", "Bearer wrong")], refused),
        ] {
            let mut all = vec![host];
            all.extend(&more);
            assert_eq!(ask("127.0.0.1", &all), expected, "{more:?}");
        }
    }
}
