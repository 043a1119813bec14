//! A node's part in a mesh of peers: its options, and the mesh beside its service.

mod bridge;
mod coming;
mod identity;
mod network;
mod orders;
mod shares;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::api;
use cli::output::{self, Failure};
use node::{NodeKey, Service};
use peers::{
    Bandwidth, Library, LocalNetwork, Member, Mesh, MeshSettings, PeerService, RELAYS_MAX, Relay, Relays,
    Roster, read_members,
};
use tasks::Task;
use world::World;

use crate::limits::PEERS_CLOSE_TIME_MAX;

use coming::ComingAdapters;
pub use identity::show;
use network::{MeshNetwork, NodeForPeers};
pub use orders::{Order, ask, bandwidth};
pub use shares::{Folders, adapter_directory};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Peers")]
pub struct PeerOptions {
    /// The UDP address where other nodes of the workspace reach this one; setting it makes the node join the mesh of its peers.
    #[arg(long, value_name = "ADDRESS")]
    peer_listen: Option<SocketAddr>,
    /// A TOML or JSON file of peers, each with public_key, name and addresses, in addition to the peers that the gateway lists.
    #[arg(long, value_name = "FILE", requires = "peer_listen")]
    peers: Option<PathBuf>,
    /// Also sends requests that this node could serve to a peer with a shorter wait; by default only requests that it can't serve
    /// go to peers.
    #[arg(long, requires = "peer_listen")]
    peer_balance: bool,
    /// Sends no requests to peers, but still serves theirs.
    #[arg(long, requires = "peer_listen", conflicts_with = "peer_balance")]
    peer_keep: bool,
    /// The most MiB per second that all peers together may fetch from this node.
    #[arg(long, value_name = "MIB", requires = "peer_listen")]
    peer_bandwidth: Option<u64>,
    /// Announces this node's key and addresses on the local network by multicast DNS, and finds the addresses of its listed
    /// peers.
    #[arg(long, requires = "peer_listen")]
    peers_mdns: bool,
    /// A relay that the operator runs, for peers that can't reach each other directly: https://HOST, the same for all nodes.
    #[arg(long, value_name = "URL", requires = "peer_listen")]
    peer_relay: Vec<Relay>,
    /// Fetches an adapter that a request names and only peers have, if its files take at most this many MiB.
    #[arg(long, value_name = "MIB", requires = "peer_listen", value_parser = clap::value_parser!(u64).range(1..))]
    peer_fetch_adapters: Option<u64>,
}

/// A mesh that runs until this is ended.
pub struct RunningMesh {
    mesh: Arc<Mesh>,
    local_network: Option<Task>,
    _tasks: Vec<Task>,
}

/// The members of the file of `--peers`.
pub fn members(file: Option<&Path>) -> Result<Vec<Member>, Failure> {
    let read = file.map(read_members).transpose();
    Ok(read.map_err(|error| Failure::new(output::USAGE, error.to_string()))?.unwrap_or_default())
}

impl PeerOptions {
    /// Binds the mesh and lets it serve. Use it inside a `LocalSet`, on the runtime that the mesh is to run on. `None` without `--peer-listen`.
    ///
    /// # Errors
    /// The address can't be bound, or a file can't be used.
    pub async fn start(
        &self,
        service: &Arc<Service>,
        data_dir: Option<&Path>,
        folders: Folders,
        is_kept: bool,
    ) -> Result<Option<RunningMesh>, Failure> {
        let Some(listen) = self.peer_listen else { return Ok(None) };
        let relays = relays(&self.peer_relay)?;
        let Some(data_dir) = data_dir else {
            let message = "A node with peers has a key pair, which needs a directory: give --data-dir.";
            return Err(Failure::new(output::USAGE, message));
        };
        let key = NodeKey::open_or_create(data_dir)?;
        let world = World::system();
        let roster = Roster::open(&world, key.public_key(), Some(data_dir), members(self.peers.as_deref())?)?;
        let sent = Bandwidth::new(&world, bandwidth(self.peer_bandwidth));
        let shared = folders.clone();
        let library = Library::new(move || shared.shared(), sent);
        let settings = MeshSettings {
            world,
            seed: *key.seed(),
            listen,
            data_dir: Some(data_dir.to_owned()),
            is_balanced: self.peer_balance,
            relays,
        };
        let (bridge, end) = bridge::bridge();
        let node = Arc::new(NodeForPeers::new(
            Arc::clone(service),
            bridge,
            Arc::clone(&library),
            folders.served.clone(),
        ));
        let for_peers: Arc<dyn PeerService> = Arc::<NodeForPeers>::clone(&node);
        let mesh = Mesh::bind(settings, roster, for_peers, library).await?;
        let coming = self.peer_fetch_adapters.zip(folders.adapters.clone()).map(|(mib, folder)| {
            ComingAdapters::new(&mesh, Arc::clone(service), folder, mib.saturating_mul(1 << 20))
        });
        let digests = Arc::clone(&node);
        let network =
            MeshNetwork { mesh: Arc::clone(&mesh), node, is_kept: is_kept || self.peer_keep, coming };
        service.join_mesh(Arc::new(network));
        eprintln!("peers reach it at {listen} by the key {}", key.public_key());
        let mut tasks = vec![
            Task::spawn("peers", Arc::clone(&mesh).run()),
            Task::spawn_local("requests of peers", end.run(Arc::clone(service))),
            Task::spawn("digests of models", async move { digests.digests.run().await }),
        ];
        let mut local_network = None;
        if self.peers_mdns {
            let local = LocalNetwork::bind(Arc::clone(&mesh)).map_err(|error| {
                let message = format!("The port of multicast DNS can't be used: {error}. Leave out --peers-mdns, or free UDP port 5353.");
                Failure::new(output::UNAVAILABLE, message)
            })?;
            local_network = Some(Task::spawn_until_signal("the local network", |stop| local.run(stop)));
        }
        match orders::listen(data_dir) {
            Ok(listener) => {
                tasks.push(Task::spawn(
                    "fetches that are ordered here",
                    orders::serve(listener, Arc::clone(&mesh)),
                ));
            }
            // The node serves; only `tidegate node fetch` beside it has to wait until it is stopped.
            Err(error) => eprintln!("`tidegate node fetch` can't use this node's connections: {error}"),
        }
        Ok(Some(RunningMesh { mesh, local_network, _tasks: tasks }))
    }

    /// Whether there is a mesh whose peers may get requests from here.
    pub const fn may_ask(&self) -> bool {
        self.peer_listen.is_some() && !self.peer_keep
    }
}

/// The relays of the command line. Their certificates may be of the authorities in `TIDEGATE_CA_FILE`.
///
/// # Errors
/// There are too many, or that file can't be read.
pub fn relays(urls: &[Relay]) -> Result<Relays, Failure> {
    if urls.len() > RELAYS_MAX {
        let message = format!("--peer-relay is given more than {RELAYS_MAX} times.");
        return Err(Failure::new(output::USAGE, message));
    }
    Ok(Relays::new(urls.to_vec(), api::egress_settings()?.extra_roots_pem.as_deref())?)
}

impl RunningMesh {
    pub async fn end(self) {
        if let Some(local_network) = &self.local_network {
            // Others forget this node at once, and not after a minute.
            let _ = local_network.end().await;
        }
        self.mesh.close(PEERS_CLOSE_TIME_MAX).await;
    }
}
