//! A TCP relay in front of a PostgreSQL server that loses replies, closes connections and stops forwarding,
//! to simulate network failures.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The end of a `COMMIT` in PostgreSQL's protocol, in both the query and its reply.
const COMMIT: &[u8] = b"COMMIT\0";

/// The state of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No bytes are forwarded in either direction.
    Silent,
    /// All connections are closed and new ones are refused.
    Cut,
}

struct Shared {
    server: SocketAddr,
    state: watch::Sender<State>,
    /// Incremented to close open connections.
    cuts: watch::Sender<u64>,
    answers_to_lose: AtomicU32,
    answers_lost: AtomicU32,
}

/// A running relay; dropping it stops it.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            state: watch::channel(State::Open).0,
            cuts: watch::channel(0).0,
            answers_to_lose: AtomicU32::new(0),
            answers_lost: AtomicU32::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// The same database URL, through this relay.
    pub fn url(&self, url: &str) -> String {
        url.replace(&self.shared.server.to_string(), &self.address.to_string())
    }

    /// Drops the server's replies to the next `count` commits and closes their connections.
    pub fn lose_answers(&self, count: u32) {
        self.shared.answers_to_lose.store(count, Ordering::SeqCst);
    }

    pub fn answers_lost(&self) -> u32 {
        self.shared.answers_lost.load(Ordering::SeqCst)
    }

    /// Closes every connection; new ones are accepted.
    pub fn cut_once(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Closes every connection and accepts none until `open`.
    pub fn cut(&self) {
        self.shared.state.send_replace(State::Cut);
        self.cut_once();
    }

    /// Forwards nothing until `open`.
    pub fn silence(&self) {
        self.shared.state.send_replace(State::Silent);
    }

    pub fn open(&self) {
        self.shared.state.send_replace(State::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut cuts = shared.cuts.subscribe();
            if *shared.state.borrow() == State::Cut {
                return;
            }
            tokio::select! {
                _ = cuts.changed() => {}
                _ = relay(client, &shared) => {}
            }
        });
    }
}

async fn relay(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut server = TcpStream::connect(shared.server).await?;
    let mut state = shared.state.subscribe();
    let (mut request, mut response) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let (bytes, is_question) = tokio::select! {
            count = client.read(&mut request) => (request.get(..count?).unwrap_or_default(), true),
            count = server.read(&mut response) => (response.get(..count?).unwrap_or_default(), false),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let _ = state.wait_for(|state| *state != State::Silent).await;
        if is_question {
            server.write_all(bytes).await?;
        } else if memmem::find(bytes, COMMIT).is_some() && shared.loses_an_answer() {
            return Ok(());
        } else {
            client.write_all(bytes).await?;
        }
    }
}

impl Shared {
    fn loses_an_answer(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        let loses = self.answers_to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        self.answers_lost.fetch_add(u32::from(loses), Ordering::SeqCst);
        loses
    }
}
