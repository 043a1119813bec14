//! The meter record: all that is stored of one settled exchange, without any of its content.
//!
//! `Text` is the string type: owned, or `&str` borrowed from the serialised record.

use std::borrow::Cow;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::allowance::Drawn;
use crate::caching::CacheRecord;
use crate::dialect::Dialect;
use crate::fault::{Fault, FaultClass, Refuser};
use crate::hints::{Qos, QosClass};
use crate::ids::{EndUserId, KeyId, ProjectId, SessionId, TaskId, TraceId, WorkspaceId};
use crate::limits::{RECORD_REASON_BYTES_MAX, RECORD_TEXT_BYTES_MAX};
use crate::money::{Nanos, Rates};
use crate::operation::Operation;
use crate::policy::{CheckCount, HookCall, HookServer};
use crate::profile::{Principal, Profile};
use crate::reuse::{CacheTier, InputCost, PromptReuse, ReuseEvidence, Waterfall};
use crate::semantic::SemanticSearch;
use crate::side_call::SideCall;
use crate::timeline::Timeline;
use crate::usage::Usage;

crate::words! {
    /// How an exchange ended. Every admitted exchange has exactly one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(from = "Written", into = "Written")]
    pub enum Outcome {
        Completed = "completed",
        /// A budget was used up before the answer ended. It is written as `Completed` with the budget's fault, so
        /// that every version can read it; `MeterRecord::read_back` tells the two apart.
        Cut = "cut",
        /// Refused or failed; the fault says who is at fault.
        Failed = "failed",
        /// The client disconnected before the end.
        ClientCancelled = "client_cancelled",
        /// The process died; closed from the journal at the next start.
        Interrupted = "interrupted",
        /// The hard deadline passed.
        Deadline = "deadline",
    }
}

/// The serialised outcome. Never extend it: a version that meets an unknown number can't read the record.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Written {
    Completed,
    Failed,
    ClientCancelled,
    Interrupted,
    Deadline,
}

impl From<Written> for Outcome {
    fn from(written: Written) -> Self {
        match written {
            Written::Completed => Self::Completed,
            Written::Failed => Self::Failed,
            Written::ClientCancelled => Self::ClientCancelled,
            Written::Interrupted => Self::Interrupted,
            Written::Deadline => Self::Deadline,
        }
    }
}

impl From<Outcome> for Written {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed | Outcome::Cut => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::ClientCancelled => Self::ClientCancelled,
            Outcome::Interrupted => Self::Interrupted,
            Outcome::Deadline => Self::Deadline,
        }
    }
}

/// Whether a price was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Priced {
    Priced,
    /// No price is known: counted and shown, never taken for zero.
    Unpriced,
    /// Nothing is charged for tokens (a node), or nothing was used.
    #[default]
    Free,
}

/// The cost of one exchange or attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Charge {
    /// What the workspace owes the operator.
    pub cost: Nanos,
    /// What the provider will bill: to the customer under BYOK, to the operator for managed accounts.
    pub provider_cost: Nanos,
    pub priced: Priced,
}

/// One upstream attempt. `Text` is the string type: while the exchange is open, the strings are shared with
/// its plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord<Text = String> {
    pub number: u32,
    pub principal: Principal,
    pub provider: Text,
    /// The provider's name for the model.
    pub upstream_model: Text,
    pub region: Option<Text>,
    /// Time since the exchange's first byte.
    pub started_us: u64,
    pub duration_us: u64,
    pub status: Option<u16>,
    pub fault: Option<FaultClass>,
    pub upstream_request_id: Option<Text>,
    pub usage: Usage,
    /// The prices in force, stored so that every charge can be recomputed from the record alone.
    pub rates: Option<Rates>,
    pub markup_bps: u32,
    pub charge: Charge,
}

impl<Text> AttemptRecord<Text> {
    pub const fn profile(&self) -> Profile {
        self.principal.profile()
    }
}

/// Why a candidate of the plan was rejected; `reason` is a stable code, `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected<Text = String> {
    pub principal: Principal,
    pub provider: Text,
    pub reason: Text,
    pub detail: Text,
}

/// The part of a plan that is stored in the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanRecord<Text = String> {
    /// How the model name was resolved, such as `catalogue` or `node_model`.
    pub resolution: Cow<'static, str>,
    /// The winning route's id; empty where the broker's default order decided.
    pub route: Text,
    pub candidates: Vec<Principal>,
    pub rejected: Vec<Rejected<Text>>,
    pub snapshot_version: u64,
}

/// Why an exchange failed or was cut, in the words that the client read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason<Text = String> {
    pub message: Text,
    pub fix: Option<Text>,
    /// The offending field.
    pub param: Option<Text>,
    /// The part of the workspace's own configuration that refused the request.
    pub refused_by: Option<Refuser>,
}

impl Reason {
    pub fn of(fault: &Fault) -> Self {
        let clipped = |text: &str| clip(text, RECORD_REASON_BYTES_MAX).to_owned();
        Self {
            message: clipped(&fault.message_without_content()),
            fix: fault.fix.as_deref().map(clipped),
            param: fault.param.as_deref().map(|param| clip(param, RECORD_TEXT_BYTES_MAX).to_owned()),
            refused_by: fault.refused_by.as_deref().copied(),
        }
    }
}

fn clip(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Records of earlier versions end before this field. If a later version wrote it in another form, it is
/// dropped instead of the whole record.
fn reason_or_end<'de, D, Text>(deserializer: D) -> Result<Option<Reason<Text>>, D::Error>
where
    D: Deserializer<'de>,
    Text: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer).unwrap_or_default())
}

/// What a request's hints stated about time, and whether its answer began in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatedQos {
    pub target_ttft_ms: Option<u64>,
    pub deadline_ms: Option<u64>,
    /// `None` before the answer's head went out, and without a target.
    pub target_met: Option<bool>,
}

impl StatedQos {
    /// `None` where nothing about time is stated.
    pub fn of(qos: &Qos) -> Option<Self> {
        let Qos { target_ttft_ms, deadline_ms, .. } = *qos;
        let is_stated = target_ttft_ms.is_some() || deadline_ms.is_some();
        is_stated.then_some(Self { target_ttft_ms, deadline_ms, target_met: None })
    }
}

/// What later versions of the program added to a record and to the tab that becomes one. It stands behind everything
/// else, so that older versions ignore it, and ends with its last field that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(bound(deserialize = "Text: Deserialize<'de>"))]
pub struct Extras<Text = String> {
    /// What the checks of policies found.
    #[serde(deserialize_with = "value_or_end")]
    pub checks: Vec<CheckCount>,
    /// The class that the request's hints stated.
    #[serde(deserialize_with = "value_or_end")]
    pub qos_class: Option<QosClass>,
    /// The revision of the capability manifest, where that kept the request from a candidate.
    #[serde(deserialize_with = "value_or_end")]
    pub manifest_revision: Option<String>,
    /// How the hooks of policies answered.
    #[serde(deserialize_with = "value_or_end")]
    pub hooks: Vec<HookCall>,
    /// What the request's hints stated about time.
    #[serde(deserialize_with = "value_or_end")]
    pub qos: Option<StatedQos>,
    /// Whether the request offered the model tools; `None` in records of earlier versions.
    #[serde(deserialize_with = "value_or_end")]
    pub has_tools: Option<bool>,
    /// The search of the semantic response cache.
    #[serde(deserialize_with = "value_or_end")]
    pub semantic: Option<SemanticSearch>,
    /// What it was made for, if no client asked for it.
    #[serde(deserialize_with = "value_or_end")]
    pub side_call: Option<SideCall>,
    /// The agent's session that it belongs to.
    #[serde(deserialize_with = "value_or_end")]
    pub session: Option<SessionId>,
    /// The servers of `hooks`, in their order; none in records of earlier versions.
    #[serde(deserialize_with = "value_or_end")]
    pub hook_servers: Vec<HookServer>,
    /// The client's own user whom the request named.
    #[serde(deserialize_with = "value_or_end")]
    pub end_user: Option<EndUserId>,
    /// The task that it was made for.
    #[serde(deserialize_with = "value_or_end")]
    pub task: Option<TaskId>,
    /// The agent whose turn that task is.
    #[serde(deserialize_with = "value_or_end")]
    pub agent: Option<Text>,
    /// The adapter with which a node answered.
    #[serde(deserialize_with = "value_or_end")]
    pub adapter: Option<Text>,
}

impl<Text: Serialize> Serialize for Extras<Text> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_adapter = self.adapter.is_some();
        let has_agent = has_adapter || self.agent.is_some();
        let has_task = has_agent || self.task.is_some();
        let has_end_user = has_task || self.end_user.is_some();
        let has_servers = has_end_user || !self.hook_servers.is_empty();
        let has_session = has_servers || self.session.is_some();
        let has_side_call = has_session || self.side_call.is_some();
        let has_semantic = has_side_call || self.semantic.is_some();
        let has_tools = has_semantic || self.has_tools.is_some();
        let has_qos = has_tools || self.qos.is_some();
        let has_hooks = has_qos || !self.hooks.is_empty();
        let has_revision = has_hooks || self.manifest_revision.is_some();
        let has_class = has_revision || self.qos_class.is_some();
        let has_checks = has_class || !self.checks.is_empty();
        let mut fields = serializer.serialize_struct("Extras", 14)?;
        if has_checks {
            fields.serialize_field("checks", &self.checks)?;
        }
        if has_class {
            fields.serialize_field("qos_class", &self.qos_class)?;
        }
        if has_revision {
            fields.serialize_field("manifest_revision", &self.manifest_revision)?;
        }
        if has_hooks {
            fields.serialize_field("hooks", &self.hooks)?;
        }
        if has_qos {
            fields.serialize_field("qos", &self.qos)?;
        }
        if has_tools {
            fields.serialize_field("has_tools", &self.has_tools)?;
        }
        if has_semantic {
            fields.serialize_field("semantic", &self.semantic)?;
        }
        if has_side_call {
            fields.serialize_field("side_call", &self.side_call)?;
        }
        if has_session {
            fields.serialize_field("session", &self.session)?;
        }
        if has_servers {
            fields.serialize_field("hook_servers", &self.hook_servers)?;
        }
        if has_end_user {
            fields.serialize_field("end_user", &self.end_user)?;
        }
        if has_task {
            fields.serialize_field("task", &self.task)?;
        }
        if has_agent {
            fields.serialize_field("agent", &self.agent)?;
        }
        if has_adapter {
            fields.serialize_field("adapter", &self.adapter)?;
        }
        fields.end()
    }
}

/// A field that earlier versions end before; what can't be read is nothing.
fn value_or_end<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(T::deserialize(deserializer).unwrap_or_default())
}

/// One settled exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterRecord<Text = String> {
    pub trace: TraceId,
    pub workspace: WorkspaceId,
    pub project: ProjectId,
    pub key: Option<KeyId>,
    pub environment: Text,
    pub started_unix_ms: u64,
    pub finished_unix_ms: u64,
    pub operation: Operation,
    pub dialect: Dialect,
    pub stream: bool,
    pub requested_model: Text,
    /// `publisher/model`, or the name used by the node or custom server.
    pub resolved_model: Text,
    pub outcome: Outcome,
    /// The status code sent to the client.
    pub status: u16,
    pub fault: Option<FaultClass>,
    /// The fault's stable code, such as `model_not_served`.
    pub fault_code: Option<Text>,
    /// The credential, account or node that answered, or the last that was tried; `None` if no attempt was
    /// made.
    pub principal: Option<Principal>,
    pub provider: Text,
    pub fallback_used: bool,
    pub tag: Option<Text>,
    pub usage: Usage,
    pub charge: Charge,
    pub attempts: Vec<AttemptRecord<Text>>,
    pub plan: PlanRecord<Text>,
    pub timeline: Timeline,
    /// Bytes of the answer that were sent to the client.
    pub bytes_out: u64,
    /// The budgets that the exchange was charged to, each with the amount.
    pub drawn: Vec<Drawn>,
    /// What was done for the provider's prompt cache, or would have been.
    pub caching: Option<CacheRecord>,
    /// Earlier versions ended before it, or with it.
    #[serde(deserialize_with = "reason_or_end")]
    pub reason: Option<Reason<Text>>,
    /// The last field.
    pub extras: Extras<Text>,
}

impl<Text> MeterRecord<Text> {
    /// Restores what serialisation merged: a completed exchange with a budget's fault was cut.
    pub fn read_back(mut self) -> Self {
        let is_cut = matches!(self.fault, Some(FaultClass::BudgetReached | FaultClass::CreditsRequired));
        if self.outcome == Outcome::Completed && is_cut {
            self.outcome = Outcome::Cut;
        }
        self
    }

    pub fn profile(&self) -> Option<Profile> {
        self.principal.map(Principal::profile)
    }

    /// How much of the prompt was reused, and could have been.
    pub fn waterfall(&self) -> Waterfall {
        let caching = self.caching.as_ref();
        Waterfall::of(&self.usage, caching.and_then(|caching| caching.reuse.as_ref()))
    }

    /// How sure it is how much of the prompt was reused. A provider that never tells says nothing by a zero.
    pub fn reuse_evidence(&self) -> ReuseEvidence {
        let is_evidence = |reuse: PromptReuse| !reuse.is_unreported || self.usage.cached_read > 0;
        match self.caching.and_then(|caching| caching.reuse) {
            Some(reuse) if !is_evidence(reuse) => ReuseEvidence::Unknown,
            _ => ReuseEvidence::of(self.usage.source, self.profile()),
        }
    }

    /// Where what was reused had been kept; `None` where nothing was.
    pub fn cache_tier(&self) -> Option<CacheTier> {
        if self.caching.is_some_and(|caching| caching.served.is_some()) {
            return Some(CacheTier::Response);
        }
        if self.waterfall().realized == 0 {
            return None;
        }
        match self.reuse_evidence() {
            ReuseEvidence::RuntimeConfirmed => Some(CacheTier::Runtime),
            _ => Some(CacheTier::Provider),
        }
    }

    /// What the prompts of all attempts cost, at the prices that each has in this record: those of its service tier.
    pub fn input_cost(&self) -> InputCost {
        self.attempts.iter().fold(InputCost::default(), |sum, attempt| {
            sum.plus(InputCost::of(attempt.profile(), attempt.rates.as_ref(), &attempt.usage))
        })
    }
}
