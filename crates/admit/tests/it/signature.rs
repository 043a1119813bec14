//! Verification of signatures, against some that AWS's own tools made.

use admit::{Needs, Signed, SignedHead, identify_signed};
use aws_lc_rs::{digest, hmac};
use domain::{Fault, Sealed, Secret, WorkspaceId, api_key};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fixture::{key_id, snapshot};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const NOW: u64 = 1_440_938_160;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let read = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(read).collect()
}

/// The `Authorization` header of AWS's documentation, with this service's name and the name of key 1.
fn authorization(signed: &str, signature: &str) -> String {
    let access_key = api_key::access_key_id(key_id(1));
    format!(
        "{ALGORITHM} Credential={access_key}/20150830/us-east-1/tide/aws4_request, SignedHeaders={signed}, \
         Signature={signature}"
    )
}

/// What a request's head is to somebody who knows key 1 and its secret.
fn read_of(path: &str, query: &str, headers: &HeaderMap, now: u64) -> Result<Signed, Box<Fault>> {
    let head = SignedHead { method: "POST", path, query, headers, authority: None, service: "tide" };
    let peer = "192.0.2.1".parse().unwrap();
    identify_signed(snapshot(), &head, peer, Needs::Inference, &opens(SECRET), now * 1_000)
}

fn read(pairs: &[(&'static str, &str)], now: u64) -> Result<Signed, Box<Fault>> {
    read_of("/model/a%3Ab/say", "", &headers(pairs), now)
}

fn opens(secret: &str) -> impl Fn(WorkspaceId, &str, &Sealed) -> Option<Secret> {
    move |_, _, _| Some(Secret::from_text(secret.to_owned()))
}

/// Whether key 1 signed this with this secret over this body.
fn is_of(signed: Signed, secret: &str, body: &[u8]) -> bool {
    match signed.into_caller(&opens(secret), body) {
        Ok(caller) => caller.key().unwrap().id == key_id(1),
        Err(fault) => {
            assert_eq!(fault.code, "invalid_signature", "{fault}");
            false
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature of a canonical request, which ends with the hash of the body.
fn signature_of(canonical: &str, body: &[u8]) -> String {
    let hash = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let request = hash(format!("{canonical}{}", hash(body)).as_bytes());
    let scope = ["20150830", "us-east-1", "tide", "aws4_request"];
    let to_sign = format!("{ALGORITHM}\n20150830T123600Z\n{}\n{request}", scope.join("/"));
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = scope.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
    hex(&mac(&key, &to_sign))
}

#[test]
fn the_form_is_the_vendors() {
    let (json, arn) = ("application/json", "/model/arn%253Aaws%253Atide%252Fab%3A0/say\na=1&b=2&c=");
    for (path, query, content_type, target, read_type) in [
        ("/model/m/say", "", json, "/model/m/say\n", json),
        ("/model/arn%3Aaws%3Atide%2Fab:0/say", "b=2&a=1&&c", "  a   b \t c ", arn, "a b c"),
    ] {
        let canonical = format!(
            "POST\n{target}\ncontent-type:{read_type}\nhost:h:1\nx-amz-date:20150830T123600Z\n\n\
             content-type;host;x-amz-date\n"
        );
        let header = authorization("content-type;host;x-amz-date", &signature_of(&canonical, BODY));
        let headers = headers(&[
            ("host", "h:1"),
            ("content-type", content_type),
            ("x-amz-date", "20150830T123600Z"),
            ("authorization", &header),
        ]);
        assert!(is_of(read_of(path, query, &headers, NOW).unwrap(), SECRET, BODY), "{canonical}");
    }
}

/// Made with botocore's signer.
const SIGNED: &str = "e25c4c3cdd2e9f87b521fb5f9f3b3d6cd2f2fdf6c6ae08d153a7b7b455a78535";
const BODY: &[u8] = br#"{"messages": []}"#;

#[test]
fn a_signature_is_of_one_secret_and_one_body() {
    let header = authorization("content-type;host;x-amz-date", SIGNED);
    let pairs = [
        ("host", "127.0.0.1:8080"),
        ("content-type", "application/json"),
        ("x-amz-date", "20150830T123600Z"),
        ("authorization", &*header),
    ];
    let signed = || read(&pairs, NOW).unwrap();
    assert!(is_of(signed(), SECRET, BODY));
    assert!(!is_of(signed(), SECRET, b"{}"));
    assert!(!is_of(signed(), &SECRET.to_lowercase(), BODY));
    for (index, other) in [(0, "127.0.0.1:8081"), (1, "application/xml")] {
        let mut pairs = pairs;
        pairs[index].1 = other;
        assert!(!is_of(read(&pairs, NOW).unwrap(), SECRET, BODY), "{other}");
    }
}

#[test]
fn a_fault_of_the_head_is_refused_before_the_body() {
    let zeros = "0".repeat(64);
    let good = authorization("host;x-amz-date", &zeros);
    let others = [
        (good.replace("tide", "s3"), "invalid_signature"),
        (good.replace("20150830", "20150831"), "invalid_signature"),
        (good.replace("host;", ""), "invalid_signature"),
        (good.replace(";x-amz-date", ""), "invalid_signature"),
        (good.replace("/aws4_request", ""), "incomplete_signature"),
        (good.replace("Signature=", "Sign="), "incomplete_signature"),
        (good.replace(&zeros, "00"), "incomplete_signature"),
        (good.replace(&zeros, &"z".repeat(64)), "incomplete_signature"),
        (ALGORITHM.to_owned(), "incomplete_signature"),
    ];
    let pairs = |header| [("host", "h"), ("x-amz-date", "20150830T123600Z"), ("authorization", header)];
    assert!(read(&pairs(&good), NOW).is_ok());
    for (header, code) in &others {
        assert_eq!(read(&pairs(header), NOW).err().unwrap().code, *code, "{header}");
    }
    assert_eq!(read(&pairs(&good)[..1], NOW).err().unwrap().code, "incomplete_signature");
}

/// An attacker on the way can't add headers that change the answer.
#[test]
fn what_changes_the_answer_is_signed() {
    let zeros = "0".repeat(64);
    let own = ["idempotency-key", "agent-idempotency-key", "agent-lenient", "agent-hints"];
    for name in ["x-amz-target", "x-amzn-tide-guardrail"].into_iter().chain(own) {
        let pairs = |header| {
            [("host", "h"), ("x-amz-date", "20150830T123600Z"), ("authorization", header), (name, "x")]
        };
        let header = authorization("host;x-amz-date", &zeros);
        let fault = read(&pairs(&header), NOW).err().unwrap();
        assert_eq!(fault.code, "invalid_signature", "{name} is not signed");
        assert!(fault.to_string().contains(name), "{fault}");
        let header = authorization(&format!("host;x-amz-date;{name}"), &zeros);
        assert!(read(&pairs(&header), NOW).is_ok(), "{name}");
    }
    let plain = authorization("host;x-amz-date", &zeros);
    let pairs =
        [("host", "h"), ("x-amz-date", "20150830T123600Z"), ("authorization", &*plain), ("user-agent", "x")];
    assert!(read(&pairs, NOW).is_ok(), "what says nothing of the answer may be added");
}

#[test]
fn clocks_may_differ_by_five_minutes() {
    let good = authorization("host;x-amz-date", &"0".repeat(64));
    let pairs = [("host", "h"), ("x-amz-date", "20150830T123600Z"), ("authorization", &*good)];
    for (by, is_fresh) in [(0, true), (-300, true), (300, true), (-301, false), (301, false)] {
        let code = read(&pairs, NOW.saturating_add_signed(by)).err().map(|fault| fault.code);
        assert_eq!(code, (!is_fresh).then_some("signature_expired"), "{by}");
    }
    let short = ["20150830T1236Z", "2015-08-30T12:36Z"];
    for wrong in short.into_iter().chain(["20150830T126100Z", "20150830X123600Z", "20150830T12360+Z"]) {
        let pairs = [("host", "h"), ("x-amz-date", wrong), ("authorization", &*good)];
        assert_eq!(read(&pairs, NOW).err().unwrap().code, "incomplete_signature", "{wrong}");
    }
}
