//! SQL for the finalised invoices.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, before, signed, to_text};
use database::page::{Listed, Page};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{InvoiceId, KeyId, MemberId, WorkspaceId};
use ledger::invoice::Period;
use serde_json::json;

use crate::events::EventKind;
use crate::invoices::{InvoiceRow, Invoices};
use crate::sql::events;

const TABLE: &str = "invoices";

fn read(row: &Row) -> Result<InvoiceRow, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(InvoiceRow {
        id: fields.id("id")?,
        invoice: fields.json("body")?,
        finalised_unix_ms: fields.number("finalised_unix_ms")?,
    })
}

async fn finalise(writing: &mut Writing, row: InvoiceRow, act: Act) -> Result<bool, StoreError> {
    let period = row.invoice.period;
    let query = sql("INSERT INTO invoices (id, workspace, period_start_unix_ms, body, finalised_unix_ms)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING");
    let kept = query
        .bind(row.id.bytes())
        .bind(period.workspace.bytes())
        .bind(signed(period.start_unix_ms))
        .bind(to_text(TABLE, &row.invoice)?)
        .bind(signed(row.finalised_unix_ms))
        .run(writing.connection())
        .await?;
    if kept == 0 {
        return Ok(false);
    }
    let detail = format!("total {} nano-USD", row.invoice.total.0);
    writing.audit(&act, Some(period.workspace), "invoice.finalise", row.id, detail).await?;
    let payload = json!({
        "id": row.id.to_string(),
        "period_start_unix_ms": period.start_unix_ms,
        "period_end_unix_ms": period.end_unix_ms,
        "total_micros": row.invoice.total.micros(),
    });
    events::of_act(writing, &act, period.workspace, EventKind::InvoiceFinalised, payload).await?;
    Ok(true)
}

async fn one(
    connection: &mut Connection,
    workspace: Option<WorkspaceId>,
    id: InvoiceId,
) -> Result<Option<InvoiceRow>, StoreError> {
    let row = sql("SELECT * FROM invoices WHERE id = $1").bind(id.bytes()).row(connection).await?;
    let found = row.as_ref().map(read).transpose()?;
    Ok(found.filter(|row| workspace.is_none_or(|workspace| row.invoice.period.workspace == workspace)))
}

impl Invoices<'_> {
    /// Stores an invoice, emits its event, and returns whether it was the first for its workspace and month:
    /// a second one changes nothing.
    pub async fn finalise(self, row: InvoiceRow, act: Act) -> Result<bool, StoreError> {
        self.0.note(move |writing| Box::pin(finalise(writing, row, act))).await
    }

    pub async fn get(self, workspace: WorkspaceId, id: InvoiceId) -> Result<Option<InvoiceRow>, StoreError> {
        one(&mut self.0.read().await?, Some(workspace), id).await
    }

    /// Across all workspaces: for the verification of the books.
    pub async fn find(self, id: InvoiceId) -> Result<Option<InvoiceRow>, StoreError> {
        one(&mut self.0.read().await?, None, id).await
    }

    /// Newest first.
    pub async fn list(
        self,
        workspace: WorkspaceId,
        page: Page<InvoiceId>,
    ) -> Result<Listed<InvoiceRow, InvoiceId>, StoreError> {
        let wanted = page.rows_wanted();
        let before = before(page.after);
        let query = sql("SELECT * FROM invoices WHERE workspace = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(before).bind(signed(wanted as u64 + 1));
        let rows = query.rows(&mut self.0.read().await?).await?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed::cut(rows, wanted, |row: &InvoiceRow| row.id))
    }

    /// The number of changes that a workspace made through `/v2` in a month.
    pub async fn acts(self, period: Period) -> Result<u64, StoreError> {
        let query = sql("SELECT COUNT(*) AS held FROM audit
                 WHERE workspace = $1 AND unix_ms >= $2 AND unix_ms < $3 AND (actor LIKE $4 OR actor LIKE $5)");
        let query = query
            .bind(period.workspace.bytes())
            .bind(signed(period.start_unix_ms))
            .bind(signed(period.end_unix_ms))
            .bind(format!("{}%", KeyId::PREFIX))
            .bind(format!("{}%", MemberId::PREFIX));
        let row = query.one(&mut self.0.read().await?).await?;
        Fields::new("audit", &row).number("held")
    }
}
