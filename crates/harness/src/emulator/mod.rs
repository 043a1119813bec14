//! A strict provider emulator: it refuses what the real one refuses, misbehaves on request, and records everything.

mod admin;
pub(crate) mod answering;
mod behaviour;
pub(crate) mod body;
mod config;
pub(crate) mod frames;
mod journal;
mod play;
mod server;
pub(crate) mod service;
mod squeeze;
pub(crate) mod state;
mod tls;
pub(crate) mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use behaviour::{At, Behaviour, CannedBody, LineEnd, ScriptError, ToolMode, UsageMode};
pub use config::{Config, DEFAULT_KEY, KeyState, Kind, Model};
pub use journal::{ConnectionEntry, Entry, Outcome, Tally, Totals, Violation};
pub(crate) use play::{Part, Place};

use crate::anthropic;
use crate::bedrock;
use crate::directory;
use crate::openai::flavour::Flavour;
use server::Server;
use state::{Shared, lock};

/// Tasks end where they next wait, which is at once; this only bounds a fault.
const STOP: Duration = Duration::from_secs(5);

/// A running emulator; dropping it closes its listener and all its connections.
pub struct Emulator {
    shared: Arc<Shared>,
    server: Arc<Server>,
    address: SocketAddr,
    listener: Mutex<Option<JoinHandle<()>>>,
    ca_pem: Option<String>,
    ca_file: Option<PathBuf>,
    workers: Workers,
}

/// The emulator's threads. A runtime must not be dropped on another runtime's thread, so drop hands it to one of
/// its own and waits: after it, the port is free and all connections are closed.
struct Workers(Option<Runtime>);

impl Emulator {
    /// Starts on threads of its own and returns once it accepts connections.
    pub async fn start(config: Config) -> io::Result<Self> {
        let address = loopback(&config.listen)?;
        let identity = if config.tls { Some(tls::identity()?) } else { None };
        let ca_file = match (&identity, &config.tls_dir) {
            (Some(identity), Some(directory)) => Some(write_ca(directory, &identity.ca_pem)?),
            _ => None,
        };
        let workers = Workers::new(config.workers)?;
        let acceptor = identity.as_ref().map(|identity| TlsAcceptor::from(Arc::clone(&identity.config)));
        let shared = Arc::new(Shared::new(config));
        let server = Arc::new(Server::new(Arc::clone(&shared), acceptor));
        let (bound, task) = workers.run(server::listen(Arc::clone(&server), address)).await??;
        Ok(Self {
            shared,
            server,
            address: bound,
            listener: Mutex::new(Some(task)),
            ca_pem: identity.map(|identity| identity.ca_pem),
            ca_file,
            workers,
        })
    }

    /// The base URL an OpenAI client takes; ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.shared.config.flavour.host_base())
    }

    /// The base URL under which this emulator speaks like a vendor whatever its own flavour is.
    pub fn base_url_of(&self, flavour: Flavour) -> String {
        format!("{}{}", self.origin(), flavour.base())
    }

    /// The base URL an Anthropic client takes: paths below it begin with `/v1`, and all of them mean its API.
    pub fn anthropic_url(&self) -> String {
        format!("{}{}", self.origin(), anthropic::service::BASE)
    }

    /// A resource of Azure here that runs Anthropic's models.
    pub fn foundry_url(&self) -> String {
        format!("{}{}", self.origin(), crate::azure::foundry::RESOURCE)
    }

    /// The base URL of Bedrock here, of its runtime and of its control plane.
    pub fn bedrock_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::BASE)
    }

    /// The address of the cloud's storage here.
    pub fn storage_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::STORAGE)
    }

    /// Puts an object into a bucket of a key's, such as `s3://bucket/name`.
    pub fn store(&self, key: &str, uri: &str, content: impl Into<bytes::Bytes>) {
        if let Some((bucket, name)) = bedrock::storage::place(uri) {
            state::lock(&self.shared.storage).put(key, bucket, name, content.into());
        }
    }

    /// Takes an object away.
    pub fn unstore(&self, uri: &str) {
        if let Some((bucket, name)) = bedrock::storage::place(uri) {
            state::lock(&self.shared.storage).remove(bucket, name);
        }
    }

    /// Whether whoever signs by a key may not read the storage from now on.
    pub fn deny_storage(&self, key: &str, is_denied: bool) {
        state::lock(&self.shared.storage).deny(key, is_denied);
    }

    /// The base URL of Bedrock's other endpoint here.
    pub fn mantle_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::mantle::BASE)
    }

    /// Where fal's apps are asked at once here.
    pub fn fal_url(&self) -> String {
        format!("{}{}", self.origin(), crate::fal::BASE)
    }

    /// Where they are asked through its queue.
    pub fn fal_queue_url(&self) -> String {
        format!("{}{}", self.origin(), crate::fal::QUEUE)
    }

    /// How many requests in fal's queue were called off.
    pub fn fal_cancelled(&self) -> usize {
        self.shared.fal.cancelled()
    }

    /// Where roles are lent here.
    pub fn sts_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::STS)
    }

    /// Temporary access keys that stand for a key, as a credential takes them.
    pub fn session_keys(&self, key: &str) -> serde_json::Value {
        bedrock::lent(&self.shared, key)
    }

    /// Scheme, host and port: the base URL a Gemini client takes, which names the version itself.
    pub fn origin(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What a client must trust, when TLS is on.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Where [`Emulator::ca_pem`] was written, when a directory was given.
    pub fn ca_file(&self) -> Option<&std::path::Path> {
        self.ca_file.as_deref()
    }

    /// Queues behaviours for the next calls of one key.
    pub fn script(&self, key: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.script(Some(key), behaviours);
    }

    /// Queues behaviours for the next calls of any key whose own queue is empty.
    pub fn script_all(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.script(None, behaviours);
    }

    pub fn clear_scripts(&self) {
        self.shared.clear_scripts();
    }

    /// How many tokens its directory has handed out.
    pub fn tokens_issued(&self) -> u64 {
        self.shared.directory.count()
    }

    /// How long those live that it hands out from now on.
    pub fn tokens_live(&self, lives: Duration) {
        self.shared.directory.lives(lives);
    }

    /// Ends all that it handed out, as time does.
    pub fn expire_tokens(&self) {
        self.shared.directory.expire();
    }

    /// Takes back all that it handed out.
    pub fn revoke_tokens(&self) {
        self.shared.directory.revoke();
    }

    /// Gives the machine that asks it an identity: a token of it stands for this key.
    pub fn be_machine_of(&self, key: &str) {
        self.shared.directory.be_machine_of(key);
    }

    /// The key file of a new service account at Google: its tokens stand for this key.
    pub fn service_account(&self, key: &str) -> serde_json::Value {
        directory::google::key_file(&self.shared.directory.add_account(key), &self.origin())
    }

    /// A token of another issuer, for a new workload that stands for this key, as Amazon takes it.
    pub fn token_for_amazon(&self, key: &str) -> String {
        directory::issuer::issue(&self.shared.directory.add_workload(key), bedrock::TOKEN_AUDIENCE)
    }

    /// The same for Google.
    pub fn token_for_google(&self, key: &str) -> String {
        directory::issuer::issue(&self.shared.directory.add_workload(key), &directory::pool::audience())
    }

    /// The configuration of a workload identity pool at Google; with a key it lends the tokens of a new service account that
    /// stands for it.
    pub fn identity_pool(&self, account_of: Option<&str>) -> serde_json::Value {
        let email = account_of.map(|key| self.shared.directory.add_account(key));
        directory::pool::configuration(&self.origin(), email.as_deref())
    }

    /// Takes from a key's accounts what they may use.
    pub fn deny(&self, key: &str) {
        self.shared.directory.deny(key);
    }

    /// From now on it is so much later here than elsewhere.
    pub fn clock_ahead(&self, seconds: i64) {
        self.shared.directory.be_ahead(seconds);
    }

    /// Accepts a key from now on, in this state.
    pub fn set_key(&self, key: &str, state: KeyState) {
        self.shared.set_key(key, state);
    }

    /// Treats a key as never heard of.
    pub fn forget_key(&self, key: &str) {
        self.shared.forget_key(key);
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal()
    }

    /// Sums over ended requests.
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.shared.violations()
    }

    pub fn connections(&self) -> Vec<ConnectionEntry> {
        self.shared.connections()
    }

    /// Forgets journal, totals, scripts, caches and violations; keys are as configured again.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Waits until the journal satisfies a condition; the error is the journal at the deadline.
    pub async fn wait_for(
        &self,
        within: Duration,
        mut condition: impl FnMut(&[Entry]) -> bool,
    ) -> Result<Vec<Entry>, Vec<Entry>> {
        let mut changed = self.shared.changed.subscribe();
        let deadline = tokio::time::Instant::now() + within;
        loop {
            changed.mark_unchanged();
            let journal = self.journal();
            if condition(&journal) {
                return Ok(journal);
            }
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(self.journal()),
            }
        }
    }

    /// Closes the listener and aborts all connections: from now on connecting is refused.
    pub async fn refuse(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            // The socket is closed once the task is gone, however it went.
            let _ = task.await;
        }
        lock(&self.shared.connections).iter().for_each(|control| control.abort());
    }

    /// Listens again at the same address after [`Emulator::refuse`].
    pub async fn accept_again(&self) -> io::Result<()> {
        if lock(&self.listener).is_some() {
            return Ok(());
        }
        let (_, task) = self.workers.run(server::listen(Arc::clone(&self.server), self.address)).await??;
        *lock(&self.listener) = Some(task);
        Ok(())
    }
}

impl Workers {
    fn new(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads.max(1)).thread_name("emulator").enable_all();
        Ok(Self(Some(builder.build()?)))
    }

    /// Runs a future on these threads.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(runtime) = &self.0 else { return Err(io::Error::other("the emulator is stopping")) };
        runtime.spawn(future).await.map_err(io::Error::other)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let Some(runtime) = self.0.take() else { return };
        let stopping = std::thread::spawn(move || runtime.shutdown_timeout(STOP));
        // It fails only if the runtime panicked, and then there is nothing left to stop.
        let _ = stopping.join();
    }
}

/// An emulator holds keys in the clear and has no business on a network.
fn loopback(listen: &str) -> io::Result<SocketAddr> {
    let address: SocketAddr = listen.parse().map_err(io::Error::other)?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(io::Error::other(format!("{listen} is not a loopback address")))
    }
}

fn write_ca(directory: &std::path::Path, pem: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let file = directory.join("ca.pem");
    std::fs::write(&file, pem)?;
    Ok(file)
}
