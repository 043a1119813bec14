//! What purges and the ends of their times remove of runs.

use database::fields::signed;
use database::holding;
use database::purging;
use database::statement::compose;
use domain::ports::{Place, PortFuture, PurgeError, PurgeScope, Purgeable};

use crate::reading::{CONTENTS, TABLE};
use crate::runs::StoredRuns;
use database::error::StoreFuture;

impl StoredRuns {
    /// Deletes some runs whose time is over.
    pub fn expire(&self, now_unix_ms: u64, rows_max: u32) -> StoreFuture<'_, u64> {
        Box::pin(self.0.note(move |writing| {
            Box::pin(async move {
                let query = compose(format!(
                    "DELETE FROM flow_runs WHERE id IN (SELECT id FROM flow_runs WHERE until_unix_ms <= $1
                     AND state = 'ended' AND NOT {} LIMIT $2)",
                    holding::held(TABLE)
                ));
                query.bind(signed(now_unix_ms)).bind(i64::from(rows_max)).run(writing.connection()).await
            })
        }))
    }
}

impl Purgeable for StoredRuns {
    fn place(&self) -> Place {
        Place::FlowRuns
    }

    fn purge(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let purged = self.0.note(move |writing| {
                Box::pin(async move {
                    let contents = purging::purge(writing, scope.clone(), CONTENTS).await?;
                    Ok(contents + purging::purge(writing, scope, TABLE).await?)
                })
            });
            Ok(purged.await?)
        })
    }

    fn remaining(&self, scope: PurgeScope) -> PortFuture<'_, Result<u64, PurgeError>> {
        Box::pin(async move {
            let mut connection = self.0.read().await?;
            let contents = purging::remaining(&mut connection, scope.clone(), CONTENTS).await?;
            Ok(contents + purging::remaining(&mut connection, scope, TABLE).await?)
        })
    }
}
