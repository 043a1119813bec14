//! Embeddings between dialects: the inputs, and the vectors of an answer.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::{Fault, FaultClass, Usage};

use crate::answer::{AnswerFacts, StreamFault};
use crate::losses::DroppedFields;
use crate::request::VectorForm;

/// The inputs to embed.
#[derive(Debug)]
pub struct EmbeddingInputs<'a> {
    pub texts: Vec<Cow<'a, str>>,
    pub dimensions: Option<u64>,
    /// The task type of each input, where the client's dialect has them: as many as inputs, or none.
    pub tasks: Vec<Task<'a>>,
    /// The client's name for the inputs.
    pub param: &'static str,
}

/// What an embedding is for: a task type, and a document title.
#[derive(Debug, Clone, Default)]
pub struct Task<'a> {
    pub kind: Option<Cow<'a, str>>,
    pub title: Option<Cow<'a, str>>,
}

impl Task<'_> {
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }
}

/// A response: one vector for each input, in the same order.
#[derive(Debug)]
pub struct Vectors<'a> {
    pub vectors: Vec<Vector<'a>>,
    pub usage: Option<Usage>,
}

#[derive(Debug)]
pub enum Vector<'a> {
    /// A JSON array as written, so that no digit changes.
    Numbers(&'a str),
    /// Base64 of little-endian `f32`s.
    Base64(Cow<'a, str>),
}

impl Vector<'_> {
    /// The vector as an array of numbers.
    pub fn numbers(&self) -> Result<Cow<'_, str>, StreamFault> {
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

    pub fn base64(&self) -> Result<Cow<'_, str>, StreamFault> {
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
pub fn unsayable(param: String, what: &str, fix: &'static str) -> Box<Fault> {
    let message = format!("\"{param}\" {what}.");
    Box::new(Fault::new(FaultClass::Unsupported, "unsupported_value", message).fix(fix).param(param))
}

/// What a response repeats of its request.
#[derive(Debug, Clone, Copy)]
pub struct VectorOptions<'a> {
    pub model: &'a str,
    pub form: VectorForm,
    pub prompt_bytes: u64,
}

/// How a dialect asks for embeddings, and answers with them.
pub trait Embeddings: Sync {
    /// Reads the inputs of a request that was decoded before.
    fn read_texts<'a>(
        &self,
        body: &'a [u8],
        form: VectorForm,
        has_tasks: bool,
        losses: &mut DroppedFields,
    ) -> Result<EmbeddingInputs<'a>, Box<Fault>>;

    /// Writes the request.
    ///
    /// # Errors
    /// The upstream does not take that many.
    fn write_texts(&self, texts: &EmbeddingInputs<'_>, model: &str) -> Result<Vec<u8>, Box<Fault>>;

    /// Reads a response.
    ///
    /// # Errors
    /// It is not one, or it is an error.
    fn read_vectors<'a>(&self, body: &'a [u8]) -> Result<Vectors<'a>, StreamFault>;

    /// Reads the usage alone of a response that is forwarded as it is; `None` where the usage can't be told without the vectors.
    fn read_usage(&self, _body: &Bytes) -> Option<Result<AnswerFacts, StreamFault>> {
        None
    }

    /// Writes a response.
    ///
    /// # Errors
    /// A vector is not one.
    fn write_vectors(
        &self,
        vectors: &Vectors<'_>,
        options: VectorOptions<'_>,
    ) -> Result<Vec<u8>, StreamFault>;
}
