//! Replay runs and the gate: stored requests are sent to a node, a signed report tells how it did, and traffic of others moves onto
//! the node on such evidence alone.

use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::stream::{self, StreamExt};
use harness::client::{Answer, Client};
use harness::postgres::Server;
use harness::{Behaviour, Entry, Model};
use serde_json::{Value, json};

use crate::ask::{CHAT, LLAMA, MINI, posted, problem, question, streaming, trace_of, with};
use crate::gateway::{Founded, Gateway, NODE, OWN, config, id_of};
use crate::isolation::second_workspace;
use crate::wait::{a_moment, found, until};

const RUNS: &str = "/v2/replay-runs";
/// Of the provider that served the stored requests.
const JUDGE: &str = "openai/gpt-4o";
const VECTORS: &str = "text-embedding-3-small";
pub const GATES: &str = "/v2/replay-gates";
pub const ALIASES: &str = "/v2/model-aliases";
/// As many as the gates of these tests need at least, and a few more.
pub const REQUESTS: usize = 24;
/// For so long the provider lets each of the stored requests wait. A node that lets none wait keeps to the usual gates of latency on a busy machine,
/// too.
const OF_PROVIDER: Duration = Duration::from_millis(150);
/// Of the stored requests: together they would wait for each other.
const AT_ONCE: usize = 4;

/// A workspace with traffic that its own credential serves, and a node that could.
pub struct Moved {
    pub gateway: Gateway,
    pub node: String,
}

/// The usual gates of latency, and those of numbers as so few requests can keep them.
pub fn gates() -> Value {
    json!({
        "requests_min": 20, "first_token_p95_percent_max": 150, "total_p95_percent_max": 150,
        "error_bps_max": 2_500, "headroom_percent_min": 1,
    })
}

/// Stores as many requests as the gates need, all of which the provider lets wait.
pub async fn stored(gateway: &Gateway, path: &str, body: impl Fn(usize) -> Value) {
    let waits = Behaviour::ok().latency(OF_PROVIDER).times(u32::try_from(REQUESTS).unwrap());
    gateway.emulator.script(OWN, [waits]);
    let sent = stream::iter((0..REQUESTS).map(body)).map(|body| {
        let client = gateway.client();
        async move { client.post(path, &body).await.unwrap() }
    });
    let mut answers = sent.buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"), "the provider serves it");
    }
}

impl Moved {
    pub async fn start() -> Self {
        Self::of(Gateway::start().await).await
    }

    pub async fn of(gateway: Gateway) -> Self {
        gateway.credential("openai", OWN).await;
        let body = |number: usize| if number.is_multiple_of(12) { question(MINI) } else { streaming(MINI) };
        stored(&gateway, CHAT, body).await;
        gateway.wait_for_usage(REQUESTS as u64).await;
        let node = gateway.node("rack", &[MINI]).await;
        put(&gateway.admin(), GATES, &json!({"gates": gates()})).await.must_be(200);
        Self { gateway, node }
    }

    fn to_node(&self) -> Value {
        json!({"scope": {"model": MINI}, "profiles": ["byoc"]})
    }

    async fn create_route(&self, query: &str) -> Answer {
        self.gateway.admin().post(&format!("/v2/routes{query}"), &self.to_node()).await.unwrap()
    }

    /// The route that would move traffic waits for a report.
    async fn is_gated(&self) -> Value {
        problem(&self.create_route("").await, 409, "replay_required")
    }

    /// A run with these fields, and its report, which has this verdict.
    async fn judged(&self, more: Value, verdict: &str) -> (Value, Value) {
        let run = self.run(more).await;
        let report = self.report(&run).await;
        assert_eq!(run["status"], "completed", "{run:#}");
        assert_eq!(run["verdict"], verdict, "{report:#}");
        (run, report)
    }

    /// Why a run with these fields is refused, at which field.
    async fn refuses(&self, more: Value, field: &str) {
        let answer = self.gateway.admin().post(RUNS, &self.input(more)).await.unwrap();
        let refused = problem(&answer, 400, "invalid_value");
        assert_eq!(refused["param"], field, "{refused}");
    }

    fn input(&self, more: Value) -> Value {
        let candidate = json!({"node_id": self.node, "model": MINI, "cost_per_hour_micros": 1});
        with(json!({"from": {"model": MINI}, "candidate": candidate}), more)
    }

    pub async fn run(&self, more: Value) -> Value {
        let made = self.gateway.make(RUNS, self.input(more)).await;
        self.ended(&id_of(&made)).await
    }

    pub async fn show(&self, id: &str) -> Value {
        self.gateway.get(&format!("{RUNS}/{id}")).await
    }

    pub async fn ended(&self, id: &str) -> Value {
        found("the replay run to end", async || {
            let shown = self.show(id).await;
            let is_over = !["queued", "running"].contains(&shown["status"].as_str().unwrap());
            is_over.then_some(shown)
        })
        .await
    }

    pub async fn report(&self, run: &Value) -> Value {
        self.gateway.get(&format!("{RUNS}/{}/report", id_of(run))).await
    }
}

pub async fn put(client: &Client, path: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    client.call(http::Method::PUT, path, &json, body.to_string()).await.unwrap()
}

fn of_gate<'r>(report: &'r Value, name: &str) -> &'r Value {
    let results = report["results"].as_array().unwrap();
    results.iter().find(|one| one["gate"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

/// Refused; then a run passes, and the same is let through.
async fn moves_on_evidence(moved: &Moved) {
    let Moved { gateway, node } = moved;
    let refused = moved.is_gated().await;
    let message = refused["detail"].as_str().unwrap_or_else(|| panic!("{refused}"));
    assert!(message.contains("100 % of openai/gpt-4o-mini (24 of the newest 24 requests"), "{message}");
    assert!(message.contains(node.as_str()), "{message}");

    let (run, report) = moved.judged(json!({}), "passed").await;
    assert_eq!((&run["requests"], &run["ended"]), (&json!(REQUESTS), &json!(REQUESTS)), "{run:#}");
    assert_eq!(report["set"]["models"], json!({MINI: REQUESTS}), "{report:#}");
    let served = json!([{"principal": node, "upstream_model": MINI, "requests": REQUESTS}]);
    assert_eq!(report["candidate"]["served_by"], served, "{report:#}");
    assert_eq!(report["requests"], json!({"sent": REQUESTS, "errors": 0}));
    assert_eq!(report["first_token"]["requests"], json!(REQUESTS - 2), "those that stream");
    assert_eq!(gateway.calls(NODE).len(), REQUESTS);

    moved.create_route("").await.must_be(201);
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-execution-profile"), Some("byoc"));
}

#[tokio::test]
async fn traffic_moves_onto_a_node_on_evidence_alone() {
    let moved = Moved::start().await;
    moves_on_evidence(&moved).await;
    let Moved { gateway, .. } = &moved;

    // The report holds away from the gateway, and not once a number of it is changed.
    let run = &gateway.get(RUNS).await["data"][0];
    let report = moved.report(run).await;
    let file = gateway.directory().join("report.json");
    std::fs::write(&file, report.to_string()).unwrap();
    let path = file.display().to_string();
    gateway.cli().run(&["receipt", "verify", &path]).ok();
    std::fs::write(&file, with(report, json!({"verdict": "failed"})).to_string()).unwrap();
    gateway.cli().run(&["receipt", "verify", &path]).failed(1);

    // The replayed requests say what they were made for, and are none of their client's.
    let replayed = found("the records of the replayed requests", async || {
        let listed = gateway.get("/v2/requests?profile=byoc&limit=50").await;
        let mut records = listed["data"].as_array().unwrap().clone();
        records.retain(|one| one["key_id"].is_null());
        (records.len() >= REQUESTS).then_some(records)
    })
    .await;
    assert_eq!(replayed.len(), REQUESTS, "{replayed:#?}");
    let one = gateway.get(&format!("/v2/requests/{}", replayed[0]["id"].as_str().unwrap())).await;
    assert_eq!(one["made_for"]["purpose"], "replay", "{one:#}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn traffic_moves_onto_a_node_on_evidence_alone_on_postgresql() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::own(directory.path()).await.unwrap();
    let url = server.database("replays").await.unwrap();
    let key_file = directory.path().join("master.key").display().to_string();
    let environment = [("TIDEGATE_DATABASE_URL", url.as_str()), ("TIDEGATE_MASTER_KEY_FILE", &key_file)];
    let moved = Moved::of(Gateway::with(config(), &environment).await).await;
    moves_on_evidence(&moved).await;
}

#[tokio::test]
async fn a_candidate_that_fails_moves_nothing() {
    let moved = Moved::start().await;
    moved.gateway.emulator.script(NODE, [Behaviour::status(500).times(1_000)]);
    let (_, report) = moved.judged(json!({}), "failed").await;
    assert_eq!(report["requests"]["errors"], json!(REQUESTS), "{report:#}");
    assert_eq!(of_gate(&report, "error_bps_max")["verdict"], "failed", "{report:#}");
    moved.is_gated().await;
}

/// A node that takes 300 ms longer than the provider did is refused, and let through once it takes less.
#[tokio::test]
async fn a_node_that_is_slower_than_the_provider_moves_nothing() {
    let moved = Moved::start().await;
    let takes = |latency: Duration| {
        let each = Behaviour::ok().latency(latency).times(u32::try_from(REQUESTS).unwrap());
        moved.gateway.emulator.script(NODE, [each]);
    };
    takes(OF_PROVIDER + Duration::from_millis(300));
    let (_, report) = moved.judged(json!({}), "failed").await;
    assert_eq!(report["requests"], json!({"sent": REQUESTS, "errors": 0}), "{report:#}");
    for gate in ["first_token_p95_percent_max", "total_p95_percent_max"] {
        assert_eq!(of_gate(&report, gate)["verdict"], "failed", "{report:#}");
    }
    moved.is_gated().await;

    takes(OF_PROVIDER / 2);
    moved.judged(json!({}), "passed").await;
    moved.create_route("").await.must_be(201);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_report_of_looser_gates_or_of_too_few_requests_moves_nothing() {
    let moved = Moved::start().await;
    moved.judged(json!({"gates": with(gates(), json!({"error_bps_max": 10_000}))}), "passed").await;
    moved.is_gated().await;

    let few = json!({"from": {"model": MINI, "requests_max": 10}});
    let (_, report) = moved.judged(few, "inconclusive").await;
    assert_eq!(of_gate(&report, "requests_min")["verdict"], "inconclusive", "{report:#}");
    moved.is_gated().await;

    // Stricter ones stand for the workspace's own.
    moved.judged(json!({"gates": with(gates(), json!({"error_bps_max": 2_400}))}), "passed").await;
    moved.create_route("").await.must_be(201);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn every_writer_of_routes_is_gated_and_nothing_else_is() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    // No traffic of others, no node, or a node that serves already: none of these is a move.
    gateway.route(json!({"scope": {"model": LLAMA}, "profiles": ["byoc"]})).await;
    gateway.route(json!({"scope": {"environment": "staging"}, "profiles": ["byoc"]})).await;
    let own = gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byok", "byoc"]})).await;

    // What a condition depends on is not in the records: each request could fulfil it.
    let conditional = with(moved.to_node(), json!({"when": {"metadata": {"tier": "gold"}}}));
    problem(&gateway.admin().post("/v2/routes", &conditional).await.unwrap(), 409, "replay_required");

    let path = format!("/v2/routes/{own}");
    let to_node = json!({"profiles": ["byoc"]});
    problem(&gateway.patched(&path, to_node.clone()).await, 409, "replay_required");
    problem(&put(&gateway.admin(), &path, &moved.to_node()).await, 409, "replay_required");
    let reason = "?override_reason=tried+by+hand";
    assert_eq!(gateway.patched(&format!("{path}{reason}"), to_node).await.status, 200);
    gateway.patch(&path, json!({"profiles": ["byok"]})).await;
    // Back to the version that led to the node.
    let back = gateway.admin().post(&format!("{path}/rollback"), &json!({"version": 2})).await.unwrap();
    problem(&back, 409, "replay_required");

    let open = put(&gateway.admin(), GATES, &json!({"byoc_activation": "open", "gates": gates()})).await;
    assert_eq!(open.json()["byoc_activation"], "open", "{}", open.text());
    assert_eq!(gateway.patched(&path, json!({"profiles": ["byoc"]})).await.status, 200);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_release_that_moves_traffic_is_gated_and_then_a_canary() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let local = "tide-1";
    let node = gateway.node("second", &[local]).await;
    let alias = gateway.make(ALIASES, json!({"name": "house", "targets": [{"model": MINI}]})).await;
    let path = format!("{ALIASES}/{}", id_of(&alias));
    stored(gateway, CHAT, |_| question("house")).await;
    gateway.wait_for_usage(2 * REQUESTS as u64).await;

    let release = json!({"targets": [{"model": local}]});
    let installed = gateway.make(&format!("{path}/releases"), release.clone()).await;
    let admin = gateway.admin();
    let promoted = async || admin.post(&format!("{path}/promote"), &json!({})).await.unwrap();
    problem(&promoted().await, 409, "replay_required");
    problem(&gateway.patched(&path, release.clone()).await, 409, "replay_required");
    let few = with(release.clone(), json!({"targets": [{"model": MINI, "weight": 99}, {"model": local}]}));
    problem(&gateway.patched(&path, few).await, 409, "replay_required");
    let canary = with(release, json!({"canary_percent": 10}));
    problem(&admin.post(&format!("{path}/releases"), &canary).await.unwrap(), 409, "replay_required");

    // The candidate is the release itself: what serves it is found by the routes.
    let candidate = json!({"model": installed["id"], "cost_per_hour_micros": 1});
    let of_alias = json!({"from": {"alias": "house"}, "candidate": candidate});
    let (_, report) = moved.judged(of_alias, "passed").await;
    assert_eq!(report["candidate"]["served_by"][0]["principal"], json!(node), "{report:#}");
    let started = gateway.make(&format!("{path}/releases"), canary).await;
    assert_eq!(started["status"], "canary", "{started:#}");
    assert_eq!(gateway.get(&path).await["canary"]["percent"], 10);
    promoted().await.must_be(200);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_alias_that_hides_or_uncovers_another_of_its_name_is_gated() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let (admin, project) = (gateway.admin(), gateway.founded.project_id.clone());
    let local = "tide-1";
    gateway.node("second", &[local]).await;
    let alias = |name: &str, model: &str, project: Option<&str>| json!({"name": name, "project_id": project, "targets": [{"model": model}]});
    gateway.make(ALIASES, alias("house", MINI, None)).await;
    gateway.make(ALIASES, alias("home", local, None)).await;
    let own = gateway.make(ALIASES, alias("home", MINI, Some(&project))).await;
    for name in ["house", "home"] {
        stored(gateway, CHAT, |_| question(name)).await;
    }
    gateway.wait_for_usage(3 * REQUESTS as u64).await;

    let hiding = alias("house", local, Some(&project));
    problem(&admin.post(ALIASES, &hiding).await.unwrap(), 409, "replay_required");
    let path = format!("{ALIASES}/{}", id_of(&own));
    problem(&admin.delete(&path).await.unwrap(), 409, "replay_required");
    // Nobody names this one yet.
    gateway.make(ALIASES, alias("attic", local, Some(&project))).await;
    let reason = "?override_reason=tried+by+hand";
    admin.delete(&format!("{path}{reason}")).await.unwrap().must_be(204);
    admin.post(&format!("{ALIASES}{reason}"), &hiding).await.unwrap().must_be(201);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_route_of_one_key_is_judged_by_the_requests_of_that_key() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let (secret, id) = gateway.key(json!({"name": "rare"})).await;
    let rare = gateway.with_key(&secret);
    posted(&rare, CHAT, &question(MINI)).await;
    // As many newer ones of another key as are looked at of a model.
    for _ in 0..200 {
        gateway.chat_ok(&question(MINI)).await;
    }
    gateway.wait_for_usage(REQUESTS as u64 + 201).await;
    let narrow = json!({"scope": {"key_id": id}, "profiles": ["byoc"]});
    let refused = gateway.admin().post("/v2/routes", &narrow).await.unwrap();
    let refused = problem(&refused, 409, "replay_required");
    let message = refused["detail"].as_str().unwrap();
    assert!(message.contains("100 % of openai/gpt-4o-mini (1 of the newest 1 requests"), "{message}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_run_goes_on_after_a_kill() {
    let mut moved = Moved::start().await;
    moved.gateway.emulator.script(NODE, [Behaviour::ok().times(7), Behaviour::held().times(2)]);
    let id = id_of(&moved.gateway.make(RUNS, moved.input(json!({"concurrency_max": 2}))).await);
    until("seven answers to be stored, and two to be waited for", async || {
        moved.show(&id).await["ended"] == 7 && moved.gateway.calls(NODE).len() == 9
    })
    .await;
    moved.gateway.crash().await;
    moved.gateway.emulator.release();
    let run = moved.ended(&id).await;
    assert_eq!((&run["verdict"], &run["ended"]), (&json!("passed"), &json!(REQUESTS)), "{run:#}");
    // Only the two that were under way are sent a second time.
    assert_eq!(moved.gateway.calls(NODE).len(), REQUESTS + 2);
    let report = moved.report(&run).await;
    assert_eq!(report["requests"], json!({"sent": REQUESTS, "errors": 0}), "{report:#}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_run_is_cancelled_once_fails_without_requests_and_is_refused_if_it_compares_what_is_not_kept() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    gateway.emulator.script(NODE, [Behaviour::held().times(100)]);
    let made = gateway.make(RUNS, moved.input(json!({}))).await;
    let id = made["id"].as_str().unwrap();
    until("requests to be under way", async || !gateway.calls(NODE).is_empty()).await;
    let cancel = async || gateway.admin().post(&format!("{RUNS}/{id}/cancel"), &json!({})).await.unwrap();
    let cancelled = cancel().await.must_be(200);
    assert_eq!(cancelled.json()["status"], "cancelled");
    problem(&cancel().await, 409, "replay_run_over");
    gateway.emulator.release();
    assert_eq!(moved.ended(id).await["status"], "cancelled");
    problem(&gateway.admin().get(&format!("{RUNS}/{id}/report")).await.unwrap(), 404, "not_found");

    let none = moved.run(json!({"from": {"model": "publisher/model"}})).await;
    assert_eq!(none["status"], "failed", "{none:#}");
    assert!(none["error"].as_str().unwrap().starts_with("No request of the set can be replayed"), "{none:#}");
    // Comparisons need kept content and a name.
    let kept = |judge: &str| json!({"content": "kept", "comparison": {"judge_model": judge}});
    let synthetic = json!({"content": "synthetic", "comparison": {"embedding_model": JUDGE}});
    moved.refuses(synthetic, "comparison.embedding_model").await;
    for input in [json!({"comparison": {"judge_model": JUDGE}}), kept(" "), kept(&"x".repeat(10_000))] {
        moved.refuses(input, "comparison.judge_model").await;
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn kept_answers_are_compared_word_by_word_and_kept_from_a_judge_by_a_policy() {
    let moved = Moved::of(keeping().await).await;
    let kept = json!({"content": "kept", "gates": with(gates(), json!({"agreement_percent_min": 90}))});
    let (_, report) = moved.judged(kept.clone(), "passed").await;
    // The emulator says the same to the same question.
    let agreement = json!({
        "compared": REQUESTS, "same": REQUESTS, "overlap_bps": 10_000, "embedding_model": null, "embedded": 0,
        "similarity_bps": null, "judge_model": null, "judged": 0, "as_good": 0,
    });
    assert_eq!(report["agreement"], agreement, "{report:#}");
    assert_eq!(report["set"]["kept_content"], json!(REQUESTS));

    moved.gateway.emulator.script(NODE, [Behaviour::ok().text("something else").times(1_000)]);
    let (_, report) = moved.judged(kept, "failed").await;
    assert_eq!(of_gate(&report, "agreement_percent_min")["verdict"], "failed", "{report:#}");

    // A policy keeps answers from a judge.
    moved.gateway.emulator.script(NODE, [Behaviour::ok().text("else").times(1_000)]);
    moved.gateway.policy(json!({"allowed_models": [MINI]})).await;
    let comparison = json!({"judge_model": JUDGE});
    let wanted = with(gates(), json!({"judged_percent_min": 1}));
    let run = moved.run(json!({"content": "kept", "comparison": comparison, "gates": wanted})).await;
    let report = moved.report(&run).await;
    assert_eq!(report["agreement"]["judged"], json!(0), "{report:#}");
    assert_eq!(of_gate(&report, "judged_percent_min")["verdict"], "inconclusive", "{report:#}");
    assert_eq!(moved.gateway.calls(OWN).iter().filter_map(judged).count(), 0);
}

/// A gateway whose projects keep content, and that has a model for embeddings beside.
async fn keeping() -> Gateway {
    let gateway = Gateway::with(config().model(Model::embedding(VECTORS)), &[]).await;
    let profile = json!({"trace_mode": "encrypted_full_fidelity"});
    posted(&gateway.admin(), "/v2/retention-profile", &profile).await;
    gateway
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_embedding_model_and_a_judge_compare_kept_answers() {
    let moved = Moved::of(keeping().await).await;
    let emulator = &moved.gateway.emulator;
    let says = |text: &str| Behaviour::ok().text(text).times(1_000);
    emulator.script(NODE, [says("something else")]);
    // It always prefers the first, whatever that is.
    emulator.script(OWN, [says("Both try.\nA")]);
    let wanted = json!({"similarity_percent_min": 1, "judged_percent_min": 99});
    let comparison = json!({"embedding_model": format!("openai/{VECTORS}"), "judge_model": JUDGE});
    let run =
        moved.run(json!({"content": "kept", "comparison": comparison, "gates": with(gates(), wanted)})).await;
    assert_eq!(run["comparison"], comparison, "{run:#}");
    let report = moved.report(&run).await;

    let calls = moved.gateway.calls(OWN);
    let embedded = calls.iter().filter(|call| call.path.ends_with("/embeddings")).count();
    assert_eq!(embedded, REQUESTS, "both answers of each request in one");
    let judged: Vec<Value> = calls.iter().filter_map(judged).collect();
    let first = judged.iter().filter(|data| data["a"] == "something else").count();
    assert_eq!(judged.len(), REQUESTS);
    assert!((1..REQUESTS).contains(&first), "each side is first at times: {first}");
    assert!(judged.iter().all(|data| data["request"][0]["role"] == "user"), "{judged:#?}");
    let said = &report["agreement"];
    assert_eq!((&said["embedded"], &said["judged"]), (&json!(REQUESTS), &json!(REQUESTS)), "{report:#}");
    assert_eq!(said["as_good"], json!(first), "{report:#}");
    assert_eq!(of_gate(&report, "judged_percent_min")["verdict"], "failed", "{report:#}");
    let similar = of_gate(&report, "similarity_percent_min");
    assert_eq!(similar["measured"], said["similarity_bps"], "{report:#}");
    // They are the project's requests, and no client's.
    let of_judge = found("the records of the judge", async || {
        let listed = moved.gateway.get(&format!("/v2/requests?model={JUDGE}&limit=50")).await;
        (listed["data"].as_array().unwrap().len() >= REQUESTS).then_some(listed)
    })
    .await;
    let records = of_judge["data"].as_array().unwrap();
    assert_eq!(records.len(), REQUESTS, "{of_judge:#}");
    assert!(records.iter().all(|record| record["key_id"].is_null()), "{of_judge:#}");
    let one = moved.gateway.get(&format!("/v2/requests/{}", records[0]["id"].as_str().unwrap())).await;
    assert_eq!(one["made_for"]["purpose"], "replay", "{one:#}");
}

/// What a judge was sent, of a call to it.
fn judged(call: &Entry) -> Option<Value> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    let said = body["messages"][1]["content"].as_str()?;
    (format!("openai/{}", body["model"].as_str()?) == JUDGE).then(|| serde_json::from_str(said).unwrap())
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn runs_and_reports_are_their_workspaces() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let run = moved.run(json!({})).await;
    let id = run["id"].as_str().unwrap();
    let others: Founded = second_workspace(gateway).await;
    let stranger = gateway.with_key(&others.admin_key);
    for path in [format!("{RUNS}/{id}"), format!("{RUNS}/{id}/report")] {
        problem(&stranger.get(&path).await.unwrap(), 404, "not_found");
    }
    problem(&stranger.post(&format!("{RUNS}/{id}/cancel"), &json!({})).await.unwrap(), 404, "not_found");
    assert_eq!(stranger.get(RUNS).await.unwrap().json()["data"], json!([]));
    let node = stranger.post(RUNS, &moved.input(json!({}))).await.unwrap();
    problem(&node, 404, "not_found");
    // Their gates are those that nobody set, and their traffic needs a report of theirs.
    let theirs = stranger.get(GATES).await.unwrap().json();
    assert_eq!(theirs["byoc_activation"], "gated");
    assert_eq!(theirs["gates"]["requests_min"], 200);
    let base_url = gateway.emulator.base_url();
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": base_url});
    stranger.post("/v2/provider-credentials", &credential).await.unwrap().must_be(201);
    let client = gateway.with_key(&others.api_key);
    let served = client.post(CHAT, &question(MINI)).await.unwrap().must_be(200);
    let request = format!("/v2/requests/{}", trace_of(&served));
    until("the request to be booked", async || stranger.get(&request).await.unwrap().status == 200).await;
    let node = json!({"name": "rack", "base_url": base_url, "secret": NODE, "models": [MINI]});
    stranger.post("/v2/byoc/nodes", &node).await.unwrap().must_be(201);
    problem(&stranger.post("/v2/routes", &moved.to_node()).await.unwrap(), 409, "replay_required");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn escalation_says_when_moving_would_pay_and_an_owner_moves_traffic_with_a_reason() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let of = async |cost: u64| {
        gateway.get(&format!("/v2/diagnostics/escalation?cost_per_hour_micros={cost}")).await
    };
    let dear = of(2_000_000).await;
    assert_eq!(dear["data"].as_array().unwrap().len(), 1, "{dear:#}");
    let one = &dear["data"][0];
    assert_eq!((&one["model"], &one["next_step"]), (&json!(MINI), &json!("stay")), "{dear:#}");
    assert_eq!(one["hardware_per_month_nanos"], json!(1_460_000_000_000_u64));
    let nanos = one["spend_per_month_nanos"].as_u64().unwrap();
    assert!(nanos > 0, "{dear:#}");
    // A machine that costs less than a micro-dollar by the hour can't be had: the spend is made larger instead.
    let cheap = of(1).await;
    let expected = match nanos {
        730_001.. => "replay",
        365_000.. => "watch",
        _ => "stay",
    };
    assert_eq!(cheap["data"][0]["next_step"], expected, "{cheap:#}");
    problem(&gateway.admin().get("/v2/diagnostics/escalation").await.unwrap(), 400, "missing_field");

    // An owner moves traffic with a reason, which the audit keeps.
    problem(&moved.create_route("?override_reason=").await, 400, "invalid_value");
    let (admin, _) = gateway.key(json!({"name": "an admin", "scopes": ["admin"]})).await;
    let path = "/v2/routes?override_reason=because";
    let refused = gateway.with_key(&admin).post(path, &moved.to_node()).await.unwrap();
    problem(&refused, 403, "insufficient_role");

    moved.create_route("?override_reason=the+lease+of+the+old+one+ends").await.must_be(201);
    let audit = gateway.get("/v2/audit?limit=100").await;
    let entries = audit["data"].as_array().unwrap();
    let entry = entries.iter().find(|one| one["action"] == "replay.override");
    let entry = entry.unwrap_or_else(|| panic!("{audit:#}"));
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.starts_with("the lease of the old one ends (100 % of openai/gpt-4o-mini"), "{detail}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_run_keeps_the_pace_of_its_requests() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    // The last one comes two seconds after the others, by the clock that the requests are stored by.
    let newest = gateway.get("/v2/requests?limit=1").await["data"][0]["started_at"].clone();
    let newest_ms = reconcilers::moment::read(newest.as_str().unwrap(), "a moment").unwrap();
    let now_ms = || u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    while now_ms() < newest_ms + 2_000 {
        a_moment().await;
    }
    gateway.chat_ok(&question(MINI)).await;
    gateway.wait_for_usage(REQUESTS as u64 + 1).await;
    let began = Instant::now();
    let paced = json!({"from": {"model": MINI, "days": 1}, "speed": 1, "content": "synthetic"});
    let run = moved.run(paced).await;
    let took = began.elapsed();
    assert_eq!((&run["speed_milli"], &run["verdict"]), (&json!(1_000), &json!("passed")), "{run:#}");
    let report = moved.report(&run).await;
    let span = Duration::from_millis(report["set"]["span_ms"].as_u64().unwrap());
    assert!(span >= Duration::from_secs(2), "{report:#}");
    assert!(took >= span, "requests that came in over {span:?} were sent within {took:?}");

    for speed in [json!(0), json!("slow"), json!(0.5)] {
        moved.refuses(json!({"from": {"model": MINI, "days": 1}, "speed": speed}), "speed").await;
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_run_starts_when_it_is_scheduled_for() {
    let moved = Moved::start().await;
    let gateway = &moved.gateway;
    let now_ms = || u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let due_ms = now_ms() + 2_000;
    let at = |unix_ms| json!({"scheduled_for": reconcilers::moment::write(unix_ms)});
    let made = gateway.make(RUNS, moved.input(at(due_ms))).await;
    let id = made["id"].as_str().unwrap();
    until("the run to begin", async || {
        let shown = moved.show(id).await;
        // Read before the clock: what has begun by then began in time.
        let (calls, is_due) = (gateway.calls(NODE).len(), now_ms() >= due_ms);
        assert!(is_due || (calls == 0 && shown["status"] == "queued"), "{calls} calls: {shown:#}");
        shown["status"] != "queued"
    })
    .await;
    let run = moved.ended(id).await;
    assert_eq!(run["verdict"], "passed", "{run:#}");
    let moment = |name: &str| reconcilers::moment::read(run[name].as_str().unwrap(), "a moment").unwrap();
    assert!(moment("started_at") >= due_ms && moment("scheduled_for") == due_ms, "{run:#}");

    // One that waits is cancelled before it sends anything, and none waits for longer than a month.
    let calls = gateway.calls(NODE).len();
    let later = gateway.make(RUNS, moved.input(at(now_ms() + 86_400_000))).await;
    let path = format!("{RUNS}/{}", later["id"].as_str().unwrap());
    let cancelled = gateway.admin().post(&format!("{path}/cancel"), &json!({})).await.unwrap();
    assert_eq!(cancelled.json()["status"], "cancelled", "{}", cancelled.text());
    assert_eq!(gateway.calls(NODE).len(), calls);
    moved.refuses(at(now_ms() + 31 * 86_400_000), "scheduled_for").await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn embeddings_move_on_a_run_of_embeddings() {
    let model = format!("openai/{VECTORS}");
    // The node has it under the name that it is asked for by.
    let moved = Moved::of(Gateway::with(config().model(Model::embedding(&model)), &[]).await).await;
    let gateway = &moved.gateway;
    let vectors = gateway.node("vectors", &[&model]).await;
    let question = json!({"model": model, "input": ["the tide comes in", "and goes out again"]});
    stored(gateway, "/v1/embeddings", |_| question.clone()).await;
    gateway.wait_for_usage(2 * REQUESTS as u64).await;
    let to_node = json!({"scope": {"model": model}, "profiles": ["byoc"]});
    let route = async || gateway.admin().post("/v2/routes", &to_node).await.unwrap();
    let refused = problem(&route().await, 409, "replay_required");
    assert!(refused["fix"].as_str().unwrap().contains(r#""operation": "embed""#), "{refused}");

    let candidate = json!({"node_id": vectors, "model": model, "cost_per_hour_micros": 1});
    let input =
        |operation: &str| json!({"from": {"model": model, "operation": operation}, "candidate": candidate});
    let none = moved.run(input("chat")).await;
    assert_eq!(none["status"], "failed", "there is no conversation with it: {none:#}");
    let (run, report) = moved.judged(input("embed"), "passed").await;
    assert_eq!(run["from"]["operation"], "embed", "{run:#}");
    assert_eq!(report["set"]["operation"], "embed", "{report:#}");
    assert!(report["results"].as_array().unwrap().iter().all(|one| one["gate"] != "output_percent_min"));
    let sent = gateway.calls(NODE);
    assert!(sent.len() == REQUESTS && sent.iter().all(|call| call.path.ends_with("/embeddings")));
    route().await.must_be(201);
    moved.refuses(json!({"from": {"operation": "speech"}}), "from.operation").await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_nodes_own_cost_stands_in_for_one_that_a_run_states() {
    let moved = Moved::start().await;
    let path = format!("/v2/byoc/nodes/{}", moved.node);
    let cost = json!({"kind": "cloud", "nano_usd_per_hour": 3_600_000_000_u64});
    moved.gateway.patch(&path, json!({"cost": cost})).await;
    let report = moved.report(&moved.run(json!({})).await).await;
    let candidate = &report["candidate"];
    assert_eq!(candidate["cost_per_hour_micros"], 3_600_000, "{report:#}");
    assert_eq!(candidate["cost_per_hour_by"], "nodes", "{report:#}");
    assert_eq!(of_gate(&report, "cost_percent_max")["verdict"], "failed", "{report:#}");

    moved.gateway.patch(&path, json!({"cost": null})).await;
    let report = moved.report(&moved.run(json!({})).await).await;
    let candidate = &report["candidate"];
    assert_eq!(candidate["cost_per_hour_micros"], 1, "{report:#}");
    assert_eq!(candidate["cost_per_hour_by"], "run", "{report:#}");
}
