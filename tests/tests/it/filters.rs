//! One filter syntax: how `/v2/requests`, `/v2/usage` and the command line interpret the same text, and
//! report a mistake in it.

use serde_json::json;

use crate::ask::{CHAT, MINI, problem, question};
use crate::gateway::{Gateway, sums};

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Four calls with one key and one with another; one of the five requests a model that is not served.
async fn busy() -> Gateway {
    let gateway = Gateway::with_own().await;
    for _ in 0..3 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.chat(&question("nobody/no-such-model")).await;
    let (key, _) = gateway.key(json!({"name": "ci bot", "project_id": gateway.founded.project_id})).await;
    gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    gateway.wait_for_usage(4).await;
    gateway.listed(5).await;
    gateway
}

async fn listed(gateway: &Gateway, filter: &str) -> usize {
    let answer = gateway.get(&format!("/v2/requests?filter={}", escaped(filter))).await;
    answer["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_text_means_the_same_everywhere() {
    let gateway = busy().await;
    for (filter, requests, summed) in [
        ("status:error", 1, 0),
        ("-status:error", 4, 4),
        ("model:openai/gpt-4o* since:24h", 4, 4),
        ("key:\"ci bot\"", 1, 1),
        ("key:ci*", 1, 1),
        ("-key:\"ci bot\" outcome:completed", 3, 3),
        ("project:default profile:byok mode:byok", 4, 4),
        ("until:1h", 0, 0),
    ] {
        assert_eq!(listed(&gateway, filter).await, requests, "{filter}");
        let usage = gateway.get(&format!("/v2/usage?filter={}", escaped(filter))).await;
        assert_eq!(sums(&usage)["requests"], summed, "{filter}: {usage}");
        let rows = gateway.cli().run(&["requests", "--filter", filter, "--json"]).lines();
        assert_eq!(rows.len(), requests, "{filter}");
        let usage = gateway.cli().run(&["usage", "--filter", filter, "--json"]).json();
        assert_eq!(sums(&usage)["requests"], summed, "{filter}");
    }
    for (filter, requests) in [
        ("cost:0 error:model_not_found", 1),
        ("provider_cost:>0", 4),
        ("latency:>1us attempts:1", 4),
        ("input:>1M", 0),
    ] {
        assert_eq!(listed(&gateway, filter).await, requests, "{filter}");
    }
    // Combined with the older parameters, both conditions apply.
    let both = gateway.get(&format!("/v2/requests?status=200&filter={}", escaped("status:error"))).await;
    assert_eq!(both["data"].as_array().unwrap().len(), 0, "{both}");
    a_mistake_is_told_by_its_place(&gateway).await;
}

async fn a_mistake_is_told_by_its_place(gateway: &Gateway) {
    let admin = gateway.admin();
    for (path, filter, position) in [
        ("requests", "model:a stauts:error", "At character 9: \"stauts\""),
        ("requests", "key:nobody", "At character 1: No key"),
        ("requests", "since:yesterday", "At character 1: \"yesterday\""),
        ("usage", "model:a cost:>0.01", "At character 9: Sums don't know"),
        ("analytics", "latency:>1s", "At character 1: Sums don't know"),
    ] {
        let answer = admin.get(&format!("/v2/{path}?filter={}", escaped(filter))).await.unwrap();
        let document = problem(&answer, 400, "invalid_filter");
        assert_eq!(document["param"], "filter", "{document}");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.starts_with(position) && document["fix"].is_string(), "{document}");
    }
    let document = problem(&admin.get("/v2/requests?stauts=error").await.unwrap(), 400, "unknown_parameter");
    assert_eq!(document["param"], "stauts", "{document}");
    let stderr = gateway.cli().run(&["requests", "--filter", "model:a stauts:error"]).failed(2);
    assert!(stderr.contains("    model:a stauts:error\n            ^"), "{stderr}");
    // Another workspace's names match nothing here.
    let other = gateway.make("/v2/workspaces", json!({"name": "other"})).await;
    let client = gateway.with_key(other["admin_key"].as_str().unwrap());
    let mine = gateway.key(json!({"name": "mine", "project_id": gateway.founded.project_id})).await.1;
    problem(&client.get("/v2/requests?filter=key%3Amine").await.unwrap(), 400, "invalid_filter");
    let by_id = client.get(&format!("/v2/requests?filter=key%3A{mine}")).await.unwrap();
    assert_eq!(by_id.json()["data"], json!([]));
}
