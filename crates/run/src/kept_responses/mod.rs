//! The state of `/v1/responses` where no provider keeps it: answers are kept here, what they continue is sent again with
//! the request, and answers in the background are made here.

mod background;
mod by_id;
mod compacting;
mod conversations;
mod ids;
mod kept;
mod making;
mod pages;
mod references;
mod taken;
mod threads;

use std::rc::Rc;

use admit::Caller;
use decode::{Inbound, SessionHistory};
use domain::{Dialect, Fault, Operation};
use line::Core;

use self::making::Made;
use self::taken::left;
use crate::compaction;
use crate::history;
use crate::session_turn;
use crate::state_fields::StateFields;
use crate::truncation;
use runbody::refusal;

pub use compacting::compact;
pub use conversations::{ConversationRequest, conversation};
pub use taken::Taken;
pub(crate) use threads::{planned_thread, serve_thread};

/// Takes a request of `/v1/responses`, if it needs anything that is kept here.
pub async fn take_response(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Taken {
    let trace = inbound.trace;
    let taken = match inbound.operation {
        Operation::Stored => by_id::take(core, inbound, caller).await,
        Operation::Chat | Operation::Count => create(core, inbound, caller).await,
        _ => Ok(left(inbound, caller)),
    };
    taken.unwrap_or_else(|fault| {
        Taken::Answered(Box::new(line::refuse(core, Dialect::Responses, &fault, trace)))
    })
}

/// The call that a request makes, for one that is planned and not served: with what it continues, and in the foreground
/// where the gateway would make its answer.
///
/// # Errors
/// What it continues is not there.
pub async fn planned_response(
    core: &Core,
    mut inbound: Inbound,
    caller: &Caller,
) -> Result<Inbound, Box<Fault>> {
    let Some((fields, made)) = continued(core, &mut inbound, caller).await? else { return Ok(inbound) };
    if fields.is_background
        && let Some(body) = background::made_here(core, &inbound, caller, made.session.is_some()).await
    {
        inbound.body = body;
    }
    if inbound.operation == Operation::Chat {
        truncation::truncate(core, &mut inbound, caller).await;
    }
    Ok(inbound)
}

async fn create(core: &Rc<Core>, mut inbound: Inbound, caller: Caller) -> Result<Taken, Box<Fault>> {
    let Some((fields, made)) = continued(core, &mut inbound, &caller).await? else {
        return Ok(left(inbound, caller));
    };
    let is_new = inbound.operation == Operation::Chat;
    if is_new && fields.is_background {
        return background::take(core, inbound, caller, made).await;
    }
    let is_continued = made.previous.is_some() || made.session.is_some();
    let is_cared_for = fields.truncates || fields.compact_threshold.is_some();
    if made.keeps || (is_new && (is_continued || is_cared_for)) {
        return Ok(Taken::Answered(Box::new(making::serve(core, inbound, caller, made).await)));
    }
    Ok(left(inbound, caller))
}

/// Puts what a request continues before its input, and says how its answer is made; `None` of what is no valid request: the
/// pipeline says what is wrong with it.
async fn continued(
    core: &Core,
    inbound: &mut Inbound,
    caller: &Caller,
) -> Result<Option<(StateFields, Made)>, Box<Fault>> {
    let Some(fields) = StateFields::read(&inbound.body) else { return Ok(None) };
    if fields.previous.is_some() && fields.conversation.is_some() {
        return Err(both());
    }
    let by_header = history::named(&mut inbound.headers)?;
    if by_header.is_some() && (fields.previous.is_some() || fields.conversation.is_some()) {
        return Err(both_histories());
    }
    let named = by_header.or_else(|| fields.conversation.as_deref().and_then(ids::conversation_named));
    let session = match named {
        Some(named) => Some(session_turn::continued(core, caller, inbound, named).await?),
        None => None,
    };
    let previous = match &fields.previous {
        Some(id) => kept::find(core, caller, id).await,
        None => None,
    };
    let (session, earlier) = session.unzip();
    let history = match &previous {
        Some(previous) => Some(kept::history(core, caller, previous).await?),
        None => earlier,
    };
    let input = fields.input_items(&inbound.body);
    let resolved = references::resolved(core, caller, named, &input).await?;
    let is_resolved = resolved.is_some();
    let made = Made {
        request: inbound.trace,
        previous: fields.previous.clone().filter(|_| previous.is_some()),
        ancestors: previous.map(kept::KeptResponse::with_itself).unwrap_or_default(),
        input: resolved.unwrap_or(input),
        session,
        is_conversation: by_header.is_none(),
        keeps: inbound.operation == Operation::Chat && fields.stores && !caller.retains_nothing(),
        is_background: false,
        first_item: None,
    };
    if let Some(history) = history {
        inbound.body = fields.continuing(&inbound.body, &history, &made.input)?;
    } else if is_resolved {
        inbound.body = fields.with_input(&inbound.body, &made.input);
    }
    compaction::open_in(core, caller, inbound)?;
    Ok(Some((fields, made)))
}

fn both_histories() -> Box<Fault> {
    let message = "The header Agent-Session-History and the body both say what the request continues.";
    refusal("invalid_value", message, "Send one of them.", SessionHistory::PARAM)
}

fn both() -> Box<Fault> {
    let message = "\"previous_response_id\" and \"conversation\" both say what the request continues.";
    refusal("invalid_value", message, "Send one of them.", "conversation")
}
