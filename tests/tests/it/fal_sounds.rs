//! Audio on fal: speech synthesis, whose files are fetched for the client, and transcription of recordings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::client::Answer;
use harness::{Behaviour, UsageMode};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{has, refused, trace_of, with};
use crate::fal::at_fal;
use crate::forms::{FORM, MIB, form};
use crate::gateway::{Gateway, OWN, config};

const SPEECH: &str = "/v1/audio/speech";
const KOKORO: &str = "fal-ai/kokoro/american-english";
const MINIMAX: &str = "fal-ai/minimax/speech-02-turbo";
const FILE_BYTES: usize = 64 * 1024;
/// An operator's own price: 20,000 micro-USD per thousand characters of one model.
const PRICES: &str = r#"
[[model]]
name = "fal-ai/kokoro/american-english"
modality = "audio"
[[model.offer]]
provider = "fal"
upstream_model = "fal-ai/kokoro/american-english"
rates = { per_billed_unit = 20_000 }
"#;

async fn fixture(is_queued: bool) -> Gateway {
    let gateway = Gateway::priced(config(), PRICES).await;
    gateway.own(at_fal(&gateway, is_queued)).await;
    gateway
}

async fn speak(gateway: &Gateway, more: Value) -> Answer {
    let body = with(json!({"model": KOKORO, "input": "a tide. ", "voice": "af_heart"}), more);
    gateway.post(SPEECH, &body).await
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

/// Characters, units, what the provider bills in nano-USD, and whether the price is unknown. The workspace
/// must owe nothing.
fn money(row: &Value) -> (u64, u64, i64, bool) {
    let count = |name: &str| row["units"][name].as_u64().unwrap_or_default();
    assert_eq!(row["cost_nanos"], json!(0), "{row}");
    let nanos = row["provider_cost_nanos"].as_i64().unwrap();
    (count("characters"), count("billed_micro_units"), nanos, row["unpriced"].as_bool().unwrap())
}

fn sound(text: &str) -> Vec<u8> {
    text.bytes().cycle().take(FILE_BYTES).collect()
}

const HEARD: &str = "/v1/audio/transcriptions";
const ENGLISH: &str = "/v1/audio/translations";
const WHISPER: &str = "fal:fal-ai/whisper";
const WIZPER: &str = "fal:fal-ai/wizper";
/// A recording whose transcript is its own bytes.
const RECORDING: &[u8] = b"a tide comes in";

async fn transcribe_at(gateway: &Gateway, path: &str, model: &str, more: &[(&str, &str)]) -> Answer {
    let mut parts = vec![("model", model.as_bytes())];
    parts.extend(more.iter().map(|(name, value)| (*name, value.as_bytes())));
    parts.push(("file", RECORDING));
    gateway.client().call(Method::POST, path, &[FORM], form(&parts)).await.unwrap()
}

async fn transcribe(gateway: &Gateway, model: &str, more: &[(&str, &str)]) -> Answer {
    transcribe_at(gateway, HEARD, model, more).await.must_be(200)
}

/// The last request to an app, without the recording.
fn last_request(gateway: &Gateway) -> (String, Value) {
    let call = gateway.last(OWN);
    let mut body = call.json();
    let url = body.as_object_mut().unwrap().remove("audio_url").unwrap();
    let encoded = url.as_str().unwrap().strip_prefix("data:audio/mpeg;base64,").unwrap();
    assert_eq!(STANDARD.decode(encoded).unwrap(), RECORDING);
    (call.path, body)
}

#[tokio::test]
async fn a_text_is_read_aloud_and_a_recording_is_listened_to_at_once_and_through_the_queue() {
    for is_queued in [false, true] {
        let gateway = &fixture(is_queued).await;
        let answer = speak(gateway, json!({"speed": 1.5, "response_format": "wav"})).await.must_be(200);
        assert_eq!(answer.header("content-type"), Some("audio/wav"));
        assert!(answer.body == sound("a tide. "), "{} bytes", answer.body.len());
        let sent = gateway.last(OWN);
        let below = if is_queued { "/fal-queue/" } else { "/fal/" };
        assert_eq!(sent.path, format!("{below}{KOKORO}"));
        assert_eq!(sent.json(), json!({"prompt": "a tide. ", "voice": "af_heart", "speed": 1.5}));
        let file = gateway.emulator.journal().pop().unwrap();
        assert!(file.path.starts_with("/fal/files/") && file.key.is_none(), "{}", file.path);
        let row = record_of(gateway, &answer).await;
        assert_eq!(money(&row), (8, 8_000, 160_000, false), "{row}");
        assert!(row["attempts"][0]["upstream_request_id"].is_string(), "{row}");
        let more = [("language", "en"), ("prompt", "the sea"), ("temperature", "0")];
        let answer = transcribe(gateway, WHISPER, &more).await;
        assert_eq!(answer.json(), json!({"text": "a tide comes in"}));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let (path, body) = last_request(gateway);
        assert_eq!(path, format!("{below}fal-ai/whisper"));
        assert_eq!(body, json!({"language": "en", "prompt": "the sea", "task": "transcribe"}));
        let row = record_of(gateway, &answer).await;
        has(&row["units"], json!({"billed_micro_units": 15_000, "audio_ms": 1_000}));
        has(&row, json!({"unpriced": true, "operation": "transcribe"}));
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn a_file_is_asked_for_is_unpriced_if_nobody_tells_its_units_and_leads_nobody_elsewhere() {
    let gateway = &fixture(false).await;
    let more = json!({"model": MINIMAX, "voice": "Wise_Woman", "speed": 1.1});
    let answer = speak(gateway, more).await.must_be(200);
    assert_eq!(answer.header("content-type"), Some("audio/mpeg"));
    let setting = json!({"voice_id": "Wise_Woman", "speed": 1.1});
    let expected = json!({"text": "a tide. ", "voice_setting": setting, "output_format": "url"});
    assert_eq!(gateway.last(OWN).json(), expected);
    // Billed per character.
    let row = record_of(gateway, &answer).await;
    assert_eq!(money(&row), (8, 8_000, 480_000, false), "{row}");
    gateway.emulator.script(OWN, [Behaviour::ok().usage(UsageMode::Missing)]);
    let answer = speak(gateway, json!({})).await.must_be(200);
    let row = record_of(gateway, &answer).await;
    assert_eq!(money(&row), (8, 0, 0, true), "{row}");
    for (text, words) in [
        ("laid elsewhere", "belong to the provider"),
        ("moved elsewhere", "never follows"),
        ("long gone", "status 403"),
    ] {
        let answer = speak(gateway, json!({"input": text})).await;
        assert!(answer.status == 502 && answer.text().contains(words), "{}", answer.text());
        let row = record_of(gateway, &answer).await;
        // The audio was generated, and is billed.
        let length = text.len();
        has(&row["attempts"][0], json!({"/units/billed_micro_units": length * 1_000}));
        has(&row, json!({"provider_cost_nanos": length * 20_000}));
    }
    // An error of the file host does not count against the account.
    assert_eq!(speak(gateway, json!({})).await.status, 200);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_was_heard_is_told_as_its_client_wants_it_and_a_long_recording_is_sent_whole() {
    let gateway = &fixture(false).await;
    let text = transcribe(gateway, WIZPER, &[("response_format", "text")]).await;
    assert_eq!(text.text(), "a tide comes in\n");
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    let segments = transcribe(gateway, WIZPER, &[("response_format", "verbose_json")]).await.json();
    let segment = json!({"id": 0, "start": 0.0, "end": 1.0, "text": "a tide comes in"});
    let whole = json!({"language": "en", "duration": 1.0, "text": "a tide comes in", "segments": [segment]});
    assert_eq!(segments, with(whole, json!({"task": "transcribe"})));
    let times = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let words = transcribe(gateway, WHISPER, &times).await.json();
    assert_eq!(words["words"][1], json!({"word": "tide", "start": 1.0, "end": 2.0}), "{words}");
    assert_eq!(last_request(gateway).1, json!({"chunk_level": "word", "task": "transcribe"}));
    let english = transcribe_at(gateway, ENGLISH, WHISPER, &[]).await;
    assert_eq!(english.json(), json!({"text": "in English: a tide comes in"}), "{}", english.text());
    assert_eq!(last_request(gateway).1, json!({"task": "translate"}));
    let long = vec![b'a'; 3 * MIB];
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &long)]);
    let answer = gateway.client().call(Method::POST, HEARD, &[FORM], body).await.unwrap().must_be(200);
    assert_eq!(answer.json()["text"].as_str().unwrap().len(), 3 * MIB);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_an_app_has_no_words_for_is_refused_by_name() {
    let gateway = &fixture(false).await;
    for (model, name, value, code) in [
        (WHISPER, "response_format", "srt", "unsupported_value"),
        (WHISPER, "stream", "true", "unsupported_value"),
        (WHISPER, "temperature", "0.5", "unsupported_parameter"),
        (WHISPER, "include[]", "logprobs", "unsupported_parameter"),
        (WIZPER, "prompt", "the sea", "unsupported_parameter"),
        (WIZPER, "timestamp_granularities[]", "word", "invalid_value"),
    ] {
        let answer = transcribe_at(gateway, HEARD, model, &[(name, value)]).await;
        assert_eq!(refused(&answer, 400, code)["param"], name, "{}", answer.text());
    }
    let other = transcribe_at(gateway, HEARD, "fal:fal-ai/flux/dev", &[]).await;
    assert!(other.status == 400 && other.text().contains("fal-ai/wizper"), "{}", other.text());
    let long = vec![7; 9 * MIB];
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &long)]);
    let answer = gateway.client().call(Method::POST, HEARD, &[FORM], body).await.unwrap();
    assert_eq!(refused(&answer, 413, "request_too_large")["param"], "file", "{}", answer.text());
    assert_eq!(gateway.calls(OWN).len(), 0, "nothing was sent");
    for (more, param, code) in [
        (json!({"response_format": "opus"}), "response_format", "unsupported_value"),
        (json!({"stream_format": "sse"}), "stream_format", "unsupported_value"),
        (json!({"instructions": "whisper"}), "instructions", "unsupported_parameter"),
    ] {
        let answer = speak(gateway, more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    assert_eq!(gateway.calls(OWN).len(), 0, "nothing was sent");
    let answer = speak(gateway, json!({"voice": "alloy"})).await;
    assert!(answer.status == 422 && answer.text().contains("voice"), "{}", answer.text());
    refused(&speak(gateway, json!({"input": "something forbidden"})).await, 400, "content_filter");
    assert_eq!(gateway.emulator.violations(), []);
}
