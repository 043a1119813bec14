//! The tools of a project for who makes the steps of the model itself: what is offered, and the calls.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use domain::{Fault, TraceId};
use line::Core;
use serde_json::{Map, Value};
use tools::RESULT_BYTES_MAX;

use crate::kept_results::{self, READ_RESULT};
use crate::native::Call;
use crate::toolset::{Occasion, Toolset};
use crate::wish::Named;

/// Tools of a project, as one turn uses them.
pub struct TurnTools(Toolset);

/// A tool as a model is offered it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOffer {
    pub name: String,
    pub description: String,
    pub parameters: Value,
    pub needs_approval: bool,
    /// The client executes it.
    pub is_clients: bool,
}

/// A call that a model made.
#[derive(Debug, Clone, PartialEq)]
pub struct CallToMake {
    pub id: String,
    pub name: String,
    /// `None` where they are no JSON object.
    pub arguments: Option<Map<String, Value>>,
}

/// What a call brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallReturn {
    pub id: String,
    pub text: String,
    pub is_error: bool,
}

impl TurnTools {
    /// Those with these names.
    ///
    /// # Errors
    /// There is no such tool or server, or it can't be read now.
    pub async fn named(core: &Rc<Core>, caller: &Caller, names: Vec<String>) -> Result<Self, Box<Fault>> {
        if names.is_empty() {
            return Ok(Self(Toolset::default()));
        }
        let tools = Toolset::for_caller(core, caller, &Named::These(names)).await?;
        tools.let_read_on(&[]);
        Ok(Self(tools))
    }

    /// The tool that reads on in results which were too long to be given whole, once there are some.
    pub fn reading_on(&self) -> Option<ToolOffer> {
        (!self.0.kept.is_empty()).then(|| ToolOffer {
            name: READ_RESULT.to_owned(),
            description: kept_results::DESCRIPTION.to_owned(),
            parameters: kept_results::parameters(),
            needs_approval: false,
            is_clients: false,
        })
    }

    pub fn offers(&self) -> Vec<ToolOffer> {
        let offers = self.0.offered.iter().map(|(name, offered)| ToolOffer {
            name: name.clone(),
            description: offered.description.clone(),
            parameters: offered.parameters.clone(),
            needs_approval: offered.needs_approval,
            is_clients: !self.0.executes(name),
        });
        offers.collect()
    }

    /// Makes calls that a step of a request led to, some at the same time; what they brought is in their order.
    pub async fn call(
        &self,
        core: &Rc<Core>,
        caller: &Caller,
        (request, step, place): (TraceId, u32, u32),
        calls: &[CallToMake],
        time_left: Duration,
    ) -> Vec<CallReturn> {
        let (owner, result_bytes_max) = (caller.owner(), RESULT_BYTES_MAX);
        let occasion = Occasion { owner, request, step, place, time_left, result_bytes_max };
        let calls: Vec<Call> = calls.iter().map(native).collect();
        let mut returns = Vec::with_capacity(calls.len());
        let mut records = Vec::with_capacity(calls.len());
        for executed in self.0.execute(core, &calls, occasion).await {
            let result = executed.result;
            returns.push(CallReturn { id: result.id, text: result.text, is_error: result.is_error });
            records.push(executed.record);
        }
        core.tools.record(records);
        returns
    }

    /// Ends the sessions with its servers.
    pub async fn close(self) {
        self.0.close().await;
    }
}

fn native(call: &CallToMake) -> Call {
    let bytes =
        call.arguments.as_ref().map_or(0, |arguments| Value::Object(arguments.clone()).to_string().len());
    Call {
        id: call.id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
        bytes: bytes as u64,
    }
}
