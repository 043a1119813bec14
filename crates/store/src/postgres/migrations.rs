//! Forward-only schema migrations, applied by whichever replica starts first.

use database::address::Address;
use database::error::{StoreError, database, unavailable};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, PgConnection, Pool, Postgres, SqlSafeStr};

use crate::limits::{MIGRATIONS_AHEAD_MAX, POSTGRES_CONNECTION_WAIT_MAX};
use crate::schema::{MigrationFile, migration_files};

const FILES: &[MigrationFile] = migration_files!("postgres");

pub(super) async fn run(address: &Address) -> Result<(), StoreError> {
    let one = PgPoolOptions::new().max_connections(1).acquire_timeout(POSTGRES_CONNECTION_WAIT_MAX);
    let pool = match one.connect_with(address.for_migrations()).await {
        // The pool waits in vain and keeps why: one more attempt tells it.
        Err(sqlx::Error::PoolTimedOut) => {
            let options = address.for_migrations();
            let again = tokio::time::timeout(POSTGRES_CONNECTION_WAIT_MAX, options.connect()).await;
            let why = again.ok().and_then(Result::err);
            return Err(unavailable(why.unwrap_or(sqlx::Error::PoolTimedOut)));
        }
        opened => opened.map_err(unavailable)?,
    };
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
