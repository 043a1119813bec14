//! The mesh: this node's endpoint, its connections to peers, and what is known of each.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use iroh::dns::{DnsResolver, FallbackMode};
use iroh::endpoint::{Connection, presets};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey, TransportAddr};
use proof::PublicKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tasks::RuntimeTasks;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use world::World;

use crate::choose::PeerState;
use crate::ejected::{Ejection, Ejections};
use crate::fetch::FetchProgress;
use crate::frames::broken;
use crate::library::Library;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, STATE_AGE_MAX};
use crate::members::{Member, MemberSource, Roster};
use crate::transport;

/// Requests in the dialects of a node.
pub(crate) const INFER: &[u8] = b"tidegate/infer/1";
/// Manifests and chunks.
pub(crate) const BLOCKS: &[u8] = b"tidegate/blocks/1";

/// The body of an answer to a peer, or of a peer's.
pub type PeerBody = UnsyncBoxBody<Bytes, io::Error>;
pub type PeerFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a node does for its peers.
pub trait PeerService: Send + Sync {
    /// Answers a peer's request on this machine: it is not passed on again.
    fn answer(&self, request: Request<Bytes>) -> PeerFuture<'_, Response<PeerBody>>;

    fn state(&self) -> PeerFuture<'_, PeerState>;

    /// The prompt's tokens by this node's own count; `None` if it doesn't have the model, or has only an estimate.
    fn count_prompt(&self, request: Request<Bytes>) -> PeerFuture<'_, Option<u64>>;
}

/// How a node takes part in a mesh.
#[derive(Debug, Clone)]
pub struct MeshSettings {
    pub world: World,
    /// The seed of the node's key pair.
    pub seed: [u8; 32],
    /// The UDP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where ejections are stored; `None` stores nothing.
    pub data_dir: Option<PathBuf>,
    /// Whether a request that this node could serve may go to a peer with a shorter wait.
    pub is_balanced: bool,
    /// The workspace's own relays, the same for all of its nodes. Without any, peers connect directly or not at all.
    pub relays: Relays,
}

/// The relays of a workspace, and the certificate authorities trusted for them besides the public ones.
#[derive(Debug, Clone, Default)]
pub struct Relays {
    urls: Vec<Relay>,
    extra_roots: Vec<CertificateDer<'static>>,
}

/// The URL of a relay that the operator runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay(RelayUrl);

impl FromStr for Relay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: RelayUrl = text.parse().map_err(|_| format!("{text} is not a URL"))?;
        if matches!(url.scheme(), "https" | "http") && url.host_str().is_some() && url.username().is_empty() {
            return Ok(Self(url));
        }
        Err(format!("{text} is not the address of a relay: give https://HOST or http://HOST:PORT"))
    }
}

impl Relays {
    /// # Errors
    /// The further authorities can't be read.
    pub fn new(urls: Vec<Relay>, extra_roots_pem: Option<&[u8]>) -> io::Result<Self> {
        let read = |pem| CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let extra_roots = extra_roots_pem.map(read).transpose();
        let extra_roots =
            extra_roots.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(Self { urls, extra_roots: extra_roots.unwrap_or_default() })
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.urls.is_empty()
    }

    fn mode(&self) -> RelayMode {
        if self.is_empty() {
            return RelayMode::Disabled;
        }
        RelayMode::custom(self.urls.iter().map(|Relay(url)| url.clone()))
    }
}

/// The mesh.
pub struct Mesh {
    pub(crate) world: World,
    pub(crate) endpoint: Endpoint,
    pub(crate) roster: Arc<Roster>,
    pub(crate) ejections: Arc<Ejections>,
    pub(crate) service: Arc<dyn PeerService>,
    pub(crate) library: Arc<Library>,
    pub(crate) tasks: RuntimeTasks,
    pub(crate) is_balanced: bool,
    pub(crate) relays: Relays,
    pub(crate) connections_left: Arc<Semaphore>,
    peers: Mutex<HashMap<[u8; 32], PeerRecord>>,
    /// Fetches in progress; an entry dies with its fetch.
    fetches: Mutex<Vec<Weak<Mutex<FetchProgress>>>>,
}

/// What is known of one peer since the start of this process.
#[derive(Debug, Default)]
struct PeerRecord {
    connections: Vec<Connection>,
    state: Option<(PeerState, u64)>,
    last_error: Option<String>,
    traffic: Arc<Traffic>,
}

/// Bytes of bodies and chunks, and chunks that came from a peer.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub sent: AtomicU64,
    pub received: AtomicU64,
    pub chunks: AtomicU64,
}

/// A peer, as it is now.
#[derive(Debug, Clone)]
pub struct PeerView {
    pub member: Member,
    pub source: MemberSource,
    pub is_connected: bool,
    pub rtt: Option<Duration>,
    /// Whether its packets go through a relay, and not directly.
    pub is_relayed: Option<bool>,
    /// Its last description of itself, if it is not too old.
    pub state: Option<PeerState>,
    pub ejection: Option<Ejection>,
    pub last_error: Option<String>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub chunks_received: u64,
}

impl Mesh {
    /// Binds the endpoint. Call it on the runtime that `run` is to run on.
    ///
    /// # Errors
    /// The address can't be bound, or the ejections can't be read.
    pub async fn bind(
        settings: MeshSettings,
        roster: Arc<Roster>,
        service: Arc<dyn PeerService>,
        library: Arc<Library>,
    ) -> io::Result<Arc<Self>> {
        let ejections = Arc::new(Ejections::open(&settings.world, settings.data_dir.as_deref())?);
        let endpoint =
            bind(&settings.seed, settings.listen, vec![INFER.to_vec(), BLOCKS.to_vec()], &settings.relays)
                .await?;
        Ok(Arc::new(Self {
            world: settings.world,
            endpoint,
            roster,
            ejections,
            service,
            library,
            tasks: RuntimeTasks::new("peers", Handle::current()),
            is_balanced: settings.is_balanced,
            relays: settings.relays,
            connections_left: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            peers: Mutex::default(),
            fetches: Mutex::default(),
        }))
    }

    /// The addresses at which peers reach this node.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let bound = self.endpoint.bound_sockets().into_iter();
        let fixed: Vec<SocketAddr> = bound.filter(|address| !address.ip().is_unspecified()).collect();
        if fixed.is_empty() { self.endpoint.addr().ip_addrs().copied().collect() } else { fixed }
    }

    pub fn public_key(&self) -> PublicKey {
        self.roster.own_key()
    }

    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The peers that are ejected now.
    pub fn ejected(&self) -> Vec<Ejection> {
        self.ejections.all()
    }

    /// All members, as they are now.
    pub fn peers(&self) -> Vec<PeerView> {
        let now_us = self.world.clock.monotonic_us();
        let records = self.lock();
        let view = |(member, source): (Member, MemberSource)| {
            let key = *member.public_key.as_bytes();
            let record = records.get(&key);
            let live = record.and_then(|record| record.connections.iter().rev().find(|known| is_live(known)));
            let state = record.and_then(|record| record.state.as_ref());
            let count = |of: fn(&Traffic) -> &AtomicU64| {
                record.map_or(0, |record| of(&record.traffic).load(Ordering::Relaxed))
            };
            PeerView {
                is_connected: live.is_some(),
                rtt: live.and_then(transport::rtt),
                is_relayed: live.and_then(transport::is_relayed),
                state: state
                    .filter(|(_, heard_us)| is_recent(*heard_us, now_us))
                    .map(|(state, _)| state.clone()),
                ejection: self.ejections.of(&key),
                last_error: record.and_then(|record| record.last_error.clone()),
                bytes_sent: count(|traffic| &traffic.sent),
                bytes_received: count(|traffic| &traffic.received),
                chunks_received: count(|traffic| &traffic.chunks),
                member,
                source,
            }
        };
        self.roster.members().into_iter().map(view).collect()
    }

    /// The fetches in progress with the connections of this mesh.
    pub fn fetches(&self) -> Vec<FetchProgress> {
        let going = self.live_fetches();
        let held = going.iter().filter_map(Weak::upgrade);
        held.map(|fetch| fetch.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    pub(crate) fn show_fetch(&self, fetch: &Arc<Mutex<FetchProgress>>) {
        self.live_fetches().push(Arc::downgrade(fetch));
    }

    fn live_fetches(&self) -> MutexGuard<'_, Vec<Weak<Mutex<FetchProgress>>>> {
        let mut going = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
        going.retain(|fetch| fetch.strong_count() > 0);
        going
    }

    /// Whether a key may connect now.
    pub(crate) fn admits(&self, key: &[u8; 32]) -> bool {
        self.roster.member(key).is_some() && self.ejections.of(key).is_none()
    }

    pub(crate) fn eject(&self, member: &Member, why: &str) {
        self.ejections.eject(member.public_key, &member.name, why);
        self.close_refused();
    }

    /// Closes the connections of whoever is not admitted any more.
    pub(crate) fn close_refused(&self) {
        let mut records = self.lock();
        for (key, record) in &mut *records {
            let is_admitted = self.admits(key);
            for connection in record.connections.iter().filter(|_| !is_admitted) {
                transport::refuse(connection);
            }
            record.connections.retain(is_live);
        }
        records.retain(|key, record| !record.connections.is_empty() || self.roster.member(key).is_some());
    }

    /// A connection for requests, if one is open.
    pub(crate) fn connection(&self, key: &[u8; 32]) -> Option<Connection> {
        let records = self.lock();
        let open = |connection: &&Connection| is_live(connection) && connection.alpn() == INFER;
        records.get(key)?.connections.iter().rev().find(open).cloned()
    }

    pub(crate) fn add_connection(&self, key: [u8; 32], connection: Connection) {
        let mut records = self.lock();
        let record = records.entry(key).or_default();
        record.connections.retain(is_live);
        record.connections.push(connection);
        record.last_error = None;
    }

    pub(crate) fn traffic(&self, key: [u8; 32]) -> Arc<Traffic> {
        Arc::clone(&self.lock().entry(key).or_default().traffic)
    }

    pub(crate) fn heard(&self, key: [u8; 32], heard: Result<PeerState, String>) {
        let now_us = self.world.clock.monotonic_us();
        let mut records = self.lock();
        let record = records.entry(key).or_default();
        match heard {
            Ok(state) => {
                record.state = Some((state, now_us));
                record.last_error = None;
            }
            Err(why) => record.last_error = Some(why),
        }
    }

    /// What a peer said last, however long ago.
    pub(crate) fn last_state(&self, key: &[u8; 32]) -> Option<PeerState> {
        self.lock().get(key)?.state.as_ref().map(|(state, _)| state.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], PeerRecord>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_live(connection: &Connection) -> bool {
    connection.close_reason().is_none()
}

fn is_recent(heard_us: u64, now_us: u64) -> bool {
    u128::from(now_us.saturating_sub(heard_us)) <= STATE_AGE_MAX.as_micros()
}

/// An endpoint without discovery or port mapping: it contacts members, the given relays and nobody else.
pub(crate) async fn bind(
    seed: &[u8; 32],
    listen: SocketAddr,
    alpns: Vec<Vec<u8>>,
    relays: &Relays,
) -> io::Result<Endpoint> {
    let address =
        |error: String| io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{listen}: {error}"));
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(seed))
        .relay_mode(relays.mode())
        .ca_tls_config(CaTlsConfig::embedded().with_extra_roots(relays.extra_roots.iter().cloned()))
        .dns_resolver(resolver())
        .clear_ip_transports()
        .bind_addr(listen)
        .map_err(|error| address(error.to_string()))?;
    let endpoint = builder.transport_config(transport::config()).alpns(alpns).bind().await;
    endpoint.map_err(|error| address(format!("{error:#}")))
}

/// Looks up the names of relays at this machine's resolvers, without the public ones that iroh falls back to.
fn resolver() -> DnsResolver {
    DnsResolver::builder().with_system_defaults().with_fallback_mode(FallbackMode::Never).build()
}

/// Connects to a member, at whichever of its addresses answers, or through a relay. Two peers that meet at a relay look for a direct
/// way, and change to it.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    member: &Member,
    alpn: &[u8],
    relays: &Relays,
) -> io::Result<Connection> {
    let id = EndpointId::from_bytes(member.public_key.as_bytes()).map_err(broken)?;
    let direct = member.addresses.iter().copied().map(TransportAddr::Ip);
    let relayed = relays.urls.iter().map(|Relay(url)| TransportAddr::Relay(url.clone()));
    let address = EndpointAddr::from_parts(id, direct.chain(relayed));
    match timeout(HANDSHAKE_TIMEOUT, endpoint.connect(address, alpn)).await {
        Ok(connected) => connected.map_err(|error| broken(format!("{error:#}"))),
        Err(_) => Err(broken(format!("it did not answer within {} s", HANDSHAKE_TIMEOUT.as_secs()))),
    }
}
