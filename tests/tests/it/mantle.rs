//! Bedrock's Mantle endpoint: each vendor's models in that vendor's wire format, behind the AWS signature.

use harness::bedrock::{EXTERNAL_ID, REGION, ROLE, access_keys};
use harness::{Config, Entry, Model};
use serde_json::{Value, json};

use crate::ask::{question, refused, said, streaming, trace_of, with};
use crate::gateway::{self, Gateway, OWN, id_of};

const CREDENTIALS: &str = "/v2/provider-credentials";
const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = "mantle:anthropic.claude-haiku-4-5";
/// Priced in the catalogue, like the next.
const OPEN: &str = "openai/gpt-oss-120b";
const FRONTIER: &str = "mantle:openai.gpt-5.4";

fn config() -> Config {
    let open = ["openai.gpt-oss-120b", "qwen.qwen3-32b"].map(Model::chat);
    let frontier = Model::reasoning("openai.gpt-5.4");
    open.into_iter().chain([frontier]).fold(gateway::config(), Config::model)
}

fn body(gateway: &Gateway, more: Value) -> Value {
    let keys = json!({
        "provider": "mantle", "auth": "iam_static", "secret": access_keys(OWN), "region": REGION,
        "base_url": gateway.emulator.mantle_url(),
    });
    with(keys, more)
}

async fn verify(gateway: &Gateway, made: &Value) -> Value {
    let path = format!("{CREDENTIALS}/{}/verify", id_of(made));
    gateway.admin().post(&path, &json!({})).await.unwrap().json()
}

fn last(gateway: &Gateway) -> Entry {
    gateway.calls(OWN).pop().expect("a call")
}

#[tokio::test]
async fn each_model_is_asked_where_its_vendor_answers() {
    let gateway = Gateway::with(config(), &[]).await;
    let made = gateway.make(CREDENTIALS, body(&gateway, json!({}))).await;
    let credential = verify(&gateway, &made).await;
    assert_eq!(credential["status"], "active", "{credential}");
    for (model, path) in [
        (OPEN, "/mantle/v1/chat/completions"),
        ("mantle:qwen.qwen3-32b", "/mantle/v1/chat/completions"),
        (FRONTIER, "/mantle/openai/v1/responses"),
        (CLAUDE, "/mantle/anthropic/v1/messages"),
    ] {
        for request in [question(model), streaming(model)] {
            let answer = gateway.chat_ok(&request).await;
            assert_eq!(said(&answer), "You said: hello there", "{model}");
            assert_eq!(answer.header("agent-execution-profile"), Some("byok"));
            assert_eq!(answer.header("agent-resolved-provider"), Some("bedrock_mantle"));
            let sent = last(&gateway);
            assert_eq!(sent.path, path, "{model}");
            assert!(sent.header("authorization").unwrap().contains("/us-east-1/bedrock-mantle/aws4_request"));
            let record = gateway.settled(&trace_of(&answer)).await;
            assert_eq!(record["input_tokens"], sent.prompt_tokens, "{record}");
            let is_priced = [OPEN, FRONTIER].contains(&model);
            assert_eq!(
                (&record["estimated"], &record["unpriced"]),
                (&json!(false), &json!(!is_priced)),
                "{record}"
            );
        }
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_is_said_in_a_vendors_grammar_stays_as_it_is() {
    let gateway = Gateway::with(config(), &[]).await;
    gateway.make(CREDENTIALS, body(&gateway, json!({}))).await;
    let turns = json!([{"role": "user", "content": [
        {"type": "text", "text": "hello there", "cache_control": {"type": "ephemeral"}},
    ]}]);
    let request =
        json!({"model": CLAUDE, "max_tokens": 50, "messages": turns, "metadata": {"user_id": "u-1"}});
    let answer = gateway.client().post(MESSAGES, &request).await.unwrap();
    assert_eq!(answer.json()["content"][0]["text"], "You said: hello there", "{}", answer.text());
    assert_eq!(last(&gateway).json(), with(request, json!({"model": "anthropic.claude-haiku-4-5"})));
    assert_eq!(answer.header("agent-dropped-params"), None);
    let count = json!({"model": CLAUDE, "messages": turns});
    let answer = gateway.client().post("/v1/messages/count_tokens", &count).await.unwrap();
    assert_eq!(answer.header("x-tidegate-estimate"), None, "{}", answer.text());
    assert_eq!(last(&gateway).path, "/mantle/anthropic/v1/messages/count_tokens");
    let request =
        json!({"model": FRONTIER, "input": "hello there", "store": false, "reasoning": {"effort": "low"}});
    let answer = gateway.client().post("/v1/responses", &request).await.unwrap();
    let text = answer.json().pointer("/output/1/content/0/text").cloned();
    assert_eq!(text, Some(json!("You said: hello there")), "{}", answer.text());
    assert_eq!(last(&gateway).json(), with(request, json!({"model": "openai.gpt-5.4"})));
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn keys_and_roles_open_it_as_they_open_the_other() {
    let gateway = Gateway::with(config(), &[]).await;
    let role = json!({"role_arn": ROLE, "external_id": EXTERNAL_ID, "token_url": gateway.emulator.sts_url()});
    for (more, prefix) in [
        (json!({"auth": "api_key", "secret": OWN}), format!("Bearer {OWN}")),
        (json!({"auth": "iam_role", "config": role}), "AWS4-HMAC-SHA256 Credential=ASIA".to_owned()),
    ] {
        let made = gateway.make(CREDENTIALS, body(&gateway, more)).await;
        gateway.chat_ok(&question(OPEN)).await;
        let sent = last(&gateway);
        assert!(sent.header("authorization").unwrap().starts_with(&prefix), "{prefix}");
        gateway.remove(&format!("{CREDENTIALS}/{}", id_of(&made))).await;
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn what_it_refuses_is_told_with_what_helps() {
    let gateway = Gateway::with(config(), &[]).await;
    let forged = with(access_keys(OWN), json!({"secret_access_key": "nobody"}));
    for (more, model, status, code, words) in [
        (json!({"secret": forged}), OPEN, 502, "upstream_auth_failed", "secret access key that belongs"),
        (json!({"region": "eu-west-1"}), OPEN, 502, "upstream_auth_failed", "Give the region"),
        (json!({}), "mantle:anthropic.claude-none", 404, "model_not_found", ""),
        (json!({}), "mantle:openai.gpt-none", 404, "model_not_found", ""),
    ] {
        let made = gateway.make(CREDENTIALS, body(&gateway, more)).await;
        let error = refused(&gateway.chat(&question(model)).await, status, code);
        assert!(error["message"].as_str().unwrap().contains(words), "{words}: {error}");
        gateway.remove(&format!("{CREDENTIALS}/{}", id_of(&made))).await;
    }
    let made = gateway.make(CREDENTIALS, body(&gateway, json!({}))).await;
    gateway.emulator.deny(OWN);
    let error = refused(&gateway.chat(&question(OPEN)).await, 403, "upstream_permission_denied");
    assert!(error["message"].as_str().unwrap().contains("Allow bedrock-mantle:CreateInference"), "{error}");
    let credential = verify(&gateway, &made).await;
    assert!(
        credential["last_error"].as_str().unwrap().contains("Allow bedrock-mantle:ListModels"),
        "{credential}"
    );
}
