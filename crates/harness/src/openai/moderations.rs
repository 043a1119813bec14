//! `POST /v1/moderations`: single words flag a text, so that a test can predict the verdict.

use serde_json::{Map, Value, json};

use super::checks::{self, Shape};
use super::error::ApiError;
use super::request::{script, text};
use super::routes::OpenAiCall;
use crate::emulator::answering::{buffered, special_as};
use crate::emulator::service::Answer;

const FIELDS: &[(&str, Shape)] = &[("input", Shape::TextOrList), ("model", Shape::Text)];
const MODELS: &[&str] = &["omni-moderation-latest", "omni-moderation-2024-09-26"];

/// Each category, the word that flags it, and whether it applies to images.
#[rustfmt::skip]
const CATEGORIES: &[(&str, &str, bool)] = &[
    ("harassment", "idiot", false), ("harassment/threatening", "watch your back", false),
    ("hate", "vermin", false), ("hate/threatening", "exterminate", false), ("illicit", "shoplift", false),
    ("illicit/violent", "bomb", false), ("self-harm", "self-harm", true),
    ("self-harm/instructions", "how to self-harm", true), ("self-harm/intent", "want to self-harm", true),
    ("sexual", "explicit", true), ("sexual/minors", "explicit minor", false), ("violence", "kill", true),
    ("violence/graphic", "gore", true),
];

pub(crate) async fn answer(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    checks::fields(&fields, &[FIELDS], &call.shared.config.accepted_fields, ApiError::unknown_argument)?;
    let model = text(&fields, "model").unwrap_or_else(|| "omni-moderation-latest".to_owned());
    if !MODELS.contains(&model.as_str()) {
        return Err(ApiError::model_not_found(&model).param("model"));
    }
    let subjects = subjects(&fields)?;
    let behaviour = call.begin(&model, false, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let results: Vec<Value> = subjects.iter().map(ModeratedInput::verdict).collect();
    let body =
        json!({"id": format!("modr-emulator{:012}", call.number()), "model": model, "results": results});
    buffered(&body, 0, &behaviour)
}

/// One input with its own verdict.
#[derive(Default)]
struct ModeratedInput {
    text: String,
    image: bool,
}

/// Strings are judged separately, content parts together.
fn subjects(fields: &Map<String, Value>) -> Result<Vec<ModeratedInput>, ApiError> {
    let invalid = || ApiError::bad("'$.input' is invalid. Please check the API reference.").param("input");
    match fields.get("input") {
        None => Err(ApiError::missing("input")),
        Some(Value::String(text)) => Ok(vec![ModeratedInput { text: text.clone(), image: false }]),
        Some(Value::Array(list)) if list.is_empty() => Err(invalid()),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => Ok(list
            .iter()
            .map(|text| ModeratedInput { text: text.as_str().unwrap_or_default().to_owned(), image: false })
            .collect()),
        Some(Value::Array(list)) => {
            let mut whole = ModeratedInput::default();
            for (at, part) in list.iter().enumerate() {
                whole.add(&format!("input[{at}]"), part)?;
            }
            Ok(vec![whole])
        }
        Some(_) => Err(invalid()),
    }
}

impl ModeratedInput {
    fn add(&mut self, param: &str, part: &Value) -> Result<(), ApiError> {
        match part.get("type").and_then(Value::as_str) {
            Some("text") => {
                let text = part.get("text").and_then(Value::as_str);
                self.text.push_str(text.ok_or_else(|| ApiError::missing(&format!("{param}.text")))?);
                Ok(())
            }
            Some("image_url") => {
                let url = part.pointer("/image_url/url").and_then(Value::as_str);
                url.ok_or_else(|| ApiError::missing(&format!("{param}.image_url.url")))?;
                self.image = true;
                Ok(())
            }
            Some(other) => {
                Err(ApiError::wrong_value(&format!("{param}.type"), other, &["text", "image_url"]))
            }
            None => Err(ApiError::missing(&format!("{param}.type"))),
        }
    }

    fn verdict(&self) -> Value {
        let text = self.text.to_lowercase();
        let mut categories = Map::new();
        let mut scores = Map::new();
        let mut applied = Map::new();
        for (name, word, images) in CATEGORIES {
            let found = text.contains(word);
            let mut inputs = Vec::new();
            if !text.is_empty() {
                inputs.push("text");
            }
            if self.image && *images {
                inputs.push("image");
            }
            categories.insert((*name).to_owned(), Value::from(found));
            scores.insert((*name).to_owned(), Value::from(if found { 0.96875 } else { 0.0009765625 }));
            applied.insert((*name).to_owned(), Value::from(inputs));
        }
        json!({
            "flagged": categories.values().any(|found| found == &Value::Bool(true)), "categories": categories,
            "category_scores": scores, "category_applied_input_types": applied,
        })
    }
}
