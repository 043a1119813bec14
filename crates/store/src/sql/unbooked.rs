//! What providers still make and nobody has booked: batches, videos and background responses that a job polls. Whoever they
//! are charged to, and whatever reads them, stays until then.

use std::collections::HashSet;

use database::connection::Connection;
use database::error::StoreError;
use database::fields::{ColumnId, Fields};
use database::statement::{Row, sql};
use domain::{Principal, ProjectId, StoredKind, StoredObjectId, TraceId, WorkspaceId};

use crate::jobs::{BATCHES_POLL, RESPONSES_POLL, VIDEOS_POLL, response_poll_name};
use crate::limits::UNBOOKED_NAMED_MAX;

/// A job that was given up books nothing any more.
const POLLED: &str = "SELECT name FROM jobs WHERE kind IN ($1, $2, $3) AND state <> 'dead'";
const OBJECT: &str = "SELECT workspace, project, maker FROM kept_objects WHERE id = $1 AND booked_by IS NULL";
const RESPONSES: &str = "SELECT workspace, project, maker, request, provider_id FROM stored_responses
     WHERE workspace = $1 AND booked_by IS NULL";

/// One of them.
pub(super) struct Unbooked {
    /// For a person: `batch`, `video` or `background response`.
    what: &'static str,
    /// What clients call it.
    name: String,
    workspace: WorkspaceId,
    pub project: ProjectId,
    pub maker: Principal,
}

/// Those of a workspace; without one, those of all workspaces that an account of the operator can have made.
pub(super) async fn find(
    connection: &mut Connection,
    workspace: Option<WorkspaceId>,
) -> Result<Vec<Unbooked>, StoreError> {
    let query = sql(POLLED).bind(BATCHES_POLL).bind(VIDEOS_POLL).bind(RESPONSES_POLL);
    let rows = query.rows(connection).await?;
    let names: Result<HashSet<String>, StoreError> =
        rows.iter().map(|row| Ok(Fields::new("jobs", row).maybe_text("name")?.unwrap_or_default())).collect();
    let (names, mut found) = (names?, Vec::new());
    for id in names.iter().filter_map(|name| name.parse::<StoredObjectId>().ok()) {
        if let Some(row) = sql(OBJECT).bind(id.digest.to_vec()).row(connection).await? {
            let what = if id.kind.kind() == StoredKind::Video { "video" } else { "batch" };
            found.push(read("kept_objects", &row, what, id.to_string())?);
        }
    }
    // Only credentials of workspaces make answers in the background.
    if let Some(workspace) = workspace {
        for row in sql(RESPONSES).bind(workspace.bytes()).rows(connection).await? {
            let fields = Fields::new("stored_responses", &row);
            if names.contains(&response_poll_name(fields.id::<TraceId>("request")?)) {
                let name = fields.maybe_text("provider_id")?.unwrap_or_default();
                found.push(read("stored_responses", &row, "background response", name)?);
            }
        }
    }
    found.retain(|one| workspace.is_none_or(|workspace| workspace == one.workspace));
    Ok(found)
}

fn read(table: &'static str, row: &Row, what: &'static str, name: String) -> Result<Unbooked, StoreError> {
    let fields = Fields::new(table, row);
    let maker = fields.text("maker")?;
    Ok(Unbooked {
        what,
        name,
        workspace: fields.id("workspace")?,
        project: fields.id("project")?,
        maker: maker.parse().map_err(|_| StoreError::corrupt(table, format!("maker is {maker}")))?,
    })
}

/// Refuses to delete what these are charged to, or are read with: their usage could not be recorded any more.
pub(super) fn refuse(of: &str, mut open: Vec<Unbooked>) -> Result<(), StoreError> {
    if open.is_empty() {
        return Ok(());
    }
    open.sort_unstable_by(|one, other| (one.what, &one.name).cmp(&(other.what, &other.name)));
    let counts: Vec<String> = ["batch", "video", "background response"]
        .into_iter()
        .filter_map(|what| {
            let count = open.iter().filter(|one| one.what == what).count();
            let ending = if what == "batch" { "es" } else { "s" };
            (count > 0).then(|| format!("{count} {what}{}", if count == 1 { "" } else { ending }))
        })
        .collect();
    let mut names: Vec<&str> = open.iter().take(UNBOOKED_NAMED_MAX).map(|one| &*one.name).collect();
    if open.len() > names.len() {
        names.push("...");
    }
    let detail = format!(
        "The usage of {} of the {of} is not recorded yet: {}",
        counts.join(", "),
        names.join(", ")
    );
    Err(StoreError::conflict("usage_not_recorded", detail, None))
}
