//! Audit entries and the counts of openings.

use domain::{AuditId, CredentialId, WorkspaceId};

use super::fields::{ColumnId, Fields};
use super::writing::{Writing, signed};
use super::{Database, Row, sql};
use crate::{Audit, AuditRow, Listed, Page, StoreError, StoreFuture};

fn read(row: &Row) -> Result<AuditRow, StoreError> {
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
        let query = sql("INSERT INTO audit (id, unix_ms, workspace, actor, action, object, detail, trace)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING");
        query
            .bind(row.id.bytes())
            .bind(signed(row.unix_ms))
            .bind(row.workspace.map(|id| id.bytes()))
            .bind(row.actor)
            .bind(row.action)
            .bind(row.object)
            .bind(row.detail)
            .bind(row.trace.map(|id| id.bytes()))
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

async fn count(writing: &mut Writing, openings: Vec<(CredentialId, u64)>) -> Result<(), StoreError> {
    for (credential, count) in openings {
        let query = sql("INSERT INTO credential_openings (credential, openings) VALUES ($1, $2)
             ON CONFLICT (credential) DO UPDATE SET openings = credential_openings.openings + $2");
        let query = query.bind(credential.bytes()).bind(signed(count));
        query.run(writing.connection()).await?;
    }
    Ok(())
}

impl Audit for Database {
    fn append(&self, rows: Vec<AuditRow>) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.note(move |writing| Box::pin(append(writing, rows))).await })
    }

    fn list(
        &self,
        workspace: Option<WorkspaceId>,
        page: Page<AuditId>,
    ) -> StoreFuture<'_, Listed<AuditRow, AuditId>> {
        Box::pin(async move {
            let wanted = page.rows_wanted();
            let before = page.after.map_or_else(|| vec![0xFF; 17], |id| id.bytes());
            let query = match workspace {
                Some(id) => {
                    sql("SELECT * FROM audit WHERE workspace = $3 AND id < $1 ORDER BY id DESC LIMIT $2")
                        .bind(before)
                        .bind(signed(wanted as u64 + 1))
                        .bind(id.bytes())
                }
                None => {
                    sql("SELECT * FROM audit WHERE workspace IS NULL AND id < $1 ORDER BY id DESC LIMIT $2")
                        .bind(before)
                        .bind(signed(wanted as u64 + 1))
                }
            };
            let rows = query.rows(&mut self.read().await?).await?;
            let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Listed::cut(rows, wanted, |row: &AuditRow| row.id))
        })
    }

    fn count_openings(&self, openings: Vec<(CredentialId, u64)>) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.note(move |writing| Box::pin(count(writing, openings))).await })
    }

    fn openings(&self, credential: CredentialId) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let query = sql("SELECT openings FROM credential_openings WHERE credential = $1");
            let row = query.bind(credential.bytes()).row(&mut self.read().await?).await?;
            row.map_or(Ok(0), |row| Fields::new("credential_openings", &row).number("openings"))
        })
    }
}
