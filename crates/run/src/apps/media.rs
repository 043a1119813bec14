//! The requests of apps that are no conversation, in OpenAI's format, which the pipeline translates.

use domain::{Operation, TraceId};
use framing::form_writer::FormWriter;
use serde_json::{Map, Value, json};

use super::Kind;
use super::prepare::{Files, json_call};
use super::{AppCall, Payload};
use crate::document::Raw;
use crate::input::{DocumentInput, InputError};
use crate::refusal::Refusal;

/// Fields of an input that a request has, by the input's name and the request's.
type Renamed = &'static [(&'static str, &'static str)];

const IMAGE: Renamed = &[
    ("prompt", "prompt"),
    ("n", "n"),
    ("size", "size"),
    ("aspect_ratio", "aspect_ratio"),
    ("quality", "quality"),
    ("background", "background"),
    ("style", "style"),
    ("output_format", "output_format"),
    ("output_compression", "output_compression"),
    ("negative_prompt", "negative_prompt"),
    ("guidance_scale", "guidance_scale"),
    ("steps", "steps"),
    ("seed", "seed"),
];
const SPEECH: Renamed = &[
    ("text", "input"),
    ("voice", "voice"),
    ("instructions", "instructions"),
    ("speed", "speed"),
    ("format", "response_format"),
    ("language", "language"),
];

fn fields(input: &Value, renamed: Renamed) -> Map<String, Value> {
    let stated = renamed.iter().filter_map(|(own, name)| {
        let value = input.get(own).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    });
    stated.collect()
}

fn with_model(app: &str, mut fields: Map<String, Value>) -> Value {
    fields.insert("model".to_owned(), json!(app));
    Value::Object(fields)
}

pub(super) fn embedding(app: &str, input: &Value) -> AppCall {
    let texts = ["text", "texts", "input"].iter().find_map(|name| input.get(name)).cloned();
    let mut body = fields(input, &[("dimensions", "dimensions"), ("input_type", "input_type")]);
    body.insert("input".to_owned(), texts.unwrap_or_default());
    body.insert("encoding_format".to_owned(), json!("float"));
    json_call(Kind::Embedding, Operation::Embed, &with_model(app, body))
}

pub(super) fn moderation(app: &str, input: &Value) -> AppCall {
    json_call(Kind::Moderation, Operation::Moderate, &with_model(app, fields(input, &[("text", "input")])))
}

pub(super) fn rerank(app: &str, input: &Value) -> AppCall {
    let body = fields(input, &[("query", "query"), ("documents", "documents"), ("top_n", "top_n")]);
    json_call(Kind::Rerank, Operation::Rerank, &with_model(app, body))
}

pub(super) fn speech(app: &str, input: &Value) -> AppCall {
    json_call(Kind::Speech, Operation::Speech, &with_model(app, fields(input, SPEECH)))
}

pub(super) async fn image(
    app: &str,
    files: Files<'_>,
    input: &Value,
    trace: TraceId,
) -> Result<AppCall, Refusal> {
    let named = |field| DocumentInput::all(input, field, "/input");
    let inputs: Vec<DocumentInput> = [named("image"), named("images")].concat();
    let body = fields(input, IMAGE);
    if inputs.is_empty() {
        return Ok(json_call(Kind::Image, Operation::Images, &with_model(app, body)));
    }
    let mask = named("mask");
    let (pictures, masks) = (pictures(files, &inputs).await?, self::pictures(files, &mask).await?);
    let mut form = FormWriter::new(&trace.to_string());
    form.text("model", app);
    for (name, value) in &body {
        form.text(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    let field = if pictures.len() == 1 { "image" } else { "image[]" };
    for picture in &pictures {
        put(&mut form, field, picture);
    }
    for picture in &masks {
        put(&mut form, "mask", picture);
    }
    Ok(form_call(Kind::Image, Operation::ImageEdits, form))
}

/// Pictures alone. Of those that are left out a form has one with nothing in it.
async fn pictures(files: Files<'_>, inputs: &[DocumentInput]) -> Result<Vec<Raw>, Refusal> {
    let found = files.all(inputs).await?;
    let other = found.iter().zip(inputs).find(|(file, _)| !file.is_picture());
    if let Some((file, input)) = other {
        let message =
            format!("is a file of type {}, and a PNG, JPEG, GIF or WebP picture is needed", file.mime);
        return Err(Refusal::Input(vec![InputError::new(input.pointer.clone(), message)]));
    }
    let is_left_out = found.is_empty() && !inputs.is_empty();
    Ok(if is_left_out { vec![Raw::default()] } else { found })
}

pub(super) async fn transcription(
    app: &str,
    files: Files<'_>,
    input: &Value,
    trace: TraceId,
) -> Result<AppCall, Refusal> {
    let inputs = DocumentInput::all(input, "audio", "/input");
    let found = files.all(&inputs).await?;
    for (file, input) in found.iter().zip(&inputs) {
        if !is_sound(&file.mime) {
            let message = format!("is a file of type {}, and a recording is needed", file.mime);
            return Err(Refusal::Input(vec![InputError::new(input.pointer.clone(), message)]));
        }
    }
    let file = found.into_iter().next().unwrap_or_default();
    let mut form = FormWriter::new(&trace.to_string());
    form.text("model", app);
    for name in ["language", "prompt", "temperature"] {
        if let Some(value) = input.get(name).filter(|value| !value.is_null()) {
            form.text(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    if let Some(times) = input.get("timestamps").and_then(Value::as_str) {
        form.text("response_format", "verbose_json");
        form.text("timestamp_granularities[]", times);
    }
    put(&mut form, "file", &file);
    let is_translated = input.get("translate") == Some(&Value::Bool(true));
    let operation = if is_translated { Operation::Translate } else { Operation::Transcribe };
    Ok(form_call(Kind::Transcription, operation, form))
}

/// Films hold sound too. What says nothing of itself is left to the provider.
fn is_sound(mime: &str) -> bool {
    mime.starts_with("audio/")
        || mime.starts_with("video/")
        || matches!(mime, "application/octet-stream" | "binary/octet-stream" | "application/ogg")
}

pub(super) async fn video(app: &str, files: Files<'_>, input: &Value) -> Result<AppCall, Refusal> {
    let inputs = DocumentInput::all(input, "image", "/input");
    let first = pictures(files, &inputs).await?.into_iter().next();
    let mut body = fields(input, &[("prompt", "prompt"), ("size", "size")]);
    match input.get("seconds") {
        Some(Value::Number(seconds)) => _ = body.insert("seconds".to_owned(), json!(seconds.to_string())),
        Some(Value::String(seconds)) => _ = body.insert("seconds".to_owned(), json!(seconds)),
        _ => {}
    }
    if let Some(picture) = first {
        body.insert("input_reference".to_owned(), json!({"image_url": picture.data_uri()}));
    }
    Ok(json_call(Kind::Video, Operation::Video, &with_model(app, body)))
}

fn form_call(kind: Kind, operation: Operation, form: FormWriter) -> AppCall {
    let (boundary, body) = form.end();
    AppCall { kind, operation, payload: Payload::Form { boundary, body }, messages: Vec::new() }
}

/// A file under its name, or one by which servers recognise its type.
fn put(form: &mut FormWriter, field: &str, file: &Raw) {
    let kind = file.mime.rsplit_once('/').map_or("bin", |(_, kind)| kind);
    let extension = match kind {
        "mpeg" => "mp3",
        "x-wav" | "wave" => "wav",
        "octet-stream" => "bin",
        kind => kind,
    };
    let name = file.name.clone().unwrap_or_else(|| format!("{field}.{extension}").replace("[]", ""));
    form.file(field, &name, &file.mime, &file.bytes);
}
