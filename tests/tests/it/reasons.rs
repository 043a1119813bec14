//! Why a request failed, from its record alone: message, fix, field, and the configuration object that
//! refused it.

use harness::{Behaviour, KeyState};
use serde_json::{Value, json};

use crate::ask::{MINI, has, question, refused, scripted, trace_of, with};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, id_of, row};

/// The record of a refused request, and the message that its client received.
async fn record_of(gateway: &Gateway, body: &Value, status: u16, code: &str) -> (Value, String) {
    let answer = gateway.chat(body).await;
    let error = refused(&answer, status, code);
    let record = gateway.settled(&trace_of(&answer)).await;
    assert_eq!((&record["status"], &record["error_code"]), (&json!(status), &json!(code)), "{record}");
    (record, error["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_record_names_the_budget_policy_or_route_that_refused() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let project = json!({"project_id": gateway.founded.project_id});
    let big = with(question(MINI), json!({"max_tokens": 4_000}));
    let budget = with(json!({"limit_micros": 1, "period": "month", "name": "checkout"}), project.clone());
    let budget = id_of(&gateway.make("/v2/budgets", budget).await);
    let (refused_by_budget, reported) = record_of(&gateway, &big, 429, "quota_exceeded").await;
    gateway.remove(&format!("/v2/budgets/{budget}")).await;

    let policy = with(json!({"allowed_models": ["anthropic/claude-opus-4"]}), project);
    let policy = id_of(&gateway.make("/v2/policies", policy).await);
    let (refused_by_policy, _) = record_of(&gateway, &question(MINI), 403, "policy_forbids").await;
    gateway.remove(&format!("/v2/policies/{policy}")).await;

    let route = gateway.route(json!({"profiles": ["byoc"]})).await;
    let (refused_by_route, _) = record_of(&gateway, &question(MINI), 404, "model_not_served").await;
    gateway.remove(&format!("/v2/routes/{route}")).await;

    let cases = [
        (&refused_by_budget, "budget", budget),
        (&refused_by_policy, "policy", policy),
        (&refused_by_route, "route", route),
    ];
    for (record, object, id) in &cases {
        let error = &record["error"];
        let rule = if *object == "policy" { json!({"policy_rule": "allowed_models"}) } else { json!({}) };
        assert_eq!(error["refused_by"], with(json!({"object": object, "id": id}), rule), "{record}");
        let (message, fix) = (error["message"].as_str().unwrap(), error["fix"].as_str().unwrap());
        assert!(message.contains(id.as_str()) && !fix.is_empty(), "{error}");
    }
    // An engineer with the request id reads the same message as the client, by every route to the record.
    let message = refused_by_budget["error"]["message"].as_str().unwrap();
    assert!(reported.starts_with(message), "{reported}\n{message}");
    let output = gateway.cli().run(&["request", refused_by_budget["id"].as_str().unwrap()]).ok();
    assert!(output.contains(message) && output.contains("refused   by the budget bdg_"), "{output}");
    assert!(output.contains("refused before an attempt"), "{output}");
    let records = gateway.get("/v2/records").await;
    let whole = row(&records["data"], "id", refused_by_budget["id"].as_str().unwrap());
    assert_eq!(whole["error"], refused_by_budget["error"]);
    assert_eq!(refused_by_route["error"]["param"], "model");
    for (record, object, id) in &cases {
        for by in [*object, id.as_str()] {
            let found = gateway.get(&format!("/v2/requests?filter=refused_by:{by}")).await;
            let found = found["data"].as_array().unwrap();
            let seen = (found.len(), &found[0]["id"], &found[0]["refused_by"]);
            assert_eq!(seen, (1, &record["id"], &json!(id)), "{by}");
        }
    }

    // A successful request has no error, and it is counted under its credential.
    has(&gateway.settled(&trace_of(&gateway.chat_ok(&question(MINI)).await)).await, json!({"error": null}));
    let usage = gateway.get("/v2/usage?group_by=credential").await;
    assert_eq!(row(&usage["data"], "credential", &credential)["requests"], 1, "{usage}");
    let analytics = gateway.get("/v2/analytics").await;
    assert_eq!(analytics["data"][0]["success_rate"], 0.25, "one of four: {analytics}");
    assert_eq!(analytics["data"][0]["uptime"], 1.0, "who was asked answered: {analytics}");
}

#[tokio::test]
async fn what_a_provider_says_of_a_wrong_request_is_not_kept() {
    let gateway = Gateway::with_own().await;
    let wrong = with(question(MINI), json!({"temperature": 77.5}));
    let answer = gateway.chat(&wrong).await;
    let reported = refused(&answer, 400, "decimal_above_maximum_value")["message"].to_string();
    let record = gateway.settled(&trace_of(&answer)).await;
    assert_eq!(record["error_code"], "upstream_bad_request", "{record}");
    let message = record["error"]["message"].as_str().unwrap();
    assert!(reported.contains("77.5"), "{reported}");
    assert!(message.starts_with("openai rejected the request as invalid: "), "{message}");
    assert!(!message.contains("77.5"), "{message}");
    assert!(message.contains("not kept") && record["error"]["param"] == "temperature", "{record}");

    // A provider's message about its own failure contains nothing of the client's request: it is stored.
    gateway.emulator.script(OWN, [Behaviour::status(500).message("The tide is out.").always()]);
    let record = gateway.settled(&trace_of(&gateway.chat(&question(MINI)).await)).await;
    assert!(record["error"]["message"].as_str().unwrap().ends_with(": The tide is out."), "{record}");
    gateway.emulator.clear_scripts();
    gateway.chat_ok(&question(MINI)).await;

    // A provider may echo part of the credential: none of its message is stored.
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let record = gateway.settled(&trace_of(&gateway.chat(&question(MINI)).await)).await;
    assert_eq!(record["error"]["message"], "openai refused the credential.", "{record}");
    assert!(!record.to_string().contains(OWN), "{record}");
    assert_eq!(record["error"]["refused_by"], Value::Null, "{record}");

    // Neither a wrong request nor a wrong key is an outage.
    let analytics = gateway.get("/v2/analytics?group_by=model").await;
    assert_eq!(row(&analytics["data"], "model", MINI)["uptime"], 0.5, "one of two: {analytics}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn an_outage_counts_where_it_was_though_others_took_the_request_over() {
    let gateway = Gateway::start().await;
    let credential = gateway.credential("openai", OWN).await;
    let account = gateway.account("openai", POOL).await;
    gateway.route(json!({"scope": {}, "byok_fallback": "managed", "fallback_on": ["upstream"]})).await;
    gateway.emulator.script(OWN, [Behaviour::status(500).always()]);
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    gateway.settled(&trace_of(&answer)).await;
    let uptimes = async |dimension: &str| {
        let found = gateway.get(&format!("/v2/analytics?group_by={dimension}")).await;
        let rows = found["data"].as_array().unwrap();
        let of = |row: &Value| (row[dimension].as_str().map(str::to_owned), row["uptime"].as_f64());
        rows.iter().map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    // Whoever called got every answer.
    assert_eq!(uptimes("model").await, [(Some(MINI.to_owned()), Some(1.0))].into());
    let by_profile = [(Some("byok".to_owned()), Some(0.0)), (Some("managed_provider".to_owned()), Some(1.0))];
    assert_eq!(uptimes("profile").await, by_profile.into());
    assert_eq!(uptimes("credential").await.get(&Some(credential)), Some(&Some(0.0)));
    assert_eq!(uptimes("account").await.get(&Some(account)), Some(&Some(1.0)));
    // It has no usage, and none of the request's costs.
    let usage = gateway.get("/v2/usage?group_by=profile").await;
    assert_eq!(usage["data"].as_array().unwrap().len(), 1, "{usage}");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn sums_and_rows_are_each_credentials_own() {
    let gateway = Gateway::start().await;
    let project = json!({"name": "second", "environment": "production"});
    let project = id_of(&gateway.make("/v2/projects", project).await);
    let credential = async |name: &str, secret: &str, project: &str| {
        let more = json!({"display_name": name, "scope": {"project_id": project}});
        gateway.credential_with("openai", secret, more).await
    };
    let first = credential("team one", OWN, &gateway.founded.project_id).await;
    let second = credential("team two", OWN_SECOND, &project).await;
    let (key, _) = gateway.key(json!({"name": "two", "project_id": project})).await;
    let node = gateway.node("rack", &["tide-1"]).await;
    gateway.chat_ok(&with(scripted(MINI, "chunks=5,interval=20"), json!({"stream": true}))).await;
    let client = gateway.with_key(&key);
    for _ in 0..3 {
        assert_eq!(client.post(crate::ask::CHAT, &question(MINI)).await.unwrap().status, 200);
    }
    gateway.chat_ok(&question("tide-1")).await;
    let totals = gateway.wait_for_usage(5).await;
    let usage = gateway.get("/v2/usage?group_by=credential").await;
    let of = |id: &str| row(&usage["data"], "credential", id).clone();
    let total: i64 =
        usage["data"].as_array().unwrap().iter().map(|row| row["requests"].as_i64().unwrap()).sum();
    let own: i64 = [&first, &second].iter().map(|id| of(id)["provider_cost_micros"].as_i64().unwrap()).sum();
    // Two keys at one provider are counted separately, and nothing is counted twice.
    let expected = (5, &json!(1), &json!(3));
    assert_eq!((total, &of(&first)["requests"], &of(&second)["requests"]), expected, "{usage}");
    assert!((own - totals["provider_cost_micros"].as_i64().unwrap()).abs() <= 2, "{usage} {totals}");
    assert_eq!(gateway.get("/v2/usage").await["data"][0]["spend_micros"], totals["provider_cost_micros"]);
    // Four intervals of 20 ms at least; the other requests were not streamed.
    let measured = gateway.get("/v2/analytics?group_by=credential").await;
    let rate = |id: &str| row(&measured["data"], "credential", id)["tokens_per_second"].as_f64();
    let tokens = of(&first)["output_tokens"].as_f64().unwrap();
    assert!(rate(&first).is_some_and(|rate| rate > 0.0 && rate <= tokens / 0.08), "{measured}");
    assert_eq!(rate(&second), None);
    let nodes = gateway.get("/v2/usage?group_by=node").await;
    assert_eq!(row(&nodes["data"], "node", &node)["requests"], 1, "{nodes}");
    let named = gateway.get("/v2/requests?filter=credential:%22team%20two%22").await;
    assert_eq!(named["data"].as_array().unwrap().len() as i64, of(&second)["requests"].as_i64().unwrap());
    has(&gateway.get("/v2/usage?filter=node:rack").await["data"][0], json!({"requests": 1}));
}
