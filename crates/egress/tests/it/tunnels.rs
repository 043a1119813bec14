//! Requests through a tunnel that a node opened: a slow reader holds up nobody, cancellation arrives, and a hostile node
//! harms only itself. The connection is a pipe.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use domain::{NodeId, WorkspaceId};
use egress::{
    Client, Destination, EgressErrorKind, EgressSettings, InBody, Request, TUNNEL_LEAVING_PATH,
    TUNNEL_PING_PATH, TUNNEL_SPARE_HEADER, TUNNEL_SPARES_MAX, TargetKind, TunnelEnd, TunnelOwner, Tunnels,
    adopt_spare, tunnel_url,
};
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

const WITHIN: Duration = Duration::from_secs(20);
const PIECE: usize = 8 * 1024;

/// What the node's end has seen.
#[derive(Default)]
struct Seen {
    pieces: Cell<usize>,
    /// Endless bodies that were dropped.
    dropped: Cell<usize>,
    leaving: Cell<bool>,
    stop: Rc<Notify>,
    paths: RefCell<Vec<String>>,
    /// Requests that could have come over a spare connection.
    wanting: Cell<usize>,
}

enum Said {
    Whole(Option<Bytes>),
    Endless(Rc<Seen>),
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Endless(seen) => {
                seen.pieces.set(seen.pieces.get() + 1);
                Some(Ok(Frame::data(Bytes::from_static(&[b'a'; PIECE]))))
            }
        })
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        if let Self::Endless(seen) = self {
            seen.dropped.set(seen.dropped.get() + 1);
        }
    }
}

#[derive(Clone, Copy)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

/// Serves our end of a tunnel, until `stop` has it finish what runs.
async fn node(wire: DuplexStream, seen: Rc<Seen>) {
    let stop = Rc::clone(&seen.stop);
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let path = request.uri().path().to_owned();
            let is_wanting = request.headers().contains_key(TUNNEL_SPARE_HEADER);
            seen.wanting.set(seen.wanting.get() + usize::from(is_wanting));
            let mut answer = Response::new(Said::Whole(Some(Bytes::from_static(b"[]"))));
            match path.as_str() {
                TUNNEL_PING_PATH => *answer.status_mut() = StatusCode::NO_CONTENT,
                TUNNEL_LEAVING_PATH => {
                    seen.leaving.set(true);
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                }
                "/v1/endless" => *answer.body_mut() = Said::Endless(Rc::clone(&seen)),
                "/v1/silent" => pending().await,
                "/v1/huge" => {
                    let huge = "a".repeat(20 * 1024);
                    answer.headers_mut().insert("x-huge", huge.parse().unwrap());
                }
                _ => {}
            }
            seen.paths.borrow_mut().push(path);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection =
        std::pin::pin!(http2::Builder::new(Local).serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.notified() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn at_node(owner: WorkspaceId) -> Destination {
    Destination { kind: TargetKind::Node, owner: Some(owner) }
}

struct Fixture {
    tunnels: Arc<Tunnels>,
    client: Client,
    owner: TunnelOwner,
    is_closing: Rc<Notify>,
    ends: Rc<RefCell<Vec<TunnelEnd>>>,
}

impl Fixture {
    fn new() -> Self {
        let settings = EgressSettings::default();
        let owner = TunnelOwner {
            node: NodeId::new(1, [1; 10]),
            workspace: WorkspaceId::new(1, [1; 10]),
            credential: [7; 32],
            version: "1".into(),
            protocol: 1,
            core: 0,
            since_unix_ms: 1,
        };
        let (tunnels, client) = (Arc::clone(&settings.tunnels), Client::new(Arc::new(settings)).unwrap());
        Self { tunnels, client, owner, is_closing: Rc::default(), ends: Rc::default() }
    }

    /// With a tunnel to a proper node.
    async fn with_node() -> (Self, Rc<Seen>) {
        let fixture = Self::new();
        let seen = fixture.open().await;
        (fixture, seen)
    }

    /// Another node at the same gateway.
    fn beside(&self) -> Self {
        let owner = TunnelOwner { node: NodeId::new(2, [2; 10]), ..self.owner.clone() };
        let (tunnels, client) = (Arc::clone(&self.tunnels), self.client.clone());
        Self { tunnels, client, owner, is_closing: Rc::default(), ends: Rc::default() }
    }

    /// Carries a tunnel over our end of a pipe; the other is returned.
    fn carry(&self, expires: Duration) -> DuplexStream {
        let (ours, theirs) = duplex(64 * 1024);
        let (tunnels, owner) = (Arc::clone(&self.tunnels), self.owner.clone());
        let (is_closing, ends) = (Rc::clone(&self.is_closing), Rc::clone(&self.ends));
        spawn_local(async move {
            let closing = async move { is_closing.notified().await };
            let end = tunnels.carry(ours, owner, Instant::now() + expires, closing, || {}).await;
            ends.borrow_mut().push(end);
        });
        theirs
    }

    /// Opens a tunnel to a node that writes its frames by hand.
    async fn raw(&self) -> Raw {
        let opened = self.tunnels.owners().len() + 1;
        let mut raw = Raw { wire: self.carry(WITHIN), is_begun: false };
        raw.send(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat()).await.unwrap();
        let ping = raw.request().await;
        raw.send(&frame(HEADERS, 5, ping, NO_CONTENT)).await.unwrap();
        until("the tunnel is open", || self.tunnels.owners().len() >= opened).await;
        raw
    }

    fn end(&self) -> TunnelEnd {
        self.ends.borrow().last().unwrap().clone()
    }

    /// Opens a tunnel to a proper node.
    async fn open(&self) -> Rc<Seen> {
        let seen = Rc::<Seen>::default();
        let opened = self.tunnels.owners().len() + 1;
        spawn_local(node(self.carry(WITHIN), Rc::clone(&seen)));
        until("the tunnel is open", || self.tunnels.owners().len() >= opened).await;
        seen
    }

    fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, format!("{}/{path}", tunnel_url(self.owner.node)).parse().unwrap())
    }

    async fn send(&self, path: &str, owner: WorkspaceId) -> Result<egress::Answer, egress::EgressError> {
        let request = self.request(Method::GET, path);
        timeout(WITHIN, self.client.send(&request, at_node(owner))).await.unwrap()
    }

    async fn get(&self, path: &str) -> Result<egress::Answer, egress::EgressError> {
        self.send(path, self.owner.workspace).await
    }

    async fn serves(&self) {
        assert_eq!(self.get("models").await.unwrap().status, 200);
    }

    async fn is_gone(&self) {
        until("the tunnel is gone", || self.tunnels.facts(self.owner.node).is_none()).await;
    }
}

const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
/// `:status` of the static table of HPACK: 204, and 100 in letters.
const NO_CONTENT: &[u8] = &[0x89];
const CONTINUE: &[u8] = &[0x48, 3, b'1', b'0', b'0'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A node's end of a tunnel, frame by frame.
struct Raw {
    wire: DuplexStream,
    is_begun: bool,
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(WITHIN, self.wire.write_all(bytes)).await.unwrap()
    }

    /// The stream of the next request.
    async fn request(&mut self) -> u32 {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.wire.read_exact(&mut [0; 24]).await.unwrap();
        }
        loop {
            let mut head = [0; 9];
            self.wire.read_exact(&mut head).await.unwrap();
            let [high, middle, low, kind, _, stream @ ..] = head;
            let mut payload = vec![0; usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)];
            self.wire.read_exact(&mut payload).await.unwrap();
            if kind == HEADERS {
                return u32::from_be_bytes(stream);
            }
        }
    }

    /// Writes the same until the gateway takes no more; what comes back is read.
    async fn flood(self, bytes: Vec<u8>) {
        let (mut reading, mut writing) = tokio::io::split(self.wire);
        let read = spawn_local(async move {
            let mut scratch = vec![0; 64 * 1024];
            while matches!(reading.read(&mut scratch).await, Ok(count) if count > 0) {}
        });
        let many = bytes.repeat(1 + 8_000 / bytes.len().max(1));
        let flooding = async { while writing.write_all(&many).await.is_ok() {} };
        assert!(timeout(WITHIN, flooding).await.is_ok(), "the gateway reads on");
        read.abort();
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(WITHIN, waiting).await.is_ok(), "{what}");
}

async fn piece(body: &mut InBody) -> Option<Result<Bytes, egress::EgressError>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    let frame = timeout(WITHIN, frame).await.unwrap()?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_reader_that_reads_nothing_holds_up_nobody() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        let mut slow = Vec::new();
        for _ in 0..8 {
            slow.push(fixture.get("endless").await.unwrap());
        }
        // Each has filled its window, and the node waits.
        let mut before = usize::MAX;
        while before != seen.pieces.get() {
            before = seen.pieces.get();
            for _ in 0..64 {
                fixture.serves().await;
            }
        }
        assert!(before * PIECE >= 8 * 200 * 1024, "{before} pieces");
        assert_eq!(fixture.tunnels.facts(fixture.owner.node).unwrap().streams, 8);
        // It goes on where it is read.
        let mut first = slow.remove(0).body;
        for _ in 0..100 {
            assert!(!piece(&mut first).await.unwrap().unwrap().is_empty());
        }
        assert!(seen.pieces.get() > before);
    });
}

#[test]
fn a_client_that_leaves_ends_the_work_at_the_node() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        drop(fixture.get("endless").await.unwrap());
        until("the endless body is dropped", || seen.dropped.get() == 1).await;
        // One that left before the head.
        let request = fixture.request(Method::GET, "silent");
        let sending = fixture.client.send(&request, at_node(fixture.owner.workspace));
        assert!(timeout(Duration::from_millis(50), sending).await.is_err());
        until("its place is free", || fixture.tunnels.facts(fixture.owner.node).unwrap().streams == 0).await;
        fixture.serves().await;
    });
}

#[test]
fn a_tunnel_is_its_workspaces_alone_and_closed_at_once() {
    run(async {
        let fixture = Fixture::new();
        let stranger = WorkspaceId::new(2, [2; 10]);
        let none = fixture.get("models").await.unwrap_err();
        assert_eq!((none.kind, none.request_sent), (EgressErrorKind::Connect, false));
        fixture.open().await;
        let refused = fixture.send("models", stranger).await.unwrap_err();
        assert_eq!((refused.kind, refused.request_sent), (EgressErrorKind::Connect, false));
        let request = fixture.request(Method::GET, "models");
        let outside = fixture.client.send(&request, TargetKind::Provider).await;
        assert_eq!(outside.unwrap_err().kind, EgressErrorKind::Guard);
        let mut running = fixture.get("endless").await.unwrap().body;
        fixture.tunnels.close_credential(fixture.owner.node, [8; 32]);
        assert!(piece(&mut running).await.unwrap().is_ok());
        fixture.tunnels.close(fixture.owner.node);
        let cut = async { while let Some(Ok(_)) = piece(&mut running).await {} };
        assert!(timeout(Duration::from_secs(1), cut).await.is_ok(), "what ran is cut");
        fixture.is_gone().await;
        assert!(fixture.get("models").await.is_err());
    });
}

#[test]
fn who_leaves_lets_what_runs_finish() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        let mut running = fixture.get("endless").await.unwrap().body;
        fixture.is_closing.notify_one();
        while !seen.leaving.get() {
            assert!(piece(&mut running).await.unwrap().is_ok());
        }
        assert!(fixture.get("models").await.is_err(), "it takes nothing new");
        for _ in 0..100 {
            assert!(piece(&mut running).await.unwrap().is_ok());
        }
        drop(running);
        fixture.is_gone().await;
    });
}

#[test]
fn a_node_that_leaves_finishes_what_runs() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        let mut running = fixture.get("endless").await.unwrap().body;
        seen.stop.notify_one();
        while fixture.get("models").await.is_ok() {}
        for _ in 0..200 {
            assert!(piece(&mut running).await.unwrap().is_ok());
        }
        let next = fixture.open().await;
        fixture.serves().await;
        assert_eq!(next.paths.borrow().last().map(String::as_str), Some("/v1/models"));
        // Revoking cuts what runs in the old one, too.
        fixture.tunnels.close(fixture.owner.node);
        while let Some(Ok(_)) = piece(&mut running).await {}
        fixture.is_gone().await;
    });
}

#[test]
fn the_newest_takes_over_and_an_expired_one_ends() {
    run(async {
        let fixture = Fixture::new();
        let mut running = Vec::new();
        for count in 1..=3 {
            let seen = fixture.open().await;
            running.push(fixture.get("endless").await.unwrap().body);
            assert_eq!((seen.pieces.get() > 0, fixture.tunnels.owners().len()), (true, count));
        }
        // A fourth is one too many: what runs in the oldest is cut, and in no other.
        let newest = Rc::<Seen>::default();
        spawn_local(node(fixture.carry(WITHIN), Rc::clone(&newest)));
        let mut oldest = running.remove(0);
        while let Some(Ok(_)) = piece(&mut oldest).await {}
        for body in &mut running {
            assert!(piece(body).await.unwrap().is_ok());
        }
        fixture.serves().await;
        assert_eq!(newest.paths.borrow().last().map(String::as_str), Some("/v1/models"));
        // The others end with what runs in them.
        drop(running);
        until("one is left", || fixture.tunnels.owners().len() == 1).await;
        fixture.serves().await;
        fixture.tunnels.close(fixture.owner.node);
        fixture.is_gone().await;
        spawn_local(node(fixture.carry(Duration::from_millis(200)), Rc::default()));
        until("it is open", || fixture.tunnels.facts(fixture.owner.node).is_some()).await;
        fixture.is_gone().await;
    });
}

#[test]
fn a_hostile_node_harms_only_its_tunnel() {
    run(async {
        let fixture = Fixture::new();
        let greetings: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\n\r\n",
            // Settings of a length that they can't have.
            &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],
            // A frame of sixteen megabytes.
            &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
            // A promised stream.
            &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 5, 4, 0, 0, 0, 1, 0, 0, 0, 2],
        ];
        for greeting in greetings {
            let mut wire = fixture.carry(WITHIN);
            wire.write_all(greeting).await.unwrap();
            assert!(timeout(WITHIN, wire.read_to_end(&mut Vec::new())).await.is_ok(), "{greeting:?}");
            assert!(fixture.tunnels.facts(fixture.owner.node).is_none(), "{greeting:?}");
        }
        // It says nothing at all: the first ping ends it.
        let silent = fixture.carry(WITHIN);
        assert!(timeout(WITHIN, { silent }.read_to_end(&mut Vec::new())).await.is_ok());
        fixture.open().await;
        assert!(fixture.get("huge").await.is_err(), "headers beyond the limit");
        assert_eq!(fixture.get("models").await.unwrap().status, 200, "the others are not harmed");
    });
}

#[test]
fn a_flood_of_frames_ends_its_tunnel_and_harms_no_other() {
    run(async {
        let fixture = Fixture::new();
        let neighbour = fixture.beside();
        neighbour.open().await;
        let unit = 1_u32.to_be_bytes();
        let floods = [
            frame(PING, 0, 0, &[7; 8]),
            frame(SETTINGS, 0, 0, &[]),
            // A table for headers of four gigabytes.
            frame(SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff]),
            frame(WINDOW, 0, 0, &unit),
            frame(RESET, 0, 1, &unit),
            frame(200, 0, 0, &[1; 30]),
        ];
        for flood in floods {
            let flooding = spawn_local(fixture.raw().await.flood(flood.clone()));
            while !flooding.is_finished() {
                assert_eq!(neighbour.get("models").await.unwrap().status, 200, "{flood:?}");
            }
            flooding.await.unwrap();
            fixture.is_gone().await;
            assert_eq!(fixture.end(), TunnelEnd::Flooded, "{flood:?}");
        }
        assert_eq!(neighbour.tunnels.owners().len(), 1);
    });
}

#[test]
fn frames_that_no_node_sends_end_the_tunnel_at_once() {
    run(async {
        let fixture = Fixture::new();
        let most = 0x7fff_ffff_u32.to_be_bytes();
        let broken = [
            vec![0xff; 64],
            // A head on a stream that nobody opened, a piece of a head, data, a reset and a window there.
            frame(HEADERS, 5, 99, NO_CONTENT),
            frame(9, 4, 1, NO_CONTENT),
            frame(0, 0, 99, &[1]),
            frame(RESET, 0, 99, &[0, 0, 0, 8]),
            frame(WINDOW, 0, 0, &[0; 4]),
            // A window beyond the largest.
            [frame(WINDOW, 0, 0, &most), frame(WINDOW, 0, 0, &most)].concat(),
            // A ping and settings of a wrong length, and a header table that says nothing.
            frame(PING, 0, 0, &[1; 7]),
            frame(SETTINGS, 0, 0, &[1; 5]),
            frame(HEADERS, 5, 1, &[0xff; 40]),
            // A head without an end, in pieces.
            [frame(HEADERS, 0, 1, NO_CONTENT), frame(9, 0, 1, NO_CONTENT).repeat(10_000)].concat(),
        ];
        for bytes in broken {
            let mut raw = fixture.raw().await;
            // It may end while this is being written.
            let _ = raw.send(&bytes).await;
            fixture.is_gone().await;
            let end = fixture.end();
            assert!(matches!(end, TunnelEnd::Broke(_)), "{end} {:?}", &bytes[..bytes.len().min(20)]);
        }
        fixture.open().await;
        fixture.serves().await;
    });
}

#[test]
fn heads_without_end_are_an_error_of_their_request() {
    run(async {
        let fixture = Fixture::new();
        let mut raw = fixture.raw().await;
        let answering = async {
            let stream = raw.request().await;
            raw.send(&frame(HEADERS, 4, stream, CONTINUE).repeat(17)).await.unwrap();
            raw
        };
        let (refused, mut raw) = tokio::join!(fixture.get("models"), answering);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, EgressErrorKind::Protocol, "{refused:?}");
        // The tunnel serves the next.
        let answering = async {
            let stream = raw.request().await;
            let heads = [frame(HEADERS, 4, stream, CONTINUE), frame(HEADERS, 5, stream, NO_CONTENT)].concat();
            raw.send(&heads).await.unwrap();
            raw
        };
        let (answer, raw) = tokio::join!(fixture.get("models"), answering);
        assert_eq!(answer.unwrap().status, 204);
        drop(raw);
        fixture.is_gone().await;
        assert_eq!(fixture.end(), TunnelEnd::Left);
    });
}

#[test]
fn a_node_that_reads_nothing_is_given_up() {
    run(async {
        let fixture = Fixture::new();
        let neighbour = fixture.beside();
        neighbour.open().await;
        let raw = fixture.raw().await;
        tokio::time::pause();
        let mut request = fixture.request(Method::POST, "models");
        request.body = Bytes::from(vec![b'a'; 1 << 20]).into();
        let failed = fixture.client.send(&request, at_node(fixture.owner.workspace)).await.unwrap_err();
        assert!(failed.request_sent, "{failed:?}");
        assert_eq!(fixture.end(), TunnelEnd::Silent);
        fixture.is_gone().await;
        drop(raw);
        neighbour.serves().await;
    });
}

#[test]
fn tunnels_for_other_cores_stay() {
    run(async {
        let fixture = Fixture::new();
        let mut second = fixture.beside();
        second.owner = TunnelOwner { core: 1, ..fixture.owner.clone() };
        fixture.open().await;
        second.open().await;
        assert_eq!(fixture.tunnels.owners().len(), 2);
        // Each takes over from the one for its core.
        let newest = Rc::<Seen>::default();
        spawn_local(node(second.carry(WITHIN), Rc::clone(&newest)));
        until("it took over", || *second.ends.borrow() == [TunnelEnd::Superseded]).await;
        assert_eq!(fixture.tunnels.owners().len(), 2);
        fixture.serves().await;
        assert_eq!(newest.paths.borrow().last().map(String::as_str), Some("/v1/models"));
        assert_eq!(fixture.tunnels.count(fixture.owner.workspace), 1);
        fixture.tunnels.close(fixture.owner.node);
        fixture.is_gone().await;
    });
}

/// A node's end of a spare connection.
struct Spare(TcpStream);

impl Spare {
    /// Opens one to the gateway's end as the owner says, which may refuse it.
    async fn open(fixture: &Fixture, owner: &TunnelOwner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        adopt_spare(&fixture.tunnels, far.unwrap().0, owner);
        Self(near.unwrap())
    }

    /// Reads the head of a request.
    async fn request(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(WITHIN, self.0.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Says this to the next request, and returns its head.
    async fn answer(&mut self, text: &str) -> String {
        let head = self.request().await;
        self.say(text).await;
        head
    }

    async fn is_closed(&mut self) -> bool {
        timeout(WITHIN, self.0.read(&mut [0])).await.unwrap().is_ok_and(|count| count == 0)
    }
}

const EMPTY_LIST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";
const BEGUN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[";

#[test]
fn a_spare_connection_comes_before_the_tunnel() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        let by_tunnel = || seen.paths.borrow().iter().filter(|path| *path == "/v1/models").count();
        let mut spare = Spare::open(&fixture, &fixture.owner).await;
        for _ in 0..3 {
            let (answer, head) = tokio::join!(fixture.get("models"), spare.answer(EMPTY_LIST));
            assert!(head.starts_with("GET /v1/models HTTP/1.1\r\n"), "{head}");
            assert_eq!(answer.unwrap().body.read_to_end(10).await.unwrap(), "[]");
        }
        assert_eq!(by_tunnel(), 0);
        // It is in use: the next is a stream of the tunnel.
        let (answer, _) = tokio::join!(fixture.get("models"), async {
            spare.request().await;
            fixture.serves().await;
            spare.say(BEGUN).await;
        });
        assert_eq!((by_tunnel(), fixture.tunnels.facts(fixture.owner.node).unwrap().streams), (1, 1));
        // Whoever leaves before the end has it closed.
        drop(answer);
        assert!(spare.is_closed().await);
        fixture.serves().await;
        assert_eq!((by_tunnel(), seen.wanting.get()), (2, 2));
    });
}

#[test]
fn a_spare_connection_ends_with_its_tunnel() {
    run(async {
        let (fixture, _) = Fixture::with_node().await;
        // The last that came is used first.
        let mut idle = Spare::open(&fixture, &fixture.owner).await;
        let mut busy = Spare::open(&fixture, &fixture.owner).await;
        let (answer, _) = tokio::join!(fixture.get("models"), busy.answer(BEGUN));
        let mut body = answer.unwrap().body;
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "[");
        fixture.tunnels.close(fixture.owner.node);
        let cut = timeout(Duration::from_secs(1), piece(&mut body)).await.expect("it is cut");
        assert_eq!(cut.unwrap().unwrap_err().kind, EgressErrorKind::Closed);
        drop(body);
        assert!(busy.is_closed().await && idle.is_closed().await);
        fixture.is_gone().await;
        // Without a tunnel there is none, either.
        assert!(Spare::open(&fixture, &fixture.owner).await.is_closed().await);
        assert!(fixture.get("models").await.is_err());
    });
}

#[test]
fn who_leaves_answers_what_runs_over_spare_connections() {
    run(async {
        let (fixture, seen) = Fixture::with_node().await;
        let mut spare = Spare::open(&fixture, &fixture.owner).await;
        let (answer, _) = tokio::join!(fixture.get("models"), spare.answer(BEGUN));
        fixture.is_closing.notify_one();
        until("the node hears of it", || seen.leaving.get()).await;
        let mut other = Spare::open(&fixture, &fixture.owner).await;
        assert!(other.is_closed().await, "nothing new comes over it");
        assert!(fixture.get("models").await.is_err());
        spare.say("1,2").await;
        assert_eq!(answer.unwrap().body.read_to_end(10).await.unwrap(), "[1,2");
        fixture.is_gone().await;
        assert!(spare.is_closed().await);
    });
}

#[test]
fn spare_connections_are_the_nodes_own_and_bounded() {
    run(async {
        let (fixture, _seen) = Fixture::with_node().await;
        let others = [
            TunnelOwner { credential: [8; 32], ..fixture.owner.clone() },
            TunnelOwner { core: 1, ..fixture.owner.clone() },
            fixture.beside().owner,
        ];
        for owner in others {
            assert!(Spare::open(&fixture, &owner).await.is_closed().await, "{owner:?}");
        }
        let mut all = Vec::new();
        for _ in 0..TUNNEL_SPARES_MAX {
            all.push(Spare::open(&fixture, &fixture.owner).await);
        }
        assert!(Spare::open(&fixture, &fixture.owner).await.is_closed().await, "one too many");
        assert_eq!(fixture.tunnels.facts(fixture.owner.node).unwrap().spares, TUNNEL_SPARES_MAX);
        // What is no answer is an error of its request.
        let last = all.last_mut().unwrap();
        let (broken, _) = tokio::join!(fixture.get("models"), last.answer("HTTP/1.1 nonsense\r\n\r\n"));
        assert!(broken.is_err_and(|error| error.request_sent));
        fixture.tunnels.close(fixture.owner.node);
        for mut spare in all {
            assert!(spare.is_closed().await);
        }
    });
}
