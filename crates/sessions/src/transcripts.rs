//! What was said in sessions, for requests that continue them: events are opened, sealed and appended.

use std::collections::BTreeMap;

use domain::limits::BODY_BYTES_MAX;
use domain::ports::{HistoryEvent, SessionFailure, SessionHistory, SessionWriter};
use domain::{BranchId, ContentKind, ObjectOwner, SessionEventId, SessionId, WorkspaceId};
use proof::Digest;
use store::{Act, Store, StoreError};
use transcripts::{
    Appended, BranchRow, EventContent, Expected, NewEvent, NewSession, SealedContent, SessionChange,
    SessionRow, SessionStatus,
};
use vault::{ContentRef, Vault};
use world::World;

use crate::limits::EVENTS_READ_ROWS;

/// The name of a session's first branch.
const FIRST_BRANCH: &str = "main";

#[derive(Clone)]
pub(crate) struct Transcripts {
    pub store: Store,
    pub vault: Vault,
    pub world: World,
}

fn failure(error: &StoreError) -> SessionFailure {
    match error {
        StoreError::NotFound { .. } => SessionFailure::Unknown,
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

    pub(crate) async fn history(
        &self,
        owner: ObjectOwner,
        id: SessionId,
        branch: Option<BranchId>,
    ) -> Result<SessionHistory, SessionFailure> {
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
                let Some(content) = content.and_then(|content| self.open_content(owner.workspace, content))
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
        Ok(history_of(&session, &branch, events))
    }

    /// What is no JSON is a text.
    fn open_content(&self, workspace: WorkspaceId, content: SealedContent) -> Option<String> {
        let SealedContent { digest, project, request, sealed } = content;
        let content_ref = ContentRef { kept: ContentKind::State, workspace, project, digest, request };
        let opened = self.vault.opener.open_content(&content_ref, &sealed).ok()?;
        let text = String::from_utf8_lossy(opened.expose()).into_owned();
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        Some(if is_json { text } else { serde_json::Value::String(text).to_string() })
    }

    fn seal(
        &self,
        by: &SessionWriter,
        id: SessionEventId,
        content: &str,
    ) -> Option<(EventContent, SealedContent)> {
        let ObjectOwner { workspace, project } = by.owner;
        let digest = Digest::of(&[id.as_bytes()]).0;
        let request = by.request;
        let content_ref = ContentRef { kept: ContentKind::State, workspace, project, digest, request };
        let sealed = self.vault.sealer.seal_content(&content_ref, content.as_bytes()).ok()?;
        let hash = self.vault.requests.of_content(project, content.as_bytes());
        let about = EventContent { bytes: content.len() as u64, hash, digest };
        Some((about, SealedContent { digest, project, request, sealed }))
    }

    pub(crate) async fn append(
        &self,
        by: SessionWriter,
        (session, branch): (SessionId, BranchId),
        events: Vec<(String, String)>,
    ) -> Result<(u64, Vec<SessionEventId>), SessionFailure> {
        let now_unix_ms = self.world.clock.unix_ms();
        let made = |(kind, content): (String, String)| {
            let id = SessionEventId::new(now_unix_ms, self.world.id_bytes());
            let content = Some(self.seal(&by, id, &content)?);
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
            Appended::Done(branch, _) => Ok((branch.version, ids)),
            Appended::Conflict(_) | Appended::Archived => Err(SessionFailure::Archived),
        }
    }

    pub(crate) async fn open(
        &self,
        by: SessionWriter,
        name: &'static str,
        metadata: BTreeMap<String, String>,
    ) -> Result<SessionHistory, SessionFailure> {
        let now_unix_ms = self.world.clock.unix_ms();
        let id = SessionId::new(now_unix_ms, self.world.id_bytes());
        let branch = BranchId::new(now_unix_ms, self.world.id_bytes());
        let session = SessionRow {
            id,
            workspace: by.owner.workspace,
            project: by.owner.project,
            name: name.to_owned(),
            end_user: None,
            metadata,
            bundles: Vec::new(),
            status: SessionStatus::Active,
            default_branch: branch,
            version: 1,
            ttl_ms: None,
            created_unix_ms: now_unix_ms,
            used_unix_ms: now_unix_ms,
            until_unix_ms: None,
        };
        let branch = BranchRow {
            id: branch,
            session: id,
            name: FIRST_BRANCH.to_owned(),
            forked_from: None,
            version: 0,
            head: None,
            created_unix_ms: now_unix_ms,
        };
        let history = history_of(&session, &branch, Vec::new());
        let new = NewSession { session, branch };
        self.store.sessions().create(new, self.act(&by)).await.map_err(|error| failure(&error))?;
        Ok(history)
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

    fn act(&self, by: &SessionWriter) -> Act {
        Act::new(&self.world, by.actor.clone(), Some(by.request))
    }
}

fn history_of(session: &SessionRow, branch: &BranchRow, events: Vec<HistoryEvent>) -> SessionHistory {
    SessionHistory {
        session: session.id,
        branch: branch.id,
        version: branch.version,
        is_archived: session.status == SessionStatus::Archived,
        metadata: session.metadata.clone(),
        created_unix_ms: session.created_unix_ms,
        events,
    }
}
