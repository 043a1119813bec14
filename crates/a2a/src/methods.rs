//! The methods of the protocol.

use domain::TaskId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::calls::Calls;
use crate::card::card;
use crate::errors::RpcError;
use crate::following::{Until, settled};
use crate::limits::{CANCEL_TIME_MAX, WAIT_TIME_MAX};
use crate::listing;
use crate::params::Fields;
use crate::sending::Sending;
use crate::task::{Accepted, State, View, document};

/// What answers a request.
pub(crate) enum Answer {
    Whole(Value),
    /// The events of a task.
    Stream(TaskId, (View, Accepted, Until)),
}

/// Whether a method is answered with a stream.
pub(crate) fn is_streamed(method: &str) -> bool {
    matches!(method, "SendStreamingMessage" | "SubscribeToTask")
}

/// Answers a request of a method.
pub(crate) async fn call(
    calls: &Calls<'_>,
    address: &str,
    method: &str,
    params: &Value,
) -> Result<Answer, RpcError> {
    match method {
        "SendMessage" => send(calls, params).await.map(Answer::Whole),
        "SendStreamingMessage" => {
            let sending = Sending::read(calls, params)?;
            let task = sending.send(calls).await?;
            Ok(Answer::Stream(task, (sending.view, sending.accepted, Until::Interrupted)))
        }
        "GetTask" => {
            let fields = Fields::of(params, "")?;
            let (id, history) = (fields.task("id")?, fields.history()?);
            let view = View { history, artifacts: Some(Accepted::ALL) };
            Ok(Answer::Whole(document(&calls.turn(id).await?, view)))
        }
        "ListTasks" => listing::list(calls, params).await.map(Answer::Whole),
        "CancelTask" => cancel(calls, params).await.map(Answer::Whole),
        "SubscribeToTask" => subscribe(calls, params).await,
        "GetExtendedAgentCard" => {
            Fields::of(params, "")?;
            Ok(Answer::Whole(card(calls.agent, address)))
        }
        "CreateTaskPushNotificationConfig"
        | "GetTaskPushNotificationConfig"
        | "ListTaskPushNotificationConfigs"
        | "DeleteTaskPushNotificationConfig" => Err(RpcError::no_push()),
        _ => Err(RpcError::method(method)),
    }
}

const WHOLE: View = View { history: None, artifacts: Some(Accepted::ALL) };

async fn send(calls: &Calls<'_>, params: &Value) -> Result<Value, RpcError> {
    let sending = Sending::read(calls, params)?;
    let id = sending.send(calls).await?;
    let record = if sending.returns_immediately {
        calls.turn(id).await?
    } else {
        settled(calls, id, Until::Interrupted, Instant::now() + WAIT_TIME_MAX).await?
    };
    Ok(json!({"task": document(&record, sending.view)}))
}

async fn cancel(calls: &Calls<'_>, params: &Value) -> Result<Value, RpcError> {
    let id = Fields::of(params, "")?.task("id")?;
    let state = State::of(&calls.turn(id).await?);
    if state.has_ended() {
        return Err(RpcError::not_cancelable(&id.to_string(), state.as_str()));
    }
    if let Err(error) = calls.cancel(id).await {
        // It may have ended in between.
        let state = State::of(&calls.turn(id).await?);
        return Err(if state.has_ended() {
            RpcError::not_cancelable(&id.to_string(), state.as_str())
        } else {
            error
        });
    }
    let record = settled(calls, id, Until::Ended, Instant::now() + CANCEL_TIME_MAX).await?;
    Ok(document(&record, WHOLE))
}

async fn subscribe(calls: &Calls<'_>, params: &Value) -> Result<Answer, RpcError> {
    let id = Fields::of(params, "")?.task("id")?;
    let state = State::of(&calls.turn(id).await?);
    if state.has_ended() {
        let detail =
            format!("the task has ended with {}, and nothing more comes. GetTask reads it.", state.as_str());
        return Err(RpcError::unsupported(&detail));
    }
    Ok(Answer::Stream(id, (WHOLE, Accepted::ALL, Until::Ended)))
}
