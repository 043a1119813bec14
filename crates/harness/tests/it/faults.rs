//! Each scripted fault, seen from the client's side of the socket.

use std::io::Read;
use std::time::{Duration, Instant};

use harness::emulator::CannedBody;
use harness::pace::{Pace, Threads};
use harness::{At, Behaviour, Emulator, LineEnd, Outcome, ToolMode, UsageMode};
use serde_json::{Value, json};

use crate::{
    CHAT, KEY, WITHIN, answer_with, client, config, framings, question, start, stream_with, streaming,
    text_of, unicode, with,
};

const SAID: &str = "You said: hello there";
/// role, four tokens, finish, usage, done
const EVENTS: usize = 8;

#[tokio::test]
async fn statuses_come_in_the_providers_shape() {
    for (behaviour, status, kind, code) in [
        (Behaviour::status(500), 500, "server_error", None),
        (Behaviour::status(503), 503, "service_unavailable_error", Some("server_is_overloaded")),
        (Behaviour::rate_limited(7), 429, "requests", Some("rate_limit_exceeded")),
        (Behaviour::out_of_quota(), 429, "insufficient_quota", Some("insufficient_quota")),
        (Behaviour::status(400).code("content_filter"), 400, "invalid_request_error", Some("content_filter")),
        (Behaviour::canned(CannedBody::Openai), 200, "server_error", None),
    ] {
        let answer = answer_with(behaviour).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, error["type"].as_str(), error["code"].as_str()),
            (status, Some(kind), code)
        );
    }
}

#[tokio::test]
async fn retry_hints_in_each_form() {
    let seconds = answer_with(Behaviour::rate_limited(7)).await;
    assert_eq!(seconds.header("retry-after"), Some("7"));
    let ms = answer_with(Behaviour::status(429).retry_after_ms(250)).await;
    assert_eq!(ms.header("retry-after-ms"), Some("250"));
    let date = answer_with(Behaviour::status(503).retry_after_date(60)).await;
    let date = date.header("retry-after").unwrap().to_owned();
    assert!(date.ends_with(" GMT") && date.contains(", ") && date.len() == 29, "{date}");
}

#[tokio::test]
async fn foreign_bodies() {
    let html = answer_with(Behaviour::status(502).with_body(CannedBody::Html)).await;
    assert_eq!((html.status, html.header("content-type")), (502, Some("text/html")));
    let html_ok = answer_with(Behaviour::canned(CannedBody::Html)).await;
    assert!(html_ok.status == 200 && html_ok.text().starts_with("<html>"));
    let empty = answer_with(Behaviour::status(500).with_body(CannedBody::Empty)).await;
    assert_eq!((empty.status, empty.body.len()), (500, 0));
    let text = answer_with(Behaviour::status(400).with_body(CannedBody::Text)).await;
    assert!(text.json()["error"].is_string());
    let detail = answer_with(Behaviour::status(422).with_body(CannedBody::Detail)).await;
    assert!(detail.json()["detail"].is_array());
    let message = answer_with(Behaviour::status(400).with_body(CannedBody::Message)).await;
    assert_eq!(message.json()["object"], "error");
    let redirect = answer_with(Behaviour::ok().redirect("http://127.0.0.1:9/elsewhere")).await;
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("http://127.0.0.1:9/elsewhere")));
}

#[tokio::test]
async fn a_good_stream_has_the_providers_grammar() {
    let (status, events, end) = stream_with(Behaviour::ok()).await;
    assert!(end.is_ok());
    assert_eq!((status, events.len(), text_of(&events).as_str()), (200, EVENTS, SAID));
    let chunks: Vec<Value> =
        events[..EVENTS - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[EVENTS - 3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[EVENTS - 3]["choices"][0]["delta"], json!({}));
    assert_eq!(chunks[EVENTS - 2]["choices"], json!([]));
    assert_eq!(chunks[EVENTS - 2]["usage"]["completion_tokens"], 4);
    assert!(chunks[..EVENTS - 2].iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(events[EVENTS - 1], "[DONE]");
}

#[tokio::test]
async fn framing_variants_read_the_same() {
    let (_, plain, _) = stream_with(unicode()).await;
    let expected = text_of(&plain);
    assert!(expected.contains('漢') && expected.contains('🙂') && expected.contains('é'));
    let more = [unicode().line_end(LineEnd::Crlf).split(1), unicode().no_done(), unicode().unterminated()];
    for behaviour in framings().into_iter().chain(more) {
        let label = format!("{behaviour:?}");
        let (_, events, end) = stream_with(behaviour).await;
        assert!(end.is_ok(), "{label}");
        assert_eq!(text_of(&events), expected, "{label}");
    }
}

#[tokio::test]
async fn framing_variants_are_really_on_the_wire() {
    let emulator = start().await;
    let bytes = async |behaviour: Behaviour| {
        emulator.script(KEY, [behaviour]);
        client(&emulator).post(CHAT, &streaming()).await.unwrap().text()
    };
    assert!(bytes(Behaviour::ok().line_end(LineEnd::Crlf)).await.contains("[DONE]\r\n\r\n"));
    let cr = bytes(Behaviour::ok().line_end(LineEnd::Cr)).await;
    assert!(cr.ends_with("[DONE]\r\r") && !cr.contains('\n'));
    assert!(bytes(Behaviour::ok().bom()).await.starts_with("\u{feff}data: "));
    assert!(bytes(Behaviour::ok().comments()).await.starts_with(": ping 0\n\n"));
    assert!(
        bytes(Behaviour::ok().extra_lines()).await.starts_with("event: message\nid: 0\nretry: 1000\ndata: ")
    );
    assert!(bytes(Behaviour::ok().no_space()).await.starts_with("data:{"));
    assert!(bytes(Behaviour::ok().multiline()).await.starts_with("data: {\ndata: \"id\""));
    assert!(bytes(Behaviour::ok().doubled_done()).await.ends_with("data: [DONE]\n\ndata: [DONE]\n\n"));
    assert!(bytes(Behaviour::ok().unterminated()).await.ends_with("data: [DONE]\n"));
    assert!(!bytes(Behaviour::ok().no_done()).await.contains("[DONE]"));
}

#[tokio::test]
async fn breaks_at_each_place() {
    let all = [
        (At::Event(0), 0),
        (At::Event(1), 1),
        (At::Middle, 3),
        (At::Finish, 5),
        (At::Usage, 6),
        (At::Done, 7),
        (At::Event(99), 8),
    ];
    for (at, read) in all {
        let (_, events, end) = stream_with(Behaviour::ok().cut(at)).await;
        assert_eq!((events.len(), end.is_err()), (read, true), "cut at {at:?}");
        let (_, events, end) = stream_with(Behaviour::ok().close(at)).await;
        assert_eq!((events.len(), end.is_err()), (read, true), "close at {at:?}");
        let (_, events, end) = stream_with(Behaviour::ok().eof(at)).await;
        assert_eq!((events.len(), end.is_ok()), (read, true), "eof at {at:?}");
    }
    let (_, events, end) = stream_with(Behaviour::ok().cut_inside(2)).await;
    assert_eq!((events.len(), end.is_err()), (2, true));
}

#[tokio::test]
async fn a_stall_lasts_until_the_client_leaves() {
    let emulator = start().await;
    for (at, read) in [(At::Event(0), 0_u64), (At::Event(3), 3), (At::Usage, 6)] {
        emulator.reset();
        emulator.script(KEY, [Behaviour::ok().stall(at)]);
        let mut stream = client(&emulator).stream(CHAT, &streaming()).await.unwrap();
        for _ in 0..read {
            stream.event().await.unwrap().unwrap();
        }
        let silent = tokio::time::timeout(Duration::from_millis(30), stream.event()).await;
        assert!(silent.is_err(), "{at:?} still talks");
        let pace = Pace::start(&[Threads::of_emulators()]);
        stream.hang_up();
        let journal =
            emulator.wait_for(WITHIN, |journal| journal[0].outcome == Outcome::Cancelled).await.unwrap();
        let took = pace.elapsed();
        assert!(took < Duration::from_millis(100), "seen after {took:?}");
        assert_eq!(journal[0].said_tokens, read.saturating_sub(1).min(4), "{at:?}");
        assert!(!journal[0].finished);
    }
}

#[tokio::test]
async fn a_stall_can_end() {
    let started = Instant::now();
    let (_, events, end) = stream_with(Behaviour::ok().stall_for(2, Duration::from_millis(60))).await;
    assert!(started.elapsed() >= Duration::from_millis(60));
    assert_eq!((events.len(), end.is_ok()), (EVENTS, true));
}

#[tokio::test]
async fn latency_comes_before_the_head_and_intervals_between_events() {
    let emulator = start().await;
    emulator.script(
        KEY,
        [Behaviour::ok().latency(Duration::from_millis(40)).interval(Duration::from_millis(10))],
    );
    let started = Instant::now();
    let mut stream = client(&emulator).stream(CHAT, &streaming()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(40));
    let head = Instant::now();
    assert_eq!(stream.events().await.0.len(), EVENTS);
    assert!(
        head.elapsed() >= Duration::from_millis(30),
        "four intervals, the first perhaps before the head was seen"
    );
}

#[tokio::test]
async fn damaged_events() {
    let (_, events, end) = stream_with(Behaviour::ok().malformed(3)).await;
    assert!(end.is_ok() && serde_json::from_str::<Value>(&events[3]).is_err());
    let (_, events, _) = stream_with(Behaviour::ok().joined_line(2)).await;
    assert!(events.len() == EVENTS - 1 && events[2].contains("}{"));
    for (at, before) in [(0, 0), (3, 3)] {
        let (_, events, end) = stream_with(Behaviour::ok().error_event(at).code("overloaded")).await;
        assert!(end.is_ok());
        assert_eq!(events.len(), before + 1);
        let error: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "overloaded");
    }
    let (_, events, _) = stream_with(Behaviour::ok().giant(2_000_000)).await;
    assert!(events.iter().any(|event| event.len() > 2_000_000));
}

#[tokio::test]
async fn usage_in_each_mode() {
    let usages = async |mode: UsageMode| -> Vec<(bool, Value)> {
        let (_, events, _) = stream_with(Behaviour::ok().usage(mode)).await;
        events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok())
            .filter(|chunk| chunk["usage"].is_object())
            .map(|chunk| (chunk["choices"] == json!([]), chunk["usage"]["completion_tokens"].clone()))
            .collect()
    };
    assert_eq!(usages(UsageMode::Normal).await, [(true, json!(4))]);
    assert_eq!(usages(UsageMode::Missing).await, []);
    assert_eq!(usages(UsageMode::Zero).await, [(true, json!(0))]);
    assert_eq!(usages(UsageMode::Joined).await, [(false, json!(4))]);
    assert_eq!(usages(UsageMode::Unasked).await, [(true, json!(4))]);
    let every = usages(UsageMode::Every).await;
    let counted: Vec<u64> = every.iter().map(|(_, tokens)| tokens.as_u64().unwrap()).collect();
    assert_eq!(counted, [0, 1, 2, 3, 4, 4]);
    let counted = answer_with(Behaviour::ok().counted(1000, 900, 77)).await.json()["usage"].clone();
    assert_eq!(
        (
            &counted["prompt_tokens"],
            &counted["prompt_tokens_details"]["cached_tokens"],
            &counted["total_tokens"]
        ),
        (&json!(1000), &json!(900), &json!(1077))
    );
}

#[tokio::test]
async fn compressed_and_wrong_forms() {
    let emulator = start().await;
    for request in [question(), streaming()] {
        emulator.script(KEY, [Behaviour::ok().gzip()]);
        let answer = client(&emulator).post(CHAT, &request).await.unwrap();
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
        assert!(text.contains("chatcmpl-"), "{text}");
    }
    let bomb = answer_with(Behaviour::ok().bomb(256 * 1024 * 1024)).await;
    assert!(bomb.body.len() < 1024 * 1024, "{} bytes", bomb.body.len());
    emulator.script(KEY, [Behaviour::ok().wrong_form(), Behaviour::ok().wrong_form()]);
    let json = client(&emulator).post(CHAT, &streaming()).await.unwrap();
    assert_eq!(json.json()["object"], "chat.completion");
    let stream = client(&emulator).post(CHAT, &question()).await.unwrap();
    assert!(stream.text().starts_with("data: "));
}

#[tokio::test]
async fn connections_that_break_before_the_head() {
    let emulator = start().await;
    emulator.script(KEY, [Behaviour::reset()]);
    assert!(client(&emulator).post(CHAT, &question()).await.is_err());
    assert_eq!(emulator.journal()[0].outcome, Outcome::Cut);
    emulator.refuse().await;
    let refused = client(&emulator).post(CHAT, &question()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    emulator.accept_again().await.unwrap();
    assert_eq!(client(&emulator).post(CHAT, &question()).await.unwrap().status, 200);
}

#[tokio::test]
async fn buffered_answers_break_too() {
    let emulator = start().await;
    for behaviour in [
        Behaviour::ok().cut(0),
        Behaviour::ok().cut(1),
        Behaviour::ok().cut_inside(1),
        Behaviour::ok().eof(1),
    ] {
        let label = format!("{behaviour:?}");
        emulator.script(KEY, [behaviour]);
        assert!(client(&emulator).post(CHAT, &question()).await.is_err(), "{label}");
    }
    emulator.script(KEY, [Behaviour::ok().split(16).pause(Duration::from_millis(1))]);
    let slow = client(&emulator).post(CHAT, &question()).await.unwrap();
    assert_eq!(slow.json()["choices"][0]["message"]["content"], SAID);
}

#[tokio::test]
async fn tool_calls_finishes_and_choices() {
    let tools = json!({"tools": [
        {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {"port": {"type": "string"}, "day": {"type": "integer"}}}}},
        {"type": "custom", "custom": {"name": "shell"}},
    ]});
    let emulator = start().await;
    let ask = async |behaviour: Behaviour, change: Value| {
        emulator.script(KEY, [behaviour]);
        client(&emulator).post(CHAT, &with(question(), change)).await.unwrap().json()
    };
    let both = ask(Behaviour::ok().tools(ToolMode::Parallel), tools.clone()).await;
    let calls = both["choices"][0]["message"]["tool_calls"].clone();
    assert_eq!(calls[0]["function"], json!({"name": "tide", "arguments": "{\"port\":\"value\",\"day\":1}"}));
    assert_eq!(calls[1]["custom"], json!({"name": "shell", "input": "free text"}));
    assert_eq!(both["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(both["choices"][0]["message"]["content"], Value::Null);
    let large = ask(Behaviour::ok().tools(ToolMode::Single).args_bytes(1_000_000), tools.clone()).await;
    assert!(
        large["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap().len()
            > 1_000_000
    );
    let named =
        ask(Behaviour::ok(), with(tools, json!({"messages": [{"role": "user", "content": "use tide"}]})))
            .await;
    assert_eq!(named["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "tide");
    let cut = ask(Behaviour::ok().tokens(50), json!({"max_tokens": 7})).await;
    assert_eq!(
        (&cut["choices"][0]["finish_reason"], &cut["usage"]["completion_tokens"]),
        (&json!("length"), &json!(7))
    );
    let filtered = ask(Behaviour::ok().finish("content_filter"), json!({})).await;
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
    let refused = ask(Behaviour::ok().refusal(), json!({})).await;
    assert_eq!(refused["choices"][0]["message"]["refusal"], SAID);
    let many = ask(Behaviour::ok(), json!({"n": 3})).await;
    assert_eq!(many["choices"].as_array().unwrap().len(), 3);
    let stopped = ask(Behaviour::ok(), json!({"stop": "hello"})).await;
    assert_eq!(stopped["choices"][0]["message"]["content"], "You said: ");
    let thought = ask(Behaviour::ok(), json!({"model": "gpt-5-mini", "max_completion_tokens": 18})).await;
    assert_eq!(thought["usage"]["completion_tokens_details"]["reasoning_tokens"], 16);
    assert_eq!(thought["usage"]["completion_tokens"], 18);
}

#[tokio::test]
async fn scripts_travel_in_the_request_and_in_queues() {
    let emulator = start().await;
    let ask =
        async |change: Value| client(&emulator).post(CHAT, &with(question(), change)).await.unwrap().status;
    assert_eq!(ask(json!({"user": "emu:status=503"})).await, 503);
    assert_eq!(ask(json!({"metadata": {"emulate": "status=502"}})).await, 502);
    assert_eq!(ask(json!({"user": "someone"})).await, 200);
    emulator.script(KEY, [Behaviour::status(500).times(2), Behaviour::ok()]);
    emulator.script_all([Behaviour::status(429).always()]);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(ask(json!({})).await);
    }
    assert_eq!(seen, [500, 500, 200, 429, 429]);
    emulator.clear_scripts();
    assert_eq!(ask(json!({})).await, 200);
}

#[tokio::test]
async fn a_larger_body_than_allowed_is_refused() {
    let emulator = Emulator::start(harness::Config { body_bytes_max: 1000, ..config() }).await.unwrap();
    let long = with(question(), json!({"user": "x".repeat(2000)}));
    assert_eq!(client(&emulator).post(CHAT, &long).await.unwrap().status, 413);
}
