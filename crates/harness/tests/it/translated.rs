//! Every request that the gateway translates is one that the strict emulator takes: the golden exchanges, and
//! requests made up of each dialect's fields, to each model that has its own rules.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use catalogue::Catalogue;
use conversation::request::Addressed;
use conversation::target::TargetModel;
use dialects::{decode_request, read_prompt, translate_request};
use domain::{Grammar, Operation};
use harness::Emulator;
use harness::client::Client;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{CHAT, KEY, WITHIN, start};

/// The provider in the catalogue, its dialect, and a model with its own rules.
const TARGETS: &[(&str, Grammar, &str)] = &[
    ("anthropic", Grammar::Anthropic, "claude-haiku-4-5"),
    ("anthropic", Grammar::Anthropic, "claude-sonnet-4-6"),
    ("anthropic", Grammar::Anthropic, "claude-opus-5"),
    ("openai", Grammar::Chat, "gpt-4o-mini"),
    ("openai", Grammar::Chat, "gpt-5-mini"),
    ("openai", Grammar::Responses, "gpt-4o-mini"),
    ("openai", Grammar::Responses, "gpt-5-mini"),
    ("gemini", Grammar::Gemini, "gemini-2.5-flash"),
    ("gemini", Grammar::Gemini, "gemini-3-pro-preview"),
    ("aws_bedrock", Grammar::Converse, "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("aws_bedrock", Grammar::Converse, "amazon.nova-lite-v1:0"),
];
const DOT: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const CASES: u32 = 40;
/// What a vendor refuses and no translation can mend: the client reads the vendor's words.
const REFUSED: &[&str] = &[
    // OpenAI makes JSON without a schema only where the prompt asks for it.
    "must contain the word 'json'",
    // An open schema of a strict tool, which its client's vendor refuses as well.
    "Invalid schema for function",
    // OpenAI's reasoning models have no stop sequences.
    "'stop' is not supported with this model",
    // OpenAI's responses have at least 16 tokens.
    "integer below minimum value",
    // Gemini before version 3 calls no functions beside JSON.
    "Function calling with a response mime type",
];

struct Judge {
    runtime: Runtime,
    emulator: Emulator,
    catalogue: Catalogue,
    /// What was refused that may not be: the message, and the first request.
    refused: RefCell<BTreeMap<String, String>>,
}

impl Judge {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let emulator = runtime.block_on(start());
        Self { runtime, emulator, catalogue: Catalogue::embedded().unwrap(), refused: RefCell::default() }
    }

    /// Translates a request for every target of another dialect; what can be translated, the emulator takes.
    fn check(&self, client: Grammar, request: &str) {
        for (provider, grammar, model) in TARGETS.iter().filter(|(_, grammar, _)| *grammar != client) {
            let body = Bytes::copy_from_slice(request.as_bytes());
            let addressed = Addressed { model: "m".to_owned(), ..Addressed::default() };
            let addressed = matches!(client, Grammar::Gemini | Grammar::Converse).then_some(&addressed);
            let prompt = decode_request(client, Operation::Chat, &body, addressed)
                .and_then(|decoded| read_prompt(client, &body, &decoded))
                .map_err(|fault| format!("{request}: {fault:?}"))
                .unwrap();
            let target = TargetModel { model, abilities: self.catalogue.abilities(provider, model) };
            // What can't be expressed at all is refused before anything is sent.
            let Ok(translated) = translate_request(client, &prompt, *grammar, &target, true) else {
                continue;
            };
            let sent: Value = serde_json::from_slice(&translated.body).unwrap();
            let (path, client_of) = self.address(*grammar, model);
            let answer = self.runtime.block_on(client_of.post(&path, &sent)).unwrap();
            let is_known = REFUSED.iter().any(|words| answer.text().contains(words));
            if answer.status != 200 && !is_known {
                let message = answer.json()["error"]["message"].to_string();
                self.refused.borrow_mut().entry(message).or_insert(format!("{model}: {request}\n{sent}"));
            }
        }
    }

    fn address(&self, grammar: Grammar, model: &str) -> (String, Client) {
        let client = Client::new(self.emulator.origin()).within(WITHIN);
        match grammar {
            Grammar::Anthropic => (
                "/anthropic/v1/messages".to_owned(),
                client.header("x-api-key", KEY).header("anthropic-version", "2023-06-01"),
            ),
            Grammar::Gemini => {
                (format!("/v1beta/models/{model}:generateContent"), client.header("x-goog-api-key", KEY))
            }
            Grammar::Converse => (format!("/bedrock/model/{model}/converse"), client.bearer(KEY)),
            Grammar::Responses => ("/v1/responses".to_owned(), client.bearer(KEY)),
            _ => (CHAT.to_owned(), client.bearer(KEY)),
        }
    }
}

/// A dialect, a request that is valid alone, and fields that may be added, with values of which one is taken.
type Fields = (Grammar, Value, Vec<(&'static str, Vec<Value>)>);

fn schema() -> Value {
    json!({
        "type": "object", "properties": {"port": {"type": "string"}, "day": {"type": "integer"}},
        "required": ["port", "day"], "additionalProperties": false,
    })
}

fn chat() -> Fields {
    let function = json!({"type": "function", "function": {"name": "tide", "parameters": schema()}});
    let picture = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{DOT}")}});
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": "{}"}});
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "f", "strict": true, "schema": schema()}});
    let fields = vec![
        ("temperature", vec![json!(0.7), json!(1), json!(1.5)]),
        ("top_p", vec![json!(0.9), json!(1)]),
        ("max_completion_tokens", vec![json!(3000)]),
        ("stop", vec![json!(["END"]), json!("\n\n")]),
        ("presence_penalty", vec![json!(0.1)]),
        ("frequency_penalty", vec![json!(0.1)]),
        ("seed", vec![json!(7)]),
        ("user", vec![json!("u")]),
        ("metadata", vec![json!({"a": "b"})]),
        ("tools", vec![json!([function])]),
        ("parallel_tool_calls", vec![json!(false), json!(true)]),
        ("reasoning_effort", vec![json!("low"), json!("high")]),
        ("response_format", vec![format, json!({"type": "json_object"})]),
        ("service_tier", vec![json!("default"), json!("flex")]),
        ("verbosity", vec![json!("low")]),
        ("store", vec![json!(false)]),
        (
            "messages",
            vec![
                json!([
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},
                ]),
                json!([
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": null, "tool_calls": [call]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "high"},
                    {"role": "system", "content": "Now in French."}, {"role": "user", "content": "and then?"},
                ]),
                json!([
                    {"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."},
                    {"role": "system", "content": "Now in French."},
                ]),
            ],
        ),
    ];
    (Grammar::Chat, json!({"model": "m", "messages": [{"role": "user", "content": "JSON, please"}]}), fields)
}

fn responses() -> Fields {
    let function = json!({"type": "function", "name": "tide", "parameters": schema(), "strict": true});
    let format = json!({"type": "json_schema", "name": "f", "strict": true, "schema": schema()});
    let fields = vec![
        ("instructions", vec![json!("Be brief.")]),
        ("temperature", vec![json!(0.7), json!(1)]),
        ("top_p", vec![json!(0.9), json!(1)]),
        ("max_output_tokens", vec![json!(3000)]),
        ("tools", vec![json!([function])]),
        ("parallel_tool_calls", vec![json!(false)]),
        ("reasoning", vec![json!({"effort": "low", "summary": "auto"})]),
        (
            "text",
            vec![json!({"format": format, "verbosity": "low"}), json!({"format": {"type": "json_object"}})],
        ),
        ("user", vec![json!("u")]),
        ("metadata", vec![json!({"a": "b"})]),
        ("service_tier", vec![json!("default")]),
        (
            "input",
            vec![json!([
                {"role": "user", "content": "hi"},
                {"type": "function_call", "call_id": "call_1", "name": "tide", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "high"},
                {"role": "developer", "content": "Now in French."}, {"role": "user", "content": "and then?"},
            ])],
        ),
    ];
    (Grammar::Responses, json!({"model": "m", "input": "JSON, please", "store": false}), fields)
}

fn messages() -> Fields {
    let tool = json!({"name": "tide", "description": "The tide.", "input_schema": schema(), "strict": true});
    let picture =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}});
    let fields = vec![
        ("system", vec![json!("Be brief.")]),
        ("temperature", vec![json!(0.7), json!(1)]),
        ("top_p", vec![json!(0.9), json!(1)]),
        ("top_k", vec![json!(5)]),
        ("stop_sequences", vec![json!(["END"])]),
        ("metadata", vec![json!({"user_id": "u"})]),
        ("tools", vec![json!([tool])]),
        ("thinking", vec![json!({"type": "enabled", "budget_tokens": 1024}), json!({"type": "disabled"})]),
        (
            "output_config",
            vec![json!({"effort": "low", "format": {"type": "json_schema", "schema": schema()}})],
        ),
        ("service_tier", vec![json!("auto")]),
        (
            "messages",
            vec![json!([
                {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "tide", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "high"}]},
                {"role": "system", "content": "Now in French."},
                {"role": "user", "content": "and then?"},
            ])],
        ),
    ];
    let talk = json!([{"role": "user", "content": "hi"}]);
    (Grammar::Anthropic, json!({"model": "m", "max_tokens": 3000, "messages": talk}), fields)
}

fn contents() -> Fields {
    let tools = json!([{"functionDeclarations": [{"name": "tide", "parametersJsonSchema": schema()}]}]);
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": DOT}});
    let fields = vec![
        ("systemInstruction", vec![json!({"parts": [{"text": "Be brief."}]})]),
        ("tools", vec![tools]),
        (
            "contents",
            vec![json!([
                {"role": "user", "parts": [{"text": "hi"}, picture]},
                {"role": "model", "parts": [{"functionCall": {"name": "tide", "args": {}}}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "tide", "response": {"result": "high"}}}]},
            ])],
        ),
        (
            "generationConfig",
            vec![
                json!({"temperature": 0.7, "topP": 0.9, "topK": 5, "maxOutputTokens": 3000, "seed": 7}),
                json!({"temperature": 1, "topP": 1, "stopSequences": ["END"], "presencePenalty": 0.1}),
                json!({"topP": 0.9, "responseMimeType": "application/json", "responseJsonSchema": schema()}),
                json!({"temperature": 0.2, "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": true}}),
            ],
        ),
    ];
    (Grammar::Gemini, json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}), fields)
}

fn converse() -> Fields {
    let tool = json!({"toolSpec": {"name": "tide", "inputSchema": {"json": schema()}}});
    let fields = vec![
        ("system", vec![json!([{"text": "Be brief."}])]),
        (
            "inferenceConfig",
            vec![
                json!({"temperature": 0.7, "topP": 0.9, "maxTokens": 3000, "stopSequences": ["END"]}),
                json!({"temperature": 1, "topP": 1}),
            ],
        ),
        ("toolConfig", vec![json!({"tools": [tool]})]),
        ("additionalModelRequestFields", vec![json!({"top_k": 5})]),
        ("requestMetadata", vec![json!({"a": "b"})]),
        (
            "messages",
            vec![json!([
                {"role": "user", "content": [{"text": "hi"}]},
                {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "tide", "input": {}}}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "high"}]}}]},
            ])],
        ),
    ];
    (Grammar::Converse, json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}), fields)
}

#[test]
fn golden_requests_are_taken_everywhere() {
    let judge = Judge::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/dialects/translated");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let exchange: Value = serde_json::from_str(&text).unwrap();
        let client = Grammar::ALL.into_iter().find(|grammar| exchange["client"] == grammar.as_str());
        judge.check(client.unwrap(), exchange["request"].as_str().unwrap());
        count += 1;
    }
    assert!(count >= 20, "only {count} exchanges were found");
    assert_eq!(judge.refused.take(), BTreeMap::new());
}

#[test]
fn whatever_fields_a_request_has_every_target_takes_it() {
    let judge = Judge::new();
    for (client, plain, fields) in [chat(), responses(), messages(), contents(), converse()] {
        let request = |chosen: &[Option<prop::sample::Index>]| {
            let mut request = plain.clone();
            for ((name, values), index) in fields.iter().zip(chosen) {
                if let Some(index) = index {
                    request[*name] = index.get(values).clone();
                }
            }
            request.to_string()
        };
        let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
        let index = prop::option::weighted(0.6, any::<prop::sample::Index>());
        let found = TestRunner::new(config).run(&vec(index, fields.len()), |chosen| {
            judge.check(client, &request(&chosen));
            Ok(())
        });
        assert!(found.is_ok(), "{}: {}", client.as_str(), found.unwrap_err());
    }
    assert_eq!(judge.refused.take(), BTreeMap::new());
}
