//! From the files to the catalogue: each row is checked by itself, then the whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use domain::{Dialect, IdMap, Modality, Operation, Price, Rates, StoredKind, StoredObjectKind, UnitRates};

use crate::error::CatalogueError;
use crate::files::{
    AuthRow, KindRow, LongPromptRow, ModelRow, ModelsFile, OfferRow, ProviderRow, ProvidersFile, RatesRow,
    SubscriptionRow,
};
use crate::limits::PRICE_MAX;
use crate::source::{OPERATOR, Source, UNVERIFIED, fingerprint, is_day};
use crate::tiers::{self, Fee, FeeRow, Origin, TierPrice, TierRow};
use crate::{
    AuthFacts, Catalogue, ConfigField, LongPrompt, Manifest, Model, ModelKind, Offer, ProviderFacts,
    SubscriptionProduct, capabilities, tokenizers,
};

const PROVIDERS: &str = include_str!("../../../catalogue/providers.toml");
const MODELS: &str = include_str!("../../../catalogue/models.toml");
const CAPABILITIES: &str = include_str!("../../../catalogue/capabilities.toml");
const TOKENIZERS: &str = include_str!("../../../catalogue/tokenizers.toml");

pub fn embedded() -> Result<Catalogue, CatalogueError> {
    with_tokenizers(with_capabilities(from_texts(PROVIDERS, MODELS)?, CAPABILITIES)?, TOKENIZERS)
}

pub fn with_capabilities(mut catalogue: Catalogue, text: &str) -> Result<Catalogue, CatalogueError> {
    let source = Source { file: "catalogue/capabilities.toml", text, overlay: false };
    catalogue.manifest = capabilities::load(source, &catalogue)?;
    catalogue.built_in = Arc::new(catalogue.manifest.clone());
    Ok(catalogue)
}

pub fn with_tokenizers(mut catalogue: Catalogue, text: &str) -> Result<Catalogue, CatalogueError> {
    let source = Source { file: "catalogue/tokenizers.toml", text, overlay: false };
    catalogue.tokenizers = tokenizers::load(source)?;
    Ok(catalogue)
}

pub fn from_texts(providers: &str, models: &str) -> Result<Catalogue, CatalogueError> {
    let provider_source = Source { file: "catalogue/providers.toml", text: providers, overlay: false };
    let model_source = Source { file: "catalogue/models.toml", text: models, overlay: false };
    let mut catalogue = Catalogue {
        revision: String::new(),
        providers: Vec::new(),
        models: Vec::new(),
        provider_index: IdMap::default(),
        model_index: IdMap::default(),
        bare_index: IdMap::default(),
        manifest: Manifest::default(),
        built_in: Arc::default(),
        tokenizers: tokenizers::Tokenizers::default(),
        takes_emergencies: false,
        takes_subscriptions: false,
    };
    for row in provider_source.parse::<ProvidersFile>()?.provider {
        add_provider(&mut catalogue, provider_source, row)?;
    }
    let file = model_source.parse::<ModelsFile>()?;
    catalogue.revision = file.revision.filter(|revision| !revision.is_empty()).ok_or_else(|| {
        model_source.wrong(0..0, "revision", "is missing; it names this content in records")
    })?;
    add_models(&mut catalogue, model_source, file.model)?;
    Ok(catalogue)
}

pub fn with_overlay(mut catalogue: Catalogue, text: &str) -> Result<Catalogue, CatalogueError> {
    let source = Source { file: "overlay", text, overlay: true };
    let file = source.parse::<ModelsFile>()?;
    let own = file.revision.unwrap_or_else(|| format!("{:016x}", fingerprint(text)));
    add_models(&mut catalogue, source, file.model)?;
    catalogue.revision = format!("{}+{own}", catalogue.revision);
    Ok(catalogue)
}

fn add_provider(
    catalogue: &mut Catalogue,
    source: Source<'_>,
    row: ProviderRow,
) -> Result<(), CatalogueError> {
    let span = row.slug.span();
    let slug = row.slug.get_ref().clone();
    let field = format!("provider \"{slug}\"");
    if !is_slug(&slug) {
        return Err(source.wrong(span, &field, "a slug is lower-case letters, digits, \"_\" and \"-\""));
    }
    if let Some(message) = wrong_address(catalogue, &row) {
        return Err(source.wrong(span, &field, &message));
    }
    let mut config = Vec::new();
    for (name, row) in row.config {
        let message = format!("config \"{name}\" is nothing that is read, or of another form");
        let read = ConfigField::of(name, row);
        config.push(read.ok_or_else(|| source.wrong(span.clone(), &field, &message))?);
    }
    let auths = read_auths(row.auth, &config)
        .map_err(|message: String| source.wrong(span.clone(), &field, &message))?;
    let (tiers, fees) = read_prices(row.tier, row.fee)
        .map_err(|message: String| source.wrong(span.clone(), &field, &message))?;
    let index = catalogue.providers.len();
    for name in std::iter::once(&slug).chain(&row.synonyms) {
        if catalogue.provider_index.insert(name.clone(), index).is_some() {
            let message = format!("the name \"{name}\" stands for two providers");
            return Err(source.wrong(span, &field, &message));
        }
    }
    if let Some(publisher) = row.publishers.iter().find(|own| catalogue.own_provider(own).is_some()) {
        let message = format!("the publisher \"{publisher}\" has two providers of its own");
        return Err(source.wrong(span, &field, &message));
    }
    let wrong = |message: String| source.wrong(span.clone(), &field, &message);
    let batches = batch_dialects(&row.batches).map_err(wrong)?;
    let dialects = own_dialects(catalogue, &row.families, &row.dialects).map_err(wrong)?;
    let (modality, kinds) = what_models_do(row.modality.as_deref(), row.kind).map_err(wrong)?;
    catalogue.providers.push(ProviderFacts {
        slug,
        display_name: row.display_name,
        synonyms: row.synonyms,
        publishers: row.publishers,
        families: row.families,
        modality,
        kinds,
        dialects,
        base_url: row.base_url,
        base_urls: row.base_urls.into_iter().collect(),
        base_url_example: row.base_url_example,
        models_of: row.models_of,
        config,
        auths,
        byok: row.byok,
        managed: row.managed,
        emergency_only: row.emergency_only,
        secret_env: row.secret_env,
        available: row.available,
        custom: row.custom,
        reports_usage: row.reports_usage,
        files: row.files,
        cached_contents: row.cached_contents,
        batches,
        tiers,
        fees,
        subscriptions: subscription_products(row.subscription)
            .map_err(|message| wrong(message.to_owned()))?,
    });
    Ok(())
}

/// What is wrong with a provider's address, or with the provider whose models it hosts.
fn wrong_address(catalogue: &Catalogue, row: &ProviderRow) -> Option<String> {
    if row.base_url.as_deref().is_some_and(|url| !url.starts_with("https://") || url.ends_with('/')) {
        return Some("base_url begins with https:// and ends without a slash".to_owned());
    }
    if row.available && row.base_url.is_none() && row.base_url_example.is_none() && !row.custom {
        let message = "an available provider needs a base_url, or a base_url_example of its customers' own";
        return Some(message.to_owned());
    }
    let other = row.models_of.as_deref().filter(|other| catalogue.provider(other).is_none())?;
    Some(format!("models_of \"{other}\" isn't a provider that stands before it"))
}

/// The dialects that a row claims as its provider's own, if no family or dialect of it is another's.
fn own_dialects(
    catalogue: &Catalogue,
    families: &[String],
    dialects: &[String],
) -> Result<Vec<Dialect>, String> {
    let overlap = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
    let others = || catalogue.providers().iter();
    for family in families {
        let other = others().find(|facts| facts.families.iter().any(|known| overlap(known, family)));
        if let Some(other) = other.filter(|_| !family.is_empty()) {
            return Err(format!("names of the family \"{family}\" are those of \"{}\", too", other.slug));
        }
    }
    let read = |word: &String| {
        let named = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == word);
        let dialect = named.ok_or_else(|| format!("there is no dialect \"{word}\""))?;
        match catalogue.vendor(dialect) {
            Some(other) => Err(format!("the dialect \"{word}\" is that of \"{}\"", other.slug)),
            None => Ok(dialect),
        }
    };
    dialects.iter().map(read).collect()
}

/// The provider-wide prices of tiers and tools.
fn read_prices(tiers: Vec<TierRow>, fees: Vec<FeeRow>) -> Result<(Arc<[TierPrice]>, Vec<Fee>), String> {
    let no_rates = |_| Err("has a share of the standard price alone, for all models".to_owned());
    let tiers = tiers.into_iter().map(|tier| tier.read(UNVERIFIED, no_rates)).collect::<Result<_, _>>()?;
    Ok((tiers, fees.into_iter().map(FeeRow::read).collect::<Result<_, _>>()?))
}

/// The dialects of batches that name their models when they are made: those that have batches of their own.
fn batch_dialects(names: &[String]) -> Result<Vec<Dialect>, String> {
    let has_own = |dialect: &Dialect| {
        *dialect != Dialect::Chat && StoredObjectKind::of(*dialect, StoredKind::Batch).dialect() == *dialect
    };
    let read = |name: &String| {
        let known = Dialect::ALL.into_iter().filter(has_own).find(|known| known.as_str() == name);
        known.ok_or_else(|| format!("\"{name}\" isn't a dialect that defines its own batch API"))
    };
    names.iter().map(read).collect()
}

fn named_modality(word: &str) -> Result<Modality, String> {
    Modality::from_word(word)
        .ok_or_else(|| format!("modality is one of {}", Modality::ALL.map(Modality::as_str).join(", ")))
}

/// What a provider's models mostly do, and names that tell it of some, as they were read somewhere.
fn what_models_do(
    usual: Option<&str>,
    rows: Vec<KindRow>,
) -> Result<(Option<Modality>, Vec<ModelKind>), String> {
    let read = |row: KindRow| {
        if row.source.is_empty() || row.names.is_empty() || row.names.iter().any(String::is_empty) {
            return Err("a kind needs the names of its models, and the source they were read at".to_owned());
        }
        Ok(ModelKind { modality: named_modality(&row.modality)?, names: row.names, at: row.at })
    };
    let usual = usual.map(named_modality).transpose()?;
    Ok((usual, rows.into_iter().map(read).collect::<Result<_, _>>()?))
}

/// Products with a discount that was read somewhere.
fn subscription_products(rows: Vec<SubscriptionRow>) -> Result<Vec<SubscriptionProduct>, &'static str> {
    let read = |row: SubscriptionRow| {
        if row.discount_percent > 100 {
            return Err("a subscription's discount is more than all of the price");
        }
        if row.source.is_empty() || !is_day(&row.checked) {
            return Err("a subscription needs the source it was read at, and the day");
        }
        Ok(SubscriptionProduct { name: row.name, discount_pct: row.discount_percent })
    };
    rows.into_iter().map(read).collect()
}

/// A provider without a row accepts an API key.
fn read_auths(rows: Vec<AuthRow>, config: &[ConfigField]) -> Result<Vec<AuthFacts>, String> {
    let mut auths: Vec<AuthFacts> = Vec::new();
    for auth in rows.into_iter().map(AuthFacts::of) {
        let named = auth.required_fields.iter().chain(&auth.optional_fields);
        if let Some(name) = named.clone().find(|name| config.iter().all(|field| field.name != **name)) {
            return Err(format!(
                "auth \"{}\" names \"{name}\", which isn't a config of it",
                auth.kind.as_str()
            ));
        }
        if auths.iter().any(|other| other.kind == auth.kind) {
            return Err(format!("auth \"{}\" stands twice", auth.kind.as_str()));
        }
        auths.push(auth);
    }
    if auths.is_empty() {
        auths.push(AuthFacts::key());
    }
    Ok(auths)
}

fn add_models(
    catalogue: &mut Catalogue,
    source: Source<'_>,
    rows: Vec<ModelRow>,
) -> Result<(), CatalogueError> {
    let mut seen: HashMap<String, ()> = HashMap::new();
    for row in rows {
        let span = row.name.span();
        if let Entry::Occupied(twice) = seen.entry(row.name.get_ref().clone()) {
            let field = format!("model \"{}\"", twice.key());
            return Err(source.wrong(span, &field, "stands twice in this file"));
        }
        seen.insert(row.name.get_ref().clone(), ());
        let model = model_of(catalogue, source, row)?;
        put_model(catalogue, model);
    }
    Ok(())
}

fn model_of(catalogue: &Catalogue, source: Source<'_>, row: ModelRow) -> Result<Model, CatalogueError> {
    let span = row.name.span();
    let full = row.name.into_inner();
    let field = format!("model \"{full}\"");
    let (publisher, name) = full
        .split_once('/')
        .filter(|(publisher, name)| !publisher.is_empty() && !name.is_empty() && !full.contains([':', ' ']))
        .ok_or_else(|| {
            source.wrong(span.clone(), &field, "a name is publisher/model, without colon or blank")
        })?;
    let known = catalogue.model(&full);
    let modality = match &row.modality {
        None => {
            let by_name = || catalogue.modality_by_name(publisher, name).unwrap_or(Modality::Chat);
            known.map_or_else(by_name, |model| model.modality)
        }
        Some(word) => {
            named_modality(word.get_ref()).map_err(|message| source.wrong(word.span(), &field, &message))?
        }
    };
    let operation = match &row.operation {
        None => known.and_then(|model| model.operation),
        Some(word) => Some(operation_of(modality, word.get_ref()).ok_or_else(|| {
            let message = "operation is speech or transcribe, and of a model of the modality audio";
            source.wrong(word.span(), &field, message)
        })?),
    };
    let mut offers = known.map(|model| model.offers.clone()).unwrap_or_default();
    if row.offer.is_empty() && known.is_none() {
        return Err(source.wrong(span, &field, "has no [[model.offer]]: say who sells it"));
    }
    let mut sellers: Vec<String> = Vec::new();
    for offer_row in row.offer {
        let at = offer_row.provider.span();
        let offer = offer_of(catalogue, source, &field, modality, offer_row)?;
        if sellers.contains(&offer.provider) {
            let message = format!("has two offers of \"{}\"", offer.provider);
            return Err(source.wrong(at, &field, &message));
        }
        sellers.push(offer.provider.clone());
        offers.retain(|other| other.provider != offer.provider);
        offers.push(offer);
    }
    Ok(Model {
        publisher: publisher.to_owned(),
        name: name.to_owned(),
        display_name: row.display_name.or_else(|| known.and_then(|model| model.display_name.clone())),
        modality,
        operation,
        context_tokens: row.context_tokens.or_else(|| known.and_then(|model| model.context_tokens)),
        output_tokens_max: row.output_tokens_max.or_else(|| known.and_then(|model| model.output_tokens_max)),
        offers,
        full: full.into(),
    })
}

/// Only models for sound do different things by their modality alone.
fn operation_of(modality: Modality, word: &str) -> Option<Operation> {
    let known = [Operation::Speech, Operation::Transcribe];
    let named = known.into_iter().find(|operation| operation.as_str() == word)?;
    (named.modality() == modality).then_some(named)
}

fn offer_of(
    catalogue: &Catalogue,
    source: Source<'_>,
    model_field: &str,
    modality: Modality,
    row: OfferRow,
) -> Result<Offer, CatalogueError> {
    let span = row.provider.span();
    let named = row.provider.into_inner();
    let field = format!("{model_field}, offer \"{named}\"");
    let facts = catalogue.provider(&named).ok_or_else(|| {
        let names: Vec<&str> = catalogue.providers().iter().map(|facts| facts.slug.as_str()).collect();
        source.wrong(span.clone(), &field, &format!("no such provider; it is one of {}", names.join(", ")))
    })?;
    if row.upstream_model.is_empty() {
        return Err(source.wrong(span, &field, "upstream_model is empty"));
    }
    let mut rates = row.rates.map(|rates| rates_of(source, &field, modality, rates)).transpose()?;
    let mut long_prompt =
        row.long_prompt.map(|row| long_prompt_of(source, &field, modality, row)).transpose()?;
    if long_prompt.is_some() && rates.is_none() {
        return Err(source.wrong(span, &field, "long_prompt needs the rates of a shorter one beside it"));
    }
    let absent = if source.overlay && rates.is_some() { OPERATOR } else { UNVERIFIED };
    if rates.is_none() && row.source.is_none() && !source.overlay {
        let message = "has neither a price nor source = \"unverified\", which says that none was read";
        return Err(source.wrong(span, &field, message));
    }
    let origin = Origin {
        source: row.source.unwrap_or_else(|| absent.to_owned()),
        checked: row.checked.unwrap_or_default(),
        as_of: row.as_of,
        is_third_hand: row.third_hand,
    };
    if rates.is_some() {
        let checked = origin.check(source.overlay && origin.source != UNVERIFIED);
        checked.map_err(|wrong| source.wrong(span.clone(), &field, &format!("a price {wrong}")))?;
    }
    let cache_storage = row.cache_storage.map(|row| row.read(absent)).transpose();
    let cache_storage = cache_storage.map_err(|wrong| source.wrong(span.clone(), &field, &wrong))?;
    if let Some(storage) = &cache_storage {
        let priced = rates.iter_mut().chain(long_prompt.iter_mut().map(|long| &mut long.rates));
        for rates in priced {
            rates.units.cache_token_hour = Some(storage.price);
        }
    }
    let tiers = tiers_of(source, &span, &field, modality, row.tier)?;
    if row.until.as_deref().is_some_and(|day| !is_day(day)) {
        return Err(source.wrong(span, &field, "until is a day, as \"2026-11-20\""));
    }
    Ok(Offer {
        provider: facts.slug.clone(),
        upstream_model: row.upstream_model.into(),
        regions: row.regions,
        rates,
        long_prompt,
        tiers: tiers::over(tiers, &facts.tiers),
        cache_storage,
        origin,
        until: row.until,
    })
}

fn tiers_of(
    source: Source<'_>,
    span: &Range<usize>,
    field: &str,
    modality: Modality,
    rows: Vec<TierRow>,
) -> Result<Vec<TierPrice>, CatalogueError> {
    let absent = if source.overlay { OPERATOR } else { UNVERIFIED };
    let mut found: Vec<TierPrice> = Vec::new();
    for row in rows {
        let field = format!("{field}, tier \"{}\"", row.name);
        let wrong = |message: &str| source.wrong(span.clone(), &field, message);
        let rates_of = |rates| rates_of(source, &field, modality, rates).map_err(|error| error.message);
        let tier = row.read(absent, rates_of).map_err(|message| wrong(&message))?;
        if found.iter().any(|other| other.tier == tier.tier) {
            return Err(wrong("stands twice"));
        }
        found.push(tier);
    }
    Ok(found)
}

fn long_prompt_of(
    source: Source<'_>,
    field: &str,
    modality: Modality,
    row: LongPromptRow,
) -> Result<LongPrompt, CatalogueError> {
    Ok(LongPrompt {
        above_tokens: row.above_tokens,
        rates: rates_of(source, &format!("{field}, long_prompt"), modality, row.rates)?,
    })
}

fn rates_of(
    source: Source<'_>,
    field: &str,
    modality: Modality,
    row: toml::Spanned<RatesRow>,
) -> Result<Rates, CatalogueError> {
    let span = row.span();
    let row = row.into_inner();
    if row.output.is_none() && modality == Modality::Chat {
        return Err(source.wrong(span, field, "rates.output is missing; a chat model writes tokens"));
    }
    let units = unit_rates_of(&row);
    let is_by_unit = units.has_counts();
    if row.input.is_none() && !is_by_unit {
        let message = "rates.input is missing; only what is sold by a unit has no price of tokens";
        return Err(source.wrong(span, field, message));
    }
    if row.all().any(|price| price > PRICE_MAX) {
        return Err(source.wrong(
            span,
            field,
            "a rate is micro-USD per million units; this one is past 10,000 USD",
        ));
    }
    Ok(Rates {
        input: Price(row.input.unwrap_or_default()),
        output: Price(row.output.unwrap_or_default()),
        cached_read: row.cached_read.map(Price),
        cache_write: row.cache_write.map(Price),
        cache_write_long: row.cache_write_long.map(Price),
        reasoning: row.reasoning.map(Price),
        units,
    })
}

fn unit_rates_of(row: &RatesRow) -> UnitRates {
    UnitRates {
        audio_in: row.audio_input.map(Price),
        audio_out: row.audio_output.map(Price),
        image_in: row.image_input.map(Price),
        image_out: row.image_output.map(Price),
        image: row.per_image.map(Price::of_one),
        audio_ms: row.per_audio_minute.map(Price::of_minute),
        search: row.per_thousand_searches.map(Price::of_thousand),
        character: row.per_million_characters.map(Price),
        billed: row.per_billed_unit.map(Price),
        video_ms: row.per_video_second.map(Price::of_second),
        ..UnitRates::default()
    }
}

fn put_model(catalogue: &mut Catalogue, model: Model) {
    if let Some(index) = catalogue.model_index.get(&*model.full) {
        if let Some(old) = catalogue.models.get_mut(*index) {
            *old = model;
        }
        return;
    }
    let index = catalogue.models.len();
    catalogue.model_index.insert((*model.full).to_owned(), index);
    catalogue.bare_index.entry(model.name.clone()).or_default().push(index);
    catalogue.models.push(model);
}

fn is_slug(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}
