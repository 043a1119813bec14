//! SQL for stored turns, and of the tool calls that lead to them.

use std::collections::BTreeSet;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::holding;
use database::purging;
use database::seals::require_key;
use database::statement::{Row, compose, sql};
use database::writing::Writing;
use domain::ports::PurgeScope;

use crate::kept_turns::{KeptTurnRow, StoredTurns, TurnLookup};

const TABLE: &str = "kept_turns";

const LEAD: &str = "INSERT INTO kept_turn_calls (digest, turn) SELECT call, $2 FROM unnest($1) AS call \
    ON CONFLICT (digest) DO UPDATE SET turn = excluded.turn";
// Without `WHERE`, SQLite would parse `ON CONFLICT` as a join's `ON`.
const LEAD_ON_SQLITE: &str = "INSERT INTO kept_turn_calls (digest, turn) \
    SELECT unhex(value), $2 FROM json_each($1) WHERE true \
    ON CONFLICT (digest) DO UPDATE SET turn = excluded.turn";

/// The length of a blob is known without reading it, so that only the returned turns are read.
macro_rules! find {
    ($calls:literal) => {
        concat!(
            "WITH sizes AS (
                 SELECT digest, SUM(length(sealed)) OVER (ORDER BY until_unix_ms DESC, digest) AS upto
                 FROM kept_turns
                 WHERE workspace = $2 AND project = $3 AND until_unix_ms > $4 AND digest IN
                     (SELECT turn FROM kept_turn_calls WHERE digest ",
            $calls,
            "))
             SELECT kept_turns.* FROM sizes JOIN kept_turns ON kept_turns.digest = sizes.digest
             WHERE upto <= $5 ORDER BY until_unix_ms, kept_turns.digest DESC"
        )
    };
}
const FIND: &str = find!("= ANY($1)");
const FIND_ON_SQLITE: &str = find!("IN (SELECT unhex(value) FROM json_each($1))");

async fn keep(writing: &mut Writing, turn: KeptTurnRow, calls: Vec<[u8; 32]>) -> Result<(), StoreError> {
    require_key(writing, turn.workspace, &turn.sealed.key_id).await?;
    let query = sql("INSERT INTO kept_turns
         (digest, workspace, project, request, sealed_version, sealed_key_id, sealed, until_unix_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (digest) DO NOTHING");
    query
        .bind(turn.digest.to_vec())
        .bind(turn.workspace.bytes())
        .bind(turn.project.bytes())
        .bind(turn.request.bytes())
        .bind(i64::from(turn.sealed.version))
        .bind(turn.sealed.key_id)
        .bind(turn.sealed.bytes)
        .bind(signed(turn.until_unix_ms))
        .run(writing.connection())
        .await?;
    // Deduplicated, since a statement can't upsert a row twice, and sorted, so that writers don't deadlock.
    let calls: BTreeSet<_> = calls.into_iter().collect();
    let lead = writing.connection().either(LEAD, LEAD_ON_SQLITE);
    let calls: Vec<_> = calls.into_iter().collect();
    sql(lead).bind(calls).bind(turn.digest.to_vec()).run(writing.connection()).await?;
    Ok(())
}

fn read(row: &Row) -> Result<KeptTurnRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(KeptTurnRow {
        digest: fields.digest("digest")?,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        request: fields.id("request")?,
        sealed: fields.sealed()?,
        until_unix_ms: fields.number("until_unix_ms")?,
    })
}

async fn find(connection: &mut Connection, lookup: TurnLookup) -> Result<Vec<KeptTurnRow>, StoreError> {
    let query = sql(connection.either(FIND, FIND_ON_SQLITE))
        .bind(lookup.calls)
        .bind(lookup.workspace.bytes())
        .bind(lookup.project.bytes())
        .bind(signed(lookup.now_unix_ms))
        .bind(signed(lookup.bytes_max));
    query.rows(connection).await?.iter().map(read).collect()
}

impl StoredTurns<'_> {
    /// From here on each of the calls leads to this turn. The same turn may be stored again if the reply was
    /// lost.
    ///
    /// # Errors
    /// If it is sealed under a workspace key that was replaced, or its project is gone.
    pub async fn keep(self, turn: KeptTurnRow, calls: Vec<[u8; 32]>) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(keep(writing, turn, calls))).await
    }

    /// Each turn once, oldest first.
    pub async fn find(self, lookup: TurnLookup) -> Result<Vec<KeptTurnRow>, StoreError> {
        find(&mut self.0.read().await?, lookup).await
    }

    /// Deletes at most `rows_max` expired rows, and returns how many it deleted.
    pub async fn expire(self, now_unix_ms: u64, rows_max: u32) -> Result<u64, StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    compose(format!(
                        "DELETE FROM kept_turns WHERE digest IN (SELECT digest FROM kept_turns
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

    pub async fn purge(self, scope: PurgeScope) -> Result<u64, StoreError> {
        self.0.note(move |writing| Box::pin(purging::purge(writing, scope, TABLE))).await
    }

    pub async fn remaining(self, scope: PurgeScope) -> Result<u64, StoreError> {
        purging::remaining(&mut self.0.read().await?, scope, TABLE).await
    }
}
