//! `tidegate node fetch`: brings a model or an adapter from peers, verified chunk by chunk, and goes on where the last try stopped.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cli::output::{self, Failure};
use cli::progress::Progress;
use hub::{Checksum, Reference, StoredFile};
use node::NodeKey;
use peers::{Bandwidth, FetchEvent, FetchOrder, Fetched, Fetcher, Relay, Relays, Roster};
use proof::Digest;
use serde_json::Value;
use world::World;

use crate::node_keys::{self, DATA_DIR};
use crate::node_mesh::{self, Order, adapter_directory, bandwidth, members};
use crate::shelf::{self, ModelsDir};
use crate::signals::Stop;

const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The model, by the name that peers pulled it by, or with --adapter, the adapter.
    name: String,
    /// NAME is an adapter; it is stored in the node's adapter folder.
    #[arg(long)]
    adapter: bool,
    /// The names of the peers to fetch from; by default all that have it.
    #[arg(long, value_name = "PEERS", value_delimiter = ',')]
    from_peers: Vec<String>,
    /// A TOML or JSON file of peers, in addition to the peers that the node and its gateway list.
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
    /// The digest of the whole model or adapter, if peers have different versions.
    #[arg(long, value_parser = digest)]
    digest: Option<Digest>,
    /// The most MiB per second.
    #[arg(long, value_name = "MIB")]
    peer_bandwidth: Option<u64>,
    /// A relay that the operator runs, for peers that can't be reached directly. A running node uses its own relays.
    #[arg(long, value_name = "URL")]
    peer_relay: Vec<Relay>,
    /// The node's data directory, with its key.
    #[arg(long, default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// The folder of adapters; by default `adapters` in the data directory.
    #[arg(long)]
    adapters: Option<PathBuf>,
    #[command(flatten)]
    place: ModelsDir,
}

pub fn run(options: &Options) -> Result<(), Failure> {
    node_keys::create(&options.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if options.adapter {
        return adapter(options, &runtime);
    }
    let model = Reference::read(&options.name).map_err(|error| shelf::failure(&error))?;
    let store = options.place.shelf()?;
    let staged = store.stage(&model).map_err(|error| shelf::failure(&error))?;
    let fetched = runtime.block_on(fetch(options, &format!("model/{model}"), staged.directory()))?;
    let (source, root) = (source(&fetched), fetched.manifest.root().to_string());
    let files = fetched.manifest.files.iter().map(|file| StoredFile {
        name: file.name.clone(),
        bytes: file.bytes,
        sha256: file.sha256.to_string(),
        checksum: Checksum::Sha256(file.sha256.to_string()),
    });
    let entry = staged.publish((source, root), files.collect(), &World::system());
    let entry = entry.map_err(|error| shelf::failure(&error))?;
    say_done(&fetched, &entry.directory);
    Ok(())
}

fn adapter(options: &Options, runtime: &tokio::runtime::Runtime) -> Result<(), Failure> {
    let folder = options.adapters.clone().unwrap_or_else(|| options.data_dir.join("adapters"));
    let directory = adapter_directory(&folder, &options.name).ok_or_else(|| {
        Failure::new(output::USAGE, format!("{} is not the name of an adapter's directory.", options.name))
    })?;
    if directory.exists() {
        let message = format!("{} is here already. Remove it first, or leave it.", directory.display());
        return Err(Failure::new(output::CONFLICT, message));
    }
    let coming = folder.join(".coming").join(&options.name);
    let fetched = runtime.block_on(fetch(options, &format!("adapter/{}", options.name), &coming))?;
    std::fs::rename(&coming, &directory)?;
    std::fs::File::open(&folder)?.sync_all()?;
    say_done(&fetched, &directory);
    Ok(())
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|()| "a digest has 64 hexadecimal digits".to_owned())
}

async fn fetch(options: &Options, share: &str, directory: &Path) -> Result<Fetched, Failure> {
    let mut stop = Stop::listen()?;
    let relays = node_mesh::relays(&options.peer_relay)?;
    let order = Order {
        share: share.to_owned(),
        directory: std::path::absolute(directory)?,
        root: options.digest,
        peers: options.from_peers.clone(),
        members: members(options.peers.as_deref())?,
        bandwidth_mib: options.peer_bandwidth,
    };
    let progress = Mutex::new(Progress::new(false));
    let on_event = |event: &FetchEvent| say(event, &progress);
    tokio::select! {
        fetched = fetch_by_whoever_may(options, &relays, order, &on_event) => fetched,
        () = stop.received() => Err(Failure::new(
            INTERRUPTED,
            "Stopped. What came is kept: the same command goes on from there.",
        )),
    }
}

/// The node of the data directory fetches if it runs and has peers, otherwise this process does, with the node's key.
async fn fetch_by_whoever_may(
    options: &Options,
    relays: &Relays,
    order: Order,
    on_event: &(dyn Fn(&FetchEvent) + Sync),
) -> Result<Fetched, Failure> {
    let failed = |error: std::io::Error| Failure::new(output::UNAVAILABLE, format!("{error}."));
    if let Some(fetched) = node_mesh::ask(&options.data_dir, &order, on_event).await.map_err(failed)? {
        return Ok(fetched);
    }
    let world = World::system();
    let key = NodeKey::open_or_create(&options.data_dir)?;
    let roster = Roster::open(&world, key.public_key(), Some(&options.data_dir), order.members)?;
    let received = Bandwidth::new(&world, bandwidth(options.peer_bandwidth));
    let seed = key.seed();
    let fetcher = Fetcher::bind(&world, &seed, roster, Some(&options.data_dir), received, relays).await?;
    let wanted = FetchOrder {
        share: &order.share,
        directory: &order.directory,
        root: order.root,
        peers: &order.peers,
        bytes_max: None,
    };
    let fetched = fetcher.fetch(wanted, on_event).await.map_err(failed);
    fetcher.close().await;
    fetched
}

/// Where it came from, for the list of models.
fn source(fetched: &Fetched) -> String {
    let peers: Vec<&str> = fetched.chunks_by_peer.keys().map(String::as_str).collect();
    format!("peers:{}", peers.join(","))
}

fn say(event: &FetchEvent, progress: &Mutex<Progress>) {
    let progress = progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = match event {
        FetchEvent::Started { root, peers, bytes, bytes_here } => {
            progress.begin(*bytes_here);
            let (size, here) = (output::bytes(*bytes), output::bytes(*bytes_here));
            format!("{size}, of which {here} are here already, from {}; digest {root}", peers.join(", "))
        }
        FetchEvent::Moved { bytes_here, bytes } => return progress.moved(*bytes_here, *bytes),
        FetchEvent::Lost { peer, why } => format!("{peer} is left out: {why}"),
        FetchEvent::Ejected { peer, why } => format!("{peer} is ejected: {why}"),
    };
    progress.say(&text, &Value::Null);
}

fn say_done(fetched: &Fetched, directory: &Path) {
    let from: Vec<String> =
        fetched.chunks_by_peer.iter().map(|(peer, chunks)| format!("{chunks} chunks from {peer}")).collect();
    println!("{} is here: {}", directory.display(), from.join(", "));
}
