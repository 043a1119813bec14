//! Writes errors in Bedrock's format, for Converse clients.

use bytes::Bytes;
use conversation::fault_text::message;
use conversation::status::common;
use domain::{Fault, FaultClass, TraceId};
use serde::Serialize;

#[derive(Serialize)]
struct Body<'a> {
    message: &'a str,
}

/// The body of an error response, or the payload of an exception in a stream.
pub fn error_body(fault: &Fault, trace: TraceId) -> Bytes {
    let message = message(fault, trace);
    Bytes::from(serde_json::to_vec(&Body { message: &message }).unwrap_or_default())
}

/// The value of `x-amzn-errortype`: AWS's SDKs turn it into an exception.
pub const fn error_type(fault: &Fault) -> &'static str {
    match fault.class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContextLength
        | FaultClass::ContentPolicy
        | FaultClass::MediaType
        | FaultClass::NotAcceptable
        | FaultClass::Gone
        | FaultClass::Precondition
        | FaultClass::ClientTimeout => "ValidationException",
        FaultClass::Unauthenticated => fault_of_key(fault.code),
        FaultClass::Forbidden | FaultClass::UpstreamPermission => "AccessDeniedException",
        FaultClass::NotFound | FaultClass::UpstreamNotFound => "ResourceNotFoundException",
        FaultClass::MethodNotAllowed => "UnknownOperationException",
        FaultClass::Conflict => "ConflictException",
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => "ServiceQuotaExceededException",
        FaultClass::RateLimit | FaultClass::Limited | FaultClass::BudgetReached => "ThrottlingException",
        FaultClass::Overloaded | FaultClass::Unavailable => "ServiceUnavailableException",
        FaultClass::Timeout | FaultClass::Deadline => "ModelTimeoutException",
        FaultClass::UpstreamAuth | FaultClass::Upstream | FaultClass::StreamBroken => "ModelErrorException",
        FaultClass::Cancelled | FaultClass::Internal => "InternalServerException",
    }
}

/// AWS has a separate exception for each way in which a credential can be invalid.
const fn fault_of_key(code: &str) -> &'static str {
    match code.as_bytes() {
        b"missing_api_key" => "MissingAuthenticationTokenException",
        b"incomplete_signature" => "IncompleteSignatureException",
        b"invalid_signature" | b"signature_expired" => "InvalidSignatureException",
        b"expired_api_key" => "ExpiredTokenException",
        _ => "UnrecognizedClientException",
    }
}

/// An event stream can carry five exceptions.
pub(super) const fn exception(class: FaultClass) -> &'static str {
    match class {
        FaultClass::BadRequest
        | FaultClass::Unsupported
        | FaultClass::TooLarge
        | FaultClass::ContextLength
        | FaultClass::ContentPolicy => "validationException",
        FaultClass::UpstreamQuota
        | FaultClass::CreditsRequired
        | FaultClass::RateLimit
        | FaultClass::Limited
        | FaultClass::BudgetReached => "throttlingException",
        FaultClass::Overloaded | FaultClass::Unavailable => "serviceUnavailableException",
        FaultClass::UpstreamAuth
        | FaultClass::UpstreamPermission
        | FaultClass::UpstreamNotFound
        | FaultClass::Upstream
        | FaultClass::StreamBroken
        | FaultClass::Timeout
        | FaultClass::Deadline => "modelStreamErrorException",
        _ => "internalServerException",
    }
}

/// AWS uses other statuses here, and its SDKs do not retry them, which would not help anyway.
const fn of_converse(class: FaultClass) -> Option<u16> {
    match class {
        FaultClass::Unauthenticated => Some(403),
        FaultClass::UpstreamQuota | FaultClass::CreditsRequired => Some(400),
        FaultClass::UpstreamAuth => Some(424),
        _ => None,
    }
}

/// The status code for a fault.
pub fn status(fault: &Fault) -> u16 {
    of_converse(fault.class).unwrap_or_else(|| common(fault))
}
