//! Image requests in fal's wire format, and image responses of fal, Imagen and Bedrock, converted for the
//! client.

use bytes::Bytes;
use conversation::answer::{AnswerFacts, StreamFault};
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::target::TranslatedRequest;
use domain::{Fault, Grammar, Units, Usage, UsageSource};
use json::Value;
use json::members::Members;
use serde_json::{Value as Json, json};

use super::imagen::predictions;
use super::invoke_model::base64_images;
use super::sides::sides;
use super::words::{object, wants_bytes};
use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;

pub(super) const PROMPT: &str = "Send a text.";
/// The value that leaves a choice to the model.
pub(super) const AUTO: &str = "auto";
/// Fields that fal lacks, and that change the image unless they leave the choice to the model.
const CHOICES: [&str; 3] = ["quality", "background", "moderation"];
/// Fields that can be dropped without a worse image.
const HINTS: [&str; 1] = ["partial_images"];
const COMPLETED: &str = "image_generation.completed";
/// A billing megapixel: an image of 1024 by 1024 counts as one.
const PIXELS_OF_UNIT: u64 = 1_048_576;
const MICRO: u64 = 1_000_000;

/// Translates an image request for fal. `own` are the model's further parameters, which pass through
/// unchanged.
///
/// # Errors
/// The request is invalid, or needs something that fal lacks and that may not be dropped.
pub fn write_fal_images(
    client: Grammar,
    body: &[u8],
    own: &[&str],
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut members = Members::read(body, String::new())?;
    let mut losses = DroppedFields::new(client, Grammar::Hosted);
    let mut fields: Vec<(&str, String)> = Vec::new();
    members.take("model")?;
    fields.push(("prompt", json_string(&members.needed_text("prompt", PROMPT)?)));
    fields.extend(members.count("n")?.map(|count| ("num_images", count.to_string())));
    fields.extend(size(members.text("size")?).map(|size| ("image_size", size)));
    let wants_stream = members.boolean("stream")? == Some(true);
    // A stream's events carry the image itself, as they have no field for a URL.
    if wants_bytes(members.text("response_format")?.as_deref())? || wants_stream {
        fields.push(("sync_mode", "true".to_owned()));
    }
    fields.extend(members.text("output_format")?.map(|format| ("output_format", json_string(&format))));
    for name in own {
        fields.extend(members.take(name)?.map(|value| (*name, raw_json(&value, body))));
    }
    lose_rest(members, &mut losses)?;
    Ok(TranslatedRequest { body: Bytes::from(object(&fields)), dropped: losses.finish(is_lenient)? })
}

/// Records whatever is left of a request as dropped.
pub(super) fn lose_rest(mut members: Members<'_>, losses: &mut DroppedFields) -> Result<(), Box<Fault>> {
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

/// The width and height if the size is two numbers. Any other value is passed on, for the model to judge.
fn size(requested: Option<String>) -> Option<String> {
    let requested = requested.filter(|requested| requested != AUTO)?;
    Some(match sides(&requested) {
        Some((width, height)) => format!(r#"{{"width":{width},"height":{height}}}"#),
        None => json_string(&requested),
    })
}

pub(super) fn json_string(text: &str) -> String {
    Json::from(text).to_string()
}

pub(super) fn raw_json(value: &Value<'_>, body: &[u8]) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Number(number) => (*number).to_owned(),
        Value::String(text) => json_string(&text.decode()),
        Value::Array(span) | Value::Object(span) => String::from_utf8_lossy(span.of(body)).into_owned(),
    }
}

/// An image of a response.
#[derive(Debug)]
pub(super) struct Picture {
    /// Its URL, or the image itself in Base64.
    pub source: ImageSource,
    pub size: Option<(u64, u64)>,
    pub format: Option<String>,
    /// The prompt as the model rewrote it.
    pub revised: Option<String>,
}

#[derive(Debug)]
pub(super) enum ImageSource {
    Url(String),
    Bytes(String),
}

impl Picture {
    fn of(element: &[u8]) -> Option<Self> {
        let members = Members::of_answer(element)?;
        let url = members.find_text("url")?.into_owned();
        let source = match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
            Some((_, bytes)) => ImageSource::Bytes(bytes.to_owned()),
            None => ImageSource::Url(url),
        };
        let sides = members.find_count("width").zip(members.find_count("height"));
        let format = members.find_text("content_type");
        let format = format.and_then(|format| format.strip_prefix("image/").map(str::to_owned));
        Some(Self {
            source,
            size: sides.filter(|(width, height)| *width > 0 && *height > 0),
            format,
            revised: None,
        })
    }

    pub(super) fn datum(&self) -> (&'static str, &str) {
        match &self.source {
            ImageSource::Url(url) => ("url", url),
            ImageSource::Bytes(bytes) => ("b64_json", bytes),
        }
    }

    fn to_json(&self) -> Json {
        let (name, datum) = self.datum();
        match &self.revised {
            Some(prompt) => json!({name: datum, "revised_prompt": prompt}),
            None => json!({name: datum}),
        }
    }
}

/// The images of a response; `None` if it has no list of images.
pub(super) fn pictures(answer: &Members<'_>) -> Result<Option<Vec<Picture>>, StreamFault> {
    let elements = match (answer.find_array("images"), answer.find_object("image")) {
        (Some(_), _) => match base64_images(answer)? {
            Some(pictures) => return Ok(Some(pictures)),
            None => answer.find_elements("images"),
        },
        (None, Some(one)) => vec![one],
        (None, None) => return predictions(answer),
    };
    Ok(elements.into_iter().map(Picture::of).collect())
}

/// The usage of a response. Billed units are estimated from the pixels if every image reports its size; a
/// caller that gets the units from a response header ignores the estimate.
pub(super) fn usage_of(pictures: &[Picture]) -> Usage {
    let units = |picture: &Picture| {
        let (width, height) = picture.size?;
        Some(width.saturating_mul(height).div_ceil(PIXELS_OF_UNIT).saturating_mul(MICRO))
    };
    let billed = pictures.iter().map(units).sum::<Option<u64>>().unwrap_or(0);
    let units = Units { images: pictures.len() as u64, billed, ..Units::default() };
    Usage { units, source: UsageSource::Provider, ..Usage::default() }
}

/// Reads a buffered response, and writes it as an OpenAI image response.
pub(crate) fn buffered_answer(answer_path: &AnswerPath, body: &Bytes) -> Result<BufferedAnswer, StreamFault> {
    let text = chat::operations::document(body)?;
    let Some(members) = Members::of_answer(text) else { return Err(StreamFault::Broken("bad_json")) };
    let Some(pictures) = pictures(&members)? else { return Err(StreamFault::Broken("not_an_answer")) };
    let data: Vec<Json> = pictures.iter().map(Picture::to_json).collect();
    let mut answer = json!({"created": answer_path.created_unix_s, "data": data});
    if let (Some(answer), Some(first)) = (answer.as_object_mut(), pictures.first()) {
        let size = first.size.map(|(width, height)| ("size", format!("{width}x{height}")));
        let format = first.format.clone().map(|format| ("output_format", format));
        answer.extend(size.into_iter().chain(format).map(|(name, value)| (name.to_owned(), value.into())));
    }
    let facts = AnswerFacts { usage: Some(usage_of(&pictures)), content_bytes: 0 };
    Ok(BufferedAnswer::plain(Bytes::from(answer.to_string()), facts))
}

/// A stream of fal's: events without images report progress, and the last event with images is the result. A
/// buffered response counts as that one event.
#[derive(Debug)]
pub(super) struct HostedImages {
    created_unix_s: u64,
    /// The response is one document, not a stream.
    pub is_whole: bool,
    made: Option<Vec<Picture>>,
}

impl HostedImages {
    pub(super) const fn new(created_unix_s: u64) -> Self {
        Self { created_unix_s, is_whole: false, made: None }
    }

    /// Takes one event.
    pub(super) fn take(&mut self, answer: &Members<'_>) -> Result<(), StreamFault> {
        if answer.find_text("error_type").is_some() || answer.find_text("detail").is_some() {
            return Err(chat::upstream_error(answer.bytes()));
        }
        self.made = pictures(answer)?.or(self.made.take());
        Ok(())
    }

    /// Writes the end of the client's stream, one event per image. Returns `None` if there are no images.
    pub(super) fn write(&mut self, out: &mut Vec<Bytes>) -> Option<Usage> {
        let made = self.made.take()?;
        let mut bytes = Vec::new();
        for picture in &made {
            let (name, datum) = picture.datum();
            let size = picture.size.map_or(AUTO.to_owned(), |(width, height)| format!("{width}x{height}"));
            let event = json!({
                "type": COMPLETED,
                name: datum,
                "created_at": self.created_unix_s,
                "size": size,
                "quality": AUTO,
                "background": AUTO,
                "output_format": picture.format,
            });
            bytes.extend_from_slice(format!("event: {COMPLETED}\ndata: {event}\n\n").as_bytes());
        }
        out.push(Bytes::from(bytes));
        Some(usage_of(&made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate(body: &str, is_lenient: bool) -> Result<(String, Vec<String>), Box<Fault>> {
        let translated =
            write_fal_images(Grammar::Chat, body.as_bytes(), &["seed", "guidance_scale"], is_lenient)?;
        Ok((String::from_utf8(translated.body.to_vec()).unwrap(), translated.dropped))
    }

    #[test]
    fn common_words_become_those_of_hosted_models() {
        let (body, dropped) = translate(
            r#"{"model":"m","prompt":"a \"tide\"","n":2,"size":"640x480","response_format":"b64_json","seed":18446744073709551615,
            "guidance_scale":3.50,"output_format":"jpeg","quality":"auto","background":null,"user":"u","stream":false}"#,
            false,
        )
        .unwrap();
        let expected = r#"{"prompt":"a \"tide\"","num_images":2,"image_size":{"width":640,"height":480},"sync_mode":true,"output_format":"jpeg","seed":18446744073709551615,"guidance_scale":3.50}"#;
        assert_eq!((body.as_str(), dropped), (expected, vec!["user".to_owned()]));
        let (body, dropped) =
            translate(r#"{"prompt":"a","size":"auto","response_format":"url"}"#, false).unwrap();
        assert_eq!((body.as_str(), dropped), (r#"{"prompt":"a"}"#, Vec::new()));
        let (body, _) = translate(r#"{"prompt":"a","size":"square_hd"}"#, false).unwrap();
        assert_eq!(body, r#"{"prompt":"a","image_size":"square_hd"}"#);
    }

    #[test]
    fn what_has_no_word_is_refused_or_dropped_by_name() {
        for (more, name) in [
            (r#""quality":"high""#, "quality"),
            (r#""background":"transparent""#, "background"),
            (r#""style":"vivid""#, "style"),
            (r#""num_images":9"#, "num_images"),
        ] {
            let body = format!(r#"{{"prompt":"a",{more}}}"#);
            let fault = translate(&body, false).unwrap_err();
            assert_eq!((fault.code, fault.param.as_deref()), ("unsupported_parameter", Some(name)));
            assert_eq!(
                translate(&body, true).unwrap(),
                (r#"{"prompt":"a"}"#.to_owned(), vec![name.to_owned()])
            );
        }
        assert_eq!(translate(r#"{"prompt":"a","partial_images":1}"#, false).unwrap().1, ["partial_images"]);
        let fault = translate(r#"{"prompt":"a","response_format":"x"}"#, true).unwrap_err();
        assert_eq!(fault.param.as_deref(), Some("response_format"));
    }

    #[test]
    fn pixels_are_counted_up_to_whole_units_and_only_where_all_are_told() {
        let count = |answer: &str| {
            let members = Members::of_answer(answer.as_bytes()).unwrap();
            let usage = usage_of(&pictures(&members).unwrap().unwrap());
            (usage.units.images, usage.units.billed)
        };
        let sized = r#"{"url":"u","width":1024,"height":1024}"#;
        assert_eq!(
            count(&format!(r#"{{"images":[{sized},{{"url":"v","width":512,"height":512}}]}}"#)),
            (2, 2_000_000)
        );
        assert_eq!(count(&format!(r#"{{"images":[{sized},{{"url":"v"}}]}}"#)), (2, 0));
        assert_eq!(count(&format!(r#"{{"image":{sized}}}"#)), (1, 1_000_000));
        let wide = r#"{"images":[{"url":"u","width":1025,"height":1024}]}"#;
        assert_eq!(count(wide), (1, 2_000_000));
        let none = Members::of_answer(br#"{"images":[{"url":7}]}"#).unwrap();
        assert!(pictures(&none).unwrap().is_none());
    }
}
