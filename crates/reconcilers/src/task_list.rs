//! The tasks of a workspace, for those who manage it.

use domain::{Fault, ProjectId, RunTask, TaskId, TaskStatus, WorkspaceId};
use store::{Act, Listed, Page};

use crate::task_webhooks::task_webhook_job_of;
use crate::{Deps, of_store};

impl Deps {
    /// A page of a workspace's tasks, newest first.
    pub async fn run_tasks(
        &self,
        workspace: WorkspaceId,
        of: (Option<ProjectId>, Option<TaskStatus>),
        page: Page<TaskId>,
    ) -> Result<Listed<RunTask, TaskId>, Box<Fault>> {
        self.tasks.settled().await;
        let now = self.world.clock.unix_ms();
        runs::stored(&self.store).of_workspace(workspace, of, page, now).await.map_err(of_store)
    }

    pub async fn run_task(&self, workspace: WorkspaceId, id: TaskId) -> Result<RunTask, Box<Fault>> {
        self.tasks.settled().await;
        let now = self.world.clock.unix_ms();
        runs::stored(&self.store).in_workspace(workspace, id, now).await.map_err(of_store)
    }

    /// Cancels a task. One that has ended stays as it is; one that runs ends in a moment.
    pub async fn cancel_run_task(
        &self,
        workspace: WorkspaceId,
        id: TaskId,
        act: Act,
    ) -> Result<RunTask, Box<Fault>> {
        let task = self.run_task(workspace, id).await?;
        let tell = task_webhook_job_of(task.owner, id, act.unix_ms);
        runs::stored(&self.store).cancel_for(task, act, tell).await.map_err(of_store)?;
        self.run_task(workspace, id).await
    }
}
