//! `Agent-*` headers of requests: the session that one belongs to, and what its client wishes to be kept of it.

use std::borrow::Cow;

use domain::{BranchId, Fault, FaultClass, SessionId, TraceMode};
use http::HeaderMap;

/// The prefix of our own headers.
const OURS: &str = "agent-";
/// The session that a request belongs to.
pub const SESSION_REF: &str = "agent-session-ref";
const SESSION: (&str, &str) = (SESSION_REF, "Agent-Session-Ref");
/// Whether the session's history is sent with the request, and the answer appended to it.
const HISTORY: (&str, &str) = ("agent-session-history", "Agent-Session-History");
pub(crate) const TRACE_MODE: (&str, &str) = ("agent-trace-mode", "Agent-Trace-Mode");
/// Whether any header is ours: few requests have one, and the others need no further checks.
pub(crate) fn has_own(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(OURS))
}

/// What the client wishes to be kept of the request.
///
/// # Errors
/// The name of a mode that is none.
pub(crate) fn trace_mode(headers: &HeaderMap) -> Result<Option<TraceMode>, Box<Fault>> {
    let Some(value) = headers.get(TRACE_MODE.0) else { return Ok(None) };
    let word = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    match TraceMode::from_name(&word) {
        Some(mode) => Ok(Some(mode)),
        None => Err(unkept("Agent-Trace-Mode must be metadata, tokenized or encrypted_full_fidelity.")),
    }
}

/// The header of a wish for what is kept of a request, and the refusal where its project keeps less.
pub fn too_much_kept(wish: TraceMode) -> (&'static str, Box<Fault>) {
    let mode = wish.as_str();
    let message =
        format!("Agent-Trace-Mode asks for {mode} traces, but this project stores less of its requests.");
    (TRACE_MODE.1, unkept(message))
}

/// The branch of a session that a request continues: its events come before what the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionHistory {
    pub session: SessionId,
    /// `None`: the session's default branch.
    pub branch: Option<BranchId>,
}

impl SessionHistory {
    /// The name of its header.
    pub const PARAM: &'static str = HISTORY.1;

    /// Whether a request has the header.
    pub fn is_named(headers: &HeaderMap) -> bool {
        headers.contains_key(HISTORY.0)
    }

    /// Takes the header out of a request: whatever still has it is nothing that continues a session.
    ///
    /// # Errors
    /// Its value is unknown, or it names no session.
    pub fn take(headers: &mut HeaderMap) -> Result<Option<Self>, Box<Fault>> {
        let Some(value) = headers.remove(HISTORY.0) else { return Ok(None) };
        let mut words = value.to_str().unwrap_or_default().split(';').map(str::trim);
        let is_known = words.next() == Some("append");
        let branch = words.next().map(|word| word.strip_prefix("branch=").and_then(|id| id.parse().ok()));
        if !is_known || branch == Some(None) || words.next().is_some() {
            let message = "The header Agent-Session-History must be \"append\" or \"append; branch=br_…\".";
            return Err(Box::new(of_history(message).fix("Send one of them, or leave the header out.")));
        }
        let Some((session, own)) = session_and_branch(headers)? else {
            let message = "The header Agent-Session-History needs a session, and the request names none.";
            return Err(Box::new(of_history(message).fix("Send its id in Agent-Session-Ref as well.")));
        };
        Ok(Some(Self { session, branch: branch.flatten().or(own) }))
    }
}

/// Refuses a request that still has the header: nothing at its address continues a session in this way.
pub(crate) fn check_no_history(headers: &HeaderMap) -> Result<(), Box<Fault>> {
    if !SessionHistory::is_named(headers) {
        return Ok(());
    }
    let message = "This address doesn't support Agent-Session-History.";
    let fix = "Send it to /v1/chat/completions, /v1/responses, /v1/messages or generateContent. /v2/responses has \"session_id\" in its body.";
    Err(Box::new(of_history(message).fix(fix)))
}

fn of_history(message: &'static str) -> Fault {
    Fault::new(FaultClass::BadRequest, "invalid_header", message).param(HISTORY.1)
}

/// The session that the request belongs to: `ses_…`, with or without a branch behind a slash.
///
/// # Errors
/// If it isn't the id of a session.
pub(crate) fn session(headers: &HeaderMap) -> Result<Option<SessionId>, Box<Fault>> {
    Ok(session_and_branch(headers)?.map(|(session, _)| session))
}

fn session_and_branch(headers: &HeaderMap) -> Result<Option<(SessionId, Option<BranchId>)>, Box<Fault>> {
    let Some(value) = headers.get(SESSION.0) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let (session, branch) =
        text.split_once('/').map_or((text, None), |(session, branch)| (session, Some(branch)));
    let branch = branch.map(str::parse::<BranchId>);
    match (session.parse(), branch.transpose()) {
        (Ok(id), Ok(branch)) => Ok(Some((id, branch))),
        _ => {
            let message = "The header Agent-Session-Ref has no id of a session.";
            let fault = Fault::new(FaultClass::BadRequest, "invalid_header", message).param(SESSION.1);
            Err(Box::new(fault.fix("Send the id of a session of this project, such as ses_0192….")))
        }
    }
}

fn unkept(message: impl Into<Cow<'static, str>>) -> Box<Fault> {
    let fix = "Send \"metadata\", leave the header out, or send \"Agent-Lenient: true\" to have it dropped. What a \
               project keeps is its retention profile.";
    Box::new(Fault::new(FaultClass::Unsupported, "unsupported_header", message).param(TRACE_MODE.1).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_mode_is_read_or_refused() {
        let refused: Result<Option<TraceMode>, _> = Err("unsupported_header");
        for (name, value, expected) in [
            ("accept", "x", Ok(None)),
            ("agent-trace-mode", "metadata", Ok(Some(TraceMode::Metadata))),
            ("agent-trace-mode", " Tokenized", Ok(Some(TraceMode::Tokenized))),
            ("agent-trace-mode", "encrypted_full_fidelity", Ok(Some(TraceMode::FullFidelity))),
            ("agent-trace-mode", "all", refused),
            ("agent-trace-mode", "", refused),
        ] {
            let header = http::HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), header)]);
            assert_eq!(has_own(&headers), name != "accept", "{name}");
            assert_eq!(trace_mode(&headers).map_err(|fault| fault.code), expected, "{value}");
        }
    }

    #[test]
    fn a_history_is_of_the_branch_that_is_named() {
        let session = SessionId::new(1, [1; 10]);
        let (one, other) = (BranchId::new(1, [2; 10]), BranchId::new(1, [3; 10]));
        let of = |branch| Ok(Some(SessionHistory { session, branch }));
        let wrong: Result<Option<SessionHistory>, _> = Err("invalid_header");
        for (value, named, expected) in [
            ("append", Some(session.to_string()), of(None)),
            ("append; branch={}", Some(session.to_string()), of(Some(one))),
            (" append ;branch={}", Some(format!("{session}/{other}")), of(Some(one))),
            ("append", Some(format!("{session}/{other}")), of(Some(other))),
            ("append", None, wrong),
            ("append; branch=br_1", Some(session.to_string()), wrong),
            ("append; branch={}; more", Some(session.to_string()), wrong),
            ("replace", Some(session.to_string()), wrong),
            ("", Some(session.to_string()), wrong),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HISTORY.0, value.replace("{}", &one.to_string()).parse().unwrap());
            if let Some(named) = named {
                headers.insert(SESSION.0, named.parse().unwrap());
            }
            assert!(check_no_history(&headers).is_err());
            assert_eq!(SessionHistory::take(&mut headers).map_err(|fault| fault.code), expected, "{value}");
            assert!(check_no_history(&headers).is_ok());
        }
        assert_eq!(SessionHistory::take(&mut HeaderMap::new()), Ok(None));
    }

    #[test]
    fn a_session_is_named_with_or_without_a_branch() {
        let session = SessionId::new(1, [1; 10]);
        let branch = BranchId::new(1, [2; 10]);
        for (value, expected) in [
            (session.to_string(), Ok(Some(session))),
            (format!(" {session}/{branch} "), Ok(Some(session))),
            (format!("{session}/"), Err("invalid_header")),
            ("ses_1".to_owned(), Err("invalid_header")),
            (branch.to_string(), Err("invalid_header")),
            (String::new(), Err("invalid_header")),
        ] {
            let headers: HeaderMap =
                [(http::HeaderName::from_static(SESSION.0), value.parse().unwrap())].into_iter().collect();
            assert_eq!(super::session(&headers).map_err(|fault| fault.code), expected, "{value}");
        }
        assert_eq!(super::session(&HeaderMap::new()).map_err(|fault| fault.code), Ok(None));
    }
}
