//! A node's part in a mesh of peers: its options, and the mesh beside its service.

mod bridge;
mod identity;
mod network;
mod shares;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cli::output::{self, Failure};
use node::{NodeKey, Service};
use peers::{Bandwidth, Library, Member, Mesh, MeshSettings, PeerService, Roster, read_members};
use tasks::Task;
use world::World;

use crate::limits::PEERS_CLOSE_TIME_MAX;

pub use identity::show;
use network::{MeshNetwork, NodeForPeers};
pub use shares::adapter_directory;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Peers")]
pub struct PeerOptions {
    /// The UDP address on which other nodes of the workspace reach this one; it joins the node to the mesh of its peers.
    #[arg(long, value_name = "ADDRESS")]
    peer_listen: Option<SocketAddr>,
    /// A TOML or JSON file of peers, each with public_key, name and addresses, beside those that the gateway lists.
    #[arg(long, value_name = "FILE", requires = "peer_listen")]
    peers: Option<PathBuf>,
    /// Requests that this node could serve may go to a peer with a shorter wait; otherwise only those that it can't serve do.
    #[arg(long, requires = "peer_listen")]
    peer_balance: bool,
    /// No request goes to a peer; this node serves theirs.
    #[arg(long, requires = "peer_listen", conflicts_with = "peer_balance")]
    peer_keep: bool,
    /// The most MiB per second that peers may fetch from this node, all together.
    #[arg(long, value_name = "MIB", requires = "peer_listen")]
    peer_bandwidth: Option<u64>,
}

/// A mesh that runs until this is ended.
pub struct RunningMesh {
    mesh: Arc<Mesh>,
    _running: Task,
    _serving: Task,
}

/// Bytes per second.
pub const fn bandwidth(mib: Option<u64>) -> Option<u64> {
    match mib {
        Some(mib) => Some(mib.saturating_mul(1 << 20)),
        None => None,
    }
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
        let Some(data_dir) = data_dir else {
            let message = "A node with peers has a key pair, which needs a directory: give --data-dir.";
            return Err(Failure::new(output::USAGE, message));
        };
        let key = NodeKey::open_or_create(data_dir)?;
        let world = World::system();
        let roster = Roster::open(&world, key.public_key(), Some(data_dir), members(self.peers.as_deref())?)?;
        let sent = Bandwidth::new(&world, bandwidth(self.peer_bandwidth));
        let library = Library::new(move || folders.shared(), sent);
        let settings = MeshSettings {
            world,
            seed: *key.seed(),
            listen,
            data_dir: Some(data_dir.to_owned()),
            is_balanced: self.peer_balance,
        };
        let (bridge, end) = bridge::bridge();
        let node = Arc::new(NodeForPeers::new(Arc::clone(service), bridge, Arc::clone(&library)));
        let for_peers: Arc<dyn PeerService> = Arc::<NodeForPeers>::clone(&node);
        let mesh = Mesh::bind(settings, roster, for_peers, library).await?;
        let network = MeshNetwork { mesh: Arc::clone(&mesh), node, is_kept: is_kept || self.peer_keep };
        service.join_mesh(Arc::new(network));
        eprintln!("peers reach it at {listen} by the key {}", key.public_key());
        let running = Task::spawn("peers", Arc::clone(&mesh).run());
        let serving = Task::spawn_local("requests of peers", end.run(Arc::clone(service)));
        Ok(Some(RunningMesh { mesh, _running: running, _serving: serving }))
    }
}

impl RunningMesh {
    pub async fn end(self) {
        self.mesh.close(PEERS_CLOSE_TIME_MAX).await;
    }
}

/// Where what peers may fetch is.
#[derive(Debug, Clone)]
pub struct Folders {
    pub models: Option<hub::ModelStore>,
    pub adapters: Option<PathBuf>,
}
