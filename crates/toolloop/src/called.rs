//! Calls a tool of a project by its name, for a step of a flow.

use domain::tools::PinState;
use domain::{CallOutcome, ObjectOwner};
use line::Core;
use serde_json::{Map, Value};
use tokio::time::timeout;
use tools::{CALL_TIME_MAX, CallFailure, McpSession, ServerAddress, ToolAnswer};

use crate::toolset::name_of;

/// Calls a tool by the name that models know it by. One that needs an approval is called where there was one.
///
/// # Errors
/// There is no such tool, it is not approved, or its server does not answer.
pub async fn call_tool(
    core: &Core,
    owner: ObjectOwner,
    (name, is_approved): (&str, bool),
    arguments: Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    match timeout(CALL_TIME_MAX, call(core, owner, (name, is_approved), arguments)).await {
        Ok(answer) => answer,
        Err(_) => Err(CallFailure::new(CallOutcome::Timeout, "The tool did not answer in time.")),
    }
}

async fn call(
    core: &Core,
    owner: ObjectOwner,
    (name, is_approved): (&str, bool),
    arguments: Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    let refused = |text: &str| CallFailure::new(CallOutcome::Refused, text);
    let declared = core.tools.declared(owner).await;
    let declared = declared.ok_or_else(|| {
        CallFailure::new(CallOutcome::Unreachable, "The project's tools can't be read now.")
    })?;
    let client = &core.deps.egress;
    let not_approved = || {
        CallFailure::new(
            CallOutcome::NotApproved,
            "The tool needs an approval: put a step of this kind before it.",
        )
    };
    if let Some(tool) = declared.tools.iter().find(|tool| tool.name == name) {
        let action = tool.definition.http.as_ref();
        let action =
            action.ok_or_else(|| refused("The tool is executed by clients, and a flow has none."))?;
        if tool.definition.needs_approval && !is_approved {
            return Err(not_approved());
        }
        return tools::call_http(client, owner.workspace, action, &tool.headers, &arguments).await;
    }
    for server in &declared.servers {
        let pins = server.state.tools.iter().filter(|pin| pin.state == PinState::Accepted);
        let mut allowed = pins.filter(|pin| server.definition.allows(&pin.tool.name));
        let Some(pin) = allowed.find(|pin| name_of(&server.name, &pin.tool.name) == name) else { continue };
        if server.definition.approval.is_needed(&pin.tool.name) && !is_approved {
            return Err(not_approved());
        }
        let address = ServerAddress {
            url: server.definition.url.clone(),
            headers: server.headers.clone(),
            owner: owner.workspace,
        };
        let session = McpSession::open(client, &address).await?;
        let answer = session.call(&pin.tool.name, arguments).await;
        session.close().await;
        return answer;
    }
    Err(refused("The project has no tool of this name that is switched on."))
}
