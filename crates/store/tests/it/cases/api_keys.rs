//! API keys.

use snapshot::{IpNet, Scopes};
use store::ApiKeyRow;

use crate::Fresh;
use crate::samples::{act, api_key};

pub async fn a_key_is_found_changed_and_revoked_for_good(fresh: &Fresh) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let made = keys.create(api_key(workspace, fresh.founding.project.id, 5), None, act()).await.unwrap();
    let wanted =
        ApiKeyRow { name: "renamed".into(), digest: [9; 32], environment: "x".into(), ..made.row.clone() };
    let changed = keys.replace(wanted, Some(made.row.version), act()).await.unwrap().row;
    assert_eq!(changed.name, "renamed");
    assert_eq!(
        (changed.digest, &changed.environment),
        (made.row.digest, &made.row.environment),
        "the key itself stays"
    );
    let revoked = keys.revoke(workspace, made.row.id, None, act()).await.unwrap();
    assert!(revoked.row.revoked_unix_ms.is_some());
    let again = keys.revoke(workspace, made.row.id, None, act()).await.unwrap();
    assert_eq!(again.row, revoked.row);
    let touched =
        keys.replace(ApiKeyRow { revoked_unix_ms: None, ..again.row }, None, act()).await.unwrap().row;
    assert_eq!(touched.revoked_unix_ms, revoked.row.revoked_unix_ms, "nothing brings it back");
    let listed =
        keys.list(workspace, Some(fresh.founding.project.id), Default::default()).await.unwrap().rows;
    assert_eq!(listed.len(), 3);
}

pub async fn scopes_networks_and_expiry_read_back(fresh: &Fresh) {
    let (keys, workspace) = (fresh.store.api_keys(), fresh.founding.workspace.id);
    let row = ApiKeyRow {
        scopes: Scopes { inference: true, read: false, admin: true, operator: true },
        expires_unix_ms: Some(1_900_000_000_000),
        ip_allowlist: vec![
            IpNet { address: "10.1.2.0".parse().unwrap(), prefix_bits: 24 },
            IpNet { address: "2001:db8::".parse().unwrap(), prefix_bits: 32 },
        ],
        ..api_key(workspace, fresh.founding.project.id, 5)
    };
    let made = keys.create(row.clone(), None, act()).await.unwrap().row;
    let read = keys.get(workspace, row.id).await.unwrap();
    assert_eq!(read, made);
    assert_eq!(read, ApiKeyRow { version: made.version, ..row });
}
