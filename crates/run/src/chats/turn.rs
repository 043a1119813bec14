//! A turn of a chat, as a worker makes it: steps of the model and calls between them, each written into the session once it is there,
//! so that a turn whose process dies goes on after the last of them.

use std::rc::Rc;
use std::time::Duration;

use admit::Caller;
use agents::{
    Aside, Call, Chat, Definition, EndStatus, OUTPUT_TRIES_MAX, Spent, Turn, WaitingCall, event, result_item,
};
use domain::ports::SessionFailure;
use domain::{Fault, RunTask, SessionId};
use line::{Core, LiveTask, TaskCall};
use runs::{TaskRequest, TaskResult};
use schemas::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::content;
use super::starting::{self, Agent};
use super::step::{Asker, NoAnswer, headers};
use super::team::{Becomes, Ready};
use super::{chat_of, kept};
use crate::limits::AGENT_GRACE;
use crate::session_turn::{SessionBranch, append_events, fault_of};
use crate::tasks::{Tried, failed_by, failed_or_again};

/// Why a task goes back to the queue whose turn waits for people, as its log says.
pub(crate) const WAITS_FOR_PEOPLE: &str = "it waits for people";

/// What the task of a turn keeps beside the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TurnRequest {
    pub(super) agent: Agent,
}

/// A turn on its way.
struct Going<'a> {
    asker: Asker<'a>,
    call: &'a TaskCall,
    to: SessionBranch,
    chat: Chat,
    until_us: u64,
}

/// Why a turn does not go on now.
enum Stop {
    Tried(Box<Tried>),
    Fault(Box<Fault>),
}

impl From<Box<Fault>> for Stop {
    fn from(fault: Box<Fault>) -> Self {
        Self::Fault(fault)
    }
}

/// Makes the turn of a chat that a task is.
pub(crate) async fn take_turn(
    core: &Rc<Core>,
    call: &TaskCall,
    (caller, live): (Caller, &LiveTask),
    request: TaskRequest,
) -> Tried {
    let read = serde_json::from_value::<TurnRequest>(request.turn.clone()).ok();
    let (Some(turn), Some(session)) = (read, call.task.chat) else {
        return failed_by(&Fault::internal(), call);
    };
    let chat = session.to_string();
    // An agent that its request describes may have any name, also that of a stored one.
    let caller = caller.in_task(call.task.id, turn.agent.version.map(|_| turn.agent.name.as_str()));
    let asker = Asker {
        core,
        caller,
        headers: headers(request.headers.clone(), &chat),
        trace: call.trace,
        requests: 0,
        spent: Spent::default(),
        spent_max: Spent::default(),
        live: Some(live),
    };
    let mut going = match open(asker, call, session).await {
        Ok(going) => going,
        Err(fault) => return failed_by(&fault, call),
    };
    match going.run(turn.agent, &request.input).await {
        Ok(result) => Tried::Completed(Box::new(result)),
        Err(Stop::Tried(tried)) => going.tell_end(*tried).await,
        Err(Stop::Fault(fault)) => going.tell_end(failed_by(&fault, call)).await,
    }
}

async fn open<'a>(asker: Asker<'a>, call: &'a TaskCall, session: SessionId) -> Result<Going<'a>, Box<Fault>> {
    let history = asker.core.sessions.history(asker.caller.owner(), session, None).await;
    let (head, events) = history.map_err(|failure| fault_of(failure, "chat_id"))?;
    let to = SessionBranch { session, branch: head.branch };
    Ok(Going { asker, call, to, chat: chat_of(&events), until_us: 0 })
}

impl Going<'_> {
    fn now_ms(&self) -> u64 {
        self.asker.core.deps.world.clock.unix_ms()
    }

    fn time_left(&self) -> Duration {
        self.asker.time_left(self.until_us)
    }

    fn turn(&self) -> Turn {
        let task = self.call.task.id;
        self.chat.turn(task).cloned().unwrap_or_else(|| Turn::new(task, String::new(), 0))
    }

    /// Writes into the session, and takes in what is written.
    async fn write(&mut self, asides: Vec<Aside>, items: Vec<String>) -> Result<(), Stop> {
        let mut events: Vec<(String, String)> = Vec::with_capacity(asides.len() + items.len());
        // A turn begins before what is said in it; all other asides come after what they are about.
        let (first, last): (Vec<Aside>, Vec<Aside>) =
            asides.into_iter().partition(|aside| matches!(aside, Aside::Turn { .. }));
        events.extend(first.iter().map(event));
        events.extend(crate::session_turn::events_of(items.iter().cloned()));
        events.extend(last.iter().map(event));
        let (core, caller) = (self.asker.core, &self.asker.caller);
        let written = append_events(core, caller, (self.asker.trace, self.to), events).await;
        written.map_err(|failure| match failure {
            SessionFailure::StoreUnavailable => Stop::Tried(Box::new(Tried::Again {
                wait_ms: 1_000,
                is_postponed: false,
                why: "its chat could not be written".to_owned(),
            })),
            other => Stop::Fault(fault_of(other, "chat_id")),
        })?;
        first.into_iter().for_each(|aside| self.chat.take(aside));
        if let Some(turn) = self.chat.turns.last_mut() {
            turn.items.extend(items.iter().filter_map(|item| serde_json::from_str::<Value>(item).ok()));
        }
        last.into_iter().for_each(|aside| self.chat.take(aside));
        Ok(())
    }

    async fn run(&mut self, agent: Agent, input: &Value) -> Result<TaskResult, Stop> {
        if let Some(ended) = self.turn().ended {
            // It ended before its task could say so.
            return Ok(self.result(&ended.output, ended.error));
        }
        let (core, caller) = (self.asker.core, self.asker.caller.clone());
        let definition = starting::definition(core, &caller, &agent).await?;
        if self.chat.turn(self.call.task.id).is_none() {
            let item = content::item(core, &caller, input).await;
            let item = item.map_err(|refusal| Stop::Fault(refusal.into_fault()))?;
            let (task, unix_ms) = (self.call.task.id, self.call.task.created_unix_ms);
            let start = Aside::Turn { task, agent: agent.reference(), unix_ms };
            self.write(vec![start], vec![item.to_string()]).await?;
        }
        let seconds = definition.limits.seconds.map(|seconds| Duration::from_secs(seconds.into()));
        self.until_us = self.asker.until_us(seconds.unwrap_or(agents::TIME));
        self.asker.spent = self.turn().spent;
        self.asker.spent_max = definition.limits.spent_max();
        let ready = Ready::new(&self.asker, definition, 0).await?;
        let done = self.go_on(&ready).await;
        ready.close().await;
        done
    }

    async fn go_on(&mut self, ready: &Ready) -> Result<TaskResult, Stop> {
        let mut corrected = 0;
        loop {
            self.settle(ready).await?;
            let turn = self.turn();
            let answered = turn.items.last().is_some_and(|item| {
                item.get("role").and_then(Value::as_str) == Some("assistant") && turn.steps > 0
            });
            if answered {
                let text = last_text(&turn);
                match checked(&ready.definition, &text) {
                    Ok(output) => return self.end(output).await,
                    Err(wrong) if corrected + 1 < OUTPUT_TRIES_MAX => {
                        corrected += 1;
                        let message = format!(
                            "Your answer does not fit the schema: {wrong} Answer again with JSON that fits it, and nothing else."
                        );
                        let item = json!({"role": "developer", "content": message});
                        self.write(Vec::new(), vec![item.to_string()]).await?;
                    }
                    Err(wrong) => return Err(Stop::Fault(unfit(&wrong))),
                }
            }
            self.step(ready).await?;
        }
    }

    /// One step of the model.
    async fn step(&mut self, ready: &Ready) -> Result<(), Stop> {
        let turn = self.turn();
        let limits = ready.definition.limits;
        let is_last = turn.steps + 1 >= limits.steps.unwrap_or(agents::STEPS)
            || self.asker.is_spent()
            || self.time_left().is_zero();
        if turn.steps > limits.steps.unwrap_or(agents::STEPS) {
            return Err(Stop::Fault(used_up()));
        }
        let input = self.chat.input(self.call.task.id, ready.definition.memory.turns);
        let body = ready.body(&input, is_last);
        let mut answered = match self.asker.ask(&body, self.time_left().max(AGENT_GRACE)).await {
            Ok(answered) => answered,
            Err(NoAnswer::Postponed { wait_ms }) => {
                let why = "it waits for room under a limit".to_owned();
                return Err(Stop::Tried(Box::new(Tried::Again { wait_ms, is_postponed: true, why })));
            }
            Err(NoAnswer::Failed { problem, may_retry }) => {
                return Err(Stop::Tried(Box::new(failed_or_again(self.call, problem, may_retry))));
            }
        };
        if is_last {
            answered.retain(|item| item.get("type").and_then(Value::as_str) != Some("function_call"));
        }
        let mut items = kept(&answered);
        if items.is_empty() {
            // An answer without a word is one.
            items.push(json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": ""}]}).to_string());
        }
        self.write(vec![Aside::Step(self.asker.spent.since(turn.spent))], items).await
    }

    /// Makes the calls that may be made; stops where others wait for people.
    async fn settle(&mut self, ready: &Ready) -> Result<(), Stop> {
        let turn = self.turn();
        let pending = turn.pending();
        let (mut made, mut waiting, mut results) = (Vec::<Call>::new(), Vec::new(), Vec::new());
        for call in pending {
            let becomes = match ready.becomes(&call.name) {
                Becomes::Approved if self.chat.allowed.contains(&call.name) => Becomes::Made,
                becomes => becomes,
            };
            match (becomes, turn.decision(&call.id)) {
                (Becomes::Made, _) | (Becomes::Approved, Some((true, _))) => made.push(call),
                (_, Some((false, reason))) => results.push(result_item(&call.id, &refused(reason))),
                (Becomes::Clients, _) => waiting.push(WaitingCall { id: call.id, is_clients: true }),
                (Becomes::Approved, None) => waiting.push(WaitingCall { id: call.id, is_clients: false }),
            }
        }
        let place = u32::try_from(turn.calls().len().saturating_sub(made.len())).unwrap_or(u32::MAX);
        let left = self.time_left().max(AGENT_GRACE);
        if !made.is_empty() {
            let returns = ready.make(&mut self.asker, &made, (turn.steps, place), left).await;
            results.extend(returns.iter().map(|result| result_item(&result.id, &result.text)));
        }
        let is_known = turn.waiting == waiting;
        let mut asides = Vec::new();
        if !waiting.is_empty() && !is_known {
            asides.push(Aside::Waiting { calls: waiting.clone() });
        }
        // What agents used that were called.
        let spent = self.asker.spent.since(turn.spent);
        if spent != Spent::default() {
            asides.push(Aside::Called(spent));
        }
        if !results.is_empty() || !asides.is_empty() {
            self.write(asides, results.iter().map(Value::to_string).collect()).await?;
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let wait_ms = self.call.task.until_unix_ms.saturating_sub(now_ms);
        let grace_ms = u64::try_from(AGENT_GRACE.as_millis()).unwrap_or_default();
        if wait_ms <= 2 * grace_ms {
            return Err(Stop::Fault(waited_too_long()));
        }
        let why = WAITS_FOR_PEOPLE.to_owned();
        Err(Stop::Tried(Box::new(Tried::Again { wait_ms: wait_ms - grace_ms, is_postponed: true, why })))
    }

    fn result(&self, output: &Value, error: Option<String>) -> TaskResult {
        let text = last_text(&self.turn());
        let output = json!({"response": text, "output": output, "chat_id": self.to.session.to_string()});
        TaskResult {
            output,
            error,
            problem: Value::Null,
            app_id: None,
            is_private: false,
            usage_events: Vec::new(),
            messages: Vec::new(),
        }
    }

    async fn end(&mut self, output: Value) -> Result<TaskResult, Stop> {
        let result = self.result(&output, None);
        let (task, unix_ms) = (self.call.task.id, self.now_ms());
        let ended = Aside::Ended { task, status: EndStatus::Ready, error: None, output, unix_ms };
        self.write(vec![ended], Vec::new()).await?;
        Ok(result)
    }

    /// Writes that the turn failed, where it did for good.
    async fn tell_end(&mut self, tried: Tried) -> Tried {
        let Tried::Failed(result) = &tried else { return tried };
        let (task, unix_ms) = (self.call.task.id, self.now_ms());
        let mut asides = Vec::new();
        if self.chat.turn(task).is_none() {
            asides.push(Aside::Turn { task, agent: String::new(), unix_ms });
        }
        let error = result.error.clone();
        asides.push(Aside::Ended { task, status: EndStatus::Failed, error, output: Value::Null, unix_ms });
        if self.write(asides, Vec::new()).await.is_err() {
            tracing::warn!(task = %task, "the end of a turn could not be written into its chat");
        }
        tried
    }
}

/// Looks whether what a turn waits for came before it started to wait.
pub(crate) async fn rouse(core: &Core, task: &RunTask) {
    let Some(session) = task.chat else { return };
    let Ok((_, events)) = core.sessions.history(task.owner, session, None).await else { return };
    let chat = chat_of(&events);
    let is_answered = chat.turn(task.id).is_some_and(|turn| turn.waits_for().count() < turn.waiting.len());
    if is_answered {
        core.tasks.wake(task.owner, session).await;
    }
}

/// The text of the model's last message.
fn last_text(turn: &Turn) -> String {
    turn.texts("assistant").pop().unwrap_or_default()
}

/// What an answer says under the schema of its agent; null without one.
fn checked(definition: &Definition, text: &str) -> Result<Value, String> {
    let Some(schema) = &definition.output_schema else { return Ok(Value::Null) };
    // Models like to put it into a block of code.
    let plain = text.trim().trim_start_matches("```json").trim_matches('`').trim();
    let value: Value = serde_json::from_str(plain).map_err(|_| "it isn't JSON.".to_owned())?;
    let schema = Schema::compile(schema).map_err(|_| "the schema itself can't be used.".to_owned())?;
    let errors = schema.errors(&value, crate::limits::INPUT_ERRORS_MAX);
    let wrong: Vec<String> = errors
        .map_err(|error| format!("{error}."))?
        .iter()
        .map(|error| format!("at \"{}\": {}", error.instance_path(), error.masked_with("the value")))
        .collect();
    if wrong.is_empty() { Ok(value) } else { Err(format!("{}.", wrong.join("; "))) }
}

fn refused(reason: &str) -> String {
    if reason.is_empty() {
        return "The user did not approve this call.".to_owned();
    }
    format!("The user did not approve this call: {reason}")
}

fn unfit(wrong: &str) -> Box<Fault> {
    let wrong: String = wrong.chars().take(500).collect();
    let message = format!("The agent's answer doesn't fit its schema, even on a second try: {wrong}");
    let fault = Fault::new(domain::FaultClass::Upstream, "agent_output_invalid", message);
    Box::new(fault.fix("Say in the instructions what the answer must be, or choose another model."))
}

fn used_up() -> Box<Fault> {
    let message = "The agent used up its steps without an answer.";
    let fault = Fault::new(domain::FaultClass::Conflict, "agent_steps_used_up", message);
    Box::new(fault.fix("Raise limits.steps of the agent, or give it a smaller task."))
}

fn waited_too_long() -> Box<Fault> {
    let message = "A call of the agent wasn't answered before its turn expired.";
    let fault = Fault::new(domain::FaultClass::Conflict, "agent_waited_too_long", message);
    Box::new(fault.fix("Send the message again, and answer its calls within a day."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(schema: Value) -> Definition {
        Definition { output_schema: Some(schema), ..Definition::default() }
    }

    #[test]
    fn an_answer_fits_the_schema_of_its_agent() {
        let schema =
            json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
        let definition = with(schema);
        assert_eq!(checked(&Definition::default(), "any").unwrap(), Value::Null);
        assert_eq!(
            checked(&definition, "```json\n{\"city\": \"Rome\"}\n```").unwrap(),
            json!({"city": "Rome"})
        );
        assert_eq!(checked(&definition, "Rome").unwrap_err(), "it isn't JSON.");
        assert!(checked(&definition, "{\"city\": 3}").unwrap_err().contains("/city"));
    }

    #[test]
    fn what_ends_a_turn_has_its_code() {
        assert_eq!(unfit("x").code, "agent_output_invalid");
        assert_eq!(used_up().code, "agent_steps_used_up");
        assert_eq!(waited_too_long().code, "agent_waited_too_long");
        assert!(refused("no").ends_with(": no") && refused("").ends_with("call."));
    }
}
