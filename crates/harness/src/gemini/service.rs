//! Serves one Gemini call from request head to response.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use super::answering;
use super::caches::Sent;
use super::embeddings::{BatchRequest, EmbedRequest};
use super::error::ApiError;
use super::request::GenerateRequest;
use super::route::{self, Target};
use super::schema::{self, Message};
use super::stream::Form;
use super::{models, protojson, turns};
use crate::emulator::KeyState;
use crate::emulator::service::{self, Answer, Call, json_answer, media_but_json};
use crate::emulator::state::{Guard, Shared};
use crate::emulator::wire::Control;

/// The header that holds the key.
const KEY_HEADER: &str = "x-goog-api-key";

/// A call whose key was accepted, as its handlers see it.
pub(crate) struct Admitted<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) control: &'a Control,
    pub(crate) guard: &'a Guard,
    pub(crate) key: String,
    pub(crate) version: &'static str,
}

/// Whether a call is for Gemini: by its path, or by its key where another provider has the same path.
pub(crate) fn serves(head: &Parts) -> bool {
    match route::version(head.uri.path()) {
        Some(("v1beta", _)) => true,
        Some((_, rest)) if rest.starts_with("cachedContents") => true,
        Some((_, rest)) if rest.split('/').next() == Some("models") => {
            head.method == Method::POST && rest.contains('/') || sent_key(head).is_some()
        }
        Some((_, rest)) if rest.split('/').next() == Some("batches") => sent_key(head).is_some(),
        _ => false,
    }
}

/// The API key of a call, from its header or its query string.
fn sent_key(head: &Parts) -> Option<String> {
    let header = head.headers.get(KEY_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    header.or_else(|| route::query(&head.uri, "key"))
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let uri = &call.head.uri;
    call.guard.note(|entry| entry.key = sent_key(call.head));
    let streamed = route::route(uri.path()).ok().and_then(|route| route::form(uri, &route.target));
    match attempt(call, body, streamed).await {
        Ok(answer) => answer,
        Err(error) => error_answer(call.guard, &error, streamed.is_some()),
    }
}

/// The response to a rejected request; on a streaming method the error is wrapped in an array.
pub(crate) fn error_answer(guard: &Guard, error: &ApiError, streamed: bool) -> Answer {
    guard.note(|entry| entry.error_code = Some(error.name()));
    let body = if streamed { json!([error.body()]) } else { error.body() };
    json_answer(error.code, Vec::new(), &body)
}

async fn attempt(sent: &Call<'_>, body: Incoming, streamed: Option<Form>) -> Result<Answer, ApiError> {
    let Call { shared, control, guard, head, .. } = *sent;
    let body = service::read(shared, guard, body)
        .await
        .map_err(|_| ApiError::invalid("Request payload size exceeds the limit, or the body broke off."))?;
    forbidden_headers(sent)?;
    let route = route::route(head.uri.path())?;
    if !route.target.takes(&head.method) {
        return Err(ApiError::not_found("The requested method was not found on this server."));
    }
    let key = authorise(sent)?;
    let call = Admitted { shared, control, guard, key, version: route.version };
    match (route.target, &head.method) {
        (Target::Models, _) => {
            let size = route::query(&head.uri, "pageSize").and_then(|size| size.parse().ok());
            let token = route::query(&head.uri, "pageToken");
            json(&models::page(&shared.config.models, size, token.as_deref())?)
        }
        (Target::Model(id), _) => {
            json(&models::row(&models::find(&shared.config.models, &id, call.version, "getModel")?))
        }
        (Target::Caches, &Method::POST) => {
            let made = call.create_cache(read(&head.headers, &body, &schema::CACHED_CONTENT)?);
            if shared.gemini.caches.are_unanswered.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            made
        }
        (Target::Caches, _) => json(&shared.gemini.caches.list(&call.key)),
        (Target::Cache(name), &Method::PATCH) => {
            let sent = read(&head.headers, &body, &schema::CACHED_CONTENT)?;
            json(&shared.gemini.caches.update(&call.key, &name, &sent)?)
        }
        (Target::Cache(name), &Method::DELETE) => {
            shared.gemini.caches.delete(&call.key, &name)?;
            json(&json!({}))
        }
        (Target::Batches, _) => {
            let param = |name: &str| route::query(&head.uri, name);
            let (size, token) = (param("pageSize"), param("pageToken"));
            shared.gemini.batches.list(&call, size.as_deref(), token.as_deref())
        }
        (Target::Batch(id), &Method::DELETE) => shared.gemini.batches.delete(&call, &id),
        (Target::Batch(id), _) => shared.gemini.batches.show(&call, &id),
        (Target::BatchCancel(id), _) => shared.gemini.batches.cancel(&call, &id, &body),
        (Target::Cache(name), _) => json(&shared.gemini.caches.get(&call.key, &name)?.row()),
        (Target::Method(model, method), _) => {
            call.method(&model, &method, &head.headers, &body, streamed).await
        }
    }
}

/// The response of a model to a call that another endpoint authenticated; `None` where the model is not
/// served.
pub(crate) async fn served_method(
    sent: &Call<'_>,
    key: &str,
    model: &str,
    method: &str,
    body: &Bytes,
    streamed: Option<Form>,
) -> Option<Result<Answer, ApiError>> {
    let Call { shared, control, guard, head, .. } = *sent;
    let version = "v1beta";
    models::find(&shared.config.models, model, version, method).ok()?;
    let call = Admitted { shared, control, guard, key: key.to_owned(), version };
    Some(call.method(model, method, &head.headers, body, streamed).await)
}

impl Admitted<'_> {
    async fn method(
        &self,
        model: &str,
        method: &str,
        headers: &HeaderMap,
        body: &Bytes,
        streamed: Option<Form>,
    ) -> Result<Answer, ApiError> {
        let model = models::find(&self.shared.config.models, model, self.version, method)?;
        self.guard.note(|entry| {
            entry.model = Some(model.id.clone());
            entry.stream = streamed.is_some();
        });
        match method {
            "countTokens" => answering::count(self, &model, read(headers, body, &schema::COUNT)?),
            "embedContent" => {
                let request: EmbedRequest = read(headers, body, &schema::EMBED)?;
                request.check(&model.id)?;
                answering::embed(self, request.tokens(), |usage| to_json(&request.answer(usage))).await
            }
            "batchEmbedContents" => {
                let request: BatchRequest = read(headers, body, &schema::BATCH_EMBED)?;
                request.check(&model.id)?;
                answering::embed(self, request.tokens(), |usage| to_json(&request.answer(usage))).await
            }
            "batchGenerateContent" => {
                let sent = read(headers, body, &schema::BATCH_GENERATE)?;
                self.shared.gemini.batches.create(self, &model, sent)
            }
            _ => {
                let request: GenerateRequest = read(headers, body, &schema::GENERATE)?;
                answering::generate(self, &model, &request, streamed).await
            }
        }
    }

    fn create_cache(&self, sent: Sent) -> Result<Answer, ApiError> {
        let Some(named) = sent.model.clone() else {
            return Err(ApiError::invalid(
                "* CreateCachedContentRequest.cached_content.model: model is not specified",
            ));
        };
        if !named.starts_with("models/") {
            return Err(ApiError::invalid(
                "* CreateCachedContentRequest.cached_content.model: unexpected model name",
            ));
        }
        let model = models::find(&self.shared.config.models, &named, self.version, "createCachedContent")?;
        let number = self.guard.number();
        self.guard.note(|entry| entry.model = Some(model.id.clone()));
        json(&self.shared.gemini.caches.create(&self.key, number, &model.id, sent)?)
    }
}

/// Rejects headers that belong to a gateway or its clients, and any key that is not for Gemini; other kinds
/// of credentials get an error of their own.
fn forbidden_headers(call: &Call<'_>) -> Result<(), ApiError> {
    let is_foreign = call.head.headers.contains_key(AUTHORIZATION);
    let mut wrong = call.foreign_headers(&[KEY_HEADER], &[KEY_HEADER]);
    wrong.extend(is_foreign.then(|| "header authorization".to_owned()));
    match call.betrayed(wrong) {
        None => Ok(()),
        Some(_) if is_foreign => Err(ApiError::foreign_credentials()),
        Some(what) => Err(ApiError::invalid(format!("{what}: must not be sent to this API."))),
    }
}

fn authorise(call: &Call<'_>) -> Result<String, ApiError> {
    let key = sent_key(call.head).ok_or_else(ApiError::no_key)?;
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Revoked) => Err(ApiError::wrong_key()),
        Some(KeyState::Exhausted | KeyState::Suspended) => Err(ApiError::out_of_quota()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(ApiError::rate_limited(Some(retry_after_ms))),
        None => {
            call.violation(format!("{KEY_HEADER} that is none of the accepted keys"));
            Err(ApiError::wrong_key())
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(
    headers: &HeaderMap,
    body: &Bytes,
    message: &Message,
) -> Result<T, ApiError> {
    if let Some(media) = media_but_json(headers) {
        return Err(ApiError::invalid(format!(
            "Unsupported content type: '{media}'; send application/json."
        )));
    }
    protojson::read(body, message)
}

pub(crate) fn to_json(body: &impl Serialize) -> Result<serde_json::Value, ApiError> {
    serde_json::to_value(body).map_err(|error| ApiError::internal(error.to_string()))
}

pub(crate) fn json(body: &impl Serialize) -> Result<Answer, ApiError> {
    Ok(json_answer(200, Vec::new(), &to_json(body)?))
}

/// The conversation checks shared by generating and token counting.
pub(crate) fn check_turns(request: &GenerateRequest) -> Result<(), ApiError> {
    turns::check(&request.contents)?;
    turns::check_instruction(request.system_instruction.as_ref())
}
