//! Tools that a project declares: functions, calls of HTTP servers and MCP servers; and the store from which a request reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::{DeclaredApp, FoundApp};
use crate::grants::{HeldGrant, McpOauth, Renewal};
use crate::ids::{McpServerId, ToolId, TraceId};
use crate::ports::PortFuture;
use crate::secret::Secret;
use crate::stored_object::ObjectOwner;

crate::words! {
    /// Where an argument of an HTTP tool goes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum ArgumentPlace by by_name {
        Path = "path",
        Query = "query",
        Header = "header",
        /// A member of the JSON body.
        Body = "body",
    }
}

/// The call of an HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpAction {
    pub method: String,
    /// Each `{name}` in its path is replaced by an argument.
    pub url: String,
    /// Where each argument goes; others go into the query, or into the body of a method that has one.
    pub places: BTreeMap<String, ArgumentPlace>,
}

/// What a tool is for the model, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDefinition {
    pub description: String,
    /// The JSON Schema of its arguments, as text.
    pub parameters: String,
    /// With neither of these it is a function, which the client executes.
    pub http: Option<HttpAction>,
    /// The name of an app that it runs.
    #[serde(default)]
    pub app: Option<String>,
    /// The names of the headers that are sealed.
    pub secret_headers: Vec<String>,
    /// Whether each call waits for the client's approval.
    pub needs_approval: bool,
}

/// Which tools of an MCP server wait for the client's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    Never,
    Always,
    /// All but these.
    Except(Vec<String>),
}

impl Approval {
    pub fn is_needed(&self, tool: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Except(names) => !names.iter().any(|name| name == tool),
        }
    }
}

/// An MCP server as a project declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpDefinition {
    pub description: String,
    pub url: String,
    /// The names of the tools that may be used; `None` for all.
    pub allowed_tools: Option<Vec<String>>,
    pub approval: Approval,
    /// The names of the headers that are sealed.
    pub secret_headers: Vec<String>,
    /// Where its tokens come from an authorization server.
    #[serde(default)]
    pub oauth: Option<McpOauth>,
}

impl McpDefinition {
    pub fn allows(&self, tool: &str) -> bool {
        self.allowed_tools.as_ref().is_none_or(|names| names.iter().any(|name| name == tool))
    }
}

/// A tool as its MCP server lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTool {
    pub name: String,
    pub description: String,
    /// The JSON Schema of its arguments, as text.
    pub parameters: String,
    /// Of all that the model reads of it, in hex.
    pub digest: String,
    /// What makes its description look like an instruction to the model.
    pub suspicion: Option<String>,
}

crate::words! {
    /// Why a tool of an MCP server is not offered to models, if it isn't.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum PinState {
        /// It is offered as it was accepted.
        Accepted = "accepted",
        /// The server lists it, and did not when the server was first read.
        New = "new",
        /// The server describes it otherwise than when it was accepted.
        Changed = "changed",
        /// Its description looks like an instruction to the model.
        Suspicious = "suspicious",
        /// The server lists it no more.
        Gone = "gone",
    }
}

/// A tool of an MCP server, as models may read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTool {
    /// As it was accepted or, if it never was, as the server lists it.
    pub tool: ListedTool,
    /// `tool` was accepted.
    pub is_accepted: bool,
    pub state: PinState,
    /// As the server lists it now, where that differs.
    pub listed: Option<ListedTool>,
}

/// What is known of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct McpState {
    pub tools: Vec<PinnedTool>,
    /// When its tools were last listed, or tried to be.
    pub checked_unix_ms: Option<u64>,
    /// Why they could not be listed.
    pub error: Option<String>,
    /// What it calls itself.
    pub server: Option<String>,
    pub protocol: Option<String>,
    /// The scopes that its last refused call lacked, until a person authorizes it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_scopes: Vec<String>,
}

/// What one reading of a server's tools brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpListing {
    pub tools: Vec<ListedTool>,
    pub server: String,
    pub protocol: String,
}

/// Headers with which a tool is called, opened.
pub type SecretHeaders = Vec<(String, Arc<Secret>)>;

/// A tool of a project, ready to be called.
#[derive(Debug, Clone)]
pub struct DeclaredTool {
    pub id: ToolId,
    pub name: String,
    pub definition: ToolDefinition,
    pub headers: SecretHeaders,
}

/// An MCP server of a project, ready to be called.
#[derive(Debug, Clone)]
pub struct DeclaredServer {
    pub id: McpServerId,
    pub name: String,
    pub definition: McpDefinition,
    pub state: McpState,
    pub headers: SecretHeaders,
    /// What the project was granted at its authorization server.
    pub held: Option<HeldGrant>,
}

/// What a project declares, without what it switched off.
#[derive(Debug, Clone, Default)]
pub struct DeclaredTools {
    pub tools: Vec<DeclaredTool>,
    pub servers: Vec<DeclaredServer>,
}

crate::words! {
    /// How a call of a tool ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum CallOutcome {
        Answered = "answered",
        /// The tool itself reports that it failed.
        Failed = "failed",
        Timeout = "timeout",
        /// Its server could not be reached, or did not answer as its protocol says.
        Unreachable = "unreachable",
        /// The address guard refuses its address, or it redirects.
        Refused = "refused",
        /// The arguments are not what the tool takes.
        BadArguments = "bad_arguments",
        /// The client did not approve it.
        NotApproved = "not_approved",
    }
}

/// One call of a tool, without what it was given and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCallRecord {
    pub owner: ObjectOwner,
    /// The client's request.
    pub request: TraceId,
    /// The model's step that called it, from 1.
    pub step: u32,
    /// Its place among the calls of the request, from 0.
    pub place: u32,
    pub name: String,
    /// The id of the tool or of its MCP server; empty for a server that the request names.
    pub declared: String,
    pub started_unix_ms: u64,
    pub duration_ms: u64,
    pub outcome: CallOutcome,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub is_truncated: bool,
}

/// The tools of projects, as requests read them.
pub trait ToolStore: Send + Sync {
    /// `None` where the store can't be read.
    fn declared(&self, owner: ObjectOwner) -> PortFuture<'static, Option<DeclaredTools>>;
    /// Compares what a server lists with what is pinned; returns the state from now on. A failure is kept as such.
    fn note_listing(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        listing: Result<McpListing, String>,
    ) -> PortFuture<'static, Option<McpState>>;
    /// Keeps which scopes a call of a server lacked.
    fn note_wanted_scopes(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        scopes: Vec<String>,
    ) -> PortFuture<'static, ()>;
    /// The app of a project with a name, with its secrets: as it is, or as one of its versions was.
    fn app(&self, owner: ObjectOwner, name: String, version: Option<u64>) -> PortFuture<'static, FoundApp>;
    /// The apps that a project declares; `None` where the store can't be read.
    fn apps(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<DeclaredApp>>>;
    /// What a project was granted at the authorization server of an MCP server, as it is now. `None` where there is nothing, or
    /// the store can't be read.
    fn held_grant(&self, owner: ObjectOwner, server: McpServerId) -> PortFuture<'static, Option<HeldGrant>>;
    /// Claims the renewal of a grant for a while. `false` where another process has it, or had.
    fn claim_renewal(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        version: u64,
    ) -> PortFuture<'static, bool>;
    /// Keeps what became of a renewal that was claimed at `version`; returns what is held from now on.
    fn keep_renewal(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        version: u64,
        renewal: Renewal,
    ) -> PortFuture<'static, Option<HeldGrant>>;
    /// Nothing waits for it.
    fn record(&self, calls: Vec<ToolCallRecord>);
}

/// No tools: where nobody declares any.
#[derive(Debug, Clone, Copy)]
pub struct NoTools;

impl ToolStore for NoTools {
    fn declared(&self, _owner: ObjectOwner) -> PortFuture<'static, Option<DeclaredTools>> {
        Box::pin(async { Some(DeclaredTools::default()) })
    }

    fn note_listing(
        &self,
        _owner: ObjectOwner,
        _server: McpServerId,
        _listing: Result<McpListing, String>,
    ) -> PortFuture<'static, Option<McpState>> {
        Box::pin(async { None })
    }

    fn note_wanted_scopes(
        &self,
        _owner: ObjectOwner,
        _server: McpServerId,
        _scopes: Vec<String>,
    ) -> PortFuture<'static, ()> {
        Box::pin(async {})
    }

    fn app(
        &self,
        _owner: ObjectOwner,
        _name: String,
        _version: Option<u64>,
    ) -> PortFuture<'static, FoundApp> {
        Box::pin(async { FoundApp::Unknown })
    }

    fn apps(&self, _owner: ObjectOwner) -> PortFuture<'static, Option<Vec<DeclaredApp>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn held_grant(
        &self,
        _owner: ObjectOwner,
        _server: McpServerId,
    ) -> PortFuture<'static, Option<HeldGrant>> {
        Box::pin(async { None })
    }

    fn claim_renewal(
        &self,
        _owner: ObjectOwner,
        _server: McpServerId,
        _version: u64,
    ) -> PortFuture<'static, bool> {
        Box::pin(async { false })
    }

    fn keep_renewal(
        &self,
        _owner: ObjectOwner,
        _server: McpServerId,
        _version: u64,
        _renewal: Renewal,
    ) -> PortFuture<'static, Option<HeldGrant>> {
        Box::pin(async { None })
    }

    fn record(&self, _calls: Vec<ToolCallRecord>) {}
}
