//! The client of MCP servers, over streamable HTTP or on standard input and output of a program in a sandbox. The messages are those
//! of the protocol's own SDK.

#[cfg(feature = "fixtures")]
pub mod fixtures;
mod http;
mod message;
mod stdio;

use std::cell::Cell;
use std::sync::Arc;

use domain::tools::{ListedTool, McpListing, SecretHeaders};
use domain::{CallOutcome, DeclaredServer, Secret, WorkspaceId};
use egress::Client;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ContentBlock, Implementation,
    InitializeRequestParams, InitializeResult, ListToolsResult, ProtocolVersion, ResourceContents,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use self::http::HttpTransport;
use self::message::broken;
use self::stdio::StdioTransport;
use crate::answer::{CallFailure, ToolAnswer, quoted};
use crate::authorization::Reach;
use crate::limits::{
    DESCRIPTION_BYTES_MAX, LIST_PAGES_MAX, LIST_TIME_MAX, SCHEMA_BYTES_MAX, SERVER_TOOLS_MAX,
};
use crate::pins;

/// Begins the address of a server that is a program which the operator declared, and whose name follows.
pub const STDIO_SCHEME: &str = "stdio:";

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
    transport: Transport,
    /// The revision of the protocol that both speak.
    protocol: String,
    /// What the server calls itself.
    server: String,
    last_id: Cell<u64>,
    /// The token that it shows.
    token: Option<Arc<Secret>>,
}

/// How messages get to a server.
enum Transport {
    Http(Box<HttpTransport>),
    Stdio(Box<StdioTransport>),
}

fn too_slow() -> CallFailure {
    CallFailure::new(CallOutcome::Timeout, "The MCP server did not answer in time.")
}

/// Begins a session with a server of a project, with another token than `refused`. A token that the server takes no more is
/// renewed once.
///
/// # Errors
/// The server can't be reached, or a person must authorize it.
pub async fn open(
    reach: &Reach,
    server: &DeclaredServer,
    refused: Option<&Secret>,
) -> Result<McpSession, CallFailure> {
    let url = server.definition.url.clone();
    let mut address = ServerAddress { url, headers: server.headers.clone(), owner: reach.owner.workspace };
    if let Some(program) = server.definition.url.strip_prefix(STDIO_SCHEME) {
        let transport = StdioTransport::start(&reach.client, program, &address)?;
        return McpSession::begin(Transport::Stdio(Box::new(transport))).await;
    }
    if server.definition.oauth.is_none() {
        return McpSession::open(&reach.client, &address).await;
    }
    let token = reach.token(server, refused).await?;
    address.headers = vec![bearer(&token)];
    match McpSession::open(&reach.client, &address).await {
        Err(failure) if failure.is_unauthorized && refused.is_none() => {
            let token = reach.token(server, Some(&token)).await?;
            address.headers = vec![bearer(&token)];
            McpSession::open(&reach.client, &address).await.map(|session| session.with_token(token))
        }
        opened => opened.map(|session| session.with_token(token)),
    }
}

fn bearer(token: &Secret) -> (String, Arc<Secret>) {
    let text = format!("Bearer {}", token.expose_text().unwrap_or_default());
    ("authorization".to_owned(), Arc::new(Secret::from_text(text)))
}

/// Reads what a server of a project lists, in a session of its own.
///
/// # Errors
/// The server can't be reached, or answers with something else.
pub async fn list(reach: &Reach, server: &DeclaredServer) -> Result<McpListing, CallFailure> {
    let reading = async {
        let session = open(reach, server, None).await?;
        let tools = session.list_tools().await;
        if let Err(failure) = &tools {
            reach.note_refusal(server, failure).await;
        }
        let (server, protocol) = (session.server.clone(), session.protocol.clone());
        session.close().await;
        Ok(McpListing { tools: tools?, server, protocol })
    };
    timeout(LIST_TIME_MAX, reading).await.unwrap_or_else(|_| Err(too_slow()))
}

impl McpSession {
    /// Begins a session over HTTP.
    ///
    /// # Errors
    /// The server can't be reached, or speaks no version of the protocol that is known here.
    pub async fn open(client: &Client, address: &ServerAddress) -> Result<Self, CallFailure> {
        Self::begin(Transport::Http(Box::new(HttpTransport::new(client, address)?))).await
    }

    async fn begin(transport: Transport) -> Result<Self, CallFailure> {
        let (protocol, server) = (String::new(), String::new());
        let mut session = Self { transport, protocol, server, last_id: Cell::new(0), token: None };
        session.initialize().await?;
        Ok(session)
    }

    fn with_token(self, token: Arc<Secret>) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The token that the server was shown.
    pub const fn token(&self) -> Option<&Arc<Secret>> {
        self.token.as_ref()
    }

    async fn initialize(&mut self) -> Result<(), CallFailure> {
        let client = Implementation::new("tidegate", env!("CARGO_PKG_VERSION"));
        let params = InitializeRequestParams::new(ClientCapabilities::default(), client)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let result: InitializeResult = self.ask("initialize", &params).await?;
        let version = result.protocol_version.to_string();
        if !ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.to_string() == version) {
            return Err(broken("a version of the protocol that isn't supported"));
        }
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        match &self.transport {
            Transport::Http(http) => {
                http.agree_on(&version);
                http.notify(initialized).await?;
            }
            Transport::Stdio(stdio) => stdio.notify(initialized).await?,
        }
        let Implementation { name, version: of_server, .. } = result.server_info;
        self.server = quoted(&format!("{name} {of_server}"));
        self.protocol = version;
        Ok(())
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
                    return Err(broken("two tools with the same name"));
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

    /// Ends the session. Whether the server understands that is its own matter.
    pub async fn close(self) {
        match self.transport {
            Transport::Http(http) => http.close().await,
            Transport::Stdio(stdio) => stdio.close().await,
        }
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
        let message = match &self.transport {
            Transport::Http(http) => http.ask(id, method, body).await?,
            Transport::Stdio(stdio) => stdio.ask(id, body).await?,
        };
        if let Some(error) = message.error {
            let text = format!("The MCP server refuses ({}): {}", error.code, quoted(&error.message));
            return Err(CallFailure::new(CallOutcome::Failed, text));
        }
        let result = message.result.unwrap_or(Value::Null);
        serde_json::from_value(result).map_err(|_| broken("a result that doesn't follow the protocol"))
    }
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
