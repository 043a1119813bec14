//! Streams: what passes through unchanged, what is hidden, and how each kind of interruption is reported and
//! booked.

use std::time::Duration;

use bytes::Bytes;
use harness::client::{Client, Streaming};
use harness::pace::{Pace, Threads};
use harness::{At, Behaviour, LineEnd, Outcome, UsageMode};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{
    CHAT, MINI, has, question, refused, said, scripted, streaming, streaming_usage, text_of, trace_of,
    trace_of_stream, with,
};
use crate::gateway::{Gateway, OWN, OWN_SECOND, config};

async fn gateway() -> Gateway {
    let gateway = Gateway::with(config().accept_field("vendor_hint"), &[]).await;
    gateway.credential("openai", OWN).await;
    gateway
}

/// The body with its id and time replaced, which differ between calls.
fn without_id(body: &Bytes) -> String {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let field = |name: &str| {
        let rest = text.split(name).nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().to_owned()
    };
    let (id, created) = (field("\"id\":"), field("\"created\":"));
    let text = text.replace(&id, "\"ID\"").replace(&format!("\"created\":{created}"), "\"created\":0");
    // The id of a tool call begins with the number of the request.
    let mut parts = text.split("\"call_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| format!("{whole}\"call_{}", part.get(12..).unwrap_or(part)))
}

#[tokio::test]
async fn the_providers_bytes_pass() {
    let gateway = gateway().await;
    let direct = Client::new(gateway.emulator.origin()).bearer(OWN).within(WITHIN);
    let plain = ["", "text=unicode,tokens=40", "tools=interleaved", "split=1,tokens=12"];
    let scripts = [&plain[..], &["comments,extra_lines", "reasoning=5"]].concat();
    let forms =
        [question(MINI), streaming_usage(MINI), with(question(MINI), json!({"n": 3, "logprobs": true}))];
    for (script, form) in scripts.iter().flat_map(|script| forms.iter().map(move |form| (script, form))) {
        let hint = json!({"user": format!("emu:{script}"), "vendor_hint": {"deep": [1, 2.50, "né"]}});
        let body = with(form.clone(), hint);
        let through = gateway.chat_ok(&body).await;
        let named = with(body, json!({"model": "gpt-4o-mini"}));
        let plain = direct.post(CHAT, &named).await.unwrap().must_be(200);
        assert_eq!(without_id(&through.body), without_id(&plain.body), "script {script}");
    }
}

#[tokio::test]
async fn the_request_passes_as_it_was_written() {
    let gateway = gateway().await;
    // Odd spacing, escapes, long numbers and unknown fields: only the model's name changes.
    let body = "{ \"vendor_hint\" : 12345678901234567890.10 ,\n\t\"messages\":[{\"role\":\"user\",\"content\":\"n\\u00e9 \\/ \u{1F642}\"}],\n \"model\" : \"openai/gpt-4o-mini\", \"seed\":  7 }";
    let json = [("content-type", "application/json"), ("agent-hints", "eyJ4IjoxfQ"), ("cookie", "a=b")];
    gateway.client().call(http::Method::POST, CHAT, &json, body).await.unwrap().must_be(200);
    let sent = gateway.emulator.journal().pop().unwrap();
    assert_eq!(String::from_utf8(sent.body.to_vec()).unwrap(), body.replace(MINI, "gpt-4o-mini"));
    assert_eq!(gateway.emulator.violations(), [], "no header of the client's own goes on");
}

#[tokio::test]
async fn usage_is_asked_for_and_hidden() {
    let gateway = gateway().await;
    for script in
        ["", "usage=every", "usage=joined", "usage=unasked", "line_end=crlf", "no_done", "unterminated"]
    {
        let body = with(scripted(MINI, script), json!({"stream": true}));
        let answer = gateway.chat_ok(&body).await;
        let events = harness::sse::events(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{script}");
        assert_eq!(text_of(&events), "You said: hello there", "{script}");
        for event in &events {
            assert!(!event.contains("\"usage\""), "{script}: {event}");
            assert!(!event.contains("\"choices\":[]"), "{script}: {event}");
        }
        let request = gateway.settled(&trace_of(&answer)).await;
        let sent = gateway.emulator.journal().pop().unwrap();
        assert_eq!(request["output_tokens"], sent.said_tokens, "{script}: {request}");
        assert_eq!(request["input_tokens"], sent.prompt_tokens, "{script}: {request}");
        assert_eq!(request["estimated"], false, "{script}: {request}");
        assert_eq!(sent.json()["stream_options"], json!({"include_usage": true}), "{script}");
    }
}

#[tokio::test]
async fn what_the_provider_does_not_count_is_estimated_and_marked() {
    let gateway = gateway().await;
    for usage in [UsageMode::Missing, UsageMode::Zero] {
        for body in [question(MINI), streaming(MINI)] {
            gateway.emulator.script(OWN, [Behaviour::ok().usage(usage)]);
            let answer = gateway.chat_ok(&body).await;
            let request = gateway.settled(&trace_of(&answer)).await;
            assert_eq!(request["estimated"], true, "{request}");
            assert!(request["output_tokens"].as_u64().unwrap() > 0, "{request}");
            assert!(request["input_tokens"].as_u64().unwrap() > 0, "{request}");
        }
    }
}

/// Reads a stream to its end: its events, and whether it ended cleanly.
async fn read(stream: &mut Streaming) -> (Vec<String>, bool) {
    let (events, end) = stream.events().await;
    (events, end.is_ok())
}

/// Checks that the stream reported its failure in band: an error event, no `[DONE]`, no clean end.
async fn broke_off(gateway: &Gateway, mut stream: Streaming, code: &str) -> Value {
    assert_eq!(stream.status, 200);
    let trace = trace_of_stream(&stream);
    let (events, clean) = read(&mut stream).await;
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], code, "{events:?}");
    assert!(last["error"]["message"].as_str().unwrap().contains(&trace), "{last}");
    assert!(!clean, "the stream ended as if all were well: {events:?}");
    assert!(events.len() > 1, "something was said before: {events:?}");
    let request = gateway.settled(&trace).await;
    has(&request, json!({"outcome": "failed", "error_code": code}));
    let attempts = request["attempts"].as_array().unwrap().len();
    assert_eq!(attempts, 1, "nothing is repeated after the first word: {request}");
    request
}

#[tokio::test]
async fn a_break_in_the_middle_is_told_in_band() {
    let gateway = gateway().await;
    let (long, broken) = (Behaviour::ok().chunks(20), "upstream_answer_broken");
    for (behaviour, code) in [
        (long.clone().cut(At::Middle), broken),
        (long.clone().cut_inside(At::Middle), broken),
        (long.clone().close(At::Middle), broken),
        (long.clone().eof(At::Middle), broken),
        (long.clone().malformed(At::Middle), broken),
        (long.clone().joined_line(At::Middle), broken),
        (long.error_event(At::Middle), "upstream_error"),
    ] {
        gateway.emulator.script(OWN, [behaviour]);
        let stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
        let request = broke_off(&gateway, stream, code).await;
        // The generated text is metered, even if only as an estimate.
        assert!(request["output_tokens"].as_u64().unwrap() > 0, "{request}");
        assert_eq!(request["estimated"], true, "{request}");
    }
}

/// A wire format with an event for failures ends with it: its clients read the failure, not a broken
/// connection.
#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_whose_grammar_can_say_that_it_failed_ends_so() {
    let gateway = gateway().await;
    let body = json!({"model": MINI, "input": "hello there", "stream": true});
    let breaks = [
        Behaviour::ok().chunks(20).cut(At::Middle),
        Behaviour::ok().chunks(20).eof(At::Middle),
        Behaviour::ok().chunks(20).malformed(At::Middle),
        Behaviour::ok().chunks(20).failed(At::Middle),
    ];
    for (number, behaviour) in breaks.into_iter().enumerate() {
        // A failed answer is not stored under its idempotency key: the second request goes upstream again.
        for _ in 0..2 {
            let calls_before = gateway.calls(OWN).len();
            gateway.emulator.script(OWN, [behaviour.clone()]);
            let client = gateway.client().header("idempotency-key", format!("break {number}"));
            let mut stream = client.stream("/v1/responses", &body).await.unwrap();
            let trace = trace_of_stream(&stream);
            let (events, is_clean) = read(&mut stream).await;
            assert!(is_clean, "{events:?}");
            let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
            has(&last, json!({"type": "response.failed", "/response/status": "failed"}));
            assert!(last["response"]["error"]["message"].as_str().unwrap().contains(&trace), "{last}");
            assert_eq!(gateway.calls(OWN).len(), calls_before + 1);
            has(&gateway.settled(&trace).await, json!({"outcome": "failed"}));
        }
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_failure_before_the_first_word_has_its_own_status_or_the_next_serves() {
    let cases = [
        (Behaviour::ok().error_event(0), 502),
        (Behaviour::ok().cut(0), 502),
        (Behaviour::ok().eof(0), 502),
        (Behaviour::ok().cut(1), 502),
        (Behaviour::ok().malformed(0), 502),
        // The gateway did not request compression.
        (Behaviour::ok().gzip(), 502),
        (Behaviour::status(503), 503),
    ];
    for (behaviour, status) in cases {
        let gateway = gateway().await;
        gateway.emulator.script(OWN, [behaviour.clone().always()]);
        let answer = gateway.chat(&streaming(MINI)).await;
        assert_eq!(answer.status, status, "{behaviour:?}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let second = gateway.credential("openai", OWN_SECOND).await;
        let answer = gateway.chat_ok(&streaming(MINI)).await;
        assert_eq!(answer.header("agent-byok-credential-id"), Some(second.as_str()), "{behaviour:?}");
        assert_eq!(said(&answer), "You said: hello there");
        let text = text_of(&harness::sse::events(&answer.body));
        assert_eq!(text.matches("You said").count(), 1, "nothing is spliced");
    }
}

#[tokio::test]
async fn a_stall_ends_within_the_routes_patience() {
    let gateway = gateway().await;
    gateway.route(json!({"scope": {}, "idle_timeout_ms": 300, "first_byte_timeout_ms": 300})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(20).stall(At::Middle)]);
    let stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
    let pace = Pace::start(&[gateway.serving(), Threads::of_emulators()]);
    let request = broke_off(&gateway, stream, "upstream_timeout").await;
    let took = pace.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(request["error_class"], "timeout", "{request}");
    let stalled = gateway.emulator.wait_for(WITHIN, |journal| journal[0].outcome == Outcome::Cancelled).await;
    assert!(stalled.is_ok(), "the provider was not hung up on: {stalled:?}");
    // Before the first token the failure is an HTTP status.
    gateway.emulator.script(OWN, [Behaviour::ok().stall(0).always()]);
    refused(&gateway.chat(&streaming(MINI)).await, 504, "upstream_timeout");
    refused(&gateway.chat(&with(question(MINI), json!({"user": "x"}))).await, 504, "upstream_timeout");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_deadline_is_hard() {
    let gateway = gateway().await;
    gateway.route(json!({"scope": {}, "deadline_ms": 400})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().chunks(300).interval(Duration::from_millis(20))]);
    let mut stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
    let trace = trace_of_stream(&stream);
    let (events, clean) = read(&mut stream).await;
    assert!(!clean && events.last().unwrap().contains("deadline_exceeded"), "{:?}", events.last());
    assert_eq!(gateway.settled(&trace).await["outcome"], "deadline");
    gateway.emulator.script(OWN, [Behaviour::ok().latency(WITHIN)]);
    let answer = gateway.chat(&question(MINI)).await;
    refused(&answer, 504, "deadline_exceeded");
    let request = gateway.settled(&trace_of(&answer)).await;
    let attempts = request["attempts"].as_array().unwrap().len();
    assert_eq!((&request["outcome"], attempts), (&json!("deadline"), 1), "{request}");
}

/// The point in the answer at which the client disconnects.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaving {
    BeforeTheHead,
    BeforeTheFirstWord,
    InTheMiddle,
    BeforeUsage,
}

#[tokio::test]
async fn a_client_that_leaves_cancels_upstream_and_is_booked_once() {
    for leaving in
        [Leaving::BeforeTheHead, Leaving::BeforeTheFirstWord, Leaving::InTheMiddle, Leaving::BeforeUsage]
    {
        for http2 in [false, true] {
            leave(&gateway().await, leaving, http2).await;
        }
    }
}

async fn leave(gateway: &Gateway, leaving: Leaving, http2: bool) {
    let behaviour = match leaving {
        Leaving::BeforeTheHead => Behaviour::ok().latency(WITHIN),
        Leaving::BeforeTheFirstWord => Behaviour::ok().stall(1),
        Leaving::InTheMiddle => Behaviour::ok().chunks(2_000).interval(Duration::from_millis(5)),
        Leaving::BeforeUsage => Behaviour::ok().chunks(20).stall(At::Usage),
    };
    gateway.emulator.script(OWN, [behaviour]);
    let client = if http2 { gateway.client().http2() } else { gateway.client() };
    let path = [gateway.serving(), Threads::of_emulators()];
    let mut read = 0;
    let pace = if matches!(leaving, Leaving::BeforeTheHead | Leaving::BeforeTheFirstWord) {
        let request = tokio::spawn(async move { client.stream(CHAT, &streaming(MINI)).await.map(drop) });
        let reached = |journal: &[harness::Entry]| match leaving {
            Leaving::BeforeTheHead => journal.len() == 1,
            _ => journal.iter().any(|entry| entry.bytes_written > 0),
        };
        gateway.emulator.wait_for(WITHIN, reached).await.unwrap();
        let pace = Pace::start(&path);
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled(), "{leaving:?}: the head came");
        pace
    } else {
        let mut stream = client.stream(CHAT, &streaming(MINI)).await.unwrap();
        let wanted = if leaving == Leaving::InTheMiddle { 10 } else { 21 };
        for _ in 0..wanted {
            // Each content event is one token.
            let event = stream.event().await.unwrap().unwrap();
            read += u64::from(!text_of(&[event]).is_empty());
        }
        let pace = Pace::start(&path);
        stream.hang_up();
        pace
    };
    let journal = gateway.emulator.wait_for(WITHIN, |journal| journal[0].cancelled.is_some()).await;
    let took = pace.elapsed();
    let entry = journal.unwrap_or_else(|journal| panic!("{leaving:?}: {journal:?}")).remove(0);
    assert!(took <= Duration::from_millis(100), "{leaving:?} http2 {http2}: cancelled after {took:?}");
    gateway.wait_for_usage(1).await;
    let rows = gateway.requests(10).await;
    assert_eq!(rows.len(), 1, "{leaving:?}: {rows:?}");
    assert_eq!(rows[0]["outcome"], "client_cancelled", "{leaving:?}: {rows:?}");
    let counted = rows[0]["output_tokens"].as_u64().unwrap();
    // The provider reported no usage, so the text is counted: at least what the client read, and at most what
    // was generated, by a public tokenizer that produces at most a quarter more tokens than the emulator.
    let within = read <= counted && counted <= entry.said_tokens + entry.said_tokens / 4 + 2;
    assert!(within, "{leaving:?}: {read} tokens read, {counted} booked, {} said", entry.said_tokens);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_hundred_and_fifty_streams_at_once() {
    // Over TLS, with HTTP/2, no stream waits behind the hundred that one connection carries.
    for (config, version) in [(config(), "HTTP/1.1"), (config().tls(), "HTTP/2.0")] {
        let gateway = Gateway::with(config, &[]).await;
        gateway.credential("openai", OWN).await;
        gateway.emulator.script(OWN, [Behaviour::ok().stall_for(1, Duration::from_secs(2)).always()]);
        let calls = (0..150).map(|_| {
            let client = gateway.client();
            tokio::spawn(async move { client.post(CHAT, &streaming(MINI)).await.unwrap() })
        });
        let calls: Vec<_> = calls.collect();
        let all_at_work = |journal: &[harness::Entry]| {
            journal.len() == 150 && journal.iter().all(|entry| entry.outcome == Outcome::InProgress)
        };
        let journal = gateway.emulator.wait_for(WITHIN, all_at_work).await;
        let journal = journal.unwrap_or_else(|journal| panic!("only {} came through at once", journal.len()));
        assert!(journal.iter().all(|entry| entry.version == version && entry.tls == (version == "HTTP/2.0")));
        for call in calls {
            assert_eq!(said(&call.await.unwrap()), "You said: hello there");
        }
        assert_eq!(gateway.wait_for_usage(150).await["requests"], 150);
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_secret() {
    let gateway = Gateway::with(config().tls(), &[("TIDEGATE_CA_FILE", "")]).await;
    gateway.credential("openai", OWN).await;
    refused(&gateway.chat(&question(MINI)).await, 502, "upstream_tls_failed");
    assert_eq!(gateway.emulator.journal().len(), 0);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn odd_framing_is_read_right() {
    let gateway = gateway().await;
    let odd = [
        Behaviour::ok().line_end(LineEnd::Crlf),
        Behaviour::ok().line_end(LineEnd::Cr),
        Behaviour::ok().bom(),
        Behaviour::ok().no_space(),
        Behaviour::ok().multiline(),
        Behaviour::ok().doubled_done(),
        Behaviour::ok().burst(),
        Behaviour::ok().wrong_form(),
        Behaviour::ok().text("unicode").tokens(60).split(1),
        Behaviour::ok().giant(300_000),
    ];
    for behaviour in odd {
        gateway.emulator.script(OWN, [behaviour.clone()]);
        let answer = gateway.chat_ok(&streaming(MINI)).await;
        let events = harness::sse::events(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{behaviour:?}");
        let text = text_of(&events);
        assert!(!text.is_empty() && !text.contains('\u{fffd}'), "{behaviour:?}: {text}");
        let request = gateway.settled(&trace_of(&answer)).await;
        let generated = gateway.emulator.journal().pop().unwrap().said_tokens;
        let booked = (&request["outcome"], &request["output_tokens"]);
        assert_eq!(booked, (&json!("completed"), &json!(generated)), "{behaviour:?}: {request}");
        // The same upstream answer, buffered for the client.
        gateway.emulator.script(OWN, [behaviour.clone()]);
        let whole = gateway.chat_ok(&question(MINI)).await;
        assert_eq!(whole.json()["object"], "chat.completion", "{behaviour:?}: {}", whole.text());
    }
}
