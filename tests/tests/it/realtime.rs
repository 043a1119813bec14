//! Realtime sessions over sockets: what is forwarded, what is booked, and how a session ends.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framing::websocket::text_frame;
use harness::{Behaviour, Config, Entry, Flavour, Model};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, has, refused, with};
use crate::command::workspace;
use crate::gateway::{CREDENTIALS, CUSTOM, Gateway, NODE, OWN, OWN_SECOND, POOL, config, id_of, python};
use crate::neighbours::gauge;
use crate::wait::{a_moment, until};
use crate::websocket::{Head, Heard, Socket, raw, shake};

const MODEL: &str = "openai/gpt-realtime-1.5";
const PATH: &str = "/v1/realtime?model=openai/gpt-realtime-1.5";

fn served() -> Config {
    let models = ["gpt-realtime-1.5", "gpt-realtime-2", "grok-voice"].map(Model::chat);
    models.into_iter().fold(config(), Config::model)
}

async fn open(gateway: &Gateway, model: &str) -> (Head, Socket) {
    let bearer = format!("Bearer {}", gateway.founded.api_key);
    let path = format!("/v1/realtime?model={}", model.replace('/', "%2F"));
    shake(&gateway.origin, &path, &[("authorization", &bearer)]).await
}

/// An accepted session, after its first event.
async fn opened(gateway: &Gateway, model: &str) -> (Head, Socket) {
    let (head, mut socket) = open(gateway, model).await;
    assert_eq!(head.status, 101, "{head:?}");
    let created = socket.one("session.created").await;
    assert_eq!(created["session"]["object"], "realtime.session", "{created}");
    (head, socket)
}

async fn managed() -> Gateway {
    let gateway = Gateway::with(served(), &[]).await;
    gateway.account("openai", POOL).await;
    gateway
}

/// The realtime sessions that the provider received with this key.
fn sessions(gateway: &Gateway, key: &str) -> Vec<Entry> {
    let journal = gateway.emulator.journal().into_iter();
    journal.filter(|entry| entry.key.as_deref() == Some(key) && entry.path.contains("realtime")).collect()
}

/// Every request in the books, oldest first, once there are this many.
async fn books(gateway: &Gateway, count: usize) -> Vec<Value> {
    gateway.listed(count).await;
    let rows = gateway.whole(gateway.requests(50).await).await;
    assert_eq!(rows.len(), count, "{rows:?}");
    rows
}

fn number(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("no {name}: {row}"))
}

#[tokio::test]
async fn each_response_of_a_session_is_booked_to_the_token() {
    let gateway = managed().await;
    let (head, mut socket) = opened(&gateway, MODEL).await;
    assert_eq!(head.header("agent-execution-profile"), Some("managed_provider"), "{head:?}");
    assert_eq!(head.header("agent-resolved-model"), Some(MODEL), "{head:?}");
    let first = socket.answered("how high is the tide").await;
    let second = socket.answered("and when").await;
    assert_eq!(gauge(&gateway, "tidegate_requests_in_flight").await, 1, "the session");
    assert_eq!(socket.ended().await, Heard::Close(Some(1000)));
    until("it has ended", async || gauge(&gateway, "tidegate_requests_in_flight").await == 0).await;
    let rows = books(&gateway, 2).await;
    assert_eq!(rows[0]["id"], head.trace(), "the first response is the exchange that opened the session");
    for (row, done) in rows.iter().zip([&first, &second]) {
        let usage = &done["response"]["usage"];
        let (input, output) = (&usage["input_token_details"], &usage["output_token_details"]);
        has(row, json!({"outcome": "completed", "operation": "realtime"}));
        let cached = number(input, "cached_tokens");
        let expected = (number(input, "text_tokens") - cached) * 4_000
            + cached * 400
            + number(output, "text_tokens") * 16_000
            + number(output, "audio_tokens") * 64_000;
        assert_eq!(number(row, "provider_cost_nanos"), expected, "{row} {usage}");
        assert_eq!(row["units"]["audio_output_tokens"], output["audio_tokens"], "{row}");
    }
    assert_eq!(gateway.emulator.violations(), []);
    assert_eq!(sessions(&gateway, POOL).len(), 1, "one session");
}

#[tokio::test]
async fn the_official_client_talks_to_the_provider_and_to_us() {
    let gateway = managed().await;
    let mut command = tokio::process::Command::new(python());
    command.arg(workspace().join("tests/sdk/realtime.py")).env("NO_PROXY", "*").kill_on_drop(true);
    command.args([&*gateway.emulator.base_url(), POOL, "-", "gpt-realtime-1.5"]);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 5);
    assert_eq!(gateway.drive("realtime.py").await, 6);
    let rows = books(&gateway, 5).await;
    assert!(rows.iter().all(|row| row["outcome"] == "completed"), "{rows:?}");
}

fn is_refused(head: &Head, status: u16, code: &str) {
    assert_eq!((head.status, &head.body["error"]["code"]), (status, &json!(code)), "{head:?}");
}

async fn refuses(gateway: &Gateway, model: &str, status: u16, code: &str) {
    let (head, _) = open(gateway, model).await;
    is_refused(&head, status, code);
    assert!(head.body["error"]["message"].as_str().unwrap().contains(&head.trace()), "{head:?}");
}

#[tokio::test]
async fn own_credentials_open_sessions_at_each_provider_that_has_them() {
    let gateway = Gateway::with(served(), &[]).await;
    gateway.credential("openai", OWN).await;
    let own = |provider: &str, name: &str, secret: &str, flavour| {
        let base_url = gateway.emulator.base_url_of(flavour);
        json!({"provider": provider, "display_name": name, "secret": secret, "base_url": base_url})
    };
    let azure = |name, secret, config| {
        with(own("azure_openai", name, secret, Flavour::Azure), json!({"config": config}))
    };
    let new = json!({"deployments": {"openai/gpt-realtime-2": "my-gpt-realtime-2"}});
    gateway.make(CREDENTIALS, azure("azure", OWN_SECOND, new)).await;
    let version = "2025-04-01-preview";
    let old = json!({"deployments": {"openai/voice": "my-gpt-realtime-2"}, "api_version": version});
    let old = id_of(&gateway.make(CREDENTIALS, azure("old", CUSTOM, old)).await);
    gateway.make(CREDENTIALS, own("xai", "xai", NODE, Flavour::Xai)).await;
    let at_old = format!("/azure/openai/realtime?deployment=my-gpt-realtime-2&api-version={version}");
    let at_new = "/azure/openai/v1/realtime?model=my-gpt-realtime-2";
    let cases = [
        (MODEL, OWN, "/v1/realtime?model=gpt-realtime-1.5"),
        ("azure_openai:openai/gpt-realtime-2", OWN_SECOND, at_new),
        ("azure_openai/my-gpt-realtime-2", CUSTOM, &*at_old),
        ("xai/grok-voice", NODE, "/xai/v1/realtime?model=grok-voice"),
    ];
    // A deployment name can belong to either credential, so a route selects one.
    gateway.route(json!({"scope": {"model": cases[2].0}, "credential_ids": [old]})).await;
    for (model, key, path) in cases {
        let (head, mut socket) = opened(&gateway, model).await;
        assert_eq!(head.header("agent-execution-profile"), Some("byok"), "{model}");
        socket.answered("hello").await;
        socket.ended().await;
        let row = gateway.settled(&head.trace()).await;
        assert_eq!((&row["outcome"], number(&row, "cost_nanos")), (&json!("completed"), 0), "{row}");
        assert_eq!(sessions(&gateway, key).pop().unwrap().path, path, "{model}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_is_not_let_in_is_an_answer_as_on_any_path() {
    let gateway = managed().await;
    gateway.credential("openai", OWN).await;
    refuses(&gateway, MINI, 400, "realtime_not_supported_for_model").await;
    gateway.credential("anthropic", OWN_SECOND).await;
    refuses(&gateway, "anthropic/claude-voice", 400, "realtime_not_supported_for_model").await;
    refuses(&gateway, "openai/nothing-realtime", 404, "model_not_found").await;
    let over_two = gateway.client().http2().get(PATH).await.unwrap();
    refused(&over_two, 400, "websocket_required");
    let bearer = format!("Bearer {}", gateway.founded.api_key);
    let own = [("authorization", &*bearer)];
    for (path, headers, status, code) in [
        (PATH, &[("authorization", "Bearer tg_live_nobody")][..], 401, "invalid_api_key"),
        (PATH, &[], 401, "missing_api_key"),
        ("/v1/realtime", &own, 400, "missing_model"),
    ] {
        let (head, _) = shake(&gateway.origin, path, headers).await;
        assert_eq!(head.status, status, "{code}: {head:?}");
    }
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade")];
    let short = [("sec-websocket-version", "13"), ("sec-websocket-key", "short")];
    for headers in
        [vec![], [&upgrade[..], &[("sec-websocket-version", "12")]].concat(), [&upgrade[..], &short].concat()]
    {
        let (head, _) = raw(&gateway.origin, "GET", PATH, &[&own[..], &headers].concat()).await;
        is_refused(&head, 400, "websocket_required");
    }
    for (status, expected, code) in [
        (503, 503, "server_is_overloaded"),
        (429, 429, "rate_limit_exceeded"),
        (401, 502, "upstream_auth_failed"),
    ] {
        gateway.emulator.script(OWN, [Behaviour::status(status).always()]);
        let (head, _) = open(&gateway, MODEL).await;
        is_refused(&head, expected, code);
        let row = gateway.settled(&head.trace()).await;
        has(&row, json!({"outcome": "failed", "operation": "realtime"}));
        gateway.emulator.clear_scripts();
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_browsers_key_is_read_and_never_shown() {
    let mut gateway = managed().await;
    let key = gateway.founded.api_key.clone();
    let offered = format!("realtime, openai-insecure-api-key.{key}");
    let (head, mut socket) = shake(&gateway.origin, PATH, &[("sec-websocket-protocol", &offered)]).await;
    assert_eq!((head.status, head.header("sec-websocket-protocol")), (101, Some("realtime")), "{head:?}");
    assert!(!format!("{head:?}").contains(&key));
    socket.one("session.created").await;
    socket.answered("hello").await;
    drop(socket);
    gateway.settled(&head.trace()).await;
    let sent = sessions(&gateway, POOL).pop().unwrap();
    assert!(!format!("{sent:?}").contains(&key), "{sent:?}");
    gateway.stop().await;
    let stderr = gateway.process().stderr();
    assert!(!stderr.contains(&key) && !stderr.contains(POOL), "{stderr}");
}

#[tokio::test]
async fn what_may_not_be_sent_or_is_not_counted_is_not_asked_for_and_what_is_left_is_booked() {
    let gateway = managed().await;
    let (_, mut socket) = opened(&gateway, MODEL).await;
    socket.send(&[0x89, 0x84, 0, 0, 0, 0, b't', b'i', b'd', b'e']).await;
    assert_eq!(socket.hear().await, Heard::Pong);
    // Sent in pieces, with a long event among them.
    let event = json!({"type": "input_audio_buffer.append", "audio": "AQEB".repeat(20_000)}).to_string();
    let frame = text_frame(event.as_bytes(), Some([9, 8, 7, 6]));
    for piece in frame.chunks(10_000) {
        socket.send(piece).await;
    }
    socket.say(&json!({"type": "input_audio_buffer.commit"})).await;
    socket.one("input_audio_buffer.committed").await;
    socket.say(&json!({"type": "no.such.event", "event_id": "mine"})).await;
    assert_eq!(socket.one("error").await["error"]["event_id"], "mine");
    for (bytes, code) in [
        (text_frame(b"{}", None), 1002),
        ([vec![0x81, 0xff], (33_u64 << 20).to_be_bytes().to_vec(), vec![0; 4]].concat(), 1009),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let (_, mut socket) = opened(&gateway, MODEL).await;
        assert!(socket.try_send(&bytes).await);
        assert_eq!(socket.last().await.1, Heard::Close(Some(code)), "{bytes:?}");
    }
    let (head, mut socket) = opened(&gateway, MODEL).await;
    socket.ask("[hang] how high").await;
    socket.one("response.output_audio.delta").await;
    socket.one("response.output_audio.delta").await;
    drop(socket);
    let row = gateway.settled(&head.trace()).await;
    has(&row, json!({"outcome": "client_cancelled", "estimated": true, "/units/audio_output_tokens": 2}));
    let (head, mut socket) = opened(&gateway, MODEL).await;
    socket.ask("[leave] how high").await;
    let (events, end) = socket.last().await;
    has(events.last().unwrap(), json!({"type": "error", "/error/code": "realtime_broken"}));
    assert_eq!(end, Heard::Close(Some(1011)));
    let row = gateway.settled(&head.trace()).await;
    has(&row, json!({"outcome": "failed", "/units/audio_output_tokens": 2}));
    // A session without a request.
    let (head, mut socket) = opened(&gateway, MODEL).await;
    socket.ended().await;
    let row = gateway.settled(&head.trace()).await;
    assert_eq!((&row["outcome"], number(&row, "provider_cost_nanos")), (&json!("completed"), 0), "{row}");
    let (head, mut socket) = opened(&gateway, MODEL).await;
    assert_eq!(socket.answered("[fail] how high").await["response"]["status"], "failed");
    let row = gateway.settled(&head.trace()).await;
    has(&row, json!({"outcome": "failed", "error_code": "realtime_response_failed"}));
    assert!(number(&row, "provider_cost_nanos") > 0, "{row}");
    let input = json!({"transcription": {"model": "gpt-4o-transcribe"}});
    let session = json!({"type": "realtime", "audio": {"input": input}});
    let update = json!({"type": "session.update", "event_id": "mine", "session": session});
    let (_, mut socket) = opened(&gateway, MODEL).await;
    socket.say(&update).await;
    let error = socket.one("error").await["error"].clone();
    has(&error, json!({"code": "realtime_transcription_unmetered", "event_id": "mine"}));
    socket.answered("hello").await;
    let sent = sessions(&gateway, POOL).pop().unwrap().body;
    assert!(!String::from_utf8_lossy(&sent).contains("transcribe"));
    gateway.credential("openai", OWN).await;
    let (_, mut socket) = opened(&gateway, MODEL).await;
    socket.say(&update).await;
    socket.one("session.updated").await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_told_and_books_nothing_twice() {
    let mut gateway = managed().await;
    let (head, mut socket) = opened(&gateway, MODEL).await;
    let done = socket.answered("how high").await;
    socket.ask("[hang] and when").await;
    socket.one("response.output_audio.delta").await;
    gateway.crash().await;
    assert_eq!(socket.last().await.1, Heard::End);
    let rows = books(&gateway, 2).await;
    let reported = &done["response"]["usage"]["output_token_details"]["audio_tokens"];
    has(&rows[0], json!({"id": head.trace(), "outcome": "completed"}));
    has(&rows[0], json!({"/units/audio_output_tokens": reported}));
    assert_eq!(rows[1]["outcome"], "interrupted", "{rows:?}");
}

#[tokio::test]
async fn budgets_and_keys_hold_while_a_session_lasts() {
    let gateway = managed().await;
    // The maximum cost of one response, and a little more.
    let of = json!({"period": "month", "project_id": gateway.founded.project_id, "limit_micros": 262_300});
    let budget = id_of(&gateway.make("/v2/budgets", of).await);
    let (key, id) = gateway.key(json!({"name": "talker", "scopes": ["inference"]})).await;
    let bearer = format!("Bearer {key}");
    let (head, mut socket) = shake(&gateway.origin, PATH, &[("authorization", &bearer)]).await;
    assert_eq!(head.status, 101, "{head:?}");
    socket.answered("how high").await;
    socket.ask("and when").await;
    let error = socket.one("error").await;
    has(&error, json!({"/error/code": "quota_exceeded", "/error/event_id": "mine"}));
    gateway.patch(&format!("/v2/budgets/{budget}"), json!({"limit_micros": 900_000})).await;
    let started = Instant::now();
    loop {
        socket.say(&json!({"type": "response.create"})).await;
        let event = loop {
            match socket.hear().await {
                Heard::Event(event) if event["type"] == "error" || event["type"] == "response.done" => {
                    break event;
                }
                Heard::Event(_) => {}
                other => panic!("{other:?}"),
            }
        };
        if event["type"] == "response.done" {
            break;
        }
        assert!(started.elapsed() < WITHIN, "{event}");
        a_moment().await;
    }
    gateway.remove(&format!("/v2/api-keys/{id}")).await;
    let (events, end) = socket.last().await;
    assert_eq!(events.last().unwrap()["error"]["code"], "revoked_api_key", "{events:?}");
    assert_eq!(end, Heard::Close(Some(1008)));
}

/// Another seat could serve the model, but not in the middle of this session.
#[tokio::test]
async fn a_session_stays_on_its_seat_and_says_when_that_is_gone() {
    let gateway = managed().await;
    let credential = gateway.credential("openai", OWN).await;
    let (head, mut socket) = opened(&gateway, MODEL).await;
    assert_eq!(head.header("agent-execution-profile"), Some("byok"));
    socket.answered("how high").await;
    gateway.remove(&format!("{CREDENTIALS}/{credential}")).await;
    socket.ask("and when").await;
    let error = socket.one("error").await;
    has(&error, json!({"/error/code": "realtime_seat_gone", "/error/event_id": "mine"}));
    let (head, _) = opened(&gateway, MODEL).await;
    assert_eq!(head.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!((sessions(&gateway, OWN).len(), sessions(&gateway, POOL).len()), (1, 1));
}

#[tokio::test]
async fn a_response_that_the_provider_begins_or_refuses_is_an_exchange_too() {
    let gateway = managed().await;
    let (_, mut socket) = opened(&gateway, MODEL).await;
    let sound =
        |byte: u8| json!({"type": "input_audio_buffer.append", "audio": STANDARD.encode([byte; 9_600])});
    for _ in 0..2 {
        socket.say(&sound(1)).await;
        socket.say(&sound(0)).await;
        socket.one("response.done").await;
    }
    socket.ask("[hang] how high").await;
    socket.one("response.output_audio.delta").await;
    socket.ask("and when").await;
    assert_eq!(socket.one("error").await["error"]["code"], "conversation_already_has_active_response");
    socket.say(&json!({"type": "response.cancel"})).await;
    assert_eq!(socket.one("response.done").await["response"]["status"], "cancelled");
    socket.ended().await;
    let mut rows = books(&gateway, 4).await;
    // Those that begin in one millisecond have no order.
    rows.sort_by_key(|row| (row["outcome"] != "completed", row["outcome"] == "failed"));
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["completed", "completed", "client_cancelled", "failed"], "{rows:?}");
    assert_eq!(rows[0]["units"]["audio_input_tokens"], 4, "{rows:?}");
    assert_eq!(rows[3]["error_code"], "realtime_response_refused", "{rows:?}");
}

/// An event that can't be parsed completely may contain anything: on pooled accounts nothing of it is
/// forwarded.
#[tokio::test]
async fn what_cannot_be_read_whole_goes_to_no_account_of_the_pool() {
    let gateway = managed().await;
    let (_, mut socket) = opened(&gateway, MODEL).await;
    let deep = format!("{}1{}", "[".repeat(140), "]".repeat(140));
    let transcription = r#""audio":{"input":{"transcription":{"model":"gpt-4o-transcribe"}}}"#;
    let session = format!(r#"{{"type":"realtime","tools":{deep},{transcription}}}"#);
    let update = format!(r#"{{"type":"session.update","session":{session}}}"#);
    let create = format!(r#"{{"type":"response.create","response":{{"metadata":{deep}}}}}"#);
    let marked = "\u{feff}{\"type\":\"response.create\"}".to_owned();
    let twice = r#"{"type":"response.cancel","type":"response.create"}"#.to_owned();
    for event in [update, create, marked, twice] {
        socket.send(&text_frame(event.as_bytes(), Some([1, 2, 3, 4]))).await;
        let error = &socket.one("error").await["error"];
        assert_eq!(error["code"], "unreadable", "{error}");
    }
    let mut binary = text_frame(br#"{"type":"response.create"}"#, Some([1, 2, 3, 4]));
    binary[0] = 0x82;
    socket.send(&binary).await;
    assert_eq!(socket.one("error").await["error"]["code"], "realtime_not_text");
    socket.say(&json!({"type": "response.create", "response": {"prompt": {"id": "pmpt_1"}}})).await;
    assert_eq!(socket.one("error").await["error"]["code"], "kept_elsewhere");
    // The session continues with valid events.
    socket.answered("hello").await;
    let late = format!("{}{}", " ".repeat(1_100_000), r#"{"type":"response.create"}"#);
    socket.try_send(&text_frame(late.as_bytes(), Some([1, 2, 3, 4]))).await;
    assert_eq!(socket.last().await.1, Heard::Close(Some(1009)));
    let sent = String::from_utf8_lossy(&sessions(&gateway, POOL)[0].body).into_owned();
    for kept_back in ["transcribe", "[[[[", "pmpt_1", "response.cancel"] {
        assert!(!sent.contains(kept_back), "{kept_back}: {sent}");
    }
    books(&gateway, 1).await;
}

#[tokio::test]
async fn a_stop_ends_a_session_when_its_response_is_done() {
    let mut gateway = managed().await;
    let (_, mut idle) = opened(&gateway, MODEL).await;
    let (head, mut busy) = opened(&gateway, MODEL).await;
    busy.ask("[hang] how high").await;
    busy.one("response.output_audio.delta").await;
    gateway.process().terminate().unwrap();
    assert_eq!(idle.last().await.1, Heard::Close(Some(1001)));
    busy.say(&json!({"type": "response.cancel"})).await;
    busy.one("response.done").await;
    assert_eq!(busy.last().await.1, Heard::Close(Some(1001)));
    gateway.process().wait(WITHIN).await.unwrap();
    gateway.start_again().await;
    assert_eq!(gateway.settled(&head.trace()).await["outcome"], "client_cancelled");
}

#[tokio::test]
async fn a_browsers_own_socket_talks_to_us() {
    let gateway = managed().await;
    let mut command = tokio::process::Command::new("node");
    command.arg("--experimental-websocket").arg(workspace().join("tests/node/realtime.mjs"));
    command.args([&format!("{}/v1", gateway.origin), &gateway.founded.api_key]).env("NO_PROXY", "*");
    command.kill_on_drop(true);
    let output = tokio::time::timeout(WITHIN * 3, command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok opened\nok answered\nok closed\nok refused\n");
    assert_eq!(books(&gateway, 1).await[0]["outcome"], "completed");
}
