//! Who made what a request is about or goes on from: looked for only where it names something, and only for who was let
//! in, so that limits bound what ids of nobody cost.

use admit::{Admitted, Caller};
use decode::Call;
use domain::ports::{FoundResponse, ResponseName, StoredResponse};
use domain::{FoundObject, KeptId, KeptOwner};

use crate::Core;

/// Under what it is looked for.
pub(crate) enum Name {
    /// An answer, by its provider's own id.
    Answer(ResponseName),
    /// Something else, by a name of ours; `None` where it is none.
    Kept(KeptOwner, Option<KeptId>),
}

pub(crate) fn name(caller: &Caller, call: &Call) -> Option<Name> {
    let id = &call.request().stored.as_ref()?.id;
    let (workspace, project) = (caller.workspace().id, caller.project().id);
    if call.operation().is_kept() {
        // One kind's name means nothing where another's is read.
        let id = id.parse().ok().filter(|id: &KeptId| Some(id.kind) == call.names_kind());
        return Some(Name::Kept(KeptOwner { workspace, project }, id));
    }
    Some(Name::Answer(ResponseName { workspace, project, id: id.clone() }))
}

/// The call, with who it was that made it.
pub(crate) async fn found(core: &Core, mut admitted: Admitted, name: Name) -> Admitted {
    let found = match name {
        Name::Answer(name) => core.hands.responses.find(name).await,
        Name::Kept(_, None) => FoundResponse::Unknown,
        Name::Kept(owner, Some(id)) => match core.hands.objects.find(owner, id).await {
            FoundObject::Known(object) => {
                admitted.set_name_at_maker(object.provider_id);
                FoundResponse::Known(StoredResponse {
                    request: object.request,
                    maker: object.maker,
                    model: object.model,
                    upstream_model: object.upstream_model,
                    is_booked: object.is_booked,
                })
            }
            FoundObject::Unknown => FoundResponse::Unknown,
            FoundObject::Away => FoundResponse::Away,
        },
    };
    admitted.set_maker(found);
    admitted
}
