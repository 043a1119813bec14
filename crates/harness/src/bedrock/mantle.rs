//! Bedrock's other endpoint (`bedrock-mantle`): Anthropic's and OpenAI's APIs under one address, with AWS
//! signatures and errors.

use bytes::Bytes;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::error::Refusal;
use super::service::{authenticate, forbidden_headers};
use crate::anthropic;
use crate::emulator::service::{Answer, Call, error_answer, json_answer, read};
use crate::openai::error::ApiError;
use crate::openai::flavour::Flavour;
use crate::openai::request::object;
use crate::openai::routes::{self, OpenAiCall, Route};

/// The base path of this endpoint.
pub const BASE: &str = "/mantle";
const SERVICE: &str = "bedrock-mantle";
const MAKER: &str = "anthropic.";

/// The API below the endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Surface {
    Messages,
    /// Newer models of other vendors.
    Frontier,
    /// Open-weight models.
    Open,
}

pub(crate) fn serves(head: &Parts) -> bool {
    head.uri.path().strip_prefix(BASE).is_some_and(|rest| rest.starts_with('/'))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    let admitted = match read(call.shared, call.guard, body).await {
        Ok(body) => admit(call, &body).map(|key| (body, key)),
        Err(_) => Err(Refusal::new(413, "RequestEntityTooLargeException", "Request body too large.")),
    };
    let (body, key) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            call.guard.note(|entry| entry.error_code = Some(refusal.kind.clone()));
            return json_answer(refusal.status, refusal.headers(), &refusal.body());
        }
    };
    match surface(call.head.uri.path()) {
        Some((Surface::Messages, path)) => messages(call, &key, &body, path).await,
        Some((surface, path)) => match common(call, &key, &body, surface, path).await {
            Ok(answer) => answer,
            Err(error) => error_answer(call.guard, &error, Flavour::OpenAi),
        },
        None => error_answer(call.guard, &unknown(call), Flavour::OpenAi),
    }
}

fn admit(call: &Call<'_>, body: &Bytes) -> Result<String, Refusal> {
    forbidden_headers(call)?;
    let key = authenticate(call, body, SERVICE)?;
    if call.shared.directory.is_denied(&key) {
        let action = if call.head.method == http::Method::GET { "ListModels" } else { "CreateInference" };
        return Err(Refusal::denied(format!(
            "User: arn:aws:iam::123456789012:user/emulator is not authorized to perform: bedrock-mantle:{action} on resource: \
             arn:aws:bedrock-mantle:us-east-1:123456789012:project/default because no identity-based policy allows the \
             bedrock-mantle:{action} action"
        )));
    }
    Ok(key)
}

fn surface(path: &str) -> Option<(Surface, &str)> {
    let below = path.strip_prefix(BASE)?;
    if let Some(path) = below.strip_prefix("/anthropic") {
        return Some((Surface::Messages, path));
    }
    match below.strip_prefix("/openai") {
        Some(path) => path.starts_with("/v1/").then_some((Surface::Frontier, path)),
        None => below.starts_with("/v1/").then_some((Surface::Open, below)),
    }
}

fn unknown(call: &Call<'_>) -> ApiError {
    ApiError::invalid_url(call.head.method.as_str(), call.head.uri.path())
}

async fn messages(call: &Call<'_>, key: &str, body: &Bytes, path: &str) -> Answer {
    let answered = async {
        let is_count = match (call.head.method.as_str(), path) {
            ("POST", "/v1/messages") => false,
            ("POST", "/v1/messages/count_tokens") => true,
            _ => return Err(anthropic::error::Refusal::not_found("Not Found")),
        };
        let edition = anthropic::service::edition(call)?;
        let mut fields = anthropic::service::fields(call, body)?;
        let named = fields.get("model").and_then(Value::as_str).unwrap_or_default();
        // Neither an inference profile's prefix nor Anthropic's bare model name is accepted.
        let model = named.strip_prefix(MAKER).map(str::to_owned);
        let model = model.ok_or_else(|| anthropic::error::Refusal::not_found(format!("model: {named}")))?;
        fields.insert("model".to_owned(), Value::String(model));
        if is_count {
            anthropic::service::count_tokens(call, key, &fields, edition).await
        } else {
            anthropic::service::messages(call, key, &fields, edition).await
        }
    };
    answered.await.unwrap_or_else(|refusal| refusal.answer(call))
}

async fn common(
    call: &Call<'_>,
    key: &str,
    body: &Bytes,
    surface: Surface,
    path: &str,
) -> Result<Answer, ApiError> {
    let route = routes::route(Flavour::OpenAi, &call.head.method, path)?;
    match route {
        Route::Models => return Ok(json_answer(200, Vec::new(), &list(call))),
        Route::Chat | Route::Responses => check_offered(body, surface, path)?,
        _ => return Err(unknown(call)),
    }
    let call = OpenAiCall {
        shared: call.shared,
        control: call.control,
        guard: call.guard,
        head: call.head,
        body,
        key,
        flavour: Flavour::OpenAi,
    };
    routes::answer(&call, route).await
}

/// Each model is available under one of the two paths, and not with every API.
fn check_offered(body: &Bytes, surface: Surface, path: &str) -> Result<(), ApiError> {
    let fields = object(body)?;
    let model = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    let is_open = model.starts_with("openai.gpt-oss");
    let is_frontier = !is_open && ["openai.", "xai."].iter().any(|maker| model.starts_with(maker));
    let is_chat = path == "/v1/chat/completions";
    let takes = match (is_frontier, is_open) {
        (true, _) => surface == Surface::Frontier && !is_chat,
        (_, true) => surface == Surface::Open,
        _ => surface == Surface::Open && is_chat && !model.starts_with(MAKER),
    };
    if takes {
        Ok(())
    } else {
        Err(ApiError::bad(format!("The model '{model}' does not support the '{path}' API")).param("model"))
    }
}

fn list(call: &Call<'_>) -> Value {
    let claude = call.shared.config.claude_models.iter().map(|model| format!("{MAKER}{}", model.id));
    let models = call.shared.config.models.iter().map(|model| model.id.clone());
    let row = |id: String| json!({"id": id, "object": "model", "created": 0, "owned_by": "system"});
    json!({"object": "list", "data": models.chain(claude).map(row).collect::<Vec<_>>()})
}
