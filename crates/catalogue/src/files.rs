//! The formats of the data files: every key is known, so that a misspelt one is refused rather than ignored.

use std::collections::BTreeMap;

use domain::AuthKind;
use serde::Deserialize;
use toml::Spanned;

use crate::config::{ConfigForm, SecretForm};
use crate::tiers::{FeeRow, StorageRow, TierRow};

/// `providers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvidersFile {
    #[serde(default)]
    pub provider: Vec<ProviderRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderRow {
    pub slug: Spanned<String>,
    pub display_name: String,
    #[serde(default)]
    pub synonyms: Vec<String>,
    #[serde(default)]
    pub publishers: Vec<String>,
    #[serde(default)]
    pub families: Vec<String>,
    /// What its models mostly do; without it, nobody knows of one that nothing else tells of.
    pub modality: Option<String>,
    #[serde(default)]
    pub kind: Vec<KindRow>,
    #[serde(default)]
    pub dialects: Vec<String>,
    pub base_url: Option<String>,
    #[serde(default)]
    pub base_urls: BTreeMap<String, String>,
    pub base_url_example: Option<String>,
    pub models_of: Option<String>,
    #[serde(default)]
    pub config: BTreeMap<String, ConfigRow>,
    #[serde(default)]
    pub auth: Vec<AuthRow>,
    #[serde(default)]
    pub byok: bool,
    #[serde(default)]
    pub managed: bool,
    #[serde(default)]
    pub emergency_only: bool,
    pub secret_env: Option<String>,
    #[serde(default)]
    pub available: bool,
    #[serde(default)]
    pub custom: bool,
    #[serde(default)]
    pub reports_usage: bool,
    #[serde(default)]
    pub files: bool,
    #[serde(default)]
    pub cached_contents: bool,
    #[serde(default)]
    pub batches: Vec<String>,
    #[serde(default)]
    pub tier: Vec<TierRow>,
    #[serde(default)]
    pub fee: Vec<FeeRow>,
    #[serde(default)]
    pub subscription: Vec<SubscriptionRow>,
}

/// Models that do one thing, by what their names begin with, or a part of them after a slash or a dash.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindRow {
    pub modality: String,
    pub names: Vec<String>,
    /// The provider that serves them, where this one does not.
    pub at: Option<String>,
    pub source: String,
}

/// A vendor's product whose subscription may be used in the provider's place.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionRow {
    pub name: String,
    pub discount_percent: u8,
    pub source: String,
    pub checked: String,
}

/// A field of a credential's `config`, besides its address and secret.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRow {
    pub title: String,
    pub says: String,
    pub form: ConfigForm,
    #[serde(default)]
    pub required: bool,
    pub example: String,
}

/// An authentication method.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRow {
    pub kind: AuthKind,
    pub title: String,
    pub says: String,
    #[serde(default)]
    pub secret: SecretForm,
    #[serde(default)]
    pub needs: Vec<String>,
    #[serde(default)]
    pub takes: Vec<String>,
    #[serde(default)]
    pub host: bool,
    pub permission: Option<String>,
    pub batch_permission: Option<String>,
}

/// `models.toml`, and an operator's overlay.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsFile {
    /// Required for our own file; an overlay's is derived from its content.
    pub revision: Option<String>,
    #[serde(default)]
    pub model: Vec<ModelRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    pub name: Spanned<String>,
    pub display_name: Option<String>,
    /// A new model without one does what its name tells, or is `chat`.
    pub modality: Option<Spanned<String>>,
    /// What it does, where models of its modality do different things.
    pub operation: Option<Spanned<String>>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u64>,
    #[serde(default)]
    pub offer: Vec<OfferRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferRow {
    pub provider: Spanned<String>,
    pub upstream_model: String,
    #[serde(default)]
    pub regions: Vec<String>,
    pub rates: Option<Spanned<RatesRow>>,
    pub long_prompt: Option<LongPromptRow>,
    /// An operator's own price needs no source.
    pub source: Option<String>,
    pub checked: Option<String>,
    /// The date of the source itself.
    pub as_of: Option<String>,
    /// The source repeats what it read at the provider's.
    #[serde(default)]
    pub third_hand: bool,
    pub until: Option<String>,
    #[serde(default)]
    pub tier: Vec<TierRow>,
    /// What it costs to store tokens in a cache by name.
    pub cache_storage: Option<StorageRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPromptRow {
    pub above_tokens: u64,
    pub rates: Spanned<RatesRow>,
}

/// Micro-USD per million tokens, or per what the name says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesRow {
    /// Required, except for what is not sold by the token.
    pub input: Option<u64>,
    /// Required for every model that writes tokens.
    pub output: Option<u64>,
    pub cached_read: Option<u64>,
    pub cache_write: Option<u64>,
    pub cache_write_long: Option<u64>,
    pub reasoning: Option<u64>,
    pub audio_input: Option<u64>,
    pub audio_output: Option<u64>,
    pub image_input: Option<u64>,
    pub image_output: Option<u64>,
    pub per_image: Option<u64>,
    /// Stored per millisecond, to the nearest pico-USD.
    pub per_audio_minute: Option<u64>,
    pub per_thousand_searches: Option<u64>,
    pub per_million_characters: Option<u64>,
    /// For one of the provider's own billing units.
    pub per_billed_unit: Option<u64>,
    /// For a second of generated video.
    pub per_video_second: Option<u64>,
}

impl RatesRow {
    /// Every price of the row.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        let tokens = [
            self.input,
            self.output,
            self.cached_read,
            self.cache_write,
            self.cache_write_long,
            self.reasoning,
            self.audio_input,
            self.audio_output,
            self.image_input,
            self.image_output,
        ];
        let units = [
            self.per_image,
            self.per_audio_minute,
            self.per_thousand_searches,
            self.per_million_characters,
            self.per_billed_unit,
            self.per_video_second,
        ];
        tokens.into_iter().chain(units).flatten()
    }
}
