//! Who made the answer that a request is about or goes on from: looked for only where it names one, and only for who was
//! let in, so that limits bound what ids of nobody cost.

use admit::{Admitted, Caller};
use decode::Call;
use domain::ports::ResponseName;

use crate::Core;

/// Under what it is looked for.
pub(crate) fn name(caller: &Caller, call: &Call) -> Option<ResponseName> {
    let id = call.request().stored.as_ref()?.id.clone();
    Some(ResponseName { workspace: caller.workspace().id, project: caller.project().id, id })
}

/// The call, with who it was that made the answer.
pub(crate) async fn found(core: &Core, mut admitted: Admitted, name: ResponseName) -> Admitted {
    let found = core.hands.responses.find(name).await;
    admitted.set_maker(found);
    admitted
}
