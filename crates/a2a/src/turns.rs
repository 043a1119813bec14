//! The turns of an agent, listed and followed.

use std::rc::Rc;

use domain::{ObjectOwner, RunTask, SessionId, TaskId, TaskListQuery};
use line::{Core, TaskProgress};
use run::{AGENT_APP, TurnRecord, agent_of, agent_turn, named_agent};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::calls::Calls;
use crate::errors::RpcError;
use crate::limits::{POLL_EVERY, STORED_PAGE_TASKS, TURNS_LISTED_MAX, VERSIONS_LISTED_MAX};

/// What a follower of a turn learns.
#[derive(Debug)]
pub(crate) enum TurnUpdate {
    /// All of it, as often as it is read.
    Record(Box<TurnRecord>),
    /// New text of its answer.
    Text(String),
    /// It is not stored any more.
    Gone,
}

/// Follows one turn.
pub(crate) struct TurnFollower {
    core: Rc<Core>,
    owner: ObjectOwner,
    agent: String,
    id: TaskId,
    /// Known once it was read.
    chat: Option<SessionId>,
    live: Option<watch::Receiver<TaskProgress>>,
    text_bytes: usize,
    poll_at: Instant,
}

/// The tasks of the agent's turns in a chat, or in all chats: the newest ones, of its newest versions.
///
/// # Errors
/// They can't be read now.
pub(crate) async fn tasks(calls: &Calls<'_>, chat: Option<SessionId>) -> Result<Vec<RunTask>, RpcError> {
    let (core, owner, agent) = (calls.core, calls.caller.owner(), calls.agent.name.as_str());
    if let Some(chat) = chat {
        let of_chat = core.tasks.of_chat(owner, chat).await.ok_or_else(RpcError::store_away)?;
        let tasks = of_chat.into_iter().map(|(task, _)| task);
        let mut tasks: Vec<_> = tasks.filter(|task| agent_of(&task.app) == Some(agent)).collect();
        tasks.reverse();
        tasks.truncate(TURNS_LISTED_MAX);
        return Ok(tasks);
    }
    // The path may name an older version.
    let newest = named_agent(core, calls.caller, agent).await.map_err(|fault| RpcError::of_fault(&fault))?;
    let mut tasks = Vec::new();
    for version in (1..=newest.version).rev().take(VERSIONS_LISTED_MAX) {
        let app = format!("{AGENT_APP}{agent}@{version}");
        let mut after = None;
        while tasks.len() < TURNS_LISTED_MAX {
            let limit = u32::try_from(STORED_PAGE_TASKS).unwrap_or(u32::MAX);
            let query = TaskListQuery { owner, after, statuses: Vec::new(), app: Some(app.clone()), limit };
            let page = core.tasks.list(query).await.ok_or_else(RpcError::store_away)?;
            let is_last = page.len() < STORED_PAGE_TASKS;
            after = page.last().map(|(task, _)| task.id);
            tasks.extend(page.into_iter().map(|(task, _)| task).filter(|task| task.chat.is_some()));
            if is_last {
                break;
            }
        }
    }
    tasks.truncate(TURNS_LISTED_MAX);
    Ok(tasks)
}

impl TurnFollower {
    /// Of a turn that exists.
    pub(crate) fn new(calls: &Calls<'_>, id: TaskId) -> Self {
        Self {
            core: Rc::clone(calls.core),
            owner: calls.caller.owner(),
            agent: calls.agent.name.clone(),
            id,
            chat: None,
            live: None,
            text_bytes: 0,
            poll_at: Instant::now(),
        }
    }

    pub(crate) const fn id(&self) -> TaskId {
        self.id
    }

    /// The chat of the turn, once a record of it was read.
    pub(crate) const fn chat(&self) -> Option<SessionId> {
        self.chat
    }

    /// What is new, at least every few hundred milliseconds.
    pub(crate) async fn next(&mut self) -> TurnUpdate {
        loop {
            if let Some(text) = self.new_text() {
                return TurnUpdate::Text(text);
            }
            if Instant::now() >= self.poll_at {
                self.poll_at = Instant::now() + POLL_EVERY;
                match agent_turn(&self.core, self.owner, &self.agent, self.id).await {
                    Ok(Some(record)) => {
                        self.chat = Some(record.chat);
                        self.follow_live();
                        return TurnUpdate::Record(Box::new(record));
                    }
                    Ok(None) => return TurnUpdate::Gone,
                    // The store is away for a moment.
                    Err(_) => {}
                }
            }
            let Some(live) = &mut self.live else {
                sleep_until(self.poll_at).await;
                continue;
            };
            tokio::select! {
                changed = live.changed() => {
                    if changed.is_err() {
                        self.live = None;
                    }
                }
                () = sleep_until(self.poll_at) => {}
            }
        }
    }

    fn follow_live(&mut self) {
        if self.live.is_none() {
            self.live = self.core.live_tasks.follow(self.id);
            self.text_bytes = 0;
        }
    }

    fn new_text(&mut self) -> Option<String> {
        let live = self.live.as_mut()?;
        let progress = live.borrow_and_update();
        let new = progress.text.get(self.text_bytes..).unwrap_or_default().to_owned();
        self.text_bytes = progress.text.len();
        let has_ended = progress.has_ended;
        drop(progress);
        if has_ended {
            self.live = None;
            self.poll_at = Instant::now();
        }
        Some(new).filter(|new| !new.is_empty())
    }
}
