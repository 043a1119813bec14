//! Entries of the audit for acts that change nothing: content that was opened.

use domain::Fault;
use reconcilers::of_store;

use crate::request::ApiRequest;
use crate::state::Control;

/// Records an act of the caller's in its workspace: before what it opens is shown.
///
/// # Errors
/// The entry could not be written, so that the act must not be done.
pub async fn record_act(
    control: &Control,
    request: &ApiRequest,
    action: &'static str,
    object: &str,
    detail: &str,
) -> Result<(), Box<Fault>> {
    let (act, workspace) = (request.act(&control.deps.world), request.workspace());
    let (object, detail) = (object.to_owned(), detail.to_owned());
    let writing = control.deps.store.database().note(move |writing| {
        Box::pin(async move { writing.audit(&act, Some(workspace), action, object, detail).await })
    });
    writing.await.map_err(of_store)
}
