//! Forward-only schema migrations: each file runs once, in order, and is never edited afterwards.

use std::path::Path;

use database::error::{StoreError, unavailable};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Pool, SqlSafeStr, Sqlite};

const FILES: &[(i64, &str, &str)] = &[
    (1, "spine", include_str!("../../migrations/sqlite/0001_spine.sql")),
    (2, "people", include_str!("../../migrations/sqlite/0002_people.sql")),
    (3, "budgets", include_str!("../../migrations/sqlite/0003_budgets.sql")),
    (4, "idempotency", include_str!("../../migrations/sqlite/0004_idempotency.sql")),
    (5, "jobs", include_str!("../../migrations/sqlite/0005_jobs.sql")),
    (6, "audit", include_str!("../../migrations/sqlite/0006_audit.sql")),
    (7, "records", include_str!("../../migrations/sqlite/0007_records.sql")),
    (8, "sign_in_tries", include_str!("../../migrations/sqlite/0008_sign_in_tries.sql")),
    (9, "grammars", include_str!("../../migrations/sqlite/0009_grammars.sql")),
    (10, "agreements", include_str!("../../migrations/sqlite/0010_agreements.sql")),
    (11, "kept_objects", include_str!("../../migrations/sqlite/0011_kept_objects.sql")),
    (12, "policies", include_str!("../../migrations/sqlite/0012_policies.sql")),
    (13, "access_keys", include_str!("../../migrations/sqlite/0013_access_keys.sql")),
    (14, "joined_nodes", include_str!("../../migrations/sqlite/0014_joined_nodes.sql")),
    (15, "join_tokens", include_str!("../../migrations/sqlite/0015_join_tokens.sql")),
    (16, "addresses_and_makers", include_str!("../../migrations/sqlite/0016_addresses_and_makers.sql")),
    (17, "aliases", include_str!("../../migrations/sqlite/0017_aliases.sql")),
    (18, "route_versions", include_str!("../../migrations/sqlite/0018_route_versions.sql")),
    (19, "commitments", include_str!("../../migrations/sqlite/0019_commitments.sql")),
    (20, "workspace_policies", include_str!("../../migrations/sqlite/0020_workspace_policies.sql")),
    (21, "subscriptions", include_str!("../../migrations/sqlite/0021_subscriptions.sql")),
    (22, "response_cache", include_str!("../../migrations/sqlite/0022_response_cache.sql")),
    (23, "agent_hints", include_str!("../../migrations/sqlite/0023_agent_hints.sql")),
    (24, "capabilities", include_str!("../../migrations/sqlite/0024_capabilities.sql")),
    (25, "key_priority", include_str!("../../migrations/sqlite/0025_key_priority.sql")),
    (26, "policy_hooks", include_str!("../../migrations/sqlite/0026_policy_hooks.sql")),
    (27, "semantic_cache", include_str!("../../migrations/sqlite/0027_semantic_cache.sql")),
    (28, "cache_keep_alive", include_str!("../../migrations/sqlite/0028_cache_keep_alive.sql")),
    (29, "sessions", include_str!("../../migrations/sqlite/0029_sessions.sql")),
    (30, "purges", include_str!("../../migrations/sqlite/0030_purges.sql")),
    (31, "diagnostics", include_str!("../../migrations/sqlite/0031_diagnostics.sql")),
    (32, "reconciliations", include_str!("../../migrations/sqlite/0032_reconciliations.sql")),
    (33, "audit_sent", include_str!("../../migrations/sqlite/0033_audit_sent.sql")),
    (34, "batches", include_str!("../../migrations/sqlite/0034_batches.sql")),
    (35, "legal_holds", include_str!("../../migrations/sqlite/0035_legal_holds.sql")),
    (36, "data_exports", include_str!("../../migrations/sqlite/0036_data_exports.sql")),
    (37, "scores", include_str!("../../migrations/sqlite/0037_scores.sql")),
    (38, "request_contents", include_str!("../../migrations/sqlite/0038_request_contents.sql")),
    (39, "batch_costs", include_str!("../../migrations/sqlite/0039_batch_costs.sql")),
    (40, "export_formats", include_str!("../../migrations/sqlite/0040_export_formats.sql")),
    (41, "opened_kinds", include_str!("../../migrations/sqlite/0041_opened_kinds.sql")),
    (42, "session_sums", include_str!("../../migrations/sqlite/0042_session_sums.sql")),
    (43, "placeholder_43", include_str!("../../migrations/sqlite/0043_placeholder_43.sql")),
    (44, "placeholder_44", include_str!("../../migrations/sqlite/0044_placeholder_44.sql")),
    (45, "tools", include_str!("../../migrations/sqlite/0045_tools.sql")),
];

pub(crate) async fn run(pool: &Pool<Sqlite>, path: &Path) -> Result<(), StoreError> {
    let known = FILES.iter().map(|(version, _, _)| *version).max().unwrap_or(0);
    let found = newest_applied(pool).await?;
    if found > known {
        return Err(StoreError::Newer { database: path.display().to_string(), found, known });
    }
    let migrations = FILES.iter().map(|(version, name, sql)| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(pool).await.map_err(StoreError::Migration)
}

async fn newest_applied(pool: &Pool<Sqlite>) -> Result<i64, StoreError> {
    let table = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'");
    if table.fetch_optional(pool).await.map_err(unavailable)?.is_none() {
        return Ok(0);
    }
    let newest = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations");
    newest.fetch_one(pool).await.map_err(unavailable)
}
