//! The tasks of a workspace, for those who manage it: without their content.

use database::error::StoreError;
use database::fields::{ColumnId, before, signed};
use database::statement::{compose, sql};
use domain::{ProjectId, RunTask, TaskId, TaskStatus, WorkspaceId};
use store::{Act, Listed, NewJob, Page};

use crate::sql::{StoredTasks, cancel, read};

impl StoredTasks {
    /// The tasks of a workspace, or of one of its projects, newest first.
    pub async fn of_workspace(
        &self,
        workspace: WorkspaceId,
        (project, status): (Option<ProjectId>, Option<TaskStatus>),
        page: Page<TaskId>,
        now_unix_ms: u64,
    ) -> Result<Listed<RunTask, TaskId>, StoreError> {
        let wanted = page.rows_wanted();
        let of_status = status.map(|status| format!(" AND status = {}", status.code())).unwrap_or_default();
        let of_project = if project.is_some() { " AND project = $5" } else { "" };
        let query = compose(format!(
            "SELECT * FROM run_tasks WHERE workspace = $1 AND until_unix_ms > $2 AND id < $3{of_status}{of_project}
             ORDER BY id DESC LIMIT $4"
        ));
        let query = query.bind(workspace.bytes()).bind(signed(now_unix_ms)).bind(before(page.after));
        let query = query.bind(signed(wanted as u64 + 1));
        let query = match project {
            Some(project) => query.bind(project.bytes()),
            None => query,
        };
        let rows = query.rows(&mut self.0.read().await?).await?;
        let tasks = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(tasks, wanted, |task| task.id))
    }

    pub async fn in_workspace(
        &self,
        workspace: WorkspaceId,
        id: TaskId,
        now_unix_ms: u64,
    ) -> Result<RunTask, StoreError> {
        let query = sql("SELECT * FROM run_tasks WHERE id = $1 AND workspace = $2 AND until_unix_ms > $3");
        let query = query.bind(id.bytes()).bind(workspace.bytes()).bind(signed(now_unix_ms));
        let row = query.row(&mut self.0.read().await?).await?;
        row.as_ref().map(read).transpose()?.ok_or(StoreError::NotFound { what: "task" })
    }

    /// Cancels a task for somebody who manages its workspace. `tell` is the job that tells of the end.
    pub async fn cancel_for(&self, task: RunTask, act: Act, tell: NewJob) -> Result<(), StoreError> {
        self.0
            .note(move |writing| {
                Box::pin(async move {
                    cancel(writing, (task.owner, task.id), act.unix_ms, tell).await?;
                    let (workspace, detail) = (Some(task.owner.workspace), format!("task {}", task.id));
                    writing.audit(&act, workspace, "task.cancel", task.request(), detail).await
                })
            })
            .await
    }
}
