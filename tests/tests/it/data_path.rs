//! Data paths: who saw a request, what of it, where, under whose key, and how long they retain it, for one request and for many.

use harness::Behaviour;
use harness::client::{Answer, Client};
use serde_json::{Value, json};

use crate::ask::{CHAT, LLAMA, MINI, has, problem, question, trace_of, until_status};
use crate::gateway::{Gateway, NODE, OWN, OWN_SECOND, POOL, config, id_of, row};
use crate::hooks::{Reply, Server};
use crate::wait::until;

const PATH: &str = "/v2/data-path";
/// Its provider is one of those of which the manifest has no verified retention.
const CLAUDE: &str = "anthropic/claude-sonnet-4-6";

/// The data path of a request, as its workspace sees it.
async fn path_of(client: &Client, answer: &Answer) -> Vec<Value> {
    settled(client, &trace_of(answer)).await["data_path"].as_array().unwrap().clone()
}

async fn settled(client: &Client, trace: &str) -> Value {
    let path = format!("/v2/requests/{trace}");
    until("the request to be in the books", async || client.get(&path).await.unwrap().status == 200).await;
    client.get(&path).await.unwrap().json()
}

async fn own_path(gateway: &Gateway, answer: &Answer) -> Vec<Value> {
    path_of(&gateway.admin(), answer).await
}

/// What an operator states of the retention of a provider.
fn thirty_days() -> Value {
    json!({"facts": {"data_retention_days_max": {"value": 30}}})
}

/// Role, party and what was seen.
fn outline(path: &[Value]) -> Vec<[&str; 3]> {
    path.iter()
        .map(|party| ["role", "party", "saw"].map(|name| party[name].as_str().unwrap_or("-")))
        .collect()
}

fn at<'a>(path: &'a [Value], role: &str) -> &'a Value {
    path.iter().find(|party| party["role"] == role).unwrap_or_else(|| panic!("no {role}: {path:?}"))
}

fn storage<'a>(path: &'a [Value], purpose: &str) -> &'a Value {
    let found = path.iter().find(|party| party["purpose"] == purpose);
    found.unwrap_or_else(|| panic!("no {purpose}: {path:?}"))
}

/// The line of a party among many requests.
fn line<'a>(data_path: &'a Value, party: &str) -> &'a Value {
    row(&data_path["data"], "party", party)
}

#[tokio::test]
async fn a_provider_retains_as_agreed_else_as_it_publishes_else_nobody_knows() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    let path = own_path(&gateway, &answer).await;
    let expected = [
        ["gateway", "tidegate", "content"],
        ["provider", "openai", "content"],
        ["storage", "tidegate", "metadata"],
    ];
    assert_eq!(outline(&path), expected, "{path:?}");
    let provider = at(&path, "provider");
    let host = gateway.emulator.origin().replace("http://", "");
    // What OpenAI publishes says nothing of a server at another address, and nobody stated a region.
    let nothing = json!({"until": null, "days": null, "basis": "unknown", "source": null});
    let known = json!({"key": credential, "place": null, "attempt": 1, "host": host, "retention": nothing});
    has(provider, known);
    // The operator knows where requests go, and what is stated of the provider counts there, too.
    gateway.patch("/v2/capabilities/openai", thirty_days()).await;
    let path = own_path(&gateway, &answer).await;
    let retention = &at(&path, "provider")["retention"];
    assert_eq!((&retention["basis"], &retention["days"]), (&json!("published"), &json!(30)), "{retention}");
    assert!(retention["source"].as_str().unwrap().starts_with("operator"), "it names who: {retention}");
    assert!(retention["until"].is_string(), "{retention}");
    // What is agreed is said in its place, by whoever agreed.
    let one = format!("/v2/provider-credentials/{credential}");
    gateway.patch(&one, json!({"retention": "zero", "region": "eu-central-1"})).await;
    let path = own_path(&gateway, &gateway.chat_ok(&question(MINI)).await).await;
    let provider = at(&path, "provider");
    assert_eq!(provider["place"], "eu-central-1");
    let source = format!("the agreement of {credential}");
    has(&provider["retention"], json!({"basis": "agreed", "days": 0, "source": source}));
    // Of some nobody verified anything.
    gateway.credential_with("anthropic", OWN, json!({"base_url": gateway.emulator.anthropic_url()})).await;
    let path = own_path(&gateway, &gateway.chat_ok(&question(CLAUDE)).await).await;
    assert_eq!(at(&path, "provider")["retention"], nothing, "{path:?}");
    // The record holds no content; here it is kept for ever.
    let records = storage(&path, "records");
    assert_eq!((&records["saw"], &records["retention"]["basis"]), (&json!("metadata"), &json!("ours")));
    assert_eq!(records["retention"]["until"], Value::Null, "{records}");
}

#[tokio::test]
async fn whoever_was_tried_is_listed_and_the_operators_account_has_no_name() {
    let gateway = Gateway::start().await;
    let account = gateway.account("nebius", POOL).await;
    let second = gateway.account_with("together", OWN_SECOND, json!({})).await;
    gateway.patch(&format!("/v2/accounts/{second}"), json!({"retention": {"days": 3}})).await;
    let others = gateway.workspace("the others").await;
    let (client, admin) = (gateway.with_key(&others.api_key), gateway.with_key(&others.admin_key));
    let route = json!({"scope": {"model": LLAMA}, "providers": ["nebius", "together_ai"]});
    admin.post("/v2/routes", &route).await.unwrap().must_be(201);
    gateway.emulator.script(POOL, [Behaviour::out_of_quota().always()]);
    let answer = client.post(CHAT, &question(LLAMA)).await.unwrap();
    let seen = (answer.status, answer.header("agent-resolved-provider"));
    assert_eq!(seen, (200, Some("together_ai")), "{}", answer.text());
    let path = path_of(&admin, &answer).await;
    let tried: Vec<_> = path.iter().filter(|party| party["role"] == "provider").collect();
    let parties = tried.iter().map(|party| ["party", "saw", "key"].map(|name| party[name].clone()));
    let parties: Vec<_> = parties.collect();
    let expected = ["nebius", "together_ai"].map(|name| [name, "content", "managed"]);
    assert_eq!(parties, expected, "who failed saw it, too");
    has(&tried[1]["retention"], json!({"basis": "agreed", "source": "the operator's agreement"}));
    // Where the operator's accounts are called is the operator's to know.
    assert_eq!(tried[1]["host"], Value::Null);
    // Nothing of the answer names an account, in whatever form.
    for of in [format!("/v2/requests/{}", trace_of(&answer)), PATH.to_owned(), format!("{PATH}?format=csv")] {
        let text = admin.get(&of).await.unwrap().text();
        let is_named = [&account, &second].iter().any(|account| text.contains(*account));
        assert!(text.contains("together_ai") && !is_named, "{of}: {text}");
    }
    // Neither of the two sees the other's requests.
    has(&gateway.get(PATH).await, json!({"requests": 0, "data": []}));
    gateway.admin().get(&format!("/v2/requests/{}", trace_of(&answer))).await.unwrap().must_be(404);
    let path = own_path(&gateway, &gateway.chat_ok(&question(LLAMA)).await).await;
    let of_second = path.iter().filter(|party| party["key"] == second.as_str()).count();
    assert_eq!(of_second, 1, "the operator sees whose it is: {path:?}");
    assert_eq!(admin.get(PATH).await.unwrap().json()["requests"], 1);
}

#[tokio::test]
async fn a_node_is_where_its_owner_says() {
    let gateway = Gateway::start().await;
    let body = json!({"name": "rack", "base_url": gateway.emulator.base_url(), "secret": NODE, "models": [MINI], "labels": ["region=attic"]});
    let node = id_of(&gateway.make("/v2/byoc/nodes", body).await);
    let answer = gateway.chat_ok(&question(MINI)).await;
    let path = own_path(&gateway, &answer).await;
    let party = at(&path, "node");
    has(party, json!({"party": node, "place": "attic", "key": node}));
    assert_eq!(party["retention"]["basis"], "unknown", "{party}");
    let all = gateway.get(PATH).await;
    let input = all["residency"][0]["input_tokens"].as_u64().unwrap();
    assert!(all["residency"][0]["region"] == "attic" && input > 0, "{all}");
    gateway.remove(&format!("/v2/byoc/nodes/{node}")).await;
    let path = own_path(&gateway, &answer).await;
    assert_eq!(at(&path, "node")["host"], Value::Null, "it is gone, and was there: {path:?}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_hook_saw_what_it_was_sent_whatever_its_policy_says_now() {
    let (facts, text) = (Server::start(Reply::allow()).await, Server::start(Reply::allow()).await);
    let gateway = Gateway::with_own().await;
    let hooks = [facts.hook("pre", json!({})), text.hook("post", json!({"content": true}))];
    let policy = json!({"project_id": gateway.founded.project_id, "hooks": hooks});
    let policy = id_of(&gateway.make("/v2/policies", policy).await);
    let answer = gateway.chat_ok(&question(MINI)).await;
    let host = |server: &Server| server.origin.replace("http://", "");
    let (before, after) = (host(&facts), host(&text));
    let expected = [
        ["gateway", "tidegate", "content"],
        ["hook", &before, "metadata"],
        ["provider", "openai", "content"],
        ["hook", &after, "content"],
        ["storage", "tidegate", "metadata"],
    ];
    assert_eq!(outline(&own_path(&gateway, &answer).await), expected);
    gateway.remove(&format!("/v2/policies/{policy}")).await;
    assert_eq!(outline(&own_path(&gateway, &answer).await), expected, "the record itself has it");
    let all = gateway.get(PATH).await;
    assert_eq!(
        (&line(&all, &after)["purpose"], &line(&all, &after)["requests"]),
        (&json!("hook_after"), &json!(1))
    );
}

#[cfg(feature = "control")]
#[tokio::test]
async fn what_is_kept_here_is_told_with_its_end_and_a_cached_answer_has_no_provider() {
    let gateway = Gateway::with_own().await;
    gateway.cache_answers().await;
    let first = gateway.chat_ok(&question(MINI)).await;
    let again = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(again.header("agent-cache"), Some("hit"));
    let path = own_path(&gateway, &again).await;
    let expected = [
        ["gateway", "tidegate", "content"],
        ["storage", "tidegate", "content"],
        ["storage", "tidegate", "metadata"],
    ];
    assert_eq!(outline(&path), expected, "{path:?}");
    let path = own_path(&gateway, &first).await;
    assert_eq!(at(&path, "provider")["party"], "openai");
    let cached = storage(&path, "response_cache");
    assert!(cached["retention"]["until"].is_string() && cached["retention"]["basis"] == "ours", "{cached}");
    // Under an idempotency key, sealed with the workspace's own.
    let plain = gateway.make("/v2/projects", json!({"name": "plain"})).await;
    let (key, _) = gateway.key(json!({"name": "k", "project_id": plain["id"]})).await;
    let keyed = gateway.with_key(&key).header("idempotency-key", "order 1");
    let answer = keyed.post(CHAT, &question(MINI)).await.unwrap();
    let path = own_path(&gateway, &answer).await;
    let kept = storage(&path, "idempotent_answers");
    assert_eq!((&kept["saw"], &kept["key"]), (&json!("content"), &json!("workspace_key")), "{kept}");
    assert!(kept["retention"]["until"].is_string(), "{kept}");
    // What its provider stores is under the credential that it was made with.
    let stored = json!({"model": MINI, "input": "hello", "store": true});
    let stored = gateway.with_key(&key).post("/v1/responses", &stored).await.unwrap().must_be(200);
    let path = own_path(&gateway, &stored).await;
    let response = storage(&path, "response");
    assert_eq!((&response["party"], &response["retention"]["basis"]), (&json!("openai"), &json!("unknown")));
    assert_eq!(response["key"], at(&path, "provider")["key"], "{response}");
    // A purge takes what is ours; who saw it has seen it.
    let purge = gateway.make("/v2/purge-jobs", json!({"request_ids": [trace_of(&answer)]})).await;
    until_status(&gateway.admin(), &format!("/v2/purge-jobs/{}", id_of(&purge)), "completed").await;
    let path = own_path(&gateway, &answer).await;
    let purposes: Vec<_> = path.iter().map(|party| party["purpose"].as_str().unwrap()).collect();
    assert_eq!(purposes, ["serving", "answer", "records"]);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn many_requests_are_summed_by_party_and_region_and_filtered() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    for region in ["eu", "eu", "us"] {
        gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"region": region})).await;
        gateway.chat_ok(&question(MINI)).await;
    }
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "second"})).await);
    let (key, _) = gateway.key(json!({"name": "k", "project_id": project})).await;
    assert_eq!(gateway.with_key(&key).post(CHAT, &question(MINI)).await.unwrap().status, 200);
    gateway.listed(4).await;
    let all = gateway.get(PATH).await;
    assert_eq!((&all["requests"], &all["truncated"]), (&json!(4), &json!(false)), "{all}");
    assert_eq!(line(&all, "tidegate")["requests"], 4, "{all}");
    for (one, region) in ["eu", "us"].into_iter().enumerate() {
        has(&all["residency"][one], json!({"region": region, "requests": 2}));
    }
    assert_eq!(all["residency"].as_array().unwrap().len(), 2, "{all}");
    let lines = all["data"].as_array().unwrap();
    let of_provider = lines.iter().filter(|line| line["party"] == "openai").map(|line| line["place"].clone());
    assert_eq!(of_provider.collect::<Vec<_>>(), ["eu", "us"], "{all}");
    for line in lines {
        assert!(line["first_seen"].as_str() <= line["last_seen"].as_str(), "{line}");
    }
    for (query, expected) in [
        (format!("project_id={project}"), 1),
        ("provider=openai".to_owned(), 4),
        ("provider=anthropic".to_owned(), 0),
        ("filter=region%3Aeu".to_owned(), 2),
        ("since=2020-01-01&until=2021-01-01".to_owned(), 0),
    ] {
        assert_eq!(gateway.get(&format!("{PATH}?{query}")).await["requests"], expected, "{query}");
    }
    for (query, code) in [
        ("since=yesterday", "invalid_value"),
        ("since=2026-02-01&until=2026-01-01", "invalid_value"),
        ("outcome=great", "invalid_value"),
        ("format=xml", "invalid_value"),
        ("filter=nothing%3A1", "invalid_filter"),
        ("colour=red", "unknown_parameter"),
    ] {
        problem(&gateway.admin().get(&format!("{PATH}?{query}")).await.unwrap(), 400, code);
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn on_postgresql_the_same_is_told() {
    let gateway =
        Gateway::over_postgres("data_path", config(), &[("TIDEGATE_RECORDS_KEEP_DAYS", "90")]).await;
    gateway.credential("openai", OWN).await;
    let keyed = gateway.client().header("idempotency-key", "order 1");
    let answer = keyed.post(CHAT, &question(MINI)).await.unwrap();
    let stored = json!({"model": MINI, "input": "hello", "store": true});
    assert_eq!(gateway.client().post("/v1/responses", &stored).await.unwrap().status, 200);
    let path = own_path(&gateway, &answer).await;
    let kept = storage(&path, "idempotent_answers");
    assert!(kept["retention"]["until"].is_string() && kept["key"] == "workspace_key", "{kept}");
    assert_eq!(storage(&path, "records")["retention"]["days"], 90);
    gateway.listed(2).await;
    let all = gateway.get(PATH).await;
    for purpose in ["serving", "answer", "response", "idempotent_answers", "records"] {
        row(&all["data"], "purpose", purpose);
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_vendor_review_gets_a_file_and_the_command_line_writes_it() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    gateway.patch("/v2/capabilities/openai", thirty_days()).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.listed(1).await;
    let file = gateway.admin().get(&format!("{PATH}?format=csv")).await.unwrap();
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8"));
    let text = file.text();
    let mut lines = text.lines();
    let head = "party,role,purpose,saw,place,host,key,retention_until,retention_days,retention_basis,retention_source,requests,first_seen,last_seen";
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut expected: Vec<&str> = head.split(',').collect();
    assert_eq!(columns.len(), expected.len(), "{text}");
    expected.retain(|name| !columns.contains(name));
    assert!(expected.is_empty(), "{expected:?} is missing: {text}");
    let provider = lines.find(|line| line.contains("openai")).unwrap();
    for cell in [credential.as_str(), "not stated", "published", "content"] {
        assert!(provider.contains(cell), "{cell}: {provider}");
    }
    let json_lines = gateway.admin().get(&format!("{PATH}?format=jsonl")).await.unwrap().text();
    let rows: Vec<Value> = json_lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3, "{json_lines}");
    assert_eq!(rows.iter().find(|row| row["role"] == "provider").unwrap()["retention"]["days"], 30);
    let cli = gateway.cli();
    assert_eq!(cli.run(&["data-path", "--format", "csv"]).stdout, text);
    assert_eq!(cli.run(&["data-path", "--json"]).json()["requests"], 1);
    let shown = cli.run(&["data-path", "--provider", "openai", "--since", "2020-01-01"]).stdout;
    for words in ["30 days, published", "not stated", "region not stated: 1 requests"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let none = cli.run(&["data-path", "--until", "2020-01-01", "--since", "2019-01-01"]);
    assert!(none.code == 0 && none.stdout.contains("No request matches."), "{none:?}");
    assert_ne!(cli.run(&["data-path", "--filter", "nothing:1"]).code, 0);
}
