//! `Agent-*` headers of requests that are not supported here, or not as they are sent: refused where the answer depends on
//! them, and never silently ignored.

use domain::{BranchId, Fault, FaultClass, SessionId};
use http::HeaderMap;

/// The prefix of our own headers.
const OURS: &str = "agent-";
/// The session that a request belongs to.
pub const SESSION_REF: &str = "agent-session-ref";
const SESSION: (&str, &str) = (SESSION_REF, "Agent-Session-Ref");
const TRACE_MODE: (&str, &str) = ("agent-trace-mode", "Agent-Trace-Mode");
/// What is kept of every request: its record, without its content.
const KEPT: &str = "metadata";
const LENIENT_FIX: &str = "or send \"Agent-Lenient: true\" to have it dropped.";

/// Whether any header is ours: few requests have one, and the others need no further checks.
pub(crate) fn has_own(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(OURS))
}

/// The headers that are not honoured, in their usual spelling.
///
/// # Errors
/// The answer, or what is kept of it, depends on one of them, and the client did not allow dropping it.
pub(crate) fn unheeded(headers: &HeaderMap, is_lenient: bool) -> Result<Vec<String>, Box<Fault>> {
    let mut found = Vec::new();
    match other_trace_mode(headers) {
        Some(fault) if !is_lenient => return Err(fault),
        Some(_) => found.push(TRACE_MODE.1.to_owned()),
        None => {}
    }
    Ok(found)
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

/// The refusal of every mode but the one that is in force.
fn other_trace_mode(headers: &HeaderMap) -> Option<Box<Fault>> {
    let mode = headers.get(TRACE_MODE.0)?.as_bytes().trim_ascii();
    if mode.eq_ignore_ascii_case(KEPT.as_bytes()) {
        return None;
    }
    let message = match mode {
        b"tokenized" | b"encrypted_full_fidelity" => {
            let mode = String::from_utf8_lossy(mode);
            format!(
                "Agent-Trace-Mode asks for traces that are {mode}, and none are kept here beside the metadata."
            )
        }
        _ => "Agent-Trace-Mode is none of metadata, tokenized and encrypted_full_fidelity.".to_owned(),
    };
    Some(unsupported(
        TRACE_MODE.1,
        message,
        format!("Send \"metadata\", leave the header out, {LENIENT_FIX}"),
    ))
}

fn unsupported(header: &'static str, message: String, fix: String) -> Box<Fault> {
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_header", message);
    Box::new(fault.param(header).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_honoured_is_refused_or_named() {
        let headers = |given: &[(&'static str, &'static str)]| {
            let header = |(name, value): &(&'static str, &'static str)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            };
            given.iter().map(header).collect::<HeaderMap>()
        };
        let refused: Result<Vec<String>, _> = Err("unsupported_header");
        for (given, is_lenient, expected) in [
            (&[("accept", "x")][..], false, Ok(vec![])),
            (&[("agent-trace-mode", "metadata")], false, Ok(vec![])),
            (&[("agent-trace-mode", "tokenized")], false, refused.clone()),
            (&[("agent-trace-mode", "encrypted_full_fidelity")], false, refused.clone()),
            (&[("agent-trace-mode", "all")], false, refused.clone()),
            (&[("agent-trace-mode", "tokenized")], true, Ok(vec!["Agent-Trace-Mode".to_owned()])),
        ] {
            let headers = headers(given);
            assert_eq!(has_own(&headers), given[0].0 != "accept", "{given:?}");
            assert_eq!(unheeded(&headers, is_lenient).map_err(|fault| fault.code), expected, "{given:?}");
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
