//! Facts of the installation by name (the vault's records, and how the database was founded), and the change feed.

use crate::connection::Connection;
use crate::error::StoreError;
use crate::feed::{FeedRow, read_feed};
use crate::fields::Fields;
use crate::handle::Database;
use crate::statement::sql;
use crate::writing::Writing;

/// A fact that the founding transaction writes: without it a database is half-made.
pub const COMPLETE: &str = "store.complete";

#[derive(Clone, Copy)]
pub struct Meta<'a>(pub &'a Database);

pub async fn find(connection: &mut Connection, name: String) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sql("SELECT value FROM meta WHERE name = $1").bind(name).row(connection).await?;
    row.map(|row| Fields::new("meta", &row).get("value")).transpose()
}

/// Whether the database was founded completely.
pub async fn is_complete(database: &Database) -> Result<bool, StoreError> {
    let found = find(&mut database.read().await?, COMPLETE.to_owned()).await?;
    Ok(found.is_some())
}

pub async fn put(writing: &mut Writing, facts: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
    for (name, value) in facts {
        sql("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
            .bind(name)
            .bind(value)
            .run(writing.connection())
            .await?;
    }
    Ok(())
}

pub async fn remove(writing: &mut Writing, name: impl ToString) -> Result<(), StoreError> {
    let query = sql("DELETE FROM meta WHERE name = $1").bind(name.to_string());
    query.run(writing.connection()).await.map(|_| ())
}

impl Meta<'_> {
    pub async fn get(self, name: String) -> Result<Option<Vec<u8>>, StoreError> {
        find(&mut self.0.read().await?, name).await
    }

    /// Every fact whose name starts with `prefix`.
    pub async fn starting_with(self, prefix: String) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let rows = sql("SELECT name, value FROM meta WHERE substr(name, 1, length($1)) = $1 ORDER BY name")
            .bind(prefix)
            .rows(&mut self.0.read().await?)
            .await?;
        let read = |row| {
            let fields = Fields::new("meta", row);
            Ok((fields.text("name")?, fields.get("value")?))
        };
        rows.iter().map(read).collect()
    }

    /// Upserts all of them in one transaction.
    pub async fn put(self, facts: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(put(writing, facts))).await
    }

    pub async fn remove(self, name: String) -> Result<(), StoreError> {
        self.0.note(move |writing| Box::pin(remove(writing, name))).await
    }
}

/// The changes of a database, which replicas follow.
#[derive(Clone, Copy)]
pub struct Feed<'a>(pub &'a Database);

impl Feed<'_> {
    /// The current version of the configuration in the database.
    pub async fn version(self) -> Result<u64, StoreError> {
        let query = sql("SELECT version FROM head");
        let row = query.one(&mut self.0.read().await?).await?;
        Fields::new("head", &row).number("version")
    }

    /// Oldest first; `None` if the feed no longer reaches back that far.
    pub async fn changes_after(self, version: u64) -> Result<Option<Vec<FeedRow>>, StoreError> {
        let mut connection = self.0.read().await?;
        read_feed(&mut connection, version).await
    }

    /// Signals after each commit of this process.
    pub fn watch(self) -> tokio::sync::watch::Receiver<u64> {
        self.0.watch()
    }
}
