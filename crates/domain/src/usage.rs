//! What an exchange used, in disjoint token classes, and how far to trust the counts.

use serde::{Deserialize, Serialize};

/// Where the counts came from; the order is from most to least trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum UsageSource {
    /// The upstream reported them, or they were counted where there is nothing to guess: pictures of an answer, characters of
    /// a request.
    Provider,
    /// We estimated them, because the upstream said nothing or said zero for a non-empty answer.
    Estimate,
    /// Nothing was used, or nothing is known.
    #[default]
    None,
}

/// Disjoint counts: `prompt_total = input + cached_read + cache writes + media in`, `completion_total = output +
/// reasoning + media out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "UsageForm", into = "UsageForm")]
pub struct Usage {
    /// Prompt tokens billed at the full price.
    pub input: u64,
    pub cached_read: u64,
    pub cache_write: u64,
    pub cache_write_long: u64,
    /// Visible output, without reasoning.
    pub output: u64,
    pub reasoning: u64,
    /// What is no token of text.
    pub units: Units,
    pub source: UsageSource,
}

/// What is counted beside tokens of text. Most exchanges have none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Units {
    /// Tokens of sound in the prompt, which are not among `input`; the three below likewise.
    pub audio_in: u64,
    pub audio_out: u64,
    pub image_in: u64,
    pub image_out: u64,
    /// Pictures that were made.
    pub images: u64,
    /// Milliseconds of sound that were listened to.
    pub audio_ms: u64,
    /// Searches, as those count them who sell ranking by the search.
    pub searches: u64,
    /// Characters that were read aloud.
    pub characters: u64,
}

impl Units {
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is any of what is not counted in tokens at all.
    #[must_use]
    pub const fn has_counts(&self) -> bool {
        self.images > 0 || self.audio_ms > 0 || self.searches > 0 || self.characters > 0
    }

    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            audio_in: self.audio_in.saturating_add(other.audio_in),
            audio_out: self.audio_out.saturating_add(other.audio_out),
            image_in: self.image_in.saturating_add(other.image_in),
            image_out: self.image_out.saturating_add(other.image_out),
            images: self.images.saturating_add(other.images),
            audio_ms: self.audio_ms.saturating_add(other.audio_ms),
            searches: self.searches.saturating_add(other.searches),
            characters: self.characters.saturating_add(other.characters),
        }
    }
}

impl Usage {
    #[must_use]
    pub const fn prompt_total(&self) -> u64 {
        self.input
            .saturating_add(self.cached_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_long)
            .saturating_add(self.units.audio_in)
            .saturating_add(self.units.image_in)
    }

    #[must_use]
    pub const fn completion_total(&self) -> u64 {
        self.output
            .saturating_add(self.reasoning)
            .saturating_add(self.units.audio_out)
            .saturating_add(self.units.image_out)
    }

    /// Whether tokens were counted, of whatever kind.
    #[must_use]
    pub const fn has_tokens(&self) -> bool {
        self.prompt_total() > 0 || self.completion_total() > 0
    }

    /// Whether nothing at all was counted.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        !self.has_tokens() && !self.units.has_counts()
    }

    /// The counts of both; where they came from is what this one says.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached_read: self.cached_read.saturating_add(other.cached_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_long: self.cache_write_long.saturating_add(other.cache_write_long),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            units: self.units.plus(other.units),
            source: self.source,
        }
    }

    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.source == UsageSource::Estimate
    }
}

/// As records hold it. What was written before there were units reads as it did, and without units the bytes are the
/// same: the source, which is last, says whether units follow it.
#[derive(Serialize, Deserialize)]
struct UsageForm {
    input: u64,
    cached_read: u64,
    cache_write: u64,
    cache_write_long: u64,
    output: u64,
    reasoning: u64,
    source: SourceForm,
}

/// The first three are numbered as those of `UsageSource`.
#[derive(Serialize, Deserialize)]
enum SourceForm {
    Provider,
    Estimate,
    None,
    ProviderWith(Units),
    EstimateWith(Units),
    NoneWith(Units),
}

impl From<Usage> for UsageForm {
    fn from(usage: Usage) -> Self {
        let source = match (usage.source, usage.units.is_none()) {
            (UsageSource::Provider, true) => SourceForm::Provider,
            (UsageSource::Estimate, true) => SourceForm::Estimate,
            (UsageSource::None, true) => SourceForm::None,
            (UsageSource::Provider, false) => SourceForm::ProviderWith(usage.units),
            (UsageSource::Estimate, false) => SourceForm::EstimateWith(usage.units),
            (UsageSource::None, false) => SourceForm::NoneWith(usage.units),
        };
        let Usage { input, cached_read, cache_write, cache_write_long, output, reasoning, .. } = usage;
        Self { input, cached_read, cache_write, cache_write_long, output, reasoning, source }
    }
}

impl From<UsageForm> for Usage {
    fn from(form: UsageForm) -> Self {
        let (source, units) = match form.source {
            SourceForm::Provider => (UsageSource::Provider, Units::default()),
            SourceForm::Estimate => (UsageSource::Estimate, Units::default()),
            SourceForm::None => (UsageSource::None, Units::default()),
            SourceForm::ProviderWith(units) => (UsageSource::Provider, units),
            SourceForm::EstimateWith(units) => (UsageSource::Estimate, units),
            SourceForm::NoneWith(units) => (UsageSource::None, units),
        };
        let UsageForm { input, cached_read, cache_write, cache_write_long, output, reasoning, .. } = form;
        Self { input, cached_read, cache_write, cache_write_long, output, reasoning, units, source }
    }
}
