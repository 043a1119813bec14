//! A strict provider emulator: it rejects what the real provider rejects, misbehaves on request, and records
//! every request.

mod admin;
pub(crate) mod answering;
mod behaviour;
pub(crate) mod body;
mod config;
pub(crate) mod frames;
mod journal;
mod play;
mod queues;
mod server;
pub(crate) mod service;
mod squeeze;
pub(crate) mod state;
pub(crate) mod tls;
pub(crate) mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) use behaviour::setters;
pub use behaviour::{At, Behaviour, CannedBody, LineEnd, ScriptError, ToolMode, UsageMode};
pub use config::{Config, KeyState, Kind, Model};
pub use journal::{ConnectionEntry, Entry, Outcome, Tally, Totals, Violation};
pub(crate) use play::{Part, PartRole};

use crate::anthropic;
use crate::bedrock;
use crate::directory;
use crate::openai::flavour::Flavour;
use server::Server;
use state::{Shared, lock};

/// Tasks stop at their next await point, which is immediate; this only bounds the wait if one does not.
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

/// The emulator's threads. A runtime must not be dropped on another runtime's thread, so drop moves it to a
/// new thread and waits: afterwards the port is free and all connections are closed.
struct Workers(Option<Runtime>);

impl Emulator {
    /// Starts on its own threads and returns once it accepts connections.
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

    /// The base URL for an OpenAI client; ends in `/v1`.
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.shared.config.flavour.host_base())
    }

    /// The base URL under which this emulator behaves as the given vendor, whatever its own flavour is.
    pub fn base_url_of(&self, flavour: Flavour) -> String {
        format!("{}{}", self.origin(), flavour.base())
    }

    /// The base URL for an Anthropic client: paths below it begin with `/v1`, and all of them belong to
    /// Anthropic's API.
    pub fn anthropic_url(&self) -> String {
        format!("{}{}", self.origin(), anthropic::service::BASE)
    }

    /// The URL of an Azure AI Foundry resource that serves Anthropic's models.
    pub fn foundry_url(&self) -> String {
        format!("{}{}", self.origin(), crate::azure::foundry::RESOURCE)
    }

    /// The base URL of Amazon Bedrock, for both its runtime and its control plane.
    pub fn bedrock_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::BASE)
    }

    /// The base URL of Amazon S3, as far as batches need it.
    pub fn storage_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::STORAGE)
    }

    /// Stores an object in an S3 bucket owned by a key, such as `s3://bucket/name`.
    pub fn store(&self, key: &str, uri: &str, content: impl Into<bytes::Bytes>) {
        if let Some((bucket, name)) = bedrock::storage::location(uri) {
            state::lock(&self.shared.storage).put(key, bucket, name, content.into());
        }
    }

    /// The objects of an S3 bucket, by name.
    pub fn stored(&self, bucket: &str) -> Vec<(String, bytes::Bytes)> {
        state::lock(&self.shared.storage).all(bucket)
    }

    /// Denies, or allows again, reading S3 with credentials of this key.
    pub fn deny_storage(&self, key: &str, is_denied: bool) {
        state::lock(&self.shared.storage).deny(key, is_denied);
    }

    /// The base URL of Bedrock's other endpoint, `bedrock-mantle`.
    pub fn mantle_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::mantle::BASE)
    }

    /// The base URL for fal's synchronous calls.
    pub fn fal_url(&self) -> String {
        format!("{}{}", self.origin(), crate::fal::BASE)
    }

    /// The base URL of fal's queue.
    pub fn fal_queue_url(&self) -> String {
        format!("{}{}", self.origin(), crate::fal::QUEUE)
    }

    /// The number of fal queue requests that were cancelled.
    pub fn fal_cancelled(&self) -> usize {
        self.shared.fal.cancelled_count()
    }

    /// The base URL of AWS STS, which issues temporary credentials for roles.
    pub fn sts_url(&self) -> String {
        format!("{}{}", self.origin(), bedrock::STS)
    }

    /// Temporary access keys that map to an emulator key, in the form of a credential.
    pub fn session_keys(&self, key: &str) -> serde_json::Value {
        bedrock::lend(&self.shared, key)
    }

    /// Scheme, host and port: the base URL for a Gemini client, which adds the API version itself.
    pub fn origin(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The PEM of the certificate authority that a client must trust, when TLS is on.
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

    /// Queues behaviours for the next deletions of stored responses by one key: whether they wait.
    pub fn script_deletions(&self, key: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.script(Some(&state::deletions(key)), behaviours);
    }

    /// Queues behaviours for the next calls of any key whose own queue is empty.
    pub fn script_all(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.script(None, behaviours);
    }

    pub fn clear_scripts(&self) {
        self.shared.clear_scripts();
    }

    /// Sends the responses that are held, and holds none from now on.
    pub fn release(&self) {
        self.shared.are_released.send_replace(true);
    }

    /// The number of access tokens that its token endpoints have issued.
    pub fn tokens_issued(&self) -> u64 {
        self.shared.directory.count()
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn tokens_live(&self, lives: Duration) {
        self.shared.directory.lives(lives);
    }

    /// Expires all issued tokens, as the passage of time would.
    pub fn expire_tokens(&self) {
        self.shared.directory.expire();
    }

    /// Revokes all issued tokens.
    pub fn revoke_tokens(&self) {
        self.shared.directory.revoke();
    }

    /// Gives the machine an identity (instance metadata): its tokens map to this key.
    pub fn be_machine_of(&self, key: &str) {
        self.shared.directory.be_machine_of(key);
    }

    /// The key file of a new Google service account, whose tokens map to this key.
    pub fn service_account(&self, key: &str) -> serde_json::Value {
        directory::google::key_file(&self.shared.directory.add_account(key), &self.origin())
    }

    /// An OIDC token of an external issuer for a new workload that maps to this key, with the audience that
    /// Amazon expects.
    pub fn token_for_amazon(&self, key: &str) -> String {
        directory::issuer::issue(&self.shared.directory.add_workload(key), bedrock::TOKEN_AUDIENCE)
    }

    /// As `token_for_amazon`, with the audience that Google expects.
    pub fn token_for_google(&self, key: &str) -> String {
        directory::issuer::issue(&self.shared.directory.add_workload(key), &directory::pool::audience())
    }

    /// The configuration of a Google workload identity pool; with a key, it impersonates a new service
    /// account that maps to that key.
    pub fn identity_pool(&self, account_of: Option<&str>) -> serde_json::Value {
        let email = account_of.map(|key| self.shared.directory.add_account(key));
        directory::pool::configuration(&self.origin(), email.as_deref())
    }

    /// The tokens of a subscription that maps to a key: they live as `tokens_live` says, and are renewed once each.
    pub fn subscription(&self, key: &str) -> serde_json::Value {
        let directory = &self.shared.directory;
        let (access_token, lives_s) = directory.issue(key, directory::vendor::AUDIENCE);
        let expires_at = time::OffsetDateTime::now_utc() + Duration::from_secs(lives_s);
        serde_json::json!({
            "access_token": access_token, "refresh_token": directory.add_refresh_token(key),
            "expires_at": expires_at.format(&time::format_description::well_known::Rfc3339).ok(),
            "token_url": format!("{}{}", self.origin(), directory::vendor::PATH),
            "client_id": directory::vendor::CLIENT,
        })
    }

    /// Removes all permissions from the accounts of a key.
    pub fn deny(&self, key: &str) {
        self.shared.directory.deny(key);
    }

    /// From now on Gemini makes cached contents, and answers nobody who asks for one.
    pub fn leave_caches_unanswered(&self, are_unanswered: bool) {
        self.shared.gemini.leave_caches_unanswered(are_unanswered);
    }

    /// Sets the emulator's clock ahead of the real time by this much.
    pub fn clock_ahead(&self, seconds: i64) {
        self.shared.directory.be_ahead(seconds);
    }

    /// Accepts a key from now on, in this state.
    pub fn set_key(&self, key: &str, state: KeyState) {
        self.shared.set_key(key, state);
    }

    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal()
    }

    /// Totals over completed requests.
    pub fn totals(&self) -> Totals {
        self.shared.totals()
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.shared.violations()
    }

    pub fn connections(&self) -> Vec<ConnectionEntry> {
        self.shared.connections()
    }

    /// Clears journal, totals, scripts, caches and violations; keys return to their configured state.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Waits until the journal satisfies a condition; the error holds the journal at the deadline.
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

    /// Closes the listener and all connections: further connection attempts are refused.
    pub async fn refuse(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            // The socket is closed once the task has ended, whatever its result.
            let _ = task.await;
        }
        self.server.cut().await;
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

    /// Runs a future on the emulator's threads.
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
        // Joining fails only if the thread panicked; then nothing is left to stop.
        let _ = stopping.join();
    }
}

/// An emulator holds keys in plain text, so it must not listen on a network.
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
