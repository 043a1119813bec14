//! Which agent a message is for: one that the project stores, or one that the request describes.

use admit::Caller;
use agents::{Definition, is_name};
use domain::{Fault, FaultClass, FoundAgent};
use line::Core;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::input::InputError;
use crate::kept_content::store_away;
use crate::refusal::Refusal;
use runbody::sanitize;

/// The agent of a turn, as its task keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub name: String,
    /// `None` for one that its request describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Definition>,
}

impl Agent {
    /// `NAME@VERSION`, or the name alone.
    pub(crate) fn reference(&self) -> String {
        self.version.map_or_else(|| self.name.clone(), |version| format!("{}@{version}", self.name))
    }
}

/// The agent that a reference names, as it is now.
///
/// # Errors
/// There is none, or it can't be read now.
pub(crate) async fn named(
    core: &Core,
    caller: &Caller,
    reference: &str,
) -> Result<(Agent, Definition), Box<Fault>> {
    // Names of a platform's agents begin with a namespace, which a project has none of.
    let plain = reference.rsplit('/').next().unwrap_or(reference);
    let (name, version) = match plain.split_once('@') {
        Some((name, version)) => (name, version.parse::<u64>().ok().map(Some)),
        None => (plain, Some(None)),
    };
    let (Some(version), true) = (version, is_name(name)) else { return Err(unknown(reference)) };
    match core.agents.find(caller.owner(), name.to_owned(), version).await {
        FoundAgent::Known(found) => {
            let definition =
                serde_json::from_slice(&found.definition).map_err(|_| Box::new(Fault::internal()))?;
            Ok((Agent { name: found.name, version: Some(found.version), config: None }, definition))
        }
        FoundAgent::Unknown => Err(unknown(reference)),
        FoundAgent::StoreUnavailable => Err(store_away()),
    }
}

/// What a turn's agent is.
///
/// # Errors
/// It was deleted meanwhile, or can't be read now.
pub(super) async fn definition(
    core: &Core,
    caller: &Caller,
    agent: &Agent,
) -> Result<Definition, Box<Fault>> {
    match &agent.config {
        Some(config) => Ok(config.clone()),
        None => named(core, caller, &agent.reference()).await.map(|(_, definition)| definition),
    }
}

/// The agent that a body names or describes; `None` where it leaves that to its chat.
///
/// # Errors
/// There is none, or its description is wrong.
pub(super) async fn of_body(core: &Core, caller: &Caller, body: &Value) -> Result<Option<Agent>, Refusal> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(reference) = text("agent") {
        let (agent, _) = named(core, caller, reference).await?;
        return Ok(Some(agent));
    }
    let Some(config) = body.get("agent_config").filter(|config| !config.is_null()) else { return Ok(None) };
    let read = if config.get("core_app").is_some() {
        agents::from_config(config)
            .map_err(|wrong| wrong.into_iter().map(|one| (one.pointer, one.message)).collect::<Vec<_>>())
    } else {
        own_form(config)
    };
    let config_of = |errors: Vec<(String, String)>| {
        let at = |(pointer, message): (String, String)| {
            InputError::new(format!("/agent_config{pointer}"), message)
        };
        Refusal::Input(errors.into_iter().map(at).collect())
    };
    let definition = read.map_err(config_of)?;
    let name = text("agent_name").or_else(|| config.get("name").and_then(Value::as_str)).unwrap_or("agent");
    Ok(Some(Agent { name: sanitize(name), version: None, config: Some(definition) }))
}

/// A definition in the form of `/v2/agents`.
fn own_form(config: &Value) -> Result<Definition, Vec<(String, String)>> {
    let mut fields = config.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("name");
    }
    let read: Definition = serde_json::from_value(fields)
        .map_err(|error| vec![(String::new(), sanitize(&error.to_string()))])?;
    let wrong = read.check();
    if wrong.is_empty() {
        Ok(read)
    } else {
        Err(wrong.into_iter().map(|one| (one.pointer, one.message)).collect())
    }
}

fn unknown(reference: &str) -> Box<Fault> {
    let message = format!("The project has no agent \"{}\".", sanitize(reference));
    let fault = Fault::new(FaultClass::NotFound, "agent_not_found", message).param("agent");
    Box::new(fault.fix("GET /v2/agents lists them; NAME@VERSION names one of its versions."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_agent_is_named_with_its_version() {
        let agent = |version| Agent { name: "helper".into(), version, config: None };
        assert_eq!(
            (agent(Some(3)).reference(), agent(None).reference()),
            ("helper@3".into(), "helper".into())
        );
        let fault = unknown("a\nb");
        assert_eq!((fault.code, fault.class), ("agent_not_found", FaultClass::NotFound));
        assert!(!fault.message.contains('\n'));
    }

    #[test]
    fn a_description_of_our_own_form_is_checked_at_its_places() {
        assert_eq!(own_form(&json!({"name": "n", "model": "m"})).unwrap().model, "m");
        assert_eq!(own_form(&json!({"name": "n"})).unwrap_err()[0].0, "/model");
        assert_eq!(own_form(&json!({"modle": "m"})).unwrap_err()[0].0, "");
    }
}
