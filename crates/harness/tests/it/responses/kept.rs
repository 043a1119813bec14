//! Stored responses: retrieved, continued, streamed while in progress, cancelled and deleted.

use harness::Behaviour;
use serde_json::{Value, json};

use super::{PATH, ask, code, function_call, get, output, post};
use crate::{KEY, client, start, with};

#[tokio::test]
async fn kept_answers_are_read_continued_and_deleted() {
    let emulator = start().await;
    let (_, first) = post(&emulator, &ask()).await;
    let id = first["id"].as_str().unwrap();
    let path = format!("{PATH}/{id}");
    assert_eq!(get(&emulator, &path).await, (200, first.clone()));
    assert_eq!(get(&emulator, &format!("/xai{path}")).await.0, 404, "another vendor knows nothing of it");
    let (status, items) = get(&emulator, &format!("{path}/input_items?order=asc&limit=1")).await;
    assert_eq!((status, items["data"][0]["content"][0]["text"].as_str()), (200, Some("hello there")));
    assert_eq!(get(&emulator, &format!("{path}/input_items?limit=0")).await.0, 400);
    let cancel = client(&emulator).post(&format!("{path}/cancel"), &json!({})).await.unwrap();
    assert_eq!((cancel.status, cancel.text().contains("Cannot cancel a synchronous response.")), (400, true));
    let next = with(ask(), json!({"previous_response_id": id, "input": "and more"}));
    let (status, second) = post(&emulator, &next).await;
    assert_eq!((status, second["previous_response_id"].as_str()), (200, Some(id)));
    assert!(second["usage"]["input_tokens"].as_u64() > first["usage"]["input_tokens"].as_u64());
    let gone = client(&emulator).delete(&path).await.unwrap();
    assert_eq!(gone.json(), json!({"id": id, "object": "response", "deleted": true}));
    assert_eq!(get(&emulator, &path).await.0, 404);
    assert_eq!(code(&post(&emulator, &next).await.1), Some("previous_response_not_found"));
    let (_, unkept) = post(&emulator, &with(ask(), json!({"store": false}))).await;
    assert_eq!(get(&emulator, &format!("{PATH}/{}", unkept["id"].as_str().unwrap())).await.0, 404);
}

#[tokio::test]
async fn a_call_in_a_kept_answer_must_be_answered() {
    let emulator = start().await;
    let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}});
    let request = with(ask(), json!({"tools": [tool], "tool_choice": "required"}));
    let (_, first) = post(&emulator, &request).await;
    let call = first["output"][0]["call_id"].as_str().unwrap();
    let next = |input: Value| with(ask(), json!({"previous_response_id": first["id"], "input": input}));
    let (status, body) = post(&emulator, &next(json!("never mind"))).await;
    assert_eq!(status, 400);
    assert!(body["error"]["message"].as_str().unwrap().starts_with("No tool output found"), "{body}");
    assert_eq!(post(&emulator, &next(json!([output(call)]))).await.0, 200);
    assert_eq!(post(&emulator, &next(json!([function_call(call), output(call)]))).await.0, 400);
}

#[tokio::test]
async fn a_background_answer_is_made_while_it_is_watched() {
    let emulator = start().await;
    let (status, queued) = post(&emulator, &with(ask(), json!({"background": true}))).await;
    let id = queued["id"].as_str().unwrap();
    assert_eq!((status, &queued["status"], &queued["usage"]), (200, &json!("queued"), &Value::Null));
    assert_eq!(emulator.totals().all.completion_tokens, 0);
    let path = format!("{PATH}/{id}");
    let early = with(ask(), json!({"previous_response_id": id}));
    assert_eq!(post(&emulator, &early).await.0, 400);
    assert_eq!(get(&emulator, &path).await.1["status"], "in_progress");
    let (_, done) = get(&emulator, &path).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(get(&emulator, &path).await.1, done);
    let totals = emulator.totals().all;
    assert_eq!(Some(totals.completion_tokens), done["usage"]["output_tokens"].as_u64());
    assert_eq!(Some(totals.prompt_tokens), done["usage"]["input_tokens"].as_u64());
    let late = client(&emulator).post(&format!("{path}/cancel"), &json!({})).await.unwrap();
    assert_eq!(late.status, 400);
    emulator.script(KEY, [Behaviour::ok().failed(0).code("server_error")]);
    let (_, failing) = post(&emulator, &with(ask(), json!({"background": true}))).await;
    let path = format!("{PATH}/{}", failing["id"].as_str().unwrap());
    get(&emulator, &path).await;
    let (_, failed) = get(&emulator, &path).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")));
}
