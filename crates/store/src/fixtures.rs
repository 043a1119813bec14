//! For tests and benchmarks: faults injected around a commit, a full disk, and bulk insertion of keys.

use database::error::StoreError;
pub use database::fixtures::{CommitFault, CommitFaults};
use domain::{KeyId, ProjectId, WorkspaceId};
use snapshot::Scopes;

use crate::api_keys::ApiKeyRow;
use crate::handle::Store;
use crate::sql::api_keys;

/// Inserts keys that no client holds.
pub async fn add_keys(
    store: &Store,
    workspace: WorkspaceId,
    project: ProjectId,
    count: u64,
) -> Result<(), StoreError> {
    let rows = (0..count).map(|number| {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        // The digests are spread like those of real keys, since lookups are by their bytes; no two are equal.
        let words = [1, 2, 3, 4].map(|word| spread(number * 4 + word).to_be_bytes());
        ApiKeyRow {
            origins: String::new(),
            id: KeyId::new(1, [a, b, c, d, e, f, g, h, 0, 0]),
            workspace,
            project,
            name: format!("key {number}"),
            digest: std::array::from_fn(|index| words.as_flattened().get(index).copied().unwrap_or(0)),
            last4: "none".into(),
            environment: "production".into(),
            scopes: Scopes { inference: true, ..Scopes::default() },
            expires_unix_ms: None,
            ip_allowlist: Vec::new(),
            priority: None,
            revoked_unix_ms: None,
            access_secret: None,
            created_by: None,
            created_unix_ms: 1,
            version: 0,
        }
    });
    api_keys::put_many(&store.database, rows.collect()).await
}

/// Lets SQLite's file grow by at most this many pages, as if the disk were full then; `None` lifts the bound.
/// A writer connection that was reopened meanwhile has no bound any more.
///
/// # Errors
/// If the database can't be queried, or is not SQLite.
pub async fn leave_room(store: &Store, pages: Option<u32>) -> Result<(), StoreError> {
    store.database.leave_room(pages).await
}

const fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
