//! The rate at which amounts in US dollars are shown in pounds, as the operator states it.

use domain::money::round_half_even;

const MICROS: i128 = 1_000_000;
const MICROS_PER_PENNY: i128 = 10_000;

/// Pounds per dollar, and the day that this is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoundRate {
    /// In millionths.
    micros: u32,
    /// As the operator wrote it.
    pub text: String,
    /// A date, such as 2026-11-26.
    pub day: String,
}

impl PoundRate {
    /// A rate with at most six decimals, above zero and below a thousand; `None` of anything else.
    pub fn read(text: &str, day: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || part.len() > 6 || !is_plain(whole) || !is_plain(part) {
            return None;
        }
        let micros: u32 = format!("{whole}{part:0<6}").parse().ok()?;
        (micros > 0).then(|| Self { micros, text: text.to_owned(), day: day.to_owned() })
    }

    /// Millionths of a pound, rounded once, half to even.
    pub fn micros_of(&self, micro_usd: i64) -> i64 {
        self.converted(micro_usd, MICROS)
    }

    /// Pence of the same amount, rounded once, half to even.
    pub fn pence_of(&self, micro_usd: i64) -> i64 {
        self.converted(micro_usd, MICROS * MICROS_PER_PENNY)
    }

    fn converted(&self, micro_usd: i64, divisor: i128) -> i64 {
        let product = i128::from(micro_usd) * i128::from(self.micros);
        i64::try_from(round_half_even(product, divisor)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_an_exact_decimal() {
        for (text, micros) in [
            ("0.7431", Some(743_100)),
            ("1", Some(1_000_000)),
            ("0.000001", Some(1)),
            ("999.999999", Some(999_999_999)),
        ] {
            assert_eq!(PoundRate::read(text, "2026-11-26").map(|rate| rate.micros), micros, "{text}");
        }
        for wrong in ["", ".", ".7", "0", "0.0000001", "-1", "1e3", "1,5", "1000", "0.74 "] {
            assert_eq!(PoundRate::read(wrong, "2026-11-26"), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_rounded_once_and_half_to_even() {
        let rate = |text| PoundRate::read(text, "2026-11-26").unwrap();
        let half = rate("0.5");
        assert_eq!([1, 3, 5, -1, -3].map(|micros| half.micros_of(micros)), [0, 2, 2, 0, -2]);
        assert_eq!([30_000, 10_000, 50_000].map(|micros| half.pence_of(micros)), [2, 0, 2]);
        assert_eq!(rate("0.7431").micros_of(1_000_000), 743_100);
        assert_eq!(rate("999.999999").micros_of(i64::MAX / 1_000), 9_223_372_027_631_402_963);
    }
}
