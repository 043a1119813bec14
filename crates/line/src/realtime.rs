//! Realtime sessions (WebSocket): the session is opened like any exchange, then each of its responses is an
//! exchange of its own through the same stages.

mod session;

use std::net::IpAddr;
use std::rc::Rc;

use admit::{Admitted, Caller, Needs, admit};
use bytes::Bytes;
use conversation::request::Addressed;
use decode::Inbound;
use domain::{Dialect, Fault, Operation, TraceId};
use execute::{RealtimeResponse, SessionSeat, begin_response};
use http::{HeaderMap, Response, StatusCode};
use relay::{fill, tab_headers};
use settle::{ReplyBody, settle};

use crate::stop::EarlyExit;
use crate::{Core, hooks, identify, planned, reading, refuse};

pub use session::Session;

/// What all responses of a session share.
struct SessionRequest {
    core: Rc<Core>,
    /// The handshake's headers, including the key, which is checked again for each response.
    headers: HeaderMap,
    peer: IpAddr,
    dialect: Dialect,
    model: String,
}

/// Opens a session.
///
/// # Errors
/// An ordinary HTTP response, where the gateway or the upstream refuses the session.
pub async fn open_session(
    core: &Rc<Core>,
    inbound: Inbound,
    caller: Caller,
    peer: IpAddr,
) -> Result<(HeaderMap, Session), Response<ReplyBody>> {
    let (trace, dialect) = (inbound.trace, inbound.dialect);
    let mut request = SessionRequest {
        core: Rc::clone(core),
        headers: inbound.headers.clone(),
        peer,
        dialect,
        model: inbound.addressed.as_ref().map(|addressed| addressed.model.clone()).unwrap_or_default(),
    };
    let opened = match open(core, inbound, caller).await {
        Ok(opened) => opened,
        Err(EarlyExit::BeforeAdmission(fault)) => return Err(refuse(core, dialect, &fault, trace)),
        Err(EarlyExit::RateLimited(bounded)) => {
            let (fault, standings) = &*bounded;
            return Err(refuse::with_standings(core, dialect, fault, standings, trace));
        }
        Err(EarlyExit::AfterAdmission(response, code)) => {
            core.counters.failed(code, response.fault());
            let answer = settle(*response);
            core.counters.answered(answer.status().as_u16());
            return Err(answer);
        }
    };
    // What an alias points at may change during a session, which stays with its model.
    if let Some(pick) = opened.first.tab().alias() {
        request.model = match pick.targets {
            1 => format!("{}@{}", pick.alias, pick.release),
            _ => opened.first.served().resolved_model.to_string(),
        };
    }
    core.counters.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let mut headers = fill(opened.header_map, trace, Some(opened.first.served()));
    headers.extend(opened.upstream_headers);
    headers.extend(tab_headers(opened.first.tab(), dialect));
    Ok((headers, Session::new(request, opened.socket, opened.first)))
}

async fn open(core: &Rc<Core>, inbound: Inbound, caller: Caller) -> Result<execute::OpenSession, EarlyExit> {
    let admitted = admitted(core, inbound, caller)?;
    // What is said in the session comes later, where no hook is called.
    let admitted = hooks::before(core, admitted).await;
    let planned = planned(core, admitted, core.now_us())?;
    Ok(execute::open_session(planned, &core.deps).await?)
}

fn admitted(core: &Core, inbound: Inbound, caller: Caller) -> Result<Admitted, EarlyExit> {
    let call = reading::read(inbound, &caller, core.now_us())?;
    let now_us = core.now_us();
    Ok(admit(call, caller, &core.journal, &core.allowances, now_us)?)
}

impl SessionRequest {
    /// Authenticates the caller again: a key may be revoked during a session.
    fn caller(&self) -> Result<Caller, Box<Fault>> {
        identify(&self.core, &self.headers, self.peer, Needs::Inference)
    }

    /// Starts the exchange of the next response: admitted and planned like a new request, but at the
    /// session's seat.
    async fn respond(&self, seat: &SessionSeat, prompt_bytes: u64) -> Result<RealtimeResponse, Box<Fault>> {
        let core = &self.core;
        let caller = self.caller()?;
        let addressed = Addressed { model: self.model.clone(), prompt_bytes, ..Addressed::default() };
        let (received_us, received_unix_ms) = (core.now_us(), core.now_unix_ms());
        let inbound = Inbound {
            trace: TraceId::new(received_unix_ms, core.deps.world.id_bytes()),
            dialect: self.dialect,
            operation: Operation::Realtime,
            headers: self.headers.clone(),
            addressed: Some(Box::new(addressed)),
            body: Bytes::new(),
            form: None,
            received_us,
            received_unix_ms,
        };
        let started = match admitted(core, inbound, caller)
            .and_then(|admitted| Ok(planned(core, admitted, core.now_us())?))
        {
            Ok(planned) => begin_response(planned, &core.deps, seat).await.map_err(EarlyExit::from),
            Err(stop) => Err(stop),
        };
        started.map_err(|stop| {
            let fault = stop.fault();
            core.counters.failed(fault.code, Some(&fault));
            if let EarlyExit::AfterAdmission(response, _) = stop {
                // Only its record is needed.
                drop(settle(*response));
            }
            fault
        })
    }
}
