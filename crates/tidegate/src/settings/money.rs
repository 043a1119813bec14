//! Settings about money: when invoices are final, and the rate at which amounts are in pounds.

use std::time::Duration;

use api::pounds::PoundRate;
use reconcilers::moment;

use super::{Layers, SettingsError, span};

const RATE: &str = "stimulir.pounds_per_dollar";
const DAY: &str = "stimulir.pounds_day";

impl Layers {
    pub(super) fn invoice_grace(&self) -> Result<Duration, SettingsError> {
        self.parsed("invoice_grace_hours", "a number of hours from 0 to 672", |text| {
            span(text, 0..=672, 3_600)
        })
    }

    /// A rate says which day it is of: nobody could tell how old it is otherwise.
    pub(super) fn pounds(&self) -> Result<Option<PoundRate>, SettingsError> {
        let (rate, day) = (self.text(RATE).trim(), self.text(DAY).trim());
        if rate.is_empty() && day.is_empty() {
            return Ok(None);
        }
        if rate.is_empty() || day.is_empty() {
            return Err(SettingsError(format!("{RATE} and {DAY} are set together: one of them is missing.")));
        }
        if day.len() != "2026-11-26".len() || moment::read(day, DAY).is_err() {
            return Err(SettingsError(format!("{DAY} is \"{day}\"; it must be a date such as 2026-11-26.")));
        }
        let read = PoundRate::read(rate, day).ok_or_else(|| {
            SettingsError(format!(
                "{RATE} is \"{rate}\"; it must be a number above 0 and below 1000 with at most six decimals, such as 0.7431."
            ))
        })?;
        Ok(Some(read))
    }
}
