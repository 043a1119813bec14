//! What batches cost so far: a sum for each, written in the transaction of the records that it sums, so that each record is
//! in it once.

use std::collections::BTreeMap;

use database::error::StoreError;
use database::fields::ColumnId;
use database::handle::Database;
use database::statement::{Statement, sql};
use domain::{MeterRecord, Nanos, TraceId, WorkspaceId};

use crate::sql::hours::first_trace_of;

/// Sums that one statement deletes.
const FORGOTTEN_AT_ONCE: u64 = 1_000;

/// What some records add to the costs of the batches that they were made for, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct BatchCosts(BTreeMap<(WorkspaceId, TraceId), (Nanos, Nanos)>);

impl BatchCosts {
    /// Adds a record, if it is of a batch's request.
    pub(crate) fn add<Text>(&mut self, record: &MeterRecord<Text>) {
        let Some(made_for) = record.extras.side_call.filter(|call| call.is_batch_item()) else { return };
        let (cost, provider_cost) = self.0.entry((record.workspace, made_for.parent)).or_default();
        *cost = cost.plus(record.charge.cost);
        *provider_cost = provider_cost.plus(record.charge.provider_cost);
    }

    /// A statement for each batch: a drained batch of records is of few. Their order is the same in every replica.
    pub(crate) fn statements(&self) -> impl Iterator<Item = Statement> {
        self.0.iter().map(|((workspace, request), (cost, provider_cost))| {
            sql(ADD).bind(workspace.bytes()).bind(request.bytes()).bind(cost.0).bind(provider_cost.0)
        })
    }
}

/// Adds to one batch. A workspace that is gone meanwhile has none.
const ADD: &str = "INSERT INTO batch_costs (workspace, request, cost_nanos, provider_cost_nanos)
    SELECT id, $2, $3, $4 FROM workspaces WHERE id = $1
    ON CONFLICT (workspace, request) DO UPDATE SET cost_nanos = batch_costs.cost_nanos + excluded.cost_nanos,
        provider_cost_nanos = batch_costs.provider_cost_nanos + excluded.provider_cost_nanos";

/// Deletes the sums of batches that were made before this moment, a few at a time.
pub(crate) async fn forget(database: &Database, before_unix_ms: u64) -> Result<(), StoreError> {
    let before = first_trace_of(before_unix_ms);
    loop {
        let slice = database
            .note(move |writing| {
                let query = sql("DELETE FROM batch_costs WHERE (workspace, request) IN
                     (SELECT workspace, request FROM batch_costs WHERE request < $1 ORDER BY request LIMIT $2)");
                let query = query.bind(before.bytes()).bind(FORGOTTEN_AT_ONCE.cast_signed());
                Box::pin(async move { query.run(writing.connection()).await })
            })
            .await?;
        if slice < FORGOTTEN_AT_ONCE {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{SideCall, SideCallPurpose};

    use super::*;
    use crate::packed::tests::record;

    #[test]
    fn only_the_requests_of_a_batch_count_for_it() {
        let batch = |number| TraceId::new(1, [number; 10]);
        let made_for = |purpose, parent, cost| {
            let mut record = record(1);
            record.extras.side_call = Some(SideCall { purpose, parent });
            (record.charge.cost, record.charge.provider_cost) = (Nanos(cost), Nanos(2 * cost));
            record
        };
        let mut costs = BatchCosts::default();
        costs.add(&record(1));
        costs.add(&made_for(SideCallPurpose::SemanticCache, batch(1), 100));
        assert_eq!(costs, BatchCosts::default());
        for (parent, cost) in [(2, 3), (1, 5), (2, 7)] {
            costs.add(&made_for(SideCallPurpose::BatchItem, batch(parent), cost));
        }
        let sum = |((_, request), (cost, provider)): (&(_, TraceId), &(Nanos, Nanos))| {
            (request.bytes(), cost.0, provider.0)
        };
        let sums: Vec<_> = costs.0.iter().map(sum).collect();
        assert_eq!(sums, [(batch(1).bytes(), 5, 10), (batch(2).bytes(), 10, 20)]);
    }
}
