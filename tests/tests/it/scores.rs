//! Scores: whoever may call a model says how good its answer was, within its own project, and models and routes compare by it.

use serde_json::{Value, json};

use crate::ask::{LLAMA, MINI, problem, question, trace_of};
use crate::gateway::{Gateway, OWN, POOL, Shared, config, id_of};

const SCORES: &str = "/v2/scores";

fn score(request: &str, name: &str, value: f64) -> Value {
    json!({"request_id": request, "name": name, "value": value})
}

/// Group, name, how many and their mean.
fn lines(comparison: &Value) -> Vec<(&str, &str, u64, f64)> {
    let lines = comparison["data"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let group = line["group"].as_str().unwrap_or("-");
            let count = line["scores"].as_u64().unwrap();
            (group, line["name"].as_str().unwrap(), count, line["mean"].as_f64().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn answers_are_scored_and_models_compare_by_it() {
    compare_models(&Gateway::start().await).await;
}

#[tokio::test]
async fn on_postgresql_they_compare_alike() {
    let shared = Shared::of("scores").await;
    compare_models(&Gateway::with(config(), &shared.environment()).await).await;
}

async fn compare_models(gateway: &Gateway) {
    gateway.credential("openai", OWN).await;
    gateway.account("nebius", POOL).await;
    let application = gateway.client();
    let mut requests = Vec::new();
    for model in [MINI, MINI, LLAMA] {
        let trace = trace_of(&gateway.chat_ok(&question(model)).await);
        gateway.settled(&trace).await;
        requests.push(trace);
    }
    // The key that called the model scores its answer; the newest of a name stands.
    let first = application.post(SCORES, &score(&requests[0], "helpful", 0.0)).await.unwrap().must_be(201);
    for (request, value) in [(0, 1.0), (1, 0.25), (2, -0.000_001)] {
        let given = application.post(SCORES, &score(&requests[request], "helpful", value)).await.unwrap();
        assert_eq!((given.status, &given.json()["value"]), (201, &json!(value)), "{}", given.text());
    }
    gateway.make(SCORES, score(&requests[0], "json.valid", 1.0)).await;

    let shown = gateway.get(&format!("/v2/requests/{}", requests[0])).await;
    let named: Vec<_> = shown["scores"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(named, ["json.valid", "helpful"]);
    assert_eq!(shown["scores"][1]["id"], first.json()["id"], "the newest took the place of the first");
    let listed = application.get(&format!("{SCORES}?name=helpful&limit=2")).await.unwrap().json();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["has_more"]), (2, &json!(true)));

    let by_model = gateway.get("/v2/scores/summary").await;
    let expected =
        [(LLAMA, "helpful", 1, -0.000_001), (MINI, "helpful", 2, 0.625), (MINI, "json.valid", 1, 1.0)];
    assert_eq!(lines(&by_model), expected);
    let by_provider = gateway.get("/v2/scores/summary?by=provider&name=helpful").await;
    let expected = [("nebius", "helpful", 1, -0.000_001), ("openai", "helpful", 2, 0.625)];
    assert_eq!(lines(&by_provider), expected);
    let by_route = gateway.get("/v2/scores/summary?by=route&name=json.valid").await;
    assert_eq!(lines(&by_route), [("-", "json.valid", 1, 1.0)]);
    assert_eq!(lines(&gateway.get("/v2/scores/summary?until=2020-01-01T00:00:00Z").await), []);

    usage_has_scores(gateway).await;
    a_route_s_targets_compare(gateway).await;
    let path = format!("{SCORES}/{}", id_of(&first.json()));
    gateway.remove(&path).await;
    gateway.admin().delete(&path).await.unwrap().must_be(404);
}

/// Sums by model or provider have the scores of each; others have none.
async fn usage_has_scores(gateway: &Gateway) {
    let scores = |usage: &Value, field: &str, value: &str| {
        let found = usage["data"].as_array().unwrap().iter().find(|row| row[field] == value);
        found.unwrap_or_else(|| panic!("no {value} in {usage}"))["scores"].clone()
    };
    let project = &gateway.founded.project_id;
    for path in ["/v2/usage", "/v2/analytics"] {
        let by_model = gateway.get(&format!("{path}?group_by=model&project_id={project}")).await;
        let both = json!([{"name": "helpful", "scores": 2, "mean": 0.625}, {"name": "json.valid", "scores": 1, "mean": 1.0}]);
        assert_eq!(scores(&by_model, "model", MINI), both);
        let by_provider = gateway.get(&format!("{path}?group_by=provider")).await;
        let one = json!([{"name": "helpful", "scores": 1, "mean": -0.000_001}]);
        assert_eq!(scores(&by_provider, "provider", "nebius"), one);
        for query in ["group_by=model,provider", "group_by=model,day", "group_by=model&tag=none", ""] {
            let usage = gateway.get(&format!("{path}?{query}")).await;
            let rows = usage["data"].as_array().unwrap();
            assert!(rows.iter().all(|row| row.get("scores").is_none()), "{query}: {usage}");
        }
    }
}

/// What a route chose compares by the scores of its own requests.
async fn a_route_s_targets_compare(gateway: &Gateway) {
    let route = gateway.route(json!({"scope": {}, "byok_fallback": "managed"})).await;
    let trace = trace_of(&gateway.chat_ok(&question(MINI)).await);
    gateway.settled(&trace).await;
    let given = gateway.make(SCORES, score(&trace, "helpful", 0.5)).await;
    assert_eq!(given["route_id"], json!(route), "{given}");
    let path = format!("/v2/routes/{route}/scores");
    assert_eq!(lines(&gateway.get(&path).await), [(MINI, "helpful", 1, 0.5)]);
    assert_eq!(lines(&gateway.get(&format!("{path}?by=provider")).await), [("openai", "helpful", 1, 0.5)]);
    problem(&gateway.admin().get(&format!("{path}?by=route")).await.unwrap(), 400, "invalid_value");
    problem(&gateway.admin().get("/v2/routes/rte_none/scores").await.unwrap(), 404, "not_found");
}

#[cfg(feature = "control")]
#[tokio::test]
async fn a_score_is_a_number_for_a_request_of_ones_own() {
    let gateway = Gateway::with_own().await;
    let trace = trace_of(&gateway.chat_ok(&question(MINI)).await);
    gateway.settled(&trace).await;
    let ours = gateway.make(SCORES, score(&trace, "helpful", 1.0)).await;

    // Another project's key sees neither the request nor its score.
    let other = gateway.other_project().await;
    let refused = other.post(SCORES, &score(&trace, "helpful", 0.0)).await.unwrap();
    problem(&refused, 404, "not_found");
    assert_eq!(other.get(SCORES).await.unwrap().json()["data"], json!([]));
    assert_eq!(other.get("/v2/scores/summary").await.unwrap().json()["data"], json!([]));
    let path = format!("{SCORES}/{}", id_of(&ours));
    other.get(&path).await.unwrap().must_be(404);
    assert_eq!(gateway.client().get(&path).await.unwrap().json(), ours);
    other.delete(&path).await.unwrap().must_be(404);

    for (body, field) in [
        (json!({"request_id": trace, "name": "What did it say?", "value": 1}), "name"),
        (json!({"request_id": trace, "name": "x", "value": 1e7}), "value"),
        (json!({"request_id": "trc_nonsense", "name": "x", "value": 1}), "request_id"),
        (json!({"request_id": trace, "name": "x", "value": 1, "comment": "its address is"}), "comment"),
    ] {
        let refused = gateway.client().post(SCORES, &body).await.unwrap();
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text().contains(field), "{}", refused.text());
    }
    for number in 1..50 {
        gateway.make(SCORES, score(&trace, &format!("check.{number}"), 1.0)).await;
    }
    let refused = gateway.client().post(SCORES, &score(&trace, "one.more", 1.0)).await.unwrap();
    problem(&refused, 409, "too_many_scores");
    gateway.make(SCORES, score(&trace, "check.1", 0.5)).await;
}
