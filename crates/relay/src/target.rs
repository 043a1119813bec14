//! Whether an answer began within the time that its client wished.

use http::header::{HeaderName, HeaderValue};

const TARGET_MET: HeaderName = HeaderName::from_static("agent-qos-target-met");

/// The header that tells it; `None` without a target.
pub fn target_met(is_met: Option<bool>) -> Option<(HeaderName, HeaderValue)> {
    Some((TARGET_MET, HeaderValue::from_static(if is_met? { "true" } else { "false" })))
}

/// The same of an error.
pub fn target_missed(has_target: bool) -> Option<(HeaderName, HeaderValue)> {
    has_target.then(|| (TARGET_MET, HeaderValue::from_static("false")))
}

#[cfg(test)]
mod tests {
    use domain::Qos;

    use super::*;

    #[test]
    fn a_target_is_met_up_to_its_time_and_by_no_error() {
        let qos = Qos { target_ttft_ms: Some(5), ..Qos::default() };
        let told = |header: Option<(HeaderName, HeaderValue)>| header.map(|(_, value)| value);
        assert_eq!(told(target_met(qos.meets_target(5_000))).unwrap(), "true");
        assert_eq!(told(target_met(qos.meets_target(5_001))).unwrap(), "false");
        assert_eq!(told(target_missed(true)).unwrap(), "false");
        assert_eq!(target_missed(false), None);
        assert_eq!(target_met(Qos::default().meets_target(0)), None);
    }
}
