//! Agents that projects define, as requests read them.

use bytes::Bytes;

use crate::ids::AgentId;
use crate::ports::PortFuture;
use crate::stored_object::ObjectOwner;

/// One version of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAgent {
    pub id: AgentId,
    pub name: String,
    pub version: u64,
    /// The definition, as JSON.
    pub definition: Bytes,
}

/// The result of looking up an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundAgent {
    Known(Box<StoredAgent>),
    Unknown,
    StoreUnavailable,
}

/// Knows the agents of projects.
pub trait AgentStore: Send + Sync {
    /// The agent of a project with a name: one of its versions, or the newest.
    fn find(&self, owner: ObjectOwner, name: String, version: Option<u64>)
    -> PortFuture<'static, FoundAgent>;
    /// The newest version of each agent of a project, by name; `None` if the store does not answer.
    fn all(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<StoredAgent>>>;
}

/// No agents: where nobody defines any.
#[derive(Debug, Clone, Copy)]
pub struct NoAgents;

impl AgentStore for NoAgents {
    fn find(
        &self,
        _owner: ObjectOwner,
        _name: String,
        _version: Option<u64>,
    ) -> PortFuture<'static, FoundAgent> {
        Box::pin(async { FoundAgent::Unknown })
    }

    fn all(&self, _owner: ObjectOwner) -> PortFuture<'static, Option<Vec<StoredAgent>>> {
        Box::pin(async { Some(Vec::new()) })
    }
}
