//! The content checks of policies: what they find is masked or refused before anything is sent, masked in answers
//! also where a stream cuts it into pieces, and put back where that was asked for. Parameters are fitted.

use harness::Behaviour;
use serde_json::{Value, json};

use crate::ask::{CHAT, MINI, has, problem, refused, said, streaming, text_of, trace_of, with};
use crate::gateway::{Gateway, OWN};

const MAIL: &str = "ann.lee@mail.example.com";
const IBAN: &str = "DE89 3704 0044 0532 0130 00";

async fn gateway(rules: Value) -> (Gateway, Value) {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url();
    let credential = json!({"provider": "openai", "secret": OWN, "base_url": base_url, "retention": "zero"});
    gateway.make("/v2/provider-credentials", credential).await;
    let project = json!({"project_id": gateway.founded.project_id});
    let policy = gateway.make("/v2/policies", with(project, rules)).await;
    (gateway, policy)
}

fn check(detect: &str, action: &str, direction: &str, restore: bool) -> Value {
    json!({"detect": detect, "action": action, "direction": direction, "restore": restore})
}

fn asking(text: &str) -> Value {
    json!({"model": MINI, "messages": [{"role": "user", "content": text}]})
}

/// The bodies that were sent upstream.
fn sent(gateway: &Gateway) -> Vec<Value> {
    let posts = gateway.emulator.journal().into_iter().filter(|entry| entry.method == "POST");
    posts.map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect()
}

#[tokio::test]
async fn what_is_masked_does_not_leave_and_comes_back_in_the_answer() {
    let checks = [check("email", "mask", "input", true), check("iban", "mask", "input", false)];
    let (gateway, _) = gateway(json!({"checks": checks})).await;
    let reply = "I wrote to [EMAIL_1] about [IBAN_1], not to [EMAIL_2].";
    gateway.emulator.script(OWN, [Behaviour::ok().text(reply).always()]);
    let restored = format!("I wrote to {MAIL} about [IBAN_1], not to [EMAIL_2].");
    let text = format!("Write to {MAIL} that {IBAN} is ours; {MAIL} knows.");
    let turn = with(asking(&text), json!({"max_tokens": 100}));
    let input = json!({"model": MINI, "input": text});
    for (path, ask) in [(CHAT, &turn), ("/v1/messages", &turn), ("/v1/responses", &input)] {
        for stream in [false, true] {
            let body = with(ask.clone(), json!({"stream": stream}));
            let answer = gateway.client().post(path, &body).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let body = answer.text();
            assert!(stream || body.contains(&restored), "{path}: {body}");
            assert!(!body.contains("[EMAIL_1]") && (body.contains("[IBAN_1]") || stream), "{path}: {body}");
            if path == CHAT && stream {
                assert_eq!(said(&answer), restored);
            }
        }
    }
    for body in sent(&gateway) {
        let body = body.to_string();
        assert!(body.contains("Write to [EMAIL_1] that [IBAN_1] is ours; [EMAIL_1] knows."), "{body}");
        assert!(!body.contains(MAIL) && !body.contains("3704"), "{body}");
    }
    let answer = gateway.chat_ok(&asking(&text)).await;
    gateway.listed(7).await;
    let record = gateway.settled(&trace_of(&answer)).await;
    let found = json!([
        {"detect": "email", "action": "mask", "direction": "input", "count": 2},
        {"detect": "iban", "action": "mask", "direction": "input", "count": 1},
    ]);
    assert_eq!(record["checks"], found, "{record}");
    assert!(!record.to_string().contains(MAIL));
}

#[tokio::test]
async fn what_is_blocked_is_refused_by_its_name_and_nothing_is_sent() {
    let words = json!({"detect": "words", "words": ["Project Tide"], "action": "block"});
    let checks = json!([words, check("secrets", "block", "input", false)]);
    let (gateway, policy) = gateway(json!({"checks": checks})).await;
    for text in ["about project tide", "the key is sk-aaaaaaaaaaaaaaaaaaaaaaaa", "\u{70}roject tide"] {
        let error = refused(&gateway.chat(&asking(text)).await, 403, "policy_forbids");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(policy["id"].as_str().unwrap()) && message.contains("(checks)"), "{error}");
        assert!(!message.contains("sk-a"), "{error}");
    }
    // What can't be read can't be checked.
    let batch = json!({"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"});
    let form = gateway.client().post("/v1/batches", &batch).await.unwrap();
    assert_eq!(form.header("agent-policy-rule"), Some("checks"), "{}", form.text());
    assert!(sent(&gateway).is_empty());
    gateway.chat_ok(&asking("about the tide")).await;
}

#[tokio::test]
async fn an_answer_is_masked_across_the_pieces_of_a_stream() {
    let checks = ["email", "card"].map(|detect| check(detect, "mask", "output", false));
    let (gateway, _) = gateway(json!({"checks": checks})).await;
    let rest = "That is all there is to say about it. ".repeat(6);
    let reply = format!("Write to {MAIL} and charge 4111 1111 1111 1111. {rest}");
    gateway.emulator.script(OWN, [Behaviour::ok().text(&reply).always()]);
    let masked = reply.replace(MAIL, "[EMAIL]").replace("4111 1111 1111 1111", "[CARD]");
    assert_eq!(said(&gateway.chat_ok(&asking("hello")).await), masked);
    let answer = gateway.chat_ok(&streaming(MINI)).await;
    let events = harness::sse::events(&answer.body);
    assert_eq!(text_of(&events), masked);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    gateway.listed(2).await;
    let record = gateway.settled(&trace_of(&answer)).await;
    let found = json!([
        {"detect": "email", "action": "mask", "direction": "output", "count": 1},
        {"detect": "card", "action": "mask", "direction": "output", "count": 1},
    ]);
    assert_eq!(record["checks"], found, "{record}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_blocked_answer_ends_as_filtered_content_does() {
    let (gateway, _) = gateway(json!({"checks": [check("email", "block", "output", false)]})).await;
    gateway.emulator.script(OWN, [Behaviour::ok().text(format!("Write to {MAIL} now.")).always()]);
    let answer = gateway.chat_ok(&asking("hello")).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{}", answer.text());
    assert_eq!(said(&answer), "Write to ");
    let answer = gateway.chat_ok(&streaming(MINI)).await;
    assert_eq!(said(&answer), "Write to ");
    let text = answer.text();
    assert!(text.contains("\"content_filter\"") && !text.contains("now"), "{text}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn parameters_are_moved_into_their_range_and_defaults_are_sent() {
    let temperature = json!({"min": 0, "max": 1, "default": 0.3, "clamp": true});
    let parameters = json!({"temperature": temperature, "top_p": {"max": 0.9}});
    let rules = json!({"parameters": parameters, "limits": {"max_output_tokens": 50}, "retention": "zero"});
    let (gateway, _) = gateway(rules).await;
    gateway.chat_ok(&with(asking("hello"), json!({"temperature": 2}))).await;
    gateway.chat_ok(&with(asking("hello"), json!({"max_tokens": 7}))).await;
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "generationConfig": {"temperature": 1.5}});
    let path = format!("/v1beta/models/{MINI}:generateContent");
    gateway.client().post(&path, &gemini).await.unwrap().must_be(200);
    let stored = json!({"model": MINI, "input": "hello"});
    gateway.client().post("/v1/responses", &stored).await.unwrap().must_be(200);
    let [moved, set, translated, answer] = <[Value; 4]>::try_from(sent(&gateway)).unwrap();
    has(&moved, json!({"temperature": 1, "max_completion_tokens": 50}));
    has(&set, json!({"temperature": 0.3, "max_tokens": 7}));
    assert!(set.get("max_completion_tokens").is_none(), "{set}");
    has(&translated, json!({"temperature": 1}));
    has(&answer, json!({"store": false, "max_output_tokens": 50}));
    let over = gateway.chat(&with(asking("hello"), json!({"top_p": 1}))).await;
    let refused = refused(&over, 403, "policy_forbids");
    assert_eq!(refused["param"], "top_p");
    assert!(refused["message"].as_str().unwrap().contains("(parameters)"), "{refused}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_check_that_can_not_be_used_is_refused_when_it_is_saved() {
    let gateway = Gateway::start().await;
    let project = gateway.founded.project_id.clone();
    let check = |check: Value| json!({"checks": [with(check, json!({"action": "mask"}))]});
    let parameters = |parameters: Value| json!({"parameters": parameters});
    for (rules, param) in [
        (check(json!({"detect": "pattern"})), "checks[0].pattern"),
        (check(json!({"detect": "pattern", "pattern": "("})), "checks[0].pattern"),
        (check(json!({"detect": "pattern", "pattern": "a*"})), "checks[0].pattern"),
        (check(json!({"detect": "pattern", "pattern": r"\w{1000}{1000}"})), "checks[0].pattern"),
        (check(json!({"detect": "words"})), "checks[0].words"),
        (check(json!({"detect": "email", "pattern": "a"})), "checks[0].pattern"),
        (parameters(json!({"temperature": {"min": 1, "max": 0}})), "parameters.temperature"),
        (parameters(json!({"temperature": {"max": 1, "default": 2}})), "parameters.temperature"),
        (parameters(json!({"topP": {"max": 1}})), "parameters.topP"),
    ] {
        let body = with(json!({"project_id": project}), rules);
        let answer = gateway.admin().post("/v2/policies", &body).await.unwrap();
        assert_eq!(problem(&answer, 400, "invalid_value")["param"], param, "{}", answer.text());
    }
}
