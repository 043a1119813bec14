//! Azure: the customer's own resource takes over what the pool or the vendor served, under the owner's
//! deployment names, on current and older paths.

use std::time::Duration;

use futures_util::future::join_all;
use harness::directory::{CLIENT, ENTRA, TENANT};
use harness::{Behaviour, Flavour, KeyState, Model};
use http::Method;
use serde_json::{Map, Value, json};

use crate::ask::{
    CHAT, MINI, has, in_each_grammar, problem, question, refused, refused_with, said, streaming, trace_of,
    with,
};
use crate::forms::{FORM, form, noise};
use crate::gateway::{CREDENTIALS, Gateway, OWN, OWN_SECOND, POOL, config as plain, id_of};

const DEPLOYMENT: &str = "my-gpt-4o-mini";
const OLD: &str = "2024-10-21";

fn body(gateway: &Gateway, secret: &str, more: Value) -> Value {
    let config = with(json!({"deployments": {MINI: DEPLOYMENT}}), more);
    let resource = gateway.emulator.base_url_of(Flavour::Azure);
    json!({"provider": "azure", "secret": secret, "base_url": resource, "config": config})
}

async fn credential(gateway: &Gateway, more: Value) -> String {
    id_of(&gateway.make(CREDENTIALS, body(gateway, OWN, more)).await)
}

#[tokio::test]
async fn a_deployment_serves_the_model_that_was_asked_for_and_is_verified_by_its_resources_list() {
    let old = format!("?api-version={OLD}");
    for (version, below, listed) in [
        (json!({}), "v1/chat/completions".to_owned(), "v1/models".to_owned()),
        (
            json!({"api_version": OLD}),
            format!("deployments/{DEPLOYMENT}/chat/completions{old}"),
            format!("models{old}"),
        ),
    ] {
        let path = format!("/azure/openai/{below}");
        let gateway = Gateway::start().await;
        let id = credential(&gateway, version).await;
        for request in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&request).await;
            assert_eq!(said(&answer), "You said: hello there");
            assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
            assert_eq!(answer.header("agent-resolved-provider"), Some("azure_openai"));
            assert_eq!(answer.header("agent-byok-credential-id"), Some(id.as_str()));
            let sent = gateway.last(OWN);
            assert_eq!((sent.path.as_str(), &sent.json()["model"]), (path.as_str(), &json!(DEPLOYMENT)));
            assert_eq!((sent.header("api-key"), sent.header("authorization")), (Some(OWN), None));
            let record = gateway.settled(&trace_of(&answer)).await;
            has(&record, json!({"input_tokens": sent.prompt_tokens, "estimated": false, "unpriced": true}));
        }
        assert_eq!(gateway.emulator.violations(), []);
        let own = format!("{CREDENTIALS}/{id}");
        has(&gateway.verified(&own).await, json!({"status": "active"}));
        assert_eq!(gateway.emulator.journal().pop().unwrap().path, format!("/azure/openai/{listed}"));
        gateway.emulator.set_key(OWN, KeyState::Revoked);
        has(&gateway.verified(&own).await, json!({"status": "invalid"}));
    }
}

#[tokio::test]
async fn every_client_reaches_a_deployment_and_is_told_of_filters_in_its_words() {
    let gateway = Gateway::start().await;
    credential(&gateway, json!({})).await;
    for (path, body, text) in in_each_grammar(MINI) {
        let answer = gateway.post(&path, &body).await.json();
        assert_eq!(answer.pointer(text), Some(&json!("You said: hello there")), "{path}: {answer}");
    }
    let before = gateway.calls(OWN).len();
    let blocked = Behaviour::status(400).code("content_filter").message("The prompt was filtered");
    gateway.emulator.script(OWN, [blocked.always()]);
    let expected = [
        (400, "/error/code", "content_filter"),
        (400, "/error/code", "content_filter"),
        (400, "/error/type", "invalid_request_error"),
        // To these clients a blocked prompt is not an error.
        (200, "/promptFeedback/blockReason", "PROHIBITED_CONTENT"),
    ];
    for ((path, body, _), (status, field, value)) in in_each_grammar(MINI).into_iter().zip(expected) {
        let answer = gateway.post(&path, &body).await.must_be(status);
        assert!(answer.text().contains("filtered"), "{path}: {}", answer.text());
        has(&answer.json(), json!({field: value}));
        if path == CHAT {
            refused(&answer, 400, "content_filter");
        }
    }
    assert_eq!(gateway.calls(OWN).len(), before + 4, "nobody is asked again");
    gateway.emulator.clear_scripts();
    gateway.emulator.script(OWN, [Behaviour::ok().finish("content_filter").always()]);
    let filtered = "/choices/0/content_filter_results/violence/filtered";
    let expected = [
        json!({"/choices/0/finish_reason": "content_filter", filtered: true}),
        json!({"/incomplete_details/reason": "content_filter"}),
        json!({"stop_reason": "refusal"}),
        json!({"/candidates/0/finishReason": "SAFETY"}),
    ];
    for ((path, body, _), fields) in in_each_grammar(MINI).into_iter().zip(expected) {
        has(&gateway.post(&path, &body).await.must_be(200).json(), fields);
    }
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
            assert_eq!(gateway.last(OWN).path, at);
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
    assert_eq!(plan["rejected"][0]["reason"], "not_deployed", "{plan}");
    refused(&gateway.chat(&question("openai/gpt-4o")).await, 404, "model_not_served");
    assert_eq!(gateway.calls(OWN).len(), 0);
    // After the provider's prefix, a deployment is found by its own name, and an unknown one is not.
    let answer = gateway.chat_ok(&question(&format!("azure:{DEPLOYMENT}"))).await;
    assert_eq!(answer.header("agent-byok-credential-id"), Some(id.as_str()));
    assert_eq!(gateway.chat(&question("azure:another")).await.status, 404);
    // For a deployment that its owner has deleted, the provider's error is returned.
    gateway.patch(&format!("{CREDENTIALS}/{id}"), json!({"config": {"deployments": {MINI: "gone"}}})).await;
    refused_with(&gateway.chat(&question(MINI)).await, 404, "model_not_found", "deployment");
}

#[tokio::test]
async fn what_a_resource_needs_is_asked_for() {
    let gateway = Gateway::start().await;
    let good = body(&gateway, OWN, json!({}));
    for (wrong, code, pointer) in [
        (with(good.clone(), json!({"base_url": null})), "missing_field", "base_url"),
        (with(good.clone(), json!({"config": null})), "missing_field", "config.deployments"),
        (body(&gateway, OWN, json!({"deployments": {MINI: "a/b"}})), "invalid_value", "config.deployments"),
        (body(&gateway, OWN, json!({"api_version": "newest"})), "invalid_value", "config.api_version"),
        (body(&gateway, OWN, json!({"version": OLD})), "invalid_value", "config.version"),
    ] {
        for path in [CREDENTIALS, "/v2/accounts"] {
            let error = problem(&gateway.admin().post(path, &wrong).await.unwrap(), 400, code);
            assert!(error.to_string().contains(pointer), "{path} {pointer}: {error}");
        }
    }
    let kinds = gateway.get("/v2/provider-credentials/kinds").await;
    let kinds = kinds["data"].as_array().unwrap().iter().filter(|kind| kind["provider"] == "azure_openai");
    let kinds: Vec<&Value> = kinds.collect();
    has(kinds[0], json!({"/schema/required": ["secret", "deployments"], "base_url": null}));
    has(kinds[0], json!({"/schema/properties/deployments/additionalProperties/type": "string"}));
    assert!(kinds[0]["base_url_example"].is_string(), "{}", kinds[0]);
    let auths: Vec<&str> = kinds.iter().map(|kind| kind["auth"].as_str().unwrap()).collect();
    let workload = ["workload_identity", "workload_identity_file", "managed_identity"];
    assert_eq!(auths, [&["api_key", "oauth_client"][..], &workload].concat());
}

/// An Entra application whose secret is a key of the emulator.
fn application(gateway: &Gateway, secret: &str, more: Value) -> Value {
    let directory = format!("{}{ENTRA}", gateway.emulator.origin());
    let entra = json!({"tenant_id": TENANT, "client_id": CLIENT, "token_url": directory});
    with(body(gateway, secret, with(entra, more)), json!({"auth": "oauth_client"}))
}

fn token_requests(gateway: &Gateway) -> usize {
    gateway.emulator.journal().iter().filter(|entry| entry.path.starts_with(ENTRA)).count()
}

#[tokio::test]
async fn an_application_of_the_directory_signs_by_its_token() {
    for version in [json!({}), json!({"api_version": OLD})] {
        let gateway = Gateway::start().await;
        let made = gateway.make(CREDENTIALS, application(&gateway, OWN, version)).await;
        assert_eq!(made["auth"], "oauth_client", "{made}");
        has(&gateway.verified(&format!("{CREDENTIALS}/{}", id_of(&made))).await, json!({"status": "active"}));
        for request in [question(MINI), streaming(MINI)] {
            let answer = gateway.chat_ok(&request).await;
            assert_eq!(said(&answer), "You said: hello there");
            let sent = gateway.last(OWN);
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
async fn a_thousand_requests_wait_for_one_token_which_is_replaced_within_a_request() {
    let gateway = Gateway::start().await;
    gateway.make(CREDENTIALS, application(&gateway, OWN, json!({}))).await;
    assert_eq!(gateway.emulator.tokens_issued(), 0);
    let (client, request) = (gateway.client(), question(MINI));
    let answers = join_all((0..1_000).map(|_| client.post(CHAT, &request))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status == 200));
    assert_eq!((gateway.emulator.tokens_issued(), token_requests(&gateway)), (1, 1));
    gateway.chat_ok(&question(MINI)).await;
    for (round, request) in [question(MINI), streaming(MINI)].into_iter().enumerate() {
        gateway.emulator.revoke_tokens();
        assert_eq!(said(&gateway.chat_ok(&request).await), "You said: hello there");
        assert_eq!(gateway.emulator.tokens_issued(), round as u64 + 2);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_anew_before_it_ends() {
    let gateway = Gateway::start().await;
    gateway.emulator.tokens_live(Duration::from_secs(2));
    gateway.make(CREDENTIALS, application(&gateway, OWN, json!({}))).await;
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
        let path = gateway.own(application(&gateway, secret, more)).await;
        let verified = gateway.verified(&path).await;
        assert_eq!(verified["status"], "invalid", "{verified}");
        assert!(verified["last_error"].as_str().unwrap().contains(words), "{verified}");
        gateway.remove(&path).await;
    }
    // A credential that was valid before and is revoked now: one token request serves all at once.
    gateway.make(CREDENTIALS, application(&gateway, OWN, json!({}))).await;
    gateway.emulator.set_key(OWN, KeyState::Revoked);
    let requests_before = token_requests(&gateway);
    let (client, request) = (gateway.client(), question(MINI));
    let answers = join_all((0..50).map(|_| client.post(CHAT, &request))).await;
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
    gateway.make(CREDENTIALS, application(&gateway, OWN, json!({"token_url": away}))).await;
    for request in [question(MINI), streaming(MINI)] {
        let answer = gateway.chat(&request).await;
        refused(&answer, 502, "upstream_connection_broken");
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": 0, "output_tokens": 0}));
    }
    assert_eq!(gateway.calls(OWN).len(), 0);
    hangs_up.abort();
}

#[tokio::test]
async fn a_secret_does_not_follow_another_directory() {
    let gateway = Gateway::start().await;
    let path = gateway.own(application(&gateway, OWN, json!({}))).await;
    let elsewhere = json!({"config": {"token_url": "https://elsewhere.example"}});
    problem(&gateway.patched(&path, elsewhere).await, 409, "base_url_needs_secret");
    problem(&gateway.patched(&path, json!({"auth": "api_key"})).await, 409, "base_url_needs_secret");
    // A PUT that names no `auth` means the default kind.
    let more = json!({"provider": "azure_openai", "display_name": "mine", "auth": null, "secret": null});
    let whole = with(application(&gateway, OWN, json!({})), more);
    problem(&gateway.admin().put(&path, &whole).await.unwrap(), 409, "base_url_needs_secret");
    let inside = application(&gateway, OWN, json!({"token_url": "http://169.254.169.254"}));
    let error = problem(&gateway.admin().post(CREDENTIALS, &inside).await.unwrap(), 400, "base_url_refused");
    assert!(error.to_string().contains("config.token_url"), "{error}");
    // A change to an API key is accepted together with a new secret.
    let key = json!({"auth": "api_key", "secret": OWN});
    assert_eq!(gateway.patch(&path, key).await["auth"], "api_key");
    gateway.chat_ok(&question(MINI)).await;
    assert_eq!(gateway.last(OWN).header("api-key"), Some(OWN));
}

#[tokio::test]
async fn the_machines_identity_is_the_operators_and_whom_it_lists() {
    let mut gateway = Gateway::start().await;
    gateway.emulator.be_machine_of(POOL);
    let machine = with(body(&gateway, "", json!({})), json!({"auth": "managed_identity", "secret": null}));
    let answer = gateway.admin().post(CREDENTIALS, &machine).await.unwrap();
    let error = problem(&answer, 403, "host_identity_not_allowed").to_string();
    let workspace = gateway.founded.workspace_id.clone();
    assert!(error.contains("TIDEGATE_HOST_IDENTITY") && error.contains(&workspace), "{error}");
    let secret = with(machine.clone(), json!({"secret": OWN, "allow_unpriced": true}));
    problem(&gateway.admin().post("/v2/accounts", &secret).await.unwrap(), 400, "invalid_value");
    gateway.make("/v2/accounts", with(machine.clone(), json!({"allow_unpriced": true}))).await;
    let answer = gateway.chat_ok(&question(MINI)).await;
    assert_eq!(answer.header("agent-execution-profile"), Some("managed_provider"));
    assert!(gateway.last(POOL).header("authorization").unwrap().starts_with("Bearer tok-"));
    // A workspace that the operator lists may use the machine's identity, until it is removed from the list.
    gateway.stop().await;
    gateway.set("TIDEGATE_HOST_IDENTITY", &workspace);
    gateway.start_again().await;
    gateway.make(CREDENTIALS, machine).await;
    assert_eq!(gateway.chat_ok(&question(MINI)).await.header("agent-execution-profile"), Some("byok"));
    gateway.stop().await;
    gateway.set("TIDEGATE_HOST_IDENTITY", "");
    gateway.start_again().await;
    let error = refused(&gateway.chat(&question(MINI)).await, 502, "host_identity_not_allowed");
    assert!(error.to_string().contains("TIDEGATE_HOST_IDENTITY"), "{error}");
}

#[tokio::test]
async fn a_verification_says_what_is_missing() {
    let gateway = Gateway::start().await;
    let verification_error = async |body: Value| {
        let path = gateway.own(body).await;
        let verified = gateway.verified(&path).await;
        gateway.remove(&path).await;
        verified["last_error"].as_str().unwrap_or_else(|| panic!("it is well: {verified}")).to_owned()
    };
    let nobody = "sk-nobody";
    let other = |field: &str| application(&gateway, OWN, json!({field: "another"}));
    let no_id = "the value of a client secret of the application, not with its id.";
    let no_client = "Correct config.client_id, or config.tenant_id: the directory knows no such application.";
    for (body, fix) in [
        (body(&gateway, nobody, json!({})), "check that base_url is that resource's address."),
        (application(&gateway, nobody, json!({})), no_id),
        (other("client_id"), no_client),
        (other("tenant_id"), "Correct config.tenant_id: there is no such directory."),
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
    let path = gateway.own(foundry(&gateway, json!({}))).await;
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    assert_eq!(gateway.last(OWN).path, "/foundry/anthropic/v1/messages/count_tokens");
    for request in [question(HAIKU), streaming(HAIKU)] {
        let answer = gateway.chat_ok(&request).await;
        assert_eq!(said(&answer), "You said: hello there");
        assert_eq!(answer.header("agent-resolved-provider"), Some("azure_foundry"));
        let sent = gateway.last(OWN);
        assert_eq!(
            (sent.path.as_str(), &sent.json()["model"]),
            ("/foundry/anthropic/v1/messages", &json!(CLAUDE))
        );
        assert_eq!((sent.header("x-api-key"), sent.header("api-key")), (Some(OWN), Some(OWN)));
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": sent.prompt_tokens, "estimated": false, "unpriced": true}));
    }
    for (path, body, _) in in_each_grammar(HAIKU).into_iter().skip(1) {
        let answer = gateway.post(&path, &body).await;
        assert!(answer.text().contains("You said: hello there"), "{path}: {}", answer.text());
    }
    let answer = gateway.post("/v1/messages/count_tokens", &question(HAIKU)).await;
    assert_eq!(answer.header("x-tidegate-estimate"), None, "{}", answer.text());
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn claude_on_a_resource_takes_tokens_and_says_what_is_missing() {
    let gateway = Gateway::start().await;
    let config = application(&gateway, OWN, json!({"deployments": {HAIKU: CLAUDE}}))["config"].clone();
    let path = gateway.own(foundry(&gateway, json!({"auth": "oauth_client", "config": config}))).await;
    gateway.chat_ok(&question(HAIKU)).await;
    let sent = gateway.last(OWN);
    assert!(sent.header("authorization").unwrap().starts_with("Bearer tok-"));
    assert_eq!((sent.header("x-api-key"), sent.header("api-key")), (None, None));
    gateway.remove(&path).await;
    let nobody = foundry(&gateway, json!({"secret": "sk-nobody"}));
    let gone = foundry(&gateway, json!({"config": {"deployments": {HAIKU: "gone"}}}));
    for (credential, status, code, fix) in [
        (nobody, 502, "upstream_auth_failed", "one of the resource's own keys"),
        (gone, 404, "model_not_found", "Deploy the model under this name, or correct config.deployments."),
    ] {
        let path = gateway.own(credential).await;
        refused_with(&gateway.chat(&question(HAIKU)).await, status, code, fix);
        gateway.remove(&path).await;
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
    let added = gateway.make(CREDENTIALS, body(&gateway, OWN_SECOND, json!({}))).await;
    let after = gateway.chat_ok(&request).await;
    assert_eq!(after.header("agent-execution-profile"), Some("byok"));
    assert_eq!(after.header("agent-byok-credential-id"), added["id"].as_str());
    assert_eq!(said(&before), said(&after));
}
