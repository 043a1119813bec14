//! A data plane on PostgreSQL, and one that serves several workspaces: what each has, and what none knows of the other.

use harness::postgres::Server;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, says, trace_of, until_booked};
use crate::batches;
use crate::command::{Cli, Done};
use crate::data_planes::{Plane, Wire, heronry, invite, joined, settled};
use crate::gateway::{Gateway, OWN, OWN_SECOND, id_of, sums};
use crate::wait::until;

const PLANES: &str = "/v2/data-planes";
const HAIKU: &str = "anthropic/claude-haiku-4-5";

/// Something of each kind that crosses.
async fn configure(control: &Gateway) -> String {
    let project = id_of(&control.make("/v2/projects", json!({"name": "limited"})).await);
    let key = json!({"name": "limited", "project_id": project, "scopes": ["inference"], "limits": {"requests_per_minute": 1_000}});
    let (key, _) = control.key(key).await;
    let budget = json!({"project_id": project, "limit_micros": 1_000_000, "period": "month"});
    control.make("/v2/budgets", budget).await;
    control.route(json!({"scope": {}, "profiles": ["byok"]})).await;
    key
}

#[tokio::test]
async fn on_postgresql_it_serves_is_killed_and_delivers_each_record_once() {
    let server = Server::shared().await.unwrap();
    let url = server.database(&format!("plane_{}", std::process::id())).await.unwrap();
    let mut control = Gateway::start().await;
    control.credential("openai", OWN).await;
    let budgeted = configure(&control).await;
    let (admin, key) = (control.founded.admin_key.clone(), control.founded.api_key.clone());
    let wire = Wire::to(control.address()).await;
    let address = wire.url();
    let environment = vec![("TIDEGATE_DATABASE_URL".to_owned(), url.clone())];
    let mut plane = Plane::join_by((&control, &admin, "fra-1"), wire, &address, environment).await;
    assert!(!plane.data().join("tidegate.db").exists());
    let mut traces = vec![plane.served(&key).await];
    traces.push(trace_of(&plane.until_chat(&budgeted, "a lease", |answer| answer.status == 200).await));

    control.process().kill9().unwrap();
    traces.push(plane.served(&key).await);
    plane.crash().await;
    traces.push(plane.served(&key).await);
    plane.regains(&mut control).await;
    settled(&control, &traces).await;
    plane.crash().await;
    traces.push(plane.served(&key).await);
    control.settled(traces.last().unwrap()).await;
    assert_eq!(control.requests(50).await.len(), traces.len());
    assert_eq!(control.calls(OWN).len(), traces.len());
    plane.follows(&control).await;

    // Its database is nobody else's, and it has no other: no token is used up to learn that.
    let (id, token) = invite(&control, &admin, "ams-1");
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("other").display().to_string();
    let on_it = Cli::new().env("TIDEGATE_DATABASE_URL", &url);
    let joining = ["gateway", "--data-dir", &data, "--control", &control.origin, "--token", &token];
    is_refused(&on_it.run(&joining), &["in use already"]);
    has(&control.get(&format!("{PLANES}/{id}")).await, json!({"status": "invited"}));
    let key_file = plane.data().join("master.key").display().to_string();
    let serving = on_it.env("TIDEGATE_MASTER_KEY_FILE", &key_file).run(&["serve", "--data-dir", &data]);
    is_refused(&serving, &["the database of the data plane"]);
    let own = plane.data().display().to_string();
    plane.kill();
    is_refused(&Cli::new().run(&["gateway", "--data-dir", &own]), &["TIDEGATE_DATABASE_URL"]);
}

/// Checks that a command failed, and why.
fn is_refused(done: &Done, why: &[&str]) {
    assert_ne!(done.code, 0, "{done:?}");
    says(&done.stderr, why);
}

#[tokio::test]
async fn two_workspaces_at_one_data_plane_know_nothing_of_each_other() {
    let (mut control, mut plane, key) = joined(Gateway::start().await).await;
    let admin = control.founded.admin_key.clone();
    let other = heronry(&control).await;
    let (other_admin, other_key) = (other.admin_key, other.api_key);
    let trace = plane.served(&key).await;
    let other_plane = plane.add(&control, &other_admin, "shared").await;
    let other_trace = plane.served(&other_key).await;
    let again = plane.served(&key).await;
    for (admin, trace) in [(&admin, &trace), (&other_admin, &other_trace), (&admin, &again)] {
        until_booked(&control.with_key(admin), trace).await;
    }
    assert_eq!((control.calls(OWN).len(), control.calls(OWN_SECOND).len()), (2, 1));

    // Records, credentials and evidence are each one's own, here and there.
    let (mine, theirs) = (plane.with_key(&admin), plane.with_key(&other_admin));
    for (client, strange) in [(&mine, &other_trace), (&theirs, &trace)] {
        problem(&client.get(&format!("/v2/requests/{strange}")).await.unwrap(), 404, "not_found");
        let own = client.get("/v2/provider-credentials").await.unwrap().json();
        assert_eq!(own["data"].as_array().unwrap().len(), 1, "{own}");
    }
    let own = mine.get("/v2/provider-credentials").await.unwrap().json();
    let credential = id_of(&own["data"][0]);
    problem(&theirs.get(&format!("/v2/provider-credentials/{credential}")).await.unwrap(), 404, "not_found");
    for path in ["/v2/provider-credentials", "/v2/requests", "/v2/audit", "/v2/usage", "/v2/api-keys"] {
        let text = mine.get(path).await.unwrap().text();
        assert!(!text.contains("bittern") && !text.contains(&other.workspace_id), "{path}: {text}");
    }
    let said = refused(&plane.chat(&other_key, &question(HAIKU)).await, 404, "model_not_served").to_string();
    assert!(!said.contains(&credential) && !said.contains("openai of ours"), "{said}");
    let job = id_of(&mine.post("/v2/purge-jobs", &json!({"workspace": true})).await.unwrap().json());
    until("the receipt at the control plane", async || {
        control.get(&format!("{PLANES}/{}/evidence", plane.id)).await.to_string().contains(&job)
    })
    .await;
    let of_other = control.with_key(&other_admin);
    let evidence = of_other.get(&format!("{PLANES}/{other_plane}/evidence")).await.unwrap().text();
    assert!(!evidence.contains(&job) && !evidence.contains(&control.founded.workspace_id), "{evidence}");

    // While the control plane is away and over a kill, both are served; each one's records arrive.
    control.process().kill9().unwrap();
    plane.crash().await;
    let (trace, other_trace) = (plane.served(&key).await, plane.served(&other_key).await);
    plane.regains(&mut control).await;
    until_booked(&control.admin(), &trace).await;
    until_booked(&control.with_key(&other_admin), &other_trace).await;

    // One is revoked: the other is served on, with its budgets, and its records arrive.
    let budgeted = configure(&control).await;
    let of_other = control.with_key(&other_admin);
    of_other.post(&format!("{PLANES}/{other_plane}/revoke"), &json!({})).await.unwrap().must_be(200);
    plane.until_chat(&other_key, "the revocation to arrive", |answer| answer.status == 503).await;
    refused(&plane.chat(&other_key, &question(MINI)).await, 503, "data_plane_revoked");
    plane.until_chat(&budgeted, "a lease", |answer| answer.status == 200).await;
    plane.crash().await;
    plane.until_chat(&budgeted, "a lease after a restart", |answer| answer.status == 200).await;
    control.settled(&plane.served(&key).await).await;
    refused(&plane.chat(&other_key, &question(MINI)).await, 503, "data_plane_revoked");
    let kept = plane.with_key(&other_admin).get("/v2/provider-credentials").await.unwrap().json();
    assert_eq!(kept["data"], json!([]));
    let usage = sums(&of_other.get("/v2/usage").await.unwrap().json());
    assert_eq!(usage["requests"], 2, "{usage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_is_added_once_and_from_the_same_control_plane() {
    let stranger = Gateway::start().await;
    let (control, mut plane, key) = joined(Gateway::start().await).await;
    plane.kill();
    let data = plane.data().display().to_string();
    let add =
        |token: &str| Cli::new().run(&["gateway", "--data-dir", &data, "--add-workspace", "--token", token]);
    let (_, twice) = invite(&control, &control.founded.admin_key, "twice");
    is_refused(&add(&twice), &["already", "revoke"]);
    // The token is one that its control plane does not know.
    let (_, strange) = invite(&stranger, &stranger.founded.admin_key, "fra-1");
    is_refused(&add(&strange), &["unknown"]);
    let elsewhere = ["--add-workspace", "--token", &strange, "--control", &stranger.origin];
    let add_to = |data: &str| Cli::new().run(&[&["gateway", "--data-dir", data], &elsewhere[..]].concat());
    is_refused(&add_to(&data), &["has joined"]);
    let empty = tempfile::tempdir().unwrap().path().join("new").display().to_string();
    says(&add_to(&empty).failed(2), &["without --add-workspace"]);
    plane.start().await;
    plane.served(&key).await;
}

/// The operator's accounts and subscriptions stay at the control plane: a request that only they serve is refused in the client's
/// format, with what to do.
#[tokio::test]
async fn what_only_its_control_plane_serves_is_refused_with_where_to_go() {
    let control = Gateway::with(crate::gateway::config(), &[("TIDEGATE_SUBSCRIPTIONS", "1")]).await;
    control.account("openai", OWN_SECOND).await;
    let subscription = json!({"provider": "codex", "token": OWN, "base_url": control.emulator.base_url()});
    control.make("/v2/subscription-credentials", subscription).await;
    let plane = Plane::join(&control, &control.founded.admin_key, "fra-1").await;
    let key = control.founded.api_key.clone();
    let there = plane.with_key(&key);
    let words =
        ["data plane", "accounts", "subscription", &plane.wire.url(), "tidegate credential add openai"];
    let check = |said: &Value| says(&said.to_string(), &words);
    check(&refused(&plane.chat(&key, &question(MINI)).await, 404, "model_not_served"));
    let asked = json!({"model": MINI, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let anthropic = there.post("/v1/messages", &asked).await.unwrap();
    let anthropic = anthropic.must_be(404).json();
    has(&anthropic, json!({"type": "error"}));
    check(&anthropic["error"]["message"]);
    let gemini = format!("/v1beta/models/{MINI}:generateContent");
    let gemini =
        there.post(&gemini, &json!({"contents": [{"parts": [{"text": "hi"}]}]})).await.unwrap().must_be(404);
    check(&gemini.json()["error"]["message"]);
    // A route that names them is refused as well, and nobody can put an account here.
    control.route(json!({"scope": {}, "profiles": ["managed_provider", "subscription"]})).await;
    until("the route to arrive", async || {
        plane.chat(&key, &question(MINI)).await.text().contains("under route")
    })
    .await;
    check(&refused(&plane.chat(&key, &question(MINI)).await, 404, "model_not_served"));
    let admin = plane.with_key(&control.founded.admin_key);
    let account = json!({"provider": "openai", "secret": OWN, "base_url": control.emulator.base_url()});
    let subscription = json!({"provider": "codex", "token": OWN});
    for (path, body) in [("/v2/accounts", account), ("/v2/subscription-credentials", subscription)] {
        problem(&admin.post(path, &body).await.unwrap(), 409, "managed_by_control");
    }
    assert_eq!((control.calls(OWN).len(), control.calls(OWN_SECOND).len()), (0, 0));
    // Neither secret crossed, and its control plane serves the same.
    assert!(!plane.wire.has(OWN) && !plane.wire.has(OWN_SECOND));
    control.client().post(CHAT, &question(MINI)).await.unwrap().must_be(200);
}

/// What no serving core books, but a poll of a provider's batch, is in both books.
#[tokio::test]
async fn the_requests_of_a_providers_batch_are_booked_at_both() {
    let (control, plane, key) = joined(Gateway::start().await).await;
    let client = plane.with_key(&key);
    let body =
        json!({"model": MINI.trim_start_matches("openai/"), "messages": [{"role": "user", "content": "hi"}]});
    let lines = ["0", "1", "2"]
        .map(|id| json!({"custom_id": id, "method": "POST", "url": CHAT, "body": body}).to_string() + "\n");
    let batch = batches::made(&client, &lines.concat()).await;
    has(&batches::ended(&client, &batch).await, json!({"status": "completed"}));
    let there = plane.with_key(&control.founded.admin_key);
    let tokens = |usage: &Value| (sums(usage)["requests"].clone(), sums(usage)["output_tokens"].clone());
    until("both books to have the same", async || {
        let at_plane = there.get("/v2/usage").await.unwrap().json();
        let at_control = control.get("/v2/usage").await;
        tokens(&at_plane) == tokens(&at_control) && sums(&at_control)["output_tokens"].as_u64() > Some(0)
    })
    .await;
}
