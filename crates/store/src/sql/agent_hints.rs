//! SQL for stored hints.

use database::act::Act;
use database::error::StoreError;
use database::fields::{self, ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::HINTS_OF_WORKSPACE_MAX;

use crate::agent_hints::AgentHintsRow;
use crate::sql::resource::{ColumnValues, Table};

const TABLE: &str = "agent_hints";

impl Table for AgentHintsRow {
    const NAME: &'static str = TABLE;
    const WHAT: &'static str = "agent hints";
    const NOUN: &'static str = TABLE;

    fn read(row: &Row) -> Result<Self, StoreError> {
        let fields = Fields::new(TABLE, row);
        Ok(Self {
            id: fields.id("id")?,
            workspace: fields.id("workspace")?,
            name: fields.get("name")?,
            hints: fields::from_text(TABLE, fields.get("hints")?)?,
            created_unix_ms: fields.number("created_unix_ms")?,
            version: fields.number("version")?,
        })
    }

    fn columns(&self, columns: ColumnValues) -> Result<ColumnValues, StoreError> {
        Ok(columns
            .fix("id", self.id.bytes())
            .fix("workspace", self.workspace.bytes())
            .set("name", &self.name)
            .set("hints", fields::to_text(TABLE, &self.hints)?)
            .fix("created_unix_ms", signed(self.created_unix_ms))
            .set("version", signed(self.version)))
    }

    async fn prepare(writing: &mut Writing, row: &mut Self, _: &Act) -> Result<(), StoreError> {
        let query = sql("SELECT COUNT(*) AS held FROM agent_hints WHERE workspace = $1");
        let counted = query.bind(row.workspace.bytes()).one(writing.connection()).await?;
        if Fields::new(TABLE, &counted).number("held")? >= HINTS_OF_WORKSPACE_MAX as u64 {
            let detail = format!("a workspace has at most {HINTS_OF_WORKSPACE_MAX} stored hints");
            return Err(StoreError::conflict("too_many_hints", detail, None));
        }
        Ok(())
    }

    async fn merge(_: &mut Writing, old: &Self, row: Self) -> Result<Self, StoreError> {
        Ok(Self { created_unix_ms: old.created_unix_ms, ..row })
    }

    fn audit_detail(&self) -> String {
        format!("name \"{}\"", self.name)
    }
}
