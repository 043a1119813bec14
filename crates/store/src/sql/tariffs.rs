//! SQL for the tariffs and their assignment to workspaces.

use database::act::{Act, Written};
use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::{ColumnId, Fields, signed, to_text};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::WorkspaceId;
use ledger::Tariff;

use crate::tariffs::{Assignment, TariffVersion, Tariffs, USUAL};

const TABLE: &str = "tariffs";
const ASSIGNMENTS: &str = "tariff_assignments";

fn read(row: &Row) -> Result<TariffVersion, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(TariffVersion {
        tariff: fields.json("spec")?,
        effective_unix_ms: fields.number("effective_unix_ms")?,
        created_unix_ms: fields.number("created_unix_ms")?,
    })
}

fn read_assignment(row: &Row) -> Result<Assignment, StoreError> {
    let fields = Fields::new(ASSIGNMENTS, row);
    Ok(Assignment {
        workspace: fields.id("workspace")?,
        tariff: fields.text("tariff")?,
        effective_unix_ms: fields.number("effective_unix_ms")?,
    })
}

async fn put(writing: &mut Writing, version: TariffVersion, act: Act) -> Result<TariffVersion, StoreError> {
    let query =
        sql("INSERT INTO tariffs (name, effective_unix_ms, spec, created_unix_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name, effective_unix_ms) DO UPDATE SET spec = $3, created_unix_ms = $4");
    let spec = to_text(TABLE, &version.tariff)?;
    query
        .bind(&version.tariff.name)
        .bind(signed(version.effective_unix_ms))
        .bind(&spec)
        .bind(signed(version.created_unix_ms))
        .run(writing.connection())
        .await?;
    writing.announce(Part::Other, None, &version.tariff.name);
    let detail = format!("from {} on: {spec}", version.effective_unix_ms);
    writing.audit(&act, None, "tariff.put", &version.tariff.name, detail).await?;
    Ok(version)
}

async fn assign(writing: &mut Writing, assignment: Assignment, act: Act) -> Result<Assignment, StoreError> {
    let query = sql("SELECT name FROM tariffs WHERE name = $1 LIMIT 1").bind(&assignment.tariff);
    if query.row(writing.connection()).await?.is_none() {
        let detail = format!("there is no tariff \"{}\"", assignment.tariff);
        return Err(StoreError::conflict("no_such_tariff", detail, None));
    }
    let query = sql("SELECT id FROM workspaces WHERE id = $1").bind(assignment.workspace.bytes());
    if query.row(writing.connection()).await?.is_none() {
        return Err(StoreError::NotFound { what: "workspace" });
    }
    let query =
        sql("INSERT INTO tariff_assignments (workspace, effective_unix_ms, tariff) VALUES ($1, $2, $3)
         ON CONFLICT (workspace, effective_unix_ms) DO UPDATE SET tariff = $3");
    query
        .bind(assignment.workspace.bytes())
        .bind(signed(assignment.effective_unix_ms))
        .bind(&assignment.tariff)
        .run(writing.connection())
        .await?;
    writing.announce(Part::Other, Some(assignment.workspace), &assignment.tariff);
    let detail = format!("tariff {} from {} on", assignment.tariff, assignment.effective_unix_ms);
    writing.audit(&act, None, "tariff.assign", assignment.workspace, detail).await?;
    Ok(assignment)
}

async fn in_force(
    connection: &mut Connection,
    workspace: WorkspaceId,
    month_start_unix_ms: u64,
) -> Result<Tariff, StoreError> {
    let query = sql("SELECT * FROM tariff_assignments WHERE workspace = $1 AND effective_unix_ms <= $2
         ORDER BY effective_unix_ms DESC LIMIT 1");
    let row = query.bind(workspace.bytes()).bind(signed(month_start_unix_ms)).row(connection).await?;
    let assigned = row.as_ref().map(read_assignment).transpose()?;
    let name = assigned.map_or_else(|| USUAL.to_owned(), |assignment| assignment.tariff);
    let query = sql("SELECT * FROM tariffs WHERE name = $1 AND effective_unix_ms <= $2
         ORDER BY effective_unix_ms DESC LIMIT 1");
    let row = query.bind(&name).bind(signed(month_start_unix_ms)).row(connection).await?;
    let found = row.as_ref().map(read).transpose()?;
    Ok(found.map_or_else(|| Tariff { name, ..Tariff::default() }, |version| version.tariff))
}

impl Tariffs<'_> {
    /// Upserts a version by name and month; invoices already finalised with it don't change.
    pub async fn put(self, version: TariffVersion, act: Act) -> Result<Written<TariffVersion>, StoreError> {
        self.0.write(move |writing| Box::pin(put(writing, version, act))).await
    }

    /// Every version of every tariff: there are few.
    pub async fn list(self) -> Result<Vec<TariffVersion>, StoreError> {
        let query = sql("SELECT * FROM tariffs ORDER BY name, effective_unix_ms");
        let rows = query.rows(&mut self.0.read().await?).await?;
        rows.iter().map(read).collect()
    }

    /// Refused as `no_such_tariff` if there is no version with that name.
    pub async fn assign(self, assignment: Assignment, act: Act) -> Result<Written<Assignment>, StoreError> {
        self.0.write(move |writing| Box::pin(assign(writing, assignment, act))).await
    }

    pub async fn assignments(self) -> Result<Vec<Assignment>, StoreError> {
        let query = sql("SELECT * FROM tariff_assignments ORDER BY workspace, effective_unix_ms");
        let rows = query.rows(&mut self.0.read().await?).await?;
        rows.iter().map(read_assignment).collect()
    }

    /// The tariff of a workspace in the month that starts then; without any, one that charges nothing.
    pub async fn in_force(
        self,
        workspace: WorkspaceId,
        month_start_unix_ms: u64,
    ) -> Result<Tariff, StoreError> {
        in_force(&mut self.0.read().await?, workspace, month_start_unix_ms).await
    }
}
