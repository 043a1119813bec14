//! What a run of an app that is no model would do: whom it would call, with which secrets, and what it lacks.

use domain::Fault;

/// What a run lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmetNeed {
    pub kind: NeedKind,
    /// The secret, the provider or the scope.
    pub key: String,
    /// How it is added.
    pub message: String,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum NeedKind {
        Integration = "integration",
        Secret = "secret",
        Scope = "scope",
    }
}

/// A secret that a call would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSecret {
    /// Of a named secret; those of tools have none.
    pub name: Option<String>,
    pub header: String,
    pub state: SecretState,
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SecretState {
        There = "there",
        Missing = "missing",
        /// It exists, but may not be sent to this host.
        OtherHost = "other_host",
    }
}

domain::words! {
    /// Who is called.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum CalleeKind {
        Server = "server",
        McpServer = "mcp_server",
        Model = "model",
        Agent = "agent",
        Flow = "flow",
        /// An app that a step of a flow names and that this plan does not follow.
        App = "app",
        Hook = "hook",
        /// The client executes it.
        Client = "client",
    }
}

/// A call that a run would or may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCall {
    pub kind: CalleeKind,
    /// By which the app names it.
    pub name: String,
    /// The step of a flow that makes it.
    pub step: Option<String>,
    pub method: Option<String>,
    /// `None` of a model, an agent and a flow, which have plans of their own, and where an expression makes the address.
    pub host: Option<String>,
    pub secrets: Vec<PlannedSecret>,
    pub needs_approval: bool,
    /// The project has what is named.
    pub is_there: bool,
}

impl PlannedCall {
    pub fn new(kind: CalleeKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            step: None,
            method: None,
            host: None,
            secrets: Vec::new(),
            needs_approval: false,
            is_there: true,
        }
    }
}

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct AppPlan {
    pub name: String,
    /// `app`, `tool`, `agent` or `flow`.
    pub category: &'static str,
    /// Which of its versions would run; 0 of a tool, which has none.
    pub version: u64,
    pub calls: Vec<PlannedCall>,
    /// The model of an agent.
    pub model: Option<String>,
    /// The most that a run may cost, in nano-USD: nothing where it calls servers alone, the budget of a flow that has one.
    pub nanos_max: Option<i64>,
    pub missing: Vec<UnmetNeed>,
    /// Why the run would be refused.
    pub fault: Option<Box<Fault>>,
}
