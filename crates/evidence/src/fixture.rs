//! An installation for tests, in a directory of its own.

use domain::{CachePolicy, ProjectId, WorkspaceId};
use snapshot::WrappedKey;
use store::{Act, Foundation, Founding, ProjectRow, Store, WorkspaceRow};
use world::World;

pub(crate) async fn founded(dir: &std::path::Path) -> Store {
    let workspace = WorkspaceId::new(1, [1; 10]);
    let key = |workspace| WrappedKey { workspace, key_id: "wk".into(), wrapped: vec![1] };
    let foundation = Foundation {
        meta: Vec::new(),
        operator_key: key(vault::OPERATOR),
        founding: Founding {
            workspace: WorkspaceRow {
                caching: CachePolicy::default(),
                id: workspace,
                name: "one".into(),
                created_unix_ms: 1,
                version: 0,
            },
            wrapped_key: key(workspace),
            project: ProjectRow {
                origins: String::new(),
                caching: CachePolicy::default(),
                id: ProjectId::new(1, [1; 10]),
                workspace,
                name: "one".into(),
                environment: "production".into(),
                metadata: store::Json::Null,
                created_unix_ms: 1,
                version: 0,
            },
            keys: Vec::new(),
        },
        act: Act::system(&World::system()),
    };
    Store::create(&dir.join("t.db"), foundation).await.unwrap()
}
