//! Model fallbacks of routes: a request goes on with another model after the failures that its route states, and only then.

use std::time::Duration;

use harness::Behaviour;
use harness::client::Answer;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, question, refused, said, streaming, trace_of, with};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, id_of};

/// Its context is three times that of `MINI`.
const LARGE: &str = "openai/gpt-5-mini";
const CLAUDE: &str = "anthropic/claude-haiku-4-5";

/// Each class, with what provokes it at the upstream, how often, and the fault of the attempts that fail.
fn classes() -> [(&'static str, Behaviour, usize, &'static str); 3] {
    let refused = |code: &str| Behaviour::status(400).code(code);
    [
        ("context_length", refused("context_length_exceeded"), 1, "context_length"),
        ("content_policy", refused("content_filter"), 1, "content_policy"),
        ("outage", Behaviour::status(503).times(3), 3, "overloaded"),
    ]
}

/// A gateway with an own credential at OpenAI and one route.
async fn gateway_with(fallbacks: Value) -> Gateway {
    let gateway = Gateway::with_own().await;
    gateway.route(json!({"model_fallbacks": fallbacks})).await;
    gateway
}

/// The models that were asked for under a key, in order.
fn asked(gateway: &Gateway, key: &str) -> Vec<String> {
    gateway.calls(key).into_iter().filter_map(|call| call.model).collect()
}

fn at_anthropic(gateway: &Gateway, secret: &str) -> Value {
    json!({"provider": "anthropic", "secret": secret, "base_url": gateway.emulator.anthropic_url()})
}

async fn record_of(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.settled(&trace_of(answer)).await
}

#[tokio::test]
async fn each_stated_failure_leads_to_the_other_model_and_is_booked_there() {
    for (class, behaviour, tries, fault) in classes() {
        for body in [question(MINI), streaming(MINI)] {
            let gateway = gateway_with(json!([{"on": [class], "model": LARGE}])).await;
            gateway.emulator.script(OWN, [behaviour.clone()]);
            let answer = gateway.chat(&body).await;
            assert_eq!(answer.status, 200, "{class}: {}", answer.text());
            assert!(!said(&answer).is_empty(), "{class}: {}", answer.text());
            let how = ["fallback-used", "resolved-model", "execution-profile", "attempts"];
            let how = how.map(|name| answer.header(&format!("agent-{name}")).unwrap());
            assert_eq!(how, ["true", LARGE, "byok", &(tries + 1).to_string()], "{class}");
            let models = [vec!["gpt-4o-mini"; tries], vec!["gpt-5-mini"]].concat();
            assert_eq!(asked(&gateway, OWN), models, "{class}");
            let record = record_of(&gateway, &answer).await;
            has(&record, json!({"requested_model": MINI, "resolved_model": LARGE, "fallback_used": true}));
            assert_eq!(record["model_fallback"]["on"], class, "{record}");
            let detail = record["model_fallback"]["detail"].as_str().unwrap();
            assert!(detail.starts_with(&format!("{MINI} was left for {LARGE}: ")), "{detail}");
            let attempts = record["attempts"].as_array().unwrap();
            let faults: Vec<_> = attempts.iter().map(|attempt| attempt["fault"].as_str()).collect();
            assert_eq!(faults, [vec![Some(fault); tries], vec![None]].concat(), "{class}: {record}");
            // At the prices of the model that served.
            let tokens = |name: &str| record[name].as_i64().unwrap();
            let cost = tokens("input_tokens") * 250 + tokens("output_tokens") * 2_000;
            assert_eq!(record["provider_cost_nanos"], cost, "{record}");
            assert!(cost > 0, "{record}");
        }
    }
}

#[tokio::test]
async fn without_the_list_or_its_class_a_failure_is_the_answer() {
    for (other, fallbacks) in [("", json!([])), ("outage", json!([{"on": ["outage"], "model": LARGE}]))] {
        let gateway = gateway_with(fallbacks).await;
        for (class, behaviour, tries, _) in classes().into_iter().filter(|(class, ..)| *class != other) {
            for body in [question(MINI), streaming(MINI)] {
                let before = asked(&gateway, OWN).len();
                gateway.emulator.clear_scripts();
                gateway.emulator.script(OWN, [behaviour.clone()]);
                let answer = gateway.chat(&body).await;
                assert!(answer.status >= 400, "{class}: {}", answer.text());
                assert_eq!(answer.header("agent-fallback-used"), Some("false"), "{class}");
                let new = asked(&gateway, OWN).split_off(before);
                let is_small = new.iter().all(|model| model == "gpt-4o-mini");
                assert!(new.len() <= tries && is_small, "{class}: {new:?}");
                has(
                    &record_of(&gateway, &answer).await,
                    json!({"resolved_model": MINI, "model_fallback": null}),
                );
            }
        }
    }
}

/// The catalogue knows the model's context and its tokenizer: nothing is sent that would be refused.
#[tokio::test]
async fn a_prompt_that_is_known_to_be_too_long_goes_to_the_larger_model_at_once() {
    let gateway = gateway_with(json!([{"on": ["context_length"], "model": LARGE}])).await;
    let long = json!([{"role": "user", "content": "word ".repeat(130_000)}]);
    for body in [question(MINI), streaming(MINI)] {
        let body = with(body, json!({"messages": long}));
        let plan = gateway.plan(json!({"request": body})).await;
        assert!(plan["too_long"].as_str().is_some_and(|why| why.contains("128000")), "{}", plan["too_long"]);
        assert_eq!(plan["model_fallbacks"][0]["attempts"][0]["upstream_model"], "gpt-5-mini", "{plan}");
        let answer = gateway.chat(&body).await.must_be(200);
        let how = ["agent-resolved-model", "agent-attempts"].map(|name| answer.header(name));
        assert_eq!(how, [Some(LARGE), Some("1")]);
        let record = record_of(&gateway, &answer).await;
        assert_eq!(record["model_fallback"]["on"], "context_length", "{record}");
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record}");
    }
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-resolved-model"), Some(MINI));
    assert_eq!(asked(&gateway, OWN), ["gpt-5-mini", "gpt-5-mini", "gpt-4o-mini"]);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_model_that_the_policy_forbids_is_not_asked() {
    let gateway = gateway_with(json!([{"on": ["content_policy"], "model": LARGE}])).await;
    let rules = json!({"project_id": gateway.founded.project_id, "allowed_models": ["openai/gpt-4o*"]});
    gateway.make("/v2/policies", rules).await;
    let plan = gateway.plan(json!({"model": MINI})).await;
    has(&plan, json!({"/model_fallbacks/0/error/code": "policy_forbids", "/model_fallbacks/0/attempts": []}));
    for body in [question(MINI), streaming(MINI)] {
        gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
        refused(&gateway.chat(&body).await, 400, "content_filter");
    }
    assert_eq!(asked(&gateway, OWN), ["gpt-4o-mini", "gpt-4o-mini"]);
}

/// What is served by own credentials stays there, unless the route lets it leave; the other model is asked in its own dialect.
#[cfg(feature = "broker")]
#[tokio::test]
async fn another_model_of_managed_accounts_needs_the_routes_consent() {
    let gateway = Gateway::with_own().await;
    gateway.make("/v2/accounts", at_anthropic(&gateway, POOL)).await;
    let fallbacks = json!([{"on": ["content_policy"], "model": CLAUDE}]);
    let id = gateway.route(json!({"model_fallbacks": fallbacks})).await;
    let filtered = || gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
    filtered();
    refused(&gateway.chat(&question(MINI)).await, 400, "content_filter");
    assert_eq!(gateway.calls(POOL).len(), 0);
    let plan = gateway.plan(json!({"model": MINI})).await;
    let error = plan["model_fallbacks"][0]["error"]["detail"].as_str().unwrap_or_default();
    assert!(error.contains("byok_fallback"), "{plan}");
    gateway.patch(&format!("/v2/routes/{id}"), json!({"byok_fallback": "managed"})).await;
    for body in [question(MINI), streaming(MINI)] {
        filtered();
        let answer = gateway.chat_ok(&body).await;
        assert!(!said(&answer).is_empty(), "{}", answer.text());
        let how = ["agent-execution-profile", "agent-resolved-model"].map(|name| answer.header(name));
        assert_eq!(how, [Some("managed_provider"), Some(CLAUDE)]);
        has(&record_of(&gateway, &answer).await, json!({"mode": "mi", "resolved_model": CLAUDE}));
    }
    assert_eq!(gateway.calls(POOL).len(), 2);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_budget_has_room_for_the_other_models_ceiling_or_it_is_not_asked() {
    let gateway = gateway_with(json!([{"on": ["content_policy"], "model": LARGE}])).await;
    // 1000 tokens of answer are at most 600 millionths of a dollar of the first model, and 2000 of the other.
    let limit = json!({"period": "month", "workspace": true, "limit_micros": 1_000});
    let id = id_of(&gateway.make("/v2/budgets", limit).await);
    let body = with(question(MINI), json!({"max_completion_tokens": 1_000}));
    gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
    refused(&gateway.chat(&body).await, 429, "quota_exceeded");
    assert_eq!(asked(&gateway, OWN), ["gpt-4o-mini"]);
    gateway.patch(&format!("/v2/budgets/{id}"), json!({"limit_micros": 10_000})).await;
    gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
    assert_eq!(gateway.chat_ok(&body).await.header("agent-resolved-model"), Some(LARGE));
}

/// What the head said stays true.
#[cfg(feature = "broker")]
#[tokio::test]
async fn the_model_does_not_change_once_the_head_is_out() {
    let gateway = Gateway::with_own().await;
    let fallbacks = json!([{"on": ["outage"], "model": LARGE}]);
    gateway.route(json!({"head_wait_ms": 50, "model_fallbacks": fallbacks})).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).latency(Duration::from_millis(400)).always()]);
    let mut stream = gateway.client().stream(CHAT, &streaming(MINI)).await.unwrap();
    assert_eq!(stream.header("agent-resolved-model"), Some(MINI));
    let (events, _) = stream.events().await;
    assert!(events.last().map(String::as_str).unwrap_or_default().contains("\"error\""), "{events:?}");
    assert!(asked(&gateway, OWN).iter().all(|model| model == "gpt-4o-mini"), "{:?}", asked(&gateway, OWN));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_list_that_means_nothing_is_refused_and_a_good_one_is_shown() {
    let gateway = Gateway::start().await;
    let alias = json!({"name": "quick", "targets": [{"model": MINI, "weight": 1}]});
    gateway.make("/v2/model-aliases", alias).await;
    for (entry, status, code) in [
        (json!({"on": [], "model": LARGE}), 400, "invalid_value"),
        (json!({"on": ["outage"], "model": "quick"}), 400, "invalid_value"),
        (json!({"on": ["outage"], "model": ""}), 400, "invalid_value"),
        (json!({"on": ["outage"], "model": "nobody-knows-this"}), 404, "model_not_found"),
    ] {
        let answer = gateway.admin().post("/v2/routes", &json!({"model_fallbacks": [entry]})).await.unwrap();
        let said = problem(&answer, status, code);
        assert!(said["detail"].as_str().is_some(), "{said}");
    }
    let unknown = json!({"model_fallbacks": [{"on": ["rain"], "model": LARGE}]});
    gateway.admin().post("/v2/routes", &unknown).await.unwrap().must_be(400);
    let many = json!({"model_fallbacks": vec![json!({"on": ["outage"], "model": LARGE}); 9]});
    problem(&gateway.admin().post("/v2/routes", &many).await.unwrap(), 400, "invalid_value");
    let good = json!([{"on": ["content_policy", "outage"], "model": LARGE}]);
    let id = gateway.route(json!({"model_fallbacks": good})).await;
    assert_eq!(gateway.get(&format!("/v2/routes/{id}")).await["model_fallbacks"], good);
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn an_alias_keeps_its_release_where_its_model_is_left() {
    let gateway = gateway_with(json!([{"on": ["outage"], "model": LARGE}])).await;
    let alias = json!({"name": "auto", "targets": [{"model": MINI, "weight": 1}]});
    let made = gateway.make("/v2/model-aliases", alias).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).times(3)]);
    let answer = gateway.chat(&question("auto")).await.must_be(200);
    assert_eq!(answer.header("agent-resolved-model"), Some(LARGE));
    let release = answer.header("agent-alias-release").unwrap();
    assert!(made.to_string().contains(release), "{made}");
    let record = record_of(&gateway, &answer).await;
    has(&record, json!({"requested_model": "auto", "resolved_model": LARGE, "/model_fallback/on": "outage"}));
    has(&record, json!({"/alias/name": "auto", "/alias/release_id": release}));
    // Another release of it is no other model to fall back to: the next request goes to the alias' own again.
    assert_eq!(gateway.chat_ok(&question("auto")).await.header("agent-resolved-model"), Some(MINI));
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_hedged_model_is_left_as_a_whole() {
    let gateway = Gateway::start().await;
    let ids = [gateway.credential("openai", OWN).await, gateway.credential("openai", OWN_SECOND).await];
    let fallbacks = json!([{"on": ["context_length"], "model": LARGE}]);
    gateway.route(json!({"hedge_after_ms": 100, "model_fallbacks": fallbacks})).await;
    let late = Behaviour::status(400).code("context_length_exceeded").latency(Duration::from_secs(1));
    gateway.emulator.script(OWN, [late.clone()]);
    gateway.emulator.script(OWN_SECOND, [late]);
    let answer = gateway.chat(&question(MINI)).await.must_be(200);
    assert_eq!(answer.header("agent-resolved-model"), Some(LARGE));
    let record = record_of(&gateway, &answer).await;
    let attempts = record["attempts"].as_array().unwrap();
    let small: Vec<_> = attempts.iter().filter(|one| one["upstream_model"] == "gpt-4o-mini").collect();
    assert_eq!(small.len(), 2, "{record}");
    for (attempt, id) in small.iter().zip(&ids) {
        has(attempt, json!({"hedged": true, "principal": id}));
    }
    let large: Vec<_> = attempts.iter().filter(|one| one["upstream_model"] == "gpt-5-mini").collect();
    assert_eq!((large.len(), &large[0]["fault"]), (1, &Value::Null), "{record}");
    assert_eq!(record["model_fallback"]["on"], "context_length", "{record}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn what_another_model_answered_is_not_given_again_for_the_one_that_was_left() {
    let gateway = gateway_with(json!([{"on": ["outage"], "model": LARGE}])).await;
    let project = format!("/v2/projects/{}", gateway.founded.project_id);
    gateway.patch(&project, json!({"caching": {"responses": {"mode": "exact"}}})).await;
    gateway.emulator.script(OWN, [Behaviour::status(503).times(3)]);
    for (cache, model) in [("miss", LARGE), ("miss", MINI), ("hit", MINI)] {
        let answer = gateway.chat(&question(MINI)).await.must_be(200);
        assert_eq!(answer.header("agent-cache"), Some(cache), "{model}");
        assert_eq!(answer.header("agent-resolved-model"), Some(model), "{cache}");
    }
    assert_eq!(asked(&gateway, OWN).len(), 5);
}

/// The next one of the list takes what the first one's dialect has no word for.
#[cfg(feature = "broker")]
#[tokio::test]
async fn a_model_that_the_request_cannot_be_translated_for_is_passed_over() {
    let on = |model: &str| json!({"on": ["content_policy"], "model": model});
    let gateway = gateway_with(json!([on(CLAUDE), on(LARGE)])).await;
    gateway.make("/v2/provider-credentials", at_anthropic(&gateway, OWN)).await;
    for body in [question(MINI), streaming(MINI)] {
        gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
        let answer = gateway.chat(&with(body, json!({"n": 2}))).await.must_be(200);
        assert_eq!(answer.header("agent-resolved-model"), Some(LARGE));
        let record = record_of(&gateway, &answer).await;
        let detail = record["model_fallback"]["detail"].as_str().unwrap();
        assert_eq!(detail, format!("{CLAUDE} was left for {LARGE}: the request can't be translated for it"));
    }
    // Without another one its refusal is the answer.
    let path = format!("/v2/routes/{}", id_of(&gateway.get("/v2/routes").await["data"][0]));
    gateway.patch(&path, json!({"model_fallbacks": [on(CLAUDE)]})).await;
    gateway.emulator.script(OWN, [Behaviour::status(400).code("content_filter")]);
    let answer = gateway.chat(&with(question(MINI), json!({"n": 2}))).await;
    assert_eq!(refused(&answer, 400, "unsupported_parameter")["param"], "n");
}
