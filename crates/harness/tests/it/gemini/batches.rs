//! Batches, validated as strictly as Gemini does.

use harness::Behaviour;
use http::Method;
use serde_json::{Value, json};

use super::{MIDDLE, client, path, question};
use crate::{KEY, OTHER_KEY, start};

const BATCHES: &str = "/v1beta/batches";

fn of(requests: &Value) -> Value {
    json!({"batch": {"displayName": "a", "inputConfig": {"requests": {"requests": requests}}}})
}

async fn create(emulator: &harness::Emulator, requests: &Value) -> String {
    let answer = client(emulator).post(&path(MIDDLE, "batchGenerateContent"), &of(requests)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    format!("/v1beta/{}", answer.json()["name"].as_str().unwrap())
}

#[tokio::test]
async fn what_is_no_batch_is_refused_with_its_place() {
    let emulator = start().await;
    let good = json!({"request": question()});
    let mut stranger = question();
    stranger["tide"] = 1.into();
    let mut other = question();
    other["model"] = "models/gemini-2.0-flash".into();
    for (body, status, words) in [
        (of(&json!([])), 400, "requests is empty"),
        (json!({}), 400, "requests is empty"),
        (of(&json!([{}])), 400, "requests[0].request"),
        (of(&json!([good, {"request": stranger}])), 400, "requests[1].request"),
        (of(&json!([{"request": question(), "key": "a"}])), 400, "Unknown name \"key\""),
        (of(&json!([{"request": question(), "metadata": "a"}])), 400, "metadata"),
        (of(&json!([{"request": other}])), 400, "the model must be the one in the path"),
        (json!({"batch": {"name": "batches/mine"}}), 400, "Unknown name \"name\""),
        (json!({"batch": {"inputConfig": {"fileName": "files/a"}}}), 404, "files/a"),
        (
            json!({"batch": {"inputConfig": {"fileName": "files/a", "requests": {"requests": [good]}}}}),
            400,
            "oneof",
        ),
    ] {
        let answer = client(&emulator).post(&path(MIDDLE, "batchGenerateContent"), &body).await.unwrap();
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let error = answer.json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains(words), "{body}: {error}");
    }
    let embedding = path("gemini-embedding-001", "batchGenerateContent");
    let answer = client(&emulator).post(&embedding, &of(&json!([good]))).await.unwrap();
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(client(&emulator).get(BATCHES).await.unwrap().json(), json!({"operations": []}));
}

#[tokio::test]
async fn it_belongs_to_its_key_and_moves_on_as_it_is_looked_at() {
    let emulator = start().await;
    let mut failing = question();
    failing["labels"] = json!({"emulate": "status=503"});
    let url =
        create(&emulator, &json!([{"request": question(), "metadata": {"key": "a"}}, {"request": failing}]))
            .await;
    let other = harness::client::Client::new(emulator.origin()).header("x-goog-api-key", OTHER_KEY);
    assert_eq!(other.get(&url).await.unwrap().status, 404);
    assert_eq!(other.delete(&url).await.unwrap().status, 404);
    assert_eq!(other.post(&format!("{url}:cancel"), &json!({})).await.unwrap().status, 404);
    let own = client(&emulator);
    let look = || async { own.get(&url).await.unwrap().json() };
    assert_eq!(look().await["metadata"]["state"], "BATCH_STATE_RUNNING");
    let ended = look().await;
    assert_eq!(
        (&ended["metadata"]["state"], &ended["done"]),
        (&json!("BATCH_STATE_SUCCEEDED"), &json!(true))
    );
    let results = &ended["response"]["inlinedResponses"]["inlinedResponses"];
    assert_eq!((&results[0]["metadata"]["key"], &results[1]["error"]["code"]), (&json!("a"), &json!(14)));
    assert!(results[0]["response"]["usageMetadata"]["totalTokenCount"].as_u64().unwrap() > 0);
    assert_eq!(look().await, ended, "it stays as it ended");
    // A script's pauses come between slices of the response.
    emulator
        .script(KEY, [Behaviour { interval: 1, ..Behaviour::ok() }, Behaviour::parse("status=503").unwrap()]);
    assert_eq!(look().await, ended);
    assert_eq!(own.get(&url).await.unwrap().status, 503);
    // The path without `beta` is Gemini's if the call has a Gemini key.
    assert_eq!(own.get(&url.replace("v1beta", "v1")).await.unwrap().json(), ended);
    assert_eq!(own.post(&format!("{url}:cancel"), &json!({})).await.unwrap().status, 400);
    assert_eq!(own.post(&format!("{url}:pause"), &json!({})).await.unwrap().status, 404);
    assert_eq!(own.call(Method::PATCH, &url, &[], String::new()).await.unwrap().status, 404);
    assert_eq!(own.delete(&url).await.unwrap().json(), json!({}));
    assert_eq!(own.get(&url).await.unwrap().status, 404);
}

#[tokio::test]
async fn one_that_is_cancelled_tells_what_was_done_by_then() {
    let emulator = start().await;
    let url = create(&emulator, &json!([{"request": question()}, {"request": question()}])).await;
    let own = client(&emulator);
    let wrong = own.post(&format!("{url}:cancel"), &json!({"now": true})).await.unwrap();
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert_eq!(own.post(&format!("{url}:cancel"), &json!({})).await.unwrap().json(), json!({}));
    let ended = own.get(&url).await.unwrap().json();
    assert_eq!(ended["metadata"]["state"], "BATCH_STATE_CANCELLED");
    assert_eq!(ended["metadata"]["batchStats"]["pendingRequestCount"], "1");
    assert_eq!(ended["response"]["inlinedResponses"]["inlinedResponses"].as_array().unwrap().len(), 1);
    for query in ["pageSize=many", "pageToken=none"] {
        assert_eq!(own.get(&format!("{BATCHES}?{query}")).await.unwrap().status, 400, "{query}");
    }
}
