//! A tool that is an app: a model's call of it is a run, which has a task and is metered as any other.

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{CallOutcome, Dialect, Operation, SideCall, SideCallPurpose, TraceId};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use line::Core;
use serde_json::{Map, Value, json};
use tools::{CallFailure, ToolAnswer, cut};

use crate::limits::DATA_URI_BYTES_MAX;

/// Runs the app on the arguments, for a request of this caller.
pub(crate) async fn run(
    core: &Rc<Core>,
    caller: &Caller,
    (app, parent): (&str, TraceId),
    arguments: Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    let world = &core.deps.world;
    let received_unix_ms = world.clock.unix_ms();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let inbound = Inbound {
        trace: TraceId::new(received_unix_ms, world.id_bytes()),
        dialect: Dialect::Run,
        operation: Operation::Run,
        headers,
        addressed: None,
        body: json!({"app": app, "input": arguments}).to_string().into(),
        form: None,
        received_us: world.clock.monotonic_us(),
        received_unix_ms,
    };
    let caller = caller.clone().for_side_call(SideCall { purpose: SideCallPurpose::ToolStep, parent });
    let response = core.apps.run(core, inbound, caller).await;
    let is_made = response.status().is_success();
    let read = response.into_body().collect().await.map(|read| read.to_bytes()).unwrap_or_default();
    let answer: Value = serde_json::from_slice(&read).unwrap_or_default();
    if !is_made {
        return Err(CallFailure::new(CallOutcome::Failed, refusal(&answer)));
    }
    let task = answer.get("data").unwrap_or(&answer);
    let is_error = task.get("error").is_some_and(|error| !error.is_null());
    let mut output = task.get(if is_error { "error" } else { "output" }).cloned().unwrap_or_default();
    let id = task.get("id").and_then(Value::as_str).unwrap_or_default();
    leave_out_media(&mut output, id);
    Ok(ToolAnswer { is_error, text: output.to_string() })
}

/// What a model reads of a run that was refused.
fn refusal(problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let errors = problem.get("errors").and_then(Value::as_array).into_iter().flatten();
    let errors = errors.filter_map(|error| {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        Some(format!("{} {}", text("pointer").unwrap_or_default(), text("message")?))
    });
    let detail = text("detail").unwrap_or("The app was not run.").to_owned();
    [detail].into_iter().chain(errors).collect::<Vec<_>>().join(" ")
}

/// Replaces what is no text for a model: what an app made is in its task.
fn leave_out_media(output: &mut Value, task: &str) {
    match output {
        Value::String(text) if text.starts_with("data:") && text.len() > DATA_URI_BYTES_MAX => {
            let kind = text.strip_prefix("data:").and_then(|rest| rest.split([';', ',']).next());
            *text = format!(
                "[{} of {} bytes, in the output of task {task}]",
                cut(kind.unwrap_or_default(), 64),
                text.len()
            );
        }
        Value::Array(items) => items.iter_mut().for_each(|item| leave_out_media(item, task)),
        Value::Object(fields) => fields.values_mut().for_each(|value| leave_out_media(value, task)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_given_words_in_place_of_a_picture() {
        let picture = format!("data:image/png;base64,{}", "A".repeat(DATA_URI_BYTES_MAX));
        let bytes = picture.len();
        let mut output = json!({"images": [{"uri": picture, "width": 64}], "note": "data: none"});
        leave_out_media(&mut output, "task_1");
        let uri = format!("[image/png of {bytes} bytes, in the output of task task_1]");
        assert_eq!(output, json!({"images": [{"uri": uri, "width": 64}], "note": "data: none"}));
    }

    #[test]
    fn a_refusal_says_what_is_wrong_with_the_arguments() {
        let problem =
            json!({"detail": "No.", "errors": [{"pointer": "/input/size", "message": "isn't a size"}]});
        assert_eq!(refusal(&problem), "No. /input/size isn't a size");
        assert_eq!(refusal(&Value::Null), "The app was not run.");
    }
}
