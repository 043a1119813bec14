//! Bedrock's Mantle endpoint: each vendor's models in that vendor's wire format, behind the AWS signature.

use harness::bedrock::{EXTERNAL_ID, REGION, ROLE, access_keys};
use harness::{Config, Model};
use serde_json::{Value, json};

use crate::ask::{has, question, refused_with, said, streaming, trace_of, with};
use crate::gateway::{self, CREDENTIALS, Gateway, OWN};

const MESSAGES: &str = "/v1/messages";
const CLAUDE: &str = "mantle:anthropic.claude-haiku-4-5";
/// Priced in the catalogue, like the next.
const OPEN: &str = "openai/gpt-oss-120b";
const FRONTIER: &str = "mantle:openai.gpt-5.4";

fn config() -> Config {
    let models = ["openai.gpt-oss-120b", "qwen.qwen3-32b"].map(Model::chat).into_iter();
    models.chain([Model::reasoning("openai.gpt-5.4")]).fold(gateway::config(), Config::model)
}

fn body(gateway: &Gateway, more: Value) -> Value {
    let keys = json!({
        "provider": "mantle", "auth": "iam_static", "secret": access_keys(OWN), "region": REGION,
        "base_url": gateway.emulator.mantle_url(),
    });
    with(keys, more)
}

#[tokio::test]
async fn each_model_is_asked_where_its_vendor_answers() {
    let gateway = Gateway::with(config(), &[]).await;
    let path = gateway.own(body(&gateway, json!({}))).await;
    has(&gateway.verified(&path).await, json!({"status": "active"}));
    for (model, asked) in [
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
            let sent = gateway.last(OWN);
            assert_eq!(sent.path, asked, "{model}");
            assert!(sent.header("authorization").unwrap().contains("/us-east-1/bedrock-mantle/aws4_request"));
            let record = gateway.settled(&trace_of(&answer)).await;
            assert_eq!(record["input_tokens"], sent.prompt_tokens, "{record}");
            let is_priced = [OPEN, FRONTIER].contains(&model);
            has(&record, json!({"estimated": false, "unpriced": !is_priced}));
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
    let answer = gateway.post(MESSAGES, &request).await;
    assert_eq!(answer.json()["content"][0]["text"], "You said: hello there", "{}", answer.text());
    assert_eq!(gateway.last(OWN).json(), with(request, json!({"model": "anthropic.claude-haiku-4-5"})));
    assert_eq!(answer.header("agent-dropped-params"), None);
    let count = json!({"model": CLAUDE, "messages": turns});
    let answer = gateway.post("/v1/messages/count_tokens", &count).await;
    assert_eq!(answer.header("x-tidegate-estimate"), None, "{}", answer.text());
    assert_eq!(gateway.last(OWN).path, "/mantle/anthropic/v1/messages/count_tokens");
    let request =
        json!({"model": FRONTIER, "input": "hello there", "store": false, "reasoning": {"effort": "low"}});
    let answer = gateway.post("/v1/responses", &request).await;
    let text = answer.json().pointer("/output/1/content/0/text").cloned();
    assert_eq!(text, Some(json!("You said: hello there")), "{}", answer.text());
    assert_eq!(gateway.last(OWN).json(), with(request, json!({"model": "openai.gpt-5.4"})));
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
        let path = gateway.own(body(&gateway, more)).await;
        gateway.chat_ok(&question(OPEN)).await;
        assert!(gateway.last(OWN).header("authorization").unwrap().starts_with(&prefix), "{prefix}");
        gateway.remove(&path).await;
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
        let path = gateway.own(body(&gateway, more)).await;
        refused_with(&gateway.chat(&question(model)).await, status, code, words);
        gateway.remove(&path).await;
    }
    let path = gateway.own(body(&gateway, json!({}))).await;
    gateway.emulator.deny(OWN);
    let answer = gateway.chat(&question(OPEN)).await;
    refused_with(&answer, 403, "upstream_permission_denied", "Allow bedrock-mantle:CreateInference");
    let error = gateway.verified(&path).await["last_error"].clone();
    assert!(error.as_str().unwrap().contains("Allow bedrock-mantle:ListModels"), "{error}");
}
