//! Who made the answer that a request is about or goes on from: looked for only where it names one.

use admit::Caller;
use decode::Call;
use domain::ports::ResponseName;

/// Under what it is looked for.
pub(crate) fn name(caller: &Caller, call: &Call) -> Option<ResponseName> {
    let id = call.request().stored.as_ref()?.id.clone();
    Some(ResponseName { workspace: caller.workspace().id, project: caller.project().id, id })
}
