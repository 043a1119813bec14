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

use crate::apply::{self, APPLIED, Applied, NewRows};
use crate::builder::secrets_context;
use crate::document::{DocumentError, Expected};
use crate::limits::{CONFIRMED_EVERY_MS, EVIDENCE_AT_ONCE_MAX, EVIDENCE_EVERY};
use crate::link::{Link, LinkError, Pause};
use crate::membership::Membership;
use crate::outbox::{Outbox, Waiting};
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
    /// The name of what is applied, in the database.
    fact: String,
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
    #[error("what the control plane sent can't be applied")]
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
    pub async fn kept(
        membership: &Membership,
        store: &Store,
        world: &World,
    ) -> Result<Arc<Self>, StoreError> {
        Ok(Self::new(world, &Applied::of(store, &membership.fact(APPLIED)).await?))
    }
}

impl Follower {
    /// # Errors
    /// The membership can't be read, or the store fails.
    pub async fn new(parts: FollowerParts) -> Result<Arc<Self>, StoreError> {
        let keys = parts.membership.keys().map_err(|error| StoreError::corrupt("data-plane.json", error))?;
        let (key, data_plane, workspace) = keys;
        let fact = parts.membership.fact(APPLIED);
        let applied = Mutex::new(Applied::of(&parts.store, &fact).await?);
        Ok(Arc::new(Self { parts, fact, key, data_plane, workspace, applied }))
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
                            "the configuration can't be confirmed; this data plane keeps serving with the last one"
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
        let delivered = self.parts.outbox.delivered_place(self.workspace).await?;
        let requested_unix_ms = self.parts.world.clock.unix_ms();
        let mut random = [0; 16];
        self.parts.world.random.fill(&mut random);
        let nonce = proof::to_hex(&random);
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let (after, history) = (before.version, before.history.clone());
        let question = Question { after, history, nonce: nonce.clone(), base: before.base.clone(), program };
        let signed_document: SignedDocument = self.parts.link.call(CONFIGURATION, &question).await?;
        let expected = Expected {
            key: self.parts.membership.control_key,
            data_plane: self.data_plane,
            workspace: self.workspace,
            nonce: &nonce,
            applied: before.version,
            history: before.history.as_deref(),
        };
        let document = expected.authentic(&signed_document)?;
        // Also where it is restored to what is not applied here: records are taken whatever the configuration is.
        if let Some(place) = document.delivered_place.filter(|place| *place < delivered) {
            self.deliver_again(place).await?;
        }
        let document = expected.applicable(document)?;
        let applied = Applied {
            version: Some(document.version),
            history: document.history.clone(),
            base: if document.rows.is_some() { Some(nonce) } else { before.base.clone() },
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
                tracing::error!("this data plane is revoked: it has stopped serving");
                let local = apply::local_rows(store, self.workspace).await?;
                let rows = NewRows::without_seats(local, self.workspace);
                rows.write(store, (applied.clone(), &self.fact), world).await?;
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
                applied.keep(store, &self.fact).await?;
            }
            return Ok(());
        };
        let rows = match &document.base {
            None => rows,
            // The control plane repeats what it was asked.
            Some(base) if before.base.as_ref() != Some(base) => return Err(DocumentError::Replayed.into()),
            Some(_) => apply::merge(apply::local_rows(store, self.workspace).await?, rows, &document.gone),
        };
        let boxed = from_base64(document.secrets.as_deref().unwrap_or_default(), "secrets")
            .map_err(DocumentError::from)?;
        let context = secrets_context(&document.data_plane, &document.nonce);
        let opened: Secret = self.key.open(&context, &boxed)?;
        let secrets: Vec<WireSecret> = postcard::from_bytes(opened.expose())?;
        let new = NewRows::seal(self.workspace, rows, secrets, vault)?;
        let version = new.write(store, (applied.clone(), &self.fact), world).await?;
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
                Ok(false) => self.parts.outbox.await_more(self.workspace).await,
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
        let Some(Waiting { place, delivered_place, batch }) = self.parts.outbox.first(self.workspace).await?
        else {
            return Ok(false);
        };
        let batch = RecordBatch::of(&batch, place, delivered_place);
        let taken: Taken = self.parts.link.call(RECORDS, &batch).await?;
        match taken.missing_after {
            Some(place) => self.deliver_again(place).await?,
            None => self.parts.outbox.arrived(place).await?,
        }
        Ok(true)
    }

    /// The control plane was restored from a backup, and has the records up to this place.
    async fn deliver_again(&self, place: u64) -> Result<(), StoreError> {
        let batches = self.parts.outbox.again_after(self.workspace, place).await?;
        tracing::warn!(batches, "the control plane lost records that it had; they are delivered again");
        Ok(())
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
        let (store, fact) = (&self.parts.store, self.parts.membership.fact(DELIVERED));
        let kept = store.meta().get(fact.clone()).await?;
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
        let value = json!([delivered, head.sequence.max(length)]).to_string().into_bytes();
        store.meta().put(vec![(fact, value)]).await?;
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

domain::brief_debug!(Follower, |it| membership = it.parts.membership);

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
