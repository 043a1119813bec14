//! Periodic maintenance of the ledger's tables: daily sums, the deletion of records past their retention, and the entries of
//! the audit that count what requests met.

use std::path::PathBuf;
use std::time::Duration;

use evidence::holds::Holds;
use store::{Store, StoreError};
use tasks::Task;
use world::World;

const EVERY: Duration = Duration::from_secs(3_600);
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How late an hour's counts are in the audit, at most.
const COUNT_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 86_400_000;
/// A day is summed once its last requests should have settled; if one settles later, the day is summed again.
const SETTLED_AFTER_MS: u64 = 3_600_000;
/// The first pass covers everything, later ones the days that may still change.
const LOOK_BACK_MS: u64 = 8 * DAY_MS;

/// Retention in days; `None` for ever.
#[derive(Debug, Clone, Copy)]
pub struct KeepDays {
    pub records: Option<u64>,
    pub minutes: Option<u64>,
}

/// Starts the task; it runs until it is dropped.
pub fn start(store: Store, world: World, keep: KeepDays) -> Task {
    Task::spawn("upkeep", async move {
        let mut from = 0;
        loop {
            let now = world.clock.unix_ms();
            let wait = match look_after(&store, from, now, keep).await {
                Ok(()) => {
                    from = now.saturating_sub(LOOK_BACK_MS);
                    EVERY
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the books could not be looked after; it is tried again"
                    );
                    AGAIN_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    })
}

/// Starts the task that writes counts to the audit; it runs until it is dropped.
pub fn start_counting(store: Store, world: World, data_dir: PathBuf) -> Task {
    Task::spawn("audit-counts", async move {
        loop {
            tokio::time::sleep(COUNT_EVERY).await;
            count(&store, &world, world.clock.unix_ms()).await;
            evidence::floor::keep(&data_dir, &store, &world).await;
        }
    })
}

/// Writes the counts that a process which ends would lose.
pub async fn count_last(store: Store, world: World, data_dir: PathBuf) {
    count(&store, &world, u64::MAX).await;
    evidence::floor::keep(&data_dir, &store, &world).await;
}

async fn count(store: &Store, world: &World, until_unix_ms: u64) {
    if let Err(error) = store.upkeep().count_notes(until_unix_ms, world.clock.unix_ms()).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "what requests met could not be counted in the audit; it is tried again");
    }
}

/// While a legal hold is in force, no record is forgotten: they are stored with those of other workspaces.
async fn look_after(store: &Store, from: u64, now: u64, keep: KeepDays) -> Result<(), StoreError> {
    let upkeep = store.upkeep();
    let summed = upkeep.sum_days(from, now.saturating_sub(SETTLED_AFTER_MS)).await?;
    if summed > 0 {
        tracing::info!(days = summed, "the days that are over are summed");
    }
    let before = |days: u64| now.saturating_sub(days.saturating_mul(DAY_MS));
    if let Some(days) = keep.minutes {
        let sums = upkeep.forget_minutes(before(days)).await?;
        if sums > 0 {
            tracing::info!(sums, days, "deleted sums by the minute that were older than these days");
        }
    }
    let is_held = keep.records.is_some() && Holds::of(store).any().await?;
    if let Some(days) = keep.records.filter(|_| !is_held) {
        store.scores().forget(before(days)).await?;
        let forgotten = upkeep.forget_records(before(days)).await?;
        if forgotten != store::Forgotten::default() {
            tracing::info!(
                records = forgotten.records,
                weeks = forgotten.weeks,
                days,
                "deleted records that were older than these days"
            );
        }
    }
    Ok(())
}
