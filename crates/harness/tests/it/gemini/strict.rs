//! What Gemini rejects, with which messages, and what counts as a violation.

use harness::client::Client;
use harness::{Behaviour, Emulator, KeyState, Model, ToolMode};
use http::Method;
use serde_json::{Value, json};

use super::{MIDDLE, NEW, OLD, ask, client, parts, path, question};
use crate::{KEY, OTHER_KEY, WITHIN, config, start, with};

const DECLARED: &str = "get_tide";

/// Each change to a valid request, and a piece of the message that it is rejected with.
async fn check_refused(model: &str, cases: Value) {
    let emulator = start().await;
    for case in cases.as_array().unwrap() {
        let (change, why) = (&case[0], case[1].as_str().unwrap());
        let answer = ask(&emulator, model, &with(question(), change.clone())).await;
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"], &error["status"]),
            (400, &json!(400), &json!("INVALID_ARGUMENT"))
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(why), "{change}: {message}");
    }
    assert_eq!(emulator.totals().all.prompt_tokens, 0, "a refused call costs nothing");
    assert_eq!(emulator.violations(), []);
}

fn user(parts: Value) -> Value {
    json!({"role": "user", "parts": parts})
}

fn model(parts: Value) -> Value {
    json!({"role": "model", "parts": parts})
}

fn tools() -> Value {
    json!([{"functionDeclarations": [{"name": DECLARED}, {"name": "other"}]}])
}

#[tokio::test]
async fn unknown_names_and_wrong_types_are_refused() {
    let unknown = "Invalid JSON payload received. Unknown name";
    let cases = json!([
        [{"surprise": 1}, format!("{unknown} \"surprise\": Cannot find field.")],
        [{"contents": [user(json!([{"text": "x", "cache_control": {}}]))]},
            format!("{unknown} \"cache_control\" at 'contents[0].parts[0]': Cannot find field.")],
        [{"generation_config": {"maxTokens": 5}},
            format!("{unknown} \"maxTokens\" at 'generation_config': Cannot find field.")],
        [{"toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": true}}},
            "Unknown name \"streamFunctionCallArguments\" at 'tool_config.function_calling_config'"],
        [{"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT",
            "properties": {"a": {"type": "STRING"}}, "additionalProperties": false}}]}]},
            "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'"],
        [{"contents": [user(json!([{"text": 5}]))]}, "(TYPE_STRING), 5"],
        [{"generationConfig": {"temperature": "hot"}}, "(TYPE_FLOAT), \"hot\""],
        [{"generationConfig": {"candidateCount": 1.5}}, "(TYPE_INT32), 1.5"],
        [{"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}, "FunctionCallingConfig.Mode"],
        [{"cachedContent": 5}, "(TYPE_STRING), 5"],
        [{"systemInstruction": "be brief"}, "v1beta.Content), \"be brief\""],
    ]);
    check_refused(MIDDLE, cases).await;
}

#[tokio::test]
async fn each_unknown_name_has_its_own_detail() {
    let emulator = start().await;
    let answer = ask(&emulator, MIDDLE, &with(question(), json!({"a": 1, "b": 2}))).await.json();
    let detail = &answer["error"]["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.BadRequest");
    assert_eq!(detail["fieldViolations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn bad_conversations_are_refused() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {}}});
    let result = |response: Value| json!({"functionResponse": {"name": DECLARED, "response": response}});
    let history = |results: Value| {
        json!({"tools": tools(), "contents": [user(json!([{"text": "x"}])),
            model(json!([call(DECLARED), call(DECLARED)])), user(results)]})
    };
    let cases = json!([
        [{"contents": null}, "contents is not specified"],
        [{"contents": []}, "contents is not specified"],
        [{"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role: user, model"],
        [{"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "valid role: user, model"],
        [{"contents": [{"role": "user", "parts": []}]}, "contents.parts must not be empty"],
        [{"contents": [user(json!([{}]))]}, "required oneof field 'data'"],
        [{"systemInstruction": {"parts": []}}, "system_instruction.parts"],
        [history(json!([result(json!({}))])), "number of function response parts is equal"],
        [history(json!([result(json!("sunny")), result(json!({}))])), "google.protobuf.Struct), \"sunny\""],
        [history(json!([result(json!([1])), result(json!({}))])), "Proto field is not repeating"],
        [history(json!([{"functionResponse": {"name": "f", "response": {}}}, result(json!({}))])),
            "`f` answers"],
        [{"contents": [user(json!([result(json!({}))]))]}, "immediately after a function call turn"],
    ]);
    check_refused(OLD, cases).await;
}

#[tokio::test]
async fn bad_options_are_refused() {
    let config = |config: Value| json!({"generationConfig": config});
    let stops = json!(["1", "2", "3", "4", "5", "6"]);
    let chosen = json!({"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": [DECLARED]}});
    let cases = json!([
        [config(json!({"stopSequences": stops})), "at most 5 stop sequences"],
        [config(json!({"candidateCount": 9})), "candidate_count must be in the range"],
        [config(json!({"candidateCount": 0})), "candidate_count must be in the range"],
        [config(json!({"temperature": 2.5})), "temperature must be in the range"],
        [config(json!({"maxOutputTokens": 0})), "max_output_tokens must be positive"],
        [config(json!({"responseSchema": {"type": "STRING"}})), "only allowed with a response_mime_type"],
        [config(json!({"thinkingConfig": {"thinkingLevel": "LOW"}})), "level is not supported"],
        [{"model": "models/gemini-3-pro-preview"}, "the model must be the one in the path"],
        [{"labels": {"emulate": "stutter=5"}}, "unreadable script"],
        [{"tools": tools(), "toolConfig": chosen}, "only be set when the mode is ANY"],
        [{"tools": [{"functionDeclarations": [{"name": "no spaces"}]}]}, "Invalid function name"],
        [{"safetySettings": [{"category": "HARM_CATEGORY_JAILBREAK", "threshold": "OFF"}]}, "HarmCategory"],
    ]);
    check_refused(MIDDLE, cases).await;
    let budget = config(json!({"thinkingConfig": {"thinkingBudget": 5}}));
    check_refused(OLD, json!([[budget, "not enabled"]])).await;
}

#[tokio::test]
async fn a_prompt_beyond_the_window_is_refused() {
    let narrow = Model::chat(NEW).context_tokens_max(10);
    let emulator = Emulator::start(config().model(narrow)).await.unwrap();
    let long = json!({"contents": [user(json!([{"text": "one two three four five six"}]))]});
    let answer = ask(&emulator, NEW, &long).await;
    assert_eq!(answer.status, 400);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("(12) exceeds the maximum number of tokens allowed (10)"), "{message}");
}

#[tokio::test]
async fn good_requests_pass_in_either_name_style() {
    let emulator = start().await;
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}});
    for (model, change) in [
        (
            MIDDLE,
            json!({"contents": {"parts": {"text": "alone"}}, "system_instruction": {"parts": {"text": "be"}}}),
        ),
        (
            NEW,
            json!({"generationConfig": {"thinking_config": {"thinking_level": "high", "includeThoughts": true}}}),
        ),
        (
            OLD,
            json!({"generation_config": {"maxOutputTokens": "50", "top_k": 40, "stopSequences": ["q"], "seed": 7}}),
        ),
        (MIDDLE, json!({"tools": [{"function_declarations": [{"name": "f", "parameters": schema}]}]})),
        (
            MIDDLE,
            json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters_json_schema": {"$ref": "#"}}]}]}),
        ),
        (
            MIDDLE,
            json!({"tools": [{"googleSearch": {}}], "serviceTier": "flex", "store": false, "cachedContent": null}),
        ),
        (
            MIDDLE,
            json!({"contents": [user(json!([{"inline_data": {"mime_type": "image/png", "data": "AA-_"}}]))]}),
        ),
        (
            MIDDLE,
            json!({"safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]}),
        ),
    ] {
        let answer = ask(&emulator, model, &with(question(), change.clone())).await;
        assert_eq!(answer.status, 200, "{change}: {}", answer.text());
    }
    let v1 =
        client(&emulator).post(&format!("/v1/models/{MIDDLE}:generateContent"), &question()).await.unwrap();
    assert_eq!(v1.status, 200);
    assert_eq!(emulator.violations(), []);
}

#[tokio::test]
async fn the_current_turn_needs_its_signatures() {
    let emulator = start().await;
    emulator.script_all([Behaviour::ok().tools(ToolMode::Parallel)]);
    let request = with(question(), json!({"tools": tools()}));
    let step = parts(&ask(&emulator, NEW, &request).await);
    assert!(step[0]["thoughtSignature"].is_string() && step[1].get("thoughtSignature").is_none(), "{step:?}");
    let results: Vec<Value> = step
        .iter()
        .map(|part| {
            let call = &part["functionCall"];
            json!({"functionResponse": {"id": call["id"], "name": call["name"], "response": {"output": "high"}}})
        })
        .collect();
    let after = async |first: Value| {
        let mut contents = question()["contents"].as_array().unwrap().clone();
        contents.extend([model(json!([first, step[1]])), user(json!(results))]);
        ask(&emulator, NEW, &json!({"contents": contents, "tools": tools()})).await
    };
    let signed = |signature: Value| with(step[0].clone(), json!({"thoughtSignature": signature}));
    assert_eq!(after(step[0].clone()).await.status, 200);
    assert_eq!(after(signed(json!("skip_thought_signature_validator"))).await.status, 200);
    let foreign = start().await;
    foreign.script_all([Behaviour::ok().tools(ToolMode::Single)]);
    let foreign = parts(&ask(&foreign, NEW, &request).await)[0]["thoughtSignature"].clone();
    for (signature, why) in [
        (Value::Null, "missing a thought_signature"),
        (json!(""), "missing a thought_signature"),
        (json!("AAAA"), "Corrupted thought signature"),
        (foreign, "Corrupted thought signature"),
    ] {
        let answer = after(signed(signature.clone())).await;
        assert_eq!(answer.status, 400, "{signature}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    let swapped = json!({"functionCall": {"id": step[0]["functionCall"]["id"], "name": DECLARED, "args": {"a": 1}},
        "thoughtSignature": step[0]["thoughtSignature"]});
    assert_eq!(after(swapped).await.status, 400, "the signature of another call");
}

#[tokio::test]
async fn keys_and_their_states() {
    let emulator = start().await;
    let bare = Client::new(emulator.origin()).within(WITHIN);
    let list = async |client: Client| {
        let answer = client.get("/v1beta/models").await.unwrap();
        let error = answer.json()["error"].clone();
        (answer.status, error["status"].as_str().map(str::to_owned), error["details"].clone())
    };
    let named = |status: &str| Some(status.to_owned());
    let (status, name, _) = list(bare.clone()).await;
    assert_eq!((status, name), (403, named("PERMISSION_DENIED")));
    assert_eq!(emulator.violations(), [], "a missing key betrays nothing");
    let (status, name, details) = list(bare.clone().header("x-goog-api-key", "nobody")).await;
    assert_eq!((status, name), (400, named("INVALID_ARGUMENT")));
    assert_eq!(details[0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!(
        (&details[0]["reason"], &details[0]["domain"]),
        (&json!("API_KEY_INVALID"), &json!("googleapis.com"))
    );
    assert_eq!(emulator.violations().len(), 1);
    let (status, name, _) = list(bare.clone().bearer(KEY)).await;
    assert_eq!((status, name), (401, named("UNAUTHENTICATED")));
    assert_eq!(emulator.violations()[1].what, "header authorization");
    assert_eq!(bare.get(&format!("/v1beta/models?key={OTHER_KEY}")).await.unwrap().status, 200);
    assert_eq!(emulator.journal().last().unwrap().key.as_deref(), Some(OTHER_KEY));
    emulator.set_key(KEY, KeyState::Revoked);
    assert_eq!(list(client(&emulator)).await.2[0]["reason"], "API_KEY_INVALID");
    emulator.set_key(KEY, KeyState::Exhausted);
    let (status, name, details) = list(client(&emulator)).await;
    assert_eq!((status, name), (429, named("RESOURCE_EXHAUSTED")));
    assert_eq!(details[0]["@type"], "type.googleapis.com/google.rpc.QuotaFailure");
    emulator.set_key(KEY, KeyState::RateLimited { retry_after_ms: 1500 });
    assert_eq!(list(client(&emulator)).await.2[0]["retryDelay"], "1.5s");
    assert_eq!(emulator.violations().len(), 2);
}

#[tokio::test]
async fn headers_of_others_are_violations() {
    let emulator = start().await;
    for name in ["agent-run-id", "x-tidegate-tags", "cookie", "x-api-key", "api-key", "x-forwarded-for"] {
        emulator.reset();
        let sent = client(&emulator).header(name, "secret-value");
        let answer = sent.post(&path(MIDDLE, "generateContent"), &question()).await.unwrap();
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(emulator.violations().len(), 1, "{name}");
        assert_eq!(emulator.violations()[0].what, format!("header {name}"));
    }
    emulator.reset();
    let twice = client(&emulator).header("x-goog-api-key", OTHER_KEY);
    assert_eq!(twice.get("/v1beta/models").await.unwrap().status, 400);
    assert_eq!(emulator.violations()[0].what, "header x-goog-api-key sent twice");
    let foreign = Client::new(emulator.origin()).bearer(KEY).header("x-goog-api-key", KEY).within(WITHIN);
    assert_eq!(
        foreign.post(crate::CHAT, &crate::question()).await.unwrap().status,
        400,
        "the other way round"
    );
}

#[tokio::test]
async fn unknown_places_methods_and_models_are_refused() {
    let emulator = start().await;
    for (method, path, status) in [
        (Method::GET, "/v1beta/models".to_owned(), 200),
        (Method::GET, "/v1/models?pageSize=2".to_owned(), 200),
        (Method::GET, format!("/v1/models/{NEW}"), 200),
        (Method::GET, "/v1beta/models?pageToken=x".to_owned(), 400),
        (Method::GET, "/v1beta/models/none".to_owned(), 404),
        (Method::GET, "/v1beta/files".to_owned(), 404),
        (Method::GET, path(NEW, "generateContent"), 404),
        (Method::POST, path(NEW, "predict"), 404),
        (Method::POST, path("gemini-embedding-001", "generateContent"), 404),
        (Method::POST, path("gpt-4o", "generateContent"), 404),
        (Method::POST, path("../gpt-4o", "generateContent"), 404),
        (Method::POST, "/v1beta/models".to_owned(), 404),
        (Method::PUT, "/v1beta/cachedContents/c".to_owned(), 404),
    ] {
        let answer = client(&emulator).call(method.clone(), &path, &[], "").await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.json()["error"]["status"].as_str().is_some(), status != 200);
    }
    let message = ask(&emulator, "gemini-none", &question()).await.json()["error"]["message"].to_string();
    assert!(message.contains("models/gemini-none is not found for API version v1beta"), "{message}");
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let emulator = start().await;
    let deep = [b"{\"contents\":".to_vec(), vec![b'['; 100_000]].concat();
    let surrogate = br#"{"contents":[{"parts":[{"text":"\ud800"}]}]}"#.to_vec();
    for (media, body) in [
        ("application/json", b"{\"contents\":".to_vec()),
        ("application/json", b"{\"contents\":\"\xff\"}".to_vec()),
        ("application/json", Vec::new()),
        ("application/json; charset=utf-8", b"[]".to_vec()),
        ("application/json", deep),
        ("application/json", surrogate),
        ("text/plain", question().to_string().into_bytes()),
    ] {
        let excerpt = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let path = path(MIDDLE, "generateContent");
        let answer =
            client(&emulator).call(Method::POST, &path, &[("content-type", media)], body).await.unwrap();
        let status = answer.json()["error"]["status"].clone();
        assert_eq!((answer.status, status), (400, json!("INVALID_ARGUMENT")), "{excerpt}");
    }
}

#[tokio::test]
async fn embeddings_are_checked_and_deterministic() {
    let emulator = start().await;
    let model = "gemini-embedding-001";
    let embed = async |change: Value| {
        let request = with(json!({"content": {"parts": [{"text": "one two"}]}}), change);
        client(&emulator).post(&path(model, "embedContent"), &request).await.unwrap()
    };
    let first = embed(json!({"outputDimensionality": 4})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.json(), embed(json!({"output_dimensionality": 4})).await.json());
    assert_eq!(first.json()["embedding"]["values"].as_array().unwrap().len(), 4);
    assert_eq!(embed(json!({})).await.json()["embedding"]["values"].as_array().unwrap().len(), 3072);
    for change in [
        json!({"content": null}),
        json!({"content": {"parts": []}}),
        json!({"outputDimensionality": 0}),
        json!({"outputDimensionality": 3073}),
        json!({"taskType": "GUESSING"}),
        json!({"title": "t"}),
        json!({"model": "models/other"}),
        json!({"user": "x"}),
    ] {
        assert_eq!(embed(change.clone()).await.status, 400, "{change}");
    }
    let batch = async |requests: Value| {
        let answer =
            client(&emulator).post(&path(model, "batchEmbedContents"), &json!({"requests": requests})).await;
        answer.unwrap()
    };
    let one = json!({"model": format!("models/{model}"), "content": {"parts": [{"text": "one two"}]}});
    let two = batch(json!([one, with(one.clone(), json!({"outputDimensionality": 4}))])).await.json();
    assert_eq!(two["embeddings"][1], first.json()["embedding"]);
    assert_eq!(two["usageMetadata"]["promptTokenCount"], 4);
    for requests in [json!([]), json!(vec![&one; 101]), json!([with(one.clone(), json!({"model": null}))])] {
        assert_eq!(batch(requests).await.status, 400);
    }
}
