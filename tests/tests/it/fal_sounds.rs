//! Audio on fal: speech synthesis, whose files are fetched for the client, and transcription of recordings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::client::Answer;
use harness::{Behaviour, UsageMode};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{refused, trace_of, with};
use crate::forms::{FORM, MIB, form};
use crate::gateway::{Gateway, OWN, config};

const SPEECH: &str = "/v1/audio/speech";
const KOKORO: &str = "fal-ai/kokoro/american-english";
const MINIMAX: &str = "fal-ai/minimax/speech-02-turbo";
const FILE_BYTES: usize = 64 * 1024;
/// An operator's own price: 20,000 micro-USD per thousand characters of one model.
const PRICES: &str = "
[[model]]
name = \"fal-ai/kokoro/american-english\"
modality = \"audio\"
[[model.offer]]
provider = \"fal\"
upstream_model = \"fal-ai/kokoro/american-english\"
rates = { per_billed_unit = 20_000 }
";

struct Fixture {
    gateway: Gateway,
}

async fn fixture(is_queued: bool) -> Fixture {
    let gateway = Gateway::priced(config(), PRICES).await;
    let config = if is_queued { json!({"queue_url": gateway.emulator.fal_queue_url()}) } else { json!({}) };
    let base_url = gateway.emulator.fal_url();
    let body = json!({"provider": "fal", "secret": OWN, "base_url": base_url, "config": config});
    gateway.make("/v2/provider-credentials", body).await;
    Fixture { gateway }
}

impl Fixture {
    async fn speak(&self, more: Value) -> Answer {
        let body = with(json!({"model": KOKORO, "input": "a tide. ", "voice": "af_heart"}), more);
        self.gateway.client().post(SPEECH, &body).await.unwrap()
    }

    async fn record_of(&self, answer: &Answer) -> Value {
        self.gateway.settled(&trace_of(answer)).await
    }

    fn is_clean(&self) {
        assert_eq!(self.gateway.emulator.violations(), []);
    }
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

#[tokio::test]
async fn a_text_is_read_aloud_and_its_file_is_fetched_for_the_client() {
    for is_queued in [false, true] {
        let fixture = &fixture(is_queued).await;
        let answer = fixture.speak(json!({"speed": 1.5, "response_format": "wav"})).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("audio/wav")),
            "{}",
            answer.text()
        );
        assert!(answer.body == sound("a tide. "), "{} bytes", answer.body.len());
        let sent = fixture.gateway.calls(OWN).into_iter().find(|call| call.method == "POST").unwrap();
        let below = if is_queued { "/fal-queue/" } else { "/fal/" };
        assert_eq!(sent.path, format!("{below}{KOKORO}"));
        assert_eq!(sent.json(), json!({"prompt": "a tide. ", "voice": "af_heart", "speed": 1.5}));
        let file = fixture.gateway.emulator.journal().pop().unwrap();
        assert!(file.path.starts_with("/fal/files/") && file.key.is_none(), "{}", file.path);
        let row = fixture.record_of(&answer).await;
        assert_eq!(money(&row), (8, 8_000, 160_000, false), "{row}");
        assert!(row["attempts"][0]["upstream_request_id"].is_string(), "{row}");
        fixture.is_clean();
    }
}

#[tokio::test]
async fn an_app_that_gives_hex_is_asked_for_a_file() {
    let fixture = &fixture(false).await;
    let more = json!({"model": MINIMAX, "voice": "Wise_Woman", "speed": 1.1});
    let answer = fixture.speak(more).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("audio/mpeg")),
        "{}",
        answer.text()
    );
    let setting = json!({"voice_id": "Wise_Woman", "speed": 1.1});
    let expected = json!({"text": "a tide. ", "voice_setting": setting, "output_format": "url"});
    assert_eq!(fixture.gateway.calls(OWN).pop().unwrap().json(), expected);
    // Billed per character.
    let row = fixture.record_of(&answer).await;
    assert_eq!(money(&row), (8, 8_000, 480_000, false), "{row}");
    fixture.is_clean();
}

#[tokio::test]
async fn units_of_speech_that_nobody_told_are_unpriced() {
    let fixture = &fixture(false).await;
    let silent = Behaviour { usage: UsageMode::Missing, ..Behaviour::default() };
    fixture.gateway.emulator.script(OWN, [silent]);
    let answer = fixture.speak(json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let row = fixture.record_of(&answer).await;
    assert_eq!(money(&row), (8, 0, 0, true), "{row}");
    fixture.is_clean();
}

#[tokio::test]
async fn a_file_of_sound_leads_nobody_elsewhere() {
    let fixture = &fixture(false).await;
    for (text, words) in [
        ("laid elsewhere", "belong to the provider"),
        ("moved elsewhere", "never follows"),
        ("long gone", "status 403"),
    ] {
        let answer = fixture.speak(json!({"input": text})).await;
        assert!(answer.status == 502 && answer.text().contains(words), "{}", answer.text());
        let row = fixture.record_of(&answer).await;
        // The audio was generated, and is billed.
        let (units, nanos) =
            (&row["attempts"][0]["units"]["billed_micro_units"], &row["provider_cost_nanos"]);
        let length = text.len() as u64;
        assert_eq!((units, nanos), (&json!(length * 1_000), &json!(length * 20_000)), "{row}");
    }
    // An error of the file host does not count against the account.
    assert_eq!(fixture.speak(json!({})).await.status, 200);
    fixture.is_clean();
}

#[tokio::test]
async fn what_an_app_that_reads_has_no_words_for_is_refused_by_name() {
    let fixture = &fixture(false).await;
    for (more, param, code) in [
        (json!({"response_format": "opus"}), "response_format", "unsupported_value"),
        (json!({"stream_format": "sse"}), "stream_format", "unsupported_value"),
        (json!({"instructions": "whisper"}), "instructions", "unsupported_parameter"),
    ] {
        let answer = fixture.speak(more).await;
        assert_eq!(refused(&answer, 400, code)["param"], param, "{}", answer.text());
    }
    assert_eq!(fixture.gateway.calls(OWN).len(), 0, "nothing was sent");
    let answer = fixture.speak(json!({"voice": "alloy"})).await;
    assert!(answer.status == 422 && answer.text().contains("voice"), "{}", answer.text());
    refused(&fixture.speak(json!({"input": "something forbidden"})).await, 400, "content_filter");
    fixture.is_clean();
}

const HEARD: &str = "/v1/audio/transcriptions";
const ENGLISH: &str = "/v1/audio/translations";
const WHISPER: &str = "fal:fal-ai/whisper";
const WIZPER: &str = "fal:fal-ai/wizper";
/// A recording whose transcript is its own bytes.
const RECORDING: &[u8] = b"a tide comes in";

impl Fixture {
    async fn transcribe_at(&self, path: &str, model: &str, more: &[(&str, &str)]) -> Answer {
        let mut parts = vec![("model", model.as_bytes())];
        parts.extend(more.iter().map(|(name, value)| (*name, value.as_bytes())));
        parts.push(("file", RECORDING));
        self.gateway.client().call(Method::POST, path, &[FORM], form(&parts)).await.unwrap()
    }

    async fn transcribe(&self, model: &str, more: &[(&str, &str)]) -> Answer {
        let answer = self.transcribe_at(HEARD, model, more).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    }

    /// The last request to an app, without the recording.
    fn last_request(&self) -> (String, Value) {
        let call = self.gateway.calls(OWN).into_iter().rfind(|call| call.method == "POST").unwrap();
        let mut body = call.json();
        let url = body.as_object_mut().unwrap().remove("audio_url").unwrap();
        let encoded = url.as_str().unwrap().strip_prefix("data:audio/mpeg;base64,").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), RECORDING);
        (call.path, body)
    }
}

#[tokio::test]
async fn a_recording_is_listened_to_at_once_and_through_the_queue() {
    for is_queued in [false, true] {
        let fixture = &fixture(is_queued).await;
        let answer = fixture
            .transcribe(WHISPER, &[("language", "en"), ("prompt", "the sea"), ("temperature", "0")])
            .await;
        assert_eq!(answer.json(), json!({"text": "a tide comes in"}));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let (path, body) = fixture.last_request();
        let below = if is_queued { "/fal-queue/" } else { "/fal/" };
        assert_eq!(path, format!("{below}fal-ai/whisper"));
        assert_eq!(body, json!({"language": "en", "prompt": "the sea", "task": "transcribe"}));
        let row = fixture.record_of(&answer).await;
        let units = (&row["units"]["billed_micro_units"], &row["units"]["audio_ms"], &row["unpriced"]);
        assert_eq!(units, (&json!(15_000), &json!(1_000), &json!(true)), "{row}");
        assert_eq!(row["operation"], "transcribe");
        fixture.is_clean();
    }
}

#[tokio::test]
async fn what_was_heard_is_told_as_its_client_wants_it() {
    let fixture = &fixture(false).await;
    let text = fixture.transcribe(WIZPER, &[("response_format", "text")]).await;
    assert_eq!(
        (&*text.text(), text.header("content-type")),
        ("a tide comes in\n", Some("text/plain; charset=utf-8"))
    );
    let segments = fixture.transcribe(WIZPER, &[("response_format", "verbose_json")]).await.json();
    let segment = json!({"id": 0, "start": 0.0, "end": 1, "text": "a tide comes in"});
    let whole = json!({
        "task": "transcribe", "language": "en", "duration": 1.0, "text": "a tide comes in",
        "segments": [with(segment, json!({"end": 1.0}))],
    });
    assert_eq!(segments, whole);
    let times = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")];
    let words = fixture.transcribe(WHISPER, &times).await.json();
    assert_eq!(words["words"][1], json!({"word": "tide", "start": 1.0, "end": 2.0}), "{words}");
    assert_eq!(fixture.last_request().1, json!({"chunk_level": "word", "task": "transcribe"}));
    let english = fixture.transcribe_at(ENGLISH, WHISPER, &[]).await;
    assert_eq!(english.json(), json!({"text": "in English: a tide comes in"}), "{}", english.text());
    assert_eq!(fixture.last_request().1, json!({"task": "translate"}));
    fixture.is_clean();
}

#[tokio::test]
async fn what_an_app_that_listens_has_no_words_for_is_refused_by_name() {
    let fixture = &fixture(false).await;
    for (model, name, value, code) in [
        (WHISPER, "response_format", "srt", "unsupported_value"),
        (WHISPER, "stream", "true", "unsupported_value"),
        (WHISPER, "temperature", "0.5", "unsupported_parameter"),
        (WHISPER, "include[]", "logprobs", "unsupported_parameter"),
        (WIZPER, "prompt", "the sea", "unsupported_parameter"),
        (WIZPER, "timestamp_granularities[]", "word", "invalid_value"),
    ] {
        let answer = fixture.transcribe_at(HEARD, model, &[(name, value)]).await;
        assert_eq!(refused(&answer, 400, code)["param"], name, "{}", answer.text());
    }
    let other = fixture.transcribe_at(HEARD, "fal:fal-ai/flux/dev", &[]).await;
    assert!(other.status == 400 && other.text().contains("fal-ai/wizper"), "{}", other.text());
    let long = vec![7; 9 * MIB];
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &long)]);
    let answer = fixture.gateway.client().call(Method::POST, HEARD, &[FORM], body).await.unwrap();
    assert_eq!(refused(&answer, 413, "request_too_large")["param"], "file", "{}", answer.text());
    assert_eq!(fixture.gateway.calls(OWN).len(), 0, "nothing was sent");
    fixture.is_clean();
}

#[tokio::test]
async fn a_recording_that_is_longer_than_what_is_held_is_sent_whole() {
    let fixture = &fixture(false).await;
    let long = vec![b'a'; 3 * MIB];
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &long)]);
    let answer = fixture.gateway.client().call(Method::POST, HEARD, &[FORM], body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["text"].as_str().unwrap().len(), 3 * MIB);
    fixture.is_clean();
}
