//! Images as Imagen generates them on Vertex AI. Phrases in the prompt decide which images a filter removes,
//! so that a test can predict it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Fields, unknown_name};
use crate::emulator::service::{Answer, Call};
use crate::gemini::answering;
use crate::gemini::error::ApiError;
use crate::gemini::service::Admitted;
use crate::members::put;
use crate::openai::checks::{self, Shape, Shape::*};
use crate::openai::pictures::PIXEL;

const MODELS: [&str; 3] =
    ["imagen-4.0-generate-001", "imagen-4.0-fast-generate-001", "imagen-3.0-generate-002"];
const VERSION: &str = "v1";
/// The default number of images.
const COUNT: u64 = 4;
/// A prompt with this is rejected before anything is generated.
const FORBIDDEN: &str = "forbidden";
/// A prompt with the first yields every second image, with the other none.
const HALF_FILTERED: &str = "half filtered";
const ALL_FILTERED: &str = "all filtered";

#[rustfmt::skip]
const PARAMETERS: &[(&str, Shape)] = &[
    ("addWatermark", Flag), ("aspectRatio", OneOf(&["1:1", "3:4", "4:3", "9:16", "16:9"])),
    ("enhancePrompt", Flag), ("guidanceScale", Decimal(0.0, 500.0)), ("includeRaiReason", Flag),
    ("includeSafetyAttributes", Flag),
    ("language", OneOf(&["auto", "en", "zh", "zh-CN", "zh-TW", "hi", "ja", "ko", "pt", "es"])),
    ("negativePrompt", Text), ("outputOptions", Object),
    ("personGeneration", OneOf(&[
        "dont_allow", "allow_adult", "allow_all", "DONT_ALLOW", "ALLOW_ADULT", "ALLOW_ALL",
    ])),
    ("safetySetting", OneOf(&[
        "block_low_and_above", "block_medium_and_above", "block_only_high", "block_none",
        "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE",
    ])),
    ("sampleCount", Integer(1, 4)), ("sampleImageSize", OneOf(&["1K", "2K"])),
    ("seed", Integer(1, 2_147_483_647)),
];
const OUTPUT: &[(&str, Shape)] =
    &[("compressionQuality", Integer(0, 100)), ("mimeType", OneOf(&["image/png", "image/jpeg"]))];

pub(super) fn makes(model: &str) -> bool {
    model.starts_with("imagen-")
}

/// Generates images; `None` where the model does not exist.
pub(super) async fn answer(
    call: &Call<'_>,
    key: &str,
    model: &str,
    body: &Bytes,
) -> Option<Result<Answer, ApiError>> {
    let Call { shared, control, guard, .. } = *call;
    if !MODELS.contains(&model) {
        return None;
    }
    guard.note(|entry| entry.model = Some(model.to_owned()));
    let admitted = Admitted { shared, control, guard, key: key.to_owned(), version: VERSION };
    Some(generate(&admitted, model, body).await)
}

async fn generate(call: &Admitted<'_>, model: &str, body: &Bytes) -> Result<Answer, ApiError> {
    let request = ImageRequest::read(model, body)?;
    let answer = answering::embed(call, 0, |_| Ok(request.answer())).await?;
    if request.unfiltered().next().is_none() {
        // Images that the filter removes are not charged.
        call.guard.note(|entry| entry.billable = false);
    }
    Ok(answer)
}

struct ImageRequest {
    prompt: String,
    count: u64,
    media: String,
    includes_reason: bool,
    is_enhanced: bool,
}

impl ImageRequest {
    fn read(model: &str, body: &Bytes) -> Result<Self, ApiError> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Err(ApiError::invalid("Invalid JSON payload received."));
        };
        only(&fields, &["instances", "parameters", "labels"])?;
        labels(&object(fields.get("labels"), "labels")?)?;
        let prompt = prompt(&fields)?;
        let parameters = object(fields.get("parameters"), "parameters")?;
        check_shapes(&parameters, PARAMETERS)?;
        let output = object(parameters.get("outputOptions"), "outputOptions")?;
        check_shapes(&output, OUTPUT)?;
        let is = |name: &str| parameters.get(name) == Some(&Value::Bool(true));
        let media = output.get("mimeType").and_then(Value::as_str).unwrap_or("image/png");
        if media != "image/jpeg" && output.contains_key("compressionQuality") {
            return Err(ApiError::invalid("compressionQuality is only supported for image/jpeg."));
        }
        if parameters.contains_key("sampleImageSize") && model.starts_with("imagen-3") {
            return Err(ApiError::invalid(format!("sampleImageSize is not supported by {model}.")));
        }
        // The watermark is on unless the request disables it.
        if parameters.contains_key("seed") && parameters.get("addWatermark") != Some(&Value::Bool(false)) {
            return Err(ApiError::invalid("Seed is not supported when watermark is enabled."));
        }
        if prompt.contains(FORBIDDEN) {
            return Err(ApiError::invalid(
                "Image generation failed with the following error: The prompt could not be submitted. This prompt \
                 contains sensitive words that violate Google's Responsible AI practices. Try rephrasing the prompt.",
            ));
        }
        Ok(Self {
            prompt,
            count: parameters.get("sampleCount").and_then(Value::as_u64).unwrap_or(COUNT),
            media: media.to_owned(),
            includes_reason: is("includeRaiReason"),
            is_enhanced: is("enhancePrompt"),
        })
    }

    /// The images that no filter removes.
    fn unfiltered(&self) -> impl Iterator<Item = u64> {
        let (none, half) = (self.prompt.contains(ALL_FILTERED), self.prompt.contains(HALF_FILTERED));
        (0..self.count).filter(move |at| !none && (!half || at % 2 == 0))
    }

    fn answer(&self) -> Value {
        let picture = |_| {
            let mut picture = json!({"mimeType": self.media, "bytesBase64Encoded": STANDARD.encode(PIXEL)});
            if self.is_enhanced {
                put(&mut picture, "prompt", format!("{}, in the evening light", self.prompt));
            }
            picture
        };
        let mut predictions: Vec<Value> = self.unfiltered().map(picture).collect();
        let missing = self.count - self.unfiltered().count() as u64;
        if missing > 0 && self.includes_reason {
            let what = match predictions.len() {
                0 => "All images were filtered out".to_owned(),
                _ => format!("{missing} images were filtered out"),
            };
            let reason = format!(
                "Unable to show generated images. {what} because they violated Vertex AI's usage guidelines. You will \
                 not be charged for blocked images. Try rephrasing the prompt. Support codes: 29310472"
            );
            predictions.push(json!({"raiFilteredReason": reason}));
        }
        match predictions.as_slice() {
            [] => json!({}),
            _ => json!({"predictions": predictions}),
        }
    }
}

fn prompt(fields: &Fields) -> Result<String, ApiError> {
    let instances = fields.get("instances").and_then(Value::as_array).map(Vec::as_slice);
    let Some([Value::Object(instance)]) = instances else {
        return Err(ApiError::invalid("instances must hold one instance."));
    };
    only(instance, &["prompt"])?;
    match instance.get("prompt").and_then(Value::as_str).filter(|prompt| !prompt.is_empty()) {
        Some(prompt) => Ok(prompt.to_owned()),
        None => Err(ApiError::invalid("Text prompt is empty.")),
    }
}

/// Labels, by which a bill is broken down.
fn labels(fields: &Fields) -> Result<(), ApiError> {
    match fields.iter().find(|(_, value)| !value.is_string()) {
        Some((name, _)) => Err(ApiError::invalid(format!("labels.{name} must be a text."))),
        None => Ok(()),
    }
}

pub(super) fn object(value: Option<&Value>, name: &str) -> Result<Fields, ApiError> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields.clone()),
        Some(_) => Err(ApiError::invalid(format!("{name} must be an object."))),
    }
}

pub(super) fn only(fields: &Fields, known: &[&str]) -> Result<(), ApiError> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown_name(name)),
        None => Ok(()),
    }
}

pub(super) fn check_shapes(fields: &Fields, shapes: &[(&str, Shape)]) -> Result<(), ApiError> {
    for (name, value) in fields {
        let Some((_, shape)) = shapes.iter().find(|(known, _)| known == name) else {
            return Err(unknown_name(name));
        };
        checks::shape(name, shape, value)
            .map_err(|error| ApiError::invalid(format!("{name}: {}", error.message)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &Value) -> Result<ImageRequest, String> {
        let body = json!({"instances": [{"prompt": "a tide, half filtered"}], "parameters": parameters});
        ImageRequest::read("imagen-3.0-generate-002", &Bytes::from(body.to_string()))
            .map_err(|error| error.message)
    }

    #[test]
    fn parameters_have_ranges_and_no_others_are_known() {
        for (wrong, words) in [
            (json!({"sampleCount": 5}), "sampleCount"),
            (json!({"sampleCount": 0}), "sampleCount"),
            (json!({"aspectRatio": "3:2"}), "aspectRatio"),
            (json!({"sampleImageSize": "2K"}), "sampleImageSize"),
            (json!({"outputOptions": {"mimeType": "image/webp"}}), "mimeType"),
            (json!({"outputOptions": {"compressionQuality": 80}}), "image/jpeg"),
            (json!({"outputOptions": {"quality": 80}}), "Unknown name \"quality\""),
            (json!({"seed": 7}), "watermark"),
            (json!({"n": 2}), "Unknown name \"n\""),
        ] {
            let message = read(&wrong).err().unwrap_or_else(|| panic!("{wrong} was taken"));
            assert!(message.contains(words), "{wrong}: {message}");
        }
        for body in [json!({"instances": []}), json!({"instances": [{"prompt": "a", "image": {}}]})] {
            assert!(
                ImageRequest::read("imagen-4.0-generate-001", &Bytes::from(body.to_string())).is_err(),
                "{body}"
            );
        }
    }

    #[test]
    fn what_a_filter_holds_back_has_a_reason_where_it_is_asked_for() {
        let count = |parameters: &Value| {
            let answer = read(parameters).unwrap().answer();
            let rows = answer["predictions"].as_array().unwrap().clone();
            let pictures = rows.iter().filter(|row| row.get("bytesBase64Encoded").is_some()).count();
            (pictures, rows.len() - pictures)
        };
        assert_eq!(count(&json!({})), (2, 0));
        assert_eq!(count(&json!({"includeRaiReason": true, "sampleCount": 3})), (2, 1));
    }
}
