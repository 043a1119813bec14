//! What becomes of a request about responses.

use admit::Caller;
use decode::Inbound;
use domain::TraceId;
use http::{Response, StatusCode};
use line::Core;
use settle::ReplyBody;

/// What becomes of a request about responses.
pub enum Taken {
    Answered(Box<Response<ReplyBody>>),
    /// It is served as any other. What it continues, if that is kept here, is part of its body now.
    Left(Box<Inbound>, Box<Caller>),
}

pub(super) fn left(inbound: Inbound, caller: Caller) -> Taken {
    Taken::Left(Box::new(inbound), Box::new(caller))
}

/// What the gateway answers itself.
pub(super) fn answered(core: &Core, trace: TraceId, body: String) -> Taken {
    core.counters.answered(StatusCode::OK.as_u16());
    let headers = line::own_headers(trace, "application/json");
    Taken::Answered(Box::new(settle::whole(StatusCode::OK, headers, body.into())))
}
