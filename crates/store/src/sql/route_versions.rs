//! SQL for the versions of routes.

use database::act::Act;
use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::{Row, sql};
use database::writing::Writing;
use domain::limits::ROUTE_VERSIONS_MAX;
use domain::{RouteId, WorkspaceId};

use crate::route_versions::{RouteVersion, RouteVersions};
use crate::routes::RouteRow;
use crate::sql::resource;

const TABLE: &str = "route_versions";

/// Records a route as a save leaves it.
pub(super) async fn record(writing: &mut Writing, row: &RouteRow, act: &Act) -> Result<(), StoreError> {
    add(writing, row, act.unix_ms, Some(&act.actor)).await?;
    let query = sql("DELETE FROM route_versions WHERE route = $1 AND number <=
         (SELECT MAX(number) FROM route_versions WHERE route = $1) - $2");
    query.bind(row.id.bytes()).bind(i64::from(ROUTE_VERSIONS_MAX)).run(writing.connection()).await.map(drop)
}

/// Records a route as it was before a change, if the last version is another one: the route is older than the versions, or an
/// earlier version of this program changed it.
pub(super) async fn complete(writing: &mut Writing, old: &RouteRow) -> Result<(), StoreError> {
    let last = latest(writing.connection(), old.id, 1).await?;
    if last.first().is_some_and(|last| last.spec == old.spec) {
        return Ok(());
    }
    add(writing, old, old.created_unix_ms, None).await
}

async fn add(
    writing: &mut Writing,
    row: &RouteRow,
    unix_ms: u64,
    by: Option<&String>,
) -> Result<(), StoreError> {
    let query = sql("INSERT INTO route_versions (route, number, spec, saved_unix_ms, saved_by)
         SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4 FROM route_versions WHERE route = $1");
    query
        .bind(row.id.bytes())
        .bind(columns::route_to_text(&row.spec)?)
        .bind(signed(unix_ms))
        .bind(by)
        .run(writing.connection())
        .await
        .map(drop)
}

async fn latest(
    connection: &mut Connection,
    route: RouteId,
    most: u32,
) -> Result<Vec<RouteVersion>, StoreError> {
    let query = sql("SELECT * FROM route_versions WHERE route = $1 ORDER BY number DESC LIMIT $2");
    let rows = query.bind(route.bytes()).bind(i64::from(most)).rows(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<RouteVersion, StoreError> {
    let fields = Fields::new(TABLE, row);
    Ok(RouteVersion {
        number: fields.number("number")?,
        spec: columns::route_from_text(fields.get("spec")?)?,
        saved_unix_ms: fields.number("saved_unix_ms")?,
        saved_by: fields.maybe_text("saved_by")?,
    })
}

async fn list(
    connection: &mut Connection,
    workspace: WorkspaceId,
    route: RouteId,
) -> Result<Vec<RouteVersion>, StoreError> {
    let now = resource::find::<RouteRow>(connection, workspace, route).await?;
    let mut versions = latest(connection, route, ROUTE_VERSIONS_MAX).await?;
    // Not recorded yet: it is recorded with the next change.
    if versions.first().is_none_or(|last| last.spec != now.spec) {
        let number = versions.first().map_or(1, |last| last.number + 1);
        let version =
            RouteVersion { number, spec: now.spec, saved_unix_ms: now.created_unix_ms, saved_by: None };
        versions.insert(0, version);
    }
    Ok(versions)
}

impl RouteVersions<'_> {
    /// The latest versions of a route, newest first: the first is the route as it is.
    ///
    /// # Errors
    /// If the workspace has no such route.
    pub async fn list(self, workspace: WorkspaceId, route: RouteId) -> Result<Vec<RouteVersion>, StoreError> {
        list(&mut self.0.read().await?, workspace, route).await
    }
}
