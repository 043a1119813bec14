//! How the gateway uses providers' prompt caches: automatically on managed accounts, on request on own
//! credentials.

use harness::{Behaviour, Entry, Flavour, Model};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, posted as ask, question, refused, with};
use crate::gateway::{Gateway, OWN, POOL, POOL_SECOND, config};
use crate::isolation::second_workspace;

pub const CLAUDE: &str = "anthropic/claude-sonnet-4-6";
pub const MESSAGES: &str = "/v1/messages";

/// Instructions that are long enough for the prompt cache.
fn instructions(about: &str) -> String {
    format!("You know everything of {about}. ").repeat(300)
}

/// A conversation of this many questions, with the instructions in the wire format's own place.
pub fn talk(path: &str, model: &str, about: &str, questions: usize) -> Value {
    let turn = |role: &str, number: usize| json!({"role": role, "content": format!("{role} {number} says that the tide comes in.")});
    let mut messages: Vec<_> =
        (0..questions).flat_map(|number| [turn("user", number), turn("assistant", number)]).collect();
    messages.pop();
    if path == MESSAGES {
        return json!({"model": model, "max_tokens": 64, "system": instructions(about), "messages": messages});
    }
    messages.insert(0, json!({"role": "system", "content": instructions(about)}));
    json!({"model": model, "messages": messages})
}

/// Sends one question after the other; returns the record of each.
async fn converse(gateway: &Gateway, path: &str, model: &str, about: &str, questions: usize) -> Vec<Value> {
    let mut booked_all = Vec::new();
    for number in 1..=questions {
        let answer = ask(&gateway.client(), path, &talk(path, model, about, number)).await;
        booked_all.push(gateway.record(&answer).await);
    }
    booked_all
}

async fn claude(gateway: &Gateway, path: &str) {
    let secret = if path == "/v2/accounts" { POOL } else { OWN };
    gateway.at(path, "anthropic", secret, &gateway.emulator.anthropic_url()).await;
}

fn sent(gateway: &Gateway) -> Vec<Entry> {
    gateway.emulator.journal().into_iter().filter(|entry| entry.method == "POST").collect()
}

fn marks(entry: &Entry) -> usize {
    String::from_utf8_lossy(&entry.body).matches("\"cache_control\"").count()
}

/// The request without cache marks, with texts as blocks.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| *name != "cache_control");
            kept.map(|(name, value)| {
                let is_text = (name == "content" || name == "system") && value.is_string();
                let value = bare(value);
                (name.clone(), if is_text { json!([{"type": "text", "text": value}]) } else { value })
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
        }
        Value::Array(list) => list.iter().map(bare).collect(),
        _ => value.clone(),
    }
}

#[tokio::test]
async fn a_managed_conversation_is_read_from_the_cache() {
    for (path, about) in [(MESSAGES, "the sea"), (CHAT, "the moon")] {
        let gateway = Gateway::start().await;
        claude(&gateway, "/v2/accounts").await;
        let record = converse(&gateway, path, CLAUDE, about, 4).await;
        assert_eq!(record[0]["caching"], Value::Null, "nothing came before: {}", record[0]);
        assert!(record[1]["cache_write_tokens"].as_u64().unwrap() > 1_024, "{}", record[1]);
        for request in &record[2..] {
            let cached = request["cached_tokens"].as_u64().unwrap();
            assert!(cached > 1_024, "{request}");
            let caching = &request["caching"];
            assert_eq!(caching["state"], "applied");
            assert_eq!(caching["saved_tokens"], cached);
            assert_eq!(caching["evidence"], "provider_reported");
        }
        let calls = sent(&gateway);
        for (number, call) in calls.iter().enumerate() {
            assert!(marks(call) <= 4 && (marks(call) > 0) == (number > 0), "{number}");
            if path == MESSAGES {
                let mut expected = talk(path, CLAUDE, about, number + 1);
                expected["model"] = json!("claude-sonnet-4-6");
                assert_eq!(bare(&call.json()), bare(&expected));
            }
        }
    }
}

#[tokio::test]
async fn what_is_switched_off_or_done_by_the_client_is_left_alone() {
    let gateway = Gateway::start().await;
    claude(&gateway, "/v2/accounts").await;
    let project = gateway.project();
    let changed = gateway.patch(&project, json!({"caching": {"managed": "off"}})).await;
    assert_eq!(changed["caching"], json!({"managed": "off"}));
    for request in converse(&gateway, MESSAGES, CLAUDE, "the sea", 3).await {
        assert_eq!((&request["caching"], &request["cached_tokens"]), (&Value::Null, &json!(0)), "{request}");
        // It is not looked at either.
        assert_eq!(fall(&request["reuse"])[1..], [0, 0, 0, 0]);
        assert_eq!(request["reuse"]["candidate_evidence"], "unknown");
    }
    gateway.wait_for_usage(3).await;
    let usage = gateway.get("/v2/usage?window=24h").await["data"][0].clone();
    assert_eq!(usage["reuse"]["unseen_requests"], 3, "{usage}");
    assert!(sent(&gateway).iter().all(|call| marks(call) == 0));
    gateway.patch(&project, json!({"caching": {"managed": null}})).await;
    for _ in 0..3 {
        let mut body = talk(MESSAGES, CLAUDE, "the moon", 2);
        body["messages"][0]["content"] =
            json!([{"type": "text", "text": "Hello.", "cache_control": {"type": "ephemeral"}}]);
        let request = gateway.record(&ask(&gateway.client(), MESSAGES, &body).await).await;
        assert_eq!(request["caching"], Value::Null, "{request}");
    }
    assert!(sent(&gateway).iter().skip(3).all(|call| marks(call) == 1));
    let wrong = gateway.patched(&project, json!({"caching": {"byok": "on"}})).await.must_be(400);
    assert!(wrong.text().contains("caching.byok"), "{}", wrong.text());
}

#[tokio::test]
async fn on_own_credentials_it_is_suggested_until_it_is_switched_on() {
    let gateway = Gateway::start().await;
    claude(&gateway, "/v2/provider-credentials").await;
    let suggested = converse(&gateway, MESSAGES, CLAUDE, "the sea", 3).await;
    for (number, call) in sent(&gateway).iter().enumerate() {
        let expected = talk(MESSAGES, CLAUDE, "the sea", number + 1).to_string();
        assert_eq!(String::from_utf8_lossy(&call.body), expected.replace(CLAUDE, "claude-sonnet-4-6"));
    }
    let last = &suggested[2]["caching"];
    assert_eq!((&last["state"], &last["evidence"]), (&json!("suggested"), &json!("router_inferred")));
    assert!(last["saved_tokens"].as_u64().unwrap() > 1_024 && last["breakpoints"] == 3, "{last}");
    assert_eq!(suggested[2]["cached_tokens"], 0);
    let workspace = format!("/v2/workspaces/{}", gateway.founded.workspace_id);
    gateway.patch(&workspace, json!({"caching": {"byok": "apply"}})).await;
    let applied = converse(&gateway, MESSAGES, CLAUDE, "the sea", 4).await;
    assert_eq!(applied[3]["caching"]["state"], "applied");
    assert!(applied[3]["cached_tokens"].as_u64().unwrap() > 1_024, "{}", applied[3]);
    let workspace = &gateway.founded.workspace_id;
    let output = gateway.cli().run(&["workspace", "set", workspace, "--cache-byok", "inherit", "--json"]);
    assert_eq!(output.json()["caching"], json!({}));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn workspaces_have_keys_and_memories_of_their_own() {
    let gateway = Gateway::start().await;
    claude(&gateway, "/v2/accounts").await;
    gateway.account("openai", POOL).await;
    let other = gateway.with_key(&second_workspace(&gateway).await.api_key);
    let key_of = |call: &Entry| call.json()["prompt_cache_key"].as_str().unwrap_or_default().to_owned();
    for questions in [1, 2] {
        for client in [&gateway.client(), &other] {
            ask(client, CHAT, &talk(CHAT, MINI, "the sea", questions)).await;
        }
    }
    let keys: Vec<_> = sent(&gateway).iter().map(key_of).collect();
    assert!(keys[0].starts_with("tgc_") && keys[0].len() == 36, "{keys:?}");
    assert_eq!((&keys[0], &keys[1]), (&keys[2], &keys[3]), "of one beginning");
    assert_ne!(keys[0], keys[1]);
    let mut own = talk(CHAT, MINI, "the sea", 1);
    own["prompt_cache_key"] = json!("mine");
    ask(&gateway.client(), CHAT, &own).await;
    assert_eq!(key_of(&sent(&gateway)[4]), "mine");
    // The requests of a session have its key, whatever they begin with; another workspace's session has another.
    let mut of_sessions = Vec::new();
    for client in [gateway.client(), other.clone(), gateway.client()] {
        let session = client.post("/v2/sessions", &json!({})).await.unwrap().json();
        let client = client.header("agent-session-ref", session["id"].as_str().unwrap());
        let before = sent(&gateway).len();
        for about in ["the sea", "the moon"] {
            ask(&client, CHAT, &talk(CHAT, MINI, about, 1)).await;
        }
        let keys: Vec<_> = sent(&gateway).iter().skip(before).map(key_of).collect();
        assert_eq!(keys[0], keys[1], "of one session");
        assert!(keys[0].starts_with("tgc_") && keys[0].len() == 36, "{keys:?}");
        assert!(!of_sessions.contains(&keys[0]));
        of_sessions.push(keys[0].clone());
        ask(&client, CHAT, &own).await;
        assert_eq!(sent(&gateway).last().map(key_of).as_deref(), Some("mine"));
    }
    let before = sent(&gateway).len();
    // A prompt that one workspace sent twice is new for the other.
    for client in [&gateway.client(), &gateway.client(), &other] {
        ask(client, MESSAGES, &talk(MESSAGES, CLAUDE, "the moon", 1)).await;
    }
    let marked: Vec<_> = sent(&gateway).iter().skip(before).map(marks).collect();
    assert_eq!(marked, [0, 2, 0]);
}

/// Case 21: a tenant can't learn from the cost of a prompt whether another tenant sent it before.
#[cfg(feature = "broker")]
#[tokio::test]
async fn what_one_workspace_sent_is_in_no_cache_of_another() {
    let gateway = Gateway::start().await;
    claude(&gateway, "/v2/accounts").await;
    gateway.account("openai", POOL).await;
    let mut marked = talk(MESSAGES, CLAUDE, "the sea", 1);
    let text = instructions("the sea");
    marked["system"] = json!([{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]);
    ask(&gateway.client(), MESSAGES, &marked).await;
    assert_eq!(sent(&gateway)[0].json()["system"], marked["system"], "nobody shares the account yet");
    let other = gateway.with_key(&second_workspace(&gateway).await.api_key);
    let mut cached = Vec::new();
    for client in [&gateway.client(), &gateway.client(), &other, &other] {
        let answer = ask(client, MESSAGES, &marked).await.json();
        cached.push(answer["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 1_024);
    }
    assert_eq!(cached, [false, true, false, true], "each reads what it wrote itself");
    let of = |number: usize| sent(&gateway)[number].json();
    assert_eq!(of(1)["system"][1], marked["system"][0], "what the client said stays as it is");
    // The same holds for translated requests, and for other wire formats.
    for (path, model, name) in [(CHAT, CLAUDE, "/system/0/text"), (CHAT, MINI, "/messages/0/content")] {
        let before = sent(&gateway).len();
        for client in [&gateway.client(), &other] {
            ask(client, path, &talk(path, model, "the moon", 1)).await;
        }
        let [one, two] = [before, before + 1].map(|number| {
            let body = of(number);
            let prompt = body.pointer(name).or(body.get("system")).unwrap_or_else(|| panic!("{body}"));
            prompt.as_str().unwrap().lines().next().unwrap().to_owned()
        });
        assert!(one.starts_with("[cache ") && two.starts_with("[cache ") && one != two, "{one} {two}");
    }
    let body = json!({"model": MINI, "input": text, "prompt_cache_key": "ours"});
    let before = sent(&gateway).len();
    for client in [&gateway.client(), &gateway.client(), &other] {
        ask(client, "/v1/responses", &body).await;
    }
    let keys = [0, 1, 2].map(|number| of(before + number)["prompt_cache_key"].as_str().unwrap().to_owned());
    assert!(keys[0] == keys[1] && keys[0] != keys[2] && !keys.contains(&"ours".to_owned()), "{keys:?}");
}

/// Case 21: no cache on the way may store answers, and a pool tenant can't choose the tenants with which a
/// server shares its cache.
#[cfg(feature = "broker")]
#[tokio::test]
async fn nobody_keeps_answers_or_names_whose_memory_is_shared() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let client = gateway.client();
    let stranger = gateway.with_key("tg_live_nobody");
    let streamed = with(question(MINI), json!({"stream": true}));
    let salted = with(question(MINI), json!({"cache_salt": "of another"}));
    let answers = [
        (200, client.post(CHAT, &question(MINI)).await.unwrap()),
        (200, client.post(CHAT, &streamed).await.unwrap()),
        (200, client.get("/v1/models").await.unwrap()),
        (400, client.post(CHAT, &salted).await.unwrap()),
        (404, client.post(CHAT, &question("nobody/nothing")).await.unwrap()),
        (404, client.get("/v1/nonsense").await.unwrap()),
        (401, stranger.post(CHAT, &question(MINI)).await.unwrap()),
    ];
    for (status, answer) in &answers {
        assert_eq!(answer.status, *status, "{}", answer.text());
        // With nothing stored, caches don't need to distinguish callers.
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    }
    assert_eq!(refused(&answers[3].1, 400, "unknown_field")["param"], "cache_salt");
    assert_eq!(sent(&gateway).len(), 2);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn conversations_are_named_where_a_header_does() {
    let grok = "grok-4.20-0309-non-reasoning";
    let deepseek = "accounts/fireworks/models/deepseek-v3p2";
    for (provider, flavour, model, name) in [
        ("xai", Flavour::Xai, "xai/grok-4.20-0309-non-reasoning", "x-grok-conv-id"),
        ("fireworks_ai", Flavour::Fireworks, "deepseek-ai/DeepSeek-V3.2", "x-session-affinity"),
    ] {
        let config = config().model(Model::chat(grok)).model(Model::chat(deepseek));
        let gateway = Gateway::with(config, &[]).await;
        gateway.at("/v2/accounts", provider, POOL, &gateway.emulator.base_url_of(flavour)).await;
        for (about, questions) in [("the sea", 1), ("the sea", 2), ("the moon", 1)] {
            ask(&gateway.client(), CHAT, &talk(CHAT, model, about, questions)).await;
        }
        let calls = sent(&gateway);
        let names: Vec<_> = calls.iter().map(|call| call.header(name).unwrap_or_default()).collect();
        assert!(names[0].starts_with("tgc_"), "{provider}: {names:?}");
        assert_eq!(names[0], names[1]);
        assert_ne!(names[0], names[2]);
        let headers = [(name, "mine"), ("content-type", "application/json")];
        let body = talk(CHAT, model, "the sea", 3).to_string();
        let client = gateway.client();
        let answer = client.call(http::Method::POST, CHAT, &headers, body).await.unwrap().must_be(200);
        let calls = sent(&gateway);
        let own: Vec<_> = calls[3].headers.iter().filter(|(known, _)| known == name).collect();
        assert_eq!(own.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["mine"]);
        assert_eq!(gateway.record(&answer).await["caching"], Value::Null);
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn prompts_of_one_beginning_go_to_one_account_while_it_may_be_asked() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.account("openai", POOL_SECOND).await;
    for about in ('a'..='l').map(String::from) {
        for questions in [1, 2] {
            ask(&gateway.client(), CHAT, &talk(CHAT, MINI, &about, questions)).await;
        }
    }
    let calls = sent(&gateway);
    let keys: Vec<_> = calls.iter().map(|call| call.key.clone().unwrap_or_default()).collect();
    for pair in keys.chunks(2) {
        assert_eq!(pair[0], pair[1], "{keys:?}");
    }
    let [first, second] = [POOL, POOL_SECOND].map(|key| keys.iter().filter(|known| *known == key).count());
    assert!(first > 0 && second > 0, "all went to one account: {first} and {second}");
    let own = keys[0].clone();
    let other = if own == POOL { POOL_SECOND } else { POOL };
    gateway.emulator.script(&own, [Behaviour::rate_limited(30).always()]);
    ask(&gateway.client(), CHAT, &talk(CHAT, MINI, "a", 3)).await;
    assert_eq!(sent(&gateway).pop().unwrap().key.as_deref(), Some(other));
}

/// The counts of a request's or a sum's waterfall, each part of the one before it.
fn fall(reuse: &Value) -> [i64; 5] {
    let names = [
        "input_tokens",
        "eligible_reuse_tokens",
        "candidate_reuse_tokens",
        "realized_reused_tokens",
        "missed_opportunity_tokens",
    ];
    let counts = names.map(|name| reuse[name].as_i64().unwrap_or_else(|| panic!("{name}: {reuse}")));
    assert!(counts[..4].is_sorted_by(|more, less| more >= less), "{reuse}");
    assert_eq!(counts[4], counts[2] - counts[3], "{reuse}");
    counts
}

/// Gross, credit, processed and the rest of the bill.
fn money(reuse: &Value) -> [i64; 4] {
    let names = ["gross_input_nanos", "reuse_credit_nanos", "processed_input_nanos", "other_nanos"];
    let nanos = names.map(|name| reuse[name].as_i64().unwrap_or_else(|| panic!("{name}: {reuse}")));
    assert_eq!(nanos[0] - nanos[1], nanos[2], "{reuse}");
    nanos
}

fn plus<const N: usize>(sum: [i64; N], more: [i64; N]) -> [i64; N] {
    std::array::from_fn(|index| sum[index] + more[index])
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn the_waterfall_adds_up_to_the_providers_numbers_and_to_the_bill() {
    let gateway = Gateway::start().await;
    claude(&gateway, "/v2/accounts").await;
    gateway.credential("openai", OWN).await;
    let mut records = converse(&gateway, MESSAGES, CLAUDE, "the sea", 4).await;
    records.extend(converse(&gateway, CHAT, MINI, "the moon", 4).await);
    let flex = with(talk(CHAT, MINI, "the moon", 4), json!({"service_tier": "flex"}));
    records.push(gateway.record(&ask(&gateway.client(), CHAT, &flex).await).await);
    records.push(gateway.record(&ask(&gateway.client(), CHAT, &question(MINI)).await).await);
    let (mut tokens, mut nanos, mut bill) = ([0; 5], [0; 4], 0);
    for record in &records {
        let reuse = &record["reuse"];
        let (counts, paid) = (fall(reuse), money(reuse));
        assert_eq!(record["input_tokens"], counts[0]);
        assert_eq!(record["cached_tokens"], counts[3]);
        assert_eq!(reuse["evidence"], "provider_reported");
        let lines = record["attempts"][0]["receipt"].as_array().unwrap();
        let of_prompt =
            lines.iter().filter(|line| !["output", "reasoning"].contains(&line["class"].as_str().unwrap()));
        assert_eq!(paid[2], of_prompt.map(|line| line["nanos"].as_i64().unwrap()).sum::<i64>(), "{record}");
        assert_eq!(paid[2] + paid[3], record["provider_cost_nanos"].as_i64().unwrap(), "{record}");
        (tokens, nanos) = (plus(tokens, counts), plus(nanos, paid));
        bill += record["provider_cost_nanos"].as_i64().unwrap();
    }
    // A first prompt came from nowhere; the second writes what the third reads.
    let of = |number: usize, field: &str| records[number]["reuse"][field].as_i64().unwrap();
    assert_eq!((of(0, "candidate_reuse_tokens"), of(0, "realized_reused_tokens")), (0, 0));
    assert!(of(1, "missed_opportunity_tokens") > 1_024 && of(1, "reuse_credit_nanos") < 0, "{}", records[1]);
    assert_eq!(of(1, "write_premium_nanos"), -of(1, "reuse_credit_nanos"));
    assert!(of(2, "realized_reused_tokens") > 1_024 && of(2, "reuse_credit_nanos") > 0, "{}", records[2]);
    assert_eq!(records[2]["reuse"]["cache_tier"], "provider");
    let short = &records[records.len() - 1]["reuse"];
    assert_eq!(short["candidate_evidence"], "unknown");
    assert_eq!(short["eligible_reuse_tokens"], 0);
    gateway.wait_for_usage(records.len() as u64).await;
    let usage = gateway.get("/v2/usage?window=24h").await["data"][0].clone();
    let reuse = &usage["reuse"];
    assert_eq!((fall(reuse), money(reuse)), (tokens, nanos), "{usage}");
    assert_eq!(reuse["evidence"], "provider_reported");
    assert_eq!(reuse["evidence_requests"]["provider_reported"], records.len());
    assert_eq!(nanos[2] + nanos[3], bill);
    assert_eq!(usage["provider_cost_micros"].as_i64().unwrap(), (bill + 500) / 1_000, "{usage}");
    // What the providers counted themselves.
    let cached: i64 = records.iter().map(|record| record["cached_tokens"].as_i64().unwrap()).sum();
    assert_eq!(reuse["realized_reused_tokens"], cached);
    let rows = gateway.get("/v2/usage?window=24h&group_by=model").await;
    let rows = rows["data"].as_array().unwrap().iter();
    let by_model = rows.map(|row| (fall(&row["reuse"]), money(&row["reuse"])));
    let summed = by_model.fold(([0; 5], [0; 4]), |sum, row| (plus(sum.0, row.0), plus(sum.1, row.1)));
    assert_eq!(summed, (tokens, nanos));
    let table = gateway.cli().run(&["usage", "--reuse", "--window", "24h"]).ok();
    assert!(table.contains("candidate reuse tokens") && table.contains(&tokens[2].to_string()), "{table}");
    let shown = gateway.cli().run(&["request", records[2]["id"].as_str().unwrap()]).ok();
    assert!(shown.contains("reuse     input"), "{shown}");
}
