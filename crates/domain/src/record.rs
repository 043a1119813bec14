//! The meter record: everything that is kept of one settled exchange, without a word of its content.
//!
//! `Text` is how its words are held: owned, or `&str`, borrowed from the bytes that the record is read from.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::allowance::Drawn;
use crate::caching::CacheRecord;
use crate::dialect::Dialect;
use crate::fault::FaultClass;
use crate::ids::{KeyId, ProjectId, TraceId, WorkspaceId};
use crate::money::{Nanos, Rates};
use crate::operation::Operation;
use crate::profile::{Principal, Profile};
use crate::timeline::Timeline;
use crate::usage::Usage;

/// How an exchange ended. Every admitted exchange has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    Completed,
    /// Refused or failed; the fault says by whom.
    Failed,
    /// The client went away before the end.
    ClientCancelled,
    /// The process died; closed from the journal at the next start.
    Interrupted,
    /// The hard deadline passed.
    Deadline,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::ClientCancelled => "client_cancelled",
            Self::Interrupted => "interrupted",
            Self::Deadline => "deadline",
        }
    }
}

/// Whether a price was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Priced {
    Priced,
    /// Nobody told us a price: counted and shown, never taken for zero.
    Unpriced,
    /// No token price by nature (a node), or nothing was used.
    #[default]
    Free,
}

/// Money of one exchange or attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Charge {
    /// What the workspace owes the operator.
    pub cost: Nanos,
    /// What the provider will bill: the customer under BYOK, the operator under managed.
    pub provider_cost: Nanos,
    pub priced: Priced,
}

/// One upstream try. `Text` is how its names are held: while the exchange is open they are shared with its plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord<Text = String> {
    pub number: u32,
    pub principal: Principal,
    pub provider: Text,
    /// The model's name at that seller.
    pub upstream_model: Text,
    pub region: Option<Text>,
    /// After the exchange's first byte.
    pub started_us: u64,
    pub duration_us: u64,
    pub status: Option<u16>,
    pub fault: Option<FaultClass>,
    pub upstream_request_id: Option<Text>,
    pub usage: Usage,
    /// The prices that were in force, kept so that every charge can be recomputed from the record alone.
    pub rates: Option<Rates>,
    pub markup_bps: u32,
    pub charge: Charge,
}

impl<Text> AttemptRecord<Text> {
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.principal.profile()
    }
}

/// Why a candidate of the plan was not chosen; `reason` is a stable word, `detail` tells a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected<Text = String> {
    pub principal: Principal,
    pub provider: Text,
    pub reason: Text,
    pub detail: Text,
}

/// The part of a plan that is kept with the record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanRecord<Text = String> {
    /// The rule of resolution that matched, such as `catalogue` or `node_model`.
    pub resolution: Cow<'static, str>,
    /// The winning route's id, or empty where the broker's own order decided.
    pub route: Text,
    pub candidates: Vec<Principal>,
    pub rejected: Vec<Rejected<Text>>,
    pub snapshot_version: u64,
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
    /// `publisher/model`, or the node's or custom server's own name.
    pub resolved_model: Text,
    pub outcome: Outcome,
    /// What the client was sent.
    pub status: u16,
    pub fault: Option<FaultClass>,
    /// The fault's stable code, such as `model_not_served`.
    pub fault_code: Option<Text>,
    /// What answered, or the last that was tried; `None` where no attempt was made.
    pub principal: Option<Principal>,
    pub provider: Text,
    pub fallback_used: bool,
    pub tag: Option<Text>,
    pub usage: Usage,
    pub charge: Charge,
    pub attempts: Vec<AttemptRecord<Text>>,
    pub plan: PlanRecord<Text>,
    pub timeline: Timeline,
    /// Bytes of the answer that went to the client.
    pub bytes_out: u64,
    /// The budgets that this was drawn on, each with the money that counts there.
    pub drawn: Vec<Drawn>,
    /// What was done for the provider's cache of prompts, or would have been.
    pub caching: Option<CacheRecord>,
}

impl<Text> MeterRecord<Text> {
    #[must_use]
    pub fn profile(&self) -> Option<Profile> {
        self.principal.map(Principal::profile)
    }
}
