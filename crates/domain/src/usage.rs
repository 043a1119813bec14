//! The usage of an exchange in disjoint token classes, and how far the counts can be trusted.

use serde::{Deserialize, Serialize};

use crate::limits::{ANSWER_TOKENS_MAX, ANSWER_UNITS_MAX};
use crate::tier::Tier;

/// Where the counts came from; the order is from most to least trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum UsageSource {
    /// The upstream reported them, or they were counted where there is nothing to estimate: images in an
    /// answer, characters in a request.
    Provider,
    /// We estimated them, because the upstream reported nothing, or zero for a non-empty answer.
    Estimate,
    /// Nothing was used, or nothing is known.
    #[default]
    None,
}

/// Disjoint counts: `prompt_total = input + cached_read + cache writes + media in`,
/// `completion_total = output + reasoning + media out`.
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
    /// Everything that is not a text token.
    pub units: Units,
    /// The tier that served it, if reported.
    pub tier: Option<Tier>,
    pub source: UsageSource,
}

/// What is counted besides text tokens. Most exchanges have none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Units {
    /// Audio tokens in the prompt, which are not part of `input`; the same holds for the three fields below.
    pub audio_in: u64,
    pub audio_out: u64,
    pub image_in: u64,
    pub image_out: u64,
    /// Generated images.
    pub images: u64,
    /// Milliseconds of transcribed audio.
    pub audio_ms: u64,
    /// Searches, as providers count them that sell reranking by the search.
    pub searches: u64,
    /// Characters of synthesised speech.
    pub characters: u64,
    /// Millionths of the provider's own billing unit, as it reports them: a megapixel, a second of machine
    /// time.
    pub billed: u64,
    /// Milliseconds of generated video.
    pub video_ms: u64,
    /// Web searches that the provider ran for an answer and bills individually.
    pub web_searches: u64,
    /// Searches of stored files, likewise.
    pub file_searches: u64,
    /// Calls of other hosted tools, which the provider bills in ways that the number of calls does not
    /// determine.
    pub hosted_calls: u64,
    /// Tokens that a provider stores in a cache by name, times hours; each charge is rounded up to a whole one.
    pub cache_token_hours: u64,
}

impl Units {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything was counted in units instead of tokens.
    pub const fn has_counts(&self) -> bool {
        self.images > 0
            || self.audio_ms > 0
            || self.searches > 0
            || self.characters > 0
            || self.billed > 0
            || self.video_ms > 0
            || self.cache_token_hours > 0
    }

    /// Whether the provider ran hosted tools for the answer, which it bills on top of its tokens.
    pub const fn has_hosted_calls(&self) -> bool {
        self.web_searches > 0 || self.file_searches > 0 || self.hosted_calls > 0
    }

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
            billed: self.billed.saturating_add(other.billed),
            video_ms: self.video_ms.saturating_add(other.video_ms),
            web_searches: self.web_searches.saturating_add(other.web_searches),
            file_searches: self.file_searches.saturating_add(other.file_searches),
            hosted_calls: self.hosted_calls.saturating_add(other.hosted_calls),
            cache_token_hours: self.cache_token_hours.saturating_add(other.cache_token_hours),
        }
    }

    /// What it counts to store this many tokens for so long.
    pub fn stored(tokens: u64, duration_ms: u64) -> Self {
        let hours = (u128::from(tokens) * u128::from(duration_ms)).div_ceil(MS_OF_HOUR);
        Self { cache_token_hours: u64::try_from(hours).unwrap_or(u64::MAX), ..Self::default() }
    }

    /// Splits the units into those of the first serialised form and the later ones, by number.
    pub fn apart(&self) -> (FirstUnits, Later) {
        let Self { audio_in, audio_out, image_in, image_out, images, audio_ms, searches, characters, .. } =
            *self;
        let first =
            FirstUnits { audio_in, audio_out, image_in, image_out, images, audio_ms, searches, characters };
        let later = [
            (BILLED, self.billed),
            (VIDEO_MS, self.video_ms),
            (WEB_SEARCHES, self.web_searches),
            (FILE_SEARCHES, self.file_searches),
            (HOSTED_CALLS, self.hosted_calls),
            (CACHE_TOKEN_HOURS, self.cache_token_hours),
        ];
        (first, later.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    /// The inverse of `apart`. Units that a newer version counted are ignored.
    pub fn of(first: FirstUnits, later: &[(u8, u64)]) -> Self {
        let FirstUnits { audio_in, audio_out, image_in, image_out, images, audio_ms, searches, characters } =
            first;
        let count = |number| later.iter().find(|(of, _)| *of == number).map_or(0, |(_, count)| *count);
        Self {
            audio_in,
            audio_out,
            image_in,
            image_out,
            images,
            audio_ms,
            searches,
            characters,
            billed: count(BILLED),
            video_ms: count(VIDEO_MS),
            web_searches: count(WEB_SEARCHES),
            file_searches: count(FILE_SEARCHES),
            hosted_calls: count(HOSTED_CALLS),
            cache_token_hours: count(CACHE_TOKEN_HOURS),
        }
    }
}

const MS_OF_HOUR: u128 = 3_600_000;

/// Units that were added after the first serialised form, by their numbers.
pub type Later = Vec<(u8, u64)>;

/// The number of the provider's own billing units among the later units.
pub(crate) const BILLED: u8 = 1;
/// The number of generated video.
pub(crate) const VIDEO_MS: u8 = 2;
/// The numbers of hosted tools.
pub(crate) const WEB_SEARCHES: u8 = 3;
pub(crate) const FILE_SEARCHES: u8 = 4;
const HOSTED_CALLS: u8 = 5;
/// The number of the tier, which is stored among the units but is not one.
const TIER: u8 = 6;
/// The number of stored tokens.
pub(crate) const CACHE_TOKEN_HOURS: u8 = 7;

/// The units of the first serialised form that had any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FirstUnits {
    audio_in: u64,
    audio_out: u64,
    image_in: u64,
    image_out: u64,
    images: u64,
    audio_ms: u64,
    searches: u64,
    characters: u64,
}

/// A count of tokens without those of sound and of pictures, and those, which are never more than the count.
pub fn split_media(all: u64, audio: u64, image: u64) -> (u64, u64, u64) {
    let audio = audio.min(all);
    let image = image.min(all - audio);
    (all - audio - image, audio, image)
}

impl Usage {
    /// The tokens of the prompt that no cache was read or written for, of every modality.
    pub const fn prompt_uncached(&self) -> u64 {
        self.input.saturating_add(self.units.audio_in).saturating_add(self.units.image_in)
    }

    pub const fn prompt_total(&self) -> u64 {
        self.prompt_uncached()
            .saturating_add(self.cached_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_long)
    }

    /// The tokens of the answer without its reasoning, of every modality.
    pub const fn answer_total(&self) -> u64 {
        self.output.saturating_add(self.units.audio_out).saturating_add(self.units.image_out)
    }

    pub const fn completion_total(&self) -> u64 {
        self.answer_total().saturating_add(self.reasoning)
    }

    /// Whether tokens of any kind were counted.
    pub const fn has_tokens(&self) -> bool {
        self.prompt_total() > 0 || self.completion_total() > 0
    }

    /// Whether nothing at all was counted.
    pub const fn is_nothing(&self) -> bool {
        !self.has_tokens() && !self.units.has_counts()
    }

    /// Whether one answer can have used this. Beyond it an upstream is broken, or wants the sums of a workspace to be.
    pub fn is_possible(&self) -> bool {
        let Units { images, audio_ms, searches, characters, billed, video_ms, .. } = self.units;
        let Units { web_searches, file_searches, hosted_calls, cache_token_hours, .. } = self.units;
        let units = [images, audio_ms, searches, characters, billed, video_ms];
        let calls = [web_searches, file_searches, hosted_calls, cache_token_hours];
        self.prompt_total() <= ANSWER_TOKENS_MAX
            && self.completion_total() <= ANSWER_TOKENS_MAX
            && units.into_iter().chain(calls).all(|count| count <= ANSWER_UNITS_MAX)
    }

    /// The sum of both; the source stays this one's.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached_read: self.cached_read.saturating_add(other.cached_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_long: self.cache_write_long.saturating_add(other.cache_write_long),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            units: self.units.plus(other.units),
            tier: self.tier,
            source: self.source,
        }
    }

    pub fn is_estimated(&self) -> bool {
        self.source == UsageSource::Estimate
    }
}

/// The serialised form in records. Usage written before there were units reads as it did, and without units
/// the bytes are the same: the last field, the source, says whether units follow, and whether later units
/// follow those.
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

/// The first three variants are numbered as those of `UsageSource`.
#[derive(Serialize, Deserialize)]
enum SourceForm {
    Provider,
    Estimate,
    None,
    ProviderWith(FirstUnits),
    EstimateWith(FirstUnits),
    NoneWith(FirstUnits),
    ProviderAnd(FirstUnits, Later),
    EstimateAnd(FirstUnits, Later),
    NoneAnd(FirstUnits, Later),
}

impl From<Usage> for UsageForm {
    fn from(usage: Usage) -> Self {
        let (first, mut later) = usage.units.apart();
        later.extend(usage.tier.map(|tier| (TIER, tier.number())));
        let is_plain = usage.units.is_none() && usage.tier.is_none();
        let source = match (usage.source, is_plain, later.is_empty()) {
            (UsageSource::Provider, true, _) => SourceForm::Provider,
            (UsageSource::Estimate, true, _) => SourceForm::Estimate,
            (UsageSource::None, true, _) => SourceForm::None,
            (UsageSource::Provider, false, true) => SourceForm::ProviderWith(first),
            (UsageSource::Estimate, false, true) => SourceForm::EstimateWith(first),
            (UsageSource::None, false, true) => SourceForm::NoneWith(first),
            (UsageSource::Provider, false, false) => SourceForm::ProviderAnd(first, later),
            (UsageSource::Estimate, false, false) => SourceForm::EstimateAnd(first, later),
            (UsageSource::None, false, false) => SourceForm::NoneAnd(first, later),
        };
        let Usage { input, cached_read, cache_write, cache_write_long, output, reasoning, .. } = usage;
        Self { input, cached_read, cache_write, cache_write_long, output, reasoning, source }
    }
}

impl From<UsageForm> for Usage {
    fn from(form: UsageForm) -> Self {
        let plain = || (FirstUnits::default(), Later::new());
        let (source, (first, later)) = match form.source {
            SourceForm::Provider => (UsageSource::Provider, plain()),
            SourceForm::Estimate => (UsageSource::Estimate, plain()),
            SourceForm::None => (UsageSource::None, plain()),
            SourceForm::ProviderWith(first) => (UsageSource::Provider, (first, Later::new())),
            SourceForm::EstimateWith(first) => (UsageSource::Estimate, (first, Later::new())),
            SourceForm::NoneWith(first) => (UsageSource::None, (first, Later::new())),
            SourceForm::ProviderAnd(first, later) => (UsageSource::Provider, (first, later)),
            SourceForm::EstimateAnd(first, later) => (UsageSource::Estimate, (first, later)),
            SourceForm::NoneAnd(first, later) => (UsageSource::None, (first, later)),
        };
        let units = Units::of(first, &later);
        let tier = later.iter().find(|(of, _)| *of == TIER).map(|(_, number)| Tier::of_number(*number));
        let UsageForm { input, cached_read, cache_write, cache_write_long, output, reasoning, .. } = form;
        Self { input, cached_read, cache_write, cache_write_long, output, reasoning, units, tier, source }
    }
}
