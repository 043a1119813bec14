//! Price arithmetic: what an attempt and an exchange cost, and who pays.

use domain::money::with_markup;
use domain::{
    AttemptRecord, Charge, FaultClass, MeterRecord, Modality, Nanos, Operation, Outcome, Priced, Profile,
    Rates, Usage, UsageSource,
};

/// Bytes of prompt text per token, over English prose, code and JSON; between the extremes of 2 (CJK) and 6.
pub const PROMPT_BYTES_PER_TOKEN: u64 = 4;
/// Bytes on the wire of a stream per token: a chunk event is mostly its envelope.
pub const STREAM_BYTES_PER_TOKEN: u64 = 256;

/// The charge of one attempt that used `usage`.
pub fn charge(profile: Profile, rates: Option<Rates>, markup_bps: u32, usage: &Usage) -> Charge {
    if profile == Profile::Byoc || usage.is_nothing() {
        return Charge::default();
    }
    let Some(rates) = rates.filter(|rates| rates.has_price_for(usage)) else {
        return Charge { priced: Priced::Unpriced, ..Charge::default() };
    };
    let provider_cost = rates.cost(usage);
    let cost = match profile {
        Profile::ManagedProvider => with_markup(provider_cost, markup_bps),
        Profile::Byok | Profile::Subscription | Profile::Byoc => Nanos::ZERO,
    };
    // The cost of a hosted tool or of storage without a price is missing in the sum, and `priced` says so.
    let priced = if rates.has_price_for_extras(&usage.units) { Priced::Priced } else { Priced::Unpriced };
    Charge { cost, provider_cost, priced }
}

/// The last resort if the upstream reported nothing and the content was not counted: bytes at fixed rates,
/// marked as an estimate.
pub fn estimate(prompt_bytes: u64, wire_bytes_out: u64, stream: bool) -> Usage {
    let per_token = if stream { STREAM_BYTES_PER_TOKEN } else { PROMPT_BYTES_PER_TOKEN };
    Usage {
        input: prompt_bytes.div_ceil(PROMPT_BYTES_PER_TOKEN),
        output: wire_bytes_out.div_ceil(per_token),
        source: UsageSource::Estimate,
        ..Usage::default()
    }
}

/// Writes the charges of a record from its usage, prices and outcome: each attempt as a memo of its own, the
/// exchange once, under the profile that answered. What an attempt cost the operator counts in full; the
/// workspace owes only for what it received.
pub fn book(record: &mut MeterRecord) {
    let last = record.attempts.last().map(|attempt| attempt.number);
    let mut attempts = std::mem::take(&mut record.attempts);
    for attempt in &mut attempts {
        attempt.charge = attempt_charge(record, attempt, last == Some(attempt.number));
    }
    record.attempts = attempts;
    record.charge = exchange_charge(&record.attempts);
}

/// The charge of an attempt of this record, by its usage, prices and outcome.
pub fn attempt_charge(record: &MeterRecord, attempt: &AttemptRecord, last: bool) -> Charge {
    charge_of(record.operation, record.outcome, record.status, attempt, last)
}

/// The charge of an attempt in an exchange of this operation, with this outcome.
pub(crate) fn charge_of<Text>(
    operation: Operation,
    outcome: Outcome,
    status: u16,
    attempt: &AttemptRecord<Text>,
    last: bool,
) -> Charge {
    let mut money = charge(attempt.profile(), attempt.rates, attempt.markup_bps, &attempt.usage);
    if !(last && is_owed(outcome, status, attempt)) {
        money.cost = Nanos::ZERO;
    }
    // The sum has sound and pictures at the price of text, which is less than they cost, and `priced` says so. Models of
    // other operations are sold at one price for all of their tokens.
    let has_media_prices = |rates: Rates| rates.has_price_for_media(&attempt.usage.units);
    if money.priced == Priced::Priced
        && operation.modality() == Modality::Chat
        && !attempt.rates.is_some_and(has_media_prices)
    {
        money.priced = Priced::Unpriced;
    }
    money
}

/// The sum over the attempts: one unknown price makes the exchange unpriced.
pub fn exchange_charge(attempts: &[AttemptRecord]) -> Charge {
    sum(attempts.iter().map(|attempt| attempt.charge))
}

pub(crate) fn sum(charges: impl IntoIterator<Item = Charge>) -> Charge {
    charges.into_iter().fold(Charge::default(), |sum, charge| Charge {
        cost: sum.cost.plus(charge.cost),
        provider_cost: sum.provider_cost.plus(charge.provider_cost),
        priced: match (sum.priced, charge.priced) {
            (Priced::Unpriced, _) | (_, Priced::Unpriced) => Priced::Unpriced,
            (Priced::Priced, _) | (_, Priced::Priced) => Priced::Priced,
            (Priced::Free, Priced::Free) => Priced::Free,
        },
    })
}

/// Whether the workspace owes for the last attempt of an exchange.
fn is_owed<Text>(outcome: Outcome, status: u16, last: &AttemptRecord<Text>) -> bool {
    match outcome {
        Outcome::Completed | Outcome::Cut => true,
        // Brief, rule 3: the gateway's own deadline under a managed profile is not charged.
        Outcome::Deadline => false,
        // A stream that broke after content was sent has a success status; a refusal delivered nothing.
        Outcome::Failed => {
            status < 400 && (last.usage.completion_total() > 0 || last.usage.units.has_counts())
        }
        // Cancelled while it waited for a retry: the last attempt had failed already.
        Outcome::ClientCancelled | Outcome::Interrupted => {
            matches!(last.fault, None | Some(FaultClass::Cancelled))
        }
    }
}
