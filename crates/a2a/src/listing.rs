//! `ListTasks`: an agent's tasks, newest status first, by cursor.

use domain::{RunTask, SessionId, TaskId};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::calls::Calls;
use crate::errors::RpcError;
use crate::limits::{PAGE_TASKS, PAGE_TASKS_MAX};
use crate::params::Fields;
use crate::task::{Accepted, State, View, document, status_unix_ms};
use crate::turns;

/// A place in the order of tasks.
type Place = (u64, TaskId);

struct Query {
    context: Option<SessionId>,
    /// `Some(None)` for a state that no task is ever in.
    state: Option<Option<State>>,
    changed_from_unix_ms: Option<u64>,
    after: Option<Place>,
    page: usize,
    view: View,
}

/// States of the protocol that no turn is ever in.
const OTHER_STATES: [&str; 2] = ["TASK_STATE_REJECTED", "TASK_STATE_AUTH_REQUIRED"];

/// # Errors
/// What is wrong with the params, or that the tasks can't be read now.
pub(crate) async fn list(calls: &Calls<'_>, params: &Value) -> Result<Value, RpcError> {
    let query = read(params)?;
    let mut tasks = turns::tasks(calls, query.context).await?;
    tasks.retain(|task| query.changed_from_unix_ms.is_none_or(|from| status_unix_ms(task) >= from));
    tasks.sort_by_key(|task| std::cmp::Reverse(place(task)));
    if let Some(state) = query.state {
        tasks = of_state(calls, tasks, state).await?;
    }
    let total = tasks.len();
    let after = |task: &RunTask| query.after.is_none_or(|after| place(task) < after);
    let mut page: Vec<RunTask> = tasks.into_iter().filter(after).collect();
    let has_more = page.len() > query.page;
    page.truncate(query.page);
    let next = page.last().filter(|_| has_more).map(token).unwrap_or_default();
    let mut documents = Vec::with_capacity(page.len());
    for task in &page {
        match calls.turn(task.id).await {
            Ok(record) => documents.push(document(&record, query.view)),
            // It was deleted meanwhile.
            Err(error) if error.code == -32_001 => {}
            Err(error) => return Err(error),
        }
    }
    let count = documents.len();
    Ok(json!({"tasks": documents, "nextPageToken": next, "pageSize": count, "totalSize": total}))
}

/// Those of a state. Of one that has ended its task says so; of the others its chat does.
async fn of_state(
    calls: &Calls<'_>,
    tasks: Vec<RunTask>,
    wanted: Option<State>,
) -> Result<Vec<RunTask>, RpcError> {
    let Some(wanted) = wanted else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for task in tasks {
        let state = match State::of_ended(task.status) {
            Some(state) => Some(state),
            None => match calls.turn(task.id).await {
                Ok(record) => Some(State::of(&record)),
                Err(error) if error.code == -32_001 => None,
                Err(error) => return Err(error),
            },
        };
        if state == Some(wanted) {
            found.push(task);
        }
    }
    Ok(found)
}

fn read(params: &Value) -> Result<Query, RpcError> {
    let fields = Fields::of(params, "")?;
    let state = match fields.text("status")? {
        None | Some("TASK_STATE_UNSPECIFIED") => None,
        Some(name) if OTHER_STATES.contains(&name) => Some(None),
        Some(name) => Some(Some(State::by_name(name).ok_or_else(|| {
            fields.wrong("status", "it must be a state of tasks, such as TASK_STATE_WORKING.")
        })?)),
    };
    let after = match fields.text("pageToken")? {
        None => None,
        Some(token) => Some(read_token(token).ok_or_else(|| {
            fields.wrong(
                "pageToken",
                "it is not a token of this list. Send the nextPageToken of the previous page.",
            )
        })?),
    };
    let changed_from_unix_ms = match fields.text("statusTimestampAfter")? {
        None => None,
        Some(text) => {
            let how = "it must be a time such as 2025-10-28T10:30:00.000Z.";
            Some(unix_ms(text).ok_or_else(|| fields.wrong("statusTimestampAfter", how))?)
        }
    };
    // A context that can't be one of ours has no tasks.
    let context =
        fields.text("contextId")?.map(|id| id.parse().unwrap_or_else(|_| SessionId::new(0, [0; 10])));
    let artifacts = fields.flag("includeArtifacts")?.then_some(Accepted::ALL);
    Ok(Query {
        context,
        state,
        changed_from_unix_ms,
        after,
        page: fields.number("pageSize", (1, PAGE_TASKS_MAX))?.unwrap_or(PAGE_TASKS),
        view: View { history: fields.history()?, artifacts },
    })
}

fn unix_ms(text: &str) -> Option<u64> {
    let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanoseconds.max(0) / 1_000_000).ok()
}

fn place(task: &RunTask) -> Place {
    (status_unix_ms(task), task.id)
}

fn token(task: &RunTask) -> String {
    format!("{}-{}", status_unix_ms(task), task.id)
}

fn read_token(token: &str) -> Option<Place> {
    let (unix_ms, id) = token.split_once('-')?;
    Some((unix_ms.parse().ok()?, id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place_in_the_list() {
        let id = TaskId::new(7, [3; 10]);
        assert_eq!(read_token(&format!("12-{id}")), Some((12, id)));
        for wrong in ["", "12", "x-y", "12-nonsense"] {
            assert_eq!(read_token(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_lists_nothing_is_refused() {
        for (params, code) in [
            (json!({"pageToken": "nonsense"}), Some(-32_602)),
            (json!({"status": "done"}), Some(-32_602)),
            (json!({"pageSize": 0}), Some(-32_602)),
            (json!({"pageSize": -1}), Some(-32_602)),
            (json!({"pageSize": 101}), Some(-32_602)),
            (json!({"historyLength": -1}), Some(-32_602)),
            (json!({"statusTimestampAfter": "yesterday"}), Some(-32_602)),
            (json!({"status": "TASK_STATE_REJECTED", "contextId": "unknown", "pageToken": ""}), None),
        ] {
            assert_eq!(read(&params).err().map(|error| error.code), code, "{params}");
        }
        assert_eq!(unix_ms("1970-01-01T00:00:01.500Z"), Some(1_500));
    }
}
