//! API keys.

use domain::Sealed;
use snapshot::{IpNet, KeyChange, Scopes};
use store::ApiKeyRow;
use store::rotations::{Resealing, SealedRow, SealedThing};

use crate::samples::{Fresh, act};

pub async fn a_key_is_found_changed_and_revoked_for_good(fresh: &Fresh) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let made = keys.create((fresh.key(5), None), act()).await.unwrap();
    let (name, environment) = ("renamed".into(), "x".into());
    let wanted = ApiKeyRow { name, digest: [9; 32], environment, ..made.row.clone() };
    let changed = keys.replace(wanted, Some(made.row.version), act()).await.unwrap().row;
    assert_eq!(changed.name, "renamed");
    assert_eq!((changed.digest, &changed.environment), (made.row.digest, &made.row.environment), "it stays");
    let revoked = keys.delete(workspace, made.row.id, None, act()).await.unwrap();
    assert!(revoked.row.revoked_unix_ms.is_some());
    assert_eq!(keys.delete(workspace, made.row.id, None, act()).await.unwrap().row, revoked.row);
    let touched = keys
        .replace(ApiKeyRow { revoked_unix_ms: None, ..revoked.row.clone() }, None, act())
        .await
        .unwrap()
        .row;
    assert_eq!(touched.revoked_unix_ms, revoked.row.revoked_unix_ms, "nothing brings it back");
    let listed =
        keys.filter(workspace, Some(fresh.founding.project.id), Default::default()).await.unwrap().rows;
    assert_eq!(listed.len(), 3);
}

pub async fn scopes_networks_and_expiry_read_back(fresh: &Fresh) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let row = ApiKeyRow {
        scopes: Scopes { inference: true, read: false, admin: true, operator: true },
        expires_unix_ms: Some(1_900_000_000_000),
        priority: Some(200),
        origins: "https://a.example,https://b.example".into(),
        ip_allowlist: [("10.1.2.0", 24), ("2001:db8::", 32)]
            .map(|(address, prefix_bits)| IpNet { address: address.parse().unwrap(), prefix_bits })
            .into(),
        ..fresh.key(5)
    };
    let made = keys.create((row.clone(), None), act()).await.unwrap().row;
    let read = keys.get(workspace, row.id).await.unwrap();
    assert_eq!(read, made);
    assert_eq!(read, ApiKeyRow { version: made.version, ..row });
}

fn sealed(byte: u8, key_id: &str) -> Sealed {
    Sealed { version: 1, key_id: key_id.to_owned(), bytes: vec![byte; 40] }
}

pub async fn an_access_secret_is_in_the_snapshot_until_its_key_ends(fresh: &Fresh) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let row = ApiKeyRow { access_secret: Some(sealed(7, "wk_1")), ..fresh.key(5) };
    let before = fresh.store.source().load().await.unwrap().version;
    let made = keys.create((row.clone(), Some(sealed(8, "wk_1"))), act()).await.unwrap().row;
    assert_eq!(keys.get(workspace, row.id).await.unwrap(), made);
    assert_eq!(made.access_secret, row.access_secret);
    // A change of the key alone includes what is needed to open its secret.
    let secret_of = async |since| {
        let change = fresh.store.source().changes_since(since).await.unwrap();
        let floors: Vec<Sealed> = change.minimum_versions.into_iter().map(|floor| floor.sealed).collect();
        match &*change.keys {
            [KeyChange::Set(_, entry)] => (entry.access_secret.as_deref().cloned(), floors, change.version),
            other => panic!("{other:?}"),
        }
    };
    let (secret, floors, version) = secret_of(before).await;
    assert_eq!((secret, floors), (row.access_secret.clone(), vec![sealed(8, "wk_1")]));
    // Reseals it with another workspace key.
    let rotations = fresh.store.rotations();
    let left = rotations.list_sealed_otherwise(workspace, "wk_2".into()).await.unwrap();
    let old = SealedRow { thing: SealedThing::AccessKey(row.id), sealed: sealed(7, "wk_1") };
    assert!(left.contains(&old), "{left:?}");
    let resealing = Resealing { old: old.clone(), new: sealed(9, "wk_2") };
    assert_eq!(rotations.reseal(workspace, vec![resealing]).await.unwrap().row, 1);
    let (secret, _, version) = secret_of(version).await;
    assert_eq!(secret, Some(sealed(9, "wk_2")));
    assert!(!rotations.list_sealed_otherwise(workspace, "wk_2".into()).await.unwrap().contains(&old));
    let revoked = keys.delete(workspace, row.id, None, act()).await.unwrap().row;
    assert_eq!(revoked.access_secret, None);
    assert_eq!(keys.get(workspace, row.id).await.unwrap(), revoked);
    let (secret, floors, _) = secret_of(version).await;
    assert_eq!((secret, floors), (None, vec![]));
}
