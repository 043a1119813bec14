//! Aliases: model names of a workspace's or project's own. Another of the same name and scope is refused as
//! `name_taken`, naming the first.

use database::error::StoreFuture;
use domain::{AliasId, AliasReleaseId, AliasReleaseSpec, Canary, ProjectId, WorkspaceId};

use crate::resource::{Carries, Resource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRow {
    pub id: AliasId,
    pub workspace: WorkspaceId,
    /// The workspace's where it is unset.
    pub project: Option<ProjectId>,
    pub name: String,
    pub description: String,
    pub active: AliasReleaseId,
    /// The number and content of the active release; ignored on writing.
    pub number: u32,
    pub spec: AliasReleaseSpec,
    /// The active release before this one: where a rollback leads.
    pub previous: Option<AliasReleaseId>,
    pub canary: Option<Canary>,
    /// The last canary that was withdrawn, until the next one starts.
    pub withdrawn: Option<WithdrawnCanary>,
    pub created_unix_ms: u64,
    /// Ignored on writing.
    pub version: u64,
}

/// A canary that ended without being promoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithdrawnCanary {
    pub release: AliasReleaseId,
    pub percent: u8,
    /// What it did not keep to, in words.
    pub reason: String,
    /// By the gateway itself, because it left its gates.
    pub is_automatic: bool,
    pub unix_ms: u64,
}

/// A release: written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasReleaseRow {
    pub id: AliasReleaseId,
    pub workspace: WorkspaceId,
    pub alias: AliasId,
    /// From 1 for each alias; set when it is written.
    pub number: u32,
    pub spec: AliasReleaseSpec,
    /// The revision of the capability manifest that was in force; unset in those of earlier versions.
    pub manifest_revision: Option<String>,
    pub created_unix_ms: u64,
}

/// A new alias comes with its first release.
pub type NewAlias = (AliasRow, AliasReleaseRow);

domain::words! {
    /// What a change does to an alias, as the audit calls it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AliasAct {
        Update = "update",
        Install = "install",
        Promote = "promote",
        RollBack = "rollback",
        StartCanary = "canary",
        WithdrawCanary = "withdraw_canary",
    }
}

/// A changed alias, with the release that is installed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasChange {
    pub row: AliasRow,
    pub release: Option<AliasReleaseRow>,
    pub act: AliasAct,
}

impl Carries<AliasRow> for AliasChange {
    fn row(&self) -> &AliasRow {
        &self.row
    }

    fn row_mut(&mut self) -> &mut AliasRow {
        &mut self.row
    }

    fn into_row(self) -> AliasRow {
        self.row
    }
}

/// Name and scope of an alias can't change. A release beyond the limit is refused as `too_many_releases`, an
/// alias as `too_many_aliases`.
pub trait Aliases: Resource<AliasRow> {
    /// Newest first.
    fn releases(&self, workspace: WorkspaceId, alias: AliasId) -> StoreFuture<'_, Vec<AliasReleaseRow>>;
}
