//! Hands runs to an engine beside the queue: which are sent to it, who drives one now, and which it has lost.

use database::error::StoreFuture;
use database::fields::{ColumnId, Fields, signed};
use database::statement::sql;
use domain::FlowRunId;

use crate::reading::{TABLE, read};
use crate::rows::{FlowEngine, RunRow};
use crate::runs::StoredRuns;

impl StoredRuns {
    /// Gives a run to one driver, whoever had it before: what that one still writes is not stored any more. A run of the queue is
    /// never given, nor one that has ended, is paused, or waits for a later time.
    pub fn seize(
        &self,
        id: FlowRunId,
        engine: FlowEngine,
        driver: String,
        (unix_ms, due_until_unix_ms): (u64, u64),
    ) -> StoreFuture<'_, Option<RunRow>> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE flow_runs SET state = 'running', status = 2, worker = $3, lease_unix_ms = NULL,
                     started_unix_ms = COALESCE(started_unix_ms, $4), updated_unix_ms = $4, changes = changes + 1
                     WHERE id = $1 AND engine = $2 AND (state = 'running'
                     OR state IN ('queued', 'waiting') AND due_unix_ms <= $5)");
                let query = query.bind(id.bytes()).bind(engine.as_str()).bind(driver);
                let query = query.bind(signed(unix_ms)).bind(signed(due_until_unix_ms));
                if query.run(writing.connection()).await? == 0 {
                    return Ok(None);
                }
                let query = sql("SELECT * FROM flow_runs WHERE id = $1").bind(id.bytes());
                let row = query.row(writing.connection()).await?;
                row.as_ref().map(read).transpose()
            })
        }))
    }

    /// Puts back runs that could not be sent to their engine, unless it has begun them after all.
    pub fn unsend(&self, sent: Vec<FlowRunId>, worker: String) -> StoreFuture<'_, ()> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                for id in sent {
                    let query =
                        sql("UPDATE flow_runs SET state = 'queued', worker = NULL, lease_unix_ms = NULL
                         WHERE id = $1 AND worker = $2 AND state = 'running'");
                    query.bind(id.bytes()).bind(&worker).run(writing.connection()).await?;
                }
                Ok(())
            })
        }))
    }

    /// Runs that an engine has begun and of which nothing was heard since: it may have lost them.
    pub fn silent(
        &self,
        engine: FlowEngine,
        since_unix_ms: u64,
        limit: u32,
    ) -> StoreFuture<'_, Vec<FlowRunId>> {
        Box::pin(async move {
            let query = sql("SELECT id FROM flow_runs WHERE state = 'running' AND engine = $1
                 AND lease_unix_ms IS NULL AND updated_unix_ms <= $2 ORDER BY updated_unix_ms LIMIT $3");
            let query = query.bind(engine.as_str()).bind(signed(since_unix_ms)).bind(i64::from(limit));
            let rows = query.rows(&mut self.0.read().await?).await?;
            rows.iter().map(|row| Fields::new(TABLE, row).id("id")).collect()
        })
    }
}
