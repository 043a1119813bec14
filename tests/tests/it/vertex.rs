//! Vertex AI: models of several vendors in a customer's own project, authenticated by a service account's
//! signed assertion or by workload identity, and requested by clients of every wire format.

use futures_util::future::join_all;
use harness::directory::google::PROJECT;
use harness::{Config, KeyState, Model};
use serde_json::{Value, json};

use crate::ask::{
    CHAT, has, in_each_grammar, problem, question, refused, refused_with, said, shape, streaming, trace_of,
    with,
};
use crate::gateway::{self, CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, id_of};

const LOCATION: &str = "us-east5";
const GEMINI: &str = "google/gemini-2.5-pro";
const CLAUDE: &str = "anthropic/claude-haiku-4-5";
/// A partner model that the catalogue does not list.
const OPEN: &str = "openai/gpt-oss-120b-maas";
const SAID: &str = "You said: hello there";

fn config() -> Config {
    let models = ["gemini-2.5-pro", "gemini-2.5-flash-lite", OPEN];
    models.into_iter().fold(gateway::config(), |config, id| config.model(Model::chat(id)))
}

async fn start() -> Gateway {
    Gateway::with(config(), &[]).await
}

fn location_path() -> String {
    format!("projects/{PROJECT}/locations/{LOCATION}")
}

/// A credential with a service account file whose tokens represent this key.
pub fn service_account(gateway: &Gateway, key: &str, location: &str, more: Value) -> Value {
    let file = gateway.emulator.service_account(key);
    let config = with(json!({"location": location, "token_url": file["token_uri"]}), more);
    of_vertex(gateway, "service_account", file, config)
}

fn body(gateway: &Gateway, key: &str, more: Value) -> Value {
    service_account(gateway, key, LOCATION, more)
}

fn of_vertex(gateway: &Gateway, auth: &str, secret: Value, config: Value) -> Value {
    let body = json!({"provider": "vertex", "auth": auth, "secret": secret, "config": config});
    with(body, json!({"base_url": gateway.emulator.origin()}))
}

/// Adds the workspace's own; returns its path.
async fn credential(gateway: &Gateway, more: Value) -> String {
    gateway.own(body(gateway, OWN, more)).await
}

fn exchanges(gateway: &Gateway) -> usize {
    requests_below(gateway, "/google/token")
}

async fn post_ok(gateway: &Gateway, path: &str, body: &Value) -> Value {
    gateway.post(path, body).await.must_be(200).json()
}

#[tokio::test]
async fn a_service_account_serves_what_was_asked_for() {
    let gateway = start().await;
    let own = credential(&gateway, json!({"quota_project": "tides-quota"})).await;
    has(&gateway.verified(&own).await, json!({"status": "active"}));
    let location = location_path();
    let google = format!("/v1beta1/{location}/publishers/google/models/gemini-2.5");
    assert_eq!(gateway.last(OWN).path, format!("{google}-flash-lite:countTokens"));
    let anthropic = format!("/v1/{location}/publishers/anthropic/models/claude-haiku-4-5@20251001");
    let (open, at_open) =
        (format!("vertex:{OPEN}"), format!("/v1/{location}/endpoints/openapi/chat/completions"));
    for (request, path) in [
        (question(GEMINI), format!("{google}-pro:generateContent")),
        (streaming(GEMINI), format!("{google}-pro:streamGenerateContent?alt=sse")),
        (question(CLAUDE), format!("{anthropic}:rawPredict")),
        (streaming(CLAUDE), format!("{anthropic}:streamRawPredict")),
        (question(&open), at_open.clone()),
        (streaming(&open), at_open),
    ] {
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), SAID, "{request}");
        assert_eq!(answer.header("agent-resolved-provider"), Some("vertex_ai"));
        assert_eq!(answer.header("agent-byok-credential-id"), own.rsplit('/').next());
        let sent = gateway.last(OWN);
        assert_eq!(sent.path, path);
        assert!(sent.header("authorization").unwrap().starts_with("Bearer tok-"));
        assert_eq!(sent.header("x-goog-user-project"), Some("tides-quota"));
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": sent.prompt_tokens, "estimated": false}));
    }
    assert_eq!(gateway.emulator.tokens_issued(), 1, "one token serves them all");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn every_client_reaches_every_makers_models_and_their_tools() {
    let gateway = start().await;
    credential(&gateway, json!({})).await;
    for model in [GEMINI, CLAUDE, &format!("vertex:{OPEN}")] {
        for (path, body, text) in in_each_grammar(model) {
            let answer = post_ok(&gateway, &path, &body).await;
            assert_eq!(answer.pointer(text), Some(&json!(SAID)), "{model} {path}: {answer}");
        }
    }
    // An answer that should be stored is not, and the response reports the dropped parameter.
    let kept = with(question(GEMINI), json!({"store": true}));
    assert_eq!(gateway.chat_ok(&kept).await.header("agent-dropped-params"), Some("store"));
    // A request in the vendor's own wire format is passed on unchanged.
    let client = gateway.client().header("anthropic-version", "2026-10-21");
    let client = client.header("anthropic-beta", "effort-2025-11-24");
    let (path, body, _) = &in_each_grammar(CLAUDE)[2];
    assert_eq!(client.post(path, body).await.unwrap().status, 200);
    let sent = gateway.last(OWN);
    let expected = json!({"anthropic_version": "2026-10-21", "anthropic_beta": ["effort-2025-11-24"]});
    assert_eq!(sent.json(), with(with(body.clone(), json!({"model": null})), expected));
    assert!(sent.header("anthropic-version").is_none() && sent.header("anthropic-beta").is_none());
    tokens_are_counted_by_whoever_counts(&gateway).await;
    for model in [GEMINI, CLAUDE, &format!("vertex:{OPEN}")] {
        loops_in_chat(&gateway, model).await;
        loops_in_responses(&gateway, model).await;
        loops_in_messages(&gateway, model).await;
        loops_in_gemini(&gateway, model).await;
    }
    assert_eq!(gateway.emulator.violations(), []);
}

async fn tokens_are_counted_by_whoever_counts(gateway: &Gateway) {
    let location = location_path();
    for (model, path) in [
        (GEMINI, Some(format!("/v1beta1/{location}/publishers/google/models/gemini-2.5-pro:countTokens"))),
        (CLAUDE, Some(format!("/v1/{location}/publishers/anthropic/models/count-tokens:rawPredict"))),
        (&format!("vertex:{OPEN}"), None),
    ] {
        let before = gateway.calls(OWN).len();
        let [_, _, (_, messages, _), (generate, contents, _)] = in_each_grammar(model);
        let messages = with(messages, json!({"max_tokens": null}));
        let count = post_ok(gateway, "/v1/messages/count_tokens", &messages).await;
        assert!(count["input_tokens"].as_u64().unwrap() > 0, "{model}: {count}");
        let path_of_count = generate.replace(":generateContent", ":countTokens");
        let inside = json!({"generateContentRequest": with(contents.clone(), json!({"model": format!("models/{model}")}))});
        for body in [contents, inside] {
            let count = post_ok(gateway, &path_of_count, &body).await;
            assert!(count["totalTokens"].as_u64().unwrap() > 0, "{model}: {count}");
        }
        let paths: Vec<String> = gateway.calls(OWN).into_iter().skip(before).map(|call| call.path).collect();
        assert_eq!(paths, path.map_or(Vec::new(), |path| vec![path; 3]), "{model}");
    }
}

const ASK_FOR_WEATHER: &str = "Please call get_weather";

fn city() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
}

fn extended(list: &Value, more: impl IntoIterator<Item = Value>) -> Value {
    list.as_array().unwrap().iter().cloned().chain(more).collect()
}

async fn loops_in_chat(gateway: &Gateway, model: &str) {
    let tools = json!([{"type": "function", "function": {"name": "get_weather", "parameters": city()}}]);
    let turns = json!([{"role": "user", "content": ASK_FOR_WEATHER}]);
    let body = json!({"model": model, "tools": tools, "messages": turns});
    let answer = post_ok(gateway, CHAT, &body).await;
    let message = &answer["choices"][0]["message"];
    let call = &message["tool_calls"][0];
    assert_eq!(call["function"]["name"], "get_weather", "{model}: {answer}");
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "sunny"});
    let turns = extended(&turns, [message.clone(), result]);
    let answer = post_ok(gateway, CHAT, &with(body, json!({"messages": turns}))).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{model}: {answer}");
}

async fn loops_in_responses(gateway: &Gateway, model: &str) {
    let tools = json!([{"type": "function", "name": "get_weather", "parameters": city()}]);
    let input = json!([{"role": "user", "content": ASK_FOR_WEATHER}]);
    let body = json!({"model": model, "tools": tools, "input": input, "store": false});
    let answer = post_ok(gateway, "/v1/responses", &body).await;
    let output = answer["output"].as_array().unwrap();
    let call = output.iter().find(|item| item["type"] == "function_call");
    let call = call.unwrap_or_else(|| panic!("{model}: {answer}"));
    let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"});
    let input = extended(&input, output.iter().cloned().chain([result]));
    let answer = post_ok(gateway, "/v1/responses", &with(body, json!({"input": input}))).await;
    assert_eq!(answer["status"], "completed", "{model}: {answer}");
}

async fn loops_in_messages(gateway: &Gateway, model: &str) {
    let tools = json!([{"name": "get_weather", "input_schema": city()}]);
    let turns = json!([{"role": "user", "content": ASK_FOR_WEATHER}]);
    let body = json!({"model": model, "max_tokens": 400, "tools": tools, "messages": turns});
    let answer = post_ok(gateway, "/v1/messages", &body).await;
    let blocks = answer["content"].as_array().unwrap();
    let call = blocks.iter().find(|block| block["type"] == "tool_use");
    let call = call.unwrap_or_else(|| panic!("{model}: {answer}"));
    let result = json!([{"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}]);
    let message = json!({"role": "assistant", "content": answer["content"]});
    let turns = extended(&turns, [message, json!({"role": "user", "content": result})]);
    let answer = post_ok(gateway, "/v1/messages", &with(body, json!({"messages": turns}))).await;
    assert_eq!(answer["stop_reason"], "end_turn", "{model}: {answer}");
}

async fn loops_in_gemini(gateway: &Gateway, model: &str) {
    let tools = json!([{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": city()}]}]);
    let contents = json!([{"role": "user", "parts": [{"text": ASK_FOR_WEATHER}]}]);
    let path = format!("/v1beta/models/{model}:generateContent");
    let body = json!({"tools": tools, "contents": contents});
    let answer = post_ok(gateway, &path, &body).await;
    let content = &answer["candidates"][0]["content"];
    let parts = content["parts"].as_array().unwrap();
    let call = parts.iter().find_map(|part| part.get("functionCall"));
    let call = call.unwrap_or_else(|| panic!("{model}: {answer}"));
    let result = json!({"id": call["id"], "name": "get_weather", "response": {"output": "sunny"}});
    let turn = json!({"role": "user", "parts": [{"functionResponse": result}]});
    let contents = extended(&contents, [content.clone(), turn]);
    let answer = post_ok(gateway, &path, &with(body, json!({"contents": contents}))).await;
    assert_eq!(answer["candidates"][0]["finishReason"], "STOP", "{model}: {answer}");
}

/// What a client of each wire format receives, buffered and streamed, without ids, times and texts.
async fn seen(gateway: &Gateway, profile: &str, provider: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for (path, body, text) in in_each_grammar(GEMINI) {
        let answer = gateway.post(&path, &body).await;
        assert_eq!(answer.header("agent-execution-profile"), Some(profile), "{path}");
        assert_eq!(answer.header("agent-resolved-provider"), Some(provider), "{path}");
        assert_eq!(answer.json().pointer(text), Some(&json!(SAID)), "{}", answer.text());
        seen.push(shape(&answer.json()));
    }
    let answer = gateway.chat_ok(&streaming(GEMINI)).await;
    assert_eq!(said(&answer), SAID);
    let events = harness::sse::events(&answer.body);
    let chunks = events.iter().filter_map(|event| serde_json::from_str(event).ok());
    seen.extend(chunks.map(|chunk: Value| shape(&chunk)));
    seen
}

#[tokio::test]
async fn one_model_is_the_same_from_the_pool_a_service_account_and_a_key() {
    let gateway = start().await;
    let own = json!({"provider": "gemini", "base_url": gateway.emulator.origin()});
    gateway.make("/v2/accounts", with(own.clone(), json!({"secret": POOL}))).await;
    let pooled = seen(&gateway, "managed_provider", "gemini").await;
    let path = credential(&gateway, json!({})).await;
    let vertex = seen(&gateway, "byok", "vertex_ai").await;
    gateway.patch(&path, json!({"status": "disabled"})).await;
    gateway.make(CREDENTIALS, with(own, json!({"secret": OWN_SECOND}))).await;
    let key = seen(&gateway, "byok", "gemini").await;
    assert_eq!(pooled, vertex);
    assert_eq!(pooled, key);
    // An operator's pooled account can use a service account, too.
    let account = with(body(&gateway, POOL, json!({})), json!({"weight": 100, "allow_unpriced": true}));
    gateway.make("/v2/accounts", account).await;
    let answer = gateway.chat_ok(&question(&format!("vertex:{}", GEMINI.split_once('/').unwrap().1))).await;
    assert_eq!(answer.header("agent-resolved-provider"), Some("vertex_ai"));
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_thousand_requests_wait_for_one_token_which_is_replaced_within_a_request() {
    let gateway = start().await;
    credential(&gateway, json!({})).await;
    assert_eq!(gateway.emulator.tokens_issued(), 0);
    let (client, request) = (gateway.client(), question(GEMINI));
    let answers = join_all((0..1_000).map(|_| client.post(CHAT, &request))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert_eq!((gateway.emulator.tokens_issued(), exchanges(&gateway)), (1, 1));
    for (round, request) in [question(GEMINI), streaming(GEMINI), question(CLAUDE)].into_iter().enumerate() {
        assert_eq!(said(&gateway.chat_ok(&request).await), SAID);
        assert_eq!(gateway.emulator.tokens_issued(), round as u64 + 1);
        gateway.emulator.expire_tokens();
    }
    assert_eq!(gateway.emulator.violations(), []);
    gateway.emulator.revoke_tokens();
    assert_eq!(said(&gateway.chat_ok(&question(GEMINI)).await), SAID);
}

/// A refused token exchange: the request fails with this reason, many concurrent requests cause few
/// exchanges, and verification reports the same reason.
async fn not_exchanged(gateway: &Gateway, body: Value, words: &str) {
    let path = gateway.own(body).await;
    let before = exchanges(gateway);
    let (client, request) = (gateway.client(), question(GEMINI));
    refused_with(&client.post(CHAT, &request).await.unwrap(), 502, "upstream_auth_failed", words);
    for answer in join_all((0..50).map(|_| client.post(CHAT, &request))).await {
        refused(&answer.unwrap(), 502, "upstream_auth_failed");
    }
    assert!(exchanges(gateway) - before <= 2, "{}", exchanges(gateway) - before);
    let verified = gateway.verified(&path).await;
    assert_eq!(verified["status"], "invalid", "{verified}");
    assert!(verified["last_error"].as_str().unwrap().contains(words), "{words}: {verified}");
    gateway.remove(&path).await;
}

#[tokio::test]
async fn what_google_does_not_exchange_is_told_in_its_words() {
    let gateway = start().await;
    // A clock that is wrong by more than a few minutes, in either direction.
    for ahead in [3_700, -3_700] {
        gateway.emulator.clock_ahead(ahead);
        not_exchanged(&gateway, body(&gateway, OWN, json!({})), "Token must be a short-lived token").await;
    }
    gateway.emulator.clock_ahead(60);
    let path = credential(&gateway, json!({})).await;
    gateway.chat_ok(&question(GEMINI)).await;
    gateway.remove(&path).await;
    // An unknown service account, and a key that its owner deleted.
    let mut unknown = body(&gateway, OWN, json!({}));
    unknown["secret"]["client_email"] = json!("nobody@x.iam.gserviceaccount.com");
    not_exchanged(&gateway, unknown, "account not found").await;
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    not_exchanged(&gateway, body(&gateway, OWN, json!({})), "Invalid JWT Signature").await;
}

#[tokio::test]
async fn what_vertex_refuses_is_told_exactly() {
    let gateway = start().await;
    let denied = "Permission 'aiplatform.endpoints.predict' denied";
    for (more, words) in [
        (json!({"project": "another"}), "Permission denied on resource project another"),
        (json!({"location": "atlantis1"}), denied),
        (json!({"quota_project": "another"}), "to use project another"),
    ] {
        let path = credential(&gateway, more).await;
        for model in [GEMINI, CLAUDE] {
            refused_with(&gateway.chat(&question(model)).await, 403, "upstream_permission_denied", words);
        }
        let verified = gateway.verified(&path).await;
        // A missing permission does not invalidate the secret: other models and projects may work.
        assert_eq!(verified["status"], "active", "{verified}");
        assert!(verified["last_error"].as_str().unwrap().contains(words), "{words}: {verified}");
        gateway.remove(&path).await;
    }
    let path = credential(&gateway, json!({})).await;
    for model in ["vertex:gemini-0", "vertex:claude-0@1"] {
        refused_with(&gateway.chat(&question(model)).await, 404, "model_not_found", "Publisher Model");
    }
    // A vendor's own error passes through in that vendor's format.
    let long = with(question(CLAUDE), json!({"max_tokens": 900_000}));
    let error = gateway.post("/v1/messages", &long).await.must_be(400).json()["error"].clone();
    assert_eq!(error["type"], "invalid_request_error", "{error}");
    assert!(error["message"].as_str().unwrap().contains("max_tokens: 900000 > "), "{error}");
    gateway.emulator.deny(OWN);
    let resource =
        format!("//aiplatform.googleapis.com/{}/publishers/google/models/gemini-2.5-pro", location_path());
    refused_with(&gateway.chat(&question(GEMINI)).await, 403, "upstream_permission_denied", &resource);
    let verified = gateway.verified(&path).await;
    assert!(verified["last_error"].as_str().unwrap().contains(denied), "{verified}");
}

#[tokio::test]
async fn a_verification_says_what_is_missing() {
    let gateway = start().await;
    let last_error = async |body: Value| {
        let path = gateway.own(body).await;
        let credential = gateway.verified(&path).await;
        gateway.remove(&path).await;
        credential["last_error"].as_str().unwrap_or_else(|| panic!("it is well: {credential}")).to_owned()
    };
    let assert_fix = async |body: Value, fix: &str| {
        let error = last_error(body).await;
        assert!(error.ends_with(fix), "{error}");
    };
    let no_project = "Correct config.project: there is no such project, or the account may not see it.";
    for (more, fix) in [
        (json!({"project": "another"}), no_project),
        (json!({"location": "atlantis1"}), "check that config.location is an existing location."),
        (json!({"quota_project": "another"}), "or leave config.quota_project out."),
    ] {
        assert_fix(body(&gateway, OWN, more), fix).await;
    }
    gateway.emulator.clock_ahead(7_200);
    let late = "the key's word was signed too early or too late.";
    assert_fix(body(&gateway, OWN, json!({})), late).await;
    let token = gateway.emulator.token_for_google(OWN);
    assert_fix(pooled(&gateway, &token, None), "or name the file that holds the renewed token.").await;
    gateway.emulator.clock_ahead(0);
    let elsewhere = gateway.emulator.token_for_amazon(OWN);
    let audience = "Have the token issued for the audience that the pool's provider allows.";
    assert_fix(pooled(&gateway, &elsewhere, None), audience).await;
    credential(&gateway, json!({})).await;
    let model = "Enable the model in Model Garden, or name a location that serves it in config.location.";
    refused_with(&gateway.chat(&question("vertex:gemini-0")).await, 404, "model_not_found", model);
    gateway.emulator.deny(OWN_SECOND);
    let denied = last_error(body(&gateway, OWN_SECOND, json!({}))).await;
    assert!(denied.contains("Grant the account aiplatform.endpoints.predict on the project"), "{denied}");
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let gone = "this key was deleted, or its account switched off.";
    assert_fix(body(&gateway, OWN, json!({})), gone).await;
}

#[tokio::test]
async fn a_key_file_leads_nobody_elsewhere() {
    let gateway = start().await;
    // The token address in the file is not enough: it is not Google's.
    let path = credential(&gateway, json!({"token_url": null})).await;
    refused_with(&gateway.chat(&question(GEMINI)).await, 502, "credential_unusable", "isn't Google's");
    assert_eq!(exchanges(&gateway), 0);
    gateway.remove(&path).await;
    let inside = body(&gateway, OWN, json!({"token_url": "http://metadata.google.internal/token"}));
    let refusal =
        problem(&gateway.admin().post(CREDENTIALS, &inside).await.unwrap(), 400, "base_url_refused");
    assert!(refusal.to_string().contains("config.token_url"), "{refusal}");
    // Settings that are stored with the file can't be changed without it.
    let path = credential(&gateway, json!({})).await;
    let elsewhere = json!({"config": {"location": LOCATION, "token_url": "https://elsewhere.example"}});
    problem(&gateway.patched(&path, elsewhere).await, 409, "base_url_needs_secret");
}

#[tokio::test]
async fn what_an_account_needs_is_asked_for() {
    let gateway = start().await;
    let good = body(&gateway, OWN, json!({}));
    for (wrong, code, pointer) in [
        (with(good.clone(), json!({"base_url": null, "config": {}})), "missing_field", "config.location"),
        (with(good.clone(), json!({"secret": "no json"})), "invalid_value", "secret"),
        (with(good.clone(), json!({"secret": null})), "missing_field", "secret"),
        (with(good.clone(), json!({"auth": "api_key", "secret": "k"})), "invalid_value", "auth"),
        (with(good.clone(), json!({"config": {"location": "a b"}})), "invalid_value", "config.location"),
        (with(good.clone(), json!({"config": {"place": "x"}})), "invalid_value", "config.place"),
    ] {
        for path in [CREDENTIALS, "/v2/accounts"] {
            let refusal = problem(&gateway.admin().post(path, &wrong).await.unwrap(), 400, code);
            assert!(refusal.to_string().contains(pointer), "{path} {pointer}: {refusal}");
        }
    }
    // `region` is accepted as the location; the file may be given as text.
    let text = json!({"secret": good["secret"].to_string(), "region": LOCATION});
    let config = json!({"config": {"token_url": good["config"]["token_url"]}});
    gateway.make(CREDENTIALS, with(with(good, text), config)).await;
    gateway.chat_ok(&question(GEMINI)).await;
    assert!(gateway.last(OWN).path.contains(&location_path()));
    let kinds = gateway.get("/v2/provider-credentials/kinds").await;
    let kinds = kinds["data"].as_array().unwrap().iter().filter(|kind| kind["provider"] == "vertex_ai");
    let kinds: Vec<&Value> = kinds.collect();
    let auths: Vec<_> = kinds.iter().map(|kind| &kind["auth"]).collect();
    assert_eq!(auths, ["service_account", "workload_identity", "workload_identity_file", "managed_identity"]);
    for (at, required) in [(0, json!(["secret"])), (1, json!(["secret", "project"])), (3, json!(["project"]))]
    {
        assert_eq!(kinds[at]["schema"]["required"], required, "{}", kinds[at]);
    }
    let permission = kinds[0]["permission"].as_str().unwrap();
    assert!(permission.contains("aiplatform.endpoints.predict"), "{permission}");
}

#[tokio::test]
async fn texts_become_vectors_by_each_models_own_verb() {
    let models = ["text-embedding-005", "gemini-embedding-001", "gemini-embedding-2"].map(Model::embedding);
    let config = models.into_iter().fold(config(), Config::model);
    let gateway = Gateway::with(config, &[]).await;
    credential(&gateway, json!({})).await;
    let google = format!("/v1beta1/{}/publishers/google/models", location_path());
    let of_texts = |model: &str, input: Value| json!({"model": model, "input": input, "dimensions": 4});
    let four = json!({"outputDimensionality": 4});
    let of_two = json!({"instances": [{"content": "tide"}, {"content": "moon"}], "parameters": four});
    let of_one = json!({"instances": [{"content": "tide"}], "parameters": four});
    let as_content = json!({"content": {"parts": [{"text": "tide"}]}, "embedContentConfig": four});
    for (model, input, verb, sent) in [
        ("vertex:text-embedding-005", json!(["tide", "moon"]), "text-embedding-005:predict", of_two),
        ("google/gemini-embedding-001", json!("tide"), "gemini-embedding-001:predict", of_one),
        ("vertex:gemini-embedding-2", json!(["tide"]), "gemini-embedding-2:embedContent", as_content),
    ] {
        let answer = gateway.post("/v1/embeddings", &of_texts(model, input.clone())).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let reply = answer.json();
        let rows = reply["data"].as_array().unwrap();
        assert_eq!(rows.len(), input.as_array().map_or(1, Vec::len), "{reply}");
        assert_eq!(rows[0]["embedding"].as_array().unwrap().len(), 4, "{reply}");
        let call = gateway.last(OWN);
        assert_eq!((call.path.as_str(), call.json()), (&*format!("{google}/{verb}"), sent));
        assert_eq!(reply["usage"]["prompt_tokens"], call.prompt_tokens, "{reply}");
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": call.prompt_tokens, "estimated": false}));
    }
    // A request in the vendor's own wire format states the task type of its embeddings.
    let one = |text: &str| json!({"content": {"parts": [{"text": text}]}, "taskType": "RETRIEVAL_QUERY"});
    let path = "/v1beta/models/google/gemini-embedding-001:embedContent";
    let reply = post_ok(&gateway, path, &one("tide")).await;
    assert!(reply["embedding"]["values"].is_array(), "{reply}");
    assert!(reply["usageMetadata"]["promptTokenCount"].is_u64(), "{reply}");
    let sent = json!({"instances": [{"content": "tide", "task_type": "RETRIEVAL_QUERY"}]});
    assert_eq!(gateway.last(OWN).json(), sent);
    let path = "/v1beta/models/vertex:text-embedding-005:batchEmbedContents";
    let reply = post_ok(&gateway, path, &json!({"requests": [one("tide"), one("moon")]})).await;
    assert_eq!(reply["embeddings"].as_array().unwrap().len(), 2, "{reply}");
    // A model that takes one input is not sent two.
    let before = gateway.calls(OWN).len();
    let two = of_texts("vertex:gemini-embedding-2", json!(["tide", "moon"]));
    let answer = gateway.post("/v1/embeddings", &two).await;
    assert_eq!(refused(&answer, 400, "unsupported_value")["param"], "input");
    assert_eq!(gateway.calls(OWN).len(), before);
    assert_eq!(gateway.emulator.violations(), []);
}

/// A credential with the configuration of a workload identity pool, and a token from its issuer for a
/// workload that represents this key.
fn pooled(gateway: &Gateway, token: &str, account_of: Option<&str>) -> Value {
    let file = with(gateway.emulator.identity_pool(account_of), json!({"subject_token": token}));
    let config = json!({"location": LOCATION, "project": PROJECT, "token_url": file["token_url"]});
    of_vertex(gateway, "workload_identity", file, config)
}

fn requests_below(gateway: &Gateway, below: &str) -> usize {
    gateway.emulator.journal().iter().filter(|entry| entry.path.starts_with(below)).count()
}

#[tokio::test]
async fn a_workload_of_another_issuer_is_let_in_by_the_pool() {
    let gateway = start().await;
    for account_of in [None, Some(OWN)] {
        // With a service account configured, that account makes the call, whatever the workload is.
        let workload = if account_of.is_some() { OWN_SECOND } else { OWN };
        let token = gateway.emulator.token_for_google(workload);
        let path = gateway.own(pooled(&gateway, &token, account_of)).await;
        let (issued, before) = (gateway.emulator.tokens_issued(), requests_below(&gateway, "/google/sts"));
        let (client, request) = (gateway.client(), question(GEMINI));
        let answers = join_all((0..100).map(|_| client.post(CHAT, &request))).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
        assert_eq!(gateway.emulator.tokens_issued() - issued, 1 + u64::from(account_of.is_some()));
        assert_eq!(requests_below(&gateway, "/google/sts") - before, 1);
        assert!(gateway.last(OWN).header("authorization").unwrap().starts_with("Bearer tok-"));
        assert_eq!(gateway.calls(OWN_SECOND).len(), 0);
        has(&gateway.verified(&path).await, json!({"status": "active"}));
        gateway.remove(&path).await;
    }
    assert_eq!(requests_below(&gateway, "/google/iam"), 1);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_a_pool_does_not_let_in_is_told_in_its_words() {
    let gateway = start().await;
    let token = gateway.emulator.token_for_google(OWN);
    let elsewhere = gateway.emulator.token_for_amazon(OWN);
    gateway.emulator.deny(OWN_SECOND);
    let denied = gateway.emulator.token_for_google(OWN_SECOND);
    let another = |field: &str, value: &str| {
        let mut body = pooled(&gateway, &token, None);
        body["secret"][field] = json!(value);
        body
    };
    for (body, words) in [
        (pooled(&gateway, &elsewhere, None), "audience in ID Token does not match"),
        (pooled(&gateway, "no-token", None), "credential's issuer"),
        (another("audience", "//iam.googleapis.com/projects/1"), "target service"),
        (pooled(&gateway, &denied, Some(OWN)), "iam.serviceAccounts.getAccessToken"),
        (another("type", "authorized_user"), "isn't a configuration of a workload identity pool"),
        (another("token_url", "https://elsewhere.example/token"), "isn't Google's"),
    ] {
        let path = gateway.own(body).await;
        assert_eq!(gateway.chat(&question(GEMINI)).await.status, 502);
        let credential = gateway.verified(&path).await;
        assert_eq!(credential["status"], "invalid", "{credential}");
        assert!(credential["last_error"].as_str().unwrap().contains(words), "{words}: {credential}");
        gateway.remove(&path).await;
    }
    gateway.emulator.clock_ahead(3_600);
    let credential = gateway.verified(&gateway.own(pooled(&gateway, &token, None)).await).await;
    assert!(credential["last_error"].as_str().unwrap().contains("expired"), "{credential}");
}

#[tokio::test]
async fn the_token_of_a_workload_comes_out_of_a_file_that_the_operator_lists() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token.json");
    let path = file.display().to_string();
    let gateway = Gateway::with(config(), &[("TIDEGATE_TOKEN_FILES", &path)]).await;
    std::fs::write(&file, json!({"id_token": gateway.emulator.token_for_google(POOL)}).to_string()).unwrap();
    let mut filed = pooled(&gateway, "", None);
    let format = json!({"type": "json", "subject_token_field_name": "id_token"});
    filed["auth"] = json!("workload_identity_file");
    filed["secret"]["credential_source"] = json!({"file": path, "format": format});
    problem(&gateway.admin().post(CREDENTIALS, &filed).await.unwrap(), 403, "host_identity_not_allowed");
    let mut other = filed.clone();
    other["secret"]["credential_source"]["file"] = json!("/etc/passwd");
    let account = gateway.make("/v2/accounts", with(other, json!({"allow_unpriced": true}))).await;
    refused(&gateway.chat(&question(GEMINI)).await, 502, "token_file_not_allowed");
    assert_eq!(requests_below(&gateway, "/google/sts"), 0, "nothing was sent");
    gateway.remove(&format!("/v2/accounts/{}", id_of(&account))).await;
    gateway.make("/v2/accounts", with(filed, json!({"allow_unpriced": true}))).await;
    assert_eq!(said(&gateway.chat_ok(&question(GEMINI)).await), SAID);
    assert_eq!(requests_below(&gateway, "/google/sts"), 1);
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn the_machines_identity_is_the_operators() {
    let gateway = start().await;
    gateway.emulator.be_machine_of(POOL);
    let config = json!({"location": LOCATION, "project": PROJECT});
    let machine = json!({
        "provider": "vertex_ai", "auth": "managed_identity", "base_url": gateway.emulator.origin(), "config": config,
    });
    problem(&gateway.admin().post(CREDENTIALS, &machine).await.unwrap(), 403, "host_identity_not_allowed");
    let nameless = with(machine.clone(), json!({"config": {"location": LOCATION}}));
    problem(&gateway.admin().post("/v2/accounts", &nameless).await.unwrap(), 400, "missing_field");
    gateway.make("/v2/accounts", with(machine, json!({"allow_unpriced": true}))).await;
    for request in [question(GEMINI), streaming(GEMINI)] {
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), SAID);
        assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    }
    assert!(gateway.last(POOL).header("authorization").unwrap().starts_with("Bearer tok-"));
    assert_eq!(gateway.emulator.tokens_issued(), 1);
    assert_eq!(gateway.emulator.violations(), []);
}
