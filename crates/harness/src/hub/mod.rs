//! A strict hub of made-up models: it lists and hands out files as the real one does, keeps its large ones at a second
//! address, misbehaves on request, and writes down all that it was asked.

mod answer;
mod ask;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use aws_lc_rs::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Who may read a repository that is not everybody's.
pub const TOKEN: &str = "hf_of_the_loopback_hub";

/// What was asked, and what went out for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whether it came to the second address.
    pub at_storage: bool,
    pub method: String,
    pub path: String,
    /// Where the asked range begins.
    pub from: u64,
    pub token: Option<String>,
    pub status: u16,
    pub body_bytes: u64,
}

/// How a file is handed out once; the next time all is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after so many bytes of the body.
    BreakAfter(usize),
    /// Nothing more comes after so many bytes, and the connection stays.
    StallAfter(usize),
    Status(u16),
    /// A byte is another one.
    Corrupt,
    /// The whole file, though a part was asked for.
    IgnoreRange,
}

/// Who may read a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Everybody,
    /// Those with a token who accepted its terms: nobody did.
    Gated,
    /// Those with the hub's token.
    Private,
}

pub(crate) struct Repository {
    access: Access,
    commit: String,
    /// In the order that they are listed in.
    files: Vec<(String, Vec<u8>)>,
    /// The list says neither lengths nor checksums.
    is_terse: bool,
}

#[derive(Default)]
struct State {
    repositories: HashMap<String, Repository>,
    faults: HashMap<String, Vec<Fault>>,
    asked: Vec<Asked>,
    violations: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    hub: SocketAddr,
    storage: SocketAddr,
    is_over: AtomicBool,
}

/// A running hub; dropping it closes both addresses.
pub struct Hub {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl Hub {
    /// Starts on threads of its own.
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

    /// Adds a repository, or gives it another commit. Files of weights are large, all others small.
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

    /// Lists a repository from now on without lengths and checksums, as some mirrors do.
    pub fn be_terse(&self, repository: &str) {
        if let Some(repository) = self.shared.state().repositories.get_mut(repository) {
            repository.is_terse = true;
        }
    }

    /// What happens to a file the next times that its bytes are asked for, in this order.
    pub fn fail(&self, file: &str, faults: &[Fault]) {
        self.shared.state().faults.entry(file.to_owned()).or_default().extend(faults);
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }

    pub fn forget(&self) {
        self.shared.state().asked.clear();
    }

    /// What no proper client does.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for address in [self.shared.hub, self.shared.storage] {
            // Wakes the listener, which then looks whether it is over.
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

/// Git's name of a small file.
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
