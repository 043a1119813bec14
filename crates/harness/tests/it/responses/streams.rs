//! The events of a stream: each part is opened and closed, and every way to end is covered.

use harness::Behaviour;
use serde_json::{Value, json};

use super::{PATH, ask, post, think};
use crate::{KEY, client, start, with};

/// The events of a stream under a behaviour, parsed, and whether it ended properly.
async fn events(behaviour: Behaviour, change: Value) -> (Vec<Value>, bool) {
    let emulator = start().await;
    emulator.script(KEY, [behaviour]);
    let request = with(with(ask(), json!({"stream": true})), change);
    let mut stream = client(&emulator).stream(PATH, &request).await.unwrap();
    let (events, end) = stream.events().await;
    assert_eq!(stream.status, 200, "{events:?}");
    (events.iter().map(|event| serde_json::from_str(event).unwrap()).collect(), end.is_ok())
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_stream_opens_and_closes_every_part() {
    let (all, ended) = events(Behaviour::ok().chunks(2), json!({})).await;
    assert!(ended);
    assert_eq!(
        kinds(&all),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert!(all.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
    assert!(all[4]["logprobs"].is_array() && all[4]["obfuscation"].is_string());
    let whole = &all[9]["response"];
    assert_eq!(whole["output"][0], all[8]["item"]);
    assert_eq!(whole["usage"]["output_tokens"], 2);
    let plain = json!({"stream_options": {"include_obfuscation": false}});
    assert!(events(Behaviour::ok(), plain).await.0.iter().all(|event| event.get("obfuscation").is_none()));
}

#[tokio::test]
async fn streams_end_in_each_way() {
    let last = |all: &[Value]| kinds(all).last().copied().unwrap().to_owned();
    let (all, _) = events(Behaviour::ok().tokens(30), json!({"max_output_tokens": 16})).await;
    assert_eq!(last(&all), "response.incomplete");
    assert_eq!(all.last().unwrap()["response"]["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(all[all.len() - 2]["item"]["status"], "incomplete");
    let (all, _) = events(Behaviour::ok().finish("content_filter"), json!({})).await;
    assert_eq!(all.last().unwrap()["response"]["incomplete_details"]["reason"], "content_filter");
    let (all, ended) = events(Behaviour::ok().failed(5).code("rate_limit_exceeded"), json!({})).await;
    assert_eq!((last(&all).as_str(), all.len(), ended), ("response.failed", 6, true));
    let failed = &all[5]["response"];
    assert_eq!((&failed["status"], &failed["usage"]), (&json!("failed"), &Value::Null));
    assert_eq!((&failed["error"]["code"], &failed["output"]), (&json!("rate_limit_exceeded"), &json!([])));
    let (all, _) = events(Behaviour::ok().error_event(5).code("slow_down"), json!({})).await;
    assert_eq!((&all[5]["type"], &all[5]["error"]["code"]), (&json!("error"), &json!("slow_down")));
    assert_eq!(all[5]["sequence_number"], 5);
    let (all, _) = events(Behaviour::ok().error_event(5).flat_error(), json!({})).await;
    assert_eq!((&all[5]["code"], all[5].get("error")), (&json!("server_error"), None));
    let (all, ended) = events(Behaviour::ok().cut(5), json!({})).await;
    assert!(!ended && all.len() <= 5);
    let (all, ended) = events(Behaviour::ok().eof(5), json!({})).await;
    assert!(ended && all.len() == 5, "a clean end in the middle");
    let (all, _) = events(Behaviour::ok().usage(harness::UsageMode::Missing), json!({})).await;
    assert_eq!(all.last().unwrap()["response"]["usage"], Value::Null);
    let (all, _) = events(Behaviour::ok(), json!({"background": true})).await;
    assert_eq!(kinds(&all)[..3], ["response.created", "response.queued", "response.in_progress"]);
}

#[tokio::test]
async fn streams_carry_reasoning_calls_and_refusals() {
    let summary = json!({"model": "gpt-5-mini", "reasoning": {"summary": "auto"}});
    let (all, _) = events(Behaviour::ok().reasoning(2), summary).await;
    assert_eq!(
        kinds(&all)[2..9],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
        ]
    );
    let details = &all.last().unwrap()["response"]["usage"]["output_tokens_details"];
    assert_eq!(details["reasoning_tokens"], 2);
    let (all, _) = events(Behaviour::ok().refusal(), json!({})).await;
    assert!(kinds(&all).contains(&"response.refusal.delta"));
    assert_eq!(all.last().unwrap()["response"]["output"][0]["content"][0]["type"], "refusal");
    let (all, _) = events(Behaviour::ok().tools(harness::ToolMode::Interleaved), json!({})).await;
    let turns: Vec<u64> = all
        .iter()
        .filter(|event| event["type"] == "response.function_call_arguments.delta")
        .map(|event| event["output_index"].as_u64().unwrap())
        .collect();
    assert_eq!(turns[..4], [0, 1, 0, 1]);
    let spent = json!({"model": "gpt-5-mini", "max_output_tokens": 16});
    let (all, _) = events(Behaviour::ok(), spent).await;
    let whole = &all.last().unwrap()["response"];
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["output"].as_array().unwrap().len(), 1, "all of it went into reasoning");
}

#[tokio::test]
async fn the_journal_knows_what_a_stream_said() {
    let emulator = start().await;
    let request = with(think(), json!({"stream": true, "input": "hello there"}));
    let (events, _) = client(&emulator).stream(PATH, &request).await.unwrap().events().await;
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    let journal = emulator.journal();
    let usage = &last["response"]["usage"];
    assert_eq!(Some(journal[0].said_tokens), usage["output_tokens"].as_u64());
    assert_eq!(Some(journal[0].prompt_tokens), usage["input_tokens"].as_u64());
    assert_eq!((journal[0].stream, journal[0].model.as_deref()), (true, Some("gpt-5-mini")));
    let counted = client(&emulator).post("/v1/responses/input_tokens", &ask()).await.unwrap();
    let (_, answer) = post(&emulator, &ask()).await;
    assert_eq!(counted.json()["input_tokens"], answer["usage"]["input_tokens"]);
}
