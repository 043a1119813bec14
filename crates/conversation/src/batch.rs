//! Batches: the models that their requests name, where requests are stored, and the lines of results.

use std::borrow::Cow;

use bytes::Bytes;
use domain::hosting::BatchPlaces;
use domain::{Fault, FaultClass, Grammar, Usage};
use json::Span;
use json::splice::{Edit, splice};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::limits::BATCH_MODELS_MAX;
use crate::request::{rename_at, resource_text};

/// The fix for a batch that is too large.
pub const SEVERAL: &str = "Send several batches.";

/// The requests of a batch that come inline, or the storage that holds them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchModels {
    /// The models that the requests name, each once, in the order of their first mention.
    pub models: Vec<BatchModel>,
    /// The storage location of requests that are not inline.
    pub storage: Option<JobStorage>,
    /// The most output tokens of the requests that bound them, together.
    pub output_tokens: u64,
    /// The answers without such a bound.
    pub unbounded: u64,
    /// The span of each model name in the body, with its index in `models`.
    model_spans: Vec<(Span, usize)>,
    /// Spans that repeat the model of the address, as a resource name.
    resources: Vec<Span>,
}

/// A model that some of the requests name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchModel {
    /// As the client wrote it.
    pub name: String,
    /// Path of its first mention.
    pub path: String,
    /// Its name at the provider that gets the batch.
    pub upstream_name: Option<String>,
}

/// Where a job's requests and results are stored, and the role that gives access to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStorage {
    pub places: BatchPlaces,
    /// The members of the client's request that lists show.
    pub listed: Map<String, Value>,
}

/// The result of one request of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutputLine {
    pub custom_id: String,
    /// The model's name in the vendor's answer.
    pub model: Option<String>,
    /// 0 where the request was never tried.
    pub status: u16,
    pub request_id: Option<String>,
    pub error_code: Option<String>,
    pub usage: Option<Usage>,
}

/// The answer in the line of a result, whose usage counts, and the grammar that it is in.
pub type LineAnswer<'a> = Option<(&'a str, Grammar)>;

/// How far a batch is, by its provider's object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    /// Its provider's words for it.
    Running(String),
    /// It ended before any of its requests was processed.
    NoResults,
    Ended(EndedBatch),
}

/// A batch whose requests have all ended, successfully or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedBatch {
    pub ended: BatchEnd,
    /// The endpoint under which its requests are booked.
    pub endpoint: String,
    pub results: BatchResults,
}

/// When a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEnd {
    UnixMs(u64),
    /// RFC 3339, and the member that it was read from.
    Written(String, &'static str),
}

/// Where the results of a batch are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchResults {
    /// In files at the provider; `requests` is the file of the requests.
    Files { results: Vec<String>, requests: Option<String> },
    /// At an address below that of the batch.
    Below,
    /// Inside the batch object.
    Inside,
    /// In the customer's own storage, at this URI, if the provider reports it.
    Storage(Option<String>),
}

/// Splits the results of a batch out of the object that holds them, while it is being received. It does not
/// validate the JSON; whoever parses the pieces does.
pub trait SplitResults: Send {
    /// The results that this piece of the object completes.
    ///
    /// # Errors
    /// The object is too long or too deep.
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Bytes>, TooLong>;

    /// The object without its results.
    fn rest(self: Box<Self>) -> Vec<u8>;
}

/// A result or the rest of the object is too large, or nested too deeply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// The model that an answer or a request names.
#[derive(Deserialize, Default)]
pub struct Named<'a> {
    #[serde(borrow)]
    pub model: Option<Cow<'a, str>>,
}

impl BatchModels {
    /// For one model, named by the address and repeated at each of `resources`.
    pub fn addressed(model: &str, resources: Vec<Span>) -> Self {
        let model = BatchModel { name: model.to_owned(), path: "model".to_owned(), upstream_name: None };
        Self { models: vec![model], resources, ..Self::default() }
    }

    /// Adds what a request says of the length of each of its answers.
    pub fn bound(&mut self, output_tokens: Option<u64>, answers: u64) {
        match output_tokens {
            Some(most) => {
                self.output_tokens = self.output_tokens.saturating_add(most.saturating_mul(answers));
            }
            None => self.unbounded = self.unbounded.saturating_add(answers),
        }
    }

    /// Whether one model answers all requests.
    pub fn is_of_one_model(&self) -> bool {
        self.models.len() == 1
    }

    /// For one model and requests that are stored elsewhere.
    pub fn of_job(model: String, path: &str, span: Span, storage: JobStorage) -> Self {
        let model = BatchModel { name: model, path: path.to_owned(), upstream_name: None };
        Self { models: vec![model], storage: Some(storage), model_spans: vec![(span, 0)], ..Self::default() }
    }

    /// Adds the model that a request names; `path` says where.
    ///
    /// # Errors
    /// The batch names too many models.
    pub fn name(&mut self, model: String, span: Span, path: impl Fn() -> String) -> Result<(), Box<Fault>> {
        let known = self.models.iter().position(|known| known.name == model);
        let at = known.unwrap_or(self.models.len());
        if at >= BATCH_MODELS_MAX {
            let message = format!("The requests of a batch name more than {BATCH_MODELS_MAX} models.");
            let fault = Fault::new(FaultClass::BadRequest, "too_many_models", message);
            return Err(Box::new(fault.param(path()).fix(SEVERAL)));
        }
        if known.is_none() {
            self.models.push(BatchModel { name: model, path: path(), upstream_name: None });
        }
        self.model_spans.push((span, at));
        Ok(())
    }

    /// The client's bytes with every model renamed to what the provider calls it.
    pub fn upstream_body(&self, body: &Bytes) -> Vec<Bytes> {
        let renamed = self.model_spans.iter().filter_map(|(span, at)| {
            let model = self.models.get(*at)?;
            let name = model.upstream_name.as_deref().filter(|name| *name != model.name)?;
            Some(rename_at(*span, name))
        });
        let resource =
            self.models.first().and_then(|model| model.upstream_name.as_deref()).map(resource_text);
        let again = self.resources.iter().filter_map(|span| {
            let text = resource.as_deref().filter(|text| span.of(body) != text.as_bytes())?;
            Some(Edit { span: *span, text: Cow::Borrowed(text) })
        });
        let mut out = Vec::with_capacity(1);
        splice(body, &mut renamed.chain(again).collect::<Vec<_>>(), &mut out);
        // Thousands of pieces would make as many segments in each write.
        if out.len() > 1 { vec![out.concat().into()] } else { out }
    }
}
