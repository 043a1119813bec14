//! `/v2/responses`: a model's answer under a stated quality of service, with its outcome.

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::pace::Pace;
use harness::{At, Behaviour};
use serde_json::{Value, json};

use crate::WITHIN;
use crate::ask::{MINI, once, posted, trace_of, with};
use crate::gateway::{Gateway, OWN, POOL, Shared, config, id_of};
use crate::isolation::second_workspace;
use crate::wait::until;

const PATH: &str = "/v2/responses";
/// Less than what passes between two looks at the store.
const CANCELLED_WITHIN: Duration = Duration::from_millis(400);

fn asking(qos: Value) -> Value {
    json!({"model": MINI, "input": "hello there", "qos": qos})
}

async fn ask(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post(PATH, body).await.unwrap()
}

/// Checks a problem document.
pub fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let document = answer.json();
    assert_eq!(document["code"], code, "{document}");
    document
}

/// The record tells the same as the answer did. Times are measured where each is made.
fn is_recorded(record: &Value, told: &Value) {
    for name in
        ["admission", "completion", "target_met", "deadline_met", "degraded", "fallback_used", "reason_code"]
    {
        assert_eq!(record["qos_outcome"][name], told[name], "{name}: {record}");
    }
    let is_begun = |of: &Value| of["ttft_ms"].is_u64();
    assert_eq!(is_begun(&record["qos_outcome"]), is_begun(told), "{record}");
    assert!(record["qos_outcome"]["latency_ms"].is_u64(), "{record}");
}

/// An answer within its bounds, from an own credential: the outcome says so, and it is stored.
fn is_fulfilled(body: &Value) {
    let served = [&body["status"], &body["execution_profile"], &body["stored"]];
    assert_eq!(json!(served), json!(["completed", "byok", true]), "{body}");
    let mut outcome = body["qos_outcome"].clone();
    let (ttft, latency) = (outcome["ttft_ms"].take(), outcome["latency_ms"].take());
    assert!(ttft.is_u64() && latency.as_u64() >= ttft.as_u64(), "{body}");
    let expected = json!({"admission": "admitted", "completion": "completed", "target_met": true, "ttft_ms": null,
        "latency_ms": null, "deadline_met": true, "degraded": false, "fallback_used": false, "reason_code": null});
    assert_eq!(outcome, expected);
}

/// What an outcome says of one that was admitted or not, how it ended, and whether in time.
fn is_outcome(document: &Value, admission: &str, completion: &Value, deadline_met: &Value) {
    let outcome = &document["qos_outcome"];
    let told = json!([outcome["admission"], outcome["completion"], outcome["deadline_met"]]);
    assert_eq!(told, json!([admission, completion, deadline_met]), "{document}");
}

#[tokio::test]
async fn an_answer_says_what_served_it_and_how_well() {
    let gateway = Gateway::with_own().await;
    let qos = json!({"class": "interactive", "target_ttft_ms": 60_000, "deadline_ms": 60_000, "priority": 9,
        "degrade_policy": "forbid"});
    let answer = ask(&gateway, &asking(qos)).await.must_be(200);
    let body = answer.json();
    let id = id_of(&body);
    assert_eq!(id, trace_of(&answer).replace("trc_", "rsp_"), "{body}");
    assert_eq!(body["object"], "response", "{body}");
    is_fulfilled(&body);
    assert!(body["output"][0]["content"][0]["text"].is_string(), "{body}");
    assert_eq!(answer.header("agent-qos-target-met"), Some("true"));
    assert_eq!(answer.header("agent-dropped-params"), None);
    // It is one exchange, and the provider keeps nothing.
    let record = gateway.record(&answer).await;
    assert_eq!((&record["dialect"], &record["outcome"]), (&json!("native"), &json!("completed")), "{record}");
    is_recorded(&record, &body["qos_outcome"]);
    let stated = ["class", "target_ttft_ms", "deadline_ms"].map(|name| record["qos_outcome"][name].clone());
    assert_eq!(stated, [json!("interactive"), json!(60_000), json!(60_000)], "{record}");
    let calls = gateway.calls(OWN);
    assert_eq!(calls.len(), 1);
    let sent = calls[0].json();
    assert_eq!((sent.get("qos"), &sent["store"]), (None, &json!(false)), "{sent}");
    assert_eq!(gateway.wait_for_usage(1).await["requests"], 1);
    // It can be read again, and not cancelled any more.
    let at = format!("{PATH}/{id}");
    assert_eq!(gateway.client().get(&at).await.unwrap().json(), body);
    let cancelled = gateway.client().post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    problem(&cancelled, 409, "response_finished");
    let others = second_workspace(&gateway).await;
    problem(&gateway.with_key(&others.api_key).get(&at).await.unwrap(), 404, "response_not_found");
    gateway.client().delete(&at).await.unwrap().must_be(204);
    problem(&gateway.client().get(&at).await.unwrap(), 404, "response_not_found");
}

#[tokio::test]
async fn a_deadline_is_a_504_with_its_outcome_and_costs_nothing() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.emulator.script(POOL, [Behaviour::ok().latency(Duration::from_millis(800))]);
    let qos = json!({"deadline_ms": 400, "target_ttft_ms": 100});
    let answer = ask(&gateway, &asking(qos)).await;
    let document = problem(&answer, 504, "deadline_exceeded");
    let outcome = &document["qos_outcome"];
    is_outcome(&document, "admitted", &json!("expired_during_execution"), &json!(false));
    assert_eq!(outcome["reason_code"], "deadline_exceeded", "{document}");
    assert_eq!(outcome["target_met"], false, "{document}");
    assert!(outcome["latency_ms"].as_u64().is_some_and(|latency| latency >= 400), "{document}");
    until("the emulator sees the connection closed", async || {
        gateway.calls(POOL).iter().any(|call| call.cancelled.is_some())
    })
    .await;
    let record = gateway.record(&answer).await;
    assert_eq!((&record["outcome"], &record["cost_micros"]), (&json!("deadline"), &json!(0)), "{record}");
    is_recorded(&record, outcome);
    let nowhere = json!({"model": "nobody/nothing", "input": "x", "qos": {"deadline_ms": 400}});
    let answer = ask(&gateway, &nowhere).await;
    let document = answer.json();
    assert_eq!(document["qos_outcome"]["admission"], "rejected", "{document}");
    is_recorded(&gateway.record(&answer).await, &document["qos_outcome"]);
}

/// The events of a stream, each with its name and its data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let text = answer.text();
    let of = |event: &str, field: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(field));
        line.unwrap_or_default().trim().to_owned()
    };
    let events = text.split("\n\n").filter(|event| !event.trim().is_empty());
    events
        .map(|event| (of(event, "event:"), serde_json::from_str(&of(event, "data:")).unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn a_stream_ends_with_the_outcome_and_is_stored_before_it_ends() {
    let gateway = Gateway::with_own().await;
    let qos = json!({"class": "interactive", "target_ttft_ms": 60_000, "deadline_ms": 60_000});
    let body = with(asking(qos), json!({"stream": true}));
    let answer = ask(&gateway, &body).await.must_be(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(answer.header("agent-qos-target-met"), Some("true"));
    let events = events(&answer);
    assert_eq!(events[0].0, "response.created", "{events:?}");
    let id = trace_of(&answer).replace("trc_", "rsp_");
    let named = events.iter().filter_map(|(_, data)| data["response"]["id"].as_str());
    assert!(named.clone().count() >= 2 && named.clone().all(|one| one == id), "{events:?}");
    assert!(events.iter().any(|(name, _)| name == "response.output_text.delta"), "{events:?}");
    let (name, last) = events.last().unwrap();
    assert_eq!(name, "response.completed");
    let whole = &last["response"];
    is_fulfilled(whole);
    assert!(events.iter().rev().skip(1).all(|(_, data)| data["response"].get("qos_outcome").is_none()));
    // It is the answer that is stored, and one exchange.
    assert_eq!(gateway.client().get(&format!("{PATH}/{id}")).await.unwrap().json(), *whole);
    let record = gateway.record(&answer).await;
    assert_eq!((&record["dialect"], &record["stream"]), (&json!("native"), &json!(true)), "{record}");
    is_recorded(&record, &whole["qos_outcome"]);
    assert_eq!(gateway.wait_for_usage(1).await["requests"], 1);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_stream_that_breaks_or_is_late_says_so_in_its_last_event() {
    let gateway = Gateway::with_own().await;
    let chunks = || Behaviour::ok().chunks(20);
    let late = json!({"deadline_ms": 500});
    for (behaviour, qos, completion, deadline_met) in [
        (chunks().cut(At::Middle), json!({}), "failed", Value::Null),
        (chunks().stall(At::Middle), late, "expired_during_execution", json!(false)),
    ] {
        gateway.emulator.script(OWN, [behaviour]);
        let answer = ask(&gateway, &with(asking(qos), json!({"stream": true}))).await.must_be(200);
        let events = events(&answer);
        let (_, last) = events.last().unwrap();
        let document = if last["response"].is_object() { &last["response"] } else { last };
        is_outcome(document, "admitted", &json!(completion), &deadline_met);
        let outcome = &document["qos_outcome"];
        assert!(outcome["reason_code"].is_string() && outcome["latency_ms"].is_u64(), "{last}");
        let id = trace_of(&answer).replace("trc_", "rsp_");
        problem(&gateway.client().get(&format!("{PATH}/{id}")).await.unwrap(), 404, "response_not_found");
    }
}

/// A request waits for its turn within what was agreed with the provider, and its deadline passes.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_deadline_that_passes_before_anything_is_sent_says_so() {
    let gateway = Gateway::start().await;
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url(),
        "limits": {"concurrent_requests": 1}});
    gateway.make("/v2/provider-credentials", credential).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(600))]);
    let client = gateway.client();
    let first = tokio::spawn(async move { client.post(PATH, &asking(json!({}))).await });
    until("the first is at the provider", async || gateway.calls(OWN).len() == 1).await;
    let answer = ask(&gateway, &asking(json!({"deadline_ms": 300}))).await;
    let document = problem(&answer, 504, "deadline_exceeded");
    is_outcome(&document, "expired_before_start", &Value::Null, &json!(false));
    assert_eq!(gateway.calls(OWN).len(), 1, "nothing was sent for it");
    first.abort();
}

fn in_background(qos: Value) -> Value {
    with(asking(qos), json!({"background": true}))
}

/// The id of an answer that is made in the background.
async fn begun(gateway: &Gateway, body: &Value) -> (String, String) {
    let answer = ask(gateway, body).await.must_be(202);
    let document = answer.json();
    assert_eq!(document["object"], "response", "{document}");
    assert_eq!(document["status"], "queued", "{document}");
    assert_eq!(document["qos_outcome"]["admission"], "queued", "{document}");
    let id = id_of(&document);
    assert_eq!(id, trace_of(&answer).replace("trc_", "rsp_"), "{document}");
    (format!("{PATH}/{id}"), trace_of(&answer))
}

async fn until_ended(gateway: &Gateway, at: &str) -> Value {
    once(&gateway.client(), at, |answer| answer["status"] != "queued").await
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_in_the_background_is_asked_for_by_its_id_and_booked_once() {
    let gateway = Gateway::with_own().await;
    let slow = Behaviour::ok().latency(Duration::from_millis(300));
    gateway.emulator.script(OWN, [slow, Behaviour::status(400)]);
    let (at, trace) = begun(&gateway, &in_background(json!({"deadline_ms": 60_000}))).await;
    let early = gateway.client().get(&at).await.unwrap().must_be(200);
    assert_eq!(early.json()["status"], "queued", "{}", early.text());
    problem(&gateway.client().delete(&at).await.unwrap(), 409, "response_running");
    let answer = until_ended(&gateway, &at).await;
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(answer["execution_profile"], "byok", "{answer}");
    assert!(answer["output"][0]["content"][0]["text"].is_string(), "{answer}");
    let outcome = &answer["qos_outcome"];
    assert_eq!(outcome["completion"], "completed", "{answer}");
    assert_eq!(outcome["deadline_met"], true, "{answer}");
    assert!(outcome["latency_ms"].as_u64() >= Some(300), "{answer}");
    assert!(gateway.calls(OWN)[0].json().get("background").is_none(), "the provider is asked for an answer");
    assert_eq!(gateway.settled(&trace).await["outcome"], "completed");
    assert_eq!(gateway.wait_for_usage(1).await["requests"], 1);
    let late = gateway.client().post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    problem(&late, 409, "response_finished");
    gateway.client().delete(&at).await.unwrap().must_be(204);
    problem(&gateway.client().get(&at).await.unwrap(), 404, "response_not_found");
    // What fails says so where the answer would be.
    let (at, trace) = begun(&gateway, &in_background(json!({}))).await;
    let failed = until_ended(&gateway, &at).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(failed["qos_outcome"]["completion"], "failed", "{failed}");
    let record = gateway.settled(&trace).await;
    assert_eq!(failed["error"]["code"], record["error_code"], "{failed}");
    is_recorded(&record, &failed["qos_outcome"]);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_answer_in_the_background_is_cancelled_and_its_upstream_call_with_it() {
    let gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(600))]);
    let (at, trace) = begun(&gateway, &in_background(json!({}))).await;
    until("it is at the provider", async || gateway.calls(OWN).len() == 1).await;
    let others = second_workspace(&gateway).await;
    let theirs = gateway.with_key(&others.api_key).post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    problem(&theirs, 404, "response_not_found");
    // It does not wait for the next time that the answer looks at the store.
    let pace = Pace::start(&[gateway.serving(), gateway.control()]);
    let cancelled = gateway.client().post(&format!("{at}/cancel"), &json!({})).await.unwrap();
    let took = pace.elapsed();
    assert!(took < CANCELLED_WITHIN, "{took:?}");
    let ended = cancelled.must_be(200).json();
    assert_eq!(ended["status"], "cancelled", "{ended}");
    assert_eq!(ended["qos_outcome"]["completion"], "cancelled", "{ended}");
    assert_eq!(gateway.client().get(&at).await.unwrap().json(), ended);
    let is_closed = async || gateway.calls(OWN)[0].cancelled.is_some();
    until("the emulator sees the connection closed", is_closed).await;
    let record = gateway.settled(&trace).await;
    assert_eq!(record["outcome"], "client_cancelled", "{record}");
    is_recorded(&record, &ended["qos_outcome"]);
}

/// Another gateway of the same database learns of it from the store.
#[cfg(feature = "broker")]
#[tokio::test]
async fn any_gateway_cancels_an_answer_that_another_one_makes() {
    let shared = Shared::of("r").await;
    let gateway = Gateway::with(config(), &shared.environment()).await;
    gateway.credential("openai", OWN).await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(600))]);
    let (mut other, origin) = gateway.replica().await;
    let there = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let (at, trace) = begun(&gateway, &in_background(json!({}))).await;
    until("it is at the provider", async || gateway.calls(OWN).len() == 1).await;
    there.post(&format!("{at}/cancel"), &json!({})).await.unwrap().must_be(200);
    assert_eq!(until_ended(&gateway, &at).await["status"], "cancelled");
    assert_eq!(gateway.settled(&trace).await["outcome"], "client_cancelled");
    other.stop(WITHIN).await.unwrap();
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_kill_books_an_answer_in_the_background_once_and_its_client_learns_of_it() {
    let mut gateway = Gateway::with_own().await;
    gateway.emulator.script(OWN, [Behaviour::ok().latency(Duration::from_secs(600))]);
    let (at, trace) = begun(&gateway, &in_background(json!({"deadline_ms": 1_000}))).await;
    until("it is at the provider", async || gateway.calls(OWN).len() == 1).await;
    gateway.crash().await;
    assert_eq!(gateway.settled(&trace).await["outcome"], "interrupted");
    let ended = until_ended(&gateway, &at).await;
    assert_eq!(ended["status"], "failed", "{ended}");
    assert_eq!(ended["error"]["code"], "interrupted", "{ended}");
    assert_eq!(ended["qos_outcome"]["reason_code"], "interrupted", "{ended}");
    assert_eq!(gateway.requests(10).await.len(), 1, "booked once");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_can_not_be_honoured_is_refused_by_its_name_and_what_is_repeated_is_answered_once() {
    let gateway = Gateway::with_own().await;
    for (more, code, param) in [
        (json!({"session_id": "ses_1"}), "invalid_value", "session_id"),
        (json!({"branch_id": "br_1"}), "invalid_value", "branch_id"),
        (json!({"background": 1}), "invalid_type", "background"),
        (json!({"background": true, "stream": true}), "invalid_value", "stream"),
        (json!({"qos": 5}), "invalid_value", "qos"),
        (json!({"qos": {"class": "urgent"}}), "invalid_value", "qos.class"),
        (json!({"qos": {"deadline_ms": 0}}), "invalid_value", "qos.deadline_ms"),
        (json!({"qos": {"priority": 256}}), "invalid_value", "qos.priority"),
        (json!({"qos": {"speed": 1}}), "unknown_field", "qos.speed"),
        (json!({"input": null}), "", "input"),
    ] {
        let mut body = asking(json!({}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ask(&gateway, &body).await;
        assert_eq!(answer.status, 400, "{more}: {}", answer.text());
        let document = answer.json();
        assert_eq!(document["param"], param, "{more}: {document}");
        assert!(code.is_empty() || document["code"] == code, "{more}: {document}");
    }
    let json = [("content-type", "application/json")];
    let twice = [r#"{"model":"a","model":"b"}"#, r#"{"qos":{"class":"batch","class":"batch"}}"#];
    for body in ["", "{", "[]"].into_iter().chain(twice) {
        let answer = gateway.client().call(http::Method::POST, PATH, &json, body).await.unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let both = gateway.client().header("agent-hints-ref", "ah_1");
    let both = both.post(PATH, &asking(json!({}))).await.unwrap();
    assert_eq!(problem(&both, 400, "invalid_value")["param"], "qos");
    assert_eq!(gateway.calls(OWN).len(), 0);
    let unsigned = Client::new(&gateway.origin).post(PATH, &asking(json!({}))).await.unwrap();
    problem(&unsigned, 401, "missing_api_key");
    // One that is repeated under its key is the same answer.
    let client = gateway.client().header("idempotency-key", "once");
    let first = posted(&client, PATH, &asking(json!({}))).await;
    let again = posted(&client, PATH, &asking(json!({}))).await;
    assert_eq!((first.text(), gateway.calls(OWN).len()), (again.text(), 1));
    // Where nothing may be kept, nothing is made in the background.
    gateway.make("/v2/policies", json!({"workspace": true, "retention": "zero"})).await;
    let answer = ask(&gateway, &in_background(json!({}))).await;
    assert_eq!(problem(&answer, 403, "policy_forbids")["param"], "background");
    assert_eq!(gateway.calls(OWN).len(), 1);
}
