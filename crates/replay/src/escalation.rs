//! When own hardware would pay for what a model's requests cost elsewhere.

/// The hours of a month that hardware is paid for.
const HOURS_PER_MONTH: u64 = 730;
const MS_PER_MONTH: u128 = 730 * 3_600_000;
const NANOS_PER_MICRO: u64 = 1_000;
/// From here on it is worth watching.
const WATCH_PERCENT: u64 = 50;
const SECONDS_PER_MONTH: u64 = HOURS_PER_MONTH * 3_600;

/// What the requests of a model cost within a window, where others serve them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spend {
    pub window_ms: u64,
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost_nanos: u64,
}

/// What hardware would cost, and what it can do if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    pub cost_per_hour_micros: u64,
    /// Tokens of prompts and answers that one machine handles in a second.
    pub tokens_per_second: Option<u64>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The requests cost less than half of the hardware.
    Stay,
    /// They are on the way to cost as much.
    Watch,
    /// They cost more: try a node with them.
    Replay,
    /// A report that holds says that a node keeps to the gates.
    Move,
}

impl NextStep {
    pub const WORDS: [&str; 4] = ["stay", "watch", "replay", "move"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Watch => "watch",
            Self::Replay => "replay",
            Self::Move => "move",
        }
    }
}

/// Whether moving would pay, by month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escalation {
    pub spend_per_month_nanos: u64,
    pub tokens_per_month: u64,
    /// Of as many machines as the tokens need, or of one.
    pub hardware_per_month_nanos: u64,
    pub machines: u64,
    /// How many times as many requests would cost as much as the hardware, in hundredths of a per cent of today's: up to 10 000, it
    /// pays today.
    pub break_even_bps: Option<u64>,
    /// What moving would save; negative where it costs more.
    pub saves_per_month_nanos: i64,
    pub next: NextStep,
}

pub fn escalation(spend: &Spend, hardware: &Hardware, has_passed_report: bool) -> Escalation {
    let monthly = |amount: u64| {
        let wide = u128::from(amount) * MS_PER_MONTH / u128::from(spend.window_ms.max(1));
        u64::try_from(wide).unwrap_or(u64::MAX)
    };
    let spend_per_month_nanos = monthly(spend.cost_nanos);
    let tokens_per_month = monthly(spend.input_tokens.saturating_add(spend.output_tokens));
    let capacity = hardware.tokens_per_second.map(|speed| speed.saturating_mul(SECONDS_PER_MONTH).max(1));
    let machines = capacity.map_or(1, |capacity| tokens_per_month.div_ceil(capacity)).max(1);
    let hardware_per_month_nanos = hardware
        .cost_per_hour_micros
        .saturating_mul(HOURS_PER_MONTH)
        .saturating_mul(NANOS_PER_MICRO)
        .saturating_mul(machines);
    let break_even =
        (u128::from(hardware_per_month_nanos) * 10_000).checked_div(u128::from(spend_per_month_nanos));
    let saves = i128::from(spend_per_month_nanos) - i128::from(hardware_per_month_nanos);
    let half = u128::from(hardware_per_month_nanos) * u128::from(WATCH_PERCENT) / 100;
    let next = if saves > 0 {
        if has_passed_report { NextStep::Move } else { NextStep::Replay }
    } else if spend_per_month_nanos > 0 && u128::from(spend_per_month_nanos) >= half {
        NextStep::Watch
    } else {
        NextStep::Stay
    };
    Escalation {
        spend_per_month_nanos,
        tokens_per_month,
        hardware_per_month_nanos,
        machines,
        break_even_bps: break_even.map(|bps| u64::try_from(bps).unwrap_or(u64::MAX)),
        saves_per_month_nanos: i64::try_from(saves).unwrap_or(i64::MAX),
        next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOLLAR_NANOS: u64 = 1_000_000_000;
    const DAY_MS: u64 = 86_400_000;

    fn check(dollars_in_30_days: u64, has_report: bool, next: NextStep) -> Escalation {
        let spend = Spend {
            window_ms: 30 * DAY_MS,
            requests: 10,
            input_tokens: 900_000_000,
            output_tokens: 100_000_000,
            cost_nanos: dollars_in_30_days * DOLLAR_NANOS,
        };
        // A dollar an hour is 730 dollars a month.
        let hardware = Hardware { cost_per_hour_micros: 1_000_000, tokens_per_second: None };
        let advice = escalation(&spend, &hardware, has_report);
        assert_eq!(advice.next, next, "{dollars_in_30_days}: {advice:?}");
        advice
    }

    #[test]
    fn moving_pays_once_requests_cost_more_than_the_hardware() {
        check(0, false, NextStep::Stay);
        check(300, false, NextStep::Stay);
        check(400, true, NextStep::Watch);
        let advice = check(1_440, false, NextStep::Replay);
        assert_eq!(advice.spend_per_month_nanos, 1_460 * DOLLAR_NANOS);
        assert_eq!(advice.hardware_per_month_nanos, 730 * DOLLAR_NANOS);
        assert_eq!(
            (advice.break_even_bps, advice.saves_per_month_nanos),
            (Some(5_000), 730 * DOLLAR_NANOS as i64)
        );
        check(1_440, true, NextStep::Move);
        assert_eq!(check(0, true, NextStep::Stay).break_even_bps, None);
    }

    #[test]
    fn tokens_need_as_many_machines_as_carry_them() {
        let spend = Spend { window_ms: 1_000, input_tokens: 2_500, cost_nanos: 1, ..Spend::default() };
        let hardware = Hardware { cost_per_hour_micros: 1, tokens_per_second: Some(1_000) };
        let advice = escalation(&spend, &hardware, false);
        assert_eq!((advice.machines, advice.hardware_per_month_nanos), (3, 3 * 730 * 1_000));
    }
}
