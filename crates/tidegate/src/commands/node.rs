//! `tidegate node`: a model runtime on this machine, served in the API dialects that clients already use.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgAction;
use cli::api;
use cli::output::{self, Failure};
use domain::Secret;
use domain::runtime::Runtime;
use gateway::{GatewaySettings, Proxies, Times};
use node::{Echo, Membership, NodeSettings, Service, Topology, TopologySources};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::LocalSet;
use world::World;

#[cfg(feature = "peers")]
use super::node_fetch;
use super::node_join;
use super::node_joined::{JoinedNode, JoinedOptions};
use super::node_workers;
use crate::hardening;
use crate::logging;
use crate::node_keys::{self, DATA_DIR};
#[cfg(feature = "peers")]
use crate::node_mesh::{Folders, PeerOptions, RunningMesh};
use crate::settings::variables::unread_here;
use crate::shelf::ModelsDir;
use crate::signals::{Stop, ended};

/// The runtime that every build has.
const ECHO: &str = "echo";

/// The providers that may answer requests.
const ALLOWED_PROVIDERS: &str = "INFERENCE_ALLOWED_PROVIDERS";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serving: Serving,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates a key for callers from other machines, and shows it once.
    Key {
        /// The node's data directory.
        #[arg(long, default_value = DATA_DIR)]
        data_dir: PathBuf,
    },
    /// Joins a control plane with a token from `tidegate nodes invite`: from its next start, the node sends heartbeats there and
    /// reports what it served.
    Join(node_join::Options),
    /// Shows the public key by which peers and the gateway know this node.
    #[cfg(feature = "peers")]
    Identity {
        /// The node's data directory.
        #[arg(long, default_value = DATA_DIR)]
        data_dir: PathBuf,
    },
    /// Fetches a model or an adapter from several peers in parallel, verifies it, and resumes an interrupted fetch.
    #[cfg(feature = "peers")]
    Fetch(node_fetch::Options),
}

#[derive(Debug, clap::Args)]
pub struct Serving {
    /// The model to run: a directory with config.json and safetensors, a GGUF file, a pulled model, or `echo`, which needs no
    /// model and repeats its input.
    #[arg(long, required = true)]
    model: Option<String>,
    /// The model name that requests use; by default the name that it was pulled by, or the name of its directory or file.
    #[arg(long)]
    name: Option<String>,
    /// The address to listen on; any address other than loopback needs a key from `tidegate node key`.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Memory for the KV cache, in MiB.
    #[arg(long, default_value_t = 1024, help_heading = "Memory")]
    kv_memory: usize,
    /// The number format of the KV cache: `f16`, or `q8` (8 bits, with one scale per 32 numbers), which holds nearly twice as
    /// many tokens, changes the output slightly, and needs the `cpu` device.
    #[arg(long, value_enum, default_value_t = KvNumbers::F16, help_heading = "Memory")]
    kv_numbers: KvNumbers,
    /// The directory of the prefix cache on disk; by default `prefix-cache` in the data directory.
    #[arg(long, value_name = "DIR", requires = "prefix_cache_disk", help_heading = "Memory")]
    prefix_cache: Option<PathBuf>,
    /// The most disk space for the prefix cache, in MiB. Prefixes that leave the KV cache are read back from disk instead of
    /// computed again, even after a restart. Without this option, nothing from requests is written to disk. Needs the `cpu`
    /// device.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Memory")]
    prefix_cache_disk: Option<u64>,
    /// Loads the model even if less memory is free than it needs.
    #[arg(long, help_heading = "Memory")]
    ignore_memory: bool,
    /// The device to run on: `cpu`, `cuda`, `cuda:N` or `metal`, if the build supports it; `cpu-tensors` runs the accelerators'
    /// code on the CPU, for testing.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The most requests that can wait in the queue.
    #[arg(long, default_value_t = 256)]
    waiting: usize,
    /// A draft model for speculative decoding: a smaller model with the same vocabulary; the output doesn't change.
    #[arg(long, help_heading = "Speculative decoding")]
    draft: Option<String>,
    /// Memory for the draft model's KV cache, in MiB.
    #[arg(long, default_value_t = 256, help_heading = "Speculative decoding")]
    draft_memory: usize,
    /// The most draft tokens per step of speculative decoding, proposed by prompt lookup or by --draft; 0 disables it.
    #[arg(
        long,
        alias = "guesses",
        value_name = "COUNT",
        default_value_t = 8,
        help_heading = "Speculative decoding"
    )]
    draft_tokens: usize,
    /// The folder of adapters, each in its own directory; by default `adapters` in the data directory.
    #[arg(long, help_heading = "Adapters")]
    adapters: Option<PathBuf>,
    /// Memory for adapters, in MiB; unused adapters are evicted when another is needed.
    #[arg(long, default_value_t = 8192, help_heading = "Adapters")]
    adapter_memory: u64,
    /// The most adapters that may be in memory at the same time.
    #[arg(long, default_value_t = 16, help_heading = "Adapters")]
    adapters_loaded: usize,
    /// The most adapters that may be registered at the same time.
    #[arg(long, default_value_t = 64, help_heading = "Adapters")]
    adapters_known: usize,
    /// A TOML file whose [hybrid] section lists the backends that requests may be sent to (docs/node.md).
    #[arg(long)]
    config: Option<PathBuf>,
    /// Keeps every request on this machine, even if the request or the configuration says otherwise; `=false` lets requests go to
    /// the backends of --config.
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true
    )]
    runtime_local_only_strict: bool,
    /// Where the kernel publishes the processors' energy counters, which a joined node reports.
    #[arg(long, value_name = "DIR", default_value = "/sys/class/powercap", help_heading = "Control plane")]
    powercap: PathBuf,
    /// Opens a tunnel to the gateway that the node has joined and gets its requests through it, so that nothing has to reach the
    /// node from outside.
    #[arg(long, help_heading = "Control plane")]
    tunnel: bool,
    /// The directory of the node's keys and journal; by default ./node-data if it serves a model.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Ends when standard input ends: `tidegate up` holds the other end of that pipe, so that its node ends with it, however it
    /// ends.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    #[command(flatten)]
    place: ModelsDir,
    #[cfg(feature = "peers")]
    #[command(flatten)]
    peers: PeerOptions,
}

/// The prefix cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KvNumbers {
    F16,
    Q8,
}

/// A runtime, and what it is called where it is named.
pub struct OpenedRuntime {
    pub runtime: Arc<dyn Runtime>,
    pub kind: &'static str,
    /// A remark about it, for people.
    pub remark: String,
}

#[cfg_attr(not(feature = "engine"), expect(dead_code, reason = "the engine is told these"))]
impl Serving {
    pub fn kv_bytes(&self) -> usize {
        self.kv_memory.saturating_mul(1024 * 1024)
    }

    #[cfg(feature = "engine")]
    pub const fn kv_dtype(&self) -> kernels::KvDtype {
        match self.kv_numbers {
            KvNumbers::F16 => kernels::KvDtype::F16,
            KvNumbers::Q8 => kernels::KvDtype::Q8,
        }
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    /// The directory of the node's own files. `echo` needs none unless one is given.
    fn data_dir(&self) -> Option<PathBuf> {
        let usual = || (self.model.as_deref() != Some(ECHO)).then(|| PathBuf::from(DATA_DIR));
        self.data_dir.clone().or_else(usual)
    }

    /// The directory of the prefix cache on disk, the most bytes that it may take, and the key that it is sealed with; `None`
    /// if there is to be none.
    ///
    /// # Errors
    /// The key can't be read or stored.
    pub fn prefix_cache(&self) -> Result<Option<(PathBuf, u64, Secret)>, Failure> {
        let (Some(mib), Some(data_dir)) = (self.prefix_cache_disk, self.data_dir()) else { return Ok(None) };
        let directory = self.prefix_cache.clone().unwrap_or_else(|| data_dir.join("prefix-cache"));
        let key = node_keys::prefix_cache(&data_dir)?;
        Ok(Some((directory, mib.saturating_mul(1024 * 1024), key)))
    }

    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    pub const fn ignores_memory(&self) -> bool {
        self.ignore_memory
    }

    /// The directory of adapters.
    fn adapters(&self, data_dir: Option<&Path>) -> Option<PathBuf> {
        self.adapters.clone().or_else(|| data_dir.map(|dir| dir.join("adapters")))
    }

    pub const fn draft_tokens(&self) -> usize {
        self.draft_tokens
    }

    /// The path of the draft model, and the bytes of its KV cache.
    pub fn draft(&self) -> Result<Option<(PathBuf, usize)>, Failure> {
        let found = self.draft.as_deref().map(|name| self.find_model(name)).transpose()?;
        Ok(found.map(|(path, _)| (path, self.draft_memory.saturating_mul(1024 * 1024))))
    }

    #[cfg(feature = "engine")]
    pub fn adapter_limits(&self) -> weights::adapters::Limits {
        weights::adapters::Limits {
            registered: self.adapters_known,
            resident: self.adapters_loaded,
            resident_bytes: self.adapter_memory.saturating_mul(1024 * 1024),
            ..weights::adapters::Limits::default()
        }
    }

    /// The path of the model, and the name that requests use for it.
    pub fn model(&self, requested: &str) -> Result<(PathBuf, String), Failure> {
        let (found, usual) = self.find_model(requested)?;
        Ok((found, self.name.clone().unwrap_or(usual)))
    }

    /// The path of a model, and its default name.
    fn find_model(&self, requested: &str) -> Result<(PathBuf, String), Failure> {
        let path = Path::new(requested);
        let (found, usual) = if path.exists() {
            let name = path.file_name().map_or_else(|| requested.into(), |name| name.to_string_lossy());
            (path.to_owned(), hub::stem_of(&name).unwrap_or(&name).to_owned())
        } else {
            let pulled = self.place.shelf()?.path_of(requested);
            let found = pulled.ok_or_else(|| {
                let message = format!(
                    "There is no model at {requested}, and none was pulled by that name. Give a directory with config.json \
                     and safetensors, a file of GGUF, or what `tidegate models local` lists; `tidegate pull NAME` brings more."
                );
                Failure::new(output::NOT_FOUND, message)
            })?;
            (found, requested.to_owned())
        };
        Ok((found, usual))
    }
}

pub fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Some(Command::Key { data_dir }) => node_keys::make(data_dir),
        Some(Command::Join(options)) => node_join::run(options),
        #[cfg(feature = "peers")]
        Some(Command::Identity { data_dir }) => crate::node_mesh::show(data_dir),
        #[cfg(feature = "peers")]
        Some(Command::Fetch(options)) => node_fetch::run(options),
        None => serve(&options.serving),
    }
}

fn serve(serving: &Serving) -> Result<(), Failure> {
    refuse_what_is_not_there(serving)?;
    let data_dir = serving.data_dir();
    let keys = data_dir.as_deref().map(node_keys::read).transpose()?.unwrap_or_default();
    refuse_an_open_address(serving.listen, keys.is_empty())?;
    logging::start("info", false)?;
    unread_here().iter().for_each(|remark| tracing::warn!("{remark}"));
    hardening::raise_descriptor_limit();
    // Two nodes would write to the same journal.
    let _lock = match &data_dir {
        Some(dir) => {
            node_keys::create(dir)?;
            Some(crate::data_dir::lock(dir)?)
        }
        None => None,
    };
    let topology = topology(serving, data_dir.as_deref())?;
    let placement = topology_words(&topology, has_peers_to_ask(serving));
    let OpenedRuntime { runtime, kind, remark } = open(serving)?;
    let models = runtime.models();
    let adapters = serving.adapters(data_dir.as_deref());
    let joined = data_dir.clone();
    let settings =
        NodeSettings { world: World::system(), keys, runtime_name: kind, data_dir, adapters, topology };
    let (is_strict, kept) = (settings.topology.is_strict, settings.data_dir.clone());
    let service = Service::new(runtime, settings)?;
    let fleet = node_workers::open(&service, serving.config.as_deref(), kept.as_deref(), is_strict)?;
    let device = (kind != ECHO).then(|| serving.device.clone());
    device.iter().for_each(|device| service.computes_on(device));
    let options = JoinedOptions { device, powercap: &serving.powercap, tunnel: serving.tunnel };
    let joined = JoinedNode::open(&service, joined, options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let settings = listening(serving.listen);
    LocalSet::new().block_on(&runtime, async {
        let mut stop = Stop::listen()?;
        let parent = Parent::of(serving.until_stdin_ends)?;
        for (adapter, why) in service.register_adapters().await {
            eprintln!("the adapter {adapter} is left out: {why}");
        }
        #[cfg(feature = "peers")]
        let mesh = join_peers(serving, &service).await?;
        let running = gateway::serve_node(Arc::clone(&service), &settings)?;
        kept.as_deref().map(|dir| node_keys::keep_address(dir, running.address())).transpose()?;
        let name = models.first().map_or(kind, |model| &model.id);
        eprintln!("node {name} listens on http://{} ({remark})", running.address());
        eprintln!("{placement}");
        let _workers = fleet.map(node_workers::start).transpose()?;
        let reporting = joined.map(|joined| joined.start(&service, settings.times)).transpose()?;
        let is_orphan = parent.ends_before(&mut stop).await;
        running.drain();
        service.close();
        let whole = async {
            if let Some(reporting) = reporting {
                reporting.end().await;
            }
            ended(&running).await;
            #[cfg(feature = "peers")]
            if let Some(mesh) = mesh {
                mesh.end().await;
            }
        };
        tokio::select! {
            () = whole => {}
            () = stop.received() => running.stop(),
            () = std::future::ready(()), if is_orphan => running.stop(),
        }
        Ok(())
    })
}

/// The process that started this node and holds the other end of its standard input, if there is one.
struct Parent(Option<pipe::Receiver>);

impl Parent {
    fn of(is_there: bool) -> std::io::Result<Self> {
        let pipe = |input: std::io::Stdin| pipe::Receiver::from_owned_fd(input.as_fd().try_clone_to_owned()?);
        is_there.then(|| pipe(std::io::stdin())).transpose().map(Self)
    }

    /// Waits for whichever is first: the parent's end or a signal.
    async fn ends_before(self, stop: &mut Stop) -> bool {
        tokio::select! {
            () = stop.received() => false,
            () = self.ended() => true,
        }
    }

    /// Returns once the pipe is closed, which the kernel does for a parent that was killed.
    async fn ended(mut self) {
        let Some(pipe) = &mut self.0 else { return std::future::pending().await };
        let mut ignored = [0; 64];
        while !matches!(pipe.read(&mut ignored).await, Ok(0) | Err(_)) {}
    }
}

/// Joins the mesh of peers, if the options name one.
#[cfg(feature = "peers")]
async fn join_peers(serving: &Serving, service: &Arc<Service>) -> Result<Option<RunningMesh>, Failure> {
    let data_dir = serving.data_dir();
    let requested = serving.model.as_deref().filter(|model| *model != ECHO);
    let served = requested.map(|model| serving.model(model)).transpose()?.map(|(path, name)| (name, path));
    let folders = Folders {
        models: serving.place.shelf().ok(),
        adapters: serving.adapters(data_dir.as_deref()),
        served,
    };
    serving.peers.start(service, data_dir.as_deref(), folders, keeps_requests()).await
}

/// Requests that may not leave this machine go neither to backends nor to peers.
fn keeps_requests() -> bool {
    std::env::var(ALLOWED_PROVIDERS).is_ok_and(|allowed| allowed.trim() == "local")
}

fn open(serving: &Serving) -> Result<OpenedRuntime, Failure> {
    match serving.model.as_deref().unwrap_or(ECHO) {
        ECHO => Ok(OpenedRuntime {
            runtime: Arc::new(Echo),
            kind: ECHO,
            remark: "echo isn't a model: it repeats what it is told".to_owned(),
        }),
        model => crate::local_models::open(model, serving),
    }
}

fn refuse_an_open_address(listen: SocketAddr, has_no_key: bool) -> Result<(), Failure> {
    if listen.ip().is_loopback() || !has_no_key {
        return Ok(());
    }
    let message = format!(
        "{listen} is not a loopback address, and this node has no key. Make one with `tidegate node key`, or listen on 127.0.0.1."
    );
    Err(Failure::new(output::USAGE, message))
}

fn listening(listen: SocketAddr) -> GatewaySettings {
    GatewaySettings {
        listen,
        workers: 1,
        times: Times::default(),
        proxies: Proxies::default(),
        origins: gateway::Origins::default(),
        connections_max: hardening::connections_max(1),
        queue_delay_max: Duration::ZERO,
        in_flight_max: 0,
        body_bytes_max: gateway::NODE_BODY_BYTES_MAX,
    }
}

/// Where requests may be answered, by the options, the environment and the configuration.
fn topology(serving: &Serving, data_dir: Option<&Path>) -> Result<Topology, Failure> {
    let membership = data_dir.map(Membership::read).transpose()?.flatten();
    let allowed = std::env::var(ALLOWED_PROVIDERS).ok();
    let sources = TopologySources {
        is_strict: serving.runtime_local_only_strict,
        allowed: allowed.as_deref(),
        config: serving.config.as_deref(),
        gateway: membership.as_ref().map(|membership| membership.control.as_str()),
        environment: &|name| std::env::var(name).ok(),
        egress: api::egress_settings()?,
    };
    Topology::read(&sources).map_err(|error| Failure::new(output::USAGE, error))
}

/// What a person reads of the topology when the node starts.
fn topology_words(topology: &Topology, has_peers: bool) -> String {
    let backends = topology.backends();
    let leaves = if has_peers {
        "requests leave this machine for peers alone (--peer-keep keeps them here)"
    } else {
        "no request leaves this machine"
    };
    match (topology.is_strict, topology.unused_backends()) {
        _ if !backends.is_empty() => {
            let peers = if has_peers { ", and for peers" } else { "" };
            format!("requests may leave this machine for: {}{peers}", backends.join(", "))
        }
        (true, unused) => {
            let kind = if has_peers { "no backends" } else { "strictly local" };
            let unused = match unused {
                0 => String::new(),
                unused if keeps_requests() => {
                    format!(
                        ", and {unused} backends of --config are not used while {ALLOWED_PROVIDERS} is local"
                    )
                }
                unused => format!(
                    ", and {unused} backends of --config are not used; --runtime-local-only-strict=false uses them"
                ),
            };
            format!("{kind}: {leaves}{unused}")
        }
        (false, _) => format!("no backends: {leaves}"),
    }
}

/// Whether requests may go to peers.
#[cfg(feature = "peers")]
fn has_peers_to_ask(serving: &Serving) -> bool {
    serving.peers.may_ask() && !keeps_requests()
}

#[cfg(not(feature = "peers"))]
const fn has_peers_to_ask(_serving: &Serving) -> bool {
    false
}

fn refuse_what_is_not_there(serving: &Serving) -> Result<(), Failure> {
    if let Some(folder) = serving.adapters.as_deref().filter(|folder| !folder.is_dir()) {
        let message = format!("There is no folder {}: --adapters names one that is there.", folder.display());
        return Err(Failure::new(output::NOT_FOUND, message));
    }
    Ok(())
}
