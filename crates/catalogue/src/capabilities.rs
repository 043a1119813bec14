//! The capability manifest: what providers and their models can do, each fact with its
//! source, or marked as unverified.
//!
//! A provider's facts hold for its models, unless a row for the model overrides them: by exact name, or by a
//! prefix. The more exact row wins; of two that are as exact, what the operator states.

mod facts;
mod kinds;
mod rows;
mod stated;

use std::cmp::Reverse;
use std::time::Duration;

use domain::limits::CACHE_LIFETIME_UNKNOWN;
use domain::prompt::Effort;
use domain::{Abilities, CacheFacts, Grammar, Thinking};
use serde::Serialize;

pub use facts::{Fact, Facts};
pub use kinds::{CacheIsolation, CacheKind, GrammarName, PurgeControl, Retention, ThinkingControl};
pub use rows::load;
pub use stated::{StatedCapabilities, StatedFacts, WrongStatement};

use crate::source::fingerprint;

/// The whole manifest, immutable: other content has another revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Manifest {
    revision: String,
    /// The day of its last change.
    #[serde(skip)]
    day: String,
    providers: Vec<ProviderManifest>,
}

/// The facts of one provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProviderManifest {
    provider: String,
    /// Identifies this exact content, as the whole manifest's does.
    manifest_revision: String,
    facts: Facts,
    models: Vec<ModelManifest>,
    /// What the operator states, which is part of the above.
    #[serde(skip_serializing_if = "Option::is_none")]
    stated: Option<StatedFacts>,
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
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub fn providers(&self) -> &[ProviderManifest] {
        &self.providers
    }

    /// The manifest of a provider, by its canonical slug.
    pub fn provider(&self, slug: &str) -> Option<&ProviderManifest> {
        self.providers.iter().find(|manifest| manifest.provider == slug)
    }

    /// What a request to this model must respect; the common case if nothing is known.
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
            system_turns: is(|facts| &facts.system_turns),
        }
    }
}

domain::words! {
    /// What a provider can do or not, as far as it decides whether a request may be sent there. The words are names of facts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Capability {
        Batch = "batch_api_supported",
        Background = "background_mode_supported",
        /// An answer may continue a stored one.
        ConversationState = "conversation_state_supported",
        /// A stored answer can be requested again.
        ResponseRetrieval = "response_retrieval_supported",
        /// Its models may search the web.
        LiveSearch = "live_search_supported",
        /// A prompt may have pictures.
        Vision = "vision",
        AudioInput = "audio_input",
        VideoInput = "video_input",
        /// A prompt may have PDFs and other documents.
        Documents = "documents",
        /// It can be agreed that nothing is retained.
        ZeroRetention = "zero_retention_available",
    }
}

impl Capability {
    const fn of(self, facts: &Facts) -> &Option<Fact<bool>> {
        match self {
            Self::Batch => &facts.batch_api_supported,
            Self::Background => &facts.background_mode_supported,
            Self::ConversationState => &facts.conversation_state_supported,
            Self::ResponseRetrieval => &facts.response_retrieval_supported,
            Self::LiveSearch => &facts.live_search_supported,
            Self::Vision => &facts.vision,
            Self::AudioInput => &facts.audio_input,
            Self::VideoInput => &facts.video_input,
            Self::Documents => &facts.documents,
            Self::ZeroRetention => &facts.zero_retention_available,
        }
    }
}

impl Manifest {
    /// Whether it says that a model at a provider can't do something. What nobody verified is not denied.
    pub fn denies(&self, slug: &str, model: &str, capability: Capability) -> bool {
        self.states(slug, model, capability) == Some(false)
    }

    /// What is stated of a capability; `None` if nothing is.
    pub fn states(&self, slug: &str, model: &str, capability: Capability) -> Option<bool> {
        let rows = self.provider(slug).into_iter().flat_map(|provider| provider.rows_of(model));
        let stated = rows.map(|facts| capability.of(facts)).find_map(Option::as_ref);
        stated.and_then(Fact::value).copied()
    }

    /// This manifest, with what the operator states of providers over it.
    pub(crate) fn with(&self, stated: &[StatedCapabilities]) -> Self {
        let mut manifest = self.clone();
        for one in stated.iter().filter(|one| !one.facts.is_empty()) {
            manifest.day = manifest.day.max(one.day.clone());
            match manifest.providers.iter_mut().find(|known| known.provider == one.provider) {
                Some(known) => known.state(one, &self.day),
                None => {
                    let mut unknown = ProviderManifest {
                        provider: one.provider.clone(),
                        grammars: vec![Grammar::Chat],
                        ..ProviderManifest::default()
                    };
                    unknown.state(one, &self.day);
                    manifest.providers.push(unknown);
                }
            }
        }
        if manifest.providers.iter().any(|provider| provider.stated.is_some()) {
            let revisions = manifest.providers.iter().map(|provider| provider.manifest_revision.as_str());
            manifest.revision =
                revision_id(&manifest.day, fingerprint(&revisions.collect::<Vec<_>>().join(" ")));
        }
        manifest
    }

    /// How prompts to this model are cached.
    pub fn cache_facts(&self, slug: &str, model: &str) -> CacheFacts {
        let provider = self.provider(slug);
        let known = |fact: fn(&Facts) -> &Option<Fact<u64>>| provider?.known(model, fact).copied();
        let lifetime = known(|facts| &facts.prompt_cache_default_ttl_seconds).map(Duration::from_secs);
        let is_supported =
            provider.and_then(|provider| provider.known(model, |facts| &facts.prompt_cache_supported));
        let kind = provider.and_then(|provider| provider.known(model, |facts| &facts.prompt_cache_type));
        let is_reported =
            provider.and_then(|provider| provider.known(model, |facts| &facts.cached_token_reporting));
        CacheFacts {
            is_supported: is_supported.is_some_and(|is| *is),
            is_denied: is_supported == Some(&false) || kind == Some(&CacheKind::None),
            needs_marks: kind.map(|kind| *kind == CacheKind::Explicit),
            marks_max: known(|facts| &facts.prompt_cache_marks_max),
            is_unreported: is_reported == Some(&false),
            tokens_min: known(|facts| &facts.prompt_cache_min_tokens),
            tokens_step: known(|facts| &facts.prompt_cache_step_tokens),
            lifetime: lifetime.unwrap_or(CACHE_LIFETIME_UNKNOWN),
            write_pct: known(|facts| &facts.prompt_cache_write_pct),
            discount_pct: known(|facts| &facts.prompt_cache_discount_pct),
        }
    }
}

impl ProviderManifest {
    /// The names of a model's service tiers; `None` if they were never looked up.
    pub fn service_tiers(&self, model: &str) -> Option<&[String]> {
        self.known(model, |facts| &facts.service_tiers).map(Vec::as_slice)
    }

    /// Whether the operator states a model's reasoning efforts, and not this one. Where reasoning can be turned off, the
    /// effort `none` does that. What we list ourselves is as old as our reading, and its provider is the judge of it.
    pub fn lacks_effort(&self, model: &str, effort: Effort) -> bool {
        let Some(stated) = &self.stated else { return false };
        let Some(fact) = self.rows_of(model).find_map(|facts| facts.efforts.as_ref()) else { return false };
        let by_operator = |facts: &Facts| facts.efforts.as_ref() == Some(fact);
        let Some(words) = fact.value() else { return false };
        if !by_operator(&stated.facts) && !stated.models.values().any(by_operator) {
            return false;
        }
        let can_be_off = || self.known(model, |facts| &facts.thinking_off) == Some(&true);
        let is_off = effort == Effort::None && can_be_off();
        !is_off && !words.iter().any(|word| Effort::of(word) == Some(effort))
    }

    /// Whether the manifest says that a cache is separated by a key of the request's sender: `None` where it does not
    /// say.
    pub fn isolates_by_key(&self, model: &str) -> Option<bool> {
        self.known(model, |facts| &facts.prompt_cache_isolation).map(|by| *by == CacheIsolation::Key)
    }

    pub fn revision(&self) -> &str {
        &self.manifest_revision
    }

    /// What the operator states of it.
    pub const fn stated(&self) -> Option<&StatedFacts> {
        self.stated.as_ref()
    }

    /// Takes over what the operator states.
    fn state(&mut self, stated: &StatedCapabilities, day: &str) {
        self.facts = stated.facts.facts.over(&self.facts);
        if let Some(grammars) = self.facts.grammars.as_ref().and_then(Fact::value) {
            self.grammars = grammars.iter().map(|name| name.0).collect();
        }
        for (name, facts) in &stated.facts.models {
            match self.models.iter_mut().find(|row| row.names == [name.as_str()]) {
                Some(row) => row.facts = facts.over(&row.facts),
                None => {
                    // Before the others, so that it comes first among those that are as exact.
                    self.names.insert(0, (Pattern::of(name), self.models.len()));
                    self.models.push(ModelManifest { names: vec![name.clone()], facts: facts.clone() });
                }
            }
        }
        self.names.sort_by_key(|(pattern, _)| Reverse(pattern.rank()));
        self.stated = Some(stated.facts.clone());
        self.name_revision(stated.day.as_str().max(day));
    }

    /// Names the revision by the day of its last change and its content.
    fn name_revision(&mut self, day: &str) {
        // The facts can always be written: they are numbers, words and lists of those.
        let content = serde_json::to_string(&(&self.facts, &self.models)).unwrap_or_default();
        self.manifest_revision = revision_id(day, fingerprint(&content));
    }

    pub fn slug(&self) -> &str {
        &self.provider
    }

    pub fn grammars(&self) -> &[Grammar] {
        &self.grammars
    }

    /// The facts that hold for the provider's models unless a row of theirs overrides them.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn models(&self) -> &[ModelManifest] {
        &self.models
    }

    /// All facts that hold for one model, by its name at the provider.
    pub fn facts_of(&self, model: &str) -> Facts {
        self.rows_of(model).fold(Facts::default(), |found, facts| found.over(facts))
    }

    /// The strongest value of one fact; an unverified one has none.
    pub(crate) fn known<T>(&self, model: &str, fact: fn(&Facts) -> &Option<Fact<T>>) -> Option<&T> {
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

/// As `cap_2026_11_20_` and a digest.
fn revision_id(day: &str, digest: u64) -> String {
    format!("cap_{}_{digest:016x}", day.replace('-', "_"))
}

/// What is wrong with the name of a row of models, if anything is.
fn wrong_name(name: &str) -> Option<&'static str> {
    let prefix = name.strip_suffix('*').unwrap_or(name);
    (prefix.is_empty() || prefix.contains(['*', '/']))
        .then_some("a name is as the provider writes it, without a path; `*` may end it")
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
