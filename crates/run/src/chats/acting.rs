//! `/agents/run`, `/chats` and `/tools`: a message to an agent, and what is done with a chat and with the calls that wait in it.

use std::collections::BTreeMap;
use std::rc::Rc;

use admit::Caller;
use agents::{Aside, Call, Part, Turn, event, result_item};
use bytes::Bytes;
use decode::Inbound;
use domain::{Fault, FaultClass, FoundTask, SessionId, TaskId, TraceId};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use line::Core;
use runs::TaskRequest;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use super::content;
use super::following::{Read, follow, read};
use super::starting::{self, Agent, of_body};
use super::turn::TurnRequest;
use crate::input::{InputError, check_depth};
use crate::kept_content::store_away;
use crate::limits::{CHAT_MESSAGES_MAX, TASK_CONTENT_BYTES_MAX};
use crate::problem;
use crate::refusal::Refusal;
use crate::session_turn::{SessionBranch, append_events, fault_of, writer_of};
use crate::task::Envelope;
use crate::tasks::{Format, NextTurn, Queued, check_run_at, nothing_kept, queue_turn};
use crate::warm;
use runbody::{RunRequest, WantedSession, refusal, sanitize};

const HOW: &str = "POST /agents/run sends a message; a chat is read at /chats/ID, /status, /messages and /stream, and stopped at \
    /stop; POST /tools/ID answers a call, and /invoke and /reject decide about one.";
/// What is stored of a message as it comes: each by its pointer and its name.
const STORED: [(&str, &str); 3] =
    [("/input", "input"), ("/context", "context"), ("/agent_config", "agent_config")];
/// What sessions are called that chats with agents are.
const NAME: &str = "agent chat";

/// A request about agents and their chats.
#[derive(Debug)]
pub struct AgentRequest<'a> {
    pub method: &'a Method,
    /// The whole path.
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: Bytes,
    pub trace: TraceId,
    pub received_unix_ms: u64,
}

/// Answers a request about agents.
pub async fn agent(core: &Rc<Core>, caller: &Caller, request: AgentRequest<'_>) -> Response<ReplyBody> {
    let trace = request.trace;
    match answer(core, caller, request).await {
        Ok(response) => {
            core.counters.answered(response.status().as_u16());
            response
        }
        Err(refusal) => problem::of_refusal(core, refusal, trace).await,
    }
}

async fn answer(
    core: &Rc<Core>,
    caller: &Caller,
    request: AgentRequest<'_>,
) -> Result<Response<ReplyBody>, Refusal> {
    let path = request.path.strip_prefix("/v1").unwrap_or(request.path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let at = At { core, caller, request };
    match (at.request.method.as_str(), parts.as_slice()) {
        ("POST", ["agents", "run" | "message" | "messages"]) => at.send().await,
        ("GET" | "HEAD", ["chats", id]) => at.show(id, Wanted::Whole).await,
        ("GET" | "HEAD", ["chats", id, "status"]) => at.show(id, Wanted::Status).await,
        ("GET" | "HEAD", ["chats", id, "messages"]) => at.show(id, Wanted::Messages).await,
        ("GET", ["chats", id, "stream"]) => at.stream(id).await,
        ("POST", ["chats", id, "stop"]) => at.stop(id).await,
        ("POST", ["chats", "messages", id, "cancel"]) => at.cancel(id).await,
        ("POST", ["chats", id, "tools", call, "always-allow"]) => at.always_allow(id, call).await,
        ("POST", ["tools", call]) => at.result(call).await,
        ("POST", ["tools", call, "invoke"]) => at.decide(call, true).await,
        ("POST", ["tools", call, "reject"]) => at.decide(call, false).await,
        ("POST", ["interrupts", id, "resolve"]) => at.resolve(id).await,
        _ => Err(Box::new(
            Fault::new(FaultClass::NotFound, "unknown_path", "This path doesn't exist.").fix(HOW),
        )
        .into()),
    }
}

/// What of a chat is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Whole,
    Status,
    Messages,
}

/// One request.
struct At<'a> {
    core: &'a Rc<Core>,
    caller: &'a Caller,
    request: AgentRequest<'a>,
}

/// A call that waits in a chat.
struct Waiting {
    chat: SessionId,
    read: Read,
    turn: Turn,
    call: Call,
    is_clients: bool,
}

async fn opened(core: &Core, caller: &Caller, agent: &Agent, trace: TraceId) -> Result<SessionId, Refusal> {
    let metadata = BTreeMap::from([("agent".to_owned(), agent.reference())]);
    let opened = core.sessions.open(writer_of(caller, trace), NAME, metadata).await;
    Ok(opened.map_err(|failure| fault_of(failure, "chat_id"))?.session)
}

/// Queues the first turn of a new chat, for a run of an agent as an app.
///
/// # Errors
/// The message is none, or it can't be stored.
pub(crate) async fn queue_app(
    core: &Core,
    caller: &Caller,
    inbound: &Inbound,
    (agent, request): (Agent, RunRequest),
) -> Result<Queued, Refusal> {
    content::check(&request.input)?;
    if let Some(fault) = nothing_kept(caller) {
        return Err(fault.into());
    }
    let RunRequest { app, input, options } = request;
    if options.session != WantedSession::None {
        return Err(warm::of_agents().into());
    }
    check_run_at(options.run_at_unix_ms, inbound.received_unix_ms)?;
    let chat = opened(core, caller, &agent, inbound.trace).await?;
    let turn = NextTurn { app, chat, ttl_ms: options.ttl_ms() };
    let task = TaskRequest {
        input,
        webhook: options.webhook,
        metadata: options.metadata,
        headers: line::own_headers_to_keep(&inbound.headers).collect(),
        run_at_unix_ms: options.run_at_unix_ms,
        turn: serde_json::to_value(TurnRequest { agent }).unwrap_or_default(),
        ..TaskRequest::default()
    };
    let new = (TaskId::from_uuid(*inbound.trace.as_uuid()), inbound.received_unix_ms);
    Ok(Queued::Waits(Box::new(queue_turn(core, caller, new, turn, task).await?)))
}

impl At<'_> {
    fn ok(&self, data: &Value) -> Result<Response<ReplyBody>, Refusal> {
        let headers = line::own_headers(self.request.trace, "application/json");
        let body = Envelope::from_headers(self.request.headers).wrap(data, &[]);
        Ok(settle::whole(StatusCode::OK, headers, body.into()))
    }

    fn body(&self) -> Result<Map<String, Value>, Refusal> {
        if self.request.body.is_empty() {
            return Ok(Map::new());
        }
        let wrong = || {
            refusal(
                "invalid_json",
                "The body isn't a JSON object.",
                "Send one, as a JSON encoder writes it.",
                "body",
            )
        };
        Ok(serde_json::from_slice(&self.request.body).map_err(|_| wrong())?)
    }

    async fn read(&self, id: SessionId) -> Result<Read, Refusal> {
        if let Some(read) = read(self.core, self.caller.owner(), id).await {
            return Ok(read);
        }
        let head = self.core.sessions.head(self.caller.owner(), id).await;
        Err(head.map_or_else(|failure| chat_fault(failure, id), |_| store_away()).into())
    }

    /// `POST /agents/run`.
    async fn send(&self) -> Result<Response<ReplyBody>, Refusal> {
        let body = Value::Object(self.body()?);
        let input = body.get("input").cloned().unwrap_or_default();
        content::check(&input)?;
        check_depth(&STORED.map(|(pointer, name)| (pointer, body.get(name).unwrap_or(&Value::Null))))?;
        if let Some(fault) = nothing_kept(self.caller) {
            return Err(fault.into());
        }
        let agent = of_body(self.core, self.caller, &body).await?;
        let named = body.get("chat_id").and_then(Value::as_str).filter(|id| !id.is_empty());
        let (chat, agent) = match named {
            Some(id) => self.continued(chat_id(id)?, agent).await?,
            None => {
                let agent = agent.ok_or_else(no_agent)?;
                (opened(self.core, self.caller, &agent, self.request.trace).await?, agent)
            }
        };
        let turn = serde_json::to_value(TurnRequest { agent: agent.clone() }).unwrap_or_default();
        let task = TaskRequest {
            input,
            metadata: body.get("context").cloned().unwrap_or_default(),
            headers: line::own_headers_to_keep(self.request.headers).collect(),
            turn,
            ..TaskRequest::default()
        };
        let id = TaskId::from_uuid(*self.request.trace.as_uuid());
        let of = NextTurn { app: format!("agent:{}", agent.reference()), chat, ttl_ms: None };
        queue_turn(self.core, self.caller, (id, self.request.received_unix_ms), of, task).await?;
        let is_streamed = body.get("stream") == Some(&Value::Bool(true));
        if let Some(format) = Format::wanted(self.request.headers).or(is_streamed.then_some(Format::Events)) {
            return Ok(self.streamed((chat, Some(id)), format));
        }
        let read = self.read(chat).await?;
        let mut messages = read.view(chat).messages_of(id).into_iter();
        let (user, assistant) = (messages.next(), messages.next());
        self.ok(&json!({"user_message": user, "assistant_message": assistant}))
    }

    /// The agent of a chat that goes on: the one that is named now, or the one that it had.
    async fn continued(&self, chat: SessionId, agent: Option<Agent>) -> Result<(SessionId, Agent), Refusal> {
        let read = self.read(chat).await?;
        if let Some(agent) = agent {
            return Ok((chat, agent));
        }
        if let Some((_, contents)) = read.tasks.iter().rev().find(|(task, _)| !task.status.has_ended())
            && let Some(request) = TaskRequest::read(contents)
            && let Ok(turn) = serde_json::from_value::<TurnRequest>(request.turn)
        {
            return Ok((chat, turn.agent));
        }
        let last = read.chat.turns.last().map(|turn| turn.agent.clone()).filter(|agent| !agent.is_empty());
        let name = last.ok_or_else(no_agent)?;
        let (agent, _) =
            starting::named(self.core, self.caller, name.split('@').next().unwrap_or_default()).await?;
        Ok((chat, agent))
    }

    async fn show(&self, id: &str, wanted: Wanted) -> Result<Response<ReplyBody>, Refusal> {
        let id = chat_id(id)?;
        let read = self.read(id).await?;
        let view = read.view(id);
        match wanted {
            Wanted::Status => self.ok(&view.short()),
            Wanted::Messages => self.ok(&page(view.messages(), self.request.query)),
            Wanted::Whole => {
                let mut document = view.document();
                if let Some(fields) = document.as_object_mut() {
                    let mut messages = view.messages();
                    let skipped = messages.len().saturating_sub(CHAT_MESSAGES_MAX);
                    fields.insert("chat_messages".to_owned(), messages.split_off(skipped).into());
                }
                self.ok(&document)
            }
        }
    }

    async fn stream(&self, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        let id = chat_id(id)?;
        self.read(id).await?;
        Ok(self.streamed((id, None), Format::of(self.request.headers)))
    }

    fn streamed(&self, followed: (SessionId, Option<TaskId>), format: Format) -> Response<ReplyBody> {
        let kind = HeaderValue::from_static(format.content_type());
        let quiet = HeaderValue::from_static("no-cache");
        let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, quiet)].into_iter().collect();
        let stream = follow(Rc::clone(self.core), self.caller.owner(), followed, format);
        settle::streamed(StatusCode::OK, headers, stream)
    }

    /// Ends the turn that runs or waits. Those behind it go on.
    async fn stop(&self, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        let id = chat_id(id)?;
        let read = self.read(id).await?;
        let open = read.tasks.iter().map(|(task, _)| task).find(|task| !task.status.has_ended());
        if let Some(task) = open {
            self.end(task.id).await?;
        }
        let read = self.read(id).await?;
        self.ok(&read.view(id).document())
    }

    async fn end(&self, task: TaskId) -> Result<(), Refusal> {
        self.core.live_tasks.cancel(task);
        match self.core.tasks.cancel(self.caller.owner(), task).await {
            FoundTask::StoreUnavailable => Err(store_away().into()),
            FoundTask::Known(_) | FoundTask::Unknown => Ok(()),
        }
    }

    /// Withdraws a message that is still waiting for its turn.
    async fn cancel(&self, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        let Some((task, Part::User | Part::Assistant)) = Part::read(id) else {
            return Err(not_queued(id).into());
        };
        let (chat, _) = self.chat_of(task).await?.ok_or_else(|| not_queued(id))?;
        let read = self.read(chat).await?;
        let waits = read.tasks.iter().any(|(one, _)| one.id == task && !one.status.has_ended());
        if !waits || read.chat.turn(task).is_some() {
            return Err(not_queued(id).into());
        }
        self.end(task).await?;
        self.ok(&json!({"id": id, "status": "cancelled"}))
    }

    /// The chat of a turn.
    async fn chat_of(&self, task: TaskId) -> Result<Option<(SessionId, TaskId)>, Refusal> {
        match self.core.tasks.find(self.caller.owner(), task).await {
            FoundTask::Known(known) => Ok(known.0.chat.map(|chat| (chat, task))),
            FoundTask::Unknown => Ok(None),
            FoundTask::StoreUnavailable => Err(store_away().into()),
        }
    }

    /// The call that an id names, which waits.
    async fn waiting(&self, id: &str) -> Result<Waiting, Refusal> {
        let Some((task, Part::Call(number) | Part::Interrupt(number))) = Part::read(id) else {
            return Err(not_waiting(id).into());
        };
        let (chat, _) = self.chat_of(task).await?.ok_or_else(|| not_waiting(id))?;
        let read = self.read(chat).await?;
        let is_open = read.tasks.iter().any(|(one, _)| one.id == task && !one.status.has_ended());
        let turn = read.chat.turn(task).filter(|_| is_open).cloned().ok_or_else(|| not_waiting(id))?;
        let call = turn.calls().into_iter().nth(number).ok_or_else(|| not_waiting(id))?;
        let waits = turn.waits_for().find(|waiting| waiting.id == call.id).cloned();
        let is_clients = waits.ok_or_else(|| not_waiting(id))?.is_clients;
        Ok(Waiting { chat, read, turn, call, is_clients })
    }

    /// Appends to a chat whose turn waits, and has it go on.
    async fn append(&self, chat: SessionId, events: Vec<(String, String)>) -> Result<(), Refusal> {
        let owner = self.caller.owner();
        let head = self.core.sessions.head(owner, chat).await.map_err(|failure| chat_fault(failure, chat))?;
        let to = SessionBranch { session: chat, branch: head.branch };
        let written = append_events(self.core, self.caller, (self.request.trace, to), events).await;
        written.map_err(|failure| fault_of(failure, "chat_id"))?;
        if self.core.tasks.wake(owner, chat).await { Ok(()) } else { Err(store_away().into()) }
    }

    async fn acted(
        &self,
        waiting: Waiting,
        events: Vec<(String, String)>,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let Waiting { chat, read, turn, call, .. } = waiting;
        drop(read);
        self.append(chat, events).await?;
        let number = turn.calls().iter().position(|one| one.id == call.id).unwrap_or_default();
        self.ok(
            &json!({"id": Part::Call(number).id(turn.task), "chat_id": chat.to_string(), "name": call.name}),
        )
    }

    /// A client's own result of its call.
    async fn result(&self, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        let body = self.body()?;
        let result = match body.get("result") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => Value::Object(body).to_string(),
            Some(other) => other.to_string(),
        };
        if result.len() > TASK_CONTENT_BYTES_MAX {
            let message = format!("it has more than {TASK_CONTENT_BYTES_MAX} bytes");
            return Err(Refusal::Input(vec![InputError::new("/result", message)]));
        }
        let waiting = self.waiting(id).await?;
        if !waiting.is_clients {
            return Err(not_waiting(id).into());
        }
        let item = result_item(&waiting.call.id, &result).to_string();
        self.acted(waiting, crate::session_turn::events_of([item])).await
    }

    async fn decide(&self, id: &str, is_allowed: bool) -> Result<Response<ReplyBody>, Refusal> {
        let body = self.body()?;
        let reason = body.get("reason").and_then(Value::as_str).unwrap_or_default();
        let reason: String = reason.chars().take(500).collect();
        let waiting = self.waiting(id).await?;
        if waiting.is_clients && is_allowed {
            return Err(not_waiting(id).into());
        }
        let decided = Aside::Decided { call: waiting.call.id.clone(), is_allowed, reason };
        self.acted(waiting, vec![event(&decided)]).await
    }

    async fn always_allow(&self, chat: &str, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        let chat = chat_id(chat)?;
        let waiting = self.waiting(id).await?;
        if waiting.is_clients || waiting.chat != chat {
            return Err(not_waiting(id).into());
        }
        let allowed = Aside::Allowed { tool: waiting.call.name.clone() };
        let decided =
            Aside::Decided { call: waiting.call.id.clone(), is_allowed: true, reason: String::new() };
        self.acted(waiting, vec![event(&allowed), event(&decided)]).await
    }

    async fn resolve(&self, id: &str) -> Result<Response<ReplyBody>, Refusal> {
        match self.body()?.get("decision").and_then(Value::as_str) {
            Some("allow") => self.decide(id, true).await,
            Some("deny") => self.decide(id, false).await,
            _ => Err(Refusal::Input(vec![InputError::new("/decision", "it must be allow or deny")])),
        }
    }
}

fn chat_id(text: &str) -> Result<SessionId, Box<Fault>> {
    text.parse().map_err(|_| no_chat(text))
}

fn chat_fault(failure: domain::ports::SessionFailure, id: SessionId) -> Box<Fault> {
    match failure {
        domain::ports::SessionFailure::Unknown => no_chat(&id.to_string()),
        other => fault_of(other, "chat_id"),
    }
}

/// A page of messages, the newest of which are first asked for.
fn page(mut messages: Vec<Value>, query: &str) -> Value {
    let of = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
    };
    let end = of("cursor").unwrap_or(messages.len()).min(messages.len());
    let limit = of("limit").unwrap_or(CHAT_MESSAGES_MAX).clamp(1, CHAT_MESSAGES_MAX);
    let start = end.saturating_sub(limit);
    messages.truncate(end);
    let items = messages.split_off(start);
    let cursor = if start > 0 { start.to_string() } else { String::new() };
    json!({"items": items, "next_cursor": cursor, "has_next": start > 0, "total_items": end})
}

fn no_agent() -> Refusal {
    let message = "name an agent, or describe one in \"agent_config\"";
    Refusal::Input(vec![InputError::new("/agent", message)])
}

fn no_chat(id: &str) -> Box<Fault> {
    let message = format!("This project has no chat {}.", sanitize(id));
    let fault = Fault::new(FaultClass::NotFound, "chat_not_found", message).param("chat_id");
    Box::new(
        fault
            .fix("Use the chat_id of a message of this project; POST /agents/run without one begins a chat."),
    )
}

fn not_waiting(id: &str) -> Box<Fault> {
    let message = format!("The call {} isn't waiting for anything that this path accepts.", sanitize(id));
    let fault = Fault::new(FaultClass::Conflict, "tool_call_not_waiting", message);
    Box::new(fault.fix("GET /chats/ID lists the calls that wait in pending_interrupts, with their ids."))
}

fn not_queued(id: &str) -> Box<Fault> {
    let message = format!("The message {} isn't waiting for a turn.", sanitize(id));
    let fault = Fault::new(FaultClass::Conflict, "message_not_queued", message);
    Box::new(fault.fix("Stop a message that is being answered with POST /chats/ID/stop."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_newest_messages_first_asked_for() {
        let messages = || (0..5).map(|number| json!(number)).collect::<Vec<_>>();
        let last = page(messages(), "limit=2");
        assert_eq!((&last["items"], &last["next_cursor"]), (&json!([3, 4]), &json!("3")));
        let before = page(messages(), "limit=9&cursor=3");
        assert_eq!((&before["items"], &before["has_next"]), (&json!([0, 1, 2]), &json!(false)));
    }

    #[test]
    fn what_is_not_there_has_its_code() {
        let codes = [no_chat("x").code, not_waiting("x").code, not_queued("x").code];
        assert_eq!(codes, ["chat_not_found", "tool_call_not_waiting", "message_not_queued"]);
        assert!(chat_id("nonsense").is_err());
    }
}
