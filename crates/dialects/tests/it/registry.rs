//! The tests of `dialects::registry`.

use conversation::features::Feature;
use conversation::models::ModelRow;
use dialects::{feature_names, meant_path, model_object, models_list, status, stored_objects};
use domain::{Dialect, Fault, FaultClass, Grammar, Modality, Price, Rates, StoredObjectKind, UpstreamReport};
use http::HeaderMap;
use serde_json::json;

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
        ("/v1/files/f", Some("anthropic-version"), Some("/v1/messages/files/f")),
        ("/v1/files", google, None),
    ] {
        assert_eq!(meant(path, header).as_deref(), expected, "{path}");
    }
}

fn row() -> ModelRow {
    ModelRow { id: "a/b".into(), owned_by: "a".into(), created: 1_795_132_800, ..ModelRow::default() }
}

#[test]
fn each_grammar_has_its_list() {
    let text = |dialect| String::from_utf8(models_list(dialect, &[row()]).to_vec()).unwrap();
    let chat = r#"{"object":"list","data":[{"id":"a/b","object":"model","created":1795132800,"owned_by":"a","name":"a/b"}]}"#;
    assert_eq!(text(Dialect::Chat), chat);
    let claude = r#"{"data":[{"type":"model","id":"a/b","display_name":"a/b","created_at":"2026-11-20T00:00:00Z"}],"has_more":false,"first_id":"a/b","last_id":"a/b"}"#;
    assert_eq!(text(Dialect::Anthropic), claude);
    let gemini = r#"{"models":[{"name":"models/a/b","displayName":"a/b","supportedGenerationMethods":["generateContent","#;
    assert!(text(Dialect::Gemini).starts_with(gemini));
}

#[test]
fn what_is_known_of_a_model_is_where_each_dialects_clients_read_it() {
    let (input, output, cached_read) = (Price(2_500_000), Price(10_000_000), Some(Price(1_250_000)));
    let rates = Rates { input, output, cached_read, ..Rates::default() };
    let known = ModelRow {
        display_name: Some("B".to_owned()),
        modality: Some(Modality::Chat),
        context_tokens: Some(128_000),
        output_tokens_max: Some(16_384),
        inputs: Some(vec!["text", "image"]),
        rates: Some(rates),
        ..row()
    };
    let shown = |dialect, row: &ModelRow| {
        serde_json::from_slice::<serde_json::Value>(&model_object(dialect, row)).unwrap()
    };
    let chat = json!({
        "id": "a/b", "object": "model", "created": 1_795_132_800, "owned_by": "a", "name": "B",
        "context_length": 128_000,
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125"},
        "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384},
    });
    assert_eq!(shown(Dialect::Chat, &known), chat);
    let claude = shown(Dialect::Anthropic, &known);
    assert_eq!((&claude["max_input_tokens"], &claude["max_tokens"]), (&json!(128_000), &json!(16_384)));
    assert_eq!((&claude["id"], &claude["display_name"]), (&json!("a/b"), &json!("B")));
    let gemini = shown(Dialect::Gemini, &known);
    assert_eq!((&gemini["inputTokenLimit"], &gemini["outputTokenLimit"]), (&json!(128_000), &json!(16_384)));
    assert_eq!((&gemini["name"], &gemini["displayName"]), (&json!("models/a/b"), &json!("B")));
    let vectors = ModelRow { modality: Some(Modality::Embedding), ..row() };
    let methods = shown(Dialect::Gemini, &vectors)["supportedGenerationMethods"].clone();
    assert_eq!(methods, json!(["embedContent", "batchEmbedContents"]));
}
