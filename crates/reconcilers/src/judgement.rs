//! The verdict of a credential's verification: accepted, refused, or unknown, because the provider could not
//! be reached or refused something other than the secret.

use line::VerifyReport;

/// Whether the secret was accepted, and what went wrong in readable words.
pub fn of(report: &VerifyReport) -> (Option<bool>, Option<String>) {
    let Some(fault) = &report.fault else { return (Some(true), None) };
    (report.is_refused().then_some(false), Some(fault.to_string()))
}
