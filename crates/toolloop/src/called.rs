//! Calls a tool of a project by its name, for a step of a flow; and lists those that can be called.

use std::rc::Rc;

use domain::tools::PinState;
use domain::{CallOutcome, ObjectOwner, TraceId};
use line::Core;
use serde_json::{Map, Value};
use tools::{CallFailure, ToolAnswer};

use crate::limits::{TIME, WHOLE_RESULT_BYTES_MAX};
use crate::native::Call;
use crate::toolset::{Executed, Occasion, Toolset, name_of, read_schema};
use crate::wish::Named;

/// A tool that the gateway can call.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredCall {
    /// By which models know it.
    pub name: String,
    pub description: String,
    pub parameters: Value,
}

/// The tools of a project that the gateway can call, as they were last listed; `None` where the store can't be read.
pub async fn declared(core: &Core, owner: ObjectOwner) -> Option<Vec<DeclaredCall>> {
    let declared = core.tools.declared(owner).await?;
    let own = declared.tools.into_iter().filter(|tool| tool.definition.http.is_some());
    let own = own.map(|tool| DeclaredCall {
        name: tool.name,
        parameters: read_schema(&tool.definition.parameters),
        description: tool.definition.description,
    });
    let of_servers = declared.servers.into_iter().flat_map(|server| {
        let (name, definition) = (server.name, server.definition);
        let pins = server.state.tools.into_iter().filter(|pin| pin.state == PinState::Accepted);
        pins.filter(move |pin| definition.allows(&pin.tool.name)).map(move |pin| DeclaredCall {
            name: name_of(&name, &pin.tool.name),
            parameters: read_schema(&pin.tool.parameters),
            description: pin.tool.description,
        })
    });
    Some(own.chain(of_servers).collect())
}

/// Calls a tool by the name that models know it by, and records the call under `request`. One that needs an approval is called
/// where there was one.
///
/// # Errors
/// There is no such tool, it is not approved, or its server does not answer.
pub async fn call_tool(
    core: &Rc<Core>,
    (owner, request): (ObjectOwner, TraceId),
    (name, is_approved): (&str, bool),
    arguments: Map<String, Value>,
) -> Result<ToolAnswer, CallFailure> {
    let behind = Named::Behind { name: name.to_owned(), among: None };
    let tools = Toolset::of_project(core, owner, &behind).await;
    let tools =
        tools.map_err(|fault| CallFailure::new(CallOutcome::Unreachable, fault.message.into_owned()))?;
    if !tools.executes(name) {
        let text = if tools.offered.contains_key(name) {
            "Clients execute this tool, or it runs an app: use a step of the kind \"app\" for that."
        } else {
            "The project has no tool of this name that is switched on."
        };
        return Err(CallFailure::new(CallOutcome::Refused, text));
    }
    let bytes = Value::Object(arguments.clone()).to_string().len() as u64;
    let call = Call { id: String::new(), name: name.to_owned(), arguments: Some(arguments), bytes };
    let result_bytes_max = WHOLE_RESULT_BYTES_MAX;
    let occasion = Occasion { owner, request, step: 1, place: 0, time_left: TIME, result_bytes_max };
    let calls = [call];
    let executed = if tools.runs(name) || is_approved {
        tools.execute(core, &calls, occasion).await
    } else {
        tools.refuse(core, &calls, occasion)
    };
    tasks::spawn_on_core(tools.close());
    let mut answer = Err(CallFailure::new(CallOutcome::Refused, "The call was not made."));
    let mut records = Vec::with_capacity(1);
    for Executed { result, record } in executed {
        answer = match record.outcome {
            CallOutcome::Answered | CallOutcome::Failed => {
                Ok(ToolAnswer { text: result.text, is_error: result.is_error })
            }
            CallOutcome::NotApproved => {
                let text = "The tool needs an approval: put a step of this kind before it.";
                Err(CallFailure::new(CallOutcome::NotApproved, text))
            }
            outcome => Err(CallFailure::new(outcome, result.text)),
        };
        records.push(record);
    }
    core.tools.record(records);
    answer
}
