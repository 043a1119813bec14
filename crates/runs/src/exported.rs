//! Tasks as a data export reads them: page by page, with their contents opened.

use database::error::StoreError;
use database::fields::{ColumnId, after, signed};
use database::statement::sql;
use domain::{RunTask, TaskContents, TaskId, WorkspaceId};
use vault::Vault;

use crate::rows::TaskContent;
use crate::sql::{StoredTasks, contents_of, read};

/// Each may be as long as a request and its answer.
const TASKS_AT_ONCE: u64 = 20;

/// A task with its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedTask {
    pub task: RunTask,
    pub contents: TaskContents,
}

impl StoredTasks {
    /// Tasks after one, oldest first.
    pub async fn exported(
        &self,
        vault: &Vault,
        workspace: WorkspaceId,
        cursor: Option<TaskId>,
    ) -> Result<Vec<ExportedTask>, StoreError> {
        let mut connection = self.0.read().await?;
        let query = sql("SELECT * FROM run_tasks WHERE workspace = $1 AND id > $2 ORDER BY id LIMIT $3");
        let query = query.bind(workspace.bytes()).bind(after(cursor)).bind(signed(TASKS_AT_ONCE));
        let rows = query.rows(&mut connection).await?;
        let tasks = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
        let mut contents = contents_of(&mut connection, &ids, None).await?;
        let opened = tasks.into_iter().map(|task| {
            let sealed = contents.remove(&task.id).unwrap_or_default();
            ExportedTask { contents: TaskContent::open_all(&sealed, vault, workspace), task }
        });
        Ok(opened.collect())
    }
}
