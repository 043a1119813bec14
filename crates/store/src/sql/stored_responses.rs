//! SQL for the ownership of responses that providers store.

use database::error::{StoreError, StoreFuture};
use database::fields::{ColumnId, Fields, signed};
use database::handle::Database;
use database::holding;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::ports::StoredResponse;
use domain::{BudgetClaim, TraceId};
use records::sql::budget_holds::{self, BudgetHolds};

use crate::sql::jobs;
use crate::stored_responses::{StoredResponseRow, StoredResponses};

const TABLE: &str = "stored_responses";
const CLAIM: &str = "UPDATE stored_responses SET booked_by = $2
     WHERE digest = $1 AND (booked_by IS NULL OR booked_by = $2)";

/// The number under which a response holds parts of budgets. Those of replicas are not negative.
fn holder(digest: &[u8; 32]) -> i64 {
    let start = digest.first_chunk().copied().unwrap_or_default();
    i64::from_be_bytes(start) | i64::MIN
}

async fn keep(writing: &mut Writing, row: StoredResponseRow) -> Result<(), StoreError> {
    let StoredResponse { request, created_by: maker, model, upstream_model, is_booked } = row.response;
    let made = sql("INSERT INTO stored_responses
         (digest, workspace, project, request, maker, model, upstream_model, booked_by, until_unix_ms, provider_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (digest) DO NOTHING")
    .bind(row.digest.to_vec())
    .bind(row.workspace.bytes())
    .bind(row.project.bytes())
    .bind(request.bytes())
    .bind(maker.to_string())
    .bind(model)
    .bind(upstream_model)
    .bind(is_booked.then(|| request.bytes()))
    .bind(signed(row.until_unix_ms))
    .bind(row.provider_id)
    .run(writing.connection())
    .await?;
    if made == 0 {
        return Ok(());
    }
    budget_holds::add(writing.connection(), holder(&row.digest), row.holds, request.unix_ms()).await?;
    if let Some(job) = row.job {
        jobs::enqueue(writing, job).await?;
    }
    Ok(())
}

fn read(row: &Row) -> Result<StoredResponse, StoreError> {
    let fields = Fields::new(TABLE, row);
    let maker = fields.text("maker")?;
    Ok(StoredResponse {
        request: fields.id("request")?,
        created_by: maker.parse().map_err(|_| StoreError::corrupt(TABLE, format!("maker is {maker}")))?,
        model: fields.text("model")?,
        upstream_model: fields.text("upstream_model")?,
        is_booked: fields.maybe_id::<TraceId>("booked_by")?.is_some(),
    })
}

impl StoredResponses for Database {
    fn keep(&self, rows: Vec<StoredResponseRow>) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                for row in rows {
                    keep(writing, row).await?;
                }
                Ok(())
            })
        }))
    }

    fn find(&self, digest: [u8; 32], now_unix_ms: u64) -> StoreFuture<'_, Option<StoredResponse>> {
        Box::pin(async move {
            let query = sql("SELECT * FROM stored_responses WHERE digest = $1 AND until_unix_ms > $2");
            let query = query.bind(digest.to_vec()).bind(signed(now_unix_ms));
            query.row(&mut self.read().await?).await?.as_ref().map(read).transpose()
        })
    }

    fn holds(&self, digest: [u8; 32]) -> StoreFuture<'_, Vec<BudgetClaim>> {
        Box::pin(async move { budget_holds::of(&mut self.read().await?, holder(&digest)).await })
    }

    fn hold(&self, digest: [u8; 32], holds: BudgetHolds) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move { budget_holds::raise(writing.connection(), holder(&digest), holds).await })
        }))
    }

    fn claim(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, bool> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                let query = sql(CLAIM).bind(digest.to_vec()).bind(by.bytes());
                Ok(query.run(writing.connection()).await? > 0)
            })
        }))
    }

    fn book(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, bool> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                let query = sql(CLAIM).bind(digest.to_vec()).bind(by.bytes());
                let is_claimed = query.run(writing.connection()).await? > 0;
                if is_claimed {
                    budget_holds::release(writing.connection(), holder(&digest)).await?;
                }
                Ok(is_claimed)
            })
        }))
    }

    fn release(&self, digest: [u8; 32]) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move { budget_holds::release(writing.connection(), holder(&digest)).await })
        }))
    }

    fn unbook(&self, digest: [u8; 32], by: TraceId) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                let query = sql("UPDATE stored_responses SET booked_by = NULL
                     WHERE digest = $1 AND booked_by = $2");
                query.bind(digest.to_vec()).bind(by.bytes()).run(writing.connection()).await?;
                Ok(())
            })
        }))
    }

    fn forget(&self, digest: [u8; 32]) -> StoreFuture<'_, ()> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                let query = sql("DELETE FROM stored_responses WHERE digest = $1");
                query.bind(digest.to_vec()).run(writing.connection()).await?;
                budget_holds::release(writing.connection(), holder(&digest)).await
            })
        }))
    }

    fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64> {
        Box::pin(self.note(move |writing| {
            Box::pin(async move {
                compose(format!(
                    "DELETE FROM stored_responses WHERE digest IN (SELECT digest FROM stored_responses
                     WHERE until_unix_ms <= $1 AND NOT {} LIMIT $2)",
                    holding::held(TABLE)
                ))
                .bind(signed(now_unix_ms))
                .bind(i64::from(rows_max))
                .run(writing.connection())
                .await
            })
        }))
    }
}
