//! The content checks of policies: what they find is masked or refused before anything is sent, masked in answers
//! also where a stream cuts it into pieces, and put back where that was asked for. Parameters are fitted.

use harness::Behaviour;
use serde_json::{Value, json};

use crate::ask::{MINI, refused, said, streaming, text_of, trace_of, with};
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
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let ask = match path {
            "/v1/responses" => json!({"model": MINI, "input": text}),
            _ => with(asking(&text), json!({"max_tokens": 100})),
        };
        for stream in [false, true] {
            let answer =
                gateway.client().post(path, &with(ask.clone(), json!({"stream": stream}))).await.unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let body = answer.text();
            assert!(stream || body.contains(&restored), "{path}: {body}");
            assert!(!body.contains("[EMAIL_1]") && (body.contains("[IBAN_1]") || stream), "{path}: {body}");
            if path == "/v1/chat/completions" && stream {
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
    let record = gateway.get(&format!("/v2/requests/{}", trace_of(&answer))).await;
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
    let (gateway, policy) =
        gateway(json!({"checks": [words, check("secrets", "block", "input", false)]})).await;
    for text in ["about project tide", "the key is sk-aaaaaaaaaaaaaaaaaaaaaaaa", "\u{70}roject tide"] {
        let error = refused(&gateway.chat(&asking(text)).await, 403, "policy_forbids");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(policy["id"].as_str().unwrap()) && message.contains("(checks)"), "{error}");
        assert!(!message.contains("sk-a"), "{error}");
    }
    // What can't be read can't be checked.
    let form = gateway.client().post("/v1/batches", &json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"})).await.unwrap();
    assert_eq!(form.header("agent-policy-rule"), Some("checks"), "{}", form.text());
    assert!(sent(&gateway).is_empty());
    gateway.chat_ok(&asking("about the tide")).await;
}

#[tokio::test]
async fn an_answer_is_masked_across_the_pieces_of_a_stream() {
    let (gateway, _) = gateway(
        json!({"checks": [check("email", "mask", "output", false), check("card", "mask", "output", false)]}),
    )
    .await;
    let reply = format!(
        "Write to {MAIL} and charge 4111 1111 1111 1111. {}",
        "That is all there is to say about it. ".repeat(6)
    );
    gateway.emulator.script(OWN, [Behaviour::ok().text(&reply).always()]);
    let masked = reply.replace(MAIL, "[EMAIL]").replace("4111 1111 1111 1111", "[CARD]");
    assert_eq!(said(&gateway.chat_ok(&asking("hello")).await), masked);
    let answer = gateway.chat_ok(&streaming(MINI)).await;
    let events = harness::sse::events(&answer.body);
    assert_eq!(text_of(&events), masked);
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    gateway.listed(2).await;
    let record = gateway.get(&format!("/v2/requests/{}", trace_of(&answer))).await;
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
    gateway.emulator.script(OWN, [Behaviour::ok().text(&format!("Write to {MAIL} now.")).always()]);
    let answer = gateway.chat_ok(&asking("hello")).await;
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{}", answer.text());
    assert_eq!(said(&answer), "Write to ");
    let answer = gateway.chat_ok(&streaming(MINI)).await;
    assert_eq!(said(&answer), "Write to ");
    assert!(
        answer.text().contains("\"content_filter\"") && !answer.text().contains("now"),
        "{}",
        answer.text()
    );
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn parameters_are_moved_into_their_range_and_defaults_are_sent() {
    let rules = json!({
        "parameters": {"temperature": {"min": 0, "max": 1, "default": 0.3, "clamp": true}, "top_p": {"max": 0.9}},
        "limits": {"max_output_tokens": 50},
        "retention": "zero",
    });
    let (gateway, _) = gateway(rules).await;
    gateway.chat_ok(&with(asking("hello"), json!({"temperature": 2}))).await;
    gateway.chat_ok(&with(asking("hello"), json!({"max_tokens": 7}))).await;
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}], "generationConfig": {"temperature": 1.5}});
    let path = format!("/v1beta/models/{MINI}:generateContent");
    assert_eq!(gateway.client().post(&path, &gemini).await.unwrap().status, 200);
    let stored = json!({"model": MINI, "input": "hello"});
    assert_eq!(gateway.client().post("/v1/responses", &stored).await.unwrap().status, 200);
    let [moved, set, translated, answer] = <[Value; 4]>::try_from(sent(&gateway)).unwrap();
    assert_eq!((&moved["temperature"], &moved["max_completion_tokens"]), (&json!(1), &json!(50)), "{moved}");
    assert_eq!((&set["temperature"], &set["max_tokens"]), (&json!(0.3), &json!(7)), "{set}");
    assert!(set.get("max_completion_tokens").is_none(), "{set}");
    assert_eq!(translated["temperature"], json!(1), "{translated}");
    assert_eq!((&answer["store"], &answer["max_output_tokens"]), (&json!(false), &json!(50)), "{answer}");
    let refused =
        refused(&gateway.chat(&with(asking("hello"), json!({"top_p": 1}))).await, 403, "policy_forbids");
    assert_eq!(refused["param"], "top_p");
    assert!(refused["message"].as_str().unwrap().contains("(parameters)"), "{refused}");
}

#[cfg(feature = "broker")]
#[tokio::test]
async fn a_check_that_can_not_be_used_is_refused_when_it_is_saved() {
    let gateway = Gateway::start().await;
    let project = gateway.founded.project_id.clone();
    for (check, param) in [
        (json!({"detect": "pattern", "action": "mask"}), "checks[0].pattern"),
        (json!({"detect": "pattern", "pattern": "(", "action": "mask"}), "checks[0].pattern"),
        (json!({"detect": "pattern", "pattern": "a*", "action": "mask"}), "checks[0].pattern"),
        (json!({"detect": "pattern", "pattern": r"\w{1000}{1000}", "action": "mask"}), "checks[0].pattern"),
        (json!({"detect": "words", "action": "mask"}), "checks[0].words"),
        (json!({"detect": "email", "pattern": "a", "action": "mask"}), "checks[0].pattern"),
    ] {
        let body = json!({"project_id": project, "checks": [check]});
        let answer = gateway.admin().post("/v2/policies", &body).await.unwrap();
        assert_eq!(crate::ask::problem(&answer, 400, "invalid_value")["param"], param, "{}", answer.text());
    }
    for (parameters, param) in [
        (json!({"temperature": {"min": 1, "max": 0}}), "parameters.temperature"),
        (json!({"temperature": {"max": 1, "default": 2}}), "parameters.temperature"),
        (json!({"topP": {"max": 1}}), "parameters.topP"),
    ] {
        let body = json!({"project_id": project, "parameters": parameters});
        let answer = gateway.admin().post("/v2/policies", &body).await.unwrap();
        assert_eq!(crate::ask::problem(&answer, 400, "invalid_value")["param"], param, "{}", answer.text());
    }
}
