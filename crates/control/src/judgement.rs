//! What a verification says of a credential: accepted, refused, or nothing, because the provider could not be asked or
//! refused something else than the secret.

use line::VerifyReport;

/// Whether the secret was accepted, and what went wrong, as a person reads it.
#[must_use]
pub fn of(report: &VerifyReport) -> (Option<bool>, Option<String>) {
    let Some(fault) = &report.fault else { return (Some(true), None) };
    (report.is_refused().then_some(false), Some(fault.to_string()))
}
