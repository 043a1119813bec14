//! The connections to a PostgreSQL database, and the listener beside them.

use std::sync::Arc;

use sqlx::{Pool, Postgres};

use crate::connection::{PooledConnection, within};
use crate::error::{StoreError, unavailable};
use crate::limits::GOODBYE_MAX;
use crate::listen::Listener;

/// The connections for statements; the listener holds one of them.
#[derive(Clone)]
pub struct Pools {
    pub pool: Pool<Postgres>,
    pub listener: Arc<Listener>,
}

impl Pools {
    pub async fn acquire(&self) -> Result<PooledConnection<Postgres>, StoreError> {
        self.pool.acquire().await.map(PooledConnection::new).map_err(unavailable)
    }

    /// A connection inside a transaction.
    pub async fn begin(&self, how: &'static str) -> Result<PooledConnection<Postgres>, StoreError> {
        let mut held = self.acquire().await?;
        within(held.begin(how)).await?;
        Ok(held)
    }

    pub async fn close(&self) {
        self.listener.stop();
        // A server that went silent never completes the close.
        let _ = tokio::time::timeout(GOODBYE_MAX, self.pool.close()).await;
    }
}
