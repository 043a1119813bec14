//! A strict emulator of an MCP server over streamable HTTP: it refuses what the protocol does not allow, records what it is
//! called with, and misbehaves on request.

#![expect(
    clippy::indexing_slicing,
    reason = "a member that a message lacks is null, and answers are made here"
)]

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::loopback::{HttpRequest, Loopback, Reply};

const PROTOCOL: &str = "2025-11-25";
const SESSION: &str = "session-of-the-loopback-server";

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpAnswer {
    Text(String),
    /// The tool says that it failed.
    Error(String),
    /// The arguments, as JSON.
    Echo,
    /// A text of so many bytes.
    Huge(usize),
    /// Nothing: the connection stays open.
    Stall,
    /// An error of the protocol.
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpTool {
    pub name: String,
    pub description: String,
    pub schema: Value,
    pub answer: McpAnswer,
}

impl McpTool {
    /// A tool that takes any object.
    #[must_use]
    pub fn new(name: &str, description: &str, answer: McpAnswer) -> Self {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        Self { name: name.to_owned(), description: description.to_owned(), schema, answer }
    }
}

/// How the server behaves beside its tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpBehaviour {
    /// It answers with events, after a notification and a request of its own.
    pub streams: bool,
    /// Each stream breaks off before its answer, and is resumed by the id of its last event.
    pub breaks: bool,
    /// Tools on one page of its list.
    pub page: Option<usize>,
    /// It answers everything with a redirect to this address.
    pub redirect: Option<String>,
    /// The bearer token that it wants.
    pub token: Option<String>,
    /// What it says to whoever has none.
    pub challenge: Option<String>,
    /// Calls are refused with this challenge: their token lacks scopes.
    pub insufficient: Option<String>,
}

#[derive(Default)]
struct State {
    tools: Vec<McpTool>,
    behaviour: McpBehaviour,
    calls: Vec<(String, Value)>,
    requests: Vec<String>,
    /// How often its pings were answered.
    pongs: u64,
    violations: Vec<String>,
    is_initialized: bool,
    /// The answer that a broken stream owes.
    owed: Option<String>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running server; dropping it closes its address.
pub struct McpServer {
    state: Arc<Mutex<State>>,
    loopback: Loopback,
}

impl McpServer {
    /// Starts on a thread of its own.
    ///
    /// # Errors
    /// Of the socket.
    pub fn start(tools: impl IntoIterator<Item = McpTool>) -> io::Result<Self> {
        let state = State { tools: tools.into_iter().collect(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let answering = Arc::clone(&state);
        let loopback = Loopback::start(move |request| reply(&mut locked(&answering), request))?;
        Ok(Self { state, loopback })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/mcp", self.loopback.origin())
    }

    pub fn set_tools(&self, tools: impl IntoIterator<Item = McpTool>) {
        locked(&self.state).tools = tools.into_iter().collect();
    }

    pub fn behave(&self, behaviour: McpBehaviour) {
        locked(&self.state).behaviour = behaviour;
    }

    /// The tools that were called, with their arguments.
    #[must_use]
    pub fn calls(&self) -> Vec<(String, Value)> {
        locked(&self.state).calls.clone()
    }

    /// The methods of all requests, of HTTP where it was none of the protocol's.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        locked(&self.state).requests.clone()
    }

    /// How often its pings were answered.
    #[must_use]
    pub fn pongs(&self) -> u64 {
        locked(&self.state).pongs
    }

    /// What the protocol does not allow.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        locked(&self.state).violations.clone()
    }
}

/// `None` where nothing is ever answered.
fn reply(state: &mut State, request: &HttpRequest) -> Option<Reply> {
    if let Some(to) = &state.behaviour.redirect {
        return Some(Reply::of(307, "").with("location", to.clone()));
    }
    if let Some(token) = &state.behaviour.token
        && request.header("authorization") != Some(&format!("Bearer {token}"))
    {
        let challenge = state.behaviour.challenge.clone().unwrap_or_else(|| "Bearer".to_owned());
        return Some(Reply::of(401, "").with("www-authenticate", challenge));
    }
    match request.method.as_str() {
        "POST" => message(state, request),
        "GET" => {
            state.requests.push("GET".to_owned());
            if request.header("last-event-id") != Some("e-1") {
                state.violations.push("a stream is resumed without the id of its last event".to_owned());
            }
            let owed = state.owed.take().unwrap_or_default();
            let body = format!("id: e-2\ndata: {owed}\n\n");
            Some(Reply::of(200, body).with("content-type", "text/event-stream"))
        }
        "DELETE" => {
            state.requests.push("DELETE".to_owned());
            Some(Reply::of(204, ""))
        }
        _ => Some(Reply::of(405, "")),
    }
}

fn message(state: &mut State, request: &HttpRequest) -> Option<Reply> {
    let mut wrong = |what: &str| state.violations.push(what.to_owned());
    let accept = request.header("accept").unwrap_or_default();
    if !accept.contains("application/json") || !accept.contains("text/event-stream") {
        wrong("a message is sent without both media types in Accept");
    }
    if request.header("content-type") != Some("application/json") {
        wrong("a message is not sent as JSON");
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if body["jsonrpc"] != "2.0" {
        wrong("a message is not of JSON-RPC 2.0");
    }
    let Some(method) = body["method"].as_str().map(str::to_owned) else {
        if body["id"] != 1 || body["result"] != json!({}) {
            wrong("a ping is answered with something else");
        }
        state.pongs = state.pongs.saturating_add(1);
        return Some(Reply::of(202, ""));
    };
    if method != "initialize" {
        if request.header("mcp-session-id") != Some(SESSION) {
            wrong("a message is outside of the session");
        }
        if request.header("mcp-protocol-version") != Some(PROTOCOL) {
            wrong("a message does not name the version of the protocol");
        }
    }
    if method.starts_with("tools/") && !state.is_initialized {
        state.violations.push("tools are named before the session is initialized".to_owned());
    }
    state.requests.push(method.clone());
    if let (Some(challenge), "tools/call") = (&state.behaviour.insufficient, method.as_str()) {
        return Some(Reply::of(403, "").with("www-authenticate", challenge.clone()));
    }
    let result = match method.as_str() {
        "initialize" => initialize(state, &body["params"]),
        "notifications/initialized" => {
            state.is_initialized = true;
            return Some(Reply::of(202, ""));
        }
        "tools/list" => Ok(list(state, &body["params"])),
        "tools/call" => call(state, &body["params"])?,
        _ => Err(json!({"code": -32601, "message": "Method not found"})),
    };
    let mut answer = json!({"jsonrpc": "2.0", "id": body["id"]});
    match result {
        Ok(result) => answer["result"] = result,
        Err(error) => answer["error"] = error,
    }
    let reply = sent(state, &method, &answer);
    Some(if method == "initialize" { reply.with("mcp-session-id", SESSION) } else { reply })
}

fn sent(state: &mut State, method: &str, answer: &Value) -> Reply {
    if !state.behaviour.streams {
        return Reply::of(200, answer.to_string()).with("content-type", "application/json");
    }
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let mut body = format!(": hello\n\nid: e-1\nevent: message\ndata: {progress}\n\ndata: {ping}\n\n");
    if state.behaviour.breaks && method == "tools/call" {
        state.owed = Some(answer.to_string());
    } else {
        body.push_str(&format!("event: message\ndata: {answer}\n\n"));
    }
    Reply::of(200, body).with("content-type", "text/event-stream")
}

fn initialize(state: &mut State, params: &Value) -> Result<Value, Value> {
    if params["protocolVersion"] != PROTOCOL {
        state.violations.push(format!("the version of the protocol is {}", params["protocolVersion"]));
    }
    if !params["capabilities"].is_object() || !params["clientInfo"]["name"].is_string() {
        state.violations.push("a session begins without capabilities or a client".to_owned());
    }
    state.is_initialized = false;
    Ok(json!({
        "protocolVersion": PROTOCOL, "capabilities": {"tools": {"listChanged": true}},
        "serverInfo": {"name": "loopback", "version": "1.2"},
    }))
}

fn list(state: &State, params: &Value) -> Value {
    let from: usize = params["cursor"].as_str().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let page = state.behaviour.page.unwrap_or(usize::MAX);
    let tools = state.tools.iter().skip(from).take(page);
    let tools: Vec<Value> = tools
        .map(|tool| json!({"name": tool.name, "description": tool.description, "inputSchema": tool.schema}))
        .collect();
    let next = from.saturating_add(tools.len());
    let mut listed = json!({"tools": tools});
    if next < state.tools.len() {
        listed["nextCursor"] = json!(next.to_string());
    }
    listed
}

/// `None` where the tool never answers.
fn call(state: &mut State, params: &Value) -> Option<Result<Value, Value>> {
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    if !params["arguments"].is_object() {
        state.violations.push("a tool is called without arguments".to_owned());
    }
    state.calls.push((name.clone(), params["arguments"].clone()));
    let text = |text: String, is_error: bool| {
        Ok(json!({"content": [{"type": "text", "text": text}], "isError": is_error}))
    };
    let Some(tool) = state.tools.iter().find(|tool| tool.name == name) else {
        return Some(Err(json!({"code": -32602, "message": "Unknown tool"})));
    };
    Some(match &tool.answer {
        McpAnswer::Text(words) => text(words.clone(), false),
        McpAnswer::Error(words) => text(words.clone(), true),
        McpAnswer::Echo => text(params["arguments"].to_string(), false),
        McpAnswer::Huge(bytes) => text("x".repeat(*bytes), false),
        McpAnswer::Stall => return None,
        McpAnswer::Refuse => Err(json!({"code": -32000, "message": "not\ntoday"})),
    })
}
