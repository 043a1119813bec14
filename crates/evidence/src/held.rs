//! What the database holds of the content of requests, and until when: a part of the data path of each.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::statement::{Row, sql};
use domain::purge::Place;
use domain::{Principal, StoredObjectKind, TraceId, WorkspaceId};
use store::Store;

const TABLE: &str = "held";

/// A row of `kept_answers` without an answer is a request in progress. What ended is swept later, and is not held any more.
const HELD: &str = "SELECT * FROM (
     SELECT request, CASE WHEN is_cached = 1 THEN 'response_cache' ELSE 'idempotent_answers' END AS place,
            '' AS kind, '' AS maker, until_unix_ms
     FROM kept_answers WHERE workspace = $1 AND request >= $2 AND request <= $3 AND sealed IS NOT NULL
     UNION ALL
     SELECT request, 'kept_turns' AS place, '' AS kind, '' AS maker, until_unix_ms
     FROM kept_turns WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT request, 'provider_objects' AS place, kind, maker, until_unix_ms
     FROM kept_objects WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT request, 'provider_responses' AS place, 'response' AS kind, maker, until_unix_ms
     FROM stored_responses WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT DISTINCT request, 'agent_state' AS place, '' AS kind, '' AS maker, CAST(NULL AS BIGINT) AS until_unix_ms
     FROM state_contents WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT request, 'request_contents' AS place, '' AS kind, '' AS maker, until_unix_ms
     FROM request_contents WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT request, 'files' AS place, '' AS kind, '' AS maker, until_unix_ms
     FROM files WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT DISTINCT c.request, 'batches' AS place, '' AS kind, '' AS maker, b.until_unix_ms
     FROM batch_contents AS c JOIN batches AS b ON b.id = c.batch
     WHERE c.workspace = $1 AND c.request >= $2 AND c.request <= $3
     UNION ALL
     SELECT request, 'tasks' AS place, '' AS kind, '' AS maker, until_unix_ms
     FROM run_tasks WHERE workspace = $1 AND request >= $2 AND request <= $3
     UNION ALL
     SELECT request, 'flow_runs' AS place, '' AS kind, '' AS maker, until_unix_ms
     FROM flow_runs WHERE workspace = $1 AND request >= $2 AND request <= $3
     ) AS held
     WHERE until_unix_ms IS NULL OR until_unix_ms > $4 ORDER BY request DESC LIMIT $5";

/// Something that is held of one request here, or that its provider holds and we keep the name of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub request: TraceId,
    pub place: Place,
    /// What a provider holds, such as `file`; empty for what is held here.
    pub kind: &'static str,
    /// With which credential, account or node a provider holds it.
    pub maker: Option<Principal>,
    /// When it is deleted, or its name is, if that is known.
    pub until_unix_ms: Option<u64>,
}

/// Whose requests are asked about.
#[derive(Debug, Clone, Copy)]
pub struct HeldOf {
    pub workspace: WorkspaceId,
    pub first: TraceId,
    /// Inclusive.
    pub last: TraceId,
    pub now_unix_ms: u64,
    /// The newest, if there are more.
    pub rows_max: u32,
}

/// What the database holds of these requests, newest first.
pub async fn held(store: &Store, of: HeldOf) -> Result<Vec<Held>, StoreError> {
    let database: &Database = store.database();
    let query = sql(HELD)
        .bind(of.workspace.bytes())
        .bind(of.first.bytes())
        .bind(of.last.bytes())
        .bind(signed(of.now_unix_ms))
        .bind(i64::from(of.rows_max));
    query.rows(&mut database.read().await?).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Held, StoreError> {
    let fields = Fields::new(TABLE, row);
    let (place, kind, maker) = (fields.text("place")?, fields.text("kind")?, fields.text("maker")?);
    let known = Place::ALL.into_iter().find(|known| known.as_str() == place);
    Ok(Held {
        request: fields.id("request")?,
        place: known.ok_or_else(|| StoreError::corrupt(TABLE, format!("place is {place}")))?,
        kind: word(&kind).ok_or_else(|| StoreError::corrupt(TABLE, format!("kind is {kind}")))?,
        maker: (!maker.is_empty())
            .then(|| maker.parse())
            .transpose()
            .map_err(|_| StoreError::corrupt(TABLE, format!("maker is {maker}")))?,
        until_unix_ms: fields.maybe_number("until_unix_ms")?,
    })
}

fn word(kind: &str) -> Option<&'static str> {
    match kind {
        "" => Some(""),
        "response" => Some("response"),
        stored => StoredObjectKind::by_name(stored).map(StoredObjectKind::as_str),
    }
}
