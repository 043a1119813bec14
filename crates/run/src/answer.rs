//! Turns the answer that served a run into a task; its headers are kept.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use bytes::{Bytes, BytesMut};
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Profile, SessionId, TaskId, TraceId, Usage};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use line::Core;
use runs::{TaskRequest, TaskResult, kept_ms};
use serde_json::{Value, json};
use settle::ReplyBody;

use crate::apps::{self, Answered, Kind, NoVideo};
use crate::limits::{APP_ANSWER_BYTES_MAX, VIDEO_WAIT_MAX};
use crate::made_files::{self, MadeBy};
use crate::problem;
use crate::task::{Envelope, Message};
use crate::tasks::{FinishedRun, keep_finished, usage_event};
use crate::warm;
use runbody::RunRequest;

pub(crate) const PROFILE: HeaderName = HeaderName::from_static("agent-execution-profile");
const MODEL: HeaderName = HeaderName::from_static("agent-resolved-model");

/// The parts of the request that its answer needs.
pub(crate) struct Frame {
    trace: TraceId,
    envelope: Envelope,
    request: RunRequest,
    /// The warm session that it belongs to.
    session: Option<SessionId>,
    received_unix_ms: u64,
}

impl Frame {
    pub(crate) fn of(inbound: &Inbound, request: RunRequest, session: Option<SessionId>) -> Self {
        Self {
            trace: inbound.trace,
            envelope: Envelope::from_headers(&inbound.headers),
            request,
            session,
            received_unix_ms: inbound.received_unix_ms,
        }
    }
}

/// Builds the client's response from the line's. The request entered the line at `started_unix_ms`.
pub(crate) async fn shape(
    core: &Rc<Core>,
    caller: &Caller,
    frame: Frame,
    (kind, messages): (Kind, Vec<Message>),
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
    warm::stay(core, caller.owner(), frame.session, &headers).await;
    // Known at the end of the answer, which was read.
    let usage = body.usage().copied().unwrap_or_default();
    let RunRequest { app, input, .. } = &frame.request;
    let served = Served { app, kind, input, headers: &headers, body: &bytes, usage: &usage };
    let made = match result_of(core, caller, served, messages, VIDEO_WAIT_MAX).await {
        Ok(made) => made,
        Err(NoResult::Fault(fault)) => return line::refuse(core, Dialect::Run, &fault, frame.trace),
        Err(NoResult::Answer(refused)) => return *refused,
        Err(NoResult::Broken) => return line::refuse(core, Dialect::Run, &broken(), frame.trace),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    finished(core, caller, frame, started_unix_ms, made, headers).await
}

/// Stores a finished run as the task that it is, and answers with it.
pub(crate) async fn finished(
    core: &Core,
    caller: &Caller,
    frame: Frame,
    started_unix_ms: u64,
    (mut result, mut messages): (TaskResult, Vec<Message>),
    headers: HeaderMap,
) -> Response<ReplyBody> {
    let RunRequest { app, input, options } = frame.request;
    let ttl_ms = options.ttl_ms();
    if let Some(origin) = &options.files_at {
        let task = TaskId::from_uuid(*frame.trace.as_uuid());
        let by = MadeBy { owner: caller.owner(), task, kept_ms: ttl_ms.unwrap_or_else(kept_ms) };
        messages.extend(made_files::store(core, by, &mut result.output, origin).await);
    }
    let request = TaskRequest {
        input,
        metadata: options.metadata,
        headers: warm::kept_headers(std::iter::empty(), frame.session),
        files_at: options.files_at,
        ..TaskRequest::default()
    };
    let run = FinishedRun {
        trace: frame.trace,
        app: &app,
        ttl_ms,
        request,
        result,
        received_unix_ms: frame.received_unix_ms,
        started_unix_ms,
        ended_unix_ms: core.deps.world.clock.unix_ms(),
    };
    let (task, not_kept) = keep_finished(core, caller, run).await;
    messages.extend(not_kept);
    let bytes = frame.envelope.wrap(&task, &messages);
    settle::whole(StatusCode::OK, headers, bytes.into())
}

/// A whole answer of the line, and what it answers.
pub(crate) struct Served<'a> {
    /// As its client wrote it.
    pub app: &'a str,
    pub kind: Kind,
    pub input: &'a Value,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    /// As booked.
    pub usage: &'a Usage,
}

/// Why an answer makes no result.
pub(crate) enum NoResult {
    Fault(Box<Fault>),
    /// What the line answered instead.
    Answer(Box<Response<ReplyBody>>),
    /// It is none of its kind.
    Broken,
}

/// The result of a task, with what its client is told beside it: `messages`, and those of the output. A video is waited for until
/// `video_wait_max` is over.
pub(crate) async fn result_of(
    core: &Rc<Core>,
    caller: &Caller,
    served: Served<'_>,
    mut messages: Vec<Message>,
    video_wait_max: Duration,
) -> Result<(TaskResult, Vec<Message>), NoResult> {
    let Served { app, kind, input, headers, body, usage } = served;
    let output = match kind {
        Kind::Video => match apps::finish_video(core, caller, body, video_wait_max).await {
            Ok(output) => output,
            Err(NoVideo::Fault(fault)) => return Err(NoResult::Fault(fault)),
            Err(NoVideo::Answer(response)) => {
                let refused = problem::of_line(core, caller, app, kind, *response).await;
                return Err(NoResult::Answer(Box::new(refused)));
            }
        },
        _ => {
            let content_type = word(headers, &CONTENT_TYPE).unwrap_or_default();
            let answered = Answered { kind, body, content_type, usage, input };
            apps::read(answered, &core.deps.egress).await.ok_or(NoResult::Broken)?
        }
    };
    messages.extend(output.messages);
    let model = word(headers, &MODEL).unwrap_or(app).to_owned();
    let is_private = word(headers, &PROFILE) == Some(Profile::Byoc.as_str());
    let result = TaskResult {
        output: output.value,
        error: None,
        problem: Value::Null,
        usage_events: vec![usage_event(&model, is_private, usage, &output.usage_kind)],
        app_id: Some(model),
        is_private,
        messages: messages.iter().map(|message| json!(message)).collect(),
    };
    Ok((result, messages))
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
                format!("The answer is longer than the {APP_ANSWER_BYTES_MAX} bytes that a task can store.");
            let fault = Fault::new(FaultClass::Upstream, "answer_too_large", message).should_retry(false);
            return Err(Box::new(
                fault.fix("Request less in one run, or use the endpoint of the app's dialect."),
            ));
        }
        whole.extend_from_slice(&piece);
    }
    if body.is_failed() { Err(broken()) } else { Ok(whole.freeze()) }
}

pub(crate) fn broken() -> Box<Fault> {
    let message = "The answer from the app's provider broke off, or isn't a valid answer.";
    Box::new(Fault::new(FaultClass::Upstream, "upstream_answer_broken", message).fix("Run the app again."))
}

pub(crate) fn word<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
