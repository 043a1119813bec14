//! Kept answers, turns, tasks and responses as they are read by others than their clients.

use bytes::Bytes;
use domain::kept_names::parted;
use domain::ports::StoredAnswer;
use domain::{KeptName, Sealed};
use serde_json::Value;
use store::{Store, StoreError, TurnLookup};
use vault::{ContentRef, Vault};
use world::World;

use crate::packing::{unpack, unpack_turn};

/// The state of a turn, or a task or answer that is stored with turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedTurn {
    /// `None` for the state of a turn, which its tool calls find.
    pub name: Option<KeptName>,
    pub content: Bytes,
}

/// `None` where it does not open, which is audited.
pub fn open_answer(vault: &Vault, content: &ContentRef, sealed: &Sealed) -> Option<StoredAnswer> {
    unpack(vault.opener.open_content(content, sealed).ok()?.expose())
}

/// `None` where it does not open, which is audited.
pub fn open_turn(vault: &Vault, content_ref: &ContentRef, sealed: &Sealed) -> Option<OpenedTurn> {
    let (calls, content) = unpack_turn(vault.opener.open_content(content_ref, sealed).ok()?.expose())?;
    let name = calls
        .first()
        .and_then(|first| KeptName::all().find(|name| digest_of(vault, content_ref, *name) == *first));
    Some(OpenedTurn { name, content })
}

fn digest_of(vault: &Vault, of: &ContentRef, name: KeptName) -> [u8; 32] {
    vault.requests.of_call(of.workspace, of.project, &name.of(of.request))
}

/// The whole content of an answer of `/v1/responses`, of which this is the first part. `None` where a part is gone.
pub async fn whole_response(
    store: &Store,
    vault: &Vault,
    world: &World,
    of: &ContentRef,
    first: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((head, content)) = parted(first) else { return Ok(None) };
    let head: Option<Value> = serde_json::from_slice(head).ok();
    let bytes = head.as_ref().and_then(|head| head.get("bytes")?.as_u64());
    let mut content = content.to_vec();
    let mut number = 1;
    while (content.len() as u64) < bytes.unwrap_or_default() {
        let name = KeptName::ResponsePart(number);
        let lookup = TurnLookup {
            workspace: of.workspace,
            project: of.project,
            calls: vec![digest_of(vault, of, name)],
            now_unix_ms: world.clock.unix_ms(),
            bytes_max: u64::MAX / 2,
        };
        let rows = store.kept_turns().find(lookup).await?;
        let row = rows.into_iter().find(|row| row.request == of.request);
        let part =
            row.and_then(|row| open_turn(vault, &ContentRef { digest: row.digest, ..*of }, &row.sealed));
        let Some(part) = part.filter(|part| !part.content.is_empty()) else { return Ok(None) };
        content.extend_from_slice(&part.content);
        number += 1;
    }
    Ok(Some(content))
}
