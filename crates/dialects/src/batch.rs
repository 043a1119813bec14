//! Batch files, line by line: the requests in an input file and the results in an output file.

use std::borrow::Cow;

use crate::registry::face;
use bytes::Bytes;
use conversation::answer::StreamFault;
use conversation::batch::BatchOutputLine;
use domain::{Grammar, Operation, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::answer_path::AnswerPath;
use crate::buffered::BufferedAnswer;
use crate::embed::buffered_vectors;
use crate::media::{buffered_image_answer, buffered_object};
use crate::transcript::AnswerForm;
use crate::whole::buffered_answer;

/// One request of a batch, as far as accounting needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInputLine {
    pub custom_id: String,
    pub model: String,
}

#[derive(Deserialize)]
struct RequestLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    body: Named<'a>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Named<'a> {
    #[serde(borrow)]
    pub(crate) model: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ItemLine<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    response: Option<Answered<'a>>,
    #[serde(borrow)]
    error: Option<Failed<'a>>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    status_code: u16,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failed<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

/// The operation and the dialect of a batch's requests, by the endpoint that they share.
pub fn batch_operation(endpoint: &str) -> (Operation, Grammar) {
    file_batch_operation(endpoint)
        .unwrap_or_else(|| (Operation::Chat, own_grammar(endpoint).unwrap_or(Grammar::Chat)))
}

/// The same for the requests in a file; `None` for no such endpoint.
pub fn file_batch_operation(endpoint: &str) -> Option<(Operation, Grammar)> {
    Grammar::ALL.into_iter().find_map(|grammar| {
        let endpoints = face(grammar).facts().batch_endpoints;
        let (_, operation) = endpoints.iter().find(|(known, _)| *known == endpoint)?;
        Some((*operation, grammar))
    })
}

/// Reads a line of an input file; `None` where it is not a request.
pub fn read_batch_input(line: &[u8]) -> Option<BatchInputLine> {
    let read: RequestLine<'_> = serde_json::from_slice(line).ok()?;
    let model = read.body.model.unwrap_or_default().into_owned();
    Some(BatchInputLine { custom_id: read.custom_id.into_owned(), model })
}

/// The body of the request in a line of an input file; `None` where it is not a request.
pub fn batch_input_body(line: &Bytes) -> Option<Bytes> {
    let body = json::find_member(line, "body").ok()??;
    Some(line.slice(body.start..body.end))
}

/// A line of an input file under another name of its model; `None` where that has none there, or the line is no request.
pub fn rename_batch_input(line: &[u8], name_of: impl FnOnce(&str) -> Option<String>) -> Option<Vec<u8>> {
    let name = name_of(&read_batch_input(line)?.model)?;
    let body = json::find_member(line, "body").ok()??;
    let model = json::find_member(body.of(line), "model").ok()??;
    let (start, end) = (body.start + model.start, body.start + model.end);
    let quoted = serde_json::to_vec(&name).ok()?;
    Some([line.get(..start)?, &quoted, line.get(end..)?].concat())
}

/// Reads a line of an output file; `None` where it is not a result.
pub fn read_batch_output(line: &[u8], endpoint: &str) -> Option<BatchOutputLine> {
    if let Some(face) = own_grammar(endpoint).map(face) {
        let (line, answer) = face.read_batch_item(line)?;
        let usage = answer.and_then(|(answer, grammar)| usage_of(answer, grammar, buffered_answer));
        return Some(BatchOutputLine { usage, ..line });
    }
    let read: ItemLine<'_> = serde_json::from_slice(line).ok()?;
    let custom_id = read.custom_id.into_owned();
    let error_code = read.error.and_then(|error| error.code).map(Cow::into_owned);
    let Some(answered) = read.response else {
        return Some(BatchOutputLine {
            custom_id,
            model: None,
            status: 0,
            request_id: None,
            error_code,
            usage: None,
        });
    };
    let (operation, grammar) = batch_operation(endpoint);
    let is_well = (200..300).contains(&answered.status_code);
    let body = answered.body.map(RawValue::get).filter(|_| is_well);
    let named = body.and_then(|body| serde_json::from_str::<Named<'_>>(body).ok()).unwrap_or_default();
    Some(BatchOutputLine {
        custom_id,
        model: named.model.map(Cow::into_owned),
        status: answered.status_code,
        request_id: answered.request_id.map(Cow::into_owned),
        error_code,
        usage: body.and_then(|body| usage_of(body, grammar, answer_reader(operation))),
    })
}

/// The grammar whose own batches are booked under this endpoint.
fn own_grammar(endpoint: &str) -> Option<Grammar> {
    let is_own = |grammar: &Grammar| face(*grammar).facts().batches == Some(endpoint);
    Grammar::ALL.into_iter().find(is_own)
}

type ReadAnswerBody = fn(&AnswerPath, Bytes) -> Result<BufferedAnswer, StreamFault>;

/// What reads the answers to requests for an operation.
fn answer_reader(operation: Operation) -> ReadAnswerBody {
    match operation {
        Operation::Embed => buffered_vectors,
        Operation::Moderate => |_, body| buffered_object(body),
        Operation::Images => buffered_image_answer,
        _ => buffered_answer,
    }
}

/// The usage that an answer reports.
fn usage_of(body: &str, grammar: Grammar, read: ReadAnswerBody) -> Option<Usage> {
    let answer_path = AnswerPath { form: AnswerForm::Json, ..AnswerPath::chat(grammar, grammar) };
    read(&answer_path, Bytes::copy_from_slice(body.as_bytes())).ok()?.facts.usage
}
