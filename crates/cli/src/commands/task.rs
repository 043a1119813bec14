//! `tidegate task`: runs of apps, where each is, and its log.

use std::path::PathBuf;

use serde_json::Value;

use crate::api::escape;
use crate::collection::Collection;
use crate::commands::app;
use crate::output::{self, Failure};
use crate::shared::Shared;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the tasks of the workspace, newest first.
    List {
        /// Only tasks with this status, such as queued or failed.
        #[arg(long)]
        status: Option<String>,
    },
    /// Shows a task's status and log.
    Show { id: String },
    /// Follows a task until it ends: its status, its log and its text as they arrive. Ctrl-C leaves it running.
    Follow {
        id: String,
        /// The directory for the files that it produces.
        #[arg(long, value_name = "DIR")]
        save: Option<PathBuf>,
    },
    /// Cancels a task; if it has already ended, that is a conflict.
    Cancel { id: String },
}

pub fn run(shared: &Shared, command: Command) -> Result<(), Failure> {
    let tasks = Collection::connect(shared, "/v2/tasks")?;
    match command {
        Command::List { status } => {
            let path = status.map_or_else(
                || tasks.path().to_owned(),
                |status| format!("{}?status={}", tasks.path(), escape(&status)),
            );
            let columns = ["id", "app", "status", "priority", "tries", "created_at", "ended_at"];
            output::list(
                shared,
                &tasks.api.get(&path)?,
                &columns,
                "No task. Each run of an app is one: POST /v1/run.",
            );
            Ok(())
        }
        Command::Show { id } => tasks.show(&id),
        Command::Follow { id, save } => app::follow(shared, &tasks.api, &id, save.as_deref()),
        Command::Cancel { id } => {
            check_open(&id, &tasks.api.get(&tasks.at(&id))?)?;
            let cancelled = tasks.api.post(&format!("{}/cancel", tasks.at(&id)), &serde_json::json!({}))?;
            output::object(shared, &cancelled);
            Ok(())
        }
    }
}

/// A task that has ended is not cancelled any more.
fn check_open(id: &str, task: &Value) -> Result<(), Failure> {
    if task.get("ended_at").is_none_or(Value::is_null) {
        return Ok(());
    }
    let status = output::cell(task, "status");
    let message = format!(
        "The task {id} has ended ({status}): there is nothing to cancel. `tidegate task show {id}` shows it."
    );
    Err(Failure::new(output::CONFLICT, message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_that_has_ended_is_not_cancelled() {
        assert!(check_open("tsk_1", &json!({"status": "running", "ended_at": null})).is_ok());
        let ended = json!({"status": "completed", "ended_at": "2026-11-27T00:00:00Z"});
        let failure = check_open("tsk_1", &ended).unwrap_err();
        assert_eq!(failure.code, output::CONFLICT);
        assert!(failure.message.contains("has ended (completed)"), "{}", failure.message);
    }
}
