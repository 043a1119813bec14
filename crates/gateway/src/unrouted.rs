//! What is answered where no route leads.

use std::net::IpAddr;

use admit::Needs;
use bytes::Bytes;
use domain::{Dialect, Fault, FaultClass, TraceId};
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use line::Core;

use crate::reply::{Reply, with_request_id};
use crate::routes::{self, Found};

pub(crate) fn no_route(
    core: &Core,
    (head, path): (&Parts, &str),
    found: Found<'_, '_>,
    (peer, trace): (IpAddr, TraceId),
) -> Response<Reply> {
    match found {
        Found::OtherMethods(allowed, dialect) => other_method(core, head, &allowed, dialect, trace),
        _ if path == "*" => with_request_id(whole_server(), trace),
        _ => unknown(core, head, (peer, trace)),
    }
}

/// `OPTIONS *` is about no path in particular.
fn whole_server() -> Response<Reply> {
    let mut answer = Response::new(Reply::whole(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(routes::METHODS));
    answer
}

fn other_method(
    core: &Core,
    head: &Parts,
    allowed: &str,
    dialect: Dialect,
    trace: TraceId,
) -> Response<Reply> {
    let message = format!("{} does not take {}.", head.uri.path(), head.method);
    // Below some roots the gateway knows what any path takes, and only the control plane what this one does.
    let fix = if allowed.contains("OPTIONS") {
        "Send OPTIONS to this path: `Allow` in the answer lists what it takes.".to_owned()
    } else {
        format!("It takes {allowed}.")
    };
    let fault = Fault::new(FaultClass::MethodNotAllowed, "method_not_allowed", message).fix(fix);
    let mut answer = refuse(core, dialect, &fault, trace);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

/// An unknown path of the API is a 404 to callers with a key; others are asked for one first.
pub(crate) fn unknown(core: &Core, head: &Parts, (peer, trace): (IpAddr, TraceId)) -> Response<Reply> {
    let path = head.uri.path();
    let meant = dialects::meant_path(path, head.uri.query().unwrap_or_default(), &head.headers);
    let dialect = routes::dialect_of(meant.as_deref().unwrap_or(path));
    let later = routes::is_planned(meant.as_deref().unwrap_or(path));
    if dialect == Dialect::Native
        && !later
        && head.method == Method::GET
        && console::wants_page(&head.headers)
    {
        return console::missing(&head.headers).map(Reply::whole);
    }
    if dialect != Dialect::Native || later {
        let identified = line::identify(core, &head.headers, peer, Needs::Inference);
        if let Err(fault) = identified.map(drop)
            && fault.class == FaultClass::Unauthenticated
        {
            return refuse(core, dialect, &fault, trace);
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
    refuse(core, dialect, &fault, trace)
}

fn refuse(core: &Core, dialect: Dialect, fault: &Fault, trace: TraceId) -> Response<Reply> {
    line::refuse(core, dialect, fault, trace).map(Reply::from)
}
