//! Usage and money by mode, summed from settled records.

use domain::{MeterRecord, Mode, Nanos, Priced};

/// The contribution of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageRow {
    /// `None` if no attempt was made.
    pub mode: Option<Mode>,
    pub requests: u64,
    /// The whole prompt, cached parts included.
    pub input_tokens: u64,
    /// The whole completion, reasoning included.
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub cost: Nanos,
    pub provider_cost: Nanos,
    /// Exchanges that used something without a known price.
    pub unpriced: u64,
}

impl From<&MeterRecord> for UsageRow {
    fn from(record: &MeterRecord) -> Self {
        Self {
            mode: record.profile().map(domain::Profile::mode),
            requests: 1,
            input_tokens: record.usage.prompt_total(),
            output_tokens: record.usage.completion_total(),
            cached_tokens: record.usage.cached_read,
            cost: record.charge.cost,
            provider_cost: record.charge.provider_cost,
            unpriced: u64::from(record.charge.priced == Priced::Unpriced),
        }
    }
}

/// The totals of all exchanges of a mode.
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
