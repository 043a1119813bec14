//! Aliases: model names of a workspace's own, split over releases that never change, with a canary and a way back.

use std::collections::{BTreeMap, BTreeSet};

use harness::client::{Answer, Client};
use harness::{Behaviour, Model};
use http::Method;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, streaming, trace_of, with};
use crate::audit::entries;
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, config, id_of, row};
use crate::wait::{found, until};
use crate::webhooks::Taker;

const ALIASES: &str = "/v2/model-aliases";
const BIG: &str = "openai/gpt-4o";
const RELEASE: &str = "agent-alias-release";
const RESOLVED: &str = "agent-resolved-model";

async fn alias(gateway: &Gateway, name: &str, targets: Value) -> Value {
    gateway.make(ALIASES, json!({"name": name, "targets": targets})).await
}

async fn post(client: &Client, path: &str, body: Value) -> Value {
    let answer = client.post(path, &body).await.unwrap();
    assert!(answer.status < 300, "POST {path}: {}", answer.text());
    answer.json()
}

fn from(user: &str, model: &str) -> Value {
    with(question(model), json!({"user": user}))
}

fn header(answer: &Answer, name: &str) -> String {
    answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}")).to_owned()
}

/// Who got which model, over many end users.
async fn assigned(gateway: &Gateway, model: &str, release: &str) -> BTreeMap<String, String> {
    let mut models = BTreeMap::new();
    for number in 0..40 {
        let user = format!("user-{number}");
        let answer = gateway.chat_ok(&from(&user, model)).await;
        assert_eq!(header(&answer, RELEASE), release, "{user}");
        models.insert(user, header(&answer, RESOLVED));
    }
    models
}

fn count(models: &BTreeMap<String, String>, model: &str) -> usize {
    models.values().filter(|found| *found == model).count()
}

#[tokio::test]
async fn callers_are_split_and_the_records_show_it_exactly() {
    let gateway = Gateway::with_own().await;
    let halves = json!([{"model": MINI, "weight": 1}, {"model": BIG, "weight": 1}]);
    let made = alias(&gateway, "code.best", halves).await;
    let release = made["release_id"].as_str().unwrap();
    let first = assigned(&gateway, "code.best", release).await;
    let minis = count(&first, MINI);
    assert!((8..=32).contains(&minis) && minis + count(&first, BIG) == 40, "{first:?}");
    assert_eq!(assigned(&gateway, "code.best", release).await, first, "the same user, the same model");
    gateway.listed(80).await;
    let listed = gateway.get("/v2/requests?alias=code.best&limit=100").await;
    let rows = listed["data"].as_array().unwrap();
    assert_eq!(rows.len(), 80);
    for row in rows {
        has(row, json!({"/alias/name": "code.best", "/alias/release_id": release, "/alias/targets": 2}));
        has(row, json!({"/alias/chosen": "active", "requested_model": "code.best"}));
    }
    assert_eq!(rows.iter().filter(|row| row["resolved_model"] == MINI).count(), 2 * minis);
    // Another release splits anew, and the books keep the two apart.
    let at = format!("{ALIASES}/code.best");
    let bigger = json!({"targets": [{"model": BIG}]});
    let second = post(&gateway.admin(), &format!("{at}/releases"), bigger).await;
    assert_eq!((&second["number"], &second["status"]), (&json!(2), &json!("retired")), "{second}");
    assert_eq!(header(&gateway.chat_ok(&question("code.best")).await, RELEASE), release, "not yet");
    let promoted = post(&gateway.admin(), &format!("{at}/promote"), json!({})).await;
    assert_eq!(promoted["release_id"], second["id"], "{promoted}");
    let second = second["id"].as_str().unwrap();
    assert_eq!(count(&assigned(&gateway, "code.best", second).await, BIG), 40);
    gateway.listed(121).await;
    for (of, expected) in [(release, 81), (second, 40), ("code.best", 121), ("other", 0)] {
        let listed = gateway.get(&format!("/v2/requests?alias={of}&limit=200")).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), expected, "{of}");
    }
}

#[tokio::test]
async fn streams_and_errors_name_the_release_and_the_plan_explains_it() {
    let gateway = Gateway::with_own().await;
    let made = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let release = made["release_id"].as_str().unwrap();
    let streamed = gateway.chat_ok(&streaming("auto")).await;
    assert_eq!([RELEASE, RESOLVED].map(|name| header(&streamed, name)), [release, MINI]);
    let failed = gateway.chat(&with(question("auto"), json!({"user": "emu:status=500"}))).await;
    assert!(failed.status >= 500, "{}", failed.text());
    assert_eq!(header(&failed, RELEASE), release);
    let record = gateway.settled(&trace_of(&streamed)).await;
    has(&record, json!({"resolved_model": MINI, "/plan/resolution": "alias", "/alias/release_id": release}));
    let plan = gateway.plan(json!({"model": "auto", "end_user": "somebody"})).await;
    has(&plan, json!({"resolved_model": MINI, "/alias/release_id": release}));
    // A request without an alias has no such header.
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header(RELEASE), None);
    // The list of models has the alias, and so has each single one.
    let models = gateway.client().get("/v1/models").await.unwrap().json();
    let row = models["data"].as_array().unwrap().iter().find(|row| row["id"] == "auto").unwrap().clone();
    assert_eq!(row["owned_by"], "alias", "{row}");
    assert_eq!(gateway.client().get("/v1/models/auto").await.unwrap().json(), row);
}

#[tokio::test]
async fn a_release_never_changes_and_can_be_pinned_while_its_alias_exists() {
    let gateway = Gateway::with_own().await;
    let made = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let first = made["release_id"].as_str().unwrap().to_owned();
    let at = format!("{ALIASES}/{}", id_of(&made));
    let body = json!({"targets": [{"model": BIG}], "activate": true, "note": "bigger"});
    let second = post(&gateway.admin(), &format!("{at}/releases"), body).await;
    assert_eq!(second["status"], "active", "{second}");
    let one = format!("{at}/releases/{first}");
    let (json_type, body) = ([("content-type", "application/json")], json!({"targets": [{"model": BIG}]}));
    for method in [Method::PUT, Method::PATCH] {
        let answer = gateway.admin().call(method, &one, &json_type, body.to_string()).await.unwrap();
        problem(&answer, 409, "release_immutable");
    }
    let kept = gateway.get(&one).await;
    assert_eq!((&kept["targets"][0]["model"], &kept["status"]), (&json!(MINI), &json!("retired")), "{kept}");
    for (name, model) in [
        ("auto".to_owned(), BIG),
        (first.clone(), MINI),
        (format!("auto@{first}"), MINI),
        (format!("auto@{}", id_of(&second)), BIG),
    ] {
        let answer = gateway.chat_ok(&question(&name)).await;
        assert_eq!(header(&answer, RESOLVED), model, "{name}");
        let record = gateway.settled(&trace_of(&answer)).await;
        let expected = if name == "auto" { "active" } else { "pinned" };
        assert_eq!(record["alias"]["chosen"], expected, "{record}");
    }
    alias(&gateway, "other", json!([{"model": MINI}])).await;
    refused(&gateway.chat(&question(&format!("other@{first}"))).await, 404, "model_not_found");
    gateway.remove(&at).await;
    for name in ["auto", &first, &format!("auto@{first}")] {
        refused(&gateway.chat(&question(name)).await, 404, "model_not_found");
    }
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_project_wins_over_the_workspace_and_no_tenant_reaches_another() {
    let gateway = Gateway::with_own().await;
    let project = id_of(&gateway.make("/v2/projects", json!({"name": "web"})).await);
    let web = json!({"name": "web", "project_id": project, "scopes": ["inference"]});
    let (key, key_id) = gateway.key(web).await;
    let of_workspace = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let body = json!({"name": "auto", "project_id": project, "targets": [{"model": BIG}]});
    let of_project = gateway.make(ALIASES, body.clone()).await;
    let taken = gateway.admin().post(ALIASES, &body).await.unwrap();
    assert!(problem(&taken, 409, "name_taken")["detail"].as_str().unwrap().contains(&id_of(&of_project)));
    let web = gateway.with_key(&key);
    let asked = async |client: &Client, model: &str| client.post(CHAT, &question(model)).await.unwrap();
    assert_eq!(header(&asked(&web, "auto").await, RESOLVED), BIG);
    assert_eq!(header(&gateway.chat_ok(&question("auto")).await, RESOLVED), MINI);
    // The workspace's release can be pinned from each project, the project's only from its own.
    let release = |made: &Value| made["release_id"].as_str().unwrap().to_owned();
    assert_eq!(header(&asked(&web, &release(&of_workspace)).await, RESOLVED), MINI);
    refused(&gateway.chat(&question(&release(&of_project))).await, 404, "model_not_found");
    // Another tenant.
    let founded = gateway.make("/v2/workspaces", json!({"name": "tenant"})).await;
    let text = |name: &str| founded[name].as_str().unwrap().to_owned();
    let (admin, user) = (gateway.with_key(&text("admin_key")), gateway.with_key(&text("api_key")));
    let base_url = gateway.emulator.base_url();
    let credential = json!({"provider": "openai", "secret": OWN_SECOND, "base_url": base_url});
    post(&admin, "/v2/provider-credentials", credential).await;
    for name in ["auto", &release(&of_workspace), &format!("auto@{}", release(&of_workspace))] {
        refused(&asked(&user, name).await, 404, "model_not_found");
    }
    for id in ["auto", &id_of(&of_workspace)] {
        problem(&admin.get(&format!("{ALIASES}/{id}")).await.unwrap(), 404, "not_found");
        problem(&admin.post(&format!("{ALIASES}/{id}/promote"), &json!({})).await.unwrap(), 404, "not_found");
    }
    let theirs = post(&admin, ALIASES, json!({"name": "mine", "targets": [{"model": MINI}]})).await;
    let foreign = json!({"release_id": release(&of_workspace)});
    let path = format!("{ALIASES}/{}/promote", id_of(&theirs));
    problem(&admin.post(&path, &foreign).await.unwrap(), 404, "not_found");
    // A project takes its aliases with it.
    gateway.remove(&format!("/v2/api-keys/{key_id}")).await;
    gateway.remove(&format!("/v2/projects/{project}")).await;
    let gone = gateway.admin().get(&format!("{ALIASES}/{}", id_of(&of_project))).await.unwrap();
    problem(&gone, 404, "not_found");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn names_that_could_mean_something_else_are_refused() {
    let gateway = Gateway::with_own().await;
    let admin = gateway.admin();
    let named = ["gpt-4o", "openai", "gpt-4o-2024-08-06", "openai/best", "openai:best", "auto@1", "Auto", ""];
    let formed = [".auto", "alr_01900000000070008000000000000000", &"a".repeat(65)];
    for name in named.into_iter().chain(formed) {
        let answer = admin.post(ALIASES, &json!({"name": name, "targets": [{"model": MINI}]})).await.unwrap();
        assert_eq!(problem(&answer, 400, "invalid_value")["param"], "name", "{name}");
    }
    alias(&gateway, "auto", json!([{"model": MINI}])).await;
    for (targets, param) in [
        (json!([]), "targets"),
        (json!([{"model": "auto"}]), "targets[0].model"),
        (json!([{"model": MINI}, {"model": "nobody/knows"}]), "targets[1].model"),
        (json!([{"model": MINI, "weight": 0}]), "targets"),
        (json!([{"model": MINI, "weight": 10_001}]), "targets[0].weight"),
    ] {
        let answer = admin.post(ALIASES, &json!({"name": "best", "targets": targets})).await.unwrap();
        assert_eq!(answer.json()["param"], param, "{}", answer.text());
        assert!(answer.status == 400 || answer.status == 404, "{}", answer.text());
    }
    // A route may name an alias that exists, and is then stronger than one for the model.
    let route = admin.post("/v2/routes", &json!({"scope": {"alias": "fast"}})).await.unwrap();
    assert_eq!(problem(&route, 400, "invalid_value")["param"], "scope.alias");
    let other = gateway.credential("openai", OWN_SECOND).await;
    gateway.route(json!({"scope": {"model": MINI}, "profiles": ["byok"]})).await;
    gateway.route(json!({"scope": {"alias": "auto"}, "credential_ids": [other]})).await;
    assert_eq!(header(&gateway.chat_ok(&question("auto")).await, "agent-byok-credential-id"), other);
    assert_ne!(header(&gateway.chat_ok(&question(MINI)).await, "agent-byok-credential-id"), other);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn the_next_target_serves_where_nothing_offers_the_one_before() {
    let gateway = Gateway::with_own().await;
    gateway.node("rack", &[LOCAL_MODEL]).await;
    let absent = json!({"model": "anthropic/claude-haiku-4-5"});
    for (name, targets, expected) in [
        ("local.first", json!([{"model": LOCAL_MODEL}, absent, {"model": MINI}]), (LOCAL_MODEL, 1)),
        ("node.second", json!([absent, {"model": LOCAL_MODEL}, {"model": MINI}]), (LOCAL_MODEL, 2)),
        ("cloud.last", json!([absent, absent, {"model": MINI}]), (MINI, 3)),
    ] {
        gateway.make(ALIASES, json!({"name": name, "split": "ordered", "targets": targets})).await;
        let answer = gateway.chat_ok(&question(name)).await;
        assert_eq!(header(&answer, RESOLVED), expected.0, "{name}");
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"/alias/target": expected.1, "/alias/targets": 3}));
    }
    // Where all that serves a target fails, the next one stands in.
    let targets = json!([{"model": MINI}, {"model": LOCAL_MODEL}]);
    gateway.make(ALIASES, json!({"name": "cloud.first", "split": "ordered", "targets": targets})).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).times(3)]);
    let answer = gateway.chat_ok(&question("cloud.first")).await;
    assert_eq!(header(&answer, RESOLVED), LOCAL_MODEL);
    assert_eq!(header(&answer, "agent-fallback-used"), "true");
    gateway.emulator.script(OWN, []);
    // What is wrong with the request is wrong everywhere.
    gateway.chat(&with(question("cloud.last"), json!({"user": "emu:status=400"}))).await.must_be(400);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_failing_canary_is_withdrawn_by_itself() {
    let gateway = Gateway::with_own().await;
    let mut taker = Taker::start().await;
    gateway.make("/v2/webhooks", json!({"url": taker.url, "events": ["alias.canary_withdrawn"]})).await;
    let made = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let active = made["release_id"].as_str().unwrap();
    let at = format!("{ALIASES}/auto");
    // OpenAI has no model of this name, so each of its requests fails.
    let body = json!({"targets": [{"model": "openai:not-there"}]});
    let bad = id_of(&post(&gateway.admin(), &format!("{at}/releases"), body).await);
    let canary = json!({"release_id": bad, "percent": 50, "error_bps_max": 2_000, "requests_min": 5});
    let started = gateway.patch(&at, json!({"canary": canary})).await;
    assert_eq!(started["canary"]["percent"], 50, "{started}");
    let mut callers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let withdrawn = found("the canary to be withdrawn", async || {
        for number in 0..20 {
            let user = format!("user-{number}");
            let answer = gateway.chat(&from(&user, "auto")).await;
            let release = header(&answer, RELEASE);
            assert_eq!(answer.status == 200, release == active, "{}", answer.text());
            callers.entry(user).or_default().insert(release);
        }
        let now = gateway.get(&at).await;
        (!now["withdrawn_canary"].is_null()).then_some(now)
    })
    .await;
    let why = &withdrawn["withdrawn_canary"];
    assert_eq!((&why["release_id"], &why["automatic"]), (&json!(bad), &json!(true)), "{withdrawn}");
    assert!(why["reason"].as_str().unwrap().contains("gate 20.00 %"), "{withdrawn}");
    assert!(withdrawn["canary"].is_null() && withdrawn["release_id"] == active, "{withdrawn}");
    let seen: Vec<_> = callers.values().filter(|releases| releases.contains(&bad)).collect();
    assert!(!seen.is_empty() && seen.len() < 20, "{callers:?}");
    // The store has it before the cores do.
    until("everybody to be back", async || {
        for number in 0..20 {
            let answer = gateway.chat(&from(&format!("user-{number}"), "auto")).await;
            if header(&answer, RELEASE) != active {
                return false;
            }
            answer.must_be(200);
        }
        true
    })
    .await;
    let entry = entries(&gateway, "alias.withdraw_canary").await.remove(0);
    assert_eq!(entry["actor"], "system", "{entry}");
    assert!(entry["detail"].as_str().unwrap().contains(&bad), "{entry}");
    let event: Value = serde_json::from_str(&taker.taken().await).unwrap();
    has(&event, json!({"type": "alias.canary_withdrawn", "/data/release_id": bad}));
    let measured = gateway.get(&format!("{at}/measurements")).await;
    assert_eq!(row(&measured["data"], "release_id", &bad)["error_bps"], 10_000, "{measured}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_canary_grows_is_promoted_and_rolled_back_and_survives_a_crash() {
    let mut gateway = Gateway::with_own().await;
    let made = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let first = made["release_id"].as_str().unwrap().to_owned();
    let at = format!("{ALIASES}/auto");
    let releases = format!("{at}/releases");
    let second = id_of(&post(&gateway.admin(), &releases, json!({"targets": [{"model": BIG}]})).await);
    let of_canary = async |gateway: &Gateway| {
        let mut users = BTreeSet::new();
        for number in 0..30 {
            let user = format!("user-{number}");
            if header(&gateway.chat_ok(&from(&user, "auto")).await, RELEASE) == second {
                users.insert(user);
            }
        }
        users
    };
    gateway.patch(&at, json!({"canary": {"release_id": second, "percent": 20}})).await;
    let few = of_canary(&gateway).await;
    gateway.crash().await;
    assert_eq!(of_canary(&gateway).await, few, "the same callers after a crash");
    let grown = gateway.patch(&at, json!({"canary": {"release_id": second, "percent": 70}})).await;
    has(&grown, json!({"/canary/release_id": second, "/canary/requests_min": 20}));
    let more = of_canary(&gateway).await;
    assert!(more.is_superset(&few) && more.len() > few.len() && more.len() < 30, "{few:?} {more:?}");
    // Rolling back ends the canary first, then leads to the release before.
    let done = gateway.cli().run(&["alias", "rollback", "auto", "--json"]).json();
    assert!(done["canary"].is_null() && done["release_id"] == first.as_str(), "{done}");
    assert_eq!(done["withdrawn_canary"]["automatic"], false, "{done}");
    assert!(of_canary(&gateway).await.is_empty());
    let nothing = async |verb: &str| gateway.admin().post(&format!("{at}/{verb}"), &json!({})).await.unwrap();
    problem(&nothing("rollback").await, 409, "nothing_to_roll_back");
    let done = gateway.cli().run(&["alias", "promote", "auto", "--json"]).json();
    has(&done, json!({"release_id": second, "previous_release_id": first}));
    assert_eq!(of_canary(&gateway).await.len(), 30);
    problem(&nothing("promote").await, 409, "nothing_to_promote");
    let done = gateway.cli().run(&["alias", "rollback", "auto", "--json"]).json();
    assert_eq!(done["release_id"], first.as_str(), "{done}");
    let wrong = json!({"canary": {"release_id": first, "percent": 5}});
    problem(&gateway.patched(&at, wrong).await, 400, "invalid_value");
}

/// All dialects and operations resolve the name alike.
#[cfg(feature = "broker")]
#[tokio::test]
async fn every_dialect_takes_an_alias() {
    let gateway = Gateway::with(config().model(Model::embedding("text-embedding-3-small")), &[]).await;
    gateway.credential("openai", OWN).await;
    let made = alias(&gateway, "auto", json!([{"model": MINI}])).await;
    let of_vectors = alias(&gateway, "vectors", json!([{"model": "openai/text-embedding-3-small"}])).await;
    let release = made["release_id"].as_str().unwrap();
    let vectors = json!({"model": "vectors", "input": "hello"});
    let turns = json!([{"role": "user", "content": "hello there"}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "hello there"}]}]});
    for (path, body, expected) in [
        (CHAT, question("auto"), release),
        ("/v1/responses", json!({"model": "auto", "input": "hello there", "store": false}), release),
        ("/v1/messages", json!({"model": "auto", "max_tokens": 50, "messages": turns}), release),
        ("/v1beta/models/auto:generateContent", contents.clone(), release),
        ("/v1beta/models/auto:streamGenerateContent?alt=sse", contents, release),
        ("/model/auto/converse", converse, release),
        ("/v1/embeddings", vectors, of_vectors["release_id"].as_str().unwrap()),
    ] {
        let answer = gateway.client().post(path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header(RELEASE), Some(expected), "{path}");
    }
    // The kind of model is checked behind the alias.
    let wrong = json!({"model": "auto", "input": "hello"});
    gateway.client().post("/v1/embeddings", &wrong).await.unwrap().must_be(400);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn it_is_applied_and_exported_as_a_document() {
    let gateway = Gateway::with_own().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("aliases.toml");
    let document = |weight: u32| {
        format!(
            "[[project]]\nname = \"web\"\n\n[[alias]]\nname = \"code.best\"\nproject = \"web\"\ndescription = \"for agents\"\n\
             targets = [{{ model = \"{MINI}\", weight = {weight} }}, {{ model = \"{BIG}\", weight = 10 }}]\nnote = \"n\"\n\n\
             [[alias]]\nname = \"auto\"\nsplit = \"ordered\"\ntargets = [{{ model = \"{MINI}\" }}]\n\
             parameters = {{ temperature = {{ max = 1.0, default = 0.7, clamp = true }} }}\n"
        )
    };
    let apply = |text: String| {
        std::fs::write(&file, text).unwrap();
        gateway.cli().run(&["apply", "-f", file.to_str().unwrap()]).ok()
    };
    apply(document(90));
    assert!(apply(document(90)).contains("No change"), "applied twice");
    let listed = gateway.get(ALIASES).await;
    let best = row(&listed["data"], "name", "code.best");
    has(best, json!({"release_number": 1, "/targets/0/weight": 90}));
    // Other targets are another release, in force at once.
    apply(document(50));
    let best = gateway.get(&format!("{ALIASES}/{}", id_of(best))).await;
    has(&best, json!({"release_number": 2, "/targets/0/weight": 50}));
    let exported = gateway.cli().run(&["export"]).ok();
    assert!(exported.contains("[[alias]]") && exported.contains("code.best"), "{exported}");
    assert!(apply(exported).contains("No change"), "exported and applied");
    let auto = gateway.get(&format!("{ALIASES}/auto")).await;
    let range = json!({"temperature": {"max": 1.0, "default": 0.7, "clamp": true}});
    has(&auto, json!({"release_number": 1, "parameters": range}));
    let shown = gateway.cli().run(&["alias", "show", "code.best"]).ok();
    assert!(shown.contains("for agents") && shown.contains("retired"), "{shown}");
    let added = ["alias", "add", "fast", "--target", "openai/gpt-4o-mini=3", "--target", BIG, "--json"];
    let added = gateway.cli().run(&added).json();
    assert_eq!((&added["targets"][0]["weight"], &added["split"]), (&json!(3), &json!("weighted")), "{added}");
    let body = ["alias", "release", "fast", "--target", BIG, "--ordered", "--activate", "--json"];
    assert_eq!(gateway.cli().run(&body).json()["status"], "active");
    let canary =
        ["alias", "canary", "fast", "--release", added["release_id"].as_str().unwrap(), "--percent", "5"];
    assert!(gateway.cli().run(&canary).ok().contains("canary"));
    gateway.cli().run(&["alias", "remove", "fast", "--yes"]).ok();
    let gone = async || gateway.get(ALIASES).await["data"].as_array().unwrap().len() == 2;
    until("the alias to be gone", gone).await;
}
