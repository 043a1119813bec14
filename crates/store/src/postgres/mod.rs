//! The store on PostgreSQL: any number of replicas, each with its own journal.

mod dump;
mod inspect;
mod migrations;

use std::sync::Arc;

use database::address::{Address, ReplicaId};
use database::error::{StoreError, database, unavailable};
use database::handle::Database;
use database::meta;
use database::postgres::Pools;
use records::postgres::PostgresRecords;
use sqlx::postgres::PgPoolOptions;

use crate::founding::Foundation;
use crate::limits::POSTGRES_CONNECTION_WAIT_MAX;
use crate::opened::Opened;
use crate::sql::founding;

pub(crate) use dump::{bring_back, dump};
pub(crate) use inspect::inspect;

const CONNECTIONS: u32 = 10;

pub(crate) async fn connect(address: &Address, replica: ReplicaId) -> Result<Opened, StoreError> {
    let (database, pools) = prepare(address).await?;
    if !meta::is_complete(&database).await? {
        return Err(StoreError::NotFounded { database: address.to_string() });
    }
    enter(database, pools, replica).await
}

pub(crate) async fn found(
    address: &Address,
    replica: ReplicaId,
    foundation: Foundation,
) -> Result<Opened, StoreError> {
    let (database, pools) = prepare(address).await?;
    founding::lay(&database, foundation, address.to_string()).await?;
    enter(database, pools, replica).await
}

async fn prepare(address: &Address) -> Result<(Database, Pools), StoreError> {
    migrations::run(address).await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(POSTGRES_CONNECTION_WAIT_MAX)
        .connect_with(address.for_statements())
        .await
        .map_err(unavailable)?;
    let pools = Pools { pool: pool.clone(), listener: Arc::default() };
    let database = Database::new(database::handle::Pools::Postgres(pools.clone()));
    pools.listener.start(pool, database.notifier());
    Ok((database, pools))
}

async fn enter(database: Database, pools: Pools, replica: ReplicaId) -> Result<Opened, StoreError> {
    let replica = number_of(&pools, replica).await?;
    let books = PostgresRecords::new(database.clone(), pools, replica);
    Ok(Opened { database, books: Arc::new(books), replica })
}

/// The number assigned to a replica when it was first seen.
async fn number_of(pools: &Pools, replica: ReplicaId) -> Result<i64, StoreError> {
    let known = "INSERT INTO replicas (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING number";
    let query = sqlx::query_scalar(known).bind(replica.bytes());
    query.fetch_one(&pools.pool).await.map_err(database)
}
