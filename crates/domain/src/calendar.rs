//! Conversion between Unix time and the Gregorian calendar. Years are counted from March, so that the leap
//! day is a year's last day.

/// A date and time of day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    pub year: u64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
}

impl Civil {
    pub const fn of(unix_s: u64) -> Self {
        let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
        let (era, day) = (days / 146_097, days % 146_097);
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let is_of_last_year = if month <= 2 { 1 } else { 0 };
        Self {
            year: year_of_era + era * 400 + is_of_last_year,
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            hour: second / 3_600,
            minute: second / 60 % 60,
            second: second % 60,
        }
    }

    /// Seconds since 1970; `None` for a date that does not exist, or before 1970.
    pub fn unix_s(self) -> Option<u64> {
        let Self { year, month, day, hour, minute, second } = self;
        if !(1_970..=9_999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let (year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let day_of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
        let unix_s = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second;
        (Self::of(unix_s) == self).then_some(unix_s)
    }
}
