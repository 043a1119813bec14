//! The keeper: follows a source, builds the next snapshot, updates the vault first, and publishes atomically.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use catalogue::Catalogue;
use domain::ports::{KeyHash, PortFuture};
use tasks::Task;
use tokio::sync::watch;

use crate::compiled::{Parts, Snapshot};
use crate::source::{Change, Source, SourceError};

/// Runs with a change before its version is published: the vault learns new workspace keys and minimum
/// versions. On an error the old version stays in force, and the change is tried again.
pub type BeforePublish =
    Arc<dyn for<'a> Fn(&'a mut Change) -> PortFuture<'a, Result<(), SourceError>> + Send + Sync>;

/// For a keeper without a vault.
pub fn nothing_first() -> BeforePublish {
    Arc::new(|_| Box::pin(async { Ok(()) }))
}

/// What a keeper needs besides its source.
pub struct KeeperSettings {
    pub catalogue: Arc<Catalogue>,
    pub key_hash: Arc<dyn KeyHash>,
    pub before_publish: BeforePublish,
    /// The source is polled at least this often, whether or not it signalled a change.
    pub poll_every: Duration,
}

/// The keeper ended, so the awaited version never comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is no longer followed: the process is stopping")]
pub struct KeeperStopped;

/// Owns the published snapshot and the task that replaces it; dropping it ends the task.
pub struct Keeper {
    current: Arc<ArcSwap<Snapshot>>,
    published: watch::Receiver<u64>,
    task: Task,
}

/// A core's view: one atomic comparison if nothing changed.
pub struct Reader {
    cache: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
}

impl Keeper {
    /// Loads everything, publishes it and starts to follow the source.
    ///
    /// # Errors
    /// The source gives no first configuration, so there is nothing to serve with.
    pub async fn start(source: Arc<dyn Source>, settings: KeeperSettings) -> Result<Arc<Self>, SourceError> {
        let woken = source.subscribe();
        let mut change = source.load().await?;
        (settings.before_publish)(&mut change).await?;
        let empty = Snapshot::assemble(Parts {
            version: 0,
            keys: Vec::new(),
            workspaces: Vec::new(),
            accounts: Vec::new(),
            catalogue: settings.catalogue,
            key_hash: settings.key_hash,
        });
        let first = empty.with(change);
        let (publish, published) = watch::channel(first.version());
        let current = Arc::new(ArcSwap::from_pointee(first));
        let follower = Follower {
            source,
            current: Arc::clone(&current),
            publish,
            before_publish: settings.before_publish,
            poll_every: settings.poll_every,
        };
        let task = Task::spawn("configuration", follower.follow(woken));
        Ok(Arc::new(Self { current, published, task }))
    }

    pub fn reader(&self) -> Reader {
        Reader { cache: RefCell::new(Cache::new(Arc::clone(&self.current))) }
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Returns once every reader gets a snapshot of this version or a later one.
    ///
    /// # Errors
    /// The keeper ended first.
    pub async fn await_version(&self, version: u64) -> Result<(), KeeperStopped> {
        let mut published = self.published.clone();
        published.wait_for(|now| *now >= version).await.map(|_| ()).map_err(|_| KeeperStopped)
    }

    /// The versions as they are published.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.published.clone()
    }

    /// Stops following; readers stay on the version they have.
    pub fn stop(&self) {
        self.task.stop();
    }
}

domain::brief_debug!(Keeper, |it| version = *it.published.borrow());

impl Reader {
    /// The snapshot in force. A request takes it once and reads one version to its end.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(self.cache.borrow_mut().load())
    }

    /// A reader of one snapshot that never changes: for tests and for tools without a source.
    pub fn fixed(snapshot: Arc<Snapshot>) -> Self {
        Self { cache: RefCell::new(Cache::new(Arc::new(ArcSwap::new(snapshot)))) }
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        Self { cache: RefCell::new(self.cache.borrow().clone()) }
    }
}

domain::brief_debug!(Reader as "Reader");

struct Follower {
    source: Arc<dyn Source>,
    current: Arc<ArcSwap<Snapshot>>,
    publish: watch::Sender<u64>,
    before_publish: BeforePublish,
    poll_every: Duration,
}

impl Follower {
    async fn follow(self, mut woken: watch::Receiver<u64>) {
        let mut failed = false;
        loop {
            if !failed {
                // A source that is gone signals nothing any more; polling then tells why.
                match tokio::time::timeout(self.poll_every, woken.changed()).await {
                    Ok(Ok(())) | Err(_) => {}
                    Ok(Err(_)) => tokio::time::sleep(self.poll_every).await,
                }
            }
            failed = self.refresh(failed).await;
            if failed {
                tokio::time::sleep(self.poll_every).await;
            }
        }
    }

    /// Returns whether it failed. The old snapshot stays in force; the log has one line when
    /// trouble starts and one when it ends.
    async fn refresh(&self, failed_before: bool) -> bool {
        match self.advance().await {
            Ok(version) => {
                if failed_before {
                    tracing::info!(version, "the configuration can be read again");
                }
                false
            }
            Err(error) => {
                if !failed_before {
                    let version = self.current.load().version();
                    tracing::error!(%error, version, "the configuration did not refresh; serving the last one");
                }
                true
            }
        }
    }

    async fn advance(&self) -> Result<u64, SourceError> {
        let now = self.current.load_full();
        let mut change = self.source.changes_since(now.version()).await?;
        let is_same_plane = change.plane.as_ref() == now.data_plane();
        if change.version <= now.version() && !change.whole && is_same_plane {
            return Ok(now.version());
        }
        (self.before_publish)(&mut change).await?;
        let next = Arc::new(now.with(change));
        let version = next.version();
        self.current.store(next);
        // `send_replace` even if nobody waits: a later waiter must see it.
        self.publish.send_replace(version);
        Ok(version)
    }
}
