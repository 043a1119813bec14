//! Finds objects by name, for filters.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::compose;
use domain::WorkspaceId;
use domain::limits::FILTER_NAMED_MAX;

use crate::sql::resource::Table;

/// The ids of a workspace's rows whose `column` is this name or, if `begins`, starts with it.
pub(super) async fn ids<R: Table>(
    connection: &mut Connection,
    column: &'static str,
    workspace: WorkspaceId,
    name: String,
    begins: bool,
) -> Result<Vec<R::Id>, StoreError> {
    let characters = if begins { name.chars().count() as u64 } else { i32::MAX.unsigned_abs().into() };
    let query = compose(format!(
        "SELECT id FROM {} WHERE workspace = $1 AND substr({column}, 1, CAST($2 AS INTEGER)) = $3{}
         ORDER BY id LIMIT $4",
        R::NAME,
        R::EXCEPT
    ));
    let query = query.bind(workspace.bytes()).bind(signed(characters)).bind(name);
    let rows = query.bind(signed(FILTER_NAMED_MAX.into())).rows(connection).await?;
    rows.iter().map(|row| Fields::new(R::NAME, row).id("id")).collect()
}
