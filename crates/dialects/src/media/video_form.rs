//! Converts a multipart form that requests a video into the equivalent JSON document. OpenAI's SDK sends
//! forms only.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conversation::form::Form;
use domain::Fault;
use framing::multipart::{Found, Part, Scanner};
use serde_json::{Map, Value, json};

use super::veo::{REFERENCE, unsupported_reference};

/// The form's name for a reference image that is given by URL.
const REFERENCE_URL: &str = "input_reference[image_url]";
/// Fields whose values must be parsed from text, as forms have no other type.
const NO_TEXTS: [&str; 8] = [
    "seed",
    "generateAudio",
    "enhancePrompt",
    "generate_audio",
    "enhance_prompt",
    "prompt_optimizer",
    "auto_fix",
    "cfg_scale",
];
/// Magic bytes of the image types that are accepted.
const PICTURES: [(&[u8], &str); 2] = [(b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg")];

/// The request as JSON; the body itself if it is not a form.
///
/// # Errors
/// The form is incomplete, or holds a file that is not an image.
pub(super) fn document<'b>(form: Option<&Form>, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Box<Fault>> {
    let Some(form) = form else { return Ok(Cow::Borrowed(body)) };
    let mut fields = Map::new();
    for (part, content) in parts(form, body).ok_or_else(unsupported_reference)? {
        let (name, value) = member(part, content)?;
        fields.insert(name, value);
    }
    Ok(Cow::Owned(Value::Object(fields).to_string().into_bytes()))
}

/// Each part with its content; `None` if the form is incomplete.
pub(super) fn parts<'b>(form: &Form, body: &'b [u8]) -> Option<Vec<(Part, &'b [u8])>> {
    let (mut found, mut parts, mut open) = (Vec::new(), Vec::new(), None);
    let mut scanner = Scanner::new(&form.boundary).ok()?;
    if scanner.push(body, &mut found).is_err() || !scanner.is_over() {
        return None;
    }
    for found in found {
        match found {
            Found::Begin { part, from } => open = Some((part, from)),
            Found::End { until } => {
                let Some((part, from)) = open.take() else { continue };
                let range = usize::try_from(from).ok().zip(usize::try_from(until).ok());
                parts.push((part, range.and_then(|(from, until)| body.get(from..until)).unwrap_or_default()));
            }
            Found::Over => {}
        }
    }
    Some(parts)
}

fn member(part: Part, content: &[u8]) -> Result<(String, Value), Box<Fault>> {
    if part.is_file {
        let picture = PICTURES.iter().find(|(start, _)| part.name == REFERENCE && content.starts_with(start));
        let (_, media_type) = picture.ok_or_else(unsupported_reference)?;
        let url = format!("data:{media_type};base64,{}", STANDARD.encode(content));
        return Ok((part.name, json!({"image_url": url})));
    }
    let text = String::from_utf8_lossy(content);
    if part.name == REFERENCE_URL {
        return Ok((REFERENCE.to_owned(), json!({"image_url": text})));
    }
    let literal = || serde_json::from_str(&text).ok().filter(|value: &Value| !value.is_object());
    let value = if NO_TEXTS.contains(&&*part.name) { literal() } else { None };
    Ok((part.name, value.unwrap_or_else(|| text.into())))
}
