//! Transcription: multipart forms that are streamed to the upstream while they arrive, and booked.

use harness::client::Answer;
use harness::raw::{RawConnection, status_of};
use harness::{Behaviour, Outcome};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::WITHIN;
use crate::ask::{has, refused, trace_of};
use crate::forms::{
    FORM, MIB, address, fill, form, head, listening, noise as sound, own_upstream, parts, peak,
};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, config};
use crate::wait::found;

const PATH: &str = "/v1/audio/transcriptions";
const WHISPER: &str = "openai/whisper-1";
const TOKENS: &str = "openai/gpt-4o-transcribe";

async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    gateway
}

fn transcript(sound: &[u8]) -> String {
    format!("I heard {} bytes of {:08x}.", sound.len(), crc32fast::hash(sound))
}

async fn post(gateway: &Gateway, body: Vec<u8>) -> Answer {
    gateway.client().call(Method::POST, PATH, &[FORM], body).await.unwrap()
}

/// What this returns, while the process may not grow by what it passes on.
pub async fn without_growth<T>(pid: u32, sending: impl Future<Output = T>) -> T {
    peak(pid);
    let before = peak(pid);
    let done = sending.await;
    let grown = peak(pid).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes more");
    done
}

/// The status and the text that a form of unknown length is answered with.
pub async fn sent_in_chunks(gateway: &Gateway, path: &str, body: &[u8]) -> (Option<u16>, String) {
    let mut raw = RawConnection::open(address(gateway), WITHIN).await.unwrap();
    raw.write(head(gateway, path, "transfer-encoding: chunked\r\nconnection: close")).await.unwrap();
    for piece in body.chunks(100_000) {
        raw.write(format!("{:x}\r\n", piece.len())).await.unwrap();
        raw.write(piece).await.unwrap();
        raw.write("\r\n").await.unwrap();
    }
    raw.write("0\r\n\r\n").await.unwrap();
    let answer = raw.read_to_end().await.unwrap();
    (status_of(&answer), String::from_utf8_lossy(&answer).into_owned())
}

/// The record of a request whose client sends this much of a longer form to `slow`, and then leaves.
pub async fn left_midway(gateway: &Gateway, path: &str, sent: &[u8]) -> Value {
    let listener = own_upstream(gateway).await;
    let mut client = TcpStream::connect(address(gateway)).await.unwrap();
    client.write_all(head(gateway, path, &format!("content-length: {}", 8 * MIB)).as_bytes()).await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let (written, mut upstream) = tokio::join!(client.write_all(sent), listening(&listener, path));
    written.unwrap();
    let mut received = 0;
    while received < 2 * MIB {
        let count = upstream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "it ends after {received} bytes");
        received += count;
    }
    drop(client);
    let left = async { while matches!(upstream.read(&mut buffer).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(WITHIN, left).await.expect("the upstream's connection ends with the client's");
    found("the request in the books", async || gateway.requests(10).await.pop()).await
}

async fn transcribe(gateway: &Gateway, body: Vec<u8>, sound: &[u8]) -> Answer {
    let answer = post(gateway, body).await.must_be(200);
    assert_eq!(answer.json()["text"], transcript(sound));
    answer
}

#[tokio::test]
async fn official_clients_have_recordings_written_down() {
    let gateway = gateway().await;
    gateway.node("listener", &["gpt-4o-mini-transcribe"]).await;
    assert_eq!(gateway.drive("audio.py").await, 7);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_was_heard_is_booked_for_each_profile() {
    let gateway = gateway().await;
    gateway.node("listener", &["gpt-4o-mini-transcribe"]).await;
    let two_seconds = sound(32_000);
    let record_of = async |model: &str, format: &str, profile: &str| {
        let model = ("model", model.as_bytes());
        let body = form(&[model, ("response_format", format.as_bytes()), ("file", &two_seconds)]);
        let answer = post(&gateway, body).await.must_be(200);
        assert!(answer.text().contains(&transcript(&two_seconds)), "{}", answer.text());
        assert_eq!(answer.header("agent-execution-profile"), Some(profile));
        let row = gateway.settled(&trace_of(&answer)).await;
        has(&row, json!({"operation": "transcribe", "outcome": "completed"}));
        row
    };
    let row = record_of(TOKENS, "json", "byok").await;
    let words = transcript(&two_seconds).split(' ').count() as u64;
    has(&row, json!({"input_tokens": 22, "output_tokens": words, "/units/audio_input_tokens": 20}));
    has(&row, json!({"estimated": false}));
    let row = record_of("gpt-4o-mini-transcribe", "json", "byoc").await;
    assert_eq!(row["units"]["audio_input_tokens"], 20, "{row}");
    let row = record_of(WHISPER, "verbose_json", "byok").await;
    has(&row, json!({"/units/audio_ms": 2_000, "estimated": false}));
    // A duration known only from subtitles, or not at all, is an estimate.
    for format in ["srt", "vtt", "text"] {
        let row = record_of(WHISPER, format, "byok").await;
        assert_eq!(row["estimated"], true, "{format}: {row}");
        assert!((2_000..2_100).contains(&row["units"]["audio_ms"].as_u64().unwrap()), "{format}: {row}");
    }
    assert_eq!(gateway.calls(NODE).len(), 1);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn every_byte_but_the_model_goes_on_as_it_came_in_chunks_too() {
    let gateway = gateway().await;
    for length in [10, 3 * MIB] {
        let sound = sound(length);
        let sent = |model: &str| {
            let model = ("model", model.as_bytes());
            form(&[("prompt", b"x\r\n--xy"), model, ("file", &sound), ("language", b"en")])
        };
        transcribe(&gateway, sent(WHISPER), &sound).await;
        assert_eq!(gateway.last(OWN).body, sent("whisper-1"), "{length}");
    }
    // If the file comes before the model field, all of it is buffered.
    let early = sound(2 * MIB);
    transcribe(&gateway, form(&[("file", &early), ("model", WHISPER.as_bytes())]), &early).await;
    let sound = sound(3 * MIB);
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &sound)]);
    let (status, text) = sent_in_chunks(&gateway, PATH, &body).await;
    assert!(status == Some(200) && text.contains(&transcript(&sound)), "{text}");
}

#[tokio::test]
async fn over_streams_of_one_connection_it_is_the_same() {
    let gateway = Gateway::with(config().tls(), &[]).await;
    gateway.credential("openai", OWN).await;
    let sound = sound(3 * MIB);
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &sound)]);
    let client = gateway.client().http2();
    let answer = client.call(Method::POST, PATH, &[FORM], body).await.unwrap();
    assert_eq!((answer.status, answer.json()["text"].as_str()), (200, Some(&*transcript(&sound))));
    assert_eq!(gateway.last(OWN).version, "HTTP/2.0");
    let twice = form(&[("model", WHISPER.as_bytes()), ("file", &sound), ("model", b"gpt-4o-transcribe")]);
    let answer = client.call(Method::POST, PATH, &[FORM], twice).await.unwrap();
    assert_eq!(refused(&answer, 400, "duplicate_field")["param"], "model");
    assert_eq!(gateway.calls(OWN).iter().filter(|call| call.outcome == Outcome::Answered).count(), 1);
}

#[tokio::test]
async fn a_long_recording_is_not_held() {
    let gateway = gateway().await;
    let sound = sound(24 * MIB);
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &sound)]);
    transcribe(&gateway, form(&[("model", WHISPER.as_bytes()), ("file", b"warm")]), b"warm").await;
    without_growth(gateway.pid(), transcribe(&gateway, body, &sound)).await;
}

#[tokio::test]
async fn a_slow_upstream_slows_the_client_and_no_memory_is_filled() {
    let gateway = gateway().await;
    let listener = own_upstream(&gateway).await;
    let body = form(&[("model", b"slow/whisper-1"), ("file", &sound(28 * MIB))]);
    let mut client = TcpStream::connect(address(&gateway)).await.unwrap();
    let pid = gateway.pid();
    peak(pid);
    let before = peak(pid);
    let head = head(&gateway, PATH, &format!("content-length: {}", body.len()));
    client.write_all(head.as_bytes()).await.unwrap();
    let (sent, mut upstream) = tokio::join!(fill(&mut client, &body), listening(&listener, PATH));
    assert!(sent < 20 * MIB, "{sent} bytes were taken that nobody read");
    let answering = tokio::spawn(async move {
        let mut all = Vec::new();
        let mut buffer = vec![0; 256 * 1024];
        while !all.ends_with(b"--xyz--\r\n") {
            let read = upstream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "it ended after {} bytes", all.len());
            all.extend_from_slice(&buffer[..read]);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"text\":\"Hi\"}";
        upstream.write_all(answer).await.unwrap();
        all.len()
    });
    client.write_all(&body[sent..]).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = client.read(&mut answer).await.unwrap();
    assert_eq!(status_of(&answer[..read]), Some(200), "{}", String::from_utf8_lossy(&answer[..read]));
    assert!(answering.await.unwrap() > body.len() - 16, "all of it came");
    let grown = peak(pid).saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes more");
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_sent_for_it() {
    let gateway = gateway().await;
    let body = parts(&[("model", b"slow/whisper-1"), ("file", &sound(3 * MIB))]);
    has(&left_midway(&gateway, PATH, &body).await, json!({"outcome": "client_cancelled"}));
}

#[tokio::test]
async fn another_credential_is_asked_while_nothing_is_gone() {
    let gateway = gateway().await;
    gateway.credential("openai", OWN_SECOND).await;
    let short = sound(1_000);
    gateway.emulator.script(OWN, [Behaviour::status(429).retry_after("60")]);
    gateway.emulator.script(OWN_SECOND, []);
    let mut attempts = Vec::new();
    for _ in 0..2 {
        let body = form(&[("model", WHISPER.as_bytes()), ("file", &short)]);
        let answer = transcribe(&gateway, body, &short).await;
        attempts.push(answer.header("agent-attempts").unwrap().to_owned());
    }
    assert!(attempts.iter().any(|attempts| attempts == "2"), "{attempts:?}");
}

#[tokio::test]
async fn what_is_gone_can_not_be_sent_again_and_that_is_said() {
    let gateway = gateway().await;
    gateway.emulator.script(OWN, [Behaviour::status(500).always()]);
    let sound = sound(3 * MIB);
    let answer = post(&gateway, form(&[("model", WHISPER.as_bytes()), ("file", &sound)])).await;
    assert_eq!((answer.status, answer.header("agent-attempts")), (502, Some("1")), "{}", answer.text());
    assert!(answer.text().contains("had already been sent"), "{}", answer.text());
    assert_eq!(gateway.calls(OWN).len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_said_and_nobody_is_asked_with_a_whole_one() {
    let gateway = gateway().await;
    let whisper = WHISPER.as_bytes();
    let check = async |body: Vec<u8>, status: u16, code: &str, param: Value| {
        let answer = post(&gateway, body).await;
        assert_eq!(refused(&answer, status, code)["param"], param, "{}", answer.text());
    };
    check(form(&[("model", whisper)]), 400, "missing_required_parameter", json!("file")).await;
    check(form(&[("file", b"x")]), 400, "missing_required_parameter", json!("model")).await;
    check(form(&[]), 400, "missing_required_parameter", json!("model")).await;
    check(parts(&[("model", whisper), ("file", b"x")]), 400, "invalid_form", json!("body")).await;
    check(b"hello".to_vec(), 400, "invalid_form", json!("body")).await;
    let unclear = form(&[("model", whisper), ("stream", b"maybe"), ("file", b"x")]);
    check(unclear, 400, "invalid_value", json!("stream")).await;
    let long = form(&[("model", whisper), ("file", &sound(33 * MIB))]);
    check(long, 413, "request_too_large", Value::Null).await;
    let json = [("content-type", "application/json")];
    let answer = gateway.client().call(Method::POST, PATH, &json, r#"{"model":"m"}"#).await.unwrap();
    refused(&answer, 415, "unsupported_media_type");
    let bare = [("content-type", "multipart/form-data")];
    let answer = gateway.client().call(Method::POST, PATH, &bare, form(&[("model", whisper)])).await.unwrap();
    refused(&answer, 400, "invalid_form");
    assert_eq!(gateway.calls(OWN).len(), 0);
    // A chat model receives no transcription request.
    let answer = post(&gateway, form(&[("model", b"openai/gpt-4o-mini"), ("file", b"x")])).await;
    refused(&answer, 400, "model_modality");
    // With two model fields in one form, the gateway would authorise the first and the provider would use the
    // second.
    let sound = sound(3 * MIB);
    let body = form(&[("model", WHISPER.as_bytes()), ("file", &sound), ("model", b"gpt-4o-transcribe")]);
    let answer = post(&gateway, body).await;
    assert_eq!(refused(&answer, 400, "duplicate_field")["param"], "model");
    assert!(!gateway.calls(OWN).iter().any(|call| call.outcome == Outcome::Answered));
    has(&gateway.settled(&trace_of(&answer)).await, json!({"outcome": "failed"}));
}
