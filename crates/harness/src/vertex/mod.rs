//! Vertex AI's access to the APIs of the publishers whose models it serves: a project and a location in each
//! path, tokens in place of API keys, and errors in Google Cloud's format.

mod embeddings;
mod messages;
mod pictures;
pub(crate) mod videos;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use crate::directory::google::{AUDIENCE, PROJECT};
use crate::emulator::KeyState;
use crate::emulator::service::{self, Answer, Call, bearer};
use crate::gemini::error::ApiError;
use crate::gemini::route::query;
use crate::gemini::service::{error_answer, served_method};
use crate::gemini::stream::Form;
use crate::openai::flavour::Flavour;
use crate::openai::routes::{self, OpenAiCall, Route};

const SERVICE: &str = "aiplatform.googleapis.com";
const PERMISSION: &str = "aiplatform.endpoints.predict";
/// The locations that serve models.
const LOCATIONS: &[&str] = &["global", "us", "eu", "us-east5", "us-central1", "europe-west1"];
/// The only project that may be charged (quota project) other than the one in the path.
const QUOTA_PROJECT: &str = "tides-quota";
const QUOTA_HEADER: &str = "x-goog-user-project";
/// Request fields that `countTokens` accepts.
const COUNTED: &[&str] = &["contents", "systemInstruction", "tools", "generationConfig"];

/// A path below a project and a location.
struct Site {
    project: String,
    location: String,
    target: Target,
}

enum Target {
    /// A publisher's model, and the method to call.
    Model { publisher: String, model: String, verb: String },
    /// The OpenAI-compatible endpoint for open models and partner models.
    Chat,
}

pub(crate) fn serves(head: &Parts) -> bool {
    ["/v1/projects/", "/v1beta1/projects/"].iter().any(|prefix| head.uri.path().starts_with(prefix))
}

fn site(path: &str) -> Option<Site> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let parts: Vec<&str> = path.split('/').skip(2).collect();
    let (project, location, target) = match *parts.as_slice() {
        ["projects", project, "locations", location, "publishers", publisher, "models", model] => {
            let (model, verb) = model.rsplit_once(':')?;
            let target =
                Target::Model { publisher: decode(publisher), model: decode(model), verb: decode(verb) };
            (project, location, target)
        }
        ["projects", project, "locations", location, "endpoints", "openapi", "chat", "completions"] => {
            (project, location, Target::Chat)
        }
        _ => return None,
    };
    Some(Site { project: decode(project), location: decode(location), target })
}

pub(crate) async fn answer(call: &Call<'_>, body: Incoming) -> Answer {
    let site = site(call.head.uri.path()).filter(|_| call.head.method == Method::POST);
    let streams = site.as_ref().is_some_and(Site::streams_as_array);
    let found = match (site, service::read(call.shared, call.guard, body).await) {
        (Some(site), Ok(body)) => serve(call, &site, &body).await,
        (None, _) => Err(ApiError::not_found("The requested URL was not found on this server.")),
        (_, Err(_)) => Err(ApiError::invalid("Request payload size exceeds the limit.")),
    };
    match found {
        Ok(answer) => answer,
        Err(error) => error_answer(call.guard, &error, streams),
    }
}

async fn serve(call: &Call<'_>, site: &Site, body: &Bytes) -> Result<Answer, ApiError> {
    forbidden_headers(call)?;
    let key = authorise(call)?;
    check_project(call, site, &key)?;
    match &site.target {
        Target::Chat => chat(call, &key, body).await,
        Target::Model { publisher, model, verb } => match publisher.as_str() {
            "google" => google(call, site, &key, (model, verb), body).await,
            "anthropic" => match messages::answer(call, &key, model, verb, body).await {
                Some(answer) => Ok(answer),
                None => Err(site.no_model()),
            },
            _ => Err(site.no_model()),
        },
    }
}

impl Site {
    fn streams_as_array(&self) -> bool {
        matches!(&self.target, Target::Model { verb, .. } if verb == "streamGenerateContent")
    }

    fn resource(&self) -> String {
        let parent = format!("projects/{}/locations/{}", self.project, self.location);
        match &self.target {
            Target::Model { publisher, model, .. } => {
                format!("{parent}/publishers/{publisher}/models/{model}")
            }
            Target::Chat => format!("{parent}/endpoints/openapi"),
        }
    }

    fn no_model(&self) -> ApiError {
        ApiError::not_found(format!(
            "Publisher Model `{}` was not found or your project does not have access to it. Please ensure you are \
             using a valid model version. For more information, see: \
             https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions",
            self.resource()
        ))
    }
}

/// Google's own models answer as they do in the Gemini API.
async fn google(
    call: &Call<'_>,
    site: &Site,
    key: &str,
    (model, verb): (&str, &str),
    body: &Bytes,
) -> Result<Answer, ApiError> {
    let events = query(&call.head.uri, "alt").as_deref() == Some("sse");
    let form = if events { Form::Events } else { Form::Array };
    let (body, form) = match verb {
        "generateContent" => (generate_body(body)?, None),
        "streamGenerateContent" => (generate_body(body)?, Some(form)),
        "countTokens" => (count_body(model, body)?, None),
        "predict" if pictures::makes(model) => {
            return pictures::answer(call, key, model, body).await.unwrap_or_else(|| Err(site.no_model()));
        }
        "predictLongRunning" | "fetchPredictOperation" => {
            return videos::answer(call, site, key, (model, verb), body)
                .await
                .unwrap_or_else(|| Err(site.no_model()));
        }
        "predict" | "embedContent" => {
            return embeddings::answer(call, key, model, verb, body)
                .await
                .unwrap_or_else(|| Err(site.no_model()));
        }
        _ => return Err(site.no_model()),
    };
    match served_method(call, key, model, verb, &body, form).await {
        Some(answer) => answer,
        None => Err(site.no_model()),
    }
}

/// Rejects `store`, since Vertex AI stores no responses.
fn generate_body(body: &Bytes) -> Result<Bytes, ApiError> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) if fields.contains_key("store") => Err(unknown_name("store")),
        _ => Ok(body.clone()),
    }
}

fn unknown_name(name: &str) -> ApiError {
    ApiError::invalid(format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."))
}

/// Vertex AI's `countTokens` takes the request itself, which the Gemini API nests inside another.
fn count_body(model: &str, body: &Bytes) -> Result<Bytes, ApiError> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return Err(ApiError::invalid("Invalid JSON payload received."));
    };
    if let Some(name) = fields.keys().find(|name| !COUNTED.contains(&name.as_str())) {
        return Err(unknown_name(name));
    }
    fields.insert("model".to_owned(), format!("models/{model}").into());
    Ok(Bytes::from(json!({"generateContentRequest": fields}).to_string()))
}

/// Open models answer in OpenAI's format, with errors in Google Cloud's.
async fn chat(call: &Call<'_>, key: &str, body: &Bytes) -> Result<Answer, ApiError> {
    let Call { shared, control, guard, head, .. } = *call;
    let call = OpenAiCall { shared, control, guard, head, body, key, flavour: Flavour::OpenAi };
    routes::answer(&call, Route::Chat).await.map_err(|error| {
        let (code, status) = match error.status {
            404 => (404, "NOT_FOUND"),
            429 => (429, "RESOURCE_EXHAUSTED"),
            500.. => (error.status, "INTERNAL"),
            code => (code, "INVALID_ARGUMENT"),
        };
        ApiError::new(code, status, error.message)
    })
}

fn forbidden_headers(call: &Call<'_>) -> Result<(), ApiError> {
    match call.betrayed(call.foreign_headers(&[], &["authorization"])) {
        None => Ok(()),
        Some(what) => {
            let what = what.trim_start_matches("header ");
            Err(ApiError::invalid(format!("{what}: must not be sent to this API.")))
        }
    }
}

/// The key that a token maps to. An emulator key itself is not accepted.
fn authorise(call: &Call<'_>) -> Result<String, ApiError> {
    call.guard.note(|entry| entry.key = None);
    let foreign = |reason: &'static str| {
        ApiError::new(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
             authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
        .info_of(SERVICE, reason)
    };
    let Some(token) = bearer(&call.head.headers) else { return Err(foreign("CREDENTIALS_MISSING")) };
    let directory = &call.shared.directory;
    let found = directory.token(&token).filter(|token| token.audience == AUDIENCE).map(|token| token.key);
    let Some(key) = found else {
        if directory.was_issued(&token) {
            return Err(foreign("ACCESS_TOKEN_EXPIRED"));
        }
        call.violation("a token that nobody was given");
        return Err(foreign("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    };
    call.guard.note(|entry| entry.key = Some(key.clone()));
    match call.shared.key_state(&key) {
        Some(KeyState::Ok) => Ok(key),
        Some(KeyState::Exhausted | KeyState::Suspended) => Err(ApiError::out_of_quota()),
        Some(KeyState::RateLimited { retry_after_ms }) => Err(ApiError::rate_limited(Some(retry_after_ms))),
        Some(KeyState::Revoked) | None => Err(foreign("ACCOUNT_STATE_INVALID")),
    }
}

/// Whether the account may use this project, and charge the quota project that it names.
fn check_project(call: &Call<'_>, site: &Site, key: &str) -> Result<(), ApiError> {
    let denied = |message: String, reason: &'static str| {
        Err(ApiError::new(403, "PERMISSION_DENIED", message).info_of(SERVICE, reason))
    };
    if site.project != PROJECT {
        return denied(
            format!("Permission denied on resource project {}.", site.project),
            "CONSUMER_INVALID",
        );
    }
    let charged = call.head.headers.get(QUOTA_HEADER).map(|value| value.to_str().unwrap_or_default());
    if let Some(charged) = charged.filter(|charged| ![PROJECT, QUOTA_PROJECT].contains(charged)) {
        let message = format!(
            "Caller does not have required permission to use project {charged}. Grant the caller the \
             roles/serviceusage.serviceUsageConsumer role."
        );
        return denied(message, "USER_PROJECT_DENIED");
    }
    if !LOCATIONS.contains(&site.location.as_str()) || call.shared.directory.is_denied(key) {
        let resource = site.resource();
        let message = format!(
            "Permission '{PERMISSION}' denied on resource '//{SERVICE}/{resource}' (or it may not exist)."
        );
        return denied(message, "IAM_PERMISSION_DENIED");
    }
    Ok(())
}

type Fields = Map<String, Value>;
type SharedRef<'a> = &'a Arc<crate::emulator::state::Shared>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_project_a_place_and_a_model() {
        let read = |path: &str| site(path).map(|site| (site.resource(), site.streams_as_array()));
        let parent = "projects/p/locations/l";
        for (below, expected) in [
            (
                "publishers/google/models/gemini-x:streamGenerateContent",
                Some((format!("{parent}/publishers/google/models/gemini-x"), true)),
            ),
            (
                "publishers/anthropic/models/claude%2Fx@1:rawPredict",
                Some((format!("{parent}/publishers/anthropic/models/claude/x@1"), false)),
            ),
            ("endpoints/openapi/chat/completions", Some((format!("{parent}/endpoints/openapi"), false))),
            ("publishers/google/models/gemini-x", None),
            ("publishers/google/models/a/b:generateContent", None),
            ("models", None),
        ] {
            assert_eq!(read(&format!("/v1beta1/{parent}/{below}")), expected, "{below}");
        }
    }
}
