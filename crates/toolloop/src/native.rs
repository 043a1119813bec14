//! Tools, their calls and their results in each wire format: what is added to a request, and what is read of an answer.

use domain::{Dialect, Grammar};
use serde_json::{Map, Value, json};

/// A tool as a model is offered it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declaration<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub parameters: &'a Value,
}

/// A call that a model makes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub id: String,
    pub name: String,
    /// `None` where they are no JSON object.
    pub arguments: Option<Map<String, Value>>,
    /// The bytes of the arguments as the model wrote them.
    pub bytes: u64,
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CallResult {
    pub id: String,
    pub name: String,
    pub text: String,
    pub is_error: bool,
}

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    Chat,
    Messages,
    Responses,
    Contents,
    Converse,
}

/// Appends to a list in an object, which is made where there is none.
fn push(body: &mut Map<String, Value>, name: &str, values: impl IntoIterator<Item = Value>) {
    match body.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.extend(values),
        other => *other = Value::Array(values.into_iter().collect()),
    }
}

fn elements<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn call_of(id: &str, name: &str, written: &str) -> Call {
    let written = if written.trim().is_empty() { "{}" } else { written };
    Call {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: serde_json::from_str(written).ok(),
        bytes: written.len() as u64,
    }
}

fn call_with(id: &str, name: &str, arguments: Option<&Value>) -> Call {
    let bytes = arguments.map_or(0, |value| value.to_string().len() as u64);
    let arguments = arguments.map_or_else(|| Some(Map::new()), |value| value.as_object().cloned());
    Call { id: id.to_owned(), name: name.to_owned(), arguments, bytes }
}

impl Native {
    /// `None` for a format in which the gateway executes no tools.
    pub(crate) fn of(dialect: Dialect) -> Option<Self> {
        let grammar = dialect.grammar();
        (grammar.dialect() == dialect).then_some(match grammar {
            Grammar::Chat => Self::Chat,
            Grammar::Anthropic => Self::Messages,
            Grammar::Responses => Self::Responses,
            Grammar::Gemini => Self::Contents,
            Grammar::Converse => Self::Converse,
        })
    }

    /// The names of the tools that a request brings itself.
    pub(crate) fn own_names(self, body: &Value) -> Vec<String> {
        let name = |tool: &Value| match self {
            Self::Chat => text(tool.get("function").unwrap_or(&Value::Null), "name").to_owned(),
            _ => text(tool, "name").to_owned(),
        };
        let names: Vec<String> = match self {
            Self::Contents => elements(body, "/tools")
                .flat_map(|tool| {
                    let written =
                        tool.get("functionDeclarations").or_else(|| tool.get("function_declarations"));
                    written.and_then(Value::as_array).into_iter().flatten()
                })
                .map(|declared| text(declared, "name").to_owned())
                .collect(),
            Self::Converse => elements(body, "/toolConfig/tools")
                .filter_map(|tool| Some(text(tool.get("toolSpec")?, "name").to_owned()))
                .collect(),
            Self::Chat | Self::Messages | Self::Responses => elements(body, "/tools").map(name).collect(),
        };
        names.into_iter().filter(|name| !name.is_empty()).collect()
    }

    /// Adds a tool to a request.
    pub(crate) fn declare(self, body: &mut Map<String, Value>, tool: Declaration<'_>) {
        let Declaration { name, description, parameters } = tool;
        let declared = match self {
            Self::Chat => json!({"type": "function", "function": {
                "name": name, "description": description, "parameters": parameters,
            }}),
            Self::Messages => json!({"name": name, "description": description, "input_schema": parameters}),
            Self::Responses => json!({
                "type": "function", "name": name, "description": description, "parameters": parameters, "strict": false,
            }),
            Self::Contents => json!({"functionDeclarations": [{
                "name": name, "description": description, "parametersJsonSchema": parameters,
            }]}),
            Self::Converse => json!({"toolSpec": {
                "name": name, "description": description, "inputSchema": {"json": parameters},
            }}),
        };
        if self != Self::Converse {
            return push(body, "tools", [declared]);
        }
        let config = body.entry("toolConfig").or_insert_with(|| Value::Object(Map::new()));
        if let Some(config) = config.as_object_mut() {
            push(config, "tools", [declared]);
        }
    }

    /// Has the model answer without further calls.
    pub(crate) fn forbid_calls(self, body: &mut Map<String, Value>) {
        match self {
            Self::Chat | Self::Responses => body.insert("tool_choice".to_owned(), json!("none")),
            Self::Messages => body.insert("tool_choice".to_owned(), json!({"type": "none"})),
            Self::Contents => {
                body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": {"mode": "NONE"}}))
            }
            // It has no word for that, and a conversation with calls must declare tools: further calls are left out.
            Self::Converse => remove_in(body, "toolConfig", "toolChoice"),
        };
    }

    /// A choice of a tool that a request forces holds for its first step: else the model would call it for ever.
    pub(crate) fn free_choice(self, body: &mut Map<String, Value>) {
        match self {
            Self::Contents => {
                if body.get("toolConfig").is_some_and(|config| config.to_string().contains("\"ANY\"")) {
                    body.remove("toolConfig");
                }
            }
            Self::Converse => {
                let choice = body.get("toolConfig").and_then(|config| config.get("toolChoice"));
                if choice.is_some_and(|choice| choice.get("auto").is_none()) {
                    remove_in(body, "toolConfig", "toolChoice");
                }
            }
            Self::Chat | Self::Messages | Self::Responses => {
                let is_forced = body.get("tool_choice").is_some_and(|choice| match choice {
                    Value::String(word) => word == "required",
                    Value::Object(choice) => {
                        !matches!(choice.get("type").and_then(Value::as_str), Some("auto" | "none"))
                    }
                    _ => false,
                });
                if is_forced {
                    body.remove("tool_choice");
                }
            }
        }
    }

    /// The calls of a whole answer.
    pub(crate) fn calls(self, answer: &Value) -> Vec<Call> {
        match self {
            Self::Chat => Self::chat_calls(answer.pointer("/choices/0/message").unwrap_or(&Value::Null)),
            Self::Messages => elements(answer, "/content").filter_map(Self::block_call).collect(),
            Self::Responses => elements(answer, "/output").filter_map(Self::item_call).collect(),
            Self::Contents => {
                let parts = elements(answer, "/candidates/0/content/parts");
                parts.enumerate().filter_map(|(at, part)| Self::part_call(at, part)).collect()
            }
            Self::Converse => {
                elements(answer, "/output/message/content").filter_map(Self::converse_call).collect()
            }
        }
    }

    fn converse_call(block: &Value) -> Option<Call> {
        let call = block.get("toolUse")?;
        Some(call_with(text(call, "toolUseId"), text(call, "name"), call.get("input")))
    }

    fn chat_calls(message: &Value) -> Vec<Call> {
        let calls = elements(message, "/tool_calls");
        calls
            .filter_map(|call| {
                let function = call.get("function")?;
                Some(call_of(text(call, "id"), text(function, "name"), text(function, "arguments")))
            })
            .collect()
    }

    fn block_call(block: &Value) -> Option<Call> {
        (text(block, "type") == "tool_use")
            .then(|| call_with(text(block, "id"), text(block, "name"), block.get("input")))
    }

    fn item_call(item: &Value) -> Option<Call> {
        (text(item, "type") == "function_call")
            .then(|| call_of(text(item, "call_id"), text(item, "name"), text(item, "arguments")))
    }

    /// Its calls may have no ids: their places tell them apart.
    fn part_call(at: usize, part: &Value) -> Option<Call> {
        let call = part.get("functionCall").or_else(|| part.get("function_call"))?;
        let id = call.get("id").and_then(Value::as_str).map_or_else(|| format!("part_{at}"), str::to_owned);
        Some(call_with(&id, text(call, "name"), call.get("args")))
    }

    /// The calls at the end of a request that have no results yet.
    pub(crate) fn pending(self, body: &Value) -> Vec<Call> {
        let last =
            |pointer: &str| body.pointer(pointer).and_then(Value::as_array).and_then(|list| list.last());
        match self {
            Self::Chat => last("/messages").map(Self::chat_calls).unwrap_or_default(),
            Self::Messages | Self::Converse => {
                let turn = last("/messages").filter(|turn| text(turn, "role") == "assistant");
                let call = if self == Self::Converse { Self::converse_call } else { Self::block_call };
                turn.map(|turn| elements(turn, "/content").filter_map(call).collect()).unwrap_or_default()
            }
            Self::Responses => {
                let items =
                    body.pointer("/input").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let calls = items.iter().rev().take_while(|item| text(item, "type") == "function_call");
                let mut calls: Vec<Call> = calls.filter_map(Self::item_call).collect();
                calls.reverse();
                calls
            }
            Self::Contents => {
                let turn = last("/contents").filter(|turn| text(turn, "role") == "model");
                let parts = turn.map(|turn| elements(turn, "/parts").enumerate());
                parts
                    .map(|parts| parts.filter_map(|(at, part)| Self::part_call(at, part)).collect())
                    .unwrap_or_default()
            }
        }
    }

    /// Takes calls out of an answer that its client gets.
    pub(crate) fn remove_calls(self, answer: &mut Value, ids: &[String]) {
        let is_its = |id: &str| ids.iter().any(|other| other == id);
        match self {
            Self::Chat => {
                let Some(message) = answer.pointer_mut("/choices/0/message") else { return };
                let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) else { return };
                calls.retain(|call| !is_its(text(call, "id")));
                if calls.is_empty()
                    && let Some(message) = message.as_object_mut()
                {
                    message.shift_remove("tool_calls");
                    Self::ends_with(answer, "/choices/0/finish_reason", "stop");
                }
            }
            Self::Messages => {
                let Some(blocks) = answer.get_mut("content").and_then(Value::as_array_mut) else { return };
                blocks.retain(|block| text(block, "type") != "tool_use" || !is_its(text(block, "id")));
                if !blocks.iter().any(|block| text(block, "type") == "tool_use") {
                    Self::ends_with(answer, "/stop_reason", "end_turn");
                }
            }
            Self::Responses => {
                if let Some(items) = answer.get_mut("output").and_then(Value::as_array_mut) {
                    items.retain(|item| {
                        text(item, "type") != "function_call" || !is_its(text(item, "call_id"))
                    });
                }
            }
            Self::Contents => {
                if let Some(parts) =
                    answer.pointer_mut("/candidates/0/content/parts").and_then(Value::as_array_mut)
                {
                    let mut at = 0;
                    parts.retain(|part| {
                        let call = Self::part_call(at, part);
                        at += 1;
                        call.is_none_or(|call| !is_its(&call.id))
                    });
                }
            }
            Self::Converse => {
                let content = answer.pointer_mut("/output/message/content").and_then(Value::as_array_mut);
                let Some(blocks) = content else { return };
                blocks.retain(|block| Self::converse_call(block).is_none_or(|call| !is_its(&call.id)));
                if !blocks.iter().any(|block| block.get("toolUse").is_some()) {
                    Self::ends_with(answer, "/stopReason", "end_turn");
                }
            }
        }
    }

    fn ends_with(answer: &mut Value, pointer: &str, word: &str) {
        if let Some(reason) = answer.pointer_mut(pointer) {
            *reason = json!(word);
        }
    }

    /// Appends an answer to the conversation of a request.
    pub(crate) fn append_answer(self, body: &mut Map<String, Value>, answer: &Value) {
        match self {
            Self::Chat => {
                let Some(message) = answer.pointer("/choices/0/message") else { return };
                let mut message = message.clone();
                if let Some(message) = message.as_object_mut() {
                    // Null stands for nothing, which some servers refuse in a request; a text must be there.
                    message.retain(|name, value| {
                        name == "content" || (!value.is_null() && name != "annotations")
                    });
                }
                push(body, "messages", [message]);
            }
            Self::Messages => {
                let content = answer.get("content").cloned().unwrap_or_default();
                push(body, "messages", [json!({"role": "assistant", "content": content})]);
            }
            Self::Responses => {
                let items: Vec<Value> = elements(answer, "/output").cloned().collect();
                if let Some(Value::String(words)) = body.get("input") {
                    let message = json!({"role": "user", "content": words});
                    body.insert("input".to_owned(), Value::Array(vec![message]));
                }
                push(body, "input", items);
            }
            Self::Contents => {
                let content = answer.pointer("/candidates/0/content").cloned();
                push(body, "contents", content);
            }
            Self::Converse => push(body, "messages", answer.pointer("/output/message").cloned()),
        }
    }

    /// Appends the results of calls.
    pub(crate) fn append_results(self, body: &mut Map<String, Value>, results: &[CallResult]) {
        match self {
            Self::Chat => {
                let message = |result: &CallResult| json!({"role": "tool", "tool_call_id": result.id, "content": result.text});
                push(body, "messages", results.iter().map(message));
            }
            Self::Messages => {
                let blocks = results.iter().map(|result| {
                    let mut block =
                        json!({"type": "tool_result", "tool_use_id": result.id, "content": result.text});
                    if result.is_error
                        && let Some(block) = block.as_object_mut()
                    {
                        block.insert("is_error".to_owned(), json!(true));
                    }
                    block
                });
                let blocks: Vec<Value> = blocks.collect();
                push(body, "messages", [json!({"role": "user", "content": blocks})]);
            }
            Self::Responses => {
                let item = |result: &CallResult| json!({"type": "function_call_output", "call_id": result.id, "output": result.text});
                push(body, "input", results.iter().map(item));
            }
            Self::Contents => {
                let parts = results.iter().map(|result| {
                    let member = if result.is_error { "error" } else { "result" };
                    let mut response = json!({"name": result.name, "response": {member: result.text}});
                    if !result.id.starts_with("part_")
                        && let Some(response) = response.as_object_mut()
                    {
                        response.insert("id".to_owned(), json!(result.id));
                    }
                    json!({"functionResponse": response})
                });
                let parts: Vec<Value> = parts.collect();
                push(body, "contents", [json!({"role": "user", "parts": parts})]);
            }
            Self::Converse => {
                let blocks: Vec<Value> = results.iter().map(converse_result).collect();
                push(body, "messages", [json!({"role": "user", "content": blocks})]);
            }
        }
    }

    /// What an answer reports of its usage.
    pub(crate) fn usage(self, answer: &Value) -> Option<&Value> {
        answer.get(self.usage_name())
    }

    pub(crate) fn set_usage(self, answer: &mut Value, usage: Value) {
        if let Some(answer) = answer.as_object_mut() {
            answer.insert(self.usage_name().to_owned(), usage);
        }
    }

    const fn usage_name(self) -> &'static str {
        match self {
            Self::Contents => "usageMetadata",
            _ => "usage",
        }
    }
}

fn converse_result(result: &CallResult) -> Value {
    // Blank text is refused.
    let text = if result.text.trim().is_empty() { "The tool returned nothing." } else { &result.text };
    let mut block = json!({"toolUseId": result.id, "content": [{"text": text}]});
    if result.is_error
        && let Some(block) = block.as_object_mut()
    {
        block.insert("status".to_owned(), json!("error"));
    }
    json!({"toolResult": block})
}

/// Takes a member out of an object in an object.
fn remove_in(body: &mut Map<String, Value>, object: &str, name: &str) -> Option<Value> {
    body.get_mut(object)?.as_object_mut()?.shift_remove(name)
}

/// The sum of two reports: counts are added, and other values are those of the later one.
pub(crate) fn sum(earlier: &Value, later: &Value) -> Value {
    match (earlier, later) {
        (Value::Object(one), Value::Object(other)) => {
            let mut summed = one.clone();
            for (name, value) in other {
                let value = one.get(name).map_or_else(|| value.clone(), |own| sum(own, value));
                summed.insert(name.clone(), value);
            }
            Value::Object(summed)
        }
        (Value::Number(one), Value::Number(other)) => match (one.as_u64(), other.as_u64()) {
            (Some(one), Some(other)) => json!(one.saturating_add(other)),
            _ => json!(one.as_f64().unwrap_or_default() + other.as_f64().unwrap_or_default()),
        },
        (own, Value::Null) => own.clone(),
        (_, value) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Native; 5] =
        [Native::Chat, Native::Messages, Native::Responses, Native::Contents, Native::Converse];

    /// An answer with two calls, in each format.
    fn answer(native: Native) -> Value {
        match native {
            Native::Chat => json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "c_1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}},
                    {"id": "c_2", "type": "function", "function": {"name": "own", "arguments": ""}},
                ]}}], "usage": {"total_tokens": 3, "details": {"cached": 1}}}),
            Native::Messages => json!({"stop_reason": "tool_use", "content": [
                {"type": "text", "text": "Hm."},
                {"type": "tool_use", "id": "c_1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c_2", "name": "own", "input": {}},
            ], "usage": {"output_tokens": 3}}),
            Native::Responses => json!({"output": [
                {"type": "function_call", "call_id": "c_1", "name": "add", "arguments": "{\"a\":1}"},
                {"type": "function_call", "call_id": "c_2", "name": "own", "arguments": "{}"},
            ], "usage": {"output_tokens": 3}}),
            Native::Contents => json!({"candidates": [{"content": {"role": "model", "parts": [
                {"functionCall": {"id": "c_1", "name": "add", "args": {"a": 1}}},
                {"functionCall": {"id": "c_2", "name": "own"}},
            ]}}], "usageMetadata": {"totalTokenCount": 3}}),
            Native::Converse => {
                json!({"stopReason": "tool_use", "output": {"message": {"role": "assistant", "content": [
                {"text": "Hm."},
                {"toolUse": {"toolUseId": "c_1", "name": "add", "input": {"a": 1}}},
                {"toolUse": {"toolUseId": "c_2", "name": "own", "input": {}}},
            ]}}, "usage": {"outputTokens": 3}})
            }
        }
    }

    fn request(native: Native) -> Map<String, Value> {
        let body = match native {
            Native::Chat | Native::Messages => json!({"messages": [{"role": "user", "content": "1+1?"}]}),
            Native::Responses => json!({"input": "1+1?"}),
            Native::Contents => json!({"contents": [{"role": "user", "parts": [{"text": "1+1?"}]}]}),
            Native::Converse => json!({"messages": [{"role": "user", "content": [{"text": "1+1?"}]}]}),
        };
        body.as_object().cloned().unwrap()
    }

    #[test]
    fn calls_are_read_in_every_format_and_can_be_taken_out() {
        for native in ALL {
            let mut answer = answer(native);
            let calls = native.calls(&answer);
            let read: Vec<_> = calls.iter().map(|call| (&*call.id, &*call.name)).collect();
            assert_eq!(read, [("c_1", "add"), ("c_2", "own")], "{native:?}");
            assert_eq!(Value::from(calls[0].arguments.clone().unwrap()), json!({"a": 1}));
            assert_eq!(calls[1].arguments, Some(Map::new()));
            native.remove_calls(&mut answer, &["c_1".to_owned()]);
            assert_eq!(native.calls(&answer).len(), 1, "{native:?} {answer}");
            native.remove_calls(&mut answer, &["c_2".to_owned()]);
            assert_eq!(native.calls(&answer), [], "{native:?} {answer}");
        }
    }

    #[test]
    fn a_conversation_goes_on_with_the_answer_and_its_results() {
        for native in ALL {
            let mut body = request(native);
            native.append_answer(&mut body, &answer(native));
            assert_eq!(native.pending(&Value::from(body.clone())).len(), 2, "{native:?}");
            let result = |id: &str, is_error| CallResult {
                id: id.to_owned(),
                name: "add".to_owned(),
                text: "2".to_owned(),
                is_error,
            };
            native.append_results(&mut body, &[result("c_1", false), result("c_2", true)]);
            let text = Value::from(body.clone()).to_string();
            let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
            assert!(at("1+1?") < at("c_1") && text.rfind("c_2").unwrap() > at("c_1"), "{text}");
            assert_eq!(native.pending(&Value::from(body)), [], "{native:?}");
        }
    }

    #[test]
    fn tools_are_declared_beside_those_of_the_client() {
        for native in ALL {
            let mut body = request(native);
            let parameters = json!({"type": "object"});
            for name in ["one", "two"] {
                native.declare(&mut body, Declaration { name, description: "D", parameters: &parameters });
            }
            assert_eq!(native.own_names(&Value::from(body)), ["one", "two"], "{native:?}");
        }
    }

    #[test]
    fn a_forced_choice_is_freed_and_calls_can_be_forbidden() {
        let mut body = request(Native::Chat);
        body.insert("tool_choice".to_owned(), json!("required"));
        Native::Chat.free_choice(&mut body);
        assert_eq!(body.get("tool_choice"), None);
        body.insert("tool_choice".to_owned(), json!("auto"));
        Native::Chat.free_choice(&mut body);
        assert_eq!(body.get("tool_choice"), Some(&json!("auto")));
        for native in ALL {
            native.forbid_calls(&mut body);
        }
        assert_eq!(body["toolConfig"]["functionCallingConfig"]["mode"], "NONE");
    }

    #[test]
    fn a_choice_in_converse_is_freed_where_it_is_forced() {
        for (choice, is_kept) in [
            (json!({"any": {}}), false),
            (json!({"tool": {"name": "a"}}), false),
            (json!({"auto": {}}), true),
        ] {
            let mut body = request(Native::Converse);
            body.insert("toolConfig".to_owned(), json!({"tools": [], "toolChoice": choice}));
            Native::Converse.free_choice(&mut body);
            assert_eq!(body["toolConfig"].get("toolChoice").is_some(), is_kept, "{choice}");
            Native::Converse.forbid_calls(&mut body);
            assert_eq!(body["toolConfig"], json!({"tools": []}));
        }
    }

    #[test]
    fn a_result_without_a_word_says_so_in_converse() {
        let result =
            CallResult { id: "c".to_owned(), name: "n".to_owned(), text: " ".to_owned(), is_error: true };
        let expected = json!({"toolResult": {
            "toolUseId": "c", "content": [{"text": "The tool returned nothing."}], "status": "error",
        }});
        assert_eq!(converse_result(&result), expected);
    }

    #[test]
    fn usage_is_summed_by_name() {
        let one = json!({"a": 1, "b": {"c": 2, "d": null}, "e": "x"});
        let two = json!({"a": 4, "b": {"c": 1, "d": 5}, "e": "y", "f": 1.5});
        assert_eq!(sum(&one, &two), json!({"a": 5, "b": {"c": 3, "d": 5}, "e": "y", "f": 1.5}));
    }
}
