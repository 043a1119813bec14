//! The tools that every project has: its apps, tasks and files, its usage, and what would serve a request.

use admit::Needs;
use bytes::Bytes;
use domain::{FileId, TaskId, TraceId};
use http::Method;
use serde_json::{Map, Value, json};

use crate::calls::{Called, CallerContext, Problem};
use crate::messages::{excerpt, text};

/// The one that runs an app, which is answered by following its task.
pub(crate) const RUN: &str = "app_run";

/// A tool.
struct Own {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// What its key must be allowed beside calling models.
    needs: Needs,
    /// It changes nothing.
    is_reading: bool,
    properties: fn() -> Value,
    required: &'static [&'static str],
}

const APP: &str = "The name of an app, as app_list has it.";

static OWN: [Own; 13] = [
    Own {
        name: "app_list",
        title: "List apps",
        description: "Lists the apps that this key may run, each with the JSON Schema of what it takes and answers.",
        needs: Needs::Inference,
        is_reading: true,
        properties: || {
            json!({
                "search": {"type": "string", "description": "A part of the name."},
                "category": {"type": "string", "description": "What it makes, such as chat, image or audio."},
                "cursor": {"type": "string", "description": "next_cursor of the previous page."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            })
        },
        required: &[],
    },
    Own {
        name: "app_get",
        title: "Show an app",
        description: "Shows one app with the JSON Schema of its input and output.",
        needs: Needs::Inference,
        is_reading: true,
        properties: || json!({"app": {"type": "string", "description": APP}}),
        required: &["app"],
    },
    Own {
        name: RUN,
        title: "Run an app",
        description: "Runs an app on an input and answers with its output. It costs what the same request at the gateway's API costs. \
            With a progress token its progress is reported; with \"wait\": false the answer is a task that continues in the background.",
        needs: Needs::Inference,
        is_reading: false,
        properties: || {
            json!({
                "app": {"type": "string", "description": APP},
                "input": {"type": "object", "description": "What the app's input_schema says; {\"prompt\": \"…\"} for a text."},
                "wait": {"type": "boolean", "default": true},
                "priority": {"type": "string", "enum": ["low", "normal", "high"]},
            })
        },
        required: &["app", "input"],
    },
    Own {
        name: "task_get",
        title: "Show a task",
        description: "Shows a task: its status, log, input and output.",
        needs: Needs::Inference,
        is_reading: true,
        properties: task_id,
        required: &["task_id"],
    },
    Own {
        name: "task_list",
        title: "List tasks",
        description: "Lists the project's tasks, newest first.",
        needs: Needs::Inference,
        is_reading: true,
        properties: || {
            json!({
                "status": {"type": "string", "description": "Such as queued, running, completed, failed or cancelled."},
                "app": {"type": "string", "description": APP},
                "cursor": {"type": "string", "description": "next_cursor of the previous page."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            })
        },
        required: &[],
    },
    Own {
        name: "task_logs",
        title: "Read a task's log",
        description: "Shows the log of a task, and when it entered each status.",
        needs: Needs::Inference,
        is_reading: true,
        properties: task_id,
        required: &["task_id"],
    },
    Own {
        name: "task_cancel",
        title: "Cancel a task",
        description: "Cancels a task that has not ended. What was used until then is booked.",
        needs: Needs::Inference,
        is_reading: false,
        properties: task_id,
        required: &["task_id"],
    },
    Own {
        name: "file_list",
        title: "List files",
        description: "Lists the project's files, newest first.",
        needs: Needs::Inference,
        is_reading: true,
        properties: || {
            json!({
                "cursor": {"type": "string", "description": "next_cursor of the previous page."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            })
        },
        required: &[],
    },
    Own {
        name: "file_get",
        title: "Show a file",
        description: "Shows a file's name, type, size and address.",
        needs: Needs::Inference,
        is_reading: true,
        properties: || json!({"file_id": {"type": "string"}}),
        required: &["file_id"],
    },
    Own {
        name: "file_create",
        title: "Make a file",
        description: "Makes a file and answers with an upload_url, to which its content is sent with PUT. Inputs of apps may name it.",
        needs: Needs::Inference,
        is_reading: false,
        properties: || {
            json!({
                "filename": {"type": "string"},
                "content_type": {"type": "string", "description": "Such as application/pdf."},
                "size": {"type": "integer", "minimum": 0, "description": "In bytes, if it is known."},
            })
        },
        required: &["filename"],
    },
    Own {
        name: "usage",
        title: "Show usage",
        description: "Sums of the project's requests, tokens and money over a window, grouped.",
        needs: Needs::Read,
        is_reading: true,
        properties: || {
            json!({
                "window": {"type": "string", "enum": ["24h", "7d", "30d", "month"]},
                "group_by": {"type": "string", "description": "Dimensions such as model,provider or key."},
                "interval": {"type": "string", "enum": ["minute", "hour", "day"]},
            })
        },
        required: &[],
    },
    Own {
        name: "plan",
        title: "Explain a request",
        description: "Explains which attempts would serve a model or a whole request, why, and at what price, without sending anything.",
        needs: Needs::Read,
        is_reading: true,
        properties: || {
            json!({
                "model": {"type": "string", "description": "A model to plan for."},
                "request": {"type": "object", "description": "A whole request, as its client would send it."},
                "path": {"type": "string", "description": "Where the request would be sent to, such as /v1/messages."},
                "dialect": {"type": "string", "description": "The format of the request, as POST /v2/plan takes it."},
            })
        },
        required: &[],
    },
    Own {
        name: "request_get",
        title: "Show a request",
        description: "Shows a served request: its attempts, tokens, cost, and how it ended.",
        needs: Needs::Read,
        is_reading: true,
        properties: || json!({"request_id": {"type": "string", "description": "trc_…, the X-Request-Id of its answer."}}),
        required: &["request_id"],
    },
];

fn task_id() -> Value {
    json!({"task_id": {"type": "string", "description": "tsk_…"}})
}

/// The tools of a caller, as they are listed.
pub(crate) fn listed(context: &CallerContext<'_>) -> Vec<Value> {
    let own = OWN.iter().filter(|own| context.caller.may(own.needs));
    own.map(describe).collect()
}

fn describe(own: &Own) -> Value {
    json!({
        "name": own.name,
        "title": own.title,
        "description": own.description,
        "inputSchema": {
            "type": "object", "properties": (own.properties)(), "required": own.required, "additionalProperties": false,
        },
        "annotations": {
            "title": own.title, "readOnlyHint": own.is_reading, "destructiveHint": own.name == "task_cancel",
            "openWorldHint": own.name == RUN,
        },
    })
}

/// Whether a name is that of one of these; the tools that a project declares can't take it.
pub(crate) fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| own.name == name)
}

/// Calls one of these tools, but not the one that runs apps; `None` where the caller has none of this name.
pub(crate) async fn call(
    context: &CallerContext<'_>,
    name: &str,
    arguments: &Map<String, Value>,
) -> Option<Called> {
    let own = OWN.iter().find(|own| own.name == name).filter(|own| context.caller.may(own.needs))?;
    if let Err(problem) = check(own, arguments) {
        return Some(Err(problem));
    }
    Some(match name {
        "app_list" => app_list(context, arguments).await,
        "app_get" => context.apps(text(arguments, "app").unwrap_or_default(), &[]).await,
        "task_list" => task_list(context, arguments).await,
        "task_get" => on_task(context, arguments, &Method::GET, "").await,
        "task_logs" => on_task(context, arguments, &Method::GET, "/logs").await,
        "task_cancel" => on_task(context, arguments, &Method::POST, "/cancel").await,
        "file_list" => {
            let body = json!({"cursor": arguments.get("cursor"), "limit": arguments.get("limit")});
            context.files(&Method::POST, "list", &body).await
        }
        "file_get" => match text(arguments, "file_id").and_then(|id| id.parse::<FileId>().ok()) {
            Some(id) => context.files(&Method::GET, &id.to_string(), &Value::Null).await,
            None => Err(Problem::argument("\"file_id\" is not the id of a file.")),
        },
        "file_create" => {
            let body = json!({"files": [Value::Object(arguments.clone())]});
            context.files(&Method::POST, "", &body).await
        }
        "usage" => usage(context, arguments).await,
        "plan" => plan(context, arguments).await,
        "request_get" => match text(arguments, "request_id").and_then(|id| id.parse::<TraceId>().ok()) {
            Some(id) => request(context, id).await,
            None => Err(Problem::argument("\"request_id\" is not the id of a request.")),
        },
        _ => return None,
    })
}

/// Refuses arguments that are not there, and those that a tool does not have: a typing error must not be passed over.
fn check(own: &Own, arguments: &Map<String, Value>) -> Result<(), Problem> {
    if let Some(name) = own.required.iter().find(|name| arguments.get(**name).is_none_or(Value::is_null)) {
        return Err(Problem::argument(format!("The argument \"{name}\" is missing.")));
    }
    let properties = (own.properties)();
    match arguments.keys().find(|name| properties.get(name.as_str()).is_none()) {
        Some(name) => {
            Err(Problem::argument(format!("The tool {} has no argument \"{}\".", own.name, excerpt(name))))
        }
        None => Ok(()),
    }
}

/// What a run is asked for.
///
/// # Errors
/// The arguments don't fit.
pub(crate) fn run_body(arguments: &Map<String, Value>, waits: bool) -> Result<Value, Problem> {
    if let Some(own) = OWN.iter().find(|own| own.name == RUN) {
        check(own, arguments)?;
    }
    let mut body = arguments.clone();
    body.insert("wait".to_owned(), json!(waits));
    Ok(Value::Object(body))
}

fn number(arguments: &Map<String, Value>, name: &str) -> String {
    arguments.get(name).and_then(Value::as_u64).map(|number| number.to_string()).unwrap_or_default()
}

async fn app_list(context: &CallerContext<'_>, arguments: &Map<String, Value>) -> Called {
    let of = |name: &str| text(arguments, name).unwrap_or_default();
    let limit = number(arguments, "limit");
    let query = [
        ("search", of("search")),
        ("category", of("category")),
        ("cursor", of("cursor")),
        ("limit", limit.as_str()),
    ];
    context.apps("", &query).await
}

async fn task_list(context: &CallerContext<'_>, arguments: &Map<String, Value>) -> Called {
    let of = |name: &str| text(arguments, name).unwrap_or_default();
    let limit = number(arguments, "limit");
    let query =
        [("status", of("status")), ("app", of("app")), ("cursor", of("cursor")), ("limit", limit.as_str())];
    context.tasks(&Method::GET, "", &query).await
}

async fn on_task(
    context: &CallerContext<'_>,
    arguments: &Map<String, Value>,
    method: &Method,
    below: &str,
) -> Called {
    match text(arguments, "task_id").and_then(|id| id.parse::<TaskId>().ok()) {
        Some(id) => context.tasks(method, &format!("{id}{below}"), &[]).await,
        None => Err(Problem::argument("\"task_id\" is not the id of a task.")),
    }
}

/// The usage of the caller's project.
pub(crate) async fn usage(context: &CallerContext<'_>, arguments: &Map<String, Value>) -> Called {
    let of = |name: &str| text(arguments, name).unwrap_or_default();
    let project = context.caller.project().id.to_string();
    let query = [
        ("window", of("window")),
        ("group_by", of("group_by")),
        ("interval", of("interval")),
        ("project_id", project.as_str()),
    ];
    context.control(Method::GET, "/v2/usage", &query, Bytes::new()).await
}

/// What would serve a request of the caller's.
pub(crate) async fn plan(context: &CallerContext<'_>, arguments: &Map<String, Value>) -> Called {
    let mut body = arguments.clone();
    body.insert("project_id".to_owned(), json!(context.caller.project().id.to_string()));
    if let Some(key) = context.caller.key() {
        body.insert("key_id".to_owned(), json!(key.id.to_string()));
    }
    context.control(Method::POST, "/v2/plan", &[], Value::Object(body).to_string().into()).await
}

/// A request of the caller's project: a key that reads may read those of the whole workspace at `/v2`, but a session here is about
/// one project.
pub(crate) async fn request(context: &CallerContext<'_>, id: TraceId) -> Called {
    let found = context.control(Method::GET, &format!("/v2/requests/{id}"), &[], Bytes::new()).await?;
    let project = context.caller.project().id.to_string();
    if found.get("project_id").and_then(Value::as_str) == Some(&project) {
        return Ok(found);
    }
    Err(Problem::new(http::StatusCode::NOT_FOUND, "not_found", "There is no such request of this project."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_has_a_name_that_every_client_takes_and_a_schema() {
        for own in &OWN {
            assert!(own.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", own.name);
            let described = describe(own);
            let properties = &described["inputSchema"]["properties"];
            assert!(own.required.iter().all(|name| properties.get(*name).is_some()), "{described}");
            assert!(!own.description.is_empty() && is_own(own.name));
        }
        assert!(!is_own("weather"));
    }

    #[test]
    fn arguments_are_those_of_the_tool() {
        let arguments = |value: Value| value.as_object().cloned().unwrap();
        let run = |value: Value| run_body(&arguments(value), true);
        let body = run(json!({"app": "a", "input": {}, "wait": false})).unwrap();
        assert_eq!(body, json!({"app": "a", "input": {}, "wait": true}));
        for wrong in [
            json!({"app": "a"}),
            json!({"app": "a", "input": null}),
            json!({"app": "a", "input": {}, "x": 1}),
        ] {
            assert_eq!(run(wrong).unwrap_err().document["code"], "bad_arguments");
        }
    }
}
