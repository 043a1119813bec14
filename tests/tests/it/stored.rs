//! Responses that a provider stores: retrieved, continued, resumed and deleted where they were created, and
//! booked once.

use std::path::PathBuf;
use std::time::Duration;

use domain::limits::RESPONSE_ID_BYTES_MAX;
use harness::client::{Answer, Client};
use harness::{Behaviour, sse};
use serde_json::{Value, json};

use crate::ask::{MINI, posted, refused, trace_of_stream, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, POOL_SECOND, id_of, sums};
use crate::isolation::second_workspace;
use crate::own_batches::HAIKU;
use crate::sdk::drive;
use crate::wait::until;

const PATH: &str = "/v1/responses";

fn ask() -> Value {
    json!({"model": MINI, "input": "hello there"})
}

async fn made(client: &Client, body: &Value) -> (String, Answer) {
    let answer = posted(client, PATH, body).await;
    (id_of(&answer.json()), answer)
}

/// An answer in the background that was just begun.
async fn begun(client: &Client) -> (String, Answer) {
    made(client, &with(ask(), json!({"background": true}))).await
}

async fn get(client: &Client, path: &str) -> Answer {
    client.get(&format!("{PATH}/{path}")).await.unwrap()
}

fn events_of(answer: &Answer) -> Vec<Value> {
    sse::events(&answer.body).iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// The key of the last call that reached the emulator.
fn last_key(gateway: &Gateway) -> String {
    gateway.emulator.journal().pop().unwrap().key.unwrap()
}

/// A client whose requests are routed to one credential.
async fn bound(gateway: &Gateway, credential: &str) -> Client {
    let (key, id) = gateway.key(json!({"name": "bound"})).await;
    gateway.route(json!({"scope": {"key_id": id}, "credential_ids": [credential]})).await;
    gateway.with_key(&key)
}

/// The records of the gateway's own polls, which no API key requested.
pub async fn ours(gateway: &Gateway) -> Vec<Value> {
    let rows = gateway.requests(200).await.into_iter();
    rows.filter(|row| row["operation"] == "stored" && row["key_id"].is_null()).collect()
}

/// Whether the booked usage equals what the emulator counted.
fn is_counted(gateway: &Gateway, sums: &Value) -> bool {
    let totals = gateway.emulator.totals().all;
    sums["input_tokens"] == totals.prompt_tokens && sums["output_tokens"] == totals.completion_tokens
}

/// Waits until the books and the emulator agree; the gateway may poll by itself meanwhile.
pub async fn agree(gateway: &Gateway, requests: u64) {
    until("the books hold what the emulator counted", async || {
        let by_itself = ours(gateway).await.len() as u64;
        let sums = sums(&gateway.get("/v2/usage").await);
        sums["requests"] == requests + by_itself && is_counted(gateway, &sums)
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_found_where_it_was_made() {
    let mut gateway = Gateway::with_own().await;
    let other = bound(&gateway, &gateway.credential("openai", OWN_SECOND).await).await;
    let (theirs, _) = made(&other, &ask()).await;
    let (ours, _) = made(&gateway.client(), &ask()).await;
    assert_eq!(gateway.calls(OWN_SECOND).len(), 1);
    for restart in [false, true] {
        if restart {
            gateway.stop().await;
            gateway.start_again().await;
        }
        for (id, key) in [(&theirs, OWN_SECOND), (&ours, OWN)] {
            let stored = get(&gateway.client(), id).await.must_be(200);
            assert_eq!(stored.json()["id"], json!(id));
            assert_eq!(stored.header("agent-execution-profile"), Some("byok"));
            assert_eq!(stored.header("agent-resolved-model"), Some(MINI));
            assert_eq!(last_key(&gateway), key);
            let items = get(&gateway.client(), &format!("{id}/input_items?order=asc&limit=1")).await;
            assert_eq!(items.json()["data"][0]["content"][0]["text"], "hello there", "{}", items.text());
            assert_eq!(last_key(&gateway), key);
            let next = with(ask(), json!({"previous_response_id": id, "input": "and more"}));
            for body in [next.clone(), with(next, json!({"stream": true}))] {
                posted(&gateway.client(), PATH, &body).await;
                assert_eq!(last_key(&gateway), key);
            }
        }
    }
    // A response that was created by a stream is found as well.
    let streamed = gateway.client().post(PATH, &with(ask(), json!({"stream": true}))).await.unwrap();
    let streamed = id_of(&events_of(&streamed)[0]["response"]);
    assert_eq!(get(&gateway.client(), &streamed).await.json()["status"], "completed");
    let gone = gateway.client().delete(&format!("{PATH}/{theirs}")).await.unwrap();
    assert_eq!(gone.json(), json!({"id": theirs, "object": "response", "deleted": true}));
    refused(&get(&gateway.client(), &theirs).await, 404, "response_not_found");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_thread_goes_on_where_it_is_kept_and_everywhere_if_the_gateway_keeps_it() {
    let gateway = Gateway::start().await;
    let mut seats = Vec::new();
    for secret in [OWN, OWN_SECOND] {
        let url = gateway.emulator.anthropic_url();
        seats.push((secret, gateway.at("/v2/provider-credentials", "anthropic", secret, &url).await));
    }
    gateway.credential("openai", POOL).await;
    let turn = |model: &str, text: &str, thread: Value| {
        let messages = json!([{"role": "user", "content": text}]);
        json!({"model": model, "max_tokens": 9, "messages": messages, "thread": thread})
    };
    let send = async |client: Client, body: Value| {
        let client = client.header("anthropic-beta", "message-threads-2026-08-12");
        client.post("/v1/messages", &body).await.unwrap()
    };
    let unknown = |answer: &Answer| {
        let error = answer.json()["error"]["details"]["error_code"].clone();
        assert_eq!((answer.status, error), (404, json!("thread_not_found")), "{}", answer.text());
    };
    let next = |id: &Value| json!({"type": "continue", "previous_message_id": id});
    let mut clients = Vec::new();
    for (secret, credential) in &seats {
        let client = bound(&gateway, credential).await;
        let first = turn(HAIKU, "hello there", json!({"type": "create"}));
        let answer = send(client.clone(), first).await.must_be(200);
        assert_eq!(last_key(&gateway), *secret);
        clients.push((client, answer.json()["id"].clone()));
    }
    for ((secret, _), (_, id)) in seats.iter().zip(&clients) {
        send(gateway.client(), turn(HAIKU, "hello there", next(id))).await.must_be(200);
        assert_eq!(last_key(&gateway), *secret, "the other credential doesn't have it");
    }
    // Its route leaves the first client nothing but the first credential.
    unknown(&send(clients[0].0.clone(), turn(HAIKU, "hello there", next(&clients[1].1))).await);
    unknown(&send(gateway.client(), turn(HAIKU, "hello there", next(&json!("msg_nobody")))).await);
    // Where no provider has threads the gateway keeps them, and any provider goes on with one.
    let first = turn(MINI, "the first turn", json!({"type": "create"}));
    let first = with(first, json!({"system": "be brief", "stream": true}));
    let answer = send(gateway.client(), first).await;
    let second = turn(MINI, "the second turn", next(&events_of(&answer)[0]["message"]["id"]));
    let answer = send(gateway.client(), second).await.must_be(200);
    assert_eq!(answer.header("agent-dropped-params"), None);
    let kept = answer.json()["id"].clone();
    for model in [MINI, HAIKU] {
        send(gateway.client(), turn(model, "the third turn", next(&kept))).await.must_be(200);
        let sent = String::from_utf8(gateway.emulator.journal().pop().unwrap().body.to_vec()).unwrap();
        for text in ["be brief", "the first turn", "the second turn", "the third turn"] {
            assert!(sent.contains(text), "{text}: {sent}");
        }
        assert_eq!(sent.matches(r#""assistant""#).count(), 2, "{sent}");
    }
    unknown(&send(gateway.other_project().await, turn(MINI, "hello there", next(&kept))).await);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn pooled_accounts_are_returned_to() {
    let gateway = Gateway::start().await;
    for secret in [POOL, POOL_SECOND] {
        gateway.account("openai", secret).await;
    }
    let mut makers = Vec::new();
    for _ in 0..12 {
        let (id, answer) = made(&gateway.client(), &ask()).await;
        assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
        makers.push((id, last_key(&gateway)));
    }
    assert!(makers.iter().any(|(_, key)| *key != makers[0].1), "both were drawn");
    for (id, key) in &makers {
        let next = with(ask(), json!({"previous_response_id": id}));
        made(&gateway.client(), &next).await;
        assert_eq!(last_key(&gateway), *key);
        get(&gateway.client(), id).await.must_be(200);
        assert_eq!(last_key(&gateway), *key);
    }
    // The workspace's own credential takes precedence from now on, and no route allows a fallback.
    gateway.credential("openai", OWN).await;
    let next = with(ask(), json!({"previous_response_id": makers[0].0}));
    let answer = gateway.client().post(PATH, &next).await.unwrap();
    let error = refused(&answer, 400, "previous_response_unavailable");
    assert!(error["message"].as_str().unwrap().contains("byok_fallback: never"), "{error}");
    gateway.route(json!({"scope": {}, "profiles": ["byok"], "byok_fallback": "managed"})).await;
    made(&gateway.client(), &next).await;
    assert_eq!(last_key(&gateway), makers[0].1);
}

#[tokio::test]
async fn nobody_else_sees_it() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let (id, _) = made(&gateway.client(), &ask()).await;
    let others = gateway.with_key(&second_workspace(&gateway).await.api_key);
    let beside = gateway.other_project().await;
    let calls = gateway.emulator.journal().len();
    let long = "r".repeat(RESPONSE_ID_BYTES_MAX + 1);
    let unknown = ["resp_none", "resp%5Fnone", "input_tokens", &long];
    for (client, is_own) in [(&others, false), (&beside, false), (&gateway.client(), true)] {
        for id in unknown.into_iter().chain((!is_own).then_some(id.as_str())) {
            let answers = [
                get(client, id).await,
                get(client, &format!("{id}?stream=true&starting_after=1")).await,
                get(client, &format!("{id}/input_items")).await,
                client.delete(&format!("{PATH}/{id}")).await.unwrap(),
                client.post(&format!("{PATH}/{id}/cancel"), &json!({})).await.unwrap(),
            ];
            for answer in answers {
                let error = refused(&answer, 404, "response_not_found");
                assert_eq!(error["type"], "invalid_request_error");
                let message = error["message"].as_str().unwrap();
                let prefix = id.get(..128).unwrap_or(id);
                assert!(message.starts_with(&format!("Response with id '{prefix}' not found.")), "{message}");
            }
            for path in [PATH, "/v1/responses/input_tokens"] {
                let next = with(ask(), json!({"previous_response_id": id}));
                let answer = client.post(path, &next).await.unwrap();
                let error = refused(&answer, 400, "previous_response_not_found");
                assert_eq!(error["param"], "previous_response_id");
            }
        }
    }
    assert_eq!(gateway.emulator.journal().len(), calls, "nobody was asked");
    let (reader, _) = gateway.key(json!({"name": "reader", "scopes": ["read"]})).await;
    get(&gateway.with_key(&reader), &id).await.must_be(403);
    let (away, _) = gateway.key(json!({"name": "away", "ip_allowlist": ["10.9.8.0/24"]})).await;
    get(&gateway.with_key(&away), &id).await.must_be(403);
    get(&gateway.with_key("tg_live_wrong"), &id).await.must_be(401);
    get(&gateway.client(), &id).await.must_be(200);
}

/// In a pooled account an id may belong to another workspace; in the customer's own account it can't.
#[cfg(feature = "flows")]
#[tokio::test]
async fn what_a_shared_account_keeps_is_not_named_there_and_ids_of_nobody_are_limited() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    // The maker of a response is looked up after admission: unknown ids count, too.
    let (key, _) = gateway.key(json!({"name": "bounded", "limits": {"requests_per_minute": 3}})).await;
    let client = gateway.with_key(&key);
    let mut statuses = Vec::new();
    for number in 0..6 {
        statuses.push(get(&client, &format!("resp_nobody{number}")).await.status);
    }
    assert_eq!(statuses, [404, 404, 404, 429, 429, 429]);
    let next = with(ask(), json!({"previous_response_id": "resp_nobody"}));
    client.post(PATH, &next).await.unwrap().must_be(429);
    let file = json!([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]);
    let before = json!({"role": "user", "content": "hello"});
    let named = [
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"input": [before, {"type": "item_reference", "id": "msg_1"}]}), "input[1]"),
        (json!({"input": [{"id": "msg_1"}]}), "input[0]"),
        (json!({"input": file}), "input[0].content[0].file_id"),
    ];
    for (more, param) in &named {
        let answer = gateway.client().post(PATH, &with(ask(), more.clone())).await.unwrap();
        let error = refused(&answer, 400, "kept_elsewhere");
        assert_eq!(error["param"], *param, "{error}");
        assert!(error["message"].as_str().unwrap().contains("your own credential"), "{error}");
    }
    assert_eq!(gateway.calls(POOL).len(), 0, "nothing was sent");
    gateway.credential("openai", OWN).await;
    for (more, param) in named {
        let request = with(ask(), more);
        gateway.client().post(PATH, &request).await.unwrap();
        let sent = gateway.calls(OWN).pop().unwrap().json();
        let field = if param.starts_with("input") { "input" } else { param };
        assert_eq!(sent[field], request[field], "it goes on as it came");
    }
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_maker_that_may_not_be_asked_is_named() {
    let gateway = Gateway::start().await;
    let first = gateway.credential("openai", OWN).await;
    gateway.credential("openai", OWN_SECOND).await;
    let (id, _) = made(&gateway.client(), &ask()).await;
    let next = with(ask(), json!({"previous_response_id": id}));
    let (unkept, _) = made(&gateway.client(), &with(ask(), json!({"store": false}))).await;
    refused(&get(&gateway.client(), &unkept).await, 404, "response_not_found");
    // Another model of the same vendor can continue the response; a model that the provider does not offer
    // can't.
    made(&gateway.client(), &with(next.clone(), json!({"model": "openai/gpt-4o"}))).await;
    assert_eq!(last_key(&gateway), OWN);
    let elsewhere = with(next.clone(), json!({"model": "anthropic/claude-haiku-4-5"}));
    let answer = gateway.client().post(PATH, &elsewhere).await.unwrap();
    let error = refused(&answer, 400, "previous_response_unavailable");
    assert!(error["message"].as_str().unwrap().contains("has no offer of this model"), "{error}");
    // The failure stays there: no other seat is tried.
    gateway.emulator.script(OWN, [Behaviour::status(401)]);
    gateway.client().post(PATH, &next).await.unwrap().must_be(502);
    assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
    let calls = gateway.emulator.journal().len();
    gateway.patch(&format!("/v2/provider-credentials/{first}"), json!({"status": "disabled"})).await;
    for (answer, status, code) in [
        (get(&gateway.client(), &id).await, 404, "response_unavailable"),
        (gateway.client().post(PATH, &next).await.unwrap(), 400, "previous_response_unavailable"),
    ] {
        let error = refused(&answer, status, code);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("credential \"openai of ours\" is switched off"), "{message}");
    }
    gateway.remove(&format!("/v2/provider-credentials/{first}")).await;
    let error = refused(&get(&gateway.client(), &id).await, 404, "response_unavailable");
    assert!(error["message"].as_str().unwrap().contains("no longer exists"), "{error}");
    assert_eq!(gateway.emulator.journal().len(), calls, "nobody was asked");
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn what_a_background_answer_used_is_booked_once() {
    let (mut gateway, client) = Gateway::with_own().await.and_client();
    let (id, queued) = begun(&client).await;
    assert_eq!(queued.json()["status"], "queued");
    let created = gateway.record(&queued).await;
    assert_eq!((&created["input_tokens"], &created["output_tokens"]), (&json!(0), &json!(0)), "{created}");
    get(&client, &id).await;
    gateway.crash().await;
    let client = gateway.client();
    // Several clients see its completion at the same time.
    let polls = (0..6).map(|_| {
        let (client, id) = (gateway.client(), id.clone());
        tokio::spawn(async move { get(&client, &id).await })
    });
    let mut holders = 0;
    // On a busy machine the gateway may have polled first.
    for poll in polls.collect::<Vec<_>>() {
        let poll = poll.await.unwrap();
        assert_eq!(poll.json()["status"], "completed", "{}", poll.text());
        holders += usize::from(gateway.record(&poll).await["output_tokens"].as_u64().unwrap() > 0);
    }
    agree(&gateway, 8).await;
    assert_eq!(holders + ours(&gateway).await.len(), 1);
    get(&client, &id).await;
    gateway.stop().await;
    gateway.start_again().await;
    let client = gateway.client();
    get(&client, &id).await;
    agree(&gateway, 10).await;
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    assert_eq!(snapshot["unmetered_event_count"], 0, "another record has what it used: {snapshot}");
    // A cancelled response reports no usage, and one that no client polls again is polled by the gateway.
    let (cancelled, _) = begun(&client).await;
    let answer = client.post(&format!("{PATH}/{cancelled}/cancel"), &json!({})).await.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("cancelled")));
    assert_eq!(get(&client, &cancelled).await.json()["status"], "cancelled");
    begun(&client).await;
    agree(&gateway, 14).await;
    let (plain, _) = made(&client, &ask()).await;
    let answer = client.post(&format!("{PATH}/{plain}/cancel"), &json!({})).await.unwrap().must_be(400);
    assert!(answer.text().contains("Cannot cancel a synchronous response."), "{}", answer.text());
    get(&client, &plain).await;
    agree(&gateway, 17).await;
    assert_eq!(gateway.get("/v2/billing/snapshot").await["unmetered_event_count"], 0);
}

#[cfg(feature = "flows")]
#[tokio::test]
async fn a_background_stream_is_resumed_and_booked_once() {
    let (gateway, client) = Gateway::with_own().await.and_client();
    let body = with(ask(), json!({"background": true, "stream": true}));
    // Streamed to the end by the client that created it, and retrieved later.
    let whole = client.post(PATH, &body).await.unwrap();
    let events = events_of(&whole);
    let id = events[0]["response"]["id"].as_str().unwrap();
    get(&client, id).await;
    agree(&gateway, 2).await;
    for after in [0, 3, events.len() - 2] {
        let rest = get(&client, &format!("{id}?stream=true&starting_after={after}")).await.must_be(200);
        assert_eq!(rest.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(events_of(&rest), events[after + 1..]);
    }
    let nothing = get(&client, &format!("{id}?stream=true&starting_after={}", events.len())).await;
    assert_eq!((nothing.status, nothing.body.len()), (200, 0));
    agree(&gateway, 6).await;
    // Left in the middle, resumed by another request, and retrieved.
    gateway.emulator.script(OWN, [Behaviour::ok().interval(Duration::from_millis(30))]);
    let mut stream = client.stream(PATH, &body).await.unwrap();
    let trace = trace_of_stream(&stream);
    let first = stream.event().await.unwrap().unwrap();
    let id = serde_json::from_str::<Value>(&first).unwrap()["response"]["id"].as_str().unwrap().to_owned();
    drop(stream);
    let left = gateway.settled(&trace).await;
    assert_eq!((&left["outcome"], &left["output_tokens"]), (&json!("client_cancelled"), &json!(0)), "{left}");
    let resumed = gateway.record(&get(&client, &format!("{id}?stream=true&starting_after=0")).await).await;
    let is_booked = resumed["output_tokens"].as_u64() > Some(0);
    assert!(is_booked || !ours(&gateway).await.is_empty(), "{resumed}");
    get(&client, &format!("{id}?stream=true")).await;
    get(&client, &id).await;
    agree(&gateway, 10).await;
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "sdk")]
#[tokio::test]
async fn official_clients_keep_their_answers() {
    let interpreter = workspace().join(".venv/bin/python");
    assert!(interpreter.exists(), "run scripts/python-env.sh first");
    assert!(workspace().join("tests/node/node_modules/openai").exists(), "run scripts/node-env.sh first");
    let drivers: [(PathBuf, &str, usize); 2] =
        [(interpreter, "tests/sdk/stored.py", 6), ("node".into(), "tests/node/stored.mjs", 4)];
    for (program, script, cases) in drivers {
        let gateway = Gateway::with_own().await;
        gateway.credential("openai", OWN_SECOND).await;
        assert_eq!(drive(program, workspace().join(script), &gateway).await.held, cases, "{script}");
        let agree = async || is_counted(&gateway, &sums(&gateway.get("/v2/usage").await));
        until("the books hold what the emulator counted", agree).await;
        assert_eq!(gateway.emulator.violations(), []);
    }
}
