//! Checks a PostgreSQL server, with a timeout.

use std::time::{Duration, Instant, SystemTime};

use database::address::Address;
use database::connection::within;
use database::error::{StoreError, database, unavailable};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Pool, Postgres};
use tokio::time::timeout;
use uuid::Uuid;

use crate::inspect::Inspection;
use crate::limits::POSTGRES_CONNECTION_WAIT_MAX;
use crate::postgres::migrations::{self};

const HEARD_WITHIN: Duration = Duration::from_secs(2);
const FACTS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::BIGINT, \
    (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT, (SELECT COUNT(*) FROM pg_stat_activity), \
    current_setting('max_connections')::BIGINT, pg_database_size(current_database())";
/// Weeks that have a partition, in any version of the schema.
const WEEKS: &str = "SELECT COUNT(DISTINCT week), COALESCE(MIN(week), 0), COALESCE(MAX(week), 0) FROM ( \
    SELECT substring(relname FROM '[0-9]+$')::BIGINT AS week FROM pg_class \
    WHERE relispartition AND relname ~ '^(meter_)?records_week_[0-9]+$') AS partitions";

type Facts = (String, i64, i64, i64, i64, i64);

pub(crate) async fn inspect(address: &Address) -> Result<Inspection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(POSTGRES_CONNECTION_WAIT_MAX)
        .connect_with(address.for_statements())
        .await
        .map_err(unavailable)?;
    let inspection = Box::pin(within(facts(&pool))).await;
    // A server that went silent never completes the close.
    let _ = timeout(POSTGRES_CONNECTION_WAIT_MAX, pool.close()).await;
    inspection
}

async fn facts(pool: &Pool<Postgres>) -> Result<Inspection, StoreError> {
    let (sent_at, started) = (SystemTime::now(), Instant::now());
    let facts: Facts = sqlx::query_as(FACTS).fetch_one(pool).await.map_err(database)?;
    let took = started.elapsed();
    let (server_version, number, server_ms, connections, connections_max, size_bytes) = facts;
    let midpoint = sent_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + took / 2;
    let (schema, schema_known, schema_ahead) = migrations::state(pool).await?;
    let (weeks, oldest, newest): (i64, i64, i64) =
        sqlx::query_as(WEEKS).fetch_one(pool).await.map_err(database)?;
    Ok(Inspection {
        server_version,
        server_major: u32::try_from(number / 10_000).unwrap_or(0),
        schema: schema.unsigned_abs(),
        schema_known: schema_known.unsigned_abs(),
        schema_ahead: schema_ahead.unsigned_abs(),
        clock_ahead_ms: server_ms.saturating_sub(i64::try_from(midpoint.as_millis()).unwrap_or(i64::MAX)),
        round_trip_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        connections: connections.unsigned_abs(),
        connections_max: connections_max.unsigned_abs(),
        heard_after: notify_round_trip(pool).await.unwrap_or(None),
        size_bytes: size_bytes.unsigned_abs(),
        weeks: weeks.unsigned_abs(),
        week_oldest: oldest.unsigned_abs(),
        week_newest: newest.unsigned_abs(),
    })
}

/// The round-trip time of a notification: a connection pooler in between may swallow them.
async fn notify_round_trip(pool: &Pool<Postgres>) -> Result<Option<Duration>, sqlx::Error> {
    let channel = format!("tidegate_doctor_{}", Uuid::now_v7().simple());
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(&channel).await?;
    let started = Instant::now();
    sqlx::query("SELECT pg_notify($1, '')").bind(&channel).execute(pool).await?;
    Ok(timeout(HEARD_WITHIN, listener.recv()).await.ok().and_then(Result::ok).map(|_| started.elapsed()))
}
