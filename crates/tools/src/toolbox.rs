//! The tools of projects for the cores that serve requests: read from the store, with their headers opened.

use std::sync::Arc;
use std::time::Duration;

use domain::app::host_of;
use domain::grants::{HeldGrant, Renewal};
use domain::limits::STORE_CLOSING_TIME_MAX;
use domain::ports::PortFuture;
use domain::tools::{McpListing, McpState, PinState};
use domain::{
    DeclaredApp, DeclaredTool, DeclaredTools, EventId, FoundApp, McpServerId, MissingSecret, ObjectOwner,
    ReadyApp, Secret, ToolCallRecord, ToolStore, TraceId,
};
use store::{EventKind, EventRow, Store, StoreError};
use tasks::{RuntimeTasks, Task};
use tokio::time::{sleep, timeout};
use vault::Vault;
use world::World;

use crate::authorization::{GrantRow, Grants};
use crate::limits::{CALLS_KEPT, NAME_BYTES_MAX, READ_TIME_MAX, RENEWAL_CLAIM};
use crate::pins::reconciled;
use crate::rows::{AppKind, SecretKind, SecretRow, ServerKind, ToolKind};
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
    grants: Grants,
    store: Store,
    vault: Vault,
    world: World,
}

impl ToolBox {
    /// Must be called on the runtime that is to use the store.
    pub fn start(store: &Store, vault: Vault, world: World) -> Arc<Self> {
        let (declared, grants) = (Declared::of(store), Grants::of(store));
        let inner = Arc::new(Inner { declared, grants, store: store.clone(), vault, world });
        let forgets = Arc::clone(&inner);
        let forgetting = Task::spawn("ends of tool calls", async move {
            loop {
                sleep(FORGET_EVERY).await;
                let kept_ms = u64::try_from(CALLS_KEPT.as_millis()).unwrap_or(u64::MAX);
                let before = forgets.world.clock.unix_ms().saturating_sub(kept_ms);
                report("old tool calls could not be deleted", forgets.declared.forget_calls(before).await);
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
        let mut grants = Vec::new();
        if servers.iter().any(|row| row.definition.oauth.is_some())
            && let (Some(first), Some(last)) = (servers.first(), servers.last())
        {
            let range = (first.id, last.id);
            grants = report(what, self.grants.between(owner.workspace, range).await)?;
        }
        let servers = servers.into_iter().filter_map(|row| {
            let grant = grants.iter().find(|grant| grant.server == row.id);
            row.declared(&self.vault, grant)
        });
        Some(DeclaredTools { tools: tools.collect(), servers: servers.collect() })
    }

    async fn app(
        &self,
        owner: ObjectOwner,
        name: String,
        version: Option<u64>,
    ) -> Result<FoundApp, StoreError> {
        let row = self.declared.named::<AppKind>(owner, name).await?.filter(|row| row.is_enabled);
        let Some(row) = row else { return Ok(FoundApp::Unknown) };
        let mut app = DeclaredApp::from(row);
        if let Some(number) = version.filter(|number| *number != app.version) {
            let Some(found) = self.declared.app_version(owner.workspace, app.id, number).await? else {
                return Ok(FoundApp::Unknown);
            };
            (app.version, app.definition) = (number, found.definition);
        }
        let host = host_of(&app.definition.http.url);
        let (mut headers, mut missing) = (Vec::new(), Vec::new());
        for wanted in &app.definition.secrets {
            let found = self.declared.named::<SecretKind>(owner, wanted.name.clone()).await?;
            let may_be_sent =
                |row: &SecretRow| row.definition.hosts.iter().any(|allowed| Some(allowed) == host.as_ref());
            let is_of_other_host = found.as_ref().is_some_and(|row| !may_be_sent(row));
            let opened = found.filter(may_be_sent).and_then(|row| row.headers(&self.vault)?.pop());
            let value = opened.and_then(|(_, secret)| secret.expose_text().map(str::to_owned));
            match value {
                Some(value) => {
                    let value = Secret::from_text(format!("{}{value}", wanted.prefix));
                    headers.push((wanted.header.clone(), Arc::new(value)));
                }
                None => missing.push(MissingSecret { name: wanted.name.clone(), is_of_other_host }),
            }
        }
        Ok(FoundApp::Known(Box::new(ReadyApp { app, headers, missing })))
    }

    async fn held(&self, owner: ObjectOwner, server: McpServerId) -> Option<HeldGrant> {
        let row = report("a grant could not be read", self.grants.find(server).await)??;
        (row.owner == owner).then(|| row.open(&self.vault))
    }

    async fn claim(&self, server: McpServerId, version: u64) -> bool {
        let now_unix_ms = self.world.clock.unix_ms();
        let claim_ms = u64::try_from(RENEWAL_CLAIM.as_millis()).unwrap_or(u64::MAX);
        let until = (now_unix_ms, now_unix_ms.saturating_add(claim_ms));
        let claimed = self.grants.claim(server, version, until).await;
        report("the renewal of a grant could not be claimed", claimed).unwrap_or(false)
    }

    async fn keep(&self, owner: ObjectOwner, server: McpServerId, version: u64, renewal: Renewal) {
        let what = "a renewed grant could not be stored";
        let is_refused = match renewal {
            Renewal::Renewed(grant) => {
                let trace = TraceId::new(self.world.clock.unix_ms(), self.world.id_bytes());
                match GrantRow::seal(&self.vault, (owner, server), trace, &grant) {
                    Ok(row) => {
                        report(what, self.grants.renew(row, version).await);
                    }
                    Err(error) => tracing::error!(workspace = %owner.workspace, %error, "{what}"),
                }
                return;
            }
            Renewal::Refused => true,
            Renewal::NotMade => false,
        };
        report(what, self.grants.release(server, version, is_refused).await);
    }
}

/// Compares what a server lists with what is pinned, and keeps that; tells of what is held back. `None` where the server is
/// not the project's any more.
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

/// Keeps which scopes a call of a server lacked; none once a person authorized it again.
pub async fn note_wanted_scopes(
    store: &Store,
    (owner, id): (ObjectOwner, McpServerId),
    scopes: Vec<String>,
) -> Result<(), StoreError> {
    let declared = Declared::of(store);
    let row = declared.get::<ServerKind>(owner.workspace, id).await?;
    if row.owner != owner || row.state.wanted_scopes == scopes {
        return Ok(());
    }
    declared.note_state(owner, id, McpState { wanted_scopes: scopes, ..row.state }).await
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
            report("the tools that an MCP server lists could not be stored", noted)?
        });
        Box::pin(async move { timeout(READ_TIME_MAX, noting).await.ok()?.ok()? })
    }

    fn note_wanted_scopes(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        scopes: Vec<String>,
    ) -> PortFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        let noting = self.tasks.run(async move {
            let noted = note_wanted_scopes(&inner.store, (owner, server), scopes).await;
            report("the scopes that a call of an MCP server lacked could not be stored", noted);
        });
        Box::pin(async move { drop(timeout(READ_TIME_MAX, noting).await) })
    }

    fn app(&self, owner: ObjectOwner, name: String, version: Option<u64>) -> PortFuture<'static, FoundApp> {
        let inner = Arc::clone(&self.inner);
        let reading = self
            .tasks
            .run(async move { report("an app could not be read", inner.app(owner, name, version).await) });
        Box::pin(async move {
            let found = timeout(READ_TIME_MAX, reading).await.ok().and_then(Result::ok).flatten();
            found.unwrap_or(FoundApp::StoreUnavailable)
        })
    }

    fn apps(&self, owner: ObjectOwner) -> PortFuture<'static, Option<Vec<DeclaredApp>>> {
        let inner = Arc::clone(&self.inner);
        let reading = self.tasks.run(async move {
            let rows = inner.declared.enabled::<AppKind>(owner).await;
            let rows = report("the apps of a project could not be read", rows)?;
            Some(rows.into_iter().map(DeclaredApp::from).collect())
        });
        Box::pin(async move { timeout(READ_TIME_MAX, reading).await.ok()?.ok()? })
    }

    fn held_grant(&self, owner: ObjectOwner, server: McpServerId) -> PortFuture<'static, Option<HeldGrant>> {
        let inner = Arc::clone(&self.inner);
        let reading = self.tasks.run(async move { inner.held(owner, server).await });
        Box::pin(async move { timeout(READ_TIME_MAX, reading).await.ok()?.ok()? })
    }

    fn claim_renewal(
        &self,
        _owner: ObjectOwner,
        server: McpServerId,
        version: u64,
    ) -> PortFuture<'static, bool> {
        let inner = Arc::clone(&self.inner);
        let claiming = self.tasks.run(async move { inner.claim(server, version).await });
        Box::pin(async move { matches!(timeout(READ_TIME_MAX, claiming).await, Ok(Ok(true))) })
    }

    fn keep_renewal(
        &self,
        owner: ObjectOwner,
        server: McpServerId,
        version: u64,
        renewal: Renewal,
    ) -> PortFuture<'static, Option<HeldGrant>> {
        let inner = Arc::clone(&self.inner);
        let keeping = self.tasks.run(async move {
            inner.keep(owner, server, version, renewal).await;
            inner.held(owner, server).await
        });
        Box::pin(async move { timeout(READ_TIME_MAX, keeping).await.ok()?.ok()? })
    }

    fn record(&self, calls: Vec<ToolCallRecord>) {
        let inner = Arc::clone(&self.inner);
        drop(self.tasks.run(async move {
            report("calls of tools could not be recorded", inner.declared.record(calls).await);
        }));
    }
}
