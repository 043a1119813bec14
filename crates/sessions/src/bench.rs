//! Test fixture for the keepers: a vault, a store with two workspaces, and a manual clock.

use std::sync::Arc;
use std::time::Duration;

use domain::ports::NoAudit;
use domain::{ProjectId, TraceId, WorkspaceId};
use snapshot::WrappedKey;
use store::{Act, Foundation, Founding, ProjectRow, Store, WorkspaceRow};
use vault::{LocalKeyWrap, MasterKey, Vault};
use world::{ManualClock, SeededRandom, SystemDisk, World};

pub(crate) const NOW: u64 = 1_760_000_000_000;

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) world: World,
}

pub(crate) fn workspace(number: u8) -> WorkspaceId {
    WorkspaceId::new(NOW, [number; 10])
}

pub(crate) fn project(number: u8) -> ProjectId {
    ProjectId::new(NOW, [number; 10])
}

pub(crate) fn request(number: u8) -> TraceId {
    TraceId::new(NOW, [number; 10])
}

async fn founding(vault: &Vault, number: u8) -> Founding {
    let (key_id, wrapped) = vault.sealer.new_workspace_key(workspace(number)).await.unwrap();
    Founding {
        workspace: WorkspaceRow {
            caching: domain::CachePolicy::default(),
            id: workspace(number),
            name: format!("workspace {number}"),
            created_unix_ms: NOW,
            version: 0,
        },
        wrapped_key: WrappedKey { workspace: workspace(number), key_id, wrapped },
        project: ProjectRow {
            origins: String::new(),
            caching: domain::CachePolicy::default(),
            id: project(number),
            workspace: workspace(number),
            name: format!("project {number}"),
            environment: "production".into(),
            metadata: store::Json::Null,
            created_unix_ms: NOW,
            version: 0,
        },
        keys: Vec::new(),
    }
}

/// Two workspaces, 1 and 2, with one project each.
pub(crate) async fn bench() -> Bench {
    let clock = Arc::new(ManualClock::at(NOW));
    let world =
        World { clock: clock.clone(), random: Arc::new(SeededRandom::new(7)), disk: Arc::new(SystemDisk) };
    let master = MasterKey::generate(&*world.random);
    let wrap = Arc::new(LocalKeyWrap::new(&master, world.random.clone()).unwrap());
    let records = Vault::create(&*wrap, &*world.random).await.unwrap();
    let vault = Vault::open(wrap, &records, &world, Arc::new(NoAudit)).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let operator_key = WrappedKey { workspace: vault::OPERATOR, key_id: "wk".into(), wrapped: vec![1] };
    let foundation = Foundation {
        meta: records.to_meta(),
        operator_key,
        founding: founding(&vault, 1).await,
        act: Act::system(&world),
    };
    let store = Store::create(&dir.path().join("t.db"), foundation).await.unwrap();
    store.workspaces().create(founding(&vault, 2).await, Act::system(&world)).await.unwrap();
    Bench { dir, store, vault, clock, world }
}

impl Bench {
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance_us(u64::try_from(time.as_micros()).unwrap());
    }
}
