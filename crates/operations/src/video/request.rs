//! A request for a video, read for a vendor with a format of its own.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conversation::embed::unsayable;
use conversation::form::Form;
use domain::{Fault, Grammar};
use framing::multipart::Part;
use json::Value;
use json::refusal::wrong_value;
use serde_json::{Map, Value as Json, json};

use super::vendor::RequestedVideo;
use crate::extra_fields::ExtraFields;
use crate::form_parts::parts;
use crate::spec::PROMPT_FIX;

const SECONDS_FIX: &str = "Send a whole number of seconds that the model makes, such as \"8\".";
const SIZE_FIX: &str = "Send 1280x720, 720x1280, 1920x1080 or 1080x1920, or leave it out.";
const REFERENCE: &str = "input_reference";
const REFERENCE_FIX: &str = "Send the picture as {\"image_url\": \"data:image/png;base64,...\"} in JSON, or in a form of less than 1 MiB.";
/// The form's name for a reference image that is given by URL.
const REFERENCE_URL: &str = "input_reference[image_url]";
/// Magic bytes of the image types that are accepted.
const PICTURES: [(&[u8], &str); 2] = [(b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg")];
/// The only resolution of many models, which have no parameter for it.
const LOW: &str = "720p";

/// A request for a new video.
#[derive(Debug)]
pub struct VideoRequest<'a> {
    pub prompt: String,
    pub seconds: Option<u64>,
    size: Option<String>,
    /// The URL of the first frame, which may hold its bytes.
    pub reference: Option<String>,
    pub extra: ExtraFields<'a>,
}

/// A size of OpenAI's API.
#[derive(Debug, PartialEq, Eq)]
pub struct VideoSize {
    pub name: &'static str,
    pub ratio: &'static str,
    pub resolution: &'static str,
}

const SIZES: [VideoSize; 4] = [
    VideoSize::DEFAULT,
    VideoSize { name: "720x1280", ratio: "9:16", resolution: LOW },
    VideoSize { name: "1920x1080", ratio: "16:9", resolution: "1080p" },
    VideoSize { name: "1080x1920", ratio: "9:16", resolution: "1080p" },
];

impl VideoSize {
    pub const DEFAULT: Self = Self { name: "1280x720", ratio: "16:9", resolution: LOW };

    /// It has the resolution that many models have alone, without a parameter for it.
    pub fn is_low(&self) -> bool {
        self.resolution == LOW
    }
}

impl<'a> VideoRequest<'a> {
    /// Reads the document of a request that was decoded before.
    pub fn read(client: Grammar, document: &'a [u8], is_lenient: bool) -> Result<Self, Box<Fault>> {
        let mut fields = ExtraFields::read(client, document, is_lenient)?;
        Ok(Self {
            prompt: fields.needed_text("prompt", PROMPT_FIX)?,
            seconds: seconds(&mut fields)?,
            size: fields.text("size")?,
            reference: reference(&mut fields)?,
            extra: fields,
        })
    }

    /// The size, if the client sent one and the model has it. Otherwise it is reported.
    ///
    /// # Errors
    /// The model does not have it, and it may not be dropped.
    pub fn size(
        &mut self,
        has: impl Fn(&VideoSize) -> bool,
    ) -> Result<Option<&'static VideoSize>, Box<Fault>> {
        let size = self.known_size().filter(|size| has(size));
        if size.is_none() && self.size.is_some() {
            let what = "asks for sides that videos of this model do not have";
            self.extra.unsupported("size", what, SIZE_FIX)?;
        }
        Ok(size)
    }

    fn known_size(&self) -> Option<&'static VideoSize> {
        SIZES.iter().find(|size| self.size.as_deref() == Some(size.name))
    }

    /// What the answer has to repeat of the request, for this model.
    pub fn requested(&self, model: &str) -> RequestedVideo {
        let size = self.known_size().map(|size| size.name);
        RequestedVideo::New { model: model.to_owned(), seconds: self.seconds, size }
    }
}

/// The requested length: a string, as OpenAI's SDK sends it, or a number.
fn seconds(fields: &mut ExtraFields<'_>) -> Result<Option<u64>, Box<Fault>> {
    let wanted = match fields.value("seconds")? {
        None => return Ok(None),
        Some(Value::String(text)) => text.decode().trim().parse().ok(),
        Some(value) => value.as_count(),
    };
    let wanted = wanted.filter(|seconds: &u64| *seconds > 0);
    wanted.map(Some).ok_or_else(|| {
        wrong_value("seconds".to_owned(), "is no whole number of seconds", SECONDS_FIX.to_owned())
    })
}

fn reference(fields: &mut ExtraFields<'_>) -> Result<Option<String>, Box<Fault>> {
    let Some(mut reference) = fields.members(REFERENCE)? else { return Ok(None) };
    let url = reference.text("image_url")?.filter(|_| reference.rest().next().is_none());
    url.map(Some).ok_or_else(unsupported_reference)
}

/// The reference image is given in a form that such models do not support.
pub fn unsupported_reference() -> Box<Fault> {
    unsayable(REFERENCE.to_owned(), "holds no PNG or JPEG whose bytes are in the request", REFERENCE_FIX)
}

/// The request as JSON: the body itself if it is not a form, as OpenAI's SDK sends it. A form has texts only:
/// `literals` are the fields whose values are parsed.
///
/// # Errors
/// The form is incomplete, or holds a file that is not an image.
pub fn request_document<'b>(
    form: Option<&Form>,
    body: &'b [u8],
    literals: &[&str],
) -> Result<Cow<'b, [u8]>, Box<Fault>> {
    let Some(form) = form else { return Ok(Cow::Borrowed(body)) };
    let mut fields = Map::new();
    for (part, content) in parts(form, body).ok_or_else(unsupported_reference)? {
        let (name, value) = member(part, content, literals)?;
        fields.insert(name, value);
    }
    Ok(Cow::Owned(Json::Object(fields).to_string().into_bytes()))
}

fn member(part: Part, content: &[u8], literals: &[&str]) -> Result<(String, Json), Box<Fault>> {
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
    let literal = || serde_json::from_str(&text).ok().filter(|value: &Json| !value.is_object());
    let value = if literals.contains(&&*part.name) { literal() } else { None };
    Ok((part.name, value.unwrap_or_else(|| text.into())))
}
