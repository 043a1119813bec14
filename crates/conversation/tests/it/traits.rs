//! What conditions compare of a request.

use conversation::request::Request;
use conversation::traits::read_traits;
use domain::limits::{CONDITION_TEXT_BYTES_MAX, REQUEST_METADATA_READ_MAX};

#[test]
fn tools_and_metadata_are_found_in_every_format() {
    let tools = r#"{"tools":[{"type":"function"}],"metadata":{"team":"a","n":5,"on":true,"deep":{}}}"#;
    for (body, has_tools, metadata) in [
        (tools, true, "team=a n=5 on=true"),
        (r#"{"tools":[],"metadata":null}"#, false, ""),
        (r#"{"functions":[{}]}"#, true, ""),
        (r#"{"toolConfig":{"toolChoice":{},"tools":[{}]},"requestMetadata":{"team":"b"}}"#, true, "team=b"),
        (r#"{"toolConfig":{"functionCallingConfig":{}},"labels":{"team":"c"}}"#, false, "team=c"),
        (r#"{"messages":[{"tools":[1]}]}"#, false, ""),
        ("--form", false, ""),
        ("[]", false, ""),
    ] {
        let traits = read_traits(&Request::default(), body.as_bytes());
        let texts: Vec<_> = traits.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!((traits.has_tools, texts.join(" ").as_str()), (has_tools, metadata), "{body}");
    }
}

#[test]
fn metadata_is_read_as_far_as_conditions_compare() {
    let long = "x".repeat(CONDITION_TEXT_BYTES_MAX + 1);
    let many: Vec<_> =
        (0..REQUEST_METADATA_READ_MAX + 5).map(|number| format!(r#""k{number}":"v""#)).collect();
    let body = format!(r#"{{"metadata":{{"long":"{long}",{}}}}}"#, many.join(","));
    let traits = read_traits(&Request::default(), body.as_bytes());
    assert_eq!(traits.metadata.len(), REQUEST_METADATA_READ_MAX);
    assert!(traits.metadata.iter().all(|(name, _)| name != "long"));
}
