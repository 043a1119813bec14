//! Streamable HTTP: one path that takes messages, resumes streams and ends sessions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use rmcp::model::{ErrorCode, ErrorData, InitializeRequestParams};
use serde_json::Value;
use settle::ReplyBody;

use crate::calls::CallerContext;
use crate::following::{events, read_event_id};
use crate::limits::BATCH_MESSAGES_MAX;
use crate::messages::{Message, Request, answer, excerpt, invalid, nameless, params};
use crate::methods::{self, Answer};
use crate::revision::Revision;
use crate::sessions::{CallStream, Session, Sessions};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
const METHODS: &str = "POST, GET, DELETE";

/// Why a request was refused before any of its messages was answered.
struct Refused(StatusCode, ErrorData);

type Served = Result<Response<ReplyBody>, Refused>;

/// Answers a request at the server's path.
pub async fn serve(
    sessions: &Sessions,
    context: &CallerContext<'_>,
    method: &Method,
    body: Bytes,
) -> Response<ReplyBody> {
    let served = match *method {
        Method::POST => post(sessions, context, &body).await,
        Method::GET => resume(sessions, context).await,
        Method::DELETE => end(sessions, context),
        _ => Err(refused(StatusCode::METHOD_NOT_ALLOWED, "This path takes POST, GET and DELETE.")),
    };
    let response = served.unwrap_or_else(|Refused(status, error)| {
        let mut response = written(status, &nameless(&error));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
        }
        response
    });
    context.core.counters.answered(response.status().as_u16());
    response
}

/// The answer to a page of another origin, whose browser was made to believe that this server is that page's own.
pub fn foreign_origin() -> Response<ReplyBody> {
    written(StatusCode::FORBIDDEN, &nameless(&invalid("The request comes from a page of another origin.")))
}

fn refused(status: StatusCode, message: &'static str) -> Refused {
    Refused(status, invalid(message))
}

fn written(status: StatusCode, message: &Value) -> Response<ReplyBody> {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(JSON))].into_iter().collect();
    settle::whole(status, headers, message.to_string().into())
}

fn nothing(status: StatusCode) -> Response<ReplyBody> {
    settle::whole(status, HeaderMap::new(), Bytes::new())
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().map(str::trim) == Some(media_type))
}

async fn post(sessions: &Sessions, context: &CallerContext<'_>, body: &Bytes) -> Served {
    let headers = context.headers;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some(JSON) {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "A message is application/json."));
    }
    let takes_any = !headers.contains_key(ACCEPT) || accepts(headers, "*/*");
    if !(takes_any || accepts(headers, JSON) || accepts(headers, EVENTS)) {
        return Err(refused(StatusCode::NOT_ACCEPTABLE, "Accept application/json and text/event-stream."));
    }
    let sent: Value = serde_json::from_slice(body).map_err(|error| {
        let error = ErrorData::new(ErrorCode::PARSE_ERROR, format!("The body isn't JSON: {error}."), None);
        Refused(StatusCode::BAD_REQUEST, error)
    })?;
    if let Value::Array(batch) = sent {
        let session = session_of(sessions, context)?;
        return batch_answered(context, &session, batch).await;
    }
    let message = Message::read(sent).map_err(|error| Refused(StatusCode::BAD_REQUEST, error))?;
    match message {
        Message::Request(request) if request.method == "initialize" => begin(sessions, context, request),
        Message::Request(request) => {
            let session = session_of(sessions, context)?;
            Ok(answered(context, &session, request).await)
        }
        Message::Notification { method, params } => {
            let session = session_of(sessions, context)?;
            methods::notified(context, &session, &method, params).await;
            Ok(nothing(StatusCode::ACCEPTED))
        }
        Message::Answer => {
            session_of(sessions, context)?;
            Ok(nothing(StatusCode::ACCEPTED))
        }
    }
}

/// The session that a request is about, in a revision that is spoken here.
fn session_of(sessions: &Sessions, context: &CallerContext<'_>) -> Result<Arc<Session>, Refused> {
    let headers = context.headers;
    let revision = headers.get(&REVISION).map(|value| value.to_str().ok().and_then(Revision::read));
    if revision == Some(None) {
        let message = "MCP-Protocol-Version must be 2025-11-25, 2025-06-18 or 2025-03-26.";
        return Err(refused(StatusCode::BAD_REQUEST, message));
    }
    let Some(id) = headers.get(&SESSION) else {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "The header Mcp-Session-Id is missing: begin with initialize.",
        ));
    };
    let now_unix_ms = context.core.deps.world.clock.unix_ms();
    let session = id.to_str().ok().and_then(|id| sessions.find(context.caller, id, now_unix_ms));
    session.ok_or_else(|| {
        refused(StatusCode::NOT_FOUND, "This session doesn't exist: start a new one with initialize.")
    })
}

fn begin(sessions: &Sessions, context: &CallerContext<'_>, request: Request) -> Served {
    let Request { id, params: sent, .. } = request;
    let wanted: InitializeRequestParams = match params(sent) {
        Ok(wanted) => wanted,
        Err(error) => return Ok(written(StatusCode::OK, &answer(&id, Err(error)))),
    };
    let revision = Revision::negotiated(wanted.protocol_version.as_str());
    let session = sessions.begin(&context.core.deps.world, context.caller, revision).map_err(|_| {
        refused(StatusCode::SERVICE_UNAVAILABLE, "There are too many sessions: end some, or try again later.")
    })?;
    let mut response = written(StatusCode::OK, &answer(&id, Ok(methods::initialized(revision))));
    if let Ok(id) = HeaderValue::try_from(session.id.as_str()) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

async fn answered(
    context: &CallerContext<'_>,
    session: &Arc<Session>,
    request: Request,
) -> Response<ReplyBody> {
    let id = request.id.clone();
    match methods::answer(context, session, request).await {
        Answer::Task(stream, body) if accepts(context.headers, EVENTS) => {
            streamed(session, stream, *body, None)
        }
        other => written(StatusCode::OK, &answer(&id, methods::awaited(other, session.revision).await)),
    }
}

fn streamed(
    session: &Arc<Session>,
    stream: CallStream,
    body: ReplyBody,
    after: Option<u64>,
) -> Response<ReplyBody> {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(EVENTS)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let pieces = events(Arc::clone(session), stream, body, after);
    settle::streamed(StatusCode::OK, headers.into_iter().collect(), pieces)
}

/// Several messages at once. Later revisions of the protocol have none.
async fn batch_answered(context: &CallerContext<'_>, session: &Arc<Session>, batch: Vec<Value>) -> Served {
    if !session.revision.has_batches() {
        return Err(refused(StatusCode::BAD_REQUEST, "The session's protocol version has no batches."));
    }
    if batch.is_empty() || batch.len() > BATCH_MESSAGES_MAX {
        return Err(refused(StatusCode::BAD_REQUEST, "A batch has from 1 to 32 messages."));
    }
    let mut answers = Vec::new();
    for message in batch {
        match Message::read(message) {
            Ok(Message::Request(request)) if request.method == "initialize" => {
                let error = invalid("A batch can't hold initialize: send it alone.");
                answers.push(answer(&request.id, Err(error)));
            }
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                let outcome = methods::answer(context, session, request).await;
                answers.push(answer(&id, methods::awaited(outcome, session.revision).await));
            }
            Ok(Message::Notification { method, params }) => {
                methods::notified(context, session, &method, params).await;
            }
            Ok(Message::Answer) => {}
            Err(error) => answers.push(nameless(&error)),
        }
    }
    if answers.is_empty() {
        return Ok(nothing(StatusCode::ACCEPTED));
    }
    Ok(written(StatusCode::OK, &Value::Array(answers)))
}

/// Goes on with a stream that broke off. This server sends nothing by itself, so there is no other stream.
async fn resume(sessions: &Sessions, context: &CallerContext<'_>) -> Served {
    let session = session_of(sessions, context)?;
    let Some(last) = context.headers.get(&LAST_EVENT) else {
        let message = "This server sends no unsolicited messages: GET resumes a stream by its Last-Event-ID.";
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, message));
    };
    if !accepts(context.headers, EVENTS) {
        return Err(refused(StatusCode::NOT_ACCEPTABLE, "Accept text/event-stream."));
    }
    let found = last
        .to_str()
        .ok()
        .and_then(read_event_id)
        .and_then(|(number, place)| session.stream(number).map(|stream| (stream, place)));
    let Some((stream, place)) = found else {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "Last-Event-ID doesn't belong to a stream of this session.",
        ));
    };
    match context.follow(stream.task).await {
        Ok(body) => Ok(streamed(&session, stream, body, Some(place))),
        Err(problem) => {
            let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, excerpt(&problem.sentence()), None);
            Err(Refused(problem.status, error))
        }
    }
}

fn end(sessions: &Sessions, context: &CallerContext<'_>) -> Served {
    let session = session_of(sessions, context)?;
    sessions.end(context.caller, &session.id);
    Ok(nothing(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_accepted_by_their_names() {
        let accepting = |value: &'static str| -> HeaderMap {
            [(ACCEPT, HeaderValue::from_static(value))].into_iter().collect()
        };
        let both = accepting("application/json;q=0.9, text/event-stream");
        assert!(accepts(&both, JSON) && accepts(&both, EVENTS) && !accepts(&both, "*/*"));
        assert!(!accepts(&accepting("text/html"), JSON) && !accepts(&HeaderMap::new(), JSON));
    }
}
