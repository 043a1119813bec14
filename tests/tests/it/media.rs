//! Image generation, speech and reranking: the answer as the provider gave it, and its units and cost in the
//! books.

use harness::client::Answer;
use harness::{At, Behaviour, Model, UsageMode};
use serde_json::{Value, json};

use crate::ask::{refused, trace_of, trace_of_stream};
use crate::command::workspace;
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config, row};
use crate::sdk::drive;

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
const PRICES: &str = "
[[model]]
name = \"black-forest-labs/FLUX.1-schnell\"
modality = \"image\"
[[model.offer]]
provider = \"together_ai\"
upstream_model = \"black-forest-labs/FLUX.1-schnell\"
rates = { per_image = 2_700 }

[[model]]
name = \"Salesforce/Llama-Rank-v1\"
[[model.offer]]
provider = \"together_ai\"
upstream_model = \"Salesforce/Llama-Rank-v1\"
rates = { input = 100_000 }
";
const TEXT: &str = "The tide is high né 漢字";
const TEXT_CHARACTERS: u64 = 22;

struct Fixture {
    gateway: Gateway,
}

/// A gateway whose emulator generates images, synthesises speech and reranks, with one credential, account
/// and node each.
async fn fixture() -> Fixture {
    let served = config()
        .model(Model::image("gpt-image-1-mini"))
        .model(Model::image(FLUX))
        .model(Model::speech("gpt-4o-mini-tts"))
        .model(Model::speech("tts-1"))
        .model(Model::rerank(RANKER))
        .model(Model::rerank(LOCAL_RANKER))
        .model(Model::rerank("accounts/fireworks/models/qwen3-reranker-8b"));
    Fixture { gateway: Gateway::priced(served, PRICES).await }
}

impl Fixture {
    async fn credential(&self, provider: &str, secret: &str, base: &str) -> String {
        let base_url = format!("{}{base}", self.gateway.emulator.origin());
        let body =
            json!({"provider": provider, "display_name": provider, "secret": secret, "base_url": base_url});
        crate::gateway::id_of(&self.gateway.make("/v2/provider-credentials", body).await)
    }

    async fn account(&self, provider: &str, base: &str) {
        let base_url = format!("{}{base}", self.gateway.emulator.origin());
        let body = json!({"provider": provider, "secret": POOL, "base_url": base_url, "markup_bps": 1_000});
        self.gateway.make("/v2/accounts", body).await;
    }

    async fn node(&self, models: &[&str], base: &str) {
        let base_url = format!("{}{base}", self.gateway.emulator.origin());
        let body = json!({"name": "rack", "base_url": base_url, "secret": NODE, "models": models});
        self.gateway.make("/v2/byoc/nodes", body).await;
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let answer = self.gateway.client().post(path, body).await.unwrap();
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer
    }

    async fn record_of(&self, answer: &Answer) -> Value {
        self.gateway.settled(&trace_of(answer)).await
    }

    fn sent(&self, key: &str) -> (String, Value) {
        let call = self.gateway.calls(key).pop().unwrap();
        (call.path.clone(), serde_json::from_slice(&call.body).unwrap())
    }
}

fn units(row: &Value, name: &str) -> u64 {
    row["units"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// The booked amounts: what the operator is owed and what the provider bills, in nano-USD, and whether the
/// price is unknown.
fn money(row: &Value) -> (i64, i64, bool) {
    let nanos = |name: &str| row[name].as_i64().unwrap();
    (nanos("cost_nanos"), nanos("provider_cost_nanos"), row["unpriced"].as_bool().unwrap())
}

#[tokio::test]
async fn official_clients_draw_speak_and_rank() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    let fixture = fixture().await;
    fixture.credential("openai", OWN, "/v1").await;
    fixture.credential("together", OWN_SECOND, "/together/v1").await;
    let driven = drive(interpreter, workspace().join("tests/sdk/media.py"), &fixture.gateway).await;
    assert_eq!(driven.held, 7);
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn pictures_are_told_in_tokens_and_billed_so() {
    let fixture = fixture().await;
    fixture.credential("openai", OWN, "/v1").await;
    let body = json!({"model": PAINTER, "prompt": "a tide", "n": 2, "quality": "low", "size": "1024x1024"});
    let answer = fixture.post(IMAGES, &body).await;
    let document = answer.json();
    assert_eq!(document["data"].as_array().unwrap().len(), 2, "{document}");
    let (path, sent) = fixture.sent(OWN);
    assert_eq!((path.as_str(), &sent["model"]), (IMAGES, &json!("gpt-image-1-mini")));
    let row = fixture.record_of(&answer).await;
    let prompt = document["usage"]["input_tokens"].as_i64().unwrap();
    assert_eq!((row["operation"].as_str(), row["profile"].as_str()), (Some("images"), Some("byok")));
    assert_eq!(row["input_tokens"], prompt, "{row}");
    assert_eq!((units(&row, "images"), units(&row, "image_output_tokens")), (2, 544));
    // 2 USD per million text tokens, 8 per million image tokens.
    assert_eq!(money(&row), (0, prompt * 2_000 + 544 * 8_000, false));
    assert_eq!(row["estimated"], false);

    let stream = json!({"model": PAINTER, "prompt": "a tide", "stream": true, "partial_images": 2});
    let mut streaming = fixture.gateway.client().stream(IMAGES, &stream).await.unwrap();
    assert_eq!(streaming.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let (events, ended) = streaming.events().await;
    ended.unwrap();
    let kinds: Vec<Value> =
        events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap()["type"].take()).collect();
    let partial = "image_generation.partial_image";
    assert_eq!(kinds, [partial, partial, "image_generation.completed"]);
    let row = fixture.gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((units(&row, "images"), units(&row, "image_output_tokens")), (1, 272));
    assert_eq!(money(&row).1, prompt * 2_000 + 272 * 8_000);
    let usage = fixture.gateway.get("/v2/usage?group_by=modality").await;
    let sums = row_of(&usage);
    assert_eq!((&sums["images"], &sums["output_tokens"]), (&json!(3), &json!(816)), "{usage}");
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

fn row_of(usage: &Value) -> &Value {
    row(&usage["data"], "modality", "image")
}

#[tokio::test]
async fn pictures_are_billed_by_the_picture_where_they_are_sold_so() {
    let fixture = fixture().await;
    fixture.account("together", "/together/v1").await;
    let body =
        json!({"model": FLUX, "prompt": "a tide", "n": 2, "size": "640x480", "response_format": "b64_json"});
    let answer = fixture.post(IMAGES, &body).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2);
    let (path, sent) = fixture.sent(POOL);
    assert_eq!(path, format!("/together{IMAGES}"));
    let expected = json!({"model": FLUX, "prompt": "a tide", "n": 2, "width": 640, "height": 480, "response_format": "base64"});
    assert_eq!(sent, expected);
    let row = fixture.record_of(&answer).await;
    assert_eq!((units(&row, "images"), row["input_tokens"].as_u64()), (2, Some(0)));
    assert_eq!(money(&row), (5_940_000, 5_400_000, false), "{row}");
    let line = &row["attempts"][0]["receipt"][0];
    assert_eq!((&line["class"], &line["units"], line.get("tokens")), (&json!("images"), &json!(2), None));

    // An own server's images have no known price.
    fixture.credential("openai_compatible", OWN, "/lenient/v1").await;
    let body = json!({"model": format!("openai_compatible:{FLUX}"), "prompt": "a tide"});
    let answer = fixture.post(IMAGES, &body).await;
    let row = fixture.record_of(&answer).await;
    assert_eq!((units(&row, "images"), money(&row)), (1, (0, 0, true)), "{row}");
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_goes_on_as_it_comes_and_is_billed_by_the_character() {
    let fixture = fixture().await;
    fixture.account("openai", "/v1").await;
    let body = json!({"model": OLD_VOICE, "input": TEXT, "voice": "alloy", "response_format": "wav"});
    fixture.gateway.emulator.script(POOL, [Behaviour { interval: 60, ..Behaviour::default() }]);
    let mut streaming = fixture.gateway.client().stream(SPEECH, &body).await.unwrap();
    assert_eq!((streaming.status, streaming.header("content-type")), (200, Some("audio/wav")));
    let first = streaming.chunk().await.unwrap().unwrap();
    let words = TEXT.split(' ').count();
    assert!(first.len() < words * 480, "all {} bytes at once", first.len());
    let rest = streaming.rest().await.unwrap();
    assert_eq!(first.len() + rest.len(), words * 480);
    assert!(first.starts_with(b"The\0The"));
    let row = fixture.gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((row["operation"].as_str(), units(&row, "characters")), (Some("speech"), TEXT_CHARACTERS));
    // 15 USD per million characters, plus the markup of a tenth.
    assert_eq!(money(&row), (363_000, 330_000, false), "{row}");
    assert_eq!((&row["estimated"], &row["output_tokens"]), (&json!(false), &json!(0)), "{row}");
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_that_is_sold_by_the_token_is_told_or_estimated() {
    let fixture = fixture().await;
    fixture.credential("openai", OWN, "/v1").await;
    let body = json!({"model": VOICE, "input": TEXT, "voice": "alloy", "stream_format": "sse"});
    let mut streaming = fixture.gateway.client().stream(SPEECH, &body).await.unwrap();
    assert_eq!(streaming.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let (events, ended) = streaming.events().await;
    ended.unwrap();
    let done: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    let (input, output) = (&done["usage"]["input_tokens"], &done["usage"]["output_tokens"]);
    let row = fixture.gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (input, output), "{row}");
    assert_eq!((units(&row, "characters"), &row["estimated"]), (TEXT_CHARACTERS, &json!(false)));
    let cost = input.as_i64().unwrap() * 600 + output.as_i64().unwrap() * 12_000;
    assert_eq!(money(&row), (0, cost, false), "{row}");

    let answer = fixture.post(SPEECH, &json!({"model": VOICE, "input": TEXT, "voice": "alloy"})).await;
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
    let row = fixture.record_of(&answer).await;
    assert_eq!((&row["estimated"], &row["unpriced"]), (&json!(true), &json!(false)), "{row}");
    // 1.4 audio tokens per character.
    assert_eq!(units(&row, "audio_output_tokens"), 31);
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn speech_that_breaks_has_no_clean_end_and_a_refusal_is_one() {
    let fixture = fixture().await;
    fixture.credential("openai", OWN, "/v1").await;
    let body = json!({"model": OLD_VOICE, "input": TEXT, "voice": "alloy"});
    let cut = Behaviour { interval: 20, cut: Some(At::Event(3)), ..Behaviour::default() };
    fixture.gateway.emulator.script(OWN, [cut]);
    let mut streaming = fixture.gateway.client().stream(SPEECH, &body).await.unwrap();
    assert_eq!(streaming.status, 200);
    assert!(streaming.rest().await.is_err(), "it looks whole");
    let row = fixture.gateway.settled(&trace_of_stream(&streaming)).await;
    assert_eq!((row["outcome"].as_str(), units(&row, "characters")), (Some("failed"), TEXT_CHARACTERS));

    let long = json!({"model": OLD_VOICE, "input": "a".repeat(5_000), "voice": "alloy"});
    let answer = fixture.gateway.client().post(SPEECH, &long).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"]["param"], "input");
    let row = fixture.record_of(&answer).await;
    assert_eq!((row.get("units"), &row["provider_cost_nanos"]), (None, &json!(0)), "{row}");
}

fn question(model: &str) -> Value {
    json!({"model": model, "query": "high tide", "documents": ["a dog", "the tide", "a high tide"], "top_n": 2, "return_documents": true})
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
    let fixture = fixture().await;
    let expected = vec![(2, "a high tide".to_owned()), (1, "the tide".to_owned())];
    fixture.account("together", "/together/v1").await;
    let answer = fixture.post(RERANK, &question(RANKER)).await;
    assert_eq!(order(&answer), expected);
    let tokens = answer.json()["usage"]["prompt_tokens"].as_i64().unwrap();
    let row = fixture.record_of(&answer).await;
    assert_eq!(
        (row["operation"].as_str(), row["profile"].as_str()),
        (Some("rerank"), Some("managed_provider"))
    );
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (tokens * 110, tokens * 100, false)));

    // A field that this provider does not support is reported, and its answer has the common shape.
    fixture.credential("fireworks", OWN, "/fireworks/inference/v1").await;
    let answer = fixture.post(RERANK, &question(FIREWORKS_RANKER)).await;
    assert_eq!(order(&answer), expected);
    assert_eq!(fixture.sent(OWN).0, format!("/fireworks/inference{RERANK}"));
    let row = fixture.record_of(&answer).await;
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (0, 0, true)), "{row}");
    let mut fields = question(FIREWORKS_RANKER);
    fields["rank_fields"] = json!(["title"]);
    let answer = fixture.gateway.client().post(RERANK, &fields).await.unwrap();
    let error = refused(&answer, 400, "unsupported_parameter");
    assert_eq!(error["param"], "rank_fields", "{error}");

    fixture.node(&[LOCAL_RANKER], "/vllm/v1").await;
    let answer = fixture.post(RERANK, &question(LOCAL_RANKER)).await;
    assert_eq!(order(&answer), expected);
    let row = fixture.record_of(&answer).await;
    assert_eq!(row["profile"], "byoc");
    assert_eq!((&row["input_tokens"], money(&row)), (&json!(tokens), (0, 0, false)), "{row}");
    assert_eq!(fixture.gateway.emulator.violations(), []);
}

#[tokio::test]
async fn searches_are_counted_where_tokens_are_not_and_nothing_is_estimated() {
    let fixture = fixture().await;
    let credential = fixture.credential("openai_compatible", OWN, "/lenient/v1").await;
    let priced =
        json!({"pricing": {LOCAL_RANKER: {"input": 0, "output": 0, "per_thousand_searches": 2_000_000}}});
    fixture.gateway.patch(&format!("/v2/provider-credentials/{credential}"), priced.clone()).await;
    let stored = fixture.gateway.get(&format!("/v2/provider-credentials/{credential}")).await;
    assert_eq!(stored["pricing"], priced["pricing"]);
    let model = format!("openai_compatible:{LOCAL_RANKER}");
    let answer = fixture.post(RERANK, &question(&model)).await;
    let row = fixture.record_of(&answer).await;
    assert_eq!((units(&row, "searches"), money(&row)), (1, (0, 2_000_000, false)), "{row}");

    let silent = Behaviour { usage: UsageMode::Missing, ..Behaviour::default() };
    fixture.credential("together", OWN_SECOND, "/together/v1").await;
    fixture.gateway.emulator.script(OWN_SECOND, [silent]);
    let answer = fixture.post(RERANK, &question(RANKER)).await;
    let row = fixture.record_of(&answer).await;
    assert_eq!((&row["estimated"], &row["unpriced"]), (&json!(true), &json!(false)), "{row}");
    assert!(row["input_tokens"].as_u64().unwrap() > 0, "{row}");
}

#[tokio::test]
async fn who_has_no_way_to_do_it_is_not_asked() {
    let fixture = fixture().await;
    fixture.credential("openai", OWN, "/v1").await;
    let answer = fixture.gateway.client().post(RERANK, &question("openai:gpt-image-1-mini")).await.unwrap();
    refused(&answer, 400, "model_modality");
    let answer = fixture.gateway.client().post(RERANK, &question("openai:my-ranker")).await.unwrap();
    let error = refused(&answer, 400, "unsupported_operation");
    assert!(error["message"].as_str().unwrap().contains("no way to put texts in the order"), "{error}");
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
        let answer = fixture.gateway.client().post(path, &body).await.unwrap();
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)), "{body}");
    }
    assert_eq!(fixture.gateway.calls(OWN).len(), 0);
}
