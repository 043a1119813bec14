//! Videos as Veo generates them on Vertex AI: long-running operations that advance with each poll. A video is
//! its prompt, repeated; phrases in the prompt decide how the operation ends, so that a test can predict it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::pictures::{check_shapes, object, only};
use super::{Fields, Site};
use crate::emulator::service::{Answer, Call};
use crate::emulator::state::lock;
use crate::gemini::answering;
use crate::gemini::error::ApiError;
use crate::gemini::service::Admitted;
use crate::openai::checks::{Shape, Shape::*};

const OLDER: &str = "veo-2.0-generate-001";
const MODELS: [&str; 3] = ["veo-3.0-generate-001", "veo-3.0-fast-generate-001", OLDER];
const VERSION: &str = "v1";
/// A prompt with this is rejected before anything is generated.
const FORBIDDEN: &str = "forbidden";
/// A video of the first is removed by a filter, an operation with the other fails.
const FILTERED: &str = "all filtered";
const BROKEN: &str = "broken off";
/// Size of one second of video.
const SECOND_BYTES: usize = 64 * 1024;

#[rustfmt::skip]
const PARAMETERS: &[(&str, Shape)] = &[
    ("aspectRatio", OneOf(&["16:9", "9:16"])), ("compressionQuality", OneOf(&["optimized", "lossless"])),
    ("durationSeconds", Integer(4, 8)), ("enhancePrompt", Flag), ("generateAudio", Flag),
    ("negativePrompt", Text), ("personGeneration", OneOf(&["allow_adult", "dont_allow", "allow_all"])),
    ("resolution", OneOf(&["720p", "1080p"])), ("sampleCount", Integer(1, 4)),
    ("seed", Integer(0, 4_294_967_295)), ("storageUri", Text),
];
const IMAGE: &[(&str, Shape)] =
    &[("bytesBase64Encoded", Text), ("mimeType", OneOf(&["image/png", "image/jpeg"]))];

/// All operations, by name.
pub(crate) type Operations = BTreeMap<String, Operation>;

/// One long-running operation.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    request: VideoRequest,
    polls: u32,
}

#[derive(Debug, Clone)]
struct VideoRequest {
    prompt: String,
    seconds: usize,
    count: u64,
    bucket: Option<String>,
}

/// Starts or polls an operation; `None` where the model does not exist, or lacks the method.
pub(super) async fn answer(
    call: &Call<'_>,
    site: &Site,
    key: &str,
    (model, verb): (&str, &str),
    body: &Bytes,
) -> Option<Result<Answer, ApiError>> {
    let Call { shared, control, guard, .. } = *call;
    if !MODELS.contains(&model) {
        return None;
    }
    guard.note(|entry| entry.model = Some(model.to_owned()));
    let admitted = Admitted { shared, control, guard, key: key.to_owned(), version: VERSION };
    Some(match verb {
        "predictLongRunning" => begin(&admitted, &site.resource(), model, body).await,
        _ => poll(&admitted, &site.resource(), body).await,
    })
}

async fn begin(call: &Admitted<'_>, resource: &str, model: &str, body: &Bytes) -> Result<Answer, ApiError> {
    let request = VideoRequest::read(model, body)?;
    let name =
        format!("{resource}/operations/{:08x}-0000-4000-8000-000000000000", call.shared.next_request());
    let answer = answering::embed(call, 0, |_| Ok(json!({"name": name}))).await?;
    lock(&call.shared.operations).insert(name, Operation { request, polls: 0 });
    Ok(answer)
}

async fn poll(call: &Admitted<'_>, resource: &str, body: &Bytes) -> Result<Answer, ApiError> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(ApiError::invalid("Invalid JSON payload received."));
    };
    only(&fields, &["operationName"])?;
    let name = fields.get("operationName").and_then(Value::as_str).unwrap_or_default();
    if !name.starts_with(&format!("{resource}/operations/")) {
        return Err(ApiError::invalid("The operation name does not belong to the endpoint."));
    }
    let status = {
        let mut operations = lock(&call.shared.operations);
        let operation = operations.get_mut(name);
        let operation =
            operation.ok_or_else(|| ApiError::not_found(format!("The operation {name} was not found.")))?;
        operation.polls += 1;
        operation.status(name)
    };
    let answer = answering::embed(call, 0, |_| Ok(status)).await?;
    call.guard.note(|entry| entry.billable = false);
    Ok(answer)
}

impl Operation {
    fn status(&self, name: &str) -> Value {
        let VideoRequest { prompt, seconds, count, bucket } = &self.request;
        if self.polls < 2 {
            return json!({"name": name});
        }
        if prompt.contains(BROKEN) {
            let error = json!({"code": 13, "message": "Video generation failed. Please try again later."});
            return json!({"name": name, "done": true, "error": error});
        }
        let kind = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse";
        if prompt.contains(FILTERED) {
            let reason = "Veo could not generate videos because the input violated Vertex AI's usage guidelines. If you \
                          think this was an error, send feedback. Support codes: 29310472";
            let response =
                json!({"@type": kind, "raiMediaFilteredCount": count, "raiMediaFilteredReasons": [reason]});
            return json!({"name": name, "done": true, "response": response});
        }
        let one = match bucket {
            Some(bucket) => json!({"gcsUri": format!("{bucket}/sample_0.mp4"), "mimeType": "video/mp4"}),
            None => {
                let bytes: Vec<u8> = prompt.bytes().cycle().take(seconds * SECOND_BYTES).collect();
                json!({"bytesBase64Encoded": STANDARD.encode(bytes), "mimeType": "video/mp4"})
            }
        };
        let videos: Vec<Value> = (0..*count).map(|_| one.clone()).collect();
        let response = json!({"@type": kind, "raiMediaFilteredCount": 0, "videos": videos});
        json!({"name": name, "done": true, "response": response})
    }
}

impl VideoRequest {
    fn read(model: &str, body: &Bytes) -> Result<Self, ApiError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(ApiError::invalid("Invalid JSON payload received."));
        };
        only(&fields, &["instances", "parameters", "labels"])?;
        let prompt = prompt(&fields)?;
        let parameters = object(fields.get("parameters"), "parameters")?;
        check_shapes(&parameters, PARAMETERS)?;
        let seconds = parameters.get("durationSeconds").and_then(Value::as_u64).unwrap_or(8);
        let lengths: &[u64] = if model == OLDER { &[5, 6, 7, 8] } else { &[4, 6, 8] };
        if !lengths.contains(&seconds) {
            let message = format!(
                "Unsupported output video duration {seconds} seconds, supported durations are {lengths:?}."
            );
            return Err(ApiError::invalid(message));
        }
        if let Some(name) = ["generateAudio", "resolution"]
            .iter()
            .find(|name| model == OLDER && parameters.contains_key(**name))
        {
            return Err(ApiError::invalid(format!("{name} is not supported by {model}.")));
        }
        if prompt.contains(FORBIDDEN) {
            return Err(ApiError::invalid(
                "The prompt could not be submitted. This prompt contains sensitive words that violate Google's \
                 Responsible AI practices. Try rephrasing the prompt. If you think this was an error, send feedback.",
            ));
        }
        let text = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            prompt,
            seconds: usize::try_from(seconds).unwrap_or_default(),
            count: parameters.get("sampleCount").and_then(Value::as_u64).unwrap_or(1),
            bucket: text("storageUri"),
        })
    }
}

/// The prompt, with a checksum of its image.
fn prompt(fields: &Fields) -> Result<String, ApiError> {
    let instances = fields.get("instances").and_then(Value::as_array).map(Vec::as_slice);
    let Some([Value::Object(instance)]) = instances else {
        return Err(ApiError::invalid("instances must hold one instance."));
    };
    only(instance, &["prompt", "image"])?;
    let prompt = instance.get("prompt").and_then(Value::as_str).unwrap_or_default();
    let image = object(instance.get("image"), "image")?;
    check_shapes(&image, IMAGE)?;
    if image.is_empty() {
        return match prompt {
            "" => Err(ApiError::invalid("Text prompt is empty.")),
            prompt => Ok(prompt.to_owned()),
        };
    }
    let text = |name: &str| image.get(name).and_then(Value::as_str).unwrap_or_default();
    match STANDARD.decode(text("bytesBase64Encoded")) {
        Ok(bytes) if !bytes.is_empty() && image.contains_key("mimeType") => {
            Ok(format!("{prompt} [{}]", crc32fast::hash(&bytes)))
        }
        _ => Err(ApiError::invalid("image must hold base64 encoded bytes and their mimeType.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_a_film_has_ranges_and_nothing_else_is_known() {
        let read = |model: &str, instance: &Value, parameters: &Value| {
            let body = json!({"instances": [instance], "parameters": parameters});
            VideoRequest::read(model, &Bytes::from(body.to_string())).map_err(|error| error.message)
        };
        let (newer, good) = (MODELS[0], json!({"prompt": "a tide"}));
        for (model, parameters, words) in [
            (newer, json!({"durationSeconds": 5}), "duration 5"),
            (newer, json!({"durationSeconds": "8"}), "durationSeconds"),
            (newer, json!({"durationSeconds": 12}), "durationSeconds"),
            (newer, json!({"aspectRatio": "1:1"}), "aspectRatio"),
            (newer, json!({"resolution": "4k"}), "resolution"),
            (newer, json!({"seconds": 8}), "Unknown name \"seconds\""),
            (OLDER, json!({"durationSeconds": 4}), "duration 4"),
            (OLDER, json!({"resolution": "720p"}), "resolution is not supported"),
            (OLDER, json!({"generateAudio": false}), "generateAudio is not supported"),
        ] {
            let message = read(model, &good, &parameters).err().unwrap_or_else(|| panic!("{parameters}"));
            assert!(message.contains(words), "{parameters}: {message}");
        }
        for instance in [
            json!({}),
            json!({"prompt": "a", "size": "1"}),
            json!({"prompt": "a", "image": {"bytesBase64Encoded": "AA=="}}),
            json!({"prompt": "a", "image": {"bytesBase64Encoded": "!", "mimeType": "image/png"}}),
            json!({"prompt": "a", "image": {"bytesBase64Encoded": "AA==", "mimeType": "image/gif"}}),
        ] {
            assert!(read(newer, &instance, &json!({})).is_err(), "{instance}");
        }
        assert_eq!(read(OLDER, &good, &json!({})).map(|request| request.seconds), Ok(8));
    }
}
