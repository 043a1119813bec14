//! Sample rows.

use std::sync::atomic::{AtomicU64, Ordering};

use domain::*;
use hardware::HardwareCost;
use ledger::SettledRecords;
use snapshot::{CredentialState, Scopes, WrappedKey};
use store::*;
use world::World;

pub use crate::Fresh;

pub const NOW: u64 = 1_760_000_000_000;

pub fn bytes(number: u64) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// An act that is a millisecond later than the one before it: ids of one millisecond sort by chance.
pub fn act() -> Act {
    static ACTS: AtomicU64 = AtomicU64::new(0);
    let world = World::system();
    let unix_ms = world.clock.unix_ms() + ACTS.fetch_add(1, Ordering::Relaxed);
    Act { id: AuditId::new(unix_ms, world.id_bytes()), unix_ms, ..Act::system(&world) }
}

pub fn workspace_id(number: u64) -> WorkspaceId {
    WorkspaceId::new(NOW, bytes(number))
}

pub fn sealed(version: u32, text: &str) -> Sealed {
    Sealed { version, key_id: "wk_1".into(), bytes: text.as_bytes().to_vec() }
}

pub fn secret(version: u32) -> SealedSecret {
    SealedSecret {
        sealed: sealed(version, &format!("sealed {version}")),
        floor: sealed(version, &format!("floor {version}")),
        fingerprint: format!("{version:016x}"),
    }
}

pub fn project(workspace: WorkspaceId, number: u64) -> ProjectRow {
    ProjectRow {
        origins: String::new(),
        caching: domain::CachePolicy::default(),
        id: ProjectId::new(NOW, bytes(number)),
        workspace,
        name: format!("project {number}"),
        environment: "production".into(),
        metadata: serde_json::json!({"team": number}),
        created_unix_ms: NOW,
        version: 0,
    }
}

pub fn api_key(workspace: WorkspaceId, project: ProjectId, number: u64) -> ApiKeyRow {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest[16..24].copy_from_slice(&number.to_be_bytes());
    ApiKeyRow {
        origins: String::new(),
        id: KeyId::new(NOW, bytes(number)),
        workspace,
        project,
        name: format!("key {number}"),
        digest,
        last4: "abcd".into(),
        environment: "production".into(),
        scopes: Scopes { inference: true, ..Scopes::default() },
        expires_unix_ms: None,
        ip_allowlist: Vec::new(),
        priority: None,
        revoked_unix_ms: None,
        access_secret: None,
        created_by: None,
        created_unix_ms: NOW,
        version: 0,
    }
}

pub fn founding(number: u64) -> Founding {
    let workspace = workspace_id(number);
    let project = project(workspace, number);
    let keys = (0..2).map(|key| api_key(workspace, project.id, number * 1_000 + key)).collect();
    Founding {
        workspace: WorkspaceRow {
            caching: domain::CachePolicy::default(),
            id: workspace,
            name: format!("workspace {number}"),
            created_unix_ms: NOW,
            version: 0,
        },
        wrapped_key: WrappedKey { workspace, key_id: "wk_1".into(), wrapped: vec![1, 2, 3] },
        project,
        keys,
    }
}

pub fn foundation() -> Foundation {
    let operator = WorkspaceId::from_uuid(Default::default());
    Foundation {
        meta: vec![("vault.seal_check".into(), vec![9])],
        operator_key: WrappedKey { workspace: operator, key_id: "wk_1".into(), wrapped: vec![4] },
        founding: founding(1),
        act: act(),
    }
}

/// An invitation that was accepted at once, without a link.
pub fn invitation(workspace: WorkspaceId, number: u64, role: Role) -> Invitation {
    let person = PersonRow {
        id: MemberId::new(NOW, bytes(number)),
        email: format!("person{number}@example.com"),
        name: format!("person {number}"),
        password_hash: None,
        created_unix_ms: NOW,
        version: 0,
    };
    let accepted_unix_ms = Some(NOW);
    let member = MemberRow { person, workspace, role, accepted_unix_ms, created_unix_ms: NOW, version: 0 };
    Invitation { member, link: None }
}

pub fn digest(number: u8) -> TokenDigest {
    [number; 32]
}

pub fn session(person: MemberId, number: u8) -> SignInRow {
    SignInRow {
        digest: digest(number),
        person,
        by_link: false,
        address: "127.0.0.1".into(),
        agent: "a test".into(),
        created_unix_ms: NOW,
        used_unix_ms: NOW,
        expires_unix_ms: NOW + 1_000,
    }
}

pub fn link(person: MemberId, workspace: Option<WorkspaceId>, number: u8) -> LinkRow {
    LinkRow { digest: digest(number), person, workspace, expires_unix_ms: u64::MAX >> 1 }
}

pub fn device(number: u8) -> DeviceRow {
    DeviceRow {
        digest: digest(number),
        user_code: digest(number + 100),
        client_name: format!("device {number}"),
        address: "127.0.0.1".into(),
        answer: None,
        polled_unix_ms: None,
        created_unix_ms: NOW,
        expires_unix_ms: u64::MAX >> 1,
    }
}

/// An agreement with every term stated.
pub fn agreement() -> Agreement {
    Agreement {
        limits: AgreedLimits {
            requests_per_minute: Some(10),
            tokens_per_minute: Some(20_000),
            requests_per_day: Some(1_000),
            concurrent_requests: Some(4),
            reserved_units: Some(50),
            tokens_per_minute_per_unit: Some(2_500),
        },
        retention: Some(Retention::Zero),
        commitment: Some(Commitment { amount_micros: 5_000_000, period: CommitmentPeriod::Quarter }),
        compliance: vec!["gdpr".into(), "hipaa".into()],
    }
}

pub fn credential(workspace: WorkspaceId, number: u64) -> CredentialRow {
    CredentialRow {
        server: domain::ServerFacts::default(),
        id: CredentialId::new(NOW, bytes(number)),
        workspace,
        provider: "openai".into(),
        display_name: format!("credential {number}"),
        auth: "api_key".into(),
        secret: secret(1),
        base_url: Some("https://one.example/v1".into()),
        region: Some("eu-west-1".into()),
        config: serde_json::json!({"deployments": {"gpt-4o": "mine"}}),
        pricing: vec![(
            "openai/gpt-4o".into(),
            Rates { input: Price(1), output: Price(2), cached_read: Some(Price(3)), ..Rates::default() },
        )],
        agreement: agreement(),
        metadata: serde_json::json!({"z": 1, "a": 2}),
        project: None,
        environment: None,
        state: CredentialState::Active,
        expires_unix_ms: Some(NOW + 1),
        last_verified_unix_ms: None,
        last_error: None,
        subscription: None,
        created_unix_ms: NOW,
        version: 0,
    }
}

pub fn account(number: u64) -> AccountRow {
    AccountRow {
        id: AccountId::new(NOW, bytes(number)),
        provider: "openai".into(),
        display_name: "pool".into(),
        auth: "api_key".into(),
        secret: secret(1),
        base_url: None,
        region: None,
        config: serde_json::Value::Null,
        pricing: vec![("openai/gpt-4o".into(), Rates { input: Price(7), ..Rates::default() })],
        agreement: Agreement { retention: Some(Retention::Days(30)), ..agreement() },
        metadata: serde_json::json!({}),
        models: Some(vec!["openai/gpt-4o".into()]),
        weight: 3,
        markup_bps: 250,
        allow_unpriced: true,
        disabled: false,
        last_verified_unix_ms: None,
        last_error: None,
        created_unix_ms: NOW,
        version: 0,
    }
}

pub fn node(workspace: WorkspaceId, number: u64) -> NodeRow {
    NodeRow {
        server: domain::ServerFacts::default(),
        id: NodeId::new(NOW, bytes(number)),
        workspace,
        name: format!("node {number}"),
        base_url: "http://127.0.0.1:8080/v1".into(),
        secret: Some(secret(1)),
        secret_version_last: 0,
        declared_models: None,
        learned_models: Vec::new(),
        labels: vec!["gpu".into()],
        cost: Some(HardwareCost::Cloud { nano_usd_per_hour: 7 }),
        cordoned: false,
        draining: false,
        reachable: true,
        metadata: serde_json::json!({}),
        last_seen_unix_ms: None,
        last_error: None,
        created_unix_ms: NOW,
        joined: None,
        version: 0,
    }
}

pub fn route(workspace: WorkspaceId, number: u64, scope: RouteScope) -> RouteRow {
    RouteRow {
        id: RouteId::new(NOW, bytes(number)),
        workspace,
        spec: RouteSpec { scope, ..RouteSpec::default() },
        created_unix_ms: NOW,
        version: 0,
    }
}

pub fn settled(records: impl IntoIterator<Item = MeterRecord>) -> SettledRecords {
    SettledRecords::of(&records.into_iter().collect::<Vec<_>>()).unwrap()
}

/// A completed managed exchange of one attempt.
pub fn record(workspace: WorkspaceId, project: ProjectId, number: u64) -> MeterRecord {
    let principal = Principal::Account(AccountId::new(NOW, bytes(1)));
    let usage = Usage {
        input: 100,
        cached_read: 20,
        output: 30,
        reasoning: 5,
        source: UsageSource::Provider,
        ..Usage::default()
    };
    let charge = Charge { cost: Nanos(1_500), provider_cost: Nanos(1_000), priced: Priced::Priced };
    let attempt = AttemptRecord {
        number: 1,
        principal,
        provider: "openai".into(),
        upstream_model: "gpt-4o".into(),
        region: Some("eu".into()),
        started_us: 10,
        duration_us: 1_000,
        status: Some(200),
        fault: None,
        upstream_request_id: Some("req_1".into()),
        usage,
        rates: Some(Rates::default()),
        markup_bps: 0,
        charge,
    };
    MeterRecord {
        trace: TraceId::new(NOW + number, bytes(number)),
        workspace,
        project,
        key: Some(KeyId::new(NOW, bytes(1_000))),
        environment: "production".into(),
        started_unix_ms: NOW + number,
        finished_unix_ms: NOW + number + 2,
        operation: Operation::Chat,
        dialect: Dialect::Chat,
        stream: false,
        requested_model: "gpt-4o".into(),
        resolved_model: "openai/gpt-4o".into(),
        outcome: Outcome::Completed,
        status: 200,
        fault: None,
        fault_code: None,
        principal: Some(principal),
        provider: "openai".into(),
        fallback_used: false,
        tag: None,
        usage,
        charge,
        attempts: vec![attempt],
        plan: PlanRecordOf::sample(),
        timeline: Timeline { settled_us: 2_000, first_byte_us: 900, ..Timeline::default() },
        bytes_out: 512,
        drawn: Vec::new(),
        caching: None,
        reason: None,
        extras: domain::record::Extras::default(),
    }
}

struct PlanRecordOf;

impl PlanRecordOf {
    fn sample() -> domain::record::PlanRecord {
        domain::record::PlanRecord {
            resolution: "catalogue".into(),
            snapshot_version: 3,
            ..Default::default()
        }
    }
}

/// All rows of a list that is read by pages of this many.
pub async fn all<Row, Id>(
    limit: u32,
    mut read: impl AsyncFnMut(Page<Id>) -> Result<Listed<Row, Id>, StoreError>,
) -> Vec<Row> {
    let (mut after, mut rows) = (None, Vec::new());
    loop {
        let listed = read(Page { limit, after }).await.unwrap();
        rows.extend(listed.rows);
        after = listed.next;
        if after.is_none() {
            return rows;
        }
    }
}

/// A job that is due.
pub fn new_job(kind: &'static str, workspace: WorkspaceId, name: Option<String>) -> NewJob {
    NewJob {
        kind,
        workspace,
        name,
        payload: serde_json::Value::Null,
        run_unix_ms: NOW,
        every_ms: None,
        unix_ms: NOW,
    }
}

pub async fn member(fresh: &Fresh, number: u64, role: Role) -> MemberId {
    let invitation = invitation(fresh.founding.workspace.id, number, role);
    fresh.store.people().create(invitation, act()).await.unwrap().row.person.id
}

/// What is not found.
#[track_caller]
pub fn missing<T>(result: Result<T, StoreError>) -> &'static str {
    match result.err() {
        Some(StoreError::NotFound { what }) => what,
        other => panic!("{other:?}"),
    }
}

/// The object that a conflict of this kind is with.
#[track_caller]
pub fn conflict<T>(result: Result<T, StoreError>, wanted: &str) -> Option<String> {
    match result.err() {
        Some(StoreError::Conflict { what, existing, .. }) if what == wanted => existing,
        other => panic!("not {wanted}: {other:?}"),
    }
}

/// A legal hold on each project, and the release of every hold.
pub const HOLD_PROJECTS: &str =
    "INSERT INTO legal_holds (id, workspace, scope, project, reason, created_by, created_unix_ms)
     SELECT id, workspace, 'project', id, 'a case', 'tests', 1 FROM projects";
pub const RELEASE: &str = "UPDATE legal_holds SET released_by = 'tests', released_unix_ms = 2";
