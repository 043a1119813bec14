//! Data paths as `/v2` shows them.

use api::moment::Moment;
use schemars::JsonSchema;
use serde::Serialize;

use super::party::{Party, PartyRole, Retention};
use super::sums::{LineKey, LineSum, RegionSum, Sums};

/// Who saw a request.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPathParty")]
pub struct PartyView {
    /// `tidegate`, a provider, a node's id, or the host of a hook.
    party: String,
    #[schemars(extend("enum" = PartyRole::WORDS))]
    role: &'static str,
    /// Why it was shown the request (`serving`, `answer`, `embedding`, `context_cache`, `cache_keep_alive`, `hook_before`, `hook_after`), or what
    /// it stores of it: `records`, `response_cache`, `idempotent_answers`, `kept_turns`, `batches`, `session`, or at a provider `file`, `batch`,
    /// `video`, `response` and others.
    purpose: &'static str,
    /// `metadata` or `content`; `null` if that is not known.
    saw: Option<&'static str>,
    /// The region; `null` where nobody stated it.
    place: Option<String>,
    /// Where it is called, as it is configured now; `null` if that is not known, or not the viewer's to know.
    host: Option<String>,
    /// The credential or node that it was called as, `managed` for an account of the operator, or `workspace_key` for what is sealed
    /// here; `null` where there is none.
    key: Option<String>,
    /// The number of the attempt that it was shown the request in.
    attempt: Option<u32>,
    seen_at: Moment,
    retention: RetentionView,
}

/// How long it is retained there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPathRetention")]
struct RetentionView {
    /// `null` if it is not known, or until its owner deletes it.
    until: Option<Moment>,
    /// As it was agreed or published.
    days: Option<u64>,
    /// `agreed`: in the agreement that the owner of the credential or account declares, as it is now. `published`: in the capability
    /// manifest. `ours`: by a setting of this installation, or the request itself.
    #[schemars(extend("enum" = ["agreed", "published", "ours", "unknown"]))]
    basis: &'static str,
    /// Where it was agreed or read, or which setting it is.
    source: Option<String>,
}

/// The data paths of many requests.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPath")]
pub struct DataPathView {
    object: &'static str,
    start: Moment,
    end: Moment,
    /// The parties, in the order in which requests meet them.
    data: Vec<LineView>,
    /// What providers and nodes computed, by region.
    residency: Vec<RegionView>,
    /// How many requests were read.
    requests: u64,
    /// Only the newest were read: there were more than are read at once.
    truncated: bool,
    /// When the oldest of those that were read began; `null` if there are none.
    read_from: Option<Moment>,
}

/// One party of many requests.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPathLine")]
pub struct LineView {
    /// As in the data path of one request.
    party: String,
    #[schemars(extend("enum" = PartyRole::WORDS))]
    role: &'static str,
    purpose: &'static str,
    saw: Option<&'static str>,
    place: Option<String>,
    host: Option<String>,
    key: Option<String>,
    retention: RetentionView,
    requests: u64,
    first_seen: Moment,
    last_seen: Moment,
}

/// The same for a file: a cell for each value.
#[derive(Serialize)]
pub struct LineCells {
    party: String,
    role: &'static str,
    purpose: &'static str,
    saw: &'static str,
    place: String,
    host: Option<String>,
    key: Option<String>,
    retention_until: Option<Moment>,
    retention_days: Option<u64>,
    retention_basis: &'static str,
    retention_source: Option<String>,
    requests: u64,
    first_seen: Moment,
    last_seen: Moment,
}

/// What was computed in a region. A request that was tried in two is counted in both.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DataPathRegion")]
struct RegionView {
    /// As the owner of the credential, account or node states it; `null` where nobody did.
    region: Option<String>,
    requests: u64,
    attempts: u64,
    input_tokens: u64,
    output_tokens: u64,
}

/// What was read.
pub struct Read {
    pub start_unix_ms: u64,
    pub end_unix_ms: u64,
    pub requests: u64,
    pub is_truncated: bool,
    pub from_unix_ms: Option<u64>,
    pub sums: Sums,
}

pub fn party(party: Party) -> PartyView {
    PartyView {
        retention: retention(party.retention),
        party: party.name,
        role: party.role.as_str(),
        purpose: party.purpose,
        saw: party.saw.map(super::party::Saw::as_str),
        place: party.place,
        host: party.host,
        key: party.key,
        attempt: party.attempt,
        seen_at: Moment(party.seen_unix_ms),
    }
}

fn retention(retention: Retention) -> RetentionView {
    RetentionView {
        until: retention.until_unix_ms.map(Moment),
        days: retention.days,
        basis: retention.basis.as_str(),
        source: retention.source,
    }
}

pub fn whole(read: Read) -> DataPathView {
    DataPathView {
        object: "data_path",
        start: Moment(read.start_unix_ms),
        end: Moment(read.end_unix_ms),
        residency: read.sums.regions.into_iter().map(region).collect(),
        data: read.sums.lines.into_iter().map(line).collect(),
        requests: read.requests,
        truncated: read.is_truncated,
        read_from: read.from_unix_ms.map(Moment),
    }
}

pub fn line((key, sum): (LineKey, LineSum)) -> LineView {
    LineView {
        party: key.name,
        role: key.role.as_str(),
        purpose: key.purpose,
        saw: key.saw.map(super::party::Saw::as_str),
        place: key.place,
        host: key.host,
        key: key.key,
        retention: retention(Retention { until_unix_ms: sum.until_unix_ms, ..key.retention }),
        requests: sum.requests,
        first_seen: Moment(sum.first_seen_unix_ms),
        last_seen: Moment(sum.last_seen_unix_ms),
    }
}

/// What is not known is said in words: whoever reads the file has no documentation beside it.
pub fn cells(pair: (LineKey, LineSum)) -> LineCells {
    let LineView { party, role, purpose, saw, place, host, key, retention, requests, first_seen, last_seen } =
        line(pair);
    LineCells {
        party,
        role,
        purpose,
        saw: saw.unwrap_or("unknown"),
        place: place.unwrap_or_else(|| "not stated".to_owned()),
        host,
        key,
        retention_until: retention.until,
        retention_days: retention.days,
        retention_basis: retention.basis,
        retention_source: retention.source,
        requests,
        first_seen,
        last_seen,
    }
}

fn region((region, sum): (Option<String>, RegionSum)) -> RegionView {
    RegionView {
        region,
        requests: sum.requests,
        attempts: sum.attempts,
        input_tokens: sum.input_tokens,
        output_tokens: sum.output_tokens,
    }
}
