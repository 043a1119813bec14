//! Shared by the translations for fal, Imagen, Veo and Bedrock: reporting of unsupported parameters, and JSON
//! writing.

use conversation::embed::unsayable;
use conversation::losses::DroppedFields;
use domain::{Fault, Grammar};
use json::members::Members;
use json::refusal::wrong_value;

const URL_FIX: &str = "Send \"b64_json\", or leave it out.";

/// The parameters that could not be translated.
pub(super) struct UnsupportedParams {
    pub losses: DroppedFields,
    pub is_lenient: bool,
}

impl UnsupportedParams {
    pub(super) fn new(client: Grammar, is_lenient: bool) -> Self {
        Self { losses: DroppedFields::new(client, Grammar::Hosted), is_lenient }
    }

    /// Reports a value that the upstream does not support, of a field that it has.
    pub(super) fn value(&mut self, name: &str, what: &str, fix: &'static str) -> Result<(), Box<Fault>> {
        if !self.is_lenient {
            return Err(unsayable(name.to_owned(), what, fix));
        }
        self.losses.drop_unknown(name, true);
        Ok(())
    }

    /// Reads `stream` and `response_format` for a model that returns image bytes in a buffered response.
    /// Streaming is accepted, as the gateway then wraps the response into events; URLs are not.
    pub(super) fn require_inline_bytes(&mut self, members: &mut Members<'_>) -> Result<(), Box<Fault>> {
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

/// An object whose member values are already JSON.
pub(super) fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

pub(super) fn wants_bytes(format: Option<&str>) -> Result<bool, Box<Fault>> {
    match format {
        None | Some("url") => Ok(false),
        Some("b64_json") => Ok(true),
        Some(_) => {
            let fix = "Send \"url\" or \"b64_json\", or leave it out.".to_owned();
            Err(wrong_value("response_format".to_owned(), "is no form of a picture", fix))
        }
    }
}
