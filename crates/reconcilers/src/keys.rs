//! Key rotation in the background. Each gateway follows which master key is in force; one gateway at a time
//! rewraps and reseals what the old keys protect. The remaining work is read from the store, so a kill loses
//! nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::master_key::wrapped_prefix;
use domain::{ContentKind, Sealed, WorkspaceId};
use store::rotations::{
    ContentRow, KeyCursor, REKEYED_PREFIX, Resealing, Rewrapping, SealedRow, SealedThing,
};
use store::webhooks::sealed_object;
use store::{Act, StoreError};
use vault::{ContentRef, MasterKeyring, MasterState, OpenError, VaultRecords};

use crate::Deps;

/// The longest time between two checks of the store; any gateway's write triggers one at once.
const TURN_EVERY: Duration = Duration::from_millis(500);
/// How often a gateway announces which master keys it holds. An announcement older than `WORD_AGE_MAX_MS` is
/// ignored.
const ANNOUNCE_EVERY_US: u64 = 10_000_000;
const WORD_AGE_MAX_MS: u64 = 30_000;
/// How often a missing key is looked for.
const CHECK_EVERY_US: u64 = 2_000_000;
/// An old key is dropped no sooner than this after its successor came into force: until then, another gateway
/// may still seal with it.
const DROP_AFTER_US: u64 = 10_000_000;
const WRAPPED_ROWS: u32 = 500;
const SEALED_ROWS: usize = 100;
/// Stored answers and turns may be long.
const KEPT_ROWS: u32 = 8;
const HOLDER_PREFIX: &str = "holder.";

/// A gateway's announcement of the master keys it holds.
pub struct Holder {
    pub replica: String,
    pub seen_unix_ms: u64,
    pub key_ids: Vec<String>,
}

/// A gateway's state between its turns. Nothing of it is needed after a kill.
#[derive(Default)]
struct KeyRotationState {
    last_announced: Option<(u64, Vec<String>)>,
    last_checked_us: Option<u64>,
    after: Option<KeyCursor>,
    broken: Vec<KeyCursor>,
    /// Since when a workspace's newest key has been in force here.
    since_us: HashMap<(WorkspaceId, String), u64>,
    /// What could not be opened: reported once, and left as it is.
    shut: HashSet<(WorkspaceId, String, String)>,
    failing: bool,
}

impl Deps {
    /// Follows and rotates keys until the process ends.
    pub async fn keep_keys(self) {
        let mut versions = self.keeper.subscribe();
        let mut turns = KeyRotationState::default();
        loop {
            let turn = self.rotate_once(&mut turns).await;
            let more = turn.as_ref().is_ok_and(|more| *more);
            match &turn {
                Err(error) if !turns.failing => {
                    tracing::warn!(%error, "the change of keys could not be followed");
                }
                Ok(_) if turns.failing => tracing::info!("the change of keys is followed again"),
                _ => {}
            }
            turns.failing = turn.is_err();
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            if let Ok(Err(_)) = tokio::time::timeout(TURN_EVERY, versions.changed()).await {
                return;
            }
        }
    }

    /// One check and a bounded piece of work; returns whether more is left.
    async fn rotate_once(&self, turns: &mut KeyRotationState) -> Result<bool, StoreError> {
        let facts = self.vault_facts().await?;
        let state = MasterState::from_meta(&facts);
        self.follow_masters(&state, turns).await;
        self.vault.opener.wipe_expired_keys();
        self.announce_held(turns).await?;
        let rekeyed = self.store.meta().starting_with(REKEYED_PREFIX.to_owned()).await?;
        if state.next.is_none() && rekeyed.is_empty() {
            return Ok(false);
        }
        let holders = self.holders().await?;
        // Two gateways working at once do no harm, but one is enough.
        if holders.iter().map(|holder| holder.replica.as_str()).min() != Some(self.replica.as_str()) {
            return Ok(false);
        }
        let mut more = false;
        if let Some(next) = &state.next
            && holders.iter().all(|holder| holder.key_ids.contains(next))
        {
            more |= self.rewrap_some(turns, &facts, next).await?;
        }
        for (name, key_id) in rekeyed {
            let workspace = name.strip_prefix(REKEYED_PREFIX).and_then(|id| id.parse().ok());
            if let (Some(workspace), Ok(key_id)) = (workspace, String::from_utf8(key_id)) {
                more |= self.reseal_some(turns, workspace, key_id).await?;
            }
        }
        Ok(more)
    }

    /// The vault's records, including the state of the master keys.
    pub async fn vault_facts(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.store.meta().starting_with(vault::META_PREFIX.to_owned()).await
    }

    /// Adopts the state in the store, and looks for a key that is missing here.
    async fn follow_masters(&self, state: &MasterState, turns: &mut KeyRotationState) {
        let is_news = *state != self.masters.state();
        let now_us = self.world.clock.monotonic_us();
        let is_due = turns
            .last_checked_us
            .is_none_or(|checked_us| now_us.saturating_sub(checked_us) >= CHECK_EVERY_US);
        if !state.is_served_by(&self.masters.held_ids()) && (is_news || is_due) {
            turns.last_checked_us = Some(now_us);
            if is_news {
                let next = state.next.as_deref().unwrap_or(&state.current);
                tracing::warn!(next, "this gateway lacks a master key; it is looked for until it is there");
            }
            self.reread_masters().await;
        }
        if is_news {
            self.masters.follow(state.clone());
        }
    }

    /// Reads the master keys again from where the operator keeps them.
    pub async fn reread_masters(&self) {
        let masters = Arc::clone(&self.masters);
        // Reading a file or running a command blocks.
        let read = tasks::blocking(move || masters.reread()).await;
        if let Ok(Err(error)) = read {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the master keys could not be read again; those that are held stay");
        }
    }

    async fn announce_held(&self, turns: &mut KeyRotationState) -> Result<(), StoreError> {
        let (now_us, held) = (self.world.clock.monotonic_us(), self.masters.held_ids());
        let is_announced = turns.last_announced.as_ref().is_some_and(|(announced_us, announced)| {
            *announced == held && now_us.saturating_sub(*announced_us) < ANNOUNCE_EVERY_US
        });
        if is_announced {
            return Ok(());
        }
        let word = format!("{}\n{}", self.world.clock.unix_ms(), held.join("\n"));
        let name = format!("{HOLDER_PREFIX}{}", self.replica);
        self.store.meta().put(vec![(name, word.into_bytes())]).await?;
        turns.last_announced = Some((now_us, held));
        Ok(())
    }

    /// The live gateways, as far as is known, and which master keys each holds.
    pub async fn holders(&self) -> Result<Vec<Holder>, StoreError> {
        let facts = self.store.meta().starting_with(HOLDER_PREFIX.to_owned()).await?;
        let oldest = self.world.clock.unix_ms().saturating_sub(WORD_AGE_MAX_MS);
        let read = |(name, word): (String, Vec<u8>)| {
            let word = String::from_utf8(word).ok()?;
            let mut lines = word.lines();
            let seen_unix_ms: u64 = lines.next()?.parse().ok()?;
            let replica = name.strip_prefix(HOLDER_PREFIX)?.to_owned();
            Some(Holder { replica, seen_unix_ms, key_ids: lines.map(str::to_owned).collect() })
        };
        let holders = facts.into_iter().filter_map(read);
        Ok(holders.filter(|holder| holder.seen_unix_ms >= oldest || holder.replica == self.replica).collect())
    }

    /// Withdraws this gateway's announcement, so that no other waits for it.
    pub async fn withdraw(&self) {
        // If this fails, the others wait half a minute, until the announcement is too old.
        let _ = self.store.meta().remove(format!("{HOLDER_PREFIX}{}", self.replica)).await;
    }

    /// Rewraps a batch of keys; when none is left, puts the next master key in force.
    async fn rewrap_some(
        &self,
        turns: &mut KeyRotationState,
        facts: &[(String, Vec<u8>)],
        next: &str,
    ) -> Result<bool, StoreError> {
        let after = turns.after.take();
        if let Some(after) = self.rewrap_batch(next, after, &mut turns.broken).await? {
            turns.after = Some(after);
            return Ok(true);
        }
        let records = VaultRecords::from_meta(facts).ok();
        let Some(records) = records.and_then(|records| self.masters.rewrap_records(&records, next).ok())
        else {
            tracing::error!(next, "the vault's records can't be wrapped under the next master key");
            return Ok(false);
        };
        let act = Act::system(&self.world);
        let broken = std::mem::take(&mut turns.broken);
        let switched =
            self.store.rotations().switch_master(next.to_owned(), records.to_meta(), broken, act).await?;
        match switched {
            Some(_) => tracing::info!(key = next, "the next master key is in force"),
            None => tracing::info!("another key was wrapped under the old master key meanwhile"),
        }
        Ok(true)
    }

    /// Rewraps the keys after a position; returns where to continue, `None` at the end.
    async fn rewrap_batch(
        &self,
        under: &str,
        after: Option<KeyCursor>,
        broken: &mut Vec<KeyCursor>,
    ) -> Result<Option<KeyCursor>, StoreError> {
        let keys =
            self.store.rotations().list_wrapped_otherwise(wrapped_prefix(under), after, WRAPPED_ROWS).await?;
        let last = keys.last().map(|key| (key.workspace, key.key_id.clone()));
        let mut rewrapped = Vec::new();
        for old in keys {
            match self.masters.rewrap_workspace_key(old.workspace, &old.key_id, &old.wrapped, under) {
                Ok(new) => rewrapped.push(Rewrapping { old, new }),
                Err(error) => {
                    let (workspace, key_id) = (old.workspace, old.key_id);
                    tracing::error!(%workspace, key_id, %error, "a sealing key does not unwrap and is left as it is");
                    broken.push((workspace, key_id));
                }
            }
        }
        self.store.rotations().rewrap(rewrapped).await?;
        Ok(last)
    }

    /// Rewraps all remaining keys under a master key; returns those that don't unwrap.
    pub async fn rewrap_rest(&self, under: &str) -> Result<Vec<KeyCursor>, StoreError> {
        let (mut after, mut broken) = (None, Vec::new());
        loop {
            after = self.rewrap_batch(under, after, &mut broken).await?;
            if after.is_none() {
                return Ok(broken);
            }
        }
    }

    /// Reseals a batch of a workspace's secrets; when none is left, drops its older keys.
    async fn reseal_some(
        &self,
        turns: &mut KeyRotationState,
        workspace: WorkspaceId,
        key_id: String,
    ) -> Result<bool, StoreError> {
        let is_gone = self.store.workspaces().wrapped_keys(workspace).await?.is_empty();
        if !is_gone && self.vault.sealer.current_key_id(workspace).as_ref() != Some(&key_id) {
            // This gateway doesn't know the key yet.
            return Ok(false);
        }
        let rotations = self.store.rotations();
        let things = rotations.list_sealed_otherwise(workspace, key_id.clone()).await?;
        let mut resealed = self.reseal(turns, workspace, things, SEALED_ROWS);
        for kept in ContentKind::ALL {
            if resealed.is_empty() {
                resealed = self.reseal_kept(turns, workspace, &key_id, kept).await?;
            }
        }
        if !resealed.is_empty() {
            let written = rotations.reseal(workspace, resealed).await?;
            // A row that another task wrote in the meantime was sealed by that task.
            return Ok(written.row > 0);
        }
        let now_us = self.world.clock.monotonic_us();
        let since_us = *turns.since_us.entry((workspace, key_id.clone())).or_insert(now_us);
        if now_us.saturating_sub(since_us) < DROP_AFTER_US && !is_gone {
            return Ok(false);
        }
        let act = Act::system(&self.world);
        if rotations.end_workspace(workspace, key_id.clone(), act).await?.is_some() {
            tracing::info!(%workspace, key = key_id, "a workspace's older keys are dropped");
            turns.since_us.retain(|(id, _), _| *id != workspace);
            turns.shut.retain(|(id, _, _)| *id != workspace);
        }
        Ok(false)
    }

    /// Reseals the first stored contents of a workspace that open.
    async fn reseal_kept(
        &self,
        turns: &mut KeyRotationState,
        workspace: WorkspaceId,
        key_id: &str,
        kept: ContentKind,
    ) -> Result<Vec<Resealing>, StoreError> {
        let (mut after, mut resealed) = (None, Vec::new());
        while resealed.is_empty() {
            let rotations = self.store.rotations();
            let rows = rotations
                .list_content_sealed_otherwise(kept, workspace, key_id.to_owned(), after, KEPT_ROWS)
                .await?;
            let Some(SealedThing::Content(last)) = rows.last().map(|row| &row.thing) else { break };
            after = Some(last.digest);
            resealed = self.reseal(turns, workspace, rows, SEALED_ROWS);
        }
        Ok(resealed)
    }

    /// Reseals the rows under the current key. A row that doesn't open is reported once.
    fn reseal(
        &self,
        turns: &mut KeyRotationState,
        workspace: WorkspaceId,
        rows: Vec<SealedRow>,
        rows_max: usize,
    ) -> Vec<Resealing> {
        let mut resealed = Vec::new();
        for old in rows {
            let shut = (workspace, name_of(&old.thing), old.sealed.key_id.clone());
            // Each attempt opens the secret, and each failure is an audit entry.
            if turns.shut.contains(&shut) {
                continue;
            }
            match self.reseal_one(workspace, &old) {
                Ok(new) => resealed.push(Resealing { old, new }),
                Err(error) => {
                    let name = &shut.1;
                    tracing::error!(%workspace, name, %error, "a secret that does not open is not sealed under the new key");
                    turns.shut.insert(shut);
                }
            }
            if resealed.len() == rows_max {
                break;
            }
        }
        resealed
    }

    fn reseal_one(&self, workspace: WorkspaceId, row: &SealedRow) -> Result<Sealed, OpenError> {
        let sealed = &row.sealed;
        match &row.thing {
            SealedThing::Credential(id) => self.vault.reseal_secret(workspace, &id.to_string(), sealed),
            SealedThing::Node(id) => self.vault.reseal_secret(workspace, &id.to_string(), sealed),
            SealedThing::Policy(id) => self.vault.reseal_secret(workspace, &id.to_string(), sealed),
            SealedThing::AccessKey(id) => self.vault.reseal_secret(workspace, &id.to_string(), sealed),
            SealedThing::Account(id) => self.vault.reseal_secret(workspace, &id.to_string(), sealed),
            SealedThing::Webhook(id, generation) => {
                self.vault.reseal_secret(workspace, &sealed_object(*id, *generation), sealed)
            }
            SealedThing::Floor(object) => self.vault.reseal_floor(workspace, object, sealed),
            SealedThing::Content(content_row) => {
                let ContentRow { kept, digest, project, request } = *content_row;
                let content = ContentRef { kept, workspace, project, digest, request };
                self.vault.reseal_content(&content, sealed)
            }
        }
    }
}

fn name_of(thing: &SealedThing) -> String {
    match thing {
        SealedThing::Credential(id) => id.to_string(),
        SealedThing::Node(id) => id.to_string(),
        SealedThing::Account(id) => id.to_string(),
        SealedThing::Policy(id) => id.to_string(),
        SealedThing::AccessKey(id) => id.to_string(),
        SealedThing::Webhook(id, generation) => sealed_object(*id, *generation),
        SealedThing::Floor(object) => format!("floor of {object}"),
        SealedThing::Content(row) => match row.kept {
            ContentKind::Answer => format!("answer {}", row.request),
            ContentKind::Turn => format!("turn of {}", row.request),
            ContentKind::State => format!("state of {}", row.request),
            ContentKind::Batch => format!("item of a batch of {}", row.request),
            ContentKind::Export => format!("part of a data export of {}", row.request),
            ContentKind::Request => format!("content of {}", row.request),
            ContentKind::Task => format!("content of the task {}", row.request),
            ContentKind::File => format!("file of {}", row.request),
            ContentKind::Flow => format!("content of the run of a flow of {}", row.request),
            ContentKind::Tool => format!("what is sealed of a tool or an agent, written by {}", row.request),
        },
    }
}

/// Candidates for the next master key: held here, and never in force so far.
pub fn candidates(masters: &MasterKeyring, state: &MasterState) -> Vec<String> {
    let used = |id: &String| {
        *id == state.current || state.previous.as_ref() == Some(id) || state.retired.contains(id)
    };
    masters.held_ids().into_iter().filter(|id| !used(id)).collect()
}
