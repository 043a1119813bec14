//! Reads errors of upstreams in every shape that they use, and decides what they mean.

use std::borrow::Cow;

use domain::limits::{UPSTREAM_MESSAGE_BYTES_MAX, UPSTREAM_WORD_BYTES_MAX};
use domain::{FaultClass, UpstreamReport};
use json::{Cursor, JsonError, Kind, Span, Value, find_member};

/// Reads an upstream's error body: `{"error": {..}}`, `{"error": "text"}`, `{"detail": ..}`, `{"message":
/// ..}`, each also as the only element of an array, or plain text. HTML pages report nothing.
pub fn read_error(body: &[u8]) -> UpstreamReport {
    let mut report = UpstreamReport::default();
    let object = match find_object(body) {
        Ok(Some(span)) => span.of(body),
        Ok(None) | Err(_) => {
            let text = String::from_utf8_lossy(
                body.get(..body.len().min(4 * UPSTREAM_MESSAGE_BYTES_MAX)).unwrap_or_default(),
            );
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('<') {
                report.message = Some(truncate(text, UPSTREAM_MESSAGE_BYTES_MAX));
            }
            return report;
        }
    };
    // The span was validated above, so what follows can't fail.
    if let Ok(mut cursor) = Cursor::new(object) {
        let _ = read_object(&mut cursor, &mut report);
    }
    report
}

/// The body's object, or the first one of its array.
fn find_object(body: &[u8]) -> Result<Option<Span>, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let found = match cursor.kind()? {
        Kind::Object => Some(cursor.skip()?),
        Kind::Array => {
            let mut first = None;
            cursor.array(|cursor, _| {
                let kind = cursor.kind()?;
                let span = cursor.skip()?;
                if kind == Kind::Object && first.is_none() {
                    first = Some(span);
                }
                Ok::<(), JsonError>(())
            })?;
            first
        }
        _ => None,
    };
    cursor.end()?;
    Ok(found)
}

/// Reads an error object; members inside `error` take precedence over those next to it.
fn read_object(cursor: &mut Cursor<'_>, report: &mut UpstreamReport) -> Result<(), JsonError> {
    let bytes = cursor.bytes();
    let mut inner = None;
    cursor.object(|cursor, member| {
        let name = member.key.decode();
        let value = cursor.value()?;
        match (&*name, value) {
            ("error", Value::Object(span)) => inner = Some(span),
            ("error", Value::Array(span)) | ("errors", Value::Array(span)) => {
                inner = find_object(span.of(bytes))?.map(|found| offset(found, span.start));
            }
            ("error" | "message" | "detail", Value::String(text)) => {
                report.message.get_or_insert_with(|| truncate(&text.decode(), UPSTREAM_MESSAGE_BYTES_MAX));
            }
            // Validation errors: a list or an object instead of a message string.
            ("detail", Value::Array(span) | Value::Object(span)) | ("message", Value::Object(span)) => {
                let detail = String::from_utf8_lossy(span.of(bytes));
                report.message.get_or_insert_with(|| truncate(&detail, UPSTREAM_MESSAGE_BYTES_MAX));
            }
            ("type", Value::String(text)) => report.kind = word(&text.decode()),
            ("code", Value::String(text)) => report.code = word(&text.decode()),
            ("code", Value::Null) => report.has_null_code = true,
            ("code", Value::Number(text)) => report.code = word(text),
            ("status", Value::String(text)) if report.code.is_none() => report.code = word(&text.decode()),
            ("param", Value::String(text)) => report.param = word(&text.decode()),
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    if let Some(span) = inner {
        let outer = std::mem::take(report);
        // An inner object may hold another `error`; it is read flat, so nothing recurses further than this.
        read_flat(span.of(bytes), report)?;
        report.message = report.message.take().or(outer.message);
        report.kind = report.kind.take().or(outer.kind);
        report.code = report.code.take().or(outer.code);
        report.has_null_code |= outer.has_null_code;
        report.param = report.param.take().or(outer.param);
    }
    Ok(())
}

fn read_flat(object: &[u8], report: &mut UpstreamReport) -> Result<(), JsonError> {
    Cursor::new(object)?.object(|cursor, member| {
        let name = member.key.decode();
        match (&*name, cursor.value()?) {
            ("message" | "detail" | "msg", Value::String(text)) => {
                report.message = Some(truncate(&text.decode(), UPSTREAM_MESSAGE_BYTES_MAX));
            }
            ("type", Value::String(text)) => report.kind = word(&text.decode()),
            ("code", Value::String(text)) => report.code = word(&text.decode()),
            ("code", Value::Null) => report.has_null_code = true,
            ("code", Value::Number(text)) if report.code.is_none() => report.code = word(text),
            ("status", Value::String(text)) if report.code.is_none() => report.code = word(&text.decode()),
            ("param", Value::String(text)) => report.param = word(&text.decode()),
            // The code that Anthropic's SDKs go by.
            ("details", Value::Object(span)) if report.code.is_none() => {
                report.code = error_code(span.of(object))?;
            }
            _ => {}
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(())
}

fn error_code(details: &[u8]) -> Result<Option<String>, JsonError> {
    let Some(found) = find_member(details, "error_code")? else { return Ok(None) };
    match Cursor::new(found.of(details))?.value()? {
        Value::String(text) => Ok(word(&text.decode())),
        _ => Ok(None),
    }
}

fn offset(span: Span, by: usize) -> Span {
    Span::new(span.start + by, span.end + by)
}

/// An upstream's message, cleaned for display; `None` where it is blank.
pub fn read_message(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| truncate(text, UPSTREAM_MESSAGE_BYTES_MAX))
}

fn word(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= UPSTREAM_WORD_BYTES_MAX)
        .then(|| truncate(text, UPSTREAM_WORD_BYTES_MAX))
}

/// Bounds the text, puts it on one line and removes anything that looks like a key: servers tend to repeat
/// the key that they reject, and the client sees this text.
fn truncate(text: &str, bytes_max: usize) -> String {
    let text = text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default();
    let mut clean = String::with_capacity(text.len());
    for (index, part) in text.split(char::is_whitespace).enumerate() {
        if index > 0 {
            clean.push(' ');
        }
        clean.push_str(&redact(part));
    }
    clean.retain(|character| !character.is_control());
    clean
}

fn redact(part: &str) -> Cow<'_, str> {
    let bare = part.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_key = ["sk-", "sk_", "key-", "tg_live_", "tg_test_", "Bearer", "eyJ"]
        .iter()
        .any(|prefix| bare.starts_with(prefix) && bare.len() > prefix.len() + 4);
    if is_key { Cow::Borrowed("[redacted]") } else { Cow::Borrowed(part) }
}

/// Classifies an upstream's error by its status, where it has one, and its body. The body wins where it is
/// more precise.
pub fn class_of(status: Option<u16>, report: &UpstreamReport) -> FaultClass {
    let status = status.or_else(|| report.code.as_deref().and_then(|code| code.parse().ok()));
    let code = report.code.as_deref().unwrap_or_default();
    let kind = report.kind.as_deref().unwrap_or_default();
    let request_refused = !matches!(status, Some(429 | 500..));
    if status == Some(401) && is_of_permission(report) {
        return FaultClass::UpstreamPermission;
    }
    if is_quota(code) || is_quota(kind) {
        return FaultClass::UpstreamQuota;
    }
    if let Some(class) = class_of_code(code, request_refused) {
        return class;
    }
    if request_refused && let Some(class) = report.message.as_deref().and_then(class_of_message) {
        return class;
    }
    if let Some(class) = status.and_then(class_of_status) {
        return class;
    }
    class_of_code(kind, true)
        .or_else(|| class_of_kind(kind))
        .or_else(|| class_of_kind(code))
        .unwrap_or(FaultClass::Upstream)
}

/// A valid key that lacks a permission may get the same status as an invalid one.
fn is_of_permission(report: &UpstreamReport) -> bool {
    let is_word = |word: &Option<String>| {
        matches!(
            word.as_deref(),
            Some(
                "missing_scope"
                    | "missing_scopes"
                    | "insufficient_permissions"
                    | "ip_not_authorized"
                    | "mismatched_project"
                    | "mismatched_organization"
                    | "invalid_organization"
                    | "model_not_allowed"
                    | "permission_error"
                    | "permission_denied"
                    | "PermissionDenied"
            )
        )
    };
    let message = report.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let phrases = ["missing scope", "insufficient permission", "not authorized to access"];
    is_word(&report.code) || is_word(&report.kind) || phrases.iter().any(|words| message.contains(words))
}

fn is_quota(word: &str) -> bool {
    matches!(
        word,
        "insufficient_quota"
            | "credit_balance_exhausted"
            | "billing_hard_limit_reached"
            | "billing_not_active"
            | "billing_error"
    )
}

/// Error codes precise enough to win over the status; those of different vendors don't clash.
fn class_of_code(word: &str, request_refused: bool) -> Option<FaultClass> {
    Some(match word {
        "context_length_exceeded" => FaultClass::ContextLength,
        "content_filter" | "content_policy_violation" | "moderation_blocked" => FaultClass::ContentPolicy,
        "invalid_api_key" => FaultClass::UpstreamAuth,
        "model_not_found" if request_refused => FaultClass::UpstreamNotFound,
        "unsupported_country_region_territory" => FaultClass::UpstreamPermission,
        "rate_limit_exceeded" | "slow_down" => FaultClass::RateLimit,
        "server_is_overloaded" | "model_overloaded" => FaultClass::Overloaded,
        "unsupported_parameter" | "unsupported_value" if request_refused => FaultClass::Unsupported,
        _ => return None,
    })
}

/// Error types, for events and bodies that come without a status.
fn class_of_kind(kind: &str) -> Option<FaultClass> {
    Some(match kind {
        "authentication_error" | "AuthenticationError" => FaultClass::UpstreamAuth,
        "permission_error" | "PermissionDeniedError" => FaultClass::UpstreamPermission,
        "not_found_error" | "NotFoundError" => FaultClass::UpstreamNotFound,
        "rate_limit_error" | "RateLimitError" => FaultClass::RateLimit,
        "overloaded_error" | "service_unavailable_error" => FaultClass::Overloaded,
        "timeout" | "timeout_error" | "upstream_timeout" => FaultClass::Timeout,
        "invalid_request_error" | "BadRequestError" => FaultClass::BadRequest,
        _ => return None,
    })
}

/// Errors that only the message reveals, in the words of servers that send no code.
fn class_of_message(message: &str) -> Option<FaultClass> {
    let message = message.to_ascii_lowercase();
    let contains_any = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if contains_any(&[
        "maximum context length",
        "context length exceeded",
        "prompt is too long",
        "input is too long",
    ]) {
        Some(FaultClass::ContextLength)
    } else if contains_any(&["credit balance is too low"]) {
        Some(FaultClass::UpstreamQuota)
    } else if contains_any(&["blocked by content filtering policy"]) {
        Some(FaultClass::ContentPolicy)
    } else if contains_any(&["incorrect api key", "invalid api key"]) {
        Some(FaultClass::UpstreamAuth)
    } else {
        None
    }
}

const fn class_of_status(status: u16) -> Option<FaultClass> {
    Some(match status {
        401 => FaultClass::UpstreamAuth,
        402 => FaultClass::UpstreamQuota,
        403 => FaultClass::UpstreamPermission,
        404 => FaultClass::UpstreamNotFound,
        408 | 504 | 524 => FaultClass::Timeout,
        409 => FaultClass::Conflict,
        413 => FaultClass::TooLarge,
        429 => FaultClass::RateLimit,
        503 | 529 => FaultClass::Overloaded,
        400..500 => FaultClass::BadRequest,
        // A redirect is never followed with a credential, so it is a failure like any other.
        300..400 | 500..600 => FaultClass::Upstream,
        _ => return None,
    })
}
