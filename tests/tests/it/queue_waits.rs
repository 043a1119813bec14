//! How long a request waits in a node's queue: who else answers it then, by the node's own decision or by that of the gateway
//! that sent it; and what leaves a node beside answers.

use std::time::Duration;

use harness::client::{Answer, Client};
use harness::process::free_address;
use harness::{Emulator, Flavour, Model, Server};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, fails, has, question, records, said, streaming, trace_of, with};
use crate::command::Cli;
use crate::gateway::{Gateway, POOL, config};
use crate::local_vectors::for_vectors;
use crate::topologies::{
    Files, MODE, Site, backend, builtin, calls, impatient, leaves, one_backend, selected,
};
use crate::wait::{found, until};

const EMBEDDINGS: &str = "/v1/embeddings";
const RERANK: &str = "/v1/rerank";
const RANKER: &str = "acme-ranker";
const CLAUDE: &str = "claude-haiku-4-5";

/// The requests at a node, and the sequences that wait there.
async fn load(client: &Client) -> (u64, u64) {
    let peers = client.get("/v1/compute/peers").await.unwrap().json();
    let own = peers.as_array().or_else(|| peers["peers"].as_array()).unwrap()[0]["load"].clone();
    (own["running"].as_u64().unwrap(), own["waiting"].as_u64().unwrap())
}

/// Requests that fill the queue until they are dropped: each is sent again when it was answered.
struct Crowd(Vec<tokio::task::JoinHandle<()>>);

impl Crowd {
    fn of(client: &Client, count: usize, path: &'static str, body: &Value) -> Self {
        let client = client.clone().header(MODE, "local").within(Duration::from_secs(600));
        let one = || {
            let (client, body) = (client.clone(), body.clone());
            tokio::spawn(async move { while client.post(path, &body).await.is_ok() {} })
        };
        Self((0..count).map(|_| one()).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_leaves_by_the_estimate_alone_before_it_has_waited() {
    let emulator = Emulator::start(config()).await.unwrap();
    let site = impatient(&emulator, ("demo", &builtin(), "4"), "tide-1").await;
    let long = with(question("demo"), json!({"ignore_eos": true, "max_tokens": 1_500}));
    selected(&site.chat(&long).await, "hybrid", "local", None);
    // What the model can't take tells whether it was asked at all before the request left.
    let words = json!([{"role": "user", "content": "tide ".repeat(4_000)}]);
    let too_long = with(question("demo"), json!({"messages": words}));
    selected(&site.chat(&too_long).await, "hybrid", "cloud", Some("context_too_long"));
    // 64 sequences run at a time: three times as many wait.
    let crowd = Crowd::of(&site.client, 36, CHAT, &with(long, json!({"n": 8})));
    until("a long queue", async || load(&site.client).await.1 > 180).await;
    selected(&site.chat(&too_long).await, "hybrid", "cloud", Some("queue_wait"));
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_to_embed_leaves_when_it_has_waited_and_keeps_its_place_if_nobody_else_embeds() {
    let emulator = Emulator::start(config().model(Model::embedding("text-embedding-3-small"))).await.unwrap();
    let root = tempfile::tempdir().unwrap();
    let model = for_vectors(root.path()).display().to_string();
    let site = impatient(&emulator, ("tiny", &model, "64"), "text-embedding-3-small").await;
    let short = json!({"model": "tiny", "input": ["high tide"]});
    let here = site.client.post(EMBEDDINGS, &short).await.unwrap();
    selected(&here, "hybrid", "local", None);
    // As tokens, so that they are in the queue at once.
    let texts: Vec<Vec<u32>> = (0..200).map(|first| [vec![first], vec![7; 1_500]].concat()).collect();
    let crowd = Crowd::of(&site.client, 12, EMBEDDINGS, &json!({"model": "tiny", "input": texts}));
    until("a queue", async || load(&site.client).await.1 > 32).await;
    let left = site.client.post(EMBEDDINGS, &short).await.unwrap();
    selected(&left, "hybrid", "cloud", Some("queue_wait"));
    assert_eq!(left.json()["data"].as_array().unwrap().len(), 1, "{}", left.text());

    emulator.refuse().await;
    let waiting = tokio::spawn({
        let (client, short) = (site.client.clone(), short.clone());
        async move { client.post(EMBEDDINGS, &short).await }
    });
    until("a try at the backend", async || site.says("a backend did not answer")).await;
    drop(crowd);
    let answer = waiting.await.unwrap().unwrap().must_be(200);
    selected(&answer, "hybrid", "local", None);
    assert_eq!(answer.json()["data"][0], here.json()["data"][0], "the same vector");
}

#[tokio::test]
async fn documents_are_ranked_and_tokens_counted_by_a_backend_that_has_the_model() {
    let emulator = Emulator::start(config().model(Model::rerank(RANKER))).await.unwrap();
    let of = |id: &str, url: &str, model: &str| backend(id, url, &format!("models = [\"{model}\"]"));
    let tables = [
        "[hybrid]\ndefault_mode = \"hybrid\"\n".to_owned(),
        of("ranks", &emulator.base_url_of(Flavour::Server(Server::Lenient)), RANKER),
        of("counts", &emulator.base_url(), "gpt-4o-mini"),
        of("claude", &format!("{}/v1", emulator.anthropic_url()), CLAUDE),
    ];
    let site = Files::with_key().start(&tables.concat(), &["--model", "echo"]).await;
    let ranking = json!({"model": RANKER, "query": "high tide", "documents": ["the tide is high", "ebb"]});
    let ranked = leaves(&site.client, RERANK, &ranking, "ranks").await;
    assert_eq!(ranked.json()["results"].as_array().unwrap().len(), 2, "{}", ranked.text());
    selected(&site.in_mode("cloud").post(RERANK, &ranking).await.unwrap(), "cloud", "ranks", None);
    let kept = records(&site.client, 2).await;
    let is_so = |record: &Value| record["operation"] == "rerank" && record["left_to"]["backend"] == "ranks";
    assert!(kept.iter().all(is_so), "{kept:?}");

    let messages = json!({"model": CLAUDE, "messages": question("x")["messages"]});
    let client = site.client.clone().header("anthropic-version", "2023-06-01");
    let counted = leaves(&client, "/v1/messages/count_tokens", &messages, "claude").await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0, "{}", counted.text());
    let input = json!({"model": "gpt-4o-mini", "input": "hello there"});
    let counted = site.in_mode("cloud").post("/v1/responses/input_tokens", &input).await.unwrap();
    selected(&counted, "cloud", "counts", None);
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 0, "{}", counted.text());
    let here = json!({"model": "echo", "input": "hello there"});
    selected(&site.client.post("/v1/responses/input_tokens", &here).await.unwrap(), "hybrid", "local", None);
    let kept_here = json!({"model": "local/none", "input": "hello there"});
    fails(&site.client.post("/v1/responses/input_tokens", &kept_here).await.unwrap(), 404, "model_not_found");
    let nobody = site.in_mode("cloud").post("/v1/responses/input_tokens", &here).await.unwrap();
    fails(&nobody, 404, "model_not_found");
    assert_eq!(records(&site.client, 2).await.len(), 2, "counts are in no journal");
    assert_eq!(calls(&emulator).len(), 4);
}

/// A hybrid node that a gateway reaches through its tunnel alone.
async fn tunnelled(gateway: &Gateway, backend: &Emulator) -> (Site, String) {
    let files = Files::with_key();
    let (data, address) = (files.path("node"), free_address().unwrap().to_string());
    let join = ["node", "join", "--control", &gateway.origin, "--token", &gateway.invite("rack")];
    let id = Cli::new().run(&[&join[..], &["--data-dir", &data, "--tunnel"]].concat()).ok().trim().to_owned();
    let config = one_backend(backend, "hybrid", "").replace("[[hybrid", "queue_wait_ms = 2000\n[[hybrid");
    let options = ["--model", &builtin(), "--name", MINI, "--kv-memory", "256"];
    let site = files.start_at(&address, &config, &options).await;
    let is_there = |node: &Value| node["status"] == "ready" && node["tunnel"].is_object();
    gateway.until_node(&id, "ready with a tunnel", is_there).await;
    (site, id)
}

fn told(answer: &Answer) -> [Option<&str>; 3] {
    ["agent-execution-profile", "agent-fallback-reason", "agent-attempts"].map(|name| answer.header(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_decides_who_else_serves_what_a_nodes_queue_is_too_long_for() {
    let gateway = Gateway::with(config(), &[]).await;
    gateway.account("openai", POOL).await;
    let backend = Emulator::start(config()).await.unwrap();
    let (site, _) = tunnelled(&gateway, &backend).await;
    let route = gateway.route(json!({"scope": {}, "profiles": ["byoc", "managed_provider"]})).await;
    let short = with(question(MINI), json!({"max_tokens": 8}));
    assert_eq!(told(&gateway.chat_ok(&short).await), [Some("byoc"), None, Some("1")]);

    let endless = with(question(MINI), json!({"n": 8, "ignore_eos": true}));
    let crowd = Crowd::of(&site.client, 16, CHAT, &endless);
    until("a queue", async || load(&site.client).await.1 > 32).await;
    for body in [short.clone(), with(streaming(MINI), json!({"max_tokens": 8}))] {
        let answer = gateway.chat_ok(&body).await;
        assert_eq!(said(&answer), "You said: hello there", "{}", answer.text());
        assert_eq!(told(&answer)[..2], [Some("managed_provider"), Some("rate_limit")], "{answer:?}");
        let request = gateway.settled(&trace_of(&answer)).await;
        has(&request, json!({"mode": "mi"}));
        has(&request["left_nodes"], json!({"on": "rate_limit"}));
    }
    let kept = found("the refusal in the node's journal", async || {
        let kept = records(&site.client, 2).await;
        kept.into_iter().find(|record| record["end"] == "failed" && record["request"].is_string())
    });
    assert_eq!(kept.await.get("left_to"), None, "the node's own backends are not for a gateway's requests");
    assert!(calls(&backend).is_empty());

    // Without anywhere else to go, it waits for its turn.
    gateway.patch(&format!("/v2/routes/{route}"), json!({"profiles": ["byoc"]})).await;
    let waiting = tokio::spawn({
        let (client, body) = (gateway.client(), short.clone());
        async move { client.post(CHAT, &body).await }
    });
    // It is there, or it was refused.
    until("the request beside the others", async || waiting.is_finished() || load(&site.client).await.0 > 16)
        .await;
    drop(crowd);
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!((answer.status, told(&answer)[0]), (200, Some("byoc")), "{}", answer.text());
}
