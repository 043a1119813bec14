//! Reads Google's errors.

use conversation::answer::StreamFault;
use domain::limits::UPSTREAM_WORD_BYTES_MAX;
use domain::{FaultClass, UpstreamReport};
use json::{Cursor, JsonError, Kind, Span, Value};

use super::names::{camel, each};

/// Reads and classifies an error. The report's code is `error.status`, its kind the reason from the details.
/// `status` is the response's status, if there was one.
pub fn read_error(status: Option<u16>, body: &[u8]) -> (UpstreamReport, FaultClass) {
    // `conversation::upstream_error::read_error` limits the message's length and redacts what looks like a key.
    let mut report = conversation::upstream_error::read_error(body);
    let parsed = read(body).unwrap_or_default();
    let status = status.or(parsed.code);
    report.status = status;
    if parsed.status.is_some() {
        report.code = parsed.status;
    }
    if parsed.reason.is_some() {
        report.kind = parsed.reason;
    }
    let class = match class_of(status, &report) {
        // A daily quota does not recover within a retry, so this is not a rate limit.
        FaultClass::RateLimit if parsed.is_of_days => FaultClass::UpstreamQuota,
        class => class,
    };
    if class == FaultClass::UpstreamAuth {
        // The message about a rejected upstream key is not passed on to the client.
        report.message = None;
    }
    (report, class)
}

pub(super) fn upstream_error(json: &[u8]) -> StreamFault {
    let (mut report, class) = read_error(None, json);
    // The response's status was 200; the body's own code is not reported as its status.
    report.status = None;
    StreamFault::Upstream(report, class)
}

#[derive(Default)]
struct ParsedError {
    code: Option<u16>,
    status: Option<String>,
    reason: Option<String>,
    /// The exhausted quota is a daily one.
    is_of_days: bool,
}

fn read(body: &[u8]) -> Result<ParsedError, JsonError> {
    let mut parsed = ParsedError::default();
    let mut cursor = Cursor::new(body)?;
    each(&mut cursor, |cursor, index| {
        if index > 0 || cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        cursor.object(|cursor, member| {
            if !member.key.is("error") || cursor.kind()? != Kind::Object {
                return cursor.ignore();
            }
            read_inner(cursor, &mut parsed)
        })?;
        Ok::<(), JsonError>(())
    })?;
    Ok(parsed)
}

fn read_inner(cursor: &mut Cursor<'_>, parsed: &mut ParsedError) -> Result<(), JsonError> {
    let bytes = cursor.bytes();
    cursor.object(|cursor, member| {
        match (&*member.key.decode(), cursor.value()?) {
            ("code", value @ Value::Number(_)) => {
                parsed.code = value.as_count().and_then(|code| u16::try_from(code).ok());
            }
            ("status", Value::String(text)) => parsed.status = word(&text.decode()),
            ("details", Value::Array(span)) => read_details(span.of(bytes), parsed)?,
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

/// Reads the first reason among the details, and whether a daily quota was exceeded.
fn read_details(details: &[u8], parsed: &mut ParsedError) -> Result<(), JsonError> {
    each_object(details, |cursor| {
        let bytes = cursor.bytes();
        cursor.object(|cursor, member| {
            match (cursor.value()?, &*camel(&member.key.decode())) {
                (Value::String(text), "reason") => {
                    parsed.reason = parsed.reason.take().or(word(&text.decode()));
                }
                (Value::Array(span), "violations") => {
                    parsed.is_of_days |= names_days(span.of(bytes))?;
                }
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
    })
}

/// Whether one of the violated quotas has a name that says it is daily.
fn names_days(violations: &[u8]) -> Result<bool, JsonError> {
    let mut found = false;
    each_object(violations, |cursor| {
        cursor.object(|cursor, member| {
            if let (Value::String(text), "quotaId") = (cursor.value()?, &*camel(&member.key.decode())) {
                found |= text.decode().contains("PerDay");
            }
            Ok::<(), JsonError>(())
        })
    })?;
    Ok(found)
}

/// Calls `read` with each object of an array, and skips other elements.
fn each_object(
    array: &[u8],
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<Span, JsonError>,
) -> Result<(), JsonError> {
    Cursor::new(array)?.array(|cursor, _| {
        if cursor.kind()? != Kind::Object {
            return cursor.ignore();
        }
        read(cursor).map(|_| ())
    })?;
    Ok(())
}

fn word(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= UPSTREAM_WORD_BYTES_MAX;
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn class_of(status: Option<u16>, report: &UpstreamReport) -> FaultClass {
    let code = report.code.as_deref().unwrap_or_default();
    let reason = report.kind.as_deref().unwrap_or_default();
    if let Some(class) = class_of_reason(reason) {
        return class;
    }
    let message = report.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let blames_request = matches!(code, "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE");
    if blames_request && let Some(class) = class_of_message(code, &message) {
        return class;
    }
    // The error for a cache that has expired, is unknown, or is another account's.
    if code == "PERMISSION_DENIED" && message.starts_with("cachedcontent not found") {
        return FaultClass::UpstreamNotFound;
    }
    match code {
        // With a 5xx status, these codes do not blame the request.
        _ if blames_request && !matches!(status, Some(500..)) => FaultClass::BadRequest,
        "UNAUTHENTICATED" => FaultClass::UpstreamAuth,
        "PERMISSION_DENIED" => FaultClass::UpstreamPermission,
        "NOT_FOUND" => FaultClass::UpstreamNotFound,
        "RESOURCE_EXHAUSTED" => FaultClass::RateLimit,
        "UNAVAILABLE" => FaultClass::Overloaded,
        "DEADLINE_EXCEEDED" => FaultClass::Timeout,
        "ABORTED" | "ALREADY_EXISTS" => FaultClass::Conflict,
        "UNIMPLEMENTED" => FaultClass::Unsupported,
        "INTERNAL" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => FaultClass::Upstream,
        _ => conversation::upstream_error::class_of(status, report),
    }
}

fn class_of_reason(reason: &str) -> Option<FaultClass> {
    Some(match reason {
        "API_KEY_INVALID" | "API_KEY_EXPIRED" | "ACCESS_TOKEN_EXPIRED" | "CREDENTIALS_MISSING" => {
            FaultClass::UpstreamAuth
        }
        "API_KEY_SERVICE_BLOCKED" | "SERVICE_DISABLED" | "CONSUMER_SUSPENDED" => {
            FaultClass::UpstreamPermission
        }
        "BILLING_DISABLED" => FaultClass::UpstreamQuota,
        _ => return None,
    })
}

/// Classifies by the message what the code leaves open.
fn class_of_message(code: &str, message: &str) -> Option<FaultClass> {
    let mentions = |words: &str| message.contains(words);
    let is_state = code == "FAILED_PRECONDITION";
    if mentions("api key not valid") || mentions("api key expired") {
        Some(FaultClass::UpstreamAuth)
    } else if mentions("exceeds the maximum number of tokens") {
        Some(FaultClass::ContextLength)
    } else if mentions("location is not supported") || is_state && mentions("location") {
        Some(FaultClass::UpstreamPermission)
    } else if mentions("enable billing") || is_state && mentions("billing") {
        Some(FaultClass::UpstreamQuota)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, code: &str, kind: Option<&str>, class: FaultClass) {
        let (report, read) = read_error(None, body.as_bytes());
        assert_eq!(
            (report.code.as_deref(), report.kind.as_deref(), read),
            (Some(code), kind, class),
            "{body}"
        );
    }

    #[test]
    fn the_word_and_the_reason_tell_the_class() {
        let invalid = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"x","reason":"API_KEY_INVALID"}]}}"#;
        check(invalid, "INVALID_ARGUMENT", Some("API_KEY_INVALID"), FaultClass::UpstreamAuth);
        assert_eq!(read_error(None, invalid.as_bytes()).0.message, None, "it may hold the key");
        let status = |word: &str| format!(r#"[{{"error":{{"code":1,"message":"m","status":"{word}"}}}}]"#);
        for (word, class) in [
            ("RESOURCE_EXHAUSTED", FaultClass::RateLimit),
            ("UNAVAILABLE", FaultClass::Overloaded),
            ("DEADLINE_EXCEEDED", FaultClass::Timeout),
            ("PERMISSION_DENIED", FaultClass::UpstreamPermission),
            ("NOT_FOUND", FaultClass::UpstreamNotFound),
            ("INVALID_ARGUMENT", FaultClass::BadRequest),
            ("INTERNAL", FaultClass::Upstream),
        ] {
            check(&status(word), word, None, class);
        }
        let long = r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (9) exceeds the maximum number of tokens allowed (5)."}}"#;
        check(long, "INVALID_ARGUMENT", None, FaultClass::ContextLength);
        let gone = r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"CachedContent not found (or permission denied)"}}"#;
        check(gone, "PERMISSION_DENIED", None, FaultClass::UpstreamNotFound);
    }

    #[test]
    fn a_quota_of_days_is_no_limit_of_moments() {
        let used_up = |quota: &str| {
            let details = format!(r#"[5,{{"violations":[5,{{"quotaId":"{quota}"}}]}}]"#);
            format!(r#"{{"error":{{"code":429,"status":"RESOURCE_EXHAUSTED","details":{details}}}}}"#)
        };
        check(&used_up("RequestsPerDayPerProject"), "RESOURCE_EXHAUSTED", None, FaultClass::UpstreamQuota);
        check(&used_up("RequestsPerMinute"), "RESOURCE_EXHAUSTED", None, FaultClass::RateLimit);
    }

    #[test]
    fn a_word_about_the_request_beside_a_failed_server_is_not_believed() {
        let body = br#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#;
        assert_eq!(read_error(Some(400), body).1, FaultClass::BadRequest);
        assert_eq!(read_error(Some(500), body).1, FaultClass::Upstream);
    }

    #[test]
    fn without_a_word_the_number_tells() {
        check(r#"{"error":{"code":429,"message":"m"}}"#, "429", None, FaultClass::RateLimit);
        assert_eq!(read_error(Some(503), b"<html>").1, FaultClass::Overloaded);
    }
}
