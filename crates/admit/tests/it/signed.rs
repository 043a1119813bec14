//! Which signatures authenticate whom.

use std::cell::Cell;

use admit::{Caller, Needs, SignedHead, identify_signed, is_readable_by, is_signed};
use domain::{Fault, FaultClass, Secret, api_key};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fixture::{NOW_UNIX_MS, key_id, snapshot, text};

const BODY: &[u8] = br#"{"a":1}"#;
const BODY_HASH: &str = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
const DATE: &str = "20270115T080000Z";
/// Made with botocore's signer for key 1 and the secret "secret"; the second over a head that declares the
/// body's hash.
const SIGNED: &str = "2b39bc321f12ab579ed30a7e1f4c84a7cb516e870ba28ce72a831c9231e6c950";
const DECLARED: &str = "23715a349037a79cc1124c29884753ad063103e4306ba7e1afa8bd0abf8f948b";

fn headers(access_key: &str, signature: &str, declares: bool) -> HeaderMap {
    let hash = if declares { "x-amz-content-sha256;" } else { "" };
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/20270115/us-east-1/tide/aws4_request, \
         SignedHeaders=content-type;host;{hash}x-amz-date, Signature={signature}"
    );
    let mut headers = HeaderMap::new();
    let json = ("content-type", "application/json");
    for (name, value) in [("host", "h"), json, ("x-amz-date", DATE), ("authorization", &*authorization)] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    if declares {
        headers.insert("x-amz-content-sha256", HeaderValue::from_static(BODY_HASH));
    }
    headers
}

fn head<'a>(headers: &'a HeaderMap, authority: Option<&'a str>) -> SignedHead<'a> {
    let (method, path, query, service) = ("POST", "/model/m/say", "", "tide");
    SignedHead { method, path, query, headers, authority, service }
}

/// The caller or the error, and how often the secret was opened.
fn ask(headers: &HeaderMap, secret: Option<&str>, body: &[u8]) -> (Result<Caller, Box<Fault>>, u32) {
    let opened = Cell::new(0);
    let open = |_, object: &str, _: &_| {
        assert!((1..8).any(|number| object == key_id(number).to_string()), "{object}");
        opened.set(opened.get() + 1);
        secret.map(|text| Secret::from_text(text.to_owned()))
    };
    let peer = "192.0.2.1".parse().unwrap();
    let head = head(headers, None);
    let signed = identify_signed(snapshot(), &head, peer, Needs::Inference, &open, NOW_UNIX_MS);
    let caller = signed.and_then(|signed| signed.into_caller(&open, body));
    (caller, opened.get())
}

fn named(number: u8) -> String {
    api_key::access_key_id(key_id(number))
}

#[test]
fn a_good_signature_is_as_good_as_the_key() {
    for (signature, declares) in [(SIGNED, false), (DECLARED, true)] {
        let headers = headers(&named(1), signature, declares);
        assert!(is_signed(&headers));
        let (caller, opened) = ask(&headers, Some("secret"), BODY);
        assert_eq!((caller.unwrap().key().unwrap().id, opened), (key_id(1), 1));
    }
    // HTTP/2 sends the host elsewhere.
    let mut other = headers(&named(1), SIGNED, false);
    other.remove("host");
    let open = |_, _: &str, _: &_| Some(Secret::from_text("secret".to_owned()));
    let head = head(&other, Some("h"));
    let peer = "192.0.2.1".parse().unwrap();
    let signed = identify_signed(snapshot(), &head, peer, Needs::Inference, &open, NOW_UNIX_MS).unwrap();
    assert!(signed.into_caller(&open, BODY).is_ok());
}

#[test]
fn another_secret_body_or_key_is_refused() {
    for (access_key, signature, declares, secret, body, code, opens) in [
        (named(1), SIGNED, false, Some("other"), BODY, "invalid_signature", 1),
        (named(1), SIGNED, false, Some("secret"), b"{}".as_slice(), "invalid_signature", 1),
        (named(1), DECLARED, true, Some("other"), BODY, "invalid_signature", 1),
        (named(1), DECLARED, true, Some("secret"), b"{}".as_slice(), "invalid_signature", 1),
        (named(1), SIGNED, false, None, BODY, "invalid_api_key", 1),
        (named(2), SIGNED, false, Some("secret"), BODY, "insufficient_scope", 1),
        (named(5), SIGNED, false, Some("secret"), BODY, "expired_api_key", 1),
        (named(7), SIGNED, false, Some("secret"), BODY, "ip_not_allowed", 1),
        // The state of a key is not disclosed to someone who can't sign with it.
        (named(2), SIGNED, false, Some("other"), BODY, "invalid_signature", 1),
        (named(5), SIGNED, false, Some("other"), BODY, "invalid_signature", 1),
        (named(5), DECLARED, true, Some("other"), BODY, "invalid_signature", 1),
        (named(6), SIGNED, false, Some("secret"), BODY, "invalid_signature", 0),
        (named(6), DECLARED, true, Some("secret"), BODY, "invalid_signature", 0),
        (named(9), SIGNED, false, Some("secret"), BODY, "invalid_api_key", 0),
        (named(200), SIGNED, false, Some("secret"), BODY, "invalid_api_key", 0),
        ("AKIDEXAMPLE".to_owned(), SIGNED, false, Some("secret"), BODY, "invalid_api_key", 0),
    ] {
        let (caller, opened) = ask(&headers(&access_key, signature, declares), secret, body);
        let fault = caller.unwrap_err();
        assert_eq!((fault.code, opened), (code, opens), "{access_key}: {fault}");
        assert!(matches!(fault.class, FaultClass::Unauthenticated | FaultClass::Forbidden), "{fault}");
        assert!(fault.fix.is_some() && !fault.to_string().contains("secret\""), "{fault}");
    }
}

#[test]
fn a_revoked_key_looks_like_a_wrong_signature() {
    let refusal = |number| {
        let (caller, _) = ask(&headers(&named(number), SIGNED, false), Some("other"), BODY);
        let fault = caller.unwrap_err();
        (fault.class, fault.code, fault.to_string(), fault.fix.clone())
    };
    assert_eq!(refusal(1), refusal(6));
}

#[test]
fn a_page_reads_what_the_origins_of_the_signing_key_allow() {
    let reads = |headers: &HeaderMap, is_by_setting| {
        ["https://app.example", "https://b.example"]
            .map(|origin| is_readable_by(origin, &snapshot(), headers, is_by_setting))
    };
    for (number, is_by_setting, expected) in [
        (2, true, [true, false]),
        (2, false, [true, false]),
        (1, true, [true, true]),
        (1, false, [false, false]),
        // Nobody's, as without a key: where any key lists the origin.
        (200, false, [true, false]),
    ] {
        let signed = headers(&named(number), SIGNED, false);
        assert_eq!(reads(&signed, is_by_setting), expected, "{number} {is_by_setting}");
    }
    // Whose key is beside the signature makes no answer readable that the signer's doesn't.
    let mut both = headers(&named(2), SIGNED, false);
    both.insert("x-api-key", HeaderValue::from_str(&text(1)).unwrap());
    assert_eq!(reads(&both, true), [true, false]);
}
