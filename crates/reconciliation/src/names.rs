//! Which model an export's name means: dated names, usage types and meter names come to the catalogue's name.

use std::collections::HashMap;
use std::sync::Arc;

use catalogue::{Catalogue, Offer, Release, TierRates};
use domain::{Price, Rates, Tier, Units, Usage};
use providers::exports::Measure;

/// The models of one provider by their names in any spelling, with the prices in force.
pub struct Names {
    provider: String,
    /// By the words of the name; `None` where two models share them.
    sold: HashMap<String, Option<Sold>>,
    /// Of names that were looked up.
    found: HashMap<String, Arc<str>>,
}

#[derive(Clone)]
struct Sold {
    full: Arc<str>,
    offer: Offer,
    /// The price of a batch in percent of the standard price, for an offer without separate batch prices.
    batch_percent: Option<u16>,
}

/// What the catalogue says that a unit costs, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguePrice {
    pub price: Price,
    pub source: String,
}

impl Names {
    pub fn new(catalogue: &Catalogue, provider: &str) -> Self {
        let mut sold: HashMap<String, Option<Sold>> = HashMap::new();
        for model in catalogue.models() {
            let Some(offer) = model.offer(provider) else { continue };
            let mut spellings = vec![words(&offer.upstream_model), words(&model.name)];
            spellings.dedup();
            for spelling in spellings {
                let batch_percent = catalogue.batch_percent(provider, &offer.upstream_model);
                let new = Sold { full: Arc::clone(&model.full), offer: offer.clone(), batch_percent };
                let entry = sold.entry(spelling).or_insert_with(|| Some(new.clone()));
                if entry.as_ref().is_some_and(|old| old.full != new.full) {
                    *entry = None;
                }
            }
        }
        Self { provider: provider.to_owned(), sold, found: HashMap::new() }
    }

    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model that a name means: the catalogue's full name, or the name's own words.
    pub fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(found) = self.found.get(name) {
            return Arc::clone(found);
        }
        let spelling = words(name);
        let known = self.known(name);
        let key = known.map_or_else(|| Arc::from(spelling), |sold| Arc::clone(&sold.full));
        self.found.insert(name.to_owned(), Arc::clone(&key));
        key
    }

    /// Whether the catalogue knows the model that a name means.
    pub fn knows(&self, name: &str) -> bool {
        self.known(name).is_some()
    }

    /// By the whole name, without its release, or without the day of a short date.
    fn known(&self, name: &str) -> Option<&Sold> {
        let base = Release::read(name).map(|(_, base)| words(base));
        let spelling = words(name);
        let of_day = |word: &&str| !(word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit()));
        let short: Vec<_> = spelling.split(' ').filter(of_day).collect();
        let tries = [Some(spelling.clone()), base, Some(short.join(" "))];
        tries.into_iter().flatten().find_map(|spelling| self.sold.get(&spelling)?.as_ref())
    }

    /// What the catalogue says that a unit of this measure costs now.
    pub fn price(&self, model: &str, tier: Option<Tier>, measure: Measure) -> Option<CataloguePrice> {
        let bare = model.split_once('/').map_or(model, |(_, bare)| bare);
        let sold = self.known(bare).filter(|sold| &*sold.full == model)?;
        let offer = &sold.offer;
        let special = tier.and_then(|tier| offer.tiers.iter().find(|price| price.tier == tier));
        let (rates, origin) = match special {
            None if tier == Some(Tier::Batch) => (offer.rates?.percent(sold.batch_percent?), &offer.origin),
            None => (offer.rates?, &offer.origin),
            Some(special) => match special.price {
                TierRates::Percent(percent) => (offer.rates?.percent(percent), &special.origin),
                TierRates::Rates(rates) => (rates, &special.origin),
            },
        };
        let price = price_of(&rates, measure)?;
        Some(CataloguePrice { price, source: origin.source.clone() })
    }
}

/// The price of one unit of a measure.
fn price_of(rates: &Rates, measure: Measure) -> Option<Price> {
    let one = Usage {
        input: 1,
        cached_read: 1,
        cache_write: 1,
        cache_write_long: 1,
        output: 1,
        units: Units {
            audio_in: 1,
            audio_out: 1,
            image_in: 1,
            image_out: 1,
            images: 1,
            audio_ms: 1,
            searches: 1,
            characters: 1,
            video_ms: 1,
            web_searches: 1,
            file_searches: 1,
            cache_token_hours: 1,
            ..Units::default()
        },
        ..Usage::default()
    };
    rates.lines(&one).iter().find(|line| Measure::of_class(line.class) == measure).map(|line| line.price)
}

/// Words that say where or as which version a model runs, not which it is.
const NOISE: [&str; 3] = ["latest", "preview", "v"];

/// The letters and numbers of a name, sorted: `Claude4.6Sonnet` and `us.anthropic.claude-sonnet-4-6-20260101-v1:0` are the same.
fn words(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let name = name.strip_suffix("-v1").unwrap_or(name);
    let mut name = name;
    // Regions and publishers before a full stop are of letters alone.
    while let Some((before, rest)) = name.split_once('.') {
        if before.is_empty() || !before.bytes().all(|byte| byte.is_ascii_lowercase()) {
            break;
        }
        name = rest;
    }
    let mut runs: Vec<String> = Vec::new();
    let mut last = None;
    for letter in name.chars() {
        let kind = (letter.is_alphanumeric(), letter.is_ascii_digit());
        match runs.last_mut() {
            Some(run) if last == Some(kind) && kind.0 => run.push(letter),
            _ if kind.0 => runs.push(letter.to_string()),
            _ => {}
        }
        last = Some(kind);
    }
    let is_date = |run: &str| run.len() == 8 && run.starts_with("20");
    runs.retain(|run| !NOISE.contains(&run.as_str()) && !is_date(run));
    runs.sort_unstable();
    runs.join(" ")
}
