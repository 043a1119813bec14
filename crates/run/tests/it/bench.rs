//! A manually built serving core: its upstream, a listener in front that knows only runs, and the books.

use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use admit::Needs;
use bytes::Bytes;
use decode::Inbound;
use domain::ports::{NoAnswers, NoAudit, PortFuture};
use domain::{
    AccountId, CredentialId, Dialect, KeyId, MeterRecord, NodeId, Operation, ProjectId, Sealed, Secret,
    TraceId, WorkspaceId,
};
use execute::Deps;
use harness::client::{Answer, Client};
use harness::{Config, Emulator, Model};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ledger::{
    DrainBatch, Drainer, Journal, JournalPosition, JournalSettings, JournalShared, RecordSink, SinkError,
};
use line::{Core, Counters};
use serde_json::Value;
use settle::ReplyBody;
use snapshot::entries::{
    AccountEntry, CredentialEntry, CredentialState, KeyEntry, NodeEntry, NodeState, ProjectEntry, Scopes,
    WorkspaceEntry,
};
use snapshot::{Parts, Reader, Snapshot};
use tokio::net::TcpListener;
use vault::{KeyUpdate, LocalKeyWrap, MasterKey, Vault};
use world::World;

const UPSTREAM_KEY: &str = "sk-upstream-0000000000";

/// What serves the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    Own,
    Pool,
    Node,
}

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

pub struct Bench {
    pub emulator: Emulator,
    pub client: Client,
    pub core: Rc<Core>,
    books: Arc<Books>,
    drainer: Arc<Drainer>,
    _dir: tempfile::TempDir,
}

/// Runs a test on the kind of runtime that a core has.
pub fn on_core<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

/// Runs a test on a bench whose workspace has a credential.
pub fn on_bench(test: impl AsyncFnOnce(Bench)) {
    on_core(async { test(Bench::start(Serves::Own).await).await });
}

impl Bench {
    pub async fn start(serves: Serves) -> Self {
        Self::with_loopback(serves, true).await
    }

    /// With `allow_private` the address guard permits the loopback, as an operator may configure.
    pub async fn with_loopback(serves: Serves, allow_private: bool) -> Self {
        let config = Config::default().keys([UPSTREAM_KEY]).model(Model::chat("local-model"));
        let emulator = Emulator::start(config).await.unwrap();
        let world = World::system();
        let dir = tempfile::tempdir().unwrap();
        let mut maker = Maker::new(&world, &emulator.base_url()).await;
        let (workspace, accounts) = maker.tenant(serves).await;
        let minted = vault::mint_api_key(&*world.random, &*maker.vault.hasher, true);
        let key = maker.key(&workspace);
        let Maker { vault, keys, floors, .. } = maker;
        vault.opener.learn(KeyUpdate { keys, floors, current: Vec::new() }).await;
        let snapshot = Snapshot::assemble(Parts {
            version: 1,
            keys: vec![(minted.digest, key)],
            workspaces: vec![workspace],
            accounts,
            catalogue: Arc::new(catalogue::Catalogue::embedded().unwrap()),
            key_hash: vault.hasher.clone(),
        });
        let settings = JournalSettings::default();
        let shared = JournalShared::start(&world, settings).unwrap();
        let journal =
            Journal::open(&dir.path().join("journal"), 0, world.clone(), settings, shared.clone()).unwrap();
        let egress = egress::EgressSettings { allow_private, ..egress::EgressSettings::default() };
        let hands = Deps {
            egress: Rc::new(egress::Client::new(Arc::new(egress)).unwrap()),
            opener: vault.opener.clone(),
            board: board::Cell::new(board::Shared::new(), 1),
            timers: Rc::default(),
            estimates: Rc::default(),
            tokens: Rc::default(),
            turns: Arc::new(domain::ports::NoTurns),
            responses: Arc::new(domain::ports::NoResponses),
            objects: Arc::new(domain::ports::NoObjects),
            world,
        };
        let core = Rc::new(Core {
            number: 0,
            snapshot: Reader::fixed(Arc::new(snapshot)),
            deps: hands,
            journal,
            allowances: Default::default(),
            counters: Rc::new(Counters::default()),
            answers: Arc::new(NoAnswers),
            cached: Arc::default(),
            sessions: Arc::new(domain::ports::NoSessions),
            contents: Arc::new(domain::ports::NoContents),
            overload: Rc::default(),
            in_background: Default::default(),
            batches: Arc::new(domain::NoBatches),
            tasks: Arc::new(domain::NoTasks),
            live_tasks: Arc::default(),
            files: Arc::new(domain::NoFiles),
            tools: Arc::new(domain::NoTools),
            agents: Arc::new(domain::NoAgents),
            flows: Arc::new(domain::NoFlows),
            apps: run::APPS,
            background: Arc::default(),
        });
        let books = Arc::new(Books::default());
        let drainer = Drainer::new(shared, books.clone());
        let client = Client::new(listen(core.clone()).await).bearer(minted.text.expose_text().unwrap());
        Self { emulator, client, core, books, drainer, _dir: dir }
    }

    /// The answer to a run, whose status is this one.
    pub async fn run(&self, status: u16, body: &Value) -> Answer {
        let answer = self.client.post("/v1/run", body).await.unwrap();
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        answer
    }

    pub async fn run_with(&self, header: (&str, &str), body: &Value) -> Answer {
        let headers = [header, ("content-type", "application/json")];
        self.client.call(http::Method::POST, "/run", &headers, body.to_string()).await.unwrap()
    }

    /// All settled records; asserts that no tab is open.
    pub async fn records(&self) -> Vec<MeterRecord> {
        assert_eq!(self.core.journal.open_tabs(), 0);
        self.core.journal.flush_now().unwrap();
        self.drainer.drain_all().await.unwrap();
        self.books.records.lock().unwrap().clone()
    }
}

struct Maker<'a> {
    vault: Vault,
    world: &'a World,
    base_url: Arc<str>,
    keys: Vec<(WorkspaceId, String, Vec<u8>)>,
    floors: Vec<(WorkspaceId, String, Sealed)>,
}

impl<'a> Maker<'a> {
    async fn new(world: &'a World, base_url: &str) -> Self {
        let master = MasterKey::generate(&*world.random);
        let wrap = Arc::new(LocalKeyWrap::new(&master, world.random.clone()).unwrap());
        let records = Vault::create(&*wrap, &*world.random).await.unwrap();
        let vault = Vault::open(wrap, &records, world, Arc::new(NoAudit)).await.unwrap();
        Self { vault, world, base_url: base_url.into(), keys: Vec::new(), floors: Vec::new() }
    }

    fn id_parts(&self) -> (u64, [u8; 10]) {
        (self.world.clock.unix_ms(), self.world.id_bytes())
    }

    async fn seal(&mut self, workspace: WorkspaceId, object: &str) -> Arc<Sealed> {
        let (id, wrapped) = self.vault.sealer.new_workspace_key(workspace).await.unwrap();
        self.keys.push((workspace, id, wrapped));
        let secret = Secret::from_text(UPSTREAM_KEY.to_owned());
        let resealed = self.vault.sealer.seal(workspace, object, 1, &secret).unwrap();
        self.floors.push((workspace, object.to_owned(), resealed.floor));
        Arc::new(resealed.sealed)
    }

    async fn tenant(&mut self, serves: Serves) -> (Arc<WorkspaceEntry>, Vec<Arc<AccountEntry>>) {
        let (ms, bytes) = self.id_parts();
        let id = WorkspaceId::new(ms, bytes);
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
        let mut entry = WorkspaceEntry {
            id,
            name: "acme".into(),
            projects: vec![Arc::new(project)],
            credentials: Vec::new(),
            nodes: Vec::new(),
            routes: Vec::new(),
            aliases: Vec::new(),
            hints: Vec::new(),
            terms: None,
            caching: domain::CachePolicy::default(),
        };
        let mut accounts = Vec::new();
        match serves {
            Serves::Own => entry.credentials.push(self.credential(id).await),
            Serves::Pool => accounts.push(self.account().await),
            Serves::Node => entry.nodes.push(self.node(id).await),
        }
        (Arc::new(entry), accounts)
    }

    async fn credential(&mut self, workspace: WorkspaceId) -> Arc<CredentialEntry> {
        let (ms, bytes) = self.id_parts();
        let id = CredentialId::new(ms, bytes);
        Arc::new(CredentialEntry {
            agreement: Arc::default(),
            subscription: None,
            quirks: domain::MissingFeatures::default(),
            id,
            workspace,
            provider: "openai".into(),
            display_name: "own".into(),
            base_url: Some(self.base_url.clone()),
            region: None,
            hosting: Arc::default(),
            sealed: self.seal(workspace, &id.to_string()).await,
            state: CredentialState::Active,
            expires_unix_ms: None,
            project: None,
            environment: None,
            pricing: Arc::default(),
            created_unix_ms: 1,
        })
    }

    async fn account(&mut self) -> Arc<AccountEntry> {
        let (ms, bytes) = self.id_parts();
        let id = AccountId::new(ms, bytes);
        Arc::new(AccountEntry {
            agreement: Arc::default(),
            id,
            provider: "openai".into(),
            display_name: "pooled".into(),
            base_url: Some(self.base_url.clone()),
            region: None,
            hosting: Arc::default(),
            sealed: self.seal(vault::OPERATOR, &id.to_string()).await,
            disabled: false,
            models: None,
            weight: 1,
            markup_bps: 0,
            allow_unpriced: false,
            pricing: Arc::default(),
            created_unix_ms: 1,
        })
    }

    async fn node(&mut self, workspace: WorkspaceId) -> Arc<NodeEntry> {
        let (ms, bytes) = self.id_parts();
        let id = NodeId::new(ms, bytes);
        Arc::new(NodeEntry {
            quirks: domain::MissingFeatures::default(),
            hour_nanos: 0,
            id,
            workspace,
            name: "a node".into(),
            base_url: self.base_url.clone(),
            sealed: Some(self.seal(workspace, &id.to_string()).await),
            state: NodeState::Ready,
            models: Arc::new(vec!["local-model".to_owned()]),
            labels: Arc::default(),
            created_unix_ms: 1,
        })
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

/// What the gateway does for a run, without its limits.
async fn listen(core: Rc<Core>) -> String {
    serve(move |request, peer| {
        let core = core.clone();
        async move { answer(&core, request, peer).await }
    })
    .await
}

async fn answer(core: &Rc<Core>, request: Request<Incoming>, peer: IpAddr) -> Response<ReplyBody> {
    let clock = &core.deps.world.clock;
    let (received_us, received_unix_ms) = (clock.monotonic_us(), clock.unix_ms());
    let trace = TraceId::new(received_unix_ms, core.deps.world.id_bytes());
    let (parts, body) = request.into_parts();
    let caller = match line::identify(core, &parts.headers, peer, Needs::Inference) {
        Ok(caller) => caller,
        Err(fault) => return line::refuse(core, Dialect::Run, &fault, trace),
    };
    let body = body.collect().await.unwrap().to_bytes();
    let inbound = Inbound {
        trace,
        dialect: Dialect::Run,
        operation: Operation::Run,
        headers: parts.headers,
        addressed: None,
        body,
        form: None,
        received_us,
        received_unix_ms,
    };
    run::run(core, inbound, caller, "/v1/run").await
}

/// Serves on the loopback and returns the address.
async fn serve<S, F, B>(service: S) -> String
where
    S: Fn(Request<Incoming>, IpAddr) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body_util::BodyExt + hyper::body::Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::task::spawn_local(async move {
        loop {
            let (socket, peer) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            let service = service.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let answer = service(request, peer.ip());
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                // Some tests break the connection on purpose.
                drop(connection.await);
            });
        }
    });
    origin
}

/// A server of documents.
pub struct Shelf {
    pub origin: String,
    /// Requests waiting at `/never`, and those whose client left.
    pub waiting: Rc<Cell<u32>>,
    pub gone: Rc<Cell<u32>>,
}

struct DropCounter(Rc<Cell<u32>>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Shelf {
    pub async fn start() -> Self {
        let (waiting, gone) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (waits, leaves) = (waiting.clone(), gone.clone());
        let origin = serve(move |request: Request<Incoming>, _| {
            let (waits, leaves) = (waits.clone(), leaves.clone());
            async move {
                if request.uri().path() == "/never" {
                    waits.set(waits.get() + 1);
                    let _leaves = DropCounter(leaves);
                    std::future::pending::<()>().await;
                }
                document(request.uri().path())
            }
        })
        .await;
        Self { origin, waiting, gone }
    }
}

fn document(path: &str) -> Response<Full<Bytes>> {
    let (status, name, value, body) = match path {
        "/q3%20report.txt" => (200, "content-type", "text/plain; charset=utf-8", "Sales rose.\n"),
        "/table" => (200, "content-type", "application/octet-stream", "a,b\n1,2"),
        "/archive" => (200, "content-type", "application/zip", "secret words"),
        "/report.pdf" => (200, "content-type", "application/pdf", "%PDF-1.7"),
        "/inward" => (302, "location", "http://169.254.169.254/latest/meta-data", ""),
        _ => (404, "content-type", "text/plain", "secret words of the server"),
    };
    let response = Response::builder().status(status).header(name, value);
    response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}
