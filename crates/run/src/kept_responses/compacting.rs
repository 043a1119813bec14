//! Compaction: the gateway has the same model summarise the older part of a conversation, by a request of the caller's as any
//! other, and seals the summary for its client to carry.

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Operation};
use http::{Response, StatusCode};
use line::Core;
use serde_json::json;
use settle::ReplyBody;

use super::continued;
use super::ids::id_of;
use crate::answer_stream::document_of;
use crate::compaction::{is_foreign, sealed_item, summary_request, text_of, unreadable};
use crate::items;
use crate::state_fields::StateFields;
use conversation::item_order::is_kept_as_written;
use runbody::refusal;

/// Answers `POST /v1/responses/compact`. The body is already read.
pub async fn compact(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    let trace = inbound.trace;
    let answer = compacted(core, inbound, caller).await;
    answer.unwrap_or_else(|fault| line::refuse(core, Dialect::Responses, &fault, trace))
}

async fn compacted(
    core: &Rc<Core>,
    mut inbound: Inbound,
    caller: Caller,
) -> Result<Response<ReplyBody>, Box<Fault>> {
    let (trace, created_at) = (inbound.trace, inbound.received_unix_ms / 1_000);
    // What is wrong with a body, the pipeline says.
    let Some((fields, made)) = continued(core, &mut inbound, &caller).await? else {
        return Ok(line::serve(core, inbound, caller).await);
    };
    if fields.previous.is_some() && made.previous.is_none() {
        return Err(stored_elsewhere());
    }
    let Some(spoken) = StateFields::read(&inbound.body).map(|fields| fields.input_items(&inbound.body))
    else {
        return Ok(line::serve(core, inbound, caller).await);
    };
    if spoken.is_empty() {
        let fix = "Send the items of a conversation, or the id of the response that it ends with.";
        return Err(refusal("missing_required_parameter", "There is nothing to compact.", fix, "input"));
    }
    if spoken.iter().any(|item| is_foreign(item)) {
        return Err(unreadable());
    }
    let Some(body) = summary_request(&inbound.body, &spoken) else {
        return Ok(line::serve(core, inbound, caller).await);
    };
    let own = Inbound { operation: Operation::Chat, ..inbound.with_body(body.into()) };
    let response = line::serve(core, own, caller.clone()).await;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let mut headers = response.headers().clone();
    headers.remove(http::header::CONTENT_LENGTH);
    let answer = document_of(response).await;
    let summary = text_of(&answer).ok_or_else(no_summary)?;
    let item = sealed_item(core, &caller, trace, &summary, None).ok_or_else(not_sealed)?;
    let stays: Vec<String> = spoken.into_iter().filter(|item| is_kept_as_written(item)).collect();
    let id = id_of(trace);
    let mut output = items::listed(&stays, id.rsplit('_').next().unwrap_or_default());
    output.push(item);
    let document = json!({
        "id": id, "object": "response.compaction", "created_at": created_at, "output": output,
        "usage": answer.get("usage").cloned().unwrap_or_default(),
    });
    Ok(settle::whole(StatusCode::OK, headers, document.to_string().into()))
}

fn stored_elsewhere() -> Box<Fault> {
    let message = "The gateway doesn't keep this response, so it can't compact it.";
    let fix = "Send the items of the conversation in \"input\".";
    refusal("previous_response_unavailable", message, fix, "previous_response_id")
}

fn no_summary() -> Box<Fault> {
    let message = "The model's answer has no text to use as the summary.";
    let fault = Fault::new(FaultClass::Upstream, "compaction_failed", message);
    Box::new(fault.fix("Send the request again, or name another model."))
}

fn not_sealed() -> Box<Fault> {
    let message = "The summary can't be sealed: it is too long, or the workspace's key isn't available.";
    let fault = Fault::new(FaultClass::Upstream, "compaction_failed", message);
    Box::new(fault.fix("Send the request again in a moment, with fewer items."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_t_be_compacted_has_its_code() {
        for (fault, class, code) in [
            (no_summary(), FaultClass::Upstream, "compaction_failed"),
            (not_sealed(), FaultClass::Upstream, "compaction_failed"),
            (stored_elsewhere(), FaultClass::BadRequest, "previous_response_unavailable"),
        ] {
            assert_eq!((fault.class, fault.code), (class, code));
            assert!(fault.fix.is_some(), "{code}");
        }
    }
}
