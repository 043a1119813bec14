//! Purges of stored content: what was asked for, how far it is, and the signed receipt.

mod receipt;
mod scopes;
mod shredding;
mod sql;
pub mod tables;

use domain::purge::{Guarantee, Place, PurgeScope, Purged, first_request_at};
use domain::{EndUserId, KeyId, ProjectId, PurgeJobId, ReceiptId, TraceId, WorkspaceId};
use proof::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use receipt::{OBJECT, Signing, overall, sign};
pub use scopes::scopes;
pub use shredding::{ShreddedKey, Shredding, ShreddingEnd};
pub use sql::{Named, NamedKind, NamedObject, Purges};

/// The kind of job on the durable queue.
pub const PURGE_JOB: &str = "purge.run";

/// Whose content is to be purged: one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeTarget {
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub workspace: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub project_id: Option<ProjectId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub request_ids: Vec<TraceId>,
    /// A time range, alone or with a key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from_unix_ms: Option<u64>,
    /// Exclusive.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to_unix_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub artifact_ids: Vec<String>,
    /// Those of a person, by the time of the request. Who that is, is not kept.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub session_ids: Vec<String>,
    /// Whose requests are meant, by the keyed hash of the name; with a person's sessions, those outside of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_user: Option<EndUserId>,
}

impl PurgeTarget {
    /// How many kinds of scope are named; one is right.
    pub fn named(&self) -> usize {
        let is_filtered = self.key_id.is_some() || self.end_user.is_some();
        let has_time = !is_filtered && (self.from_unix_ms.is_some() || self.to_unix_ms.is_some());
        let named = [
            self.workspace,
            self.project_id.is_some(),
            self.key_id.is_some(),
            !self.request_ids.is_empty(),
            has_time,
            self.session_id.is_some(),
            !self.artifact_ids.is_empty(),
            !self.session_ids.is_empty(),
            self.end_user.is_some(),
        ];
        named.into_iter().filter(|is_named| *is_named).count()
    }

    /// All sessions that it names.
    pub fn sessions(&self) -> impl Iterator<Item = &String> {
        self.session_id.iter().chain(&self.session_ids)
    }

    /// What it says without looking anything up; `None` for a key or an end user, whose requests the meter records know, and
    /// for several sessions.
    pub fn scope(&self, workspace: WorkspaceId, requested_unix_ms: u64) -> Option<PurgeScope> {
        let what = if self.key_id.is_some() || self.end_user.is_some() || !self.session_ids.is_empty() {
            return None;
        } else if let Some(project) = self.project_id {
            Purged::Project(project)
        } else if !self.request_ids.is_empty() {
            Purged::Requests(self.request_ids.clone())
        } else if let Some(session) = &self.session_id {
            Purged::Session(session.clone())
        } else if !self.artifact_ids.is_empty() {
            Purged::Artifacts(self.artifact_ids.clone())
        } else if self.workspace {
            Purged::Everything
        } else {
            Purged::From(first_request_at(self.from_unix_ms.unwrap_or(0)))
        };
        Some(PurgeScope { workspace, what, before: first_request_at(self.ends_unix_ms(requested_unix_ms)) })
    }

    /// Requests of this time and later ones keep their content: a purge is about what was there when it was asked for.
    pub fn ends_unix_ms(&self, requested_unix_ms: u64) -> u64 {
        let now = requested_unix_ms.saturating_add(1);
        self.to_unix_ms.map_or(now, |to| to.min(now))
    }
}

domain::words! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum PurgeState {
        Pending = "pending",
        Running = "running",
        Completed = "completed",
        /// It could not be carried out at all.
        Failed = "failed",
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeJobRow {
    pub id: PurgeJobId,
    pub workspace: WorkspaceId,
    pub target: PurgeTarget,
    pub state: PurgeState,
    /// A key or a person.
    pub requested_by: String,
    pub progress: Progress,
    pub created_unix_ms: u64,
    pub completed_unix_ms: Option<u64>,
}

/// How far a purge is, so that another process can go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The version of the configuration that made older cache entries unreachable.
    pub generation: Option<u64>,
    /// What was there before anything was removed.
    pub before: Option<Vec<Counted>>,
    pub steps: Vec<Step>,
    /// Whether the database's file and log hold no deleted bytes any more.
    pub is_scrubbed: bool,
    /// Of a whole workspace, once every place is purged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shredding: Option<Shredding>,
    /// Why it could not be carried out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What a processor holds in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub place: Place,
    pub processor: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub kind: String,
    pub items: u64,
}

/// The work on one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub place: Place,
    pub is_over: bool,
    pub tries: u32,
    pub removed: u64,
    /// Why the last try did not do it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

impl Progress {
    pub fn step(&self, place: Place) -> Option<&Step> {
        self.steps.iter().find(|step| step.place == place)
    }

    pub fn step_mut(&mut self, place: Place) -> &mut Step {
        let at = self.steps.iter().position(|step| step.place == place).unwrap_or_else(|| {
            self.steps.push(Step { place, is_over: false, tries: 0, removed: 0, error: None });
            self.steps.len() - 1
        });
        // It is there: it was found or added just now.
        #[expect(clippy::indexing_slicing, reason = "the position was found above")]
        &mut self.steps[at]
    }
}

/// How a processor was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessorStatus {
    /// Nothing is found there any more.
    Cleared,
    /// Its holder lets it expire.
    Expires,
    /// Something is left, or nobody knows.
    Failed,
}

/// A line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessorReport {
    pub place: Place,
    pub processor: String,
    pub kind: String,
    pub status: ProcessorStatus,
    pub before: u64,
    /// `None` where nobody could count.
    pub after: Option<u64>,
    pub guarantee: Guarantee,
    pub evidence: String,
    pub retention_days: Option<u64>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ReceiptRow {
    pub id: ReceiptId,
    pub workspace: WorkspaceId,
    pub sequence: u64,
    pub job: PurgeJobId,
    pub document: Map<String, Value>,
    pub hash: Digest,
}
