//! Azure: the customer's own resource takes over what the pool or the vendor served, under the owner's
//! deployment names, on current and older paths.

use std::time::Duration;

use futures_util::future::join_all;
use harness::directory::{CLIENT, ENTRA, TENANT};
use harness::{Behaviour, Entry, Flavour, KeyState, Model};
use http::Method;
use serde_json::{Map, Value, json};

use crate::ask::{MINI, problem, question, refused, said, scripted, streaming, trace_of, with};
use crate::forms::{FORM, form, noise};
use crate::gateway::{Gateway, OWN, OWN_SECOND, POOL, config as plain, id_of};

const DEPLOYMENT: &str = "my-gpt-4o-mini";
const OLD: &str = "2024-10-21";

fn resource(gateway: &Gateway) -> String {
    gateway.emulator.base_url_of(Flavour::Azure)
}

fn body(gateway: &Gateway, secret: &str, more: Value) -> Value {
    let config = with(json!({"deployments": {MINI: DEPLOYMENT}}), more);
    json!({"provider": "azure", "secret": secret, "base_url": resource(gateway), "config": config})
}

async fn credential(gateway: &Gateway, more: Value) -> String {
    id_of(&gateway.make("/v2/provider-credentials", body(gateway, OWN, more)).await)
}

fn last(gateway: &Gateway, key: &str) -> Entry {
    gateway.calls(key).pop().expect("a call")
}

#[tokio::test]
async fn a_deployment_serves_the_model_that_was_asked_for() {
    for (version, path) in [
        (json!({}), "/azure/openai/v1/chat/completions".to_owned()),
        (
            json!({"api_version": OLD}),
            format!("/azure/openai/deployments/{DEPLOYMENT}/chat/completions?api-version={OLD}"),
        ),
    ] {
        let gateway = Gateway::start().await;
        let id = credential(&gateway, version).await;
        for request in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&request).await;
            assert_eq!(said(&answer), "You said: hello there");
            assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
            assert_eq!(answer.header("agent-resolved-provider"), Some("azure_openai"));
            assert_eq!(answer.header("agent-byok-credential-id"), Some(id.as_str()));
            let sent = last(&gateway, OWN);
            assert_eq!((sent.path.as_str(), &sent.json()["model"]), (path.as_str(), &json!(DEPLOYMENT)));
            assert_eq!((sent.header("api-key"), sent.header("authorization")), (Some(OWN), None));
            let record = gateway.settled(&trace_of(&answer)).await;
            assert_eq!(record["input_tokens"], sent.prompt_tokens, "{record}");
            assert_eq!(
                (&record["estimated"], &record["unpriced"]),
                (&json!(false), &json!(true)),
                "{record}"
            );
        }
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn every_client_reaches_a_deployment() {
    let gateway = Gateway::start().await;
    credential(&gateway, json!({})).await;
    let user = json!([{"role": "user", "content": "hello there"}]);
    let messages = json!({"model": MINI, "max_tokens": 50, "messages": user});
    let answer = gateway.client().post("/v1/messages", &messages).await.unwrap();
    assert_eq!(answer.json()["content"][0]["text"], "You said: hello there", "{}", answer.text());
    let responses = json!({"model": MINI, "input": "hello there", "store": false});
    let answer = gateway.client().post("/v1/responses", &responses).await.unwrap();
    assert_eq!(
        answer.json()["output"][0]["content"][0]["text"],
        "You said: hello there",
        "{}",
        answer.text()
    );
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]});
    let path = format!("/v1beta/models/{MINI}:generateContent");
    let answer = gateway.client().post(&path, &contents).await.unwrap();
    let text = answer.json().pointer("/candidates/0/content/parts/0/text").cloned();
    assert_eq!(text, Some(json!("You said: hello there")), "{}", answer.text());
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn sound_and_pictures_come_from_deployments_by_either_path() {
    let models = ["whisper-1", "gpt-4o-mini-tts", "gpt-image-1-mini"];
    let deployments = models.map(|name| (format!("openai/{name}"), json!(format!("my-{name}"))));
    let config = json!({"deployments": deployments.into_iter().collect::<Map<_, _>>()});
    for version in [None, Some("2025-04-01-preview")] {
        let served = plain().model(Model::speech(models[1])).model(Model::image(models[2]));
        let gateway = Gateway::with(served, &[]).await;
        let more = version.map_or(json!({}), |version| json!({"api_version": version}));
        credential(&gateway, with(config.clone(), more)).await;
        let recorded = noise(32_000);
        let heard = form(&[("model", b"openai/whisper-1"), ("file", &recorded)]);
        let spoken = json!({"model": "openai/gpt-4o-mini-tts", "input": "Mind the tide.", "voice": "alloy"});
        let drawn = json!({"model": "openai/gpt-image-1-mini", "prompt": "A gate.", "size": "1024x1024"});
        for (path, body, form, deployment, unit) in [
            ("audio/transcriptions", heard.clone(), true, "my-whisper-1", "audio_ms"),
            ("audio/translations", heard, true, "my-whisper-1", "audio_ms"),
            ("audio/speech", spoken.to_string().into_bytes(), false, "my-gpt-4o-mini-tts", "characters"),
            ("images/generations", drawn.to_string().into_bytes(), false, "my-gpt-image-1-mini", "images"),
        ] {
            let kind = if form { FORM } else { ("content-type", "application/json") };
            let answer =
                gateway.client().call(Method::POST, &format!("/v1/{path}"), &[kind], body).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("agent-resolved-provider"), Some("azure_openai"));
            let at = version.map_or_else(
                || format!("/azure/openai/v1/{path}"),
                |version| format!("/azure/openai/deployments/{deployment}/{path}?api-version={version}"),
            );
            assert_eq!(last(&gateway, OWN).path, at);
            let row = gateway.settled(&trace_of(&answer)).await;
            assert!(row["units"][unit].as_u64().is_some_and(|count| count > 0), "{path}: {row}");
        }
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn what_is_not_deployed_is_told_and_not_sent() {
    let gateway = Gateway::start().await;
    let id = credential(&gateway, json!({})).await;
    let plan = gateway.plan(json!({"model": "openai/gpt-4o"})).await;
    let rejected = plan["rejected"].as_array().unwrap();
    assert_eq!(rejected[0]["reason"], "not_deployed", "{plan}");
    refused(&gateway.chat(&question("openai/gpt-4o")).await, 404, "model_not_served");
    assert_eq!(gateway.calls(OWN).len(), 0);
    // After the provider's prefix, a deployment is found by its own name, and an unknown one is not.
    let answer = gateway.chat_ok(&question(&format!("azure:{DEPLOYMENT}"))).await;
    assert_eq!(answer.header("agent-byok-credential-id"), Some(id.as_str()));
    assert_eq!(gateway.chat(&question("azure:another")).await.status, 404);
    // For a deployment that its owner has deleted, the provider's error is returned.
    let wrong = json!({"config": {"deployments": {MINI: "gone"}}});
    gateway.patch(&format!("/v2/provider-credentials/{id}"), wrong).await;
    let error = refused(&gateway.chat(&question(MINI)).await, 404, "model_not_found");
    assert!(error["message"].as_str().unwrap().contains("deployment"), "{error}");
}

#[tokio::test]
async fn a_filter_is_told_as_what_it_is() {
    let gateway = Gateway::start().await;
    credential(&gateway, json!({})).await;
    let blocked = scripted(MINI, "status=400,code=content_filter,message=The prompt was filtered");
    let error = refused(&gateway.chat(&blocked).await, 400, "content_filter");
    assert!(error["message"].as_str().unwrap().contains("filtered"), "{error}");
    assert_eq!(gateway.calls(OWN).len(), 1, "nobody is asked again");
}

/// A buffered request in each wire format.
fn in_each_grammar() -> [(String, Value); 4] {
    let turns = json!([{"role": "user", "content": "hello there"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "hello there"}]}]);
    [
        ("/v1/chat/completions".to_owned(), json!({"model": MINI, "messages": turns})),
        ("/v1/responses".to_owned(), json!({"model": MINI, "input": "hello there", "store": false})),
        ("/v1/messages".to_owned(), json!({"model": MINI, "max_tokens": 50, "messages": turns})),
        (format!("/v1beta/models/{MINI}:generateContent"), json!({"contents": contents})),
    ]
}

#[tokio::test]
async fn what_a_filter_blocks_is_told_in_every_clients_words() {
    let gateway = Gateway::start().await;
    credential(&gateway, json!({})).await;
    let blocked = Behaviour::status(400).code("content_filter").message("The prompt was filtered");
    gateway.emulator.script(OWN, [blocked.always()]);
    let mut answers = Vec::new();
    for (path, body) in in_each_grammar() {
        let answer = gateway.client().post(&path, &body).await.unwrap();
        assert!(answer.text().contains("filtered"), "{path}: {}", answer.text());
        answers.push((answer.status, answer.json()));
    }
    let [(chat, of_chat), (responses, of_responses), (messages, of_messages), (gemini, of_gemini)] =
        &*answers
    else {
        panic!("four clients asked")
    };
    assert_eq!((chat, &of_chat["error"]["code"]), (&400, &json!("content_filter")));
    assert_eq!((responses, &of_responses["error"]["code"]), (&400, &json!("content_filter")));
    assert_eq!((messages, &of_messages["error"]["type"]), (&400, &json!("invalid_request_error")));
    // To these clients a blocked prompt is not an error.
    assert_eq!(*gemini, 200, "{of_gemini}");
    assert_eq!(of_gemini["promptFeedback"]["blockReason"], "PROHIBITED_CONTENT", "{of_gemini}");
    assert_eq!(gateway.calls(OWN).len(), 4, "nobody is asked again");
}

#[tokio::test]
async fn an_answer_that_a_filter_cuts_off_ends_in_every_clients_words() {
    let gateway = Gateway::start().await;
    credential(&gateway, json!({})).await;
    let cut = Behaviour::ok().finish("content_filter");
    gateway.emulator.script(OWN, [cut.always()]);
    let mut answers = Vec::new();
    for (path, body) in in_each_grammar() {
        let answer = gateway.client().post(&path, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answers.push(answer.json());
    }
    let [chat, responses, messages, gemini] = &*answers else { panic!("four clients asked") };
    let choice = &chat["choices"][0];
    assert_eq!(choice["finish_reason"], "content_filter", "{chat}");
    assert_eq!(choice["content_filter_results"]["violence"]["filtered"], true, "{chat}");
    assert_eq!(responses["incomplete_details"]["reason"], "content_filter", "{responses}");
    assert_eq!(messages["stop_reason"], "refusal", "{messages}");
    assert_eq!(gemini["candidates"][0]["finishReason"], "SAFETY", "{gemini}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_a_resource_needs_is_asked_for() {
    let gateway = Gateway::start().await;
    let good = body(&gateway, OWN, json!({}));
    for (wrong, code, pointer) in [
        (with(good.clone(), json!({"base_url": null})), "missing_field", "base_url"),
        (with(good.clone(), json!({"config": null})), "missing_field", "config.deployments"),
        (
            with(good.clone(), json!({"config": {"deployments": {MINI: "a/b"}}})),
            "invalid_value",
            "config.deployments",
        ),
        (body(&gateway, OWN, json!({"api_version": "newest"})), "invalid_value", "config.api_version"),
        (body(&gateway, OWN, json!({"version": OLD})), "invalid_value", "config.version"),
    ] {
        for path in ["/v2/provider-credentials", "/v2/accounts"] {
            let answer = gateway.admin().post(path, &wrong).await.unwrap();
            let error = problem(&answer, 400, code);
            assert!(error.to_string().contains(pointer), "{path} {pointer}: {error}");
        }
    }
    let kinds = gateway.get("/v2/provider-credentials/kinds").await;
    let kind =
        kinds["data"].as_array().unwrap().iter().find(|kind| kind["provider"] == "azure_openai").unwrap();
    assert_eq!(kind["schema"]["required"], json!(["secret", "deployments"]), "{kind}");
    assert_eq!(
        kind["schema"]["properties"]["deployments"]["additionalProperties"]["type"], "string",
        "{kind}"
    );
    assert!(kind["base_url"].is_null() && kind["base_url_example"].is_string(), "{kind}");
    let of_azure = kinds["data"].as_array().unwrap().iter().filter(|kind| kind["provider"] == "azure_openai");
    let auths: Vec<&str> = of_azure.map(|kind| kind["auth"].as_str().unwrap()).collect();
    let kinds =
        ["api_key", "oauth_client", "workload_identity", "workload_identity_file", "managed_identity"];
    assert_eq!(auths, kinds);
}

/// An Entra application whose secret is a key of the emulator.
fn application(gateway: &Gateway, secret: &str, more: Value) -> Value {
    let directory = format!("{}{ENTRA}", gateway.emulator.origin());
    let entra = json!({"tenant_id": TENANT, "client_id": CLIENT, "token_url": directory});
    let config = with(entra, more);
    with(body(gateway, secret, config), json!({"auth": "oauth_client"}))
}

fn token_requests(gateway: &Gateway) -> usize {
    gateway.emulator.journal().iter().filter(|entry| entry.path.starts_with(ENTRA)).count()
}

#[tokio::test]
async fn an_application_of_the_directory_signs_by_its_token() {
    for version in [json!({}), json!({"api_version": OLD})] {
        let gateway = Gateway::start().await;
        let made = gateway.make("/v2/provider-credentials", application(&gateway, OWN, version)).await;
        assert_eq!(made["auth"], "oauth_client", "{made}");
        let verify = format!("/v2/provider-credentials/{}/verify", id_of(&made));
        let verified = gateway.admin().post(&verify, &json!({})).await.unwrap().json();
        assert_eq!(verified["status"], "active", "{verified}");
        for request in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&request).await;
            assert_eq!(said(&answer), "You said: hello there");
            let sent = last(&gateway, OWN);
            let token = sent.header("authorization").unwrap();
            assert!(token.starts_with("Bearer tok-") && sent.header("api-key").is_none(), "{token}");
            let record = gateway.settled(&trace_of(&answer)).await;
            assert_eq!(record["input_tokens"], sent.prompt_tokens, "{record}");
        }
        assert_eq!(gateway.emulator.tokens_issued(), 1, "one token serves them all");
        assert_eq!(gateway.emulator.violations(), []);
    }
}

#[tokio::test]
async fn a_thousand_requests_wait_for_one_token() {
    let gateway = Gateway::start().await;
    gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({}))).await;
    assert_eq!(gateway.emulator.tokens_issued(), 0);
    let client = gateway.client();
    let request = question(MINI);
    let requests = (0..1_000).map(|_| client.post("/v1/chat/completions", &request));
    let answers = join_all(requests).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert_eq!((gateway.emulator.tokens_issued(), token_requests(&gateway)), (1, 1));
}

#[tokio::test]
async fn a_token_that_is_refused_before_its_time_is_replaced_within_the_request() {
    let gateway = Gateway::start().await;
    gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({}))).await;
    gateway.chat_ok(&question(MINI)).await;
    for (round, request) in [question(MINI), streaming(MINI)].into_iter().enumerate() {
        gateway.emulator.revoke_tokens();
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(gateway.emulator.tokens_issued(), round as u64 + 2);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_anew_before_it_ends() {
    let gateway = Gateway::start().await;
    gateway.emulator.tokens_live(Duration::from_secs(2));
    gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({}))).await;
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let mut served = 0;
    while gateway.emulator.tokens_issued() < 3 {
        assert!(std::time::Instant::now() < until, "only {} tokens", gateway.emulator.tokens_issued());
        gateway.chat_ok(&question(MINI)).await;
        served += 1;
    }
    assert_eq!(gateway.calls(OWN).len(), served, "no request met a token that was over");
}

#[tokio::test]
async fn what_the_directory_refuses_is_told_in_its_words() {
    let gateway = Gateway::start().await;
    for (more, secret, words) in [
        (json!({}), "no-such-secret", "AADSTS7000215"),
        (json!({"tenant_id": "another"}), OWN, "AADSTS90002"),
        (json!({"client_id": "another"}), OWN, "AADSTS700016"),
    ] {
        let made = gateway.make("/v2/provider-credentials", application(&gateway, secret, more)).await;
        let path = format!("/v2/provider-credentials/{}", id_of(&made));
        let verified = gateway.admin().post(&format!("{path}/verify"), &json!({})).await.unwrap().json();
        assert_eq!(verified["status"], "invalid", "{verified}");
        assert!(verified["last_error"].as_str().unwrap().contains(words), "{verified}");
        gateway.admin().delete(&path).await.unwrap();
    }
    // A credential that was valid before and is revoked now: one token request serves all concurrent
    // requests.
    gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({}))).await;
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let requests_before = token_requests(&gateway);
    let client = gateway.client();
    let request = question(MINI);
    let answers = join_all((0..50).map(|_| client.post("/v1/chat/completions", &request))).await;
    for answer in answers {
        refused(&answer.unwrap(), 502, "upstream_auth_failed");
    }
    assert!(token_requests(&gateway) - requests_before <= 2, "{}", token_requests(&gateway));
}

/// A request that never reached the provider costs nothing, whatever happened to the directory.
#[tokio::test]
async fn a_directory_that_is_away_bills_nothing() {
    let gateway = Gateway::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", listener.local_addr().unwrap());
    let hangs_up = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    });
    gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({"token_url": away}))).await;
    for request in [question(MINI), streaming(MINI)] {
        let answer = gateway.chat(&request).await;
        refused(&answer, 502, "upstream_connection_broken");
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!((&record["input_tokens"], &record["output_tokens"]), (&json!(0), &json!(0)), "{record}");
    }
    assert_eq!(gateway.calls(OWN).len(), 0);
    hangs_up.abort();
}

#[tokio::test]
async fn a_secret_does_not_follow_another_directory() {
    let gateway = Gateway::start().await;
    let made = gateway.make("/v2/provider-credentials", application(&gateway, OWN, json!({}))).await;
    let path = format!("/v2/provider-credentials/{}", id_of(&made));
    let elsewhere = json!({"config": {"token_url": "https://elsewhere.example"}});
    problem(&gateway.patched(&path, elsewhere).await, 409, "base_url_needs_secret");
    problem(&gateway.patched(&path, json!({"auth": "api_key"})).await, 409, "base_url_needs_secret");
    // A PUT that names no `auth` means the default kind.
    let mut whole = with(
        application(&gateway, OWN, json!({})),
        json!({"provider": "azure_openai", "display_name": "mine"}),
    );
    whole.as_object_mut().unwrap().retain(|name, _| name != "auth" && name != "secret");
    problem(&gateway.admin().put(&path, &whole).await.unwrap(), 409, "base_url_needs_secret");
    let inside = application(&gateway, OWN, json!({"token_url": "http://169.254.169.254"}));
    let error = problem(
        &gateway.admin().post("/v2/provider-credentials", &inside).await.unwrap(),
        400,
        "base_url_refused",
    );
    assert!(error.to_string().contains("config.token_url"), "{error}");
    // A change to an API key is accepted together with a new secret.
    let key = json!({"auth": "api_key", "secret": OWN});
    assert_eq!(gateway.patch(&path, key).await["auth"], "api_key");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(last(&gateway, OWN).header("api-key"), Some(OWN));
}

#[tokio::test]
async fn the_machines_identity_is_the_operators_and_whom_it_lists() {
    let mut gateway = Gateway::start().await;
    gateway.emulator.be_machine_of(POOL);
    let mut machine = body(&gateway, "", json!({}));
    machine["auth"] = json!("managed_identity");
    machine.as_object_mut().unwrap().remove("secret");
    let answer = gateway.admin().post("/v2/provider-credentials", &machine).await.unwrap();
    let error = problem(&answer, 403, "host_identity_not_allowed").to_string();
    assert!(
        error.contains("TIDEGATE_HOST_IDENTITY") && error.contains(&gateway.founded.workspace_id),
        "{error}"
    );
    let secret = with(machine.clone(), json!({"secret": OWN, "allow_unpriced": true}));
    problem(&gateway.admin().post("/v2/accounts", &secret).await.unwrap(), 400, "invalid_value");
    gateway.make("/v2/accounts", with(machine.clone(), json!({"allow_unpriced": true}))).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert!(last(&gateway, POOL).header("authorization").unwrap().starts_with("Bearer tok-"));
    // A workspace that the operator lists may use the machine's identity, until it is removed from the list.
    gateway.stop().await;
    let workspace = gateway.founded.workspace_id.clone();
    gateway.set("TIDEGATE_HOST_IDENTITY", &workspace);
    gateway.start_again().await;
    gateway.make("/v2/provider-credentials", machine).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
    gateway.stop().await;
    gateway.set("TIDEGATE_HOST_IDENTITY", "");
    gateway.start_again().await;
    let error = refused(&gateway.chat(&question(MINI)).await, 502, "host_identity_not_allowed");
    assert!(error.to_string().contains("TIDEGATE_HOST_IDENTITY"), "{error}");
}

#[tokio::test]
async fn a_resource_is_verified_by_its_own_list() {
    for (version, path) in [
        (json!({}), "/azure/openai/v1/models".to_owned()),
        (json!({"api_version": OLD}), format!("/azure/openai/models?api-version={OLD}")),
    ] {
        let gateway = Gateway::start().await;
        let id = credential(&gateway, version).await;
        let verify = format!("/v2/provider-credentials/{id}/verify");
        let verified = gateway.admin().post(&verify, &json!({})).await.unwrap().json();
        assert_eq!(verified["status"], "active", "{verified}");
        assert_eq!(gateway.emulator.journal().pop().unwrap().path, path);
        gateway.emulator.set_key(OWN, harness::KeyState::Revoked);
        let refused = gateway.admin().post(&verify, &json!({})).await.unwrap().json();
        assert_eq!(refused["status"], "invalid", "{refused}");
    }
}

#[tokio::test]
async fn a_verification_says_what_is_missing() {
    let gateway = Gateway::start().await;
    let verification_error = async |body: Value| {
        let made = gateway.make("/v2/provider-credentials", body).await;
        let path = format!("/v2/provider-credentials/{}", id_of(&made));
        let verified = gateway.admin().post(&format!("{path}/verify"), &json!({})).await.unwrap().json();
        gateway.remove(&path).await;
        verified["last_error"].as_str().unwrap_or_else(|| panic!("it is well: {verified}")).to_owned()
    };
    for (body, fix) in [
        (body(&gateway, "sk-nobody", json!({})), "check that base_url is that resource's address."),
        (
            application(&gateway, "sk-nobody", json!({})),
            "the value of a client secret of the application, not with its id.",
        ),
        (
            application(&gateway, OWN, json!({"client_id": "another"})),
            "Correct config.client_id, or config.tenant_id: the directory knows no such application.",
        ),
        (
            application(&gateway, OWN, json!({"tenant_id": "another"})),
            "Correct config.tenant_id: there is no such directory.",
        ),
    ] {
        let error = verification_error(body).await;
        assert!(error.ends_with(fix), "{error}");
    }
    gateway.emulator.deny(OWN_SECOND);
    let role = verification_error(application(&gateway, OWN_SECOND, json!({}))).await;
    let fix =
        "Assign the role Cognitive Services OpenAI User on the resource to the application or the machine.";
    assert!(role.ends_with(fix), "{role}");
    credential(&gateway, json!({"deployments": {MINI: "gone"}})).await;
    let error = refused(&gateway.chat(&question(MINI)).await, 404, "model_not_found");
    let fix = "Deploy the model under this name, or correct config.deployments.";
    assert!(error["message"].as_str().unwrap().contains(fix), "{error}");
}

const HAIKU: &str = "anthropic/claude-haiku-4-5";
const CLAUDE: &str = "my-claude-haiku-4-5";

fn foundry(gateway: &Gateway, more: Value) -> Value {
    let config = json!({"deployments": {HAIKU: CLAUDE}});
    let url = gateway.emulator.foundry_url();
    with(json!({"provider": "foundry", "secret": OWN, "base_url": url, "config": config}), more)
}

#[tokio::test]
async fn every_client_reaches_claude_on_a_resource() {
    let gateway = Gateway::start().await;
    let made = gateway.make("/v2/provider-credentials", foundry(&gateway, json!({}))).await;
    let path = format!("/v2/provider-credentials/{}/verify", id_of(&made));
    let verified = gateway.admin().post(&path, &json!({})).await.unwrap().json();
    assert_eq!(verified["status"], "active", "{verified}");
    assert_eq!(last(&gateway, OWN).path, "/foundry/anthropic/v1/messages/count_tokens");
    for request in [question(HAIKU), streaming(HAIKU)] {
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(answer.header("agent-resolved-provider"), Some("azure_foundry"));
        let sent = last(&gateway, OWN);
        assert_eq!(
            (sent.path.as_str(), &sent.json()["model"]),
            ("/foundry/anthropic/v1/messages", &json!(CLAUDE))
        );
        assert_eq!((sent.header("x-api-key"), sent.header("api-key")), (Some(OWN), Some(OWN)));
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(record["input_tokens"], sent.prompt_tokens, "{record}");
        assert_eq!((&record["estimated"], &record["unpriced"]), (&json!(false), &json!(true)), "{record}");
    }
    for (path, body) in in_each_grammar().into_iter().skip(1) {
        let path = path.replace(MINI, HAIKU);
        let body = if body["model"].is_null() { body } else { with(body, json!({"model": HAIKU})) };
        let answer = gateway.client().post(&path, &body).await.unwrap();
        assert!(answer.text().contains("You said: hello there"), "{path}: {}", answer.text());
    }
    let turns = json!([{"role": "user", "content": "hello there"}]);
    let count = json!({"model": HAIKU, "messages": turns});
    let answer = gateway.client().post("/v1/messages/count_tokens", &count).await.unwrap();
    assert_eq!(answer.header("x-tidegate-estimate"), None, "{}", answer.text());
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn claude_on_a_resource_takes_tokens_and_says_what_is_missing() {
    let gateway = Gateway::start().await;
    let directory = format!("{}{ENTRA}", gateway.emulator.origin());
    let entra = json!({"tenant_id": TENANT, "client_id": CLIENT, "token_url": directory});
    let config = with(entra, json!({"deployments": {HAIKU: CLAUDE}}));
    let by_token = foundry(&gateway, json!({"auth": "oauth_client", "config": config}));
    let made = gateway.make("/v2/provider-credentials", by_token).await;
    gateway.chat_ok(&question(HAIKU)).await;
    let sent = last(&gateway, OWN);
    assert!(sent.header("authorization").unwrap().starts_with("Bearer tok-"));
    assert_eq!((sent.header("x-api-key"), sent.header("api-key")), (None, None));
    gateway.remove(&format!("/v2/provider-credentials/{}", id_of(&made))).await;
    let nobody = foundry(&gateway, json!({"secret": "sk-nobody"}));
    let gone = foundry(&gateway, json!({"config": {"deployments": {HAIKU: "gone"}}}));
    for (credential, status, code, fix) in [
        (nobody, 502, "upstream_auth_failed", "one of the resource's own keys"),
        (gone, 404, "model_not_found", "Deploy the model under this name, or correct config.deployments."),
    ] {
        let made = gateway.make("/v2/provider-credentials", credential).await;
        let error = refused(&gateway.chat(&question(HAIKU)).await, status, code);
        assert!(error["message"].as_str().unwrap().contains(fix), "{error}");
        gateway.remove(&format!("/v2/provider-credentials/{}", id_of(&made))).await;
    }
}

#[tokio::test]
async fn a_pooled_resource_serves_what_its_operator_deployed() {
    let gateway = Gateway::start().await;
    let account = with(body(&gateway, POOL, json!({})), json!({"allow_unpriced": true}));
    gateway.make("/v2/accounts", account).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert_eq!(answer.header("agent-resolved-provider"), Some("azure_openai"));
    refused(&gateway.chat(&question("openai/gpt-4o")).await, 404, "model_not_served");
}

/// From the pool to the customer's own resource: one credential is added, and the application's requests stay
/// the same.
#[tokio::test]
async fn ones_own_resource_takes_over_from_the_pool() {
    let gateway = Gateway::start().await;
    gateway.account("openai", POOL).await;
    let request = question(MINI);
    let before = gateway.chat_ok(&request).await;
    assert_eq!(before.header("agent-execution-profile"), Some("managed_provider"));
    let added = gateway.make("/v2/provider-credentials", body(&gateway, OWN_SECOND, json!({}))).await;
    let after = gateway.chat_ok(&request).await;
    assert_eq!(after.header("agent-execution-profile"), Some("byok"));
    assert_eq!(after.header("agent-byok-credential-id"), added["id"].as_str());
    assert_eq!(said(&before), said(&after));
}
