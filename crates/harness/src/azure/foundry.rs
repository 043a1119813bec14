//! Anthropic's models at an Azure AI Foundry resource: Anthropic's paths below the resource's, deployments
//! instead of models, and no endpoint that lists either.

use http::Method;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::{DEPLOYED, services};
use crate::anthropic::error::Refusal;
use crate::anthropic::service::{count_tokens, edition, fields, messages, read};
use crate::directory;
use crate::emulator::KeyState;
use crate::emulator::service::{Answer, Call, bearer};

/// The base path of the resource.
pub const RESOURCE: &str = "/foundry";
const BASE: &str = "/foundry/anthropic";

pub(crate) fn serves(head: &Parts) -> bool {
    head.uri.path().strip_prefix(RESOURCE).is_some_and(|rest| rest.starts_with('/'))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    call.guard.note(|entry| entry.key = None);
    attempt(call, body).await.unwrap_or_else(|refusal| refusal.answer(call))
}

async fn attempt(call: &Call<'_>, body: Incoming) -> Result<Answer, Refusal> {
    let body = read(call, body).await?;
    let key = authorise(call)?;
    let path = call.head.uri.path().strip_prefix(BASE).filter(|_| call.head.method == Method::POST);
    let is_count = match path {
        Some("/v1/messages") => false,
        Some("/v1/messages/count_tokens") => true,
        _ => return Err(Refusal::not_found("Resource not found")),
    };
    let edition = edition(call)?;
    let mut fields = fields(call, &body)?;
    resolve_deployment(call, &mut fields)?;
    if is_count {
        count_tokens(call, &key, &fields, edition).await
    } else {
        messages(call, &key, &fields, edition).await
    }
}

/// Authenticates by a key in either of its headers, identical where both are present, or by a token.
fn authorise(call: &Call<'_>) -> Result<String, Refusal> {
    let headers = &call.head.headers;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let wrong = || {
        Refusal::new(
            401,
            "authentication_error",
            "Access denied due to invalid subscription key or wrong API endpoint.",
        )
    };
    let (own, other) = (text("x-api-key"), text("api-key"));
    if own.is_some() && other.is_some() && own != other {
        call.violation("two keys that differ");
        return Err(wrong());
    }
    let token = || directory::is_for(call.shared, &bearer(headers)?, services(true));
    let key = own.or(other).or_else(token).ok_or_else(wrong)?;
    call.guard.note(|entry| entry.key = Some(key.clone()));
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(Refusal::rate_limited(retry_after_ms)),
        Some(KeyState::Exhausted | KeyState::Suspended) => Err(Refusal::no_credit()),
        Some(KeyState::Revoked) | None => Err(wrong()),
    }
}

/// Replaces the deployment in `model` by the model that it runs.
fn resolve_deployment(call: &Call<'_>, fields: &mut Map<String, Value>) -> Result<(), Refusal> {
    let named = fields.get("model").and_then(Value::as_str).unwrap_or_default();
    let model = named
        .strip_prefix(DEPLOYED)
        .filter(|name| call.shared.config.claude_models.iter().any(|model| model.id == **name));
    let model = model.map(str::to_owned).ok_or_else(|| {
        Refusal::not_found("DeploymentNotFound: The API deployment for this resource does not exist.")
    })?;
    fields.insert("model".to_owned(), Value::String(model));
    Ok(())
}
