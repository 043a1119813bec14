//! Apps: `/v1/run` runs an app on an input and answers with the finished task, which `/tasks` shows again; `/apps` lists
//! them. An app is a model, or an HTTP server, a tool, an agent or a flow of the project. Beside it is `/v2/responses`, a model's answer under a quality of service.

mod answer;
mod answer_stream;
mod apps;
mod background;
mod chats;
mod compaction;
mod context_care;
mod document;
mod files;
#[cfg(feature = "fixtures")]
pub mod fixtures;
mod flow_runs;
mod history;
mod input;
mod items;
mod kept_content;
mod kept_responses;
mod limits;
mod made_files;
mod native;
mod own_runs;
mod problem;
mod prompt;
mod refusal;
mod session_turn;
mod state_fields;
mod task;
mod tasks;
mod truncation;
mod warm;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Fault, TaskId};
use http::header::{HOST, HeaderMap};
use http::{Response, StatusCode};
use line::{AppRunner, Core, OnCore};
use serde_json::Value;
use settle::ReplyBody;

use crate::apps::{App, Files, OwnApp};
use crate::refusal::Refusal;
use crate::task::Envelope;
use crate::tasks::{Format, Queued};
use runbody::{RunOptions, RunRequest};

pub use apps::{AppRequest, apps, plan_app};
pub use chats::{AGENT_APP, AgentRequest, NamedAgent, TurnRecord, agent, agent_of, agent_turn, named_agent};
pub use files::{FileRequest, FileUpload, files, linked, upload};
pub use history::{continues_session, planned_continued, serve_continued};
pub use kept_responses::{
    ConversationRequest, Taken, compact, conversation, planned_response, take_response,
};
pub use native::{respond, response};
pub use task::call_headers;
pub use tasks::{TaskCallRequest, task, work};

/// Where a client usually waits for the answer; at the other addresses it gets a task that it follows.
const WAITED_AT: [&str; 2] = ["/v1/run", "/run"];

/// Runs an app: `POST /v1/run`, `/run`, `/v1/apps/run`, `/apps/run`. The body is already read.
pub async fn run(core: &Rc<Core>, inbound: Inbound, caller: Caller, path: &str) -> Response<ReplyBody> {
    let trace = inbound.trace;
    let caller = caller.in_task(TaskId::from_uuid(*trace.as_uuid()), None);
    match trip(core, inbound, caller, WAITED_AT.contains(&path)).await {
        Ok(response) => response,
        Err(refusal) => problem::of_refusal(core, refusal, trace).await,
    }
}

/// Runs apps for tools that are apps.
pub static APPS: &dyn AppRunner = &Apps;

struct Apps;

impl AppRunner for Apps {
    fn run<'a>(
        &'a self,
        core: &'a Rc<Core>,
        inbound: Inbound,
        caller: Caller,
    ) -> OnCore<'a, Response<ReplyBody>> {
        Box::pin(run(core, inbound, caller, WAITED_AT[0]))
    }

    fn input_schema<'a>(
        &'a self,
        core: &'a Rc<Core>,
        caller: &'a Caller,
        app: &'a str,
    ) -> OnCore<'a, Option<Value>> {
        Box::pin(async move {
            let found = App::find(core, caller, app);
            match OwnApp::find(core, caller, &found).await.ok()? {
                Some(own) => Some(own.listing().input_schema),
                None => Some(found.input_schema()),
            }
        })
    }
}

/// The call that a run would make, for one that is planned and not served: its files are not fetched.
pub async fn planned(core: &Core, caller: &Caller, inbound: Inbound) -> Result<Inbound, Box<Fault>> {
    let request = runbody::read(&inbound.headers, &inbound.body)?;
    let app = App::find(core, caller, &request.app);
    let prepared = apps::prepare((&app, Files::LeftOut), &request.input, inbound.trace, false).await;
    let planned = match prepared {
        Ok(call) => call.into_inbound(inbound).await,
        Err(refusal) => Err(refusal),
    };
    planned.map_err(Refusal::into_fault)
}

async fn trip(
    core: &Rc<Core>,
    mut inbound: Inbound,
    caller: Caller,
    is_waited_for: bool,
) -> Result<Response<ReplyBody>, Refusal> {
    let mut request = runbody::read(&inbound.headers, &inbound.body)?;
    input::check_depth(&[("/input", &request.input), ("/metadata", &request.options.metadata)])?;
    request.options.ttl_seconds = tasks::ttl_seconds(&caller, request.options.ttl_seconds)?;
    request.options.files_at = files_at(core, &caller, &inbound.headers, (&request.options, !is_waited_for))?;
    let app = App::find(core, &caller, &request.app);
    // At the other addresses a client gets a task, and follows it if it wants to.
    let streams = Format::wanted_by(&inbound.headers, request.options.streams && is_waited_for);
    let waits = streams.is_none() && request.options.waits(is_waited_for)?;
    if let Some(own) = OwnApp::find(core, &caller, &app).await? {
        return own_runs::run(core, inbound, &caller, (request, own), (waits, streams)).await;
    }
    if !waits {
        return queued(core, inbound, &caller, (request, app), streams).await;
    }
    let files = Files::of(core, &caller);
    let mut call = apps::prepare((&app, files), &request.input, inbound.trace, false).await?;
    let (kind, messages) = (call.kind, std::mem::take(&mut call.messages));
    let session = warm::begin(core, &caller, inbound.trace, &request).await?;
    warm::name_in(&mut inbound.headers, session);
    let frame = answer::Frame::of(&inbound, request, session);
    let started_unix_ms = core.deps.world.clock.unix_ms();
    let inbound = call.into_inbound(inbound).await?;
    let response = line::serve(core, inbound, caller.clone()).await;
    Ok(answer::shape(core, &caller, frame, (kind, messages), started_unix_ms, response).await)
}

/// What the addresses of a run's files begin with; `None` where they are a part of its output.
///
/// # Errors
/// Its client wants them stored, and nothing may be kept.
fn files_at(
    core: &Core,
    caller: &Caller,
    headers: &HeaderMap,
    (options, is_usual): (&RunOptions, bool),
) -> Result<Option<String>, Box<Fault>> {
    if !options.stores_files.unwrap_or(is_usual) {
        return Ok(None);
    }
    if let Err(fault) = files::may_keep(caller) {
        return if options.stores_files.is_some() { Err(fault) } else { Ok(None) };
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    Ok(core.files.public_url().map(str::to_owned).or_else(|| Some(format!("http://{}", host?))))
}

/// A task that is made by a worker: its client gets it as it is now, or follows it with the same request.
async fn queued(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: &Caller,
    (request, app): (RunRequest, App),
    streams: Option<Format>,
) -> Result<Response<ReplyBody>, Refusal> {
    let envelope = Envelope::from_headers(&inbound.headers);
    let trace = inbound.trace;
    let (task, contents) = match tasks::queue(core, inbound, caller, request, &app).await? {
        Queued::Waits(waiting) => *waiting,
        Queued::Refused(response) => return Ok(*response),
    };
    core.counters.answered(StatusCode::OK.as_u16());
    if let Some(format) = streams {
        return Ok(tasks::stream(core, caller, task.id, format));
    }
    let body = envelope.wrap(&runs::document(&task, &contents), &[]);
    Ok(settle::whole(StatusCode::OK, line::own_headers(trace, "application/json"), body.into()))
}
