//! What a data plane does beside serving: follows its configuration, and delivers records and evidence. The control plane may
//! be away for as long as it likes; each goes on by itself when it is back.

use std::sync::Arc;

use database::error::StoreError;
use database::fields::{ColumnId, Fields, signed};
use database::statement::sql;
use domain::{DataPlaneId, Secret, WorkspaceId};
use evidence::Auditor;
use serde_json::{Map, Value, json};
use store::Store;
use tokio::sync::Mutex;
use vault::{BoxKey, Vault};
use world::World;

use crate::apply::{self, Applied, NewRows};
use crate::builder::secrets_context;
use crate::document::{DocumentError, Expected};
use crate::limits::{CONFIRMED_EVERY_MS, EVIDENCE_AT_ONCE_MAX, EVIDENCE_EVERY};
use crate::link::{Link, LinkError, Pause};
use crate::membership::Membership;
use crate::outbox::Outbox;
use crate::source::Standing;
use crate::wire::{
    CONFIGURATION, Delivery, Document, EVIDENCE, Question, RECORDS, RecordBatch, SignedDocument, Taken,
    WireSecret, from_base64,
};

/// The fact under which it is kept how much evidence was delivered.
const DELIVERED: &str = "data_plane.evidence";

/// What a data plane works with.
pub struct FollowerParts {
    pub membership: Membership,
    pub link: Link,
    pub store: Store,
    pub vault: Vault,
    pub auditor: Arc<Auditor>,
    pub outbox: Arc<Outbox>,
    pub standing: Arc<Standing>,
    pub world: World,
}

/// Keeps a data plane and its control plane together.
pub struct Follower {
    parts: FollowerParts,
    key: BoxKey,
    data_plane: DataPlaneId,
    workspace: WorkspaceId,
    applied: Mutex<Applied>,
}

/// Why a turn ended without what it was for.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("what the control plane sent is not applied")]
    Document(#[from] DocumentError),
    #[error("what the control plane sent can't be stored")]
    Store(#[from] StoreError),
    #[error("the secrets of the configuration do not open")]
    Secrets(#[from] vault::VaultError),
    #[error("the secrets of the configuration can't be read")]
    Form(#[from] postcard::Error),
}

impl Standing {
    /// As it was when the process ended last.
    ///
    /// # Errors
    /// Of the store.
    pub async fn kept(store: &Store, world: &World) -> Result<Arc<Self>, StoreError> {
        Ok(Self::new(world, &Applied::of(store).await?))
    }
}

impl Follower {
    /// # Errors
    /// The membership can't be read, or the store fails.
    pub async fn new(parts: FollowerParts) -> Result<Arc<Self>, StoreError> {
        let keys = parts.membership.keys().map_err(|error| StoreError::corrupt("data-plane.json", error))?;
        let (key, data_plane, workspace) = keys;
        let applied = Mutex::new(Applied::of(&parts.store).await?);
        Ok(Arc::new(Self { parts, key, data_plane, workspace, applied }))
    }

    /// Fetches the first configuration, unless there is one already.
    ///
    /// # Errors
    /// Says why there is none.
    pub async fn first(&self) -> Result<(), String> {
        if self.applied.lock().await.version.is_some() {
            return Ok(());
        }
        self.turn().await.map_err(|error| chain(&error))
    }

    /// Follows the configuration until the process ends.
    pub async fn follow(self: Arc<Self>) {
        let (mut pause, mut why_away) = (Pause::default(), None);
        loop {
            match self.turn().await {
                Ok(()) => {
                    if why_away.take().is_some() {
                        tracing::info!(control = %self.parts.membership.control, "the control plane is back");
                    }
                    pause.reset();
                    if self.applied.lock().await.is_revoked {
                        tokio::time::sleep(crate::limits::AGAIN_MAX).await;
                    }
                }
                Err(error) => {
                    let why = chain(&error);
                    if why_away.as_ref() != Some(&why) {
                        let left_s = self.parts.standing.left_ms() / 1_000;
                        tracing::warn!(
                            error = why,
                            left_s,
                            "the configuration is not confirmed; what is there is served with"
                        );
                    }
                    why_away = Some(why);
                    pause.wait().await;
                }
            }
        }
    }

    /// One question for the configuration, and what follows from the answer.
    async fn turn(&self) -> Result<(), TurnError> {
        let before = self.applied.lock().await.clone();
        let requested_unix_ms = self.parts.world.clock.unix_ms();
        let mut random = [0; 16];
        self.parts.world.random.fill(&mut random);
        let nonce = proof::to_hex(&random);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let (after, history) = (before.version, before.history.clone());
        let question = Question { after, history, nonce: nonce.clone(), program };
        let signed_document: SignedDocument = self.parts.link.call(CONFIGURATION, &question).await?;
        let expected = Expected {
            key: self.parts.membership.control_key,
            data_plane: self.data_plane,
            workspace: self.workspace,
            nonce: &nonce,
            applied: before.version,
            history: before.history.as_deref(),
        };
        let document = expected.read(&signed_document)?;
        let applied = Applied {
            version: Some(document.version),
            history: document.history.clone(),
            requested_unix_ms,
            life_ms: document.life_ms,
            is_revoked: document.is_revoked,
        };
        self.apply(document, (&before, &applied)).await?;
        self.parts.standing.confirm(&applied);
        *self.applied.lock().await = applied;
        Ok(())
    }

    async fn apply(
        &self,
        document: Document,
        (before, applied): (&Applied, &Applied),
    ) -> Result<(), TurnError> {
        let FollowerParts { store, vault, world, .. } = &self.parts;
        if document.is_revoked {
            if !before.is_revoked {
                tracing::error!("this data plane is revoked: it serves nothing any more");
                let local = apply::local_rows(store, self.workspace).await?;
                NewRows::without_seats(local, self.workspace).write(store, applied.clone(), world).await?;
            }
            return Ok(());
        }
        let Some(rows) = document.rows else {
            let is_stale =
                applied.requested_unix_ms.saturating_sub(before.requested_unix_ms) >= CONFIRMED_EVERY_MS;
            if is_stale
                || before.is_revoked
                || (before.life_ms, &before.history) != (applied.life_ms, &applied.history)
            {
                applied.keep(store).await?;
            }
            return Ok(());
        };
        let boxed = from_base64(document.secrets.as_deref().unwrap_or_default(), "secrets")
            .map_err(DocumentError::from)?;
        let context = secrets_context(&document.data_plane, &document.nonce);
        let opened: Secret = self.key.open(&context, &boxed)?;
        let secrets: Vec<WireSecret> = postcard::from_bytes(opened.expose())?;
        let new = NewRows::seal(self.workspace, rows, secrets, vault)?;
        let version = new.write(store, applied.clone(), world).await?;
        tracing::info!(
            version,
            of_control = document.version,
            "a configuration of the control plane is applied"
        );
        Ok(())
    }

    /// Delivers records, in their order, until the process ends.
    pub async fn deliver_records(self: Arc<Self>) {
        let (mut pause, mut is_away) = (Pause::default(), false);
        loop {
            match self.deliver_batch().await {
                Ok(true) => {
                    is_away = false;
                    pause.reset();
                }
                Ok(false) => self.parts.outbox.await_more().await,
                Err(error) => {
                    if !is_away {
                        tracing::warn!(
                            error = chain(&error),
                            "records can't be delivered; they wait on this disk"
                        );
                    }
                    is_away = true;
                    pause.wait().await;
                }
            }
        }
    }

    /// `false` if none waits.
    async fn deliver_batch(&self) -> Result<bool, TurnError> {
        let Some(waiting) = self.parts.outbox.first().await? else { return Ok(false) };
        let _: Taken = self.parts.link.call(RECORDS, &RecordBatch::of(&waiting.batch)).await?;
        self.parts.outbox.arrived(waiting.place).await?;
        Ok(true)
    }

    /// Delivers receipts of purges and heads of the audit until the process ends.
    pub async fn deliver_evidence(self: Arc<Self>) {
        let mut is_away = false;
        loop {
            tokio::time::sleep(EVIDENCE_EVERY).await;
            match self.deliver_documents().await {
                Ok(()) => is_away = false,
                Err(error) => {
                    if !is_away {
                        tracing::warn!(error = chain(&error), "evidence can't be delivered; it waits");
                    }
                    is_away = true;
                }
            }
        }
    }

    async fn deliver_documents(&self) -> Result<(), TurnError> {
        let store = &self.parts.store;
        let kept = store.meta().get(DELIVERED.to_owned()).await?;
        let (receipts, length): (u64, u64) =
            kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let mut documents = self.receipts_after(receipts).await?;
        let delivered = receipts + documents.len() as u64;
        let head = self.parts.store.audit().head(Some(self.workspace)).await?;
        if head.sequence > length {
            documents.extend(self.head(head));
        }
        if documents.is_empty() {
            return Ok(());
        }
        let _: Taken = self.parts.link.call(EVIDENCE, &Delivery { documents }).await?;
        let fact = json!([delivered, head.sequence.max(length)]).to_string().into_bytes();
        store.meta().put(vec![(DELIVERED.to_owned(), fact)]).await?;
        Ok(())
    }

    async fn receipts_after(&self, sequence: u64) -> Result<Vec<Map<String, Value>>, StoreError> {
        let query = sql("SELECT document FROM purge_receipts WHERE workspace = $1 AND sequence > $2
             ORDER BY sequence LIMIT $3")
        .bind(self.workspace.bytes())
        .bind(signed(sequence))
        .bind(signed(EVIDENCE_AT_ONCE_MAX as u64));
        let rows = query.rows(&mut self.parts.store.database().read().await?).await?;
        rows.iter().map(|row| Fields::new("purge_receipts", row).json("document")).collect()
    }

    /// The end of the audit's chain, as a document.
    fn head(&self, end: store::Link) -> Option<Map<String, Value>> {
        let head = self.parts.auditor.head(Some(self.workspace), end);
        let fields = [
            ("object", json!("audit_head")),
            ("chain", json!(head.chain)),
            ("length", json!(head.length)),
            ("head", json!(head)),
        ];
        let document = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.parts.auditor.sign(document).ok()
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("membership", &self.parts.membership).finish_non_exhaustive()
    }
}

/// An error with its causes, for the log.
fn chain(error: &TurnError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
