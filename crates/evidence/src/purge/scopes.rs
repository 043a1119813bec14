//! What a target means in a database: for a key, a session or an end user, the requests that its records name, too.

use domain::WorkspaceId;
use domain::limits::{PAGE_ROWS_MAX, PURGE_REQUESTS_READ_MAX};
use domain::purge::{PurgeError, PurgeScope, Purged, first_request_at};
use store::{Page, RequestFilter, Store};

use super::PurgeTarget;

/// The scopes of a target that was named at a time.
///
/// # Errors
/// Too many requests are of it, or the database does not answer.
pub async fn scopes(
    store: &Store,
    target: &PurgeTarget,
    workspace: WorkspaceId,
    requested_unix_ms: u64,
) -> Result<Vec<PurgeScope>, PurgeError> {
    let before = first_request_at(target.ends_unix_ms(requested_unix_ms));
    let several = target.session_ids.iter().map(|id| Purged::Session(id.clone()));
    let several = several.map(|what| PurgeScope { workspace, what, before });
    let mut scopes: Vec<_> = target.scope(workspace, requested_unix_ms).into_iter().chain(several).collect();
    if let Some(end_user) = target.end_user {
        let of_end_user = RequestFilter::of_end_user(end_user);
        add_requests(store, target, (workspace, requested_unix_ms), of_end_user, &mut scopes).await?;
    } else if scopes.is_empty() {
        let of_key = RequestFilter { key: target.key_id, ..RequestFilter::default() };
        add_requests(store, target, (workspace, requested_unix_ms), of_key, &mut scopes).await?;
    }
    for session in target.sessions() {
        let of_session = RequestFilter::of_session(session);
        add_requests(store, target, (workspace, requested_unix_ms), of_session, &mut scopes).await?;
    }
    Ok(scopes)
}

/// Adds the requests that a filter finds in the meter records.
async fn add_requests(
    store: &Store,
    target: &PurgeTarget,
    (workspace, requested_unix_ms): (WorkspaceId, u64),
    named: RequestFilter,
    scopes: &mut Vec<PurgeScope>,
) -> Result<(), PurgeError> {
    let filter = RequestFilter {
        since_unix_ms: target.from_unix_ms,
        until_unix_ms: Some(target.ends_unix_ms(requested_unix_ms)),
        ..named
    };
    let mut page = Page::first(PAGE_ROWS_MAX);
    loop {
        let listed = store.records().requests(workspace, filter.clone(), page.clone()).await?;
        let requests: Vec<_> = listed.rows.iter().map(|row| row.trace).collect();
        if !requests.is_empty() {
            scopes.push(PurgeScope::of(workspace, Purged::Requests(requests)));
        }
        if scopes.len() > PURGE_REQUESTS_READ_MAX / PAGE_ROWS_MAX as usize + target.session_ids.len() {
            return Err(PurgeError("There are too many requests: give a shorter time.".to_owned()));
        }
        page.after = listed.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}
