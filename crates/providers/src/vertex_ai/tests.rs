//! Requests to each vendor's models on Vertex AI, and the classification of their errors.

use conversation::request::Addressed;
use domain::{AuthKind, FaultClass, Secret};
use operations::RequestSource;

use super::*;

const HOST: &str = "https://us-east5-aiplatform.googleapis.com";

fn hosting() -> Hosting {
    Hosting {
        auth: AuthKind::ServiceAccount,
        project: Some("tides".to_owned()),
        location: Some("us-east5".to_owned()),
        ..Hosting::default()
    }
}

/// A client's request as it is sent: URL, body and header names.
fn sent(
    grammar: Grammar,
    operation: Operation,
    model: &str,
    body: &'static str,
    headers: &[(&'static str, &'static str)],
) -> (String, String, Vec<(String, String)>) {
    let body = Bytes::from_static(body.as_bytes());
    let addressed =
        (grammar == Grammar::Gemini).then(|| Addressed { model: model.to_owned(), ..Addressed::default() });
    let source = RequestSource { grammar, body: &body, addressed: addressed.as_ref() };
    let request = operations::of(operation).read_request(source).unwrap();
    let is_spoken = VertexAi.grammars(operation, model).contains(&grammar);
    // Image requests have no turns.
    let has_prompt = !is_spoken && operation != Operation::Images;
    let prompt = has_prompt.then(|| dialects::read_prompt(grammar, &body, &request).unwrap());
    let read = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let native_headers: Vec<_> = headers.iter().map(read).collect();
    let hosting = Hosting { quota_project: Some("payer".to_owned()), ..hosting() };
    let target = Target {
        base_url: HOST,
        upstream_model: model,
        hosting: &hosting,
        abilities: &Default::default,
        quirks: domain::MissingFeatures::default(),
    };
    let ask = ModelRequest {
        operation,
        grammar,
        request: &request,
        body: &body,
        native_headers: &native_headers,
        is_lenient: false,
        drops_hosted_tools: false,
        shared_by: None,
        inserts: &[],
        prompt: prompt.as_ref(),
    };
    let mut outgoing = VertexAi.generate(&target, &ask).unwrap();
    let secret = Secret::from_text("t\nanother".to_owned());
    VertexAi.authorise(&mut outgoing, &Signer { secret: &secret, hosting: &hosting, unix_s: 0 }).unwrap();
    let text = |(name, value): &(HeaderName, HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
    };
    let headers = outgoing.headers.iter().map(text).collect();
    (outgoing.url, String::from_utf8(outgoing.body.concat()).unwrap(), headers)
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

const CHAT: &str = r#"{"model":"a/b","messages":[{"role":"user","content":"Hi"}],"max_tokens":20}"#;
const STREAM: &str =
    r#"{"model":"a/b","messages":[{"role":"user","content":"Hi"}],"max_tokens":20,"stream":true}"#;

#[test]
fn googles_own_models_are_asked_in_their_grammar() {
    let below = format!("{HOST}/v1beta1/projects/tides/locations/us-east5/publishers/google/models");
    let (url, body, headers) = sent(Grammar::Chat, Operation::Chat, "gemini-2.5-pro", CHAT, &[]);
    assert_eq!(url, format!("{below}/gemini-2.5-pro:generateContent"));
    assert_eq!(
        body,
        r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"maxOutputTokens":20}}"#
    );
    assert_eq!(header(&headers, "authorization"), Some("Bearer t"));
    assert_eq!(header(&headers, "x-goog-user-project"), Some("payer"));
    let (url, _, _) = sent(Grammar::Chat, Operation::Chat, "gemini-2.5-pro", STREAM, &[]);
    assert_eq!(url, format!("{below}/gemini-2.5-pro:streamGenerateContent?alt=sse"));
    // A body from Gemini's own clients is passed on unchanged.
    let own = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"labels":{"team":"sea"}}"#;
    let (_, body, _) = sent(Grammar::Gemini, Operation::Chat, "gemini-2.5-pro", own, &[]);
    assert_eq!(body, own);
    let (url, body, _) = sent(Grammar::Anthropic, Operation::Count, "gemini-2.5-pro", CHAT, &[]);
    assert_eq!(url, format!("{below}/gemini-2.5-pro:countTokens"));
    assert!(body.starts_with(r#"{"contents":["#), "{body}");
    let kept = r#"{"model":"a/b","messages":[{"role":"user","content":"Hi"}],"store":false}"#;
    let (_, body, _) = sent(Grammar::Chat, Operation::Chat, "gemini-2.5-pro", kept, &[]);
    assert_eq!(body, r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#);
    let (url, _, _) = sent(Grammar::Chat, Operation::Chat, "x?y#../z:predict", CHAT, &[]);
    assert_eq!(
        url,
        format!("{HOST}/v1/projects/tides/locations/us-east5/endpoints/openapi/chat/completions")
    );
    let (url, _, _) = sent(Grammar::Chat, Operation::Chat, "google/x?y#../z:predict", CHAT, &[]);
    assert_eq!(url, format!("{below}/x%3Fy%23..%2Fz%3Apredict:generateContent"));
}

#[test]
fn anthropics_models_are_asked_in_theirs_without_its_headers() {
    let below = format!("{HOST}/v1/projects/tides/locations/us-east5/publishers/anthropic/models");
    let model = "claude-opus-4-5@20251101";
    let headers = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "effort-2025-11-24, context-management-2025-06-27"),
    ];
    let (url, body, headers) = sent(Grammar::Anthropic, Operation::Chat, model, CHAT, &headers);
    assert_eq!(url, format!("{below}/{model}:rawPredict"));
    assert_eq!(
        body,
        r#"{"anthropic_version":"vertex-2023-10-16","anthropic_beta":["effort-2025-11-24","context-management-2025-06-27"],"messages":[{"role":"user","content":"Hi"}],"max_tokens":20}"#
    );
    assert!(header(&headers, "anthropic-version").is_none() && header(&headers, "anthropic-beta").is_none());
    // A client with a newer version gets that version.
    let newer = [("anthropic-version", "2026-10-21")];
    let (url, body, _) = sent(Grammar::Anthropic, Operation::Chat, model, STREAM, &newer);
    assert_eq!(url, format!("{below}/{model}:streamRawPredict"));
    assert!(body.starts_with(r#"{"anthropic_version":"2026-10-21","messages""#), "{body}");
    assert!(body.ends_with(r#""stream":true}"#), "{body}");
    // A token count names its model in the body, not in the path.
    let (url, body, _) = sent(Grammar::Anthropic, Operation::Count, model, CHAT, &[]);
    assert_eq!(url, format!("{below}/count-tokens:rawPredict"));
    assert!(body.contains(r#""model":"claude-opus-4-5@20251101""#), "{body}");
    let (url, body, _) = sent(Grammar::Chat, Operation::Chat, model, CHAT, &[]);
    assert_eq!(url, format!("{below}/{model}:rawPredict"));
    assert!(body.starts_with(r#"{"anthropic_version":"vertex-2023-10-16","#), "{body}");
    assert!(!body.contains("\"model\""), "{body}");
}

#[test]
fn others_models_are_asked_under_their_publishers_names() {
    let (url, body, _) = sent(Grammar::Chat, Operation::Chat, "openai/gpt-oss-120b-maas", CHAT, &[]);
    assert_eq!(
        url,
        format!("{HOST}/v1/projects/tides/locations/us-east5/endpoints/openapi/chat/completions")
    );
    assert!(body.contains(r#""model":"openai/gpt-oss-120b-maas""#), "{body}");
    assert!(
        VertexAi.grammars(Operation::Count, "openai/gpt-oss-120b-maas").is_empty()
            && !VertexAi.grammars(Operation::Count, "claude-opus-5").is_empty()
    );
}

#[test]
fn pictures_are_predicted_and_nothing_else_is_asked_of_their_models() {
    let picture = r#"{"model":"a/b","prompt":"a tide","n":2,"stream":true}"#;
    let (url, body, _) = sent(Grammar::Chat, Operation::Images, "imagen-4.0-generate-001", picture, &[]);
    let below = format!("{HOST}/v1/projects/tides/locations/us-east5/publishers/google/models");
    assert_eq!(url, format!("{below}/imagen-4.0-generate-001:predict"));
    let expected =
        r#"{"instances":[{"prompt":"a tide"}],"parameters":{"sampleCount":2,"includeRaiReason":true}}"#;
    assert_eq!(body, expected);
    let grammars = |operation, model| VertexAi.grammars(operation, model);
    assert!(VertexAi.has_own_format(Operation::Images, "google/imagen-x"));
    for (operation, model) in [
        (Operation::Images, "gemini-2.5-pro"),
        (Operation::Images, "claude-opus-5"),
        (Operation::Chat, "imagen-4.0-generate-001"),
        (Operation::Embed, "imagen-4.0-generate-001"),
        (Operation::Count, "imagen-4.0-generate-001"),
    ] {
        assert!(grammars(operation, model).is_empty(), "{operation:?} {model}");
        assert!(!VertexAi.has_own_format(operation, model), "{operation:?} {model}");
    }
}

#[test]
fn an_address_has_one_version_and_a_place() {
    let check = |base: &str, hosting: &Hosting, expected: &str| {
        assert_eq!(address(base, hosting, STABLE, "x"), expected);
    };
    let expected = format!("{HOST}/v1/projects/tides/locations/us-east5/x");
    for base in [HOST.to_owned(), format!("{HOST}/"), format!("{HOST}/v1"), format!("{HOST}/v1beta1/")] {
        check(&base, &hosting(), &expected);
    }
    // The key file's project is filled in when the request is signed; a region also serves as the location.
    let region = Hosting { region: Some("eu".to_owned()), ..Hosting::default() };
    check("http://h", &region, "http://h/v1/projects/-/locations/eu/x");
    check("http://h", &Hosting::default(), "http://h/v1/projects/-/locations/global/x");
}

#[test]
fn an_account_is_tried_with_a_count() {
    let outgoing = VertexAi.list_models(HOST, &hosting());
    assert_eq!(
        (outgoing.method, outgoing.url),
        (Method::POST, format!("{HOST}/v1beta1/projects/tides/locations/us-east5/{PROBE}"))
    );
    assert_eq!(VertexAi.read_models(&Bytes::from_static(br#"{"totalTokens":1}"#)), None);
}

#[test]
fn a_refusal_is_read_in_the_words_that_it_has() {
    let class = |status, body: &'static str| {
        VertexAi.classify(status, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()), "x").class
    };
    for (status, body, expected) in [
        (
            401,
            r#"{"error":{"code":401,"message":"m","status":"UNAUTHENTICATED","details":[{"reason":"ACCESS_TOKEN_EXPIRED"}]}}"#,
            FaultClass::UpstreamAuth,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"Permission 'aiplatform.endpoints.predict' denied","status":"PERMISSION_DENIED","details":[{"reason":"IAM_PERMISSION_DENIED"}]}}"#,
            FaultClass::UpstreamPermission,
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED","details":[{"reason":"CONSUMER_INVALID"}]}}"#,
            FaultClass::UpstreamPermission,
        ),
        (
            404,
            r#"[{"error":{"code":404,"message":"Publisher Model was not found","status":"NOT_FOUND"}}]"#,
            FaultClass::UpstreamNotFound,
        ),
        (
            429,
            r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#,
            FaultClass::RateLimit,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#,
            FaultClass::ContextLength,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"Image generation failed with the following error: The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI practices.","status":"INVALID_ARGUMENT"}}"#,
            FaultClass::ContentPolicy,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"Image generation failed with the following error: The response is blocked, as it may violate our policies. If you believe this is an error, please send feedback to your account team. Error Code: 58061214","status":"INVALID_ARGUMENT"}}"#,
            FaultClass::ContentPolicy,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"sampleCount must be between 1 and 4.","status":"INVALID_ARGUMENT"}}"#,
            FaultClass::BadRequest,
        ),
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            FaultClass::Overloaded,
        ),
    ] {
        assert_eq!(class(status, body), expected, "{body}");
    }
}
