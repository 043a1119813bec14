//! Forward-only schema migrations: each file runs once, in order, and is never edited afterwards.

use std::path::Path;

use database::error::{StoreError, unavailable};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Pool, SqlSafeStr, Sqlite};

use crate::schema::{MigrationFile, migration_files};

const FILES: &[MigrationFile] = migration_files!("sqlite");

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
