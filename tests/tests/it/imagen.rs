//! Imagen on Vertex AI: image requests in OpenAI's format, sent upstream as predictions and billed per image.

use harness::client::Answer;
use harness::directory::google::PROJECT;
use serde_json::{Value, json};

use crate::ask::{events_of, has, refused, refused_with, trace_of, with};
use crate::gateway::{CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, config, id_of, money, row, units};
use crate::vertex::service_account;
use crate::wait::found;

const IMAGES: &str = "/v1/images/generations";
const LOCATION: &str = "us-central1";
const IMAGEN: &str = "google/imagen-4.0-generate-001";
/// A model without a known price.
const FAST: &str = "vertex:imagen-4.0-fast-generate-001";
/// An operator's own price, in micro-USD.
const PRICES: &str = r#"
[[model]]
name = "google/imagen-4.0-generate-001"
modality = "image"
offer = [
    { provider = "vertex_ai", upstream_model = "imagen-4.0-generate-001", rates = { per_image = 40_000 } },
    { provider = "fal", upstream_model = "fal-ai/flux/schnell", rates = { per_image = 30_000 } },
]
"#;
/// The price of one image in nano-USD, and with the operator's markup of a tenth.
const NANOS: i64 = 40_000_000;
const SOLD_NANOS: i64 = 44_000_000;
/// The price of one image from another provider.
const ELSEWHERE_NANOS: i64 = 30_000_000;

/// With a pooled account.
async fn pooled() -> Gateway {
    let gateway = Gateway::priced(config(), PRICES).await;
    let account = service_account(&gateway, POOL, LOCATION, json!({}));
    gateway.make("/v2/accounts", with(account, json!({"markup_bps": 1_000}))).await;
    gateway
}

/// Adds the workspace's own credential; returns its id.
async fn credential(gateway: &Gateway, key: &str) -> String {
    id_of(&gateway.make(CREDENTIALS, service_account(gateway, key, LOCATION, json!({}))).await)
}

async fn post(gateway: &Gateway, more: Value) -> Answer {
    gateway.post(IMAGES, &wanted(more)).await
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

/// The path and body of the last call with this key, and whether it was billable.
fn sent(gateway: &Gateway, key: &str) -> (String, Value, bool) {
    let call = gateway.last(key);
    (call.path.clone(), call.json(), call.billable)
}

fn wanted(more: Value) -> Value {
    with(json!({"model": IMAGEN, "prompt": "a tide"}), more)
}

fn booked(row: &Value) -> (u64, (i64, i64, bool)) {
    (units(row, "images"), money(row))
}

fn address(model: &str) -> String {
    format!("/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models/{model}:predict")
}

#[tokio::test]
async fn managed_pictures_are_billed_by_the_picture_and_what_a_filter_holds_back_costs_nothing() {
    let gateway = &pooled().await;
    let form = json!({"output_format": "jpeg", "output_compression": 80, "response_format": "b64_json"});
    let own = json!({"personGeneration": "dont_allow", "enhancePrompt": true});
    let more = with(form, json!({"n": 2, "size": "1408x768", "user": "u"}));
    let answer = post(gateway, with(more, own.clone())).await.must_be(200);
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.header("agent-resolved-provider"), Some("vertex_ai"));
    assert_eq!(answer.header("agent-dropped-params"), Some("user"));
    let document = answer.json();
    let data = document["data"].as_array().unwrap();
    assert_eq!((data.len(), &document["output_format"]), (2, &json!("jpeg")), "{document}");
    assert!(document["created"].as_u64().unwrap() > 1_700_000_000, "{document}");
    for datum in data {
        assert!(datum["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{document}");
        assert_eq!(datum["revised_prompt"], "a tide, in the evening light", "{document}");
    }
    let output = json!({"mimeType": "image/jpeg", "compressionQuality": 80});
    let more =
        json!({"sampleCount": 2, "aspectRatio": "16:9", "outputOptions": output, "includeRaiReason": true});
    let parameters = with(own, more);
    let expected = json!({"instances": [{"prompt": "a tide"}], "parameters": parameters});
    assert_eq!(sent(gateway, POOL), (address("imagen-4.0-generate-001"), expected, true));
    let record = record_of(gateway, &answer).await;
    assert_eq!(money(&record), (2 * SOLD_NANOS, 2 * NANOS, false), "{record}");
    has(&record, json!({"operation": "images", "/units/images": 2, "estimated": false}));
    has(&record["attempts"][0]["receipt"][0], json!({"class": "images", "units": 2}));
    let usage = gateway.get("/v2/usage?group_by=modality").await;
    assert_eq!(row(&usage["data"], "modality", "image")["images"], 2, "{usage}");
    let body = wanted(json!({"stream": true, "n": 2, "partial_images": 1}));
    let answer = gateway.post(IMAGES, &body).await.must_be(200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.header("agent-dropped-params"), Some("partial_images"));
    let events = events_of(&answer);
    assert_eq!(events.len(), 2, "{events:?}");
    for event in &events {
        has(event, json!({"type": "image_generation.completed", "output_format": "png"}));
        assert!(event["b64_json"].as_str().unwrap().len() > 50, "{event}");
    }
    let record = record_of(gateway, &answer).await;
    assert_eq!(booked(&record), (2, (2 * SOLD_NANOS, 2 * NANOS, false)), "{record}");
    let answer = post(gateway, json!({"prompt": "a tide, half filtered", "n": 4})).await.must_be(200);
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2, "{}", answer.text());
    let record = record_of(gateway, &answer).await;
    assert_eq!(booked(&record), (2, (2 * SOLD_NANOS, 2 * NANOS, false)), "{record}");
    for (prompt, words) in [
        ("a tide, all filtered", "All images were filtered out"),
        ("something forbidden", "Responsible AI practices"),
    ] {
        for stream in [false, true] {
            let before = gateway.calls(POOL).len();
            let answer = post(gateway, json!({"prompt": prompt, "n": 2, "stream": stream})).await;
            refused_with(&answer, 400, "content_filter", words);
            let record = record_of(gateway, &answer).await;
            assert_eq!((money(&record), record.get("units")), ((0, 0, false), None), "{record}");
            // Neither another provider nor the same one is tried again.
            assert_eq!(gateway.calls(POOL).len() - before, 1, "{prompt}, stream {stream}");
            assert!(!sent(gateway, POOL).2, "{prompt} was charged");
        }
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn ones_own_service_account_pays_for_itself_and_what_is_refused_is_told_exactly() {
    let gateway = &Gateway::priced(config(), PRICES).await;
    credential(gateway, OWN).await;
    let answer = post(gateway, json!({"size": "2048x2048"})).await.must_be(200);
    assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 1);
    // Without a count such a model generates four.
    let parameters =
        json!({"sampleCount": 1, "aspectRatio": "1:1", "sampleImageSize": "2K", "includeRaiReason": true});
    assert_eq!(sent(gateway, OWN).1["parameters"], parameters);
    let record = record_of(gateway, &answer).await;
    assert_eq!(booked(&record), (1, (0, NANOS, false)), "{record}");
    let answer = post(gateway, json!({"model": FAST, "n": 3})).await.must_be(200);
    assert_eq!(sent(gateway, OWN).0, address("imagen-4.0-fast-generate-001"));
    let record = record_of(gateway, &answer).await;
    assert_eq!(booked(&record), (3, (0, 0, true)), "{record}");
    let lenient = gateway.client().header("agent-lenient", "true");
    for (more, param, code) in [
        (json!({"size": "1536x1024"}), "size", "unsupported_value"),
        (json!({"output_format": "webp"}), "output_format", "unsupported_value"),
        (json!({"response_format": "url"}), "response_format", "unsupported_value"),
        (json!({"quality": "high"}), "quality", "unsupported_parameter"),
        (json!({"background": "transparent"}), "background", "unsupported_parameter"),
        (json!({"storageUri": "gs://bucket/tides"}), "storageUri", "unsupported_parameter"),
    ] {
        let error = refused(&post(gateway, more.clone()).await, 400, code);
        assert_eq!(error["param"], param, "{error}");
        let answer = lenient.post(IMAGES, &wanted(more)).await.unwrap();
        assert_eq!(answer.status, 200, "{param}: {}", answer.text());
        assert_eq!(answer.header("agent-dropped-params"), Some(param));
        let parameters = json!({"sampleCount": 1, "includeRaiReason": true});
        assert_eq!(sent(gateway, OWN).1["parameters"], parameters, "{param}");
    }
    let before = gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"n": 5}), "n", "invalid_value"),
        (json!({"n": "two"}), "n", "invalid_type"),
        (json!({"prompt": null}), "prompt", "missing_required_parameter"),
        (json!({"size": "1024x1024", "aspectRatio": "1:1"}), "aspectRatio", "invalid_value"),
    ] {
        // None of these can be dropped in lenient mode.
        let error = refused(&lenient.post(IMAGES, &wanted(more)).await.unwrap(), 400, code);
        assert_eq!(error["param"], param, "{error}");
    }
    // Other models generate no images there, and these models do nothing else.
    post(gateway, json!({"model": "vertex:gemini-2.5-pro"})).await.must_be(400);
    gateway.chat(&crate::ask::question(FAST)).await.must_be(400);
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    refused_with(&post(gateway, json!({"size": "3:2"})).await, 400, "INVALID_ARGUMENT", "aspectRatio");
    let missing = post(gateway, json!({"model": "vertex:imagen-0"})).await;
    refused_with(&missing, 404, "model_not_found", "Publisher Model");
    gateway.emulator.deny(OWN);
    let answer = post(gateway, json!({})).await;
    let denied = "Permission 'aiplatform.endpoints.predict' denied";
    refused_with(&answer, 403, "upstream_permission_denied", denied);
    let record = record_of(gateway, &answer).await;
    assert_eq!((money(&record), record.get("units")), ((0, 0, false), None), "{record}");
    assert_eq!(gateway.emulator.violations(), []);
}

/// The full records of the answered requests, once there are this many.
async fn answered_rows(gateway: &Gateway, count: usize) -> Vec<Value> {
    let rows = found(&format!("{count} answered requests in the books"), async || {
        let mut rows = gateway.requests(100).await;
        rows.retain(|row| row["status"] == 200);
        (rows.len() >= count).then_some(rows)
    })
    .await;
    assert_eq!(rows.len(), count, "{rows:?}");
    gateway.whole(rows).await
}

#[tokio::test]
async fn one_write_moves_pictures_between_sellers_and_the_official_client_says_the_same() {
    let gateway = &pooled().await;
    let vertex = credential(gateway, OWN).await;
    let fal = json!({"provider": "fal", "secret": OWN_SECOND, "base_url": gateway.emulator.fal_url()});
    let elsewhere = id_of(&gateway.make(CREDENTIALS, fal).await);
    let scope = json!({"model": IMAGEN});
    let on = |id: &str| json!({"scope": scope, "profiles": ["byok"], "credential_ids": [id]});
    let path = format!("/v2/routes/{}", gateway.route(on(&elsewhere)).await);
    for body in [None, Some(on(&vertex)), Some(json!({"scope": scope, "profiles": ["managed_provider"]}))] {
        if let Some(body) = body {
            gateway.admin().put(&path, &body).await.unwrap().must_be(200);
        }
        assert_eq!(gateway.drive("imagen.py").await, 3);
    }
    // Each time two requests for two images, in routing order.
    let rows = answered_rows(gateway, 6).await;
    let expected = [
        ("fal", "byok", 0, ELSEWHERE_NANOS),
        ("vertex_ai", "byok", 0, NANOS),
        ("vertex_ai", "managed_provider", SOLD_NANOS, NANOS),
    ];
    for (rows, (provider, profile, sold, billed)) in rows.chunks(2).zip(expected) {
        for row in rows {
            has(row, json!({"provider": provider, "profile": profile}));
            assert_eq!(booked(row), (2, (2 * sold, 2 * billed, false)), "{row}");
        }
    }
    assert_eq!(gateway.emulator.violations(), []);
}
