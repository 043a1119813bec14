//! A gateway over a test node, and a client that sends exactly the bytes it is given.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::ports::{
    AnswerStore, Claim, Claimed, KeyedRequest, NoAnswers, NoAudit, PortFuture, StoredAnswer,
};
use domain::{KeyId, NodeId, ProjectId, RouteId, RouteSpec, TraceId, WorkspaceId};
use execute::Deps;
use gateway::{
    AskReadiness, ControlBody, ControlHandle, ControlService, GatewaySettings, MakeCore, Origins, Proxies,
    Readiness, Running, Times,
};
use http::{Request, Response, StatusCode};
use ledger::{Journal, JournalSettings, JournalShared};
use line::{Core, Counters};
use node::{Echo, NodeSettings, Service};
use snapshot::entries::{KeyEntry, NodeEntry, NodeState, ProjectEntry, RouteEntry, Scopes, WorkspaceEntry};
use snapshot::{Parts, Reader, Snapshot};
use tasks::RuntimeTasks;
use vault::{LocalKeyWrap, MasterKey, Vault};
use world::World;

/// Long enough for a slow machine, short enough for a hanging test.
const WAIT: Duration = Duration::from_secs(20);

pub struct Fixture {
    pub gateway: Option<Running>,
    pub address: SocketAddr,
    pub key: String,
    _node: Running,
    runtime: tokio::runtime::Runtime,
    _urgent: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

/// What a test changes in the default setup.
pub struct Plan {
    pub times: Times,
    pub ready: AskReadiness,
    pub proxies: Proxies,
    pub origins: Origins,
    pub connections_max: usize,
    pub queue_delay_max: Duration,
    /// The priority of the key, and of its route.
    pub priorities: (Option<u8>, Option<u8>),
    /// Replaces the node.
    pub upstream: Option<SocketAddr>,
    pub body_bytes_max: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            times: Times::default(),
            ready: Arc::new(|| Readiness::Ready),
            proxies: Proxies::default(),
            origins: Origins::default(),
            connections_max: usize::MAX,
            queue_delay_max: Duration::ZERO,
            priorities: (None, None),
            upstream: None,
            body_bytes_max: 1024 * 1024 * 1024,
        }
    }
}

/// A control plane that echoes its request, and fails where it is told to.
struct Mirror;

impl ControlService for Mirror {
    fn call(
        self: Arc<Self>,
        request: Request<ControlBody>,
        peer: std::net::IpAddr,
        trace: TraceId,
    ) -> Pin<Box<dyn Future<Output = Response<Bytes>> + Send>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            assert_ne!(head.uri.path(), "/v2/panic", "asked for");
            let read = http_body_util::BodyExt::collect(body).await.map(|whole| whole.to_bytes());
            let text = format!("{} {} from {peer}: {read:?} {trace}", head.method, head.uri);
            let mut answer = Response::new(Bytes::from(text));
            *answer.status_mut() = StatusCode::ACCEPTED;
            answer
        })
    }
}

/// Keeps no answers, and panics over the idempotency key `panic`.
struct Answers;

impl AnswerStore for Answers {
    fn body_bytes_max(&self) -> usize {
        NoAnswers.body_bytes_max()
    }

    fn claim(&self, request: KeyedRequest) -> PortFuture<'static, Claimed> {
        assert_ne!(request.key, "panic", "asked for");
        NoAnswers.claim(request)
    }

    fn keep(&self, claim: Claim, answer: StoredAnswer) -> PortFuture<'static, ()> {
        NoAnswers.keep(claim, answer)
    }

    fn release(&self, claim: Claim) {
        NoAnswers.release(claim);
    }

    fn forget(&self, request: KeyedRequest) -> PortFuture<'static, ()> {
        NoAnswers.forget(request)
    }
}

impl Fixture {
    pub fn start(plan: Plan) -> Self {
        let (runtime, urgent) = (tasks::runtime("control").unwrap(), tasks::runtime("urgent").unwrap());
        let dir = tempfile::tempdir().unwrap();
        let world = World::system();
        let settings = NodeSettings {
            world: world.clone(),
            keys: Vec::new(),
            runtime_name: "echo",
            data_dir: None,
            adapters: None,
            topology: node::Topology::default(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let Plan { connections_max, queue_delay_max, .. } = plan;
        let door = |times, proxies, origins| GatewaySettings {
            listen: any,
            workers: 2,
            times,
            proxies,
            origins,
            connections_max,
            queue_delay_max,
            in_flight_max: 0,
            body_bytes_max: plan.body_bytes_max,
        };
        let node = gateway::serve_node(
            Service::new(Arc::new(Echo), settings).unwrap(),
            &door(Times::default(), Proxies::default(), Origins::default()),
        )
        .unwrap();
        let base_url = format!("http://{}/v1", plan.upstream.unwrap_or(node.address()));
        let (make_core, key) =
            runtime.block_on(cores(&world, base_url, dir.path().to_owned(), plan.priorities));
        let tasks = RuntimeTasks::new("control", runtime.handle().clone());
        let of_urgent = RuntimeTasks::new("urgent", urgent.handle().clone());
        let control = ControlHandle { service: Arc::new(Mirror), tasks, urgent: of_urgent };
        let started = gateway::start(
            door(plan.times, plan.proxies, plan.origins),
            make_core,
            Some(control),
            plan.ready,
            Arc::default(),
        );
        let gateway = runtime.block_on(started).unwrap();
        let address = gateway.address();
        Self { gateway: Some(gateway), address, key, _node: node, runtime, _urgent: urgent, _dir: dir }
    }

    /// Holds up the control plane's thread until the sender is dropped.
    pub fn hold_control(&self) -> std::sync::mpsc::Sender<()> {
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            begun.send(()).unwrap();
            wait.recv().unwrap_err();
        });
        has_begun.recv().unwrap();
        end
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// A request with the key and further headers; `body` gets its `Content-Length`.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    pub fn chat(&self, body: &str) -> Vec<u8> {
        self.chat_with("Content-Type: application/json\r\n", body.as_bytes())
    }

    pub fn chat_with(&self, headers: &str, body: &[u8]) -> Vec<u8> {
        self.request("POST", "/v1/chat/completions", headers, body)
    }

    /// The answer to a `GET` with the key.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(&self.request("GET", path, "", b""))
    }

    /// The answer to a `GET` without one.
    pub fn look(&self, path: &str) -> Answer {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    pub fn ask(&self, bytes: &[u8]) -> Answer {
        let mut wire = self.connect();
        wire.send(bytes);
        wire.answer()
    }

    /// Polls until a condition holds, and fails with `what` if it never does. Each poll is a connection of
    /// its own, and the wait in between is for its answer.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited {WAIT:?} in vain: {what}");
            std::thread::yield_now();
        }
    }

    pub fn gauge(&self, name: &str) -> u64 {
        let page = self.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").text();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or("0 0");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

async fn cores(
    world: &World,
    base_url: String,
    dir: std::path::PathBuf,
    (of_key, of_route): (Option<u8>, Option<u8>),
) -> (MakeCore, String) {
    let master = MasterKey::generate(&*world.random);
    let wrap = Arc::new(LocalKeyWrap::new(&master, world.random.clone()).unwrap());
    let records = Vault::create(&*wrap, &*world.random).await.unwrap();
    let vault = Vault::open(wrap, &records, world, Arc::new(NoAudit)).await.unwrap();
    let minted = vault::mint_api_key(&*world.random, &*vault.hasher, true);
    let key = minted.text.expose_text().unwrap().to_owned();
    let workspace = workspace(world, base_url, of_route);
    let snapshot = Arc::new(Snapshot::assemble(Parts {
        version: 1,
        keys: vec![(minted.digest, api_key(world, &workspace, of_key))],
        workspaces: vec![Arc::new(workspace)],
        accounts: Vec::new(),
        catalogue: Arc::new(catalogue::Catalogue::embedded().unwrap()),
        key_hash: vault.hasher.clone(),
    }));
    let settings = JournalSettings::default();
    let shared = JournalShared::start(world, settings).unwrap();
    let (opener, world, board) = (vault.opener, world.clone(), board::Shared::new());
    let make: MakeCore = Arc::new(move |number| {
        let (world, snapshot, opener) = (world.clone(), Arc::clone(&snapshot), opener.clone());
        let (shared, board, dir) = (shared.clone(), Arc::clone(&board), dir.clone());
        Box::pin(async move {
            let allowed = egress::EgressSettings { allow_private: true, ..egress::EgressSettings::default() };
            let journal = Journal::open(&dir, number, world.clone(), settings, shared)?;
            let egress = Rc::new(egress::Client::new(Arc::new(allowed))?);
            let deps = Deps {
                world,
                egress,
                opener,
                board: board::Cell::new(board, 2),
                timers: Rc::default(),
                estimates: Rc::default(),
                tokens: Rc::default(),
                turns: Arc::new(domain::ports::NoTurns),
                responses: Arc::new(domain::ports::NoResponses),
                objects: Arc::new(domain::ports::NoObjects),
            };
            Ok(Rc::new(Core {
                number,
                snapshot: Reader::fixed(snapshot),
                deps,
                journal,
                allowances: Default::default(),
                counters: Rc::new(Counters::default()),
                answers: Arc::new(Answers),
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
            }))
        })
    });
    (make, key)
}

fn workspace(world: &World, base_url: String, priority: Option<u8>) -> WorkspaceEntry {
    let (ms, bytes) = (world.clock.unix_ms(), world.id_bytes());
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
    let node = NodeEntry {
        quirks: domain::MissingFeatures::default(),
        hour_nanos: 0,
        id: NodeId::new(ms, bytes),
        workspace: id,
        name: "echo".into(),
        base_url: base_url.into(),
        sealed: None,
        state: NodeState::Ready,
        models: Arc::new(vec!["echo".to_owned()]),
        labels: Arc::default(),
        created_unix_ms: 1,
    };
    let spec = RouteSpec { priority, ..RouteSpec::default() };
    WorkspaceEntry {
        id,
        name: "acme".into(),
        projects: vec![Arc::new(project)],
        credentials: Vec::new(),
        nodes: vec![Arc::new(node)],
        routes: vec![Arc::new(RouteEntry { id: RouteId::new(ms, bytes), spec })],
        aliases: Vec::new(),
        hints: Vec::new(),
        terms: None,
        caching: domain::CachePolicy::default(),
    }
}

fn api_key(world: &World, workspace: &WorkspaceEntry, priority: Option<u8>) -> Arc<KeyEntry> {
    Arc::new(KeyEntry {
        origins: "".into(),
        id: KeyId::new(world.clock.unix_ms(), world.id_bytes()),
        workspace: workspace.id,
        project: workspace.projects[0].id,
        environment: "production".into(),
        scopes: Scopes { inference: true, read: true, ..Scopes::default() },
        expires_unix_ms: None,
        revoked: false,
        ip_allowlist: Vec::new(),
        priority,
        access_secret: None,
    })
}

/// One connection.
pub struct Wire {
    pub socket: TcpStream,
    unread: Vec<u8>,
}

/// One answer with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The code of an error in the shape of the chat dialect.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub fn must_be(&self, status: u16, code: &str, what: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{what}: {self:?}");
    }
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket.set_write_timeout(Some(WAIT)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, unread: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // A server that refuses early may have closed before all of it is sent.
        let _ = self.socket.write_all(bytes);
    }

    /// Nothing has arrived yet.
    pub fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let is_silent = self.unread.is_empty() && self.socket.peek(&mut [0]).is_err();
        self.socket.set_nonblocking(false).unwrap();
        is_silent
    }

    /// `false` at the end of the stream.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        let count = self
            .socket
            .read(&mut buffer)
            .unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&self.unread)));
        self.unread.extend_from_slice(&buffer[..count]);
        count > 0
    }

    fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark) {
                return Some(self.unread.drain(..at + mark.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count && self.fill() {}
        self.unread.drain(..count.min(self.unread.len())).collect()
    }

    /// The next answer, skipping `100 Continue`.
    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("the connection closed without an answer")
    }

    pub fn try_answer(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n")?).unwrap();
        let status = head[9..12].parse().unwrap();
        if status == 100 {
            return self.try_answer();
        }
        let mut answer = Answer { status, head, body: Vec::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(line) = self.until(b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
                answer.body.extend(self.take(size));
                self.until(b"\r\n");
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            answer.body = self.take(length);
        }
        Some(answer)
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }
}
