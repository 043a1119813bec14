//! Money as integers: a price is micro-USD per million units, so that one unit times one price is exact in
//! pico-USD.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reuse::InputCost;
use crate::usage::{BILLED, CACHE_TOKEN_HOURS, FILE_SEARCHES, Units, Usage, VIDEO_MS, WEB_SEARCHES};

/// Billionths of a USD: what the ledger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Nanos(pub i64);

impl Nanos {
    pub const ZERO: Self = Self(0);

    /// Adds, saturating: a total at the edge of 64 bits stays there and is visibly wrong, instead of wrapping
    /// to a small one.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Micro-USD, rounded once, half to even.
    pub fn micros(self) -> i64 {
        i64::try_from(round_half_even(i128::from(self.0), 1_000)).unwrap_or(i64::MAX)
    }

    /// Micro-USD of a sum that is shown beside a part of it. The part and the rest are rounded each, so that they add up to what is
    /// shown of the sum, and the rest is the same wherever it is shown.
    pub fn micros_beside(self, part: Self) -> i64 {
        part.micros().saturating_add(Self(self.0.saturating_sub(part.0)).micros())
    }
}

impl fmt::Display for Nanos {
    /// US dollars for people: cents, and what is less than a dollar to the millionth.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        let sign = if micros < 0 { "-" } else { "" };
        let size = micros.unsigned_abs();
        if size >= PER_ONE {
            let cents = size.saturating_add(MICROS_PER_CENT / 2) / MICROS_PER_CENT;
            return write!(f, "{sign}${}.{:02}", cents / 100, cents % 100);
        }
        let digits = format!("{size:06}");
        let known = digits.trim_end_matches('0');
        write!(f, "{sign}$0.{known:0<2}")
    }
}

impl From<Price> for Nanos {
    /// For a price of the thing itself (a month, for example), not of a million units.
    fn from(price: Price) -> Self {
        Self(i64::try_from(i128::from(price.0) * 1_000).unwrap_or(i64::MAX))
    }
}

impl std::ops::Neg for Nanos {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl std::iter::Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Self::plus)
    }
}

const MS_PER_MINUTE: u64 = 60_000;
const PER_ONE: u64 = 1_000_000;
const MICROS_PER_CENT: u64 = PER_ONE / 100;
const PER_THOUSAND: u64 = 1_000;

/// Micro-USD per million units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Price(pub u64);

impl Price {
    /// The cost of `units`: exact in pico-USD, rounded once to nano-USD, half to even.
    pub fn of(self, units: u64) -> Nanos {
        line_nanos(units, self)
    }

    /// From micro-USD per unit.
    pub const fn of_one(micros: u64) -> Self {
        Self(micros.saturating_mul(PER_ONE))
    }

    /// From micro-USD per thousand units.
    pub const fn of_thousand(micros: u64) -> Self {
        Self(micros.saturating_mul(PER_THOUSAND))
    }

    /// From micro-USD per minute, counted in milliseconds; rounded to the nearest.
    pub const fn of_minute(micros: u64) -> Self {
        Self(micros.saturating_mul(PER_ONE).saturating_add(MS_PER_MINUTE / 2) / MS_PER_MINUTE)
    }

    /// From micro-USD per second, counted in milliseconds.
    pub const fn of_second(micros: u64) -> Self {
        Self(micros.saturating_mul(PER_THOUSAND))
    }

    /// `percent` per cent of the price, rounded half up.
    pub const fn percent(self, percent: u16) -> Self {
        Self(self.0.saturating_mul(percent as u64).saturating_add(50) / 100)
    }

    /// Micro-USD per unit.
    pub const fn for_one(self) -> u64 {
        self.0 / PER_ONE
    }

    /// Micro-USD per thousand units.
    pub const fn for_thousand(self) -> u64 {
        self.0 / PER_THOUSAND
    }

    /// Micro-USD per second, counted in milliseconds.
    pub const fn for_second(self) -> u64 {
        self.0 / PER_THOUSAND
    }

    /// Micro-USD per minute, counted in milliseconds.
    pub const fn for_minute(self) -> u64 {
        self.0.saturating_mul(MS_PER_MINUTE).saturating_add(PER_ONE / 2) / PER_ONE
    }
}

/// The prices of one offer. A token class without its own price falls back as its field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "RatesForm", into = "RatesForm")]
pub struct Rates {
    pub input: Price,
    pub output: Price,
    /// Cached reads; the input price if unset.
    pub cached_read: Option<Price>,
    /// Cache writes that last five minutes (Anthropic) or the default time; the input price if unset.
    pub cache_write: Option<Price>,
    /// Cache writes that last an hour or longer; the `cache_write` price if unset.
    pub cache_write_long: Option<Price>,
    /// Reasoning tokens; the output price if unset.
    pub reasoning: Option<Price>,
    /// Everything that is not a text token.
    pub units: UnitRates,
}

/// Prices per unit of everything that is not a text token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UnitRates {
    /// Audio tokens in the prompt; the input price if unset.
    pub audio_in: Option<Price>,
    /// Audio tokens in the answer; the output price if unset.
    pub audio_out: Option<Price>,
    /// Image tokens in the prompt; the input price if unset.
    pub image_in: Option<Price>,
    /// Image tokens in the answer; the output price if unset.
    pub image_out: Option<Price>,
    pub image: Option<Price>,
    /// A millisecond of transcribed audio.
    pub audio_ms: Option<Price>,
    pub search: Option<Price>,
    pub character: Option<Price>,
    /// A millionth of the provider's own billing unit for a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed: Option<Price>,
    /// A millisecond of generated video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_ms: Option<Price>,
    /// A web search that the provider runs for an answer, billed on top of its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_search: Option<Price>,
    /// A search of stored files, billed likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_search: Option<Price>,
    /// A token that is stored in a cache by name for an hour, billed on top of its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_token_hour: Option<Price>,
}

impl UnitRates {
    /// Whether there is a price for anything that is not counted in tokens.
    pub const fn has_counts(&self) -> bool {
        self.image.is_some()
            || self.audio_ms.is_some()
            || self.search.is_some()
            || self.character.is_some()
            || self.billed.is_some()
            || self.video_ms.is_some()
    }
}

impl Rates {
    /// The cost of `usage` at these prices: each line is exact in pico-USD and rounded once to nano-USD, half
    /// to even.
    pub fn cost(&self, usage: &Usage) -> Nanos {
        let priced = self.tokens(usage).chain(self.priced_units(&usage.units));
        priced.map(|(_, units, price)| line_nanos(units, price)).sum()
    }

    /// Each price, times `percent` per cent.
    pub fn percent(&self, percent: u16) -> Self {
        let of = |price: Option<Price>| price.map(|price| price.percent(percent));
        let units = &self.units;
        Self {
            input: self.input.percent(percent),
            output: self.output.percent(percent),
            cached_read: of(self.cached_read),
            cache_write: of(self.cache_write),
            cache_write_long: of(self.cache_write_long),
            reasoning: of(self.reasoning),
            units: UnitRates {
                audio_in: of(units.audio_in),
                audio_out: of(units.audio_out),
                image_in: of(units.image_in),
                image_out: of(units.image_out),
                image: of(units.image),
                audio_ms: of(units.audio_ms),
                search: of(units.search),
                character: of(units.character),
                billed: of(units.billed),
                video_ms: of(units.video_ms),
                // Tool fees are the same at every tier.
                web_search: units.web_search,
                file_search: units.file_search,
                cache_token_hour: units.cache_token_hour,
            },
        }
    }

    /// The prices of tokens with a markup; other prices as they are.
    pub fn with_markup(self, markup_bps: u32) -> Self {
        let marked = |price: Price| Price(u64::try_from(marked_up(price.0, markup_bps)).unwrap_or(u64::MAX));
        Self {
            input: marked(self.input),
            output: marked(self.output),
            cached_read: self.cached_read.map(marked),
            cache_write: self.cache_write.map(marked),
            cache_write_long: self.cache_write_long.map(marked),
            reasoning: self.reasoning.map(marked),
            units: self.units,
        }
    }

    /// The receipt: one line for each class that was used.
    pub fn lines(&self, usage: &Usage) -> Vec<LineItem> {
        let line = |is_unit| {
            move |(class, units, price)| {
                let nanos = line_nanos(units, price);
                LineItem { class, is_unit, units, price, nanos }
            }
        };
        self.tokens(usage).map(line(false)).chain(self.priced_units(&usage.units).map(line(true))).collect()
    }

    /// What the prompt costs, and would cost without caches. `processed` is the sum of the receipt's lines of
    /// the prompt.
    pub fn input_cost(&self, usage: &Usage) -> InputCost {
        let mut sum = InputCost::default();
        for (class, units, price) in self.tokens(usage) {
            let (is_cached, is_write) = match class {
                "input" | "audio_in" | "image_in" => (false, false),
                "cached_read" => (true, false),
                "cache_write" | "cache_write_long" => (true, true),
                _ => continue,
            };
            let processed = line_nanos(units, price);
            let gross = if is_cached { line_nanos(units, self.input) } else { processed };
            let write_premium =
                if is_write { Nanos(processed.0.saturating_sub(gross.0)) } else { Nanos::ZERO };
            sum = sum.plus(InputCost { gross, processed, write_premium });
        }
        sum
    }

    /// Whether these prices cover `usage`: its tokens or its units. A provider counts the same work in one of
    /// the two ways, so one price is enough.
    pub const fn has_price_for(&self, usage: &Usage) -> bool {
        let units = &usage.units;
        let has_count = (units.images > 0 && self.units.image.is_some())
            || (units.audio_ms > 0 && self.units.audio_ms.is_some())
            || (units.searches > 0 && self.units.search.is_some())
            || (units.characters > 0 && self.units.character.is_some())
            || (units.billed > 0 && self.units.billed.is_some())
            || (units.video_ms > 0 && self.units.video_ms.is_some())
            || (units.cache_token_hours > 0 && self.units.cache_token_hour.is_some());
        has_count || (usage.has_tokens() && self.are_of_tokens())
    }

    /// Whether everything that the provider bills on top of tokens has a price here: hosted tools, and storage.
    pub const fn has_price_for_extras(&self, units: &Units) -> bool {
        units.hosted_calls == 0
            && (units.web_searches == 0 || self.units.web_search.is_some())
            && (units.file_searches == 0 || self.units.file_search.is_some())
            && (units.cache_token_hours == 0 || self.units.cache_token_hour.is_some())
    }

    /// Whether the sound and the pictures that a model heard, spoke and drew in a conversation have prices here. A model
    /// that chats is sold at one price of what it reads, pictures included, and providers state it apart where sound,
    /// or anything written but text, costs something else.
    pub const fn has_price_for_media(&self, units: &Units) -> bool {
        (units.audio_in == 0 || self.units.audio_in.is_some())
            && (units.audio_out == 0 || self.units.audio_out.is_some())
            && (units.image_out == 0 || self.units.image_out.is_some())
    }

    /// Whether tokens have a price: not if the only price is one per unit.
    pub const fn are_of_tokens(&self) -> bool {
        self.input.0 > 0 || self.output.0 > 0 || !self.units.has_counts()
    }

    /// The token classes that were used, each with its count and price.
    fn tokens(&self, usage: &Usage) -> impl Iterator<Item = (&'static str, u64, Price)> {
        let write = self.cache_write.unwrap_or(self.input);
        let write_long = self.cache_write_long.unwrap_or(write);
        [
            ("input", usage.input, self.input),
            ("cached_read", usage.cached_read, self.cached_read.unwrap_or(self.input)),
            ("cache_write", usage.cache_write, write),
            ("cache_write_long", usage.cache_write_long, write_long),
            ("output", usage.output, self.output),
            ("reasoning", usage.reasoning, self.reasoning.unwrap_or(self.output)),
            ("audio_in", usage.units.audio_in, self.units.audio_in.unwrap_or(self.input)),
            ("audio_out", usage.units.audio_out, self.units.audio_out.unwrap_or(self.output)),
            ("image_in", usage.units.image_in, self.units.image_in.unwrap_or(self.input)),
            ("image_out", usage.units.image_out, self.units.image_out.unwrap_or(self.output)),
        ]
        .into_iter()
        .filter(|(_, units, _)| *units > 0)
    }

    /// The units that were used and have a price.
    fn priced_units(&self, units: &Units) -> impl Iterator<Item = (&'static str, u64, Price)> {
        [
            ("images", units.images, self.units.image),
            ("audio_ms", units.audio_ms, self.units.audio_ms),
            ("searches", units.searches, self.units.search),
            ("characters", units.characters, self.units.character),
            ("billed_micro_units", units.billed, self.units.billed),
            ("video_ms", units.video_ms, self.units.video_ms),
            ("web_searches", units.web_searches, self.units.web_search),
            ("file_searches", units.file_searches, self.units.file_search),
            ("cache_token_hours", units.cache_token_hours, self.units.cache_token_hour),
        ]
        .into_iter()
        .filter_map(|(class, units, price)| Some((class, units, price?)))
        .filter(|(_, units, _)| *units > 0)
    }
}

/// The serialised form in records. Without unit prices the bytes are the same as before there were any: the
/// last field says whether unit prices follow, and whether prices of units that were added later follow
/// those, each by its unit's number.
#[derive(Serialize, Deserialize)]
struct RatesForm {
    input: Price,
    output: Price,
    cached_read: Option<Price>,
    cache_write: Option<Price>,
    cache_write_long: Option<Price>,
    reasoning: ReasoningForm,
}

/// The first two variants are numbered as those of an `Option`.
#[derive(Serialize, Deserialize)]
enum ReasoningForm {
    None,
    Some(Price),
    NoneWith(FirstUnitRates),
    SomeWith(Price, FirstUnitRates),
    NoneAnd(FirstUnitRates, Vec<(u8, Price)>),
    SomeAnd(Price, FirstUnitRates, Vec<(u8, Price)>),
}

/// The prices of the units that the first version of the form had.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct FirstUnitRates {
    audio_in: Option<Price>,
    audio_out: Option<Price>,
    image_in: Option<Price>,
    image_out: Option<Price>,
    image: Option<Price>,
    audio_ms: Option<Price>,
    search: Option<Price>,
    character: Option<Price>,
}

impl UnitRates {
    fn apart(self) -> (FirstUnitRates, Vec<(u8, Price)>) {
        let Self { audio_in, audio_out, image_in, image_out, image, audio_ms, search, character, .. } = self;
        let first =
            FirstUnitRates { audio_in, audio_out, image_in, image_out, image, audio_ms, search, character };
        let later = [
            (BILLED, self.billed),
            (VIDEO_MS, self.video_ms),
            (WEB_SEARCHES, self.web_search),
            (FILE_SEARCHES, self.file_search),
            (CACHE_TOKEN_HOURS, self.cache_token_hour),
        ];
        (first, later.into_iter().filter_map(|(number, price)| Some((number, price?))).collect())
    }

    fn of(first: FirstUnitRates, later: &[(u8, Price)]) -> Self {
        let FirstUnitRates { audio_in, audio_out, image_in, image_out, image, audio_ms, search, character } =
            first;
        let price = |of| later.iter().find(|(number, _)| *number == of).map(|(_, price)| *price);
        Self {
            audio_in,
            audio_out,
            image_in,
            image_out,
            image,
            audio_ms,
            search,
            character,
            billed: price(BILLED),
            video_ms: price(VIDEO_MS),
            web_search: price(WEB_SEARCHES),
            file_search: price(FILE_SEARCHES),
            cache_token_hour: price(CACHE_TOKEN_HOURS),
        }
    }
}

impl From<Rates> for RatesForm {
    fn from(rates: Rates) -> Self {
        let units = Some(rates.units).filter(|units| *units != UnitRates::default());
        let reasoning = match (rates.reasoning, units) {
            (None, None) => ReasoningForm::None,
            (Some(price), None) => ReasoningForm::Some(price),
            (None, Some(units)) => match units.apart() {
                (first, later) if later.is_empty() => ReasoningForm::NoneWith(first),
                (first, later) => ReasoningForm::NoneAnd(first, later),
            },
            (Some(price), Some(units)) => match units.apart() {
                (first, later) if later.is_empty() => ReasoningForm::SomeWith(price, first),
                (first, later) => ReasoningForm::SomeAnd(price, first, later),
            },
        };
        let Rates { input, output, cached_read, cache_write, cache_write_long, .. } = rates;
        Self { input, output, cached_read, cache_write, cache_write_long, reasoning }
    }
}

impl From<RatesForm> for Rates {
    fn from(form: RatesForm) -> Self {
        let (reasoning, units) = match form.reasoning {
            ReasoningForm::None => (None, UnitRates::default()),
            ReasoningForm::Some(price) => (Some(price), UnitRates::default()),
            ReasoningForm::NoneWith(first) => (None, UnitRates::of(first, &[])),
            ReasoningForm::SomeWith(price, first) => (Some(price), UnitRates::of(first, &[])),
            ReasoningForm::NoneAnd(first, later) => (None, UnitRates::of(first, &later)),
            ReasoningForm::SomeAnd(price, first, later) => (Some(price), UnitRates::of(first, &later)),
        };
        let RatesForm { input, output, cached_read, cache_write, cache_write_long, .. } = form;
        Self { input, output, cached_read, cache_write, cache_write_long, reasoning, units }
    }
}

/// One line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineItem {
    pub class: &'static str,
    /// It counts units, not tokens.
    pub is_unit: bool,
    pub units: u64,
    pub price: Price,
    pub nanos: Nanos,
}

/// `amount` with a markup in basis points (100 = 1 %), rounded half to even.
pub fn with_markup(amount: Nanos, markup_bps: u32) -> Nanos {
    Nanos(i64::try_from(marked_up(amount.0, markup_bps)).unwrap_or(i64::MAX))
}

fn marked_up(amount: impl Into<i128>, markup_bps: u32) -> i128 {
    round_half_even(amount.into() * (10_000 + i128::from(markup_bps)), 10_000)
}

fn line_nanos(units: u64, price: Price) -> Nanos {
    let pico = i128::from(units) * i128::from(price.0);
    Nanos(i64::try_from(round_half_even(pico, 1_000)).unwrap_or(i64::MAX))
}

/// `value / divisor`, a tie going to the even neighbour. `divisor` is a positive constant.
pub fn round_half_even(value: i128, divisor: i128) -> i128 {
    let quotient = value.div_euclid(divisor);
    let twice = value.rem_euclid(divisor) * 2;
    let up = twice > divisor || (twice == divisor && quotient % 2 != 0);
    quotient + i128::from(up)
}
