//! The prices of a provider's service tiers and hosted tools, each with its source.

use std::sync::Arc;

use domain::{HostedTool, Price, Rates, Tier};
use serde::Deserialize;

use crate::files::RatesRow;
use crate::limits::TIER_PERCENT_MAX;
use crate::source::{UNVERIFIED, is_day};

/// Where a price was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The address, or `unverified`.
    pub source: String,
    /// The day it was read there, or empty.
    pub checked: String,
    /// The date of the source itself, if it has one.
    pub as_of: Option<String>,
    /// The source repeats what others read at the provider's.
    pub is_third_hand: bool,
}

/// The price of a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierPrice {
    pub tier: Tier,
    pub price: TierRates,
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few dozen stand in the catalogue, and are read where they stand"
)]
pub enum TierRates {
    /// A percentage of the standard price, whatever that is.
    Percent(u16),
    /// Its own prices, for requests whose prompt is not long.
    Rates(Rates),
}

/// The price of a call of a hosted tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fee {
    pub tool: HostedTool,
    pub price: Price,
    pub origin: Origin,
}

/// The price of a token that is stored in a cache by name for an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStorage {
    pub price: Price,
    pub origin: Origin,
}

/// The fees of a provider, to be added to token prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fees {
    web_search: Option<Price>,
    file_search: Option<Price>,
}

impl Fees {
    pub fn of(rows: &[Fee]) -> Self {
        let of = |tool| rows.iter().find(|fee| fee.tool == tool).map(|fee| fee.price);
        Self { web_search: of(HostedTool::WebSearch), file_search: of(HostedTool::FileSearch) }
    }

    /// Whether a call of the tool has a price.
    pub const fn has_price_for(&self, tool: HostedTool) -> bool {
        match tool {
            HostedTool::WebSearch => self.web_search.is_some(),
            HostedTool::FileSearch => self.file_search.is_some(),
            HostedTool::WebSearchPreview
            | HostedTool::CodeExecution
            | HostedTool::ImageGeneration
            | HostedTool::Other => false,
        }
    }

    /// The prices with these fees added.
    pub const fn beside(&self, mut rates: Rates) -> Rates {
        rates.units.web_search = self.web_search;
        rates.units.file_search = self.file_search;
        rates
    }
}

/// The price of a tier, in the files: a share of the standard price, or its own prices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierRow {
    pub name: String,
    pub percent: Option<u16>,
    pub rates: Option<toml::Spanned<RatesRow>>,
    pub source: Option<String>,
    pub checked: Option<String>,
    pub as_of: Option<String>,
    #[serde(default)]
    pub third_hand: bool,
}

/// The price of storage, in the files: micro-USD per million tokens and hour.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageRow {
    pub per_million_token_hours: u64,
    pub source: Option<String>,
    pub checked: Option<String>,
    pub as_of: Option<String>,
    #[serde(default)]
    pub third_hand: bool,
}

/// The price of a tool, in the files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeeRow {
    pub tool: String,
    pub per_thousand_calls: u64,
    pub source: String,
    pub checked: String,
    pub as_of: Option<String>,
    #[serde(default)]
    pub third_hand: bool,
}

impl TierRow {
    pub fn read(
        self,
        absent: &str,
        rates_of: impl FnOnce(toml::Spanned<RatesRow>) -> Result<Rates, String>,
    ) -> Result<TierPrice, String> {
        let known = Tier::ALL.into_iter().find(|tier| tier.as_str() == self.name);
        let Some(tier) = known.filter(|tier| !matches!(tier, Tier::Standard | Tier::Other)) else {
            return Err(format!("\"{}\" isn't a tier that has a price beside the standard one", self.name));
        };
        let price = match (self.percent, self.rates) {
            (Some(percent), None) if percent <= TIER_PERCENT_MAX => TierRates::Percent(percent),
            (None, Some(rates)) => TierRates::Rates(rates_of(rates)?),
            _ => {
                return Err(format!(
                    "tier \"{}\" has either a percent, up to {TIER_PERCENT_MAX}, or rates",
                    self.name
                ));
            }
        };
        let source = self.source.unwrap_or_else(|| absent.to_owned());
        let origin = Origin {
            source,
            checked: self.checked.unwrap_or_default(),
            as_of: self.as_of,
            is_third_hand: self.third_hand,
        };
        origin.check(absent != UNVERIFIED).map_err(|wrong| format!("tier \"{}\" {wrong}", self.name))?;
        Ok(TierPrice { tier, price, origin })
    }
}

impl StorageRow {
    /// # Errors
    /// What is missing from the price.
    pub fn read(self, absent: &str) -> Result<CacheStorage, String> {
        let origin = Origin {
            source: self.source.unwrap_or_else(|| absent.to_owned()),
            checked: self.checked.unwrap_or_default(),
            as_of: self.as_of,
            is_third_hand: self.third_hand,
        };
        origin.check(absent != UNVERIFIED).map_err(|wrong| format!("cache_storage {wrong}"))?;
        Ok(CacheStorage { price: Price(self.per_million_token_hours), origin })
    }
}

impl FeeRow {
    pub fn read(self) -> Result<Fee, String> {
        let counted = [HostedTool::WebSearch, HostedTool::FileSearch];
        let tool = HostedTool::from_word(&self.tool).filter(|tool| counted.contains(tool));
        let Some(tool) = tool else {
            return Err(format!(
                "fee of \"{}\": only calls of web_search and file_search are counted",
                self.tool
            ));
        };
        let origin = Origin {
            source: self.source,
            checked: self.checked,
            as_of: self.as_of,
            is_third_hand: self.third_hand,
        };
        origin.check(false).map_err(|wrong| format!("fee of \"{}\" {wrong}", self.tool))?;
        Ok(Fee { tool, price: Price::of_thousand(self.per_thousand_calls), origin })
    }
}

impl Origin {
    /// # Errors
    /// What is missing from a price in our own files, or in an operator's.
    pub fn check(&self, is_operators: bool) -> Result<(), &'static str> {
        if self.as_of.as_deref().is_some_and(|day| !is_day(day)) {
            return Err("says as_of, which is a day, as \"2026-11-20\"");
        }
        if is_operators {
            return Ok(());
        }
        if self.source.is_empty() || self.source == UNVERIFIED {
            return Err("needs the source it was read at; else leave it out");
        }
        if !is_day(&self.checked) {
            return Err("needs the day it was checked, as \"2026-11-20\"");
        }
        if self.as_of.as_deref().is_some_and(|day| day > &*self.checked) {
            return Err("is of a later day than it was checked on");
        }
        Ok(())
    }
}

/// The tier prices of an offer, and its provider's for other tiers.
pub fn over(own: Vec<TierPrice>, below: &[TierPrice]) -> Arc<[TierPrice]> {
    let mut all = own;
    let more: Vec<_> =
        below.iter().filter(|row| all.iter().all(|own| own.tier != row.tier)).cloned().collect();
    all.extend(more);
    all.into()
}
