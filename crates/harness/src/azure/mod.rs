//! Azure's variant of OpenAI's API: a resource's paths, deployments instead of models, the key in a header of
//! its own, and content filter results in each response.

pub(crate) mod foundry;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::emulator::PartRole;
use crate::emulator::frames::Event;
use crate::openai::error::ApiError;
use crate::openai::forms::rename_model;

pub(crate) const KEY: &str = "api-key";
/// Each model is deployed once, under its own name with this prefix.
pub(crate) const DEPLOYED: &str = "my-";

/// Operations that the older paths address to a deployment.
#[rustfmt::skip]
const OF_A_DEPLOYMENT: [&str; 8] = [
    "chat/completions", "completions", "embeddings", "images/generations", "images/edits", "audio/speech",
    "audio/transcriptions", "audio/translations",
];

/// The audiences of tokens that these paths accept.
pub(crate) const fn services(is_current: bool) -> &'static [&'static str] {
    const COGNITIVE: &str = "https://cognitiveservices.azure.com";
    if is_current { &["https://ai.azure.com", COGNITIVE] } else { &[COGNITIVE] }
}

/// The target of a call: OpenAI's path, and the deployment if the path names one.
pub(crate) struct Site {
    pub(crate) path: String,
    pub(crate) is_current: bool,
    deployment: Option<String>,
}

/// Parses a resource's path: the current form, and the older one with `api-version`.
pub(crate) fn site(path: &str, query: Option<&str>) -> Result<Site, ApiError> {
    let below = path.strip_prefix("/openai/").ok_or_else(no_such_path)?;
    if let Some(rest) = below.strip_prefix("v1/") {
        return Ok(Site { path: format!("/v1/{rest}"), is_current: true, deployment: None });
    }
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let version = pairs.find(|(name, _)| *name == "api-version").map(|(_, version)| version);
    if !version.is_some_and(is_version) {
        return Err(no_such_path());
    }
    let Some(of_deployment) = below.strip_prefix("deployments/") else {
        // An operation of a deployment is not available on the resource.
        return match below.split('/').next() {
            Some("responses" | "models" | "realtime") => {
                Ok(Site { path: format!("/v1/{below}"), is_current: false, deployment: None })
            }
            _ => Err(no_such_path()),
        };
    };
    match of_deployment.split_once('/') {
        Some((name, rest)) if OF_A_DEPLOYMENT.contains(&rest) => {
            Ok(Site { path: format!("/v1/{rest}"), is_current: false, deployment: Some(name.to_owned()) })
        }
        _ => Err(no_such_path()),
    }
}

impl Site {
    /// The body with the model that its deployment runs; the older paths ignore the model in the body.
    pub(crate) fn body(&self, body: &Bytes) -> Result<Bytes, ApiError> {
        if body.starts_with(b"--") {
            let runs = |named: &str| {
                let deployment = self.deployment.as_deref().unwrap_or(named);
                deployment.strip_prefix(DEPLOYED).map(str::to_owned).ok_or_else(no_such_deployment)
            };
            return rename_model(body, runs).unwrap_or_else(|| Ok(body.clone()));
        }
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else { return Ok(body.clone()) };
        let named = || fields.get("model").and_then(Value::as_str).map(str::to_owned);
        let Some(deployment) = self.deployment.clone().or_else(named) else { return Ok(body.clone()) };
        let model = deployment.strip_prefix(DEPLOYED).ok_or_else(no_such_deployment)?.to_owned();
        fields.insert("model".to_owned(), Value::String(model));
        Ok(Bytes::from(Value::Object(fields).to_string()))
    }
}

fn is_version(text: &str) -> bool {
    let day = text.strip_suffix("-preview").unwrap_or(text);
    day.len() == "2024-10-21".len() && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn no_such_path() -> ApiError {
    ApiError::new(404, "", "Resource not found").code("404")
}

pub(crate) fn no_such_deployment() -> ApiError {
    let message = "The API deployment for this resource does not exist. If you created the deployment within the last 5 \
                   minutes, please wait a moment and try again.";
    ApiError::new(404, "", message).code("DeploymentNotFound")
}

/// The error for a valid token of a principal that was assigned no role.
pub(crate) fn no_role() -> ApiError {
    let message = "The principal `11111111-2222-3333-4444-555555555555` lacks the required data action \
                   `Microsoft.CognitiveServices/accounts/OpenAI/models/read` to perform `GET /openai/models` operation.";
    ApiError::new(401, "", message).code("PermissionDenied")
}

pub(crate) fn wrong_key() -> ApiError {
    let message = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid \
                   key for an active subscription and use a correct regional API endpoint for your resource.";
    ApiError::new(401, "", message).code("401")
}

/// The body of an error: short for the resource's own errors, with the filter results for a filtered prompt,
/// in OpenAI's format for all others.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let ApiError { message, code, .. } = error;
    if code.as_deref() == Some("content_filter") {
        let found = json!({"filtered": true, "severity": "high"});
        let inner = json!({"code": "ResponsibleAIPolicyViolation", "content_filter_result": results(Some(("violence", found)))});
        return json!({"error": {"message": message, "type": null, "param": "prompt", "code": code, "status": error.status, "innererror": inner}});
    }
    if error.kind.is_empty() {
        return json!({"error": {"code": code, "message": message}});
    }
    json!({"error": {"message": message, "type": error.kind, "param": error.param, "code": code}})
}

fn results(found: Option<(&str, Value)>) -> Value {
    let safe = || json!({"filtered": false, "severity": "safe"});
    let kinds = ["hate", "self_harm", "sexual", "violence"];
    let mut results: Map<String, Value> = kinds.map(|kind| (kind.to_owned(), safe())).into_iter().collect();
    if let Some((kind, found)) = found {
        results.insert(kind.to_owned(), found);
    }
    Value::Object(results)
}

fn prompt_results() -> Value {
    json!([{"prompt_index": 0, "content_filter_results": results(None)}])
}

/// Adds Azure's fields to a buffered response.
pub(crate) fn change_whole(answer: &mut Value) {
    let Some(fields) = answer.as_object_mut() else { return };
    fields.insert("prompt_filter_results".to_owned(), prompt_results());
    mark(fields);
}

/// Adds Azure's events and fields to a stream: a prompt filter event before the first, and filter results in
/// each content event.
pub(crate) fn spread(events: &mut Vec<Event>) {
    for event in events.iter_mut().filter(|event| event.role == PartRole::Content) {
        if let Ok(Value::Object(mut chunk)) = serde_json::from_str(&event.data) {
            mark(&mut chunk);
            event.data = Value::Object(chunk).to_string();
        }
    }
    let first = json!({
        "id": "", "object": "", "created": 0, "model": "", "choices": [],
        "prompt_filter_results": prompt_results(),
    });
    events.insert(0, Event { name: None, data: first.to_string(), tokens: 0, role: PartRole::Role });
}

fn mark(fields: &mut Map<String, Value>) {
    let choices = fields.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten().filter_map(Value::as_object_mut) {
        let is_cut = choice.get("finish_reason").is_some_and(|reason| reason == "content_filter");
        let found = is_cut.then(|| ("violence", json!({"filtered": true, "severity": "high"})));
        choice.insert("content_filter_results".to_owned(), results(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, query: Option<&str>) -> Option<(String, Option<String>)> {
        site(path, query).ok().map(|site| (site.path, site.deployment))
    }

    #[test]
    fn a_resource_has_current_and_older_paths() {
        let old = Some("api-version=2024-10-21");
        let chat = Some(("/v1/chat/completions".to_owned(), None));
        assert_eq!(read("/openai/v1/chat/completions", None), chat);
        let deployed = Some(("/v1/embeddings".to_owned(), Some("mine".to_owned())));
        assert_eq!(read("/openai/deployments/mine/embeddings", old), deployed);
        assert_eq!(read("/openai/models", old), Some(("/v1/models".to_owned(), None)));
        for (path, query) in [
            ("/openai/deployments/mine/embeddings", None),
            ("/openai/deployments/mine/embeddings", Some("api-version=latest")),
            ("/openai/deployments/mine/responses", old),
            ("/openai/chat/completions", old),
            ("/v1/chat/completions", old),
        ] {
            assert_eq!(read(path, query), None, "{path} {query:?}");
        }
    }
}
