//! What an agent is: its model, its instructions, what it may call, how far a turn may go, and what it answers with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::Spent;
use crate::limits::{
    DESCRIPTION_BYTES_MAX, HOOKS_MAX, INSTRUCTIONS_BYTES_MAX, MODEL_BYTES_MAX, NAME_BYTES_MAX,
    SCHEMA_BYTES_MAX, STEPS_MAX, TIME_MAX, TOOLS_MAX, TURNS_MAX, URL_BYTES_MAX,
};

/// One version of an agent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AgentDefinition")]
pub struct Definition {
    /// What it does. An agent that may call it reads this.
    #[serde(default)]
    pub description: String,
    /// A model, or an alias.
    #[serde(default)]
    pub model: String,
    /// The instructions that its model gets before the conversation.
    #[serde(default)]
    pub instructions: String,
    #[serde(default)]
    pub tools: Vec<AgentTool>,
    #[serde(default)]
    pub limits: AgentLimits,
    #[serde(default)]
    pub memory: AgentMemory,
    /// A JSON Schema that the answer must fit, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = ["object", "null"]))]
    pub output_schema: Option<Value>,
    #[serde(default)]
    pub hooks: Vec<AgentHook>,
}

/// Something that an agent may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentTool {
    /// A tool or an MCP server of the project, by its name.
    Project {
        name: String,
        /// Whether each call waits for a person's approval, whatever the tool's own setting.
        #[serde(default)]
        require_approval: bool,
    },
    /// Another agent of the project, which gets a task as text and answers with text.
    Agent {
        /// `NAME`, or `NAME@VERSION`.
        name: String,
        #[serde(default)]
        require_approval: bool,
    },
    /// A function that the client executes, which sends its result.
    Client {
        name: String,
        #[serde(default)]
        description: String,
        /// The JSON Schema of its arguments.
        #[serde(default)]
        #[schemars(extend("type" = ["object", "null"]))]
        parameters: Option<Value>,
    },
}

/// The limits of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentLimits {
    /// The most calls of the model; 16 by default and at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// How long it may take; 600 by default and at most 3,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// The tokens that its steps and those of the agents that it calls may use together. The step after the one that reaches it is
    /// the last one, without tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What its steps and those of the agents that it calls may cost together, in nano-USD. The step after the one that goes beyond
    /// is the last one, without tools. A step on a node or without a known price costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_usd: Option<u64>,
}

/// What of a chat its model reads again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentMemory {
    /// How many turns before this one; by default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
}

/// An address that is asked before a call is made. It answers with `{"decision": "allow"}` or `{"decision": "deny", "reason": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentHook {
    #[schemars(extend("enum" = ["tool_call"]))]
    pub event: String,
    pub url: String,
}

/// Something that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// A JSON pointer in the definition.
    pub pointer: String,
    pub message: String,
}

/// Whether a text can name an agent, a tool, or a function.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl AgentLimits {
    /// What its steps may use together.
    pub fn spent_max(&self) -> Spent {
        let or_any = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        Spent { tokens: or_any(self.tokens), nanos: or_any(self.nano_usd) }
    }
}

impl AgentTool {
    pub fn name(&self) -> &str {
        match self {
            Self::Project { name, .. } | Self::Agent { name, .. } | Self::Client { name, .. } => name,
        }
    }

    /// By which its model knows it. A server of the project has several, which are not this one.
    pub fn called(&self) -> String {
        match self {
            Self::Agent { name, .. } => format!("agent_{}", name.split('@').next().unwrap_or_default()),
            other => other.name().to_owned(),
        }
    }

    fn check(&self, pointer: &str, wrong: &mut Vec<Wrong>) {
        let mut say = |field: &str, message: String| {
            wrong.push(Wrong { pointer: format!("{pointer}/{field}"), message });
        };
        let name = match self {
            Self::Agent { name, .. } => {
                let (name, version) = name.split_once('@').unwrap_or((name, "1"));
                if version.parse::<u32>().is_err() {
                    say("name", "what follows the @ isn't a version".to_owned());
                }
                name
            }
            other => other.name(),
        };
        if !is_name(name) {
            say("name", format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, \"_\" and \"-\""));
        }
        let Self::Client { description, parameters, .. } = self else { return };
        if description.len() > DESCRIPTION_BYTES_MAX {
            say("description", format!("it is longer than {DESCRIPTION_BYTES_MAX} bytes"));
        }
        if let Some(schema) = parameters {
            if schema.get("type") != Some(&Value::from("object")) {
                say("parameters", "it is not the schema of an object".to_owned());
            }
            check_schema(schema, &format!("{pointer}/parameters"), wrong);
        }
    }
}

fn check_schema(schema: &Value, pointer: &str, wrong: &mut Vec<Wrong>) {
    let mut say = |message: String| wrong.push(Wrong { pointer: pointer.to_owned(), message });
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return say(format!("the schema is longer than {SCHEMA_BYTES_MAX} bytes"));
    }
    if !schema.is_object() {
        return say("it isn't a JSON Schema".to_owned());
    }
    if let Err(error) = schemas::Schema::compile(schema) {
        say(format!("it isn't a JSON Schema: {error}"));
    }
}

impl Definition {
    /// Everything that is wrong with it.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = Vec::new();
        let mut say = |pointer: &str, message: String| {
            wrong.push(Wrong { pointer: pointer.to_owned(), message });
        };
        if self.model.is_empty() || self.model.len() > MODEL_BYTES_MAX {
            say("/model", "name a model or an alias, as /v1/models lists it".to_owned());
        }
        for (pointer, text, bytes_max) in [
            ("/description", &self.description, DESCRIPTION_BYTES_MAX),
            ("/instructions", &self.instructions, INSTRUCTIONS_BYTES_MAX),
        ] {
            if text.len() > bytes_max {
                say(pointer, format!("it is longer than {bytes_max} bytes"));
            }
        }
        let seconds_max = u32::try_from(TIME_MAX.as_secs()).unwrap_or(u32::MAX);
        for (pointer, number, max) in [
            ("/limits/steps", self.limits.steps, STEPS_MAX),
            ("/limits/seconds", self.limits.seconds, seconds_max),
        ] {
            if number.is_some_and(|number| number == 0 || number > max) {
                say(pointer, format!("it isn't a number from 1 to {max}"));
            }
        }
        for (pointer, limit) in
            [("/limits/tokens", self.limits.tokens), ("/limits/nano_usd", self.limits.nano_usd)]
        {
            if limit == Some(0) {
                say(pointer, "it must be more than 0".to_owned());
            }
        }
        if self.memory.turns.is_some_and(|turns| turns > TURNS_MAX) {
            say("/memory/turns", format!("it is more than {TURNS_MAX}"));
        }
        if self.tools.len() > TOOLS_MAX {
            say("/tools", format!("there are more than {TOOLS_MAX}"));
        }
        if self.hooks.len() > HOOKS_MAX {
            say("/hooks", format!("there are more than {HOOKS_MAX}"));
        }
        for (at, hook) in self.hooks.iter().enumerate() {
            if hook.event != "tool_call" {
                say(&format!("/hooks/{at}/event"), "the event must be tool_call".to_owned());
            }
            if hook.url.len() > URL_BYTES_MAX {
                say(&format!("/hooks/{at}/url"), format!("it is longer than {URL_BYTES_MAX} bytes"));
            }
        }
        for (at, tool) in self.tools.iter().enumerate() {
            let pointer = format!("/tools/{at}");
            tool.check(&pointer, &mut wrong);
            if self.tools.iter().take(at).any(|other| other.called() == tool.called()) {
                let message = format!("another tool is called \"{}\" as well", tool.called());
                wrong.push(Wrong { pointer: format!("{pointer}/name"), message });
            }
        }
        if let Some(schema) = &self.output_schema {
            check_schema(schema, "/output_schema", &mut wrong);
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(definition: Value) -> Vec<String> {
        let definition: Definition = serde_json::from_value(definition).unwrap();
        definition.check().into_iter().map(|wrong| wrong.pointer).collect()
    }

    #[test]
    fn a_definition_that_is_right_is_read_as_it_is_written() {
        let written = json!({
            "description": "d", "model": "m", "instructions": "i",
            "tools": [
                {"type": "project", "name": "docs", "require_approval": true},
                {"type": "agent", "name": "researcher@3", "require_approval": false},
                {"type": "client", "name": "beep", "description": "Beeps.", "parameters": {"type": "object"}},
            ],
            "limits": {"steps": 4, "seconds": 60, "tokens": 9, "nano_usd": 5_000}, "memory": {"turns": 2},
            "output_schema": {"type": "object"}, "hooks": [{"event": "tool_call", "url": "https://a.example"}],
        });
        assert_eq!(pointers(written.clone()), Vec::<String>::new());
        let read: Definition = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        let called: Vec<_> = read.tools.iter().map(AgentTool::called).collect();
        assert_eq!(called, ["docs", "agent_researcher", "beep"]);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        assert_eq!(pointers(json!({})), ["/model"]);
        let wrong = json!({
            "model": "m", "limits": {"steps": 65, "seconds": 0, "tokens": 0, "nano_usd": 0}, "memory": {"turns": 1_001},
            "hooks": [{"event": "later", "url": "u"}],
            "tools": [
                {"type": "project", "name": "a b"}, {"type": "agent", "name": "x@y"},
                {"type": "client", "name": "c", "parameters": {"type": "array"}}, {"type": "project", "name": "c"},
            ],
            "output_schema": {"type": "wrong"},
        });
        assert_eq!(
            pointers(wrong),
            [
                "/limits/steps",
                "/limits/seconds",
                "/limits/tokens",
                "/limits/nano_usd",
                "/memory/turns",
                "/hooks/0/event",
                "/tools/0/name",
                "/tools/1/name",
                "/tools/2/parameters",
                "/tools/3/name",
                "/output_schema",
            ]
        );
        assert!(serde_json::from_value::<Definition>(json!({"colour": "red"})).is_err());
        for text in ["-1", "\"abc\"", "1.5", "1000000000000000000000000000000"] {
            let definition = format!(r#"{{"model": "m", "limits": {{"nano_usd": {text}}}}}"#);
            assert!(serde_json::from_str::<Definition>(&definition).is_err(), "{text}");
        }
        assert!(
            serde_json::from_value::<Definition>(json!({"tools": [{"type": "x", "name": "a"}]})).is_err()
        );
    }
}
