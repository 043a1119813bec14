//! Alert rules and messages for chats: a rule that is above its threshold sends a message to an incoming webhook of Slack, once, and
//! nobody reads the address of that again.

use serde_json::{Value, json};

use crate::ask::{has, problem, question, trace_of, with};
use crate::canary::holds;
use crate::gateway::{Gateway, OWN, id_of};
use crate::wait::{found, until};
use crate::webhooks::Taker;

async fn slack(gateway: &Gateway, taker: &Taker, more: Value) -> Value {
    let body = json!({"format": "slack", "url": taker.url, "events": ["alert.firing", "alert.resolved"]});
    gateway.make("/v2/webhooks", with(body, more)).await
}

/// The rule, once it was measured.
async fn measured(gateway: &Gateway, id: &str) -> Value {
    found("the rule to be measured", async || {
        let rule = gateway.get(&format!("/v2/alert-rules/{id}")).await;
        rule["measured_at"].is_string().then_some(rule)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_above_its_threshold_sends_one_message_to_a_chat() {
    let gateway = Gateway::start().await;
    let mut taker = Taker::start().await;
    assert_eq!(slack(&gateway, &taker, json!({})).await["secret"], Value::Null, "its address is the secret");
    gateway.credential("openai", OWN).await;
    gateway.settled(&trace_of(&gateway.chat_ok(&question("gpt-4o-mini")).await)).await;
    let traffic = json!({"name": "<any> traffic", "metric": "requests", "threshold": 0});
    let id = id_of(&gateway.make("/v2/alert-rules", traffic).await);
    let message: Value = serde_json::from_str(&taker.taken().await).unwrap();
    let text = "*Alert: &lt;any&gt; traffic*\nThe number of requests is 1 over the last 15 minutes, above 0.";
    assert_eq!(message["text"], text);
    let rule = measured(&gateway, &id).await;
    let fired = &rule["last_fired_at"];
    has(&rule, json!({"value": 1, "threshold": 0, "firing_since": fired}));
    assert!(fired.is_string(), "{rule}");

    // Written again with another threshold it is measured afresh, and is below it; what was is not forgotten.
    gateway.patch(&format!("/v2/alert-rules/{id}"), json!({"threshold": 5})).await;
    has(&measured(&gateway, &id).await, json!({"value": 1, "firing_since": null, "last_fired_at": fired}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_chat_is_sealed_and_can_not_be_changed() {
    let gateway = Gateway::start().await;
    let mut taker = Taker::start().await;
    let webhook = slack(&gateway, &taker, json!({"description": "ops"})).await;
    let path = format!("/v2/webhooks/{}", id_of(&webhook));
    let shown = gateway.get(&path).await;
    let host = taker.url.trim_start_matches("http://").trim_end_matches("/hook");
    assert_eq!(shown["url"], format!("https://{host}/…"));
    assert!(!gateway.get("/v2/webhooks").await.to_string().contains("/hook"));
    assert!(!gateway.get("/v2/audit").await.to_string().contains("/hook"));
    for file in std::fs::read_dir(gateway.data()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!holds(&bytes, &taker.url), "{} holds the address", path.display());
    }
    // A document that was read can be written back; another address can't.
    gateway.patch(&path, json!({"url": shown["url"], "description": "on call"})).await;
    for change in [json!({"url": "https://example.com/other"}), json!({"format": "standard"})] {
        let problem = problem(&gateway.patched(&path, change).await, 400, "invalid_value");
        assert!(problem["fix"].as_str().unwrap().contains("Add another webhook"), "{problem}");
    }
    let admin = gateway.admin();
    problem(&admin.post(&format!("{path}/rotate"), &json!({})).await.unwrap(), 400, "invalid_value");
    has(&admin.post(&format!("{path}/test"), &json!({})).await.unwrap().json(), json!({"delivered": true}));
    let message: Value = serde_json::from_str(&taker.taken().await).unwrap();
    assert_eq!(message, json!({"text": "*This is a test: Tidegate's events arrive here*"}));
}

#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread")]
async fn rules_and_quiet_hours_that_can_not_be_are_refused_by_name() {
    let gateway = Gateway::start().await;
    let admin = gateway.admin();
    for (body, field) in [
        (json!({"threshold": 1}), "metric"),
        (json!({"metric": "mood", "threshold": 1}), "metric"),
        (json!({"metric": "requests"}), "threshold"),
        (json!({"metric": "error_percent", "threshold": 100}), "threshold"),
        (json!({"metric": "requests", "threshold": 1, "window_minutes": 0}), "window_minutes"),
        (json!({"metric": "requests", "threshold": 1, "window_minutes": 1441}), "window_minutes"),
        (json!({"metric": "requests", "threshold": 1, "status": "on"}), "status"),
        (json!({"metric": "requests", "threshold": 1, "model": ""}), "model"),
    ] {
        let refused = admin.post("/v2/alert-rules", &body).await.unwrap();
        let code = refused.json()["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(problem(&refused, 400, &code)["param"], field, "{body}");
    }
    for (quiet, field) in [
        (json!({"from": "22"}), "quiet_hours.from"),
        (json!({"weekdays": ["someday"]}), "quiet_hours.weekdays"),
        (json!({}), "quiet_hours"),
    ] {
        let body = json!({"url": "http://127.0.0.1:9/hook", "quiet_hours": quiet});
        let refused = admin.post("/v2/webhooks", &body).await.unwrap();
        assert_eq!(problem(&refused, 400, "invalid_value")["param"], field);
    }
    // A workspace has a bounded number of rules.
    let rule = json!({"metric": "spend_micros", "threshold": 1});
    for _ in 0..domain::limits::ALERT_RULES_OF_WORKSPACE_MAX {
        gateway.make("/v2/alert-rules", rule.clone()).await;
    }
    problem(&gateway.admin().post("/v2/alert-rules", &rule).await.unwrap(), 409, "too_many_alert_rules");
}

/// Of two webhooks for the same event, the one with quiet hours is sent nothing, though its turn came.
#[cfg(feature = "control")]
#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_the_end_of_quiet_hours() {
    let gateway = Gateway::start().await;
    let (mut loud, silent) = (Taker::start().await, Taker::start().await);
    // All of the day but one minute, twelve hours from now.
    let awake = (unix_minutes() + 720) % 1_440;
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let quiet = json!({"from": clock((awake + 1) % 1_440), "to": clock(awake)});
    let body = json!({"url": silent.url, "events": ["key.created"], "quiet_hours": quiet});
    let webhook = gateway.make("/v2/webhooks", body).await;
    assert_eq!(webhook["quiet_hours"]["to"], clock(awake));
    gateway.make("/v2/webhooks", json!({"url": loud.url, "events": ["key.created"]})).await;
    gateway.key(json!({"name": "night", "scopes": ["read"]})).await;
    loud.taken().await;
    until("all jobs to end", async || {
        let jobs = gateway.get("/v2/jobs").await;
        jobs["ready"] == 0 && jobs["running"] == 0
    })
    .await;
    let listed = gateway.get(&format!("/v2/webhooks/{}/deliveries", id_of(&webhook))).await;
    has(&listed["data"][0], json!({"status": "pending", "attempts": 0}));
}

fn unix_minutes() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 60
}
