//! Turns the answer that served a run into a task; its headers are kept.

use std::rc::Rc;

use admit::Caller;
use bytes::{Bytes, BytesMut};
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Profile, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use line::Core;
use runs::{TaskRequest, TaskResult};
use serde_json::{Value, json};
use settle::ReplyBody;

use crate::apps::{self, Answered, Kind, NoVideo};
use crate::limits::{APP_ANSWER_BYTES_MAX, VIDEO_WAIT_MAX};
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

/// Builds the client's response from the line's. The request entered the line at `started_unix_ms`.
pub(crate) async fn shape(
    core: &Rc<Core>,
    caller: &Caller,
    frame: Frame,
    (kind, mut messages): (Kind, Vec<Message>),
    started_unix_ms: u64,
    response: Response<ReplyBody>,
) -> Response<ReplyBody> {
    if response.status() != StatusCode::OK {
        return problem::of_line(core, caller, &frame.request.app, kind, response).await;
    }
    let (head, mut body) = response.into_parts();
    let mut headers = head.headers;
    let bytes = match collect(&mut body).await {
        Ok(bytes) => bytes,
        Err(fault) => return line::refuse(core, Dialect::Run, &fault, frame.trace),
    };
    // Known at the end of the answer, which was read.
    let usage = body.usage().copied().unwrap_or_default();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answered = Answered { kind, body: &bytes, content_type, usage: &usage, input: &frame.request.input };
    let output = match kind {
        Kind::Video => match apps::finish_video(core, caller, &bytes, VIDEO_WAIT_MAX).await {
            Ok(output) => output,
            Err(NoVideo::Fault(fault)) => return line::refuse(core, Dialect::Run, &fault, frame.trace),
            Err(NoVideo::Answer(response)) => {
                return problem::of_line(core, caller, &frame.request.app, kind, *response).await;
            }
        },
        _ => match apps::read(answered, &core.deps.egress).await {
            Some(output) => output,
            None => return line::refuse(core, Dialect::Run, &broken(), frame.trace),
        },
    };
    messages.extend(output.messages);
    let resolved = word(&headers, &MODEL).unwrap_or(&frame.request.app).to_owned();
    let is_private = word(&headers, &PROFILE) == Some(Profile::Byoc.as_str());
    let RunRequest { app, input, options } = frame.request;
    let result = TaskResult {
        output: output.value,
        error: None,
        problem: Value::Null,
        usage_events: vec![usage_event(&resolved, is_private, &usage, &output.usage_kind)],
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

/// The whole of an answer. Sound comes while it is made; everything else is complete already.
pub(crate) async fn collect(body: &mut ReplyBody) -> Result<Bytes, Box<Fault>> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken())?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.is_empty() && piece.len() <= APP_ANSWER_BYTES_MAX && body.is_end_stream() {
            return Ok(piece);
        }
        if whole.len() + piece.len() > APP_ANSWER_BYTES_MAX {
            let message =
                format!("The answer is longer than the {APP_ANSWER_BYTES_MAX} bytes that a task holds.");
            let fault = Fault::new(FaultClass::Upstream, "answer_too_large", message).should_retry(false);
            return Err(Box::new(fault.fix("Ask for less at once, or use the path of its dialect.")));
        }
        whole.extend_from_slice(&piece);
    }
    if body.is_failed() { Err(broken()) } else { Ok(whole.freeze()) }
}

pub(crate) fn broken() -> Box<Fault> {
    let message = "The answer of the app's provider breaks off, or is none.";
    Box::new(Fault::new(FaultClass::Upstream, "upstream_answer_broken", message).fix("Run the app again."))
}

pub(crate) fn word<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
