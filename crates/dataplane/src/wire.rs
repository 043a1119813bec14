//! What the two sides send each other, as JSON. Nothing here has room for content.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{BudgetId, DataPlaneId, TraceId, WorkspaceId};
use ledger::lease::{LeaseGrant, LeaseRequest};
use ledger::local_budget::LeaseOp;
use ledger::{DrainBatch, JournalPosition, LeaseAnswer, LeaseCall, Renewal, SettledRecords};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const JOIN: &str = "/v2/data-planes/join";
pub const CONFIGURATION: &str = "/v2/data-planes/configuration";
pub const RECORDS: &str = "/v2/data-planes/records";
pub const LEASES: &str = "/v2/data-planes/leases";
pub const EVIDENCE: &str = "/v2/data-planes/evidence";

/// A data plane asks for its configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneQuestion")]
pub struct Question {
    /// The version that it has; null at first.
    pub after: Option<u64>,
    /// Which history that version is of, as it came with it.
    #[serde(default)]
    pub history: Option<String>,
    /// Random: the answer repeats it, so that no earlier answer is one to this question.
    pub nonce: String,
    /// That of the last document that was applied, for a document with what changed since; null for a whole one.
    #[serde(default)]
    pub base: Option<String>,
    /// Of Tidegate.
    #[serde(default)]
    pub program: String,
}

/// The answer: a document, and the signature over its text.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneConfiguration")]
pub struct SignedDocument {
    /// The document's JSON, as it was signed.
    pub document: String,
    /// Ed25519, in hexadecimal.
    pub signature: String,
}

/// What a data plane is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    pub data_plane: String,
    pub workspace: String,
    /// Of the configuration of the control plane.
    pub version: u64,
    /// Which history the version is of.
    #[serde(default)]
    pub history: Option<String>,
    pub nonce: String,
    pub issued_unix_ms: u64,
    /// How long it may be served with, from when it was asked for.
    pub life_ms: u64,
    pub is_revoked: bool,
    /// Up to which place of its outbox the control plane has the data plane's records. Older programs don't say.
    #[serde(default)]
    pub delivered_place: Option<u64>,
    /// By table; none where nothing changed.
    pub rows: Option<Rows>,
    /// The nonce of the document since which the rows have changed; without one, they are all that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The keys of the rows that are gone since then, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, Vec<Vec<Option<Cell>>>>,
    /// What only this data plane opens.
    pub secrets: Option<String>,
}

pub(crate) type Rows = BTreeMap<String, Vec<WireRow>>;
pub(crate) type WireRow = BTreeMap<String, Option<Cell>>;

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Number(i64),
    Text(String),
    Bytes { base64: String },
}

/// A secret among those that are sealed together.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireSecret {
    /// Whose it is.
    pub object: String,
    pub version: u32,
    pub fingerprint: String,
    pub bytes: Vec<u8>,
}

/// Records of a data plane's journal, in their order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneRecords")]
pub struct RecordBatch {
    /// The journal of which core they are of.
    pub core: u32,
    /// The position that is reached with them.
    pub epoch: u64,
    pub segment: u64,
    pub offset: u64,
    /// The batch's place in the outbox, and that of the last one that was delivered before it. Older programs don't say.
    #[serde(default)]
    pub place: Option<u64>,
    #[serde(default)]
    pub delivered_place: Option<u64>,
    pub records: Vec<WireRecord>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneRecord")]
pub struct WireRecord {
    /// The request's id; a record that is sent twice is stored once.
    pub request_id: String,
    /// The meter record in its own encoding, as Base64.
    pub record: String,
}

/// Something that can't be read as what it is to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} can't be read")]
pub struct Unreadable(pub &'static str);

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn from_base64(text: &str, what: &'static str) -> Result<Vec<u8>, Unreadable> {
    STANDARD.decode(text).map_err(|_| Unreadable(what))
}

impl RecordBatch {
    pub fn of(batch: &DrainBatch, place: u64, delivered_place: u64) -> Self {
        let records = batch
            .records
            .encoded()
            .map(|(trace, body)| WireRecord { request_id: trace.to_string(), record: base64(body) });
        let JournalPosition { epoch, segment, offset } = batch.upto;
        let (place, delivered_place) = (Some(place), Some(delivered_place));
        Self { core: batch.core, epoch, segment, offset, place, delivered_place, records: records.collect() }
    }

    /// # Errors
    /// A record, or its id, is none.
    pub fn batch(&self) -> Result<DrainBatch, Unreadable> {
        let mut records = SettledRecords::default();
        for sent in &self.records {
            let trace: TraceId = sent.request_id.parse().map_err(|_| Unreadable("request_id"))?;
            records.push(trace, &from_base64(&sent.record, "record")?);
        }
        // Every record is one that can be decoded: the sink skips others, and they would be lost.
        if records.decoded::<&str>().count() != records.len() {
            return Err(Unreadable("record"));
        }
        let upto = JournalPosition { epoch: self.epoch, segment: self.segment, offset: self.offset };
        Ok(DrainBatch { core: self.core, upto, records })
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneReceipt")]
pub struct Taken {
    pub object: String,
    /// How many there were.
    pub taken: u64,
    /// Set when the records were refused because earlier ones are missing: the last place of the outbox that the control plane
    /// has, which was restored from a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_after: Option<u64>,
}

impl Taken {
    pub fn all(object: &str, taken: u64) -> Self {
        Self { object: object.to_owned(), taken, missing_after: None }
    }
}

/// What a data plane asks about budgets.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DataPlaneLeaseCall")]
pub enum LeaseQuestion {
    /// Asks for parts of budgets, and returns parts.
    Calls(Vec<WireLease>),
    /// Extends its leases.
    Renew,
    /// Returns all of them.
    Release,
    /// Asks what others wait for.
    Recalls,
    /// Reports that a budget refused a request.
    Exhausted { budget_id: String, period_unix_ms: u64 },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneLease")]
pub struct WireLease {
    pub budget_id: String,
    pub period_unix_ms: u64,
    /// The number of the call: one that is sent twice is applied once.
    pub sequence: u64,
    /// What is asked for; null where an amount is returned.
    pub ask: Option<WireAsk>,
    /// What is returned, in nano-USD.
    #[serde(default)]
    pub returns: i64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneLeaseAsk")]
pub struct WireAsk {
    pub least: i64,
    pub wanted: i64,
    pub divisible: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DataPlaneLeaseAnswer")]
pub enum LeaseReply {
    Calls(Vec<WireGrant>),
    Renewed { replicas: u64, leases: Vec<WireHeld> },
    Recalled(Vec<WireHeld>),
    Done,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneLeaseGrant")]
pub struct WireGrant {
    pub sequence: u64,
    /// What was granted, in nano-USD; null where an amount was returned.
    pub amount: Option<i64>,
    pub elsewhere: i64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneLeaseHeld")]
pub struct WireHeld {
    pub budget_id: String,
    pub period_unix_ms: u64,
}

impl From<&LeaseCall> for WireLease {
    fn from(call: &LeaseCall) -> Self {
        let (sequence, ask, returns) = match call.call {
            LeaseOp::Ask(LeaseRequest { sequence, least, wanted, divisible }) => {
                (sequence, Some(WireAsk { least, wanted, divisible }), 0)
            }
            LeaseOp::Return { sequence, amount } => (sequence, None, amount),
        };
        let (budget_id, period_unix_ms) = (call.budget.to_string(), call.period_unix_ms);
        Self { budget_id, period_unix_ms, sequence, ask, returns }
    }
}

impl WireLease {
    /// # Errors
    /// The budget's id is none, or an amount is below zero.
    pub fn call(&self) -> Result<LeaseCall, Unreadable> {
        let is_sound = self.returns >= 0
            && self.ask.as_ref().is_none_or(|ask| ask.least >= 0 && ask.wanted >= ask.least);
        if !is_sound {
            return Err(Unreadable("the amount of a lease"));
        }
        let sequence = self.sequence;
        let call = match &self.ask {
            Some(WireAsk { least, wanted, divisible }) => {
                LeaseOp::Ask(LeaseRequest { sequence, least: *least, wanted: *wanted, divisible: *divisible })
            }
            None => LeaseOp::Return { sequence, amount: self.returns },
        };
        Ok(LeaseCall { budget: budget(&self.budget_id)?, period_unix_ms: self.period_unix_ms, call })
    }
}

impl WireGrant {
    /// `None` where the centre did not answer.
    pub const fn of(answer: &LeaseAnswer) -> Option<Self> {
        match answer {
            LeaseAnswer::Granted(grant) => {
                let LeaseGrant { sequence, amount, elsewhere } = *grant;
                Some(Self { sequence, amount: Some(amount), elsewhere })
            }
            LeaseAnswer::Returned { sequence } => {
                Some(Self { sequence: *sequence, amount: None, elsewhere: 0 })
            }
            LeaseAnswer::Failed => None,
        }
    }
}

impl From<&WireGrant> for LeaseAnswer {
    fn from(grant: &WireGrant) -> Self {
        let sequence = grant.sequence;
        match grant.amount {
            Some(amount) => Self::Granted(LeaseGrant { sequence, amount, elsewhere: grant.elsewhere }),
            None => Self::Returned { sequence },
        }
    }
}

impl From<&(BudgetId, u64)> for WireHeld {
    fn from((budget, period_unix_ms): &(BudgetId, u64)) -> Self {
        Self { budget_id: budget.to_string(), period_unix_ms: *period_unix_ms }
    }
}

impl LeaseReply {
    pub fn renewed(renewal: &Renewal) -> Self {
        Self::Renewed { replicas: renewal.replicas, leases: renewal.leases.iter().map(Into::into).collect() }
    }
}

/// # Errors
/// It is not a budget's id.
pub fn budget(text: &str) -> Result<BudgetId, Unreadable> {
    text.parse().map_err(|_| Unreadable("budget_id"))
}

pub(crate) fn held(leases: &[WireHeld]) -> Result<Vec<(BudgetId, u64)>, Unreadable> {
    leases.iter().map(|held| Ok((budget(&held.budget_id)?, held.period_unix_ms))).collect()
}

/// What a data plane signed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DataPlaneEvidence")]
pub struct Delivery {
    pub documents: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The names under which a data plane is known to both sides.
pub(crate) fn parse_ids(document: &Document) -> Result<(DataPlaneId, WorkspaceId), Unreadable> {
    let plane = document.data_plane.parse().map_err(|_| Unreadable("data_plane"))?;
    let workspace = document.workspace.parse().map_err(|_| Unreadable("workspace"))?;
    Ok((plane, workspace))
}
