//! What is said in sessions: what came before is sent with a request, and what is new is appended after its answer.

use admit::Caller;
use decode::{Inbound, SESSION_REF};
use domain::ports::{HistoryEvent, SessionFailure, SessionHead, SessionWriter};
use domain::{BranchId, Fault, FaultClass, SessionId, TraceId};
use http::header::{HeaderName, HeaderValue};
use line::Core;
use serde_json::{Map, Value};

use crate::items;

/// Kinds of events that are no part of a conversation.
const ASIDE: [&str; 2] = ["checkpoint", "note"];

/// The branch of a session that a request continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionBranch {
    pub session: SessionId,
    pub branch: BranchId,
}

/// A request that continues a branch, and the items of its input.
#[derive(Debug, Clone)]
pub(crate) struct SessionTurn {
    pub to: SessionBranch,
    pub input: Vec<String>,
}

/// How a client named the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub session: SessionId,
    pub branch: Option<BranchId>,
    /// The field.
    pub param: &'static str,
}

pub(crate) fn writer_of(caller: &Caller, request: TraceId) -> SessionWriter {
    let actor = caller.key().map_or_else(|| "system".to_owned(), |key| key.id.to_string());
    SessionWriter { owner: caller.owner(), actor, request }
}

/// The history of the branch that a request names, as items, and where it ends. The request belongs to the session.
///
/// # Errors
/// There is no such branch, it can't be read, or nothing may be kept in it.
pub(crate) async fn continued(
    core: &Core,
    caller: &Caller,
    inbound: &mut Inbound,
    named: Named,
) -> Result<(SessionBranch, Vec<String>), Box<Fault>> {
    let policies = caller.project().policy.as_ref();
    let kept = "a session stores its messages";
    let how = "Send the whole conversation with the request, without a session.";
    if let Some(fault) = policies.and_then(|policies| policies.refuse_to_keep(kept, how)) {
        return Err(Box::new(fault.param(named.param)));
    }
    let read = core.sessions.history(caller.owner(), named.session, named.branch).await;
    let (SessionHead { session, branch, is_archived, .. }, events) =
        read.map_err(|failure| fault_of(failure, named.param))?;
    if is_archived {
        return Err(fault_of(SessionFailure::Archived, named.param));
    }
    let name = HeaderName::from_static(SESSION_REF);
    if let Ok(value) = HeaderValue::try_from(session.to_string()) {
        inbound.headers.entry(name).or_insert(value);
    }
    Ok((SessionBranch { session, branch }, events.iter().filter_map(item_of).collect()))
}

/// An event as an item of `input`; `None` of what is no part of the conversation.
pub(crate) fn item_of(event: &HistoryEvent) -> Option<String> {
    if ASIDE.contains(&event.kind.as_str()) {
        return None;
    }
    if event.content.starts_with('"') {
        return Some(format!(r#"{{"role":"{}","content":{}}}"#, role_of(event), event.content));
    }
    items::repeated(event.content.as_bytes())
}

/// Whose message an event is that is a text.
pub(crate) fn role_of(event: &HistoryEvent) -> &'static str {
    if event.kind == "assistant_message" { "assistant" } else { "user" }
}

/// Items as events, each of its kind.
pub(crate) fn events_of(items: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    items.into_iter().map(|item| (kind_of(&item).to_owned(), item)).collect()
}

/// What kind of event an item is.
fn kind_of(item: &str) -> &'static str {
    let read: Map<String, Value> = serde_json::from_str(item).unwrap_or_default();
    let of = |name: &str| read.get(name).and_then(Value::as_str).unwrap_or_default();
    match (of("type"), of("role")) {
        ("function_call_output" | "custom_tool_call_output", _) => "tool_result",
        ("" | "message", role) if role != "assistant" => "user_message",
        _ => "assistant_message",
    }
}

/// Appends the new items of a request and those of its answer; `false` where the session takes none any more.
pub(crate) async fn append(
    core: &Core,
    caller: &Caller,
    (request, to): (TraceId, SessionBranch),
    input: &[String],
    response: &Map<String, Value>,
) -> bool {
    let output = response.get("output").and_then(Value::as_array).into_iter().flatten();
    let items = input.iter().cloned().chain(output.map(Value::to_string)).collect();
    append_items(core, caller, (request, to), items).await
}

/// Appends items; `false` where the session takes none any more.
pub(crate) async fn append_items(
    core: &Core,
    caller: &Caller,
    (request, to): (TraceId, SessionBranch),
    items: Vec<String>,
) -> bool {
    append_events(core, caller, (request, to), events_of(items)).await.is_ok()
}

/// Appends events, each a kind and content.
pub(crate) async fn append_events(
    core: &Core,
    caller: &Caller,
    (request, to): (TraceId, SessionBranch),
    events: Vec<(String, String)>,
) -> Result<(), SessionFailure> {
    if events.is_empty() {
        return Ok(());
    }
    core.sessions.append(writer_of(caller, request), (to.session, to.branch), events).await.map(drop)
}

/// What a client reads of a session that was not read or written.
pub(crate) fn fault_of(failure: SessionFailure, param: &'static str) -> Box<Fault> {
    let is_conversation = param == "conversation";
    Box::new(match failure {
        SessionFailure::Unknown if is_conversation => {
            let message = "This project has no such conversation.";
            Fault::new(FaultClass::NotFound, "conversation_not_found", message)
                .fix("Make one with POST /v1/conversations.")
                .param(param)
        }
        SessionFailure::Unknown => {
            let message = "This project has no such session or branch, or it has expired.";
            Fault::new(FaultClass::NotFound, "session_not_found", message)
                .fix("Open one with POST /v2/sessions.")
                .param(param)
        }
        SessionFailure::TooLong => {
            let message = "The conversation so far is longer than a request may be.";
            Fault::new(FaultClass::TooLarge, "content_too_large", message)
                .fix("Start a new one with a summary.")
                .param(param)
        }
        SessionFailure::Archived => {
            let message = "The session is archived and accepts no new events.";
            Fault::new(FaultClass::Conflict, "session_archived", message)
                .fix("Set its status to active with PATCH /v2/sessions/ID, or open another session.")
                .param(param)
        }
        SessionFailure::OfArtifact => {
            let message = "The item is stored in an artifact, which isn't deleted with it.";
            Fault::new(FaultClass::Unsupported, "unsupported_operation", message)
                .fix("Delete the artifact: DELETE /v2/artifacts/ID. GET /v2/sessions/ID/branches/ID/events names it.")
        }
        SessionFailure::Held => {
            let message = "A legal hold prevents it from being deleted.";
            Fault::new(FaultClass::Conflict, "legal_hold", message)
                .fix("Have an admin release it with DELETE /v2/legal-holds/ID, then send the request again.")
                .param(param)
        }
        SessionFailure::StoreUnavailable => {
            let message = "The conversation can't be read or stored right now.";
            Fault::new(FaultClass::Unavailable, "store_unavailable", message)
                .fix("Send the request again in a moment.")
                .retry_after_ms(1_000)
        }
    })
}

#[cfg(test)]
mod tests {
    use domain::SessionEventId;

    use super::*;

    #[test]
    fn events_are_items_and_items_are_events() {
        let event = |kind: &str, content: &str| {
            let (kind, content) = (kind.to_owned(), content.to_owned());
            item_of(&HistoryEvent { id: SessionEventId::new(1, [0; 10]), kind, content })
        };
        let message = |role: &str| Some(format!(r#"{{"role":"{role}","content":"hi"}}"#));
        assert_eq!(event("user_message", r#""hi""#), message("user"));
        assert_eq!(event("retrieval_result", r#""hi""#), message("user"));
        assert_eq!(event("assistant_message", r#""hi""#), message("assistant"));
        assert_eq!(event("note", r#""hi""#), None);
        let item = r#"{"role":"user","content":[{"type":"input_text","text":"hi"}]}"#;
        assert_eq!(event("user_message", item).as_deref(), Some(item));
        assert_eq!(event("assistant_message", r#"{"steps":[1]}"#).as_deref(), None, "it isn't an item");
        for (item, kind) in [
            (r#"{"role":"user","content":"x"}"#, "user_message"),
            (r#"{"type":"message","role":"developer","content":"x"}"#, "user_message"),
            (r#"{"type":"message","role":"assistant","content":"x"}"#, "assistant_message"),
            (r#"{"type":"function_call","call_id":"c"}"#, "assistant_message"),
            (r#"{"type":"function_call_output","call_id":"c"}"#, "tool_result"),
        ] {
            assert_eq!(kind_of(item), kind, "{item}");
        }
    }

    #[test]
    fn what_is_not_read_or_written_has_its_code() {
        for (failure, param, class, code) in [
            (SessionFailure::Unknown, "conversation", FaultClass::NotFound, "conversation_not_found"),
            (SessionFailure::Unknown, "session_id", FaultClass::NotFound, "session_not_found"),
            (SessionFailure::TooLong, "session_id", FaultClass::TooLarge, "content_too_large"),
            (SessionFailure::Archived, "session_id", FaultClass::Conflict, "session_archived"),
            (SessionFailure::OfArtifact, "conversation", FaultClass::Unsupported, "unsupported_operation"),
            (SessionFailure::Held, "conversation", FaultClass::Conflict, "legal_hold"),
            (SessionFailure::StoreUnavailable, "session_id", FaultClass::Unavailable, "store_unavailable"),
        ] {
            let fault = fault_of(failure, param);
            assert_eq!((fault.class, fault.code), (class, code));
            assert!(fault.fix.is_some(), "{code}");
        }
    }
}
