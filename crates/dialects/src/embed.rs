//! Embeddings requests and responses, translated between dialects.

mod hosted;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::{Fault, FaultClass, Grammar, Usage};

use crate::answer::{AnswerFacts, StreamFault};
use crate::answer_path::AnswerPath;
use crate::losses::DroppedFields;
use crate::translate::TranslatedRequest;
use crate::whole::BufferedAnswer;
use crate::{Request, chat, gemini};

pub use hosted::EmbeddingForm;

/// The inputs to embed.
#[derive(Debug)]
pub(crate) struct EmbeddingInputs<'a> {
    pub texts: Vec<Cow<'a, str>>,
    pub dimensions: Option<u64>,
    /// The task type of each input, where the client's dialect has them: as many as inputs, or none.
    pub tasks: Vec<Task<'a>>,
    /// The client's name for the inputs.
    pub param: &'static str,
}

/// What an embedding is for: a task type, and a document title.
#[derive(Debug, Clone, Default)]
pub(crate) struct Task<'a> {
    pub kind: Option<Cow<'a, str>>,
    pub title: Option<Cow<'a, str>>,
}

impl Task<'_> {
    fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }
}

/// A response: one vector for each input, in the same order.
#[derive(Debug)]
pub(crate) struct Vectors<'a> {
    pub vectors: Vec<Vector<'a>>,
    pub usage: Option<Usage>,
}

#[derive(Debug)]
pub(crate) enum Vector<'a> {
    /// A JSON array as written, so that no digit changes.
    Numbers(&'a str),
    /// Base64 of little-endian `f32`s.
    Base64(Cow<'a, str>),
}

/// Translates a client's embeddings request for an upstream.
///
/// # Errors
/// The request is invalid, or uses a feature that the other dialect can't express and that may not be
/// dropped.
pub fn translate_embeddings(
    client: Grammar,
    body: &[u8],
    request: &Request,
    upstream: Grammar,
    model: &str,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut losses = DroppedFields::new(client, upstream);
    let texts = read_texts(client, body, request, false, &mut losses)?;
    let body = match upstream {
        Grammar::Gemini => gemini::write_texts(&texts, model)?,
        _ => chat::write_texts(&texts, model)?,
    };
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}

/// Translates it into the form that a model hosted at Vertex AI or Bedrock reads.
///
/// # Errors
/// As `translate_embeddings`.
pub fn translate_hosted_embeddings(
    client: Grammar,
    body: &[u8],
    request: &Request,
    form: EmbeddingForm,
    is_lenient: bool,
) -> Result<TranslatedRequest, Box<Fault>> {
    let mut losses = DroppedFields::new(client, Grammar::Hosted);
    let texts = read_texts(client, body, request, form.has_tasks(), &mut losses)?;
    let body = hosted::write_texts(&texts, form)?;
    Ok(TranslatedRequest { body: Bytes::from(body), dropped: losses.finish(is_lenient)? })
}

fn read_texts<'a>(
    client: Grammar,
    body: &'a [u8],
    request: &Request,
    has_tasks: bool,
    losses: &mut DroppedFields,
) -> Result<EmbeddingInputs<'a>, Box<Fault>> {
    match client {
        Grammar::Chat => chat::read_texts(body, losses),
        Grammar::Gemini => gemini::read_texts(body, request.vectors.is_batch, has_tasks, losses),
        // The other dialects have no embeddings, and no route leads here.
        _ => Err(Box::new(Fault::internal())),
    }
}

/// Reads an embeddings response, and writes it as the client requested.
pub(crate) fn buffered_answer(answer_path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
    let text = chat::side::document(&body)?;
    if answer_path.is_same_dialect() && answer_path.client == Grammar::Chat {
        let facts = chat::side::read_answer(&body)?;
        return Ok(BufferedAnswer::plain(body, facts));
    }
    let mut answer = match answer_path.upstream {
        Grammar::Gemini => gemini::read_vectors(text)?,
        Grammar::Hosted => hosted::read_vectors(text)?,
        _ => chat::read_vectors(text)?,
    };
    if answer.vectors.is_empty() {
        return Err(StreamFault::Broken("no_vectors"));
    }
    answer.usage =
        answer.usage.or_else(|| answer_path.estimator.as_ref().map(|estimator| estimator.usage("", 0)));
    let facts = AnswerFacts { usage: answer.usage, content_bytes: 0 };
    if answer_path.is_same_dialect() {
        return Ok(BufferedAnswer::plain(body, facts));
    }
    let written = match answer_path.client {
        Grammar::Gemini => gemini::write_vectors(&answer, answer_path.vectors.is_batch)?,
        _ => chat::write_vectors(&answer, answer_path)?,
    };
    Ok(BufferedAnswer::plain(Bytes::from(written), facts))
}

impl Vector<'_> {
    /// The vector as an array of numbers.
    pub(crate) fn numbers(&self) -> Result<Cow<'_, str>, StreamFault> {
        match self {
            // Some servers write one number per line.
            Self::Numbers(raw) if raw.bytes().any(|byte| byte.is_ascii_whitespace()) => {
                Ok(Cow::Owned(raw.split_ascii_whitespace().collect()))
            }
            Self::Numbers(raw) => Ok(Cow::Borrowed(raw)),
            Self::Base64(text) => {
                let bytes = STANDARD.decode(&**text).map_err(|_| BROKEN)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(BROKEN);
                }
                let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                serde_json::to_string(&numbers).map(Cow::Owned).map_err(|_| BROKEN)
            }
        }
    }

    pub(crate) fn base64(&self) -> Result<Cow<'_, str>, StreamFault> {
        let raw = match self {
            Self::Base64(text) => return Ok(Cow::Borrowed(text)),
            Self::Numbers(raw) => raw,
        };
        let numbers: Vec<f32> = serde_json::from_str(raw).map_err(|_| BROKEN)?;
        let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(Cow::Owned(STANDARD.encode(bytes)))
    }
}

const BROKEN: StreamFault = StreamFault::Broken("no_vector");

/// The fault of a value that this upstream can't take, even if other fields are dropped.
pub(crate) fn unsayable(param: String, what: &str, fix: &'static str) -> Box<Fault> {
    let message = format!("\"{param}\" {what}.");
    Box::new(Fault::new(FaultClass::Unsupported, "unsupported_value", message).fix(fix).param(param))
}

#[cfg(test)]
mod tests;
