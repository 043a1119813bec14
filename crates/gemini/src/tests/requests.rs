//! What the pipeline reads of a request.

use bytes::Bytes;
use conversation::request::{Addressed, Request};
use domain::{Fault, Operation};

use super::addressed;
use crate::decode_request;

fn decode(body: &str) -> Result<Request, Box<Fault>> {
    decode_request(Operation::Chat, &Bytes::copy_from_slice(body.as_bytes()), Some(&addressed()))
}

#[test]
fn what_the_rooms_need_is_read_in_both_spellings() {
    let body = r#"{"system_instruction":{"parts":{"text":"abc"}},
        "contents":[{"role":"user","parts":[{"text":"h\u00e9"},{"inline_data":{"mime_type":"image/png","data":"AA=="}}]},
            {"role":"model","parts":[{"functionCall":{"name":"f"}}]}],
        "tools":[1],"generation_config":{"max_output_tokens":7,"candidateCount":2.0,"maxima":1},"unknown":{"contents":1}}"#;
    let request = decode(body).unwrap();
    assert_eq!((request.max_output_tokens, request.choices), (Some(7), 2));
    assert_eq!(request.prompt_bytes, 3 + 3 + r#"{"name":"f"}"#.len() as u64 + 3);
    assert_eq!(request.model, "gemini-2.5-flash");
    assert!(request.include_usage && !request.stream && !request.as_array && !request.speaks);
    for (modalities, speaks) in
        [(r#"["TEXT","AUDIO"]"#, true), (r#""audio""#, true), (r#"["IMAGE",1]"#, false)]
    {
        let config = format!(r#""generationConfig":{{"responseModalities":{modalities}}}"#);
        let body = format!(r#"{{"contents":[{{"parts":[{{"text":"x"}}]}}],{config}}}"#);
        assert_eq!(decode(&body).unwrap().speaks, speaks, "{body}");
    }
    let address = Addressed { model: "m".to_owned(), stream: true, as_array: true, ..Addressed::default() };
    let body = Bytes::from_static(br#"{"contents":{"parts":{"text":"Hello"}}}"#);
    let request = decode_request(Operation::Chat, &body, Some(&address)).unwrap();
    assert!(request.stream && request.as_array);
    assert_eq!((request.choices, request.prompt_bytes), (1, 5));
}

#[test]
fn a_body_goes_on_as_it_is() {
    let body = Bytes::from_static(br#"{"contents":[{"parts":[{"text":"Hello"}]}],"x":1}"#);
    let request = decode_request(Operation::Chat, &body, Some(&addressed())).unwrap();
    assert_eq!(conversation::request::upstream_body(&body, &request, "another", true).concat(), body);
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    for (body, code, param) in [
        ("", "empty_body", None),
        ("[]", "invalid_type", None),
        ("{", "invalid_json", None),
        ("{}", "missing_required_parameter", Some("contents")),
        (r#"{"contents":[]}"#, "invalid_value", Some("contents")),
        (r#"{"contents":"x"}"#, "invalid_type", Some("contents")),
        (r#"{"contents":[1]}"#, "invalid_type", Some("contents[0]")),
        (r#"{"contents":[{"parts":["x"]}]}"#, "invalid_type", Some("contents[0].parts[0]")),
        (r#"{"contents":[{"parts":[{"text":1}]}]}"#, "invalid_type", Some("contents[0].parts[0].text")),
        (r#"{"contents":[{"role":1,"parts":[]}]}"#, "invalid_type", Some("contents[0].role")),
        (r#"{"contents":[{}],"contents":[{}]}"#, "duplicate_field", Some("contents")),
        (r#"{"contents":[{"role":"user","role":"model"}]}"#, "duplicate_field", Some("contents[0].role")),
        (
            r#"{"contents":[{}],"generationConfig":{},"generation_config":{}}"#,
            "duplicate_field",
            Some("generation_config"),
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}}"#,
            "duplicate_field",
            Some("generationConfig.max_output_tokens"),
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}"#,
            "invalid_value",
            Some("generationConfig.maxOutputTokens"),
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"candidateCount":0}}"#,
            "invalid_value",
            Some("generationConfig.candidateCount"),
        ),
        (
            r#"{"contents":[{}],"generationConfig":{"candidateCount":true}}"#,
            "invalid_type",
            Some("generationConfig.candidateCount"),
        ),
        (r#"{"contents":[{"parts":[{"text":"\ud800"}]}]}"#, "invalid_json", None),
    ] {
        let fault = decode(body).expect_err(body);
        assert_eq!((fault.code, fault.param.as_deref()), (code, param), "{body}: {fault}");
        assert!(fault.fix.is_some(), "{body}");
    }
    let body = Bytes::from_static(br#"{"contents":[{}]}"#);
    assert_eq!(decode_request(Operation::Chat, &body, None).unwrap_err().param.as_deref(), Some("model"));
}

#[test]
fn a_request_that_is_counted_may_stand_one_level_deeper() {
    let count = |body: &str| {
        decode_request(Operation::Count, &Bytes::copy_from_slice(body.as_bytes()), Some(&addressed()))
    };
    let plain = count(r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#).unwrap();
    assert_eq!(plain.prompt_bytes, 5);
    let body = r#"{"generate_content_request":{"model":"models/gemini-2.5-flash","contents":[{"parts":[{"text":"Hello"}]}],
        "systemInstruction":{"parts":{"text":"Hey"}},"generationConfig":{"maxOutputTokens":1}}}"#;
    let request = count(body).unwrap();
    assert_eq!((request.prompt_bytes, request.max_output_tokens), (8, None));
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let sent = conversation::request::upstream_body(&bytes, &request, "another", true).concat();
    assert_eq!(sent, body.replace("models/gemini-2.5-flash", "models/another").as_bytes());
    let prompt = crate::read_prompt(&bytes, &request).unwrap();
    assert_eq!((prompt.instructions.len(), prompt.turns.len(), prompt.extras.len()), (1, 1, 0));
    for (body, code, param) in [
        ("{}", "missing_required_parameter", "contents"),
        (r#"{"generateContentRequest":{}}"#, "missing_required_parameter", "contents"),
        (r#"{"generateContentRequest":1}"#, "invalid_type", "generateContentRequest"),
        (r#"{"generateContentRequest":{"contents":[{}]},"contents":[{}]}"#, "invalid_value", "contents"),
        (r#"{"generateContentRequest":{"contents":[{}],"model":"models/x"}}"#, "invalid_value", "model"),
        (r#"{"contents":[{}],"model":1}"#, "invalid_type", "model"),
    ] {
        let fault = count(body).expect_err(body);
        assert_eq!((fault.code, fault.param.as_deref()), (code, Some(param)), "{body}: {fault}");
    }
    // In a request for a response it is a field like any other.
    let inner = r#"{"generateContentRequest":{"contents":[{}]}}"#;
    assert_eq!(decode(inner).unwrap_err().param.as_deref(), Some("contents"));
}
