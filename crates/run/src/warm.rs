//! Warm sessions: `session` of a run begins one, or goes on in one, whose runs stay where the first one ran.

use admit::Caller;
use decode::SESSION_REF;
use domain::ports::{FoundSession, SessionFailure, WarmEvent};
use domain::{Fault, FaultClass, ObjectOwner, Principal, SessionId, TraceId};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use line::Core;

use crate::limits::SESSION_SECONDS;
use crate::session_turn::{fault_of, writer_of};
use runbody::{RunRequest, WantedSession, sanitize};

/// The headers of an answer that say whose seat served it. Accounts of the operator are not disclosed: their sessions stay by
/// the hash of the session.
const SEATS: [HeaderName; 3] = [
    HeaderName::from_static("agent-byok-credential-id"),
    HeaderName::from_static("agent-node-id"),
    HeaderName::from_static("agent-subscription-id"),
];

/// The session of a run, which counts it; `None` where its client wants none.
///
/// # Errors
/// The project has no such session, it is over, it runs another app, or nothing may be kept.
pub(crate) async fn begin(
    core: &Core,
    caller: &Caller,
    trace: TraceId,
    request: &RunRequest,
) -> Result<Option<SessionId>, Box<Fault>> {
    let owner = caller.owner();
    let id = match &request.options.session {
        WantedSession::None => return Ok(None),
        WantedSession::New { seconds } => {
            let kept = "a warm session stores where its runs stay";
            let policies = caller.project().policy.as_ref();
            let fault = policies.and_then(|policies| policies.refuse_to_keep(kept, "Leave \"session\" out."));
            if let Some(fault) = fault {
                return Err(Box::new(fault.param("session")));
            }
            let idle_ms = seconds.unwrap_or(SESSION_SECONDS).saturating_mul(1_000);
            let opened =
                core.sessions.open_warm(writer_of(caller, trace), request.app.clone(), idle_ms).await;
            opened.map_err(|failure| fault_of(failure, "session"))?.id
        }
        WantedSession::Named(id) => id.parse().map_err(|_| unknown(id))?,
    };
    let warm = match core.sessions.warm(owner, id, WarmEvent::Call).await {
        Ok(warm) => warm,
        Err(SessionFailure::Unknown) => return Err(unknown(&id.to_string())),
        Err(failure) => return Err(fault_of(failure, "session")),
    };
    if let Some(fault) = warm.status(core.deps.world.clock.unix_ms()).refusal(id) {
        return Err(Box::new(fault));
    }
    if warm.app != request.app {
        return Err(other_app(id, &warm.app));
    }
    Ok(Some(id))
}

/// Has a request belong to its session.
pub(crate) fn name_in(headers: &mut HeaderMap, session: Option<SessionId>) {
    if let Some(value) = session.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        headers.insert(HeaderName::from_static(SESSION_REF), value);
    }
}

/// The headers that are kept of a request, with its session.
pub(crate) fn kept_headers(
    kept: impl Iterator<Item = (String, String)>,
    session: Option<SessionId>,
) -> Vec<(String, String)> {
    let others = kept.filter(|(name, _)| session.is_none() || name != SESSION_REF);
    others.chain(session.map(|id| (SESSION_REF.to_owned(), id.to_string()))).collect()
}

/// The session that a request belongs to.
pub(crate) fn named_by(headers: &HeaderMap) -> Option<SessionId> {
    headers.get(SESSION_REF)?.to_str().ok()?.parse().ok()
}

/// Has the further runs of a warm session stay where this one was served, unless they have a place already.
pub(crate) async fn stay(core: &Core, owner: ObjectOwner, session: Option<SessionId>, served: &HeaderMap) {
    let Some(id) = session else { return };
    let seat = SEATS.iter().find_map(|name| served.get(name)?.to_str().ok()?.parse::<Principal>().ok());
    let Some(seat) = seat else { return };
    if core.sessions.find(owner, id).await == (FoundSession::Known { is_warm: true, seat: None })
        && core.sessions.warm(owner, id, WarmEvent::Seat(seat)).await.is_err()
    {
        tracing::warn!(session = %id, "the seat of a warm session could not be stored");
    }
}

/// The refusal of a session for an app whose runs have one already.
pub(crate) fn of_agents() -> Box<Fault> {
    let message = "\"session\" can't be honoured: the chats of an agent are its sessions.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_field", message);
    Box::new(fault.fix("Continue a chat with \"chat_id\" at POST /agents/run.").param("session"))
}

fn unknown(id: &str) -> Box<Fault> {
    let message = format!("This project has no warm session {}.", sanitize(id));
    let fault = Fault::new(FaultClass::NotFound, "session_not_found", message).param("session");
    Box::new(fault.fix("Begin one with \"session\": \"new\", or leave the field out."))
}

fn other_app(id: SessionId, app: &str) -> Box<Fault> {
    let message = format!("The warm session {id} runs only \"{}\".", sanitize(app));
    let fault = Fault::new(FaultClass::Conflict, "session_app_mismatch", message).param("session");
    Box::new(fault.fix("Begin another session for this app with \"session\": \"new\".").should_retry(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_from_others_by_its_fault() {
        let id = SessionId::new(1, [7; 10]);
        for (fault, code) in [
            (unknown("ses_\n"), "session_not_found"),
            (other_app(id, "a/b"), "session_app_mismatch"),
            (of_agents(), "unsupported_field"),
        ] {
            assert_eq!((fault.code, fault.param.as_deref()), (code, Some("session")));
            assert!(!fault.message.contains('\n'));
        }
    }

    #[test]
    fn the_session_of_a_run_comes_before_the_one_that_its_headers_name() {
        let id = SessionId::new(1, [7; 10]);
        let kept = || [("agent-hints".to_owned(), "h".to_owned()), (SESSION_REF.to_owned(), "x".to_owned())];
        let headers = kept_headers(kept().into_iter(), Some(id));
        assert_eq!(headers[1..], [(SESSION_REF.to_owned(), id.to_string())]);
        assert_eq!(kept_headers(kept().into_iter(), None), kept());
        let mut named = HeaderMap::new();
        name_in(&mut named, Some(id));
        assert_eq!(named_by(&named), Some(id));
    }
}
