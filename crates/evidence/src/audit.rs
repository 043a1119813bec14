//! Audit proofs: consecutive entries of a workspace's hash chain, with a head that this installation signs.

use domain::WorkspaceId;
use domain::limits::AUDIT_PROOF_ROWS_MAX;
use proof::audit::{Head, OBJECT, Proof};
use proof::document::Fractional;
use proof::{Digest, KeyError, PublicKey, SigningKey};
use serde_json::{Map, Value};
use store::{AuditRow, Link, Store, StoreError, chain_name};
use vault::Vault;
use world::World;

/// Signs heads of the audit's chains.
#[derive(Debug)]
pub struct Auditor {
    store: Store,
    key: SigningKey,
    world: World,
}

/// Why no proof can be given.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// The chain ends before the requested entries.
    #[error("the chain has {length} entries")]
    Beyond { length: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Auditor {
    /// # Errors
    /// If the vault's seed is not a valid key seed.
    pub fn new(store: Store, vault: &Vault, world: World) -> Result<Self, KeyError> {
        let key = SigningKey::from_seed(vault.signing_seed.expose())?;
        Ok(Self { store, key, world })
    }

    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// A document with this installation's signature, which anybody can verify.
    ///
    /// # Errors
    /// If it has a number that isn't whole.
    pub fn sign(&self, document: Map<String, Value>) -> Result<Map<String, Value>, Fractional> {
        proof::document::sign(document, &self.key)
    }

    /// This installation's signature of some bytes, for protocols that state what is signed.
    pub fn sign_text(&self, text: &[u8]) -> [u8; 64] {
        *self.key.sign(text).as_bytes()
    }

    /// The signed end of a chain, as of now.
    pub fn head(&self, workspace: Option<WorkspaceId>, end: Link) -> Head {
        let chain = chain_name(workspace);
        Head::sign(&self.key, &chain, end.sequence, end.hash, self.world.clock.unix_ms())
    }

    /// The entries in a range, at most `AUDIT_PROOF_ROWS_MAX` of them, as they are stored. They are signed
    /// without checking: the verifier of the proof finds any tampering.
    ///
    /// # Errors
    /// `Beyond` the chain's end, or an error of the store.
    pub async fn proof(
        &self,
        workspace: Option<WorkspaceId>,
        from: u64,
        to: Option<u64>,
    ) -> Result<Proof, NoProof> {
        let audit = self.store.audit();
        let end = audit.head(workspace).await?;
        if from == 0 || from > end.sequence.max(1) {
            return Err(NoProof::Beyond { length: end.sequence });
        }
        // The row before the range has the hash that the range is anchored to.
        let first = from.saturating_sub(1).max(1);
        let last = to.unwrap_or(u64::MAX).min(end.sequence).max(from);
        let last = last.min(first.saturating_add(u64::from(AUDIT_PROOF_ROWS_MAX) - 1));
        let wanted = u32::try_from(last - first + 1).unwrap_or(AUDIT_PROOF_ROWS_MAX);
        let rows = audit.stretch(workspace, first, wanted).await?;
        let (before, entries): (Vec<_>, Vec<_>) =
            rows.iter().filter_map(AuditRow::linked).partition(|linked| linked.entry.sequence < from);
        let anchor = before.last().map_or(Digest::ZERO, |linked| linked.hash);
        let (length, hash) = match entries.last() {
            Some(found) if last < end.sequence => (found.entry.sequence, found.hash),
            // At the chain's end the stored head is signed, so that truncated rows are noticed.
            _ => (end.sequence, end.hash),
        };
        let head = self.head(workspace, Link { sequence: length, hash });
        Ok(Proof { object: OBJECT.to_owned(), chain: head.chain.clone(), anchor, entries, head })
    }
}
