//! The tools of projects for the cores that serve requests: read from the store, with their headers opened.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::STORE_CLOSING_TIME_MAX;
use domain::ports::PortFuture;
use domain::tools::{McpListing, McpState, PinState};
use domain::{
    DeclaredServer, DeclaredTool, DeclaredTools, EventId, McpServerId, ObjectOwner, ToolCallRecord, ToolStore,
};
use store::{EventKind, EventRow, Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::time::{sleep, timeout};
use vault::Vault;
use world::World;

use crate::limits::{CALLS_KEPT, NAME_BYTES_MAX, READ_TIME_MAX};
use crate::pins::reconciled;
use crate::rows::{ServerKind, ToolKind};
use crate::sql::Declared;

const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Reads tools, and writes what was called.
pub struct ToolBox {
    inner: Arc<Inner>,
    /// The runtime that uses the store: serving cores wait for its result and never do its work.
    tasks: RuntimeTasks,
    forgetting: Task,
}

struct Inner {
    declared: Declared,
    store: Store,
    vault: Vault,
    world: World,
}

impl ToolBox {
    /// Must be called on the runtime that is to use the store.
    #[must_use]
    pub fn start(store: &Store, vault: Vault, world: World) -> Arc<Self> {
        let inner = Arc::new(Inner { declared: Declared::of(store), store: store.clone(), vault, world });
        let forgets = Arc::clone(&inner);
        let forgetting = Task::spawn("ends of tool calls", async move {
            loop {
                sleep(FORGET_EVERY).await;
                let kept_ms = u64::try_from(CALLS_KEPT.as_millis()).unwrap_or(u64::MAX);
                let before = forgets.world.clock.unix_ms().saturating_sub(kept_ms);
                report(
                    "old calls of tools could not be forgotten",
                    forgets.declared.forget_calls(before).await,
                );
            }
        });
        Arc::new(Self { inner, tasks: RuntimeTasks::on_this_runtime("tools"), forgetting })
    }

    /// Returns when what waits is written.
    pub async fn stop(&self) {
        self.forgetting.stop();
        self.tasks.finish(STORE_CLOSING_TIME_MAX).await;
    }
}

fn report<T>(what: &'static str, result: Result<T, StoreError>) -> Option<T> {
    result.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "{what}")).ok()
}

impl Inner {
    async fn read(&self, owner: ObjectOwner) -> Option<DeclaredTools> {
        let what = "the tools of a project could not be read";
        let tools = report(what, self.declared.enabled::<ToolKind>(owner).await)?;
        let servers = report(what, self.declared.enabled::<ServerKind>(owner).await)?;
        // What does not open is not offered: its calls would be refused.
        let tools = tools.into_iter().filter_map(|row| {
            let headers = row.headers(&self.vault)?;
            Some(DeclaredTool { id: row.id, name: row.name, definition: row.definition, headers })
        });
        let servers = servers.into_iter().filter_map(|row| {
            let headers = row.headers(&self.vault)?;
            let (definition, state) = (row.definition, row.state);
            Some(DeclaredServer { id: row.id, name: row.name, definition, state, headers })
        });
        Some(DeclaredTools { tools: tools.collect(), servers: servers.collect() })
    }
}

/// Compares what a server lists with what is pinned, and keeps that; tells of what is held back. `None` where the server is
/// not the project's any more.
///
/// # Errors
/// Of the database.
pub async fn note_listing(
    store: &Store,
    world: &World,
    (owner, id): (ObjectOwner, McpServerId),
    listing: Result<McpListing, String>,
) -> Result<Option<McpState>, StoreError> {
    let declared = Declared::of(store);
    let row = declared.get::<ServerKind>(owner.workspace, id).await?;
    if row.owner != owner {
        return Ok(None);
    }
    let now_unix_ms = world.clock.unix_ms();
    let mut state = McpState { checked_unix_ms: Some(now_unix_ms), ..row.state };
    let changes = match listing {
        Err(error) => {
            state.error = Some(error);
            Vec::new()
        }
        Ok(listing) => {
            let (pins, changes) = reconciled(&state, listing.tools);
            (state.tools, state.error) = (pins, None);
            (state.server, state.protocol) = (Some(listing.server), Some(listing.protocol));
            changes
        }
    };
    declared.note_state(owner, id, state.clone()).await?;
    if !changes.is_empty() {
        let event_id = EventId::new(now_unix_ms, world.id_bytes());
        store.events().emit(event(owner, (id, &row.name), (event_id, now_unix_ms), &changes)).await?;
    }
    Ok(Some(state))
}

/// What a workspace is told of tools that are held back. Their names come from the server: no more of it is told.
fn event(
    owner: ObjectOwner,
    (id, name): (McpServerId, &str),
    (event, unix_ms): (EventId, u64),
    changes: &[(String, PinState)],
) -> EventRow {
    let tools = changes.iter().map(|(tool, state)| {
        let tool: String = tool.chars().take(NAME_BYTES_MAX).collect();
        serde_json::json!({"name": tool, "status": state.as_str()})
    });
    let payload = serde_json::json!({
        "mcp_server_id": id.to_string(), "project_id": owner.project.to_string(), "name": name,
        "tools": tools.collect::<Vec<_>>(),
    });
    EventRow {
        id: event,
        workspace: owner.workspace,
        kind: EventKind::McpToolsChanged,
        payload,
        created_unix_ms: unix_ms,
    }
}

impl ToolStore for ToolBox {
    fn declared(&self, owner: ObjectOwner) -> PortFuture<'static, Option<DeclaredTools>> {
        let inner = Arc::clone(&self.inner);
        let reading = self.tasks.run(async move { inner.read(owner).await });
        Box::pin(async move { timeout(READ_TIME_MAX, reading).await.ok()?.ok()? })
    }

    fn note_listing(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        listing: Result<McpListing, String>,
    ) -> PortFuture<'static, Option<McpState>> {
        let inner = Arc::clone(&self.inner);
        let noting = self.tasks.run(async move {
            let noted = note_listing(&inner.store, &inner.world, (owner, server), listing).await;
            report("what an MCP server lists could not be kept", noted)?
        });
        Box::pin(async move { timeout(READ_TIME_MAX, noting).await.ok()?.ok()? })
    }

    fn record(&self, calls: Vec<ToolCallRecord>) {
        let inner = Arc::clone(&self.inner);
        drop(self.tasks.run(async move {
            report("calls of tools could not be recorded", inner.declared.record(calls).await);
        }));
    }
}
