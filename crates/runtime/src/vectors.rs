//! Embedding and rerank requests to a self-hosted runtime, and their responses.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::inference_task::{EmbedRequest, RankRequest};
use domain::runtime::RawPrompt;
use domain::{Fault, FaultClass, TraceId, Usage};
use json::fields::{open_object, optional_boolean, optional_count};
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};
use serde::Serialize;

use crate::limits::{DOCUMENTS_MAX, TEXTS_MAX};

const FLOAT: &str = "float";
const BASE64: &str = "base64";

type Read<T> = Result<T, Box<Fault>>;

/// An embedding request, and the encoding of the vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEmbedRequest {
    pub request: EmbedRequest,
    pub as_base64: bool,
}

/// A rerank request, and how much of the result to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeRankRequest {
    pub request: RankRequest,
    /// How many of the best results to return; all by default.
    pub top_n: Option<u64>,
    /// Whether each result includes its document.
    pub has_documents: bool,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Row>,
    model: &'a str,
    usage: Used,
}

#[derive(Serialize)]
struct Row {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Used {
    prompt_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<Details>,
}

/// How many of the tokens were served from the prefix cache.
#[derive(Serialize)]
struct Details {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct Order<'a> {
    id: String,
    object: &'static str,
    model: &'a str,
    results: Vec<Ranked<'a>>,
    usage: Used,
}

#[derive(Serialize)]
struct Ranked<'a> {
    index: usize,
    relevance_score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document<'a>>,
}

#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
}

/// Reads an embedding request. If `is_lenient` is set, unknown fields are dropped instead of refused.
pub fn read_runtime_embeddings(body: &[u8], is_lenient: bool) -> Result<RuntimeEmbedRequest, Box<Fault>> {
    let (mut request, mut texts, mut as_base64) = (EmbedRequest::default(), None, false);
    open_object(body)?.object(|cursor, member| {
        match &*member.key.decode() {
            "model" => request.model = text(cursor, "model")?.unwrap_or_default().into_owned(),
            "input" => texts = Some(read_input(cursor)?),
            "dimensions" => request.dimensions = optional_count(cursor, "dimensions")?,
            "encoding_format" => as_base64 = read_format(cursor)?,
            "prompt_name" => request.prompt_name = owned(cursor, "prompt_name")?,
            "cache_salt" => request.scheduling_group = owned(cursor, "cache_salt")?,
            "user" => cursor.skip().map(drop)?,
            name => unknown(cursor, body, name, is_lenient)?,
        }
        Read::Ok(())
    })?;
    request.texts =
        texts.ok_or_else(|| missing("input".to_owned(), "Send a string, or an array of strings."))?;
    let count = request.texts.len();
    if count == 0 || count > TEXTS_MAX {
        let fix = format!("Send from 1 to {TEXTS_MAX} texts.");
        return Err(wrong_value("input".to_owned(), &format!("holds {count} texts"), fix));
    }
    Ok(RuntimeEmbedRequest { request, as_base64 })
}

/// Reads a rerank request. If `is_lenient` is set, unknown fields are dropped instead of refused.
pub fn read_runtime_ranking(body: &[u8], is_lenient: bool) -> Result<RuntimeRankRequest, Box<Fault>> {
    let (mut request, mut query, mut documents) = (RankRequest::default(), None, None);
    let (mut top_n, mut has_documents) = (None, None);
    open_object(body)?.object(|cursor, member| {
        match &*member.key.decode() {
            "model" => request.model = text(cursor, "model")?.unwrap_or_default().into_owned(),
            "query" => query = owned(cursor, "query")?,
            "documents" => documents = Some(read_documents(cursor)?),
            "top_n" => top_n = optional_count(cursor, "top_n")?,
            "return_documents" => has_documents = optional_boolean(cursor, "return_documents")?,
            "instruction" => request.instruction = owned(cursor, "instruction")?,
            "cache_salt" => request.scheduling_group = owned(cursor, "cache_salt")?,
            "user" => cursor.skip().map(drop)?,
            name => unknown(cursor, body, name, is_lenient)?,
        }
        Read::Ok(())
    })?;
    request.query = query.ok_or_else(|| missing("query".to_owned(), "Send the query text."))?;
    request.documents =
        documents.ok_or_else(|| missing("documents".to_owned(), "Send an array of the texts to rank."))?;
    let count = request.documents.len();
    if count == 0 || count > DOCUMENTS_MAX {
        let fix = format!("Send from 1 to {DOCUMENTS_MAX} documents.");
        return Err(wrong_value("documents".to_owned(), &format!("holds {count} documents"), fix));
    }
    if top_n == Some(0) {
        let fix = "Send how many documents to return, or leave it out for all.".to_owned();
        return Err(wrong_value("top_n".to_owned(), "is 0", fix));
    }
    Ok(RuntimeRankRequest { request, top_n, has_documents: has_documents.unwrap_or(false) })
}

/// A string, or `None` for `null`.
fn text<'a>(cursor: &mut Cursor<'a>, path: &str) -> Read<Option<Cow<'a, str>>> {
    let kind = cursor.kind()?;
    match cursor.value()? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.decode())),
        _ => Err(wrong_type(path.to_owned(), "a string", kind)),
    }
}

fn owned(cursor: &mut Cursor<'_>, path: &str) -> Read<Option<String>> {
    Ok(text(cursor, path)?.map(Cow::into_owned))
}

fn unknown(cursor: &mut Cursor<'_>, body: &[u8], name: &str, is_lenient: bool) -> Read<()> {
    if !cursor.value()?.is_something(body) || is_lenient {
        return Ok(());
    }
    let message = format!("This runtime doesn't accept \"{name}\".");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_parameter", message);
    let fix = "Leave it out, or send Agent-Lenient: true to have it dropped.";
    Err(Box::new(fault.param(name.to_owned()).fix(fix)))
}

/// Reads a string, an array of tokens, or an array of either.
fn read_input(cursor: &mut Cursor<'_>) -> Read<Vec<RawPrompt>> {
    if cursor.kind()? != Kind::Array {
        return Ok(vec![read_one(cursor, "input")?]);
    }
    let (mut texts, mut tokens) = (Vec::new(), Vec::new());
    cursor.array(|cursor, index| {
        let path = format!("input[{index}]");
        // An array of numbers is a single tokenised input.
        match cursor.kind()? {
            Kind::Number if texts.is_empty() => tokens.push(read_token(cursor, &path)?),
            kind if !tokens.is_empty() => {
                return Err(wrong_type(path, "a token id, like those before it", kind));
            }
            _ => texts.push(read_one(cursor, &path)?),
        }
        Read::Ok(())
    })?;
    if !tokens.is_empty() {
        texts.push(RawPrompt::Tokens(tokens));
    }
    Ok(texts)
}

fn read_one(cursor: &mut Cursor<'_>, path: &str) -> Read<RawPrompt> {
    let kind = cursor.kind()?;
    if kind == Kind::Array {
        let mut tokens = Vec::new();
        cursor.array(|cursor, index| {
            tokens.push(read_token(cursor, &format!("{path}[{index}]"))?);
            Read::Ok(())
        })?;
        return Ok(RawPrompt::Tokens(tokens));
    }
    match cursor.value()? {
        Value::String(text) => Ok(RawPrompt::Text(text.decode().into_owned())),
        _ => Err(wrong_type(path.to_owned(), "a string or an array of tokens", kind)),
    }
}

fn read_token(cursor: &mut Cursor<'_>, path: &str) -> Read<u32> {
    let kind = cursor.kind()?;
    let value = cursor.value()?;
    let Value::Number(_) = value else { return Err(wrong_type(path.to_owned(), "a token id", kind)) };
    value.as_count().and_then(|token| u32::try_from(token).ok()).ok_or_else(|| {
        wrong_value(path.to_owned(), "isn't a token id", "Send whole numbers from 0.".to_owned())
    })
}

fn read_format(cursor: &mut Cursor<'_>) -> Read<bool> {
    match text(cursor, "encoding_format")?.as_deref() {
        None | Some(FLOAT) => Ok(false),
        Some(BASE64) => Ok(true),
        Some(_) => {
            let fix = format!("Send \"{FLOAT}\" or \"{BASE64}\", or leave it out.");
            Err(wrong_value("encoding_format".to_owned(), "isn't a format for vectors", fix))
        }
    }
}

/// Reads the documents: strings, or objects with a `text`.
fn read_documents(cursor: &mut Cursor<'_>) -> Read<Vec<String>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        return Err(wrong_type("documents".to_owned(), "an array", kind));
    }
    let mut documents = Vec::new();
    cursor.array(|cursor, index| {
        let path = format!("documents[{index}]");
        let kind = cursor.kind()?;
        let document = match kind {
            Kind::Object => read_document(cursor, &path)?,
            _ => owned(cursor, &path)?,
        };
        documents
            .push(document.ok_or_else(|| wrong_type(path, "a string, or an object with \"text\"", kind))?);
        Read::Ok(())
    })?;
    Ok(documents)
}

fn read_document(cursor: &mut Cursor<'_>, path: &str) -> Read<Option<String>> {
    let mut found = None;
    cursor.object(|cursor, member| {
        if member.key.is("text") {
            found = owned(cursor, &format!("{path}.text"))?;
        } else {
            cursor.skip()?;
        }
        Read::Ok(())
    })?;
    Ok(found)
}

fn counts(usage: &Usage) -> Used {
    let tokens = usage.prompt_total();
    let cached_tokens = usage.cached_read;
    let prompt_tokens_details = (cached_tokens > 0).then_some(Details { cached_tokens });
    Used { prompt_tokens: tokens, total_tokens: tokens, prompt_tokens_details }
}

/// The embedding response.
pub fn vectors_answer(model: &str, vectors: Vec<Vec<f32>>, as_base64: bool, usage: &Usage) -> Bytes {
    let row = |(index, vector): (usize, Vec<f32>)| {
        let embedding = if as_base64 {
            let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
            Vector::Base64(STANDARD.encode(bytes))
        } else {
            Vector::Numbers(vector)
        };
        Row { object: "embedding", index, embedding }
    };
    let data = vectors.into_iter().enumerate().map(row).collect();
    json(&List { object: "list", data, model, usage: counts(usage) })
}

/// The rerank response: best first, and equal scores in the order in which they were sent.
pub fn ranks_answer(
    trace: TraceId,
    model: &str,
    documents: &[String],
    scores: &[f64],
    options: (Option<u64>, bool),
    usage: &Usage,
) -> Bytes {
    let (top_n, has_documents) = options;
    let mut results: Vec<Ranked<'_>> = scores
        .iter()
        .zip(documents)
        .enumerate()
        .map(|(index, (score, text))| Ranked {
            index,
            relevance_score: *score,
            document: has_documents.then_some(Document { text }),
        })
        .collect();
    results.sort_by(|one, other| other.relevance_score.total_cmp(&one.relevance_score));
    let most = top_n.and_then(|count| usize::try_from(count).ok());
    results.truncate(most.unwrap_or(usize::MAX));
    let id = format!("rerank-{}", trace.as_uuid().simple());
    json(&Order { id, object: "rerank", model, results, usage: counts(usage) })
}

/// These types always serialise, so there is no error to report.
fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
