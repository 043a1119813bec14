//! The response cache: an earlier answer given again to the same request, where a project wants it, and to nobody
//! else.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::WITHIN;
use crate::ask::{CHAT, MINI, posted as ask, question, refused, scripted, streaming, trace_of, with};
use crate::command::workspace;
use crate::gateway::{Gateway, OWN, OWN_SECOND, Shared, config, row};
use crate::isolation::second_workspace;
use crate::own_batches::params;
use crate::wait::{a_moment, until};

const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = "anthropic/claude-sonnet-4-6";
const EXACT: &str = "exact";

async fn gateway() -> Gateway {
    let gateway = Gateway::with_own().await;
    keep(&gateway, json!({"mode": EXACT})).await;
    gateway
}

pub async fn keep(gateway: &Gateway, responses: Value) -> Value {
    gateway.patch(&gateway.project(), json!({"caching": {"responses": responses}})).await
}

/// A client of a new project whose answers are kept so.
pub async fn in_project(gateway: &Gateway, name: &str, responses: &Value) -> Client {
    let made = gateway.make("/v2/projects", json!({"name": name, "caching": {"responses": responses}})).await;
    gateway.with_key(&gateway.key(json!({"name": name, "project_id": made["id"]})).await.0)
}

/// Clients of another workspace, which has these credentials, and of another project; both keep answers so.
pub async fn others(gateway: &Gateway, responses: &Value, credentials: &[Value]) -> [Client; 2] {
    let made = second_workspace(gateway).await;
    let admin = gateway.with_key(&made.admin_key);
    for credential in credentials {
        admin.post("/v2/provider-credentials", credential).await.unwrap().must_be(201);
    }
    let json_patch = [("content-type", "application/merge-patch+json")];
    let wish = json!({"caching": {"responses": responses}}).to_string();
    let path = format!("/v2/projects/{}", made.project_id);
    admin.call(http::Method::PATCH, &path, &json_patch, wish).await.unwrap().must_be(200);
    [gateway.with_key(&made.api_key), in_project(gateway, "sibling", responses).await]
}

fn cache(answer: &Answer) -> &str {
    answer.header("agent-cache").unwrap_or("none")
}

async fn with_control(gateway: &Gateway, control: &str, body: &Value) -> Answer {
    ask(&gateway.client().header("cache-control", control), CHAT, body).await
}

#[tokio::test]
async fn the_same_request_is_given_its_answer_again_and_costs_nothing() {
    let gateway = gateway().await;
    let usage = json!({"stream": true, "stream_options": {"include_usage": true}});
    let streamed = with(scripted(MINI, "chunks=30,split=7"), usage);
    for (number, body) in [question(MINI), streaming(MINI), streamed].iter().enumerate() {
        let first = ask(&gateway.client(), CHAT, body).await;
        assert_eq!(cache(&first), "miss");
        assert_eq!(first.header("age"), None);
        // Whitespace and the order of members don't count.
        let mut members: Vec<_> = body.as_object().unwrap().iter().collect();
        members.reverse();
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\" :\n {value}")).collect();
        let spelled = format!("{{ {} }}", members.join(" , "));
        let json = [("content-type", "application/json")];
        let again = gateway.client().call(http::Method::POST, CHAT, &json, spelled).await.unwrap();
        assert_eq!((again.status, cache(&again)), (200, "hit"), "{}", again.text());
        assert_eq!(again.body, first.body, "to the byte");
        let same = ["content-type", "agent-resolved-model", "agent-resolved-provider"];
        for header in same.into_iter().chain(["agent-execution-profile", "agent-byok-credential-id"]) {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
        assert_eq!(again.header("agent-attempts"), Some("0"));
        assert_eq!(again.header("cache-control"), Some("no-store"));
        assert!(again.header("age").is_some());
        assert_ne!(trace_of(&again), trace_of(&first), "each request has its own id");
        assert_eq!(gateway.calls(OWN).len(), number + 1);
        let (made, given) = (gateway.record(&first).await, gateway.record(&again).await);
        assert_eq!((&given["outcome"], &given["status"]), (&json!("completed"), &json!(200)));
        assert_eq!(given["attempts"], json!([]));
        for field in ["input_tokens", "output_tokens", "cost_nanos", "provider_cost_nanos"] {
            assert_eq!(given[field], 0, "{field}: {given}");
        }
        let hit = &given["reuse"]["response_cache"];
        assert_eq!(hit["input_tokens"], made["input_tokens"]);
        assert_eq!(hit["output_tokens"], made["output_tokens"]);
        assert_eq!(hit["saved_nanos"], made["provider_cost_nanos"], "{given}");
        assert_eq!(given["reuse"]["cache_tier"], "response");
        assert_eq!(made["reuse"]["response_cache"], Value::Null);
    }
    gateway.wait_for_usage(6).await;
    let usage = gateway.get("/v2/usage?window=24h").await["data"][0].clone();
    assert_eq!(usage["reuse"]["response_cache"]["hits"], 3, "{usage}");
    let counts = ["total_requests", "requests", "unattempted_requests", "attempts"].map(|name| &usage[name]);
    assert_eq!(json!(counts), json!([6, 6, 0, 3]));
    let again = &usage["reuse"]["response_cache"]["input_tokens"];
    assert_eq!(again, &usage["input_tokens"], "each was given again once");
    let metrics = gateway.client().get("/metrics").await.unwrap().text();
    assert!(metrics.contains("tidegate_response_cache_hits_total 3"), "{metrics}");
    let shown = gateway.cli().run(&["usage", "--reuse", "--window", "24h", "--json"]).json();
    assert_eq!(shown["data"][0]["reuse"]["response_cache"]["hits"], 3);
    by_cache_tier(&gateway).await;
}

/// Three requests were answered from the cache, and three had no reuse.
async fn by_cache_tier(gateway: &Gateway) {
    let sums = gateway.get("/v2/usage?window=24h&group_by=cache_tier").await["data"].clone();
    let hits = row(&sums, "cache_tier", "response");
    assert_eq!(hits["requests"], 3, "{sums}");
    assert_eq!(hits["reuse"]["response_cache"]["hits"], 3, "{sums}");
    let made = sums.as_array().unwrap().iter().find(|row| row["cache_tier"].is_null()).unwrap();
    assert_eq!((sums.as_array().unwrap().len(), &made["requests"]), (2, &json!(3)), "{sums}");
    for (filter, count) in
        [("cache_tier:response", 3), ("-cache_tier:response", 3), ("cache_tier:provider", 0)]
    {
        let requests = gateway.get(&format!("/v2/requests?filter={filter}")).await;
        assert_eq!(requests["data"].as_array().unwrap().len(), count, "{filter}");
        let sums = gateway.get(&format!("/v2/usage?window=24h&filter={filter}")).await;
        assert_eq!(crate::gateway::sums(&sums)["requests"], count, "{filter}: {sums}");
    }
    let table = gateway.cli().run(&["usage", "--by", "cache_tier", "--window", "24h"]).ok();
    assert!(table.contains("cache tier") && table.contains("response"), "{table}");
}

/// Case 21: an exact cache has a tenant in its key.
#[tokio::test]
async fn nobody_else_is_given_the_answer() {
    let gateway = gateway().await;
    let theirs = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url()});
    let [other, sibling] = others(&gateway, &json!({"mode": EXACT}), &[theirs]).await;
    for body in [question(MINI), streaming(MINI)] {
        let before = gateway.calls(OWN).len();
        for client in [&gateway.client(), &other, &sibling] {
            assert_eq!(cache(&ask(client, CHAT, &body).await), "miss");
        }
        assert_eq!(gateway.calls(OWN).len(), before + 3, "each asked for itself");
        for client in [&gateway.client(), &other, &sibling] {
            assert_eq!(cache(&ask(client, CHAT, &body).await), "hit");
        }
        assert_eq!(gateway.calls(OWN).len(), before + 3);
    }
    // Who wants none of it pays nothing for it and is told nothing.
    assert_eq!(cache(&ask(&gateway.other_project().await, CHAT, &question(MINI)).await), "none");
}

#[tokio::test]
async fn a_request_says_itself_what_may_be_read_and_kept() {
    let gateway = gateway().await;
    let body = question(MINI);
    for _ in 0..2 {
        assert_eq!(cache(&with_control(&gateway, "no-store", &body).await), "bypass");
    }
    assert_eq!(gateway.calls(OWN).len(), 2);
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "miss", "nothing was kept");
    let second = with_control(&gateway, "no-cache", &body).await;
    assert_eq!(cache(&second), "store");
    assert_eq!(gateway.calls(OWN).len(), 4);
    let third = ask(&gateway.client(), CHAT, &body).await;
    assert_eq!((cache(&third), &third.body), ("hit", &second.body), "the newer one");
    assert_eq!(cache(&with_control(&gateway, "max-age=600", &body).await), "hit");
    assert_eq!(cache(&with_control(&gateway, "max-age=0", &body).await), "store");
    let calls = gateway.calls(OWN).len();
    keep(&gateway, json!({"ttl_s": 1})).await;
    until("it is older than the project wants", async || {
        cache(&ask(&gateway.client(), CHAT, &body).await) == "miss"
    })
    .await;
    assert_eq!(gateway.calls(OWN).len(), calls + 1);
    keep(&gateway, json!({"mode": "off"})).await;
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "none");
    for (wish, field) in [(json!({"mode": "fuzzy"}), "mode"), (json!({"ttl_s": 0}), "ttl_s")] {
        let wish = json!({"caching": {"responses": wish}});
        let wrong = gateway.patched(&gateway.project(), wish).await.must_be(400);
        assert!(wrong.text().contains(&format!("caching.responses.{field}")), "{}", wrong.text());
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_is_not_whole_or_does_something_is_not_kept_and_each_dialect_is_given_its_own_bytes() {
    let gateway = gateway().await;
    let nothing = json!({"type": "object", "properties": {}});
    let tool = json!([{"type": "function", "function": {"name": "tide", "parameters": nothing}}]);
    let calling = with(question(MINI), json!({"tools": tool, "tool_choice": "required"}));
    let short = with(question(MINI), json!({"max_tokens": 1}));
    let mut expected = 0;
    let stream = json!({"stream": true});
    for body in [short.clone(), with(short, stream.clone()), calling.clone(), with(calling, stream)] {
        for _ in 0..2 {
            expected += 1;
            assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "miss", "{body}");
            assert_eq!(gateway.calls(OWN).len(), expected, "{body}");
        }
    }
    for _ in 0..2 {
        let answer = gateway.client().post(CHAT, &scripted(MINI, "status=400")).await.unwrap();
        assert_eq!((answer.status, cache(&answer)), (400, "miss"), "{}", answer.text());
    }
    // The provider stores a response unless it is told not to, and another request may continue it.
    let response = json!({"model": MINI, "input": "hello there"});
    for (body, seen) in
        [(response.clone(), ["bypass", "bypass"]), (with(response, json!({"store": false})), ["miss", "hit"])]
    {
        for word in seen {
            assert_eq!(cache(&ask(&gateway.client(), "/v1/responses", &body).await), word, "{body}");
        }
    }
    // A stream that breaks off is not an answer.
    let broken = with(scripted(MINI, "chunks=9,cut=5,interval=5"), json!({"stream": true}));
    let calls = gateway.calls(OWN).len();
    for turn in 1..=2 {
        let mut stream = gateway.client().stream(CHAT, &broken).await.unwrap();
        assert!(stream.events().await.1.is_err(), "it broke off");
        until("it was sent", async || gateway.calls(OWN).len() == calls + turn).await;
    }
    // Other dialects are given their own bytes.
    gateway.at("/v2/provider-credentials", "anthropic", OWN, &gateway.emulator.anthropic_url()).await;
    let message = params(CLAUDE, "hello there");
    let vector = json!({"model": "openai/text-embedding-3-small", "input": "hello there"});
    for (path, body) in [
        (MESSAGES, message.clone()),
        (MESSAGES, with(message.clone(), json!({"stream": true}))),
        // Translated: the answer is in the client's dialect.
        (CHAT, question(CLAUDE)),
        (CHAT, streaming(CLAUDE)),
        (MESSAGES, with(message, json!({"model": MINI}))),
        ("/v1/embeddings", vector),
    ] {
        let first = ask(&gateway.client(), path, &body).await;
        let again = ask(&gateway.client(), path, &body).await;
        assert_eq!((cache(&first), cache(&again)), ("miss", "hit"), "{path} {body}");
        assert_eq!(first.body, again.body, "{path} {body}");
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_kept_answer_obeys_the_routes_and_limits_of_now() {
    let gateway = gateway().await;
    let body = question(MINI);
    let first = ask(&gateway.client(), CHAT, &body).await;
    let credential = first.header("agent-byok-credential-id").unwrap().to_owned();
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "hit");
    gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"status": "disabled"})).await;
    refused(&gateway.chat(&body).await, 404, "model_not_served");
    let calls = gateway.calls(OWN).len();
    let other = gateway.credential("openai", OWN_SECOND).await;
    let anew = ask(&gateway.client(), CHAT, &body).await;
    assert_eq!((cache(&anew), anew.header("agent-byok-credential-id")), ("miss", Some(&*other)));
    assert_eq!(gateway.calls(OWN).len(), calls);
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "hit");
    // A hit takes from the limit of requests like any other.
    gateway.patch(&gateway.project(), json!({"limits": {"requests_per_minute": 1}})).await;
    let answers = [gateway.chat(&body).await, gateway.chat(&body).await];
    assert!(answers.iter().any(|answer| answer.status == 429), "{answers:?}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_policy_of_no_retention_holds_for_us_too() {
    let gateway = gateway().await;
    let stated = json!({"provider": "openai", "display_name": "zero", "secret": OWN_SECOND, "base_url": gateway.emulator.base_url(), "retention": "zero"});
    gateway.make("/v2/provider-credentials", stated).await;
    gateway.policy(json!({"retention": "zero"})).await;
    for calls in 1..=2 {
        assert_eq!(cache(&ask(&gateway.client(), CHAT, &question(MINI)).await), "none");
        assert_eq!(gateway.calls(OWN_SECOND).len(), calls);
    }
    assert_eq!(stored(&gateway).await, 0);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_is_purged_is_found_no_more() {
    let gateway = gateway().await;
    let body = question(MINI);
    ask(&gateway.client(), CHAT, &body).await;
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "hit");
    until("it is stored", async || stored(&gateway).await == 1).await;
    let purge = format!("{}/purge-cache", gateway.project());
    assert_eq!(ask(&gateway.admin(), &purge, &json!({})).await.json()["deleted"], 1);
    assert_eq!(stored(&gateway).await, 0);
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "miss");
    assert_eq!(gateway.calls(OWN).len(), 2);
    until("it is stored", async || stored(&gateway).await == 1).await;
    let shown = gateway.cli().run(&["project", "purge-cache", &gateway.founded.project_id, "--json"]).json();
    assert_eq!(shown["deleted"], 1);
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "miss");
    let audit = gateway.get("/v2/audit").await;
    assert!(audit.to_string().contains("project.purge_cache"), "{audit}");
}

/// The rows that the database holds, none of which shows the text of a request or an answer.
async fn stored(gateway: &Gateway) -> usize {
    let program = "import sqlite3, sys\n\
        base = sqlite3.connect(sys.argv[1], timeout=20)\n\
        rows = base.execute('SELECT * FROM kept_answers WHERE is_cached = 1 AND sealed IS NOT NULL').fetchall()\n\
        assert not any(b'hello there' in cell for row in rows for cell in row if isinstance(cell, bytes))\n\
        print(len(rows))";
    let database = gateway.data().join("tidegate.db");
    let python = workspace().join(".venv/bin/python");
    let done = Command::new(python).args(["-c", program]).arg(database).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().parse().unwrap()
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_restart_keeps_what_was_stored_and_a_kill_frees_what_was_under_way() {
    let mut gateway = gateway().await;
    let bodies = [question(MINI), streaming(MINI)];
    let mut firsts = Vec::new();
    for body in &bodies {
        firsts.push(ask(&gateway.client(), CHAT, body).await);
    }
    until("both are stored", async || stored(&gateway).await == 2).await;
    gateway.stop().await;
    gateway.start_again().await;
    for (body, first) in bodies.iter().zip(&firsts) {
        let again = ask(&gateway.client(), CHAT, body).await;
        assert_eq!((cache(&again), &again.body), ("hit", &first.body));
    }
    let ask_slowly = |client: Client| {
        tokio::spawn(async move { client.post(CHAT, &scripted(MINI, "latency=30000")).await.ok() })
    };
    let asking = ask_slowly(gateway.client());
    until("it was sent", async || gateway.calls(OWN).len() == 3).await;
    gateway.crash().await;
    assert!(asking.await.unwrap().is_none());
    for (body, first) in bodies.iter().zip(&firsts) {
        let again = ask(&gateway.client(), CHAT, body).await;
        assert_eq!((cache(&again), &again.body), ("hit", &first.body));
    }
    let asking = ask_slowly(gateway.client());
    until("it is sent again", async || gateway.calls(OWN).len() == 4).await;
    asking.abort();
}

/// Sends one request this many times at once.
async fn storm(gateway: &Gateway, body: &Value, count: usize) -> Vec<Answer> {
    let barrier = Arc::new(Barrier::new(count));
    let tries = (0..count).map(|_| {
        let (client, body, barrier) = (gateway.client(), body.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            client.post(CHAT, &body).await.unwrap()
        })
    });
    let mut answers = Vec::new();
    for tried in tries.collect::<Vec<_>>() {
        answers.push(tried.await.unwrap());
    }
    answers
}

#[cfg(feature = "broker")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_requests_at_once_one_is_sent() {
    let gateway = gateway().await;
    let scripts = ["latency=500,chunks=20", "latency=300,chunks=20,interval=10"];
    for (number, script) in scripts.iter().enumerate() {
        let body = with(scripted(MINI, script), json!({"stream": number == 1}));
        let answers = storm(&gateway, &body, 200).await;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
        assert_eq!(answers.iter().filter(|answer| cache(answer) == "hit").count(), 199);
        assert_eq!(gateway.calls(OWN).len(), number + 1);
    }
    // The one that leads hangs up, and the next one leads.
    let body = with(scripted(MINI, "chunks=40,interval=50"), json!({"stream": true}));
    let mut leading = gateway.client().stream(CHAT, &body).await.unwrap();
    leading.event().await.unwrap();
    let (client, sent) = (gateway.client(), body.clone());
    let waiting = tokio::spawn(async move { client.post(CHAT, &sent).await.unwrap() });
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(200) {
        assert_eq!(gateway.calls(OWN).len(), 3, "it waits");
        a_moment().await;
    }
    leading.hang_up();
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, cache(&answer)), (200, "miss"));
    assert_eq!(gateway.calls(OWN).len(), 4);
    // An answer that may not be given again keeps nobody waiting.
    let body = with(scripted(MINI, "latency=300"), json!({"max_tokens": 1}));
    let answers = storm(&gateway, &body, 6).await;
    assert!(answers.iter().all(|answer| (answer.status, cache(answer)) == (200, "miss")));
    assert_eq!(gateway.calls(OWN).len(), 10);
}

#[cfg(feature = "broker")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_what_is_kept_and_what_is_purged() {
    let shared = Shared::of("cache").await;
    let gateway = Gateway::with(config(), &shared.environment()).await;
    gateway.credential("openai", OWN).await;
    keep(&gateway, json!({"mode": EXACT})).await;
    let (mut other, origin) = gateway.replica().await;
    let at_other = Client::new(&origin).bearer(&gateway.founded.api_key).within(WITHIN);
    let body = question(MINI);
    let first = ask(&gateway.client(), CHAT, &body).await;
    // A replica that asked before would make an answer of its own.
    let stored = async || {
        let rows = "SELECT count(*) FROM kept_answers WHERE sealed IS NOT NULL";
        shared.server.run(&shared.database, rows).await.unwrap() == "1"
    };
    until("it is stored", stored).await;
    let elsewhere = ask(&at_other, CHAT, &body).await;
    assert_eq!((cache(&elsewhere), &elsewhere.body), ("hit", &first.body));
    assert_eq!(gateway.calls(OWN).len(), 1);
    ask(&gateway.admin(), &format!("{}/purge-cache", gateway.project()), &json!({})).await;
    assert_eq!(cache(&ask(&gateway.client(), CHAT, &body).await), "miss");
    let second = ask(&gateway.client(), CHAT, &body).await;
    until("it is stored", stored).await;
    let is_newer = async || ask(&at_other, CHAT, &body).await.body == second.body;
    until("the purge is known everywhere", is_newer).await;
    other.stop(WITHIN).await.unwrap();
}
