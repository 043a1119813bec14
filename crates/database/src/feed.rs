//! The change feed: every configuration change has a version and names what it touched.

use std::str::FromStr;

use domain::WorkspaceId;

use crate::connection::Connection;
use crate::error::StoreError;
use crate::fields::{Fields, signed};
use crate::statement::sql;

/// How many changes are retained; a follower further behind reloads everything.
pub const FEED_ROWS_KEPT: u64 = 10_000;

domain::words! {
    /// The part of a snapshot that a change touches.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Part {
        Workspace = "workspace",
        Key = "key",
        /// The operator's accounts, and what the operator states of providers: a word of its own for these could not be read by
        /// the version before.
        Accounts = "accounts",
        /// Nothing that a snapshot holds.
        Other = "other",
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

/// `None` if the next change after `version` was deleted already.
pub async fn read_feed(
    connection: &mut Connection,
    version: u64,
) -> Result<Option<Vec<FeedRow>>, StoreError> {
    let query =
        sql("SELECT version, part, object, workspace FROM changes WHERE version > $1 ORDER BY version");
    let rows = query.bind(signed(version)).rows(connection).await?;
    let read = |row| {
        let fields = Fields::new("changes", row);
        let part = fields.text("part")?;
        Ok(FeedRow {
            version: fields.number("version")?,
            part: part
                .parse()
                .map_err(|()| StoreError::corrupt("changes", format!("{part} isn't a part")))?,
            workspace: fields.maybe_id("workspace")?,
            object: fields.text("object")?,
        })
    };
    let rows: Vec<FeedRow> = rows.iter().map(read).collect::<Result<_, StoreError>>()?;
    // Every version has a row, so a gap at the start means that rows were deleted.
    let reaches_back = rows.first().is_none_or(|first| first.version == version + 1);
    Ok(reaches_back.then_some(rows))
}
