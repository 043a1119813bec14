//! End users: requests name the client's own users, records hold a keyed hash of the name, and each is found, summed and
//! purged by it. Tasks, agents and adapters are found and summed, too.

use harness::Behaviour;
use harness::client::Client;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, problem, question, trace_of, with};
use crate::canary::is_stored_nowhere;
use crate::gateway::{Founded, Gateway, LOCAL_MODEL, NODE, id_of, row};
use crate::tasks;
use crate::wait::until;

const ADA: &str = "ada.tern@example.org";

fn of(name: &str) -> Value {
    with(question(MINI), json!({"user": name}))
}

/// The end user of each listed request that a filter finds.
async fn found(gateway: &Gateway, filter: &str) -> Vec<Value> {
    let listed = gateway.get(&format!("/v2/requests?filter={filter}")).await;
    listed["data"].as_array().unwrap().iter().map(|one| one["end_user_id"].clone()).collect()
}

async fn days(client: &Client, query: &str) -> Value {
    client.get(&format!("/v2/usage?group_by=end_user{query}")).await.unwrap().must_be(200).json()
}

#[tokio::test]
async fn each_is_found_and_summed_by_a_hash_of_the_name_in_every_dialect() {
    let gateway = Gateway::with_own().await;
    let messages = json!({"model": MINI, "max_tokens": 9, "metadata": {"user_id": ADA},
        "messages": [{"role": "user", "content": "hello"}]});
    let response = json!({"model": MINI, "input": "hello", "safety_identifier": ADA});
    let named = [(CHAT, of(ADA)), ("/v1/messages", messages), ("/v1/responses", response)];
    for (path, body) in named.into_iter().chain([(CHAT, of("crane")), (CHAT, question(MINI))]) {
        let answer = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        gateway.settled(&trace_of(&answer)).await;
    }

    let ada = found(&gateway, &format!("end_user:{ADA}")).await;
    let id = ada[0].as_str().unwrap();
    assert_eq!(ada, [id; 3]);
    assert!(id.starts_with("eu_"), "{id}");
    assert_eq!(found(&gateway, &format!("end_user:{id}")).await, ada, "the id finds the same");
    assert_eq!(found(&gateway, &format!("-end_user:{ADA}")).await.len(), 2);
    assert_eq!(found(&gateway, "end_user:nobody").await.len(), 0);
    let begins = gateway.admin().get("/v2/requests?filter=end_user:ada*").await.unwrap();
    assert_eq!(problem(&begins, 400, "invalid_filter")["param"], "filter");

    let usage = days(&gateway.admin(), "&window=24h").await;
    let (sum, crane) = (row(&usage["data"], "end_user", id), usage["data"].as_array().unwrap().len());
    assert_eq!((&sum["requests"], crane), (&json!(3), 2), "requests that name nobody are nobody's: {usage}");
    assert!(sum["spend_micros"].as_i64() > Some(0) && sum["output_tokens"].as_u64() > Some(0), "{sum}");
    let midnight = |name: &str| usage[name].as_str().unwrap().contains("T00:00:00");
    assert!(midnight("start") && midnight("end"), "whole days: {usage}");
    let by_day = days(&gateway.admin(), ",day&window=24h").await;
    let start = row(&by_day["data"], "end_user", id)["start"].as_str().unwrap();
    assert!(start.contains("T00:00:00"), "{by_day}");
    let speed = gateway.get("/v2/analytics?group_by=end_user").await;
    assert_eq!(row(&speed["data"], "end_user", id)["success_rate"], 1.0, "{speed}");
    for query in ["group_by=end_user,model", "group_by=end_user&interval=hour", "group_by=end_user&model=x"] {
        problem(&gateway.admin().get(&format!("/v2/usage?{query}")).await.unwrap(), 400, "invalid_value");
    }
    let listed = gateway.cli().run(&["usage", "--by", "end_user"]).ok();
    assert!(listed.contains(id), "{listed}");

    // Another workspace's user of the same name is another, and the name is stored nowhere.
    let others = gateway.make("/v2/workspaces", json!({"name": "others"})).await;
    let others: Founded = serde_json::from_value(others).unwrap();
    assert_eq!(days(&gateway.with_key(&others.admin_key), "").await["data"], json!([]));
    is_stored_nowhere(&gateway, ADA);
}

#[tokio::test]
async fn what_was_stored_for_one_is_purged_by_name() {
    let gateway = Gateway::with_own().await;
    let keyed = |name: &str| gateway.client().header("idempotency-key", format!("once for {name}"));
    for name in [ADA, "crane"] {
        gateway.settled(&trace_of(&keyed(name).post(CHAT, &of(name)).await.unwrap())).await;
    }
    let purge = gateway.make("/v2/purge-jobs", json!({"end_user": ADA})).await;
    assert!(purge["scope"]["end_user_id"].as_str().unwrap().starts_with("eu_"), "{purge}");
    let path = format!("/v2/purge-jobs/{}", id_of(&purge));
    until("the purge to end", async || gateway.get(&path).await["status"] == "completed").await;
    let receipt = gateway.get(&format!("{path}/receipt")).await;
    assert!(receipt["complete"] == true && receipt["scope"]["end_user"].is_string(), "{receipt}");
    let replayed = async |name: &str| {
        let again = keyed(name).post(CHAT, &of(name)).await.unwrap();
        again.header("agent-idempotent-replay") == Some("true")
    };
    assert!(!replayed(ADA).await, "the answer to the one is gone");
    assert!(replayed("crane").await, "the other's stays");
}

/// After three turns of the agent `helper`, each of which is a task: a run is another one, and a request with an adapter none.
pub async fn tasks_agents_and_adapters_are_summed(gateway: &Gateway) {
    let client = gateway.client();
    let run = tasks::create(&client, &tasks::ask("hello")).await;
    let run = run["id"].as_str().unwrap();
    tasks::ended(&client, run).await;
    gateway.node("attic", &[LOCAL_MODEL]).await;
    let law = [("x-hybrie-adapter-id".to_owned(), "law".to_owned())];
    gateway.emulator.script(NODE, [Behaviour { headers: law.into(), ..Behaviour::ok() }.always()]);
    let trace = trace_of(&client.post(CHAT, &question(LOCAL_MODEL)).await.unwrap());
    assert_eq!(gateway.settled(&trace).await["adapter"], "law");
    let total = crate::wait::found("all five are booked", async || {
        let usage = gateway.get("/v2/usage?window=24h").await;
        Some(usage["data"][0].clone()).filter(|total| total["requests"] == 5)
    })
    .await;

    let sums = async |group: &str| {
        let rows = gateway.get(&format!("/v2/usage?window=24h&group_by={group}")).await["data"].clone();
        for column in ["requests", "input_tokens", "output_tokens"] {
            let all = rows.as_array().unwrap().iter().map(|row| row[column].as_i64().unwrap());
            assert_eq!(total[column], all.sum::<i64>(), "{column} by {group}: {rows}");
        }
        let counted = rows.as_array().unwrap().iter();
        counted.map(|row| (row[group].clone(), row["requests"].clone())).collect::<Vec<_>>()
    };
    let none = |requests: u64| (Value::Null, json!(requests));
    let (by_agent, by_adapter) = (sums("agent").await, sums("adapter").await);
    assert_eq!(by_agent, [none(2), (json!("helper"), json!(3))]);
    assert_eq!(by_adapter, [none(4), (json!("law"), json!(1))]);
    let by_task = sums("task").await;
    assert!(by_task.len() == 5 && by_task.iter().all(|(_, requests)| *requests == 1), "{by_task:?}");
    assert!(by_task.contains(&(json!(run), json!(1))) && by_task.contains(&none(1)), "{by_task:?}");
    let of_task = format!("task:{run}");
    for (filter, requests) in [(&*of_task, 1), ("agent:helper", 3), ("adapter:law", 1)] {
        let listed = gateway.get(&format!("/v2/requests?filter={filter}")).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), requests, "{filter}: {listed}");
    }
    let of_agent = gateway.get("/v2/usage?group_by=task&filter=agent:helper").await;
    assert_eq!(of_agent["data"].as_array().unwrap().len(), 3, "{of_agent}");
    let speed = gateway.get("/v2/analytics?group_by=agent&filter=agent:helper").await;
    assert!(speed["data"][0]["latency_us"]["p95"].as_u64() > Some(0), "{speed}");
    for query in ["group_by=task,model", "group_by=task&filter=task:x"] {
        let answer = gateway.admin().get(&format!("/v2/usage?{query}")).await.unwrap();
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    let listed = gateway.cli().run(&["usage", "--by", "agent"]).ok();
    assert!(listed.contains("helper"), "{listed}");
}
