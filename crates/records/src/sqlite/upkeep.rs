//! Maintenance on SQLite: retention deletes a few rows at a time, so that no batch waits long for it.

use database::error::{StoreError, StoreFuture};

use crate::audit_notes;
use crate::sql::hours::first_trace_of;
use crate::sql::{batch_costs, upkeep};
use crate::sqlite::{SqliteRecords, batches};
use crate::upkeep::{Forgotten, Maintenance};

impl Maintenance for SqliteRecords {
    fn sum_days(&self, from_unix_ms: u64, until_unix_ms: u64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut summed = 0;
            for (workspace, day) in upkeep::days_to_sum(&self.database, from_unix_ms, until_unix_ms).await? {
                summed += u64::from(upkeep::sum_day(&self.database, None, workspace, day).await?);
            }
            Ok(summed)
        })
    }

    fn forget_records(&self, before_unix_ms: u64) -> StoreFuture<'_, Forgotten> {
        Box::pin(forget(self, before_unix_ms))
    }

    fn forget_minutes(&self, before_unix_ms: u64) -> StoreFuture<'_, u64> {
        Box::pin(upkeep::forget_minutes(&self.database, before_unix_ms))
    }

    fn count_notes(&self, until_unix_ms: u64, now_unix_ms: u64) -> StoreFuture<'_, ()> {
        Box::pin(audit_notes::write_counts(&self.database, &self.notes, until_unix_ms, now_unix_ms))
    }
}

async fn forget(store: &SqliteRecords, before_unix_ms: u64) -> Result<Forgotten, StoreError> {
    batch_costs::forget(&store.database, before_unix_ms).await?;
    let before = first_trace_of(before_unix_ms);
    let mut forgotten = Forgotten::default();
    loop {
        let slice = store.write(move |connection| Box::pin(batches::forget(connection, before))).await?;
        if slice == 0 {
            return Ok(forgotten);
        }
        forgotten.records += slice.unsigned_abs();
    }
}
