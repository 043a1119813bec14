//! Chat templates render byte for byte as in Python's Jinja. The goldens are recorded by
//! `scripts/template-goldens.py`.

use prompts::{Conversation, Last, SpecialTokens, Template};
use serde_json::{Map, Value};

/// Noon of the day on which the goldens were recorded.
const NOON: u64 = 1_767_614_400;

const TEMPLATES: [(&str, &str); 4] = [
    ("qwen3", include_str!("../fixtures/templates/qwen3.jinja")),
    ("qwen3_coder", include_str!("../fixtures/templates/qwen3_coder.jinja")),
    ("llama3", include_str!("../fixtures/templates/llama3.jinja")),
    ("chatml", include_str!("../fixtures/templates/chatml.jinja")),
];

const SPELT: &str = "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|python_tag|> <s> </s> \
    <|im_start|> <|im_end|> <|endoftext|> <think> </think> <tool_call> [INST]";

fn conversation(case: &Map<String, Value>) -> Conversation {
    let messages = case["messages"].as_array().unwrap().clone();
    let last = match (case.get("continue_final_message"), case.get("add_generation_prompt")) {
        (Some(Value::Bool(true)), _) => Last::More,
        (_, Some(Value::Bool(false))) => Last::Nothing,
        _ => Last::Answer,
    };
    let mut conversation = Conversation::new(messages, case["tools"].as_array().cloned(), last);
    conversation.set_own("bos_token", "<|begin_of_text|>");
    conversation.set_own("eos_token", "<|im_end|>");
    if let Some(thinks) = case.get("enable_thinking") {
        conversation.set("enable_thinking", thinks.clone());
    }
    conversation
}

#[test]
fn every_conversation_is_rendered_to_the_same_bytes() {
    let cases: Vec<Map<String, Value>> =
        serde_json::from_str(include_str!("../fixtures/templates/conversations.json")).unwrap();
    let goldens: Value = serde_json::from_str(include_str!("../fixtures/templates/goldens.json")).unwrap();
    assert!(cases.len() >= 30);
    // Looking for special-token text does not change the rendered text.
    let special_tokens = SpecialTokens::spelt(SPELT.split_whitespace());
    let mut wrong = Vec::new();
    for (name, source) in TEMPLATES {
        let template = Template::new(source).unwrap();
        for case in &cases {
            let case_name = case["name"].as_str().unwrap();
            let golden = &goldens[name][case_name];
            let text = conversation(case).open(&template, &special_tokens, &|| 7, NOON);
            match (golden.get("text").and_then(Value::as_str), text) {
                (Some(golden), Ok(opening)) if golden == opening.text => {}
                (None, Err(_)) if golden["refused"] == true => {}
                (golden, text) => wrong.push(format!("{name}, {case_name}:\n{golden:?}\n{text:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
