//! Bedrock's `InvokeModel` for bodies of Claude's messages: the messages request that a body means, and its stream in frames.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use conversation::request::Addressed;
use domain::Fault;
use framing::sse::{WholeEvents, read_event};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use json::Cursor;
use json::fields::{not_empty, open_object};
use json::members::{Members, with_first};
use json::refusal::{missing, wrong_type, wrong_value};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::answer::{put, put_exception};

const VERSION: &str = "anthropic_version";
const BETA: &str = "anthropic_beta";
const ONLY_MESSAGES: &str = "Send a body of Claude's messages with anthropic_version, such as \"bedrock-2023-05-31\". Bodies of other models \
                             aren't taken here: Converse (/model/NAME/converse) has one form for all.";

/// The messages request that a body means. The address names its model and whether it streams; its version and betas become
/// headers, as clients of messages send them.
///
/// # Errors
/// The body is not JSON, or not that of messages.
pub fn invoked_request(
    body: &Bytes,
    addressed: &Addressed,
    headers: &mut HeaderMap,
) -> Result<Bytes, Box<Fault>> {
    not_empty(body)?;
    let mut cursor = open_object(body)?;
    let model = serde_json::to_string(&addressed.model).unwrap_or_default();
    let mut request = format!("{{\"model\":{model},\"stream\":{}", addressed.stream).into_bytes();
    let (mut version, mut betas) = (None, None);
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            VERSION => version = Some(read::<String>(cursor, VERSION, "a string")?),
            BETA => betas = Some(read::<Vec<String>>(cursor, BETA, "an array of strings")?.join(",")),
            "model" | "stream" => cursor.ignore()?,
            _ => {
                let value = cursor.skip()?;
                for piece in [b",", member.key.span.of(body), b":", value.of(body)] {
                    request.extend_from_slice(piece);
                }
            }
        }
        Ok::<(), Box<Fault>>(())
    })?;
    cursor.end()?;
    request.push(b'}');
    let version = version.ok_or_else(|| missing(VERSION.to_owned(), ONLY_MESSAGES))?;
    // The vendor's own name for its first version means the version that requests without the header have.
    let version = Some(version).filter(|version| !version.starts_with("bedrock-"));
    for (name, field, value) in [("anthropic-version", VERSION, version), ("anthropic-beta", BETA, betas)] {
        let Some(value) = value else { continue };
        let unfit = |_| wrong_value(field.to_owned(), "doesn't fit a header", "Send ASCII names.".to_owned());
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(unfit)?);
    }
    Ok(Bytes::from(request))
}

/// Reads a member that becomes a header.
fn read<T: DeserializeOwned>(cursor: &mut Cursor<'_>, name: &str, expected: &str) -> Result<T, Box<Fault>> {
    let kind = cursor.kind()?;
    let value = cursor.skip()?.of(cursor.bytes());
    serde_json::from_slice(value).map_err(|_| wrong_type(name.to_owned(), expected, kind))
}

/// Says in an answer's head that its body is such a stream.
pub fn invoked_stream_headers(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.amazon.eventstream"));
    let inner = HeaderName::from_static("x-amzn-bedrock-content-type");
    headers.insert(inner, HeaderValue::from_static("application/json"));
}

/// Puts the events of a messages stream into frames.
#[derive(Debug, Default)]
pub struct InvokedStream {
    events: WholeEvents,
    first_byte_ms: Option<u64>,
    input_tokens: u64,
    output_tokens: u64,
}

impl InvokedStream {
    /// The frames of the events that a piece completes, so many milliseconds after the request arrived.
    pub fn push(&mut self, mut piece: &[u8], elapsed_ms: u64) -> Bytes {
        let first_byte_ms = *self.first_byte_ms.get_or_insert(elapsed_ms);
        let mut out = Vec::new();
        while let Some(event) = self.events.next_in(&mut piece) {
            let data = read_event(&event).data.json(&event);
            let Some(members) = Members::of_answer(&data) else { continue };
            match members.find_text("type").as_deref() {
                // Not every client of frames ignores one that it doesn't expect.
                Some("ping") => {}
                Some("error") => put_error(&members, &mut out),
                Some("message_stop") => {
                    let metrics = json!({
                        "inputTokenCount": self.input_tokens, "outputTokenCount": self.output_tokens,
                        "invocationLatency": elapsed_ms, "firstByteLatency": first_byte_ms,
                    });
                    let metrics = metrics.to_string();
                    let end = with_first(data.trim_ascii(), "amazon-bedrock-invocationMetrics", &metrics);
                    put_chunk(end.unwrap_or_default().as_bytes(), &mut out);
                }
                _ => {
                    self.note_usage(&members);
                    put_chunk(&data, &mut out);
                }
            }
        }
        Bytes::from(out)
    }

    fn note_usage(&mut self, members: &Members<'_>) {
        let message = members.find_members("message");
        let Some(usage) = message.as_ref().unwrap_or(members).find_members("usage") else { return };
        self.input_tokens = usage.find_count("input_tokens").unwrap_or(self.input_tokens);
        self.output_tokens = usage.find_count("output_tokens").unwrap_or(self.output_tokens);
    }
}

fn put_chunk(data: &[u8], out: &mut Vec<u8>) {
    put("chunk", &json!({"bytes": STANDARD.encode(data)}), out);
}

fn put_error(members: &Members<'_>, out: &mut Vec<u8>) {
    let error = members.find_members("error");
    let text = |name| error.as_ref().and_then(|error| error.find_text(name)).unwrap_or_default();
    let exception = match &*text("type") {
        "invalid_request_error" | "request_too_large" => "validationException",
        "rate_limit_error" | "billing_error" => "throttlingException",
        "overloaded_error" => "serviceUnavailableException",
        "timeout_error" => "modelTimeoutException",
        _ => "modelStreamErrorException",
    };
    put_exception(exception, json!({"message": text("message")}).to_string().as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use framing::event_stream::FrameDecoder;
    use serde_json::Value;

    use super::*;

    fn taken(body: &'static str) -> (Result<String, &'static str>, HeaderMap) {
        let addressed = Addressed { model: "a/b".to_owned(), stream: true, ..Addressed::default() };
        let mut headers = HeaderMap::new();
        let taken = invoked_request(&Bytes::from_static(body.as_bytes()), &addressed, &mut headers);
        (taken.map(|body| String::from_utf8(body.to_vec()).unwrap()).map_err(|fault| fault.code), headers)
    }

    #[test]
    fn a_body_of_messages_is_a_messages_request() {
        let (body, headers) = taken(
            r#"{"anthropic_version": "bedrock-2023-05-31", "max_\u0074okens": 5, "model": "x", "messages": [ ], "anthropic_beta": ["a-1", "b-2"]}"#,
        );
        let expected = r#"{"model":"a/b","stream":true,"max_\u0074okens":5,"messages":[ ]}"#;
        assert_eq!(body.as_deref(), Ok(expected));
        assert_eq!((headers.len(), &headers["anthropic-beta"]), (1, &HeaderValue::from_static("a-1,b-2")));
        let (_, headers) = taken(r#"{"anthropic_version": "2026-10-21"}"#);
        assert_eq!(headers["anthropic-version"], "2026-10-21");
    }

    #[test]
    fn a_body_of_another_model_is_refused() {
        for (body, code) in [
            (r#"{"inputText": "x"}"#, "missing_required_parameter"),
            (r#"{"prompt": "x", "max_gen_len": 5}"#, "missing_required_parameter"),
            (r#"{"anthropic_version": 1}"#, "invalid_type"),
            (r#"{"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": "a"}"#, "invalid_type"),
            (r#"{"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": [1]}"#, "invalid_type"),
            (r#"{"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["a\nb"]}"#, "invalid_value"),
            ("[]", "invalid_type"),
            ("", "empty_body"),
            (r#"{"anthropic_version": "#, "invalid_json"),
        ] {
            assert_eq!(taken(body).0, Err(code), "{body}");
        }
    }

    /// The names of the frames, each with what a client reads in it.
    fn frames(stream: &str, size: usize) -> Vec<(String, Value)> {
        let (mut invoked, mut decoder) = (InvokedStream::default(), FrameDecoder::new());
        for (at, piece) in stream.as_bytes().chunks(size).enumerate() {
            decoder.push(&invoked.push(piece, if at == 0 { 7 } else { 9 }));
        }
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame().unwrap() {
            let payload: Value = serde_json::from_slice(&frame.payload).unwrap();
            let name = frame.text(":event-type").or_else(|| frame.text(":exception-type")).unwrap();
            let inner = payload["bytes"].as_str().map(|text| STANDARD.decode(text).unwrap());
            frames.push((
                name.to_owned(),
                inner.map_or(payload, |inner| serde_json::from_slice(&inner).unwrap()),
            ));
        }
        frames
    }

    #[test]
    fn events_are_chunks_with_the_metrics_at_their_end() {
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            ": a comment\n\n",
            "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\r\n\r\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        for size in [1, 40, stream.len()] {
            let found = frames(stream, size);
            let types: Vec<&str> = found.iter().map(|(_, data)| data["type"].as_str().unwrap()).collect();
            assert_eq!(types, ["message_start", "message_delta", "message_stop"], "{size}");
            assert!(found.iter().all(|(name, _)| name == "chunk"), "{size}");
            let last_ms = if size == stream.len() { 7 } else { 9 };
            let metrics = json!({"inputTokenCount": 3, "outputTokenCount": 4, "invocationLatency": last_ms, "firstByteLatency": 7});
            assert_eq!(found[2].1["amazon-bedrock-invocationMetrics"], metrics, "{size}");
        }
    }

    #[test]
    fn an_error_is_an_exception() {
        for (kind, exception) in [
            ("overloaded_error", "serviceUnavailableException"),
            ("rate_limit_error", "throttlingException"),
            ("invalid_request_error", "validationException"),
            ("api_error", "modelStreamErrorException"),
        ] {
            let stream = format!(
                "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"no\"}}}}\n\n"
            );
            assert_eq!(frames(&stream, 9), [(exception.to_owned(), json!({"message": "no"}))]);
        }
    }
}
