//! Bedrock: models of many vendors behind one signature, with access keys, an assumed role, the machine's
//! identity, or a Bedrock API key.

use futures_util::future::join_all;
use harness::bedrock::{EXTERNAL_ID, REGION, ROLE, STS, access_keys};
use harness::{At, Behaviour, KeyState};
use serde_json::{Value, json};

use crate::ask::{
    CHAT, events_of, has, in_each_grammar, problem, question, refused, refused_with, said, streaming,
    trace_of, trace_of_stream, with,
};
use crate::gateway::{CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, config, id_of};

const HAIKU: &str = "anthropic/claude-haiku-4-5";
const PROFILE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6";
const TOOL: &str = "get_weather";
const PICTURES: &str = "/v1/images/generations";

fn body(gateway: &Gateway, auth: &str, secret: Value, config: Value) -> Value {
    json!({
        "provider": "bedrock", "auth": auth, "secret": secret, "region": REGION, "config": config,
        "base_url": gateway.emulator.bedrock_url(),
    })
}

fn keys(gateway: &Gateway, key: &str) -> Value {
    body(gateway, "iam_static", access_keys(key), Value::Null)
}

fn role(gateway: &Gateway, more: Value) -> Value {
    let config =
        json!({"role_arn": ROLE, "external_id": EXTERNAL_ID, "token_url": gateway.emulator.sts_url()});
    body(gateway, "iam_role", access_keys(OWN), with(config, more))
}

/// A gateway on which the workspace signs with its own access keys.
async fn signing() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, keys(&gateway, OWN)).await;
    gateway
}

fn role_requests(gateway: &Gateway) -> usize {
    gateway.emulator.journal().iter().filter(|entry| entry.path.starts_with(STS)).count()
}

#[tokio::test]
async fn access_keys_sign_what_is_sent() {
    let gateway = Gateway::start().await;
    let made = gateway.make(CREDENTIALS, keys(&gateway, OWN)).await;
    let path = format!("{CREDENTIALS}/{}", id_of(&made));
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    assert_eq!(gateway.emulator.journal().pop().unwrap().path, "/bedrock/foundation-models");
    for (request, verb) in [(question(HAIKU), "converse"), (streaming(HAIKU), "converse-stream")] {
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
        assert_eq!(answer.header("agent-resolved-provider"), Some("aws_bedrock"));
        assert_eq!(answer.header("agent-byok-credential-id"), made["id"].as_str());
        let sent = gateway.last(OWN);
        assert_eq!(sent.path, format!("/bedrock/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/{verb}"));
        let signed = sent.header("authorization").unwrap();
        let names = "SignedHeaders=content-type;host;x-amz-date,";
        assert!(signed.contains(&format!("/us-east-1/bedrock/aws4_request, {names}")), "{signed}");
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": sent.prompt_tokens, "estimated": false, "unpriced": true}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_provider_that_cant_be_asked_says_nothing_of_one_that_is_limited() {
    let gateway = Gateway::start().await;
    let own =
        json!({"provider": "anthropic", "secret": OWN_SECOND, "base_url": gateway.emulator.anthropic_url()});
    gateway.make(CREDENTIALS, own).await;
    gateway.make(CREDENTIALS, keys(&gateway, OWN)).await;
    gateway.emulator.script(OWN_SECOND, [Behaviour::rate_limited(40)]);
    // Bedrock takes no picture by its address.
    let picture = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    let request = |content: Value| json!({"model": HAIKU, "max_tokens": 50, "messages": [{"role": "user", "content": content}]});
    let question = json!({"type": "text", "text": "hello there"});
    for attempts in ["1", "0"] {
        let answer = gateway.post("/v1/messages", &request(json!([question, picture]))).await.must_be(429);
        assert_eq!(answer.header("agent-attempts"), Some(attempts), "{}", answer.text());
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=40).contains(&wait), "{wait}");
    }
    let plain = gateway.post("/v1/messages", &request(json!([question]))).await;
    assert_eq!((plain.status, plain.header("agent-resolved-provider")), (200, Some("aws_bedrock")));
}

#[tokio::test]
async fn every_client_reaches_a_model_and_a_tool_is_called_and_answered() {
    let gateway = signing().await;
    for (path, body, text) in in_each_grammar(HAIKU) {
        let answer = gateway.post(&path, &body).await.json();
        assert_eq!(answer.pointer(text), Some(&json!("You said: hello there")), "{path}: {answer}");
    }
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": TOOL, "parameters": city}}]);
    for model in [HAIKU, "amazon/nova-micro"] {
        let mut turns = vec![json!({"role": "user", "content": format!("Use {TOOL}")})];
        let request_with = |turns: &[Value]| json!({"model": model, "messages": turns, "tools": tools});
        let answer = gateway.chat_ok(&request_with(&turns)).await.json();
        let message = answer["choices"][0]["message"].clone();
        let call = &message["tool_calls"][0];
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
        has(&call["function"], json!({"name": TOOL, "arguments": r#"{"city":"value"}"#}));
        let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny"});
        turns.extend([message.clone(), result]);
        for request in [request_with(&turns), with(request_with(&turns), json!({"stream": true}))] {
            assert_eq!(said(&gateway.chat_ok(&request).await), format!("You said: Use {TOOL}"));
        }
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_key_of_bedrocks_own_is_a_bearer() {
    let gateway = Gateway::start().await;
    let path = gateway.own(body(&gateway, "api_key", json!(OWN), Value::Null)).await;
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    assert_eq!(said(&gateway.chat_ok(&streaming(HAIKU)).await), "You said: hello there");
    assert_eq!(gateway.last(OWN).header("authorization"), Some(&*format!("Bearer {OWN}")));
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    refused(&gateway.chat(&question(HAIKU)).await, 502, "upstream_auth_failed");
}

#[tokio::test]
async fn a_model_is_named_by_its_id_its_profile_or_its_arn() {
    let gateway = signing().await;
    for (named, path) in [
        (PROFILE, "us.anthropic.claude-haiku-4-5-20251001-v1%3A0"),
        ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1%3A0"),
        (ARN, &*ARN.replace(':', "%3A").replace('/', "%2F")),
    ] {
        gateway.chat_ok(&question(&format!("bedrock:{named}"))).await;
        assert_eq!(gateway.last(OWN).path, format!("/bedrock/model/{path}/converse"));
    }
    let alone = question("bedrock:anthropic.claude-haiku-4-5-20251001-v1:0");
    refused_with(&gateway.chat(&alone).await, 404, "model_not_found", "inference profile");
    gateway.chat_ok(&question("bedrock:global.anthropic.claude-haiku-4-5-20251001-v1:0")).await;
    let own = "/bedrock/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
    assert_eq!(gateway.last(OWN).path, own, "the account's part of the world is not left");
    // No model name can escape from the model's path.
    let before = gateway.emulator.journal().len();
    assert_eq!(gateway.chat(&question("bedrock:..")).await.status, 404);
    assert_eq!(gateway.emulator.journal().len(), before, "it was not sent");
    assert_eq!(gateway.chat(&question("bedrock:x/../../foundation-models")).await.status, 404);
    assert_eq!(gateway.last(OWN).path, "/bedrock/model/x%2F..%2F..%2Ffoundation-models/converse");
}

#[tokio::test]
async fn a_profile_is_of_the_part_of_the_world_that_is_said() {
    let gateway = Gateway::start().await;
    let wide = body(&gateway, "iam_static", access_keys(OWN), json!({"location": "global"}));
    gateway.make(CREDENTIALS, wide).await;
    gateway.chat_ok(&question(HAIKU)).await;
    let path = "/bedrock/model/global.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
    assert_eq!(gateway.last(OWN).path, path);
}

async fn is_invalid(gateway: &Gateway, credential: Value) {
    let path = gateway.own(credential).await;
    refused(&gateway.chat(&question(HAIKU)).await, 502, "upstream_auth_failed");
    has(&gateway.verified(&path).await, json!({"status": "invalid"}));
    gateway.remove(&path).await;
}

#[tokio::test]
async fn keys_that_are_not_good_are_told_as_such() {
    let gateway = Gateway::start().await;
    let secret = with(access_keys(OWN), json!({"secret_access_key": "nobody"}));
    is_invalid(&gateway, with(keys(&gateway, OWN), json!({"secret": secret}))).await;
    is_invalid(&gateway, keys(&gateway, "sk-nobody")).await;
    is_invalid(&gateway, with(keys(&gateway, OWN), json!({"region": "eu-west-1"}))).await;
    // Temporary keys, until they expire.
    let lent = body(&gateway, "iam_static", gateway.emulator.session_keys(OWN), Value::Null);
    let path = gateway.own(lent.clone()).await;
    gateway.chat_ok(&question(HAIKU)).await;
    assert!(gateway.last(OWN).header("x-amz-security-token").is_some());
    gateway.remove(&path).await;
    gateway.emulator.revoke_tokens();
    is_invalid(&gateway, lent).await;
    // A secret that is not a key pair is refused before anything is sent.
    let path = gateway.own(body(&gateway, "iam_static", json!({"key": OWN}), Value::Null)).await;
    refused(&gateway.chat(&question(HAIKU)).await, 502, "credential_unusable");
    has(&gateway.verified(&path).await, json!({"status": "invalid"}));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_no_fault_of_the_keys() {
    let gateway = Gateway::start().await;
    let path = gateway.own(keys(&gateway, OWN)).await;
    gateway.emulator.clock_ahead(6 * 60);
    let answer = gateway.chat(&question(HAIKU)).await.must_be(502);
    assert!(answer.text().contains("Correct the clock"), "{}", answer.text());
    let view = gateway.get(&path).await;
    assert_ne!(view["status"], "invalid", "{view}");
    gateway.emulator.clock_ahead(4 * 60);
    gateway.chat_ok(&question(HAIKU)).await;
}

#[tokio::test]
async fn what_bedrock_refuses_is_told_in_the_clients_words() {
    let (invalid, long) = ("ValidationException", "Input is too long for requested model.");
    let denied = "upstream_permission_denied";
    for (status, kind, message, expected, code) in [
        (400, invalid, long, 400, "context_length_exceeded"),
        (400, invalid, "The provided model identifier is invalid.", 404, "model_not_found"),
        (403, "AccessDeniedException", "You don't have access to the model.", 403, denied),
        (404, "ResourceNotFoundException", "No such model.", 404, "model_not_found"),
        (429, "ThrottlingException", "Too many requests.", 429, "rate_limit_exceeded"),
        (429, "ModelNotReadyException", "The model is not ready.", 429, "rate_limit_exceeded"),
        (503, "ServiceUnavailableException", "Try again.", 503, "server_is_overloaded"),
    ] {
        let gateway = Gateway::start().await;
        gateway.make(CREDENTIALS, keys(&gateway, OWN)).await;
        gateway.emulator.script(OWN, [Behaviour::status(status).code(kind).message(message).always()]);
        let answer = gateway.chat(&question(HAIKU)).await;
        assert_eq!(answer.status, expected, "{kind} {message}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code, "{kind} {message}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_in_band_and_never_as_its_end() {
    let gateway = signing().await;
    let broken = "upstream_answer_broken";
    for (behaviour, code) in [
        (Behaviour::ok().error_event(At::Finish).code("throttlingException"), "rate_limit_exceeded"),
        (Behaviour::ok().bad_sum(At::Finish), broken),
        (Behaviour::ok().cut_inside(At::Finish), broken),
        (Behaviour::ok().eof(At::Finish), broken),
    ] {
        gateway.emulator.script(OWN, [behaviour.clone()]);
        let mut stream = gateway.client().stream(CHAT, &streaming(HAIKU)).await.unwrap();
        let trace = trace_of_stream(&stream);
        let (events, end) = stream.events().await;
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], code, "{behaviour:?}: {events:?}");
        assert!(end.is_err(), "{behaviour:?}: it looks complete");
        let record = gateway.settled(&trace).await;
        assert!(record["output_tokens"].as_u64().unwrap() > 0, "{behaviour:?}: {record}");
    }
    // Frames may arrive in pieces of any size.
    gateway.emulator.script(OWN, [Behaviour::ok().split(7)]);
    assert_eq!(said(&gateway.chat_ok(&streaming(HAIKU)).await), "You said: hello there");
}

#[tokio::test]
async fn a_role_is_taken_on_once_for_all() {
    let gateway = Gateway::start().await;
    let path = gateway.own(role(&gateway, json!({}))).await;
    assert_eq!(gateway.emulator.tokens_issued(), 0);
    let (client, request) = (gateway.client(), question(HAIKU));
    let answers = join_all((0..200).map(|_| client.post(CHAT, &request))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert_eq!((gateway.emulator.tokens_issued(), role_requests(&gateway)), (1, 1));
    assert!(gateway.last(OWN).header("x-amz-security-token").is_some());
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    // Keys that are revoked early are replaced within the request.
    gateway.emulator.revoke_tokens();
    assert_eq!(said(&gateway.chat_ok(&streaming(HAIKU)).await), "You said: hello there");
    assert_eq!(gateway.emulator.tokens_issued(), 2);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_role_that_is_not_lent_is_told_in_the_clouds_words() {
    let gateway = Gateway::start().await;
    let unlent = role(&gateway, json!({"external_id": "another"}));
    let nobody = with(role(&gateway, json!({})), json!({"secret": access_keys("sk-nobody")}));
    for (credential, words) in [(unlent, "sts:AssumeRole"), (nobody, "security token")] {
        let path = gateway.own(credential).await;
        let view = gateway.verified(&path).await;
        assert_eq!(view["status"], "invalid", "{view}");
        assert!(view["last_error"].as_str().unwrap().contains(words), "{view}");
    }
    let none = role(&gateway, json!({"role_arn": null}));
    let answer = gateway.admin().post(CREDENTIALS, &none).await.unwrap();
    assert!(problem(&answer, 400, "missing_field").to_string().contains("config.role_arn"));
}

#[tokio::test]
async fn each_makers_models_are_asked_in_its_words() {
    let gateway = signing().await;
    pictures_are_asked_for_in_each_makers_words(&gateway).await;
    texts_are_put_in_order_in_each_makers_words(&gateway).await;
    texts_become_vectors_in_each_makers_form(&gateway).await;
    tokens_are_counted_where_bedrock_counts_them(&gateway).await;
    assert_eq!(gateway.emulator.violations(), []);
}

async fn pictures_are_asked_for_in_each_makers_words(gateway: &Gateway) {
    let (canvas, core) = ("amazon.nova-canvas-v1:0", "us.stability.stable-image-core-v1:1");
    let task = json!({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a tide"}});
    let canvas_of_two = json!({"n": 2, "size": "1280x720", "response_format": "b64_json"});
    let generation = json!({"numberOfImages": 2, "width": 1280, "height": 720});
    let core_of_one = json!({"size": "16:9", "seed": 7, "user": "u"});
    let to_core = json!({"prompt": "a tide", "aspect_ratio": "16:9", "seed": 7});
    for (model, more, sent, made) in [
        (canvas, canvas_of_two, with(task, json!({"imageGenerationConfig": generation})), 2),
        (core, core_of_one, to_core, 1),
    ] {
        for stream in [false, true] {
            let request = json!({"model": format!("bedrock:{model}"), "prompt": "a tide"});
            let more = with(more.clone(), json!({"stream": stream.then_some(true)}));
            let answer = gateway.post(PICTURES, &with(request, more)).await.must_be(200);
            if stream {
                let events = events_of(&answer);
                assert_eq!(events.len(), made, "{events:?}");
                has(&events[0], json!({"type": "image_generation.completed"}));
            } else {
                let response = answer.json();
                assert_eq!(response["data"].as_array().unwrap().len(), made, "{response}");
                assert!(response["data"][0]["b64_json"].as_str().unwrap().starts_with("iVBOR"), "{response}");
                assert_eq!(response["output_format"], "png", "{response}");
            }
            let call = gateway.last(OWN);
            assert_eq!(call.path, format!("/bedrock/model/{}/invoke", model.replace(':', "%3A")));
            assert_eq!(call.json(), sent, "{model}");
            let record = gateway.settled(&trace_of(&answer)).await;
            has(&record, json!({"/units/images": made, "estimated": false}));
        }
    }
    let before = gateway.calls(OWN).len();
    let request = json!({"model": format!("bedrock:{core}"), "prompt": "a tide", "n": 2});
    assert_eq!(refused(&gateway.post(PICTURES, &request).await, 400, "unsupported_value")["param"], "n");
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
    for (model, prompt) in [(canvas, "forbidden"), (canvas, "all filtered"), (core, "all filtered")] {
        let request = json!({"model": format!("bedrock:{model}"), "prompt": prompt});
        let answer = gateway.post(PICTURES, &request).await;
        refused(&answer, 400, "content_filter");
        let record = gateway.settled(&trace_of(&answer)).await;
        assert!(!gateway.last(OWN).billable && record["units"]["images"].is_null(), "{record}");
    }
    gateway.post(CHAT, &question(&format!("bedrock:{canvas}"))).await.must_be(400);
}

async fn texts_are_put_in_order_in_each_makers_words(gateway: &Gateway) {
    let texts = json!(["Boats are blue.", {"text": "The tide turns at six."}, "Never."]);
    let plain = json!(["Boats are blue.", "The tide turns at six.", "Never."]);
    let query = "When turns the tide?";
    for (model, version) in
        [("cohere.rerank-v3-5:0", json!({"api_version": 2})), ("amazon.rerank-v1:0", json!({}))]
    {
        let request =
            json!({"model": format!("bedrock:{model}"), "query": query, "documents": texts, "top_n": 2});
        let answer = gateway.post("/v1/rerank", &request).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let response = answer.json();
        let rows = response["results"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["index"]), (2, &json!(1)), "{response}");
        let call = gateway.last(OWN);
        assert_eq!(call.path, format!("/bedrock/model/{}/invoke", model.replace(':', "%3A")));
        let sent = json!({"query": query, "documents": plain, "top_n": 2});
        assert_eq!(call.json(), with(sent, version), "{model}");
        let record = gateway.settled(&trace_of(&answer)).await;
        // The service reports the tokens it read nowhere that clients can see.
        assert_eq!((&record["estimated"], &record["unpriced"]), (&json!(true), &json!(true)), "{record}");
        let answer = gateway.post("/v1/rerank", &with(request, json!({"return_documents": true}))).await;
        assert_eq!(refused(&answer, 400, "unsupported_parameter")["param"], "return_documents");
    }
}

async fn texts_become_vectors_in_each_makers_form(gateway: &Gateway) {
    let (titan, cohere) = ("amazon.titan-embed-text-v2:0", "cohere.embed-english-v3");
    let to_cohere = |more| with(json!({"input_type": "search_document", "embedding_types": ["float"]}), more);
    let small = json!({"dimensions": 512, "encoding_format": "base64"});
    let to_small = to_cohere(json!({"texts": ["tide"], "output_dimension": 512}));
    for (model, input, more, sent) in [
        (titan, json!("tide"), json!({"dimensions": 256}), json!({"inputText": "tide", "dimensions": 256})),
        (cohere, json!(["tide", "moon"]), json!({}), to_cohere(json!({"texts": ["tide", "moon"]}))),
        ("us.cohere.embed-v4:0", json!(["tide"]), small, to_small),
    ] {
        let request = with(json!({"model": format!("bedrock:{model}"), "input": input}), more);
        let answer = gateway.post("/v1/embeddings", &request).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let response = answer.json();
        let count = response["data"].as_array().unwrap().len();
        assert_eq!(count, input.as_array().map_or(1, Vec::len), "{response}");
        let call = gateway.last(OWN);
        assert_eq!(call.path, format!("/bedrock/model/{}/invoke", model.replace(':', "%3A")));
        assert_eq!(call.json(), sent, "{model}");
        let record = gateway.settled(&trace_of(&answer)).await;
        // Of these, only one vendor's models report their input tokens in the body.
        assert_eq!(record["estimated"], model != titan, "{model}: {record}");
        assert!(record["input_tokens"].as_u64().unwrap() > 0, "{record}");
    }
    let before = gateway.calls(OWN).len();
    for (request, param) in [
        (json!({"model": format!("bedrock:{titan}"), "input": ["tide", "moon"]}), "input"),
        (json!({"model": format!("bedrock:{cohere}"), "input": "tide", "dimensions": 8}), "dimensions"),
    ] {
        let answer = gateway.post("/v1/embeddings", &request).await;
        assert_eq!(refused(&answer, 400, "unsupported_value")["param"], param);
    }
    assert_eq!(gateway.calls(OWN).len(), before, "nothing was sent");
}

async fn tokens_are_counted_where_bedrock_counts_them(gateway: &Gateway) {
    let turns = json!([{"role": "user", "content": "How high is the tide?"}]);
    let messages = json!({"model": HAIKU, "system": "Be brief.", "messages": turns});
    let responses = json!({"model": HAIKU, "instructions": "Be brief.", "input": "How high is the tide?"});
    for (path, body) in [("/v1/messages/count_tokens", messages), ("/v1/responses/input_tokens", responses)] {
        let answer = gateway.post(path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-tidegate-estimate"), None, "{path}");
        let call = gateway.last(OWN);
        // Token counting does not accept inference profiles.
        assert_eq!(call.path, "/bedrock/model/anthropic.claude-haiku-4-5-20251001-v1%3A0/count-tokens");
        assert_eq!(call.json()["input"]["converse"]["system"], json!([{"text": "Be brief."}]));
    }
    let before = gateway.calls(OWN).len();
    let other = json!({"model": "bedrock:amazon.nova-lite-v1:0", "messages": turns});
    let answer = gateway.post("/v1/messages/count_tokens", &other).await;
    assert_eq!(answer.header("x-tidegate-estimate"), Some("1"), "{}", answer.text());
    assert_eq!(gateway.calls(OWN).len(), before, "other makers' models are not counted there");
}

/// A role that is assumed with a workload's token.
fn web(gateway: &Gateway, token: &str, more: Value) -> Value {
    let config = json!({"role_arn": ROLE, "token_url": gateway.emulator.sts_url()});
    body(gateway, "workload_identity", json!(token), with(config, more))
}

#[tokio::test]
async fn a_token_of_another_issuer_takes_on_a_role_once_for_all() {
    let gateway = Gateway::start().await;
    let token = gateway.emulator.token_for_amazon(OWN);
    let path = gateway.own(web(&gateway, &token, json!({"session_name": "tides"}))).await;
    let (client, request) = (gateway.client(), question(HAIKU));
    let answers = join_all((0..100).map(|_| client.post(CHAT, &request))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert_eq!((gateway.emulator.tokens_issued(), role_requests(&gateway)), (1, 1));
    let sts_call = gateway.emulator.journal().into_iter().find(|entry| entry.path.starts_with(STS)).unwrap();
    let form = String::from_utf8(sts_call.body.to_vec()).unwrap();
    assert!(form.starts_with("Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn="), "{form}");
    assert!(form.contains("&RoleSessionName=tides&WebIdentityToken="), "{form}");
    assert_eq!(sts_call.header("authorization"), None);
    assert!(gateway.last(OWN).header("x-amz-security-token").is_some());
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_token_that_takes_on_nothing_is_told_in_the_clouds_words() {
    let gateway = Gateway::start().await;
    let token = gateway.emulator.token_for_amazon(OWN);
    let elsewhere = gateway.emulator.token_for_google(OWN);
    let forged = format!("{}x", &token[..token.len() - 1]);
    let other = json!({"role_arn": "arn:aws:iam::123456789012:role/another"});
    for (token, more, words) in [
        (&*elsewhere, json!({}), "Incorrect token audience"),
        (&*forged, json!({}), "signature does not verify"),
        ("no-token", json!({}), "No OpenIDConnect provider"),
        (&*token, other, "sts:AssumeRoleWithWebIdentity"),
    ] {
        let path = gateway.own(web(&gateway, token, more)).await;
        refused(&gateway.chat(&question(HAIKU)).await, 502, "upstream_auth_failed");
        let view = gateway.verified(&path).await;
        assert_eq!(view["status"], "invalid", "{view}");
        assert!(view["last_error"].as_str().unwrap().contains(words), "{words}: {view}");
        gateway.remove(&path).await;
    }
    gateway.emulator.clock_ahead(3_600);
    let view = gateway.verified(&gateway.own(web(&gateway, &token, json!({}))).await).await;
    assert!(view["last_error"].as_str().unwrap().contains("Token expired"), "{view}");
}

#[tokio::test]
async fn a_token_in_a_file_is_read_where_the_operator_lets_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let path = file.display().to_string();
    let mut gateway = Gateway::with(config(), &[("TIDEGATE_TOKEN_FILES", &path)]).await;
    let filed = |gateway: &Gateway, path: &str| {
        let filed = web(gateway, "", json!({"token_file": path}));
        with(filed, json!({"auth": "workload_identity_file", "secret": null}))
    };
    // The file is part of the machine's identity: the operator's alone, until it lists the workspace.
    let answer = gateway.admin().post(CREDENTIALS, &filed(&gateway, &path)).await.unwrap();
    problem(&answer, 403, "host_identity_not_allowed");
    let other = filed(&gateway, "/etc/passwd");
    let answer = gateway.admin().post("/v2/accounts", &other).await.unwrap();
    let error = problem(&answer, 403, "token_file_not_allowed").to_string();
    assert!(error.contains("TIDEGATE_TOKEN_FILES") && error.contains("config.token_file"), "{error}");
    let workspace = gateway.founded.workspace_id.clone();
    gateway.stop().await;
    gateway.set("TIDEGATE_HOST_IDENTITY", &workspace);
    gateway.start_again().await;
    let early = gateway.own(filed(&gateway, &path)).await;
    assert_eq!(gateway.verified(&early).await["status"], "invalid", "there is no such file yet");
    gateway.remove(&early).await;
    std::fs::write(&file, format!("{}\n", gateway.emulator.token_for_amazon(OWN))).unwrap();
    has(&gateway.verified(&gateway.own(filed(&gateway, &path)).await).await, json!({"status": "active"}));
    gateway.chat_ok(&question(HAIKU)).await;
    assert_eq!(gateway.emulator.tokens_issued(), 1);
    // The file is renewed periodically, and read again.
    std::fs::write(&file, gateway.emulator.token_for_amazon(OWN_SECOND)).unwrap();
    gateway.emulator.revoke_tokens();
    gateway.chat_ok(&question(HAIKU)).await;
    assert!(gateway.last(OWN_SECOND).header("x-amz-security-token").is_some());
    // A file that the operator removes from the list is no longer read.
    gateway.stop().await;
    gateway.set("TIDEGATE_TOKEN_FILES", "");
    gateway.start_again().await;
    let error = refused(&gateway.chat(&question(HAIKU)).await, 502, "token_file_not_allowed");
    assert!(error.to_string().contains("TIDEGATE_TOKEN_FILES"), "{error}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn the_machines_role_is_the_operators() {
    let gateway = Gateway::start().await;
    gateway.emulator.be_machine_of(POOL);
    let machine = body(&gateway, "managed_identity", Value::Null, Value::Null);
    let machine = with(machine, json!({"secret": null}));
    problem(&gateway.admin().post(CREDENTIALS, &machine).await.unwrap(), 403, "host_identity_not_allowed");
    gateway.make("/v2/accounts", with(machine, json!({"allow_unpriced": true}))).await;
    let answer = gateway.chat_ok(&question(HAIKU)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert!(gateway.last(POOL).header("x-amz-security-token").is_some());
}

#[tokio::test]
async fn what_the_pools_account_keeps_or_guards_is_not_named() {
    let gateway = Gateway::start().await;
    gateway.make("/v2/accounts", with(keys(&gateway, POOL), json!({"allow_unpriced": true}))).await;
    let path = format!("/model/{}/converse", HAIKU.replace('/', "%2F"));
    let kept = json!({"s3Location": {"uri": "s3://operator/a.pdf", "bucketOwner": "123456789012"}});
    let document = json!({"document": {"name": "a", "format": "pdf", "source": kept}});
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let plain = user(json!([{"text": "hello"}]));
    let guard = json!({"guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"}});
    for (body, field) in [
        (user(json!([{"text": "x"}, document])), "messages[0].content[1].document.source.s3Location"),
        (with(plain.clone(), guard), "guardrailConfig"),
    ] {
        let before = gateway.emulator.journal().len();
        let answer = gateway.post(&path, &body).await.must_be(400);
        assert!(answer.text().contains(&format!("{field} refers to")), "{}", answer.text());
        assert_eq!(gateway.emulator.journal().len(), before, "nothing was sent");
    }
    gateway.post(&path, &plain).await.must_be(200);
}

#[tokio::test]
async fn each_kind_says_what_it_needs_and_the_least_that_it_must_be_allowed() {
    let gateway = Gateway::start().await;
    let kinds = gateway.get("/v2/provider-credentials/kinds").await;
    let own = kinds["data"].as_array().unwrap().iter().filter(|kind| kind["provider"] == "aws_bedrock");
    let own: Vec<&Value> = own.collect();
    let auths: Vec<&str> = own.iter().map(|kind| kind["auth"].as_str().unwrap()).collect();
    let by_keys = ["api_key", "iam_static", "iam_role"];
    let by_others = ["workload_identity", "workload_identity_file", "managed_identity"];
    assert_eq!(auths, [by_keys, by_others].concat());
    for kind in own {
        let policy: Value = serde_json::from_str(kind["permission"].as_str().unwrap()).unwrap();
        let actions = policy["Statement"][0]["Action"].as_array().unwrap();
        for action in ["InvokeModel", "InvokeModelWithResponseStream", "ListFoundationModels"] {
            assert!(actions.contains(&json!(format!("bedrock:{action}"))), "{policy}");
        }
        // Kinds that can access a bucket state the permissions that batches need.
        let opens = ["iam_static", "iam_role", "workload_identity"].contains(&kind["auth"].as_str().unwrap());
        let has_storage = kind["schema"]["properties"]["batch_storage"].is_object();
        let least =
            kind["batch_permission"].as_str().map(|policy| serde_json::from_str::<Value>(policy).unwrap());
        assert_eq!((has_storage, least.is_some()), (opens, opens), "{kind}");
        let reads = least.is_none_or(|policy| policy.to_string().contains(r#""Action":"s3:GetObject""#));
        assert!(reads, "{kind}");
    }
    let nowhere = json!({"provider": "bedrock", "secret": OWN});
    let answer = gateway.admin().post(CREDENTIALS, &nowhere).await.unwrap();
    assert!(problem(&answer, 400, "missing_field").to_string().contains("region"));
}

/// What verification reports about a credential, which is removed afterwards.
async fn verification_error(gateway: &Gateway, credential: Value) -> String {
    let path = gateway.own(credential).await;
    let view = gateway.verified(&path).await;
    gateway.remove(&path).await;
    view["last_error"].as_str().unwrap_or_else(|| panic!("it is well: {view}")).to_owned()
}

#[tokio::test]
async fn a_verification_says_what_is_missing() {
    let gateway = Gateway::start().await;
    let assert_fix = async |credential: Value, fix: &str| {
        let error = verification_error(&gateway, credential).await;
        assert!(error.ends_with(fix), "{error}");
    };
    let elsewhere = with(keys(&gateway, OWN), json!({"region": "eu-west-1"}));
    assert_fix(elsewhere, "what was signed names another one.").await;
    let other = with(access_keys(OWN), json!({"secret_access_key": "nobody"}));
    let other = with(keys(&gateway, OWN), json!({"secret": other}));
    assert_fix(other, "the secret access key that belongs to its access key id.").await;
    let lent = body(&gateway, "iam_static", gateway.emulator.session_keys(OWN), Value::Null);
    gateway.emulator.expire_tokens();
    assert_fix(lent, "Keys of a role are renewed automatically.").await;
    gateway.emulator.clock_ahead(6 * 60);
    let late = "Correct the clock of the machine that Tidegate runs on.";
    assert!(verification_error(&gateway, keys(&gateway, OWN)).await.contains(late));
    gateway.emulator.clock_ahead(0);
    gateway.emulator.deny(OWN_SECOND);
    let allowed = "Allow bedrock:ListFoundationModels on * in a policy of the user or role, and in those that bound it.";
    assert_fix(keys(&gateway, OWN_SECOND), allowed).await;
    let key = body(&gateway, "api_key", json!("sk-nobody"), Value::Null);
    assert_fix(key, "an active Bedrock API key that was made in the credential's region.").await;
    let unlent = role(&gateway, json!({"external_id": "another"}));
    assert_fix(unlent, "in the role's trust policy.").await;
    // Which models an account may use is known only when one is requested.
    let path = gateway.own(keys(&gateway, OWN)).await;
    gateway.emulator.script(OWN, [Behaviour::status(403).code("AccessDeniedException").always()]);
    let access = "Ask for access to the model in the Bedrock console, under Model access, in the region that is asked.";
    refused_with(&gateway.chat(&question(HAIKU)).await, 403, "upstream_permission_denied", access);
    gateway.emulator.clear_scripts();
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let revoked = gateway.verified(&path).await;
    assert_eq!(revoked["status"], "invalid", "{revoked}");
    let error = revoked["last_error"].as_str().unwrap();
    assert!(error.contains("Rotate the credential with an active access key"), "{error}");
}

/// From the pool to the customer's own AWS account: one credential is added, and the application's requests
/// stay the same.
#[tokio::test]
async fn ones_own_account_takes_over_from_the_pool() {
    let gateway = Gateway::start().await;
    let url = gateway.emulator.anthropic_url();
    gateway.make("/v2/accounts", json!({"provider": "anthropic", "secret": POOL, "base_url": url})).await;
    let request = question(HAIKU);
    let before = gateway.chat_ok(&request).await;
    assert_eq!(before.header("agent-execution-profile"), Some("managed_provider"));
    let added = gateway.make(CREDENTIALS, keys(&gateway, OWN_SECOND)).await;
    let after = gateway.chat_ok(&request).await;
    assert_eq!(after.header("agent-execution-profile"), Some("byok"));
    assert_eq!(after.header("agent-byok-credential-id"), added["id"].as_str());
    assert_eq!(said(&before), said(&after));
}
