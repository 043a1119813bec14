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
#[must_use]
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

/// The face of what a client speaks; tasks and the native API borrow that of Chat Completions.
#[must_use]
pub fn client_face(dialect: Dialect) -> &'static dyn Face {
    face(dialect.grammar())
}

/// The names of a dialect for the request features that it can express.
#[must_use]
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
#[must_use]
pub fn sdk_dialect(headers: &HeaderMap) -> Option<Dialect> {
    let sends = |face: &dyn Face| face.facts().sdk_header.is_some_and(|name| headers.contains_key(name));
    faces().find(|(_, face)| sends(*face)).map(|(dialect, _)| dialect)
}

/// The path that is meant where two dialects have the same one: their SDKs differ in where they put the key.
#[must_use]
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
#[must_use]
pub fn stored_objects(kind: StoredObjectKind) -> Option<&'static dyn StoredObjects> {
    client_face(kind.dialect()).objects(kind.kind())
}

/// The form of a dialect's batches where the gateway works through them itself, if it can.
#[must_use]
pub fn own_batches(dialect: Dialect) -> Option<&'static dyn OwnBatches> {
    client_face(dialect).own_batches()
}

/// Whether a batch's models are known when it is created: one model for all of it, or several that the
/// request names. Other batches are files of requests.
#[must_use]
pub fn lists_models(kind: StoredObjectKind) -> bool {
    kind.kind() == StoredKind::Batch && client_face(kind.dialect()).facts().batches.is_some()
}

/// The `content-type` of a stream.
#[must_use]
pub fn stream_type(dialect: Dialect, as_array: bool) -> &'static str {
    let facts = client_face(dialect).facts();
    // A stream in the form of one JSON array is, by its content type, a plain JSON document.
    if as_array && !facts.has_frames { "application/json; charset=utf-8" } else { facts.stream_type }
}

/// A comment or event that keeps an idle stream open, in a form that the dialect's SDKs ignore.
#[must_use]
pub fn ping(grammar: Grammar) -> &'static [u8] {
    face(grammar).facts().ping
}

/// The status code for a fault.
#[must_use]
pub fn status(fault: &Fault, dialect: Dialect) -> u16 {
    client_face(dialect).status(fault)
}

/// A list of models, in the client's dialect.
#[must_use]
pub fn models_list(dialect: Dialect, rows: &[ModelRow]) -> Bytes {
    client_face(dialect).models_list(rows)
}

/// One model, in the client's dialect.
#[must_use]
pub fn model_object(dialect: Dialect, row: &ModelRow) -> Bytes {
    client_face(dialect).model_object(row)
}

#[cfg(test)]
mod tests {
    use conversation::features::Feature;
    use domain::{FaultClass, UpstreamReport};

    use super::*;

    fn check(class: FaultClass, reported: u16, dialect: Dialect, expected: u16) {
        let report = UpstreamReport { status: Some(reported), ..UpstreamReport::default() };
        let fault = Fault::new(class, "word", "Text.").upstream(report);
        assert_eq!(status(&fault, dialect), expected, "{class:?} {reported} {dialect:?}");
    }

    #[test]
    fn a_shade_of_bad_request_is_the_providers_own() {
        for specific in [405, 410, 412, 415, 418, 422, 423, 424, 428, 431, 451] {
            check(FaultClass::BadRequest, specific, Dialect::Chat, specific);
            check(FaultClass::BadRequest, specific, Dialect::Anthropic, specific);
        }
        // Statuses of other fault classes, and those about the client's own connection, are not passed on.
        for other in [200, 302, 401, 402, 403, 404, 407, 408, 409, 421, 426, 429, 499, 500] {
            check(FaultClass::BadRequest, other, Dialect::Chat, 400);
        }
        check(FaultClass::UpstreamQuota, 412, Dialect::Chat, 402);
    }

    #[test]
    fn some_classes_have_another_status_in_a_dialect() {
        check(FaultClass::Overloaded, 503, Dialect::Anthropic, 529);
        check(FaultClass::Overloaded, 529, Dialect::Chat, 503);
        check(FaultClass::UpstreamQuota, 402, Dialect::Gemini, 429);
        check(FaultClass::UpstreamQuota, 429, Dialect::Anthropic, 402);
        check(FaultClass::UpstreamQuota, 429, Dialect::Converse, 400);
        check(FaultClass::Unauthenticated, 401, Dialect::Converse, 403);
        check(FaultClass::UpstreamAuth, 401, Dialect::Converse, 424);
        check(FaultClass::Overloaded, 529, Dialect::Converse, 503);
    }

    #[test]
    fn every_feature_has_a_name_in_some_dialect() {
        for feature in Feature::all() {
            let has_name = |grammar| feature.name(feature_names(grammar)).is_some();
            assert!(Grammar::ALL.into_iter().any(has_name), "{feature:?}");
        }
    }

    #[test]
    fn each_type_of_stored_object_has_a_format() {
        for kind in StoredObjectKind::all() {
            assert!(stored_objects(kind).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn a_path_of_two_dialects_means_that_of_the_key() {
        let meant = |address: &str, header: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = header {
                headers.insert(name, http::HeaderValue::from_static("k"));
            }
            let (path, query) = address.split_once('?').unwrap_or((address, ""));
            meant_path(path, query, &headers)
        };
        let google = Some("x-goog-api-key");
        for (path, header, expected) in [
            ("/v1/batches", google, Some("/v1beta/batches")),
            ("/v1/batches?pageSize=1", google, Some("/v1beta/batches")),
            ("/v1/batches/b:cancel?alt=json&key=k", None, Some("/v1beta/batches/b:cancel")),
            ("/v1/batches/b", Some("authorization"), None),
            ("/v1/batches?after=key=", None, None),
            ("/v1/batchesx", google, None),
            ("/v1/models", google, None),
            ("/v1beta/batches", google, None),
            ("/v1/cachedContents/c", google, Some("/v1beta/cachedContents/c")),
        ] {
            assert_eq!(meant(path, header).as_deref(), expected, "{path}");
        }
    }

    fn row() -> ModelRow {
        ModelRow { id: "a/b".into(), owned_by: "a".into(), created: 1_795_132_800 }
    }

    #[test]
    fn each_grammar_has_its_list() {
        let text = |dialect| String::from_utf8(models_list(dialect, &[row()]).to_vec()).unwrap();
        assert_eq!(
            text(Dialect::Chat),
            r#"{"object":"list","data":[{"id":"a/b","object":"model","created":1795132800,"owned_by":"a"}]}"#
        );
        assert_eq!(
            text(Dialect::Anthropic),
            r#"{"data":[{"type":"model","id":"a/b","display_name":"a/b","created_at":"2026-11-20T00:00:00Z"}],"has_more":false,"first_id":"a/b","last_id":"a/b"}"#
        );
        assert!(text(Dialect::Gemini).starts_with(r#"{"models":[{"name":"models/a/b","displayName":"a/b","#));
    }
}
