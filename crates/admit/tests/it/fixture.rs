//! A workspace with keys of every kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalogue::Catalogue;
use domain::ports::KeyHash;
use domain::{KeyId, ProjectId, Sealed, SideCall, SideCallPurpose, TraceId, WorkspaceId, api_key};
use snapshot::{IpNet, KeyEntry, Parts, ProjectEntry, Scopes, Snapshot, WorkspaceEntry};

pub const NOW_UNIX_MS: u64 = 1_800_000_000_000;

/// An identity function instead of a hash, which is enough to find keys; counts its calls.
#[derive(Default)]
pub struct Plain {
    calls: AtomicU64,
}

impl Plain {
    pub fn take_calls(&self) -> u64 {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

impl KeyHash for Plain {
    fn digest(&self, presented: &str) -> [u8; 32] {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(presented.bytes().rev()) {
            *to = from;
        }
        digest
    }
}

/// The text of a key by its number.
pub fn text(number: u8) -> String {
    api_key::encode(true, &[number; 32])
}

pub fn side_call() -> SideCall {
    SideCall { purpose: SideCallPurpose::ContextCache, parent: TraceId::new(1, [3; 10]) }
}

pub fn key_id(number: u8) -> KeyId {
    KeyId::new(u64::from(number), [1; 10])
}

pub fn project_id(number: u8) -> ProjectId {
    ProjectId::new(u64::from(number), [2; 10])
}

pub fn workspace_id() -> WorkspaceId {
    WorkspaceId::new(1, [3; 10])
}

pub const INFERENCE: Scopes = Scopes { inference: true, read: false, admin: false, operator: false };
pub const READ: Scopes = Scopes { inference: false, read: true, admin: false, operator: false };
pub const ADMIN: Scopes = Scopes { inference: false, read: false, admin: true, operator: false };
pub const OPERATOR: Scopes = Scopes { inference: false, read: false, admin: false, operator: true };

/// Gives the key an access secret.
fn add_access_secret(entry: &mut KeyEntry) {
    let sealed = Sealed { version: 1, key_id: "wk_1".into(), bytes: vec![7] };
    entry.access_secret = Some(Arc::new(sealed));
}

fn give_to_a_page(entry: &mut KeyEntry) {
    entry.origins = "https://app.example".into();
    add_access_secret(entry);
}

/// Keys 1 to 4: one scope each; 1, 2, 5 and 7 have access keys. 2: with a list of origins. 5: expired. 6: revoked. 7: only from
/// 10.0.0.0/8. 8: of a deleted project. 9: another environment than its project's.
pub fn snapshot() -> Arc<Snapshot> {
    snapshot_by(&Arc::default())
}

/// The same, with keys looked up by this hash.
pub fn snapshot_by(hash: &Arc<Plain>) -> Arc<Snapshot> {
    let entry = |number: u8, scopes: Scopes, change: fn(&mut KeyEntry)| {
        let mut entry = KeyEntry {
            origins: "".into(),
            id: key_id(number),
            workspace: workspace_id(),
            project: project_id(1),
            environment: "production".into(),
            scopes,
            expires_unix_ms: None,
            revoked: false,
            ip_allowlist: Vec::new(),
            priority: None,
            access_secret: None,
        };
        change(&mut entry);
        (hash.digest(&text(number)), Arc::new(entry))
    };
    let project = ProjectEntry {
        origins: "".into(),
        legal_hold: None,
        retention: None,
        policy: None,
        caching: domain::CachePolicy::default(),
        id: project_id(1),
        workspace: workspace_id(),
        name: "p".into(),
        environment: "production".into(),
    };
    let workspace = WorkspaceEntry {
        id: workspace_id(),
        name: "w".into(),
        projects: vec![Arc::new(project)],
        credentials: Vec::new(),
        nodes: Vec::new(),
        routes: Vec::new(),
        aliases: Vec::new(),
        hints: Vec::new(),
        terms: None,
        caching: domain::CachePolicy::default(),
    };
    Arc::new(Snapshot::assemble(Parts {
        version: 3,
        keys: vec![
            entry(1, INFERENCE, add_access_secret),
            entry(2, READ, give_to_a_page),
            entry(3, ADMIN, |_| {}),
            entry(4, OPERATOR, |_| {}),
            entry(5, INFERENCE, |entry| {
                entry.expires_unix_ms = Some(NOW_UNIX_MS);
                add_access_secret(entry);
            }),
            entry(6, INFERENCE, |entry| {
                entry.revoked = true;
                entry.expires_unix_ms = Some(1);
            }),
            entry(7, INFERENCE, |entry| {
                entry.ip_allowlist = vec![IpNet { address: "10.0.0.0".parse().unwrap(), prefix_bits: 8 }];
                add_access_secret(entry);
            }),
            entry(8, INFERENCE, |entry| entry.project = project_id(2)),
            entry(9, INFERENCE, |entry| entry.environment = "staging".into()),
        ],
        workspaces: vec![Arc::new(workspace)],
        accounts: Vec::new(),
        catalogue: Arc::new(Catalogue::embedded().unwrap()),
        key_hash: hash.clone(),
    }))
}
