//! SQL for the ownership of responses that providers store.

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
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

impl StoredResponses<'_> {
    /// Stores all of them or none. A row that is known already stays as it is.
    ///
    /// # Errors
    /// If a project is gone.
    pub async fn keep(self, rows: Vec<StoredResponseRow>) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    for row in rows {
                        keep(writing, row).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    pub async fn find(
        self,
        digest: [u8; 32],
        now_unix_ms: u64,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let query = sql("SELECT * FROM stored_responses WHERE digest = $1 AND until_unix_ms > $2");
        let query = query.bind(digest.to_vec()).bind(signed(now_unix_ms));
        query.row(&mut self.0.read().await?).await?.as_ref().map(read).transpose()
    }

    /// The budgets of which a response holds a part, or that are to count its cost.
    pub async fn holds(self, digest: [u8; 32]) -> Result<Vec<BudgetClaim>, StoreError> {
        budget_holds::of(&mut self.0.read().await?, holder(&digest)).await
    }

    /// Moves what a replica reserved to a response that was kept with parts of nothing. If it is booked by now, nobody holds it.
    pub async fn hold(self, digest: [u8; 32], holds: BudgetHolds) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(
                    async move { budget_holds::raise(writing.connection(), holder(&digest), holds).await },
                )
            })
            .await
    }

    /// Claims the right to bill the response's usage; `true` if this request has it, also when it claims
    /// again.
    pub async fn claim(self, digest: [u8; 32], by: TraceId) -> Result<bool, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql(CLAIM).bind(digest.to_vec()).bind(by.bytes());
                    Ok(query.run(writing.connection()).await? > 0)
                })
            })
            .await
    }

    /// The same, and what it held of budgets is released: whoever books it draws on its own.
    pub async fn book(self, digest: [u8; 32], by: TraceId) -> Result<bool, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql(CLAIM).bind(digest.to_vec()).bind(by.bytes());
                    let is_claimed = query.run(writing.connection()).await? > 0;
                    if is_claimed {
                        budget_holds::release(writing.connection(), holder(&digest)).await?;
                    }
                    Ok(is_claimed)
                })
            })
            .await
    }

    /// Releases what a response holds of budgets that uses no more, or whose use nobody will know.
    pub async fn release(self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move { budget_holds::release(writing.connection(), holder(&digest)).await })
            })
            .await
    }

    /// Gives that right back.
    pub async fn unbook(self, digest: [u8; 32], by: TraceId) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("UPDATE stored_responses SET booked_by = NULL
                     WHERE digest = $1 AND booked_by = $2");
                    query.bind(digest.to_vec()).bind(by.bytes()).run(writing.connection()).await?;
                    Ok(())
                })
            })
            .await
    }

    pub async fn forget(self, digest: [u8; 32]) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM stored_responses WHERE digest = $1");
                    query.bind(digest.to_vec()).run(writing.connection()).await?;
                    budget_holds::release(writing.connection(), holder(&digest)).await
                })
            })
            .await
    }

    /// Deletes at most `rows_max` expired rows, and returns how many it deleted.
    pub async fn expire(self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
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
            })
            .await
    }
}
