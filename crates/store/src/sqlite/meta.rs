//! Facts by name, and the head of the change feed.

use sqlx::Row;

use super::SqliteStore;
use super::fields::Fields;
use super::writing::{Writing, database, signed, unsigned};
use crate::feed::{Feed, FeedRow};
use crate::{Meta, StoreError, StoreFuture};

pub(super) async fn read(store: &SqliteStore, name: String) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = ?1")
        .bind(name)
        .fetch_optional(store.readers())
        .await
        .map_err(database)?;
    row.map(|row| Fields::new("meta", &row).get("value")).transpose()
}

pub(super) async fn put(writing: &mut Writing, facts: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
    for (name, value) in facts {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        )
        .bind(name)
        .bind(value)
        .execute(writing.connection())
        .await
        .map_err(database)?;
    }
    Ok(())
}

impl Meta for SqliteStore {
    fn get(&self, name: String) -> StoreFuture<'_, Option<Vec<u8>>> {
        Box::pin(read(self, name))
    }

    fn starting_with(&self, prefix: String) -> StoreFuture<'_, Vec<(String, Vec<u8>)>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT name, value FROM meta WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
            )
            .bind(prefix)
            .fetch_all(self.readers())
            .await
            .map_err(database)?;
            let read = |row| {
                let fields = Fields::new("meta", row);
                Ok((fields.text("name")?, fields.get("value")?))
            };
            rows.iter().map(read).collect()
        })
    }

    fn put(&self, facts: Vec<(String, Vec<u8>)>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.write(move |writing| Box::pin(put(writing, facts))).await.map(|written| written.row)
        })
    }
}

impl Feed for SqliteStore {
    fn version(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let query = sqlx::query("SELECT version FROM head");
            let row = query.fetch_one(self.readers()).await.map_err(database)?;
            row.try_get(0).map(unsigned).map_err(|error| StoreError::corrupt("head", error))
        })
    }

    fn changes_after(&self, version: u64) -> StoreFuture<'_, Option<Vec<FeedRow>>> {
        Box::pin(async move {
            let mut connection = self.readers().acquire().await.map_err(database)?;
            read_feed(&mut connection, version).await
        })
    }

    fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// `None` where the next change after `version` is no longer kept.
pub(super) async fn read_feed(
    connection: &mut sqlx::SqliteConnection,
    version: u64,
) -> Result<Option<Vec<FeedRow>>, StoreError> {
    let query = sqlx::query(
        "SELECT version, part, object, workspace FROM changes WHERE version > ?1 ORDER BY version",
    );
    let rows = query.bind(signed(version)).fetch_all(connection).await.map_err(database)?;
    let read = |row| {
        let fields = Fields::new("changes", row);
        let part = fields.text("part")?;
        Ok(FeedRow {
            version: fields.number("version")?,
            part: part.parse().map_err(|()| StoreError::corrupt("changes", format!("{part} is no part")))?,
            workspace: fields.maybe_id("workspace")?,
            object: fields.text("object")?,
        })
    };
    let rows: Vec<FeedRow> = rows.iter().map(read).collect::<Result<_, StoreError>>()?;
    // Every version has a line, so a gap at the beginning means that lines were dropped.
    let reaches_back = rows.first().is_none_or(|first| first.version == version + 1);
    Ok(reaches_back.then_some(rows))
}
