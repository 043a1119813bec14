//! Maintenance on PostgreSQL: retention drops whole weekly partitions of records.

use database::error::{StoreError, StoreFuture};
use database::fields::{Fields, signed};
use database::statement::sql;

use crate::audit_notes;
use crate::postgres::PostgresRecords;
use crate::postgres::sink::WEEK_MS;
use crate::sql::{batch_costs, upkeep};
use crate::upkeep::{Forgotten, Maintenance};

impl Maintenance for PostgresRecords {
    fn sum_days(&self, from_unix_ms: u64, until_unix_ms: u64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let mut summed = 0;
            for (workspace, day) in upkeep::days_to_sum(&self.database, from_unix_ms, until_unix_ms).await? {
                let done = upkeep::sum_day(&self.database, Some(self.replica), workspace, day).await?;
                summed += u64::from(done);
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

/// One week per statement, so that readers and writers wait for one partition at most.
async fn forget(store: &PostgresRecords, before_unix_ms: u64) -> Result<Forgotten, StoreError> {
    batch_costs::forget(&store.database, before_unix_ms).await?;
    let week = signed(before_unix_ms / WEEK_MS);
    let mut forgotten = Forgotten::default();
    loop {
        let mut connection = store.database.read().await?;
        let row = sql("SELECT drop_record_week($1) AS dropped").bind(week).one(&mut connection).await?;
        if Fields::new("records", &row).number("dropped")? == 0 {
            return Ok(forgotten);
        }
        forgotten.weeks += 1;
    }
}
