//! Plans of whole requests: what would serve them, at what price and why, without sending or taking anything; and the
//! rules of the page about rules, applied as they stand there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::client::Answer;
use harness::{Flavour, Model};
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, trace_of, with};
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, OWN, OWN_SECOND, POOL, config, id_of};
use crate::wait::until;

const PLAN: &str = "/v2/plan";
const SCHNELL: &str = "fal-ai/flux-1/schnell";
const VECTORS: &str = "openai/text-embedding-3-small";
const SESSION_MODEL: &str = "openai/gpt-realtime-1.5";
/// Micro-USD per million tokens of the model in the price file below.
const PRICES: &str = r#"
[[model]]
name = "acme/plan-1"
context_tokens = 8_192
output_tokens_max = 1_000
[[model.offer]]
provider = "openai"
upstream_model = "acme-large"
rates = { input = 1_000_000, output = 4_000_000 }
"#;

fn hints(tag: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"tag": tag}).to_string())
}

async fn pooled() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    gateway
}

fn codes(plan: &Value, list: &str, field: &str) -> Vec<String> {
    let rows = plan[list].as_array().or_else(|| plan[list]["data"].as_array());
    rows.unwrap_or_else(|| panic!("no {list}: {plan}"))
        .iter()
        .map(|row| row[field].as_str().unwrap().to_owned())
        .collect()
}

fn error_of(plan: &Value) -> (u64, &str) {
    (plan["error"]["status"].as_u64().unwrap_or(0), plan["error"]["code"].as_str().unwrap_or(""))
}

/// Every path by which a model is reached, with a request for it.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    let user = json!([{"role": "user", "content": "hello there"}]);
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    let invoke = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 20, "messages": user});
    let moderated = json!({"model": "openai/omni-moderation-latest", "input": "hello"});
    let spoken = json!({"model": "openai/gpt-4o-mini-tts", "input": "hi", "voice": "alloy"});
    vec![
        ("/v1/chat/completions", "chat", json!({"model": MINI, "messages": user})),
        ("/v1/responses", "chat", json!({"model": MINI, "input": "hello", "store": false})),
        ("/v1/messages", "chat", json!({"model": MINI, "max_tokens": 20, "messages": user})),
        ("/v1beta/models/openai%2Fgpt-4o-mini:generateContent", "chat", contents.clone()),
        ("/v1beta/models/openai%2Fgpt-4o-mini:streamGenerateContent?alt=sse", "chat", contents),
        ("/model/openai%2Fgpt-4o-mini/converse", "chat", converse),
        ("/model/openai%2Fgpt-4o-mini/invoke", "chat", invoke),
        ("/v1/run", "chat", json!({"app": MINI, "input": {"prompt": "hello"}})),
        ("/v1/embeddings", "embedding", json!({"model": VECTORS, "input": "hello"})),
        ("/v1/moderations", "moderation", moderated),
        ("/v1/images/generations", "image", json!({"model": "openai/gpt-image-1-mini", "prompt": "a tide"})),
        ("/v1/audio/speech", "audio", spoken),
        ("/v1/audio/transcriptions", "audio", json!({"model": "openai/whisper-1", "file": "a.mp3"})),
        ("/v1/realtime?model=openai%2Fgpt-realtime-1.5", "realtime", Value::Null),
    ]
}

#[tokio::test]
async fn every_path_is_planned_as_it_would_be_served_and_nothing_is_touched() {
    let gateway = Gateway::start().await;
    let own = gateway.credential("openai", OWN).await;
    gateway.chat_ok(&question(MINI)).await;
    until("the opening of the secret", async || openings(&gateway, &own).await > 0).await;
    let (calls, opened) = (gateway.emulator.journal().len(), openings(&gateway, &own).await);
    for (path, modality, request) in requests() {
        let plan = gateway.plan(json!({"path": path, "request": request})).await;
        assert_eq!(plan["error"], Value::Null, "{path}: {plan}");
        let planned = (&plan["modality"], &plan["chosen"]["principal"]);
        assert_eq!(planned, (&json!(modality), &json!(own)), "{path}");
    }
    // A model that the catalogue does not have is asked for what its name tells, in each form of the question.
    let painter = "openai/gpt-image-1";
    for (body, modality) in [
        (json!({"model": painter}), "image"),
        (json!({"app": painter}), "image"),
        (json!({"app": painter, "input": {"prompt": "a tide"}}), "image"),
        (json!({"request": {"model": painter, "prompt": "a tide"}}), "image"),
        (json!({"model": "dall-e-3"}), "image"),
        (json!({"model": "openai/sora-2"}), "video"),
        (json!({"app": "openai/sora-2", "input": {"prompt": "a tide"}}), "video"),
        (json!({"app": MINI, "input": {"prompt": "hello"}}), "chat"),
    ] {
        let plan = gateway.plan(body.clone()).await;
        let planned = (&plan["modality"], &plan["chosen"]["principal"]);
        assert_eq!(planned, (&json!(modality), &json!(own)), "{body}: {plan}");
    }
    assert_eq!(gateway.emulator.journal().len(), calls, "a plan was sent");
    gateway.chat_ok(&question(MINI)).await;
    until("the second opening", async || openings(&gateway, &own).await > opened).await;
    assert_eq!(openings(&gateway, &own).await, opened + 1, "a plan opened a credential");
    gateway.listed(2).await;
    assert_eq!(gateway.requests(50).await.len(), 2, "a plan is in the books");
}

/// How often the credential's secret was opened.
async fn openings(gateway: &Gateway, id: &str) -> u64 {
    gateway.get(&format!("/v2/provider-credentials/{id}")).await["openings"].as_u64().unwrap()
}

#[tokio::test]
async fn what_is_planned_is_what_is_served() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    let pictures =
        gateway.route(json!({"scope": {"tag": "nightly"}, "profiles": ["managed_provider"]})).await;
    let (key, key_id) = gateway.key(json!({"name": "other", "environment": "staging"})).await;
    let staging =
        gateway.route(json!({"scope": {"environment": "staging"}, "profiles": ["managed_provider"]})).await;
    for (tag, as_staging, route, profile) in [
        (None, false, Value::Null, "byok"),
        (Some("nightly"), false, json!(pictures), "managed_provider"),
        (None, true, json!(staging), "managed_provider"),
    ] {
        let mut body = json!({"request": question(MINI)});
        let mut client = if as_staging { gateway.with_key(&key) } else { gateway.client() };
        if let Some(tag) = tag {
            body["headers"] = json!({"Agent-Hints": hints(tag)});
            client = client.header("agent-hints", hints(tag));
        }
        if as_staging {
            body["key_id"] = json!(key_id);
        }
        let plan = gateway.plan(body).await;
        assert_eq!((&plan["route"]["id"], &plan["chosen"]["profile"]), (&route, &json!(profile)), "{plan}");
        let answer = client.post(CHAT, &question(MINI)).await.unwrap();
        assert_eq!(answer.header("agent-execution-profile"), Some(profile), "{}", answer.text());
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"/plan/route_id": route, "/plan/resolution": plan["resolution"]}));
    }
}

#[tokio::test]
async fn a_request_that_would_be_refused_has_a_plan_that_says_so() {
    let gateway = pooled().await;
    let hinted = json!({"request": question(MINI), "headers": {"Agent-Hints-Ref": "ah_none"}});
    let batch = json!({"input_file_id": "file_none", "endpoint": CHAT, "completion_window": "24h"});
    for (body, status, code, field) in [
        (json!({"request": {"model": MINI}}), 400, "missing_required_parameter", "messages"),
        (json!({"request": {"model": MINI, "messages": []}}), 400, "empty_array", "messages"),
        (json!({"request": question("nothing/here")}), 404, "model_not_found", "model"),
        (json!({"request": question(VECTORS)}), 400, "model_modality", "model"),
        (hinted, 400, "unknown_hints", "Agent-Hints-Ref"),
        (json!({"path": "/v1/batches", "request": batch}), 400, "file_not_found", "input_file_id"),
        (json!({"path": "/v1/responses/resp_none", "method": "GET"}), 404, "response_not_found", ""),
    ] {
        let plan = gateway.plan(body.clone()).await;
        assert_eq!(error_of(&plan), (status, code), "{body}: {plan}");
        assert_eq!(plan["error"]["field"].as_str().unwrap_or(""), field, "{plan}");
        assert!(plan["error"]["fix"].is_string(), "{plan}");
        assert_eq!(plan["attempts"], json!([]), "{plan}");
    }
    // What is wrong with the question itself is refused as a question.
    for (body, field) in [
        (json!({"path": "/v1/nothing", "request": {}}), "path"),
        (json!({"path": "v1/chat/completions", "request": {}}), "path"),
        (json!({"path": "/v1/models"}), "path"),
        (json!({"path": "/v1/batches", "method": "GET"}), "path"),
        (json!({"request": {}, "method": "PUT"}), "method"),
        (json!({"request": {}, "headers": {"Authorization": "Bearer x"}}), "headers.Authorization"),
        (json!({"request": {}, "headers": {"a b": "x"}}), "headers.a b"),
        (json!({"request": {}, "dialect": "anthropic", "modality": "image"}), "path"),
        (json!({"request": question(MINI), "tag": "a", "headers": {"Agent-Hints": hints("b")}}), "tag"),
    ] {
        let answer = gateway.admin().post(PLAN, &body).await.unwrap();
        assert_eq!(problem(&answer, 400, "invalid_value")["param"], field, "{body}");
    }
    let large =
        json!({"request": {"model": MINI, "messages": [{"role": "user", "content": "x".repeat(1_100_000)}]}});
    problem(&gateway.admin().post(PLAN, &large).await.unwrap(), 413, "body_too_large");
    assert!(gateway.calls(POOL).is_empty());
}

/// An own credential at Anthropic.
async fn claude(gateway: &Gateway) -> String {
    let base_url = gateway.emulator.anthropic_url();
    let body = json!({"provider": "anthropic", "secret": OWN_SECOND, "base_url": base_url});
    id_of(&gateway.make("/v2/provider-credentials", body).await)
}

/// Each provider is planned with what it would not be sent, or with the refusal that the client would get.
#[cfg(feature = "broker")]
#[tokio::test]
async fn what_a_translation_drops_or_refuses_is_in_the_plan() {
    let gateway = pooled().await;
    claude(&gateway).await;
    let mut request = question("anthropic/claude-haiku-4-5");
    request["logprobs"] = json!(true);
    let plan = gateway.plan(json!({"request": request})).await;
    let answer = gateway.client().post(CHAT, &request).await.unwrap();
    let served = refused(&answer, 400, plan["error"]["code"].as_str().unwrap_or("no error"));
    has(&plan, json!({"/error/field": served["param"], "error": plan["attempts"][0]["error"]}));
    assert!(gateway.calls(OWN_SECOND).is_empty());

    let plan = gateway.plan(json!({"request": request, "headers": {"Agent-Lenient": "true"}})).await;
    has(&plan, json!({"error": null, "/attempts/0/dropped_params": ["logprobs"]}));
    let lenient = gateway.client().header("agent-lenient", "true");
    let answer = lenient.post(CHAT, &request).await.unwrap().must_be(200);
    assert_eq!(answer.header("agent-dropped-params"), Some("logprobs"));

    // A file that only its provider has is not given out by an account that workspaces share.
    let mut file = question(MINI);
    file["messages"][0]["content"] = json!([{"type": "file", "file": {"file_id": "file-of-someone"}}]);
    let plan = gateway.plan(json!({"request": file})).await;
    let answer = gateway.client().post(CHAT, &file).await.unwrap();
    refused(&answer, 400, plan["error"]["code"].as_str().unwrap_or("no error"));
    assert_eq!(error_of(&plan).1, "kept_elsewhere", "{plan}");
    assert!(gateway.calls(POOL).is_empty());
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_batch_a_session_and_a_background_response_are_planned() {
    let gateway = Gateway::with(config().model(Model::chat("gpt-realtime-1.5")), &[]).await;
    let claude = claude(&gateway).await;
    let params = json!({"model": "anthropic/claude-haiku-4-5", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]});
    let batch = json!({"requests": [{"custom_id": "a", "params": params}]});
    let plan = gateway.plan(json!({"path": "/v1/messages/batches", "request": batch})).await;
    let half = json!([{"upstream_model": "claude-haiku-4-5", "price_percent": 50}]);
    let of_provider = json!({"execution": "provider", "reason": null, "why": null, "models": half});
    has(&plan, json!({"operation": "batch", "error": null, "batch": of_provider}));
    has(&plan, json!({"/chosen/principal": claude, "/chosen/price": null}));
    assert_eq!(plan["requested_model"], "anthropic/claude-haiku-4-5", "{plan}");
    // On a pooled account, its use could not be bounded: the plan says so as the request's refusal would.
    gateway.account("openai", POOL).await;
    let session = gateway.plan(json!({"modality": "realtime", "model": SESSION_MODEL, "request": null, "path": format!("/v1/realtime?model={SESSION_MODEL}")})).await;
    has(&session, json!({"operation": "realtime", "error": null, "/chosen/profile": "managed_provider"}));
    let background = json!({"model": MINI, "input": "hi", "background": true, "store": true});
    // An answer in the background is made by the gateway then, as one that its client waits for.
    let plan = gateway.plan(json!({"path": "/v1/responses", "request": background})).await;
    has(&plan, json!({"error": null, "/chosen/profile": "managed_provider"}));
    let served = gateway.client().post("/v1/responses", &background).await.unwrap();
    assert_eq!((served.status, &served.json()["status"]), (200, &json!("queued")), "{}", served.text());
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn the_price_is_the_ceiling_and_what_would_cost_less_is_named() {
    let gateway = Gateway::priced(config(), PRICES).await;
    let body = json!({"provider": "openai", "secret": POOL, "base_url": gateway.emulator.base_url(), "markup_bps": 1_000});
    gateway.make("/v2/accounts", body).await;
    let request = with(question("acme/plan-1"), json!({"max_tokens": 100}));
    let plan = gateway.plan(json!({"request": request})).await;
    let price = plan["chosen"]["price"].clone();
    let tokens = price["input_tokens"].as_i64().unwrap();
    assert!((1..40).contains(&tokens), "{plan}");
    // 1 USD and 4 USD for a million tokens, and the markup of a tenth.
    let (input, output) = (tokens * 1_100, 100 * 4_400);
    has(
        &price,
        json!({"output_tokens": 100, "input_nanos": input, "output_nanos": output, "estimated": true}),
    );
    has(&price, json!({"total_nanos": input + output, "billed_by": "operator"}));
    assert_eq!(plan["cheaper"]["data"], json!([]), "{plan}");
    // The own credential costs less, for the markup, and a route keeps it out.
    let own = gateway.credential("openai", OWN).await;
    gateway.route(json!({"scope": {}, "profiles": ["managed_provider"]})).await;
    let plan = gateway.plan(json!({"request": request})).await;
    assert_eq!(plan["chosen"]["profile"], "managed_provider", "{plan}");
    let cheaper = &plan["cheaper"]["data"][0];
    has(cheaper, json!({"principal": own, "reason": "profile_not_in_route", "/price/billed_by": "provider"}));
    assert_eq!(cheaper["price"]["total_nanos"], tokens * 1_000 + 100 * 4_000, "{plan}");
    // Without a maximum, the model's own holds.
    let open = gateway.plan(json!({"request": question("acme/plan-1")})).await;
    assert_eq!(open["chosen"]["price"]["output_tokens"], 1_000, "{open}");
    // Nothing is compared that was not measured.
    assert_eq!(plan["chosen"]["first_byte_ms"], Value::Null, "{plan}");
    assert!(plan["faster"]["note"].as_str().unwrap().contains("not measured"), "{plan}");
    gateway.chat_ok(&request).await;
    let plan = gateway.plan(json!({"request": request})).await;
    assert!(plan["chosen"]["first_byte_ms"].as_u64().is_some_and(|ms| ms > 0), "{plan}");
    assert_eq!(plan["faster"]["data"], json!([]), "{plan}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn limits_and_budgets_refuse_in_the_plan_and_are_not_touched_by_it() {
    let gateway = Gateway::priced(config(), PRICES).await;
    gateway.account("openai", POOL).await;
    let request = json!({"request": with(question("acme/plan-1"), json!({"max_tokens": 100}))});
    let (key, key_id) = gateway.key(json!({"name": "slow"})).await;
    gateway.patch(&format!("/v2/api-keys/{key_id}"), json!({"limits": {"requests_per_minute": 1}})).await;
    let as_key = with(request.clone(), json!({"key_id": key_id}));
    for _ in 0..5 {
        assert_eq!(gateway.plan(as_key.clone()).await["error"], Value::Null, "a plan takes of the limit");
    }
    let answer = gateway.with_key(&key).post(CHAT, &request["request"]).await.unwrap().must_be(200);
    let plan = gateway.plan(as_key).await;
    assert_eq!(error_of(&plan), (429, "rate_limit_exceeded"), "{plan}");
    assert_eq!(plan["chosen"]["profile"], "managed_provider", "what would serve it is named: {plan}");
    gateway.settled(&trace_of(&answer)).await;

    let small = json!({"name": "small", "workspace": true, "limit_micros": 700, "period": "day"});
    let budget = format!("/v2/budgets/{}", id_of(&gateway.make("/v2/budgets", small).await));
    let before = gateway.get(&budget).await;
    for (max_tokens, refuses) in [(10, false), (900, true)] {
        let request = with(question("acme/plan-1"), json!({"max_tokens": max_tokens}));
        let plan = gateway.plan(json!({"request": request})).await;
        let expected = if refuses { (429, "quota_exceeded") } else { (0, "") };
        assert_eq!(error_of(&plan), expected, "{max_tokens}: {plan}");
        let answer = gateway.client().post(CHAT, &request).await.unwrap();
        if refuses {
            assert_eq!(refused(&answer, 429, "quota_exceeded")["code"], plan["error"]["code"]);
        } else {
            gateway.settled(&trace_of(&answer.must_be(200))).await;
        }
    }
    let spent = |standing: &Value| standing["spent_micros"].as_i64().unwrap();
    let after = gateway.get(&budget).await;
    assert!(spent(&after) - spent(&before) < 700, "{after}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_plan_is_of_its_own_workspace() {
    let gateway = pooled().await;
    gateway.credential("openai", OWN).await;
    let background = json!({"model": MINI, "input": "hello there", "store": true});
    let id = id_of(&gateway.client().post("/v1/responses", &background).await.unwrap().json());
    let made = gateway.make("/v2/workspaces", json!({"name": "stranger"})).await;
    let stranger = gateway.with_key(made["admin_key"].as_str().unwrap());
    let project = json!({"project_id": gateway.founded.project_id, "request": question(MINI)});
    problem(&stranger.post(PLAN, &project).await.unwrap(), 404, "not_found");
    let plan = async |body: Value| stranger.post(PLAN, &body).await.unwrap().json();
    let strange = plan(json!({"request": question(MINI)})).await;
    assert_eq!(codes(&strange, "attempts", "principal"), ["managed"], "{strange}");
    assert!(codes(&strange, "rejected", "principal").is_empty(), "{strange}");
    let address = json!({"path": format!("/v1/responses/{id}"), "method": "GET"});
    assert_eq!(error_of(&plan(address.clone()).await), (404, "response_not_found"));
    let own = gateway.plan(address).await;
    assert_eq!((&own["resolution"], &own["error"]), (&json!("stored_response"), &Value::Null), "{own}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_policy_is_named_before_the_state() {
    let gateway = pooled().await;
    the_command_plans_a_file_and_standard_input(&gateway).await;
    let own = gateway.credential("openai", OWN).await;
    let rules = json!({"project_id": gateway.founded.project_id, "allowed_regions": ["eu-west-1"]});
    gateway.make("/v2/policies", rules).await;
    gateway.patch(&format!("/v2/provider-credentials/{own}"), json!({"status": "disabled"})).await;
    let dead = json!({"name": "dead", "base_url": "http://127.0.0.1:9", "models": [MINI]});
    gateway.make("/v2/byoc/nodes", dead).await;
    let plan = gateway.plan(json!({"request": question(MINI)})).await;
    assert_eq!(error_of(&plan), (403, "policy_forbids"), "{plan}");
    assert_eq!(codes(&plan, "rejected", "reason"), ["policy_forbids"; 3], "{plan}");
    refused(&gateway.chat(&question(MINI)).await, 403, "policy_forbids");
}

async fn the_command_plans_a_file_and_standard_input(gateway: &Gateway) {
    let file = gateway.directory().join("request.json");
    std::fs::write(&file, question(MINI).to_string()).unwrap();
    let file = file.display().to_string();
    let plan = gateway.cli().run(&["plan", "--request", &file, "--json"]).json();
    has(&plan, json!({"operation": "chat", "/chosen/profile": "managed_provider"}));
    let table = gateway.cli().run(&["plan", "--request", &file]).ok();
    assert!(table.contains("openai  managed  at most"), "{table}");
    let vectors = json!({"model": VECTORS, "input": "hello"}).to_string();
    let arguments =
        ["plan", "--request", "-", "--path", "/v1/embeddings", "--header", "Agent-Hints: e30", "--json"];
    let plan = gateway.cli().run_with(&arguments, &vectors).json();
    assert_eq!((&plan["modality"], &plan["error"]), (&json!("embedding"), &Value::Null), "{plan}");
    gateway.cli().run(&["plan"]).failed(2);
    gateway.cli().run(&["plan", "--request", "/nowhere/at/all"]).failed(2);
    gateway.cli().run_with(&["plan", "--request", "-"], "{").failed(2);
    gateway.cli().run_with(&["plan", "--request", "-", "--header", "none"], "{}").failed(2);
}

/// The documents of the page about rules, in their order.
fn documents() -> Vec<String> {
    let page = std::fs::read_to_string(workspace().join("docs/rules.md")).unwrap();
    page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A gateway with the two contracts of the page, and a pool that has everything.
async fn contracts() -> Gateway {
    let gateway = Gateway::with(config().model(Model::chat("text-embedding-3-small")), &[]).await;
    let fal = gateway.emulator.fal_url();
    let azure = gateway.emulator.base_url_of(Flavour::Azure);
    let deployments = json!({"deployments": {MINI: "my-gpt-4o-mini"}});
    for body in [
        json!({"provider": "fal", "display_name": "pictures", "secret": OWN, "base_url": fal}),
        json!({"provider": "azure_openai", "display_name": "language", "secret": OWN_SECOND,
            "base_url": azure, "config": deployments}),
    ] {
        gateway.make("/v2/provider-credentials", body).await;
    }
    gateway.make("/v2/accounts", json!({"provider": "fal", "secret": CUSTOM, "base_url": fal})).await;
    gateway.account("openai", POOL).await;
    gateway
}

fn apply(gateway: &Gateway, document: &str, more: &[&str]) {
    let file = gateway.directory().join("rules.toml");
    std::fs::write(&file, document).unwrap();
    let file = file.display().to_string();
    let arguments: Vec<&str> = ["apply", "-f", &file].into_iter().chain(more.iter().copied()).collect();
    gateway.cli().run(&arguments).ok();
}

/// Sends a picture, a chat and a text for vectors with a key, and returns who served each, as planned.
async fn who(gateway: &Gateway, key: &(String, String)) -> Vec<String> {
    let mut served = Vec::new();
    for (path, request) in [
        ("/v1/images/generations", json!({"model": SCHNELL, "prompt": "a tide", "size": "640x480"})),
        ("/v1/chat/completions", question(MINI)),
        ("/v1/embeddings", json!({"model": VECTORS, "input": "hello"})),
    ] {
        let plan = gateway.plan(json!({"path": path, "request": request, "key_id": key.1})).await;
        let answer: Answer = gateway.with_key(&key.0).post(path, &request).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let (profile, provider) = (header("agent-execution-profile"), header("agent-resolved-provider"));
        let chosen =
            |field: &str| plan["chosen"][field].as_str().unwrap_or_else(|| panic!("{plan}")).to_owned();
        assert_eq!((chosen("profile"), chosen("provider")), (profile.clone(), provider.clone()), "{plan}");
        served.push(format!("{profile} {provider}"));
    }
    served
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn three_rules_send_pictures_to_fal_language_to_azure_and_the_rest_to_the_pool() {
    let [always, in_production] = &documents()[..] else { panic!("the page has two documents") };
    assert_eq!(always.matches("[[route]]").count(), 3);
    let gateway = contracts().await;
    let live = gateway.key(json!({"name": "live", "environment": "production"})).await;
    let test = gateway.key(json!({"name": "test", "environment": "development"})).await;
    let own = ["byok fal", "byok azure_openai", "managed_provider openai"];
    let pool = ["managed_provider fal", "managed_provider openai", "managed_provider openai"];
    apply(&gateway, always, &[]);
    assert_eq!(who(&gateway, &live).await, own);
    assert_eq!(who(&gateway, &test).await, own);
    apply(&gateway, in_production, &["--prune", "--yes"]);
    assert_eq!(who(&gateway, &live).await, own);
    assert_eq!(who(&gateway, &test).await, pool);
    assert_eq!(gateway.emulator.violations(), []);
}
