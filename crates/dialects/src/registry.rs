//! The registry of dialects: one row for each, and what is the same for all of them but for its row.

use anthropic::Anthropic;
use bytes::Bytes;
use chat::{Chat, StreamScanner};
use conversation::face::{Face, Facts};
use conversation::features::FeatureNames;
use conversation::models::ModelRow;
use conversation::objects::StoredObjects;
use conversation::own_batch::OwnBatches;
use conversation::routes::DialectRoute;
use converse::Converse;
use domain::{Dialect, Fault, Grammar, StoredKind, StoredObjectKind};
use gemini::Gemini;
use http::HeaderMap;
use responses::Responses;

/// The face of a grammar.
#[inline]
pub const fn face(grammar: Grammar) -> &'static dyn Face {
    match grammar {
        Grammar::Chat => &Chat,
        Grammar::Responses => &Responses,
        Grammar::Anthropic => &Anthropic,
        Grammar::Gemini => &Gemini,
        Grammar::Converse => &Converse,
    }
}

/// The scanner of the stream that is most traffic: Chat Completions on both sides. It is a type and not a part
/// of the face, so that no chunk is dispatched dynamically.
pub(crate) type PassthroughScanner = StreamScanner;

/// The scanner of a stream that is forwarded in this format without being turned into events; `None` where it
/// has to be.
pub(crate) fn scanner(grammar: Grammar, hide_usage: bool) -> Option<PassthroughScanner> {
    (grammar == Grammar::Chat).then(|| StreamScanner::new(hide_usage))
}

pub(crate) fn scanner_ping() -> &'static [u8] {
    ping(Grammar::Chat)
}

/// The face of what a client speaks; tasks and the native API borrow that of Chat Completions, and requests to invoke a
/// model that of the same vendor's other API, whose errors they have.
pub fn client_face(dialect: Dialect) -> &'static dyn Face {
    if dialect == Dialect::Invoke { &Converse } else { face(dialect.grammar()) }
}

/// The names of a dialect for the request features that it can express.
pub fn feature_names(grammar: Grammar) -> FeatureNames {
    face(grammar).facts().features
}

/// Every dialect that has a face of its own.
fn faces() -> impl Iterator<Item = (Dialect, &'static dyn Face)> {
    Grammar::ALL.into_iter().map(|grammar| (grammar.dialect(), face(grammar)))
}

/// The paths of every dialect. Of two that fit a request, the first is meant.
pub fn routes() -> impl Iterator<Item = (Dialect, &'static DialectRoute)> {
    faces().flat_map(|(dialect, face)| face.routes().iter().map(move |route| (dialect, route)))
}

/// The paths below which errors are written in a dialect, where no longer one of another dialect holds.
pub fn roots() -> impl Iterator<Item = (Dialect, &'static str)> {
    faces().flat_map(|(dialect, face)| face.facts().roots.iter().map(move |root| (dialect, *root)))
}

/// The dialect whose SDKs send such headers, if no other's do.
pub fn sdk_dialect(headers: &HeaderMap) -> Option<Dialect> {
    let sends = |face: &dyn Face| face.facts().sdk_header.is_some_and(|name| headers.contains_key(name));
    faces().find(|(_, face)| sends(*face)).map(|(dialect, _)| dialect)
}

/// The path that is meant where two dialects have the same one: their SDKs differ in where they put the key.
pub fn meant_path(path: &str, query: &str, headers: &HeaderMap) -> Option<String> {
    faces().find_map(|(_, face)| {
        let Facts { sdk_header, key_parameter, shared_paths, .. } = face.facts();
        let (own, rest) = shared_paths.iter().find_map(|(shared, own)| {
            let rest = path.strip_prefix(shared)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((own, rest))
        })?;
        let is_key = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| Some(name) == *key_parameter);
        let is_meant =
            sdk_header.is_some_and(|name| headers.contains_key(name)) || query.split('&').any(is_key);
        is_meant.then(|| format!("{own}{rest}"))
    })
}

/// A type of object that providers store, in the format of its dialect.
pub fn stored_objects(kind: StoredObjectKind) -> Option<&'static dyn StoredObjects> {
    client_face(kind.dialect()).objects(kind.kind())
}

/// The form of a dialect's batches where the gateway works through them itself, if it can.
pub fn own_batches(dialect: Dialect) -> Option<&'static dyn OwnBatches> {
    client_face(dialect).own_batches()
}

/// Whether a batch's models are known when it is created: one model for all of it, or several that the
/// request names. Other batches are files of requests.
pub fn lists_models(kind: StoredObjectKind) -> bool {
    kind.kind() == StoredKind::Batch && client_face(kind.dialect()).facts().batches.is_some()
}

/// The `content-type` of a stream.
pub fn stream_type(dialect: Dialect, as_array: bool) -> &'static str {
    let facts = face(dialect.grammar()).facts();
    // A stream in the form of one JSON array is, by its content type, a plain JSON document.
    if as_array && !facts.has_frames { "application/json; charset=utf-8" } else { facts.stream_type }
}

/// A comment or event that keeps an idle stream open, in a form that the dialect's SDKs ignore.
pub fn ping(grammar: Grammar) -> &'static [u8] {
    face(grammar).facts().ping
}

/// The status code for a fault.
pub fn status(fault: &Fault, dialect: Dialect) -> u16 {
    client_face(dialect).status(fault)
}

/// A list of models, in the client's dialect.
pub fn models_list(dialect: Dialect, rows: &[ModelRow]) -> Bytes {
    client_face(dialect).models_list(rows)
}

/// One model, in the client's dialect.
pub fn model_object(dialect: Dialect, row: &ModelRow) -> Bytes {
    client_face(dialect).model_object(row)
}
