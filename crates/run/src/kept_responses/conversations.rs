//! `/v1/conversations`: each is a session, under an id of the dialect's kind.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use admit::Caller;
use bytes::Bytes;
use domain::ports::{HistoryEvent, SessionFailure, SessionHead};
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::{Method, Response, StatusCode};
use line::Core;
use serde_json::{Map, Value, json};
use settle::ReplyBody;

use super::ids::{PARAM, conversation_id_of, conversation_named};
use super::pages::{list, page};
use crate::items;
use crate::limits::{
    CONVERSATION_ITEM_BYTES_MAX, CONVERSATION_ITEMS_ADDED_MAX, METADATA_NAME_CHARS_MAX, METADATA_PAIRS_MAX,
    METADATA_VALUE_CHARS_MAX,
};
use crate::session_turn::{Named, events_of, fault_of, role_of, writer_of};
use runbody::{members, refusal};

/// What sessions are called that clients opened as conversations.
const NAME: &str = "conversation";
const HOW: &str =
    "POST /v1/conversations makes one; use GET, POST and DELETE with its id, and /items below it.";

/// A request about conversations.
#[derive(Debug)]
pub struct ConversationRequest<'a> {
    pub method: &'a Method,
    /// What follows `/v1/conversations/`; empty without anything.
    pub rest: &'a str,
    pub query: &'a str,
    pub body: Bytes,
    pub trace: TraceId,
}

/// Answers a request about conversations.
pub async fn conversation(
    core: &Core,
    caller: &Caller,
    request: ConversationRequest<'_>,
) -> Response<ReplyBody> {
    let trace = request.trace;
    match answer(core, caller, request).await {
        Ok(body) => {
            core.counters.answered(StatusCode::OK.as_u16());
            let headers = line::own_headers(trace, "application/json");
            settle::whole(StatusCode::OK, headers, body.to_string().into())
        }
        Err(fault) => line::refuse(core, Dialect::Responses, &fault, trace),
    }
}

async fn answer(core: &Core, caller: &Caller, request: ConversationRequest<'_>) -> Result<Value, Box<Fault>> {
    let path: Vec<&str> = request.rest.split('/').filter(|part| !part.is_empty()).collect();
    let named = match path.first() {
        Some(id) => Some(conversation_named(id).ok_or_else(|| fault_of(SessionFailure::Unknown, PARAM))?),
        None => None,
    };
    match (request.method.as_str(), named, path.get(1..).unwrap_or_default()) {
        ("POST", None, []) => create(core, caller, &request).await,
        ("GET" | "HEAD", Some(named), []) => Ok(view_of(&head(core, caller, named).await?)),
        ("POST", Some(named), []) => change(core, caller, named, &request).await,
        ("DELETE", Some(named), []) => {
            caller.check_deletion()?;
            let deleted = core.sessions.delete(writer_of(caller, request.trace), named.session).await;
            deleted.map_err(|failure| fault_of(failure, PARAM))?;
            Ok(
                json!({"id": conversation_id_of(named.session), "object": "conversation.deleted", "deleted": true}),
            )
        }
        ("POST", Some(named), ["items"]) => {
            let items = items_of(&members_of(&request.body)?, "items")?;
            if items.is_empty() {
                return Err(wrong("items", "\"items\" is missing or empty.", "Send 1 to 100 items."));
            }
            let head = head(core, caller, named).await?;
            let events = add(core, caller, &request, &head, items).await?;
            Ok(list(&events.iter().filter_map(listed).collect::<Vec<_>>(), false))
        }
        ("GET" | "HEAD", Some(named), ["items"]) => {
            page(events(core, caller, named).await?.iter().filter_map(listed).collect(), request.query)
        }
        ("GET" | "HEAD", Some(named), ["items", item]) => {
            let event = events_by_id(core, caller, named).await?.remove(*item);
            event.as_ref().and_then(listed).ok_or_else(no_item)
        }
        ("DELETE", Some(named), ["items", item]) => {
            caller.check_deletion()?;
            let event = events_by_id(core, caller, named).await?.remove(*item).ok_or_else(no_item)?;
            let by = writer_of(caller, request.trace);
            let deleted = core.sessions.empty_event(by, named.session, event.id).await;
            deleted.map_err(|failure| fault_of(failure, PARAM))?;
            Ok(view_of(&head(core, caller, named).await?))
        }
        _ => {
            let message = "This action on conversations doesn't exist.";
            Err(Box::new(Fault::new(FaultClass::NotFound, "unknown_path", message).fix(HOW)))
        }
    }
}

async fn head(core: &Core, caller: &Caller, named: Named) -> Result<SessionHead, Box<Fault>> {
    core.sessions.head(caller.owner(), named.session).await.map_err(|failure| fault_of(failure, PARAM))
}

async fn events(core: &Core, caller: &Caller, named: Named) -> Result<Vec<HistoryEvent>, Box<Fault>> {
    let read = core.sessions.history(caller.owner(), named.session, named.branch).await;
    read.map(|(_, events)| events).map_err(|failure| fault_of(failure, PARAM))
}

/// The events of a conversation that are items of it, each with the id that a list shows.
pub(super) async fn events_by_id(
    core: &Core,
    caller: &Caller,
    named: Named,
) -> Result<HashMap<String, HistoryEvent>, Box<Fault>> {
    let by_id = |event: HistoryEvent| Some((listed(&event)?.get("id")?.as_str()?.to_owned(), event));
    Ok(events(core, caller, named).await?.into_iter().filter_map(by_id).collect())
}

fn view_of(head: &SessionHead) -> Value {
    json!({
        "id": conversation_id_of(head.session), "object": "conversation", "created_at": head.created_unix_ms / 1_000,
        "metadata": head.metadata,
    })
}

/// An event as an item of the conversation; `None` of what is none.
fn listed(event: &HistoryEvent) -> Option<Value> {
    let item: Map<String, Value> = match serde_json::from_str(&event.content).ok()? {
        Value::Object(item) if item.contains_key("type") || item.contains_key("role") => item,
        Value::String(text) => {
            [("role".to_owned(), json!(role_of(event))), ("content".to_owned(), json!(text))]
                .into_iter()
                .collect()
        }
        _ => return None,
    };
    let text = event.id.to_string();
    Some(Value::Object(items::with_id(item, text.rsplit('_').next().unwrap_or_default())))
}

fn no_item() -> Box<Fault> {
    let message = "The conversation has no such item.";
    let fault = Fault::new(FaultClass::NotFound, "conversation_item_not_found", message);
    Box::new(fault.fix("Use an id that GET /v1/conversations/ID/items lists."))
}

async fn create(
    core: &Core,
    caller: &Caller,
    request: &ConversationRequest<'_>,
) -> Result<Value, Box<Fault>> {
    let policies = caller.project().policy.as_ref();
    let kept = "a conversation is stored";
    let how = "Send the whole conversation with each request.";
    if let Some(fault) = policies.and_then(|policies| policies.refuse_to_keep(kept, how)) {
        return Err(Box::new(fault.param("items")));
    }
    let fields = members_of(&request.body)?;
    let (items, metadata) = (items_of(&fields, "items")?, metadata_of(&fields)?.unwrap_or_default());
    let opened = core.sessions.open(writer_of(caller, request.trace), NAME, metadata).await;
    let head = opened.map_err(|failure| fault_of(failure, PARAM))?;
    if !items.is_empty() {
        add(core, caller, request, &head, items).await?;
    }
    Ok(view_of(&head))
}

async fn change(
    core: &Core,
    caller: &Caller,
    named: Named,
    request: &ConversationRequest<'_>,
) -> Result<Value, Box<Fault>> {
    let metadata = metadata_of(&members_of(&request.body)?)?;
    if let Some(metadata) = metadata {
        let changed =
            core.sessions.set_metadata(writer_of(caller, request.trace), named.session, metadata).await;
        changed.map_err(|failure| fault_of(failure, PARAM))?;
    }
    Ok(view_of(&head(core, caller, named).await?))
}

/// Adds items, and returns them as the events that they are now.
async fn add(
    core: &Core,
    caller: &Caller,
    request: &ConversationRequest<'_>,
    head: &SessionHead,
    items: Vec<String>,
) -> Result<Vec<HistoryEvent>, Box<Fault>> {
    let events = events_of(items);
    let to = (head.session, head.branch);
    let added = core.sessions.append(writer_of(caller, request.trace), to, events.clone()).await;
    let ids = added.map_err(|failure| fault_of(failure, PARAM))?;
    let ids = ids.into_iter().zip(events);
    Ok(ids.map(|(id, (kind, content))| HistoryEvent { id, kind, content }).collect())
}

/// The fields of a body, which may be empty.
fn members_of(body: &Bytes) -> Result<Map<String, Value>, Box<Fault>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    members(body, "")?;
    serde_json::from_slice(body)
        .map_err(|_| wrong("", "The body isn't a JSON object.", "Send a JSON object."))
}

fn items_of(fields: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, Box<Fault>> {
    let items = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(wrong(name, "\"items\" must be an array.", "Send an array of items.")),
    };
    if items.len() > CONVERSATION_ITEMS_ADDED_MAX {
        let message = format!("One request adds at most {CONVERSATION_ITEMS_ADDED_MAX} items.");
        return Err(wrong(name, message, "Add them in several requests."));
    }
    let is_item = |item: &&Value| item.get("type").or_else(|| item.get("role")).is_some_and(Value::is_string);
    if let Some(at) = items.iter().position(|item| !is_item(&item)) {
        let message = format!("items[{at}] has neither a type nor a role.");
        return Err(wrong(name, message, "Send items in the form of the Responses API."));
    }
    let texts: Vec<String> = items.iter().map(Value::to_string).collect();
    match texts.iter().position(|text| text.len() > CONVERSATION_ITEM_BYTES_MAX) {
        None => Ok(texts),
        Some(at) => {
            let message = format!("items[{at}] has more than {CONVERSATION_ITEM_BYTES_MAX} bytes.");
            let fault = Fault::new(FaultClass::TooLarge, "content_too_large", message).param(name);
            Err(Box::new(fault.fix("Split it.")))
        }
    }
}

fn metadata_of(fields: &Map<String, Value>) -> Result<Option<BTreeMap<String, String>>, Box<Fault>> {
    let pairs = match fields.get("metadata") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => {
            return Err(wrong(
                "metadata",
                "\"metadata\" must be an object.",
                "Send an object whose values are strings.",
            ));
        }
    };
    let read = |(name, value): (&String, &Value)| {
        let value = value.as_str()?;
        let fits = name.chars().count() <= METADATA_NAME_CHARS_MAX
            && value.chars().count() <= METADATA_VALUE_CHARS_MAX;
        fits.then(|| (name.clone(), value.to_owned()))
    };
    let read: Option<BTreeMap<_, _>> = pairs.iter().map(read).collect();
    read.filter(|read| read.len() <= METADATA_PAIRS_MAX).map(Some).ok_or_else(|| {
        let fix = format!(
            "Send at most {METADATA_PAIRS_MAX} strings of up to {METADATA_VALUE_CHARS_MAX} characters, with names of up to \
             {METADATA_NAME_CHARS_MAX}."
        );
        wrong("metadata", "\"metadata\" has entries that can't be stored.", fix)
    })
}

fn wrong(
    param: &'static str,
    message: impl Into<Cow<'static, str>>,
    fix: impl Into<Cow<'static, str>>,
) -> Box<Fault> {
    refusal("invalid_value", message, fix, param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_and_metadata_are_held_to_their_bounds() {
        let fields = |body: Value| members_of(&Bytes::from(body.to_string())).unwrap();
        let items =
            items_of(&fields(json!({"items": [{"role": "user", "content": "hi"}]})), "items").unwrap();
        assert_eq!(items, [r#"{"role":"user","content":"hi"}"#]);
        for wrong in
            [json!({"items": 7}), json!({"items": [7]}), json!({"items": vec![json!({"role": "user"}); 101]})]
        {
            assert_eq!(items_of(&fields(wrong), "items").unwrap_err().code, "invalid_value");
        }
        let long = json!({"items": [{"role": "user", "content": "x".repeat(CONVERSATION_ITEM_BYTES_MAX)}]});
        assert_eq!(items_of(&fields(long), "items").unwrap_err().code, "content_too_large");
        assert_eq!(metadata_of(&fields(json!({"metadata": {"a": "b"}}))).unwrap().unwrap().len(), 1);
        for wrong in [
            json!({"metadata": 7}),
            json!({"metadata": {"a": 1}}),
            json!({"metadata": {"a": "x".repeat(513)}}),
        ] {
            assert_eq!(metadata_of(&fields(wrong)).unwrap_err().code, "invalid_value");
        }
        assert!(
            members_of(&Bytes::from_static(b"[]")).is_err() && members_of(&Bytes::new()).unwrap().is_empty()
        );
    }
}
