//! The control plane's side: what a data plane is told, as of one moment, with secrets that only it opens.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use database::connection::Connection;
use database::error::StoreError;
use database::feed::Part;
use database::fields::Fields;
use database::statement::sql;
use domain::{DataPlaneId, Sealed, Secret};
use proof::{KeyError, SigningKey};
use store::Store;
use vault::{BoxKey, BoxedFor, Vault, VaultError};
use world::World;
use zeroize::{Zeroize, Zeroizing};

use crate::document;
use crate::history::History;
use crate::planes::{DataPlaneRow, Progress};
use crate::rows::{self, bytes_of, id_of, key_of, number_of, text_of};
use crate::sent::{SentDocument, SentRows};
use crate::tables::{SecretColumns, TABLES, TableSpec};
use crate::wire::{Document, Question, Rows, SignedDocument, WireRow, WireSecret, base64, from_base64};

/// Why a data plane can't be answered.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the configuration can't be written")]
    Json(#[from] serde_json::Error),
    #[error("the secrets can't be written")]
    Secrets(#[from] postcard::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What it takes to answer data planes.
pub struct DocumentBuilder<'a> {
    pub store: &'a Store,
    pub vault: &'a Vault,
    pub world: &'a World,
    pub sent: &'a SentRows,
    /// How long a document may be served with.
    pub life: Duration,
}

fn key_hash_context(id: DataPlaneId) -> Vec<u8> {
    format!("tidegate/data-plane/key-hash/1 {id}").into_bytes()
}

/// The key of the API keys' hash, sealed for a data plane that joins.
///
/// # Errors
/// What the data plane calls its key is none.
pub fn seal_key_hash(plane: &DataPlaneRow, vault: &Vault, world: &World) -> Result<String, VaultError> {
    let sealed_for = BoxedFor(plane.sealed_for);
    let boxed = sealed_for.seal(&key_hash_context(plane.id), vault.key_hash.expose(), &*world.random)?;
    Ok(base64(&boxed))
}

/// # Errors
/// It was sealed for another.
pub fn open_key_hash(key: &BoxKey, id: DataPlaneId, boxed: &str) -> Result<Secret, VaultError> {
    let boxed = from_base64(boxed, "key_hash").map_err(|_| VaultError::Crypto)?;
    key.open(&key_hash_context(id), &boxed)
}

pub(crate) fn secrets_context(data_plane: &str, nonce: &str) -> Vec<u8> {
    format!("tidegate/data-plane/secrets/1 {data_plane} {nonce}").into_bytes()
}

/// A version, and which history it is of.
type Of = (u64, Option<String>);

/// Secrets on their way, wiped when they are no longer needed.
#[derive(Default)]
struct Secrets(Vec<WireSecret>);

impl Drop for Secrets {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|secret| secret.bytes.zeroize());
    }
}

impl DocumentBuilder<'_> {
    /// How a version that the data plane has compares with what is configured. Its number alone does not say: after a restore
    /// from a backup, the same number is that of another change.
    pub async fn progress(
        &self,
        plane: &DataPlaneRow,
        after: u64,
        history: Option<&str>,
    ) -> Result<Progress, StoreError> {
        let (version, is_known) = self.compare(plane, history).await?;
        match version.cmp(&after) {
            Ordering::Less => return Ok(Progress::Ahead),
            Ordering::Equal if !is_known => return Ok(Progress::Ahead),
            Ordering::Greater if !is_known => return Ok(Progress::Behind),
            Ordering::Equal | Ordering::Greater => {}
        }
        let Some(rows) = self.store.feed().changes_after(after).await? else { return Ok(Progress::Behind) };
        let is_news = rows.iter().any(|row| match row.part {
            Part::Workspace | Part::Key => row.workspace == Some(plane.workspace),
            Part::Accounts => true,
            Part::Other => false,
        });
        Ok(if is_news { Progress::Behind } else { Progress::Current })
    }

    /// The version of the configuration, and whether a history is a part of its own. Older programs name none.
    async fn compare(&self, plane: &DataPlaneRow, history: Option<&str>) -> Result<(u64, bool), StoreError> {
        let mut moment = self.store.database().snapshot().await?;
        let found = async {
            let version = head(&mut moment).await?;
            let is_known = match history.map(str::parse::<History>) {
                None => true,
                Some(Err(())) => false,
                Some(Ok(history)) => history.is_known(&mut moment, plane.workspace).await?,
            };
            Ok((version, is_known))
        };
        let found = found.await;
        moment.roll_back().await;
        found
    }

    /// That what the data plane has is still in force, or that it is revoked.
    ///
    /// # Errors
    /// Of the vault's key, or of JSON.
    pub fn confirm(&self, plane: &DataPlaneRow, question: &Question) -> Result<SignedDocument, BuildError> {
        let as_applied = (question.after.unwrap_or_default(), question.history.clone());
        self.sign(&self.blank(plane, question, as_applied))
    }

    /// That what the data plane has is not known here: the version that is, which confirms nothing.
    ///
    /// # Errors
    /// Of the store, the vault's key, or of JSON.
    pub async fn deny(
        &self,
        plane: &DataPlaneRow,
        question: &Question,
    ) -> Result<SignedDocument, BuildError> {
        let (of, _) = self.read(plane, &[]).await?;
        self.sign(&self.blank(plane, question, of))
    }

    /// Everything as of now, or what has changed since the document that the data plane has.
    ///
    /// # Errors
    /// Of the store, the vault, or JSON.
    pub async fn build(
        &self,
        plane: &DataPlaneRow,
        question: &Question,
    ) -> Result<SignedDocument, BuildError> {
        let (of, mut found) = self.read(plane, TABLES).await?;
        let mut sent = SentDocument::of(&question.nonce, &found)?;
        let base = question.base.as_deref().and_then(|base| self.sent.get(plane.id, base));
        if let Some(base) = &base {
            sent.keep_changed(base, &mut found);
        }
        let mut secrets = Secrets::default();
        for table in TABLES {
            if let (Some(columns), Some(rows)) = (&table.secret, found.get_mut(table.name)) {
                rows.retain_mut(|row| {
                    let is_sent = self.take_secret(plane, (table, columns), row, &mut secrets);
                    if !is_sent {
                        sent.leave_out(table.name, key_of(table, row));
                    }
                    is_sent
                });
            }
        }
        let gone = base.as_ref().map(|base| sent.gone_since(base)).unwrap_or_default();
        self.sent.keep(plane.id, sent);
        let base = question.base.clone().filter(|_| base.is_some());
        let blank = Document { base, gone, ..self.blank(plane, question, of) };
        let plaintext = Zeroizing::new(postcard::to_allocvec(&secrets.0)?);
        let sealed_for = BoxedFor(plane.sealed_for);
        let context = secrets_context(&blank.data_plane, &blank.nonce);
        let boxed = sealed_for.seal(&context, &plaintext, &*self.world.random)?;
        self.sign(&Document { rows: Some(found), secrets: Some(base64(&boxed)), ..blank })
    }

    /// All rows of one moment, and the version of the configuration then.
    async fn read(&self, plane: &DataPlaneRow, tables: &[TableSpec]) -> Result<(Of, Rows), StoreError> {
        let mut moment = self.store.database().snapshot().await?;
        let found = async {
            let version = head(&mut moment).await?;
            let history = History::of(&mut moment, plane.workspace).await?;
            let mut found = Rows::new();
            for table in tables {
                let rows = rows::read(&mut moment, table, plane.workspace).await?;
                found.insert(table.name.to_owned(), rows);
            }
            Ok(((version, Some(history.to_string())), found))
        };
        let found = found.await;
        moment.roll_back().await;
        found
    }

    /// Takes a row's secret out of it. `false` where it has one that does not open: without it the row is of no use.
    fn take_secret(
        &self,
        plane: &DataPlaneRow,
        (table, columns): (&TableSpec, &SecretColumns),
        row: &mut WireRow,
        secrets: &mut Secrets,
    ) -> bool {
        let sealed = sealed_of(row, columns);
        let fingerprint =
            columns.fingerprint.and_then(|name| text_of(row, name)).unwrap_or_default().to_owned();
        columns.columns().for_each(|name| drop(row.remove(name)));
        let (Some(sealed), Some(id)) = (sealed, id_of(row)) else { return true };
        let object = (columns.object)(id);
        match self.vault.opener.open(plane.workspace, &object, &sealed) {
            Ok(secret) => {
                let (version, bytes) = (sealed.version, secret.expose().to_vec());
                secrets.0.push(WireSecret { object, version, fingerprint, bytes });
                true
            }
            Err(error) => {
                tracing::error!(%error, table = table.name, object, "a secret can't be sealed for a data plane; it is not sent");
                false
            }
        }
    }

    fn blank(&self, plane: &DataPlaneRow, question: &Question, (version, history): Of) -> Document {
        Document {
            data_plane: plane.id.to_string(),
            workspace: plane.workspace.to_string(),
            version,
            history,
            nonce: question.nonce.clone(),
            issued_unix_ms: self.world.clock.unix_ms(),
            life_ms: u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX),
            is_revoked: plane.revoked_unix_ms.is_some(),
            delivered_place: Some(plane.delivered_place.unwrap_or(0)),
            rows: None,
            base: None,
            gone: BTreeMap::new(),
            secrets: None,
        }
    }

    fn sign(&self, document: &Document) -> Result<SignedDocument, BuildError> {
        let key = SigningKey::from_seed(self.vault.signing_seed.expose())?;
        Ok(document::signed(document, &key)?)
    }
}

async fn head(moment: &mut Connection) -> Result<u64, StoreError> {
    let row = sql("SELECT version FROM head").one(moment).await?;
    Fields::new("head", &row).number("version")
}

fn sealed_of(row: &WireRow, columns: &SecretColumns) -> Option<Sealed> {
    Some(Sealed {
        version: u32::try_from(number_of(row, columns.version)?).ok()?,
        key_id: text_of(row, columns.key_id)?.to_owned(),
        bytes: bytes_of(row, columns.sealed)?,
    })
}
