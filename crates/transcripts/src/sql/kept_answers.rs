//! SQL for stored answers and claims under idempotency keys.

use database::act::{Act, Written};
use database::address::ReplicaId;
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed};
use database::holding;
use database::purging;
use database::statement::{compose, sql};
use database::writing::Writing;
use domain::ports::PurgeScope;
use domain::{ProjectId, Sealed, TraceId, WorkspaceId};

use crate::kept_answers::{AnswerClaim, AnswerDigest, Claiming, IdempotentAnswers};

const TABLE: &str = "kept_answers";

/// Expired rows count as absent. An existing claim of the same request is this one, made by an earlier try
/// whose reply was lost.
async fn take(connection: &mut Connection, claim: &AnswerClaim) -> Result<bool, StoreError> {
    let query = sql(
        "INSERT INTO kept_answers (digest, workspace, project, request, body_digest, holder, until_unix_ms, is_cached)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $9)
         ON CONFLICT (digest) DO UPDATE SET workspace = $2, project = $3, request = $4, body_digest = $5, holder = $6,
             until_unix_ms = $7, sealed_version = NULL, sealed_key_id = NULL, sealed = NULL
         WHERE kept_answers.until_unix_ms <= $8
             OR (kept_answers.request = $4 AND kept_answers.sealed IS NULL)",
    );
    let taken = query
        .bind(claim.digest.to_vec())
        .bind(claim.workspace.bytes())
        .bind(claim.project.bytes())
        .bind(claim.request.bytes())
        .bind(claim.body_digest.to_vec())
        .bind(claim.holder.bytes())
        .bind(signed(claim.until_unix_ms))
        .bind(signed(claim.now_unix_ms))
        .bind(i64::from(claim.is_cached))
        .run(connection)
        .await?;
    Ok(taken > 0)
}

/// `None` if the row was deleted since `take`.
async fn look(connection: &mut Connection, claim: &AnswerClaim) -> Result<Option<Claiming>, StoreError> {
    let query = sql("SELECT * FROM kept_answers WHERE digest = $1").bind(claim.digest.to_vec());
    let Some(row) = query.row(connection).await? else { return Ok(None) };
    let fields = Fields::new(TABLE, &row);
    if fields.digest("body_digest")? != claim.body_digest {
        return Ok(Some(Claiming::OtherBody));
    }
    let sealed: Option<Vec<u8>> = fields.get("sealed")?;
    Ok(Some(match sealed {
        None => Claiming::InFlight,
        Some(bytes) => Claiming::Answered {
            request: fields.id("request")?,
            sealed: Sealed {
                version: fields.small("sealed_version")?,
                key_id: fields.text("sealed_key_id")?,
                bytes,
            },
            until_unix_ms: fields.number("until_unix_ms")?,
        },
    }))
}

async fn claim(connection: &mut Connection, claim: &AnswerClaim) -> Result<Claiming, StoreError> {
    // The row may be deleted between the two statements; the key is then free, and the next round takes it.
    for _ in 0..3 {
        if take(connection, claim).await? {
            return Ok(Claiming::Yours);
        }
        if let Some(found) = look(connection, claim).await? {
            return Ok(found);
        }
    }
    Ok(Claiming::InFlight)
}

async fn keep(
    writing: &mut Writing,
    digest: AnswerDigest,
    request: TraceId,
    answer: Sealed,
    until_unix_ms: u64,
) -> Result<bool, StoreError> {
    let query = sql(
        "UPDATE kept_answers SET sealed_version = $3, sealed_key_id = $4, sealed = $5, until_unix_ms = $6
         WHERE digest = $1 AND request = $2",
    );
    let kept = query
        .bind(digest.to_vec())
        .bind(request.bytes())
        .bind(i64::from(answer.version))
        .bind(answer.key_id)
        .bind(answer.bytes)
        .bind(signed(until_unix_ms))
        .run(writing.connection())
        .await?;
    Ok(kept > 0)
}

async fn extend(
    writing: &mut Writing,
    claims: Vec<(AnswerDigest, TraceId)>,
    until_unix_ms: u64,
) -> Result<(), StoreError> {
    for (digest, request) in claims {
        sql("UPDATE kept_answers SET until_unix_ms = $3
             WHERE digest = $1 AND request = $2 AND sealed IS NULL AND until_unix_ms < $3")
        .bind(digest.to_vec())
        .bind(request.bytes())
        .bind(signed(until_unix_ms))
        .run(writing.connection())
        .await?;
    }
    Ok(())
}

async fn purge_cached(
    writing: &mut Writing,
    act: &Act,
    workspace: WorkspaceId,
    project: ProjectId,
) -> Result<u64, StoreError> {
    holding::refuse_owner(writing.connection(), workspace, Some(project)).await?;
    let raise = sql("UPDATE projects SET caching_generation = caching_generation + 1, version = $3
         WHERE workspace = $1 AND id = $2");
    let version = signed(writing.version());
    let raise = raise.bind(workspace.bytes()).bind(project.bytes()).bind(version);
    if raise.run(writing.connection()).await? == 0 {
        return Err(StoreError::NotFound { what: "project" });
    }
    let delete = sql("DELETE FROM kept_answers WHERE workspace = $1 AND project = $2 AND is_cached = 1");
    let gone = delete.bind(workspace.bytes()).bind(project.bytes()).run(writing.connection()).await?;
    writing.announce(Part::Workspace, Some(workspace), workspace);
    writing.audit(act, Some(workspace), "project.purge_cache", project, format!("{gone} answers")).await?;
    Ok(gone)
}

impl IdempotentAnswers<'_> {
    /// One transaction, before anything is sent upstream. The same claim may be repeated if its reply was
    /// lost.
    pub async fn claim(self, request: AnswerClaim) -> Result<Claiming, StoreError> {
        if let Some(mut alone) = self.0.autocommit().await? {
            let claimed = claim(&mut alone, &request).await?;
            return self.0.finish_autocommit().map(|()| claimed);
        }
        let work =
            self.0.note(move |writing| Box::pin(async move { claim(writing.connection(), &request).await }));
        work.await
    }

    /// Stores the answer; `false` if the claim no longer belongs to this request.
    pub async fn keep(
        self,
        digest: AnswerDigest,
        request: TraceId,
        answer: Sealed,
        until_unix_ms: u64,
    ) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(keep(writing, digest, request, answer, until_unix_ms))).await
    }

    /// Gives up a claim. No effect if it no longer belongs to this request, or is answered.
    pub async fn release(self, digest: AnswerDigest, request: TraceId) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    sql("DELETE FROM kept_answers WHERE digest = $1 AND request = $2 AND sealed IS NULL")
                        .bind(digest.to_vec())
                        .bind(request.bytes())
                        .run(writing.connection())
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Deletes an answer; no effect on a claim.
    pub async fn forget(self, digest: AnswerDigest) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    sql("DELETE FROM kept_answers WHERE digest = $1 AND sealed IS NOT NULL")
                        .bind(digest.to_vec())
                        .run(writing.connection())
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Extends the expiry of claims.
    pub async fn extend(
        self,
        claims: Vec<(AnswerDigest, TraceId)>,
        until_unix_ms: u64,
    ) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(extend(writing, claims, until_unix_ms))).await
    }

    /// Releases the claims of a process that is gone, and returns how many.
    pub async fn abandon(self, holder: ReplicaId) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    let query = sql("DELETE FROM kept_answers WHERE holder = $1 AND sealed IS NULL");
                    query.bind(holder.bytes()).run(writing.connection()).await
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
                        "DELETE FROM kept_answers WHERE digest IN (SELECT digest FROM kept_answers
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

    /// Deletes answers, and the claims of requests in progress, so that their answers are not stored.
    pub async fn purge(self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(purging::purge(writing, scope, "kept_answers"))).await
    }

    /// Deletes a project's answers in the response cache, and raises the generation that is part of their names, so
    /// that no replica finds one that it still holds. Returns how many there were.
    pub async fn purge_cached(
        self,
        act: Act,
        workspace: WorkspaceId,
        project: ProjectId,
    ) -> Result<Written<u64>, StoreError> {
        self.0
            .write(move |writing| {
                Box::pin(async move { purge_cached(writing, &act, workspace, project).await })
            })
            .await
    }

    pub async fn remaining(self, scope: PurgeScope) -> Result<u64, StoreError> {
        purging::remaining(&mut self.0.read().await?, scope, "kept_answers").await
    }
}
