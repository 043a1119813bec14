//! A model is independent of its provider: one write moves it from Azure to Vertex AI under constant traffic,
//! and each request is answered completely, by one provider.

use std::time::{Duration, Instant};

use harness::client::{Answer, Client};
use harness::directory::google::PROJECT;
use harness::{Config, Flavour, Model, sse};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::WITHIN;
use crate::ask::{CHAT, has, question, said, scripted, with};
use crate::gateway::{self, Gateway, OWN, OWN_SECOND, id_of};

const MODEL: &str = "openai/gpt-oss-120b";
const ON_AZURE: &str = "gpt-oss-120b";
const ON_VERTEX: &str = "openai/gpt-oss-120b-maas";
const SAID: &str = "You said: hello there";
/// Fifty requests per second.
const EACH: Duration = Duration::from_millis(20);
const BEFORE: usize = 100;
const AFTER: usize = 150;

fn config() -> Config {
    [ON_AZURE, ON_VERTEX].into_iter().fold(gateway::config(), |config, id| config.model(Model::chat(id)))
}

async fn azure(gateway: &Gateway) -> String {
    let deployments = json!({"deployments": {MODEL: format!("my-{ON_AZURE}")}});
    let base_url = gateway.emulator.base_url_of(Flavour::Azure);
    let body = json!({"provider": "azure", "secret": OWN, "base_url": base_url, "config": deployments});
    id_of(&gateway.make("/v2/provider-credentials", body).await)
}

async fn vertex(gateway: &Gateway) -> String {
    let file = gateway.emulator.service_account(OWN_SECOND);
    let config = json!({"location": "us-central1", "project": PROJECT, "token_url": file["token_uri"]});
    let body = json!({
        "provider": "vertex", "auth": "service_account", "secret": file, "base_url": gateway.emulator.origin(),
        "config": config,
    });
    id_of(&gateway.make("/v2/provider-credentials", body).await)
}

/// One request, with the time at which it was sent.
struct Exchange {
    sent: Instant,
    answer: Answer,
}

/// Every other request is a stream that takes longer than the interval between two.
fn turn(number: usize) -> Value {
    match number % 2 {
        0 => question(MODEL),
        _ => with(scripted(MODEL, "interval=60"), json!({"stream": true})),
    }
}

/// Sends requests at a fixed rate, whatever the answers do.
async fn ask(client: &Client, count: usize, requests: &mut JoinSet<Exchange>) {
    let mut pace = tokio::time::interval(EACH);
    for number in 0..count {
        pace.tick().await;
        let client = client.clone();
        requests.spawn(async move {
            let sent = Instant::now();
            Exchange { sent, answer: client.post(CHAT, &turn(number)).await.unwrap() }
        });
    }
}

fn is_whole(answer: &Answer) {
    assert_eq!((answer.status, said(answer).as_str()), (200, SAID), "{}", answer.text());
    if answer.header("content-type") == Some("text/event-stream") {
        let events = sse::events(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_write_moves_a_model_between_clouds_and_no_request_notices() {
    let gateway = Gateway::with(config(), &[]).await;
    let (azure, vertex) = (azure(&gateway).await, vertex(&gateway).await);
    let on = |credential: &str| json!({"scope": {"model": MODEL}, "profiles": ["byok"], "credential_ids": [credential]});
    let route = gateway.route(on(&azure)).await;
    let client = gateway.client().within(WITHIN);
    let mut requests = JoinSet::new();
    ask(&client, BEFORE, &mut requests).await;
    let admin = gateway.admin();
    let (path, to_vertex) = (format!("/v2/routes/{route}"), on(&vertex));
    let moving = async {
        let written = Instant::now();
        admin.put(&path, &to_vertex).await.unwrap().must_be(200);
        (written, Instant::now())
    };
    let ((written_at, answered_at), ()) = tokio::join!(moving, ask(&client, AFTER, &mut requests));
    let requests = requests.join_all().await;
    let mut last_on_azure = written_at;
    let mut served = [0_u64; 2];
    for Exchange { sent, answer } in &requests {
        is_whole(answer);
        match (answer.header("agent-resolved-provider"), answer.header("agent-byok-credential-id")) {
            (Some("azure_openai"), Some(id)) if id == azure => {
                assert!(*sent < answered_at, "asked after the write was answered: {answer:?}");
                last_on_azure = last_on_azure.max(*sent);
                served[0] += 1;
            }
            (Some("vertex_ai"), Some(id)) if id == vertex => {
                assert!(*sent + EACH >= written_at, "asked before the write: {answer:?}");
                served[1] += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    let switch = last_on_azure.saturating_duration_since(written_at);
    println!("{served:?} on Azure and on Vertex AI; the last was sent to Azure {switch:?} after the write");
    assert!(served[0] >= BEFORE as u64 / 2 && served[1] >= AFTER as u64 / 2, "{served:?}");
    // Each was sent to one provider, once, and is booked there.
    let reached = [OWN, OWN_SECOND].map(|key| gateway.calls(key).len() as u64);
    assert_eq!(reached, served);
    gateway.wait_for_usage(served.iter().sum()).await;
    let usage = gateway.get("/v2/usage?group_by=provider").await;
    for (provider, count) in [("azure_openai", served[0]), ("vertex_ai", served[1])] {
        let row = gateway::row(&usage["data"], "provider", provider);
        has(row, json!({"requests": count, "failed_requests": 0}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}
