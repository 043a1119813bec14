//! Where among several nodes requests go: by what is in flight, what nodes say of their load, and which prompts they were
//! sent; and how nodes are kept from requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use harness::client::Answer;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ask::{CHAT, MINI, has, question, says, streaming, trace_of, with};
use crate::gateway::{Gateway, NODE, POOL, config, id_of};
use crate::leaving_nodes::{Node, fleet};
use crate::wait::{found, until};

fn node_of(answer: &Answer) -> String {
    answer.header("agent-node-id").unwrap_or_else(|| panic!("no node: {}", answer.text())).to_owned()
}

/// A conversation about its own subject, with so many turns, whose beginning is long enough to be cached.
fn conversation(subject: &str, turns: usize) -> Value {
    let mut messages =
        vec![json!({"role": "system", "content": format!("You know about {subject}. ").repeat(200)})];
    for number in 0..turns {
        messages.push(json!({"role": "user", "content": format!("Question {number} about {subject}?")}));
        messages.push(json!({"role": "assistant", "content": format!("Answer {number}.")}));
    }
    messages.push(json!({"role": "user", "content": "And now?"}));
    json!({"model": MINI, "messages": messages})
}

#[tokio::test]
async fn a_cordoned_node_ends_what_it_runs_and_takes_nothing_new() {
    let (mut gateway, nodes) = fleet(2).await;
    nodes[0].emulator.script(NODE, [Behaviour::held()]);
    nodes[1].fails(Behaviour::status(503));
    let client = gateway.client();
    let body = streaming(MINI);
    let running = client.stream(CHAT, &body);
    let (first, second) = tokio::join!(running, async {
        until("the request is at the node", async || nodes[0].served() == 1).await;
        nodes[1].emulator.clear_scripts();
        has(&gateway.turn(&nodes[0].id, "cordon").await, json!({"status": "cordoned", "drained": false}));
        let plan = gateway.plan(json!({"model": MINI})).await;
        says(&plan["rejected"].to_string(), &["node_cordoned"]);
        let answers = [gateway.chat_ok(&question(MINI)).await, gateway.chat_ok(&question(MINI)).await];
        let drained = gateway.turn(&nodes[0].id, "drain").await;
        has(&drained, json!({"status": "draining", "in_flight": 1, "drained": false}));
        nodes[0].emulator.release();
        answers
    });
    assert_eq!(second.map(|answer| node_of(&answer)), [nodes[1].id.clone(), nodes[1].id.clone()]);
    let mut first = first.unwrap();
    while first.chunk().await.unwrap().is_some() {}
    gateway.until_node(&nodes[0].id, "drained", |node| node["drained"] == true).await;
    // It stays so over a restart, until it is uncordoned.
    gateway.stop().await;
    gateway.start_again().await;
    has(&gateway.shown_node(&nodes[0].id).await, json!({"status": "draining"}));
    assert_eq!(node_of(&gateway.chat_ok(&question(MINI)).await), nodes[1].id);
    has(&gateway.cli().run(&["nodes", "cordon", "rack-0", "--json"]).json(), json!({"status": "cordoned"}));
    gateway.turn(&nodes[1].id, "cordon").await;
    // Nobody is left.
    gateway.chat(&question(MINI)).await.must_be(404);
    has(&gateway.cli().run(&["nodes", "uncordon", "rack-0", "--json"]).json(), json!({"status": "ready"}));
    assert_eq!(node_of(&gateway.chat_ok(&question(MINI)).await), nodes[0].id);
    let drained = gateway.cli().run(&["nodes", "drain", "rack-0", "--wait", "--json"]).json();
    has(&drained, json!({"drained": true, "in_flight": 0}));
}

#[tokio::test]
async fn a_conversation_stays_where_its_prompt_is_and_others_go_elsewhere() {
    let (gateway, _nodes) = fleet(4).await;
    let mut at = BTreeMap::new();
    for subject in ["tides", "harbours", "locks", "piers", "buoys", "ropes", "sails", "charts"] {
        let first = node_of(&gateway.chat_ok(&conversation(subject, 0)).await);
        for turns in 1..4 {
            let answer = gateway.chat_ok(&conversation(subject, turns)).await;
            assert_eq!(node_of(&answer), first, "{subject}, turn {turns}");
            let request = gateway.settled(&trace_of(&answer)).await;
            let placement = request["plan"]["placement"].as_str().unwrap();
            assert!(placement.contains("% cached") && !placement.starts_with("rack-0: 0 ms"), "{placement}");
            assert!(!request["plan"]["rejected"].to_string().contains("placed"), "{request}");
        }
        *at.entry(first).or_insert(0) += 1;
    }
    assert!(at.len() > 1, "all conversations are at one node: {at:?}");
    // The plan says what it expects of each.
    let plan = gateway.plan(json!({"request": conversation("tides", 4), "path": CHAT})).await;
    let attempts = plan["attempts"].as_array().unwrap_or_else(|| panic!("{plan}"));
    let cached_of = |one: &Value| one["placement"]["cached_permille"].as_u64().unwrap();
    let cached: Vec<u64> = attempts.iter().map(cached_of).collect();
    assert_eq!(cached.len(), 4, "{plan}");
    assert!(cached[0] > 500 && cached[1..].iter().all(|one| *one == 0), "{plan}");
}

#[tokio::test]
async fn requests_in_flight_are_spread() {
    let (gateway, nodes) = fleet(3).await;
    for node in &nodes {
        node.fails(Behaviour::held());
    }
    let body = question(MINI);
    // One after the other: two serving cores that choose at the same moment don't see each other's requests yet.
    let mut asking = FuturesUnordered::new();
    for count in 1..=9 {
        asking.push(gateway.chat(&body));
        let arrives = until("the request is at a node", async || {
            nodes.iter().map(Node::served).sum::<usize>() == count
        });
        tokio::select! {
            Some(answer) = asking.next() => panic!("{}", answer.text()),
            () = arrives => {}
        }
    }
    assert_eq!(nodes.iter().map(Node::served).collect::<Vec<_>>(), [3, 3, 3]);
    for node in &nodes {
        node.emulator.release();
    }
    let answers: Vec<Answer> = asking.collect().await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

/// A server that publishes its load, with an emulator behind it.
async fn publishing(emulator: &Emulator, page: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), emulator.addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass(stream, behind, page));
        }
    });
    address
}

/// Answers one request and closes the connection.
async fn pass(mut near: TcpStream, behind: SocketAddr, page: &'static str) -> Option<()> {
    let (mut taken, mut piece) = (Vec::new(), [0; 4096]);
    let head = loop {
        let count = near.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        taken.extend_from_slice(&piece[..count]);
        if let Some(at) = taken.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&taken[..head]).into_owned();
    if text.starts_with("GET /metrics ") {
        let length = page.len();
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}"
        );
        return near.write_all(reply.as_bytes()).await.ok();
    }
    let length = text
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    while taken.len() < head + length.unwrap_or(0) {
        let count = near.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        taken.extend_from_slice(&piece[..count]);
    }
    let mut far = TcpStream::connect(behind).await.ok()?;
    let closing = format!("{}connection: close\r\n\r\n", &text[..head - 2]);
    far.write_all(closing.as_bytes()).await.ok()?;
    far.write_all(&taken[head..]).await.ok()?;
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.ok()?;
    near.write_all(&answer).await.ok()
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_server_that_publishes_a_queue_gets_less() {
    let gateway = Gateway::start().await;
    let busy = "vllm:num_requests_running{engine=\"0\"} 16\nvllm:num_requests_waiting{engine=\"0\"} 12\nvllm:kv_cache_usage_perc{engine=\"0\"} 0.97\n";
    let calm = "llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n";
    let mut ids = Vec::new();
    let mut emulators = Vec::new();
    for (name, page) in [("busy", busy), ("calm", calm)] {
        emulators.push(Emulator::start(config()).await.unwrap());
        let emulator = emulators.last().unwrap();
        let base_url = format!("http://{}/v1", publishing(emulator, page).await);
        let body = json!({"name": name, "base_url": base_url, "secret": NODE, "models": [MINI]});
        ids.push(id_of(&gateway.make("/v2/byoc/nodes", body).await));
    }
    let is_read = |plan: &Value| plan["attempts"][1]["placement"]["kv_permille"] == 970;
    let model = json!({"model": MINI});
    let plan =
        found("the published load", async || Some(gateway.plan(model.clone()).await).filter(is_read)).await;
    let [first, second] = [0, 1].map(|at| &plan["attempts"][at]);
    assert_eq!((&first["principal"], &second["principal"]), (&json!(ids[1]), &json!(ids[0])), "{plan}");
    let placed = &second["placement"];
    assert!(placed["queue_ms"].as_u64() > Some(1_000) && placed["pressure_ms"].as_u64() > Some(0), "{plan}");
    for _ in 0..4 {
        assert_eq!(node_of(&gateway.chat_ok(&question(MINI)).await), ids[1]);
    }
}

/// A node that joined, played by this test: it says that it is full.
pub async fn joined(gateway: &Gateway, emulator: &Emulator, load: Value) -> String {
    let token = gateway.make("/v2/byoc/nodes/join-tokens", json!({"name": "attic"})).await;
    let join = json!({"token": token["token"], "base_url": emulator.base_url(), "secret": NODE});
    let joined = gateway.client().post("/v2/byoc/nodes/join", &join).await.unwrap().must_be(200).json();
    let beat = json!({"models": [MINI], "version": "0", "runtime": "played", "load": load});
    let reporter = gateway.with_key(joined["credential"].as_str().unwrap());
    let id = joined["node_id"].as_str().unwrap().to_owned();
    until("the node is ready", async || {
        reporter.post("/v2/byoc/nodes/heartbeat", &beat).await.unwrap().must_be(200);
        gateway.shown_node(&id).await["status"] == "ready"
    })
    .await;
    id
}

/// What running answers hold of a node's KV cache, and how long their tokens take, come with its heartbeats.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_joined_node_says_how_full_its_cache_is() {
    let gateway = Gateway::start().await;
    let emulator = Emulator::start(config()).await.unwrap();
    let load = json!({
        "running": 1, "cache_bytes": 1_000, "cache_bytes_max": 1_000, "cache_held_bytes": 970, "token_us": 50_000,
    });
    let full = joined(&gateway, &emulator, load.clone()).await;
    let other = Node::of(&gateway, "rack").await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    let [first, second] = [0, 1].map(|at| &plan["attempts"][at]);
    assert_eq!((&first["principal"], &second["principal"]), (&json!(other.id), &json!(full)), "{plan}");
    let placed = &second["placement"];
    assert!(placed["pressure_ms"].as_u64() > Some(0), "{plan}");
    // An eighth of a first token beside one that is decoding, and the step in progress.
    has(placed, json!({"kv_permille": 970, "queue_ms": 300 / 8 + 50 + 1}));
    let node = gateway.shown_node(&full).await;
    let said = &node["joined"]["said"]["load"];
    has(said, json!({"cache_held_bytes": load["cache_held_bytes"], "token_us": load["token_us"]}));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn of_nodes_that_are_about_as_soon_the_one_whose_hour_costs_less_serves() {
    let (gateway, nodes) = fleet(2).await;
    let costs = async |of: [u64; 2]| {
        for (node, cost) in nodes.iter().zip(of) {
            let cost = json!({"cost": {"kind": "cloud", "nano_usd_per_hour": cost}});
            gateway.patch(&format!("/v2/byoc/nodes/{}", node.id), cost).await;
        }
    };
    costs([2_000_000_000, 1_200_000_000]).await;
    for number in 0..8 {
        let body = with(question(MINI), json!({"user": format!("client {number}")}));
        assert_eq!(node_of(&gateway.chat_ok(&body).await), nodes[1].id);
    }
    costs([1_000_000_000, 1_200_000_000]).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    assert_eq!(plan["attempts"][0]["principal"], json!(nodes[0].id), "{plan}");
}

/// What a heartbeat says of a queue counts at once, and a full node is left for what its route lists behind it.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_node_that_says_that_it_is_full_is_left() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let emulator = Emulator::start(config()).await.unwrap();
    let id = joined(&gateway, &emulator, json!({"running": 60, "waiting": 50})).await;
    let route = gateway.route(json!({"scope": {}, "profiles": ["byoc", "managed_provider"]})).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    let told = ["agent-execution-profile", "agent-fallback-reason", "agent-attempts"]
        .map(|name| answer.header(name));
    assert_eq!(told, [Some("managed_provider"), Some("rate_limit"), Some("1")]);
    let request = gateway.settled(&trace_of(&answer)).await;
    says(&request["plan"]["rejected"].to_string(), &["node_full", &id]);
    has(&gateway.shown_node(&id).await, json!({"in_flight": 60}));
    // Where nothing is behind it, it serves all the same.
    gateway.patch(&format!("/v2/routes/{route}"), json!({"profiles": ["byoc"]})).await;
    assert_eq!(node_of(&gateway.chat_ok(&question(MINI)).await), id);
}
