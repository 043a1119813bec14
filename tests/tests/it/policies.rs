//! Policies: what a project's requests may reach, whatever a route says, enforced before anything is sent.

use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, streaming, trace_of, with};
use crate::audit::{audited, entries};
use crate::gateway::{Gateway, LOCAL_MODEL, OWN, OWN_SECOND, POOL, id_of};
use crate::wait::a_minute_with_room;

const POLICIES: &str = "/v2/policies";
const CREDENTIALS: &str = "/v2/provider-credentials";

async fn policy(gateway: &Gateway, rules: Value) -> Value {
    let project = json!({"project_id": gateway.founded.project_id});
    gateway.make(POLICIES, with(project, rules)).await
}

fn credential(gateway: &Gateway, key: &str, more: Value) -> Value {
    with(json!({"provider": "openai", "secret": key, "base_url": gateway.emulator.base_url()}), more)
}

/// Checks that this rule refused the request, with nothing sent.
fn forbidden(gateway: &Gateway, answer: &Answer, made: &Value, rule: &str) {
    let error = refused(answer, 403, "policy_forbids");
    let (message, id) = (error["message"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(message.contains(id) && message.contains(&format!("({rule})")), "{error}");
    assert_eq!(answer.header("agent-policy-rule"), Some(rule), "{error}");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let sent = gateway.emulator.journal();
    assert!(!sent.iter().any(|entry| entry.method == "POST" && !entry.is_probe()), "something left");
}

#[tokio::test]
async fn who_did_not_agree_to_keep_nothing_is_not_asked() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"retention": "zero", "compliance": ["hipaa"]})).await;
    let unknown = gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
    for request in [question(MINI), streaming(MINI)] {
        forbidden(&gateway, &gateway.chat(&request).await, &made, "retention");
    }
    let path = format!("{CREDENTIALS}/{}", id_of(&unknown));
    gateway.patch(&path, json!({"retention": {"days": 30}})).await;
    forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, "retention");
    gateway.patch(&path, json!({"retention": "zero"})).await;
    forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, "compliance");
    gateway.patch(&path, json!({"compliance": ["soc2", "hipaa"]})).await;
    gateway.chat_ok(&question(MINI)).await;
    // Seven days are acceptable from now on, and a compliance tag that is no longer stated counts as absent.
    let changed = json!({"retention": {"days": 7}, "compliance": []});
    gateway.patch(&format!("{POLICIES}/{}", id_of(&made)), changed).await;
    gateway.patch(&path, json!({"retention": {"days": 7}})).await;
    gateway.chat_ok(&question(MINI)).await;
    gateway.patch(&path, json!({"retention": null})).await;
    refused(&gateway.chat(&question(MINI)).await, 403, "policy_forbids");
    gateway.remove(&format!("{POLICIES}/{}", id_of(&made))).await;
    gateway.chat_ok(&question(MINI)).await;
}

#[tokio::test]
async fn each_rule_holds_over_every_route() {
    for (rules, rule) in [
        (json!({"allowed_providers": ["anthropic", "byoc"]}), "allowed_providers"),
        (json!({"allowed_models": ["anthropic/", "openai/gpt-5*"]}), "allowed_models"),
        (json!({"allowed_regions": ["eu-west-1"]}), "allowed_regions"),
        (json!({"profiles": ["byoc"]}), "profiles"),
    ] {
        let gateway = Gateway::start().await;
        let made = policy(&gateway, rules).await;
        gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
        gateway.make("/v2/accounts", credential(&gateway, POOL, json!({}))).await;
        let open = json!({"scope": {}, "profiles": ["byok", "managed_provider"], "byok_fallback": "managed"});
        gateway.route(open).await;
        forbidden(&gateway, &gateway.chat(&question(MINI)).await, &made, rule);
        let plan = gateway.plan(json!({"model": MINI})).await;
        assert!(plan.to_string().contains("policy_forbids"), "{plan}");
    }
}

#[tokio::test]
async fn what_a_policy_allows_is_asked_in_the_place_of_what_it_does_not() {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({"retention": {"days": 30}}))).await;
    let kept = credential(&gateway, OWN_SECOND, json!({"display_name": "kept nowhere", "retention": "zero"}));
    let kept = gateway.make(CREDENTIALS, kept).await;
    policy(&gateway, json!({"retention": "zero", "allowed_providers": ["openai", "byoc"]})).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-byok-credential-id"), kept["id"].as_str());
    // The workspace's own machines count as zero retention.
    gateway.node("rack", &[LOCAL_MODEL]).await;
    assert_eq!(gateway.chat_ok(&question(LOCAL_MODEL)).await.header("agent-execution-profile"), Some("byoc"));
}

/// A forbidden target is refused as forbidden whether it is available or not; and the refusal is audited,
/// once per minute.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_policy_is_told_before_the_state_of_what_it_forbids() {
    let gateway = Gateway::start().await;
    let away = json!({"name": "rack", "base_url": "http://127.0.0.1:9/v1", "models": [LOCAL_MODEL]});
    let node = id_of(&gateway.make("/v2/byoc/nodes", away).await);
    let made = policy(&gateway, json!({"profiles": ["byok"]})).await;
    let probed = gateway.admin().post(&format!("/v2/byoc/nodes/{node}/probe"), &json!({})).await.unwrap();
    assert_eq!(probed.json()["status"], "unreachable", "{}", probed.text());
    // Both within one minute.
    a_minute_with_room().await;
    for _ in 0..2 {
        let error = refused(&gateway.chat(&question(LOCAL_MODEL)).await, 403, "policy_forbids");
        assert!(error["message"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{error}");
    }
    let entry = audited(&gateway, "request.refuse").await;
    assert_eq!(entry["target"], gateway.founded.project_id.as_str(), "{entry}");
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains(LOCAL_MODEL) && detail.contains("(profiles)"), "{entry}");
    gateway.listed(2).await;
    assert_eq!(entries(&gateway, "request.refuse").await.len(), 1);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_node_says_its_region_by_a_label() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"allowed_regions": ["eu-west-1"]})).await;
    let node = gateway.node("rack", &[LOCAL_MODEL]).await;
    let error = refused(&gateway.chat(&question(LOCAL_MODEL)).await, 403, "policy_forbids");
    assert!(error["message"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{error}");
    gateway.patch(&format!("/v2/byoc/nodes/{node}"), json!({"labels": ["region=eu-west-1", "gpu"]})).await;
    gateway.chat_ok(&question(LOCAL_MODEL)).await;
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_is_no_policy_is_told() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"retention": "zero"})).await;
    let project = gateway.founded.project_id.clone();
    for (body, status, code) in [
        (json!({"retention": "zero"}), 400, "missing_field"),
        (json!({"project_id": project, "retention": "soon"}), 400, "invalid_value"),
        (json!({"project_id": project, "profiles": ["friends"]}), 400, "invalid_value"),
        (json!({"project_id": project, "allowed_regions": [""]}), 400, "invalid_value"),
        (json!({"project_id": project, "allowed": []}), 400, "invalid_value"),
        (json!({"project_id": "prj_01900000000070008000000000000000"}), 404, "not_found"),
        (json!({"project_id": project}), 409, "policy_exists"),
        (json!({"project_id": project, "workspace": true}), 400, "invalid_value"),
        (json!({"project_id": project, "region_policy": "mars_only"}), 400, "invalid_value"),
        (json!({"project_id": project, "data_boundary": "loose"}), 400, "invalid_value"),
        (json!({"project_id": project, "allowed_file_kinds": ["tape"]}), 400, "invalid_value"),
        (json!({"project_id": project, "limits": {"max_output_tokens": 0}}), 400, "invalid_value"),
    ] {
        problem(&gateway.admin().post(POLICIES, &body).await.unwrap(), status, code);
    }
    let other = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let path = format!("{POLICIES}/{}", id_of(&made));
    let moved = gateway.admin().put(&path, &json!({"project_id": other["id"]})).await.unwrap();
    problem(&moved, 400, "invalid_value");
}

/// The workspace's policy holds for every project, a project's may only tighten it, and a refusal says whose rule it
/// was.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_project_inherits_its_workspaces_policy_and_may_only_tighten_it() {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
    let rules = json!({"workspace": true, "allowed_models": ["openai/"], "retention": {"days": 30}, "limits": {"max_output_tokens": 100}});
    let wide = gateway.make(POLICIES, rules).await;
    has(&wide, json!({"workspace": true, "project_id": null}));
    forbidden(&gateway, &gateway.chat(&limited(MINI, 101)).await, &wide, "max_output_tokens");
    forbidden(&gateway, &gateway.chat(&limited(MINI, 10)).await, &wide, "retention");
    let project = gateway.founded.project_id.clone();
    for (rules, field) in [
        (json!({"allowed_models": ["anthropic/"]}), "allowed_models"),
        (json!({"retention": {"days": 31}}), "retention"),
        (json!({"limits": {"max_output_tokens": 101}}), "max_output_tokens"),
    ] {
        let answer =
            gateway.admin().post(POLICIES, &with(json!({"project_id": project}), rules)).await.unwrap();
        assert_eq!(problem(&answer, 400, "policy_loosens")["param"], field, "{}", answer.text());
    }
    let own = policy(&gateway, json!({"retention": "zero", "allowed_models": ["openai/gpt-4o*"]})).await;
    let looser = json!({"allowed_models": ["mistral/"]});
    problem(&gateway.patched(&format!("{POLICIES}/{}", id_of(&own)), looser).await, 400, "policy_loosens");
    let effective = gateway.get(&format!("{POLICIES}/effective?project_id={project}")).await;
    has(&effective, json!({"policy_ids": [wide["id"], own["id"]], "allowed_models": ["openai/gpt-4o*"]}));
    let limits = json!({"max_output_tokens": 100});
    has(&effective, json!({"retention": "zero", "limits": limits, "allowed_regions": null}));
    // A workspace that tightens later binds projects that allow more.
    gateway.patch(&format!("{POLICIES}/{}", id_of(&wide)), json!({"allowed_models": ["anthropic/"]})).await;
    forbidden(&gateway, &gateway.chat(&limited(MINI, 10)).await, &wide, "allowed_models");
    let effective = gateway.get(&format!("{POLICIES}/effective?project_id={project}")).await;
    assert_eq!(effective["allowed_models"], json!([]), "{effective}");
    let again = gateway.admin().post(POLICIES, &json!({"workspace": true})).await.unwrap();
    problem(&again, 409, "policy_exists");
}

fn limited(model: &str, tokens: u64) -> Value {
    with(question(model), json!({"max_tokens": tokens}))
}

/// Both paths, and both verbs on each, write the same policy.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_region_policy_is_set_by_either_path_and_verb() {
    let gateway = Gateway::start().await;
    let made = gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({"region": "us-east-1"}))).await;
    let json = [("content-type", "application/json")];
    let mut ids = Vec::new();
    for (path, prefix) in [("/v2/regional-policy", "rgn_"), ("/v2/governance/regional-policy", "rgp_")] {
        for method in [http::Method::POST, http::Method::PUT] {
            let body = json!({"region_policy": "eu_only", "data_boundary": "no_openrouter"}).to_string();
            let set = gateway.admin().call(method, path, &json, body).await.unwrap().must_be(200).json();
            assert!(set["id"].as_str().unwrap().starts_with(prefix), "{set}");
            has(&set, json!({"region_policy": "eu_only", "data_boundary": "no_openrouter"}));
            let regions = set["allowed_regions"].as_array().unwrap();
            assert!(regions.contains(&json!("eu-west-1")) && !regions.contains(&json!("us-east-1")), "{set}");
            ids.push(set["policy_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(gateway.get(path).await["policy_id"], ids[0].as_str());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one policy of the workspace");
    let wide = json!({"id": ids[0]});
    forbidden(&gateway, &gateway.chat(&question(MINI)).await, &wide, "region_policy");
    gateway.patch(&format!("{CREDENTIALS}/{}", id_of(&made)), json!({"region": "EU-West-1"})).await;
    gateway.chat_ok(&question(MINI)).await;
    // A project's may not be wider.
    let wider = json!({"project_id": gateway.founded.project_id, "region_policy": "us_only"});
    problem(&gateway.admin().post("/v2/regional-policy", &wider).await.unwrap(), 400, "policy_loosens");
    let own = json!({"project_id": gateway.founded.project_id, "allowed_regions": ["eu-west-3"]});
    gateway.admin().post("/v2/regional-policy", &own).await.unwrap().must_be(200);
    let sent = gateway.calls(OWN).len();
    let answer = gateway.chat(&question(MINI)).await;
    refused(&answer, 403, "policy_forbids");
    assert_eq!(answer.header("agent-policy-rule"), Some("allowed_regions"));
    assert_eq!(gateway.calls(OWN).len(), sent, "something left");
}

/// What a request asks for is held to the policy before anything is sent; the record and the metrics name the rule.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_request_that_asks_for_more_is_refused_by_the_rule() {
    let tool = |name: &str| json!({"tools": [{"type": "function", "function": {"name": name}}]});
    let tokens = |most: u64| json!({"max_tokens": most});
    let named = json!({"metadata": {"team": "a"}, "store": true});
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let seen = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, picture]}]});
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(100)}]});
    for (rules, breaking, keeping, param) in [
        (json!({"limits": {"max_output_tokens": 10}}), tokens(11), tokens(10), "max_tokens"),
        (json!({"limits": {"max_input_tokens": 50}}), long, json!({}), "model"),
        (json!({"limits": {"max_cost_micros": 100}}), tokens(10_000), tokens(10), "model"),
        (json!({"required_metadata": ["team"]}), json!({"metadata": {"group": "a"}}), named, "metadata"),
        (json!({"required_metadata": ["end_user"]}), json!({}), json!({"user": "ann"}), "user"),
        (json!({"allowed_tools": ["look_*"]}), tool("erase"), tool("look_up"), "tools"),
        (json!({"allowed_file_kinds": ["pdf"]}), seen.clone(), json!({}), "messages[0].content[1]"),
        (json!({"allowed_file_kinds": []}), seen, json!({}), "messages[0].content[1]"),
    ] {
        let gateway = Gateway::start().await;
        gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
        let rule = match rules.as_object().unwrap().iter().next().unwrap() {
            (name, Value::Object(amounts)) if name == "limits" => amounts.keys().next().unwrap().clone(),
            (name, _) => name.clone(),
        };
        let made = policy(&gateway, rules.clone()).await;
        let answer = gateway.chat(&with(question(MINI), breaking)).await;
        forbidden(&gateway, &answer, &made, &rule);
        assert_eq!(refused(&answer, 403, "policy_forbids")["param"], param, "{rules}");
        gateway.chat_ok(&with(question(MINI), keeping)).await;
        gateway.listed(2).await;
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(record["error"]["refused_by"]["policy_rule"], rule.as_str(), "{record}");
        let metrics = gateway.browser().get("/metrics").await.unwrap().text();
        let counted = format!("tidegate_policy_refusals_total{{rule=\"{rule}\"}} 1");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

/// Where nothing may be retained, what would stay at the provider is refused, each by the field that asks for it.
#[cfg(feature = "broker")]
#[tokio::test]
async fn zero_retention_refuses_what_would_stay() {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({"retention": "zero"}))).await;
    let made = policy(&gateway, json!({"retention": "zero"})).await;
    let client = gateway.client();
    let batch = json!({"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"});
    for (path, body, param) in [
        ("/v1/responses", json!({"model": MINI, "input": "x", "store": true}), "store"),
        ("/v1/responses", json!({"model": MINI, "input": "x", "background": true}), "background"),
        ("/v1/batches", batch, "model"),
        ("/v1/videos", json!({"model": "openai/sora-2", "prompt": "a tide"}), "model"),
    ] {
        let answer = client.post(path, &body).await.unwrap();
        forbidden(&gateway, &answer, &made, "retention");
        assert_eq!(refused(&answer, 403, "policy_forbids")["param"], param, "{path}");
    }
    let kept = json!({"model": MINI, "input": "x", "store": false});
    assert_eq!(client.post("/v1/responses", &kept).await.unwrap().status, 200);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn refusals_are_counted_by_policy_rule_and_project() {
    let gateway = Gateway::start().await;
    let made = policy(&gateway, json!({"profiles": ["byoc"], "required_metadata": ["team"]})).await;
    gateway.make(CREDENTIALS, credential(&gateway, OWN, json!({}))).await;
    let named = with(question(MINI), json!({"metadata": {"team": "sea"}}));
    for request in [question(MINI), named.clone(), named] {
        refused(&gateway.chat(&request).await, 403, "policy_forbids");
    }
    gateway.listed(3).await;
    let counted = gateway.get("/v2/analytics/refusals?window=24h").await;
    let rows = counted["data"].as_array().unwrap();
    let counts: Vec<_> = rows.iter().map(|row| (row["rule"].clone(), row["requests"].clone())).collect();
    assert_eq!(counts, [(json!("profiles"), json!(2)), (json!("required_metadata"), json!(1))], "{counted}");
    for row in rows {
        has(row, json!({"policy_id": made["id"], "project_id": gateway.founded.project_id}));
        assert_eq!(row.get("start"), None, "{row}");
    }
    assert_eq!(counted["partial"], false, "{counted}");
    let by_day = gateway.get("/v2/analytics/refusals?window=24h&interval=day").await;
    let sum: u64 = by_day["data"].as_array().unwrap().iter().filter_map(|row| row["requests"].as_u64()).sum();
    assert!(sum == 3 && by_day["data"][0]["start"].is_string(), "{by_day}");
    let other = gateway.make("/v2/projects", json!({"name": "other"})).await;
    let path = format!("/v2/analytics/refusals?project_id={}", id_of(&other));
    assert_eq!(gateway.get(&path).await["data"], json!([]));
}
