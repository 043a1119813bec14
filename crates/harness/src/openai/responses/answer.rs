//! A response as output items, and the response object around them.

use serde_json::{Map, Value, json};

use super::request::ResponsesRequest;
use super::seal::Sealer;
use crate::emulator::{Behaviour, UsageMode};
use crate::members::{join, put};
use crate::openai::answer::{Call, Reply, logprobs, thinking};
use crate::openai::stream::error_message;

/// A complete response with its final ids.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) id: String,
    pub(crate) items: Vec<Item>,
    pub(crate) end: End,
    pub(crate) reply: Reply,
    pub(crate) background: bool,
    mode: UsageMode,
    echo: Map<String, Value>,
}

/// How an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    /// Incomplete, with the reason in `incomplete_details`.
    Incomplete(&'static str),
    Failed {
        code: String,
        message: String,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) content: ItemContent,
}

#[derive(Debug, Clone)]
pub(crate) enum ItemContent {
    Reasoning { tokens: u64, summary: Option<String>, sealed: Option<String> },
    Message { pieces: Vec<String>, refusal: bool, logprobs: bool },
    Call(Call),
}

/// Id suffix of an item that followed reasoning.
const THOUGHT: &str = "t";
/// Id suffix of an item without reasoning before it.
const UNTHOUGHT: &str = "s";

/// The id of the reasoning item that led to an item of this emulator.
pub(crate) fn reasoning_of(id: &str) -> Option<String> {
    let (kind, rest) = id.split_once("_emulator")?;
    let number = rest.strip_suffix(THOUGHT)?;
    let number = number.get(..number.len().checked_sub(2)?)?;
    (kind != "rs").then(|| format!("rs_emulator{number}00{THOUGHT}"))
}

impl Response {
    pub(crate) fn new(
        number: u64,
        request: &ResponsesRequest,
        reply: Reply,
        behaviour: &Behaviour,
        sealer: &Sealer,
    ) -> Self {
        let id = format!("resp_emulator{number:012}");
        let end = end(&reply, behaviour);
        let items = items(number, request, &reply, sealer);
        Self {
            id,
            items,
            end,
            background: request.background,
            mode: behaviour.usage,
            echo: request.echo.clone(),
            reply,
        }
    }

    /// The output items, finished.
    pub(crate) fn output(&self) -> Vec<Value> {
        let last = self.items.len().saturating_sub(1);
        self.items
            .iter()
            .enumerate()
            .map(|(at, item)| item.value(if at == last { self.last_status() } else { "completed" }))
            .collect()
    }

    /// The status of the last item when the response ends.
    pub(crate) fn last_status(&self) -> &'static str {
        if self.end == End::Completed { "completed" } else { "incomplete" }
    }

    /// The response object before any output.
    pub(crate) fn open(&self, status: &str) -> Value {
        self.object(status, &[])
    }

    /// The response object after the end, with the output until then.
    pub(crate) fn ended(&self, output: &[Value]) -> Value {
        let (status, name, detail) = match &self.end {
            End::Completed => ("completed", "error", Value::Null),
            End::Incomplete(reason) => ("incomplete", "incomplete_details", json!({"reason": reason})),
            End::Failed { code, message } => ("failed", "error", json!({"code": code, "message": message})),
        };
        let mut object = self.object(status, output);
        put(&mut object, name, detail);
        if self.end == End::Completed {
            put(&mut object, "completed_at", self.reply.created);
        }
        if !matches!(self.end, End::Failed { .. }) {
            put(&mut object, "usage", self.usage());
        }
        object
    }

    fn object(&self, status: &str, output: &[Value]) -> Value {
        let mut object = json!({
            "id": self.id, "object": "response", "created_at": self.reply.created, "completed_at": null,
            "status": status, "background": self.background, "error": null, "incomplete_details": null,
            "model": self.reply.model, "output": output, "service_tier": self.reply.service_tier,
            "usage": null,
        });
        join(&mut object, Value::Object(self.echo.clone()));
        if let Some(searches) = self.reply.searches {
            put(&mut object, "tool_usage", json!({"web_search": {"num_requests": searches}}));
        }
        object
    }

    /// The usage object. Output tokens include reasoning here, whichever vendor is emulated.
    fn usage(&self) -> Value {
        if self.mode == UsageMode::Missing {
            return Value::Null;
        }
        let reply = &self.reply;
        let report = |tokens: u64| if self.mode == UsageMode::Zero { 0 } else { tokens };
        json!({
            "input_tokens": report(reply.prompt_tokens),
            "input_tokens_details": {"cached_tokens": report(reply.cached_tokens), "cache_write_tokens": 0},
            "output_tokens": report(reply.completion_tokens),
            "output_tokens_details": {"reasoning_tokens": report(reply.reasoning_tokens)},
            "total_tokens": report(reply.prompt_tokens + reply.completion_tokens),
        })
    }
}

fn end(reply: &Reply, behaviour: &Behaviour) -> End {
    if behaviour.failed.is_some() {
        return End::Failed {
            code: behaviour.code.clone().unwrap_or_else(|| "server_error".to_owned()),
            message: error_message(behaviour).to_owned(),
        };
    }
    match reply.choices.first().map(|choice| choice.finish.as_str()) {
        Some("length") => End::Incomplete("max_output_tokens"),
        Some("content_filter") => End::Incomplete("content_filter"),
        _ => End::Completed,
    }
}

fn items(number: u64, request: &ResponsesRequest, reply: &Reply, sealer: &Sealer) -> Vec<Item> {
    let thinks = request.chat.reasons && reply.reasoning_tokens > 0;
    let mut contents = Vec::new();
    if thinks {
        contents.push(ItemContent::Reasoning {
            tokens: reply.reasoning_tokens,
            summary: request.summary.then(|| thinking(reply.reasoning_tokens)),
            sealed: None,
        });
    }
    if let Some(choice) = reply.choices.first() {
        // Reasoning may have used all tokens.
        if choice.calls.is_empty() && !(thinks && choice.pieces.is_empty()) {
            contents.push(ItemContent::Message {
                pieces: choice.pieces.clone(),
                refusal: choice.refusal,
                logprobs: reply.logprobs,
            });
        }
        contents.extend(choice.calls.iter().cloned().map(ItemContent::Call));
    }
    let mark = if thinks { THOUGHT } else { UNTHOUGHT };
    let item = |(at, mut content): (usize, ItemContent)| {
        let id = format!("{}_emulator{number:012}{at:02}{mark}", content.prefix());
        if let ItemContent::Reasoning { sealed, .. } = &mut content {
            *sealed = request.encrypted.then(|| sealer.seal(reply.flavour, &id));
        }
        Item { id, content }
    };
    contents.into_iter().enumerate().map(item).collect()
}

impl ItemContent {
    fn prefix(&self) -> &'static str {
        match self {
            Self::Reasoning { .. } => "rs",
            Self::Message { .. } => "msg",
            Self::Call(call) if call.custom => "ctc",
            Self::Call(_) => "fc",
        }
    }
}

impl Item {
    /// The finished item.
    pub(crate) fn value(&self, status: &str) -> Value {
        match &self.content {
            ItemContent::Reasoning { summary, sealed, .. } => {
                let parts: Vec<Value> = summary.iter().map(|text| summary_part(text)).collect();
                reasoning(&self.id, &parts, sealed.as_deref())
            }
            ItemContent::Message { pieces, refusal, logprobs } => {
                let part = part(&pieces.concat(), *refusal, *logprobs);
                message(&self.id, status, &[part])
            }
            ItemContent::Call(call) => self.call(call, &call.arguments, status),
        }
    }

    /// The item as it is added, without content.
    pub(crate) fn initial(&self) -> Value {
        match &self.content {
            ItemContent::Reasoning { sealed, .. } => reasoning(&self.id, &[], sealed.as_deref()),
            ItemContent::Message { .. } => message(&self.id, "in_progress", &[]),
            ItemContent::Call(call) => self.call(call, "", "in_progress"),
        }
    }

    fn call(&self, call: &Call, arguments: &str, status: &str) -> Value {
        let (kind, field) =
            if call.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        json!({
            "id": self.id, "type": kind, "status": status, "call_id": call.id, "name": call.name,
            field: arguments,
        })
    }
}

pub(crate) fn summary_part(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

/// A content part of a message.
pub(crate) fn part(text: &str, refusal: bool, has_logprobs: bool) -> Value {
    if refusal {
        return json!({"type": "refusal", "refusal": text});
    }
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": probabilities(text, has_logprobs)})
}

/// The log probabilities of a text; an empty list when not requested.
pub(crate) fn probabilities(text: &str, has_logprobs: bool) -> Value {
    logprobs(text, has_logprobs, false).get("content").cloned().unwrap_or_else(|| json!([]))
}

fn message(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

fn reasoning(id: &str, summary: &[Value], sealed: Option<&str>) -> Value {
    let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
    if let Some(sealed) = sealed {
        put(&mut item, "encrypted_content", sealed);
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_knows_its_reasoning() {
        let check =
            |id: &str, expected: Option<&str>| assert_eq!(reasoning_of(id).as_deref(), expected, "{id}");
        check("msg_emulator00000000000701t", Some("rs_emulator00000000000700t"));
        check("fc_emulator00000000000702t", Some("rs_emulator00000000000700t"));
        check("fc_emulator00000000000700s", None);
        check("rs_emulator00000000000700t", None);
        check("fc_67ccd2bed1ec8190b14f964abc054267", None);
        check("fc_emulatort", None);
    }
}
