//! The store on PostgreSQL: any number of replicas, each with its own journal.

mod address;
mod copy;
mod dump;
mod inspect;
mod listen;
mod migrations;
mod records;
mod sink;
mod upkeep;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Pool, Postgres};

pub use address::{Address, ReplicaId};
pub(crate) use dump::{bring_back, dump};
pub(crate) use inspect::inspect;
pub(crate) use usage::set_day;

use crate::sql::writing::{database, unavailable};
use crate::sql::{Database, PooledConnection, founding, meta, within};
use crate::{Foundation, Store, StoreError};

const CONNECTIONS: u32 = 10;
/// How long an operation waits for a connection before it fails.
const WAIT_FOR_CONNECTION_MAX: Duration = Duration::from_secs(3);

const GOODBYE_MAX: Duration = Duration::from_secs(3);

/// The connections for statements; the listener holds one of them.
#[derive(Clone)]
pub(crate) struct Pools {
    pool: Pool<Postgres>,
    listener: Arc<listen::Listener>,
}

impl Pools {
    pub(crate) async fn held(&self) -> Result<PooledConnection<Postgres>, StoreError> {
        self.pool.acquire().await.map(PooledConnection::new).map_err(unavailable)
    }

    /// A connection inside a transaction.
    pub(crate) async fn started(&self, how: &'static str) -> Result<PooledConnection<Postgres>, StoreError> {
        let mut held = self.held().await?;
        within(held.begin(how)).await?;
        Ok(held)
    }

    pub(crate) async fn close(&self) {
        self.listener.stop();
        // A server that went silent never completes the close.
        let _ = tokio::time::timeout(GOODBYE_MAX, self.pool.close()).await;
    }
}

/// The part of the books that is specific to PostgreSQL.
pub(crate) struct PostgresStore {
    database: Database,
    pools: Pools,
    /// This process's number among the replicas.
    replica: i64,
    draining: sink::Draining,
}

pub(crate) async fn connect(address: &Address, replica: ReplicaId) -> Result<Store, StoreError> {
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
) -> Result<Store, StoreError> {
    let (database, pools) = prepare(address).await?;
    founding::lay(&database, foundation, address.to_string()).await?;
    enter(database, pools, replica).await
}

async fn prepare(address: &Address) -> Result<(Database, Pools), StoreError> {
    migrations::run(address).await?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(WAIT_FOR_CONNECTION_MAX)
        .connect_with(address.for_statements())
        .await
        .map_err(unavailable)?;
    let pools = Pools { pool: pool.clone(), listener: Arc::default() };
    let database = Database::new(crate::sql::Pools::Postgres(pools.clone()));
    pools.listener.start(pool, database.notifier());
    Ok((database, pools))
}

async fn enter(database: Database, pools: Pools, replica: ReplicaId) -> Result<Store, StoreError> {
    let replica = number_of(&pools, replica).await?;
    let books =
        PostgresStore { database: database.clone(), pools, replica, draining: sink::Draining::default() };
    Ok(Store::new(database, Arc::new(books), replica))
}

/// The number assigned to a replica when it was first seen.
async fn number_of(pools: &Pools, replica: ReplicaId) -> Result<i64, StoreError> {
    let known = "INSERT INTO replicas (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING number";
    let query = sqlx::query_scalar(known).bind(replica.bytes());
    query.fetch_one(&pools.pool).await.map_err(database)
}
