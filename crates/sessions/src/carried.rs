//! State that a client carries itself, sealed for its project: nothing of it is stored here.

use domain::{ObjectOwner, Sealed, TraceId};
use proof::Digest;
use serde::{Deserialize, Serialize};
use transcripts::SealedContent;
use vault::Vault;

use crate::transcripts::{open_state, seal_state};

/// The generation of the seal: the content never changes.
const VERSION: u32 = 1;

/// What a client carries: what was sealed, and what is needed to open it beside its project.
#[derive(Serialize, Deserialize)]
struct Carried {
    request: TraceId,
    key_id: String,
    bytes: Vec<u8>,
}

/// The content is sealed under the request alone: there is one for each.
fn name_of(request: TraceId) -> [u8; 24] {
    let mut name = *b"carried/................";
    let (_, id) = name.split_at_mut(8);
    id.copy_from_slice(request.as_bytes());
    name
}

pub(crate) fn seal(
    vault: &Vault,
    (owner, request): (ObjectOwner, TraceId),
    content: &[u8],
) -> Option<Vec<u8>> {
    let (_, SealedContent { sealed, .. }) =
        seal_state(vault, (owner, request), &name_of(request), content).ok()?;
    let Sealed { version: VERSION, key_id, bytes } = sealed else { return None };
    postcard::to_stdvec(&Carried { request, key_id, bytes }).ok()
}

pub(crate) fn open(vault: &Vault, owner: ObjectOwner, carried: &[u8]) -> Option<Vec<u8>> {
    let (Carried { request, key_id, bytes }, rest) = postcard::take_from_bytes(carried).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let digest = Digest::of(&[&name_of(request)]).0;
    let sealed = Sealed { version: VERSION, key_id, bytes };
    let content = SealedContent { digest, project: owner.project, request, sealed };
    open_state(vault, owner.workspace, &content).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{bench, project, request, workspace};

    #[tokio::test]
    async fn what_a_client_carries_opens_unchanged_in_its_project_alone() {
        let bench = bench().await;
        let owner = |one, other| ObjectOwner { workspace: workspace(one), project: project(other) };
        let carried = seal(&bench.vault, (owner(1, 1), request(1)), b"they met").unwrap();
        assert_eq!(open(&bench.vault, owner(1, 1), &carried).as_deref(), Some(&b"they met"[..]));
        for other in [owner(1, 2), owner(2, 1), owner(2, 2)] {
            assert_eq!(open(&bench.vault, other, &carried), None, "{other:?}");
        }
        for at in 0..carried.len() {
            let mut changed = carried.clone();
            changed[at] ^= 1;
            assert_eq!(open(&bench.vault, owner(1, 1), &changed), None, "byte {at}");
        }
        assert_eq!(open(&bench.vault, owner(1, 1), &[&carried[..], b"x"].concat()), None);
        assert_eq!(open(&bench.vault, owner(1, 1), b""), None);
    }
}
