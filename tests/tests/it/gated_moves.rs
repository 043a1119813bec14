//! What moves traffic onto a node beside routes and aliases: nodes themselves, policies and credentials; changes at the same time; and
//! the way back of a canary that a report let through.

use futures_util::future::join_all;
use harness::Behaviour;
use harness::postgres::Server;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, says, with};
use crate::audit::entries;
use crate::gateway::{Gateway, NODE, OWN_SECOND};
use crate::replays::{ALIASES, Moved, REQUESTS, put, stored};
use crate::wait::found;

const POLICIES: &str = "/v2/policies";
const NODES: &str = "/v2/byoc/nodes";

/// The details of the audit's entries of this action, newest first.
async fn audited(gateway: &Gateway, action: &str) -> Vec<String> {
    let entries = entries(gateway, action).await;
    entries.iter().map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn labels_and_models_that_routes_choose_a_node_by_are_gated() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    gateway.route(of_labelled_nodes()).await;
    let path = format!("{NODES}/{}", moved.node);
    let labelled = json!({"labels": ["gpu"]});
    let refused = problem(&gateway.patched(&path, labelled.clone()).await, 409, "replay_required");
    says(refused["detail"].as_str().unwrap(), &[&moved.node]);
    // What no route looks at, and what leaves it as it is.
    for change in [
        json!({"labels": ["cpu"]}),
        json!({"name": "rack 2"}),
        json!({"status": "draining"}),
        json!({"status": "ready"}),
    ] {
        gateway.patch(&path, change).await;
    }
    // A node that would only then have the model can't be tried before.
    let other = gateway.node("other", &["tide-1"]).await;
    let other = format!("{NODES}/{other}");
    gateway.patch(&other, labelled.clone()).await;
    let refused =
        problem(&gateway.patched(&other, json!({"models": ["tide-1", MINI]})).await, 409, "replay_required");
    assert!(refused["fix"].as_str().unwrap().starts_with("Give openai/gpt-4o-mini a route"), "{refused}");
    let new = json!({
        "name": "new", "base_url": gateway.emulator.base_url(), "secret": NODE, "models": [MINI], "labels": ["gpu"],
    });
    problem(&gateway.admin().post(NODES, &new).await.unwrap(), 409, "replay_required");

    assert_eq!(moved.run(json!({})).await["verdict"], "passed");
    gateway.patch(&path, labelled).await;
    gateway.make(&format!("{NODES}?override_reason=it+is+the+same+machine"), new).await;
    // Nothing of it moved any more than the report lets.
    assert!(audited(gateway, "replay.override").await.is_empty());
}

#[tokio::test]
async fn a_policy_that_leaves_a_node_alone_is_gated() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let admin = gateway.admin();
    let project = json!({"project_id": gateway.founded.project_id});
    let alone = with(project.clone(), json!({"profiles": ["byoc"]}));
    problem(&admin.post(POLICIES, &alone).await.unwrap(), 409, "replay_required");
    let workspace = json!({"workspace": true, "allowed_providers": ["byoc"]});
    problem(&admin.post(POLICIES, &workspace).await.unwrap(), 409, "replay_required");

    let made = gateway.make(POLICIES, with(project, json!({"profiles": ["byok", "byoc"]}))).await;
    let path = format!("{POLICIES}/{}", made["id"].as_str().unwrap());
    problem(&gateway.patched(&path, json!({"profiles": ["byoc"]})).await, 409, "replay_required");
    problem(&put(&admin, &path, &alone).await, 409, "replay_required");
    gateway.patch(&path, json!({"allowed_models": [MINI]})).await;
    let override_path = format!("{path}?override_reason=a+leak+at+the+provider");
    gateway.patch(&override_path, json!({"profiles": ["byoc"]})).await;
    let said = audited(gateway, "replay.override").await;
    assert!(said[0].starts_with("a leak at the provider (100 % of openai/gpt-4o-mini"), "{said:?}");
    // A policy may hide a node, too: without it the route leads there.
    gateway.patch(&path, json!({"profiles": ["byok"]})).await;
    gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byoc", "byok"]})).await;
    problem(&admin.delete(&path).await.unwrap(), 409, "replay_required");
}

#[tokio::test]
async fn a_credential_whose_requests_a_node_would_get_is_gated() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let admin = gateway.admin();
    let listed = gateway.get("/v2/provider-credentials").await;
    let path = format!("/v2/provider-credentials/{}", listed["data"][0]["id"].as_str().unwrap());
    problem(&admin.delete(&path).await.unwrap(), 409, "replay_required");
    // Switching it off is never refused, and switching it on again moves nothing onto the node.
    gateway.patch(&path, json!({"status": "disabled"})).await;
    gateway.patch(&path, json!({"status": "active"})).await;
    let elsewhere = json!({"scope": {"environment": "staging"}});
    problem(&gateway.patched(&path, elsewhere).await, 409, "replay_required");
    // Neither its name nor its secret is what serves.
    gateway.patch(&path, json!({"display_name": "the first"})).await;
    admin.post(&format!("{path}/rotate"), &json!({"secret": OWN_SECOND})).await.unwrap().must_be(200);

    // Where another one serves as well, nothing moves.
    let other = gateway.credential("openai", OWN_SECOND).await;
    gateway.patch(&path, json!({"status": "disabled"})).await;
    gateway.patch(&path, json!({"status": "active"})).await;
    gateway.remove(&format!("/v2/provider-credentials/{other}")).await;

    let reason = "?override_reason=the+contract+ends";
    gateway
        .patched(&format!("{path}{reason}"), json!({"scope": {"environment": "staging"}}))
        .await
        .must_be(200);
    let said = audited(gateway, "replay.override").await;
    assert!(said.len() == 1 && said[0].starts_with("the contract ends (100 % of"), "{said:?}");
    gateway.patch(&path, json!({"scope": {"environment": null}})).await;
    // One that leaked is revoked at once.
    assert_eq!(gateway.patch(&path, json!({"status": "revoked"})).await["status"], "revoked");
    let served = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(served.header("agent-execution-profile"), Some("byoc"), "serving is not gated");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_report_lets_a_credential_go() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let listed = gateway.get("/v2/provider-credentials").await;
    let path = format!("/v2/provider-credentials/{}", listed["data"][0]["id"].as_str().unwrap());
    assert_eq!(moved.run(json!({})).await["verdict"], "passed");
    gateway.remove(&path).await;
}

fn of_labelled_nodes() -> Value {
    json!({"scope": {"model": MINI}, "profiles": ["byoc", "byok"], "node_labels": ["gpu"]})
}

/// A route that prefers labelled nodes, and a label: either moves nothing alone, and both together move everything.
async fn of_two_changes_one_is_refused(moved: &Moved) {
    let gateway = &moved.gateway;
    let node = format!("{NODES}/{}", moved.node);
    let route = of_labelled_nodes();
    for round in 0..10 {
        let admin = gateway.admin();
        let (created, labelled) = tokio::join!(
            admin.post("/v2/routes", &route),
            gateway.patched(&node, json!({"labels": ["gpu"]}))
        );
        let created = created.unwrap();
        match (created.status, labelled.status) {
            (201, 409) => {
                problem(&labelled, 409, "replay_required");
                gateway.remove(&format!("/v2/routes/{}", created.json()["id"].as_str().unwrap())).await;
            }
            (409, 200) => {
                problem(&created, 409, "replay_required");
                gateway.patch(&node, json!({"labels": []})).await;
            }
            _ => panic!("round {round}: {} {}", created.text(), labelled.text()),
        }
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn changes_at_the_same_time_do_not_pass_each_other() {
    let moved = Moved::start().await;
    of_two_changes_one_is_refused(&moved).await;
    all_are_written(&moved).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn changes_at_the_same_time_do_not_pass_each_other_on_postgresql() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database("moves").await.unwrap();
    of_two_changes_one_is_refused(&Moved::of(Gateway::on_database(&url, &[]).await).await).await;
}

/// Each change makes the checks of the others stale, and yet all are written.
async fn all_are_written(moved: &Moved) {
    let admin = moved.gateway.admin();
    let routes = (0..16).map(|number| {
        let route = json!({"scope": {"model": format!("model-{number}")}, "profiles": ["byok"]});
        let admin = &admin;
        async move { admin.post("/v2/routes", &route).await.unwrap() }
    });
    for made in join_all(routes).await {
        made.must_be(201);
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_canary_that_a_report_let_through_is_withdrawn_once_the_node_turns_bad() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let local = "tide-1";
    let node = gateway.node("second", &[local]).await;
    let made = gateway.make(ALIASES, json!({"name": "house", "targets": [{"model": MINI}]})).await;
    let (path, active) = (format!("{ALIASES}/{}", made["id"].as_str().unwrap()), made["release_id"].clone());
    stored(gateway, CHAT, |_| question("house")).await;
    gateway.wait_for_usage(2 * REQUESTS as u64).await;
    let release = gateway.make(&format!("{path}/releases"), json!({"targets": [{"model": local}]})).await;
    let release = release["id"].as_str().unwrap();
    let canary = json!({"release_id": release, "percent": 50, "error_bps_max": 2_000, "requests_min": 5});
    let started = async || gateway.patched(&path, json!({"canary": canary})).await;
    problem(&started().await, 409, "replay_required");
    let candidate = json!({"model": release, "cost_per_hour_micros": 1});
    let run = moved.run(json!({"from": {"alias": "house"}, "candidate": candidate})).await;
    let report = moved.report(&run).await;
    assert_eq!(run["verdict"], "passed", "{report:#}");
    assert_eq!(report["candidate"]["served_by"][0]["principal"], json!(node), "{report:#}");
    assert_eq!(started().await.status, 200);

    let from = |number: usize| with(question("house"), json!({"user": format!("user-{number}")}));
    let profiles = async || {
        let mut found = Vec::new();
        for number in 0..20 {
            let answer = gateway.chat(&from(number)).await;
            found.push((answer.status, answer.header("agent-execution-profile").map(str::to_owned)));
        }
        found
    };
    let well = profiles().await;
    assert!(well.iter().all(|(status, _)| *status == 200), "{well:?}");
    let at_node = well.iter().filter(|(_, profile)| profile.as_deref() == Some("byoc")).count();
    assert!((1..20).contains(&at_node), "{well:?}");

    // As good as it was in the replay, the node is no longer.
    gateway.emulator.script(NODE, [Behaviour { times: Some(10_000), ..Behaviour::status(500) }]);
    let withdrawn = found("the canary to be withdrawn", async || {
        profiles().await;
        Some(gateway.get(&path).await).filter(|now| !now["withdrawn_canary"].is_null())
    })
    .await;
    has(&withdrawn["withdrawn_canary"], json!({"release_id": release, "automatic": true}));
    has(&withdrawn, json!({"canary": null, "release_id": active}));
    let is_back = |all: &[(u16, Option<String>)]| {
        all.iter().all(|(status, profile)| *status == 200 && profile.as_deref() == Some("byok"))
    };
    found("everybody to be back", async || is_back(&profiles().await).then_some(())).await;
    let said = audited(gateway, "alias.withdraw_canary").await;
    assert!(said[0].contains(release) && said[0].contains("gate 20.00 %"), "{said:?}");
    let event: Value = gateway.get(&format!("{path}/measurements")).await;
    let measured = event["data"].as_array().unwrap();
    assert!(measured.iter().any(|row| row["release_id"] == release && row["errors"].as_u64() > Some(0)));
}
