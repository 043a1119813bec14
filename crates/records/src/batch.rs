//! Prepares a batch of settled records for writing, the same for every database: the encoded records and
//! their sums.

use database::error::StoreError;
use database::statement::Statement;
use domain::TraceId;
use ledger::{SettledBatch, SettledRecords};

use crate::audit_notes::AuditNote;
use crate::end_users::EndUserDays;
use crate::packed::{Named, tail_of};
use crate::sql::batch_costs::BatchCosts;
use crate::sql::leases::Draws;
use crate::sql::session_sums::SessionSums;
use crate::tally::{MinuteTally, Tallying};

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub named: Named,
    /// Index of the tally that counts this record, and so of its usage group.
    pub tally: usize,
    tail_end: usize,
}

/// A prepared batch: all CPU work is done before a connection is acquired.
#[derive(Default)]
pub(crate) struct Prepared {
    rows: Vec<Row>,
    tails: Vec<u8>,
    pub tallies: Vec<MinuteTally>,
    /// What the records draw on budgets.
    pub draws: Draws,
    /// What they add to the costs of batches.
    batch_costs: BatchCosts,
    /// And to the sums of sessions.
    session_sums: SessionSums,
    /// And to those of end users.
    pub end_user_days: EndUserDays,
    /// Audit remarks for those records that need one.
    pub remarks: Vec<AuditNote>,
    /// What they add to the sums of `/metrics`.
    pub settled: SettledBatch,
    /// Some record may be in the store from an earlier life of a process: the requests of batches are made again under their
    /// ids by whoever goes on with them.
    pub may_repeat: bool,
}

impl Prepared {
    /// From the records whose trace `takes` accepts.
    pub(crate) fn of(
        records: &SettledRecords,
        mut takes: impl FnMut(TraceId) -> bool,
    ) -> Result<Self, StoreError> {
        let (mut tallying, mut draws, mut remarks) = (Tallying::default(), Draws::default(), Vec::new());
        let (mut batch_costs, mut session_sums) = (BatchCosts::default(), SessionSums::default());
        let (mut end_user_days, mut may_repeat) = (EndUserDays::default(), false);
        let mut settled = SettledBatch::default();
        let mut rows = Vec::with_capacity(records.len());
        let mut tails = Vec::with_capacity(records.bytes());
        for (frame, record) in records.decoded() {
            if !takes(record.trace) {
                continue;
            }
            let tail = tail_of(record.trace, frame)?;
            draws.add(&record.drawn);
            batch_costs.add(&record);
            session_sums.add(&record);
            end_user_days.add(&record);
            may_repeat |= record.extras.side_call.is_some_and(|call| call.is_batch_item());
            remarks.extend(AuditNote::of(&record));
            settled.count(&record);
            tails.extend_from_slice(tail);
            rows.push(Row {
                named: Named {
                    trace: record.trace,
                    workspace: record.workspace,
                    started_unix_ms: record.started_unix_ms,
                },
                tally: tallying.add(&record, tail),
                tail_end: tails.len(),
            });
        }
        let tallies = tallying.into_tallies()?;
        Ok(Self {
            rows,
            tails,
            tallies,
            draws,
            batch_costs,
            session_sums,
            end_user_days,
            remarks,
            settled,
            may_repeat,
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.tails.len()
    }

    /// What adds the records to the sums of batches and sessions.
    pub(crate) fn sums(&self) -> impl Iterator<Item = Statement> {
        self.batch_costs.statements().chain(self.session_sums.statements())
    }

    /// Each record with its encoded bytes, which exclude the trace.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Row, &[u8])> {
        let mut start = 0;
        self.rows.iter().map(move |row| {
            let tail = self.tails.get(start..row.tail_end).unwrap_or_default();
            start = row.tail_end;
            (row, tail)
        })
    }
}
