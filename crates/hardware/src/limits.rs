//! What a stated cost is at most; a number above it is a typing error.

/// A million USD an hour.
pub const NANO_USD_PER_HOUR_MAX: u64 = 1_000_000_000_000_000;
/// A billion USD.
pub const PRICE_NANO_USD_MAX: u64 = 1_000_000_000_000_000_000;
/// Fifty years.
pub const MONTHS_MAX: u32 = 600;
/// A megawatt.
pub const WATTS_MAX: u32 = 1_000_000;
/// A thousand USD a kilowatt-hour.
pub const NANO_USD_PER_KWH_MAX: u64 = 1_000_000_000_000;
/// The hours that what a node counted while it was away is spread over: a month.
pub const SPREAD_HOURS_MAX: u64 = 31 * 24;
