//! Deletes what is over: files whose time has come, objects of files that were deleted, and objects that no row names.

use std::time::Duration;

use domain::FileId;
use futures_util::StreamExt as _;
use tokio::time::sleep;

use crate::limits::ORPHAN_AGE_MS;
use crate::store::{Inner, Stopped};

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Every so many sweeps the whole bucket is listed.
const LISTED_EVERY: u32 = 60;
const ROWS: u32 = 500;
/// Objects that are compared with rows at a time.
const OBJECTS: usize = 1_000;

/// For ever. A failure waits for the next minute.
pub(crate) async fn sweep_all(inner: &Inner) {
    let mut sweeps: u32 = 0;
    loop {
        sleep(SWEEP_EVERY).await;
        let swept = sweep(inner, sweeps.is_multiple_of(LISTED_EVERY)).await;
        sweeps = sweeps.wrapping_add(1);
        if let Err(stopped) = swept {
            let why = domain::purge::PurgeError::from(stopped);
            tracing::warn!(%why, "files that are over could not be deleted; the next sweep tries again");
        }
    }
}

pub(crate) async fn sweep(inner: &Inner, whole: bool) -> Result<(), Stopped> {
    let now = inner.now_unix_ms();
    while inner.files.expire(now, ROWS).await? == u64::from(ROWS) {}
    remove_gone(inner).await?;
    if whole {
        let bucket = inner.bucket.clone();
        let _ = tasks::blocking(move || bucket.clean(now)).await;
        remove_orphans(inner, now).await?;
    }
    Ok(())
}

/// Deletes the objects of files that have no key any more, and then their rows.
pub(crate) async fn remove_gone(inner: &Inner) -> Result<(), Stopped> {
    let mut after: Option<FileId> = None;
    loop {
        let gone = inner.files.gone(after, ROWS).await?;
        for id in &gone {
            inner.bucket.delete_all(*id).await?;
        }
        after = gone.last().copied();
        let is_over = gone.len() < ROWS as usize;
        inner.files.remove(gone).await?;
        if is_over {
            return Ok(());
        }
    }
}

/// Deletes objects that no row names: a process ended between the two, or a project was deleted with its rows.
async fn remove_orphans(inner: &Inner, now_unix_ms: u64) -> Result<(), Stopped> {
    let mut objects = inner.bucket.list().chunks(OBJECTS);
    while let Some(some) = objects.next().await {
        let mut old = Vec::new();
        for stored in some {
            let stored = stored?;
            if stored.changed_unix_ms.saturating_add(ORPHAN_AGE_MS) <= now_unix_ms {
                old.extend(stored.piece);
            }
        }
        for (file, name) in inner.files.orphans(old).await? {
            inner.bucket.delete(file, vec![name]).await?;
        }
    }
    Ok(())
}
