//! Good responses, buffered and in each stream form, and their costs in the journal.

use harness::{Behaviour, ToolMode, UsageMode};
use serde_json::{Value, json};

use super::{MIDDLE, NEW, OLD, ask, chunks, client, parts, path, question, stream_with, text_of};
use crate::{KEY, start, with};

const SAID: &str = "You said: hello there";
/// Four tokens and the end.
const CHUNKS: usize = 5;

#[tokio::test]
async fn a_whole_answer() {
    let emulator = start().await;
    let answer = ask(&emulator, MIDDLE, &question()).await;
    assert_eq!(answer.header("x-gemini-service-tier"), Some("standard"));
    assert_eq!((answer.header("x-request-id"), answer.header("openai-version")), (None, None));
    let body = answer.json();
    assert_eq!(
        body,
        json!({
            "candidates": [{"content": {"parts": [{"text": SAID}], "role": "model"}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 4, "totalTokenCount": 28,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}], "thoughtsTokenCount": 16},
            "modelVersion": MIDDLE,
            "responseId": body["responseId"],
        })
    );
    let entry = emulator.journal().remove(0);
    assert_eq!((entry.prompt_tokens, entry.said_tokens, entry.cached_tokens), (8, 20, 0));
    assert_eq!(
        (entry.model.as_deref(), entry.stream, entry.key.as_deref()),
        (Some(MIDDLE), false, Some(KEY))
    );
    let plain = ask(&emulator, OLD, &question()).await.json();
    assert!(plain["usageMetadata"].get("thoughtsTokenCount").is_none(), "{plain}");
}

#[tokio::test]
async fn an_event_stream_has_the_providers_grammar() {
    let (events, end) = stream_with(NEW, Behaviour::ok()).await;
    assert!(end.is_ok());
    assert_eq!((events.len(), text_of(&events).as_str()), (CHUNKS, SAID));
    let chunks = chunks(&events);
    let counts: Vec<&Value> =
        chunks.iter().map(|chunk| &chunk["usageMetadata"]["candidatesTokenCount"]).collect();
    assert_eq!(counts, [&json!(1), &json!(2), &json!(3), &json!(4), &json!(4)]);
    let fixed =
        |chunk: &Value| chunk["usageMetadata"]["thoughtsTokenCount"] == 16 && chunk["modelVersion"] == NEW;
    assert!(chunks.iter().all(fixed));
    let finished: Vec<bool> =
        chunks.iter().map(|chunk| chunk["candidates"][0].get("finishReason").is_some()).collect();
    assert_eq!(finished, [false, false, false, false, true]);
    let last = &chunks[CHUNKS - 1]["candidates"][0]["content"]["parts"][0];
    assert!(last["text"] == "" && last["thoughtSignature"].is_string(), "{last}");
}

#[tokio::test]
async fn the_bytes_of_both_stream_forms() {
    let emulator = start().await;
    let bytes = async |query: &str| {
        let path = format!("{}{query}", path(OLD, "streamGenerateContent"));
        let answer = client(&emulator).post(&path, &question()).await.unwrap();
        (answer.header("content-type").unwrap().to_owned(), answer.text())
    };
    let (media, events) = bytes("?alt=sse").await;
    assert_eq!(media, "text/event-stream");
    assert!(events.starts_with("data: {\"candidates\":") && events.ends_with("}\r\n\r\n"), "{events}");
    assert_eq!((events.matches("data: ").count(), events.matches('\n').count()), (CHUNKS, 2 * CHUNKS));
    assert!(!events.contains("[DONE]") && !events.contains("event:"));
    let (media, array) = bytes("").await;
    assert_eq!(media, "application/json; charset=UTF-8");
    let array: Vec<Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(array.len(), CHUNKS);
    let events: Vec<Value> = harness::sse::events(events.as_bytes())
        .iter()
        .map(|event| with(serde_json::from_str(event).unwrap(), json!({"responseId": null})))
        .collect();
    let array: Vec<Value> = array.into_iter().map(|chunk| with(chunk, json!({"responseId": null}))).collect();
    assert_eq!(array, events);
}

#[tokio::test]
async fn thoughts_are_shown_where_asked_for() {
    let emulator = start().await;
    let config =
        |thinking: Value| with(question(), json!({"generationConfig": {"thinkingConfig": thinking}}));
    let answer = ask(&emulator, MIDDLE, &config(json!({"includeThoughts": true}))).await;
    let both = parts(&answer);
    assert_eq!((both.len(), &both[0]["thought"], &both[1]["text"]), (2, &json!(true), &json!(SAID)));
    let off = ask(&emulator, MIDDLE, &config(json!({"thinkingBudget": 0}))).await.json();
    assert!(off["usageMetadata"].get("thoughtsTokenCount").is_none(), "{off}");
    let all_thought = with(question(), json!({"generationConfig": {"maxOutputTokens": 10}}));
    let all_thought = ask(&emulator, MIDDLE, &all_thought).await.json();
    assert_eq!(
        all_thought["candidates"][0]["content"],
        json!({"role": "model"}),
        "all of it went into thoughts"
    );
    assert_eq!(all_thought["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(all_thought["usageMetadata"]["thoughtsTokenCount"], 10);
}

#[tokio::test]
async fn calls_are_chosen_numbered_and_whole() {
    let emulator = start().await;
    let parameters =
        json!({"type": "OBJECT", "properties": {"place": {"type": "STRING"}, "n": {"type": "INTEGER"}}});
    let tools =
        json!([{"functionDeclarations": [{"name": "one"}, {"name": "two", "parameters": parameters}]}]);
    let choose = async |model: &str, config: Value| {
        let request =
            with(question(), json!({"tools": tools, "toolConfig": {"functionCallingConfig": config}}));
        parts(&ask(&emulator, model, &request).await)
    };
    let only_two = json!({"mode": "ANY", "allowedFunctionNames": ["two"]});
    let old = choose(OLD, only_two.clone()).await;
    assert_eq!(
        old,
        [json!({"functionCall": {"name": "two", "args": {"place": "value", "n": 1}}})],
        "no id, no signature"
    );
    let new = choose(NEW, only_two).await;
    assert!(new[0]["functionCall"]["id"].is_string() && new[0]["thoughtSignature"].is_string(), "{new:?}");
    assert_eq!(choose(OLD, json!({"mode": "NONE"})).await, [json!({"text": SAID})]);
    for (mode, per_chunk) in [(ToolMode::Parallel, [1, 1, 1]), (ToolMode::Interleaved, [2, 1, 0])] {
        let (events, _) = stream_with(NEW, Behaviour::ok().tools(mode)).await;
        let chunks = chunks(&events);
        let counts =
            chunks.iter().map(|chunk| chunk["candidates"][0]["content"]["parts"].as_array().unwrap().len());
        let expected: Vec<usize> = per_chunk.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(counts.collect::<Vec<_>>(), expected);
        assert_eq!(
            chunks.last().unwrap()["candidates"][0]["finishReason"],
            "STOP",
            "calls are no reason of their own"
        );
    }
}

#[tokio::test]
async fn endings_and_blocks() {
    let answer = async |behaviour: Behaviour| {
        let emulator = start().await;
        emulator.script(KEY, [behaviour]);
        ask(&emulator, OLD, &question()).await.json()
    };
    let safety = answer(Behaviour::ok().finish("SAFETY")).await;
    let candidate = &safety["candidates"][0];
    assert!(
        candidate.get("content").is_none() && candidate["safetyRatings"][0]["blocked"] == true,
        "{candidate}"
    );
    assert_eq!(answer(Behaviour::ok().finish("content_filter")).await["candidates"], safety["candidates"]);
    let malformed = answer(Behaviour::ok().finish("MALFORMED_FUNCTION_CALL")).await;
    let candidate = &malformed["candidates"][0];
    assert_eq!(candidate["content"], json!({"role": "model"}));
    assert!(candidate["finishMessage"].is_string() && malformed["usageMetadata"]["totalTokenCount"] == 8);
    let blocked = answer(Behaviour::ok().refusal().code("SAFETY")).await;
    assert!(blocked.get("candidates").is_none(), "{blocked}");
    assert_eq!(blocked["promptFeedback"], json!({"blockReason": "SAFETY"}));
    assert_eq!(blocked["usageMetadata"]["totalTokenCount"], 8);
    let (events, end) = stream_with(OLD, Behaviour::ok().finish("SAFETY")).await;
    assert!(end.is_ok());
    assert_eq!(text_of(&events), "You said:", "half of it was out");
    assert!(chunks(&events).last().unwrap()["candidates"][0].get("content").is_none());
    let (events, _) = stream_with(OLD, Behaviour::ok().refusal()).await;
    assert_eq!(chunks(&events)[0]["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT");
}

#[tokio::test]
async fn usage_in_each_mode_and_the_truth_of_the_journal() {
    for (mode, with_usage) in [
        (UsageMode::Normal, CHUNKS),
        (UsageMode::Every, CHUNKS),
        (UsageMode::Zero, CHUNKS),
        (UsageMode::Missing, 0),
        (UsageMode::Joined, 1),
        (UsageMode::Unasked, CHUNKS + 1),
    ] {
        let (events, _) = stream_with(OLD, Behaviour::ok().usage(mode)).await;
        let counted =
            chunks(&events).into_iter().filter(|chunk| chunk.get("usageMetadata").is_some()).count();
        assert_eq!(counted, with_usage, "{mode:?}");
    }
    let emulator = start().await;
    emulator.script(
        KEY,
        [Behaviour::ok().counted(500, 100, 40).chunks(3), Behaviour::ok().tools(ToolMode::Parallel)],
    );
    for _ in 0..2 {
        let stream = format!("{}?alt=sse", path(NEW, "streamGenerateContent"));
        let (events, _) = client(&emulator).stream(&stream, &question()).await.unwrap().events().await;
        let usage = chunks(&events).last().unwrap()["usageMetadata"].clone();
        let entry = emulator.journal().pop().unwrap();
        assert_eq!(usage["promptTokenCount"], entry.prompt_tokens);
        assert_eq!(usage["totalTokenCount"], entry.prompt_tokens + entry.said_tokens);
    }
}

#[tokio::test]
async fn a_script_says_how_much_is_sound_or_pictures() {
    let emulator = start().await;
    let scripted = Behaviour {
        audio_in: 300,
        image_in: 20,
        cached_audio: 90,
        image_out: 30,
        ..Behaviour::ok().counted(500, 100, 56)
    };
    emulator.script(KEY, [scripted]);
    let usage = ask(&emulator, MIDDLE, &question()).await.json()["usageMetadata"].clone();
    let tokens = |modality, count| json!({"modality": modality, "tokenCount": count});
    let (text, image, audio) = ("TEXT", "IMAGE", "AUDIO");
    assert_eq!(
        usage["promptTokensDetails"],
        json!([tokens(text, 180), tokens(audio, 300), tokens(image, 20)])
    );
    assert_eq!(usage["cacheTokensDetails"], json!([tokens(text, 10), tokens(audio, 90)]));
    assert_eq!(usage["candidatesTokensDetails"], json!([tokens(text, 10), tokens(image, 30)]));
}

#[tokio::test]
async fn media_is_counted_by_what_it_is() {
    let emulator = start().await;
    let parts = json!([{"text": "look"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"fileData": {"mimeType": "audio/mp3", "fileUri": "files/a"}}]);
    let contents = json!([{"role": "user", "parts": parts}]);
    let counted =
        client(&emulator).post(&path(MIDDLE, "countTokens"), &json!({"contents": contents})).await.unwrap();
    let details = counted.json()["promptTokensDetails"].clone();
    let (text, image, audio) = ("TEXT", "IMAGE", "AUDIO");
    assert_eq!(
        details,
        json!([{"modality": text, "tokenCount": 7}, {"modality": image, "tokenCount": 85},
            {"modality": audio, "tokenCount": 85}])
    );
    let inner =
        json!({"generateContentRequest": {"model": format!("models/{MIDDLE}"), "contents": contents}});
    let same = client(&emulator).post(&path(MIDDLE, "countTokens"), &inner).await.unwrap().json();
    assert_eq!(same["totalTokens"], 177);
    let both = with(inner, json!({"contents": contents}));
    assert_eq!(client(&emulator).post(&path(MIDDLE, "countTokens"), &both).await.unwrap().status, 400);
}

#[tokio::test]
async fn log_probabilities_and_candidates() {
    let emulator = start().await;
    let config = json!({"responseLogprobs": true, "logprobs": 1, "candidateCount": 2});
    let answer = ask(&emulator, OLD, &with(question(), json!({"generationConfig": config}))).await.json();
    let candidates = answer["candidates"].as_array().unwrap();
    assert_eq!((candidates.len(), &candidates[1]["index"]), (2, &json!(1)));
    let chosen = candidates[0]["logprobsResult"]["chosenCandidates"].as_array().unwrap();
    let spelled: String = chosen.iter().map(|one| one["token"].as_str().unwrap()).collect();
    assert_eq!(spelled, SAID);
}
