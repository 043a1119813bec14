//! The files of a task: those that its input names, and those that were stored of its output.

use domain::{Fault, FaultClass, FileId, KeptFile, RunTask, TaskContents};
use line::Core;
use runs::{FILE_FIELDS, TaskRequest, TaskResult, files_in, mark_deleted, moment, stored_text};
use serde_json::{Value, json};

use crate::files::{address, named, origin};
use crate::input::DocumentInput;
use crate::kept_content::store_away;
use runbody::refusal;

domain::words! {
    /// Which of a task's files they are.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Role {
        Input = "input",
        Output = "output",
    }
}

impl Role {
    /// The role that a query restricts a request to.
    ///
    /// # Errors
    /// It names another one.
    pub(super) fn of_query(query: &str) -> Result<Option<Self>, Box<Fault>> {
        let wanted = query.split('&').find_map(|pair| pair.strip_prefix("role="));
        let Some(wanted) = wanted.filter(|role| !role.is_empty()) else { return Ok(None) };
        let found = Self::ALL.into_iter().find(|role| role.as_str() == wanted);
        found.map(Some).ok_or_else(|| {
            let message = "\"role\" must be \"input\" or \"output\".";
            refusal("invalid_value", message, "Correct it, or leave it out.", "role")
        })
    }
}

/// Whether a query asks for a task to be deleted with its files.
pub(super) fn are_wanted(query: &str) -> bool {
    query.split('&').any(|pair| pair == "files=true")
}

/// The files of a task that are there.
///
/// # Errors
/// Their store does not answer.
pub(super) async fn of_task(
    core: &Core,
    (task, contents): (&RunTask, &TaskContents),
    role: Option<Role>,
) -> Result<Vec<(Role, KeptFile)>, Box<Fault>> {
    let mut ids: Vec<(Role, FileId)> = Vec::new();
    if let Some(request) = TaskRequest::read(contents).filter(|_| role != Some(Role::Output)) {
        let inputs = FILE_FIELDS.iter().flat_map(|field| DocumentInput::all(&request.input, field, ""));
        ids.extend(inputs.filter_map(|input| Some((Role::Input, named(&input.uri)?))));
    }
    if let Some(result) = TaskResult::read(contents).filter(|_| role != Some(Role::Input)) {
        ids.extend(files_in(&result.output).into_iter().map(|id| (Role::Output, id)));
    }
    let mut found: Vec<(Role, KeptFile)> = Vec::new();
    for (role, id) in ids {
        if found.iter().any(|(_, file)| file.id == id) {
            continue;
        }
        let file = core.files.find(task.owner, id).await?;
        // What an app answers may name files that it has not made.
        let is_its = |file: &KeptFile| role == Role::Input || file.request == task.request();
        found.extend(file.filter(is_its).map(|file| (role, file)));
    }
    Ok(found)
}

/// The files as their clients read them.
pub(super) fn listed(core: &Core, files: &[(Role, KeptFile)], came_by: &str) -> Value {
    let origin = origin(&*core.files, came_by);
    let view = |(role, file): &(Role, KeptFile)| {
        json!({
            "id": file.id.to_string(), "created_at": moment(file.created_unix_ms), "role": role.as_str(),
            "uri": address(&origin, file.id), "filename": file.name, "content_type": file.content_type,
            "size": file.size(),
        })
    };
    files.iter().map(view).collect()
}

/// Deletes files of a task, and says so in its output.
///
/// # Errors
/// A store does not answer. What was deleted until then is.
pub(super) async fn delete(
    core: &Core,
    (task, contents): (&RunTask, &TaskContents),
    files: Vec<(Role, KeptFile)>,
) -> Result<Value, Box<Fault>> {
    let (mut deleted, mut skipped, mut failed) = (Vec::new(), Vec::new(), None);
    for (_, file) in files {
        match core.files.forget(task.owner, file.id).await {
            Ok(true) => deleted.push(file.id),
            Ok(false) => {}
            Err(fault) if fault.class == FaultClass::Conflict => {
                skipped.push(json!({"id": file.id.to_string(), "reason": fault.message}));
            }
            Err(fault) => {
                failed = Some(fault);
                break;
            }
        }
    }
    let now_unix_ms = core.deps.world.clock.unix_ms();
    if let Some(mut result) = TaskResult::read(contents)
        && mark_deleted(&mut result.output, &deleted, now_unix_ms)
        && !core.tasks.amend(task.owner, task.id, stored_text(&result)).await
    {
        return Err(store_away());
    }
    let deleted: Vec<String> = deleted.iter().map(ToString::to_string).collect();
    failed.map_or_else(|| Ok(json!({"deleted": deleted, "skipped": skipped})), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_chooses_a_role() {
        for (query, role) in [
            ("", None),
            ("role=", None),
            ("files=true&role=input", Some(Role::Input)),
            ("role=output", Some(Role::Output)),
        ] {
            assert_eq!(Role::of_query(query).unwrap(), role, "{query}");
        }
        for wrong in ["role=all", "role=input%20", "role=Input"] {
            assert_eq!(Role::of_query(wrong).unwrap_err().param.as_deref(), Some("role"), "{wrong}");
        }
        assert!(are_wanted("a=b&files=true") && !are_wanted("files=false") && !are_wanted(""));
    }
}
