//! The change feed: every configuration change has a version and names what it touched.

use std::str::FromStr;

use domain::WorkspaceId;
use tokio::sync::watch;

use crate::error::StoreFuture;

/// How many changes are retained; a follower further behind reloads everything.
pub const FEED_ROWS_KEPT: u64 = 10_000;

/// The part of a snapshot that a change touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Workspace,
    Key,
    /// The operator's accounts, and what the operator states of providers: a word of its own for these could not be read by
    /// the version before.
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

/// One row of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    pub version: u64,
    pub part: Part,
    pub workspace: Option<WorkspaceId>,
    /// The id of what changed.
    pub object: String,
}

pub trait Feed: Send + Sync {
    /// The current version of the configuration in the database.
    fn version(&self) -> StoreFuture<'_, u64>;
    /// Oldest first; `None` if the feed no longer reaches back that far.
    fn changes_after(&self, version: u64) -> StoreFuture<'_, Option<Vec<FeedRow>>>;
    /// Signals after each commit of this process.
    fn watch(&self) -> watch::Receiver<u64>;
}
