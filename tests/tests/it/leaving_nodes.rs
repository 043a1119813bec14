//! A route that lists another profile behind its nodes leaves them at the first failure or limit, within the same request,
//! and says why. Without such a route, and where a policy or the hints forbid it, a request stays on the nodes.

use std::time::Duration;

use harness::client::Answer;
use harness::process::free_address;
use harness::{Behaviour, Emulator};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, question, refused, said, says, streaming, trace_of, with};
use crate::audit::audited;
use crate::gateway::{Gateway, NODE, OWN, POOL, config, id_of, row};
use crate::hints::hinting;
use crate::wait::until;

const BOTH: [&str; 2] = ["byoc", "managed_provider"];

/// A node on its own server, so that it fails alone.
pub struct Node {
    pub emulator: Emulator,
    pub id: String,
}

impl Node {
    pub async fn of(gateway: &Gateway, name: &str) -> Self {
        let emulator = Emulator::start(config()).await.unwrap();
        let body = json!({"name": name, "base_url": emulator.base_url(), "secret": NODE, "models": [MINI]});
        let id = id_of(&gateway.make("/v2/byoc/nodes", body).await);
        Self { emulator, id }
    }

    /// The requests that it was sent, without those that find out what it can do.
    pub fn served(&self) -> usize {
        self.emulator.journal().iter().filter(|entry| entry.method == "POST" && !entry.is_probe()).count()
    }

    pub fn fails(&self, behaviour: Behaviour) {
        self.emulator.script(NODE, [behaviour.always()]);
    }
}

/// A gateway with as many nodes.
pub async fn fleet(nodes: usize) -> (Gateway, Vec<Node>) {
    let gateway = Gateway::start().await;
    let mut added = Vec::new();
    for number in 0..nodes {
        added.push(Node::of(&gateway, &format!("rack-{number}")).await);
    }
    (gateway, added)
}

/// A gateway with an account and as many nodes, and a route that lists nodes before accounts.
async fn hybrid(nodes: usize, more: Value) -> (Gateway, Vec<Node>) {
    let (gateway, added) = fleet(nodes).await;
    gateway.account("openai", POOL).await;
    let route = json!({"scope": {}, "profiles": BOTH, "first_byte_timeout_ms": 300});
    gateway.route(with(route, more)).await;
    (gateway, added)
}

fn headers<'a>(answer: &'a Answer, names: &[&str]) -> Vec<Option<&'a str>> {
    names.iter().map(|name| answer.header(name)).collect()
}

const TOLD: [&str; 4] =
    ["agent-execution-profile", "agent-fallback-used", "agent-fallback-reason", "agent-attempts"];

/// Checks that the pool served, for this reason and after so many attempts.
#[track_caller]
fn left_for_the_pool(answer: &Answer, reason: &str, attempts: &str) {
    let told = [Some("managed_provider"), Some("true"), Some(reason), Some(attempts)];
    assert_eq!(headers(answer, &TOLD), told, "{reason}");
}

#[tokio::test]
async fn a_node_is_left_at_its_first_failure_and_the_answer_says_why() {
    for (behaviour, reason) in [
        (Behaviour::status(500), "upstream"),
        (Behaviour::status(503), "overloaded"),
        (Behaviour::reset(), "upstream"),
        (Behaviour::status(401), "auth"),
        (Behaviour::rate_limited(40), "rate_limit"),
        (Behaviour::ok().latency(Duration::from_secs(20)), "timeout"),
    ] {
        for body in [question(MINI), streaming(MINI)] {
            let (gateway, nodes) = hybrid(1, json!({})).await;
            nodes[0].fails(behaviour.clone());
            let answer = gateway.chat_ok(&body).await;
            assert_eq!(said(&answer), "You said: hello there", "{reason}");
            left_for_the_pool(&answer, reason, "2");
            assert_eq!((nodes[0].served(), gateway.calls(POOL).len()), (1, 1), "{reason}");
            let request = gateway.settled(&trace_of(&answer)).await;
            has(&request, json!({"mode": "mi", "fallback_used": true}));
            let left = &request["left_nodes"];
            has(left, json!({"on": reason}));
            let detail = left["detail"].as_str().unwrap();
            assert!(detail.starts_with("rack-0 was left for managed_provider: "), "{left}");
            let attempts = request["attempts"].as_array().unwrap();
            assert!(attempts.iter().map(|one| &one["profile"]).eq(BOTH), "{request}");
            assert!(attempts[0]["fault"].is_string() && request["charge_nanos"] != 0, "{request}");
        }
    }
}

#[tokio::test]
async fn a_node_that_refuses_connections_is_left_before_any_poll_finds_out() {
    let (gateway, nodes) = hybrid(1, json!({})).await;
    let first = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(headers(&first, &TOLD), [Some("byoc"), Some("false"), None, Some("1")]);
    nodes[0].emulator.refuse().await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    left_for_the_pool(&answer, "upstream", "2");
    let entry = audited(&gateway, "request.fall_back").await;
    says(entry["detail"].as_str().unwrap(), &["served by the managed pool"]);
    gateway.wait_for_usage(2).await;
    let snapshot = gateway.get("/v2/billing/snapshot").await;
    for (mode, requests) in [("byoc", 1), ("mi", 1), ("byok", 0)] {
        assert_eq!(row(&snapshot["mtd"]["by_mode"], "mode", mode)["requests"], requests, "{snapshot}");
    }
    nodes[0].emulator.accept_again().await.unwrap();
    until("the node serves again", async || {
        gateway.chat_ok(&question(MINI)).await.header("agent-execution-profile") == Some("byoc")
    })
    .await;
}

/// A limit with a time is known to the next request, which is not sent to the node at all.
#[tokio::test]
async fn a_node_that_is_known_to_be_full_is_not_asked() {
    let (gateway, nodes) = hybrid(1, json!({})).await;
    nodes[0].fails(Behaviour::rate_limited(40));
    gateway.chat_ok(&question(MINI)).await;
    for body in [question(MINI), streaming(MINI)] {
        let answer = gateway.chat_ok(&body).await;
        left_for_the_pool(&answer, "rate_limit", "1");
        let request = gateway.settled(&trace_of(&answer)).await;
        has(&request["left_nodes"], json!({"on": "rate_limit"}));
        says(&request["plan"]["rejected"].to_string(), &["rate_limited"]);
    }
    assert_eq!(nodes[0].served(), 1);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn the_next_node_comes_before_the_next_profile() {
    let (gateway, nodes) = hybrid(2, json!({})).await;
    let asked = gateway.plan(json!({"model": MINI})).await;
    let attempts = asked["attempts"].as_array().unwrap();
    let planned = attempts.iter().map(|one| (&one["profile"], &one["fallback"])).collect::<Vec<_>>();
    let expected = json!([["byoc", false], ["byoc", false], ["managed_provider", true]]);
    assert_eq!(json!(planned), expected, "{asked}");
    for failing in [0, 1] {
        nodes[failing].fails(Behaviour::status(503));
        let answer = gateway.chat_ok(&question(MINI)).await;
        assert_eq!(headers(&answer, &TOLD[..3]), [Some("byoc"), Some("false"), None]);
        assert_eq!(answer.header("agent-node-id"), Some(nodes[1 - failing].id.as_str()));
        assert_eq!(gateway.calls(POOL).len(), 0);
        nodes[failing].emulator.clear_scripts();
    }
    for node in &nodes {
        node.fails(Behaviour::status(503));
    }
    let answer = gateway.chat_ok(&question(MINI)).await;
    left_for_the_pool(&answer, "overloaded", "3");
}

/// However many nodes fail, attempts are left for the next profile.
#[cfg(feature = "control")]
#[tokio::test]
async fn many_failing_nodes_do_not_use_up_the_attempts() {
    let (gateway, nodes) = hybrid(7, json!({})).await;
    for node in &nodes {
        node.fails(Behaviour::status(500));
    }
    let answer = gateway.chat_ok(&question(MINI)).await;
    left_for_the_pool(&answer, "upstream", "4");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn own_credentials_behind_nodes_stay_strict() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway.credential("openai", OWN).await;
    let node = Node::of(&gateway, "rack").await;
    gateway.route(json!({"scope": {}, "strategy": "local_first"})).await;
    node.fails(Behaviour::status(503));
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(headers(&answer, &TOLD), [Some("byok"), Some("true"), Some("overloaded"), Some("2")]);
    let request = gateway.settled(&trace_of(&answer)).await;
    has(&request, json!({"mode": "byok"}));
    has(&request["left_nodes"], json!({"on": "overloaded"}));
    gateway.emulator.script(OWN, [Behaviour::status(401).always()]);
    assert_eq!(gateway.chat(&question(MINI)).await.status, 502);
    assert_eq!(gateway.calls(POOL).len(), 0);
}

#[cfg(feature = "control")]
#[tokio::test]
async fn what_forbids_leaving_keeps_a_request_on_the_nodes() {
    // The broker's own order names no profile behind nodes.
    let (own_order, nodes) = hybrid(1, json!({"profiles": null})).await;
    nodes[0].fails(Behaviour::status(503));
    assert_eq!(own_order.chat(&question(MINI)).await.status, 503);
    // The route leaves for other failures alone.
    let (named, nodes) = hybrid(1, json!({"fallback_on": ["timeout"]})).await;
    nodes[0].fails(Behaviour::status(503));
    assert_eq!(named.chat(&question(MINI)).await.status, 503);
    // The policy keeps the project's requests on its own hardware.
    let (held, nodes) = hybrid(1, json!({})).await;
    let policy = json!({"project_id": held.founded.project_id, "profiles": ["byoc"]});
    held.make("/v2/policies", policy).await;
    nodes[0].fails(Behaviour::status(503));
    let answer = held.chat(&question(MINI)).await;
    assert_eq!((answer.status, headers(&answer, &TOLD[..3])), (503, vec![Some("byoc"), Some("false"), None]));
    // The client's hints do.
    let (hinted, nodes) = hybrid(1, json!({})).await;
    nodes[0].fails(Behaviour::status(503));
    let client = hinting(&hinted, &json!({"qos": {"degrade_policy": "forbid"}}));
    let answer = client.post(CHAT, &question(MINI)).await.unwrap();
    assert_eq!((answer.status, answer.header("agent-fallback-used")), (503, Some("false")));
    let request = hinted.settled(&trace_of(&answer)).await;
    says(&request["plan"]["rejected"].to_string(), &["degrade_forbidden"]);
    for gateway in [own_order, named, held, hinted] {
        assert_eq!(gateway.calls(POOL).len(), 0);
    }
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_node_is_not_left_once_its_answer_has_begun() {
    let (gateway, nodes) = hybrid(2, json!({})).await;
    for node in &nodes {
        node.fails(Behaviour::ok().chunks(6).cut(3));
    }
    let client = gateway.client();
    let mut answer = client.stream(CHAT, &streaming(MINI)).await.unwrap();
    let told = [TOLD[0], TOLD[1], TOLD[2]].map(|name| answer.header(name));
    assert_eq!(told, [Some("byoc"), Some("false"), None]);
    while let Ok(Some(_)) = answer.chunk().await {}
    assert_eq!(nodes.iter().map(Node::served).sum::<usize>(), 1);
    assert_eq!(gateway.calls(POOL).len(), 0);
}

/// A request that is wrong itself fails at the node as anywhere.
#[cfg(feature = "control")]
#[tokio::test]
async fn a_wrong_request_leaves_no_node() {
    let (gateway, _nodes) = hybrid(1, json!({})).await;
    gateway.chat(&with(question(MINI), json!({"temperature": 9}))).await.must_be(400);
    assert_eq!(gateway.calls(POOL).len(), 0);
}

/// One that the last poll found unreachable is no candidate; the request still says that it left it.
#[cfg(feature = "control")]
#[tokio::test]
async fn an_unreachable_node_is_left_in_the_plan_or_keeps_its_503() {
    for (more, status) in [(json!({}), 200), (json!({"profiles": null}), 503)] {
        let (gateway, nodes) = hybrid(1, more).await;
        // A new address is polled at once.
        let path = format!("/v2/byoc/nodes/{}", nodes[0].id);
        let moved = json!({"base_url": format!("http://{}/v1", free_address().unwrap()), "secret": NODE});
        has(&gateway.patch(&path, moved).await, json!({"status": "unreachable"}));
        let answer = gateway.chat(&question(MINI)).await.must_be(status);
        if status == 503 {
            refused(&answer, 503, "node_unreachable");
            continue;
        }
        left_for_the_pool(&answer, "upstream", "1");
        has(&gateway.settled(&trace_of(&answer)).await["left_nodes"], json!({"on": "upstream"}));
    }
}
