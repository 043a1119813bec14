//! Together: requests in its variant of OpenAI's wire format, so that token limits take effect, and finish
//! reasons in the client's.

use harness::{Entry, Flavour};
use serde_json::{Value, json};

use crate::ask::{LLAMA, question, refused, said, streaming, trace_of, with};
use crate::gateway::{Gateway, OWN};

const SAID: &str = "You said: hello there";

async fn start() -> Gateway {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url_of(Flavour::Together);
    gateway
        .make(
            "/v2/provider-credentials",
            json!({"provider": "together", "secret": OWN, "base_url": base_url}),
        )
        .await;
    gateway
}

fn last(gateway: &Gateway) -> Entry {
    gateway.calls(OWN).pop().expect("a call")
}

#[tokio::test]
async fn an_end_is_told_in_the_clients_words() {
    let gateway = start().await;
    let answer = gateway.chat_ok(&question(LLAMA)).await;
    assert_eq!(
        (said(&answer).as_str(), &answer.json()["choices"][0]["finish_reason"]),
        (SAID, &json!("stop"))
    );
    let answer = gateway.chat_ok(&streaming(LLAMA)).await;
    let text = answer.text();
    assert_eq!(said(&answer), SAID);
    assert!(text.contains(r#""finish_reason":"stop""#) && !text.contains("eos"), "{text}");
    let user = json!([{"role": "user", "content": "hello there"}]);
    let messages = json!({"model": LLAMA, "max_tokens": 50, "messages": user});
    let answer = gateway.client().post("/v1/messages", &messages).await.unwrap().json();
    assert_eq!((&answer["content"][0]["text"], &answer["stop_reason"]), (&json!(SAID), &json!("end_turn")));
    let responses = json!({"model": LLAMA, "input": "hello there", "store": false});
    let answer = gateway.client().post("/v1/responses", &responses).await.unwrap().json();
    assert_eq!(answer["status"], "completed", "{answer}");
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn a_length_in_the_newer_word_is_a_limit() {
    let gateway = start().await;
    let limited = with(question(LLAMA), json!({"max_completion_tokens": 2, "stop": "never", "seed": 7}));
    for request in [limited.clone(), with(limited, json!({"stream": true}))] {
        let answer = gateway.chat_ok(&request).await;
        let sent = last(&gateway);
        let body = sent.json();
        assert_eq!(
            (&body["max_tokens"], &body["stop"], &body["seed"]),
            (&json!(2), &json!(["never"]), &json!(7))
        );
        assert_eq!(body.get("max_completion_tokens"), None, "{body}");
        let record = gateway.settled(&trace_of(&answer)).await;
        assert_eq!(
            (&record["input_tokens"], &record["output_tokens"]),
            (&json!(sent.prompt_tokens), &json!(2)),
            "{record}"
        );
        assert_eq!((&record["estimated"], &record["unpriced"]), (&json!(false), &json!(false)), "{record}");
    }
    assert_eq!(gateway.emulator.violations(), []);
}

#[tokio::test]
async fn log_probabilities_are_asked_for_in_its_own_form_or_not_at_all() {
    let gateway = start().await;
    let error = refused(
        &gateway.chat(&with(question(LLAMA), json!({"logprobs": true}))).await,
        400,
        "unsupported_parameter",
    );
    assert_eq!(error["param"], "logprobs", "{error}");
    assert_eq!(gateway.calls(OWN).len(), 0);
    gateway.chat_ok(&with(question(LLAMA), json!({"logprobs": false}))).await;
    assert_eq!(last(&gateway).json().get("logprobs"), None);
    gateway.chat_ok(&with(question(LLAMA), json!({"logprobs": 1, "top_k": 40}))).await;
    let body: Value = last(&gateway).json();
    assert_eq!((&body["logprobs"], &body["top_k"]), (&json!(1), &json!(40)), "its own words pass");
    assert_eq!(gateway.emulator.violations(), []);
}
