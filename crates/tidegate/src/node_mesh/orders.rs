//! `tidegate node fetch` beside a running node: the node fetches with its own connections, since two endpoints with one key would
//! take each other's. The order comes through a socket in the data directory, which its owner alone can open.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use peers::{Bandwidth, FetchEvent, FetchOrder, Fetched, Fetcher, Member, Mesh};
use proof::Digest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use world::World;

use crate::limits::{FETCH_ORDER_BYTES_MAX, FETCH_ORDERS_MAX, FETCH_REPORTS_MAX};

const SOCKET: &str = "fetch.sock";

/// What is to be fetched.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub share: String,
    pub directory: PathBuf,
    pub root: Option<Digest>,
    pub peers: Vec<String>,
    /// Those of the file of `--peers`.
    pub members: Vec<Member>,
    pub bandwidth_mib: Option<u64>,
}

/// What the node says of it, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    Event(FetchEvent),
    Fetched(Fetched),
    Failed(String),
}

/// Bytes per second.
pub const fn bandwidth(mib: Option<u64>) -> Option<u64> {
    match mib {
        Some(mib) => Some(mib.saturating_mul(1 << 20)),
        None => None,
    }
}

/// Opens the socket of a data directory whose lock this process holds.
///
/// # Errors
/// The path is too long for a socket, or the disk fails.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = data_dir.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Fetches what is ordered, until the task is stopped.
pub async fn serve(listener: UnixListener, mesh: Arc<Mesh>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if running.len() < FETCH_ORDERS_MAX => match accepted {
                Ok((stream, _)) => running.push(answer(stream, Arc::clone(&mesh))),
                Err(error) => {
                    tracing::warn!(%error, "`tidegate node fetch` can't use this node's connections any more");
                    break;
                }
            },
            Some(done) = running.next() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "who ordered a fetch has gone");
                }
            }
        }
    }
    while running.next().await.is_some() {}
}

async fn answer(stream: UnixStream, mesh: Arc<Mesh>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let (mut read, mut text) = (BufReader::new(read.take(FETCH_ORDER_BYTES_MAX)), String::new());
    read.read_line(&mut text).await?;
    let order: Order = serde_json::from_str(&text)?;
    let received = Bandwidth::new(&World::system(), bandwidth(order.bandwidth_mib));
    let fetcher = Fetcher::of(&mesh, received, order.members);
    let (sender, mut events) = mpsc::channel(FETCH_REPORTS_MAX);
    // Progress that nobody reads is left out; other events are few.
    let on_event = |event: &FetchEvent| drop(sender.try_send(event.clone()));
    let wanted = FetchOrder {
        share: &order.share,
        directory: &order.directory,
        root: order.root,
        peers: &order.peers,
        bytes_max: None,
    };
    let mut fetching = std::pin::pin!(fetcher.fetch(wanted, &on_event));
    let mut rest = [0; 1];
    let fetched = loop {
        tokio::select! {
            Some(event) = events.recv() => say(&mut write, &Report::Event(event)).await?,
            fetched = &mut fetching => break fetched,
            // Who ordered it sends nothing more, and goes when it is interrupted.
            _ = read.read(&mut rest) => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
    };
    while let Ok(event) = events.try_recv() {
        say(&mut write, &Report::Event(event)).await?;
    }
    let last = fetched.map_or_else(|error| Report::Failed(error.to_string()), Report::Fetched);
    say(&mut write, &last).await
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// Has the node that runs in a data directory fetch. `None` if none does, or it has no peers.
///
/// # Errors
/// The fetch failed, or the node stopped meanwhile.
pub async fn ask(
    data_dir: &Path,
    order: &Order,
    on_event: &(dyn Fn(&FetchEvent) + Sync),
) -> io::Result<Option<Fetched>> {
    let Ok(stream) = UnixStream::connect(data_dir.join(SOCKET)).await else { return Ok(None) };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Report::Event(event) => on_event(&event),
            Report::Fetched(fetched) => return Ok(Some(fetched)),
            Report::Failed(why) => return Err(io::Error::other(why)),
        }
    }
    Err(io::Error::other(
        "the node that runs here stopped meanwhile. What came is kept: the same command goes on from there",
    ))
}
