//! A store with records of chosen months.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::*;
use ledger::{DrainBatch, JournalPosition, SettledRecords};
use snapshot::WrappedKey;
use store::{Act, Foundation, Founding, ProjectRow, Store, WorkspaceRow};
use tempfile::TempDir;
use world::World;

/// The starts of three months in UTC.
pub const SEPTEMBER: u64 = 1_756_684_800_000;
pub const OCTOBER: u64 = 1_759_276_800_000;
pub const NOVEMBER: u64 = 1_761_955_200_000;
pub const DAY: u64 = 86_400_000;

pub struct Books {
    pub store: Store,
    pub workspace: WorkspaceId,
    project: ProjectId,
    dir: TempDir,
    next: AtomicU64,
}

pub fn act(unix_ms: u64) -> Act {
    Act { unix_ms, ..Act::system(&World::system()) }
}

impl Books {
    /// The workspace was created in the middle of September.
    pub async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let created = SEPTEMBER + 14 * DAY;
        let (workspace, project) = (WorkspaceId::new(created, [1; 10]), ProjectId::new(created, [1; 10]));
        let key = |workspace, name: &str| WrappedKey { workspace, key_id: name.into(), wrapped: vec![1] };
        let foundation = Foundation {
            meta: Vec::new(),
            operator_key: key(store::jobs::INSTALLATION, "wk_operator"),
            founding: Founding {
                workspace: WorkspaceRow {
                    caching: domain::CachePolicy::default(),
                    id: workspace,
                    name: "one".into(),
                    created_unix_ms: created,
                    version: 0,
                },
                wrapped_key: key(workspace, "wk_one"),
                project: ProjectRow {
                    origins: String::new(),
                    caching: domain::CachePolicy::default(),
                    id: project,
                    workspace,
                    name: "first".into(),
                    environment: "production".into(),
                    metadata: Default::default(),
                    created_unix_ms: created,
                    version: 0,
                },
                keys: Vec::new(),
            },
            act: act(created),
        };
        let store = Store::create(&dir.path().join("t.db"), foundation).await.unwrap();
        Self { store, workspace, project, dir, next: AtomicU64::new(1) }
    }

    /// Books an exchange that started then, with a hundred tokens in and ten out.
    pub async fn book(&self, started_unix_ms: u64, profile: Profile, model: &str) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&number.to_be_bytes());
        let principal = match profile {
            Profile::ManagedProvider => Principal::Account(AccountId::new(1, [2; 10])),
            Profile::Byoc => Principal::Node(NodeId::new(1, [2; 10])),
            Profile::Byok | Profile::Subscription => Principal::Credential(CredentialId::new(1, [2; 10])),
        };
        let usage = Usage { input: 100, output: 10, source: UsageSource::Provider, ..Usage::default() };
        let attempt = AttemptRecord {
            number: 1,
            principal,
            provider: "openai".into(),
            upstream_model: model.into(),
            region: None,
            started_us: 1,
            duration_us: 1,
            status: Some(200),
            fault: None,
            upstream_request_id: None,
            usage,
            rates: Some(Rates { input: Price(3_000_001), output: Price(7_000_000), ..Rates::default() }),
            markup_bps: 333,
            charge: Charge::default(),
        };
        let mut record = MeterRecord {
            trace: TraceId::new(started_unix_ms, bytes),
            workspace: self.workspace,
            project: self.project,
            key: None,
            environment: "production".into(),
            started_unix_ms,
            finished_unix_ms: started_unix_ms + 5,
            operation: Operation::Chat,
            dialect: Dialect::Chat,
            stream: false,
            requested_model: model.into(),
            resolved_model: model.into(),
            outcome: Outcome::Completed,
            status: 200,
            fault: None,
            fault_code: None,
            principal: Some(principal),
            provider: "openai".into(),
            fallback_used: false,
            tag: None,
            usage,
            charge: Charge::default(),
            attempts: vec![attempt],
            plan: Default::default(),
            timeline: Timeline::default(),
            bytes_out: 1,
            drawn: Vec::new(),
            caching: None,
            reason: None,
            extras: domain::record::Extras::default(),
        };
        ledger::price::book(&mut record);
        let upto = JournalPosition { epoch: 1, segment: 1, offset: number };
        let records = SettledRecords::of(&[record]).unwrap();
        self.store.record_sink().apply(DrainBatch { core: 0, upto, records }).await.unwrap();
    }

    /// Modifies rows behind the store's back.
    pub async fn alter(&self, statement: &'static str) {
        use sqlx::ConnectOptions;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.dir.path().join("t.db"));
        let mut connection = options.connect().await.unwrap();
        let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{statement}");
    }
}
