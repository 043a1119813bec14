//! Adapters that come by themselves: one that a request names, that this node lacks and that a peer shares, within a bound that the
//! operator gives. They come one after the other, verified like any fetch.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use node::Service;
use peers::{Bandwidth, FetchEvent, FetchOrder, Fetcher, Mesh};
use tasks::RuntimeTasks;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use world::World;

use super::shares::adapter_directory;
use crate::limits::{ADAPTER_FAILED_FOR, ADAPTER_WAIT_TIME_MAX, ADAPTERS_COMING_MAX};

/// The adapters that are on their way, or were and failed lately.
pub struct ComingAdapters(Arc<Inner>);

struct Inner {
    mesh: Arc<Mesh>,
    fetcher: Fetcher,
    service: Arc<Service>,
    world: World,
    folder: PathBuf,
    bytes_max: u64,
    tasks: RuntimeTasks,
    /// One comes at a time.
    turn: Semaphore,
    known: Mutex<HashMap<String, Coming>>,
}

struct Coming {
    /// Whether it is here; `None` while it comes.
    outcome: watch::Receiver<Option<bool>>,
    since_us: u64,
}

impl ComingAdapters {
    pub fn new(mesh: &Arc<Mesh>, service: Arc<Service>, folder: PathBuf, bytes_max: u64) -> Self {
        let world = World::system();
        let fetcher = Fetcher::of(mesh, Bandwidth::new(&world, None), Vec::new());
        Self(Arc::new(Inner {
            mesh: Arc::clone(mesh),
            fetcher,
            service,
            world,
            folder,
            bytes_max,
            tasks: RuntimeTasks::on_this_runtime("adapters that are fetched"),
            turn: Semaphore::new(1),
            known: Mutex::default(),
        }))
    }

    /// Begins to fetch an adapter that a peer shares. Says whether it comes, or has come.
    pub fn bring(&self, adapter: &str) -> bool {
        let now_us = self.0.world.clock.monotonic_us();
        let share = format!("adapter/{adapter}");
        let (sender, outcome) = watch::channel(None);
        {
            let mut known = self.0.lock();
            known.retain(|_, coming| !coming.is_over(now_us));
            if known.contains_key(adapter) {
                return true;
            }
            let is_shared = || {
                let peers = self.0.mesh.peers();
                peers.iter().any(|peer| {
                    peer.ejection.is_none()
                        && peer.state.as_ref().is_some_and(|state| state.shares.contains(&share))
                })
            };
            // One that is in the folder and not registered was unloaded, and stays so.
            let has_a_place =
                adapter_directory(&self.0.folder, adapter).is_some_and(|directory| !directory.exists());
            if known.len() >= ADAPTERS_COMING_MAX || !has_a_place || !is_shared() {
                return false;
            }
            known.insert(adapter.to_owned(), Coming { outcome, since_us: now_us });
        }
        let (inner, adapter) = (Arc::clone(&self.0), adapter.to_owned());
        self.0.tasks.run(async move {
            let come = inner.fetch(&adapter).await;
            if let Err(why) = &come {
                tracing::warn!(
                    adapter,
                    why,
                    "an adapter that a request named could not be fetched from peers"
                );
            } else {
                tracing::info!(adapter, "an adapter that a request named has come from peers");
            }
            // Nobody may wait for it any more.
            let _ = sender.send(Some(come.is_ok()));
        });
        true
    }

    /// Waits until an adapter that comes is here; says whether it is.
    pub async fn wait(&self, adapter: &str) -> bool {
        let outcome = self.0.lock().get(adapter).map(|coming| coming.outcome.clone());
        let Some(mut outcome) = outcome else { return false };
        let waited = timeout(ADAPTER_WAIT_TIME_MAX, outcome.wait_for(Option::is_some)).await;
        waited.is_ok_and(|outcome| outcome.is_ok_and(|outcome| *outcome == Some(true)))
    }
}

impl Coming {
    /// What came is registered now, and what failed may be tried again after a while.
    fn is_over(&self, now_us: u64) -> bool {
        let age = Duration::from_micros(now_us.saturating_sub(self.since_us));
        match *self.outcome.borrow() {
            None => false,
            Some(true) => true,
            Some(false) => age >= ADAPTER_FAILED_FOR,
        }
    }
}

impl Inner {
    async fn fetch(&self, adapter: &str) -> Result<(), String> {
        let _turn = self.turn.acquire().await.map_err(|error| error.to_string())?;
        let directory =
            adapter_directory(&self.folder, adapter).ok_or("its name is not that of a directory")?;
        let (coming, share) = (self.folder.join(".coming").join(adapter), format!("adapter/{adapter}"));
        let order = FetchOrder {
            share: &share,
            directory: &coming,
            root: None,
            peers: &[],
            bytes_max: Some(self.bytes_max),
        };
        let ignore = |_: &FetchEvent| {};
        self.fetcher.fetch(order, &ignore).await.map_err(|error| error.to_string())?;
        publish(&coming, &directory).map_err(|error| error.to_string())?;
        let registered = self.service.register_adapter(adapter).await;
        if registered.is_err() {
            // It would be tried again at every start.
            let _ = fs::remove_dir_all(&directory);
        }
        registered
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Coming>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(coming: &Path, directory: &Path) -> io::Result<()> {
    fs::rename(coming, directory)?;
    directory.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
