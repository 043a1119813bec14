//! `Agent-*` headers of requests: the session that one belongs to, and what its client wishes to be kept of it.

use std::borrow::Cow;

use domain::{BranchId, Fault, FaultClass, SessionId, TraceMode};
use http::HeaderMap;

/// The prefix of our own headers.
const OURS: &str = "agent-";
/// The session that a request belongs to.
pub const SESSION_REF: &str = "agent-session-ref";
const SESSION: (&str, &str) = (SESSION_REF, "Agent-Session-Ref");
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
        None => Err(unkept("Agent-Trace-Mode is none of metadata, tokenized and encrypted_full_fidelity.")),
    }
}

/// The header of a wish for what is kept of a request, and the refusal where its project keeps less.
#[must_use]
pub fn too_much_kept(wish: TraceMode) -> (&'static str, Box<Fault>) {
    let mode = wish.as_str();
    let message =
        format!("Agent-Trace-Mode asks for {mode} traces, and this project keeps less of its requests.");
    (TRACE_MODE.1, unkept(message))
}

/// The session that the request belongs to: `ses_…`, with or without a branch behind a slash.
///
/// # Errors
/// If it isn't the id of a session.
pub(crate) fn session(headers: &HeaderMap) -> Result<Option<SessionId>, Box<Fault>> {
    let Some(value) = headers.get(SESSION.0) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let (session, branch) =
        text.split_once('/').map_or((text, None), |(session, branch)| (session, Some(branch)));
    let is_branch = branch.is_none_or(|branch| branch.parse::<BranchId>().is_ok());
    match session.parse() {
        Ok(id) if is_branch => Ok(Some(id)),
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
