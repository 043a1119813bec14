//! A vault over a local master key, and an audit sink that records.

use std::sync::{Arc, Mutex};

use domain::ports::{AuditEntry, AuditSink};
use domain::{CredentialId, Secret, SecretOwner, WorkspaceId};
use vault::{KeyUpdate, LocalKeyWrap, MasterKey, Resealed, Vault, VaultRecords};
use world::{ManualClock, SeededRandom, SystemDisk, World};

#[derive(Default)]
pub struct Heard {
    pub entries: Mutex<Vec<AuditEntry>>,
    pub opened: Mutex<Vec<SecretOwner>>,
}

impl Heard {
    pub fn actions(&self) -> Vec<&'static str> {
        self.entries.lock().unwrap().iter().map(|entry| entry.action).collect()
    }
}

impl AuditSink for Heard {
    fn record(&self, entry: AuditEntry) {
        self.entries.lock().unwrap().push(entry);
    }

    fn secret_opened(&self, of: SecretOwner) {
        self.opened.lock().unwrap().push(of);
    }
}

pub struct Bench {
    pub vault: Vault,
    pub wrap: Arc<LocalKeyWrap>,
    pub records: VaultRecords,
    pub heard: Arc<Heard>,
    pub clock: Arc<ManualClock>,
    pub world: World,
}

pub fn workspace(number: u8) -> WorkspaceId {
    WorkspaceId::new(1_700_000_000_000, [number; 10])
}

pub fn credential(number: u8) -> String {
    CredentialId::new(1_700_000_000_000, [number; 10]).to_string()
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub fn bench() -> Bench {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let world =
        World { clock: clock.clone(), random: Arc::new(SeededRandom::new(7)), disk: Arc::new(SystemDisk) };
    let master = MasterKey::generate(&*world.random);
    let wrap = Arc::new(LocalKeyWrap::new(&master, world.random.clone()).unwrap());
    let heard = Arc::new(Heard::default());
    let (vault, records) = run(async {
        let records = Vault::create(&*wrap, &*world.random).await.unwrap();
        let vault = Vault::open(wrap.clone(), &records, &world, heard.clone()).await.unwrap();
        (vault, records)
    });
    Bench { vault, wrap, records, heard, clock, world }
}

/// With the key of workspace 1, and the id of a credential there.
pub fn with_workspace() -> (Bench, String) {
    let b = bench();
    b.add_workspace(workspace(1));
    (b, credential(1))
}

impl Bench {
    pub fn add_workspace(&self, id: WorkspaceId) -> (String, Vec<u8>) {
        run(self.vault.sealer.new_workspace_key(id)).unwrap()
    }

    pub fn seal(&self, id: WorkspaceId, object: &str, version: u32, text: &str) -> Resealed {
        self.vault.sealer.seal(id, object, version, &Secret::from_text(text.into())).unwrap()
    }

    /// What the snapshot's keeper does with a version that contains this secret.
    pub fn publish(&self, id: WorkspaceId, object: &str, secret: &Resealed) -> vault::UpdateFailures {
        run(self.vault.opener.learn(KeyUpdate {
            keys: Vec::new(),
            floors: vec![(id, object.into(), secret.floor.clone())],
            current: vec![(id, object.into(), secret.sealed.version)],
        }))
    }
}
