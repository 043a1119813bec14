//! One step of an agent's model: a request through the pipeline, of which the text is shown while it comes.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use agents::Spent;
use bytes::Bytes;
use decode::{Inbound, SESSION_REF};
use domain::limits::BODY_BYTES_MAX;
use domain::{Dialect, Operation, SideCall, SideCallPurpose, TraceId};
use framing::sse::{WholeEvents, read_event};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use line::{Core, LiveTask, Postponable};
use serde_json::{Value, json};
use settle::ReplyBody;
use tokio::time::timeout;

use crate::answer_stream::document_of as document_of_answer;
use crate::limits::TASK_CONTENT_BYTES_MAX;

/// Who asks, and under which requests its steps are booked.
pub(super) struct Asker<'a> {
    pub core: &'a Rc<Core>,
    pub caller: Caller,
    pub headers: HeaderMap,
    /// The first step's; the others are made on its behalf.
    pub trace: TraceId,
    pub requests: u32,
    /// What the turn has used, with the agents that its model called; and what whoever asks now may bring it to.
    pub spent: Spent,
    pub spent_max: Spent,
    /// Who follows the text; nobody that of an agent which another one calls.
    pub live: Option<&'a LiveTask>,
}

/// Why a step has no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// There is no room under a limit right now.
    Postponed {
        wait_ms: u64,
    },
    Failed {
        problem: Value,
        may_retry: bool,
    },
}

impl NoAnswer {
    pub(super) fn failed(code: &str, detail: &str, may_retry: bool) -> Self {
        Self::Failed { problem: json!({"code": code, "detail": detail}), may_retry }
    }

    fn broken() -> Self {
        Self::failed("upstream_answer_broken", "The model's answer broke off.", true)
    }
}

/// The headers of an agent's steps: those that its client's request had, and the chat.
pub(super) fn headers(kept: Vec<(String, String)>, chat: &str) -> HeaderMap {
    let mut headers = line::headers_of_kept(kept);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(chat) = HeaderValue::try_from(chat) {
        headers.insert(HeaderName::from_static(SESSION_REF), chat);
    }
    headers
}

impl Asker<'_> {
    fn inbound(&mut self, body: Bytes) -> (Inbound, Caller) {
        let world = &self.core.deps.world;
        let unix_ms = world.clock.unix_ms();
        let (mut trace, mut caller) = (self.trace, self.caller.clone());
        if self.requests > 0 {
            trace = TraceId::new(unix_ms, world.id_bytes());
            let side_call = SideCall { purpose: SideCallPurpose::ToolStep, parent: self.trace };
            caller = caller.for_side_call(side_call);
        }
        self.requests += 1;
        let inbound = Inbound {
            trace,
            dialect: Dialect::Responses,
            operation: Operation::Chat,
            headers: self.headers.clone(),
            addressed: None,
            body,
            form: None,
            received_us: world.clock.monotonic_us(),
            received_unix_ms: unix_ms,
        };
        (inbound, caller)
    }

    /// Has the model answer.
    pub(super) async fn ask(&mut self, body: &Value, time_left: Duration) -> Result<Vec<Value>, NoAnswer> {
        let body = Bytes::from(body.to_string());
        if body.len() > BODY_BYTES_MAX {
            let detail = "The chat is longer than a request may be. Begin another one, or let the agent remember fewer turns.";
            return Err(NoAnswer::failed("content_too_large", detail, false));
        }
        let (inbound, caller) = self.inbound(body);
        match timeout(time_left, self.serve(inbound, caller)).await {
            Ok(answered) => answered,
            Err(_) => Err(NoAnswer::failed("timeout", "The turn ran out of time.", false)),
        }
    }

    /// Whether the tokens or the money are used up.
    pub(super) const fn is_spent(&self) -> bool {
        self.spent.reaches(self.spent_max)
    }

    /// When something has to end that may take so long.
    pub(super) fn until_us(&self, time: Duration) -> u64 {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.core.deps.world.clock.monotonic_us().saturating_add(time_us)
    }

    pub(super) fn time_left(&self, until_us: u64) -> Duration {
        Duration::from_micros(until_us.saturating_sub(self.core.deps.world.clock.monotonic_us()))
    }

    async fn serve(&mut self, inbound: Inbound, caller: Caller) -> Result<Vec<Value>, NoAnswer> {
        let (response, may_retry) = match line::serve_postponable(self.core, inbound, caller).await {
            Postponable::Postponed { wait_ms } => return Err(NoAnswer::Postponed { wait_ms }),
            Postponable::Answered { response, may_retry } => (*response, may_retry),
        };
        if response.status() != StatusCode::OK {
            return Err(NoAnswer::Failed { problem: problem_of(response).await, may_retry });
        }
        let mut body = response.into_body();
        let answer = self.read(&mut body).await;
        // Of an answer that broke off too, where that is known.
        let nanos = u64::try_from(body.cost().unwrap_or_default().0).unwrap_or_default();
        let usage = body.usage().copied().unwrap_or_default();
        let tokens = usage.prompt_total().saturating_add(usage.completion_total());
        self.spent = self.spent.plus(Spent { tokens, nanos });
        answer
    }

    async fn read(&self, body: &mut ReplyBody) -> Result<Vec<Value>, NoAnswer> {
        let mut stream = AnswerStream::default();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(NoAnswer::broken()) };
            let Some(piece) = frame.data_ref() else { continue };
            length += piece.len();
            if length > TASK_CONTENT_BYTES_MAX {
                return Err(NoAnswer::failed(
                    "task_too_large",
                    "The answer is longer than a chat can store.",
                    false,
                ));
            }
            let text = stream.take(piece);
            if let Some(live) = self.live.filter(|_| !text.is_empty()) {
                live.push(&text);
            }
        }
        stream.ended()
    }
}

/// What refused a step, in the form of a task's problem.
async fn problem_of(response: Response<ReplyBody>) -> Value {
    let document = document_of_answer(response).await;
    let error = document.get("error").unwrap_or(&document);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let code = text("code").unwrap_or("upstream_error");
    json!({"code": code, "detail": text("message").or_else(|| text("detail")).unwrap_or("The model did not answer.")})
}

/// A streamed answer, as far as it has come.
#[derive(Default)]
struct AnswerStream {
    events: WholeEvents,
    response: Option<Value>,
    error: Option<Value>,
}

impl AnswerStream {
    /// Takes a piece; the text in it.
    fn take(&mut self, mut piece: &[u8]) -> String {
        let mut text = String::new();
        while let Some(event) = self.events.next_in(&mut piece) {
            self.read(&event, &mut text);
        }
        text
    }

    fn read(&mut self, event: &[u8], text: &mut String) {
        let data = read_event(event).data.json(event);
        let Ok(mut event) = serde_json::from_slice::<Value>(&data) else { return };
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "response.output_text.delta" | "response.refusal.delta" => {
                text.push_str(event.get("delta").and_then(Value::as_str).unwrap_or_default());
            }
            "response.completed" | "response.incomplete" => {
                self.response = event.get_mut("response").map(Value::take);
            }
            "response.failed" => self.error = event.pointer("/response/error").cloned(),
            "error" => self.error = Some(event.get("error").cloned().unwrap_or(event)),
            _ => {}
        }
    }

    /// The items of the answer.
    fn ended(self) -> Result<Vec<Value>, NoAnswer> {
        if let Some(error) = self.error {
            let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
            let code = text("code").unwrap_or_else(|| "upstream_error".to_owned());
            let detail = text("message").unwrap_or_else(|| "The model's answer broke off.".to_owned());
            return Err(NoAnswer::failed(&code, &detail, true));
        }
        let Some(response) = self.response else { return Err(NoAnswer::broken()) };
        Ok(response.get("output").and_then(Value::as_array).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str, piece: usize) -> (String, Result<Vec<Value>, NoAnswer>) {
        let mut read = AnswerStream::default();
        let text = stream.as_bytes().chunks(piece).map(|piece| read.take(piece)).collect();
        (text, read.ended())
    }

    #[test]
    fn an_answer_is_whole_however_it_is_cut() {
        let stream = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"one \"}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"delta\":\"two\"}\n\n\
            data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"type\":\"message\"}],\"usage\":{\"total_tokens\":9}}}\n\n";
        for piece in [1, 9, 1_000] {
            let (text, answer) = read(stream, piece);
            assert_eq!(text, "one two");
            assert_eq!(answer.unwrap(), [json!({"type": "message"})]);
        }
    }

    #[test]
    fn what_broke_off_says_why() {
        for (stream, code) in [
            ("", "upstream_answer_broken"),
            ("data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n", "x"),
            ("data: {\"type\":\"error\",\"code\":\"y\"}\n\n", "y"),
        ] {
            let Err(NoAnswer::Failed { problem, may_retry }) = read(stream, 7).1 else {
                panic!("it is whole")
            };
            assert_eq!((&problem["code"], may_retry), (&json!(code), true));
        }
    }
}
