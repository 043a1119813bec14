//! The client of MCP servers over streamable HTTP: under the address guard, without redirects, bounded in size and time. The
//! messages are those of the protocol's own SDK; the transport is ours, since every outgoing byte goes through `egress`.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use domain::tools::{ListedTool, McpListing, SecretHeaders};
use domain::{CallOutcome, WorkspaceId};
use egress::{Answer, Client, Destination, OutBody, Request, TargetKind};
use framing::sse::{WholeEvents, read_event};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock, Implementation,
    InitializeRequestParams, InitializeResult, ListToolsResult, ProtocolVersion, ResourceContents,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::answer::{CallFailure, ToolAnswer, quoted};
use crate::limits::{
    ANSWER_BYTES_MAX, DESCRIPTION_BYTES_MAX, LIST_PAGES_MAX, LIST_TIME_MAX, RESUMPTIONS_MAX, RETRY_TIME_MAX,
    SCHEMA_BYTES_MAX, SERVER_TOOLS_MAX,
};
use crate::pins;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long the end of a session may take, for which nobody waits.
const CLOSING: Duration = Duration::from_secs(2);

/// Where a server is, and what it is sent beside the messages.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    pub url: String,
    pub headers: SecretHeaders,
    /// The workspace that wrote the address.
    pub owner: WorkspaceId,
}

/// A session with a server.
pub struct McpSession {
    client: Client,
    url: Uri,
    owner: WorkspaceId,
    headers: Vec<(HeaderName, HeaderValue)>,
    session: RefCell<Option<HeaderValue>>,
    protocol: RefCell<Option<HeaderValue>>,
    server: String,
    last_id: Cell<u64>,
}

/// A message of the server.
#[derive(serde::Deserialize)]
struct Incoming {
    id: Option<Value>,
    result: Option<Value>,
    error: Option<RpcError>,
    method: Option<String>,
}

#[derive(serde::Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
}

fn broken(what: &str) -> CallFailure {
    CallFailure::unreachable(format!("The MCP server answers with {what}."))
}

fn too_slow() -> CallFailure {
    CallFailure::new(CallOutcome::Timeout, "The MCP server did not answer in time.")
}

/// Reads what a server lists, in a session of its own.
///
/// # Errors
/// The server can't be reached, or answers with something else.
pub async fn list(client: &Client, address: &ServerAddress) -> Result<McpListing, CallFailure> {
    let reading = async {
        let session = McpSession::open(client, address).await?;
        let tools = session.list_tools().await;
        let protocol =
            session.protocol.borrow().as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
        let (server, protocol) = (session.server.clone(), protocol.unwrap_or_default());
        session.close().await;
        Ok(McpListing { tools: tools?, server, protocol })
    };
    timeout(LIST_TIME_MAX, reading).await.unwrap_or_else(|_| Err(too_slow()))
}

impl McpSession {
    /// Begins a session.
    ///
    /// # Errors
    /// The server can't be reached, or speaks no version of the protocol that is known here.
    pub async fn open(client: &Client, address: &ServerAddress) -> Result<Self, CallFailure> {
        let url = Uri::try_from(&address.url).map_err(|_| broken("an address that is no URL"))?;
        let mut headers = Vec::with_capacity(address.headers.len());
        for (name, value) in &address.headers {
            let name =
                HeaderName::try_from(name.as_str()).map_err(|_| broken("a header that can't be sent"))?;
            let value = HeaderValue::from_bytes(value.expose());
            let mut value = value.map_err(|_| broken("a header that can't be sent"))?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let mut session = Self {
            client: client.clone(),
            url,
            owner: address.owner,
            headers,
            session: RefCell::default(),
            protocol: RefCell::default(),
            server: String::new(),
            last_id: Cell::new(0),
        };
        session.server = session.initialize().await?;
        Ok(session)
    }

    /// Returns what the server calls itself.
    async fn initialize(&self) -> Result<String, CallFailure> {
        self.session.borrow_mut().take();
        self.protocol.borrow_mut().take();
        let client = Implementation::new("tidegate", env!("CARGO_PKG_VERSION"));
        let params = InitializeRequestParams::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let result: InitializeResult = self.ask("initialize", &params).await?;
        let version = result.protocol_version.to_string();
        if !ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.to_string() == version) {
            return Err(broken("a version of the protocol that is not known here"));
        }
        *self.protocol.borrow_mut() = HeaderValue::try_from(version).ok();
        self.notify("notifications/initialized").await?;
        let Implementation { name, version, .. } = result.server_info;
        Ok(quoted(&format!("{name} {version}")))
    }

    /// All tools of the server.
    ///
    /// # Errors
    /// It lists none, too many, or does not end.
    pub async fn list_tools(&self) -> Result<Vec<ListedTool>, CallFailure> {
        let mut tools: Vec<ListedTool> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..LIST_PAGES_MAX {
            let params = cursor.take().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let page: ListToolsResult = self.ask("tools/list", &params).await?;
            for tool in page.tools {
                if tools.len() >= SERVER_TOOLS_MAX {
                    return Err(broken(&format!("more than {SERVER_TOOLS_MAX} tools")));
                }
                let description = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default();
                let parameters = Value::Object((*tool.input_schema).clone()).to_string();
                if description.len() > DESCRIPTION_BYTES_MAX || parameters.len() > SCHEMA_BYTES_MAX {
                    return Err(broken("a description or schema of a tool that is too long"));
                }
                if tools.iter().any(|other| other.name == tool.name) {
                    return Err(broken("two tools of one name"));
                }
                tools.push(pins::listed(tool.name.to_string(), description.to_owned(), parameters));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(broken("a list of tools without an end"))
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// The server can't be reached, refuses, or answers with something else.
    pub async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Result<ToolAnswer, CallFailure> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result: CallToolResult = self.ask("tools/call", &params).await?;
        Ok(ToolAnswer { is_error: result.is_error.unwrap_or(false), text: text_of(result) })
    }

    /// Tells the server that the session is over. Whether it understands is its own matter.
    pub async fn close(self) {
        if self.session.borrow().is_none() {
            return;
        }
        let request = self.request(Method::DELETE, None);
        let _ = timeout(CLOSING, self.client.send(&request, self.destination())).await;
    }

    const fn destination(&self) -> Destination {
        Destination { kind: TargetKind::Provider, owner: Some(self.owner) }
    }

    fn request(&self, method: Method, body: Option<Bytes>) -> Request {
        let mut request = Request::new(method, self.url.clone());
        request.headers = vec![
            (ACCEPT, HeaderValue::from_static("application/json, text/event-stream")),
            (USER_AGENT, HeaderValue::from_static(concat!("Tidegate/", env!("CARGO_PKG_VERSION")))),
        ];
        if let Some(body) = body {
            request.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
            request.body = OutBody::from(body);
        }
        request.headers.extend(self.session.borrow().clone().map(|value| (SESSION, value)));
        request.headers.extend(self.protocol.borrow().clone().map(|value| (PROTOCOL, value)));
        request.headers.extend(self.headers.iter().cloned());
        request
    }

    async fn send(&self, request: &Request) -> Result<Answer, CallFailure> {
        let answer = self.client.send(request, self.destination()).await;
        let answer = answer.map_err(|error| CallFailure::of(&error))?;
        if answer.status.is_redirection() {
            let text = "The MCP server redirects, which is not followed.";
            return Err(CallFailure::new(CallOutcome::Refused, text));
        }
        Ok(answer)
    }

    async fn notify(&self, method: &str) -> Result<(), CallFailure> {
        let body = json!({"jsonrpc": "2.0", "method": method}).to_string();
        let answer = self.send(&self.request(Method::POST, Some(body.into()))).await?;
        if answer.status.is_success() { Ok(()) } else { Err(refused(answer.status)) }
    }

    /// Sends one request and reads its result.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl serde::Serialize,
    ) -> Result<T, CallFailure> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let answer = self.send(&self.request(Method::POST, Some(body.into()))).await?;
        if !answer.status.is_success() {
            return Err(refused(answer.status));
        }
        if method == "initialize" {
            let given = answer.headers.get(SESSION.as_str());
            *self.session.borrow_mut() = given.and_then(|value| HeaderValue::from_bytes(value).ok());
        }
        let kind = answer.headers.text(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        let message = if kind.starts_with("text/event-stream") {
            self.message_in_stream(answer, id).await?
        } else if kind.starts_with("application/json") {
            let bytes = answer.body.read_to_end(ANSWER_BYTES_MAX).await;
            let bytes = bytes.map_err(|_| broken("more than is read, or it broke off"))?;
            message_with(&bytes, id).ok_or_else(|| broken("what is no answer to the request"))?
        } else {
            return Err(broken("neither JSON nor an event stream"));
        };
        if let Some(error) = message.error {
            let text = format!("The MCP server refuses ({}): {}", error.code, quoted(&error.message));
            return Err(CallFailure::new(CallOutcome::Failed, text));
        }
        let result = message.result.unwrap_or(Value::Null);
        serde_json::from_value(result).map_err(|_| broken("a result that is not of the protocol"))
    }

    /// The answer to a request among the events of a stream. One that breaks off is resumed where its server lets that be.
    async fn message_in_stream(&self, mut answer: Answer, id: u64) -> Result<Incoming, CallFailure> {
        let (mut left, mut place) = (ANSWER_BYTES_MAX, StreamPlace::default());
        for _ in 0..=RESUMPTIONS_MAX {
            if let Some(message) = read_stream(&mut answer, id, &mut left, &mut place).await? {
                return Ok(message);
            }
            let last = place.last_event.as_ref().and_then(|last| HeaderValue::from_bytes(last).ok());
            let Some(last) = last else { break };
            // A server that says when to come again is busy until then.
            sleep(place.retry).await;
            let mut request = self.request(Method::GET, None);
            request.headers.push((LAST_EVENT, last));
            answer = self.send(&request).await?;
            if !answer.status.is_success() {
                break;
            }
        }
        Err(broken("a stream that ends without the result"))
    }
}

fn refused(status: StatusCode) -> CallFailure {
    let text = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("The MCP server refuses the credentials ({}).", status.as_u16())
        }
        _ => format!("The MCP server answers with status {}.", status.as_u16()),
    };
    CallFailure::unreachable(text)
}

/// Where a stream is, and how long its server wants to be left alone before it goes on.
#[derive(Default)]
struct StreamPlace {
    last_event: Option<Vec<u8>>,
    retry: Duration,
}

/// Reads events until the answer to a request is among them; `None` at the end of the stream.
async fn read_stream(
    answer: &mut Answer,
    id: u64,
    left: &mut usize,
    place: &mut StreamPlace,
) -> Result<Option<Incoming>, CallFailure> {
    let mut events = WholeEvents::default();
    while let Some(frame) = answer.body.frame().await {
        // What broke off may be resumed.
        let Ok(frame) = frame else { return Ok(None) };
        let Ok(piece) = frame.into_data() else { continue };
        *left = left.checked_sub(piece.len()).ok_or_else(|| broken("more than is read"))?;
        let mut rest = piece.as_ref();
        while let Some(whole) = events.next_in(&mut rest) {
            if let Some(id) = field_of(&whole, b"id:").filter(|id| !id.is_empty()) {
                place.last_event = Some(id);
            }
            let retry =
                field_of(&whole, b"retry:").and_then(|text| String::from_utf8(text).ok()?.parse().ok());
            if let Some(retry) = retry {
                place.retry = Duration::from_millis(retry).min(RETRY_TIME_MAX);
            }
            let data = read_event(&whole).data;
            if let Some(message) = message_with(&data.json(&whole), id) {
                return Ok(Some(message));
            }
        }
    }
    Ok(None)
}

/// The value of a field of an event.
fn field_of(event: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let line = lines.find_map(|line| line.strip_prefix(name))?;
    Some(line.strip_prefix(b" ").unwrap_or(line).to_vec())
}

/// The answer to a request. Requests and notifications of the server are passed over: this client offers it nothing.
fn message_with(bytes: &[u8], id: u64) -> Option<Incoming> {
    let message: Incoming = serde_json::from_slice(bytes).ok()?;
    let is_its = message.method.is_none() && message.id.as_ref().and_then(Value::as_u64) == Some(id);
    (is_its && (message.result.is_some() || message.error.is_some())).then_some(message)
}

/// A result as a text: what is no text is named.
fn text_of(result: CallToolResult) -> String {
    let mut parts: Vec<String> = Vec::new();
    for block in result.content {
        parts.push(match block {
            ContentBlock::Text(text) => text.text,
            ContentBlock::Image(image) => format!("[An image ({}) was left out.]", quoted(&image.mime_type)),
            ContentBlock::Audio(audio) => format!("[A sound ({}) was left out.]", quoted(&audio.mime_type)),
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { text, .. } => text,
                _ => "[A binary resource was left out.]".to_owned(),
            },
            ContentBlock::ResourceLink(link) => format!("[A link to {}]", quoted(&link.uri)),
            _ => "[Content of another kind was left out.]".to_owned(),
        });
    }
    if parts.is_empty()
        && let Some(structured) = result.structured_content
    {
        return structured.to_string();
    }
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_the_request_counts() {
        for (text, is_it) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, true),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#, true),
            (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, false),
            (r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#, false),
            ("", false),
        ] {
            assert_eq!(message_with(text.as_bytes(), 7).is_some(), is_it, "{text}");
        }
    }

    #[test]
    fn the_fields_of_an_event_are_read() {
        let event = b"event: message\nid: 4_1\nretry:500\ndata: {}\n\n";
        assert_eq!(field_of(event, b"id:"), Some(b"4_1".to_vec()));
        assert_eq!(field_of(event, b"retry:"), Some(b"500".to_vec()));
        assert_eq!(field_of(b"data: {}\n\n", b"id:"), None);
    }
}
