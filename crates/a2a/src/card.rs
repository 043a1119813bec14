//! The card of an agent: what it is, where it is reached, and how.

use run::NamedAgent;
use serde_json::{Value, json};

use crate::message::FILE_TYPES;

pub(crate) const TEXT: &str = "text/plain";
pub(crate) const JSON: &str = "application/json";
/// The version of the protocol, and the binding.
pub(crate) const VERSION: &str = "1.0";
const BINDING: &str = "JSONRPC";

/// The media types of an agent's artifacts.
pub(crate) fn output_modes(agent: &NamedAgent) -> &'static [&'static str] {
    if agent.definition.output_schema.is_some() { &[TEXT, JSON] } else { &[TEXT] }
}

/// The card. `address` is that of the agent, as its client reached it.
pub(crate) fn card(agent: &NamedAgent, address: &str) -> Value {
    let name = &agent.name;
    let description = match agent.definition.description.as_str() {
        "" => format!("The agent {name}."),
        described => described.to_owned(),
    };
    let input_modes: Vec<&str> = [TEXT, JSON].into_iter().chain(FILE_TYPES).collect();
    let required = |scheme: &str| json!({"schemes": {scheme: {"list": []}}});
    json!({
        "name": name,
        "description": description,
        "version": agent.version.to_string(),
        "supportedInterfaces": [{"url": address, "protocolBinding": BINDING, "protocolVersion": VERSION}],
        "capabilities": {"streaming": true, "pushNotifications": false, "extendedAgentCard": true},
        "securitySchemes": {
            "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer", "description": "A key with the scope inference."}},
            "header_key": {"apiKeySecurityScheme": {"location": "header", "name": "x-api-key", "description": "The same key."}},
        },
        "securityRequirements": [required("bearer"), required("header_key")],
        "defaultInputModes": input_modes,
        "defaultOutputModes": output_modes(agent),
        "skills": [{
            "id": name,
            "name": name,
            "description": description,
            "tags": ["agent"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use agents::Definition;

    use super::*;

    #[test]
    fn a_card_says_where_its_agent_is() {
        let definition = Definition { output_schema: Some(json!({})), ..Definition::default() };
        let agent = NamedAgent { name: "helper".to_owned(), version: 3, definition };
        let card = card(&agent, "https://g.example/a2a/helper");
        assert_eq!((&card["version"], &card["defaultOutputModes"]), (&json!("3"), &json!([TEXT, JSON])));
        assert_eq!(card["supportedInterfaces"][0]["url"], "https://g.example/a2a/helper");
        assert_eq!(card["skills"][0]["description"], "The agent helper.");
    }
}
