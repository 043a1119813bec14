//! Verification of the books: every charge is recomputed from the usage and prices in its record.

use domain::{Charge, MeterRecord, Mode, TraceId};

use crate::billing::{ModeTotals, UsageRow};
use crate::price::{attempt_charge, exchange_charge};

/// A charge that does not follow from its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    pub trace: TraceId,
    /// `None` for the exchange as a whole.
    pub attempt: Option<u32>,
    pub recorded: Charge,
    pub recomputed: Charge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    pub records: u64,
    pub attempts: u64,
    pub unpriced: u64,
    pub estimated: u64,
    /// At most `MISMATCHES_KEPT`; `mismatch_count` counts all of them.
    pub mismatches: Vec<Mismatch>,
    pub mismatch_count: u64,
    /// Sums of the recomputed charges.
    pub by_mode: [ModeTotals; 3],
}

/// Enough to find a pattern, few enough to hold.
pub const MISMATCHES_KEPT: usize = 1_000;

/// Recomputes records one at a time, in constant memory.
pub fn recompute<'a>(records: impl IntoIterator<Item = &'a MeterRecord>) -> VerifyReport {
    let mut report = VerifyReport::default();
    for record in records {
        report.check(record);
    }
    report
}

impl Default for VerifyReport {
    fn default() -> Self {
        Self {
            records: 0,
            attempts: 0,
            unpriced: 0,
            estimated: 0,
            mismatches: Vec::new(),
            mismatch_count: 0,
            by_mode: Mode::ALL.map(ModeTotals::empty),
        }
    }
}

impl VerifyReport {
    /// Adds one record; for callers that read a store page by page.
    pub fn check(&mut self, record: &MeterRecord) {
        let mut again = record.clone();
        let last = record.attempts.last().map(|attempt| attempt.number);
        for attempt in &mut again.attempts {
            attempt.charge = attempt_charge(record, attempt, last == Some(attempt.number));
        }
        again.charge = exchange_charge(&again.attempts);
        for (recorded, recomputed) in record.attempts.iter().zip(&again.attempts) {
            self.compare(record.trace, Some(recorded.number), recorded.charge, recomputed.charge);
        }
        self.compare(record.trace, None, record.charge, again.charge);
        let row = UsageRow::from(&again);
        self.records += 1;
        self.attempts += record.attempts.len() as u64;
        self.unpriced += row.unpriced;
        self.estimated += u64::from(record.usage.is_estimated());
        for totals in self.by_mode.iter_mut().filter(|totals| Some(totals.mode) == row.mode) {
            totals.add(&row);
        }
    }

    fn compare(&mut self, trace: TraceId, attempt: Option<u32>, recorded: Charge, recomputed: Charge) {
        if recorded == recomputed {
            return;
        }
        self.mismatch_count += 1;
        if self.mismatches.len() < MISMATCHES_KEPT {
            self.mismatches.push(Mismatch { trace, attempt, recorded, recomputed });
        }
    }
}
