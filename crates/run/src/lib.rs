//! Apps: `/v1/run` runs an app on an input and answers with the finished task, which `/tasks` shows again; `/apps` lists
//! them. In this release, an app is a model. Beside it is `/v2/responses`, a model's answer under a quality of service.

mod answer;
mod answer_stream;
mod apps;
mod background;
mod compaction;
mod context_care;
mod conversation_order;
mod document;
mod history;
mod input;
mod items;
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
mod stored_tasks;
mod task;
mod truncation;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault};
use http::Response;
use line::Core;
use settle::ReplyBody;

use crate::apps::{App, Files};
use crate::refusal::Refusal;

pub use apps::{AppRequest, apps};
pub use history::{continues_session, planned_continued, serve_continued};
pub use kept_responses::{
    ConversationRequest, Taken, compact, conversation, planned_response, take_response,
};
pub use native::{respond, response};
pub use stored_tasks::task;

/// Runs an app: `POST /v1/run`, `/run`, `/v1/apps/run`, `/apps/run`. The body is already read.
pub async fn run(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    let trace = inbound.trace;
    match trip(core, inbound, caller).await {
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
    planned.map_err(|refusal| match refusal {
        Refusal::Fault(fault) => fault,
        Refusal::Input(errors) => Box::new(problem::fault(&errors)),
    })
}

async fn trip(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Result<Response<ReplyBody>, Refusal> {
    let request = request::read(&inbound.headers, &inbound.body)?;
    let app = App::find(core, &caller, &request.app);
    let mut call = apps::prepare((&app, Files::of(core)), &request.input, inbound.trace, false).await?;
    let (kind, messages) = (call.kind, std::mem::take(&mut call.messages));
    let frame = answer::Frame::of(&inbound, request);
    let started_unix_ms = core.deps.world.clock.unix_ms();
    let inbound = call.into_inbound(inbound).await?;
    let response = line::serve(core, inbound, caller.clone()).await;
    Ok(answer::shape(core, &caller, frame, (kind, messages), started_unix_ms, response).await)
}
