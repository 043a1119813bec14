//! Audit entries and the counts of openings.

use domain::{AuditId, CredentialId, WorkspaceId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::fields::{ColumnId, Fields};
use super::writing::{Writing, database, signed, unsigned};
use crate::{Audit, AuditRow, Listed, Page, StoreError, StoreFuture};

fn read(row: &SqliteRow) -> Result<AuditRow, StoreError> {
    let fields = Fields::new("audit", row);
    Ok(AuditRow {
        id: fields.id("id")?,
        unix_ms: fields.number("unix_ms")?,
        workspace: fields.maybe_id("workspace")?,
        actor: fields.text("actor")?,
        action: fields.text("action")?,
        object: fields.text("object")?,
        detail: fields.text("detail")?,
        trace: fields.maybe_id("trace")?,
    })
}

async fn append(writing: &mut Writing, rows: Vec<AuditRow>) -> Result<(), StoreError> {
    for row in rows {
        let query = sqlx::query(
            "INSERT OR IGNORE INTO audit (id, unix_ms, workspace, actor, action, object, detail, trace)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        );
        query
            .bind(row.id.bytes())
            .bind(signed(row.unix_ms))
            .bind(row.workspace.map(|id| id.bytes()))
            .bind(row.actor)
            .bind(row.action)
            .bind(row.object)
            .bind(row.detail)
            .bind(row.trace.map(|id| id.bytes()))
            .execute(writing.connection())
            .await
            .map_err(database)?;
    }
    Ok(())
}

async fn count(writing: &mut Writing, openings: Vec<(CredentialId, u64)>) -> Result<(), StoreError> {
    for (credential, count) in openings {
        let query = sqlx::query(
            "INSERT INTO credential_openings (credential, openings) VALUES (?1, ?2)
             ON CONFLICT (credential) DO UPDATE SET openings = openings + ?2",
        );
        let query = query.bind(credential.bytes()).bind(signed(count));
        query.execute(writing.connection()).await.map_err(database)?;
    }
    Ok(())
}

impl Audit for SqliteStore {
    fn append(&self, rows: Vec<AuditRow>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.write(move |writing| Box::pin(append(writing, rows))).await.map(|written| written.row)
        })
    }

    fn list(
        &self,
        workspace: Option<WorkspaceId>,
        page: Page<AuditId>,
    ) -> StoreFuture<'_, Listed<AuditRow, AuditId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let before = page.after.map_or_else(|| vec![0xFF; 17], |id| id.bytes());
            let query = sqlx::query(
                "SELECT * FROM audit WHERE workspace IS ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            );
            let rows = query
                .bind(workspace.map(|id| id.bytes()))
                .bind(before)
                .bind(signed(wanted as u64 + 1))
                .fetch_all(self.readers())
                .await
                .map_err(database)?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &AuditRow| row.id))
        })
    }

    fn count_openings(&self, openings: Vec<(CredentialId, u64)>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.write(move |writing| Box::pin(count(writing, openings))).await.map(|written| written.row)
        })
    }

    fn openings(&self, credential: CredentialId) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let query = sqlx::query("SELECT openings FROM credential_openings WHERE credential = ?1");
            let row =
                query.bind(credential.bytes()).fetch_optional(self.readers()).await.map_err(database)?;
            let count = row.map(|row| row.try_get(0)).transpose();
            count
                .map(|n| n.map_or(0, unsigned))
                .map_err(|error| StoreError::corrupt("credential_openings", error))
        })
    }
}
