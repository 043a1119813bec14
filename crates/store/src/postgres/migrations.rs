//! Forward-only schema migrations, applied by whichever replica starts first.

use database::address::Address;
use database::error::{StoreError, database, unavailable};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, Pool, Postgres, SqlSafeStr};

use crate::limits::{MIGRATIONS_AHEAD_MAX, POSTGRES_CONNECTION_WAIT_MAX};

const FILES: &[(i64, &str, &str)] = &[
    (1, "spine", include_str!("../../migrations/postgres/0001_spine.sql")),
    (2, "people", include_str!("../../migrations/postgres/0002_people.sql")),
    (3, "budgets", include_str!("../../migrations/postgres/0003_budgets.sql")),
    (4, "idempotency", include_str!("../../migrations/postgres/0004_idempotency.sql")),
    (5, "jobs", include_str!("../../migrations/postgres/0005_jobs.sql")),
    (6, "audit", include_str!("../../migrations/postgres/0006_audit.sql")),
    (7, "records", include_str!("../../migrations/postgres/0007_records.sql")),
    (8, "sign_in_tries", include_str!("../../migrations/postgres/0008_sign_in_tries.sql")),
    (9, "grammars", include_str!("../../migrations/postgres/0009_grammars.sql")),
    (10, "agreements", include_str!("../../migrations/postgres/0010_agreements.sql")),
    (11, "kept_objects", include_str!("../../migrations/postgres/0011_kept_objects.sql")),
    (12, "policies", include_str!("../../migrations/postgres/0012_policies.sql")),
    (13, "access_keys", include_str!("../../migrations/postgres/0013_access_keys.sql")),
    (14, "joined_nodes", include_str!("../../migrations/postgres/0014_joined_nodes.sql")),
    (15, "join_tokens", include_str!("../../migrations/postgres/0015_join_tokens.sql")),
    (16, "addresses_and_makers", include_str!("../../migrations/postgres/0016_addresses_and_makers.sql")),
    (17, "aliases", include_str!("../../migrations/postgres/0017_aliases.sql")),
    (18, "route_versions", include_str!("../../migrations/postgres/0018_route_versions.sql")),
    (19, "commitments", include_str!("../../migrations/postgres/0019_commitments.sql")),
    (20, "workspace_policies", include_str!("../../migrations/postgres/0020_workspace_policies.sql")),
    (21, "subscriptions", include_str!("../../migrations/postgres/0021_subscriptions.sql")),
    (22, "response_cache", include_str!("../../migrations/postgres/0022_response_cache.sql")),
    (23, "agent_hints", include_str!("../../migrations/postgres/0023_agent_hints.sql")),
    (24, "capabilities", include_str!("../../migrations/postgres/0024_capabilities.sql")),
    (25, "key_priority", include_str!("../../migrations/postgres/0025_key_priority.sql")),
    (26, "policy_hooks", include_str!("../../migrations/postgres/0026_policy_hooks.sql")),
    (27, "semantic_cache", include_str!("../../migrations/postgres/0027_semantic_cache.sql")),
    (28, "cache_keep_alive", include_str!("../../migrations/postgres/0028_cache_keep_alive.sql")),
    (29, "sessions", include_str!("../../migrations/postgres/0029_sessions.sql")),
    (30, "purges", include_str!("../../migrations/postgres/0030_purges.sql")),
    (31, "diagnostics", include_str!("../../migrations/postgres/0031_diagnostics.sql")),
    (32, "reconciliations", include_str!("../../migrations/postgres/0032_reconciliations.sql")),
    (33, "audit_sent", include_str!("../../migrations/postgres/0033_audit_sent.sql")),
    (34, "batches", include_str!("../../migrations/postgres/0034_batches.sql")),
    (35, "legal_holds", include_str!("../../migrations/postgres/0035_legal_holds.sql")),
    (36, "data_exports", include_str!("../../migrations/postgres/0036_data_exports.sql")),
    (37, "scores", include_str!("../../migrations/postgres/0037_scores.sql")),
    (38, "request_contents", include_str!("../../migrations/postgres/0038_request_contents.sql")),
    (39, "batch_costs", include_str!("../../migrations/postgres/0039_batch_costs.sql")),
    (40, "export_formats", include_str!("../../migrations/postgres/0040_export_formats.sql")),
    (41, "opened_kinds", include_str!("../../migrations/postgres/0041_opened_kinds.sql")),
    (42, "session_sums", include_str!("../../migrations/postgres/0042_session_sums.sql")),
    (43, "placeholder_43", include_str!("../../migrations/postgres/0043_placeholder_43.sql")),
    (44, "placeholder_44", include_str!("../../migrations/postgres/0044_placeholder_44.sql")),
    (45, "tools", include_str!("../../migrations/postgres/0045_tools.sql")),
];

pub(super) async fn run(address: &Address) -> Result<(), StoreError> {
    let one = PgPoolOptions::new().max_connections(1).acquire_timeout(POSTGRES_CONNECTION_WAIT_MAX);
    let pool = one.connect_with(address.for_migrations()).await.map_err(unavailable)?;
    let known = newest_known();
    let (found, ahead) = newest_applied(&pool, known).await?;
    if ahead > MIGRATIONS_AHEAD_MAX {
        return Err(StoreError::Newer { database: address.to_string(), found, known });
    }
    if found < known {
        // Takes an advisory lock of the database: another replica waits and then finds it done.
        migrator().run(&pool).await.map_err(StoreError::Migration)?;
    }
    pool.close().await;
    Ok(())
}

fn migrator() -> Migrator {
    let migrations = FILES.iter().map(|(version, name, sql)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Recreates the schema of a dump with the migrations that made it, in an empty database and in the caller's
/// transaction.
pub(super) async fn make(connection: &mut PgConnection, applied: &[i64]) -> Result<(), StoreError> {
    let known: Vec<i64> = FILES.iter().map(|(version, _, _)| *version).collect();
    let found = applied.last().copied().unwrap_or(0);
    if !known.starts_with(applied) || applied.is_empty() {
        return Err(StoreError::OtherSchema { found, known: newest_known() });
    }
    migrator().run_to(found, connection).await.map_err(StoreError::Migration)
}

/// The migrations that a database has applied.
pub(super) async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    let query = sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version");
    query.fetch_all(connection).await.map_err(database)
}

/// The newest applied migration, the newest known here, and how many applied ones are newer than that.
pub(super) async fn state(pool: &Pool<Postgres>) -> Result<(i64, i64, i64), StoreError> {
    let (found, ahead) = newest_applied(pool, newest_known()).await?;
    Ok((found, newest_known(), ahead))
}

fn newest_known() -> i64 {
    FILES.iter().map(|(version, _, _)| *version).max().unwrap_or(0)
}

/// The newest applied migration, and how many applied ones are newer than `known`.
async fn newest_applied(pool: &Pool<Postgres>, known: i64) -> Result<(i64, i64), StoreError> {
    let table = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if !table.fetch_one(pool).await.map_err(database)? {
        return Ok((0, 0));
    }
    let newest = sqlx::query_as(
        "SELECT COALESCE(MAX(version), 0), COUNT(*) FILTER (WHERE version > $1) FROM _sqlx_migrations WHERE success",
    );
    newest.bind(known).fetch_one(pool).await.map_err(database)
}
