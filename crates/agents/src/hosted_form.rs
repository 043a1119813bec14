//! A definition as inference.sh's clients send it with a message, in place of the name of a stored agent.

use serde_json::Value;

use crate::definition::{AgentHook, AgentTool, Definition, Wrong};

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Reads an `agent_config`. What it names beside a model, instructions, tools, hooks and a schema is for display, or for what
/// only that platform has.
///
/// # Errors
/// What is wrong with it, each with a pointer in the config.
pub fn from_config(config: &Value) -> Result<Definition, Vec<Wrong>> {
    let mut wrong: Vec<Wrong> = Vec::new();
    let mut tools = Vec::new();
    let app = config.get("core_app").cloned().unwrap_or_default();
    // Its versions are those of the platform's apps; a model has none.
    let model = text(&app, "ref").split('@').next().unwrap_or_default().to_owned();
    for (at, tool) in elements(config, "tools").enumerate() {
        match tool_of(tool) {
            Ok(tool) => tools.push(tool),
            Err(message) => wrong.push(Wrong { pointer: format!("/tools/{at}/type"), message }),
        }
    }
    let mut hooks = Vec::new();
    for (at, hook) in elements(config, "hooks").enumerate() {
        let handler = hook.get("handler").unwrap_or(hook);
        let url = [text(handler, "url"), text(hook, "url")].into_iter().find(|url| !url.is_empty());
        let event = text(hook, "event").trim_start_matches("agent.").to_owned();
        match url.filter(|_| event == "tool_call") {
            Some(url) => hooks.push(AgentHook { event, url }),
            None => wrong.push(Wrong {
                pointer: format!("/hooks/{at}"),
                message:
                    "a hook here is asked by its url before a call: {\"event\": \"tool_call\", \"url\": …}"
                        .to_owned(),
            }),
        }
    }
    let definition = Definition {
        description: text(config, "description"),
        model,
        instructions: text(config, "system_prompt"),
        tools,
        hooks,
        output_schema: config.get("output_schema").filter(|schema| !schema.is_null()).cloned(),
        ..Definition::default()
    };
    for one in definition.check() {
        let pointer = if one.pointer == "/model" { "/core_app/ref".to_owned() } else { one.pointer };
        wrong.push(Wrong { pointer, ..one });
    }
    if wrong.is_empty() { Ok(definition) } else { Err(wrong) }
}

fn elements<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn tool_of(tool: &Value) -> Result<AgentTool, String> {
    let (name, kind) = (text(tool, "name"), text(tool, "type"));
    let require_approval = tool.get("require_approval").and_then(Value::as_bool).unwrap_or(false);
    match kind.as_str() {
        "client" => {
            let client = tool.get("client").cloned().unwrap_or_default();
            let parameters = client.get("input_schema").filter(|schema| !schema.is_null()).cloned();
            Ok(AgentTool::Client { name, description: text(tool, "description"), parameters })
        }
        "agent" => {
            let other = text(&tool.get("agent").cloned().unwrap_or_default(), "ref");
            Ok(AgentTool::Agent { name: if other.is_empty() { name } else { other }, require_approval })
        }
        "mcp" => {
            let server = text(&tool.get("mcp").cloned().unwrap_or_default(), "server");
            Ok(AgentTool::Project { name: if server.is_empty() { name } else { server }, require_approval })
        }
        "function" => Ok(AgentTool::Project { name, require_approval }),
        other => Err(format!(
            "a tool of the type \"{}\" is declared with POST /v2/tools or /v2/mcp-servers and named with the type function",
            other.chars().take(32).collect::<String>()
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_is_read_as_a_definition() {
        let config = json!({
            "name": "n", "core_app": {"ref": "openai/gpt-4o-mini@abc"}, "system_prompt": "Be short.",
            "tools": [
                {"name": "beep", "type": "client", "client": {"input_schema": {"type": "object"}}},
                {"name": "ask", "type": "agent", "agent": {"ref": "researcher@2"}},
                {"name": "x", "type": "mcp", "mcp": {"server": "docs"}, "require_approval": true},
                {"name": "weather", "type": "function"},
            ],
            "hooks": [{"event": "agent.tool_call", "handler": {"type": "webhook", "url": "https://a.example"}}],
            "skills": [],
        });
        let read = from_config(&config).unwrap();
        assert_eq!((read.model.as_str(), read.instructions.as_str()), ("openai/gpt-4o-mini", "Be short."));
        let names: Vec<_> = read.tools.iter().map(|tool| tool.name().to_owned()).collect();
        assert_eq!(names, ["beep", "researcher@2", "docs", "weather"]);
        assert_eq!(
            read.hooks,
            [AgentHook { event: "tool_call".to_owned(), url: "https://a.example".to_owned() }]
        );
    }

    #[test]
    fn what_is_not_here_is_refused_at_its_place() {
        let config = json!({"tools": [{"name": "a", "type": "http"}], "hooks": [{"event": "error"}]});
        let pointers: Vec<_> =
            from_config(&config).unwrap_err().into_iter().map(|wrong| wrong.pointer).collect();
        assert_eq!(pointers, ["/tools/0/type", "/hooks/0", "/core_app/ref"]);
    }
}
