//! Finds objects by name, for filters.

use domain::WorkspaceId;
use domain::limits::FILTER_NAMED_MAX;

use super::Connection;
use super::fields::{ColumnId, Fields};
use super::statement::Statement;
use super::writing::signed;
use crate::StoreError;

/// The ids of a workspace's objects with this name or this name prefix. `query` takes the workspace, how many
/// characters of a name to compare, the name, and a row limit.
pub(super) async fn ids<Id: ColumnId>(
    connection: &mut Connection,
    query: Statement,
    table: &'static str,
    workspace: WorkspaceId,
    name: String,
    begins: bool,
) -> Result<Vec<Id>, StoreError> {
    let characters = if begins { name.chars().count() as u64 } else { i32::MAX.unsigned_abs().into() };
    let query = query.bind(workspace.bytes()).bind(signed(characters)).bind(name);
    let rows = query.bind(signed(FILTER_NAMED_MAX.into())).rows(connection).await?;
    rows.iter().map(|row| Fields::new(table, row).id("id")).collect()
}
