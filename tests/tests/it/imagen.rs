//! Imagen on Vertex AI: image requests in OpenAI's format, sent upstream as predictions and billed per image.

use harness::client::Answer;
use harness::directory::google::PROJECT;
use serde_json::{Value, json};

use crate::ask::{refused, trace_of, trace_of_stream, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config, id_of, row};
use crate::sdk::drive;
use crate::wait::found;

const IMAGES: &str = "/v1/images/generations";
const LOCATION: &str = "us-central1";
const IMAGEN: &str = "google/imagen-4.0-generate-001";
/// A model without a known price.
const FAST: &str = "vertex:imagen-4.0-fast-generate-001";
/// An operator's own price, in micro-USD.
const PRICES: &str = "
[[model]]
name = \"google/imagen-4.0-generate-001\"
modality = \"image\"
[[model.offer]]
provider = \"vertex_ai\"
upstream_model = \"imagen-4.0-generate-001\"
rates = { per_image = 40_000 }
[[model.offer]]
provider = \"fal\"
upstream_model = \"fal-ai/flux/schnell\"
rates = { per_image = 30_000 }
";
/// The price of one image in nano-USD, and with the operator's markup of a tenth.
const NANOS: i64 = 40_000_000;
const SOLD_NANOS: i64 = 44_000_000;
/// The price of one image from another provider.
const ELSEWHERE_NANOS: i64 = 30_000_000;

struct Fixture {
    gateway: Gateway,
}

async fn fixture() -> Fixture {
    Fixture { gateway: Gateway::priced(config(), PRICES).await }
}

/// With a pooled account.
async fn pooled() -> Fixture {
    let fixture = fixture().await;
    fixture.gateway.make("/v2/accounts", fixture.body(POOL, json!({"markup_bps": 1_000}))).await;
    fixture
}

/// With the workspace's own credential.
async fn own() -> Fixture {
    let fixture = fixture().await;
    fixture.credential(OWN).await;
    fixture
}

impl Fixture {
    /// A credential with a service account file whose tokens represent this key.
    fn body(&self, key: &str, more: Value) -> Value {
        let file = self.gateway.emulator.service_account(key);
        let config = json!({"location": LOCATION, "token_url": file["token_uri"]});
        let base_url = self.gateway.emulator.origin();
        let auth = "service_account";
        let body = json!({"provider": "vertex", "auth": auth, "secret": file, "base_url": base_url, "config": config});
        with(body, more)
    }

    async fn credential(&self, key: &str) -> String {
        id_of(&self.gateway.make("/v2/provider-credentials", self.body(key, json!({}))).await)
    }

    /// The workspace's own credential at another provider.
    async fn elsewhere(&self, key: &str) -> String {
        let base_url = self.gateway.emulator.fal_url();
        let body = json!({"provider": "fal", "secret": key, "base_url": base_url});
        id_of(&self.gateway.make("/v2/provider-credentials", body).await)
    }

    async fn post(&self, more: Value) -> Answer {
        self.gateway.client().post(IMAGES, &wanted(more)).await.unwrap()
    }

    async fn post_ok(&self, more: Value) -> Answer {
        let answer = self.post(more).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    async fn record_of(&self, answer: &Answer) -> Value {
        self.gateway.settled(&trace_of(answer)).await
    }

    /// The path and body of the last call with this key, and whether it was billable.
    fn sent(&self, key: &str) -> (String, Value, bool) {
        let call = self.gateway.calls(key).pop().unwrap();
        (call.path.clone(), call.json(), call.billable)
    }

    fn is_clean(&self) {
        assert_eq!(self.gateway.emulator.violations(), []);
    }
}

fn wanted(more: Value) -> Value {
    with(json!({"model": IMAGEN, "prompt": "a tide"}), more)
}

fn address(model: &str) -> String {
    format!("/v1/projects/{PROJECT}/locations/{LOCATION}/publishers/google/models/{model}:predict")
}

fn pictures(row: &Value) -> u64 {
    row["units"]["images"].as_u64().unwrap_or_else(|| panic!("no pictures: {row}"))
}

/// What the workspace owes and what the provider bills, in nano-USD, and whether the price is unknown.
fn money(row: &Value) -> (i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    (nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

#[tokio::test]
async fn managed_pictures_are_predicted_and_billed_by_the_picture() {
    let fixture = pooled().await;
    let more = json!({
        "n": 2, "size": "1408x768", "output_format": "jpeg", "output_compression": 80, "response_format": "b64_json",
        "personGeneration": "dont_allow", "enhancePrompt": true, "user": "u",
    });
    let answer = fixture.post_ok(more).await;
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
    let parameters = json!({
        "sampleCount": 2, "aspectRatio": "16:9", "outputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80},
        "personGeneration": "dont_allow", "enhancePrompt": true, "includeRaiReason": true,
    });
    let expected = json!({"instances": [{"prompt": "a tide"}], "parameters": parameters});
    assert_eq!(fixture.sent(POOL), (address("imagen-4.0-generate-001"), expected, true));
    let record = fixture.record_of(&answer).await;
    assert_eq!((record["operation"].as_str(), pictures(&record)), (Some("images"), 2), "{record}");
    assert_eq!(money(&record), (2 * SOLD_NANOS, 2 * NANOS, false), "{record}");
    assert_eq!(record["estimated"], false);
    let line = &record["attempts"][0]["receipt"][0];
    assert_eq!((&line["class"], &line["units"]), (&json!("images"), &json!(2)), "{line}");
    let usage = fixture.gateway.get("/v2/usage?group_by=modality").await;
    assert_eq!(row(&usage["data"], "modality", "image")["images"], 2, "{usage}");
    fixture.is_clean();
}

#[tokio::test]
async fn ones_own_service_account_pays_for_itself() {
    let fixture = own().await;
    let answer = fixture.post_ok(json!({"size": "2048x2048"})).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 1);
    let (_, body, _) = fixture.sent(OWN);
    // Without a count such a model generates four.
    let parameters =
        json!({"sampleCount": 1, "aspectRatio": "1:1", "sampleImageSize": "2K", "includeRaiReason": true});
    assert_eq!(body["parameters"], parameters);
    let record = fixture.record_of(&answer).await;
    assert_eq!((pictures(&record), money(&record)), (1, (0, NANOS, false)), "{record}");
    let answer = fixture.post_ok(json!({"model": FAST, "n": 3})).await;
    assert_eq!(fixture.sent(OWN).0, address("imagen-4.0-fast-generate-001"));
    let record = fixture.record_of(&answer).await;
    assert_eq!((pictures(&record), money(&record)), (3, (0, 0, true)), "{record}");
    fixture.is_clean();
}

#[tokio::test]
async fn a_whole_answer_is_told_as_a_stream() {
    let fixture = pooled().await;
    let body = wanted(json!({"stream": true, "n": 2, "partial_images": 1}));
    let mut streaming = fixture.gateway.client().stream(IMAGES, &body).await.unwrap();
    assert_eq!(streaming.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(streaming.header("agent-dropped-params"), Some("partial_images"));
    let (events, ended) = streaming.events().await;
    ended.unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    for event in &events {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(
            (&event["type"], &event["output_format"]),
            (&json!("image_generation.completed"), &json!("png"))
        );
        assert!(event["b64_json"].as_str().unwrap().len() > 50, "{event}");
    }
    let record = fixture.gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((pictures(&record), money(&record)), (2, (2 * SOLD_NANOS, 2 * NANOS, false)), "{record}");
    fixture.is_clean();
}

#[tokio::test]
async fn what_a_filter_holds_back_costs_nothing() {
    let fixture = pooled().await;
    let answer = fixture.post_ok(json!({"prompt": "a tide, half filtered", "n": 4})).await;
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2, "{}", answer.text());
    let record = fixture.record_of(&answer).await;
    assert_eq!((pictures(&record), money(&record)), (2, (2 * SOLD_NANOS, 2 * NANOS, false)), "{record}");
    for (prompt, words) in [
        ("a tide, all filtered", "All images were filtered out"),
        ("something forbidden", "Responsible AI practices"),
    ] {
        for stream in [false, true] {
            let before = fixture.gateway.calls(POOL).len();
            let answer = fixture.post(json!({"prompt": prompt, "n": 2, "stream": stream})).await;
            let error = refused(&answer, 400, "content_filter");
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
            let record = fixture.record_of(&answer).await;
            assert_eq!((money(&record), record.get("units")), ((0, 0, false), None), "{record}");
            // Neither another provider nor the same one is tried again.
            assert_eq!(fixture.gateway.calls(POOL).len() - before, 1, "{prompt}, stream {stream}");
            assert!(!fixture.sent(POOL).2, "{prompt} was charged");
        }
    }
    fixture.is_clean();
}

#[tokio::test]
async fn what_google_refuses_is_told_exactly() {
    let fixture = own().await;
    let error = refused(&fixture.post(json!({"size": "3:2"})).await, 400, "INVALID_ARGUMENT");
    assert!(error["message"].as_str().unwrap().contains("aspectRatio"), "{error}");
    let missing = fixture.post(json!({"model": "vertex:imagen-0"})).await;
    let error = refused(&missing, 404, "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("Publisher Model"), "{error}");
    fixture.gateway.emulator.deny(OWN);
    let answer = fixture.post(json!({})).await;
    let error = refused(&answer, 403, "upstream_permission_denied");
    let denied = "Permission 'aiplatform.endpoints.predict' denied";
    assert!(error["message"].as_str().unwrap().contains(denied), "{error}");
    let record = fixture.record_of(&answer).await;
    assert_eq!((money(&record), record.get("units")), ((0, 0, false), None), "{record}");
    fixture.is_clean();
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_by_name_or_dropped() {
    let fixture = own().await;
    for (more, param, code) in [
        (json!({"size": "1536x1024"}), "size", "unsupported_value"),
        (json!({"output_format": "webp"}), "output_format", "unsupported_value"),
        (json!({"response_format": "url"}), "response_format", "unsupported_value"),
        (json!({"quality": "high"}), "quality", "unsupported_parameter"),
        (json!({"background": "transparent"}), "background", "unsupported_parameter"),
        (json!({"storageUri": "gs://bucket/tides"}), "storageUri", "unsupported_parameter"),
    ] {
        let error = refused(&fixture.post(more.clone()).await, 400, code);
        assert_eq!(error["param"], param, "{error}");
        let lenient = fixture.gateway.client().header("agent-lenient", "true");
        let answer = lenient.post(IMAGES, &wanted(more)).await.unwrap();
        assert_eq!(answer.status, 200, "{param}: {}", answer.text());
        assert_eq!(answer.header("agent-dropped-params"), Some(param));
        let parameters = json!({"sampleCount": 1, "includeRaiReason": true});
        assert_eq!(fixture.sent(OWN).1["parameters"], parameters, "{param}");
    }
    let before = fixture.gateway.calls(OWN).len();
    for (more, param, code) in [
        (json!({"n": 5}), "n", "invalid_value"),
        (json!({"n": "two"}), "n", "invalid_type"),
        (json!({"prompt": null}), "prompt", "missing_required_parameter"),
        (json!({"size": "1024x1024", "aspectRatio": "1:1"}), "aspectRatio", "invalid_value"),
    ] {
        // None of these can be dropped in lenient mode.
        let lenient = fixture.gateway.client().header("agent-lenient", "true");
        let error = refused(&lenient.post(IMAGES, &wanted(more)).await.unwrap(), 400, code);
        assert_eq!(error["param"], param, "{error}");
    }
    // Other models generate no images there, and these models do nothing else.
    let other = fixture.post(json!({"model": "vertex:gemini-2.5-pro"})).await;
    assert_eq!(other.status, 400, "{}", other.text());
    let talk = fixture.gateway.chat(&crate::ask::question(FAST)).await;
    assert_eq!(talk.status, 400, "{}", talk.text());
    assert_eq!(fixture.gateway.calls(OWN).len(), before, "nothing was sent");
    fixture.is_clean();
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
    let mut whole = Vec::new();
    for row in rows {
        whole.push(gateway.settled(row["id"].as_str().unwrap()).await);
    }
    whole
}

#[tokio::test]
async fn one_write_moves_pictures_between_sellers_and_the_official_client_says_the_same() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    let fixture = pooled().await;
    let (vertex, elsewhere) = (fixture.credential(OWN).await, fixture.elsewhere(OWN_SECOND).await);
    let scope = json!({"model": IMAGEN});
    let on = |id: &str| json!({"scope": scope, "profiles": ["byok"], "credential_ids": [id]});
    let route = fixture.gateway.route(on(&elsewhere)).await;
    let path = format!("/v2/routes/{route}");
    for body in [None, Some(on(&vertex)), Some(json!({"scope": scope, "profiles": ["managed_provider"]}))] {
        if let Some(body) = body {
            let answer = fixture.gateway.admin().put(&path, &body).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let script = workspace().join("tests/sdk/imagen.py");
        assert_eq!(drive(interpreter.clone(), script, &fixture.gateway).await.held, 3);
    }
    // Each time two requests for two images, in routing order.
    let rows = answered_rows(&fixture.gateway, 6).await;
    let expected = [
        ("fal", "byok", 0, ELSEWHERE_NANOS),
        ("vertex_ai", "byok", 0, NANOS),
        ("vertex_ai", "managed_provider", SOLD_NANOS, NANOS),
    ];
    for (rows, (provider, profile, sold, billed)) in rows.chunks(2).zip(expected) {
        for row in rows {
            assert_eq!((&row["provider"], &row["profile"]), (&json!(provider), &json!(profile)), "{row}");
            assert_eq!((pictures(row), money(row)), (2, (2 * sold, 2 * billed, false)), "{row}");
        }
    }
    fixture.is_clean();
}
