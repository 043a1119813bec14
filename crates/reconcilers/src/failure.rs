//! Turns errors of the store into faults that a caller of the API can act on.

use domain::{Fault, FaultClass};
use store::StoreError;

/// A store error in the API's words. An internal error is logged with its cause and answered as a 500.
#[must_use]
pub fn of_store(error: StoreError) -> Box<Fault> {
    let fault = match error {
        StoreError::NotFound { what } => Fault::new(
            FaultClass::NotFound,
            "not_found",
            format!("There is no such {what} in this workspace."),
        )
        .fix("Check the id. A GET on the path without it lists what there is."),
        StoreError::Conflict { what: "legal_hold", detail, .. } => {
            Fault::new(FaultClass::Conflict, "legal_hold", format!("{detail}."))
                .fix("An admin releases it with DELETE /v2/legal-holds/{id}; then send the request again.")
        }
        StoreError::Conflict { what: "rules_changed", detail, .. } => {
            Fault::new(FaultClass::Conflict, "rules_changed", format!("{detail}.")).fix("Send it again.")
        }
        StoreError::Conflict { what, detail, existing } => {
            // Some details already name the other object.
            let unnamed = existing.filter(|id| !detail.contains(id.as_str()));
            let other = unnamed.map(|id| format!(" It is {id}.")).unwrap_or_default();
            Fault::new(FaultClass::Conflict, what, format!("{detail}.{other}"))
                .fix("Change or delete the one that is in the way, or choose another value.")
        }
        StoreError::Precondition { what, current } => Fault::new(
            FaultClass::Precondition,
            "version_mismatch",
            format!("The {what} was changed meanwhile; it is at \"v{current}\" now."),
        )
        .fix("Read it again, apply your change to that, and send its ETag in If-Match."),
        StoreError::Unavailable(cause) => {
            tracing::warn!(error = %cause, "the database did not answer");
            away()
        }
        StoreError::DiskRefuses(cause) => {
            tracing::error!(error = %cause, "the disk under the database takes no write");
            disk_refuses()
        }
        StoreError::Uncertain => away(),
        other => {
            tracing::error!(error = %other, "the store failed");
            Fault::internal()
        }
    };
    Box::new(fault)
}

/// The database can't be reached; the request may be retried.
#[must_use]
pub fn away() -> Fault {
    Fault::new(FaultClass::Unavailable, "database_unavailable", "The database is not available right now.")
        .fix("Inference goes on; send this request again in a moment.")
        .retry_after_ms(1_000)
}

/// The same code as the journal's refusal for a full disk: to a client it is one condition.
fn disk_refuses() -> Fault {
    Fault::new(
        FaultClass::Unavailable,
        "storage_full",
        "The gateway can't write its database: the disk is full or fails. Nothing was changed.",
    )
    .fix("Free space on the database's disk, then send this request again; no restart is needed.")
    .retry_after_ms(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_that_is_away_may_be_called_again() {
        for error in [StoreError::Uncertain, StoreError::Unavailable(sqlx::Error::PoolTimedOut)] {
            let fault = of_store(error);
            assert_eq!((fault.code, fault.retry_after_ms), ("database_unavailable", Some(1_000)));
        }
        let corrupt = of_store(StoreError::Corrupt { table: "nodes", detail: "no id".to_owned() });
        assert_eq!((corrupt.code, corrupt.retry_after_ms), ("internal_error", None));
    }
}
