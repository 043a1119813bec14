//! Audit entries for settled requests: refusals by a policy, fallbacks to another model or to the managed pool, and
//! emergency serving. A busy project does not fill its chain: of a fallback or an emergency there is one entry in an hour,
//! project and model that was requested, and of a refusal one in a minute, project, key and rule. Each counts what came
//! since the entry before, and what nothing follows has an entry of its own once its hour is over.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use catalogue::Catalogue;
use database::audit::AuditRow;
use database::chain;
use database::error::StoreError;
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

    const fn window_ms(self) -> u64 {
        match self {
            Self::Refused => MINUTE_MS,
            Self::FellBack | Self::Emergency => HOUR_MS,
        }
    }
}

/// What shares one entry: refusals by key and rule, everything else by the model that was requested.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NoteKey {
    workspace: WorkspaceId,
    project: ProjectId,
    kind: Kind,
    key: Option<KeyId>,
    rule: Option<PolicyRule>,
    model: String,
}

/// A settled request that gets an audit entry.
#[derive(Debug, Clone)]
pub(crate) struct AuditNote {
    key: NoteKey,
    /// The number of the minute or hour.
    window: u64,
    /// What makes ids of its entries unique.
    chance: [u8; 10],
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
        let (key, rule, model) = match kind {
            Kind::Refused => (record.key, refuser.and_then(Refuser::policy_rule), ""),
            Kind::FellBack | Kind::Emergency => (None, None, record.requested_model),
        };
        let (workspace, project, model) = (record.workspace, record.project, model.to_owned());
        let key = NoteKey { workspace, project, kind, key, rule, model };
        Some(Self { key, window: unix_ms / kind.window_ms(), chance, row })
    }

    /// The entry that counts this request and others of its kind, of which it is the newest.
    fn into_count(mut self, now_unix_ms: u64) -> Self {
        self.row.id = AuditId::new(now_unix_ms, self.chance);
        self.row.unix_ms = now_unix_ms;
        self.row.actor = SYSTEM.to_owned();
        self
    }
}

fn detail(kind: Kind, record: &MeterRecord<&str>) -> String {
    let model = if record.resolved_model.is_empty() { record.requested_model } else { record.resolved_model };
    match kind {
        Kind::Refused => {
            let why = record.reason.as_ref().map_or("", |reason| reason.message);
            format!("{model} refused. {why}")
        }
        Kind::FellBack if record.profile() == Some(Profile::ManagedProvider) => {
            let mut failed = record.attempts.iter().map(|attempt| attempt.principal);
            let own = failed.rfind(|principal| principal.own_credential().is_some());
            let own = own.map(|principal| format!(" after {principal} failed")).unwrap_or_default();
            format!("{model} served by the managed pool at {}{own}", record.provider)
        }
        Kind::FellBack => format!("{} served by {model} at {}", record.requested_model, record.provider),
        Kind::Emergency => format!("{model} served by {}, which is kept for emergencies", record.provider),
    }
}

/// What this process has already written.
#[derive(Debug, Default)]
pub(crate) struct AuditNotes {
    written: Mutex<HashMap<NoteKey, Written>>,
}

/// The window of the last entry, and what came since.
#[derive(Debug, Default)]
struct Written {
    window: u64,
    since: u64,
    newest: Option<AuditNote>,
}

impl Written {
    fn add(&mut self, note: AuditNote, count: u64) {
        self.since += count;
        self.newest = Some(note);
    }

    /// What came since the last entry, which is written now.
    fn take(&mut self) -> u64 {
        self.newest = None;
        std::mem::take(&mut self.since)
    }
}

/// An entry to be written, and how many requests it is about.
#[derive(Debug)]
pub(crate) struct News {
    note: AuditNote,
    count: u64,
    /// It is about requests that all came after an entry of their window.
    is_count: bool,
}

impl AuditNotes {
    fn written(&self) -> MutexGuard<'_, HashMap<NoteKey, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first remark of each kind in a window that has no entry yet, with the count of the others since the
    /// entry before.
    pub(crate) fn news(&self, remarks: Vec<AuditNote>) -> Vec<News> {
        let mut written = self.written();
        let mut news: Vec<News> = Vec::new();
        let mut places: HashMap<NoteKey, usize> = HashMap::new();
        for note in remarks {
            if let Some(one) = places.get(&note.key).and_then(|at| news.get_mut(*at)) {
                one.count += 1;
                continue;
            }
            match written.get_mut(&note.key) {
                Some(known) if known.window >= note.window => known.add(note, 1),
                known => {
                    let since = known.map_or(0, Written::take);
                    places.insert(note.key.clone(), news.len());
                    news.push(News { note, count: since + 1, is_count: false });
                }
            }
        }
        news
    }

    /// What came since the entries before, of windows that began an hour before this moment or earlier.
    pub(crate) fn counts(&self, until_unix_ms: u64, now_unix_ms: u64) -> Vec<News> {
        let mut written = self.written();
        let is_over = |key: &NoteKey, known: &Written| {
            let began = known.window.saturating_mul(key.kind.window_ms());
            began.saturating_add(HOUR_MS) <= until_unix_ms
        };
        let over = written.iter_mut().filter(|(key, known)| is_over(key, known));
        over.filter_map(|(_, known)| {
            let note = known.newest.take()?.into_count(now_unix_ms);
            Some(News { note, count: known.take(), is_count: true })
        })
        .collect()
    }

    /// Records that these are in the audit.
    pub(crate) fn mark_written(&self, news: &[News]) {
        let mut written = self.written();
        if written.len() + news.len() > AUDIT_NOTES_CACHED_MAX {
            written.retain(|_, known| known.since > 0);
        }
        if written.len() + news.len() > AUDIT_NOTES_CACHED_MAX {
            written.clear();
        }
        for one in news {
            let known = written.entry(one.note.key.clone()).or_default();
            known.window = known.window.max(one.note.window);
        }
    }

    /// Records that these are not in the audit: the next entries count them.
    fn give_back(&self, news: Vec<News>) {
        let mut written = self.written();
        for News { note, count, .. } in news {
            written.entry(note.key.clone()).or_default().add(note, count);
        }
    }
}

/// The audit entries of news.
pub(crate) fn rows(news: &[News]) -> Vec<AuditRow> {
    let row = |one: &News| {
        let (mut row, count) = (one.note.row.clone(), one.count);
        if one.is_count {
            row.detail = format!("{count} more requests since the entry before; the newest: {}", row.detail);
            return row;
        }
        if one.note.key.kind != Kind::Refused {
            row.detail.push_str("; the first of this hour.");
        }
        if count > 1 {
            row.detail.push_str(&format!(" {count} requests since the entry before."));
        }
        row
    };
    news.iter().map(row).collect()
}

/// Writes remarks about settled requests to the audit. Settling does not depend on it: after a failure, the next
/// request of the same kind is recorded instead, and counts them.
pub(crate) async fn write(database: &Database, notes: &AuditNotes, remarks: Vec<AuditNote>) {
    let news = if remarks.is_empty() { Vec::new() } else { notes.news(remarks) };
    if let Err(error) = write_news(database, notes, news).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "what requests met could not be taken into the audit");
    }
}

/// Writes the entries that count what no entry followed: of windows that began an hour before `until_unix_ms` or earlier.
pub(crate) async fn write_counts(
    database: &Database,
    notes: &AuditNotes,
    until_unix_ms: u64,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    write_news(database, notes, notes.counts(until_unix_ms, now_unix_ms)).await
}

async fn write_news(database: &Database, notes: &AuditNotes, news: Vec<News>) -> Result<(), StoreError> {
    if news.is_empty() {
        return Ok(());
    }
    match chain::append(database, rows(&news)).await {
        Ok(()) => {
            notes.mark_written(&news);
            Ok(())
        }
        Err(error) => {
            notes.give_back(news);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::TraceId;

    use super::*;

    const HOUR: u64 = 500_000;

    fn note(kind: Kind, model: &str, unix_ms: u64, number: u8) -> AuditNote {
        let (workspace, project) = (WorkspaceId::new(1, [1; 10]), ProjectId::new(1, [2; 10]));
        let key = NoteKey { workspace, project, kind, key: None, rule: None, model: model.to_owned() };
        let row = AuditRow {
            id: AuditId::new(unix_ms, [number; 10]),
            unix_ms,
            workspace: Some(workspace),
            actor: "key_1".to_owned(),
            action: kind.action().to_owned(),
            object: project.to_string(),
            detail: format!("{model} {number}"),
            trace: Some(TraceId::new(unix_ms, [number; 10])),
            before: None,
            after: None,
            link: None,
        };
        AuditNote { key, window: unix_ms / kind.window_ms(), chance: [number; 10], row }
    }

    /// What is written of fallbacks that settle together, where the audit takes it.
    fn settled(notes: &AuditNotes, remarks: Vec<AuditNote>) -> Vec<String> {
        let news = notes.news(remarks);
        notes.mark_written(&news);
        rows(&news).into_iter().map(|row| row.detail).collect()
    }

    #[test]
    fn each_request_is_counted_by_one_entry() {
        let (notes, start) = (AuditNotes::default(), HOUR * HOUR_MS);
        let of = |model, unix_ms, number| note(Kind::FellBack, model, unix_ms, number);
        let counts = |until| {
            let news = notes.counts(until, until);
            notes.mark_written(&news);
            rows(&news)
        };
        assert_eq!(settled(&notes, vec![of("a", start, 1)]), ["a 1; the first of this hour."]);
        assert_eq!(settled(&notes, vec![of("a", start + 1, 2), of("a", start + 2, 3)]), [""; 0]);
        assert_eq!(settled(&notes, vec![of("b", start + 3, 4)]), ["b 4; the first of this hour."]);
        assert_eq!(counts(start + HOUR_MS - 1), []);
        let [counted] = &counts(start + HOUR_MS)[..] else { panic!("of a alone something is to be counted") };
        assert_eq!(counted.detail, "2 more requests since the entry before; the newest: a 3");
        assert_eq!((counted.actor.as_str(), counted.unix_ms), (SYSTEM, start + HOUR_MS));
        assert_eq!(counts(u64::MAX), []);
        let next = start + HOUR_MS;
        assert_eq!(settled(&notes, vec![of("b", start + 4, 5)]), [""; 0]);
        assert_eq!(
            settled(&notes, vec![of("b", next, 6), of("b", next, 7)]),
            ["b 6; the first of this hour. 3 requests since the entry before."]
        );
        // What the audit does not take is counted by the next entry.
        notes.give_back(notes.news(vec![of("c", next, 8), of("c", next, 9)]));
        assert_eq!(
            settled(&notes, vec![of("c", next, 10)]),
            ["c 10; the first of this hour. 3 requests since the entry before."]
        );
    }

    #[test]
    fn refusals_have_an_entry_a_minute_and_are_counted_an_hour_later() {
        let (notes, start) = (AuditNotes::default(), HOUR * HOUR_MS);
        let of = |unix_ms, number| note(Kind::Refused, "m", unix_ms, number);
        assert_eq!(
            settled(&notes, vec![of(start, 1), of(start, 2)]),
            ["m 1 2 requests since the entry before."]
        );
        assert_eq!(settled(&notes, vec![of(start + 1, 3)]), [""; 0]);
        assert_eq!(
            settled(&notes, vec![of(start + MINUTE_MS, 4)]),
            ["m 4 2 requests since the entry before."]
        );
        assert_eq!(settled(&notes, vec![of(start + MINUTE_MS, 5)]), [""; 0]);
        assert!(notes.counts(start + HOUR_MS, start).is_empty());
        assert_eq!(notes.counts(start + HOUR_MS + MINUTE_MS, start).len(), 1);
    }
}
