//! Endpoints other than chat: legacy completions and moderations.

use harness::{Behaviour, UsageMode};
use serde_json::{Value, json};

use crate::{KEY, client, start, with};

const PATH: &str = "/v1/completions";

fn ask() -> Value {
    json!({"model": "gpt-3.5-turbo-instruct", "prompt": "the tide"})
}

#[tokio::test]
async fn bad_completions_are_refused() {
    let emulator = start().await;
    let cases = [
        (json!({"messages": []}), 400, None),
        (json!({"prompt": null}), 400, Some("prompt")),
        (json!({"prompt": 5}), 400, Some("prompt")),
        (json!({"prompt": []}), 400, Some("prompt")),
        (json!({"prompt": ["a", 5]}), 400, Some("prompt")),
        (json!({"model": "gpt-4o-mini"}), 404, Some("model")),
        (json!({"model": "none"}), 404, None),
        (json!({"logprobs": 9}), 400, Some("logprobs")),
        (json!({"n": 3, "best_of": 2}), 400, Some("best_of")),
        (json!({"stream_options": {"include_usage": true}}), 400, Some("stream_options")),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), 400, Some("stop")),
        (json!({"user": "emu:status=503"}), 503, None),
    ];
    for (change, status, param) in cases {
        let answer = client(&emulator).post(PATH, &with(ask(), change.clone())).await.unwrap();
        assert_eq!(answer.status, status, "{change}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{change}: {}", answer.text());
    }
    assert_eq!(emulator.totals().all.prompt_tokens, 0);
}

#[tokio::test]
async fn completions_continue_each_prompt() {
    let emulator = start().await;
    let ask = async |change: Value| client(&emulator).post(PATH, &with(ask(), change)).await.unwrap().json();
    let two = ask(json!({"prompt": ["one", "two"], "n": 2, "stop": " #1"})).await;
    let texts: Vec<&str> =
        two["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["You said: one", "You said: one", "You said: two", "You said: two"]);
    assert_eq!(
        two["usage"],
        with(two["usage"].clone(), json!({"prompt_tokens": 2, "completion_tokens": 12}))
    );
    let ids = ask(json!({"prompt": [1, 2, 3]})).await;
    assert_eq!(ids["usage"]["prompt_tokens"], 3);
    let short = ask(json!({"max_tokens": 2})).await;
    assert_eq!(
        (&short["choices"][0]["text"], &short["choices"][0]["finish_reason"]),
        (&json!("You said:"), &json!("length"))
    );
    let long = ask(json!({"user": "emu:tokens=40"})).await;
    assert_eq!(long["usage"]["completion_tokens"], 16, "the default of an old endpoint");
}

#[tokio::test]
async fn completions_stream_and_break() {
    let emulator = start().await;
    let request = with(ask(), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let stream = async |behaviour: Behaviour| {
        emulator.script(KEY, [behaviour]);
        client(&emulator).stream(PATH, &request).await.unwrap().events().await
    };
    let (events, _) = stream(Behaviour::ok()).await;
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let usage: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(4)));
    let (events, _) = stream(Behaviour::ok().usage(UsageMode::Missing).no_done()).await;
    assert!(events.iter().all(|event| !event.contains("completion_tokens") && event != "[DONE]"));
    let (events, _) = stream(Behaviour::ok().error_event(2).code("slow_down")).await;
    assert!(events.len() == 3 && events[2].contains("slow_down"), "{events:?}");
    let (events, end) = stream(Behaviour::ok().cut(2)).await;
    assert!(end.is_err() && events.len() <= 2);
}

#[tokio::test]
async fn moderations_are_checked_and_known_beforehand() {
    let emulator = start().await;
    let ask = async |request: Value| client(&emulator).post("/v1/moderations", &request).await.unwrap();
    for (request, status, param) in [
        (json!({}), 400, Some("input")),
        (json!({"input": []}), 400, Some("input")),
        (json!({"input": 5}), 400, Some("input")),
        (json!({"input": "x", "model": "gpt-4o"}), 404, Some("model")),
        (json!({"input": "x", "stream": true}), 400, None),
        (json!({"input": [{"type": "input_text", "text": "x"}]}), 400, Some("input[0].type")),
        (json!({"input": [{"type": "image_url"}]}), 400, Some("input[0].image_url.url")),
    ] {
        let answer = ask(request.clone()).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "{request}");
    }
    let answer = ask(json!({"input": ["a calm sea", "I will kill it"]})).await.json();
    assert_eq!(answer["model"], "omni-moderation-latest");
    let flagged: Vec<&Value> =
        answer["results"].as_array().unwrap().iter().map(|one| &one["flagged"]).collect();
    assert_eq!(flagged, [&json!(false), &json!(true)]);
    let result = &answer["results"][1];
    assert_eq!(result["categories"].as_object().unwrap().len(), 13);
    assert_eq!(
        (&result["categories"]["violence"], &result["categories"]["hate"]),
        (&json!(true), &json!(false))
    );
    assert!(result["category_scores"]["violence"].as_f64() > Some(0.5));
    emulator.script(KEY, [Behaviour::status(503)]);
    assert_eq!(ask(json!({"input": "x"})).await.status, 503);
}
