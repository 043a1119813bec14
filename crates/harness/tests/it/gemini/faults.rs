//! Each scripted fault under Gemini's paths, seen from the client's side of the socket.

use std::time::{Duration, Instant};

use harness::emulator::CannedBody;
use harness::{At, Behaviour, LineEnd, Outcome};
use serde_json::{Value, json};

use super::{OLD, ask, client, path, question, stream_with, text_of};
use crate::{KEY, framings, start, unicode, with};

const SAID: &str = "You said: hello there";
const CHUNKS: usize = 5;

#[tokio::test]
async fn statuses_come_in_the_providers_envelope() {
    let emulator = start().await;
    for (behaviour, code, status) in [
        (Behaviour::status(500), 500, "INTERNAL"),
        (Behaviour::status(503), 503, "UNAVAILABLE"),
        (Behaviour::status(504), 504, "DEADLINE_EXCEEDED"),
        (Behaviour::rate_limited(7), 429, "RESOURCE_EXHAUSTED"),
        (Behaviour::out_of_quota(), 429, "RESOURCE_EXHAUSTED"),
        (Behaviour::status(400).code("FAILED_PRECONDITION"), 400, "FAILED_PRECONDITION"),
        (Behaviour::status(400).code("API_KEY_INVALID"), 400, "INVALID_ARGUMENT"),
        (Behaviour::status(200), 200, "INTERNAL"),
    ] {
        emulator.script(KEY, [behaviour]);
        let answer = ask(&emulator, OLD, &question()).await;
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status, code);
        assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)));
    }
}

#[tokio::test]
async fn a_refused_stream_is_told_in_an_array() {
    let emulator = start().await;
    for (query, behaviour, request, code) in [
        ("?alt=sse", Behaviour::status(503), question(), 503),
        ("", Behaviour::status(429), question(), 429),
        ("?alt=sse", Behaviour::ok(), json!({"surprise": 1}), 400),
    ] {
        emulator.clear_scripts();
        emulator.script(KEY, [behaviour]);
        let path = format!("{}{query}", path(OLD, "streamGenerateContent"));
        let answer = client(&emulator).post(&path, &request).await.unwrap();
        assert_eq!((answer.status, &answer.json()[0]["error"]["code"]), (code, &json!(code)));
        assert_eq!(answer.json().as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn when_to_come_back_stands_in_the_body_only() {
    let emulator = start().await;
    for (behaviour, delay) in [
        (Behaviour::rate_limited(7), "7s"),
        (Behaviour::status(429).retry_after_ms(34_070), "34.07s"),
        (Behaviour::status(429).retry_after_date(60), "60s"),
    ] {
        emulator.script(KEY, [behaviour]);
        let answer = ask(&emulator, OLD, &question()).await;
        assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), (None, None));
        let detail = answer.json()["error"]["details"][0].clone();
        assert_eq!(detail, json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    emulator.script(KEY, [Behaviour::status(503).header("x-extra", "yes")]);
    assert_eq!(ask(&emulator, OLD, &question()).await.header("x-extra"), Some("yes"));
    emulator.script(KEY, [Behaviour::ok().header("x-gemini-service-tier", "standard")]);
    let downgraded = ask(&emulator, OLD, &with(question(), json!({"serviceTier": "priority"}))).await;
    assert_eq!(downgraded.header("x-gemini-service-tier"), Some("standard"));
}

#[tokio::test]
async fn foreign_bodies() {
    let emulator = start().await;
    for (body, starts) in [
        (CannedBody::Html, "<html>"),
        (CannedBody::Text, "{\"error\":\""),
        (CannedBody::Detail, "{\"detail\":["),
        (CannedBody::Openai, "{\"error\":{\"message\""),
    ] {
        emulator.script(KEY, [Behaviour::status(502).with_body(body)]);
        let answer = ask(&emulator, OLD, &question()).await;
        assert!(answer.status == 502 && answer.text().starts_with(starts), "{}", answer.text());
    }
    emulator.script(KEY, [Behaviour::ok().redirect("http://127.0.0.1:9/elsewhere")]);
    assert_eq!(ask(&emulator, OLD, &question()).await.status, 302);
}

#[tokio::test]
async fn framing_variants_read_the_same() {
    let expected = text_of(&stream_with(OLD, unicode()).await.0);
    assert!(expected.contains('漢') && expected.contains('🙂'));
    let more = [unicode().line_end(LineEnd::Lf), unicode().unterminated().doubled_done()];
    for behaviour in framings().into_iter().chain(more) {
        let label = format!("{behaviour:?}");
        let (events, end) = stream_with(OLD, behaviour).await;
        assert!(end.is_ok(), "{label}");
        assert_eq!(text_of(&events), expected, "{label}");
    }
}

#[tokio::test]
async fn breaks_at_each_place() {
    for (at, read) in [
        (At::Event(0), 0),
        (At::Event(1), 1),
        (At::Middle, 2),
        (At::Finish, 4),
        (At::Usage, CHUNKS),
        (At::Done, CHUNKS),
    ] {
        let (events, end) = stream_with(OLD, Behaviour::ok().cut(at)).await;
        assert_eq!((events.len(), end.is_err()), (read, true), "cut at {at:?}");
        let (events, end) = stream_with(OLD, Behaviour::ok().close(at)).await;
        assert_eq!((events.len(), end.is_err()), (read, true), "close at {at:?}");
        let (events, end) = stream_with(OLD, Behaviour::ok().eof(at)).await;
        assert_eq!((events.len(), end.is_ok()), (read, true), "eof at {at:?}");
    }
    let (events, end) = stream_with(OLD, Behaviour::ok().cut_inside(2)).await;
    assert_eq!((events.len(), end.is_err()), (2, true));
}

#[tokio::test]
async fn damaged_chunks() {
    let (events, _) = stream_with(OLD, Behaviour::ok().malformed(1)).await;
    let readable: Vec<bool> =
        events.iter().map(|event| serde_json::from_str::<Value>(event).is_ok()).collect();
    assert_eq!(readable, [true, false, true, true, true]);
    let (events, _) = stream_with(OLD, Behaviour::ok().joined_line(1)).await;
    assert_eq!(events.len(), CHUNKS - 1);
    let (events, end) =
        stream_with(OLD, Behaviour::ok().error_event(2).code("UNAVAILABLE").message("gone")).await;
    assert!(end.is_ok());
    assert_eq!(events.len(), 3);
    assert_eq!(events[2], r#"{"error":{"code":503,"message":"gone","status":"UNAVAILABLE"}}"#);
    let (events, _) = stream_with(OLD, Behaviour::ok().giant(100_000)).await;
    assert_eq!(text_of(&events).len(), SAID.len() + 100_000);
    let emulator = start().await;
    emulator.script(KEY, [Behaviour::ok().error_event(1)]);
    let array =
        client(&emulator).post(&path(OLD, "streamGenerateContent"), &question()).await.unwrap().json();
    assert_eq!((array.as_array().unwrap().len(), &array[1]["error"]["status"]), (2, &json!("INTERNAL")));
}

#[tokio::test]
async fn slow_compressed_and_wrong_forms() {
    let start_time = Instant::now();
    let (events, _) = stream_with(OLD, Behaviour::ok().interval(Duration::from_millis(20))).await;
    assert_eq!(text_of(&events), SAID);
    assert!(start_time.elapsed() >= Duration::from_millis(80));
    let emulator = start().await;
    emulator.script(
        KEY,
        [Behaviour::ok().gzip(), Behaviour::ok().wrong_form(), Behaviour::ok().bomb(10_000_000)],
    );
    let zipped = ask(&emulator, OLD, &question()).await;
    assert_eq!((zipped.header("content-encoding"), &zipped.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]));
    let wrong = ask(&emulator, OLD, &question()).await;
    assert_eq!(wrong.header("content-type"), Some("text/event-stream"));
    assert_eq!(text_of(&harness::sse::events(&wrong.body)), SAID);
    assert!(ask(&emulator, OLD, &question()).await.body.len() < 100_000, "a bomb is small on the wire");
    emulator.script(KEY, [Behaviour::ok().wrong_form()]);
    let path = format!("{}?alt=sse", path(OLD, "streamGenerateContent"));
    let plain = client(&emulator).post(&path, &question()).await.unwrap();
    assert_eq!(plain.json()["candidates"][0]["content"]["parts"][0]["text"], SAID);
}

#[tokio::test]
async fn a_client_that_leaves_is_seen() {
    let emulator = start().await;
    emulator.script(KEY, [Behaviour::ok().stall(2)]);
    let path = format!("{}?alt=sse", path(OLD, "streamGenerateContent"));
    let mut stream = client(&emulator).stream(&path, &question()).await.unwrap();
    stream.event().await.unwrap();
    stream.hang_up();
    let left = |entries: &[harness::Entry]| entries[0].outcome == Outcome::Cancelled;
    assert!(emulator.wait_for(crate::WITHIN, left).await.is_ok());
    emulator.script(KEY, [Behaviour::reset()]);
    assert!(client(&emulator).post(&path, &question()).await.is_err());
}

#[tokio::test]
async fn scripts_travel_in_labels_too() {
    let emulator = start().await;
    let labelled = with(question(), json!({"labels": {"emulate": "text=scripted,latency=1"}}));
    let answer = ask(&emulator, OLD, &labelled).await.json();
    assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], "scripted");
}
