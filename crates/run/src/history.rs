//! A session's history, sent for a client that asks for it in any dialect: it comes before what the request says, and both that
//! and the answer are appended to it.

use std::rc::Rc;

use admit::Caller;
use decode::{Inbound, SessionHistory};
use domain::{Dialect, Fault, Operation};
use http::Response;
use http::header::HeaderMap;
use line::Core;
use settle::ReplyBody;

use crate::compaction;
use crate::kept_responses::{planned_thread, serve_thread};
use crate::session_turn::{self, Named, SessionTurn};

/// Whether a request continues a session here, or may be part of a thread. Those of Responses are continued where their state is.
pub fn continues_session(inbound: &Inbound) -> bool {
    inbound.operation == Operation::Chat
        && inbound.dialect != Dialect::Responses
        && line::continues(inbound.dialect)
        && (SessionHistory::is_named(&inbound.headers)
            || dialects::names_threads(inbound.dialect, &inbound.headers))
}

/// Serves a request that continues a session.
pub async fn serve_continued(core: &Rc<Core>, mut inbound: Inbound, caller: Caller) -> Response<ReplyBody> {
    if !SessionHistory::is_named(&inbound.headers) {
        return Box::pin(serve_thread(core, inbound, caller)).await;
    }
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let turn = match continue_session(core, &mut inbound, &caller).await {
        Ok(turn) => turn,
        Err(fault) => return line::refuse(core, dialect, &fault, trace),
    };
    let mut response = line::serve(core, inbound, caller.clone()).await;
    if line::keeps_answers(&caller) {
        line::name_bypass(response.headers_mut());
    }
    let Some(SessionTurn { to, mut input }) = turn else { return response };
    let own_core = Rc::clone(core);
    let append = move |answer: Vec<String>| -> line::Appending {
        Box::pin(async move {
            input.extend(answer);
            session_turn::append_items(&own_core, &caller, (trace, to), input).await
        })
    };
    line::append_answer(core, (dialect, trace), response, Box::new(append)).await
}

/// The call that a request makes which continues a session, for one that is planned and not served.
///
/// # Errors
/// The session can't be continued.
pub async fn planned_continued(
    core: &Core,
    mut inbound: Inbound,
    caller: &Caller,
) -> Result<Inbound, Box<Fault>> {
    if !SessionHistory::is_named(&inbound.headers) {
        return planned_thread(core, inbound, caller).await;
    }
    continue_session(core, &mut inbound, caller).await?;
    Ok(inbound)
}

/// Puts the history before what a request says.
async fn continue_session(
    core: &Core,
    inbound: &mut Inbound,
    caller: &Caller,
) -> Result<Option<SessionTurn>, Box<Fault>> {
    let Some(named) = named(&mut inbound.headers)? else { return Ok(None) };
    let (to, history) = session_turn::continued(core, caller, inbound, named).await?;
    let history = compaction::opened(core, caller, history)?;
    let input = line::continue_in(inbound, &history)?;
    Ok(Some(SessionTurn { to, input }))
}

/// The branch that a request's header names.
pub(crate) fn named(headers: &mut HeaderMap) -> Result<Option<Named>, Box<Fault>> {
    let named = SessionHistory::take(headers)?;
    Ok(named.map(|SessionHistory { session, branch }| Named {
        session,
        branch,
        param: SessionHistory::PARAM,
    }))
}
