//! An agent that is ready to work: what its model is offered, which of its calls wait for people, and how the others are made, with
//! the agents that it may call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agents::{AgentTool, Call, Definition, HOOK_TIMEOUT, SUB_AGENT_DEPTH_MAX, Turn, arguments, result_item};
use domain::Fault;
use domain::tools::HttpAction;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use toolloop::{CallReturn, CallToMake, ToolOffer, TurnTools};

use super::kept;
use super::starting;
use super::step::{Asker, NoAnswer};

/// A future that is not sent to another thread.
type LocalFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// It is made at once.
    Made,
    /// It waits for a person's approval.
    Approved,
    /// The client makes it.
    Clients,
}

/// An agent that is ready.
pub(super) struct Ready {
    pub definition: Definition,
    tools: TurnTools,
    offers: BTreeMap<String, ToolOffer>,
    /// The agents that it calls, by the names of their tools.
    others: BTreeMap<String, (String, Definition)>,
    /// Tools and agents of which each call is approved.
    approved: BTreeSet<String>,
    depth: u32,
}

impl Ready {
    /// Reads what an agent may call.
    ///
    /// # Errors
    /// One of them is not there, or can't be read now.
    pub(super) async fn new(
        asker: &Asker<'_>,
        definition: Definition,
        depth: u32,
    ) -> Result<Self, Box<Fault>> {
        let (core, caller) = (asker.core, &asker.caller);
        let mut names = Vec::new();
        let (mut others, mut approved) = (BTreeMap::new(), BTreeSet::new());
        for tool in &definition.tools {
            match tool {
                AgentTool::Project { name, require_approval } => {
                    names.push(name.clone());
                    approved.extend(require_approval.then(|| name.clone()));
                }
                AgentTool::Agent { name, require_approval } if depth < SUB_AGENT_DEPTH_MAX => {
                    let (agent, other) = starting::named(core, caller, name).await?;
                    approved.extend(require_approval.then(|| tool.called()));
                    others.insert(tool.called(), (agent.reference(), other));
                }
                AgentTool::Agent { .. } | AgentTool::Client { .. } => {}
            }
        }
        let tools = TurnTools::named(core, caller, names).await?;
        let offers = tools.offers().into_iter().map(|offer| (offer.name.clone(), offer)).collect();
        let mut ready = Self { definition, tools, offers, others, approved, depth };
        if depth > 0 {
            // Nobody would answer for an agent that another one calls.
            let waiting: Vec<String> = ready.offers.keys().cloned().collect();
            for name in waiting {
                if ready.becomes(&name) != Becomes::Made {
                    ready.offers.remove(&name);
                }
            }
            let approved = &ready.approved;
            ready.others.retain(|name, _| !approved.contains(name));
        }
        Ok(ready)
    }

    /// What becomes of a call of this tool.
    pub(super) fn becomes(&self, name: &str) -> Becomes {
        let is_own = |tool: &AgentTool| matches!(tool, AgentTool::Client { name: own, .. } if own == name);
        if self.definition.tools.iter().any(is_own) {
            return Becomes::Clients;
        }
        // Of a server's tools, what is said of the server holds.
        let server = name.split_once("__").map_or(name, |(server, _)| server);
        let is_approved = self.approved.contains(name) || self.approved.contains(server);
        match self.offers.get(name) {
            Some(offer) if offer.is_clients => Becomes::Clients,
            Some(offer) if offer.needs_approval || is_approved => Becomes::Approved,
            None if self.others.contains_key(name) && is_approved => Becomes::Approved,
            _ => Becomes::Made,
        }
    }

    fn declared(&self) -> Vec<Value> {
        let function = |name: &str, description: &str, parameters: &Value| json!({"type": "function", "name": name, "description": description, "parameters": parameters, "strict": false});
        let reading_on = self.tools.reading_on();
        let mut declared: Vec<Value> = self
            .offers
            .values()
            .chain(&reading_on)
            .map(|offer| function(&offer.name, &offer.description, &offer.parameters))
            .collect();
        for (name, (_, other)) in &self.others {
            let task = json!({"type": "object", "required": ["task"], "properties": {
                "task": {"type": "string", "description": "The task, with everything that the agent needs to know."},
            }});
            declared.push(function(name, &other.description, &task));
        }
        if self.depth > 0 {
            return declared;
        }
        for tool in &self.definition.tools {
            let AgentTool::Client { name, description, parameters } = tool else { continue };
            let nothing = json!({"type": "object", "properties": {}});
            declared.push(function(name, description, parameters.as_ref().unwrap_or(&nothing)));
        }
        declared
    }

    /// The request of a step. The last one calls nothing.
    pub(super) fn body(&self, input: &[Value], is_last: bool) -> Value {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(self.definition.model));
        if !self.definition.instructions.is_empty() {
            body.insert("instructions".to_owned(), json!(self.definition.instructions));
        }
        body.insert("input".to_owned(), json!(input));
        body.insert("store".to_owned(), json!(false));
        body.insert("stream".to_owned(), json!(true));
        let declared = self.declared();
        if !declared.is_empty() {
            body.insert("tools".to_owned(), json!(declared));
            if is_last {
                body.insert("tool_choice".to_owned(), json!("none"));
            }
        }
        if let Some(schema) = &self.definition.output_schema {
            let format = json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": false});
            body.insert("text".to_owned(), json!({"format": format}));
        }
        Value::Object(body)
    }

    /// Makes calls, and tells what they brought, in their order.
    pub(super) async fn make(
        &self,
        asker: &mut Asker<'_>,
        calls: &[Call],
        (step, place): (u32, u32),
        time_left: Duration,
    ) -> Vec<CallReturn> {
        // Agents work one after the other, and all within the time.
        let until_us = asker.until_us(time_left);
        let mut returns: Vec<Option<CallReturn>> = Vec::with_capacity(calls.len());
        let mut made: Vec<(usize, CallToMake)> = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            if let Some(reason) = self.denied(asker, call).await {
                returns.push(Some(CallReturn { id: call.id.clone(), text: reason, is_error: true }));
            } else if let Some((_, other)) = self.others.get(&call.name) {
                let time_left = asker.time_left(until_us);
                let text = self.ask_other(asker, other.clone(), call, time_left).await;
                let (text, is_error) = text.map_or_else(|error| (error, true), |text| (text, false));
                returns.push(Some(CallReturn { id: call.id.clone(), text, is_error }));
            } else {
                returns.push(None);
                let (id, name) = (call.id.clone(), call.name.clone());
                made.push((at, CallToMake { id, name, arguments: arguments(&call.arguments) }));
            }
        }
        let to_make: Vec<CallToMake> = made.iter().map(|(_, call)| call.clone()).collect();
        let (of, time_left) = ((asker.trace, step, place), asker.time_left(until_us));
        let results = self.tools.call(asker.core, &asker.caller, of, &to_make, time_left).await;
        for ((at, _), result) in made.into_iter().zip(results) {
            if let Some(place) = returns.get_mut(at) {
                *place = Some(result);
            }
        }
        returns.into_iter().flatten().collect()
    }

    /// Why a hook denies a call. A hook that does not answer denies it.
    async fn denied(&self, asker: &Asker<'_>, call: &Call) -> Option<String> {
        for hook in &self.definition.hooks {
            let written = arguments(&call.arguments).map(Value::Object).unwrap_or_default();
            let mut known = Map::new();
            known.insert("event".to_owned(), json!(hook.event));
            known.insert("call".to_owned(), json!({"id": call.id, "name": call.name, "arguments": written}));
            let action =
                HttpAction { method: "POST".to_owned(), url: hook.url.clone(), places: BTreeMap::new() };
            let (client, workspace) = (&asker.core.deps.egress, asker.caller.owner().workspace);
            let no_secrets = Vec::new();
            let asking = tools::call_http(client, workspace, &action, &no_secrets, &known);
            let decision = match timeout(HOOK_TIMEOUT, asking).await {
                Ok(Ok(answer)) if !answer.is_error => serde_json::from_str::<Value>(&answer.text).ok(),
                _ => None,
            };
            if let Some(reason) = reason_of(decision.as_ref()) {
                return Some(reason);
            }
        }
        None
    }

    /// Has another agent do something, in steps that are booked beside the caller's.
    fn ask_other<'a>(
        &'a self,
        asker: &'a mut Asker<'_>,
        other: Definition,
        call: &'a Call,
        time_left: Duration,
    ) -> LocalFuture<'a, Result<String, String>> {
        Box::pin(async move {
            let task = arguments(&call.arguments);
            let task = task.as_ref().and_then(|arguments| arguments.get("task")?.as_str());
            let task = task.ok_or("The arguments have no \"task\".")?;
            let (live, spent_max) = (asker.live.take(), asker.spent_max);
            // What it uses counts for its caller, whose limits it can't exceed by its own.
            asker.spent_max = asker.spent.plus(other.limits.spent_max()).within(spent_max);
            let done = work(asker, other, task, (self.depth + 1, time_left)).await;
            (asker.live, asker.spent_max) = (live, spent_max);
            done
        })
    }

    /// Ends the sessions with its servers.
    pub(super) async fn close(self) {
        self.tools.close().await;
    }
}

/// Why a decision is none that allows.
fn reason_of(decision: Option<&Value>) -> Option<String> {
    let Some(decision) = decision else {
        return Some("The call was not made: the hook that decides about it did not answer.".to_owned());
    };
    if decision.get("decision").and_then(Value::as_str) == Some("allow") {
        return None;
    }
    let reason = decision.get("reason").and_then(Value::as_str).unwrap_or("no reason was given");
    let reason: String = reason.chars().take(500).collect();
    Some(format!("The call was denied: {reason}"))
}

/// The whole work of an agent that another one calls.
async fn work(
    asker: &mut Asker<'_>,
    definition: Definition,
    task: &str,
    (depth, time_left): (u32, Duration),
) -> Result<String, String> {
    let steps_max = definition.limits.steps.unwrap_or(agents::STEPS);
    let own = definition.limits.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let until_us = asker.until_us(own.unwrap_or(agents::TIME).min(time_left));
    let ready = Ready::new(asker, definition, depth).await.map_err(|fault| fault.message.to_string())?;
    let mut input = vec![json!({"role": "user", "content": task})];
    let (mut place, mut step) = (0, 0);
    let texts_so_far = loop {
        step += 1;
        let left = asker.time_left(until_us);
        let is_last = step >= steps_max || left.is_zero() || asker.is_spent();
        let body = ready.body(&input, is_last);
        let answer = match asker.ask(&body, left.max(Duration::from_secs(1))).await {
            Ok(answer) => answer,
            Err(NoAnswer::Postponed { .. }) => {
                break Err("There is no room under a limit right now.".to_owned());
            }
            Err(NoAnswer::Failed { problem, .. }) => {
                let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("It did not answer.");
                break Err(detail.to_owned());
            }
        };
        let mut turn = Turn::new(domain::TaskId::from_uuid(*asker.trace.as_uuid()), String::new(), 0);
        turn.items = kept(&answer).iter().filter_map(|item| serde_json::from_str(item).ok()).collect();
        let calls = turn.pending();
        if calls.is_empty() || is_last {
            break Ok(turn.texts("assistant").concat());
        }
        input.append(&mut turn.items);
        let results = ready.make(asker, &calls, (step, place), left).await;
        place = place.saturating_add(u32::try_from(calls.len()).unwrap_or(u32::MAX));
        input.extend(results.iter().map(|result| result_item(&result.id, &result.text)));
    };
    ready.close().await;
    texts_so_far
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hook_that_allows_a_call_allows_it() {
        assert_eq!(reason_of(Some(&json!({"decision": "allow"}))), None);
        for decision in [None, Some(json!({})), Some(json!({"decision": "deny"})), Some(json!("allow"))] {
            assert!(reason_of(decision.as_ref()).is_some(), "{decision:?}");
        }
        let reason = reason_of(Some(&json!({"decision": "deny", "reason": "on Sundays"}))).unwrap();
        assert_eq!(reason, "The call was denied: on Sundays");
    }
}
