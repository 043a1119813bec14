//! The state of `/v1/responses` where no provider keeps it: answers are kept here, what they continue is sent again with
//! the request, and answers in the background are made here.

mod background;
mod by_id;
mod conversations;
mod kept;
mod making;

use std::rc::Rc;

use admit::Caller;
use decode::Inbound;
use domain::{Dialect, Fault, FaultClass, Operation, TraceId};
use http::{Response, StatusCode};
use line::Core;
use settle::ReplyBody;

use self::making::Made;
use crate::asked::Asked;
use crate::said;

pub use conversations::{Conversing, conversation};

/// What becomes of a request about responses.
pub enum Taken {
    Answered(Response<ReplyBody>),
    /// It is served as any other. What it continues, if that is kept here, is part of its body now.
    Left(Box<Inbound>, Box<Caller>),
}

/// Takes a request of `/v1/responses`, if it needs anything that is kept here.
pub async fn take_response(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Taken {
    let trace = inbound.trace;
    let taken = match inbound.operation {
        Operation::Stored => by_id::take(core, inbound, caller).await,
        Operation::Chat | Operation::Count => create(core, inbound, caller).await,
        _ => Ok(left(inbound, caller)),
    };
    taken.unwrap_or_else(|fault| Taken::Answered(line::refuse(core, Dialect::Responses, &fault, trace)))
}

fn left(inbound: Inbound, caller: Caller) -> Taken {
    Taken::Left(Box::new(inbound), Box::new(caller))
}

/// What the gateway answers itself.
fn answered(core: &Core, trace: TraceId, body: String) -> Taken {
    core.counters.answered(StatusCode::OK.as_u16());
    Taken::Answered(settle::whole(StatusCode::OK, line::own_headers(trace, "application/json"), body.into()))
}

async fn create(core: &Rc<Core>, mut inbound: Inbound, caller: Caller) -> Result<Taken, Box<Fault>> {
    // Whatever is wrong with the body, the pipeline says.
    let Some(asked) = Asked::read(&inbound.body) else { return Ok(left(inbound, caller)) };
    let named = asked.conversation.as_deref().and_then(conversations::session_of);
    if asked.previous.is_some() && asked.conversation.is_some() {
        return Err(both());
    }
    let said_in = match named {
        Some(named) => Some(said::continued(core, &caller, &mut inbound, named).await?),
        None => None,
    };
    let previous = match &asked.previous {
        Some(id) => kept::find(core, &caller, id).await,
        None => None,
    };
    let (said_in, said) = said_in.unzip();
    let history = match &previous {
        Some(previous) => Some(kept::history(core, &caller, previous).await?),
        None => said,
    };
    let is_new = inbound.operation == Operation::Chat;
    let keeps = is_new && asked.stores && !retains_nothing(&caller);
    let made = Made {
        request: inbound.trace,
        previous: asked.previous.clone().filter(|_| previous.is_some()),
        ancestors: previous.map(kept::KeptResponse::with_itself).unwrap_or_default(),
        input: asked.input_items(&inbound.body),
        said_in,
        keeps,
        is_background: false,
    };
    if let Some(history) = history {
        inbound.body = asked.continuing(&inbound.body, &history)?;
    }
    if is_new && asked.is_background {
        return background::take(core, inbound, caller, made).await;
    }
    if made.keeps || (is_new && (made.previous.is_some() || made.said_in.is_some())) {
        return Ok(Taken::Answered(making::serve(core, inbound, caller, made).await));
    }
    Ok(left(inbound, caller))
}

fn both() -> Box<Fault> {
    let message = "\"previous_response_id\" and \"conversation\" both say what the request continues.";
    let fault = Fault::new(FaultClass::BadRequest, "invalid_value", message);
    Box::new(fault.param("conversation").fix("Send one of them."))
}

fn retains_nothing(caller: &Caller) -> bool {
    caller.project().policy.as_ref().is_some_and(|policies| policies.retains_nothing())
}

/// The id of the answer of a request, as its writer makes it.
fn id_of(request: TraceId) -> String {
    let text = request.to_string();
    format!("resp_{}", text.rsplit('_').next().unwrap_or_default())
}

/// The request whose answer has this id, if the gateway made it.
fn request_of(id: &str) -> Option<TraceId> {
    let stem = id.strip_prefix("resp_")?;
    format!("{}_{stem}", TraceId::PREFIX).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_id_names_its_request() {
        let request = TraceId::new(1_700_000_000_000, [7; 10]);
        assert_eq!(request_of(&id_of(request)), Some(request));
        for other in ["resp_67cb32528d6881909eb2859a55e18a85", "resp_1", "rsp_", ""] {
            assert!(request_of(other).is_none_or(|read| id_of(read) == other), "{other}");
        }
    }
}
