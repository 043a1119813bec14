//! Documents ranked by their relevance to a query.

use bytes::Bytes;
use chat::{Input, RequestFields};
use conversation::answer::StreamFault;
use conversation::embed::unsayable;
use conversation::request::Request;
use dialects::{AnswerPath, BufferedAnswer};
use domain::{Fault, Grammar, Operation, Usage};
use json::members::{Members, kind_of, value_of};
use json::refusal::{missing, wrong_type, wrong_value};
use json::{Cursor, Kind, Value};

use crate::ceiling;
use crate::extra_fields::ExtraFields;
use crate::spec::{CallSize, Facts, ModelLimits, OperationSpec, RequestSource, Unsupported};

/// Providers that bill searches count this many texts as one, and a longer text as several.
const TEXTS_OF_A_SEARCH: u64 = 100;
const BYTES_OF_A_TEXT: u64 = 500;

const DOCUMENTS: &str = "Send the texts to rank.";
const QUERY: &str = "Send the question as a string.";
const TEXTS: &str = "Send documents as texts: this model ranks nothing else.";

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
        return Err(wrong_value(name.to_owned(), "is empty", "Send at least one string.".to_owned()));
    }
    Ok(documents)
}

/// A request for a ranking, read for a vendor with a format of its own that ranks texts.
#[derive(Debug)]
pub struct RerankRequest<'a> {
    pub query: String,
    pub documents: Vec<String>,
    pub top_n: Option<u64>,
    /// The documents are to be in the answer.
    pub return_documents: bool,
    pub extra: ExtraFields<'a>,
}

impl<'a> RerankRequest<'a> {
    /// Reads the body of a request that was decoded before.
    pub fn read(client: Grammar, body: &'a [u8], is_lenient: bool) -> Result<Self, Box<Fault>> {
        let mut fields = ExtraFields::read(client, body, is_lenient)?;
        let query = fields.needed_text("query", QUERY)?;
        let documents = fields.elements("documents")?;
        let documents = documents.ok_or_else(|| missing("documents".to_owned(), DOCUMENTS))?;
        Ok(Self {
            query,
            documents: documents
                .into_iter()
                .map(|(path, one)| text_of(path, one))
                .collect::<Result<_, _>>()?,
            top_n: fields.count("top_n")?,
            return_documents: fields.boolean("return_documents")? == Some(true),
            extra: fields,
        })
    }
}

/// The text of a document, which is a string or an object with a `text`.
fn text_of(path: String, document: &[u8]) -> Result<String, Box<Fault>> {
    match value_of(document)? {
        Value::String(text) => Ok(text.decode().into_owned()),
        Value::Object(_) => {
            let mut members = Members::read(document, path)?;
            let text = members.needed_text("text", DOCUMENTS)?;
            match members.rest().next() {
                None => Ok(text),
                Some(name) => Err(unsayable(name, "isn't a text part of a document", TEXTS)),
            }
        }
        other => Err(wrong_type(path, "a string", kind_of(&other))),
    }
}
