//! OpenAI's `/embeddings`: requests and responses, translated from and to other formats.

use std::borrow::Cow;

use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::embed::{EmbeddingInputs, Vector, VectorOptions, Vectors, unsayable};
use conversation::features::Feature;
use conversation::losses::DroppedFields;
use conversation::request::{Request, RequestPart, VectorForm};
use domain::Fault;
use json::fields::optional_count;
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Value};
use serde::Serialize;

use super::request::{self, Input, RequestFields};
use super::{operations, usage};

const BASE64: &str = "base64";
const FLOAT: &str = "float";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    encoding_format: &'static str,
}

static FIELDS: RequestFields =
    RequestFields { own: &["encoding_format"], ..RequestFields::of("input", Input::Texts) };

/// Reads a request, whose answer is never streamed.
pub(super) fn read_request(body: &Bytes) -> Result<Request, Box<Fault>> {
    let mut as_base64 = false;
    let read = request::read_request(body, &FIELDS, &mut |_, cursor| {
        as_base64 = is_base64(cursor)?;
        Ok(())
    })?;
    let vectors = VectorForm { as_base64, ..VectorForm::default() };
    Ok(Request { stream: false, part: RequestPart::Vectors(vectors), ..read.request })
}

pub fn read_texts<'a>(body: &'a [u8], losses: &mut DroppedFields) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
    let mut cursor = Cursor::new(body)?;
    let mut texts = None;
    let mut dimensions = None;
    cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "model" => drop(cursor.skip()?),
            "input" => texts = Some(read_input(cursor)?),
            "dimensions" => dimensions = optional_count(cursor, "dimensions")?,
            "encoding_format" => check_format(cursor)?,
            "user" if cursor.value()?.is_something(body) => losses.drop_feature(Feature::EndUser),
            "user" => {}
            name if cursor.value()?.is_something(body) => losses.drop_unknown(name, true),
            _ => {}
        }
        Ok::<(), Box<Fault>>(())
    })?;
    cursor.end()?;
    let texts = texts.ok_or_else(|| missing("input".to_owned(), "Send a string, or an array of strings."))?;
    Ok(EmbeddingInputs { texts, dimensions, tasks: Vec::new(), param: "input" })
}

fn read_input<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Cow<'a, str>>, Box<Fault>> {
    let mut texts = Vec::new();
    if cursor.kind()? != Kind::Array {
        texts.push(read_text(cursor, "input")?);
        return Ok(texts);
    }
    cursor.array(|cursor, index| {
        texts.push(read_text(cursor, &format!("input[{index}]"))?);
        Ok::<(), Box<Fault>>(())
    })?;
    Ok(texts)
}

fn read_text<'a>(cursor: &mut Cursor<'a>, path: &str) -> Result<Cow<'a, str>, Box<Fault>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::String(text) => Ok(text.decode()),
        Value::Number(_) | Value::Array(_) => Err(unsayable(
            "input".to_owned(),
            "holds token ids, but the model's provider accepts only text",
            "Send the text itself: a string, or an array of strings.",
        )),
        _ => Err(wrong_type(path.to_owned(), "a string", kind)),
    }
}

fn check_format(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    let kind = cursor.kind()?;
    let name = || "encoding_format".to_owned();
    match cursor.value()? {
        Value::Null => Ok(()),
        Value::String(text) if text.is(FLOAT) || text.is(BASE64) => Ok(()),
        Value::String(_) => {
            let fix = format!("Send \"{FLOAT}\" or \"{BASE64}\", or leave it out.");
            Err(wrong_value(name(), "isn't an embedding format", fix))
        }
        _ => Err(wrong_type(name(), "a string", kind)),
    }
}

/// Whether the client wants base64 vectors. Any other value is for the upstream to judge.
pub(super) fn is_base64(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    Ok(matches!(cursor.value()?, Value::String(text) if text.is(BASE64)))
}

pub fn write_texts(texts: &EmbeddingInputs<'_>, model: &str) -> Result<Vec<u8>, Box<Fault>> {
    let body = Body { model, input: &texts.texts, dimensions: texts.dimensions, encoding_format: FLOAT };
    serde_json::to_vec(&body).map_err(|_| Box::new(Fault::internal()))
}

/// Reads a response. Base64 is understood even from servers that were not asked for it.
pub fn read_vectors(body: &[u8]) -> Result<Vectors<'_>, StreamFault> {
    let usage = operations::read_counts(body)?.usage;
    let mut found = Vec::new();
    let mut cursor = Cursor::new(body)?;
    cursor.object(|cursor, member| {
        if !member.key.is("data") || cursor.kind()? != Kind::Array {
            cursor.skip()?;
            return Ok(());
        }
        cursor.array(|cursor, position| read_row(cursor, position as u64, &mut found))?;
        Ok::<(), StreamFault>(())
    })?;
    found.sort_by_key(|(index, _)| *index);
    Ok(Vectors { vectors: found.into_iter().map(|(_, vector)| vector).collect(), usage })
}

fn read_row<'a>(
    cursor: &mut Cursor<'a>,
    position: u64,
    found: &mut Vec<(u64, Vector<'a>)>,
) -> Result<(), StreamFault> {
    let bytes = cursor.bytes();
    let mut index = position;
    let mut vector = None;
    cursor.object(|cursor, member| {
        let value = cursor.value()?;
        match &*member.key.decode() {
            "index" => index = value.as_count().unwrap_or(position),
            "embedding" => {
                vector = match value {
                    Value::Array(span) => std::str::from_utf8(span.of(bytes)).ok().map(Vector::Numbers),
                    Value::String(text) => Some(Vector::Base64(text.decode())),
                    _ => None,
                }
            }
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    found.push((index, vector.ok_or(StreamFault::Broken("no_vector"))?));
    Ok(())
}

/// Writes a response. Usage is always included, since all clients expect it.
pub fn write_vectors(vectors: &Vectors<'_>, options: VectorOptions<'_>) -> Result<Vec<u8>, StreamFault> {
    let used = vectors.usage.unwrap_or_else(|| usage::estimate(options.prompt_bytes, 0)).prompt_total();
    let mut out = String::from(r#"{"object":"list","data":["#);
    for (index, vector) in vectors.vectors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.push_str(&format!(r#"{comma}{{"object":"embedding","index":{index},"embedding":"#));
        if options.form.as_base64 {
            // Nothing in base64 must be escaped.
            out.push_str(&format!(r#""{}""#, vector.base64()?));
        } else {
            out.push_str(&vector.numbers()?);
        }
        out.push('}');
    }
    let model = serde_json::to_string(options.model).unwrap_or_default();
    let usage = format!(r#"{{"prompt_tokens":{used},"total_tokens":{used}}}"#);
    out.push_str(&format!(r#"],"model":{model},"usage":{usage}}}"#));
    Ok(out.into_bytes())
}
