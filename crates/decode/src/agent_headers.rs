//! `Agent-*` headers of requests that are not supported here, or not as they are sent: refused where the answer depends on
//! them, and never silently ignored.

use domain::{Fault, FaultClass};
use http::HeaderMap;

/// The prefix of our own headers.
const OURS: &str = "agent-";
const SESSION: (&str, &str) = ("agent-session-ref", "Agent-Session-Ref");
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
    let refusals = [
        (SESSION.1, headers.contains_key(SESSION.0).then(no_sessions)),
        (TRACE_MODE.1, other_trace_mode(headers)),
    ];
    for (spelling, refusal) in refusals {
        match refusal {
            Some(fault) if !is_lenient => return Err(fault),
            Some(_) => found.push(spelling.to_owned()),
            None => {}
        }
    }
    Ok(found)
}

fn no_sessions() -> Box<Fault> {
    let message = "The header Agent-Session-Ref names a session, and no sessions are kept here.";
    let fix = format!("Send the whole conversation without the header, {LENIENT_FIX}");
    unsupported(SESSION.1, message.to_owned(), fix)
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
        let session = ("agent-session-ref", "ses_1");
        for (given, is_lenient, expected) in [
            (&[("accept", "x")][..], false, Ok(vec![])),
            (&[("agent-trace-mode", "metadata")], false, Ok(vec![])),
            (&[("agent-trace-mode", "tokenized")], false, refused.clone()),
            (&[("agent-trace-mode", "encrypted_full_fidelity")], false, refused.clone()),
            (&[("agent-trace-mode", "all")], false, refused.clone()),
            (&[session], false, refused.clone()),
            (
                &[session, ("agent-trace-mode", "tokenized")],
                true,
                Ok(vec!["Agent-Session-Ref".to_owned(), "Agent-Trace-Mode".to_owned()]),
            ),
        ] {
            let headers = headers(given);
            assert_eq!(has_own(&headers), given[0].0 != "accept", "{given:?}");
            assert_eq!(unheeded(&headers, is_lenient).map_err(|fault| fault.code), expected, "{given:?}");
        }
    }
}
