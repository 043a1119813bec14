//! Problem documents of `/v1/run`: with the input's validation errors, or with an error of the line whose
//! field names are mapped to this API.

use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use line::Core;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use crate::input::InputError;

/// The fault of an invalid input.
pub(crate) fn fault(errors: &[InputError]) -> Fault {
    let first =
        errors.first().map(|error| format!(" {}: {}.", error.pointer, error.message)).unwrap_or_default();
    let message = format!("The input does not fit the app's schema.{first}");
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

/// An error of the line, with its field renamed to the one that the client sent.
pub(crate) async fn of_line(response: Response<ReplyBody>) -> Response<ReplyBody> {
    edit_problem(response, |problem| {
        let field = problem.get("param").and_then(Value::as_str).and_then(field_of);
        if let Some(field) = field {
            problem.insert("param".to_owned(), json!(field));
        }
    })
    .await
}

fn field_of(param: &str) -> Option<&'static str> {
    match param {
        "model" => Some("app"),
        "max_tokens" | "max_completion_tokens" => Some("input.max_tokens"),
        // Only a document that the model reads natively is sent as a content part.
        _ if param.starts_with("messages") && param.contains(".content[0]") => Some("input.document"),
        _ if param.starts_with("messages") => Some("input.prompt"),
        _ => None,
    }
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
