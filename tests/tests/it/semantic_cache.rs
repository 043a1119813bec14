//! The semantic response cache: an earlier answer given to a request that means the same, and to none that differs in
//! anything else. The emulator's embeddings are alike as far as texts have the same words.

use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use harness::{Behaviour, Entry, Flavour};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, posted, trace_of, with};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, row};
use crate::response_cache::{in_project, keep, others};

/// Embeddings go to another credential than chats, so that each can be scripted and counted alone.
const EMBED: &str = "mistralai/mistral-embed";
const ASKED: &str = "Please tell me the capital of France";
/// The same words in another order: no similarity could be greater.
const SAME: &str = "The capital of France, tell me, please!";
/// One word of seven is another.
const NEAR: &str = "Please tell me the capital of Spain";

async fn gateway() -> Gateway {
    let gateway = Gateway::with_own().await;
    gateway.make("/v2/provider-credentials", embedder(&gateway)).await;
    keep(&gateway, json!({"mode": "semantic", "semantic": {"model": EMBED}})).await;
    gateway
}

fn embedder(gateway: &Gateway) -> Value {
    let base_url = gateway.emulator.base_url_of(Flavour::Mistral);
    json!({"provider": "mistral", "display_name": "vectors", "secret": OWN_SECOND, "base_url": base_url})
}

fn chat(text: &str) -> Value {
    json!({"model": MINI, "messages": [{"role": "user", "content": text}]})
}

async fn ask(client: &Client, body: &Value) -> Answer {
    posted(client, CHAT, body).await
}

/// What the client is told: whether it is a hit, how the search ended, and the similarity.
fn told(answer: &Answer) -> (&str, &str, &str) {
    let header = |name| answer.header(name).unwrap_or("-");
    (header("agent-cache"), header("agent-cache-semantic"), header("agent-cache-similarity"))
}

const NONE_ALIKE: (&str, &str, &str) = ("miss", "none_alike", "-");
const HIT: (&str, &str, &str) = ("hit", "hit", "10000");

fn embedded(gateway: &Gateway) -> Vec<Entry> {
    gateway.calls(OWN_SECOND)
}

async fn search_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.record(answer).await["semantic_cache"].clone()
}

/// The record of the embedding that was made for a search.
async fn embedding_of(gateway: &Gateway, search: &Value) -> Value {
    gateway.settled(search["embedding_request_id"].as_str().unwrap()).await
}

#[tokio::test]
async fn a_request_that_means_the_same_is_given_the_answer_and_a_near_miss_is_not() {
    let (gateway, client) = gateway().await.and_client();
    let first = ask(&client, &chat(ASKED)).await;
    assert_eq!(told(&first), NONE_ALIKE);
    let again = ask(&client, &chat(SAME)).await;
    assert_eq!((told(&again), &again.body), (HIT, &first.body));
    assert_eq!((again.header("agent-attempts"), again.header("age").is_some()), (Some("0"), true));
    assert_eq!((gateway.calls(OWN).len(), embedded(&gateway).len()), (1, 2));
    let record = gateway.record(&again).await;
    let hit = &record["reuse"]["response_cache"];
    assert_eq!((&hit["match"], &hit["similarity_bps"]), (&json!("semantic"), &json!(10_000)), "{record}");
    assert_eq!(record["attempts"], json!([]));
    // The embedding is a request of its own, which says what it was for.
    let embedding = embedding_of(&gateway, &record["semantic_cache"]).await;
    let made_for = json!({"purpose": "semantic_cache", "request_id": trace_of(&again)});
    assert_eq!(embedding["made_for"], made_for, "{embedding}");
    for (field, value) in [("operation", "embed"), ("requested_model", EMBED), ("outcome", "completed")] {
        assert_eq!(embedding[field], value, "{embedding}");
    }
    assert_eq!((&embedding["key_id"], &embedding["project_id"]), (&record["key_id"], &record["project_id"]));
    assert!(embedding["input_tokens"].as_u64().unwrap() > 0 && embedding["attempts"][0].is_object());
    assert_eq!(embedded(&gateway)[1].json()["input"], SAME);
    // The same request once more is found by its name, and nothing is embedded.
    let exact = ask(&client, &chat(ASKED)).await;
    assert_eq!((told(&exact), &exact.body), (("hit", "-", "-"), &first.body));
    let record = gateway.record(&exact).await;
    assert_eq!(record["reuse"]["response_cache"]["match"], "exact");
    assert_eq!((record["semantic_cache"].is_null(), embedded(&gateway).len()), (true, 2));
    let near = ask(&client, &chat(NEAR)).await;
    let (word, outcome, similarity) = told(&near);
    assert_eq!((word, outcome), ("miss", "none_alike"));
    assert!((7_000..9_500).contains(&similarity.parse::<u32>().unwrap()), "{similarity}");
    assert_eq!(gateway.calls(OWN).len(), 2);
    let shown = gateway.cli().run(&["request", &trace_of(&again)]).ok();
    assert!(shown.contains("a text of the same meaning (100.00 %)"), "{shown}");
    // Every token is in the books: two answers and three embeddings, each once.
    gateway.wait_for_usage(7).await;
    let usage = gateway.get("/v2/usage?window=24h&group_by=model").await["data"].clone();
    let of_vectors = row(&usage, "model", EMBED);
    let tokens: u64 = embedded(&gateway).iter().map(|entry| entry.prompt_tokens).sum();
    assert_eq!(of_vectors["requests"], 3, "{usage}");
    assert_eq!(of_vectors["input_tokens"], tokens, "{usage}");
    assert!(of_vectors["provider_cost_micros"].as_i64().unwrap() > 0, "{usage}");
}

#[tokio::test]
async fn everything_but_the_last_text_must_be_the_same() {
    let (gateway, client) = gateway().await.and_client();
    let instructed = |system: &str, text: &str| {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": text}]);
        json!({"model": MINI, "messages": messages})
    };
    let stream = json!({"stream": true});
    let block = |text: &str| json!([{"role": "user", "content": [{"type": "text", "text": text}]}]);
    let shapes = |text: &str| {
        let half = with(chat(text), json!({"temperature": 0.5}));
        let blocks = json!({"model": MINI, "messages": block(text)});
        let [brief, long] = ["be brief", "be long"].map(|system| instructed(system, text));
        [chat(text), brief, long, half, with(chat(text), stream.clone()), blocks]
    };
    let mut firsts = Vec::new();
    for body in shapes(ASKED) {
        let first = ask(&client, &body).await;
        assert_eq!(told(&first), NONE_ALIKE, "{body}");
        firsts.push(first);
    }
    for (body, first) in shapes(SAME).iter().zip(&firsts) {
        let again = ask(&client, body).await;
        assert_eq!((told(&again), &again.body), (HIT, &first.body), "to the byte, a stream's too");
        assert_eq!(again.header("content-type"), first.header("content-type"));
    }
    assert_eq!(gateway.calls(OWN).len(), firsts.len());
    // Where more than a text would have to mean the same, nothing is embedded.
    let nothing = json!({"type": "object", "properties": {}});
    let tools = json!([{"type": "function", "function": {"name": "tide", "parameters": nothing}}]);
    let before = embedded(&gateway).len();
    let vector = json!({"model": EMBED, "input": "a text"});
    for body in [with(chat(SAME), json!({"tools": tools})), with(chat(SAME), json!({"n": 2})), vector] {
        let path = if body["input"].is_null() { CHAT } else { "/v1/embeddings" };
        assert_eq!(told(&posted(&client, path, &body).await), ("miss", "-", "-"));
    }
    let bypass = ask(&client.clone().header("cache-control", "no-store"), &chat(SAME)).await;
    assert_eq!(told(&bypass), ("bypass", "-", "-"));
    assert_eq!(embedded(&gateway).len(), before + 1, "the client's own");
    // An answer that is made anew is found by its meaning as well.
    let fresh = ask(&client.clone().header("cache-control", "no-cache"), &chat("Whales sleep how?")).await;
    assert_eq!(told(&fresh), ("store", "renewed", "-"));
    let again = ask(&client, &chat("How sleep whales")).await;
    assert_eq!((told(&again), &again.body), (HIT, &fresh.body));
}

#[tokio::test]
async fn the_guard_stops_what_differs_in_a_number_a_negation_or_a_literal() {
    let gateway = gateway().await;
    keep(&gateway, json!({"semantic": {"min_similarity_bps": 6_000}})).await;
    let client = gateway.client();
    for (one, other) in [
        ("How many people lived there in 1989", "How many people lived there in 1998"),
        ("May I eat the red berries here", "May I not eat the red berries here"),
        ("What does the flag --force do there", "What does the flag --quiet do there"),
    ] {
        assert_eq!(ask(&client, &chat(one)).await.header("agent-cache"), Some("miss"), "{one}");
        let calls = gateway.calls(OWN).len();
        let answer = ask(&client, &chat(other)).await;
        let (word, outcome, similarity) = told(&answer);
        assert_eq!((word, outcome), ("miss", "guarded"), "{other}");
        assert!(similarity.parse::<u32>().unwrap() >= 6_000, "{other}: {similarity}");
        assert_eq!(search_of(&gateway, &answer).await["outcome"], "guarded");
        assert_eq!(gateway.calls(OWN).len(), calls + 1);
    }
    // Without such a difference, so little likeness is a hit.
    assert_eq!(ask(&client, &chat(ASKED)).await.header("agent-cache"), Some("miss"));
    let near = ask(&client, &chat(NEAR)).await;
    let (word, outcome, _) = told(&near);
    assert_eq!((word, outcome), ("hit", "hit"));
}

#[tokio::test]
async fn no_other_project_or_workspace_is_given_the_answer() {
    let gateway = gateway().await;
    let chats = json!({"provider": "openai", "secret": OWN, "base_url": gateway.emulator.base_url()});
    let responses = json!({"mode": "semantic", "semantic": {"model": EMBED}});
    let clients = others(&gateway, &responses, &[chats, embedder(&gateway)]).await;
    assert_eq!(told(&ask(&gateway.client(), &chat(ASKED)).await), NONE_ALIKE);
    for client in &clients {
        assert_eq!(told(&ask(client, &chat(SAME)).await), NONE_ALIKE, "there is nothing to compare with");
        assert_eq!(told(&ask(client, &chat(ASKED)).await), HIT, "but its own");
    }
    assert_eq!(gateway.calls(OWN).len(), 3);
    // A project of the workspace that wants exact answers, and one that wants none, embed nothing.
    let before = embedded(&gateway).len();
    for (name, mode, word) in [("exact", json!("exact"), "miss"), ("plain", Value::Null, "-")] {
        let client = in_project(&gateway, name, &json!({"mode": mode})).await;
        assert_eq!(told(&ask(&client, &chat(SAME)).await), (word, "-", "-"), "{name}");
    }
    assert_eq!(embedded(&gateway).len(), before);
}

#[tokio::test]
async fn a_kept_answer_obeys_the_policies_and_credentials_of_now_and_a_purge() {
    let (gateway, client) = gateway().await.and_client();
    let first = ask(&client, &chat(ASKED)).await;
    assert_eq!(told(&ask(&client, &chat(SAME)).await), HIT);
    // Whose credential made it may not be asked any more.
    let credential = first.header("agent-byok-credential-id").unwrap().to_owned();
    gateway.patch(&format!("/v2/provider-credentials/{credential}"), json!({"status": "disabled"})).await;
    gateway.credential("openai", OWN_SECOND).await;
    let answer = ask(&client, &chat(SAME)).await;
    assert_eq!(told(&answer), ("miss", "not_allowed", "10000"));
    assert_eq!(search_of(&gateway, &answer).await["outcome"], "not_allowed");
    assert_eq!(told(&ask(&client, &chat("France, the capital of, please tell me")).await), HIT);
    // Another policy might have changed or refused the request.
    gateway.policy(json!({"profiles": ["byok"]})).await;
    assert_eq!(told(&ask(&client, &chat("tell me the capital of France, please")).await), NONE_ALIKE);
    assert_eq!(told(&ask(&client, &chat(SAME)).await), HIT);
    posted(&gateway.admin(), &format!("{}/purge-cache", gateway.project()), &json!({})).await;
    assert_eq!(told(&ask(&client, &chat(SAME)).await), NONE_ALIKE);
}

#[tokio::test]
async fn without_an_embedding_the_answer_comes_all_the_same() {
    let (gateway, client) = gateway().await.and_client();
    ask(&client, &chat(ASKED)).await;
    gateway.emulator.script(OWN_SECOND, [Behaviour::status(400).always()]);
    let failed = ask(&client, &chat(SAME)).await;
    assert_eq!(told(&failed), ("miss", "embedding_failed", "-"));
    let search = search_of(&gateway, &failed).await;
    assert_eq!((&search["outcome"], &search["similarity_bps"]), (&json!("embedding_failed"), &Value::Null));
    let embedding = embedding_of(&gateway, &search).await;
    assert_eq!((&embedding["outcome"], &embedding["status"]), (&json!("failed"), &json!(400)), "{embedding}");
    gateway.emulator.clear_scripts();
    gateway.emulator.script(OWN_SECOND, [Behaviour::ok().latency(Duration::from_secs(60)).always()]);
    let started = Instant::now();
    let late = ask(&client, &chat("tell me the capital of France, please")).await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(told(&late), ("miss", "embedding_late", "-"));
    let embedding = embedding_of(&gateway, &search_of(&gateway, &late).await).await;
    assert_eq!(embedding["made_for"]["request_id"], trace_of(&late), "it is booked: {embedding}");
    gateway.emulator.clear_scripts();
    // What was answered without a vector is found by its name alone.
    assert_eq!(told(&ask(&client, &chat(SAME)).await), ("hit", "-", "-"));
    assert_eq!(gateway.calls(OWN).len(), 3);
    // A model that nobody serves.
    keep(&gateway, json!({"semantic": {"model": "nobody/nothing"}})).await;
    let before = embedded(&gateway).len();
    let answer = ask(&client, &chat("France, the capital of, please tell me")).await;
    assert_eq!(told(&answer), ("miss", "embedding_failed", "-"));
    assert_eq!(embedded(&gateway).len(), before);
}

#[tokio::test]
async fn an_embedding_is_held_to_the_limits_budgets_and_profiles_of_its_project() {
    let gateway = gateway().await;
    // A node's answers cost nothing; the embedding would, and more than is left.
    gateway.node("own", &[LOCAL_MODEL]).await;
    let budget = json!({"period": "month", "project_id": gateway.founded.project_id, "limit_micros": 1});
    gateway.make("/v2/budgets", budget).await;
    let long = "Please tell me the capital of France. ".repeat(100);
    let answer = ask(&gateway.client(), &with(chat(&long), json!({"model": LOCAL_MODEL}))).await;
    assert_eq!(told(&answer), ("miss", "embedding_failed", "-"));
    let embedding = embedding_of(&gateway, &search_of(&gateway, &answer).await).await;
    assert_eq!(embedding["error_code"], "quota_exceeded", "{embedding}");
    assert_eq!(embedded(&gateway).len(), 0);
}

#[tokio::test]
async fn a_text_is_never_embedded_on_somebody_elses_credential() {
    let gateway = Gateway::with_own().await;
    gateway.at("/v2/accounts", "mistral", POOL, &gateway.emulator.base_url_of(Flavour::Mistral)).await;
    keep(&gateway, json!({"mode": "semantic", "semantic": {"model": EMBED}})).await;
    gateway.policy(json!({"profiles": ["byok"]})).await;
    assert_eq!(told(&ask(&gateway.client(), &chat(ASKED)).await), ("miss", "embedding_failed", "-"));
    assert_eq!(gateway.calls(POOL).len(), 0);
}

#[tokio::test]
async fn nothing_is_embedded_of_what_may_not_be_retained_or_is_masked() {
    let gateway = gateway().await;
    let policy = gateway.policy(json!({"checks": [{"detect": "email", "action": "mask"}]})).await;
    let answer = ask(&gateway.client(), &chat("Write to anna@example.com about France")).await;
    assert_eq!(told(&answer), ("bypass", "-", "-"));
    assert_eq!(embedded(&gateway).len(), 0);
    gateway.remove(&policy).await;
    let url = gateway.emulator.base_url();
    let stated = json!({"provider": "openai", "display_name": "zero", "secret": OWN_SECOND,
        "retention": "zero", "base_url": url});
    gateway.make("/v2/provider-credentials", stated).await;
    gateway.policy(json!({"retention": "zero"})).await;
    for text in [ASKED, SAME] {
        assert_eq!(told(&ask(&gateway.client(), &chat(text)).await), ("-", "-", "-"));
    }
    let paths: Vec<_> = embedded(&gateway).into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, [CHAT, CHAT], "the answers alone, no vector");
}

#[tokio::test]
async fn the_setting_is_checked_inherited_and_set_by_the_command_line() {
    let gateway = gateway().await;
    for (responses, field) in [
        (json!({"mode": "fuzzy"}), "mode"),
        (json!({"mode": "semantic", "semantic": {"model": null}}), "semantic.model"),
        (json!({"semantic": {"model": ""}}), "semantic.model"),
        (json!({"semantic": {"min_similarity_bps": 4_999}}), "semantic.min_similarity_bps"),
        (json!({"semantic": {"min_similarity_bps": 10_001}}), "semantic.min_similarity_bps"),
    ] {
        let wrong = gateway.patched(&gateway.project(), json!({"caching": {"responses": responses}})).await;
        let field = format!("caching.responses.{field}");
        assert!(wrong.status == 400 && wrong.text().contains(&field), "{field}: {}", wrong.text());
    }
    let id = &gateway.founded.project_id;
    let set = ["project", "set", id, "--cache-responses", "semantic", "--cache-semantic-model", EMBED];
    gateway.cli().run(&[&set[..], &["--cache-min-similarity", "9700"]].concat()).ok();
    let shown = gateway.get(&gateway.project()).await["caching"]["responses"].clone();
    let semantic = json!({"model": EMBED, "min_similarity_bps": 9_700});
    assert_eq!(shown, json!({"mode": "semantic", "semantic": semantic}));
    // A project without a setting of its own has its workspace's.
    gateway.patch(&gateway.project(), json!({"caching": null})).await;
    let workspace = format!("/v2/workspaces/{}", gateway.founded.workspace_id);
    gateway.patch(&workspace, json!({"caching": {"responses": shown}})).await;
    assert_eq!(told(&ask(&gateway.client(), &chat(ASKED)).await), NONE_ALIKE);
    assert_eq!(told(&ask(&gateway.client(), &chat(SAME)).await), HIT);
}

#[tokio::test]
async fn hits_and_false_hits_of_a_model_are_measured_through_the_gateway() {
    let gateway = gateway().await;
    let cli = gateway.cli().env("TIDEGATE_API_KEY", &gateway.founded.api_key);
    let evaluate = ["cache", "evaluate", "--model", EMBED, "--bound", "9900", "--bound", "5000"];
    let rows = cli.run(&[&evaluate[..], &["--output", "json"]].concat()).lines();
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in &rows {
        assert_eq!((&row["paraphrases"], &row["near_misses"]), (&json!(72), &json!(124)), "{row}");
    }
    // Of one order of words the emulator's vectors know nothing: what says the opposite is the same to them.
    let count = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let [strict, loose] = &rows[..] else { panic!("{rows:?}") };
    assert!((3..15).contains(&count(strict, "false_hits")), "{strict}");
    assert_eq!(count(strict, "min_similarity_bps"), 9_900);
    assert!(count(loose, "false_hits") > count(strict, "false_hits"), "{loose}");
    assert!(count(loose, "hits") > count(strict, "hits"), "{loose}");
    assert!(count(loose, "false_hits_guarded") + 30 < count(loose, "false_hits"), "{loose}");
    let kinds = loose["false_hits_by_kind_guarded"].to_string();
    for guarded in ["number", "negation", "literal"] {
        assert!(!kinds.contains(guarded) && kinds.contains("direction"), "{kinds}");
    }
    // Every text was embedded once, by requests that are in the books.
    let texts = |entry: &Entry| entry.json()["input"].as_array().unwrap().len();
    let sent: usize = embedded(&gateway).iter().map(texts).sum();
    assert!((350..=392).contains(&sent), "{sent}");
    let table = cli.run(&evaluate).ok();
    assert!(table.contains("false hits, guarded") && table.contains("median similarity"), "{table}");
    // A model that makes no vectors.
    let failed = cli.run(&["cache", "evaluate", "--model", MINI]);
    assert_ne!(failed.code, 0, "{}", failed.stdout);
}
