//! The loop of models and tools: a request offers its model the tools of its project, the gateway executes the calls of them and
//! sends the results, until the model answers or calls a tool of the client.

mod app_tool;
mod called;
mod forms;
mod kept_results;
mod limits;
mod native;
mod project;
mod streamed;
mod toolset;
mod trip;
mod turn_tools;
mod wish;

use std::rc::Rc;

use admit::Caller;
use bytes::Bytes;
use decode::{Inbound, SessionHistory};
use domain::{Dialect, Fault, FaultClass, Operation};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use line::Core;
use serde_json::{Map, Value};
use settle::ReplyBody;

use crate::forms::NamedServers;
use crate::native::{Call, Native};
use crate::toolset::Toolset;
use crate::trip::{Next, Trip};
use crate::wish::Wish;

pub use crate::called::{DeclaredCall, call_tool, declared};
pub use crate::project::{ProjectTool, ProjectTools, ToolResult};
pub use crate::turn_tools::{CallReturn, CallToMake, ToolOffer, TurnTools};
pub use crate::wish::TOOLS;

/// How many steps of the model an answer took.
const STEPS: HeaderName = HeaderName::from_static("agent-tool-steps");

/// What became of a request that may want the loop.
#[derive(Debug)]
pub enum Taken {
    Answered(Box<Response<ReplyBody>>),
    /// Its provider runs the tools that it names, or it is none: it is served without the loop.
    Left(Box<(Inbound, Caller)>),
}

/// Whether a request may want the loop: by the tools of its project, or by MCP servers that it names itself.
pub fn may_want(dialect: Dialect, operation: Operation, headers: &HeaderMap, body: &[u8]) -> bool {
    operation == Operation::Chat
        && (headers.contains_key(&TOOLS)
            || Native::of(dialect).is_some_and(|native| forms::may_name(native, body)))
}

/// Serves a request whose model may call tools that the gateway executes.
pub async fn take(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Taken {
    let (dialect, trace) = (inbound.dialect, inbound.trace);
    let left = |inbound, caller| Taken::Left(Box::new((inbound, caller)));
    // What is no request is refused as it would be without tools.
    let Ok(mut body) = serde_json::from_slice::<Map<String, Value>>(&inbound.body) else {
        return left(inbound, caller);
    };
    let is_named = inbound.headers.contains_key(&TOOLS);
    let named = match Native::of(dialect).map(|native| forms::take(native, &mut body)) {
        None => NamedServers::default(),
        Some(Ok(named)) => named,
        Some(Err(fault)) if is_named => {
            return Taken::Answered(Box::new(line::refuse(core, dialect, &fault, trace)));
        }
        // The provider says what it makes of it.
        Some(Err(_)) => return left(inbound, caller),
    };
    if !is_named && (named.servers.is_empty() || is_run_by_provider(core, &inbound, &caller).await) {
        return left(inbound, caller);
    }
    let answer = match begin(core, (inbound, body), caller, named).await {
        Ok(trip) => run(trip).await,
        Err(fault) => line::refuse(core, dialect, &fault, trace),
    };
    Taken::Answered(Box::new(answer))
}

/// Whether the provider that would serve the request is sent it as it is: it runs the servers that it names.
async fn is_run_by_provider(core: &Core, inbound: &Inbound, caller: &Caller) -> bool {
    let as_it_is = inbound.with_body(inbound.body.clone());
    let explained = line::explain(core, as_it_is, caller.clone(), caller.environment()).await;
    let Some(plan) = explained.plan.filter(|plan| plan.explanation.fault.is_none()) else { return false };
    let is_lost = |name: &String| name.starts_with("tools[") || name.starts_with("mcp");
    let first = plan.attempts.first();
    first.is_some_and(|attempt| attempt.refusal.is_none() && !attempt.dropped.iter().any(is_lost))
}

async fn begin(
    core: &Rc<Core>,
    (mut inbound, body): (Inbound, Map<String, Value>),
    caller: Caller,
    named: NamedServers,
) -> Result<Box<Trip>, Box<Fault>> {
    let wish = Wish::take(&mut inbound.headers)?;
    decode::check_content_type(&inbound.headers)?;
    let Some(native) = Native::of(inbound.dialect) else {
        let message = "The gateway doesn't execute tools for requests in this format.";
        let fix = "Send it to /v1/chat/completions, /v1/responses, /v1/messages or generateContent.";
        return Err(unsupported(message, fix, "Agent-Tools"));
    };
    check(&inbound, &body)?;
    let mut tools = match &wish.tools {
        Some(named) => Toolset::for_caller(core, &caller, named).await?,
        None => Toolset::default(),
    };
    let mut reported = Vec::new();
    for server in named.servers {
        let label = server.label.clone();
        let listed = tools.add_named(core, &caller, server).await?;
        if !named.listed.contains(&label) {
            reported.extend(forms::list_item(native, &label, &listed, &format!("{}{label}", inbound.trace)));
        }
    }
    let own_names = native.own_names(&Value::Object(body.clone()));
    tools.check_names(&own_names)?;
    tools.let_read_on(&own_names);
    let trip = Trip::new((Rc::clone(core), caller), inbound, (native, body), (tools, wish));
    let mut trip = Box::new(trip.with_named(reported, named.decided));
    trip.settle_pending().await;
    Ok(trip)
}

fn unsupported(message: &'static str, fix: &'static str, param: &'static str) -> Box<Fault> {
    Box::new(Fault::new(FaultClass::Unsupported, "unsupported_operation", message).fix(fix).param(param))
}

/// Refuses what the loop can't go on with from step to step.
fn check(inbound: &Inbound, body: &Map<String, Value>) -> Result<(), Box<Fault>> {
    let fix = "Send the whole conversation with the request, or leave Agent-Tools out.";
    for name in ["previous_response_id", "conversation", "background", "thread"] {
        if body.get(name).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false))) {
            let message =
                "The gateway doesn't execute tools for a response that is stored or made in the background.";
            return Err(unsupported(message, fix, name));
        }
    }
    if SessionHistory::is_named(&inbound.headers) {
        let message = "The gateway doesn't execute tools for a request that continues a session.";
        return Err(unsupported(message, fix, SessionHistory::PARAM));
    }
    let several = body.get("n").and_then(Value::as_u64).is_some_and(|choices| choices > 1);
    if several {
        let message = "The gateway executes tools for only one answer, but the request asks for several.";
        return Err(unsupported(message, "Ask for one answer.", "n"));
    }
    if inbound.addressed.as_ref().is_some_and(|addressed| addressed.as_array) {
        let message = "The gateway doesn't execute tools for a stream that is one JSON array.";
        return Err(unsupported(message, "Ask for events, with alt=sse.", "alt"));
    }
    Ok(())
}

async fn run(mut trip: Box<Trip>) -> Response<ReplyBody> {
    let first = trip.step().await;
    if first.status() == StatusCode::OK && is_stream(first.headers()) {
        let (mut head, body) = first.into_parts();
        trip.name_bypass(&mut head.headers);
        return streamed::answer(trip, head.headers, body);
    }
    let mut response = first;
    let mut head: Option<HeaderMap> = None;
    let mut usage: Option<Value> = None;
    loop {
        if response.status() != StatusCode::OK {
            trip.close();
            return response;
        }
        let (parts, body) = response.into_parts();
        // It was complete, and settled, before it was returned.
        trip.count(&body);
        let bytes = body.collect().await.map(|read| read.to_bytes()).unwrap_or_default();
        let mut answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let head = head.get_or_insert(parts.headers);
        let reported = trip.native.usage(&answer);
        usage = match (usage, reported) {
            (Some(earlier), Some(later)) => Some(native::sum(&earlier, later)),
            (earlier, later) => earlier.or_else(|| later.cloned()),
        };
        let calls = trip.native.calls(&answer);
        match trip.after(&calls) {
            Next::Calls(calls) => {
                trip.go_on(&answer, &calls).await;
                response = trip.step().await;
            }
            Next::Answer(dropped) => {
                let is_first = trip.steps == 1
                    && dropped.is_empty()
                    && trip.reported.is_empty()
                    && answer.get("tools").is_none();
                let bytes =
                    if is_first { bytes } else { written(&mut trip, &mut answer, (&calls, &dropped), usage) };
                let mut head = std::mem::take(head);
                head.insert(STEPS, HeaderValue::from(trip.steps));
                trip.name_bypass(&mut head);
                trip.close();
                return settle::whole(StatusCode::OK, head, bytes);
            }
        }
    }
}

/// The last answer with the usage of all steps, with what its client is told of calls, and without calls that nobody executes.
fn written(
    trip: &mut Trip,
    answer: &mut Value,
    (calls, dropped): (&[Call], &[String]),
    usage: Option<Value>,
) -> Bytes {
    trip.native.remove_calls(answer, dropped);
    trip.restore_tools(answer);
    let approvals = trip.approvals(calls);
    forms::insert(trip.native, answer, std::mem::take(&mut trip.reported), approvals);
    if let Some(usage) = usage {
        trip.native.set_usage(answer, usage);
    }
    Bytes::from(answer.to_string())
}

/// Whether a response is a stream of events, of either framing.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is = |form: &str| kind.is_some_and(|kind| kind.starts_with(form));
    is("text/event-stream") || is("application/vnd.amazon.eventstream")
}

/// A step after the first that was refused, for a client that has read a part of the answer.
pub(crate) async fn refused_step(step: u32, response: Response<ReplyBody>) -> Fault {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.map(|read| read.to_bytes()).unwrap_or_default();
    let read: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let why = read.pointer("/error/message").and_then(Value::as_str).unwrap_or("It gave no reason.");
    let message = format!("Step {step} of the loop was refused ({status}): {why}");
    Fault::new(FaultClass::Upstream, "tool_step_refused", message)
        .fix("GET /v2/requests lists the steps, as requests that were made for this one.")
}
