//! Resources: the apps and tasks of the caller's project, its usage, and what would serve a model.

use admit::Needs;
use http::Method;
use percent_encoding::percent_decode_str;
use rmcp::model::{ErrorCode, ErrorData};
use serde_json::{Map, Value, json};

use crate::calls::{Called, CallerContext, Problem};
use crate::limits::PAGE_TASKS;
use crate::media;
use crate::messages::{bad_params, excerpt};
use crate::tools;

const SCHEME: &str = "tidegate://";
const JSON: &str = "application/json";
/// The protocol's own code, which JSON-RPC leaves free.
const NOT_FOUND: ErrorCode = ErrorCode(-32_002);

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Apps,
    App(String),
    Task(domain::TaskId),
    Usage(String),
    Plan(String),
}

impl Named {
    fn read(uri: &str) -> Option<Self> {
        let path = uri.strip_prefix(SCHEME)?;
        let (kind, rest) = path.split_once('/').unwrap_or((path, ""));
        let rest = percent_decode_str(rest).decode_utf8().ok()?.into_owned();
        match (kind, rest.as_str()) {
            ("apps", "") => Some(Self::Apps),
            ("apps", _) => Some(Self::App(rest)),
            ("tasks", id) => id.parse().ok().map(Self::Task),
            ("usage", _) => Some(Self::Usage(rest)),
            ("plan", "") => None,
            ("plan", _) => Some(Self::Plan(rest)),
            _ => None,
        }
    }

    const fn needs(&self) -> Needs {
        match self {
            Self::Apps | Self::App(_) | Self::Task(_) => Needs::Inference,
            Self::Usage(_) | Self::Plan(_) => Needs::Read,
        }
    }
}

fn resource(uri: &str, name: &str, description: &str) -> Value {
    json!({"uri": uri, "name": name, "title": name, "description": description, "mimeType": JSON})
}

/// A page of resources: what every project has first, then its tasks, newest first.
///
/// # Errors
/// The cursor is none of this list's, or the store does not answer.
pub(crate) async fn page(context: &CallerContext<'_>, cursor: Option<&str>) -> Result<Value, ErrorData> {
    let mut items = Vec::new();
    if cursor.is_none() {
        items.push(resource(
            "tidegate://apps",
            "Apps",
            "The apps that this key may run, with their schemas.",
        ));
        if context.caller.may(Needs::Read) {
            let description = "The project's requests, tokens and money of 30 days, by model.";
            items.push(resource("tidegate://usage", "Usage", description));
        }
    }
    let limit = PAGE_TASKS.to_string();
    let query = [("cursor", cursor.unwrap_or_default()), ("limit", limit.as_str())];
    let tasks = match context.tasks(&Method::GET, "", &query).await {
        Ok(tasks) => tasks,
        Err(problem) if cursor.is_some() && problem.status.is_client_error() => {
            return Err(bad_params("The cursor doesn't belong to this list."));
        }
        Err(problem) => return Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, problem.sentence(), None)),
    };
    let text =
        |task: &Value, name: &str| task.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for task in tasks.get("items").and_then(Value::as_array).into_iter().flatten() {
        let (id, app, status) = (text(task, "id"), text(task, "app"), text(task, "status_text"));
        let app = if app.is_empty() { text(task, "app_name") } else { app };
        items.push(resource(&format!("tidegate://tasks/{id}"), &id, &format!("A task of {app}, {status}.")));
    }
    let next = tasks.get("next_cursor").and_then(Value::as_str).filter(|next| !next.is_empty());
    Ok(match next {
        Some(next) => json!({"resources": items, "nextCursor": next}),
        None => json!({"resources": items}),
    })
}

pub(crate) fn templates(context: &CallerContext<'_>) -> Value {
    let template = |uri: &str, name: &str, description: &str| json!({"uriTemplate": uri, "name": name, "title": name, "description": description, "mimeType": JSON});
    let mut templates = vec![
        template("tidegate://apps/{app}", "App", "An app with the schemas of its input and output."),
        template("tidegate://tasks/{task_id}", "Task", "A task with its status, log, input and output."),
    ];
    if context.caller.may(Needs::Read) {
        templates.push(template(
            "tidegate://usage/{window}",
            "Usage",
            "Usage of 24h, 7d, 30d or month, by model.",
        ));
        templates.push(template(
            "tidegate://plan/{model}",
            "Plan",
            "What would serve a model, why, and at what price.",
        ));
    }
    json!({"resourceTemplates": templates})
}

/// Reads a resource.
///
/// # Errors
/// There is none, or the caller may not read it.
pub(crate) async fn read(context: &CallerContext<'_>, uri: &str) -> Result<Value, ErrorData> {
    let missing = || {
        let message = format!("There is no resource \"{}\".", excerpt(uri));
        ErrorData::new(NOT_FOUND, message, Some(json!({"uri": excerpt(uri)})))
    };
    let named = Named::read(uri).filter(|named| context.caller.may(named.needs())).ok_or_else(missing)?;
    match document(context, named).await {
        Ok(document) => Ok(contents(uri, document)),
        Err(Problem { status, .. }) if status == http::StatusCode::NOT_FOUND => Err(missing()),
        Err(problem) => {
            Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, problem.sentence(), Some(problem.document)))
        }
    }
}

async fn document(context: &CallerContext<'_>, named: Named) -> Called {
    match named {
        Named::Apps => context.apps("", &[("limit", "100")]).await,
        Named::App(app) => context.apps(&app, &[]).await,
        Named::Task(id) => context.tasks(&Method::GET, &id.to_string(), &[]).await,
        Named::Usage(window) => {
            let mut arguments = Map::new();
            if !window.is_empty() {
                arguments.insert("window".to_owned(), json!(window));
            }
            arguments.insert("group_by".to_owned(), json!("model"));
            tools::usage(context, &arguments).await
        }
        Named::Plan(model) => {
            let arguments = [("model".to_owned(), json!(model))].into_iter().collect();
            tools::plan(context, &arguments).await
        }
    }
}

/// The document, and the content that stood in it.
fn contents(uri: &str, mut document: Value) -> Value {
    let found = media::take_out(&mut document);
    let mut contents = vec![json!({"uri": uri, "mimeType": JSON, "text": document.to_string()})];
    for (number, media) in found.into_iter().enumerate() {
        contents.push(json!({
            "uri": format!("{uri}#content-{number}"), "mimeType": media.media_type, "blob": media.content,
        }));
    }
    json!({"contents": contents})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_something_or_nothing() {
        let task = domain::TaskId::new(1, [1; 10]);
        let app = |name: &str| Some(Named::App(name.to_owned()));
        for (uri, named) in [
            ("tidegate://apps", Some(Named::Apps)),
            ("tidegate://apps/openai/gpt-4o", app("openai/gpt-4o")),
            ("tidegate://apps/openai%2Fgpt-4o", app("openai/gpt-4o")),
            (format!("tidegate://tasks/{task}").as_str(), Some(Named::Task(task))),
            ("tidegate://tasks/x", None),
            ("tidegate://usage", Some(Named::Usage(String::new()))),
            ("tidegate://usage/7d", Some(Named::Usage("7d".to_owned()))),
            ("tidegate://plan", None),
            ("tidegate://plan/m", Some(Named::Plan("m".to_owned()))),
            ("tidegate://keys", None),
            ("file:///etc/passwd", None),
            ("tidegate://apps/%ff", None),
        ] {
            assert_eq!(Named::read(uri), named, "{uri}");
        }
    }

    #[test]
    fn content_of_a_document_is_a_part_of_its_own() {
        let uri = format!("data:audio/mpeg;base64,{}", "A".repeat(2_000));
        let read = contents("tidegate://tasks/t", json!({"output": {"audio": {"uri": uri}}}));
        let parts = read["contents"].as_array().unwrap();
        assert_eq!((parts.len(), &parts[1]["mimeType"]), (2, &json!("audio/mpeg")));
        assert_eq!(parts[1]["uri"], "tidegate://tasks/t#content-0");
    }
}
