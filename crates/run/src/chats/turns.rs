//! Turns of stored agents for protocols with a form of their own for them.

use admit::Caller;
use agents::{Definition, Turn};
use domain::ports::SessionFailure;
use domain::{Fault, FoundTask, ObjectOwner, RunTask, SessionId, TaskId};
use line::Core;
use runs::{TaskRequest, TaskResult};

use super::chat_of;
use super::starting;
use crate::kept_content::store_away;

/// What the apps of tasks begin with that are turns of stored agents; an agent's reference follows.
pub const AGENT_APP: &str = "agent:";

/// An agent that a project stores, in one of its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedAgent {
    pub name: String,
    pub version: u64,
    pub definition: Definition,
}

/// A turn: its task, and what the session of its chat has of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRecord {
    pub task: RunTask,
    pub chat: SessionId,
    pub request: Option<TaskRequest>,
    pub result: Option<TaskResult>,
    /// `None` before it begins, and where its session is not stored any more.
    pub turn: Option<Turn>,
}

/// The agent that a reference names: `NAME`, or `NAME@VERSION`.
///
/// # Errors
/// There is none, or it can't be read now.
pub async fn named_agent(core: &Core, caller: &Caller, reference: &str) -> Result<NamedAgent, Box<Fault>> {
    let (agent, definition) = starting::named(core, caller, reference).await?;
    let version = agent.version.ok_or_else(|| Box::new(Fault::internal()))?;
    Ok(NamedAgent { name: agent.name, version, definition })
}

/// A turn of an agent, in whatever version; `None` where the project has none under this id.
///
/// # Errors
/// It can't be read now.
pub async fn agent_turn(
    core: &Core,
    owner: ObjectOwner,
    agent: &str,
    id: TaskId,
) -> Result<Option<TurnRecord>, Box<Fault>> {
    // The task first: of a turn that ends in between, the session then has the end.
    let (task, contents) = match core.tasks.find(owner, id).await {
        FoundTask::Known(known) => *known,
        FoundTask::Unknown => return Ok(None),
        FoundTask::StoreUnavailable => return Err(store_away()),
    };
    let Some(chat) = task.chat.filter(|_| agent_of(&task.app) == Some(agent)) else { return Ok(None) };
    let turn = match core.sessions.history(owner, chat, None).await {
        Ok((_, events)) => chat_of(&events).turn(id).cloned(),
        Err(SessionFailure::StoreUnavailable) => return Err(store_away()),
        Err(_) => None,
    };
    let (request, result) = (TaskRequest::read(&contents), TaskResult::read(&contents));
    Ok(Some(TurnRecord { task, chat, request, result, turn }))
}

/// The name of the agent whose turn a task is; `None` of other tasks, and of runs of agents as apps.
pub fn agent_of(app: &str) -> Option<&str> {
    let reference = app.strip_prefix(AGENT_APP)?;
    Some(reference.split_once('@').map_or(reference, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_of_an_agent_whatever_its_version() {
        for (app, agent) in [
            ("agent:helper@3", Some("helper")),
            ("agent:helper", Some("helper")),
            ("agents/helper", None),
            ("openai/gpt", None),
        ] {
            assert_eq!(agent_of(app), agent, "{app}");
        }
    }
}
