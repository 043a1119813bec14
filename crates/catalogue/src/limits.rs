//! Bounds that tell a mistake from data.

/// A price in micro-USD per million units: ten thousand USD; a larger number is a mistaken unit.
pub(crate) const PRICE_MAX: u64 = 10_000_000_000;
/// The price of a tier in per cent of the standard one; a tier that costs more is a mistaken unit.
pub(crate) const TIER_PERCENT_MAX: u16 = 1_000;
/// A name this much longer than any of ours is not a typing error; it also bounds the work.
pub(crate) const MISTYPED_CHARS_MAX: usize = 128;

/// Names of models that an operator may state facts of, at one provider.
pub(crate) const STATED_MODELS_MAX: usize = 200;

/// The source of a stated fact.
pub(crate) const SOURCE_CHARS_MAX: usize = 300;
