//! Problem documents of `/v1/run`: with the input's validation errors, or with an error of the line whose
//! field names are mapped to this API.

use admit::Caller;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use line::{Core, NeedKind, UnmetNeed};
use runs::Kind;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use crate::input::InputError;
use crate::refusal::Refusal;

/// The fault of an invalid input.
pub(crate) fn fault(errors: &[InputError]) -> Fault {
    let first =
        errors.first().map(|error| format!(" {}: {}.", error.pointer, error.message)).unwrap_or_default();
    let is_input = errors.first().is_none_or(|error| error.pointer.starts_with("/input"));
    let what = if is_input {
        "The input does not fit the app's schema."
    } else {
        "The run can't be started as requested."
    };
    let message = format!("{what}{first}");
    let mut fault = Fault::new(FaultClass::BadRequest, "validation_error", message)
        .fix("Correct the fields that \"errors\" points at.");
    if let Some(error) = errors.first() {
        fault = fault.param(error.pointer.trim_start_matches('/').replace('/', "."));
    }
    fault
}

/// The response to an invalid input.
pub(crate) async fn input(core: &Core, errors: &[InputError], trace: TraceId) -> Response<ReplyBody> {
    let fault = fault(errors);
    let mut response = edit_problem(line::refuse(core, Dialect::Run, &fault, trace), |problem| {
        problem.insert("status".to_owned(), json!(StatusCode::UNPROCESSABLE_ENTITY.as_u16()));
        let errors = errors.iter().map(|error| json!({"pointer": error.pointer, "message": error.message}));
        problem.insert("errors".to_owned(), errors.collect());
    })
    .await;
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}

/// The fault of a run that something is missing for.
pub(crate) fn requirements_not_met(missing: &[UnmetNeed]) -> Fault {
    let messages: Vec<&str> = missing.iter().map(|one| &*one.message).collect();
    let message = format!("The app can't run yet. {}", messages.join(" "));
    let fault = Fault::new(FaultClass::Conflict, "requirements_not_met", message);
    fault.fix("Add what \"errors\" names, and send the run again.").param("app")
}

/// The response to a run that something is missing for.
pub(crate) async fn unmet(core: &Core, missing: &[UnmetNeed], trace: TraceId) -> Response<ReplyBody> {
    let refused = line::refuse(core, Dialect::Run, &requirements_not_met(missing), trace);
    let mut response = edit_problem(refused, |problem| {
        problem.insert("title".to_owned(), json!("The app's requirements are not met"));
        problem.insert("status".to_owned(), json!(StatusCode::PRECONDITION_FAILED.as_u16()));
        problem.insert("errors".to_owned(), missing.iter().map(need).collect());
    })
    .await;
    *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    response
}

/// The response to what was refused before anything ran.
pub(crate) async fn of_refusal(core: &Core, refusal: Refusal, trace: TraceId) -> Response<ReplyBody> {
    match refusal {
        Refusal::Fault(fault) => line::refuse(core, Dialect::Run, &fault, trace),
        Refusal::Input(errors) => input(core, &errors, trace).await,
        Refusal::Unmet(missing) => unmet(core, &missing, trace).await,
    }
}

/// What nothing in a workspace serves, which somebody can add.
const NOT_SERVED: &str = "model_not_served";

/// An error of the line, with its field renamed to the one that the client sent, and with what is missing where something is.
pub(crate) async fn of_line(
    core: &Core,
    caller: &Caller,
    app: &str,
    kind: Kind,
    response: Response<ReplyBody>,
) -> Response<ReplyBody> {
    let mut is_unmet = false;
    let mut response = edit_problem(response, |problem| {
        let field = problem.get("param").and_then(Value::as_str).and_then(|param| field_of(kind, param));
        if let Some(field) = field {
            problem.insert("param".to_owned(), json!(field));
        }
        let is_missing = problem.get("code").and_then(Value::as_str) == Some(NOT_SERVED)
            && !line::is_routed_elsewhere(core, caller, app);
        if let Some(missing) = is_missing.then(|| missing(caller, app)).filter(|missing| !missing.is_empty())
        {
            is_unmet = true;
            problem.insert("status".to_owned(), json!(StatusCode::PRECONDITION_FAILED.as_u16()));
            problem.insert("errors".to_owned(), missing.iter().map(need).collect());
        }
    })
    .await;
    if is_unmet {
        core.counters.answered(StatusCode::PRECONDITION_FAILED.as_u16());
        *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    }
    response
}

/// What would serve a model of the catalogue: a credential for one of its providers.
fn missing(caller: &Caller, app: &str) -> Vec<UnmetNeed> {
    let sellers = line::sold_model(caller, app).map(|sold| sold.sellers).unwrap_or_default();
    sellers.iter().map(|provider| integration(provider)).collect()
}

/// A missing credential.
pub(crate) fn integration(provider: &str) -> UnmetNeed {
    let message = format!(
        "Add a credential for {provider}: POST /v2/provider-credentials, or `tidegate credentials add {provider}`."
    );
    UnmetNeed { kind: NeedKind::Integration, key: provider.to_owned(), message }
}

/// What is missing, in the form that clients of this API read.
fn need(unmet: &UnmetNeed) -> Value {
    let UnmetNeed { kind, key, message } = unmet;
    let action = match kind {
        NeedKind::Integration => json!({"type": "connect", "provider": key}),
        NeedKind::Secret => json!({"type": "add_secret"}),
        NeedKind::Scope => json!({"type": "add_scopes", "scopes": [key]}),
    };
    json!({"type": kind.as_str(), "key": key, "message": message, "action": action})
}

/// A field of the line's request as the input names it.
fn field_of(kind: Kind, param: &str) -> Option<String> {
    let (field, rest) = param.split_at(param.find(['.', '[']).unwrap_or(param.len()));
    let own = match (kind, field) {
        (_, "model") => return Some("app".to_owned()),
        (_, "max_tokens" | "max_completion_tokens") => "max_tokens",
        // Only a document that the model reads natively is sent as a content part.
        (Kind::Text, "messages") if param.contains(".content[0]") => {
            return Some("input.document".to_owned());
        }
        (Kind::Text, "messages") => return Some("input.prompt".to_owned()),
        (Kind::Embedding | Kind::Speech | Kind::Moderation, "input") => "text",
        (Kind::Speech, "response_format") => "format",
        (Kind::Transcription, "file") => "audio",
        (Kind::Video, "input_reference") => "image",
        (_, "input" | "app" | "app_id") => return None,
        (_, field) => field,
    };
    Some(format!("input.{own}{rest}"))
}

/// Any other response is passed on unchanged.
pub(crate) async fn edit_problem(
    response: Response<ReplyBody>,
    edit: impl FnOnce(&mut Map<String, Value>),
) -> Response<ReplyBody> {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        return settle::whole(head.status, head.headers, Bytes::new());
    };
    let mut bytes = body.to_bytes();
    if let Ok(Value::Object(mut problem)) = serde_json::from_slice(&bytes) {
        edit(&mut problem);
        bytes = Value::Object(problem).to_string().into();
    }
    settle::whole(head.status, head.headers, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_line_are_named_as_the_input_has_them() {
        for (kind, param, field) in [
            (Kind::Text, "model", Some("app")),
            (Kind::Text, "messages[0].content[0].file", Some("input.document")),
            (Kind::Text, "messages[0].content", Some("input.prompt")),
            (Kind::Text, "temperature", Some("input.temperature")),
            (Kind::Embedding, "input[3]", Some("input.text[3]")),
            (Kind::Speech, "response_format", Some("input.format")),
            (Kind::Transcription, "file", Some("input.audio")),
            (Kind::Rerank, "documents[1]", Some("input.documents[1]")),
            (Kind::Rerank, "input.document", None),
        ] {
            assert_eq!(field_of(kind, param).as_deref(), field, "{param}");
        }
    }
}
