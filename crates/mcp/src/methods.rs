//! The methods of the protocol: what each request of a session is answered with.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CancelledNotificationParam, CompleteRequestParams, ErrorCode, ErrorData,
    GetPromptRequestParams, PaginatedRequestParams, ReadResourceRequestParams,
};
use serde_json::{Map, Value, json};
use settle::ReplyBody;
use toolloop::ProjectTools;

use crate::calls::{CallerContext, Problem};
use crate::following::{TaskEvents, gone};
use crate::level::SetLevel;
use crate::limits::PAGE_ITEMS;
use crate::messages::{Request, bad_params, excerpt, params};
use crate::revision::Revision;
use crate::sessions::{CallStream, Session};
use crate::{prompts, resources, results, tools};

/// What clients pass on to their model.
const INSTRUCTIONS: &str = "Tidegate runs AI models of many providers, which it calls apps, behind one key. Find one with app_list, read \
    what it takes with app_get, and run it with app_run; a run is a task, which task_get shows afterwards. The project's own tools are \
    listed beside these.";

/// An answer as it is known now.
pub(crate) enum Answer {
    Whole(Result<Value, ErrorData>),
    /// It comes when this task has ended.
    Task(CallStream, Box<ReplyBody>),
}

/// The instructions that a client gets when a session starts.
pub(crate) fn initialized(revision: Revision) -> Value {
    json!({
        "protocolVersion": revision.as_str(),
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "logging": {}, "completions": {}},
        "serverInfo": {"name": "tidegate", "title": "Tidegate", "version": env!("CARGO_PKG_VERSION")},
        "instructions": INSTRUCTIONS,
    })
}

/// Answers a request of a session.
pub(crate) async fn answer(context: &CallerContext<'_>, session: &Arc<Session>, request: Request) -> Answer {
    if request.method == "tools/call" {
        return match call(context, session, request).await {
            Ok(answer) => answer,
            Err(error) => Answer::Whole(Err(error)),
        };
    }
    Answer::Whole(whole(context, session, request).await)
}

/// The answer itself, however long it takes.
pub(crate) async fn awaited(answer: Answer, revision: Revision) -> Result<Value, ErrorData> {
    match answer {
        Answer::Whole(outcome) => outcome,
        Answer::Task(_, body) => {
            let task = TaskEvents::new(*body).end().await.ok_or_else(gone)?;
            Ok(results::of_task(task, revision))
        }
    }
}

async fn whole(
    context: &CallerContext<'_>,
    session: &Arc<Session>,
    request: Request,
) -> Result<Value, ErrorData> {
    let Request { method, params: sent, .. } = request;
    match method.as_str() {
        "ping" => Ok(json!({})),
        "tools/list" => list_tools(context, &page_of(sent)?).await,
        "resources/list" => resources::page(context, page_of(sent)?.cursor.as_deref()).await,
        "resources/templates/list" => no_more(&page_of(sent)?, resources::templates(context)),
        "resources/read" => {
            let wanted: ReadResourceRequestParams = params(sent)?;
            resources::read(context, &wanted.uri).await
        }
        "prompts/list" => no_more(&page_of(sent)?, prompts::listed(context)),
        "prompts/get" => {
            let wanted: GetPromptRequestParams = params(sent)?;
            prompts::get(context, &wanted.name, &wanted.arguments.unwrap_or_default()).await
        }
        "completion/complete" => {
            let wanted: CompleteRequestParams = params(sent)?;
            Ok(prompts::complete(context, wanted).await)
        }
        "logging/setLevel" => {
            let wanted: SetLevel = params(sent)?;
            session.set_level(wanted.level);
            Ok(json!({}))
        }
        _ => {
            let message = format!("There is no method \"{}\" here.", excerpt(&method));
            Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None))
        }
    }
}

/// What a client tells. Nothing is answered, whatever it is.
pub(crate) async fn notified(context: &CallerContext<'_>, session: &Session, method: &str, sent: Value) {
    if method != "notifications/cancelled" {
        return;
    }
    let Ok(cancelled) = params::<CancelledNotificationParam>(sent) else { return };
    let task = cancelled.request_id.and_then(|request| session.cancel(&request));
    if let Some(task) = task {
        // One that has ended meanwhile stays as it is.
        let _ = context.tasks(&http::Method::POST, &format!("{task}/cancel"), &[]).await;
    }
}

fn page_of(sent: Value) -> Result<PaginatedRequestParams, ErrorData> {
    params(sent)
}

/// A list that is one page.
fn no_more(page: &PaginatedRequestParams, list: Value) -> Result<Value, ErrorData> {
    match page.cursor {
        None => Ok(list),
        Some(_) => Err(bad_params("The cursor doesn't belong to this list.")),
    }
}

/// The tools that every project has, then those that this one declares.
async fn list_tools(context: &CallerContext<'_>, page: &PaginatedRequestParams) -> Result<Value, ErrorData> {
    let mut all = tools::listed(context);
    let declared = ProjectTools::all(context.core, context.caller, context.headers).await;
    let declared = declared
        .map_err(|fault| ErrorData::new(ErrorCode::INTERNAL_ERROR, fault.message.to_string(), None))?;
    let listed = declared.list().filter(|tool| !tools::is_own(tool.name)).map(|tool| {
        let approval =
            if tool.needs_approval { " It is called only where its user has approved it." } else { "" };
        json!({
            "name": tool.name, "description": format!("{}{approval}", or_name(tool.description, tool.name)),
            "inputSchema": object_schema(tool.parameters), "annotations": {"openWorldHint": true},
        })
    });
    all.extend(listed);
    let from = match &page.cursor {
        None => 0,
        Some(cursor) => {
            let from = cursor.parse::<usize>().ok().filter(|from| *from <= all.len());
            from.ok_or_else(|| bad_params("The cursor doesn't belong to this list."))?
        }
    };
    let items: Vec<Value> = all.iter().skip(from).take(PAGE_ITEMS).cloned().collect();
    let next = from + items.len();
    declared.close();
    Ok(match all.len() > next {
        true => json!({"tools": items, "nextCursor": next.to_string()}),
        false => json!({"tools": items}),
    })
}

fn or_name<'a>(description: &'a str, name: &'a str) -> &'a str {
    if description.is_empty() { name } else { description }
}

/// The protocol wants an object, whatever the tool's own server says.
fn object_schema(parameters: &Value) -> Value {
    let mut schema = parameters.as_object().cloned().unwrap_or_default();
    schema.entry("type").or_insert_with(|| json!("object"));
    Value::Object(schema)
}

async fn call(
    context: &CallerContext<'_>,
    session: &Arc<Session>,
    request: Request,
) -> Result<Answer, ErrorData> {
    let token = request.progress_token();
    let Request { id, params: sent, .. } = request;
    let wanted: CallToolRequestParams = params(sent)?;
    let arguments = wanted.arguments.unwrap_or_default();
    let name = wanted.name.as_ref();
    let is_followed = name == tools::RUN && waits(&arguments) && !context.caller.retains_nothing();
    if is_followed {
        let stream = |task| {
            let number = session.note_stream(id.clone(), token.clone(), task);
            CallStream { number, request: id.clone(), token: token.clone(), task, is_cancelled: false }
        };
        return Ok(match queued(context, &arguments).await {
            Ok((task, body)) => Answer::Task(stream(task), Box::new(body)),
            Err(problem) => Answer::Whole(Ok(results::of_problem(&problem))),
        });
    }
    let busy = || ErrorData::new(ErrorCode(-32_000), "The session has too many calls in progress.", None);
    let open = session.open_call(id).ok_or_else(busy)?;
    let called = async { at_once(context, session.revision, name, &arguments).await };
    tokio::select! {
        result = called => Ok(Answer::Whole(result)),
        () = open.cancelled() => Err(ErrorData::new(ErrorCode(-32_000), "The call was cancelled.", None)),
    }
}

fn waits(arguments: &Map<String, Value>) -> bool {
    arguments.get("wait").and_then(Value::as_bool).unwrap_or(true)
}

/// A run as a task that is followed.
async fn queued(
    context: &CallerContext<'_>,
    arguments: &Map<String, Value>,
) -> Result<(domain::TaskId, ReplyBody), Problem> {
    let task = context.run(&tools::run_body(arguments, false)?, false).await?;
    let id = task.get("id").and_then(Value::as_str).and_then(|id| id.parse::<domain::TaskId>().ok());
    let id = id.ok_or_else(|| Problem::argument("The run made no task."))?;
    Ok((id, context.follow(id).await?))
}

/// A call whose result is known when it returns.
async fn at_once(
    context: &CallerContext<'_>,
    revision: Revision,
    name: &str,
    arguments: &Map<String, Value>,
) -> Result<Value, ErrorData> {
    if name == tools::RUN {
        let waits = waits(arguments);
        let body = match tools::run_body(arguments, waits) {
            Ok(body) => body,
            Err(problem) => return Ok(results::of_problem(&problem)),
        };
        return Ok(match context.run(&body, waits).await {
            Ok(task) if waits => results::of_task(task, revision),
            called => results::of_call(called, revision),
        });
    }
    if let Some(called) = tools::call(context, name, arguments).await {
        return Ok(results::of_call(called, revision));
    }
    let unknown = || bad_params(format!("There is no tool \"{}\".", excerpt(name)));
    if tools::is_own(name) {
        return Err(unknown());
    }
    let declared = ProjectTools::behind(context.core, context.caller, context.headers, name).await;
    let declared = match declared {
        Ok(declared) => declared,
        Err(fault) => return Ok(results::of_text(fault.message.to_string(), true)),
    };
    let result = declared.call(context.core, context.caller, context.trace, name, arguments.clone()).await;
    declared.close();
    result.map(|result| results::of_text(result.text, result.is_error)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_that_of_an_object_and_else_as_it_was() {
        let whole =
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "$defs": {}});
        assert_eq!(object_schema(&whole), whole);
        assert_eq!(object_schema(&json!({})), json!({"type": "object"}));
        assert_eq!(object_schema(&json!(true)), json!({"type": "object"}));
    }

    #[test]
    fn a_run_is_waited_for_unless_its_caller_says_otherwise() {
        let waits_with = |arguments: Value| waits(arguments.as_object().unwrap());
        assert!(
            waits_with(json!({})) && waits_with(json!({"wait": true})) && !waits_with(json!({"wait": false}))
        );
        let said = initialized(Revision::June2025);
        assert_eq!(said["protocolVersion"], "2025-06-18");
    }

    #[test]
    fn a_list_of_one_page_has_no_cursor() {
        let page = |sent: Value| no_more(&page_of(sent).unwrap(), json!({"prompts": []}));
        assert!(page(json!({})).is_ok());
        assert_eq!(page(json!({"cursor": "1"})).unwrap_err().code, ErrorCode::INVALID_PARAMS);
    }
}
