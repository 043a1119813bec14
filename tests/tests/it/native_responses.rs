//! `/v2/responses`: a model's answer under a stated quality of service, with its outcome.

use std::time::Duration;

use harness::Behaviour;
use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{MINI, trace_of};
use crate::gateway::{Founded, Gateway, OWN, POOL};
use crate::wait::until;

const PATH: &str = "/v2/responses";

fn asking(qos: Value) -> Value {
    json!({"model": MINI, "input": "hello there", "qos": qos})
}

async fn ask(gateway: &Gateway, body: &Value) -> Answer {
    gateway.client().post(PATH, body).await.unwrap()
}

/// Checks a problem document.
fn problem(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let document = answer.json();
    assert_eq!(document["code"], code, "{document}");
    document
}

#[tokio::test]
async fn an_answer_says_what_served_it_and_how_well() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let qos = json!({"class": "interactive", "target_ttft_ms": 60_000, "deadline_ms": 60_000, "priority": 9,
        "degrade_policy": "forbid"});
    let answer = ask(&gateway, &asking(qos)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let id = body["id"].as_str().unwrap().to_owned();
    assert_eq!(id, trace_of(&answer).replace("trc_", "rsp_"), "{body}");
    assert_eq!((&body["object"], &body["status"]), (&json!("response"), &json!("completed")), "{body}");
    assert_eq!((&body["execution_profile"], &body["stored"]), (&json!("byok"), &json!(true)), "{body}");
    assert!(body["output"][0]["content"][0]["text"].is_string(), "{body}");
    let mut outcome = body["qos_outcome"].clone();
    let (ttft, latency) = (outcome["ttft_ms"].take(), outcome["latency_ms"].take());
    assert!(ttft.is_u64() && latency.as_u64() >= ttft.as_u64(), "{body}");
    let expected = json!({"admission": "admitted", "completion": "completed", "target_met": true, "ttft_ms": null,
        "latency_ms": null, "deadline_met": true, "degraded": false, "fallback_used": false, "reason_code": null});
    assert_eq!(outcome, expected);
    assert_eq!(answer.header("agent-qos-target-met"), Some("true"));
    assert_eq!(answer.header("agent-dropped-params"), Some("qos.priority"));
    // It is one exchange, and the provider keeps nothing.
    let record = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((&record["dialect"], &record["outcome"]), (&json!("native"), &json!("completed")), "{record}");
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
    let founded = gateway.make("/v2/workspaces", json!({"name": "others"})).await;
    let others: Founded = serde_json::from_value(founded).unwrap();
    problem(&gateway.with_key(&others.api_key).get(&at).await.unwrap(), 404, "response_not_found");
    assert_eq!(gateway.client().delete(&at).await.unwrap().status, 204);
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
    assert_eq!(
        (&outcome["admission"], &outcome["completion"], &outcome["reason_code"]),
        (&json!("admitted"), &json!("expired_during_execution"), &json!("deadline_exceeded")),
        "{document}"
    );
    assert_eq!(
        (&outcome["deadline_met"], &outcome["target_met"]),
        (&json!(false), &json!(false)),
        "{document}"
    );
    assert!(outcome["latency_ms"].as_u64().is_some_and(|latency| latency >= 400), "{document}");
    until("the emulator sees the connection closed", async || {
        gateway.calls(POOL).iter().any(|call| call.cancelled.is_some())
    })
    .await;
    let record = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((&record["outcome"], &record["cost_micros"]), (&json!("deadline"), &json!(0)), "{record}");
    let nowhere = json!({"model": "nobody/nothing", "input": "x", "qos": {"deadline_ms": 400}});
    let document = ask(&gateway, &nowhere).await.json();
    assert_eq!(document["qos_outcome"]["admission"], "rejected", "{document}");
}

/// One repeated under its key is the same answer.
#[tokio::test]
async fn a_repeated_request_is_answered_once() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    let client = gateway.client().header("idempotency-key", "once");
    let first = client.post(PATH, &asking(json!({}))).await.unwrap();
    let again = client.post(PATH, &asking(json!({}))).await.unwrap();
    assert_eq!((first.status, again.status), (200, 200), "{}", again.text());
    assert_eq!((first.text(), gateway.calls(OWN).len()), (again.text(), 1));
}

#[tokio::test]
async fn what_can_not_be_honoured_is_refused_by_its_name() {
    let gateway = Gateway::start().await;
    gateway.credential("openai", OWN).await;
    for (more, code, param) in [
        (json!({"session_id": "ses_1"}), "unsupported_field", "session_id"),
        (json!({"branch_id": "br_1"}), "unsupported_field", "branch_id"),
        (json!({"stream": true}), "unsupported_field", "stream"),
        (json!({"background": true}), "unsupported_field", "background"),
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
    for body in
        ["", "{", "[]", r#"{"model":"a","model":"b"}"#, r#"{"qos":{"class":"batch","class":"batch"}}"#]
    {
        let answer = gateway.client().call(http::Method::POST, PATH, &json, body.to_owned()).await.unwrap();
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let both =
        gateway.client().header("agent-hints-ref", "ah_1").post(PATH, &asking(json!({}))).await.unwrap();
    assert_eq!(problem(&both, 400, "invalid_value")["param"], "qos");
    assert_eq!(gateway.calls(OWN).len(), 0);
    let unsigned =
        harness::client::Client::new(&gateway.origin).post(PATH, &asking(json!({}))).await.unwrap();
    problem(&unsigned, 401, "missing_api_key");
}
