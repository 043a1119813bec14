//! Request fields that a target can't express: refused by name if the answer would differ, otherwise dropped
//! and reported.

use harness::client::Answer;
use serde_json::{Value, json};

use super::parties::{Client, Seller};
use crate::gateway::Gateway;

use Client::{Chat, Converse, Messages, Responses};
use Fate::{Dropped, Refused, Said};
use Seller::{Anthropic, Compatible, OpenAi};

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
    saying(Chat, Anthropic, r#"{"n":2}"#, Refused("n")),
    leniently(Chat, Anthropic, r#"{"n":2}"#, Dropped("n")),
    saying(Chat, Seller::Gemini, r#"{"n":2}"#, Said),
    saying(Chat, Anthropic, r#"{"logprobs":true}"#, Refused("logprobs")),
    saying(Chat, Anthropic, AUDIO, Refused("messages[0].content[0].input_audio")),
    saying(Chat, Anthropic, r#"{"seed":7}"#, Dropped("seed")),
    saying(Chat, Seller::Gemini, r#"{"seed":7}"#, Said),
    saying(Chat, Anthropic, r#"{"logit_bias":{"50256":-100}}"#, Dropped("logit_bias")),
    saying(Chat, Seller::Gemini, r#"{"logit_bias":{"50256":-100}}"#, Dropped("logit_bias")),
    saying(Chat, Anthropic, r#"{"presence_penalty":0.5}"#, Dropped("presence_penalty")),
    saying(Chat, Anthropic, r#"{"response_format":{"type":"json_object"}}"#, Dropped("response_format")),
    saying(Responses, Anthropic, r#"{"text":{"format":{"type":"json_object"}}}"#, Dropped("text.format")),
    saying(Chat, Seller::Gemini, ONE_CALL_OF_ONE, Dropped("parallel_tool_calls")),
    saying(Chat, Seller::Gemini, ONE_CALL_OF_TWO, Said),
    saying(Chat, Anthropic, ONE_CALL_OF_TWO, Said),
    saying(Chat, Anthropic, MARKED_CALL, Said),
    saying(
        Chat,
        Seller::Gemini,
        MARKED_CALL,
        Dropped("messages[1].tool_calls[0].cache_control, cache_control"),
    ),
    saying(Chat, Anthropic, r#"{"usage":{"include":true}}"#, Dropped("usage")),
    saying(
        Chat,
        Anthropic,
        r#"{"stream_options":{"continuous_usage_stats":true}}"#,
        Dropped("stream_options.continuous_usage_stats"),
    ),
    saying(Messages, OpenAi, r#"{"inference_geo":"us"}"#, Dropped("inference_geo")),
    saying(Messages, OpenAi, SEARCHED, Dropped("server_tool_use, web_search_tool_result, compaction")),
    saying(Responses, Anthropic, r#"{"top_logprobs":2}"#, Refused("top_logprobs")),
    saying(Responses, Anthropic, FILE_SEARCH, Refused("tools[0]")),
    leniently(Responses, Anthropic, FILE_SEARCH, Dropped("tools[0]")),
    saying(Messages, OpenAi, WEB_SEARCH, Refused("tools[0]")),
    saying(Responses, Seller::Gemini, r#"{"text":{"verbosity":"low"}}"#, Dropped("text.verbosity")),
    saying(Responses, OpenAi, r#"{"include":["reasoning.encrypted_content"]}"#, Dropped("include")),
    saying(Responses, Compatible, r#"{"store":false}"#, Said),
    saying(Messages, OpenAi, r#"{"tools":[{"name":"look","input_schema":{"type":"object"}}]}"#, Said),
    saying(
        Messages,
        Seller::Gemini,
        r#"{"max_tokens":40000,"thinking":{"type":"enabled","budget_tokens":32000}}"#,
        Said,
    ),
    saying(Messages, OpenAi, r#"{"top_k":40}"#, Dropped("top_k")),
    saying(Messages, Seller::Gemini, r#"{"top_k":40}"#, Said),
    saying(
        Messages,
        Seller::Gemini,
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hello there","cache_control":{"type":"ephemeral"}}]}]}"#,
        Dropped("messages[0].content[0].cache_control"),
    ),
    saying(Client::Gemini, OpenAi, r#"{"generationConfig":{"topK":40}}"#, Dropped("generationConfig.topK")),
    saying(Client::Gemini, Anthropic, r#"{"generationConfig":{"topK":40}}"#, Said),
    saying(
        Client::Gemini,
        Anthropic,
        r#"{"generationConfig":{"candidateCount":2}}"#,
        Refused("generationConfig.candidateCount"),
    ),
    saying(Client::Gemini, Anthropic, r#"{"cachedContent":"cachedContents/abc"}"#, Refused("cachedContent")),
    saying(
        Converse,
        OpenAi,
        r#"{"additionalModelRequestFields":{"top_k":40}}"#,
        Dropped("additionalModelRequestFields.top_k"),
    ),
    saying(Converse, Anthropic, r#"{"additionalModelRequestFields":{"top_k":40}}"#, Said),
    saying(
        Converse,
        Anthropic,
        r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#,
        Refused("guardrailConfig"),
    ),
    leniently(
        Converse,
        Anthropic,
        r#"{"guardrailConfig":{"guardrailIdentifier":"g"}}"#,
        Dropped("guardrailConfig"),
    ),
    saying(
        Converse,
        Seller::Gemini,
        r#"{"performanceConfig":{"latency":"optimized"}}"#,
        Dropped("performanceConfig"),
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
