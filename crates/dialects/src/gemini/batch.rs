//! `:batchGenerateContent`: what the rooms read of a new batch, what is told of one, and what became of its requests.

use std::borrow::Cow;

use bytes::Bytes;
use domain::{Fault, FaultClass, KeptKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::embed::check_model;
use super::names::{each, members};
use crate::batch::{BatchItem, usage_of};
use crate::bundle::Bundle;
use crate::fields::{checked_model, not_empty, open_object};
use crate::json::{Cursor, JsonError, Kind, Span, Value};
use crate::kept::KeptMade;
use crate::refusal::{duplicate, missing, wrong_type};
use crate::request::rename_at;
use crate::splice::{Edit, splice};
use crate::{Addressed, Request};

/// By what the books know what each of the requests asks for.
pub const CONTENTS: &str = ":generateContent";
/// What the name of a batch begins with.
const RESOURCE: &str = "batches/";

/// Memory is bounded by the body, and the work by this.
const REQUESTS_MAX: usize = 100_000;
/// How deep in what it holds a batch has the lists of what was asked and answered.
const LISTS_DEPTH: u8 = 4;
const REQUESTS: &str = "batch.inputConfig.requests.requests";
const FILE: &str = "batch.inputConfig.fileName";
const SHAPE: &str = "Send {\"batch\":{\"inputConfig\":{\"requests\":{\"requests\":[{\"request\":{…}}]}}}}.";

/// What is read of a new batch.
#[derive(Default)]
struct New<'m> {
    model: &'m str,
    has_batch: bool,
    has_input: bool,
    has_list: bool,
    has_requests: bool,
    /// How many there are.
    requests: usize,
    /// Where the model that the address names is named again.
    resources: Vec<Span>,
}

/// Reads what the rooms need of a new batch.
///
/// # Errors
/// What is wrong, where, and how to mend it.
pub(crate) fn decode(body: &Bytes, addressed: Option<&Addressed>) -> Result<Request, Box<Fault>> {
    not_empty(body)?;
    let Some(addressed) = addressed else {
        return Err(missing("model".to_owned(), "Send the model's id in the address, behind models/."));
    };
    let model = checked_model(&addressed.model)?;
    let mut new = New { model: &addressed.model, ..New::default() };
    let mut cursor = open_object(body)?;
    members(&mut cursor, "body", |cursor, name, written| match name {
        "batch" => new.batch(cursor, written),
        _ => pass(cursor),
    })?;
    cursor.end()?;
    match (new.has_batch, new.requests) {
        (false, _) => Err(missing("batch".to_owned(), SHAPE)),
        (true, 0) => Err(missing(REQUESTS.to_owned(), SHAPE)),
        (true, _) => {
            let bundle = Bundle::addressed(&addressed.model, new.resources);
            let bundle = Some(Box::new(bundle));
            Ok(Request { max_output_tokens: Some(0), bundle, ..Request::of_model(&model) })
        }
    }
}

fn pass(cursor: &mut Cursor<'_>) -> Result<(), Box<Fault>> {
    Ok(cursor.skip().map(drop)?)
}

fn once(seen: &mut bool, path: &str) -> Result<(), Box<Fault>> {
    if std::mem::replace(seen, true) { Err(duplicate(path.to_owned())) } else { Ok(()) }
}

impl New<'_> {
    fn batch(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        once(&mut self.has_batch, path)?;
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "model" => self.named(cursor, path),
                "inputConfig" => {
                    once(&mut self.has_input, &path)?;
                    self.input(cursor, &path)
                }
                _ => pass(cursor),
            }
        })
    }

    fn input(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "requests" => {
                    once(&mut self.has_list, &path)?;
                    self.list(cursor, &path)
                }
                "fileName" => match cursor.value()? {
                    Value::Null => Ok(()),
                    _ => Err(of_file()),
                },
                _ => pass(cursor),
            }
        })
    }

    fn list(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            if name != "requests" {
                return pass(cursor);
            }
            let path = format!("{path}.{written}");
            once(&mut self.has_requests, &path)?;
            each(cursor, |cursor, at| match at < REQUESTS_MAX {
                true => self.ask(cursor, &format!("{path}[{at}]")),
                false => Err(too_many()),
            })
        })
    }

    fn ask(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        // Alone it would have been a body.
        cursor.begin_document();
        let kind = cursor.kind()?;
        if kind != Kind::Object {
            return Err(wrong_type(path.to_owned(), "an object", kind));
        }
        self.requests += 1;
        let mut has_request = false;
        members(cursor, path, |cursor, name, written| {
            if name != "request" {
                return pass(cursor);
            }
            let path = format!("{path}.{written}");
            once(&mut has_request, &path)?;
            let kind = cursor.kind()?;
            if kind != Kind::Object {
                return Err(wrong_type(path, "an object", kind));
            }
            let mut has_model = false;
            members(cursor, &path, |cursor, name, written| {
                if name != "model" {
                    return pass(cursor);
                }
                let path = format!("{path}.{written}");
                once(&mut has_model, &path)?;
                self.named(cursor, path)
            })
        })?;
        match has_request {
            true => Ok(()),
            false => Err(missing(format!("{path}.request"), SHAPE)),
        }
    }

    /// The model of the address, named again.
    fn named(&mut self, cursor: &mut Cursor<'_>, path: String) -> Result<(), Box<Fault>> {
        let kind = cursor.kind()?;
        match cursor.value()? {
            Value::Null => Ok(()),
            Value::String(text) => {
                check_model(&text.decode(), self.model, || path)?;
                self.resources.push(text.span);
                Ok(())
            }
            _ => Err(wrong_type(path, "a string", kind)),
        }
    }
}

fn of_file() -> Box<Fault> {
    let message = "A batch whose requests are in a file is not taken here.";
    let fault = Fault::new(FaultClass::Unsupported, "batch_of_file", message).param(FILE.to_owned());
    Box::new(fault.fix(format!("Send the requests inline, in {REQUESTS}.")))
}

fn too_many() -> Box<Fault> {
    let message = format!("\"{REQUESTS}\" holds more than {REQUESTS_MAX} requests.");
    let fault = Fault::new(FaultClass::BadRequest, "too_many_requests_in_batch", message);
    Box::new(fault.param(REQUESTS.to_owned()).fix("Send several batches."))
}

/// What an answer tells of a batch: with its name as ours, and as lists show it, without what was asked and answered.
pub(crate) fn rename(
    body: &Bytes,
    ours: &mut dyn FnMut(KeptKind, &str) -> String,
) -> Option<(Bytes, KeptMade)> {
    let (mut made, mut names, mut content) = (KeptMade::default(), Vec::new(), Vec::new());
    let mut cursor = Cursor::new(body).ok()?;
    let read = cursor.object(|cursor, member| {
        match &*member.key.decode() {
            "name" => names.extend(id_at(cursor)?),
            "response" => content.push(pass_apart(cursor, LISTS_DEPTH)?),
            "metadata" if cursor.kind()? == Kind::Object => {
                cursor.object(|cursor, member| {
                    match &*member.key.decode() {
                        "name" => names.extend(id_at(cursor)?),
                        "output" | "inputConfig" => content.push(pass_apart(cursor, LISTS_DEPTH)?),
                        _ => drop(cursor.skip()?),
                    }
                    Ok::<(), JsonError>(())
                })?;
            }
            _ => drop(cursor.skip()?),
        }
        Ok::<(), JsonError>(())
    });
    read.ok()?;
    made.id = names.first()?.1.clone();
    let names: Vec<(Span, String)> = names
        .into_iter()
        .map(|(span, id)| (span, format!("{RESOURCE}{}", ours(KeptKind::ContentBatch, &id))))
        .collect();
    let spliced = |content: &[Span]| {
        let renames = names.iter().map(|(span, name)| rename_at(*span, name));
        let cuts = content.iter().map(|span| Edit { span: *span, text: Cow::Borrowed("null") });
        let mut out = Vec::new();
        splice(body, &mut renames.chain(cuts).collect::<Vec<_>>(), &mut out);
        out.concat()
    };
    made.shown = String::from_utf8(spliced(&content)).unwrap_or_default();
    Some((spliced(&[]).into(), made))
}

/// Passes over a value whose members do not count together, for it holds a list of what would have been bodies.
fn pass_apart(cursor: &mut Cursor<'_>, depth: u8) -> Result<Span, JsonError> {
    cursor.begin_document();
    match (cursor.kind()?, depth) {
        (Kind::Object, 1..) => cursor.object(|cursor, _| pass_apart(cursor, depth - 1).map(drop)),
        (Kind::Array, 1..) => cursor.array(|cursor, _| pass_apart(cursor, depth - 1).map(drop)),
        _ => cursor.skip(),
    }
}

/// The id in the next value, where that is the name of a batch.
fn id_at(cursor: &mut Cursor<'_>) -> Result<Option<(Span, String)>, JsonError> {
    let Value::String(text) = cursor.value()? else { return Ok(None) };
    let name = text.decode();
    let id = name.strip_prefix(RESOURCE).filter(|id| !id.is_empty() && !id.contains('/'));
    Ok(id.map(|id| (text.span, id.to_owned())))
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentBatchTold {
    pub state: String,
    /// RFC 3339; set once all of its requests are done, well or not.
    pub ended_at: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    state: String,
    create_time: Option<String>,
    end_time: Option<String>,
}

/// Reads what a provider says of a batch; `None` where it is no batch.
#[must_use]
pub fn read_content_batch(body: &[u8]) -> Option<ContentBatchTold> {
    let Metadata { state, create_time, end_time } = serde_json::from_slice::<Told>(body).ok()?.metadata;
    // A state that is none of these may yet become one.
    let has_ended = matches!(
        &*state,
        "BATCH_STATE_SUCCEEDED" | "BATCH_STATE_FAILED" | "BATCH_STATE_CANCELLED" | "BATCH_STATE_EXPIRED"
    );
    // Never a time that may be another one at the next look: by it the books know what they have.
    let ended_at = end_time.or(create_time).filter(|_| has_ended);
    (!state.is_empty() && (ended_at.is_some() || !has_ended)).then_some(ContentBatchTold { state, ended_at })
}

#[derive(Deserialize)]
struct Became<'a> {
    #[serde(borrow)]
    metadata: Option<Keyed<'a>>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Refused<'a>>,
}

#[derive(Deserialize)]
struct Keyed<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    #[serde(borrow)]
    model_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    response_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Refused<'a> {
    #[serde(default)]
    code: i64,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

/// Reads what became of one request. Its id is the key that its client gave it, which several may share and none need have.
pub(crate) fn read_item(item: &[u8]) -> Option<BatchItem> {
    let Became { metadata, response, error } = serde_json::from_slice(item).ok()?;
    let key = metadata.and_then(|metadata| metadata.key).map(RawValue::get);
    let nothing = BatchItem {
        custom_id: key.unwrap_or_default().to_owned(),
        model: None,
        status: 0,
        request_id: None,
        error_code: None,
        usage: None,
    };
    Some(match (response, error) {
        (_, Some(error)) => {
            let (status, word) = status_of(error.code);
            let code = error.status.map_or_else(|| word.to_owned(), Cow::into_owned);
            BatchItem { status, error_code: Some(code), ..nothing }
        }
        (Some(response), None) => {
            let said = serde_json::from_str::<Answered<'_>>(response.get()).ok();
            let (model, request_id) =
                said.map_or((None, None), |said| (said.model_version, said.response_id));
            BatchItem {
                status: 200,
                model: model.map(Cow::into_owned),
                request_id: request_id.map(Cow::into_owned),
                usage: usage_of(response.get(), CONTENTS),
                ..nothing
            }
        }
        (None, None) => nothing,
    })
}

/// The status that the vendor sends with an error of this number, and the word for it. Some write the status itself.
fn status_of(code: i64) -> (u16, &'static str) {
    match code {
        1 | 499 => (499, "CANCELLED"),
        3 => (400, "INVALID_ARGUMENT"),
        4 | 504 => (504, "DEADLINE_EXCEEDED"),
        5 | 404 => (404, "NOT_FOUND"),
        7 | 403 => (403, "PERMISSION_DENIED"),
        8 | 429 => (429, "RESOURCE_EXHAUSTED"),
        9 => (400, "FAILED_PRECONDITION"),
        10 | 409 => (409, "ABORTED"),
        11 => (400, "OUT_OF_RANGE"),
        14 | 503 => (503, "UNAVAILABLE"),
        16 | 401 => (401, "UNAUTHENTICATED"),
        400 => (400, "INVALID_ARGUMENT"),
        13 | 500 => (500, "INTERNAL"),
        _ => (500, "UNKNOWN"),
    }
}
