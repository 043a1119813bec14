//! A manually built serving core over real sockets: upstream emulators, a listener in front, and the books.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admit::{Caller, Needs};
use decode::Inbound;
use domain::ports::{NoAnswers, NoAudit, NoObjects, ObjectStore, PortFuture};
use domain::{
    AccountId, CredentialId, Dialect, KeyId, MeterRecord, NodeId, Operation, ProjectId, RouteId, RouteSpec,
    Secret, TraceId, WorkspaceId,
};
use execute::Deps;
use harness::client::{Answer, Client, Streaming};
use harness::{Config, Emulator};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ledger::{
    DrainBatch, Drainer, Journal, JournalPosition, JournalSettings, JournalShared, RecordSink, SinkError,
};
use line::{Core, Counters};
use serde_json::{Value, json};
use snapshot::entries::{
    AccountEntry, CredentialEntry, CredentialState, KeyEntry, NodeEntry, NodeState, ProjectEntry, RouteEntry,
    Scopes, WorkspaceEntry,
};
use snapshot::{Parts, Reader, Snapshot};
use tokio::net::TcpListener;
use vault::{KeyUpdate, LocalKeyWrap, MasterKey, Vault};
use world::{Disk, DiskFile, SystemDisk, World};

/// The sink of the records.
#[derive(Default)]
struct Books {
    records: Mutex<Vec<MeterRecord>>,
    positions: Mutex<HashMap<u32, JournalPosition>>,
}

impl RecordSink for Books {
    fn apply<'a>(&'a self, batch: DrainBatch) -> PortFuture<'a, Result<(), SinkError>> {
        self.records.lock().unwrap().extend(batch.records.decoded().map(|(_, record)| record));
        self.positions.lock().unwrap().insert(batch.core, batch.upto);
        Box::pin(async { Ok(()) })
    }

    fn position<'a>(&'a self, core: u32) -> PortFuture<'a, Result<Option<JournalPosition>, SinkError>> {
        let position = self.positions.lock().unwrap().get(&core).copied();
        Box::pin(async move { Ok(position) })
    }
}

/// A disk whose writes fail on demand.
pub struct FailingDisk {
    pub fails: Arc<AtomicBool>,
}

struct FailingFile {
    file: Box<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl DiskFile for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for FailingDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        SystemDisk.create_dir_all(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FailingFile { file: SystemDisk.open(path)?, fails: Arc::clone(&self.fails) }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
}

/// The configuration of the workspace.
#[derive(Default)]
pub struct Setup {
    /// Emulator keys of the workspace's own credentials, oldest first.
    pub own: Vec<&'static str>,
    /// Emulator keys of the operator's accounts.
    pub pool: Vec<&'static str>,
    /// A node that serves this model at this address.
    pub node: Option<(&'static str, String)>,
    /// The node's emulator key; without one nothing is sealed for it.
    pub node_key: Option<&'static str>,
    pub route: RouteSpec,
    /// The base URL of credentials and accounts in place of the emulator's.
    pub base_url: Option<String>,
    /// Additions to the catalogue.
    pub overlay: &'static str,
    /// Where stored objects are looked up; by default there are none.
    pub objects: Option<Arc<dyn ObjectStore>>,
}

impl Setup {
    pub fn own(keys: &[&'static str]) -> Self {
        Self { own: keys.to_vec(), ..Self::default() }
    }

    pub fn pool(mut self, keys: &[&'static str]) -> Self {
        self.pool = keys.to_vec();
        self
    }

    pub fn route(mut self, spec: RouteSpec) -> Self {
        self.route = spec;
        self
    }
}

/// The core under test with all around it.
pub struct Bench {
    pub emulator: Rc<Emulator>,
    pub client: Client,
    pub origin: String,
    pub core: Rc<Core>,
    pub workspace: Arc<WorkspaceEntry>,
    key: String,
    books: Arc<Books>,
    drainer: Arc<Drainer>,
    _dir: tempfile::TempDir,
}

pub const CHAT: &str = "/v1/chat/completions";
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const OWN_KEYS: [&str; 3] =
    ["sk-own-first-000000000", "sk-own-second-00000000", "sk-own-third-000000000"];
pub const POOL_KEYS: [&str; 2] = ["sk-pool-first-00000000", "sk-pool-second-0000000"];

/// Runs a test on the kind of runtime that a core has.
pub fn on_core<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

/// Runs a test on a bench.
pub fn on_bench(setup: Setup, test: impl AsyncFnOnce(Bench)) {
    on_core(async { test(Bench::start(setup).await).await });
}

impl Bench {
    pub async fn start(setup: Setup) -> Self {
        Self::start_in(World::system(), setup).await
    }

    /// With a world of the test's own, for example one whose disk fails.
    pub async fn start_in(world: World, setup: Setup) -> Self {
        let mut config = Config::default().keys(OWN_KEYS.iter().chain(&POOL_KEYS).copied());
        // No scripted answer may be too long for its model.
        config.models.iter_mut().for_each(|model| model.context_tokens_max = u64::MAX);
        let emulator = Emulator::start(config).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let vault = open_vault(&world).await;
        let mut maker = Maker { vault: &vault, world: &world, keys: Vec::new(), floors: Vec::new() };
        let base_url: Arc<str> = setup.base_url.clone().unwrap_or_else(|| emulator.base_url()).into();
        let workspace = maker.workspace(&setup, &base_url).await;
        let accounts = maker.accounts(&setup, &base_url).await;
        let minted = vault::mint_api_key(&*world.random, &*vault.hasher, true);
        let key = maker.key(&workspace);
        vault.opener.learn(KeyUpdate { keys: maker.keys, floors: maker.floors, current: Vec::new() }).await;
        let catalogue = catalogue::Catalogue::embedded().unwrap();
        let snapshot = Snapshot::assemble(Parts {
            version: 1,
            keys: vec![(minted.digest, key)],
            workspaces: vec![Arc::clone(&workspace)],
            accounts,
            catalogue: Arc::new(catalogue.with_overlay(setup.overlay).unwrap()),
            key_hash: vault.hasher.clone(),
        });
        let (settings, beside) = (JournalSettings::default(), dir.path().join("journal"));
        let shared = JournalShared::start(&world, settings).unwrap();
        let journal = Journal::open(&beside, 0, world.clone(), settings, shared.clone()).unwrap();
        let egress = egress::EgressSettings { allow_private: true, ..egress::EgressSettings::default() };
        let hands = Deps {
            egress: Rc::new(egress::Client::new(Arc::new(egress)).unwrap()),
            opener: vault.opener.clone(),
            board: board::Cell::new(board::Shared::new(), 1),
            timers: Rc::default(),
            estimates: Rc::default(),
            tokens: Rc::default(),
            turns: Arc::new(domain::ports::NoTurns),
            responses: Arc::new(domain::ports::NoResponses),
            objects: setup.objects.unwrap_or_else(|| Arc::new(NoObjects)),
            world,
        };
        let core = Rc::new(Core {
            number: 0,
            snapshot: Reader::fixed(Arc::new(snapshot)),
            deps: hands,
            journal,
            counters: Rc::new(Counters::default()),
            answers: Arc::new(NoAnswers),
            cached: Arc::default(),
            sessions: Arc::new(domain::ports::NoSessions),
            contents: Arc::new(domain::ports::NoContents),
            overload: Rc::default(),
            in_background: Default::default(),
            apps: &line::NoApps,
            batches: Arc::new(domain::NoBatches),
            tasks: Arc::new(domain::NoTasks),
            live_tasks: Arc::default(),
            files: Arc::new(domain::NoFiles),
            tools: Arc::new(domain::NoTools),
            agents: Arc::new(domain::NoAgents),
            flows: Arc::new(domain::NoFlows),
            background: Arc::default(),
            allowances: Rc::default(),
        });
        let books = Arc::new(Books::default());
        let drainer = Drainer::new(shared, books.clone());
        let origin = listen(core.clone()).await;
        let key = minted.text.expose_text().unwrap().to_owned();
        let client = Client::new(origin.clone()).bearer(&key);
        Self { emulator: Rc::new(emulator), client, origin, core, workspace, key, books, drainer, _dir: dir }
    }

    /// The headers of a client's request, and who sends it.
    pub fn caller(&self) -> (HeaderMap, Caller) {
        let bearer = HeaderValue::try_from(format!("Bearer {}", self.key)).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
        let caller = line::identify(&self.core, &headers, LOOPBACK, Needs::Inference).unwrap();
        (headers, caller)
    }

    pub fn trace(&self) -> TraceId {
        TraceId::new(self.core.deps.world.clock.unix_ms(), self.core.deps.world.id_bytes())
    }

    /// All records settled by now.
    pub async fn records(&self) -> Vec<MeterRecord> {
        self.core.journal.flush_now().unwrap();
        self.drainer.drain_all().await.unwrap();
        self.books.records.lock().unwrap().clone()
    }

    /// Waits for this many records; more are a failure.
    pub async fn settled(&self, count: usize) -> Vec<MeterRecord> {
        for _ in 0..20_000 {
            if self.core.journal.open_tabs() == 0 {
                let records = self.records().await;
                if records.len() >= count {
                    assert_eq!(records.len(), count, "{records:#?}");
                    return records;
                }
            }
            tokio::task::yield_now().await;
        }
        panic!("{} tabs stay open, {:#?}", self.core.journal.open_tabs(), self.records().await);
    }

    /// The one record.
    pub async fn record(&self) -> MeterRecord {
        self.settled(1).await.remove(0)
    }

    /// The answer to a question with these members.
    pub async fn ask(&self, extra: Value) -> Answer {
        self.client.post(CHAT, &self.chat(extra)).await.unwrap()
    }

    /// The same, where its status is this one.
    pub async fn told(&self, status: u16, extra: Value) -> Answer {
        let answer = self.ask(extra).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        answer
    }

    pub async fn stream(&self) -> Streaming {
        self.client.stream(CHAT, &self.chat(json!({"stream": true}))).await.unwrap()
    }

    pub fn chat(&self, extra: Value) -> Value {
        let messages = json!([{"role": "user", "content": "Say something about tides."}]);
        let mut body = json!({"model": "openai/gpt-4o-mini", "messages": messages});
        let Value::Object(extra) = extra else { panic!("members to add") };
        for (name, value) in extra {
            body[name] = value;
        }
        body
    }
}

async fn open_vault(world: &World) -> Vault {
    let master = MasterKey::generate(&*world.random);
    let wrap = Arc::new(LocalKeyWrap::new(&master, world.random.clone()).unwrap());
    let records = Vault::create(&*wrap, &*world.random).await.unwrap();
    Vault::open(wrap, &records, world, Arc::new(NoAudit)).await.unwrap()
}

struct Maker<'a> {
    vault: &'a Vault,
    world: &'a World,
    keys: Vec<(WorkspaceId, String, Vec<u8>)>,
    floors: Vec<(WorkspaceId, String, domain::Sealed)>,
}

impl Maker<'_> {
    fn id_parts(&self) -> (u64, [u8; 10]) {
        (self.world.clock.unix_ms(), self.world.id_bytes())
    }

    async fn new_key(&mut self, workspace: WorkspaceId) {
        let (id, wrapped) = self.vault.sealer.new_workspace_key(workspace).await.unwrap();
        self.keys.push((workspace, id, wrapped));
    }

    fn seal(&mut self, workspace: WorkspaceId, object: &str, secret: &str) -> Arc<domain::Sealed> {
        let resealed =
            self.vault.sealer.seal(workspace, object, 1, &Secret::from_text(secret.to_owned())).unwrap();
        self.floors.push((workspace, object.to_owned(), resealed.floor));
        Arc::new(resealed.sealed)
    }

    async fn workspace(&mut self, setup: &Setup, base_url: &Arc<str>) -> Arc<WorkspaceEntry> {
        let (ms, bytes) = self.id_parts();
        let id = WorkspaceId::new(ms, bytes);
        self.new_key(id).await;
        let project = ProjectEntry {
            origins: "".into(),
            legal_hold: None,
            retention: None,
            policy: None,
            caching: domain::CachePolicy::default(),
            id: ProjectId::new(ms, bytes),
            workspace: id,
            name: "default".into(),
            environment: "production".into(),
        };
        let credentials = setup.own.iter().enumerate().map(|(index, key)| {
            let (ms, bytes) = self.id_parts();
            let credential = CredentialId::new(ms, bytes);
            Arc::new(CredentialEntry {
                agreement: Arc::default(),
                subscription: None,
                quirks: domain::MissingFeatures::default(),
                id: credential,
                workspace: id,
                provider: "openai".into(),
                display_name: format!("own {index}").into(),
                base_url: Some(base_url.clone()),
                region: None,
                hosting: Arc::default(),
                sealed: self.seal(id, &credential.to_string(), key),
                state: CredentialState::Active,
                expires_unix_ms: None,
                project: None,
                environment: None,
                pricing: Arc::default(),
                created_unix_ms: 1_000 + index as u64,
            })
        });
        let credentials = credentials.collect();
        let nodes = setup.node.iter().map(|(model, address)| {
            let (ms, bytes) = self.id_parts();
            let node = NodeId::new(ms, bytes);
            Arc::new(NodeEntry {
                quirks: domain::MissingFeatures::default(),
                hour_nanos: 0,
                id: node,
                workspace: id,
                name: "a node".into(),
                base_url: address.as_str().into(),
                sealed: setup.node_key.map(|key| self.seal(id, &node.to_string(), key)),
                state: NodeState::Ready,
                models: Arc::new(vec![(*model).to_owned()]),
                labels: Arc::default(),
                created_unix_ms: 1,
            })
        });
        let route = RouteEntry { id: RouteId::new(ms, bytes), spec: setup.route.clone() };
        Arc::new(WorkspaceEntry {
            id,
            name: "acme".into(),
            projects: vec![Arc::new(project)],
            credentials,
            nodes: nodes.collect(),
            routes: vec![Arc::new(route)],
            aliases: Vec::new(),
            hints: Vec::new(),
            terms: None,
            caching: domain::CachePolicy::default(),
        })
    }

    async fn accounts(&mut self, setup: &Setup, base_url: &Arc<str>) -> Vec<Arc<AccountEntry>> {
        self.new_key(vault::OPERATOR).await;
        let accounts = setup.pool.iter().map(|key| {
            let (ms, bytes) = self.id_parts();
            let id = AccountId::new(ms, bytes);
            Arc::new(AccountEntry {
                agreement: Arc::default(),
                id,
                provider: "openai".into(),
                display_name: "pooled".into(),
                base_url: Some(base_url.clone()),
                region: None,
                hosting: Arc::default(),
                sealed: self.seal(vault::OPERATOR, &id.to_string(), key),
                disabled: false,
                models: None,
                weight: 1,
                markup_bps: 0,
                allow_unpriced: false,
                pricing: Arc::default(),
                created_unix_ms: 1,
            })
        });
        accounts.collect()
    }

    fn key(&self, workspace: &WorkspaceEntry) -> Arc<KeyEntry> {
        let (ms, bytes) = self.id_parts();
        Arc::new(KeyEntry {
            origins: "".into(),
            id: KeyId::new(ms, bytes),
            workspace: workspace.id,
            project: workspace.projects[0].id,
            environment: "production".into(),
            scopes: Scopes { inference: true, read: true, ..Scopes::default() },
            expires_unix_ms: None,
            revoked: false,
            ip_allowlist: Vec::new(),
            priority: None,
            access_secret: None,
        })
    }
}

/// A listener with what the gateway does, without its limits.
async fn listen(core: Rc<Core>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let core = core.clone();
            tokio::task::spawn_local(async move {
                let core = &core;
                let service = service_fn(move |request| answer(core.clone(), request, peer.ip()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                // Some tests break the connection on purpose.
                drop(connection.await);
            });
        }
    });
    origin
}

async fn answer(
    core: Rc<Core>,
    request: http::Request<hyper::body::Incoming>,
    peer: IpAddr,
) -> Result<http::Response<settle::ReplyBody>, Infallible> {
    let clock = core.deps.world.clock.clone();
    let (received_us, received_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
    let trace = TraceId::new(received_unix_ms, core.deps.world.id_bytes());
    let (parts, body) = request.into_parts();
    let caller = match line::identify(&core, &parts.headers, peer, Needs::Inference) {
        Ok(caller) => caller,
        Err(fault) => return Ok(line::refuse(&core, Dialect::Chat, &fault, trace)),
    };
    if parts.method == http::Method::GET {
        let id = parts.uri.path().strip_prefix("/v1/models/");
        return Ok(line::models(&core, &caller, id, Dialect::Chat, trace));
    }
    let body = body.collect().await.unwrap().to_bytes();
    let inbound = Inbound {
        trace,
        dialect: Dialect::Chat,
        operation: Operation::Chat,
        headers: parts.headers,
        addressed: None,
        body,
        form: None,
        received_us,
        received_unix_ms,
    };
    Ok(line::serve(&core, inbound, caller).await)
}
