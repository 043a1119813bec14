//! The cost that a node's owner states, and what it comes to over a period.

use domain::Nanos;
use domain::money::round_half_even;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hours::Counts;
use crate::limits::{MONTHS_MAX, NANO_USD_PER_HOUR_MAX, NANO_USD_PER_KWH_MAX, PRICE_NANO_USD_MAX, WATTS_MAX};

const HOUR_MS: i128 = 3_600_000;
/// A twelfth of 365.25 days.
const MONTH_MS: i128 = 2_629_800_000;
/// Millijoules of a kilowatt-hour.
const MJ_PER_KWH: i128 = 3_600_000_000;

/// What a node's machine costs its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HardwareCost {
    /// Rented by the hour: paid for the hours that it is up.
    Cloud {
        #[schemars(range(max = NANO_USD_PER_HOUR_MAX))]
        nano_usd_per_hour: u64,
    },
    /// Bought: its price is spread evenly over `months`, whether it is up or not.
    Owned {
        #[schemars(range(max = PRICE_NANO_USD_MAX))]
        price_nano_usd: u64,
        #[schemars(range(min = 1, max = MONTHS_MAX))]
        months: u32,
        /// What it draws while it is up and serves nothing; by default `watts_busy`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(max = WATTS_MAX))]
        watts_idle: Option<u32>,
        /// What it draws while it serves; by default `watts_idle`. Without both, the energy that the node measures counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(max = WATTS_MAX))]
        watts_busy: Option<u32>,
        /// Without it, power costs nothing here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(max = NANO_USD_PER_KWH_MAX))]
        nano_usd_per_kwh: Option<u64>,
    },
}

/// The field of a stated cost that is out of range, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongCost {
    pub field: &'static str,
    pub takes: String,
}

/// What a node cost over a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardwareSpent {
    pub machine: Nanos,
    pub power: Power,
}

/// What its power cost, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    /// In the price of the machine, or not priced separately.
    #[default]
    NotCounted,
    /// A kilowatt-hour has a price, but neither are watts stated nor is energy measured.
    Unknown,
    /// By the stated watts.
    Stated(Nanos),
    /// By the energy that the node measured.
    Measured(Nanos),
}

impl Power {
    pub const fn cost(self) -> Option<Nanos> {
        match self {
            Self::NotCounted | Self::Unknown => None,
            Self::Stated(cost) | Self::Measured(cost) => Some(cost),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotCounted => "not_counted",
            Self::Unknown => "unknown",
            Self::Stated(_) => "stated",
            Self::Measured(_) => "measured",
        }
    }
}

impl HardwareSpent {
    pub fn total(self) -> Nanos {
        self.machine.plus(self.power.cost().unwrap_or_default())
    }
}

impl HardwareCost {
    /// # Errors
    /// A number that is out of range.
    pub fn checked(self) -> Result<Self, WrongCost> {
        let within = |field: &'static str, value: u64, max: u64| {
            if value <= max { Ok(()) } else { Err(WrongCost { field, takes: format!("at most {max}") }) }
        };
        match self {
            Self::Cloud { nano_usd_per_hour } => {
                within("nano_usd_per_hour", nano_usd_per_hour, NANO_USD_PER_HOUR_MAX)?;
            }
            Self::Owned { price_nano_usd, months, watts_idle, watts_busy, nano_usd_per_kwh } => {
                within("price_nano_usd", price_nano_usd, PRICE_NANO_USD_MAX)?;
                if months == 0 {
                    return Err(WrongCost { field: "months", takes: format!("1 to {MONTHS_MAX}") });
                }
                within("months", months.into(), MONTHS_MAX.into())?;
                within("watts_idle", watts_idle.unwrap_or(0).into(), WATTS_MAX.into())?;
                within("watts_busy", watts_busy.unwrap_or(0).into(), WATTS_MAX.into())?;
                within("nano_usd_per_kwh", nano_usd_per_kwh.unwrap_or(0), NANO_USD_PER_KWH_MAX)?;
            }
        }
        Ok(self)
    }

    /// What an hour costs in which the node serves all the time; without stated watts, the machine alone.
    pub fn busy_hour(self) -> Nanos {
        let hour = Counts {
            up_ms: crate::HOUR_MS,
            counted_ms: crate::HOUR_MS,
            busy_ms: crate::HOUR_MS,
            ..Counts::default()
        };
        self.over(crate::HOUR_MS, &hour).total()
    }

    /// What an hour comes to on average, by what the node counted; a busy one where it counted nothing.
    pub fn average_hour(self, counts: &Counts) -> Nanos {
        if counts.up_ms == 0 {
            return self.busy_hour();
        }
        let spent = i128::from(self.over(counts.up_ms, counts).total().0);
        Nanos(i64::try_from(spent * HOUR_MS / i128::from(counts.up_ms)).unwrap_or(i64::MAX))
    }

    /// What it comes to over a period of this length in which the node counted this.
    pub fn over(self, period_ms: u64, counts: &Counts) -> HardwareSpent {
        match self {
            Self::Cloud { nano_usd_per_hour } => HardwareSpent {
                machine: part_of(nano_usd_per_hour, counts.up_ms.into(), HOUR_MS),
                power: Power::NotCounted,
            },
            Self::Owned { price_nano_usd, months, watts_idle, watts_busy, nano_usd_per_kwh } => {
                let life_ms = i128::from(months.max(1)) * MONTH_MS;
                // A machine that is paid off costs nothing more, but a period never is that long in practice.
                let machine = part_of(price_nano_usd, i128::from(period_ms).min(life_ms), life_ms);
                let watts = watts_idle.or(watts_busy).zip(watts_busy.or(watts_idle));
                let power = match (nano_usd_per_kwh, watts) {
                    (None, _) => Power::NotCounted,
                    (Some(price), Some(watts)) => {
                        Power::Stated(part_of(price, drawn_mj(watts, counts), MJ_PER_KWH))
                    }
                    (Some(price), None) => counts.energy_mj().map_or(Power::Unknown, |energy_mj| {
                        Power::Measured(part_of(price, energy_mj.into(), MJ_PER_KWH))
                    }),
                };
                HardwareSpent { machine, power }
            }
        }
    }
}

/// The energy by stated watts. Where the node does not count its busy time, it counts as busy.
fn drawn_mj((idle, busy): (u32, u32), counts: &Counts) -> i128 {
    let up_ms = i128::from(counts.up_ms);
    let busy_ms = match counts.counted_ms {
        0 => up_ms,
        counted_ms => up_ms * i128::from(counts.busy_ms.min(counted_ms)) / i128::from(counted_ms),
    };
    // A watt for a millisecond is a millijoule.
    busy_ms * i128::from(busy) + (up_ms - busy_ms) * i128::from(idle)
}

fn part_of(nanos: u64, part: i128, whole: i128) -> Nanos {
    let product = i128::from(nanos).saturating_mul(part);
    Nanos(i64::try_from(round_half_even(product, whole)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD: u64 = 1_000_000_000;
    const DAY_MS: u64 = 24 * 3_600_000;

    fn owned(
        watts_idle: Option<u32>,
        watts_busy: Option<u32>,
        nano_usd_per_kwh: Option<u64>,
    ) -> HardwareCost {
        HardwareCost::Owned {
            price_nano_usd: 2_400 * USD,
            months: 36,
            watts_idle,
            watts_busy,
            nano_usd_per_kwh,
        }
    }

    fn up(up_ms: u64, busy_ms: u64) -> Counts {
        Counts { up_ms, counted_ms: up_ms, busy_ms, ..Counts::default() }
    }

    #[test]
    fn a_rented_machine_costs_its_hours_and_a_bought_one_its_time() {
        let cloud = HardwareCost::Cloud { nano_usd_per_hour: 1_200_000_000 };
        assert_eq!(cloud.over(DAY_MS, &up(90 * 60_000, 0)).total(), Nanos(1_800_000_000));
        assert_eq!(cloud.over(DAY_MS, &Counts::default()).total(), Nanos::ZERO);
        // 36 months are 1,095.75 days.
        let day = owned(None, None, None).over(DAY_MS, &Counts::default());
        assert_eq!((day.total(), day.power), (Nanos(2_190_280_630), Power::NotCounted));
        let life = owned(None, None, None).over(u64::MAX, &Counts::default());
        assert_eq!(life.total(), Nanos(2_400_000_000_000), "no more than its price");
    }

    #[test]
    fn an_hour_of_serving_has_its_share_of_the_price_and_its_power() {
        assert_eq!(HardwareCost::Cloud { nano_usd_per_hour: 1_200 }.busy_hour(), Nanos(1_200));
        assert_eq!(
            HardwareCost::Cloud { nano_usd_per_hour: 1_200 }.average_hour(&up(30 * 60_000, 0)),
            Nanos(1_200)
        );
        let machine = owned(None, None, None).busy_hour();
        let powered = owned(Some(100), Some(350), Some(300_000_000)).busy_hour();
        assert_eq!(machine, Nanos(91_261_693));
        assert_eq!(powered, machine.plus(Nanos(105_000_000)), "350 watts");
    }

    #[test]
    fn power_is_by_stated_watts_then_by_what_was_measured_and_else_unknown() {
        let kwh = Some(300_000_000);
        let hour = up(3_600_000, 1_800_000);
        let power = |cost: HardwareCost, counts: &Counts| cost.over(0, counts).power;
        assert_eq!(power(owned(Some(100), Some(350), kwh), &hour), Power::Stated(Nanos(67_500_000)));
        assert_eq!(power(owned(None, Some(350), kwh), &hour), Power::Stated(Nanos(105_000_000)));
        let uncounted = Counts { counted_ms: 0, busy_ms: 0, ..hour };
        assert_eq!(power(owned(Some(100), Some(350), kwh), &uncounted), Power::Stated(Nanos(105_000_000)));
        assert_eq!(power(owned(None, None, kwh), &hour), Power::Unknown);
        let measured = Counts { measured_ms: 3_600_000, measured_mj: 720_000_000, ..hour };
        assert_eq!(power(owned(None, None, kwh), &measured), Power::Measured(Nanos(60_000_000)));
        assert_eq!(power(owned(None, None, None), &measured), Power::NotCounted);
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let field = |cost: HardwareCost| cost.checked().unwrap_err().field;
        assert_eq!(field(HardwareCost::Cloud { nano_usd_per_hour: u64::MAX }), "nano_usd_per_hour");
        let months = |months| HardwareCost::Owned {
            price_nano_usd: 1,
            months,
            watts_idle: None,
            watts_busy: None,
            nano_usd_per_kwh: None,
        };
        assert_eq!((field(months(0)), field(months(601))), ("months", "months"));
        assert_eq!(field(owned(Some(WATTS_MAX + 1), None, None)), "watts_idle");
        assert_eq!(field(owned(None, None, Some(u64::MAX))), "nano_usd_per_kwh");
        assert!(months(600).checked().is_ok());
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in [
            r#"{"kind":"cloud","nano_usd_per_hour":1200000000}"#,
            r#"{"kind":"owned","price_nano_usd":5,"months":36,"watts_busy":350,"nano_usd_per_kwh":7}"#,
        ] {
            let cost: HardwareCost = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&cost).unwrap(), text);
        }
        assert!(
            serde_json::from_str::<HardwareCost>(r#"{"kind":"cloud","months":1,"nano_usd_per_hour":1}"#)
                .is_err()
        );
    }
}
