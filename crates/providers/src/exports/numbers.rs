//! Decimal numbers as exports write them, exactly: amounts in pico-USD, and quantities in whole units.

use crate::limits::{
    EXPORT_DIGITS_MAX as DIGITS_MAX, EXPORT_EXPONENT_MAX as EXPONENT_MAX, EXPORT_PICOS_MAX as PICOS_MAX,
    EXPORT_UNITS_MAX as UNITS_MAX,
};

/// Pico-USD of a nano-USD.
pub const PICOS_OF_NANO: i128 = 1_000;
/// Decimals of a pico-USD.
const PICO_DECIMALS: i32 = 12;
/// A decimal number: digits, of which the last `scale` are behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: i128,
    scale: i32,
    /// Decimals that it was written with, zeros included.
    written: i32,
}

impl Decimal {
    /// `1234.5`, `-0.06`, `1.5E-05`; no thousands separators, since they mean different things in different places.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // Digits that say nothing are cut, so that floats padded with zeros are read.
        let written = i32::try_from(part.len()).ok()?.saturating_sub(exponent);
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_digits = mantissa.bytes().any(|byte| byte.is_ascii_digit());
        if !has_digits || !is_number(whole) || !is_number(part) || exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let part = part.get(..part.len().min(DIGITS_MAX / 2))?;
        if whole.len() + part.len() > DIGITS_MAX - 2 {
            return None;
        }
        let digits: i128 = format!("0{whole}{part}").parse().ok()?;
        let scale = i32::try_from(part.len()).ok()?.checked_sub(exponent)?;
        Some(Self { digits: if is_negative { -digits } else { digits }, scale, written })
    }

    /// Times ten to the `power`, rounded half away from zero.
    fn scaled(self, power: i32) -> Option<i128> {
        let shift = power.checked_sub(self.scale)?;
        let factor = 10_i128.checked_pow(shift.unsigned_abs());
        match factor {
            Some(factor) if shift >= 0 => self.digits.checked_mul(factor),
            Some(factor) => Some((self.digits + self.digits.signum() * (factor / 2)) / factor),
            None if shift < 0 || self.digits == 0 => Some(0),
            None => None,
        }
    }

    /// As an amount whose unit is ten to the minus `cents` USD.
    pub fn picos(self, cents: i32) -> Option<i128> {
        self.scaled(PICO_DECIMALS - cents).filter(|picos| picos.abs() <= PICOS_MAX)
    }

    /// As a number of units that are stated by ten to the `thousands` of them.
    pub fn units(self, thousands: i32) -> Option<i64> {
        let units = self.scaled(thousands).filter(|units| units.abs() <= UNITS_MAX)?;
        i64::try_from(units).ok()
    }

    /// Decimals behind the point, as they were written.
    pub fn decimals(self) -> u8 {
        u8::try_from(self.written.clamp(0, PICO_DECIMALS)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        let picos = |text: &str| Decimal::read(text).and_then(|number| number.picos(0));
        for (text, expected) in [
            ("0.06", Some(60_000_000_000)),
            ("-0.06", Some(-60_000_000_000)),
            ("0.8958740000000000000000000000", Some(895_874_000_000)),
            ("1.5E-05", Some(15_000_000)),
            ("2e3", Some(2_000_000_000_000_000)),
            ("1e-30", Some(0)),
            (".5", Some(500_000_000_000)),
            ("000000000000000000000000000000000000000000000000.5", Some(500_000_000_000)),
            ("0", Some(0)),
            ("1,234.5", None),
            ("$5", None),
            ("", None),
            ("-", None),
            (".", None),
            ("NaN", None),
            ("1e99", None),
            ("1e30", None),
            ("99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(picos(text), expected, "{text}");
        }
        assert_eq!(Decimal::read("123.45").unwrap().picos(2), Some(1_234_500_000_000), "cents");
        assert_eq!(Decimal::read("35.1234").unwrap().units(3), Some(35_123), "thousands of tokens");
        assert_eq!(Decimal::read("0.0005").unwrap().units(3), Some(1), "half a token is rounded up");
        assert_eq!(Decimal::read("9e18").unwrap().units(0), None);
    }
}
