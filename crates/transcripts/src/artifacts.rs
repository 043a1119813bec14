//! Artifacts, which never change, and bundles, which list them in order.

use database::act::Act;
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{ArtifactId, BundleId, ProjectId, Sealed, TraceId, WorkspaceId};
use serde::{Deserialize, Serialize};

/// Content as it is stored: sealed, under the hash of the id of what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedContent {
    pub digest: [u8; 32],
    pub project: ProjectId,
    /// The request that wrote it.
    pub request: TraceId,
    pub sealed: Sealed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    pub id: ArtifactId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub kind: String,
    pub name: String,
    pub media_type: String,
    pub retention: String,
    pub content_bytes: u64,
    /// A keyed hash.
    pub content_hash: [u8; 32],
    pub content: [u8; 32],
    pub created_unix_ms: u64,
    pub until_unix_ms: Option<u64>,
    pub revoked_unix_ms: Option<u64>,
}

/// One artifact of a bundle, and what it is there for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleItem {
    pub artifact: ArtifactId,
    #[serde(default)]
    pub role: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRow {
    pub id: BundleId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub name: String,
    /// In the order in which they were given.
    pub items: Vec<BundleItem>,
    pub created_unix_ms: u64,
}

pub trait Artifacts: Send + Sync {
    /// # Errors
    /// If it is sealed under a key that was replaced, or its project is gone.
    fn create(&self, artifact: ArtifactRow, content: SealedContent, act: Act) -> StoreFuture<'_, ()>;
    fn get(&self, workspace: WorkspaceId, id: ArtifactId) -> StoreFuture<'_, ArtifactRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<ArtifactId>,
    ) -> StoreFuture<'_, Listed<ArtifactRow, ArtifactId>>;
    /// `None` where it was deleted, or its time is over.
    fn content(&self, workspace: WorkspaceId, digest: [u8; 32]) -> StoreFuture<'_, Option<SealedContent>>;
    /// Deletes the content. The row stays, so that what refers to it says what is missing.
    fn revoke(&self, workspace: WorkspaceId, id: ArtifactId, act: Act) -> StoreFuture<'_, ()>;
    /// Deletes the contents of artifacts, and whole sessions, whose time is over; at most `rows_max` of each. Returns how many.
    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64>;
}

pub trait Bundles: Send + Sync {
    /// # Errors
    /// If an artifact is not there, is another project's, or was deleted.
    fn create(&self, bundle: BundleRow, act: Act) -> StoreFuture<'_, ()>;
    fn get(&self, workspace: WorkspaceId, id: BundleId) -> StoreFuture<'_, BundleRow>;
    fn list(
        &self,
        workspace: WorkspaceId,
        project: Option<ProjectId>,
        page: Page<BundleId>,
    ) -> StoreFuture<'_, Listed<BundleRow, BundleId>>;
    fn delete(&self, workspace: WorkspaceId, id: BundleId, act: Act) -> StoreFuture<'_, ()>;
}
