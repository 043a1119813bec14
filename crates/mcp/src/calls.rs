//! Calls of the API that tools and resources are made of: the same code, scopes, limits and records as for the caller's own requests.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::{Dialect, Operation, TraceId};
use futures_util::future::LocalBoxFuture;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use line::Core;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use run::{AppRequest, FileRequest, TaskCallRequest};
use serde_json::{Value, json};
use settle::ReplyBody;

/// Where tasks are made whose client does not wait, and where it does.
const QUEUED_AT: &str = "/apps/run";
const WAITED_AT: &str = "/v1/run";

/// The control plane, as it is reached with the caller's own key.
pub trait ControlPlane {
    /// `None` where this process has none, or it broke off.
    fn ask(
        &self,
        method: Method,
        path: String,
        body: Bytes,
    ) -> LocalBoxFuture<'_, Option<(StatusCode, Bytes)>>;
}

/// Why a call has no result: the problem document that its client would be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub status: StatusCode,
    pub document: Value,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self { status, document: json!({"code": code, "detail": detail.into()}) }
    }

    pub(crate) fn argument(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_arguments", detail)
    }

    /// In words, with what mends it.
    pub(crate) fn sentence(&self) -> String {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = text(&self.document, "detail");
        let detail =
            detail.unwrap_or_else(|| format!("It was refused with status {}.", self.status.as_u16()));
        let errors = self.document.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
        let errors = errors.iter().filter_map(|error| {
            let message = text(error, "message").or_else(|| text(error, "detail"))?;
            Some(format!("{} {message}", text(error, "pointer").unwrap_or_default()))
        });
        let parts = [Some(detail), text(&self.document, "fix")].into_iter().flatten().chain(errors);
        parts.collect::<Vec<_>>().join(" ")
    }
}

pub(crate) type Called = Result<Value, Problem>;

/// Who calls, and what is known of the request that it calls by.
#[derive(Clone)]
pub struct CallerContext<'a> {
    pub core: &'a Rc<Core>,
    pub caller: &'a Caller,
    pub control: &'a dyn ControlPlane,
    /// Of the request.
    pub headers: &'a HeaderMap,
    /// The address that the client reaches the gateway at.
    pub origin: &'a str,
    pub trace: TraceId,
}

impl CallerContext<'_> {
    pub(crate) async fn apps(&self, rest: &str, query: &[(&str, &str)]) -> Called {
        let (query, headers) = (query_text(query), run::call_headers(self.headers));
        let rest = utf8_percent_encode(rest, NON_ALPHANUMERIC).to_string();
        let request = AppRequest {
            method: &Method::GET,
            rest: &rest,
            query: &query,
            headers: &headers,
            body: Bytes::new(),
            trace: self.trace,
        };
        read(run::apps(self.core, self.caller, &request).await).await
    }

    pub(crate) async fn tasks(&self, method: &Method, rest: &str, query: &[(&str, &str)]) -> Called {
        read(self.task_response(method, rest, &query_text(query), run::call_headers(self.headers)).await)
            .await
    }

    /// The updates of a task until it has ended, one on each line.
    ///
    /// # Errors
    /// There is no such task of the caller's project.
    pub(crate) async fn follow(&self, task: domain::TaskId) -> Result<ReplyBody, Problem> {
        let mut headers = run::call_headers(self.headers);
        headers.insert(ACCEPT, HeaderValue::from_static("application/x-ndjson"));
        let response = self.task_response(&Method::GET, &format!("{task}/stream"), "", headers).await;
        if response.status() == StatusCode::OK {
            return Ok(response.into_body());
        }
        match read(response).await {
            Err(problem) => Err(problem),
            Ok(_) => Err(Problem::new(StatusCode::NOT_FOUND, "task_not_found", "There is no such task.")),
        }
    }

    async fn task_response(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
        headers: HeaderMap,
    ) -> Response<ReplyBody> {
        let request = TaskCallRequest {
            method,
            rest,
            query,
            headers: &headers,
            body: Bytes::new(),
            trace: self.core.new_trace(),
            received_unix_ms: self.core.deps.world.clock.unix_ms(),
        };
        run::task(self.core, self.caller, request).await
    }

    pub(crate) async fn files(&self, method: &Method, rest: &str, body: &Value) -> Called {
        let headers = run::call_headers(self.headers);
        let request = FileRequest {
            method,
            rest,
            headers: &headers,
            body: body.to_string().into(),
            origin: self.origin.to_owned(),
            trace: self.core.new_trace(),
        };
        read(run::files(self.core, self.caller, request).await).await
    }

    /// Runs an app: the task that was queued, or the one that has ended where it is waited for.
    pub(crate) async fn run(&self, body: &Value, waits: bool) -> Called {
        let clock = &self.core.deps.world.clock;
        let inbound = Inbound {
            trace: self.core.new_trace(),
            dialect: Dialect::Run,
            operation: Operation::Run,
            headers: run::call_headers(self.headers),
            addressed: None,
            body: body.to_string().into(),
            form: None,
            received_us: clock.monotonic_us(),
            received_unix_ms: clock.unix_ms(),
        };
        let path = if waits { WAITED_AT } else { QUEUED_AT };
        // Boxed: it is as large as the future of a client's request.
        read(Box::pin(run::run(self.core, inbound, self.caller.clone(), path)).await).await
    }

    /// Asks the control plane with the caller's own key, so that its scopes decide.
    pub(crate) async fn control(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Called {
        let query = query_text(query);
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        match self.control.ask(method, path, body).await {
            Some((status, body)) => value_of(status, &body),
            None => {
                let detail = "This process has no control plane.";
                Err(Problem::new(StatusCode::NOT_FOUND, "unknown_path", detail))
            }
        }
    }
}

async fn read(response: Response<ReplyBody>) -> Called {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map(|read| read.to_bytes()).unwrap_or_default();
    value_of(head.status, &bytes)
}

fn value_of(status: StatusCode, body: &[u8]) -> Called {
    let document = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() { Ok(document) } else { Err(Problem { status, document }) }
}

fn query_text(pairs: &[(&str, &str)]) -> String {
    let written = pairs.iter().filter(|(_, value)| !value.is_empty());
    let written =
        written.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    written.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_what_is_named_and_nothing_else() {
        assert_eq!(query_text(&[("app", "a/b&c"), ("status", ""), ("limit", "3")]), "app=a%2Fb%26c&limit=3");
        assert_eq!(query_text(&[("app", "")]), "");
    }

    #[test]
    fn a_problem_is_a_sentence_with_what_mends_it() {
        let problem = |document: Value| Problem { status: StatusCode::BAD_REQUEST, document }.sentence();
        assert_eq!(problem(json!({"detail": "No.", "fix": "Yes."})), "No. Yes.");
        assert_eq!(
            problem(json!({"detail": "No.", "errors": [{"pointer": "/input/a", "message": "is missing"}]})),
            "No. /input/a is missing"
        );
        assert_eq!(problem(Value::Null), "It was refused with status 400.");
    }
}
