//! Models, their offers at providers, prices and what differs by provider: the typed, validated form of the
//! data files in `catalogue/`.
//!
//! A price is in a file only with the place where it was read; an offer without
//! one is *unpriced*, never free.

mod capabilities;
mod config;
mod distance;
mod error;
mod files;
mod limits;
mod load;
mod releases;
mod source;
mod tiers;
mod tokenizers;

use std::borrow::Cow;
use std::sync::Arc;

use domain::{
    Abilities, AuthKind, Dialect, Grammar, Hosting, IdMap, Modality, Operation, Rates, StoredKind,
    StoredObjectKind, Vocabulary,
};

pub use capabilities::{
    CacheIsolation, CacheKind, Capability, Fact, Facts, GrammarName, Manifest, ModelManifest,
    ProviderManifest, PurgeControl, Retention, StatedCapabilities, StatedFacts, ThinkingControl,
    WrongStatement,
};
pub use config::{AuthFacts, ConfigField, ConfigForm, SecretForm};
pub use distance::nearest_of;
pub use error::CatalogueError;
pub use releases::Release;
pub use tiers::{CacheStorage, Fee, Fees, Origin, TierPrice, TierRates};

/// A model, independent of its providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// `publisher/name`; shared, since each call holds it.
    pub full: Arc<str>,
    pub publisher: String,
    /// The part after the publisher's first slash.
    pub name: String,
    /// What its vendor calls it.
    pub display_name: Option<String>,
    pub modality: Modality,
    /// What it does, where models of its modality do different things: speak or listen.
    pub operation: Option<Operation>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    pub offers: Vec<Offer>,
}

impl Model {
    /// The offer of one provider, by its canonical slug.
    pub fn offer(&self, provider: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.provider == provider)
    }
}

/// A model at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The provider's canonical slug.
    pub provider: String,
    /// The model's name at that provider; shared, since each call holds it.
    pub upstream_model: Arc<str>,
    /// Where the provider runs it, as far as it says; else empty.
    pub regions: Vec<String>,
    /// `None` is unpriced.
    pub rates: Option<Rates>,
    /// The price of a request with a longer prompt, which then applies to all of it.
    pub long_prompt: Option<LongPrompt>,
    /// The prices of tiers other than the standard one.
    pub tiers: Arc<[TierPrice]>,
    /// What it costs to store tokens in a cache by name. The rates have the price, too.
    pub cache_storage: Option<CacheStorage>,
    /// Where the price was read.
    pub origin: Origin,
    /// The last day of the price, if its provider has limited it.
    pub until: Option<String>,
}

impl Offer {
    /// The prices of a request whose prompt has this many tokens, including cached ones.
    pub fn rates_for(&self, prompt_tokens: u64) -> Option<Rates> {
        match self.long_prompt {
            Some(long) if prompt_tokens > long.above_tokens => Some(long.rates),
            _ => self.rates,
        }
    }
}

/// The prices of requests with long prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPrompt {
    pub above_tokens: u64,
    pub rates: Rates,
}

/// What other crates need to know of a provider, so that none of them matches on its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderFacts {
    pub slug: String,
    pub display_name: String,
    /// Other names that requests and commands may use for it.
    pub synonyms: Vec<String>,
    /// Publishers whose own provider this is.
    pub publishers: Vec<String>,
    /// The prefixes of its model names: an unknown name with one of them is its, too.
    pub families: Vec<String>,
    /// What its models mostly do, where it has few that do something else.
    pub modality: Option<Modality>,
    /// Models whose names tell what they do.
    pub kinds: Vec<ModelKind>,
    /// The client dialects that are its own: on those, any other unknown name is meant for it.
    pub dialects: Vec<Dialect>,
    /// The address if a credential or account names none.
    pub base_url: Option<String>,
    /// The same for locations whose address has another form, by the location.
    pub base_urls: Vec<(String, String)>,
    /// For a provider whose customers each have their own address: an example.
    pub base_url_example: Option<String>,
    /// It hosts this provider's models, under names that its customers give them.
    pub models_of: Option<String>,
    /// The fields of a credential's `config`, besides its address and its secret.
    pub config: Vec<ConfigField>,
    /// The authentication methods; the first is the default.
    pub auths: Vec<AuthFacts>,
    /// Accepts a customer's own credential.
    pub byok: bool,
    /// Accepts an operator's account.
    pub managed: bool,
    /// Serves only if all others of the pool have failed, and never on a customer's own credential.
    pub emergency_only: bool,
    /// The environment variable that its own tools read a key from: offered for import.
    pub secret_env: Option<String>,
    /// Has code behind it in this build.
    pub available: bool,
    /// Stands for a workspace's own servers, whose slugs the catalogue does not know.
    pub custom: bool,
    /// Reports usage in a stream if requested with `stream_options.include_usage`.
    pub reports_usage: bool,
    /// Stores files of the dialects that it speaks; in OpenAI's, it takes batches of requests in them, too.
    pub files: bool,
    /// Caches prompts by name.
    pub cached_contents: bool,
    /// The dialects of which it takes batches that name their models when they are made.
    pub batches: Vec<Dialect>,
    /// The tier prices of whatever has none of its own.
    pub tiers: Arc<[TierPrice]>,
    /// The prices of its hosted tools.
    pub fees: Vec<Fee>,
    /// The products whose subscriptions it can be called with.
    pub subscriptions: Vec<SubscriptionProduct>,
}

/// Models that do one thing, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKind {
    pub modality: Modality,
    pub names: Vec<String>,
    /// The provider that serves them, where their publisher's own does not.
    pub at: Option<String>,
}

impl ModelKind {
    /// Whether the name, or a part of it after a slash or a dash, begins as these do.
    fn has(&self, name: &str) -> bool {
        let begins = |(at, _): (usize, &str)| {
            name.get(..at).is_some_and(|before| before.is_empty() || before.ends_with(['/', '-']))
        };
        self.names.iter().any(|own| name.match_indices(own.as_str()).any(begins))
    }
}

/// A vendor's product that is sold by subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionProduct {
    pub name: String,
    /// The usual saving beside the list, in per cent, where its owner states none.
    pub discount_pct: u8,
}

impl ProviderFacts {
    fn kind(&self, name: &str) -> Option<&ModelKind> {
        self.kinds.iter().find(|kind| kind.has(name))
    }

    /// Whether it takes batches of this kind, which name their models when they are made.
    pub fn takes(&self, batches: StoredObjectKind) -> bool {
        batches.kind() == StoredKind::Batch && self.batches.contains(&batches.dialect())
    }

    /// The address of an account that names none.
    ///
    /// # Errors
    /// The word of its `config` that the address lacks; `None` if the provider has no address at all.
    pub fn address(&self, hosting: &Hosting) -> Result<Cow<'_, str>, Option<&str>> {
        let location = hosting.location_or_region();
        let own = self.base_urls.iter().find(|(name, _)| Some(name.as_str()) == location);
        let address = own.map(|(_, url)| url).or(self.base_url.as_ref()).ok_or(None)?;
        config::fill(address, hosting).map_err(Some)
    }

    /// The facts of an authentication method; `None` if it does not accept that.
    pub fn auth(&self, kind: AuthKind) -> Option<&AuthFacts> {
        self.auths.iter().find(|auth| auth.kind == kind)
    }
}

/// The whole catalogue, immutable.
#[derive(Debug, Clone)]
pub struct Catalogue {
    revision: String,
    providers: Vec<ProviderFacts>,
    models: Vec<Model>,
    /// Slugs and synonyms, to positions in `providers`. All three maps are looked up with names that clients
    /// choose; names that are not in a map can't make it slower.
    provider_index: IdMap<String, usize>,
    /// Full names, to positions in `models`.
    model_index: IdMap<String, usize>,
    /// Names without their publisher, to positions in `models`.
    bare_index: IdMap<String, Vec<usize>>,
    /// The one in force: the built-in one with what the operator states over it.
    manifest: Manifest,
    built_in: Arc<Manifest>,
    tokenizers: tokenizers::Tokenizers,
    takes_emergencies: bool,
    takes_subscriptions: bool,
}

impl Catalogue {
    /// The catalogue that is built into this binary.
    ///
    /// # Errors
    /// A data file is wrong; a test of this crate finds that before a build is shipped.
    pub fn embedded() -> Result<Self, CatalogueError> {
        load::embedded()
    }

    /// A catalogue from other files than ours, without a capability manifest.
    ///
    /// # Errors
    /// A text is wrong; the error names its line and field.
    pub fn of_texts(providers: &str, models: &str) -> Result<Self, CatalogueError> {
        load::from_texts(providers, models)
    }

    /// With another capability manifest than ours.
    ///
    /// # Errors
    /// The text is wrong; the error names its line and field.
    pub fn with_capabilities(self, toml: &str) -> Result<Self, CatalogueError> {
        load::with_capabilities(self, toml)
    }

    /// With another list of public tokenizers than ours.
    ///
    /// # Errors
    /// The text is wrong; the error names its line and field.
    pub fn with_tokenizers(self, toml: &str) -> Result<Self, CatalogueError> {
        load::with_tokenizers(self, toml)
    }

    /// Adds an operator's models, offers and prices, or replaces ours.
    ///
    /// # Errors
    /// The overlay is wrong; the error names its line and field.
    pub fn with_overlay(self, toml: &str) -> Result<Self, CatalogueError> {
        load::with_overlay(self, toml)
    }

    /// With the operator's consent, or none, to emergency providers.
    pub fn with_emergencies(self, takes_emergencies: bool) -> Self {
        Self { takes_emergencies, ..self }
    }

    /// With the operator's consent, or none, to subscriptions.
    pub fn with_subscriptions(self, takes_subscriptions: bool) -> Self {
        Self { takes_subscriptions, ..self }
    }

    /// Whether subscriptions may serve at all.
    pub const fn takes_subscriptions(&self) -> bool {
        self.takes_subscriptions
    }

    /// The provider that a subscription of this name is used with, and the product, where the name is one's.
    pub fn subscription(&self, name: &str) -> Option<(&ProviderFacts, Option<&SubscriptionProduct>)> {
        let of_product = self.providers.iter().find_map(|facts| {
            let product = facts.subscriptions.iter().find(|product| product.name == name)?;
            Some((facts, Some(product)))
        });
        let own = || self.provider(name).filter(|facts| !facts.subscriptions.is_empty());
        of_product.or_else(|| own().map(|facts| (facts, None)))
    }

    /// Whether emergency providers may serve at all.
    pub const fn takes_emergencies(&self) -> bool {
        self.takes_emergencies
    }

    /// Identifies this exact content; stored with what was computed from it.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// A model by its full name.
    pub fn model(&self, full: &str) -> Option<&Model> {
        self.model_index.get(full).and_then(|index| self.models.get(*index))
    }

    /// Every model of this name, whoever published it.
    pub fn by_bare_name(&self, name: &str) -> Vec<&Model> {
        let indices = self.bare_index.get(name).map_or(&[][..], Vec::as_slice);
        indices.iter().filter_map(|index| self.models.get(*index)).collect()
    }

    /// The model that a name is a release of; the name with its publisher or without.
    pub fn release(&self, name: &str) -> Option<(Release, &Model)> {
        let (publisher, bare) = match name.split_once('/') {
            Some((publisher, bare)) => (Some(publisher), bare),
            None => (None, name),
        };
        let known = |base: &str| match publisher {
            Some(publisher) => self.model(&format!("{publisher}/{base}")),
            None => match self.by_bare_name(base).as_slice() {
                [model] => Some(*model),
                _ => None,
            },
        };
        let (release, base) = Release::read(bare)?;
        let of_dated = || Release::read(base).and_then(|(_, base)| known(base));
        let model = known(base).or_else(|| if release == Release::FineTuned { of_dated() } else { None })?;
        Some((release, model))
    }

    /// The model that a provider names so: by the name of its offer, or as a dated release, as the plan of a request reads
    /// names. A fine-tune costs something else than its model, and where customers deploy the models, the names are theirs.
    pub fn named_at(&self, provider: &str, upstream_model: &str) -> Option<&Model> {
        let is_it = |offer: &Offer| &*offer.upstream_model == upstream_model;
        let offered = self.models.iter().find(|model| model.offer(provider).is_some_and(is_it));
        let deploys = || self.provider(provider).is_some_and(|facts| facts.models_of.is_some());
        offered.or_else(|| match self.release(upstream_model)? {
            (Release::FineTuned, _) => None,
            (Release::Dated | Release::Latest, model) => {
                Some(model).filter(|model| !deploys() && model.offer(provider).is_some())
            }
        })
    }

    /// The provider whose model names have this form.
    pub fn family(&self, name: &str) -> Option<&ProviderFacts> {
        let name = match Release::read(name) {
            Some((Release::FineTuned, base)) => base,
            _ => name,
        };
        let is_its =
            |facts: &&ProviderFacts| facts.families.iter().any(|family| name.starts_with(family.as_str()));
        self.providers.iter().find(is_its)
    }

    /// What a model without a row does, as its name tells: one of its seller's, or one of a vendor's, whoever sells it.
    pub fn modality_by_name(&self, seller: &str, name: &str) -> Option<Modality> {
        let vendors = self.providers.iter().filter(|facts| !facts.families.is_empty());
        let mut each = self.provider(seller).into_iter().chain(vendors);
        each.find_map(|facts| facts.kind(name)).map(|kind| kind.modality)
    }

    /// The provider that serves a model of this name in place of its publisher's own.
    pub fn served_elsewhere(&self, own: &str, name: &str) -> Option<&ProviderFacts> {
        self.provider(self.provider(own)?.kind(name)?.at.as_deref()?)
    }

    /// The provider whose own dialect this is.
    pub fn vendor(&self, dialect: Dialect) -> Option<&ProviderFacts> {
        self.providers.iter().find(|facts| facts.dialects.contains(&dialect))
    }

    /// A provider by its slug or a synonym.
    pub fn provider(&self, slug_or_synonym: &str) -> Option<&ProviderFacts> {
        self.provider_index.get(slug_or_synonym).and_then(|index| self.providers.get(*index))
    }

    /// The facts of a provider, or those of a compatible server if the slug is a workspace's own.
    pub fn facts(&self, slug: &str) -> Option<&ProviderFacts> {
        self.provider(slug).or_else(|| self.providers.iter().find(|facts| facts.custom))
    }

    /// The provider that a publisher runs itself.
    pub fn own_provider(&self, publisher: &str) -> Option<&ProviderFacts> {
        self.providers.iter().find(|facts| facts.publishers.iter().any(|own| own == publisher))
    }

    /// The capability manifest of all providers, as it is in force.
    pub const fn capabilities(&self) -> &Manifest {
        &self.manifest
    }

    /// The capability manifest as this version of the program has it, without what an operator states.
    pub fn built_in_capabilities(&self) -> &Manifest {
        &self.built_in
    }

    /// The same catalogue with what the operator states of providers, in place of what it said before.
    pub fn with_stated(&self, stated: &[StatedCapabilities]) -> Self {
        Self { manifest: self.built_in.with(stated), ..self.clone() }
    }

    /// The price of a request in a batch, in per cent of its usual price; `None` if nobody read it.
    pub fn batch_percent(&self, provider: &str, model: &str) -> Option<u16> {
        let less = *self.manifest.provider(provider)?.known(model, |facts| &facts.batch_api_discount_pct)?;
        u16::try_from(100_u64.saturating_sub(less)).ok()
    }

    /// How many tokens a model takes at a provider: no more than either says, the model or the manifest.
    pub fn context_tokens(&self, provider: &str, (model, of_model): (&str, Option<u64>)) -> Option<u64> {
        let manifest = self.manifest.provider(provider);
        let known = manifest.and_then(|known| known.known(model, |facts| &facts.context_window_max_tokens));
        match (known, of_model) {
            (Some(known), Some(of_model)) => Some(of_model.min(*known)),
            (known, of_model) => known.copied().or(of_model),
        }
    }

    /// The dialects that a provider speaks, the preferred one first. The default is chat.
    pub fn grammars(&self, provider: &str) -> &[Grammar] {
        let slug = self.provider(provider).map_or(provider, |facts| facts.slug.as_str());
        self.manifest.provider(slug).map_or(&[Grammar::Chat], ProviderManifest::grammars)
    }

    /// What a model at a provider accepts; the model by its full name, or by its name there.
    pub fn abilities(&self, provider: &str, model: &str) -> Abilities {
        let facts = self.provider(provider);
        let slug = facts.map_or(provider, |facts| facts.models_of.as_deref().unwrap_or(&facts.slug));
        let sold = |known: &&Model| known.offer(slug).is_some();
        let known = self.model(model).filter(sold).or_else(|| {
            self.models
                .iter()
                .find(|known| known.offer(slug).is_some_and(|offer| *offer.upstream_model == *model))
        });
        let upstream =
            known.and_then(|known| known.offer(slug)).map_or(model, |offer| &*offer.upstream_model);
        Abilities {
            output_tokens_max: known.and_then(|known| known.output_tokens_max),
            ..self.manifest.abilities(slug, upstream)
        }
    }

    /// The public tokenizer of a model, by its name at its provider; `None` for all others.
    pub fn vocabulary(&self, upstream_model: &str) -> Option<Vocabulary> {
        self.tokenizers.of(upstream_model)
    }

    pub fn providers(&self) -> &[ProviderFacts] {
        &self.providers
    }

    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// Whether one of our models or providers has this publisher.
    pub fn is_publisher(&self, name: &str) -> bool {
        self.models.iter().any(|model| model.publisher == name) || self.own_provider(name).is_some()
    }
}
