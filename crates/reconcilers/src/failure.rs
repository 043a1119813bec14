//! Turns errors of the store into faults that a caller of the API can act on.

use domain::{Fault, FaultClass};
use store::StoreError;

/// A store error in the API's words. An internal error is logged with its cause and answered as a 500.
pub fn of_store(error: StoreError) -> Box<Fault> {
    let fault = match error {
        StoreError::NotFound { what } => Fault::new(
            FaultClass::NotFound,
            "not_found",
            format!("There is no such {what} in this workspace."),
        )
        .fix("Check the id: it may be of another workspace, or of something that was deleted."),
        StoreError::Conflict { what: "legal_hold", detail, .. } => {
            Fault::new(FaultClass::Conflict, "legal_hold", sentence(&detail))
                .fix("An admin releases it with DELETE /v2/legal-holds/{id}; then send the request again.")
        }
        StoreError::Conflict { what: "rules_changed", detail, .. } => {
            Fault::new(FaultClass::Conflict, "rules_changed", sentence(&detail)).fix("Send it again.")
        }
        StoreError::Conflict { what, detail, existing } => {
            // Some details already name the other object.
            let unnamed = existing.filter(|id| !detail.contains(id.as_str()));
            let other = unnamed.map(|id| format!(" It is {id}.")).unwrap_or_default();
            Fault::new(FaultClass::Conflict, what, format!("{}{other}", sentence(&detail)))
                .fix(fix_of_conflict(what))
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

/// What helps against a conflict, for each code of one that another value alone does not solve.
const FIXES: &[(&[&str], &str)] = &[
    (&["name_taken"], "Choose another name, or rename or delete what has this one."),
    (&["email_taken"], "Choose another email."),
    (&["already_member"], "Change that member, or give another email."),
    (&["last_owner"], "Make another member an owner, then send it again."),
    (&["project_not_empty", "workspace_not_empty"], "Delete or revoke what is in it, then send it again."),
    (
        &["usage_not_recorded"],
        "Wait until they have ended, or cancel them, and send it again. A revoked credential can be deleted, but their usage is then never recorded.",
    ),
    (&["policy_exists"], "Change that policy, and add no other."),
    (&["secret_version"], "Read it again, then rotate its secret if that is still needed."),
    (&["sealing_key_replaced", "master_key_retired", "purge_not_counted"], "Send it again in a moment."),
    (&["rotation_under_way"], "Wait until that is done."),
    (&["rotation_not_finalized"], "Run `tidegate vault finalize`, then send it again."),
    (&["master_key_used"], "Choose a new master key."),
    (&["base_url_needs_secret"], "Send the secret and the base_url together."),
    (&["credential_revoked"], "Add another with POST /v2/provider-credentials."),
    (&["not_joined"], "Remove the node if it may no longer be used."),
    (&["referenced"], "Check the ids that you sent, and delete what refers to this object first."),
    (&["text_has_nul"], "Remove that character from the text."),
    (&["too_many_branches", "branch_full", "forked_too_often"], "Open another session."),
    (&["fork_beyond_branch"], "Send that version or an earlier one."),
    (&["snapshot_too_long"], "Take a snapshot of an earlier version."),
    (&["artifact_revoked"], "Make another artifact with its content."),
    (&["too_many_releases"], "Create another alias."),
    (&["too_many_agents"], "Delete an agent, or create another one in place of more versions."),
    (&["too_many_alert_rules", "too_many_aliases", "too_many_webhooks"], DELETE_ONE),
    (&["too_many_hints", "too_many_tools"], DELETE_ONE),
    (&["flow_run_ended"], "Start another run, or retry this one from a step."),
    (&["flow_run_not_ended"], "Wait until it has ended, or cancel it."),
    (&["flow_runs_waiting"], "Wait until others have ended, or cancel one."),
    (&["flow_step_not_waiting"], "Get the run to see what it waits for."),
];
const DELETE_ONE: &str = "Remove one that is no longer needed, then send it again.";

fn fix_of_conflict(code: &str) -> &'static str {
    let found = FIXES.iter().find(|(codes, _)| codes.contains(&code));
    found.map_or("Change or delete the one that is in the way, or choose another value.", |(_, fix)| *fix)
}

/// A detail as a whole sentence.
fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// The database can't be reached; the request may be retried.
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
    fn a_conflict_is_told_in_a_sentence_with_what_helps() {
        let of = |code, detail: &str| of_store(StoreError::conflict(code, detail, None));
        let last = of("last_owner", "this is the workspace's last owner; make another member an owner first");
        assert_eq!(last.message, "This is the workspace's last owner; make another member an owner first.");
        assert!(last.fix.is_some_and(|fix| fix.contains("then send it again")));
        let taken = of("already_exists", "an object with this id or name exists already");
        assert!(taken.fix.is_some_and(|fix| fix.contains("in the way")));
    }

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
