//! `SendMessage`: a new turn, or answers to the calls that a turn waits for.

use std::collections::BTreeSet;

use domain::{SessionId, TaskId};
use run::TurnRecord;
use serde_json::{Value, json};

use crate::calls::Calls;
use crate::card::{JSON, TEXT, output_modes};
use crate::errors::RpcError;
use crate::limits::{OUTPUT_MODES_MAX, REPEATS_SEARCHED_MAX};
use crate::message::ClientMessage;
use crate::params::Fields;
use crate::task::{Accepted, KEPT, PendingCall, State, View, pending};
use crate::turns;

const FORM: &str = "send a data part for each call: {\"call_id\": …, \"decision\": \"approve\" | \"reject\" | \"result\", \"reason\": …, \
    \"result\": …}; the status message of the task lists the calls.";

/// A message with how it is to be answered.
pub(crate) struct Sending {
    message: ClientMessage,
    pub returns_immediately: bool,
    pub view: View,
    pub accepted: Accepted,
}

/// An answer to a call that waits.
struct Decision {
    path: String,
    body: Value,
}

impl Sending {
    pub(crate) fn read(calls: &Calls<'_>, params: &Value) -> Result<Self, RpcError> {
        let fields = Fields::of(params, "")?;
        let message = ClientMessage::read(&fields)?;
        let empty = json!({});
        let configuration = Fields::of(fields.get("configuration").unwrap_or(&empty), "configuration")?;
        if configuration.get("taskPushNotificationConfig").is_some() {
            return Err(RpcError::no_push());
        }
        let accepted = accepted(calls, &configuration)?;
        let view = View { history: configuration.history()?, artifacts: Some(accepted) };
        Ok(Self { message, returns_immediately: configuration.flag("returnImmediately")?, view, accepted })
    }

    /// The task that the message begins, or goes on with.
    pub(crate) async fn send(&self, calls: &Calls<'_>) -> Result<TaskId, RpcError> {
        if let Some(task) = self.message.task {
            return self.go_on(calls, task).await;
        }
        if let Some(context) = self.message.context
            && let Some(repeated) = self.repeated(calls, context).await?
        {
            return Ok(repeated);
        }
        let mut kept = json!({"message_id": self.message.id});
        if let (Some(fields), true) = (kept.as_object_mut(), self.message.metadata.is_object()) {
            fields.insert("metadata".to_owned(), self.message.metadata.clone());
        }
        let body = json!({
            "agent": calls.reference,
            "chat_id": self.message.context.map(|context| context.to_string()),
            "input": self.message.input(),
            "context": {KEPT: kept},
        });
        let sent = calls.agents("/agents/run", &body, calls.trace).await?;
        let id = sent.pointer("/assistant_message/task_id").and_then(Value::as_str);
        // The turn has the id of its request.
        let id = id.and_then(|id| id.parse().ok());
        Ok(id.unwrap_or_else(|| TaskId::from_uuid(*calls.trace.as_uuid())))
    }

    /// The newest turns of a context, if one of them is of a message with the same id: it was sent twice.
    async fn repeated(&self, calls: &Calls<'_>, context: SessionId) -> Result<Option<TaskId>, RpcError> {
        let tasks = turns::tasks(calls, Some(context)).await?;
        for task in tasks.iter().take(REPEATS_SEARCHED_MAX) {
            let record = calls.turn(task.id).await?;
            let kept =
                record.request.as_ref().and_then(|request| request.metadata.get(KEPT)?.get("message_id"));
            if kept.and_then(Value::as_str) == Some(self.message.id.as_str()) {
                return Ok(Some(task.id));
            }
        }
        Ok(None)
    }

    async fn go_on(&self, calls: &Calls<'_>, task: TaskId) -> Result<TaskId, RpcError> {
        let record = calls.turn(task).await?;
        if self.message.context.is_some_and(|context| context != record.chat) {
            let detail =
                "it is not the context of the task. Leave it out, or send the contextId of the task.";
            return Err(RpcError::params("message.contextId", detail));
        }
        let state = State::of(&record);
        if state.has_ended() {
            let detail = format!(
                "the task has ended with {}. Send the message without taskId, and with its contextId, to continue in the same context.",
                state.as_str()
            );
            return Err(RpcError::unsupported(&detail));
        }
        if state != State::InputRequired {
            let detail = "the task isn't waiting for input. Send the message without taskId, and with its contextId: it is answered after this task.";
            return Err(RpcError::unsupported(detail));
        }
        for Decision { path, body } in self.decisions(&record)? {
            calls.decide(&path, &body).await?;
        }
        Ok(task)
    }

    /// What the message answers, all of it checked before any of it is done.
    fn decisions(&self, record: &TurnRecord) -> Result<Vec<Decision>, RpcError> {
        let waiting = record.turn.as_ref().map(pending).unwrap_or_default();
        let message = &self.message;
        if !message.files.is_empty() {
            return Err(RpcError::params("message.parts", format!("a file can't answer a call: {FORM}")));
        }
        if message.data.is_empty() {
            return self.text_result(&waiting).map(|decision| vec![decision]);
        }
        let mut answered = BTreeSet::new();
        let mut decisions = Vec::new();
        for data in &message.data {
            let decision = decision(data, &waiting)?;
            if !answered.insert(decision.path.clone()) {
                return Err(RpcError::params("message.parts", "a call is answered twice."));
            }
            decisions.push(decision);
        }
        if message.texts.len() > message.data.len() {
            let detail = format!("a text beside decisions is never delivered: {FORM}");
            return Err(RpcError::params("message.parts", detail));
        }
        Ok(decisions)
    }

    /// A text is the result of a call that its client makes, where nothing else waits.
    fn text_result(&self, waiting: &[PendingCall]) -> Result<Decision, RpcError> {
        match waiting {
            [PendingCall { id, is_clients: true, .. }] => Ok(Decision {
                path: format!("/tools/{id}"),
                body: json!({"result": self.message.texts.join("\n\n")}),
            }),
            _ => Err(RpcError::params(
                "message.parts",
                format!("a text does not answer what the task waits for: {FORM}"),
            )),
        }
    }
}

fn decision(data: &Value, waiting: &[PendingCall]) -> Result<Decision, RpcError> {
    let fields = Fields::of(data, "message.parts.data")?;
    let id = fields.needed("call_id")?;
    let Some(call) = waiting.iter().find(|call| call.id == id) else {
        let ids: Vec<_> = waiting.iter().map(|call| call.id.as_str()).collect();
        return Err(fields
            .wrong("call_id", format!("the task isn't waiting for this call, but for {}.", ids.join(", "))));
    };
    let reason = || Ok::<_, RpcError>(json!({"reason": fields.text("reason")?.unwrap_or_default()}));
    let (path, body) = match (fields.needed("decision")?, call.is_clients) {
        ("approve", false) => (format!("/tools/{id}/invoke"), json!({})),
        ("reject", _) => (format!("/tools/{id}/reject"), reason()?),
        ("result", true) => {
            let result = fields.get("result");
            let result = result
                .ok_or_else(|| fields.wrong("result", "it is missing: send what the call returned."))?;
            (format!("/tools/{id}"), json!({"result": result}))
        }
        ("approve", true) => {
            return Err(
                fields.wrong("decision", "the client makes this call: send \"result\" or \"reject\".")
            );
        }
        ("result", false) => {
            return Err(
                fields.wrong("decision", "the gateway makes this call: send \"approve\" or \"reject\".")
            );
        }
        _ => return Err(fields.wrong("decision", "it must be \"approve\", \"reject\" or \"result\".")),
    };
    Ok(Decision { path, body })
}

/// Which artifacts of an agent its client accepts.
fn accepted(calls: &Calls<'_>, configuration: &Fields<'_>) -> Result<Accepted, RpcError> {
    let Some(modes) = configuration.get("acceptedOutputModes") else { return Ok(Accepted::ALL) };
    let wrong = || configuration.wrong("acceptedOutputModes", "it must be a list of at most 32 media types.");
    let modes = modes.as_array().filter(|modes| modes.len() <= OUTPUT_MODES_MAX).ok_or_else(wrong)?;
    let modes = modes.iter().map(|mode| mode.as_str().ok_or_else(wrong)).collect::<Result<Vec<_>, _>>()?;
    if modes.is_empty() {
        return Ok(Accepted::ALL);
    }
    let made = output_modes(calls.agent);
    let takes = |wanted: &str| {
        let of_kind = wanted.split_once('/').map(|(kind, _)| format!("{kind}/*")).unwrap_or_default();
        made.contains(&wanted)
            && modes.iter().any(|mode| {
                let mode = mode.split(';').next().unwrap_or_default().trim();
                mode.eq_ignore_ascii_case(wanted)
                    || mode == "*/*"
                    || mode == of_kind
                    || mode == "text" && wanted == TEXT
            })
    };
    let accepted = Accepted { text: takes(TEXT), json: takes(JSON) };
    if accepted.text || accepted.json {
        return Ok(accepted);
    }
    let detail = format!("the agent answers with {}.", made.join(", "));
    Err(RpcError::content_type("configuration.acceptedOutputModes", &detail))
}

#[cfg(test)]
mod tests {
    use agents::Call;

    use super::*;

    fn waiting(is_clients: bool) -> PendingCall {
        let call = Call { id: "c".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
        PendingCall { id: "inv_1_0".to_owned(), call, is_clients }
    }

    #[test]
    fn a_decision_fits_its_call() {
        let of = |more: Value, is_clients| {
            let mut data = json!({"call_id": "inv_1_0"});
            data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            decision(&data, &[waiting(is_clients)]).map(|decision| decision.path)
        };
        assert_eq!(of(json!({"decision": "approve"}), false).unwrap(), "/tools/inv_1_0/invoke");
        assert_eq!(of(json!({"decision": "reject", "reason": "no"}), true).unwrap(), "/tools/inv_1_0/reject");
        assert_eq!(of(json!({"decision": "result", "result": 3}), true).unwrap(), "/tools/inv_1_0");
        for (wrong, is_clients) in [
            (json!({"decision": "approve"}), true),
            (json!({"decision": "result", "result": 3}), false),
            (json!({"decision": "result"}), true),
            (json!({"decision": "maybe"}), true),
            (json!({"call_id": "inv_1_1", "decision": "approve"}), false),
            (json!({}), false),
        ] {
            assert_eq!(of(wrong.clone(), is_clients).unwrap_err().code, -32_602, "{wrong}");
        }
    }
}
