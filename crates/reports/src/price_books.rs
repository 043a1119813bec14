//! `/v2/price-books`: what models cost, each price with its source.

use std::sync::Arc;

use api::access::Access;
use api::reply::Reply;
use api::request::ApiRequest;
use api::router::{Handled, Route};
use api::state::Control;
use catalogue::{Model, Offer, Origin, ProviderFacts, TierPrice, TierRates};
use domain::{Price, Rates, UnitRates};
use http::Method;
use schemars::JsonSchema;
use serde::Serialize;

pub fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/v2/price-books", Access::LOOK, prices)
            .says("Lists the known models, their sellers and their prices.")
            .returns_value::<PriceBook>()
            .query("provider", "Only the offers of this provider."),
    ]
}

/// Models and their offers, as the running version knows them.
#[derive(Serialize, JsonSchema)]
struct PriceBook {
    object: &'static str,
    revision: String,
    data: Vec<PricedModel>,
    /// The prices of tools that providers run, in addition to tokens.
    fees: Vec<PricedTool>,
}

#[derive(Serialize, JsonSchema)]
struct PricedModel {
    model: String,
    modality: &'static str,
    context_tokens: Option<u64>,
    output_tokens_max: Option<u64>,
    offers: Vec<PricedOffer>,
}

#[derive(Serialize, JsonSchema)]
struct PricedOffer {
    provider: String,
    upstream_model: String,
    regions: Vec<String>,
    /// `null` if no price is known: unpriced.
    price: Option<Prices>,
    /// For requests whose prompt is longer than this many tokens.
    long_prompt: Option<LongPrompt>,
    /// The prices of service tiers other than the standard one.
    tiers: Vec<PricedTier>,
    /// What it costs to store a prompt in a cache by name; `null` if that is not known.
    cache_storage: Option<PricedStorage>,
    #[serde(flatten)]
    origin: OriginView,
    until: Option<String>,
}

/// The price of a million tokens stored for an hour.
#[derive(Serialize, JsonSchema)]
struct PricedStorage {
    micros_per_million_token_hours: u64,
    #[serde(flatten)]
    origin: OriginView,
}

/// The source of a price.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Origin")]
struct OriginView {
    source: String,
    /// The day when it was read there.
    checked: String,
    /// The date that the source itself states.
    as_of: Option<String>,
    /// The source repeats what it read at the seller's.
    third_hand: bool,
}

/// A tier: a share of the standard price, or prices of its own.
#[derive(Serialize, JsonSchema)]
struct PricedTier {
    tier: &'static str,
    percent: Option<u16>,
    price: Option<Prices>,
    #[serde(flatten)]
    origin: OriginView,
}

/// What a provider charges for a tool that it runs.
#[derive(Serialize, JsonSchema)]
struct PricedTool {
    provider: String,
    tool: &'static str,
    micros_per_thousand_calls: u64,
    #[serde(flatten)]
    origin: OriginView,
}

#[derive(Serialize, JsonSchema)]
struct LongPrompt {
    above_tokens: u64,
    price: Prices,
}

/// Micro-USD per million tokens, or per million of the unit that the name says.
#[derive(Serialize, JsonSchema)]
struct Prices {
    input_micros_per_million: u64,
    output_micros_per_million: u64,
    cached_input_micros_per_million: Option<u64>,
    cache_write_micros_per_million: Option<u64>,
    cache_write_long_micros_per_million: Option<u64>,
    #[serde(flatten)]
    units: UnitPrices,
}

/// Of what is no token of text; what has no price of its own is left out.
#[derive(Serialize, JsonSchema)]
struct UnitPrices {
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_input_micros_per_million: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_output_micros_per_million: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_input_micros_per_million: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_output_micros_per_million: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_image: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_audio_minute: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_thousand_searches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_million_characters: Option<u64>,
    /// Per unit that the provider itself bills the model by.
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_billed_unit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros_per_video_second: Option<u64>,
}

async fn prices(control: &Arc<Control>, request: ApiRequest) -> Handled {
    let snapshot = control.deps.keeper.current();
    let wanted = request.query.get("provider").map(|slug| canonical(&snapshot, slug));
    let catalogue = snapshot.catalogue();
    let is_wanted = |facts: &&ProviderFacts| wanted.as_ref().is_none_or(|slug| facts.slug == *slug);
    let data = catalogue.models().iter().map(|model| priced_model(model, wanted.as_deref()));
    Reply::json(&PriceBook {
        object: "price_book",
        revision: catalogue.revision().to_owned(),
        data: data.filter(|model| !model.offers.is_empty()).collect(),
        fees: catalogue.providers().iter().filter(is_wanted).flat_map(fees).collect(),
    })
}

/// The slug of the provider that a name means.
pub fn canonical(snapshot: &snapshot::Snapshot, slug: &str) -> String {
    snapshot.catalogue().provider(slug).map_or_else(|| slug.to_owned(), |facts| facts.slug.clone())
}

fn priced_model(model: &Model, wanted: Option<&str>) -> PricedModel {
    let offers = model.offers.iter().filter(|offer| wanted.is_none_or(|slug| offer.provider == slug));
    PricedModel {
        model: model.full.to_string(),
        modality: model.modality.as_str(),
        context_tokens: model.context_tokens,
        output_tokens_max: model.output_tokens_max,
        offers: offers.map(priced_offer).collect(),
    }
}

fn priced_offer(offer: &Offer) -> PricedOffer {
    PricedOffer {
        provider: offer.provider.clone(),
        upstream_model: offer.upstream_model.to_string(),
        regions: offer.regions.clone(),
        price: offer.rates.map(price),
        long_prompt: offer
            .long_prompt
            .map(|long| LongPrompt { above_tokens: long.above_tokens, price: price(long.rates) }),
        tiers: offer.tiers.iter().map(tier).collect(),
        cache_storage: offer.cache_storage.as_ref().map(|storage| PricedStorage {
            micros_per_million_token_hours: storage.price.0,
            origin: origin(&storage.origin),
        }),
        origin: origin(&offer.origin),
        until: offer.until.clone(),
    }
}

fn origin(origin: &Origin) -> OriginView {
    OriginView {
        source: origin.source.clone(),
        checked: origin.checked.clone(),
        as_of: origin.as_of.clone(),
        third_hand: origin.is_third_hand,
    }
}

fn tier(tier: &TierPrice) -> PricedTier {
    let (percent, rates) = match tier.price {
        TierRates::Percent(percent) => (Some(percent), None),
        TierRates::Rates(rates) => (None, Some(rates)),
    };
    PricedTier { tier: tier.tier.as_str(), percent, price: rates.map(price), origin: origin(&tier.origin) }
}

fn fees(facts: &ProviderFacts) -> impl Iterator<Item = PricedTool> {
    facts.fees.iter().map(|fee| PricedTool {
        provider: facts.slug.clone(),
        tool: fee.tool.as_str(),
        micros_per_thousand_calls: fee.price.for_thousand(),
        origin: origin(&fee.origin),
    })
}

fn price(rates: Rates) -> Prices {
    Prices {
        input_micros_per_million: rates.input.0,
        output_micros_per_million: rates.output.0,
        cached_input_micros_per_million: rates.cached_read.map(|price| price.0),
        cache_write_micros_per_million: rates.cache_write.map(|price| price.0),
        cache_write_long_micros_per_million: rates.cache_write_long.map(|price| price.0),
        units: unit_prices(&rates.units),
    }
}

fn unit_prices(rates: &UnitRates) -> UnitPrices {
    let number = |price: Price| price.0;
    UnitPrices {
        audio_input_micros_per_million: rates.audio_in.map(number),
        audio_output_micros_per_million: rates.audio_out.map(number),
        image_input_micros_per_million: rates.image_in.map(number),
        image_output_micros_per_million: rates.image_out.map(number),
        micros_per_image: rates.image.map(Price::for_one),
        micros_per_audio_minute: rates.audio_ms.map(Price::for_minute),
        micros_per_thousand_searches: rates.search.map(Price::for_thousand),
        micros_per_million_characters: rates.character.map(number),
        micros_per_billed_unit: rates.billed.map(number),
        micros_per_video_second: rates.video_ms.map(Price::for_second),
    }
}
