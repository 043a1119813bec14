//! The invoice of one workspace and month: computed from integer totals by the tariff in force, line by line.
//!
//! Every line follows from its own figures, and the whole from the month's totals: computing it again from
//! the same totals gives the same invoice. A finalised one is never recomputed; late records become a line of
//! the next.

use domain::{InvoiceId, Mode, Nanos, Price, Profile, WorkspaceId};
use serde::{Deserialize, Serialize};

use crate::tariff::{Fee, Tariff};

domain::words! {
    /// The subject of a line.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LineKind {
        Base = "base",
        /// The platform fee on requests of a profile.
        RequestFee = "request_fee",
        /// The platform fee on tokens of a profile.
        TokenFee = "token_fee",
        /// Tokens of the operator's accounts, as each exchange was booked.
        ManagedTokens = "managed_tokens",
        /// Tokens on the customer's own credentials: billed by the provider, not by the operator.
        ByokTokens = "byok_tokens",
        /// Tokens of the customer's own nodes.
        ByocTokens = "byoc_tokens",
        Acts = "acts",
        /// An amount booked for an earlier month after its invoice was finalised.
        Adjustment = "adjustment",
        /// Prepaid credit that pays for a part.
        Credit = "credit",
    }
}

impl LineKind {
    const fn of_tokens(profile: Profile) -> Self {
        match profile.mode() {
            Mode::Mi => Self::ManagedTokens,
            Mode::Byok => Self::ByokTokens,
            Mode::Byoc => Self::ByocTokens,
        }
    }
}

/// Counts and money of a month, for one profile, model or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub cost: Nanos,
    pub provider_cost: Nanos,
    pub unpriced: u64,
}

impl Counted {
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            cost: self.cost.plus(other.cost),
            provider_cost: self.provider_cost.plus(other.provider_cost),
            unpriced: self.unpriced.saturating_add(other.unpriced),
        }
    }

    /// The remainder of a total after the itemised parts.
    fn without(self, parts: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(parts.requests),
            input_tokens: self.input_tokens.saturating_sub(parts.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(parts.output_tokens),
            cached_tokens: self.cached_tokens.saturating_sub(parts.cached_tokens),
            cost: self.cost.plus(-parts.cost),
            provider_cost: self.provider_cost.plus(-parts.provider_cost),
            unpriced: self.unpriced.saturating_sub(parts.unpriced),
        }
    }
}

/// One profile's month: the total, and the models that get lines of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileMonth {
    pub profile: Profile,
    pub whole: Counted,
    pub models: Vec<(String, Counted)>,
}

/// The totals of a workspace's month.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Month {
    pub profiles: Vec<ProfileMonth>,
    pub acts: u64,
}

/// An earlier month whose total differs from its invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateRecords {
    pub period_start_unix_ms: u64,
    /// Its total now, minus what was invoiced for it so far.
    pub amount: Nanos,
    /// Exchanges that were recorded late.
    pub requests: u64,
}

/// The workspace and month of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub workspace: WorkspaceId,
    pub start_unix_ms: u64,
    /// Exclusive.
    pub end_unix_ms: u64,
}

impl Period {
    /// One id per workspace and month, before and after it is finalised.
    pub fn invoice_id(&self) -> InvoiceId {
        let random = self.workspace.as_bytes().last_chunk::<10>().copied().unwrap_or_default();
        InvoiceId::new(self.start_unix_ms, random)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    pub kind: LineKind,
    pub profile: Option<Profile>,
    /// `None` on a token line: the models that have no line of their own.
    pub model: Option<String>,
    /// For an adjustment: the month that it is for.
    pub period_start_unix_ms: Option<u64>,
    /// The counted quantity: months, requests, tokens or acts.
    pub quantity: u64,
    pub included: u64,
    /// In micro-USD per million; of the base, per unit. Tokens have the prices of their exchanges.
    pub price: Option<Price>,
    pub amount: Nanos,
    /// What the tokens were used for, and what the provider bills for them.
    pub counted: Counted,
}

impl InvoiceLine {
    fn new(kind: LineKind, amount: Nanos) -> Self {
        Self {
            kind,
            profile: None,
            model: None,
            period_start_unix_ms: None,
            quantity: 0,
            included: 0,
            price: None,
            amount,
            counted: Counted::default(),
        }
    }

    fn of_fee(kind: LineKind, profile: Option<Profile>, fee: &Fee, quantity: u64) -> Self {
        Self {
            profile,
            quantity,
            included: fee.included,
            price: Some(fee.price),
            ..Self::new(kind, fee.of(quantity))
        }
    }

    fn of_tokens(profile: Profile, model: Option<String>, counted: Counted) -> Self {
        Self {
            profile: Some(profile),
            model,
            quantity: counted.tokens(),
            counted,
            ..Self::new(LineKind::of_tokens(profile), counted.cost)
        }
    }

    /// The amount that follows from this line's own figures; tokens were priced exchange by exchange.
    pub fn recompute(&self) -> Nanos {
        let fee = Fee { price: self.price.unwrap_or_default(), included: self.included };
        match self.kind {
            LineKind::Base => Nanos::from(fee.price),
            LineKind::RequestFee | LineKind::TokenFee | LineKind::Acts => fee.of(self.quantity),
            LineKind::ManagedTokens | LineKind::ByokTokens | LineKind::ByocTokens => self.counted.cost,
            LineKind::Adjustment | LineKind::Credit => self.amount,
        }
    }

    /// Whether the line is part of the month's own total.
    const fn is_of_month(&self) -> bool {
        !matches!(self.kind, LineKind::Adjustment | LineKind::Credit)
    }
}

/// What a workspace owes for a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    pub period: Period,
    pub tariff: Tariff,
    pub lines: Vec<InvoiceLine>,
    pub total: Nanos,
}

impl Invoice {
    /// Computes an invoice. `credit` is what may pay for it; no more than is owed is taken.
    pub fn compute(
        period: Period,
        tariff: Tariff,
        month: &Month,
        late: &[LateRecords],
        credit: Nanos,
    ) -> Self {
        let mut lines = Vec::new();
        if tariff.monthly_base.0 > 0 {
            let base = InvoiceLine::new(LineKind::Base, Nanos::from(tariff.monthly_base));
            lines.push(InvoiceLine { quantity: 1, price: Some(tariff.monthly_base), ..base });
        }
        for used in &month.profiles {
            lines.extend(fee_lines(&tariff, used));
        }
        for used in &month.profiles {
            lines.extend(token_lines(used));
        }
        if !tariff.acts.is_free() {
            lines.push(InvoiceLine::of_fee(LineKind::Acts, None, &tariff.acts, month.acts));
        }
        lines.extend(late.iter().map(|late| InvoiceLine {
            period_start_unix_ms: Some(late.period_start_unix_ms),
            quantity: late.requests,
            ..InvoiceLine::new(LineKind::Adjustment, late.amount)
        }));
        let paid = payable(credit, sum(&lines));
        if paid > Nanos::ZERO {
            lines.push(InvoiceLine::new(LineKind::Credit, -paid));
        }
        Self { period, tariff, total: sum(&lines), lines }
    }

    /// The month's own total, without adjustments for other months and before any credit.
    pub fn of_month(&self) -> Nanos {
        self.lines.iter().filter(|line| line.is_of_month()).map(|line| line.amount).sum()
    }

    /// What this invoice adds to another month's.
    pub fn adjustment_for(&self, period_start_unix_ms: u64) -> Nanos {
        let of_period = |line: &&InvoiceLine| {
            line.kind == LineKind::Adjustment && line.period_start_unix_ms == Some(period_start_unix_ms)
        };
        self.lines.iter().filter(of_period).map(|line| line.amount).sum()
    }

    /// What is owed for usage under a mode: fees and tokens, as in the billing snapshot.
    pub fn of_mode(&self, mode: Mode) -> Nanos {
        let is_of_mode = |line: &&InvoiceLine| line.profile.is_some_and(|profile| profile.mode() == mode);
        self.lines.iter().filter(is_of_mode).map(|line| line.amount).sum()
    }

    pub fn amount_of(&self, kind: LineKind) -> Nanos {
        self.lines.iter().filter(|line| line.kind == kind).map(|line| line.amount).sum()
    }
}

/// How much of `credit` is used: at most what is owed, and nothing if nothing is owed.
fn payable(credit: Nanos, owed: Nanos) -> Nanos {
    Nanos(credit.0.min(owed.0).max(0))
}

fn sum(lines: &[InvoiceLine]) -> Nanos {
    lines.iter().map(|line| line.amount).sum()
}

fn fee_lines(tariff: &Tariff, used: &ProfileMonth) -> impl Iterator<Item = InvoiceLine> {
    let fees = tariff.fees(used.profile);
    let (profile, whole) = (Some(used.profile), used.whole);
    [(LineKind::RequestFee, fees.requests, whole.requests), (LineKind::TokenFee, fees.tokens, whole.tokens())]
        .into_iter()
        .filter(|(_, fee, _)| !fee.is_free())
        .map(move |(kind, fee, quantity)| InvoiceLine::of_fee(kind, profile, &fee, quantity))
}

/// A line for each model, and one for the remainder of the profile's total: together they equal it.
fn token_lines(used: &ProfileMonth) -> Vec<InvoiceLine> {
    let listed = used.models.iter().fold(Counted::default(), |sum, (_, counted)| sum.plus(*counted));
    let mut lines: Vec<_> = used
        .models
        .iter()
        .map(|(model, counted)| InvoiceLine::of_tokens(used.profile, Some(model.clone()), *counted))
        .collect();
    let rest = used.whole.without(listed);
    if rest != Counted::default() {
        lines.push(InvoiceLine::of_tokens(used.profile, None, rest));
    }
    lines
}

/// A figure of an invoice that does not follow from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line, as a person identifies it.
    pub line: String,
    pub what: &'static str,
    pub recorded: i128,
    pub recomputed: i128,
}

/// Checks an invoice's consistency: each line against its own figures, the credit used against what is owed,
/// the total against its lines.
pub fn check(invoice: &Invoice, credit: Nanos) -> Vec<Difference> {
    let mut found = Vec::new();
    for line in &invoice.lines {
        compare(&mut found, &name(line), "amount_nanos", line.amount.0, line.recompute().0);
        if let Some(fee) = fee_of(&invoice.tariff, line) {
            let (stated, tariffs) = (line.price.unwrap_or_default().0, fee.price.0);
            compare(&mut found, &name(line), "price", stated, tariffs);
            compare(&mut found, &name(line), "included", line.included, fee.included);
        }
    }
    let paid = invoice.amount_of(LineKind::Credit);
    let owed = sum(&invoice.lines).plus(-paid);
    compare(&mut found, "credit", "amount_nanos", paid.0, -payable(credit, owed).0);
    compare(&mut found, "total", "amount_nanos", invoice.total.0, sum(&invoice.lines).0);
    found
}

fn fee_of(tariff: &Tariff, line: &InvoiceLine) -> Option<Fee> {
    match (line.kind, line.profile) {
        (LineKind::Base, _) => Some(Fee { price: tariff.monthly_base, included: 0 }),
        (LineKind::Acts, _) => Some(tariff.acts),
        (LineKind::RequestFee, Some(profile)) => Some(tariff.fees(profile).requests),
        (LineKind::TokenFee, Some(profile)) => Some(tariff.fees(profile).tokens),
        _ => None,
    }
}

/// Compares an invoice's month with a recomputation. Late records look like changed ones; the adjustments
/// made so far tell them apart.
pub fn compare_months(recorded: &Invoice, again: &Invoice) -> Vec<Difference> {
    let mut found = Vec::new();
    let absent = InvoiceLine::new(LineKind::Base, Nanos::ZERO);
    let of_month = |invoice: &Invoice| -> Vec<InvoiceLine> {
        invoice.lines.iter().filter(|line| line.is_of_month()).cloned().collect()
    };
    let (stated, drawn) = (of_month(recorded), of_month(again));
    for line in &stated {
        let other = drawn.iter().find(|other| name(other) == name(line)).unwrap_or(&absent);
        compare_lines(&mut found, &name(line), line, other);
    }
    for line in drawn.iter().filter(|line| !stated.iter().any(|known| name(known) == name(line))) {
        compare_lines(&mut found, &name(line), &absent, line);
    }
    found
}

fn compare_lines(found: &mut Vec<Difference>, name: &str, recorded: &InvoiceLine, again: &InvoiceLine) {
    for (what, recorded, again) in [
        ("quantity", i128::from(recorded.quantity), i128::from(again.quantity)),
        ("requests", i128::from(recorded.counted.requests), i128::from(again.counted.requests)),
        ("amount_nanos", i128::from(recorded.amount.0), i128::from(again.amount.0)),
        (
            "provider_cost_nanos",
            i128::from(recorded.counted.provider_cost.0),
            i128::from(again.counted.provider_cost.0),
        ),
    ] {
        compare(found, name, what, recorded, again);
    }
}

fn compare(
    found: &mut Vec<Difference>,
    line: &str,
    what: &'static str,
    recorded: impl Into<i128>,
    again: impl Into<i128>,
) {
    let (recorded, recomputed) = (recorded.into(), again.into());
    if recorded != recomputed {
        found.push(Difference { line: line.to_owned(), what, recorded, recomputed });
    }
}

fn name(line: &InvoiceLine) -> String {
    let parts = [line.profile.map(|profile| profile.as_str().to_owned()), line.model.clone()];
    parts.into_iter().flatten().fold(line.kind.as_str().to_owned(), |name, part| format!("{name} {part}"))
}

#[cfg(test)]
#[path = "invoice_tests.rs"]
mod tests;
