//! Tests of signature verification against signatures made by AWS's own tools.

use super::*;
use http::{HeaderName, HeaderValue};

const NOW: u64 = 1_440_938_160;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

/// The `Authorization` header of AWS's documentation, with this service's name.
fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "{ALGORITHM} Credential=AKIDEXAMPLE/20150830/us-east-1/tide/aws4_request, SignedHeaders={signed}, \
         Signature={signature}"
    )
}

fn read(pairs: &[(&'static str, &str)], now: u64) -> Result<Signature, Box<Fault>> {
    let headers = headers(pairs);
    let head = SignedHead {
        method: "POST",
        path: "/model/a%3Ab/say",
        query: "",
        headers: &headers,
        authority: None,
        service: "tide",
    };
    Signature::read(&head, now)
}

#[test]
fn the_form_is_the_vendors() {
    let mut text = String::new();
    escape_path("/model/arn%3Aaws%3Atide%2Fab:0/say", &mut text);
    assert_eq!(text, "/model/arn%253Aaws%253Atide%252Fab%3A0/say");
    assert_eq!(canonical_query("b=2&a=1&&c"), "a=1&b=2&c=");
    assert_eq!(folded(b"  a   b \t c "), "a b c");
    let headers =
        headers(&[("host", "h:1"), ("x-amz-date", "20150830T123600Z"), ("content-type", "application/json")]);
    let head = SignedHead {
        method: "POST",
        path: "/model/m/say",
        query: "",
        headers: &headers,
        authority: None,
        service: "tide",
    };
    let names = ["content-type", "host", "x-amz-date"];
    assert_eq!(
        canonical(&head, &names, "content-type;host;x-amz-date"),
        "POST\n/model/m/say\n\ncontent-type:application/json\nhost:h:1\nx-amz-date:20150830T123600Z\n\n\
         content-type;host;x-amz-date\n"
    );
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
    let signature = read(&pairs, NOW).unwrap();
    assert_eq!(signature.access_key_id, "AKIDEXAMPLE");
    let secret = Secret::from_text(SECRET.to_owned());
    assert!(signature.is_of(&secret, &hash(BODY)));
    assert!(!signature.is_of(&secret, &hash(b"{}")));
    assert!(!signature.is_of(&Secret::from_text(SECRET.to_lowercase()), &hash(BODY)));
    for (index, other) in [(0, "127.0.0.1:8081"), (1, "application/xml")] {
        let mut pairs = pairs;
        pairs[index].1 = other;
        assert!(!read(&pairs, NOW).unwrap().is_of(&secret, &hash(BODY)), "{other}");
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
    for name in [
        "x-amz-target",
        "x-amzn-tide-guardrail",
        "idempotency-key",
        "agent-idempotency-key",
        "agent-lenient",
        "agent-hints",
    ] {
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
    for (now, is_fresh) in
        [(NOW, true), (NOW - 300, true), (NOW + 300, true), (NOW - 301, false), (NOW + 301, false)]
    {
        let code = read(&pairs, now).err().map(|fault| fault.code);
        assert_eq!(code, (!is_fresh).then_some("signature_expired"), "{now}");
    }
    for wrong in
        ["20150830T1236Z", "2015-08-30T12:36Z", "20150830T126100Z", "20150830X123600Z", "20150830T12360+Z"]
    {
        let pairs = [("host", "h"), ("x-amz-date", wrong), ("authorization", &*good)];
        assert_eq!(read(&pairs, NOW).err().unwrap().code, "incomplete_signature", "{wrong}");
    }
}
