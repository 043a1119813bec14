//! Turns the chat completion that served a run into a task; its headers are kept.

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::{Dialect, Fault, Profile, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use line::Core;
use runs::{TaskRequest, TaskResult};
use serde::Deserialize;
use serde_json::{Value, json};
use settle::ReplyBody;

use crate::problem;
use crate::request::RunRequest;
use crate::task::{Envelope, Message};
use crate::tasks::{FinishedRun, keep_finished, usage_event};

pub(crate) const PROFILE: HeaderName = HeaderName::from_static("agent-execution-profile");
pub(crate) const MODEL: HeaderName = HeaderName::from_static("agent-resolved-model");

/// The parts of the request that its answer needs.
pub(crate) struct Frame {
    trace: TraceId,
    envelope: Envelope,
    request: RunRequest,
    received_unix_ms: u64,
}

impl Frame {
    pub(crate) fn of(inbound: &Inbound, request: RunRequest) -> Self {
        Self {
            trace: inbound.trace,
            envelope: Envelope::from_headers(&inbound.headers),
            request,
            received_unix_ms: inbound.received_unix_ms,
        }
    }
}

/// The parts of a completion that are read besides its text.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
    message: Option<ChatMessage>,
}

#[derive(Deserialize)]
struct ChatMessage {
    refusal: Option<String>,
}

/// Builds the client's response from the line's. The request entered the line at `started_unix_ms`.
pub(crate) async fn shape(
    core: &Core,
    caller: &Caller,
    frame: Frame,
    started_unix_ms: u64,
    response: Response<ReplyBody>,
) -> Response<ReplyBody> {
    if response.status() != StatusCode::OK {
        return problem::of_line(response).await;
    }
    let (head, body) = response.into_parts();
    let mut headers = head.headers;
    let usage = body.usage().copied().unwrap_or_default();
    // It was complete before it was returned, since a run asks for no stream.
    let Ok(body) = body.collect().await else {
        return line::refuse(core, Dialect::Run, &Fault::internal(), frame.trace);
    };
    let body = body.to_bytes();
    let (text, mut messages) = output_of(&body);
    let resolved = word(&headers, &MODEL).unwrap_or(&frame.request.app).to_owned();
    let is_private = word(&headers, &PROFILE) == Some(Profile::Byoc.as_str());
    let RunRequest { app, input, options } = frame.request;
    let result = TaskResult {
        output: json!({"response": text}),
        error: None,
        problem: Value::Null,
        usage_events: vec![usage_event(&resolved, is_private, usage)],
        app_id: Some(resolved),
        is_private,
        messages: messages.iter().map(|message| json!(message)).collect(),
    };
    let request = TaskRequest {
        input,
        webhook: None,
        metadata: options.metadata,
        headers: Vec::new(),
        run_at_unix_ms: None,
        retry_of: None,
    };
    let run = FinishedRun {
        trace: frame.trace,
        app: &app,
        request,
        result,
        received_unix_ms: frame.received_unix_ms,
        started_unix_ms,
        ended_unix_ms: core.deps.world.clock.unix_ms(),
    };
    let (task, not_kept) = keep_finished(core, caller, run).await;
    messages.extend(not_kept);
    let bytes = frame.envelope.wrap(&task, &messages);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    settle::whole(StatusCode::OK, headers, bytes.into())
}

/// The full text, or the refusal in its place, and warnings for the client.
fn output_of(body: &Bytes) -> (String, Vec<Message>) {
    let first =
        serde_json::from_slice::<Completion>(body).ok().and_then(|wire| wire.choices.into_iter().next());
    let is_cut = first.as_ref().and_then(|choice| choice.finish_reason.as_deref()) == Some("length");
    let refusal = first.and_then(|choice| choice.message).and_then(|message| message.refusal);
    let text = chat::answer_text(body).filter(|text| !text.is_empty()).or(refusal).unwrap_or_default();
    (text, if is_cut { vec![truncated()] } else { Vec::new() })
}

/// The answer ended where the client's limit of tokens is.
pub(crate) const fn truncated() -> Message {
    Message {
        level: "warning",
        code: "output_truncated",
        message: "The answer reached max_tokens and was cut there.",
        meta: None,
    }
}

pub(crate) fn word<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &Value, finish: &str) -> (String, usize) {
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": finish}]});
        let (text, messages) = output_of(&body.to_string().into());
        (text, messages.len())
    }

    #[test]
    fn the_text_is_whole_and_its_cut_is_told() {
        assert_eq!(check(&json!({"content": "a"}), "stop"), ("a".to_owned(), 0));
        assert_eq!(check(&json!({"content": "a"}), "length"), ("a".to_owned(), 1));
        assert_eq!(check(&json!({"content": null, "refusal": "No."}), "stop"), ("No.".to_owned(), 0));
        assert_eq!(check(&json!({"content": [{"type": "text", "text": "b"}]}), "stop"), ("b".to_owned(), 0));
        assert_eq!(check(&json!({"content": null}), "stop"), (String::new(), 0));
    }
}
