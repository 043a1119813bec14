//! What the requests of sessions used and cost: a sum for each session, written in the transaction of the records that it
//! sums, so that each record is in it once. It lives as long as its session, longer than the records if those go first.

use std::collections::BTreeMap;

use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::handle::Database;
use database::statement::{Statement, sql};
use domain::{MeterRecord, Nanos, SessionId, WorkspaceId};

use crate::limits::SUM_MAX;
use crate::tally::sums_of;
use crate::usage::UsageSums;

const TABLE: &str = "session_sums";
/// The numbers of a row.
const NUMBERS: usize = 9;

/// What some records add to the sums of their sessions, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SessionSums(BTreeMap<(WorkspaceId, SessionId), UsageSums>);

impl SessionSums {
    /// Adds a record, if its request named a session.
    pub(crate) fn add<Text>(&mut self, record: &MeterRecord<Text>) {
        if let Some(session) = record.extras.session {
            self.0.entry((record.workspace, session)).or_default().plus(&sums_of(record));
        }
    }

    /// A statement for each session, in the same order in every replica.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Statement> {
        self.0.iter().map(|((workspace, session), sums)| {
            let query = sql(ADD).bind(workspace.bytes()).bind(session.bytes());
            numbers(sums).into_iter().fold(query, Statement::bind)
        })
    }
}

/// In the order in which they are bound, each within the most that a sum is.
fn numbers(sums: &UsageSums) -> [i64; NUMBERS] {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX).min(SUM_MAX);
    let money = |nanos: Nanos| nanos.0.clamp(-SUM_MAX, SUM_MAX);
    [
        count(sums.requests),
        count(sums.failed),
        count(sums.input_tokens),
        count(sums.output_tokens),
        count(sums.cached_tokens),
        count(sums.reuse.candidate_tokens),
        count(sums.realized_reused_tokens),
        money(sums.cost),
        money(sums.provider_cost),
    ]
}

/// Adds to a number with saturation: what a node reports must not be able to stop the books.
macro_rules! plus {
    ($name:literal) => {
        concat!(
            $name,
            " = CASE WHEN session_sums.",
            $name,
            " > 4611686018427387904 - excluded.",
            $name,
            " THEN 4611686018427387904 ELSE session_sums.",
            $name,
            " + excluded.",
            $name,
            " END"
        )
    };
}

/// Adds to one session. One that is gone meanwhile, or that never was, has none.
const ADD: &str = concat!(
    "INSERT INTO session_sums (workspace, session, requests, failed, input_tokens, output_tokens, cached_tokens,
        candidate_tokens, reused_tokens, cost_nanos, provider_cost_nanos)
     SELECT workspace, id, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM sessions WHERE workspace = $1 AND id = $2
     ON CONFLICT (session) DO UPDATE SET ",
    plus!("requests"),
    ", ",
    plus!("failed"),
    ", ",
    plus!("input_tokens"),
    ", ",
    plus!("output_tokens"),
    ", ",
    plus!("cached_tokens"),
    ", ",
    plus!("candidate_tokens"),
    ", ",
    plus!("reused_tokens"),
    ", ",
    plus!("cost_nanos"),
    ", ",
    plus!("provider_cost_nanos"),
);

/// What the requests of a session used and cost; zero where it had none.
pub(crate) async fn of_session(
    database: &Database,
    workspace: WorkspaceId,
    session: SessionId,
) -> Result<UsageSums, StoreError> {
    let mut reader = database.read().await?;
    let query = sql("SELECT * FROM session_sums WHERE workspace = $1 AND session = $2");
    let Some(row) = query.bind(workspace.bytes()).bind(session.bytes()).row(&mut reader).await? else {
        return Ok(UsageSums::default());
    };
    let fields = Fields::new(TABLE, &row);
    let mut sums = UsageSums {
        requests: fields.number("requests")?,
        failed: fields.number("failed")?,
        input_tokens: fields.number("input_tokens")?,
        output_tokens: fields.number("output_tokens")?,
        cached_tokens: fields.number("cached_tokens")?,
        realized_reused_tokens: fields.number("reused_tokens")?,
        cost: Nanos(fields.get("cost_nanos")?),
        provider_cost: Nanos(fields.get("provider_cost_nanos")?),
        ..UsageSums::default()
    };
    sums.reuse.candidate_tokens = fields.number("candidate_tokens")?;
    Ok(sums)
}
