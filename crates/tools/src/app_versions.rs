//! Older versions of apps: what each said before it was changed, so that runs may name it as `NAME@VERSION`.

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId as _, Fields, signed, to_text};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::{AppDefinition, AppId, WorkspaceId};

use crate::limits::APP_VERSIONS_MAX;
use crate::rows::AppRow;

const TABLE: &str = "app_versions";

/// What an app said until it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppVersion {
    pub number: u64,
    pub definition: AppDefinition,
    pub replaced_unix_ms: u64,
}

fn read(row: &Row) -> Result<AppVersion, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(AppVersion {
        number: fields.number("number")?,
        definition: fields.json("definition")?,
        replaced_unix_ms: fields.number("replaced_unix_ms")?,
    })
}

/// Keeps what an app is before it is replaced. Of many versions the oldest go.
pub(crate) async fn keep(writing: &mut Writing, replaced: &AppRow, unix_ms: u64) -> Result<(), StoreError> {
    let query = sql("INSERT INTO app_versions (app, number, workspace, definition, replaced_unix_ms)
         VALUES ($1, $2, $3, $4, $5)");
    let query = query.bind(replaced.id.bytes()).bind(signed(replaced.version));
    let query = query.bind(replaced.owner.workspace.bytes()).bind(to_text(TABLE, &replaced.definition)?);
    query.bind(signed(unix_ms)).run(writing.connection()).await?;
    let oldest = (replaced.version + 1).saturating_sub(APP_VERSIONS_MAX);
    let query = sql("DELETE FROM app_versions WHERE app = $1 AND number < $2");
    query.bind(replaced.id.bytes()).bind(signed(oldest)).run(writing.connection()).await.map(drop)
}

pub(crate) async fn find(
    connection: &mut Connection,
    (workspace, app, number): (WorkspaceId, AppId, u64),
) -> Result<Option<AppVersion>, StoreError> {
    let query = sql("SELECT * FROM app_versions WHERE workspace = $1 AND app = $2 AND number = $3");
    let query = query.bind(workspace.bytes()).bind(app.bytes()).bind(signed(number));
    query.row(connection).await?.as_ref().map(read).transpose()
}

/// Newest first.
pub(crate) async fn list(
    connection: &mut Connection,
    (workspace, app): (WorkspaceId, AppId),
) -> Result<Vec<AppVersion>, StoreError> {
    let query = sql("SELECT * FROM app_versions WHERE workspace = $1 AND app = $2 ORDER BY number DESC");
    let query = query.bind(workspace.bytes()).bind(app.bytes());
    query.rows(connection).await?.iter().map(read).collect()
}
