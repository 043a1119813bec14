//! Apps: `/v1/run` runs an app on an input and answers with the finished task, which `/tasks` shows again; `/apps` lists
//! them. An app is a model. Beside it is `/v2/responses`, a model's answer under a quality of service.

mod answer;
mod answer_stream;
mod apps;
mod background;
mod chats;
mod compaction;
mod context_care;
mod conversation_order;
mod document;
mod files;
mod history;
mod input;
mod items;
mod kept_content;
mod kept_responses;
mod limits;
mod native;
mod pdf;
mod problem;
mod prompt;
mod refusal;
mod request;
mod session_turn;
mod state_fields;
mod task;
mod tasks;
mod truncation;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault};
use http::{Response, StatusCode};
use line::Core;
use settle::ReplyBody;

use crate::apps::{App, Files};
use crate::refusal::Refusal;
use crate::request::RunRequest;
use crate::task::Envelope;
use crate::tasks::{Format, Queued};

pub use apps::{AppRequest, apps};
pub use chats::{AgentRequest, agent};
pub use files::{FileRequest, FileUpload, files, upload};
pub use history::{continues_session, planned_continued, serve_continued};
pub use kept_responses::{
    ConversationRequest, Taken, compact, conversation, planned_response, take_response,
};
pub use native::{respond, response};
pub use tasks::{TaskCallRequest, task, work};

/// Where a client usually waits for the answer; at the other addresses it gets a task that it follows.
const WAITED_AT: [&str; 2] = ["/v1/run", "/run"];

/// Runs an app: `POST /v1/run`, `/run`, `/v1/apps/run`, `/apps/run`. The body is already read.
pub async fn run(core: &Rc<Core>, inbound: Inbound, caller: Caller, path: &str) -> Response<ReplyBody> {
    let trace = inbound.trace;
    match trip(core, inbound, caller, WAITED_AT.contains(&path)).await {
        Ok(response) => response,
        Err(Refusal::Fault(fault)) => line::refuse(core, Dialect::Run, &fault, trace),
        Err(Refusal::Input(errors)) => problem::input(core, &errors, trace).await,
    }
}

/// The call that a run would make, for one that is planned and not served: its files are not fetched.
///
/// # Errors
/// What is wrong with the run.
pub async fn planned(core: &Core, caller: &Caller, inbound: Inbound) -> Result<Inbound, Box<Fault>> {
    let request = request::read(&inbound.headers, &inbound.body)?;
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
    inbound: Inbound,
    caller: Caller,
    is_waited_for: bool,
) -> Result<Response<ReplyBody>, Refusal> {
    let request = request::read(&inbound.headers, &inbound.body)?;
    let app = App::find(core, &caller, &request.app);
    let streams = Format::wanted(&inbound.headers);
    if streams.is_some() || !request.options.waits(is_waited_for)? {
        return queued(core, inbound, &caller, (request, app), streams).await;
    }
    let files = Files::of(core, &caller);
    let mut call = apps::prepare((&app, files), &request.input, inbound.trace, false).await?;
    let (kind, messages) = (call.kind, std::mem::take(&mut call.messages));
    let frame = answer::Frame::of(&inbound, request);
    let started_unix_ms = core.deps.world.clock.unix_ms();
    let inbound = call.into_inbound(inbound).await?;
    let response = line::serve(core, inbound, caller.clone()).await;
    Ok(answer::shape(core, &caller, frame, (kind, messages), started_unix_ms, response).await)
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
