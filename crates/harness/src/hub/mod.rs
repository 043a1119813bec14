//! A strict emulator of Hugging Face's hub with synthetic test models: it lists and serves files as the real
//! hub does, serves large files from a second (storage) address, misbehaves on request, and records every
//! request.

mod answer;
mod request_head;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The access token for gated and private repositories.
pub const TOKEN: &str = "hf_of_the_loopback_hub";

/// A recorded request, with the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRequest {
    /// Whether the request went to the storage address.
    pub at_storage: bool,
    pub method: String,
    pub path: String,
    /// The start of the requested range.
    pub from: u64,
    pub token: Option<String>,
    pub status: u16,
    pub body_bytes: u64,
}

/// A fault in one download of a file; the next download works again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes after this many bytes of the body.
    BreakAfter(usize),
    /// Nothing more is sent after this many bytes, and the connection stays open.
    StallAfter(usize),
    Status(u16),
    /// One byte is changed.
    Corrupt,
    /// Sends the whole file although a range was requested.
    IgnoreRange,
}

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Everybody,
    /// Users whose token has accepted the repository's terms, which none has.
    Gated,
    /// Clients that send the hub's token.
    Private,
}

pub(crate) struct Repository {
    access: Access,
    commit: String,
    /// In listing order.
    files: Vec<(String, Vec<u8>)>,
    /// The listing omits lengths and checksums.
    is_terse: bool,
}

#[derive(Default)]
struct State {
    repositories: HashMap<String, Repository>,
    faults: HashMap<String, Vec<Fault>>,
    requests: Vec<HubRequest>,
    violations: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    hub: SocketAddr,
    storage: SocketAddr,
    is_over: AtomicBool,
}

/// A running hub emulator; dropping it closes both addresses.
pub struct Hub {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl Hub {
    /// Starts on its own threads.
    pub fn start() -> io::Result<Self> {
        let (hub, storage) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            hub: hub.local_addr()?,
            storage: storage.local_addr()?,
            is_over: AtomicBool::new(false),
        });
        let listen = |listener: TcpListener, at_storage: bool| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, &shared, at_storage))
        };
        let listeners = vec![listen(hub, false), listen(storage, true)];
        Ok(Self { shared, listeners })
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// Adds a repository, or replaces its content with a new commit. Weight files count as large, all others
    /// as small.
    pub fn put(&self, repository: &str, files: &[(&str, &[u8])]) {
        let mut state = self.shared.state();
        let names: Vec<u8> =
            files.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat()).collect();
        let made = Repository {
            access: Access::Everybody,
            commit: hex_of(&SHA1_FOR_LEGACY_USE_ONLY, &[&names]),
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            is_terse: false,
        };
        state.repositories.insert(repository.to_owned(), made);
    }

    pub fn allow(&self, repository: &str, access: Access) {
        if let Some(repository) = self.shared.state().repositories.get_mut(repository) {
            repository.access = access;
        }
    }

    /// Lists a repository without lengths and checksums from now on, as some mirrors do.
    pub fn be_terse(&self, repository: &str) {
        if let Some(repository) = self.shared.state().repositories.get_mut(repository) {
            repository.is_terse = true;
        }
    }

    /// Queues faults for the next downloads of a file, in this order.
    pub fn fail(&self, file: &str, faults: &[Fault]) {
        self.shared.state().faults.entry(file.to_owned()).or_default().extend(faults);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<HubRequest> {
        self.shared.state().requests.clone()
    }

    pub fn forget(&self) {
        self.shared.state().requests.clear();
    }

    /// Requests that a correct client would not send.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for address in [self.shared.hub, self.shared.storage] {
            // Wakes the listener, which then checks whether it should stop.
            let _ = TcpStream::connect(address);
        }
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, at_storage: bool) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || answer::serve(stream, &shared, at_storage));
    }
}

/// The Git blob id of a small file.
pub(crate) fn blob_id(bytes: &[u8]) -> String {
    hex_of(&SHA1_FOR_LEGACY_USE_ONLY, &[format!("blob {}\0", bytes.len()).as_bytes(), bytes])
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex_of(&SHA256, &[bytes])
}

fn hex_of(algorithm: &'static Algorithm, parts: &[&[u8]]) -> String {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_large(name: &str) -> bool {
    [".safetensors", ".gguf", ".bin"].iter().any(|end| name.ends_with(end))
}
