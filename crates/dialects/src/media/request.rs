//! Reading a media request of OpenAI's API for a vendor with a format of its own: what the formats share, and
//! the report of what one of them lacks.

use conversation::embed::unsayable;
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use domain::{Fault, Grammar};
use json::Value;
use json::members::Members;
use json::refusal::wrong_value;

pub const PROMPT_FIX: &str = "Send a text.";
/// The value that leaves a choice to the model.
pub const AUTO: &str = "auto";
const URL_FIX: &str = "Send \"b64_json\", or leave it out.";
/// Fields that change the image unless they leave the choice to the model.
const CHOICES: [&str; 3] = ["quality", "background", "moderation"];
/// Fields that can be dropped without a worse image.
const HINTS: [&str; 1] = ["partial_images"];

/// The parameters that could not be translated.
pub struct UnsupportedParams {
    pub losses: DroppedFields,
    pub is_lenient: bool,
}

impl UnsupportedParams {
    #[must_use]
    pub fn new(client: Grammar, is_lenient: bool) -> Self {
        Self { losses: DroppedFields::of_vendor(client), is_lenient }
    }

    /// Reports a value that the upstream does not support, of a field that it has.
    ///
    /// # Errors
    /// The value may not be dropped.
    pub fn value(&mut self, name: &str, what: &str, fix: &'static str) -> Result<(), Box<Fault>> {
        if !self.is_lenient {
            return Err(unsayable(name.to_owned(), what, fix));
        }
        self.losses.drop_unknown(name, true);
        Ok(())
    }

    /// Reads `stream` and `response_format` for a model that returns image bytes in a buffered response.
    /// Streaming is accepted, as the gateway then wraps the response into events; URLs are not.
    ///
    /// # Errors
    /// One of them is invalid, or asks for a URL.
    pub fn require_inline_bytes(&mut self, members: &mut Members<'_>) -> Result<(), Box<Fault>> {
        members.boolean("stream")?;
        let format = members.text("response_format")?;
        wants_bytes(format.as_deref())?;
        match format.as_deref() {
            Some("url") => {
                let what = "asks for an address, and pictures of this model have none";
                self.value("response_format", what, URL_FIX)
            }
            _ => Ok(()),
        }
    }
}

/// Records whatever is left of a request as dropped.
///
/// # Errors
/// A field comes twice.
pub fn drop_rest(mut members: Members<'_>, losses: &mut DroppedFields) -> Result<(), Box<Fault>> {
    for name in CHOICES {
        let choice = members.take(name)?;
        if choice.is_some_and(|choice| !matches!(&choice, Value::String(text) if text.decode() == AUTO)) {
            losses.drop_unknown(name, true);
        }
    }
    for name in ["user", "safety_identifier"] {
        if members.take(name)?.is_some() {
            losses.drop_at(Feature::EndUser, name);
        }
    }
    for (name, is_present) in members.rest_with_presence() {
        if is_present {
            losses.drop_unknown(name.as_str(), !HINTS.contains(&name.as_str()));
        }
    }
    Ok(())
}

/// An object whose member values are already JSON.
#[must_use]
pub fn json_object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[must_use]
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A value as the client wrote it.
#[must_use]
pub fn raw_json(value: &Value<'_>, body: &[u8]) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Number(number) => (*number).to_owned(),
        Value::String(text) => json_string(&text.decode()),
        Value::Array(span) | Value::Object(span) => String::from_utf8_lossy(span.of(body)).into_owned(),
    }
}

/// Whether a `response_format` asks for the image itself.
///
/// # Errors
/// It is not one of OpenAI's.
pub fn wants_bytes(format: Option<&str>) -> Result<bool, Box<Fault>> {
    match format {
        None | Some("url") => Ok(false),
        Some("b64_json") => Ok(true),
        Some(_) => {
            let fix = "Send \"url\" or \"b64_json\", or leave it out.".to_owned();
            Err(wrong_value("response_format".to_owned(), "is no form of a picture", fix))
        }
    }
}

/// The width and the height that a `size` such as `1024x768` names.
#[must_use]
pub fn width_and_height(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
