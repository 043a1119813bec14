//! Reads Bedrock's errors: exceptions in responses and in event streams.

use conversation::answer::StreamFault;
use domain::limits::UPSTREAM_WORD_BYTES_MAX;
use domain::{FaultClass, UpstreamReport};
use framing::event_stream::Frame;
use json::{Cursor, JsonError, Kind, Value};

/// Reads and classifies an error. The report's code is the exception's name. `status` is the response's
/// status, if there was one; `kind` is its `x-amzn-errortype` header, if it had one.
pub fn read_error(status: Option<u16>, kind: Option<&str>, body: &[u8]) -> (UpstreamReport, FaultClass) {
    // `conversation::upstream_error::read_error` limits the message's length and redacts what looks like a key.
    let mut report = conversation::upstream_error::read_error(body);
    let parsed = ParsedError::read(body).unwrap_or_default();
    if report.message.as_ref().is_none_or(String::is_empty) {
        report.message = parsed.message.as_deref().and_then(conversation::upstream_error::read_message);
    }
    report.status = status;
    report.code = kind.and_then(exception).or(parsed.exception).or(report.code.take());
    (report.kind, report.param) = (None, None);
    let class = class_of(status, parsed.original_status, &report);
    if class == FaultClass::UpstreamAuth {
        // The message about a rejected upstream key is not passed on to the client.
        report.message = None;
    }
    (report, class)
}

/// The fault in a stream's frame, or `None` if the frame is an event.
pub fn frame_fault(frame: &Frame) -> Option<StreamFault> {
    let (mut report, class) = match frame.text(":message-type") {
        Some("exception") => read_error(None, frame.text(":exception-type"), &frame.payload),
        Some("error") => {
            let message = frame.text(":error-message").unwrap_or_default();
            read_error(None, frame.text(":error-code"), message.as_bytes())
        }
        _ => return None,
    };
    // The stream already started with status 200, so the fault has none.
    report.status = None;
    Some(StreamFault::Upstream(report, class))
}

#[derive(Default)]
struct ParsedError {
    exception: Option<String>,
    /// From `Message`: some AWS services capitalise the name.
    message: Option<String>,
    /// The status with which the model's own server answered Bedrock.
    original_status: Option<u16>,
}

impl ParsedError {
    fn read(body: &[u8]) -> Result<Self, JsonError> {
        let mut parsed = Self::default();
        let mut cursor = Cursor::new(body)?;
        if cursor.kind()? != Kind::Object {
            return Ok(parsed);
        }
        cursor.object(|cursor, member| {
            match (&*member.key.decode(), cursor.value()?) {
                ("__type", Value::String(text)) => parsed.exception = exception(&text.decode()),
                ("Message", Value::String(text)) => parsed.message = Some(text.decode().into_owned()),
                ("originalStatusCode", value) => {
                    parsed.original_status = value.as_count().and_then(|status| u16::try_from(status).ok());
                }
                _ => {}
            }
            Ok::<(), JsonError>(())
        })?;
        Ok(parsed)
    }
}

/// The bare exception name: headers append a URL, bodies prefix a module, and streams start it with a
/// lower-case letter.
fn exception(text: &str) -> Option<String> {
    let name = text.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let is_word = |name: &str| name.chars().all(|character| character.is_ascii_alphanumeric());
    if name.is_empty() || name.len() > UPSTREAM_WORD_BYTES_MAX || !is_word(name) {
        return None;
    }
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(name)
}

fn class_of(status: Option<u16>, original_status: Option<u16>, report: &UpstreamReport) -> FaultClass {
    let message = report.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mentions = |words: &str| message.contains(words);
    match report.code.as_deref().unwrap_or_default() {
        "ValidationException" => class_of_refusal(&message),
        "AccessDeniedException"
            if mentions("api key") || mentions("authentication") || mentions("security token") =>
        {
            FaultClass::UpstreamAuth
        }
        "AccessDeniedException" => FaultClass::UpstreamPermission,
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId" => FaultClass::UpstreamAuth,
        "ResourceNotFoundException" | "UnknownOperationException" => FaultClass::UpstreamNotFound,
        // A daily quota does not recover within a retry, so this is not a rate limit.
        "ThrottlingException" if mentions("per day") => FaultClass::UpstreamQuota,
        "ThrottlingException" | "TooManyRequestsException" | "ModelNotReadyException" => {
            FaultClass::RateLimit
        }
        "ServiceQuotaExceededException" => FaultClass::UpstreamQuota,
        "ConflictException" => FaultClass::Conflict,
        "ModelTimeoutException" => FaultClass::Timeout,
        "ModelErrorException" | "ModelStreamErrorException" => match original_status {
            Some(429) => FaultClass::RateLimit,
            Some(400..=499) => class_of_refusal(&message),
            _ => FaultClass::Upstream,
        },
        "InternalServerException" | "InternalFailure" | "InternalServerError" => FaultClass::Upstream,
        "ServiceUnavailableException" => FaultClass::Overloaded,
        _ => conversation::upstream_error::class_of(status, report),
    }
}

/// Classifies a `ValidationException` by its message, which alone says what is wrong.
fn class_of_refusal(message: &str) -> FaultClass {
    let mentions_any = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if mentions_any(&[
        "is too long",
        "maximum context length",
        "exceed context limit",
        "maximum number of tokens",
        "too many input tokens",
    ]) {
        FaultClass::ContextLength
    } else if mentions_any(&["on-demand throughput", "model identifier is invalid"]) {
        FaultClass::UpstreamNotFound
    } else if mentions_any(&["operation not allowed"]) {
        FaultClass::UpstreamPermission
    } else {
        FaultClass::BadRequest
    }
}
