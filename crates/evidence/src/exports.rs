//! Data exports: what was asked for, how far it is, and the sealed parts of its archive.

mod kept;
mod sql;

use database::handle::Database;
use domain::ports::PortFuture;
use domain::purge::{Claim, Guarantee, Place, PurgeError, PurgeScope, Purgeable};
use domain::{ContentKind, DataExportId, ProjectId, Sealed, TraceId, WorkspaceId};
use proof::Digest;
use serde::{Deserialize, Serialize};
use store::Store;
use uuid::Uuid;
use vault::{ContentRef, OpenError, Vault, VaultError};

pub use kept::{KeptAfter, KeptRow, NamedResponse};
pub(crate) use sql::purge;

/// The kind of job on the durable queue.
pub const DATA_EXPORT_JOB: &str = "data_export.run";

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DataExportState {
        Pending = "pending",
        Running = "running",
        Completed = "completed",
        Failed = "failed",
    }
}

domain::words! {
    /// The format of the files of an export.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum DataExportFormat by from_name {
        #[default]
        JsonLines = "jsonl",
        Parquet = "parquet",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataExportRow {
    pub id: DataExportId,
    pub workspace: WorkspaceId,
    /// `None` for the whole workspace.
    pub project: Option<ProjectId>,
    /// The request that asked for it.
    pub request: TraceId,
    /// A key or a person.
    pub requested_by: String,
    pub format: DataExportFormat,
    pub state: DataExportState,
    pub version: u64,
    pub progress: DataExportProgress,
    pub created_unix_ms: u64,
    pub completed_unix_ms: Option<u64>,
    /// When it is deleted.
    pub until_unix_ms: u64,
}

/// What the archive has so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DataExportProgress {
    pub files: Vec<ExportedFile>,
    pub parts: u64,
    pub bytes: u64,
    /// Why it could not be made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    pub name: String,
    pub lines: u64,
    pub bytes: u64,
    /// Of its bytes, in hexadecimal digits.
    pub sha256: String,
}

/// A sealed part of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPart {
    pub position: u64,
    pub sealed: Sealed,
}

/// Where a part is sealed for.
fn content_ref(row: &DataExportRow, position: u64) -> ContentRef {
    let id: &[u8] = row.id.as_bytes();
    ContentRef {
        kept: ContentKind::Export,
        workspace: row.workspace,
        project: project_of(row),
        digest: Digest::of(&[id, &position.to_be_bytes()]).0,
        request: row.request,
    }
}

/// Zeros for the whole workspace.
fn project_of(row: &DataExportRow) -> ProjectId {
    row.project.unwrap_or_else(|| ProjectId::from_uuid(Uuid::nil()))
}

impl SealedPart {
    pub fn seal(vault: &Vault, row: &DataExportRow, position: u64, bytes: &[u8]) -> Result<Self, VaultError> {
        let sealed = vault.sealer.seal_content(&content_ref(row, position), bytes)?;
        Ok(Self { position, sealed })
    }

    /// # Errors
    /// It was changed, or its key is not here.
    pub fn open(&self, vault: &Vault, row: &DataExportRow) -> Result<Vec<u8>, OpenError> {
        let opened = vault.opener.open_content(&content_ref(row, self.position), &self.sealed)?;
        Ok(opened.expose().to_vec())
    }
}

/// Data exports in the database.
#[derive(Clone)]
pub struct DataExports(Database);

impl DataExports {
    pub fn of(store: &Store) -> Self {
        Self(store.database().clone())
    }
}

/// An archive can't be taken apart, so that it goes whole with anything that it may have.
impl Purgeable for DataExports {
    fn place(&self) -> Place {
        Place::DataExports
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.purge_scope(scope).await?) })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move { Ok(self.count(scope).await?) })
    }

    fn claim(&self, _processor: &str, _kind: &str) -> Claim {
        Claim::verified(
            Guarantee::VerifiedPhysicalPurge,
            "The archives were deleted whole, and counted again.",
        )
    }
}
