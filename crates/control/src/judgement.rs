//! What a verification says of a credential: accepted, refused, or nothing, because the provider could not be asked.

use domain::FaultClass;
use line::VerifyReport;

/// Whether the secret was accepted, and what went wrong, as a person reads it.
#[must_use]
pub fn of(report: &VerifyReport) -> (Option<bool>, Option<String>) {
    let Some(fault) = &report.fault else { return (Some(true), None) };
    let refused = matches!(fault.class, FaultClass::UpstreamAuth | FaultClass::UpstreamPermission);
    (refused.then_some(false), Some(fault.to_string()))
}
