//! The words of a fault for a client, whichever dialect it speaks, and whether it may try again.

use domain::limits::RETRY_AFTER_SENT_MAX;
use domain::{Fault, FaultClass, Profile, TraceId, UpstreamReport};

/// The value of `x-should-retry`. SDKs retry 408, 409, 429 and 5xx on their own, so this stops them where a
/// retry can't help; that includes waits longer than `retry-after` may say.
pub fn should_retry(fault: &Fault) -> Option<bool> {
    let hopeless = matches!(fault.class, FaultClass::UpstreamAuth | FaultClass::UpstreamQuota);
    let too_long = fault.retry_after_ms.is_some_and(|wait| wait > sent_ms_max());
    if hopeless || too_long { Some(false) } else { fault.should_retry }
}

/// Whether sending the same request again may help.
pub fn is_retryable(fault: &Fault) -> bool {
    let class = matches!(
        fault.class,
        FaultClass::ClientTimeout
            | FaultClass::RateLimit
            | FaultClass::Overloaded
            | FaultClass::Timeout
            | FaultClass::Upstream
            | FaultClass::StreamBroken
            | FaultClass::Deadline
            | FaultClass::Unavailable
            | FaultClass::Internal
            | FaultClass::Limited
    );
    should_retry(fault).unwrap_or(class)
}

/// The message for a human, in one line: what is wrong, what to do, and the ids for support. SDKs show
/// nothing else.
pub fn message(fault: &Fault, trace: TraceId) -> String {
    let mut message = format!("{}{}", fault.message, wait_sentence(fault));
    if let Some(fix) = &fault.fix {
        message.push(' ');
        message.push_str(fix);
    }
    match fault.upstream.as_deref().and_then(upstream_id) {
        Some((provider, id)) => {
            message.push_str(&format!(" (request id: {trace}; {provider} calls it {id})"))
        }
        None => message.push_str(&format!(" (request id: {trace})")),
    }
    message
}

/// The provider, and its own request id for its support desk.
fn upstream_id(report: &UpstreamReport) -> Option<(&str, &str)> {
    let id = report.request_id.as_deref()?;
    let provider = match report.provider.as_str() {
        "" => "the provider",
        provider if provider == Profile::Byoc.as_str() => "the node",
        provider => provider,
    };
    Some((provider, id))
}

/// The actual wait, in the message where it is longer than the header may say.
pub fn wait_sentence(fault: &Fault) -> String {
    match fault.retry_after_ms {
        Some(wait) if wait > sent_ms_max() => format!(" Try again in {} s.", wait.div_ceil(1000)),
        _ => String::new(),
    }
}

/// The longest wait that a client is told to keep.
pub fn sent_ms_max() -> u64 {
    u64::try_from(RETRY_AFTER_SENT_MAX.as_millis()).unwrap_or(u64::MAX)
}
