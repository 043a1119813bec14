//! Purging of stored content, shared by its tables: by workspace, project or request.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::statement::{Statement, sql};
use database::writing::Writing;
use domain::WorkspaceId;
use domain::ports::{PurgeScope, Purged};

/// One statement each for a whole workspace, a project, and a request.
pub(super) type Texts = [&'static str; 3];

/// The statements that together cover a scope.
fn scoped(workspace: WorkspaceId, what: Purged, [all, of_project, of_request]: Texts) -> Vec<Statement> {
    match what {
        Purged::Everything => vec![sql(all).bind(workspace.bytes())],
        Purged::Project(project) => vec![sql(of_project).bind(workspace.bytes()).bind(project.bytes())],
        Purged::Requests(requests) => requests
            .into_iter()
            .map(|request| sql(of_request).bind(workspace.bytes()).bind(request.bytes()))
            .collect(),
    }
}

/// Returns how many rows were deleted.
pub(super) async fn purge(
    writing: &mut Writing,
    scope: PurgeScope,
    deletes: Texts,
) -> Result<u64, StoreError> {
    let mut gone = 0;
    for statement in scoped(scope.workspace, scope.what, deletes) {
        gone += statement.run(writing.connection()).await?;
    }
    Ok(gone)
}

/// How many rows are left; each statement counts them as `found`.
pub(super) async fn remaining(
    connection: &mut Connection,
    scope: PurgeScope,
    counts: Texts,
) -> Result<u64, StoreError> {
    let mut left = 0;
    for statement in scoped(scope.workspace, scope.what, counts) {
        let row = statement.one(connection).await?;
        left += Fields::new("kept content", &row).number("found")?;
    }
    Ok(left)
}
