//! Prompts that are made of a project's live state, and the completion of their arguments.

use std::collections::BTreeSet;

use admit::Needs;
use domain::TraceId;
use http::Method;
use rmcp::model::{CompleteRequestParams, ErrorCode, ErrorData, Reference};
use serde_json::{Map, Value, json};

use crate::calls::{Called, CallerContext, Problem};
use crate::limits::COMPLETIONS_MAX;
use crate::messages::{bad_params, excerpt, text};
use crate::{media, tools};

/// A prompt.
struct Prompt {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    needs: Needs,
    /// Its only argument, what it is, and whether it must be there.
    argument: (&'static str, &'static str, bool),
    question: &'static str,
}

static PROMPTS: [Prompt; 4] = [
    Prompt {
        name: "write_input",
        title: "Write an input",
        description: "Writes an input for an app, from the schema of what it takes.",
        needs: Needs::Inference,
        argument: ("app", "The app's name.", true),
        question: "Ask me what I want to make with this app, then run it with the tool app_run. Its input must fit this schema.",
    },
    Prompt {
        name: "explain_task",
        title: "Explain a task",
        description: "Explains from its log how a task ended.",
        needs: Needs::Inference,
        argument: ("task_id", "The task's id.", true),
        question: "Explain how this task ended, how long each part took, and what to do if it failed.",
    },
    Prompt {
        name: "explain_request",
        title: "Explain a request",
        description: "Explains how a request was served: which attempts were made and why, and what it cost.",
        needs: Needs::Read,
        argument: ("request_id", "The request's id.", true),
        question: "Explain how this request was served: which attempts were made and why, what it cost, and what would make it cheaper.",
    },
    Prompt {
        name: "review_usage",
        title: "Review usage",
        description: "Reviews the project's usage and spending.",
        needs: Needs::Read,
        argument: ("window", "24h, 7d, 30d or month.", false),
        question: "Review this usage: what it is spent on, what changed, and which models cost more than they need to.",
    },
];

const WINDOWS: [&str; 4] = ["24h", "7d", "30d", "month"];

pub(crate) fn listed(context: &CallerContext<'_>) -> Value {
    let own = PROMPTS.iter().filter(|prompt| context.caller.may(prompt.needs));
    let described = own.map(|prompt| {
        let (name, description, required) = prompt.argument;
        json!({
            "name": prompt.name, "title": prompt.title, "description": prompt.description,
            "arguments": [{"name": name, "description": description, "required": required}],
        })
    });
    json!({"prompts": described.collect::<Vec<_>>()})
}

/// A prompt with what it is about.
///
/// # Errors
/// There is no such prompt, or nothing that it could be about.
pub(crate) async fn get(
    context: &CallerContext<'_>,
    name: &str,
    arguments: &Map<String, Value>,
) -> Result<Value, ErrorData> {
    let prompt = PROMPTS.iter().find(|prompt| prompt.name == name && context.caller.may(prompt.needs));
    let prompt = prompt.ok_or_else(|| bad_params(format!("There is no prompt \"{}\".", excerpt(name))))?;
    let (argument, _, is_required) = prompt.argument;
    let value = text(arguments, argument);
    if is_required && value.is_none() {
        return Err(bad_params(format!("The argument \"{argument}\" is missing.")));
    }
    let mut document = subject(context, prompt.name, value.unwrap_or_default()).await.map_err(|problem| {
        let code = if problem.status.is_client_error() {
            ErrorCode::INVALID_PARAMS
        } else {
            ErrorCode::INTERNAL_ERROR
        };
        ErrorData::new(code, problem.sentence(), None)
    })?;
    media::take_out(&mut document);
    let question = json!({"role": "user", "content": {"type": "text", "text": prompt.question}});
    let about = json!({"role": "user", "content": {"type": "text", "text": document.to_string()}});
    Ok(json!({"description": prompt.description, "messages": [question, about]}))
}

async fn subject(context: &CallerContext<'_>, name: &str, value: &str) -> Called {
    match name {
        "write_input" => context.apps(value, &[]).await,
        "explain_task" => match value.parse::<domain::TaskId>() {
            Ok(id) => context.tasks(&Method::GET, &id.to_string(), &[]).await,
            Err(_) => Err(Problem::argument("\"task_id\" is not the id of a task.")),
        },
        "explain_request" => match value.parse::<TraceId>() {
            Ok(id) => tools::request(context, id).await,
            Err(_) => Err(Problem::argument("\"request_id\" is not the id of a request.")),
        },
        _ => {
            let mut arguments: Map<String, Value> =
                [("group_by".to_owned(), json!("model"))].into_iter().collect();
            arguments.insert("window".to_owned(), json!(value));
            tools::usage(context, &arguments).await
        }
    }
}

/// What an argument of a prompt or resource may be, from what is typed so far. Of what is not known there is nothing.
pub(crate) async fn complete(context: &CallerContext<'_>, params: CompleteRequestParams) -> Value {
    let (argument, typed) = (params.argument.name.as_str(), params.argument.value.as_str());
    let is_known = match &params.r#ref {
        Reference::Prompt(prompt) => {
            PROMPTS.iter().any(|known| known.name == prompt.name && known.argument.0 == argument)
        }
        Reference::Resource(resource) => resource.uri.starts_with("tidegate://"),
        _ => false,
    };
    let found = match argument {
        "app" | "model" if is_known => {
            names(context.apps("", &[("limit", "100"), ("search", typed)]).await, "id")
        }
        "task_id" if is_known => names(context.tasks(&Method::GET, "", &[("limit", "100")]).await, "id"),
        "window" if is_known => WINDOWS.iter().map(|window| (*window).to_owned()).collect(),
        _ => BTreeSet::new(),
    };
    let is_searched = matches!(argument, "app" | "model");
    let mut found: Vec<String> =
        found.into_iter().filter(|name| is_searched || name.starts_with(typed)).collect();
    // What begins as it is typed comes first.
    found.sort_by_key(|name| !name.starts_with(typed));
    let total = found.len();
    found.truncate(COMPLETIONS_MAX);
    json!({"completion": {"values": found, "total": total, "hasMore": total > COMPLETIONS_MAX}})
}

fn names(called: Called, field: &str) -> BTreeSet<String> {
    let items = called.ok().and_then(|page| page.get("items").and_then(Value::as_array).cloned());
    let names = items.unwrap_or_default();
    names.iter().filter_map(|item| item.get(field)?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_names_of_their_own() {
        let names: BTreeSet<_> = PROMPTS.iter().map(|prompt| prompt.name).collect();
        assert_eq!(names.len(), PROMPTS.len());
    }

    #[test]
    fn names_are_those_of_a_page() {
        let page = json!({"items": [{"id": "b"}, {"id": "a"}, {"name": "c"}]});
        assert_eq!(names(Ok(page), "id").into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(names(Err(Problem::argument("x")), "id").is_empty());
    }
}
