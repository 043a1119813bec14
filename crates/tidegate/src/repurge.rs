//! Purges that a backup is older than: done again on what is restored, by the receipts of them, before a gateway can open it.

use std::path::Path;

use anyhow::{Context, bail};
use domain::{PurgeJobId, WorkspaceId};
use evidence::purge::{OBJECT, PurgeTarget, Purges, scopes};
use proof::{PublicKey, document};
use serde_json::{Map, Value};
use store::{Act, Store};
use world::World;

use crate::settings::Settings;
use crate::{data_dir, server_state};

/// What is purged again by one receipt.
struct Receipt {
    workspace: WorkspaceId,
    job: PurgeJobId,
    target: PurgeTarget,
    requested_unix_ms: u64,
}

/// Purges the restored database by each receipt in a folder; returns how many receipts there were, and what they removed.
/// Without a key to trust, the installation's own has to have signed them.
pub async fn purge_again(
    settings: &Settings,
    folder: &Path,
    trusted: Option<PublicKey>,
) -> anyhow::Result<(usize, u64)> {
    let trusted = match trusted {
        Some(key) => key,
        None => server_state::public_key(settings).await.context(
            "who signed the receipts can't be told without the master key: give it, or the installation's public key as \
             --receipt-key (`tidegate audit key` prints it)",
        )?,
    };
    let receipts = read_all(folder, trusted)?;
    let store = data_dir::open_store(settings).await?;
    let purged = purge_all(&store, &receipts).await;
    store.close().await;
    Ok((receipts.len(), purged?))
}

async fn purge_all(store: &Store, receipts: &[Receipt]) -> anyhow::Result<u64> {
    let (purges, world) = (Purges::of(store), World::system());
    let mut removed = 0;
    for receipt in receipts {
        let mut of_receipt = 0;
        let Receipt { workspace, target, requested_unix_ms, .. } = receipt;
        for scope in scopes(store, target, *workspace, *requested_unix_ms).await? {
            of_receipt += store.state_purges().purge(scope.clone()).await?;
            of_receipt += purges.purge_restored(scope).await?;
        }
        let detail = format!("{of_receipt} items of a restored backup");
        let act = Act::system(&world);
        purges.audit(act, receipt.workspace, "purge.restored", receipt.job, detail).await?;
        removed += of_receipt;
    }
    purges.scrub().await?;
    Ok(removed)
}

fn read_all(folder: &Path, trusted: PublicKey) -> anyhow::Result<Vec<Receipt>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut receipts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let text = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
            let read = read(&text, trusted)
                .with_context(|| format!("{} isn't a receipt that holds", path.display()))?;
            receipts.push(read);
        }
    }
    if receipts.is_empty() {
        bail!("{} holds no receipt: a file of each, with the ending .json, is expected", folder.display());
    }
    Ok(receipts)
}

fn read(text: &[u8], trusted: PublicKey) -> anyhow::Result<Receipt> {
    let document = document::read(text)?;
    document::verify(&document, Some(trusted))?;
    let of = |name: &str| field(&document, name);
    if of("object")? != OBJECT {
        bail!("it isn't a receipt of a purge");
    }
    let at = of("requested_at_unix_ms")?.as_u64().context("requested_at_unix_ms isn't a time")?;
    let text = |name| of(name).map(|value| value.as_str().unwrap_or_default().to_owned());
    Ok(Receipt {
        workspace: text("workspace_id")?.parse()?,
        job: text("purge_job_id")?.parse()?,
        target: serde_json::from_value(of("scope")?.clone())?,
        requested_unix_ms: at,
    })
}

fn field<'a>(document: &'a Map<String, Value>, name: &str) -> anyhow::Result<&'a Value> {
    document.get(name).with_context(|| format!("it has no {name}"))
}
