//! Purges: whose content is to go, the places that may hold it, and what can be claimed once it is gone.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{ProjectId, TraceId, WorkspaceId, uuid_from};
use crate::ports::PortFuture;

/// Whose content is to be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeScope {
    pub workspace: WorkspaceId,
    pub what: Purged,
    /// Content of this request and of later ones stays.
    pub before: TraceId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purged {
    Everything,
    Project(ProjectId),
    Requests(Vec<TraceId>),
    /// Of requests from this one on, up to the scope's end.
    From(TraceId),
    /// A session, with all that it holds.
    Session(String),
    Artifacts(Vec<String>),
}

impl PurgeScope {
    /// Whatever its age.
    pub const fn of(workspace: WorkspaceId, what: Purged) -> Self {
        Self { workspace, what, before: TraceId::from_uuid(Uuid::max()) }
    }

    /// Whether content of a request is in it. Sessions and artifacts are known to their own places alone.
    pub fn covers(&self, workspace: WorkspaceId, project: ProjectId, request: TraceId) -> bool {
        let is_named = match &self.what {
            Purged::Everything => true,
            Purged::Project(own) => *own == project,
            Purged::Requests(requests) => requests.contains(&request),
            Purged::From(first) => *first <= request,
            Purged::Session(_) | Purged::Artifacts(_) => false,
        };
        is_named && self.workspace == workspace && request < self.before
    }
}

/// The lowest id that a request of this time can have.
pub fn first_request_at(unix_ms: u64) -> TraceId {
    TraceId::from_uuid(uuid_from(unix_ms, [0; 10]))
}

crate::words! {
    /// What can be claimed of content that was purged, the weakest first.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Guarantee {
        /// It goes when its holder lets it expire.
        BestEffortExpiry = "best_effort_expiry",
        /// It can't be reached any more, which was tried.
        VerifiedNamespaceInvalidation = "verified_namespace_invalidation",
        /// Its bytes are overwritten or freed, and it was looked for again.
        VerifiedPhysicalPurge = "verified_physical_purge",
    }
}

crate::words! {
    /// A place that may hold content of requests, or names of such content.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Place {
        /// Answers under idempotency keys, and those of the response cache that replicas share.
        IdempotentAnswers = "idempotent_answers",
        /// Turns with tool calls, and answers of `/v1/responses` and `/v2/responses`.
        KeptTurns = "kept_turns",
        /// Sessions and artifacts of agents.
        AgentState = "agent_state",
        /// Batches that the gateway works through itself.
        Batches = "batches",
        /// Tasks: runs of apps.
        Tasks = "tasks",
        /// Runs of flows, with what their steps made.
        FlowRuns = "flow_runs",
        /// Archives of data exports.
        DataExports = "data_exports",
        /// Requests with their answers, where a project keeps them.
        RequestContents = "request_contents",
        /// Files of projects, in object storage.
        Files = "files",
        /// The response cache in this process's memory.
        ResponseCache = "response_cache",
        /// Prompts that are held to keep a provider's cache alive.
        HeldPrompts = "held_prompts",
        /// Files, batches, videos and cached prompts at providers, and their names here.
        ProviderObjects = "provider_objects",
        /// Responses that providers store, and their names here.
        ProviderResponses = "provider_responses",
        /// Providers that were sent requests.
        Providers = "providers",
        /// The caches of nodes.
        NodeCaches = "node_caches",
    }
}

impl Place {
    /// What it holds, in a sentence for a receipt.
    pub const fn holds(self) -> &'static str {
        match self {
            Self::IdempotentAnswers => {
                "Answers under idempotency keys and of the response cache, sealed in the database."
            }
            Self::KeptTurns => {
                "Turns with tool calls and answers of /v1/responses and /v2/responses, sealed in the database."
            }
            Self::AgentState => "Sessions with their events, artifacts and bundles, sealed in the database.",
            Self::Batches => {
                "Requests and results of batches that the gateway works through, sealed in the database."
            }
            Self::Tasks => "Inputs and outputs of tasks, sealed in the database.",
            Self::FlowRuns => "Inputs and outputs of flows and of their steps, sealed in the database.",
            Self::DataExports => "Archives of data exports, sealed in the database.",
            Self::RequestContents => {
                "Requests with their answers, as retention profiles keep them, sealed in the database."
            }
            Self::Files => {
                "Files of projects, sealed in object storage; their keys and names, sealed in the database."
            }
            Self::ResponseCache => "Answers of the response cache in the memory of gateways.",
            Self::HeldPrompts => "Prompts held in the memory of gateways to keep a provider's cache alive.",
            Self::ProviderObjects => "Files, batches, videos and cached prompts at providers.",
            Self::ProviderResponses => "Responses that providers store.",
            Self::Providers => "What providers retain of the requests that they were sent.",
            Self::NodeCaches => "Key-value and prefix caches of nodes.",
        }
    }

    /// Whether it is rows of our database.
    pub const fn is_in_database(self) -> bool {
        matches!(
            self,
            Self::IdempotentAnswers
                | Self::KeptTurns
                | Self::AgentState
                | Self::Batches
                | Self::Tasks
                | Self::FlowRuns
                | Self::DataExports
                | Self::RequestContents
                | Self::Files
        )
    }

    /// Whether other gateways of the same database may hold some of it in memory.
    pub const fn is_in_memory(self) -> bool {
        matches!(self, Self::KeptTurns | Self::ResponseCache | Self::HeldPrompts)
    }
}

/// What a processor has of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// `tidegate`, a provider, or a node.
    pub processor: String,
    /// For example `file`; empty where a place holds one kind of thing.
    pub kind: String,
    pub items: u64,
}

impl Holding {
    pub fn is_of(&self, other: &Self) -> bool {
        self.processor == other.processor && self.kind == other.kind
    }
}

/// What a processor has after a purge, and what can be claimed of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub holding: Holding,
    pub claim: Claim,
}

/// What can be claimed of a processor once it was purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub guarantee: Guarantee,
    pub evidence: String,
    /// Nothing can be done but wait until it expires.
    pub expires: bool,
    /// How long that takes at most, if that is known.
    pub days: Option<u64>,
}

impl Claim {
    pub fn verified(guarantee: Guarantee, evidence: impl Into<String>) -> Self {
        Self { guarantee, evidence: evidence.into(), expires: false, days: None }
    }

    pub fn expiry(evidence: impl Into<String>, days: Option<u64>) -> Self {
        Self { guarantee: Guarantee::BestEffortExpiry, evidence: evidence.into(), expires: true, days }
    }
}

/// Why content could not be removed or counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PurgeError(pub String);

/// The name of this installation as a processor.
pub const OURSELVES: &str = "tidegate";

/// A place that can be purged.
pub trait Purgeable: Send + Sync {
    fn place(&self) -> Place;
    /// Removes the content; returns how many items there were.
    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>>;
    /// How many items are left.
    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>>;

    /// The same, by processor.
    fn survey(&self, scope: PurgeScope) -> PortFuture<'_, Result<Vec<Holding>, PurgeError>> {
        Box::pin(async move {
            let items = self.remaining(scope).await?;
            Ok(vec![Holding { processor: OURSELVES.to_owned(), kind: String::new(), items }])
        })
    }

    /// What can be claimed of a processor of the survey.
    fn claim(&self, _processor: &str, _kind: &str) -> Claim {
        Claim::verified(Guarantee::VerifiedPhysicalPurge, "It was removed from memory, and looked for again.")
    }

    /// Looks again after a purge, at each of those that had something `before`, and at others.
    fn probe(
        &self,
        scope: PurgeScope,
        before: Vec<Holding>,
    ) -> PortFuture<'_, Result<Vec<Probed>, PurgeError>> {
        Box::pin(async move {
            let mut left = self.survey(scope).await?;
            for gone in before {
                if !left.iter().any(|one| one.is_of(&gone)) {
                    left.push(Holding { items: 0, ..gone });
                }
            }
            let probed = left.into_iter().map(|holding| {
                let claim = self.claim(&holding.processor, &holding.kind);
                Probed { holding, claim }
            });
            Ok(probed.collect())
        })
    }

    /// Whether it has what the scope names: for places of sessions and of artifacts. A purge of what no place knows is
    /// refused.
    fn knows(&self, _scope: PurgeScope) -> PortFuture<'_, Result<bool, PurgeError>> {
        Box::pin(async { Ok(false) })
    }
}

/// What a gateway remembers of content that it could read again.
pub trait Remembers: Send + Sync {
    /// Forgets it, of one project or of the whole workspace: some of it may be purged by another gateway.
    fn forget_remembered(&self, workspace: WorkspaceId, project: Option<ProjectId>);
}
