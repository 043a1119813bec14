//! What is answered where no route leads.

use admit::Needs;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::handle::{Arrival, CoreHandler, refuse, whole_server, with_request_id};
use crate::reply::Reply;
use crate::routes::{self, Found};

pub(crate) fn no_route(
    handler: &CoreHandler,
    head: &Parts,
    path: &str,
    found: Found<'_, '_>,
    arrival: Arrival,
) -> Response<Reply> {
    match found {
        Found::OtherMethods(allowed, dialect) => {
            other_method(handler, head, &allowed, dialect, arrival.trace)
        }
        _ if path == "*" => with_request_id(whole_server(), arrival.trace),
        _ => unknown(handler, head, arrival),
    }
}

fn other_method(
    handler: &CoreHandler,
    head: &Parts,
    allowed: &str,
    dialect: Dialect,
    trace: TraceId,
) -> Response<Reply> {
    let message = format!("{} does not take {}.", head.uri.path(), head.method);
    let fault = Fault::new(FaultClass::MethodNotAllowed, "method_not_allowed", message)
        .fix(format!("It takes {allowed}."));
    let mut answer = refuse(handler, dialect, &fault, trace);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// An unknown path of the API is a 404 to callers with a key; others are asked for one first.
pub(crate) fn unknown(handler: &CoreHandler, head: &Parts, arrival: Arrival) -> Response<Reply> {
    let path = head.uri.path();
    let dialect = routes::dialect_of(path);
    let later = routes::is_planned(path);
    if dialect == Dialect::Native
        && !later
        && head.method == Method::GET
        && console::wants_page(&head.headers)
    {
        return console::missing(&head.headers).map(Reply::whole);
    }
    if dialect != Dialect::Native || later {
        let identified = line::identify(&handler.core, &head.headers, arrival.peer, Needs::Inference);
        if let Err(fault) = identified.map(drop)
            && fault.class == FaultClass::Unauthenticated
        {
            return refuse(handler, dialect, &fault, arrival.trace);
        }
    }
    let clipped: String = path.chars().take(200).collect();
    let fault = if later {
        let message = format!("{clipped} is part of the API, but comes with a later release.");
        Fault::new(FaultClass::NotFound, "not_served_yet", message)
    } else {
        Fault::new(
            FaultClass::NotFound,
            "unknown_path",
            format!("There is nothing at {} {clipped}.", head.method),
        )
    };
    let fault = fault.fix(routes::SERVED);
    refuse(handler, dialect, &fault, arrival.trace)
}
