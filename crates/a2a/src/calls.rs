//! Calls of the API that methods are made of: the same code, scopes, limits and records as for the caller's own requests.

use std::rc::Rc;

use admit::Caller;
use domain::{TaskId, TraceId};
use http::header::HeaderMap;
use http::{Method, Response};
use http_body_util::BodyExt as _;
use line::Core;
use run::{AgentRequest, NamedAgent, TaskCallRequest, TurnRecord};
use serde_json::Value;
use settle::ReplyBody;

use crate::errors::RpcError;

/// An agent and who calls it.
pub(crate) struct Calls<'a> {
    pub core: &'a Rc<Core>,
    pub caller: &'a Caller,
    pub agent: &'a NamedAgent,
    /// As the path names it, with a version where that has one.
    pub reference: &'a str,
    pub headers: &'a HeaderMap,
    /// Of the request. A turn that it makes has the same id.
    pub trace: TraceId,
    pub received_unix_ms: u64,
}

impl Calls<'_> {
    /// A call about agents and their chats.
    pub(crate) async fn agents(&self, path: &str, body: &Value, trace: TraceId) -> Result<Value, RpcError> {
        let headers = run::call_headers(self.headers);
        let request = AgentRequest {
            method: &Method::POST,
            path,
            query: "",
            headers: &headers,
            body: body.to_string().into(),
            trace,
            received_unix_ms: self.received_unix_ms,
        };
        // Boxed: it is as large as the future of a client's request.
        read(Box::pin(run::agent(self.core, self.caller, request)).await).await
    }

    /// A decision about a call that waits.
    pub(crate) async fn decide(&self, path: &str, body: &Value) -> Result<Value, RpcError> {
        self.agents(path, body, self.core.new_trace()).await
    }

    /// Cancels a task.
    pub(crate) async fn cancel(&self, task: TaskId) -> Result<Value, RpcError> {
        let headers = run::call_headers(self.headers);
        let rest = format!("{task}/cancel");
        let request = TaskCallRequest {
            method: &Method::POST,
            rest: &rest,
            query: "",
            headers: &headers,
            body: bytes::Bytes::new(),
            trace: self.core.new_trace(),
            received_unix_ms: self.received_unix_ms,
        };
        read(run::task(self.core, self.caller, request).await).await
    }

    /// A task of this agent.
    ///
    /// # Errors
    /// There is none under this id, or it can't be read now.
    pub(crate) async fn turn(&self, id: TaskId) -> Result<TurnRecord, RpcError> {
        let found = run::agent_turn(self.core, self.caller.owner(), &self.agent.name, id).await;
        let found = found.map_err(|fault| RpcError::of_fault(&fault))?;
        found.ok_or_else(|| RpcError::task_not_found(&id.to_string()))
    }
}

async fn read(response: Response<ReplyBody>) -> Result<Value, RpcError> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map(|read| read.to_bytes()).unwrap_or_default();
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if head.status.is_success() { Ok(document) } else { Err(RpcError::of_problem(head.status, &document)) }
}
