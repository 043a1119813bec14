//! Batches that the gateway works through itself, as a dialect has them: the requests that they hold, the lines of their
//! results, and what clients read of their state.

use std::fmt::Debug;

use bytes::Bytes;
use domain::{Fault, ItemOutcome, KeptFile, OwnBatch, ResultsFile, StoredObjectId, TraceId};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::request::Addressed;

/// A request of a batch, as if it had been sent alone.
#[derive(Debug)]
pub struct OwnItem {
    /// The client's name for it.
    pub custom_id: String,
    pub body: Bytes,
    /// What the address of such a request says, in dialects whose addresses name the model.
    pub addressed: Option<Addressed>,
    /// The endpoint that it is for, where a request of a batch says that.
    pub endpoint: Option<String>,
}

/// How a request of a batch ended.
#[derive(Debug, Clone, Copy)]
pub struct OwnResult<'a> {
    pub custom_id: &'a str,
    pub outcome: ItemOutcome,
    /// The answer or the error, in the dialect; empty where the request was never tried.
    pub body: &'a [u8],
    /// The request's place in its batch.
    pub position: u64,
    /// The id of its exchange, and the status of the answer; `None` where it was never tried.
    pub exchange: Option<(TraceId, u16)>,
}

impl OwnResult<'_> {
    /// The answer as a part of a line: answers are forwarded as they came, and those of some upstreams are written over
    /// several lines. `None` where it is no JSON.
    pub fn body_on_one_line(&self) -> Option<String> {
        let body = serde_json::from_slice::<&RawValue>(self.body).ok()?;
        // Line ends stand between the tokens of JSON alone.
        Some(body.get().replace(['\n', '\r'], " "))
    }
}

/// What a file or a list of requests makes of a new batch.
#[derive(Debug)]
pub struct FileRequests {
    pub items: Vec<Bytes>,
    /// What the dialect keeps of the batch: also what is wrong with the file, if something is.
    pub details: String,
}

/// Whether no part of a value is a member of such a name, but for an address that holds its content itself.
pub fn names_none(value: &Value, is_named: &dyn Fn(&str) -> bool) -> bool {
    let is_content = |value: &Value| value.as_str().is_some_and(|address| address.starts_with("data:"));
    match value {
        Value::Object(members) => members
            .iter()
            .all(|(name, value)| (!is_named(name) || is_content(value)) && names_none(value, is_named)),
        Value::Array(values) => values.iter().all(|value| names_none(value, is_named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The files that the requests and results of a dialect's batches are in.
pub trait OwnFiles: Debug + Sync {
    /// The purpose of such a file.
    fn purpose(&self) -> &'static str;

    /// The details stored with a file of requests.
    fn describe(&self, name: &str, bytes: u64) -> String;

    /// A file of requests as clients read it.
    fn write_file(&self, file: &OwnBatch) -> String;

    /// A file of another purpose.
    fn write_kept_file(&self, file: &KeptFile) -> String;

    /// A file of results of a batch that has ended.
    fn write_results_file(&self, batch: &OwnBatch, results: ResultsFile, bytes: u64) -> String;

    /// The answer to a file's deletion.
    fn write_file_deleted(&self, id: StoredObjectId) -> String;

    /// The batch that `request` makes of a file's content. `is_endpoint` tells for what endpoints requests may be.
    ///
    /// # Errors
    /// What is wrong with the request; what is wrong with the file stands in the batch.
    fn read_file(
        &self,
        request: &Bytes,
        content: &Bytes,
        is_endpoint: &dyn Fn(&str) -> bool,
    ) -> Result<FileRequests, Box<Fault>>;
}

/// The form of a dialect's batches where the gateway works through them.
pub trait OwnBatches: Debug + Sync {
    /// The requests that a new batch holds, each so that it can be read alone. The body was decoded before. `model` is that
    /// of the address, in dialects whose addresses name it.
    ///
    /// # Errors
    /// A request that a batch can't hold.
    fn split(&self, body: &Bytes, model: &str) -> Result<FileRequests, Box<Fault>>;

    /// One of them; `None` for what is none.
    fn read_item(&self, item: &Bytes) -> Option<OwnItem>;

    /// The line of a result, with its line end.
    fn write_line(&self, result: &OwnResult<'_>) -> Vec<u8>;

    /// The batch as clients read it.
    fn write_batch(&self, batch: &OwnBatch) -> String;

    /// A batch that has ended, where its results are a part of it: the texts between which they stand, parted by commas,
    /// each time again.
    fn write_around_results(&self, _batch: &OwnBatch) -> Option<Vec<String>> {
        None
    }

    /// The answer to its cancellation.
    fn write_cancelled(&self, batch: &OwnBatch) -> String {
        self.write_batch(batch)
    }

    /// The answer to its deletion.
    fn write_deleted(&self, id: StoredObjectId) -> String;

    /// The `content-type` of its results.
    fn lines_type(&self) -> &'static str;

    /// Whether a request, in a provider's own batch on an account that workspaces share, can neither name what others keep
    /// there nor show what others sent, and uses nothing that its price in a batch does not cover. Without such a rule, none.
    fn may_be_pooled(&self, _item: &Bytes) -> bool {
        false
    }

    /// The requests of a batch, from its call or its file, where nothing beside them keeps it from such an account. They are slices of
    /// `content` where the dialect's prompts are cached without a mark.
    fn poolable(&self, content: &Bytes) -> Option<Vec<Bytes>> {
        Some(self.split(content, "").ok()?.items)
    }

    /// Its files, where its batches are made of some.
    fn files(&self) -> Option<&'static dyn OwnFiles> {
        None
    }
}
