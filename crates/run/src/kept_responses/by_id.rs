//! Reads, cancels and deletes a kept answer by its id, and lists its input items.

use std::rc::Rc;

use admit::Caller;
use conversation::request::{Stored, StoredAct};
use decode::Inbound;
use domain::{Fault, FaultClass, TraceId};
use line::Core;
use serde_json::json;

use super::background;
use super::ids::request_of;
use super::kept::{self, Content};
use super::pages::page;
use super::taken::{Taken, answered, left};
use crate::items;
use crate::kept_content::not_deleted;

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
            StoredAct::ListInput => page(Vec::new(), &stored.query)?.to_string(),
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
            page(items::listed(&input, stem), &stored.query).map(|page| Some(page.to_string()))
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
    let message = format!("The gateway stores the response {id} as a whole, so it can't be streamed again.");
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message);
    Box::new(fault.param("stream").fix("Read it without \"stream\"."))
}
