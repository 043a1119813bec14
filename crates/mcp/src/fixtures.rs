//! Reads messages without a session, for the fuzz targets.

use rmcp::model::{
    CallToolRequestParams, CancelledNotificationParam, CompleteRequestParams, ErrorData,
    GetPromptRequestParams, InitializeRequestParams, PaginatedRequestParams, ReadResourceRequestParams,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::following::read_event_id;
use crate::level::SetLevel;
use crate::messages::{Message, Request, answer, nameless, params};

/// The answer to the form of a message: its params where they can be read, or the error; `None` where nothing is answered.
pub fn answer_to(sent: Value) -> Option<Value> {
    let request = match Message::read(sent) {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notification { params: sent, .. }) => {
            let _ = checked::<CancelledNotificationParam>(sent);
            return None;
        }
        Ok(Message::Answer) => return None,
        Err(error) => return Some(nameless(&error)),
    };
    let _ = request.progress_token();
    let Request { id, method, params: sent } = request;
    let read = match method.as_str() {
        "initialize" => checked::<InitializeRequestParams>(sent),
        "tools/call" => checked::<CallToolRequestParams>(sent),
        "resources/read" => checked::<ReadResourceRequestParams>(sent),
        "prompts/get" => checked::<GetPromptRequestParams>(sent),
        "completion/complete" => checked::<CompleteRequestParams>(sent),
        "logging/setLevel" => checked::<SetLevel>(sent),
        _ => checked::<PaginatedRequestParams>(sent),
    };
    Some(answer(&id, read))
}

/// The stream and the place in it that a `Last-Event-ID` names.
pub fn place_of(event: &str) -> Option<(u64, u64)> {
    read_event_id(event)
}

fn checked<T: DeserializeOwned>(sent: Value) -> Result<Value, ErrorData> {
    params::<T>(sent.clone()).map(|_| sent)
}
