//! Audit entries for settled requests: refusals by a policy, fallbacks to the managed pool, and emergency
//! serving. A busy project does not fill its chain: of a fallback or an emergency there is one entry in an hour
//! and project, and of a refusal one in a minute, project, key and rule, with a count.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use catalogue::Catalogue;
use database::audit::AuditRow;
use database::chain;
use database::handle::Database;
use domain::{AuditId, KeyId, MeterRecord, PolicyRule, Profile, ProjectId, Refuser, WorkspaceId};

use crate::limits::AUDIT_NOTES_CACHED_MAX;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
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

/// What shares one entry: refusals by key and rule, everything else by project.
type NoteKey = (WorkspaceId, ProjectId, Kind, Option<KeyId>, Option<PolicyRule>);

/// A settled request that gets an audit entry.
#[derive(Debug, Clone)]
pub(crate) struct AuditNote {
    key: NoteKey,
    /// The number of the minute or hour.
    window: u64,
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
        let refuser = record.reason.as_ref().and_then(|reason| reason.refused_by);
        let (key, rule, window_ms) = match kind {
            Kind::Refused => (record.key, refuser.and_then(Refuser::policy_rule), MINUTE_MS),
            Kind::FellBack | Kind::Emergency => (None, None, HOUR_MS),
        };
        let key = (record.workspace, record.project, kind, key, rule);
        Some(Self { key, window: unix_ms / window_ms, row })
    }
}

fn detail(kind: Kind, record: &MeterRecord<&str>) -> String {
    let model = if record.resolved_model.is_empty() { record.requested_model } else { record.resolved_model };
    let text = match kind {
        Kind::Refused => {
            let why = record.reason.as_ref().map_or("", |reason| reason.message);
            return format!("{model} refused. {why}");
        }
        Kind::FellBack => {
            let mut failed = record.attempts.iter().map(|attempt| attempt.principal);
            let own = failed.rfind(|principal| principal.own_credential().is_some());
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
    written: Mutex<HashMap<NoteKey, Written>>,
}

/// The window of the last entry, and how many of its kind came since.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    window: u64,
    since: u64,
}

/// An entry to be written, and how many requests it is about.
#[derive(Debug)]
pub(crate) struct News {
    note: AuditNote,
    count: u64,
}

impl AuditNotes {
    /// The first remark of each kind in a window that has no entry yet, with the count of the others since the
    /// entry before.
    pub(crate) fn news(&self, remarks: Vec<AuditNote>) -> Vec<News> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news: Vec<News> = Vec::new();
        let mut places: HashMap<NoteKey, usize> = HashMap::new();
        for note in remarks {
            let known = written.get_mut(&note.key);
            if let Some(one) = places.get(&note.key).and_then(|at| news.get_mut(*at)) {
                one.count += 1;
            } else if let Some(known) = known.as_ref().filter(|known| known.window < note.window) {
                places.insert(note.key, news.len());
                news.push(News { count: known.since + 1, note });
            } else if let Some(known) = known {
                known.since += 1;
            } else {
                places.insert(note.key, news.len());
                news.push(News { count: 1, note });
            }
        }
        news
    }

    /// Records that these are in the audit.
    pub(crate) fn mark_written(&self, news: &[News]) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() + news.len() > AUDIT_NOTES_CACHED_MAX {
            written.clear();
        }
        written.extend(news.iter().map(|one| (one.note.key, Written { window: one.note.window, since: 0 })));
    }
}

/// The audit entries of news.
pub(crate) fn rows(news: &[News]) -> Vec<AuditRow> {
    let row = |one: &News| {
        let mut row = one.note.row.clone();
        if one.note.key.2 == Kind::Refused && one.count > 1 {
            row.detail.push_str(&format!(" {} requests since the entry before.", one.count));
        }
        row
    };
    news.iter().map(row).collect()
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
