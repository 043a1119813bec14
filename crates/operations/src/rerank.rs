//! Documents ranked by their relevance to a query.

use bytes::Bytes;
use chat::{Input, RequestFields};
use conversation::answer::StreamFault;
use conversation::request::Request;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Fault, Operation, Usage};
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

use crate::ceiling;
use crate::spec::{CallSize, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

/// Providers that bill searches count this many texts as one, and a longer text as several.
const TEXTS_OF_A_SEARCH: u64 = 100;
const BYTES_OF_A_TEXT: u64 = 500;

static FACTS: Facts = Facts {
    unsupported: Unsupported::new(
        "has no way to put texts in the order of a question",
        "Use a model that ranks, such as GET /v2/capabilities lists.",
    ),
    counts_tokens: false,
    ..Facts::TEXT
};
static FIELDS: RequestFields =
    RequestFields { own: &["documents"], ..RequestFields::of("query", Input::OneText) };

#[derive(Debug)]
pub(crate) struct Rerank;

impl OperationSpec for Rerank {
    fn operation(&self) -> Operation {
        Operation::Rerank
    }

    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn read_request(&self, source: RequestSource<'_>) -> Result<Request, Box<Fault>> {
        let mut found = None;
        let read = chat::read_request(source.body, &FIELDS, &mut |name, cursor| {
            found = Some(read_documents(cursor, name)?);
            Ok(())
        })?;
        let documents = found
            .ok_or_else(|| missing("documents".to_owned(), "Send an array of the texts to put in order."))?;
        let mut request = read.request;
        request.stream = false;
        // The query is read with each document.
        let query_bytes = request.prompt_bytes.saturating_mul(documents.count);
        request.prompt_bytes = documents.bytes.saturating_add(query_bytes);
        request.units.searches = documents.searches_max(request.prompt_bytes);
        Ok(request)
    }

    fn ceiling(&self, call: &CallSize<'_>, _model: ModelLimits) -> Usage {
        ceiling::of_media(call.request, call.request.prompt_bytes.max(call.body_bytes), 0)
    }

    /// Nothing for a ranking that did not arrive, unless the tokens of its documents have a price.
    fn counted_in_units(&self, _request: &Request, sells_tokens: Option<bool>) -> Option<Usage> {
        (sells_tokens == Some(false)).then(Usage::default)
    }

    fn buffered_answer(&self, _path: &AnswerPath, body: Bytes) -> Result<BufferedAnswer, StreamFault> {
        dialects::media::buffered_ranking(body)
    }
}

/// The documents to rerank.
#[derive(Debug, Default, Clone, Copy)]
struct Documents {
    count: u64,
    bytes: u64,
}

impl Documents {
    /// An upper bound of the billed searches: no token is shorter than a byte.
    const fn searches_max(self, bytes: u64) -> u64 {
        self.count.saturating_add(bytes / BYTES_OF_A_TEXT).div_ceil(TEXTS_OF_A_SEARCH)
    }
}

/// Strings, or objects with text in them.
fn read_documents(cursor: &mut Cursor<'_>, name: &str) -> Result<Documents, Box<Fault>> {
    let kind = cursor.kind()?;
    if kind != Kind::Array {
        cursor.skip()?;
        return Err(wrong_type(name.to_owned(), "an array", kind));
    }
    let mut documents = Documents::default();
    cursor.array(|cursor, _| {
        let kind = cursor.kind()?;
        documents.bytes += match cursor.value()? {
            Value::String(text) => text.decoded_len() as u64,
            Value::Object(span) => span.len() as u64,
            _ => {
                let path = format!("{name}[{}]", documents.count);
                return Err(wrong_type(path, "a string or an object", kind));
            }
        };
        documents.count += 1;
        Ok::<(), Box<Fault>>(())
    })?;
    if documents.count == 0 {
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one text.".to_owned()));
    }
    Ok(documents)
}
