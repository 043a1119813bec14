//! Converse with an unmodified boto3, against models of every wire format, signed with access keys that
//! Tidegate issued.

use framing::event_stream::FrameDecoder;
use harness::bedrock::{REGION, access_keys};
use harness::{At, Behaviour, Config, Model};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::WITHIN;
use crate::ask::{has, until_status, with};
use crate::command::workspace;
use crate::gateway::{CREDENTIALS, CUSTOM, Gateway, NODE, OWN, OWN_SECOND, config, id_of, python};
use crate::program::Program;

const OPENAI: &str = "openai/gpt-4o-mini";
const CLAUDE: &str = "anthropic/claude-sonnet-4-6";
const GEMINI: &str = "google/gemini-2.5-flash";
const BEDROCK: &str = "bedrock:us.anthropic.claude-haiku-4-5-20251001-v1:0";
/// Each model, and the provider key that its requests use.
const MODELS: [(&str, &str); 4] = [(OPENAI, OWN), (CLAUDE, OWN_SECOND), (GEMINI, CUSTOM), (BEDROCK, NODE)];
const WORKSPACE_KEY: &str = "/v2/vault/workspace-key";
/// An image of two by two pixels.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAE0lEQVR4nGMQGxkDQQwQCgQAHOoDgcEu4pUAAAAASUVORK5CYII=";

async fn gateway() -> Gateway {
    let models = ["gpt-4o-mini", "claude-sonnet-4-6", "gemini-2.5-flash"].map(Model::chat);
    let gateway = Gateway::with(models.into_iter().fold(config(), Config::model), &[]).await;
    let emulator = &gateway.emulator;
    let bedrock = json!({"auth": "iam_static", "region": REGION});
    for (provider, secret, base_url, more) in [
        ("openai", json!(OWN), emulator.base_url(), json!({})),
        ("anthropic", json!(OWN_SECOND), emulator.anthropic_url(), json!({})),
        ("gemini", json!(CUSTOM), emulator.origin(), json!({})),
        ("bedrock", access_keys(NODE), emulator.bedrock_url(), bedrock),
    ] {
        let body = json!({"provider": provider, "secret": secret, "base_url": base_url});
        gateway.make(CREDENTIALS, with(body, more)).await;
    }
    gateway
}

/// A program that calls through boto3, and the access keys with which it signs.
struct Boto {
    origin: String,
    keys: Value,
    key_id: String,
    program: Program,
}

impl Boto {
    async fn start(gateway: &Gateway) -> Self {
        let made = gateway.make("/v2/api-keys", json!({"name": "boto3", "aws": true})).await;
        let mut command = Command::new(python());
        command.arg(workspace().join("tests/sdk/converse.py")).env("NO_PROXY", "*");
        // The machine's own AWS settings must have no effect.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        let (origin, keys) = (gateway.origin.clone(), made["aws"].clone());
        Self { origin, keys, key_id: id_of(&made), program: Program::start(&mut command) }
    }

    /// The result of a call as boto3 returns it. `more` overrides the client's settings.
    async fn ask_with(&mut self, call: &str, args: Value, more: Value) -> Value {
        let command = json!({"origin": self.origin, "call": call, "args": args});
        let command = with(with(command, self.keys.clone()), more);
        self.program.ask(&command, WITHIN * 3).await
    }

    async fn ask(&mut self, call: &str, args: Value) -> Value {
        self.ask_with(call, args, json!({})).await
    }

    /// The buffered answer, or the equivalent assembled from a stream.
    async fn answered(&mut self, streams: bool, args: &Value) -> Value {
        let call = if streams { "converse_stream" } else { "converse" };
        let result = self.ask(call, args.clone()).await;
        assert_eq!(result["error"], Value::Null, "{args}: {result}");
        if streams { gathered(&result) } else { result["answer"].clone() }
    }

    async fn failed(&mut self, call: &str, args: Value, more: Value) -> Value {
        let result = self.ask_with(call, args, more).await;
        assert_ne!(result["error"], Value::Null, "{result}");
        result["error"].clone()
    }
}

/// Assembles a stream's events into one answer.
fn gathered(result: &Value) -> Value {
    let events = result["events"].as_array().unwrap();
    let (mut content, mut end): (Vec<Value>, Value) = (Vec::new(), json!({}));
    assert_eq!(events[0], json!({"messageStart": {"role": "assistant"}}), "{result}");
    for event in &events[1..] {
        let (name, payload) = event.as_object().unwrap().iter().next().unwrap();
        let index = payload["contentBlockIndex"].as_u64().map(|index| usize::try_from(index).unwrap());
        match (&**name, index) {
            ("contentBlockStart", Some(index)) => {
                assert_eq!(index, content.len(), "{result}");
                content.push(with(payload["start"].clone(), json!({"input": ""})));
            }
            ("contentBlockDelta", Some(index)) => {
                if index == content.len() {
                    content.push(json!({}));
                }
                add(&mut content[index], &payload["delta"]);
            }
            ("contentBlockStop", Some(index)) => assert_eq!(index + 1, content.len(), "{result}"),
            ("messageStop", None) => end["stopReason"] = payload["stopReason"].clone(),
            ("metadata", None) => {
                assert!(end["stopReason"].is_string(), "usage comes behind the end: {result}");
                end = with(end, payload.clone());
            }
            _ => panic!("{event}"),
        }
    }
    assert!(end["usage"].is_object(), "{result}");
    let content: Vec<Value> = content.into_iter().map(block).collect();
    with(end, json!({"output": {"message": {"role": "assistant", "content": content}}}))
}

fn add(block: &mut Value, delta: &Value) {
    let more = |to: &mut Value, text: &Value| {
        *to = json!(format!("{}{}", to.as_str().unwrap_or_default(), text.as_str().unwrap()));
    };
    let (name, value) = delta.as_object().unwrap().iter().next().unwrap();
    match &**name {
        "text" => more(&mut block["text"], value),
        "toolUse" => more(&mut block["input"], &value["input"]),
        "reasoningContent" => {
            let (name, value) = value.as_object().unwrap().iter().next().unwrap();
            more(&mut block["thought"][name], value);
        }
        other => panic!("{other}"),
    }
}

/// A content block in the form of a buffered answer.
fn block(gathered: Value) -> Value {
    match (&gathered["toolUse"], &gathered["thought"]) {
        (Value::Null, Value::Null) => gathered,
        (Value::Null, thought) => json!({"reasoningContent": {"reasoningText": thought}}),
        (call, _) => {
            let input: Value = serde_json::from_str(gathered["input"].as_str().unwrap()).unwrap();
            json!({"toolUse": with(call.clone(), json!({"input": input}))})
        }
    }
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn question(model: &str) -> Value {
    json!({"modelId": model, "messages": [user(json!([{"text": "hello there"}]))]})
}

/// The arguments of a call that invokes a model with a body of Claude's messages.
fn invocation(model: &str, more: Value) -> Value {
    let messages = [user(json!("hello there"))];
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": messages});
    json!({"modelId": model, "body": with(body, more).to_string()})
}

fn texts(answer: &Value) -> String {
    let content = answer["output"]["message"]["content"].as_array().unwrap();
    content.iter().filter_map(|block| block["text"].as_str()).collect()
}

#[tokio::test]
async fn a_question_is_answered_and_counted_and_its_tools_are_called_by_whoever_serves_the_model() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    for (model, key) in MODELS {
        for streams in [false, true] {
            let answer = boto.answered(streams, &question(model)).await;
            assert_eq!(texts(&answer), "You said: hello there", "{model}: {answer}");
            assert_eq!(answer["output"]["message"]["role"], "assistant", "{model}: {answer}");
            assert_eq!(answer["stopReason"], "end_turn", "{model}: {answer}");
            let (usage, sent) = (&answer["usage"], gateway.last(key));
            assert_eq!(usage["inputTokens"], sent.prompt_tokens, "{model}: {answer}");
            let sum = usage["inputTokens"].as_u64().unwrap() + usage["outputTokens"].as_u64().unwrap();
            assert_eq!(usage["totalTokens"], sum, "{model}: {answer}");
            assert!(answer["metrics"]["latencyMs"].is_u64(), "{model}: {answer}");
        }
        let whole = boto.ask("converse", question(model)).await;
        let head = &whole["answer"]["ResponseMetadata"];
        let trace = head["RequestId"].as_str().unwrap();
        assert_eq!(head["HTTPHeaders"]["agent-trace-id"], trace, "{head}");
        let record = gateway.settled(trace).await;
        has(&record, json!({"dialect": "converse", "outcome": "completed", "key_id": boto.key_id}));
        has(&record, json!({"output_tokens": whole["answer"]["usage"]["outputTokens"]}));
    }
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let spec = json!({"name": "get_weather", "description": "The weather.", "inputSchema": {"json": schema}});
    for (model, key) in MODELS {
        for streams in [false, true] {
            let mut turns = vec![user(json!([{"text": "Use get_weather"}]))];
            let config = json!({"tools": [{"toolSpec": spec}]});
            let request =
                |turns: &[Value]| json!({"modelId": model, "messages": turns, "toolConfig": config});
            let answer = boto.answered(streams, &request(&turns)).await;
            assert_eq!(answer["stopReason"], "tool_use", "{model}: {answer}");
            let message = answer["output"]["message"].clone();
            let call = message["content"].as_array().unwrap().last().unwrap()["toolUse"].clone();
            has(&call, json!({"name": "get_weather", "input": {"city": "value"}}));
            let content = json!([{"json": {"sky": "sunny"}}, {"text": "21°"}]);
            let result = json!({"toolUseId": call["toolUseId"], "content": content});
            turns.extend([message, user(json!([{"toolResult": result}]))]);
            let answer = boto.answered(streams, &request(&turns)).await;
            assert_eq!(texts(&answer), "You said: Use get_weather", "{model}: {answer}");
            let sent = String::from_utf8(gateway.last(key).body.to_vec()).unwrap();
            assert!(sent.contains("sunny") && sent.contains("21"), "{model}: {sent}");
        }
    }
    let input = json!({"converse": {"messages": [user(json!([{"text": "hello there"}]))]}});
    for (model, _) in MODELS {
        let result = boto.ask("count_tokens", json!({"modelId": model, "input": input})).await;
        assert!(result["answer"]["inputTokens"].as_u64() > Some(0), "{model}: {result}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_model_is_invoked_with_messages_whoever_serves_it() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    for (model, key) in MODELS {
        let result = boto.ask("invoke_model", invocation(model, json!({}))).await;
        assert_eq!(result["error"], Value::Null, "{model}: {result}");
        let (answer, sent) = (&result["answer"]["body"], gateway.last(key));
        has(answer, json!({"type": "message", "stop_reason": "end_turn"}));
        assert_eq!(answer["content"][0]["text"], "You said: hello there", "{model}: {result}");
        assert_eq!(answer["usage"]["input_tokens"], sent.prompt_tokens, "{model}: {result}");
        let head = &result["answer"]["ResponseMetadata"];
        assert_eq!(head["HTTPHeaders"]["agent-trace-id"], head["RequestId"], "{head}");
        let record = gateway.settled(head["RequestId"].as_str().unwrap()).await;
        has(&record, json!({"dialect": "invoke", "outcome": "completed", "key_id": boto.key_id}));
        has(&record, json!({"output_tokens": answer["usage"]["output_tokens"]}));

        let result = boto.ask("invoke_model_with_response_stream", invocation(model, json!({}))).await;
        has(&result, json!({"error": null, "/answer/contentType": "application/json"}));
        let events = result["events"].as_array().unwrap();
        let named = |name: &str| events.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
        let (first, end) = (&events[0], &events[events.len() - 1]);
        has(first, json!({"type": "message_start"}));
        has(end, json!({"type": "message_stop"}));
        let deltas = named("content_block_delta").into_iter();
        let text: String = deltas.filter_map(|event| event["delta"]["text"].as_str()).collect();
        assert_eq!((&*text, named("ping").len()), ("You said: hello there", 0), "{model}: {result}");
        let metrics = &end["amazon-bedrock-invocationMetrics"];
        has(metrics, json!({"outputTokenCount": named("message_delta")[0]["usage"]["output_tokens"]}));
        assert!(metrics["invocationLatency"].as_u64() >= metrics["firstByteLatency"].as_u64(), "{result}");
    }
    let betas = json!({"anthropic_beta": ["fine-grained-tool-streaming-2025-05-14"]});
    boto.ask("invoke_model", invocation(CLAUDE, betas)).await;
    let sent = gateway.last(OWN_SECOND);
    let beta = sent.headers.iter().find(|(name, _)| name == "anthropic-beta");
    assert_eq!(beta.map(|(_, value)| &**value), Some("fine-grained-tool-streaming-2025-05-14"), "{sent:?}");
    has(&sent.json(), json!({"anthropic_version": null, "stream": false}));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn pictures_thoughts_and_cache_points_reach_who_has_a_place_for_them() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let picture = json!({"image": {"format": "png", "source": {"bytes": {"$base64": PNG}}}});
    for (model, key) in MODELS {
        let content = json!([{"text": "hello there"}, picture, {"cachePoint": {"type": "default"}}]);
        let args = json!({"modelId": model, "messages": [user(content)], "system": [{"text": "Be brief."}]});
        for streams in [false, true] {
            boto.answered(streams, &args).await;
            let sent = String::from_utf8(gateway.last(key).body.to_vec()).unwrap();
            assert!(sent.contains(PNG) && sent.contains("Be brief."), "{model}: {sent}");
        }
        let result = boto.ask("converse", args).await;
        let dropped = &result["answer"]["ResponseMetadata"]["HTTPHeaders"]["agent-dropped-params"];
        let is_dropped = ![CLAUDE, BEDROCK].contains(&model);
        let expected = is_dropped.then_some("messages[0].content[2].cachePoint");
        assert_eq!(*dropped, json!(expected), "{model}: {result}");
    }
    let sent = gateway.last(OWN_SECOND).json();
    assert!(sent.to_string().contains("cache_control"), "{sent}");
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    // The vendor's newer models take an effort in place of a token budget.
    let by_effort = (json!({"type": "adaptive"}), json!("low"));
    let by_budget = (thinking["thinking"].clone(), Value::Null);
    for (model, key, expected) in [(CLAUDE, OWN_SECOND, by_effort), (BEDROCK, NODE, by_budget)] {
        gateway.emulator.script(key, [Behaviour::ok().reasoning(9).always()]);
        let limit = json!({"maxTokens": 4000});
        let more = json!({"additionalModelRequestFields": thinking, "inferenceConfig": limit});
        let args = with(question(model), more);
        for streams in [false, true] {
            let answer = boto.answered(streams, &args).await;
            let content = &answer["output"]["message"]["content"][0];
            let thought = &content["reasoningContent"]["reasoningText"]["text"];
            assert!(thought.as_str().is_some_and(|text| !text.is_empty()), "{model}: {answer}");
            assert_eq!(texts(&answer), "You said: hello there", "{model}: {answer}");
            let sent = gateway.last(key).json();
            let requested = sent.get("thinking").unwrap_or(&sent["additionalModelRequestFields"]["thinking"]);
            let requested = (requested.clone(), sent["output_config"]["effort"].clone());
            assert_eq!(requested, expected, "{model}: {sent}");
        }
        // A request that does not ask for reasoning gets none, whatever the script contains.
        let answer = boto.answered(false, &question(model)).await;
        let content = &answer["output"]["message"]["content"][0];
        assert_eq!(content["reasoningContent"], Value::Null, "{model}: {answer}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_bearer_is_let_in_its_stream_is_of_frames_and_a_request_to_bedrock_is_passed_to_the_byte() {
    let gateway = gateway().await;
    let body = r#"{ "messages" :[{"role":"user","content":[{"text":"hello there"}]}], "requestMetadata":{"a":"b"} }"#;
    let guarded = r#"{"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"messages":[{"role":"user","content":[{"text":"x"}]}]}"#;
    for (verb, body) in [("converse", body), ("converse-stream", body), ("converse", guarded)] {
        let path = format!("/model/{}/{verb}", BEDROCK.replace(':', "%3A"));
        let json = [("content-type", "application/json")];
        let answer = gateway.client().call(Method::POST, &path, &json, body).await.unwrap().must_be(200);
        assert_eq!(gateway.last(NODE).body, body);
        assert_eq!(answer.header("agent-dropped-params"), None);
    }
    let body = json!({"messages": [user(json!([{"text": "hello there"}]))]});
    for (model, _) in MODELS {
        for name in [model.replace('/', "%2F").replace(':', "%3A"), model.to_owned()] {
            let answer = gateway.post(&format!("/model/{name}/converse-stream"), &body).await.must_be(200);
            assert_eq!(answer.header("content-type"), Some("application/vnd.amazon.eventstream"));
            assert_eq!(answer.header("x-amzn-requestid"), answer.header("agent-trace-id"));
            let decoded = frames(&answer.body);
            let names: Vec<&str> = decoded.iter().map(|(_, name, _)| &**name).collect();
            assert_eq!((names[0], names[names.len() - 1]), ("messageStart", "metadata"), "{names:?}");
        }
    }
    // An invoked model streams chunks.
    let invoked: Value = serde_json::from_str(invocation("", json!({}))["body"].as_str().unwrap()).unwrap();
    let answer = gateway.post(&format!("/model/{OPENAI}/invoke-with-response-stream"), &invoked).await;
    assert_eq!(answer.header("content-type"), Some("application/vnd.amazon.eventstream"), "{answer:?}");
    assert!(frames(&answer.body).iter().all(|(kind, name, _)| (&**kind, &**name) == ("event", "chunk")));
    // A replay under an idempotency key is identical to the byte.
    let path = format!("/model/{OPENAI}/converse-stream");
    let keyed = || gateway.client().header("idempotency-key", "order 1");
    let first = keyed().post(&path, &body).await.unwrap();
    let again = keyed().post(&path, &body).await.unwrap();
    assert_eq!(again.header("agent-idempotent-replay"), Some("true"), "{}", again.text());
    assert_eq!((&again.body, again.header("content-type")), (&first.body, first.header("content-type")));
    assert_eq!(gateway.emulator.violations(), []);
}

/// The frames of a stream, each as its message type, event name and payload.
fn frames(stream: &[u8]) -> Vec<(String, String, Value)> {
    let mut decoder = FrameDecoder::new();
    decoder.push(stream);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame().expect("a frame") {
        let kind = frame.text(":message-type").unwrap().to_owned();
        let name = frame.text(&format!(":{kind}-type")).unwrap().to_owned();
        frames.push((kind, name, serde_json::from_slice(&frame.payload).unwrap()));
    }
    assert!(decoder.is_empty(), "a frame is cut");
    frames
}

#[tokio::test]
async fn who_does_not_sign_well_is_not_let_in() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let calls = || MODELS.iter().map(|(_, key)| gateway.calls(key).len()).sum::<usize>();
    let id = boto.keys["access_key_id"].as_str().unwrap().to_owned();
    let other = format!("{}0000", &id[..id.len() - 4]);
    let (invalid, unknown) = ("InvalidSignatureException", "UnrecognizedClientException");
    for (more, code, words) in [
        (json!({"secret_access_key": "tide"}), invalid, "secret access key"),
        (json!({"ahead_s": -600}), invalid, "Signature expired"),
        (json!({"ahead_s": 600}), invalid, "not yet current"),
        (json!({"access_key_id": other}), unknown, "unknown here"),
        (json!({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}), unknown, "tidegate key create --aws"),
    ] {
        for call in ["converse", "converse_stream"] {
            let error = boto.failed(call, question(OPENAI), more.clone()).await;
            assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(403)), "{more}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(words), "{more}: {error}");
            assert!(message.contains(error["request_id"].as_str().unwrap()), "{error}");
            assert!(!message.contains("tide\""), "{error}");
        }
    }
    // A small clock difference is tolerated, and a signature is accepted for any region.
    for more in [json!({"ahead_s": -280}), json!({"ahead_s": 280}), json!({"region": "us-west-2"})] {
        let result = boto.ask_with("converse", question(OPENAI), more).await;
        assert_eq!(result["error"], Value::Null, "{result}");
    }
    assert_eq!(calls(), 3);
    // Removing an API key ends its access keys at once.
    gateway.remove(&format!("/v2/api-keys/{}", boto.key_id)).await;
    let error = boto.failed("converse", question(OPENAI), json!({})).await;
    assert_eq!(error["code"], invalid, "{error}");
    assert!(error["message"].as_str().unwrap().contains("revoked"), "{error}");
    // A key without access keys can't sign, and neither can one that expires.
    let (_, plain) = gateway.key(json!({"name": "plain"})).await;
    let id = format!("TGAK{}", plain.trim_start_matches("key_").to_uppercase());
    let error = boto.failed("converse", question(OPENAI), json!({"access_key_id": id})).await;
    assert_eq!(error["code"], unknown, "{error}");
    assert_eq!(calls(), 3);
}

/// The signature covers the body as sent; a body with a wrong signature is never decompressed.
#[tokio::test]
async fn a_packed_body_is_signed_as_it_is_sent() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let result = boto.ask_with("converse", question(OPENAI), json!({"packed": "before"})).await;
    assert_eq!(result["error"], Value::Null, "{result}");
    for packed in ["after", "broken"] {
        let error = boto.failed("converse", question(OPENAI), json!({"packed": packed})).await;
        assert_eq!(error["code"], "InvalidSignatureException", "{packed}: {error}");
    }
    assert_eq!(gateway.calls(OWN).len(), 1);
}

#[tokio::test]
async fn access_keys_are_shown_once_and_outlive_a_change_of_the_workspaces_key() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let made = gateway.make("/v2/api-keys", json!({"name": "more", "aws": true})).await;
    let secret = made["aws"]["secret_access_key"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 40);
    let path = format!("/v2/api-keys/{}", id_of(&made));
    let view = gateway.get(&path).await;
    assert_eq!(view["aws"], json!({"access_key_id": made["aws"]["access_key_id"]}), "{view}");
    assert_eq!(gateway.patch(&path, json!({"name": "other"})).await["aws"], view["aws"]);
    gateway.patched(&path, json!({"aws": false})).await.must_be(400);
    let listed = gateway.get("/v2/api-keys").await.to_string();
    assert!(!listed.contains(&secret), "{listed}");
    boto.answered(false, &question(OPENAI)).await;
    let before = gateway.get(WORKSPACE_KEY).await["id"].clone();
    let started = gateway.admin().post(&format!("{WORKSPACE_KEY}/rotate"), &json!({})).await.unwrap();
    assert!(started.status < 300, "{} {}", started.status, started.text());
    until_status(&gateway.admin(), WORKSPACE_KEY, "steady").await;
    // The older key is gone, and everything that it sealed is sealed again.
    assert_ne!(gateway.get(WORKSPACE_KEY).await["id"], before);
    boto.answered(false, &question(OPENAI)).await;
}

#[tokio::test]
async fn what_is_refused_is_told_in_the_vendors_words_and_a_cut_stream_is_an_error() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let guarded = json!({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}});
    let more = json!({"additionalModelRequestFields": {"tide": true}});
    let (missing, invalid) = ("ResourceNotFoundException", "ValidationException");
    for (args, code, status, words) in [
        (question("openai/gpt-nope"), missing, 404, "gpt-nope"),
        (with(question(OPENAI), guarded), invalid, 400, "guardrailConfig"),
        (with(question(OPENAI), more), invalid, 400, "additionalModelRequestFields.tide"),
    ] {
        for call in ["converse", "converse_stream"] {
            let error = boto.failed(call, args.clone(), json!({})).await;
            has(&error, json!({"code": code, "status": status, "class": code}));
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        }
    }
    let titan = json!({"modelId": OPENAI, "body": json!({"inputText": "x"}).to_string()});
    for (args, code, words) in [
        (invocation("openai/gpt-nope", json!({})), missing, "gpt-nope"),
        (titan, invalid, "anthropic_version"),
        (invocation(OPENAI, json!({"tide": true})), invalid, "tide"),
    ] {
        for call in ["invoke_model", "invoke_model_with_response_stream"] {
            let error = boto.failed(call, args.clone(), json!({})).await;
            has(&error, json!({"code": code, "class": code}));
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        }
    }
    let unknown = json!({"messages": [user(json!([{"text": "x"}]))], "tide": true});
    let answer = gateway.post(&format!("/model/{OPENAI}/converse"), &unknown).await;
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some(invalid)));
    assert!(answer.text().contains("\\\"tide\\\""), "{}", answer.text());
    for (path, status, kind) in [
        ("/model/x/invoke", 400, invalid),
        ("/model/x/apply", 404, missing),
        ("/model/..%2Fx/converse", 400, invalid),
        ("/model/../v1/models", 404, missing),
    ] {
        let answer = gateway.post(path, &unknown).await;
        let told = (answer.status, answer.header("x-amzn-errortype"));
        assert_eq!(told, (status, Some(kind)), "{path}: {}", answer.text());
    }
    let nobody = harness::client::Client::new(&gateway.origin).within(WITHIN);
    let answer = nobody.post("/model/x/converse", &unknown).await.unwrap();
    let kind = answer.header("x-amzn-errortype");
    assert_eq!((answer.status, kind), (403, Some("MissingAuthenticationTokenException")));
    for (model, key) in MODELS {
        gateway.emulator.script(key, [Behaviour::ok().chunks(20).cut(At::Middle).always()]);
        let result = boto.ask("converse_stream", question(model)).await;
        let events = result["events"].as_array().unwrap().iter();
        let names: Vec<&String> = events.filter_map(|event| event.as_object()?.keys().next()).collect();
        assert!(names.contains(&&"contentBlockDelta".to_owned()), "{model}: {result}");
        assert!(names.iter().all(|name| *name != "messageStop" && *name != "metadata"), "{model}: {result}");
        has(&result["error"], json!({"class": "EventStreamError", "code": "modelStreamErrorException"}));
        let trace = result["answer"]["ResponseMetadata"]["RequestId"].as_str().unwrap();
        assert!(result["error"]["message"].as_str().unwrap().contains(trace), "{model}: {result}");
        let record = gateway.settled(trace).await;
        assert!(record["output_tokens"].as_u64().unwrap() > 0, "{model}: {record}");
        let result = boto.ask("invoke_model_with_response_stream", invocation(model, json!({}))).await;
        let is_of =
            |name: &str| result["events"].as_array().unwrap().iter().any(|event| event["type"] == name);
        assert!(is_of("content_block_delta") && !is_of("message_stop"), "{model}: {result}");
        assert_eq!(result["error"]["code"], "modelStreamErrorException", "{model}: {result}");
    }
}
