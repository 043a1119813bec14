//! The tests of `dialects::repeatable`.

use dialects::is_repeatable_answer;
use domain::Grammar;

fn check(grammar: Grammar, body: &str, expected: bool) {
    assert_eq!(is_repeatable_answer(grammar, body.as_bytes()), expected, "{body}");
}

#[test]
fn whole_texts_alone_are_repeated() {
    let chat = |finish: &str, message: &str| {
        format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"finish_reason":"{finish}","message":{message}}}]}}"#
        )
    };
    let text = r#"{"role":"assistant","content":"Hello."}"#;
    let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    check(Grammar::Chat, &chat("stop", text), true);
    check(Grammar::Chat, &chat("length", text), false);
    check(Grammar::Chat, &chat("content_filter", text), false);
    check(Grammar::Chat, &chat("tool_calls", call), false);
    check(Grammar::Chat, &chat("stop", call), false);
    check(Grammar::Chat, &chat("stop", text)[..60], false);
    check(Grammar::Chat, "", false);
    let chunk = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let begun = chunk(r#"{"role":"assistant","content":"Hello"}"#, "null");
    check(Grammar::Chat, &format!("{begun}{}data: [DONE]\n\n", chunk("{}", "\"stop\"")), true);
    check(Grammar::Chat, &format!("{begun}{}data: [DONE]\n\n", chunk("{}", "\"length\"")), false);
    check(Grammar::Chat, &begun, false);
    let message = |stop: &str| {
        format!(
            r#"{{"id":"m","type":"message","role":"assistant","model":"m","content":[{{"type":"text","text":"Hello."}}],"stop_reason":"{stop}","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
        )
    };
    check(Grammar::Anthropic, &message("end_turn"), true);
    check(Grammar::Anthropic, &message("max_tokens"), false);
}
