//! Meter records as requests: filtered lists with a stable cursor, and one full record.

use crate::service::{first_byte_us, latency_us};
use crate::tally::{region, sums_of};
use crate::usage::{UsageQuery, UsageRow, UsageSums, Window};
use database::error::StoreFuture;
use database::page::{Listed, Page};
use domain::{
    AliasPick, EndUserId, FaultClass, KeyId, MeterRecord, Outcome, Principal, Profile, ProjectId, QosClass,
    Refuser, SessionId, TraceId, WorkspaceId,
};
use filter::{Field, Filterable, Term, Test};

/// Every field that is set must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestFilter {
    /// The requested or the resolved name.
    pub model: Option<String>,
    pub provider: Option<String>,
    /// A value of `Agent-Execution-Profile`.
    pub profile: Option<String>,
    pub key: Option<KeyId>,
    pub project: Option<ProjectId>,
    pub environment: Option<String>,
    pub status: Option<u16>,
    pub outcome: Option<Outcome>,
    pub tag: Option<String>,
    /// The class that its hints stated.
    pub qos_class: Option<QosClass>,
    /// The name of an alias, or the id of one of its releases.
    pub alias: Option<String>,
    pub since_unix_ms: Option<u64>,
    /// Exclusive.
    pub until_unix_ms: Option<u64>,
    pub terms: Vec<Term>,
}

impl RequestFilter {
    /// The requests that named a session.
    pub fn of_session(session: &str) -> Self {
        Self::of_one(Field::Session, session.to_owned())
    }

    /// The requests that named an end user.
    pub fn of_end_user(end_user: EndUserId) -> Self {
        Self::of_one(Field::EndUser, end_user.to_string())
    }

    pub(crate) fn of_one(field: Field, value: String) -> Self {
        let is_its = Term { field, negated: false, test: Test::Is(value), at: 0 };
        Self { terms: vec![is_its], ..Self::default() }
    }
}

/// One request in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    pub trace: TraceId,
    pub project: ProjectId,
    pub key: Option<KeyId>,
    pub environment: String,
    pub started_unix_ms: u64,
    pub finished_unix_ms: u64,
    pub operation: String,
    pub dialect: String,
    pub stream: bool,
    pub requested_model: String,
    pub resolved_model: String,
    /// A value of `Outcome::as_str`.
    pub outcome: String,
    pub status: u16,
    pub fault: Option<FaultClass>,
    pub fault_code: Option<String>,
    /// What of the workspace's own configuration refused it.
    pub refused_by: Option<Refuser>,
    /// The rule that resolved the model's name, or an alias with its release: `AliasPick` reads it.
    pub resolution: String,
    /// Empty if no attempt was made.
    pub profile: String,
    pub principal: Option<Principal>,
    pub provider: String,
    pub region: Option<String>,
    pub attempts: u32,
    pub fallback_used: bool,
    pub tag: Option<String>,
    pub qos_class: Option<QosClass>,
    pub session: Option<SessionId>,
    pub end_user: Option<EndUserId>,
    pub sums: UsageSums,
    pub latency_us: u64,
    pub first_byte_us: Option<u64>,
    pub bytes_out: u64,
}

pub trait Records: Send + Sync {
    /// Newest first; `page.after` is the last trace of the previous page.
    fn requests(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<RequestRow, TraceId>>;
    /// As `requests`, in full.
    fn matching(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>>;
    fn request(&self, workspace: WorkspaceId, trace: TraceId) -> StoreFuture<'_, MeterRecord>;
    /// The window that usage sums can cover: the same, but widened to whole hours at its ends where the
    /// minutes have been deleted.
    fn coverage(&self, window: Window) -> StoreFuture<'_, Window>;
    /// What the requests that named a session used and cost, however many they are.
    fn session_sums(&self, workspace: WorkspaceId, session: SessionId) -> StoreFuture<'_, UsageSums>;
    /// Whether any request ever named this end user.
    fn knows_end_user(&self, workspace: WorkspaceId, end_user: EndUserId) -> StoreFuture<'_, bool>;
    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>>;
    /// Full records, oldest first: for `ledger verify`, exports and reconciliation.
    fn every_record(
        &self,
        workspace: WorkspaceId,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>>;
    /// The workspaces that have, or ever had, records.
    fn recorded_workspaces(&self) -> StoreFuture<'_, Vec<WorkspaceId>>;
    fn record_count(&self) -> StoreFuture<'_, u64>;
}

/// Whether a record matches the filter.
pub(crate) fn passes(filter: &RequestFilter, record: &MeterRecord) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
    let is_model = |model: &String| *model == record.resolved_model || *model == record.requested_model;
    filter.model.as_ref().is_none_or(is_model)
        && is(&filter.provider, Some(&record.provider))
        && is(&filter.profile, record.profile().map(Profile::as_str))
        && (filter.key.is_none() || filter.key == record.key)
        && filter.project.is_none_or(|project| project == record.project)
        && is(&filter.environment, Some(&record.environment))
        && filter.status.is_none_or(|status| status == record.status)
        && filter.outcome.is_none_or(|outcome| outcome == record.outcome)
        && is(&filter.tag, record.tag.as_deref())
        && (filter.qos_class.is_none() || filter.qos_class == record.extras.qos_class)
        && filter.alias.as_deref().is_none_or(|alias| is_of_alias(alias, record))
        && filter.since_unix_ms.is_none_or(|since| record.started_unix_ms >= since)
        && filter.until_unix_ms.is_none_or(|until| record.started_unix_ms < until)
        && filter.terms.iter().all(|term| term.holds(&Recorded(record)))
}

/// Whether a request was resolved by the alias of this name, or to its release of this id.
fn is_of_alias(wanted: &str, record: &MeterRecord) -> bool {
    AliasPick::read(&record.plan.resolution)
        .is_some_and(|pick| pick.alias == wanted || pick.release.to_string() == wanted)
}

/// A record as the subject of a filter expression.
struct Recorded<'r>(&'r MeterRecord);

impl Filterable for Recorded<'_> {
    fn any_text(&self, field: Field, is_wanted: &dyn Fn(&str) -> bool) -> bool {
        let record = self.0;
        let is = |text: &str| !text.is_empty() && is_wanted(text);
        match field {
            Field::Model => is(&record.resolved_model) || is(&record.requested_model),
            Field::Provider => is(&record.provider),
            Field::Profile => record.profile().is_some_and(|profile| is(profile.as_str())),
            Field::Mode => record.profile().is_some_and(|profile| is(profile.mode().as_str())),
            Field::Key => record.key.is_some_and(|key| is(&key.to_string())),
            Field::Project => is(&record.project.to_string()),
            Field::Environment => is(&record.environment),
            Field::Region => region(record).is_some_and(|region| is(region)),
            Field::Operation => is(record.operation.as_str()),
            Field::Outcome => is(record.outcome.as_str()),
            Field::Error => record.fault_code.as_deref().is_some_and(is),
            Field::RefusedBy => {
                let refuser = record.reason.as_ref().and_then(|reason| reason.refused_by);
                refuser.is_some_and(|by| is(by.kind()) || is(&by.id()))
            }
            Field::Tag => record.tag.as_deref().is_some_and(is),
            Field::Session => record.extras.session.is_some_and(|session| is(&session.to_string())),
            Field::EndUser => record.extras.end_user.is_some_and(|user| is(&user.to_string())),
            Field::Task => record.extras.task.is_some_and(|task| is(&task.to_string())),
            Field::Agent => record.extras.agent.as_deref().is_some_and(is),
            Field::Adapter => record.extras.adapter.as_deref().is_some_and(is),
            Field::QosClass => record.extras.qos_class.is_some_and(|class| is(class.as_str())),
            Field::Credential => {
                let own = record.principal.filter(|principal| principal.own_credential().is_some());
                own.is_some_and(|own| is(&own.to_string()))
            }
            Field::Node => matches!(record.principal, Some(Principal::Node(id)) if is(&id.to_string())),
            Field::CacheTier => record.cache_tier().is_some_and(|tier| is(tier.as_str())),
            _ => false,
        }
    }

    fn number(&self, field: Field) -> Option<i64> {
        let record = self.0;
        let count = match field {
            Field::Status => u64::from(record.status),
            Field::Cost => return Some(record.charge.cost.0),
            Field::ProviderCost => return Some(record.charge.provider_cost.0),
            Field::Input => record.usage.prompt_total(),
            Field::Output => record.usage.completion_total(),
            Field::Cached => record.usage.cached_read,
            Field::Attempts => record.attempts.len() as u64,
            Field::Latency => latency_us(record),
            Field::FirstByte => first_byte_us(record)?,
            _ => return None,
        };
        i64::try_from(count).ok()
    }
}

pub(crate) fn request_row(record: MeterRecord) -> RequestRow {
    RequestRow {
        trace: record.trace,
        project: record.project,
        key: record.key,
        started_unix_ms: record.started_unix_ms,
        finished_unix_ms: record.finished_unix_ms,
        operation: record.operation.as_str().to_owned(),
        dialect: record.dialect.as_str().to_owned(),
        stream: record.stream,
        outcome: record.outcome.as_str().to_owned(),
        status: record.status,
        fault: record.fault,
        refused_by: record.reason.as_ref().and_then(|reason| reason.refused_by),
        profile: record.profile().map_or_else(String::new, |profile| profile.as_str().to_owned()),
        principal: record.principal,
        region: region(&record).cloned(),
        attempts: u32::try_from(record.attempts.len()).unwrap_or(u32::MAX),
        fallback_used: record.fallback_used,
        sums: sums_of(&record),
        latency_us: latency_us(&record),
        first_byte_us: first_byte_us(&record),
        bytes_out: record.bytes_out,
        resolution: record.plan.resolution.into_owned(),
        environment: record.environment,
        requested_model: record.requested_model,
        resolved_model: record.resolved_model,
        fault_code: record.fault_code,
        provider: record.provider,
        tag: record.tag,
        qos_class: record.extras.qos_class,
        session: record.extras.session,
        end_user: record.extras.end_user,
    }
}
