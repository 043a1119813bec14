//! Together: requests in its variant of OpenAI's wire format, so that token limits take effect, and finish
//! reasons in the client's.

use harness::Flavour;
use serde_json::json;

use crate::ask::{LLAMA, has, in_each_grammar, question, refused, said, streaming, trace_of, with};
use crate::gateway::{CREDENTIALS, Gateway, OWN};

const SAID: &str = "You said: hello there";

async fn start() -> Gateway {
    let gateway = Gateway::start().await;
    let base_url = gateway.emulator.base_url_of(Flavour::Together);
    gateway.make(CREDENTIALS, json!({"provider": "together", "secret": OWN, "base_url": base_url})).await;
    gateway
}

#[tokio::test]
async fn limits_ends_and_log_probabilities_are_said_in_its_form_and_told_in_the_clients() {
    let gateway = start().await;
    let answer = gateway.chat(&with(question(LLAMA), json!({"logprobs": true}))).await;
    assert_eq!(refused(&answer, 400, "unsupported_parameter")["param"], "logprobs");
    assert_eq!(gateway.calls(OWN).len(), 0);
    gateway.chat_ok(&with(question(LLAMA), json!({"logprobs": false}))).await;
    assert_eq!(gateway.last(OWN).json().get("logprobs"), None);
    gateway.chat_ok(&with(question(LLAMA), json!({"logprobs": 1, "top_k": 40}))).await;
    // Its own words pass.
    has(&gateway.last(OWN).json(), json!({"logprobs": 1, "top_k": 40}));
    let answer = gateway.chat_ok(&question(LLAMA)).await;
    has(&answer.json(), json!({"/choices/0/message/content": SAID, "/choices/0/finish_reason": "stop"}));
    let answer = gateway.chat_ok(&streaming(LLAMA)).await;
    let text = answer.text();
    assert_eq!(said(&answer), SAID);
    assert!(text.contains(r#""finish_reason":"stop""#) && !text.contains("eos"), "{text}");
    let [_, responses, messages, _] = in_each_grammar(LLAMA);
    let answer = gateway.post(&messages.0, &messages.1).await.json();
    has(&answer, json!({"/content/0/text": SAID, "stop_reason": "end_turn"}));
    has(&gateway.post(&responses.0, &responses.1).await.json(), json!({"status": "completed"}));
    let limited = with(question(LLAMA), json!({"max_completion_tokens": 2, "stop": "never", "seed": 7}));
    for request in [limited.clone(), with(limited, json!({"stream": true}))] {
        let answer = gateway.chat_ok(&request).await;
        let sent = gateway.last(OWN);
        has(&sent.json(), json!({"max_tokens": 2, "stop": ["never"], "seed": 7}));
        assert_eq!(sent.json().get("max_completion_tokens"), None, "{}", sent.json());
        let record = gateway.settled(&trace_of(&answer)).await;
        has(&record, json!({"input_tokens": sent.prompt_tokens, "output_tokens": 2}));
        has(&record, json!({"estimated": false, "unpriced": false}));
    }
    assert_eq!(gateway.emulator.violations(), []);
}
