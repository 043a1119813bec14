//! Audit entries for settled requests: refusals by a policy, fallbacks to the managed pool, and emergency
//! serving. Per project only the first of each kind in an hour, so that a busy project does not fill its
//! chain.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use catalogue::Catalogue;
use database::audit::AuditRow;
use database::chain;
use database::handle::Database;
use domain::{AuditId, MeterRecord, Principal, Profile, ProjectId, WorkspaceId};

use crate::limits::AUDIT_NOTES_CACHED_MAX;

const HOUR_MS: u64 = 3_600_000;
/// The error code of a policy's refusal.
const POLICY: &str = "policy_forbids";
const SYSTEM: &str = "system";

/// Providers that serve only in emergencies.
static EMERGENCY: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let known = Catalogue::embedded().map(|catalogue| catalogue.providers().to_vec()).unwrap_or_default();
    known.into_iter().filter(|facts| facts.emergency_only).map(|facts| facts.slug).collect()
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Refused,
    FellBack,
    Emergency,
}

impl Kind {
    fn of(record: &MeterRecord<&str>) -> Option<Self> {
        let is_pooled = record.profile() == Some(Profile::ManagedProvider);
        if record.fault_code == Some(POLICY) {
            Some(Self::Refused)
        } else if is_pooled && EMERGENCY.contains(record.provider) {
            Some(Self::Emergency)
        } else if record.fallback_used {
            Some(Self::FellBack)
        } else {
            None
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Refused => "request.refuse",
            Self::FellBack => "request.fall_back",
            Self::Emergency => "request.emergency",
        }
    }
}

type NoteKey = (WorkspaceId, ProjectId, Kind);

/// A settled request that gets an audit entry.
#[derive(Debug, Clone)]
pub(crate) struct AuditNote {
    key: NoteKey,
    hour: u64,
    row: AuditRow,
}

impl AuditNote {
    pub(crate) fn of(record: &MeterRecord<&str>) -> Option<Self> {
        let kind = Kind::of(record)?;
        let unix_ms = record.finished_unix_ms;
        let chance = *record.trace.as_bytes().last_chunk::<10>()?;
        let row = AuditRow {
            id: AuditId::new(unix_ms, chance),
            unix_ms,
            workspace: Some(record.workspace),
            actor: record.key.map_or_else(|| SYSTEM.to_owned(), |key| key.to_string()),
            action: kind.action().to_owned(),
            object: record.project.to_string(),
            detail: detail(kind, record),
            trace: Some(record.trace),
            before: None,
            after: None,
            link: None,
        };
        Some(Self { key: (record.workspace, record.project, kind), hour: unix_ms / HOUR_MS, row })
    }
}

fn detail(kind: Kind, record: &MeterRecord<&str>) -> String {
    let model = if record.resolved_model.is_empty() { record.requested_model } else { record.resolved_model };
    let text = match kind {
        Kind::Refused => {
            let why = record.plan.rejected.iter().find(|rejected| rejected.reason == POLICY);
            let why = why.map(|rejected| format!(": {}", rejected.detail)).unwrap_or_default();
            format!("{model} refused by the project's policy{why}")
        }
        Kind::FellBack => {
            let mut failed = record.attempts.iter().map(|attempt| attempt.principal);
            let own = failed.rfind(|principal| matches!(principal, Principal::Credential(_)));
            let own = own.map(|principal| format!(" after {principal} failed")).unwrap_or_default();
            format!("{model} served by the managed pool at {}{own}", record.provider)
        }
        Kind::Emergency => format!("{model} served by {}, which is kept for emergencies", record.provider),
    };
    format!("{text}; the first of this hour")
}

/// What this process has already written.
#[derive(Debug, Default)]
pub(crate) struct AuditNotes {
    written: Mutex<HashMap<NoteKey, u64>>,
}

impl AuditNotes {
    /// The first remark of each kind that was not yet written this hour.
    pub(crate) fn news(&self, remarks: Vec<AuditNote>) -> Vec<AuditNote> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let is_new = |remark: &AuditNote| written.get(&remark.key).is_none_or(|hour| *hour < remark.hour);
        remarks.into_iter().filter(|remark| is_new(remark) && seen.insert(remark.key)).collect()
    }

    /// Records that these are in the audit.
    pub(crate) fn mark_written(&self, remarks: &[AuditNote]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() + remarks.len() > AUDIT_NOTES_CACHED_MAX {
            written.clear();
        }
        written.extend(remarks.iter().map(|remark| (remark.key, remark.hour)));
    }
}

/// The audit entries of remarks.
pub(crate) fn rows(remarks: &[AuditNote]) -> Vec<AuditRow> {
    remarks.iter().map(|remark| remark.row.clone()).collect()
}

/// Writes remarks about settled requests to the audit. Settling does not depend on it: after a failure, the next
/// request of the same kind is recorded instead.
pub(crate) async fn write(database: &Database, notes: &AuditNotes, remarks: Vec<AuditNote>) {
    let news = if remarks.is_empty() { Vec::new() } else { notes.news(remarks) };
    if news.is_empty() {
        return;
    }
    match chain::append(database, rows(&news)).await {
        Ok(()) => notes.mark_written(&news),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what requests met could not be taken into the audit");
        }
    }
}
