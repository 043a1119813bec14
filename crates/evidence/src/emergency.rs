//! Whether accounts that are kept for emergencies may serve, as entries of the audit: it is a setting of each gateway, which no
//! request changes.

use database::error::StoreError;
use database::meta;
use store::{Act, Store};
use world::World;

/// The facts that have what each gateway last allowed, each under the gateway's name.
const FACT: &str = "audit.emergency.";
const ALLOWED: &[u8] = b"1";

/// Writes an entry into the installation's chain where this gateway allows emergencies from now on, or no longer.
pub async fn audit_emergency(
    store: &Store,
    world: &World,
    gateway: &str,
    is_allowed: bool,
) -> Result<(), StoreError> {
    let (act, gateway, name) = (Act::system(world), gateway.to_owned(), format!("{FACT}{gateway}"));
    let before = store.meta().get(name.clone()).await?;
    if before.is_some_and(|value| value == ALLOWED) == is_allowed {
        return Ok(());
    }
    let work = store.database().note(move |writing| {
        Box::pin(async move {
            let (action, detail, value) = if is_allowed {
                ("emergency.allow", "accounts that are kept for emergencies may serve here", ALLOWED)
            } else {
                ("emergency.end", "accounts that are kept for emergencies serve here no longer", &b"0"[..])
            };
            writing.audit(&act, None, action, gateway, detail.to_owned()).await?;
            meta::put(writing, vec![(name, value.to_vec())]).await
        })
    });
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::founded;

    #[tokio::test]
    async fn an_entry_is_written_where_it_is_allowed_and_where_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (store, world) = (founded(dir.path()).await, World::system());
        for is_allowed in [false, true, true, false, false] {
            audit_emergency(&store, &world, "one", is_allowed).await.unwrap();
        }
        audit_emergency(&store, &world, "two", true).await.unwrap();
        let listed = store.audit().stretch(None, 1, 9).await.unwrap();
        let acts: Vec<_> = listed.iter().map(|row| (row.action.as_str(), row.object.as_str())).collect();
        assert_eq!(acts, [("emergency.allow", "one"), ("emergency.end", "one"), ("emergency.allow", "two")]);
    }
}
