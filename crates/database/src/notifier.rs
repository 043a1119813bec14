//! What a process learns of changes that others made.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Notifies followers of the configuration of its newest version, and lease holders of recalls.
#[derive(Clone)]
pub struct Notifier {
    versions: watch::Sender<u64>,
    /// A replica waits for budget that others have leased.
    recalls: Arc<Notify>,
}

impl Default for Notifier {
    fn default() -> Self {
        Self { versions: watch::channel(0).0, recalls: Arc::default() }
    }
}

impl Notifier {
    pub fn tell(&self, version: u64) {
        self.versions.send_if_modified(|newest| {
            let is_news = version > *newest;
            *newest = version.max(*newest);
            is_news
        });
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    pub const fn recalls(&self) -> &Arc<Notify> {
        &self.recalls
    }
}
