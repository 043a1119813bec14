//! MCP servers that a request names itself, in the formats of two vendors: their tools in a request, what came before in its
//! conversation, and the items of an answer that tell of their calls.

use domain::{Fault, FaultClass};
use serde_json::{Map, Value, json};

use crate::native::Native;
use crate::toolset::name_of;

/// Which calls wait for the client's approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Approval {
    Never,
    Always,
    /// All but these.
    Except(Vec<String>),
    /// These.
    Only(Vec<String>),
}

impl Approval {
    pub(crate) fn is_needed(&self, tool: &str) -> bool {
        let has = |names: &[String]| names.iter().any(|name| name == tool);
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Except(names) => !has(names),
            Self::Only(names) => has(names),
        }
    }
}

/// A server that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedServer {
    /// Its place in the request.
    pub place: String,
    pub label: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub allowed: Option<Vec<String>>,
    pub approval: Approval,
}

/// What a request says of such servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamedServers {
    pub servers: Vec<NamedServer>,
    /// The calls that its client decided about, by their ids, and whether it approves them.
    pub decided: Vec<(String, bool)>,
    /// Those whose tools the conversation lists already.
    pub listed: Vec<String>,
}

/// Whether a request may name such servers: a search of its bytes, before they are parsed.
pub(crate) fn may_name(native: Native, body: &[u8]) -> bool {
    let has = |word: &[u8]| memchr::memmem::find(body, word).is_some();
    match native {
        Native::Responses => has(b"\"server_url\""),
        Native::Messages => has(b"\"mcp_servers\""),
        _ => false,
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn names(value: Option<&Value>) -> Option<Vec<String>> {
    let list = match value? {
        Value::Object(filter) => filter.get("tool_names")?.as_array()?,
        value => value.as_array()?,
    };
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn invalid(param: String, message: &str, fix: &'static str) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::BadRequest, "invalid_value", message.to_owned()).param(param).fix(fix))
}

/// Takes the servers out of a request, and writes what came before of their calls as calls of functions.
///
/// # Errors
/// A server is not described as its format says.
pub(crate) fn take(native: Native, body: &mut Map<String, Value>) -> Result<NamedServers, Box<Fault>> {
    match native {
        Native::Responses => take_of_responses(body),
        Native::Messages => take_of_messages(body),
        _ => Ok(NamedServers::default()),
    }
}

fn take_of_responses(body: &mut Map<String, Value>) -> Result<NamedServers, Box<Fault>> {
    let mut named = NamedServers::default();
    if let Some(Value::Array(tools)) = body.get_mut("tools") {
        for (at, tool) in tools.iter().enumerate().filter(|(_, tool)| text(tool, "type") == "mcp") {
            named.servers.push(server_of_responses(at, tool)?);
        }
        tools.retain(|tool| text(tool, "type") != "mcp");
    }
    if let Some(Value::Array(items)) = body.get_mut("input") {
        let written = std::mem::take(items);
        *items = written.into_iter().flat_map(|item| open_item(item, &mut named)).collect();
    }
    Ok(named)
}

fn server_of_responses(at: usize, tool: &Value) -> Result<NamedServer, Box<Fault>> {
    let (label, url) = (text(tool, "server_label"), text(tool, "server_url"));
    if label.is_empty() || url.is_empty() {
        let message = "An MCP server needs \"server_label\" and \"server_url\".";
        let fix = "Only their vendor can run connectors: name the server by its URL.";
        return Err(invalid(format!("tools[{at}]"), message, fix));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in tool.get("headers").and_then(Value::as_object).into_iter().flatten() {
        headers.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
    }
    if let Some(token) = tool.get("authorization").and_then(Value::as_str) {
        headers.push(("authorization".to_owned(), format!("Bearer {token}")));
    }
    let wanted = tool.get("require_approval");
    let approval = match wanted {
        Some(Value::String(word)) if word == "never" => Approval::Never,
        Some(Value::Object(filter)) => match (names(filter.get("never")), names(filter.get("always"))) {
            (Some(never), _) => Approval::Except(never),
            (None, Some(always)) => Approval::Only(always),
            (None, None) => Approval::Always,
        },
        // The format's default.
        _ => Approval::Always,
    };
    let allowed = names(tool.get("allowed_tools"));
    Ok(NamedServer {
        place: format!("tools[{at}]"),
        label: label.to_owned(),
        url: url.to_owned(),
        headers,
        allowed,
        approval,
    })
}

/// An item of a conversation as the items of functions that stand for it.
fn open_item(item: Value, named: &mut NamedServers) -> Vec<Value> {
    let call = |id: &str| {
        let name = name_of(text(&item, "server_label"), text(&item, "name"));
        json!({"type": "function_call", "call_id": id, "name": name, "arguments": text(&item, "arguments")})
    };
    let id = text(&item, "id");
    match text(&item, "type") {
        "mcp_list_tools" => {
            named.listed.push(text(&item, "server_label").to_owned());
            Vec::new()
        }
        "mcp_call" => {
            let output = item.get("error").filter(|error| !error.is_null()).map(Value::to_string);
            let output = output.unwrap_or_else(|| text(&item, "output").to_owned());
            vec![call(id), json!({"type": "function_call_output", "call_id": id, "output": output})]
        }
        "mcp_approval_request" => vec![call(id)],
        "mcp_approval_response" => {
            let is_approved = item.get("approve") == Some(&Value::Bool(true));
            named.decided.push((text(&item, "approval_request_id").to_owned(), is_approved));
            Vec::new()
        }
        _ => vec![item],
    }
}

fn take_of_messages(body: &mut Map<String, Value>) -> Result<NamedServers, Box<Fault>> {
    let mut named = NamedServers::default();
    let servers = body.shift_remove("mcp_servers").unwrap_or_default();
    let toolsets: Vec<Value> = match body.get_mut("tools") {
        Some(Value::Array(tools)) => {
            let toolsets = tools.iter().filter(|tool| text(tool, "type") == "mcp_toolset").cloned().collect();
            tools.retain(|tool| text(tool, "type") != "mcp_toolset");
            toolsets
        }
        _ => Vec::new(),
    };
    for (at, server) in servers.as_array().into_iter().flatten().enumerate() {
        let (name, url) = (text(server, "name"), text(server, "url"));
        if name.is_empty() || url.is_empty() {
            let fix = "Send {\"type\": \"url\", \"name\": …, \"url\": …}.";
            return Err(invalid(
                format!("mcp_servers[{at}]"),
                "An MCP server needs \"name\" and \"url\".",
                fix,
            ));
        }
        let token = server.get("authorization_token").and_then(Value::as_str);
        let headers = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        let configuration = server.get("tool_configuration");
        let is_off = configuration.and_then(|set| set.get("enabled")) == Some(&Value::Bool(false));
        let of_set =
            toolsets.iter().find(|set| text(set, "mcp_server_name") == name).and_then(allowed_of_set);
        let allowed = configuration.and_then(|set| names(set.get("allowed_tools"))).or(of_set);
        named.servers.push(NamedServer {
            place: format!("mcp_servers[{at}]"),
            label: name.to_owned(),
            url: url.to_owned(),
            headers: headers.into_iter().collect(),
            allowed: if is_off { Some(Vec::new()) } else { allowed },
            approval: Approval::Never,
        });
    }
    if let Some(Value::Array(messages)) = body.get_mut("messages") {
        let written = std::mem::take(messages);
        *messages = written.into_iter().flat_map(open_message).collect();
    }
    Ok(named)
}

/// The tools that a set switches on, where it switches all others off.
fn allowed_of_set(set: &Value) -> Option<Vec<String>> {
    let is_on = |of: Option<&Value>| of.and_then(|of| of.get("enabled")).and_then(Value::as_bool);
    if is_on(set.get("default_config")) != Some(false) {
        return None;
    }
    let configs = set.get("configs").and_then(Value::as_object).into_iter().flatten();
    Some(
        configs
            .filter(|(_, config)| is_on(Some(*config)) == Some(true))
            .map(|(name, _)| name.clone())
            .collect(),
    )
}

/// A message with calls of such servers as messages with calls of functions and their results.
fn open_message(message: Value) -> Vec<Value> {
    let blocks = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !blocks.iter().any(|block| text(block, "type") == "mcp_tool_use") {
        return vec![message];
    }
    let (mut messages, mut own, mut results): (Vec<Value>, Vec<Value>, Vec<Value>) = Default::default();
    for block in blocks {
        match text(block, "type") {
            "mcp_tool_result" => results.push(json!({
                "type": "tool_result", "tool_use_id": text(block, "tool_use_id"),
                "content": block.get("content").cloned().unwrap_or_default(),
                "is_error": block.get("is_error").and_then(Value::as_bool).unwrap_or(false),
            })),
            kind => {
                if !results.is_empty() {
                    messages.push(json!({"role": "assistant", "content": std::mem::take(&mut own)}));
                    messages.push(json!({"role": "user", "content": std::mem::take(&mut results)}));
                }
                own.push(if kind == "mcp_tool_use" {
                    let name = name_of(text(block, "server_name"), text(block, "name"));
                    let input = block.get("input").cloned().unwrap_or_else(|| json!({}));
                    json!({"type": "tool_use", "id": text(block, "id"), "name": name, "input": input})
                } else {
                    block.clone()
                });
            }
        }
    }
    messages.push(json!({"role": "assistant", "content": own}));
    if !results.is_empty() {
        messages.push(json!({"role": "user", "content": results}));
    }
    messages
}

/// A call as it is told of.
pub(crate) struct ReportedCall<'a> {
    pub label: &'a str,
    pub tool: &'a str,
    pub id: &'a str,
    pub arguments: &'a Map<String, Value>,
}

fn stem(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The items that tell of a call that was made.
pub(crate) fn call_items(
    native: Native,
    reported: &ReportedCall<'_>,
    (result, is_error): (&str, bool),
) -> Vec<Value> {
    let ReportedCall { label, tool, id, arguments } = *reported;
    let arguments = Value::Object(arguments.clone());
    match native {
        Native::Responses => vec![json!({
            "id": format!("mcp_{}", stem(id)), "type": "mcp_call", "server_label": label, "name": tool,
            "arguments": arguments.to_string(), "approval_request_id": null,
            "output": (!is_error).then_some(result), "error": is_error.then_some(result),
            "status": if is_error { "failed" } else { "completed" },
        })],
        _ => {
            let id = format!("mcptoolu_{}", stem(id));
            vec![
                json!({"type": "mcp_tool_use", "id": id, "name": tool, "server_name": label, "input": arguments}),
                json!({
                    "type": "mcp_tool_result", "tool_use_id": id, "is_error": is_error,
                    "content": [{"type": "text", "text": result}],
                }),
            ]
        }
    }
}

/// The item that asks for the approval of a call.
pub(crate) fn approval_item(reported: &ReportedCall<'_>) -> Value {
    let ReportedCall { label, tool, id, arguments } = *reported;
    json!({
        "id": format!("mcpr_{}", stem(id)), "type": "mcp_approval_request", "server_label": label, "name": tool,
        "arguments": Value::Object(arguments.clone()).to_string(),
    })
}

/// The item with the tools of a server, for formats that have one.
pub(crate) fn list_item(native: Native, label: &str, tools: &[Value], id: &str) -> Option<Value> {
    (native == Native::Responses).then(|| {
        json!({"id": format!("mcpl_{}", stem(id)), "type": "mcp_list_tools", "server_label": label, "tools": tools})
    })
}

/// Puts items before those of an answer, or behind them.
pub(crate) fn insert(native: Native, answer: &mut Value, before: Vec<Value>, after: Vec<Value>) {
    let name = if native == Native::Responses { "output" } else { "content" };
    let Some(items) = answer.get_mut(name).and_then(Value::as_array_mut) else { return };
    items.splice(0..0, before);
    items.extend(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn servers_of_responses_are_taken_out_with_what_came_before() {
        let mut body = object(&json!({
            "tools": [
                {"type": "mcp", "server_label": "dice", "server_url": "https://a.example/mcp", "headers": {"X-Key": "s"},
                 "authorization": "t", "allowed_tools": {"tool_names": ["roll"]}, "require_approval": {"never": {"tool_names": ["roll"]}}},
                {"type": "function", "name": "own"},
            ],
            "input": [
                {"type": "mcp_list_tools", "server_label": "dice", "tools": []},
                {"type": "mcp_call", "id": "mcp_1", "server_label": "dice", "name": "roll", "arguments": "{}", "output": "4"},
                {"type": "mcp_approval_request", "id": "mcpr_2", "server_label": "dice", "name": "cheat", "arguments": "{}"},
                {"type": "mcp_approval_response", "approval_request_id": "mcpr_2", "approve": true},
            ],
        }));
        let named = take(Native::Responses, &mut body).unwrap();
        assert_eq!(body["tools"], json!([{"type": "function", "name": "own"}]));
        let [server] = named.servers.as_slice() else { panic!("{named:?}") };
        assert_eq!(
            (server.allowed.as_deref(), server.headers.len()),
            (Some(["roll".to_owned()].as_slice()), 2)
        );
        assert!(!server.approval.is_needed("roll") && server.approval.is_needed("cheat"));
        assert_eq!(
            (named.decided, named.listed),
            (vec![("mcpr_2".to_owned(), true)], vec!["dice".to_owned()])
        );
        let kinds: Vec<&str> =
            body["input"].as_array().unwrap().iter().map(|item| text(item, "type")).collect();
        assert_eq!(kinds, ["function_call", "function_call_output", "function_call"]);
        assert_eq!(body["input"][2]["name"], "dice__cheat");
        let mut connector =
            object(&json!({"tools": [{"type": "mcp", "server_label": "a", "connector_id": "b"}]}));
        assert_eq!(take(Native::Responses, &mut connector).unwrap_err().code, "invalid_value");
    }

    #[test]
    fn servers_of_messages_are_taken_out_with_what_came_before() {
        let mut body = object(&json!({
            "mcp_servers": [{"type": "url", "name": "dice", "url": "https://a.example/mcp", "authorization_token": "t"}],
            "tools": [{"type": "mcp_toolset", "mcp_server_name": "dice", "default_config": {"enabled": false}, "configs": {"roll": {"enabled": true}, "cheat": {"enabled": false}}}],
            "messages": [{"role": "user", "content": "Roll."}, {"role": "assistant", "content": [
                {"type": "text", "text": "Now."},
                {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "roll", "server_name": "dice", "input": {}},
                {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "4"}]},
                {"type": "text", "text": "Four."},
            ]}],
        }));
        let named = take(Native::Messages, &mut body).unwrap();
        assert_eq!(named.servers[0].allowed, Some(vec!["roll".to_owned()]));
        assert_eq!(named.servers[0].headers, [("authorization".to_owned(), "Bearer t".to_owned())]);
        assert!(!body.contains_key("mcp_servers") && body["tools"] == json!([]));
        let roles: Vec<&str> =
            body["messages"].as_array().unwrap().iter().map(|turn| text(turn, "role")).collect();
        assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
        assert_eq!(body["messages"][1]["content"][1]["name"], "dice__roll");
        assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], "mcptoolu_1");
    }
}
