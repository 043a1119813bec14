//! The data plane's side: makes its rows those of a document, in one transaction with the version that it then has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use database::error::StoreError;
use database::feed::Part;
use database::fields::ColumnId;
use database::meta;
use database::statement::sql;
use database::writing::Writing;
use domain::{Sealed, Secret, WorkspaceId};
use serde::{Deserialize, Serialize};
use store::{Act, Store};
use vault::{Resealed, Vault};
use world::World;

use crate::rows::{self, Key, bytes_cell, id_of, key_of, number_of};
use crate::tables::{SecretColumns, TABLES, TableSpec};
use crate::wire::{Cell, Rows, WireRow, WireSecret};

/// The fact under which a data plane keeps what it has applied of the workspace that it joined first.
pub(crate) const APPLIED: &str = "data_plane.applied";

/// What a data plane has of its control plane.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Of the configuration; none before the first document.
    pub version: Option<u64>,
    /// Which history of its control plane that version is of.
    #[serde(default)]
    pub history: Option<String>,
    /// The nonce of the last document that had rows.
    #[serde(default)]
    pub base: Option<String>,
    /// When the last document was asked for, and how long it may be served with from then on.
    pub requested_unix_ms: u64,
    pub life_ms: u64,
    pub is_revoked: bool,
}

impl Applied {
    /// # Errors
    /// The database fails, or holds something that can't be read.
    pub(crate) async fn of(store: &Store, fact: &str) -> Result<Self, StoreError> {
        let kept = store.meta().get(fact.to_owned()).await?;
        let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        kept.map_or(Ok(Self::default()), read).map_err(|error| StoreError::corrupt("meta", error))
    }

    fn named(&self, fact: &str) -> Result<(String, Vec<u8>), StoreError> {
        let bytes = serde_json::to_vec(self).map_err(|error| StoreError::corrupt("meta", error))?;
        Ok((fact.to_owned(), bytes))
    }

    pub(crate) async fn keep(&self, store: &Store, fact: &str) -> Result<(), StoreError> {
        store.meta().put(vec![self.named(fact)?]).await
    }
}

/// The rows of a document, ready to be written.
pub(crate) struct NewRows {
    pub workspace: WorkspaceId,
    pub rows: Rows,
    secrets: HashMap<String, (Resealed, String)>,
}

impl NewRows {
    /// Seals the secrets under the data plane's own key.
    ///
    /// # Errors
    /// If the vault has no key of the workspace.
    pub(crate) fn seal(
        workspace: WorkspaceId,
        rows: Rows,
        secrets: Vec<WireSecret>,
        vault: &Vault,
    ) -> Result<Self, vault::VaultError> {
        let mut sealed = HashMap::with_capacity(secrets.len());
        for WireSecret { object, version, fingerprint, bytes } in secrets {
            let resealed = vault.sealer.seal(workspace, &object, version, &Secret::new(bytes))?;
            sealed.insert(object, (resealed, fingerprint));
        }
        Ok(Self { workspace, rows, secrets: sealed })
    }

    /// Without anything that requests could be sent with: for a data plane that was revoked.
    pub(crate) fn without_seats(mut local: Rows, workspace: WorkspaceId) -> Self {
        for table in ["credentials", "nodes"] {
            local.insert(table.to_owned(), Vec::new());
        }
        Self { workspace, rows: local, secrets: HashMap::new() }
    }

    /// Writes them, and what is applied then. Returns the version of the local configuration.
    ///
    /// # Errors
    /// Of the store: nothing is written then.
    pub(crate) async fn write(
        self,
        store: &Store,
        (applied, fact): (Applied, &str),
        world: &World,
    ) -> Result<u64, StoreError> {
        self.check_owner()?;
        let act = Act::new(world, "control_plane", None);
        let fact = applied.named(fact)?;
        let work = store.database().write(move |writing| {
            Box::pin(async move {
                let changed = self.write_rows(writing).await?;
                meta::put(writing, vec![fact]).await?;
                if changed > 0 {
                    let version = applied.version.unwrap_or_default();
                    let detail = format!("version {version}, {changed} rows");
                    let workspace = Some(self.workspace);
                    writing.audit(&act, workspace, "data_plane.apply", self.workspace, detail).await?;
                }
                Ok(())
            })
        });
        work.await.map(|written| written.version)
    }

    /// A document is about one workspace, whatever else is at the data plane.
    fn check_owner(&self) -> Result<(), StoreError> {
        let own = bytes_cell(&self.workspace.bytes());
        for (table, rows) in &self.rows {
            let column = if table == "workspaces" { "id" } else { "workspace" };
            if rows.iter().any(|row| row.get(column).is_some_and(|stated| *stated != own)) {
                return Err(StoreError::corrupt("row", format!("a row of {table} is of another workspace")));
            }
        }
        Ok(())
    }

    async fn write_rows(&self, writing: &mut Writing) -> Result<usize, StoreError> {
        let mut differences = Vec::new();
        for table in TABLES {
            let local = rows::read(writing.connection(), table, self.workspace).await?;
            let offered = self.rows.get(table.name).map(Vec::as_slice).unwrap_or_default();
            differences.push(Difference::of(table, local, offered));
        }
        // What refers to others goes first.
        for difference in differences.iter().rev() {
            for (key, row) in &difference.gone {
                rows::delete(difference.table, key)?.run(writing.connection()).await?;
                self.forget_floor(writing, difference.table, row).await?;
                announce(writing, difference.table, self.workspace, row);
            }
        }
        for difference in &differences {
            difference.set_aside(writing).await?;
            for row in &difference.changed {
                self.put(writing, difference.table, row).await?;
                announce(writing, difference.table, self.workspace, row);
            }
        }
        Ok(differences.iter().map(|difference| difference.gone.len() + difference.changed.len()).sum())
    }

    async fn put(&self, writing: &mut Writing, table: &TableSpec, row: &WireRow) -> Result<(), StoreError> {
        let object = table.secret.as_ref().and_then(|columns| Some((columns, (columns.object)(id_of(row)?))));
        let own = object.as_ref().and_then(|(columns, object)| {
            self.secrets.get(object).map(|(resealed, fingerprint)| (*columns, object, resealed, fingerprint))
        });
        let Some((columns, object, resealed, fingerprint)) = own else {
            let whole = with_secret(row, table.secret.as_ref(), None);
            rows::put(table, &whole)?.run(writing.connection()).await?;
            return Ok(());
        };
        let whole = with_secret(row, Some(columns), Some((&resealed.sealed, fingerprint)));
        rows::put(table, &whole)?.run(writing.connection()).await?;
        let floor = &resealed.floor;
        sql(
            "INSERT INTO seal_floors (workspace, object, version, key_id, sealed) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (workspace, object) DO UPDATE SET version = $3, key_id = $4, sealed = $5",
        )
        .bind(self.workspace.bytes())
        .bind(object)
        .bind(i64::from(floor.version))
        .bind(&floor.key_id)
        .bind(&floor.bytes)
        .run(writing.connection())
        .await?;
        Ok(())
    }

    async fn forget_floor(
        &self,
        writing: &mut Writing,
        table: &TableSpec,
        row: &WireRow,
    ) -> Result<(), StoreError> {
        let Some((columns, id)) = table.secret.as_ref().zip(id_of(row)) else { return Ok(()) };
        let query = sql("DELETE FROM seal_floors WHERE workspace = $1 AND object = $2");
        let query = query.bind(self.workspace.bytes()).bind((columns.object)(id));
        query.run(writing.connection()).await.map(|_| ())
    }
}

/// Local rows, as they would be offered: for what is to stay.
pub(crate) async fn local_rows(store: &Store, workspace: WorkspaceId) -> Result<Rows, StoreError> {
    let mut connection = store.database().read().await?;
    let mut found = Rows::new();
    for table in TABLES {
        found.insert(table.name.to_owned(), rows::read(&mut connection, table, workspace).await?);
    }
    Ok(found)
}

/// Local rows with what has changed since the document that they are of.
pub(crate) fn merge(mut local: Rows, mut changed: Rows, gone: &BTreeMap<String, Vec<Key>>) -> Rows {
    for table in TABLES {
        let rows = local.remove(table.name).unwrap_or_default();
        let mut rows: BTreeMap<Key, WireRow> =
            rows.into_iter().map(|row| (key_of(table, &row), row)).collect();
        for key in gone.get(table.name).into_iter().flatten() {
            rows.remove(key);
        }
        let of_table = changed.remove(table.name).unwrap_or_default();
        rows.extend(of_table.into_iter().map(|row| (key_of(table, &row), row)));
        local.insert(table.name.to_owned(), rows.into_values().collect());
    }
    local
}

/// A row with its secret as it is sealed here, or with none.
fn with_secret(
    row: &WireRow,
    columns: Option<&SecretColumns>,
    secret: Option<(&Sealed, &String)>,
) -> WireRow {
    let mut whole = row.clone();
    let Some(columns) = columns else { return whole };
    let cells = match secret {
        None if row.contains_key(columns.sealed) => return whole,
        None => [None, None, None, None],
        Some((sealed, fingerprint)) => [
            Some(Cell::Number(i64::from(sealed.version))),
            Some(Cell::Text(sealed.key_id.clone())),
            bytes_cell(&sealed.bytes),
            Some(Cell::Text(fingerprint.clone())),
        ],
    };
    let names = [Some(columns.version), Some(columns.key_id), Some(columns.sealed), columns.fingerprint];
    for (name, cell) in names.into_iter().zip(cells) {
        if let Some(name) = name {
            whole.insert(name.to_owned(), cell);
        }
    }
    whole
}

fn announce(writing: &mut Writing, table: &TableSpec, workspace: WorkspaceId, row: &WireRow) {
    match (table.part, id_of(row)) {
        (Part::Key, Some(id)) => {
            writing.announce(Part::Key, Some(workspace), domain::KeyId::from_uuid(id));
        }
        (Part::Accounts, _) => writing.announce(Part::Accounts, None, table.name),
        _ => writing.announce(Part::Workspace, Some(workspace), workspace),
    }
}

/// What is to be written of a table.
struct Difference<'r> {
    table: &'static TableSpec,
    gone: Vec<(Key, WireRow)>,
    changed: Vec<&'r WireRow>,
    /// Rows that are there already, whose unique text becomes another.
    renamed: Vec<(Key, &'static str)>,
}

impl<'r> Difference<'r> {
    fn of(table: &'static TableSpec, local: Vec<WireRow>, offered: &'r [WireRow]) -> Self {
        let kept: BTreeSet<Key> = offered.iter().map(|row| key_of(table, row)).collect();
        let local: BTreeMap<Key, WireRow> = local.into_iter().map(|row| (key_of(table, &row), row)).collect();
        let mut difference = Self { table, gone: Vec::new(), changed: Vec::new(), renamed: Vec::new() };
        for row in offered {
            let key = key_of(table, row);
            let Some(known) = local.get(&key) else {
                difference.changed.push(row);
                continue;
            };
            if is_same(table, known, row) {
                continue;
            }
            difference.changed.push(row);
            if let Some(unique) = table.unique
                && known.get(unique) != row.get(unique)
            {
                difference.renamed.push((key, unique));
            }
        }
        difference.gone = local.into_iter().filter(|(key, _)| !kept.contains(key)).collect();
        difference
    }

    async fn set_aside(&self, writing: &mut Writing) -> Result<(), StoreError> {
        for (at, (key, unique)) in self.renamed.iter().enumerate() {
            let name = format!("set aside {} {at}", writing.version());
            rows::set_aside(self.table, unique, key, &name)?.run(writing.connection()).await?;
        }
        Ok(())
    }
}

/// Whether a row is as it is offered, beside what is the data plane's own. A secret is the same while the row's own version
/// is: each rotation is a change of the row.
fn is_same(table: &TableSpec, known: &WireRow, offered: &WireRow) -> bool {
    let is_compared = |name: &str| {
        let is_secret = table.secret.is_some_and(|columns| columns.columns().any(|column| column == name));
        !is_secret && !table.own.contains(&name)
    };
    offered.iter().filter(|(name, _)| is_compared(name)).all(|(name, cell)| known.get(name) == Some(cell))
        && number_of(known, "version") == number_of(offered, "version")
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
