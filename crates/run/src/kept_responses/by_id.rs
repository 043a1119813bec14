//! Reads, cancels, deletes and lists what is kept of an answer, by its id.

use std::rc::Rc;

use admit::Caller;
use conversation::request::{Stored, StoredAct};
use decode::Inbound;
use domain::{Fault, FaultClass, TraceId};
use line::Core;
use serde_json::{Value, json};

use super::kept::{self, Content};
use super::{Taken, answered, background, left, request_of};
use crate::items;
use crate::stored_tasks::not_deleted;

const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

/// Takes a request about an answer that is kept here, or made here in the background.
pub(super) async fn take(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Result<Taken, Box<Fault>> {
    let stored = inbound.addressed.as_deref().and_then(|addressed| addressed.stored.clone());
    let Some(stored) = stored else { return Ok(left(inbound, caller)) };
    let Some(request) = request_of(&stored.id) else { return Ok(left(inbound, caller)) };
    let Some(body) = answer(core, &caller, &stored, request).await? else {
        return Ok(left(inbound, caller));
    };
    Ok(answered(core, inbound.trace, body))
}

/// `None` of an answer that the gateway does not keep: a provider may.
async fn answer(
    core: &Core,
    caller: &Caller,
    stored: &Stored,
    request: TraceId,
) -> Result<Option<String>, Box<Fault>> {
    let kept = kept::find(core, caller, &stored.id).await;
    let pending = match kept {
        Some(_) => None,
        None => background::find(core, caller, request).await,
    };
    let is_open = pending.as_ref().is_some_and(|pending| pending.is_open);
    if kept.is_none() && pending.is_none() {
        return Ok(None);
    }
    match stored.act {
        StoredAct::Delete if is_open => return Err(still_running(&stored.id)),
        StoredAct::Delete => {
            caller.check_deletion()?;
            let is_gone = core.deps.turns.forget(caller.workspace().id, request).await;
            let deleted = json!({"id": stored.id, "object": "response", "deleted": true});
            return if is_gone { Ok(Some(deleted.to_string())) } else { Err(not_deleted("response")) };
        }
        StoredAct::Cancel if is_open => {
            background::cancel(core, caller, request).await;
            return Box::pin(answer(
                core,
                caller,
                &Stored { act: StoredAct::Read, ..stored.clone() },
                request,
            ))
            .await;
        }
        StoredAct::Read if asks(&stored.query, "stream", "true") => return Err(not_streamed(&stored.id)),
        _ => {}
    }
    if let Some(pending) = pending {
        return Ok(Some(match stored.act {
            StoredAct::ListInput => page(Vec::new(), &stored.query)?,
            _ => pending.response.to_string(),
        }));
    }
    let content = match &kept {
        Some(kept) => kept::content(core, caller, kept).await,
        None => None,
    };
    let Some(content) = content else { return Ok(None) };
    let Ok(content) = serde_json::from_slice::<Content<'_>>(&content) else { return Ok(None) };
    match stored.act {
        StoredAct::ListInput => {
            let input: Vec<String> = content.input.iter().map(|item| item.get().to_owned()).collect();
            let stem = stored.id.rsplit('_').next().unwrap_or_default();
            page(items::listed(&input, stem), &stored.query).map(Some)
        }
        StoredAct::Cancel if !is_background(content.response.get()) => Err(not_in_background(&stored.id)),
        _ => Ok(Some(content.response.get().to_owned())),
    }
}

fn is_background(response: &str) -> bool {
    json::members::Members::of_answer(response.as_bytes())
        .is_some_and(|response| response.is_true("background"))
}

fn asks(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=') == Some((name, value)))
}

/// A page of a list, newest first unless asked otherwise.
pub(super) fn page(mut all: Vec<Value>, query: &str) -> Result<String, Box<Fault>> {
    let (mut after, mut limit, mut is_oldest_first) = (None, PAGE, false);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match (name, value) {
            ("after", id) => after = Some(id),
            ("order", "asc") => is_oldest_first = true,
            ("order", "desc") => {}
            ("order", _) => return Err(wrong("order", "\"order\" is not \"asc\" or \"desc\".")),
            ("limit", number) => {
                limit =
                    number.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
                        wrong("limit", &format!("\"limit\" is not a number from 1 to {PAGE_MAX}."))
                    })?;
            }
            _ => {}
        }
    }
    if !is_oldest_first {
        all.reverse();
    }
    if let Some(after) = after {
        let at = all.iter().position(|item| item.get("id").is_some_and(|id| id == after));
        let at = at.ok_or_else(|| wrong("after", "\"after\" names no item of the list."))?;
        all.drain(..=at);
    }
    let has_more = all.len() > limit;
    all.truncate(limit);
    let id = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned().unwrap_or_default();
    let (first_id, last_id) = (id(all.first()), id(all.last()));
    let page = json!({"object": "list", "data": all, "first_id": first_id, "last_id": last_id, "has_more": has_more});
    Ok(page.to_string())
}

fn wrong(param: &'static str, message: &str) -> Box<Fault> {
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message.to_owned());
    Box::new(fault.param(param).fix("Correct it, or leave it out."))
}

fn still_running(id: &str) -> Box<Fault> {
    let fault = Fault::new(
        FaultClass::Conflict,
        "response_running",
        format!("The response {id} is not complete yet."),
    );
    Box::new(fault.fix("Cancel it first: POST /v1/responses/ID/cancel."))
}

fn not_in_background(id: &str) -> Box<Fault> {
    let message = format!("The response {id} was not made in the background: there is nothing to cancel.");
    let fault = Fault::new(FaultClass::BadRequest, "response_not_in_background", message);
    Box::new(fault.fix("Read it, or delete it. A request that still runs ends when its client leaves."))
}

fn not_streamed(id: &str) -> Box<Fault> {
    let message =
        format!("The gateway keeps the response {id} whole: there is no stream of it to read again.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message);
    Box::new(fault.param("stream").fix("Read it without \"stream\"."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_pages() {
        let all: Vec<Value> = (0..5).map(|number| json!({"id": format!("msg_{number}")})).collect();
        let read = |query: &str| {
            let page: Value = serde_json::from_str(&page(all.clone(), query).unwrap()).unwrap();
            let ids: Vec<&str> =
                page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
            (ids.join(" ").replace("msg_", ""), page["has_more"].as_bool().unwrap())
        };
        assert_eq!(read(""), ("4 3 2 1 0".to_owned(), false));
        assert_eq!(read("order=asc&limit=2"), ("0 1".to_owned(), true));
        assert_eq!(read("order=asc&limit=3&after=msg_1"), ("2 3 4".to_owned(), false));
        for wrong in ["order=up", "limit=0", "limit=x", "after=msg_9"] {
            assert_eq!(page(all.clone(), wrong).unwrap_err().code, "invalid_value", "{wrong}");
        }
    }
}
