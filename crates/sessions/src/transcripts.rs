//! What was said in sessions, for requests that continue them: events are opened, sealed and appended.

use std::collections::BTreeMap;

use domain::limits::BODY_BYTES_MAX;
use domain::ports::{HistoryEvent, SessionFailure, SessionHead, SessionWriter, WarmEvent, WarmSession};
use domain::{BranchId, ContentKind, ObjectOwner, SessionEventId, SessionId, TraceId, WorkspaceId};
use proof::Digest;
use store::{Act, Store, StoreError};
use transcripts::{
    Appended, EventContent, Expected, NewEvent, NewSession, SealedContent, SessionChange, SessionRow,
    SessionStatus,
};
use vault::{ContentRef, OpenError, Vault, VaultError};
use world::World;

use crate::limits::EVENTS_READ_ROWS;

/// Seals the content of one thing that agents keep, under its id, with what is told of the content.
pub fn seal_state(
    vault: &Vault,
    (owner, request): (ObjectOwner, TraceId),
    id: &[u8],
    content: &[u8],
) -> Result<(EventContent, SealedContent), VaultError> {
    let ObjectOwner { workspace, project } = owner;
    let digest = Digest::of(&[id]).0;
    let content_ref = ContentRef { kept: ContentKind::State, workspace, project, digest, request };
    let sealed = vault.sealer.seal_content(&content_ref, content)?;
    let hash = vault.requests.of_content(project, content);
    let about = EventContent { bytes: content.len() as u64, hash, digest };
    Ok((about, SealedContent { digest, project, request, sealed }))
}

/// Opens such content.
///
/// # Errors
/// It was changed, or its key is not here.
pub fn open_state(
    vault: &Vault,
    workspace: WorkspaceId,
    content: &SealedContent,
) -> Result<Vec<u8>, OpenError> {
    let SealedContent { digest, project, request, ref sealed } = *content;
    let content_ref = ContentRef { kept: ContentKind::State, workspace, project, digest, request };
    Ok(vault.opener.open_content(&content_ref, sealed)?.expose().to_vec())
}

#[derive(Clone)]
pub(crate) struct Transcripts {
    pub store: Store,
    pub vault: Vault,
    pub world: World,
}

fn failure(error: &StoreError) -> SessionFailure {
    match error {
        StoreError::NotFound { .. } => SessionFailure::Unknown,
        StoreError::Conflict { what: "legal_hold", .. } => SessionFailure::Held,
        StoreError::Conflict { .. } => SessionFailure::TooLong,
        error => {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "a session could not be read or written");
            SessionFailure::StoreUnavailable
        }
    }
}

impl Transcripts {
    async fn session(&self, owner: ObjectOwner, id: SessionId) -> Result<SessionRow, SessionFailure> {
        let now_unix_ms = self.world.clock.unix_ms();
        let row = self.store.sessions().get(owner.workspace, id, now_unix_ms).await;
        let row = row.map_err(|error| failure(&error))?;
        if row.project == owner.project { Ok(row) } else { Err(SessionFailure::Unknown) }
    }

    pub(crate) async fn head(
        &self,
        owner: ObjectOwner,
        id: SessionId,
    ) -> Result<SessionHead, SessionFailure> {
        let session = self.session(owner, id).await?;
        Ok(head_of(&session, session.default_branch))
    }

    pub(crate) async fn history(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        branch: Option<BranchId>,
    ) -> Result<(SessionHead, Vec<HistoryEvent>), SessionFailure> {
        let session = self.session(owner, id).await?;
        let sessions = self.store.sessions();
        let branch = branch.unwrap_or(session.default_branch);
        let branch = sessions.branch(owner.workspace, id, branch).await.map_err(|error| failure(&error))?;
        let (mut events, mut after, mut bytes) = (Vec::new(), 0, 0);
        loop {
            let rows =
                sessions.events_with_contents(owner.workspace, branch.clone(), after, EVENTS_READ_ROWS).await;
            let rows = rows.map_err(|error| failure(&error))?;
            let Some((last, _)) = rows.last() else { break };
            after = last.version;
            for (event, content) in rows {
                let Some(content) = content.and_then(|content| self.open_content(owner.workspace, &content))
                else {
                    continue;
                };
                bytes += content.len();
                if bytes > BODY_BYTES_MAX {
                    return Err(SessionFailure::TooLong);
                }
                events.push(HistoryEvent { id: event.id, kind: event.kind, content });
            }
        }
        Ok((head_of(&session, branch.id), events))
    }

    /// What is no JSON is a text.
    fn open_content(&self, workspace: WorkspaceId, content: &SealedContent) -> Option<String> {
        let opened = open_state(&self.vault, workspace, content).ok()?;
        let text = String::from_utf8_lossy(&opened).into_owned();
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        Some(if is_json { text } else { serde_json::Value::String(text).to_string() })
    }

    pub(crate) async fn append(
        &self,
        by: SessionWriter,
        (session, branch): (SessionId, BranchId),
        events: Vec<(String, String)>,
    ) -> Result<Vec<SessionEventId>, SessionFailure> {
        let now_unix_ms = self.world.clock.unix_ms();
        let made = |(kind, content): (String, String)| {
            let id = SessionEventId::new(now_unix_ms, self.world.id_bytes());
            let content =
                seal_state(&self.vault, (by.owner, by.request), id.as_bytes(), content.as_bytes()).ok()?;
            let content = Some(content);
            Some(NewEvent {
                id,
                kind,
                artifact: None,
                content,
                request: by.request,
                created_unix_ms: now_unix_ms,
            })
        };
        let events: Option<Vec<NewEvent>> = events.into_iter().map(made).collect();
        let events = events.ok_or(SessionFailure::StoreUnavailable)?;
        let ids = events.iter().map(|event| event.id).collect();
        // Its owner was asked for before.
        self.session(by.owner, session).await?;
        let sessions = self.store.sessions();
        let appended =
            sessions.append(by.owner.workspace, session, branch, Expected::default(), events).await;
        match appended.map_err(|error| failure(&error))? {
            Appended::Done(..) => Ok(ids),
            Appended::Conflict(_) | Appended::Archived => Err(SessionFailure::Archived),
        }
    }

    pub(crate) async fn open(
        &self,
        by: SessionWriter,
        name: &'static str,
        metadata: BTreeMap<String, String>,
    ) -> Result<SessionHead, SessionFailure> {
        let ids = (self.world.clock.unix_ms(), self.world.id_bytes(), self.world.id_bytes());
        let mut new = NewSession::of(by.owner.workspace, by.owner.project, ids);
        (new.session.name, new.session.metadata) = (name.to_owned(), metadata);
        let head = head_of(&new.session, new.branch.id);
        self.store.sessions().create(new, self.act(&by)).await.map_err(|error| failure(&error))?;
        Ok(head)
    }

    pub(crate) async fn open_warm(
        &self,
        by: SessionWriter,
        app: String,
        idle_ms: u64,
    ) -> Result<WarmSession, SessionFailure> {
        let ids = (self.world.clock.unix_ms(), self.world.id_bytes(), self.world.id_bytes());
        let new = NewSession::of(by.owner.workspace, by.owner.project, ids).warm(app, idle_ms);
        let warm = new.session.warm.clone().ok_or(SessionFailure::Unknown)?;
        self.store.sessions().create(new, self.act(&by)).await.map_err(|error| failure(&error))?;
        Ok(warm)
    }

    pub(crate) async fn warm(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        event: WarmEvent,
    ) -> Result<WarmSession, SessionFailure> {
        let now_unix_ms = self.world.clock.unix_ms();
        let row = self.store.sessions().warm(owner, id, event, now_unix_ms, None).await;
        row.map_err(|error| failure(&error))?.warm.ok_or(SessionFailure::Unknown)
    }

    pub(crate) async fn set_metadata(
        &self,
        by: SessionWriter,
        id: SessionId,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), SessionFailure> {
        let row = self.session(by.owner, id).await?;
        let change = SessionChange {
            name: row.name,
            end_user: row.end_user,
            metadata,
            status: row.status,
            default_branch: row.default_branch,
            ttl_ms: row.ttl_ms,
        };
        let act = self.act(&by);
        let changed = self.store.sessions().change(by.owner.workspace, id, change, None, act).await;
        changed.map(drop).map_err(|error| failure(&error))
    }

    pub(crate) async fn delete(&self, by: SessionWriter, id: SessionId) -> Result<(), SessionFailure> {
        self.session(by.owner, id).await?;
        let act = self.act(&by);
        self.store.sessions().delete(by.owner.workspace, id, None, act).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn event(
        &self,
        owner: ObjectOwner,
        id: SessionEventId,
    ) -> Result<HistoryEvent, SessionFailure> {
        let (sessions, now_unix_ms) = (self.store.sessions(), self.world.clock.unix_ms());
        let found = sessions.event(owner.workspace, owner.project, id, now_unix_ms).await;
        let (event, content) = found.map_err(|error| failure(&error))?;
        let content = content.and_then(|content| self.open_content(owner.workspace, &content));
        let content = content.ok_or(SessionFailure::Unknown)?;
        Ok(HistoryEvent { id: event.id, kind: event.kind, content })
    }

    pub(crate) async fn empty_event(
        &self,
        by: SessionWriter,
        id: SessionId,
        event: SessionEventId,
    ) -> Result<(), SessionFailure> {
        self.session(by.owner, id).await?;
        let (sessions, act) = (self.store.sessions(), self.act(&by));
        match sessions.empty_event(by.owner.workspace, id, event, act).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SessionFailure::OfArtifact),
            Err(error) => Err(failure(&error)),
        }
    }

    fn act(&self, by: &SessionWriter) -> Act {
        Act::new(&self.world, by.actor.clone(), Some(by.request))
    }
}

fn head_of(session: &SessionRow, branch: BranchId) -> SessionHead {
    SessionHead {
        session: session.id,
        branch,
        is_archived: session.status == SessionStatus::Archived,
        metadata: session.metadata.clone(),
        created_unix_ms: session.created_unix_ms,
    }
}
