//! Request fields that a target can't express: refused by name if the answer would differ, otherwise dropped
//! and reported.

use harness::client::Answer;
use serde_json::{Value, json};

use super::parties::{Client, Seller};
use crate::gateway::Gateway;

/// The expected outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// 400, and the error names this field.
    Refused(&'static str),
    /// 200, and `Agent-Dropped-Params` names this field.
    Dropped(&'static str),
    /// 200, and nothing is dropped.
    Said,
}

/// One request with its expected outcome.
pub struct Saying {
    pub client: Client,
    pub seller: Seller,
    /// The fields added to the plain request.
    pub said: &'static str,
    /// The client sends `Agent-Lenient: true`.
    pub lenient: bool,
    pub fate: Fate,
}

const fn saying(client: Client, seller: Seller, said: &'static str, fate: Fate) -> Saying {
    Saying { client, seller, said, lenient: false, fate }
}

const fn leniently(client: Client, seller: Seller, said: &'static str, fate: Fate) -> Saying {
    Saying { client, seller, said, lenient: true, fate }
}

const AUDIO: &str = r#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}]}]}"#;

const ONE_CALL_OF_ONE: &str = r#"{"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"parallel_tool_calls":false}"#;
const ONE_CALL_OF_TWO: &str = r#"{"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],"parallel_tool_calls":false}"#;
/// Cache marks on tool calls, as opencode sends them, and on functions, as other clients do.
const MARKED_CALL: &str = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[{"id":"call_1","type":"function","function":{"name":"bash","arguments":"{}"},"cache_control":{"type":"ephemeral"}}]},{"role":"tool","tool_call_id":"call_1","content":"ok"}],"tools":[{"type":"function","function":{"name":"bash","parameters":{"type":"object"},"cache_control":{"type":"ephemeral"}}}]}"#;
const SEARCHED: &str = r#"{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"tea"}},{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]},{"type":"compaction","content":"Of tea."},{"type":"text","text":"Tea is warm."}]},{"role":"user","content":"and?"}]}"#;

const FILE_SEARCH: &str = r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#;
const WEB_SEARCH: &str = r#"{"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#;

pub const SAYINGS: &[Saying] = &[
    saying(Client::Chat, Seller::Anthropic, r#"{"n":2}"#, Fate::Refused("n")),
    leniently(Client::Chat, Seller::Anthropic, r#"{"n":2}"#, Fate::Dropped("n")),
    saying(Client::Chat, Seller::Gemini, r#"{"n":2}"#, Fate::Said),
    saying(Client::Chat, Seller::Anthropic, r#"{"logprobs":true}"#, Fate::Refused("logprobs")),
    saying(Client::Chat, Seller::Anthropic, AUDIO, Fate::Refused("messages[0].content[0].input_audio")),
    saying(Client::Chat, Seller::Anthropic, r#"{"seed":7}"#, Fate::Dropped("seed")),
    saying(Client::Chat, Seller::Gemini, r#"{"seed":7}"#, Fate::Said),
    saying(Client::Chat, Seller::Anthropic, r#"{"logit_bias":{"50256":-100}}"#, Fate::Dropped("logit_bias")),
    saying(Client::Chat, Seller::Gemini, r#"{"logit_bias":{"50256":-100}}"#, Fate::Dropped("logit_bias")),
    saying(Client::Chat, Seller::Anthropic, r#"{"presence_penalty":0.5}"#, Fate::Dropped("presence_penalty")),
    saying(
        Client::Chat,
        Seller::Anthropic,
        r#"{"response_format":{"type":"json_object"}}"#,
        Fate::Dropped("response_format"),
    ),
    saying(
        Client::Responses,
        Seller::Anthropic,
        r#"{"text":{"format":{"type":"json_object"}}}"#,
        Fate::Dropped("text.format"),
    ),
    saying(Client::Chat, Seller::Gemini, ONE_CALL_OF_ONE, Fate::Dropped("parallel_tool_calls")),
    saying(Client::Chat, Seller::Gemini, ONE_CALL_OF_TWO, Fate::Said),
    saying(Client::Chat, Seller::Anthropic, ONE_CALL_OF_TWO, Fate::Said),
    saying(Client::Chat, Seller::Anthropic, MARKED_CALL, Fate::Said),
    saying(
        Client::Chat,
        Seller::Gemini,
        MARKED_CALL,
        Fate::Dropped("messages[1].tool_calls[0].cache_control, cache_control"),
    ),
    saying(Client::Chat, Seller::Anthropic, r#"{"usage":{"include":true}}"#, Fate::Dropped("usage")),
    saying(
        Client::Chat,
        Seller::Anthropic,
        r#"{"stream_options":{"continuous_usage_stats":true}}"#,
        Fate::Dropped("stream_options.continuous_usage_stats"),
    ),
    saying(Client::Messages, Seller::OpenAi, r#"{"inference_geo":"us"}"#, Fate::Dropped("inference_geo")),
    saying(
        Client::Messages,
        Seller::OpenAi,
        SEARCHED,
        Fate::Dropped("server_tool_use, web_search_tool_result, compaction"),
    ),
    saying(Client::Responses, Seller::Anthropic, r#"{"top_logprobs":2}"#, Fate::Refused("top_logprobs")),
    saying(Client::Responses, Seller::Anthropic, FILE_SEARCH, Fate::Refused("tools[0]")),
    leniently(Client::Responses, Seller::Anthropic, FILE_SEARCH, Fate::Dropped("tools[0]")),
    saying(Client::Messages, Seller::OpenAi, WEB_SEARCH, Fate::Refused("tools[0]")),
    saying(
        Client::Responses,
        Seller::Gemini,
        r#"{"text":{"verbosity":"low"}}"#,
        Fate::Dropped("text.verbosity"),
    ),
    saying(
        Client::Responses,
        Seller::OpenAi,
        r#"{"include":["reasoning.encrypted_content"]}"#,
        Fate::Dropped("include"),
    ),
    saying(Client::Responses, Seller::Compatible, r#"{"store":false}"#, Fate::Said),
    saying(
        Client::Messages,
        Seller::OpenAi,
        r#"{"tools":[{"name":"look","input_schema":{"type":"object"}}]}"#,
        Fate::Said,
    ),
    saying(
        Client::Messages,
        Seller::Gemini,
        r#"{"max_tokens":40000,"thinking":{"type":"enabled","budget_tokens":32000}}"#,
        Fate::Said,
    ),
    saying(Client::Messages, Seller::OpenAi, r#"{"top_k":40}"#, Fate::Dropped("top_k")),
    saying(Client::Messages, Seller::Gemini, r#"{"top_k":40}"#, Fate::Said),
    saying(
        Client::Messages,
        Seller::Gemini,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello there","cache_control":{"type":"ephemeral"}}]}]}"#,
        Fate::Dropped("messages[0].content[0].cache_control"),
    ),
    saying(
        Client::Gemini,
        Seller::OpenAi,
        r#"{"generationConfig":{"topK":40}}"#,
        Fate::Dropped("generationConfig.topK"),
    ),
    saying(Client::Gemini, Seller::Anthropic, r#"{"generationConfig":{"topK":40}}"#, Fate::Said),
    saying(
        Client::Gemini,
        Seller::Anthropic,
        r#"{"generationConfig":{"candidateCount":2}}"#,
        Fate::Refused("generationConfig.candidateCount"),
    ),
    saying(
        Client::Gemini,
        Seller::Anthropic,
        r#"{"cachedContent":"cachedContents/abc"}"#,
        Fate::Refused("cachedContent"),
    ),
    saying(
        Client::Converse,
        Seller::OpenAi,
        r#"{"additionalModelRequestFields":{"top_k":40}}"#,
        Fate::Dropped("additionalModelRequestFields.top_k"),
    ),
    saying(
        Client::Converse,
        Seller::Anthropic,
        r#"{"additionalModelRequestFields":{"top_k":40}}"#,
        Fate::Said,
    ),
    saying(
        Client::Converse,
        Seller::Anthropic,
        r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#,
        Fate::Refused("guardrailConfig"),
    ),
    leniently(
        Client::Converse,
        Seller::Anthropic,
        r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#,
        Fate::Dropped("guardrailConfig"),
    ),
    saying(
        Client::Converse,
        Seller::Gemini,
        r#"{"performanceConfig":{"latency":"optimized"}}"#,
        Fate::Dropped("performanceConfig"),
    ),
];

impl Saying {
    /// Sends the request, and describes any deviation.
    pub async fn difference(&self, gateway: &Gateway) -> Option<String> {
        let (path, mut body) = question(self.client, self.seller.models().0);
        let fields: Value = serde_json::from_str(self.said).unwrap();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let mut client = gateway.client();
        if self.lenient {
            client = client.header("agent-lenient", "true");
        }
        let answer = client.post(&path, &body).await.unwrap();
        let dropped = answer.header("agent-dropped-params");
        let held = match self.fate {
            Fate::Said => answer.status == 200 && dropped.is_none(),
            Fate::Dropped(name) => answer.status == 200 && dropped == Some(name),
            Fate::Refused(name) => answer.status == 400 && is_named(self.client, &answer, name),
        };
        let outcome = format!("{} dropped {dropped:?}: {}", answer.status, answer.text());
        (!held).then(|| format!("POST {path} {body}: not {:?} but {outcome}", self.fate))
    }
}

/// Whether the error names the field: in `param` if the wire format has it, and always in the message.
fn is_named(client: Client, answer: &Answer, name: &str) -> bool {
    if client == Client::Converse {
        return answer.json()["message"].as_str().is_some_and(|text| text.contains(&format!("\"{name}\"")));
    }
    let error = &answer.json()["error"];
    let in_place = matches!(client, Client::Messages | Client::Gemini) || error["param"] == name;
    in_place && error["message"].as_str().is_some_and(|message| message.contains(&format!("\"{name}\"")))
}

fn question(client: Client, model: &str) -> (String, Value) {
    let turn = json!({"role": "user", "content": "hello there"});
    match client {
        Client::Chat => ("/v1/chat/completions".to_owned(), json!({"model": model, "messages": [turn]})),
        Client::Responses => ("/v1/responses".to_owned(), json!({"model": model, "input": "hello there"})),
        Client::Messages => {
            ("/v1/messages".to_owned(), json!({"model": model, "max_tokens": 100, "messages": [turn]}))
        }
        Client::Converse => (
            format!("/model/{model}/converse"),
            json!({"messages": [{"role": "user", "content": [{"text": "hello there"}]}]}),
        ),
        Client::Gemini => (
            format!("/v1beta/models/{model}:generateContent"),
            json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}),
        ),
    }
}
