//! `context_management`: the older part of a conversation gives way to a summary, where that is longer than its client wants and
//! the model's provider does not do it itself.

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use decode::Inbound;
use domain::Operation;
use http::StatusCode;
use line::Core;
use serde_json::{Map, Value};

use crate::answer_stream::document_of;
use crate::compaction::{
    is_foreign, is_summary_item, sealed_item, summary_message, summary_request, text_of,
};
use crate::state_fields::StateFields;
use conversation::item_order::{is_rule, newest};

/// What was done about the length of a conversation for `context_management`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compacted {
    /// The gateway sees to it, and no provider.
    pub is_ours: bool,
    /// The item that comes first in the answer.
    pub item: Option<Map<String, Value>>,
}

/// Puts a summary in the place of the older items of a request, if they are more than its client wants to be sent and its
/// provider does not do that itself. Where no summary is to be had, the request goes on as it is.
pub(crate) async fn compact_older(core: &Rc<Core>, inbound: &mut Inbound, caller: &Caller) -> Compacted {
    let Some(fields) = StateFields::read(&inbound.body) else { return Compacted::default() };
    let Some(threshold) = fields.compact_threshold else { return Compacted::default() };
    let copy = inbound.with_body(inbound.body.clone());
    let Some(used) = line::context_use(core, copy, caller).await else { return Compacted::default() };
    let mut compacted = Compacted { is_ours: true, item: None };
    if used.prompt_tokens > threshold
        && let Some((body, item)) = with_summary(core, inbound, caller, &fields).await
    {
        inbound.body = body;
        compacted.item = Some(item);
    }
    compacted
}

async fn with_summary(
    core: &Rc<Core>,
    inbound: &Inbound,
    caller: &Caller,
    fields: &StateFields,
) -> Option<(Bytes, Map<String, Value>)> {
    let spoken = fields.input_items(&inbound.body);
    let (mut rules, mut older, mut recent) = (Vec::new(), Vec::new(), Vec::new());
    for (item, stays) in spoken.iter().zip(newest(&spoken)) {
        let part = match stays {
            _ if is_summary_item(item) => &mut older,
            true if is_rule(item) || is_foreign(item) => &mut rules,
            true => &mut recent,
            false => &mut older,
        };
        part.push(item.clone());
    }
    if !older.iter().any(|item| !is_summary_item(item)) {
        return None;
    }
    let trace = core.new_trace();
    let body = summary_request(&inbound.body, &older)?;
    let own = Inbound { trace, operation: Operation::Chat, ..inbound.with_body(body.into()) };
    let response = line::serve(core, own, caller.clone()).await;
    if response.status() != StatusCode::OK {
        return None;
    }
    let summary = text_of(&document_of(response).await)?;
    let Some(Value::Object(item)) = sealed_item(core, caller, inbound.trace, &summary, Some(&recent)) else {
        return None;
    };
    let sent = [rules, vec![summary_message(&summary)], recent].concat();
    Some((fields.with_input(&inbound.body, &sent), item))
}
