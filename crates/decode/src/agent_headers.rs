//! Unsupported `Agent-*` headers: reported to the client, never silently ignored.

use domain::{Fault, FaultClass};
use http::HeaderMap;

/// The prefix of our own headers.
const OURS: &str = "agent-";
/// Refused: the answer depends on the session that it names.
const SESSION: (&str, &str) = ("agent-session-ref", "Agent-Session-Ref");
/// Ignored and reported: the answer is the same without them.
const HINTS: [(&str, &str); 2] =
    [("agent-hints-ref", "Agent-Hints-Ref"), ("agent-trace-mode", "Agent-Trace-Mode")];

/// Whether any header is ours: few requests have one, and the others need no further checks.
pub(crate) fn has_own(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(OURS))
}

/// The headers that are not honoured, in their usual spelling.
///
/// # Errors
/// The answer depends on one of them, and the client did not allow dropping it.
pub(crate) fn unheeded(headers: &HeaderMap, is_lenient: bool) -> Result<Vec<&'static str>, Box<Fault>> {
    let mut found = Vec::new();
    if headers.contains_key(SESSION.0) {
        if !is_lenient {
            return Err(no_sessions());
        }
        found.push(SESSION.1);
    }
    found.extend(
        HINTS.into_iter().filter(|(name, _)| headers.contains_key(*name)).map(|(_, spelling)| spelling),
    );
    Ok(found)
}

fn no_sessions() -> Box<Fault> {
    let message = "The header Agent-Session-Ref names a session, and no sessions are kept here.";
    let fault = Fault::new(FaultClass::Unsupported, "unsupported_header", message).param(SESSION.1);
    let fix =
        "Send the whole conversation without the header, or send \"Agent-Lenient: true\" to have it dropped.";
    Box::new(fault.fix(fix))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_not_honoured_is_refused_or_named() {
        let headers = |names: &[&'static str]| {
            let value = HeaderValue::from_static("x");
            names
                .iter()
                .map(|name| (http::HeaderName::from_static(name), value.clone()))
                .collect::<HeaderMap>()
        };
        let all = ["agent-session-ref", "agent-hints-ref", "agent-trace-mode"];
        for (names, is_lenient, expected) in [
            (&["accept"][..], false, Ok(vec![])),
            (&["agent-trace-mode"], false, Ok(vec!["Agent-Trace-Mode"])),
            (&all[1..], false, Ok(vec!["Agent-Hints-Ref", "Agent-Trace-Mode"])),
            (&all, false, Err("unsupported_header")),
            (&all, true, Ok(vec!["Agent-Session-Ref", "Agent-Hints-Ref", "Agent-Trace-Mode"])),
        ] {
            let headers = headers(names);
            assert_eq!(has_own(&headers), !expected.as_ref().is_ok_and(Vec::is_empty), "{names:?}");
            assert_eq!(unheeded(&headers, is_lenient).map_err(|fault| fault.code), expected, "{names:?}");
        }
    }
}
