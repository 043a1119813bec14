//! The tools of a project for a client that calls them itself, without a model between.

use std::rc::Rc;

use admit::Caller;
use domain::{Fault, TraceId};
use http::header::HeaderMap;
use line::Core;
use serde_json::{Map, Value};
use tools::RESULT_BYTES_MAX;

use crate::limits::TIME;
use crate::native::Call;
use crate::toolset::{Occasion, Toolset};
use crate::wish::{Named, named_in};

/// The tools of a project that the gateway executes.
pub struct ProjectTools {
    tools: Toolset,
    /// Which of them the client's user has approved.
    approved: Option<Named>,
}

/// A tool as it is listed.
#[derive(Debug, Clone, Copy)]
pub struct ProjectTool<'a> {
    pub name: &'a str,
    pub description: &'a str,
    pub parameters: &'a Value,
    pub needs_approval: bool,
}

/// What a call of a tool brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    pub text: String,
    pub is_error: bool,
}

impl ProjectTools {
    /// Those that the request's `Agent-Tools` names, or else all.
    ///
    /// # Errors
    /// Those that it names don't exist, or the tools can't be read now.
    pub async fn all(core: &Rc<Core>, caller: &Caller, headers: &HeaderMap) -> Result<Self, Box<Fault>> {
        let (named, approved) = named_in(headers);
        let tools = Toolset::for_caller(core, caller, &named.unwrap_or(Named::All)).await?;
        Ok(Self { tools, approved })
    }

    /// The one of this name, and no more: servers of other tools are not asked.
    ///
    /// # Errors
    /// Its server offers no tools now, or the tools can't be read.
    pub async fn behind(
        core: &Rc<Core>,
        caller: &Caller,
        headers: &HeaderMap,
        name: &str,
    ) -> Result<Self, Box<Fault>> {
        let (named, approved) = named_in(headers);
        let behind = Named::Behind { name: name.to_owned(), among: named.map(Box::new) };
        let tools = Toolset::for_caller(core, caller, &behind).await?;
        Ok(Self { tools, approved })
    }

    pub fn list(&self) -> impl Iterator<Item = ProjectTool<'_>> {
        let executed = self.tools.offered.iter().filter(|(name, _)| self.tools.executes(name));
        executed.map(|(name, offered)| ProjectTool {
            name,
            description: &offered.description,
            parameters: &offered.parameters,
            needs_approval: offered.needs_approval,
        })
    }

    /// Calls a tool, and records the call under the request; `None` where there is none of this name.
    pub async fn call(
        &self,
        core: &Rc<Core>,
        caller: &Caller,
        request: TraceId,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Option<ToolResult> {
        if !self.tools.executes(name) {
            return None;
        }
        let bytes = Value::Object(arguments.clone()).to_string().len() as u64;
        let call = Call { id: String::new(), name: name.to_owned(), arguments: Some(arguments), bytes };
        let (owner, result_bytes_max) = (caller.owner(), RESULT_BYTES_MAX);
        let occasion = Occasion { owner, request, step: 1, place: 0, time_left: TIME, result_bytes_max };
        let is_approved = self.approved.as_ref().is_some_and(|approved| approved.has(name));
        let calls = [call];
        let executed = if self.tools.runs(name) || is_approved {
            self.tools.execute(core, &calls, occasion).await
        } else {
            self.tools.refuse(core, &calls, occasion)
        };
        let (mut results, mut records) = (Vec::new(), Vec::new());
        for one in executed {
            results.push(ToolResult { text: one.result.text, is_error: one.result.is_error });
            records.push(one.record);
        }
        core.tools.record(records);
        results.pop()
    }

    /// Ends the sessions with servers, for which nobody waits.
    pub fn close(self) {
        tasks::spawn_on_core(self.tools.close());
    }
}
