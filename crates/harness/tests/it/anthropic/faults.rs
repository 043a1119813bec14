//! Each scripted fault under Anthropic's paths.

use std::io::Read;
use std::time::{Duration, Instant};

use harness::emulator::CannedBody;
use harness::pace::{Pace, Threads};
use harness::{At, Behaviour, Outcome};
use serde_json::{Value, json};

use super::{MESSAGES, answer_with, client, error_of, kinds, question, spelt, start, stream_with, streaming};
use crate::{KEY, WITHIN, framings, unicode};

const SAID: &str = "You said: hello there";
/// start, ping, block start, four tokens, block stop, delta, stop
const EVENTS: usize = 10;

#[tokio::test]
async fn statuses_come_in_the_providers_shape() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        let answer = answer_with(Behaviour::status(status)).await;
        let (found, of, _) = error_of(&answer);
        assert_eq!((found, of.as_str()), (status, kind));
    }
    let own = answer_with(Behaviour::status(400).code("billing_error").message("pay")).await;
    assert_eq!(error_of(&own), (400, "billing_error".to_owned(), "pay".to_owned()));
    let code = answer_with(Behaviour::status(429).code("spend_limit")).await;
    assert_eq!(code.json()["error"]["details"]["error_code"], "spend_limit");
    let seconds = answer_with(Behaviour::rate_limited(7)).await;
    assert_eq!(seconds.header("retry-after"), Some("7"));
    let foreign = answer_with(Behaviour::status(500).with_body(CannedBody::Openai)).await;
    assert_eq!(foreign.json().get("type"), None);
    let html = answer_with(Behaviour::status(502).with_body(CannedBody::Html)).await;
    assert_eq!((html.status, html.header("content-type")), (502, Some("text/html")));
    let redirect = answer_with(Behaviour::ok().redirect("http://127.0.0.1:9/")).await;
    assert_eq!(redirect.status, 302);
}

#[tokio::test]
async fn breaks_at_each_place() {
    let all = [
        (At::Event(0), 0),
        (At::Event(1), 1),
        (At::Middle, 5),
        (At::Finish, 8),
        (At::Usage, 9),
        (At::Done, 9),
        (At::Event(99), 10),
    ];
    for (at, read) in all {
        for (behaviour, proper) in [
            (Behaviour::ok().cut(at), false),
            (Behaviour::ok().close(at), false),
            (Behaviour::ok().eof(at), true),
        ] {
            let label = format!("{behaviour:?}");
            let (events, end) = stream_with(behaviour, json!({})).await;
            assert_eq!((events.len(), end.is_ok()), (read, proper), "{at:?} {label}");
        }
    }
    let (events, end) = stream_with(Behaviour::ok().cut_inside(4), json!({})).await;
    assert_eq!((events.len(), end.is_err()), (4, true));
    let (events, _) = stream_with(Behaviour::ok().no_done(), json!({})).await;
    assert_eq!(kinds(&events).last(), Some(&"message_delta"));
}

#[tokio::test]
async fn errors_and_damage_in_mid_stream() {
    for at in [0, 4] {
        let (events, end) = stream_with(Behaviour::ok().error_event(at), json!({})).await;
        assert_eq!((events.len(), end.is_ok()), (at + 1, true));
        let error = events.last().unwrap();
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    }
    let (events, _) =
        stream_with(Behaviour::ok().error_event(3).code("api_error").message("gone"), json!({})).await;
    assert_eq!(events[3]["error"], json!({"type": "api_error", "message": "gone"}));
    let emulator = start().await;
    emulator.script(KEY, [Behaviour::ok().error_event(1)]);
    let text = client(&emulator).post(MESSAGES, &streaming()).await.unwrap().text();
    assert!(text.contains("\n\nevent: error\ndata: {\"type\":\"error\","), "{text}");
    let (events, _) = stream_with(Behaviour::ok().malformed(4), json!({})).await;
    assert_eq!((events.len(), &events[4]), (EVENTS, &Value::Null));
    let (events, _) = stream_with(Behaviour::ok().giant(1_000_000), json!({})).await;
    assert!(spelt(&events, "text").len() > 1_000_000);
}

#[tokio::test]
async fn framing_variants_read_the_same() {
    let (plain, _) = stream_with(unicode(), json!({})).await;
    let expected = spelt(&plain, "text");
    assert!(expected.contains('漢') && expected.contains('🙂'));
    for behaviour in framings() {
        let label = format!("{behaviour:?}");
        let (events, end) = stream_with(behaviour, json!({})).await;
        assert!(end.is_ok(), "{label}");
        assert_eq!(spelt(&events, "text"), expected, "{label}");
    }
}

#[tokio::test]
async fn slow_stalled_and_left() {
    let emulator = start().await;
    emulator.script(
        KEY,
        [Behaviour::ok().latency(Duration::from_millis(40)).interval(Duration::from_millis(10))],
    );
    let started = Instant::now();
    let mut stream = client(&emulator).stream(MESSAGES, &streaming()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(40));
    assert_eq!(stream.events().await.0.len(), EVENTS);
    assert!(started.elapsed() >= Duration::from_millis(70));
    emulator.reset();
    emulator.script(KEY, [Behaviour::ok().stall(5)]);
    let mut stream = client(&emulator).stream(MESSAGES, &streaming()).await.unwrap();
    for _ in 0..5 {
        stream.event().await.unwrap().unwrap();
    }
    let pace = Pace::start(&[Threads::of_emulators()]);
    stream.hang_up();
    let journal =
        emulator.wait_for(WITHIN, |journal| journal[0].outcome == Outcome::Cancelled).await.unwrap();
    let took = pace.elapsed();
    assert!(took < Duration::from_millis(100), "seen after {took:?}");
    assert_eq!((journal[0].said_tokens, journal[0].finished), (2, false));
}

#[tokio::test]
async fn compressed_wrong_and_broken_forms() {
    let emulator = start().await;
    for request in [question(), streaming()] {
        emulator.script(KEY, [Behaviour::ok().gzip()]);
        let answer = client(&emulator).post(MESSAGES, &request).await.unwrap();
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains("msg_"), "{text}");
    }
    emulator.script(KEY, [Behaviour::ok().wrong_form(), Behaviour::ok().wrong_form(), Behaviour::reset()]);
    let json = client(&emulator).post(MESSAGES, &streaming()).await.unwrap();
    assert_eq!(json.json()["content"][0]["text"], SAID);
    let stream = client(&emulator).post(MESSAGES, &question()).await.unwrap();
    assert!(stream.text().starts_with("event: message_start\n"));
    assert!(client(&emulator).post(MESSAGES, &question()).await.is_err());
    for behaviour in [Behaviour::ok().cut(1), Behaviour::ok().eof(1), Behaviour::ok().cut_inside(0)] {
        let label = format!("{behaviour:?}");
        emulator.script(KEY, [behaviour]);
        assert!(client(&emulator).post(MESSAGES, &question()).await.is_err(), "{label}");
    }
}
