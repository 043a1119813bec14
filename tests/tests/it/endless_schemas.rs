//! JSON Schemas of a few kilobytes whose comparison would outlive everybody: apps, flows and agents say so, and nobody else waits.

use harness::Behaviour;
use serde_json::{Map, Value, json};

use crate::ask::MINI;
use crate::flows::{RUNS, ended, flow, start};
use crate::gateway::{Gateway, OWN};
use crate::wait::until;

/// Two to the power of 45 comparisons of any value.
fn endless() -> Value {
    let mut parts = Map::new();
    for level in 0..45 {
        let below = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        parts.insert(format!("d{level}"), json!({"allOf": [below, below]}));
    }
    parts.insert("d45".to_owned(), json!(true));
    json!({"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": parts})
}

const TOO_MUCH: &str = "compared in time";

#[tokio::test]
async fn an_app_a_flow_and_an_agent_say_that_a_schema_takes_too_long() {
    let gateway = Gateway::with_own().await;
    let client = gateway.client();
    // No server is there: none is called.
    let app = json!({"name": "acme/endless", "url": "http://127.0.0.1:9/", "input_schema": endless()});
    gateway.make("/v2/apps", app).await;
    let refused = client.post("/v1/run", &json!({"app": "acme/endless", "input": {}})).await.unwrap();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains(TOO_MUCH), "{}", refused.text());

    let step = json!({"a": {"kind": "constant", "value": {}, "output": endless()}});
    let run = ended(&client, &start(&client, &flow(step, json!({})), json!({})).await).await;
    assert_eq!(run["status"], "failed", "{run}");
    let document = flow(json!({"a": {"kind": "constant", "value": 1}}), json!({"input": endless()}));
    let refused = client.post(RUNS, &json!({"document": document, "input": {}})).await.unwrap();
    assert!(refused.status == 400 && refused.text().contains(TOO_MUCH), "{}", refused.text());

    gateway.emulator.script(OWN, [Behaviour::ok().text("{}").always()]);
    let config = json!({"core_app": {"ref": MINI}, "system_prompt": "s", "output_schema": endless()});
    let body = json!({"agent_config": config, "input": {"text": "hello"}});
    let sent = client.post("/v1/agents/run", &body).await.unwrap().must_be(200);
    let chat = sent.json()["data"]["assistant_message"]["chat_id"].as_str().unwrap().to_owned();
    let is_failed = async || client.get(&format!("/chats/{chat}")).await.unwrap().text().contains(TOO_MUCH);
    until("the turn to fail", is_failed).await;
}
