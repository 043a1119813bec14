//! Listens for changes that other replicas commit (`LISTEN`). Only a shortcut: followers of the feed also
//! poll it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Pool, Postgres};
use tasks::Task;
use tokio::time::{sleep, timeout};

use crate::error::{StoreError, database, unavailable};
use crate::limits::{LISTEN_ANSWER_TIME_MAX, LISTEN_SILENCE_MAX};
use crate::notifier::Notifier;

const CHANGES: &str = "tidegate_changes";
const RECALLS: &str = "tidegate_recalls";
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The listening task; it ends with the store.
#[derive(Default)]
pub struct Listener(Mutex<Option<Task>>);

impl Listener {
    pub fn start(&self, pool: Pool<Postgres>, notifier: Notifier) {
        let task = Task::spawn("change-listener", listen_on(pool, notifier));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    pub fn stop(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

async fn listen_on(pool: Pool<Postgres>, notifier: Notifier) {
    let mut was_lost = false;
    loop {
        let lost = listen(&pool, &notifier, was_lost).await;
        if !was_lost {
            tracing::warn!(
                error = &lost as &dyn std::error::Error,
                "this gateway isn't notified of other replicas' changes; it polls for them instead"
            );
        }
        was_lost = true;
        sleep(AGAIN_AFTER).await;
    }
}

/// Runs until the connection is lost, and returns why.
async fn listen(pool: &Pool<Postgres>, notifier: &Notifier, was_lost: bool) -> StoreError {
    let listening = async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen_all([CHANGES, RECALLS]).await?;
        Ok(listener)
    };
    let mut listener = match timeout(LISTEN_ANSWER_TIME_MAX, listening).await {
        Ok(Ok(listener)) => listener,
        Ok(Err(error)) => return unavailable(error),
        Err(_) => return unavailable(sqlx::Error::PoolTimedOut),
    };
    if was_lost {
        tracing::info!("this gateway is notified of other replicas' changes again");
    }
    loop {
        // This version covers changes missed while disconnected; on later rounds the query only tests the
        // connection.
        match timeout(LISTEN_ANSWER_TIME_MAX, version(&mut listener)).await {
            Ok(Ok(version)) => notifier.tell(version),
            Ok(Err(error)) => return database(error),
            Err(_) => return unavailable(sqlx::Error::PoolTimedOut),
        }
        while let Ok(heard) = timeout(LISTEN_SILENCE_MAX, listener.try_recv()).await {
            match heard {
                Ok(Some(notification)) if notification.channel() == RECALLS => {
                    notifier.recalls().notify_one()
                }
                Ok(Some(notification)) => notifier.tell(notification.payload().parse().unwrap_or(0)),
                Ok(None) => return unavailable(sqlx::Error::WorkerCrashed),
                Err(error) => return database(error),
            }
        }
    }
}

async fn version(listener: &mut PgListener) -> Result<u64, sqlx::Error> {
    let version: i64 = sqlx::query_scalar("SELECT version FROM head").fetch_one(listener).await?;
    Ok(version.unsigned_abs())
}
