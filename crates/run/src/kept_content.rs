//! Content that is kept under a name for a while, beside turns: answers of the responses grammar and native ones.

use std::time::Duration;

use admit::Caller;
use bytes::Bytes;
use domain::limits::KEPT_TURN_BYTES_MAX;
use domain::ports::StoredTurn;
use domain::{Fault, FaultClass, TraceId};
use line::Core;
use serde_json::Value;

/// Stores content under a name for a time, if the project's policy allows that; else says why it is not kept. `None` is
/// content that is too long.
pub(crate) async fn keep_as(
    core: &Core,
    caller: &Caller,
    request: TraceId,
    (name, kept_for): (String, Duration),
    content: Option<Vec<u8>>,
) -> Result<(), &'static str> {
    if caller.retains_nothing() {
        return Err("The project's policy doesn't allow storing content.");
    }
    let content = content.filter(|content| content.len() <= KEPT_TURN_BYTES_MAX);
    let content = content.ok_or("It is too long to store.")?;
    let turn = StoredTurn {
        workspace: caller.workspace().id,
        project: caller.project().id,
        request,
        calls: vec![name],
        content,
        kept_for,
        is_awaited: true,
    };
    // The client may read it from another process at once.
    core.deps.turns.keep(turn).await;
    Ok(())
}

/// What this project stored under a name.
pub(crate) async fn find_kept(core: &Core, caller: &Caller, name: String) -> Option<Value> {
    serde_json::from_slice(&find_kept_bytes(core, caller, name).await?).ok()
}

/// The same as it is stored.
pub(crate) async fn find_kept_bytes(core: &Core, caller: &Caller, name: String) -> Option<Bytes> {
    find_all_kept(core, caller, vec![name]).await.into_iter().flatten().next()
}

/// What this project stored under each of these names.
pub(crate) async fn find_all_kept(core: &Core, caller: &Caller, names: Vec<String>) -> Vec<Option<Bytes>> {
    core.deps.turns.find(caller.workspace().id, caller.project().id, names).await
}

pub(crate) fn not_deleted(what: &str) -> Box<Fault> {
    let message = format!("The {what} can't be deleted right now.");
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
}

pub(crate) fn store_away() -> Box<Fault> {
    let message = "The task store can't be reached right now.";
    let fault = Fault::new(FaultClass::Unavailable, "store_unavailable", message);
    Box::new(fault.fix("Send the request again in a moment.").retry_after_ms(1_000))
}
