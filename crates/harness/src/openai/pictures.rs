//! `POST /v1/images/generations`, `/edits` and `/variations`: images of one pixel; of uploaded images a
//! checksum over their bytes, so that a test can verify them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::checks::{Shape, Shape::*};
use super::error::ApiError;
use super::flavour::Flavour;
use super::forms::{self, Field};
use super::media::{bill, check, model};
use super::request::{flag, is_given, script, text};
use super::routes::OpenAiCall;
use super::{stream, tokens};
use crate::emulator::answering::{buffered, special_as, streamed};
use crate::emulator::frames::{self, Event};
use crate::emulator::service::{Answer, unix_seconds};
use crate::emulator::{Kind, PartRole, UsageMode};
use crate::members::join;

/// Every field of OpenAI's own API, as its SDK lists them.
#[rustfmt::skip]
const IMAGES: &[(&str, Shape)] = &[
    ("prompt", Text), ("model", Text), ("background", OneOf(&["transparent", "opaque", "auto"])),
    ("complexity", OneOf(&["low", "medium", "high"])), ("frame_count", Integer(1, i64::MAX)),
    ("frame_duration_ms", Integer(1, i64::MAX)), ("moderation", OneOf(&["low", "auto"])),
    ("n", Integer(1, 10)), ("output_compression", Integer(0, 100)),
    ("output_format", OneOf(&["png", "webp", "jpeg", "gif", "svg"])), ("partial_images", Integer(0, 3)),
    ("quality", OneOf(&["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"])),
    ("response_format", OneOf(&["url", "b64_json"])), ("safety_identifier", Text), ("size", Text),
    ("stream", Flag), ("style", OneOf(&["vivid", "natural"])), ("user", Text),
];
#[rustfmt::skip]
const IMAGES_TOGETHER: &[(&str, Shape)] = &[
    ("prompt", Text), ("model", Text), ("disable_safety_checker", Flag),
    ("guidance_scale", Decimal(0.0, f64::MAX)), ("height", Integer(1, i64::MAX)), ("image_loras", List),
    ("image_url", Text), ("n", Integer(1, 4)), ("negative_prompt", Text),
    ("output_format", OneOf(&["jpeg", "png"])), ("reference_images", List),
    ("response_format", OneOf(&["base64", "url"])), ("seed", Integer(0, i64::MAX)),
    ("steps", Integer(1, i64::MAX)), ("width", Integer(1, i64::MAX)),
];
/// The form fields of an edit, apart from its files.
#[rustfmt::skip]
const EDITS: &[(&str, Shape)] = &[
    ("prompt", Text), ("model", Text), ("background", OneOf(&["transparent", "opaque", "auto"])),
    ("complexity", OneOf(&["low", "medium", "high"])), ("frame_count", Integer(2, 16)),
    ("frame_duration_ms", Integer(1, i64::MAX)), ("input_fidelity", OneOf(&["high", "low"])),
    ("n", Integer(1, 10)), ("output_compression", Integer(0, 100)),
    ("output_format", OneOf(&["png", "webp", "jpeg", "gif", "svg"])), ("partial_images", Integer(0, 3)),
    ("quality", OneOf(&["low", "medium", "high", "xhigh", "max", "auto", "standard"])),
    ("response_format", OneOf(&["url", "b64_json"])), ("safety_identifier", Text), ("size", Text),
    ("stream", Flag), ("user", Text),
];
const VARIATIONS: &[(&str, Shape)] = &[
    ("model", Text),
    ("n", Integer(1, 10)),
    ("response_format", OneOf(&["url", "b64_json"])),
    ("size", OneOf(&["256x256", "512x512", "1024x1024"])),
    ("user", Text),
];
const FILES_OF_EDITS: &[&str] = &["image", "image[]", "mask", "markup"];
const FILES_OF_VARIATIONS: &[&str] = &["image"];

/// The only model with its own image parameters, and the only one that makes variations.
const OLD: &str = "dall-e-2";
const OLD_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
const FILE_BYTES_MAX: usize = 50 * 1024 * 1024;
const PICTURES_MAX: usize = 16;
/// Input tokens per uploaded image.
const SEEN_TOKENS: u64 = 323;
const SEEN_TOKENS_HIGH: u64 = 4_483;

/// A PNG of one pixel.
pub(crate) const PIXEL: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 31,
    21, 196, 137, 0, 0, 0, 13, 73, 68, 65, 84, 120, 218, 99, 252, 207, 192, 80, 15, 0, 4, 133, 1, 128, 132,
    169, 140, 33, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

/// The requested image.
struct Picture {
    prompt_tokens: u64,
    count: u64,
    tokens: u64,
    size: String,
    quality: String,
    by_url: bool,
    /// Input tokens of the uploaded images.
    seen: u64,
    /// A checksum text over the uploaded images, so that a lost or changed byte is noticed.
    digest: String,
    /// The event types of a partial image and of the last event.
    kinds: [&'static str; 2],
}

impl Picture {
    fn of(fields: &Map<String, Value>) -> Self {
        let quality = text(fields, "quality").unwrap_or_else(|| "low".to_owned());
        let tokens = match quality.as_str() {
            "high" => 4_160,
            "medium" | "auto" => 1_056,
            _ => 272,
        };
        Self {
            prompt_tokens: tokens::count(&text(fields, "prompt").unwrap_or_default()),
            count: fields.get("n").and_then(Value::as_u64).unwrap_or(1),
            tokens,
            size: text(fields, "size").unwrap_or_else(|| "1024x1024".to_owned()),
            quality,
            by_url: text(fields, "response_format").as_deref() == Some("url"),
            seen: 0,
            digest: String::new(),
            kinds: ["image_generation.partial_image", "image_generation.completed"],
        }
    }

    fn usage(&self, count: u64) -> Value {
        let made = self.tokens * count;
        json!({
            "input_tokens": self.prompt_tokens + self.seen,
            "input_tokens_details": {"image_tokens": self.seen, "text_tokens": self.prompt_tokens},
            "output_tokens": made, "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
            "total_tokens": self.prompt_tokens + self.seen + made,
        })
    }

    fn file(&self) -> String {
        STANDARD.encode([PIXEL, self.digest.as_bytes()].concat())
    }

    fn one(&self, at: u64) -> (&'static str, Value) {
        if self.by_url {
            ("url", format!("https://images.example/{at}.png").into())
        } else {
            ("b64_json", self.file().into())
        }
    }
}

pub(crate) async fn images(call: &OpenAiCall<'_>) -> Result<Answer, ApiError> {
    let fields = call.fields()?;
    let model = model(call, &fields, Kind::Image)?;
    let is_together = call.flavour == Flavour::Together;
    check(call, &fields, &[if is_together { IMAGES_TOGETHER } else { IMAGES }], &["prompt"])?;
    let is_vendors = is_vendors(call);
    // OpenAI's newer models always return the image itself.
    if is_vendors && let Some(name) = ["response_format", "style"].iter().find(|name| is_given(&fields, name))
    {
        return Err(ApiError::unknown_parameter(name));
    }
    let wants_stream = flag(&fields, "stream");
    if is_given(&fields, "partial_images") && !wants_stream {
        return Err(
            ApiError::bad("'partial_images' is only supported with 'stream'.").param("partial_images")
        );
    }
    let picture = Picture::of(&fields);
    let behaviour = call.begin(&model.id, wants_stream, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    bill(call, picture.prompt_tokens);
    if wants_stream != behaviour.wrong_form {
        let partial = fields.get("partial_images").and_then(Value::as_u64).unwrap_or(0);
        return streamed(
            frames::parts(picture.events(partial), &behaviour, || stream::error_event(&behaviour)),
            &behaviour,
        );
    }
    let view = if is_together {
        picture.together_view(call.number(), &model.id)
    } else {
        picture.view(is_vendors && behaviour.usage != UsageMode::Missing)
    };
    buffered(&view, 0, &behaviour)
}

impl Picture {
    fn view(&self, with_usage: bool) -> Value {
        let row = |(name, value): (&str, Value)| json!({name: value});
        let data: Vec<Value> = (0..self.count).map(|at| row(self.one(at))).collect();
        let mut view = json!({"created": unix_seconds(), "data": data});
        if with_usage {
            let more = json!({
                "background": "opaque", "output_format": "png", "quality": self.quality, "size": self.size,
                "usage": self.usage(self.count),
            });
            join(&mut view, more);
        }
        view
    }

    fn together_view(&self, number: u64, model: &str) -> Value {
        let data: Vec<Value> = (0..self.count)
            .map(|at| {
                let (name, value) = self.one(at);
                json!({"index": at, "type": name, name: value})
            })
            .collect();
        json!({"id": format!("img-{number}"), "object": "list", "model": model, "data": data})
    }

    fn events(&self, partial: u64) -> Vec<Event> {
        let [partial_kind, last_kind] = self.kinds;
        let event = |kind: &'static str, more: Value, role: PartRole| {
            let mut data = json!({
                "type": kind, "b64_json": self.file(), "created_at": unix_seconds(), "size": self.size,
                "quality": self.quality, "background": "opaque", "output_format": "png",
            });
            join(&mut data, more);
            Event { name: Some(kind), data: data.to_string(), tokens: 0, role }
        };
        let mut events = Vec::new();
        for at in 0..partial {
            let more = json!({"partial_image_index": at});
            events.push(event(partial_kind, more, PartRole::Content));
        }
        for _ in 0..self.count {
            let more = json!({"usage": self.usage(1)});
            events.push(event(last_kind, more, PartRole::Finish));
        }
        events
    }
}

/// The operation on an uploaded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Edit,
    Vary,
}

pub(crate) async fn change(call: &OpenAiCall<'_>, change: Change) -> Result<Answer, ApiError> {
    let (table, files) = match change {
        Change::Edit => (EDITS, FILES_OF_EDITS),
        Change::Vary => (VARIATIONS, FILES_OF_VARIATIONS),
    };
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).chain(files.iter().copied()).collect();
    let parts = forms::read(call, &known)?;
    let (files, texts): (Vec<Field>, Vec<Field>) =
        parts.into_iter().partition(|part| files.contains(&part.name.as_str()));
    let fields: Map<String, Value> = texts.iter().map(|part| form_value(table, part)).collect();
    let model = model(call, &fields, Kind::Image)?;
    let is_old = model.id == OLD;
    check(call, &fields, &[table], if change == Change::Edit { &["prompt"] } else { &[] })?;
    check_wishes(call, &fields, change, is_old)?;
    check_files(&files, is_old)?;
    let wants_stream = flag(&fields, "stream");
    let behaviour = call.begin(&model.id, wants_stream, script(&fields).as_deref()).await?;
    if let Some(answer) = special_as(call.flavour, call.guard, &behaviour)? {
        return Ok(answer);
    }
    let picture = Picture::with(&fields, &files);
    bill(call, picture.prompt_tokens + picture.seen);
    if wants_stream != behaviour.wrong_form {
        let partial = fields.get("partial_images").and_then(Value::as_u64).unwrap_or(0);
        let events = frames::parts(picture.events(partial), &behaviour, || stream::error_event(&behaviour));
        return streamed(events, &behaviour);
    }
    let counts = is_vendors(call) && !is_old && behaviour.usage != UsageMode::Missing;
    buffered(&picture.view(counts), 0, &behaviour)
}

/// A form part's value, parsed by the shape of its field if that is not text.
fn form_value(table: &[(&str, Shape)], part: &Field) -> (String, Value) {
    let text = String::from_utf8_lossy(&part.value).into_owned();
    let shape = table.iter().find(|(name, _)| *name == part.name).map(|(_, shape)| shape);
    let value = match shape {
        Some(Integer(..)) => text.parse::<i64>().ok().map(Value::from),
        Some(Flag) => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    (part.name.clone(), value.unwrap_or(Value::String(text)))
}

fn is_vendors(call: &OpenAiCall<'_>) -> bool {
    matches!(call.flavour, Flavour::OpenAi | Flavour::Azure)
}

/// Checks which parameters the model accepts.
fn check_wishes(
    call: &OpenAiCall<'_>,
    fields: &Map<String, Value>,
    change: Change,
    is_old: bool,
) -> Result<(), ApiError> {
    if change == Change::Vary && is_vendors(call) && !is_old {
        let message = "Value must be 'dall-e-2'.";
        return Err(ApiError::bad(message).at("model", "invalid_value"));
    }
    let others: &[&str] = if is_old {
        &["stream", "partial_images", "input_fidelity", "background", "output_format", "quality"]
    } else {
        &["response_format"]
    };
    if is_vendors(call)
        && let Some(name) = others.iter().find(|name| is_given(fields, name))
    {
        return Err(ApiError::unknown_parameter(name));
    }
    if is_given(fields, "partial_images") && !flag(fields, "stream") {
        let message = "'partial_images' is only supported with 'stream'.";
        return Err(ApiError::bad(message).param("partial_images"));
    }
    Ok(())
}

fn check_files(files: &[Field], is_old: bool) -> Result<(), ApiError> {
    let of = |name: &str| files.iter().filter(|file| file.name == name).count();
    let pictures = of("image") + of("image[]");
    if pictures == 0 {
        return Err(ApiError::missing("image"));
    }
    if pictures > if is_old { 1 } else { PICTURES_MAX } || of("image") > 0 && of("image[]") > 0 {
        return Err(ApiError::bad("Too many images.").at("image", "array_above_max_length"));
    }
    if of("mask") > 0 && of("markup") > 0 {
        return Err(ApiError::bad("'markup' cannot be combined with 'mask'.").param("markup"));
    }
    for file in files {
        let is_overlay = matches!(file.name.as_str(), "mask" | "markup");
        let taken: &[&str] =
            if is_old || is_overlay { &["image/png"] } else { &["image/png", "image/jpeg", "image/webp"] };
        let media = file.media.as_deref().filter(|_| file.filename.is_some()).unwrap_or("text/plain");
        if !taken.contains(&media) {
            let message = format!(
                "Invalid file '{}': unsupported mimetype ('{media}'). Supported file formats are {taken:?}.",
                file.name
            );
            return Err(ApiError::bad(message).at(&file.name, "unsupported_file_mimetype"));
        }
        let most = if is_old || is_overlay { OLD_FILE_BYTES_MAX } else { FILE_BYTES_MAX };
        if file.value.is_empty() || file.value.len() > most {
            let message = format!("Invalid file '{}': it has {} bytes.", file.name, file.value.len());
            return Err(ApiError::bad(message).at(&file.name, "invalid_image_file"));
        }
    }
    Ok(())
}

impl Picture {
    /// An image made from uploaded images.
    fn with(fields: &Map<String, Value>, files: &[Field]) -> Self {
        let each = if text(fields, "input_fidelity").as_deref() == Some("high") {
            SEEN_TOKENS_HIGH
        } else {
            SEEN_TOKENS
        };
        let digest: Vec<String> = files
            .iter()
            .map(|file| {
                format!("{}: {} bytes of {:08x}", file.name, file.value.len(), crc32fast::hash(&file.value))
            })
            .collect();
        Self {
            seen: each * files.len() as u64,
            digest: digest.join("; "),
            kinds: ["image_edit.partial_image", "image_edit.completed"],
            ..Self::of(fields)
        }
    }
}
