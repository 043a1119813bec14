//! Embedding requests (`:embedContent`, `:batchEmbedContents`): what the pipeline reads, and translation from
//! and to other dialects.

use std::borrow::Cow;

use bytes::Bytes;
use conversation::embed::{EmbeddingInputs, Task, unsayable};
use conversation::fields::checked_model;
use conversation::losses::DroppedFields;
use conversation::request::{Addressed, Request, RequestPart, VectorForm, resource_text};
use domain::Fault;
use json::fields::{not_empty, open_object};
use json::refusal::{duplicate, missing, wrong_type, wrong_value};
use json::{Cursor, JsonError, Kind, Span, Value};
use serde::Serialize;

use super::address::model_of;
use super::names::{count, each, members};
use super::wire::{Content, Part};
use crate::limits::EMBED_INPUTS_MAX;

/// Joins the parts of one input.
const BETWEEN: &str = "\n";

/// The input for one embedding vector.
#[derive(Debug, Default)]
struct Entry<'a> {
    /// The model it names, and where.
    model: Option<(Span, Cow<'a, str>)>,
    has_content: bool,
    texts: Vec<Cow<'a, str>>,
    dimensions: Option<u64>,
    task: Task<'a>,
}

/// All inputs of one body.
#[derive(Debug, Default)]
struct Entries<'a> {
    entries: Vec<Entry<'a>>,
    /// Fields that other dialects lack, and whether dropping one changes the result.
    dropped: Vec<(String, bool)>,
}

/// Reads what the pipeline needs of an embedding request.
pub(super) fn decode(body: &Bytes, addressed: Option<&Addressed>) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let is_batch = addressed.is_some_and(|addressed| addressed.is_batch);
    let entries = read(body, is_batch)?.entries;
    let Some(addressed) = addressed else {
        return Err(missing("model".to_owned(), "Send the model's id in the address, after models/."));
    };
    let mut request = Request {
        model: checked_model(&addressed.model)?,
        choices: 1,
        include_usage: true,
        part: RequestPart::Vectors(VectorForm { as_base64: false, is_batch }),
        ..Request::default()
    };
    for (index, entry) in entries.iter().enumerate() {
        request.prompt_bytes += entry.texts.iter().map(|text| text.len() as u64).sum::<u64>();
        if let Some((span, name)) = &entry.model {
            let path = || if is_batch { format!("requests[{index}].model") } else { "model".to_owned() };
            check_model(name, &addressed.model, path)?;
            request.spans.resources.push(*span);
        }
    }
    Ok(request)
}

/// Rejects a body that names another model than the path, as it is unclear which one is meant.
pub(super) fn check_model(
    named: &str,
    addressed: &str,
    path: impl FnOnce() -> String,
) -> Result<(), Box<Fault>> {
    if model_of(named) == addressed {
        return Ok(());
    }
    let fix = format!("Send \"models/{addressed}\", or leave it out.");
    Err(wrong_value(path(), "differs from the model in the address", fix))
}

fn read(body: &[u8], is_batch: bool) -> Result<Entries<'_>, Box<Fault>> {
    let mut cursor = open_object(body)?;
    let mut all = Entries::default();
    if is_batch {
        all.batch(&mut cursor)?;
    } else {
        all.entry(&mut cursor, "")?;
    }
    cursor.end()?;
    Ok(all)
}

impl<'a> Entries<'a> {
    fn batch(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Box<Fault>> {
        let mut has_requests = false;
        members(cursor, "body", |cursor, name, written| {
            if name != "requests" {
                return Ok(self.pass(cursor, written.to_owned(), true)?);
            }
            once(&mut has_requests, || written.to_owned())?;
            each(cursor, |cursor, index| self.entry(cursor, &format!("{written}[{index}].")))
        })?;
        let fix = "Send at least one request, each with its content.";
        match (has_requests, self.entries.is_empty()) {
            (false, _) => Err(missing("requests".to_owned(), fix)),
            (true, true) => Err(wrong_value("requests".to_owned(), "is empty", fix.to_owned())),
            (true, false) => Ok(()),
        }
    }

    /// `path` is the prefix of the members' names.
    fn entry(&mut self, cursor: &mut Cursor<'a>, path: &str) -> Result<(), Box<Fault>> {
        let mut entry = Entry::default();
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.trim_end_matches('.').to_owned(), "an object", kind));
        }
        members(cursor, path, |cursor, name, written| {
            let path = || format!("{path}{written}");
            match name {
                "model" => {
                    if entry.model.is_some() {
                        return Err(duplicate(path()));
                    }
                    let kind = cursor.kind()?;
                    match cursor.value()? {
                        Value::String(text) => entry.model = Some((text.span, text.decode())),
                        Value::Null => {}
                        _ => return Err(wrong_type(path(), "a string", kind)),
                    }
                }
                "content" => {
                    once(&mut entry.has_content, path)?;
                    self.content(cursor, &mut entry, &path())?;
                }
                "outputDimensionality" => entry.dimensions = count(cursor, &path())?,
                "taskType" | "title" => {
                    let slot = if name == "title" { &mut entry.task.title } else { &mut entry.task.kind };
                    let value = cursor.value()?;
                    if value.is_something(cursor.bytes()) {
                        // Recorded without its path, so that it is reported once, however many inputs set it.
                        self.dropped.push((written.to_owned(), false));
                    }
                    if let Value::String(text) = value {
                        *slot = Some(text.decode());
                    }
                }
                _ => self.pass(cursor, path(), true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        if !entry.has_content {
            let fix = "Send a content, such as {\"parts\": [{\"text\": \"Hello\"}]}.";
            return Err(missing(format!("{path}content"), fix));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn content(
        &mut self,
        cursor: &mut Cursor<'a>,
        entry: &mut Entry<'a>,
        path: &str,
    ) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        members(cursor, path, |cursor, name, written| match name {
            "parts" => each(cursor, |cursor, index| {
                let path = format!("{path}.{written}[{index}]");
                members(cursor, &path, |cursor, name, written| {
                    let path = format!("{path}.{written}");
                    if name != "text" {
                        return Ok(self.pass(cursor, path, true)?);
                    }
                    let kind = cursor.kind()?;
                    match cursor.value()? {
                        Value::String(text) => entry.texts.push(text.decode()),
                        Value::Null => {}
                        _ => return Err(wrong_type(path, "a string", kind)),
                    }
                    Ok::<(), Box<Fault>>(())
                })
            }),
            "role" => Ok(cursor.skip().map(drop)?),
            _ => Ok(self.pass(cursor, format!("{path}.{written}"), true)?),
        })
    }

    fn pass(&mut self, cursor: &mut Cursor<'_>, name: String, is_meaning: bool) -> Result<(), JsonError> {
        if cursor.value()?.is_something(cursor.bytes()) {
            self.dropped.push((name, is_meaning));
        }
        Ok(())
    }
}

fn once(seen: &mut bool, path: impl FnOnce() -> String) -> Result<(), Box<Fault>> {
    if std::mem::replace(seen, true) { Err(duplicate(path())) } else { Ok(()) }
}

/// Reads the request for translation into another dialect, where all vectors have one length.
pub fn read_texts<'a>(
    body: &'a [u8],
    is_batch: bool,
    has_tasks: bool,
    losses: &mut DroppedFields,
) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
    let Entries { mut entries, dropped } = read(body, is_batch)?;
    let lost = dropped.into_iter().filter(|(_, is_meaning)| *is_meaning || !has_tasks);
    lost.for_each(|(name, is_meaning)| losses.drop_unknown(name, is_meaning));
    let tasks = entries.iter_mut().map(|entry| std::mem::take(&mut entry.task)).collect();
    let dimensions = entries.first().and_then(|entry| entry.dimensions);
    if let Some(odd) = entries.iter().position(|entry| entry.dimensions != dimensions) {
        return Err(unsayable(
            format!("requests[{odd}].outputDimensionality"),
            "differs from the first, but the model's provider returns vectors of one length per request",
            "Send a separate request for each length.",
        ));
    }
    let text = |mut entry: Entry<'a>| match entry.texts.len() {
        1 => entry.texts.remove(0),
        _ => Cow::Owned(entry.texts.join(BETWEEN)),
    };
    let texts = entries.into_iter().map(text).collect();
    Ok(EmbeddingInputs { texts, dimensions, tasks, param: if is_batch { "requests" } else { "content" } })
}

#[derive(Serialize)]
struct Batch<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a serde_json::value::RawValue,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

/// Writes a batch, even for a single input, so that the response has the same form for any number.
pub fn write_texts(texts: &EmbeddingInputs<'_>, model: &str) -> Result<Vec<u8>, Box<Fault>> {
    if texts.texts.len() > EMBED_INPUTS_MAX {
        let what = format!(
            "holds more than the {EMBED_INPUTS_MAX} texts that the model's provider takes in one request"
        );
        return Err(unsayable("input".to_owned(), &what, "Send the texts in several requests."));
    }
    let resource = resource_text(model);
    let resource = json::written::checked(&resource)?;
    let one = |text| One {
        model: resource,
        content: Content { role: None, parts: vec![Part::text(text)] },
        output_dimensionality: texts.dimensions,
    };
    let requests = texts.texts.iter().map(|text| one(text)).collect();
    serde_json::to_vec(&Batch { requests }).map_err(|_| Box::new(Fault::internal()))
}
