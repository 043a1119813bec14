//! Prefixes that the gateway keeps in their provider's cache: where prefixes are known to come back, for whom, and what
//! it costs. Their lifetime is a few seconds here, which the operator states of the provider.

use std::time::Duration;

use harness::client::Client;
use harness::{At, Behaviour, Entry};
use serde_json::{Value, json};

use crate::ask::{CHAT, posted as ask, with};
use crate::caching::{self, CLAUDE, MESSAGES};
use crate::gateway::{Gateway, OWN, POOL, config, id_of, nanos};
use crate::isolation::second_workspace;
use crate::wait::{a_silence, until};

/// How long the provider keeps a prefix after a read, and after how long the gateway has it read again.
pub const LIFETIME: Duration = Duration::from_secs(4);
const PERIOD: Duration = Duration::from_secs(3);
/// As many conversations as must be watched before anything is known.
const SAMPLES: usize = 8;

/// A conversation of this many questions, with instructions that are long enough for the cache.
fn talk(about: &str, questions: usize) -> Value {
    caching::talk(MESSAGES, CLAUDE, about, questions)
}

/// Two turns: the first is new, and the second writes it into the cache.
pub async fn begin(client: &Client, about: &str) {
    for questions in 1..=2 {
        ask(client, MESSAGES, &talk(about, questions)).await;
    }
}

/// A gateway whose provider forgets what is not read for four seconds.
async fn gateway() -> Gateway {
    let gateway = Gateway::with(config().claude_cache_lifetime(LIFETIME), &[]).await;
    state_lifetime(&gateway, LIFETIME).await;
    gateway
}

pub async fn state_lifetime(gateway: &Gateway, lifetime: Duration) {
    let stated = json!({"facts": {"prompt_cache_default_ttl_seconds": {"value": lifetime.as_secs()}}});
    gateway.patch("/v2/capabilities/anthropic", stated).await;
}

async fn claude(gateway: &Gateway, path: &str, secret: &str) -> String {
    let url = gateway.emulator.anthropic_url();
    let body = json!({"provider": "anthropic", "secret": secret, "retention": "zero", "base_url": url});
    id_of(&gateway.make(path, body).await)
}

/// With an account, whose prefixes the project keeps, and a client.
async fn keeping(gateway: Gateway) -> (Gateway, Client) {
    claude(&gateway, "/v2/accounts", POOL).await;
    gateway.patch(&gateway.project(), json!({"caching": {"keep_alive": true}})).await;
    gateway.and_client()
}

fn all_refreshes(gateway: &Gateway, key: &str) -> Vec<Entry> {
    gateway.calls(key).into_iter().filter(|call| call.json()["max_tokens"] == 1).collect()
}

/// What a conversation is about, by its instructions.
fn topic(call: &Entry) -> String {
    let instructions = call.json()["system"].to_string();
    let (_, rest) = instructions.split_once("You know everything of ").unwrap();
    rest.split_once(". You").unwrap().0.to_owned()
}

fn refreshes(gateway: &Gateway, key: &str, about: &str) -> Vec<Entry> {
    all_refreshes(gateway, key).into_iter().filter(|call| topic(call) == about).collect()
}

fn asked(gateway: &Gateway, key: &str) -> Vec<Entry> {
    gateway.calls(key).into_iter().filter(|call| call.json()["max_tokens"] != 1).collect()
}

/// The gateway's own requests in the books.
async fn own_requests(gateway: &Gateway, count: usize) -> Vec<Value> {
    gateway.records(count, |row| row["key_id"].is_null()).await
}

/// Lets the gateway see that conversations come back: each after a silence of so many periods.
pub async fn teach(client: &Client, name: &str, periods: u32) {
    for number in 0..SAMPLES {
        begin(client, &format!("{name} {number}")).await;
    }
    a_silence(periods * PERIOD).await;
    for number in 0..SAMPLES {
        ask(client, MESSAGES, &talk(&format!("{name} {number}"), 3)).await;
    }
}

/// By the catalogue, the model costs 3 USD for a million tokens, 0.30 for cached ones and 15 for output: one return in nine
/// pays for refreshes of all.
#[tokio::test]
async fn a_prefix_is_refreshed_while_its_kind_is_known_to_come_back() {
    let (gateway, client) = keeping(gateway().await).await;
    // Two periods after the last turn, a conversation comes back; what is known of it holds for both.
    teach(&client, "teaching", 2).await;
    assert!(all_refreshes(&gateway, POOL).is_empty(), "nothing was paid to learn this");
    teach(&client, "learning", 1).await;
    let forgetting = gateway.other_project().await;
    begin(&forgetting, "the moon").await;
    begin(&client, "the sea").await;
    let written = asked(&gateway, POOL).pop().unwrap();
    until("two refreshes in a row", async || refreshes(&gateway, POOL, "the sea").len() == 2).await;
    // What was read again is what was sent before, up to its last mark, and to the letter.
    let sent = refreshes(&gateway, POOL, "the sea").pop().unwrap();
    let (before, again) = (written.json(), sent.json());
    assert!(again["system"] == before["system"] && again["model"] == before["model"]);
    assert_eq!(again["messages"], json!([before["messages"][0]]));
    assert!(again["messages"][0]["content"][0]["cache_control"].is_object(), "{again}");
    assert_eq!(sent.cached_tokens, sent.prompt_tokens, "all of it came from the cache");
    // It is longer ago than the provider keeps anything that nobody reads.
    let lost = gateway.record(&ask(&forgetting, MESSAGES, &talk("the moon", 3)).await).await;
    assert_eq!(nanos(&lost, "cached_tokens"), 0, "{lost}");
    let record = gateway.record(&ask(&client, MESSAGES, &talk("the sea", 3)).await).await;
    assert!(nanos(&record, "cached_tokens") > 1_024, "{record}");
    assert_eq!((&record["caching"]["refreshes"], &record["made_for"]), (&json!(2), &Value::Null), "{record}");
    // Each call at the provider is in the books once, by itself, at the price of a read and a token.
    let sent = all_refreshes(&gateway, POOL).len();
    let own = own_requests(&gateway, sent).await;
    assert_eq!(own.len(), sent);
    for own in &own {
        let made_for = &own["made_for"];
        assert_eq!(made_for["purpose"], "cache_keep_alive", "{own}");
        assert_eq!(own["outcome"], "completed", "{own}");
        assert_eq!(own["project_id"], gateway.founded.project_id, "{own}");
        assert_eq!(own["output_tokens"], 1, "{own}");
        let parent = gateway.get(&format!("/v2/requests/{}", made_for["request_id"].as_str().unwrap())).await;
        assert_eq!(parent["project_id"], own["project_id"], "{parent}");
        assert_eq!(nanos(own, "provider_cost_nanos"), nanos(own, "cached_tokens") * 300 + 15_000, "{own}");
        assert_eq!(nanos(own, "cost_nanos"), nanos(own, "provider_cost_nanos"), "a project owes it");
    }
    let shown = gateway.cli().run(&["request", record["id"].as_str().unwrap()]).ok();
    assert!(shown.contains("refreshes 2"), "{shown}");
    let shown = gateway.cli().run(&["request", own[0]["id"].as_str().unwrap()]).ok();
    assert!(shown.contains("made for  cache_keep_alive of "), "{shown}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn another_dialect_and_an_own_credential_keep_their_prefixes_too() {
    let gateway = gateway().await;
    claude(&gateway, "/v2/provider-credentials", OWN).await;
    let on = json!({"caching": {"keep_alive": true, "byok": "apply"}});
    gateway.patch(&format!("/v2/workspaces/{}", gateway.founded.workspace_id), on).await;
    let client = gateway.client();
    teach(&client, "teaching", 1).await;
    // Translated, streamed, and with tools, whose marks stand elsewhere.
    let parameters = json!({"type": "object", "properties": {"port": {"type": "string"}}});
    let tool = json!({"type": "function", "function": {"name": "tide", "parameters": parameters}});
    let more = json!({"stream": true, "tools": [tool]});
    for questions in 1..=2 {
        ask(&client, CHAT, &with(caching::talk(CHAT, CLAUDE, "the sea", questions), more.clone())).await;
    }
    let written = asked(&gateway, OWN).pop().unwrap().json();
    until("a refresh", async || !refreshes(&gateway, OWN, "the sea").is_empty()).await;
    let sent = refreshes(&gateway, OWN, "the sea").pop().unwrap();
    let again = sent.json();
    assert!(again["tools"] == written["tools"] && again["system"] == written["system"]);
    assert_eq!((&again["messages"], again.get("stream")), (&json!([written["messages"][0]]), None));
    assert!(sent.cached_tokens > 1_024 && sent.cached_tokens == sent.prompt_tokens);
    let answer = ask(&client, CHAT, &with(caching::talk(CHAT, CLAUDE, "the sea", 3), more)).await;
    let record = gateway.record(&answer).await;
    assert!(nanos(&record, "cached_tokens") > 1_024, "{record}");
    assert_eq!(record["profile"], "byok", "{record}");
    assert_eq!(record["caching"]["refreshes"], 1, "{record}");
    assert_eq!(own_requests(&gateway, 1).await[0]["profile"], "byok");
    assert_eq!(gateway.emulator.violations(), []);
}

/// One conversation after the other that is not to be refreshed, and at last one that is: it began after all of them.
#[cfg(feature = "broker")]
#[tokio::test]
async fn nothing_is_refreshed_that_may_not_be_or_that_nobody_asked_for() {
    let gateway = gateway().await;
    claude(&gateway, "/v2/accounts", POOL).await;
    let tenant = second_workspace(&gateway).await;
    let tenant_path = format!("/v2/workspaces/{}", tenant.workspace_id);
    for path in [gateway.project(), tenant_path] {
        gateway.patch(&path, json!({"caching": {"keep_alive": true}})).await;
    }
    let client = gateway.client();
    teach(&client, "teaching", 1).await;
    let twice = async |client: &Client, about: &str, more: Value| {
        for questions in 1..=2 {
            ask(client, MESSAGES, &with(talk(about, questions), more.clone())).await;
        }
    };
    begin(&gateway.with_key(&tenant.api_key), "what another workspace knows").await;
    begin(&client.clone().header("cache-control", "max-age=0, no-store"), "what may not stay").await;
    let thinking = json!({"max_tokens": 2_000, "thinking": {"type": "enabled", "budget_tokens": 1_024}});
    twice(&client, "what is thought about", thinking).await;
    let text = "You know everything of what is marked. ".repeat(300);
    let marked = json!({"system": [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]});
    twice(&client, "what the client marks", marked).await;
    for off in [json!({"keep_alive": false}), json!({"managed": "suggest"}), json!({"managed": "off"})] {
        let before = json!({"keep_alive": true, "managed": null});
        gateway.patch(&gateway.project(), json!({"caching": with(before.clone(), off)})).await;
        begin(&client, "what is switched off").await;
        gateway.patch(&gateway.project(), json!({"caching": before})).await;
    }
    for policy in [
        json!({"retention": "zero"}),
        json!({"checks": [{"detect": "email", "action": "mask", "direction": "input"}]}),
    ] {
        let about = policy.to_string();
        let policy = gateway.policy(policy).await;
        begin(&client, &about).await;
        gateway.remove(&policy).await;
    }
    begin(&client, "the sea").await;
    until("a refresh", async || !refreshes(&gateway, POOL, "the sea").is_empty()).await;
    // What is switched off is left to expire, though it was watched.
    begin(&client, "the dunes").await;
    gateway.patch(&gateway.project(), json!({"caching": {"keep_alive": null}})).await;
    a_silence(PERIOD + PERIOD / 2).await;
    let about: Vec<_> = all_refreshes(&gateway, POOL).iter().map(topic).collect();
    assert!(about.iter().all(|about| about == "the sea" || about.starts_with("teaching ")), "{about:?}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_provider_that_forgets_sooner_is_not_paid_for_writes() {
    let gateway = Gateway::with(config().claude_cache_lifetime(PERIOD / 3), &[]).await;
    state_lifetime(&gateway, LIFETIME).await;
    let (gateway, client) = keeping(gateway).await;
    teach(&client, "teaching", 1).await;
    let own = &own_requests(&gateway, 1).await[0];
    assert_eq!(nanos(own, "cached_tokens"), 0, "{own}");
    begin(&client, "the sea").await;
    a_silence(PERIOD + PERIOD / 2).await;
    let again = refreshes(&gateway, POOL, "the sea");
    assert!(again.is_empty(), "a write in the place of a read is paid for once");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_refresh_that_is_refused_or_cut_by_a_kill_is_in_the_books_once() {
    let (mut gateway, client) = keeping(gateway().await).await;
    teach(&client, "teaching", 1).await;
    begin(&client, "the sea").await;
    // A budget that is used up before the refreshes are due.
    let budget = json!({"project_id": gateway.founded.project_id, "limit_micros": 1, "period": "month"});
    let id = id_of(&gateway.make("/v2/budgets", budget).await);
    for refused in own_requests(&gateway, 2).await {
        assert_eq!(refused["error_code"], "quota_exceeded", "{refused}");
        assert_eq!(nanos(&refused, "cost_nanos"), 0, "{refused}");
    }
    a_silence(PERIOD / 2).await;
    assert!(all_refreshes(&gateway, POOL).is_empty());
    gateway.remove(&format!("/v2/budgets/{id}")).await;
    let refused = own_requests(&gateway, 2).await.len();
    begin(&client, "the moon").await;
    gateway.emulator.script(POOL, [Behaviour::ok().stall(At::Event(0))]);
    until("a refresh at the provider", async || refreshes(&gateway, POOL, "the moon").len() == 1).await;
    gateway.crash().await;
    let own = own_requests(&gateway, refused + 1).await;
    assert_eq!(own.len(), refused + 1);
    let interrupted = own.iter().filter(|record| record["outcome"] == "interrupted").count();
    assert_eq!(interrupted, 1, "{own:?}");
    // What the process knew is gone with it.
    let client = gateway.client();
    begin(&client, "the dunes").await;
    a_silence(PERIOD + PERIOD / 2).await;
    assert_eq!(all_refreshes(&gateway, POOL).len(), 1);
}
