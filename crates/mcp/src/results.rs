//! Results of calls, in the form of the session's revision.

use serde_json::{Value, json};

use crate::calls::{Called, Problem};
use crate::media;
use crate::revision::Revision;

/// The number of a task's status that is success.
const COMPLETED: u64 = 10;

/// A result of text, and of the document that it says, where the revision has such.
fn result(content: &[Value], document: Option<Value>, is_error: bool, revision: Revision) -> Value {
    let mut result = json!({"content": content, "isError": is_error});
    let document = document.filter(|document| document.is_object() && revision.has_structured_results());
    if let (Some(document), Some(fields)) = (document, result.as_object_mut()) {
        fields.insert("structuredContent".to_owned(), document);
    }
    result
}

fn block(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

pub(crate) fn of_text(text: String, is_error: bool) -> Value {
    json!({"content": [block(text)], "isError": is_error})
}

/// Content in it is left out: a list of tasks can have much of it.
pub(crate) fn of_call(called: Called, revision: Revision) -> Value {
    match called {
        Ok(mut document) => {
            media::take_out(&mut document);
            result(&[block(document.to_string())], Some(document), false, revision)
        }
        Err(problem) => of_problem(&problem),
    }
}

/// A model can mend what it did wrong: therefore it is a result that it reads, and no error of the protocol.
pub(crate) fn of_problem(problem: &Problem) -> Value {
    of_text(problem.sentence(), true)
}

/// A task that has ended: its text, its pictures and its sound, and where all of it is read.
pub(crate) fn of_task(mut task: Value, revision: Revision) -> Value {
    let is_completed = task.get("status").and_then(Value::as_u64) == Some(COMPLETED);
    let id = task.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut output = task.get_mut("output").map(Value::take).unwrap_or_default();
    let found = media::take_out(&mut output);
    let status = task.get("status_text").cloned().unwrap_or_default();
    if !is_completed {
        let why = task.get("error").and_then(Value::as_str).filter(|why| !why.is_empty());
        let why = why
            .map_or_else(|| format!("The task was {}.", status.as_str().unwrap_or("ended")), str::to_owned);
        return result(&[block(why)], Some(json!({"task_id": id, "status": status})), true, revision);
    }
    let text = output.get("response").and_then(Value::as_str).map(str::to_owned);
    let mut content = vec![block(text.unwrap_or_else(|| output.to_string()))];
    content.extend(found.iter().filter_map(media::Media::block));
    if revision.has_structured_results() && !id.is_empty() {
        content.push(json!({
            "type": "resource_link", "uri": format!("tidegate://tasks/{id}"), "name": id, "mimeType": "application/json",
            "description": "The task, with its log and output.",
        }));
    }
    result(&content, Some(json!({"task_id": id, "status": status, "output": output})), false, revision)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_task_is_its_text_its_pictures_and_where_it_is_read() {
        let uri = format!("data:image/png;base64,{}", "A".repeat(2_000));
        let task = json!({
            "id": "tsk_1", "status": 10, "status_text": "completed",
            "output": {"response": "Hello.", "images": [{"uri": uri}]},
        });
        let told = of_task(task.clone(), Revision::November2025);
        let kinds: Vec<_> = told["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["text", "image", "resource_link"]);
        assert_eq!(told["content"][0]["text"], "Hello.");
        assert_eq!(
            told["structuredContent"]["output"]["images"][0]["uri"],
            "[image/png of about 1500 bytes]"
        );
        let earlier = of_task(task, Revision::March2025);
        assert_eq!(earlier.get("structuredContent"), None);
        assert_eq!(earlier["content"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_failed_is_an_error_that_a_model_reads() {
        let failed = json!({"id": "tsk_1", "status": 11, "status_text": "failed", "error": "No room."});
        let told = of_task(failed, Revision::LATEST);
        assert_eq!((&told["isError"], &told["content"][0]["text"]), (&json!(true), &json!("No room.")));
        let cancelled = json!({"id": "tsk_1", "status": 12, "status_text": "cancelled", "output": null});
        assert_eq!(of_task(cancelled, Revision::LATEST)["content"][0]["text"], "The task was cancelled.");
        let problem = Problem::new(StatusCode::FORBIDDEN, "x", "No.");
        assert_eq!(of_call(Err(problem), Revision::LATEST)["isError"], true);
        let list = of_call(Ok(json!([1])), Revision::LATEST);
        assert_eq!(list.get("structuredContent"), None, "only objects are structured results");
    }
}
