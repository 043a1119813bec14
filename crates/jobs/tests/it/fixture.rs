//! A fresh store that contains only the workspace that it was founded with.

use domain::{ProjectId, WorkspaceId};
use snapshot::WrappedKey;
use store::jobs::{INSTALLATION, JobClaim};
use store::{Act, Foundation, Founding, NewJob, ProjectRow, Store, WorkspaceRow};
use tempfile::TempDir;
use world::World;

pub const NOW: u64 = 1_760_000_000_000;

pub fn workspace(number: u8) -> WorkspaceId {
    WorkspaceId::new(NOW, [number; 10])
}

pub async fn store() -> (Store, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let id = workspace(1);
    let key = |workspace, name: &str| WrappedKey { workspace, key_id: name.into(), wrapped: vec![1] };
    let project = ProjectRow {
        origins: String::new(),
        caching: domain::CachePolicy::default(),
        id: ProjectId::new(NOW, [1; 10]),
        workspace: id,
        name: "first".into(),
        environment: "production".into(),
        metadata: serde_json::Value::Null,
        created_unix_ms: NOW,
        version: 0,
    };
    let caching = domain::CachePolicy::default();
    let foundation = Foundation {
        meta: Vec::new(),
        operator_key: key(INSTALLATION, "wk_operator"),
        founding: Founding {
            workspace: WorkspaceRow { id, name: "one".into(), caching, created_unix_ms: NOW, version: 0 },
            wrapped_key: key(id, "wk_one"),
            project,
            keys: Vec::new(),
        },
        act: Act::system(&World::system()),
    };
    (Store::create(&dir.path().join("t.db"), foundation).await.unwrap(), dir)
}

/// A worker's claim of as many jobs, of one workspace too.
pub fn claim(worker: String, unix_ms: u64, lease_ms: u64, limit: usize) -> JobClaim {
    let (running, after) = (Vec::new(), INSTALLATION);
    JobClaim { worker, unix_ms, lease_ms, limit, running, of_workspace_max: limit, after }
}

pub fn job(workspace: WorkspaceId, number: u64, unix_ms: u64) -> NewJob {
    let payload = serde_json::json!(number);
    NewJob { kind: "test", workspace, name: None, payload, run_unix_ms: unix_ms, every_ms: None, unix_ms }
}
