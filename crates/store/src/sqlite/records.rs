//! Meter records: taken from the journal in batches, listed and read back.

use domain::ports::PortFuture;
use domain::{MeterRecord, Priced, Principal, TraceId, UsageSource, WorkspaceId};
use ledger::{DrainBatch, JournalPosition, RecordSink, SinkError};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite};

use super::SqliteStore;
use super::fields::{ColumnId, Fields, after};
use super::usage::{self, SUMMED_COLUMNS};
use super::writing::{Writing, database, signed, unsigned};
use crate::usage::{BillingRow, UsageQuery, UsageRow, Window, step_of};
use crate::{Listed, Page, Records, RequestFilter, RequestRow, StoreError, StoreFuture, stored};

const TABLE: &str = "records";
/// Rows of one statement: a statement costs a trip to SQLite's thread, a row hardly anything.
const ROWS_PER_STATEMENT: usize = 32;

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

macro_rules! head {
    () => {
        "INSERT OR IGNORE INTO records (workspace, trace, project, key, environment, started_unix_ms, \
         finished_unix_ms, operation, dialect, modality, stream, requested_model, resolved_model, outcome, status, \
         fault_code, profile, mode, principal, provider, region, attempts, fallback_used, tag, input, cached_read, \
         cache_write, output, reasoning, usage_source, cost_nanos, provider_cost_nanos, priced, latency_us, \
         latency_step, first_byte_us, first_byte_step, bytes_out) VALUES "
    };
}

macro_rules! marks {
    () => {
        "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
    };
}

macro_rules! thirty_two {
    ($row:expr) => {
        concat!(
            $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row,
            ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",",
            $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row,
            ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row
        )
    };
}

const INSERT_MANY: &str = concat!(head!(), thirty_two!(marks!()));
const INSERT_ONE: &str = concat!(head!(), marks!());
const BODY_MANY: &str =
    concat!("INSERT OR IGNORE INTO record_bodies (trace, workspace, body) VALUES ", thirty_two!("(?,?,?)"));
const BODY_ONE: &str = "INSERT OR IGNORE INTO record_bodies (trace, workspace, body) VALUES (?,?,?)";

async fn apply(writing: &mut Writing, batch: DrainBatch) -> Result<(), StoreError> {
    let mut chunks = batch.records.chunks_exact(ROWS_PER_STATEMENT);
    for chunk in &mut chunks {
        insert(writing, INSERT_MANY, BODY_MANY, chunk).await?;
    }
    for record in chunks.remainder() {
        insert(writing, INSERT_ONE, BODY_ONE, std::slice::from_ref(record)).await?;
    }
    let query = sqlx::query(
        "INSERT INTO journal_positions (core, epoch, segment, position) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (core) DO UPDATE SET epoch = ?2, segment = ?3, position = ?4",
    );
    query
        .bind(i64::from(batch.core))
        .bind(batch.upto.epoch.cast_signed())
        .bind(batch.upto.segment.cast_signed())
        .bind(batch.upto.offset.cast_signed())
        .execute(writing.connection())
        .await
        .map_err(database)?;
    Ok(())
}

async fn insert(
    writing: &mut Writing,
    rows: &'static str,
    bodies: &'static str,
    records: &[MeterRecord],
) -> Result<(), StoreError> {
    let query = records.iter().fold(sqlx::query(rows), bind_record);
    query.execute(writing.connection()).await.map_err(database)?;
    let mut query = sqlx::query(bodies);
    for record in records {
        let body = stored::to_text("record_bodies", record)?;
        query = query.bind(record.trace.bytes()).bind(record.workspace.bytes()).bind(body);
    }
    query.execute(writing.connection()).await.map_err(database)?;
    Ok(())
}

/// The region of the attempt that answered, or of the last one.
fn region(record: &MeterRecord) -> Option<String> {
    let answered = record.attempts.iter().rev().find(|attempt| Some(attempt.principal) == record.principal);
    answered.and_then(|attempt| attempt.region.clone())
}

fn latency_us(record: &MeterRecord) -> u64 {
    let by_wall = record.finished_unix_ms.saturating_sub(record.started_unix_ms).saturating_mul(1_000);
    if record.timeline.settled_us > 0 { record.timeline.settled_us } else { by_wall }
}

fn bind_record<'q>(query: Query<'q>, record: &'q MeterRecord) -> Query<'q> {
    let first_byte_us = Some(record.timeline.first_byte_us).filter(|us| *us > 0);
    let latency_us = latency_us(record);
    bind_who(query, record)
        .bind(signed(record.usage.input))
        .bind(signed(record.usage.cached_read))
        .bind(signed(record.usage.cache_write.saturating_add(record.usage.cache_write_long)))
        .bind(signed(record.usage.output))
        .bind(signed(record.usage.reasoning))
        .bind(match record.usage.source {
            UsageSource::Provider => "provider",
            UsageSource::Estimate => "estimate",
            UsageSource::None => "none",
        })
        .bind(record.charge.cost.0)
        .bind(record.charge.provider_cost.0)
        .bind(match record.charge.priced {
            Priced::Priced => "priced",
            Priced::Unpriced => "unpriced",
            Priced::Free => "free",
        })
        .bind(signed(latency_us))
        .bind(i64::from(step_of(latency_us)))
        .bind(first_byte_us.map(signed))
        .bind(first_byte_us.map(|us| i64::from(step_of(us))))
        .bind(signed(record.bytes_out))
}

fn bind_who<'q>(query: Query<'q>, record: &'q MeterRecord) -> Query<'q> {
    let profile = record.profile();
    query
        .bind(record.workspace.bytes())
        .bind(record.trace.bytes())
        .bind(record.project.bytes())
        .bind(record.key.map(|id| id.bytes()))
        .bind(&record.environment)
        .bind(signed(record.started_unix_ms))
        .bind(signed(record.finished_unix_ms))
        .bind(record.operation.as_str())
        .bind(record.dialect.as_str())
        // Every operation so far is one of chat; the others bring their own word with them.
        .bind("chat")
        .bind(i64::from(record.stream))
        .bind(&record.requested_model)
        .bind(&record.resolved_model)
        .bind(record.outcome.as_str())
        .bind(i64::from(record.status))
        .bind(&record.fault_code)
        .bind(profile.map(|profile| profile.as_str()))
        .bind(profile.map(|profile| profile.mode().as_str()))
        .bind(record.principal.map(|principal| principal.to_string()))
        .bind(&record.provider)
        .bind(region(record))
        .bind(signed(record.attempts.len() as u64))
        .bind(i64::from(record.fallback_used))
        .bind(&record.tag)
}

fn read_principal(text: &str) -> Result<Principal, StoreError> {
    let credential = text.parse().map(Principal::Credential);
    let account = || text.parse().map(Principal::Account);
    let node = || text.parse().map(Principal::Node);
    let principal = credential.or_else(|_| account()).or_else(|_| node());
    principal.map_err(|_| StoreError::corrupt(TABLE, format!("{text} is no principal")))
}

fn read_request(row: &SqliteRow) -> Result<RequestRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(RequestRow {
        trace: fields.id("trace")?,
        project: fields.id("project")?,
        key: fields.maybe_id("key")?,
        environment: fields.text("environment")?,
        started_unix_ms: fields.number("started_unix_ms")?,
        finished_unix_ms: fields.number("finished_unix_ms")?,
        operation: fields.text("operation")?,
        dialect: fields.text("dialect")?,
        stream: fields.flag("stream")?,
        requested_model: fields.text("requested_model")?,
        resolved_model: fields.text("resolved_model")?,
        outcome: fields.text("outcome")?,
        status: u16::try_from(fields.number("status")?).unwrap_or(u16::MAX),
        fault_code: fields.maybe_text("fault_code")?,
        profile: fields.maybe_text("profile")?.unwrap_or_default(),
        principal: fields.maybe_text("principal")?.map(|text| read_principal(&text)).transpose()?,
        provider: fields.text("provider")?,
        region: fields.maybe_text("region")?,
        attempts: fields.small("attempts")?,
        fallback_used: fields.flag("fallback_used")?,
        tag: fields.maybe_text("tag")?,
        sums: usage::read_sums(&fields)?,
        latency_us: fields.number("latency_us")?,
        first_byte_us: fields.maybe_number("first_byte_us")?,
        bytes_out: fields.number("bytes_out")?,
    })
}

const REQUESTS: &str = concat!(
    "SELECT trace, project, key, environment, started_unix_ms, finished_unix_ms, operation, dialect, stream, \
     requested_model, resolved_model, outcome, status, fault_code, profile, principal, provider, region, attempts, \
     fallback_used, tag, latency_us, first_byte_us, bytes_out, ",
    SUMMED_COLUMNS!(),
    " FROM records INDEXED BY records_by_trace WHERE workspace = ?1 AND trace < ?2 \
     AND (?3 IS NULL OR resolved_model = ?3 OR requested_model = ?3) AND (?4 IS NULL OR provider = ?4) \
     AND (?5 IS NULL OR profile = ?5) AND (?6 IS NULL OR key = ?6) AND (?7 IS NULL OR project = ?7) \
     AND (?8 IS NULL OR environment = ?8) AND (?9 IS NULL OR status = ?9) AND (?10 IS NULL OR outcome = ?10) \
     AND (?11 IS NULL OR tag = ?11) AND (?12 IS NULL OR started_unix_ms >= ?12) \
     AND (?13 IS NULL OR started_unix_ms < ?13) \
     GROUP BY trace ORDER BY trace DESC LIMIT ?14"
);

async fn requests(
    store: &SqliteStore,
    workspace: WorkspaceId,
    filter: RequestFilter,
    page: Page<TraceId>,
) -> Result<Listed<RequestRow, TraceId>, StoreError> {
    let wanted = page.rows_wanted();
    // Longer than any id, so it comes after all of them.
    let before = page.after.map_or_else(|| vec![0xFF; 17], |id| id.bytes());
    let rows = sqlx::query(REQUESTS)
        .bind(workspace.bytes())
        .bind(before)
        .bind(filter.model)
        .bind(filter.provider)
        .bind(filter.profile)
        .bind(filter.key.map(|id| id.bytes()))
        .bind(filter.project.map(|id| id.bytes()))
        .bind(filter.environment)
        .bind(filter.status.map(i64::from))
        .bind(filter.outcome.map(|outcome| outcome.as_str()))
        .bind(filter.tag)
        .bind(filter.since_unix_ms.map(signed))
        .bind(filter.until_unix_ms.map(signed))
        .bind(signed(wanted as u64 + 1))
        .fetch_all(store.readers())
        .await
        .map_err(database)?;
    let rows = rows.iter().map(read_request).collect::<Result<_, _>>()?;
    Ok(Listed::cut(rows, wanted, |row: &RequestRow| row.trace))
}

fn read_body(row: &SqliteRow) -> Result<MeterRecord, StoreError> {
    Fields::new("record_bodies", row).json("body")
}

impl Records for SqliteStore {
    fn requests(
        &self,
        workspace: WorkspaceId,
        filter: RequestFilter,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<RequestRow, TraceId>> {
        Box::pin(requests(self, workspace, filter, page))
    }

    fn request(&self, workspace: WorkspaceId, trace: TraceId) -> StoreFuture<'_, MeterRecord> {
        Box::pin(async move {
            let query = sqlx::query("SELECT body FROM record_bodies WHERE trace = ?1 AND workspace = ?2");
            let query = query.bind(trace.bytes()).bind(workspace.bytes());
            let row = query.fetch_optional(self.readers()).await.map_err(database)?;
            row.as_ref().map_or(Err(StoreError::NotFound { what: "request" }), read_body)
        })
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        Box::pin(usage::usage(self, query))
    }

    fn billing(&self, workspace: WorkspaceId, window: Window) -> StoreFuture<'_, [BillingRow; 3]> {
        Box::pin(usage::billing(self, workspace, window))
    }

    fn every_record(
        &self,
        workspace: Option<WorkspaceId>,
        page: Page<TraceId>,
    ) -> StoreFuture<'_, Listed<MeterRecord, TraceId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let query = sqlx::query(
                "SELECT body FROM record_bodies WHERE trace > ?1 AND (?2 IS NULL OR workspace = ?2)
                 ORDER BY trace LIMIT ?3",
            );
            let rows = query
                .bind(after(page.after))
                .bind(workspace.map(|id| id.bytes()))
                .bind(signed(wanted as u64 + 1))
                .fetch_all(self.readers())
                .await
                .map_err(database)?;
            let rows = rows.iter().map(read_body).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |record: &MeterRecord| record.trace))
        })
    }

    fn record_count(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let query = sqlx::query("SELECT COUNT(*) FROM record_bodies");
            let row = query.fetch_one(self.readers()).await.map_err(database)?;
            row.try_get(0).map(unsigned).map_err(|error| StoreError::corrupt("record_bodies", error))
        })
    }
}

impl RecordSink for SqliteStore {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let written = self.write(move |writing| Box::pin(apply(writing, batch))).await;
            written.map(|_| ()).map_err(|error| sink_error(&error))
        })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        Box::pin(async move { position(self, core).await.map_err(|error| sink_error(&error)) })
    }
}

async fn position(store: &SqliteStore, core: u32) -> Result<Option<JournalPosition>, StoreError> {
    let query = sqlx::query("SELECT epoch, segment, position FROM journal_positions WHERE core = ?1");
    let row = query.bind(i64::from(core)).fetch_optional(store.readers()).await.map_err(database)?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::new("journal_positions", &row);
    Ok(Some(JournalPosition {
        epoch: fields.get::<i64>("epoch")?.cast_unsigned(),
        segment: fields.get::<i64>("segment")?.cast_unsigned(),
        offset: fields.get::<i64>("position")?.cast_unsigned(),
    }))
}

/// The whole chain of causes, since the drainer is where it is logged.
fn sink_error(error: &StoreError) -> SinkError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    SinkError(text)
}
