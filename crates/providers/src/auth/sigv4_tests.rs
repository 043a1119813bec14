//! Test vectors of Signature Version 4 published by AWS, and further ones computed with botocore 1.44.

use domain::Grammar;
use http::Method;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

struct Vector {
    request: (&'static str, &'static str),
    body: &'static str,
    content: Option<&'static str>,
    scope: Scope<'static>,
    unix_s: u64,
    token: Option<&'static str>,
    date: &'static str,
    signed: &'static str,
    signature: &'static str,
}

const VECTORS: &[Vector] = &[
    // get-vanilla, as Amazon publishes it.
    Vector {
        request: ("GET", "https://example.amazonaws.com/"),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    // post-vanilla, as Amazon publishes it.
    Vector {
        request: ("POST", "https://example.amazonaws.com/"),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    // post-x-www-form-urlencoded, as Amazon publishes it.
    Vector {
        request: ("POST", "https://example.amazonaws.com/"),
        body: "Param1=value1",
        content: Some("application/x-www-form-urlencoded"),
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "content-type;host;x-amz-date",
        signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    },
    // get-vanilla-query-order-key, as Amazon publishes it.
    Vector {
        request: ("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1"),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    },
    // get-unreserved, as Amazon publishes it.
    Vector {
        request: (
            "GET",
            "https://example.amazonaws.com/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        ),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    },
    // get-relative, as Amazon publishes it.
    Vector {
        request: ("GET", "https://example.amazonaws.com/example/.."),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    },
    // get-slashes, as Amazon publishes it.
    Vector {
        request: ("GET", "https://example.amazonaws.com//example//"),
        body: "",
        content: None,
        scope: Scope { region: "us-east-1", service: "service" },
        unix_s: 1_440_938_160,
        token: None,
        date: "20150830T123600Z",
        signed: "host;x-amz-date",
        signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    },
    Vector {
        request: (
            "POST",
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse",
        ),
        body: "{\"messages\":[]}",
        content: Some("application/json"),
        scope: Scope { region: "us-east-1", service: "bedrock" },
        unix_s: 1_795_248_900,
        token: None,
        date: "20261121T081500Z",
        signed: "content-type;host;x-amz-date",
        signature: "806fe0554e159f4502917487f021567bb54629cf27c3434ded6b8723bce5b8e0",
    },
    Vector {
        request: (
            "POST",
            "https://bedrock-runtime.eu-central-1.amazonaws.com/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fab12/converse-stream",
        ),
        body: "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"hé\"}]}]}",
        content: Some("application/json"),
        scope: Scope { region: "eu-central-1", service: "bedrock" },
        unix_s: 1_709_251_199,
        token: Some("FwoGZXIvYXdzEBYaDH//session+token=="),
        date: "20240229T235959Z",
        signed: "content-type;host;x-amz-date;x-amz-security-token",
        signature: "89449e36453ffbc6a231393fb3b1c64e6297feaf5a4bd76235406b21022ac5cd",
    },
    Vector {
        request: ("GET", "https://bedrock.eu-west-1.amazonaws.com/foundation-models"),
        body: "",
        content: None,
        scope: Scope { region: "eu-west-1", service: "bedrock" },
        unix_s: 1_798_675_200,
        token: None,
        date: "20261231T000000Z",
        signed: "host;x-amz-date",
        signature: "342b3a0dd01a215989268dbf122f1483863e82a8b2c6881db27efa28c6d91f2c",
    },
    Vector {
        request: (
            "GET",
            "http://127.0.0.1:8443/bedrock/foundation-models?byProvider=anthropic&byOutputModality=TEXT",
        ),
        body: "",
        content: None,
        scope: Scope { region: "ap-southeast-2", service: "bedrock" },
        unix_s: 951_868_801,
        token: None,
        date: "20000301T000001Z",
        signed: "host;x-amz-date",
        signature: "4da5f93ede882b3bbd505ae62854a396e1aec3bada45541e186fecd239389c76",
    },
    Vector {
        request: ("POST", "https://sts.us-west-2.amazonaws.com/"),
        body: "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fx",
        content: Some("application/x-www-form-urlencoded; charset=utf-8"),
        scope: Scope { region: "us-west-2", service: "sts" },
        unix_s: 1_795_248_900,
        token: None,
        date: "20261121T081500Z",
        signed: "content-type;host;x-amz-date",
        signature: "a91130ea7125070f93ffbed81c8051562f3a145c2e14e6eb7d00f514b5a5aa78",
    },
];

fn outgoing(vector: &Vector) -> Outgoing {
    let (method, url) = vector.request;
    let content = vector.content.map(|content| (CONTENT_TYPE, HeaderValue::from_static(content)));
    // The body in two pieces.
    let (first, second) = vector.body.as_bytes().split_at(vector.body.len() / 2);
    Outgoing {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        url: url.to_owned(),
        headers: content.into_iter().collect(),
        body: vec![Bytes::from_static(first), Bytes::from_static(second)],
        grammar: Some(Grammar::Chat),
        answer: None,
        dropped: Vec::new(),
    }
}

fn header(outgoing: &Outgoing, name: &HeaderName) -> Option<HeaderValue> {
    outgoing.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
}

#[test]
fn signatures_are_what_amazon_makes_them() {
    for vector in VECTORS {
        let mut outgoing = outgoing(vector);
        let token = vector.token.map(|token| format!(r#","session_token":"{token}""#)).unwrap_or_default();
        let secret = format!(r#"{{"access_key_id":"AKIDEXAMPLE","secret_access_key":"{SECRET}"{token}}}"#);
        sign(&mut outgoing, &Secret::from_text(secret), vector.scope, vector.unix_s).unwrap();
        let Scope { region, service } = vector.scope;
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{}/{region}/{service}/aws4_request, SignedHeaders={}, Signature={}",
            &vector.date[..8],
            vector.signed,
            vector.signature
        );
        let url = vector.request.1;
        let authorization = header(&outgoing, &AUTHORIZATION).expect(url);
        assert_eq!(authorization, expected, "{url}");
        assert_eq!(header(&outgoing, &DATE).expect(url), vector.date, "{url}");
        let token = header(&outgoing, &TOKEN);
        assert_eq!(token.as_ref().map(HeaderValue::as_bytes), vector.token.map(str::as_bytes), "{url}");
        assert!(authorization.is_sensitive() && token.is_none_or(|token| token.is_sensitive()), "{url}");
    }
}

#[test]
fn what_the_clouds_tools_write_is_taken_as_it_is() {
    let written = r#"{"Version":1,"AccessKeyId":"AKIDEXAMPLE","SecretAccessKey":"wJalrXUtnFEMI\/K7MDENG+bPxRfiCYEXAMPLEKEY","Expiration":"x"}"#;
    let vector = &VECTORS[0];
    let mut outgoing = outgoing(vector);
    sign(&mut outgoing, &Secret::from_text(written.to_owned()), vector.scope, vector.unix_s).unwrap();
    let authorization = header(&outgoing, &AUTHORIZATION).unwrap();
    assert!(authorization.to_str().unwrap().ends_with(vector.signature));
}

#[test]
fn a_malformed_key_pair_is_refused_without_its_text() {
    for wrong in [
        "AKIDEXAMPLE:xyzzy",
        r#"{"access_key_id":"xyzzy"}"#,
        r#"{"access_key_id":"","secret_access_key":"xyzzy"}"#,
        r#"{"access_key_id":"a\nb","secret_access_key":"xyzzy"}"#,
        r#"{"access_key_id":"a","secret_access_key":"b","session_token":"xy\u0000zzy"}"#,
    ] {
        let mut outgoing = outgoing(&VECTORS[0]);
        let secret = Secret::from_text(wrong.to_owned());
        let fault = sign(&mut outgoing, &secret, VECTORS[0].scope, 0).expect_err(wrong);
        assert_eq!((fault.class, fault.code), (FaultClass::UpstreamAuth, "credential_unusable"), "{wrong}");
        assert!(!format!("{fault:?}").contains("zzy"), "{fault:?}");
    }
}

#[test]
fn dates_are_civil() {
    for (unix_s, expected) in [
        (0, "19700101T000000Z"),
        (951_782_400, "20000229T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (1_798_761_599, "20261231T235959Z"),
        (4_107_542_400, "21000301T000000Z"),
    ] {
        assert_eq!(stamp(unix_s), expected);
    }
}
