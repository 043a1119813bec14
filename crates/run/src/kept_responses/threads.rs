//! Threads of Anthropic's clients. A provider that has threads keeps them; where none does, an answer is kept here as one of
//! `/v1/responses` is, and a request that continues it is sent with everything before it.

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Fault, TraceId};
use http::Response;
use json::members::Members;
use line::Core;
use runbody::{members, push_member};
use serde_json::json;
use settle::ReplyBody;

use super::kept::{self, Content, Continued, KeptResponse};
use crate::truncation::{is_dropped, name_as_heeded};

const THREAD: &str = "thread";
const PREFIX: &str = "msg_";
/// Only the request that creates a thread states these.
const CREATE_ONLY: [&str; 2] = ["system", "tools"];

/// A request in a thread, as it is kept with its answer.
struct ThreadTurn {
    ancestors: Vec<Continued>,
    input: Vec<String>,
    /// The fields of the thread's first request that hold for all of it.
    created_with: Vec<(&'static str, Vec<u8>)>,
}

/// Serves a request that may be part of a thread, and keeps its answer if no provider does.
pub(crate) async fn serve_thread(
    core: &Rc<Core>,
    mut inbound: Inbound,
    caller: Caller,
) -> Response<ReplyBody> {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let turn = match continue_thread(core, &mut inbound, &caller).await {
        Ok(turn) => turn,
        Err(fault) => return line::refuse(core, dialect, &fault, trace),
    };
    let mut response = line::serve(core, inbound, caller.clone()).await;
    if line::keeps_answers(&caller) {
        line::name_bypass(response.headers_mut());
    }
    // A provider that has threads was sent the field, and keeps the answer.
    let is_kept_here = is_dropped(response.headers(), THREAD);
    let Some(turn) = turn.filter(|_| is_kept_here) else { return response };
    name_as_heeded(response.headers_mut(), THREAD);
    let own_core = Rc::clone(core);
    let append = move |answer: Vec<String>| -> line::Appending {
        Box::pin(async move { turn.keep(&own_core, &caller, trace, &answer).await })
    };
    line::append_answer(core, (dialect, trace), response, Box::new(append)).await
}

/// Puts everything before a request into it, if that is kept here; `None` where nothing is to be kept of it.
///
/// # Errors
/// Some of its thread is gone, or the whole is too long to be sent.
async fn continue_thread(
    core: &Core,
    inbound: &mut Inbound,
    caller: &Caller,
) -> Result<Option<ThreadTurn>, Box<Fault>> {
    let body = inbound.body.clone();
    // The pipeline refuses a request that can't be read.
    let Ok(fields) = members(&body, "") else { return Ok(None) };
    let thread = fields.iter().find(|(name, _)| name == THREAD);
    let Some(thread) = thread.and_then(|(_, span)| Members::of_answer(span.of(&body))) else {
        return Ok(None);
    };
    let mut created_with = create_only(&body);
    let Some(previous) = thread.find_text("previous_message_id") else {
        let input = line::continue_in(inbound, &[]).ok();
        // A provider that has threads gets the request as it came.
        inbound.body.clone_from(&body);
        return Ok(input.map(|input| ThreadTurn { ancestors: Vec::new(), input, created_with }));
    };
    let Some(previous) = find(core, caller, &previous).await else { return Ok(None) };
    let history = kept::history(core, caller, &previous).await?;
    for (name, value) in kept_create_only(core, caller, &previous).await {
        if !created_with.iter().any(|(stated, _)| *stated == name) {
            created_with.push((name, value));
        }
    }
    let mut written = Vec::with_capacity(body.len());
    for (name, span) in &fields {
        if name != THREAD && !CREATE_ONLY.contains(&name.as_str()) {
            push_member(&mut written, name, span.of(&body));
        }
    }
    for (name, value) in &created_with {
        push_member(&mut written, name, value);
    }
    // A provider that has threads and serves it now keeps it from here on.
    push_member(&mut written, THREAD, br#"{"type":"create"}"#);
    written.push(b'}');
    inbound.body = written.into();
    let input = line::continue_in(inbound, &history)?;
    Ok(Some(ThreadTurn { ancestors: previous.with_itself(), input, created_with }))
}

/// The call that a request in a thread makes, for one that is planned and not served.
///
/// # Errors
/// Its thread can't be sent.
pub(crate) async fn planned_thread(
    core: &Core,
    mut inbound: Inbound,
    caller: &Caller,
) -> Result<Inbound, Box<Fault>> {
    continue_thread(core, &mut inbound, caller).await?;
    Ok(inbound)
}

/// The kept answer of this id. Answers that are kept here have their request's id.
async fn find(core: &Core, caller: &Caller, id: &str) -> Option<KeptResponse> {
    kept::find_made(core, caller, id.strip_prefix(PREFIX)?.parse().ok()?).await
}

fn create_only(object: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let fields = members(object, "").unwrap_or_default();
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, span)| span.of(object));
    CREATE_ONLY.into_iter().filter_map(|name| Some((name, value(name)?.to_vec()))).collect()
}

async fn kept_create_only(
    core: &Core,
    caller: &Caller,
    previous: &KeptResponse,
) -> Vec<(&'static str, Vec<u8>)> {
    let Some(bytes) = kept::content(core, caller, previous).await else { return Vec::new() };
    let content = serde_json::from_slice::<Content<'_>>(&bytes);
    content.map(|content| create_only(content.response.get().as_bytes())).unwrap_or_default()
}

impl ThreadTurn {
    /// Keeps the turn under the answer's id; `false` where it is too long, or continues too many.
    async fn keep(&self, core: &Core, caller: &Caller, request: TraceId, answer: &[String]) -> bool {
        let mut response = Vec::new();
        push_member(&mut response, "id", json!(format!("{PREFIX}{request}")).to_string().as_bytes());
        push_member(&mut response, "output", format!("[{}]", answer.join(",")).as_bytes());
        for (name, value) in &self.created_with {
            push_member(&mut response, name, value);
        }
        response.push(b'}');
        let Ok(response) = String::from_utf8(response) else { return false };
        kept::keep(core, caller, request, &self.ancestors, (&self.input, &response)).await
    }
}
