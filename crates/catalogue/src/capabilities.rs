//! The capability manifest: what providers and their models can do, each fact with its
//! source, or marked as unverified.
//!
//! A provider's facts hold for its models, unless a row for the model overrides them: by exact name, or by a
//! prefix. The more exact row wins.

mod facts;
mod kinds;
mod rows;

use std::time::Duration;

use domain::limits::CACHE_LIFETIME_UNKNOWN;
use domain::{Abilities, CacheFacts, Grammar, Thinking};
use serde::Serialize;

pub use facts::{Fact, Facts};
pub use kinds::{CacheIsolation, CacheKind, GrammarName, PurgeControl, Retention, ThinkingControl};
pub use rows::load;

/// The whole manifest, immutable: other content has another revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Manifest {
    revision: String,
    providers: Vec<ProviderManifest>,
}

/// The facts of one provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderManifest {
    provider: String,
    facts: Facts,
    models: Vec<ModelManifest>,
    #[serde(skip)]
    grammars: Vec<Grammar>,
    /// Exact names and prefixes, to positions in `models`; the more exact first.
    #[serde(skip)]
    names: Vec<(Pattern, usize)>,
}

/// In what some models differ from their provider's others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelManifest {
    /// As the provider names them; a name that ends with `*` is a prefix.
    pub names: Vec<String>,
    pub facts: Facts,
}

/// Matches a model's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Manifest {
    /// Identifies this exact content, as `cap_2026_11_20_` and a digest; stored with what was decided by it.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    #[must_use]
    pub fn providers(&self) -> &[ProviderManifest] {
        &self.providers
    }

    /// The manifest of a provider, by its canonical slug.
    #[must_use]
    pub fn provider(&self, slug: &str) -> Option<&ProviderManifest> {
        self.providers.iter().find(|manifest| manifest.provider == slug)
    }

    /// What a request to this model must respect; the common case if nothing is known.
    #[must_use]
    pub(crate) fn abilities(&self, slug: &str, model: &str) -> Abilities {
        let Some(provider) = self.provider(slug) else {
            return Abilities::default();
        };
        let is = |fact: fn(&Facts) -> &Option<Fact<bool>>| provider.known(model, fact).is_some_and(|is| *is);
        Abilities {
            output_tokens_max: None,
            thinking: provider
                .known(model, |facts| &facts.thinking)
                .map_or(Thinking::Unknown, |control| (*control).into()),
            refuses_sampling: is(|facts| &facts.refuses_sampling),
            uses_max_tokens: is(|facts| &facts.old_length_name),
            developer_role: is(|facts| &facts.developer_role),
            cache_marks: is(|facts| &facts.cache_marks),
        }
    }
}

impl Manifest {
    /// How prompts to this model are cached.
    #[must_use]
    pub fn cache_facts(&self, slug: &str, model: &str) -> CacheFacts {
        let provider = self.provider(slug);
        let known = |fact: fn(&Facts) -> &Option<Fact<u64>>| provider?.known(model, fact).copied();
        let lifetime = known(|facts| &facts.prompt_cache_default_ttl_seconds).map(Duration::from_secs);
        let is_supported =
            provider.and_then(|provider| provider.known(model, |facts| &facts.prompt_cache_supported));
        CacheFacts {
            is_supported: is_supported.is_some_and(|is| *is),
            tokens_min: known(|facts| &facts.prompt_cache_min_tokens),
            tokens_step: known(|facts| &facts.prompt_cache_step_tokens),
            lifetime: lifetime.unwrap_or(CACHE_LIFETIME_UNKNOWN),
            write_pct: known(|facts| &facts.prompt_cache_write_pct),
            discount_pct: known(|facts| &facts.prompt_cache_discount_pct),
        }
    }
}

impl ProviderManifest {
    /// The names of its service tiers; `None` if they were never looked up.
    #[must_use]
    pub fn service_tiers(&self) -> Option<&[String]> {
        self.facts.service_tiers.as_ref()?.value().map(Vec::as_slice)
    }

    #[must_use]
    pub fn slug(&self) -> &str {
        &self.provider
    }

    #[must_use]
    pub fn grammars(&self) -> &[Grammar] {
        &self.grammars
    }

    /// The facts that hold for the provider's models unless a row of theirs overrides them.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    #[must_use]
    pub fn models(&self) -> &[ModelManifest] {
        &self.models
    }

    /// All facts that hold for one model, by its name at the provider.
    #[must_use]
    pub fn facts_of(&self, model: &str) -> Facts {
        self.rows_of(model).fold(Facts::default(), |found, facts| found.over(facts))
    }

    /// The strongest value of one fact; an unverified one has none.
    fn known<T>(&self, model: &str, fact: fn(&Facts) -> &Option<Fact<T>>) -> Option<&T> {
        self.rows_of(model).find_map(|facts| fact(facts).as_ref()).and_then(Fact::value)
    }

    /// The rows that match a model, the strongest first. A path before its name is ignored.
    fn rows_of(&self, model: &str) -> impl Iterator<Item = &Facts> {
        let name = model.rsplit('/').next().unwrap_or(model);
        self.names
            .iter()
            .filter(move |(pattern, _)| pattern.holds(name))
            .filter_map(|(_, index)| self.models.get(*index))
            .map(|row| &row.facts)
            .chain(std::iter::once(&self.facts))
    }
}

impl Pattern {
    fn of(name: &str) -> Self {
        name.strip_suffix('*')
            .map_or_else(|| Self::Exact(name.to_owned()), |prefix| Self::Prefix(prefix.to_owned()))
    }

    fn holds(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// Larger is more exact.
    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exact(exact) => (true, exact.len()),
            Self::Prefix(prefix) => (false, prefix.len()),
        }
    }
}
