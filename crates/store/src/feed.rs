//! The change feed: every change of the configuration has a version, and says what it touched.

use std::str::FromStr;

use domain::WorkspaceId;
use tokio::sync::watch;

use crate::StoreFuture;

/// Changes that are kept; whoever is further behind reads everything anew.
pub const FEED_ROWS_KEPT: u64 = 10_000;

/// The part of a snapshot that a change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Workspace,
    Key,
    Accounts,
    /// Nothing that a snapshot holds.
    Other,
}

impl Part {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Key => "key",
            Self::Accounts => "accounts",
            Self::Other => "other",
        }
    }
}

impl FromStr for Part {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Workspace, Self::Key, Self::Accounts, Self::Other]
            .into_iter()
            .find(|p| p.as_str() == text)
            .ok_or(())
    }
}

/// One line of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    pub version: u64,
    pub part: Part,
    pub workspace: Option<WorkspaceId>,
    /// The id of what changed.
    pub object: String,
}

pub trait Feed: Send + Sync {
    /// The version of the configuration as it is in the database now.
    fn version(&self) -> StoreFuture<'_, u64>;
    /// Oldest first; `None` where the feed no longer reaches back so far.
    fn changes_after(&self, version: u64) -> StoreFuture<'_, Option<Vec<FeedRow>>>;
    /// Speaks after each commit of this process.
    fn watch(&self) -> watch::Receiver<u64>;
}
