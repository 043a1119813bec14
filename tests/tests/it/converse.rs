//! Converse with an unmodified boto3, against models of every wire format, signed with access keys that
//! Tidegate issued.

use std::time::Instant;

use framing::event_stream::FrameDecoder;
use harness::bedrock::{REGION, access_keys};
use harness::{At, Behaviour, Entry, Model};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::WITHIN;
use crate::ask::with;
use crate::command::workspace;
use crate::gateway::{CUSTOM, Gateway, NODE, OWN, OWN_SECOND, config, id_of};
use crate::program::Program;
use crate::wait::a_moment;

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
    let config = config()
        .model(Model::chat("gpt-4o-mini"))
        .model(Model::chat("claude-sonnet-4-6"))
        .model(Model::chat("gemini-2.5-flash"));
    let gateway = Gateway::with(config, &[]).await;
    let emulator = &gateway.emulator;
    let bedrock = json!({"auth": "iam_static", "region": REGION});
    for (provider, secret, base_url, more) in [
        ("openai", json!(OWN), emulator.base_url(), json!({})),
        ("anthropic", json!(OWN_SECOND), emulator.anthropic_url(), json!({})),
        ("gemini", json!(CUSTOM), emulator.origin(), json!({})),
        ("bedrock", access_keys(NODE), emulator.bedrock_url(), bedrock),
    ] {
        let body = json!({"provider": provider, "secret": secret, "base_url": base_url});
        gateway.make("/v2/provider-credentials", with(body, more)).await;
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
        let interpreter = workspace().join(".venv/bin/python");
        assert!(interpreter.exists(), "run scripts/python-env.sh first");
        let mut command = Command::new(interpreter);
        command.arg(workspace().join("tests/sdk/converse.py")).env("NO_PROXY", "*");
        // The machine's own AWS settings must have no effect.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        Self {
            origin: gateway.origin.clone(),
            keys: made["aws"].clone(),
            key_id: id_of(&made),
            program: Program::start(&mut command),
        }
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
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [user(json!("hello there"))]});
    json!({"modelId": model, "body": with(body, more).to_string()})
}

fn texts(answer: &Value) -> String {
    let content = answer["output"]["message"]["content"].as_array().unwrap();
    content.iter().filter_map(|block| block["text"].as_str()).collect()
}

fn last(gateway: &Gateway, key: &str) -> Entry {
    gateway.calls(key).pop().expect("a call")
}

#[tokio::test]
async fn a_question_is_answered_by_whoever_serves_the_model() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    for (model, key) in MODELS {
        for streams in [false, true] {
            let answer = boto.answered(streams, &question(model)).await;
            assert_eq!(texts(&answer), "You said: hello there", "{model}: {answer}");
            assert_eq!(answer["output"]["message"]["role"], "assistant", "{model}: {answer}");
            assert_eq!(answer["stopReason"], "end_turn", "{model}: {answer}");
            let (usage, sent) = (&answer["usage"], last(&gateway, key));
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
        assert_eq!(
            (&record["dialect"], &record["outcome"]),
            (&json!("converse"), &json!("completed")),
            "{record}"
        );
        assert_eq!(record["key_id"], boto.key_id, "{record}");
        assert_eq!(record["output_tokens"], whole["answer"]["usage"]["outputTokens"], "{record}");
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
        let (answer, sent) = (&result["answer"]["body"], last(&gateway, key));
        assert_eq!(
            (&answer["type"], &answer["stop_reason"]),
            (&json!("message"), &json!("end_turn")),
            "{result}"
        );
        assert_eq!(answer["content"][0]["text"], "You said: hello there", "{model}: {result}");
        assert_eq!(answer["usage"]["input_tokens"], sent.prompt_tokens, "{model}: {result}");
        let head = &result["answer"]["ResponseMetadata"];
        assert_eq!(head["HTTPHeaders"]["agent-trace-id"], head["RequestId"], "{head}");
        let record = gateway.settled(head["RequestId"].as_str().unwrap()).await;
        assert_eq!(
            (&record["dialect"], &record["outcome"]),
            (&json!("invoke"), &json!("completed")),
            "{record}"
        );
        assert_eq!(
            (&record["key_id"], &record["output_tokens"]),
            (&json!(boto.key_id), &answer["usage"]["output_tokens"])
        );

        let result = boto.ask("invoke_model_with_response_stream", invocation(model, json!({}))).await;
        assert_eq!(
            (&result["error"], &result["answer"]["contentType"]),
            (&Value::Null, &json!("application/json")),
            "{result}"
        );
        let events = result["events"].as_array().unwrap();
        let named = |name: &str| events.iter().filter(|event| event["type"] == name).collect::<Vec<_>>();
        let (first, end) = (&events[0], &events[events.len() - 1]);
        assert_eq!(
            (&first["type"], &end["type"]),
            (&json!("message_start"), &json!("message_stop")),
            "{result}"
        );
        let text: String =
            named("content_block_delta").iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
        assert_eq!((&*text, named("ping").len()), ("You said: hello there", 0), "{model}: {result}");
        let metrics = &end["amazon-bedrock-invocationMetrics"];
        assert_eq!(
            metrics["outputTokenCount"],
            named("message_delta")[0]["usage"]["output_tokens"],
            "{result}"
        );
        assert!(metrics["invocationLatency"].as_u64() >= metrics["firstByteLatency"].as_u64(), "{result}");
    }
    let betas = json!({"anthropic_beta": ["fine-grained-tool-streaming-2025-05-14"]});
    boto.ask("invoke_model", invocation(CLAUDE, betas)).await;
    let sent = last(&gateway, OWN_SECOND);
    let beta = sent.headers.iter().find(|(name, _)| name == "anthropic-beta");
    assert_eq!(beta.map(|(_, value)| &**value), Some("fine-grained-tool-streaming-2025-05-14"), "{sent:?}");
    assert_eq!((&sent.json()["anthropic_version"], &sent.json()["stream"]), (&Value::Null, &json!(false)));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn tools_are_called_and_answered() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let spec = json!({"name": "get_weather", "description": "The weather.", "inputSchema": {"json": schema}});
    for (model, key) in MODELS {
        for streams in [false, true] {
            let mut turns = vec![user(json!([{"text": "Use get_weather"}]))];
            let request = |turns: &[Value]| json!({"modelId": model, "messages": turns, "toolConfig": {"tools": [{"toolSpec": spec}]}});
            let answer = boto.answered(streams, &request(&turns)).await;
            assert_eq!(answer["stopReason"], "tool_use", "{model}: {answer}");
            let message = answer["output"]["message"].clone();
            let call = message["content"].as_array().unwrap().last().unwrap()["toolUse"].clone();
            assert_eq!(
                (&call["name"], &call["input"]),
                (&json!("get_weather"), &json!({"city": "value"})),
                "{answer}"
            );
            let result = json!({"toolUseId": call["toolUseId"], "content": [{"json": {"sky": "sunny"}}, {"text": "21°"}]});
            turns.extend([message, user(json!([{"toolResult": result}]))]);
            let answer = boto.answered(streams, &request(&turns)).await;
            assert_eq!(texts(&answer), "You said: Use get_weather", "{model}: {answer}");
            let sent = String::from_utf8(last(&gateway, key).body.to_vec()).unwrap();
            assert!(sent.contains("sunny") && sent.contains("21"), "{model}: {sent}");
        }
    }
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
            let sent = String::from_utf8(last(&gateway, key).body.to_vec()).unwrap();
            assert!(sent.contains(PNG) && sent.contains("Be brief."), "{model}: {sent}");
        }
        let result = boto.ask("converse", args).await;
        let dropped = &result["answer"]["ResponseMetadata"]["HTTPHeaders"]["agent-dropped-params"];
        let expected = if [CLAUDE, BEDROCK].contains(&model) {
            Value::Null
        } else {
            json!("messages[0].content[2].cachePoint")
        };
        assert_eq!(*dropped, expected, "{model}: {result}");
    }
    let sent = last(&gateway, OWN_SECOND).json();
    assert!(sent.to_string().contains("cache_control"), "{sent}");
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
    // The vendor's newer models take an effort in place of a token budget.
    let by_effort = (json!({"type": "adaptive"}), json!("low"));
    let by_budget = (thinking["thinking"].clone(), Value::Null);
    for (model, key, expected) in [(CLAUDE, OWN_SECOND, by_effort), (BEDROCK, NODE, by_budget)] {
        gateway.emulator.script(key, [Behaviour::ok().reasoning(9).always()]);
        let args = with(
            question(model),
            json!({
                "additionalModelRequestFields": thinking, "inferenceConfig": {"maxTokens": 4000},
            }),
        );
        for streams in [false, true] {
            let answer = boto.answered(streams, &args).await;
            let thought =
                &answer["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]["text"];
            assert!(thought.as_str().is_some_and(|text| !text.is_empty()), "{model}: {answer}");
            assert_eq!(texts(&answer), "You said: hello there", "{model}: {answer}");
            let sent = last(&gateway, key).json();
            let requested = sent.get("thinking").unwrap_or(&sent["additionalModelRequestFields"]["thinking"]);
            let requested = (requested.clone(), sent["output_config"]["effort"].clone());
            assert_eq!(requested, expected, "{model}: {sent}");
        }
        // A request that does not ask for reasoning gets none, whatever the script contains.
        let answer = boto.answered(false, &question(model)).await;
        assert_eq!(
            answer["output"]["message"]["content"][0]["reasoningContent"],
            Value::Null,
            "{model}: {answer}"
        );
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_request_to_bedrock_is_passed_to_the_byte() {
    let gateway = gateway().await;
    let body = r#"{ "messages" :[{"role":"user","content":[{"text":"hello there"}]}], "requestMetadata":{"a":"b"} }"#;
    let guarded = r#"{"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1"},"messages":[{"role":"user","content":[{"text":"x"}]}]}"#;
    for (verb, body) in [("converse", body), ("converse-stream", body), ("converse", guarded)] {
        let path = format!("/model/{}/{verb}", BEDROCK.replace(':', "%3A"));
        let json = [("content-type", "application/json")];
        let answer = gateway.client().call(Method::POST, &path, &json, body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(last(&gateway, NODE).body, body);
        assert_eq!(answer.header("agent-dropped-params"), None);
    }
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
async fn a_bearer_is_let_in_and_its_stream_is_of_frames() {
    let gateway = gateway().await;
    let body = json!({"messages": [user(json!([{"text": "hello there"}]))]});
    for (model, _) in MODELS {
        for name in [model.replace('/', "%2F").replace(':', "%3A"), model.to_owned()] {
            let answer =
                gateway.client().post(&format!("/model/{name}/converse-stream"), &body).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/vnd.amazon.eventstream"));
            assert_eq!(answer.header("x-amzn-requestid"), answer.header("agent-trace-id"));
            let decoded = frames(&answer.body);
            let names: Vec<&str> = decoded.iter().map(|(_, name, _)| &**name).collect();
            assert_eq!((names[0], names[names.len() - 1]), ("messageStart", "metadata"), "{names:?}");
        }
    }
    // An invoked model streams chunks.
    let invoked: Value = serde_json::from_str(invocation("", json!({}))["body"].as_str().unwrap()).unwrap();
    let path = format!("/model/{OPENAI}/invoke-with-response-stream");
    let answer = gateway.client().post(&path, &invoked).await.unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.amazon.eventstream"),
        "{}",
        answer.text()
    );
    assert!(frames(&answer.body).iter().all(|(kind, name, _)| (&**kind, &**name) == ("event", "chunk")));
    // A replay under an idempotency key is identical to the byte.
    let path = format!("/model/{OPENAI}/converse-stream");
    let keyed = || gateway.client().header("idempotency-key", "order 1");
    let first = keyed().post(&path, &body).await.unwrap();
    let again = keyed().post(&path, &body).await.unwrap();
    assert_eq!(again.header("agent-idempotent-replay"), Some("true"), "{}", again.text());
    assert_eq!((&again.body, again.header("content-type")), (&first.body, first.header("content-type")));
}

#[tokio::test]
async fn tokens_are_counted() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let input = json!({"converse": {"messages": [user(json!([{"text": "hello there"}]))]}});
    for (model, _) in MODELS {
        let result = boto.ask("count_tokens", json!({"modelId": model, "input": input})).await;
        assert!(
            result["answer"]["inputTokens"].as_u64().is_some_and(|tokens| tokens > 0),
            "{model}: {result}"
        );
    }
}

#[tokio::test]
async fn who_does_not_sign_well_is_not_let_in() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let calls = || MODELS.iter().map(|(_, key)| gateway.calls(key).len()).sum::<usize>();
    let id = boto.keys["access_key_id"].as_str().unwrap().to_owned();
    let other = format!("{}0000", &id[..id.len() - 4]);
    for (more, code, words) in [
        (json!({"secret_access_key": "tide"}), "InvalidSignatureException", "secret access key"),
        (json!({"ahead_s": -600}), "InvalidSignatureException", "Signature expired"),
        (json!({"ahead_s": 600}), "InvalidSignatureException", "not yet current"),
        (json!({"access_key_id": other}), "UnrecognizedClientException", "unknown here"),
        (
            json!({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}),
            "UnrecognizedClientException",
            "tidegate key create --aws",
        ),
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
    assert_eq!(error["code"], "InvalidSignatureException", "{error}");
    assert!(error["message"].as_str().unwrap().contains("revoked"), "{error}");
    // A key without access keys can't sign, and neither can one that expires.
    let (_, plain) = gateway.key(json!({"name": "plain"})).await;
    let name = plain.trim_start_matches("key_").to_uppercase();
    let error =
        boto.failed("converse", question(OPENAI), json!({"access_key_id": format!("TGAK{name}")})).await;
    assert_eq!(error["code"], "UnrecognizedClientException", "{error}");
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
    let renamed = gateway.patch(&path, json!({"name": "other"})).await;
    assert_eq!(renamed["aws"], view["aws"]);
    let refused = gateway.patched(&path, json!({"aws": false})).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let listed = gateway.get("/v2/api-keys").await.to_string();
    assert!(!listed.contains(&secret), "{listed}");
    boto.answered(false, &question(OPENAI)).await;
    let before = gateway.get(WORKSPACE_KEY).await["id"].clone();
    let started = gateway.admin().post(&format!("{WORKSPACE_KEY}/rotate"), &json!({})).await.unwrap();
    assert!(started.status < 300, "{} {}", started.status, started.text());
    let deadline = Instant::now() + WITHIN * 3;
    while gateway.get(WORKSPACE_KEY).await["status"] != "steady" {
        assert!(Instant::now() < deadline, "{}", gateway.get(WORKSPACE_KEY).await);
        a_moment().await;
    }
    // The older key is gone, and everything that it sealed is sealed again.
    assert_ne!(gateway.get(WORKSPACE_KEY).await["id"], before);
    boto.answered(false, &question(OPENAI)).await;
}

#[tokio::test]
async fn what_is_refused_is_told_in_the_vendors_words() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    let guarded = json!({"guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}});
    for (args, code, status, words) in [
        (question("openai/gpt-nope"), "ResourceNotFoundException", 404, "gpt-nope"),
        (with(question(OPENAI), guarded), "ValidationException", 400, "guardrailConfig"),
        (
            with(question(OPENAI), json!({"additionalModelRequestFields": {"tide": true}})),
            "ValidationException",
            400,
            "additionalModelRequestFields.tide",
        ),
    ] {
        for call in ["converse", "converse_stream"] {
            let error = boto.failed(call, args.clone(), json!({})).await;
            assert_eq!((&error["code"], &error["status"]), (&json!(code), &json!(status)), "{error}");
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
            assert_eq!(
                error["class"],
                if code == "ValidationException" || code == "ResourceNotFoundException" {
                    code
                } else {
                    "ClientError"
                }
            );
        }
    }
    let titan = json!({"modelId": OPENAI, "body": json!({"inputText": "x"}).to_string()});
    for (args, code, words) in [
        (invocation("openai/gpt-nope", json!({})), "ResourceNotFoundException", "gpt-nope"),
        (titan, "ValidationException", "anthropic_version"),
        (invocation(OPENAI, json!({"tide": true})), "ValidationException", "tide"),
    ] {
        for call in ["invoke_model", "invoke_model_with_response_stream"] {
            let error = boto.failed(call, args.clone(), json!({})).await;
            assert_eq!((&error["code"], &error["class"]), (&json!(code), &json!(code)), "{error}");
            assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        }
    }
    let unknown = json!({"messages": [user(json!([{"text": "x"}]))], "tide": true});
    let answer = gateway.client().post(&format!("/model/{OPENAI}/converse"), &unknown).await.unwrap();
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")));
    assert!(answer.text().contains("\\\"tide\\\""), "{}", answer.text());
    for (path, status, kind) in [
        ("/model/x/invoke", 400, "ValidationException"),
        ("/model/x/apply", 404, "ResourceNotFoundException"),
        ("/model/..%2Fx/converse", 400, "ValidationException"),
        ("/model/../v1/models", 404, "ResourceNotFoundException"),
    ] {
        let answer = gateway.client().post(path, &unknown).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("x-amzn-errortype")),
            (status, Some(kind)),
            "{path}: {}",
            answer.text()
        );
    }
    let nobody = harness::client::Client::new(&gateway.origin).within(WITHIN);
    let answer = nobody.post("/model/x/converse", &unknown).await.unwrap();
    let kind = answer.header("x-amzn-errortype");
    assert_eq!((answer.status, kind), (403, Some("MissingAuthenticationTokenException")));
}

#[tokio::test]
async fn a_stream_that_is_cut_is_an_error_and_never_an_end() {
    let gateway = gateway().await;
    let mut boto = Boto::start(&gateway).await;
    for (model, key) in MODELS {
        gateway.emulator.script(key, [Behaviour::ok().chunks(20).cut(At::Middle).always()]);
        let result = boto.ask("converse_stream", question(model)).await;
        let names: Vec<&String> = result["events"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|event| event.as_object()?.keys().next())
            .collect();
        assert!(names.contains(&&"contentBlockDelta".to_owned()), "{model}: {result}");
        assert!(names.iter().all(|name| *name != "messageStop" && *name != "metadata"), "{model}: {result}");
        assert_eq!(result["error"]["class"], "EventStreamError", "{model}: {result}");
        assert_eq!(result["error"]["code"], "modelStreamErrorException", "{model}: {result}");
        let trace = result["answer"]["ResponseMetadata"]["RequestId"].as_str().unwrap();
        let message = result["error"]["message"].as_str().unwrap();
        assert!(message.contains(trace), "{model}: {result}");
        let record = gateway.settled(trace).await;
        assert!(record["output_tokens"].as_u64().unwrap() > 0, "{model}: {record}");
        let result = boto.ask("invoke_model_with_response_stream", invocation(model, json!({}))).await;
        let is_of =
            |name: &str| result["events"].as_array().unwrap().iter().any(|event| event["type"] == name);
        assert!(is_of("content_block_delta") && !is_of("message_stop"), "{model}: {result}");
        assert_eq!(result["error"]["code"], "modelStreamErrorException", "{model}: {result}");
    }
}
