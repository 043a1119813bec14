//! The billing snapshot: usage and money by mode, folded from settled records or from sums of them.

use domain::{MeterRecord, Mode, Nanos, Outcome, Priced, UsageSource};

/// One exchange, or a sum of exchanges that a store made: the fold takes both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRow {
    /// `None` where no attempt was made.
    pub mode: Option<Mode>,
    pub requests: u64,
    /// The whole prompt, cached parts too.
    pub input_tokens: u64,
    /// The whole completion, reasoning too.
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub cost: Nanos,
    pub provider_cost: Nanos,
    /// Completed exchanges whose use nobody reported and nobody could estimate.
    pub unmetered: u64,
    /// Exchanges that used something without a known price.
    pub unpriced: u64,
}

impl From<&MeterRecord> for UsageRow {
    fn from(record: &MeterRecord) -> Self {
        let unmetered = record.outcome == Outcome::Completed && record.usage.source == UsageSource::None;
        Self {
            mode: record.profile().map(domain::Profile::mode),
            requests: 1,
            input_tokens: record.usage.prompt_total(),
            output_tokens: record.usage.completion_total(),
            cached_tokens: record.usage.cached_read,
            cost: record.charge.cost,
            provider_cost: record.charge.provider_cost,
            unmetered: u64::from(unmetered),
            unpriced: u64::from(record.charge.priced == Priced::Unpriced),
        }
    }
}

/// One row of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeTotals {
    pub mode: Mode,
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub cost: Nanos,
    pub provider_cost: Nanos,
}

impl ModeTotals {
    #[must_use]
    pub const fn empty(mode: Mode) -> Self {
        Self {
            mode,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: 0,
            cost: Nanos::ZERO,
            provider_cost: Nanos::ZERO,
        }
    }

    pub(crate) fn add(&mut self, row: &UsageRow) {
        self.requests = self.requests.saturating_add(row.requests);
        self.input_tokens = self.input_tokens.saturating_add(row.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(row.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(row.cached_tokens);
        self.cost = self.cost.plus(row.cost);
        self.provider_cost = self.provider_cost.plus(row.provider_cost);
    }
}

/// Usage by mode; always one row for each mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BillingSnapshot {
    pub by_mode: [ModeTotals; 3],
    pub unmetered_event_count: u64,
    pub unpriced_event_count: u64,
}

impl BillingSnapshot {
    /// Tokens and money of all modes. Money is added in nanos, so that it is rounded once.
    #[must_use]
    pub fn totals(&self) -> UsageRow {
        self.by_mode.iter().fold(
            UsageRow {
                mode: None,
                requests: 0,
                input_tokens: 0,
                output_tokens: 0,
                cached_tokens: 0,
                cost: Nanos::ZERO,
                provider_cost: Nanos::ZERO,
                unmetered: self.unmetered_event_count,
                unpriced: self.unpriced_event_count,
            },
            |sum, row| UsageRow {
                requests: sum.requests.saturating_add(row.requests),
                input_tokens: sum.input_tokens.saturating_add(row.input_tokens),
                output_tokens: sum.output_tokens.saturating_add(row.output_tokens),
                cached_tokens: sum.cached_tokens.saturating_add(row.cached_tokens),
                cost: sum.cost.plus(row.cost),
                provider_cost: sum.provider_cost.plus(row.provider_cost),
                ..sum
            },
        )
    }
}

/// Folds rows into the snapshot. What reached no attempt is counted nowhere: nobody served it.
#[must_use]
pub fn billing_snapshot(rows: impl IntoIterator<Item = UsageRow>) -> BillingSnapshot {
    let mut snapshot = BillingSnapshot {
        by_mode: Mode::ALL.map(ModeTotals::empty),
        unmetered_event_count: 0,
        unpriced_event_count: 0,
    };
    for row in rows.into_iter().filter(|row| row.mode.is_some()) {
        for totals in snapshot.by_mode.iter_mut().filter(|totals| Some(totals.mode) == row.mode) {
            totals.add(&row);
        }
        snapshot.unmetered_event_count = snapshot.unmetered_event_count.saturating_add(row.unmetered);
        snapshot.unpriced_event_count = snapshot.unpriced_event_count.saturating_add(row.unpriced);
    }
    snapshot
}
