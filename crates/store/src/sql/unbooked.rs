//! Unbooked work at providers: batches, videos and background responses that a job polls. Until it is booked, the project that
//! is charged for it and the credential or account that reads it can't be deleted.

use std::collections::HashSet;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::statement::sql;
use domain::{Principal, ProjectId, StoredKind, StoredObjectId, TraceId, WorkspaceId};

use crate::jobs::{BATCHES_POLL, RESPONSES_POLL, VIDEOS_POLL, response_poll_name};
use crate::limits::UNBOOKED_NAMED_MAX;

/// A job that was given up books nothing any more.
const POLLED: &str = "SELECT name FROM jobs WHERE kind IN ($1, $2, $3) AND state <> 'dead'";
const OBJECT: &str = "SELECT workspace, project, maker FROM kept_objects WHERE id = $1 AND booked_by IS NULL";
const RESPONSES: &str = "SELECT workspace, project, maker, request, provider_id FROM stored_responses
     WHERE workspace = $1 AND booked_by IS NULL";

/// Refuses to delete what such objects are charged to, or are read with: their usage could not be recorded any more. An
/// account of the operator can have made those of all workspaces.
pub(super) async fn refuse_while_open(
    connection: &mut Connection,
    (of, workspace): (&str, Option<WorkspaceId>),
    is_of: impl Fn(ProjectId, Principal) -> bool,
) -> Result<(), StoreError> {
    let query = sql(POLLED).bind(BATCHES_POLL).bind(VIDEOS_POLL).bind(RESPONSES_POLL);
    let rows = query.rows(connection).await?;
    let polled: Result<HashSet<String>, StoreError> =
        rows.iter().map(|row| Ok(Fields::new("jobs", row).maybe_text("name")?.unwrap_or_default())).collect();
    let (polled, mut named) = (polled?, Vec::new());
    let mut look = |fields: Fields<'_>, name: String| {
        let (project, maker): (ProjectId, String) = (fields.id("project")?, fields.text("maker")?);
        let maker = maker.parse().map_err(|_| StoreError::corrupt("maker", maker))?;
        let is_near = workspace.is_none_or(|workspace| fields.id("workspace").ok() == Some(workspace));
        named.extend(Some(name).filter(|_| is_near && is_of(project, maker)));
        Ok::<(), StoreError>(())
    };
    for id in polled.iter().filter_map(|name| name.parse::<StoredObjectId>().ok()) {
        if let Some(row) = sql(OBJECT).bind(id.digest.to_vec()).row(connection).await? {
            let what = if id.kind.kind() == StoredKind::Video { "video" } else { "batch" };
            look(Fields::new("kept_objects", &row), format!("{what} {id}"))?;
        }
    }
    // Only credentials of workspaces make answers in the background.
    let owner = workspace.map(|workspace| workspace.bytes()).unwrap_or_default();
    for row in sql(RESPONSES).bind(owner).rows(connection).await? {
        let fields = Fields::new("stored_responses", &row);
        if polled.contains(&response_poll_name(fields.id::<TraceId>("request")?)) {
            let name = fields.maybe_text("provider_id")?.unwrap_or_default();
            look(fields, format!("background response {name}"))?;
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    named.sort_unstable();
    let count = named.len();
    named.truncate(UNBOOKED_NAMED_MAX);
    let detail = format!("the usage of {count} made with the {of} is not recorded yet: {}", named.join(", "));
    Err(StoreError::conflict("usage_not_recorded", detail, None))
}
