//! Meshes of a few nodes on loopback: who is let in, who serves, what a liar costs, and how files come.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use peers::{
    Bandwidth, CHUNK_BYTES, FetchEvent, FetchOrder, Fetched, Fetcher, Library, Member, Mesh, MeshSettings,
    PeerBody, PeerFuture, PeerService, PeerState, PeerView, PromptBlocks, Relays, Roster, Routed,
    SharedFolder, Wanted,
};
use proof::SigningKey;
use serde_json::{Value, json};
use tasks::Task;
use tokio::sync::Notify;
use world::World;

const WITHIN: Duration = Duration::from_secs(30);

/// What a node of a test serves.
#[derive(Default)]
struct Model {
    state: Mutex<PeerState>,
    /// The output tokens that it claims.
    claims: AtomicU64,
    served: AtomicU64,
    /// Whether its stream never ends, and whether the stream was dropped.
    is_endless: AtomicBool,
    dropped: Arc<Notify>,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl PeerService for Model {
    fn answer(&self, request: Request<Bytes>) -> PeerFuture<'_, Response<PeerBody>> {
        Box::pin(async move {
            self.served.fetch_add(1, Ordering::SeqCst);
            if self.is_endless.load(Ordering::SeqCst) {
                let witness = OnDrop(Arc::clone(&self.dropped));
                let endless = stream::unfold(witness, |witness| async {
                    tokio::task::yield_now().await;
                    Some((Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[b'x'; 1000]))), witness))
                });
                return Response::new(PeerBody::new(StreamBody::new(endless)));
            }
            let said = format!("you sent {} bytes to {}", request.body().len(), request.uri().path());
            let usage = json!({"prompt_tokens": 9, "completion_tokens": self.claims.load(Ordering::SeqCst)});
            let answer = json!({"choices": [{"message": {"content": said}}], "usage": usage});
            let body = Full::new(Bytes::from(answer.to_string())).map_err(|never| match never {});
            Response::new(PeerBody::new(body))
        })
    }

    fn state(&self) -> PeerFuture<'_, PeerState> {
        Box::pin(async { self.state.lock().unwrap().clone() })
    }

    fn count_prompt(&self, _request: Request<Bytes>) -> PeerFuture<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

struct Node {
    mesh: Arc<Mesh>,
    model: Arc<Model>,
    data: tempfile::TempDir,
    _running: Task,
}

fn seed(number: u8) -> [u8; 32] {
    [number; 32]
}

impl Node {
    async fn start(number: u8, models: &[&str], is_balanced: bool) -> Self {
        let data = tempfile::tempdir().unwrap();
        let model = Arc::new(Model::default());
        model.state.lock().unwrap().models = models.iter().map(|&model| model.to_owned()).collect();
        model.claims.store(5, Ordering::SeqCst);
        let world = World::system();
        let own = SigningKey::from_seed(&seed(number)).unwrap().public();
        let roster = Roster::open(&world, own, Some(data.path()), Vec::new()).unwrap();
        let shelf = data.path().join("shared");
        let library = Library::new(move || shared(&shelf), Bandwidth::new(&world, None));
        let settings = MeshSettings {
            world,
            seed: seed(number),
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: Some(data.path().to_owned()),
            is_balanced,
            relays: Relays::default(),
        };
        let service: Arc<dyn PeerService> = Arc::<Model>::clone(&model);
        let mesh = Mesh::bind(settings, roster, service, library).await.unwrap();
        let running = Task::spawn("mesh", Arc::clone(&mesh).run());
        Self { mesh, model, data, _running: running }
    }

    fn member(&self, name: &str) -> Member {
        let (public_key, addresses) = (self.mesh.public_key(), self.mesh.addresses());
        Member { public_key, name: name.to_owned(), addresses, models: Vec::new() }
    }

    fn knows(&self, other: &Self, name: &str) {
        self.mesh.roster().register(other.member(name)).unwrap();
    }

    /// Who fetches. No node has the same key beside it: packets to one of two endpoints with one key may reach the other, which
    /// resets the connection.
    fn knows_fetcher(&self) {
        let public_key = SigningKey::from_seed(&seed(20)).unwrap().public();
        let (name, addresses) = ("fetcher".to_owned(), Vec::new());
        let fetcher = Member { public_key, name, addresses, models: Vec::new() };
        self.mesh.roster().register(fetcher).unwrap();
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Mesh) -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !is_so(&self.mesh) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.mesh.peers());
            tokio::task::yield_now().await;
        }
    }

    /// Both get to know each other. Waits until `far` is connected and has described itself.
    async fn befriends(&self, far: &Self) {
        self.knows(far, "far");
        far.knows(self, "near");
        let is_met = |peer: &PeerView| peer.member.name == "far" && peer.is_connected && peer.state.is_some();
        self.until("far", |mesh| mesh.peers().iter().any(is_met)).await;
    }

    async fn route(&self, model: &str, own: Option<&PeerState>) -> Routed {
        let wanted = Wanted { model: model.to_owned(), adapter: None, prompt: PromptBlocks::default() };
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]}).to_string();
        let request = Request::post("/v1/chat/completions").body(Bytes::from(body)).unwrap();
        self.mesh.route(&wanted, own, &request).await
    }

    /// The peer that served, and its answer.
    async fn served(&self, model: &str) -> (String, Value) {
        match self.route(model, None).await {
            Routed::Served { peer, answer } => {
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (peer, serde_json::from_slice(&body).unwrap())
            }
            Routed::Local => ("local".to_owned(), Value::Null),
            Routed::Failed(reasons) => ("failed".to_owned(), json!(reasons)),
        }
    }
}

/// Shares what is in a directory as the model `a/b`.
fn shared(shelf: &Path) -> Vec<SharedFolder> {
    let Ok(listed) = std::fs::read_dir(shelf) else { return Vec::new() };
    let mut files: Vec<String> =
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    vec![SharedFolder { share: "model/a/b".to_owned(), directory: shelf.to_owned(), files }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_the_model_serves_and_an_unknown_key_is_refused() {
    let (near, far) = (Node::start(1, &["small"], false).await, Node::start(2, &["large"], false).await);
    let stranger = Node::start(3, &[], false).await;
    stranger.knows(&far, "far");
    near.befriends(&far).await;
    let (peer, answer) = near.served("large").await;
    assert_eq!(peer, "far");
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(content.ends_with("/v1/chat/completions"), "{answer}");
    assert_eq!(near.served("small").await.0, "local", "nobody else has it");
    let own = PeerState { models: vec!["large".to_owned()], ..PeerState::default() };
    assert!(matches!(near.route("large", Some(&own)).await, Routed::Local), "what can be served here stays");
    assert_eq!(far.model.served.load(Ordering::SeqCst), 1);

    stranger.until("refused", |mesh| mesh.peers()[0].last_error.is_some()).await;
    let refused = stranger.mesh.peers()[0].clone();
    assert!(!refused.is_connected && refused.state.is_none(), "{refused:?}");
    assert_eq!(stranger.served("large").await.0, "local");
    assert!(far.mesh.peers().iter().all(|peer| peer.member.name != "stranger"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_stops_the_peers_stream() {
    let (near, far) = (Node::start(4, &[], false).await, Node::start(5, &["large"], false).await);
    near.befriends(&far).await;
    far.model.is_endless.store(true, Ordering::SeqCst);
    let Routed::Served { answer, .. } = near.route("large", None).await else { unreachable!() };
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    tokio::time::timeout(WITHIN, far.model.dropped.notified()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_claims_what_can_not_be_is_ejected_and_stays_so() {
    let (near, far) = (Node::start(6, &[], false).await, Node::start(7, &["large"], false).await);
    near.befriends(&far).await;
    assert_eq!(near.served("large").await.0, "far");
    far.model.claims.store(4_000, Ordering::SeqCst);
    assert_eq!(near.served("large").await.0, "far", "the client has its answer");
    near.until("ejected", |mesh| mesh.ejected().len() == 1 && !mesh.peers()[0].is_connected).await;
    let why = near.mesh.ejected()[0].why.clone();
    assert!(why.contains("claimed 4000 output tokens"), "{why}");
    let (served, reasons) = near.served("large").await;
    assert_eq!(served, "failed");
    assert!(reasons.to_string().contains("it is ejected"), "{reasons}");
    let peer = near.mesh.peers()[0].clone();
    assert!(peer.ejection.is_some(), "{peer:?}");
    assert!(near.data.path().join("ejected-peers.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balanced_node_sends_on_what_would_wait() {
    let (near, far) = (Node::start(8, &["m"], true).await, Node::start(9, &["m"], false).await);
    near.befriends(&far).await;
    let idle = PeerState { models: vec!["m".to_owned()], ..PeerState::default() };
    let busy = PeerState { waiting: 8, ..idle.clone() };
    assert!(matches!(near.route("m", Some(&idle)).await, Routed::Local));
    assert!(matches!(near.route("m", Some(&busy)).await, Routed::Served { .. }));
}

/// A node that shares files of a few chunks, the same on each node, and knows who fetches.
async fn sharing(number: u8) -> Node {
    let node = Node::start(number, &[], false).await;
    node.knows_fetcher();
    let shelf = node.data.path().join("shared");
    std::fs::create_dir_all(&shelf).unwrap();
    let text: Vec<u8> = (0..6 * CHUNK_BYTES + 77).map(|at| u8::try_from(at / 7 % 253).unwrap()).collect();
    std::fs::write(shelf.join("model.safetensors"), text).unwrap();
    std::fs::write(shelf.join("config.json"), "{}").unwrap();
    node
}

async fn fetch(
    nodes: &[&Node],
    to: &Path,
    events: &Mutex<Vec<FetchEvent>>,
    on_event: impl Fn(&FetchEvent) + Sync,
) -> io::Result<Fetched> {
    fetch_at(None, nodes, to, events, on_event).await
}

async fn fetch_at(
    bytes_per_s: Option<u64>,
    nodes: &[&Node],
    to: &Path,
    events: &Mutex<Vec<FetchEvent>>,
    on_event: impl Fn(&FetchEvent) + Sync,
) -> io::Result<Fetched> {
    let own = SigningKey::from_seed(&seed(20)).unwrap().public();
    let members = nodes.iter().enumerate().map(|(at, node)| node.member(&format!("node-{at}"))).collect();
    let world = World::system();
    let roster = Roster::open(&world, own, None, members).unwrap();
    let bandwidth = Bandwidth::new(&world, bytes_per_s);
    let fetcher = Fetcher::bind(&world, &seed(20), roster, Some(to), bandwidth, &Relays::default()).await?;
    let directory = to.join("staging");
    let order =
        FetchOrder { share: "model/a/b", directory: &directory, root: None, peers: &[], bytes_max: None };
    let note = |event: &FetchEvent| {
        events.lock().unwrap().push(event.clone());
        on_event(event);
    };
    let fetched = fetcher.fetch(order, &note).await;
    fetcher.close().await;
    fetched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_whole_though_one_peer_corrupts_and_one_dies() {
    let nodes = [sharing(10).await, sharing(11).await, sharing(12).await];
    let to = tempfile::tempdir().unwrap();
    let events = Mutex::default();
    // A bit rots on one peer's disk after its manifest was made: the time and the length stay.
    let file = nodes[1].data.path().join("shared/model.safetensors");
    let (rots, dies) = (AtomicBool::new(true), AtomicBool::new(true));
    let from = nodes.each_ref();
    let fetched = fetch(&from, to.path(), &events, |event| match event {
        FetchEvent::Started { .. } if rots.swap(false, Ordering::SeqCst) => rot(&file),
        FetchEvent::Moved { .. } if dies.swap(false, Ordering::SeqCst) => {
            let mesh = Arc::clone(&nodes[2].mesh);
            drop(tokio::spawn(async move { mesh.close(Duration::from_secs(1)).await }));
        }
        _ => {}
    });
    let fetched = fetched.await.unwrap();
    assert_eq!(fetched.manifest.files.len(), 2);
    for name in ["model.safetensors", "config.json"] {
        let came = to.path().join("staging").join(name);
        let was = nodes[0].data.path().join("shared").join(name);
        assert!(std::fs::read(came).unwrap() == std::fs::read(was).unwrap(), "{name}");
    }
    let events = events.lock().unwrap();
    let is_lie = |event: &FetchEvent| matches!(event, FetchEvent::Ejected { peer, .. } if peer == "node-1");
    assert!(events.iter().any(is_lie), "{events:?}");
    assert!(fetched.chunks_by_peer["node-0"] > 0);
    assert!(std::fs::read_to_string(to.path().join("ejected-peers.json")).unwrap().contains("was promised"));
}

/// What a peer sends faster than it is taken, a full buffer of the kernel drops, and gaps remain until it is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_keeps_its_peer() {
    let node = sharing(14).await;
    let to = tempfile::tempdir().unwrap();
    let events = Mutex::default();
    let fetched = fetch_at(Some(6 << 20), &[&node], to.path(), &events, |_| {}).await.unwrap();
    assert_eq!(fetched.chunks_by_peer["node-0"], 8);
    let events = events.lock().unwrap();
    let is_left_out = |event: &FetchEvent| matches!(event, FetchEvent::Lost { .. });
    assert!(!events.iter().any(is_left_out), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_was_left_goes_on() {
    let node = sharing(13).await;
    let to = tempfile::tempdir().unwrap();
    let events = Mutex::default();
    let left = Notify::new();
    let stop = AtomicU64::new(0);
    let from = [&node];
    let whole = fetch(&from, to.path(), &events, |event| {
        if matches!(event, FetchEvent::Moved { .. }) && stop.fetch_add(1, Ordering::SeqCst) == 2 {
            left.notify_one();
        }
    });
    tokio::select! {
        _ = whole => {}
        () = left.notified() => {}
    }
    events.lock().unwrap().clear();
    fetch(&[&node], to.path(), &events, |_| {}).await.unwrap();
    let events = events.lock().unwrap();
    let FetchEvent::Started { bytes_here, .. } = &events[0] else { unreachable!() };
    assert!(*bytes_here >= 2 * CHUNK_BYTES as u64, "{events:?}");
}

fn rot(path: &Path) {
    use std::os::unix::fs::FileExt;
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for chunk in 0..6 {
        file.write_all_at(b"rotten", chunk * CHUNK_BYTES as u64 + 10).unwrap();
    }
    file.set_modified(modified).unwrap();
}
