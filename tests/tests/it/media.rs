//! Image generation, speech and reranking: the answer as the provider gave it, and its units and cost in the
//! books.

use harness::client::Answer;
use harness::{At, Behaviour, Model, UsageMode};
use serde_json::{Value, json};

use crate::ask::{events_of, has, refused, refused_with, trace_of, trace_of_stream, with};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config, money, row, units};

const IMAGES: &str = "/v1/images/generations";
const SPEECH: &str = "/v1/audio/speech";
const RERANK: &str = "/v1/rerank";
const PAINTER: &str = "openai/gpt-image-1-mini";
const FLUX: &str = "black-forest-labs/FLUX.1-schnell";
const VOICE: &str = "openai/gpt-4o-mini-tts";
const OLD_VOICE: &str = "openai/tts-1";
const RANKER: &str = "Salesforce/Llama-Rank-v1";
const FIREWORKS_RANKER: &str = "Qwen/Qwen3-Reranker-8B";
const LOCAL_RANKER: &str = "tide-rank";
/// An operator's own prices: 2,700 micro-USD per image, 100,000 per million tokens.
const PRICES: &str = r#"
[[model]]
name = "black-forest-labs/FLUX.1-schnell"
modality = "image"
[[model.offer]]
provider = "together_ai"
upstream_model = "black-forest-labs/FLUX.1-schnell"
rates = { per_image = 2_700 }
[[model]]
name = "Salesforce/Llama-Rank-v1"
[[model.offer]]
provider = "together_ai"
upstream_model = "Salesforce/Llama-Rank-v1"
rates = { input = 100_000 }
"#;
const TEXT: &str = "The tide is high né 漢字";
const TEXT_CHARACTERS: u64 = 22;

/// A gateway whose emulator generates images, synthesises speech and reranks, with one credential, account
/// and node each.
async fn started() -> Gateway {
    let served = config()
        .model(Model::image("gpt-image-1-mini"))
        .model(Model::image(FLUX))
        .model(Model::speech("gpt-4o-mini-tts"))
        .model(Model::speech("tts-1"))
        .model(Model::rerank(RANKER))
        .model(Model::rerank(LOCAL_RANKER))
        .model(Model::rerank("accounts/fireworks/models/qwen3-reranker-8b"));
    Gateway::priced(served, PRICES).await
}

/// A server of the emulator's.
fn server(gateway: &Gateway, provider: &str, secret: &str, base: &str) -> Value {
    let base_url = format!("{}{base}", gateway.emulator.origin());
    json!({"provider": provider, "secret": secret, "base_url": base_url})
}

/// Adds the workspace's own credential there; returns its path.
async fn own(gateway: &Gateway, provider: &str, secret: &str, base: &str) -> String {
    gateway.own(with(server(gateway, provider, secret, base), json!({"display_name": provider}))).await
}

async fn account(gateway: &Gateway, provider: &str, base: &str) {
    let account = with(server(gateway, provider, POOL, base), json!({"markup_bps": 1_000}));
    gateway.make("/v2/accounts", account).await;
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    gateway.post(path, body).await.must_be(200)
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

#[tokio::test]
async fn official_clients_draw_speak_and_rank() {
    let gateway = started().await;
    own(&gateway, "openai", OWN, "/v1").await;
    own(&gateway, "together", OWN_SECOND, "/together/v1").await;
    assert_eq!(gateway.drive("media.py").await, 7);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn pictures_are_billed_by_the_picture_where_they_are_sold_so() {
    let gateway = started().await;
    account(&gateway, "together", "/together/v1").await;
    let common = json!({"model": FLUX, "prompt": "a tide", "n": 2});
    let body = with(common.clone(), json!({"size": "640x480", "response_format": "b64_json"}));
    let answer = post(&gateway, IMAGES, &body).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    let sent = gateway.last(POOL);
    assert_eq!(sent.path, format!("/together{IMAGES}"));
    let size = json!({"width": 640, "height": 480, "response_format": "base64"});
    assert_eq!(sent.json(), with(common, size));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row, "images"), row["input_tokens"].as_u64()), (2, Some(0)));
    assert_eq!(money(&row), (5_940_000, 5_400_000, false), "{row}");
    let line = &row["attempts"][0]["receipt"][0];
    assert_eq!((&line["class"], &line["units"], line.get("tokens")), (&json!("images"), &json!(2), None));

    // An own server's images have no known price.
    own(&gateway, "openai_compatible", OWN, "/lenient/v1").await;
    let body = json!({"model": format!("openai_compatible:{FLUX}"), "prompt": "a tide"});
    let row = record_of(&gateway, &post(&gateway, IMAGES, &body).await).await;
    assert_eq!((units(&row, "images"), money(&row)), (1, (0, 0, true)), "{row}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_goes_on_as_it_comes_and_is_billed_by_the_character() {
    let gateway = started().await;
    account(&gateway, "openai", "/v1").await;
    let body = json!({"model": OLD_VOICE, "input": TEXT, "voice": "alloy", "response_format": "wav"});
    gateway.emulator.script(POOL, [Behaviour { interval: 60, ..Behaviour::default() }]);
    let mut streaming = gateway.client().stream(SPEECH, &body).await.unwrap();
    assert_eq!((streaming.status, streaming.header("content-type")), (200, Some("audio/wav")));
    let first = streaming.chunk().await.unwrap().unwrap();
    let words = TEXT.split(' ').count();
    assert!(first.len() < words * 480, "all {} bytes at once", first.len());
    assert_eq!(first.len() + streaming.rest().await.unwrap().len(), words * 480);
    assert!(first.starts_with(b"The\0The"));
    let row = gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!(units(&row, "characters"), TEXT_CHARACTERS);
    has(&row, json!({"operation": "speech", "estimated": false, "output_tokens": 0}));
    // 15 USD per million characters, plus the markup of a tenth.
    assert_eq!(money(&row), (363_000, 330_000, false), "{row}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_is_told_or_estimated_where_it_is_sold_by_the_token_and_breaks_as_a_break() {
    let gateway = started().await;
    own(&gateway, "openai", OWN, "/v1").await;
    let body = json!({"model": VOICE, "input": TEXT, "voice": "alloy", "stream_format": "sse"});
    let answer = post(&gateway, SPEECH, &body).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let usage = events_of(&answer).last().unwrap()["usage"].clone();
    let (input, output) = (&usage["input_tokens"], &usage["output_tokens"]);
    let row = record_of(&gateway, &answer).await;
    has(&row, json!({"input_tokens": input, "output_tokens": output, "estimated": false}));
    assert_eq!(units(&row, "characters"), TEXT_CHARACTERS);
    let cost = input.as_i64().unwrap() * 600 + output.as_i64().unwrap() * 12_000;
    assert_eq!(money(&row), (0, cost, false), "{row}");

    let answer = post(&gateway, SPEECH, &json!({"model": VOICE, "input": TEXT, "voice": "alloy"})).await;
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((&row["estimated"], &row["unpriced"]), (&json!(true), &json!(false)), "{row}");
    // 1.4 audio tokens per character.
    assert_eq!(units(&row, "audio_output_tokens"), 31);
    let body = json!({"model": OLD_VOICE, "input": TEXT, "voice": "alloy"});
    let cut = Behaviour { interval: 20, cut: Some(At::Event(3)), ..Behaviour::default() };
    gateway.emulator.script(OWN, [cut]);
    let mut streaming = gateway.client().stream(SPEECH, &body).await.unwrap();
    assert_eq!(streaming.status, 200);
    assert!(streaming.rest().await.is_err(), "it looks whole");
    let row = gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((row["outcome"].as_str(), units(&row, "characters")), (Some("failed"), TEXT_CHARACTERS));

    let long = json!({"model": OLD_VOICE, "input": "a".repeat(5_000), "voice": "alloy"});
    let answer = gateway.post(SPEECH, &long).await.must_be(400);
    has(&answer.json(), json!({"/error/param": "input"}));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((row.get("units"), &row["provider_cost_nanos"]), (None, &json!(0)), "{row}");
    assert_eq!(gateway.emulator.violations(), []);
}

fn question(model: &str) -> Value {
    let documents = ["a dog", "the tide", "a high tide"];
    let body = json!({"model": model, "query": "high tide", "documents": documents});
    with(body, json!({"top_n": 2, "return_documents": true}))
}

fn order(answer: &Answer) -> Vec<(u64, String)> {
    let document = answer.json();
    let rows = document["results"].as_array().unwrap_or_else(|| panic!("{document}"));
    let text = |row: &Value| row["document"]["text"].as_str().unwrap_or_default().to_owned();
    assert!(rows.is_sorted_by_key(|row| -row["relevance_score"].as_f64().unwrap()));
    rows.iter().map(|row| (row["index"].as_u64().unwrap(), text(row))).collect()
}

#[tokio::test]
async fn texts_are_put_in_order_through_three_modes() {
    let gateway = started().await;
    let expected = vec![(2, "a high tide".to_owned()), (1, "the tide".to_owned())];
    account(&gateway, "together", "/together/v1").await;
    let answer = post(&gateway, RERANK, &question(RANKER)).await;
    assert_eq!(order(&answer), expected);
    let tokens = answer.json()["usage"]["prompt_tokens"].as_i64().unwrap();
    let row = record_of(&gateway, &answer).await;
    has(&row, json!({"operation": "rerank", "profile": "managed_provider"}));
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (tokens * 110, tokens * 100, false)));

    // A field that this provider does not support is reported, and its answer has the common shape.
    own(&gateway, "fireworks", OWN, "/fireworks/inference/v1").await;
    let answer = post(&gateway, RERANK, &question(FIREWORKS_RANKER)).await;
    assert_eq!(order(&answer), expected);
    assert_eq!(gateway.last(OWN).path, format!("/fireworks/inference{RERANK}"));
    let row = record_of(&gateway, &answer).await;
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (0, 0, true)), "{row}");
    let fields = with(question(FIREWORKS_RANKER), json!({"rank_fields": ["title"]}));
    let answer = gateway.post(RERANK, &fields).await;
    assert_eq!(refused(&answer, 400, "unsupported_parameter")["param"], "rank_fields");

    let base_url = format!("{}/vllm/v1", gateway.emulator.origin());
    let node = json!({"name": "rack", "base_url": base_url, "secret": NODE, "models": [LOCAL_RANKER]});
    gateway.make("/v2/byoc/nodes", node).await;
    let answer = post(&gateway, RERANK, &question(LOCAL_RANKER)).await;
    assert_eq!(order(&answer), expected);
    let row = record_of(&gateway, &answer).await;
    assert_eq!(row["profile"], "byoc");
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (0, 0, false)), "{row}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn searches_are_counted_where_tokens_are_not_and_nothing_is_estimated() {
    let gateway = started().await;
    let path = own(&gateway, "openai_compatible", OWN, "/lenient/v1").await;
    let priced =
        json!({"pricing": {LOCAL_RANKER: {"input": 0, "output": 0, "per_thousand_searches": 2_000_000}}});
    gateway.patch(&path, priced.clone()).await;
    assert_eq!(gateway.get(&path).await["pricing"], priced["pricing"]);
    let answer = post(&gateway, RERANK, &question(&format!("openai_compatible:{LOCAL_RANKER}"))).await;
    let row = record_of(&gateway, &answer).await;
    assert_eq!((units(&row, "searches"), money(&row)), (1, (0, 2_000_000, false)), "{row}");

    own(&gateway, "together", OWN_SECOND, "/together/v1").await;
    gateway.emulator.script(OWN_SECOND, [Behaviour::ok().usage(UsageMode::Missing)]);
    let answer = post(&gateway, RERANK, &question(RANKER)).await;
    let row = record_of(&gateway, &answer).await;
    assert_eq!((&row["estimated"], &row["unpriced"]), (&json!(true), &json!(false)), "{row}");
    assert!(row["input_tokens"].as_u64().unwrap() > 0, "{row}");
}

#[tokio::test]
async fn who_has_no_way_is_not_asked_and_pictures_are_billed_in_tokens() {
    let gateway = started().await;
    own(&gateway, "openai", OWN, "/v1").await;
    refused(&gateway.post(RERANK, &question("openai:gpt-image-1-mini")).await, 400, "model_modality");
    let answer = gateway.post(RERANK, &question("openai:my-ranker")).await;
    refused_with(&answer, 400, "unsupported_operation", "no way to put texts in the order");
    for (path, body, param) in [
        (IMAGES, json!({"model": PAINTER}), "prompt"),
        (IMAGES, json!({"model": PAINTER, "prompt": 7}), "prompt"),
        (IMAGES, json!({"model": PAINTER, "prompt": "a", "n": 0}), "n"),
        (SPEECH, json!({"model": VOICE, "voice": "alloy"}), "input"),
        (SPEECH, json!({"input": "a", "voice": "alloy"}), "model"),
        (RERANK, json!({"model": RANKER, "query": "a"}), "documents"),
        (RERANK, json!({"model": RANKER, "query": "a", "documents": []}), "documents"),
        (RERANK, json!({"model": RANKER, "query": "a", "documents": [1]}), "documents[0]"),
        (RERANK, json!({"model": RANKER, "documents": ["a"]}), "query"),
    ] {
        let answer = gateway.post(path, &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)), "{body}");
    }
    assert_eq!(gateway.calls(OWN).len(), 0);
    let body = json!({"model": PAINTER, "prompt": "a tide", "n": 2, "quality": "low", "size": "1024x1024"});
    let answer = post(&gateway, IMAGES, &body).await;
    let document = answer.json();
    assert_eq!(document["data"].as_array().unwrap().len(), 2, "{document}");
    let sent = gateway.last(OWN);
    assert_eq!((sent.path.as_str(), &sent.json()["model"]), (IMAGES, &json!("gpt-image-1-mini")));
    let record = record_of(&gateway, &answer).await;
    let prompt = document["usage"]["input_tokens"].as_i64().unwrap();
    has(
        &record,
        json!({"operation": "images", "profile": "byok", "input_tokens": prompt, "estimated": false}),
    );
    assert_eq!((units(&record, "images"), units(&record, "image_output_tokens")), (2, 544));
    // 2 USD per million text tokens, 8 per million image tokens.
    assert_eq!(money(&record), (0, prompt * 2_000 + 544 * 8_000, false));

    let stream = json!({"model": PAINTER, "prompt": "a tide", "stream": true, "partial_images": 2});
    let answer = post(&gateway, IMAGES, &stream).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let kinds: Vec<Value> = events_of(&answer).iter_mut().map(|event| event["type"].take()).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(kinds, [partial, partial, "image_generation.completed"]);
    let record = record_of(&gateway, &answer).await;
    assert_eq!((units(&record, "images"), units(&record, "image_output_tokens")), (1, 272));
    assert_eq!(money(&record).1, prompt * 2_000 + 272 * 8_000);
    let usage = gateway.get("/v2/usage?group_by=modality").await;
    has(row(&usage["data"], "modality", "image"), json!({"images": 3, "output_tokens": 816}));
    assert_eq!(gateway.emulator.violations(), []);
}
