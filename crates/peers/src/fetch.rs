//! Fetches a shared folder from several peers at once. Each chunk is verified; a peer that sends a wrong one is ejected, and what a
//! lost peer was to send comes from the others.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use iroh::Endpoint;
use iroh::endpoint::Connection;
use proof::Digest;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use world::World;

use crate::bandwidth::Bandwidth;
use crate::ejected::Ejections;
use crate::frames::{broken, invalid, read_head, write_head};
use crate::library::{BlockAnswer, BlockRequest};
use crate::limits::{
    CHUNK_PACE_BYTES, CHUNK_TIMEOUT, CHUNKS_AT_A_TIME, FETCH_PAUSE, FETCH_ROUNDS_MAX, MANIFEST_BYTES_MAX,
    MANIFEST_TIMEOUT,
};
use crate::manifest::{ChunkManifest, ChunkPlace};
use crate::members::{Member, Roster};
use crate::mesh::{BLOCKS, Mesh, Relays, Traffic, bind, dial};
use crate::partial::Partial;

/// Fetches from the members of a roster.
pub struct Fetcher {
    endpoint: Endpoint,
    roster: Arc<Roster>,
    ejections: Arc<Ejections>,
    bandwidth: Bandwidth,
    relays: Relays,
    /// The mesh that it belongs to, whose counts it adds to.
    mesh: Option<Arc<Mesh>>,
}

/// What is fetched, and where to.
#[derive(Debug, Clone, Copy)]
pub struct FetchOrder<'a> {
    /// `model/NAME` or `adapter/NAME`.
    pub share: &'a str,
    /// The directory of the files until they are complete; what is in it is taken up.
    pub directory: &'a Path,
    /// The digest of the whole; without it, that which most peers have.
    pub root: Option<Digest>,
    /// The names of the peers; empty for all.
    pub peers: &'a [String],
    /// The most that it may have; `None` takes whatever fits on the disk.
    pub bytes_max: Option<u64>,
}

/// How a fetch goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchEvent {
    Started {
        root: Digest,
        peers: Vec<String>,
        bytes: u64,
        bytes_here: u64,
    },
    Moved {
        bytes_here: u64,
        bytes: u64,
    },
    /// A peer can't be reached, or does not have the files.
    Lost {
        peer: String,
        why: String,
    },
    /// A peer sent something else than it promised.
    Ejected {
        peer: String,
        why: String,
    },
}

/// A complete folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    pub manifest: ChunkManifest,
    /// How many chunks came from each peer in this run.
    pub chunks_by_peer: BTreeMap<String, u64>,
}

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchProgress {
    /// `model/NAME` or `adapter/NAME`.
    pub share: String,
    pub bytes: u64,
    /// What has arrived, and what was here before.
    pub bytes_here: u64,
    /// How many chunks came from each peer in this run.
    pub chunks_by_peer: BTreeMap<String, u64>,
}

/// A peer that has the manifest.
struct Source {
    member: Member,
    connection: Connection,
    in_flight: usize,
    is_lost: bool,
}

/// Why a chunk didn't come.
enum ChunkError {
    Lost(String),
    Lied(String),
}

type ChunkFuture<'a> =
    Pin<Box<dyn Future<Output = (usize, ChunkPlace, Result<Vec<u8>, ChunkError>)> + Send + 'a>>;

/// A fetch in progress.
struct Fetch<'a, 'e> {
    fetcher: &'a Fetcher,
    order: FetchOrder<'a>,
    manifest: Arc<ChunkManifest>,
    root: Digest,
    sources: Vec<Source>,
    pending: VecDeque<ChunkPlace>,
    /// The mesh shows it for as long as it is held here.
    progress: Arc<Mutex<FetchProgress>>,
    on_event: &'e (dyn Fn(&FetchEvent) + Sync),
}

impl Fetcher {
    /// A fetcher with an endpoint for itself, for a process that serves no peers.
    ///
    /// # Errors
    /// No socket can be bound, or the ejections can't be read.
    pub async fn bind(
        world: &World,
        seed: &[u8; 32],
        roster: Arc<Roster>,
        data_dir: Option<&Path>,
        bandwidth: Bandwidth,
        relays: &Relays,
    ) -> io::Result<Self> {
        let ejections = Arc::new(Ejections::open(world, data_dir)?);
        let endpoint = bind(seed, SocketAddr::from(([0, 0, 0, 0], 0)), Vec::new(), relays).await?;
        Ok(Self { endpoint, roster, ejections, bandwidth, relays: relays.clone(), mesh: None })
    }

    /// A fetcher for a node that serves peers, from these further members as well.
    pub fn of(mesh: &Arc<Mesh>, bandwidth: Bandwidth, further: Vec<Member>) -> Self {
        let roster = if further.is_empty() { Arc::clone(&mesh.roster) } else { mesh.roster.with(further) };
        Self {
            endpoint: mesh.endpoint.clone(),
            roster,
            relays: mesh.relays.clone(),
            ejections: Arc::clone(&mesh.ejections),
            bandwidth,
            mesh: Some(Arc::clone(mesh)),
        }
    }

    /// # Errors
    /// No peer has the files, all were lost or ejected, or the disk fails. What has arrived is kept.
    pub async fn fetch(
        &self,
        order: FetchOrder<'_>,
        on_event: &(dyn Fn(&FetchEvent) + Sync),
    ) -> io::Result<Fetched> {
        let found = self.ask_all(order, on_event).await?;
        let (manifest, sources) = self.agree(order, found, on_event)?;
        if let Some(most) = order.bytes_max.filter(|most| manifest.bytes() > *most) {
            let why = format!("{} has {} bytes; up to {most} are fetched", order.share, manifest.bytes());
            return Err(invalid(why));
        }
        let (manifest, directory) = (Arc::new(manifest), order.directory.to_owned());
        let opened = Arc::clone(&manifest);
        let partial = tasks::blocking(move || Partial::open(&directory, &opened)).await.map_err(broken)??;
        let pending: VecDeque<_> = manifest.places().filter(|place| !partial.has(*place)).collect();
        let missing: u64 = pending.iter().map(|place| length(&manifest, *place)).sum();
        let (root, bytes) = (manifest.root(), manifest.bytes());
        let progress = FetchProgress {
            share: order.share.to_owned(),
            bytes,
            bytes_here: bytes - missing,
            chunks_by_peer: BTreeMap::new(),
        };
        let peers = sources.iter().map(|source| source.member.name.clone()).collect();
        on_event(&FetchEvent::Started { root, peers, bytes, bytes_here: progress.bytes_here });
        let progress = Arc::new(Mutex::new(progress));
        if let Some(mesh) = &self.mesh {
            mesh.show_fetch(&progress);
        }
        let mut fetch = Fetch { fetcher: self, order, root, manifest, sources, pending, progress, on_event };
        let partial = fetch.run(partial).await?;
        let finished = Arc::clone(&fetch.manifest);
        tasks::blocking(move || partial.finish(&finished)).await.map_err(broken)??;
        let chunks_by_peer = fetch.progressing().chunks_by_peer.clone();
        Ok(Fetched { manifest: (*fetch.manifest).clone(), chunks_by_peer })
    }

    /// Closes the endpoint, if it has one for itself.
    pub async fn close(self) {
        if self.mesh.is_none() {
            self.endpoint.close().await;
        }
    }

    /// The members that may serve this order.
    fn members(&self, order: FetchOrder<'_>) -> Vec<Member> {
        let is_wanted = |member: &Member| {
            (order.peers.is_empty() || order.peers.contains(&member.name))
                && (!member.addresses.is_empty() || !self.relays.is_empty())
                && self.ejections.of(member.public_key.as_bytes()).is_none()
        };
        self.roster.members().into_iter().map(|(member, _)| member).filter(is_wanted).collect()
    }

    /// Asks all members for the manifest.
    async fn ask_all(
        &self,
        order: FetchOrder<'_>,
        on_event: &(dyn Fn(&FetchEvent) + Sync),
    ) -> io::Result<Vec<(Member, Connection, ChunkManifest)>> {
        let members = self.members(order);
        if members.is_empty() {
            return Err(invalid(
                "there is no peer to fetch from: name some with --peers, or join a gateway whose list has some",
            ));
        }
        let requests = members.into_iter().map(|member| async {
            let reply = self.ask(order.share, &member).await;
            (member, reply)
        });
        let (mut found, mut whys) = (Vec::new(), Vec::new());
        for (member, reply) in join_all(requests).await {
            match reply {
                Ok((connection, manifest)) => found.push((member, connection, manifest)),
                Err(error) => {
                    whys.push(format!("{}: {error}", member.name));
                    on_event(&FetchEvent::Lost { peer: member.name, why: error.to_string() });
                }
            }
        }
        if found.is_empty() {
            return Err(broken(format!("no peer has {}: {}", order.share, whys.join("; "))));
        }
        Ok(found)
    }

    async fn ask(&self, share: &str, member: &Member) -> io::Result<(Connection, ChunkManifest)> {
        let connection = dial(&self.endpoint, member, BLOCKS, &self.relays).await?;
        let wanted = BlockRequest::Manifest { share: share.to_owned() };
        let late = |_| broken("its manifest took too long");
        let read = request(&connection, &wanted, MANIFEST_BYTES_MAX, &self.bandwidth);
        let text = timeout(MANIFEST_TIMEOUT, read).await.map_err(late)??;
        let manifest: ChunkManifest = serde_json::from_slice(&text).map_err(invalid)?;
        if manifest.share != share {
            return Err(invalid(format!("it sent the manifest of {}", manifest.share)));
        }
        manifest.check().map_err(invalid)?;
        Ok((connection, manifest))
    }

    /// The manifest that was ordered, or that most peers have; and the peers that have it.
    fn agree(
        &self,
        order: FetchOrder<'_>,
        found: Vec<(Member, Connection, ChunkManifest)>,
        on_event: &(dyn Fn(&FetchEvent) + Sync),
    ) -> io::Result<(ChunkManifest, Vec<Source>)> {
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for (_, _, manifest) in &found {
            *votes.entry(manifest.root().to_string()).or_default() += 1;
        }
        let most = votes.values().max().copied().unwrap_or_default();
        let leading: Vec<&String> =
            votes.iter().filter(|(_, count)| **count == most).map(|(root, _)| root).collect();
        let chosen = match (order.root, leading.as_slice()) {
            (Some(root), _) => root.to_string(),
            (None, [only]) => (*only).clone(),
            (None, roots) => {
                let roots: Vec<&str> = roots.iter().map(|root| root.as_str()).collect();
                let why = format!(
                    "the peers have different files of {}: give --digest with one of {}",
                    order.share,
                    roots.join(", ")
                );
                return Err(invalid(why));
            }
        };
        let (mut agreed, mut sources) = (None, Vec::new());
        for (member, connection, manifest) in found {
            if manifest.root().to_string() == chosen {
                agreed = Some(manifest);
                sources.push(Source { member, connection, in_flight: 0, is_lost: false });
            } else {
                let why = format!("it has other files, with the digest {}", manifest.root());
                on_event(&FetchEvent::Lost { peer: member.name, why });
            }
        }
        let agreed =
            agreed.ok_or_else(|| invalid(format!("no peer has {} with the digest {chosen}", order.share)))?;
        Ok((agreed, sources))
    }

    fn traffic(&self, member: &Member) -> Option<Arc<Traffic>> {
        self.mesh.as_ref().map(|mesh| mesh.traffic(*member.public_key.as_bytes()))
    }
}

impl<'a> Fetch<'a, '_> {
    async fn run(&mut self, mut partial: Partial) -> io::Result<Partial> {
        let mut in_flight: FuturesUnordered<ChunkFuture<'a>> = FuturesUnordered::new();
        let mut rounds = 0;
        loop {
            self.fill(&mut in_flight);
            let Some((source, place, came)) = in_flight.next().await else {
                if self.pending.is_empty() {
                    return Ok(partial);
                }
                rounds += 1;
                if rounds > FETCH_ROUNDS_MAX {
                    let why = format!(
                        "{} chunks are missing and no peer is left. What came is kept: the same command goes on from there",
                        self.pending.len()
                    );
                    return Err(broken(why));
                }
                sleep(FETCH_PAUSE * rounds).await;
                self.reconnect().await;
                continue;
            };
            let bytes = match came {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.lose(source, place, error);
                    continue;
                }
            };
            rounds = 0;
            let (manifest, length) = (Arc::clone(&self.manifest), bytes.len() as u64);
            let written = tasks::blocking(move || partial.write(&manifest, place, &bytes).map(|()| partial));
            partial = written.await.map_err(broken)??;
            self.came(source, length);
        }
    }

    /// Keeps each peer busy.
    fn fill(&mut self, in_flight: &mut FuturesUnordered<ChunkFuture<'a>>) {
        for at in 0..CHUNKS_AT_A_TIME * self.sources.len() {
            let at = at % self.sources.len();
            let Some(source) = self
                .sources
                .get_mut(at)
                .filter(|source| !source.is_lost && source.in_flight < CHUNKS_AT_A_TIME)
            else {
                continue;
            };
            let Some(place) = self.pending.pop_front() else { return };
            source.in_flight += 1;
            let connection = source.connection.clone();
            let fetcher: &'a Fetcher = self.fetcher;
            let (share, root, bandwidth) = (self.order.share.to_owned(), self.root, &fetcher.bandwidth);
            let manifest = Arc::clone(&self.manifest);
            in_flight.push(Box::pin(async move {
                let wanted = BlockRequest::Chunk { share, root, place };
                let came = chunk(&connection, &wanted, &manifest, place, bandwidth).await;
                (at, place, came)
            }));
        }
    }

    fn progressing(&self) -> MutexGuard<'_, FetchProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn came(&mut self, source: usize, length: u64) {
        let from = self.sources.get(source).map(|source| source.member.name.clone());
        let bytes_here = {
            let mut progress = self.progressing();
            progress.bytes_here += length;
            if let Some(peer) = from {
                *progress.chunks_by_peer.entry(peer).or_default() += 1;
            }
            progress.bytes_here
        };
        if let Some(source) = self.sources.get_mut(source) {
            source.in_flight -= 1;
            if let Some(traffic) = self.fetcher.traffic(&source.member) {
                traffic.received.fetch_add(length, Ordering::Relaxed);
                traffic.chunks.fetch_add(1, Ordering::Relaxed);
            }
        }
        (self.on_event)(&FetchEvent::Moved { bytes_here, bytes: self.manifest.bytes() });
    }

    fn lose(&mut self, source: usize, place: ChunkPlace, error: ChunkError) {
        self.pending.push_front(place);
        let Some(source) = self.sources.get_mut(source) else { return };
        source.in_flight -= 1;
        let was_lost = std::mem::replace(&mut source.is_lost, true);
        // A lie counts also where another chunk's failure came before it.
        let is_news = matches!(error, ChunkError::Lied(_))
            && self.fetcher.ejections.of(source.member.public_key.as_bytes()).is_none();
        if was_lost && !is_news {
            return;
        }
        let peer = source.member.name.clone();
        let event = match error {
            ChunkError::Lost(why) => FetchEvent::Lost { peer, why },
            ChunkError::Lied(why) => {
                match &self.fetcher.mesh {
                    Some(mesh) => mesh.eject(&source.member, &why),
                    None => self.fetcher.ejections.eject(source.member.public_key, &peer, &why),
                }
                FetchEvent::Ejected { peer, why }
            }
        };
        (self.on_event)(&event);
    }

    /// Dials the peers again that are not ejected, and takes those that have the same files.
    async fn reconnect(&mut self) {
        let members = self.fetcher.members(self.order).into_iter();
        let requests = members.map(|member| async {
            let reply = self.fetcher.ask(self.order.share, &member).await;
            (member, reply)
        });
        let back = join_all(requests).await.into_iter().filter_map(|(member, reply)| {
            let (connection, manifest) = reply.ok()?;
            (manifest.root() == self.root).then_some(Source {
                member,
                connection,
                in_flight: 0,
                is_lost: false,
            })
        });
        self.sources = back.collect();
    }
}

fn length(manifest: &ChunkManifest, place: ChunkPlace) -> u64 {
    manifest.file(place).map_or(0, |file| file.length(place.chunk) as u64)
}

/// Fetches a chunk and verifies it.
async fn chunk(
    connection: &Connection,
    wanted: &BlockRequest,
    manifest: &ChunkManifest,
    place: ChunkPlace,
    bandwidth: &Bandwidth,
) -> Result<Vec<u8>, ChunkError> {
    let length = usize::try_from(length(manifest, place)).unwrap_or(usize::MAX);
    let read = request(connection, wanted, length, bandwidth).await;
    let bytes = read.map_err(|error| ChunkError::Lost(error.to_string()))?;
    let (digest, promised) = (Digest::of(&[&bytes]), manifest.digest(place));
    if promised == Some(digest) {
        return Ok(bytes);
    }
    let name = manifest.file(place).map_or("", |file| &file.name);
    let chunk = place.chunk;
    let promised = promised.unwrap_or(Digest::ZERO);
    Err(ChunkError::Lied(format!(
        "chunk {chunk} of {name} has the digest {digest}, and {promised} was promised"
    )))
}

/// Sends a request on a stream for itself, and reads the answer's bytes.
async fn request(
    connection: &Connection,
    wanted: &BlockRequest,
    bytes_max: usize,
    bandwidth: &Bandwidth,
) -> io::Result<Vec<u8>> {
    let late = |_| broken("it sent almost no data for too long");
    let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
    write_head(&mut send, wanted).await?;
    send.finish().map_err(broken)?;
    // A peer may hash the files of a manifest first, for which its caller has a time of its own.
    if let BlockAnswer { error: Some(why) } =
        timeout(MANIFEST_TIMEOUT, read_head(&mut receive)).await.map_err(late)??
    {
        return Err(invalid(why));
    }
    let mut bytes = Vec::new();
    loop {
        let (before, paced) = (bytes.len(), bytes.len() + CHUNK_PACE_BYTES);
        let reading = async {
            while bytes.len() < paced {
                let piece = receive.read_chunk(64 * 1024).await;
                let Some(piece) = piece.map_err(|error| broken(format!("{error:#}")))? else { break };
                if bytes.len() + piece.len() > bytes_max {
                    return Err(invalid("it sent more than it promised"));
                }
                bandwidth.take(piece.len()).await;
                bytes.extend_from_slice(&piece);
            }
            Ok(())
        };
        timeout(CHUNK_TIMEOUT, reading).await.map_err(late)??;
        if bytes.len() < before + CHUNK_PACE_BYTES {
            return Ok(bytes);
        }
    }
}
