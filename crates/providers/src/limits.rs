//! What a provider's answer may say, beside the limits in `domain::limits`.

/// Calls in one probe, so that no server can keep it going.
pub(crate) const PROBE_CALLS_MAX: u32 = 20;
/// Length of a path in a provider's queue.
pub(crate) const QUEUE_PATH_BYTES_MAX: usize = 160;
/// Rows or documents of an export: ten times a busy month of single requests.
pub(crate) const EXPORT_LINES_MAX: u64 = 10_000_000;
/// Bytes of an export's JSON, which is read document by document.
pub(crate) const EXPORT_BYTES_MAX: u64 = 16 << 30;
/// Digits of a number in an export: enough for a billion dollars to the pico.
pub(crate) const EXPORT_DIGITS_MAX: usize = 40;
pub(crate) const EXPORT_EXPONENT_MAX: i32 = 30;
/// A billion dollars, in pico-USD.
pub(crate) const EXPORT_PICOS_MAX: i128 = 1_000_000_000 * 1_000_000_000_000;
/// Units of one line: as many tokens as no month has.
pub(crate) const EXPORT_UNITS_MAX: i128 = 1_000_000_000_000_000_000;
/// How much of a wrong value an error repeats.
pub(crate) const WRONG_VALUE_CHARS_MAX: usize = 60;
